"""Races, each decided in the database: many threads of two services on one catalog."""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from minus_server.accounts import Caller, hash_secret
from minus_server.catalog import Folder, User
from minus_server.check import check
from minus_server.databases import LOCK_SECONDS, POSTGRES_POOL, is_busy
from minus_server.errors import Interrupted, NotFound, OffsetMismatch, QuotaExceeded, Refused
from minus_server.leases import CUT_SECONDS, LEASE_SECONDS
from minus_server.library import Incoming, Library, Small
from minus_server.places import Places
from minus_server.policy import Policy
from minus_server.repeats import Once, Replayed
from minus_server.resumable import Announced, Plan
from minus_server.service import Service, open_service
from tests.postgres import database_with_tables
from tests.stores import places

THREADS = 24
MIB = 1 << 20


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Pair:
    """Two services on the same rows and bytes, as two processes are."""

    def __init__(self, where: Places) -> None:
        self.clock = Clock()
        policy = Policy(anonymous_total=100 * MIB, galleries_an_hour=10**6)
        self.services = [open_service(where, self.clock, policy, alone=False) for _ in range(2)]
        self.first = self.services[0]

    def user(self, name: str, quota: int = 1 << 40) -> User:
        with self.first.catalog.write() as rows:
            rows.add_user(
                username=name,
                slug=name,
                display_name="",
                email="",
                password_hash=None,
                quota=quota,
            )
        return self.first.accounts.user(name)

    def folder(self, user: User | None) -> Folder:
        return self.first.library.make_folder(user, "Stuff", is_public=True)

    def race(self, work: Callable[[Service, int], object], count: int = THREADS) -> Counter[str]:
        """Have threads of both services begin together. -> how often each outcome came"""
        start = threading.Barrier(count)

        def run(number: int) -> str:
            start.wait()
            try:
                return str(work(self.services[number % 2], number))
            except (Refused, Replayed) as error:
                return type(error).__name__

        with ThreadPoolExecutor(count) as threads:
            return Counter(threads.map(run, range(count)))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Two services whose counters, rows and bytes agree when the test is over."""
    made = Pair(places(tmp_path / "data"))
    yield made
    report = check(made.first)
    for service in made.services:
        service.close()
    assert (report.problems, report.strays) == ([], 0)


def small(number: int, size: int) -> Small:
    data = bytes(size)
    return Small(f"{number}.txt", "", "text/plain", data, hashlib.sha256(data).hexdigest())


def put(service: Service, folder: Folder, data: bytes, name: str = "a", **more: Any) -> str:
    incoming = service.library.begin(folder)
    try:
        incoming.write([data])
        service.library.keep(folder, incoming, name=name, declared_type="", **more)
    except BaseException:
        incoming.abort()
        raise
    return "kept"


def test_uploads_at_once_fill_a_quota_to_the_byte_and_no_further(pair: Pair) -> None:
    alice = pair.user("alice", quota=10 * 1000)
    folders = [pair.folder(alice) for _ in range(3)]
    outcomes = pair.race(lambda service, n: put(service, folders[n % 3], bytes(1000)))
    assert outcomes == {"kept": 10, "QuotaExceeded": THREADS - 10}
    assert pair.first.accounts.user("alice").used == 10_000


def test_large_uploads_at_once_hold_room_for_no_more_than_the_quota(pair: Pair) -> None:
    folder = pair.folder(pair.user("alice", quota=20 * MIB))
    outcomes = pair.race(lambda service, _: put(service, folder, bytes(3 * MIB)))
    assert set(outcomes) == {"kept", "QuotaExceeded"}
    alice = pair.first.accounts.user("alice")
    assert (alice.used, alice.reserved) == (outcomes["kept"] * 3 * MIB, 0)
    assert outcomes["kept"] >= 3  # each holds twice what has come at the most


def test_galleries_without_an_owner_are_counted_to_the_byte(pair: Pair) -> None:
    galleries = [pair.folder(None) for _ in range(4)]
    pair.race(lambda service, n: put(service, galleries[n % 4], bytes(n)))
    with pair.first.catalog.read() as rows:
        assert rows.unowned_bytes() == sum(range(THREADS))


def test_what_is_held_and_what_is_kept_without_an_owner_fit_together(pair: Pair) -> None:
    galleries = [pair.folder(None) for _ in range(THREADS)]
    coming: list[Incoming] = []

    def work(service: Service, number: int) -> object:
        for size in range(12):
            if number % 2:
                put(service, galleries[number], bytes(MIB - size))
            else:
                coming.append(service.library.begin(galleries[number]))
                coming[-1].write([bytes(MIB + 1 + size)])
        return "all"

    assert pair.race(work)["QuotaExceeded"] > 0
    with pair.first.catalog.read() as rows:
        assert 98 * MIB < rows.unowned_bytes() + rows.unowned_bytes("reserved") <= 100 * MIB
    for incoming in coming:
        incoming.abort()


def test_writers_of_one_folders_order_leave_one_order(pair: Pair) -> None:
    folder = pair.folder(pair.user("alice"))
    for number in range(6):
        put(pair.first, folder, b"x", str(number))
    files = pair.first.library.files(folder, 0, 10)
    ids = [file.id for file in files]

    def order(service: Service, number: int) -> str:
        for turn in range(number, number + 6):
            if turn == number:
                service.library.alter_folder(folder, {"item_ordering": ids[turn % 6 :]})
            service.library.move_file(files[turn % 6], turn % 5)
        return "ordered"

    assert pair.race(order) == {"ordered": THREADS}
    found = pair.first.library.files(folder, 0, 10)
    assert sorted(file.id for file in found) == sorted(file.id for file in files)
    places = [file.position for file in found if file.position < 6]
    assert places == list(range(len(places)))


def test_a_folder_deleted_during_uploads_leaves_no_byte_and_no_count(pair: Pair) -> None:
    alice = pair.user("alice")
    folder = pair.folder(alice)

    def work(service: Service, number: int) -> object:
        if number == THREADS // 2:
            return service.library.remove_folder(folder)
        return put(service, folder, bytes(100_000 if number % 3 else 2 * MIB))

    outcomes = pair.race(work)
    assert set(outcomes) <= {"True", "kept", "NotFound"}
    left = pair.first.accounts.user("alice")
    assert (left.used, left.reserved, left.folders, left.shared) == (0, 0, 0, 0)


def test_a_file_deleted_twice_gives_its_room_back_once(pair: Pair) -> None:
    alice = pair.user("alice")
    folder = pair.folder(alice)
    put(pair.first, folder, bytes(5000))
    put(pair.first, folder, bytes(7))
    file = pair.first.library.files(folder, 0, 1)[0]
    pair.race(lambda service, _: service.library.remove_files(folder, [file]))
    assert pair.first.accounts.user("alice").used == 7
    assert pair.first.library.linked_folder(folder.id).file_count == 1


def test_the_last_follower_leaves_a_count_of_none(pair: Pair) -> None:
    users = [pair.user(f"user{number}") for number in range(6)]
    star, *fans = users

    def follow(service: Service, number: int) -> object:
        fan = fans[number % 5]
        turn = service.accounts.follow if number < 12 else service.accounts.unfollow
        turn(Caller.of_session(fan), fan.slug, star.slug)
        return "done"

    pair.race(follow)
    for number, fan in enumerate(fans):
        caller = Caller.of_session(fan)
        try:
            pair.services[number % 2].accounts.unfollow(caller, fan.slug, star.slug)
        except NotFound:
            continue
    assert pair.first.accounts.user(star.slug).karma == 0


def test_stars_and_visits_at_once_are_each_counted(pair: Pair) -> None:
    folder = pair.folder(pair.user("owner"))
    users = [pair.user(f"user{number}") for number in range(THREADS // 2)]

    def work(service: Service, number: int) -> object:
        user = users[number // 2]
        service.library.count_visit(folder, user)
        return service.library.star(Caller.of_session(user), folder.id).id

    assert pair.race(work) == {folder.id: THREADS}
    found = pair.first.library.linked_folder(folder.id)
    assert (found.star_count, found.view_count) == (len(users), THREADS)
    assert pair.first.accounts.user("owner").visits == THREADS


def test_one_key_makes_one_file_however_often_it_comes(pair: Pair) -> None:
    folder = pair.folder(pair.user("alice"))
    once = Once("key", "user 1", "POST files")
    outcomes = pair.race(lambda service, _: put(service, folder, b"data", once=once))
    assert outcomes == {"kept": 1, "Replayed": THREADS - 1}
    assert pair.first.accounts.user("alice").used == 4


def test_one_key_makes_one_folder_and_one_upload(pair: Pair) -> None:
    alice = pair.user("alice")
    folder = pair.folder(alice)
    once, other = Once("key", "user 1", "POST folders"), Once("key", "user 1", "POST uploads")

    def work(service: Service, number: int) -> object:
        if number % 2:
            service.library.make_folder(alice, "New", is_public=False, once=once)
            return "folder"
        other_key = Once("other", "user 1", other.asked)
        service.resumables.create(folder, Plan("a", "", "", 10, None), other_key)
        return "upload"

    assert pair.race(work) == {"folder": 1, "upload": 1, "Replayed": THREADS - 2}
    found = pair.first.accounts.user("alice")
    assert (found.folders, found.reserved) == (2, 10)


def test_a_limit_an_hour_is_reached_exactly(pair: Pair) -> None:
    def count(service: Service, _: int) -> bool:
        with service.catalog.write() as rows:
            return rows.count_up("galleries here", 1_700_000_000, 3600, 5)

    assert pair.race(count) == {"True": 5, "False": THREADS - 5}


def test_a_link_that_signs_in_once_does_so_once(pair: Pair) -> None:
    alice = pair.user("alice")
    secret = pair.first.sessions.link(alice)
    outcomes = pair.race(lambda service, _: service.sessions.trade(secret) is not None)
    assert outcomes == {"True": 1, "False": THREADS - 1}


def test_a_reused_refresh_token_ends_its_family_whoever_asks(pair: Pair) -> None:
    alice = pair.user("alice")
    key, secret = pair.first.accounts.add_client("tests")
    with pair.first.catalog.write() as rows:
        client = rows.client(key)
        assert client is not None
        grant = pair.first.accounts._grant(rows.add_token, None, client.n, alice.n, "read_all")
    successor = pair.first.accounts.refresh(key, secret, grant.refresh_token, "")
    assert pair.services[1].accounts.caller(successor.access_token).user.n == alice.n
    outcomes = pair.race(
        lambda service, _: service.accounts.refresh(key, secret, grant.refresh_token, "").scope
    )
    assert outcomes == {"GrantRefused": THREADS}
    with pair.first.catalog.read() as rows:
        assert rows.token_by_access(hash_secret(successor.access_token)) is None


def test_wrong_passwords_are_counted_by_all_processes_together(pair: Pair) -> None:
    with pair.first.catalog.write() as rows:
        rows.add_user(
            username="alice",
            slug="alice",
            display_name="",
            email="",
            password_hash="none",
            quota=1,
        )

    def fail(service: Service, _: int) -> object:
        service.sign_ins.begin("alice", "192.0.2.1")
        service.sign_ins.end("alice", "192.0.2.1", right=False)
        return "tried"

    pair.race(fail)
    for service in pair.services:
        assert service.sign_ins.delay("alice", "198.51.100.1") >= 0
        with pytest.raises(Refused):
            service.sign_ins.begin("alice", "192.0.2.1")


def test_an_upload_goes_on_in_another_process_and_the_first_can_do_no_more(pair: Pair) -> None:
    one, two = pair.services
    folder = pair.folder(pair.user("alice"))
    data = bytes(range(256)) * 800
    secret, upload = one.resumables.create(folder, Plan("a", "", "", len(data), None))
    assert one.library.leases.take(upload.n)
    upload = one.resumables.find(secret)
    piece = one.resumables.piece(upload, Announced(0, 100_000))
    piece.write([data[:100_000]])
    assert not two.library.leases.take(upload.n)
    assert one.library.leases.beat() == [upload.n]
    assert piece.end(whole=True) is None
    one.library.leases.let_go(upload.n)
    assert two.library.leases.take(upload.n)
    found = two.resumables.find(secret)
    assert found.arrived == 100_000
    rest = two.resumables.piece(found, Announced(100_000, len(data) - 100_000))
    rest.write([data[100_000:]])
    with pytest.raises(OffsetMismatch):
        one.resumables.save(piece.upload, 100_000)
    file = rest.end(whole=True)
    assert file is not None
    with pair.first.blobs.open(file.blob) as stream:
        assert stream.read() == data


def test_what_a_dead_process_held_is_taken_over_after_its_lease(pair: Pair) -> None:
    one, two = pair.services
    folder = pair.folder(pair.user("alice", quota=10 * MIB))
    _, upload = one.resumables.create(folder, Plan("a", "", "", 10, None))
    assert one.library.leases.take(upload.n)
    cut = one.library.begin(folder, 5 * MIB)
    cut.write([bytes(100_000)])
    assert not two.library.leases.take(upload.n)
    pair.clock.now += LEASE_SECONDS + 1
    assert two.library.leases.take(upload.n)
    two.resumables.end_cut()
    assert pair.first.accounts.user("alice").reserved > MIB
    pair.clock.now += 60
    two.resumables.end_cut()
    assert pair.first.accounts.user("alice").reserved == 10
    cut.abort()


def test_a_living_process_keeps_what_it_holds(pair: Pair) -> None:
    one, two = pair.services
    folder = pair.folder(pair.user("alice"))
    incoming = one.library.begin(folder, 5 * MIB)
    incoming.write([bytes(4 * MIB)])
    for _ in range(30):
        pair.clock.now += 1
        assert one.library.leases.beat() == []
        two.resumables.end_cut()
    one.library.keep(folder, incoming, name="a", declared_type="")
    assert pair.first.accounts.user("alice").used == 4 * MIB


@pytest.mark.parametrize(
    "error", [OperationalError("COMMIT", {}, Exception("closed")), NotFound("It is gone.")]
)
def test_bytes_stay_where_their_row_was_made_after_all(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The answer to a commit was lost, or another process has made the file meanwhile."""
    folder, add = pair.folder(pair.user("alice")), Library._add

    def lost(*args: Any, **more: Any) -> None:
        add(*args, **more)
        raise error

    monkeypatch.setattr(Library, "_add", lost)
    with pytest.raises(type(error)):
        put(pair.first, folder, bytes(2 * MIB))
    (file,) = pair.first.library.files(folder, 0, 9)
    with pair.first.blobs.open(file.blob) as stream:
        assert stream.read() == bytes(2 * MIB)


def test_what_no_request_works_on_gives_its_room_back(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair.services
    folder = pair.folder(pair.user("alice"))
    cut = one.library.begin(folder, 5 * MIB)
    cut.write([bytes(100_000)])

    def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("closed"))

    monkeypatch.setattr(Library, "end_upload", away)
    with pytest.raises(OperationalError):
        cut.abort()
    monkeypatch.undo()
    for _ in range(LEASE_SECONDS + CUT_SECONDS + 2):
        assert pair.first.accounts.user("alice").reserved > 4 * MIB
        pair.clock.now += 1
        assert one.library.leases.beat() == []
    two.resumables.end_cut()
    assert pair.first.accounts.user("alice").reserved == 0


def test_an_upload_that_was_taken_for_dead_may_be_sent_again(pair: Pair) -> None:
    one, two = pair.services
    folder = pair.folder(pair.user("alice"))
    incoming = one.library.begin(folder, 5 * MIB)
    incoming.write([bytes(4 * MIB)])
    pair.clock.now += LEASE_SECONDS + CUT_SECONDS + 2
    two.resumables.end_cut()
    with pytest.raises(Interrupted):
        one.library.keep(folder, incoming, name="a", declared_type="")
    incoming.abort()


def test_a_creation_that_made_its_file_keeps_its_key(pair: Pair) -> None:
    one, two = pair.services
    folder = pair.folder(pair.user("alice"))
    once, plan = Once("key", "user 1", "POST uploads"), Plan("a", "", "", 3, None)
    secret, upload = one.resumables.create(folder, plan, once)
    assert one.library.leases.take(upload.n)
    piece = one.resumables.piece(one.resumables.find(secret), Announced(0, 3))
    piece.write([b"abc"])
    assert piece.end(whole=True) is not None
    one.resumables.end(upload, once)  # the answer was lost, so the request failed
    with pytest.raises(Replayed):
        two.resumables.create(folder, plan, once)
    assert two.resumables.find(secret).file_id is not None


def test_favourites_and_a_folders_end_never_wait_for_each_other(pair: Pair) -> None:
    users = [pair.user(f"user{number}") for number in range(THREADS)]
    callers, owner = list(map(Caller.of_session, users)), pair.user("owner")
    for _ in range(5):
        folder = pair.folder(owner)
        for caller in callers:
            pair.first.library.star(caller, folder.id)

        def work(service: Service, number: int, folder: Folder = folder) -> object:
            if number == 0:
                return service.library.remove_folder(folder)
            service.library.unstar(callers[number], folder.id)
            return True

        assert set(pair.race(work)) <= {"True", "NotFound"}


def test_a_process_whose_connections_all_wait_for_a_row_keeps_what_it_holds(tmp_path: Path) -> None:
    pair = Pair(Places(tmp_path / "data", database_with_tables(), None))
    one, two = pair.services
    alice = pair.user("alice")
    folder = pair.folder(alice)
    uploads = [one.resumables.create(folder, Plan(name, "", "", 10, None))[1] for name in "ab"]
    for upload in uploads:
        assert one.library.leases.take(upload.n)

    def wait(_: object) -> bool:
        with pytest.raises(OperationalError) as caught, one.catalog.write() as rows:
            rows.lock_folder(folder.id)
        return is_busy(caught.value)

    with ThreadPoolExecutor(POSTGRES_POOL) as threads, two.catalog.write() as rows:
        rows.lock_folder(folder.id)
        rows.lock_upload(uploads[1].n)
        waiting = threads.map(wait, range(POSTGRES_POOL))
        pool = one.catalog.engine.pool
        assert isinstance(pool, QueuePool)
        while pool.checkedout() < POSTGRES_POOL:
            threading.Event().wait(0.01)
        began = time.monotonic()
        pair.clock.now += LEASE_SECONDS - 1
        assert one.library.leases.beat() == []
        one.catalog.ping()
        assert time.monotonic() - began < LOCK_SECONDS / 2
        assert all(waiting)
        assert time.monotonic() - began < LOCK_SECONDS * 2
    pair.clock.now += 2
    assert not two.library.leases.take(uploads[0].n)
    assert two.library.leases.take(uploads[1].n)
    for service in pair.services:
        service.close()


def test_forty_bytes_over_the_limit_are_refused_wherever_they_come(pair: Pair) -> None:
    folder = pair.folder(pair.user("alice", quota=1000))
    with pytest.raises(QuotaExceeded):
        put(pair.first, folder, bytes(1040))
    columns = ("id", "name")
    outcomes = pair.race(
        lambda service, n: len(
            service.library.keep_small(folder, [small(n, 40), small(n, 60)], columns)
        )
    )
    assert outcomes == {"2": 10, "QuotaExceeded": THREADS - 10}
