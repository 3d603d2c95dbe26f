"""Files of a folder as one tar stream: POSIX pax, each member with its id and its digest.

Written by hand: of many small files the framing is the work, and `tarfile` takes ten times as
long for it. The length is known before the first byte, so the names and sizes are gathered
first; digests and keys follow as the stream goes on, some hundred files at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from minus_server import names, parse
from minus_server.blobs import MAX_SMALL, BlobMissing
from minus_server.catalog import Folder, Part
from minus_server.endpoints import NAMED, Field, check
from minus_server.errors import TooLarge
from minus_server.links import HARMLESS, disposition, sent, stored
from minus_server.service import Service
from minus_server.zips import member_name, member_names

MATCHING = NAMED
CHOSEN = {"ids": Field(names.some_ids, "ids of files, as a JSON list", required=True)}

_AT_ONCE = 256  # files
_TOGETHER = 4 << 20  # bytes of small files that are held at once
_OUT = 1 << 20  # bytes of a block of the stream, from small files
_UNIT = 512  # bytes: everything in a tar begins at a multiple
_MAX_SIZE = 8 << 30  # bytes: the field of the size takes eleven octal digits
_MAX_NAME = 100  # bytes
_END = bytes(2 * _UNIT)


class Member(NamedTuple):
    """A file as far as it must be known before the stream begins."""

    n: int
    name: str
    size: int


_FIRST = Member._fields
_THEN = ("id", "sha256", "uploaded", "blob")
_Rest = dict[int, Sequence[Any]]  # what follows, `_THEN`, of files that it is known of
_Find = Callable[[Service, Folder, dict[str, Any]], tuple[list[Member], _Rest]]


# --- the framing ---

_MODE_AND_OWNER = b"0000644\0" + 2 * b"0000000\0"
_TAIL = b"ustar\x0000" + bytes(64) + 2 * b"0000000\0" + bytes(167)
_SUM = sum(_MODE_AND_OWNER) + sum(_TAIL) + 8 * ord(" ")  # the checksum counts as spaces


def _header(name: bytes, size: int, mtime: int, kind: bytes) -> bytes:
    """A block of ustar; what does not fit stands in the extended header before it."""
    numbers = b"%011o\0%011o\0" % (size, mtime)
    checksum = _SUM + sum(name) + sum(numbers) + kind[0]
    return b"%b%b%b%06o\0 %b%b%b" % (
        name.ljust(_MAX_NAME, b"\0"),
        _MODE_AND_OWNER,
        numbers,
        checksum,
        kind,
        bytes(100),
        _TAIL,
    )


def _record(key: str, value: str) -> bytes:
    """A line of an extended header, which begins with its own length."""
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 1
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return b"%d%b" % (length, rest)


def _padded(size: int) -> int:
    return -(-size // _UNIT) * _UNIT


def _fill(size: int) -> bytes:
    return bytes(-size % _UNIT)


def _exceptions(member: Member, shown: str) -> bytes:
    """The records of a member whose name or size does not fit, or whose name was changed."""
    records = b""
    if len(shown) > _MAX_NAME or not shown.isascii():
        records += _record("path", shown)
    if member.size >= _MAX_SIZE:
        records += _record("size", str(member.size))
    if shown != member.name:
        records += _record("MINUS.name", member.name)
    return records


_ALWAYS = len(_record("MINUS.id", "i" * names.ID_LENGTH) + _record("MINUS.sha256", "0" * 64))


def _length(members: Sequence[Member], shown: Sequence[str]) -> int:
    """The bytes of the whole stream."""
    return len(_END) + sum(
        2 * _UNIT + _padded(_ALWAYS + len(_exceptions(member, name))) + _padded(member.size)
        for member, name in zip(members, shown, strict=True)
    )


def _heading(member: Member, shown: str, file_id: str, sha256: str, uploaded: int) -> bytes:
    """All that stands before a member's bytes."""
    # An id and a digest have one length each, so these two records are always the same ones.
    records = b"25 MINUS.id=%b\n81 MINUS.sha256=%b\n" % (file_id.encode(), sha256.encode())
    records = _exceptions(member, shown) + records
    plain = shown.encode("ascii", "replace")[:_MAX_NAME]
    return b"%b%b%b%b" % (
        _header(b"PaxHeaders/" + file_id.encode(), len(records), uploaded, b"x"),
        records,
        _fill(len(records)),
        _header(plain, member.size if member.size < _MAX_SIZE else 0, uploaded, b"0"),
    )


def _stream(
    service: Service,
    folder: Folder,
    members: Sequence[Member],
    shown: Sequence[str],
    rest: _Rest,
) -> Iterator[bytes]:
    """The stream. Raises BlobMissing or OSError where a file's bytes are gone."""
    out = bytearray()
    queue = iter(zip(members, shown, strict=True))
    while some := _next(queue):
        ns = [member.n for member, _ in some]
        rows = rest or service.library.numbered_files(folder, ns, _THEN)
        keys = [rows[m.n][-1] for m, _ in some if m.n in rows and m.size <= MAX_SMALL]
        at_hand = service.blobs.several(keys)
        for member, name in some:
            if member.n not in rows:
                raise BlobMissing("a file was deleted meanwhile")
            file_id, sha256, uploaded, key = rows[member.n]
            out += _heading(member, name, file_id, sha256, uploaded)
            data = at_hand.get(key)
            for block in (data,) if data is not None else stored(service.blobs, key, member.size):
                out += block
                if len(out) >= _OUT:
                    yield bytes(out)
                    out.clear()
            out += _fill(member.size)
    yield bytes(out + _END)


def _next(queue: Iterator[tuple[Member, str]]) -> list[tuple[Member, str]]:
    """The next members: so many that those of them which are small may be held at once."""
    some, held = [], 0
    for member, name in islice(queue, _AT_ONCE):
        some.append((member, name))
        held += member.size if member.size <= MAX_SMALL else 0
        if held + MAX_SMALL > _TOGETHER:
            break
    return some


# --- the requests ---


def _of_match(
    service: Service, folder: Folder, fields: dict[str, Any]
) -> tuple[list[Member], _Rest]:
    part = Part(names.MAX_ORDER + 1, name=fields.get("name"), match=fields.get("match"))
    members = [Member(*row) for row in service.library.some_files(folder, _FIRST, part).rows]
    if len(members) > names.MAX_ORDER:
        raise TooLarge(f"More than {names.MAX_ORDER} files: ask for some of them by ids.")
    return members, {}


def _of_ids(service: Service, folder: Folder, fields: dict[str, Any]) -> tuple[list[Member], _Rest]:
    rows = service.library.named_files(folder, fields["ids"], (*_FIRST, *_THEN))
    split = len(_FIRST)
    return [Member(*row[:split]) for row in rows], {row[0]: row[split:] for row in rows}


async def _answer(request: Request, declared: dict[str, Field], find: _Find) -> Response:
    parameters = await parse.parameters(request)
    token = parse.need_token(request, parameters)
    service: Service = request.app.state.service

    def gather() -> tuple[Folder, list[Member], list[str], _Rest]:
        caller = service.accounts.caller(token)
        fields = check(declared, parameters)
        folder = service.library.folder(caller, request.path_params["id"])
        service.library.keep_alive(folder)
        members, rest = find(service, folder, fields)
        return folder, members, member_names(members), rest

    folder, members, shown, rest = await run_in_threadpool(gather)
    headers = {
        **HARMLESS,
        "Content-Disposition": disposition("attachment", f"{member_name(folder.name)}.tar"),
        "Content-Length": str(_length(members, shown)),
        "Cache-Control": "private, no-cache",
    }
    if request.method == "HEAD":
        return Response(headers=headers, media_type="application/x-tar")
    blocks = sent(_stream(service, folder, members, shown, rest), "A tar stream")
    return StreamingResponse(blocks, headers=headers, media_type="application/x-tar")


async def matching(request: Request) -> Response:
    """GET folders/ID/tar: the files that fit `name` and `match`, all without either."""
    return await _answer(request, MATCHING, _of_match)


async def chosen(request: Request) -> Response:
    """POST folders/ID/tar: the files of these `ids`."""
    return await _answer(request, CHOSEN, _of_ids)
