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
| folders/ID/uploads, /uploads/ID      | MinusFolder.new, upload of what is large (tus)     |
| files/ID                             | MinusConnection.file, MinusFile.change, delete     |
| url_rawfile                          | MinusFile.file, data, save                         |
| /api/CreateGallery                   | MinusConnection.new_gallery                        |
| /api/login/register, SignIn, SignOut | MinusConnection.register, sign_in, sign_out        |
| /api/MyGalleries.json, pane/ONE.json | MinusConnection.my_galleries, gallery_pane         |
| /api/UploadItem, GetItems/mID        | MinusGallery.upload, new, items                    |
| /api/SaveGallery, set_public/ID, ... | MinusGallery.save, publish, delete                 |
"""

from __future__ import annotations

import argparse
import binascii
import cmd
import contextlib
import errno
import glob
import hashlib
import importlib.util
import io
import json
import os
import re
import signal
import socket
import stat
import sys
import threading
import time
import unicodedata
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from functools import cached_property, partial, partialmethod
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, cast, overload
from urllib.parse import quote, urlencode, urljoin, urlsplit, urlunsplit

if TYPE_CHECKING:
    import requests

# What not every command needs, `requests` first, is imported where it is used: loading it takes
# longer than listing the folders.

__all__ = [
    "MinusAPIError",
    "MinusAuthError",
    "MinusConfigError",
    "MinusConnection",
    "MinusFile",
    "MinusFolder",
    "MinusGallery",
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
DEADLINE = 120  # seconds for an answer's head, for its JSON, for one block of a file
REFRESH_SECONDS = 30  # before its end an access token is renewed
MAX_LIFETIME = 10**9  # seconds
MAX_WAIT = 60  # seconds that a `Retry-After` may ask for
MAX_REDIRECTS = 5
MAX_LINK = 8 << 10  # characters
RETRIES = 3  # where nothing can be done twice by it, unless it is said
MAX_PAUSE = 30  # seconds between two tries
MAX_JSON = 32 << 20  # bytes of one answer of the API
PAGE = 1000  # rows of a list asked for at once
MAX_LIST = 10**7  # items of one list
MAX_PAGES = 10**6  # of one list
MAX_PAX = 64 << 10  # bytes of what a tar stream tells of a member
BLOCK = 256 << 10  # bytes read from the network or a file at once
# bytes written to a file at once: for more, Linux takes large pages, and those that it has are cold
WRITE = 16 << 10
SMALL = 256 << 10  # bytes up to which a file is read with others
RESUMABLE = 8 << 20  # bytes from which on a transfer that was cut off goes on where it was
LAST = 64 << 10  # bytes of an upload that come with the SHA-256 of all
SLOW_BLOCK = 8 << 10  # the same on a line that broke
LEAST = 64 << 10  # bytes that make it worth while to go on after a broken connection, once more
KEPT_DAYS = 7  # that an unfinished upload is remembered
MAX_JOBS = 64
GET_JOBS = 4  # files read at once, unless it is said
STOP_SECONDS = 3  # what transfers under way get to notice Ctrl-C
BATCH_FILES, BATCH_BYTES = 256, 2 << 20  # of small files in one request

# Exit statuses of the command line; README.md has the table.
EXIT_ERROR, EXIT_USAGE, EXIT_NO_FOLDER, EXIT_NO_FILE, EXIT_TEMPORARY = 1, 2, 3, 4, 5
EXIT_AUTH, EXIT_FATAL, EXIT_CONFLICT, EXIT_INTEGRITY, EXIT_PARTIAL = 6, 7, 8, 10, 11

Progress = Callable[[int, "int | None"], None]
Data = bytes | str | os.PathLike[str] | IO[bytes]
Headers = Mapping[str, str]
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
        super().__init__(printable(why))  # tracebacks go to terminals too
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
    **dict.fromkeys((401, 403), MinusAuthError),
    404: MinusNotFound,
    **dict.fromkeys((408, 423, 429), MinusTemporaryError),
    **dict.fromkeys((413, 507), MinusQuotaError),
}
_AUTH_WORDS = ("invalid_grant", "invalid_client", "invalid_token")


# --- connection ---


class Reply(Protocol):
    """An answer whose body is still to be read: of `requests`, or of `_Loopback`."""

    status_code: int
    reason: str
    url: str
    headers: Any  # by name, in any case
    raw: Any  # the body as a stream
    request: Any  # its method and headers
    elapsed: Any  # until the head was there
    limit: Callable[[], contextlib.AbstractContextManager[None]]  # of the time to read some of it

    def close(self) -> None: ...


class _Watch:
    """Ends what takes too long: a byte now and then keeps a socket's own time limit away.

    One thread looks after all, while there is something to look after.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[object, tuple[float, Any]] = {}  # until when, which socket
        self._awake = False
        self._never = threading.Event()

    @contextlib.contextmanager
    def limit(self, sock: Any) -> Iterator[None]:
        """Hang up when this takes longer than DEADLINE. Raises TimeoutError."""
        if sock is None:  # nothing to hang up
            yield
            return
        mark = object()
        with self._lock:
            self._watched[mark] = time.monotonic() + DEADLINE, sock
            wake, self._awake = not self._awake, True
        if wake:
            threading.Thread(target=self._look, daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                in_time = self._watched.pop(mark, None)
            if not in_time:
                raise TimeoutError("it is too slow") from None

    def begun(self, sock: Any, begin: Callable[[], Any]) -> Any:
        """Let an answer begin within the limit. -> it"""
        with contextlib.ExitStack() as stack:
            with self.limit(sock):
                answer = stack.enter_context(contextlib.closing(begin()))
            stack.pop_all()
        return answer

    def _look(self) -> None:
        while self._awake:
            self._never.wait(DEADLINE / 8)
            with self._lock:
                self._awake = bool(self._watched)
                for mark, (end, sock) in list(self._watched.items()):
                    if time.monotonic() > end:
                        del self._watched[mark]
                        _hang_up(sock)


def _hang_up(sock: Any) -> None:
    """End a connection below TLS, whose own shutdown would let the rest through as plain text."""
    with (
        contextlib.suppress(OSError),
        socket.fromfd(sock.fileno(), socket.AF_INET, socket.SOCK_STREAM) as twin,
    ):
        twin.shutdown(socket.SHUT_RDWR)


class _Loopback:
    """HTTP to a service on this machine: no TLS, no proxy, so no need to load `requests`."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch
        self._idle: dict[tuple[str, int], deque[Any]] = {}

    def request(self, method: str, link: str, data: Any, headers: Headers) -> Reply:
        """Send a request. Raises OSError and http.client.HTTPException."""
        parts, began = urlsplit(link), datetime.now(timezone.utc)
        sent = dict(headers)
        if isinstance(data, Mapping):
            sent["Content-Type"], data = "application/x-www-form-urlencoded", urlencode(data)
        data = data.encode() if isinstance(data, str) else data
        if (length := getattr(data, "len", None)) is not None:
            sent["Content-Length"] = str(length)
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        place = parts.hostname or "", parts.port or 80
        connection = self._connection(place)
        try:
            try:
                connection.request(method, quote(target, _URL_SIGNS), data, sent)
            except (BrokenPipeError, ConnectionResetError):  # it may have answered before
                if getattr(data, "failure", None):
                    raise
            sock = connection.sock
            response = self._watch.begun(sock, connection.getresponse)
        except BaseException:
            connection.close()
            raise

        def done() -> None:
            if response.isclosed() and connection.sock:  # all was read, and more may follow
                self._idle.setdefault(place, deque()).append(connection)
            else:
                response.close()
                connection.close()

        asked = SimpleNamespace(method=method, headers=sent)
        took = datetime.now(timezone.utc) - began
        reply = _LoopbackReply(response, link, asked, took, done)
        reply.limit = partial(self._watch.limit, sock)
        return reply

    def _connection(self, place: tuple[str, int]) -> Any:
        idle = self._idle.get(place)
        with contextlib.suppress(IndexError):  # another thread may take the last one
            while idle:
                connection = idle.pop()
                connection.sock.settimeout(0)
                try:
                    connection.sock.recv(1)
                except BlockingIOError:
                    connection.sock.settimeout(READ_SECONDS)
                    return connection
                except OSError:  # the service has closed it meanwhile, as has one that gives b""
                    pass
                connection.close()
        from http.client import HTTPConnection

        connection = HTTPConnection(*place, timeout=CONNECT_SECONDS)
        connection.connect()
        connection.sock.settimeout(READ_SECONDS)
        return connection

    def close(self) -> None:
        for idle in list(self._idle.values()):
            with contextlib.suppress(IndexError):  # a thread that was stopped may take one
                while idle:
                    idle.pop().close()

    __del__ = close


class _LoopbackReply:
    """An answer of http.client, with the names that `requests` has for its parts."""

    limit: Callable[[], contextlib.AbstractContextManager[None]]

    def __init__(
        self, response: Any, url: str, request: Any, elapsed: Any, done: Callable[[], None]
    ) -> None:
        self.raw, self.url, self.request, self.elapsed = response, url, request, elapsed
        self.status_code, self.reason = response.status, response.reason
        self.headers = response.headers
        self._done: Callable[[], None] | None = done

    def close(self) -> None:
        done, self._done = self._done, None
        if done:
            done()


def _read_block(response: Reply, buffer: Any) -> int:
    """Fill a buffer from a body. -> bytes, 0 at the end. Raises OSError when it broke off."""
    try:
        with response.limit():
            size: int = response.raw.readinto(buffer)
    except Exception as error:  # noqa: BLE001  urllib3's and http.client's, of many roots
        raise ConnectionError(_reason(error)) from None
    if not size and len(buffer) and getattr(response.raw, "length", 0):
        raise ConnectionError("the connection ended")
    return size


def _origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what a token may be sent to."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


def _joined(base: str, link: str, method: str = "", path: str = "") -> str:
    """The address that a link of the service leads to. Raises MinusAPIError where it is none."""
    with contextlib.suppress(ValueError):
        found = urljoin(base, link)
        # "a\\@b" is host b for urllib and host a for requests: a token would go astray
        plain = re.fullmatch(r"[\w.:\[\]-]+", urlsplit(found).netloc)
        if plain and _origin(found)[0] in ("http", "https"):
            return found
    raise MinusAPIError("the service gave a link that is no web address", None, method, path)


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


def _yes(value: object) -> bool:
    return str(value).strip().lower() in ("true", "1", "yes", "on")


def _on_this_machine(url: str) -> bool:
    return bool(re.fullmatch(r"localhost|::1|127(\.\d{1,3}){3}", _origin(url)[1]))


def _is_open(url: str) -> bool:
    """Whether others can read on the way what goes there."""
    return urlsplit(url).scheme == "http" and not _on_this_machine(url)


_URL_SIGNS = "/%?&=;:+$,@!~*'()[]"
_STATE = ("access_token", "refresh_token", "scope", "expires")


class MinusConnection:
    """A connection to one service: signs in, sends requests, keeps the tokens fresh.

    allow_http  speak plain http beyond this machine too; None: as $MINUS_ALLOW_HTTP or the
                config file says
    cacert      a file of certificates to trust instead of the usual ones
    insecure    trust any certificate

    Without a key it is good for galleries without an account. Raises MinusConfigError when
    neither `url`, $MINUS_URL nor the config file names a service, or it is named by http:
    and that is not allowed.
    `retries` says how often what failed and can be repeated is tried again.
    State: `access_token`, `refresh_token`, `scope`, `expires` (seconds since 1970, or None).
    """

    def __init__(
        self,
        api_key: str = "",
        api_secret: str = "",
        debug: bool = False,
        force_https: bool = True,
        url: str | None = None,
        allow_http: bool | None = None,
        cacert: StrPath | None = None,
        insecure: bool = False,
    ) -> None:
        found = url or os.environ.get("MINUS_URL") or read_config().get("url")
        if not found:
            why = "no service is named: by url=, MINUS_URL or the config file; or use connect()"
            raise MinusConfigError(why)
        self.url = _service_url(found)
        if allow_http is None:
            said = os.environ.get("MINUS_ALLOW_HTTP")
            if not said and _is_open(self.url):
                said = read_config().get("allow_http")
            allow_http = _yes(said)
        if _is_open(self.url) and not allow_http:
            raise MinusConfigError(
                f"{self.url} would carry passwords and files for all to read: use https:, or"
                " allow it with --allow-http, MINUS_ALLOW_HTTP=1 or allow_http: yes"
            )
        if cacert and not Path(cacert).is_file():
            raise MinusConfigError(f"there is no file of certificates {os.fspath(cacert)}")
        self._allow_http = allow_http
        self.retries = RETRIES
        self._verify = not insecure and (os.fspath(cacert) if cacert else True)
        self.api_key = api_key
        self.debug = debug
        self.force_https = force_https and self.url.startswith("https:")
        self.access_token: str | None = None
        self.refresh_token: str | None = None
        self.scope: str | None = None
        self.expires: float | None = None
        self.restart: Callable[[], None] | None = None  # where the service is ours to start
        self._secret = api_secret
        self._cookie: str | None = None  # of a session of API v1
        self._tokens: StateFile | None = None
        self._sign_in: Callable[[], None] | None = None  # when refreshing does not help
        self._watch = _Watch()
        self._at = threading.local()  # the socket of the request that a thread is sending
        self._loopback = _Loopback(self._watch)
        self._known: JSON | None = None  # the service's extensions, once they were asked for
        self._renewing = threading.RLock()

    def __repr__(self) -> str:
        return f"<MinusConnection {self.url}>"

    @cached_property
    def _session(self) -> requests.Session:
        """What reaches any service but one on this machine."""
        try:
            import requests
        except ImportError:
            why = f"{self.url} needs the package requests, which is not installed"
            raise MinusConfigError(why) from None
        from http.client import HTTPException, HTTPResponse

        watch, at = self._watch, self._at

        class Response(HTTPResponse):
            def begin(self) -> None:
                super().begin()
                if len(set(self.headers.get_all("Content-Length", ()))) > 1:
                    raise HTTPException("two lengths")  # urllib3 would leave it open

            def _read_next_chunk_size(self) -> int:
                size: int = cast(Any, super())._read_next_chunk_size()
                if size < 0:  # it would be read to the end of the stream, into memory
                    raise HTTPException("a chunk of less than nothing")
                return size

        class Adapter(requests.adapters.HTTPAdapter):
            def get_connection_with_tls_context(self, *args: Any, **more: Any) -> Any:
                pool: Any = super().get_connection_with_tls_context(*args, **more)
                if "ConnectionCls" not in vars(pool):
                    get = partialmethod(watched, pool.ConnectionCls.getresponse)
                    own = {"getresponse": get, "response_class": Response}
                    pool.ConnectionCls = type("WatchedConnection", (pool.ConnectionCls,), own)
                return pool

        def watched(connection: Any, get: Callable[..., Any], *args: Any) -> Any:
            at.sock = connection.sock
            return watch.begun(connection.sock, partial(get, connection, *args))

        session = requests.Session()
        session.stream = True
        for scheme in ("http://", "https://"):
            session.mount(scheme, Adapter(pool_maxsize=MAX_JOBS))
        session.auth = lambda request: request  # no password out of ~/.netrc
        # a proxy has no business between us and our own machine
        session.trust_env = not _on_this_machine(self.url)
        # redirects are left alone: even unfollowed, requests reads and parses them
        session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]  # noqa: ARG005
        return session

    def authenticate(self, username: str, password: str, scope: str = DEFAULT_SCOPE) -> None:
        """Sign in with a password. Raises MinusAuthError when it is wrong."""
        self._grant("password", scope, username=username, password=password)

    def authenticate_owner(self, scope: str = DEFAULT_SCOPE) -> None:
        """Sign in as the account that the API key itself belongs to."""
        self._grant("client_credentials", scope)

    def refresh(self, scope: str | None = None) -> None:
        token = self.refresh_token or ""
        self._grant("refresh_token", scope or self.scope or DEFAULT_SCOPE, refresh_token=token)

    def activeuser(self) -> MinusUser:
        return MinusUser(self, "activeuser")

    def user(self, slug: str) -> MinusUser:
        return MinusUser(self, f"users/{_quoted(slug.lower())}")

    def folder(self, folder_id: str) -> MinusFolder:
        return MinusFolder(self, f"folders/{_quoted(folder_id)}")

    def file(self, file_id: str) -> MinusFile:
        return MinusFile(self, f"files/{_quoted(file_id)}")

    def find(self, name: str) -> MinusFolder | None:
        return self.activeuser().find(name)

    def new_gallery(self, name: str | None = None) -> MinusGallery:
        """Make a gallery: one's own where signed in, else one that its `editor_id` opens."""
        gallery = MinusGallery(self, "", self.create("../CreateGallery", {}))
        return gallery.save(name) if name else gallery

    def register(self, username: str, password: str, email: str = "") -> None:
        """Make an account. Raises MinusAPIError with the reason where the service refuses."""
        passwords = {"password1": password, "password2": password}
        self._agreed("../login/register", username=username, email=email, **passwords)

    def sign_in(self, username: str, password: str) -> None:
        """Sign in to API v1, by a cookie that this connection sends to nothing else."""
        self._cookie = self._agreed("../SignIn", username=username, password1=password)
        if self._cookie is None:
            raise MinusAPIError("the service gave no session", None, "POST", "/api/SignIn")

    def sign_out(self) -> None:
        self.request("../SignOut")
        self._cookie = None

    def my_galleries(self) -> PagedList[MinusGallery]:
        """The galleries that one made or visited; `len` fetches all pages, as v1 tells no total."""
        return self.gallery_pane("")

    def gallery_pane(self, pane: str) -> PagedList[MinusGallery]:
        """The galleries of a pane, "history", "mine" or "feed", listed as in `my_galleries`."""
        path = f"../pane/{_quoted(pane)}.json/1" if pane else "../MyGalleries.json/1"
        return PagedList(self, path, partial(MinusGallery, self, ""))

    def list(self, url: str) -> PagedList[JSON]:
        """Any list of the API, its rows as they come."""
        return PagedList(self, url, dict)

    def request(
        self, url: str, data: Any = None, method: str | None = None, content_type: str | None = None
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
        return self.create(url, body, {"Content-Type": content_type})

    def create(self, url: str, data: Any, headers: Headers = {}, method: str = "POST") -> JSON:  # noqa: B006  it is only read
        """Send what makes something, which is made once although the answer may be lost.

        -> the JSON object of the answer
        """
        once = {"Idempotency-Key": os.urandom(16).hex()}
        return self._json(self._send(method, url, data, {**headers, **once}))

    def open(self, url: str, headers: Headers = {}) -> Reply:  # noqa: B006
        """GET bytes, unread and not decoded; close what comes."""
        return self._send("GET", url, None, headers)

    def extensions(self) -> JSON:
        """What the service knows beyond API v2, by name with its limits; {} for nothing."""
        if self._known is None:
            try:
                found = self.request("").get("extensions")
            except (MinusAuthError, MinusTemporaryError):
                raise
            except MinusAPIError:  # a service of API v2 alone
                found = None
            self._known = found if isinstance(found, dict) else {}
        return self._known

    def _knows(self, extension: str) -> bool:
        """Tell whether the service has an extension; one that cannot be asked has none."""
        try:
            return extension in self.extensions()
        except MinusAPIError:
            return False

    def _listing(self, link: str, wanted: Mapping[str, str] | None) -> str:
        """The first page of a list, as the service can give it: large, filtered, by a cursor."""
        if wanted is None or not (rows := self.limit("lists", "per_page", PAGE)):
            return link
        return f"{link}?{urlencode({**wanted, 'per_page': rows})}"

    def limit(self, extension: str, name: str, most: int) -> int:
        """A limit of an extension, `most` at the most; 0 where the service has no such thing."""
        limits = self.extensions().get(extension)
        return max(0, min(most, _int(limits.get(name)))) if isinstance(limits, dict) else 0

    def close(self) -> None:
        self._loopback.close()
        if "_session" in self.__dict__:
            self._session.close()

    def _agreed(self, url: str, **form: str) -> str | None:
        """Send a form of API v1, which answers with success or reasons. -> the session's cookie"""
        response = self._send("POST", url, form, {}, sign=False)
        answer = self._json(response)
        if answer.pop("success", None) is not True:
            why = " ".join(map(str, answer.values())) or "the service refused"
            raise MinusAPIError(why, response.status_code, "POST", response.url)
        every = getattr(response.headers, "get_all", lambda name: [response.headers.get(name, "")])
        cookies = ", ".join(every("Set-Cookie") or ())
        found = re.search(r"(?:^|, *)(sessionid[\w-]*=[^;, ]+)", cookies)
        return found and found[1]

    def _absolute(self, url: str) -> str:
        """Resolve a link of the service or of ours against the API's address."""
        link = _joined(f"{self.url}api/v2/", url)
        if self.force_https and link.startswith("http:"):
            return f"https:{link[5:]}"
        return link

    def _signature(self, link: str) -> dict[str, str]:
        """Who asks, as a header: for the service's own origin alone, the cookie for v1 alone."""
        if _origin(link) != _origin(self.url):
            return {}
        if self._cookie and re.match(re.escape(self.url) + "api/(?!v2/)", link):
            return {"Cookie": self._cookie}
        return {"Authorization": f"Bearer {self.access_token}"} if self.access_token else {}

    def _send(self, method: str, url: str, body: Any, headers: Headers, sign: bool = True) -> Reply:
        """Send a request and see that it succeeded. -> the response, its body unread

        An expired token is renewed, once, and the request repeated where its body can be sent
        again; so it is where the service is ours and has ended.
        """

        def attempt() -> Reply:
            link = self._absolute(url)
            return self._follow(method, link, headers, self._signature(link) if sign else {}, body)

        expired = self.expires is not None and time.time() > self.expires - REFRESH_SECONDS
        if sign and expired and "Authorization" in self._signature(self._absolute(url)):
            with self._renewing:
                if self.expires is not None and time.time() > self.expires - REFRESH_SECONDS:
                    self._renew()
        try:
            response = attempt()
        except MinusTemporaryError as error:
            with self._renewing:  # one thread after the other
                if self.restart is None or error.error != "unreachable" or not _repeatable(body):
                    raise
                self.restart()
            response = attempt()
        used = response.request.headers.get("Authorization")
        renewable = used and _repeatable(body) and (self.refresh_token or self._sign_in)
        if response.status_code == 401 and renewable:
            response.close()
            with self._renewing:
                if used == f"Bearer {self.access_token}":  # no other thread has done it
                    self._renew()
            response = attempt()
        if 200 <= response.status_code < 300:
            return response
        raise self._failure(response)

    def _follow(
        self, method: str, link: str, headers: Headers, signature: Headers, body: Any
    ) -> Reply:
        """Send, and follow redirects of a GET by hand: no token leaves its origin, nor https.

        What a redirect tells of the bytes holds for those that come, wherever they lie.
        """
        told: JSON = {}
        for _ in range(MAX_REDIRECTS + 1):
            response = self._exchange(method, link, {**headers, **signature}, body)
            target = response.headers.get("Location")
            if method != "GET" or not target or response.status_code not in _REDIRECTS:
                for name in told:
                    if name in response.headers:
                        del response.headers[name]
                    response.headers[name] = told[name]
                return response
            if "Repr-Digest" in response.headers:
                told = {name: response.headers.get(name, "") for name in ("ETag", "Repr-Digest")}
            response.close()
            onward = _joined(link, target, method, link)
            if urlsplit(onward).scheme not in ("https", urlsplit(link).scheme):
                raise MinusAPIError("refused a redirect away from https", None, method, link)
            signature = signature if _origin(onward) == _origin(link) else {}
            link = onward
        raise MinusAPIError("too many redirects", None, method, link)

    def _exchange(self, method: str, link: str, headers: Headers, data: Any) -> Reply:
        """Send a request, again where it failed and nothing can be done twice by it."""

        def harmless() -> bool:
            if "Idempotency-Key" in headers:
                return _repeatable(data) and self._knows("idempotency")
            return method in _REPEATED and (data is None or isinstance(data, Mapping))

        done = False  # perhaps, by a try whose answer was lost
        for tried in range(self.retries + 1):
            response, wait = None, _pause(tried) if tried else 0.0
            try:
                response = self._attempt(method, link, headers, data)
            except MinusTemporaryError as error:
                again = error.error == "unreachable" and not self.restart and _repeatable(data)
                lost = error.error == "broken" or (error.error == "timeout" and not tried)
                if tried == self.retries or not (again or (lost and harmless())):
                    raise
                done = done or lost
            if response is not None:
                if done and method == "DELETE" and response.status_code == 404:
                    response.status_code = 204
                done = done or response.status_code in (502, 504)
                if tried == self.retries or response.status_code not in _BUSY or not harmless():
                    return response
                wait = _asked_to_wait(response, wait)
                response.close()
            if wait:
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _attempt(self, method: str, link: str, headers: Headers, data: Any) -> Reply:
        """One request; the exceptions of what sends it end here.

        The `error` of what is raised is "unreachable" where nobody listened, "broken" where the
        connection ended before an answer came, "timeout" where none came in time.
        """
        from http.client import HTTPException

        about = {"User-Agent": f"minus/{__version__}", "Accept-Encoding": "identity"}
        headers = {**about, **headers}
        if _is_open(link) and not self._allow_http:
            why = "refused http: beyond this machine, which others can read and change"
            raise MinusAPIError(why, None, method, link)
        try:
            if urlsplit(link).scheme == "http" and _on_this_machine(link):
                response = self._loopback.request(method, link, data, headers)
            else:
                response = self._remote(method, link, data, headers)
        except (OSError, HTTPException) as error:
            if isinstance(data, _Body) and data.failure:
                raise data.failure from None
            if isinstance(error, TimeoutError):
                why = "the service does not answer"
                raise MinusTemporaryError(why, None, method, link, "timeout") from None
            why = f"cannot reach {urlsplit(link).netloc}: {_reason(error)}"
            refused = isinstance(error, ConnectionRefusedError) or "establish a new" in str(error)
            word = "unreachable" if refused else "broken"
            raise MinusTemporaryError(why, None, method, link, word) from None
        if self.debug:
            _trace(response)
        return response

    def _remote(self, method: str, link: str, data: Any, headers: Headers) -> Reply:
        """One request by `requests`."""
        session, self._at.sock = self._session, None
        import requests

        options: JSON = {"timeout": (CONNECT_SECONDS, READ_SECONDS), "allow_redirects": False}
        options["verify"] = self._verify  # of the session, the environment would overrule it
        try:
            response: Any = session.request(method, link, data=data, headers=headers, **options)
            response.limit = partial(self._watch.limit, self._at.sock)
            return cast(Reply, response)
        except requests.Timeout:
            raise TimeoutError from None
        except requests.exceptions.SSLError as error:
            why = _reason(error)
            if "NO_CERTIFICATE" in why:
                raise MinusConfigError(f"{self._verify} has no certificate in it") from None
            if not re.search("CERTIFICATE|certificate|hostname|VERSION|ALERT", why):
                raise ConnectionError(why) from None  # it ended in the middle
            hint = "; --cacert names one to trust" if "VERIFY" in why else ""
            raise MinusAPIError(f"TLS: {why}{hint}", None, method, link) from None
        finally:
            self._session.cookies.clear()

    def _failure(self, response: Reply) -> MinusAPIError:
        status, body = response.status_code, {}
        with contextlib.suppress(MinusAPIError):
            body = self._json(response)
        error = str(body.get("error") or "")
        why = str(body.get("error_description") or error or response.reason or "no reason given")
        why = why if len(why) < 500 else f"{why[:500]}..."
        kind = _KINDS.get(status, MinusTemporaryError if status >= 500 else MinusAPIError)
        if error in _AUTH_WORDS:
            kind = MinusAuthError
        if error == "digest_mismatch":
            kind = MinusIntegrityError
        if error == "cut_short":  # by what lies between: the service got less than we sent
            kind = MinusTemporaryError
        return kind(f"{why} ({status})", status, response.request.method or "", response.url, error)

    def _json(self, response: Reply) -> JSON:
        """Read an answer's JSON object, {} when it has no body. Raises MinusAPIError for others."""
        method, link = response.request.method or "", response.url
        data, buffer = bytearray(), bytearray(64 << 10)
        try:
            with contextlib.closing(response), response.limit():
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    why = "the answer is packed, which was not asked for"
                    raise MinusAPIError(why, None, method, link)
                while size := _read_block(response, buffer):
                    data += memoryview(buffer)[:size]
                    if len(data) > MAX_JSON:
                        raise MinusAPIError("the answer is too long", None, method, link)
            found = json.loads(data) if data.strip() else {}
        except OSError as error:
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
        self.refresh_token = _text(answer.get("refresh_token")) or self.refresh_token
        known = isinstance(lifetime, int | float) and 0 <= lifetime < MAX_LIFETIME
        self.expires = time.time() + cast(float, lifetime) if known else None
        if self._tokens:
            with contextlib.suppress(OSError):  # then the next command signs in anew
                self._tokens.update({name: getattr(self, name) for name in _STATE})

    def keep_tokens(self, tokens: StateFile, sign_in: Callable[[], None], fit: bool) -> None:
        """Use an account's kept tokens, if they fit it, else sign in; keep what comes later."""
        self._tokens, self._sign_in = tokens, sign_in
        self._adopt(tokens.load())
        if not fit or not self.refresh_token:
            sign_in()

    def _adopt(self, kept: Mapping[str, Any]) -> None:
        for name in _STATE:
            setattr(self, name, kept.get(name))
        if not isinstance(self.expires, int | float):
            self.expires = None

    def _renew(self) -> None:
        """Get a token that is good: another process's, by refreshing, or by signing in anew."""
        with self._tokens.locked() if self._tokens else contextlib.nullcontext():
            kept = self._tokens.load() if self._tokens else {}
            if kept.get("access_token") not in (None, self.access_token):
                self._adopt(kept)
                if (self.expires or 0) > time.time() + REFRESH_SECONDS:
                    return
            if self.refresh_token:
                try:
                    self.refresh()
                    return
                except MinusAuthError:
                    if self._sign_in is None:
                        raise
        if self._sign_in is not None:
            self._sign_in()


_REDIRECTS = (301, 302, 303, 307, 308)
_BUSY = (429, 502, 503, 504)
_REPEATED = ("GET", "HEAD", "PUT", "DELETE")


def _asked_to_wait(response: Reply, wait: float) -> float:
    """How many seconds the service asks for, else `wait`; nobody holds us up for hours."""
    asked = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", asked):
        return min(int(asked), MAX_WAIT)
    from email.utils import parsedate_to_datetime

    with contextlib.suppress(ValueError, TypeError):
        return min(max(0.0, parsedate_to_datetime(asked).timestamp() - time.time()), MAX_WAIT)
    return wait


def _pause(tried: int) -> float:
    """Seconds to wait before one more try."""
    return float(min(MAX_PAUSE, 0.2 * 2 ** min(tried, 20)))


def _repeatable(body: object) -> bool:
    if isinstance(body, _Body):
        return body.start is not None
    return body is None or isinstance(body, bytes | str | Mapping)


def _reason(error: BaseException) -> str:
    """The innermost words of an exception of requests, which quotes others with addresses."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "IncompleteRead" in str(error):
        return "the connection ended"
    if type(error).__name__ == "BadStatusLine":
        return "what answers there is no HTTP: perhaps it takes https:"
    words = re.split(r"object at 0x\w+>?[,:] |Connection\(.*?\): |[A-Za-z]*Error\(|, '", str(error))
    return re.sub(r"""['"]\)*$""", "", words[-1]).strip() or type(error).__name__


_SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization", "set-cookie", "x-edit-link")
# an unfinished upload's address lets whoever has it go on; an editor id is another such key
_SECRET_PATHS = re.compile(r"(?<=/uploads/)[^/?\s]+|(?<=/m)[^/?\s]+(?=/uploads)")


def _trace(response: Reply) -> None:
    """Show one exchange on standard error: no query, no secret header, no body."""
    request, took = response.request, response.elapsed.total_seconds()
    asked = f"{request.method} {response.url.partition('?')[0]}"
    answered = f"{response.status_code} {response.reason} ({took * 1000:.0f} ms)"
    for sign, first, headers in ((">", asked, request.headers), ("<", answered, response.headers)):
        print(printable(f"{sign} {_SECRET_PATHS.sub('***', first)}"), file=sys.stderr)
        for name, text in headers.items():
            shown = "***" if name.lower() in _SECRET_HEADERS else _SECRET_PATHS.sub("***", text)
            shown = shown.partition("?")[0] if name.lower() == "location" else shown
            print(printable(f"{sign} {name}: {shown}"), file=sys.stderr)


# --- paging ---


class _Running(threading.Thread, Generic[T]):
    """Work that gives a list, under way in a thread."""

    def __init__(self, work: Callable[[], list[T]]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._found: list[T] = []
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._found = self._work()
        except BaseException as error:  # noqa: BLE001  it is raised where it is waited for
            self._error = error

    def found(self) -> list[T]:
        """Wait for it. -> what it gave; raises what it raised"""
        while self.is_alive():
            self.join(0.5)  # a signal that comes just before a wait without end would be missed
        if self._error:
            raise self._error
        return self._found


class PagedList(Sequence[T]):
    """A list of the service, fetched page by page as far as it is looked at.

    Making one sends nothing. `len` is the service's total. A listing that breaks off or leads
    in a circle raises MinusAPIError: to stop quietly would lose files.
    """

    def __init__(
        self,
        api: MinusConnection,
        url: str,
        make: Callable[[JSON], T],
        wanted: Mapping[str, str] | None = None,
    ) -> None:
        self._api = api
        self._next: str | None = url
        self._wanted = wanted  # parameters for a service that can filter; None: nothing of that
        self._fetched = 0
        self._make = make
        self._items: list[T] = []
        self._total: int | None = None
        self._most = MAX_LIST  # less where it says its length: others may add to it, but so many?
        self._seen: set[int] = set()  # hashes: the links may be long, and many

    def __repr__(self) -> str:
        return f"<PagedList, {self._fetched} of {self._total} fetched>"

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
        page = self._page()
        self._items += page
        return len(page)

    def each(self) -> Iterator[T]:
        """The items, once, without keeping them: for lists of any length.

        The next page is fetched while one is looked at.
        """
        page = self._page()
        while page:
            following = _Running(self._page) if self._next is not None else None
            yield from page
            page = following.found() if following else []

    def _page(self) -> list[T]:
        if self._next is None:
            return []
        link = self._api._absolute(self._next)
        if not self._seen:
            link = self._api._listing(link, self._wanted)
        if hash(link) in self._seen:
            raise MinusAPIError("the list leads in a circle", None, "GET", link)
        if len(self._seen) >= MAX_PAGES:
            raise MinusAPIError("the list has no end", None, "GET", link)
        answer = self._api.request(link)
        rows, onward = answer.get("results", answer.get("galleries")), answer.get("next")
        page = re.fullmatch(r"(.+\.json/)(\d{1,9})", link)
        if page and int(page[2]) < _int(answer.get("total_pages")):  # v1 tells no more
            onward = f"{page[1]}{int(page[2]) + 1}"
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise MinusAPIError("the list has no results", None, "GET", link)
        if isinstance(told := answer.get("total"), int):
            self._most = min(self._most, 2 * told + PAGE)
        total = told if isinstance(told, int) else self._total
        follows = onward if isinstance(onward, str) and onward else None
        follows = follows and _joined(link, follows[:MAX_LINK], "GET", link)
        have = self._fetched + len(rows)
        if "cursor=" in link and follows is None:  # its end is certain, whatever came meanwhile
            total = have
        limit = have if total is None or "cursor=" in link else total
        too_few = have < limit if follows is None else not rows
        if too_few or have > limit or not 0 <= limit <= self._most:
            why = f"the list is broken: {have} of {total} items came"
            raise MinusAPIError(why, None, "GET", link)
        self._seen.add(hash(link))
        self._fetched, self._total, self._next = have, total, follows
        return [self._make(row) for row in rows]

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
    """A number; of "1010 bytes" it is the first word."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        found = int(value.partition(" ")[0] if isinstance(value, str) else cast(Any, value))
        return found if abs(found) < 1 << 63 else 0
    return 0


def _date(value: object) -> datetime | None:
    """A date of the service, aware, in UTC; None where it gave none that can be read."""
    try:
        found = datetime.fromisoformat(str(value).strip().replace("Z", "+00:00"))
        if not found.tzinfo:
            return found.replace(tzinfo=timezone.utc)
        return found.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def _strings(value: object) -> list[str]:
    return list(map(str, value)) if isinstance(value, list) else []


_CONVERT: dict[str, Callable[[object], Any]] = {
    "text": _text,
    "number": _int,
    "flag": _yes,
    "date": _date,
    "strings": _strings,
    "same": lambda value: value,
}


def _fields(**kinds: str) -> dict[str, Callable[[object], Any]]:
    """A table of fields from words: `text="id name"` lists the fields of one kind."""
    return {name: _CONVERT[kind] for kind, names in kinds.items() for name in names.split()}


def _last(link: object) -> str:
    """The last word of a link's path: an id or a slug."""
    return re.split(r"[?#]", _text(link))[0].rstrip("/").rpartition("/")[2]


def _quoted(text: str) -> str:
    """An id or a slug as a part of a path. Raises MinusNotFound for what would change the path."""
    if text in ("", ".", "..") or re.search("[\ud800-\udfff]", text):
        raise MinusNotFound(f"nothing is called {text!r}", 404)
    return quote(text, safe="")


def _slug(user: MinusUser | str) -> str:
    return _quoted((user if isinstance(user, str) else user.slug).lower())


class _Proxy:
    """An object of the service. Reading an attribute never sends a request.

    Made from the row that a list carried, or from a URL, which is then fetched. Each field of
    `_wire` is an attribute twice: `_name` as it came and `name` converted, unless a method has
    that name.
    """

    _wire: ClassVar[dict[str, Callable[[object], Any]]]
    _plan: ClassVar[dict[str, tuple[str, Callable[[object], Any], bool]]]
    id: str
    url: str
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init_subclass__(cls) -> None:
        """Lay out the fields; what a row leaves out is read from the class."""
        cls._plan = dict(getattr(cls, "_plan", {}))
        for name, convert in getattr(cls, "_wire", {}).items():
            if name not in cls._plan:
                shown = not hasattr(cls, name)
                cls._plan[name] = (f"_{name}", convert, shown)
                setattr(cls, f"_{name}", None)
                if shown:
                    setattr(cls, name, convert(None))

    def __init__(self, api: MinusConnection, url: str, params: JSON | None = None) -> None:
        self._api = api
        self._load(api.request(url) if params is None else params)
        self.url = self.url or url

    def _load(self, row: Mapping[str, Any]) -> None:
        """Take the fields of a row; one that it leaves out stays as it is."""
        plan = self._plan
        for name, value in row.items():
            if name in plan:
                raw, convert, shown = plan[name]
                setattr(self, raw, value)
                if shown:
                    setattr(self, name, convert(value))

    def _list(self, kind: str, path: str, **wanted: str) -> PagedList[Any]:
        """A list of objects of a class below a path, in which `{._path}` is this object's own.

        wanted   `cursor`, `fields`, filters, for a service that knows them: filter again
        """
        make = partial(globals()[kind], self._api, "")
        return PagedList(self._api, path.format(self), make, wanted)

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
        return printable(f"<{type(self).__name__} {self.id} {self.name!r}>")

    @property
    def _path(self) -> str:
        return f"{self._kind}/{_quoted(self.id)}"

    @property
    def link(self) -> str:
        return f"{self._api.url}{self._letter}{_quoted(self.id)}"

    def delete(self) -> None:
        self._api.request(self._path, method="DELETE")


class MinusUser(_Proxy):
    """A user. `email`, `storage_used` and `storage_quota` (bytes) are there for oneself only.

    `find` gives the first folder of a name, else None; `glob` all that match a pattern.
    """

    _wire = _fields(
        text="username display_name slug fb_profile_link fb_username twitter_screen_name email"
        " avatar url invite_url",
        number="visits karma shared storage_used storage_quota",
        strings="followers_slug_list following_slug_list",
        same="description folders followers following",
    )

    def __repr__(self) -> str:
        return printable(f"<MinusUser {self.slug}>")

    @property
    def _path(self) -> str:
        return f"users/{_quoted(self.slug or _last(self.url))}"

    # of oneself all, of others the public ones
    folders = partialmethod(_Proxy._list, "MinusFolder", "{._path}/folders", cursor="")
    followers = partialmethod(_Proxy._list, "MinusUser", "{._path}/followers")
    following = partialmethod(_Proxy._list, "MinusUser", "{._path}/following")
    # of those whom one follows, one's own, those that one starred, those that one visited
    feed = partialmethod(_Proxy._list, "MinusFolder", "activeuser/feed")
    mine = partialmethod(_Proxy._list, "MinusFolder", "activeuser/mine")
    favorites = partialmethod(_Proxy._list, "MinusFolder", "activeuser/favorited")
    history = partialmethod(_Proxy._list, "MinusFolder", "activeuser/history")

    def new_folder(self, name: str, public: bool = False) -> MinusFolder:
        form = {"name": name, "is_public": _form_value(public)}
        return MinusFolder(self._api, "", self._api.create(f"{self._path}/folders", form))

    def find(self, name: str) -> MinusFolder | None:
        return next((folder for folder in self.folders(name=name) if folder.name == name), None)

    def glob(self, pattern: str) -> list[MinusFolder]:
        return [f for f in self.folders(match=pattern) if fnmatchcase(f.name, pattern)]

    def follow(self, user: MinusUser | str) -> MinusUser:
        row = self._api.request(f"{self._path}/following", {"slug": _slug(user)})
        return MinusUser(self._api, "", row)

    def unfollow(self, user: MinusUser | str) -> None:
        self._api.request(f"{self._path}/following/{_slug(user)}", method="DELETE")

    def change(self, **fields: str) -> MinusUser:
        """Change one's own display_name, description or email. -> self"""
        self._put("activeuser", **fields)
        return self

    def messages(self, user: MinusUser | str | None = None) -> PagedList[MinusMessage]:
        """One's messages, the latest first, or the thread with one user."""
        return self._list(
            "MinusMessage", "activeuser/messages" + (f"/{_slug(user)}" if user else "")
        )

    def send_message(self, user: MinusUser | str, body: str) -> MinusMessage:
        path = f"activeuser/messages/{_slug(user)}"
        return MinusMessage(self._api, path, self._api.request(path, {"body": body}))


def _ids(files: Iterable[MinusFile | str]) -> list[str]:
    return [file if isinstance(file, str) else file.id for file in files]


class MinusMessage(_Proxy):
    """A message. `sender` and `target` are links to users."""

    _wire = _fields(text="body target sender thread url", flag="read", date="created")


class MinusFolder(_Identified):
    """A folder. Names are not unique, ids are. Feeds know some fields more and others not.

    `find` gives the first file of a name, else None; `glob` all that match a pattern.
    """

    _kind = "folders"
    _letter = "m"
    _extended = True  # it may know more than API v2
    _wire = _fields(
        text="id name creator url thumbnail_url display_name",
        number="view_count file_count last_updated_ago created_ago star_count flag_count score",
        flag="is_public featured active is_flagged is_starred is_reshared is_saved",
        date="date_last_updated last_updated created",
        strings="item_ordering",
        same="files",
    )
    # in the folder's order
    files = partialmethod(_Proxy._list, "MinusFile", "{._path}/files", cursor="")

    @property
    def updated(self) -> datetime | None:
        """When the folder was last changed; older services know one field of it, feeds another."""
        found: datetime | None = self.date_last_updated or self.last_updated or self.created
        return found

    def _place(self, filename: str) -> str:  # where a new one goes
        return f"{self._path}/files"

    @property
    def _uploads(self) -> str:  # where a large one is begun
        return f"{self._path}/uploads"

    def find(self, name: str) -> MinusFile | None:
        return next((file for file in self.files(name=name) if file.name == name), None)

    def glob(self, pattern: str) -> list[MinusFile]:
        return [f for f in self.files(match=pattern) if fnmatchcase(f.name, pattern)]

    def new(
        self,
        filename: str,
        data: Data,
        caption: str | None = None,
        mimetype: str | None = None,
        progress: Progress | None = None,
        resume: bool = True,
    ) -> MinusFile:
        """Make a file.

        data       bytes; text, stored as UTF-8; a path; or a stream of bytes, of any length
        progress   called with the bytes sent and their number in all (None: unknown)
        resume     a large local file that was cut off earlier goes on where it was

        Raises ValueError for a name that is no Unicode text, MinusIntegrityError where the
        service says that it got something else.
        """
        _wire_name(filename)  # or it is none
        with contextlib.ExitStack() as stack:
            mark = "", ""
            if isinstance(data, os.PathLike):
                facts = (path := Path(data)).stat()
                version = f"{facts.st_size} {facts.st_mtime_ns}" if resume else ""
                mark = str(path.absolute()), version
                data = stack.enter_context(path.open("rb"))
            elif isinstance(data, str | bytes):
                data = io.BytesIO(data.encode() if isinstance(data, str) else data)
            kind = re.sub(r"[^\x21-\x7e]", "", mimetype or "") or "application/octet-stream"
            size, sha256, row = self._store(filename, data, caption or "", kind, progress, mark)
        raw = f"{self._api.url}i{row.get('id')}{quote(Path(filename).suffix)}"  # v1 tells none
        made = MinusFile(self._api, "", {"name": filename, "url_rawfile": raw, **row})
        other = made.sha256 and made.sha256.lower() != sha256
        if not made.id or made.filesize != size or other:
            why = f"the service has {made.filesize} bytes of {size} that were sent"
            why = "the service has other bytes than were sent" if other else why
            raise MinusIntegrityError(why, None, "POST", self._place(filename))
        return made

    def _store(
        self,
        name: str,
        data: IO[bytes],
        caption: str,
        kind: str,
        progress: Progress | None,
        mark: tuple[str, str],
    ) -> tuple[int, str, JSON]:
        """Send a file the best way that the service takes. -> bytes, SHA-256, the row

        mark   a local file's path, "" for none; what changes when it does, "" to start over
        """
        whole = None
        size = _measure(data)[1]
        if (size or 0) <= RESUMABLE:
            whole = _beginning(data, RESUMABLE + 1)
            if progress and size is None:  # reading a pipe took its time: it may be over by now
                progress(0, None)
            if len(whole) > RESUMABLE:
                data, whole = cast("IO[bytes]", _Joined(whole, data)), None
        if whole is None and self._api._knows("tus"):
            return _Upload(self._api, self._uploads, data, progress).send(name, caption, kind, mark)
        digest = "" if whole is None else _repr_digest(hashlib.sha256(whole))
        data = data if whole is None else io.BytesIO(whole)
        body: _Body
        if (
            self._extended
            and self._api._knows("raw")
            and len(caption) < 500  # it goes into the address
            and re.fullmatch(r"[^/\\]*[^/\\.][^/\\]*", name)
        ):
            body, method = _Body(data, progress), "PUT"
            headers = {"Content-Type": kind} | ({"Repr-Digest": digest} if digest else {})
            place = f"{self._path}/files/{quote(name, safe='')}"
            place += f"?{urlencode({'caption': caption})}" if caption else ""
        else:
            body = form = _Form(name, data, caption, kind, digest, progress)
            method, headers, place = "POST", {"Content-Type": form.content_type}, self._place(name)
        row = self._api.create(place, body, headers, method)
        return body.sent, body.sha256, row

    @property
    def most_read(self) -> int:
        """How many files `read_batch` takes, 0 for none."""
        return self._api.limit("tar", "files", BATCH_FILES) if self._extended else 0

    @property
    def batch_limits(self) -> tuple[int, int, int]:
        """What `new_batch` takes: files, bytes of each, bytes of all; zeros for nothing."""
        if not self._extended:
            return 0, 0, 0
        most = ("files", BATCH_FILES), ("file_bytes", BATCH_BYTES), ("bytes", BATCH_BYTES)
        files, each, total = (self._api.limit("batch", *limit) for limit in most)
        return files, each, total

    def new_batch(self, files: Sequence[tuple[str, bytes]]) -> list[MinusFile]:
        """Make several files, of name and bytes, in one request: all of them, or none.

        -> the files, of which id, name, filesize and sha256 are known
        """
        return self._batch(files)()

    def _batch(self, files: Sequence[tuple[str, bytes]]) -> Callable[[], list[MinusFile]]:
        """Make the request of `new_batch`. -> what sends it"""
        boundary = os.urandom(16).hex()
        parts: list[bytes] = []
        facts: list[tuple[int, str]] = []  # what the service is to have
        for name, data in files:
            sha256 = hashlib.sha256(data)
            facts.append((len(data), sha256.hexdigest()))
            head = (
                f"--{boundary}\r\n"
                f'Content-Disposition: form-data; name="file"; filename="{_part_name(name)}"\r\n'
                "Content-Type: application/octet-stream\r\n"
                f"Repr-Digest: {_repr_digest(sha256)}\r\n\r\n"
            )
            parts += head.encode(), data, b"\r\n"
        parts.append(f"--{boundary}--\r\n".encode())
        return partial(self._send_batch, boundary, b"".join(parts), facts)

    def _send_batch(
        self, boundary: str, body: bytes, facts: list[tuple[int, str]]
    ) -> list[MinusFile]:
        path = f"{self._path}/batch?fields=name,filesize,sha256"
        kind = f"multipart/form-data; boundary={boundary}"
        answer = self._api.create(path, body, {"Content-Type": kind})
        rows = answer.get("results")
        made = [MinusFile(self._api, "", row) for row in rows] if isinstance(rows, list) else []
        if [(file.filesize, file.sha256) for file in made] != facts:
            why = "the service has other files than were sent"
            raise MinusIntegrityError(why, None, "POST", path)
        return made

    def read_batch(self, files: Sequence[MinusFile]) -> Iterator[bytes]:
        """The bytes of several files of the folder, in one stream, each proven.

        Raises MinusIntegrityError where length or SHA-256 are not those that the file has.
        """
        path = f"{self._path}/tar"
        response = self._api._send("POST", path, {"ids": _form_value(_ids(files))}, {})
        with io.BufferedReader(MinusStream(response, None), BLOCK) as stream:
            for file in files:
                found, data = _tar_member(stream, file.filesize)
                digest = file.sha256 and hashlib.sha256(data).hexdigest()
                if (found, len(data), digest) != (file.id, file.filesize, file.sha256.lower()):
                    raise MinusIntegrityError(f"{file.name}: other bytes came", None, "POST", path)
                yield data
            stream.read(_TAR_END)  # so that the connection can be used again

    def upload(self, path: StrPath, filename: str | None = None, **more: Any) -> MinusFile:
        """Store a local file, under its own name unless `filename` says otherwise.

        more   caption, mimetype, progress, as of `new`
        """
        return self.new(filename or Path(path).name, Path(path), **more)

    def rename(self, name: str) -> MinusFolder:
        self._put(self._path, name=name)
        return self

    def publish(self, public: bool = True) -> MinusFolder:
        self._put(self._path, is_public=public)
        return self

    def reorder(self, files: Iterable[MinusFile | str]) -> MinusFolder:
        """Set the order of the files, given as objects or ids; the others follow. -> self"""
        self._put(self._path, item_ordering=_ids(files))
        return self

    def star(self) -> None:
        self._api.request("activeuser/favorited", {"id": self.id})

    def unstar(self) -> None:
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

    def file(self, start: int = 0, etag: str = "", prove: bool = True) -> MinusStream:
        """The bytes as a stream, which closes itself in a `with` block.

        prove   compare their SHA-256 with the service's
        start   the first byte that is wanted; where it is not had, or the file is no longer that of
                the `etag`, all bytes come, and the stream's own `start` is 0
        """

        def ask(start: int, etag: str) -> Reply:
            headers = {"Range": f"bytes={start}-"} if start else {}
            headers |= {"If-Range": etag} if start and etag else {}
            return self._api.open(self.url_rawfile, headers)

        expected = None if self._filesize is None else max(0, self.filesize)
        stream = MinusStream(ask(start, etag), expected, ask, self.sha256.lower(), prove)
        stream.retries = self._api.retries
        if stream.start not in (0, start):
            stream.close()
            why = "other bytes came than were asked for"
            raise MinusIntegrityError(why, None, "GET", self.url_rawfile)
        return stream

    def data(self) -> bytes:
        with self.file() as stream:
            return stream.read()

    def save(
        self,
        path: StrPath,
        progress: Progress | None = None,
        replace: bool = True,
        resume: bool = True,
        over: bool = False,
    ) -> Path:
        """Write the bytes to a local file, whole or not at all. -> its path

        Length and SHA-256 are compared with the service's before the file gets its name. What
        came of a large file that is cut off stays beside it; the next call goes on there.
        over   what has the name now is taken for the beginning of the file, and proven

        Raises MinusIntegrityError when they differ, FileExistsError when something has the
        name already and `replace` is false, or with `over` is no beginning of the file.
        """
        target = Path(path)
        large = self.filesize > RESUMABLE
        if not over and not (resume and large):
            if large:
                _Part(target, self.id, resume=False)  # what is left of an earlier one goes
            with self.file(prove=False) as stream, whole_file(target, replace=replace) as out:
                self._fill(out, stream, progress)
            return target
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a directory", str(target))
        if over and not self.sha256:
            raise FileExistsError(
                f"{target} exists, and the service tells no SHA-256 to prove it by"
            )
        over = over and os.path.lexists(target)
        if over and not target.is_file():
            raise FileExistsError(f"{target} exists and is no plain file")
        with contextlib.closing(_Part(target, self.id, resume)) as part:
            self._complete(part, progress, over)
            if over and not part.begins_as_target():
                raise _no_beginning(target)
            part.give_name(replace or over)
        return target

    def _complete(self, part: _Part, progress: Progress | None, over: bool) -> None:
        """Fetch what a part lacks, or all of it where what is there turns out wrong."""
        for left in reversed(range(RETRIES)):
            try:
                self._save_part(part, progress, over)
                return
            except MinusTemporaryError as error:
                if error.error != "changed" or not left:
                    raise
                part.drop()
            except MinusIntegrityError:
                part.drop()
                if part.source == "target":
                    raise _no_beginning(part.target) from None
                if part.source != "part":
                    raise
            except OSError:  # a full disk first of all: what is there is only in the way
                part.drop()
                raise

    def _save_part(self, part: _Part, progress: Progress | None, over: bool) -> None:
        """Fetch what a part lacks."""
        size = part.size
        have = size or (part.target.stat().st_size if over else 0)
        have = min(have, max(0, self.filesize - 1))  # something is to come, if only to be sure
        with self.file(have, part.etag, prove=False) as stream:
            part.source = ("part" if size else "target") if have and stream.start else ""
            if part.source == "part" and stream.etag != part.etag:
                raise MinusTemporaryError("the file changed", None, "GET", "", "changed")
            if part.source != "part":
                part.begin(stream.etag if stream.sha256 else "")  # only what can be proven goes on
            if part.source == "target":
                part.copy(have)
            self._fill(cast("IO[bytes]", part.file), stream, progress)

    def _fill(self, out: IO[bytes], stream: MinusStream, progress: Progress | None) -> None:
        """Write the stream's bytes behind those that are there, and prove all of them."""
        sha256 = hashlib.sha256()
        out.seek(0)
        _hash_on(sha256, out, stream.start)
        out.truncate()
        done, length = stream.start, stream.length
        with _Digest(None if length is None else length - done, sha256) as digest:
            while size := stream.readinto(buffer := digest.buffer()):
                with memoryview(buffer)[:size] as block:
                    for start in range(0, size, WRITE):
                        out.write(block[start : start + WRITE])
                digest.add(buffer, size)
                done += size
                if progress:
                    progress(done, length)
            stream.prove(digest.taken())
        out.flush()

    def change(
        self, caption: str | None = None, title: str | None = None, name: str | None = None
    ) -> MinusFile:
        wire_name = None if name is None else _wire_name(name)
        self._put(self._path, caption=caption, title=title, name=wire_name)
        return self

    def rename(self, name: str) -> MinusFile:
        return self.change(name=name)


def _no_beginning(target: Path) -> FileExistsError:
    return FileExistsError(f"{target} exists and is no beginning of this file")


class MinusGallery(MinusFolder):
    """A folder by API v1, which whoever has its `editor_id` may change without an account.

    gallery_id   the reader's id, of one's own gallery too; else the editor's

    What only MinusFolder can do needs the owner to be signed in; v1 knows no captions.
    """

    _extended = False
    _wire = MinusFolder._wire | _fields(
        text="reader_id editor_id last_visit thumbnail_id", number="item_count clicks"
    )

    def __init__(self, api: MinusConnection, gallery_id: str, params: JSON | None = None) -> None:
        row = {"reader_id": gallery_id, **(params or {})}
        if row.get("editor_id") in (None, "Unavailable", "Deleted"):  # the wire's words for none
            row["editor_id"] = gallery_id
        super().__init__(api, "", {**row, "id": row["reader_id"] or row["editor_id"]})

    @property
    def edit_link(self) -> str:
        return f"{self._api.url}m{_quoted(self._key)}"

    @property
    def _key(self) -> str:
        return str(self.editor_id or self.id)

    def _place(self, filename: str) -> str:
        query = {"editor_id": self._key, "key": "OK", "filename": _wire_name(filename)}
        return f"../UploadItem?{urlencode(query)}"

    @property
    def _uploads(self) -> str:
        return f"../../m{_quoted(self._key)}/uploads"

    def items(self) -> list[MinusFile]:
        """The items in order; `id`, `name` and `url_rawfile` are known of them."""
        row = self._api.request(f"../GetItems/m{_quoted(self.id)}")
        self.name = _text(row.get("GALLERY_TITLE"))
        urls, names = (_strings(row.get(f"ITEMS_{word}")) for word in ("GALLERY", "NAME"))
        rows = [
            {"id": _last(url)[1:].partition(".")[0], "name": name, "url_rawfile": url}
            for url, name in zip(urls, [*names, *[""] * len(urls)], strict=False)
        ]
        return [MinusFile(self._api, "", row) for row in rows]

    def save(
        self, name: str | None = None, items: Iterable[MinusFile | str] | None = None
    ) -> MinusGallery:
        """Set the title, and the items in order: the service deletes what is left out. -> self"""
        form = {"id": self._key, "name": self.name if name is None else name, "key": "OK"}
        if items is not None:
            form["items"] = _form_value(_ids(items))
        self._edit("SaveGallery", **form)
        self.name = form["name"]
        return self

    def publish(self, public: bool = True) -> MinusGallery:
        self._edit(f"set_{'public' if public else 'private'}/{_quoted(self._key)}")
        self.is_public = public
        return self

    def delete(self) -> None:
        self._edit("DeleteGallery", id=self._key)

    def _edit(self, path: str, **form: str) -> None:
        self._api._send("POST", f"../{path}", form, {}).close()


class MinusStream(io.RawIOBase):
    """The bytes of a file as they arrive; a connection that breaks is made anew.

    start    where in the file they begin
    length   of the whole file in bytes, None where the service does not tell it
    etag     of the version that they are of; empty where the service tells no strong one
    sha256   of the whole file, in hexadecimal; empty where the service tells none

    Reading raises MinusIntegrityError when fewer, more or other bytes come than that,
    MinusTemporaryError when they break off for good; its `error` is "changed" where the file did.
    """

    def __init__(
        self,
        response: Reply,
        expected: int | None,
        ask: Callable[[int, str], Reply] | None = None,
        sha256: str = "",
        prove: bool = False,
    ) -> None:
        super().__init__()
        told = re.search(
            r"\bsha-256=:([A-Za-z0-9+/]{43}=):", response.headers.get("Repr-Digest", "")
        )
        self.sha256 = sha256 or (binascii.a2b_base64(told[1]).hex() if told else "")
        declared = response.headers.get("Content-Length", "")
        came = _content_range(response)
        known = re.fullmatch(r"[0-9]{1,18}", declared)
        self.start = came[0] if came else 0
        self.length = self.start + int(declared) if known else expected
        etag = response.headers.get("ETag", "")
        self.etag = etag if re.fullmatch(r'"[!#-~]{1,100}"', etag) else ""
        self._expected = self.length if expected is None else expected
        self._response = response
        self._ask = ask
        self.retries = RETRIES
        self._done = self.start
        self._tries, self._broke_at = 0, self.start
        self._proof = hashlib.sha256() if prove and not self.start else None

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Read up to `size` bytes, all that follow for -1; b"" at the end."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        buffer = bytearray(size)
        return bytes(memoryview(buffer)[: self.readinto(buffer)])

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer as much as there is room. -> bytes, 0 at the end"""
        if self.closed:
            raise ValueError("the stream is closed")
        size = None
        while size is None:
            # of a line that was too slow for a block, less is asked at once
            room = memoryview(buffer)[: SLOW_BLOCK if self._tries else None]
            try:
                size = _read_block(self._response, room)
            except OSError as error:
                self._go_on(f"the file broke off: {_reason(error)}")
        self._done += size
        self._tries = 0 if self._done >= self._broke_at + LEAST else self._tries
        expected = self._expected
        over = expected is not None and self._done > expected
        if over or (not size and len(buffer) and expected not in (None, self._done)):
            why = f"{self._done} bytes came instead of {expected}"
            raise MinusIntegrityError(why, None, "GET", self._response.url)
        if self._proof:
            with memoryview(buffer)[:size] as block:
                self._proof.update(block)
            if self._done == expected or (not size and len(buffer)):
                self.prove(self._proof)
        return size

    def prove(self, sha256: Any) -> None:
        """Compare the SHA-256 of all bytes. Raises MinusIntegrityError"""
        if self.sha256 and sha256.hexdigest() != self.sha256:
            raise MinusIntegrityError("the SHA-256 differs", None, "GET", self._response.url)

    def _go_on(self, why: str) -> None:
        """Ask for the rest. Raises MinusTemporaryError where that is to no avail."""
        self._tries, self._broke_at = self._tries + 1, self._done
        broken = MinusTemporaryError(why, None, "GET", self._response.url)
        if self._ask is None or not self.etag or self._tries > self.retries:
            raise broken
        time.sleep(_pause(self._tries))
        self._response.close()
        try:
            self._response = self._ask(self._done, self.etag)
        except MinusTemporaryError as error:
            raise MinusTemporaryError(f"{why}; {error}", None, "GET", error.path) from None
        same = not self._done or _content_range(self._response) == (self._done, self._expected)
        if not same or self._response.headers.get("ETag") != self.etag:
            why = "the file changed while it was read"
            raise MinusTemporaryError(why, None, "GET", self._response.url, "changed")

    def close(self) -> None:
        self._response.close()
        super().close()


def _content_range(response: Reply) -> tuple[int, int] | None:
    """Where a part begins, and the bytes of the whole; None where the whole came."""
    if response.status_code != 206:
        return None
    told = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})", told)
    return (int(found[1]), int(found[2])) if found else (-1, -1)


_TAR_BLOCK, _TAR_END = 512, 10 << 10
_BUFFERS = 3  # of a block each: one arrives, one is hashed, one waits
_BESIDE = 4 * BLOCK  # bytes from which on a thread pays


def _tar_member(stream: IO[bytes], most: int) -> tuple[str, bytes]:
    """Read one member of a tar stream (POSIX pax), of `most` bytes. -> its id, its bytes"""
    found = ""
    for _ in range(2):
        head = stream.read(_TAR_BLOCK)
        digits, extends = head[124:136].strip(b"\0 "), head[156:157] == b"x"
        size = int(digits, 8) if re.fullmatch(rb"[0-7]{1,11}", digits) else -1
        if not 0 <= size <= (MAX_PAX if extends else most):
            break
        data = stream.read(-(-size // _TAR_BLOCK) * _TAR_BLOCK)[:size]
        if not extends:
            return found, data
        record = re.search(rb"(?:^|\n)\d+ MINUS\.id=([^\n]*)\n", data)
        found = record[1].decode("ascii", "replace") if record else ""
    raise MinusIntegrityError("the stream of files cannot be read")


class _Digest:
    """A SHA-256 that goes on in a thread beside, from the buffers that the blocks arrive in."""

    def __init__(self, size: int | None, sha256: Any) -> None:
        self._sha256 = sha256
        self._beside = size is None or size > _BESIDE
        self._free: SimpleQueue[bytearray] = SimpleQueue()
        self._full: SimpleQueue[tuple[bytearray, int] | None] = SimpleQueue()
        for _ in range(_BUFFERS if self._beside else 1):
            self._free.put(bytearray(BLOCK if self._beside else min(BLOCK, size or 0) + 1))
        self._thread = threading.Thread(target=self._work, daemon=True)
        if self._beside:
            self._thread.start()

    def __enter__(self) -> _Digest:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._beside:
            self._full.put(None)
            self._thread.join()
        self._beside = False

    def _work(self) -> None:
        while (item := self._full.get()) is not None:
            self._take(*item)

    def _take(self, buffer: bytearray, size: int) -> None:
        with memoryview(buffer)[:size] as block:
            self._sha256.update(block)
        self._free.put(buffer)

    def buffer(self) -> bytearray:
        """One to fill, of a block's size."""
        return self._free.get()

    def add(self, buffer: bytearray, size: int) -> None:
        """Take the bytes that one now holds; it is filled again after that."""
        if self._beside:
            self._full.put((buffer, size))
        else:
            self._take(buffer, size)

    def taken(self) -> Any:
        """The SHA-256 of all; nothing may be added any more."""
        self._end()
        return self._sha256


def _hash_on(sha256: Any, source: IO[bytes], size: int) -> None:
    """Take so many bytes more into a SHA-256. Raises OSError where there are fewer."""
    while size > 0:
        if not (block := source.read(min(BLOCK, size))):
            raise OSError("the file became shorter meanwhile")
        sha256.update(block)
        size -= len(block)


def _repr_digest(sha256: Any) -> str:
    """A SHA-256 as `Repr-Digest` carries it (RFC 9530)."""
    return f"sha-256=:{binascii.b2a_base64(sha256.digest(), newline=False).decode()}:"


def _wire_name(name: str) -> str:
    """A file's name as it goes to the service, which decodes a name that is all escapes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the name {name!r} is no Unicode text") from None
    escapes = re.fullmatch(r"(?:[A-Za-z0-9_.~!*'()-]|%[0-9A-Fa-f]{2})+", name)
    return quote(name, safe="") if "%" in name and escapes else name


# a batch has no field beside a part's `filename` that would set these right
_HARD_IN_FORMS = re.compile(r'[%"\\\x00-\x1f]')


def _part_name(name: str) -> str:
    """A file's name as it stands in quotes in the header of a form's part."""
    return _wire_name(name).replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


class _Body:
    """A file on its way to the service: read, and its SHA-256 taken, while it is sent.

    piece   of the rest of the file: where it begins, its bytes, the SHA-256 of what is before it
    """

    head = tail = b""

    def __init__(
        self,
        source: IO[bytes],
        progress: Progress | None,
        piece: tuple[int, int, Any] | None = None,
    ) -> None:
        self._source = source
        self.start, self._size = _measure(source)
        self._total, self._before, self._base = self._size, 0, hashlib.sha256()
        if piece and self.start is not None:
            self._before, self._size, self._base = piece
            self.start += self._before
        self.sent = 0  # bytes of the file
        self.digest = self._base  # of all up to here, once it was sent
        self.ended = False
        self.failure: OSError | None = None
        self._progress = progress
        if self._size is not None:
            # the body's length; without it the body goes out once, in chunks
            self.len = len(self.head) + self._size + len(self.tail)

    @property
    def sha256(self) -> str:
        return str(self.digest.hexdigest())

    def __iter__(self) -> Iterator[Any]:
        if self.start is not None:  # this may be the second time
            self._source.seek(self.start)
        self.sent = 0
        with _Digest(self._size, self._base.copy()) as digest:
            if self.head:
                yield self.head
            while size := self._read(buffer := digest.buffer()):
                with memoryview(buffer)[:size] as block:
                    yield block
                digest.add(buffer, size)
                self.sent += size
                if self._progress:
                    self._progress(self._before + self.sent, self._total)
            if self.tail:
                yield self.tail
            self.digest, self.ended = digest.taken(), True

    def _read(self, buffer: bytearray) -> int:
        """Read a block; a failure of ours is kept, for it would be taken for the network's."""
        left = len(buffer) if self._size is None else self._size - self.sent
        try:
            if self.start is None:  # it may be of any kind, and fill no buffer
                block = self._source.read(left)
                size = len(block)
                buffer[:size] = block
            else:
                with memoryview(buffer)[:left] as room:
                    size = cast(Any, self._source).readinto(room) if left else 0
            if left and self._size is not None and not size:
                raise OSError("the file became shorter while it was sent")
        except OSError as error:
            self.failure = error
            raise
        return size


class _Form(_Body):
    """A multipart form with one file."""

    def __init__(
        self,
        name: str,
        source: IO[bytes],
        caption: str,
        mimetype: str,
        digest: str,
        progress: Progress | None,
    ) -> None:
        boundary = os.urandom(16).hex()
        self.content_type = f"multipart/form-data; boundary={boundary}"
        field = f"--{boundary}\r\nContent-Disposition: form-data; name="
        head = (
            f'{field}"filename"\r\n\r\n{_wire_name(name)}\r\n'
            f'{field}"caption"\r\n\r\n{caption}\r\n'
            f'{field}"file"; filename="{_part_name(name)}"\r\nContent-Type: {mimetype}\r\n'
        )
        head += f"Repr-Digest: {digest}\r\n\r\n" if digest else "\r\n"
        self.head, self.tail = head.encode(), f"\r\n--{boundary}--\r\n".encode()
        super().__init__(source, progress)


class _Upload:
    """A file on its way by tus 1.0: the service keeps what came, so that a broken one goes on.

    path   of the upload on the service, "" as long as there is none
    """

    def __init__(
        self, api: MinusConnection, place: str, source: IO[bytes], progress: Progress | None
    ) -> None:
        self._api, self._place = api, place
        self._source, self._progress = source, progress
        self._start, self._size = _measure(source)
        self._streamed: _Body | None = None  # what was read to its end and cannot be again
        self._once = os.urandom(16).hex()
        self.path = ""

    def send(
        self, name: str, caption: str, kind: str, mark: tuple[str, str]
    ) -> tuple[int, str, JSON]:
        """Send it, from where an earlier run was cut off if one was.

        mark   as of `_store`. -> as `_store`
        """
        facts = {"filename": name, "filetype": kind, "caption": caption}
        meta = ",".join(
            f"{key} {binascii.b2a_base64(text.encode(), newline=False).decode()}"
            for key, text in facts.items()
            if text
        )
        local, version = mark
        key = hashlib.sha256("\n".join((self._place, name, caption, kind, local)).encode())
        with _note(key.hexdigest()[:32] if local else "") as note:
            told = note.read(500).decode("ascii", "replace") if note else ""
            old, _, self.path = told.partition("\n")
            if self.path and (old != version or not version):
                self._give_up()
            begun = bool(self.path)
            try:
                done = self._send(meta, version, note)
            except MinusAPIError as error:
                if not begun or isinstance(error, MinusTemporaryError | MinusAuthError):
                    raise
                self._give_up()  # the service has it no more, or other bytes of an earlier time
                done = self._send(meta, version, note)
            _write_note(note, "")
        return done

    def _send(self, meta: str, version: str, note: IO[bytes] | None) -> tuple[int, str, JSON]:
        tries = reached = 0
        while True:
            try:
                if self.path:
                    offset = self._offset()
                else:
                    offset = self._begin(meta)
                    _write_note(note, f"{version}\n{self.path}")
                if offset >= reached + LEAST:
                    tries, reached = 0, offset
                return self._send_from(offset)
            except BaseException as error:
                tries += 1
                status = error.status if isinstance(error, MinusAPIError) else None
                again = isinstance(error, MinusTemporaryError) or status == 409
                again = again and tries <= self._api.retries
                if not again or (self._start is None and not self._streamed):
                    if note is None or isinstance(error, OSError):  # nobody will go on with it
                        _Running(self._give_up).join(STOP_SECONDS)
                    raise
                time.sleep(_pause(tries))

    def _request(self, method: str, headers: Headers, body: Any = None) -> Reply:
        told = {"Tus-Resumable": "1.0.0", **headers}
        return self._api._send(method, self.path or self._place, body, told)

    def _begin(self, meta: str) -> int:
        size = {"Upload-Defer-Length": "1"}
        size = size if self._size is None else {"Upload-Length": str(self._size)}
        told = {**size, "Idempotency-Key": self._once, "Upload-Metadata": meta}
        with contextlib.closing(self._request("POST", told, b"")) as response:
            found = _last(response.headers.get("Location", ""))
        if not found:
            raise MinusAPIError("the service gave no address to upload to", None, "POST")
        self.path = f"../../uploads/{_quoted(found)}"
        return 0

    def _offset(self) -> int:
        """How many bytes the service has."""
        with contextlib.closing(self._request("HEAD", {})) as response:
            told = response.headers.get("Upload-Offset", "")
        good = re.fullmatch(r"[0-9]{1,18}", told)
        if not good or (self._size is not None and int(told) > self._size):
            raise MinusAPIError("the service does not tell how much it has", None, "HEAD")
        return int(told)

    def _patch(self, offset: int, body: Any, headers: Headers) -> JSON:
        told = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
        return self._api._json(self._request("PATCH", {**told, **headers}, body))

    def _send_from(self, offset: int) -> tuple[int, str, JSON]:
        """Send what the service lacks; the last bytes go with the SHA-256 of all."""
        sha256, last, more = hashlib.sha256(), b"", {}
        if self._start is None or self._size is None:
            if (body := self._streamed) is None:
                body = _Body(self._source, self._progress)
                try:
                    self._patch(0, body, {})
                finally:
                    self._streamed = body if body.ended else None
            elif offset != body.sent:
                raise MinusAPIError("a stream broke off and cannot be sent again", None, "PATCH")
            sha256, offset = body.digest, body.sent
            more = {"Upload-Length": str(offset)}
        else:
            self._source.seek(self._start)
            _hash_on(sha256, self._source, offset)
            end = max(offset, self._size - LAST)
            if end > offset:
                self._source.seek(self._start)
                body = _Body(self._source, self._progress, (offset, end - offset, sha256))
                self._patch(offset, body, {})
                sha256, offset = body.digest, end
            last = _beginning(self._source, self._size - offset)
            _hash_on(sha256, io.BytesIO(last), self._size - offset)
        proof = {"Repr-Digest": _repr_digest(sha256), "Prefer": "return=representation"}
        row = self._patch(offset, last, {**proof, **more})
        size = offset + len(last)
        if self._progress:
            self._progress(size, size)
        return size, sha256.hexdigest(), row

    def _give_up(self) -> list[None]:
        """Have the service forget it, and its room: nobody will go on with it."""
        with contextlib.suppress(MinusAPIError):
            if self.path:
                self._request("DELETE", {}).close()
        self.path, self._once = "", os.urandom(16).hex()
        return []


class _Joined:
    """A stream whose beginning was read already."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self._first, self._rest = io.BytesIO(first), rest

    def read(self, size: int) -> bytes:
        return self._first.read(size) or self._rest.read(size)


def _beginning(source: IO[bytes], most: int) -> bytes:
    """The next bytes of a stream, so many unless it ends."""
    blocks = []
    while most > 0 and (block := source.read(min(BLOCK, most))):
        blocks.append(block)
        most -= len(block)
    return b"".join(blocks)


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
_RESERVED = re.compile(r"(?i)(con(in\$|out\$)?|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(\..*)?")
_MAX_NAME = 255  # bytes of a local name
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,99}")
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
    if _PLAIN_NAME.fullmatch(name) and not _ON_WINDOWS:
        return name
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
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", name).casefold()


@contextlib.contextmanager
def whole_file(target: Path, *, replace: bool = True, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Write a file whole or not at all: under no name or another one, until it is whole.

    Raises FileExistsError when `replace` is false and something has the name by then.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(target))
    with contextlib.ExitStack() as stack:
        part = None if replace else _nameless(target.parent, mode)
        part = stack.enter_context(part or _part_beside(target, mode))
        yield part
        part.flush()
        if replace:
            os.fsync(part.fileno())  # else a crash could leave neither the old bytes nor the new
            Path(part.name).replace(target)
        else:
            _give_name(part, target, mode)


def _write_new(target: str, data: bytes) -> None:
    """Make a file of these bytes, whole or not at all. Raises FileExistsError.

    What `whole_file` does, without its buffer and its generator: of many small files these
    would take as long as the file itself.
    """
    try:
        number = os.open(os.path.dirname(target) or ".", os.O_TMPFILE | os.O_WRONLY, 0o666)
    except (OSError, AttributeError):  # there are no files without names
        number = -1
    if number >= 0:
        try:
            if os.write(number, data) == len(data):
                os.link(f"/proc/self/fd/{number}", target, src_dir_fd=number)
                return
        except FileExistsError:
            raise FileExistsError(f"{target} exists") from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
        finally:
            os.close(number)
    with whole_file(Path(target), replace=False) as out:
        out.write(data)


def _nameless(folder: Path, mode: int) -> IO[bytes] | None:
    """A new file without a name, which is gone with the process; None where there is no such."""
    with contextlib.suppress(OSError, AttributeError):
        return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, mode), "w+b")
    return None


@contextlib.contextmanager
def _part_beside(target: Path, mode: int) -> Iterator[IO[bytes]]:
    """A new file in the same folder, which is gone at the end unless it was renamed."""
    place = target.with_name(f".minus-{os.urandom(8).hex()}.part")
    try:
        part = open(place, "x+b", opener=partial(os.open, mode=mode))  # noqa: SIM115
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    try:
        with part:
            yield part
    finally:
        place.unlink(missing_ok=True)


def _give_name(part: IO[bytes], target: Path, mode: int) -> None:
    """Make a part appear under a name that nothing has. Raises FileExistsError."""
    try:
        # of a nameless one: a number of a folder makes this the call that follows the link
        if isinstance(part.name, str):
            os.link(part.name, target)
        else:
            os.link(f"/proc/self/fd/{part.fileno()}", target, src_dir_fd=part.fileno())
    except OSError:  # it exists, or the file system has no links
        if os.path.lexists(target):
            raise FileExistsError(f"{target} exists") from None
        if isinstance(part.name, str):
            Path(part.name).rename(target)
            return
        with _part_beside(target, mode) as copy:
            part.seek(0)
            while block := part.read(BLOCK):
                copy.write(block)
            copy.flush()
            Path(copy.name).rename(target)


def _remove(place: Path, file: IO[bytes]) -> None:
    """Remove an open file of ours; where the lock can be kept until then, it is."""
    if _ON_WINDOWS:
        file.close()
    place.unlink(missing_ok=True)
    file.close()


def _locked(place: Path, flags: int = 0, mode: int = 0o666) -> IO[bytes] | None:
    """Open a plain file for this process alone; None for any other, or one that is in use."""
    flags |= os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = open(str(place), "r+b", opener=lambda path, _: os.open(path, flags, mode))  # noqa: SIM115
    except OSError:
        return None
    facts = os.fstat(file.fileno())
    alone = stat.S_ISREG(facts.st_mode) and (_ON_WINDOWS or facts.st_uid == os.geteuid())
    try:
        with contextlib.suppress(ImportError):  # no such locks
            import fcntl

            if alone:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        now = os.lstat(place)  # it may have got its name meanwhile, and be done
        alone = alone and os.path.samestat(now, facts) and now.st_nlink == 1
    except OSError:
        alone = False
    if alone:
        return file
    file.close()
    return None


class _Part:
    """What has come of a large file, beside its target: it stays when the transfer is cut off.

    Its name tells of which file, in which version, it is the beginning.

    source   of the bytes that were there before the stream's: "part", "target", or "" for none
    """

    def __init__(self, target: Path, file_id: str, resume: bool) -> None:
        self.target, self._id = target, file_id
        self.file: IO[bytes] | None = None
        self.etag = self.source = ""
        self._stays = True
        self._stem = f".minus-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}."
        for place in target.parent.glob(f"{self._stem}*.part"):
            if self.file or not (file := _locked(place)):
                continue
            label = place.name[len(self._stem) : -len(".part")]
            known = re.fullmatch("([0-9a-f]{2})+", label)
            found = bytes.fromhex(label).decode(errors="replace") if known else ""
            if resume and found.partition(" ")[0] == file_id:
                self.file, self.etag = file, found.partition(" ")[2]
            else:  # of a file that had the name before, or not wanted
                _remove(place, file)

    @property
    def size(self) -> int:
        return os.fstat(self.file.fileno()).st_size if self.file else 0

    def begin(self, etag: str) -> None:
        """Start over; without a version it will not go on another time."""
        self.drop()
        label = f"{self._id} {etag}".encode().hex() if etag else ""
        place = self.target.with_name(f"{self._stem}{label}.part")
        new = os.O_CREAT | os.O_EXCL
        self.file = _locked(place, new) if label and len(place.name) <= _MAX_NAME else None
        self._stays, self.etag = self.file is not None, etag
        if self.file is None:  # another process is about the same file
            place = self.target.with_name(f".minus-{os.urandom(8).hex()}.part")
            try:
                self.file = open(str(place), "x+b")  # noqa: SIM115
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self.target)) from None

    def copy(self, size: int) -> None:
        """Begin with the bytes that the target has."""
        from shutil import copyfileobj

        with self.target.open("rb") as source:
            copyfileobj(source, cast("IO[bytes]", self.file), BLOCK)
        cast("IO[bytes]", self.file).truncate(size)

    def begins_as_target(self) -> bool:
        """Compare it with what has its name, as far as that goes."""
        file = cast("IO[bytes]", self.file)
        file.seek(0)
        with self.target.open("rb") as target:
            while block := target.read(BLOCK):
                if file.read(len(block)) != block:
                    return False
        return True

    def give_name(self, replace: bool) -> None:
        """Make it appear under its target's name."""
        file = cast("IO[bytes]", self.file)
        self._stays = False
        if replace:
            os.fsync(file.fileno())
            if _ON_WINDOWS:
                file.close()
            Path(file.name).replace(self.target)  # locked until then: nobody else goes on with it
        else:
            _give_name(file, self.target, 0o666)

    def drop(self) -> None:
        self._stays = False
        self.close()
        self.file, self.etag = None, ""

    def close(self) -> None:
        if self.file and self._stays:
            self.file.close()
        elif self.file:
            _remove(Path(self.file.name), self.file)


@contextlib.contextmanager
def _note(name: str) -> Iterator[IO[bytes] | None]:
    """A private file of this process alone, which stays where something was written to it.

    None for no name, where another process has it, and where there is none to be had.
    """
    folder, note = state_folder() / "uploads", None
    if name:
        with contextlib.suppress(OSError):
            _private_folder(folder)
            for old in folder.iterdir():
                if old.stat().st_mtime < time.time() - KEPT_DAYS * 86400:
                    old.unlink()
            note = _locked(folder / name, os.O_CREAT, 0o600)
    try:
        yield note
    finally:
        if note and not os.fstat(note.fileno()).st_size:
            _remove(folder / name, note)
        elif note:
            note.close()


def _write_note(note: IO[bytes] | None, text: str) -> None:
    if note:
        note.seek(0)
        note.truncate()
        note.write(text.encode())
        note.flush()


def _private_folder(path: Path) -> None:
    for folder in (path.parent, path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def private_file(path: Path, data: bytes) -> None:
    """Replace a file that only its owner may read, in a folder that only its owner may enter."""
    _private_folder(path.parent)
    with whole_file(path, mode=0o600) as out:
        out.write(data)


def _read_private(path: StrPath, ours: bool) -> bytes:
    """Read a file of secrets. Raises MinusConfigError where others may read it.

    ours   one that we made: no link, and in a folder that others may not write into
    """
    try:
        number = os.open(path, os.O_RDONLY | (getattr(os, "O_NOFOLLOW", 0) if ours else 0))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise MinusConfigError(f"{path} is a link: remove it") from None
        raise
    if stat.S_ISDIR(os.fstat(number).st_mode):
        os.close(number)
        raise MinusConfigError(f"{path} is a directory")
    with open(number, "rb") as file:
        facts, folder = os.fstat(number), os.path.dirname(path) or "."
        if stat.S_ISREG(facts.st_mode) and facts.st_mode & 0o077 and not _ON_WINDOWS:
            raise MinusConfigError(f"others can read {path}: chmod 600 {path}")
        if ours and os.stat(folder).st_mode & 0o022 and not _ON_WINDOWS:
            raise MinusConfigError(f"others can write to {folder}: chmod 700 {folder}")
        return file.read(MAX_JSON)


def _xdg(variable: str, fallback: str) -> Path:
    """A base folder of the user's, $XDG_... or its default."""
    return Path(os.environ.get(variable) or Path.home() / fallback)


def state_folder() -> Path:
    """Where tokens and the shell's history are kept."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "minus"


def data_folder() -> Path:
    """Where the embedded service keeps its files: $MINUS_DATA or below $XDG_DATA_HOME."""
    return Path(os.environ.get("MINUS_DATA") or _xdg("XDG_DATA_HOME", ".local/share") / "minus")


class StateFile:
    """A JSON object in the state folder, for its owner's eyes only."""

    def __init__(self, name: str) -> None:
        self._path = state_folder() / name

    def load(self) -> JSON:
        """What it holds, nothing where it cannot be read.

        Raises MinusConfigError where others could have written or read it.
        """
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(_read_private(self._path, ours=True))
            return found if isinstance(found, dict) else {}
        return {}

    def update(self, fields: Mapping[str, Any]) -> None:
        """Set some fields; None removes one. A file that cannot be read is put aside first."""
        if self._path.exists() and not self.load():
            self._path.replace(self._path.with_suffix(".old"))
        known = {**self.load(), **fields}
        kept = {name: value for name, value in known.items() if value is not None}
        private_file(self._path, json.dumps(kept).encode())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Change it one at a time: what one process writes, the next one finds here."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(ImportError, OSError):  # no such locks, or no folder to be had
                import fcntl

                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
                lock = os.fdopen(os.open(self._path.with_suffix(".lock"), flags, 0o600), "a")
                stack.enter_context(lock)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


# --- which service, which account ---

_PASSWORDS = ("password", "password_file", "password_command")
_SETTINGS = ("url", "username", *_PASSWORDS, "api_key", "api_secret", "allow_http", "cacert")


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
    import configparser

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


def _password_of(*levels: Mapping[str, Any]) -> dict[str, str]:
    """The password, or the command that prints it, of the first level that tells one."""
    for level in levels:
        ways = [way for way in _PASSWORDS if level.get(way)]
        if ways[1:]:
            raise MinusConfigError(f"{ways[0]} and {ways[1]} exclude each other")
        if ways == ["password_file"]:
            place = os.path.expanduser(level["password_file"])
            try:
                data = _read_private(place, ours=False)
            except OSError as error:
                raise MinusConfigError(f"no password file: {_words_of(error)}") from None
            return {"password": _line(data, place), "password_command": ""}
        if ways:
            return {"password": "", "password_command": "", ways[0]: level[ways[0]]}
    return {}


def _line(data: bytes, source: str) -> str:
    """The first line, which is a password. Raises MinusConfigError where there is none."""
    with contextlib.suppress(UnicodeDecodeError):
        if found := data.decode().partition("\n")[0].rstrip("\r"):
            return found
    raise MinusConfigError(f"no password in the first line of {source}")


def _printed_password(command: str) -> str:
    import subprocess

    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, check=False)  # noqa: S602
    if done.returncode:
        why = f"the password command ended with status {done.returncode}"
        raise MinusConfigError(why)
    return _line(done.stdout, "what the password command prints")


def _account_key(url: str, api_key: str, username: str) -> str:
    return hashlib.sha256("\n".join((url, api_key, username.lower())).encode()).hexdigest()[:32]


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
    sign_in: bool | None = True,
    insecure: bool = False,
    retries: int | None = None,
    **account: Any,
) -> MinusConnection:
    """Sign in where the arguments, the environment and the config file say, in this order.

    account   username, password or password_file or password_command, api_key, api_secret,
              allow_http, cacert; as of MinusConnection are insecure and retries
    data      the folder of the embedded service, which is started when needed; it is used where
              no service is named anywhere
    ask       called with a prompt for a username or a password that is given nowhere
    sign_in   at a named service: False for without an account, None for without where none is
              named

    Tokens are kept in the state folder, so that the next call signs in without a request.
    Raises MinusConfigError, MinusAuthError, MinusTemporaryError.
    """
    if unknown := set(account) - set(_SETTINGS):
        raise TypeError(f"connect() knows no {min(unknown)}")
    if data and url:
        raise MinusConfigError("a service's address and a data folder exclude each other")
    file, flags = read_config(config), {"url": url, **account}
    environment = {name: os.environ.get(f"MINUS_{name.upper()}") for name in _SETTINGS}
    given = {name: str(flags.get(name) or environment[name] or "") for name in _SETTINGS}
    place, of_file = (
        _service_url(text) if text else "" for text in (given["url"], file.get("url"))
    )
    if sign_in is None and place and of_file and place != of_file:
        file = {}  # the account there is for the service there
    found = {name: given[name] or file.get(name) or "" for name in _SETTINGS}
    found |= _password_of(flags, environment, file)
    if data or not found["url"]:
        # keys and names for a service that nobody named are not this one's
        username = str(account.get("username") or environment["username"] or "")
        return _connect_embedded(Path(data or data_folder()), username, debug)
    place, key, secret = _service_url(found["url"]), found["api_key"], found["api_secret"]
    named = found["username"] or any(account.get(way) for way in _PASSWORDS)
    how: JSON = {"url": place, "allow_http": _yes(found["allow_http"])}
    how |= {"debug": debug, "insecure": insecure}
    how["cacert"] = os.path.expanduser(found["cacert"]) or None
    if sign_in is False or (sign_in is None and not named):
        api = MinusConnection(**how)
        api.retries = RETRIES if retries is None else retries
        return api
    if not key or not secret:
        raise MinusConfigError(f"{place} needs both an api_key and an api_secret")
    name = found["username"] or (ask("Username: ") if ask else "")
    if not name:
        raise MinusConfigError("no username: --username, MINUS_USERNAME or the config file")
    api = MinusConnection(key, secret, **how)
    api.retries = RETRIES if retries is None else retries
    password = found["password"] or None
    account_key = _account_key(api.url, f"{key}:{secret}", name)
    tokens = StateFile(f"tokens/{account_key}.json")

    def authenticate() -> None:
        word = password
        if not word and found["password_command"]:
            word = _printed_password(found["password_command"])
        if not word and ask:
            word = ask("Password: ")
        if not word:
            raise MinusConfigError(
                "no password: set MINUS_PASSWORD, use --password-file or use a terminal"
            )
        api.authenticate(name, word)
        with contextlib.suppress(OSError):
            tokens.update({"check": _slow_hash(word, account_key)})

    # another password than the tokens were given for, right or wrong, is asked of the service
    fits = password is None or tokens.load().get("check") == _slow_hash(password, account_key)
    api.keep_tokens(tokens, authenticate, fits)
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
    tokens = StateFile(f"tokens/{_account_key(api.url, api.api_key, known['username'])}.json")

    def restart() -> None:
        found = find()  # it ends when nothing is asked of it for a while
        api.url, api.api_key, api._secret = found["url"], found["api_key"], found["api_secret"]
        api.restart = None  # but not a second time for one request
        try:
            api.authenticate_owner()
        finally:
            api.restart = restart

    api.keep_tokens(tokens, api.authenticate_owner, True)
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
}
_FAILURES = (_Failure, MinusConfigError, MinusAPIError, OSError, ValueError)


def _exit_status(error: BaseException) -> int:
    if isinstance(error, _Failure):
        return error.status
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EXIT_FATAL
    return next((_STATUSES[kind] for kind in _STATUSES if isinstance(error, kind)), EXIT_ERROR)


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


_Outcome = tuple[str, Callable[[], object]]  # a file's name; what gives or raises how it fared
_Unit = Callable[[], list[_Outcome]]
_Work = _Unit | tuple[int, Any] | None  # a unit; a small file with its bytes; None: wait


def _gathered(
    found: Iterable[_Work], several: Callable[[list[Any]], _Unit], most: int, weight: int
) -> Iterator[_Unit | None]:
    """Make small files into units of so many, and of so many bytes; keep the order."""
    small: list[Any] = []
    left = weight
    for work in chain(found, [None]):
        is_small = isinstance(work, tuple)
        if small and not (is_small and len(small) < most and cast(Any, work)[0] <= left):
            yield several(small)
            small, left = [], weight
        if isinstance(work, tuple):
            small.append(work[1])
            left -= work[0]
        else:
            yield work


def _go_on(stopped: threading.Event) -> None:
    if stopped.is_set():
        raise _Failure("stopped")


def _ran(act: Callable[[], T]) -> Callable[[], T]:
    """Do it now. -> what gives or raises what it did"""
    try:
        done = act()
    except _FAILURES as error:
        return partial(_raise, error)
    return lambda: done


def _raise(error: BaseException) -> Any:
    raise error


def _settled(name: str, outcome: Callable[[], object]) -> list[_Outcome]:
    return [(name, outcome)]


def _file_done(file: MinusFile) -> tuple[str, int]:
    return file.name, file.filesize


_TO_COMPARE = "name,filesize,sha256,url_rawfile"  # fields that say whether bytes are the same
_ESCAPED = {"\\": "\\", "n": "\n", "r": "\r"}  # as sha256sum does
_ABSENT = {"folder": EXIT_NO_FOLDER, "file": EXIT_NO_FILE}


class MinusCLI(cmd.Cmd):
    """The shell: each command parses its words, makes one call of the library, and says so.

    user          who is signed in, None for what needs nobody
    streams       standard input, output and error, where they are others than the process's
    on_conflict   "ask", "skip", "overwrite" or "rename", where a file of the name is there
    jobs          transfers at once, 0 for some that get and one that puts
    resume        False: nothing goes on where an earlier run was cut off. True: also a file under
                  its own name here is taken for a beginning, and what the folder has is not put
                  again. None: what was cut off goes on
    """

    doc_header = "Commands (help COMMAND tells more):"

    def __init__(
        self,
        user: Any,
        *streams: IO[str] | None,
        on_conflict: str = "",
        quiet: bool = False,
        jobs: int = 0,
        resume: bool | None = None,
    ) -> None:
        stdin, stdout, stderr = (*streams, None, None, None)[:3]
        super().__init__(stdin=stdin or sys.stdin, stdout=stdout or sys.stdout)
        if not self.stdin.isatty() and hasattr(self.stdin, "buffer"):
            self.stdin = cast("IO[str]", _Lines(self.stdin))
        self.stderr = stderr or sys.stderr
        self.user: MinusUser = user
        self.folder: MinusFolder | None = None
        self.on_conflict = on_conflict
        self.quiet = quiet
        self.jobs = jobs
        self.resume = resume
        self._stopped = threading.Event()
        self.statuses: list[int] = []
        self._previous: MinusFolder | None = None
        self._local_before = Path.cwd()
        self._completions: list[str] | None = None
        self._for_all: str | None = None
        self._spent = False  # standard input was a file: what is left of it is no command
        self._interrupts = 0
        self.interactive = self.use_rawinput = self.stdin.isatty()

    @property
    def prompt(self) -> str:  # type: ignore[override]  # cmd.Cmd has a fixed one
        if not self.interactive:
            return ""
        where = self.folder.name if self.folder else ""
        return printable(f"(Minus:{self.user.username or self.user.slug}) [/{where}] : ")

    def say(self, text: str) -> None:
        print(printable(text), file=self.stdout, flush=True)

    def _say_on(self, text: str) -> None:
        print(printable(text), file=self.stdout)

    def warn(self, text: str) -> None:
        self.stdout.flush()
        print(printable(text), file=self.stderr, flush=True)

    def fail(self, error: BaseException, start: str = "minus: ", end: str = "") -> None:
        self.statuses.append(_exit_status(error))
        self.warn(f"{start}{_words_of(error)}{end}")

    def do(self, verb: str, name: str, act: Callable[[], object], tell: Any = None) -> None:
        """Do a part of a command and say how it went, if well by `tell`.

        A tuple that `act` returns is the name and the bytes of the file that it was about.
        """
        try:
            done = act()
        except _FAILURES as error:
            self.fail(error, f'--> {verb} "{name}" FAILED (', ")")
            return
        self.statuses.append(0)
        shown, size = (done[0], f" ({done[1]} bytes)") if isinstance(done, tuple) else (name, "")
        (tell or self.say)(f'--> {verb} "{shown}" OK{size}')

    @contextlib.contextmanager
    def progress(self, name: str) -> Iterator[Progress]:
        """What a transfer calls as it goes on: ends it after Ctrl-C, and moves a bar.

        The bar is there on a terminal, where tqdm is installed.
        """
        stopped = self._stopped
        if self.quiet or not self.stderr.isatty() or not importlib.util.find_spec("tqdm"):
            yield lambda _done, _total: _go_on(stopped)
            return
        from tqdm import tqdm

        options = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "leave": False}
        with tqdm(desc=printable(name)[:30], file=self.stderr, delay=0.5, **options) as bar:

            def show(done: int, total: int | None) -> None:
                _go_on(stopped)
                bar.total = total
                bar.update(done - bar.n)

            yield show

    def rest(self) -> IO[bytes]:
        """What follows on standard input."""
        raw: IO[bytes] = cast(Any, self.stdin).buffer
        # a terminal says only once that it ends
        return io.BytesIO(raw.read()) if self.interactive else raw

    def _each(self, line: str, verb: str, act: Callable[[str], object]) -> None:
        for word in self._words(line, 1):
            self.do(verb, word, partial(act, word))

    def run(self) -> int:
        """Take commands until the end. -> exit status, that of piped commands when one failed"""
        with self._history():
            while self._interrupts < 2:
                try:
                    self.cmdloop()
                    return 0 if self.interactive else _overall(self.statuses)
                except KeyboardInterrupt:
                    self._interrupts += 1
                    if not self.interactive:
                        break
                    print(file=self.stdout)
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
            self.fail(error)
        except KeyboardInterrupt:
            if not self.interactive:
                raise
            self.warn("interrupted")
        return False

    def postcmd(self, stop: bool, line: str) -> bool:
        return stop or self._spent

    def emptyline(self) -> bool:
        return False

    def default(self, line: str) -> None:
        raise _Failure(f"no such command: {line.partition(' ')[0]} (help lists them)", EXIT_USAGE)

    # what commands are made of

    def _words(self, line: str, least: int, most: int | None = None) -> list[_Word]:
        """The words of a command, as many as it takes; its docstring has its usage."""
        words = _split(line)
        if len(words) < least or (most is not None and len(words) > most):
            command = getattr(self, f"do_{self.parseline(self.lastcmd)[0]}")
            raise _Failure(f"usage: {command.__doc__.partition(': ')[0]}", EXIT_USAGE)
        return words

    def _inside(self) -> MinusFolder:
        if self.folder is None:
            raise _Failure("this needs a folder: cd FOLDER first", EXIT_USAGE)
        return self.folder

    def find(self, kind: str, word: str) -> Any:
        """The "folder", or "file" of the folder, that a word names: its name, or @ID."""
        if word.startswith("@") and word[1:]:
            with contextlib.suppress(MinusNotFound):  # a name may begin with @ too
                return getattr(self.user._api, kind)(word[1:])
        found = (self.user if kind == "folder" else self._inside()).find(word)
        if found is None:
            raise _Failure(f"no such {kind}: {word}", _ABSENT[kind])
        return found

    def match(
        self, items: Iterable[Any], patterns: Sequence[str], kind: str = "file"
    ) -> Iterator[Any]:
        """What any of the patterns matches, each once, in order; everything for no pattern."""
        if not patterns:
            yield from items
        unmatched = list(dict.fromkeys(patterns))
        for item in items if patterns else ():
            by_id = f"@{item.id}"
            hits = {p for p in patterns if fnmatchcase(item.name, p) or fnmatchcase(by_id, p)}
            unmatched = [p for p in unmatched if p not in hits]
            if hits:
                yield item
        for pattern in unmatched:
            self.fail(_Failure(f"no {kind} matches {pattern}", _ABSENT[kind]))

    def _files(self, patterns: Sequence[str], fields: str = "") -> Iterator[MinusFile]:
        """The files of the folder that match, or all; of each the fields, where there are any."""
        wanted = {"fields": fields} if fields else {}
        if len(patterns) == 1 and not patterns[0].startswith("@"):
            wanted["match"] = patterns[0]
        return self.match(self._inside().files(**wanted).each(), patterns)

    def _matched(self, line: str) -> list[MinusFile]:
        return list(self._files([word.pattern for word in self._words(line, 1)]))

    def transfer(self, verb: str, units: Iterable[_Unit | None], jobs: int) -> None:
        """Run units of work in threads, `jobs` at once, and say in order how each file fared.

        The next unit is made while those before it run; None waits for them.
        """
        running: deque[_Running[_Outcome]] = deque()
        self._stopped = threading.Event()  # units of an earlier transfer keep their own
        try:
            for unit in chain(units, [None]):
                ended = []
                while running and (unit is None or len(running) >= jobs):
                    ended.append(running[0].found())
                    running.popleft()
                if unit:
                    running.append(_Running(unit))
                for name, outcome in chain(*ended):
                    self.do(verb, name, outcome, self._say_on)
                self.stdout.flush()
        except BaseException:
            self._stopped.set()  # they notice at their next block
            end = time.monotonic() + STOP_SECONDS
            for work in running:
                work.join(max(0.0, end - time.monotonic()))
            raise

    def get_files(self, folder: MinusFolder, files: Iterable[MinusFile], verb: str) -> None:
        """Save files of a folder under their own names here; those of one name all arrive."""
        most = folder.most_read
        several = partial(partial, self._get_several, folder)
        units = _gathered(self._gets(files, most > 0), several, most, BATCH_BYTES)
        self.transfer(verb, units, self.jobs or GET_JOBS)

    def _gets(self, files: Iterable[MinusFile], in_batches: bool) -> Iterator[_Work]:
        """Settle clashes, and say what is to be done for each file."""
        taken: set[str] = set()
        here: set[str] | None = None
        with contextlib.suppress(OSError):  # one may write there and not read
            here = set(map(_folded, os.listdir()))  # to ask for each would take longer
        for file in files:
            name = _numbered(safe_name(file.name), lambda name: _folded(name) in taken)
            taken.add(folded := _folded(name))
            place: tuple[str, str] | None = name, ""
            try:
                if here is None or folded in here:
                    place = self._destination(file, name, taken)
            except _FAILURES as error:
                yield partial(_settled, file.name, partial(_raise, error))
                continue
            if place is None:
                yield partial(_settled, file.name, partial(_file_done, file))
            elif in_batches and file.filesize <= SMALL and not place[1]:
                yield file.filesize, (file, place[0])
            else:
                yield partial(self._get_one, file, *place)

    def _destination(self, file: MinusFile, target: str, taken: set[str]) -> tuple[str, str] | None:
        """Where a file goes; None: its bytes are there.

        -> the path, and what it does to what is there: "overwrite" or "continue" it, or ""
        """
        if not os.path.lexists(target):
            return target, ""
        if _is_same(file, Path(target)):
            return None
        here = Path(target).stat().st_size if Path(target).is_file() else 0
        if self.resume and 0 < here < file.filesize:
            return target, "continue"
        choice = self._decide(f"{target} exists here with other bytes")
        if choice == "rename":
            folder, name = os.path.split(target)
            name = _numbered(
                name,
                lambda name: _folded(name) in taken or os.path.lexists(os.path.join(folder, name)),
            )
            taken.add(_folded(name))
            target = os.path.join(folder, name)
        return target, choice if choice == "overwrite" else ""

    def _get_one(self, file: MinusFile, target: str, how: str) -> list[_Outcome]:
        def save() -> tuple[str, int]:
            options = {"resume": self.resume is not False}
            with self.progress(file.name) as progress:
                try:
                    file.save(target, progress, how != "", over=how == "continue", **options)
                except FileExistsError:
                    if how != "continue" or self.on_conflict not in ("overwrite", "rename"):
                        raise
                    place = target
                    if self.on_conflict == "rename":
                        folder, name = os.path.split(target)
                        place = os.path.join(
                            folder,
                            _numbered(name, lambda n: os.path.lexists(os.path.join(folder, n))),
                        )
                    file.save(place, progress, place == target, **options)
            return _file_done(file)

        return [(file.name, _ran(save))]

    def _get_several(
        self, folder: MinusFolder, small: Sequence[tuple[MinusFile, str]]
    ) -> list[_Outcome]:
        """Save files that come in one stream; what it brings wrong or not at all comes alone."""

        def write(file: MinusFile, target: str, data: bytes) -> tuple[str, int]:
            _write_new(target, data)
            return _file_done(file)

        found: list[_Outcome] = []
        stopped = self._stopped
        try:
            streamed = folder.read_batch([file for file, _ in small])
            for data, (file, target) in zip(streamed, small, strict=True):
                _go_on(stopped)
                found.append((file.name, _ran(partial(write, file, target, data))))
        except MinusAPIError as error:
            if isinstance(error, MinusTemporaryError) and error.error == "unreachable":
                failed = partial(_raise, error)
                return [*found, *((file.name, failed) for file, _ in small[len(found) :])]
            for file, target in small[len(found) :]:
                found += self._get_one(file, target, "")
        return found

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

    def _show(self, file: MinusFile, command: str = "") -> None:
        """Write a file to standard output or, while it reads, to a command that the user typed."""
        from shutil import copyfileobj as copy

        self.stdout.flush()
        if not command:
            with file.file() as stream:
                copy(stream, out := cast(Any, self.stdout).buffer, BLOCK)
            out.flush()
            return
        import subprocess

        with (
            file.file() as stream,
            contextlib.suppress(BrokenPipeError),
            subprocess.Popen(command, shell=True, stdin=subprocess.PIPE) as child,  # noqa: S602
        ):
            copy(stream, cast("IO[bytes]", child.stdin), BLOCK)
        if child.returncode:
            raise _Failure(f"the command ended with status {child.returncode}")

    def put_files(
        self, folder: MinusFolder, paths: Iterable[str], verb: str, name: str = ""
    ) -> None:
        """Store local files in a folder, under their own names unless there is another."""
        there: dict[str, list[MinusFile]] = {}
        if self.on_conflict or self.resume:  # else twins are welcome
            for file in folder.files(fields=_TO_COMPARE).each():
                there.setdefault(file.name, []).append(file)
        most, each, total = folder.batch_limits

        def several(small: list[tuple[str, bytes]]) -> _Unit:
            return partial(self._put_several, folder, there, small, folder._batch(small))

        work = self._puts(folder, paths, name, there, each if most else -1)
        units = _gathered(work, several, most, total)
        # more than one at once would come into the folder in any order
        self.transfer(verb, units, self.jobs or 1)

    def _puts(
        self,
        folder: MinusFolder,
        paths: Iterable[str],
        label: str,
        there: dict[str, list[MinusFile]],
        small: int,
    ) -> Iterator[_Work]:
        """Settle clashes, and say what is to be done for each file.

        there   the remote files, by name, that it is to be no twin of
        small   bytes up to which a file may go with others
        """
        planned: set[str] = set()
        for path in paths:
            name = label or os.path.basename(path.rstrip(os.sep)) or path
            if (self.on_conflict or self.resume) and name in planned:
                yield None  # until then it is not known what it would be a twin of
            planned.add(name)
            try:
                facts = os.stat(path)
                if stat.S_ISDIR(facts.st_mode):
                    raise _Failure("is a directory", EXIT_PARTIAL)
                choice, stored = self._choose(path, name, there, planned)
                _wire_name(stored)
                data = None
                fits = stat.S_ISREG(facts.st_mode) and facts.st_size <= small and choice == "new"
                if fits and not _HARD_IN_FORMS.search(stored):
                    with open(path, "rb") as file:
                        data = file.read(small + 1)
            except _FAILURES as error:
                yield partial(_settled, name, partial(_raise, error))
                continue
            planned.add(stored)
            if choice == "same":
                yield partial(_settled, name, partial(tuple, (name, facts.st_size)))
            elif data is not None and len(data) <= small:
                yield len(data), (stored, data)
            else:
                yield partial(self._put_one, folder, path, stored, choice, there)

    def _choose(
        self, path: str, name: str, there: dict[str, list[MinusFile]], planned: set[str]
    ) -> tuple[str, str]:
        """Settle what a file is: "new", "same" as one there, or to "overwrite"; and its name."""
        twins = there.get(name, [])
        if not twins:
            return "new", name
        if any(_is_same(twin, Path(path)) for twin in twins):
            return "same", name
        if not self.on_conflict:
            return "new", name
        if self._decide(f"{name} exists in the folder with other bytes") == "rename":
            return "new", _numbered(name, lambda name: name in there or name in planned)
        return "overwrite", name

    def _put_one(
        self,
        folder: MinusFolder,
        path: str,
        name: str,
        choice: str,
        there: dict[str, list[MinusFile]],
    ) -> list[_Outcome]:
        def store() -> tuple[str, int]:
            with self.progress(name) as progress:
                resume = self.resume is not False
                made = folder.upload(path, name, progress=progress, resume=resume)
            if choice == "overwrite":
                for twin in there.pop(name, []):
                    twin.delete()
            there.setdefault(name, []).append(made)
            return name, made.filesize

        return [(name, _ran(store))]

    def _put_several(
        self,
        folder: MinusFolder,
        there: dict[str, list[MinusFile]],
        small: Sequence[tuple[str, bytes]],
        send: Callable[[], list[MinusFile]],
    ) -> list[_Outcome]:
        """Store files in one request; each alone where the service refuses them together."""
        stopped = self._stopped

        def alone(name: str, data: bytes) -> tuple[str, int]:
            _go_on(stopped)
            return _file_done(folder.new(name, data))

        try:
            made = send()
        except MinusAPIError as error:
            for_all = isinstance(error, MinusAuthError | MinusTemporaryError)
            if for_all or not 400 <= (error.status or 0) < 500:
                return [(name, partial(_raise, error)) for name, _ in small]
            return [(name, _ran(partial(alone, name, data))) for name, data in small]
        for file in made if self.on_conflict or self.resume else ():
            there.setdefault(file.name, []).append(file)
        return [(file.name, partial(_file_done, file)) for file in made]

    # commands: folders

    def do_cd(self, line: str) -> None:
        """cd [FOLDER | .. | ../FOLDER | / | -]: change the remote folder."""
        word = "".join(self._words(line, 0, 1))
        target = re.sub(r"^(\.\./|/)+", "", word)
        self.do("CWD", word or "/", lambda: self._change_folder(target))

    def _change_folder(self, target: str) -> None:
        places = {"": None, "..": None, ".": self.folder, "-": self._previous}
        there = places[target] if target in places else self.find("folder", target)
        self._previous, self.folder = self.folder, there

    def do_pwd(self, line: str) -> None:
        """pwd: show the remote folder."""
        self.say(f"Folder: {self.folder.name if self.folder else '/'}")

    def do_ls(self, line: str) -> None:
        """ls [PATTERN..]: list folders, or the files of the folder."""
        patterns = [word.pattern for word in _split(line) if word != "-l"]
        if self.folder:
            self.say(f"{'Name':<30}{'Uploaded':<21}{'Size':>8}  Title")
            self.say("-" * 80)
            lines = (
                f"{f.name:<29} {_shown(f.uploaded):<19}  {f.filesize:>8}  {f.title or '-'}"
                for f in self._files(patterns, "name,uploaded,filesize,title")
            )
            while some := list(islice(lines, PAGE)):
                print("\n".join(map(printable, some)), file=self.stdout, flush=True)
            return
        self.say(f"{'Folder':<30}{'Updated':<21}Files  Creator  Visibility")
        self.say("-" * 80)
        for d in self.match(self.user.folders().each(), patterns, "folder"):
            start = f"{d.name:<29} {_shown(d.updated):<19}  {d.file_count:>5}"
            self.say(f"{start}  {_last(d.creator):<8} {'public' if d.is_public else 'private'}")

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
        folder = self.find("folder", name)
        folder.delete()
        if self.folder and self.folder.id == folder.id:
            self.folder = None

    def do_public(self, line: str, public: bool = True) -> None:
        """public [FOLDER..]: let others see folders, this one unless named."""
        verb = "PUBLIC" if public else "PRIVATE"
        if line:
            self._each(line, verb, lambda name: self.find("folder", name).publish(public))
        else:
            folder = self._inside()
            self.do(verb, folder.name, lambda: folder.publish(public))

    def do_private(self, line: str) -> None:
        """private [FOLDER..]: show folders to nobody else, this one unless named."""
        self.do_public(line, public=False)

    def do_order(self, line: str) -> None:
        """order FILE..: put these files first, in this order."""
        folder, words = self._inside(), self._words(line, 1)
        files = (self.find("file", word) for word in words)
        self.do("ORDER", folder.name, lambda: folder.reorder(files))

    # commands: files

    @contextlib.contextmanager
    def _going_on(self, line: str) -> Iterator[str]:
        """Take a `-c` off a command: it goes on with what is there. -> the rest of the line"""
        before, found = self.resume, re.match(r"-c\s+(?=\S)", line)
        self.resume = True if found else before
        try:
            yield line[found.end() :] if found else line
        finally:
            self.resume = before

    def do_get(self, line: str) -> None:
        """get [-c] FILE [LOCAL | - | |COMMAND]: save a file, show it, or pipe it into a command.

        With -c, a local file of the name is taken for its beginning, and proven.
        """
        with self._going_on(line) as rest:
            self._get_line(rest)

    def _get_line(self, line: str) -> None:
        piped = _PIPED.fullmatch(line)
        words = [*self._words(piped[1], 1, 1), piped[2]] if piped else self._words(line, 1, 2)
        local = "".join(words[1:])
        tell = self.warn if local == "-" else self.say
        self.do("GET", words[0], lambda: self._get(words[0], local), tell)

    def _get(self, name: str, local: str) -> tuple[str, int]:
        file = self.find("file", name)
        if local == "-" or local.startswith("|"):
            self._show(file, local[1:])
        else:
            target = os.path.expanduser(local or ".")
            if Path(target).is_dir():
                target = (
                    os.path.join(target, safe_name(file.name)) if local else safe_name(file.name)
                )
            if place := self._destination(file, target, set()):
                self._get_one(file, *place)[0][1]()
        return _file_done(file)

    def do_reget(self, line: str) -> None:
        """reget FILE [LOCAL]: go on with a file of which there is a beginning here: get -c."""
        self.do_get(f"-c {line}")

    def do_mget(self, line: str) -> None:
        """mget [-c] PATTERN..: save all files that match."""
        with self._going_on(line) as rest:
            patterns = [word.pattern for word in self._words(rest, 1)]
            self.get_files(self._inside(), self._files(patterns, _TO_COMPARE), "MGET")

    def do_verify(self, line: str) -> None:
        """verify [PATTERN..]: compare files here with the folder's; outside of one, saved sums.

        Outside of a folder: verify SHA256SUMS.
        """
        words = _split(line)
        if self.folder is None and len(words) == 1:
            self.verify_sums(words[0])
        else:
            patterns = [word.pattern for word in words]
            self.verify_files(self._files(patterns, _TO_COMPARE), bool(patterns))

    def verify_files(self, files: Iterable[MinusFile], named: bool = False) -> None:
        """Compare files of the service with those that `get` made of them here.

        named   patterns were given, which are told of where they match nothing
        """

        def compare(file: MinusFile, name: str) -> tuple[str, int]:
            if os.path.basename(file.name) == file.name and not os.path.lexists(name):
                name = file.name  # as it was put from here
            if not Path(name).is_file():
                raise _Failure("is not here", EXIT_NO_FILE)
            if not _is_same(file, Path(name)):
                raise MinusIntegrityError("other bytes are here than the service has")
            return name, file.filesize

        taken: set[str] = set()
        for file in files:
            name = _numbered(safe_name(file.name), lambda name: _folded(name) in taken)
            taken.add(_folded(name))
            self.do("VERIFY", name, partial(compare, file, name), self._say_on)
        if not taken and not named:
            self.fail(_Failure("there is nothing to verify", EXIT_NO_FILE))

    def verify_sums(self, path: str) -> None:
        """Compare local files with the lines of a file as `sha256sum` writes it."""

        def compare(name: str, sha256: str) -> tuple[str, int]:
            found = hashlib.sha256()
            with open(name, "rb") as file:
                _hash_on(found, file, size := os.fstat(file.fileno()).st_size)
            if found.hexdigest() != sha256:
                raise MinusIntegrityError("other bytes are here than the sum is of")
            return name, size

        before = len(self.statuses)
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
            for number, line in enumerate(iter(partial(lines.readline, MAX_LINK), ""), 1):
                if found := _SUM.fullmatch(line):
                    escaped, sha256, name = found.groups()
                    if escaped:
                        name = re.sub(r"\\([\\nr])", lambda c: _ESCAPED[c[1]], name)
                    self.do("VERIFY", name, partial(compare, name, sha256.lower()), self._say_on)
                elif line.strip() and not line.startswith("#"):
                    self.fail(_Failure(f"{path}: line {number} is no SHA-256 of a file"))
        if len(self.statuses) == before:
            self.fail(_Failure(f"{path} has nothing to verify", EXIT_NO_FILE))

    def do_cat(self, line: str) -> None:
        """cat PATTERN..: show files on standard output."""
        for file in self._matched(line):
            self._show(file)

    def do_put(self, line: str) -> None:
        """put [-c] LOCAL [NAME]: store a file; `-` is standard input, `COMMAND|` its output.

        With -c, a file that the folder has, by name and bytes, counts as done.
        """
        with self._going_on(line) as rest:
            is_rest = re.match(r"""[\\"']*-["']*(?!\S)""", rest)  # also where the words are wrong
            self._spent = is_rest is not None and not self.interactive
            self._put_line(rest)

    def do_reput(self, line: str) -> None:
        """reput LOCAL [NAME]: store what the folder does not have yet: put -c."""
        self.do_put(f"-c {line}")

    def _put_line(self, line: str) -> None:
        local, *given = self._words(line, 1, 2)
        folder, path, name = self._inside(), Path(os.path.expanduser(local)), "".join(given)
        # a name that Tab or a quote brought here may end in | too: what exists is a file
        piped = local == "-" or (local.endswith("|") and not os.path.lexists(path))
        if not piped:
            self.put_files(folder, [str(path)], "PUT", name)
        elif not given:
            raise _Failure("a NAME must follow: put - NAME, put COMMAND| NAME", EXIT_USAGE)
        elif local == "-":
            self.do("PUT", name, lambda: (name, folder.new(name, self.rest()).filesize))
        else:
            self.do("PUT", name, lambda: self._put_output(folder, local[:-1], name))

    def _put_output(self, folder: MinusFolder, command: str, name: str) -> tuple[str, int]:
        """Store what a command that the user typed prints; nothing stays of one that fails."""
        import subprocess

        with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE) as child:  # noqa: S602
            made = folder.new(name, cast("IO[bytes]", child.stdout))
        if child.returncode:
            made.delete()
            raise _Failure(f"the command ended with status {child.returncode}")
        return name, made.filesize

    def do_mput(self, line: str) -> None:
        """mput [-c] PATTERN..: store all local files that match."""
        paths: list[str] = []
        with self._going_on(line) as rest:
            for word in self._words(rest, 1):
                found = sorted(glob.glob(os.path.expanduser(word.pattern)))
                paths += found
                if not found:
                    self.fail(_Failure(f"no local file matches {word}", EXIT_NO_FILE))
            self.put_files(self._inside(), paths, "MPUT")

    def do_del(self, line: str) -> None:
        """del PATTERN..: delete the files that match."""
        for file in self._matched(line):
            self.do("DEL", file.name, file.delete)

    do_rm = do_delete = do_del

    def do_rename(self, line: str) -> None:
        """rename OLD NEW: rename a file; outside of a folder, a folder."""
        old, new = self._words(line, 2, 2)
        kind = "file" if self.folder else "folder"
        self.do("RENAME", old, lambda: self.find(kind, old).rename(new))

    do_mv = do_rename

    def do_caption(self, line: str, field: str = "caption") -> None:
        """caption FILE TEXT: set a file's caption; "" for none."""
        name, text = self._words(line, 2, 2)
        self.do(field.upper(), name, lambda: self.find("file", name).change(**{field: text}))

    def do_title(self, line: str) -> None:
        """title FILE TEXT: set a file's title; "" for none."""
        self.do_caption(line, "title")

    def do_link(self, line: str) -> None:
        """link [NAME..]: print short links: of files, outside of a folder of folders."""
        items: list[Any] = [self.folder]
        if self.folder is None:
            items = [self.find("folder", word) for word in self._words(line, 1)]
        elif line:
            items = self._matched(line)
        for item in items:
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

    def do_df(self, line: str) -> None:
        """df: show the storage that is used, and the quota."""
        user = self.user._api.activeuser()
        share = 100 * user.storage_used / user.storage_quota if user.storage_quota else 0
        self.say(f"Used: {user.storage_used} of {user.storage_quota} bytes ({share:.1f}%)")

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
        import subprocess

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
        found = self._candidates(command, stem)
        # readline shows them as they are
        names = [name for name in found if name.startswith(stem) and name == printable(name)]
        before = len(partial) - len(text)  # readline has the word's end, from its last space on
        return [re.sub(r"([\s\\\"'|*?\[])", r"\\\1", name)[before:] for name in names]

    def _candidates(self, command: str, stem: str) -> list[str]:
        if command in ("put", "mput", "lcd", "lls"):
            typed = os.path.expanduser(stem)
            found = glob.glob(glob.escape(typed) + "*")
            return [stem + _with_slash(name).removeprefix(typed) for name in found]
        if self._completions is None:
            of_folders = self.folder is None or command in ("cd", "rmdir", "public", "private")
            items: Callable[..., PagedList[Any]]
            items = self.user.folders if of_folders else self._inside().files
            self._completions = [item.name for item in items(fields="name").each()]
        return self._completions


def _is_same(file: MinusFile, path: Path) -> bool:
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
    return "-" if moment is None else moment.isoformat(" ")[:19]


_SUM = re.compile(r"(\\?)([0-9A-Fa-f]{64}) [ *](.+?)\r?\n?")  # a line as `sha256sum` writes it


def _has_sums(path: str) -> bool:
    """Tell whether there is a file which begins as `sha256sum` writes it, or is named so."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        first = file.readline(MAX_LINK)
        return bool(_SUM.fullmatch(first)) or os.path.basename(path) == "SHA256SUMS"
    return False


# --- sharing by link ---


def _share(shell: MinusCLI, api: MinusConnection, names: Sequence[str], public: bool) -> None:
    """Make a gallery of files and print its link; where none can be stored, leave nothing."""
    gallery = api.new_gallery()
    stored: list[str] = []

    def store(name: str) -> None:
        label = "stdin" if name == "-" else Path(name).name
        with shell.progress(label) as progress:
            source = shell.rest() if name == "-" else Path(name)
            gallery.new(label, source, progress=progress)
        stored.append(label)

    with contextlib.ExitStack() as undo:
        undo.callback(gallery.delete)
        if api.access_token:
            gallery.publish(public)
        for name in names:
            inside = sorted(str(path) for path in Path(name).glob("*") if path.is_file())
            for each in inside or [name]:  # a directory is the files in it
                shell.do("SHARE", each, partial(store, each), tell=lambda _: None)
        if not stored:
            return
        more = f" and {len(stored) - 1} more" if stored[1:] else ""
        gallery.save(printable(stored[0])[:200] + more)
        if not api.access_token:
            made = datetime.now(timezone.utc).isoformat(timespec="seconds")
            ids = {"editor_id": gallery.editor_id, "reader_id": gallery.id, "name": gallery.name}
            kept = StateFile("galleries.json")
            with kept.locked():
                kept.update({gallery.link: {"url": api.url, **ids, "made": made}})
        undo.pop_all()
    shell.say(gallery.link)
    if api.restart:
        shell.warn(
            "Only this machine can open this link, while its service runs, which any `minus`"
            " starts. To serve others, run `minus-server serve`: see the README."
        )
    elif not api.access_token:
        shell.warn(f"Shared without an account. To edit it in a browser: {gallery.edit_link}")


def _unshare(word: str, connected: Callable[..., MinusConnection]) -> None:
    """Delete the gallery of a link or an id: by the kept editor id, by that in the link, or own."""
    word, kept = word.partition("?")[0].rstrip("/"), StateFile("galleries.json")
    place, _, name = word.rpartition("/")
    for link, row in kept.load().items():
        ids = [row.get(key) for key in ("reader_id", "editor_id")] if isinstance(row, dict) else []
        if word == link or name.removeprefix("m") in ids or name in ids:
            try:
                there = connected(url=row["url"], data=None, sign_in=False)
                MinusGallery(there, "", row).delete()
            except MinusNotFound as error:
                if error.error != "not_found":  # else its time was over
                    raise
            with kept.locked():
                kept.update({link: None})
            return
    api = connected()
    if place and _service_url(place) != api.url:
        api = connected(url=place, data=None, sign_in=False)
    try:
        MinusGallery(api, name.removeprefix("m") if len(name) > 12 else name).delete()
    except MinusNotFound:
        raise _Failure(f"no such gallery: {word}", EXIT_NO_FOLDER) from None


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
    where.add_argument("--password-file", metavar="FILE", help="its first line is the password")
    where.add_argument("--password-command", metavar="COMMAND", help="it prints the password")
    where.add_argument("--config", metavar="FILE", help="default: ~/.minus.conf")
    where.add_argument("--cacert", metavar="FILE", help="trust these certificates, not the usual")
    where.add_argument("-k", "--insecure", action="store_true", help="trust any certificate")
    where.add_argument("--allow-http", action="store_true", help="http: beyond this machine too")
    where.add_argument("--force-https", action="store_true", help="accepted, as it always is so")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--put", metavar="FOLDER", help="store the files named behind it")
    what.add_argument("--get", metavar="FOLDER", help="save its files here, or what matches")
    compared = "compare its files, or what matches, with those here; or those here with SHA256SUMS"
    what.add_argument("--verify", metavar="FOLDER", help=compared)
    what.add_argument("--share", action="store_true", help="put files behind a link and print it")
    what.add_argument("--unshare", action="store_true", help="delete what links or ids lead to")
    what.add_argument("--list-folders", action="store_true", help="list the folders")
    what.add_argument("--web", action="store_true", help="open the service's pages in a browser")
    what.add_argument("--shell", action="store_true", help="a Python prompt: minus, user")
    names = "for --put, --share files (- is standard input), --get, --verify globs, --unshare links"
    parser.add_argument("names", nargs="*", metavar="FILE", help=names)
    how = parser.add_argument_group("how")
    how.add_argument("--public", action="store_true", help="putting or sharing: listed for others")
    clash = "getting or putting, where a file of the name has other bytes"
    ways = ("ask", "skip", "overwrite", "rename")
    how.add_argument("--on-conflict", choices=ways, default="", help=clash)
    how.add_argument(
        "-j",
        "--jobs",
        type=_count,
        default=os.environ.get("MINUS_JOBS") or "0",
        metavar="N",
        help="transfers at once (default: 4 that get, 1 that puts)",
    )
    how.add_argument(
        "-c",
        "--continue",
        dest="resume",
        action="store_true",
        default=None,
        help="getting: a file here is the beginning of one; putting: only what is not there",
    )
    about = "start over what an earlier run left unfinished"
    how.add_argument("--no-continue", dest="resume", action="store_false", help=about)
    how.add_argument(
        "--retries",
        type=_count,
        default=os.environ.get("MINUS_RETRIES") or str(RETRIES),
        metavar="N",
        help="tries more, with growing pauses, after a broken connection (default: 3)",
    )
    how.add_argument("-q", "--quiet", action="store_true", help="no progress bars")
    how.add_argument("--debug", action="store_true", help="show the HTTP exchange")
    how.add_argument("-V", "--version", action="version", version=f"minus {__version__}")
    return parser


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MAX_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to {MAX_JOBS}")
    return int(text)


def _ask(prompt: str) -> str:
    if not sys.stdin.isatty():
        word = prompt.rstrip(": ").lower()
        more = ", use --password-file" if word == "password" else ""
        why = f"no {word}: set MINUS_{word.upper()}{more} or use a terminal"
        raise MinusConfigError(why)
    if prompt.startswith("Password"):
        from getpass import getpass

        return getpass(prompt)
    print(prompt, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _run(options: argparse.Namespace, streams: Sequence[IO[str]]) -> int:
    named = ["url", "config", "data", "debug", "username", *_PASSWORDS]
    named += ["allow_http", "cacert", "insecure", "retries"]
    settings = {name: getattr(options, name) for name in named}
    how = {name: getattr(options, name) for name in ("on_conflict", "quiet", "jobs", "resume")}
    shell = MinusCLI(None, *streams, **how)
    if options.password:
        shell.warn("minus: others may have seen the password: --password-file FILE hides it")
    if options.insecure:
        shell.warn("minus: --insecure: anybody on the way can read and change what is sent")
        warnings.filterwarnings("ignore", "Unverified HTTPS")  # urllib3 says it at each request
    with contextlib.ExitStack() as opened:

        def connected(**more: Any) -> MinusConnection:
            return opened.enter_context(
                contextlib.closing(connect(**{**settings, **more}, ask=_ask))
            )

        return _act(options, connected, shell)


def _act(
    options: argparse.Namespace, connected: Callable[..., MinusConnection], shell: MinusCLI
) -> int:
    if options.verify and not options.names and _has_sums(options.verify):
        shell.verify_sums(options.verify)
    elif options.share:
        _share(shell, connected(sign_in=None), options.names, options.public)
    elif options.web:
        api = connected(sign_in=False)
        # the service of one's own signs in whoever opens this link, once
        page = api.request("activeuser/web", {})["url"] if api.restart else api.url
        shell.say(_joined(api.url, page))
        import webbrowser

        webbrowser.open(_joined(api.url, page))
    elif options.unshare:
        for word in options.names:
            shell.do("UNSHARE", word, partial(_unshare, word, partial(connected, sign_in=None)))
    else:
        return _run_signed_in(options, connected(), shell)
    return _overall(shell.statuses)


def _run_signed_in(options: argparse.Namespace, api: MinusConnection, shell: MinusCLI) -> int:
    user = shell.user = api.activeuser()
    if options.shell:
        import code

        code.interact(f"minus {__version__}: {api!r}", local={"minus": api, "user": user})
    elif options.list_folders:
        for folder in user.folders(fields="name,file_count,is_public").each():
            public = " PUBLIC" if folder.is_public else ""
            shell.say(f"{folder.name} ({folder.file_count} files){public}")
    elif options.put:
        try:
            folder = shell.find("folder", options.put)
        except _Failure:
            if options.put.startswith("@"):
                raise
            folder = user.new_folder(options.put, options.public)
        if options.public and not folder.is_public:
            folder.publish()
        shell.put_files(folder, options.names, "PUT")
    elif options.get or options.verify:
        shell.folder = shell.find("folder", options.get or options.verify)
        files = shell._files(options.names, _TO_COMPARE)
        if options.get:
            shell.get_files(shell.folder, files, "GET")
        else:
            shell.verify_files(files, bool(options.names))
    else:
        return shell.run()
    return _overall(shell.statuses)


def main(argv: Sequence[str] | None = None, *streams: IO[str]) -> int:
    """The command `minus`, with other standard streams if given. -> exit status"""
    with contextlib.suppress(ValueError):  # not the main thread
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            signal.signal(number, lambda *_: sys.exit(143))
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # it was closed before we came
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names come in all scripts, whatever it knows
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)  # argparse would keep it as a name
    options = parser.parse_intermixed_args(words[:end])
    actions = options.put, options.get, options.verify
    others = options.share, options.unshare, options.list_folders, options.web, options.shell
    if options.names[:1] == ["verify"] and options.names[1:] and not any((*actions, *others)):
        _, options.verify, *options.names = options.names
    options.names += words[end + 1 :]
    if options.names == ["verify"] and not any((*actions, *others)):
        parser.error("verify needs a FOLDER, or a file as sha256sum writes it")
    if "" in (*actions, options.verify):
        parser.error("the folder's name is empty")
    takes = options.put or options.share or options.unshare
    if bool(options.names) != bool(takes) and not (options.get or options.verify):
        parser.error("files need --put FOLDER, --share or --unshare, and these need files")
    try:
        return _run(options, streams)
    except _FAILURES as error:
        if isinstance(error, BrokenPipeError):
            # what follows must not try to write to it again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        stderr = streams[2] if streams[2:] else sys.stderr
        print(f"minus: {printable(_words_of(error))}", file=stderr)
        return _exit_status(error)
    except KeyboardInterrupt:
        return 130


def run() -> None:
    """The command `minus`, whose process ends at once."""
    try:
        status = main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)  # taking the interpreter down would take as long as listing the folders


if __name__ == "__main__":
    run()
