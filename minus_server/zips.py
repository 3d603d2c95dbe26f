"""A gallery as one ZIP: streamed, stored, its members' names safe on every system."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from zipstream import ZipStream

from minus_server import names
from minus_server.blobs import Blobs
from minus_server.catalog import File
from minus_server.links import BLOCK, HARMLESS, disposition
from minus_server.service import Service
from minus_server.web import user_of

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069/\\:*?"<>|]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_MAX_NAME = 240  # bytes


def member_name(name: str) -> str:
    """A file's name as a member: one component, nothing that any system keeps for itself."""
    safe = _UNSAFE.sub("_", name).rstrip(". ") or "_"
    if safe in (".", "..") or _RESERVED.fullmatch(safe):
        safe = f"_{safe}"
    stem, dot, ending = safe.rpartition(".")
    if not stem or len(ending.encode()) > 20:
        stem, dot, ending = safe, "", ""
    room = _MAX_NAME - len(dot + ending.encode().decode())
    return stem.encode()[:room].decode(errors="ignore") + dot + ending


def member_names(files: list[File]) -> list[str]:
    """Names of all members; of those that are alike on some system each gets a number."""
    taken: set[str] = set()
    found = []
    for file in files:
        name = member_name(file.name)
        stem, dot, ending = name.rpartition(".") if "." in name[1:] else (name, "", "")
        number, candidate = 1, name
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{stem} ({number}){dot}{ending}"
        taken.add(candidate.casefold())
        found.append(candidate)
    return found


def _blocks(blobs: Blobs, file: File) -> Iterator[bytes]:
    """The bytes of one member, opened when its turn comes."""
    stream: BinaryIO
    with blobs.open(file.blob) as stream:
        while block := stream.read(BLOCK):
            yield block


async def archive(request: Request) -> Response:
    """GET /mID.zip."""
    service: Service = request.app.state.service

    def gather() -> tuple[str, ZipStream]:
        user = user_of(request, {})
        folder = service.galleries.held(request.path_params["id"], user).folder
        files = service.library.files(folder, 0, names.MAX_ORDER)
        archive = ZipStream(sized=True)
        for file, name in zip(files, member_names(files), strict=True):
            archive.add(_blocks(service.blobs, file), name, size=file.size)
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
    return StreamingResponse(iter(archive), headers=headers, media_type="application/zip")
