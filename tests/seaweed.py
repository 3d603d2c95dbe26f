"""A real SeaweedFS for the tests: one for each process of them, a fresh prefix each time."""

import atexit
import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

KEY, SECRET, BUCKET = "tests", "the tests' secret", "bucket"
_PORTS = ("master", "volume", "filer", "s3")
_START_SECONDS = 60
_prefixes = (f"place{number}" for number in itertools.count(1))


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has, below those which the system gives to clients."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(10_000, 32_000)  # noqa: S311  nobody has to be kept from guessing
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found += [port] if port not in found else []
    return found


class Seaweed:
    """A server of a bucket; it ends with the process that started it, however that ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = _free_ports(2 * len(_PORTS))
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{self._ports[len(_PORTS) - 1]}"

    def start(self) -> None:
        """Start it, and wait until it takes bytes; its bucket is there."""
        (self._folder / "data").mkdir(parents=True, exist_ok=True)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/usr/bin/setpriv", "--pdeathsig", "KILL", *self._command(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        self._wait(self._process)

    def _command(self, config: Path) -> list[str]:
        told = {
            "dir": self._folder / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.volumeSizeLimitMB": 64,
            "master.telemetry": "false",
            "master.electionTimeout": "1s",  # of a server that was killed
            "volume.max": 100,
            "volume.preStopSeconds": 0,
            "filer": "true",
            "filer.localSocket": self._folder / "filer.sock",
            "s3": "true",
            "s3.config": config,
            "s3.localSocket": self._folder / "s3.sock",
            "s3.autoCreateBucket": "false",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
        }
        for at, name in enumerate(_PORTS):
            told |= {f"{name}.port": self._ports[at], f"{name}.port.grpc": self._ports[~at]}
        program = str(Path(sys.executable).with_name("weed"))
        return [program, "-logtostderr", "server", *(f"-{key}={told[key]}" for key in told)]

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        patience = time.monotonic() + _START_SECONDS
        while True:
            assert process.poll() is None, (self._folder / "log").read_text()[-2000:]
            assert time.monotonic() < patience
            try:
                self._greet()
            except (BotoCoreError, ClientError):
                time.sleep(0.02)  # between two looks
            else:
                return

    def _greet(self) -> None:
        client = self.client(1)
        if not any(row["Name"] == BUCKET for row in client.list_buckets()["Buckets"]):
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
        client.put_object(Bucket=BUCKET, Key="ready", Body=bytes(1 << 20))

    def client(self, tries: int = 3) -> Any:
        """A client of its own, to look behind the service's."""
        return botocore.session.get_session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": tries, "mode": "standard"},
                request_checksum_calculation="when_required",
            ),
        )

    def place(self, prefix: str, **more: str) -> str:
        """What `--blobs` takes."""
        told = "".join(f"&{name}={value}" for name, value in more.items())
        return f"s3://{BUCKET}/{prefix}?endpoint={self.endpoint}{told}"

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def remove(self) -> None:
        """End it for good, with all that it holds."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def lend_credentials() -> None:
    """Let this process, and what it starts, use the bucket."""
    os.environ |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}


@cache
def shared() -> Seaweed:
    """The one of this process of the tests, started now; it ends with the process."""
    lend_credentials()
    server = Seaweed(Path(tempfile.mkdtemp(prefix="minus-weed-")))
    atexit.register(server.remove)
    server.start()
    return server


def new_place(**more: str) -> str:
    """An empty prefix of the bucket. -> what `--blobs` takes"""
    return shared().place(next(_prefixes), **more)
