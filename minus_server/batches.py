"""Many small files in one request, all or none."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator
from weakref import WeakValueDictionary

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from minus_server import multipart, names, parse
from minus_server.blobs import MAX_SMALL
from minus_server.catalog import Folder
from minus_server.endpoints import json_response, replayed
from minus_server.errors import BadRequest, DigestMismatch, Refused, TimedOut, TooLarge
from minus_server.library import Small
from minus_server.repeats import Once, Replayed, holder
from minus_server.service import Service
from minus_server.uploads import drain, in_turn
from minus_server.wire import FILE, Wire, file_columns

BATCH_FILES = 1_000
BATCH_FILE_BYTES = MAX_SMALL  # of one file
BATCH_BYTES = 2 << 20  # of all the files
MAX_BODY = 2 * BATCH_BYTES  # bytes, with all headers: it is held in memory
AT_ONCE = 16  # bodies that are held; others wait before they are read
OF_ONE = 4  # of them, of one user
GRACE_SECONDS = 60  # in which a body need not come; the rest at _LEAST_RATE, our own time included
_LEAST_RATE = 16 * 1024  # bytes a second: who comes slower keeps others waiting
_FIELDS = names.some_of(tuple(FILE))


class Slots:
    """Who may hold a body: so many requests at once, and not all of them one user's."""

    def __init__(self) -> None:
        self._every = anyio.CapacityLimiter(AT_ONCE)
        self._of: WeakValueDictionary[int, anyio.CapacityLimiter] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def take(self, user_n: int) -> AsyncIterator[None]:
        """Wait for a place."""
        mine = self._of.get(user_n)
        if mine is None:
            mine = self._of[user_n] = anyio.CapacityLimiter(OF_ONE)
        async with mine, self._every:
            yield


async def add(request: Request) -> Response:
    """POST folders/ID/batch: a form of which each `file` is a file."""
    service: Service = request.app.state.service
    query = parse.query(request)
    token = parse.need_token(request, query)

    def check() -> tuple[int, Folder, tuple[str, ...], Once | None]:
        caller = service.accounts.caller(token)
        folder = service.library.folder_to_fill(caller, request.path_params["id"])
        wanted = _FIELDS(query["fields"]) if "fields" in query else tuple(FILE)
        return caller.user.n, folder, wanted, parse.once(request, holder(caller.user))

    try:
        boundary = parse.boundary(request.headers.get("content-type", ""))
        user_n, folder, wanted, once = await run_in_threadpool(check)
        slots: Slots = request.app.state.batches
        async with slots.take(user_n):
            body = await _body(request)
            return await in_turn(
                request, lambda: _keep(request, folder, boundary, body, wanted, once)
            )
    except (Refused, OSError):
        await drain(request)
        raise


async def _body(request: Request) -> bytes:
    """The whole body. Raises TooLarge, before it comes where its length is told; TimedOut"""
    refusal = TooLarge(f"A batch has at most {MAX_BODY} bytes, its headers included.")
    if parse.content_length(request) > MAX_BODY:
        raise refusal
    blocks, size = [], 0
    try:
        with anyio.fail_after(GRACE_SECONDS) as scope:
            least = scope.deadline
            async for block in parse.body(request, _LEAST_RATE):
                blocks.append(block)
                size += len(block)
                if size > MAX_BODY:
                    raise refusal
                scope.deadline = least + size / _LEAST_RATE
    except TimeoutError:
        raise TimedOut(f"Less than {_LEAST_RATE} bytes a second came.") from None
    return b"".join(blocks)


def _keep(
    request: Request,
    folder: Folder,
    boundary: bytes,
    body: bytes,
    wanted: tuple[str, ...],
    once: Once | None,
) -> Response:
    service: Service = request.app.state.service
    wire: Wire = request.app.state.wire
    files = list(_files(multipart.Parser(boundary, BATCH_FILES + multipart.MAX_PARTS), body))
    if not files:
        raise BadRequest("The form has no file.")
    keys = [key for key in FILE if key in wanted or key == "id"]
    columns = file_columns(keys)
    try:
        made = service.library.keep_small(folder, files, columns, once)
    except Replayed as first:
        made = service.library.named_files(folder, first.made, columns)
        return replayed(json_response({"results": wire.files(keys, columns, made)}))
    return json_response({"results": wire.files(keys, columns, made)})


def _files(parser: multipart.Parser, body: bytes) -> Iterator[Small]:
    """The files of the form, checked; a refusal tells which one is to blame."""
    count = size = 0
    for part, data in _parts(parser, body):
        if part.name != "file":
            continue
        count, size = count + 1, size + len(data)
        try:
            if count > BATCH_FILES:
                raise TooLarge(f"A batch has at most {BATCH_FILES} files.")
            if size > BATCH_BYTES:
                raise TooLarge(f"The files of a batch have at most {BATCH_BYTES} bytes.")
            yield _file(part, data)
        except Refused as error:
            error.file = part.filename or ""
            raise


def _parts(parser: multipart.Parser, body: bytes) -> Iterator[tuple[multipart.Part, bytes]]:
    """The parts of the form, each with its bytes."""
    part: multipart.Part | None = None
    blocks: list[bytes] = []
    for events in (parser.feed(body), parser.close()):
        for event in events:
            if isinstance(event, bytes):
                blocks.append(event)
                continue
            if part is not None:
                yield part, b"".join(blocks)
            part, blocks = event, []
    if part is not None:
        yield part, b"".join(blocks)


def _file(part: multipart.Part, data: bytes) -> Small:
    if len(data) > BATCH_FILE_BYTES:
        raise TooLarge(f"A file of a batch has at most {BATCH_FILE_BYTES} bytes.")
    sha256 = hashlib.sha256(data).hexdigest()
    if part.digest and names.digest(part.digest) not in (None, sha256):
        raise DigestMismatch("Other bytes came than the Repr-Digest tells of.")
    return Small(
        name=names.file_name(part.filename or ""),
        caption=names.caption(part.description),
        declared_type=part.content_type,
        data=data,
        sha256=sha256,
    )
