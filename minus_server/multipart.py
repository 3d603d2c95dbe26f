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
_FOLDED = re.compile(rb"\n[ \t]+")
_PARAMETER = re.compile(r"""(?:^|[;\s])([^\s=;"]+)\s*=\s*(?:"((?:\\["\\]|[^"])*)"?|([^;]*))""")


@dataclass
class Part:
    """The beginning of a part: its field's name, its file's name and type where it has them."""

    name: str
    filename: str | None
    content_type: str


Event = Part | bytes  # a part begins; bytes of the part begun last


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a Content-Type names, None when it names none."""
    found = _BOUNDARY.search(content_type)
    return None if found is None else (found[1] or found[2]).encode("latin-1", "replace")


class Parser:
    """Feed it blocks of any size, each gives the events that are certain by then.

    Lines may end in CRLF or LF; text before the first boundary and behind the last one is
    passed over; the last boundary may be cut short or absent, `close` then ends the part.
    """

    def __init__(self, boundary: bytes) -> None:
        self._mark = b"\n--" + boundary
        self._buffer = b"\n"  # so that a boundary on the first line is found as any other
        self._state = self._skip
        self._parts = 0
        self._ended = False

    def feed(self, block: bytes) -> Iterator[Event]:
        """Take the next bytes of the body. Raises BadRequest on too many or too long parts."""
        self._buffer += block
        while not self._ended and (events := self._state()) is not None:
            yield from events

    def close(self) -> Iterator[Event]:
        """Take the end of the body."""
        rest = self._buffer[1:] if self._state == self._first_data else self._buffer
        if rest and self._state in (self._first_data, self._data):
            yield rest
        self._ended = True

    def _skip(self) -> list[Event] | None:
        """Before a boundary: nothing counts."""
        at = self._buffer.find(self._mark)
        if at < 0:
            self._buffer = self._buffer[-len(self._mark) :]
            return None
        self._buffer = self._buffer[at + len(self._mark) :]
        self._state = self._after_mark
        return []

    def _after_mark(self) -> list[Event] | None:
        """Behind a boundary: the rest of its line, `--` when it is the last one."""
        if self._buffer.startswith(b"--"):
            self._ended = True
            return []
        at = self._buffer.find(b"\n")
        if (at if at >= 0 else len(self._buffer)) > MAX_HEADERS:
            raise BadRequest("A boundary's line of the form does not end.")
        if at < 0:
            return None
        self._buffer = self._buffer[at:]
        self._state = self._headers
        return []

    def _headers(self) -> list[Event] | None:
        """The lines up to an empty one. The buffer begins with the line feed before them."""
        ends = [
            at + len(end) for end in (b"\n\r\n", b"\n\n") if (at := self._buffer.find(end)) >= 0
        ]
        end = min(ends, default=len(self._buffer) + 1)
        if end > MAX_HEADERS:
            raise BadRequest("The headers of a part of the form are too long.")
        if not ends:
            return None
        head, self._buffer = self._buffer[:end], b"\n" + self._buffer[end:]
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise BadRequest(f"The form has more than {MAX_PARTS} parts.")
        self._state = self._first_data
        return [_part(head)]

    def _first_data(self) -> list[Event] | None:
        """An empty part's boundary follows its headers at once: the extra line feed finds it."""
        if len(self._buffer) < len(self._mark) and self._mark.startswith(self._buffer):
            return None
        if self._buffer.startswith(self._mark):
            self._state = self._skip
            return []
        self._buffer = self._buffer[1:]
        self._state = self._data
        return []

    def _data(self) -> list[Event] | None:
        """Bytes of the part, up to the line break before the next boundary."""
        at = self._buffer.find(self._mark)
        if at >= 0:
            end = at - 1 if self._buffer[at - 1 : at] == b"\r" else at
            data, self._buffer = self._buffer[:end], self._buffer[at:]
            self._state = self._skip
            return [data] if data else []
        keep = len(self._mark) + 1
        if len(self._buffer) <= keep:
            return None
        data, self._buffer = self._buffer[:-keep], self._buffer[-keep:]
        return [data]


def _part(head: bytes) -> Part:
    """Read a part's headers; names of files come in UTF-8, else in Latin-1."""
    headers: dict[str, str] = {}
    for line in _FOLDED.sub(b" ", head.replace(b"\r", b"")).split(b"\n"):
        name, _, value = line.partition(b":")
        headers.setdefault(name.strip().decode("latin-1").lower(), decoded(value.strip()))
    parameters = parameters_of(headers.get("content-disposition", ""))
    return Part(
        name=parameters.get("name", ""),
        filename=filename_of(parameters),
        content_type=headers.get("content-type", ""),
    )


def parameters_of(disposition: str) -> dict[str, str]:
    """The parameters of a Content-Disposition."""
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
