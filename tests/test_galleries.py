"""The rules for galleries, limits, sessions and clients, in process, by a clock that we set."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import event, select, text, update
from starlette.requests import Request

import minus_server
from minus_server import cli, daemon, names, picture_worker, web
from minus_server.accounts import Caller, hash_secret
from minus_server.addresses import network
from minus_server.catalog import Catalog, Entry, File, Folder, User
from minus_server.check import check
from minus_server.errors import (
    BadRequest,
    Forbidden,
    GrantRefused,
    NotFound,
    NotSignedIn,
    QuotaExceeded,
    Refused,
    TooLarge,
    TooMany,
)
from minus_server.library import FORM_OVERHEAD, Incoming, Library
from minus_server.options import Options
from minus_server.policy import Policy
from minus_server.schema import folders, limits, totals
from minus_server.service import Service, open_service
from minus_server.sessions import LINK_SECONDS, SESSION_SECONDS
from tests import rawhttp
from tests.live import clean_environment
from tests.stores import places, stored

HOUR, DAY = 3600, 24 * 3600
HERE = "192.0.2.1"
NOW = 500_000 * HOUR  # an hour begins
HOME = "192.0.2.1"
PASSWORD = "correct horse"
PUBLIC = Policy(registration=True, anonymous_file=100, anonymous_total=250, galleries_an_hour=1000)

T = TypeVar("T")


class Clock:
    """A clock that stands still until it is set."""

    now = float(NOW)

    def __call__(self) -> float:
        return self.now


class Site:
    """A service, with the verbs of its rules that the tests are made of."""

    def __init__(self, service: Service, clock: Clock) -> None:
        self.service, self.clock = service, clock
        self.galleries, self.library = service.galleries, service.library
        self.accounts, self.sessions = service.accounts, service.sessions
        self.catalog = service.catalog

    def user(self, name: str) -> User:
        """Make an account that has no password, which is quick."""
        self.accounts.owner_client(name)
        return self.accounts.user(name)

    def gallery(self, user: User | None = None, name: str = "Stuff") -> Folder:
        return self.galleries.create(user, HOME, name)

    def put(
        self, name: str, data: bytes = b"", user: User | None = None, filename: str = "a.txt"
    ) -> File:
        """Upload into the gallery that an id names."""
        incoming = self.galleries.begin(name, user, len(data))
        return self._keep(name, incoming, data, user, filename)

    def put_late(self, name: str, data: bytes) -> File:
        """Upload with the gallery's id behind the file."""
        return self._keep(name, self.galleries.begin_unplaced(), data, None, "a.txt")

    def _keep(
        self, name: str, incoming: Incoming, data: bytes, user: User | None, filename: str
    ) -> File:
        try:
            incoming.write([data[:3], data[3:]])
            return self.galleries.keep(name, user, incoming, filename, "")
        except Refused:
            incoming.abort()
            raise

    def letters(self, folder: Folder, letters: str, size: int = 0) -> dict[str, str]:
        """Upload a file a letter. -> their ids, by letter"""
        key = folder.editor_id or folder.id
        return {
            letter: self.put(key, b"x" * size, self.owner(folder), letter).id for letter in letters
        }

    def owner(self, folder: Folder) -> User | None:
        return self.accounts.user(folder.owner_slug) if folder.owner_n is not None else None

    def now(self, folder: Folder) -> Folder:
        """The gallery as it is by now."""
        return self.library.linked_folder(folder.id)

    def order(self, folder: Folder) -> str:
        return "".join(file.name for file in self.library.files(folder, 0, 100))

    def reserved(self) -> int:
        with self.catalog.read() as rows:
            return rows.unowned_bytes("reserved")

    def unowned(self) -> int:
        with self.catalog.read() as rows:
            return rows.unowned_bytes()

    def ids(self, kind: str, user: User, page: int = 1, size: int = 100) -> list[str]:
        return [entry.id for entry in self.galleries.timeline(kind, user, page, size)[1]]


@contextmanager
def opened(data: Path, policy: Policy = PUBLIC) -> Iterator[Site]:
    """A site whose rows, bytes and counters agree when the test is over."""
    clock = Clock()
    service = open_service(places(data), clock, policy)
    yield Site(service, clock)
    report = check(service)
    service.close()
    assert (report.problems, report.strays) == ([], 0)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with opened(tmp_path / "data") as made:
        yield made


@pytest.fixture
def alice(site: Site) -> User:
    return site.user("alice")


@pytest.fixture
def bob(site: Site) -> User:
    return site.user("bob")


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """Have `count` threads begin together. -> what each returned"""
    barrier = Barrier(count)

    def run(number: int) -> T:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def outcome(work: Callable[[], object]) -> str:
    """Try it. -> "done", or the kind of the refusal"""
    try:
        work()
    except Refused as refused:
        return type(refused).__name__
    return "done"


# --- two ids, and what each is good for ---


def test_a_gallery_without_an_owner_has_an_id_to_edit_and_another_to_show(site: Site) -> None:
    folder = site.gallery()
    assert folder.editor_id is not None
    assert (names.is_id(folder.editor_id), names.is_id(folder.id)) == (True, True)
    assert folder.editor_id != folder.id
    said = (folder.name, folder.is_public, folder.owner_n, folder.created, folder.last_visit)
    assert said == ("Stuff", False, None, NOW, NOW)


def test_a_gallery_of_a_user_has_one_id(site: Site, alice: User) -> None:
    folder = site.gallery(alice)
    assert (folder.editor_id, folder.owner_slug, folder.is_public) == (None, "alice", False)


@pytest.mark.parametrize(
    ("owner", "key", "who", "may"),
    [
        (None, "editor", None, "edit"),
        (None, "editor", "bob", "edit"),
        (None, "reader", None, "add"),
        (None, "reader", "bob", "add"),
        ("alice", "reader", "alice", "edit"),
        ("alice", "reader", "bob", "look"),
        ("alice", "reader", None, "look"),
    ],
)
@pytest.mark.parametrize("spelling", ["{}", "m{}", " m{}/ ", "https://minus.example/m{}"])
def test_who_holds_an_id_may_edit_add_or_look(
    site: Site, owner: str | None, key: str, who: str | None, may: str, spelling: str
) -> None:
    users = {name: site.user(name) for name in ("alice", "bob")}
    folder = site.gallery(users[owner] if owner else None)
    user = users[who] if who else None
    name = spelling.format(folder.editor_id if key == "editor" else folder.id)
    held = site.galleries.held(name, user)
    assert (held.folder.id, held.may_add, held.may_edit) == (
        folder.id,
        may != "look",
        may == "edit",
    )
    changed = outcome(lambda: site.galleries.editable(name, user))
    added = outcome(lambda: site.put(name, b"text", user))
    assert changed == ("done" if may == "edit" else "Forbidden")
    assert added == ("Forbidden" if may == "look" else "done")
    assert site.now(folder).file_count == (may != "look")


@pytest.mark.parametrize("name", ["", "m", "x" * 12, "m" + "x" * 12, "x" * 13, "../" + "é" * 12])
def test_an_id_of_no_gallery_is_absent(site: Site, alice: User, name: str) -> None:
    for look in (site.galleries.held, site.galleries.editable, site.galleries.visit):
        with pytest.raises(NotFound):
            look(name, alice)
    with pytest.raises(NotFound):
        site.galleries.begin(name, alice, 0)


def test_the_right_to_add_is_asked_for_again_when_the_file_is_whole(
    site: Site, alice: User, bob: User
) -> None:
    incoming = site.galleries.begin_unplaced()
    incoming.write([b"text"])
    with pytest.raises(Forbidden):
        site.galleries.keep(site.gallery(alice).id, bob, incoming, "a.txt", "")
    incoming.abort()


def test_the_visits_of_those_who_may_not_edit_are_counted(
    site: Site, alice: User, bob: User
) -> None:
    own, nobodys = site.gallery(alice), site.gallery()
    assert nobodys.editor_id is not None
    site.clock.now += 60
    visits: list[tuple[str, User | None]] = [
        (own.id, alice), (own.id, bob), (own.id, None),
        (nobodys.editor_id, bob), (nobodys.id, bob), (nobodys.id, None),
    ]  # fmt: skip
    for name, user in visits:
        site.galleries.visit(name, user)
    assert [site.now(folder).view_count for folder in (own, nobodys)] == [2, 2]
    assert [site.now(folder).last_visit for folder in (own, nobodys)] == [NOW + 60] * 2
    assert site.accounts.user("alice").visits == 2
    assert site.ids("history", bob) == [nobodys.id, own.id]


# --- save ---


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ("cab", "cab"),
        ("ca", "ca"),
        ("b", "b"),
        ("a?c", "ac"),
        ("??", "abc"),
        ("", "abc"),
        ("z", "abc"),  # of another gallery
        ("bz", "b"),
    ],
)
def test_a_save_orders_what_it_names_and_deletes_the_rest(
    site: Site, wanted: str, left: str
) -> None:
    folder, other = site.gallery(), site.gallery()
    ids = {"?": "x" * 12} | site.letters(folder, "abc", 10) | site.letters(other, "z", 1)
    blobs = {file.name: file.blob for file in site.library.files(folder, 0, 9)}
    site.clock.now += 60
    site.galleries.save(folder, "New", [ids[letter] for letter in wanted])
    now = site.now(folder)
    assert (site.order(folder), now.name, now.file_count) == (left, "New", len(left))
    assert (now.updated, site.unowned()) == (NOW + 60, 10 * len(left) + 1)
    kept = set(stored(site.service))
    assert {letter for letter, blob in blobs.items() if blob in kept} == set(left)
    assert site.order(other) == "z"


@pytest.mark.parametrize("title", [None, ""])
def test_a_save_without_a_title_keeps_the_old_one(site: Site, title: str | None) -> None:
    folder = site.gallery()
    ids = site.letters(folder, "ab")
    site.clock.now += 60
    site.galleries.save(folder, title, [])
    assert site.now(folder).updated == NOW
    site.galleries.save(folder, title, [ids["b"], ids["a"]])
    assert (site.now(folder).name, site.order(folder)) == ("Stuff", "ba")


def test_what_is_uploaded_after_a_save_comes_last(site: Site) -> None:
    folder = site.gallery()
    ids = site.letters(folder, "ab")
    site.galleries.save(folder, None, [ids["b"], ids["a"]])
    site.letters(folder, "c")
    assert site.order(folder) == "bac"


# --- moving one, and naming one ---


@pytest.mark.parametrize(
    ("letter", "to", "order"),
    [
        ("a", 0, "abcd"),
        ("a", 1, "bacd"),
        ("a", 3, "bcda"),
        ("a", 99, "bcda"),
        ("d", 0, "dabc"),
        ("c", 1, "acbd"),
        ("c", 2, "abcd"),
    ],
)
def test_a_file_is_moved_to_a_place(site: Site, letter: str, to: int, order: str) -> None:
    folder = site.gallery()
    ids = site.letters(folder, "abcd")
    site.library.move_file(site.library.linked_file(ids[letter]), to)
    assert site.order(folder) == order


def test_a_file_that_is_gone_moves_nothing(site: Site) -> None:
    folder = site.gallery()
    file = site.library.linked_file(site.letters(folder, "abc")["b"])
    site.library.remove_files(folder, [file])
    site.library.move_file(file, 0)
    assert site.order(folder) == "ac"


def test_an_item_is_changed_by_whoever_may_edit_its_own_gallery(
    site: Site, alice: User, bob: User
) -> None:
    own, nobodys, other = site.gallery(alice), site.gallery(), site.gallery()
    of_own, of_nobodys = site.letters(own, "a")["a"], site.letters(nobodys, "b")["b"]
    editors = [folder.editor_id or "" for folder in (nobodys, other)]
    tries: list[tuple[str, str, User | None, str]] = [
        (of_own, "", alice, "done"),
        (of_own, own.id, alice, "done"),
        (of_own, "", bob, "Forbidden"),
        (of_own, "", None, "Forbidden"),
        (of_own, site.gallery(bob).id, bob, "NotFound"),
        (of_own, editors[0], alice, "NotFound"),
        (of_nobodys, editors[0], None, "done"),
        (of_nobodys, f"m{editors[0]}", bob, "done"),
        (of_nobodys, "", None, "Forbidden"),
        (of_nobodys, nobodys.id, alice, "Forbidden"),
        (of_nobodys, editors[1], None, "NotFound"),
        (of_nobodys, own.id, alice, "NotFound"),
        ("x" * 12, editors[0], None, "NotFound"),
    ]
    for file_id, name, user, expected in tries:
        found = outcome(partial(site.galleries.item, file_id, name, user))
        assert found == expected, (file_id, name)
    folder, file = site.galleries.item(of_nobodys, editors[0], None)
    assert (folder.id, file.id) == (nobodys.id, of_nobodys)


# --- so many an hour, by address ---


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("::FFFF:c633:6407", "198.51.100.7"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("2001:DB8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::1", "2001:db8:0:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", "elsewhere"),
        ("unix:", "elsewhere"),
        ("198.51.100", "elsewhere"),
        ("198.51.100.7:80", "elsewhere"),
        ("<script>", "elsewhere"),
        ("%", "elsewhere"),
    ],
)
def test_an_ipv4_address_and_an_ipv6_network_of_64_bits_count_as_one(
    address: str, counted: str
) -> None:
    assert network(address) == counted


def test_an_address_makes_so_many_galleries_an_hour(tmp_path: Path) -> None:
    with opened(tmp_path, replace(PUBLIC, galleries_an_hour=2)) as site:
        alice = site.user("alice")
        site.clock.now = NOW + 7

        def made(address: str, user: User | None = None) -> bool:
            return outcome(lambda: site.galleries.create(user, address)) == "done"

        assert [made(HOME) for _ in range(3)] == [True, True, False]
        with pytest.raises(TooMany, match=r"^Too many galleries from this address; try again"):
            site.galleries.create(None, HOME)
        assert [made(HOME, alice) for _ in range(3)] == [True] * 3
        assert [made(f"2001:db8::{n}") for n in range(3)] == [True, True, False]
        assert made("2001:db8:0:1::1")
        site.clock.now = NOW + 7 + HOUR - 1  # the hour began with the first
        assert not made(HOME)
        site.clock.now += 1
        assert [made("198.51.100.7"), *(made(HOME) for _ in range(3))] == [True, True, True, False]
        with site.catalog.engine.connect() as connection:
            kept = connection.execute(select(limits.c.key, limits.c.count)).all()
        assert {tuple(row) for row in kept} == {
            ("galleries 198.51.100.7", 1),
            (f"galleries {HOME}", 2),
        }


def test_no_gallery_is_made_without_an_account_where_that_is_off(tmp_path: Path) -> None:
    with opened(tmp_path, replace(PUBLIC, anonymous=False)) as site:
        with pytest.raises(Forbidden, match=r"^This service makes galleries for signed-in users"):
            site.gallery()
        alice = site.user("alice")
        assert site.ids("mine", alice) == []
        made = site.gallery(alice)
        assert site.ids("mine", alice) == [made.id]


@pytest.mark.parametrize("most", [0, 1, 7])
def test_a_limit_by_the_hour_is_exact_whoever_comes_at_once(site: Site, most: int) -> None:
    def count(_: int) -> list[bool]:
        counted = []
        for _ in range(4):
            with site.catalog.write() as rows:
                counted.append(rows.count_up("key", NOW, HOUR, most))
        return counted

    assert sum(map(sum, at_once(8, count))) == most
    with site.catalog.write() as rows:
        assert not rows.count_up("key", NOW, HOUR, most)
        assert rows.count_up("another", NOW, HOUR, most) == (most > 0)
        assert not rows.count_up("key", NOW + HOUR - 1, HOUR, most)
        again = [rows.count_up("key", NOW + HOUR, HOUR, most) for _ in range(most + 1)]
        assert again == [True] * most + [False]


# --- so many bytes without an account ---


def test_a_file_without_an_account_has_so_many_bytes_and_no_more(site: Site, alice: User) -> None:
    folder = site.gallery()
    for name in (folder.editor_id or "", folder.id):
        with pytest.raises(TooLarge, match=r"^Without an account, a file has at most 100 bytes\.$"):
            site.put(name, bytes(101))
        with pytest.raises(TooLarge):
            site.put(name, bytes(101), alice)
    assert site.put(folder.id, bytes(100)).size == 100
    assert site.put(site.gallery(alice).id, bytes(1000), alice).size == 1000
    assert (site.unowned(), site.now(folder).file_count) == (100, 1)


def test_a_file_before_the_id_of_its_gallery_has_no_more_bytes(site: Site) -> None:
    folder = site.gallery()
    assert outcome(lambda: site.put_late(folder.id, bytes(101))) == "TooLarge"
    assert outcome(lambda: site.put_late(folder.id, bytes(100))) == "done"
    assert site.unowned() == 100


def test_a_file_without_an_account_is_refused_early_when_it_announces_too_much(
    site: Site,
) -> None:
    name = site.gallery().id
    site.galleries.begin(name, None, FORM_OVERHEAD + 100).abort()
    with pytest.raises(TooLarge):
        site.galleries.begin(name, None, FORM_OVERHEAD + 101)


def test_all_files_without_an_account_have_so_many_bytes_together(site: Site, alice: User) -> None:
    first, second = site.gallery(), site.gallery()
    site.put(site.gallery(alice).id, bytes(1000), alice)
    for folder, size in ((first, 100), (second, 100)):
        site.put(folder.id, bytes(size))
    with pytest.raises(QuotaExceeded, match=r"^There is no room left for this file\.$"):
        site.put(first.id, bytes(51))
    late = site.galleries.begin(second.id, None, 50)
    late.write([bytes(50)])
    assert site.put(first.id, bytes(50)).size == 50
    with pytest.raises(QuotaExceeded):
        site.galleries.keep(second.id, None, late, "late", "")
    late.abort()
    assert outcome(lambda: site.put(second.id, b"1")) == "QuotaExceeded"
    assert outcome(lambda: site.put(second.id, b"")) == "done"
    assert (site.unowned(), site.accounts.user("alice").used) == (250, 1000)


def test_the_bytes_without_an_account_are_exact_whoever_comes_at_once(site: Site) -> None:
    made = [site.gallery() for _ in range(4)]

    def put(number: int) -> list[str]:
        return [outcome(lambda: site.put(made[number % 4].id, bytes(20))) for _ in range(3)]

    found = [word for words in at_once(8, put) for word in words]
    assert (found.count("done"), found.count("QuotaExceeded")) == (250 // 20, 24 - 250 // 20)
    assert site.unowned() == 240
    assert sum(site.now(folder).file_count for folder in made) == 12


def by_gallery(site: Site, folder: Folder) -> None:
    site.library.remove_folder(folder)


def by_file(site: Site, folder: Folder) -> None:
    site.library.remove_files(folder, site.library.files(folder, 0, 1))


def by_save(site: Site, folder: Folder) -> None:
    site.galleries.save(folder, None, [site.library.files(folder, 0, 1)[0].id])


def by_expiry(site: Site, _folder: Folder) -> None:
    site.clock.now += 31 * DAY
    site.galleries.expire()


@pytest.mark.parametrize(
    ("remove", "left"), [(by_gallery, 0), (by_file, 40), (by_save, 60), (by_expiry, 0)]
)
def test_what_is_removed_gives_its_room_back(
    site: Site, remove: Callable[[Site, Folder], None], left: int
) -> None:
    folder = site.gallery()
    site.put(folder.id, bytes(60))
    site.put(folder.id, bytes(40))
    assert site.unowned() == 100
    remove(site, folder)
    assert site.unowned() == left
    assert sum(map(site.service.blobs.size, stored(site.service))) == left


def test_removing_the_same_twice_gives_its_room_back_once(site: Site) -> None:
    folder, other = site.gallery(), site.gallery()
    for name in (folder.id, folder.id, other.id):
        site.put(name, bytes(10))
    (first, second) = site.library.files(folder, 0, 9)

    def remove(_: int) -> None:
        site.library.remove_files(folder, [first])

    at_once(4, remove)
    assert (site.unowned(), site.now(folder).file_count) == (20, 1)
    words = at_once(4, lambda _: outcome(lambda: site.library.remove_folder(folder)))
    assert sorted(words) == ["NotFound"] * 3 + ["done"]
    with pytest.raises(NotFound):
        site.library.remove_files(folder, [second])
    assert site.unowned() == 10


def test_check_names_a_wrong_total_of_what_nobody_owns(site: Site) -> None:
    site.put(site.gallery().id, bytes(10))
    for value, problems in ((7, ["without an owner: counts 7 bytes, has 10"]), (10, [])):
        with site.catalog.write() as rows:
            connection = rows.connection
            anonymous = totals.c.name == "anonymous"
            connection.execute(update(totals).where(anonymous).values(value=value))
        assert check(site.service).problems == problems


# --- so many days without a visit ---


def test_a_gallery_that_nobody_visits_ends_and_others_stay(
    site: Site, alice: User, bob: User
) -> None:
    old, seen, owned = site.gallery(), site.gallery(), site.gallery(alice)
    for folder in (old, seen):
        site.put(folder.id, bytes(10))
    kept = site.put(owned.id, bytes(10), alice)
    site.clock.now = NOW + 1
    site.galleries.visit(seen.id, bob)
    site.clock.now = NOW + 30 * DAY
    assert site.galleries.expire() == 0
    site.clock.now += 1
    assert site.galleries.expire() == 1
    with pytest.raises(NotFound):
        site.galleries.held(old.editor_id or "", None)
    assert (site.order(seen), site.unowned()) == ("a.txt", 10)
    site.clock.now += 1
    assert (site.galleries.expire(), site.galleries.expire()) == (1, 0)
    assert site.unowned() == 0
    assert stored(site.service) == [kept.blob]
    (entry,) = site.galleries.timeline("history", bob, 1, 9)[1]
    assert (entry.id, entry.name, entry.last, entry.folder) == (seen.id, "Stuff", NOW + 1, None)


def test_each_visit_begins_the_days_anew(site: Site) -> None:
    folder = site.gallery()
    for _ in range(3):
        site.clock.now += 30 * DAY
        assert site.galleries.expire() == 0
        site.galleries.visit(folder.id, None)
    site.clock.now += 30 * DAY + 1
    assert site.galleries.expire() == 1


def test_more_galleries_than_a_batch_end_together(site: Site) -> None:
    with site.catalog.write() as rows:
        for number in range(201):
            rows.add_folder(
                id=f"{number}", owner_n=None, name="", is_public=False, last_visit=NOW - 31 * DAY
            )
    assert site.galleries.expire() == 201
    with site.catalog.read() as rows:
        assert rows.unvisited(NOW, 9) == []


def test_a_gallery_that_is_deleted_meanwhile_does_not_end_the_expiry(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [site.gallery() for _ in range(3)]
    remove = Library.remove_folder

    def removed(library: Library, folder: Folder, **more: Any) -> bool:
        monkeypatch.setattr(Library, "remove_folder", remove)
        remove(library, made[1])
        return remove(library, folder, **more)

    monkeypatch.setattr(Library, "remove_folder", removed)
    site.clock.now += 31 * DAY
    site.galleries.expire()
    with site.catalog.read() as rows:
        assert rows.unvisited(int(site.clock.now), 9) == []


def test_looking_at_ones_own_keeps_it_and_is_not_counted(site: Site) -> None:
    by_id, by_cookie = site.gallery(), site.gallery()
    for _ in range(3):
        site.clock.now += 30 * DAY
        site.galleries.visit(by_id.editor_id or "", None)
        site.galleries.visit(by_cookie.id, None, [by_cookie.editor_id or ""])
        assert site.galleries.expire() == 0
    assert [site.now(folder).view_count for folder in (by_id, by_cookie)] == [0, 0]
    site.clock.now += 30 * DAY + 1
    assert site.galleries.expire() == 2


# --- timelines ---


def test_mine_and_public_are_ones_own_the_latest_first(site: Site, alice: User, bob: User) -> None:
    made = [site.gallery(alice) for _ in range(4)]
    site.gallery(bob)
    site.gallery()
    for folder in made[:2]:
        site.library.alter_folder(folder, {"is_public": True})
    ids = [folder.id for folder in made]
    assert site.ids("mine", alice) == ids[::-1]
    assert site.ids("public", alice) == ids[1::-1]
    site.library.alter_folder(made[0], {"is_public": False})
    site.library.remove_folder(made[3])
    assert (site.ids("mine", alice), site.ids("public", alice)) == (ids[2::-1], [ids[1]])


def test_the_feed_has_what_those_publish_whom_one_follows(
    site: Site, alice: User, bob: User
) -> None:
    eve, me = site.user("eve"), Caller.of_session(bob)
    made = [site.gallery(user) for user in (alice, eve, alice, bob)]
    for folder in (made[0], made[1], made[3], site.gallery(alice)):
        site.library.alter_folder(folder, {"is_public": True})
    assert site.ids("feed", bob) == []
    site.accounts.follow(me, "bob", "alice")
    (newest, oldest) = site.ids("feed", bob)
    assert (oldest, newest in {folder.id for folder in made}) == (made[0].id, False)
    site.accounts.follow(me, "bob", "eve")
    assert site.ids("feed", bob) == [newest, made[1].id, oldest]
    site.accounts.unfollow(me, "bob", "alice")
    assert site.ids("feed", bob) == [made[1].id]


def test_the_history_has_ones_own_and_what_one_looked_at_the_latest_visit_first(
    site: Site, alice: User, bob: User
) -> None:
    theirs, nobodys, unseen = site.gallery(bob), site.gallery(), site.gallery(bob)
    site.clock.now = NOW + 10
    mine = site.gallery(alice)
    for moment, folder in ((20, theirs), (30, nobodys), (40, theirs)):
        site.clock.now = NOW + moment
        site.galleries.visit(folder.id, alice)
    total, entries = site.galleries.timeline("history", alice, 1, 9)
    said = [(entry.id, entry.name, entry.last - NOW) for entry in entries]
    assert said == [(theirs.id, "Stuff", 40), (nobodys.id, "Stuff", 30), (mine.id, "Stuff", 10)]
    assert (total, [entry.folder for entry in entries]) == (3, list(map(site.now, seen(entries))))
    assert unseen.id not in {entry.id for entry in entries}


def seen(entries: Sequence[Entry]) -> list[Folder]:
    return [entry.folder for entry in entries if entry.folder]


def test_the_history_keeps_the_name_of_what_is_gone(site: Site, alice: User, bob: User) -> None:
    theirs, mine = site.gallery(bob, "Theirs"), site.gallery(alice, "Mine")
    site.clock.now = NOW + 10
    site.galleries.visit(theirs.id, alice)
    site.library.alter_folder(theirs, {"name": "Renamed"})
    site.clock.now = NOW + 20
    for folder in (theirs, mine):
        site.library.remove_folder(site.now(folder))
    total, entries = site.galleries.timeline("history", alice, 1, 9)
    assert (total, entries) == (
        2,
        [
            Entry(NOW + 20, mine.id, "Mine", None),
            Entry(NOW + 10, theirs.id, "Renamed", None),
        ],
    )
    for kind in ("mine", "public", "feed"):
        assert site.galleries.timeline(kind, alice, 1, 9) == (0, [])
    assert site.ids("history", bob) == [theirs.id]


@pytest.mark.parametrize("kind", ["mine", "public", "feed", "history"])
def test_a_timeline_is_paged_and_nothing_stands_twice(
    site: Site, alice: User, bob: User, kind: str
) -> None:
    viewer = bob if kind == "feed" else alice
    site.accounts.follow(Caller.of_session(bob), "bob", "alice")
    made = [site.gallery(alice).id for _ in range(7)]
    for folder_id in made:
        site.library.alter_folder(site.library.linked_folder(folder_id), {"is_public": True})
    pages = [site.galleries.timeline(kind, viewer, page, 3) for page in range(1, 5)]
    assert [total for total, _ in pages] == [7] * 4
    assert [len(entries) for _, entries in pages] == [3, 3, 1, 0]
    assert [entry.id for _, entries in pages for entry in entries] == made[::-1]


def test_the_history_is_paged_over_what_is_there_and_what_is_gone(site: Site, alice: User) -> None:
    expected: list[tuple[int, str, bool]] = []
    for moment in range(9):
        site.clock.now = NOW + moment
        folder = site.gallery(alice if moment % 2 else None)
        site.galleries.visit(folder.id, alice)
        if moment % 3 == 0:
            site.library.remove_folder(folder)
        expected.insert(0, (NOW + moment, folder.id, moment % 3 == 0))
    pages = [site.galleries.timeline("history", alice, page, 4)[1] for page in (1, 2, 3)]
    found = [(entry.last, entry.id, entry.folder is None) for page in pages for entry in page]
    assert (list(map(len, pages)), found) == ([4, 4, 1], expected)


# --- sessions ---


def who(site: Site, secret: str) -> str | None:
    user = site.sessions.user(secret)
    return user.slug if user else None


def test_a_session_is_its_users_until_it_is_ended(site: Site, alice: User, bob: User) -> None:
    first, second, other = (site.sessions.open(user) for user in (alice, alice, bob))
    assert len({first, second, other}) == 3
    site.sessions.end(first)
    site.sessions.end(first)
    assert [who(site, secret) for secret in (first, second, other)] == [None, "alice", "bob"]
    assert [who(site, secret) for secret in ("", "x" * 43, second.swapcase())] == [None] * 3


def test_a_session_ends_with_its_time(site: Site, alice: User) -> None:
    secret = site.sessions.open(alice)
    site.clock.now += SESSION_SECONDS - 1
    assert who(site, secret) == "alice"
    site.clock.now += 1
    assert who(site, secret) is None


def test_a_one_time_link_is_traded_once(site: Site, alice: User) -> None:
    link = site.sessions.link(alice)
    assert who(site, link) is None
    secrets = [secret for secret in at_once(6, lambda _: site.sessions.trade(link)) if secret]
    assert [who(site, secret) for secret in secrets] == ["alice"]
    assert (secrets[0] != link, who(site, link), site.sessions.trade(link)) == (True, None, None)
    site.clock.now += SESSION_SECONDS - 1
    assert who(site, secrets[0]) == "alice"


@pytest.mark.parametrize(("age", "good"), [(LINK_SECONDS - 1, True), (LINK_SECONDS, False)])
def test_a_one_time_link_is_good_for_a_minute(
    site: Site, alice: User, age: int, good: bool
) -> None:
    assert LINK_SECONDS == 60
    link = site.sessions.link(alice)
    site.clock.now += age
    assert (site.sessions.trade(link) is not None) is good


def test_a_session_is_no_link_and_signing_out_ends_a_link(site: Site, alice: User) -> None:
    session, link = site.sessions.open(alice), site.sessions.link(alice)
    assert site.sessions.trade(session) is None
    assert who(site, session) == "alice"
    site.sessions.end(link)
    assert site.sessions.trade(link) is None


def test_a_new_password_ends_all_sessions_links_and_tokens_of_its_user(
    site: Site, bob: User
) -> None:
    site.accounts.add_user("carol", PASSWORD)
    carol = site.accounts.user("carol")
    client = site.accounts.add_client("a program", carol)
    token = site.accounts.sign_in(*client, "carol", PASSWORD, "", HERE).access_token
    session, link, other = (
        site.sessions.open(carol),
        site.sessions.link(carol),
        site.sessions.open(bob),
    )
    assert (who(site, session), site.accounts.caller(token).user.slug) == ("carol", "carol")
    site.accounts.set_password("Carol", "another horse")
    assert (who(site, session), site.sessions.trade(link)) == (None, None)
    with pytest.raises(NotSignedIn):
        site.accounts.caller(token)
    assert site.accounts.check_password("carol", PASSWORD, HERE) is None
    assert site.accounts.sign_in(*client, "carol", "another horse", "", HERE)
    assert who(site, other) == "bob"


def test_no_secret_of_a_session_or_an_old_one_stands_in_the_catalog(
    site: Site, alice: User, tmp_path: Path
) -> None:
    old = site.sessions.open(alice)
    site.clock.now += SESSION_SECONDS
    secrets = [old, site.sessions.open(alice), site.sessions.link(alice)]
    with site.catalog.engine.connect() as connection:
        kept = connection.execute(text("SELECT token_hash FROM sessions ORDER BY n")).scalars()
        assert list(kept) == [hash_secret(secret) for secret in secrets[1:]]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("catalog*"))
    assert all(secret.encode() not in stored for secret in secrets)


# --- accounts and clients ---


def test_a_name_is_registered_once_whoever_comes_at_once(site: Site) -> None:
    register = partial(site.accounts.register, email="", passwords=(PASSWORD, PASSWORD), quota=7)
    answers = at_once(3, lambda number: register(("Dave", "dave", " DAVE ")[number]))
    taken = {"username": "This username is already taken."}
    assert sorted(answers, key=len) == [{}, taken, taken]
    assert [(user.slug, user.quota) for user in site.accounts.users()] == [("dave", 7)]


def test_a_refused_registration_makes_nothing(site: Site) -> None:
    refused = site.accounts.register("upload/../x", "nonsense", (PASSWORD, "other"))
    assert list(refused) == ["username", "password", "email"]
    assert site.accounts.users() == []


def test_a_client_is_its_makers_to_list_and_to_revoke(site: Site, alice: User, bob: User) -> None:
    key, secret = site.accounts.add_client("a program", alice)
    operators, _ = site.accounts.add_client("the operator's")
    assert [(c.id, c.name) for c in site.accounts.clients(alice)] == [(key, "a program")]
    assert site.accounts.clients(bob) == []
    for maker, wanted in ((bob, key), (alice, operators), (alice, ""), (alice, secret)):
        with pytest.raises(NotFound):
            site.accounts.revoke_client(maker, wanted)
    assert [client.id for client in site.accounts.clients(alice)] == [key]
    site.accounts.revoke_client(alice, key)
    assert site.accounts.clients(alice) == []


def test_a_revoked_client_ends_with_every_token_it_was_given(site: Site, bob: User) -> None:
    site.accounts.add_user("carol", PASSWORD)
    carol = site.accounts.user("carol")
    doomed, kept = (site.accounts.add_client(name, carol) for name in ("doomed", "kept"))
    grants = [
        site.accounts.sign_in(*c, "carol", PASSWORD, "", HERE) for c in (doomed, doomed, kept)
    ]
    assert {site.accounts.caller(grant.access_token).user.slug for grant in grants} == {"carol"}
    site.accounts.revoke_client(carol, doomed[0])
    for grant in grants[:2]:
        with pytest.raises(NotSignedIn):
            site.accounts.caller(grant.access_token)
        with pytest.raises(GrantRefused) as error:
            site.accounts.refresh(*doomed, grant.refresh_token, "")
        assert error.value.error == "invalid_client"
    with pytest.raises(GrantRefused):
        site.accounts.sign_in(*doomed, "carol", PASSWORD, "", HERE)
    assert site.accounts.caller(grants[2].access_token).user.slug == "carol"
    assert site.accounts.refresh(*kept, grants[2].refresh_token, "")
    with pytest.raises(BadRequest):
        site.accounts.add_client("\0", bob)


# --- the data of the first revision ---


@pytest.mark.alone
def test_the_data_of_the_first_revision_is_served_on(tmp_path: Path) -> None:
    values: dict[str, object] = {"now": NOW}
    values |= {word: hash_secret(word) for word in ("secret", "access", "refresh")}
    old = Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite3'}")
    config = Config()
    config.set_main_option(
        "script_location", str(Path(minus_server.__file__).parent / "migrations")
    )
    with old.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001_first")
        for statement in (
            "users (username, slug, display_name, email, quota, used, karma, shared) VALUES"
            " ('Alice', 'alice', '', '', 1000, 3, 1, 1), ('bob', 'bob', '', '', 1000, 0, 0, 0)",
            "folders (id, owner_n, name, is_public, file_count, view_count, star_count, updated)"
            " VALUES ('AAAAAAAAAAA1', 1, 'Shown', 1, 2, 5, 1, :now),"
            " ('AAAAAAAAAAA2', 1, 'Secret', 0, 0, 0, 0, :now - 1)",
            "files (id, folder_n, position, name, title, caption, size, mimetype, sha256, blob)"
            " VALUES ('BBBBBBBBBBB1', 1, 1, 'a', '', '', 1, '', '', 'k1'),"
            " ('BBBBBBBBBBB2', 1, 0, 'b', '', 'c', 2, '', '', 'k2')",
            "clients (id, name, secret_hash) VALUES ('key', 'a program', :secret)",
            "tokens (family, access_hash, refresh_hash, user_n, client_n, scope, used,"
            " access_expires, refresh_expires)"
            " VALUES ('f', :access, :refresh, 1, 1, 'read_all', 0, :now + 9, :now + 9)",
            "visits (user_n, folder_n, last) VALUES (2, 1, :now - 5)",
            "stars (user_n, folder_n) VALUES (2, 1)",
            "follows (follower_n, followed_n) VALUES (2, 1)",
        ):
            connection.execute(text(f"INSERT INTO {statement}"), values)
    old.close()
    clock = Clock()
    service = open_service(places(tmp_path), clock, PUBLIC)
    site = Site(service, clock)
    alice, bob = map(site.accounts.user, ("alice", "bob"))
    shown, secret = (site.library.linked_folder(f"AAAAAAAAAAA{n}") for n in (1, 2))
    assert (shown.view_count, shown.last_visit, shown.editor_id) == (5, NOW, None)
    assert (secret.owner_n, secret.last_visit, site.order(shown)) == (alice.n, NOW - 1, "ba")
    assert site.accounts.caller("access").user == alice
    assert site.accounts.refresh("key", "secret", "refresh", "").scope == "read_all"
    assert site.accounts.clients(alice) == []
    assert [site.ids(kind, alice) for kind in ("mine", "public", "history")] == [
        [secret.id, shown.id],
        [shown.id],
        [shown.id, secret.id],
    ]
    total, (entry,) = site.galleries.timeline("history", bob, 1, 9)
    assert (total, entry.last, entry.id, entry.name) == (1, NOW - 5, shown.id, "Shown")
    assert site.ids("feed", bob) == [shown.id]
    assert site.library.feed(Caller.of_session(bob), "favorited", 0, 9)[0] == 1
    assert site.galleries.expire() == 0
    assert site.put(site.gallery().id, b"new").size == 3
    assert site.unowned() == 3
    with service.catalog.read() as rows:
        assert rows.wrong_counters() == []
    with service.catalog.engine.connect() as connection:
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
        assert connection.execute(select(folders.c.editor_id)).scalars().all()[:2] == [None, None]
    service.close()


# --- what the operator says ---


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """What `serve` would have been started with."""
    seen_options: list[Options] = []

    def serve(options: Options) -> int:
        seen_options.append(options)
        return 0

    monkeypatch.setattr(daemon, "serve", serve)
    monkeypatch.setattr(os, "umask", lambda _: 0)
    return seen_options


@pytest.mark.parametrize(
    ("args", "changes"),
    [
        ("", {}),
        ("--registration open", {"registration": True}),
        ("--registration closed", {}),
        ("--registration-quota 5M", {"registration_quota": 5 << 20}),
        ("--anonymous off", {"anonymous": False}),
        ("--anonymous on --embedded", {"anonymous": False, "embedded": True}),
        ("--anonymous-galleries 7", {"galleries_an_hour": 7}),
        ("--anonymous-galleries 0", {"galleries_an_hour": 0}),
        ("--anonymous-file 1500", {"anonymous_file": 1500}),
        ("--anonymous-file 0", {"anonymous_file": 0}),
        ("--anonymous-file 2k", {"anonymous_file": 2 << 10}),
        ("--anonymous-file 2M", {"anonymous_file": 2 << 20}),
        ("--anonymous-total 3g", {"anonymous_total": 3 << 30}),
        ("--anonymous-total 1T", {"anonymous_total": 1 << 40}),
        ("--anonymous-days 365", {"anonymous_days": 365}),
        ("--image-base http://i.min.us", {"image_base": "http://i.min.us/"}),
        ("--image-base http://i.min.us/", {"image_base": "http://i.min.us/"}),
        (
            "--trusted-proxy 10.0.0.0/8 --trusted-proxy ::1 --trusted-proxy 192.0.2.1",
            {"trusted_proxies": tuple(map(ip_network, ("10.0.0.0/8", "::1/128", "192.0.2.1/32")))},
        ),
    ],
)
def test_the_operators_options_become_the_policy(
    told: list[Options], tmp_path: Path, args: str, changes: dict[str, Any]
) -> None:
    assert cli.main(["serve", "--data", str(tmp_path), *args.split()]) == 0
    (options,) = told
    assert (options.policy, options.data) == (Policy(**changes), tmp_path)
    assert (Policy().anonymous_file, Policy().galleries_an_hour) == (1 << 30, 100)
    assert (Policy().anonymous_days, Policy().registration, Policy().anonymous) == (30, False, True)


@pytest.mark.parametrize(
    "args",
    [
        "--registration maybe",
        "--registration",
        "--registration-quota much",
        "--anonymous yes",
        "--anonymous-galleries -1",
        "--anonymous-galleries many",
        "--anonymous-galleries 1.5",
        "--anonymous-galleries ²",
        "--anonymous-galleries 10000000000",
        "--anonymous-file 1.5G",
        "--anonymous-file G",
        "--anonymous-file 1GB",
        "--anonymous-file=-1",
        "--anonymous-file=",
        "--anonymous-file ²",
        "--anonymous-total 4194304T",
        "--anonymous-total 9999999999999999",
        "--anonymous-days forever",
        "--trusted-proxy 10.0.0.1/8",
        "--trusted-proxy proxy.example",
        "--trusted-proxy 10.0.0.0/33",
        "--trusted-proxy=",
    ],
)
def test_an_option_that_cannot_be_read_is_an_error_of_usage(
    told: list[Options], capsys: pytest.CaptureFixture[str], args: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", *args.split()])
    printed = capsys.readouterr()
    assert (ended.value.code, told, printed.out) == (2, [], "")
    assert args.partition(" ")[0].partition("=")[0] in printed.err.splitlines()[-1]


@pytest.mark.parametrize("option", ["--base-url", "--image-base"])
@pytest.mark.parametrize(
    "base",
    [
        *("", "/", "share.example.org", "share.example.org:443", "//share.example.org/"),
        *("ftp://share.example.org/", "https:share.example.org", "http://", "https:///path"),
        *("https://share.example.org/?a=b", "https://share.example.org/#a", "https://:443/"),
        *("https://user:password@share.example.org/", "https://share.example.org:port/"),
        *("https://share.example.org:65536/", "https://[::1/", "https://share.example.org/a b"),
        *("https://café.example/", "https://share.example.org/\n"),
    ],
)
def test_what_links_cannot_begin_with_is_an_error_of_usage(
    told: list[Options], capsys: pytest.CaptureFixture[str], option: str, base: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", f"{option}={base}"])
    assert (ended.value.code, told) == (2, [])
    why = f"argument {option}: {base!r} is not http:// or https:// with a host, "
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    "base",
    ["https://share.example.org", "http://192.0.2.1:8080/", "http://[::1]:80/", "https://a/b/c"],
)
def test_links_begin_with_an_address_of_the_web(told: list[Options], base: str) -> None:
    assert cli.main(["serve", "--base-url", base]) == 0
    assert told[0].base_of(1) == f"{base.rstrip('/')}/"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ("", "Anonymous galleries: on; registration: closed"),
        ("--registration open", "Anonymous galleries: on; registration: open"),
        ("--anonymous off", "Anonymous galleries: off; registration: closed"),
        ("--embedded", "Anonymous galleries: off; registration: closed"),
    ],
)
def test_the_second_line_of_output_names_what_is_open_to_all(
    tmp_path: Path, args: str, line: str
) -> None:
    options = ("--port", "0", "--idle-exit", "0.1", "--data", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "minus_server", "serve", *options, *args.split()],
        capture_output=True, text=True, check=False, timeout=60, env=clean_environment(),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == [line]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # no proxy of ours
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.2 ,10.0.0.3"], "10.0.0.2"),
        ("10.0.0.1", ["6.6.6.6, nonsense"], "nonsense"),
        ("::1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),  # as seen on a socket of IPv6
    ],
)
def test_only_a_trusted_proxy_tells_where_a_request_comes_from(
    site: Site, peer: str, forwarded: list[str], address: str
) -> None:
    trusted = tuple(map(ip_network, ("10.0.0.0/8", "::1/128")))
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]

    def request(policy: Policy) -> Request:
        state = type("State", (), {"service": replace(site.service, policy=policy)})
        app = type("App", (), {"state": state})
        scope = {"type": "http", "headers": headers, "client": (peer, 1), "app": app}
        return Request(scope)

    assert web.address(request(replace(PUBLIC, trusted_proxies=trusted))) == address
    assert web.address(request(PUBLIC)) == peer


@pytest.mark.parametrize("known", [True, False])
def test_bytes_that_come_unannounced_hold_room_as_they_come(tmp_path: Path, known: bool) -> None:
    mib = 1 << 20
    policy = Policy(anonymous_total=8 * mib)  # what holds room has sent half of it
    with opened(tmp_path / "data", policy) as site:
        gallery = site.gallery()
        begin = partial(site.galleries.begin, gallery.id, None, 0)
        one, other = (begin() if known else site.galleries.begin_unplaced() for _ in "12")
        for _ in range(3):
            one.write([bytes(mib)])
        for _ in range(2):
            other.write([bytes(mib)])
        with pytest.raises(QuotaExceeded):
            for _ in range(2):
                other.write([bytes(mib)])
        other.abort()
        kept = site.galleries.keep(gallery.id, None, one, "one", "")
        assert (kept.size, site.unowned(), site.reserved()) == (3 * mib, 3 * mib, 0)


@pytest.mark.alone
def test_where_galleries_need_an_account_old_ones_take_no_more(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as site:
        made = site.gallery()
        site.put(made.id, b"old")
    with opened(tmp_path / "data", Policy(anonymous=False)) as site:
        for name in (made.id, made.editor_id or ""):
            with pytest.raises(Forbidden, match="signed-in users only"):
                site.put(name, b"new")
        assert site.galleries.editable(made.editor_id or "", None).file_count == 1


def test_the_size_of_a_png_is_told_without_decoding_it(tmp_path: Path) -> None:
    whole = rawhttp.png(30, 20)
    (tmp_path / "cut.png").write_bytes(whole[: whole.index(b"IDAT") + 6])
    assert picture_worker.size({"path": str(tmp_path / "cut.png")}) == {"width": 30, "height": 20}


def test_an_order_of_ids_that_nobody_has_touches_no_row(site: Site) -> None:
    made = site.gallery()
    site.letters(made, "abc")
    statements: list[str] = []
    listen = partial(event.listen, site.catalog.engine, "before_cursor_execute")
    listen(lambda _db, _cursor, statement, *_: statements.append(statement))
    site.library.alter_folder(made, {"item_ordering": [names.new_id() for _ in range(1000)]})
    assert [line for line in statements if line.startswith("UPDATE files")] == []
