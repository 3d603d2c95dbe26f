"""API v1 over raw HTTP, as programs of 2010 to 2015 spoke it: every sentence of `api-v1.md`."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests import rawhttp
from tests.live import Service
from tests.rawhttp import (
    FORM,
    MULTIPART,
    PASSWORD,
    Answer,
    Client,
    Headers,
    Params,
    Row,
    call,
    checked,
    encode,
    error_of,
    fields,
    multipart,
    new_user,
    part,
)

BYTES = b"one\r\ntwo\n--three\x00\xff\r\n--"  # whatever could be mistaken for framing
PNG = rawhttp.png(3, 2)
NOWHERE = "A1b2C3d4E5f6"  # as long as an id, and nobody's
ID = "[0-9A-Za-z]{12}"
SUCCESS = b'{"success": true}'
SCRIPT = "<script>alert(1)</script>"
UNBOUNDED = ("--anonymous-galleries", "1000000")
TIMELINES = ("MyGalleries.json", "pane/history.json", "pane/mine.json", "pane/feed.json")
GALLERY_ROW = [
    "last_visit",
    "name",
    "item_count",
    "clicks",
    "reader_id",
    "editor_id",
    "thumbnail_id",
    "creator",
    "is_public",
]
AGO = r"\d+ (second|minute)s? ago"
CURL = {"User-Agent": "curl/7.21.0 (x86_64-pc-linux-gnu) libcurl/7.21.0", "Accept": "*/*"}

BARE_TYPES = [
    *(None, "", "image/png", "image/x-png", FORM, f"{FORM}; charset=UTF-8", "text/plain", "binary"),
    *("application/octet-stream", "application/json", "text/html", "video/mp4"),
]
HOSTILE_NAMES = [
    *('"><img src=x onerror=alert(1)>.png', "a\r\nX: y.png", "a\0b.png", "\x1b[2J.png", "%", " "),
    *("../../etc/passwd", "..", ".", ".png", "x" * 5000, "x." + "y" * 300, 'a"b;c.png', "con.png"),
    *("\u202egnp.exe", "\U0001f4a9.png", "a.p\tg", "a.x'\"<y>", "a.png?b#c", "a\\b.png", "a/b.png"),
]

Request = tuple[str, str, dict[str, str], bytes | None]


def short(value: object) -> str:
    """A parameter in the name of its test."""
    return ascii(value)[:24]


@dataclass(frozen=True)
class Gallery:
    editor: str
    reader: str


class Caller:
    """A program of the time, with a session's cookie or without one."""

    def __init__(self, service: Service, cookie: str = "") -> None:
        self.service, self.port, self.base, self.cookie = service, service.port, service.url, cookie

    def call(
        self, method: str, path: str, headers: Headers | None = None, body: bytes | None = None
    ) -> Answer:
        """Send a request; a path without a slash before it is one of the API."""
        own = {"Cookie": f"sessionid={self.cookie}"} if self.cookie else {}
        target = path if path.startswith("/") else f"/api/{path}"
        return call(self.port, method, target, own | dict(headers or {}), body)

    def send(
        self,
        method: str,
        path: str,
        params: Params | None = None,
        way: str = "form",
        headers: Headers | None = None,
    ) -> Answer:
        """Send parameters in one of the ways, and hold the answer to the rules of the API."""
        query, more, body = encode(way, params) if params is not None else ("", {}, None)
        return checked(self.call(method, path + query, more | dict(headers or {}), body))

    def do(self, request: Request, headers: Headers | None = None) -> Answer:
        method, path, own, body = request
        return checked(self.call(method, path, own | dict(headers or {}), body))

    def get(self, path: str) -> Any:
        answer = self.send("GET", path)
        assert answer.status == 200, answer.body
        return answer.json()

    def create(self) -> Gallery:
        row = self.get("CreateGallery")
        return Gallery(row["editor_id"], row["reader_id"])

    def post_item(
        self,
        query: Params,
        body: bytes,
        content_type: str | None = MULTIPART,
        headers: Headers | None = None,
    ) -> Answer:
        kind = {} if content_type is None else {"Content-Type": content_type}
        path = f"UploadItem?{urlencode(query)}"
        return checked(self.call("POST", path, kind | dict(headers or {}), body))

    def upload(self, gallery_id: str, data: bytes = b"text", name: str = "t.txt") -> str:
        query = {"editor_id": gallery_id, "key": "OK", "filename": name}
        answer = self.post_item(query, multipart(part("file", data, "own.bin")))
        assert answer.status == 200, answer.body
        return str(answer.json()["id"])

    def letters(self, gallery_id: str, letters: str) -> list[str]:
        return [self.upload(gallery_id, letter.encode(), f"{letter}.txt") for letter in letters]

    def read(self, gallery_id: str) -> Row:
        return dict(self.get(f"GetItems/m{gallery_id}"))

    def ids(self, gallery_id: str) -> list[str]:
        """The ids of a gallery's items, out of their addresses."""
        addresses = self.read(gallery_id)["ITEMS_GALLERY"]
        found = [re.fullmatch(rf"{re.escape(self.base)}i({ID})\.txt", text) for text in addresses]
        return [match[1] for match in found if match]

    def names(self, gallery_id: str) -> list[str]:
        return list(self.read(gallery_id)["ITEMS_NAME"])

    def save(self, gallery_id: str, **params: str) -> Answer:
        return self.send("POST", "SaveGallery", {"id": gallery_id, "key": "OK", **params})

    def rows(self, path: str = "MyGalleries.json") -> list[Row]:
        page = self.get(path)
        assert list(page) == ["total_pages", "galleries"]
        for row in page["galleries"]:
            assert list(row) == GALLERY_ROW
        return list(page["galleries"])

    def row(self, reader_id: str, path: str = "MyGalleries.json") -> Row:
        (row,) = [row for row in self.rows(path) if row["reader_id"] == reader_id]
        return row

    def shown(self, path: str = "MyGalleries.json") -> list[str]:
        return [row["reader_id"] for row in self.rows(path)]


class User(Caller):
    """An account that is signed in, by the second API too once that is asked for."""

    def __init__(self, service: Service, name: str) -> None:
        super().__init__(service, cookie_of(sign_in(service, name)))
        self.name, self.slug = name, name.lower()

    @cached_property
    def v2(self) -> Client:
        return Client(self.service, self.name, "").limited(rawhttp.ALL)


def newcomer(service: Service, stem: str) -> User:
    """A new user, signed in."""
    name = f"{stem}{next(rawhttp.counter)}"
    service.add_user(name, PASSWORD)
    return User(service, name)


def sign_in(service: Service, name: str, password: str = PASSWORD) -> Answer:
    answer = Caller(service).send("POST", "SignIn", {"username": name, "password1": password})
    assert (answer.status, answer.body) == (200, SUCCESS)
    return answer


def cookie_of(answer: Answer) -> str:
    return SimpleCookie(answer.headers["Set-Cookie"])["sessionid"].value


@contextmanager
def running(data: Path, *options: str) -> Iterator[Service]:
    """A service with these options, where anyone may register; it never fails."""
    service = Service(data, ("--registration", "open", *options))
    service.start()
    try:
        yield service
    finally:
        status = service.stop()
    assert status == 0
    assert "Traceback" not in service.log()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service where anyone may make any number of galleries."""
    with running(tmp_path_factory.mktemp("v1") / "data", *UNBOUNDED) as service:
        yield service


@pytest.fixture(scope="module")
def guest(site: Service) -> Caller:
    """One who never signs in."""
    return Caller(site)


@pytest.fixture(scope="module")
def alice(site: Service) -> User:
    """A user with capitals in the name."""
    return newcomer(site, "GalleryAlice")


@pytest.fixture(scope="module")
def bob(site: Service) -> User:
    return newcomer(site, "gallerybob")


@pytest.fixture
def user(site: Service) -> User:
    """A user of the test's own."""
    return newcomer(site, "galleryuser")


@pytest.fixture
def gallery(guest: Caller) -> Gallery:
    """A gallery of nobody's."""
    return guest.create()


# --- CreateGallery ---


@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        ("GET", {}, None),
        ("POST", {}, b""),
        ("POST", {"Content-Type": FORM}, b""),
        ("POST", {"Content-Type": FORM}, b"key=OK"),
        ("POST", {"Content-Type": MULTIPART}, multipart(part("key", b"OK"))),
    ],
)
def test_a_gallery_is_made_by_get_and_by_post(
    guest: Caller, method: str, headers: Headers, body: bytes | None
) -> None:
    answer = checked(guest.call(method, "CreateGallery", headers, body))
    assert answer.status == 200
    found = re.fullmatch(rf'{{"editor_id": "({ID})", "reader_id": "({ID})"}}', answer.body.decode())
    assert found
    assert found[1] != found[2]
    assert (
        guest.send("GET", f"GetItems/m{found[2]}").body
        == (
            f'{{"READ_ONLY_URL_FOR_GALLERY": "{found[2]}", "GALLERY_TITLE": "Untitled", '
            '"ITEMS_GALLERY": [], "ITEMS_NAME": []}'
        ).encode()
    )


def test_a_gallery_of_a_user_has_one_id_for_both(alice: User) -> None:
    made = alice.create()
    assert made.editor == made.reader
    assert re.fullmatch(ID, made.reader)


def test_a_gallery_is_seen_on_the_web_at_once(guest: Caller, gallery: Gallery) -> None:
    page = guest.call("GET", f"/m{gallery.reader}")
    assert (page.status, page.headers.get_content_type()) == (200, "text/html")
    assert b"Untitled" in page.body


def test_a_new_gallery_is_private(alice: User, gallery: Gallery) -> None:
    own = alice.create()
    alice.read(gallery.reader)
    for reader in (own.reader, gallery.reader):
        assert alice.row(reader)["is_public"] == "False"
    assert alice.v2.get(f"folders/{own.reader}")["is_public"] is False


# --- UploadItem ---


@pytest.mark.parametrize("bare", [True, False], ids=["bare", "multipart"])
def test_an_upload_answers_as_the_reference_does(
    guest: Caller, gallery: Gallery, *, bare: bool
) -> None:
    data = rawhttp.png(500, 64).ljust(1010, b"\0")
    body = data if bare else multipart(part("file", data, "min.png", "image/png"))
    query = {"editor_id": gallery.editor, "key": "OK", "filename": "min.png"}
    answer = guest.post_item(query, body, "image/png" if bare else MULTIPART)
    assert answer.status == 200
    expected = rf'{{"id": "({ID})", "height": 64, "width": 500, "filesize": "1010 bytes"}}'
    found = re.fullmatch(expected, answer.body.decode())
    assert found
    assert guest.call("GET", f"/i{found[1]}.png").body == data
    thumbnail = guest.call("GET", f"/j{found[1]}.png")
    assert (thumbnail.status, thumbnail.headers.get_content_maintype()) == (200, "image")
    page = guest.call("GET", f"/l{found[1]}")
    assert (page.status, page.headers.get_content_type()) == (200, "text/html")
    assert b"min.png" in page.body


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (4, "4 bytes"), (3 << 20, r"3(\.\d+)? Mi?B|3145728 bytes")]
)
def test_what_is_no_picture_has_no_size_but_its_bytes(
    guest: Caller, gallery: Gallery, size: int, text: str
) -> None:
    body = multipart(part("file", bytes(size), "a.bin"))
    row = guest.post_item({"editor_id": gallery.editor}, body).json()
    assert (row["height"], row["width"]) == (0, 0)
    assert re.fullmatch(text, row["filesize"])
    assert guest.call("GET", f"/i{row['id']}").body == bytes(size)


@pytest.mark.parametrize("place", ["query", "fields first", "file first"])
@pytest.mark.parametrize("prefix", ["", "m"])
@pytest.mark.parametrize("which", ["editor", "reader"])
def test_an_upload_finds_its_gallery_wherever_the_id_stands(
    guest: Caller, gallery: Gallery, which: str, prefix: str, place: str
) -> None:
    params = {"editor_id": prefix + getattr(gallery, which), "key": "OK", "filename": "a.txt"}
    parts = [*fields(params if place != "query" else {}), part("file", BYTES, "b.txt")]
    body = multipart(*(reversed(parts) if place == "file first" else parts))
    answer = guest.post_item(params if place == "query" else {}, body)
    assert answer.status == 200
    assert guest.names(gallery.reader) == ["a.txt"]
    assert guest.call("GET", f"/i{answer.json()['id']}").body == BYTES


def test_a_photo_may_come_before_its_gallerys_id(guest: Caller, gallery: Gallery) -> None:
    data = PNG.ljust(3 << 20, b"\0")
    body = multipart(part("file", data, "a.png"), part("editor_id", gallery.editor.encode()))
    answer = guest.post_item({}, body)
    assert (answer.status, guest.names(gallery.reader)) == (200, ["a.png"])


@pytest.mark.parametrize("key", [None, "", "OK", "ok", "0", "wrong & wrong", "é"])
def test_any_key_or_none_will_do(guest: Caller, gallery: Gallery, key: str | None) -> None:
    params = {"editor_id": gallery.editor} | ({} if key is None else {"key": key})
    assert guest.post_item(params, PNG, "image/png").status == 200
    saved = {"id": gallery.editor, "name": "N"} | ({} if key is None else {"key": key})
    assert guest.send("POST", "SaveGallery", saved).body == SUCCESS
    assert guest.read(gallery.reader)["GALLERY_TITLE"] == "N"


@pytest.mark.parametrize("content_type", BARE_TYPES)
@pytest.mark.parametrize("data", [PNG, BYTES, b"editor_id=x&id=x&filename=no.txt&%zz"])
def test_bare_bytes_are_taken_under_any_type(
    guest: Caller, gallery: Gallery, data: bytes, content_type: str | None
) -> None:
    query = {"editor_id": gallery.editor, "key": "OK", "filename": "name.png"}
    answer = guest.post_item(query, data, content_type)
    assert answer.status == 200
    row = answer.json()
    assert (row["width"], row["height"]) == ((3, 2) if data == PNG else (0, 0))
    assert guest.call("GET", f"/i{row['id']}.png").body == data
    assert guest.names(gallery.reader) == ["name.png"]


@pytest.mark.parametrize(
    ("query", "disposition", "name"),
    [
        ({"filename": "q.png"}, None, "q.png"),
        ({"filename": "q.png"}, 'attachment; filename="h.png"', "q.png"),
        ({}, 'attachment; filename="h.png"', "h.png"),
        ({}, "attachment; filename=h.png", "h.png"),
        ({}, 'form-data; name="file"; filename="h.png"', "h.png"),
        ({}, 'ATTACHMENT; FILENAME="two words.png"', "two words.png"),
        ({}, "attachment; filename*=UTF-8''caf%C3%A9%20%E2%9C%93.png", "café ✓.png"),
        ({}, "attachment; filename=\"x.png\"; filename*=UTF-8''caf%C3%A9.png", "café.png"),
        ({}, "attachment", "Untitled"),
        ({}, None, "Untitled"),
    ],
)
def test_bare_bytes_are_named_by_the_query_or_by_a_header(
    guest: Caller, gallery: Gallery, query: Params, disposition: str | None, name: str
) -> None:
    headers = {} if disposition is None else {"Content-Disposition": disposition}
    params = {"editor_id": gallery.editor} | dict(query)
    assert guest.post_item(params, PNG, "image/png", headers).status == 200
    assert guest.names(gallery.reader) == [name]


@pytest.mark.parametrize(
    ("field", "own", "params", "name"),
    [
        ("file", "own.png", {}, "own.png"),
        ("file", "own.png", {"filename": "other.png"}, "other.png"),
        ("file", None, {"filename": "other.png"}, "other.png"),
        ("image", "own.png", {}, "own.png"),
        ("Filedata", "own.png", {}, "own.png"),
        ("", "own.png", {}, "own.png"),
        ("file", "C:\\Users\\me\\own.png", {}, "own.png"),
        ("file", "/home/me/own.png", {}, "own.png"),
        ("file", "café ✓.png", {}, "café ✓.png"),
    ],
)
def test_a_file_part_of_any_field_is_the_item(
    guest: Caller, gallery: Gallery, field: str, own: str | None, params: Params, name: str
) -> None:
    query = {"editor_id": gallery.editor, "key": "OK"} | dict(params)
    answer = guest.post_item(query, multipart(part(field, PNG, own)))
    assert (answer.status, answer.json().get("width")) == (200, 3)
    assert guest.names(gallery.reader) == [name]


def test_an_upload_as_curl_sends_it(guest: Caller, gallery: Gallery) -> None:
    boundary = "----------------------------a1b2c3d4e5f6"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="min.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode() + PNG + f"\r\n--{boundary}--\r\n".encode()  # fmt: skip
    path = f"/api/UploadItem?editor_id={gallery.editor}&key=OK&filename=min.png"
    headers = CURL | {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = checked(guest.call("POST", path, headers, body))
    assert (answer.status, answer.json().get("width")) == (200, 3)
    assert guest.call("GET", f"/i{answer.json()['id']}").body == PNG


def spell(caller: Caller, method: str, target: bytes, headers: Headers, version: str) -> bytes:
    """The bytes of a request's head with the target as it is told."""
    head = rawhttp.head(method, "@", {"Host": f"127.0.0.1:{caller.port}"} | dict(headers), version)
    return head.replace(b"@", target, 1)


def converse(caller: Caller, request: bytes) -> Answer:
    with rawhttp.connect(caller.port) as sock:
        sock.sendall(request)
        return rawhttp.receive(sock)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        (b"caf%C3%A9%20%E2%9C%93.png", "café ✓.png"),
        (b"my+cat.png", "my cat.png"),
        (b"a%26b%3Dc%23d.png", "a&b=c#d.png"),
        (b"caf%E9.png", "café.png"),
        ("café ✓.png".replace(" ", "%20").encode(), "café ✓.png"),
        (b"my%2520cat.png", "my cat.png"),
    ],
)
def test_a_name_in_the_query_is_read_in_the_encodings_of_the_time(
    guest: Caller, gallery: Gallery, spelling: bytes, name: str
) -> None:
    target = f"/api/UploadItem?editor_id={gallery.editor}&key=OK&filename=".encode() + spelling
    headers = {"Content-Type": "image/png", "Content-Length": str(len(PNG))}
    answer = checked(converse(guest, spell(guest, "POST", target, headers, "1.1") + PNG))
    assert answer.status == 200
    assert guest.names(gallery.reader) == [name]


def test_bytes_that_are_no_text_in_an_address_are_a_400_or_latin_1(
    guest: Caller, gallery: Gallery
) -> None:
    target = f"/api/UploadItem?editor_id={gallery.editor}&filename=".encode() + b"caf\xe9.png"
    headers = {"Content-Type": "image/png", "Content-Length": str(len(PNG))}
    answer = converse(guest, spell(guest, "POST", target, headers, "1.1") + PNG)
    assert (answer.status, guest.names(gallery.reader)) in ((400, []), (200, ["café.png"]))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("place", ["header", "part"])
def test_a_name_in_raw_bytes_is_read_in_the_encodings_of_the_time(
    guest: Caller, gallery: Gallery, place: str, encoding: str
) -> None:
    disposition = 'form-data; name="file"; filename="café.png"'
    headers, body = {"Content-Disposition": "@@"}, PNG
    if place == "part":
        headers, body = {"Content-Type": MULTIPART}, multipart(part("file", PNG, "café.png"))
        body = body.replace("é".encode(), "é".encode(encoding))
    headers["Content-Length"] = str(len(body))
    target = f"/api/UploadItem?editor_id={gallery.editor}&key=OK".encode()
    head = spell(guest, "POST", target, headers, "1.1")
    head = head.replace(b"@@", disposition.encode(encoding))
    assert checked(converse(guest, head + body)).status == 200
    assert guest.names(gallery.reader) == ["café.png"]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=short)
@pytest.mark.parametrize("place", ["query", "header", "part"])
def test_a_hostile_name_is_refused_or_harmless(guest: Caller, name: str, place: str) -> None:
    gallery = guest.create()
    query, headers = {"editor_id": gallery.editor}, {"Content-Type": "image/png"}
    body = PNG
    if place == "query":
        query["filename"] = name
    elif place == "header":
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}"
    else:
        headers["Content-Type"] = MULTIPART
        body = multipart(part("file", PNG, quote(name, safe="")))
    answer = checked(guest.call("POST", f"UploadItem?{urlencode(query)}", headers, body))
    row = guest.read(gallery.reader)
    if answer.status != 200:
        assert (answer.status, row["ITEMS_GALLERY"]) == (400, [])
        return
    (address,), (shown,) = row["ITEMS_GALLERY"], row["ITEMS_NAME"]
    assert re.fullmatch(rf"{re.escape(guest.base)}i{ID}(\.[0-9A-Za-z]+)?", address)
    assert not re.search(r"[\x00-\x1f/]", shown)
    got = guest.call("GET", address[len(guest.base) - 1 :])
    assert (got.status, got.body, got.headers["X"]) == (200, PNG, None)
    for page in (f"/m{gallery.reader}", f"/l{answer.json()['id']}"):
        assert b"<img src=x onerror" not in guest.call("GET", page).body


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ({"editor_id": NOWHERE}, multipart(part("file", PNG, "p.png")), (404,)),
        ({"editor_id": f"m{NOWHERE}"}, multipart(part("file", PNG, "p.png")), (404,)),
        ({"editor_id": "eBYwRX"}, multipart(part("file", PNG, "p.png")), (400, 404)),
        ({"editor_id": ""}, multipart(part("file", PNG, "p.png")), (400, 404)),
        ({}, multipart(part("file", PNG, "p.png")), (400, 404)),
    ],
)
def test_an_upload_to_no_gallery_is_refused(
    guest: Caller, query: Params, body: bytes, expected: tuple[int, ...]
) -> None:
    assert guest.post_item(query, body).status in expected
    assert guest.post_item(query, PNG, "image/png").status in expected


def test_an_upload_without_a_file_is_refused(guest: Caller, gallery: Gallery) -> None:
    for body in (multipart(part("key", b"OK")), multipart(), b"", b"\xff" * 100):
        assert guest.post_item({"editor_id": gallery.editor}, body).status == 400
    assert guest.names(gallery.reader) == []


def test_an_upload_is_a_post(guest: Caller, gallery: Gallery) -> None:
    assert guest.send("GET", f"UploadItem?editor_id={gallery.editor}&key=OK").status == 405


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("image/png", PNG), (MULTIPART, multipart(part("file", PNG, "p.png")))],
    ids=["bare", "multipart"],
)
@pytest.mark.parametrize("missing", [1, 1 << 20])
def test_an_upload_short_of_its_length_never_becomes_an_item(
    guest: Caller, gallery: Gallery, missing: int, content_type: str, body: bytes
) -> None:
    headers = {"Content-Type": content_type, "Content-Length": str(len(body) + missing)}
    target = f"/api/UploadItem?editor_id={gallery.editor}".encode()
    with rawhttp.connect(guest.port) as sock:
        sock.sendall(spell(guest, "POST", target, headers, "1.1") + body)
        sock.shutdown(1)
        assert rawhttp.drain(sock)[:12] in (b"", b"HTTP/1.1 400")
    assert guest.names(gallery.reader) == []


def test_http_1_0_is_answered_with_a_length_and_a_close(guest: Caller, gallery: Gallery) -> None:
    target = f"/api/UploadItem?editor_id={gallery.editor}&key=OK".encode()
    headers = {"Content-Type": "image/png", "Content-Length": str(len(PNG))}
    for head, body in (
        (spell(guest, "POST", target, headers, "1.0"), PNG),
        (spell(guest, "GET", f"/api/GetItems/m{gallery.reader}".encode(), {}, "1.0"), b""),
    ):
        with rawhttp.connect(guest.port) as sock:
            sock.sendall(head + body)
            assert checked(rawhttp.receive(sock)).status == 200
            assert rawhttp.drain(sock) == b""
    assert guest.names(gallery.reader) == ["Untitled"]


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


def test_bare_bytes_may_come_in_chunks(guest: Caller, gallery: Gallery) -> None:
    target = f"/api/UploadItem?editor_id={gallery.editor}&filename=p.png".encode()
    head = spell(guest, "POST", target, {"Transfer-Encoding": "chunked"}, "1.1")
    answer = checked(converse(guest, head + chunked(PNG)))
    assert (answer.status, answer.json().get("width")) == (200, 3)


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_expect_100_continue_is_answered(guest: Caller, gallery: Gallery, method: str) -> None:
    path = "/a.png" if method == "PUT" else f"/api/UploadItem?editor_id={gallery.editor}"
    headers = CURL | {"Content-Length": str(len(PNG)), "Expect": "100-continue"}
    with rawhttp.connect(guest.port) as sock:
        sock.sendall(spell(guest, method, path.encode(), headers, "1.1"))
        assert sock.recv(12) == b"HTTP/1.1 100"
        while not sock.recv(4096).endswith(b"\r\n\r\n"):
            pass
        sock.sendall(PNG)
        assert rawhttp.receive(sock).status == (201 if method == "PUT" else 200)


# --- GetItems ---


def test_items_come_in_order_with_their_addresses_and_names(
    guest: Caller, gallery: Gallery
) -> None:
    names = ["p.PNG", "second.JPeG", "README", "a.tar.gz", "p.PNG"]
    ids = [guest.upload(gallery.editor, PNG, name) for name in names]
    addresses = [
        f"{guest.base}i{item}{ending}"
        for item, ending in zip(ids, [".PNG", ".JPeG", "", ".gz", ".PNG"], strict=True)
    ]
    answer = guest.send("GET", f"GetItems/m{gallery.reader}")
    assert (answer.status, list(answer.json().items())) == (
        200,
        [
            ("READ_ONLY_URL_FOR_GALLERY", gallery.reader),
            ("GALLERY_TITLE", "Untitled"),
            ("ITEMS_GALLERY", addresses),
            ("ITEMS_NAME", names),
        ],
    )
    for address in addresses:
        assert guest.call("GET", address[len(guest.base) - 1 :]).body == PNG


@pytest.mark.parametrize("prefix", ["m", ""])
@pytest.mark.parametrize("which", ["editor", "reader"])
def test_items_are_had_by_either_id_and_answer_with_the_reader_id(
    guest: Caller, gallery: Gallery, which: str, prefix: str
) -> None:
    guest.upload(gallery.editor)
    answer = guest.send("GET", f"GetItems/{prefix}{getattr(gallery, which)}")
    assert answer.status == 200
    assert answer.json()["READ_ONLY_URL_FOR_GALLERY"] == gallery.reader
    assert gallery.editor.encode() not in answer.body


def test_an_id_that_begins_with_an_m_keeps_it(guest: Caller) -> None:
    made = next(
        made for made in iter(guest.create, None) if made.reader[0] == "m" or made.editor[0] == "m"
    )
    guest.upload(made.editor)
    guest.upload(f"m{made.editor}")
    for spelled in (made.reader, f"m{made.reader}", made.editor, f"m{made.editor}"):
        row = guest.get(f"GetItems/{spelled}")
        assert (row["READ_ONLY_URL_FOR_GALLERY"], len(row["ITEMS_NAME"])) == (made.reader, 2)


@pytest.mark.parametrize("known", [NOWHERE, f"m{NOWHERE}", "mvph5BW", "vph5BW"])
def test_items_of_no_gallery_are_absent(guest: Caller, known: str) -> None:
    assert guest.send("GET", f"GetItems/{known}").status == 404


@pytest.mark.parametrize(
    "known", [f"mm{NOWHERE}", "m", "%00", "%ff", "..%2f", "x" * 5000, "%C3%A9"], ids=short
)
def test_garbage_for_an_id_is_absent(guest: Caller, known: str) -> None:
    for path in (f"GetItems/{known}", f"set_public/{known}", f"UploadItem?editor_id={known}"):
        method = "POST" if path.startswith("UploadItem") else "GET"
        assert guest.send(method, path).status in (400, 404)


@pytest.mark.parametrize("base", ["http://i.example.org/", "http://example.org/pics"])
def test_the_base_of_item_addresses_is_the_operators_to_set(tmp_path: Path, base: str) -> None:
    with running(tmp_path / "data", "--image-base", base) as service:
        guest = Caller(service)
        gallery = guest.create()
        item = guest.upload(gallery.editor, PNG, "p.PNG")
        expected = f"{base.rstrip('/')}/i{item}.PNG"
        assert guest.read(gallery.reader)["ITEMS_GALLERY"] == [expected]


# --- SaveGallery ---

NO_ITEMS = [
    *(None, "", " ", "[]", "[ ]", "()", "{}", "null", "None", "[null]", "[1, 2]", "[u'", '["', ","),
    *("garbage", "[" * 100_000, '{"a": 1}', "\0\x1b", "A1Q", '["A1Q"]', NOWHERE, f'["{NOWHERE}"]'),
]
SPELLINGS: Mapping[str, Callable[[list[str]], str]] = {
    "JSON": json.dumps,
    "JSON without spaces": lambda ids: json.dumps(ids, separators=(",", ":")),
    "a Python list": str,
    "a Python 2 list": lambda ids: "[" + ", ".join(f"u'{item}'" for item in ids) + "]",
    "commas": ",".join,
    "commas and spaces": ", ".join,
    "a comma at the end": lambda ids: ",".join([*ids, ""]),
    "braces, as the first text said": lambda ids: "{" + json.dumps(ids)[1:-1] + "}",
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("way", ["form", "multipart", "query"])
def test_a_gallery_is_named_and_ordered_in_every_encoding(
    guest: Caller, gallery: Gallery, way: str, method: str
) -> None:
    a, b, c = guest.letters(gallery.editor, "abc")
    params = {"name": "Café & Co ✓", "id": gallery.editor, "key": "OK"}
    params["items"] = json.dumps([c, a, b])
    if method == "GET":
        answer = guest.send("GET", f"SaveGallery?{urlencode(params)}")
    else:
        answer = guest.send("POST", "SaveGallery", params, way)
    assert (answer.status, answer.body) == (200, SUCCESS)
    assert guest.read(gallery.reader)["GALLERY_TITLE"] == "Café & Co ✓"
    assert guest.ids(gallery.reader) == [c, a, b]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_items_are_read_in_every_spelling_and_those_left_out_are_deleted(
    guest: Caller, gallery: Gallery, spelling: str
) -> None:
    a, b, c, d = guest.letters(gallery.editor, "abcd")
    assert guest.save(gallery.editor, items=SPELLINGS[spelling]([c, a, d])).body == SUCCESS
    row = guest.read(gallery.reader)
    assert row["ITEMS_NAME"] == ["c.txt", "a.txt", "d.txt"]
    assert (guest.ids(gallery.reader), row["GALLERY_TITLE"]) == ([c, a, d], "Untitled")
    for path in (f"/i{b}", f"/i{b}.txt", f"/j{b}", f"/l{b}"):
        assert guest.call("GET", path).status == 404
    assert guest.call("GET", f"/i{c}.txt").body == b"c"


@pytest.mark.parametrize("items", NO_ITEMS, ids=short)
def test_items_that_name_none_change_nothing_but_the_name(
    guest: Caller, gallery: Gallery, items: str | None
) -> None:
    ids = guest.letters(gallery.editor, "ab")
    answer = guest.save(gallery.editor, name="New", **({} if items is None else {"items": items}))
    assert (answer.status, answer.body) == (200, SUCCESS)
    assert guest.read(gallery.reader)["GALLERY_TITLE"] == "New"
    assert guest.ids(gallery.reader) == ids


def test_items_count_once_and_those_of_other_galleries_stay_there(
    guest: Caller, gallery: Gallery
) -> None:
    other = guest.create()
    foreign = guest.letters(other.editor, "xy")
    a, b, c = guest.letters(gallery.editor, "abc")
    order = json.dumps([c, NOWHERE, foreign[1], a, c, "", a])
    assert guest.save(gallery.editor, items=order).body == SUCCESS
    assert guest.ids(gallery.reader) == [c, a]
    assert guest.call("GET", f"/i{b}").status == 404
    assert guest.ids(other.reader) == foreign
    # Not one of its own: that cannot mean that all of them go.
    assert guest.save(gallery.editor, items=json.dumps(foreign)).body == SUCCESS
    assert (guest.ids(gallery.reader), guest.ids(other.reader)) == ([c, a], foreign)


def test_uploads_come_in_their_order_and_behind_those_of_the_last_save(
    guest: Caller, gallery: Gallery
) -> None:
    ids = guest.letters(gallery.editor, "cadb")
    assert guest.ids(gallery.reader) == ids
    assert guest.save(gallery.editor, items=json.dumps(ids[::-1])).body == SUCCESS
    later = guest.letters(gallery.editor, "ea")
    assert guest.ids(gallery.reader) == [*ids[::-1], *later]


@pytest.mark.parametrize(
    ("body", "titles"),
    [
        (b"name=", ("Old",)),
        (b"items=", ("Old",)),
        (b"name=caf%C3%A9+%26+Co", ("café & Co",)),
        ("name=café".encode(), ("café",)),
        (b"name=caf%E9", ("café", "Old")),
        (b"name=%3Cscript%3Ealert%281%29%3C%2Fscript%3E", (SCRIPT,)),
        (b"name=a%0D%0Ab", ("a\r\nb", "a b", "a  b", "ab", "Old")),
        (b"name=a%00b", ("ab", "a b", "Old")),
        (b"name=" + b"x" * 100_000, ("x" * 255, "Old")),
    ],
)
def test_a_title_of_any_kind_is_kept_or_leaves_the_old_one(
    guest: Caller, gallery: Gallery, body: bytes, titles: tuple[str, ...]
) -> None:
    guest.save(gallery.editor, name="Old")
    body += f"&key=OK&id={gallery.editor}".encode()
    answer = checked(guest.call("POST", "SaveGallery", {"Content-Type": FORM}, body))
    title = guest.read(gallery.reader)["GALLERY_TITLE"]
    assert title in titles
    assert answer.status == 200 or (answer.status, title) == (400, "Old")
    page = guest.call("GET", f"/m{gallery.reader}")
    assert page.status == 200
    assert SCRIPT.encode() not in page.body


def test_a_save_says_which_gallery(guest: Caller) -> None:
    assert guest.save("", name="New").status in (400, 404)
    assert guest.send("POST", "SaveGallery", {"name": "New"}).status in (400, 404)


# --- DeleteGallery ---


@pytest.mark.parametrize("prefix", ["", "m"])
def test_a_deleted_gallery_is_gone_with_its_items(
    guest: Caller, gallery: Gallery, prefix: str
) -> None:
    item = guest.upload(gallery.editor, PNG, "p.png")
    answer = guest.send("POST", "DeleteGallery", {"id": prefix + gallery.editor})
    assert (answer.status, answer.body) == (200, SUCCESS)
    for known in (gallery.reader, gallery.editor):
        assert guest.send("GET", f"GetItems/m{known}").status == 404
    for path in (f"/m{gallery.reader}", f"/i{item}", f"/i{item}.png", f"/j{item}", f"/l{item}"):
        assert guest.call("GET", path).status == 404
    assert guest.send("POST", "DeleteGallery", {"id": gallery.editor}).status == 404


def test_a_get_deletes_nothing(guest: Caller, gallery: Gallery) -> None:
    assert guest.send("GET", f"DeleteGallery?id={gallery.editor}").status == 405
    assert guest.read(gallery.reader)["ITEMS_NAME"] == []


# --- who may do what ---


def form(path: str, **params: str) -> Request:
    return "POST", path, {"Content-Type": FORM}, urlencode(params).encode()


EDITS: Mapping[str, Callable[[str], Request]] = {
    "UploadItem": lambda known: (
        "POST",
        f"UploadItem?editor_id={known}&key=OK&filename=new.txt",
        {"Content-Type": MULTIPART},
        multipart(part("file", b"new", "new.txt")),
    ),
    "UploadItem, bare": lambda known: (
        "POST",
        f"UploadItem?editor_id={known}&key=OK&filename=new.txt",
        {},
        b"new",
    ),
    "SaveGallery": lambda known: form("SaveGallery", id=known, name="Taken", key="OK"),
    "SaveGallery by GET": lambda known: ("GET", f"SaveGallery?id={known}&name=Taken", {}, None),
    "set_public": lambda known: ("POST", f"set_public/{known}", {}, b""),
    "set_public by GET": lambda known: ("GET", f"set_public/{known}", {}, None),
    "set_private": lambda known: ("POST", f"set_private/{known}", {}, b""),
    "set_private by GET": lambda known: ("GET", f"set_private/{known}", {}, None),
    "DeleteGallery": lambda known: form("DeleteGallery", id=known),
}
each_edit = pytest.mark.parametrize("edit", EDITS)


def prepared(owner: Caller, edit: str) -> Gallery:
    """A new gallery that the edit would change."""
    gallery = owner.create()
    owner.letters(gallery.editor, "ab")
    if edit.startswith("set_private"):
        assert owner.send("GET", f"set_public/{gallery.editor}").status == 200
    return gallery


def state(viewer: Caller, gallery: Gallery) -> object:
    """All that an edit could change of a gallery, as one sees it who is signed in."""
    answer = viewer.send("GET", f"GetItems/m{gallery.reader}")
    row = viewer.row(gallery.reader)
    return answer.body, row["is_public"], row["item_count"], row["editor_id"] == "Deleted"


@each_edit
def test_the_editor_id_alone_opens_a_gallery_of_nobodys(
    guest: Caller, alice: User, bob: User, edit: str
) -> None:
    for editor in (guest, alice):
        gallery = prepared(guest, edit)
        before = state(bob, gallery)
        assert editor.do(EDITS[edit](gallery.editor)).status == 200
        assert state(bob, gallery) != before


@each_edit
def test_the_reader_id_of_a_gallery_of_nobodys_adds_and_does_no_more(
    guest: Caller, alice: User, bob: User, edit: str
) -> None:
    for editor in (guest, alice):
        gallery = prepared(guest, edit)
        before = state(bob, gallery)
        answer = editor.do(EDITS[edit](gallery.reader))
        if edit.startswith("UploadItem"):
            assert answer.status == 200
            assert guest.names(gallery.reader) == ["a.txt", "b.txt", "new.txt"]
        else:
            assert answer.status == 403
            assert state(bob, gallery) == before


@each_edit
def test_a_gallery_of_a_user_is_edited_with_the_cookie_and_not_without(
    guest: Caller, alice: User, bob: User, edit: str
) -> None:
    gallery = prepared(alice, edit)
    before = state(alice, gallery)
    stale = Caller(alice.service, "x" * 43)
    for stranger in (guest, bob, stale):
        for prefix in ("", "m"):
            assert stranger.do(EDITS[edit](prefix + gallery.editor)).status == 403
    assert state(alice, gallery) == before
    assert alice.do(EDITS[edit](gallery.reader)).status == 200
    assert state(alice, gallery) != before


@each_edit
def test_an_edit_of_no_gallery_is_a_404(guest: Caller, alice: User, edit: str) -> None:
    for caller in (guest, alice):
        for known in (NOWHERE, f"m{NOWHERE}"):
            assert caller.do(EDITS[edit](known)).status == 404


def test_no_answer_gives_an_editor_id_away(guest: Caller, alice: User, gallery: Gallery) -> None:
    item = guest.upload(gallery.editor)
    guest.send("GET", f"set_public/{gallery.editor}")
    paths = [f"GetItems/m{gallery.reader}", f"/m{gallery.reader}", f"/l{item}", *TIMELINES]
    paths += [f"/api/v2/{kind}" for kind in (f"files/{item}", f"folders/{gallery.reader}")]
    bodies = [alice.call("GET", path, alice.v2.bearer()).body for path in paths]
    assert gallery.reader.encode() in bodies[3]
    assert all(gallery.editor.encode() not in body for body in bodies)


def test_a_token_opens_no_gallery_of_nobodys(guest: Caller, alice: User, gallery: Gallery) -> None:
    (item,) = guest.letters(gallery.editor, "a")
    guest.send("GET", f"set_public/{gallery.editor}")
    for known in (gallery.reader, gallery.editor):
        assert alice.v2.send("PUT", f"folders/{known}", {"name": "Taken"}).status in (403, 404)
        assert alice.v2.send("DELETE", f"folders/{known}").status in (403, 404)
    assert alice.v2.send("PUT", f"files/{item}", {"name": "x.txt"}).status in (403, 404)
    assert alice.v2.send("DELETE", f"files/{item}").status in (403, 404)
    row = guest.read(gallery.reader)
    assert (row["GALLERY_TITLE"], row["ITEMS_NAME"]) == ("Untitled", ["a.txt"])


# --- register, sign in, sign out ---


def registration(**change: str | None) -> dict[str, str]:
    name = f"Register{next(rawhttp.counter)}"
    asked = {
        "username": name,
        "email": "",
        "password1": "pass word",
        "password2": "pass word",
    } | change
    return {key: value for key, value in asked.items() if value is not None}


@pytest.mark.parametrize("email", ["", "me@example.org"])
@pytest.mark.parametrize("way", ["form", "multipart"])
def test_a_user_registers_and_signs_in_by_both_apis(guest: Caller, way: str, email: str) -> None:
    params = registration(email=email)
    answer = guest.send("POST", "login/register", params, way)
    assert (answer.status, answer.body) == (200, SUCCESS)
    name = params["username"]
    session = guest.send("POST", "SignIn", {"username": name, "password1": "pass word"}, way)
    assert session.body == SUCCESS
    made = Caller(guest.service, cookie_of(session)).create()
    v2 = Client(guest.service, name, "")
    v2 = v2.with_token(v2.ask_token(v2.grant(password="pass word")))
    row = v2.get("activeuser")
    assert (row["username"], row["slug"], row["email"]) == (name, name.lower(), email)
    assert v2.values(f"users/{name.lower()}/folders", "id") == [made.reader]


USERNAME = "A username is required."
SECRET = "A password is required."
MATCH = "The password does not match."
EMAIL = "This email is invalid."


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({"username": ""}, {"username": USERNAME}),
        ({"username": None}, {"username": USERNAME}),
        ({"username": "{bob}"}, {"username": "This username is already taken."}),
        ({"username": "{BOB}"}, {"username": "This username is already taken."}),
        ({"password1": "", "password2": ""}, {"password": SECRET}),
        ({"password1": None, "password2": None}, {"password": SECRET}),
        ({"password1": ""}, {"password": SECRET}),
        ({"password2": "other"}, {"password": MATCH}),
        ({"password2": "PASS WORD"}, {"password": MATCH}),
        ({"password2": ""}, {"password": MATCH}),
        ({"password2": None}, {"password": MATCH}),
        ({"email": "nonsense"}, {"email": EMAIL}),
        ({"email": "a b@example.org"}, {"email": EMAIL}),
        ({"username": "", "password2": "x"}, {"username": USERNAME, "password": MATCH}),
        ({"username": "", "email": "x"}, {"username": USERNAME, "email": EMAIL}),
        (
            {"username": "", "password1": "", "password2": "", "email": "x"},
            {"username": USERNAME, "password": SECRET, "email": EMAIL},
        ),
    ],
)
def test_a_refused_registration_gives_all_reasons(
    guest: Caller, bob: User, change: dict[str, str | None], reasons: dict[str, str]
) -> None:
    filled = {
        key: value and value.replace("{bob}", bob.name).replace("{BOB}", bob.name.upper())
        for key, value in change.items()
    }
    params = registration(**filled)
    answer = guest.send("POST", "login/register", params)
    assert (answer.status, answer.body.decode()) == (
        200,
        json.dumps({"success": False, **reasons}),
    )
    assert "Set-Cookie" not in answer.headers
    if params.get("username", "").startswith("Register"):
        again = registration(username=params["username"])
        assert guest.send("POST", "login/register", again).body == SUCCESS


@pytest.mark.parametrize(
    "change",
    [
        {"username": "two words"},
        {"username": "pload"},  # its page would be `/upload`
        {"username": "../x"},
        {"username": SCRIPT},
        {"username": "a\r\nb"},
        {"username": "x" * 1000},
        {"username": "\U0001f600"},
        {"password1": "x" * 100_000, "password2": "x" * 100_000},
    ],
)
def test_a_registration_that_cannot_be_has_one_reason(
    guest: Caller, change: dict[str, str]
) -> None:
    answer = guest.send("POST", "login/register", registration(**change))
    kind = "username" if "username" in change else "password"
    assert (answer.status, list(answer.json())) == (200, ["success", kind])
    assert answer.json()["success"] is False
    assert answer.json()[kind]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"password1": "wrong"}, {"password": "The username or the password is wrong."}),
        ({"password1": f"{PASSWORD} "}, {"password": "The username or the password is wrong."}),
        ({"username": "nobody"}, {"password": "The username or the password is wrong."}),
        ({"username": ""}, {"username": USERNAME}),
        ({"username": None}, {"username": USERNAME}),
        ({"password1": ""}, {"password": SECRET}),
        ({"password1": None}, {"password": SECRET}),
        ({"username": "", "password1": ""}, {"username": USERNAME, "password": SECRET}),
    ],
)
def test_a_refused_sign_in_says_why_and_gives_no_cookie(
    guest: Caller, bob: User, change: dict[str, str | None], reason: dict[str, str]
) -> None:
    params = {"username": bob.name, "password1": PASSWORD} | change
    given = {key: value for key, value in params.items() if value is not None}
    answer = guest.send("POST", "SignIn", given)
    assert (answer.status, answer.body.decode()) == (200, json.dumps({"success": False, **reason}))
    assert "Set-Cookie" not in answer.headers


def test_the_cookie_of_a_session_is_guarded(site: Service, bob: User) -> None:
    (cookie,) = sign_in(site, bob.name.upper()).headers.get_all("Set-Cookie", [])
    first, *rest = re.split(r"\s*;\s*", cookie)
    assert re.fullmatch(r"sessionid=[0-9A-Za-z_-]{20,}", first)
    attributes = {text.lower() for text in rest}
    assert {"httponly", "samesite=lax", "path=/"} <= attributes
    assert not any(text.startswith(("domain=", "secure")) for text in attributes)


def test_a_session_is_new_with_each_sign_in(site: Service, bob: User) -> None:
    chosen = Caller(site, "chosen-by-somebody-else-0123456789abcdefghi")
    answer = chosen.send("POST", "SignIn", {"username": bob.name, "password1": PASSWORD})
    assert answer.body == SUCCESS
    assert len({chosen.cookie, bob.cookie, cookie_of(answer)}) == 3
    assert chosen.send("GET", "MyGalleries.json").status == 401


@pytest.mark.parametrize(
    "template",
    [
        "sessionid={}",
        "a=b; sessionid={}; c=d",
        "a=b;sessionid={};c=d",
        "sessionid={}; Path=/; HttpOnly; SameSite=Lax",
        '$Version=0; sessionid={}; $Path="/"',
        "csrftoken=x,y; sessionid={}",
        "broken; =; sessionid={}",
    ],
)
def test_the_cookie_is_found_among_others(guest: Caller, bob: User, template: str) -> None:
    headers = {"Cookie": template.format(bob.cookie)}
    assert guest.send("GET", "MyGalleries.json", headers=headers).status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_signing_out_ends_this_session_at_once(site: Service, user: User, method: str) -> None:
    other = Caller(site, cookie_of(sign_in(site, user.name)))
    answer = user.send(method, "SignOut", {} if method == "POST" else None)
    assert (answer.status, answer.body) == (200, SUCCESS)
    morsel = SimpleCookie(answer.headers["Set-Cookie"])["sessionid"]
    assert morsel["max-age"] == "0" or "1970" in morsel["expires"]
    assert (morsel.value, morsel["path"]) == ("", "/")
    assert user.send("GET", "MyGalleries.json").status == 401
    assert other.send("GET", "MyGalleries.json").status == 200


def test_signing_out_twice_is_no_fault(guest: Caller) -> None:
    assert guest.send("GET", "SignOut").body == SUCCESS


def test_registering_and_signing_in_are_posts(guest: Caller, bob: User) -> None:
    asked = {
        "login/register": registration(),
        "SignIn": {"username": bob.name, "password1": PASSWORD},
    }
    for path, params in asked.items():
        answer = guest.send("GET", f"{path}?{urlencode(params)}")
        assert (answer.status, answer.headers["Set-Cookie"]) == (405, None)


def test_registration_is_closed_unless_the_operator_opens_it(service: Service) -> None:
    guest, params = Caller(service), registration()
    for asked in (params, {}):
        answer = guest.send("POST", "login/register", asked)
        assert (answer.status, answer.body) == (
            200,
            b'{"success": false, "username": "Registration is closed on this service."}',
        )
    named = {"username": params["username"], "password1": "pass word"}
    assert guest.send("POST", "SignIn", named).json()["success"] is False


# --- timelines ---


@pytest.mark.parametrize("path", [*TIMELINES, *(f"{path}/2" for path in TIMELINES)])
def test_timelines_are_for_those_who_signed_in(guest: Caller, path: str) -> None:
    assert guest.send("GET", path).status == 401
    assert Caller(guest.service, "x" * 43).send("GET", path).status == 401


def test_an_empty_timeline_is_one_page(user: User) -> None:
    for path in TIMELINES:
        assert user.send("GET", path).body == b'{"total_pages": 1, "galleries": []}'


def test_a_row_of_a_timeline_has_the_shape_of_the_reference(user: User) -> None:
    made = user.create()
    item = user.upload(made.editor, PNG, "first.PNG")
    user.upload(made.editor)
    user.save(made.editor, name="My Piano Performances ✓")
    for path in ("MyGalleries.json", "pane/history.json", "pane/mine.json"):
        (row,) = user.rows(path)
        assert re.fullmatch(AGO, row["last_visit"])
        assert list(row.items())[1:] == [
            ("name", "My Piano Performances ✓"),
            ("item_count", 2),
            ("clicks", 0),
            ("reader_id", made.reader),
            ("editor_id", made.editor),
            ("thumbnail_id", f"{item}.PNG"),
            ("creator", user.name),
            ("is_public", "False"),
        ]


def test_timelines_have_twenty_a_page_the_latest_first(user: User) -> None:
    made = [user.create().reader for _ in range(21)][::-1]
    for path in ("MyGalleries.json", "pane/history.json", "pane/mine.json"):
        pages = [user.get(path + suffix) for suffix in ("", "/1", "/2", "/3", "/1000000")]
        assert [page["total_pages"] for page in pages] == [2] * 5
        shown = [[row["reader_id"] for row in page["galleries"]] for page in pages]
        assert shown == [made[:20], made[:20], made[20:], [], []]


@pytest.mark.parametrize("page", ["0", "-1", "x", "1.5", "%00", "%ff", "9" * 30, "1/2"])
def test_garbage_for_a_page_is_refused_or_ignored(bob: User, page: str) -> None:
    for path in TIMELINES:
        assert bob.send("GET", f"{path}/{page}").status in (200, 400, 404)


@pytest.mark.parametrize("way", ["GetItems/m{}", "GetItems/{}", "/m{}", "/m{}/"])
def test_what_was_visited_while_signed_in_stands_in_the_history(
    site: Service, alice: User, bob: User, gallery: Gallery, way: str
) -> None:
    user = newcomer(site, "galleryvisitor")
    theirs = alice.create()
    alice.save(theirs.editor, name="Theirs")
    own = user.create()
    for known in (theirs.reader, gallery.reader, theirs.reader):
        assert user.call("GET", way.format(known)).status == 200
    for path in ("MyGalleries.json", "pane/history.json"):
        assert sorted(user.shown(path)) == sorted([gallery.reader, theirs.reader, own.reader])
        row = user.row(theirs.reader, path)
        assert (row["name"], row["creator"]) == ("Theirs", alice.name)
        assert (row["editor_id"], row["thumbnail_id"]) == ("Unavailable", "")
        assert re.fullmatch(AGO, row["last_visit"])
        row = user.row(gallery.reader, path)
        assert (row["editor_id"], row["creator"], row["name"]) == ("Unavailable", "", "Untitled")
    assert user.shown("pane/mine.json") == [own.reader]
    assert theirs.reader not in bob.shown()


def test_the_history_has_the_latest_visit_first(
    guest: Caller, user: User, gallery: Gallery
) -> None:
    later = guest.create()
    for known in (gallery, later):
        user.read(known.reader)
    assert user.shown("pane/history.json") == [later.reader, gallery.reader]


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_a_gallery_that_is_gone_is_deleted_in_the_history(
    user: User, alice: User, api: str
) -> None:
    made = alice.create()
    user.read(made.reader)
    alice.read(made.reader)
    if api == "v2":
        alice.v2.delete(f"folders/{made.reader}")
    else:
        assert alice.send("POST", "DeleteGallery", {"id": made.editor}).status == 200
    for visitor in (user, alice):
        for path in ("MyGalleries.json", "pane/history.json"):
            row = visitor.row(made.reader, path)
            assert (row["editor_id"], row["thumbnail_id"]) == ("Deleted", "")
    assert made.reader not in alice.shown("pane/mine.json")


def test_the_feed_has_the_public_galleries_of_those_one_follows(
    site: Service, user: User, alice: User
) -> None:
    star = newcomer(site, "GalleryStar")
    galleries = [star.create() for _ in range(2)]
    star.create()
    alice.send("GET", f"set_public/{alice.create().editor}")
    for made in galleries:
        assert star.send("GET", f"set_public/{made.editor}").status == 200
    assert user.rows("pane/feed.json") == []
    user.v2.ok("POST", f"users/{user.slug}/following", {"slug": star.slug})
    rows = user.rows("pane/feed.json")
    assert [row["reader_id"] for row in rows] == [made.reader for made in galleries[::-1]]
    for row in rows:
        assert (row["editor_id"], row["creator"]) == ("Unavailable", star.name)
        assert row["is_public"] == "True"
    star.send("GET", f"set_private/{galleries[0].editor}")
    assert user.shown("pane/feed.json") == [galleries[1].reader]
    star.send("POST", "DeleteGallery", {"id": galleries[1].editor})
    assert user.rows("pane/feed.json") == []
    assert user.rows("pane/history.json") == []


def test_the_feed_is_paged(site: Service, user: User) -> None:
    star = newcomer(site, "gallerystar")
    user.v2.ok("POST", f"users/{user.slug}/following", {"slug": star.slug})
    made = [star.create().reader for _ in range(21)][::-1]
    for reader in made:
        star.send("GET", f"set_public/{reader}")
    pages = [user.get(f"pane/feed.json{suffix}") for suffix in ("", "/2", "/3")]
    assert [page["total_pages"] for page in pages] == [2, 2, 2]
    assert [len(page["galleries"]) for page in pages] == [20, 1, 0]
    shown = [row["reader_id"] for page in pages for row in page["galleries"]]
    assert sorted(shown) == sorted(made)


def test_clicks_are_the_visits_of_others(guest: Caller, alice: User, bob: User) -> None:
    made = alice.create()
    visits = [(alice, "GetItems/m{}", 0), (alice, "/m{}", 0), (guest, "GetItems/m{}", 1)]
    visits += [(guest, "/m{}", 2), (bob, "GetItems/{}", 3), (bob, "/m{}", 4), (alice, "/m{}", 4)]
    for visitor, path, expected in visits:
        assert visitor.call("GET", path.format(made.reader)).status == 200
        assert alice.row(made.reader)["clicks"] == expected
    assert alice.v2.get(f"folders/{made.reader}")["view_count"] == 4


def test_the_thumbnail_is_that_of_the_first_item(alice: User) -> None:
    made = alice.create()
    assert alice.row(made.reader)["thumbnail_id"] == ""
    a, b = (alice.upload(made.editor, PNG, name) for name in ("a.png", "b.JPG"))
    assert alice.row(made.reader)["thumbnail_id"] == f"{a}.png"
    alice.save(made.editor, items=json.dumps([b, a]))
    assert alice.row(made.reader)["thumbnail_id"] == f"{b}.JPG"
    assert alice.call("GET", f"/j{b}.JPG").status == 200


# --- set_public, set_private ---


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("prefix", ["", "m"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_gallery_is_made_public_and_private_again(
    alice: User, bob: User, gallery: Gallery, method: str, prefix: str, slash: str
) -> None:
    own = alice.create()
    bob.read(gallery.reader)
    for verb, expected in (("set_public", True), ("set_public", True), ("set_private", False)):
        for made, viewer in ((own, alice), (gallery, bob)):
            params: Params | None = {} if method == "POST" else None
            answer = alice.send(method, f"{verb}/{prefix}{made.editor}{slash}", params)
            assert (answer.status, answer.body) == (200, SUCCESS)
            assert viewer.row(made.reader)["is_public"] == str(expected)
        assert alice.v2.get(f"folders/{own.reader}")["is_public"] is expected
    assert alice.send(method, "set_public/").status in (400, 404)


# --- calls that a foreign page would have a browser make ---


def own_origin(service: Service) -> str:
    return service.url.rstrip("/")


def foreign(service: Service) -> list[dict[str, str]]:
    own = own_origin(service)
    return [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://example.org"},
        {"Origin": "null"},
        {"Origin": own.replace("http:", "https:")},
        {"Origin": f"http://127.0.0.1:{service.port % 65535 + 1}"},
        {"Origin": f"{own}.example.org"},
        {"Origin": "http://example.org", "Sec-Fetch-Site": "same-origin"},
        {"Origin": own, "Sec-Fetch-Site": "cross-site"},
    ]


def changes(caller: Caller, edit: str) -> tuple[Gallery, Request]:
    gallery = prepared(caller, edit)
    others: dict[str, Request] = {
        "CreateGallery": ("POST", "CreateGallery", {}, b""),
        "CreateGallery by GET": ("GET", "CreateGallery", {}, None),
        "SignOut": ("GET", "SignOut", {}, None),
        "SignOut by POST": ("POST", "SignOut", {}, b""),
    }
    return gallery, others[edit] if edit in others else EDITS[edit](gallery.editor)


CHANGES = [*EDITS, "CreateGallery", "CreateGallery by GET", "SignOut", "SignOut by POST"]


@pytest.mark.parametrize("edit", CHANGES)
def test_a_call_of_a_foreign_page_changes_nothing(site: Service, alice: User, edit: str) -> None:
    session = Caller(site, cookie_of(sign_in(site, alice.name)))
    gallery, request = changes(session, edit)
    before = state(session, gallery), session.shown()
    for headers in foreign(site):
        assert session.do(request, headers).status == 403, headers
    assert (state(session, gallery), session.shown()) == before


@pytest.mark.parametrize("edit", CHANGES)
def test_a_call_of_ones_own_page_or_of_a_program_passes(
    site: Service, alice: User, edit: str
) -> None:
    own = own_origin(site)
    session = Caller(site, cookie_of(sign_in(site, alice.name)))
    for headers in (
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": own},
        {"Origin": own, "Sec-Fetch-Site": "same-origin"},
    ):
        _, request = changes(session, edit)
        assert session.do(request, headers).status == 200, headers
        if edit.startswith("SignOut"):
            session = Caller(site, cookie_of(sign_in(site, alice.name)))


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_foreign_page_drops_nothing_in_ones_name(site: Service, user: User, method: str) -> None:
    path, kind, body = "/a.png", "image/png", PNG
    if method == "POST":
        path, kind, body = "/", MULTIPART, multipart(part("file", PNG, "a.png"))
    for headers in foreign(site):
        answer = user.call(method, path, {"Content-Type": kind} | headers, body)
        assert answer.status == 403, headers
    assert user.shown() == []


def test_reading_is_nobodys_change(site: Service, alice: User) -> None:
    made = alice.create()
    for headers in foreign(site):
        for path in (f"GetItems/m{made.reader}", "MyGalleries.json"):
            answer = alice.send("GET", path, headers=headers)
            assert answer.status == 200
            assert "Access-Control-Allow-Credentials" not in answer.headers


def test_without_a_cookie_there_is_nothing_to_ride_on(site: Service, guest: Caller) -> None:
    for headers in foreign(site):
        row = guest.send("POST", "CreateGallery", {}, headers=headers).json()
        made = Gallery(row["editor_id"], row["reader_id"])
        assert guest.do(EDITS["UploadItem"](made.editor), headers).status == 200


def test_a_foreign_page_signs_nobody_in_nor_up(site: Service, guest: Caller, bob: User) -> None:
    params = registration()
    named = {"username": bob.name, "password1": PASSWORD}
    for headers in foreign(site):
        for path, asked in (("login/register", params), ("SignIn", named)):
            answer = guest.send("POST", path, asked, headers=headers)
            assert (answer.status, answer.headers["Set-Cookie"]) == (403, None), headers
    own = {"Origin": own_origin(site), "Sec-Fetch-Site": "same-origin"}
    for path, asked in (("login/register", params), ("SignIn", named)):
        assert guest.send("POST", path, asked, headers=own).body == SUCCESS


# --- both APIs show the same things ---


def test_a_gallery_is_a_folder_and_its_items_are_files(user: User) -> None:
    made = user.create()
    user.save(made.editor, name="Both")
    item = user.upload(made.editor, PNG, "p.PNG")
    (row,) = user.v2.results(f"users/{user.slug}/folders", rawhttp.LISTED_FOLDER)
    assert (row["id"], row["name"], row["is_public"]) == (made.reader, "Both", False)
    assert row["file_count"] == 1
    (file,) = user.v2.results(f"folders/{made.reader}/files", rawhttp.FILE)
    assert (file["id"], file["name"], file["filesize"]) == (item, "p.PNG", len(PNG))
    assert (file["width"], file["height"], file["mimetype"]) == (3, 2, "image/png")
    assert user.v2.get("activeuser")["storage_used"] == len(PNG)


def test_an_order_saved_by_one_api_is_that_of_the_other(user: User) -> None:
    made = user.create()
    a, b, c = user.letters(made.editor, "abc")
    path = f"folders/{made.reader}"
    user.save(made.editor, items=json.dumps([c, a, b]))
    assert user.v2.get(path)["item_ordering"] == [c, a, b]
    assert user.v2.values(f"{path}/files", "id") == [c, a, b]
    user.v2.ok("PUT", path, {"item_ordering": json.dumps([b, c, a])})
    assert user.ids(made.reader) == [b, c, a]
    user.save(made.editor, items=json.dumps([a]))
    assert user.v2.values(f"{path}/files", "id") == [a]
    assert user.v2.send("GET", f"files/{b}").status == 404
    assert user.v2.get("activeuser")["storage_used"] == 1


def test_what_v2_changes_is_seen_by_v1(user: User) -> None:
    made = user.create()
    a, b = user.letters(made.editor, "ab")
    user.v2.ok("PUT", f"folders/{made.reader}", {"name": "Named", "is_public": "true"})
    user.v2.ok("PUT", f"files/{a}", {"name": "new.txt"})
    user.v2.delete(f"files/{b}")
    row = user.read(made.reader)
    assert (row["GALLERY_TITLE"], row["ITEMS_NAME"]) == ("Named", ["new.txt"])
    assert user.row(made.reader)["is_public"] == "True"
    user.v2.delete(f"folders/{made.reader}")
    assert user.send("GET", f"GetItems/m{made.reader}").status == 404
    assert user.do(EDITS["UploadItem"](made.editor)).status == 404


@pytest.mark.parametrize("is_public", ["true", "false"])
def test_a_folder_of_v2_is_a_gallery_of_its_owner(
    guest: Caller, bob: User, user: User, is_public: str
) -> None:
    folder = user.v2.folder("Stuff", is_public)
    file = user.v2.upload(b"text", "t.txt", folder)
    row = guest.read(folder["id"])
    assert (row["GALLERY_TITLE"], row["ITEMS_NAME"]) == ("Stuff", ["t.txt"])
    item = user.upload(folder["id"], b"more", "u.txt")
    for stranger in (guest, bob):
        for edit in EDITS.values():
            assert stranger.do(edit(folder["id"])).status == 403
    assert user.save(folder["id"], name="S", items=json.dumps([item, file["id"]])).body == SUCCESS
    assert user.v2.values(f"folders/{folder['id']}/files", "id") == [item, file["id"]]
    row = user.row(folder["id"], "pane/mine.json")
    assert (row["editor_id"], row["is_public"]) == (folder["id"], is_public.title())


def test_a_gallery_of_nobodys_stands_in_no_list_of_v2(
    guest: Caller, alice: User, gallery: Gallery
) -> None:
    guest.send("GET", f"set_public/{gallery.editor}")
    assert alice.v2.send("GET", f"folders/{gallery.reader}").status in (200, 404)
    assert alice.v2.send("GET", f"folders/{gallery.editor}").status == 404
    for path in (f"users/{alice.slug}/folders", "activeuser/mine", "activeuser/feed"):
        assert gallery.reader not in alice.v2.values(path, "id")
    assert gallery.reader not in alice.shown("pane/mine.json")


def test_the_room_of_an_account_is_for_its_galleries_too(site: Service) -> None:
    small = User(site, new_user(site, "gallerysmall", quota=1000).name)
    made = small.create()
    small.upload(made.editor, bytes(600), "a.txt")
    for content_type, body in (
        ("image/png", bytes(600)),
        (MULTIPART, multipart(part("file", bytes(600), "b.txt"))),
    ):
        answer = small.post_item({"editor_id": made.editor}, body, content_type)
        assert error_of(answer) == (413, "quota_exceeded")
    assert small.names(made.reader) == ["a.txt"]


# --- curl alone ---


def link_of(caller: Caller, answer: Answer) -> str:
    """The reader id of the gallery whose link is the whole answer."""
    assert (answer.status, answer.headers.get_content_type()) == (201, "text/plain")
    assert answer.headers["Content-Length"] == str(len(answer.body))
    found = re.fullmatch(rf"{re.escape(caller.base)}m({ID})\n", answer.body.decode())
    assert found, answer.body
    return found[1]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/shot.png", "shot.png"),
        ("/my%20caf%C3%A9.png", "my café.png"),
        ("/min.png", "min.png"),  # these begin as short links do
        ("/image.png", "image.png"),
        ("/list.txt", "list.txt"),
        ("/user.png", "user.png"),
        ("/api.txt", "api.txt"),
        ("/", "Untitled"),
    ],
)
def test_curl_puts_a_file_and_gets_the_link(guest: Caller, path: str, name: str) -> None:
    reader = link_of(guest, guest.call("PUT", path, CURL, PNG))
    row = guest.read(reader)
    assert row["ITEMS_NAME"] == [name]
    (address,) = row["ITEMS_GALLERY"]
    assert guest.call("GET", address[len(guest.base) - 1 :]).body == PNG


def test_curl_puts_its_standard_input_in_chunks(guest: Caller) -> None:
    head = spell(guest, "PUT", b"/", CURL | {"Transfer-Encoding": "chunked"}, "1.1")
    reader = link_of(guest, converse(guest, head + chunked(BYTES)))
    (address,) = guest.read(reader)["ITEMS_GALLERY"]
    assert guest.call("GET", address[len(guest.base) - 1 :]).body == BYTES


@pytest.mark.parametrize("names", [["shot.png"], ["b.png", "a.png", "b.png"]])
def test_curl_posts_files_and_gets_the_link(guest: Caller, names: list[str]) -> None:
    body = multipart(*(part("file", PNG, name) for name in names))
    reader = link_of(guest, guest.call("POST", "/", CURL | {"Content-Type": MULTIPART}, body))
    assert guest.names(reader) == names


def test_a_form_of_the_web_is_sent_on_to_the_page(guest: Caller) -> None:
    body = multipart(part("file", PNG, "shot.png"))
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    headers = {"Content-Type": MULTIPART, "Accept": accept}
    answer = guest.call("POST", "/", headers, body)
    assert answer.status == 303
    found = re.fullmatch(rf"({re.escape(guest.base)}|/)m({ID})", answer.headers["Location"])
    assert found
    assert guest.names(found[2]) == ["shot.png"]


def test_curl_with_a_cookie_makes_a_gallery_of_the_users(user: User) -> None:
    body = multipart(part("file", PNG, "a.png"))
    made = [
        link_of(user, user.call("PUT", "/a.png", CURL, PNG)),
        link_of(user, user.call("POST", "/", CURL | {"Content-Type": MULTIPART}, body)),
    ]
    assert user.shown("pane/mine.json") == made[::-1]
    assert user.v2.values(f"users/{user.slug}/folders", "id") == made


@pytest.mark.parametrize("body", [multipart(), multipart(part("key", b"OK")), b"", b"\xff"])
def test_a_form_without_files_makes_no_gallery(user: User, body: bytes) -> None:
    assert user.call("POST", "/", CURL | {"Content-Type": MULTIPART}, body).status == 400
    assert user.shown() == []


# --- limits of those without an account ---


def statuses(count: int, request: Callable[[], Answer]) -> list[int]:
    """Send one request so often, all at once."""
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(request) for _ in range(count)]
    return sorted(future.result().status for future in futures)


def drops(caller: Caller) -> list[Callable[[], Answer]]:
    """Every way to a new gallery."""
    curl = CURL | {"Content-Type": MULTIPART}
    return [
        lambda: caller.send("GET", "CreateGallery"),
        lambda: caller.send("POST", "CreateGallery", {}),
        lambda: caller.call("PUT", "/a.png", CURL, PNG),
        lambda: caller.call("POST", "/", curl, multipart(part("file", PNG, "a.png"))),
    ]


def test_an_address_makes_so_many_galleries_an_hour(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--anonymous-galleries", "5") as service:
        guest = Caller(service)
        made = guest.create()
        assert statuses(12, lambda: guest.send("GET", "CreateGallery")) == [200] * 4 + [429] * 8
        for drop in drops(guest):
            assert drop().status == 429
        # The header is the client's to write where no proxy is trusted.
        for number in range(3):
            headers = {"X-Forwarded-For": f"198.51.100.{number}"}
            assert guest.send("GET", "CreateGallery", headers=headers).status == 429
        guest.upload(made.editor)
        alice = newcomer(service, "limited")
        for drop in drops(alice):
            assert drop().status in (200, 201)


def test_the_galleries_of_an_hour_are_a_hundred_unless_said(own_service: Service) -> None:
    guest = Caller(own_service)
    assert [guest.send("GET", "CreateGallery").status for _ in range(101)] == [200] * 100 + [429]


def test_a_trusted_proxy_tells_the_address(tmp_path: Path) -> None:
    options = ("--trusted-proxy", "127.0.0.1", "--trusted-proxy", "10.0.0.0/8")
    with running(tmp_path / "data", "--anonymous-galleries", "1", *options) as service:
        guest = Caller(service)
        for forwarded, expected in (
            ("198.51.100.1", 200),
            ("198.51.100.1", 429),
            ("198.51.100.2", 200),
            ("203.0.113.7, 198.51.100.2", 429),  # what stands left of it anyone can write
            ("198.51.100.3, 127.0.0.1", 200),
            ("198.51.100.3,10.1.2.3", 429),
            ("203.0.113.8, 198.51.100.4, 10.1.2.3, 127.0.0.1", 200),
            (" 198.51.100.4 ", 429),
            ("2001:db8:0:1::1", 200),
            ("2001:db8:0:1:ffff::2", 429),  # the same /64
            ("2001:db8:0:2::1", 200),
        ):
            headers = {"X-Forwarded-For": forwarded}
            answer = guest.send("GET", "CreateGallery", headers=headers)
            assert answer.status == expected, forwarded
        assert guest.send("GET", "CreateGallery").status == 200
        assert guest.send("GET", "CreateGallery").status == 429
        for forwarded in ("", "unknown", ",", "127.0.0.1", "10.0.0.1, 10.0.0.2", "x" * 5000):
            headers = {"X-Forwarded-For": forwarded}
            assert guest.send("GET", "CreateGallery", headers=headers).status < 500


def test_an_anonymous_file_may_be_so_large(tmp_path: Path) -> None:
    options = ("--anonymous-file", "1k", "--anonymous-days", "1")
    with running(tmp_path / "data", *options) as service:
        guest = Caller(service)
        alice = newcomer(service, "limited")
        made, own = guest.create(), alice.create()
        large = bytes(1025)
        for content_type, body in (
            ("image/png", large),
            (MULTIPART, multipart(part("file", large, "b.bin"))),
        ):
            answer = guest.post_item({"editor_id": made.editor}, body, content_type)
            assert error_of(answer)[0] == 413
            assert guest.post_item({"editor_id": made.reader}, body, content_type).status == 413
            # Signing in gives nobody's gallery no more room.
            assert alice.post_item({"editor_id": made.editor}, body, content_type).status == 413
            assert alice.post_item({"editor_id": own.editor}, body, content_type).status == 200
        late = part("editor_id", made.editor.encode())
        assert guest.post_item({}, multipart(part("file", large, "b.bin"), late)).status == 413
        target = f"/api/UploadItem?editor_id={made.editor}".encode()
        head = spell(guest, "POST", target, {"Transfer-Encoding": "chunked"}, "1.1")
        assert converse(guest, head + chunked(large)).status == 413
        assert guest.call("PUT", "/a.png", CURL, large).status == 413
        assert guest.names(made.reader) == []
        guest.upload(made.editor, bytes(1024), "a.bin")
        assert guest.names(made.reader) == ["a.bin"]


def test_all_anonymous_files_together_may_be_so_large(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--anonymous-total", "1k") as service:
        guest = Caller(service)
        first, second = guest.create(), guest.create()
        body = multipart(part("file", bytes(600), "a.txt"))

        def post() -> Answer:
            return guest.post_item({"editor_id": first.editor}, body)

        assert statuses(6, post) == [200] + [413] * 5
        answer = guest.post_item({"editor_id": second.editor}, bytes(600), "image/png")
        assert error_of(answer) == (413, "quota_exceeded")
        assert guest.call("PUT", "/a.png", CURL, bytes(600)).status == 413
        assert (guest.names(first.reader), guest.names(second.reader)) == (["a.txt"], [])
        alice = newcomer(service, "limited")
        alice.upload(alice.create().editor, bytes(600))
        assert guest.send("POST", "DeleteGallery", {"id": first.editor}).status == 200
        guest.upload(second.editor, bytes(600), "b.txt")


def test_galleries_without_an_account_can_be_switched_off(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--anonymous", "off") as service:
        for drop in drops(Caller(service)):
            assert drop().status == 403
        alice = newcomer(service, "limited")
        for drop in drops(alice):
            assert drop().status in (200, 201)
        assert len(alice.shown("pane/mine.json")) == 4


# --- requests as they came ---


@pytest.mark.parametrize("template", ["/api/{}/", "//api/{}", "/api//{}//", "///api///{}"])
def test_doubled_and_trailing_slashes_are_as_good_as_single_ones(
    site: Service, alice: User, bob: User, gallery: Gallery, template: str
) -> None:
    asked: list[Request] = [
        ("GET", "CreateGallery", {}, None),
        EDITS["UploadItem"](gallery.editor),
        form("SaveGallery", id=gallery.editor, name="New"),
        ("GET", f"GetItems/m{gallery.reader}", {}, None),
        ("GET", f"GetItems//m{gallery.reader}", {}, None),
        form("login/register", **registration()),
        form("login//register", **registration()),
        form("SignIn", username=bob.name, password1=PASSWORD),
        *(("GET", path, {}, None) for path in TIMELINES),
        *(("GET", f"{path}/2", {}, None) for path in TIMELINES),
        ("GET", "pane//mine.json//1", {}, None),
        ("GET", f"set_public/{gallery.editor}", {}, None),
        ("POST", f"set_private//{gallery.editor}", {}, b""),
        form("DeleteGallery", id=gallery.editor),
    ]
    session = Caller(site, cookie_of(sign_in(site, alice.name)))
    for method, path, headers, body in [*asked, ("GET", "SignOut", {}, None)]:
        plain, _, query = path.partition("?")
        target = f"{template.format(plain)}?{query}"
        answer = checked(session.call(method, target, headers, body))
        assert answer.status == 200, (target, answer.body)
        assert answer.json().get("success") in (None, True), (target, answer.body)
    assert session.send("GET", "MyGalleries.json").status == 401


@pytest.mark.parametrize("template", ["/{}/", "//{}", "//{}//"])
def test_pages_take_doubled_and_trailing_slashes_too(
    guest: Caller, gallery: Gallery, template: str
) -> None:
    item = guest.upload(gallery.editor)
    for link in (f"m{gallery.reader}", f"l{item}"):
        assert guest.call("GET", template.format(link)).status == 200


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Host", "min.us"),
        ("User-Agent", ""),
        ("User-Agent", "Python-urllib/2.6"),
        ("User-Agent", "Mozilla/4.0 (compatible; MSIE 6.0)"),
        ("Accept", "text/html"),
        ("Accept-Encoding", "identity"),
        ("Referer", "http://example.org/"),
    ],
)
def test_no_answer_depends_on_who_asks(
    guest: Caller, gallery: Gallery, header: str, value: str
) -> None:
    guest.upload(gallery.editor)
    plain = guest.send("GET", f"GetItems/m{gallery.reader}")
    answer = guest.send("GET", f"GetItems/m{gallery.reader}", headers={header: value})
    assert (answer.status, answer.body) == (200, plain.body)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "nothing"), ("GET", "pane/other.json"), ("DELETE", "CreateGallery"), ("GET", "login")],
)
def test_what_does_not_exist_is_refused_in_json(guest: Caller, method: str, path: str) -> None:
    assert guest.send(method, path).status in (404, 405)


# --- garbage ---

GARBAGE = [
    "\0",
    "\x1b[2J\r\nX: y",
    "\u202e\ufffe\U0001f4a9",
    "x" * 100_000,
    "[" * 100_000,
    '{"a": [1, null, {}]}',
    "1e999",
    "9" * 5000,
    "'; DROP TABLE users; --",
    "../../../etc/passwd",
    "%00%ff%",
    " ",
]


@pytest.mark.parametrize(
    ("path", "field", "expected"),
    [
        ("SaveGallery", "id", (400, 404)),
        ("SaveGallery", "name", (200, 400)),
        ("SaveGallery", "items", (200, 400)),
        ("SaveGallery", "key", (200, 400)),
        ("DeleteGallery", "id", (400, 404)),
        ("SignIn", "username", (200, 400)),
        ("SignIn", "password1", (200, 400, 429)),
        ("login/register", "username", (200, 400)),
        ("login/register", "email", (200, 400)),
        ("login/register", "password2", (200, 400)),
        ("login/register", "unknown", (200, 400)),
    ],
)
def test_garbage_in_a_field_is_refused_or_ignored(
    guest: Caller, bob: User, path: str, field: str, expected: tuple[int, ...]
) -> None:
    made = guest.create()
    item = guest.upload(made.editor)
    for text in GARBAGE:
        known = {"SignIn": {"username": bob.name, "password1": "x"}}
        known["login/register"] = registration(password1="a")
        params: Params = known.get(path, {"id": made.editor}) | {field: text}
        answer = guest.send("POST", path, params)
        assert answer.status in expected, text[:20]
        if path == "SignIn" or field == "password2":
            assert answer.status in (400, 429) or answer.json()["success"] is False
    assert guest.ids(made.reader) == [item]


@pytest.mark.parametrize("text", ["\0", "\r\nX: y", "é\U0001f4a9", "x" * 5000, "[]", "%", " "])
def test_garbage_in_a_cookie_is_no_session(guest: Caller, text: str) -> None:
    for value in (f"sessionid={quote(text)}", quote(text), f"sessionid=;;{quote(text)}="):
        answer = guest.send("GET", "MyGalleries.json", headers={"Cookie": value})
        assert answer.status == 401


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{"),
        ("application/json", b"\xff"),
        (FORM, b"name=%ff&&=&;%"),
        (FORM, b"\xff\x00"),
        (MULTIPART, b"\xff" * 100),
        ("multipart/form-data", b"--B\r\n\r\n--B--"),
        ("nonsense", b"nonsense"),
    ],
)
def test_a_garbage_body_is_refused_or_ignored(
    guest: Caller, gallery: Gallery, content_type: str, body: bytes
) -> None:
    headers = {"Content-Type": content_type}
    for path in ("SaveGallery", "DeleteGallery", "SignIn", "login/register"):
        answer = checked(guest.call("POST", path, headers, body))
        assert answer.status in (200, 400, 404, 415)
        assert answer.status != 200 or answer.json()["success"] is False
    for path in ("CreateGallery", f"set_public/{gallery.editor}", "SignOut"):
        answer = checked(guest.call("POST", path, headers, body))
        assert answer.status in (200, 400, 415)
