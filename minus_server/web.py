"""What API v1 and the pages share: who asks (cookie or token), from where, and cross-site rules.

A browser sends cookies along whoever's page made it ask. So what changes something is refused
where the browser says that another site asks; programs say nothing of the kind and pass.
"""

import ipaddress
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from minus_server import names, parse
from minus_server.accounts import Caller
from minus_server.addresses import network
from minus_server.catalog import User
from minus_server.errors import Forbidden, NotSignedIn
from minus_server.policy import Policy
from minus_server.repeats import Once, holder
from minus_server.service import Service
from minus_server.sessions import SESSION_SECONDS
from minus_server.wire import Wire

SESSION_COOKIE = "sessionid"
EDITOR_COOKIE = "editor"  # editor ids of galleries that this browser made without an account


@dataclass(frozen=True)
class Visit:
    """A request as the handlers of API v1 and of the pages see it."""

    request: Request
    service: Service
    wire: Wire
    user: User | None
    fields: parse.Parameters

    @property
    def path(self) -> dict[str, str]:
        return dict(self.request.path_params)

    @property
    def address(self) -> str:
        return address(self.request)

    @property
    def once(self) -> Once | None:
        """The request's Idempotency-Key: the user's, without one the address's."""
        return once_of(self.request, self.user)

    @property
    def caller(self) -> Caller:
        """Who is signed in, as the rules of API v2 know them. Raises NotSignedIn."""
        return Caller.of_session(self.need_user())

    def need_user(self) -> User:
        """Who is signed in. Raises NotSignedIn."""
        if self.user is None:
            raise NotSignedIn("This is for signed-in users.", error="not_signed_in")
        return self.user


Handler = Callable[[Visit], Response]


def session_cookie(request: Request) -> str:
    """The name of the session's cookie.

    A browser sends it to every port of a machine: with the port in its name, services on one's
    own machine do not end each other's sessions.
    """
    state = request.app.state
    if not state.service.policy.embedded:
        return SESSION_COOKIE
    return f"{SESSION_COOKIE}-{urlsplit(state.wire.base).port}"


def user_of(request: Request, fields: parse.Parameters) -> User | None:
    """Who asks: by an access token as in API v2 that may make and change folders, or as below."""
    service: Service = request.app.state.service
    if token := parse.token(request, fields):
        caller = service.accounts.caller(token)
        for scope in ("read_all", "upload_new", "modify_all"):
            caller.need(scope)
        return caller.user
    return session_user(request, fields)


def session_user(request: Request, _fields: parse.Parameters) -> User | None:
    """Who asks: by the session's cookie."""
    service: Service = request.app.state.service
    secret = request.cookies.get(session_cookie(request))
    return service.sessions.user(secret) if secret else None


def once_of(request: Request, user: User | None) -> Once | None:
    """The Idempotency-Key of a request that makes a gallery."""
    return parse.once(request, holder(user, f"address {network(address(request))}"))


def refuse_other_sites(request: Request, *, always: bool = False) -> None:
    """Raises Forbidden where a page of another site asks with our cookies (or at all: `always`)."""
    if not always and request.cookies.keys().isdisjoint((session_cookie(request), EDITOR_COOKIE)):
        return
    site = request.headers.get("sec-fetch-site", "none").lower()
    origin = request.headers.get("origin")
    wire: Wire = request.app.state.wire
    own = {_origin(wire.base), f"{request.url.scheme}://{request.headers.get('host', '')}"}
    if site not in ("same-origin", "none") or (origin is not None and origin not in own):
        raise Forbidden("A page of another site asked for this.", error="cross_site")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def is_own(request: Request) -> bool:
    """Tell whether a process of the user that runs this service asks, as far as the system tells.

    What a browser is started with can be seen by everybody on the machine.
    """
    server = request.scope.get("server")
    if request.client is None or server is None:
        return False
    ports = f"{int(request.client.port):04X}", f"{int(server[1]):04X}"
    with suppress(OSError):  # other systems have no such list
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, *_, uid, _, _ = line.split()[:10]
            if (local[-4:], remote[-4:]) == ports:
                return int(uid) == os.getuid()
    return not Path("/proc/net/tcp").exists()


def address(request: Request) -> str:
    """Where a request comes from; behind proxies that are trusted, what they say."""
    policy: Policy = request.app.state.service.policy
    hops = request.headers.getlist("x-forwarded-for") if policy.trusted_proxies else []
    path = [hop.strip() for line in hops for hop in line.split(",")]
    seen = request.client.host if request.client else ""
    while path and is_trusted(seen, policy):
        seen = path.pop()
    return seen


async def slowed(request: Request, account: str) -> None:
    """Wait, where many wrong passwords came for the account or from the address.

    Only so many wait: what comes beyond them has to wait for the threads that hash.
    """
    sign_ins = request.app.state.service.sign_ins
    seconds = await run_in_threadpool(sign_ins.delay, names.slug(account), address(request))
    waiting: anyio.CapacityLimiter = request.app.state.delayed
    if seconds and waiting.available_tokens >= 1:
        async with waiting:
            await anyio.sleep(seconds)


def is_trusted(host: str, policy: Policy) -> bool:
    """Tell whether it is a proxy whose word is believed."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found  # an IPv6 socket shows IPv4 so
    return any(found in network for network in policy.trusted_proxies)


def answers(
    handler: Handler, *, changes: bool = False, signs_in: bool = False, tokens: bool = False
) -> Callable[[Request], Any]:
    """Make a route function of a handler that runs in a thread.

    changes    refused to pages of other sites that come with our cookie
    signs_in   refused to pages of other sites in any case; hashes a password
    tokens     a token of API v2 is as good as the cookie
    """
    who = user_of if tokens else session_user

    async def answer(request: Request) -> Response:
        if changes or signs_in:
            refuse_other_sites(request, always=signs_in)
        fields = await parse.parameters(request)
        if signs_in:
            await slowed(request, fields.get("username", ""))

        def work() -> Response:
            state = request.app.state
            visit = Visit(request, state.service, state.wire, who(request, fields), fields)
            if visit.user is not None:
                request.scope["user_slug"] = visit.user.slug
            return handler(visit)

        if signs_in:  # of their own threads, as in oauth.py
            limiter: anyio.CapacityLimiter = request.app.state.sign_ins
            return await anyio.to_thread.run_sync(work, limiter=limiter)
        return await run_in_threadpool(work)

    return answer


def register(visit: Visit) -> dict[str, str]:
    """Make the account that a form asks for. -> why not, by field"""
    policy, fields = visit.service.policy, visit.fields
    if not policy.registration:
        return {"username": "Registration is closed on this service."}
    most = policy.registrations_an_hour
    if not visit.service.galleries.within_limit("accounts", visit.address, most):
        return {"username": "Too many accounts from this address; try again in an hour."}
    name, email = fields.get("username", ""), fields.get("email", "")
    passwords = (fields.get("password1", ""), fields.get("password2", ""))
    return visit.service.accounts.register(name, email, passwords, policy.registration_quota)


def start_session(visit: Visit, response: Response, user: User) -> None:
    """Sign a browser in."""
    set_session(visit, response, visit.service.sessions.open(user))


def set_session(visit: Visit, response: Response, secret: str) -> None:
    """Hand a session's secret to the browser."""
    secure = visit.wire.base.startswith("https:")
    name = session_cookie(visit.request)
    response.set_cookie(name, secret, SESSION_SECONDS, secure=secure, httponly=True, samesite="lax")


def end_session(visit: Visit, response: Response) -> None:
    """Sign a browser out, here and there."""
    name = session_cookie(visit.request)
    if secret := visit.request.cookies.get(name):
        visit.service.sessions.end(secret)
    response.delete_cookie(name, httponly=True, samesite="lax")
