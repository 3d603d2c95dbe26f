"""Files on their way in: the body of a request, block by block, into the store."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from minus_server import multipart, names, parse
from minus_server.endpoints import json_response
from minus_server.errors import BadRequest, Refused, TooLarge
from minus_server.library import Incoming
from minus_server.service import Service
from minus_server.wire import JSON, Wire

BLOCK = 1 << 20  # bytes handed to the writing thread at once
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
        await run_in_threadpool(self.incoming.writer.abort)


@dataclass
class Form:
    """A multipart form with one file in it, as far as it has arrived."""

    fields: parse.Parameters
    part: multipart.Part | None = None
    sink: Sink | None = None
    _field: str | None = None
    _texts: dict[str, bytes] = field(default_factory=dict)

    async def take(self, event: multipart.Event, begin: Begin) -> None:
        """Take what the parser saw; `begin` is called with the fields before the file."""
        if isinstance(event, multipart.Part):
            self.settle()
            self._field = None
            if event.filename is None and event.name != "file":
                self._field = event.name
                self._texts[event.name] = b""
                return
            if self.part is not None:
                raise BadRequest("The form has more than one file.")
            self.part = event
            self.sink = Sink(await begin(self.fields))
        elif self._field is not None:
            self._texts[self._field] += event
            if sum(map(len, self._texts.values())) > parse.MAX_FIELDS_SIZE:
                raise TooLarge("The fields beside the file are too long.")
        elif self.sink is not None:
            await self.sink.write(event)

    def settle(self) -> None:
        """Count the texts that are whole among the fields."""
        texts = {name: text.decode("utf-8", "replace") for name, text in self._texts.items()}
        self.fields = self.fields | texts


async def read_form(request: Request, form: Form, begin: Begin) -> None:
    """Read the whole body into the form."""
    parser = multipart.Parser(parse.boundary(request.headers.get("content-type", "")))
    async for block in parse.body(request):
        for event in parser.feed(block):
            await form.take(event, begin)
    for event in parser.close():
        await form.take(event, begin)
    form.settle()
    if form.sink is not None:
        await form.sink.finish()


async def drain(request: Request) -> None:
    """Read on what is left of a refused body, so that the client can read the answer."""
    with contextlib.suppress(ClientDisconnect, RuntimeError), anyio.move_on_after(_DRAIN_SECONDS):
        async for _ in request.stream():
            pass


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

    try:
        await read_form(request, form, begin)
        return json_response(await run_in_threadpool(_keep, request, form))
    except BaseException as error:
        if form.sink is not None:
            await form.sink.abort()
        if isinstance(error, Refused | OSError):
            await drain(request)
        raise


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
