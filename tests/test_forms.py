"""The pages' forms, headers, cookies and archives over raw HTTP, as a browser without script."""

import io
import json
import os
import re
import socket
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlencode, urljoin, urlsplit

import pytest
from PIL import Image
from sqlalchemy import select, text
from starlette.requests import Request
from starlette.routing import Route

from minus_server import pages, web, zips
from minus_server.app import ROUTES
from minus_server.schema import failures, limits, metadata
from tests import rawhttp
from tests.live import Service
from tests.rawhttp import (
    MULTIPART,
    PASSWORD,
    Answer,
    Client,
    Headers,
    call,
    connect,
    encode,
    head,
    multipart,
    part,
    png,
)

HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
JSON = "application/json"
ID = "[0-9A-Za-z]{12}"
NOWHERE = "A1b2C3d4E5f6"
CSP = (
    "default-src 'none'; img-src 'self' blob:; media-src 'self' blob:; style-src 'self';"
    " script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
NOINDEX = '<meta name="robots" content="noindex">'
FOREIGN: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://example.org"},
    {"Origin": "null"},
]


class Browser:
    """A browser without script, which keeps its cookies."""

    def __init__(self, service: Service) -> None:
        self.service, self.port = service, service.port
        self.cookies: dict[str, str] = {}
        self.name = self.slug = ""

    def send(
        self, method: str, path: str, headers: Headers | None = None, body: bytes | None = None
    ) -> Answer:
        pairs = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        own = {"Accept": HTML} | ({"Cookie": pairs} if pairs else {})
        answer = call(self.port, method, f"/{path}", own | dict(headers or {}), body)
        for line in answer.headers.get_all("Set-Cookie", []):
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self.cookies[name]
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, headers)

    def page(self, path: str) -> str:
        answer = self.get(path)
        assert (answer.status, answer.headers.get_content_type()) == (200, "text/html"), path
        return answer.body.decode()

    def post(self, path: str, fields: Mapping[str, Any], accept: str = HTML) -> Answer:
        """Submit a form; one with a list of files as `file` is sent with their bytes."""
        headers = {"Accept": accept}
        if "file" in fields:
            body = multipart(*fields["file"])
            return self.send("POST", path, headers | {"Content-Type": MULTIPART}, body)
        _, kind, body = encode("form", fields)
        return self.send("POST", path, headers | kind, body)

    def drop(self, *files: bytes) -> Answer:
        return self.post("", {"file": files or LETTERS})

    def enter(self, stem: str) -> "Browser":
        """Sign in with a new account."""
        self.name = f"{stem}{next(rawhttp.counter)}"
        self.slug = self.name.lower()
        self.service.add_user(self.name, PASSWORD)
        answer = self.post("signin", {"username": self.name, "password1": PASSWORD})
        assert (answer.status, list(self.cookies)) == (303, ["sessionid"]), answer.body
        return self

    def v2(self) -> Client:
        return Client(self.service, self.name, "").limited(rawhttp.ALL)


LETTERS = tuple(part("file", letter.encode(), f"{letter}.txt", "text/plain") for letter in "abc")


def credentials(name: str) -> dict[str, str]:
    return {"username": name, "email": "", "password1": PASSWORD, "password2": PASSWORD}


def ask(service: Service, sql: str, **values: str) -> list[tuple[Any, ...]]:
    """What the catalog has."""
    with service.rows() as rows:
        if rows.dialect.name == "postgresql":
            sql = sql.replace("group_concat(", "string_agg(")
        return list(map(tuple, rows.execute(text(sql), values)))


def dump(service: Service) -> tuple[dict[str, list[str]], set[str]]:
    """All rows but those that count attempts, and the keys of all bytes."""
    tables = set(metadata.sorted_tables) - {failures, limits}
    with service.rows() as rows:
        lines = {table.name: sorted(map(repr, rows.execute(select(table)))) for table in tables}
    blobs = service.places.open_blobs()
    return lines, {*blobs.keys(), *blobs.incoming()}


@contextmanager
def running(data: Path, *options: str) -> Iterator[Service]:
    """A service that never fails."""
    service = Service(data, options)
    service.start()
    try:
        yield service
    finally:
        status = service.stop()
    assert status == 0
    assert "Traceback" not in service.log()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service where anyone may register and make any number of galleries."""
    options = ("--registration", "open", "--anonymous-galleries", "1000000")
    with running(tmp_path_factory.mktemp("forms") / "data", *options) as service:
        yield service


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with little room for those without an account; a header tells the address."""
    options = (
        *("--anonymous-file", "100k", "--anonymous-total", "1M", "--anonymous-galleries", "2"),
        *("--registration", "open", "--registration-quota", "400k"),
        *("--trusted-proxy", "127.0.0.1"),
    )
    with running(tmp_path_factory.mktemp("small") / "data", *options) as service:
        yield service


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service behind a proxy that gives it a name, HTTPS and a path."""
    options = ("--registration", "open", "--base-url", "https://minus.example/files")
    with running(tmp_path_factory.mktemp("secure") / "data", *options) as service:
        yield service


@pytest.fixture(scope="module")
def alice(site: Service) -> Browser:
    return Browser(site).enter("FormAlice")


@pytest.fixture(scope="module")
def bob(site: Service) -> Browser:
    return Browser(site).enter("formbob")


@pytest.fixture(scope="module")
def ridden(site: Service) -> Browser:
    """Whose cookie pages of other sites would like to use."""
    return Browser(site).enter("ridden")


@pytest.fixture
def guest(site: Service) -> Browser:
    """Nobody, with no cookie yet."""
    return Browser(site)


@dataclass
class Scene:
    """A gallery with the files a, b and c, and what its forms are made of."""

    owner: Browser
    id: str
    key: str
    values: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        files = self.look("SELECT f.name, f.id FROM files f JOIN folders d ON d.n = f.folder_n"
                          " WHERE d.id = :id ORDER BY f.n")  # fmt: skip
        self.values |= {name[0]: file_id for name, file_id in files}

    def look(self, sql: str) -> list[tuple[Any, ...]]:
        known = {"id": self.id} | self.values
        names = set(re.findall(r":(\w+)", sql))
        return ask(self.owner.service, sql, **{name: known[name] for name in names})

    def fill(self, text: str) -> str:
        return text.format(id=self.id, key=self.key, slug=self.owner.slug, **self.values)


def scene(owner: Browser, *files: bytes, **values: str) -> Scene:
    """A new gallery of whoever drops the files."""
    answer = owner.drop(*files)
    found = re.fullmatch(rf"/m({ID})", answer.headers["Location"])
    assert found, answer.body
    link = answer.headers["X-Edit-Link"]
    return Scene(owner, found[1], link.rpartition("/m")[2] if link else found[1], values)


def new_client(browser: Browser, name: str = "a program") -> tuple[str, str]:
    """Make an API client on the settings page. -> key, secret"""
    page = browser.post("settings/clients", {"name": name}).body.decode()
    config = dict(re.findall(r"^(\w+): (\S+)$", page, re.MULTILINE))
    return config["api_key"], config["api_secret"]


# --- every form ---

ORDER = (
    "SELECT group_concat(substr(name, 1, 1), '') FROM (SELECT name FROM files WHERE folder_n ="
    " (SELECT n FROM folders WHERE id = :id) ORDER BY position, n)"
)
NAME = "SELECT name FROM folders WHERE id = :id"
ITEM = "SELECT name, title, caption FROM files WHERE id = :a"
PUBLIC = "SELECT is_public FROM folders WHERE id = :id"
FOLLOWED = "SELECT count(*) FROM follows JOIN users u ON u.n = followed_n WHERE u.slug = :other"
PROFILE = "SELECT display_name, description, email FROM users WHERE slug = :me"
CLIENTS = "SELECT count(*) FROM clients WHERE id = :client"


@dataclass(frozen=True)
class Form:
    """A form: its path and fields, where it leads, and what it changes from what to what."""

    path: str
    fields: Mapping[str, Any]
    leads: str
    look: str
    before: object
    after: object
    referer: str = ""


GALLERY_FORMS = {
    "title": Form(
        "m{key}/edit", {"name": "  New ✓ <b> "}, "m{id}?note=saved",
        NAME, "a.txt and 2 more", "New ✓ <b>",
    ),
    "publish": Form("m{key}/edit", {"is_public": "true"}, "m{id}?note=saved", PUBLIC, 0, 1),
    "move": Form("m{key}/move", {"item": "{a}", "to": "1"}, "m{id}", ORDER, "abc", "bac"),
    "move first": Form("m{key}/move", {"item": "{c}", "to": "0"}, "m{id}", ORDER, "abc", "cab"),
    "order": Form(
        "m{key}/order", {"items": '["{c}", "{a}"]'}, "m{id}?note=saved", ORDER, "abc", "cab"
    ),
    "add": Form(
        "m{key}/add", {"file": [part("file", b"d", "d.txt"), part("file", b"", "e.txt")]},
        "m{id}?note=added", ORDER, "abc", "abcde",
    ),
    "caption": Form(
        "l{a}/edit", {"key": "{key}", "caption": "One\nTwo", "title": "T"}, "m{id}?note=saved",
        ITEM, ("a.txt", "", ""), ("a.txt", "T", "One\nTwo"),
    ),
    "file name": Form(
        "l{a}/edit", {"key": "{key}", "name": "z.txt"}, "l{a}?note=saved",
        ITEM, ("a.txt", "", ""), ("z.txt", "", ""), referer="l{a}",
    ),
    "delete item": Form(
        "l{b}/delete", {"key": "{key}"}, "m{id}?note=deleted", ORDER, "abc", "ac"
    ),
    "delete": Form(
        "m{key}/delete", {}, "{home}?note=deleted", "SELECT count(*) FROM folders WHERE id = :id",
        1, 0,
    ),
}  # fmt: skip
PERSON_FORMS = {
    "profile": Form(
        "settings/profile", {"display_name": " Al ", "description": "x\ny", "email": "a@b.example"},
        "settings?note=saved", PROFILE, ("", None, ""), ("Al", "x\ny", "a@b.example"),
    ),
    "follow": Form("u{other}/follow", {}, "u{other}", FOLLOWED, 0, 1),
    "revoke": Form(
        "settings/clients/{client}/revoke", {}, "settings?note=revoked", CLIENTS, 1, 0
    ),
    "password": Form(
        "settings/password",
        {"old": PASSWORD, "password1": "a new one", "password2": "a new one"},
        "settings?note=password", "SELECT count(*) FROM tokens JOIN users u ON u.n = user_n"
        " WHERE u.slug = :me", 1, 0,
    ),
}  # fmt: skip
answered = pytest.mark.parametrize("accept", [HTML, JSON], ids=["page", "json"])


def submit(stage: Scene, form: Form, accept: str) -> Answer:
    def filled(value: Any) -> Any:
        return stage.fill(value) if isinstance(value, str) else value

    fields = {name: filled(value) for name, value in form.fields.items()}
    headers = {"Accept": accept}
    if form.referer:
        headers["Referer"] = f"{stage.owner.service.url}{stage.fill(form.referer)}"
    if "file" in fields:
        kind, body = {"Content-Type": MULTIPART}, multipart(*fields["file"])
    else:
        _, kind, body = encode("form", fields)
    return stage.owner.send("POST", stage.fill(form.path), headers | kind, body)


def assert_does(stage: Scene, form: Form, accept: str) -> None:
    """Submit the form, and see that it changed what it should and led where it should."""

    def seen() -> object:
        (row,) = stage.look(form.look)
        return row if len(row) > 1 else row[0]

    assert seen() == form.before
    answer = submit(stage, form, accept)
    if accept == JSON:
        assert (answer.status, answer.body) == (200, b"{}")
    else:
        place = f"/{stage.fill(form.leads)}"
        assert (answer.status, answer.headers["Location"]) == (303, place)
        assert stage.owner.get(place[1:]).status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert seen() == form.after


@answered
@pytest.mark.parametrize("owned", [True, False], ids=["alice", "nobody"])
@pytest.mark.parametrize("name", GALLERY_FORMS)
def test_a_form_of_a_gallery_works_without_script(
    alice: Browser, guest: Browser, name: str, owned: bool, accept: str
) -> None:
    stage = scene(alice if owned else guest, home="mine" if owned else "")
    assert (stage.key == stage.id) is owned
    assert_does(stage, GALLERY_FORMS[name], accept)


@answered
@pytest.mark.parametrize("name", PERSON_FORMS)
def test_a_form_of_a_person_works_without_script(site: Service, name: str, accept: str) -> None:
    me = Browser(site).enter("formuser")
    other = Browser(site).enter("formother") if name == "follow" else me
    me.v2()
    client = new_client(me)[0] if name == "revoke" else ""
    stage = Scene(me, "", "", {"other": other.slug, "me": me.slug, "client": client})
    assert_does(stage, PERSON_FORMS[name], accept)


@answered
def test_following_ends_by_a_form(site: Service, accept: str) -> None:
    me = Browser(site).enter("formuser")
    other = Browser(site).enter("formother")
    stage = Scene(me, "", "", {"other": other.slug})
    assert me.post(f"u{other.slug}/follow", {}).status == 303
    assert_does(stage, Form("u{other}/unfollow", {}, "u{other}", FOLLOWED, 1, 0), accept)


def test_the_editor_of_one_gallery_edits_no_other(guest: Browser, bob: Browser) -> None:
    mine, other = scene(guest), scene(Browser(guest.service))
    before = dump(guest.service)
    for browser in (guest, bob):
        for form in GALLERY_FORMS.values():
            for key in (mine.key, other.id) if form.path.startswith("l") else (other.id,):
                stage = Scene(browser, other.id, key)
                assert submit(stage, form, HTML).status in (403, 404), form
    assert dump(guest.service) == before


def test_a_new_password_keeps_this_browser_signed_in_and_no_other(site: Service) -> None:
    me, elsewhere = Browser(site).enter("formuser"), Browser(site)
    elsewhere.post("signin", credentials(me.name))
    assert elsewhere.page("mine")
    fields = {"old": PASSWORD, "password1": "a new one", "password2": "a new one"}
    assert me.post("settings/password", fields).status == 303
    assert me.page("settings?note=password").count("The password is changed") == 1
    assert elsewhere.get("mine").headers["Location"] == "/signin?next=mine"


def test_a_client_is_shown_once_works_and_ends_at_once(site: Service) -> None:
    me = Browser(site).enter("formuser")
    key, secret = new_client(me, "a <program>")
    page = me.page("settings")
    assert ("a &lt;program&gt;" in page, key in page, secret in page) == (True, True, False)
    client = Client(site, me.name, "")
    asked = client.ask_token(client.grant() | {"client_id": key, "client_secret": secret})
    signed_in = client.with_token(asked)
    assert signed_in.get("activeuser")["slug"] == me.slug
    assert me.post(f"settings/clients/{key}/revoke", {}).status == 303
    assert signed_in.send("GET", "activeuser").status == 401
    assert key not in me.page("settings")


def test_signing_out_by_form_ends_the_session(site: Service) -> None:
    me = Browser(site).enter("formuser")
    old = dict(me.cookies)
    answer = me.post("signout", {})
    assert (answer.status, answer.headers["Location"], me.cookies) == (303, "/", {})
    me.cookies = old
    assert me.get("mine").status == 303


# --- refusals ---

SETTINGS = ("settings/profile", "settings/password", "settings/clients")
LONG = "long enough"
ERRORS: list[tuple[str, dict[str, Any], int]] = [
    ("m{id}/edit", {"name": " "}, 400),
    ("m{id}/edit", {"name": "a\nb"}, 400),
    ("m{id}/edit", {"is_public": "maybe"}, 400),
    ("m{id}/move", {"item": "{a}", "to": "-1"}, 400),
    ("m{id}/move", {"item": "{a}"}, 400),
    ("m{id}/move", {"item": NOWHERE, "to": "0"}, 404),
    ("m{id}/order", {"items": "nonsense"}, 400),
    ("m{id}/add", {"file": [part("file", b"", "")]}, 400),
    ("l{a}/edit", {"name": ".."}, 400),
    ("l{a}/edit", {"caption": "x" * 10_001}, 400),
    ("l{a}/edit", {"key": NOWHERE, "caption": "x"}, 404),
    (f"l{NOWHERE}/delete", {}, 404),
    ("m{theirs}/edit", {"name": "x"}, 403),
    ("m{theirs}/delete", {}, 403),
    ("m{theirs}/add", {"file": LETTERS}, 403),
    ("l{item}/delete", {}, 403),
    (f"m{NOWHERE}/edit", {"name": "x"}, 404),
    ("unobody-at-all/follow", {}, 404),
    ("u{slug}/follow", {}, 400),
    ("u{slug}/unfollow", {}, 404),
    ("settings/clients/nothing/revoke", {}, 404),
    ("signin", {"username": "{slug}", "password1": "wrong"}, 400),
    ("signin", {}, 400),
    (
        "register",
        {"username": "{slug}", "password1": "long enough", "password2": "long enough"},
        400,
    ),
    ("register", {"username": "new-one", "password1": "x", "password2": "y"}, 400),
    ("settings/profile", {"email": "nonsense"}, 400),
    ("settings/profile", {"description": "x" * 10_001}, 400),
    (
        "settings/password",
        {"old": "wrong", "password1": LONG, "password2": LONG},
        400,
    ),
    ("settings/password", {"old": PASSWORD, "password1": "x", "password2": "y"}, 400),
    ("settings/password", {"old": PASSWORD, "password1": "", "password2": ""}, 400),
    ("settings/password", {"old": PASSWORD, "password1": "1234567", "password2": "1234567"}, 400),
    ("settings/clients", {"name": "x" * 10_001}, 400),
]


@answered
@pytest.mark.parametrize(
    ("path", "fields", "status"), ERRORS, ids=[f"{e[0]} {list(e[1])}" for e in ERRORS]
)
def test_a_refused_form_says_why_and_changes_nothing(
    alice: Browser, bob: Browser, path: str, fields: dict[str, Any], status: int, accept: str
) -> None:
    theirs = scene(bob)
    stage = scene(alice, theirs=theirs.id, item=theirs.values["a"])
    before = dump(alice.service)
    answer = submit(stage, Form(path, fields, "", "", "", ""), accept)
    assert answer.status == status
    if accept == HTML:
        assert answer.headers.get_content_type() == "text/html"
        assert answer.headers["Content-Security-Policy"] == CSP
        assert answer.body.count(b"<h1") == 1
    elif path not in ("signin", "register", *SETTINGS):  # these show their page again
        assert answer.headers.get_content_type() == JSON
        assert all(answer.json()[key] for key in ("error", "error_description"))
    assert dump(alice.service) == before


def test_what_was_typed_stands_in_the_form_again_but_for_passwords(guest: Browser) -> None:
    name, secret = '"><b>name', "s3cret-s3cret"
    fields = {"username": name, "email": "x", "password1": secret, "password2": "other"}
    for path in ("signin", "register"):
        answer = guest.post(path, {**fields, "next": "mine"})
        page = answer.body.decode()
        assert (answer.status, page.count('value="&#34;&gt;&lt;b&gt;name"')) == (400, 1)
        assert (secret in page, 'name="next" value="mine"' in page) == (False, True)
        assert "<b>name" not in page
        assert guest.cookies == {}


@pytest.mark.parametrize("path", ["mine", "feed", "history", "settings"])
def test_a_page_for_those_who_signed_in_leads_to_signing_in_and_back(
    site: Service, alice: Browser, path: str
) -> None:
    guest = Browser(site)
    answer = guest.get(path)
    assert (answer.status, answer.headers["Location"]) == (303, f"/signin?next={path}")
    assert f'<input type="hidden" name="next" value="{path}">' in guest.page(f"signin?next={path}")
    signed_in = guest.post("signin", credentials(alice.name) | {"next": path})
    assert (signed_in.status, signed_in.headers["Location"]) == (303, f"/{path}")
    assert guest.page(path)
    assert Browser(site).get(path, Accept=JSON).status == 401


@pytest.mark.parametrize(
    "path",
    [
        "u{slug}/follow",
        "u{slug}/unfollow",
        "settings/profile",
        "settings/password",
        "settings/clients",
        "settings/clients/x/revoke",
    ],
)
def test_a_form_for_those_who_signed_in_leads_to_signing_in_and_to_a_page(
    site: Service, alice: Browser, path: str
) -> None:
    guest = Browser(site)
    answer = guest.post(path.format(slug=alice.slug), {})
    where = urlsplit(answer.headers["Location"])
    assert (answer.status, where.path) == (303, "/signin")
    assert guest.post(path.format(slug=alice.slug), {}, JSON).status == 401
    asked = credentials(alice.name) | {"next": where.query.removeprefix("next=")}
    place = guest.post("signin", asked).headers["Location"]
    assert guest.page(place[1:])


ELSEWHERE = [
    *("//evil.example", "https:evil.example", "\\\\evil.example", "%2F%2Fevil.example"),
    *("/\\evil.example", "\\/evil.example", "///evil.example/", "https://evil.example"),
    *("/%09/evil.example", "\t//evil.example", "javascript:alert(1)", "mine\r\nX-Evil: 1"),
    *("@evil.example", ".//evil.example"),
]


@pytest.mark.parametrize(
    ("form", "wanted"),
    [*(("signin", text) for text in ELSEWHERE), *(("register", text) for text in ELSEWHERE[:4])],
)
def test_nothing_leads_to_another_host_after_signing_in(
    alice: Browser, guest: Browser, form: str, wanted: str
) -> None:
    page = guest.page(f"{form}?{urlencode({'next': wanted})}")
    assert not re.search(r'name="next" value="[^"]*[/\\:%@\s]', page)
    name = alice.name if form == "signin" else f"nextuser{next(rawhttp.counter)}"
    answer = guest.post(form, credentials(name) | {"next": wanted})
    place = answer.headers["Location"]
    assert answer.status == 303
    assert re.fullmatch(r"/[A-Za-z0-9._-]*", place)
    assert urlsplit(urljoin(guest.service.url, place)).netloc == f"127.0.0.1:{guest.port}"
    assert "X-Evil" not in answer.headers


# --- pages of other sites ---


def changing_routes() -> list[tuple[str, str]]:
    """Every method and path of a route that may change something."""
    found = []
    for route in ROUTES:
        methods = (route.methods or set()) if isinstance(route, Route) else set()
        if isinstance(route, Route) and methods & {"POST", "PUT", "PATCH", "DELETE"}:
            found += [(method, route.path) for method in sorted(methods - {"HEAD", "OPTIONS"})]
    return found


TUS = {
    "Tus-Resumable": "1.0.0",
    "Upload-Length": "7",
    "Upload-Offset": "0",
    "Content-Type": "application/offset+octet-stream",
}
READING = re.compile(r"/api/(GetItems/\{id\}|(MyGalleries|pane/\w+)\.json(/\{page\})?)")


@pytest.mark.parametrize(
    ("method", "path"), changing_routes(), ids=[" ".join(route) for route in changing_routes()]
)
def test_a_page_of_another_site_changes_nothing_with_our_cookie(
    site: Service, ridden: Browser, bob: Browser, method: str, path: str
) -> None:
    me, stage = ridden, scene(ridden)
    client = new_client(me)[0] if "clients/{id}" in path else ""
    known = {"slug": bob.slug, "other": bob.slug, "page": "1", "name": "x.png"}
    known["id"] = client or (stage.values["a"] if path.startswith("/l") else stage.id)
    if "{secret}" in path:
        begun = me.send("POST", f"m{stage.id}/uploads", TUS)
        known["secret"] = begun.headers["Location"].rpartition("/")[2]
    fields = {"id": stage.id, "editor_id": stage.id, "name": "Taken", "items": stage.values["a"]}
    fields |= {"item": stage.values["a"], "to": "1", "caption": "Taken", "is_public": "true"}
    fields |= credentials(me.name) | {"old": PASSWORD}
    uploads = path.endswith(("/", "/{name}", "/add", "/UploadItem", "/files"))
    target = path.format(**known).removeprefix("/")
    _, kind, body = encode("form", fields)
    if uploads:
        target, kind = f"{target}?editor_id={stage.id}", {"Content-Type": MULTIPART}
        body = multipart(LETTERS[0])
    if "uploads" in path:
        kind, body = TUS | {"X-HTTP-Method-Override": "DELETE"}, b"1234567"
    before = dump(site)
    for headers in FOREIGN:
        if method == "GET":
            answer = me.send("GET", f"{target}?{urlencode(fields)}", {"Accept": "*/*"} | headers)
        else:
            answer = me.send(method, target, {"Accept": "*/*"} | kind | headers, body)
        if path.startswith(("/api/v2/", "/oauth/")):  # a cookie is worth nothing there
            assert answer.status == (401 if path.startswith("/api/") else 400)
        elif path == "/{name}" and method != "PUT":
            assert answer.status == 404
        elif READING.fullmatch(path):
            assert answer.status == 200
        else:
            assert (answer.status, answer.json()["error"]) == (403, "cross_site")
        assert "Set-Cookie" not in answer.headers
    assert dump(site) == before


@pytest.mark.parametrize("path", ["signin", "register", "settings/password"])
def test_a_page_of_another_site_signs_nobody_in(alice: Browser, guest: Browser, path: str) -> None:
    name = alice.name if path == "signin" else f"foreign{next(rawhttp.counter)}"
    for headers in FOREIGN:
        _, kind, body = encode("form", credentials(name))
        answer = guest.send("POST", path, kind | headers, body)
        assert (answer.status, guest.cookies) == (403, {})
        assert b"A page of another site asked for this." in answer.body


def test_ones_own_page_behind_a_proxy_is_known_by_its_origin(secure: Service) -> None:
    me = Browser(secure)
    _, kind, body = encode("form", credentials("proxied"))
    own = {"Origin": "https://minus.example", "Sec-Fetch-Site": "same-origin"}
    foreign = {"Origin": "http://minus.example", "Sec-Fetch-Site": "same-origin"}
    assert me.send("POST", "register", kind | foreign, body).status == 403
    answer = me.send("POST", "register", kind | own, body)
    assert (answer.status, answer.headers["Location"]) == (303, "/files/")


# --- headers and cookies ---


@pytest.mark.parametrize("over_https", [False, True])
def test_cookies_are_hidden_from_script_and_from_other_sites(
    site: Service, secure: Service, over_https: bool
) -> None:
    service = secure if over_https else site
    me = Browser(service)
    root = "/files/" if over_https else "/"
    dropped = me.drop()
    editor = dropped.headers["X-Edit-Link"].rpartition("/m")[2]
    name = f"cookie{next(rawhttp.counter)}"
    answers = {
        "drop": (dropped, "editor"),
        "link": (Browser(service).get(f"m{editor}"), "editor"),
        "register": (Browser(service).post("register", credentials(name)), "sessionid"),
        "signin": (Browser(service).post("signin", credentials(name)), "sessionid"),
    }
    for answer, cookie in answers.values():
        assert (answer.status, answer.headers["Location"].startswith(root)) == (303, True)
        (line,) = answer.headers.get_all("Set-Cookie", [])
        first, *rest = re.split(r"\s*;\s*", line)
        found = {text.lower() for text in rest}
        age = next(text for text in found if text.startswith("max-age="))
        assert first.startswith(f"{cookie}=")
        assert int(age.removeprefix("max-age=")) >= 30 * 24 * 3600
        assert found - {age} == {"httponly", "samesite=lax", "path=/"} | (
            {"secure"} if over_https else set()
        )


def test_every_page_has_the_headers_that_guard_it_and_is_never_kept(
    alice: Browser,
) -> None:
    stage = scene(alice)
    paths = {
        **dict.fromkeys(["", "signin", "register", f"u{alice.slug}"], 200),
        **dict.fromkeys([f"m{stage.id}", f"l{stage.values['a']}"], 200),
        **dict.fromkeys(["mine", "feed", "history", "settings"], 200),
        **dict.fromkeys([f"m{NOWHERE}", f"l{NOWHERE}", "unobody-at-all", "nothing"], 404),
        **dict.fromkeys([f"i{NOWHERE}.png", f"m{NOWHERE}.zip", "signin/used"], 404),
        f"m{stage.id}?page=x": 400,
        f"m{stage.id}/edit": 405,
    }
    for path, status in paths.items():
        answer = alice.get(path)
        assert (answer.status, answer.headers["Content-Type"]) == (
            status,
            "text/html; charset=utf-8",
        ), path
        guards = {name: answer.headers[name] for name in pages.HEADERS}
        assert guards == {
            "Content-Security-Policy": CSP,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        assert answer.headers["ETag"] is answer.headers["Last-Modified"] is None
        page = answer.body.decode()
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", page)
        links = re.findall(r'(?:src|href|action)="([^"]*)"', page)
        assert {urlsplit(link).netloc for link in links} <= {"", f"127.0.0.1:{alice.port}"}


def test_static_files_are_kept_for_ever_under_the_name_of_their_version(guest: Browser) -> None:
    links = set(re.findall(r'"/(static/[^"]+)"', guest.page("") + guest.page("signin")))
    kinds = {}
    for link in links:
        assert re.fullmatch(r"static/[\w.]+\?v=[0-9a-f]{10}", link)
        answer = guest.get(link)
        guards = answer.headers["Cache-Control"], answer.headers["X-Content-Type-Options"]
        assert (answer.status, guards) == (
            200,
            ("public, max-age=31536000, immutable", "nosniff"),
        )
        kinds[link.partition("?")[0].rpartition(".")[2]] = answer.headers.get_content_type()
    assert kinds == {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@pytest.mark.parametrize(
    "path", ["static/nothing.js", "static", "static/../app.py", "static/%2e%2e/app.py", "static/"]
)
def test_beside_the_static_files_there_is_nothing(guest: Browser, path: str) -> None:
    answer = guest.get(path)
    assert answer.status == 404
    assert answer.headers["Cache-Control"] != "public, max-age=31536000, immutable"
    assert b"import" not in answer.body


@pytest.mark.parametrize("accept", [HTML, "*/*"])
@pytest.mark.parametrize("path", ["", "m{id}", "l{a}", "m{id}.zip", "i{a}.txt", f"m{NOWHERE}"])
def test_a_head_answers_as_a_get_without_the_body(
    alice: Browser, guest: Browser, path: str, accept: str
) -> None:
    stage = scene(alice)
    views = "SELECT view_count FROM folders WHERE id = :id"
    answers = [
        guest.send(method, stage.fill(path), {"Accept": accept})
        for method in ("GET", "GET", "HEAD", "GET")
    ][2:]
    headed, got = answers
    told = [dict(answer.headers.items()) for answer in answers]
    for headers in told:
        for name in ("date", "x-request-id"):
            del headers[name]
    assert (headed.status, headed.body) == (got.status, b"")
    assert told[0] == told[1]
    assert told[0]["content-length"] == str(len(got.body))
    assert stage.look(views) == [(3 if path == "m{id}" else 0,)]


# --- who knows the id may look; nothing lists it ---


def test_a_private_gallery_is_open_to_who_knows_its_id_and_is_listed_nowhere(
    alice: Browser, bob: Browser, guest: Browser
) -> None:
    stage = scene(alice, part("file", png(30, 20), "a.png"))
    pages_of_it = (f"m{stage.id}", f"l{stage.values['a']}")
    bytes_of_it = [f"{kind}{stage.values['a']}.png" for kind in "ijk"] + [f"m{stage.id}.zip"]
    reader, bearer = bob.v2(), bob.v2().bearer()
    bob.post(f"u{alice.slug}/follow", {})

    def listed() -> list[bool]:
        lists = [browser.page(f"u{alice.slug}") for browser in (guest, bob, alice)]
        lists += [bob.page("feed"), guest.page("")]
        for path in (f"users/{alice.slug}/folders", "activeuser/feed"):
            lists.append(reader.call("GET", path, bearer).body.decode())
        return [stage.id in text for text in lists]

    for public in (False, True):
        alice.post(f"m{stage.id}/edit", {"is_public": str(public)})
        assert listed() == [public] * 4 + [False] + [public] * 2
        for path in pages_of_it:
            assert (NOINDEX in guest.page(path)) is not public
        for path in bytes_of_it:
            answer = guest.get(path)
            assert (answer.status, answer.headers["X-Robots-Tag"]) == (200, "noindex")
        for path in (f"folders/{stage.id}", f"files/{stage.values['a']}"):
            assert reader.send("GET", path).status == (200 if public else 404)


def test_lists_and_forms_are_not_for_search_engines(alice: Browser, guest: Browser) -> None:
    pages_of_alice = [alice.page(path) for path in ("mine", "feed", "history", "settings")]
    others = [guest.page(path) for path in ("signin", "register")]
    errors = [guest.get(path).body.decode() for path in ("nothing", f"m{NOWHERE}")]
    assert all(NOINDEX in page for page in pages_of_alice + others + errors)
    assert not any(NOINDEX in guest.page(path) for path in ("", f"u{alice.slug}"))


@pytest.mark.parametrize("way", ["form", "v1", "v2"])
def test_an_item_that_is_removed_is_gone_everywhere_at_once(
    alice: Browser, guest: Browser, way: str
) -> None:
    names = ("a.png", "b.png")
    stage = scene(alice, *(part("file", png(30, 20), name) for name in names))
    gone, left = stage.values["a"], stage.values["b"]
    places = [f"l{gone}", *(f"{kind}{gone}.png" for kind in "ijk")]
    assert {guest.get(path).status for path in places} == {200}
    if way == "form":
        assert alice.post(f"l{gone}/delete", {}).status == 303
    elif way == "v1":
        params = {"id": stage.id, "items": json.dumps([left])}
        assert alice.post("api/SaveGallery", params, "*/*").status == 200
    else:
        alice.v2().delete(f"files/{gone}")
    assert {guest.get(path).status for path in places} == {404}
    assert zip_names(guest.get(f"m{stage.id}.zip")) == ["b.png"]
    for path in (f"m{stage.id}", f"l{left}", f"api/GetItems/m{stage.id}"):
        body = guest.get(path).body.decode()
        assert (gone in body, left in body) == (False, True)
    kept = {path.name for path in (alice.service.data / "derived").glob("*/*")}
    blobs = {row[0] for row in ask(alice.service, "SELECT blob FROM files")}
    assert kept <= blobs


@pytest.mark.parametrize("way", ["form", "v1", "v2"])
def test_a_gallery_that_is_removed_is_gone_everywhere_at_once(
    alice: Browser, guest: Browser, way: str
) -> None:
    stage = scene(alice, part("file", png(30, 20), "a.png"))
    alice.post(f"m{stage.id}/edit", {"is_public": "true"})
    item = stage.values["a"]
    places = [
        f"m{stage.id}",
        f"m{stage.id}.zip",
        f"l{item}",
        *(f"{kind}{item}.png" for kind in "ijk"),
    ]
    lists = [(guest, f"u{alice.slug}"), (alice, "mine")]
    assert {guest.get(path).status for path in places} == {200}
    assert all(stage.id in browser.page(path) for browser, path in lists)
    if way == "form":
        assert alice.post(f"m{stage.id}/delete", {}).status == 303
    elif way == "v1":
        assert alice.post("api/DeleteGallery", {"id": stage.id}, "*/*").status == 200
    else:
        alice.v2().delete(f"folders/{stage.id}")
    assert {guest.get(path).status for path in places} == {404}
    assert not any(stage.id in browser.page(path) for browser, path in lists)


# --- the address with the editor id ---


def test_the_editors_link_leads_to_the_address_to_give_away(site: Service) -> None:
    stage, friend, stranger = scene(Browser(site)), Browser(site), Browser(site)
    answer = friend.get(f"m{stage.key}")
    assert (answer.status, answer.headers["Location"]) == (303, f"/m{stage.id}")
    assert friend.cookies == {"editor": stage.key}
    for path in (f"m{stage.id}", f"l{stage.values['a']}"):
        mine, theirs = friend.page(path), stranger.page(path)
        assert (f'value="{stage.key}"' in mine or f"/m{stage.key}/edit" in mine) is True
        assert stage.key not in theirs
        assert 'method="post"' not in theirs
    assert (f"/m{stage.key}/edit" in friend.page(f"m{stage.id}"), stranger.cookies) == (True, {})
    assert stranger.get(f"m{stage.key}.zip").status == 200


def test_a_browser_holds_the_editor_ids_of_its_galleries_the_latest_first(site: Service) -> None:
    me = Browser(site)
    made = [scene(me) for _ in range(41)]
    keys = [stage.key for stage in made]
    assert me.cookies["editor"].split(".") == keys[:0:-1]
    me.get(f"m{keys[1]}")
    assert me.cookies["editor"].split(".") == [keys[1], *keys[:1:-1]]
    shown = [f"/m{stage.key}/edit" in me.page(f"m{stage.id}") for stage in (made[0], made[-1])]
    assert shown == [False, True]
    me.cookies["editor"] = f"..{'x' * 13}.<b>.{keys[0]}"
    assert f"/m{keys[0]}/edit" in me.page(f"m{made[0].id}")


# --- what an error page says ---


def assert_tells(answer: Answer, status: int, why: str, advice: str) -> None:
    page = answer.body.decode()
    assert (answer.status, answer.headers.get_content_type()) == (status, "text/html")
    for words in (why, advice, str(status)):
        assert words in page, words


def test_an_error_page_says_what_to_do(small: Service) -> None:
    here = {"X-Forwarded-For": "198.51.100.1"}
    guest = Browser(small)
    large = {"Content-Type": MULTIPART}, multipart(part("file", bytes(102_401), "a.bin"))
    answer = guest.send("POST", "", here | large[0], large[1])
    assert_tells(answer, 413, "a file has at most 102400 bytes", "Choose a smaller file")
    body = multipart(*LETTERS)
    made = guest.send("POST", "", here | large[0], body)
    reader = made.headers["Location"].removeprefix("/m")
    answer = guest.send("POST", "", here | large[0], body)
    assert_tells(answer, 429, "Too many galleries from this address", "Wait a while, or sign in.")
    answer = guest.post(f"m{reader}/edit", {"name": "x"})
    assert_tells(answer, 403, "This takes the editor id", "the link to edit it")
    answer = guest.get(f"m{NOWHERE}")
    assert_tells(answer, 404, "There is no such ", "Check the link: it may be cut short")
    assert_tells(guest.get("nothing"), 404, "nothing at this address", "Check the link")
    answer = guest.send("POST", "static/style.css")
    assert_tells(answer, 405, "Method Not Allowed", "Start again from the first page.")


def test_an_error_in_an_api_is_no_page(guest: Browser) -> None:
    for path in ("api/GetItems/nothing", "api/v2/nothing", "oauth/token"):
        answer = guest.get(path)
        assert (answer.status >= 400, answer.headers.get_content_type()) == (True, JSON), path


# --- the archive ---


def archived(answer: Answer) -> zipfile.ZipFile:
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/zip")
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers["Transfer-Encoding"] is None
    archive = zipfile.ZipFile(io.BytesIO(answer.body))
    assert archive.testzip() is None
    assert {info.compress_type for info in archive.infolist()} <= {zipfile.ZIP_STORED}
    return archive


def zip_names(answer: Answer) -> list[str]:
    with archived(answer) as archive:
        return archive.namelist()


def zip_of(guest: Browser, names: list[str]) -> list[str]:
    """The members' names for files of these names, each with its number as its bytes."""
    made = call(guest.port, "POST", "/api/CreateGallery", {}, b"").json()
    for number, name in enumerate(names):
        query = urlencode({"editor_id": made["editor_id"], "filename": name})
        body = str(number).encode()
        assert guest.send("POST", f"api/UploadItem?{query}", {}, body).status == 200, name
    with archived(guest.get(f"m{made['reader_id']}.zip")) as archive:
        members = archive.namelist()
        assert [archive.read(name) for name in members] == [
            str(number).encode() for number in range(len(names))
        ]
        assert all(
            name.isascii() or info.flag_bits & 0x800 for name, info in archive.NameToInfo.items()
        )
    return members


def test_the_archive_has_all_in_the_galleries_order(alice: Browser, guest: Browser) -> None:
    stage = scene(alice)
    ids = [stage.values[letter] for letter in "cab"]
    alice.post(f"m{stage.id}/order", {"items": json.dumps(ids)})
    alice.post(f"m{stage.id}/edit", {"name": 'Süß/"x"'})
    answer = guest.get(f"m{stage.id}.zip")
    with archived(answer) as archive:
        assert archive.namelist() == ["c.txt", "a.txt", "b.txt"]
        assert archive.read("b.txt") == b"b"
    assert answer.headers["Content-Disposition"] == (
        "attachment; filename=\"S____x_.zip\"; filename*=UTF-8''S%C3%BC%C3%9F__x_.zip"
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_archive_of_an_empty_gallery_is_empty(alice: Browser, guest: Browser) -> None:
    stage = scene(alice)
    for letter in "abc":
        alice.post(f"l{stage.values[letter]}/delete", {})
    assert zip_names(guest.get(f"m{stage.id}.zip")) == []


def test_an_archive_of_no_gallery_is_absent(guest: Browser) -> None:
    for path in (f"m{NOWHERE}.zip", "mx.zip", f"m{NOWHERE}.ZIP", f"m{NOWHERE}.zip/x"):
        assert guest.get(path).status == 404


RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


@pytest.mark.parametrize(
    "names",
    [
        ["..\\x", "\\x", "a\\b\\..\\c", "a:b", 'a"b', "a|b*?.txt", "<a>", "-rf", ".hidden", "a b"],
        [
            "CON.txt",
            "con",
            "Aux.tar.gz",
            "LPT1",
            "nul.",
            "com9.x",
            "console.txt",
            "con.txt.",
            "CoN",
        ],
        ["x.", "x..", "x. .", "x ", "...", ". .", "x"],
        ["\u202egnp.exe", "a\u2066b", "\U0001f4a9.png", "e\u0301", "\u200d"],
        [
            "字" * 255,
            "字" * 255,
            "é" * 251 + ".png",
            "é" * 251 + ".PNG",
            "x" * 255,
            "x" * 254 + "y",
        ],
        ["x" * 249 + "." + "\U0001f600" * 5] * 2,
        ["x" * 239 + " " + "y" * 10, "z" * 239 + "." + "字" * 10],
        ["a.txt", "A.TXT", "a.txt", "a (2).txt", "ß", "ss", "SS", ".a", ".A", "a", "A"],
        ["\u00e9.txt", "e\u0301.txt"],
    ],
    ids=[
        *("separators", "reserved", "trailing", "unicode", "long"),
        *("long and alike", "cut at a space", "alike", "alike when composed"),
    ],
)
def test_members_of_an_archive_have_names_that_are_safe_on_every_system(
    guest: Browser, names: list[str]
) -> None:
    members = zip_of(guest, names)
    for name in members:
        assert not re.search(r'[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069/\\:*?"<>|]', name)
        assert not RESERVED.fullmatch(name)
        assert name == name.rstrip(". ") != ""
        assert len(name.encode()) <= 255, len(name.encode())
    alike = {unicodedata.normalize("NFC", name).casefold() for name in members}
    assert len(alike) == len(names)


def test_a_harmless_name_stays_as_it_is(guest: Browser) -> None:
    names = ["a.txt", "My photo (1).JPG", "été.tar.gz", "字.png", ".bashrc", "no ending", "a.b.c"]
    assert zip_of(guest, names) == names


def test_alike_names_are_numbered(guest: Browser) -> None:
    names = ["a.txt", "A.txt", "a.txt", "a (2).txt", "b", "B"]
    assert zip_of(guest, names) == [
        *("a.txt", "A (2).txt", "a (3).txt", "a (2) (2).txt", "b", "B (2)")
    ]


def memory(service: Service, line: str) -> int:
    """A number of KiB of the process, of /proc."""
    status = Path(f"/proc/{service.pid}/status").read_text()
    found = re.search(rf"^{line}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1])


def test_a_large_archive_is_sent_as_it_is_read(site: Service) -> None:
    size = 48 << 20
    stage = scene(Browser(site), part("file", bytes(size), "a.bin"))
    guest = Browser(site)
    assert len(guest.get("").body) > 0
    Path(f"/proc/{site.pid}/clear_refs").write_text("5")  # the peak begins anew
    before = memory(site, "VmRSS")
    with archived(guest.get(f"m{stage.id}.zip")) as archive:
        assert archive.infolist()[0].file_size == size
    assert memory(site, "VmHWM") - before < (size >> 10) // 2
    with connect(site.port) as sock:  # one who leaves in the middle is no fault
        sock.sendall(head("GET", f"/m{stage.id}.zip", {"Host": f"127.0.0.1:{site.port}"}))
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
    assert guest.get(f"m{stage.id}").status == 200


# --- dropping files ---


def test_dropped_files_are_a_gallery_in_their_order(alice: Browser, guest: Browser) -> None:
    names = ["c.txt", "a.txt", "a.txt", "b.txt"]
    files = [part("file", name.encode(), name) for name in names]
    for browser in (alice, guest):
        answer = browser.drop(*files)
        gallery = answer.headers["Location"].removeprefix("/m")
        link = answer.headers["X-Edit-Link"]
        assert zip_names(guest.get(f"m{gallery}.zip")) == ["c.txt", "a.txt", "a (2).txt", "b.txt"]
        assert ask(guest.service, NAME, id=gallery) == [("c.txt and 3 more",)]
        assert (link is None) is (browser is alice)
        if link:
            editor = link.removeprefix(f"{guest.service.url}m")
            assert browser.cookies["editor"].split(".")[0] == editor
            assert ask(
                guest.service, "SELECT editor_id FROM folders WHERE id = :id", id=gallery
            ) == [(editor,)]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ([part("file", b"", ""), part("file", b"x", "x.txt")], ["x.txt"]),
        ([part("file", b"x", "x.txt"), part("file", b"", "")], ["x.txt"]),
        ([part("file", b"", "empty.txt")], ["empty.txt"]),
        ([part("note", b"y"), part("other", b"x", "x.txt"), part("z", b"y")], ["x.txt"]),
        ([part("file", b"x", "C:\\Photos\\x.jpg")], ["x.jpg"]),
    ],
)
def test_a_part_where_no_file_was_chosen_is_none(
    guest: Browser, files: list[bytes], names: list[str]
) -> None:
    answer = guest.drop(*files)
    assert zip_names(guest.get(f"{answer.headers['Location'][1:]}.zip")) == names


@pytest.mark.parametrize("files", [[part("file", b"", "")], [part("note", b"x")]])
def test_a_form_without_a_chosen_file_makes_nothing(guest: Browser, files: list[bytes]) -> None:
    before = dump(guest.service)
    assert_tells(guest.drop(*files), 400, "No file was chosen.", "Go back and change")
    assert (dump(guest.service), guest.cookies) == (before, {})


KIB = 1024


def drop_from(service: Service, address: str, *sizes: int) -> Answer:
    """Drop files of these sizes from another address."""
    body = multipart(*(part("file", bytes(size), f"{size}.bin") for size in sizes))
    headers = {"Content-Type": MULTIPART, "X-Forwarded-For": address}
    return Browser(service).send("POST", "", headers, body)


@pytest.mark.parametrize(
    "sizes",
    [(10, 100 * KIB + 1), (100 * KIB + 1, 10), (10, 20, 300 * KIB)],
    ids=["second", "first", "announced"],
)
def test_a_file_beyond_the_limit_leaves_nothing_of_the_others_either(
    small: Service, sizes: tuple[int, ...]
) -> None:
    before = dump(small)
    answer = drop_from(small, f"198.51.100.{sizes[-1] % 199 + 10}", *sizes)
    assert_tells(answer, 413, "a file has at most 102400 bytes", "Choose a smaller file")
    assert "Set-Cookie" not in answer.headers
    assert dump(small) == before


def test_the_limit_of_a_file_is_for_each_and_not_for_all_of_a_form(small: Service) -> None:
    answer = drop_from(small, "198.51.100.3", *[90 * KIB] * 3)
    assert answer.status == 303, answer.body
    gallery = answer.headers["Location"]
    assert len(zip_names(Browser(small).get(f"{gallery[1:]}.zip"))) == 3
    Browser(small).post(f"m{answer.headers['X-Edit-Link'].rpartition('/m')[2]}/delete", {})


def test_files_that_fill_the_room_to_the_last_byte_are_taken_by_one_form(small: Service) -> None:
    me = Browser(small)
    assert me.post("register", credentials("filler")).status == 303
    answer = me.drop(*(part("file", bytes(100 * KIB), f"{n}.bin") for n in range(4)))
    assert answer.status == 303, answer.body
    assert_tells(me.drop(part("file", b"x", "x")), 413, "There is no room left", "remove others")


def test_an_address_registers_so_many_accounts_an_hour(small: Service) -> None:
    def register(address: str, username: str, path: str = "register") -> Answer:
        headers = {"X-Forwarded-For": address} | encode("form", {})[1]
        body = urlencode(credentials(username)).encode()
        return Browser(small).send("POST", path, headers, body)

    why = "Too many accounts from this address; try again in an hour."
    refused = {"success": False, "username": why}
    assert {register("2001:db8::1", "").status for _ in range(100)} == {400}
    page = register("2001:db8::2", "late")
    assert (page.status, why in page.body.decode(), page.headers["Set-Cookie"]) == (400, True, None)
    assert register("2001:db8::3", "late", "api/login/register").json() == refused
    assert register("2001:db8:0:1::1", "late").status == 303


def test_galleries_for_signed_in_users_only_are_said_on_the_first_page(tmp_path: Path) -> None:
    options = ("--anonymous", "off", "--registration", "open")
    with running(tmp_path / "data", *options) as service:
        guest, alice = Browser(service), Browser(service).enter("alice")
        page = guest.page("")
        assert ('type="file"' in page, "Sign in to upload" in page, "curl" in page) == (
            False, True, False,
        )  # fmt: skip
        assert 'type="file"' in alice.page("")
        assert_tells(guest.drop(), 403, "for signed-in users only", "the link to edit it")
        assert (alice.drop().status, guest.cookies) == (303, {})


def test_closed_registration_has_no_form(service: Service) -> None:
    guest = Browser(service)
    assert "/register" not in guest.page("") + guest.page("signin")
    assert_tells(guest.get("register"), 404, "Registration is closed", "Check the link")
    assert guest.post("register", credentials("closed")).status == 404
    assert ask(service, "SELECT slug FROM users WHERE slug = 'closed'") == []


# --- the service of one's own machine ---


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    data = tmp_path_factory.mktemp("embedded") / "data"
    with running(data, "--embedded", "--registration", "closed") as service:
        yield service


def owner_of(service: Service, scope: str = rawhttp.ALL) -> Client:
    """Who runs the service, signed in as `minus` does it."""
    known = json.loads((service.data / "service.json").read_text())
    grant = {"grant_type": "client_credentials", "scope": scope}
    grant |= {"client_id": known["api_key"], "client_secret": known["api_secret"]}
    client = Client(service, known["username"], "")
    return client.with_token(client.ask_token(grant))


def test_a_one_time_link_signs_the_owner_in_once(embedded: Service) -> None:
    owner = owner_of(embedded)
    link = owner.ok("POST", "activeuser/web", {})["url"]
    assert re.fullmatch(rf"{re.escape(embedded.url)}signin/[A-Za-z0-9_-]{{43}}", link)
    path = link.removeprefix(embedded.url)
    first, second = Browser(embedded), Browser(embedded)
    answer = first.get(path)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert answer.headers["Cache-Control"] == "no-store"
    assert list(first.cookies) == [f"sessionid-{embedded.port}"]
    assert owner.name in first.page("mine")
    stage = scene(first)
    assert owner.get(f"folders/{stage.id}")["creator"].endswith(f"/{owner.slug}")
    assert_tells(second.get(path), 404, "This link has been used", "Check the link")
    assert second.cookies == {}
    second.cookies[f"sessionid-{embedded.port}"] = path.rpartition("/")[2]
    assert second.get("mine").status == 303


def test_a_one_time_link_takes_the_right_to_modify_the_user(embedded: Service) -> None:
    limited = owner_of(embedded, "read_all")
    assert limited.send("POST", "activeuser/web", {}).status == 403
    assert limited.bare("POST", "activeuser/web", {}).status == 401


def test_a_service_with_accounts_gives_no_one_time_links(alice: Browser) -> None:
    assert alice.v2().send("POST", "activeuser/web", {}).status == 404
    assert alice.get(f"signin/{'x' * 43}").status == 404


def test_nobody_drops_files_on_the_embedded_service_without_a_link(embedded: Service) -> None:
    guest = Browser(embedded)
    before = dump(embedded)
    assert_tells(guest.drop(), 403, "for signed-in users only", "the link to edit it")
    answer = guest.send("GET", "api/CreateGallery")
    assert (answer.status, dump(embedded), guest.cookies) == (403, before, {})
    page = guest.page("")
    assert ("minus --web" in page, 'type="file"' in page, "/signin" in page) == (True, False, False)


# --- thumbnails over HTTP; test_library.py has what they show ---

SIDES = {"small": 160, "medium": 640}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.folder
def test_a_picture_of_any_kind_has_thumbnails_made_once(
    alice: Browser, guest: Browser, form: str, turned: bool
) -> None:
    if turned and form in ("GIF", "BMP"):
        turned = False  # these have no EXIF: as they are, once more
    picture = Image.new("RGB", (900, 300), (254, 0, 0))
    picture.paste((0, 0, 254), (450, 0, 900, 300))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6 if turned else 1, "SECRET"
    out = io.BytesIO()
    picture.save(out, form, **({} if form in ("GIF", "BMP") else {"exif": exif.tobytes()}))
    stage = scene(alice, part("file", out.getvalue(), "a.bin"))
    item = stage.values["a"]
    (key,) = (row[0] for row in stage.look("SELECT blob FROM files WHERE id = :a"))
    derived = alice.service.data / "derived" / key[:1] / key
    assert not derived.exists()
    for letter, (kind, side) in zip("jk", SIDES.items(), strict=True):
        answer = guest.get(f"{letter}{item}.png")
        jpeg = kind == "medium" or form == "JPEG"
        assert (answer.status, answer.headers["Content-Type"]) == (
            200,
            f"image/{'jpeg' if jpeg else 'png'}",
        )
        assert b"SECRET" not in answer.body
        with Image.open(io.BytesIO(answer.body)) as made:
            size = (side, round(side / 3))
            assert made.size == (size[::-1] if turned else size)
            assert dict(made.getexif()) == {}
            red, blue = (
                made.convert("RGB").getpixel(at)
                for at in ((5, 5), (made.width - 6, made.height - 6))
            )
        assert isinstance(red, tuple)
        assert isinstance(blue, tuple)
        assert (min(red[0], blue[2]) > 200, max(red[2], blue[0]) < 50) == (True, True)
        assert (derived / kind).read_bytes() == answer.body
        (derived / kind).write_bytes(b"kept")  # what is kept is not made again
        assert guest.get(f"{letter}{item}.png").body == b"kept"
    assert sorted(path.name for path in derived.iterdir()) == ["medium", "small"]


@pytest.mark.parametrize("name", ["a.pdf", "a.mp4", "a.html", "a.svg", "a", "a.png"])
def test_what_is_no_picture_has_an_icon(alice: Browser, guest: Browser, name: str) -> None:
    stage = scene(alice, part("file", b"<svg onload='alert(1)'/>", name))
    for letter, side in zip("jk", SIDES.values(), strict=True):
        answer = guest.get(f"{letter}{stage.values['a']}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/png")
        with Image.open(io.BytesIO(answer.body)) as icon:
            assert icon.size == (side, side)


# --- who asks ---


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_page_of_another_site_drops_nothing_and_takes_no_editor_id(
    site: Service, headers: dict[str, str]
) -> None:
    guest = Browser(site)
    assert guest.drop().status == 303
    held, galleries = dict(guest.cookies), ask(site, "SELECT id FROM folders")
    answer = call(
        site.port, "POST", "/", {"Content-Type": MULTIPART} | headers, multipart(*LETTERS)
    )
    assert (answer.status, answer.headers["Set-Cookie"]) == (403, None)
    assert (guest.cookies, ask(site, "SELECT id FROM folders")) == (held, galleries)


@pytest.mark.parametrize("path", ["settings/clients", "settings/profile", "settings/password"])
def test_a_token_of_the_api_is_no_session_on_the_pages(site: Service, path: str) -> None:
    owner = Browser(site).enter("tokens")
    token = {"Authorization": f"Bearer {owner.v2().token}", "Accept": JSON}
    before = dump(site)
    assert Browser(site).get("settings", **token).status == 401
    assert Browser(site).send("POST", path, token | encode("form", {})[1], b"name=x").status == 401
    assert dump(site) == before


def test_a_drop_that_fails_stands_in_no_history(site: Service) -> None:
    owner = Browser(site).enter("ghost")
    assert owner.send("PUT", "bad%01name", {"Accept": "*/*"}, b"x").status == 400
    assert json.loads(owner.get("api/MyGalleries.json").body)["galleries"] == []


def test_a_refusal_is_a_line_of_text_for_curl(small: Service) -> None:
    answer = call(small.port, "PUT", "/", {"Accept": "*/*"}, bytes(300 * 1024))
    assert (answer.status, answer.headers.get_content_type()) == (413, "text/plain")
    assert answer.body.decode().count("\n") == 1


def test_only_processes_of_the_same_user_are_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address) as client:
            scope = {"type": "http", "client": client.getsockname(), "server": address}
            assert web.is_own(Request(scope))
            assert not web.is_own(Request(scope | {"client": ("127.0.0.1", 1)}))
            monkeypatch.setattr(os, "getuid", lambda: 12345)
            assert not web.is_own(Request(scope))


def test_thousands_of_namesakes_are_numbered_in_one_go() -> None:
    files = [SimpleNamespace(name="image.png") for _ in range(20_000)]
    found = zips.member_names(cast("list[Any]", files))
    assert (found[0], found[1], found[-1]) == ("image.png", "image (2).png", "image (20000).png")
    assert len(set(found)) == len(files)


def test_long_names_that_are_cut_to_one_stem_are_numbered_in_a_few_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps, shortened = 0, zips._shortened

    def counted(name: str, more: str = "") -> str:
        nonlocal steps
        steps += 1
        return shortened(name, more)

    monkeypatch.setattr(zips, "_shortened", counted)
    for prefix in ("x" * 236, "é" * 118, "e\u0301" * 78 + "xx"):
        members, steps = zips.MemberNames(), 0
        found = [members.take(f"{prefix}{number:04}") for number in range(1000) for _ in range(2)]
        assert len({unicodedata.normalize("NFC", name) for name in found}) == 2000
        assert max(len(name.encode()) for name in found) <= 240
        assert found[:4] == [f"{prefix}0000", f"{prefix} (2)", f"{prefix}0001", f"{prefix} (3)"]
        assert steps <= 4 * len(found)
