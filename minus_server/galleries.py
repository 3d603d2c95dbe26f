"""The rules for galleries: folders as API v1 and the pages see them.

A gallery of a user's is changed by that user alone. One that was made without an account is
changed by whoever holds its editor id; its reader id, which everyone sees, can only add to it,
where old clients are served.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minus_server import names
from minus_server.accounts import Clock
from minus_server.addresses import network
from minus_server.catalog import Catalog, Entry, File, Folder, User
from minus_server.errors import BadRequest, Forbidden, NotFound, TooMany
from minus_server.library import Incoming, Library
from minus_server.policy import Policy
from minus_server.repeats import Once

UNTITLED = "Untitled"
MAX_GONE = 1_000  # deleted folders in a user's history
_DAY = 24 * 3600
_HOUR = 3600
_EXPIRED_AT_ONCE = 100  # galleries


@dataclass(frozen=True, slots=True)
class Held:
    """A gallery, and what whoever named it may do with it."""

    folder: Folder
    may_add: bool
    may_edit: bool


class Galleries:
    """Galleries, by reader id or editor id."""

    def __init__(self, catalog: Catalog, library: Library, clock: Clock, policy: Policy) -> None:
        self._catalog = catalog
        self._library = library
        self._clock = clock
        self._policy = policy

    def create(
        self, user: User | None, address: str, name: str = UNTITLED, once: Once | None = None
    ) -> Folder:
        """Make a gallery: the user's, or without a user one with an editor id.

        address   where the request came from: so many galleries an hour. Raises Forbidden where
                  galleries need an account, TooMany; Replayed, with its id, where `once` was done.
        """
        if user is None:
            if not self._policy.anonymous:
                why = "This service makes galleries for signed-in users only."
                raise Forbidden(why, "forbidden")
            most = self._policy.galleries_an_hour
            is_new = once is None or not self._library.is_known(once)
            if is_new and not self.within_limit("galleries", address, most):
                raise TooMany("Too many galleries from this address; try again in an hour.")
        return self._library.make_folder(user, name, is_public=False, once=once)

    def within_limit(self, what: str, address: str, most: int) -> bool:
        """Count something that an address may do so often an hour. -> False where it did"""
        with self._catalog.write() as rows:
            return rows.count_up(f"{what} {network(address)}", int(self._clock()), _HOUR, most)

    def held(self, name: str, user: User | None, editors: Sequence[str] = ()) -> Held:
        """The gallery that a reader or editor id names, an `m` before it or not.

        editors   editor ids that whoever asks holds besides. Raises NotFound.
        """
        gallery_id = names.gallery_id(name)
        folder = self._library.linked_folder(gallery_id, user)
        if folder.owner_n is None:
            may_edit = folder.editor_id in (gallery_id, *editors)
            may_add = self._policy.anonymous and (may_edit or self._policy.old_clients)
            return Held(folder, may_add=may_add, may_edit=may_edit)
        own = user is not None and folder.owner_n == user.n
        return Held(folder, may_add=own, may_edit=own)

    def editable(self, name: str, user: User | None) -> Folder:
        """A gallery to change. Raises Forbidden where that takes its owner or its editor id."""
        held = self.held(name, user)
        if not held.may_edit:
            raise _not_allowed(held.folder)
        return held.folder

    def visit(self, name: str, user: User | None, editors: Sequence[str] = ()) -> Held:
        """Open a gallery, as `held`; those who may not change it are counted."""
        held = self.held(name, user, editors)
        if not held.may_edit:
            self._library.count_visit(held.folder, user)
            return self.held(held.folder.id, user)
        self._library.keep_alive(held.folder)
        return held

    def begin(
        self, name: str, user: User | None, declared: int, once: Once | None = None
    ) -> Incoming:
        """Open an upload into a gallery."""
        return self._library.begin(self.addable(name, user), declared, once)

    def begin_unplaced(self) -> Incoming:
        """Open an upload whose gallery is named behind the file."""
        if not self._policy.anonymous:
            refusal = BadRequest("The editor_id must stand before a file of this size.")
            return self._library.begin_until(refusal)
        return self._library.begin_unowned()

    def keep(
        self,
        name: str,
        user: User | None,
        incoming: Incoming,
        filename: str,
        declared_type: str,
        once: Once | None = None,
    ) -> File:
        """Keep an upload as an item of the gallery."""
        folder = self.addable(name, user)
        return self._library.keep(
            folder, incoming, name=filename, declared_type=declared_type, once=once
        )

    def addable(self, name: str, user: User | None, editors: Sequence[str] = ()) -> Folder:
        """A gallery to add to. Raises Forbidden."""
        held = self.held(name, user, editors)
        if not held.may_add:
            if held.folder.owner_n is None:
                self.need_anonymous()
            raise _not_allowed(held.folder)
        return held.folder

    def need_anonymous(self) -> None:
        """Raises Forbidden where files need an account."""
        if not self._policy.anonymous:
            raise Forbidden("This service takes files of signed-in users only.", "forbidden")

    def save(self, folder: Folder, title: str | None, ids: Sequence[str]) -> None:
        """Set the title and, where `ids` names items, the order; other items are deleted."""
        changes: dict[str, Any] = {"name": title} if title else {}
        items = self._library.files(folder, 0, names.MAX_ORDER)
        if {item.id for item in items}.intersection(ids):
            changes["item_ordering"] = ids
            kept = set(ids)
            left_out = [item for item in items if item.id not in kept]
            self._library.alter_folder(folder, changes, left_out)
        elif changes:
            self._library.alter_folder(folder, changes)

    def item(self, file_id: str, name: str, user: User | None) -> tuple[Folder, File]:
        """An item to change, of the gallery that `name` names (its own reader id unless said)."""
        file = self._library.linked_file(file_id)
        folder = self.editable(name or file.folder_id, user)
        if folder.n != file.folder_n:
            raise NotFound("There is no such file.")
        return folder, file

    def timeline(self, kind: str, user: User, page: int, size: int) -> tuple[int, list[Entry]]:
        """A page of "mine", "public", "feed" or "history". -> how many in all, the page"""
        with self._catalog.read() as rows:
            return rows.timeline(kind, user.n, (page - 1) * size, size)

    def expire(self) -> int:
        """Remove galleries without an owner that nobody visits any more. -> how many

        What is left of deleted folders in histories is bounded beside it.
        """
        with self._catalog.write() as rows:
            rows.trim_histories(MAX_GONE)
        since = int(self._clock()) - self._policy.anonymous_days * _DAY
        removed = 0
        while True:
            with self._catalog.read() as rows:
                old = rows.unvisited(since, _EXPIRED_AT_ONCE)
            for folder in old:
                with contextlib.suppress(NotFound):  # somebody deleted it meanwhile
                    removed += self._library.remove_folder(folder, unless_seen_since=since)
            if len(old) < _EXPIRED_AT_ONCE:
                return removed


def _not_allowed(folder: Folder) -> Forbidden:
    if folder.owner_n is None:
        return Forbidden("This takes the editor id of the gallery.", "forbidden")
    return Forbidden("Only the gallery's owner may do this: sign in first.", "forbidden")
