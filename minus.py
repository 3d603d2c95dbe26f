#!/usr/bin/env python3
"""Minus, a file sharing service: its client as a library, a shell and a command line.

    >>> import minus
    >>> api = minus.connect()                       # the service on this machine
    >>> user = api.activeuser()
    >>> folder = user.find("Stuff") or user.new_folder("Stuff")
    >>> file = folder.new("hello.txt", "Hello")
    >>> print(file.link, file.data())

`minus.connect` reads options, environment and config file; `MinusConnection(key, secret)` and
`authenticate(username, password)` sign in by hand, as in 2012.

| endpoint (below /api/v2/)            | method                                             |
| ------------------------------------ | -------------------------------------------------- |
| /oauth/token                         | MinusConnection.authenticate, refresh              |
| activeuser                           | MinusConnection.activeuser, MinusUser.change       |
| users/SLUG                           | MinusConnection.user                               |
| users/SLUG/folders                   | MinusUser.folders, find, glob, new_folder          |
| users/SLUG/followers, following      | MinusUser.followers, following, follow, unfollow   |
| activeuser/messages[/SLUG]           | MinusUser.messages, send_message                   |
| activeuser/feed, mine, history       | MinusUser.feed, mine, history                      |
| activeuser/favorited[/ID]            | MinusUser.favorites, MinusFolder.star, unstar      |
| folders/ID                           | MinusConnection.folder, MinusFolder.rename, ...    |
| folders/ID/files                     | MinusFolder.files, find, glob, new, upload         |
| files/ID                             | MinusConnection.file, MinusFile.change, delete     |
| url_rawfile                          | MinusFile.file, data, save                         |
"""

from __future__ import annotations

import argparse
import cmd
import code
import configparser
import contextlib
import errno
import getpass
import glob
import hashlib
import importlib.util
import io
import json
import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, TypeVar, cast, overload
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import requests
from requests import Response
from requests.adapters import HTTPAdapter, Retry

__all__ = [
    "MinusAPIError",
    "MinusAuthError",
    "MinusConfigError",
    "MinusConnection",
    "MinusFile",
    "MinusFolder",
    "MinusIntegrityError",
    "MinusMessage",
    "MinusNotFound",
    "MinusQuotaError",
    "MinusTemporaryError",
    "MinusUser",
    "PagedList",
    "connect",
    "main",
]
__version__ = "2.0.0"

# --- constants ---

DEFAULT_SCOPE = "read_public read_all upload_new modify_all modify_user"
CONNECT_SECONDS = 10
READ_SECONDS = 60  # without a byte
REFRESH_SECONDS = 30  # before its end an access token is renewed
MAX_WAIT = 60  # seconds that a `Retry-After` may ask for
MAX_REDIRECTS = 5
MAX_JSON = 8 << 20  # bytes of one answer of the API
MAX_LIST = 10**7  # items of one list
BLOCK = 1 << 20  # bytes read from the network at once
PUT_BLOCK = 256 << 10  # bytes written to the network at once

# Exit statuses of the command line; README.md has the table.
EXIT_ERROR, EXIT_USAGE, EXIT_NO_FOLDER, EXIT_NO_FILE, EXIT_TEMPORARY = 1, 2, 3, 4, 5
EXIT_AUTH, EXIT_FATAL, EXIT_CONFLICT, EXIT_INTEGRITY, EXIT_PARTIAL = 6, 7, 8, 10, 11

Progress = Callable[[int, "int | None"], None]
JSON = dict[str, Any]
StrPath = str | os.PathLike[str]
T = TypeVar("T")

# --- errors ---


class MinusAPIError(Exception):
    """The service refused a request, or gave no usable answer.

    status   HTTP status; None when no answer arrived
    method   "GET", "POST", "PUT" or "DELETE"
    path     of the URL, without the query (a token may be there); of a whole URL no more is kept
    error    the service's word for it ("invalid_grant"); "unreachable" where nobody listens
    """

    def __init__(
        self, why: str, status: int | None = None, method: str = "", path: str = "", error: str = ""
    ) -> None:
        super().__init__(why)
        self.status = status
        self.method = method
        self.path = urlsplit(path).path
        self.error = error


class MinusAuthError(MinusAPIError):
    """Not signed in, or not allowed: other credentials would help."""


class MinusNotFound(MinusAPIError):
    """There is no such thing, or not for this user."""


class MinusQuotaError(MinusAPIError):
    """There is no room left: for the account, or on the service's disk."""


class MinusTemporaryError(MinusAPIError):
    """The service cannot be reached or is busy: the same request may succeed later."""


class MinusIntegrityError(MinusAPIError):
    """The bytes that came are not those that the service has."""


class MinusConfigError(Exception):
    """The configuration names no usable service or account."""


_KINDS: dict[int, type[MinusAPIError]] = {
    401: MinusAuthError,
    403: MinusAuthError,
    404: MinusNotFound,
    408: MinusTemporaryError,
    413: MinusQuotaError,
    429: MinusTemporaryError,
    507: MinusQuotaError,
}
_AUTH_WORDS = ("invalid_grant", "invalid_client", "invalid_token")


# --- connection ---


class _Retry(Retry):
    """urllib3's own, but no `Retry-After` holds us up for hours."""

    def get_retry_after(self, response: Any) -> float | None:
        asked = super().get_retry_after(response)
        return None if asked is None else min(asked, MAX_WAIT)


_RETRY = _Retry(
    total=3,
    redirect=0,
    backoff_factor=0.2,
    status_forcelist=(429, 502, 503, 504),
    allowed_methods=("GET", "HEAD", "PUT", "DELETE"),
    raise_on_status=False,
)


def _origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what a token may be sent to."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


def _joined(base: str, link: str, method: str = "", path: str = "") -> str:
    """The address that a link of the service leads to. Raises MinusAPIError where it is none."""
    with contextlib.suppress(ValueError):
        found = urljoin(base, link)
        if _origin(found)[0] in ("http", "https"):
            return found
    raise MinusAPIError("the service gave a link that is no web address", None, method, path)


class _Session(requests.Session):
    """A session that leaves redirects alone: even unfollowed, requests reads and parses them."""

    def get_redirect_target(self, resp: Response) -> str | None:
        return None


def _service_url(url: str) -> str:
    """The service's address with one slash at its end. Raises MinusConfigError when it is none."""
    text = url.strip()
    try:
        here = re.match(r"(127\.|localhost\b|\[::1\])", text)
        parts = urlsplit(text if "://" in text else f"http{'' if here else 's'}://{text}")
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable:
        raise MinusConfigError(f"{url!r} is no address of a service")
    path = parts.path.rstrip("/").removesuffix("/api/v2").removesuffix("/api").rstrip("/")
    place = parts.netloc.rpartition("@")[2]  # a password in it would be shown with it
    return urlunsplit((parts.scheme, place, f"{path}/", "", ""))


_STATE = ("access_token", "refresh_token", "scope", "expires")


class MinusConnection:
    """A connection to one service: signs in, sends requests, keeps the tokens fresh.

    Raises MinusConfigError when neither `url`, $MINUS_URL nor the config file names a service.
    State: `access_token`, `refresh_token`, `scope`, `expires` (seconds since 1970, or None).
    """

    def __init__(
        self,
        api_key: str,
        api_secret: str,
        debug: bool = False,
        force_https: bool = True,
        url: str | None = None,
    ) -> None:
        found = url or os.environ.get("MINUS_URL") or read_config().get("url")
        if not found:
            why = "no service is named: by url=, MINUS_URL or the config file; or use connect()"
            raise MinusConfigError(why)
        self.url = _service_url(found)
        self.api_key = api_key
        self.debug = debug
        self.force_https = force_https and self.url.startswith("https:")
        self.access_token: str | None = None
        self.refresh_token: str | None = None
        self.scope: str | None = None
        self.expires: float | None = None
        self._secret = api_secret
        self._tokens: _TokenFile | None = None
        self.restart: Callable[[], None] | None = None  # where the service is ours to start
        self._sign_in: Callable[[], None] | None = None  # when refreshing does not help
        self._session = _Session()
        self._session.stream = True
        self._session.auth = lambda request: request  # no password out of ~/.netrc
        # a proxy has no business between us and our own machine
        self._session.trust_env = _origin(self.url)[1] not in ("127.0.0.1", "localhost", "::1")
        self._session.headers["User-Agent"] = f"minus/{__version__}"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=_RETRY))

    def __repr__(self) -> str:
        return f"<MinusConnection {self.url}>"

    def authenticate(self, username: str, password: str, scope: str = DEFAULT_SCOPE) -> None:
        """Sign in with a password. Raises MinusAuthError when it is wrong."""
        self._grant("password", scope, username=username, password=password)

    def authenticate_owner(self, scope: str = DEFAULT_SCOPE) -> None:
        """Sign in as the account that the API key itself belongs to."""
        self._grant("client_credentials", scope)

    def refresh(self, scope: str | None = None) -> None:
        """Trade the refresh token for new tokens."""
        token = self.refresh_token or ""
        self._grant("refresh_token", scope or self.scope or DEFAULT_SCOPE, refresh_token=token)

    def activeuser(self) -> MinusUser:
        """The signed-in user, private fields included."""
        return MinusUser(self, "activeuser")

    def user(self, slug: str) -> MinusUser:
        """A user by username. Raises MinusNotFound."""
        return MinusUser(self, f"users/{_quoted(slug.lower())}")

    def folder(self, folder_id: str) -> MinusFolder:
        """A folder by id. Raises MinusNotFound."""
        return MinusFolder(self, f"folders/{_quoted(folder_id)}")

    def file(self, file_id: str) -> MinusFile:
        """A file by id. Raises MinusNotFound."""
        return MinusFile(self, f"files/{_quoted(file_id)}")

    def find(self, name: str) -> MinusFolder | None:
        """The signed-in user's first folder of this name."""
        return self.activeuser().find(name)

    def list(self, url: str) -> PagedList[JSON]:
        """Any list of the API, its rows as they come."""
        return PagedList(self, url, dict)

    def request(
        self,
        url: str,
        data: Mapping[str, Any] | bytes | str | None = None,
        method: str | None = None,
        content_type: str | None = None,
    ) -> JSON:
        """Send one request with the token. -> the JSON object of the answer, {} for none

        url    absolute, or a path from the service's root, or relative to /api/v2/
        data   a mapping is sent as a form; bytes and text as they are, as `content_type`
        """
        headers = {"Content-Type": content_type} if content_type else {}
        method = method or ("GET" if data is None else "POST")
        return self._json(self._send(method, url, data, headers))

    def upload(self, url: str, content_type: str, body: Any) -> JSON:
        """POST a body: bytes, or an iterable of bytes. -> the JSON object of the answer"""
        return self.request(url, body, "POST", content_type)

    def open(self, url: str) -> Response:
        """GET bytes, unread and not decoded; close what comes."""
        return self._send("GET", url, None, {"Accept-Encoding": "identity"})

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    def _absolute(self, url: str) -> str:
        """Resolve a link of the service or of ours against the API's address."""
        link = _joined(f"{self.url}api/v2/", url)
        if self.force_https and link.startswith("http:"):
            return f"https:{link[5:]}"
        return link

    def _send(
        self, method: str, url: str, body: Any, headers: Mapping[str, str], sign: bool = True
    ) -> Response:
        """Send a request and see that it succeeded. -> the response, its body unread

        The token goes to the service's own origin alone. An expired one is renewed, once, and
        the request repeated where its body can be sent again.
        """
        link = self._absolute(url)
        sign = sign and _origin(link) == _origin(self.url)
        if sign and self.expires is not None and time.time() > self.expires - REFRESH_SECONDS:
            self._renew()
        token = self.access_token if sign else None
        try:
            response = self._follow(method, link, token, data=body, headers=headers)
        except MinusTemporaryError as error:
            if self.restart is None or error.error != "unreachable" or not _repeatable(body):
                raise
            self.restart()
            link, token = self._absolute(url), self.access_token
            response = self._follow(method, link, token, data=body, headers=headers)
        renewable = token and (self.refresh_token or self._sign_in)
        if response.status_code == 401 and renewable and _repeatable(body):
            response.close()
            self._renew()
            response = self._follow(method, link, self.access_token, data=body, headers=headers)
        if 200 <= response.status_code < 300:
            return response
        retried = getattr(response.raw, "retries", None)
        if method == "DELETE" and response.status_code == 404 and retried and retried.history:
            return response  # an earlier try did it, and its answer was lost
        raise self._failure(response)

    def _follow(self, method: str, link: str, token: str | None, **options: Any) -> Response:
        """Send, and follow redirects of a GET by hand: no token leaves its origin, nor https."""
        for _ in range(MAX_REDIRECTS + 1):
            response = self._exchange(method, link, token, **options)
            target = response.headers.get("Location")
            if method != "GET" or not target or not response.is_redirect:
                return response
            response.close()
            onward = _joined(link, target, method, link)
            if urlsplit(onward).scheme not in ("https", urlsplit(link).scheme):
                raise MinusAPIError("refused a redirect away from https", None, method, link)
            token = token if _origin(onward) == _origin(link) else None
            link = onward
        raise MinusAPIError("too many redirects", None, method, link)

    def _exchange(
        self, method: str, link: str, token: str | None, data: Any, headers: Mapping[str, str]
    ) -> Response:
        """One request of `requests`, whose exceptions end here."""
        signed = {**headers, "Authorization": f"Bearer {token}"} if token else headers
        limits = (CONNECT_SECONDS, READ_SECONDS)
        try:
            response = self._session.request(
                method, link, data=data, headers=signed, timeout=limits, allow_redirects=False
            )
        except requests.Timeout:
            raise MinusTemporaryError("the service does not answer", None, method, link) from None
        except requests.exceptions.SSLError as error:
            raise MinusAPIError(f"TLS: {_reason(error)}", None, method, link) from None
        except requests.RequestException as error:
            if isinstance(data, _Form) and data.failure:
                raise data.failure from None
            why = f"cannot reach {urlsplit(link).netloc}: {_reason(error)}"
            refused = "unreachable" if "Failed to establish a new" in str(error) else ""
            raise MinusTemporaryError(why, None, method, link, refused) from None
        finally:
            self._session.cookies.clear()
        if self.debug:
            _trace(response)
        return response

    def _failure(self, response: Response) -> MinusAPIError:
        status, body = response.status_code, {}
        with contextlib.suppress(MinusAPIError):
            body = self._json(response)
        error = str(body.get("error") or "")
        why = str(body.get("error_description") or error or response.reason or "no reason given")
        why = why if len(why) < 500 else f"{why[:500]}..."
        kind = _KINDS.get(status, MinusTemporaryError if status >= 500 else MinusAPIError)
        if error in _AUTH_WORDS:
            kind = MinusAuthError
        return kind(f"{why} ({status})", status, response.request.method or "", response.url, error)

    def _json(self, response: Response) -> JSON:
        """Read an answer's JSON object, {} when it has no body. Raises MinusAPIError for others."""
        method, link = response.request.method or "", response.url
        data = bytearray()
        try:
            with response:
                for block in response.iter_content(64 << 10):
                    data += block
                    if len(data) > MAX_JSON:
                        raise MinusAPIError("the answer is too long", None, method, link)
            found = json.loads(data) if data.strip() else {}
        except requests.RequestException as error:
            why = f"the answer broke off: {_reason(error)}"
            raise MinusTemporaryError(why, None, method, link) from None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            status = response.status_code
            raise MinusAPIError("the answer is no JSON object", status, method, link)
        return found

    def _grant(self, kind: str, scope: str, **fields: str) -> None:
        client = {"client_id": self.api_key, "client_secret": self._secret, "scope": scope}
        form = {"grant_type": kind, **client, **fields}
        answer = self._json(self._send("POST", f"{self.url}oauth/token", form, {}, sign=False))
        token = answer.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
            raise MinusAPIError("the service gave no token", None, "POST", "/oauth/token")
        lifetime = answer.get("expires_in", answer.get("expire_in"))
        self.access_token, self.scope = token, scope
        self.refresh_token = answer.get("refresh_token") or self.refresh_token
        self.expires = time.time() + lifetime if isinstance(lifetime, int | float) else None
        if self._tokens:
            self._tokens.save({name: getattr(self, name) for name in _STATE})

    def keep_tokens(self, tokens: _TokenFile, sign_in: Callable[[], None], good: bool) -> None:
        """Use an account's kept tokens, if they are good, else sign in; keep what comes later."""
        self._tokens, self._sign_in = tokens, sign_in
        if good:
            self._adopt(tokens.load())
        else:
            sign_in()

    def _adopt(self, kept: Mapping[str, Any]) -> None:
        for name in _STATE:
            setattr(self, name, kept.get(name))
        if not isinstance(self.expires, int | float):
            self.expires = None

    def _renew(self) -> None:
        """Get a token that is good: another process's, by refreshing, or by signing in anew."""
        try:
            if self._refreshed():
                return
        except MinusAuthError:
            if self._sign_in is None:
                raise
        if self._sign_in is not None:
            self._sign_in()

    def _refreshed(self) -> bool:
        with self._tokens.locked() if self._tokens else contextlib.nullcontext():
            kept = self._tokens.load() if self._tokens else {}
            if kept.get("access_token") not in (None, self.access_token):
                self._adopt(kept)
                if (self.expires or 0) > time.time() + REFRESH_SECONDS:
                    return True
            if self.refresh_token:
                self.refresh()
            return bool(self.refresh_token)


def _repeatable(body: object) -> bool:
    if isinstance(body, _Form):
        return body.start is not None
    return body is None or isinstance(body, bytes | str | Mapping)


def _reason(error: BaseException) -> str:
    """The innermost words of an exception of requests, without addresses and object names."""
    for inner in (*error.args[:1], getattr(error, "reason", None)):
        if isinstance(inner, BaseException):
            return _reason(inner)
    text = str(error.args[-1] if error.args else error)
    text = re.sub(r"^.*(object at 0x[0-9a-f]+>?[,:]|Connection\(.*?\):) ?", "", text)
    return text or type(error).__name__


_SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization", "set-cookie")


def _trace(response: Response) -> None:
    """Show one exchange on standard error: no query, no secret header, no body."""
    request, took = response.request, response.elapsed.total_seconds()
    asked = f"{request.method} {response.url.partition('?')[0]}"
    answered = f"{response.status_code} {response.reason} ({took * 1000:.0f} ms)"
    for sign, first, headers in ((">", asked, request.headers), ("<", answered, response.headers)):
        print(printable(f"{sign} {first}"), file=sys.stderr)
        for name, text in headers.items():
            shown = "***" if name.lower() in _SECRET_HEADERS else text
            print(printable(f"{sign} {name}: {shown}"), file=sys.stderr)


# --- paging ---


class PagedList(Sequence[T]):
    """A list of the service, fetched page by page as far as it is looked at.

    Making one sends nothing. `len` is the service's total. A listing that breaks off or leads
    in a circle raises MinusAPIError: to stop quietly would lose files.
    """

    def __init__(self, api: MinusConnection, url: str, make: Callable[[JSON], T]) -> None:
        self._api = api
        self._next: str | None = url
        self._make = make
        self._items: list[T] = []
        self._total: int | None = None
        self._seen: set[str] = set()

    def __repr__(self) -> str:
        return f"<PagedList, {len(self._items)} of {self._total} fetched>"

    def __len__(self) -> int:
        while self._total is None and self._next is not None:
            self.extend()
        return len(self._items) if self._total is None else self._total

    def __iter__(self) -> Iterator[T]:
        at = 0
        while self._reach(at):
            yield self._items[at]
            at += 1

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        if isinstance(at, slice):
            wanted = range(len(self))[at]
            self._reach(max(wanted, default=-1))
            return [self._items[index] for index in wanted]
        index = at + len(self) if at < 0 else at
        if index < 0 or not self._reach(index):
            raise IndexError("the list has no such item")
        return self._items[index]

    def extend(self) -> int:
        """Fetch one more page. -> how many items it had, 0 at the end of the list"""
        if self._next is None:
            return 0
        link = self._api._absolute(self._next)
        if link in self._seen:
            raise MinusAPIError("the list leads in a circle", None, "GET", link)
        answer = self._api.request(link)
        rows, onward = answer.get("results"), answer.get("next")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise MinusAPIError("the list has no results", None, "GET", link)
        total = total if isinstance(total := answer.get("total"), int) else self._total
        follows = urljoin(link, onward) if isinstance(onward, str) and onward else None
        have = len(self._items) + len(rows)
        limit = have if total is None else total
        too_few = have < limit if follows is None else not rows
        if too_few or have > limit or not 0 <= limit <= MAX_LIST:
            why = f"the list is broken: {have} of {total} items came"
            raise MinusAPIError(why, None, "GET", link)
        self._seen.add(link)
        self._items += [self._make(row) for row in rows]
        self._total, self._next = total, follows
        return len(rows)

    def _reach(self, at: int) -> bool:
        """Fetch until the item is there. -> False when the list ends before it"""
        while len(self._items) <= at:
            if not self.extend():
                return False
        return True


# --- objects ---


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _int(value: object) -> int:
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        return int(cast(Any, value))
    return 0


def _date(value: object) -> datetime | None:
    """A date of the service, aware, in UTC; None where it gave none that can be read."""
    try:
        found = datetime.fromisoformat(str(value).strip().replace("Z", "+00:00"))
        found = found if found.tzinfo else found.replace(tzinfo=timezone.utc)
        return found.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


_CONVERT: dict[str, Callable[[object], Any]] = {
    "text": _text,
    "number": _int,
    "flag": lambda value: str(value).strip().lower() in ("true", "1", "yes"),
    "date": _date,
    "strings": lambda value: list(map(str, value)) if isinstance(value, list) else [],
    "same": lambda value: value,
}


def _fields(**kinds: str) -> dict[str, Callable[[object], Any]]:
    """A table of fields from words: `text="id name"` lists the fields of one kind."""
    return {name: _CONVERT[kind] for kind, names in kinds.items() for name in names.split()}


def _last(link: object) -> str:
    """The last word of a link's path: an id or a slug."""
    return urlsplit(_text(link)).path.rstrip("/").rpartition("/")[2]


def _quoted(text: str) -> str:
    """An id or a slug as a part of a path. Raises MinusNotFound for what would change the path."""
    if text in ("", ".", ".."):
        raise MinusNotFound(f"nothing is called {text!r}", 404)
    return quote(text, safe="")


def _slug(user: MinusUser | str) -> str:
    return _quoted((user if isinstance(user, str) else user.slug).lower())


_P = TypeVar("_P", bound="_Proxy")


class _Proxy:
    """An object of the service. Reading an attribute never sends a request.

    Made from the row that a list carried, or from a URL, which is then fetched. Each field of
    `_wire` is an attribute twice: `_name` as it came and `name` converted, unless a method has
    that name.
    """

    _wire: ClassVar[dict[str, Callable[[object], Any]]]
    id: str
    url: str
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, api: MinusConnection, url: str, params: JSON | None = None) -> None:
        self._api = api
        self._load(api.request(url) if params is None else params)
        self.url = self.url or url

    def _load(self, row: Mapping[str, Any]) -> None:
        """Take the fields of a row; one that it leaves out stays as it is."""
        for name, convert in self._wire.items():
            if name in row or not hasattr(self, f"_{name}"):
                setattr(self, f"_{name}", row.get(name))
                if not hasattr(type(self), name):
                    setattr(self, name, convert(row.get(name)))

    def _list(self, kind: type[_P], path: str) -> PagedList[_P]:
        return PagedList(self._api, path, partial(kind, self._api, ""))

    def _put(self, path: str, **changes: Any) -> None:
        """Change it on the service, then here; what is None stays."""
        form = {name: _form_value(value) for name, value in changes.items() if value is not None}
        self._load(self._api.request(path, form, "PUT") or changes)


def _form_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, list) else str(value)


class _Identified(_Proxy):
    """A folder or a file: what has an id, a `_kind` in paths and a `_letter` in short links."""

    def __init__(self, api: MinusConnection, url: str, params: JSON | None = None) -> None:
        super().__init__(api, url, params)
        self.id = self.id or _last(self.url)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.name!r}>"

    @property
    def _path(self) -> str:
        return f"{self._kind}/{_quoted(self.id)}"

    @property
    def link(self) -> str:
        """The short link, for people."""
        return f"{self._api.url}{self._letter}{_quoted(self.id)}"

    def delete(self) -> None:
        """Delete it on the service, with everything in it."""
        self._api.request(self._path, method="DELETE")


class MinusUser(_Proxy):
    """A user. `email`, `storage_used` and `storage_quota` (bytes) are there for oneself only."""

    _wire = _fields(
        text="username display_name slug fb_profile_link fb_username twitter_screen_name email"
        " avatar url invite_url",
        number="visits karma shared storage_used storage_quota",
        strings="followers_slug_list following_slug_list",
        same="description folders followers following",
    )

    def __repr__(self) -> str:
        return f"<MinusUser {self.slug}>"

    @property
    def _path(self) -> str:
        return f"users/{_quoted(self.slug or _last(self.url))}"

    def folders(self) -> PagedList[MinusFolder]:
        """The user's folders: all of one's own, the public ones of others."""
        return self._list(MinusFolder, f"{self._path}/folders")

    def new_folder(self, name: str, public: bool = False) -> MinusFolder:
        """Make a folder; there may be another one of this name."""
        form = {"name": name, "is_public": _form_value(public)}
        return MinusFolder(self._api, "", self._api.request(f"{self._path}/folders", form))

    def find(self, name: str) -> MinusFolder | None:
        """The first folder of this name, None when there is none."""
        return next((folder for folder in self.folders() if folder.name == name), None)

    def glob(self, pattern: str) -> list[MinusFolder]:
        """The folders whose names match a pattern of the shell."""
        return [f for f in self.folders() if fnmatchcase(f.name, pattern)]

    def followers(self) -> PagedList[MinusUser]:
        """Who follows the user."""
        return self._list(MinusUser, f"{self._path}/followers")

    def following(self) -> PagedList[MinusUser]:
        """Whom the user follows."""
        return self._list(MinusUser, f"{self._path}/following")

    def follow(self, user: MinusUser | str) -> MinusUser:
        """Follow another user. -> that user"""
        row = self._api.request(f"{self._path}/following", {"slug": _slug(user)})
        return MinusUser(self._api, "", row)

    def unfollow(self, user: MinusUser | str) -> None:
        """Follow another user no more."""
        self._api.request(f"{self._path}/following/{_slug(user)}", method="DELETE")

    def change(self, **fields: str) -> MinusUser:
        """Change one's own display_name, description or email. -> self"""
        self._put("activeuser", **fields)
        return self

    def messages(self, user: MinusUser | str | None = None) -> PagedList[MinusMessage]:
        """One's messages, the latest first, or the thread with one user."""
        path = "activeuser/messages" + (f"/{_slug(user)}" if user else "")
        return self._list(MinusMessage, path)

    def send_message(self, user: MinusUser | str, body: str) -> MinusMessage:
        """Write to another user."""
        path = f"activeuser/messages/{_slug(user)}"
        return MinusMessage(self._api, path, self._api.request(path, {"body": body}))

    def feed(self) -> PagedList[MinusFolder]:
        """The public folders of those whom one follows."""
        return self._list(MinusFolder, "activeuser/feed")

    def mine(self) -> PagedList[MinusFolder]:
        """One's own folders, with the fields of the feeds."""
        return self._list(MinusFolder, "activeuser/mine")

    def favorites(self) -> PagedList[MinusFolder]:
        """The folders that one starred."""
        return self._list(MinusFolder, "activeuser/favorited")

    def history(self) -> PagedList[MinusFolder]:
        """The folders that one visited."""
        return self._list(MinusFolder, "activeuser/history")


class MinusMessage(_Proxy):
    """A message. `sender` and `target` are links to users."""

    _wire = _fields(text="body target sender thread url", flag="read", date="created")


class MinusFolder(_Identified):
    """A folder. Names are not unique, ids are. Feeds know some fields more and others not."""

    _kind = "folders"
    _letter = "m"
    _wire = _fields(
        text="id name creator url thumbnail_url display_name",
        number="view_count file_count last_updated_ago created_ago star_count flag_count score",
        flag="is_public featured active is_flagged is_starred is_reshared is_saved",
        date="date_last_updated last_updated created",
        strings="item_ordering",
        same="files",
    )

    @property
    def updated(self) -> datetime | None:
        """When the folder was last changed; older services know one field of it, feeds another."""
        found: datetime | None = self.date_last_updated or self.last_updated or self.created
        return found

    def files(self) -> PagedList[MinusFile]:
        """The files, in the folder's order."""
        return self._list(MinusFile, f"{self._path}/files")

    def find(self, name: str) -> MinusFile | None:
        """The first file of this name, None when there is none."""
        return next((file for file in self.files() if file.name == name), None)

    def glob(self, pattern: str) -> list[MinusFile]:
        """The files whose names match a pattern of the shell."""
        return [file for file in self.files() if fnmatchcase(file.name, pattern)]

    def new(
        self,
        filename: str,
        data: bytes | StrPath | IO[bytes],
        caption: str | None = None,
        mimetype: str | None = None,
        progress: Progress | None = None,
    ) -> MinusFile:
        """Make a file.

        data       bytes; text, stored as UTF-8; a path; or a stream of bytes, of any length
        progress   called with the bytes sent and their number in all (None: unknown)

        Raises ValueError for a name that is no Unicode text, MinusIntegrityError where the
        service says that it got something else.
        """
        if isinstance(data, os.PathLike):
            with Path(data).open("rb") as source:
                return self.new(filename, source, caption, mimetype, progress)
        if isinstance(data, str | bytes):
            data = io.BytesIO(data.encode() if isinstance(data, str) else data)
        form = _Form(filename, data, caption or "", mimetype or "", progress)
        row = self._api.upload(f"{self._path}/files", form.content_type, form)
        made = MinusFile(self._api, "", row)
        if not made.id or made.filesize != form.sent:
            why = f"the service has {made.filesize} bytes of {form.sent} that were sent"
            raise MinusIntegrityError(why, None, "POST", self._path)
        return made

    def upload(self, path: StrPath, filename: str | None = None, **more: Any) -> MinusFile:
        """Store a local file, under its own name unless `filename` says otherwise.

        more   caption, mimetype, progress, as of `new`
        """
        return self.new(filename or Path(path).name, Path(path), **more)

    def rename(self, name: str) -> MinusFolder:
        """Rename on the service, then here. -> self"""
        self._put(self._path, name=name)
        return self

    def publish(self, public: bool = True) -> MinusFolder:
        """Let others see it, or not. -> self"""
        self._put(self._path, is_public=public)
        return self

    def reorder(self, files: Iterable[MinusFile | str]) -> MinusFolder:
        """Set the order of the files, given as objects or ids; the others follow. -> self"""
        ids = [file if isinstance(file, str) else file.id for file in files]
        self._put(self._path, item_ordering=ids)
        return self

    def star(self) -> None:
        """Put the folder among one's favourites."""
        self._api.request("activeuser/favorited", {"id": self.id})

    def unstar(self) -> None:
        """Take it from one's favourites."""
        self._api.request(f"activeuser/favorited/{_quoted(self.id)}", method="DELETE")


class MinusFile(_Identified):
    """A file. `sha256` is empty where the service does not tell it."""

    _kind = "files"
    _letter = "l"
    _wire = _fields(
        text="id name title caption mimetype folder url url_rawfile url_thumbnail"
        " url_thumbnail_medium sha256",
        number="width height filesize uploaded_ago",
        date="uploaded",
        same="url_preview",
    )

    def file(self) -> MinusStream:
        """The bytes as a stream, which closes itself in a `with` block."""
        return MinusStream(self._api.open(self.url_rawfile), self.filesize)

    def data(self) -> bytes:
        """All the bytes."""
        with self.file() as stream:
            return stream.read()

    def save(self, path: StrPath, progress: Progress | None = None, replace: bool = True) -> Path:
        """Write the bytes to a local file, whole or not at all. -> its path

        Length and SHA-256 are compared with the service's before the file gets its name.
        Raises MinusIntegrityError when they differ, FileExistsError when something has the
        name already and `replace` is false.
        """
        target = Path(path)
        with self.file() as stream, whole_file(target, replace=replace) as out:
            digest = hashlib.sha256()
            done = 0
            while block := stream.read(BLOCK):
                digest.update(block)
                out.write(block)
                done += len(block)
                if progress:
                    progress(done, stream.length)
            if self.sha256 and digest.hexdigest() != self.sha256.lower():
                raise MinusIntegrityError("the SHA-256 differs", None, "GET", self.url_rawfile)
        return target

    def change(
        self, caption: str | None = None, title: str | None = None, name: str | None = None
    ) -> MinusFile:
        """Change its texts; what is not given stays. -> self"""
        wire_name = None if name is None else _wire_name(name)
        self._put(self._path, caption=caption, title=title, name=wire_name)
        return self

    def rename(self, name: str) -> MinusFile:
        """Rename on the service, then here. -> self"""
        return self.change(name=name)


class MinusStream(io.RawIOBase):
    """The bytes of a file as they arrive.

    length   in bytes, None where the service does not tell it

    Reading raises MinusIntegrityError when fewer or more bytes come than that.
    """

    def __init__(self, response: requests.Response, expected: int) -> None:
        super().__init__()
        declared = response.headers.get("Content-Length", "")
        known = re.fullmatch(r"[0-9]{1,18}", declared)
        self.length = int(declared) if known else (expected or None)
        self._expected = expected or self.length
        self._response = response
        self._done = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Read up to `size` bytes, all that follow for -1; b"" at the end."""
        if self.closed:
            raise ValueError("the stream is closed")
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        try:
            block: bytes = self._response.raw.read(size)
        except Exception as error:  # noqa: BLE001  urllib3's and http.client's, of many roots
            why = f"the file broke off: {_reason(error)}"
            raise MinusTemporaryError(why, None, "GET", self._response.url) from None
        self._done += len(block)
        expected = self._expected
        over = expected is not None and self._done > expected
        if over or (not block and size and expected not in (None, self._done)):
            why = f"{self._done} bytes came instead of {expected}"
            raise MinusIntegrityError(why, None, "GET", self._response.url)
        return block

    def readinto(self, buffer: Any) -> int:
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._response.close()
        super().close()


def _wire_name(name: str) -> str:
    """A file's name as it goes to the service, which decodes a name that is all escapes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the name {name!r} is no Unicode text") from None
    escapes = re.fullmatch(r"(?:[A-Za-z0-9_.~!*'()-]|%[0-9A-Fa-f]{2})+", name)
    return quote(name, safe="") if "%" in name and escapes else name


class _Form:
    """A multipart form with one file, made while it is sent."""

    def __init__(
        self, name: str, source: IO[bytes], caption: str, mimetype: str, progress: Progress | None
    ) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._source = source
        self.start, self._size = _measure(source)
        self.sent = 0  # bytes of the file
        self.failure: OSError | None = None
        self._progress = progress
        name = _wire_name(name)
        part = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        kind = re.sub(r"[^\x21-\x7e]", "", mimetype) or "application/octet-stream"
        field = f"--{boundary}\r\nContent-Disposition: form-data; name="
        head = (
            f'{field}"filename"\r\n\r\n{name}\r\n'
            f'{field}"caption"\r\n\r\n{caption}\r\n'
            f'{field}"file"; filename="{part}"\r\nContent-Type: {kind}\r\n\r\n'
        )
        self._head, self._tail = head.encode(), f"\r\n--{boundary}--\r\n".encode()
        if self._size is not None:
            # requests takes it as the body's length; without it the body goes out once, in chunks
            self.len = len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        if self.start is not None:  # this may be the second time
            self._source.seek(self.start)
        yield self._head
        self.sent = 0
        while self._size is None or self.sent < self._size:
            block = self._read(PUT_BLOCK if self._size is None else self._size - self.sent)
            if not block:
                break
            yield block
            self.sent += len(block)
            if self._progress:
                self._progress(self.sent, self._size)
        yield self._tail

    def _read(self, left: int) -> bytes:
        """Read a block; a failure of ours is kept, for requests takes it for the network's."""
        try:
            block = self._source.read(min(PUT_BLOCK, left))
            if self._size is not None and not block:
                raise OSError("the file became shorter while it was sent")
        except OSError as error:
            self.failure = error
            raise
        return block


def _measure(source: IO[bytes]) -> tuple[int | None, int | None]:
    """Where a stream stands, and the bytes that follow; None for what it cannot tell."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        if isinstance(source, io.BytesIO) or stat.S_ISREG(os.fstat(source.fileno()).st_mode):
            start = source.tell()
            end = source.seek(0, os.SEEK_END)
            source.seek(start)
            return start, max(0, end - start)
    return None, None  # a pipe, or a device that has no end


# --- local files ---

_UNSHOWABLE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")  # Unicode's controls, formats, surrogates
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?")
_MAX_NAME = 255  # bytes of a local name
_ON_WINDOWS = os.name == "nt"


def printable(text: str) -> str:
    """Show control characters as escapes: no name may drive the terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _UNSHOWABLE else c
        for c in text
    )


def safe_name(name: str) -> str:
    """Make a local file's name of a service's: one component, that stays in its folder.

    What could lead elsewhere is percent-encoded: slashes of both kinds, control characters,
    `.` and `..`, on Windows also what Windows keeps for itself.
    """
    more = '<>:"|?*' if _ON_WINDOWS else ""
    unsafe = rf"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069/\\\ud800-\udfff{more}]"
    safe = re.sub(unsafe, lambda found: quote(found[0], safe="", errors="replace"), name)
    if safe in ("", ".", "..") or (_ON_WINDOWS and (safe[-1] in ". " or _RESERVED.fullmatch(safe))):
        safe = "".join(f"%{byte:02X}" for byte in safe.encode()) or "_"
    return _shortened(safe)


def _shortened(name: str, more: str = "") -> str:
    """The name with `more` before its ending, cut to what a file system takes."""
    ending = Path(name).suffix if len(Path(name).suffix.encode()) < 32 else ""
    stem = name[: len(name) - len(ending)]
    room = _MAX_NAME - len((more + ending).encode())
    return stem.encode()[:room].decode(errors="ignore") + more + ending


def _numbered(name: str, taken: Callable[[str], bool]) -> str:
    """The name itself, else the first of `a (2).txt`, `a (3).txt`, ... that is not taken."""
    number, candidate = 1, name
    while taken(candidate):
        number += 1
        candidate = _shortened(name, f" ({number})")
    return candidate


def _folded(name: str) -> str:
    """Names that are one file on some file systems: without case, composed."""
    return unicodedata.normalize("NFC", name).casefold()


@contextlib.contextmanager
def whole_file(target: Path, *, replace: bool = True, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Write a file whole or not at all: under another name beside it, renamed at the end.

    Raises FileExistsError when `replace` is false and something has the name by then.
    """
    part = target.with_name(f".minus-{secrets.token_hex(8)}.part")
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(target))
    try:
        out = open(part, "xb", opener=partial(os.open, mode=mode))  # noqa: SIM115
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    try:
        with out:
            yield out
        if replace:
            part.replace(target)
        else:
            _claim(part, target)
    finally:
        part.unlink(missing_ok=True)


def _claim(part: Path, target: Path) -> None:
    """Rename, but never over another file."""
    try:
        os.link(part, target)
    except OSError:  # it exists, or the file system has no links
        if os.path.lexists(target):
            raise FileExistsError(f"{target} exists") from None
        part.rename(target)


def private_file(path: Path, data: bytes) -> None:
    """Replace a file that only its owner may read, in a folder that only its owner may enter."""
    for folder in (path.parents[1], path.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with whole_file(path, mode=0o600) as out:
        out.write(data)


def _xdg(variable: str, fallback: str) -> Path:
    """A base folder of the user's, $XDG_... or its default."""
    return Path(os.environ.get(variable) or Path.home() / fallback)


def state_folder() -> Path:
    """Where tokens and the shell's history are kept."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "minus"


def data_folder() -> Path:
    """Where the embedded service keeps its files: $MINUS_DATA or below $XDG_DATA_HOME."""
    return Path(os.environ.get("MINUS_DATA") or _xdg("XDG_DATA_HOME", ".local/share") / "minus")


# --- which service, which account ---

_SETTINGS = ("url", "username", "password", "api_key", "api_secret")


def config_file() -> Path:
    """$MINUS_CONFIG, else ~/.minus.conf where there is one, else below $XDG_CONFIG_HOME."""
    if named := os.environ.get("MINUS_CONFIG"):
        return Path(os.path.expanduser(named))
    old = Path.home() / ".minus.conf"
    return old if old.exists() else _xdg("XDG_CONFIG_HOME", ".config") / "minus" / "minus.conf"


def read_config(path: StrPath | None = None) -> dict[str, str]:
    """The settings of the [api] section of a config file, {} where there is no file.

    Raises MinusConfigError where a named file is missing, is no config file, or holds a
    password that others can read.
    """
    named = path is not None or bool(os.environ.get("MINUS_CONFIG"))
    place = config_file() if path is None else Path(os.path.expanduser(path))
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(place.read_text(encoding="utf-8-sig"), str(place))
    except FileNotFoundError:
        if named:
            raise MinusConfigError(f"there is no config file {place}") from None
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        why = str(error).splitlines()[0]
        raise MinusConfigError(f"{place} is no config file: {why}") from None
    found = {name: parser.get("api", name, fallback="") for name in _SETTINGS}
    found = {name: text for name, text in found.items() if text}
    if "password" in found and not _ON_WINDOWS and place.stat().st_mode & 0o077:
        raise MinusConfigError(f"others can read the password in {place}: chmod 600 {place}")
    return found


class _TokenFile:
    """The tokens of one account at one service, kept between commands; never a password.

    A slow salted hash of the password stands with them, so that another password, right or
    wrong, is asked of the service and not answered from here.
    """

    def __init__(self, url: str, api_key: str, username: str) -> None:
        key = hashlib.sha256("\n".join((url, api_key, username.lower())).encode()).hexdigest()
        self._path = state_folder() / "tokens" / f"{key[:32]}.json"

    def load(self) -> JSON:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self._path.read_bytes())
            return found if isinstance(found, dict) else {}
        return {}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Refresh one at a time: what one process gets, the next one finds here."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(ImportError, OSError):  # no such locks, or no such folder
                import fcntl

                lock = stack.enter_context(self._path.with_suffix(".lock").open("a"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def save(self, state: JSON) -> None:
        """Keep tokens; where nothing can be kept, the next command signs in anew."""
        with contextlib.suppress(OSError):
            private_file(self._path, json.dumps({**self.load(), **state}).encode())

    def fits(self, password: str | None) -> bool:
        """Tell whether the kept tokens were given for this password; any, when none is given."""
        kept = self.load()
        if not kept.get("refresh_token"):
            return False
        return password is None or kept.get("check") == _slow_hash(password, str(kept.get("salt")))

    def remember(self, password: str) -> None:
        """Note which password the tokens were given for."""
        salt = secrets.token_hex(16)
        self.save({"salt": salt, "check": _slow_hash(password, salt)})


def _slow_hash(password: str, salt: str) -> str:
    data = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(data, salt=salt.encode(), n=1 << 14, r=8, p=1).hex()


def connect(
    url: str | None = None,
    *,
    config: StrPath | None = None,
    data: StrPath | None = None,
    debug: bool = False,
    ask: Callable[[str], str] | None = None,
    **account: str | None,
) -> MinusConnection:
    """Sign in where the arguments, the environment and the config file say, in this order.

    account   username, password, api_key, api_secret
    data      the folder of the embedded service, which is started when needed; it is used where
              no service is named anywhere
    ask       called with a prompt for a username or a password that is given nowhere

    Tokens are kept in the state folder, so that the next call signs in without a request.
    Raises MinusConfigError, MinusAuthError, MinusTemporaryError.
    """
    if unknown := set(account) - set(_SETTINGS):
        raise TypeError(f"connect() knows no {min(unknown)}")
    if data and url:
        raise MinusConfigError("a service's address and a data folder exclude each other")
    file, flags = read_config(config), {"url": url, **account}
    found = {
        name: flags.get(name) or os.environ.get(f"MINUS_{name.upper()}") or file.get(name) or ""
        for name in _SETTINGS
    }
    if data or not found["url"]:
        # keys and names for a service that nobody named are not this one's
        username = account.get("username") or os.environ.get("MINUS_USERNAME")
        return _connect_embedded(Path(data or data_folder()), username, debug)
    place = _service_url(found["url"])
    if not found["api_key"] or not found["api_secret"]:
        raise MinusConfigError(f"{place} needs both an api_key and an api_secret")
    name = found["username"] or (ask("Username: ") if ask else "")
    if not name:
        raise MinusConfigError("no username: --username, MINUS_USERNAME or the config file")
    api = MinusConnection(found["api_key"], found["api_secret"], debug, url=place)
    password = found["password"] or None
    tokens = _TokenFile(api.url, f"{api.api_key}:{found['api_secret']}", name)

    def sign_in() -> None:
        given = password if password is not None or ask is None else ask("Password: ")
        if given is None:
            raise MinusConfigError("no password: set MINUS_PASSWORD or use a terminal")
        api.authenticate(name, given)
        tokens.remember(given)

    api.keep_tokens(tokens, sign_in, tokens.fits(password))
    return api


def _connect_embedded(data: Path, username: str | None, debug: bool) -> MinusConnection:
    """Sign in to the service of a data folder as the folder's owner, without a password."""
    try:
        from minus_server.embedded import CannotStartError, find_or_start
    except ImportError:
        raise MinusConfigError(
            "no service is named, and the embedded one is not installed: install minus with its"
            " extra [server], or name a service with --url"
        ) from None

    def find() -> JSON:
        try:
            return find_or_start(Path(os.path.expanduser(data)).absolute(), __version__)
        except CannotStartError as error:
            raise MinusConfigError(str(error)) from None

    known = find()
    if username and username.lower() != known["username"].lower():
        why = f"the service on this machine has one account, {known['username']}, not {username}"
        raise MinusAuthError(why, 401)
    api = MinusConnection(known["api_key"], known["api_secret"], debug, url=known["url"])
    tokens = _TokenFile(api.url, api.api_key, known["username"])

    def restart() -> None:
        found = find()  # it ends when nothing is asked of it for a while
        api.url, api.api_key, api._secret = found["url"], found["api_key"], found["api_secret"]
        api.restart = None  # but not a second time for one request
        try:
            api.authenticate_owner()
        finally:
            api.restart = restart

    api.keep_tokens(tokens, api.authenticate_owner, tokens.fits(None))
    api.restart = restart
    return api


# --- shell ---


class _Failure(Exception):
    """A command did not do what was asked; `status` is its part in the exit status."""

    def __init__(self, why: str, status: int = EXIT_ERROR) -> None:
        super().__init__(why)
        self.status = status


_STATUSES: dict[type[Exception], int] = {  # the first that fits counts
    MinusConfigError: EXIT_USAGE,
    MinusNotFound: EXIT_NO_FILE,
    MinusTemporaryError: EXIT_TEMPORARY,
    MinusAuthError: EXIT_AUTH,
    MinusQuotaError: EXIT_FATAL,
    MinusIntegrityError: EXIT_INTEGRITY,
    FileExistsError: EXIT_CONFLICT,
    FileNotFoundError: EXIT_NO_FILE,
    MinusAPIError: EXIT_ERROR,
    OSError: EXIT_ERROR,
    ValueError: EXIT_ERROR,
}
_FAILURES: tuple[type[Exception], ...] = (_Failure, *_STATUSES)


def _exit_status(error: BaseException) -> int:
    if isinstance(error, _Failure):
        return error.status
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EXIT_FATAL
    return next(status for kind, status in _STATUSES.items() if isinstance(error, kind))


def _overall(statuses: Sequence[int]) -> int:
    """One exit status for many results: the failures' own where they agree, else partial."""
    failed = sorted({status for status in statuses if status})
    if failed == [EXIT_CONFLICT] or (len(failed) == 1 and 0 not in statuses):
        return failed[0]
    return EXIT_PARTIAL if failed else 0


def _words_of(error: BaseException) -> str:
    """A failure in words; those of the operating system without its number."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__


class _Word(str):
    """A word that was typed, as it was meant; in `pattern` what was quoted is literal."""

    pattern: str

    def __new__(cls, pieces: Sequence[tuple[str, str]]) -> _Word:
        word = super().__new__(cls, "".join(text for text, _ in pieces))
        word.pattern = "".join(pattern for _, pattern in pieces)
        return word


_TYPED = re.compile(r"""\\(.)|"((?:\\["\\]|[^"])*)"|'([^']*)'|(\s+)|([^\s"'])""")


def _split(line: str) -> list[_Word]:
    """Split a command line as a shell does."""
    words: list[list[tuple[str, str]]] = [[]]  # of each word its pieces, as text and as pattern
    at = 0
    while found := _TYPED.match(line, at):
        at = found.end()
        escaped, double, single, space, plain = found.groups()
        if space is not None:
            words.append([])
            continue
        literal = single if escaped is None else escaped
        literal = re.sub(r"\\(.)", r"\1", double) if double is not None else literal
        words[-1].append((plain, plain) if plain else (literal, glob.escape(literal)))
    if at < len(line):
        raise _Failure(f"a {line[at]} is not closed", EXIT_USAGE)
    return [_Word(pieces) for pieces in words if pieces]


# a word, perhaps quoted, and an unquoted | with all that follows, its own quotes included
_PIPED = re.compile(r"""((?:[^\s"'\\]|\\.|"[^"]*"|'[^']*')+)\s+(\|.+)""")


class _Lines:
    """Commands of a pipe, line by line; what follows a line stays unread, for `put -`."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream  # it would close its buffer with itself
        self.buffer: IO[bytes] = cast(Any, stream).buffer

    def readline(self) -> str:
        return self.buffer.readline().decode("utf-8", "replace")

    def isatty(self) -> bool:
        return False


_Names = dict[str, list[MinusFile]]


class MinusCLI(cmd.Cmd):
    """The shell: each command parses its words, makes one call of the library, and says so."""

    doc_header = "Commands (help COMMAND tells more):"

    def __init__(
        self,
        user: MinusUser,
        stdin: IO[str] | None = None,
        stdout: IO[str] | None = None,
        stderr: IO[str] | None = None,
        on_conflict: str | None = None,
        quiet: bool = False,
    ) -> None:
        super().__init__(stdin=stdin or sys.stdin, stdout=stdout or sys.stdout)
        if not self.stdin.isatty() and hasattr(self.stdin, "buffer"):
            self.stdin = cast("IO[str]", _Lines(self.stdin))
        self.stderr = stderr or sys.stderr
        self.user = user
        self.folder: MinusFolder | None = None
        self.on_conflict = on_conflict
        self.quiet = quiet
        self.statuses: list[int] = []
        self._api = user._api
        self._previous: MinusFolder | None = None
        self._local_before = Path.cwd()
        self._completions: list[str] | None = None
        self._for_all: str | None = None
        self._interrupts = 0
        self.interactive = self.use_rawinput = self.stdin.isatty()

    @property
    def prompt(self) -> str:  # type: ignore[override]  # cmd.Cmd has a fixed one
        """Who and where, for people."""
        if not self.interactive:
            return ""
        where = self.folder.name if self.folder else ""
        return printable(f"(Minus:{self.user.username or self.user.slug}) [/{where}] : ")

    def say(self, text: str) -> None:
        """Print a result."""
        print(printable(text), file=self.stdout, flush=True)

    def warn(self, text: str) -> None:
        """Print what is no result."""
        self.stdout.flush()
        print(printable(text), file=self.stderr, flush=True)

    def _failed(self, error: BaseException, start: str = "minus: ", end: str = "") -> None:
        self.statuses.append(_exit_status(error))
        self.warn(f"{start}{_words_of(error)}{end}")

    def _do(self, verb: str, name: str, act: Callable[[], object], *, aside: bool = False) -> None:
        """Do a part of a command and say how it went.

        A tuple that `act` returns is the name and the bytes of the file that it was about.
        """
        try:
            done = act()
        except _FAILURES as error:
            self._failed(error, f'--> {verb} "{name}" FAILED (', ")")
            return
        self.statuses.append(0)
        text = f'--> {verb} "{name}" OK'
        if isinstance(done, tuple):
            text = f'--> {verb} "{done[0]}" OK ({done[1]} bytes)'
        tell = self.warn if aside else self.say
        tell(text)

    def _each(self, line: str, verb: str, act: Callable[[str], object]) -> None:
        for word in self._words(line, 1):
            self._do(verb, word, partial(act, word))

    @contextlib.contextmanager
    def _progress(self, name: str) -> Iterator[Progress | None]:
        """A bar on a terminal, where tqdm is installed; else nothing."""
        if self.quiet or not self.stderr.isatty() or not importlib.util.find_spec("tqdm"):
            yield None
            return
        from tqdm import tqdm

        options = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "leave": False}
        with tqdm(desc=printable(name)[:30], file=self.stderr, delay=0.5, **options) as bar:

            def show(done: int, total: int | None) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield show

    def run(self) -> int:
        """Take commands until the end. -> exit status, that of piped commands when one failed"""
        with self._history():
            while True:
                try:
                    self.cmdloop()
                    return 0 if self.interactive else _overall(self.statuses)
                except KeyboardInterrupt:
                    self._interrupts += 1
                    if self.interactive:
                        print(file=self.stdout)
                    if not self.interactive or self._interrupts > 1:
                        return 130

    @contextlib.contextmanager
    def _history(self) -> Iterator[None]:
        """Keep what was typed from one session to the next, for its owner's eyes."""
        if not self.interactive or not importlib.util.find_spec("readline"):
            yield
            return
        import readline

        place = state_folder() / "history"
        readline.set_history_length(1000)
        readline.set_completer_delims(" \t\n")
        with contextlib.suppress(OSError):
            readline.read_history_file(place)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                private_file(place, b"")
                readline.write_history_file(place)

    def onecmd(self, line: str) -> bool:
        """Run one command; the only place where exceptions become words."""
        self._interrupts, self._completions, self._for_all = 0, None, None
        try:
            return bool(super().onecmd(line))
        except BrokenPipeError:
            raise
        except _FAILURES as error:
            self._failed(error)
        except KeyboardInterrupt:
            if not self.interactive:
                raise
            self.warn("interrupted")
        return False

    def emptyline(self) -> bool:
        return False

    def default(self, line: str) -> None:
        raise _Failure(f"no such command: {line.partition(' ')[0]} (help lists them)", EXIT_USAGE)

    # what commands are made of

    def _words(self, line: str, least: int, most: int | None = None) -> list[_Word]:
        """The words of a command, as many as it takes."""
        words = _split(line)
        if len(words) < least or (most is not None and len(words) > most):
            raise self._misused()
        return words

    def _misused(self) -> _Failure:
        """The usage of the command that runs, out of its docstring."""
        command = getattr(self, f"do_{self.parseline(self.lastcmd)[0]}")
        return _Failure(f"usage: {command.__doc__.partition(': ')[0]}", EXIT_USAGE)

    def _inside(self) -> MinusFolder:
        if self.folder is None:
            raise _Failure("this needs a folder: cd FOLDER first", EXIT_USAGE)
        return self.folder

    def find_folder(self, name: str) -> MinusFolder:
        """The folder that a word names: its name, or @ID."""
        found = self._by_id(self._api.folder, name) or self.user.find(name)
        if found is None:
            raise _Failure(f"no such folder: {name}", EXIT_NO_FOLDER)
        return found

    def _find_file(self, name: str) -> MinusFile:
        found = self._by_id(self._api.file, name) or self._inside().find(name)
        if found is None:
            raise _Failure(f"no such file: {name}", EXIT_NO_FILE)
        return found

    @staticmethod
    def _by_id(fetch: Callable[[str], T], word: str) -> T | None:
        """What an @ID names, None for other words: a name may begin with @ too."""
        if len(word) > 1 and word.startswith("@"):
            with contextlib.suppress(MinusNotFound):
                return fetch(word[1:])
        return None

    def match(self, folder: MinusFolder, patterns: Sequence[str]) -> Iterator[MinusFile]:
        """The files of a folder that any of the patterns matches, each once, in order."""
        unmatched = list(dict.fromkeys(patterns))
        for file in folder.files():
            by_id = f"@{file.id}"
            hits = {p for p in patterns if fnmatchcase(file.name, p) or fnmatchcase(by_id, p)}
            unmatched = [p for p in unmatched if p not in hits]
            if hits:
                yield file
        for pattern in unmatched:
            self._failed(_Failure(f"no file matches {pattern}", EXIT_NO_FILE))

    def _matched(self, line: str) -> list[MinusFile]:
        patterns = [word.pattern for word in self._words(line, 1)]
        return list(self.match(self._inside(), patterns))

    def get_files(self, files: Iterable[MinusFile], verb: str) -> None:
        """Save files under their own names here; those of one name all arrive."""
        taken: set[str] = set()
        for file in files:
            name = _numbered(safe_name(file.name), lambda name: _folded(name) in taken)
            taken.add(_folded(name))
            self._do(verb, file.name, partial(self._get_file, file, Path(name)))

    def _get_file(self, file: MinusFile, target: Path) -> tuple[str, int]:
        """Save one file, unless it is there already."""
        choice = "new"
        if os.path.lexists(target) and not _is_same(file, target):
            choice = self._decide(f"{target} exists here with other bytes")
        if choice == "rename":
            name = _numbered(target.name, lambda name: os.path.lexists(target.with_name(name)))
            target = target.with_name(name)
        if choice == "overwrite" or not os.path.lexists(target):
            with self._progress(file.name) as progress:
                file.save(target, progress, replace=choice == "overwrite")
        return file.name, file.filesize

    def _decide(self, what: str) -> str:
        """Settle a clash: as the option says, as the user says, else by skipping.

        -> "overwrite" or "rename". Raises _Failure for "skip".
        """
        choice = self._for_all or self.on_conflict or "ask"
        letters = {"o": "overwrite", "s": "skip", "r": "rename"}
        if choice == "ask" and not (self.stdin.isatty() and self.stderr.isatty()):
            choice = "skip"
        while choice == "ask":
            question = f"{what}: (o)verwrite, (s)kip, (r)ename; capital letter: for all? "
            print(printable(question), end="", file=self.stderr, flush=True)
            letter = (self.stdin.readline() or "s").strip()[:1]
            choice = letters.get(letter.lower(), "ask")
            self._for_all = choice if letter.isupper() and choice != "ask" else None
        if choice == "skip":
            raise _Failure(what, EXIT_CONFLICT)
        return choice

    def _get_to_stdout(self, file: MinusFile) -> None:
        self.stdout.flush()
        raw = getattr(self.stdout, "buffer", None)
        with file.file() as stream:
            if raw is None:  # a stream of text in the place of standard output
                self.stdout.write(stream.read().decode(errors="replace"))
            else:
                shutil.copyfileobj(stream, raw, BLOCK)
                raw.flush()

    def _get_to_command(self, file: MinusFile, command: str) -> None:
        """Hand a file to a command that the user typed; one that reads on no longer is done."""
        self.stdout.flush()
        with (
            file.file() as stream,
            contextlib.suppress(BrokenPipeError),
            subprocess.Popen(command, shell=True, stdin=subprocess.PIPE) as child,  # noqa: S602
        ):
            shutil.copyfileobj(stream, cast("IO[bytes]", child.stdin), BLOCK)
        if child.returncode:
            raise _Failure(f"the command ended with status {child.returncode}")

    def put_files(self, folder: MinusFolder, paths: Iterable[Path], verb: str) -> None:
        """Store local files in a folder, under their own names."""
        there = self._names_in(folder)
        for path in paths:
            act = partial(self._put_file, folder, path, path.name, there)
            self._do(verb, path.name or str(path), act)

    def _names_in(self, folder: MinusFolder) -> _Names:
        """The folder's files by name; none where twins are welcome, as in 2012."""
        there: _Names = {}
        for file in folder.files() if self.on_conflict else ():
            there.setdefault(file.name, []).append(file)
        return there

    def _put_file(
        self, folder: MinusFolder, path: Path, name: str, there: _Names
    ) -> tuple[str, int]:
        """Store one file; `there`: the remote files, by name, that it is to be no twin of."""
        if path.is_dir():
            raise _Failure("is a directory", EXIT_PARTIAL)
        twins, choice = there.get(name, []), "new"
        if twins:
            if any(_is_same(twin, path) for twin in twins):
                return name, path.stat().st_size
            choice = self._decide(f"{name} exists in the folder with other bytes")
        stored = _numbered(name, there.__contains__) if choice == "rename" else name
        with self._progress(name) as progress:
            made = folder.upload(path, stored, progress=progress)
        if choice == "overwrite":
            for twin in twins:
                twin.delete()
            twins.clear()
        if self.on_conflict:
            there.setdefault(stored, []).append(made)
        return stored, made.filesize

    # commands: folders

    def do_cd(self, line: str) -> None:
        """cd [FOLDER | .. | ../FOLDER | / | -]: change the remote folder."""
        word = "".join(self._words(line, 0, 1))
        target = re.sub(r"^(\.\./|/)+", "", word)
        self._do("CWD", word or "/", lambda: self._change_folder(target))

    def _change_folder(self, target: str) -> None:
        places = {"": None, "..": None, ".": self.folder, "-": self._previous}
        there = places[target] if target in places else self.find_folder(target)
        self._previous, self.folder = self.folder, there

    def do_pwd(self, line: str) -> None:
        """pwd: show the remote folder."""
        self.say(f"Folder: {self.folder.name if self.folder else '/'}")

    def do_ls(self, line: str) -> None:
        """ls [PATTERN..]: list folders, or the files of the folder."""
        patterns = [word.pattern for word in _split(line) if word != "-l"]
        if self.folder:
            files = self.match(self.folder, patterns) if patterns else self.folder.files()
            self.say(f"{'Name':<30}{'Uploaded':<21}{'Size':>8}  Title")
            self.say("-" * 80)
            for f in files:
                start = f"{f.name:<29} {_shown(f.uploaded):<19}"
                self.say(f"{start}  {f.filesize:>8}  {f.title or '-'}")
            return
        found = list(self.user.folders())
        for pattern in patterns:
            if not any(fnmatchcase(f.name, pattern) for f in found):
                raise _Failure(f"no folder matches {pattern}", EXIT_NO_FOLDER)
        if patterns:
            found = [f for f in found if any(fnmatchcase(f.name, p) for p in patterns)]
        self.say(f"{'Folder':<30}{'Updated':<21}Files  Creator  Visibility")
        self.say("-" * 80)
        for folder in found:
            seen = "public" if folder.is_public else "private"
            owner = _last(folder.creator)
            start = f"{folder.name:<29} {_shown(folder.updated):<19}"
            self.say(f"{start}  {folder.file_count:>5}  {owner:<8} {seen}")

    do_dir = do_ls

    def do_mkdir(self, line: str) -> None:
        """mkdir NAME..: make private folders."""
        self._each(line, "MKDIR", self.user.new_folder)

    def do_mkpublic(self, line: str) -> None:
        """mkpublic NAME..: make public folders."""
        self._each(line, "MKPUBLIC", lambda name: self.user.new_folder(name, public=True))

    def do_rmdir(self, line: str) -> None:
        """rmdir NAME..: delete folders with all their files."""
        self._each(line, "RMDIR", self._remove_folder)

    def _remove_folder(self, name: str) -> None:
        folder = self.find_folder(name)
        folder.delete()
        if self.folder and self.folder.id == folder.id:
            self.folder = None

    def do_public(self, line: str) -> None:
        """public [FOLDER..]: let others see folders, this one unless named."""
        self._publish(line, "PUBLIC", True)

    def do_private(self, line: str) -> None:
        """private [FOLDER..]: show folders to nobody else, this one unless named."""
        self._publish(line, "PRIVATE", False)

    def _publish(self, line: str, verb: str, public: bool) -> None:
        if line:
            self._each(line, verb, lambda name: self.find_folder(name).publish(public))
        else:
            folder = self._inside()
            self._do(verb, folder.name, lambda: folder.publish(public))

    def do_order(self, line: str) -> None:
        """order FILE..: put these files first, in this order."""
        folder = self._inside()
        words = self._words(line, 1)
        self._do("ORDER", folder.name, lambda: folder.reorder(map(self._find_file, words)))

    # commands: files

    def do_get(self, line: str) -> None:
        """get FILE [LOCAL | - | |COMMAND]: save a file, show it, or pipe it into a command."""
        piped = _PIPED.fullmatch(line)
        words = [*self._words(piped[1], 1, 1), piped[2]] if piped else self._words(line, 1, 2)
        local = "".join(words[1:])
        self._do("GET", words[0], lambda: self._get(words[0], local), aside=local == "-")

    def _get(self, name: str, local: str) -> tuple[str, int]:
        file = self._find_file(name)
        if local.startswith("|"):
            self._get_to_command(file, local[1:])
        elif local == "-":
            self._get_to_stdout(file)
        else:
            target = Path(os.path.expanduser(local or "."))
            self._get_file(file, target / safe_name(file.name) if target.is_dir() else target)
        return file.name, file.filesize

    def do_mget(self, line: str) -> None:
        """mget PATTERN..: save all files that match."""
        self.get_files(self._matched(line), "MGET")

    def do_cat(self, line: str) -> None:
        """cat PATTERN..: show files on standard output."""
        for file in self._matched(line):
            self._get_to_stdout(file)

    def do_put(self, line: str) -> None:
        """put LOCAL [NAME]: store a file; `-` is standard input, `COMMAND|` a command's output."""
        local, *given = self._words(line, 1, 2)
        folder, path = self._inside(), Path(os.path.expanduser(local))
        name = given[0] if given else path.name
        # a name that Tab or a quote brought here may end in | too: what exists is a file
        piped = local == "-" or (local.endswith("|") and not os.path.lexists(path))
        if piped and not given:
            raise _Failure("a NAME must follow: put - NAME, put COMMAND| NAME", EXIT_USAGE)
        if local == "-":
            self._do("PUT", name, lambda: (name, folder.new(name, self._rest()).filesize))
        elif piped:
            self._do("PUT", name, lambda: self._put_output(folder, local[:-1], name))
        else:
            there = self._names_in(folder)
            self._do("PUT", name, lambda: self._put_file(folder, path, name, there))

    def _rest(self) -> IO[bytes]:
        """What follows on standard input."""
        raw: IO[bytes] | None = getattr(self.stdin, "buffer", None)
        if self.interactive or raw is None:  # a terminal says only once that it ends
            return io.BytesIO(raw.read() if raw else self.stdin.read().encode())
        return raw

    def _put_output(self, folder: MinusFolder, command: str, name: str) -> tuple[str, int]:
        """Store what a command that the user typed prints; nothing stays of one that fails."""
        with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE) as child:  # noqa: S602
            made = folder.new(name, cast("IO[bytes]", child.stdout))
        if child.returncode:
            made.delete()
            raise _Failure(f"the command ended with status {child.returncode}")
        return name, made.filesize

    def do_mput(self, line: str) -> None:
        """mput PATTERN..: store all local files that match."""
        paths: list[str] = []
        for word in self._words(line, 1):
            found = sorted(glob.glob(os.path.expanduser(word.pattern)))
            paths += found
            if not found:
                self._failed(_Failure(f"no local file matches {word}", EXIT_NO_FILE))
        self.put_files(self._inside(), map(Path, paths), "MPUT")

    def do_del(self, line: str) -> None:
        """del PATTERN..: delete the files that match."""
        for file in self._matched(line):
            self._do("DEL", file.name, file.delete)

    do_rm = do_delete = do_del

    def do_rename(self, line: str) -> None:
        """rename OLD NEW: rename a file; outside of a folder, a folder."""
        old, new = self._words(line, 2, 2)
        find = self._find_file if self.folder else self.find_folder
        self._do("RENAME", old, lambda: find(old).rename(new))

    do_mv = do_rename

    def do_caption(self, line: str) -> None:
        """caption FILE TEXT: set a file's caption; "" for none."""
        self._describe(line, "caption")

    def do_title(self, line: str) -> None:
        """title FILE TEXT: set a file's title; "" for none."""
        self._describe(line, "title")

    def _describe(self, line: str, field: str) -> None:
        name, text = self._words(line, 2, 2)
        self._do(field.upper(), name, lambda: self._find_file(name).change(**{field: text}))

    def do_link(self, line: str) -> None:
        """link [NAME..]: print short links: of files, outside of a folder of folders."""
        if self.folder is None:
            for word in self._words(line, 1):
                self.say(self.find_folder(word).link)
            return
        for item in self._matched(line) if line else [self.folder]:
            self.say(item.link)

    def do_stat(self, line: str) -> None:
        """stat PATTERN..: show all that is known of files."""
        for f in self._matched(line):
            texts = [("Id", f.id), ("Name", f.name), ("Title", f.title), ("Caption", f.caption)]
            facts = [("Filesize", str(f.filesize)), ("MIME Type", f.mimetype)]
            links = [("URL", f.url), ("URL (Raw)", f.url_rawfile), ("URL (Thumb)", f.url_thumbnail)]
            for label, value in [*texts, *facts, ("Uploaded", _shown(f.uploaded)), *links]:
                self.say(f"{label + ':':<13}{value}".rstrip())
            self.say("")

    # commands: the account, other people

    def do_df(self, line: str) -> None:
        """df: show the storage that is used, and the quota."""
        user = self._api.activeuser()
        share = 100 * user.storage_used / user.storage_quota if user.storage_quota else 0
        self.say(f"Used: {user.storage_used} of {user.storage_quota} bytes ({share:.1f}%)")

    def do_profile(self, line: str) -> None:
        """profile [display_name | description | email TEXT]: show or change your profile."""
        words = self._words(line, 0, 2)
        fields = ("display_name", "description", "email")
        if words and (len(words) == 1 or words[0] not in fields):
            raise self._misused()
        if words:
            self._do("PROFILE", words[0], lambda: self.user.change(**{words[0]: words[1]}))
            return
        user = self._api.activeuser()
        for name in ("username", *fields, "visits", "karma", "shared"):
            self.say(f"{name + ':':<14}{_text(getattr(user, name))}".rstrip())

    def do_follow(self, line: str) -> None:
        """follow USER..: follow other users."""
        self._each(line, "FOLLOW", self.user.follow)

    def do_unfollow(self, line: str) -> None:
        """unfollow USER..: follow users no more."""
        self._each(line, "UNFOLLOW", self.user.unfollow)

    def do_followers(self, line: str) -> None:
        """followers: list who follows you."""
        for user in self.user.followers():
            self.say(user.slug)

    def do_following(self, line: str) -> None:
        """following: list whom you follow."""
        for user in self.user.following():
            self.say(user.slug)

    def do_feed(self, line: str) -> None:
        """feed: list the public folders of those whom you follow, with their links."""
        for folder in self.user.feed():
            self.say(f"{_last(folder.creator):<15} {folder.name:<29} {folder.link}")

    def do_messages(self, line: str) -> None:
        """messages [USER]: show your messages, or the thread with one user."""
        who = "".join(self._words(line, 0, 1))
        for message in self.user.messages(who or None):
            people = f"{_last(message.sender)} -> {_last(message.target)}"
            self.say(f"{_shown(message.created)}  {people}: {message.body}")

    def do_message(self, line: str) -> None:
        """message USER TEXT: write to a user."""
        who, text = self._words(line, 2, 2)
        self._do("MESSAGE", who, lambda: self.user.send_message(who, text))

    # commands: this side

    def do_lcd(self, line: str) -> None:
        """lcd [PATH | -]: change the local directory, home unless named."""
        word = "".join(self._words(line, 0, 1)) or "~"
        before = Path.cwd()
        os.chdir(self._local_before if word == "-" else os.path.expanduser(word))
        self._local_before = before
        self.do_lpwd("")

    def do_lpwd(self, line: str) -> None:
        """lpwd: show the local directory."""
        self.say(f"Local Path: {Path.cwd()}")

    def do_lls(self, line: str) -> None:
        """lls [PATTERN..]: list local files."""
        patterns = [os.path.expanduser(word.pattern) for word in _split(line)] or ["*"]
        for name in sorted({name for pattern in patterns for name in glob.glob(pattern)}):
            self.say(_with_slash(name))

    def do_shell(self, line: str) -> None:
        """!COMMAND: run a command of the system's shell."""
        self.stdout.flush()
        if status := subprocess.call(line or os.environ.get("SHELL", "sh"), shell=True):  # noqa: S602
            raise _Failure(f"the command ended with status {status}")

    def do_quit(self, line: str) -> bool:
        """quit: leave."""
        return True

    do_bye = do_exit = do_quit

    def do_EOF(self, line: str) -> bool:  # noqa: N802  the name that cmd gives the end of input
        """Ctrl-D: leave."""
        if self.interactive:
            print(file=self.stdout)
        return True

    def completedefault(self, text: str, line: str, begidx: int, endidx: int) -> list[str]:
        """Complete the names that a command takes: of remote files or folders, or local ones."""
        command, _, typed = line[:endidx].lstrip().partition(" ")
        partial = re.findall(r"(?:\\.|[^\\ ])*$", typed)[0]  # the word, its spaces escaped
        stem = re.sub(r"\\(.)", r"\1", partial)
        names = [name for name in self._candidates(command, stem) if name.startswith(stem)]
        before = len(partial) - len(text)  # readline has the word's end, from its last space on
        return [re.sub(r"([\s\\\"'|*?\[])", r"\\\1", name)[before:] for name in names]

    def _candidates(self, command: str, stem: str) -> list[str]:
        if command in ("put", "mput", "lcd", "lls"):
            typed = os.path.expanduser(stem)
            found = glob.glob(glob.escape(typed) + "*")
            return [stem + _with_slash(name).removeprefix(typed) for name in found]
        if self._completions is None:
            of_folders = self.folder is None or command in ("cd", "rmdir", "public", "private")
            items: Iterable[_Identified]
            items = self.user.folders() if of_folders else self._inside().files()
            self._completions = [item.name for item in items]
        return self._completions


def _is_same(file: MinusFile, path: Path) -> bool:
    """Tell whether a local file has the bytes of a remote one."""
    if not path.is_file() or path.stat().st_size != file.filesize:
        return False
    with path.open("rb") as local:
        if file.sha256:
            digest = hashlib.sha256()
            while block := local.read(BLOCK):
                digest.update(block)
            return digest.hexdigest() == str(file.sha256).lower()
        with file.file() as stream:  # a service that tells no digest
            blocks = iter(partial(stream.read, BLOCK), b"")
            return all(local.read(len(block)) == block for block in blocks)


def _with_slash(name: str) -> str:
    return f"{name.rstrip('/')}/" if Path(name).is_dir() else name


def _shown(moment: datetime | None) -> str:
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")


# --- command line ---


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minus",
        description="Share files from the terminal: a shell, or one of the actions below.",
        allow_abbrev=False,
    )
    where = parser.add_argument_group("which service, which account")
    where.add_argument("--url", help="the service (else MINUS_URL, the config file, this machine)")
    where.add_argument("--data", metavar="DIR", help="the folder of this machine's own service")
    where.add_argument("-u", "--user", "--username", dest="username", metavar="USER")
    where.add_argument("--password", help="others can see it in the list of processes")
    where.add_argument("--config", metavar="FILE", help="default: ~/.minus.conf")
    where.add_argument("--force-https", action="store_true", help="accepted, as it always is so")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--put", metavar="FOLDER", help="store the files named behind it")
    what.add_argument("--get", metavar="FOLDER", help="save its files here, or what matches")
    what.add_argument("--list-folders", action="store_true", help="list the folders")
    what.add_argument("--shell", action="store_true", help="a Python prompt: minus, user")
    parser.add_argument("names", nargs="*", metavar="FILE", help="for --put files, for --get globs")
    how = parser.add_argument_group("how")
    how.add_argument("--public", action="store_true", help="with --put: others may see the folder")
    how.add_argument(
        "--on-conflict",
        choices=("ask", "skip", "overwrite", "rename"),
        help="getting or putting, where a file of the name has other bytes",
    )
    how.add_argument("-q", "--quiet", action="store_true", help="no progress bars")
    how.add_argument("--debug", action="store_true", help="show the HTTP exchange")
    how.add_argument("-V", "--version", action="version", version=f"minus {__version__}")
    return parser


def _ask(prompt: str) -> str:
    if not sys.stdin.isatty():
        word = prompt.rstrip(": ")
        raise MinusConfigError(f"no {word.lower()}: set MINUS_{word.upper()} or use a terminal")
    if prompt.startswith("Password"):
        return getpass.getpass(prompt)
    print(prompt, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _run(options: argparse.Namespace, streams: Mapping[str, IO[str] | None]) -> int:
    """Sign in and do what was asked. -> exit status"""
    named = ("url", "config", "data", "debug", "username", "password")
    api = connect(**{name: getattr(options, name) for name in named}, ask=_ask)
    user = api.activeuser()
    shell = MinusCLI(user, on_conflict=options.on_conflict, quiet=options.quiet, **streams)
    if options.shell:
        code.interact(f"minus {__version__}: {api!r}", local={"minus": api, "user": user})
    elif options.list_folders:
        for folder in user.folders():
            public = " PUBLIC" if folder.is_public else ""
            shell.say(f"{folder.name} ({folder.file_count} files){public}")
    elif options.put:
        try:
            folder = shell.find_folder(options.put)
        except _Failure:
            if options.put.startswith("@"):
                raise
            folder = user.new_folder(options.put, options.public)
        if options.public and not folder.is_public:
            folder.publish()
        shell.put_files(folder, map(Path, options.names), "PUT")
    elif options.get:
        folder, globs = shell.find_folder(options.get), options.names
        shell.get_files(shell.match(folder, globs) if globs else folder.files(), "GET")
    else:
        return shell.run()
    return _overall(shell.statuses)


def main(
    argv: Sequence[str] | None = None,
    stdin: IO[str] | None = None,
    stdout: IO[str] | None = None,
    stderr: IO[str] | None = None,
) -> int:
    """The command `minus`. -> exit status"""
    with contextlib.suppress(ValueError):  # not the main thread
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            signal.signal(number, lambda *_: sys.exit(143))
    for name, stream_mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # it was closed before we came
            setattr(sys, name, open(os.devnull, stream_mode))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names come in all scripts, whatever it knows
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    options = parser.parse_intermixed_args(argv)
    if bool(options.names) != bool(options.put) and not options.get:
        parser.error("files need --put FOLDER, and --put needs files")
    try:
        return _run(options, {"stdin": stdin, "stdout": stdout, "stderr": stderr})
    except _FAILURES as error:
        if isinstance(error, BrokenPipeError):
            # what follows must not try to write to it again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        print(f"minus: {printable(_words_of(error))}", file=stderr or sys.stderr)
        return _exit_status(error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
