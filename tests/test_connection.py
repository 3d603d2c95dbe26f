"""The connection: signing in, what is sent where, and what becomes of bad answers."""

import gzip
import io
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

import minus
from minus import (
    DEFAULT_SCOPE,
    MinusAPIError,
    MinusAuthError,
    MinusConfigError,
    MinusConnection,
    MinusFolder,
    MinusNotFound,
    MinusQuotaError,
    MinusTemporaryError,
)
from tests.helpers import API, FAR, PASSWORD, Far, Script, answer, sign_in
from tests.live import Service

pytest_plugins = ["tests.accounts"]

NEW = {"access_token": "ACCESS-2", "refresh_token": "REFRESH-2", "expires_in": 3600}
SECRETS = ("SECRET", "ACCESS-1", "REFRESH-1", PASSWORD)


@pytest.fixture
def own(service: Service, alice: str) -> Iterator[MinusConnection]:
    """A connection of the test's own, signed in as `api` is."""
    connection = sign_in(service, alice)
    yield connection
    connection.close()


def facts(error: MinusAPIError) -> tuple[object, ...]:
    return type(error), str(error), error.status, error.method, error.path, error.error


# --- signing in ---


def test_signing_in_gives_two_tokens_their_scope_and_their_end(
    service: Service, api: MinusConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000.0)
    own = sign_in(service, api.activeuser().username)
    assert (own.scope, own.expires) == (DEFAULT_SCOPE, 4_600.0)
    assert own.access_token and own.refresh_token
    assert own.access_token not in (own.refresh_token, api.access_token)
    own.close()


@pytest.mark.parametrize(
    ("secret", "password", "status", "why", "error"),
    [
        (None, "wrong", 400, "The username or the password is wrong. (400)", "invalid_grant"),
        ("wrong", PASSWORD, 401, "The API key or its secret is wrong. (401)", "invalid_client"),
    ],
)
def test_signing_in_with_something_wrong_is_an_auth_error(
    service: Service,
    alice: str,
    secret: str | None,
    password: str,
    status: int,
    why: str,
    error: str,
) -> None:
    own = MinusConnection(service.api_key, secret or service.api_secret, url=service.url)
    with own._session, pytest.raises(MinusAuthError) as caught:
        own.authenticate(alice, password)
    assert facts(caught.value) == (MinusAuthError, why, status, "POST", "/oauth/token", error)
    assert own.access_token is None


def test_a_narrow_scope_is_all_that_one_may_do(service: Service, alice: str) -> None:
    own = MinusConnection(service.api_key, service.api_secret, url=service.url)
    own.authenticate(alice.lower(), PASSWORD, "read_public")
    with own._session, pytest.raises(MinusAuthError) as caught:
        own.activeuser().new_folder("Stuff")
    assert (own.scope, caught.value.status) == ("read_public", 403)
    assert caught.value.path == "/api/v2/users/libalice/folders"


def test_find_looks_among_the_folders_of_who_is_signed_in_now(
    api: MinusConnection, bob: MinusConnection, own: MinusConnection
) -> None:
    for connection in (api, bob):
        connection.activeuser().new_folder("Found", public=True)
    assert own.find("no such folder") is None
    own.authenticate("libbob", PASSWORD)
    found = own.find("Found")
    assert found is not None
    assert found.creator.endswith("/users/libbob")


@pytest.mark.parametrize(
    ("lifetime", "expires"),
    [
        ({"expires_in": 60}, 1060.0),
        ({"expire_in": 60}, 1060.0),
        ({}, None),
        ({"expires_in": "?"}, None),
    ],
)
def test_the_lifetime_has_two_spellings_or_none(
    far: Far, monkeypatch: pytest.MonkeyPatch, lifetime: dict[str, object], expires: float | None
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000.0)
    far.wire.post(f"{FAR}/oauth/token", json={"access_token": "ACCESS-2", **lifetime})
    far.refresh()
    assert (far.access_token, far.refresh_token) == ("ACCESS-2", "REFRESH-1")
    assert far.expires == expires


@pytest.mark.parametrize("token", [None, "", 5])
def test_an_answer_without_a_token_signs_nobody_in(far: Far, token: object) -> None:
    far.wire.post(f"{FAR}/oauth/token", json={"access_token": token})
    with pytest.raises(MinusAPIError, match=r"^the service gave no token$"):
        far.refresh()
    assert far.access_token == "ACCESS-1"


# --- tokens that expire ---


def test_a_refused_token_is_renewed_and_the_request_repeated(own: MinusConnection) -> None:
    own.access_token = "stale"
    assert own.activeuser().username == "LibAlice"
    assert own.access_token != "stale"


def test_a_request_is_repeated_once_and_no_more(far: Far) -> None:
    far.wire.get(f"{API}/activeuser", status=401, json={"error": "invalid_token"})
    far.wire.post(f"{FAR}/oauth/token", json=NEW)
    with pytest.raises(MinusAuthError):
        far.activeuser()
    assert far.sent() == [
        ("GET", f"{API}/activeuser", "Bearer ACCESS-1"),
        ("POST", f"{FAR}/oauth/token", None),
        ("GET", f"{API}/activeuser", "Bearer ACCESS-2"),
    ]
    assert far.wire.calls[1].request.body == (
        "grant_type=refresh_token&client_id=KEY&client_secret=SECRET&scope="
        "read_public+read_all+upload_new+modify_all+modify_user&refresh_token=REFRESH-1"
    )


@pytest.mark.parametrize(("left", "renewed"), [(29, True), (31, False)])
def test_a_token_is_renewed_half_a_minute_before_its_end(
    own: MinusConnection, monkeypatch: pytest.MonkeyPatch, left: int, renewed: bool
) -> None:
    before, own.expires = own.access_token, 1_000.0 + left
    monkeypatch.setattr(time, "time", lambda: 1_000.0)
    own.activeuser()
    assert (own.access_token != before) is renewed


def test_a_repeated_upload_sends_the_whole_file_again(
    own: MinusConnection, folder: MinusFolder
) -> None:
    mine, source = MinusFolder(own, folder.url), io.BytesIO(b"not this, but this")
    source.seek(10)
    own.access_token = "stale"
    assert mine.new("a.txt", source).data() == b"but this"


def test_an_upload_that_cannot_be_sent_again_is_not_repeated(
    own: MinusConnection, folder: MinusFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minus, "RESUMABLE", 3)
    mine = MinusFolder(own, folder.url)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source:
        os.write(writing, b"once")
        os.close(writing)
        own.access_token, own._known = "stale", {"raw": {}}
        with pytest.raises(MinusAuthError):
            mine.new("a.txt", source)
    assert len(folder.files()) == 0


def test_a_body_that_was_eaten_is_not_sent_as_an_empty_one(far: Far) -> None:
    bodies = []

    def take(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        bodies.append(b"".join(request.body or ()))  # type: ignore[arg-type]
        return 401, {}, "{}"

    far.wire.add_callback("POST", f"{API}/folders/F/files", take)
    far.wire.post(f"{FAR}/oauth/token", json=NEW)
    far.wire.assert_all_requests_are_fired = False
    with pytest.raises(MinusAuthError):
        far.upload("folders/F/files", "text/plain", (part for part in (b"on", b"ce")))
    assert bodies == [b"once"]


def test_two_connections_refresh_the_same_token_at_once(
    service: Service, own: MinusConnection
) -> None:
    twin = MinusConnection(service.api_key, service.api_secret, url=service.url)
    twin.access_token, twin.refresh_token = own.access_token, own.refresh_token
    start = threading.Barrier(2, timeout=60)

    def refresh(connection: MinusConnection) -> str | None:
        start.wait()
        connection.refresh()
        return connection.access_token

    with twin._session, ThreadPoolExecutor() as pool:
        assert len(set(pool.map(refresh, (own, twin)))) == 2
        for connection in (own, twin, own, twin):
            assert connection.activeuser().slug == "libalice"


@pytest.fixture
def shared(
    service: Service, bare: Path, alice: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[MinusConnection]]:
    """Two connections of `minus.connect` that keep their tokens in one file."""
    assert minus.state_folder().is_relative_to(bare)
    monkeypatch.setenv("MINUS_API_KEY", service.api_key)
    monkeypatch.setenv("MINUS_API_SECRET", service.api_secret)
    both = [minus.connect(service.url, username=alice, password=PASSWORD) for _ in range(2)]
    yield both
    for connection in both:
        connection.close()


def test_a_second_command_signs_in_without_a_request(shared: list[MinusConnection]) -> None:
    first, second = shared
    assert first.access_token == second.access_token


def test_a_token_that_another_process_renewed_is_taken_over(shared: list[MinusConnection]) -> None:
    first, second = shared
    first.refresh()
    first.activeuser()
    second.expires = 0
    second.activeuser()
    assert second.access_token == first.access_token


# --- where the token goes ---


@pytest.mark.parametrize(
    "link",
    [
        "https://minus.test.evil/x",
        "https://minus.test:444/x",
        "//evil.test/x",
        "https://evil.test/minus.test/api/v2/x",
    ],
)
def test_a_link_to_another_origin_gets_no_token(far: Far, link: str) -> None:
    far.wire.get(link if link.startswith("https:") else f"https:{link}", json={})
    far.request(link)
    assert [call[2] for call in far.sent()] == [None]


@pytest.mark.parametrize(
    ("link", "address"),
    [
        ("x", f"{API}/x"),
        ("/x", f"{FAR}/x"),
        ("//minus.test/x", f"{FAR}/x"),
        ("https://minus.test:443/x", f"{FAR}:443/x"),
        ("https://MINUS.test/x", f"{FAR}/x"),
        ("http://minus.test/x", f"{FAR}/x"),
    ],
)
def test_a_link_to_the_service_gets_the_token_by_https(far: Far, link: str, address: str) -> None:
    far.wire.get(address, json={})
    far.request(link)
    assert far.sent() == [("GET", address, "Bearer ACCESS-1")]


def test_without_force_https_a_link_by_http_gets_no_token(far: Far) -> None:
    far = Far(far.wire, force_https=False, allow_http=True)
    far.wire.get("http://minus.test/x", json={})
    far.request("http://minus.test/x")
    assert far.sent() == [("GET", "http://minus.test/x", None)]


def test_a_service_named_by_http_is_spoken_to_by_http(far: Far) -> None:
    far = Far(far.wire, "http://minus.test", allow_http=True)
    far.wire.get("http://minus.test/x", json={})
    far.request("http://minus.test/x")
    assert far.sent() == [("GET", "http://minus.test/x", "Bearer ACCESS-1")]


def test_a_foreign_refusal_renews_no_token(far: Far) -> None:
    far.wire.get("https://evil.test/x", status=401)
    with pytest.raises(MinusAuthError):
        far.request("https://evil.test/x")
    assert len(far.wire.calls) == 1


@pytest.mark.parametrize(
    "link", ["file:///etc/passwd", "ftp://minus.test/x", "javascript:alert(1)"]
)
def test_a_link_that_is_no_web_address_is_refused(far: Far, link: str) -> None:
    with pytest.raises(MinusAPIError, match=r"^the service gave a link that is no web address$"):
        far.request(link)


@pytest.mark.parametrize(
    "link", ["https://[", "https://minus.test:99999/x", "https://minus.test:x/"]
)
def test_a_malformed_link_is_an_error_of_the_service(far: Far, link: str) -> None:
    with pytest.raises(MinusAPIError):
        far.request(link)


def test_a_redirect_takes_the_token_along_only_within_the_origin(far: Far) -> None:
    far.wire.get(f"{API}/a", status=302, headers={"Location": "/b"})
    far.wire.get(f"{FAR}/b", status=307, headers={"Location": "https://cdn.test/c"})
    far.wire.get("https://cdn.test/c", status=301, headers={"Location": f"{FAR}/d"})
    far.wire.get(f"{FAR}/d", json={"came": "back"})
    assert far.request("a") == {"came": "back"}
    assert [call[1:] for call in far.sent()] == [
        (f"{API}/a", "Bearer ACCESS-1"),
        (f"{FAR}/b", "Bearer ACCESS-1"),
        ("https://cdn.test/c", None),
        (f"{FAR}/d", None),
    ]


@pytest.mark.parametrize("target", ["http://minus.test/x", "ftp://minus.test/x", "https://["])
def test_a_redirect_away_from_https_is_refused(far: Far, target: str) -> None:
    far.wire.get(f"{API}/a", status=302, headers={"Location": target})
    with pytest.raises(MinusAPIError) as caught:
        far.request("a")
    assert (caught.value.method, caught.value.path) == ("GET", "/api/v2/a")
    assert len(far.wire.calls) == 1


def test_redirects_end_after_five(far: Far) -> None:
    far.wire.get(f"{API}/a", status=302, headers={"Location": "a"})
    with pytest.raises(MinusAPIError, match=r"^too many redirects$"):
        far.request("a")
    assert len(far.wire.calls) == 6


def test_a_post_is_not_redirected(far: Far) -> None:
    far.wire.post(f"{API}/a", status=302, headers={"Location": "/b"})
    with pytest.raises(MinusAPIError) as caught:
        far.request("a", {"name": "Stuff"})
    assert facts(caught.value) == (MinusAPIError, "Found (302)", 302, "POST", "/api/v2/a", "")


@pytest.mark.parametrize("verb", ["user", "folder", "file"])
@pytest.mark.parametrize(
    ("text", "quoted"),
    [("a/b", "a%2Fb"), ("a?b=c#d", "a%3Fb%3Dc%23d"), ("../é %", "..%2F%C3%A9%20%25")],
)
def test_an_id_is_quoted_in_a_path(api: MinusConnection, verb: str, text: str, quoted: str) -> None:
    get: Callable[[str], object] = getattr(api, verb)
    with pytest.raises(MinusNotFound) as caught:
        get(text)
    assert caught.value.path == f"/api/v2/{verb}s/{quoted}"


def test_loopback_is_reached_past_proxy_and_netrc(
    service: Service, alice: str, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (bare / ".netrc").write_text("machine 127.0.0.1 login mallory password netrc\n")
    own = sign_in(service, alice)
    assert own.activeuser().username == "LibAlice"
    own.close()


def test_netrc_never_takes_the_place_of_the_token(far: Far, bare: Path) -> None:
    (bare / ".netrc").write_text("default login mallory password netrc\n")
    far.wire.get(f"{API}/x", json={})
    far.wire.get("https://evil.test/x", json={})
    far.request("x")
    far.request("https://evil.test/x")
    assert [call[2] for call in far.sent()] == ["Bearer ACCESS-1", None]


def test_no_cookie_is_kept(far: Far) -> None:
    far.wire.get(f"{API}/x", json={}, headers={"Set-Cookie": "session=1; Path=/"})
    far.request("x")
    far.request("x")
    assert [c.request.headers.get("Cookie") for c in far.wire.calls] == [None, None]


# --- repeating what failed ---


def told(script: Script) -> MinusConnection:
    return MinusConnection("KEY", "SECRET", url=script.url)


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize("failure", [answer(503), answer(429), b""])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_is_safe_to_repeat_is_repeated(method: str, failure: bytes) -> None:
    with Script(failure, answer(200, b'{"second": "try"}')) as script:
        api = told(script)
        form = {"name": "Stuff"} if method == "PUT" else None
        assert api.request("x", form, method) == {"second": "try"}
        api.close()
    first, second = script.requests
    assert first == second
    assert first.startswith(f"{method} /api/v2/x HTTP/1.1\r\n".encode())
    assert first.endswith(b"name=Stuff") is (method == "PUT")


@pytest.mark.parametrize(
    ("failure", "status"), [(answer(503), 503), (answer(429, Retry_After="1"), 429), (b"", None)]
)
def test_a_post_is_never_repeated(slept: list[float], failure: bytes, status: int | None) -> None:
    with Script(failure, answer(200)) as script:
        api = told(script)
        with pytest.raises(MinusTemporaryError) as caught:
            api.request("x", {"name": "Stuff"})
        api.close()
    assert (caught.value.status, len(script.requests), slept) == (status, 1, [])


def test_the_fourth_failure_is_the_last(slept: list[float]) -> None:
    with Script(*[answer(503, b'{"error_description": "Busy."}')] * 5) as script:
        api = told(script)
        with pytest.raises(MinusTemporaryError, match=r"^Busy\. \(503\)$"):
            api.request("x")
        api.close()
    assert (len(script.requests), slept) == (4, [0.4, 0.8])


@pytest.mark.parametrize(("asked", "waited"), [("2", 2), ("86400", 60), ("0", 0)])
def test_retry_after_is_obeyed_for_a_minute_at_most(
    slept: list[float], asked: str, waited: int
) -> None:
    with Script(answer(503, Retry_After=asked), answer(200)) as script:
        api = told(script)
        api.request("x")
        api.close()
    assert slept == ([waited] if waited else [])


@pytest.mark.usefixtures("slept")
def test_a_delete_whose_first_answer_was_lost_succeeds() -> None:
    with Script(b"", answer(404)) as script:
        api = told(script)
        assert api.request("folders/F", method="DELETE") == {}
        api.close()
    assert len(script.requests) == 2


def test_a_delete_of_nothing_fails(api: MinusConnection) -> None:
    with pytest.raises(MinusNotFound):
        api.request("folders/A1b2C3d4E5f6", method="DELETE")


@pytest.mark.usefixtures("slept")
def test_an_answer_that_breaks_off_is_temporary() -> None:
    with Script(answer(200, b'{"half": ', length=100)) as script:
        api = told(script)
        with pytest.raises(MinusTemporaryError, match=r"^the answer broke off: ") as caught:
            api.request("x")
        api.close()
    assert (caught.value.status, caught.value.path) == (None, "/api/v2/x")


@pytest.mark.usefixtures("slept")
def test_a_closed_port_is_temporary_and_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(MinusTemporaryError) as caught:
        MinusConnection("KEY", "SECRET", url=f"http://{place}").request("x", {})
    refused = "Connection refused"
    why = f"cannot reach {place}: {refused}"
    assert facts(caught.value) == (
        MinusTemporaryError,
        why,
        None,
        "POST",
        "/api/v2/x",
        "unreachable",
    )


@pytest.mark.parametrize(
    "error", [requests.ReadTimeout("SECRET"), requests.ConnectTimeout("SECRET")]
)
def test_a_silent_service_is_temporary(far: Far, error: requests.Timeout) -> None:
    far.wire.get(f"{API}/x", body=error)
    with pytest.raises(MinusTemporaryError) as caught:
        far.request("x")
    why = "the service does not answer"
    assert facts(caught.value) == (MinusTemporaryError, why, None, "GET", "/api/v2/x", "timeout")
    assert len(far.wire.calls) == 2  # an answer that was lost may come the second time


def test_every_request_has_a_time_out(far: Far) -> None:
    far.wire.get(f"{API}/x", json={})
    far.wire.post(f"{FAR}/oauth/token", json=NEW)
    far.wire.post(f"{API}/y", json={})
    far.request("x")
    far.refresh()
    far.upload("y", "text/plain", b"")
    options: list[dict[str, Any]] = [c.request.req_kwargs for c in far.wire.calls]  # type: ignore[attr-defined]
    assert [o["timeout"] for o in options] == [(10, 60)] * 3


# --- bad answers ---


@pytest.mark.parametrize(
    "body", [b"<html>", b"[1]", b'"text"', b"{", b"\xff\xfe\x00", b"[" * 100_000, b"9" * 5_000]
)
def test_what_is_no_json_object_is_no_answer(far: Far, body: bytes) -> None:
    far.wire.get(f"{API}/x", body=body)
    with pytest.raises(MinusAPIError) as caught:
        far.request("x")
    why = "the answer is no JSON object"
    assert facts(caught.value) == (MinusAPIError, why, 200, "GET", "/api/v2/x", "")


@pytest.mark.parametrize("status", [200, 201, 204])
def test_an_empty_answer_is_an_empty_object(far: Far, status: int) -> None:
    far.wire.delete(f"{API}/x", body=b"", status=status)
    assert far.request("x", method="DELETE") == {}


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_may_not_be_endless(
    far: Far, monkeypatch: pytest.MonkeyPatch, status: int, packed: bool
) -> None:
    monkeypatch.setattr(minus, "MAX_JSON", 1_000)
    body = json.dumps({"error_description": "x" * 1_000}).encode()
    headers = {"Content-Encoding": "gzip"} if packed else {}
    far.wire.get(
        f"{API}/x", body=gzip.compress(body) if packed else body, status=status, headers=headers
    )
    why = "the answer is packed, which was not asked for" if packed else "the answer is too long"
    why = why if status == 200 else r"Bad Request \(400\)"
    with pytest.raises(MinusAPIError, match=f"^{why}$"):
        far.request("x")


@pytest.mark.parametrize(
    ("status", "body", "kind", "why"),
    [
        (400, {"error": "invalid_request"}, MinusAPIError, "invalid_request (400)"),
        (400, {"error": "invalid_grant"}, MinusAuthError, "invalid_grant (400)"),
        (401, {}, MinusAuthError, "Unauthorized (401)"),
        (403, {"error_description": "No."}, MinusAuthError, "No. (403)"),
        (404, {"error": None}, MinusNotFound, "Not Found (404)"),
        (408, {}, MinusTemporaryError, "Request Timeout (408)"),
        (409, {}, MinusAPIError, "Conflict (409)"),
        (413, {}, MinusQuotaError, "Request Entity Too Large (413)"),
        (429, {}, MinusTemporaryError, "Too Many Requests (429)"),
        (500, "<html>", MinusTemporaryError, "Internal Server Error (500)"),
        (502, "", MinusTemporaryError, "Bad Gateway (502)"),
        (507, ["x"], MinusQuotaError, "Insufficient Storage (507)"),
    ],
)
def test_a_status_has_a_kind_of_error(
    far: Far,
    status: int,
    body: dict[str, object] | list[str] | str,
    kind: type[MinusAPIError],
    why: str,
) -> None:
    far.refresh_token = None
    far.wire.post(
        f"{API}/x", status=status, body=body if isinstance(body, str) else json.dumps(body)
    )
    with pytest.raises(MinusAPIError) as caught:
        far.request("x?bearer_token=SECRET", {})
    word = str(body.get("error") or "") if isinstance(body, dict) else ""
    assert facts(caught.value) == (kind, why, status, "POST", "/api/v2/x", word)


def test_tls_that_ends_in_the_middle_is_tried_again(far: Far, slept: list[float]) -> None:
    torn = requests.exceptions.SSLError("EOF occurred in violation of protocol (_ssl.c:2427)")
    far.wire.get(f"{API}/x", body=torn)
    far.wire.get(f"{API}/x", json={"done": 1})
    assert far.request("x") == {"done": 1}
    assert slept == []  # the first time at once


def test_a_certificate_that_is_not_trusted_is_final(far: Far, slept: list[float]) -> None:
    words = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate"
    far.wire.get(f"{API}/x", body=requests.exceptions.SSLError(words))
    with pytest.raises(MinusAPIError, match="--cacert names one to trust") as caught:
        far.request("x")
    assert (type(caught.value), slept) == (MinusAPIError, [])


@pytest.mark.parametrize("retries", [0, 9])
def test_so_many_tries_are_made_as_was_said(far: Far, retries: int, slept: list[float]) -> None:
    far.retries = retries
    far.wire.get(f"{API}/x", body=requests.ConnectionError("reset"))
    with pytest.raises(MinusTemporaryError):
        far.request("x")
    assert len(far.wire.calls) == retries + 1
    assert slept == [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0][: max(0, retries - 1)]


# --- secrets ---


def test_the_trace_shows_the_exchange_and_no_secret(
    service: Service, alice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = sign_in(service, alice, debug=True)
    own.request("activeuser?bearer_token=hush&page=1")
    own.refresh()
    own.close()
    out, err = capsys.readouterr()
    assert out == ""
    for secret in (PASSWORD, "correct", service.api_secret, own.access_token, own.refresh_token):
        assert secret and secret not in err
    assert "hush" not in err
    lines = err.splitlines()
    for line in (
        f"> POST {service.url}oauth/token",
        f"> GET {service.url}api/v2/activeuser",
        "> Authorization: ***",
        "< Content-Type: application/json",
    ):
        assert line.lower() in [shown.lower() for shown in lines]


def test_the_trace_cannot_drive_the_terminal(far: Far, capsys: pytest.CaptureFixture[str]) -> None:
    far.debug = True
    far.wire.get(f"{API}/x", json={}, headers={"X": "\x9b31m", "Set-Cookie": "hush=1"})
    far.request("x")
    assert "< X: \\x9b31m\n< Set-Cookie: ***\n" in capsys.readouterr().err


def test_no_repr_and_no_error_shows_a_secret(far: Far) -> None:
    far = Far(far.wire, "https://user:SECRET@minus.test")
    far.wire.get(f"{API}/x", body=requests.ConnectionError("no route"))
    with pytest.raises(MinusTemporaryError) as caught:
        far.request(f"{API}/x?bearer_token=SECRET")
    shown = f"{far!r} {far} {far.url} {caught.value} {caught.value!r} {vars(caught.value)}"
    assert [secret for secret in SECRETS if secret in shown] == []


# --- which service ---


def test_the_service_is_named_by_argument_then_environment_then_file(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MinusConfigError) as caught:
        MinusConnection("KEY", "SECRET")
    assert str(caught.value) == (
        "no service is named: by url=, MINUS_URL or the config file; or use connect()"
    )
    (bare / ".minus.conf").write_text("[api]\nurl: https://file.test\n")
    assert MinusConnection("KEY", "SECRET").url == "https://file.test/"
    monkeypatch.setenv("MINUS_URL", "https://environment.test")
    assert MinusConnection("KEY", "SECRET").url == "https://environment.test/"
    given = MinusConnection("KEY", "SECRET", False, True, "https://argument.test")
    assert (given.url, repr(given)) == (
        "https://argument.test/",
        "<MinusConnection https://argument.test/>",
    )


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("minus.test", "https://minus.test/"),
        ("localhost:8642", "http://localhost:8642/"),
        (" http://127.0.0.1:8642/ ", "http://127.0.0.1:8642/"),
        ("HTTPS://minus.test/api/v2/", "https://minus.test/"),
        ("https://minus.test/files//api/", "https://minus.test/files/"),
        ("http://[::1]:8642", "http://[::1]:8642/"),
    ],
)
def test_an_address_is_taken_as_people_write_it(given: str, url: str) -> None:
    assert MinusConnection("KEY", "SECRET", url=given).url == url


@pytest.mark.parametrize(
    "given", ["ftp://minus.test", "https://", "http://minus.test:99999", "http://[", "file:///etc"]
)
def test_what_is_no_address_is_a_config_error(given: str) -> None:
    with pytest.raises(MinusConfigError) as caught:
        MinusConnection("KEY", "SECRET", url=given)
    assert str(caught.value) == f"{given!r} is no address of a service"
