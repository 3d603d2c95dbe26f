"""Faults, injected for real: a bad line to the service, no room, no rights, a clock that jumps.

A `Line` is a TCP proxy in front of a service. What it does to the bytes is a `Fault`; it is as
good as none until one is injected.
"""

import hashlib
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

BLOCK = 64 << 10
PATIENCE = 60  # seconds until what ought to end has failed
_RESET = struct.pack("ii", 1, 0)  # to linger for no time: a reset, and no orderly end
_OTHER = {"up": "down", "down": "up"}


@dataclass(frozen=True)
class Fault:
    """What happens to a line, once.

    kind    "cut": both sides see an orderly end; "reset": both see a reset; "truncate": the
            receiver sees an end, the sender none; "stall": nothing more comes that way, and
            nobody is told; "corrupt": one bit flips; "drop": a byte vanishes; "delay": every
            block is a little late, from now on
    side    "up", what the client sends, or "down", what the service answers
    after   bytes of that side that pass before
    once    bytes of the other side that pass before these are counted: with those of an upload,
            what is lost is the answer
    stays   nobody gets through any more until the line is mended
    """

    kind: str
    side: str = "down"
    after: int = 0
    once: int = 0
    stays: bool = False


class Line:
    """A loopback port that leads to another one, `target`, and does to bytes what it is told.

    injected   how many faults were
    happened   how many of them have
    fell       set when the one that was injected last has happened
    """

    def __init__(self, target: int = 0) -> None:
        self.target = target
        self.injected = self.happened = 0
        self.fell = threading.Event()
        self._fault: Fault | None = None
        self._hidden: re.Pattern[bytes] | None = None
        self._dead = False
        self._late = 0.0
        self._carried = {"up": 0, "down": 0}
        self._lock = threading.Lock()
        self._mended = threading.Event()
        self._calls: set[_Call] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> "Line":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._listener.close()
        self.mend()
        self.hang_up()
        for call in list(self._calls):
            call.join()

    def inject(self, fault: Fault, late: float = 0.01) -> None:
        """Have a fault happen; bytes are counted from now on. `late`: seconds of a delay."""
        with self._lock:
            self._fault, self._carried = fault, {"up": 0, "down": 0}
            self.injected += 1
            self._late = late if fault.kind == "delay" else 0.0
            self._dead = False
            self._mended = threading.Event()
            self.fell = threading.Event()

    def hide(self, header: str) -> None:
        """Have the service not know a header of HTTP that the client sends, "" for none."""
        name = re.escape(header.encode())
        self._hidden = re.compile(rb"(?i)(?<=\n)%b(?=:)" % name) if header else None

    def mend(self) -> None:
        """Make it a good line; calls that stall end."""
        with self._lock:
            self._fault, self._dead, self._late = None, False, 0.0
            self._mended.set()

    @property
    def calls(self) -> int:
        """How many are under way."""
        return len(self._calls)

    def hang_up(self) -> None:
        """End all calls."""
        for call in list(self._calls):
            call.end()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            try:
                if self._dead:
                    raise ConnectionRefusedError
                service = socket.create_connection(("127.0.0.1", self.target), PATIENCE)
            except OSError:  # nobody is there: neither are we
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            service.settimeout(None)
            call = _Call(self, client, service)
            self._calls.add(call)
            call.start()

    def pass_on(self, side: str, block: bytes) -> tuple[bytes, Fault | None]:
        """Count a block. -> what of it still passes, and the fault that happens then"""
        with self._lock:
            fault, carried = self._fault, self._carried
            counts = fault is not None and side == fault.side
            ready = fault is not None and carried[_OTHER[side]] >= fault.once
            at = fault.after - carried[side] if fault else 0
            if not counts or ready:
                carried[side] += len(block)
            if fault is None or not counts or not ready or at >= len(block):
                return block, None
            self.happened += 1
            self.fell.set()
            self._fault = None
            self._dead = fault.stays
            if fault.kind == "corrupt":
                return block[:at] + bytes([block[at] ^ 1]) + block[at + 1 :], None
            if fault.kind == "drop":
                return block[:at] + block[at + 1 :], None
            return (block if fault.kind == "delay" else block[:at]), fault

    def hidden(self, side: str, block: bytes) -> bytes:
        """A block without the header that is to be hidden: it gets another name."""
        if side == "down" or self._hidden is None:
            return block
        return self._hidden.sub(lambda found: b"X" + found[0][1:], block)

    def forget(self, call: "_Call") -> None:
        self._calls.discard(call)

    def wait(self) -> None:
        """Be as late as a delay asks for."""
        if self._late:
            self._mended.wait(self._late)

    def stall(self) -> None:
        """Hold what comes until the line is mended."""
        self._mended.wait()


class _Call:
    """One connection: two threads, each of which carries one side."""

    def __init__(self, line: Line, client: socket.socket, service: socket.socket) -> None:
        self._line = line
        self._ends = client, service
        self._threads = [
            threading.Thread(target=self._carry, args=(*ends, side), daemon=True)
            for ends, side in (((client, service), "up"), ((service, client), "down"))
        ]
        self._left = 2
        self._lock = threading.Lock()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def end(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _reset(self) -> None:
        """Both are reset when they are closed; until then nothing more is read of them."""
        for end in self._ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RD)

    def _carry(self, source: socket.socket, sink: socket.socket, side: str) -> None:
        try:
            while block := source.recv(BLOCK):
                passes, fault = self._line.pass_on(side, self._line.hidden(side, block))
                self._line.wait()
                sink.sendall(passes)
                if fault is not None and fault.kind != "delay":
                    self._suffer(fault, sink)
                    return
            with suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
        except OSError:  # one end has gone: the other is to see it
            self.end()
        finally:
            with self._lock:
                self._left -= 1
                last = not self._left
            if last:
                for end in self._ends:
                    end.close()
                self._line.forget(self)

    def _suffer(self, fault: Fault, sink: socket.socket) -> None:
        if fault.kind == "reset":
            self._reset()
        elif fault.kind == "cut":
            self.end()
        elif fault.kind == "truncate":
            sink.shutdown(socket.SHUT_WR)
        else:
            self._line.stall()
            self.end()


def noise(seed: object, size: int) -> bytes:
    """Bytes that look like chance, the same for the same seed."""
    return hashlib.shake_128(str(seed).encode()).digest(size)


# --- disks, rights, clocks, locks ---


@contextmanager
def disk_of_its_own(folder: Path, size: str) -> Iterator[bool]:
    """A disk of its own at a folder, where we may mount one. -> whether it is there"""
    mount = ["/bin/mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "minus-test", str(folder)]
    mounted = not subprocess.run(mount, capture_output=True, check=False).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["/bin/umount", str(folder)], check=True)


def without_privileges() -> list[str]:
    """What a command begins with so that root, too, may not write where the mode forbids it."""
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


@contextmanager
def locked(catalog: Path) -> Iterator[None]:
    """Another program has the write lock of a database, as a backup that hangs."""
    code = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        " db.execute('BEGIN IMMEDIATE'); print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(catalog)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield
        process.communicate("")


def clock_of(folder: Path) -> Path:
    """A file that holds by how many seconds a program's clock is wrong; at first 0."""
    path = folder / "clock"
    path.write_text("0")
    return path


def with_clock(clock: Path, module: str, call: str) -> tuple[str, ...]:
    """What the interpreter is given to run a program whose clock goes as the file says."""
    code = (
        "import time; real = time.time;"
        f" time.time = lambda: real() + float(open({str(clock)!r}).read() or 0);"
        f" import {module}; import sys; sys.exit({call})"
    )
    return "-c", code
