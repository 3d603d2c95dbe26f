"""The bytes: blobs under keys of our own, each whole or absent, never changed.

A blob knows no user and no name. `Blobs` is what every store offers; `FolderBlobs` keeps
them in a folder. The service's own, `store.Store`, finds small ones in the catalog.
"""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from minus_server.names import KEY_LETTERS, new_secret

MAX_SMALL = 64 * 1024  # bytes; what is no longer stands in the catalog, with its row
HEAD = 512  # bytes at the beginning, to tell a picture by

_AHEAD = 32 << 20  # bytes
_READ = 1 << 20  # bytes at once
_WRITE = 128 << 10  # bytes at once: for more, Linux takes large pages, and those it has are cold


KEY = re.compile(r"=?[A-Za-z0-9_-]{1,64}")  # as one is made, here or in `store`


class BlobMissing(Exception):
    """There are no bytes under this key."""


class BlobBusy(Exception):
    """Somebody writes to this blob, perhaps another process."""


class Writer(Protocol):
    """A blob on its way in. It is there once `commit` has returned, and not before.

    mark   of what was flushed last; another one: somebody else has flushed other bytes
    """

    key: str
    size: int
    mark: str

    def write(self, data: bytes) -> None:
        """Add bytes."""

    def head(self) -> bytes:
        """The first of the bytes that were written, HEAD of them."""

    def sha256(self) -> Any:
        """The running digest of all bytes, read again; some stores need `commit` for that."""

    def flush(self) -> None:
        """Put what was written on disk, where it stays for `resume`; so does what was flushed
        before this, until the next time."""

    def commit(self) -> None:
        """Flush to disk and make the blob appear under its key.

        Raises BlobMissing where somebody gave its bytes up meanwhile.
        """

    def close(self) -> None:
        """Let go of it, as far as it was flushed it can be resumed; harmless after `commit`."""

    def abort(self) -> None:
        """Forget the bytes; harmless after `commit`."""


class Blobs(Protocol):
    """A store of blobs.

    links_to   where the addresses lead that `link` gives, None where it gives none
    """

    links_to: str | None

    def create(self, key: str | None = None) -> Writer:
        """Begin a blob under a new key; `key` is one that was made for it before."""

    def resume(self, key: str, size: int) -> Writer:
        """Go on with a blob of which so many bytes are there; what is behind them is cut off.

        Raises BlobMissing where there are fewer, BlobBusy while somebody else writes to it.
        """

    def forget(self, key: str) -> None:
        """Give up the bytes of a blob on its way; harmless when there are none."""

    def open(self, key: str, start: int = 0) -> BinaryIO:
        """Open for reading from a place on, seekable. Raises BlobMissing when there is none."""

    def open_begun(self, key: str) -> BinaryIO:
        """Open what came of a blob on its way. Raises BlobMissing where the store cannot tell."""

    def several(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The bytes of those of the blobs that are small, by key, read together."""

    def path(self, key: str) -> Path | None:
        """The blob as a local file, None where the store has none to show."""

    def link(self, key: str, kind: str, disposition: str) -> str | None:
        """An address that leads anybody to the blob for some minutes, None where there is none.

        kind, disposition   the Content-Type and Content-Disposition that it is served with
        """

    def size(self, key: str) -> int:
        """In bytes. Raises BlobMissing when there is none."""

    def delete(self, key: str) -> None:
        """Remove the blob and what was derived from it; harmless when there is none."""

    def derived(self, key: str, kind: str) -> bytes | None:
        """What was kept beside the blob under this word, None when nothing was."""

    def keep_derived(self, key: str, kind: str, data: bytes) -> None:
        """Keep something beside the blob that can be made again: a thumbnail."""

    def delete_derived(self, key: str) -> None:
        """Remove what was derived from a blob, wherever its bytes are."""

    def keys(self, before: float | None = None) -> Iterator[str]:
        """Every blob's key, in no order, never all of them held at once.

        before   seconds since 1970: of those alone that came before, by the store's own clock
        """

    def incoming(self, before: float | None = None) -> list[str]:
        """The keys of blobs under way, or cut off; `before`: to which nothing came since."""

    def derived_keys(self, before: float | None = None) -> Iterator[str]:
        """The keys of blobs beside which something is kept, whether they are there or not."""

    def clear_incoming(self, but: Collection[str] = ()) -> None:
        """Remove what was cut off, but for these keys; only where nothing is under way."""

    def owner(self) -> str | None:
        """The name of the catalog whose bytes these are, None where none was said."""

    def set_owner(self, name: str) -> None:
        """Say whose bytes these are."""

    def ping(self) -> None:
        """Raises OSError where the store cannot be reached, or takes nothing."""


class FolderBlobs:
    """Blobs as files: `blobs/X/KEY`, written under `incoming/KEY` and renamed when whole."""

    links_to: str | None = None

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        self._incoming = root / "incoming"
        self._derived = root / "derived"
        self._owner = root / "owner"
        for folder in (self._blobs, self._incoming, self._derived):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shards = (self._blobs / letter for letter in KEY_LETTERS)
        missing = [shard for shard in shards if not shard.exists()]
        for shard in missing:
            shard.mkdir(mode=0o700, exist_ok=True)
        if missing:
            _flush_folder(self._blobs)

    def _place(self, key: str) -> Path:
        return self._blobs / key[:1] / _checked(key)

    def _part(self, key: str) -> Path:
        return self._incoming / _checked(key)

    def _beside(self, key: str) -> Path:
        return self._derived / key[:1] / _checked(key)

    def create(self, key: str | None = None) -> "FolderWriter":
        key = key or new_secret()
        return FolderWriter(key, self._part(key), self._place(key))

    def resume(self, key: str, size: int) -> "FolderWriter":
        part, place = self._part(key), self._place(key)
        if place.exists():  # it was whole, and nothing was told of it
            part = place
        writer = FolderWriter(key, part, place, resume=size)
        if writer.size != size:
            writer.close()
            raise BlobMissing(key)
        return writer

    def forget(self, key: str) -> None:
        self._part(key).unlink(missing_ok=True)

    def open_begun(self, key: str) -> BinaryIO:
        try:
            return self._part(key).open("rb")
        except FileNotFoundError:
            return self.open(key)  # it is whole, and nothing was told of it

    def open(self, key: str, start: int = 0) -> BinaryIO:
        try:
            stream = self._place(key).open("rb")
        except FileNotFoundError:
            raise BlobMissing(key) from None
        if start:
            stream.seek(start)
        return stream

    def several(self, _keys: Sequence[str]) -> dict[str, bytes]:
        return {}

    def path(self, key: str) -> Path | None:
        return self._place(key)

    def link(self, _key: str, _kind: str, _disposition: str) -> None:
        return None

    def size(self, key: str) -> int:
        try:
            return self._place(key).stat().st_size
        except FileNotFoundError:
            raise BlobMissing(key) from None

    def delete(self, key: str) -> None:
        self._place(key).unlink(missing_ok=True)
        self.delete_derived(key)

    def delete_derived(self, key: str) -> None:
        shutil.rmtree(self._beside(key), ignore_errors=True)

    def derived(self, key: str, kind: str) -> bytes | None:
        try:
            return (self._beside(key) / kind).read_bytes()
        except FileNotFoundError:
            return None

    def keep_derived(self, key: str, kind: str, data: bytes) -> None:
        place = self._beside(key) / kind
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = place.with_name(f"{kind}.{new_secret()}")
        part.write_bytes(data)
        part.replace(place)

    def keys(self, before: float | None = None) -> Iterator[str]:
        for shard in self._blobs.iterdir():
            yield from _names(shard, before)

    def incoming(self, before: float | None = None) -> list[str]:
        return list(_names(self._incoming, before))

    def derived_keys(self, before: float | None = None) -> Iterator[str]:
        for shard in self._derived.iterdir():
            yield from _names(shard, before)

    def clear_incoming(self, but: Collection[str] = ()) -> None:
        for key in self.incoming():
            if key not in but:
                self.forget(key)

    def owner(self) -> str | None:
        return self._owner.read_text() if self._owner.exists() else None

    def set_owner(self, name: str) -> None:
        part = self._owner.with_name(f"owner.{new_secret()}")
        part.write_text(name)
        part.replace(self._owner)

    def ping(self) -> None:
        for folder in (self._blobs, self._incoming):
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                raise OSError(f"{folder} is not there, or cannot be written to")


class FolderWriter:
    """One blob on its way into a folder.

    resume   how many bytes of it are there; None for one that begins
    """

    def __init__(self, key: str, part: Path, place: Path, resume: int | None = None) -> None:
        self.key = key
        self.size = 0
        self.mark = ""  # one file, one writer
        self._part = part
        self._place = place
        self._is_new = not part.exists()  # its name is not on disk yet
        self._file = part.open("x+b" if self._is_new else "r+b", buffering=0)
        try:  # a process that was thought dead may still be writing
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise BlobBusy(key) from None
        if resume is not None and not self._is_new:
            self.size = min(resume, self._file.seek(0, os.SEEK_END))
            self._file.truncate(self.size)
            self._file.seek(self.size)
        self._begun = self.size

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view[:_WRITE]) :]
        self.size += len(data)
        if self.size - self._begun >= _AHEAD and hasattr(os, "posix_fadvise"):
            # begins to write these bytes out, so that the flush at the end has little left to do
            os.posix_fadvise(
                self._file.fileno(), self._begun, self.size - self._begun, os.POSIX_FADV_DONTNEED
            )
            self._begun = self.size

    def head(self) -> bytes:
        return os.pread(self._file.fileno(), HEAD, 0)

    def sha256(self) -> Any:
        digest, at = hashlib.sha256(), 0
        while block := os.pread(self._file.fileno(), _READ, at):
            digest.update(block)
            at += len(block)
        return digest

    def flush(self) -> None:
        os.fsync(self._file.fileno())
        if self._is_new:
            _flush_folder(self._part.parent)
            self._is_new = False

    def commit(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
        try:
            self._part.rename(self._place)
        except FileNotFoundError:
            raise BlobMissing(self.key) from None
        _flush_folder(self._place.parent)

    def close(self) -> None:
        self._file.close()

    def abort(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


def _names(folder: Path, before: float | None) -> Iterator[str]:
    """The keys that name what is in a folder; with `before` what was not changed since."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # it went while we looked
                is_old = before is None or entry.stat().st_mtime < before
                if is_old and KEY.fullmatch(entry.name):
                    yield entry.name


def _checked(key: str) -> str:
    """A key as they are made. Rows tell them, which may have come from elsewhere: one that is a
    path must lead nowhere. Raises BlobMissing"""
    if KEY.fullmatch(key) is None:
        raise BlobMissing(key)
    return key


def _flush_folder(path: Path) -> None:
    """Put a folder's own entries on disk: a rename lasts only after this."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
