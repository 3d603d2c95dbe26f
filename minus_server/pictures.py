"""Sizes and thumbnails of pictures, decoded in a child process that may be killed.

A picture is hostile until shown otherwise: the child has limits on memory and time, the parent
waits a bounded while, and a child that fails costs its picture the thumbnail and nothing else.
"""

import base64
import json
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from minus_server import picture_worker

SMALL = 160  # pixels, the longer side of /j
MEDIUM = 640  # pixels, the longer side of /k
_SECONDS = 8  # for one picture
_JOBS = 500  # pictures a child sees in its life


class Pictures:
    """One child for the pictures of this process, started with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._jobs = 0

    def size(self, picture: Path | bytes) -> tuple[int, int]:
        """Width and height in pixels as the picture is shown; (0, 0) when it is none."""
        answer = self._ask({"do": "size", **_source(picture)})
        return (answer["width"], answer["height"]) if answer else (0, 0)

    def thumbnail(self, picture: Path | bytes, side: int, kind: str) -> bytes | None:
        """The picture within a square of `side` pixels, as `kind` (JPEG or PNG), or None."""
        return self._bytes({"do": "thumbnail", **_source(picture), "side": side, "kind": kind})

    def icon(self, label: str, side: int) -> bytes | None:
        """A sheet of paper with a few letters on it, as PNG."""
        return self._bytes({"do": "icon", "label": label[:4], "side": side})

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()

    def _bytes(self, job: dict[str, object]) -> bytes | None:
        answer = self._ask(job)
        return bytes.fromhex(answer["data"]) if answer else None

    def _ask(self, job: dict[str, object]) -> dict[str, Any] | None:
        """Have the child do one job. -> its answer, None where it failed, hung or died

        A child that has seen other pictures may have come to its limits by them: where it
        fails, a fresh one decides.
        """
        with self._lock:
            line = self._try(job)
            if not line and self._jobs > 1:
                line = self._try(job)
        answer: dict[str, Any] = json.loads(line or '{"error": "died"}')
        return None if "error" in answer else answer

    def _try(self, job: dict[str, object]) -> bytes:
        """Send a job. -> the line that answers it, empty where the child is at its end"""
        child = self._ready()
        stdin, stdout = _pipes(child)
        alarm = threading.Timer(_SECONDS, child.kill)
        alarm.start()
        try:
            stdin.write(json.dumps(job).encode() + b"\n")
            stdin.flush()
            line = stdout.readline()
        except OSError:
            line = b""
        finally:
            alarm.cancel()
        if line.endswith(b"\n"):
            return line
        self._end()
        return b""

    def _ready(self) -> subprocess.Popen[bytes]:
        self._jobs += 1
        if self._child is not None and (self._jobs > _JOBS or self._child.poll() is not None):
            self._end()
        if self._child is None:
            self._jobs = 1
            self._child = subprocess.Popen(
                [sys.executable, "-I", str(picture_worker.__file__)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            for pipe in _pipes(self._child):
                with suppress(OSError):  # a job that a dead child never took
                    pipe.close()
            self._child.wait()
        self._child = None


def _source(picture: Path | bytes) -> dict[str, object]:
    """How a job names its picture: by path, or a small one by its bytes."""
    if isinstance(picture, Path):
        return {"path": str(picture)}
    return {"data": base64.b64encode(picture).decode()}


def _pipes(child: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("the picture child has no pipes")
    return child.stdin, child.stdout
