"""Which process works on which upload, where several share a catalog."""

from typing import Any

from minus_server import names
from minus_server.accounts import Clock
from minus_server.catalog import Catalog

LEASE_SECONDS = 6  # a process that has said nothing for so long has lost what it held
BEAT_SECONDS = 1  # how often it says so
CUT_SECONDS = 15  # after its lease, an upload that ends with its connection is cleared away


class Leases:
    """The uploads that this process holds.

    alone   no other process uses the catalog: nothing needs telling
    """

    def __init__(self, catalog: Catalog, clock: Clock, *, alone: bool) -> None:
        self.alone = alone
        self._catalog = catalog
        self._clock = clock
        self._holder = None if alone else names.new_id()
        self._working: set[int] = set()

    def _until(self) -> int:
        return int(self._clock()) + LEASE_SECONDS

    def columns(self) -> dict[str, Any]:
        """The columns of an upload that this process begins, and works on."""
        if self._holder is None:
            return {}
        return {"holder": self._holder, "held_until": self._until()}

    def began(self, n: int) -> None:
        """A request of this process works on the upload: it is held until it is said to end."""
        self._working.add(n)

    def ended(self, n: int) -> None:
        """No request works on it any more, whatever the catalog can be told of that."""
        self._working.discard(n)

    def take(self, n: int) -> bool:
        """Take an upload. -> False where another process has it, which is told to let it go"""
        if self._holder is None:
            return True
        with self._catalog.write(durable=False) as rows:
            taken = rows.hold_upload(n, self._holder, int(self._clock()), self._until())
        if taken:
            self.began(n)
        return taken

    def let_go(self, n: int) -> None:
        """Another process may have it."""
        self.ended(n)
        if self._holder is not None:
            with self._catalog.write(durable=False) as rows:
                rows.let_upload_go(n, self._holder)

    def beat(self) -> list[int]:
        """Hold on to what this process works on. -> the uploads that another one wants"""
        if self._holder is None:
            return []
        with self._catalog.write(durable=False, beat=True) as rows:
            return rows.keep_holding(self._holder, tuple(self._working), self._until())
