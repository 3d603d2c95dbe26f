"""The embedded service, from the side of who needs it: found running, or started.

Only the standard library is imported here: `minus` calls this at each of its starts.
"""

import fcntl
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

IDLE_SECONDS = 900  # without a request, then the embedded service ends
START_SECONDS = 45  # for it to start, and for an older one to stop before
MAX_LOG = 1 << 20  # bytes of its log before it begins anew
_ELSEWHERE = ("MINUS_DATABASE_URL", "MINUS_BLOBS")  # of another service: one's own is a folder
_NEEDED = ("granian", "starlette", "sqlalchemy", "alembic", "argon2", "PIL", "jinja2", "zipstream")


class CannotStartError(Exception):
    """There is no embedded service to be had; `str` says why, and what to do."""


def find_or_start(data: Path, version: str) -> dict[str, Any]:
    """Find the service of a data folder, or start it. -> what `service.json` says of it

    version   of who asks: an older service is replaced. Raises CannotStartError.
    """
    patience = time.monotonic() + START_SECONDS
    child: subprocess.Popen[bytes] | None = None
    while time.monotonic() < patience:
        served = is_served(data)
        known = _ready(data) if served else {}
        if known and not known.get("embedded"):
            where = f"name it with --url {known.get('url')}"
            raise CannotStartError(f"{data} is served by minus-server serve: {where}")
        if known and _numbers(str(known.get("version"))) >= _numbers(version):
            if child is not None:
                child.returncode = 0  # it outlives us: nobody here waits for it
            return known
        if known:
            _command(data, "stop").wait()
        elif child is not None and child.poll():
            raise CannotStartError(f"the embedded service did not start: {_last_line(data)}")
        elif not served and (child is None or child.poll() is not None):
            options = ("--embedded", "--port", "0", "--idle-exit", str(IDLE_SECONDS))
            child = _command(data, "serve", *options)
        time.sleep(0.01)
    raise CannotStartError(f"the embedded service did not start; see {data / 'service.log'}")


def _ready(data: Path) -> dict[str, Any]:
    """What `service.json` says; empty while it is absent or of a process that is just dying."""
    known = read_json(data / "service.json")
    if known.get("embedded"):
        try:
            socket.create_connection(("127.0.0.1", known["port"]), 1).close()
        except OSError:
            return {}
    return known


def is_served(data: Path) -> bool:
    """Tell whether a living process serves the folder: its lock ends with it."""
    try:
        with (data / "service.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def read_json(path: Path) -> dict[str, Any]:
    """What a file of the folder says; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _command(data: Path, *command: str) -> "subprocess.Popen[bytes]":
    """Run `minus-server` apart from us: no pipe, no terminal, its log in the folder."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CannotStartError(
            f"the embedded service lacks the package {missing[0]}: install minus with its extra"
            " [server], or name a service with --url"
        )
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = data / "service.log"
    anew = os.O_TRUNC if log.exists() and log.stat().st_size > MAX_LOG else 0
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | anew, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "minus_server", *command, "--data", str(data)],
            cwd=Path(__file__).parent.parent,  # not the caller's: nothing there is imported
            env={name: os.environ[name] for name in os.environ if name not in _ELSEWHERE},
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
        )
    finally:
        os.close(handle)


def _last_line(data: Path) -> str:
    lines = (data / "service.log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "its log is empty"
