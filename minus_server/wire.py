"""What goes out: the objects of the APIs as dicts, in the key order of the reference."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

from minus_server.accounts import Clock
from minus_server.catalog import File, Folder, Message, User

JSON = dict[str, Any]


def dumps(value: JSON) -> bytes:
    """JSON as programs of the time read it: one space after each colon and comma."""
    return json.dumps(value).encode("ascii")


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


@dataclass(frozen=True)
class Wire:
    """Builds the answers; `base` is the service's own address and ends in a slash."""

    base: str
    clock: Clock

    def _ago(self, moment: int) -> int:
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
            "last_updated_ago": self._ago(folder.updated),
            "created_ago": self._ago(folder.created),
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
            "created_ago": self._ago(folder.created),
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
        suffix = quote(ending(file.name))
        medium = f"{self.base}k{file.id}.jpg"
        return {
            "mimetype": file.mimetype,
            "uploaded": date(file.uploaded),
            "name": file.name,
            "caption": file.caption,
            "url": f"{self.api}files/{file.id}",
            "url_preview": medium if file.width else None,
            "title": file.title,
            "url_thumbnail_medium": medium,
            "height": file.height,
            "width": file.width,
            "uploaded_ago": self._ago(file.uploaded),
            "filesize": file.size,
            "url_rawfile": f"{self.base}i{file.id}{suffix}",
            "folder": f"{self.api}folders/{file.folder_id}",
            "url_thumbnail": f"{self.base}j{file.id}{suffix}",
            "sha256": file.sha256,
            "id": file.id,
        }

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

    def page(self, path: str, number: int, per_page: int, total: int, results: list[JSON]) -> JSON:
        """One page of a list; `path` is the list's, below the API's address."""
        pages = max(1, -(-total // per_page))
        link = f"{self.api}{path}?page="
        return {
            "results": results,
            "page": number,
            "next": f"{link}{number + 1}" if number < pages else None,
            "per_page": per_page,
            "total": total,
            "pages": pages,
            "previous": f"{link}{min(number - 1, pages)}" if number > 1 else None,
        }
