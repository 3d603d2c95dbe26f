"""What slows guessers down: of passwords, and of ids.

Nobody is locked out: a wrong password makes only its own address wait for its own account, and
never longer than LONGEST_PAUSE. Whoever comes from elsewhere is delayed a little at the most.
"""

from collections import OrderedDict
from contextlib import suppress

from minus_server.accounts import Clock, hash_secret
from minus_server.addresses import is_loopback, network
from minus_server.catalog import Catalog, Rows
from minus_server.errors import TooMany
from minus_server.meter import Meter

FREE_TRIES = 5  # wrong passwords for one account from one address before there is a pause
LONGEST_PAUSE = 30  # seconds
FREE_DELAYS = 20  # wrong passwords for an account, or from an address, before there is a delay
DELAY = 0.1  # seconds for each beyond them
LONGEST_DELAY = 3.0  # seconds
_HALF = 3600  # seconds in which a count halves
_FORGOTTEN = 12 * _HALF
_MOST_ROWS = 100_000
_TRY_SECONDS = 60  # after which a try is no longer under way
_KNOWN_SECONDS = 1

MISSES = 100  # ids that an address may guess wrong at once
MISSES_SECONDS = 600  # for which it may do so again
_LONGEST_WAIT = 60  # seconds
_MOST_ADDRESSES = 10_000


class SignIns:
    """Wrong passwords, in the catalog: by account and address, by account, by address."""

    def __init__(self, catalog: Catalog, clock: Clock, meter: Meter) -> None:
        self._catalog = catalog
        self._clock = clock
        self._meter = meter

    def begin(self, account: str, address: str) -> None:
        """Count a try as a wrong one, until `end` says that it was not.

        Counted before the password is looked at, so that tries at once pay as those in turn do;
        but nobody waits for those under way, which are few: they may all be right.
        Raises TooMany, uncounted, while the pause after the last one lasts.
        """
        now = int(self._clock())
        pair, *others = _keys(account, address)
        with self._catalog.write() as rows:
            _lock(rows, pair, *others)
            count, last, trying = rows.failures(pair)
            count, age = _faded(count, now - last), now - last
            trying = trying if 0 <= age < _TRY_SECONDS else 0  # whoever tried has died
            pause = _pause(count - trying)
            if 0 <= age < pause:  # a clock that was set back keeps nobody out
                self._meter.sign_in_refused()
                raise _wait(pause - age)
            rows.forget_failures(now - _FORGOTTEN, _MOST_ROWS)
            rows.set_failures(pair, count + 1, now, trying + 1)
            for key in others:
                held, before, _ = rows.failures(key)
                rows.set_failures(key, _faded(held, now - before) + 1, now)

    def end(self, account: str, address: str, *, right: bool) -> None:
        """The password was looked at: take the try back where it was right."""
        pair, *others = _keys(account, address)
        if not right:
            self._meter.sign_in_refused()
        with self._catalog.write() as rows:
            _lock(rows, pair, *others)
            count, last, trying = rows.failures(pair)
            rows.set_failures(pair, 0 if right else count, last, trying - 1)
            for key in others if right else ():
                held, before, _ = rows.failures(key)
                rows.set_failures(key, held - 1, before)

    def delay(self, account: str, address: str) -> float:
        """The seconds that the answer to a sign-in waits."""
        _, of_account, of_address = _keys(account, address)
        with self._catalog.read() as rows:
            count = self._count(rows, of_account)
            if not is_loopback(address):
                count = max(count, self._count(rows, of_address))
        return min(LONGEST_DELAY, DELAY * max(0, count - FREE_DELAYS))

    def _count(self, rows: Rows, key: str) -> int:
        count, last, _ = rows.failures(key)
        return _faded(count, int(self._clock()) - last)


def _keys(account: str, address: str) -> tuple[str, str, str]:
    """As hashes: a name may be a password that was typed into the wrong field."""
    place = network(address)
    named = f"pair {place} {account}", f"account {account}", f"address {place}"
    pair, of_account, of_address = map(hash_secret, named)
    return pair, of_account, of_address


def _lock(rows: Rows, *keys: str) -> None:
    """In one order, so that no two wait for each other."""
    for key in sorted(keys):
        rows.lock("failures", key)


def _pause(count: int) -> int:
    if count < FREE_TRIES:
        return 0
    return int(min(LONGEST_PAUSE, 2 ** min(count - FREE_TRIES, LONGEST_PAUSE)))


def _faded(count: int, seconds: int) -> int:
    return count >> min(max(0, seconds) // _HALF, 64)


def _wait(seconds: int) -> TooMany:
    return TooMany(f"Too many wrong passwords: wait {seconds} s and try again.", seconds)


class Misses:
    """Addresses that asked for ids which are none.

    A bucket for each: a miss adds to it, time empties it; who has filled it waits. The catalog
    has them; what it said of an address is known for a second, so that a page of pictures asks
    it once.
    """

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def known(self, address: str) -> int | None:
        """As `wait`, without asking the catalog; None where that is to be done."""
        if is_loopback(address):
            return 0
        since, wait = self._known.get(network(address), (0.0, 0))
        return wait if 0 <= self._clock() - since < _KNOWN_SECONDS else None

    def wait(self, address: str) -> int:
        """The seconds that the address has to wait, 0 where it may ask."""
        if is_loopback(address):
            return 0
        key = network(address)
        with self._catalog.read() as rows:
            over = self._level(rows, hash_secret(key)) / 1000 - MISSES
        wait = 0 if over <= 0 else min(_LONGEST_WAIT, 1 + int(over * MISSES_SECONDS / MISSES))
        self._known[key] = self._clock(), wait
        while len(self._known) > _MOST_ADDRESSES:
            with suppress(KeyError):  # another thread was quicker
                self._known.popitem(last=False)
        return wait

    def count(self, address: str) -> None:
        """Count a miss."""
        if is_loopback(address):
            return
        now = int(self._clock() * 1000)
        key = hash_secret(network(address))
        with self._catalog.write(durable=False) as rows:
            rows.lock("misses", key)
            rows.forget_misses(now - MISSES_SECONDS * 1000, _MOST_ROWS)
            rows.set_misses(key, self._level(rows, key) + 1000, now)
        self._known.pop(network(address), None)

    def _level(self, rows: Rows, key: str) -> int:
        """How full the bucket is, in thousandths of a miss."""
        level, since = rows.misses(key)
        passed = max(0, int(self._clock() * 1000) - since)
        return max(0, level - passed * MISSES // MISSES_SECONDS)
