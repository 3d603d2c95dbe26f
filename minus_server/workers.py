"""Many processes on one port: a parent, which serves nobody, and its children, which do.

The parent tells a child what to do through the pipe that is the child's standard input, and
keeps it open: when the parent is gone, however that came, the child sees its end and goes too.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from minus_server.cli import serving
from minus_server.errors import CannotServe
from minus_server.meter import Meter
from minus_server.options import Options
from minus_server.process import STOP_SECONDS, Process
from minus_server.service import open_service

COMMAND = "worker"  # of minus-server, for the parent alone
LONG = 10  # seconds; a child that lived so long did not fail at once
TRIES = 6  # of a child that fails at once, until all end
PAUSE = 0.1  # seconds before the second try; doubled before each further one
_READY = b"ready\n"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What a child has to do.

    number   its own, from 1
    figures  where the processes count, None where nothing is counted
    """

    number: int
    options: Options
    port: int
    figures: Path | None

    def written(self) -> bytes:
        """The task as a line for the child."""
        figures = None if self.figures is None else str(self.figures)
        told = [self.number, str(Path.cwd()), self.options.argv, self.port, figures]
        return json.dumps(told).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> "Task":
        """The task that a parent wrote; the names of files in it are those of its folder."""
        number, folder, argv, port, figures = json.loads(line)
        os.chdir(folder)
        return cls(number, serving(argv), port, None if figures is None else Path(figures))


class Parent:
    """Starts the children, and again when they die.

    lock    the handle of the data folder's lock: children hold it too, so that nobody else
            serves the folder before the last of them has ended
    begun   called once all accept connections
    ending  called when they are told to stop
    """

    def __init__(
        self,
        options: Options,
        port: int,
        figures: Path | None,
        lock: int,
        *,
        begun: Callable[[], None],
        ending: Callable[[], None],
    ) -> None:
        self._options, self._port, self._figures, self._lock = options, port, figures, lock
        self._begun, self._ending = begun, ending
        self._stopping = asyncio.Event()
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._ready: set[int] = set()

    async def run(self) -> None:
        """Serve until told to stop. Raises CannotServe where a child dies again and again."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        numbers = range(1, self._options.workers + 1)
        keepers = [loop.create_task(self._keep(number)) for number in numbers]
        try:
            await asyncio.gather(*keepers)
        finally:
            self._stop()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def _keep(self, number: int) -> None:
        """Have a child of this number until the stop."""
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            status = await self._child(number)
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - began >= LONG else failures + 1
            if failures == TRIES:
                raise CannotServe(f"worker {number} ended {TRIES} times at once: {_ended(status)}")
            _LOG.error("Worker %d ended and is started again: %s", number, _ended(status))
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), PAUSE * 2 ** (failures - 1))

    async def _child(self, number: int) -> int:
        """Start a child and wait for its end. -> its status"""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "minus_server",
            COMMAND,
            cwd=Path(__file__).parent.parent,  # nothing that lies about elsewhere is imported
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(self._lock,),
        )
        self._children[number] = child
        try:
            if self._stopping.is_set():  # it came while the child was being made
                child.terminate()
            await self._converse(number, child)
            return await child.wait()
        finally:
            del self._children[number]
            if self._figures is not None:
                from minus_server import metrics

                metrics.forget(self._figures, number)

    async def _converse(self, number: int, child: asyncio.subprocess.Process) -> None:
        """Tell a child what to do, and hear when it accepts connections, or ends before."""
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("a child has no pipes")
        task = Task(number, self._options, self._port, self._figures)
        child.stdin.write(task.written())
        with suppress(ConnectionError):
            await child.stdin.drain()
        if await child.stdout.readline() != _READY:
            return
        self._ready.add(number)
        if len(self._ready) == self._options.workers:
            self._begun()
            self._begun = _nothing

    def _stop(self) -> None:
        """Tell all to stop; who has not after a while is cut off."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._ending()
        for child in self._children.values():
            with suppress(ProcessLookupError):
                child.terminate()
        asyncio.get_running_loop().call_later(self._options.drain + STOP_SECONDS + 5, self._kill)

    def _kill(self) -> None:
        for child in self._children.values():
            with suppress(ProcessLookupError):
                child.kill()


def _ended(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def _nothing() -> None:
    """What is done where nothing has to be."""


def work() -> int:
    """Be a child: do what the parent says, until it says stop or is gone. -> exit status"""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's goes to all; the parent decides
    task = Task.read(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    task.options.log.set_up()
    meter = Meter()
    if task.figures is not None:
        from minus_server import metrics

        metrics.share(task.figures, task.number)
        meter = metrics.Prometheus(task.figures)
    try:
        _serve(task, meter)
    except (CannotServe, SQLAlchemyError, OSError) as error:
        _LOG.critical("Worker %d: %s", task.number, error)
        return 1
    return 0


def _serve(task: Task, meter: Meter) -> None:
    service = open_service(
        task.options.places, policy=task.options.policy, meter=meter, alone=False
    )
    try:
        process = Process(
            task.options,
            task.port,
            service,
            meter,
            begun=_tell_ready,
            ending=_nothing,
            signals=(signal.SIGTERM,),
        )
        asyncio.run(process.run())
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already
        service.close()


def _end_with_parent() -> None:
    """Nothing that is under way was acknowledged, and the next parent must find the folder free."""
    sys.stdin.buffer.read()
    os._exit(1)


def _tell_ready() -> None:
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
