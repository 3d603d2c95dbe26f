"""The rules for uploads that go on after a broken connection, or in another process."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from minus_server import names
from minus_server.accounts import Clock, hash_secret
from minus_server.blobs import BlobBusy, BlobMissing, Writer
from minus_server.catalog import Catalog, File, Folder, Upload
from minus_server.errors import (
    BadRequest,
    ChecksumMismatch,
    DigestMismatch,
    InUse,
    NotFound,
    OffsetMismatch,
    TooLarge,
)
from minus_server.leases import CUT_SECONDS
from minus_server.library import MAX_UNOWNED_ITEMS, Incoming, Library, no_upload, still_held
from minus_server.repeats import Once
from minus_server.store import Store

UPLOAD_SECONDS = 7 * 24 * 3600  # without a byte; then it ends
UNOWNED_SECONDS = 24 * 3600  # the same, without an account
SAVE_EVERY = 32 << 20  # bytes that a crash may cost
_AHEAD = 32 << 20  # bytes, of room that is reserved before they come
_MIB = 1 << 20
_RUNNING = 64  # digests kept between the requests of an upload
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """What shall be uploaded. `size` and `digest` (SHA-256, hexadecimal) may be unknown.

    metadata   the words that said so, to be told again
    """

    name: str
    caption: str
    declared_type: str
    size: int | None
    digest: str | None
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Announced:
    """What a request says of the bytes it brings, and of the upload.

    offset     where they begin; None: where it ends
    length     of the body, 0 where it is not told
    size       of the whole, where that is told late
    digest     of the whole, as in a Plan
    checksum   algorithm and digest of these bytes
    """

    offset: int | None = None
    length: int = 0
    size: int | None = None
    digest: str | None = None
    checksum: tuple[str, bytes] | None = None


class Resumables:
    """Uploads, each known by a secret of which the catalog keeps the hash."""

    def __init__(self, catalog: Catalog, blobs: Store, library: Library, clock: Clock) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._library = library
        self._clock = clock
        self._running: OrderedDict[int, tuple[int, str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def _now(self) -> int:
        return int(self._clock())

    def _expires(self, owner_n: int | None) -> int:
        return self._now() + (UNOWNED_SECONDS if owner_n is None else UPLOAD_SECONDS)

    def create(self, folder: Folder, plan: Plan, once: Once | None = None) -> tuple[str, Upload]:
        """Begin an upload into the folder, and reserve room for it. -> its secret, the upload

        Without an owner room is reserved as the bytes come: nobody would pay for what never does.
        Raises QuotaExceeded, TooLarge; Replayed, with the masked secret, where that was done.
        """
        now, secret = self._now(), names.new_secret()
        what = [plan.name, plan.size, plan.digest]
        with self._catalog.write() as rows:
            if once is not None:
                once.begin(rows, now, what)
                once.keep(rows, now, what, [once.masked(secret)])
            if folder.owner_n is None:
                rows.hold_folder(folder.n)
                self._library.need_room(rows, plan.size or 0)
                if rows.count_uploads(folder.n) >= MAX_UNOWNED_ITEMS:
                    raise TooLarge(f"Without an account, {MAX_UNOWNED_ITEMS} uploads are the most.")
            upload = self._library.add_upload(
                rows,
                folder,
                secret,
                reserved=0 if folder.owner_n is None else plan.size or 0,
                resumable=True,
                name=plan.name,
                caption=plan.caption,
                declared_type=plan.declared_type,
                metadata=plan.metadata,
                size=plan.size,
                digest=plan.digest,
                expires=self._expires(folder.owner_n),
            )
        return secret, upload

    def find(self, secret: str) -> Upload:
        """The upload of a secret. Raises NotFound, also where its time is over."""
        with self._catalog.read() as rows:
            upload = rows.upload(hash_secret(secret))
        if upload is None or not upload.resumable or upload.expires <= self._now():
            raise no_upload()
        return upload

    def file(self, upload: Upload, once: Once | None = None) -> File | None:
        """The file that became of it, made now where its bytes are all there; None before that.

        once   as for `end`. Raises NotFound where it was deleted since, DigestMismatch.
        """
        if upload.file_id is not None:
            return self._library.linked_file(upload.file_id)
        if upload.arrived != upload.size:
            return None
        return self.finish(upload, self._open(upload), once)

    def end(self, upload: Upload, once: Once | None = None) -> None:
        """Give it up; a file that became of it stays.

        once   the creation, which failed by this: its key is free again
        """
        self._library.end_upload(upload.n, once=once)
        with self._lock:
            self._running.pop(upload.n, None)

    def piece(self, upload: Upload, announced: Announced, once: Once | None = None) -> "Piece":
        """Open an upload for the bytes of one request.

        once   as for `end`. Raises OffsetMismatch, BadRequest, TooLarge, QuotaExceeded.
        """
        if announced.offset not in (None, upload.arrived):
            raise self.elsewhere(upload)
        upload = self._told(upload, announced)
        end = upload.arrived + announced.length
        if upload.size is not None and end > upload.size:
            raise _too_many()
        if end > upload.reserved:
            upload = self._promised(upload, end)
        return Piece(self, upload, self._open(upload), announced.checksum, once)

    def elsewhere(self, upload: Upload) -> OffsetMismatch:
        """The refusal of bytes that do not begin where the upload ends."""
        refusal = OffsetMismatch(f"The upload goes on at byte {upload.arrived}.")
        refusal.headers = {"Upload-Offset": str(upload.arrived)}
        return refusal

    def _told(self, upload: Upload, announced: Announced) -> Upload:
        """Note what a later request says of the whole."""
        size, digest = announced.size, announced.digest
        if size is not None and upload.size not in (None, size):
            raise BadRequest("The upload has another length already.")
        if digest is not None and upload.digest not in (None, digest):
            raise BadRequest("The upload has another Repr-Digest already.")
        changes: dict[str, Any] = {}
        if size is not None and upload.size is None:
            if size < upload.arrived:
                raise BadRequest("More bytes have arrived than this length.")
            upload = self._promised(upload, size)
            changes["size"] = size
        if digest is not None and upload.digest is None:
            changes["digest"] = digest
        if changes:
            with self._catalog.write() as rows:
                rows.change_upload(upload.n, changes)
        return replace(upload, **changes)

    def _promised(self, upload: Upload, size: int) -> Upload:
        """Reserve room for so many bytes, which are announced; without an owner only look."""
        if upload.owner_n is not None:
            return self._library.reserve_for(upload.n, size)
        with self._catalog.read() as rows:
            self._library.need_room(rows, size, upload.reserved)
        return upload

    def _open(self, upload: Upload) -> "_Opened":
        """The bytes of an upload that are there, to go on behind them."""
        try:
            writer = self._blobs.resume(upload.blob, upload.arrived)
        except BlobMissing:
            raise NotFound("The bytes of this upload are gone.") from None
        except BlobBusy:
            raise InUse("Another request works on this upload.") from None
        with self._lock:
            begun = 0, writer.mark, hashlib.sha256()
            at, mark, running = self._running.pop(upload.n, begun)
        if (at, mark) != (upload.arrived, writer.mark):
            running = None
        return _Opened(writer, Incoming.resumed(self._blobs, upload, writer, _too_many(), running))

    def grow(self, upload: Upload, size: int) -> Upload:
        """Reserve room for bytes that came, and, to write a row less often, some of what follows.

        That is never more than what came: who holds room has sent half of it.
        """
        most = names.MAX_LENGTH if upload.size is None else upload.size
        ahead = min(size // _MIB * _MIB, _AHEAD, most - size)
        return self._library.reserve_for(upload.n, size, ahead)

    def save(self, upload: Upload, arrived: int) -> Upload:
        """Say that so many bytes are on disk, once they are.

        Raises NotFound where it ended, OffsetMismatch where another process went on with it.
        """
        changes: dict[str, Any] = {"arrived": arrived, "expires": self._expires(upload.owner_n)}
        with self._catalog.write() as rows:
            still_held(rows, upload)
            rows.change_upload(upload.n, changes)
        return replace(upload, **changes)

    def let_go(self, upload: Upload, opened: "_Opened") -> None:
        """After the bytes of a request: the running digest may save reading them again."""
        opened.writer.close()
        incoming = opened.incoming
        if incoming.running is None or incoming.size != upload.arrived:
            return
        with self._lock:
            known = upload.arrived, opened.writer.mark, incoming.running
            self._running[upload.n] = known
            while len(self._running) > _RUNNING:
                self._running.popitem(last=False)

    def finish(self, upload: Upload, opened: "_Opened", once: Once | None) -> File:
        """Make the file of an upload whose bytes are all there; `once` as for `end`."""
        with self._catalog.read() as rows:
            folder = rows.folder(upload.folder_id or "")
        try:
            if folder is None:
                raise no_upload()
            return self._library.keep(
                folder,
                opened.incoming,
                name=upload.name,
                declared_type=upload.declared_type,
                caption=upload.caption,
            )
        except DigestMismatch:  # its bytes can never become right
            self.end(upload, once)
            raise
        finally:
            opened.writer.close()

    # --- housekeeping ---

    def recover(self) -> None:
        """Before anybody is served, by who has folder and rows alone: clear away what was cut."""
        self._end_cut(names.MAX_LENGTH)
        with self._catalog.read() as rows:
            kept = rows.unfinished_blobs()
        self._blobs.clear_incoming(kept)

    def end_cut(self) -> None:
        """End the uploads of connections whose process has died."""
        if not self._library.leases.alone:
            self._end_cut(self._now() - CUT_SECONDS)

    def _end_cut(self, held_until: int) -> None:
        cut = 1
        while cut:
            with self._catalog.read() as rows:
                some = rows.cut_uploads(held_until, _AT_ONCE)
            cut = sum(self._library.end_upload(upload.n) for upload in some)

    def expire(self) -> int:
        """Remove uploads and repeats whose time is over. -> how many uploads"""
        now, removed = self._now(), 0
        with self._catalog.write() as rows:
            rows.delete_old_repeats(now)
        while True:
            with self._catalog.read() as rows:
                old = rows.expired_uploads(now, _AT_ONCE)
            removed += sum(self._library.end_upload(upload.n, now) for upload in old)
            if len(old) < _AT_ONCE:
                return removed


@dataclass(frozen=True, slots=True)
class _Opened:
    writer: Writer
    incoming: Incoming


class Piece:
    """The bytes of one request on their way into an upload.

    What came is saved even where the rest does not; a piece with a checksum is saved whole or
    not at all, and one with too many bytes never ends its upload.
    """

    def __init__(
        self,
        uploads: Resumables,
        upload: Upload,
        opened: _Opened,
        checksum: tuple[str, bytes] | None,
        once: Once | None,
    ) -> None:
        self.upload = upload
        self._uploads = uploads
        self._opened = opened
        self._once = once
        self._before = opened.incoming.running and opened.incoming.running.copy()
        self._said = checksum and checksum[1]
        self._check = hashlib.new(checksum[0], usedforsecurity=False) if checksum else None
        self._failed = False
        self._too_many = False

    def write(self, blocks: Sequence[bytes]) -> None:
        """Add bytes. Raises TooLarge, QuotaExceeded."""
        incoming = self._opened.incoming
        end = incoming.size + sum(map(len, blocks))
        if self.upload.reserved < end <= incoming.room:
            self.upload = replace(
                self.upload, reserved=self._uploads.grow(self.upload, end).reserved
            )
        try:
            incoming.write(blocks)
        except TooLarge:
            self._too_many = True
            raise
        except OSError:
            self._failed = True  # the digest may know of bytes that are not there
            incoming.running = None
            raise
        if self._check is not None:
            for block in blocks:
                self._check.update(block)
        elif incoming.size - self.upload.arrived >= SAVE_EVERY and incoming.size < incoming.room:
            self._save()

    def _save(self) -> None:
        if self._opened.incoming.size > self.upload.arrived:
            self._opened.writer.flush()
            try:
                self.upload = self._uploads.save(self.upload, self._opened.incoming.size)
            except NotFound:
                self._opened.writer.abort()  # it was ended before these bytes were stored
                raise

    def end(self, *, whole: bool) -> File | None:
        """Save what came. -> the file, once all of it is there

        whole   the request brought all that it meant to. Raises ChecksumMismatch, DigestMismatch.
        """
        try:
            self._settle(whole=whole)
            if whole and self.upload.arrived == self.upload.size:
                return self._uploads.finish(self.upload, self._opened, self._once)
            return None
        finally:
            self._uploads.let_go(self.upload, self._opened)

    def _settle(self, *, whole: bool) -> None:
        incoming = self._opened.incoming
        if self._too_many:
            incoming.running, incoming.size = None, self.upload.arrived
            return
        right = self._check is None or self._check.digest() == self._said
        if self._check is None or (whole and right and not self._failed):
            self._save()
            return
        incoming.running, incoming.size = self._before, self.upload.arrived
        if not right and whole and not self._failed:
            raise ChecksumMismatch("Other bytes came than the Upload-Checksum tells of.")


def _too_many() -> TooLarge:
    return TooLarge("More bytes came than the upload's length tells of.")
