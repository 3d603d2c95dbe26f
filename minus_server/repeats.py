"""Requests that may come twice: the one with the same Idempotency-Key gives the first result."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from minus_server import names
from minus_server.accounts import hash_secret
from minus_server.catalog import Rows, User
from minus_server.errors import KeyReused

REPEAT_SECONDS = 24 * 3600


class Replayed(Exception):
    """This was asked before, and done. `made` is what came of it, mostly ids."""

    def __init__(self, made: Sequence[str]) -> None:
        super().__init__("This was asked before.")
        self.made = made


def holder(user: User | None, other: str = "") -> str:
    """Whose Idempotency-Key it is: the user's, without one that of what `other` names."""
    return other if user is None else f"user {user.n}"


@dataclass(frozen=True, slots=True)
class Once:
    """A request with an Idempotency-Key.

    who     whose key it is: keys of two of them are never the same one
    asked   the words that tell this kind of request from others: method and path
    """

    key: str
    who: str
    asked: str

    @property
    def _key_hash(self) -> str:
        return hash_secret(f"{self.who}\0{self.key}")

    def _request(self, what: Sequence[object]) -> str:
        return hash_secret(json.dumps([self.asked, *what]))

    def is_known(self, rows: Rows, now: int) -> bool:
        """Tell whether it was done before, or another one with its key."""
        return rows.repeat(self._key_hash, now) is not None

    def begin(self, rows: Rows, now: int, what: Sequence[object]) -> None:
        """Go on only where it was not done before; `keep` follows in the same transaction.

        what   the rest of what was asked: names, sizes, digests. Raises Replayed, KeyReused.
        """
        rows.lock("repeat", self._key_hash)  # one that runs at the same time is waited for
        known = rows.repeat(self._key_hash, now)
        if known is None:
            return
        request, answer = known
        if request != self._request(what):
            raise KeyReused("This Idempotency-Key was used for another request.")
        raise Replayed(json.loads(answer))

    def keep(self, rows: Rows, now: int, what: Sequence[object], made: Sequence[str]) -> None:
        """Remember what came of it."""
        answer, expires = json.dumps(made), now + REPEAT_SECONDS
        rows.add_repeat(self._key_hash, self._request(what), answer, expires)

    def forget(self, rows: Rows) -> None:
        """Nothing came of it after all: the key is free again."""
        rows.delete_repeat(self._key_hash)

    def masked(self, secret: str) -> str:
        """A secret as the catalog may hold it, and back again: only who has the key can read it."""
        mask = hashlib.sha256(f"secret\0{self.who}\0{self.key}".encode()).digest()
        value = names.secret_bytes(secret)
        return names.secret_of(bytes(a ^ b for a, b in zip(value, mask, strict=True)))
