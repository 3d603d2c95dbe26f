"""What the operator switches: TLS, old clients; and that no secret ever reaches a log."""

import json
import os
import re
import secrets
import signal
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest
import trustme

from tests import rawhttp
from tests.live import Service
from tests.rawhttp import (
    FORM,
    HOST,
    MULTIPART,
    PASSWORD,
    Answer,
    call,
    encode,
    error_of,
    multipart,
    new_user,
    part,
    png,
)

# --- TLS ---


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def pair(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for this machine, with its chain, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    issued = ca.issue_cert("localhost", HOST)
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return cert, key


def options(cert: Path, key: Path) -> tuple[str, ...]:
    return "--tls-cert", str(cert), "--tls-key", str(key)


@pytest.fixture(scope="module")
def tls(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("service") / "data", options(*pair))
    running.start()
    yield running
    assert running.stop() == 0
    assert running.log() == ""


def over_tls(
    service: Service,
    context: ssl.SSLContext,
    method: str,
    target: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    connection = HTTPSConnection(HOST, service.port, timeout=60, context=context)
    try:
        connection.request(method, target, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def trusting(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def test_a_service_with_a_certificate_speaks_tls_and_says_so(
    tls: Service, trusting: ssl.SSLContext
) -> None:
    assert tls.url == f"https://{HOST}:{tls.port}/"
    assert f'"url": "{tls.url}"' in (tls.data / "service.json").read_text()
    assert f"url: {tls.url}\n" in tls.run("addclient", "x").stdout
    data = os.urandom(300_000)
    kind = {"Content-Type": MULTIPART}
    made = over_tls(tls, trusting, "POST", "/", kind, multipart(part("file", data, "x.bin")))
    assert made.body.decode().startswith(f"{tls.url}m")
    assert made.headers["X-Edit-Link"].startswith(f"{tls.url}m")
    assert "; secure" in made.headers["Set-Cookie"].lower()
    assert made.headers["Strict-Transport-Security"] == "max-age=31536000"
    items = over_tls(tls, trusting, "GET", f"/api/GetItems/{made.body.decode()[-14:].strip()}")
    (link,) = items.json()["ITEMS_GALLERY"]
    assert over_tls(tls, trusting, "GET", f"/{link.rpartition('/')[2]}").body == data


def test_a_browser_that_signs_in_over_tls_gets_a_secure_cookie(
    tls: Service, trusting: ssl.SSLContext
) -> None:
    tls.add_user("tess", PASSWORD)
    _, kind, body = encode("form", {"username": "tess", "password1": PASSWORD})
    page = kind | {"Origin": tls.url.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    answer = over_tls(tls, trusting, "POST", "/signin", page, body)
    assert (answer.status, "; secure" in answer.headers["Set-Cookie"].lower()) == (303, True)
    forged = kind | {"Origin": f"http://{HOST}:{tls.port}"}
    assert over_tls(tls, trusting, "POST", "/signin", forged, body).status == 403


def test_nothing_is_answered_without_tls_or_with_an_old_one(
    tls: Service, trusting: ssl.SSLContext
) -> None:
    with rawhttp.connect(tls.port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not rawhttp.drain(sock).startswith(b"HTTP")
    with pytest.raises(ssl.SSLError):
        over_tls(tls, ssl.create_default_context(), "GET", "/")  # it trusts no such certificate
    newer = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    newer.load_verify_locations(cadata="".join(_pem(trusting)))
    newer.minimum_version = newer.maximum_version = ssl.TLSVersion.TLSv1_2
    assert over_tls(tls, newer, "GET", "/api/v2").status == 200


def _pem(context: ssl.SSLContext) -> list[str]:
    return [ssl.DER_cert_to_PEM_cert(der) for der in context.get_ca_certs(binary_form=True)]


def test_without_tls_no_browser_is_told_to_insist_on_it(service: Service) -> None:
    assert "Strict-Transport-Security" not in call(service.port, "GET", "/").headers


def test_a_bad_pair_is_said_and_exits_2(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    elsewhere = Service(tmp_path / "data")
    cert, key = pair
    other, nonsense = tmp_path / "other.pem", tmp_path / "nonsense.pem"
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(other)
    nonsense.write_text("nonsense")
    missing = tmp_path / "missing.pem"
    for one, two in ((cert, other), (nonsense, key), (cert, nonsense), (key, cert)):
        done = elsewhere.run("serve", *options(one, two))
        why = f"{one} and {two} are no certificate and its key, in PEM and without a password"
        assert (done.returncode, done.stderr) == (2, f"minus-server: {why}\n")
    done = elsewhere.run("serve", *options(cert, missing))
    assert (done.returncode, done.stderr) == (2, f"minus-server: {missing} cannot be read\n")
    done = elsewhere.run("serve", "--tls-cert", str(cert))
    why = "minus-server: --tls-cert and --tls-key go together\n"
    assert (done.returncode, done.stderr) == (2, why)
    assert not elsewhere.data.exists()


# --- old clients ---


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for clients of today."""
    running = Service(tmp_path_factory.mktemp("strict") / "data", ("--old-clients", "off"))
    running.start()
    yield running
    assert running.stop() == 0
    assert running.log() == ""


def test_tokens_are_given_for_post_alone(strict: Service, service: Service) -> None:
    for running, status in ((strict, 405), (service, 200)):
        user = new_user(running)
        query = urlencode(user.grant())
        for method in ("GET", "HEAD"):
            answer = call(running.port, method, f"/oauth/token?{query}")
            assert answer.status == status
        if status == 405:
            assert answer.headers["Allow"] == "POST"
            answer = call(running.port, "GET", "/oauth/token")
            assert error_of(answer) == (405, "method_not_allowed")


def test_secrets_stand_in_no_address(strict: Service, service: Service) -> None:
    alice, old = new_user(strict), new_user(service)
    folder, theirs = alice.folder(), old.folder()
    body = multipart(part("file", b"x", "x"))
    for key in ("bearer_token", "access_token"):
        for path, method, sent in (
            ("/api/v2/activeuser", "GET", None),
            (f"/api/v2/folders/{folder['id']}/files", "POST", body),
            (f"/api/v2/folders/{folder['id']}/files/x", "PUT", b"x"),
            (f"/api/v2/folders/{folder['id']}/batch", "POST", body),
            (f"/api/v2/folders/{folder['id']}/tar", "GET", None),
            ("/api/CreateGallery", "POST", b""),
            ("/api/UploadItem", "POST", body),
            ("/", "POST", body),
        ):
            kind = {"Content-Type": MULTIPART}
            answer = alice.call(method, f"{path}?{key}={alice.token}", kind, sent)
            assert (answer.status, b"Authorization" in answer.body) == (401, True), path
        assert old.call("GET", f"activeuser?{key}={old.token}").status == 200
    assert alice.send("GET", "activeuser").status == 200
    posted = urlencode({"bearer_token": alice.token, "display_name": "x"}).encode()
    assert alice.call("PUT", "activeuser", {"Content-Type": FORM}, posted).status == 200
    for path in ("/oauth/token", "/api/SignIn", "/signin", "/api/login/register"):
        query = urlencode({"username": alice.name, "password": PASSWORD, "client_secret": "x"})
        answer = alice.call("POST", f"{path}?{query}", {}, b"")
        assert error_of(answer) == (400, "invalid_request"), path
    assert theirs["id"]


def test_a_reader_id_adds_nothing_where_old_clients_are_not_served(
    strict: Service, service: Service
) -> None:
    for running, status in ((strict, 403), (service, 200)):
        made = call(running.port, "POST", "/api/CreateGallery").json()
        for name, expected in (("reader_id", status), ("editor_id", 200)):
            query = urlencode({"editor_id": made[name], "filename": "x.txt"})
            answer = call(running.port, "POST", f"/api/UploadItem?{query}", {}, b"x")
            assert answer.status == expected
            if expected == 403:
                assert (
                    answer.json()["error_description"] == "This takes the editor id of the gallery."
                )


# --- logs ---


class Faults:
    """A service on which things break, and everything that it was told and must not repeat."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.user = new_user(service)
        self.secrets = {PASSWORD, self.user.token, service.api_secret}

    def secret(self) -> str:
        """A word that must never be seen again."""
        made = f"SECRET{secrets.token_hex(8)}"
        self.secrets.add(made)
        return made

    def query(self) -> str:
        named = {name: self.secret() for name in ("bearer_token", "password", "q", "editor_id")}
        return urlencode(named)

    def headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.secret()}",
            "Cookie": f"sessionid={self.secret()}; editor={self.secret()}",
            "X-Forwarded-For": self.secret(),
        }


def written(service: Service) -> str:
    """All that the process wrote: standard error, which service.log is for the embedded one."""
    logs = (path.read_text() for path in service.data.glob("*.log"))
    return service.log() + "".join(logs)


def texts(log: str, options: tuple[str, ...]) -> str:
    """What the log says, where each line is an object too."""
    if "json" not in options:
        return log
    values = (value for line in log.splitlines() for value in json.loads(line).values())
    return "\n".join(map(str, values))


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--embedded",),
        ("--access-log", "on"),
        ("--access-log", "on", "--log-format", "json"),
    ],
    ids=["served", "embedded", "access", "json"],
)
@pytest.mark.folder
def test_no_secret_reaches_a_log_whatever_breaks(tmp_path: Path, options: tuple[str, ...]) -> None:
    service = Service(tmp_path / "data", options)
    if "--embedded" not in options:
        service.options += ("--anonymous-galleries", "1000")
    service.start()
    try:
        faults = Faults(service)
        user, port = faults.user, service.port
        folder = user.folder()
        big = user.upload(png(400, 400) + b"\0" * 200_000, "big.png", folder)
        tokens = user.call("GET", f"/oauth/token?{urlencode(user.grant())}").json()
        faults.secrets |= {tokens["access_token"], tokens["refresh_token"]}
        _, kind, body = encode("form", {"username": user.name, "password1": PASSWORD})
        signed = user.call("POST", f"/api/SignIn?q={faults.secret()}", kind, body)
        faults.secrets.add(re.findall("sessionid[^=]*=([^;]+)", signed.headers["Set-Cookie"])[0])
        # a blob that is a folder, so that reading it is no missing file but a fault
        (blob,) = (path for path in (service.data / "blobs").rglob("*") if path.is_file())
        blob.rename(tmp_path / "blob")
        blob.mkdir()
        query = f"bearer_token={user.token}&{faults.query()}"
        statuses: set[str] = set()
        for path in (f"/i{big['id']}", f"/l{big['id']}", f"/k{big['id']}"):
            for extra in ({"Range": "bytes=0-9"}, {}):
                head = rawhttp.head(
                    "GET",
                    f"{path}?{query}",
                    {"Host": f"{HOST}:{port}", "Connection": "close"} | faults.headers() | extra,
                )
                with rawhttp.connect(port) as sock:
                    sock.sendall(head)
                    statuses.add(rawhttp.drain(sock)[9:12].decode())
        # no room to put an upload, and a table that is gone
        incoming = service.data / "incoming"
        incoming.rename(tmp_path / "incoming")
        upload = multipart(part("file", b"x" * 300_000, "x"))
        target = f"/api/v2/folders/{folder['id']}/files?{query}"
        statuses.add(str(call(port, "POST", target, {"Content-Type": MULTIPART}, upload).status))
        (tmp_path / "incoming").rename(incoming)
        # the child that decodes pictures dies
        children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
        for child in map(int, children):
            os.kill(child, signal.SIGKILL)
        user.upload(png(9, 9), "a.png", folder)
        # uploads that end before they are whole; noise; a client that leaves in an answer
        for content in (MULTIPART, "text/plain", FORM):
            head = rawhttp.head(
                "POST",
                f"{target}&{faults.query()}",
                {"Host": f"{HOST}:{port}", "Content-Type": content, "Content-Length": "999999"}
                | faults.headers(),
            )
            with rawhttp.connect(port) as sock:
                sock.sendall(head + faults.secret().encode() * 5_000)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        for noise in (
            b"\x16\x03\x01\x02\x00\x01" + faults.secret().encode(),
            b"GET /?" + faults.query().encode() + b" HTTP/9.9\r\n\r\n",
            b"GET /?" + faults.query().encode() + b"\x00 HTTP/1.1\r\n\r\n",
        ):
            with rawhttp.connect(port) as sock:
                sock.sendall(noise)
                rawhttp.drain(sock)
        for path in ("/nowhere", "/api/v2/nowhere", f"/signin/{faults.secret()}", "/oauth/token"):
            for method in ("GET", "POST", "PUT", "DELETE", "BREW"):
                call(port, method, f"{path}?{faults.query()}", faults.headers(), b"{" + b"x" * 99)
        assert call(port, "GET", "/api/v2").status == 200
        assert "500" in statuses
    finally:
        status = service.stop()
    assert status == 0
    log = texts(written(service), options)
    assert "Traceback" in log  # the faults were faults, and the operator is told of them
    assert [secret for secret in faults.secrets if secret in log] == []
    assert "?" not in re.sub(r'File ".*', "", log)
