"""Uploads by tus 1.0.0: an upload has an address of its own, and goes on where it was.

https://tus.io/protocols/resumable-upload, with creation, creation-with-upload,
creation-defer-length, termination, checksum, expiration.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import anyio
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from minus_server import names, pages, parse
from minus_server.catalog import File, Folder, Upload
from minus_server.endpoints import json_response
from minus_server.errors import (
    BadRequest,
    InUse,
    NotSignedIn,
    OffsetMismatch,
    Refused,
    TimedOut,
    UnknownVersion,
    UnsupportedType,
)
from minus_server.galleries import UNTITLED
from minus_server.leases import LEASE_SECONDS, Leases
from minus_server.library import no_upload
from minus_server.repeats import Once, Replayed, holder
from minus_server.resumable import Announced, Plan
from minus_server.service import Service
from minus_server.uploads import Feed, drain, in_turn
from minus_server.web import refuse_other_sites, session_user, user_of
from minus_server.wire import Wire, date, http_date

VERSION = "1.0.0"
PATIENCE = 5  # seconds that a request waits for an older one to let go of its upload
_LOOK_AGAIN = 0.2  # seconds
_EXTENSIONS = "creation,creation-with-upload,creation-defer-length,termination,checksum,expiration"
_KEPT_METADATA = 4096  # characters; a caption alone may be longer: then what is known is told
_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST"
_BYTES = "application/offset+octet-stream"

Answer = Callable[[Request], Awaitable[Response]]


@dataclass
class Turn:
    """A request that works on an upload; `reading` is cancelled when a newer one wants it."""

    reading: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Turns:
    """Who works on which upload: one request at a time, and the newest wins.

    The connection of an older one may be dead without anybody knowing.
    """

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._turns: dict[int, Turn] = {}

    @contextlib.asynccontextmanager
    async def take(self, upload: Upload) -> AsyncIterator[Turn]:
        """Stop whoever works on the upload, and wait for that. Raises InUse"""
        with anyio.move_on_after(PATIENCE):
            while (older := self._turns.get(upload.n)) is not None:
                older.reading.cancel()
                await older.ended.wait()
        if upload.n in self._turns:
            raise InUse("Another request works on this upload.")
        mine = self._turns[upload.n] = Turn()
        try:
            await self._hold(upload.n)
            yield mine
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self._leases.let_go, upload.n)
            del self._turns[upload.n]
            mine.ended.set()

    async def _hold(self, n: int) -> None:
        """Take it from other processes too; a dead one has it until its lease is over."""
        with anyio.move_on_after(LEASE_SECONDS + PATIENCE):
            while not await run_in_threadpool(self._leases.take, n):
                await anyio.sleep(_LOOK_AGAIN)
            return
        raise InUse("Another process works on this upload.")

    def give_up(self, wanted: Iterable[int]) -> None:
        """Stop working on these, for another process."""
        for n in wanted:
            if (mine := self._turns.get(n)) is not None:
                mine.reading.cancel()


# --- requests ---


def _speaks_tus(answer: Answer) -> Answer:
    """Hold a request to the version, and say it in every answer."""

    async def answered(request: Request) -> Response:
        headers = {"Tus-Resumable": VERSION}
        try:
            if request.headers.get("tus-resumable") != VERSION:
                headers["Tus-Version"] = VERSION
                raise UnknownVersion(f"This takes Tus-Resumable: {VERSION}.")
            response = await answer(request)
        except (Refused, OSError, SQLAlchemyError) as error:
            await drain(request)
            if isinstance(error, Refused):
                error.headers = {**error.headers, **headers}
            raise
        response.headers.update(headers)
        return response

    return answered


def _options() -> Response:
    headers = {
        "Tus-Resumable": VERSION,
        "Tus-Version": VERSION,
        "Tus-Extension": _EXTENSIONS,
        "Tus-Checksum-Algorithm": ",".join(names.CHECKSUMS),
    }
    response = json_response(None)
    response.headers.update(headers)
    return response


async def into_folder(request: Request) -> Response:
    """POST and OPTIONS folders/ID/uploads."""
    service: Service = request.app.state.service

    def find() -> tuple[Folder, str]:
        caller = service.accounts.caller(parse.need_token(request, parse.query(request)))
        folder = service.library.folder_to_fill(caller, request.path_params["id"])
        return folder, holder(caller.user)

    return await _begin(request, find)


async def into_gallery(request: Request) -> Response:
    """POST and OPTIONS /mID/uploads."""
    service: Service = request.app.state.service

    def find() -> tuple[Folder, str]:
        refuse_other_sites(request)
        user = user_of(request, parse.query(request))
        editors = pages.editors(request)
        folder = service.galleries.addable(request.path_params["id"], user, editors)
        return folder, holder(user, f"gallery {folder.id}")

    return await _begin(request, find)


async def _begin(request: Request, find: Callable[[], tuple[Folder, str]]) -> Response:
    if request.method == "OPTIONS":
        return _options()
    return await _speaks_tus(partial(_create, find=find))(request)


async def _create(request: Request, find: Callable[[], tuple[Folder, str]]) -> Response:
    service: Service = request.app.state.service
    wire: Wire = request.app.state.wire

    def create() -> _Begun:
        folder, who = find()
        once, plan = parse.once(request, who), _plan(request)
        announced = _announced(request, 0) if _brings_bytes(request) else None
        if announced and plan.size is not None and announced.length > plan.size:
            raise BadRequest("The body is longer than the Upload-Length.")
        try:
            return _Begun(*service.resumables.create(folder, plan, once), once, announced)
        except Replayed as first:
            if once is None:
                raise
            secret = once.masked(first.made[0])
            found = service.resumables.find(secret)
            if found.file_id is not None:
                service.resumables.file(found)  # which may have been deleted since
            return _Begun(secret, found, once, None, is_new=False)

    begun = await run_in_threadpool(create)
    upload, file = begun.upload, None
    if begun.announced is not None:
        upload, file = await _first_bytes(request, begun, begun.announced)
    elif upload.size == 0:
        upload, file = await _empty(request, begun)
    response = Response(status_code=201, headers=_state(upload, file))
    response.headers["Location"] = f"{wire.base}uploads/{begun.secret}"
    if not begun.is_new:
        response.headers["Idempotency-Replayed"] = "true"
        await drain(request)
    return response


@dataclass(frozen=True, slots=True)
class _Begun:
    """An upload that was made for a request, or for an earlier one with the same key."""

    secret: str
    upload: Upload
    once: Once | None
    announced: Announced | None  # what the body brings, which is none on a repeat
    is_new: bool = True


async def _first_bytes(
    request: Request, begun: _Begun, announced: Announced
) -> tuple[Upload, File | None]:
    """Take the body that came with the creation; refused, it leaves no upload behind."""
    service: Service = request.app.state.service
    upload, once = begun.upload, begun.once
    try:
        async with _turns(request).take(upload) as turn:
            upload = await run_in_threadpool(service.resumables.find, begun.secret)  # as it is held
            return await _receive(request, turn, upload, announced, once)
    except BaseException as error:
        broken = isinstance(error, ClientDisconnect | TimedOut | OffsetMismatch)
        if not (broken and once):  # the key leads to it again
            await run_in_threadpool(service.resumables.end, upload, once)
        raise


async def _empty(request: Request, begun: _Begun) -> tuple[Upload, File | None]:
    """Make the file of an upload of no bytes, once, however many creations with one key ask."""
    resumables = request.app.state.service.resumables

    def made() -> tuple[Upload, File | None]:
        found = resumables.find(begun.secret)
        return found, resumables.file(found, begun.once)

    async with _turns(request).take(begun.upload):
        return await in_turn(request, made)


def _turns(request: Request) -> Turns:
    turns: Turns = request.app.state.turns
    return turns


def _plan(request: Request) -> Plan:
    """What the headers of a creation say."""
    size = parse.tus_number(request, "upload-length")
    deferred = request.headers.get("upload-defer-length")
    if (size is None) != (deferred == "1"):
        raise BadRequest("An upload has an Upload-Length, or Upload-Defer-Length: 1.")
    sent = request.headers.get("upload-metadata", "")
    said = names.metadata(sent)
    name = said.get("filename") or said.get("name") or UNTITLED
    return Plan(
        names.bare_file_name(name),
        names.caption(said.get("caption", "")),
        names.declared_type(said.get("filetype") or said.get("type") or ""),
        size,
        names.digest(request.headers.get("repr-digest", "")),
        sent if len(sent) <= _KEPT_METADATA else "",
    )


def _brings_bytes(request: Request) -> bool:
    """Tell whether a creation brings the first bytes. Raises UnsupportedType for other ones"""
    if parse.content_length(request) == 0 and "transfer-encoding" not in request.headers:
        return False
    _need_bytes(request)
    return True


def _need_bytes(request: Request) -> None:
    """Raises UnsupportedType for a body that is no piece of an upload."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _BYTES:
        raise UnsupportedType(f"The bytes of an upload come as {_BYTES}.")


def _announced(request: Request, offset: int) -> Announced:
    """What the headers say of the bytes in the body."""
    checksum = request.headers.get("upload-checksum")
    return Announced(
        offset,
        parse.content_length(request),
        parse.tus_number(request, "upload-length"),
        names.digest(request.headers.get("repr-digest", "")),
        None if checksum is None else names.checksum(checksum),
    )


async def _receive(
    request: Request,
    turn: Turn,
    upload: Upload,
    announced: Announced,
    once: Once | None = None,
) -> tuple[Upload, File | None]:
    """Take the body into the upload. -> the upload, the file once all of it is there"""
    service: Service = request.app.state.service
    piece = await run_in_threadpool(service.resumables.piece, upload, announced, once)
    feed = Feed(piece.write)
    came = whole = False
    file = None
    try:
        with turn.reading:
            async for block in parse.body(request):
                await feed.write(block)
            came = True
    finally:
        try:
            await feed.hand_over()
            await feed.written()
            whole = came
        finally:
            file = await in_turn(request, partial(piece.end, whole=whole))
    if not whole:
        raise OffsetMismatch("A newer request goes on with this upload.")
    return piece.upload, file


# --- the address of an upload ---


async def upload(request: Request) -> Response:
    """Every request for /uploads/SECRET."""
    method = request.method
    if method == "POST":
        method = request.headers.get("x-http-method-override", "POST").strip().upper()
    if method == "OPTIONS":
        return _options()
    if method == "GET":
        return await _show(request)
    answer = {"HEAD": _look, "PATCH": _append, "DELETE": _cancel}.get(method)
    if answer is None:
        raise HTTPException(405, headers={"Allow": _METHODS, "Tus-Resumable": VERSION})
    return await _speaks_tus(answer)(request)


def _find(request: Request) -> Upload:
    """The upload, for who may add to its folder. Raises NotFound, NotSignedIn, Forbidden"""
    service: Service = request.app.state.service
    found = service.resumables.find(request.path_params["secret"])
    if found.owner_n is None:
        service.galleries.need_anonymous()  # who may add to the gallery was asked at the creation
        return found
    if token := parse.token(request, parse.query(request)):
        caller = service.accounts.caller(token)
        caller.need("upload_new")
        user = caller.user
    else:
        refuse_other_sites(request)
        signed_in = session_user(request, {})
        if signed_in is None:
            raise NotSignedIn("This upload needs the access token of its owner.")
        user = signed_in
    if user.n != found.owner_n:
        raise no_upload()
    return found


def _settled(request: Request) -> tuple[Upload, File | None]:
    """The upload, and the file of one of which all bytes are there."""
    service: Service = request.app.state.service
    found = _find(request)
    return found, service.resumables.file(found)


async def _show(request: Request) -> Response:
    """GET: how far it is, for people and for clients that read JSON."""
    service: Service = request.app.state.service
    wire: Wire = request.app.state.wire

    def look() -> Response:
        found = _find(request)
        file = service.resumables.file(found) if found.file_id else None
        return json_response(
            {
                "offset": found.arrived,
                "size": found.size,
                "expires": date(found.expires),
                "file": wire.file(file) if file else None,
            }
        )

    return await run_in_threadpool(look)


async def _look(request: Request) -> Response:
    """HEAD: where to go on."""
    async with _turns(request).take(await run_in_threadpool(_find, request)):
        found, file = await in_turn(request, partial(_settled, request))
    response = Response(headers=_state(found, file))
    if found.size is None:
        response.headers["Upload-Defer-Length"] = "1"
    else:
        response.headers["Upload-Length"] = str(found.size)
    response.headers["Upload-Metadata"] = found.metadata or _metadata(found)
    return response


async def _append(request: Request) -> Response:
    """PATCH: more bytes."""
    _need_bytes(request)
    offset = parse.tus_number(request, "upload-offset")
    if offset is None:
        raise BadRequest("The Upload-Offset is missing.")
    announced = _announced(request, offset)
    async with _turns(request).take(await run_in_threadpool(_find, request)) as turn:
        found, file = await in_turn(request, partial(_settled, request))
        if file is None:
            found, file = await _receive(request, turn, found, announced)
        elif offset != found.arrived or await _brings_more(request):
            raise request.app.state.service.resumables.elsewhere(found)
    state = _state(found, file)
    if file is None or not parse.prefers_representation(request):
        return Response(status_code=204, headers=state)
    wire: Wire = request.app.state.wire
    response = json_response(wire.file(file))
    response.headers.update(state)
    return response


async def _brings_more(request: Request) -> bool:
    """Tell whether there is a byte in the body."""
    async for _ in parse.body(request):
        return True
    return False


async def _cancel(request: Request) -> Response:
    """DELETE: give it up."""
    service: Service = request.app.state.service
    async with _turns(request).take(await run_in_threadpool(_find, request)):
        await run_in_threadpool(service.resumables.end, await run_in_threadpool(_find, request))
    return json_response(None)


def _state(upload: Upload, file: File | None) -> dict[str, str]:
    """The headers that tell how far an upload is."""
    headers = {
        "Upload-Offset": str(upload.arrived),
        "Upload-Expires": http_date(upload.expires),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    if file_id := file.id if file else upload.file_id:
        headers["Minus-File"] = file_id
    return headers


def _metadata(upload: Upload) -> str:
    """What is known of the file to be, as `Upload-Metadata` carries it, where that was long."""
    said = {"filename": upload.name, "filetype": upload.declared_type, "caption": upload.caption}
    pairs = [f"{key} {base64.b64encode(said[key].encode()).decode()}" for key in said if said[key]]
    return ",".join(pairs)
