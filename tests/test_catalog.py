"""The rows: migrations, one writer at a time, counters, order, tokens."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

import minus_server
from minus_server.accounts import ACCESS_SECONDS, REFRESH_SECONDS, Caller, Grant
from minus_server.catalog import Catalog, IntegrityError, Part, Rows
from minus_server.errors import GrantRefused, NotSignedIn
from minus_server.schema import UNPLACED, metadata
from minus_server.service import Service, open_service
from minus_server.store import small_key
from tests.stores import places

NOW = 1_000_000
ALL = frozenset({"read_public", "read_all", "upload_new", "modify_all", "modify_user"})


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    opened = places(tmp_path).catalog()
    yield opened
    opened.close()


def add_user(rows: Rows, name: str, quota: int = 1000) -> int:
    return rows.add_user(
        username=name, slug=name, display_name="", email="", password_hash=None, quota=quota
    )


def add_folder(rows: Rows, owner_n: int, folder_id: str = "folder", *, public: bool = True) -> int:
    rows.add_to_user(owner_n, "folders", 1)
    rows.add_to_user(owner_n, "shared", int(public))
    return rows.add_folder(id=folder_id, owner_n=owner_n, name="Stuff", is_public=public)


def add_file(rows: Rows, folder_n: int, file_id: str, size: int = 0) -> int:
    row = {
        "id": file_id, "folder_n": folder_n, "name": "a.txt", "title": "", "caption": "",
        "position": UNPLACED, "size": size, "mimetype": "text/plain", "sha256": "",
        "blob": small_key(file_id),
    }  # fmt: skip
    return rows.add_files([row], [bytes(size)])[0]


def tables_of(catalog: Catalog) -> dict[str, int]:
    """How many rows each table has."""
    with catalog.engine.connect() as connection:
        return {
            table.name: len(connection.execute(select(table)).all())
            for table in metadata.sorted_tables
        }


# --- migrations ---


def upgrade(catalog: Catalog, revision: str) -> None:
    config = Config()
    folder = Path(minus_server.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    with catalog.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def differences(catalog: Catalog) -> list[Any]:
    with catalog.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, metadata))


def test_a_new_folder_gets_the_schema_that_the_code_declares(catalog: Catalog) -> None:
    assert differences(catalog) == []
    with catalog.write() as rows:
        rows.connection.execute(text("DROP INDEX ix_files_folder_n_position_n"))
        rows.connection.execute(text("ALTER TABLE users ADD COLUMN extra TEXT"))
    assert len(differences(catalog)) == 2


@pytest.mark.parametrize("revision", ["0001_first", "0002_galleries"])
def test_a_folder_of_an_earlier_revision_opens_with_all_that_it_held(
    tmp_path: Path, revision: str
) -> None:
    old = Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite3'}")
    upgrade(old, revision)
    with old.engine.begin() as connection:
        for statement in (
            "INSERT INTO users (username, slug, display_name, email, quota, used, shared)"
            " VALUES ('Alice', 'alice', '', '', 1000, 4, 1)",
            "INSERT INTO folders (id, owner_n, name, is_public, file_count)"
            " VALUES ('AAAAAAAAAAA1', 1, 'Stuff', 1, 1)",
            "INSERT INTO files (id, folder_n, position, name, title, caption, size, mimetype,"
            " sha256, blob) VALUES ('BBBBBBBBBBB1', 1, 0, 'a.txt', '', '', 4, '', '', 'key')",
        ):
            connection.execute(text(statement))
    old.close()
    opened = Catalog.in_folder(tmp_path)
    assert differences(opened) == []
    with opened.read() as rows:
        (user,), file = rows.users(), rows.file("BBBBBBBBBBB1")
        assert (user.username, user.quota, user.used) == ("Alice", 1000, 4)
        assert file is not None
        assert (file.folder_id, file.size, file.blob) == ("AAAAAAAAAAA1", 4, "key")
        assert rows.wrong_counters() == []
    opened.close()


def test_a_folder_that_is_up_to_date_is_opened_without_alembic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Catalog.in_folder(tmp_path).close()
    monkeypatch.setattr(command, "upgrade", None)
    Catalog.in_folder(tmp_path).close()


# --- transactions ---


def test_a_failed_transaction_leaves_nothing(catalog: Catalog) -> None:
    with pytest.raises(ZeroDivisionError), catalog.write() as rows:
        add_folder(rows, add_user(rows, "alice"))
        raise ZeroDivisionError
    assert set((tables_of(catalog) | {"totals": 0, "identity": 0}).values()) == {0}


@pytest.mark.alone
def test_a_commit_is_flushed_to_disk(catalog: Catalog) -> None:
    with catalog.engine.connect() as connection:
        asked = ("journal_mode", "synchronous", "foreign_keys")
        told = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in asked]
    assert told == ["wal", 2, 1]


def test_a_reader_sees_one_moment_while_a_writer_goes_on(catalog: Catalog) -> None:
    with catalog.read() as before:
        assert before.users() == []
        with catalog.write() as rows:
            add_user(rows, "alice")
        assert before.users() == []
    with catalog.read() as after:
        assert [user.slug for user in after.users()] == ["alice"]


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Have `count` threads begin together. -> what each returned"""
    barrier = Barrier(count)

    def run(number: int) -> Any:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_a_quota_is_exact_to_the_byte_whoever_comes_at_once(catalog: Catalog) -> None:
    with catalog.write() as rows:
        user_n, other_n = add_user(rows, "alice", quota=100), add_user(rows, "bob", quota=100)

    def take(_: int) -> list[bool]:
        taken = []
        for _ in range(4):
            with catalog.write() as rows:
                taken.append(rows.take_room(user_n, 7))
        return taken

    assert sum(map(sum, at_once(8, take))) == 100 // 7
    with catalog.write() as rows:
        assert not rows.take_room(user_n, 3)
        assert rows.take_room(user_n, 2)
        assert rows.take_room(user_n, 0)
        assert not rows.take_room(user_n, 1)
        assert [(user.n, user.used) for user in rows.users()] == [(user_n, 100), (other_n, 0)]


def test_counters_add_up_whoever_comes_at_once(catalog: Catalog) -> None:
    with catalog.write() as rows:
        user_n = add_user(rows, "alice")
        folder_n = add_folder(rows, user_n)

    def count(number: int) -> None:
        for turn in range(5):
            with catalog.write() as rows:
                add_file(rows, folder_n, f"file {number} {turn}", size=2)
                rows.add_to_folder(folder_n, "file_count", 1)
                rows.add_to_folder(folder_n, "bytes", 2)
                rows.add_to_user(user_n, "used", 2)

    at_once(6, count)
    with catalog.read() as rows:
        folder, user = rows.folder("folder"), rows.user(user_n)
        assert folder is not None
        assert user is not None
        assert (folder.file_count, user.used) == (30, 60)
        assert rows.wrong_counters() == []


def test_a_wrong_counter_is_named(catalog: Catalog) -> None:
    with catalog.write() as rows:
        alice_n = add_user(rows, "alice")
        add_user(rows, "bob")
        add_file(rows, add_folder(rows, alice_n), "file", size=3)
        empty_n = add_folder(rows, alice_n, "empty")
        rows.add_to_folder(empty_n, "file_count", 2)
        rows.add_to_folder(empty_n, "star_count", 1)
        rows.add_to_user(alice_n, "karma", 4)
        rows.add_to_user(alice_n, "shared", 1)
        rows.add_to_user(alice_n, "folders", 2)
        assert sorted(rows.wrong_counters()) == [
            "folder empty: counts 1 stars, has 0",
            "folder empty: counts 2 files, has 0",
            "folder folder: counts 0 bytes, has 3",
            "folder folder: counts 0 files, has 1",
            "user alice: counts 0 bytes, has 3",
            "user alice: counts 3 public folders, has 2",
            "user alice: counts 4 folders, has 2",
            "user alice: counts 4 followers, has 0",
        ]


# --- order and deletion ---


def test_files_come_as_ordered_then_as_uploaded(catalog: Catalog) -> None:
    with catalog.write() as rows:
        user_n = add_user(rows, "alice")
        folder_n, other_n = add_folder(rows, user_n), add_folder(rows, user_n, "other")
        for file_id in "abcde":
            add_file(rows, folder_n, file_id)
        add_file(rows, other_n, "z")
        seen = [rows.file_ids(folder_n, 10)]
        for order in (["d", "z", "unknown", "b"], ["e"], []):
            rows.order_files(folder_n, order)
            seen.append(rows.file_ids(folder_n, 10))
        rows.order_files(folder_n, ["c"])
        add_file(rows, folder_n, "f")
        assert list(map("".join, seen)) == ["abcde", "dbace", "eabcd", "abcde"]
        assert [file.id for file in rows.files_of(folder_n, 0, 10)] == list("cabdef")
        assert [file.id for file in rows.files_of(folder_n, 2, 3)] == list("bde")
        folder, other = rows.folder("folder"), rows.folder("other")
        assert folder is not None
        assert other is not None
        assert (folder.cover_id, other.cover_id, rows.file_ids(other_n, 9)) == ("c", "z", ["z"])


def test_lists_come_in_order_of_creation_and_numbers_are_never_used_again(
    catalog: Catalog,
) -> None:
    with catalog.write() as rows:
        user_n = add_user(rows, "alice")
        numbers = [add_folder(rows, user_n, name) for name in ("b", "a", "c")]
        delete_folder(rows, "c")
        numbers.append(add_folder(rows, user_n, "A", public=False))
        assert numbers == sorted(set(numbers))
        total, page = rows.folders_of(user_n, user_n, Part(10, 1), public_only=False)
        assert (total, [folder.id for folder in page]) == (3, ["a", "A"])
        total, page = rows.folders_of(user_n, user_n, Part(10), public_only=True)
        assert (total, [folder.id for folder in page]) == (2, ["b", "a"])


def test_a_file_far_behind_is_not_told_where_it_stands(catalog: Catalog) -> None:
    with catalog.write() as rows:
        folder_n = add_folder(rows, add_user(rows, "alice"))
        for name in "abcd":
            add_file(rows, folder_n, name)
        found = [rows.file(name) for name in "abcd"]
        told = [rows.neighbours(file, most=2) for file in found if file]
    assert told == [(0, None, "b"), (1, "a", "c"), (2, "b", "d"), (None, "c", None)]


def test_a_deleted_folder_takes_its_files_stars_and_visits_along(catalog: Catalog) -> None:
    with catalog.write() as rows:
        user_n = add_user(rows, "alice")
        for name in ("folder", "other"):
            folder_n = add_folder(rows, user_n, name)
            add_file(rows, folder_n, f"{name} 1")
            assert [rows.add_star(user_n, folder_n) for _ in range(2)] == [True, False]
            rows.add_visit(user_n, folder_n, 1)
            rows.add_visit(user_n, folder_n, 2)
        delete_folder(rows, "other")
        left = [entry for entry in rows.timeline("history", user_n, 0, 9)[1] if not entry.folder]
        assert [(e.id, e.name, e.last) for e in left] == [
            ("other", "Stuff", 7),
            ("other", "Stuff", 2),
        ]
        assert [entry.id for entry in rows.timeline("mine", user_n, 0, 9)[1]] == ["folder"]
    kept = {"users": 1, "folders": 1, "files": 1, "small": 1, "stars": 1, "visits": 1, "gone": 2}
    kept |= {"totals": 2, "identity": 1}
    assert tables_of(catalog) == dict.fromkeys(metadata.tables, 0) | kept
    with catalog.write() as rows, pytest.raises(IntegrityError):
        add_file(rows, folder_n, "late")


def delete_folder(rows: Rows, folder_id: str) -> None:
    folder = rows.folder(folder_id)
    assert folder is not None
    rows.remember(folder, 7)
    rows.delete_folder(folder.n)
    if folder.owner_n is not None:
        rows.add_to_user(folder.owner_n, "folders", -1)
        rows.add_to_user(folder.owner_n, "shared", -int(folder.is_public))


def test_a_slug_belongs_to_one_user(catalog: Catalog) -> None:
    with pytest.raises(IntegrityError), catalog.write() as rows:
        add_user(rows, "alice")
        add_user(rows, "alice")


# --- tokens ---


class Clock:
    """A clock that stands still until it is set."""

    now = float(NOW)

    def __call__(self) -> float:
        return self.now


class SignIns:
    """Alice's client, in front of the rules for tokens."""

    def __init__(self, service: Service) -> None:
        self.accounts, self.catalog = service.accounts, service.catalog
        self.client = self.accounts.owner_client("alice")

    def first(self, scope: str = "") -> Grant:
        return self.accounts.sign_in_owner(*self.client, scope)

    def refresh(self, grant: Grant, scope: str = "") -> Grant:
        return self.accounts.refresh(*self.client, grant.refresh_token, scope)

    def use(self, grant: Grant) -> Caller:
        return self.accounts.caller(grant.access_token)

    def works(self, grant: Grant) -> bool:
        """Whether the access token is good, told without using it."""
        access_hash = hashlib.sha256(grant.access_token.encode()).hexdigest()
        with self.catalog.read() as rows:
            return rows.token_by_access(access_hash) is not None

    def refused(self, grant: Grant) -> str:
        with pytest.raises(GrantRefused) as error:
            self.refresh(grant)
        return error.value.error


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def alice(tmp_path: Path, clock: Clock) -> Iterator[SignIns]:
    service = open_service(places(tmp_path / "data"), clock)
    yield SignIns(service)
    service.close()


def test_a_refresh_token_is_good_until_its_successor_is_used(alice: SignIns) -> None:
    first = alice.first()
    lost, kept = alice.refresh(first), alice.refresh(first)
    assert all(alice.works(grant) for grant in (first, lost, kept))
    assert len({grant.refresh_token for grant in (first, lost, kept)}) == 3
    assert alice.use(kept).user.slug == "alice"
    assert alice.use(first).user.slug == "alice"


def test_a_refresh_token_used_after_its_successor_ends_the_whole_sign_in(alice: SignIns) -> None:
    first, elsewhere = alice.first(), alice.first()
    second = alice.refresh(first)
    third = alice.refresh(second)
    alice.use(second)
    assert alice.refused(first) == "invalid_grant"
    for grant in (first, second, third):
        with pytest.raises(NotSignedIn):
            alice.use(grant)
        assert alice.refused(grant) == "invalid_grant"
    assert alice.use(alice.refresh(elsewhere)).user.slug == "alice"


def test_refreshing_a_successor_is_a_use_of_it(alice: SignIns) -> None:
    first = alice.first()
    third = alice.refresh(alice.refresh(first))
    assert alice.refused(first) == "invalid_grant"
    assert not alice.works(third)


def test_two_processes_that_refresh_at_once_both_go_on(alice: SignIns) -> None:
    first = alice.first()
    both = at_once(2, lambda _: alice.refresh(first))
    assert [alice.use(grant).user.slug for grant in both] == ["alice", "alice"]
    assert [alice.use(alice.refresh(grant)).user.slug for grant in both] == ["alice", "alice"]


def test_tokens_end_with_their_time(alice: SignIns, clock: Clock) -> None:
    grant = alice.first()
    clock.now = NOW + ACCESS_SECONDS - 1
    assert alice.use(grant).user.slug == "alice"
    clock.now += 1
    with pytest.raises(NotSignedIn):
        alice.use(grant)
    clock.now = NOW + REFRESH_SECONDS
    assert alice.use(alice.refresh(grant)).user.slug == "alice"
    clock.now += 1
    assert alice.refused(grant) == "invalid_grant"
    alice.first()
    assert not alice.works(grant)


def test_a_refreshed_token_never_has_more_scopes_than_the_first(alice: SignIns) -> None:
    assert alice.use(alice.first()).scopes == ALL
    first = alice.first("read_public read_all")
    assert alice.use(alice.refresh(first)).scopes == {"read_public", "read_all"}
    first = alice.first("read_public read_all")
    narrow = alice.refresh(first, "read_all modify_all")
    assert alice.use(narrow).scopes == {"read_all"}
    with pytest.raises(GrantRefused) as error:
        alice.refresh(narrow, "modify_all")
    assert error.value.error == "invalid_scope"


def test_a_refresh_token_is_of_use_to_its_own_client_only(alice: SignIns) -> None:
    grant, other = alice.first(), alice.accounts.add_client("other")
    with pytest.raises(GrantRefused) as error:
        alice.accounts.refresh(*other, grant.refresh_token, "")
    assert error.value.error == "invalid_grant"
    with pytest.raises(GrantRefused) as error:
        alice.accounts.sign_in_owner(*other, "")
    assert error.value.error == "unauthorized_client"
    assert alice.works(alice.refresh(grant))


@pytest.mark.alone
def test_no_secret_stands_in_the_catalog(alice: SignIns, tmp_path: Path) -> None:
    alice.accounts.add_user("bob", "correct horse")
    grant = alice.first()
    alice.use(grant)
    alice.catalog.close()
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("catalog*"))
    assert b"alice" in stored
    for secret in (grant.access_token, grant.refresh_token, alice.client[1], "correct horse"):
        assert secret.encode() not in stored


def test_a_search_is_given_up_when_its_time_is_over(tmp_path: Path) -> None:
    catalog = places(tmp_path).catalog()
    forever = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t"
    with pytest.raises(OperationalError, match=r"interrupted|timeout"), catalog.read(0.01) as rows:
        rows._db.exec_driver_sql(forever).all()
    with catalog.read() as rows:  # the same connection again, without a limit
        assert rows.users() == []
    catalog.close()
