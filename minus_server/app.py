"""The application: every address of the service in one list, and the map of errors.

request -> routes (parse) -> rules (accounts, library) -> catalog and blobs -> JSON
"""

import errno
import logging
import re
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import anyio
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minus_server import (
    api_v1,
    api_v2,
    batches,
    extensions,
    forms,
    links,
    oauth,
    openapi,
    pages,
    sums,
    tars,
    tus,
    uploads,
    zips,
)
from minus_server.databases import is_busy, is_disk_full
from minus_server.endpoints import json_response, signed_in
from minus_server.errors import BadRequest, DiskFull, Refused, StoreAway, TooMany
from minus_server.meter import Meter
from minus_server.service import Service
from minus_server.throttle import Misses
from minus_server.web import Handler, address, answers
from minus_server.wire import Wire

_LOG = logging.getLogger(__name__)
AWAY_SECONDS = 5  # after which a store that was away may be asked again
_TUS = ["GET", "PATCH", "DELETE", "OPTIONS", "POST"]
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SLASHES = re.compile(r"/{2,}")
_GUESSABLE = re.compile(r"/(?!uploads/)(?:[ijklmu]|api/(?!v2/))")  # how addresses with ids begin
DELAYED_AT_ONCE = 100  # sign-ins that wait
HSTS = {"Strict-Transport-Security": "max-age=31536000"}


class Door:
    """What every request passes first: the address is tidied, a foreign `Host` turned away, so
    is for a while who asked for many ids that are none.

    host     the only `Host` that is answered, None for any. On a service that trusts its
             machine, a page of another site could else reach it under its own name.
    headers  that every answer has
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str | None,
        activity: "Activity",
        misses: Misses,
        headers: dict[str, str],
    ) -> None:
        self._app = app
        self._hosts = None if host is None else {host, _as_localhost(host)}
        self._activity = activity
        self._misses = misses
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._activity:
            if _is_odd(scope):
                words = {"error": "invalid_request", "error_description": "The head is ambiguous."}
                answer = json_response(words, 400)
                answer.headers["Connection"] = "close"
                await answer(scope, receive, send)
                return
            if self._hosts is not None and _host(scope) not in self._hosts:
                refusal = {"error": "misdirected", "error_description": "This is another host."}
                await json_response(refusal, 421)(scope, receive, send)
                return
            path = _SLASHES.sub("/", scope["path"])
            scope["path"] = path.rstrip("/") or "/"
            scope.setdefault("extensions", {})
            await self._counted(scope, receive, send)

    async def _wait(self, asker: str) -> int:
        """The seconds that an address has to wait, asked of the catalog now and then."""
        known = self._misses.known(asker)
        return await run_in_threadpool(self._misses.wait, asker) if known is None else known

    async def _count(self, request: Request, asker: str) -> None:
        """Count a miss, whose answer stays what it is where that fails."""
        try:
            await run_in_threadpool(self._misses.count, asker)
        except SQLAlchemyError as error:
            _busy(request, error)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        asker = address(request) if _GUESSABLE.match(scope["path"]) else None

        async def send_with(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
                if asker is not None and message["status"] == 404:
                    await self._count(request, asker)
            await send(message)

        try:
            seconds = 0 if asker is None else await self._wait(asker)
        except SQLAlchemyError as error:
            answer = await run_in_threadpool(_busy, request, error)
            await answer(scope, receive, send_with)
            return
        if seconds:
            why = "Too many addresses that lead nowhere were asked for from here."
            refusal = TooMany(why, seconds)
            answer = await run_in_threadpool(_refused, request, refusal)
            await answer(scope, receive, send_with)
        else:
            await self._app(scope, receive, send_with)


class Activity:
    """Counts the requests under way, and knows since when there were none."""

    def __init__(self) -> None:
        self.running = 0
        self.since = time.monotonic()

    def __enter__(self) -> None:
        self.running += 1

    def __exit__(self, *_: object) -> None:
        self.running -= 1
        self.since = time.monotonic()

    def idle_seconds(self) -> float:
        """How long nothing has been asked; 0 while something is under way."""
        return 0.0 if self.running else time.monotonic() - self.since


def _is_odd(scope: Scope) -> bool:
    """Tell whether a proxy before us may have read this head otherwise than the server did."""
    keys = [key for key, _ in scope["headers"]]
    lengths = b"transfer-encoding" in keys and b"content-length" in keys
    hostless = scope["http_version"] == "1.1" and not _host(scope)
    return lengths or keys.count(b"host") > 1 or hostless


def _host(scope: Scope) -> str:
    found = [value for key, value in scope["headers"] if key == b"host"]
    return found[0].decode("latin-1").lower() if len(found) == 1 else ""


def _as_localhost(host: str) -> str:
    return f"localhost:{host.rpartition(':')[2]}"


def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refused):
        raise error
    if error.error == "not_signed_in" and pages.wants_page(request):
        onward = request.url.path.split("/")[1]  # the page; of a form, the one that it is on
        place = f"{pages.root_of(request.app.state.wire.base)}signin?next={onward}"
        return RedirectResponse(place, 303)
    if pages.wants_page(request):
        response = pages.error_page(request, error.status, str(error))
        response.headers.update(error.headers)
        return response
    body: dict[str, object] = {"error": error.error, "error_description": str(error)}
    if error.status == 401 and error.error == "invalid_token":
        body["invalid_token"] = True
    if error.file is not None:
        body["file"] = error.file
    response = json_response(body, error.status)
    response.headers.update(error.headers)
    if error.status == 401:
        scheme = "Basic" if error.error == "invalid_client" else "Bearer"
        response.headers["WWW-Authenticate"] = f'{scheme} realm="minus"'
    return response


def _no_route(request: Request, error: Exception) -> Response:
    """404 and 405 of the router itself."""
    if not isinstance(error, HTTPException):
        raise error
    if pages.wants_page(request):
        return pages.error_page(request, error.status_code, f"{error.detail}.")
    words = {404: "not_found", 405: "method_not_allowed"}
    body = {
        "error": words.get(error.status_code, "invalid_request"),
        "error_description": f"{error.detail}.",
    }
    response = json_response(body, error.status_code)
    response.headers.update(error.headers or {})
    return response


def _gone(_: Request, _error: Exception) -> Response:
    """Less came than the client said: it left, or what lies between ended its body."""
    return json_response({"error": "cut_short", "error_description": "Cut short."}, 400)


def _operating_system(request: Request, error: Exception) -> Response:
    """A full disk has its own answer; anything else is a fault of ours."""
    full = isinstance(error, OSError) and error.errno in _NO_ROOM
    meter: Meter = request.app.state.meter
    (meter.catalog_failed if isinstance(error, SQLAlchemyError) else meter.store_failed)()
    if full or is_disk_full(error):
        return _refused(request, DiskFull("The service's disk is full."))
    raise error


def _busy(request: Request, error: Exception) -> Response:
    """The database is locked, or has worked, for longer than a request should wait."""
    if not is_busy(error):
        return _operating_system(request, error)
    request.app.state.meter.catalog_failed()
    kind = type(getattr(error, "orig", None) or error).__name__  # its words may tell a secret
    return _unavailable(request, f"the catalog failed: {kind}", "The catalog is busy or away.", 1)


def _away(request: Request, error: Exception) -> Response:
    """What keeps the bytes does not answer, or fails."""
    request.app.state.meter.store_failed()
    return _unavailable(request, str(error), "The object store does not answer.", AWAY_SECONDS)


def _unavailable(request: Request, cause: str, why: str, seconds: int) -> Response:
    """The log has the cause, the client a plain word."""
    _LOG.warning("%s was refused: %s", request.method, cause)
    response = json_response({"error": "temporarily_unavailable", "error_description": why}, 503)
    if pages.wants_page(request):
        response = pages.error_page(request, 503, why)
    response.headers["Retry-After"] = str(seconds)
    return response


def _unkeepable(request: Request, _error: Exception) -> Response:
    """PostgreSQL takes no NUL in a text and no number beyond 64 bits, so it has none either."""
    return _refused(request, BadRequest("A value cannot be one of this service's."))


def _fault(request: Request, _error: Exception) -> Response:
    """A bug: the log has the traceback, the client a plain word."""
    if pages.wants_page(request):
        return pages.error_page(request, 500, "The service failed; its log says how.")
    body = {"error": "server_error", "error_description": "The service failed; its log says how."}
    return json_response(body, 500)


def _v2_routes() -> list[Route]:
    folder = "/api/v2/folders/{id}"
    return [
        Route(f"{folder}/files", uploads.upload, methods=["POST"]),
        Route(f"{folder}/files/{{name}}", uploads.put, methods=["PUT"]),
        Route(f"{folder}/batch", batches.add, methods=["POST"]),
        Route(f"{folder}/uploads", tus.into_folder, methods=["POST", "OPTIONS"]),
        Route(f"{folder}/tar", tars.matching, methods=["GET"]),
        Route(f"{folder}/tar", tars.chosen, methods=["POST"]),
        *(
            Route(f"/api/v2/{row.path}", signed_in(row), methods=[row.method])
            for row in api_v2.ENDPOINTS
        ),
    ]


def _page(path: str, handler: Handler) -> Route:
    return Route(path, answers(handler), methods=["GET"])


def _form(path: str, handler: Handler, *, signs_in: bool = False) -> Route:
    return Route(path, answers(handler, changes=True, signs_in=signs_in), methods=["POST"])


ROUTES = [
    # who has a client's key
    Route("/oauth/token", oauth.token, methods=["GET", "POST"]),
    # who has a token
    *_v2_routes(),
    # who holds an editor id, or is signed in
    *api_v1.ROUTES,
    _form("/m{id}/edit", forms.edit_gallery),
    _form("/m{id}/move", forms.move),
    _form("/m{id}/order", forms.order),
    _form("/m{id}/delete", forms.delete_gallery),
    Route("/m{id}/add", forms.add, methods=["POST"]),
    Route("/m{id}/uploads", tus.into_gallery, methods=["POST", "OPTIONS"]),
    # who has begun an upload
    Route("/uploads/{secret}", tus.upload, methods=_TUS),
    _form("/l{id}/edit", forms.edit_item),
    _form("/l{id}/delete", forms.delete_item),
    # who is signed in
    _page("/mine", pages.mine),
    _page("/feed", pages.feed),
    _page("/history", pages.history),
    _page("/settings", pages.settings),
    _form("/settings/profile", forms.profile),
    _form("/settings/password", forms.password, signs_in=True),
    _form("/settings/clients", forms.add_client),
    _form("/settings/clients/{id}/revoke", forms.revoke_client),
    _form("/u{slug}/follow", forms.follow),
    _form("/u{slug}/unfollow", forms.unfollow),
    # who knows an id
    Route("/m{id}.zip", zips.archive),
    Route("/m{id}/SHA256SUMS", sums.sums),
    _page("/m{id}", pages.gallery),
    _page("/l{id}", pages.item),
    Route("/i{link}", links.raw),
    Route("/j{link}", links.small_thumbnail),
    Route("/k{link}", links.medium_thumbnail),
    # anybody
    _page("/", pages.drop),
    Route("/", forms.drop, methods=["POST", "PUT"]),
    _page("/signin", pages.signin),
    _form("/signin", forms.signin, signs_in=True),
    _page("/signin/{secret}", pages.signin_link),
    _page("/register", pages.register),
    _form("/register", forms.register, signs_in=True),
    _form("/signout", forms.signout),
    _page("/u{slug}", pages.user),
    Route("/icon/{label}.png", links.icon),
    Route("/avatar/{label}.png", links.icon),
    Route("/api/v2", extensions.describe),
    Route("/openapi.json", openapi.describe),
    Mount("/static", pages.StaticHeaders(StaticFiles(directory=pages.STATIC))),
    Route("/{name}", forms.anything, methods=["GET", "POST", "PUT", "DELETE"]),
]


def build(
    service: Service, base_url: str, activity: Activity, *, only_host: bool, meter: Meter
) -> Starlette:
    """Make the application of one service.

    base_url    what every link begins with; ends in a slash
    only_host   answer no request that names another host than that of `base_url`
    """
    host = urlsplit(base_url).netloc if only_host else None
    handlers: dict[int | type[Exception], Callable[[Request, Exception], Response]] = {
        Refused: _refused,
        HTTPException: _no_route,
        ClientDisconnect: _gone,
        DataError: _unkeepable,
        DBAPIError: _busy,
        PoolTimeoutError: _busy,
        StoreAway: _away,
        OSError: _operating_system,
        Exception: _fault,
    }
    app = Starlette(
        routes=ROUTES,
        exception_handlers=handlers,
        middleware=[
            Middleware(
                Door,
                host=host,
                activity=activity,
                misses=service.misses,
                headers=HSTS if base_url.startswith("https:") else {},
            )
        ],
    )
    app.state.service = service
    app.state.meter = meter
    app.state.sign_ins = anyio.CapacityLimiter(oauth.AT_ONCE)
    app.state.delayed = anyio.CapacityLimiter(DELAYED_AT_ONCE)
    app.state.batches = batches.Slots()
    app.state.turns = tus.Turns(service.library.leases)
    app.state.keeping = anyio.CapacityLimiter(uploads.KEPT_AT_ONCE)
    app.state.drawings = anyio.CapacityLimiter(links.DRAWINGS_AT_ONCE)
    app.state.wire = Wire(base_url, service.clock)
    return app
