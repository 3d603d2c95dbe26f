"""Files on their way in: the body of a request, block by block, into the store."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from minus_server import multipart, names, parse
from minus_server.blobs import MAX_SMALL
from minus_server.catalog import File, Folder, User
from minus_server.endpoints import json_response, replayed
from minus_server.errors import BadRequest, Refused, TooLarge
from minus_server.galleries import UNTITLED, Galleries
from minus_server.library import FORM_OVERHEAD, Incoming, Library
from minus_server.repeats import Once, Replayed, holder
from minus_server.service import Service
from minus_server.threads import in_store
from minus_server.web import refuse_other_sites, user_of
from minus_server.wire import Wire

BLOCK = 1 << 20  # bytes handed to the writing thread at once
KEPT_AT_ONCE = 8  # uploads whose bytes are there
T = TypeVar("T")
_DRAIN_SECONDS = 10  # a refused body is read on for so long, that the client sees why

Begin = Callable[[parse.Parameters], Incoming]


class Feed:
    """Feeds an upload: while a thread hashes and writes a block, the next one arrives.

    take   called in a thread with what arrived; after it has failed it is not called again
    """

    def __init__(self, take: Callable[[list[bytes]], None]) -> None:
        self._take = take
        self._blocks: list[bytes] = []
        self._size = 0
        self._writing: asyncio.Task[None] | None = None
        self._failed = False

    def _is_enough(self) -> bool:
        return self._size >= BLOCK

    async def write(self, block: bytes) -> None:
        self._blocks.append(block)
        self._size += len(block)
        if self._is_enough():
            await self.hand_over()

    async def hand_over(self) -> None:
        """Have what arrived written."""
        await self.written()
        if not self._failed:
            blocks, self._blocks, self._size = self._blocks, [], 0
            self._writing = asyncio.create_task(in_store(self._take, blocks))

    async def written(self) -> None:
        """Wait until what was handed over is with the store."""
        if self._writing is None:
            return
        await asyncio.wait({self._writing})  # unlike the task itself, it can be given up
        task, self._writing = self._writing, None
        try:
            task.result()
        except BaseException:
            self._failed = True
            raise


class Sink(Feed):
    """Feeds an upload that is kept when it is whole.

    A small file waits here until the thread that keeps it takes the rest: no thread before that
    is asked anything.

    begin   called in a thread, opens an upload that is not small
    small   opens one that is
    digest  what its `Repr-Digest` says, empty without one
    """

    def __init__(
        self, begin: Callable[[], Incoming], small: Callable[[], Incoming], digest: str
    ) -> None:
        super().__init__(lambda blocks: self._write(blocks, begin))
        self._small = small
        self._digest = names.digest(digest)
        self._incoming: Incoming | None = None

    def _is_enough(self) -> bool:
        return super()._is_enough() or (self._incoming is None and self._size > MAX_SMALL)

    def _write(self, blocks: list[bytes], begin: Callable[[], Incoming]) -> None:
        if self._incoming is None:
            self._incoming = begin()
            self._incoming.digest = self._digest
        self._incoming.write(blocks)

    def rest(self) -> Incoming:
        """The upload, all of it: called once it is whole, in the thread that keeps it."""
        blocks, self._blocks = self._blocks, []
        self._write(blocks, self._small)
        if self._incoming is None:
            raise RuntimeError("an upload was not opened")
        return self._incoming

    async def abort(self) -> None:
        """Give the bytes up."""
        try:
            with contextlib.suppress(Refused, OSError, SQLAlchemyError):
                await self.written()
        finally:
            if self._incoming is not None:
                await in_store(self._incoming.abort, patience=math.inf)


@dataclass
class Form:
    """A multipart form with files in it, as far as it has arrived; or one file, bare.

    begin       opens an upload; called in a thread, with the fields before the file
    keep_each   called with the form when a file is whole; without it there may be one file,
                which stays in `part` and `sink` until the fields behind it are known too
    """

    request: Request
    begin: Begin
    keep_each: "Callable[[Form], Awaitable[None]] | None" = None
    part: multipart.Part | None = None
    sink: Sink | None = None
    fields: parse.Parameters = field(default_factory=dict)
    _field: str | None = None
    _texts: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fields = parse.query(self.request)

    async def take(self, event: multipart.Event) -> None:
        """Take what the parser saw."""
        if isinstance(event, multipart.Part):
            await self.settle()
            if event.filename is None and event.name != "file":
                self._field = event.name
                self._texts[event.name] = b""
            elif self.part is not None:
                raise BadRequest("The form has more than one file.")
            elif event.filename != "" or self.keep_each is None:  # an empty one: none was chosen
                await self.begin_file(event)
        elif self._field is not None:
            self._texts[self._field] += event
            if sum(map(len, self._texts.values())) > parse.MAX_FIELDS_SIZE:
                raise TooLarge("The fields beside the file are too long.")
        elif self.sink is not None:
            await self.sink.write(event)

    async def begin_file(self, part: multipart.Part) -> None:
        """A file begins. One that is announced as large is opened at once, to be refused early."""
        service: Service = self.request.app.state.service
        self.part = part
        begin = partial(self.begin, self.fields)
        self.sink = Sink(begin, service.library.begin_small, part.digest)
        if parse.content_length(self.request) > MAX_SMALL + FORM_OVERHEAD:
            await self.sink.hand_over()
            await self.sink.written()

    async def settle(self) -> None:
        """A part is whole: count a text among the fields, keep a file where each is kept."""
        texts = {name: text.decode("utf-8", "replace") for name, text in self._texts.items()}
        self.fields = self.fields | texts
        self._field = None
        if self.sink is not None:
            await self.sink.written()
            if self.keep_each is not None:
                await self.keep_each(self)
                self.part = self.sink = None

    def whole(self) -> tuple[multipart.Part, Incoming]:
        """The file, once all has arrived. Raises BadRequest where there is none."""
        if self.part is None or self.sink is None:
            raise BadRequest("The form has no file.")
        return self.part, self.sink.rest()


async def read_form(form: Form) -> None:
    """Read the whole body into the form."""
    parser = multipart.Parser(parse.boundary(form.request.headers.get("content-type", "")))
    async for block in parse.body(form.request):
        for event in parser.feed(block):
            await form.take(event)
    for event in parser.close():
        await form.take(event)
    await form.settle()


async def read_bytes(form: Form) -> None:
    """Read a body that is the file itself; its name may stand in a header."""
    headers = form.request.headers
    kind = headers.get("content-type", "")
    header = headers.get("content-disposition", "").encode("latin-1")
    said = multipart.parameters_of(multipart.decoded(header))
    declared = "" if kind.startswith("application/x-www-form-urlencoded") else kind
    digest = headers.get("repr-digest", "")
    await form.begin_file(multipart.Part("file", multipart.filename_of(said), declared, digest))
    async for block in parse.body(form.request):
        if form.sink is not None:
            await form.sink.write(block)
    await form.settle()


async def drain(request: Request) -> None:
    """Read on what is left of a refused body, so that the client can read the answer."""
    with contextlib.suppress(ClientDisconnect, RuntimeError), anyio.move_on_after(_DRAIN_SECONDS):
        async for _ in request.stream():
            pass


@contextlib.asynccontextmanager
async def receiving(form: Form) -> AsyncIterator[None]:
    """Give the bytes up where the block fails, and let the client read why."""
    try:
        yield
    except BaseException as error:
        try:
            if form.sink is not None:
                await form.sink.abort()
        finally:
            if isinstance(error, Refused | OSError | SQLAlchemyError):
                await drain(form.request)
        raise


async def in_turn(request: Request, keep: Callable[[], T]) -> T:
    """Keep an upload in one of a few threads: pictures that take long to look at, and the
    catalog's one writer, must not take everybody else's."""
    limiter: anyio.CapacityLimiter = request.app.state.keeping
    return await anyio.to_thread.run_sync(keep, limiter=limiter)


def _adding(request: Request) -> Form:
    """The form of an upload into the folder that the address names."""
    service: Service = request.app.state.service
    folder_id = request.path_params["id"]

    def begin(fields: parse.Parameters) -> Incoming:
        token = parse.token(request, fields)
        if token is None:
            return service.library.begin_unsigned_file(folder_id)
        declared = parse.content_length(request)
        caller = service.accounts.caller(token)
        once = parse.once(request, holder(caller.user))
        return service.library.begin_file(caller, folder_id, declared, once)

    return Form(request, begin)


async def upload(request: Request) -> Response:
    """POST folders/ID/files: a form with `file`, `filename` and `caption`."""
    form = _adding(request)

    def name() -> str:
        filename = form.part.filename if form.part else None
        return names.file_name(form.fields.get("filename") or filename or "")

    async with receiving(form):
        await read_form(form)
        return await in_turn(request, partial(_keep, form, name))


async def put(request: Request) -> Response:
    """PUT folders/ID/files/NAME: the body is the file, `caption` in the query."""
    form = _adding(request)

    async with receiving(form):
        parse.need_token(request, form.fields)
        name = names.bare_file_name(request.path_params["name"])
        names.caption(form.fields.get("caption", ""))
        await read_bytes(form)
        return await in_turn(request, partial(_keep, form, lambda: name))


def _keep(form: Form, name: Callable[[], str]) -> Response:
    """Make the file that the form describes."""
    service: Service = form.request.app.state.service
    wire: Wire = form.request.app.state.wire
    caller = service.accounts.caller(parse.need_token(form.request, form.fields))
    part, incoming = form.whole()
    try:
        file = service.library.add_file(
            caller,
            form.request.path_params["id"],
            incoming,
            name=name(),
            caption=names.caption(form.fields.get("caption", "")),
            declared_type=part.content_type,
            once=parse.once(form.request, holder(caller.user)),
        )
    except Replayed as first:
        return replayed(json_response(wire.file(service.library.linked_file(first.made[0]))))
    return json_response(wire.file(file))


async def upload_item(request: Request, answer: Callable[[File], Response]) -> Response:
    """UploadItem of API v1: a form with a file in it, or the bare bytes, into a gallery."""
    refuse_other_sites(request)
    service: Service = request.app.state.service
    galleries = service.galleries

    def begin(fields: parse.Parameters) -> Incoming:
        declared = parse.content_length(request)
        if not fields.get("editor_id"):
            return galleries.begin_unplaced()
        user = user_of(request, fields)
        once = _once_into(request, fields["editor_id"], user)
        return galleries.begin(fields["editor_id"], user, declared, once)

    form = Form(request, begin)

    def keep() -> Response:
        part, incoming = form.whole()
        name = form.fields.get("editor_id")
        if not name:
            raise BadRequest("The field editor_id is missing.")
        user = user_of(request, form.fields)
        filename = names.file_name(form.fields.get("filename") or part.filename or UNTITLED)
        once = _once_into(request, name, user)
        try:
            return answer(galleries.keep(name, user, incoming, filename, part.content_type, once))
        except Replayed as first:
            return replayed(answer(service.library.linked_file(first.made[0])))

    async with receiving(form):
        await (read_form if _is_form(request) else read_bytes)(form)
        return await in_turn(request, keep)


def _once_into(request: Request, name: str, user: User | None) -> Once | None:
    """The Idempotency-Key of an upload into the gallery of this name."""
    if "idempotency-key" not in request.headers:
        return None
    galleries: Galleries = request.app.state.service.galleries
    gallery = galleries.addable(name, user).id
    return parse.once(request, holder(user, f"gallery {gallery}"), gallery)


def _is_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "")
    is_multipart = kind.strip().lower().startswith("multipart/form-data")
    return is_multipart and multipart.boundary_of(kind) is not None


async def add_to(
    request: Request,
    find: Callable[[parse.Parameters], Folder],
    filename: str = "",
    once: Once | None = None,
) -> list[File]:
    """Files from a page's form, or one as the bare body, into the folder that `find` gives.

    find       called, in a thread, when the first file begins, with the fields before it
    filename   of a body that tells none
    once       where it was done before: only compared with the first. Raises Replayed
    """
    library: Library = request.app.state.service.library
    known = once is not None and await run_in_threadpool(library.is_known, once)
    folder: Folder | None = None
    made: list[File] = []
    seen: list[list[object]] = []

    def place(fields: parse.Parameters) -> Folder:
        nonlocal folder
        folder = find(fields) if folder is None else folder
        return folder

    def begin(fields: parse.Parameters) -> Incoming:
        if known:
            return library.begin_known()
        declared = 0 if _is_form(request) else parse.content_length(request)  # of one file alone
        return library.begin(place(fields), declared)

    async def keep(form: Form) -> None:
        def kept() -> None:
            where = None if known else place(form.fields)
            part, incoming = form.whole()
            said = part.filename or form.fields.get("filename") or filename
            name = names.file_name(said or UNTITLED)
            if where is None:
                seen.append([name, incoming.size, incoming.sha256])
            else:
                made.append(
                    library.keep(where, incoming, name=name, declared_type=part.content_type)
                )

        await in_turn(request, kept)

    form = Form(request, begin, keep_each=keep)
    async with receiving(form):
        await (read_form if _is_form(request) else read_bytes)(form)
        if not (made or seen):
            raise BadRequest("No file was chosen.")
    if once is not None and known:
        await run_in_threadpool(library.compare, once, seen)
    return made
