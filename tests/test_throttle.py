"""What slows guessers down: rules under a clock that we set, and bodies that drip."""

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from sqlalchemy import text
from starlette.requests import Request
from starlette.types import Message

from minus_server import accounts, galleries, oauth, parse
from minus_server.accounts import Caller
from minus_server.catalog import Catalog
from minus_server.errors import TimedOut, TooMany
from minus_server.meter import Meter
from minus_server.places import Places
from minus_server.schema import failures
from minus_server.service import Service, open_service
from minus_server.throttle import (
    FREE_DELAYS,
    LONGEST_DELAY,
    MISSES,
    MISSES_SECONDS,
    Misses,
    SignIns,
)
from tests.stores import places

HERE, THERE = "192.0.2.1", "198.51.100.7"
PASSWORD = "correct horse"
HOUR = 3600


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Door:
    """Sign-ins on a catalog of their own."""

    data: Path
    clock: Clock = field(default_factory=Clock)
    places: Places | None = None

    def __post_init__(self) -> None:
        self.places = self.places or places(self.data)
        self.catalog = self.places.catalog()
        self.rules = SignIns(self.catalog, self.clock, Meter())

    def fail(self, account: str = "alice", address: str = HERE, times: int = 1) -> None:
        for _ in range(times):
            self.rules.begin(account, address)
            self.rules.end(account, address, right=False)

    def wait(self, account: str = "alice", address: str = HERE) -> int | None:
        """How long one is told to wait; None where one may try, which is taken back."""
        try:
            self.rules.begin(account, address)
        except TooMany as refusal:
            return int(refusal.headers["Retry-After"])
        self.rules.end(account, address, right=True)
        return None

    def rows(self) -> int:
        with self.catalog.engine.connect() as connection:
            return len(connection.execute(failures.select()).all())


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path)
    yield made
    made.catalog.close()


def test_five_wrong_passwords_are_free_and_then_the_pause_doubles_to_half_a_minute(
    door: Door,
) -> None:
    door.fail(times=5)
    pauses = []
    for _ in range(8):
        with pytest.raises(TooMany, match="wait") as refused:
            door.fail()
        pauses.append(int(refused.value.headers["Retry-After"]))
        door.clock.now += pauses[-1]
        door.fail()
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_try_during_the_pause_does_not_make_it_longer(door: Door) -> None:
    door.fail(times=5)
    for _ in range(50):
        with pytest.raises(TooMany):
            door.fail()
    door.clock.now += 1
    assert door.wait() is None


def test_the_right_password_ends_the_pauses_of_its_address(door: Door) -> None:
    door.fail(times=5)
    door.clock.now += 1
    assert door.wait() is None
    door.fail(times=5)
    assert door.wait() == 1


def test_nobody_elses_failures_keep_somebody_out(door: Door) -> None:
    for number in range(40):
        door.fail(address=f"203.0.113.{number}")
        door.clock.now += 1
    for _ in range(20):
        door.clock.now += 30
        door.fail(address=THERE)
    assert door.wait(address=HERE) is None
    assert door.wait(account="bob", address=THERE) is None


def test_addresses_of_one_network_of_ipv6_wait_together(door: Door) -> None:
    for number in range(5):
        door.fail(address=f"2001:db8::{number + 1:x}")
    assert door.wait(address="2001:db8::ffff") == 1
    assert door.wait(address="2001:db8:0:1::1") is None


def test_many_failures_only_delay_and_never_for_long(door: Door) -> None:
    for number in range(FREE_DELAYS):
        door.fail(address=f"203.0.113.{number}")
        door.fail(f"user{number}", THERE)
    assert (door.rules.delay("alice", HERE), door.rules.delay("nobody", THERE)) == (0, 0)
    door.fail(address="203.0.113.200")
    door.fail("bob", THERE)
    assert door.rules.delay("alice", HERE) == door.rules.delay("zoe", THERE) == pytest.approx(0.1)
    assert door.rules.delay("zoe", HERE) == 0
    for number in range(30):
        door.fail(f"other{number}", THERE)
    assert door.rules.delay("zoe", THERE) == LONGEST_DELAY


def test_this_machine_is_not_delayed_for_what_others_on_it_did(door: Door) -> None:
    for number in range(40):
        door.fail(f"user{number}", "127.0.0.1")
        door.fail(f"user{number}", "::1")
    assert door.rules.delay("zoe", "127.0.0.1") == door.rules.delay("zoe", "::1") == 0
    door.fail(address="127.0.0.1", times=5)
    assert door.wait(address="127.0.0.1") == 1


def test_failures_outlive_a_restart(door: Door) -> None:
    door.fail(times=5)
    door.catalog.close()
    again = Door(door.data, door.clock, door.places)
    assert again.wait() == 1
    again.catalog.close()


def test_failures_fade(door: Door) -> None:
    door.fail(times=5)
    door.clock.now += HOUR
    door.fail(times=3)  # two are left of the five
    assert door.wait() == 1
    door.clock.now += 13 * HOUR
    door.fail("bob", THERE)
    assert door.rows() == 3  # bob's: the others are gone


def test_a_clock_that_was_set_back_keeps_nobody_out(door: Door) -> None:
    door.fail(times=5)
    door.clock.now -= 24 * HOUR
    assert door.wait() is None


def test_the_rows_of_failures_have_an_end(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minus_server.throttle._MOST_ROWS", 50)
    for number in range(100):
        door.fail(f"user{number}", f"203.0.113.{number}")
    assert door.rows() <= 53


def test_no_name_stands_in_the_rows(door: Door) -> None:
    door.fail("hunter2hunter2", "203.0.113.77")
    door.catalog.checkpoint()
    kept = b"".join(path.read_bytes() for path in door.data.glob("catalog.sqlite3*"))
    assert b"hunter2" not in kept
    assert b"203.0.113.77" not in kept


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    clock = Clock()
    made = open_service(places(tmp_path), clock)
    made.accounts.add_user("Alice", PASSWORD)
    yield made
    made.close()


def test_right_passwords_that_come_at_once_are_taken(service: Service) -> None:
    for _ in range(3):
        assert service.accounts.check_password("alice", "wrong", HERE) is None
    with ThreadPoolExecutor(oauth.AT_ONCE) as threads:
        tries = [
            threads.submit(service.accounts.check_password, "alice", PASSWORD, HERE)
            for _ in range(8)
        ]
    assert all(found.result() is not None for found in tries)


def test_guesses_that_come_at_once_pay_as_those_in_turn(service: Service) -> None:
    def guess(_: int) -> bool:
        try:
            assert service.accounts.check_password("alice", "wrong", HERE) is None
        except TooMany:
            return False
        return True

    with ThreadPoolExecutor(oauth.AT_ONCE) as threads:
        looked_at = sum(threads.map(guess, range(40)))
    assert 5 <= looked_at < 5 + oauth.AT_ONCE
    with pytest.raises(TooMany):
        service.accounts.check_password("alice", PASSWORD, HERE)


@pytest.mark.parametrize("name", ["ALICE", " alice ", "nobody"])
def test_known_and_unknown_names_pay_alike(service: Service, name: str) -> None:
    for _ in range(5):
        assert service.accounts.check_password(name, "wrong", HERE) is None
    with pytest.raises(TooMany):
        service.accounts.check_password(name, PASSWORD, HERE)


def test_who_knows_the_password_gets_in_from_elsewhere(service: Service) -> None:
    for _ in range(5):
        assert service.accounts.check_password("alice", "wrong", HERE) is None
    with pytest.raises(TooMany):
        service.accounts.check_password("alice", PASSWORD, HERE)
    assert service.accounts.check_password("alice", PASSWORD, THERE) is not None


# --- ids ---


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    opened = places(tmp_path).catalog()
    yield opened
    opened.close()


def test_a_hundred_misses_are_free_and_then_one_waits_for_seconds(catalog: Catalog) -> None:
    clock = Clock()
    misses = Misses(catalog, clock)
    for _ in range(MISSES):
        assert misses.wait(HERE) == 0
        misses.count(HERE)
    misses.count(HERE)
    waited = misses.wait(HERE)
    assert 0 < waited <= 60
    assert misses.wait(THERE) == 0
    clock.now += waited
    assert misses.wait(HERE) == 0
    clock.now += 600
    for _ in range(MISSES):
        misses.count(HERE)
    assert misses.wait(HERE) == 0


def test_what_one_process_counted_another_one_knows(catalog: Catalog) -> None:
    clock = Clock()
    counted, asked = Misses(catalog, clock), Misses(catalog, clock)
    assert asked.wait(HERE) == asked.known(HERE) == 0
    for _ in range(MISSES + 5):
        counted.count(HERE)
    assert asked.known(HERE) == 0
    clock.now += 1
    assert asked.known(HERE) is None
    assert asked.wait(HERE) == asked.known(HERE) != 0


def test_this_machine_may_miss_as_often_as_it_likes(catalog: Catalog) -> None:
    misses = Misses(catalog, Clock())
    for _ in range(1000):
        for host in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
            misses.count(host)
            assert misses.wait(host) == 0


def test_addresses_that_missed_are_not_kept_for_ever(catalog: Catalog) -> None:
    clock = Clock()
    misses = Misses(catalog, clock)
    for number in range(20):
        misses.count(f"10.0.0.{number}")
    clock.now += MISSES_SECONDS + 1
    misses.count(HERE)
    with catalog.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM misses")).scalar() == 1


# --- bodies ---


@dataclass
class Slow:
    """A body whose blocks come one each so many seconds of a clock that we set."""

    blocks: list[bytes]
    seconds: float
    clock: Clock
    sent: int = 0

    async def receive(self) -> Message:
        self.clock.now += self.seconds
        block = self.blocks[self.sent]
        self.sent += 1
        return {
            "type": "http.request",
            "body": block,
            "more_body": self.sent < len(self.blocks),
        }

    def request(self) -> Request:
        return Request({"type": "http", "method": "POST", "headers": []}, self.receive)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(parse, "time", SimpleNamespace(monotonic=clock))
    return clock


async def read(blocks: AsyncIterator[bytes]) -> int:
    return sum([len(block) async for block in blocks])


def test_a_body_that_drips_is_given_up_after_a_minute(clock: Clock) -> None:
    slow = Slow([b"x"] * 10_000, 30.0, clock)
    with pytest.raises(TimedOut, match="Less than 1024 bytes a second came"):
        anyio.run(read, parse.body(slow.request()))
    assert slow.sent == 3


def test_a_body_on_a_slow_line_is_taken(clock: Clock) -> None:
    slow = Slow([b"x" * 40_000] * 100, 30.0, clock)
    assert anyio.run(read, parse.body(slow.request())) == 4_000_000


def test_the_time_that_we_take_ourselves_does_not_count(clock: Clock) -> None:
    slow = Slow([b"x"] * 100, 0.5, clock)

    async def dawdle() -> int:
        count = 0
        async for block in parse.body(slow.request()):
            clock.now += 60
            count += len(block)
        return count

    assert anyio.run(dawdle) == 100


def test_a_form_has_a_minute_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "FORM_SECONDS", 0)

    async def stalled() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    policy = SimpleNamespace(old_clients=True)
    app = SimpleNamespace(state=SimpleNamespace(service=SimpleNamespace(policy=policy)))
    scope = {"type": "http", "method": "POST", "headers": [], "query_string": b"", "path": "/"}
    with pytest.raises(TimedOut, match="The form took longer"):
        anyio.run(parse.parameters, Request({**scope, "app": app}, stalled))


# --- rows that no quota counts ---


def test_messages_have_an_end_for_an_hour(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MESSAGES_AN_HOUR", 5)
    caller = Caller.of_session(service.accounts.user("alice"))
    service.accounts.add_user("bob", PASSWORD)
    for _ in range(5):
        service.accounts.send_message(caller, "bob", "x")
    with pytest.raises(TooMany, match="write again in an hour"):
        service.accounts.send_message(caller, "bob", "x")
    other = Caller.of_session(service.accounts.user("bob"))
    assert service.accounts.send_message(other, "alice", "x").body == "x"


def test_a_history_keeps_the_latest_of_what_is_gone(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(galleries, "MAX_GONE", 3)
    service.accounts.add_user("bob", PASSWORD)
    for name in ("alice", "bob"):
        user = service.accounts.user(name)
        for number in range(5):
            folder = service.library.make_folder(user, f"{number}", is_public=False)
            service.library.remove_folder(folder)
    service.galleries.expire()
    for name in ("alice", "bob"):
        entries = service.galleries.timeline("history", service.accounts.user(name), 1, 9)[1]
        assert {entry.name for entry in entries} == {"4", "3", "2"}
