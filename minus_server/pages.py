"""The web pages: what each template is given, and the addresses of the pages.

Every page is made on the service and works without JavaScript; its forms are in `forms.py`.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from markupsafe import escape
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minus_server import names
from minus_server.blobs import BlobMissing
from minus_server.catalog import Entry, File, Folder, User
from minus_server.errors import NotFound, Refused
from minus_server.galleries import Held
from minus_server.web import EDITOR_COOKIE, Visit, is_own, session_user, set_session
from minus_server.wire import date, ending

if TYPE_CHECKING:
    import jinja2

ITEMS_PER_PAGE = 1_000
GALLERIES_PER_PAGE = 48
_EDITOR_SECONDS = 365 * 24 * 3600
_MAX_EDITORS = 40  # newest first, so that the cookie stays small
TEXT_SHOWN = 64 * 1024  # bytes of a text file
_HERE = Path(__file__).parent
STATIC = _HERE / "static"
_POLICY = (
    "default-src 'none'; img-src {media}; media-src {media}; style-src 'self';"
    " script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY.format(media="'self' blob:"),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TEXTS = frozenset(
    {"application/json", "application/xml", "application/javascript", "image/svg+xml"}
)
_ADVICE = {
    400: "Go back and change what you sent.",
    401: "Sign in and try again.",
    403: "Only the owner can do this, signed in, or whoever holds the link to edit it.",
    404: "Check the link: it may be cut short, or what it led to has been removed.",
    405: "Start again from the first page.",
    413: "Choose a smaller file, or remove others first.",
    429: "Wait a while, or sign in.",
}
_TITLES = {
    400: "That did not work",
    401: "You are not signed in",
    403: "This is not yours to change",
    404: "There is nothing here",
    405: "That does not work here",
    413: "Too large",
    429: "Too much at once",
}

# --- rendering ---


@cache
def _templates() -> "jinja2.Environment":
    """The templates; jinja2 is loaded with the first page, for the start must be quick."""
    import jinja2

    loader = jinja2.FileSystemLoader(_HERE / "templates")
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )


@cache
def static_versions() -> Mapping[str, str]:
    """The static files, each with a word that changes with its content."""
    return {path.name: sha256(path.read_bytes()).hexdigest()[:10] for path in STATIC.iterdir()}


def root_of(base: str) -> str:
    """The path under which the service is seen, as links within it begin."""
    return urlsplit(base).path


def render(visit: Visit, template: str, code: int = 200, **more: Any) -> Response:
    """Make a page; `code` is the HTTP status."""
    policy, root = visit.service.policy, root_of(visit.wire.base)
    versions = static_versions()
    context = {
        "root": root,
        "base": visit.wire.base,
        "static": lambda name: f"{root}static/{name}?v={versions[name]}",
        "me": visit.user,
        "registration": policy.registration,
        "anonymous": policy.anonymous,
        "embedded": policy.embedded,
        "note": _NOTES.get(visit.fields.get("note", "")),
        "problem": None,
        "noindex": True,
        **more,
    }
    text = _templates().get_template(template).render(context)
    headers = HEADERS
    if policy.presigned:  # then pictures and film lead there
        media = f"'self' blob: {visit.service.blobs.links_to}"
        headers = HEADERS | {"Content-Security-Policy": _POLICY.format(media=media)}
    return Response(text, code, headers, media_type="text/html")


def static_page(template: str, root: str, **more: Any) -> str:
    """A page that no service answers for; `root` leads from it to the first one."""
    return _templates().get_template(template).render(root=root, me=None, **more)


_NOTES = {
    "saved": "Saved.",
    "deleted": "Deleted.",
    "added": "Added.",
    "revoked": "The API client is revoked.",
    "password": "The password is changed; other sessions and programs are signed out.",
}


def wants_page(request: Request) -> bool:
    """Whether a browser asks, which shows a page; programs ask for anything or for JSON."""
    path = request.url.path
    is_api = path.startswith(("/api/", "/oauth/", "/openapi"))
    return not is_api and "text/html" in request.headers.get("accept", "")


def error_page(request: Request, status: int, words: str) -> Response:
    """A refusal as a page that says what to do."""
    state, user = request.app.state, None
    with suppress(Refused, SQLAlchemyError):  # this page must come whatever is wrong
        user = session_user(request, {})
    visit = Visit(request, state.service, state.wire, user, {})
    return render(
        visit,
        "error.html",
        status,
        status=status,
        title=_TITLES.get(status, "Something went wrong"),
        words=words,
        advice=_ADVICE.get(status, "Try again in a minute."),
    )


def see_other(visit: Visit, path: str) -> Response:
    """Send the browser on to an address of ours; `path` is below the root."""
    return RedirectResponse(root_of(visit.wire.base) + path, 303, {"Cache-Control": "no-store"})


def size_text(size: int) -> str:
    """A number of bytes for people: `12.3 MiB`."""
    if size < 1024:
        return f"{size} bytes" if size != 1 else "1 byte"
    count, unit = size / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if count < 1000:
            break
        count, unit = count / 1024, larger
    return f"{count:.1f}".removesuffix(".0") + f" {unit}"


def _pages(number: int, size: int, total: int, path: str) -> dict[str, Any]:
    count = max(1, -(-total // size))
    return {
        "number": number,
        "count": count,
        "previous": f"{path}?page={min(number - 1, count)}" if number > 1 else None,
        "next": f"{path}?page={number + 1}" if number < count else None,
    }


def _page_number(visit: Visit) -> int:
    return names.page(visit.fields.get("page", "1"))


# --- the first page, signing in ---


def drop(visit: Visit) -> Response:
    policy = visit.service.policy
    limit = None if visit.user else size_text(policy.anonymous_file)
    may_drop = visit.user is not None or policy.anonymous
    return render(visit, "drop.html", may_drop=may_drop, limit=limit, noindex=False)


def signin(visit: Visit) -> Response:
    return render(visit, "signin.html", values={}, errors={}, next=local_path(visit))


def register(visit: Visit) -> Response:
    if not visit.service.policy.registration:
        raise NotFound("Registration is closed on this service.")
    return render(visit, "register.html", values={}, errors={}, next=local_path(visit))


def local_path(visit: Visit) -> str:
    """Where to go after signing in: a path below the root, never another host's address."""
    wanted = visit.fields.get("next", "").lstrip("/")
    return wanted if names.is_local_path(wanted) else ""


# --- a gallery and its items ---


def editors(request: Request) -> list[str]:
    """The editor ids that the browser holds."""
    found = request.cookies.get(EDITOR_COOKIE, "").split(".")
    return [name for name in found if names.is_id(name)][:_MAX_EDITORS]


def remember_editor(visit: Visit, response: Response, editor_id: str) -> None:
    """Let the browser hold an editor id, so that the address it shows can be given away."""
    held = [editor_id, *(name for name in editors(visit.request) if name != editor_id)]
    secure = visit.wire.base.startswith("https:")
    response.set_cookie(
        EDITOR_COOKIE,
        ".".join(held[:_MAX_EDITORS]),
        _EDITOR_SECONDS,
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def _key(held: Held) -> str | None:
    """The id with which this browser may edit a gallery; None where it may not."""
    return (held.folder.editor_id or held.folder.id) if held.may_edit else None


def gallery(visit: Visit) -> Response:
    """GET /mID; the address with the editor id leads on to the one that may be given away."""
    galleries = visit.service.galleries
    look = galleries.held if visit.request.method == "HEAD" else galleries.visit
    held = look(visit.path["id"], visit.user, editors(visit.request))
    folder, key = held.folder, _key(held)
    if folder.editor_id == names.gallery_id(visit.path["id"]):
        response = see_other(visit, f"m{folder.id}")
        remember_editor(visit, response, folder.editor_id)
        return response
    number = _page_number(visit)
    first = (number - 1) * ITEMS_PER_PAGE
    files = visit.service.library.files(folder, first, ITEMS_PER_PAGE)
    root = root_of(visit.wire.base)
    return render(
        visit,
        "gallery.html",
        gallery=_gallery(visit, folder)
        | {
            "size": size_text(folder.bytes),
            "edit_link": f"{visit.wire.base}m{key}" if key and folder.editor_id else None,
        },
        may_edit=key is not None,
        key=key or folder.id,
        items=[item_facts(root, file) | {"index": first + at} for at, file in enumerate(files)],
        pages=_pages(number, ITEMS_PER_PAGE, folder.file_count, f"{root}m{folder.id}"),
        noindex=not folder.is_public,
    )


def _gallery(visit: Visit, folder: Folder) -> dict[str, Any]:
    base, root = visit.wire.base, root_of(visit.wire.base)
    owner = {"slug": folder.owner_slug, "name": folder.owner_name or folder.owner_username}
    return {
        "id": folder.id,
        "name": folder.name,
        "is_public": folder.is_public,
        "view_count": folder.view_count,
        "file_count": folder.file_count,
        "owner": owner if folder.owner_n is not None else None,
        "created": date(folder.created)[:16],
        "updated": date(folder.updated)[:16],
        "link": f"{base}m{folder.id}",
        "path": f"{root}m{folder.id}",
        "zip": f"{root}m{folder.id}.zip",
        "cover": f"{base}k{folder.cover_id}.jpg" if folder.cover_id else None,
    }


def _kind(file: File) -> str:
    if file.width and file.mimetype in names.PICTURES:
        return "picture"
    family = file.mimetype.partition("/")[0]
    if family in ("video", "audio") and file.mimetype in names.INLINE:
        return {"video": "film", "audio": "sound"}[family]
    return "text" if family == "text" or file.mimetype in _TEXTS else "other"


def item_facts(root: str, file: File) -> dict[str, Any]:
    """What templates say of a file; `root` is what its addresses begin with."""
    suffix = ending(file.name)
    shown = (
        f"{root}k{file.id}.jpg" if file.mimetype == "image/tiff" else f"{root}i{file.id}{suffix}"
    )
    return {
        "id": file.id,
        "name": file.name,
        "title": file.title,
        "caption": file.caption,
        "kind": _kind(file),
        "type": file.mimetype,
        "size": size_text(file.size),
        "width": file.width,
        "height": file.height,
        "page": f"{root}l{file.id}",
        "raw": f"{root}i{file.id}{suffix}",
        "shown": shown,  # what a browser can show of a picture: no browser shows a TIFF
        "thumb": f"{root}k{file.id}.jpg",
        "small": f"{root}j{file.id}{suffix}",
    }


def item(visit: Visit) -> Response:
    library = visit.service.library
    file = library.look(names.link_id(visit.path["id"]))
    mine = editors(visit.request)
    held = visit.service.galleries.held(file.folder_id, visit.user, mine)
    key = _key(held)
    before, previous, following = library.neighbours(file)
    base, root = visit.wire.base, root_of(visit.wire.base)
    row = item_facts(root, file)
    text, cut = _text(visit, file) if row["kind"] == "text" else (None, False)
    link, raw = f"{base}l{file.id}", f"{base}i{file.id}{ending(file.name)}"
    return render(
        visit,
        "item.html",
        item=row
        | {
            "sha256": file.sha256,
            "uploaded": date(file.uploaded)[:16],
            "link": link,
            "raw_link": raw,
            "cover": f"{base}k{file.id}.jpg",
            "embed": _embed(row["kind"], link, raw, file),
            "text": text,
            "text_cut": cut,
        },
        gallery=_gallery(visit, held.folder),
        previous=f"{root}l{previous}" if previous else None,
        next=f"{root}l{following}" if following else None,
        position=None if before is None else before + 1,
        may_edit=key is not None,
        key=key or held.folder.id,
        noindex=not held.folder.is_public,
    )


def _embed(kind: str, link: str, raw: str, file: File) -> str:
    """HTML that shows the item on another page."""
    tag = {"film": "video", "sound": "audio"}.get(kind)
    if tag:
        return f'<{tag} controls src="{raw}"></{tag}>'
    words = escape(file.caption or file.name)
    if kind == "picture":
        size = f'width="{file.width}" height="{file.height}"'
        return f'<a href="{link}"><img src="{raw}" alt="{words}" {size}></a>'
    return f'<a href="{link}">{words}</a>'


def _text(visit: Visit, file: File) -> tuple[str, bool]:
    """The beginning of a text file, and whether more follows."""
    try:
        with visit.service.blobs.open(file.blob) as stream:
            data = stream.read(TEXT_SHOWN)
    except BlobMissing:
        raise NotFound("The bytes of this file are gone.") from None
    return data.decode("utf-8", "replace"), file.size > len(data)


# --- people and lists ---


def _entries(visit: Visit, user: User, kind: str, path: str) -> dict[str, Any]:
    """A page of a timeline, for a template: those that are gone are left out."""
    number = _page_number(visit)
    total, entries = visit.service.galleries.timeline(kind, user, number, GALLERIES_PER_PAGE)
    root = root_of(visit.wire.base)
    return {
        "galleries": [_card(visit, entry) for entry in entries if entry.folder],
        "pages": _pages(number, GALLERIES_PER_PAGE, total, f"{root}{path}"),
    }


def _card(visit: Visit, entry: Entry) -> dict[str, Any]:
    if entry.folder is None:
        raise NotFound("There is no such gallery.")
    cover = entry.folder.cover_id
    path = f"{root_of(visit.wire.base)}k{cover}.jpg" if cover else None
    return _gallery(visit, entry.folder) | {"cover": path}


def user(visit: Visit) -> Response:
    accounts = visit.service.accounts
    found = accounts.user(visit.path["slug"])
    me = visit.user
    return render(
        visit,
        "user.html",
        user={
            "slug": found.slug,
            "name": found.display_name or found.username,
            "description": found.description or "",
            "followers": accounts.followers(found.slug, 0, 1)[0],
            "following": accounts.following(found.slug, 0, 1)[0],
            "is_me": me is not None and me.n == found.n,
            "followed": me is not None and accounts.follows(me, found),
        },
        noindex=False,
        **_entries(visit, found, "public", f"u{found.slug}"),
    )


def _list(visit: Visit, kind: str, title: str, empty: str) -> Response:
    entries = _entries(visit, visit.need_user(), kind, kind)
    return render(visit, "galleries.html", title=title, empty=empty, **entries)


def mine(visit: Visit) -> Response:
    return _list(visit, "mine", "My galleries", "You have no galleries yet.")


def feed(visit: Visit) -> Response:
    empty = "Nothing here yet: follow people on their pages, and what they publish shows up."
    return _list(visit, "feed", "Feed", empty)


def history(visit: Visit) -> Response:
    return _list(visit, "history", "History", "Galleries that you look at show up here.")


def settings(visit: Visit, **more: Any) -> Response:
    """GET /settings; with a `problem` the answer to a form that was refused."""
    me = visit.need_user()
    clients = visit.service.accounts.clients(me)
    return render(
        visit,
        "settings.html",
        400 if "problem" in more else 200,
        **{
            "user": {
                "display_name": me.display_name,
                "description": me.description or "",
                "email": me.email,
            },
            "clients": [
                {"id": client.id, "name": client.name, "created": date(client.created)[:10]}
                for client in clients
            ],
            "new_client": None,
            **more,
        },
    )


def signin_link(visit: Visit) -> Response:
    """GET /signin/SECRET: the one-time link of `minus --web`."""
    used = visit.request.method == "GET" and is_own(visit.request)  # HEAD must not use it up
    secret = visit.service.sessions.trade(visit.path["secret"]) if used else None
    if secret is None:
        raise NotFound("This link has been used, or is older than a minute.")
    response = see_other(visit, "")
    set_session(visit, response, secret)
    return response


# --- static files ---


class StaticHeaders:
    """Static files; under an address with their version they never change."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fixed = scope["query_string"].startswith(b"v=")
        caching = "public, max-age=31536000, immutable" if fixed else "no-cache"

        async def send_with(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Cache-Control"] = caching
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        await self._app(scope, receive, send_with)
