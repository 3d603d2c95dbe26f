"""The rules for resumable uploads and reserved room, in process: races, crashes, expiry."""

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import update

from minus_server import tus
from minus_server.blobs import FolderWriter
from minus_server.catalog import File, Folder, Upload, User
from minus_server.check import check
from minus_server.errors import (
    DigestMismatch,
    InUse,
    NotFound,
    NotSignedIn,
    QuotaExceeded,
    TooLarge,
)
from minus_server.library import FORM_OVERHEAD, RESERVED_FROM, Library
from minus_server.policy import Policy
from minus_server.resumable import (
    SAVE_EVERY,
    UNOWNED_SECONDS,
    UPLOAD_SECONDS,
    Announced,
    Plan,
    Resumables,
)
from minus_server.schema import totals, users
from minus_server.service import Service, open_service
from tests.stores import places

NOW = 1_000_000
SIZE = 3_000_000
HOME = "192.0.2.1"


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


class Site:
    """A service, one user of it, and the steps of an upload."""

    def __init__(self, data: Path, quota: int, policy: Policy) -> None:
        self.places, self.policy, self.clock = places(data), policy, Clock()
        self.open()
        self.service.accounts.owner_client("alice")
        with self.service.catalog.write() as rows:
            rows.change_user(self.alice.n, {"quota": quota})

    def open(self) -> None:
        self.service: Service = open_service(self.places, self.clock, self.policy)
        self.library, self.resumables = self.service.library, self.service.resumables

    def restart(self) -> None:
        """What a kill and a start do: nothing that was in memory is known any more."""
        self.service.close()
        self.open()
        self.resumables.recover()

    @property
    def alice(self) -> User:
        return self.service.accounts.user("alice")

    def folder(self, *, owned: bool = True) -> Folder:
        return self.service.galleries.create(self.alice if owned else None, HOME)

    def begin(
        self, folder: Folder, size: int | None = SIZE, digest: str | None = None
    ) -> tuple[str, Upload]:
        return self.resumables.create(folder, Plan("a.bin", "", "", size, digest))

    def send(self, secret: str, data: bytes, *, whole: bool = True) -> File | None:
        piece = self.resumables.piece(self.resumables.find(secret), Announced(length=len(data)))
        try:
            piece.write([data[at : at + 1_000_000] for at in range(0, len(data), 1_000_000)])
        except BaseException:
            piece.end(whole=False)
            raise
        return piece.end(whole=whole)

    def put(self, folder: Folder, size: int = SIZE) -> File:
        """A plain upload that tells its length."""
        incoming = self.library.begin(folder, size + FORM_OVERHEAD)
        try:
            incoming.write([bytes(size)])
            return self.library.keep(folder, incoming, name="b", declared_type="")
        except BaseException:
            incoming.abort()
            raise

    def counted(self, *, owned: bool = True) -> tuple[int, int]:
        """Bytes used and reserved."""
        if owned:
            alice = self.alice
            return alice.used, alice.reserved
        with self.service.catalog.read() as rows:
            return rows.unowned_bytes(), rows.unowned_bytes("reserved")

    def names(self) -> set[str]:
        return set(self.service.blobs.incoming())


@contextmanager
def opened(data: Path, quota: int = 10**9, policy: Policy | None = None) -> Iterator[Site]:
    """A site of which rows, bytes and counters agree when the test is over."""
    site = Site(data, quota, policy or Policy(galleries_an_hour=10**6))
    yield site
    report = check(site.service)
    site.service.close()
    assert report.problems == []
    assert report.strays == 0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with opened(tmp_path / "data") as found:
        yield found


@pytest.fixture(params=[True, False], ids=["account", "none"])
def owned(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# --- races (S34) ---

THREADS = 40
ROOM = 12  # files that fit


def at_once(work: Callable[[int], None]) -> None:
    """Run `work` in many threads that begin together; whatever one raises fails the test."""
    failed: list[BaseException] = []
    ready = threading.Barrier(THREADS)

    def run(number: int) -> None:
        try:
            ready.wait()
            work(number)
        except BaseException as error:  # noqa: BLE001 (told below)
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_s34_forty_reservations_at_once_get_what_room_there_is(tmp_path: Path) -> None:
    room = ROOM * SIZE + SIZE - 1
    with opened(tmp_path / "data", room) as site:
        folder, got = site.folder(), list[str]()

        def reserve(_: int) -> None:
            with suppress(QuotaExceeded):
                got.append(site.begin(folder)[0])

        at_once(reserve)
        assert len(got) == ROOM
        assert site.counted() == (0, ROOM * SIZE)
        with pytest.raises(QuotaExceeded):
            site.put(folder)
        for secret in got:
            site.send(secret, bytes(SIZE))
        assert site.counted() == (ROOM * SIZE, 0)


def test_s34_forty_uploads_at_once_without_an_account_get_what_room_there_is(
    tmp_path: Path,
) -> None:
    policy = Policy(anonymous_total=ROOM * SIZE + SIZE - 1, galleries_an_hour=10**6)
    with opened(tmp_path / "data", policy=policy) as site:
        folder, refused = site.folder(owned=False), list[int]()
        secrets = [site.begin(folder)[0] for _ in range(THREADS)]

        def send(number: int) -> None:
            try:
                site.send(secrets[number], bytes(SIZE))
            except QuotaExceeded:
                refused.append(number)

        at_once(send)
        assert 0 < len(refused) < THREADS
        for number in refused:
            site.resumables.end(site.resumables.find(secrets[number]))
        kept = THREADS - len(refused)
        assert site.counted(owned=False) == (kept * SIZE, 0)


def test_s34_forty_threads_that_reserve_finish_and_abandon_leave_the_counters_right(
    tmp_path: Path, *, owned: bool
) -> None:
    room = ROOM * SIZE
    policy = Policy(anonymous_total=room, galleries_an_hour=10**6)
    with opened(tmp_path / "data", room, policy) as site:
        folder, kept = site.folder(owned=owned), list[int]()
        doomed = [site.folder(owned=owned) for _ in range(4)]

        def act(number: int) -> None:
            chance = random.Random(number)  # noqa: S311 (the same run each time)
            for _ in range(4):
                size = chance.randrange(1, SIZE)
                place = doomed[number % 4] if number % 5 == 0 else folder
                with suppress(QuotaExceeded, NotFound):
                    if number % 3 == 0:
                        site.put(place, size + RESERVED_FROM)
                        kept.append(size + RESERVED_FROM)
                        continue
                    secret, upload = site.begin(place, size if number % 2 else None)
                    site.send(secret, bytes(size // 2))
                    if chance.random() < 0.5:
                        site.resumables.end(upload)
                    elif number % 2 and site.send(secret, bytes(size - size // 2)):
                        kept.append(size)
                assert sum(site.counted(owned=owned)) <= room
            if number < 4:
                site.library.remove_folder(doomed[number])

        at_once(act)
        assert site.counted(owned=owned)[0] <= sum(kept)
        for place in (folder, *doomed):
            with suppress(NotFound):
                site.library.remove_folder(place)
        assert site.counted(owned=owned) == (0, 0)
        assert site.names() == set()


# --- what holds room, and until when ---


def test_a_plain_upload_holds_the_room_that_it_declares(site: Site, *, owned: bool) -> None:
    folder = site.folder(owned=owned)
    small = site.library.begin(folder, RESERVED_FROM + FORM_OVERHEAD)
    assert site.counted(owned=owned) == (0, 0)
    small.abort()
    incoming = site.library.begin(folder, SIZE + FORM_OVERHEAD)
    assert site.counted(owned=owned) == (0, SIZE)
    incoming.write([bytes(100_000)])
    assert check(site.service).uploads == 1
    assert check(site.service).strays == 0
    incoming.abort()
    assert site.counted(owned=owned) == (0, 0)
    site.put(folder)
    assert site.counted(owned=owned) == (SIZE, 0)


def test_without_an_account_what_never_comes_holds_no_room(tmp_path: Path) -> None:
    gib = 1 << 30
    policy = Policy(anonymous_file=gib, anonymous_total=2 * gib)
    with opened(tmp_path / "data", policy=policy) as site:
        folder = site.folder(owned=False)
        begun = [site.begin(folder, size)[0] for size in (gib, None) for _ in range(10)]
        assert site.counted(owned=False) == (0, 0)
        for secret in begun:
            announced = Announced(length=gib, size=gib)
            site.resumables.piece(site.resumables.find(secret), announced).end(whole=False)
        assert site.counted(owned=False) == (0, 0)
        assert site.put(folder).size == SIZE
        with pytest.raises(TooLarge):
            site.begin(folder, gib + 1)


def test_without_an_account_room_is_reserved_as_bytes_come(tmp_path: Path) -> None:
    mib = 1 << 20
    policy = Policy(anonymous_file=100 * mib, anonymous_total=100 * mib)
    with opened(tmp_path / "data", policy=policy) as site:
        folder = site.folder(owned=False)
        secret, _ = site.begin(folder, 90 * mib)
        held = []
        for size in (1, mib, 3 * mib, 40 * mib):
            site.send(secret, bytes(size))
            held.append(site.counted(owned=False)[1])
        assert held == [1, 2 * mib + 1, 8 * mib + 1, 76 * mib + 1]
        with pytest.raises(QuotaExceeded):
            site.begin(folder, 25 * mib)
        other, _ = site.begin(folder, 24 * mib - 1)
        assert site.send(other, bytes(24 * mib - 1)) is not None
        with pytest.raises(QuotaExceeded):
            site.send(secret, bytes(46 * mib - 1))
        assert site.counted(owned=False) == (24 * mib - 1, 76 * mib + 1)
        with pytest.raises(QuotaExceeded):
            site.begin(folder, 1)
        site.resumables.end(site.resumables.find(secret))
        assert site.counted(owned=False) == (24 * mib - 1, 0)


@pytest.mark.folder
def test_what_a_kill_cut_is_cleared_and_what_can_go_on_stays(site: Site, *, owned: bool) -> None:
    folder = site.folder(owned=owned)
    data = bytes(range(256)) * 10_000
    secret, _ = site.begin(folder, len(data))
    site.send(secret, data[:1_000_000])
    plain = site.library.begin(folder, SIZE + FORM_OVERHEAD)
    plain.write([bytes(100_000)])
    stray = site.service.blobs.create()
    assert len(site.names()) == 3
    before = site.service
    site.restart()
    assert len(site.names()) == 1
    assert site.counted(owned=owned) == (0, len(data) if owned else 1_000_000)
    file = site.send(secret, data[1_000_000:])
    assert file is not None
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    stray.abort()
    plain.abort()  # which asks the closed service once more
    before.close()


def test_a_file_whose_row_was_not_made_is_made_when_it_is_asked_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    folder, data = site.folder(), b"x" * 200_000
    for step in ("_add", "keep"):
        secret, _ = site.begin(folder, len(data), hashlib.sha256(data).hexdigest())
        with monkeypatch.context() as patched:
            patched.setattr(type(site.library), step, fail)
            with pytest.raises(ZeroDivisionError):
                site.send(secret, data)
        site.restart()
        assert check(site.service).strays == 0
        file = site.resumables.file(site.resumables.find(secret))
        assert file is not None
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        again = site.resumables.file(site.resumables.find(secret))
        assert again is not None
        assert again.id == file.id
    assert site.counted() == (2 * len(data), 0)


@pytest.mark.folder
def test_bytes_are_on_disk_before_the_row_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    flush, save = FolderWriter.flush, Resumables.save

    def noted_flush(writer: FolderWriter) -> None:
        done.append("flush")
        flush(writer)

    def noted_save(resumables: Resumables, upload: Upload, arrived: int) -> Upload:
        done.append(f"save {arrived}")
        return save(resumables, upload, arrived)

    monkeypatch.setattr(FolderWriter, "flush", noted_flush)
    monkeypatch.setattr(Resumables, "save", noted_save)
    secret, _ = site.begin(site.folder(), 3 * SAVE_EVERY)
    piece = site.resumables.piece(site.resumables.find(secret), Announced(length=2 * SAVE_EVERY))
    for _ in range(2):
        piece.write([bytes(SAVE_EVERY)])
    piece.end(whole=False)
    assert done == ["flush", f"save {SAVE_EVERY}", "flush", f"save {2 * SAVE_EVERY}"]
    assert site.resumables.find(secret).arrived == 2 * SAVE_EVERY


def test_an_upload_expires_after_its_last_byte(site: Site, *, owned: bool) -> None:
    seconds = UPLOAD_SECONDS if owned else UNOWNED_SECONDS
    folder = site.folder(owned=owned)
    secret, _ = site.begin(folder)
    site.clock.now += seconds - 1
    site.send(secret, bytes(1000))
    done, _ = site.begin(folder, 4)
    file = site.send(done, b"text")
    assert file is not None
    site.clock.now += seconds - 1
    assert site.resumables.expire() == 0
    assert site.resumables.find(secret).arrived == 1000
    site.clock.now += 1
    with pytest.raises(NotFound):
        site.resumables.find(secret)
    assert site.resumables.expire() == 2
    assert site.counted(owned=owned) == (4, 0)
    assert site.names() == set()
    assert site.library.linked_file(file.id).size == 4


def test_a_plain_upload_under_way_never_expires(site: Site) -> None:
    folder = site.folder()
    incoming = site.library.begin(folder, SIZE + FORM_OVERHEAD)
    incoming.write([bytes(SIZE)])
    assert site.resumables.expire() == 0
    assert site.library.keep(folder, incoming, name="b", declared_type="").size == SIZE


def test_room_is_given_back_where_an_upload_cannot_be_opened(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    folder = site.folder()
    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr(Library, "_begin", fail)
        site.library.begin(folder, SIZE + FORM_OVERHEAD)
    assert site.counted() == (0, 0)


def test_an_upload_that_ends_while_its_bytes_come_leaves_nothing(site: Site) -> None:
    folder = site.folder()
    for end in (site.resumables.end, lambda _: site.library.remove_folder(folder)):
        secret, upload = site.begin(folder, 100_000)
        piece = site.resumables.piece(site.resumables.find(secret), Announced())
        piece.write([bytes(100_000)])
        end(upload)
        with pytest.raises(NotFound):
            piece.end(whole=True)
        assert site.counted() == (0, 0)


@pytest.mark.parametrize("before", ["save", "keep", "_add"])
def test_an_upload_that_ends_at_any_step_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    owner: type = Resumables if before == "save" else Library
    folder, data = site.folder(), bytes(100_000)
    secret, upload = site.begin(folder, len(data))
    step = getattr(owner, before)

    def ended_before(*args: Any, **named: Any) -> Any:
        site.resumables.end(upload)
        return step(*args, **named)

    monkeypatch.setattr(owner, before, ended_before)
    with pytest.raises(NotFound):
        site.send(secret, data)
    assert (site.counted(), site.names()) == ((0, 0), set())


def test_a_plain_upload_into_a_folder_that_is_deleted_leaves_nothing(site: Site) -> None:
    folder = site.folder()
    incoming = site.library.begin(folder, SIZE + FORM_OVERHEAD)
    incoming.write([bytes(SIZE)])
    site.library.remove_folder(folder)
    with pytest.raises(NotFound):
        site.library.keep(folder, incoming, name="b", declared_type="")
    incoming.abort()
    assert (site.counted(), site.names()) == ((0, 0), set())


def test_an_upload_with_a_wrong_digest_ends_after_a_restart_too(site: Site) -> None:
    secret, _ = site.begin(site.folder(), 6, hashlib.sha256(b"other").hexdigest())
    site.send(secret, b"123")
    site.restart()
    with pytest.raises(DigestMismatch):
        site.send(secret, b"456")
    with pytest.raises(NotFound):
        site.resumables.find(secret)
    assert (site.counted(), site.names()) == ((0, 0), set())


def test_running_digests_are_few_and_none_is_needed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minus_server.resumable._RUNNING", 2)
    folder = site.folder()
    secrets = [site.begin(folder, 6)[0] for _ in range(5)]
    for secret in secrets:
        site.send(secret, b"123")
    for secret in secrets:
        file = site.send(secret, b"456")
        assert file is not None
        assert file.sha256 == hashlib.sha256(b"123456").hexdigest()


def test_a_gallery_without_an_owner_takes_no_more_than_it_may(tmp_path: Path) -> None:
    policy = Policy(anonymous_file=100, anonymous_total=150)
    with opened(tmp_path / "data", policy=policy) as site:
        folder = site.folder(owned=False)
        with pytest.raises(TooLarge):
            site.begin(folder, 101)
        secret, _ = site.begin(folder, None)
        site.send(secret, bytes(60))
        with pytest.raises(TooLarge):
            site.send(secret, bytes(41))
        with pytest.raises(QuotaExceeded):
            site.begin(folder, 91)
        site.begin(folder, 90)


def test_check_names_room_that_nobody_holds(site: Site) -> None:
    held = 100_000
    site.begin(site.folder(), held)
    site.send(site.begin(site.folder(owned=False))[0], bytes(held))
    wrong = (
        (users.c.reserved, f"user alice: reserves 7 bytes, needs {held}"),
        (totals.c.value, f"without an owner: reserves 7 bytes, needs {held}"),
    )
    for column, problem in wrong:
        change = update(column.table)
        if column.table is totals:
            change = change.where(totals.c.name == "reserved")
        for value, problems in ((7, [problem]), (held, [])):
            with site.service.catalog.write() as rows:
                rows.connection.execute(change.values({column: value}))
            assert check(site.service).problems == problems


def test_who_was_deleted_while_asking_is_not_signed_in(site: Site) -> None:
    alice = site.alice
    site.library.remove_user(alice)
    with pytest.raises(NotSignedIn, match="deleted meanwhile"):
        site.library.make_folder(alice, "late", is_public=True)
    for make in (site.service.sessions.open, site.service.sessions.link):
        with pytest.raises(NotSignedIn, match="deleted meanwhile"):
            make(alice)


def test_a_request_that_does_not_let_go_in_time_is_left_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tus, "PATIENCE", 0)
    upload = site.begin(site.folder())[1]

    async def two_at_once() -> None:
        turns = tus.Turns(site.service.library.leases)
        async with turns.take(upload) as older:
            with pytest.raises(InUse):
                async with turns.take(upload):
                    pytest.fail("two requests work on one upload")
            assert older.reading.cancel_called
        async with turns.take(upload):
            pass

    anyio.run(two_at_once)
