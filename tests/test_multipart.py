"""The form parser: framings of every kind, and the same result however the body is cut."""

import time
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minus_server.errors import BadRequest
from minus_server.multipart import MAX_HEADERS, MAX_PARTS, Parser, Part, boundary_of

steady = settings(database=None, derandomize=True, deadline=None)

DATA = b"\r\none\n--\r\n--b\r\n \x00\xff--B \r\r\n-"  # the boundary is B, and none of these is it
FILE = Part("file", "t.bin", "text/plain")
HEADERS = b'Content-Disposition: form-data; name="file"; filename="t.bin"\nContent-Type: text/plain'


def parse(blocks: Iterable[bytes], boundary: bytes = b"B") -> list[tuple[Part, bytes]]:
    """Feed the blocks and join each part's bytes."""
    parser = Parser(boundary)
    found: list[tuple[Part, bytes]] = []
    for event in (event for block in blocks for event in parser.feed(block)):
        found = _joined(found, event)
    for event in parser.close():
        found = _joined(found, event)
    return found


def _joined(found: list[tuple[Part, bytes]], event: Part | bytes) -> list[tuple[Part, bytes]]:
    if isinstance(event, Part):
        return [*found, (event, b"")]
    return [*found[:-1], (found[-1][0], found[-1][1] + event)]


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    return [body[a:b] for a, b in pairwise([0, *sorted(places), len(body)])]


def part(disposition: bytes, *lines: bytes) -> Part:
    """The part that has this Content-Disposition."""
    head = b"\r\n".join(
        [b"--B", b"Content-Disposition: form-data; " + disposition, *lines, b"", b""]
    )
    ((found, data),) = parse([head + b"x\r\n--B--\r\n"])
    assert data == b"x"
    return found


# --- framing ---

FRAMINGS = {
    "carriage returns": b"--B\r\nHEADERS\r\n\r\nDATA\r\n--B--\r\n",
    "line feeds alone": b"--B\nHEADERS\n\nDATA\n--B--\n",
    "line feeds in the headers": b"--B\nHEADERS\n\nDATA\r\n--B--\r\n",
    "line feeds at the boundaries": b"--B\nHEADERS\r\n\r\nDATA\n--B--\n",
    "line feed before the empty line": b"--B\r\nHEADERS\n\r\nDATA\r\n--B--\r\n",
    "no last line end": b"--B\r\nHEADERS\r\n\r\nDATA\r\n--B--",
    "no last dashes": b"--B\r\nHEADERS\r\n\r\nDATA\r\n--B\r\n",
    "no end behind the last boundary": b"--B\r\nHEADERS\r\n\r\nDATA\r\n--B",
    "no last boundary": b"--B\r\nHEADERS\r\n\r\nDATA",
    "a preamble": b"Hello\r\n--A\r\n\r\nDATA\r\n--B\r\nHEADERS\r\n\r\nDATA\r\n--B--\r\n",
    "empty lines before": b"\r\n\n--B\r\nHEADERS\r\n\r\nDATA\r\n--B--\r\n",
    "an epilogue": b"--B\r\nHEADERS\r\n\r\nDATA\r\n--B--\r\nBye\r\n--B\r\n\r\nDATA\r\n--B--",
    "space behind the boundaries": b"--B \t\r\nHEADERS\r\n\r\nDATA\r\n--B  \r\n",
    "folded headers": b"--B\r\ncontent-disposition:form-data;\r\n name=file;\r\n\tfilename=t.bin"
    b"\r\nContent-Type: text/plain\r\n\r\nDATA\r\n--B--",
}


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_a_part_is_read_in_any_framing_and_in_any_cut(framing: bytes) -> None:
    body = framing.replace(b"HEADERS", HEADERS).replace(b"DATA", DATA)
    whole = parse([body])
    assert whole == [(FILE, DATA)]
    for size in (1, 2, 3, 5, 7):
        assert parse(cut(body, range(size, len(body), size))) == whole
    for place in range(len(body)):
        assert parse(cut(body, [place])) == whole


BITS = (b"\r\n--B", b"\n--B", b"--", b"\r\n", b"\n", b"\r", b"\n\n", HEADERS, b"a", b"B", b"Bb")


@steady
@given(st.lists(st.sampled_from(BITS) | st.binary(max_size=3)).map(b"".join), st.data())
def test_any_body_gives_the_same_parts_in_any_cut(body: bytes, data: st.DataObject) -> None:
    whole = parse([body])
    places = data.draw(st.lists(st.integers(0, len(body))))
    assert parse(cut(body, places)) == whole
    assert parse(cut(body, range(1, len(body)))) == whole


@steady
@given(st.lists(st.binary(max_size=30).filter(lambda data: b"\n--B" not in b"\n" + data)))
def test_parts_of_any_bytes_come_out_as_they_went_in(parts: list[bytes]) -> None:
    body = b"".join(b"--B\r\n" + HEADERS + b"\r\n\r\n" + data + b"\r\n" for data in parts)
    assert parse([body + b"--B--\r\n"]) == [(FILE, data) for data in parts]


@pytest.mark.parametrize(
    "body",
    [
        b"--B\r\n\r\n\r\n--B\r\n\r\n\r\n--B--",
        b"--B\n\n\n--B\n\n\n--B--",
        b"--B\r\n\r\n--B\r\n\r\n--B--",
        b"--B\n\n--B\n\n--B",
    ],
)
def test_a_part_may_be_empty_and_have_no_headers(body: bytes) -> None:
    assert parse([body]) == [(Part("", None, ""), b"")] * 2
    assert parse(cut(body, range(len(body)))) == [(Part("", None, ""), b"")] * 2


@pytest.mark.parametrize(
    "body", [b"", b"--B--", b"--B", b"no boundary at all\r\n" * 100, b"--B\r\nX: y"]
)
def test_a_body_may_have_no_part(body: bytes) -> None:
    assert parse([body]) == []


def test_bytes_are_handed_on_before_the_part_ends() -> None:
    parser = Parser(b"B")
    assert list(parser.feed(b"--B\n" + HEADERS + b"\n\n")) == [FILE]
    assert list(parser.feed(b"x" * 1_000_000)) == [b"x" * (1_000_000 - 5)]
    assert list(parser.close()) == [b"xxxxx"]


def test_a_part_without_a_file_name_has_none_and_an_empty_one_has_it() -> None:
    assert part(b'name="caption"') == Part("caption", None, "")
    assert part(b'name="file"; filename=""') == Part("file", "", "")
    assert part(b'name="a b"', b"Content-Type:  image/png; x=y ") == Part(
        "a b", None, "image/png; x=y"
    )


# --- the names of files ---


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        (b'filename="t.bin"', "t.bin"),
        (b"filename=t.bin", "t.bin"),
        (b"filename = t.bin ; x=y", "t.bin"),
        (b"filename=my file.txt", "my file.txt"),
        (b'FileName="t.bin"', "t.bin"),
        (b'filename="a;b=c.txt"', "a;b=c.txt"),
        (rb'filename="a\"b\\c.txt"', r"a\"b\c.txt".replace(r"\"", '"')),
        (b'filename="a%22b.txt"', 'a"b.txt'),
        (rb'filename="C:\dir\t.bin"', r"C:\dir\t.bin"),
        ('filename="naïve.txt"'.encode(), "naïve.txt"),
        ('filename="naïve.txt"'.encode("latin-1"), "naïve.txt"),
        (b"filename*=UTF-8''na%C3%AFve%20%2525.txt", "naïve %25.txt"),
        (b"filename*=utf-8'en'%e2%82%ac", "€"),
        (b"filename*=ISO-8859-1''na%EFve", "naïve"),
        (b"filename*=\"UTF-8''%e2%82%ac\"", "€"),
        (b"filename=\"euro\"; filename*=UTF-8''%e2%82%ac", "€"),
        (b"filename*=UTF-8''%e2%82%ac; filename=\"euro\"", "€"),
        (b"filename*=idna''%ff", "\ufffd"),
        (b"filename*=nonsense; filename=t.bin", "t.bin"),
        (b"filename*" + b"9" * 5000 + b"=x; filename=t.bin", "t.bin"),
        (b'filename="first"; filename="second"', "first"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_file_name_is_read_in_any_spelling(disposition: bytes, filename: str) -> None:
    assert part(b'name="file"; ' + disposition) == Part("file", filename, "")
    assert part(disposition + b'; name="file"') == Part("file", filename, "")


def test_a_file_name_cannot_pass_for_another_parameter() -> None:
    assert part(b'filename="a; name=evil"; name="file"') == Part("file", "a; name=evil", "")
    assert part(b'name="file"; filename="a; name=evil') == Part("file", "a; name=evil", "")
    assert part(b'name="x; filename=evil"') == Part("x; filename=evil", None, "")


@pytest.mark.parametrize(
    "filler", [b";", b'";', b" ", b"a ", b"\\", b'\\"', b"=", b"; a=b", b"\t;"]
)
def test_hostile_headers_cost_little(filler: bytes) -> None:
    value = filler * (16_000 // len(filler))
    before = time.process_time()
    for start in (b"", b'name="', b"filename*=", b'filename="x', b"filename"):
        part(start + value)
    assert time.process_time() - before < 1


# --- limits ---


def refused(body: bytes, size: int) -> str:
    """Why a body is refused that comes in blocks of this size."""
    with pytest.raises(BadRequest) as error:
        parse(cut(body, range(size, len(body), size)))
    return str(error.value)


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_a_form_of_too_many_parts_is_refused(size: int) -> None:
    body = b"--B\n\nx\n" * MAX_PARTS
    assert len(parse(cut(body, range(size, len(body), size)))) == 100
    assert refused(body + b"--B\n\nx\n", size) == "The form has more than 100 parts."


@pytest.mark.parametrize("size", [1, 1000, MAX_HEADERS, 1 << 20])
def test_headers_that_are_too_long_are_refused_in_any_cut(size: int) -> None:
    fits = b"--B\r\nX: " + b"x" * (MAX_HEADERS - 8) + b"\r\n\r\ndata"
    assert parse(cut(fits, range(size, len(fits), size))) == [(Part("", None, ""), b"data")]
    longer = fits.replace(b"X: ", b"XX: ")
    assert refused(longer, size) == "The headers of a part of the form are too long."
    endless = b"--B\n" + b"X: y\n" * 10_000
    assert refused(endless, size) == "The headers of a part of the form are too long."


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_a_boundary_line_that_is_too_long_is_refused_in_any_cut(size: int) -> None:
    fits = b"--B" + b" " * MAX_HEADERS + b"\n\ndata"
    assert parse(cut(fits, range(size, len(fits), size))) == [(Part("", None, ""), b"data")]
    longer = fits.replace(b"B ", b"B  ")
    assert refused(longer, size) == "A boundary's line of the form does not end."


# --- the boundary ---


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=B", b"B"),
        ('multipart/form-data; boundary="a b;c"', b"a b;c"),
        ("Multipart/Form-Data;BOUNDARY=----x; charset=utf-8", b"----x"),
        ("multipart/form-data; boundary=B,C", b"B"),
        ("multipart/form-data; boundary=\xe9", b"\xe9"),
        ("multipart/form-data; boundary=", None),
        ('multipart/form-data; boundary=""', None),
        ("multipart/form-data", None),
        ("", None),
    ],
)
def test_the_boundary_is_what_the_content_type_names(
    content_type: str, boundary: bytes | None
) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize("boundary", [b"a b;c", b"----x", b"(.*)+?", b"\xe9", b"B" * 200])
def test_any_boundary_separates_parts(boundary: bytes) -> None:
    body = b"--%b\r\n\r\none\r\n--%b\r\n\r\ntwo\r\n--%b--" % (boundary, boundary, boundary)
    assert [data for _, data in parse([body], boundary)] == [b"one", b"two"]
