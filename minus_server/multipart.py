"""multipart/form-data, read as it arrives, in whatever framing the programs of the time sent.

The parsers on PyPI were tried (`multipart` 2.0, `python-multipart` 0.0.34): both refuse bare
line feeds and a form without its closing line, which this service must take. Hence our own.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from minus_server.errors import BadRequest

MAX_HEADERS = 16 * 1024  # bytes of one part's headers
MAX_PARTS = 100
_BOUNDARY = re.compile(r"""boundary=(?:"([^"]{1,200})"|([^\s;,"]{1,200}))""", re.IGNORECASE)
_HEADERS = (b"content-disposition", b"content-type", b"repr-digest", b"content-description")
_FOLDED = re.compile(rb"\n[ \t]+")
_USUAL = re.compile(r'form-data; name="([^"\\]*)"(?:; filename="([^"\\]*)")?')
_PARAMETER = re.compile(r"""(?:^|[;\s])([^\s=;"]+)\s*=\s*(?:"((?:\\["\\]|[^"])*)"?|([^;]*))""")


@dataclass
class Part:
    """The beginning of a part: its field's name, its file's name and type where it has them."""

    name: str
    filename: str | None
    content_type: str
    digest: str = ""  # Repr-Digest
    description: str = ""  # Content-Description


Event = Part | bytes  # a part begins; bytes of the part begun last


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a Content-Type names, None when it names none."""
    found = _BOUNDARY.search(content_type)
    return None if found is None else (found[1] or found[2]).encode("latin-1", "replace")


class Parser:
    """Feed it blocks of any size, each gives the events that are certain by then.

    Lines may end in CRLF or LF; text before the first boundary and behind the last one is
    passed over; the last boundary may be cut short or absent, `close` then ends the part.

    most   parts of the form
    """

    def __init__(self, boundary: bytes, most: int = MAX_PARTS) -> None:
        self._mark = b"\n--" + boundary
        self._most = most
        self._buffer = b"\n"  # so that a boundary on the first line is found as any other
        self._at = 0  # what stands before it in the buffer is done with
        self._state = self._skip
        self._parts = 0
        self._ended = False

    def feed(self, block: bytes) -> Iterator[Event]:
        """Take the next bytes of the body. Raises BadRequest on too many or too long parts."""
        self._buffer = self._buffer[self._at :] + block
        self._at = 0
        while not self._ended and (events := self._state()) is not None:
            yield from events

    def close(self) -> Iterator[Event]:
        """Take the end of the body."""
        rest = self._buffer[self._at + (self._state == self._first_data) :]
        if rest and self._state in (self._first_data, self._data):
            yield rest
        self._ended = True

    def _left(self) -> int:
        return len(self._buffer) - self._at

    def _skip(self) -> list[Event] | None:
        """Before a boundary: nothing counts."""
        at = self._buffer.find(self._mark, self._at)
        if at < 0:
            self._at = max(self._at, len(self._buffer) - len(self._mark))
            return None
        self._pass_mark(at)
        return []

    def _pass_mark(self, at: int) -> None:
        self._at = at + len(self._mark)
        self._state = self._after_mark

    def _after_mark(self) -> list[Event] | None:
        """Behind a boundary: the rest of its line, `--` when it is the last one."""
        if self._buffer.startswith(b"--", self._at):
            self._ended = True
            return []
        at = self._buffer.find(b"\n", self._at, self._at + MAX_HEADERS + 1)
        if at < 0 and self._left() > MAX_HEADERS:
            raise BadRequest("A boundary's line of the form does not end.")
        if at < 0:
            return None
        self._at = at
        self._state = self._headers
        return []

    def _headers(self) -> list[Event] | None:
        """The lines up to an empty one. The buffer's rest begins with the line feed before them."""
        end = self._end_of_headers()
        if end < 0 and self._left() >= MAX_HEADERS:
            raise BadRequest("The headers of a part of the form are too long.")
        if end < 0:
            return None
        head = self._buffer[self._at : end]
        self._at = end - 1  # its line feed: an empty part's boundary follows at once
        self._parts += 1
        if self._parts > self._most:
            raise BadRequest(f"The form has more than {self._most} parts.")
        self._state = self._first_data
        return [_part(head)]

    def _end_of_headers(self) -> int:
        """Where the empty line ends, -1 where it is not there within MAX_HEADERS."""
        at, last = self._at, self._at + MAX_HEADERS
        end = self._buffer.find(b"\n\r\n", at, last)
        bare = self._buffer.find(b"\n\n", at, last if end < 0 else end + 1)
        if bare >= 0:
            return bare + 2
        return end if end < 0 else end + 3

    def _first_data(self) -> list[Event] | None:
        """An empty part's boundary follows its headers at once: their line feed finds it."""
        if self._left() < len(self._mark) and self._mark.startswith(self._buffer[self._at :]):
            return None
        if self._buffer.startswith(self._mark, self._at):
            self._pass_mark(self._at)
            return []
        self._at += 1
        self._state = self._data
        return []

    def _data(self) -> list[Event] | None:
        """Bytes of the part, up to the line break before the next boundary."""
        start = self._at
        at = self._buffer.find(self._mark, start)
        if at >= 0:
            end = at - 1 if self._buffer.startswith(b"\r", max(start, at - 1), at) else at
            self._pass_mark(at)
            return [self._buffer[start:end]] if end > start else []
        keep = len(self._mark) + 1
        if self._left() <= keep:
            return None
        self._at = len(self._buffer) - keep
        return [self._buffer[start : self._at]]


def _part(head: bytes) -> Part:
    """Read a part's headers; names of files come in UTF-8, else in Latin-1."""
    lines = head.replace(b"\r", b"")
    if b"\n " in lines or b"\n\t" in lines:
        lines = _FOLDED.sub(b" ", lines)
    headers: dict[bytes, str] = {}
    for line in lines.split(b"\n"):
        name, _, value = line.partition(b":")
        known = name.strip().lower()
        if known in _HEADERS and known not in headers:
            headers[known] = decoded(value.strip())
    parameters = parameters_of(headers.get(b"content-disposition", ""))
    return Part(
        parameters.get("name", ""),
        filename_of(parameters),
        headers.get(b"content-type", ""),
        headers.get(b"repr-digest", ""),
        headers.get(b"content-description", ""),
    )


def parameters_of(disposition: str) -> dict[str, str]:
    """The parameters of a Content-Disposition."""
    if usual := _USUAL.fullmatch(disposition):
        name, filename = usual.groups()
        return {"name": name} if filename is None else {"name": name, "filename": filename}
    parameters: dict[str, str] = {}
    for key, quoted, plain in _PARAMETER.findall(disposition):
        text = re.sub(r'\\(["\\])', r"\1", quoted) or plain.strip()
        parameters.setdefault(key.lower(), text)
    return parameters


def decoded(value: bytes) -> str:
    """Text of a header: UTF-8, else Latin-1."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def filename_of(parameters: dict[str, str]) -> str | None:
    """The file's name: `filename*` (RFC 8187) before `filename`, in which %22 is a quote."""
    charset, *rest = parameters.get("filename*", "").split("'", 2)
    if len(rest) == 2:
        encoding = "latin-1" if charset.lower() == "iso-8859-1" else "utf-8"
        return unquote(rest[1], encoding=encoding, errors="replace")
    name = parameters.get("filename")
    return None if name is None else name.replace("%22", '"')
