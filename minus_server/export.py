"""`minus-server export`: files that any web server shows under the addresses that they had.

A folder `mID` or `lID` has its page in `index.html`: every server finds that, and knows its type.
What has no ending has no type on most of them, so `iID` is there a second time as `iID.png`,
without taking room; but only under endings by which a server or a browser runs nothing.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

from minus_server import names, pages
from minus_server.catalog import File, Folder, Part
from minus_server.check import batches, every_file, problem_of, still_there
from minus_server.errors import CannotServe
from minus_server.exported import PUBLIC, ROWS, write_rows
from minus_server.service import Service
from minus_server.wire import date, ending
from minus_server.zips import MemberNames

_AT_ONCE = 500  # rows
_PART = "part"  # the folder of what is being written
_NGINX, _NAMES = "nginx.conf", "names.map"
_OURS = frozenset({PUBLIC, ROWS, _PART, _NGINX, _NAMES})
_LINKED = re.compile(rf"[milk]([A-Za-z0-9]{{{names.ID_LENGTH}}})(?:\..*)?")
_COLUMNS = [column.name for column in fields(File)][:-2]  # but those of its folder
_SAVED = frozenset({".7z", ".bz2", ".gz", ".pdf", ".rar", ".tar", ".xz", ".zip", ".zst"})
_SERVER = """\
# Inside `http {{ }}`, beside mime.types. What has no ending gets its type from {names}.
map_hash_max_size 4194304;
map_hash_bucket_size 128;
map $minus_id $minus_name {{ include "{folder}/{names}"; }}
server {{
    listen 127.0.0.1:8080;
    root "{folder}/{public}";
    add_header X-Content-Type-Options nosniff always;
    location ~ "^/(?<minus_id>i[A-Za-z0-9]{{12}})(\\.[^/]*)?$" {{
        add_header X-Content-Type-Options nosniff always;
        add_header Content-Security-Policy "sandbox; default-src 'none'" always;
        default_type application/octet-stream;
        try_files /$minus_name /$minus_id =404;
    }}
}}
"""


@dataclass
class Report:
    """What was exported; `written` of the files were not there before.

    damaged   what is wrong with a file, by its id
    """

    files: int = 0
    bytes: int = 0
    written: int = 0
    galleries: int = 0
    removed: int = 0
    damaged: dict[str, str] = field(default_factory=dict)


def export(service: Service, folder: Path, progress: Callable[[File], object]) -> Report:
    """Write all that a service has into a folder, or bring up to date what is there.

    Raises CannotServe for a folder of something else.
    """
    made = _Export(service, folder)
    made.begin()
    last = made.files(0, progress)
    made.galleries()
    made.rows(last, progress)
    made.remove_gone()
    return made.report


def safe_ending(file: File) -> str:
    """The ending under which a server and a browser show or save a file; empty for others."""
    suffix = ending(file.name).lower()
    kind = names.guessed_type(f"a{suffix}")
    return ending(file.name) if kind in names.INLINE or suffix in _SAVED else ""


class _Export:
    """One run."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.report = Report()
        self._service = service
        self._folder = folder
        self._public = folder / PUBLIC
        self._part = folder / _PART

    # --- files ---

    def begin(self) -> None:
        """Make the folders and what is not of any gallery."""
        if self._folder.exists() and not {path.name for path in self._folder.iterdir()} <= _OURS:
            raise CannotServe(f"{self._folder} has something else than an export")
        shutil.rmtree(self._part, ignore_errors=True)
        for path in (self._folder, self._public):
            self._make(path, 0o711)  # others open in it what they know the name of
        self._make(self._public / "static")
        self._part.mkdir(mode=0o700)
        for name in ("style.css", "icon.svg"):
            self._put_text(self._public / "static" / name, (pages.STATIC / name).read_text())
        self._put_text(self._public / "robots.txt", "User-agent: *\nDisallow: /\n")
        index = pages.static_page("exported.html", "./", noindex=True)
        self._put_text(self._public / "index.html", index)
        here = str(self._folder.resolve()).replace("\\", "\\\\").replace('"', '\\"')
        server = _SERVER.format(folder=here, public=PUBLIC, names=_NAMES)
        self._put_text(self._folder / _NGINX, server, 0o600)

    @staticmethod
    def _make(path: Path, mode: int = 0o755) -> None:
        """A folder; nginx must be able to read one that it leads to by adding the slash."""
        path.mkdir(exist_ok=True)
        path.chmod(mode)

    def _put(
        self, path: Path, write: Callable[[BinaryIO], str | None], mode: int = 0o644
    ) -> str | None:
        """Make a file in one step, unless `write` tells what is wrong."""
        part = self._part / path.name
        with part.open("wb") as file:
            os.fchmod(file.fileno(), mode)
            problem = write(file)
        if problem is None:
            part.replace(path)
        else:
            part.unlink()
        return problem

    def _put_bytes(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        def write(file: BinaryIO) -> None:
            file.write(data)

        self._put(path, write, mode)

    def _put_text(self, path: Path, text: str, mode: int = 0o644) -> None:
        """Make a file of a text, unless it is there with this one."""
        data = text.encode()
        if not path.is_file() or path.read_bytes() != data:
            self._put_bytes(path, data, mode)

    # --- bytes ---

    def files(self, after: int, progress: Callable[[File], object]) -> int:
        """The bytes of each file whose number is higher, and its thumbnail. -> the last number"""
        mode = "w" if after == 0 else "a"
        with (self._folder / _NAMES).open(mode) as known:
            os.fchmod(known.fileno(), 0o600)
            for file, _ in every_file(self._service, after):
                after = file.n
                problem = self._bytes(file)
                if problem is None:
                    known.write(self._ending(file))
                    self._thumbnail(file)
                elif still_there(self._service, file):
                    self.report.damaged[file.id] = problem
                self.report.files += 1
                self.report.bytes += file.size
                progress(file)
        return after

    def _bytes(self, file: File) -> str | None:
        """Write a file's bytes; they have their name when they are right. -> what is wrong"""
        path = self._public / f"i{file.id}"
        if path.is_file() and path.stat().st_size == file.size:
            return None

        def write(out: BinaryIO) -> str | None:
            def opened() -> BinaryIO:
                return self._service.blobs.open(file.blob)

            return problem_of(opened, file.size, file.sha256, out.write)

        problem = self._put(path, write)
        self.report.written += problem is None
        return problem

    def _ending(self, file: File) -> str:
        """Give a file its second name. -> its line in the map of names, if it has one"""
        suffix = safe_ending(file)
        path = self._public / f"i{file.id}{suffix}"
        if not path.exists():
            os.link(self._public / f"i{file.id}", path)
        return f"i{file.id} {path.name};\n" if suffix else ""

    def _thumbnail(self, file: File) -> None:
        path = self._public / f"k{file.id}.jpg"
        if file.width and not path.exists():
            self._put_bytes(path, self._service.library.thumbnail(file, "medium")[0])

    # --- pages ---

    def galleries(self) -> None:
        """The pages of all galleries and items."""
        after = 0
        while True:
            with self._service.catalog.read() as rows:
                some = rows.every_folder(after, _AT_ONCE)
            for folder in some:
                self._gallery(folder)
                self.report.galleries += 1
            if len(some) < _AT_ONCE:
                return
            after = some[-1].n

    def _files_of(self, folder: Folder) -> Iterator[File]:
        place: tuple[int, ...] = ()
        while True:
            with self._service.catalog.read() as rows:
                some = rows.files_part(folder, _COLUMNS, Part(_AT_ONCE, after=place))
            found = [File.of((*row, folder.owner_n, folder.last_visit)) for row in some]
            yield from found
            if len(found) < _AT_ONCE:
                return
            place = (found[-1].position, found[-1].n)

    def _gallery(self, folder: Folder) -> None:
        """A gallery's pages, its sums, the page of each item."""
        place, shown, number = self._public / f"m{folder.id}", list[dict[str, Any]](), 1
        self._make(place)
        members, before, files = MemberNames(), None, self._files_of(folder)
        file = next(files, None)

        def sums(out: BinaryIO) -> None:
            nonlocal before, file, shown, number
            at = 0
            while file is not None:
                following, at = next(files, None), at + 1
                out.write(f"{file.sha256}  {members.take(file.name)}\n".encode())
                shown.append(self._item(folder, file, at, before, following))
                before, file = file, following
                if len(shown) == pages.ITEMS_PER_PAGE and file is not None:
                    self._page(folder, place, shown, number, more=True)
                    shown, number = [], number + 1

        self._put(place / "SHA256SUMS", sums)
        self._page(folder, place, shown, number, more=False)
        while (old := place / _page_name(number := number + 1)).exists():
            old.unlink()

    def _page(
        self, folder: Folder, place: Path, items: list[dict[str, Any]], number: int, *, more: bool
    ) -> None:
        count = max(number + more, -(-folder.file_count // pages.ITEMS_PER_PAGE))
        around = {
            "number": number,
            "count": count,
            "previous": _page_address(number - 1) if number > 1 else None,
            "next": _page_address(number + 1) if more else None,
        }
        page = pages.static_page(
            "exported_gallery.html",
            "../",
            gallery=_gallery_facts(folder),
            items=items,
            pages=around,
            noindex=not folder.is_public,
        )
        self._put_text(place / _page_name(number), page)

    def _item(
        self, folder: Folder, file: File, at: int, before: File | None, following: File | None
    ) -> dict[str, Any]:
        """Write an item's page. -> what the gallery's page says of it"""
        facts = pages.item_facts("../", file) | {
            "page": f"../l{file.id}/",
            "raw": f"../i{file.id}{safe_ending(file)}",
            "uploaded": date(file.uploaded)[:16],
            "sha256": file.sha256,
        }
        facts["shown"] = facts["thumb"] if file.mimetype == "image/tiff" else facts["raw"]
        page = pages.static_page(
            "exported_item.html",
            "../",
            gallery=_gallery_facts(folder),
            item=facts,
            text=self._text(file) if facts["kind"] == "text" else None,
            position=at,
            previous=before and f"../l{before.id}/",
            next=following and f"../l{following.id}/",
            noindex=not folder.is_public,
        )
        place = self._public / f"l{file.id}"
        self._make(place)
        self._put_text(place / "index.html", page)
        return facts

    def _text(self, file: File) -> str:
        """The beginning of a text, empty where it is damaged."""
        path = self._public / f"i{file.id}"
        if not path.exists():
            return ""
        with path.open("rb") as stream:
            return stream.read(pages.TEXT_SHOWN).decode("utf-8", "replace")

    # --- rows, what is gone ---

    def rows(self, last: int, progress: Callable[[File], object]) -> None:
        """All rows as they are at a moment at which the bytes of all files are there."""
        while True:
            with self._service.catalog.read() as rows:
                if rows.last_file() <= last:
                    part = self._part / ROWS
                    with part.open("wb") as file:
                        os.fchmod(file.fileno(), 0o600)
                        write_rows(rows, file)
                    break
            last = self.files(last, progress)
        os.sync()  # what the rows tell of is on disk before them
        part.replace(self._folder / ROWS)

    def remove_gone(self) -> None:
        """Remove what was deleted since the last time."""
        with os.scandir(self._public) as entries:
            for some in batches(entry.name for entry in entries):
                ids = {name: found[1] for name in some if (found := _LINKED.fullmatch(name))}
                with self._service.catalog.read() as rows:
                    known = rows.known_ids(sorted(set(ids.values())))
                for name, file_id in ids.items():
                    if file_id not in known:
                        self._remove(self._public / name)
        self._part.rmdir()

    def _remove(self, path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        self.report.removed += 1


def _page_name(number: int) -> str:
    return "index.html" if number == 1 else f"page-{number}.html"


def _page_address(number: int) -> str:
    return "./" if number == 1 else f"page-{number}.html"


def _gallery_facts(folder: Folder) -> dict[str, Any]:
    return {
        "name": folder.name,
        "owner": folder.owner_name or folder.owner_username,
        "file_count": folder.file_count,
        "updated": date(folder.updated)[:16],
        "page": f"../m{folder.id}/",
    }
