"""`minus-server export` and `import`: files that any web server shows, and the way back."""

import gzip
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from markupsafe import escape

from minus_server.errors import CannotServe
from minus_server.export import export as export_tree
from minus_server.exported import FromExport
from minus_server.service import open_service
from tests.browser import Tabs
from tests.contents import HOSTILE, LARGE, PICTURE, Contents, fill
from tests.live import Service, clean_environment
from tests.test_library import Person

pytestmark = pytest.mark.alone


def export(service: Service, folder: Path, status: int = 0) -> str:
    done = service.run("export", str(folder))
    assert (done.returncode, done.stderr) == (status, "")
    return done.stdout


def rows_of(folder: Path) -> list[list[object]]:
    with gzip.open(folder / "rows.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


@contextmanager
def served(root: Path) -> Iterator[int]:
    """Python's own web server on a folder, as anybody would start it. -> its port"""
    command = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=quiet, env=clean_environment()
    ) as running:
        assert running.stdout is not None
        found = re.search(rb"port (\d+)", running.stdout.readline())
        assert found
        try:
            yield int(found[1])
        finally:
            running.terminate()


def got(port: int, path: str) -> tuple[int, str, bytes]:
    """-> status, type, bytes; a redirect is followed"""
    for _ in range(2):
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        line.request("GET", path)
        answer = line.getresponse()
        status, kind, body = answer.status, answer.getheader("Content-Type", ""), answer.read()
        path = answer.getheader("Location", "")
        line.close()
        if not path:
            break
    return status, kind, body


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that was exported, and runs."""
    running = Service(tmp_path_factory.mktemp("origin") / "data")
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def contents(origin: Service) -> Contents:
    return fill(origin)


@pytest.fixture(scope="module")
def exported(origin: Service, contents: Contents) -> Path:
    """An export of all that, made while the service ran; nobody changes it."""
    folder = origin.data.parent / "tree"
    told = export(origin, folder)
    assert re.search(r"^8 files, \d+ bytes, 3 galleries, .* 8 written, 0 removed, 0 damaged$", told)
    assert len(contents.files) == 6
    return folder


@pytest.fixture
def tree(exported: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(exported, tmp_path / "tree"))


def fresh(folder: Path, origin: Service) -> Service:
    """A service to be, which knows the same client of the API."""
    return Service(folder, api_key=origin.api_key, api_secret=origin.api_secret)


def test_an_export_comes_back_with_the_same_answers(
    origin: Service, contents: Contents, exported: Path, tmp_path: Path
) -> None:
    before = contents.answers()
    home = fresh(tmp_path / "home", origin)
    done = home.run("import", str(exported))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.endswith("\n0 problems\n")
    home.start()
    assert contents.at(home).answers() == before
    alice = contents.alice
    assert alice.with_token(alice.ask_token(alice.grant())).get("activeuser")["slug"] == alice.slug
    alice.upload(LARGE)
    contents.at(origin)
    home.stop()
    again = home.run("import", str(exported)).stderr
    assert again.startswith("minus-server: the target is not empty: there are rows in ")


def test_an_export_comes_back_into_postgresql(
    exported: Path, tmp_path: Path, postgres_url: str
) -> None:
    home = Service(tmp_path / "home")
    home.environment = {"MINUS_DATABASE_URL": postgres_url, "MINUS_BLOBS": str(tmp_path / "blobs")}
    done = home.run("import", str(exported), "--no-verify")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert home.run("export", str(tmp_path / "again")).returncode == 0
    first, second = rows_of(exported), rows_of(tmp_path / "again")
    for record in first:  # uploads stay behind, and the room that they held
        if isinstance(record[1], dict) and "reserved" in record[1]:
            record[1]["reserved"] = 0
    whole = [record for record in first if record[0] != "uploads"]
    assert len(whole) < len(first)
    assert whole[:-1] == second[:-1]
    assert second[-1] == ["end", len(second) - 2]


def test_addresses_work_from_any_web_server(contents: Contents, exported: Path) -> None:
    with served(exported / "public") as port:
        for row in (*contents.files, {"id": contents.item}):
            status, _, body = got(port, f"/i{row['id']}")
            assert (status, body) == (200, contents.alice.raw(row).body)
            assert got(port, f"/l{row['id']}")[:2] == (200, "text/html")
        picture = contents.files[1]
        assert got(port, f"/i{picture['id']}.png") == (200, "image/png", PICTURE)
        assert got(port, f"/k{picture['id']}.jpg")[:2] == (200, "image/jpeg")
        sums = f"/m{contents.folder['id']}/SHA256SUMS"
        assert got(port, sums)[2] == contents.alice.call("GET", sums).body
        for gallery in (contents.folder["id"], contents.private["id"], contents.reader):
            assert got(port, f"/m{gallery}")[:2] == (200, "text/html")
        assert got(port, f"/i{contents.files[4]['id']}.html")[0] == 404  # would run here


def test_nothing_lists_what_is_there_and_no_secret_is_in_reach(
    contents: Contents, exported: Path
) -> None:
    tree, public = exported, exported / "public"
    ids = re.compile(r"[mlik][A-Za-z0-9]{12}\b")
    for name in ("index.html", "robots.txt"):
        assert not ids.search((public / name).read_text())
    assert (public / "robots.txt").read_text() == "User-agent: *\nDisallow: /\n"
    everything = b"".join(path.read_bytes() for path in public.rglob("*") if path.is_file())
    secrets = [contents.editor, contents.alice.token, "argon2", "goodbye"]
    assert [word for word in secrets if word.encode() in everything] == []
    assert "$argon2" in gzip.decompress((tree / "rows.jsonl.gz").read_bytes()).decode()
    modes = {path.name: path.stat().st_mode & 0o777 for path in tree.iterdir()}
    hidden = ("rows.jsonl.gz", "nginx.conf", "names.map")
    assert modes == {"public": 0o711, **dict.fromkeys(hidden, 0o600)}
    kinds = {path.stat().st_mode & 0o777 for path in public.rglob("*")}
    assert kinds == {0o644, 0o755}
    page = (public / f"m{contents.private['id']}" / "index.html").read_text()
    assert '<meta name="robots" content="noindex">' in page


def test_hostile_names_and_captions_are_text(contents: Contents, exported: Path) -> None:
    public = exported / "public"
    for page in public.rglob("index.html"):
        text = page.read_text()
        assert not re.search(r"<(script|form|b>|img src=x)", text)
    item = (public / f"l{contents.files[1]['id']}" / "index.html").read_text()
    assert str(escape(HOSTILE)) in item
    caption = (public / f"l{contents.files[0]['id']}" / "index.html").read_text()
    assert "Ünï &lt;b&gt;&amp;&lt;/b&gt;" in caption


def test_pages_are_seen_in_a_browser(contents: Contents, exported: Path, tabs: Tabs) -> None:
    with served(exported / "public") as port:
        page = tabs.open(f"http://127.0.0.1:{port}/m{contents.folder['id']}")
        assert page.locator("li").count() == 6
        assert page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth)")
        page.click(f"[id='{contents.files[1]['id']}'] a")
        page.wait_for_url(f"**/l{contents.files[1]['id']}/")
        assert page.evaluate("document.images[0].naturalWidth") == 300
        page.click("a[rel=next]")
        page.click(".item-up")
        page.wait_for_url(f"**/m{contents.folder['id']}/")
        if where := os.environ.get("MINUS_SCREENSHOTS"):
            page.screenshot(path=f"{where}/exported.png", full_page=True)
        page.close()


def test_a_second_export_brings_the_first_up_to_date(own_service: Service, tmp_path: Path) -> None:
    contents, tree = fill(own_service), tmp_path / "tree"
    export(own_service, tree)
    alice, folder = contents.alice, contents.folder
    inode = (tree / "public" / f"i{contents.files[2]['id']}").stat().st_ino
    gone = contents.files[1]["id"]
    alice.delete(f"files/{gone}")
    alice.delete(f"folders/{contents.private['id']}")
    added = alice.upload(LARGE[3:], "new.bin", folder)
    alice.ok("PUT", f"files/{contents.files[0]['id']}", {"caption": "changed"})
    (tree / "part").mkdir()
    (tree / "part" / "iAAA").write_bytes(b"half of a file, of a run that was killed")
    told = export(own_service, tree)
    assert re.search(r"^7 files, .* 1 written, 7 removed, 0 damaged$", told), told
    public = tree / "public"
    assert not list(public.glob(f"*{gone}*"))
    assert not (public / f"m{contents.private['id']}").exists()
    assert (public / f"i{added['id']}").read_bytes() == LARGE[3:]
    assert (public / f"i{contents.files[2]['id']}").stat().st_ino == inode
    assert "changed" in (public / f"l{contents.files[0]['id']}" / "index.html").read_text()
    assert not (tree / "part").exists()


def test_a_gallery_of_many_becomes_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minus_server.pages.ITEMS_PER_PAGE", 2)
    monkeypatch.setattr("minus_server.export._AT_ONCE", 2)
    service = open_service(tmp_path / "data")
    alice = Person(service, "alice")
    folder = alice.folder()
    files = [alice.put(folder, b"%d" % number) for number in range(5)]
    export_tree(service, tmp_path / "tree", lambda _: None)
    gallery = tmp_path / "tree" / "public" / f"m{folder.id}"
    pages = [gallery / name for name in ("index.html", "page-2.html", "page-3.html")]
    assert set(gallery.iterdir()) == {*pages, gallery / "SHA256SUMS"}
    found = [re.findall(r'<li class="row" id="(\w+)">', page.read_text()) for page in pages]
    ids = [file.id for file in files]
    assert found == [ids[:2], ids[2:4], ids[4:]]
    assert 'href="page-2.html">Next' in pages[0].read_text()
    assert 'href="./">Previous' in pages[1].read_text()
    assert "Next" not in pages[2].read_text()
    sums = [line.split("  ")[0] for line in (gallery / "SHA256SUMS").read_text().splitlines()]
    assert sums == [file.sha256 for file in files]
    alice.library.remove_files(folder, files[:1])
    export_tree(service, tmp_path / "tree", lambda _: None)
    assert not pages[2].exists()
    service.close()


def test_what_is_damaged_is_named_by_export_and_import(
    contents: Contents, tree: Path, tmp_path: Path
) -> None:
    text, picture, large, *_ = (row["id"] for row in contents.files)
    public = tree / "public"
    (public / f"i{text}").write_bytes(b"hullo\n")
    (public / f"i{picture}").unlink()
    (public / f"i{large}").write_bytes(LARGE[:-1] + b"x")
    home = Service(tmp_path / "home")
    done = home.run("import", str(tree))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[:3] == [
        f"file {text}: its bytes do not match its SHA-256; its row is there",
        f"file {picture}: its bytes are missing; its row is there",
        f"file {large}: its bytes do not match its SHA-256; its row is there",
    ]
    assert done.stdout.endswith("\n3 problems\n")


def test_what_is_damaged_on_the_service_is_named_and_left_out(tmp_path: Path) -> None:
    service = open_service(tmp_path / "data")
    alice = Person(service, "alice")
    kept, rotten = (alice.put(alice.folder(), LARGE) for _ in range(2))
    path = service.blobs.path(rotten.blob)
    assert path
    path.write_bytes(b"rotten")
    service.close()
    told = export(Service(tmp_path / "data"), tmp_path / "tree", 1)
    why = f"file {rotten.id}: it has 6 bytes and should have {len(LARGE)}; its row is there\n"
    assert told.startswith(why)
    public = tmp_path / "tree" / "public"
    assert (public / f"i{kept.id}").read_bytes() == LARGE
    assert not (public / f"i{rotten.id}").exists()


def test_rows_that_are_cut_off_or_lead_elsewhere_are_refused(tree: Path, tmp_path: Path) -> None:
    rows = tree / "rows.jsonl.gz"
    whole = rows.read_bytes()
    lines = gzip.decompress(whole).splitlines(keepends=True)
    elsewhere = [re.sub(rb'"blob":"[^"]*"', b'"blob":"../../x"', line) for line in lines]
    for data, why in (
        (whole[:-20], "is damaged: "),
        (b"plain", "is damaged: "),
        (gzip.compress(b"".join(lines[:-1])), "is cut off"),
        (gzip.compress(b"".join(elsewhere)), "is damaged: a file has no right id"),
        (gzip.compress(b"[1]\n"), "is damaged: "),
        (gzip.compress(b"".join(lines[:2] + lines[3:])), "is cut off, or rows are missing"),
        (gzip.compress(lines[0] + b'["users",[1]]\n'), "is damaged: a row has no number"),
    ):
        rows.write_bytes(data)
        with pytest.raises(CannotServe, match=re.escape(f"{rows} {why}")):
            list(FromExport(tree).files(0))
    home = Service(tmp_path / "home")
    done = home.run("import", str(tree))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"minus-server: {rows} is damaged: ")
    rows.write_bytes(whole)
    assert home.run("import", str(tree), "--no-verify").returncode == 0
    rows.unlink()
    with pytest.raises(CannotServe, match=re.escape(f"{tree} is no export")):
        list(FromExport(tree).files(0))


def test_a_folder_of_something_else_is_left_alone(origin: Service, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("mine")
    done = origin.run("export", str(tmp_path / "mine"))
    why = f"minus-server: {tmp_path / 'mine'} has something else than an export\n"
    assert (done.returncode, done.stderr) == (1, why)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes"]
