"""A service with something of everything, and all that it answers about it."""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from minus_server.catalog import Catalog
from tests import rawhttp
from tests.live import Service
from tests.rawhttp import Client, Row, new_user, png
from tests.test_wire_tus import TUS, Upload

LARGE = bytes(range(256)) * 400  # 102,400 bytes: not in the catalog
PICTURE = png(300, 200) + LARGE
HOSTILE = "<img src=x onerror=alert(1)>&'.png"
HALF = 70_000  # bytes that came of the unfinished upload


@dataclass
class Contents:
    """Who is on a service, what they have, and a gallery of nobody."""

    alice: Client
    bob: Client
    folder: Row
    files: list[Row]
    reader: str = ""
    editor: str = ""
    item: str = ""
    upload: str = ""  # the path of one that is unfinished
    private: Row = field(default_factory=dict)

    def at(self, service: Service) -> "Contents":
        """The same people with the same tokens before another service."""
        for client in (self.alice, self.bob):
            client.service, client.port, client.base = service, service.port, service.url
        return self

    def answers(self) -> dict[str, str]:
        """What the service says, its own address left out."""
        alice, bob, port = self.alice, self.bob, self.alice.port
        asked: dict[str, Any] = {}
        for client, path in (
            (alice, "activeuser"),
            (alice, f"users/{alice.slug}/folders"),
            (alice, f"users/{alice.slug}/followers"),
            (alice, f"folders/{self.folder['id']}/files"),
            (alice, f"folders/{self.private['id']}/files"),
            (alice, "activeuser/messages"),
            (bob, "activeuser"),
            (bob, "activeuser/favorited"),
            (bob, "activeuser/history"),
            (bob, f"activeuser/messages/{alice.slug}"),
        ):
            asked[f"{client.name} {path}"] = client.get(path)
        for path in (f"/api/GetItems/m{self.reader}", f"/m{self.folder['id']}/SHA256SUMS"):
            asked[path] = rawhttp.call(port, "GET", path).body.decode()
        for file_id in (*(row["id"] for row in self.files), self.item):
            got = rawhttp.call(port, "GET", f"/i{file_id}")
            kept = [got.headers[name] for name in ("Content-Type", "ETag", "Content-Disposition")]
            asked[f"/i{file_id}"] = [got.status, hashlib.sha256(got.body).hexdigest(), *kept]
        return {key: _plain(value) for key, value in asked.items()}


def _plain(value: object) -> str:
    """An answer without the service's address and the time that has passed."""
    text = re.sub(r"http://127\.0\.0\.1:\d+/", "BASE/", repr(value))
    return re.sub(r"(ago'?: )\d+", r"\1", text)


def fill(service: Service) -> Contents:
    """Put something of everything on a service."""
    alice, bob = new_user(service, "alice"), new_user(service, "bob")
    folder = alice.folder("Stuff")
    files = [
        alice.upload(data, name, folder)
        for data, name in (
            (b"hello\n", "a.txt"),
            (PICTURE, HOSTILE),
            (LARGE, "large.bin"),
            (png(20, 20), "tiny.png"),
            (b"<script>alert(1)</script>", "page.html"),
            (b"", "empty"),
        )
    ]
    alice.ok("PUT", f"files/{files[0]['id']}", {"caption": "Ünï <b>&</b> \u202e"})
    private = alice.folder("Private", "false")
    alice.upload(LARGE[:-1], "secret.bin", private)
    bob.ok("POST", f"users/{bob.slug}/following", {"slug": alice.slug})
    bob.ok("POST", "activeuser/favorited", {"id": folder["id"]})
    bob.get(f"folders/{folder['id']}")
    alice.ok("POST", f"activeuser/messages/{bob.slug}", {"body": "hello & <goodbye>"})
    bob.get(f"activeuser/messages/{alice.slug}")  # read from now on
    gone = alice.folder("Gone")
    alice.delete(f"folders/{gone['id']}")
    made = rawhttp.call(service.port, "POST", "/api/CreateGallery").json()
    target = f"/api/UploadItem?editor_id={made['editor_id']}&filename=a.png"
    item = rawhttp.call(service.port, "POST", target, {"Content-Type": "image/png"}, PICTURE)
    found = Contents(alice, bob, folder, files, private=private)
    found.reader, found.editor = made["reader_id"], made["editor_id"]
    found.item, found.upload = item.json()["id"], begin(alice, folder)
    return found


def begin(alice: Client, folder: Row) -> str:
    """Begin an upload and leave it. -> its path"""
    path = f"/api/v2/folders/{folder['id']}/uploads"
    headers = {**alice.bearer(), **TUS, "Upload-Length": str(len(LARGE))}
    begun = rawhttp.call(alice.port, "POST", path, headers)
    place = begun.headers["Location"].partition(f":{alice.port}")[2]
    assert Upload(alice.port, place, alice.bearer()).patch(0, LARGE[:HALF]).status == 204
    return place


def rows(catalog: Catalog) -> dict[str, list[Row]]:
    """All rows of a catalog, by table."""
    found: dict[str, list[Row]] = {}
    with catalog.read() as opened:
        for name, batch in opened.dump():
            found.setdefault(name, []).extend(batch)
        found["numbers"] = [dict(opened.numbers_given())]
    return found
