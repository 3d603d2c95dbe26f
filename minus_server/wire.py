"""What goes out: the objects of the APIs as dicts, in the key order of the reference."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache, partial
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from minus_server.accounts import Clock
from minus_server.catalog import File, Folder, Message, User

JSON = dict[str, Any]


def dumps(value: JSON) -> bytes:
    """JSON as programs of the time read it: one space after each colon and comma."""
    return json.dumps(value).encode("ascii")


@lru_cache(1024)  # uploads of one second stand side by side
def date(moment: int) -> str:
    """A moment as the API writes it: UTC, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment))


def http_date(moment: int) -> str:
    """A moment as HTTP writes it (RFC 9110)."""
    return formatdate(moment, usegmt=True)


def ago(seconds: int) -> str:
    """How long something is past, as the timelines of API v1 say it: `8 seconds ago`."""
    count, unit = max(0, seconds), "second"
    for size, larger in ((60, "minute"), (60, "hour"), (24, "day"), (30, "month"), (12, "year")):
        if count < size:
            break
        count, unit = count // size, larger
    return f"{count} {unit}{'' if count == 1 else 's'} ago"


def ending(name: str) -> str:
    """The ending of a file's name as short links carry it, with its dot; empty without one."""
    stem, dot, last = name.rpartition(".")
    plain = last.isascii() and last.isalnum() and len(last) <= 10
    return f".{last}" if stem and dot and plain else ""


# The keys that `fields` may name. A user's own eyes alone see the last three.
USER = (
    "username folders display_name description url visits fb_username avatar karma shared"
    " fb_profile_link slug twitter_screen_name followers following"
    " storage_quota email storage_used"
)
FOLDER = (
    "files view_count date_last_updated last_updated name creator url created last_updated_ago"
    " created_ago thumbnail_url file_count is_public id"
)
EXTENDED_FOLDER = (
    "id name file_count view_count star_count flag_count score created created_ago display_name"
    " creator is_public featured active is_flagged is_starred is_reshared is_saved thumbnail_url"
    " files url"
)
MESSAGE = "body read target sender thread created"


class Key(NamedTuple):
    """How a key of an object is made: of these columns of its record, by this function."""

    columns: tuple[str, ...]
    make: Callable[..., object] | None = None  # called with the Wire before; None: as it is


def _medium(wire: "Wire", file_id: str) -> str:
    return f"{wire.base}k{file_id}.jpg"


def _raw(wire: "Wire", file_id: str, name: str, letter: str = "i") -> str:
    return f"{wire.base}{letter}{file_id}{ending(name)}"


# A file's keys, in order. A list of files is made key by key and not file by file: a page
# may have 10,000 of them, of which the asker wants a few keys.
FILE: dict[str, Key] = {
    "mimetype": Key(("mimetype",)),
    "uploaded": Key(("uploaded",), lambda _, moment: date(moment)),
    "name": Key(("name",)),
    "caption": Key(("caption",)),
    "url": Key(("id",), lambda wire, file_id: f"{wire.base}api/v2/files/{file_id}"),
    "url_preview": Key(
        ("id", "width"), lambda wire, file_id, width: _medium(wire, file_id) if width else None
    ),
    "title": Key(("title",)),
    "url_thumbnail_medium": Key(("id",), _medium),
    "height": Key(("height",)),
    "width": Key(("width",)),
    "uploaded_ago": Key(("uploaded",), lambda wire, moment: wire.ago(moment)),
    "filesize": Key(("size",)),
    "url_rawfile": Key(("id", "name"), _raw),
    "folder": Key(("folder_id",), lambda wire, of: f"{wire.base}api/v2/folders/{of}"),
    "url_thumbnail": Key(("id", "name"), partial(_raw, letter="j")),
    "sha256": Key(("sha256",)),
    "id": Key(("id",)),
}


def chosen(keys: Sequence[str], fields: Sequence[str] | None) -> tuple[str, ...]:
    """The keys, of all that a row has, that are wanted: `id` always, all where none is named."""
    if fields is None:
        return tuple(keys)
    return tuple(key for key in keys if key == "id" or key in fields)


def file_columns(keys: Sequence[str]) -> tuple[str, ...]:
    """The columns that these keys of a file are made of, each once."""
    return tuple(dict.fromkeys(column for key in keys for column in FILE[key].columns))


@dataclass(frozen=True)
class Wire:
    """Builds the answers; `base` is the service's own address and ends in a slash."""

    base: str
    clock: Clock

    def ago(self, moment: int) -> int:
        """Whole seconds since a moment."""
        return max(0, int(self.clock()) - moment)

    @property
    def api(self) -> str:
        return f"{self.base}api/v2/"

    def _user_link(self, slug: str) -> str:
        return f"{self.api}users/{slug}"

    def user(self, user: User, *, private: bool) -> JSON:
        """A user; `private` for the user's own eyes."""
        link = self._user_link(user.slug)
        own: JSON = {
            "storage_quota": user.quota,
            "email": user.email,
            "storage_used": user.used,
        }
        row: JSON = {
            "username": user.username,
            "folders": f"{link}/folders",
            "display_name": user.display_name,
            "description": user.description,
            "url": link,
            "storage_quota": None,
            "visits": user.visits,
            "email": None,
            "fb_username": "",
            "storage_used": None,
            "avatar": f"{self.base}avatar/{user.slug}.png",
            "karma": user.karma,
            "shared": user.shared,
            "fb_profile_link": "",
            "slug": user.slug,
            "twitter_screen_name": "",
            "followers": f"{link}/followers",
            "following": f"{link}/following",
        }
        if private:
            return row | own
        return {key: value for key, value in row.items() if key not in own}

    def _cover(self, folder: Folder) -> str:
        if folder.cover_id is None:
            return f"{self.base}icon/folder.png"
        return f"{self.base}k{folder.cover_id}.jpg"

    def folder(self, folder: Folder, order: Sequence[str] | None = None) -> JSON:
        """A folder; `order` in the answer that is about this one alone."""
        link = f"{self.api}folders/{folder.id}"
        row: JSON = {
            "files": f"{link}/files",
            "view_count": folder.view_count,
            "date_last_updated": date(folder.updated),
            "last_updated": date(folder.updated),
            "name": folder.name,
            "creator": self._user_link(folder.owner_slug),
            "url": link,
            "created": date(folder.created),
        }
        if order is not None:
            row["item_ordering"] = list(order)
        return row | {
            "last_updated_ago": self.ago(folder.updated),
            "created_ago": self.ago(folder.created),
            "thumbnail_url": self._cover(folder),
            "file_count": folder.file_count,
            "is_public": folder.is_public,
            "id": folder.id,
        }

    def extended_folder(self, folder: Folder) -> JSON:
        """A folder as the feeds show it."""
        link = f"{self.api}folders/{folder.id}"
        return {
            "id": folder.id,
            "name": folder.name,
            "file_count": folder.file_count,
            "view_count": folder.view_count,
            "star_count": folder.star_count,
            "flag_count": 0,
            "score": folder.star_count,
            "created": date(folder.created),
            "created_ago": self.ago(folder.created),
            "display_name": folder.owner_name,
            "creator": self._user_link(folder.owner_slug),
            "is_public": folder.is_public,
            "featured": False,
            "active": True,
            "is_flagged": False,
            "is_starred": folder.starred,
            "is_reshared": False,
            "is_saved": False,
            "thumbnail_url": self._cover(folder),
            "files": f"{link}/files",
            "url": link,
        }

    def file(self, file: File) -> JSON:
        """A file."""
        columns = file_columns(tuple(FILE))
        record = tuple(getattr(file, column) for column in columns)
        return self.files(tuple(FILE), columns, [record])[0]

    def files(
        self, keys: Sequence[str], columns: Sequence[str], records: Sequence[Sequence[object]]
    ) -> list[JSON]:
        """These keys of many files; a record has the values of `columns`, in their order."""
        values = dict(zip(columns, zip(*records, strict=True), strict=False))  # empty: no records
        made = [self._made(FILE[key], values) for key in keys]
        return [dict(zip(keys, row, strict=True)) for row in zip(*made, strict=True)]

    def _made(self, key: Key, values: Mapping[str, Sequence[object]]) -> Sequence[object]:
        """One key of all rows."""
        sources = [values.get(column, ()) for column in key.columns]
        if key.make is None:
            return sources[0]
        return list(map(partial(key.make, self), *sources))

    def message(self, message: Message, viewer: User) -> JSON:
        """A message, with the link to its thread as the viewer has it."""
        other = message.target if message.sender == viewer.slug else message.sender
        return {
            "body": message.body,
            "read": message.read,
            "target": self._user_link(message.target),
            "sender": self._user_link(message.sender),
            "thread": f"{self.api}activeuser/messages/{other}",
            "created": date(message.created),
        }

    def page(
        self,
        path: str,
        number: int,
        per_page: int,
        total: int,
        results: list[JSON],
        asked: Mapping[str, str],
    ) -> JSON:
        """One page of a list.

        path    the list's, below the API's address
        asked   the other parameters of the request, which the links keep
        """
        pages = max(1, -(-total // per_page))
        following, previous = number + 1, min(number - 1, pages)
        return {
            "results": results,
            "page": number,
            "next": self._list_link(path, "page", following, asked) if number < pages else None,
            "per_page": per_page,
            "total": total,
            "pages": pages,
            "previous": self._list_link(path, "page", previous, asked) if number > 1 else None,
        }

    def stretch(
        self,
        path: str,
        following: str | None,
        per_page: int,
        total: int | None,
        results: list[JSON],
        asked: Mapping[str, str],
    ) -> JSON:
        """A page by cursor; `following` is where the next one begins, None behind the last."""
        link = following and self._list_link(path, "cursor", following, asked)
        return {"results": results, "next": link, "per_page": per_page, "total": total}

    def _list_link(self, path: str, key: str, value: object, asked: Mapping[str, str]) -> str:
        query = urlencode({key: value, **asked}, quote_via=quote, safe=",")
        return f"{self.api}{path}?{query}"
