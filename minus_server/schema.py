"""The catalog's tables. A change here goes with a migration in `migrations/versions`.

Every table has `n`, a number that grows: creation order, the order of every list.
Moments are whole seconds since 1970, UTC; sizes are bytes.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
)

UNPLACED = 2**53  # position of a file that no item_ordering named; `n` decides among these

_Number = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _n() -> Column[int]:
    return Column("n", _Number, primary_key=True, autoincrement=True)


def _ref(name: str, target: str, *, null: bool = False) -> Column[int]:
    return Column(name, _Number, ForeignKey(f"{target}.n", ondelete="CASCADE"), nullable=null)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _text(name: str, *, unique: bool = False) -> Column[str]:
    return Column(name, Text, nullable=False, unique=unique)


users = Table(
    "users",
    metadata,
    _n(),
    _text("username"),
    _text("slug", unique=True),
    _text("display_name"),
    Column("description", Text),
    _text("email"),
    Column("password_hash", Text),  # NULL: nobody signs in with a password
    Column("quota", BigInteger, nullable=False),
    _count("used"),
    _count("visits"),
    _count("karma"),
    _count("shared"),
    _count("created"),
    _count("reserved"),  # bytes that uploads under way may still bring
    _count("folders"),
    sqlite_autoincrement=True,
)

clients = Table(
    "clients",
    metadata,
    _n(),
    _text("id", unique=True),
    _text("name"),
    _text("secret_hash"),
    _ref("owner_n", "users", null=True),  # set: the client itself may sign in as this user
    _count("created"),
    Column("maker_n", _Number),  # the user who made it on the settings page and may revoke it
    Index(None, "owner_n"),
    Index(None, "maker_n"),
    sqlite_autoincrement=True,
)

tokens = Table(
    "tokens",
    metadata,
    _n(),
    _text("family"),
    Column("parent_n", _Number),
    _text("access_hash", unique=True),
    _text("refresh_hash", unique=True),
    _ref("user_n", "users"),
    _ref("client_n", "clients"),
    _text("scope"),
    Column("used", Boolean, nullable=False),
    _count("access_expires"),
    _count("refresh_expires"),
    Index(None, "family"),
    Index(None, "parent_n"),
    Index(None, "user_n"),
    Index(None, "client_n"),
    Index(None, "refresh_expires"),
    sqlite_autoincrement=True,
)

sessions = Table(
    "sessions",
    metadata,
    _n(),
    _text("token_hash", unique=True),
    _ref("user_n", "users"),
    Column("once", Boolean, nullable=False),  # a link that is traded for a session, once
    _count("expires"),
    Index(None, "user_n"),
    Index(None, "expires"),
    sqlite_autoincrement=True,
)

folders = Table(
    "folders",
    metadata,
    _n(),
    _text("id", unique=True),
    _ref("owner_n", "users", null=True),
    _text("name"),
    Column("is_public", Boolean, nullable=False),
    _count("file_count"),
    _count("bytes"),
    _count("view_count"),
    _count("star_count"),
    _count("created"),
    _count("updated"),
    Column("editor_id", Text),  # of a gallery without an owner: who holds it may change it
    _count("last_visit"),
    Index(None, "owner_n", "n"),
    Index(None, "editor_id", unique=True),
    Index(None, "owner_n", "last_visit"),
    Index(None, "owner_n", "name"),
    sqlite_autoincrement=True,
)

files = Table(
    "files",
    metadata,
    _n(),
    _text("id", unique=True),
    _ref("folder_n", "folders"),
    Column("position", BigInteger, nullable=False),
    _text("name"),
    _text("title"),
    _text("caption"),
    _count("width"),
    _count("height"),
    _count("size"),
    _text("mimetype"),
    _text("sha256"),
    _text("blob", unique=True),
    _count("uploaded"),
    Index(None, "folder_n", "position", "n"),
    Index(None, "folder_n", "name"),
    sqlite_autoincrement=True,
)

small = Table(  # the bytes of small files; those of others are in the folder of blobs
    "small",
    metadata,
    Column("n", _Number, ForeignKey("files.n", ondelete="CASCADE"), primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

follows = Table(
    "follows",
    metadata,
    _n(),
    _ref("follower_n", "users"),
    _ref("followed_n", "users"),
    UniqueConstraint("follower_n", "followed_n"),
    Index(None, "followed_n"),
    sqlite_autoincrement=True,
)

messages = Table(
    "messages",
    metadata,
    _n(),
    _ref("sender_n", "users"),
    _ref("target_n", "users"),
    _text("body"),
    Column("read", Boolean, nullable=False),
    _count("created"),
    Index(None, "sender_n", "n"),
    Index(None, "target_n", "n"),
    sqlite_autoincrement=True,
)

stars = Table(
    "stars",
    metadata,
    _n(),
    _ref("user_n", "users"),
    _ref("folder_n", "folders"),
    UniqueConstraint("user_n", "folder_n"),
    Index(None, "folder_n"),
    sqlite_autoincrement=True,
)

visits = Table(
    "visits",
    metadata,
    _n(),
    _ref("user_n", "users"),
    _ref("folder_n", "folders"),
    _count("last"),
    UniqueConstraint("user_n", "folder_n"),
    Index(None, "folder_n"),
    sqlite_autoincrement=True,
)

gone = Table(  # what a user's history keeps of folders that were deleted
    "gone",
    metadata,
    _n(),
    _ref("user_n", "users"),
    _text("folder_id"),
    _text("folder_name"),
    _count("last"),
    Index(None, "user_n", "last"),
    sqlite_autoincrement=True,
)

limits = Table(
    "limits",
    metadata,
    _n(),
    _text("key", unique=True),
    _count("since"),
    _count("count"),
    Index(None, "since"),
    sqlite_autoincrement=True,
)

totals = Table(
    "totals",
    metadata,
    _n(),
    _text("name", unique=True),
    _count("value"),
    sqlite_autoincrement=True,
)

identity = Table(  # a row: the name by which the place of the bytes knows whose they are
    "identity",
    metadata,
    _n(),
    _text("id"),
    sqlite_autoincrement=True,
)

uploads = Table(  # under way, or done of late
    "uploads",
    metadata,
    _n(),
    _text("token_hash", unique=True),  # of what stands in its address
    _ref("folder_n", "folders", null=True),  # NULL: a gallery without an owner, not known yet
    Column("resumable", Boolean, nullable=False),  # outlives its connection
    _text("name"),
    _text("caption"),
    _text("declared_type"),
    _text("metadata"),  # as it was sent, if it was short
    Column("size", BigInteger),  # NULL: not known yet
    _count("reserved"),  # bytes that are counted in the owner's `reserved`, or in the total's
    _count("arrived"),  # bytes that are on disk
    Column("digest", Text),  # the SHA-256 that the sender tells of, in hexadecimal
    _text("blob", unique=True),
    Column("file_id", Text),  # of the file that became of it
    _count("expires"),
    Column("holder", Text),  # the process that works on it
    _count("held_until"),
    Column("wanted", Boolean, nullable=False, server_default=false()),  # by another process
    Index(None, "folder_n"),
    Index(None, "expires"),
    Index(None, "holder"),
    Index(None, "resumable", "held_until"),
    sqlite_autoincrement=True,
)

repeats = Table(  # requests with an Idempotency-Key, and what came of them
    "repeats",
    metadata,
    _n(),
    _text("key_hash", unique=True),
    _text("request"),  # a digest of what was asked: the same key with another one is refused
    _text("answer"),
    _count("expires"),
    Index(None, "expires"),
    sqlite_autoincrement=True,
)

failures = Table(  # sign-ins that failed, by account and by address
    "failures",
    metadata,
    _n(),
    _text("key", unique=True),
    _count("count"),
    _count("last"),
    _count("trying"),  # of these, how many are being looked at
    Index(None, "last"),
    sqlite_autoincrement=True,
)

misses = Table(  # addresses that asked for ids which are none: a bucket for each that empties
    "misses",
    metadata,
    _n(),
    _text("key", unique=True),
    _count("level"),  # thousandths of a miss
    _count("since"),  # thousandths of a second
    Index(None, "since"),
    sqlite_autoincrement=True,
)
