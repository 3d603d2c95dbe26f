"""Moving all that a service keeps to another place: bytes first, each compared, rows last.

The rows come in one transaction. Until then the target says that it is unfinished, which nothing
opens; what is there already is not sent again.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO, Protocol

from minus_server.blobs import BlobMissing, Blobs
from minus_server.catalog import Rows, Upload
from minus_server.check import every_file, problem_of
from minus_server.errors import CannotServe
from minus_server.places import Places
from minus_server.service import Service
from minus_server.store import MARK

_SENT_AT_ONCE = 8  # files
_AHEAD = 100  # files that are known before they are sent
_UPLOADS = 100  # read at once
_BLOCK = 1 << 20

Row = dict[str, Any]


class Held(Protocol):
    """A file, as far as its bytes are concerned."""

    @property
    def n(self) -> int: ...
    @property
    def id(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def blob(self) -> str: ...


@dataclass(frozen=True)
class Moment:
    """All rows as they were at one moment.

    last      the highest number of a file
    numbers   the highest that each table has given out
    """

    last: int
    numbers: dict[str, int]
    batches: Iterator[tuple[str, list[Row]]]


class Source(Protocol):
    """What is moved."""

    name: str

    def files(self, after: int) -> Iterator[Held]:
        """Each file whose number is higher, in order."""

    def open(self, file: Held) -> BinaryIO:
        """Its bytes. Raises BlobMissing, FileNotFoundError where there are none."""

    def standing_still(self) -> AbstractContextManager[None]:
        """A block in which nothing is added. Raises CannotServe where that cannot be had."""

    def moment(self) -> AbstractContextManager[Moment]:
        """A block in which the rows are read."""

    def begun(self, blobs: Blobs) -> dict[int, int]:
        """Bring what came of unfinished uploads. -> how many bytes of each, by its number"""


@dataclass
class Moved:
    """What was moved.

    sent      files whose bytes were not there yet
    anew      unfinished uploads whose bytes stayed behind: they begin anew
    damaged   what is wrong with a file, by its id
    """

    files: int = 0
    bytes: int = 0
    sent: int = 0
    anew: int = 0
    damaged: dict[str, str] = field(default_factory=dict)


def move(source: Source, target: Places, progress: Callable[[Held], object]) -> Moved:
    """Move everything. A file whose bytes are damaged leaves them behind, and the rest goes on.

    Raises CannotServe where the target has something else, or the source does not stand still.
    """
    catalog, moved = target.unopened_catalog(), Moved()
    try:
        blobs = _begin(source, target, catalog.begin_filling)
        with ThreadPoolExecutor(_SENT_AT_ONCE) as threads:
            send = partial(_send_all, source, blobs, threads, moved, progress)
            last = send(0)
            with source.standing_still():
                begun = source.begun(blobs)
                while True:
                    last = send(last)
                    with source.moment() as moment:
                        if moment.last <= last:
                            with catalog.filling() as rows:
                                moved.anew = _load(moment, rows, begun)
                                owner = rows.identity()
                            blobs.set_owner(owner)
                            return moved
    finally:
        catalog.close()


def _begin(
    source: Source, target: Places, begin: Callable[[str, Callable[[], bool]], object]
) -> Blobs:
    """Make the target ready, or go on with it. -> its store of bytes"""
    blobs = target.open_blobs()
    begin(source.name, partial(_need_none, blobs, target))
    blobs.clear_incoming()
    return blobs


def _need_none(blobs: Blobs, target: Places) -> bool:
    """Raises CannotServe where there are bytes already."""
    if next(iter(blobs.keys()), None) is not None:
        raise CannotServe(
            "the target is not empty: there are bytes of files in"
            f" {target.shown_blobs.partition('?')[0]}; empty it to copy anew"
        )
    return True


def _send_all(
    source: Source,
    blobs: Blobs,
    threads: ThreadPoolExecutor,
    moved: Moved,
    progress: Callable[[Held], object],
    after: int,
) -> int:
    """Send the bytes of all files whose number is higher. -> the last number"""
    for some in _some(source.files(after)):
        told = threads.map(partial(_send, source, blobs), some)
        for file, (sent, problem) in zip(some, told, strict=True):
            moved.files += 1
            moved.bytes += file.size
            moved.sent += sent
            if problem:
                moved.damaged[file.id] = problem
            progress(file)
            after = file.n
    return after


def _some(files: Iterable[Held]) -> Iterator[list[Held]]:
    batch: list[Held] = []
    for file in files:
        batch.append(file)
        if len(batch) == _AHEAD:
            yield batch
            batch = []
    yield batch


def _send(source: Source, blobs: Blobs, file: Held) -> tuple[bool, str | None]:
    """Bring the bytes of one file, which appear when they are right. -> whether, what is wrong"""
    opened = partial(source.open, file)
    if file.blob.startswith(MARK):  # they go with its row
        return False, problem_of(opened, file.size, file.sha256)
    if _is_there(blobs, file):
        return False, None
    writer = blobs.create(file.blob)
    try:
        problem = problem_of(opened, file.size, file.sha256, writer.write)
        if problem is None:
            writer.commit()
    finally:
        writer.abort()
    return problem is None, problem


def _is_there(blobs: Blobs, file: Held) -> bool:
    try:
        return blobs.size(file.blob) == file.size
    except BlobMissing:
        return False


def _load(moment: Moment, rows: Rows, begun: dict[int, int]) -> int:
    """Add all rows. -> how many uploads begin anew"""
    anew = 0
    for name, batch in moment.batches:
        for row in batch if name == "uploads" else ():
            left = row["file_id"] is None and row["arrived"] != begun.get(row["n"], 0)
            row["arrived"] = 0 if left else row["arrived"]
            anew += left
        rows.load(name, batch)
    rows.set_numbers_given(moment.numbers)
    return anew


class FromService:
    """Another service's places.

    live   its rows are read as they are at one moment, though it goes on
    """

    def __init__(self, places: Places, service: Service, *, live: bool) -> None:
        self.name = f"{places.shown_rows} {places.blobs or ''}"
        self._places = places
        self._catalog = service.catalog
        self._service = service
        self._live = live

    def files(self, after: int) -> Iterator[Held]:
        return (file for file, _ in every_file(self._service, after))

    def open(self, file: Held) -> BinaryIO:
        return self._service.blobs.open(file.blob)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        from minus_server.daemon import Lock, served_at

        lock = Lock(self._places.data)
        if self._places.has_folder and not self._live and not lock.take():
            raise CannotServe(
                f"the bytes are there, but {self._places.data} is still served, at"
                f" {served_at(self._places.data)}: stop that and run this again for the rows"
            )
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def moment(self) -> Iterator[Moment]:
        with self._catalog.read() as rows:
            yield Moment(rows.last_file(), rows.numbers_given(), rows.dump())

    def begun(self, blobs: Blobs) -> dict[int, int]:
        if self._live:  # their bytes are being written
            return {}
        found: dict[int, int] = {}
        after = 0
        while True:
            with self._catalog.read() as rows:
                some = rows.resumables(after, _UPLOADS)
            if not some:
                return found
            found.update((upload.n, self._carried(upload, blobs)) for upload in some)
            after = some[-1].n

    def _carried(self, upload: Upload, blobs: Blobs) -> int:
        """Bring what came of an upload. -> how many bytes; 0 where they cannot be had"""
        writer = blobs.create(upload.blob)
        try:
            with self._service.blobs.open_begun(upload.blob) as stream:
                while block := stream.read(min(_BLOCK, upload.arrived - writer.size)):
                    writer.write(block)
        except BlobMissing:
            writer.abort()
            return 0
        if writer.size == upload.arrived:
            writer.flush()
            writer.close()
        else:
            writer.abort()
        return writer.size
