"""`minus-server copy`: everything, byte for byte, or a target that says it is unfinished."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minus_server import keeping
from minus_server.catalog import Catalog
from minus_server.daemon import Lock
from minus_server.databases import shown_url
from minus_server.errors import CannotServe
from minus_server.places import Places
from minus_server.service import open_service
from tests.contents import HALF, LARGE, Contents, fill, rows
from tests.live import Service, clean_environment
from tests.rawhttp import new_user
from tests.seaweed import new_place
from tests.test_library import Person
from tests.test_wire_tus import Upload

COPY = (sys.executable, "-m", "minus_server", "copy")
SUMMARY = re.compile(
    r"(\d+) files, (\d+) bytes, [\d.]+ seconds; (\d+) sent, (\d+) damaged", re.MULTILINE
)

pytestmark = pytest.mark.alone


def copy(*args: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [*COPY, *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, env=clean_environment(), check=False
    )


def moved(*args: str | Path) -> tuple[int, int, int, int]:
    """Copy, and find nothing wrong. -> files, bytes, sent, damaged"""
    done = copy(*args)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    found = SUMMARY.search(done.stdout)
    assert found
    files, size, sent, damaged = map(int, found.groups())
    return files, size, sent, damaged


def refused(*args: str | Path) -> str:
    done = copy(*args)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.removeprefix("minus-server: ").rstrip("\n")


def has_rows(places: Places) -> str:
    """Why a target is refused that has rows."""
    where = shown_url(places.database or Catalog.url_in(places.data))
    about = "a finished copy takes nothing more, empty both places to copy anew"
    return f"the target is not empty: there are rows in {where}; {about}"


def has_bytes(where: str | Path) -> str:
    """Why a target is refused that has no rows but bytes."""
    return f"the target is not empty: there are bytes of files in {where}; empty it to copy anew"


def at(places: Places, data: Path) -> Service:
    """A service on these places."""
    service = Service(data)
    service.environment = {
        "MINUS_DATABASE_URL": places.database or "",
        "MINUS_BLOBS": places.blobs or "",
    }
    return service


def same_rows(one: Places, other: Places, *, anew: bool = False) -> None:
    """The rows of both are the same; `anew`: but for what came of unfinished uploads."""
    catalogs = [places.unopened_catalog() for places in (one, other)]
    first, second = map(rows, catalogs)
    for catalog in catalogs:
        catalog.close()
    for row in first["uploads"] if anew else ():
        row["arrived"] = 0
    assert first.pop("numbers") == second.pop("numbers")
    assert first == second


@pytest.fixture
def contents(own_service: Service) -> Contents:
    return fill(own_service)


def test_a_folder_arrives_in_another_with_all_that_it_had(
    own_service: Service, contents: Contents, tmp_path: Path
) -> None:
    highest = contents.alice.upload(b"gone")
    contents.alice.delete(f"folders/{highest['folder'].rpartition('/')[2]}")
    before = contents.answers()
    assert own_service.stop() == 0
    there = tmp_path / "there"
    assert moved("--from", own_service.data, "--to", there)[::3] == (8, 0)
    same_rows(Places(own_service.data), Places(there))
    target = Service(there, api_key=own_service.api_key, api_secret=own_service.api_secret)
    target.start()
    assert contents.at(target).answers() == before
    alice = contents.alice
    upload = Upload(target.port, contents.upload, alice.bearer())
    assert upload.offset == HALF
    assert upload.patch(HALF, LARGE[HALF:]).status == 204
    assert alice.raw(upload.row()["file"]).body == LARGE
    assert alice.with_token(alice.ask_token(alice.grant())).get("activeuser")["storage_used"] > 0
    new_user(target, "carol").upload(LARGE)
    assert target.run("check").stdout.endswith("\n0 problems\n")
    assert target.stop() == 0


def test_a_copy_that_was_killed_goes_on_and_is_not_opened_before(
    own_service: Service, tmp_path: Path
) -> None:
    alice = new_user(own_service, "alice")
    folder = alice.folder()
    sent = [alice.upload(bytes([n]) * 70_000, f"{n}", folder) for n in range(20)]
    assert own_service.stop() == 0
    blobs = [path for path in (own_service.data / "blobs").rglob("*") if path.is_file()]
    last = max(blobs, key=lambda path: path.stat().st_mtime_ns)
    kept = tmp_path / "kept"
    last.rename(kept)
    os.mkfifo(last)
    there = tmp_path / "there"
    places = ("--from", own_service.data, "--to", there)
    running = subprocess.Popen([*COPY, *map(str, places)], env=clean_environment())
    with running, last.open("wb") as pipe:  # waits until the copy reads this file
        pipe.write(kept.read_bytes()[:35_000])
        pipe.flush()
        running.send_signal(signal.SIGKILL)
        running.wait()
    last.unlink()
    kept.rename(last)
    target = Service(there)
    why = "minus-server: what is copied or imported here is unfinished: run that command again\n"
    for command in ("check", "users", "serve"):
        done = target.run(command)
        assert (done.returncode != 0, done.stderr) == (True, why)
    files, size, again, damaged = moved(*places)
    assert (files, size, damaged) == (20, 20 * 70_000, 0)
    assert 1 <= again < 20
    same_rows(Places(own_service.data), Places(there))
    target = Service(there)
    target.start()
    alice.port = target.port
    assert [alice.raw(row).body for row in sent] == [bytes([n]) * 70_000 for n in range(20)]
    target.stop()


def test_damaged_files_are_named_and_the_rest_goes_on(own_service: Service, tmp_path: Path) -> None:
    fill(own_service)
    own_service.stop()
    places = Places(own_service.data)
    catalog = places.catalog()
    with catalog.read() as opened:
        large = [file for file in opened.every_file(0, 100) if not file.blob.startswith("=")]
    catalog.close()
    changed, missing = (own_service.data / "blobs" / f.blob[0] / f.blob for f in large[:2])
    changed.write_bytes(b"x" * large[0].size)
    missing.unlink()
    done = copy("--from", own_service.data, "--to", tmp_path / "there")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[:2] == [
        f"file {large[0].id}: its bytes do not match its SHA-256; its row is there",
        f"file {large[1].id}: its bytes are missing; its row is there",
    ]
    assert done.stdout.endswith("\n2 problems\n")
    same_rows(places, Places(tmp_path / "there"))
    stored = {path.name for path in (tmp_path / "there" / "blobs").rglob("*") if path.is_file()}
    assert stored == {file.blob for file in large[2:]}


def test_bytes_go_while_the_service_runs_and_rows_when_it_stands_still(
    own_service: Service, contents: Contents, tmp_path: Path
) -> None:
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    places = ("--from", own_service.data, "--to", there)
    why = (
        f"the bytes are there, but {own_service.data} is still served, at {own_service.url}: stop"
        " that and run this again for the rows"
    )
    assert refused(*places) == why
    done = copy("--from", own_service.data, "--to", elsewhere, "--live")
    assert done.returncode == 0
    assert "1 unfinished uploads begin anew: their bytes stayed behind\n" in done.stdout
    contents.alice.upload(LARGE[1:], folder=contents.folder)
    own_service.stop()
    assert moved(*places)[2] == 1
    target = Service(elsewhere)
    target.start()
    assert Upload(target.port, contents.upload, contents.alice.bearer()).offset == 0
    assert target.run("check").stdout.endswith("\n0 problems\n")
    target.stop()


def test_nothing_is_mixed_with_what_is_there(tmp_path: Path) -> None:
    source, other = Places(tmp_path / "data"), Places(tmp_path / "other")
    for places in (source, other):
        service = open_service(places)
        person = Person(service, "alice")
        person.put(person.folder(), LARGE)
        service.close()
    nobodys = tmp_path / "bytes"
    (nobodys / "blobs" / "a").mkdir(parents=True)
    (nobodys / "blobs" / "a" / "abc").write_bytes(b"somebody's")
    begun = Places(tmp_path / "begun")
    lock = Lock(source.data)
    assert lock.take()

    def why(source: Places, target: Places) -> str:
        with pytest.raises(CannotServe) as refused:
            keeping.copy(source, target, live=False, verify=False)
        return str(refused.value)

    assert why(other, source) == f"{source.data} is in use"
    assert why(source, begun).startswith(f"the bytes are there, but {source.data} is still served")
    lock.release()
    assert why(other, source) == has_rows(source)
    assert why(source, Places(nobodys)) == has_bytes(nobodys)
    assert why(other, begun) == "the target has a part of something else"
    assert keeping.copy(source, begun, live=False, verify=False) == 0
    assert why(source, begun) == has_rows(begun)
    half = "minus-server: a database alone is half a service: say where its bytes are"
    done = copy("--from", source.data, "--to", f"sqlite:///{tmp_path}/x.sqlite3")
    assert (done.returncode, done.stderr) == (1, f"{half}\n")


def test_to_postgresql_with_an_object_store_and_back_nothing_is_lost(
    own_service: Service, contents: Contents, tmp_path: Path, postgres_url: str
) -> None:
    before = contents.answers()
    own_service.stop()
    blobs, back = new_place(), tmp_path / "back"
    shared = Places(tmp_path / "run", postgres_url, blobs)
    there = ("--to", postgres_url, "--to-blobs", blobs)
    assert moved("--from", own_service.data, *there, "--no-verify")[2:] == (4, 0)
    same_rows(Places(own_service.data), shared)
    target = at(shared, tmp_path / "run")
    target.api_key, target.api_secret = own_service.api_key, own_service.api_secret
    target.start()
    assert contents.at(target).answers() == before
    assert Upload(target.port, contents.upload, contents.alice.bearer()).offset == HALF
    row = contents.alice.upload(LARGE[2:], folder=contents.folder)
    again = contents.answers()
    assert target.stop() == 0
    assert refused("--from", own_service.data, *there) == has_rows(shared)
    new_rows = ("--to", tmp_path / "new", "--to-blobs", blobs)
    assert refused("--from", own_service.data, *new_rows) == has_bytes(blobs.partition("?")[0])
    assert moved("--from", postgres_url, "--from-blobs", blobs, "--to", back)[3] == 0
    same_rows(shared, Places(back), anew=True)
    home = Service(back, api_key=own_service.api_key, api_secret=own_service.api_secret)
    home.start()
    assert contents.at(home).answers() == again
    assert contents.alice.raw(row).body == LARGE[2:]
    home.stop()


def test_an_unfinished_target_is_opened_by_no_version(tmp_path: Path) -> None:
    catalog = Places(tmp_path).unopened_catalog()
    catalog.begin_filling("somewhere", lambda: True)
    assert str(catalog.revision()).startswith("unfinished-")
    assert len(str(catalog.revision())) <= 32
    catalog.close()
    assert isinstance(catalog, Catalog)
