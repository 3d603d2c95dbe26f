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
import ssl
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

from minus_server import __version__, jobs
from minus_server.addresses import is_loopback
from minus_server.embedded import read_json
from minus_server.errors import CannotServe
from minus_server.meter import Meter
from minus_server.names import username
from minus_server.options import MOST_DRAIN, Options
from minus_server.process import STOP_SECONDS, Process
from minus_server.service import Service, open_service

_LOCK_TRIES = 10


class Lock:
    """The right to serve a data folder; held until the process ends."""

    def __init__(self, data: Path) -> None:
        self._path = data / "service.lock"
        self._handle: int | None = None

    def fileno(self) -> int:
        """The handle, for children that hold it too. Raises ValueError without one"""
        if self._handle is None:
            raise ValueError("the lock is not taken")
        return self._handle

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
    options.log.set_up()
    _check(options)
    options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if options.embedded:
        options.data.chmod(0o700)
    lock = Lock(options.data)
    if not lock.take():
        if options.embedded:
            return 0
        raise CannotServe(f"{options.data} is served already, at {served_at(options.data)}")
    (options.data / "service.json").unlink(missing_ok=True)  # of one that was killed
    alone = options.workers == 1
    with closing(_bind(options)) as held, _Figures(options) as figures:
        service = open_service(
            options.places, policy=options.policy, meter=figures.meter, alone=alone
        )
        try:
            _check_bytes(options, service)
            if not options.places.is_shared:
                service.resumables.recover()
            asyncio.run(_Served(options, held, service, figures, lock).run())
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already
            service.close()
    return 0


def _check(options: Options) -> None:
    """Raises CannotServe for what does not go together."""
    if not is_loopback(options.host) and options.base_url is None:
        raise CannotServe(
            f"{options.host} is not a loopback address: say with --base-url which address"
            " others use, so that links lead there."
        )
    if options.workers > 1 and (options.embedded or options.idle_exit is not None):
        raise CannotServe("--workers and --idle-exit do not go together")
    if options.tls is not None:
        _check_pair(*options.tls)


def _check_bytes(options: Options, service: Service) -> None:
    """Raises CannotServe where rows and bytes are not those of one service."""
    if not (options.foreign or options.embedded) and (why := service.blobs.stranger()):
        raise CannotServe(
            f"the bytes in {options.places.shown_blobs} do not belong to the rows in"
            f" {options.places.shown_rows}: {why}; --foreign serves all the same"
        )
    service.blobs.claim()


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


class _Figures:
    """Where is counted what the operator wants to see; nowhere, unless they said so.

    meter    counts
    folder   where several processes count
    url      where it is told, "" where nowhere
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._open = ExitStack()
        self.meter = Meter()
        self.folder: Path | None = None
        self.url = ""

    def __enter__(self) -> "_Figures":
        if (place := self._options.metrics) is None:
            return self
        from minus_server import metrics

        with ExitStack() as opened:
            if self._options.workers > 1:
                made = tempfile.TemporaryDirectory(prefix="minus-metrics-")
                self.folder = Path(opened.enter_context(made))
                metrics.share(self.folder, 0)
            self.meter = counting = metrics.Prometheus(self.folder)
            self.url = opened.enter_context(metrics.Server(place, counting.registry)).url
            self._open = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


class _Served:
    """A data folder that is served, by this process or by its children."""

    def __init__(
        self,
        options: Options,
        held: socket.socket,
        service: Service,
        figures: _Figures,
        lock: Lock,
    ) -> None:
        self._options, self._service, self._figures, self._lock = options, service, figures, lock
        self._port: int = held.getsockname()[1]
        self._ready = options.data / "service.json"

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        beside: list[asyncio.Task[None]] = []

        def begun() -> None:
            self._announce()
            alone = self._options.workers == 1
            work = jobs.expire(self._service), jobs.checkpoint(self._service, alone=alone)
            beside.extend(map(loop.create_task, work))

        try:
            await self._serving(begun)
        finally:
            for task in beside:
                task.cancel()
            self._conceal()

    async def _serving(self, begun: Callable[[], None]) -> None:
        options, figures = self._options, self._figures
        if options.workers == 1:
            process = Process(
                options,
                self._port,
                self._service,
                figures.meter,
                begun=begun,
                ending=self._conceal,
            )
            await process.run()
            return
        from minus_server.workers import Parent

        parent = Parent(
            options,
            self._port,
            figures.folder,
            self._lock.fileno(),
            begun=begun,
            ending=self._conceal,
        )
        await parent.run()

    def _conceal(self) -> None:
        self._ready.unlink(missing_ok=True)

    def _announce(self) -> None:
        options, base = self._options, self._options.base_of(self._port)
        write_json(options.data / "address.json", {"url": base, "port": self._port})
        known: dict[str, Any] = {
            "url": base,
            "port": self._port,
            "pid": os.getpid(),
            "version": __version__,
            "embedded": options.embedded,
        }
        if options.embedded:
            name = owner_name()
            key, secret = self._service.accounts.owner_client(name)
            known |= {"username": name, "api_key": key, "api_secret": secret}
        write_json(self._ready, known)
        policy = options.policy
        print(
            f"Minus service at {options.address_of(self._port)} ({options.places.shown})\n"
            f"Anonymous galleries: {'on' if policy.anonymous else 'off'};"
            f" registration: {'open' if policy.registration else 'closed'}",
            flush=True,
        )
        if self._figures.url:
            print(f"Metrics at {self._figures.url}", flush=True)


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
    patience = time.monotonic() + MOST_DRAIN + STOP_SECONDS + 10
    while lock.holder() is not None:
        if time.monotonic() > patience:
            raise CannotServe(f"process {pid} does not end")
        time.sleep(0.02)
    return True
