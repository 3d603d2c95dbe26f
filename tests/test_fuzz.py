"""Untrusted input that nobody thought of: no 500, no traceback, no hang, no way out of a folder.

`MINUS_FUZZ=N python -m pytest tests/test_fuzz.py -s` runs N times as many cases, new ones each
time, and tells how many; without it they are the same in every run.
"""

import base64
import hashlib
import io
import json
import os
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import pytest
import schemathesis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from starlette.datastructures import Headers

import minus
from minus import MinusAPIError, MinusConfigError, MinusConnection, MinusFile, PagedList
from minus_server import links, multipart, names, parse
from minus_server.errors import Refused
from tests.live import Service
from tests.rawhttp import Client, Row, new_user, part
from tests.rawhttp import multipart as form_of
from tests.shell_helpers import text_stream

TIMES = int(os.environ.get("MINUS_FUZZ", "0"))
PATIENCE = 20  # seconds for an answer
T = TypeVar("T")
ran: Counter[str] = Counter()


def cases(examples: int) -> settings:
    """How many, and whether they are new."""
    return settings(
        max_examples=examples * (TIMES or 1),
        derandomize=not TIMES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module", autouse=True)
def figures() -> Iterator[None]:
    yield
    print(f"\n{ran.total()} cases: {dict(ran)}")


def refused_or(act: Callable[[], T], *kinds: type[Exception]) -> T | None:
    """What it gives; None where it refuses as it should."""
    try:
        return act()
    except kinds:
        return None


# --- the service over HTTP, as its own description says ---


@pytest.fixture(scope="module")
def user(service: Service) -> Client:
    return new_user(service, "fuzz")


schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
Case = schemathesis.Case[Any]


def test_the_service_never_fails_whatever_its_description_allows_or_forbids(
    service: Service, user: Client
) -> None:
    schema = schemathesis.openapi.from_url(f"{service.url}openapi.json")
    folder = user.folder()
    known = {
        "folders/{id}": {"id": folder["id"]},
        "files/{id}": {"id": user.upload(folder=folder)["id"]},
        "users/{slug}": {"slug": user.slug},
        "{link}": {"link": user.upload(folder=folder)["id"]},
    }
    answers: Counter[int] = Counter()

    def ask(place: Row, case: Case, hit: bool) -> None:
        if hit and case.method != "DELETE":  # else it is gone for those that follow
            case.path_parameters.update(place)
        answer = case.call(headers=user.bearer(), timeout=PATIENCE)
        answers[answer.status_code] += 1
        ran["http"] += 1
        assert answer.status_code < 500, case.as_curl_command()
        assert answer.status_code < 400 or answer.json()["error"], case.as_curl_command()

    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        place = next((known[word] for word in known if word in operation.path), {})
        for word in ("positive", "negative"):
            requests = operation.as_strategy(generation_mode=GenerationMode(word))
            test = cases(6)(given(st.just(place), requests, st.booleans())(ask))
            refused_or(test, Unsatisfiable)  # some have nothing that could be wrong
    assert sum(answers.values()) > 300
    assert min(answers[200], answers[400], answers[404]) > 10, answers


# --- the service's parsers ---

TEXT = st.text(st.characters(codec=None), max_size=300)  # surrogates too
NEAR = st.text(string.printable + "äß\u202e\ud800\x00", max_size=80)
ANY_TEXT = TEXT | NEAR
FIELDS = """
    bare_file_name boolean caption checksum digest email file_name folder_name gallery_id glob
    id_list idempotency_key length metadata link_id message page password per_page
    place scopes slug some_ids text username
"""
PARSERS: dict[str, Callable[[str], object]] = {
    **{name: getattr(names, name) for name in FIELDS.split()},
    "cursor": names.cursor(2),
    "fields": names.some_of(("id", "name")),
}
BASE64 = st.binary(max_size=40).map(lambda data: f"sha256 {base64.b64encode(data).decode()}")
IDS = st.text("abc019,[]'\"u \\", max_size=60) | st.lists(st.text("ab0", max_size=14)).map(str)


@cases(400)
@given(ANY_TEXT | IDS | BASE64)
def test_every_field_is_parsed_or_refused(text: str) -> None:
    ran["fields"] += 1
    for parser in PARSERS.values():
        refused_or(partial(parser, text), Refused)


@cases(300)
@given(ANY_TEXT)
def test_a_name_that_was_accepted_is_one_of_a_file(text: str) -> None:
    ran["names"] += 1
    for parser in (names.file_name, names.bare_file_name):
        if (name := refused_or(partial(parser, text), Refused)) is not None:
            assert name.strip()
            assert name not in (".", "..")
            assert "/" not in name
            assert len(name) <= names.MAX_NAME
            assert not [c for c in name if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]


@cases(300)
@given(st.text("ab[]!-*?\\.", max_size=12), st.text("ab[]!-\\.", max_size=8))
def test_a_glob_is_taken_apart_as_python_reads_it(pattern: str, name: str) -> None:
    ran["globs"] += 1
    assert _fits(names.glob(pattern).parts, name) == fnmatchcase(name, pattern)


def _fits(parts: tuple[str | names.OneOf, ...], name: str) -> bool:
    if not parts:
        return not name
    first, rest = parts[0], parts[1:]
    if first == names.Glob.ANY:
        return any(_fits(rest, name[at:]) for at in range(len(name) + 1))
    if not name:
        return False
    if isinstance(first, names.OneOf):
        hit = any(low <= name[0] <= high for low, high in first.ranges) != first.out
    else:
        hit = first in (names.Glob.ONE, name[0])
    return hit and _fits(rest, name[1:])


@cases(200)
@given(st.lists(st.integers(0, 16**15 - 1), min_size=2, max_size=2))
def test_a_cursor_leads_to_its_place(place: list[int]) -> None:
    ran["cursors"] += 1
    assert names.cursor(2)(names.cursor_of(place)) == tuple(place)


NUMBERS = st.integers(0, 10**20).map(str) | st.sampled_from(["", "-1", "٣", " 1", "1e3"])
RANGES = st.builds("bytes={}-{}".format, NUMBERS, NUMBERS) | st.text(
    "bytes=0123456789-, ", max_size=30
)


@cases(400)
@given(RANGES, st.integers(0, 10**12), ANY_TEXT, ANY_TEXT)
def test_a_range_stays_inside_the_file(text: str, size: int, condition: str, since: str) -> None:
    ran["ranges"] += 1
    sent = {"range": text, "if-range": condition, "if-modified-since": since, "if-none-match": ""}
    for chosen in (("range",), ("range", "if-range"), ("range", "if-modified-since"), tuple(sent)):
        raw = [(n.encode(), sent[n].encode("latin-1", "replace")) for n in chosen]
        found = links.wanted(Headers(raw=raw), '"tag"', 10**9, size)
        assert found.status in (200, 206, 304, 416)
        assert 0 <= found.start <= found.end <= size
        assert found.status != 206 or found.start < found.end


BOUNDARY = "----------ThIs_Is_tHe_bouNdaRY_$"
PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"--", b": ", b"; ", b"=", b'"', b"\\", b"\0", b"\xff", b" ", b"x" * 50),
        *(BOUNDARY.encode(), f"\r\n--{BOUNDARY}\r\n".encode(), f"\n--{BOUNDARY}--".encode()),
        *(
            b"Content-Disposition",
            b"form-data",
            b'name="file"',
            b"filename*=UTF-8''%ff",
            b"\r\n\r\n",
        ),
    ]
)
BODIES = st.lists(PIECES | st.binary(max_size=20), max_size=30).map(b"".join)


def _parts(blocks: list[bytes]) -> list[tuple[multipart.Part, bytes]]:
    """What a form is read as."""
    parser = multipart.Parser(BOUNDARY.encode())
    found: list[tuple[multipart.Part, bytes]] = []
    for event in [e for block in blocks for e in parser.feed(block)] + list(parser.close()):
        if isinstance(event, multipart.Part):
            found.append((event, b""))
        else:
            found[-1] = found[-1][0], found[-1][1] + event
    return found


@cases(300)
@given(BODIES, st.integers(1, 40))
def test_a_form_is_read_alike_however_it_is_cut(body: bytes, length: int) -> None:
    ran["forms"] += 1
    whole = refused_or(partial(_parts, [body]), Refused)
    cut = [body[at : at + length] for at in range(0, len(body), length)]
    assert refused_or(partial(_parts, cut), Refused) == whole


@cases(200)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_a_form_gives_back_what_was_put_into_it(values: list[bytes]) -> None:
    ran["forms"] += 1
    good = [value for value in values if BOUNDARY.encode() not in value]
    found = _parts([form_of(*(part(f"n{n}", value) for n, value in enumerate(good)))])
    assert [(head.name, data) for head, data in found] == [
        (f"n{n}", value) for n, value in enumerate(good)
    ]


KINDS = st.sampled_from(
    ["application/json", "application/x-www-form-urlencoded", "", "multipart/form-data", "x/y;\0"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)


@cases(300)
@given(KINDS, BODIES | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_body_becomes_texts_or_is_refused(kind: str, body: bytes) -> None:
    ran["bodies"] += 1
    content_type = f"{kind}; boundary={BOUNDARY}" if kind.startswith("multipart") else kind
    found = refused_or(partial(parse._fields, content_type, body), Refused) or {}
    for key, value in found.items():
        assert isinstance(key, str)
        value.encode()


# --- the client's parsers ---


@cases(500)
@given(ANY_TEXT)
def test_a_name_from_a_service_stays_in_the_folder(name: str) -> None:
    ran["local names"] += 1
    safe = minus.safe_name(name)
    assert safe not in ("", ".", "..")
    assert not re.search(r"[/\\\x00-\x1f\x7f]", safe)
    assert len(safe.encode()) <= 255
    assert os.path.basename(os.path.join("folder", safe)) == safe
    assert minus.safe_name(safe) == safe
    taken = {safe, f"{safe} (2)"}
    numbered = minus._numbered(safe, lambda name: name in taken)
    assert numbered not in taken
    assert len(numbered.encode()) <= 255


@cases(300)
@given(ANY_TEXT)
def test_what_is_shown_drives_no_terminal(text: str) -> None:
    ran["shown"] += 1
    shown = minus.printable(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    shown.encode()


@cases(400)
@given(ANY_TEXT)
def test_a_typed_line_is_split_or_refused(line: str) -> None:
    ran["lines"] += 1
    for word in refused_or(partial(minus._split, line), minus._Failure) or ():
        assert fnmatchcase(word, word.pattern) or not _quoted_only(line)
    meant = re.sub(r"(.)", r"\\\1", line, flags=re.DOTALL)
    expected = [line] if line and "\n" not in line else None
    assert expected is None or minus._split(meant) == expected


def _quoted_only(line: str) -> bool:
    return not re.search(r"[*?\[]", line)


LINKS = st.builds(
    "{}{}{}".format,
    st.sampled_from(
        ["", "http://", "https://", "file://", "//", "javascript:", "http://[::1", "\\"]
    ),
    st.text("abc.:@[]%/?#\\0123456789é\x00\ud800", max_size=30),
    st.sampled_from(["", ":80/", ":99999/", "/api/v2/x", "?a=b#c"]),
)


@cases(500)
@given(LINKS | ANY_TEXT)
def test_a_link_leads_to_a_web_address_or_nowhere(link: str) -> None:
    ran["links"] += 1
    found = refused_or(partial(minus._joined, "https://minus.test/api/v2/", link), MinusAPIError)
    assert found is None or re.match(r"(?i)https?:", found)
    address = refused_or(partial(minus._service_url, link), MinusConfigError)
    assert address is None or re.match(r"https?://.+/\Z", address, re.DOTALL)
    minus._last(link)


@cases(400)
@given(JSON | ANY_TEXT | st.datetimes(timezones=st.timezones()).map(str))
def test_a_date_is_one_in_utc_or_none(value: object) -> None:
    ran["dates"] += 1
    found = minus._date(value)
    assert found is None or found.utcoffset() == timedelta(0)
    minus._int(value)
    minus._text(value)


class Told(MinusConnection):
    """A connection to a service that answers each request with the next of these."""

    def __init__(self, pages: list[dict[str, Any]]) -> None:
        super().__init__(url="https://minus.test")
        self._pages = iter(pages)
        self._known = {}

    def request(self, url: str, *_: Any, **__: Any) -> dict[str, Any]:
        return next(self._pages, {})


NEXT = st.sampled_from([None, "", "/api/v2/list", "?page=2", "https://other.test/", 7]) | LINKS
PAGES = st.dictionaries(st.sampled_from(["results", "galleries", "total", "next", "x"]), JSON) | (
    st.fixed_dictionaries(
        {
            "results": st.lists(st.dictionaries(ANY_TEXT, JSON, max_size=3), max_size=3),
            "total": st.integers(-1, 9) | JSON,
            "next": NEXT,
        }
    )
)


@cases(100)
@given(st.lists(PAGES, max_size=5))
def test_a_list_ends_or_is_refused(pages: list[dict[str, Any]]) -> None:
    ran["lists"] += 1
    items = PagedList(Told(pages), "list", dict)
    for read in (lambda: list(items), lambda: len(items), lambda: list(items.each())):
        refused_or(read, MinusAPIError)


@cases(100)
@given(
    st.dictionaries(st.sampled_from([*MinusFile._wire, "x"]), JSON, max_size=8),
    st.sampled_from(["MinusFile", "MinusFolder", "MinusUser", "MinusMessage", "MinusGallery"]),
)
@example(row={"id": "\ud800"}, kind="MinusFile")
def test_an_object_is_made_of_any_row(row: dict[str, Any], kind: str) -> None:
    ran["rows"] += 1
    found = getattr(minus, kind)(Told([]), "x", row)
    repr(found)
    for name in ("link", "updated", "edit_link"):
        refused_or(partial(getattr, found, name), MinusAPIError, AttributeError)


@cases(300)
@given(st.binary(max_size=3000) | st.lists(PIECES).map(b"".join), st.sampled_from([200, 404, 503]))
def test_an_answer_is_a_json_object_or_refused(body: bytes, status: int) -> None:
    ran["answers"] += 1
    reply: Any = SimpleNamespace(
        status_code=status,
        reason="Told",
        url="https://minus.test/api",
        headers={},
        request=SimpleNamespace(method="GET"),
        iter_content=lambda _size: iter([body]),
        close=lambda: None,
        limit=nullcontext,
    )
    told = Told([])
    found = refused_or(partial(told._json, reply), MinusAPIError)
    assert found is None or isinstance(found, dict)
    assert isinstance(told._failure(reply), MinusAPIError)


MEMBERS = st.builds(
    lambda kind, size, data: bytes(124) + size + bytes(20) + kind + bytes(355) + data,
    st.sampled_from([b"x", b"0", b"5", b"\0"]),
    st.integers(0, 8**11 - 1).map(lambda n: b"%011o\0" % n) | st.binary(min_size=12, max_size=12),
    st.binary(max_size=1100) | st.just(b"29 MINUS.id=abcdefghijkl\n" + bytes(487)),
)


@cases(300)
@given(st.lists(MEMBERS, max_size=3).map(b"".join) | st.binary(max_size=2000), st.integers(0, 2000))
def test_a_tar_stream_is_read_or_refused(stream: bytes, most: int) -> None:
    ran["tar streams"] += 1
    found = refused_or(partial(minus._tar_member, io.BytesIO(stream), most), MinusAPIError)
    assert found is None or len(found[1]) <= most


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz") / "file"
    path.touch(0o600)
    return path


CONFIGS = st.lists(
    st.sampled_from(["[api]", "[", "]", "url", ": ", "=", "\n", " ", "%(x)s", "http://a", "\ufeff"])
    | NEAR
).map("".join)


@cases(300)
@given(data=CONFIGS.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary())
def test_a_config_file_is_read_or_refused(file: Path, data: bytes) -> None:
    ran["configs"] += 1
    file.write_bytes(data)
    found = refused_or(partial(minus.read_config, file), MinusConfigError) or {}
    assert set(found) <= set(minus._SETTINGS)


SUMS = st.lists(
    st.sampled_from(
        ["0" * 64, hashlib.sha256().hexdigest(), "  ", " *", "\\", "\n", "\\n", "\0", "#"]
    )
    | NEAR
).map("".join)


@cases(200)
@given(data=SUMS.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary())
def test_a_file_of_sums_is_verified_or_refused(file: Path, data: bytes) -> None:
    ran["sums"] += 1
    file.write_bytes(data)
    shell = minus.MinusCLI(None, text_stream(), text_stream(), text_stream())
    assert shell.onecmd(f"verify {file}") is False
    assert shell.statuses


@cases(100)
@given(data=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_state_file_is_an_object_or_nothing(file: Path, data: bytes) -> None:
    ran["state files"] += 1
    file.write_bytes(data)
    state = minus.StateFile("x")
    state._path = file
    assert isinstance(state.load(), dict)
    state.update({"a": 1})
    assert state.load()["a"] == 1


@cases(300)
@given(ANY_TEXT)
def test_a_name_goes_to_the_service_and_comes_back(name: str) -> None:
    ran["names there and back"] += 1
    if (wire := refused_or(partial(minus._wire_name, name), ValueError)) is None:
        return
    kept = refused_or(partial(names.file_name, wire), Refused)
    plain = refused_or(partial(names.bare_file_name, name), Refused)
    if plain == name:  # a name that the service takes at all
        assert kept == name
        head = f'form-data; name="file"; filename="{minus._part_name(name)}"'
        sent = multipart.filename_of(multipart.parameters_of(head)) or ""
        easy = not minus._HARD_IN_FORMS.search(name)
        assert not easy or names.file_name(sent) == name
    assert unquote(quote(name, safe="")) == name
