"""`python -m tests`: formatter, linter, type checker, then every test; fails with the first.

The tests of rows, bytes, races and the wire run on PostgreSQL with a folder as well, and on
PostgreSQL with an object store, beside all others: much of a test's time is waiting.
`python -m tests FILE...` runs these files, once.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO

CHECKS = (("ruff", "format", "--check", "."), ("ruff", "check", "."), ("mypy",))
PYTEST = ("pytest", "--dist=loadfile")
ELSEWHERE = ("postgres", "postgres+s3")
AGAIN = ("test_catalog", "test_blobs", "test_concurrency", "test_resumable", "test_wire_*")


def _begin(
    step: tuple[str, ...], backend: str, output: "IO[bytes] | None" = None
) -> "subprocess.Popen[bytes]":
    """Run a module of this interpreter; to a file, where what it says is to come later."""
    environment = os.environ | {"MINUS_TEST_BACKEND": backend}
    command = [sys.executable, "-m", *step]
    return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def _say(step: tuple[str, ...], backend: str) -> None:
    print(f"$ MINUS_TEST_BACKEND={backend}", *step, flush=True)


def main() -> int:
    """Run each step. -> the first failure's exit status"""
    for step in CHECKS:
        _say(step, "sqlite")
        if status := _begin(step, "sqlite").wait():
            return status
    if sys.argv[1:]:
        return _begin((*PYTEST, "--numprocesses=4", *sys.argv[1:]), "sqlite").wait()
    folder = Path(__file__).parent
    files = [str(path) for name in AGAIN for path in sorted(folder.glob(f"{name}.py"))]
    everything, some = (*PYTEST, "--numprocesses=3"), (*PYTEST, "--numprocesses=1", *files)
    with ExitStack() as stack:
        beside = []
        for backend in ELSEWHERE:
            output = stack.enter_context(tempfile.TemporaryFile())
            beside.append((backend, output, _begin(some, backend, output)))
        _say(everything, "sqlite")
        ended = [_begin(everything, "sqlite").wait()]
        for backend, output, running in beside:
            ended.append(running.wait())
            _say(some, backend)
            output.seek(0)
            sys.stdout.buffer.write(output.read())
            sys.stdout.flush()
    return next(filter(None, ended), 0)


if __name__ == "__main__":
    sys.exit(main())
