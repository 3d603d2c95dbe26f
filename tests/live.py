"""A real service on a loopback port, started as an operator starts it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import argon2
from sqlalchemy import Connection

from minus_server.accounts import DEFAULT_QUOTA
from minus_server.names import slug
from minus_server.places import Places
from minus_server.service import Service as Opened
from minus_server.service import open_service
from tests.stores import elsewhere

_LIGHT = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without anything that would lead a command to a real service."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MINUS_")}
    return kept | {"NO_PROXY": "*"} | extra


@dataclass
class Service:
    """A `minus-server serve` of its own on `data`.

    program   the interpreter's arguments that run `minus-server`
    """

    data: Path
    options: tuple[str, ...] = ()
    program: tuple[str, ...] = ("-m", "minus_server")
    url: str = ""
    port: int = 0
    api_key: str = ""
    api_secret: str = ""
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    _process: "subprocess.Popen[str] | None" = field(default=None, repr=False)

    @property
    def _log(self) -> Path:
        return self.data.parent / f"{self.data.name}.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, port: int = 0) -> None:
        """Start it and read its first line."""
        self.environment = self.environment or elsewhere()
        command = [sys.executable, *self.program, "serve", "--data", str(self.data)]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(port), *self.options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=clean_environment() | self.environment,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.fullmatch(r"Minus service at (https?://\S+:(\d+)/) \(data in (.+)\)\n", line)
        assert found, line
        self.url, self.port = found[1], int(found[2])
        if not self.api_key:
            with self.opened() as service:
                self.api_key, self.api_secret = service.accounts.add_client("tests")

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def run(self, *args: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run `minus-server ARGS --data DATA`."""
        return subprocess.run(
            [sys.executable, "-m", "minus_server", *args, "--data", str(self.data)],
            input=stdin,
            capture_output=True,
            text=True,
            env=clean_environment() | self.environment,
            check=False,
        )

    def add_user(self, name: str, password: str, quota: int = DEFAULT_QUOTA) -> None:
        """Make an account, as the operator's command does, but with a hash that takes no time."""
        with self.opened() as service, service.catalog.write() as rows:
            rows.add_user(
                username=name,
                slug=slug(name),
                display_name="",
                email="",
                password_hash=_LIGHT.hash(password),
                quota=quota,
                created=int(service.clock()),
            )

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        """What it keeps, in this process: the rules without their commands."""
        service = open_service(self.places)
        try:
            yield service
        finally:
            service.close()

    @property
    def places(self) -> Places:
        """Where it keeps what."""
        told = self.environment
        return Places(
            self.data, told.get("MINUS_DATABASE_URL") or None, told.get("MINUS_BLOBS") or None
        )

    @contextmanager
    def rows(self) -> Iterator[Connection]:
        """Its catalog, to look at or to change behind its back."""
        catalog = self.places.catalog()
        try:
            with catalog.write() as rows:
                yield rows.connection
        finally:
            catalog.close()

    def log(self) -> str:
        """What it has written to standard error."""
        return self._log.read_text()

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._reap()

    def stop(self) -> int:
        """End it as an operator does. -> exit status"""
        assert self._process is not None
        self._process.terminate()
        return self._reap()

    def _reap(self) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        status = self._process.wait(60)
        self._process.stdout.close()
        return status

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None
