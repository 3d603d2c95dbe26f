"""`minus-server check`: every row has its bytes, every counter is right."""

import hashlib
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import BinaryIO

from minus_server.blobs import BlobMissing
from minus_server.catalog import File
from minus_server.errors import StoreAway
from minus_server.service import Service

_BATCH = 100  # rows read at once, the bytes of small files with them
_KEYS = 500  # looked up at once
_BLOCK = 1 << 20


@dataclass
class Report:
    """What was found.

    uploads   under way, with a row
    strays    blobs without a row, of others that are under way or were cut off
    """

    files: int = 0
    bytes: int = 0
    uploads: int = 0
    strays: int = 0
    problems: list[str] = field(default_factory=list)


def _nobody(_: File) -> None:
    """Is told of progress where nobody watches."""


def check(
    service: Service, known: Collection[str] = (), progress: Callable[[File], object] = _nobody
) -> Report:
    """Read every byte of the service and compare. Works while it runs.

    known      ids of files that are not to be named again
    progress   is told of each file
    """
    report = Report(strays=sum(1 for _ in _strays(service)))
    for file, small in every_file(service):
        report.files += 1
        report.bytes += file.size
        problem = None if file.id in known else _problem(service, file, small)
        if problem and still_there(service, file):
            report.problems.append(f"file {file.id} in folder {file.folder_id}: {problem}")
        progress(file)
    with service.catalog.read() as rows:
        report.uploads = rows.count_unfinished()
        report.problems += rows.wrong_counters()
    return report


def _strays(service: Service) -> Iterator[str]:
    """The keys of large blobs, whole or not, that neither a file nor an upload has."""
    large = service.blobs.large
    for some in batches(chain(large.keys(), large.incoming())):
        yield from without_a_row(service, some)


def without_a_row(service: Service, keys: Sequence[str], *, under_way: bool = False) -> list[str]:
    """Those that no file and no upload has; with `under_way`, that no upload has."""
    with service.catalog.read() as rows:
        named = rows.named(keys, unfinished=under_way)
    return [key for key in keys if key not in named]


def batches(keys: Iterable[str]) -> Iterator[list[str]]:
    """A few hundred at a time, however many there are."""
    rest = iter(keys)
    while some := list(islice(rest, _KEYS)):
        yield some


def every_file(service: Service, after: int = 0) -> Iterator[tuple[File, bytes | None]]:
    """Each file whose number is higher, with its bytes where they are small."""
    while True:
        with service.catalog.read() as rows:
            batch = rows.every_file(after, _BATCH)
        if not batch:
            return
        small = service.blobs.several([file.blob for file in batch])
        yield from ((file, small.get(file.blob)) for file in batch)
        after = batch[-1].n


def _problem(service: Service, file: File, small: bytes | None) -> str | None:
    """What is wrong with the bytes of a file, None when nothing is."""

    def opened() -> BinaryIO:
        return service.blobs.open(file.blob) if small is None else io.BytesIO(small)

    return problem_of(opened, file.size, file.sha256)


def problem_of(
    opened: Callable[[], BinaryIO],
    size: int,
    sha256: str,
    write: Callable[[bytes], object] = lambda _: None,
) -> str | None:
    """Read bytes to their end and compare them. -> what is wrong with them, None when nothing is

    write   is given each block as it passes; what it raises is no fault of what is read
    """
    digest, read = hashlib.sha256(), 0
    try:
        for block in _blocks(opened):
            digest.update(block)
            read += len(block)
            write(block)
    except _Unreadable as error:
        return str(error)
    if read != size:
        return f"it has {read} bytes and should have {size}"
    return None if digest.hexdigest() == sha256 else "its bytes do not match its SHA-256"


class _Unreadable(Exception):
    """Bytes that cannot be had; `str` says why."""


def _blocks(opened: Callable[[], BinaryIO]) -> Iterator[bytes]:
    try:
        with opened() as stream:
            while block := stream.read(_BLOCK):
                yield block
    except (BlobMissing, FileNotFoundError):
        raise _Unreadable("its bytes are missing") from None
    except StoreAway:  # which says nothing of this file
        raise
    except OSError as error:
        raise _Unreadable(f"its bytes cannot be read: {error.strerror}") from None


def still_there(service: Service, file: File) -> bool:
    """A file that was deleted while we looked is no problem."""
    with service.catalog.read() as rows:
        return rows.file(file.id) is not None
