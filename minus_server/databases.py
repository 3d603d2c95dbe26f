"""What differs between the databases: how one is opened, begun, waited for and found at fault.

`catalog` writes each statement once, for all of them.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import pairwise
from typing import Any, Protocol, cast

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    ExceptionContext,
    create_engine,
    event,
    false,
    make_url,
    text,
)
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from minus_server import names
from minus_server.errors import CannotServe

SQLITE_POOL = 50  # connections: one for each thread that may want one
POSTGRES_POOL = 20  # connections of a process; the server has 100 unless it is told otherwise
PINGS_POOL = 2  # more of them, for what must not wait behind requests
BUSY_SECONDS = 10  # how long one transaction waits for another one, or for a connection
LOCK_SECONDS = 3  # the same for a lock on a server, where it takes a connection from others
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "wal_autocheckpoint=16000",  # pages, 64 MiB, where nobody calls `checkpoint`
)
_WRITER_CACHE = "cache_size=-16384"  # KiB: ids are random, so new ones touch many pages
_NETWORK = {  # a server that went without a word is given up
    "connect_timeout": BUSY_SECONDS,
    "tcp_user_timeout": 1000 * BUSY_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
_KEPT_SECONDS = 1800  # of a connection, then it is made anew: the server may have moved
_DISK_FULL = "53100"  # https://www.postgresql.org/docs/current/errcodes-appendix.html
_READ_ONLY = ("25006", "0A000")  # in recovery; the second where a transaction is to write
_BUSY = (
    *("08", "40", "53", "55P03", "57"),  # no connection, races, no resources, locks, shutdown
    *_READ_ONLY,
    *("25P03", "25P04"),  # a transaction that the server ended, as it took too long
)


class Database(Protocol):
    """One kind of database, opened."""

    is_shared: bool  # processes on other machines may use it too
    writer: Engine
    pings: Engine  # on a server, this and `beats` have connections of their own
    beats: Engine

    @property
    def engine(self) -> Engine:
        """For what only reads."""

    def limited(self, connection: Connection, seconds: float) -> Any:
        """A block whose statements may take so long; OperationalError, `is_busy`, after that."""

    def need_writable(self, connection: Connection) -> None:
        """Raises SQLAlchemyError where this server takes no writes."""

    def be_patient(self, connection: Connection) -> None:
        """Let the transaction that begins here wait longer for locks than a request does."""

    def need_no_flush(self, connection: Connection) -> None:
        """Let the transaction that begins here end without waiting for the disk."""

    def checkpoint(self) -> None:
        """Do now what commits would have to do now and then."""


class Sqlite:
    """A file: any number of readers, one writer at a time, whose turn the next ones wait for."""

    is_shared = False

    def __init__(self, url: str) -> None:
        self.engine = self._engine(url, SQLITE_POOL)
        self.writer = self._engine(url, 1)
        self.pings, self.beats = self.engine, self.writer
        event.listen(self.engine, "begin", partial(_begin, "BEGIN"))
        event.listen(self.writer, "begin", partial(_begin, "BEGIN IMMEDIATE"))
        event.listen(self.writer, "connect", partial(_set, (_WRITER_CACHE,)))

    @staticmethod
    def _engine(url: str, connections: int) -> Engine:
        engine = create_engine(
            url,
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
            pool_size=connections,
            max_overflow=0,
            pool_timeout=BUSY_SECONDS,
            pool_use_lifo=True,  # the connection used last has most pages at hand
            hide_parameters=True,  # an error must not carry a hash or a name into the log
        )
        event.listen(engine, "connect", partial(_set, _PRAGMAS))
        return engine

    @contextmanager
    def limited(self, connection: Connection, seconds: float) -> Iterator[None]:
        end = time.monotonic() + seconds
        driver = cast(Any, connection.connection.driver_connection)
        driver.set_progress_handler(lambda: time.monotonic() > end, 1_000)
        try:
            yield
        finally:
            driver.set_progress_handler(None, 0)

    def need_writable(self, connection: Connection) -> None:
        """A file that is read only is refused at the start."""

    def be_patient(self, connection: Connection) -> None:
        """It has waited."""

    def need_no_flush(self, connection: Connection) -> None:
        """SQLite cannot change that inside a transaction."""

    def checkpoint(self) -> None:
        with closing(self.engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")


class Postgres:
    """A server. A write sees what others have committed meanwhile, and locks what it goes by;
    a read sees one moment."""

    is_shared = True

    def __init__(self, url: str) -> None:
        self.writer = self._engine(url, POSTGRES_POOL)
        self.pings = self.beats = self._engine(url, PINGS_POOL)
        self.engine = self.writer.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    @staticmethod
    def _engine(url: str, connections: int) -> Engine:
        engine = create_engine(
            url,
            connect_args=_NETWORK,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=BUSY_SECONDS,
            pool_use_lifo=True,
            pool_recycle=_KEPT_SECONDS,
            hide_parameters=True,
        )
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "handle_error", _leave_read_only)
        return engine

    @contextmanager
    def limited(self, connection: Connection, seconds: float) -> Iterator[None]:
        connection.execute(text(f"SET LOCAL statement_timeout = {int(seconds * 1000)}"))
        yield

    def need_writable(self, connection: Connection) -> None:
        if connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on":
            connection.invalidate()
            raise SQLAlchemyError("the database's server takes no writes")

    def be_patient(self, connection: Connection) -> None:
        connection.execute(text(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'"))

    def need_no_flush(self, connection: Connection) -> None:
        connection.execute(text("SET LOCAL synchronous_commit = off"))

    def checkpoint(self) -> None:
        """The server does that by itself."""


def shown_url(url: str | URL) -> str:
    """The address of a database for people: nothing in it is secret."""
    return make_url(url).set(password=None, query={}).render_as_string()


def tells_password(url: str) -> bool:
    """Tell whether a database's address holds a password, in either place."""
    try:
        made = make_url(url)
    except (ArgumentError, ValueError):
        return False
    return bool(made.password or made.query.get("password"))


def open_database(url: str) -> Database:
    """Open a database by its SQLAlchemy URL. Raises CannotServe for one that is none of ours."""
    try:
        kind = make_url(url).get_backend_name()
        if kind == "sqlite":
            return Sqlite(url)
        if kind == "postgresql":
            return Postgres(url)
    except (ArgumentError, ValueError):
        raise CannotServe("the database's address is no URL, as postgresql+psycopg://…") from None
    except (NoSuchModuleError, ImportError) as error:
        raise CannotServe(f"the database's driver is not installed: {error}") from None
    raise CannotServe(f"{kind} is no database that minus knows: use PostgreSQL or SQLite")


def _set(pragmas: Sequence[str], connection: Any, _record: object) -> None:
    """Set SQLite up: write-ahead log, each commit flushed to disk, transactions by us."""
    connection.isolation_level = None
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


def _set_up(connection: Any, _record: object) -> None:
    """Set a connection to PostgreSQL up; a pooler between may refuse options at connecting."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        cursor.execute("SET idle_in_transaction_session_timeout = '60s'")
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.commit()


def _leave_read_only(context: ExceptionContext) -> None:
    """Connect anew after a failover: the address may lead to another server by now."""
    if getattr(context.original_exception, "sqlstate", None) in _READ_ONLY:
        context.is_disconnect = True


def _begin(statement: str, connection: Connection) -> None:
    connection.exec_driver_sql(statement)


# --- what went wrong ---


def is_disk_full(error: Exception) -> bool:
    """Tell whether the database refused because its disk has no room."""
    if not isinstance(error, OperationalError):
        return False
    if getattr(error.orig, "sqlstate", None) is not None:
        return getattr(error.orig, "sqlstate", "") == _DISK_FULL
    kind = getattr(error.orig, "sqlite_errorname", "SQLITE_IOERR_WRITE")  # from Python 3.11
    # a write that a quota or a limit refused is no "full" to SQLite
    refused = "disk I/O error" in str(error.orig) and kind == "SQLITE_IOERR_WRITE"
    return refused or "disk is full" in str(error.orig)


def is_busy(error: Exception) -> bool:
    """Tell whether the same may well succeed later: locks, races that were lost, a server that
    is away."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError) or is_disk_full(error):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_BUSY)
    if type(error.orig).__module__.startswith("psycopg"):  # no connection, so no word of it
        return isinstance(error, OperationalError)
    return "locked" in str(error.orig) or "interrupted" in str(error.orig)


# --- globs ---


def plain(pattern: names.Glob) -> str | None:
    """The one name that fits, None where others may."""
    if all(isinstance(part, str) and len(part) == 1 for part in pattern.parts):
        return "".join(str(part) for part in pattern.parts)
    return None


def fits(column: ColumnElement[str], pattern: names.Glob, dialect: str) -> ColumnElement[bool]:
    """Whether a text fits a glob, as the database of this dialect says it."""
    if (name := plain(pattern)) is not None:
        return column == name
    if names.OneOf((), out=False) in pattern.parts:  # a set of nothing
        return false()
    return (_postgres_glob if dialect == "postgresql" else _sqlite_glob)(column, pattern)


def _sqlite_glob(column: ColumnElement[str], pattern: names.Glob) -> ColumnElement[bool]:
    """Whether a text fits, by SQLite's GLOB."""
    special = {names.Glob.ANY: "*", names.Glob.ONE: "?", "*": "[*]", "?": "[?]", "[": "[[]"}
    spelt = [
        special.get(part, part) if isinstance(part, str) else _sqlite_set(part)
        for part in pattern.parts
    ]
    return column.op("GLOB", is_comparison=True)("".join(spelt))


def _sqlite_set(part: names.OneOf) -> str:
    """A set as GLOB reads it: `]` counts as a character in front, `-` there or behind it, and
    `^` anywhere but in front; so these three are taken out of the ranges."""
    if not part.ranges:
        return "?"
    singles: set[str] = set()
    ranges = ""
    for low, high in part.ranges:
        taken = [char for char in "-]^" if low <= char <= high]
        singles.update(taken)
        cuts = [ord(low) - 1, *map(ord, taken), ord(high) + 1]
        for before, after in pairwise(cuts):
            if after - before > 1:
                ranges += f"{chr(before + 1)}-{chr(after - 1)}"
    if singles == {"^"} and not ranges and not part.out:
        return "^"
    front = "".join(char for char in "]-" if char in singles)
    return f"[{'^' if part.out else ''}{front}{ranges}{'^' if '^' in singles else ''}]"


def _postgres_glob(column: ColumnElement[str], pattern: names.Glob) -> ColumnElement[bool]:
    """Whether a text fits, by PostgreSQL's regular expressions, character by code point."""
    special = {names.Glob.ANY: ".*", names.Glob.ONE: "."}
    spelt = [
        special.get(part) or _code(part) if isinstance(part, str) else _regex_set(part)
        for part in pattern.parts
    ]
    return column.collate("C").op("~", is_comparison=True)(f"^{''.join(spelt)}$")


def _code(char: str) -> str:
    return char if char.isalnum() else f"\\U{ord(char):08X}"


def _regex_set(part: names.OneOf) -> str:
    if not part.ranges:
        return "."
    ranges = (f"\\U{ord(low):08X}-\\U{ord(high):08X}" for low, high in part.ranges)
    return f"[{'^' if part.out else ''}{''.join(ranges)}]"
