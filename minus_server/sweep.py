"""`minus-server sweep`: bytes that no row names go, an hour after they came."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from minus_server.blobs import BlobMissing
from minus_server.check import batches, without_a_row
from minus_server.errors import CannotServe
from minus_server.service import Service

SAFE_SECONDS = 3600  # an upload has its row long before that


@dataclass
class Swept:
    """What was removed: whole blobs and their bytes, unfinished ones, thumbnails of files."""

    blobs: int = 0
    bytes: int = 0
    unfinished: int = 0
    thumbnails: int = 0


def sweep(service: Service, *, dry: bool = False, foreign: bool = False) -> Swept:
    """Remove what a crash or an upload that was cut off left behind. Works while it runs.

    What came within the last hour may be that of an upload whose row comes next: it stays. The
    rows are asked after the bytes were found, so that what is older has its row if it ever gets
    one.

    dry       only count
    foreign   also where none of the bytes there is this catalog's. Raises CannotServe for such a
              place otherwise: it may be another service's
    """
    before = service.clock() - SAFE_SECONDS
    large, swept = service.blobs.large, Swept()
    if not (foreign or _is_ours(service)):
        raise CannotServe(
            "none of the bytes there belongs to a file of this catalog: are data, database and"
            " blobs those of one service? Nothing was removed; --foreign does it all the same"
        )

    def whole(key: str) -> None:
        try:
            size = large.size(key)
        except BlobMissing:  # it went meanwhile
            return
        swept.blobs += 1
        swept.bytes += size
        if not dry:
            large.delete(key)

    def unfinished(key: str) -> None:
        swept.unfinished += 1
        if not dry:
            large.forget(key)

    def thumbnail(key: str) -> None:
        swept.thumbnails += 1
        if not dry:
            large.delete_derived(key)

    _each(service, large.keys(before), whole)
    _each(service, large.incoming(before), unfinished, under_way=True)
    _each(service, large.derived_keys(before), thumbnail)
    return swept


def _is_ours(service: Service) -> bool:
    """Tell whether the catalog names any of the bytes, or there are none."""
    is_empty = True
    for some in batches(service.blobs.large.keys()):
        if len(without_a_row(service, some)) < len(some):
            return True
        is_empty = False
    return is_empty


def _each(
    service: Service,
    keys: Iterable[str],
    remove: Callable[[str], None],
    *,
    under_way: bool = False,
) -> None:
    """Remove those of the keys that have no row; for what is under way, none of an upload."""
    for some in batches(keys):
        for key in without_a_row(service, some, under_way=under_way):
            remove(key)
