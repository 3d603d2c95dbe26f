"""Where rows and bytes lie: what is told of it, and what is refused."""

from pathlib import Path

import pytest

from minus_server.blobs import BlobMissing, FolderBlobs
from minus_server.databases import open_database, shown_url
from minus_server.errors import CannotServe
from minus_server.places import Places
from tests.live import Service
from tests.rawhttp import call, new_user

URL = "postgresql+psycopg://bob:hunter2@127.0.0.1:1/x?password=hunter2&sslmode=disable"


def test_an_address_is_shown_without_its_secrets() -> None:
    assert shown_url(URL) == "postgresql+psycopg://bob:***@127.0.0.1:1/x"


@pytest.mark.parametrize("url", ["garbage", "postgresql+psycopg://h:port/x", "mysql://h/x"])
def test_what_is_no_database_of_ours_is_refused_in_a_line(url: str) -> None:
    with pytest.raises(CannotServe):
        open_database(url)


def test_a_password_among_the_arguments_is_refused_and_not_repeated(tmp_path: Path) -> None:
    service = Service(tmp_path / "data")
    for url in (URL, URL.replace("bob:hunter2", "bob"), URL.partition("?")[0]):
        done = service.run("check", "--database-url", url)
        assert done.returncode != 0
        assert "PGPASSWORD" in done.stderr
        assert "hunter2" not in done.stdout + done.stderr
        with pytest.raises(CannotServe, match="PGPASSWORD"):
            Places.named(url, "blobs")


def test_a_password_in_the_environment_is_taken_and_not_told(tmp_path: Path) -> None:
    service = Service(tmp_path / "data")
    service.environment = {"MINUS_DATABASE_URL": URL}
    done = service.run("check")
    assert done.returncode != 0
    assert "127.0.0.1:1/x cannot be opened" in done.stderr
    assert "hunter2" not in done.stderr


def test_a_misspelt_object_store_is_no_folder(tmp_path: Path) -> None:
    for place in ("s3:/bucket", "s3:bucket", "gs://bucket"):
        with pytest.raises(CannotServe):
            Places(tmp_path, None, place).open_blobs()


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/b", "", "."])
def test_a_key_that_is_a_path_leads_nowhere(tmp_path: Path, key: str) -> None:
    blobs = FolderBlobs(tmp_path)
    for act in (blobs.open, blobs.delete, blobs.forget, blobs.delete_derived, blobs.create):
        if act == blobs.create and not key:
            continue  # a new one is made
        with pytest.raises(BlobMissing):
            act(key)


@pytest.mark.alone
def test_a_forgotten_place_of_the_bytes_is_said_before_anything_is_served(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", ("--blobs", str(tmp_path / "bytes")))
    service.start()
    alice = new_user(service, "alice")
    alice.upload(b"small")
    large = [alice.upload(bytes([n]) * 100_000, f"{n}.bin") for n in range(3)]
    assert service.stop() == 0
    done = service.run("serve", "--port", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"minus-server: the bytes in {tmp_path / 'data'} do not belong to the rows in"
        f" {tmp_path / 'data'}: it has the bytes of none of the files that the catalog knows;"
        " --foreign serves all the same\n"
    )
    service.start()  # where they are
    assert call(service.port, "GET", f"/i{large[0]['id']}").body == bytes([0]) * 100_000
    assert service.stop() == 0
    service.options = ("--foreign",)
    service.start()
    assert call(service.port, "GET", f"/i{large[0]['id']}").status != 200
    assert service.stop() == 0


@pytest.mark.alone
def test_a_second_service_gets_no_place_that_is_anothers(tmp_path: Path) -> None:
    first, second = Service(tmp_path / "first"), Service(tmp_path / "second")
    first.options = second.options = ("--blobs", str(tmp_path / "bytes"))
    first.start()
    alice = new_user(first, "alice")
    row = alice.upload(bytes(100_000))
    assert first.stop() == 0
    for command in (["serve", "--port", "0"], ["sweep"]):
        made = second.run("adduser", "bob", stdin="correct horse\n")
        done = second.run(*command, *second.options)
        assert (made.returncode in (0, 1), done.returncode > 0, done.stdout) == (True, True, "")
        assert "it is another service's" in done.stderr
    second.options = (*second.options, "--foreign")
    second.start()
    new_user(second, "bob").upload(bytes(100_000))
    assert second.stop() == 0
    first.start()  # whose it stays
    assert call(first.port, "GET", f"/i{row['id']}").body == bytes(100_000)
    assert first.stop() == 0


def test_the_first_line_says_where_rows_and_bytes_are(tmp_path: Path) -> None:
    places = Places(tmp_path, URL, "s3://bucket/x?endpoint=http://h")
    assert places.shown == (
        f"data in {tmp_path}, rows in postgresql+psycopg://bob:***@127.0.0.1:1/x,"
        " bytes in s3://bucket/x?endpoint=http://h"
    )
    assert Places(tmp_path).shown == f"data in {tmp_path}"
