"""The rows: every SQL statement of the service stands here.

`Catalog` is the database; `Catalog.write()` and `Catalog.read()` give one transaction each,
as `Rows`, whose methods are the statements. The rules say what belongs into one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Dialect,
    ScalarSelect,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    case,
    delete,
    event,
    exists,
    func,
    insert,
    inspect,
    literal,
    null,
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from minus_server import names
from minus_server.databases import fits, open_database, plain, shown_url
from minus_server.errors import CannotServe
from minus_server.meter import Meter
from minus_server.schema import (
    UNPLACED,
    clients,
    failures,
    files,
    folders,
    follows,
    gone,
    identity,
    limits,
    messages,
    metadata,
    misses,
    repeats,
    sessions,
    small,
    stars,
    tokens,
    totals,
    uploads,
    users,
    visits,
)

if TYPE_CHECKING:
    from typing_extensions import Self

_AT_ONCE = 500  # rows named in one statement
_SMALL_AT_ONCE = 100  # bytes of small files, 6 MiB at the most
_UNFINISHED = "unfinished-"  # what a catalog that is being filled says instead of its revision
_MIGRATIONS = Path(__file__).parent / "migrations"

__all__ = [
    "Catalog",
    "Client",
    "Entry",
    "File",
    "Folder",
    "IntegrityError",
    "Listing",
    "Message",
    "Part",
    "Rows",
    "Token",
    "Upload",
    "User",
]


@dataclass(frozen=True, slots=True)
class _Record:
    """One row of `table`, its columns by name."""

    table: ClassVar[Table]

    @classmethod
    def columns(cls) -> list[ColumnElement[Any]]:
        """The columns in the order of the fields."""
        return [cls.table.c[field.name] for field in fields(cls)]

    @classmethod
    def of(cls, row: Sequence[Any]) -> Self:
        return cls(*row)

    @classmethod
    def maybe(cls, row: Sequence[Any] | None) -> Self | None:
        return None if row is None else cls(*row)


@dataclass(frozen=True, slots=True)
class User(_Record):
    """An account. `used`, `quota` and `reserved` (for uploads under way) are bytes."""

    table: ClassVar[Table] = users
    n: int
    username: str
    slug: str
    display_name: str
    description: str | None
    email: str
    password_hash: str | None
    quota: int
    used: int
    visits: int
    karma: int
    shared: int
    created: int
    reserved: int
    folders: int


@dataclass(frozen=True, slots=True)
class Client(_Record):
    """A program that may ask for tokens: the API key (`id`) and its secret's hash."""

    table: ClassVar[Table] = clients
    n: int
    id: str
    name: str
    secret_hash: str
    owner_n: int | None
    created: int


@dataclass(frozen=True, slots=True)
class Token(_Record):
    """An access token and the refresh token given out with it, both as hashes."""

    table: ClassVar[Table] = tokens
    n: int
    family: str
    parent_n: int | None
    user_n: int
    client_n: int
    scope: str
    used: bool
    access_expires: int
    refresh_expires: int


@dataclass(frozen=True, slots=True)
class Folder(_Record):
    """A folder, with its owner's names and the file that stands for it.

    editor_id   of a gallery without an owner: who holds it may change it
    """

    table: ClassVar[Table] = folders
    n: int
    id: str
    owner_n: int | None
    name: str
    is_public: bool
    file_count: int
    bytes: int
    view_count: int
    star_count: int
    created: int
    updated: int
    editor_id: str | None
    last_visit: int
    owner_slug: str
    owner_username: str
    owner_name: str
    cover_id: str | None
    cover_name: str | None
    starred: bool

    @classmethod
    def columns(cls) -> list[ColumnElement[Any]]:
        own = [folders.c[field.name] for field in fields(cls)[:-6]]
        first = files.alias("first")
        cover = {
            name: select(first.c[name])
            .where(first.c.folder_n == folders.c.n)
            .order_by(first.c.position, first.c.n)
            .limit(1)
            .scalar_subquery()
            for name in ("id", "name")
        }
        starred = exists().where(
            stars.c.folder_n == folders.c.n, stars.c.user_n == bindparam("viewer", 0)
        )
        return [
            *own,
            func.coalesce(users.c.slug, "").label("owner_slug"),
            func.coalesce(users.c.username, "").label("owner_username"),
            func.coalesce(users.c.display_name, "").label("owner_name"),
            cover["id"].label("cover_id"),
            cover["name"].label("cover_name"),
            starred.label("starred"),
        ]


@dataclass(frozen=True, slots=True)
class File(_Record):
    """A file: what is known of it and of its folder, and `blob`, the key of its bytes."""

    table: ClassVar[Table] = files
    n: int
    id: str
    folder_n: int
    position: int
    name: str
    title: str
    caption: str
    width: int
    height: int
    size: int
    mimetype: str
    sha256: str
    blob: str
    uploaded: int
    folder_id: str
    owner_n: int | None
    last_visit: int

    @classmethod
    def columns(cls) -> list[ColumnElement[Any]]:
        own = [files.c[field.name] for field in fields(cls)[:-3]]
        of_folder = (folders.c.owner_n, folders.c.last_visit)
        return [*own, folders.c.id.label("folder_id"), *of_folder]


@dataclass(frozen=True, slots=True)
class Upload(_Record):
    """An upload under way, or done of late, and the room that it holds.

    size      None where it is not known yet
    arrived   bytes that are on disk for good
    digest    the SHA-256 that the sender tells of, in hexadecimal
    file_id   of the file that became of it
    metadata  its `Upload-Metadata` as it was sent; empty where there was none, or a long one
    holder    the process that works on it, None where there is one process alone
    folder_n  None (`folder_id` too) where the gallery is not known yet
    """

    table: ClassVar[Table] = uploads
    n: int
    folder_n: int | None
    resumable: bool
    name: str
    caption: str
    declared_type: str
    metadata: str
    size: int | None
    reserved: int
    arrived: int
    digest: str | None
    blob: str
    file_id: str | None
    expires: int
    holder: str | None
    folder_id: str | None
    owner_n: int | None

    @classmethod
    def columns(cls) -> list[ColumnElement[Any]]:
        own = [uploads.c[field.name] for field in fields(cls)[:-2]]
        return [*own, folders.c.id.label("folder_id"), folders.c.owner_n]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a timeline: a folder, or what is left of one (`folder` is None).

    last   when it was visited last: another's in a history by the user, else by anybody
    """

    last: int
    id: str
    name: str
    folder: Folder | None


@dataclass(frozen=True, slots=True)
class Message:
    """A message between two users, each named by slug."""

    body: str
    read: bool
    created: int
    sender: str
    target: str


@dataclass(frozen=True, slots=True)
class Part:
    """Which rows of a list are wanted.

    after    the place of the row before them, () before the first; None: `offset` counts
    name     of this name alone
    match    of names that fit this alone
    """

    limit: int
    offset: int = 0
    after: tuple[int, ...] | None = None
    name: str | None = None
    match: names.Glob | None = None

    @property
    def is_filtered(self) -> bool:
        return self.name is not None or self.match is not None


@dataclass(frozen=True, slots=True)
class Listing:
    """Some rows of a list.

    total      how many there are in all; None where that was not counted
    following  the place of the last of them, None where none comes behind it; by cursor alone
    """

    rows: Sequence[Any]
    total: int | None
    following: tuple[int, ...] | None = None


class Catalog:
    """The database of one service."""

    def __init__(self, url: str) -> None:
        self._database = open_database(url)
        self.is_shared = self._database.is_shared
        self.engine = self._database.engine
        self._writer = self._database.writer
        self._written = False
        self._meter = Meter()

    @classmethod
    def in_folder(cls, data: Path) -> Self:
        """Open the catalog of a data folder, making or upgrading it where needed."""
        catalog = cls(cls.url_in(data))
        catalog.migrate()
        return catalog

    @staticmethod
    def url_in(data: Path) -> str:
        """The URL of a data folder's own database."""
        return f"sqlite:///{data / 'catalog.sqlite3'}"

    @classmethod
    def shared(cls, url: str) -> Self:
        """Open a catalog that others may have open, as it is. Raises CannotServe"""
        catalog = cls(url)
        revision = catalog.revision()
        if revision != newest_revision():
            catalog.close()
            _refuse_newer(revision)
            made = (
                "has no tables yet" if revision is None else f"is of an older version ({revision})"
            )
            raise CannotServe(f"the database {made}: run minus-server migrate")
        return catalog

    def migrate(self) -> bool:
        """Bring the schema to this version's. -> False where it was. Raises CannotServe

        Alembic is loaded only where there is work. Of two at once, one waits and finds it done.
        """
        if self.revision() == newest_revision():
            return False
        with self._writer.begin() as connection:
            self._database.be_patient(connection)
            Rows(connection).lock("migrate")
            revision = _revision(connection)
            if revision == newest_revision():
                return False
            if revision is None and _create(connection):
                return True
            _refuse_newer(revision)
            from alembic import command
            from alembic.config import Config

            config = Config()
            config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return True

    def begin_filling(self, source: str, is_free: Callable[[], bool]) -> None:
        """Make an empty catalog that nothing opens until `filling` is done.

        source    what it is filled from; one that was begun from there goes on
        is_free   tells whether nothing else stands in the way. Raises CannotServe.
        """
        mark = _UNFINISHED + sha256(f"{newest_revision()} {source}".encode()).hexdigest()[:20]
        with self._writer.begin() as connection:
            rows = Rows(connection)
            self._database.be_patient(connection)
            rows.lock("migrate")
            if (revision := _revision(connection)) == mark:
                return
            if revision is not None and revision.startswith(_UNFINISHED):
                raise CannotServe("the target has a part of something else")
            made = revision is None and _create(connection)
            new = made or (revision == newest_revision() and rows.is_empty())
            if not (new and is_free()):
                raise CannotServe(
                    f"the target is not empty: there are rows in {shown_url(self._writer.url)};"
                    " a finished copy takes nothing more, empty both places to copy anew"
                )
            rows.set_revision(mark)

    @contextmanager
    def filling(self) -> Iterator[Rows]:
        """The one transaction that fills it; when the block ends, it is a whole catalog."""
        with self._writer.begin() as connection:
            yield Rows(connection)
            Rows(connection).set_revision(newest_revision())

    def revision(self) -> str | None:
        """Of the schema, None where there is none. Raises CannotServe without a database"""
        try:
            with self.engine.connect() as connection:
                return _revision(connection)
        except DBAPIError as error:
            why = " ".join(str(error.orig).split())
            where = shown_url(self._writer.url)
            raise CannotServe(f"the database {where} cannot be opened: {why}") from None

    @contextmanager
    def read(self, seconds: float | None = None) -> Iterator[Rows]:
        """One transaction that changes nothing.

        seconds   that its statements may take; raises OperationalError, `is_busy`, after that
        """
        began = time.perf_counter()
        with self.engine.begin() as connection:
            self._meter.connection_waited(time.perf_counter() - began)
            if seconds is None:
                yield Rows(connection)
                return
            with self._database.limited(connection, seconds):
                yield Rows(connection)

    @contextmanager
    def write(self, *, durable: bool = True, beat: bool = False) -> Iterator[Rows]:
        """One transaction; it is on disk when the block ends, or nothing of it is.

        durable   False for what a crash of the database's machine may forget
        beat      it waits for no connection that requests have

        In SQLite it is alone. In PostgreSQL others run beside it: what it reads and goes by, it
        locks (`lock`, `lock_folder`, `lock_upload`), always in the order key, folder, upload,
        user or total; or it decides in the condition of the statement itself.
        """
        began = time.perf_counter()
        with (self._database.beats if beat else self._writer).begin() as connection:
            self._meter.connection_waited(time.perf_counter() - began)
            if not durable:
                self._database.need_no_flush(connection)
            yield Rows(connection)
        self._written = True

    def watch(self, meter: Meter) -> None:
        """Have the connections counted from now on, and what is waited for them."""
        self._meter = meter
        for pool in {self.engine.pool, self._writer.pool}:
            event.listen(pool, "checkout", lambda *_: meter.connection_taken(1))
            event.listen(pool, "checkin", lambda *_: meter.connection_taken(-1))

    def ping(self) -> None:
        """Raises SQLAlchemyError where nothing can be read, or the server takes no writes."""
        with self._database.pings.begin() as connection:
            Rows(connection).ping()
            self._database.need_writable(connection)

    def checkpoint(self, *, alone: bool = True) -> None:
        """Bring what the write-ahead log holds into the database; readers and writers go on.

        alone   no other process writes
        """
        if self._written or not alone:
            self._written = False
            self._database.checkpoint()

    def close(self) -> None:
        self.engine.dispose()
        self._writer.dispose()
        self._database.pings.dispose()


@lru_cache(1)
def newest_revision() -> str:
    """The revision of the schema that this version works with."""
    return max(path.stem for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _revision(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _refuse_newer(revision: str | None) -> None:
    if revision is not None and revision.startswith(_UNFINISHED):
        raise CannotServe("what is copied or imported here is unfinished: run that command again")
    known = {path.stem for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")}
    if revision is not None and revision not in known:
        raise CannotServe(f"the data is of a newer version of minus ({revision})")


def _create(connection: Connection) -> bool:
    """Make a new catalog's tables, as the migrations would. -> False where there are any"""
    if inspect(connection).get_table_names():
        return False
    metadata.create_all(connection)
    for name in ("anonymous", "reserved"):
        connection.execute(insert(totals).values(name=name))
    connection.execute(insert(identity).values(id=names.new_id()))
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
    stamp = text("INSERT INTO alembic_version VALUES (:revision)")
    connection.execute(stamp, {"revision": newest_revision()})
    return True


_FOLDERS: Select[Any] = select(*Folder.columns()).select_from(
    folders.outerjoin(users, users.c.n == folders.c.owner_n)
)
_FILES: Select[Any] = select(*File.columns()).select_from(
    files.join(folders, folders.c.n == files.c.folder_n)
)

# Those of every upload and download stand here once: SQLAlchemy compiles a statement that it
# knows no second time, and knows one object faster than a new one.
_FOLDER = _FOLDERS.where(folders.c.id == bindparam("id"))
_FILE = _FILES.where(files.c.id == bindparam("id"))
_TOKEN = (
    select(*Token.columns(), *User.columns())
    .join(users, users.c.n == tokens.c.user_n)
    .where(tokens.c.access_hash == bindparam("hash"))
)
_ADD_FILES = insert(files)
_NUMBERS: Select[Any] = select(files.c.id, files.c.n)
_SMALL: Select[Any] = select(small.c.data).join(files, files.c.n == small.c.n)
_ONE_SMALL = _SMALL.where(files.c.blob == bindparam("key"))
_COUNT_FILES = (
    update(folders)
    .where(folders.c.n == bindparam("folder"))
    .values(
        file_count=folders.c.file_count + bindparam("count"),
        bytes=folders.c.bytes + bindparam("size"),
        updated=bindparam("now"),
        last_visit=bindparam("now"),
    )
)
_FITS = users.c.used + users.c.reserved + bindparam("size") <= users.c.quota
_TAKE_ROOM = (
    update(users)
    .where(users.c.n == bindparam("user"), _FITS)
    .values(used=users.c.used + bindparam("size"))
)
_RESERVE = (
    update(users)
    .where(users.c.n == bindparam("user"), or_(_FITS, bindparam("size") <= 0))
    .values(reserved=users.c.reserved + bindparam("size"))
)
_UPLOADS: Select[Any] = select(*Upload.columns()).select_from(
    uploads.outerjoin(folders, folders.c.n == uploads.c.folder_n)
)
_LOCKED_UPLOADS = _UPLOADS.with_for_update(of=uploads)


_UNDER_WAY: Any = select(uploads.c.blob).where(
    uploads.c.blob.in_(bindparam("keys", expanding=True)), uploads.c.file_id.is_(None)
)
_NAMED: Any = _UNDER_WAY.union_all(
    select(files.c.blob).where(files.c.blob.in_(bindparam("keys", expanding=True)))
)
_SEQUENCES = text("SELECT name, seq FROM sqlite_sequence")
_NUMBERED = [table.name for table in metadata.sorted_tables if table is not small]


class Counter(NamedTuple):
    """A counter of a row, what it should say, and the words for one that says something else."""

    column: Column[int]
    true: ScalarSelect[int]
    words: str


def _of_owner(table: Table, value: ColumnElement[int]) -> ScalarSelect[int]:
    """The sum of a column over all folders of a user."""
    own = select(func.coalesce(func.sum(value), 0)).select_from(
        folders.join(table, table.c.folder_n == folders.c.n)
    )
    return own.where(folders.c.owner_n == users.c.n).correlate(users).scalar_subquery()


def _count_of(of: Table, *conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    """How many rows of another table there are for each row of this one."""
    return select(func.count()).where(*conditions).correlate(of).scalar_subquery()


_COUNTERS = (
    Counter(
        users.c.reserved, _of_owner(uploads, uploads.c.reserved), "{}: reserves {} bytes, needs {}"
    ),
    Counter(
        folders.c.file_count,
        _count_of(folders, files.c.folder_n == folders.c.n),
        "{}: counts {} files, has {}",
    ),
    Counter(
        folders.c.bytes,
        select(func.coalesce(func.sum(files.c.size), 0))
        .where(files.c.folder_n == folders.c.n)
        .correlate(folders)
        .scalar_subquery(),
        "{}: counts {} bytes, has {}",
    ),
    Counter(
        folders.c.star_count,
        _count_of(folders, stars.c.folder_n == folders.c.n),
        "{}: counts {} stars, has {}",
    ),
    Counter(users.c.used, _of_owner(files, files.c.size), "{}: counts {} bytes, has {}"),
    Counter(
        users.c.karma,
        _count_of(users, follows.c.followed_n == users.c.n),
        "{}: counts {} followers, has {}",
    ),
    Counter(
        users.c.folders,
        _count_of(users, folders.c.owner_n == users.c.n),
        "{}: counts {} folders, has {}",
    ),
    Counter(
        users.c.shared,
        _count_of(users, folders.c.owner_n == users.c.n, folders.c.is_public),
        "{}: counts {} public folders, has {}",
    ),
)

_USER_BY_SLUG: Select[Any] = select(*User.columns()).where(users.c.slug == bindparam("slug"))
_FILES_IN_ORDER: Select[Any] = (
    _FILES.where(files.c.folder_n == bindparam("folder_n"))
    .order_by(files.c.position, files.c.n)
    .offset(bindparam("offset"))
    .limit(bindparam("limit"))
)


def _slugs_around(shown: ColumnElement[int], given: ColumnElement[int]) -> Select[Any]:
    query = select(users.c.slug).join(follows, shown == users.c.n)
    return query.where(given == bindparam("user_n")).order_by(follows.c.n).limit(bindparam("limit"))


_FOLLOWER_SLUGS = _slugs_around(follows.c.follower_n, follows.c.followed_n)
_FOLLOWING_SLUGS = _slugs_around(follows.c.followed_n, follows.c.follower_n)


@lru_cache(256)
def _files_part(columns: tuple[str, ...], kind: str, *, one_name: bool) -> Select[Any]:
    """Some columns of a folder's files, in the folder's order.

    kind      "page": from an offset on; "same": of one position, behind a number; "later":
              behind a position. A place is passed by these two, one after the other: for both
              together SQLite would walk through all files of the position.
    one_name  files of one name are few: found by it, then put in order
    """
    of_folder = bindparam("folder_id", type_=Text).label("folder_id")
    shown = [of_folder if name == "folder_id" else files.c[name] for name in columns]
    position: ColumnElement[int] = files.c.position
    n: ColumnElement[int] = files.c.n
    if one_name:
        position, n = position + 0, n + 0  # what is computed is not taken for an index
    query = select(*shown).where(files.c.folder_n == bindparam("folder_n"))
    query = query.order_by(position, n).limit(bindparam("limit"))
    if kind == "page":
        return query.offset(bindparam("offset"))
    if kind == "same":
        return query.where(position == bindparam("position"), n > bindparam("n"))
    return query.where(position > bindparam("position"))


@lru_cache(16)
def _insertion(
    dialect: Dialect, table: Table, columns: tuple[str, ...]
) -> tuple[str, Sequence[str] | None]:
    """The driver's statement for a row of these columns; their order where it is by position."""
    compiled = insert(table).compile(dialect=dialect, column_keys=list(columns))
    return str(compiled), compiled.positiontup


@lru_cache(16)
def _files_by(key: str, columns: tuple[str, ...]) -> Select[Any]:
    """Some columns of the files of a folder whose `key` is one of `keys`, in no order."""
    wanted = files.c[key].in_(bindparam("keys", expanding=True))
    own = files.c.folder_n == bindparam("folder_n")
    of_folder = select(folders.c.id).where(folders.c.n == files.c.folder_n).scalar_subquery()
    shown = [of_folder if name == "folder_id" else files.c[name] for name in columns]
    return select(*shown).where(wanted, own)


def _is_one_name(part: Part) -> bool:
    return part.name is not None or (part.match is not None and plain(part.match) is not None)


class Rows:
    """The statements, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = self._db = connection
        self._is_postgres = connection.dialect.name == "postgresql"

    def ping(self) -> None:
        """Read one row; raises what any other statement would."""
        self._db.execute(text("SELECT version_num FROM alembic_version")).one()

    def lock(self, *key: str) -> None:
        """Let nobody else who asks for the same words on, until this transaction ends."""
        if self._is_postgres:
            number = func.hashtextextended("\0".join(key).replace("\0", "\x01"), 0)
            self._db.execute(select(func.pg_advisory_xact_lock(number)))

    def _named(self, query: Select[Any], table: Table, part: Part) -> Select[Any]:
        """Only the rows whose name is wanted."""
        if part.name is not None:
            query = query.where(table.c.name == part.name)
        if part.match is not None:
            query = query.where(fits(table.c.name, part.match, self._db.dialect.name))
        return query

    def _one(self, query: Select[Any], **parameters: object) -> Sequence[Any] | None:
        return self._db.execute(query, parameters).first()

    def _all(self, query: Select[Any], **parameters: object) -> Sequence[Sequence[Any]]:
        return self._db.execute(query, parameters).all()

    def _count(self, query: Select[Any]) -> int:
        total = self._db.execute(select(func.count()).select_from(query.subquery())).scalar()
        return int(total or 0)

    def _insert(self, table: Table, **values: object) -> int:
        key = self._db.execute(insert(table).values(**values)).inserted_primary_key
        return int(key[0]) if key else 0

    def _set(self, table: Table, n: int, values: Mapping[str, object]) -> None:
        if values:
            self._db.execute(update(table).where(table.c.n == n).values(dict(values)))

    # --- users ---

    def add_user(self, **values: object) -> int:
        """Raises IntegrityError where the slug is taken."""
        return self._insert(users, **values)

    def user(self, n: int) -> User | None:
        return User.maybe(self._one(select(*User.columns()).where(users.c.n == n)))

    def user_by_slug(self, slug: str) -> User | None:
        return User.maybe(self._one(_USER_BY_SLUG, slug=slug))

    def users(self) -> list[User]:
        return [User.of(row) for row in self._all(select(*User.columns()).order_by(users.c.n))]

    def change_user(self, n: int, values: Mapping[str, object]) -> None:
        self._set(users, n, values)

    def shut_out(self, n: int) -> None:
        """End whatever signs somebody in as this user, and the clients that the user made."""
        self.change_user(n, {"password_hash": None})
        self.delete_tokens_of(n)
        self.delete_sessions_of(n)
        self._db.execute(delete(clients).where(or_(clients.c.maker_n == n, clients.c.owner_n == n)))

    def delete_user(self, n: int) -> None:
        """Remove a user who has no folders, with all that others' counters say of the user."""
        self.shut_out(n)
        followed = select(follows.c.followed_n).where(follows.c.follower_n == n)
        less = update(users).where(users.c.n.in_(followed))
        self._db.execute(less.values(karma=users.c.karma - 1))
        starred = select(stars.c.folder_n).where(stars.c.user_n == n)
        fewer = update(folders).where(folders.c.n.in_(starred))
        self._db.execute(fewer.values(star_count=folders.c.star_count - 1))
        self._db.execute(delete(users).where(users.c.n == n))

    def take_room(self, user_n: int, size: int) -> bool:
        """Count bytes against the quota. -> False where they do not fit"""
        return self._db.execute(_TAKE_ROOM, {"user": user_n, "size": size}).rowcount == 1

    def reserve(self, user_n: int, size: int) -> bool:
        """Hold bytes back for an upload, or give them back. -> False where they do not fit"""
        return self._db.execute(_RESERVE, {"user": user_n, "size": size}).rowcount == 1

    def take_unowned_room(self, size: int, most: int) -> bool:
        """Count bytes of galleries without an owner. -> False where they would pass `most`"""
        return self._add_to_total("anonymous", size, most)

    def reserve_unowned(self, size: int, most: int) -> bool:
        """Hold bytes back for an upload into one of them, or give them back. -> False as above"""
        return self._add_to_total("reserved", size, most)

    def _add_to_total(self, name: str, size: int, most: int) -> bool:
        self.lock("totals")  # there are two rows, and the condition looks at both
        every = totals.alias("every")
        spent = select(func.sum(every.c.value)).scalar_subquery()
        fits = and_(totals.c.name == name, or_(spent + size <= most, literal(size <= 0)))
        value = totals.c.value
        changed = self._db.execute(update(totals).where(fits).values(value=value + size))
        return changed.rowcount == 1

    def give_unowned_room(self, size: int) -> None:
        self.lock("totals")  # before the row, as `_add_to_total` does
        value = totals.c.value
        anonymous = totals.c.name == "anonymous"
        self._db.execute(update(totals).where(anonymous).values(value=value - size))

    def unowned_bytes(self, name: str = "anonymous") -> int:
        """The bytes of galleries without an owner, or those `reserved` in them."""
        query = select(totals.c.value).where(totals.c.name == name)
        return int(self._db.execute(query).scalar_one())

    def count_up(self, key: str, now: int, seconds: int, most: int) -> bool:
        """Count something of which there may be so many in a time. -> False where it is reached

        The time begins with the first, and anew with the first after its end.
        """
        self.lock("limit", key)
        over = limits.c.since <= now - seconds
        fits = and_(limits.c.key == key, or_(over, limits.c.count < most))
        counted = (
            update(limits)
            .where(fits)
            .values(
                since=case((over, now), else_=limits.c.since),
                count=case((over, 1), else_=limits.c.count + 1),
            )
        )
        if most < 1:
            return False
        if self._db.execute(counted).rowcount:
            return True
        if self._one(select(limits.c.n).where(limits.c.key == key)) is not None:
            return False
        self._db.execute(delete(limits).where(over))
        self._insert(limits, key=key, since=now, count=1)
        return True

    def add_to_user(self, user_n: int, column: str, by: int) -> None:
        """Add to a counter of the user: used, visits, karma or shared."""
        counter = users.c[column]
        self._db.execute(update(users).where(users.c.n == user_n).values({counter: counter + by}))

    # --- clients and tokens ---

    def add_client(self, **values: object) -> int:
        return self._insert(clients, **values)

    def client(self, client_id: str) -> Client | None:
        return Client.maybe(self._one(select(*Client.columns()).where(clients.c.id == client_id)))

    def client_of(self, owner_n: int) -> Client | None:
        return Client.maybe(
            self._one(select(*Client.columns()).where(clients.c.owner_n == owner_n))
        )

    def clients_made_by(self, user_n: int) -> list[Client]:
        query = select(*Client.columns()).where(clients.c.maker_n == user_n).order_by(clients.c.n)
        return [Client.of(row) for row in self._all(query)]

    def delete_client(self, client_id: str, maker_n: int) -> bool:
        """Remove a client with all its tokens, if this user made it."""
        own = and_(clients.c.id == client_id, clients.c.maker_n == maker_n)
        return self._db.execute(delete(clients).where(own)).rowcount == 1

    def clients(self) -> list[tuple[Client, str]]:
        """Every client, with the name of the user it stands for or was made by, if any."""
        of_user = users.c.n == func.coalesce(clients.c.owner_n, clients.c.maker_n)
        query = select(*Client.columns(), func.coalesce(users.c.username, ""))
        found = self._all(query.outerjoin(users, of_user).order_by(clients.c.n))
        return [(Client.of(row[:-1]), row[-1]) for row in found]

    def drop_client(self, client_id: str) -> bool:
        """Remove a client with all its tokens, whoever made it."""
        return self._db.execute(delete(clients).where(clients.c.id == client_id)).rowcount == 1

    def change_client(self, n: int, values: Mapping[str, object]) -> None:
        self._set(clients, n, values)

    def add_token(self, **values: object) -> None:
        self._insert(tokens, **values)

    def token_by_access(self, access_hash: str) -> tuple[Token, User] | None:
        if (row := self._one(_TOKEN, hash=access_hash)) is None:
            return None
        split = len(fields(Token))
        return Token(*row[:split]), User(*row[split:])

    def token_by_refresh(self, refresh_hash: str) -> Token | None:
        """The token, locked: of two who refresh at once, the second sees what the first did."""
        query = select(*Token.columns()).where(tokens.c.refresh_hash == refresh_hash)
        return Token.maybe(self._one(query.with_for_update()))

    def has_used_child(self, token_n: int) -> bool:
        query = select(tokens.c.n).where(tokens.c.parent_n == token_n, tokens.c.used)
        return self._one(query.limit(1)) is not None

    def mark_used(self, token_n: int) -> None:
        self._set(tokens, token_n, {"used": True})

    def delete_family(self, family: str) -> None:
        self._db.execute(delete(tokens).where(tokens.c.family == family))

    def delete_tokens_of(self, user_n: int) -> None:
        self._db.execute(delete(tokens).where(tokens.c.user_n == user_n))

    def delete_old_tokens(self, now: int) -> None:
        self._db.execute(delete(tokens).where(tokens.c.refresh_expires < now))

    # --- sessions of the pages ---

    def add_session(self, **values: object) -> None:
        self._insert(sessions, **values)

    def session_user(self, token_hash: str, now: int) -> User | None:
        query = (
            select(*User.columns())
            .join(sessions, sessions.c.user_n == users.c.n)
            .where(sessions.c.token_hash == token_hash, sessions.c.expires > now)
            .where(sessions.c.once.is_(False))
        )
        return User.maybe(self._one(query))

    def take_link(self, token_hash: str, now: int) -> int | None:
        """Use a one-time link up. -> whose it was, None where it is worth nothing"""
        good = and_(sessions.c.token_hash == token_hash, sessions.c.once, sessions.c.expires > now)
        row = self._one(select(sessions.c.user_n).where(good))
        deleted = self._db.execute(delete(sessions).where(good)).rowcount
        return int(row[0]) if row is not None and deleted == 1 else None

    def delete_session(self, token_hash: str) -> None:
        self._db.execute(delete(sessions).where(sessions.c.token_hash == token_hash))

    def delete_sessions_of(self, user_n: int) -> None:
        self._db.execute(delete(sessions).where(sessions.c.user_n == user_n))

    def delete_old_sessions(self, now: int) -> None:
        self._db.execute(delete(sessions).where(sessions.c.expires <= now))

    # --- sign-ins that failed ---

    def failures(self, key: str) -> tuple[int, int, int]:
        """What is counted under this key. -> how many, the moment of the last, how many of them
        are being looked at; 0 three times for none"""
        query = select(failures.c.count, failures.c.last, failures.c.trying)
        row = self._one(query.where(failures.c.key == key))
        return (0, 0, 0) if row is None else (int(row[0]), int(row[1]), int(row[2]))

    def set_failures(self, key: str, count: int, last: int, trying: int = 0) -> None:
        """Count under a key, which is locked."""
        own = failures.c.key == key
        values = {"count": max(0, count), "last": last, "trying": max(0, trying)}
        if count <= 0 and trying <= 0:
            self._db.execute(delete(failures).where(own))
        elif not self._db.execute(update(failures).where(own).values(values)).rowcount:
            self._insert(failures, key=key, **values)

    def forget_failures(self, before: int, most: int) -> None:
        """Remove those that are old, and all but the newest rows where there are too many."""
        newest = select(func.max(failures.c.n)).scalar_subquery()
        old = or_(failures.c.last < before, failures.c.n <= newest - most)
        self._db.execute(delete(failures).where(old))

    # --- ids that were guessed wrong ---

    def misses(self, key: str) -> tuple[int, int]:
        """How full the bucket of an address was, and when; 0 and 0 for none."""
        row = self._one(select(misses.c.level, misses.c.since).where(misses.c.key == key))
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    def set_misses(self, key: str, level: int, since: int) -> None:
        """Set the bucket of a key, which is locked."""
        values = {"level": level, "since": since}
        own = misses.c.key == key
        if not self._db.execute(update(misses).where(own).values(values)).rowcount:
            self._insert(misses, key=key, **values)

    def forget_misses(self, before: int, most: int) -> None:
        """Remove those that are old, and all but the newest rows where there are too many."""
        newest = select(func.max(misses.c.n)).scalar_subquery()
        old = or_(misses.c.since < before, misses.c.n <= newest - most)
        self._db.execute(delete(misses).where(old))

    # --- folders ---

    def add_folder(self, **values: object) -> int:
        return self._insert(folders, **values)

    def lock_folder(self, folder_id: str) -> Folder | None:
        """The folder, which nobody else changes until this transaction ends."""
        if self._is_postgres:
            self._db.execute(select(folders.c.n).where(folders.c.id == folder_id).with_for_update())
        return self.folder(folder_id)

    def hold_folder(self, n: int) -> bool:
        """Lock a folder by number. -> False where it is gone; SQLite tells that by IntegrityError
        later, when something is added to it"""
        if not self._is_postgres:
            return True
        return self._one(select(folders.c.n).where(folders.c.n == n).with_for_update()) is not None

    def folder(self, folder_id: str, viewer: int = 0) -> Folder | None:
        return Folder.maybe(self._one(_FOLDER, id=folder_id, viewer=viewer))

    def linked_folder(self, link_id: str, viewer: int = 0) -> Folder | None:
        """A folder by its id or its editor id."""
        named = or_(folders.c.id == link_id, folders.c.editor_id == link_id)
        return Folder.maybe(self._one(_FOLDERS.where(named), viewer=viewer))

    def unvisited(self, since: int, limit: int) -> list[Folder]:
        """Galleries without an owner that nobody has visited for so long."""
        query = _FOLDERS.where(folders.c.owner_n.is_(None), folders.c.last_visit < since)
        page = query.order_by(folders.c.last_visit).limit(limit)
        return [Folder.of(row) for row in self._all(page, viewer=0)]

    def change_folder(self, n: int, values: Mapping[str, object]) -> None:
        self._set(folders, n, values)

    def add_to_folder(self, n: int, column: str, by: int) -> None:
        """Add to a counter of the folder: file_count, bytes, view_count or star_count."""
        counter = folders.c[column]
        self._db.execute(update(folders).where(folders.c.n == n).values({counter: counter + by}))

    def count_files(self, folder_n: int, count: int, size: int, now: int) -> None:
        """Count files that were added to a folder, and their bytes; it is updated and seen now."""
        added = {"folder": folder_n, "count": count, "size": size, "now": now}
        self._db.execute(_COUNT_FILES, added)

    def delete_folder(self, n: int) -> None:
        self._db.execute(delete(folders).where(folders.c.n == n))

    def remember(self, folder: Folder, now: int) -> None:
        """Keep the name of a folder that is deleted next, in the histories where it stands."""
        known = literal(folder.id), literal(folder.name)
        seen = select(visits.c.user_n, *known, visits.c.last).where(visits.c.folder_n == folder.n)
        columns = ("user_n", "folder_id", "folder_name", "last")
        self._db.execute(insert(gone).from_select(columns, seen))
        if folder.owner_n is not None:
            kept = {"folder_id": folder.id, "folder_name": folder.name, "last": now}
            self._insert(gone, user_n=folder.owner_n, **kept)

    def trim_histories(self, most: int) -> None:
        """Forget the oldest of the folders that are gone, beyond so many for each user."""
        newest_first = (gone.c.last.desc(), gone.c.n.desc())
        place = func.row_number().over(partition_by=gone.c.user_n, order_by=newest_first)
        placed = select(gone.c.n, place.label("place")).subquery()
        too_old = select(placed.c.n).where(placed.c.place > most)
        self._db.execute(delete(gone).where(gone.c.n.in_(too_old)))

    def _count_folders(self, query: Select[Any]) -> int:
        return self._count(query.with_only_columns(folders.c.n, maintain_column_froms=True))

    def _folder_page(
        self, query: Select[Any], viewer: int, offset: int, limit: int
    ) -> tuple[int, list[Folder]]:
        total = self._count_folders(query)
        page = query.order_by(folders.c.n).offset(offset).limit(limit)
        return total, [Folder.of(row) for row in self._all(page, viewer=viewer)]

    def folders_of(
        self, user_n: int, viewer: int, part: Part, *, public_only: bool
    ) -> tuple[int | None, list[Folder]]:
        """A part of one user's folders. -> how many there are in all, the part

        By cursor, with a filter, they are not counted.
        """
        query = self._named(_FOLDERS.where(folders.c.owner_n == user_n), folders, part)
        if public_only:
            query = query.where(folders.c.is_public)
        if part.is_filtered and part.after is None:
            return self._folder_page(query, viewer, part.offset, part.limit)
        total = None if part.is_filtered else self._folders_owned(user_n, public_only=public_only)
        if part.after is None:
            page = query.order_by(folders.c.n).offset(part.offset).limit(part.limit)
            return total, [Folder.of(row) for row in self._all(page, viewer=viewer)]
        n: ColumnElement[int] = folders.c.n
        if _is_one_name(part):
            n = n + 0  # as in _files_part
        page = query.where(n > (part.after or (0,))[0]).order_by(n).limit(part.limit)
        found = self._all(page, viewer=viewer)
        return total, [Folder.of(row) for row in found]

    def _folders_owned(self, user_n: int, *, public_only: bool) -> int:
        """How many folders a user has, as it was counted when they came and went."""
        counter = users.c.shared if public_only else users.c.folders
        row = self._one(select(counter).where(users.c.n == user_n))
        return 0 if row is None else int(row[0])

    def folders_followed(self, user_n: int, offset: int, limit: int) -> tuple[int, list[Folder]]:
        """A page of the public folders of those whom the user follows."""
        followed = select(follows.c.followed_n).where(follows.c.follower_n == user_n)
        query = _FOLDERS.where(folders.c.owner_n.in_(followed), folders.c.is_public)
        return self._folder_page(query, user_n, offset, limit)

    def timeline(self, kind: str, user_n: int, offset: int, limit: int) -> tuple[int, list[Entry]]:
        """A page of a user's timeline, the latest first: of "mine", "public", "feed" or "history".

        -> how many there are in all, the page
        """
        marks = self._marks(kind, user_n).subquery()
        newest = (marks.c.folder_n.desc().nulls_last(), marks.c.gone_id)
        order = (marks.c.last.desc(), *newest) if kind == "history" else newest
        rows = self._all(select(marks).order_by(*order).offset(offset).limit(limit))
        ns = [row[0] for row in rows if row[0] is not None]
        found = self._all(_FOLDERS.where(folders.c.n.in_(ns)), viewer=user_n)
        by_n = {folder.n: folder for folder in map(Folder.of, found)}
        page = [
            Entry(last, gone_id or by_n[n].id, gone_name or by_n[n].name, by_n.get(n))
            for n, last, gone_id, gone_name in rows
        ]
        return self._count(select(marks)), page

    @staticmethod
    def _marks(kind: str, user_n: int) -> Any:
        """What stands in a timeline: number of the folder, moment, id and name of one gone."""
        nothing = null().label("gone_id"), null().label("gone_name")
        own = select(folders.c.n.label("folder_n"), folders.c.last_visit.label("last"), *nothing)
        if kind == "feed":
            followed = select(follows.c.followed_n).where(follows.c.follower_n == user_n)
            return own.where(folders.c.owner_n.in_(followed), folders.c.is_public)
        own = own.where(folders.c.owner_n == user_n)
        if kind == "public":
            return own.where(folders.c.is_public)
        if kind == "mine":
            return own
        seen = select(visits.c.folder_n, visits.c.last, *nothing).where(visits.c.user_n == user_n)
        left = select(null(), gone.c.last, gone.c.folder_id, gone.c.folder_name)
        return union_all(own, seen, left.where(gone.c.user_n == user_n))

    def folders_starred(
        self, user_n: int, offset: int, limit: int, *, public_only: bool
    ) -> tuple[int, list[Folder]]:
        return self._folders_marked(stars, user_n, offset, limit, public_only)

    def folders_visited(
        self, user_n: int, offset: int, limit: int, *, public_only: bool
    ) -> tuple[int, list[Folder]]:
        return self._folders_marked(visits, user_n, offset, limit, public_only)

    def _folders_marked(
        self, marks: Table, user_n: int, offset: int, limit: int, public_only: bool
    ) -> tuple[int, list[Folder]]:
        """Folders that a row of `marks` ties to the user and that the user may still see."""
        marked = select(marks.c.folder_n).where(marks.c.user_n == user_n)
        own = folders.c.owner_n == (0 if public_only else user_n)
        seen = or_(folders.c.is_public, own)
        query = _FOLDERS.where(folders.c.n.in_(marked), seen)
        return self._folder_page(query, user_n, offset, limit)

    def add_star(self, user_n: int, folder_n: int) -> bool:
        return self._add_once(stars, user_n=user_n, folder_n=folder_n)

    def delete_star(self, user_n: int, folder_n: int) -> bool:
        return self._delete_pair(stars, user_n=user_n, folder_n=folder_n)

    def add_visit(self, user_n: int, folder_n: int, now: int) -> None:
        known = and_(visits.c.user_n == user_n, visits.c.folder_n == folder_n)
        if self._db.execute(update(visits).where(known).values(last=now)).rowcount == 0:
            self._insert(visits, user_n=user_n, folder_n=folder_n, last=now)

    def _add_once(self, table: Table, **values: object) -> bool:
        """Insert a row that may be there already. -> whether it was not"""
        self.lock(table.name, *map(str, values.values()))
        same = [table.c[name] == value for name, value in values.items()]
        if self._one(select(table.c.n).where(*same)) is not None:
            return False
        self._insert(table, **values)
        return True

    def _delete_pair(self, table: Table, **values: object) -> bool:
        same = [table.c[name] == value for name, value in values.items()]
        return self._db.execute(delete(table).where(*same)).rowcount == 1

    # --- files ---

    def add_files(
        self, rows: Sequence[Mapping[str, object]], data: Sequence[bytes | None]
    ) -> list[int]:
        """Add files, all with values for the same columns. -> their numbers, in order

        data   of each the bytes, where it is small; None where they are in the folder of blobs.
               Raises IntegrityError where the folder is gone.
        """
        if len(rows) == 1:
            key = self._db.execute(_ADD_FILES, rows[0]).inserted_primary_key
            ns = [int(key[0])] if key else []
        else:
            self._insert_many(files, rows)
            ns = self._numbers([str(row["id"]) for row in rows])
        held = [
            {"n": n, "data": some} for n, some in zip(ns, data, strict=True) if some is not None
        ]
        if held:
            self._insert_many(small, held)
        return ns

    def _insert_many(self, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
        """Insert rows with values for the same columns, by the driver itself: SQLAlchemy would
        take as long for each row as the database does."""
        statement, names = _insertion(self._db.dialect, table, tuple(rows[0]))
        ordered: Any = [tuple(row[name] for name in names) for row in rows] if names else rows
        self._db.exec_driver_sql(statement, ordered)

    def _numbers(self, ids: Sequence[str]) -> list[int]:
        """The numbers of these files. RETURNING, in order, would insert them one by one."""
        found: dict[str, int] = {}
        for start in range(0, len(ids), _AT_ONCE):
            some = files.c.id.in_(ids[start : start + _AT_ONCE])
            found.update((row[0], row[1]) for row in self._all(_NUMBERS.where(some)))
        return [found[file_id] for file_id in ids]

    def file(self, file_id: str) -> File | None:
        return File.maybe(self._one(_FILE, id=file_id))

    def small(self, key: str) -> bytes | None:
        """The bytes of a small file, None where there is none under this key."""
        found = self._one(_ONE_SMALL, key=key)
        return None if found is None else bytes(found[0])

    def several_small(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The bytes of those of the keys that there are."""
        found: dict[str, bytes] = {}
        for start in range(0, len(keys), _AT_ONCE):
            named = _SMALL.add_columns(files.c.blob).where(
                files.c.blob.in_(keys[start : start + _AT_ONCE])
            )
            found.update((row[1], bytes(row[0])) for row in self._all(named))
        return found

    def files_of(self, folder_n: int, offset: int, limit: int) -> list[File]:
        """A page of the folder's files, in the folder's order."""
        found = self._all(_FILES_IN_ORDER, folder_n=folder_n, offset=offset, limit=limit)
        return [File.of(row) for row in found]

    def files_part(
        self, folder: Folder, columns: Sequence[str], part: Part
    ) -> Sequence[Sequence[Any]]:
        """Values of these columns, of a part of the folder's files in the folder's order."""
        if part.after is None:
            return self._files_part(folder, columns, part, "page", offset=part.offset)
        if not part.after:
            return self._files_part(folder, columns, part, "later", position=-1)
        position, n = part.after
        found = self._files_part(folder, columns, part, "same", position=position, n=n)
        if missing := part.limit - len(found):
            rest = replace(part, limit=missing)
            found += self._files_part(folder, columns, rest, "later", position=position)
        return found

    def _files_part(
        self, folder: Folder, columns: Sequence[str], part: Part, kind: str, **place: int
    ) -> list[Sequence[Any]]:
        base = _files_part(tuple(columns), kind, one_name=_is_one_name(part))
        known = {"folder_id": folder.id} if "folder_id" in columns else {}
        query = self._named(base, files, part)
        rows = self._all(query, folder_n=folder.n, limit=part.limit, **known, **place)
        return list(rows)

    def count_fitting(self, folder_n: int, part: Part) -> int:
        """How many files of the folder fit."""
        return self._count(
            self._named(select(files.c.n), files, part).where(files.c.folder_n == folder_n)
        )

    def files_by(
        self, key: str, keys: Sequence[object], folder_n: int, columns: Sequence[str]
    ) -> Sequence[Sequence[Any]]:
        """Values of these columns, of the folder's files whose `key` is one of `keys`."""
        query = _files_by(key, tuple(columns))
        found: list[Sequence[Any]] = []
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            found += self._all(query, keys=some, folder_n=folder_n)
        return found

    def neighbours(self, file: File, most: int) -> tuple[int | None, str | None, str | None]:
        """Where a file stands in its folder. -> how many are before it (None for more than
        `most`, which would take long to count), their last, the next"""
        position, n = files.c.position, files.c.n
        here = select(files.c.id).where(files.c.folder_n == file.folder_n)
        same = here.where(position == file.position)  # apart: SQLite compares no pair by an index
        before = same.where(n < file.n), here.where(position < file.position)
        after = same.where(n > file.n), here.where(position > file.position)
        count = sum(self._count(query.limit(most + 1)) for query in before)
        return (
            None if count > most else count,
            self._first_id(query.order_by(position.desc(), n.desc()) for query in before),
            self._first_id(query.order_by(position, n) for query in after),
        )

    def _first_id(self, queries: Iterable[Select[Any]]) -> str | None:
        """The first that one of the queries finds, asked in turn."""
        found = (self._one(query.limit(1)) for query in queries)
        return next((row[0] for row in found if row), None)

    def file_ids(self, folder_n: int, limit: int) -> list[str]:
        query = (
            select(files.c.id)
            .where(files.c.folder_n == folder_n)
            .order_by(files.c.position, files.c.n)
            .limit(limit)
        )
        return [row[0] for row in self._all(query)]

    def folder_bytes(self, folder_n: int) -> tuple[int, list[str]]:
        """The folder's size in bytes and the keys of its blobs."""
        query = select(files.c.size, files.c.blob).where(files.c.folder_n == folder_n)
        rows = self._all(query)
        return sum(row[0] for row in rows), [row[1] for row in rows]

    def change_file(self, n: int, values: Mapping[str, object]) -> None:
        self._set(files, n, values)

    def order_files(self, folder_n: int, ids: Sequence[str]) -> None:
        """Place the named files first, in this order; the others follow as they came."""
        own = files.c.folder_n == folder_n
        places = {file_id: at for at, file_id in enumerate(ids)}
        known = self._all(select(files.c.n, files.c.id, files.c.position).where(own))
        moved = [
            {"of": n, "at": places.get(file_id, UNPLACED)}
            for n, file_id, position in known
            if position != places.get(file_id, UNPLACED)
        ]
        if moved:
            place = update(files).where(files.c.n == bindparam("of"))
            self._db.execute(place.values(position=bindparam("at")), moved)

    def delete_files(self, ns: Sequence[int]) -> tuple[int, int]:
        """Delete files. -> how many there still were, their bytes"""
        count = size = 0
        for start in range(0, len(ns), _AT_ONCE):
            some = files.c.n.in_(ns[start : start + _AT_ONCE])
            found = self._all(select(files.c.size).where(some))
            count, size = count + len(found), size + sum(row[0] for row in found)
            self._db.execute(delete(files).where(some))
        return count, size

    def every_file(self, after: int, limit: int) -> list[File]:
        """The next files in order of upload, whosever they are: for `check`."""
        query = _FILES.where(files.c.n > after).order_by(files.c.n).limit(limit)
        return [File.of(row) for row in self._all(query)]

    # --- what no request asks: checking, sweeping, moving ---

    def identity(self) -> str:
        """The name of this catalog, which copies of it share."""
        return str(self._db.execute(select(identity.c.id)).scalar_one())

    def some_keys(self, after: str, limit: int) -> list[str]:
        """The keys of blobs of files that sort behind `after`, a few of them."""
        query = select(files.c.blob).where(files.c.blob > after).order_by(files.c.blob)
        return [row[0] for row in self._all(query.limit(limit))]

    def named(self, keys: Sequence[str], *, unfinished: bool = False) -> set[str]:
        """Those of the keys of blobs that a file has, or an upload that became no file yet.

        unfinished   the latter alone
        """
        query: Any = _UNDER_WAY if unfinished else _NAMED
        found: set[str] = set()
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            found.update(row[0] for row in self._db.execute(query, {"keys": some}))
        return found

    def count_unfinished(self) -> int:
        """How many uploads became no file yet."""
        return self._count(select(uploads.c.n).where(uploads.c.file_id.is_(None)))

    def resumables(self, after: int, limit: int) -> list[Upload]:
        """The next uploads, in order, that became no file yet and can go on."""
        unfinished = (uploads.c.resumable, uploads.c.file_id.is_(None), uploads.c.n > after)
        query = _UPLOADS.where(*unfinished).order_by(uploads.c.n).limit(limit)
        return [Upload.of(row) for row in self._all(query)]

    def wrong_counters(self) -> list[str]:
        """Compare each folder's and each user's counters with the rows that they count."""
        return [*self._wrong_totals(), *chain.from_iterable(map(self._wrong, _COUNTERS))]

    def _wrong(self, counter: Counter) -> list[str]:
        """The rows of which one counter is wrong, each in a sentence."""
        table, said = counter.column.table, counter.column
        label = table.c.id if table is folders else table.c.slug
        query = select(label, said, counter.true).where(said != counter.true)
        what = f"{'folder' if table is folders else 'user'} "
        return [what + counter.words.format(*row) for row in self._all(query)]

    def _wrong_totals(self) -> Iterator[str]:
        for name, table, column, words in (
            ("anonymous", files, files.c.size, "counts {} bytes, has {}"),
            ("reserved", uploads, uploads.c.reserved, "reserves {} bytes, needs {}"),
        ):
            said, true = self.unowned_bytes(name), self._unowned_sum(table, column)
            if said != true:
                yield f"without an owner: {words.format(said, true)}"

    def _unowned_sum(self, table: Table, column: ColumnElement[int]) -> int:
        """The sum of a column over all galleries without an owner."""
        total = select(func.coalesce(func.sum(column), 0)).select_from(
            table.outerjoin(folders, folders.c.n == table.c.folder_n)
        )
        return int(self._db.execute(total.where(folders.c.owner_n.is_(None))).scalar_one())

    def every_folder(self, after: int, limit: int) -> list[Folder]:
        """The next folders in order of creation, whosever they are."""
        query = _FOLDERS.where(folders.c.n > after).order_by(folders.c.n).limit(limit)
        return [Folder.of(row) for row in self._all(query, viewer=0)]

    def known_ids(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids that a folder or a file has."""
        found: set[str] = set()
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            for table in (folders, files):
                query = select(table.c.id).where(table.c.id.in_(some))
                found.update(row[0] for row in self._all(query))
        return found

    def last_file(self) -> int:
        """The highest number of a file, 0 where there is none."""
        return int(self._db.execute(select(func.coalesce(func.max(files.c.n), 0))).scalar_one())

    def is_empty(self) -> bool:
        """Tell whether nobody has used this catalog yet."""
        used = (table for table in metadata.sorted_tables if table not in (totals, identity))
        return all(self._one(select(table.c.n).limit(1)) is None for table in used)

    def dump(self, *, but: Sequence[str] = ()) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """All rows but those of some tables, in batches: a table's name, rows in order of `n`.

        A row comes behind those that it refers to.
        """
        for table in metadata.sorted_tables:
            after, most = 0, _SMALL_AT_ONCE if table is small else _AT_ONCE
            while table.name not in but:
                query = select(table).where(table.c.n > after).order_by(table.c.n).limit(most)
                batch = [dict(row) for row in self._db.execute(query).mappings()]
                if batch:
                    yield table.name, batch
                if len(batch) < most:
                    break
                after = batch[-1]["n"]

    def load(self, name: str, batch: Sequence[dict[str, Any]]) -> None:
        """Add rows of a dump as they are. Raises CannotServe for what this version does not know.

        Columns that the dump's version did not have get their usual values.
        """
        table = metadata.tables.get(name)
        if table is None or not set(batch[0]) <= set(table.columns.keys()):
            raise CannotServe("the rows are of another version of minus")
        if table is totals:
            self._db.execute(
                delete(totals).where(totals.c.name.in_([row["name"] for row in batch]))
            )
        if table is identity:
            self._db.execute(delete(identity))
        self._insert_many(table, batch)

    def numbers_given(self) -> dict[str, int]:
        """The highest number that each table has given out: none is given out again."""
        if not self._is_postgres:
            return {row[0]: row[1] for row in self._db.execute(_SEQUENCES)}
        last = text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:name, 'n'))")
        given = {name: self._db.execute(last, {"name": name}).scalar() for name in _NUMBERED}
        return {name: int(number) for name, number in given.items() if number is not None}

    def set_numbers_given(self, numbers: Mapping[str, int]) -> None:
        """Give out none of these numbers, or below them, again."""
        if self._is_postgres:
            change = "SELECT setval(pg_get_serial_sequence(:name, 'n'), :number)"
        else:
            self._db.execute(text("DELETE FROM sqlite_sequence"))
            change = "INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :number)"
        for name, number in numbers.items():
            if name in _NUMBERED and isinstance(number, int) and number > 0:
                self._db.execute(text(change), {"name": name, "number": number})

    def set_revision(self, revision: str) -> None:
        """Say of which version the tables are, or that nobody may open them yet."""
        change = text("UPDATE alembic_version SET version_num = :revision")
        self._db.execute(change, {"revision": revision})

    # --- uploads under way, requests that may come twice ---

    def add_upload(self, **values: object) -> int:
        """Raises IntegrityError where the folder is gone."""
        return self._insert(uploads, **values)

    def upload(self, token_hash: str) -> Upload | None:
        return Upload.maybe(self._one(_UPLOADS.where(uploads.c.token_hash == token_hash)))

    def lock_upload(self, n: int) -> Upload | None:
        """The upload, which nobody else changes until this transaction ends."""
        return Upload.maybe(self._one(_LOCKED_UPLOADS.where(uploads.c.n == n)))

    def lock_uploads_into(self, folder_n: int) -> list[Upload]:
        """The uploads into a folder, locked as one is."""
        found = self._all(_LOCKED_UPLOADS.where(uploads.c.folder_n == folder_n))
        return [Upload.of(row) for row in found]

    def count_uploads(self, folder_n: int) -> int:
        return self._count(select(uploads.c.n).where(uploads.c.folder_n == folder_n))

    def expired_uploads(self, now: int, limit: int) -> list[Upload]:
        """Some of those that can go on and did not."""
        over = (uploads.c.resumable, uploads.c.expires <= now)
        old = _UPLOADS.where(*over).order_by(uploads.c.expires).limit(limit)
        return [Upload.of(row) for row in self._all(old)]

    def cut_uploads(self, held_until: int, limit: int) -> list[Upload]:
        """Some of those that end with their connection, which nobody has held for so long."""
        over = (uploads.c.resumable.is_(False), uploads.c.held_until <= held_until)
        return [Upload.of(row) for row in self._all(_UPLOADS.where(*over).limit(limit))]

    def hold_upload(self, n: int, holder: str, now: int, until: int) -> bool:
        """Take an upload that nobody holds. -> False where a process does; it is told"""
        free = or_(
            uploads.c.holder.is_(None), uploads.c.holder == holder, uploads.c.held_until <= now
        )
        mine = update(uploads).where(uploads.c.n == n)
        taken = mine.where(free).values(holder=holder, held_until=until, wanted=False)
        if self._db.execute(taken).rowcount:
            return True
        return self._db.execute(mine.values(wanted=True)).rowcount == 0  # it is gone

    def let_upload_go(self, n: int, holder: str) -> None:
        own = and_(uploads.c.n == n, uploads.c.holder == holder)
        self._db.execute(update(uploads).where(own).values(holder=None, held_until=0))

    def keep_holding(self, holder: str, numbers: Collection[int], until: int) -> list[int]:
        """Hold on to these, as far as this process holds them. -> which another one wants"""
        own = and_(uploads.c.holder == holder, uploads.c.n.in_(numbers))
        free = select(uploads.c.n).where(own).with_for_update(skip_locked=True)
        self._db.execute(update(uploads).where(uploads.c.n.in_(free)).values(held_until=until))
        return [row[0] for row in self._all(select(uploads.c.n).where(own, uploads.c.wanted))]

    def unfinished_blobs(self) -> set[str]:
        """The keys of the bytes of uploads that became no file yet."""
        return {
            row[0] for row in self._all(select(uploads.c.blob).where(uploads.c.file_id.is_(None)))
        }

    def change_upload(self, n: int, values: Mapping[str, object]) -> None:
        self._set(uploads, n, values)

    def delete_upload(self, n: int) -> None:
        self._db.execute(delete(uploads).where(uploads.c.n == n))

    def repeat(self, key_hash: str, now: int) -> tuple[str, str] | None:
        """What was asked with an Idempotency-Key, and what came of it; None where it is new."""
        query = select(repeats.c.request, repeats.c.answer)
        known = (repeats.c.key_hash == key_hash, repeats.c.expires > now)
        row = self._one(query.where(*known))
        return None if row is None else (str(row[0]), str(row[1]))

    def add_repeat(self, key_hash: str, request: str, answer: str, expires: int) -> None:
        """Remember a request; one of this key that is over goes."""
        self.delete_repeat(key_hash)
        self._insert(repeats, key_hash=key_hash, request=request, answer=answer, expires=expires)

    def delete_repeat(self, key_hash: str) -> None:
        self._db.execute(delete(repeats).where(repeats.c.key_hash == key_hash))

    def delete_old_repeats(self, now: int) -> None:
        self._db.execute(delete(repeats).where(repeats.c.expires <= now))

    # --- following and messages ---

    def follow(self, follower_n: int, followed_n: int) -> bool:
        return self._add_once(follows, follower_n=follower_n, followed_n=followed_n)

    def follows(self, follower_n: int, followed_n: int) -> bool:
        same = and_(follows.c.follower_n == follower_n, follows.c.followed_n == followed_n)
        return self._one(select(follows.c.n).where(same)) is not None

    def unfollow(self, follower_n: int, followed_n: int) -> bool:
        return self._delete_pair(follows, follower_n=follower_n, followed_n=followed_n)

    def slugs_around(self, user_n: int, limit: int) -> tuple[list[str], list[str]]:
        """Some followers of a user, and some whom the user follows, by slug."""
        followers = self._all(_FOLLOWER_SLUGS, user_n=user_n, limit=limit)
        following = self._all(_FOLLOWING_SLUGS, user_n=user_n, limit=limit)
        return [row[0] for row in followers], [row[0] for row in following]

    def followers(self, user_n: int, offset: int, limit: int) -> tuple[int, list[User]]:
        return self._follow_page(follows.c.follower_n, follows.c.followed_n, user_n, offset, limit)

    def following(self, user_n: int, offset: int, limit: int) -> tuple[int, list[User]]:
        return self._follow_page(follows.c.followed_n, follows.c.follower_n, user_n, offset, limit)

    def _follow_page(
        self,
        shown: ColumnElement[int],
        given: ColumnElement[int],
        user_n: int,
        offset: int,
        limit: int,
    ) -> tuple[int, list[User]]:
        query = select(*User.columns()).join(follows, shown == users.c.n).where(given == user_n)
        page = query.order_by(follows.c.n).offset(offset).limit(limit)
        return self._count(query), [User.of(row) for row in self._all(page)]

    def add_message(self, **values: object) -> None:
        self._insert(messages, **values)

    def messages_of(
        self, user_n: int, offset: int, limit: int, other_n: int | None = None
    ) -> tuple[int, list[Message]]:
        """A page of the user's messages, the latest first; with `other_n` one thread, in order."""
        sender, target = users.alias("sender"), users.alias("target")
        mine = or_(messages.c.sender_n == user_n, messages.c.target_n == user_n)
        if other_n is not None:
            mine = or_(
                and_(messages.c.sender_n == user_n, messages.c.target_n == other_n),
                and_(messages.c.sender_n == other_n, messages.c.target_n == user_n),
            )
        query = (
            select(
                messages.c.body, messages.c.read, messages.c.created, sender.c.slug, target.c.slug
            )
            .join(sender, sender.c.n == messages.c.sender_n)
            .join(target, target.c.n == messages.c.target_n)
            .where(mine)
        )
        total = self._count(select(messages.c.n).where(mine))
        order = messages.c.n.desc() if other_n is None else messages.c.n
        page = query.order_by(order).offset(offset).limit(limit)
        return total, [Message(*row) for row in self._all(page)]

    def mark_read(self, target_n: int, sender_n: int) -> None:
        unread = and_(
            messages.c.target_n == target_n,
            messages.c.sender_n == sender_n,
            messages.c.read.is_(False),
        )
        self._db.execute(update(messages).where(unread).values(read=True))
