"""`/healthz` and `/readyz`: what a proxy asks before it sends anybody here."""

import logging
import time
from collections.abc import Callable

import anyio
import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from minus_server.service import Service

PATHS = ("/healthz", "/readyz")
KEPT_SECONDS = 1  # for which what was found is told again
_PATIENCE = 3  # seconds for each part to answer
_LOG = logging.getLogger(__name__)


class Health:
    """Answers before anything else is asked: any `Host`, no limits, no account.

    /healthz   200: the process answers
    /readyz    200: it can work; 503 with the part that fails, or because it is stopping
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._parts = [
            _Part("catalog", service.catalog.ping),
            _Part("store", service.blobs.ping),
        ]
        self._turn = anyio.Lock()
        self._looked = float("-inf")
        self._failing = ""
        self.asked = 0
        self.is_stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_get = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if not is_get or scope["path"] not in PATHS:
            await self._app(scope, receive, send)
            return
        self.asked += 1
        problem = "" if scope["path"] == "/healthz" else await self._problem()
        headers = {"Cache-Control": "no-store"}
        answer = PlainTextResponse(problem or "ok", 503 if problem else 200, headers)
        await answer(scope, receive, send)

    async def _problem(self) -> str:
        if not self.is_stopping:
            async with self._turn:  # however many ask, one looks
                if time.monotonic() - self._looked >= KEPT_SECONDS:
                    self._failing = await self._look()
                    self._looked = time.monotonic()
        return "stopping" if self.is_stopping else self._failing

    async def _look(self) -> str:
        for part in self._parts:
            if not await part.is_well():
                return part.name
        return ""


class _Part:
    """Something that the service cannot do without."""

    def __init__(self, name: str, ping: Callable[[], None]) -> None:
        self.name = name
        self._ping = ping
        self._was_well = True
        self._thread = anyio.CapacityLimiter(1)  # one that hangs takes nobody else's

    async def is_well(self) -> bool:
        """Ask it. Its failure is logged when it begins, not each time."""
        try:
            with anyio.fail_after(_PATIENCE):
                await anyio.to_thread.run_sync(
                    self._ping, limiter=self._thread, abandon_on_cancel=True
                )
        except (SQLAlchemyError, OSError) as error:
            if self._was_well:
                why = str(error).partition("\n")[0] or f"no answer within {_PATIENCE} s"
                _LOG.error("Not ready: the %s: %s", self.name, why)
            self._was_well = False
            return False
        self._was_well = True
        return True
