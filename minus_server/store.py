"""Where the bytes are: small ones in the catalog, in their row's transaction; others in a folder.

The key of a small blob begins with MARK. Its bytes come and go with the row, so that
one flush keeps both and nothing has to be swept up.
"""

import io
import time
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from minus_server.blobs import BlobMissing, Blobs, Writer
from minus_server.catalog import Catalog

MARK = "="  # not among KEY_LETTERS, with which the folder's keys are made

_LOOKED_FOR = 8  # of the catalog's, in the place
_FIRST = 500  # of the place's, in the catalog


def small_key(file_id: str) -> str:
    """The key of a small file's bytes; keys made later sort behind, side by side in the index."""
    return f"{MARK}{time.time_ns():x}{file_id}"


class Store:
    """The service's blobs.

    `create` and `commit` make large ones. A small one is made by `Rows.add_files`, and ends
    with its row; `delete` then removes what was derived from it.

    large   the store of those that are not small
    """

    def __init__(self, folder: Blobs, catalog: Catalog) -> None:
        self.large = folder
        self._catalog = catalog
        self.links_to = folder.links_to

    def _small(self, key: str) -> bytes:
        with self._catalog.read() as rows:
            data = rows.small(key)
        if data is None:
            raise BlobMissing(key)
        return data

    def create(self, key: str | None = None) -> Writer:
        return self.large.create(key)

    def resume(self, key: str, size: int) -> Writer:
        return self.large.resume(key, size)

    def forget(self, key: str) -> None:
        self.large.forget(key)

    def open(self, key: str, start: int = 0) -> BinaryIO:
        if not key.startswith(MARK):
            return self.large.open(key, start)
        stream = io.BytesIO(self._small(key))
        stream.seek(start)
        return stream

    def open_begun(self, key: str) -> BinaryIO:
        return self.large.open_begun(key)

    def several(self, keys: Sequence[str]) -> dict[str, bytes]:
        with self._catalog.read() as rows:
            return rows.several_small([key for key in keys if key.startswith(MARK)])

    def path(self, key: str) -> Path | None:
        return None if key.startswith(MARK) else self.large.path(key)

    def link(self, key: str, kind: str, disposition: str) -> str | None:
        return None if key.startswith(MARK) else self.large.link(key, kind, disposition)

    def size(self, key: str) -> int:
        return len(self._small(key)) if key.startswith(MARK) else self.large.size(key)

    def delete(self, key: str) -> None:
        if key.startswith(MARK):
            self.delete_derived(key)
        else:
            self.large.delete(key)

    def delete_derived(self, key: str) -> None:
        self.large.delete_derived(key)

    def derived(self, key: str, kind: str) -> bytes | None:
        return self.large.derived(key, kind)

    def keep_derived(self, key: str, kind: str, data: bytes) -> None:
        self.large.keep_derived(key, kind, data)

    def stranger(self) -> str | None:
        """Why the place is not the one of this catalog's large blobs, None where it may be."""
        with self._catalog.read() as rows:
            mine = rows.identity()
            found = rows.some_keys(f"{MARK}z", _LOOKED_FOR)  # behind small ones, as letters sort
        if (owner := self.large.owner()) not in (None, mine):
            return "it is another service's"
        keys = [key for key in found if not key.startswith(MARK)]
        if keys and not any(map(self._is_there, keys)):
            return "it has the bytes of none of the files that the catalog knows"
        if owner is None and self._has_others():
            return "it has bytes, and none of a file that the catalog knows"
        return None

    def claim(self) -> None:
        """Say whose the place is, where nobody has."""
        if self.large.owner() is None:
            with self._catalog.read() as rows:
                self.large.set_owner(rows.identity())

    def _has_others(self) -> bool:
        """Tell whether the first blobs, if there are any, are none of ours."""
        first = list(islice(self.large.keys(), _FIRST))
        with self._catalog.read() as rows:
            return bool(first) and not rows.named(first)

    def _is_there(self, key: str) -> bool:
        try:
            self.large.size(key)
        except BlobMissing:
            return False
        return True

    def owner(self) -> str | None:
        return self.large.owner()

    def set_owner(self, name: str) -> None:
        self.large.set_owner(name)

    def keys(self, before: float | None = None) -> Iterator[str]:
        """The keys of large blobs; the small ones are where their rows are."""
        return self.large.keys(before)

    def incoming(self, before: float | None = None) -> list[str]:
        """The keys of large blobs under way, or cut off."""
        return self.large.incoming(before)

    def derived_keys(self, before: float | None = None) -> Iterator[str]:
        return self.large.derived_keys(before)

    def clear_incoming(self, but: Collection[str] = ()) -> None:
        """Remove what was cut off, but for these keys; only where nothing is under way."""
        self.large.clear_incoming(but)

    def ping(self) -> None:
        self.large.ping()
