"""What sees each request from its first byte to its last: its id, its figures, its line."""

import logging
import re
import secrets
import time

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minus_server import health, logs
from minus_server.blobs import MAX_SMALL
from minus_server.meter import Meter
from minus_server.policy import Policy
from minus_server.web import address, is_trusted

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LOG = logging.getLogger(__name__)


class Watch:
    """Around everything else."""

    def __init__(self, app: ASGIApp, policy: Policy, meter: Meter) -> None:
        self._app = app
        self._policy = policy
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        known = _id(scope, self._policy)
        logs.request_id.set(known)
        seen = _Seen(scope, receive, send, self._meter, known)
        self._meter.request_begun()
        try:
            await self._app(scope, seen.receive, seen.send)
        except Exception:  # noqa: BLE001  it is raised on, as one that the log has
            _LOG.exception("A request failed")
            raise logs.Told from None
        finally:
            seen.end()


class _Seen:
    """One request, as far as it has come."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, meter: Meter, known: str
    ) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._meter = meter
        self._header = (b"x-request-id", known.encode())
        self._began = time.perf_counter()
        self._status = 0  # nothing was answered
        self._length = self._received = self._sent = 0
        self._is_upload = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > MAX_SMALL and not self._is_upload:
            self._is_upload = True
            self._meter.upload_begun()
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._status = message["status"]
            headers = list(message.get("headers", ()))
            self._length = next((int(v) for k, v in headers if k == b"content-length"), 0)
            message["headers"] = [*headers, self._header]
        elif kind == "http.response.pathsend":  # the server sends it, and does not tell how far
            self._sent += self._length
        elif self._scope["method"] != "HEAD":
            self._sent += len(message.get("body", b""))
        await self._send(message)

    def end(self) -> None:
        """Count it, and write its line where lines are wanted."""
        seconds = time.perf_counter() - self._began
        method, route = self._scope["method"], _route(self._scope)
        self._meter.request_ended(
            method if method in _METHODS else "other",
            route,
            self._status,
            seconds,
            self._received,
            self._sent,
        )
        if self._is_upload:
            self._meter.upload_ended()
        if logs.ACCESS.isEnabledFor(logging.INFO) and route not in health.PATHS:
            self._tell(route, seconds)

    def _tell(self, route: str, seconds: float) -> None:
        fields = {
            "client": address(Request(self._scope)),
            "method": self._scope["method"],
            "route": route,
            "status": self._status,
            "bytes": self._sent,
            "ms": round(seconds * 1000, 1),
        }
        if user := self._scope.get("user_slug"):
            fields["user"] = user
        logs.ACCESS.info("request", extra={"fields": fields})


def _id(scope: Scope, policy: Policy) -> str:
    """The request's id: that of a proxy that is trusted, else a new one."""
    client = scope.get("client")
    if policy.trusted_proxies and client and is_trusted(client[0], policy):
        told = [value for key, value in scope["headers"] if key == b"x-request-id"]
        if len(told) == 1 and _ID.fullmatch(told[0]):
            return str(told[0].decode())
    return secrets.token_hex(8)


def _route(scope: Scope) -> str:
    """The template that fits the address, which holds nothing of it."""
    if scope["path"] in health.PATHS:
        return str(scope["path"])
    return getattr(scope.get("route"), "path", "") or "none"
