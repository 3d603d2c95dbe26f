"""The kit: a web server whose every path is an attack, and an honest Minus service to spoil."""

import contextlib
import hashlib
import html
import json
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

DATA = b"".join(b"line %07d\n" % number for number in range(50_000))  # 650 kB
CHANGED = DATA.replace(b"line", b"LINE")  # the same file, a version later
TOKEN, PASSWORD = "TOKEN-of-the-kit", "hush-hush"
DRIP_SECONDS = 0.5  # between two bytes

Row = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """A request as it came; `here` is false at the place where nobody should come."""

    here: bool
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def parts(self) -> list[str]:
        return [unquote(part) for part in urlsplit(self.target).path.split("/")[1:]]

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)


class Talk:
    """One request, and the connection on which it is answered."""

    def __init__(self, kit: "Kit", request: Request, connection: socket.socket) -> None:
        self.kit, self.request = kit, request
        self._connection = connection

    @property
    def base(self) -> str:
        """The address of the attack that was asked for."""
        return f"{self.kit.url}{self.request.parts[0]}/"

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def head(self, status: int, *headers: str, reason: str = "Told") -> None:
        lines = [f"HTTP/1.1 {status} {reason}", *headers, "Connection: close", "", ""]
        self.send("\r\n".join(lines).encode("latin-1"))

    def answer(self, status: int, body: bytes, *headers: str) -> None:
        """A whole answer, the body left out where only the head was asked for."""
        self.head(status, *headers, f"Content-Length: {len(body)}")
        if self.request.method != "HEAD":
            self.send(body)

    def json(self, found: object, status: int = 200) -> None:
        self.answer(status, json.dumps(found).encode(), "Content-Type: application/json")

    def redirect(self, target: str, status: int = 302, *headers: str) -> None:
        self.answer(status, b"", f"Location: {target}", *headers)

    def forever(self, blocks: Iterable[bytes]) -> None:
        """Send as long as somebody reads, and the kit is there."""
        for block in blocks:
            if self.kit.over.is_set():
                break
            self.send(block)

    def drip(self, data: bytes) -> None:
        """Send bytes one by one, slower than anybody wants to wait."""
        for at in range(len(data)):
            self.send(data[at : at + 1])
            if self.kit.over.wait(DRIP_SECONDS):
                break


Act = Callable[[Talk], None]
SpoilApi = Callable[[Talk, str, "Row | None"], bool]


@dataclass(frozen=True)
class Attack:
    """What one path does.

    file    answers for the file data.bin, honestly unless given
    api     answers, if it gives true, a request of API v2 whose honest answer it is shown
    names   of the files that a folder of the Minus service has
    links   of the page that lists the files
    needs   what a client must be asked for: "name", "redirect", "list", "put", "resume", "minus"
    """

    name: str
    does: str
    file: Act | None = None
    api: SpoilApi | None = None
    names: tuple[str, ...] = ("data.bin",)
    links: tuple[str, ...] = ("data.bin",)
    needs: str = ""
    sha256: str = hashlib.sha256(DATA).hexdigest()
    extensions: Mapping[str, Any] = field(default_factory=dict)


def whole(talk: Talk) -> None:
    """The file, honestly."""
    talk.answer(200, DATA, "Content-Type: application/octet-stream")


def _listing(talk: Talk, attack: Attack) -> None:
    rows = (f'<a href="{html.escape(link)}">{html.escape(link)}</a><br>' for link in attack.links)
    page = f"<html><title>Index of /</title><h1>Index of /</h1>{''.join(rows)}</html>"
    talk.answer(200, page.encode(), "Content-Type: text/html; charset=utf-8")


def _page(rows: list[Row]) -> Row:
    about = {"next": None, "per_page": 50, "total": len(rows), "pages": 1, "previous": None}
    return {"results": rows, "page": 1, **about}


def _uploaded(request: Request) -> bytes:
    """The file in the body of an upload, bare or in a form."""
    found = re.match(
        r"multipart/form-data; boundary=(\S+)", request.headers.get("content-type", "")
    )
    if not found:
        return request.body
    last = request.body.split(b"\r\n--" + found[1].encode())[-2]
    return last.partition(b"\r\n\r\n")[2]


def _honest(talk: Talk, attack: Attack, path: str) -> Row | None:
    """What an honest Minus service would answer; None for what it does not know."""
    base, request = talk.base, talk.request
    api = f"{base}api/v2/"
    user: Row = {"username": "user", "slug": "user", "display_name": "", "url": f"{api}users/user"}
    folder: Row = {
        "id": "F",
        "name": "Stuff",
        "url": f"{api}folders/F",
        "creator": f"{api}users/user",
    }
    folder |= {
        "file_count": len(attack.names),
        "is_public": False,
        "created": "2026-01-01 00:00:00",
    }
    files = [
        {"id": f"I{at}", "name": name, "title": "", "caption": "", "filesize": len(DATA)}
        | {
            "sha256": attack.sha256,
            "url_rawfile": f"{base}{at}/data.bin",
            "url": f"{api}files/I{at}",
        }
        | {"uploaded": "2026-01-01 00:00:00", "mimetype": "application/octet-stream"}
        for at, name in enumerate(attack.names)
    ]
    if path == "users/user/folders" and request.method == "GET":
        return _page([folder])
    if path == "folders/F/files" and request.method == "GET":
        return _page(files)
    if path.startswith(("folders/F/files", "../UploadItem")):
        data = _uploaded(request)
        return files[0] | {"filesize": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    for row in files:
        if path == f"files/{row['id']}":
            return row
    gallery = {"editor_id": "EDITOR", "reader_id": "READER"}
    known: dict[str, Row] = {
        "": {"name": "minus", "extensions": dict(attack.extensions)},
        "activeuser": user,
    }
    known |= {"folders/F": folder, "users/user/folders": folder, "users/user": user}
    return (known | {"../CreateGallery": gallery, "../SaveGallery": {}}).get(path)


_GRANT = {"access_token": TOKEN, "refresh_token": "REFRESH", "expires_in": 3600, "scope": ""}


def _answer(talk: Talk, attack: Attack) -> None:
    path = "/".join(talk.request.parts[1:])
    of_api = re.fullmatch(r"(?:api/v2/?|(api/)(?=[A-Z]))(.*)", path)
    if path == "oauth/token" or of_api:
        found = f"{'../' if of_api[1] else ''}{of_api[2].rstrip('/')}" if of_api else "oauth"
        honest = _honest(talk, attack, found) if of_api else dict(_GRANT)
        if attack.api is None or not attack.api(talk, found, honest):
            talk.json(honest or {"error": "not_found"}, 200 if honest is not None else 404)
    elif path == "":
        _listing(talk, attack)
    elif path.endswith(("data.bin", ".bashrc")):
        (attack.file or whole)(talk)
    else:
        whole(talk)


class Kit:
    """The running servers.

    url         where the attacks are; `elsewhere` where nothing of them may ever lead
    requests    all that came, to both
    over        set when it ends
    """

    def __init__(
        self, attacks: Iterable[Attack], port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.attacks = {attack.name: attack for attack in attacks}
        self.requests: list[Request] = []
        self.over = threading.Event()
        self._servers = [self._listen(port, here=True), self._listen(0, here=False)]
        self.url, self.elsewhere = (
            f"http://127.0.0.1:{server.server_address[1]}/" for server in self._servers
        )
        if tls:
            first = self._servers[0]
            first.socket = tls.wrap_socket(first.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")

    def _listen(self, port: int, here: bool) -> socketserver.ThreadingTCPServer:
        class Visit(socketserver.StreamRequestHandler):
            timeout = 60

            def handle(visit) -> None:  # noqa: N805
                with contextlib.suppress(OSError):  # they leave when they have had enough
                    if request := _read(visit.rfile, here):
                        self._serve(request, visit.request)

        server = socketserver.ThreadingTCPServer(
            ("127.0.0.1", port), Visit, bind_and_activate=False
        )
        server.allow_reuse_address = server.daemon_threads = True
        server.server_bind()
        server.server_activate()
        return server

    def __enter__(self) -> "Kit":
        self._threads = [
            threading.Thread(target=s.serve_forever, args=(0.05,)) for s in self._servers
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()

    def _serve(self, request: Request, connection: socket.socket) -> None:
        self.requests.append(request)
        talk = Talk(self, request, connection)
        attack = self.attacks.get(request.parts[0])
        if not request.here and "asks" in request.parts and "authorization" not in request.headers:
            talk.answer(401, b"", 'WWW-Authenticate: Basic realm="kit"')
        elif not request.here:
            whole(talk)
        elif attack:
            _answer(talk, attack)
        else:
            talk.answer(*_index(self.attacks.values()), "Content-Type: text/html; charset=utf-8")

    def astray(self) -> list[Request]:
        """What came where nothing should."""
        return [request for request in self.requests if not request.here]


def _index(attacks: Iterable[Attack]) -> tuple[int, bytes]:
    rows = (
        f"<dt><a href='/{a.name}/data.bin'>/{a.name}/</a><dd>{html.escape(a.does)}" for a in attacks
    )
    about = "<p>Below each path: data.bin, a page that lists files, and a Minus service."
    page = f"<!doctype html><title>Hostile services</title>{about}<dl>{''.join(rows)}</dl>"
    return 200, page.encode()


def _read(stream: Any, here: bool) -> Request | None:
    """Read one request, its body framed in either way; None where none came."""
    lines = [line.decode("latin-1").strip() for line in _until_blank(stream)]
    words = lines[0].split(" ") if lines else []
    if len(words) != 3:
        return None
    headers = {
        name.strip().lower(): text.strip()
        for name, _, text in (s.partition(":") for s in lines[1:])
    }
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(stream.readline() or b"0", 16):
            body += stream.read(size)
            stream.readline()
    else:
        body = stream.read(int(headers.get("content-length", 0)))
    return Request(here, words[0], words[1], headers, body)


def _until_blank(stream: Any) -> Iterator[bytes]:
    while (line := stream.readline(1 << 16)).strip():
        yield line
