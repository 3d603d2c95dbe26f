"""What the tests of the library share, but for the fixtures, which are in accounts.py."""

import contextlib
import re
import socket
import threading
from typing import Any

from responses import RequestsMock

from minus import MinusConnection
from tests.live import Service

PASSWORD = "correct horse"
FAR = "https://minus.test"  # where `responses` answers
API = f"{FAR}/api/v2"


def sign_in(service: Service, name: str, **options: Any) -> MinusConnection:
    """A connection to the live service, signed in."""
    api = MinusConnection(service.api_key, service.api_secret, url=service.url, **options)
    api.authenticate(name, PASSWORD)
    return api


class Far(MinusConnection):
    """A connection to a service that answers what `wire` was told, as if signed in."""

    def __init__(self, wire: RequestsMock, url: str = FAR, **options: Any) -> None:
        super().__init__("KEY", "SECRET", url=url, **options)
        self.access_token, self.refresh_token = "ACCESS-1", "REFRESH-1"
        self.wire = wire
        self._known = {}  # it knows API v2 alone

    def sent(self) -> list[tuple[str | None, str | None, str | None]]:
        """Each request: method, address, Authorization."""
        requests = [call.request for call in self.wire.calls]
        return [(r.method, r.url, r.headers.get("Authorization")) for r in requests]


def answer(status: int, body: bytes = b"{}", length: int | None = None, **headers: str) -> bytes:
    """One answer as it goes over the wire."""
    lines = [
        f"HTTP/1.1 {status} Told",
        f"Content-Length: {len(body) if length is None else length}",
    ]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


class Script:
    """A server that gives each connection the next of its answers; b"" hangs up on one.

    For what `responses` leaves out: it neither waits between tries nor breaks off an answer.
    """

    def __init__(self, *answers: bytes) -> None:
        self.requests: list[bytes] = []
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def __enter__(self) -> "Script":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(60)
        self._listener.close()

    def _serve(self) -> None:
        for told in self._answers:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                head = b"".join(iter(stream.readline, b"\r\n"))
                length = re.search(rb"(?i)content-length: (\d+)", head)
                self.requests.append(head + stream.read(int(length[1]) if length else 0))
                connection.sendall(told)
        self._listener.close()  # whoever comes now is refused and does not wait
