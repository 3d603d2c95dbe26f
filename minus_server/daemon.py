"""The running process: one per data folder, where it listens, when it ends.

The folder says who serves it. `service.lock` is locked while a process does, and holds its
number; `service.json` stands beside it from the first accepted connection until the stop
begins, and tells a client of the same user where to go; `address.json` outlives both.
"""

import asyncio
import fcntl
import json
import os
import pwd
import re
import signal
import socket
import sqlite3
import ssl
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from sqlalchemy.exc import SQLAlchemyError

from minus_server import __version__
from minus_server.addresses import is_loopback
from minus_server.app import Activity, build
from minus_server.embedded import read_json
from minus_server.errors import CannotServe, Refused
from minus_server.leases import BEAT_SECONDS
from minus_server.names import username
from minus_server.places import Places
from minus_server.policy import Policy
from minus_server.service import DEFAULT_POLICY, Service, open_service
from minus_server.tus import Turns

_LOCK_TRIES = 10
EXPIRE_SECONDS = 3600
CHECKPOINT_SECONDS = 1
STOP_SECONDS = 30  # what transfers in flight get
_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"_granian": {"handlers": ["stderr"], "level": "ERROR", "propagate": False}},
}


@dataclass(frozen=True)
class Options:
    """What `minus-server serve` was told."""

    places: Places
    host: str = "127.0.0.1"
    port: int = 8642
    base_url: str | None = None
    policy: Policy = DEFAULT_POLICY
    idle_exit: float | None = None  # seconds without a request
    tls: tuple[Path, Path] | None = None  # certificate with its chain, key

    @property
    def data(self) -> Path:
        return self.places.data

    @property
    def embedded(self) -> bool:
        return self.policy.embedded


class Lock:
    """The right to serve a data folder; held until the process ends."""

    def __init__(self, data: Path) -> None:
        self._path = data / "service.lock"
        self._handle: int | None = None

    def take(self) -> bool:
        """Take it. -> False when another process has it"""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        for _ in range(_LOCK_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.01)  # a client that looks whether somebody serves has it for a moment
        else:
            os.close(handle)
            return False
        os.truncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        self._handle = handle
        return True

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
        self._handle = None

    def holder(self) -> int | None:
        """The number of the process that serves the folder, None when none does."""
        if not self._path.exists() or self.take():
            self.release()
            return None
        text = self._path.read_text()
        return int(text) if text.isdigit() else None


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a file of the folder in one step, for its owner's eyes only."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(value, file)
    part.replace(path)


def served_at(data: Path) -> str:
    """The address that the folder is served at, or was served at last, or would be."""
    found = read_json(data / "service.json") or read_json(data / "address.json")
    return str(found.get("url", f"http://127.0.0.1:{Options.port}/"))


def owner_name() -> str:
    """The operating system's name for who runs this, as an account may be named."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", pwd.getpwuid(os.getuid()).pw_name).lstrip("._-")
    return username(name[:63] or "owner")


def serve(options: Options) -> int:
    """Serve a data folder until SIGTERM, SIGINT or idleness. -> exit status

    Raises CannotServe.
    """
    if not is_loopback(options.host) and options.base_url is None:
        raise CannotServe(
            f"{options.host} is not a loopback address: say with --base-url which address"
            " others use, so that links lead there."
        )
    if options.tls is not None:
        _check_pair(*options.tls)
    options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if options.embedded:
        options.data.chmod(0o700)
    lock = Lock(options.data)
    if not lock.take():
        if options.embedded:
            return 0
        raise CannotServe(f"{options.data} is served already, at {served_at(options.data)}")
    (options.data / "service.json").unlink(missing_ok=True)  # of one that was killed
    service = open_service(options.places, policy=options.policy)
    try:
        if not options.places.is_shared:
            service.resumables.recover()
        asyncio.run(_Process(options, service).run())
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already
        service.close()
    return 0


def _check_pair(cert: Path, key: Path) -> None:
    """Raises CannotServe for files that are no certificate and its key."""
    for path in (cert, key):
        if not os.access(path, os.R_OK):
            raise CannotServe(f"{path} cannot be read")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password="")  # asks nobody for one
    except (OSError, ValueError):  # what it says names numbers of OpenSSL
        raise CannotServe(
            f"{cert} and {key} are no certificate and its key, in PEM and without a password"
        ) from None


def _bind(options: Options) -> socket.socket:
    """Hold the port for the server, which shares it; port 0 becomes a free one."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    port = options.port
    if options.embedded:
        port = int(read_json(options.data / "address.json").get("port", 0))
        with suppress(OSError):
            return _bound(family, options.host, port)
        port = 0
    try:
        return _bound(family, options.host, port)
    except OSError as error:
        raise CannotServe(f"cannot listen on {options.host}:{port}: {error.strerror}") from None


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    """First alone, which fails where another program listens; then shared."""
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        probe.listen(1)
        port = probe.getsockname()[1]
    shared = socket.socket(family)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    shared.bind((host, port))
    return shared


class _Process:
    """One service, listening."""

    def __init__(self, options: Options, service: Service) -> None:
        self._options = options
        self._service = service
        self._activity = Activity()
        self._socket = _bind(options)
        self._port: int = self._socket.getsockname()[1]
        host = f"[{options.host}]" if ":" in options.host else options.host
        scheme = "http" if options.tls is None else "https"
        self._address = f"{scheme}://{host}:{self._port}/"
        base = options.base_url or self._address
        self._base_url = base if base.endswith("/") else f"{base}/"
        self._ready = options.data / "service.json"
        app = build(service, self._base_url, self._activity, only_host=options.embedded)
        self._turns: Turns = app.state.turns
        self._server = Server(
            app,
            address=options.host,
            port=self._port,
            interface=Interfaces.ASGINL,
            websockets=False,
            log_level=LogLevels.error,
            log_dictconfig=_LOGGING,
            http=HTTPModes.http1,  # of HTTP/2 the head has no limit
            http1_settings=HTTP1Settings(max_buffer_size=1 << 20),
            ssl_cert=options.tls and options.tls[0],
            ssl_key=options.tls and options.tls[1],
            ssl_protocol_min=SSLProtocols.tls12,
        )

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        serving = loop.create_task(self._server.serve())
        await self._accepts(serving)
        self._announce()
        jobs = self._watch_idleness(), self._expire(), self._checkpoint(), self._beat()
        beside = [loop.create_task(job) for job in jobs]
        await serving
        for task in beside:
            task.cancel()
        self._ready.unlink(missing_ok=True)

    async def _accepts(self, serving: "asyncio.Task[None]") -> None:
        """Wait for the first connection that is accepted, our own."""
        while not serving.done():
            with suppress(OSError):
                _, writer = await asyncio.open_connection(self._options.host, self._port)
                writer.close()
                return
            await asyncio.sleep(0.005)
        await serving
        raise CannotServe(f"cannot listen on {self._address}")

    def _announce(self) -> None:
        write_json(self._options.data / "address.json", {"url": self._base_url, "port": self._port})
        known: dict[str, Any] = {
            "url": self._base_url,
            "port": self._port,
            "pid": os.getpid(),
            "version": __version__,
            "embedded": self._options.embedded,
        }
        if self._options.embedded:
            name = owner_name()
            key, secret = self._service.accounts.owner_client(name)
            known |= {"username": name, "api_key": key, "api_secret": secret}
        write_json(self._ready, known)
        policy = self._options.policy
        print(
            f"Minus service at {self._address} (data in {self._options.data})\n"
            f"Anonymous galleries: {'on' if policy.anonymous else 'off'};"
            f" registration: {'open' if policy.registration else 'closed'}",
            flush=True,
        )

    async def _expire(self) -> None:
        """Now and every hour, end galleries that nobody visits, uploads that do not go on."""
        while True:
            try:
                await asyncio.to_thread(self._service.galleries.expire)
                await asyncio.to_thread(self._service.resumables.expire)
            except (SQLAlchemyError, OSError, Refused) as error:  # the next hour will do
                print(f"What is old could not be removed: {error}", file=sys.stderr, flush=True)
            await asyncio.sleep(EXPIRE_SECONDS)

    async def _beat(self) -> None:
        """Every second, tell other processes what this one works on, and hear what they want."""
        if self._service.library.leases.alone:
            return
        while True:
            with suppress(SQLAlchemyError):  # the next second will do
                self._turns.give_up(await asyncio.to_thread(self._service.library.leases.beat))
                await asyncio.to_thread(self._service.resumables.end_cut)
            await asyncio.sleep(BEAT_SECONDS)

    async def _checkpoint(self) -> None:
        """Every second, take from the uploads what their commits would do now and then."""
        while True:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            with suppress(SQLAlchemyError, sqlite3.Error):  # a later commit does it then
                await asyncio.to_thread(self._service.catalog.checkpoint)

    async def _watch_idleness(self) -> None:
        """End by itself when nothing has been asked for long enough."""
        if (limit := self._options.idle_exit) is None:
            return
        while (idle := self._activity.idle_seconds()) < limit:
            await asyncio.sleep(limit - idle)
        self._stop()

    def _stop(self) -> None:
        """Accept no more; what is under way may finish, for a while."""
        self._ready.unlink(missing_ok=True)
        self._server.stop()  # type: ignore[no-untyped-call]
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._cut)

    def _cut(self) -> None:
        """End although transfers are under way: none of them was acknowledged."""
        self._service.close()
        sys.stdout.flush()
        os._exit(0)


def _owner(path: Path) -> int | None:
    """Whose it is, None where there is no such thing."""
    try:
        return path.stat().st_uid
    except OSError:
        return None


def stop(data: Path) -> bool:
    """End the process that serves the folder. -> False when there was none

    Raises CannotServe when it does not end.
    """
    lock = Lock(data)
    pid = lock.holder()
    if pid is None:
        return False
    if _owner(Path(f"/proc/{pid}")) not in (None, _owner(data / "service.lock")):
        raise CannotServe(f"process {pid} is not that of the folder's owner")
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    patience = time.monotonic() + STOP_SECONDS + 10
    while lock.holder() is not None:
        if time.monotonic() > patience:
            raise CannotServe(f"process {pid} does not end")
        time.sleep(0.02)
    return True
