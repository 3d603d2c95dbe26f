"""API v2, a handler a row of the reference's resource table, and the table itself."""

from collections.abc import Callable
from typing import Any

from minus_server import names
from minus_server.catalog import Folder, User
from minus_server.endpoints import PAGE, Call, Endpoint, Field
from minus_server.errors import NotFound
from minus_server.wire import JSON

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
    number = call.fields.get("page", 1)
    total, rows = fetch((number - 1) * per_page, per_page)
    return call.wire.page(path, number, per_page, total, [row(item) for item in rows])


# --- users ---


def _single_user(call: Call, user: User) -> JSON:
    """The answer about one user, with the slugs around them that programs of the time read."""
    accounts, private = call.service.accounts, user.n == call.caller.user.n
    return call.wire.user(user, private=private) | {
        "followers_slug_list": [u.slug for u in accounts.followers(user.slug, 0, _MAX_SLUGS)[1]],
        "following_slug_list": [u.slug for u in accounts.following(user.slug, 0, _MAX_SLUGS)[1]],
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
    owner = call.service.accounts.user(call.path["slug"])
    return _page(
        call,
        f"users/{owner.slug}/folders",
        FILES_PER_PAGE,
        lambda offset, limit: call.service.library.folders(call.caller, owner, offset, limit),
        call.wire.folder,
    )


def add_folder(call: Call) -> JSON:
    call.service.accounts.own(call.caller, call.path["slug"])
    is_public = call.fields.get("is_public", True)
    folder = call.service.library.add_folder(call.caller, call.fields["name"], is_public=is_public)
    return call.wire.folder(folder, [])


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
    library = call.service.library
    folder = library.folder(call.caller, call.path["id"])
    return _page(
        call,
        f"folders/{folder.id}/files",
        FILES_PER_PAGE,
        lambda offset, limit: (folder.file_count, library.files(folder, offset, limit)),
        call.wire.file,
    )


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


_LIST = {"page": PAGE}
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
    Endpoint("GET", "users/{slug}/folders", folders, "A user's folders", "Folder", _LIST),
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
    ),
    Endpoint("GET", "users/{slug}/followers", followers, "Who follows a user", "User", _LIST),
    Endpoint("GET", "users/{slug}/following", following, "Whom a user follows", "User", _LIST),
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
    Endpoint("GET", "folders/{id}/files", files, "The files of a folder", "File", _LIST),
    Endpoint("GET", "files/{id}", file, "A file", "File"),
    Endpoint("PUT", "files/{id}", change_file, "Change a file's texts", "File", _FILE),
    Endpoint("DELETE", "files/{id}", delete_file, "Delete a file"),
    Endpoint("GET", "activeuser/messages", messages, "Messages", "Message", _LIST),
    Endpoint("GET", "activeuser/messages/{slug}", thread, "One thread", "Message", _LIST),
    Endpoint(
        "POST",
        "activeuser/messages/{slug}",
        send_message,
        "Write to a user",
        "Message",
        {"body": Field(names.message, "the text", required=True)},
    ),
    *(
        Endpoint("GET", f"activeuser/{kind}", _feed(kind), about, "ExtendedFolder", _LIST)
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
