"""Data folders that earlier versions made: each opens, answers as then, and nothing is wrong."""

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

import minus_server
from minus_server.catalog import newest_revision
from minus_server.places import Places
from tests import rawhttp
from tests.contents import HALF, LARGE
from tests.live import Service
from tests.rawhttp import ALL, Client
from tests.test_wire_tus import Upload

STORED = Path(__file__).parent / "revisions"
REVISIONS = sorted(path.name.partition(".")[0] for path in STORED.glob("*.tar.xz"))

pytestmark = pytest.mark.alone


def unpacked(revision: str, folder: Path) -> dict[str, Any]:
    """Bring a stored data folder there, as `data`. -> what was put into it"""
    with tarfile.open(STORED / f"{revision}.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    told: dict[str, Any] = json.loads((folder / "data" / "told.json").read_text())
    return told


def test_every_revision_but_the_newest_is_stored() -> None:
    versions = Path(minus_server.__file__).parent / "migrations" / "versions"
    known = sorted(path.stem for path in versions.glob("[0-9]*.py"))
    assert [*REVISIONS, newest_revision()] == known


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_folder_of_an_earlier_version_goes_on(revision: str, tmp_path: Path) -> None:
    told = unpacked(revision, tmp_path)
    places = Places(tmp_path / "data")
    catalog = places.unopened_catalog()
    assert catalog.revision() == revision
    catalog.close()
    key, secret = told["client"]
    service = Service(
        tmp_path / "data", ("--anonymous-days", "99999"), api_key=key, api_secret=secret
    )
    service.start()
    alice, bob = (signed_in(service, name) for name in told["names"])
    assert_files_are_there(told, alice)
    me = alice.get("activeuser")
    assert (me["karma"], me["shared"], me["followers_slug_list"]) == (1, 1, [bob.slug])
    (message,) = bob.results(f"activeuser/messages/{alice.slug}")
    assert message["body"] == "hello & <goodbye>"
    assert [row["id"] for row in bob.results("activeuser/favorited")] == [told["folder"]]
    if "gallery" in told:
        assert_gallery_goes_on(service, *told["gallery"])
    if "upload" in told:
        upload = Upload(service.port, told["upload"], alice.bearer())
        assert upload.offset == HALF
        assert upload.patch(HALF, LARGE[HALF:]).status == 204
        assert alice.raw(upload.row()["file"]).body == LARGE
    alice.upload(LARGE, "new.bin", {"id": told["folder"]})
    assert service.stop() == 0
    assert service.run("check").stdout.endswith("\n0 problems\n")
    assert service.log() == ""


def signed_in(service: Service, name: str) -> Client:
    return Client(service, name, "").limited(ALL)


def assert_files_are_there(told: dict[str, Any], alice: Client) -> None:
    for file_id, (name, digest) in told["files"].items():
        row = alice.get(f"files/{file_id}")
        assert (row["name"], row["caption"] != "") == (name, name == "a.txt")
        assert hashlib.sha256(alice.raw(row).body).hexdigest() == digest
    listed = alice.values(f"folders/{told['folder']}/files", "id")
    assert listed == list(told["files"])[:-1]
    assert rawhttp.call(alice.port, "GET", f"/m{told['folder']}").status == 200


def assert_gallery_goes_on(service: Service, reader: str, editor: str, item: str) -> None:
    assert rawhttp.call(service.port, "GET", f"/m{reader}").status == 200
    assert (
        rawhttp.call(service.port, "GET", f"/k{item}.jpg").headers["Content-Type"] == "image/jpeg"
    )
    path = f"/api/UploadItem?editor_id={editor}&filename=more.txt"
    added = rawhttp.call(service.port, "POST", path, {"Content-Type": "text/plain"}, b"more")
    assert added.status == 200
    items = rawhttp.call(service.port, "GET", f"/api/GetItems/m{reader}").json()
    assert len(items["ITEMS_GALLERY"]) == 2
