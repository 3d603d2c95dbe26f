"""The command `minus`: as a function, as a process, and on a terminal of its own."""

import fcntl
import io
import os
import pty
import select
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

import minus
from tests.live import Service
from tests.rawhttp import Client, Row, fields, multipart, part

MINUS = Path(minus.__file__)
PATIENCE = 60  # seconds until a test that waits for something in vain fails


class Said(NamedTuple):
    out: str
    err: str


class Done(NamedTuple):
    status: int
    out: str
    err: str


def settle(monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """Give the test a home of its own and no settings. -> the empty folder that it stands in"""
    for name in [name for name in os.environ if name.startswith("MINUS_")]:
        monkeypatch.delenv(name)
    for name in ("STATE", "DATA", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    values = {"HOME": str(home), "NO_PROXY": "*", "TERM": "dumb", "PYTHONPATH": str(MINUS.parent)}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    local = home / "local"
    local.mkdir()
    monkeypatch.chdir(local)
    return local


def configure(home: Path, service: Service, **more: str) -> Path:
    """Write ~/.minus.conf for a service."""
    settings = {"url": service.url, "api_key": service.api_key, "api_secret": service.api_secret}
    lines = [f"{name}: {value}\n" for name, value in (settings | more).items()]
    path = home / ".minus.conf"
    path.write_text("[api]\n" + "".join(lines))
    path.chmod(0o600)
    return path


def text_stream(data: bytes = b"") -> io.TextIOWrapper:
    """A stream of text with bytes below it, as the standard streams are."""
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", write_through=True)


def written(stream: io.TextIOWrapper) -> str:
    """What was written to a stream of ours since the last time."""
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    text = buffer.getvalue().decode(errors="backslashreplace")
    buffer.seek(0)
    buffer.truncate()
    return text


def call(*args: str | Path, stdin: bytes = b"") -> Done:
    """Run the command as a function."""
    out, err = text_stream(), text_stream()
    status = minus.main([str(arg) for arg in args], text_stream(stdin), out, err)
    return Done(status, written(out), written(err))


@contextmanager
def spawn(*args: str | Path) -> "Iterator[subprocess.Popen[str]]":
    """Start the real command; it is ended where the test fails."""
    command = [sys.executable, str(MINUS), *map(str, args)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def run(*args: str | Path, stdin: str = "") -> Done:
    """Run the real command to its end."""
    with spawn(*args) as process:
        out, err = process.communicate(stdin, timeout=PATIENCE)
    assert "Traceback" not in err
    return Done(process.returncode, out, err)


def put_remote(user: Client, folder: Row, name: str, data: bytes = b"text") -> Row:
    """Store a file under any name, without `minus.py`."""
    body = multipart(*fields({"filename": quote(name, safe="")}), part("file", data, "x"))
    answer = user.post_file(body, folder=folder)
    assert (answer.status, answer.json()["name"]) == (200, name)
    return dict(answer.json())


def remote(user: Client, folder: Row) -> dict[str, bytes]:
    """What the service has in a folder."""
    rows = user.results(f"folders/{folder['id']}/files")
    return {row["name"]: user.raw(row).body for row in rows}


def here(folder: Path) -> dict[str, bytes]:
    """What is in a local folder, hidden files included."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def endless(path: Path) -> Iterator[threading.Event]:
    """A pipe that gives zeros as long as it is read. -> set when somebody has begun to"""
    os.mkfifo(path)
    begun, over = threading.Event(), threading.Event()

    def feed() -> None:
        with suppress(BrokenPipeError), path.open("wb", buffering=0) as pipe:
            while not over.is_set():
                pipe.write(bytes(4096))
                begun.set()

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    try:
        yield begun
    finally:
        over.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


_LAUNCH = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class Terminal:
    """The real command on a pseudo terminal, which sends it SIGINT for Ctrl-C."""

    def __init__(self, *args: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCH, str(MINUS), *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.shown, self._seen = "", 0

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, ending: str) -> str:
        """Read until the screen ends so. -> what it has shown since the last time"""
        while not self.shown.endswith(ending, self._seen):
            assert self._read(), f"it ended, having shown {self.shown!r}"
        seen, self._seen = self._seen, len(self.shown)
        return self.shown[seen:]

    def end(self) -> tuple[int, str]:
        """Read until the command ends. -> its status, everything that it has shown"""
        while self._read():
            pass
        return self.process.wait(PATIENCE), self.shown

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], PATIENCE)
        assert ready, f"nothing more came after {self.shown!r}"
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # EIO: the other side is closed
            return False
        self.shown += data.decode().replace("\r\n", "\n")
        return bool(data)


@dataclass
class Stalling:
    """A web server that promises a terabyte to whoever asks, and sends a byte now and then.

    asked   set when somebody waits for the rest
    """

    asked: threading.Event
    url: str


@contextmanager
def stalling() -> Iterator[Stalling]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked, over = threading.Event(), threading.Event()

        def serve() -> None:
            client, _ = server.accept()
            with client, suppress(OSError):
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
                asked.set()
                while not over.wait(0.01):
                    client.sendall(b"x")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Stalling(asked, f"http://127.0.0.1:{server.getsockname()[1]}/")
        over.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()
