"""Make a data folder with the code of the current folder, and tell what is in it.

python make.py REVISION, in a checkout of that time, with PYTHONPATH naming this one.
"""

import hashlib
import json
import sqlite3
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from tests import rawhttp
from tests.contents import LARGE, PICTURE, begin
from tests.live import Service
from tests.rawhttp import new_user

HERE = Path(__file__).parent
NEVER = 4_000_000_000  # what is unfinished would else be over a week later


def fill(service: Service) -> dict[str, Any]:
    """Put something of everything that there was on a service. -> what a test may ask for"""
    alice, bob = new_user(service, "alice"), new_user(service, "bob")
    folder, hidden = alice.folder("Stuff"), alice.folder("Private", "false")
    put = {"a.txt": b"hello\n", "b.png": PICTURE, "large.bin": LARGE, "empty": b""}
    rows = {name: alice.upload(data, name, folder) for name, data in put.items()}
    alice.ok("PUT", f"files/{rows['a.txt']['id']}", {"caption": "Ünï <b>&</b>"})
    rows["secret.bin"] = alice.upload(LARGE[1:], "secret.bin", hidden)
    bob.ok("POST", f"users/{bob.slug}/following", {"slug": alice.slug})
    bob.ok("POST", "activeuser/favorited", {"id": folder["id"]})
    bob.get(f"folders/{folder['id']}")
    alice.ok("POST", f"activeuser/messages/{bob.slug}", {"body": "hello & <goodbye>"})
    alice.delete(f"folders/{alice.folder('Gone')['id']}")
    told: dict[str, Any] = {
        "names": [alice.name, bob.name],
        "client": [service.api_key, service.api_secret],
        "folder": folder["id"],
        "files": {
            row["id"]: [name, hashlib.sha256((put | {"secret.bin": LARGE[1:]})[name]).hexdigest()]
            for name, row in rows.items()
        },
    }
    made = rawhttp.call(service.port, "POST", "/api/CreateGallery")
    if made.status == 200:
        gallery = made.json()
        path = f"/api/UploadItem?editor_id={gallery['editor_id']}&filename=g.png"
        item = rawhttp.call(service.port, "POST", path, {"Content-Type": "image/png"}, PICTURE)
        told["gallery"] = [gallery["reader_id"], gallery["editor_id"], item.json()["id"]]
    if rawhttp.call(service.port, "OPTIONS", "/uploads/x").status == 204:
        told["upload"] = begin(alice, folder)
    return told


def main(revision: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        service = Service(Path(place) / "data")
        service.environment = {"MINUS_DATABASE_URL": ""}
        service.start()
        told = fill(service)
        service.stop()
        with closing(sqlite3.connect(service.data / "catalog.sqlite3")) as rows:
            if "upload" in told:
                rows.execute("UPDATE uploads SET expires = ?", (NEVER,))
                rows.commit()
            found = rows.execute("SELECT version_num FROM alembic_version").fetchone()
        if found != (revision,):
            raise SystemExit(f"this is {found}, not {revision}")
        (service.data / "told.json").write_text(json.dumps(told))
        with tarfile.open(HERE / f"{revision}.tar.xz", "w:xz") as packed:
            packed.add(service.data, "data")


if __name__ == "__main__":
    main(sys.argv[1])
