"""The hostile client: a test for each row of the service's threats, against a running service.

`docs/SECURITY.md` has the table: row, what holds against it, test.
"""

import base64
import contextlib
import hashlib
import io
import itertools
import json
import re
import socket
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from PIL import Image
from starlette.routing import Mount, Route

from minus_server import names
from minus_server.api_v2 import ENDPOINTS
from minus_server.app import ROUTES
from minus_server.errors import BadRequest
from minus_server.meter import Meter
from minus_server.throttle import SignIns
from tests import rawhttp
from tests.live import Service
from tests.rawhttp import (
    FORM,
    HOST,
    MULTIPART,
    PASSWORD,
    Answer,
    Client,
    Row,
    call,
    encode,
    error_of,
    multipart,
    new_user,
    part,
    png,
)

SCRIPT = "<script>alert(1)</script>"
QUOTES = "\"'><img src=x onerror=alert(1)>"
EVIL = "https://evil.example"
NOWHERE = "A1b2C3d4E5f6"  # as long as an id, and nobody's
HTML = {"Accept": "text/html"}
OPTIONS = ("--trusted-proxy", "127.0.0.1", "--anonymous-galleries", "1000000")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service behind a proxy, which we are: X-Forwarded-For tells who asks."""
    running = Service(tmp_path_factory.mktemp("site") / "data", OPTIONS)
    running.start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log()


@pytest.fixture(scope="module")
def alice(site: Service) -> Client:
    return new_user(site, "alice")


@pytest.fixture(scope="module")
def bob(site: Service) -> Client:
    return new_user(site, "bob")


def page(client: Client, path: str, **headers: str) -> Answer:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return client.call("GET", path, HTML | named)


def gallery(service: Service, **headers: str) -> Row:
    """A gallery without an account: reader_id, editor_id."""
    answer = call(service.port, "POST", "/api/CreateGallery", headers)
    assert answer.status == 200, answer.body
    return dict(answer.json())


def item(service: Service, gallery_id: str, data: bytes, **params: str) -> Answer:
    query = urlencode({"editor_id": gallery_id, "filename": "a.txt"} | params)
    kind = {"Content-Type": "application/octet-stream"}
    return call(service.port, "POST", f"/api/UploadItem?{query}", kind, data)


def sign_in(client: Client, password: str = PASSWORD, **headers: str) -> Answer:
    _, kind, body = encode("form", {"username": client.name, "password1": password})
    return client.call("POST", "/api/SignIn", kind | headers, body)


def browser(client: Client) -> dict[str, str]:
    """The Cookie header of a browser that is signed in."""
    return {"Cookie": sign_in(client).headers["Set-Cookie"].partition(";")[0]}


def raw(port: int, *sent: bytes) -> bytes:
    """Send bytes, the last of which ask to close. -> all that comes back"""
    with rawhttp.connect(port) as sock:
        with contextlib.suppress(OSError):  # it may have hung up on the first of them
            for some in sent:
                sock.sendall(some)
        return rawhttp.drain(sock)


# --- what a browser is made to show ---


ACTIVE: Mapping[str, tuple[str, bytes]] = {
    "a.html": ("text/html", SCRIPT.encode()),
    "a.xhtml": ("application/xhtml+xml", f"<html xmlns='x'>{SCRIPT}</html>".encode()),
    "a.svg": ("image/svg+xml", f"<svg xmlns='http://www.w3.org/2000/svg'>{SCRIPT}</svg>".encode()),
    "a.xml": ("text/xml", b"<?xml-stylesheet href='a.xsl'?><a/>"),
    "a.md": ("text/markdown", f"# {SCRIPT}\n[x](javascript:alert(1))".encode()),
    "a.pdf": ("application/pdf", b"%PDF-1.7\n/OpenAction<</JS(app.alert(1))>>"),
    "a.epub": ("application/epub+zip", b"PK\x03\x04mimetypeapplication/epub+zip"),
    "a.js": ("text/javascript", b"alert(1)"),
    "a.css": ("text/css", b"*{background:url(//evil.example)}"),
    "a.swf": ("application/x-shockwave-flash", b"FWS\x08"),
}


@pytest.mark.parametrize("name", ACTIVE)
def test_s20_what_could_act_in_a_browser_is_saved_and_sandboxed(alice: Client, name: str) -> None:
    kind, data = ACTIVE[name]
    body = multipart(part("file", data, name, kind))
    row = alice.post_file(body).json()
    for suffix in ("", f".{name.partition('.')[2]}", ".png", ".html"):
        answer = page(alice, f"/i{row['id']}{suffix}")
        assert answer.body == data
        assert answer.headers["Content-Disposition"].startswith("attachment;")
        assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for path in (f"/l{row['id']}", f"/m{row['folder'].rpartition('/')[2]}"):
        shown = page(alice, path).body
        assert b"<" not in data or data not in shown
        assert b"<script>alert" not in shown


class Tags(HTMLParser):
    """The names of all attributes of a page, and where its scripts come from."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: set[str] = set()
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes |= {name for name, _ in attrs}
        if tag == "script":
            self.scripts.append(dict(attrs).get("src") or "inline")


def test_s21_no_text_of_a_user_becomes_markup(site: Service) -> None:
    eve = new_user(site, "eve")
    for text in (SCRIPT, QUOTES, "{{7*7}}", "</title><svg/onload=alert(1)>"):
        eve.ok("PUT", "activeuser", {"display_name": text, "description": text})
        folder = eve.folder(text)
        name = text.replace("/", "_")
        row = eve.upload(png(2, 2), "x.png", folder)
        eve.ok("PUT", f"files/{row['id']}", {"caption": text, "title": text, "name": name})
        note = eve.upload(text.encode(), "x.txt", folder)
        cookie = browser(eve)
        body = urlencode({"name": text}).encode()
        made = eve.call("POST", "/settings/clients", cookie | HTML | {"Content-Type": FORM}, body)
        paths = ("mine", "settings", f"u{eve.slug}", f"m{folder['id']}", f"l{row['id']}")
        pages = [made, *(page(eve, f"/{path}", **cookie) for path in (*paths, f"l{note['id']}"))]
        for answer in pages:
            assert answer.status == 200
            seen = Tags()
            seen.feed(answer.body.decode())
            assert all(re.fullmatch(r"/static/\w+\.js\?v=\w+", src) for src in seen.scripts)
            assert not [name for name in seen.attributes if name.startswith("on")]
            assert b">49<" not in answer.body
            policy = answer.headers["Content-Security-Policy"]
            assert ("unsafe" in policy, "script-src 'self';" in policy) == (False, True)


def test_s22_no_parameter_is_echoed_as_markup(alice: Client) -> None:
    row = alice.upload()
    cookie = browser(alice)
    for path in ("", "signin", "register", "mine", "settings", f"l{row['id']}", "nowhere", "m" * 9):
        for key in ("note", "next", "page", "k304", "q", "error"):
            answer = page(alice, f"/{path}?{urlencode({key: QUOTES + SCRIPT})}", **cookie)
            assert b"onerror" not in answer.body
            assert b"alert(1)" not in answer.body
    for path in (f"/{quote(SCRIPT)}", f"/m{quote(QUOTES)}", f"/static/{quote(SCRIPT)}"):
        answer = page(alice, path)
        assert (answer.status, b"alert(1)" in answer.body) == (404, False)


@pytest.mark.parametrize(
    ("name", "said", "data", "kind", "inline"),
    [
        ("a.png", "image/png", b"<html><script>1</script>", "application/octet-stream", False),
        ("a.jpg", "image/jpeg", b"GIF89a" + b"<script>" * 9, "image/gif", True),
        ("a.html", "text/html", png(2, 2), "image/png", True),
        ("a.txt", "text/plain", b"<html><script>1</script>", "text/plain; charset=utf-8", True),
        ("a.mp4", "video/mp4", b"<html><script>1</script>", "video/mp4", True),
        ("a", "text/html\r\nX-Y: z", b"<html>", "text/html", False),
        ("a", "TEXT/HTML; charset=utf-7", b"+ADw-script+AD4-", "text/html", False),
        ("a.txt", "multipart/x-mixed-replace", b"--x", "multipart/x-mixed-replace", False),
    ],
)
def test_s23_the_bytes_decide_what_is_shown_as_a_picture(
    alice: Client, name: str, said: str, data: bytes, kind: str, inline: bool
) -> None:
    row = alice.post_file(multipart(part("file", data, name, said))).json()
    answer = page(alice, f"/i{row['id']}")
    assert answer.headers["Content-Type"] == kind
    assert answer.headers["Content-Disposition"].startswith("inline") is inline
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "X-Y" not in answer.headers


def test_s23_no_answer_of_ours_is_left_to_be_guessed(alice: Client) -> None:
    row = alice.upload(png(2, 2), "a.png")
    folder = row["folder"].rpartition("/")[2]
    paths = ["/", "/static/upload.js", "/openapi.json", "/api/v2", "/nowhere", "/icon/X.png"]
    paths += [
        f"/m{folder}",
        f"/m{folder}.zip",
        f"/i{row['id']}",
        f"/j{row['id']}",
        f"/k{row['id']}",
    ]
    for path in paths:
        assert alice.call("GET", path).headers["X-Content-Type-Options"] == "nosniff", path


@pytest.mark.parametrize(
    "name", ['a".html', "a;b=c.txt", "a\\b", "a%22.txt", "é\U0001f4a9.txt", "a'b.txt", "x" * 255]
)
def test_s24_no_name_breaks_the_header_that_carries_it(alice: Client, name: str) -> None:
    row = alice.upload()
    alice.ok("PUT", f"files/{row['id']}", {"name": quote(name, safe="")})
    folder = row["folder"].rpartition("/")[2]
    alice.ok("PUT", f"folders/{folder}", {"name": name[:200]})
    for path in (f"/i{row['id']}", f"/m{folder}.zip"):
        header = alice.call("GET", path).headers.get_all("Content-Disposition")
        assert header is not None
        assert len(header) == 1
        form = r"(?:inline|attachment); filename=\"[ !#-\[\]-~]*\"; filename\*=UTF-8''[\w.~%-]+"
        assert re.fullmatch(form, header[0], re.ASCII), header
    assert (
        alice.call("GET", f"/i{row['id']}")
        .headers["Content-Disposition"]
        .endswith(f"''{quote(name, safe='')}")
    )


@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: x=1", "a\nb", "a\0b"])
def test_s24_a_name_with_the_end_of_a_line_is_refused(alice: Client, name: str) -> None:
    row = alice.upload()
    assert alice.send("PUT", f"files/{row['id']}", {"name": quote(name, safe="")}).status == 400
    folder = row["folder"].rpartition("/")[2]
    encoded = quote(name, safe="")
    assert alice.send("PUT", f"folders/{folder}/files/{encoded}").status == 400


# --- requests that somebody else's page makes ---


def _changing() -> list[tuple[str, str]]:
    """Method and path of each route that a cookie may use and that changes something."""
    reading = ("/api/GetItems/{id}", "/api/MyGalleries", "/api/pane/")
    found = []
    for route in ROUTES:
        if isinstance(route, Mount) or not isinstance(route, Route):
            continue
        if route.path.startswith(("/api/v2", "/oauth", *reading)):
            continue  # those know no cookie, these change nothing
        methods = set(route.methods or ()) - {"HEAD", "OPTIONS"}
        if not route.path.startswith("/api/"):
            methods -= {"GET"}
        if route.path == "/{name}":
            methods = {"PUT"}
        if route.path == "/uploads/{secret}":
            methods -= {"POST"}  # which stands for others here
        found += [(method, route.path) for method in sorted(methods)]
    return found


def state(client: Client, folder: Row) -> list[Any]:
    """What a request could have changed."""
    now, me = client.get(f"folders/{folder['id']}"), client.get("activeuser")
    keys = ("name", "is_public", "item_ordering", "file_count")
    return [*(now[key] for key in keys), me["display_name"], me["following_slug_list"]]


@pytest.mark.parametrize(("method", "path"), _changing(), ids=str)
def test_s25_a_page_of_another_site_changes_nothing(alice: Client, method: str, path: str) -> None:
    folder = alice.folder()
    row = alice.upload(folder=folder)
    cookie = browser(alice)
    id_ = row["id"] if path.startswith("/l") else folder["id"]
    target = path.replace("{id}", id_).replace("{slug}", "x").replace("{name}", "x.txt")
    _, kind, body = encode("form", {"id": folder["id"], "name": "taken", "key": folder["id"]})
    if "/uploads" in path:
        kind = {"Tus-Resumable": "1.0.0", "Upload-Length": "9", "Upload-Offset": "0"}
        place = f"/api/v2/folders/{folder['id']}/uploads"
        begun = alice.call("POST", place, kind | alice.bearer(), b"").headers["Location"]
        target = target.replace("{secret}", begun.rpartition("/")[2])
        kind |= {"Content-Type": "application/offset+octet-stream"}
    before = state(alice, folder)
    for marks in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": EVIL},
        {"Origin": "null"},
    ):
        answer = alice.call(method, target, kind | cookie | marks, body)
        assert error_of(answer) == (403, "cross_site"), marks
        assert "Set-Cookie" not in answer.headers
    assert state(alice, folder) == before


def test_s25_cookies_stay_with_our_pages_and_out_of_scripts(alice: Client) -> None:
    answer = sign_in(alice)
    attributes = answer.headers["Set-Cookie"].lower().split("; ")[1:]
    assert {"httponly", "samesite=lax", "path=/"} <= set(attributes)
    made = call(
        alice.port, "POST", "/", {"Content-Type": MULTIPART}, multipart(part("file", b"x", "x"))
    )
    attributes = made.headers["Set-Cookie"].lower().split("; ")[1:]
    assert {"httponly", "samesite=lax", "path=/"} <= set(attributes)


def test_s25_a_cookie_is_nothing_to_the_api_of_tokens(alice: Client) -> None:
    cookie = browser(alice)
    for row in ENDPOINTS:
        path = f"/api/v2/{row.path}".replace("{id}", NOWHERE).replace("{slug}", alice.slug)
        assert alice.call(row.method, path.replace("{other}", "x"), cookie).status == 401


# --- names that would be paths ---

CLIMBS = [
    "../catalog.sqlite3",
    "..%2fcatalog.sqlite3",
    "%2e%2e/catalog.sqlite3",
    "..%5ccatalog.sqlite3",
    "....//catalog.sqlite3",
    "%252e%252e%252fcatalog.sqlite3",
    "/catalog.sqlite3",
    "catalog.sqlite3",
    "..;/catalog.sqlite3",
    "\\..\\catalog.sqlite3",
    "%00/../catalog.sqlite3",
]


@pytest.mark.parametrize("climb", CLIMBS)
def test_s26_no_address_leads_out_of_its_place(alice: Client, climb: str) -> None:
    for start in ("", "static/", "static/../", "i", "m", "icon/", "avatar/", "i/", "blobs/"):
        for base in ("", f"..{alice.service.data}/"):
            head = f"GET /{start}{base}{climb} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            answer = raw(alice.port, head.encode())
            assert b"SQLite format" not in answer
            assert answer.split(b" ", 2)[1] in (b"400", b"404"), (start, answer[:80])


def test_s26_no_name_of_a_user_becomes_a_path_of_ours(alice: Client, tmp_path: Path) -> None:
    folder = alice.folder("../../etc")
    climbing = ["../../x", "/etc/passwd", "..\\..\\x", "C:\\x\\y", "a/../../b", "%2e%2e%2fx"]
    marker = tmp_path / "marker"
    for name in (*climbing, str(marker)):
        kept = alice.upload(b"x" * 70_000, name, folder)["name"]
        assert "/" not in kept
        assert kept not in (".", "..")
    assert not marker.exists()
    data = alice.service.data
    inside = {path.name for path in (data / "blobs").rglob("*") if path.is_file()}
    assert all(re.fullmatch(r"[\w-]{43}", key) for key in inside)
    top = {path.name.partition(".")[0] for path in data.iterdir()}
    assert top <= {"catalog", "blobs", "incoming", "derived", "service", "address", "owner"}


def test_s27_a_part_of_an_id_or_a_name_is_nobodys(site: Service, alice: Client) -> None:
    row = alice.upload()
    folder = row["folder"].rpartition("/")[2]
    for name in (row["id"][:-1], row["id"] + "0", row["id"].swapcase(), row["id"][:6], ""):
        assert alice.call("GET", f"/i{name}").status == 404
    for name in (folder[:-1], folder + "0", f"{folder}%00", f"{folder}%20x"):
        assert alice.call("GET", f"/m{name}").status == 404
        assert alice.send("GET", f"folders/{name}").status in (400, 404)  # PostgreSQL has no NUL
    site.add_user(alice.name[:-1], PASSWORD)  # a name that alice's begins with
    short = Client(site, alice.name[:-1], "").limited(rawhttp.ALL)
    made = short.send("POST", f"users/{alice.slug}/folders", {"name": "x", "is_public": "true"})
    assert error_of(made) == (403, "insufficient_scope")
    assert short.send("DELETE", f"folders/{folder}").status == 403


def test_s28_no_archive_of_ours_writes_outside_or_over_itself(alice: Client) -> None:
    folder = alice.folder("..\\evil")
    sent = ["..\\..\\x.txt", "a.txt", "A.TXT", "a.txt", "con.txt", "a:b", "x\u202etxt.exe", "-rf"]
    for name in sent:
        row = alice.upload(name.encode(), "x", folder)
        alice.ok("PUT", f"files/{row['id']}", {"name": quote(quote(name, safe=""), safe="")})
    answer = alice.call("GET", f"/m{folder['id']}.zip")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        infos = archive.infolist()
        members = [info.filename for info in infos]
        assert archive.testzip() is None
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
    assert [info.external_attr >> 16 & 0o170000 for info in infos if info.external_attr >> 28] == [
        0o100000
    ] * sum(info.external_attr >> 28 > 0 for info in infos)
    stream = alice.send("GET", f"folders/{folder['id']}/files")
    assert stream.status == 200
    tar = alice.call("GET", f"folders/{folder['id']}/tar", alice.bearer())
    with tarfile.open(fileobj=io.BytesIO(tar.body)) as opened:
        assert all(member.isreg() for member in opened)
        tarred = opened.getnames()
    for found in (members, tarred):
        assert len(found) == len(sent)
        assert len({name.casefold() for name in found}) == len(found)
        for name in found:
            assert not re.search(r'[\\/:*?"<>|\x00-\x1f\u202e]|^\.\.?$', name), name
    assert not [name for name in members if re.match(r"(?i)con\.", name)]


# --- whose it is ---


def test_s29_what_is_private_is_listed_nowhere_whatever_the_protocol(
    alice: Client, bob: Client
) -> None:
    folder = alice.folder("Secret plans", is_public="false")
    row = alice.upload(b"hidden", "hidden.txt", folder)
    alice.ok("POST", "activeuser/favorited", {"id": folder["id"]})
    bob.ok("POST", f"users/{bob.slug}/following", {"slug": alice.slug})
    cookie = browser(bob)
    for path in (
        *(
            f"folders/{folder['id']}{rest}"
            for rest in ("", "/files", "/tar", "/files?name=hidden.txt")
        ),
        f"files/{row['id']}",
    ):
        assert bob.call("GET", path, bob.bearer()).status == 404, path
    for path in (
        *(f"activeuser/{kind}" for kind in ("feed", "favorited", "history", "mine")),
        f"users/{alice.slug}/folders",
        f"users/{alice.slug}/folders?cursor=",
        f"users/{alice.slug}/folders?name={quote('Secret plans')}",
        f"users/{alice.slug}/folders?match=*",
    ):
        assert folder["id"] not in json.dumps(bob.get(path)), path
    pages = ("", "mine", "feed", "history", f"u{alice.slug}", "api/pane/feed.json")
    for path in (*pages, "api/MyGalleries.json", "openapi.json", "api/v2"):
        for headers in (cookie, {}):
            body = bob.call("GET", f"/{path}", HTML | headers).body
            assert (folder["id"].encode() in body, b"Secret plans" in body) == (False, False)
    refused = bob.send("POST", "activeuser/favorited", {"id": folder["id"]})
    assert refused.status == 404


def test_s30_what_was_revoked_or_deleted_ends_at_once(site: Service) -> None:
    carol = new_user(site, "carol")
    folder = carol.folder()
    row = carol.upload(png(9, 9), "a.png", folder)
    short = {letter: carol.call("GET", f"/{letter}{row['id']}") for letter in "ijk"}
    cookie = browser(carol)
    assert page(carol, "/mine", **cookie).status == 200
    assert carol.call("POST", "/api/SignOut", cookie, b"").status == 200
    assert page(carol, "/mine", **cookie).status == 303
    carol.delete(f"files/{row['id']}")
    for letter, before in short.items():
        known = {"If-None-Match": before.headers["ETag"], "Range": "bytes=0-1"}
        assert carol.call("GET", f"/{letter}{row['id']}", known).status == 404
    cookie = browser(carol)
    assert site.run("passwd", carol.name, stdin="another horse\n").returncode == 0
    assert carol.send("GET", "activeuser").status == 401
    assert page(carol, "/mine", **cookie).status == 303
    carol.grant()
    grant = carol.ask_token(carol.grant(password="another horse")).json()
    renewal = carol.grant(grant_type="refresh_token", refresh_token=grant["refresh_token"])
    successor = carol.ask_token(renewal).json()
    carol.token = successor["access_token"]
    assert carol.get("activeuser")["slug"] == carol.slug
    assert carol.ask_token(renewal).json()["error"] == "invalid_grant"  # its reuse: a copy
    assert carol.send("GET", "activeuser").status == 401
    again = renewal | {"refresh_token": successor["refresh_token"]}
    assert carol.ask_token(again).json()["error"] == "invalid_grant"


def test_s31_nobody_reaches_anothers_things_by_their_ids(alice: Client, bob: Client) -> None:
    folder = alice.folder("Mine", is_public="false")
    row = alice.upload(b"mine", "m.txt", folder)
    before = state(alice, folder)
    tried = 0
    for endpoint in ENDPOINTS:
        if "{id}" not in endpoint.path:
            continue
        id_ = row["id"] if endpoint.path.startswith("files/") else folder["id"]
        path = endpoint.path.replace("{id}", id_)
        answer = bob.send(endpoint.method, path, {"name": "taken", "caption": "taken"})
        unknown = bob.send(
            endpoint.method, endpoint.path.replace("{id}", NOWHERE), {"name": "taken"}
        )
        assert (answer.status, answer.body) == (404, unknown.body), path
        tried += 1
    assert tried >= 7
    for path in ("files", "batch"):
        target = f"/api/v2/folders/{folder['id']}/{path}"
        headers = bob.bearer() | {"Content-Type": MULTIPART}
        answer = bob.call("POST", target, headers, multipart(part("file", b"x", "x")))
        assert answer.status == 404
    cookie = browser(bob)
    for path in (f"m{folder['id']}/edit", f"m{folder['id']}/delete", f"l{row['id']}/delete"):
        assert (
            bob.call("POST", f"/{path}", cookie | {"Content-Type": FORM}, b"name=x").status == 403
        )
    for name in ("SaveGallery", "DeleteGallery"):
        body = urlencode({"id": folder["id"], "name": "x", "items": "[]"}).encode()
        answer = bob.call("POST", f"/api/{name}", cookie | {"Content-Type": FORM}, body)
        assert answer.status == 403
    assert item(bob.service, folder["id"], b"x").status == 403
    assert state(alice, folder) == before
    kept = alice.get(f"files/{row['id']}")
    assert (kept["name"], kept["caption"]) == ("m.txt", "")


def test_s32_ids_are_long_random_and_answered_alike_where_there_is_none(alice: Client) -> None:
    folder = alice.folder()
    rows = [alice.upload(folder=folder) for _ in range(20)]
    ids = [row["id"] for row in rows]
    assert {len(name) for name in ids} == {12}
    assert ids != sorted(ids)
    assert max(sum(name[at] == ids[0][at] for name in ids) for at in range(12)) < 15
    gone = ids[0]
    alice.delete(f"files/{gone}")
    for letter in "lijk":
        answers = {
            (answer.status, answer.body)
            for answer in (alice.call("GET", f"/{letter}{name}") for name in (gone, NOWHERE))
        }
        assert len(answers) == 1
        assert answers.pop()[0] == 404
    private = page(alice, f"/m{alice.folder(is_public='false')['id']}")
    assert b'name="robots" content="noindex"' in private.body
    answer = page(alice, f"/i{ids[1]}")
    kept = ("X-Robots-Tag", "Referrer-Policy")
    assert [answer.headers[name] for name in kept] == ["noindex", "no-referrer"]


@pytest.mark.alone
def test_s32_who_guesses_ids_waits_and_nobody_else(site: Service, alice: Client) -> None:
    row = alice.upload()
    guesser, other = {"X-Forwarded-For": "203.0.113.5"}, {"X-Forwarded-For": "203.0.113.6"}
    found: list[Answer] = []
    for at in range(130):
        if at == 105:  # who is refused costs no row
            rows = (site.data / "catalog.sqlite3-wal").stat().st_size
        path = f"/{'lijkm'[at % 5]}{names.new_id()}"
        found.append(call(site.port, "GET", path, guesser))
    statuses = [answer.status for answer in found]
    first = statuses.index(429)
    assert 100 <= first <= 102
    assert set(statuses[first + 2 :]) == {429}
    assert 0 < int(found[-1].headers["Retry-After"]) <= 60
    assert found[-1].json()["error"] == "too_many_requests"
    assert (site.data / "catalog.sqlite3-wal").stat().st_size == rows
    assert call(site.port, "GET", "/api/v2/activeuser", guesser).status == 401  # no link
    for path in (f"/i{row['id']}", f"/api/GetItems/{NOWHERE}"):
        assert call(site.port, "GET", path, guesser).status == 429
    shown = call(site.port, "GET", f"/l{row['id']}", guesser | HTML)
    assert (shown.status, shown.headers.get_content_type()) == (429, "text/html")
    assert shown.headers["Retry-After"]
    assert call(site.port, "GET", f"/i{row['id']}", other).status == 200
    assert call(site.port, "GET", "/", guesser).status == 200
    assert call(site.port, "GET", f"/i{row['id']}").status == 200


# --- how much ---


def test_s33_no_length_passes_a_limit(site: Service) -> None:
    small = new_user(site, "small", quota=1000)
    folder = small.folder()
    target = f"/api/v2/folders/{folder['id']}/files"
    kept = multipart(part("file", b"x" * 1001, "x"))
    assert error_of(small.post_file(kept, folder=folder)) == (413, "quota_exceeded")
    for length in ("-1", "+5", "1e9", "0x10", str(1 << 64), "9" * 40, "5, 5", "", "٣"):
        head = (
            f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Length: {length}\r\n\r\n"
        )
        came = raw(small.port, head.encode(), kept)
        assert set(answers(came)) <= {b"400", b"401", b"413"}, length
    chunks = b"".join(b"3e8\r\n" + b"x" * 1000 + b"\r\n" for _ in range(2)) + b"0\r\n\r\n"
    heads = rawhttp.head(
        "PUT",
        f"{target}/x.bin",
        small.bearer() | {"Host": "x", "Transfer-Encoding": "chunked", "Connection": "close"},
    )
    assert raw(small.port, heads, chunks).split(b" ", 2)[1] == b"413"
    batch = multipart(*(part("file", b"x" * 400, f"{n}") for n in range(3)))
    headers = small.bearer() | {"Content-Type": MULTIPART}
    answer = small.call("POST", f"/api/v2/folders/{folder['id']}/batch", headers, batch)
    assert error_of(answer) == (413, "quota_exceeded")
    assert small.get("activeuser")["storage_used"] == 0
    assert small.get(f"folders/{folder['id']}")["file_count"] == 0
    assert small.upload(b"x" * 1000, folder=folder)["filesize"] == 1000


def test_s34_a_quota_is_exact_whoever_comes_at_once(site: Service) -> None:
    racer = new_user(site, "racer", quota=500)
    folder = racer.folder()

    def put(number: int) -> int:
        body = multipart(part("file", b"x" * 100, f"{number}.bin"))
        return racer.post_file(body, folder=folder).status

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(put, range(36)))
    assert (statuses.count(200), statuses.count(413)) == (5, 31)
    assert racer.get("activeuser")["storage_used"] == 500
    assert racer.get(f"folders/{folder['id']}")["file_count"] == 5


def test_s34_the_room_and_the_count_without_an_account_are_exact(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", ("--anonymous-total", "500", "--anonymous-galleries", "7"))
    service.start()
    try:

        def make(_: int) -> Answer:
            return call(service.port, "POST", "/api/CreateGallery")

        with ThreadPoolExecutor(12) as pool:
            made = list(pool.map(make, range(20)))
            assert [answer.status for answer in made].count(200) == 7
            place = next(answer for answer in made if answer.status == 200).json()["editor_id"]
            sent = list(pool.map(lambda _: item(service, place, b"x" * 100).status, range(20)))
        assert (sent.count(200), sent.count(413)) == (5, 15)
        assert service.run("check").stdout.endswith("\n0 problems\n")
    finally:
        service.stop()


# --- who it is ---


def guess(service: Service, account: str, address: str) -> None:
    """Have ten wrong passwords counted, the last a minute ago: the next pause is the longest."""
    moments = itertools.count(time.time() - 10 * 60, 60)
    catalog = service.places.catalog()
    rules = SignIns(catalog, lambda: next(moments), Meter())
    for _ in range(10):
        rules.begin(account, address)
    catalog.close()


def test_s35_wrong_passwords_cost_time_and_lock_nobody_out(site: Service) -> None:
    dave = new_user(site, "dave")
    here, there = {"X-Forwarded-For": "203.0.113.10"}, {"X-Forwarded-For": "203.0.113.11"}
    _, kind, form = encode("form", {"username": dave.name, "password1": PASSWORD})

    def ask(password: str, headers: dict[str, str], name: str = dave.name) -> Answer:
        body = encode("form", dave.grant(password=password, username=name))[2]
        return dave.call("POST", "/oauth/token", kind | headers, body)

    for name in ("nobody-at-all", dave.name):
        first = [error_of(ask("wrong", here, name)) for _ in range(5)]
        assert first == [(400, "invalid_grant")] * 5
        guess(site, name, "203.0.113.10")
        assert error_of(ask("wrong", here, name)) == (400, "invalid_grant")
        refused = ask("wrong", here, name)
        assert error_of(refused) == (429, "too_many_requests")
        assert 0 < int(refused.headers["Retry-After"]) <= 30
    assert ask(PASSWORD, here).status == 429  # whoever guesses learns nothing
    for path in ("/api/SignIn", "/signin"):
        answer = dave.call("POST", path, kind | here, form)
        assert error_of(answer) == (429, "too_many_requests")
        assert answer.headers["Retry-After"]
    shown = dave.call("POST", "/signin", kind | here | HTML, form)
    assert (shown.status, shown.headers.get_content_type()) == (429, "text/html")
    assert ask(PASSWORD, there).status == 200
    assert dave.call("POST", "/signin", kind | there, form).status == 303
    cookie = browser(dave)
    change = encode("form", {"old": PASSWORD, "password1": "x" * 9, "password2": "x" * 9})[2]
    assert dave.call("POST", "/settings/password", kind | cookie | here, change).status == 429


def test_s35_the_pause_outlives_a_restart(own_service: Service) -> None:
    erin = new_user(own_service, "erin")
    guess(own_service, erin.name, HOST)
    assert sign_in(erin, "wrong").json()["success"] is False
    own_service.kill()
    own_service.start()
    erin.port = own_service.port
    assert error_of(sign_in(erin)) == (429, "too_many_requests")


def test_s35_a_password_without_an_end_is_not_hashed(alice: Client) -> None:
    for size in (1_025, 100_000):
        _, kind, body = encode("form", alice.grant(password="x" * size))
        answer = alice.call("POST", "/oauth/token", kind, body)
        assert error_of(answer) == (400, "invalid_grant")
    _, kind, body = encode("form", alice.grant(password="x" * 600_000))
    assert alice.call("POST", "/oauth/token", kind, body).status == 413
    fine = alice.call("POST", "/oauth/token", kind, encode("form", alice.grant())[2])
    assert fine.status == 200


def test_s36_headers_about_the_way_here_are_not_believed(own_service: Service) -> None:
    own_service.stop()
    own_service.options = ("--anonymous-galleries", "3")
    own_service.start()
    statuses = []
    for number in range(6):
        forged = {
            "X-Forwarded-For": f"198.51.100.{number}",
            "Forwarded": f"for=198.51.100.{number};host=evil.example;proto=https",
            "X-Real-IP": f"198.51.100.{number}",
            "True-Client-IP": f"198.51.100.{number}",
            "CF-Connecting-IP": f"198.51.100.{number}",
        }
        statuses.append(call(own_service.port, "POST", "/api/CreateGallery", forged).status)
    assert statuses == [200, 200, 200, 429, 429, 429]


def test_s36_no_header_changes_our_links_or_whose_page_asks(alice: Client) -> None:
    forged = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Port": "1",
        "X-Original-URL": "/settings",
        "X-Rewrite-URL": "/settings",
        "X-HTTP-Method-Override": "DELETE",
        "Forwarded": "host=evil.example;proto=https",
    }
    row = alice.upload()
    found = alice.call("GET", f"/api/v2/files/{row['id']}", alice.bearer() | forged)
    assert b"evil" not in found.body
    assert found.json()["url_rawfile"].startswith(alice.base)
    for path in (f"/l{row['id']}", "/", "/signin"):
        answer = page(alice, path, **forged)
        assert (answer.status, b"evil" in answer.body) == (200, False)
    for name in ("X-Forwarded-Host", "Forwarded"):
        marks = {"Origin": EVIL, name: forged[name], "Content-Type": FORM} | browser(alice)
        assert alice.call("POST", "/signout", marks, b"").status == 403


@pytest.mark.parametrize(
    ("hops", "counted"),
    [
        ("198.51.100.77", "198.51.100.77"),
        ("1.2.3.4, 198.51.100.77", "198.51.100.77"),  # what stands left of it, anybody wrote
        ("1.2.3.4, 5.6.7.8, 198.51.100.77, 127.0.0.1", "198.51.100.77"),
    ],
)
def test_s36_behind_a_proxy_the_last_hop_that_is_none_counts(
    tmp_path: Path, hops: str, counted: str
) -> None:
    service = Service(
        tmp_path / "data", ("--trusted-proxy", "127.0.0.1", "--anonymous-galleries", "1")
    )
    service.start()
    try:
        gallery(service, **{"X-Forwarded-For": hops})
        for other in (counted, f"9.9.9.9, {counted}"):
            headers = {"X-Forwarded-For": other}
            assert call(service.port, "POST", "/api/CreateGallery", headers).status == 429
        gallery(service, **{"X-Forwarded-For": "198.51.100.78"})
    finally:
        service.stop()


# --- what costs more than it looks ---


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG whose pixels would fill the memory; nearly nothing on disk."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" * 10_000_000, 9))
    return b"\x89PNG\r\n\x1a\n" + header + data * 3 + chunk(b"IEND", b"")


def animated(frames: int) -> bytes:
    out = io.BytesIO()
    pictures = [Image.new("P", (300, 300), at % 255) for at in range(frames)]
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:])
    return out.getvalue()


def test_s37_a_picture_bomb_costs_its_thumbnail_and_nothing_else(alice: Client) -> None:
    pictures = {
        "wide.png": bomb(60_000, 60_000),
        "endless.png": bomb(2**31 - 1, 2**31 - 1),
        "many.gif": animated(400),
        "cut.webp": b"RIFF\xff\xff\xff\xffWEBPVP8L" + b"\xff" * 500,
        "cut.jpg": b"\xff\xd8\xff\xe0" + b"\xff" * 70_000,
        "cut.tiff": b"II*\0\xff\xff\xff\xff",
        "cut.avif": b"\0\0\0\x1cftypavif" + b"\xff" * 300,
    }
    for name, data in pictures.items():
        row = alice.upload(data, name)
        for letter in "jk":
            answer = alice.call("GET", f"/{letter}{row['id']}")
            assert answer.status == 200, name
            with Image.open(io.BytesIO(answer.body)) as shown:
                assert max(shown.size) <= 640
        assert alice.raw(row).body == data
    assert alice.upload(png(7, 5), "fine.png")["width"] == 7
    status = Path(f"/proc/{alice.service.pid}/status").read_text()
    assert int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) < 400 * 1024


def test_s37_the_child_that_decodes_is_bounded() -> None:
    code = (
        "import resource; from minus_server import picture_worker as w; w.limit();"
        "print([resource.getrlimit(getattr(resource, 'RLIMIT_' + n))[0]"
        " for n in ('AS', 'CPU', 'FSIZE', 'NOFILE')])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [1 << 30, 300, 0, 64]


MANY = 20_000


@pytest.mark.parametrize(
    "body",
    [
        multipart(*(part(f"f{n}", b"x") for n in range(MANY))),
        multipart(*(part("file", b"", f"{n}") for n in range(MANY))),
        multipart(part("file", b"x", "x" * 1_000_000)),
        b"--" + rawhttp.BOUNDARY.encode() + b"\r\n" + b"A: b\r\n" * MANY + b"\r\n",
        b"--" + rawhttp.BOUNDARY.encode() + b"\r\nA: " + b"b" * 1_000_000,
        b"\r\n" * 1_000_000,
        b"--" * 500_000,
        (b"\r\n--" + rawhttp.BOUNDARY.encode()[:-1]) * 20_000,
        multipart(part("caption", b"x" * 1_100_000), part("file", b"x", "x")),
    ],
    ids=["fields", "files", "name", "headers", "header", "lines", "dashes", "almost", "field"],
)
def test_s38_an_abusive_form_is_refused_at_once(alice: Client, body: bytes) -> None:
    folder = alice.folder()
    answer = alice.post_file(body, folder=folder)
    assert answer.status in (400, 413)
    assert alice.get(f"folders/{folder['id']}")["file_count"] == 0
    headers = {"Content-Type": MULTIPART}
    batch = alice.call("POST", f"folders/{folder['id']}/batch", headers | alice.bearer(), body)
    assert batch.status in (400, 413) or b"caption" in body  # a batch passes over what is no file
    dropped = alice.call("POST", "/", headers, body)
    assert dropped.status in (400, 413, 201)


@pytest.mark.parametrize("boundary", ["", "x" * 1000, '"', "a\\b", "é"])
def test_s38_a_boundary_that_is_none_is_refused(alice: Client, boundary: str) -> None:
    kind = f"multipart/form-data; boundary={boundary}".encode().decode("latin-1")
    assert alice.post_file(b"--x--", kind).status == 400


HEAD = b"POST /api/v2/folders/x/files HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
FRAMINGS: Mapping[str, tuple[bytes, tuple[bytes, ...]]] = {
    # what is sent -> the statuses of all answers that come back
    "two lengths": (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", (b"400",)),
    "a list of lengths": (HEAD + b"Content-Length: 5, 6\r\n\r\n", (b"400",)),
    "a negative length": (HEAD + b"Content-Length: -5\r\n\r\n", (b"400",)),
    "a length with a sign": (HEAD + b"Content-Length: +5\r\n\r\n", (b"400",)),
    "a folded header": (HEAD + b"X: a\r\n b\r\n\r\n", (b"400",)),
    "a space before the colon": (HEAD + b"Content-Length : 5\r\n\r\n", (b"400",)),
    "a control in a header": (HEAD + b"X: a\x00b\r\n\r\n", (b"400",)),
    "a bare return": (HEAD + b"X: a\rContent-Length: 5\r\n\r\n", (b"400",)),
    "a length and chunks": (
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        (b"400",),
    ),
    "chunks and a length": (
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        (b"400",),
    ),
    "chunks in HTTP/1.0": (
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        (b"400",),
    ),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", (b"400",)),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", (b"400",)),
    "many headers": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n", (b"431",)),
    "a head without an end": (b"GET / HTTP/1.1\r\nA: " + b"b" * 8_000_000, (b"431",)),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ()),
    "an unknown coding": (HEAD + b"Transfer-Encoding: chunked, x\r\n\r\n", (b"400",)),
    "a bad chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", (b"400",)),
}


def answers(data: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.[01] (\d{3}) ", data)


@pytest.mark.parametrize("case", FRAMINGS)
def test_s39_a_framing_in_doubt_ends_the_connection(alice: Client, case: str) -> None:
    sent, expected = FRAMINGS[case]
    with rawhttp.connect(alice.port) as sock:
        with contextlib.suppress(OSError):  # it hung up on a head that is too long
            sock.sendall(sent + SMUGGLED)
        came = rawhttp.drain(sock)
    assert answers(came) == list(expected), came


# --- where it leads ---


@pytest.mark.parametrize(
    "onward",
    [
        "//evil.example",
        "///evil.example/x",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "/%2fevil.example",
        ".evil.example",
        "@evil.example",
        "mine\r\nLocation: https://evil.example",
        "\tmine",
    ],
)
def test_s40_after_signing_in_one_stays_here(alice: Client, onward: str) -> None:
    _, kind, body = encode("form", {"username": alice.name, "password1": PASSWORD, "next": onward})
    answer = alice.call("POST", "/signin", kind | HTML, body)
    assert answer.status == 303
    (place,) = answer.headers.get_all("Location") or [""]
    assert re.fullmatch(r"/[\w.-]*", place)
    form = page(alice, f"/signin?{urlencode({'next': onward})}").body
    assert not re.search(rb'value="(//|\\|\w+:)', form)


def test_s40_no_address_is_sent_on_to_another_host(alice: Client) -> None:
    for path in (
        "//evil.example",
        "//evil.example/",
        "//evil.example/..",
        "/\\evil.example/",
        "/static//evil.example/..",
        "/settings//evil.example",
        "//evil.example/%2e%2e",
    ):
        for method in ("GET", "POST", "HEAD"):
            head = f"{method} {path} HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n"
            came = raw(alice.port, f"{head}Connection: close\r\nAccept: text/html\r\n\r\n".encode())
            place = re.findall(rb"(?i)\r\nlocation: ([^\r]*)", came)
            assert not [found for found in place if b"evil" in found or found[:2] == b"//"]


# --- what is not here ---


def test_s41_no_parameter_makes_the_service_fetch_something(alice: Client) -> None:
    with socket.create_server((HOST, 0)) as listener:
        there = f"http://{HOST}:{listener.getsockname()[1]}/x.png"
        params = dict.fromkeys(("url", "source", "remote", "file", "src", "image", "link"), there)
        folder = alice.folder()
        query = urlencode(params)
        body = multipart(*rawhttp.fields(params))
        alice.post_file(body, folder=folder)
        alice.send("POST", f"folders/{folder['id']}/files?{query}", params)
        call(alice.port, "POST", f"/?{query}", {"Content-Type": MULTIPART}, body)
        call(alice.port, "POST", f"/api/UploadItem?{query}", {"Content-Type": MULTIPART}, body)
        svg = f"<svg xmlns='http://www.w3.org/2000/svg'><image href='{there}'/></svg>".encode()
        row = alice.upload(svg, "a.svg")
        alice.call("GET", f"/k{row['id']}")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_s42_no_name_reaches_a_shell_and_nobody_administrates_over_http(
    alice: Client, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    for name in (
        f"$(touch {marker})",
        f"`touch {marker}`",
        f"x;touch {marker}",
        f"|touch {marker}",
    ):
        row = alice.upload(png(3, 3), "x.png")
        alice.ok("PUT", f"files/{row['id']}", {"name": quote(quote(name, safe=""), safe="")})
        for letter in "ijkl":
            assert alice.call("GET", f"/{letter}{row['id']}").status == 200
    assert not marker.exists()
    source = Path(names.__file__).parent
    for path in source.glob("*.py"):
        text = path.read_text()
        assert not re.search(r"shell=True|os\.system|os\.popen|\beval\(|\bexec\(|pickle", text), (
            path
        )
    words = r"admin|debug|metrics|status|hook|config|exec|plugin|shutdown"
    assert not [
        route for route in ROUTES if isinstance(route, Route) and re.search(words, route.path)
    ]


def test_s43_nobody_is_there_from_the_start_and_names_do_not_collide(
    own_service: Service,
) -> None:
    assert own_service.run("users").stdout.count("\n") == 1
    _, kind, body = encode(
        "form", {"username": "eve", "email": "", "password1": PASSWORD, "password2": PASSWORD}
    )
    refused = call(own_service.port, "POST", "/api/login/register", kind, body)
    assert refused.json()["username"] == "Registration is closed on this service."
    assert call(own_service.port, "POST", "/register", kind, body).status == 404
    for name in ("admin", "root", "minus", "user"):
        for word in (name, "admin", "password", ""):
            _, kind, body = encode("form", {"username": name, "password1": word or "x"})
            answer = call(own_service.port, "POST", "/api/SignIn", kind, body)
            assert answer.status == 429 or answer.json()["success"] is False
    own_service.add_user("Alice", PASSWORD)
    alike = (
        "alice",
        "ALICE",
        "\uff21lice",
        "\u0430lice",
        "alice\u200b",
        "al\u0131ce",
        "alice ",
        "\ufb01",
    )
    with own_service.opened() as service:
        for name in alike:
            with pytest.raises(BadRequest):
                service.accounts.add_user(name, PASSWORD)
    done = own_service.run("adduser", "short", stdin="1234567\n")
    assert (done.returncode, "shorter than 8" in done.stderr) == (1, True)
    assert own_service.run("users").stdout.count("\n") == 2


def test_s44_nothing_is_tied_to_what_does_not_exist(alice: Client) -> None:
    assert alice.send("POST", "activeuser/favorited", {"id": NOWHERE}).status == 404
    assert alice.send("POST", f"users/{alice.slug}/following", {"slug": "nobody"}).status == 404
    assert alice.send("POST", "activeuser/messages/nobody", {"body": "x"}).status == 404
    body = multipart(part("file", b"x", "x"))
    assert alice.post_file(body, folder={"id": NOWHERE}).status == 404
    assert item(alice.service, NOWHERE, b"x").status == 404
    folder = alice.folder()
    row = alice.upload(folder=folder)
    order = json.dumps([NOWHERE, row["id"]])
    changed = alice.ok("PUT", f"folders/{folder['id']}", {"item_ordering": order})
    assert changed["item_ordering"] == [row["id"]]
    for path in (f"/l{NOWHERE}/edit", f"/m{NOWHERE}/edit", f"/m{NOWHERE}/order"):
        assert alice.call("POST", path, browser(alice) | {"Content-Type": FORM}, b"").status == 404


def test_s45_nothing_tells_how_the_service_does(alice: Client) -> None:
    for path in (
        "metrics",
        "status",
        "events",
        "debug",
        "server-status",
        ".env",
        ".git/config",
        "service.json",
        "service.log",
        "api/v2/uploads",
    ):
        assert alice.call("GET", f"/{path}").status in (401, 404, 405), path
    assert alice.call("GET", "/healthz").body == b"ok"  # and no more
    for path in ("/api/v2", "/openapi.json", "/"):
        answer = alice.call("GET", path)
        assert alice.service.data.as_posix().encode() not in answer.body
        assert str(alice.service.pid) not in json.dumps(list(answer.headers.items()))


@pytest.mark.folder
def test_s47_the_bytes_of_one_user_tell_nothing_to_another(alice: Client, bob: Client) -> None:
    data = b"the same bytes of both" * 9_000
    hers = alice.upload(data, "a.bin")
    keys = {path.name for path in (alice.service.data / "blobs").rglob("*")}
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    headers = bob.bearer() | {"Repr-Digest": f"sha-256=:{digest}:"}
    claimed = bob.call("PUT", f"folders/{bob.folder()['id']}/files/b.bin", headers, b"")
    assert error_of(claimed) == (400, "digest_mismatch")
    used = bob.get("activeuser")["storage_used"]
    his = bob.upload(data, "b.bin")
    assert bob.get("activeuser")["storage_used"] == used + len(data)
    assert len({path.name for path in (bob.service.data / "blobs").rglob("*")} - keys) == 1
    alice.delete(f"files/{hers['id']}")
    assert bob.raw(his).body == data


def test_s48_no_thumbnail_tells_where_a_photo_was_taken(alice: Client) -> None:
    exif = Image.Exif()
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2] = "N", (52.0, 31.0, 12.0)
    exif[0x010F] = "Camera maker"
    for size in ((900, 700), (30, 20)):
        for kind in ("JPEG", "PNG", "WEBP"):
            out = io.BytesIO()
            Image.new("RGB", size, "red").save(out, kind, exif=exif)
            row = alice.upload(out.getvalue(), f"photo.{kind.lower()}")
            for letter in "jk":
                answer = alice.call("GET", f"/{letter}{row['id']}")
                with Image.open(io.BytesIO(answer.body)) as shown:
                    assert dict(shown.getexif()) == {}
                assert b"Camera maker" not in answer.body
