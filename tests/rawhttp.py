"""HTTP as the programs of 2011 spoke it: requests spelled out, answers as they came.

Standard library only, and nothing of `minus` or `minus_server`: two sides that share
code would agree about a mistake.
"""

import base64
import itertools
import json
import re
import socket
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from http.client import HTTPConnection, HTTPMessage, HTTPResponse
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from minus_server.accounts import DEFAULT_QUOTA
from tests.live import Service

HOST = "127.0.0.1"
TIMEOUT = 60  # seconds
BOUNDARY = "----------ThIs_Is_tHe_bouNdaRY_$"  # of the recipe that half of the programs copied
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
FORM = "application/x-www-form-urlencoded"
WAYS = ("form", "multipart", "json", "query")

PASSWORD = "correct horse"
SCOPES = ("read_public", "read_all", "upload_new", "modify_all", "modify_user")
ALL = " ".join(SCOPES)

Row = dict[str, Any]
Params = Mapping[str, Any]
Headers = Mapping[str, str]

counter = itertools.count(1)

# --- HTTP ---


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def call(
    port: int, method: str, target: str, headers: Headers | None = None, body: bytes | None = None
) -> Answer:
    """Send one request with these headers, a Host and a length, and no others."""
    connection = HTTPConnection(HOST, port, timeout=TIMEOUT)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True, skip_host=True)
        for name, value in ({"Host": f"{HOST}:{port}"} | dict(headers or {})).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=TIMEOUT)


def receive(sock: socket.socket, method: str = "GET") -> Answer:
    response = HTTPResponse(sock, method=method)
    response.begin()
    return Answer(response.status, response.headers, response.read())


def drain(sock: socket.socket) -> bytes:
    """Read until the service closes; a reset counts as closing."""
    data = b""
    try:
        while chunk := sock.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    return data


def head(method: str, target: str, headers: Headers, version: str = "1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def basic(user: str, password: str) -> dict[str, str]:
    word = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {word}"}


def part(
    name: str, value: bytes, filename: str | None = None, mimetype: str | None = None
) -> bytes:
    lines = [f'Content-Disposition: form-data; name="{name}"']
    if filename is not None:
        lines[0] += f'; filename="{filename}"'
    if mimetype is not None:
        lines.append(f"Content-Type: {mimetype}")
    return "\r\n".join([f"--{BOUNDARY}", *lines, "", ""]).encode() + value + b"\r\n"


def multipart(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def fields(params: Params) -> list[bytes]:
    return [part(name, str(value).encode()) for name, value in params.items()]


def encode(way: str, params: Params) -> tuple[str, dict[str, str], bytes]:
    """Spell parameters in one of WAYS. -> query, headers, body"""
    if way == "multipart":
        return "", {"Content-Type": MULTIPART}, multipart(*fields(params))
    if way == "json":
        return "", {"Content-Type": "application/json"}, json.dumps(params).encode()
    if way == "query":
        return "?" + urlencode(params), {}, b""
    return "", {"Content-Type": FORM}, urlencode(params).encode()


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = (b"\0" + b"\x40\x80\xc0" * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


# --- shapes: keys in the order of the reference's examples ---

PAGE = ["results", "page", "next", "per_page", "total", "pages", "previous"]
TOKEN = ["access_token", "token_type", "expires_in", "refresh_token", "scope"]


def shape(text: str) -> dict[str, str]:
    """Read `key:kind key:kind`."""
    return dict(pair.split(":", 1) for pair in text.split())


USER = shape(
    "username:text folders:link display_name:text description:text? url:link storage_quota:int "
    "visits:int email:text fb_username:text storage_used:int avatar:link karma:int shared:int "
    "fb_profile_link:text slug:text twitter_screen_name:text"
)
PRIVATE = ("email", "storage_used", "storage_quota")
OTHER_USER = {key: kind for key, kind in USER.items() if key not in PRIVATE}
FOLDER = shape(
    "files:link view_count:int date_last_updated:date last_updated:date name:text creator:link "
    "url:link created:date item_ordering:ids last_updated_ago:int created_ago:int "
    "thumbnail_url:link? file_count:int is_public:bool id:id"
)
LISTED_FOLDER = {key: kind for key, kind in FOLDER.items() if key != "item_ordering"}
FILE = shape(
    "mimetype:text uploaded:date name:text caption:text url:link url_preview:text? title:text "
    "url_thumbnail_medium:link height:int width:int uploaded_ago:int filesize:int "
    "url_rawfile:link folder:link url_thumbnail:link id:id"
)
EXTENDED = shape(
    "id:id name:text file_count:int view_count:int star_count:int flag_count:int score:int "
    "created:date created_ago:int display_name:text creator:link is_public:flag featured:flag "
    "active:flag is_flagged:flag is_starred:flag is_reshared:flag is_saved:flag "
    "thumbnail_url:link? files:link url:link"
)
MESSAGE = shape("body:text read:bool target:link sender:link thread:link created:date")


def text(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value, re.DOTALL))


KINDS: Mapping[str, Callable[[Any], bool]] = {
    "text": text(".*"),
    "text?": lambda value: value is None or isinstance(value, str),
    "int": lambda value: type(value) is int,
    "bool": lambda value: isinstance(value, bool),
    "flag": lambda value: value in (None, 0, 1),
    "link": text(r"BASE\S+"),
    "link?": text(r"(BASE\S+)?"),
    "id": text("[0-9A-Za-z]{12}"),
    "ids": lambda value: isinstance(value, list),
    "date": text(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"),
}


def assert_ago(row: Row, date: str, ago: str, before: float) -> None:
    """The two fields are one moment; the second that the date lost to rounding is allowed for."""
    moment = datetime.strptime(row[date], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    since = before - moment.timestamp()
    assert since - 2 <= row[ago] <= time.time() - moment.timestamp()


# --- speaking API v2 ---


def checked(answer: Answer) -> Answer:
    """Hold an API answer to the rules that all of them share."""
    assert "Transfer-Encoding" not in answer.headers
    assert "Content-Encoding" not in answer.headers
    if answer.status == 204:
        assert answer.body == b""
        return answer
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers.get_content_type() == "application/json"
    assert answer.body.decode() == json.dumps(answer.json())
    if answer.status >= 400:
        assert answer.status < 500, answer.body
        assert all(answer.json()[key] for key in ("error", "error_description"))
    return answer


class Client:
    """One user with one token, and their ways with the service."""

    def __init__(self, service: Service, name: str, token: str) -> None:
        self.service, self.port, self.base = service, service.port, service.url
        self.name, self.slug, self.token = name, name.lower(), token

    # Requests, from the barest to the most convenient.

    def call(
        self, method: str, path: str, headers: Headers | None = None, body: bytes | None = None
    ) -> Answer:
        return call(self.port, method, target(path), headers, body)

    def speak(self, method: str, path: str, headers: Headers, body: bytes, version: str) -> Answer:
        """Send in another version of HTTP and read until the service closes."""
        with connect(self.port) as sock:
            length = {"Content-Length": str(len(body))} if body else {}
            sock.sendall(head(method, target(path), dict(headers) | length, version) + body)
            answer = receive(sock)
            assert drain(sock) == b""
        return answer

    def send_short(self, path: str, content_type: str, body: bytes, missing: int) -> bytes:
        """Promise more bytes than are sent, then hang up one's own side. -> all that came back"""
        headers = self.bearer() | {
            "Host": f"{HOST}:{self.port}",
            "Content-Type": content_type,
            "Content-Length": str(len(body) + missing),
        }
        with connect(self.port) as sock:
            sock.sendall(head("POST", target(path), headers) + body)
            sock.shutdown(socket.SHUT_WR)
            return drain(sock)

    def bare(self, method: str, path: str, params: Params | None = None, **more: str) -> Answer:
        """Send a form without the token, or with the headers given."""
        query, headers, body = encode("form", params) if params is not None else ("", {}, None)
        return checked(self.call(method, path + query, headers | more, body))

    def send(
        self, method: str, path: str, params: Params | None = None, way: str = "form", **more: str
    ) -> Answer:
        """Send parameters in one of WAYS, the token in the header."""
        query, headers, body = encode(way, params) if params is not None else ("", {}, None)
        headers = self.bearer() | headers | more
        return checked(self.call(method, path + query, headers, body))

    def ok(self, method: str, path: str, params: Params | None = None, way: str = "form") -> Any:
        answer = self.send(method, path, params, way)
        assert answer.status == 200, answer.body
        return answer.json()

    def get(self, path: str) -> Any:
        return self.ok("GET", path)

    def delete(self, path: str) -> None:
        assert self.send("DELETE", path).status == 204

    # Tokens.

    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def grant(self, scope: str = ALL, **more: str) -> dict[str, str]:
        """The parameters of a sign-in."""
        secrets = {"client_id": self.service.api_key, "client_secret": self.service.api_secret}
        who = {"username": self.name, "password": PASSWORD}
        return {"grant_type": "password", **secrets, "scope": scope, **who, **more}

    def ask_token(self, params: Params, way: str = "form") -> Answer:
        query, headers, body = encode(way, params)
        return checked(self.call("POST", "/oauth/token" + query, headers, body))

    def with_token(self, answer: Answer) -> "Client":
        assert answer.status == 200, answer.body
        return Client(self.service, self.name, answer.json()["access_token"])

    def limited(self, scope: str) -> "Client":
        return self.with_token(self.ask_token(self.grant(scope)))

    # Folders and files.

    def folder(self, name: str = "Stuff", is_public: str = "true") -> Row:
        row = self.ok("POST", f"users/{self.slug}/folders", {"name": name, "is_public": is_public})
        return dict(row)

    def post_file(
        self,
        body: bytes,
        content_type: str = MULTIPART,
        folder: Row | None = None,
        query: str = "",
    ) -> Answer:
        """Post a body to the files of a folder, a new one unless said."""
        headers = self.bearer() | {"Content-Type": content_type}
        path = f"folders/{(folder or self.folder())['id']}/files{query}"
        return checked(self.call("POST", path, headers, body))

    def upload(self, data: bytes = b"text", name: str = "t.txt", folder: Row | None = None) -> Row:
        answer = self.post_file(multipart(part("file", data, name)), folder=folder)
        assert answer.status == 200, answer.body
        return dict(answer.json())

    def raw(self, row: Row, method: str = "GET", **headers: str) -> Answer:
        """Fetch a file's bytes by its id alone, without the token."""
        names = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.call(method, f"/i{row['id']}", names)

    # Shapes and lists.

    def assert_kinds(self, row: Row, shape: Mapping[str, str]) -> None:
        assert set(shape) - set(row) == set()
        for key, kind in shape.items():
            value = row[key]
            if isinstance(value, str) and kind.startswith("link"):
                value = value.replace(self.base, "BASE", 1)
            assert KINDS[kind](value), (key, kind, row[key])

    def assert_shape(self, row: Row, shape: Mapping[str, str]) -> None:
        """Hold an object to its example: key order, kinds, and new keys only before an `id`."""
        self.assert_kinds(row, shape)
        fixed = [key for key in shape if key != "id"]
        assert list(row)[: len(fixed)] == fixed
        assert "id" not in shape or list(row)[-1] == "id"

    def results(self, path: str, shape: Mapping[str, str] = MappingProxyType({})) -> list[Row]:
        """The objects of one page, each of the kinds told."""
        page = self.get(path)
        assert list(page) == PAGE
        for row in page["results"]:
            self.assert_kinds(row, shape)
        return list(page["results"])

    def values(self, path: str, key: str) -> list[str]:
        return [row[key] for row in self.results(path)]

    def walk(self, path: str, per_page: int, total: int) -> list[Row]:
        """Follow a list by its `next` links and hold each page to the reference. -> all objects"""
        pages = max(1, -(-total // per_page))
        links = [None, *(f"{self.base}api/v2/{path}?page={n + 1}" for n in range(pages)), None]
        rows: list[Row] = []
        page: Row = {"next": f"{self.base}api/v2/{path}"}
        for number in range(1, pages + 1):
            page = self.get(page["next"][len(self.base) - 1 :])
            rows += page["results"]
            following, previous = links[number + 1], links[number - 1]
            expected = [page["results"], number, following, per_page, total, pages, previous]
            assert list(page.items()) == list(zip(PAGE, expected, strict=True))
        assert len(rows) == total
        return rows


def target(path: str) -> str:
    return path if path.startswith("/") else f"/api/v2/{path}"


def new_user(service: Service, stem: str = "wire", quota: int = DEFAULT_QUOTA) -> Client:
    name = f"{stem}{next(counter)}"
    service.add_user(name, PASSWORD, quota)
    return Client(service, name, "").limited(ALL)


def error_of(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["error"]
