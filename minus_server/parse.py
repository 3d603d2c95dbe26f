"""From a request to checked values: parameters, token, client credentials, the parts of an upload.

Programs of the time sent a parameter in the query, as a form, as multipart or as JSON, and the
token in any of four places; all of that is settled here and nowhere else.
"""

import base64
import binascii
import json
import time
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, unquote_plus

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from minus_server import multipart, names
from minus_server.errors import BadRequest, NotSignedIn, TimedOut, TooLarge
from minus_server.repeats import Once

MAX_FORM = 2 * 1024 * 1024  # bytes of a body that is no upload
_SMALL = 64 * 1024  # bytes of a body that is read without a thread of its own
MAX_FIELDS_SIZE = 1024 * 1024  # bytes of all fields beside an upload
MAX_FIELDS = 1_000
STALL_SECONDS = 60  # without a byte of the body
FORM_SECONDS = 60  # for all of a body that is no upload
GRACE_SECONDS = 60  # of waiting, before an average is asked for
LEAST_RATE = 1024  # bytes a second
_TOKENS = frozenset({"access_token", "bearer_token"})
_SECRETS = frozenset(
    {"client_secret", "old", "password", "password1", "password2", "refresh_token"}
)

Parameters = dict[str, str]


async def body(request: Request, rate: int = LEAST_RATE) -> AsyncIterator[bytes]:
    """The body's blocks, whole: a body shorter than its Content-Length raises ClientDisconnect.

    rate   bytes a second that must come on average, after a while. Raises TimedOut.
    """
    expected = _length(request)
    seen, waited = 0, 0.0  # what we do with the blocks is no waiting
    blocks = request.stream()
    while True:
        began = time.monotonic()
        try:
            with anyio.fail_after(STALL_SECONDS):
                block = await anext(blocks)
        except StopAsyncIteration:
            break
        except TimeoutError:
            raise TimedOut(f"No byte came for {STALL_SECONDS} seconds.") from None
        seen += len(block)
        waited += time.monotonic() - began
        if seen < (waited - GRACE_SECONDS) * rate:
            raise TimedOut(f"Less than {rate} bytes a second came.")
        if block:
            yield block
    if expected is not None and seen < expected:
        raise ClientDisconnect


def _length(request: Request) -> int | None:
    declared = request.headers.get("content-length")
    is_number = declared and declared.isascii() and declared.isdigit()
    return names.length(declared) if declared and is_number else None


def content_length(request: Request) -> int:
    """The declared length of the body in bytes, 0 where it is not declared. Raises TooLarge"""
    return _length(request) or 0


def once(request: Request, who: str, where: str = "") -> Once | None:
    """What the request's Idempotency-Key says, if it has one.

    who     whose key it is
    where   what the request goes to, if its path does not tell
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    return Once(names.idempotency_key(key), who, f"{request.method} {request.url.path} {where}")


def query(request: Request) -> Parameters:
    """The parameters of the query; of a repeated one the last counts.

    Raises NotSignedIn for a token, BadRequest for another secret, where old clients are not served.
    """
    found = _pairs(request.url.query)
    if not request.app.state.service.policy.old_clients:
        if _TOKENS & found.keys():
            raise NotSignedIn("The token belongs into the header Authorization, not the address.")
        if _SECRETS & found.keys():
            raise BadRequest("Passwords and secrets belong into the body, not into the address.")
    return found


def _pairs(text: str) -> Parameters:
    """Pairs of a query or a form, percent-encoded from UTF-8, else from Latin-1."""
    for encoding in ("utf-8", "latin-1"):
        try:
            return dict(
                parse_qsl(
                    text,
                    keep_blank_values=True,
                    max_num_fields=MAX_FIELDS,
                    encoding=encoding,
                    errors="strict",
                )
            )
        except UnicodeDecodeError:
            continue
        except ValueError:
            break
    raise BadRequest(f"The form has more than {MAX_FIELDS} fields.")


async def parameters(request: Request, most: int = MAX_FORM) -> Parameters:
    """The parameters of the query and of the body, which wins; of `most` bytes at the most."""
    found = query(request)
    if request.method in ("GET", "HEAD"):
        return found
    data = bytearray()
    try:
        with anyio.fail_after(FORM_SECONDS):
            async for block in body(request):
                data += block
                if len(data) > most:
                    raise TooLarge(f"The body is larger than {most} bytes.")
    except TimeoutError:
        raise TimedOut(f"The form took longer than {FORM_SECONDS} seconds.") from None
    kind = request.headers.get("content-type", "")
    if len(data) <= _SMALL:
        return found | _fields(kind, bytes(data))
    return found | await run_in_threadpool(_fields, kind, bytes(data))


def _fields(content_type: str, data: bytes) -> Parameters:
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or (not kind and data.lstrip()[:1] == b"{"):
        return _json(data)
    if kind == "multipart/form-data":
        return _form(content_type, data)
    return _pairs(data.decode("utf-8", "replace").strip("\r\n"))


def _json(data: bytes) -> Parameters:
    """A flat JSON object; a list in it stays JSON, for the field's own parser."""
    if not data.strip():
        return {}
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(found, dict):
        raise BadRequest("The body is JSON, but not an object.")
    fields = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in found.items()
        if value is not None
    }
    try:
        "".join(fields.values()).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        raise BadRequest("A text of the body is not Unicode.") from None
    return fields


def _form(content_type: str, data: bytes) -> Parameters:
    parser = multipart.Parser(boundary(content_type))
    fields: dict[str, bytes] = {}
    name = ""
    for event in (*parser.feed(data), *parser.close()):
        if isinstance(event, multipart.Part):
            name = event.name
            fields[name] = b""
        else:
            fields[name] += event
    return {key: value.decode("utf-8", "replace") for key, value in fields.items()}


def boundary(content_type: str) -> bytes:
    """The boundary of a multipart body. Raises BadRequest when there is none."""
    if (found := multipart.boundary_of(content_type)) is None:
        raise BadRequest("The body is no multipart form with a boundary.")
    return found


def token(request: Request, fields: Parameters) -> str | None:
    """The access token, from the header, else from the query or the form; None without one."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() in ("bearer", "oauth") and value.strip():
        return value.strip()
    return fields.get("bearer_token") or fields.get("access_token")


def need_token(request: Request, fields: Parameters) -> str:
    """The access token. Raises NotSignedIn without one."""
    if (found := token(request, fields)) is None:
        raise NotSignedIn("This needs an access token.")
    return found


def tus_number(request: Request, name: str) -> int | None:
    """A length or an offset in a header of tus, None where it is not told."""
    told = request.headers.get(name)
    return None if told is None else names.length(told.strip())


def prefers_representation(request: Request) -> bool:
    """Tell whether the object shall come with the answer (RFC 7240)."""
    preferences = request.headers.get("prefer", "").lower().replace(" ", "").split(",")
    return "return=representation" in preferences


def client_credentials(request: Request, fields: Parameters) -> tuple[str, str]:
    """API key and secret, from the Basic header or the parameters; empty where absent."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            text = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            return "", ""
        key, _, secret = text.partition(":")
        return unquote_plus(key), unquote_plus(secret)
    return fields.get("client_id", ""), fields.get("client_secret", "")
