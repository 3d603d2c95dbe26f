"""`python -m tests.recorder ...`: `minus-server`, which notes each statement and who made it.

To $STATEMENTS go, once each, what the database was asked, with its parameters, and the names of
the methods of `Rows` that were called.
"""

import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from minus_server import cli
from minus_server.catalog import Rows

STATEMENTS = "STATEMENTS"


@dataclass(frozen=True)
class Statement:
    """What was asked. Without a text: the method that was called."""

    text: str
    parameters: Any = None
    method: str = ""


def methods() -> set[str]:
    """The statements of the catalog, by name."""
    return {name for name, value in vars(Rows).items() if callable(value) and name[0] != "_"}


def noted(path: str) -> list[Statement]:
    """What a service has noted so far."""
    found = []
    with Path(path).open("rb") as file:
        while file.peek(1):
            found.append(Statement(*pickle.load(file)))  # noqa: S301  our own
    return found


class _Notes:
    """A file that grows by what is new."""

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._lock = threading.Lock()
        self._known: set[tuple[str, str]] = set()

    def add(self, statement: Statement) -> None:
        with self._lock:
            if (statement.text, statement.method) in self._known:
                return
            self._known.add((statement.text, statement.method))
            os.write(self._handle, pickle.dumps(astuple(statement)))

    def statement(
        self, _connection: Any, _cursor: Any, text: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        self.add(Statement(text, parameters[0] if many else parameters))

    def watched(self, name: str) -> Callable[..., Any]:
        method = getattr(Rows, name)

        @wraps(method)
        def call(*args: Any, **more: Any) -> Any:
            self.add(Statement("", method=name))
            return method(*args, **more)

        return call


@contextmanager
def recording(path: str) -> Iterator[None]:
    """Note what this process asks of any database, until the block ends."""
    notes = _Notes(path)
    plain = {name: getattr(Rows, name) for name in methods()}
    event.listen(Engine, "before_cursor_execute", notes.statement)
    for name in plain:
        setattr(Rows, name, notes.watched(name))
    try:
        yield
    finally:
        for name, method in plain.items():
            setattr(Rows, name, method)
        event.remove(Engine, "before_cursor_execute", notes.statement)


def main() -> int:
    """Do what `minus-server` does. -> its exit status"""
    with recording(os.environ[STATEMENTS]):
        return cli.main()


if __name__ == "__main__":
    sys.exit(main())
