"""`/oauth/token`: tokens for passwords and for refresh tokens (RFC 6749)."""

import anyio
import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from minus_server import parse
from minus_server.accounts import Accounts, Grant
from minus_server.endpoints import json_response
from minus_server.errors import GrantRefused
from minus_server.service import Service
from minus_server.web import address, slowed
from minus_server.wire import JSON

MAX_BODY = 512 * 1024  # bytes of a token request
AT_ONCE = 4  # sign-ins: the hash of a password takes 64 MiB while it runs


async def token(request: Request) -> Response:
    """Answer a token request: by POST, for old clients by GET too."""
    service: Service = request.app.state.service
    if request.method != "POST" and not service.policy.old_clients:
        raise HTTPException(405, "Tokens are given for POST", {"Allow": "POST"})
    fields = await parse.parameters(request, MAX_BODY)
    if fields.get("grant_type") == "password":
        await slowed(request, fields.get("username", ""))
    # of their own threads: a flood of sign-ins must not take everybody else's
    limiter: anyio.CapacityLimiter = request.app.state.sign_ins
    grant = await anyio.to_thread.run_sync(_grant, request, fields, limiter=limiter)
    return json_response(_answer(grant))


def _grant(request: Request, fields: parse.Parameters) -> Grant:
    accounts: Accounts = request.app.state.service.accounts
    credentials = parse.client_credentials(request, fields)
    scope = fields.get("scope", "")

    def need(name: str) -> str:
        if name not in fields:
            raise GrantRefused("invalid_request", f"The field {name} is missing.")
        return fields[name]

    match need("grant_type"):
        case "password":
            who = need("username"), need("password")
            return accounts.sign_in(*credentials, *who, scope, address(request))
        case "refresh_token":
            return accounts.refresh(*credentials, need("refresh_token"), scope)
        case "client_credentials":
            return accounts.sign_in_owner(*credentials, scope)
        case _:
            raise GrantRefused(
                "unsupported_grant_type", "The grants are password and refresh_token."
            )


def _answer(grant: Grant) -> JSON:
    """Both spellings of the lifetime: the reference's, and the one that clients read."""
    return {
        "access_token": grant.access_token,
        "token_type": "bearer",
        "expires_in": grant.expires_in,
        "expire_in": grant.expires_in,
        "refresh_token": grant.refresh_token,
        "scope": grant.scope,
    }
