"""Files on their way in: the body of a request, block by block, into the store."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
import anyio.to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from minus_server import multipart, names, parse
from minus_server.catalog import File, Folder
from minus_server.endpoints import json_response
from minus_server.errors import BadRequest, Refused, TooLarge
from minus_server.galleries import UNTITLED, Galleries
from minus_server.library import Incoming, Library
from minus_server.service import Service
from minus_server.web import refuse_other_sites, user_of
from minus_server.wire import JSON, Wire

BLOCK = 1 << 20  # bytes handed to the writing thread at once
KEPT_AT_ONCE = 8  # uploads whose bytes are there
T = TypeVar("T")
_DRAIN_SECONDS = 10  # a refused body is read on for so long, that the client sees why

Begin = Callable[[parse.Parameters], Awaitable[Incoming]]


class Sink:
    """Feeds an upload: while a thread hashes and writes a block, the next one arrives."""

    def __init__(self, incoming: Incoming) -> None:
        self.incoming = incoming
        self._blocks: list[bytes] = []
        self._size = 0
        self._writing: asyncio.Task[None] | None = None

    async def write(self, block: bytes) -> None:
        self._blocks.append(block)
        self._size += len(block)
        if self._size >= BLOCK:
            await self._hand_over()

    async def _hand_over(self) -> None:
        await self._written()
        blocks, self._blocks, self._size = self._blocks, [], 0
        self._writing = asyncio.create_task(run_in_threadpool(self.incoming.write, blocks))

    async def _written(self) -> None:
        if self._writing is not None:
            task, self._writing = self._writing, None
            await task

    async def finish(self) -> None:
        """Wait until every block is with the store."""
        await self._hand_over()
        await self._written()

    async def abort(self) -> None:
        """Give the bytes up."""
        with contextlib.suppress(Refused, OSError):
            await self._written()
        await run_in_threadpool(self.incoming.abort)


@dataclass
class Form:
    """A multipart form with files in it, as far as it has arrived.

    keep_each   called with the form when a file is whole; without it there may be one file,
                which stays in `part` and `sink` until the fields behind it are known too
    """

    fields: parse.Parameters
    part: multipart.Part | None = None
    sink: Sink | None = None
    keep_each: "Callable[[Form], Awaitable[None]] | None" = None
    _field: str | None = None
    _texts: dict[str, bytes] = field(default_factory=dict)

    async def take(self, event: multipart.Event, begin: Begin) -> None:
        """Take what the parser saw; `begin` is called with the fields before the file."""
        if isinstance(event, multipart.Part):
            await self.settle()
            if event.filename is None and event.name != "file":
                self._field = event.name
                self._texts[event.name] = b""
            elif self.part is not None:
                raise BadRequest("The form has more than one file.")
            elif event.filename != "" or self.keep_each is None:  # an empty one: none was chosen
                self.part = event
                self.sink = Sink(await begin(self.fields))
        elif self._field is not None:
            self._texts[self._field] += event
            if sum(map(len, self._texts.values())) > parse.MAX_FIELDS_SIZE:
                raise TooLarge("The fields beside the file are too long.")
        elif self.sink is not None:
            await self.sink.write(event)

    async def settle(self) -> None:
        """A part is whole: count a text among the fields, keep a file where each is kept."""
        texts = {name: text.decode("utf-8", "replace") for name, text in self._texts.items()}
        self.fields = self.fields | texts
        self._field = None
        if self.sink is not None:
            await self.sink.finish()
            if self.keep_each is not None:
                await self.keep_each(self)
                self.part = self.sink = None


async def read_form(request: Request, form: Form, begin: Begin) -> None:
    """Read the whole body into the form."""
    parser = multipart.Parser(parse.boundary(request.headers.get("content-type", "")))
    async for block in parse.body(request):
        for event in parser.feed(block):
            await form.take(event, begin)
    for event in parser.close():
        await form.take(event, begin)
    await form.settle()


async def read_bytes(request: Request, form: Form, begin: Begin) -> None:
    """Read a body that is the file itself; its name stands in the query or in a header."""
    kind = request.headers.get("content-type", "")
    header = request.headers.get("content-disposition", "").encode("latin-1")
    said = multipart.parameters_of(multipart.decoded(header))
    declared = "" if kind.startswith("application/x-www-form-urlencoded") else kind
    form.part = multipart.Part("file", multipart.filename_of(said), declared)
    form.sink = Sink(await begin(form.fields))
    async for block in parse.body(request):
        await form.sink.write(block)
    await form.settle()


async def drain(request: Request) -> None:
    """Read on what is left of a refused body, so that the client can read the answer."""
    with contextlib.suppress(ClientDisconnect, RuntimeError), anyio.move_on_after(_DRAIN_SECONDS):
        async for _ in request.stream():
            pass


@contextlib.asynccontextmanager
async def receiving(request: Request, form: Form) -> AsyncIterator[None]:
    """Give the bytes up where the block fails, and let the client read why."""
    try:
        yield
    except BaseException as error:
        if form.sink is not None:
            await form.sink.abort()
        if isinstance(error, Refused | OSError):
            await drain(request)
        raise


async def _in_turn(request: Request, keep: Callable[[], T]) -> T:
    """Keep an upload in one of a few threads: pictures that take long to look at, and the
    catalog's one writer, must not take everybody else's."""
    limiter: anyio.CapacityLimiter = request.app.state.keeping
    return await anyio.to_thread.run_sync(keep, limiter=limiter)


async def upload(request: Request) -> Response:
    """POST folders/ID/files: a form with `file`, `filename` and `caption`."""
    service: Service = request.app.state.service
    folder_id = request.path_params["id"]
    form = Form(parse.query(request))

    async def begin(fields: parse.Parameters) -> Incoming:
        token = parse.token(request, fields)
        if token is None:
            return await run_in_threadpool(service.library.begin_unsigned_file, folder_id)
        declared = parse.content_length(request)
        return await run_in_threadpool(
            lambda: service.library.begin_file(service.accounts.caller(token), folder_id, declared)
        )

    async with receiving(request, form):
        await read_form(request, form, begin)
        return json_response(await _in_turn(request, lambda: _keep(request, form)))


def _keep(request: Request, form: Form) -> JSON:
    """Make the file that the form describes."""
    service: Service = request.app.state.service
    wire: Wire = request.app.state.wire
    caller = service.accounts.caller(parse.need_token(request, form.fields))
    if form.part is None or form.sink is None:
        raise BadRequest("The form has no file.")
    file = service.library.add_file(
        caller,
        request.path_params["id"],
        form.sink.incoming,
        name=names.file_name(form.fields.get("filename") or form.part.filename or ""),
        caption=names.caption(form.fields.get("caption", "")),
        declared_type=form.part.content_type,
    )
    return wire.file(file)


async def upload_item(request: Request) -> File:
    """UploadItem of API v1: a form with a file in it, or the bare bytes, into a gallery."""
    refuse_other_sites(request)
    galleries: Galleries = request.app.state.service.galleries
    form = Form(parse.query(request))

    async def begin(fields: parse.Parameters) -> Incoming:
        declared = parse.content_length(request)
        if not fields.get("editor_id"):
            return await run_in_threadpool(galleries.begin_unplaced)
        return await run_in_threadpool(
            lambda: galleries.begin(fields["editor_id"], user_of(request, fields), declared)
        )

    def keep() -> File:
        if form.part is None or form.sink is None:
            raise BadRequest("The form has no file.")
        if not form.fields.get("editor_id"):
            raise BadRequest("The field editor_id is missing.")
        return galleries.keep(
            form.fields["editor_id"],
            user_of(request, form.fields),
            form.sink.incoming,
            names.file_name(form.fields.get("filename") or form.part.filename or UNTITLED),
            form.part.content_type,
        )

    async with receiving(request, form):
        read = read_form if _is_form(request) else read_bytes
        await read(request, form, begin)
        return await _in_turn(request, keep)


def _is_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "")
    is_multipart = kind.strip().lower().startswith("multipart/form-data")
    return is_multipart and multipart.boundary_of(kind) is not None


async def add_to(
    request: Request, find: Callable[[parse.Parameters], Folder], filename: str = ""
) -> list[File]:
    """Files from a page's form, or one as the bare body, into the folder that `find` gives.

    find       called, in a thread, when the first file begins, with the fields before it
    filename   of a body that tells none
    """
    library: Library = request.app.state.service.library
    folder: Folder | None = None
    made: list[File] = []

    async def begin(fields: parse.Parameters) -> Incoming:
        nonlocal folder
        place = await run_in_threadpool(find, fields) if folder is None else folder
        folder = place
        declared = 0 if _is_form(request) else parse.content_length(request)  # of one file alone
        return await run_in_threadpool(library.begin, place, declared)

    async def keep(form: Form) -> None:
        part, sink, place = form.part, form.sink, folder
        if part is None or sink is None or place is None:
            raise BadRequest("The form has no file.")
        said = part.filename or form.fields.get("filename") or filename
        name = names.file_name(said or UNTITLED)
        kind = part.content_type
        made.append(
            await _in_turn(
                request,
                lambda: library.keep(place, sink.incoming, name=name, declared_type=kind),
            )
        )

    form = Form(parse.query(request), keep_each=keep)
    async with receiving(request, form):
        read = read_form if _is_form(request) else read_bytes
        await read(request, form, begin)
        if not made:
            raise BadRequest("No file was chosen.")
    return made
