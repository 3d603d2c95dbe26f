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
    foreign   also in a place that is not this catalog's. Raises CannotServe there otherwise
    """
    before = service.clock() - SAFE_SECONDS
    large, swept = service.blobs.large, Swept()
    if not foreign and (why := service.blobs.stranger()):
        raise CannotServe(
            f"nothing was removed from the place of the bytes: {why}. Are data, database and"
            " blobs those of one service? --foreign does it all the same"
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
