"""The short links to bytes: `/i` the file itself, `/j` and `/k` its thumbnails.

Whoever knows the id may look. What a user uploaded must not act in a browser in our name:
every answer is sandboxed, and only pictures, sound, film and plain text are shown in place.
"""

import base64
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import BinaryIO
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from minus_server import names
from minus_server.blobs import MAX_SMALL, BlobMissing, Blobs
from minus_server.catalog import File
from minus_server.errors import NotFound, StoreAway
from minus_server.service import Service
from minus_server.threads import in_store
from minus_server.wire import http_date

_LOG = logging.getLogger(__name__)
DRAWINGS_AT_ONCE = 2
BLOCK = 1 << 20  # bytes read from disk at once
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.IGNORECASE)
HARMLESS = {
    # the style is that of the browser's own page around a picture
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


@dataclass(frozen=True)
class Wanted:
    """What a request wants of a file: the status, and which bytes (`end` is behind the last)."""

    status: int
    start: int
    end: int


def wanted(headers: Headers, etag: str, modified: int, size: int) -> Wanted:
    """Settle If-None-Match, If-Modified-Since, Range and If-Range (RFC 9110, 13.2.2)."""
    if (tags := headers.get("if-none-match")) is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        if etag in known or "*" in known:
            return Wanted(304, 0, 0)
    elif (since := _moment(headers.get("if-modified-since"))) is not None and since >= modified:
        return Wanted(304, 0, 0)
    condition = headers.get("if-range", "").strip()
    if condition and condition != etag and _moment(condition) != modified:
        return Wanted(200, 0, size)
    return _range(headers.get("range", ""), size)


def _range(text: str, size: int) -> Wanted:
    """One range of bytes; a header that is no such thing counts as absent."""
    found = _RANGE.fullmatch(text)
    if found is None or found[1] == found[2] == "":
        return Wanted(200, 0, size)
    if found[1] == "":
        start, end = max(0, size - int(found[2])), size
    else:
        start = int(found[1])
        end = min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < start:
            return Wanted(200, 0, size)
    if start >= size or start >= end:
        return Wanted(416, 0, 0)
    return Wanted(206, start, end)


def _moment(text: str | None) -> int | None:
    """A date of HTTP as seconds since 1970, None where it is none."""
    try:
        return int(parsedate_to_datetime(text).timestamp()) if text else None
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def disposition(kind: str, name: str) -> str:
    """A Content-Disposition that no name can break (RFC 6266)."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%;' else "_" for c in name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def stored(blobs: Blobs, key: str, size: int) -> Iterator[bytes]:
    """A blob's bytes, opened when their turn comes. Raises OSError where there are fewer."""
    with blobs.open(key) as stream:
        while size > 0:
            if not (block := stream.read(min(BLOCK, size))):
                raise OSError("a blob is shorter than its row says")
            size -= len(block)
            yield block


def until_broken(blocks: Iterator[bytes], what: str) -> Iterator[bytes]:
    """The blocks; where one cannot be had, the answer ends short of its Content-Length.

    The client sees that it was cut off; the log gets a line: a file that is deleted while it
    is sent is no fault.
    """
    try:
        yield from blocks
    except (BlobMissing, OSError) as error:
        _cut_off(what, error)
        yield b""  # an answer of no block at all would be given another length


async def sent(blocks: Iterator[bytes], what: str) -> AsyncIterator[bytes]:
    """The blocks as in `until_broken`, made in the store's threads."""
    blocks = until_broken(blocks, what)
    try:
        while (block := await in_store(next, blocks, None)) is not None:
            yield block
    except StoreAway as error:
        _cut_off(what, error)
        yield b""


def _cut_off(what: str, error: Exception) -> None:
    _LOG.warning("%s was cut off: %s %s", what, type(error).__name__, error)


def _repr_digest(sha256: str) -> str:
    """A SHA-256 in hexadecimal as `Repr-Digest` carries it (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


# The browser's own page around a film or a sound fetches it once more, as our page.
_PLAYABLE = {
    "Content-Security-Policy": "sandbox allow-same-origin; default-src 'none'; media-src 'self';"
    " style-src 'unsafe-inline'"
}


def _headers(file: File, etag: str) -> dict[str, str]:
    inline = file.mimetype in names.INLINE
    kind = "text/plain; charset=utf-8" if file.mimetype == "text/plain" else file.mimetype
    plays = inline and kind.startswith(("audio/", "video/"))
    return {
        **(HARMLESS | _PLAYABLE if plays else HARMLESS),
        "Content-Type": kind,
        "Content-Disposition": disposition("inline" if inline else "attachment", file.name),
        "ETag": etag,
        "Last-Modified": http_date(file.uploaded),
        "Accept-Ranges": "bytes",
        "Repr-Digest": _repr_digest(file.sha256),
        "Cache-Control": "private, no-cache",
    }


class WholeFile(Response):
    """A whole local file, sent by the server itself where it offers that."""

    def __init__(self, path: str, headers: dict[str, str]) -> None:
        super().__init__(None, 200)
        self.path = path
        self.raw_headers = [
            (key.lower().encode("latin-1"), value.encode("latin-1"))
            for key, value in headers.items()
        ]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.pathsend", "path": self.path})


async def raw(request: Request) -> Response:
    """GET or HEAD /iID: the bytes."""
    service: Service = request.app.state.service
    file_id = names.link_id(request.path_params["link"])
    file = await run_in_threadpool(service.library.look, file_id)
    etag = f'"{file.sha256[:32]}"'
    want = wanted(request.headers, etag, file.uploaded, file.size)
    headers = _headers(file, etag)
    if want.status in (304, 416):
        if want.status == 416:
            headers["Content-Range"] = f"bytes */{file.size}"
        return Response(status_code=want.status, headers=headers)
    headers["Content-Length"] = str(want.end - want.start)
    if want.status == 206:
        headers["Content-Range"] = f"bytes {want.start}-{want.end - 1}/{file.size}"
    if request.method == "HEAD":
        return Response(status_code=want.status, headers=headers)
    if service.policy.presigned and _may_leave(request, headers):
        kind, shown = headers["Content-Type"], headers["Content-Disposition"]
        link = await run_in_threadpool(service.blobs.link, file.blob, kind, shown)
        if link is not None:
            about = {name: headers[name] for name in ("ETag", "Repr-Digest")}
            sent = {**HARMLESS, **about, "Cache-Control": "no-store", "Location": link}
            return Response(status_code=302, headers=sent)
    return await _body(request, service, file, want, headers)


def _may_leave(request: Request, headers: dict[str, str]) -> bool:
    """Tell whether the object store itself may give what `headers` tell of.

    It knows neither our sandbox nor our ETags; a script of our pages cannot follow.
    """
    asked = ("if-range", "if-none-match", "if-modified-since")
    conditional = any(name in request.headers for name in asked)
    by_script = request.headers.get("sec-fetch-dest") == "empty"
    return not (conditional or by_script or headers["Content-Type"].startswith("text/"))


async def _body(
    request: Request, service: Service, file: File, want: Wanted, headers: dict[str, str]
) -> Response:
    found = await in_store(_opened, service.blobs, file, want)
    if isinstance(found, bytes):
        return Response(found, want.status, headers)
    path = service.blobs.path(file.blob)
    pathsend = "http.response.pathsend" in request.scope["extensions"]
    if path is not None and want.status == 200 and pathsend:
        found.close()
        return WholeFile(str(path), headers)
    return StreamingResponse(_blocks(found, want.end - want.start), want.status, headers)


def _opened(blobs: Blobs, file: File, want: Wanted) -> BinaryIO | bytes:
    """What is wanted of the bytes of a small file, a stream that stands there in a large one."""
    try:
        stream = blobs.open(file.blob, want.start)
    except BlobMissing:
        raise NotFound("The bytes of this file are gone.") from None
    if file.size > MAX_SMALL:
        return stream
    with stream:
        return stream.read(want.end - want.start)


async def _blocks(stream: BinaryIO, left: int) -> AsyncIterator[bytes]:
    """So many bytes; where they cannot be had, the answer ends short, as in `until_broken`."""
    try:
        with stream:
            while left > 0:
                block = await in_store(stream.read, min(BLOCK, left))
                if not block:
                    raise OSError("a blob is shorter than its row says")
                left -= len(block)
                yield block
    except OSError as error:
        _cut_off("A file", error)
        yield b""


async def _drawn(
    request: Request, draw: Callable[..., tuple[bytes, str]], *args: object
) -> tuple[bytes, str]:
    """Draw in one of a few threads: a slow picture must not take everybody else's."""
    limiter: anyio.CapacityLimiter = request.app.state.drawings
    return await anyio.to_thread.run_sync(draw, *args, limiter=limiter)


async def thumbnail(request: Request, kind: str) -> Response:
    """GET /jID and /kID: a small picture of the file."""
    service: Service = request.app.state.service
    file_id = names.link_id(request.path_params["link"])
    file = await run_in_threadpool(service.library.linked_file, file_id)
    etag = f'"{file.sha256[:24]}-{kind}"'
    headers = {**HARMLESS, "Cache-Control": "private, no-cache", "ETag": etag}
    if wanted(request.headers, etag, file.uploaded, 0).status == 304:
        return Response(status_code=304, headers=headers)
    data, media_type = await _drawn(request, service.library.thumbnail, file, kind)
    return Response(data, headers=headers, media_type=media_type)


small_thumbnail = partial(thumbnail, kind="small")
medium_thumbnail = partial(thumbnail, kind="medium")


async def icon(request: Request) -> Response:
    """GET /icon/LABEL.png and /avatar/SLUG.png: a drawn picture where there is no other."""
    service: Service = request.app.state.service
    label = request.path_params["label"]
    data, media_type = await _drawn(request, service.library.icon, label)
    headers = {**HARMLESS, "Cache-Control": "public, max-age=86400"}
    return Response(data, headers=headers, media_type=media_type)
