"""What an export has beside its pages: all rows, as lines of JSON, packed; how they are read back.

The first line tells which numbers were given out, the last that nothing is cut off. Between them
each row is `["TABLE", {"COLUMN": VALUE}]`, behind those that it refers to. The bytes of every
file, small ones too, are `public/iID`.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

from minus_server import names
from minus_server.blobs import KEY, Blobs
from minus_server.catalog import Rows
from minus_server.errors import CannotServe
from minus_server.moving import Held, Moment, Row
from minus_server.store import MARK

ROWS = "rows.jsonl.gz"
PUBLIC = "public"
_KIND = "minus export"
_END = "end"
_AT_ONCE = 100  # rows; the bytes of small files with them


def write_rows(rows: Rows, file: BinaryIO) -> int:
    """Write all rows but the bytes of small files. -> how many"""
    count = 0
    with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
        packed.write(_line([_KIND, rows.numbers_given()]))
        for name, batch in rows.dump(but=("small",)):
            packed.write(b"".join(_line([name, row]) for row in batch))
            count += len(batch)
        packed.write(_line([_END, count]))
    return count


def _line(value: list[Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class _File:
    n: int
    id: str
    size: int
    sha256: str
    blob: str


class FromExport:
    """An export, as what is moved."""

    def __init__(self, folder: Path) -> None:
        self.name = f"export {folder}"
        self._folder = folder

    def _records(self) -> Iterator[tuple[str, Any]]:
        """The lines, the first of them too. Raises CannotServe for what is no whole export."""
        path, name, value, count = self._folder / ROWS, "", None, -2
        try:
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                for line in lines:
                    name, value = json.loads(line)
                    count += 1
                    yield name, value
        except FileNotFoundError:
            raise CannotServe(f"{self._folder} is no export: it has no {ROWS}") from None
        except (OSError, EOFError, ValueError, TypeError, zlib.error) as error:
            raise CannotServe(f"{path} is damaged: {error}") from None
        if (name, value) != (_END, count):
            raise CannotServe(f"{path} is cut off, or rows are missing")

    def _rows(self) -> Iterator[tuple[str, Row]]:
        """The rows, but those of unfinished uploads: their bytes did not come along."""
        for name, row in self._records():
            if name in (_KIND, _END, "uploads"):
                continue
            if not isinstance(row, dict) or not isinstance(row.get("n"), int):
                raise self._damaged("a row has no number")
            if name == "users":
                row["reserved"] = 0
            elif name == "totals" and row.get("name") == "reserved":
                row["value"] = 0
            yield name, row

    def _damaged(self, why: str) -> CannotServe:
        return CannotServe(f"{self._folder / ROWS} is damaged: {why}")

    def read_through(self) -> None:
        """Raises CannotServe where the rows are damaged."""
        for name, row in self._rows():
            if name == "files":
                self._file(row)

    def files(self, after: int) -> Iterator[Held]:
        for name, row in self._rows():
            if name == "files" and row["n"] > after:
                yield self._file(row)

    def _file(self, row: Row) -> _File:
        """A file of the rows, which are not believed where they name places."""
        try:
            file = _File(row["n"], row["id"], int(row["size"]), row["sha256"], row["blob"])
            right = names.is_id(file.id) and KEY.fullmatch(file.blob)
        except (KeyError, TypeError, ValueError):
            right = None
        if not right:
            raise self._damaged("a file has no right id")
        return file

    def _path(self, file: Held) -> Path:
        return self._folder / PUBLIC / f"i{file.id}"

    def open(self, file: Held) -> BinaryIO:
        return self._path(file).open("rb")

    def standing_still(self) -> nullcontext[None]:
        return nullcontext()

    def begun(self, _blobs: Blobs) -> dict[int, int]:
        return {}

    @contextmanager
    def moment(self) -> Iterator[Moment]:
        kind, numbers = next(self._records())
        if kind != _KIND or not isinstance(numbers, dict):
            raise CannotServe(f"{self._folder / ROWS} is no export")
        yield Moment(0, numbers, self._batches())

    def _batches(self) -> Iterator[tuple[str, list[Row]]]:
        for name, found in groupby(self._rows(), itemgetter(0)):
            rows = (row for _, row in found)
            while batch := list(islice(rows, _AT_ONCE)):
                yield name, batch
                if name == "files" and (small := list(self._small(batch))):
                    yield "small", small

    def _small(self, batch: list[Row]) -> Iterator[Row]:
        """The bytes of those that are small, but for damaged ones."""
        for file in map(self._file, batch):
            path = self._path(file)
            if file.blob.startswith(MARK) and path.exists():
                data = path.read_bytes()
                if sha256(data).hexdigest() == file.sha256:
                    yield {"n": file.n, "data": data}
