"""API v2 over raw HTTP, as programs of 2011 spoke it: every row and sentence of `api-v2.md`."""

import base64
import functools
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlencode

import pytest

from tests import rawhttp
from tests.live import Service
from tests.rawhttp import (
    EXTENDED,
    FILE,
    FOLDER,
    FORM,
    LISTED_FOLDER,
    MESSAGE,
    MULTIPART,
    OTHER_USER,
    SCOPES,
    USER,
    WAYS,
    Client,
    Params,
    Row,
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
SCRIPT = b"<script>alert(1)</script>"
NOWHERE = "A1b2C3d4E5f6"  # as long as an id, and nobody's
PLAIN_FILE = multipart(part("file", b"text", "t.txt"))

each_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def alice(service: Service) -> Client:
    """A user with capitals in the name, for tests that leave nothing another test could trip on."""
    return new_user(service, "WireAlice")


@pytest.fixture(scope="module")
def bob(service: Service) -> Client:
    return new_user(service, "wirebob")


@pytest.fixture(scope="module")
def carol(service: Service) -> Client:
    """A user who is given garbage."""
    return new_user(service, "wirecarol")


@pytest.fixture
def user(service: Service) -> Client:
    """A user of the test's own."""
    return new_user(service)


@pytest.fixture(scope="module")
def limited(alice: Client) -> Callable[[str], Client]:
    """Alice with some scopes only, signed in once for each text of scopes."""
    return functools.cache(alice.limited)


@pytest.fixture
def folder(alice: Client) -> Row:
    return alice.folder()


@pytest.fixture
def file(alice: Client, folder: Row) -> Row:
    return alice.upload(folder=folder)


# --- tokens ---


@pytest.mark.parametrize("client_in", ["parameters", "basic header"])
@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/token/", "//oauth//token/"])
@pytest.mark.parametrize("way", ["GET", *WAYS])
def test_a_token_is_given_however_it_is_asked_for(
    alice: Client, way: str, path: str, client_in: str
) -> None:
    params, headers = alice.grant(), {}
    if client_in == "basic header":
        headers = rawhttp.basic(params.pop("client_id"), params.pop("client_secret"))
    query, more, body = encode("query" if way == "GET" else way, params)
    method, sent = ("GET", None) if way == "GET" else ("POST", body)
    answer = checked(alice.call(method, path + query, headers | more, sent))
    assert alice.with_token(answer).get("activeuser")["slug"] == alice.slug


def test_the_answer_of_a_token_has_every_field_and_both_lifetimes(alice: Client) -> None:
    row = alice.ask_token(alice.grant("read_public read_all")).json()
    assert [key for key in row if key in rawhttp.TOKEN] == rawhttp.TOKEN
    assert (row["token_type"], row["scope"]) == ("bearer", "read_public read_all")
    assert type(row["expires_in"]) is type(row["expire_in"]) is int
    assert row["expires_in"] == row["expire_in"] > 0
    assert all(isinstance(row[key], str) and row[key] for key in ("access_token", "refresh_token"))


@pytest.mark.parametrize(
    "scope", ["upload_new read_all", "read_all+upload_new", " upload_new  read_all "]
)
def test_scopes_are_joined_by_space_or_plus_and_echoed(alice: Client, scope: str) -> None:
    answer = alice.ask_token(alice.grant(scope))
    assert answer.json()["scope"] == scope
    client = alice.with_token(answer)
    assert client.folder()["name"] == "Stuff"
    assert client.send("GET", "activeuser/messages").status == 200
    assert client.send("PUT", "activeuser", {}).status == 403


def test_a_refresh_token_gives_another_token_that_works(alice: Client) -> None:
    params = alice.grant()
    first = alice.ask_token(params).json()
    del params["username"], params["password"]
    more = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    answer = alice.ask_token(params | more)
    row = answer.json()
    assert (row["scope"], bool(row["refresh_token"])) == (rawhttp.ALL, True)
    assert row["access_token"] != first["access_token"]
    assert alice.with_token(answer).get("activeuser")["username"] == alice.name


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"password": "wrong"}, (400, "invalid_grant")),
        ({"username": "nobody-of-that-name"}, (400, "invalid_grant")),
        ({"grant_type": "refresh_token", "refresh_token": "never"}, (400, "invalid_grant")),
        ({"client_id": "nobody"}, (401, "invalid_client")),
        ({"client_secret": "wrong"}, (401, "invalid_client")),
        ({"client_id": None}, (401, "invalid_client")),
        ({"grant_type": "telepathy"}, (400, "unsupported_grant_type")),
        ({"grant_type": None}, (400, "invalid_request")),
        ({"username": None}, (400, "invalid_request")),
        ({"password": None}, (400, "invalid_request")),
        ({"grant_type": "refresh_token"}, (400, "invalid_request")),
    ],
)
def test_a_refused_token_names_the_reason_as_oauth_does(
    alice: Client, change: dict[str, str | None], expected: tuple[int, str], method: str
) -> None:
    params = {key: value for key, value in (alice.grant() | change).items() if value is not None}
    if method == "POST":
        assert error_of(alice.ask_token(params)) == expected
    else:
        assert error_of(alice.bare("GET", "/oauth/token?" + urlencode(params))) == expected


def test_a_basic_header_with_a_wrong_secret_is_a_bad_client(alice: Client) -> None:
    params = alice.grant()
    headers = rawhttp.basic(params.pop("client_id"), params.pop("client_secret") + "x")
    answer = alice.bare("POST", "/oauth/token", params, **headers)
    assert error_of(answer) == (401, "invalid_client")


def test_every_method_takes_the_token_in_the_query(alice: Client, folder: Row) -> None:
    path = f"folders/{folder['id']}?bearer_token={alice.token}&unknown=1"
    assert alice.bare("GET", path).json()["name"] == "Stuff"
    assert alice.bare("PUT", path, {"name": "Other"}).json()["name"] == "Other"
    assert alice.bare("DELETE", path).status == 204


@pytest.mark.parametrize("places", ["header", "query", "field", "header query field"])
@pytest.mark.parametrize("way", ["form", "multipart"])
def test_a_post_takes_the_token_in_any_place_or_in_all(
    alice: Client, places: str, way: str
) -> None:
    token = {"bearer_token": alice.token}
    inside = token if "field" in places else {}
    _, headers, body = encode(way, {"name": "Stuff", "nobody": "knows"} | inside)
    headers |= alice.bearer() if "header" in places else {}
    query = "?" + urlencode(token) if "query" in places else ""
    path = f"users/{alice.slug}/folders{query}"
    assert checked(alice.call("POST", path, headers, body)).status == 200


@pytest.mark.parametrize("first", ["token", "file"])
def test_an_upload_takes_the_token_as_a_multipart_field(
    alice: Client, folder: Row, first: str
) -> None:
    parts = [part("bearer_token", alice.token.encode()), part("file", BYTES, "a.bin")]
    body = multipart(*(parts if first == "token" else reversed(parts)))
    path = f"folders/{folder['id']}/files"
    answer = checked(alice.call("POST", path, {"Content-Type": MULTIPART}, body))
    assert answer.status == 200
    assert alice.raw(answer.json()).body == BYTES


@pytest.mark.parametrize("place", ["header", "query", "field"])
def test_a_bad_token_is_a_401_that_says_so(alice: Client, place: str) -> None:
    headers = {"Authorization": "Bearer wrong"} if place == "header" else {}
    query = "?bearer_token=wrong" if place == "query" else ""
    params = {"bearer_token": "wrong"} if place == "field" else {}
    answer = alice.bare("PUT", f"activeuser{query}", params, **headers)
    assert (answer.status, answer.json()["invalid_token"]) == (401, True)


def test_no_token_at_all_is_a_401(alice: Client) -> None:
    assert alice.bare("GET", "activeuser").status == 401


def test_a_refused_upload_is_answered_to_one_who_sends_all_of_it_first(alice: Client) -> None:
    body = multipart(part("file", bytes(4 << 20), "t.bin"))
    stranger = Client(alice.service, alice.name, "wrong")
    assert stranger.post_file(body, folder=alice.folder()).status == 401
    assert alice.post_file(body, folder={"id": NOWHERE}).status == 404


# --- scopes ---


@pytest.mark.parametrize("allowed", [True, False], ids=["with it alone", "with all the others"])
@pytest.mark.parametrize(
    ("request_line", "scope", "params"),
    [
        ("PUT activeuser", "modify_user", {"description": "me"}),
        ("POST users/{me}/folders", "upload_new", {"name": "New"}),
        ("PUT folders/{folder}", "modify_all", {"name": "New"}),
        ("DELETE folders/{folder}", "modify_all", None),
        ("PUT files/{file}", "modify_all", {"caption": "New"}),
        ("DELETE files/{file}", "modify_all", None),
        ("POST users/{me}/following", "modify_user", {"slug": "{bob}"}),
        ("DELETE users/{me}/following/{bob}", "modify_user", None),
        ("GET activeuser/messages", "read_all", None),
        ("GET activeuser/messages/{bob}", "read_all", None),
        ("POST activeuser/messages/{bob}", "modify_user", {"body": "hello"}),
    ],
)
def test_a_guarded_resource_asks_for_its_scope(
    alice: Client,
    bob: Client,
    file: Row,
    limited: Callable[[str], Client],
    *,
    request_line: str,
    scope: str,
    params: dict[str, str] | None,
    allowed: bool,
) -> None:
    alice.ok("POST", f"users/{alice.slug}/following", {"slug": bob.slug})
    folder_id = file["folder"].rsplit("/", 1)[1]
    known = {"me": alice.slug, "bob": bob.slug, "file": file["id"], "folder": folder_id}
    client = limited(scope if allowed else " ".join(s for s in SCOPES if s != scope))
    method, path = request_line.format(**known).split()
    filled = params and {key: value.format(**known) for key, value in params.items()}
    answer = client.send(method, path, filled)
    if allowed:
        assert answer.status == (204 if method == "DELETE" else 200)
    else:
        assert error_of(answer) == (403, "insufficient_scope")


def test_an_upload_asks_for_upload_new(folder: Row, limited: Callable[[str], Client]) -> None:
    others = " ".join(scope for scope in SCOPES if scope != "upload_new")
    refused = limited(others).post_file(PLAIN_FILE, folder=folder)
    assert error_of(refused) == (403, "insufficient_scope")
    assert limited("upload_new").post_file(PLAIN_FILE, folder=folder).status == 200


@pytest.mark.parametrize("scope", SCOPES)
def test_any_scope_reads_users(limited: Callable[[str], Client], bob: Client, scope: str) -> None:
    client = limited(scope)
    client.assert_shape(client.get("activeuser"), USER)
    assert client.get(f"users/{bob.slug}")["username"] == bob.name


def test_read_public_alone_lists_only_the_public_folders(user: Client) -> None:
    user.folder("open")
    user.folder("closed", "false")
    path = f"users/{user.slug}/folders"
    assert user.limited("read_public").values(path, "name") == ["open"]
    assert user.limited("read_all").values(path, "name") == ["open", "closed"]


def test_upload_new_alone_makes_folders_lists_them_and_uploads(user: Client) -> None:
    client = user.limited("upload_new")
    folder = client.folder("Mine")
    assert client.values(f"users/{user.slug}/folders", "name") == ["Mine"]
    assert client.upload(folder=folder)["filesize"] == 4


# --- users ---


def test_the_active_user_has_the_private_fields(service: Service) -> None:
    user = new_user(service, "WireCase", quota=12345)
    row = user.get("activeuser")
    user.assert_shape(row, USER)
    link = f"{service.url}api/v2/users/{user.slug}"
    assert (row["username"], row["slug"]) == (user.name, user.slug)
    assert (row["url"], row["folders"]) == (link, f"{link}/folders")
    assert (row["storage_quota"], row["storage_used"], row["email"]) == (12345, 0, "")
    assert (row["display_name"], row["description"]) == ("", None)
    user.upload(b"text")
    assert user.get("activeuser")["storage_used"] == 4


def test_the_quota_of_an_account_is_1_tib_unless_said(alice: Client) -> None:
    assert alice.get("activeuser")["storage_quota"] == 1024**4


def test_another_user_lacks_the_private_fields(alice: Client, bob: Client) -> None:
    row = alice.get(f"users/{bob.slug}")
    alice.assert_shape(row, OTHER_USER)
    assert set(rawhttp.PRIVATE) & set(row) == set()
    assert row["url"] == f"{alice.base}api/v2/users/{bob.slug}"


def test_a_user_nobody_knows_is_a_404(alice: Client) -> None:
    for path in ("users/nobody", "users/nobody/folders", "activeuser/messages/nobody"):
        assert alice.send("GET", path).status == 404


@each_way
def test_a_profile_is_changed_field_by_field(user: Client, way: str) -> None:
    params = {"display_name": "Zoë", "description": "two\nlines", "email": "z@example.org"}
    row = user.ok("PUT", "activeuser", params, way)
    user.assert_shape(row, USER)
    assert {key: row[key] for key in params} == params
    assert user.ok("PUT", "activeuser", {"display_name": "Z"}, way)["description"] == "two\nlines"
    assert user.get(f"users/{user.slug}")["display_name"] == "Z"


@pytest.mark.parametrize("path", ["", "/folders", "/followers", "/following"])
def test_the_username_serves_where_the_slug_belongs(alice: Client, path: str) -> None:
    alice.folder()
    names = (alice.slug, alice.name, alice.name.upper())
    bodies = [alice.send("GET", f"users/{name}{path}").body for name in names]
    assert len({re.sub(rb'_ago": \d+', b"", body) for body in bodies}) == 1


def test_slugs_that_would_collide_with_fixed_addresses_are_not_given_out(service: Service) -> None:
    refused = service.run("adduser", "pload", stdin=f"{rawhttp.PASSWORD}\n")
    assert refused.returncode != 0  # its page would be `/upload`


# --- folders ---


def test_a_new_folder_has_the_shape_of_the_reference(alice: Client) -> None:
    before = time.time()
    row = alice.folder("Stuff é✓", "true")
    alice.assert_shape(row, FOLDER)
    link = f"{alice.base}api/v2/folders/{row['id']}"
    assert (row["url"], row["files"]) == (link, f"{link}/files")
    assert row["creator"] == f"{alice.base}api/v2/users/{alice.slug}"
    assert (row["name"], row["is_public"]) == ("Stuff é✓", True)
    assert (row["file_count"], row["view_count"], row["item_ordering"]) == (0, 0, [])
    assert row["date_last_updated"] == row["last_updated"]
    rawhttp.assert_ago(row, "created", "created_ago", before)
    rawhttp.assert_ago(row, "last_updated", "last_updated_ago", before)


def test_a_folder_is_read_alone_and_in_the_list(user: Client) -> None:
    made = user.folder()
    file = user.upload(folder=made)
    row = user.get(f"folders/{made['id']}")
    user.assert_shape(row, FOLDER)
    assert (row["file_count"], row["item_ordering"]) == (1, [file["id"]])
    (listed,) = user.results(f"users/{user.slug}/folders")
    user.assert_shape(listed, LISTED_FOLDER)
    assert ("item_ordering" in listed, listed["id"]) == (False, made["id"])


@each_way
def test_a_folder_is_made_and_changed_in_every_encoding(alice: Client, way: str) -> None:
    params = {"name": "Café & Co", "is_public": "false", "unknown": "1"}
    row = alice.ok("POST", f"users/{alice.slug}/folders", params, way)
    assert (row["name"], row["is_public"]) == ("Café & Co", False)
    row = alice.ok("PUT", f"folders/{row['id']}", {"name": "Other"}, way)
    alice.assert_shape(row, FOLDER)
    assert (row["name"], row["is_public"]) == ("Other", False)
    row = alice.ok("PUT", f"folders/{row['id']}", {"is_public": "true"}, way)
    assert (row["name"], row["is_public"]) == ("Other", True)


@pytest.mark.parametrize(
    "text", ["true", "True", "TRUE", "tRuE", "1", None, "false", "False", "FALSE", "fAlSe", "0"]
)
def test_is_public_comes_in_any_case_as_a_digit_or_not_at_all(
    alice: Client, text: str | None
) -> None:
    params = {"name": "Stuff"} | ({} if text is None else {"is_public": text})
    row = alice.ok("POST", f"users/{alice.slug}/folders", params)
    expected = text is None or text.lower() in ("true", "1")
    assert row["is_public"] is alice.get(f"folders/{row['id']}")["is_public"] is expected


@pytest.mark.parametrize("value", [False, 0, "false"])
def test_is_public_in_json_may_be_a_boolean(alice: Client, value: object) -> None:
    params = {"name": "Stuff", "is_public": value}
    assert alice.ok("POST", f"users/{alice.slug}/folders", params, "json")["is_public"] is False


def test_names_are_not_unique(user: Client) -> None:
    folders = [user.folder("Same")["id"], user.folder("Same")["id"]]
    assert user.values(f"users/{user.slug}/folders", "id") == folders
    files = [user.upload(folder={"id": folders[0]})["id"] for _ in range(2)]
    assert user.values(f"folders/{folders[0]}/files", "id") == files
    assert len({*folders, *files}) == 4


def test_a_folder_is_deleted_with_its_files(alice: Client, folder: Row, file: Row) -> None:
    alice.delete(f"folders/{folder['id']}")
    for path in (f"folders/{folder['id']}", f"folders/{folder['id']}/files", f"files/{file['id']}"):
        assert alice.send("GET", path).status == 404
    assert alice.raw(file).status == 404


def test_only_ones_own_slug_takes_changes(alice: Client, bob: Client) -> None:
    theirs = f"users/{bob.slug}"
    assert alice.send("POST", f"{theirs}/folders", {"name": "Stuff"}).status == 403
    assert alice.send("POST", f"{theirs}/following", {"slug": alice.slug}).status == 403
    assert alice.send("DELETE", f"{theirs}/following/{alice.slug}").status == 403


# --- privacy ---


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "folders/{folder}"),
        ("PUT", "folders/{folder}"),
        ("DELETE", "folders/{folder}"),
        ("GET", "folders/{folder}/files"),
        ("GET", "files/{file}"),
        ("PUT", "files/{file}"),
        ("DELETE", "files/{file}"),
    ],
)
def test_a_private_folder_is_absent_for_a_stranger(
    alice: Client, bob: Client, method: str, path: str
) -> None:
    secret = alice.folder("Secret", "false")
    there = path.format(folder=secret["id"], file=alice.upload(folder=secret)["id"])
    nowhere = path.format(folder=NOWHERE, file=NOWHERE)
    params = {"name": "Mine"} if method == "PUT" else None
    assert bob.send(method, there, params).status == 404
    assert bob.send(method, there, params).body == bob.send(method, nowhere, params).body
    assert bob.bare(method, there, params).body == bob.bare(method, nowhere, params).body


@pytest.mark.parametrize(("is_public", "expected"), [("true", (403, 404)), ("false", (404,))])
def test_a_stranger_uploads_into_no_folder_of_another(
    alice: Client, bob: Client, is_public: str, expected: tuple[int, ...]
) -> None:
    folder = alice.folder("Stuff", is_public)
    assert bob.post_file(PLAIN_FILE, folder=folder).status in expected
    assert alice.results(f"folders/{folder['id']}/files") == []


def test_a_stranger_reads_and_never_changes_what_is_public(
    bob: Client, folder: Row, file: Row
) -> None:
    for path, name in ((f"folders/{folder['id']}", "Stuff"), (f"files/{file['id']}", "t.txt")):
        assert bob.send("PUT", path, {"name": "Mine"}).status in (403, 404)
        assert bob.send("DELETE", path).status in (403, 404)
        assert bob.get(path)["name"] == name
    assert bob.values(f"folders/{folder['id']}/files", "id") == [file["id"]]


def test_a_stranger_lists_only_the_public_folders(user: Client, bob: Client) -> None:
    user.folder("closed", "false")
    user.folder("open")
    (row,) = bob.walk(f"users/{user.slug}/folders", 50, 1)
    assert row["name"] == "open"


def test_a_private_file_is_reached_by_its_short_link(alice: Client) -> None:
    row = alice.upload(BYTES, folder=alice.folder("Secret", "false"))
    assert alice.raw(row).body == BYTES


# --- files ---


def test_a_new_file_has_the_shape_of_the_reference(alice: Client, folder: Row) -> None:
    before = time.time()
    row = alice.upload(b"text", "t.txt", folder)
    alice.assert_shape(row, FILE)
    assert row["url"] == f"{alice.base}api/v2/files/{row['id']}"
    assert row["folder"] == folder["url"]
    assert row["url_rawfile"] == f"{alice.base}i{row['id']}.txt"
    assert row["url_thumbnail"] == f"{alice.base}j{row['id']}.txt"
    assert (row["name"], row["caption"], row["title"]) == ("t.txt", "", "")
    assert (row["mimetype"], row["filesize"]) == ("text/plain", 4)
    assert (row["width"], row["height"], row["url_preview"]) == (0, 0, None)
    rawhttp.assert_ago(row, "uploaded", "uploaded_ago", before)


def test_a_picture_has_its_size_and_its_thumbnails(alice: Client) -> None:
    row = alice.upload(PNG, "p.png")
    assert (row["width"], row["height"], row["mimetype"]) == (3, 2, "image/png")
    assert row["url_thumbnail"] == f"{alice.base}j{row['id']}.png"
    assert row["url_thumbnail_medium"] == f"{alice.base}k{row['id']}.jpg"
    for link in ("url_rawfile", "url_thumbnail", "url_thumbnail_medium"):
        answer = alice.call("GET", row[link][len(alice.base) - 1 :])
        assert (answer.status, answer.headers.get_content_maintype()) == (200, "image")


def test_a_file_is_read_alone_and_in_the_list(alice: Client, folder: Row, file: Row) -> None:
    for row in (
        alice.get(f"files/{file['id']}"),
        *alice.results(f"folders/{folder['id']}/files"),
    ):
        alice.assert_shape(row, FILE)
        assert row | {"uploaded_ago": 0} == file | {"uploaded_ago": 0}


@pytest.mark.parametrize("data", [b"", BYTES, bytes(range(256)) * 4096], ids=["0", "24", "1 MiB"])
def test_an_upload_comes_back_byte_for_byte(alice: Client, data: bytes) -> None:
    row = alice.upload(data, "a.bin")
    assert (row["filesize"], alice.raw(row).body == data) == (len(data), True)


@pytest.mark.parametrize(
    ("params", "own", "name"),
    [
        ({"filename": "a.txt"}, "b.txt", "a.txt"),
        ({}, "b.txt", "b.txt"),
        ({"filename": "café.txt"}, "b.txt", "café.txt"),
        ({}, "café ✓.txt", "café ✓.txt"),
        ({"filename": "my%20caf%C3%A9.txt"}, "b.txt", "my café.txt"),
        ({}, "my%20caf%C3%A9.txt", "my café.txt"),
        ({"filename": "100%.txt"}, "b.txt", "100%.txt"),
    ],
)
def test_a_file_is_named_by_its_field_or_by_its_part(
    alice: Client, params: Params, own: str, name: str
) -> None:
    answer = alice.post_file(multipart(*fields(params), part("file", b"text", own)))
    assert (answer.status, answer.json()["name"]) == (200, name)


@pytest.mark.parametrize("order", ["fields first", "file first", "query"])
def test_the_fields_of_an_upload_come_in_any_order_or_in_the_query(
    alice: Client, order: str
) -> None:
    params = {"filename": "a.txt", "caption": "two words", "unknown": "1"}
    parts = [part("file", BYTES, "b.txt"), *(fields(params) if order != "query" else [])]
    body = multipart(*(parts if order == "file first" else reversed(parts)))
    query = "?" + urlencode(params) if order == "query" else ""
    row = alice.post_file(body, query=query).json()
    assert (row["name"], row["caption"]) == ("a.txt", "two words")
    assert alice.raw(row).body == BYTES


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ""),
        ({"caption": ""}, ""),
        ({"caption": "None"}, ""),
        ({"caption": "None of it"}, "None of it"),
    ],
)
def test_a_caption_may_be_absent_empty_or_the_text_none(
    alice: Client, params: Params, expected: str
) -> None:
    answer = alice.post_file(multipart(*fields(params), part("file", b"text", "t.txt")))
    assert (answer.status, answer.json()["caption"]) == (200, expected)


@each_way
def test_a_file_is_changed_in_every_encoding(alice: Client, file: Row, way: str) -> None:
    params = {"caption": "A caption", "title": "A title", "name": "new.txt"}
    row = alice.ok("PUT", f"files/{file['id']}", params, way)
    alice.assert_shape(row, FILE)
    assert {key: row[key] for key in params} == params
    row = alice.ok("PUT", f"files/{file['id']}", {"caption": "Other"}, way)
    assert [row[key] for key in params] == ["Other", "A title", "new.txt"]
    assert alice.raw(row).body == b"text"


def test_a_deleted_file_is_gone(alice: Client, folder: Row, file: Row) -> None:
    alice.delete(f"files/{file['id']}")
    assert alice.send("GET", f"files/{file['id']}").status == 404
    assert alice.send("DELETE", f"files/{file['id']}").status == 404
    assert alice.raw(file).status == 404
    row = alice.get(f"folders/{folder['id']}")
    assert (row["file_count"], row["item_ordering"]) == (0, [])


# --- order of files ---

SPELLINGS: Mapping[str, Callable[[list[str]], str]] = {
    "JSON": json.dumps,
    "JSON without spaces": lambda ids: json.dumps(ids, separators=(",", ":")),
    "a Python list": str,
    "a Python 2 list": lambda ids: "[" + ", ".join(f"u'{item}'" for item in ids) + "]",
    "commas": ",".join,
    "commas and spaces": ", ".join,
}


def upload_letters(client: Client, folder: Row, letters: str) -> list[str]:
    return [client.upload(name=letter, folder=folder)["id"] for letter in letters]


@each_way
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_order_is_set_in_every_spelling(
    alice: Client, folder: Row, spelling: str, way: str
) -> None:
    a, b, c = upload_letters(alice, folder, "abc")
    path = f"folders/{folder['id']}"
    row = alice.ok("PUT", path, {"item_ordering": SPELLINGS[spelling]([c, a, b])}, way)
    assert row["item_ordering"] == alice.get(path)["item_ordering"] == [c, a, b]
    assert alice.values(f"{path}/files", "name") == ["c", "a", "b"]


def test_an_order_in_json_may_be_a_list(alice: Client, folder: Row) -> None:
    a, b = upload_letters(alice, folder, "ab")
    row = alice.ok("PUT", f"folders/{folder['id']}", {"item_ordering": [b, a]}, "json")
    assert row["item_ordering"] == [b, a]


def test_an_order_never_deletes_and_ignores_strangers(alice: Client, folder: Row) -> None:
    a, b, c, d = upload_letters(alice, folder, "abcd")
    path = f"folders/{folder['id']}"
    order = json.dumps([alice.upload()["id"], d, NOWHERE, b, d, ""])
    assert alice.ok("PUT", path, {"item_ordering": order})["item_ordering"] == [d, b, a, c]
    (e,) = upload_letters(alice, folder, "e")
    assert alice.values(f"{path}/files", "id") == [d, b, a, c, e]
    assert alice.ok("PUT", path, {"item_ordering": "[]"})["item_ordering"] == [a, b, c, d, e]


def test_a_folder_carries_up_to_1000_ids_and_none_above(alice: Client, folder: Row) -> None:
    path = f"folders/{folder['id']}"
    body = multipart(*(part("file", b"text", f"{number}.txt") for number in range(1000)))
    answer = alice.call("POST", f"{path}/batch", alice.bearer() | {"Content-Type": MULTIPART}, body)
    ids = [row["id"] for row in answer.json()["results"]]
    assert alice.get(path)["item_ordering"] == ids
    ids.append(alice.upload(folder=folder)["id"])
    row = alice.get(path)
    assert (row["item_ordering"], row["file_count"]) == ([], 1001)
    assert alice.values(f"{path}/files?page=21", "id") == ids[1000:]


# --- paging ---


def test_an_empty_list_is_one_page(user: Client) -> None:
    assert user.send("GET", f"users/{user.slug}/folders").body == (
        b'{"results": [], "page": 1, "next": null, "per_page": 50, "total": 0, '
        b'"pages": 1, "previous": null}'
    )
    user.walk(f"folders/{user.folder()['id']}/files", 50, 0)
    for path in ("messages", "feed", "favorited", "history"):
        user.walk(f"activeuser/{path}", 20, 0)


def test_folders_come_in_order_of_creation_and_a_page_is_stable(user: Client) -> None:
    names = [f"{number * 7 % 51}" for number in range(51)]
    for name in names:
        user.folder(name)
    path = f"users/{user.slug}/folders"
    assert [row["name"] for row in user.walk(path, 50, 51)] == names
    user.folder("later")
    assert user.values(path, "name") == user.values(f"{path}?page=1", "name") == names[:50]
    assert user.values(f"{path}?page=2", "name") == [names[50], "later"]
    mine = user.walk("activeuser/mine", 20, 52)
    assert [row["name"] for row in mine] == [*names, "later"]


@pytest.mark.parametrize("count", [50, 51])
def test_files_come_in_order_of_upload_and_a_page_is_stable(
    alice: Client, folder: Row, count: int
) -> None:
    names = [f"{number * 7 % 51}.txt" for number in range(count)]
    for name in names:
        alice.upload(name=name, folder=folder)
    path = f"folders/{folder['id']}/files"
    assert [row["name"] for row in alice.walk(path, 50, count)] == names
    alice.upload(folder=folder)
    assert alice.values(path, "name") == names[:50]


# --- following, messages, feeds ---


def test_following_is_seen_from_both_sides_and_ends(user: Client, service: Service) -> None:
    star = new_user(service, "WireStar")
    following, followers = f"users/{user.slug}/following", f"users/{star.slug}/followers"
    row = user.ok("POST", following, {"slug": star.slug})
    user.assert_shape(row, OTHER_USER)
    assert row["slug"] == star.slug
    (followed,) = star.results(following, OTHER_USER)
    (follower,) = star.results(followers, OTHER_USER)
    assert (followed["slug"], follower["slug"]) == (star.slug, user.slug)
    user.delete(f"{following}/{star.slug}")
    assert user.results(following) == user.results(followers) == []


def test_the_username_serves_for_following_too(user: Client, alice: Client) -> None:
    path = f"users/{user.name.upper()}/following"
    assert user.ok("POST", path, {"slug": alice.name})["slug"] == alice.slug
    user.delete(f"{path}/{alice.name}")
    assert user.results(path) == []


def test_a_message_is_read_by_its_two_users_and_nobody_else(
    service: Service, user: Client, alice: Client
) -> None:
    friend = new_user(service, "WireFriend")
    row = user.ok("POST", f"activeuser/messages/{friend.name}", {"body": "hello\nyou ✓"})
    user.assert_kinds(row, MESSAGE)
    assert (row["body"], row["read"]) == ("hello\nyou ✓", False)
    assert row["sender"] == f"{user.base}api/v2/users/{user.slug}"
    assert row["target"] == f"{user.base}api/v2/users/{friend.slug}"
    for reader, other in ((user, friend), (friend, user)):
        for path in ("activeuser/messages", f"activeuser/messages/{other.slug}"):
            (message,) = reader.results(path, MESSAGE)
            assert message["body"] == "hello\nyou ✓"
    assert alice.results(f"activeuser/messages/{user.slug}") == []


def test_a_thread_comes_in_order_by_twenty(user: Client, bob: Client) -> None:
    bodies = [f"message {number}" for number in range(21)]
    for number, body in enumerate(bodies):
        writer, reader = (user, bob) if number % 2 else (bob, user)
        writer.ok("POST", f"activeuser/messages/{reader.slug}", {"body": body})
    thread = user.walk(f"activeuser/messages/{bob.slug}", 20, 21)
    assert [row["body"] for row in thread] == bodies


def test_a_message_to_nobody_is_a_404(alice: Client) -> None:
    assert alice.send("POST", "activeuser/messages/nobody", {"body": "hello"}).status == 404


def test_the_feed_has_the_public_folders_of_those_one_follows(
    service: Service, user: Client, alice: Client
) -> None:
    star = new_user(service)
    star.ok("PUT", "activeuser", {"display_name": "The Star"})
    made = star.folder("open")
    star.folder("closed", "false")
    alice.folder("elsewhere")
    user.ok("POST", f"users/{user.slug}/following", {"slug": star.slug})
    (row,) = user.results("activeuser/feed", EXTENDED)
    expected = {key: made[key] for key in ("id", "name", "url", "files", "creator", "created")}
    expected |= {"display_name": "The Star", "star_count": 0, "flag_count": 0}
    assert {key: row[key] for key in expected} == expected
    assert "date_last_updated" not in row


def test_mine_has_ones_own_folders_private_ones_too(user: Client) -> None:
    user.folder("open")
    user.folder("closed", "false")
    rows = user.results("activeuser/mine", EXTENDED)
    assert [(row["name"], row["is_public"]) for row in rows] == [("open", True), ("closed", False)]


def test_history_has_the_folders_that_one_visited(user: Client, alice: Client) -> None:
    visited, secret = alice.folder("visited"), alice.folder("secret", "false")
    alice.folder("never visited")
    user.get(f"folders/{visited['id']}")
    assert user.send("GET", f"folders/{secret['id']}").status == 404
    (row,) = user.results("activeuser/history", EXTENDED)
    assert row["id"] == visited["id"]


# --- requests as they came ---


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/users/{}/folders/",
        "//api/v2/users/{}/folders",
        "/api//v2///users/{}//folders//",
        "/api/v2/users/{}/folders//?page=1",
    ],
)
def test_doubled_and_trailing_slashes_are_as_good_as_single_ones(user: Client, path: str) -> None:
    made = user.ok("POST", path.format(user.slug), {"name": "Stuff"})
    assert made["creator"] == f"{user.base}api/v2/users/{user.slug}"
    assert user.values(path.format(user.slug), "url") == [made["url"]]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Host", "example.org"),
        ("User-Agent", ""),
        ("User-Agent", "Python-urllib/2.7"),
        ("User-Agent", "Mozilla/4.0 (compatible; MSIE 6.0)"),
    ],
)
def test_no_answer_depends_on_who_asks(alice: Client, folder: Row, header: str, value: str) -> None:
    row = alice.send("GET", f"folders/{folder['id']}", None, "form", **{header: value}).json()
    alice.assert_shape(row, FOLDER)
    assert row["id"] == folder["id"]


@pytest.mark.parametrize("content_type", [f"{FORM};charset=UTF-8", FORM.title()])
def test_a_form_is_known_by_its_type_in_any_case(alice: Client, content_type: str) -> None:
    headers = alice.bearer() | {"Content-Type": content_type}
    path = f"users/{alice.slug}/folders"
    answer = checked(alice.call("POST", path, headers, b"name=Caf%C3%A9+1"))
    assert (answer.status, answer.json()["name"]) == (200, "Café 1")


def test_http_1_0_is_answered_with_a_length_and_a_close(alice: Client, folder: Row) -> None:
    body = multipart(part("file", BYTES, "a.bin"))
    headers = alice.bearer() | {"Content-Type": MULTIPART}
    path = f"folders/{folder['id']}"
    row = checked(alice.speak("POST", f"{path}/files", headers, body, "1.0")).json()
    assert checked(alice.speak("GET", path, headers, b"", "1.0")).json()["file_count"] == 1
    raw = alice.speak("GET", f"/i{row['id']}", {}, b"", "1.0")
    assert "Transfer-Encoding" not in raw.headers
    assert (raw.headers["Content-Length"], raw.body) == (str(len(BYTES)), BYTES)


@pytest.mark.parametrize("patient", [True, False], ids=["waiting", "not waiting"])
def test_expect_100_continue_is_answered(alice: Client, folder: Row, *, patient: bool) -> None:
    body = multipart(part("file", BYTES, "a.bin"))
    headers = alice.bearer() | {
        "Host": f"{rawhttp.HOST}:{alice.port}",
        "Content-Type": MULTIPART,
        "Content-Length": str(len(body)),
        "Expect": "100-continue",
    }
    with rawhttp.connect(alice.port) as sock:
        sock.sendall(rawhttp.head("POST", f"/api/v2/folders/{folder['id']}/files", headers))
        if patient:
            assert sock.recv(12) == b"HTTP/1.1 100"
            while not sock.recv(4096).endswith(b"\r\n\r\n"):
                pass
        sock.sendall(body)
        answer = checked(rawhttp.receive(sock))
    assert answer.status == 200
    assert alice.raw(answer.json()).body == BYTES


# --- sloppy framing, cut bodies ---

BOUNDED = "multipart/form-data; boundary=B"
DISPOSITION = b'Content-Disposition: form-data; name="file"; filename="t.bin"'
FRAMINGS = {
    "as it should be": b"--B\r\nCD\r\nContent-Type: text/plain\r\n\r\nDATA\r\n--B--\r\n",
    "line feeds alone": b"--B\nCD\nContent-Type: text/plain\n\nDATA\n--B--\n",
    "no last line end": b"--B\r\nCD\r\n\r\nDATA\r\n--B--",
    "no closing dashes": b"--B\r\nCD\r\n\r\nDATA\r\n--B\r\n",
    "no closing dashes nor line end": b"--B\r\nCD\r\n\r\nDATA\r\n--B",
    "no closing boundary": b"--B\r\nCD\r\n\r\nDATA",
    "line feeds and no closing boundary": b"--B\nCD\n\nDATA",
    "an empty line before": b"\r\n--B\r\nCD\r\n\r\nDATA\r\n--B--\r\n",
    "a preamble": b"This is multipart.\r\n--B\r\nCD\r\n\r\nDATA\r\n--B--\r\n",
    "an epilogue": b"--B\r\nCD\r\n\r\nDATA\r\n--B--\r\nThat was it.\r\n",
    "white space after a boundary": b"--B  \r\nCD\r\n\r\nDATA\r\n--B--  \r\n",
    "an encoding": b"--B\r\nCD\r\nContent-Transfer-Encoding: binary\r\n\r\nDATA\r\n--B--\r\n",
    "a field before": b"--B\nContent-Disposition: form-data; name=x\n\n1\n--B\nCD\n\nDATA\n--B--\n",
}


def framed(framing: bytes, disposition: bytes = DISPOSITION, data: bytes = BYTES) -> bytes:
    return framing.replace(b"DATA", data).replace(b"CD", disposition)


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_a_complete_body_is_read_however_sloppy_its_framing(alice: Client, framing: bytes) -> None:
    answer = alice.post_file(framed(framing), BOUNDED)
    assert (answer.status, answer.json().get("name")) == (200, "t.bin")
    assert alice.raw(answer.json()).body == BYTES


@pytest.mark.parametrize(
    ("content_type", "disposition"),
    [
        ('multipart/form-data; boundary="B"', DISPOSITION),
        ("multipart/form-data;boundary=B", DISPOSITION),
        ("multipart/form-data; charset=utf-8; boundary=B", DISPOSITION),
        ("Multipart/Form-Data; Boundary=B", DISPOSITION),
        (BOUNDED, DISPOSITION.lower()),
        (BOUNDED, b"Content-Disposition:form-data;name=file;filename=t.bin"),
        (BOUNDED, b'Content-Disposition: form-data; filename="t.bin"; name="file"'),
        (BOUNDED, b'CONTENT-DISPOSITION: FORM-DATA; NAME="file"; FILENAME="t.bin"'),
        (BOUNDED, b"Content-Type: text/plain\r\n" + DISPOSITION),
    ],
)
def test_a_file_part_is_known_in_any_spelling(
    alice: Client, content_type: str, disposition: bytes
) -> None:
    answer = alice.post_file(framed(FRAMINGS["as it should be"], disposition), content_type)
    assert (answer.status, answer.json().get("name")) == (200, "t.bin")
    assert alice.raw(answer.json()).body == BYTES


@pytest.mark.parametrize("missing", [1, 2, 1 << 20])
@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_a_body_short_of_its_length_never_becomes_a_file(
    alice: Client, folder: Row, framing: bytes, missing: int
) -> None:
    path = f"folders/{folder['id']}/files"
    came = alice.send_short(path, BOUNDED, framed(framing), missing)
    assert came[:12] in (b"", b"HTTP/1.1 400")
    assert alice.results(path) == []


def test_a_form_short_of_its_length_never_becomes_a_folder(user: Client) -> None:
    path = f"users/{user.slug}/folders"
    assert user.send_short(path, FORM, b"name=Stuff", 5)[:12] in (b"", b"HTTP/1.1 400")
    assert user.results(path) == []


# --- garbage ---

DEEP = "[" * 100_000
GARBAGE = [
    "\0",
    "\x1b[2J\r\nX: y",
    "\u202e\ufffe\U0001f4a9",
    "x" * 100_000,
    DEEP,
    "{" * 10_000,
    "[1, null, [], {}, true]",
    '{"a": 1}',
    "[u'",
    "1e999",
    "9" * 5000,
    "__import__('os').abort()",
    "'; DROP TABLE users; --",
    "../../../etc/passwd",
    "%00%ff%",
    "",
    " ",
]
JSON_GARBAGE: list[object] = [None, [], {}, 0, -1, 1.5, 10**30, True, [[]], {"a": []}, "\ud800"]


@pytest.mark.parametrize(
    ("request_line", "field"),
    [
        ("POST users/{me}/folders", "name"),
        ("POST users/{me}/folders", "is_public"),
        ("PUT folders/{folder}", "name"),
        ("PUT folders/{folder}", "is_public"),
        ("PUT folders/{folder}", "item_ordering"),
        ("PUT files/{file}", "name"),
        ("PUT files/{file}", "caption"),
        ("PUT files/{file}", "title"),
        ("PUT activeuser", "display_name"),
        ("PUT activeuser", "description"),
        ("PUT activeuser", "email"),
        ("POST activeuser/messages/{me}", "body"),
    ],
)
def test_garbage_in_a_field_is_refused_or_ignored(
    carol: Client, request_line: str, field: str
) -> None:
    folder = carol.folder()
    known = {"me": carol.slug, "folder": folder["id"], "file": carol.upload(folder=folder)["id"]}
    method, path = request_line.format(**known).split()
    cases = [(way, value) for way in ("form", "multipart", "json") for value in GARBAGE]
    for way, value in [*cases, *(("json", value) for value in JSON_GARBAGE)]:
        answer = carol.send(method, path, {field: value}, way)
        assert answer.status in (200, 400), (way, str(value)[:20])
    # What was let in comes out again, whatever it was.
    carol.walk("activeuser/messages", 20, carol.get("activeuser/messages")["total"])
    carol.results(f"users/{carol.slug}/folders", LISTED_FOLDER)
    carol.results(f"folders/{folder['id']}/files", FILE)
    carol.assert_shape(carol.get("activeuser"), USER)


@pytest.mark.parametrize("field", ["filename", "caption", "bearer_token", "unknown"])
def test_garbage_beside_an_upload_is_refused_or_ignored(alice: Client, field: str) -> None:
    expected = (200, 400, 401) if field == "bearer_token" else (200, 400)
    for text in GARBAGE:
        body = multipart(*fields({field: text}), part("file", b"text", "t.txt"))
        answer = alice.post_file(body)
        assert answer.status in expected, text[:20]
        assert answer.status != 200 or alice.raw(answer.json()).body == b"text"


def test_garbage_for_the_slug_to_follow_is_refused(alice: Client) -> None:
    for text in GARBAGE:
        answer = alice.send("POST", f"users/{alice.slug}/following", {"slug": text})
        assert answer.status in (400, 404), text[:20]


@pytest.mark.parametrize("field", ["scope", "username", "client_id", "grant_type"])
def test_garbage_in_a_sign_in_is_refused_or_ignored(alice: Client, field: str) -> None:
    for text in GARBAGE:
        answer = alice.ask_token(alice.grant() | {field: text})
        assert answer.status in (200, 400, 401), text[:20]


@pytest.mark.parametrize("page", ["x", "0", "-1", "1.5", "", "%00", "%ff", "1;1", "9" * 30])
def test_garbage_for_a_page_is_refused_or_ignored(alice: Client, folder: Row, page: str) -> None:
    # A page beyond the last may be absent too.
    expected = (200, 400, 404) if page.isdigit() else (200, 400)
    for path in (f"folders/{folder['id']}/files", f"users/{alice.slug}/folders"):
        assert alice.send("GET", f"{path}?page={page}").status in expected


@pytest.mark.parametrize("name", ["%00", "%ff", "..", "%2e%2e%2f", "x" * 5000, "%F0%9F%92%A9", "'"])
@pytest.mark.parametrize("kind", ["users", "folders", "files"])
def test_garbage_for_an_id_is_absent(alice: Client, kind: str, name: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert alice.send(method, f"{kind}/{name}").status in (400, 404, 405)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{"),
        ("application/json", b"[1]"),
        ("application/json", b"\xff"),
        ("application/json", DEEP.encode()),
        (FORM, b"name=%ff&&=&;%"),
        (FORM, b"\xff\x00"),
        (MULTIPART, b""),
        (MULTIPART, b"\xff" * 100),
        ("multipart/form-data", b"--B\r\n\r\n--B--"),
        ("multipart/form-data; boundary=", b"--\r\n\r\n--"),
        ("nonsense", b"nonsense"),
        ("", b"name=x"),
    ],
)
def test_a_garbage_body_is_refused_or_ignored(
    alice: Client, file: Row, content_type: str, body: bytes
) -> None:
    headers = alice.bearer() | {"Content-Type": content_type}
    for method, path in (
        ("POST", f"users/{alice.slug}/folders"),
        ("PUT", f"files/{file['id']}"),
        ("PUT", "activeuser"),
        ("POST", "/oauth/token"),
    ):
        answer = checked(alice.call(method, path, headers, body))
        assert answer.status in (200, 400, 401, 415)
    assert alice.post_file(body, content_type).status in (400, 415)


@pytest.mark.parametrize(
    "disposition",
    [
        DISPOSITION.replace(b"t.bin", b"\xff\xfe.txt"),
        DISPOSITION.replace(b"t.bin", b"a\x00b\x1b.txt"),
        DISPOSITION.replace(b"t.bin", b""),
        DISPOSITION.replace(b"t.bin", b"n" * 5000),
        DISPOSITION.replace(b"t.bin", b"C:\\dir\\..\\a.txt"),
        DISPOSITION.replace(b"t.bin", b'a\\"b.txt'),
        DISPOSITION + b"\r\nContent-Type: \xff/\x00",
        b'Content-Disposition: form-data; name="file"',
        b"Content-Disposition: form-data",
        b"Nonsense",
    ],
)
def test_a_garbage_part_is_refused_or_read(alice: Client, disposition: bytes) -> None:
    answer = alice.post_file(framed(FRAMINGS["no last line end"], disposition), BOUNDED)
    assert answer.status in (200, 400)
    assert answer.status == 400 or alice.raw(answer.json()).body == BYTES


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "nothing"), ("DELETE", "activeuser"), ("POST", "files/x"), ("PUT", "users/x/folders")],
)
def test_what_does_not_exist_is_refused_in_json(alice: Client, method: str, path: str) -> None:
    assert alice.send(method, path).status in (404, 405)


# --- short links ---


@pytest.mark.parametrize("suffix", ["", ".txt", ".jpg", ".x.y"])
@pytest.mark.parametrize("letter", "ijk")
def test_a_short_link_needs_the_id_alone(alice: Client, letter: str, suffix: str) -> None:
    row = alice.upload(PNG, "p.png")
    got = alice.call("GET", f"/{letter}{row['id']}{suffix}")
    peeked = alice.call("HEAD", f"/{letter}{row['id']}{suffix}")
    assert (got.status, got.headers.get_content_maintype()) == (200, "image")
    assert (peeked.status, peeked.body) == (200, b"")
    assert got.headers["Content-Length"] == str(len(got.body))
    assert letter != "i" or got.body == PNG
    for name in ("Content-Length", "Content-Type", "ETag", "Last-Modified", "Repr-Digest"):
        assert got.headers[name] == peeked.headers[name]


@pytest.mark.parametrize("letter", "ijk")
def test_a_short_link_to_nothing_is_a_404(alice: Client, letter: str) -> None:
    for suffix in (NOWHERE, f"{NOWHERE}.txt", "", "x", "%00", "%ff.txt", "../x"):
        assert alice.call("GET", f"/{letter}{suffix}").status in (400, 404)


# --- raw files ---


def test_a_raw_file_answers_with_what_a_cache_needs(alice: Client) -> None:
    row = alice.upload(BYTES)
    headers = alice.raw(row).headers
    digest = base64.b64encode(hashlib.sha256(BYTES).digest()).decode()
    assert headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert headers["Accept-Ranges"] == "bytes"
    assert re.fullmatch(r'"[^"]+"', headers["ETag"])
    modified = parsedate_to_datetime(headers["Last-Modified"])
    assert f"{modified:%Y-%m-%d %H:%M:%S}" == row["uploaded"]


@pytest.mark.parametrize(
    ("ranges", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=2-5", 2, 5),
        ("bytes=5-", 5, 9),
        ("bytes=-3", 7, 9),
        ("bytes=-100", 0, 9),
        ("bytes=8-100", 8, 9),
    ],
)
def test_a_range_is_served(alice: Client, ranges: str, first: int, last: int) -> None:
    row = alice.upload(b"0123456789")
    whole, some = alice.raw(row), alice.raw(row, Range=ranges)
    assert (some.status, some.body) == (206, b"0123456789"[first : last + 1])
    assert some.headers["Content-Range"] == f"bytes {first}-{last}/10"
    assert some.headers["Content-Length"] == str(len(some.body))
    # Repr-Digest is of the whole representation, whatever part of it is sent (RFC 9530).
    for name in ("ETag", "Repr-Digest"):
        assert some.headers[name] == whole.headers[name]


@pytest.mark.parametrize("ranges", ["bytes=10-", "bytes=100-200", "bytes=-0"])
def test_a_range_beyond_the_end_is_a_416(alice: Client, ranges: str) -> None:
    answer = alice.raw(alice.upload(b"0123456789"), Range=ranges)
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */10")


@pytest.mark.parametrize("ranges", ["bytes=5-2", "bytes=x-y", "lines=1-2", "bytes", ""])
def test_a_range_that_is_none_is_ignored(alice: Client, ranges: str) -> None:
    answer = alice.raw(alice.upload(b"0123456789"), Range=ranges)
    assert (answer.status, answer.body) == (200, b"0123456789")


def test_if_range_serves_the_range_of_the_same_file_only(alice: Client, file: Row) -> None:
    tag = alice.raw(file).headers["ETag"]
    expected = {tag: 206, '"other"': 200, f"W/{tag}": 200, "Sat, 01 Jan 2011 00:00:00 GMT": 200}
    for value, status in expected.items():
        assert alice.raw(file, Range="bytes=0-1", If_Range=value).status == status, value


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_if_none_match_spares_a_known_file(alice: Client, file: Row, method: str) -> None:
    tag = alice.raw(file).headers["ETag"]
    for value in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = alice.raw(file, method, If_None_Match=value)
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", tag)
    assert alice.raw(file, method, If_None_Match='"other"').status == 200


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("page.html", SCRIPT, "attachment"),
        ("page.htm", SCRIPT, "attachment"),
        ("page.xhtml", b"<html/>", "attachment"),
        ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "attachment"),
        ("data.xml", b"<a/>", "attachment"),
        ("paper.pdf", b"%PDF-1.4", "attachment"),
        ("unknown", b"\x00\x01", "attachment"),
        ("picture.png", PNG, "inline"),
        ("note.txt", b"text", "inline"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_user_content_is_sandboxed_and_attached_unless_harmless(
    alice: Client, method: str, name: str, data: bytes, expected: str
) -> None:
    headers = alice.raw(alice.upload(data, name), method).headers
    assert "sandbox" in re.split(r"\s*;\s*", headers["Content-Security-Policy"])
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers.get("Content-Disposition", "inline").split(";")[0] == expected


def test_an_extension_in_the_address_never_makes_content_harmful(alice: Client) -> None:
    row = alice.upload(SCRIPT, "note.txt")
    answer = alice.call("GET", f"/i{row['id']}.html")
    assert answer.headers.get_content_type() == "text/plain"


@pytest.mark.parametrize("name", ['a"b.txt', "café ✓.txt", "a;b.html", "a\r\nX: y.html"])
def test_a_name_of_any_kind_leaves_the_headers_whole(alice: Client, name: str) -> None:
    body = multipart(*fields({"filename": quote(name)}), part("file", b"text", "t.txt"))
    answer = alice.post_file(body)
    assert answer.status in (200, 400)
    if answer.status == 200:
        raw = alice.raw(answer.json())
        assert (raw.status, raw.body, raw.headers["X"]) == (200, b"text", None)
