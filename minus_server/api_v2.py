"""API v2, a handler a row of the reference's resource table, and the table itself."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from minus_server import names
from minus_server.catalog import Folder, Listing, Part, User
from minus_server.endpoints import NAMED, PAGE, Call, Endpoint, Field
from minus_server.errors import BadRequest, NotFound
from minus_server.wire import (
    EXTENDED_FOLDER,
    FILE,
    FOLDER,
    JSON,
    MESSAGE,
    USER,
    chosen,
    file_columns,
)

FILES_PER_PAGE = 50  # folders too
FEED_PER_PAGE = 20  # messages too
_MAX_SLUGS = 1_000  # of those whom a user follows, in the answer about that user alone


def _page(
    call: Call,
    path: str,
    per_page: int,
    fetch: Callable[[int, int], tuple[int, list[Any]]],
    row: Callable[[Any], JSON],
) -> JSON:
    """One page of a list: `fetch(offset, limit)` gives the total and the rows."""
    number, per_page = call.fields.get("page", 1), call.fields.get("per_page", per_page)
    total, rows = fetch((number - 1) * per_page, per_page)
    results = _cut(call, [row(item) for item in rows])
    return call.wire.page(path, number, per_page, total, results, _asked(call))


def _cut(call: Call, rows: list[JSON]) -> list[JSON]:
    """The rows with the keys that are wanted."""
    if (fields := call.fields.get("fields")) is None:
        return rows
    return [{key: row[key] for key in chosen(tuple(row), fields)} for row in rows]


def _asked(call: Call) -> dict[str, str]:
    """The parameters of a list that its links keep."""
    asked = {
        "per_page": str(call.fields.get("per_page", "")),
        "fields": ",".join(call.fields.get("fields", ())),
        "name": call.fields.get("name", ""),
        "match": getattr(call.fields.get("match"), "text", ""),
    }
    return {key: asked[key] for key in asked if key in call.fields}


def _part(call: Call) -> Part:
    """Which rows of a list with a cursor are wanted."""
    fields = call.fields
    limit, cursor = fields.get("per_page", FILES_PER_PAGE), fields.get("cursor")
    if cursor is not None and "page" in fields:
        raise BadRequest("A list is walked by page or by cursor, not by both.")
    offset = (fields.get("page", 1) - 1) * limit
    return Part(limit, offset, cursor, fields.get("name"), fields.get("match"))


def _listed(call: Call, path: str, part: Part, found: Listing, results: list[JSON]) -> JSON:
    """One page of a list with a cursor."""
    asked = _asked(call)
    if part.after is None:
        number, total = call.fields.get("page", 1), found.total or 0
        return call.wire.page(path, number, part.limit, total, results, asked)
    following = None if found.following is None else names.cursor_of(found.following)
    return call.wire.stretch(path, following, part.limit, found.total, results, asked)


# --- users ---


def _single_user(call: Call, user: User) -> JSON:
    """The answer about one user, with the slugs around them that programs of the time read."""
    followers, following = call.service.accounts.slugs_around(user, _MAX_SLUGS)
    return call.wire.user(user, private=user.n == call.caller.user.n) | {
        "followers_slug_list": followers,
        "following_slug_list": following,
    }


def activeuser(call: Call) -> JSON:
    return _single_user(call, call.caller.user)


def change_activeuser(call: Call) -> JSON:
    return _single_user(call, call.service.accounts.change_profile(call.caller, call.changes()))


def web_link(call: Call) -> JSON:
    """On the service of one's own machine: a link to the pages that signs in, once."""
    if not call.service.policy.embedded:
        raise NotFound("Only the service of one's own machine gives such links.")
    call.caller.need("modify_user")
    return {"url": f"{call.wire.base}signin/{call.service.sessions.link(call.caller.user)}"}


def user(call: Call) -> JSON:
    return _single_user(call, call.service.accounts.user(call.path["slug"]))


def _user_row(call: Call) -> Callable[[User], JSON]:
    return lambda user: call.wire.user(user, private=user.n == call.caller.user.n)


def followers(call: Call) -> JSON:
    slug = names.slug(call.path["slug"])
    return _page(
        call,
        f"users/{slug}/followers",
        FILES_PER_PAGE,
        lambda offset, limit: call.service.accounts.followers(slug, offset, limit),
        _user_row(call),
    )


def following(call: Call) -> JSON:
    slug = names.slug(call.path["slug"])
    return _page(
        call,
        f"users/{slug}/following",
        FILES_PER_PAGE,
        lambda offset, limit: call.service.accounts.following(slug, offset, limit),
        _user_row(call),
    )


def follow(call: Call) -> JSON:
    other = call.service.accounts.follow(call.caller, call.path["slug"], call.fields["slug"])
    return call.wire.user(other, private=False)


def unfollow(call: Call) -> None:
    call.service.accounts.unfollow(call.caller, call.path["slug"], call.path["other"])


# --- folders ---


def folders(call: Call) -> JSON:
    owner, part = call.service.accounts.user(call.path["slug"]), _part(call)
    found = call.service.library.folders(call.caller, owner, part)
    results = _cut(call, [call.wire.folder(folder) for folder in found.rows])
    return _listed(call, f"users/{owner.slug}/folders", part, found, results)


def add_folder(call: Call) -> JSON:
    call.service.accounts.own(call.caller, call.path["slug"])
    is_public = call.fields.get("is_public", True)
    folder = call.service.library.add_folder(
        call.caller, call.fields["name"], is_public=is_public, once=call.once
    )
    return call.wire.folder(folder, [])


def added_folder(call: Call, made: Sequence[str]) -> JSON:
    """The folder that an earlier request made."""
    return _single_folder(call, call.service.library.folder(call.caller, made[0]))


def folder(call: Call) -> JSON:
    return call.wire.folder(*call.service.library.visit(call.caller, call.path["id"]))


def _single_folder(call: Call, folder: Folder) -> JSON:
    return call.wire.folder(folder, call.service.library.order(folder))


def change_folder(call: Call) -> JSON:
    changed = call.service.library.change_folder(call.caller, call.path["id"], call.changes())
    return _single_folder(call, changed)


def delete_folder(call: Call) -> None:
    call.service.library.delete_folder(call.caller, call.path["id"])


# --- files ---


def files(call: Call) -> JSON:
    library, part = call.service.library, _part(call)
    folder = library.folder(call.caller, call.path["id"])
    keys = chosen(tuple(FILE), call.fields.get("fields"))
    columns = file_columns(keys)
    found = library.some_files(folder, columns, part)
    results = call.wire.files(keys, columns, found.rows)
    return _listed(call, f"folders/{folder.id}/files", part, found, results)


def file(call: Call) -> JSON:
    return call.wire.file(call.service.library.file(call.caller, call.path["id"])[0])


def change_file(call: Call) -> JSON:
    changed = call.service.library.change_file(call.caller, call.path["id"], call.changes())
    return call.wire.file(changed)


def delete_file(call: Call) -> None:
    call.service.library.delete_file(call.caller, call.path["id"])


# --- messages and feeds ---


def messages(call: Call) -> JSON:
    return _page(
        call,
        "activeuser/messages",
        FEED_PER_PAGE,
        lambda offset, limit: call.service.accounts.messages(call.caller, offset, limit),
        lambda message: call.wire.message(message, call.caller.user),
    )


def thread(call: Call) -> JSON:
    other = names.slug(call.path["slug"])
    return _page(
        call,
        f"activeuser/messages/{other}",
        FEED_PER_PAGE,
        lambda offset, limit: call.service.accounts.messages(call.caller, offset, limit, other),
        lambda message: call.wire.message(message, call.caller.user),
    )


def send_message(call: Call) -> JSON:
    accounts = call.service.accounts
    message = accounts.send_message(call.caller, call.path["slug"], call.fields["body"])
    return call.wire.message(message, call.caller.user)


def _feed(kind: str) -> Callable[[Call], JSON]:
    """The handler of one of the lists of extended folders."""

    def handler(call: Call) -> JSON:
        return _page(
            call,
            f"activeuser/{kind}",
            FEED_PER_PAGE,
            lambda offset, limit: call.service.library.feed(call.caller, kind, offset, limit),
            call.wire.extended_folder,
        )

    return handler


def star(call: Call) -> JSON:
    return call.wire.extended_folder(call.service.library.star(call.caller, call.fields["id"]))


def unstar(call: Call) -> None:
    call.service.library.unstar(call.caller, call.path["id"])


def _list(keys: Iterable[str], numbers: int = 0) -> dict[str, Field]:
    """The parameters of a list of rows with these keys.

    numbers   of a place in it, for a list with filters and a cursor
    """
    known = tuple(keys)
    fields = {
        "page": PAGE,
        "per_page": Field(names.per_page, "rows of a page, from 1", kind="integer"),
        "fields": Field(names.some_of(known), "the keys that rows shall have, with commas"),
    }
    if not numbers:
        return fields
    return fields | {
        **NAMED,
        "cursor": Field(names.cursor(numbers), "empty, or out of `next`: where to go on"),
    }


_IS_PUBLIC = Field(names.boolean, "whether others see it; true unless said", kind="boolean")
_ORDER = Field(names.id_list, "ids of the folder's files in their new order, as a JSON list")
_PROFILE = {
    "display_name": Field(names.text, "the name that others see"),
    "description": Field(names.text, "a few words about the user"),
    "email": Field(names.email, "an address, or nothing"),
}
_FILE = {
    "caption": Field(names.caption, "text below the file"),
    "title": Field(names.text, "text above the file"),
    "name": Field(names.file_name, "the file's name"),
}

ENDPOINTS = (
    Endpoint("GET", "activeuser", activeuser, "The signed-in user", "User"),
    Endpoint("PUT", "activeuser", change_activeuser, "Change the profile", "User", _PROFILE),
    Endpoint("POST", "activeuser/web", web_link, "Make a link that signs in once", "Link"),
    Endpoint("GET", "users/{slug}", user, "A user", "User"),
    Endpoint(
        "GET",
        "users/{slug}/folders",
        folders,
        "A user's folders",
        "Folder",
        _list(FOLDER.split(), 1),
    ),
    Endpoint(
        "POST",
        "users/{slug}/folders",
        add_folder,
        "Make a folder",
        "Folder",
        {
            "name": Field(names.folder_name, "its name, not necessarily unique", required=True),
            "is_public": _IS_PUBLIC,
        },
        added_folder,
    ),
    Endpoint(
        "GET",
        "users/{slug}/followers",
        followers,
        "Who follows a user",
        "User",
        _list(USER.split()),
    ),
    Endpoint(
        "GET",
        "users/{slug}/following",
        following,
        "Whom a user follows",
        "User",
        _list(USER.split()),
    ),
    Endpoint(
        "POST",
        "users/{slug}/following",
        follow,
        "Follow a user",
        "User",
        {"slug": Field(names.slug, "the slug of the one to follow", required=True)},
    ),
    Endpoint("DELETE", "users/{slug}/following/{other}", unfollow, "Follow no more"),
    Endpoint("GET", "folders/{id}", folder, "A folder", "Folder"),
    Endpoint(
        "PUT",
        "folders/{id}",
        change_folder,
        "Rename, publish or reorder a folder",
        "Folder",
        {
            "name": Field(names.folder_name, "its name"),
            "is_public": _IS_PUBLIC,
            "item_ordering": _ORDER,
        },
    ),
    Endpoint("DELETE", "folders/{id}", delete_folder, "Delete a folder and its files"),
    Endpoint("GET", "folders/{id}/files", files, "The files of a folder", "File", _list(FILE, 2)),
    Endpoint("GET", "files/{id}", file, "A file", "File"),
    Endpoint("PUT", "files/{id}", change_file, "Change a file's texts", "File", _FILE),
    Endpoint("DELETE", "files/{id}", delete_file, "Delete a file"),
    Endpoint("GET", "activeuser/messages", messages, "Messages", "Message", _list(MESSAGE.split())),
    Endpoint(
        "GET", "activeuser/messages/{slug}", thread, "One thread", "Message", _list(MESSAGE.split())
    ),
    Endpoint(
        "POST",
        "activeuser/messages/{slug}",
        send_message,
        "Write to a user",
        "Message",
        {"body": Field(names.message, "the text", required=True)},
    ),
    *(
        Endpoint(
            "GET",
            f"activeuser/{kind}",
            _feed(kind),
            about,
            "ExtendedFolder",
            _list(EXTENDED_FOLDER.split()),
        )
        for kind, about in (
            ("feed", "Public folders of those whom one follows"),
            ("mine", "One's own folders"),
            ("favorited", "Folders that one starred"),
            ("history", "Folders that one visited"),
        )
    ),
    Endpoint(
        "POST",
        "activeuser/favorited",
        star,
        "Star a folder",
        "ExtendedFolder",
        {"id": Field(str.strip, "the folder's id", required=True)},
    ),
    Endpoint("DELETE", "activeuser/favorited/{id}", unstar, "Take the star back"),
)
