"""The rules for folders and files: who may see, change and add what."""

import contextlib
import hashlib
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from minus_server import names
from minus_server.accounts import Caller, Clock, hash_secret
from minus_server.blobs import HEAD, MAX_SMALL, BlobMissing, Blobs, Writer
from minus_server.catalog import (
    Catalog,
    File,
    Folder,
    IntegrityError,
    Listing,
    Part,
    Rows,
    Upload,
    User,
)
from minus_server.errors import (
    DigestMismatch,
    Forbidden,
    Interrupted,
    NotFound,
    NotSignedIn,
    OffsetMismatch,
    QuotaExceeded,
    Refused,
    StoreAway,
    TooLarge,
)
from minus_server.leases import Leases
from minus_server.pictures import MEDIUM, SMALL, Pictures
from minus_server.policy import Policy
from minus_server.repeats import Once, Replayed
from minus_server.schema import UNPLACED
from minus_server.store import small_key

_LOG = logging.getLogger(__name__)
MAX_ORDER_SHOWN = 1_000  # ids in the `item_ordering` of an answer; longer ones are not shown
MAX_COUNTED = 10_000  # files before one that is told where it stands
MAX_UNSIGNED = 1024 * 1024  # bytes taken before it is known whose they are
RESERVED_FROM = 1024 * 1024  # bytes: for longer uploads room is reserved before they come
MAX_UNOWNED_ITEMS = 10_000  # of a gallery without an owner: even empty ones cost a row
FILTER_SECONDS = 2  # that a search by a pattern may take
MOST_TEXT = 2 << 20  # characters in a page by cursor, which ends before its last row then
_ROWS_AT_ONCE = 500
FORM_OVERHEAD = 64 * 1024  # bytes of a body that may be its form and not its file
_AHEAD = 32 << 20  # bytes, of room that is held before they come
_HOUR = 3600
_BLOCK = 1 << 20  # bytes read at once
MAX_FETCHED = 64 << 20  # bytes of a picture that is looked at though it is on another machine
_SIDES = {"small": SMALL, "medium": MEDIUM}
_BESIDE = ThreadPoolExecutor(4, "digest")  # takes digests while the same bytes are written


@dataclass
class Incoming:
    """An upload on its way in: the digest is taken as its bytes pass.

    A small one stays in memory; one that is longer than MAX_SMALL goes to the store.

    digest    its SHA-256 as the sender told it, in hexadecimal, where it did
    upload    its row, which holds room for it
    grow      gives it a row that holds room for so many bytes, or makes that row hold more;
              None where all that may come needs none. Raises QuotaExceeded
    release   gives up that row and the room
    known     its request was done before: it is only compared with the first
    """

    blobs: Blobs
    room: int  # bytes that may come
    refusal: Refused  # raised when more come
    digest: str | None = None
    upload: Upload | None = None
    grow: Callable[[Upload | None, int], Upload] | None = None
    release: Callable[[int], object] | None = None
    known: bool = False
    head: bytes = b""
    size: int = 0
    running: Any = field(default_factory=hashlib.sha256)  # None: what is stored is read again
    _held: list[bytes] = field(default_factory=list)
    _writer: Writer | None = None

    @classmethod
    def resumed(
        cls, blobs: Blobs, upload: Upload, writer: Writer, refusal: Refused, running: Any
    ) -> "Incoming":
        """One that goes on behind the bytes of it which are stored."""
        room = names.MAX_LENGTH if upload.size is None else upload.size
        return cls(
            blobs,
            room,
            refusal,
            digest=upload.digest,
            upload=upload,
            head=writer.head(),
            size=upload.arrived,
            running=running,
            _writer=writer,
        )

    def write(self, blocks: Sequence[bytes]) -> None:
        """Raises `refusal` as soon as the bytes are more than there is room for."""
        size = sum(map(len, blocks))
        if self.size + size > self.room:
            raise self.refusal
        held = self.upload.reserved if self.upload else RESERVED_FROM
        if self.grow is not None and self.size + size > held:
            self.upload = self.grow(self.upload, self.size + size)
        if self._writer is None:
            self._hash(blocks)
            self._hold(blocks)
        else:
            self._look(blocks)
            hashing = _BESIDE.submit(self._hash, blocks)
            try:
                for block in blocks:
                    self._writer.write(block)
            finally:
                hashing.result()
        self.size += size

    def _hash(self, blocks: Sequence[bytes]) -> None:
        if self.running is not None:
            for block in blocks:
                self.running.update(block)

    def _look(self, blocks: Sequence[bytes]) -> None:
        for block in blocks if len(self.head) < HEAD else ():
            self.head += block[: HEAD - len(self.head)]

    def _hold(self, blocks: Sequence[bytes]) -> None:
        self._look(blocks)
        if self.known:
            return
        self._held += blocks
        if sum(map(len, self._held)) > MAX_SMALL:
            self._writer = self.blobs.create(self.upload.blob if self.upload else None)
            for each in self._held:
                self._writer.write(each)
            self._held = []

    @property
    def sha256(self) -> str:
        if self.running is None and self._writer is not None:
            self.running = self._writer.sha256()
        return str(self.running.hexdigest())

    def commit(self) -> str | bytes:
        """Flush it to disk. -> the key of the blob; of a small one its bytes, nothing is flushed

        Raises DigestMismatch.
        """
        if self.digest not in (None, self.sha256):
            raise DigestMismatch("Other bytes came than the Repr-Digest tells of.")
        if self._writer is None:
            return b"".join(self._held)
        self._writer.commit()
        return self._writer.key

    def abort(self) -> None:
        """Give the bytes up; harmless after they were kept."""
        if self._writer is not None:
            self._writer.abort()
        self._held = []
        if self.release is not None and self.upload is not None:
            self.release(self.upload.n)


@dataclass(frozen=True, slots=True)
class Small:
    """A small file of a batch: its checked name and caption, the type it is said to have."""

    name: str
    caption: str
    declared_type: str
    data: bytes
    sha256: str


class Library:
    """Folders, files, and the bytes behind them."""

    def __init__(
        self,
        catalog: Catalog,
        blobs: Blobs,
        pictures: Pictures,
        clock: Clock,
        policy: Policy,
        leases: Leases,
    ) -> None:
        self.leases = leases
        self._catalog = catalog
        self._blobs = blobs
        self._pictures = pictures
        self._clock = clock
        self._policy = policy
        self._drawing = threading.Lock()

    def _now(self) -> int:
        return int(self._clock())

    # --- folders ---

    def folder(self, caller: Caller, folder_id: str) -> Folder:
        """A folder that the caller may see. Raises NotFound for any other, be it there or not."""
        with self._catalog.read() as rows:
            folder = rows.folder(folder_id, caller.user.n)
        if folder is None or not _may_see(caller, folder):
            raise _no_folder()
        return folder

    def _own_folder(self, caller: Caller, folder_id: str, scope: str) -> Folder:
        """A folder that the caller may change."""
        folder = self.folder(caller, folder_id)
        if folder.owner_n != caller.user.n:
            raise Forbidden("This folder is another user's.")
        caller.need(scope)
        return folder

    def linked_folder(self, folder_id: str, viewer: User | None = None) -> Folder:
        """A folder for whoever knows its id or editor id: the rule of the short links."""
        with self._catalog.read() as rows:
            folder = rows.linked_folder(folder_id, viewer.n if viewer else 0)
        if folder is None:
            raise _no_folder()
        return folder

    def visit(self, caller: Caller, folder_id: str) -> tuple[Folder, list[str]]:
        """Open a folder. -> the folder, the ids of its files as `order` gives them"""
        folder = self.folder(caller, folder_id)
        if folder.owner_n != caller.user.n:
            self.count_visit(folder, caller.user)
            folder = self.folder(caller, folder_id)
        return folder, self.order(folder)

    def count_visit(self, folder: Folder, visitor: User | None) -> None:
        """Count a visit to another's folder; it stands in the visitor's history."""
        now = self._now()
        with self._catalog.write() as rows:
            _current(rows, folder)
            rows.change_folder(folder.n, {"last_visit": now})
            rows.add_to_folder(folder.n, "view_count", 1)
            if visitor is not None:
                rows.add_visit(visitor.n, folder.n, now)
            if folder.owner_n is not None:
                rows.add_to_user(folder.owner_n, "visits", 1)

    def keep_alive(self, seen: Folder | File) -> None:
        """Note once an hour that somebody looked at a gallery without an owner, or at an item."""
        now = self._now()
        if seen.owner_n is None and seen.last_visit < now - _HOUR:
            with self._catalog.write() as rows:
                folder_n = seen.n if isinstance(seen, Folder) else seen.folder_n
                rows.change_folder(folder_n, {"last_visit": now})

    def order(self, folder: Folder) -> list[str]:
        """The ids of the folder's files in order; none where there are more than 1,000."""
        if folder.file_count > MAX_ORDER_SHOWN:
            return []
        with self._catalog.read() as rows:
            return rows.file_ids(folder.n, MAX_ORDER_SHOWN)

    def folders(self, caller: Caller, owner: User, part: Part) -> Listing:
        """Some of a user's folders, private ones for their owner only."""
        public_only = owner.n != caller.user.n or not caller.sees_private
        with self._catalog.read(FILTER_SECONDS if part.is_filtered else None) as rows:
            total, found = rows.folders_of(
                owner.n, caller.user.n, _one_more(part), public_only=public_only
            )
        if part.after is None or len(found) <= part.limit:
            return Listing(found, total)
        return Listing(found[: part.limit], total, (found[part.limit - 1].n,))

    def feed(self, caller: Caller, kind: str, offset: int, limit: int) -> tuple[int, list[Folder]]:
        """A page of one of the lists of folders: feed, mine, favorited or history."""
        with self._catalog.read() as rows:
            public_only = not caller.sees_private
            me = caller.user.n
            if kind == "feed":
                return rows.folders_followed(me, offset, limit)
            if kind == "mine":
                part = Part(limit, offset)
                total, found = rows.folders_of(me, me, part, public_only=public_only)
                return total or 0, found
            marked = rows.folders_starred if kind == "favorited" else rows.folders_visited
            return marked(me, offset, limit, public_only=public_only)

    def add_folder(
        self, caller: Caller, name: str, *, is_public: bool, once: Once | None = None
    ) -> Folder:
        """Make a folder of the caller's."""
        caller.need("upload_new")
        return self.make_folder(caller.user, name, is_public=is_public, once=once)

    def make_folder(
        self, owner: User | None, name: str, *, is_public: bool, once: Once | None = None
    ) -> Folder:
        """Make a folder: a user's, or nobody's, which whoever holds its `editor_id` may change.

        Raises Replayed, with its id, where that was done before; NotSignedIn.
        """
        now, folder_id = self._now(), names.new_id()
        try:
            with self._catalog.write() as rows:
                if once is not None:
                    once.begin(rows, now, [name])
                    once.keep(rows, now, [name], [folder_id])
                if owner is not None:
                    rows.add_to_user(owner.n, "folders", 1)
                    rows.add_to_user(owner.n, "shared", int(is_public))
                rows.add_folder(
                    id=folder_id,
                    owner_n=owner.n if owner else None,
                    editor_id=None if owner else names.new_id(),
                    name=name,
                    is_public=is_public,
                    created=now,
                    updated=now,
                    last_visit=now,
                )
                return _current(rows, folder_id)
        except IntegrityError:
            raise NotSignedIn("The account was deleted meanwhile.") from None

    def change_folder(self, caller: Caller, folder_id: str, changes: dict[str, Any]) -> Folder:
        """Set name, is_public or item_ordering of a folder of the caller's."""
        return self.alter_folder(self._own_folder(caller, folder_id, "modify_all"), changes)

    def alter_folder(
        self, folder: Folder, changes: dict[str, Any], left_out: Sequence[File] = ()
    ) -> Folder:
        """Set name, is_public or item_ordering (ids, those of the folder count).

        left_out   files of the folder that are removed with it, and their room given back
        """
        order = changes.pop("item_ordering", None)
        with self._catalog.write() as rows:
            folder = _current(rows, folder)
            if left_out:
                count, size = rows.delete_files([file.n for file in left_out])
                rows.add_to_folder(folder.n, "file_count", -count)
                rows.add_to_folder(folder.n, "bytes", -size)
                _give_room(rows, folder, size)
            if order is not None:
                rows.order_files(folder.n, order)
            turn = int(changes.get("is_public", folder.is_public)) - int(folder.is_public)
            if turn and folder.owner_n is not None:
                rows.add_to_user(folder.owner_n, "shared", turn)
            rows.change_folder(folder.n, {**changes, "updated": self._now()})
            folder = _current(rows, folder)
        with _done_in_any_case():
            for file in left_out:
                self._blobs.delete(file.blob)
        return folder

    def close_drop(
        self, folder: Folder, name: str, files: Sequence[File], once: Once | None
    ) -> Folder:
        """Name a gallery after all the files that made it have come.

        Raises Replayed, with the id of the first gallery, where that was done before.
        """
        now, what = self._now(), [[file.name, file.size, file.sha256] for file in files]
        with self._catalog.write() as rows:
            if once is not None:
                once.begin(rows, now, what)
                once.keep(rows, now, what, [folder.id])
            _current(rows, folder)
            rows.change_folder(folder.n, {"name": name, "updated": now})
            return _current(rows, folder)

    def move_file(self, file: File, to: int) -> None:
        """Give a file another place in its folder's order, from 0."""
        with self._catalog.write() as rows:
            rows.hold_folder(file.folder_n)
            ids = rows.file_ids(file.folder_n, names.MAX_ORDER)
            if file.id in ids:
                ids.remove(file.id)
                ids.insert(to, file.id)
                rows.order_files(file.folder_n, ids)

    def delete_folder(self, caller: Caller, folder_id: str) -> None:
        """Remove a folder of the caller's with its files."""
        self.remove_folder(self._own_folder(caller, folder_id, "modify_all"))

    def remove_folder(
        self, folder: Folder, unless_seen_since: int | None = None, *, forget: bool = False
    ) -> bool:
        """Remove a folder and its files, and give back their room. -> False where it was seen

        forget   it stands in no history: nobody was told of it
        """
        with self._catalog.write() as rows:
            folder = _current(rows, folder)
            if unless_seen_since is not None and folder.last_visit >= unless_seen_since:
                return False
            size, blobs = rows.folder_bytes(folder.n)
            under_way = rows.lock_uploads_into(folder.n)
            if not forget:
                rows.remember(folder, self._now())
            rows.delete_folder(folder.n)
            _give_room(rows, folder, size)
            self.reserve(rows, folder.owner_n, -sum(upload.reserved for upload in under_way))
            if folder.owner_n is not None:
                rows.add_to_user(folder.owner_n, "folders", -1)
                rows.add_to_user(folder.owner_n, "shared", -int(folder.is_public))
        with _done_in_any_case():
            for key in blobs:
                self._blobs.delete(key)
        for upload in under_way:
            self.forget_bytes(upload)
        return True

    def remove_user(self, user: User) -> None:
        """Remove an account and all that it has. It is signed out first, so that nothing comes."""
        with self._catalog.write() as rows:
            rows.shut_out(user.n)
        while True:
            with self._catalog.write() as rows:
                left = rows.folders_of(user.n, 0, Part(_ROWS_AT_ONCE), public_only=False)[1]
                if not left:
                    rows.delete_user(user.n)
                    return
            for folder in left:
                with contextlib.suppress(NotFound):  # somebody deleted it meanwhile
                    self.remove_folder(folder, forget=True)

    def star(self, caller: Caller, folder_id: str) -> Folder:
        """Put a folder among the caller's favourites."""
        caller.need("modify_user")
        folder = self.folder(caller, folder_id)
        with self._catalog.write() as rows:
            _current(rows, folder)
            if rows.add_star(caller.user.n, folder.n):
                rows.add_to_folder(folder.n, "star_count", 1)
        return self.folder(caller, folder_id)

    def unstar(self, caller: Caller, folder_id: str) -> None:
        """Take a folder from the caller's favourites."""
        caller.need("modify_user")
        folder = self.folder(caller, folder_id)
        with self._catalog.write() as rows:
            _current(rows, folder)
            if not rows.delete_star(caller.user.n, folder.n):
                raise NotFound("This folder is not among the favourites.")
            rows.add_to_folder(folder.n, "star_count", -1)

    # --- files ---

    def files(self, folder: Folder, offset: int, limit: int) -> list[File]:
        """A page of a folder's files, in the folder's order."""
        with self._catalog.read() as rows:
            return rows.files_of(folder.n, offset, limit)

    def some_files(self, folder: Folder, columns: Sequence[str], part: Part) -> Listing:
        """Some of a folder's files, in the folder's order: tuples of these columns."""
        by_cursor = part.after is not None
        asked = (*columns, "position", "n") if by_cursor else columns
        total: int | None = folder.file_count
        found: list[Sequence[Any]] = []
        whole, wanted = False, _one_more(part)
        with self._catalog.read(FILTER_SECONDS if part.is_filtered else None) as rows:
            while not whole and len(found) < wanted.limit and _weight(found) < MOST_TEXT:
                after = tuple(found[-1][-2:]) if found else wanted.after
                some = wanted.limit - len(found)
                some = min(some, _ROWS_AT_ONCE) if by_cursor else some
                chunk = rows.files_part(folder, asked, replace(wanted, limit=some, after=after))
                whole = len(chunk) < some or not by_cursor
                found += chunk
            if part.is_filtered:
                total = None if by_cursor else rows.count_fitting(folder.n, part)
        if whole and len(found) <= part.limit:
            return Listing(found, total)
        found = found[: part.limit]
        return Listing(found, total, tuple(found[-1][-2:]))

    def named_files(
        self, folder: Folder, ids: Sequence[str], columns: Sequence[str]
    ) -> list[Sequence[Any]]:
        """Values of these columns, of these files of the folder, in this order.

        Raises NotFound, with the id as its `file`, for one that is not in the folder.
        """
        good = [file_id for file_id in ids if names.is_id(file_id)]
        with self._catalog.read() as rows:
            found = rows.files_by("id", good, folder.n, ("id", *columns))
        by_id = {row[0]: row[1:] for row in found}
        for file_id in ids:
            if file_id not in by_id:
                refusal = _no_file()
                refusal.file = file_id
                raise refusal
        return [by_id[file_id] for file_id in ids]

    def numbered_files(
        self, folder: Folder, ns: Sequence[int], columns: Sequence[str]
    ) -> dict[int, Sequence[Any]]:
        """Values of these columns, by number, of those of these files that are still there."""
        with self._catalog.read() as rows:
            found = rows.files_by("n", ns, folder.n, ("n", *columns))
        return {row[0]: row[1:] for row in found}

    def file(self, caller: Caller, file_id: str) -> tuple[File, Folder]:
        """A file that the caller may see, and its folder."""
        file = self.linked_file(file_id)
        try:
            return file, self.folder(caller, file.folder_id)
        except NotFound:
            raise _no_file() from None  # the words must not tell that there is one

    def linked_file(self, file_id: str) -> File:
        """A file for whoever knows its id: the rule of the short links."""
        with self._catalog.read() as rows:
            file = rows.file(file_id)
        if file is None:
            raise _no_file()
        return file

    def linked(self, letter: str, name: str) -> Folder | File:
        """What the operator named: by the letter of its link, or by a bare id alone."""
        if letter in ("", "m"):
            try:
                return self.linked_folder(name)
            except NotFound:
                if letter:
                    raise
        return self.linked_file(name)

    def neighbours(self, file: File) -> tuple[int | None, str | None, str | None]:
        """Where a file stands in its folder, from 0, where it is not far behind; the ids of the
        files around it."""
        with self._catalog.read() as rows:
            return rows.neighbours(file, MAX_COUNTED)

    def look(self, file_id: str) -> File:
        """A linked file, for somebody who looks at it."""
        file = self.linked_file(file_id)
        self.keep_alive(file)
        return file

    def change_file(self, caller: Caller, file_id: str, changes: dict[str, Any]) -> File:
        """Set caption, title or name of a file of the caller's."""
        file, folder = self.file(caller, file_id)
        return self.alter_file(self._own_folder(caller, folder.id, "modify_all"), file, changes)

    def alter_file(self, folder: Folder, file: File, changes: dict[str, Any]) -> File:
        """Set caption, title or name."""
        with self._catalog.write() as rows:
            rows.hold_folder(folder.n)
            rows.change_file(file.n, changes)
            rows.change_folder(folder.n, {"updated": self._now()})
        return self.linked_file(file.id)

    def delete_file(self, caller: Caller, file_id: str) -> None:
        """Remove a file of the caller's."""
        file, folder = self.file(caller, file_id)
        self.remove_files(self._own_folder(caller, folder.id, "modify_all"), [file])

    def remove_files(self, folder: Folder, files: Sequence[File]) -> None:
        """Remove files of one folder everywhere, and give back their room."""
        self.alter_folder(folder, {}, files)

    def folder_to_fill(self, caller: Caller, folder_id: str) -> Folder:
        """A folder that the caller may add files to."""
        return self._own_folder(caller, folder_id, "upload_new")

    def begin_file(
        self, caller: Caller, folder_id: str, declared: int = 0, once: Once | None = None
    ) -> Incoming:
        """Open an upload into a folder of the caller's; `declared` bytes are announced."""
        return self.begin(self.folder_to_fill(caller, folder_id), declared, once)

    def begin(self, folder: Folder, declared: int = 0, once: Once | None = None) -> Incoming:
        """Open an upload; refuses early what cannot be, `keep` decides.

        For a large one that is announced, room is reserved. What was done before needs none.
        """
        if once is not None and self.is_known(once):
            return self.begin_known()
        least = declared - FORM_OVERHEAD  # bytes of the file, whatever the form around it has
        if least <= RESERVED_FROM:
            return self._begin(folder, least, None)
        upload = self._reserved(folder, least)
        try:
            return self._begin(folder, 0, upload)
        except BaseException:
            self.end_upload(upload.n)
            raise

    def _begin(self, folder: Folder, least: int, upload: Upload | None) -> Incoming:
        """Open an upload that needs so much room beside what its row holds."""
        if folder.owner_n is None:
            return self._begin_unowned(folder, least, upload)
        with self._catalog.read() as rows:
            owner = rows.user(folder.owner_n)
        room = owner.quota - owner.used - owner.reserved if owner else 0
        if least > room:
            raise _no_room()
        return self._incoming(folder, room, _no_room(), upload)

    def _incoming(
        self, folder: Folder | None, room: int, refusal: Refused, upload: Upload | None
    ) -> Incoming:
        """An upload for which there is so much room beside what its row holds."""
        held = upload.reserved if upload else 0
        return Incoming(
            self._blobs,
            room + held,
            refusal,
            upload=upload,
            grow=partial(self._grow, folder),
            release=self._release,
        )

    def _grow(self, folder: Folder | None, upload: Upload | None, size: int) -> Upload:
        """Hold room for bytes that came unannounced, and some ahead. Raises QuotaExceeded"""
        if upload is None:
            return self._reserved(folder, size)
        return self.reserve_for(upload.n, size, min(size, _AHEAD))

    def _reserved(self, folder: Folder | None, size: int) -> Upload:
        """Reserve room for an upload that ends with its connection."""
        if folder is None or folder.owner_n is None:
            self.need_size(size)
        texts = dict.fromkeys(("name", "caption", "declared_type", "metadata"), "")
        with self._catalog.write() as rows:
            upload = self.add_upload(
                rows,
                folder,
                names.new_secret(),
                reserved=size,
                expires=0,
                resumable=False,
                **self.leases.columns(),
                **texts,
            )
        self.leases.began(upload.n)
        return upload

    def _release(self, n: int) -> None:
        """Give up an upload that ends with its connection; what fails here, its lease ends."""
        self.leases.ended(n)
        self.end_upload(n)

    def add_upload(
        self, rows: Rows, folder: Folder | None, secret: str, *, reserved: int, **values: Any
    ) -> Upload:
        """Add the row of an upload, and reserve the room that it needs.

        folder   None for a gallery without an owner that is not known yet
        """
        if folder is not None and not rows.hold_folder(folder.n):
            raise _deleted()
        if not self.reserve(rows, folder.owner_n if folder else None, reserved):
            raise _no_room()
        values |= {"token_hash": hash_secret(secret), "blob": names.new_secret()}
        try:
            n = rows.add_upload(folder_n=folder.n if folder else None, reserved=reserved, **values)
        except IntegrityError:
            raise _deleted() from None
        return _there(rows.lock_upload(n))

    def reserve(self, rows: Rows, owner_n: int | None, size: int) -> bool:
        """Hold room back, or (below 0) give it back. -> False where there is not so much"""
        if size == 0:
            return True
        if owner_n is None:
            return rows.reserve_unowned(size, self._policy.anonymous_total)
        return rows.reserve(owner_n, size)

    def reserve_for(self, n: int, size: int, ahead: int = 0) -> Upload:
        """Let an upload hold so much room in all. -> the upload

        ahead   bytes beyond them, where there is room for those too
        """
        with self._catalog.write() as rows:
            upload = _there(rows.lock_upload(n))
            if upload.owner_n is None:
                self.need_size(size)
            for held in (size + ahead, size):
                if self.reserve(rows, upload.owner_n, held - upload.reserved):
                    rows.change_upload(n, {"reserved": held})
                    return replace(upload, reserved=held)
        raise _no_room()

    def end_upload(self, n: int, expired_by: int | None = None, once: Once | None = None) -> bool:
        """Give up an upload, its room and its bytes; one that became a file is only forgotten.

        expired_by   only where its time was over then
        once         what failed and began it: forgotten with it, unless there is a file after all
        -> whether there was one
        """
        with self._catalog.write() as rows:
            upload = rows.lock_upload(n)
            if upload is None or (expired_by is not None and upload.expires > expired_by):
                return False
            if once is not None and upload.file_id is not None:  # its commit's answer was lost
                return False
            rows.delete_upload(n)
            self.reserve(rows, upload.owner_n, -upload.reserved)
            if once is not None:
                once.forget(rows)
        self.forget_bytes(upload)
        return True

    def forget_bytes(self, upload: Upload) -> None:
        """Remove the bytes of an upload whose row is gone."""
        if upload.file_id is None:
            with _done_in_any_case():
                self._blobs.forget(upload.blob)
                self._blobs.delete(upload.blob)

    def is_known(self, once: Once) -> bool:
        """Tell whether a request was done before."""
        with self._catalog.read() as rows:
            return once.is_known(rows, self._now())

    def begin_unowned(self) -> Incoming:
        """Open an upload into a gallery without an owner that is named behind the file."""
        return self._begin_unowned(None, 0, None)

    def _begin_unowned(self, folder: Folder | None, least: int, upload: Upload | None) -> Incoming:
        most, room = self._policy.anonymous_file, self._unowned_room()
        held = upload.reserved if upload else 0
        refusal = self._too_large() if room + held >= most else _no_room()
        if least > min(most, room):
            raise refusal
        return self._incoming(folder, min(most - held, room), refusal, upload)

    def begin_known(self) -> Incoming:
        """Open an upload that was done before; `compare` holds it to the first."""
        return Incoming(self._blobs, names.MAX_LENGTH, _no_room(), known=True)

    def begin_small(self) -> Incoming:
        """Open an upload of MAX_SMALL bytes at the most, of which `keep` decides all."""
        return Incoming(self._blobs, MAX_SMALL, TooLarge("This is no small file."))

    def _unowned_room(self) -> int:
        """The bytes that galleries without an owner may still take."""
        with self._catalog.read() as rows:
            return self._room_left(rows)

    def _room_left(self, rows: Rows) -> int:
        spent = rows.unowned_bytes() + rows.unowned_bytes("reserved")
        return self._policy.anonymous_total - spent

    def need_room(self, rows: Rows, size: int, held: int = 0) -> None:
        """Hold nothing back for a file without an owner, but refuse early what cannot be.

        held   bytes of it that are reserved. Raises TooLarge, QuotaExceeded.
        """
        self.need_size(size)
        if size - held > self._room_left(rows):
            raise _no_room()

    def need_size(self, size: int) -> None:
        """Raises TooLarge for a file that a gallery without an owner does not take."""
        if size > self._policy.anonymous_file:
            raise self._too_large()

    def _too_large(self) -> TooLarge:
        most = self._policy.anonymous_file
        return TooLarge(f"Without an account, a file has at most {most} bytes.")

    def _take_room(self, rows: Rows, folder: Folder, size: int) -> bool:
        """Count the bytes of a file. -> False where there is no room for them"""
        if folder.owner_n is None:
            if _current(rows, folder).file_count >= MAX_UNOWNED_ITEMS:
                raise TooLarge(f"Without an account, {MAX_UNOWNED_ITEMS} items are the most.")
            return rows.take_unowned_room(size, self._policy.anonymous_total)
        return rows.take_room(folder.owner_n, size)

    def begin_unsigned_file(self, folder_id: str) -> Incoming:
        """Open an upload whose token may still follow behind the file, as some programs had it."""
        with self._catalog.read() as rows:
            if rows.folder(folder_id) is None:
                raise NotSignedIn("This needs an access token.")
        return self.begin_until(
            NotSignedIn("The access token must stand before a file of this size.")
        )

    def begin_until(self, refusal: Refused) -> Incoming:
        """Open an upload of which it is not known yet whose it is; a large one is refused."""
        return Incoming(self._blobs, MAX_UNSIGNED, refusal)

    def add_file(
        self,
        caller: Caller,
        folder_id: str,
        incoming: Incoming,
        *,
        name: str,
        caption: str,
        declared_type: str,
        once: Once | None = None,
    ) -> File:
        """Keep an upload as a file of the caller's folder."""
        folder = self.folder_to_fill(caller, folder_id)
        return self.keep(
            folder, incoming, name=name, caption=caption, declared_type=declared_type, once=once
        )

    def keep(
        self,
        folder: Folder,
        incoming: Incoming,
        *,
        name: str,
        declared_type: str,
        caption: str = "",
        once: Once | None = None,
    ) -> File:
        """Keep an upload as a file of the folder. Every upload, whatever its road, ends here.

        Bytes first, row last: a crash between the two leaves bytes that no row names; never a
        row without its bytes. When this returns, both are on disk. Small bytes go with the row.
        Raises Replayed, with the file's id, where that was done before.
        """
        if once is not None and incoming.known:
            self.compare(once, [[name, incoming.size, incoming.sha256]])
        if folder.owner_n is None:
            self.need_size(incoming.size)
        mimetype = names.media_type(name, declared_type, incoming.head)
        try:
            stored = incoming.commit()
        except BlobMissing:
            with self._catalog.read() as rows:
                raise _lost(rows, incoming.upload, folder.id) from None
        key, data = (stored, None) if isinstance(stored, str) else (None, stored)
        try:
            row = self._row(name, caption, mimetype, incoming.sha256, incoming.size, key, data)
            file = File(**self._add(folder, [row], [data], incoming.upload, once)[0])
        except BaseException as error:
            if key and not self._may_be_named(key, error):
                self._blobs.delete(key)
            if isinstance(error, Replayed):
                incoming.abort()
            raise
        if incoming.upload is not None:
            self.leases.ended(incoming.upload.n)
        return file

    def _may_be_named(self, key: str, error: BaseException) -> bool:
        """Tell whether a file or an upload has the bytes of an upload that failed, or may have.

        Where the answer to a commit is lost, nobody knows: they are left to `sweep`.
        """
        lost = isinstance(error, SQLAlchemyError) and not isinstance(error, IntegrityError)
        if lost and self._catalog.is_shared:
            return True
        with self._catalog.read() as rows:
            return key in rows.named([key])

    def compare(self, once: Once, what: Sequence[object]) -> None:
        """Hold a request that was done before to the first. Raises Replayed, KeyReused."""
        with self._catalog.read() as rows:
            once.begin(rows, self._now(), what)
        raise NotFound("What the first request with this Idempotency-Key made is forgotten.")

    def keep_small(
        self,
        folder: Folder,
        files: Sequence[Small],
        columns: Sequence[str],
        once: Once | None = None,
    ) -> list[Sequence[Any]]:
        """Keep small files in the folder, all or none, with one flush. -> these columns of them

        Raises Replayed, with the files' ids, where that was done before.
        """
        rows = []
        for file in files:
            mimetype = names.media_type(file.name, file.declared_type, file.data[:HEAD])
            size = len(file.data)
            rows.append(
                self._row(file.name, file.caption, mimetype, file.sha256, size, None, file.data)
            )
        made = self._add(folder, rows, [file.data for file in files], once=once)
        return [tuple(row[column] for column in columns) for row in made]

    def _row(
        self,
        name: str,
        caption: str,
        mimetype: str,
        sha256: str,
        size: int,
        key: str | None,
        data: bytes | None,
    ) -> dict[str, Any]:
        """The columns of a new file but for those of its folder; without a key it is small."""
        width, height = 0, 0
        if mimetype in names.PICTURES:
            with self._picture(key, size, data) as picture:
                width, height = self._pictures.size(picture) if picture else (0, 0)
        file_id = names.new_id()
        return {
            "id": file_id,
            "position": UNPLACED,
            "name": name,
            "title": "",
            "caption": caption,
            "width": width,
            "height": height,
            "size": size,
            "mimetype": mimetype,
            "sha256": sha256,
            "blob": key or small_key(file_id),
        }

    def _add(
        self,
        folder: Folder,
        rows: list[dict[str, Any]],
        data: Sequence[bytes | None],
        upload: Upload | None = None,
        once: Once | None = None,
    ) -> list[dict[str, Any]]:
        """Add files to a folder in one transaction, and count them. -> all columns of a File

        upload   the row of the one file, whose room becomes used; one that can go on is kept
        """
        now = self._now()
        for row in rows:
            row["folder_n"], row["uploaded"] = folder.n, now
        what = [[row["name"], row["size"], row["sha256"]] for row in rows]
        try:
            with self._catalog.write() as catalog:
                if once is not None:
                    once.begin(catalog, now, what)
                    once.keep(catalog, now, what, [row["id"] for row in rows])
                if not catalog.hold_folder(folder.n):
                    raise _deleted()
                if upload is not None:
                    self._settle(catalog, upload, rows[0])
                size = sum(row["size"] for row in rows)
                if not self._take_room(catalog, folder, size):
                    raise _no_room(len(rows))
                ns = catalog.add_files(rows, data)
                catalog.count_files(folder.n, len(rows), size, now)
        except IntegrityError:
            raise _deleted() from None
        of_folder: dict[str, Any] = {"folder_id": folder.id, "owner_n": folder.owner_n}
        of_folder["last_visit"] = now
        return [{"n": n, **row, **of_folder} for n, row in zip(ns, rows, strict=True)]

    def _settle(self, rows: Rows, held: Upload, file: dict[str, Any]) -> None:
        """Give back what an upload held, in the transaction that takes it as used."""
        upload = still_held(rows, held)
        self.reserve(rows, upload.owner_n, -upload.reserved)
        done = {"reserved": 0, "size": file["size"], "file_id": file["id"]}
        if upload.resumable:
            rows.change_upload(upload.n, done)
        else:
            rows.delete_upload(upload.n)

    # --- thumbnails ---

    @contextlib.contextmanager
    def _picture(
        self, key: str | None, size: int, data: bytes | None = None
    ) -> Iterator[Path | bytes | None]:
        """The bytes of a file for the picture child: a small one's, or a local file for a while.

        None where there are none (any more), or too many to be fetched from another machine.
        """
        path = self._blobs.path(key) if key else None
        if key is None or path or data is not None or size > MAX_FETCHED:
            yield path or data
            return
        with tempfile.NamedTemporaryFile() as copy:
            try:
                with self._blobs.open(key) as stream:
                    shutil.copyfileobj(stream, copy, _BLOCK)
            except BlobMissing:
                yield None
                return
            copy.flush()
            yield Path(copy.name)

    def thumbnail(self, file: File, kind: str) -> tuple[bytes, str]:
        """The small or medium thumbnail, made once; an icon where there is no picture.

        -> the bytes, their type
        """
        if file.width:
            made = self._blobs.derived(file.blob, kind)
            if made is None:
                with self._drawing:
                    made = self._blobs.derived(file.blob, kind)
                    made = self._draw(file, kind) if made is None else made
            if made:
                return made, f"image/{_form(file, kind).lower()}"
        return self.icon(_label(file.name), _SIDES[kind])

    def _draw(self, file: File, kind: str) -> bytes:
        """Make and keep a thumbnail; an empty one for a picture that cannot be drawn."""
        small = self._blobs.several([file.blob]).get(file.blob)
        with self._picture(file.blob, file.size, small) as picture:
            made = picture and self._pictures.thumbnail(picture, _SIDES[kind], _form(file, kind))
        with contextlib.suppress(OSError):  # a full disk costs time, not the picture
            self._blobs.keep_derived(file.blob, kind, made or b"")
            try:
                self._blobs.size(file.blob)
            except BlobMissing:  # it was deleted while we drew
                self._blobs.delete(file.blob)
        return made or b""

    def icon(self, label: str, side: int = SMALL) -> tuple[bytes, str]:
        """A drawn icon with a few letters. -> the bytes, their type"""
        made = self._pictures.icon(label, side)
        if made is None:
            raise NotFound("The icon cannot be drawn.")
        return made, "image/png"


@contextlib.contextmanager
def _done_in_any_case() -> Iterator[None]:
    """Around the removal of bytes whose rows are gone: a store that is away undoes nothing."""
    try:
        yield
    except StoreAway as error:
        _LOG.warning("bytes without a row wait for `minus-server sweep`: %s", error)


def _weight(rows: Sequence[Sequence[Any]]) -> int:
    """The characters of all texts."""
    return sum(len(value) for row in rows for value in row if isinstance(value, str))


def _one_more(part: Part) -> Part:
    """By cursor one more row is read, to know whether there is one."""
    return part if part.after is None else replace(part, limit=part.limit + 1)


def _current(rows: Rows, folder: Folder | str) -> Folder:
    """The folder as it is, until this transaction ends. Raises NotFound when it went meanwhile."""
    if (found := rows.lock_folder(folder if isinstance(folder, str) else folder.id)) is None:
        raise _no_folder()
    return found


def _give_room(rows: Rows, folder: Folder, size: int) -> None:
    """Count bytes off that a folder no longer has."""
    if folder.owner_n is None:
        rows.give_unowned_room(size)
    else:
        rows.add_to_user(folder.owner_n, "used", -size)


def still_held(rows: Rows, held: Upload) -> Upload:
    """The upload as it is, locked. Raises NotFound where it ended, Interrupted where others took
    its process for dead, OffsetMismatch where another process went on with it."""
    if (upload := rows.lock_upload(held.n)) is None:
        raise _lost(rows, held, held.folder_id)
    if upload.holder != held.holder:
        raise OffsetMismatch("Another request goes on with this upload.")
    return upload


def _lost(rows: Rows, held: Upload | None, folder_id: str | None) -> Refused:
    """What to say of an upload that ended meanwhile: one by tus is gone, others can come again."""
    if held is None or held.resumable:
        return no_upload()
    if folder_id is not None and rows.folder(folder_id) is None:
        return _deleted()
    return Interrupted("The catalog was away too long for this upload.")


def _deleted() -> NotFound:
    return NotFound("The folder was deleted meanwhile.")


def _there(upload: Upload | None) -> Upload:
    """The upload. Raises NotFound where it ended meanwhile, or its folder did."""
    if upload is None:
        raise no_upload()
    return upload


def no_upload() -> NotFound:
    return NotFound("There is no such upload.")


def _no_folder() -> NotFound:
    return NotFound("There is no such folder.")


def _no_file() -> NotFound:
    return NotFound("There is no such file.")


def _no_room(count: int = 1) -> QuotaExceeded:
    return QuotaExceeded(
        f"There is no room left for {'this file' if count == 1 else 'these files'}."
    )


def _may_see(caller: Caller, folder: Folder) -> bool:
    return folder.is_public or (folder.owner_n == caller.user.n and caller.sees_private)


def _form(file: File, kind: str) -> str:
    """JPEG where the address or the picture says so; PNG keeps what is transparent."""
    return "JPEG" if kind == "medium" or file.mimetype == "image/jpeg" else "PNG"


def _label(name: str) -> str:
    """The letters for a file's icon: its ending, where that is short and plain."""
    ending = name.rpartition(".")[2] if "." in name else ""
    return ending.upper() if ending.isascii() and ending.isalnum() and len(ending) <= 4 else ""
