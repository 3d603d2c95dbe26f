"""A gallery as one ZIP: streamed, stored, its members' names safe on every system."""

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from minus_server import names
from minus_server.links import HARMLESS, disposition, sent, stored
from minus_server.service import Service
from minus_server.web import user_of

if TYPE_CHECKING:
    from zipstream import ZipStream

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069/\\:*?"<>|]')
_RESERVED = re.compile(r"(?i)(con|conin\$|conout\$|prn|aux|nul|(?:com|lpt)[0-9¹²³]) *(\..*)?")
_MAX_NAME = 240  # bytes
_NUMBER = len(f" ({names.MAX_ORDER})")  # bytes that the longest number takes
_MAX_ENDING = 20  # bytes of a name's end that are kept when it is cut


def member_name(name: str) -> str:
    """A file's name as a member: one component, nothing that any system keeps for itself."""
    safe = _UNSAFE.sub("_", name).rstrip(". ") or "_"
    if _RESERVED.fullmatch(safe):
        safe = f"_{safe}"
    return _shortened(safe)


def _shortened(name: str, more: str = "") -> str:
    """The name with `more` before its ending, cut to what file systems take."""
    cut, ending = _cut(name, len(more.encode()))
    return (cut + more + ending).rstrip(". ")


def _cut(name: str, room: int) -> tuple[str, str]:
    """Stem and ending of a name, with room for so many bytes between them."""
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > _MAX_ENDING:
        stem, dot, ending = name, "", ""
    most = _MAX_NAME - len(f"{dot}{ending}".encode()) - room
    return stem.encode()[:most].decode(errors="ignore"), dot + ending


class Named(Protocol):
    """What has a name: a file, or a few columns of one."""

    @property
    def name(self) -> str: ...


class MemberNames:
    """Names of members, one after the other; of those that are alike each gets a number."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}  # the last of each stem; long names may share one

    def take(self, file_name: str) -> str:
        """The next member's name, which differs from all before it on every system."""
        candidate = name = member_name(file_name)
        if (folded := _folded(candidate)) in self._taken:
            stem = _folded("".join(_cut(name, _NUMBER)))
            number = self._numbers.get(stem, 1)
            while folded in self._taken:
                number += 1
                candidate = _shortened(name, f" ({number})")
                folded = _folded(candidate)
            self._numbers[stem] = number
        self._taken.add(folded)
        return candidate


def member_names(files: Sequence[Named]) -> list[str]:
    """Names of all members, none of them twice."""
    members = MemberNames()
    return [members.take(file.name) for file in files]


def _folded(name: str) -> str:
    """Names that are one file on some file systems: without case, composed."""
    return unicodedata.normalize("NFC", name).casefold()


async def archive(request: Request) -> Response:
    """GET /mID.zip."""
    from zipstream import ZipStream

    service: Service = request.app.state.service

    def gather() -> tuple[str, "ZipStream"]:
        user = user_of(request, {})
        folder = service.galleries.held(request.path_params["id"], user).folder
        service.library.keep_alive(folder)
        files = service.library.files(folder, 0, names.MAX_ORDER)
        archive = ZipStream(sized=True)
        for file, name in zip(files, member_names(files), strict=True):
            archive.add(stored(service.blobs, file.blob, file.size), name, size=file.size)
        return f"{member_name(folder.name)}.zip", archive

    name, archive = await run_in_threadpool(gather)
    headers = {
        **HARMLESS,
        "Content-Disposition": disposition("attachment", name),
        "Content-Length": str(len(archive)),
        "Cache-Control": "private, no-cache",
    }
    if request.method == "HEAD":
        return Response(headers=headers, media_type="application/zip")
    blocks = sent(iter(archive), "A ZIP")
    return StreamingResponse(blocks, headers=headers, media_type="application/zip")
