"""What slows guessers down: of passwords, and of ids.

Nobody is locked out: a wrong password makes only its own address wait for its own account, and
never longer than LONGEST_PAUSE. Whoever comes from elsewhere is delayed a little at the most.
"""

import threading
from collections import Counter
from collections.abc import Callable

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
        self._lock = threading.Lock()
        self._trying: Counter[str] = Counter()  # tries under way, by account and address

    def begin(self, account: str, address: str) -> None:
        """Count a try as a wrong one, until `end` says that it was not.

        Counted before the password is looked at, so that tries at once pay as those in turn do;
        but nobody waits for those under way, which are few: they may all be right.
        Raises TooMany, uncounted, while the pause after the last one lasts.
        """
        now = int(self._clock())
        pair, *others = _keys(account, address)
        with self._catalog.write() as rows:
            count, last = rows.failures(pair)
            count, age = _faded(count, now - last), now - last
            with self._lock:
                pause = _pause(count - self._trying[pair])
            if 0 <= age < pause:  # a clock that was set back keeps nobody out
                self._meter.sign_in_refused()
                raise _wait(pause - age)
            rows.forget_failures(now - _FORGOTTEN, _MOST_ROWS)
            rows.set_failures(pair, count + 1, now)
            for key in others:
                held, before = rows.failures(key)
                rows.set_failures(key, _faded(held, now - before) + 1, now)
            with self._lock:  # before the next one who begins looks
                self._trying[pair] += 1

    def end(self, account: str, address: str, *, right: bool) -> None:
        """The password was looked at: take the try back where it was right."""
        pair, *others = _keys(account, address)
        if not right:
            self._meter.sign_in_refused()
        try:
            if right:
                with self._catalog.write() as rows:
                    rows.set_failures(pair, 0, 0)
                    for key in others:
                        held, last = rows.failures(key)
                        rows.set_failures(key, held - 1, last)
        finally:
            with self._lock:
                self._trying[pair] -= 1
                if not self._trying[pair]:
                    del self._trying[pair]

    def delay(self, account: str, address: str) -> float:
        """The seconds that the answer to a sign-in waits."""
        _, of_account, of_address = _keys(account, address)
        with self._catalog.read() as rows:
            count = self._count(rows, of_account)
            if not is_loopback(address):
                count = max(count, self._count(rows, of_address))
        return min(LONGEST_DELAY, DELAY * max(0, count - FREE_DELAYS))

    def _count(self, rows: Rows, key: str) -> int:
        count, last = rows.failures(key)
        return _faded(count, int(self._clock()) - last)


def _keys(account: str, address: str) -> tuple[str, str, str]:
    """As hashes: a name may be a password that was typed into the wrong field."""
    place = network(address)
    named = f"pair {place} {account}", f"account {account}", f"address {place}"
    pair, of_account, of_address = map(hash_secret, named)
    return pair, of_account, of_address


def _pause(count: int) -> int:
    if count < FREE_TRIES:
        return 0
    return int(min(LONGEST_PAUSE, 2 ** min(count - FREE_TRIES, LONGEST_PAUSE)))


def _faded(count: int, seconds: int) -> int:
    return count >> min(max(0, seconds) // _HALF, 64)


def _wait(seconds: int) -> TooMany:
    return TooMany(f"Too many wrong passwords: wait {seconds} s and try again.", seconds)


class Misses:
    """Addresses that asked for ids which are none, in memory.

    A bucket for each: a miss adds to it, time empties it; who has filled it waits.

    clock   seconds, of no day
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._levels: dict[str, tuple[float, float]] = {}

    def wait(self, address: str) -> int:
        """The seconds that the address has to wait, 0 where it may ask."""
        over = self._level(network(address)) - MISSES
        if over <= 0 or is_loopback(address):
            return 0
        return min(_LONGEST_WAIT, 1 + int(over * MISSES_SECONDS / MISSES))

    def count(self, address: str) -> None:
        """Count a miss."""
        key = network(address)
        with self._lock:
            level = self._level(key) + 1
            self._levels.pop(key, None)
            self._levels[key] = level, self._clock()  # the latest are behind
            if len(self._levels) > _MOST_ADDRESSES:
                del self._levels[next(iter(self._levels))]

    def _level(self, key: str) -> float:
        level, since = self._levels.get(key, (0.0, 0.0))
        return max(0.0, level - (self._clock() - since) * MISSES / MISSES_SECONDS)
