"""`minus-server sweep`: what no row names goes when it is old, and nothing else ever."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minus_server.blobs import Blobs
from minus_server.check import check
from minus_server.errors import CannotServe
from minus_server.service import Service, open_service
from minus_server.sweep import SAFE_SECONDS, Swept, sweep
from tests.live import Service as Live
from tests.rawhttp import new_user, png
from tests.test_blobs import DATA
from tests.test_library import Person

BIG = png(300, 300) + b"\0" * 70_000


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that thinks two hours have passed since whatever came in this test."""
    opened = open_service(tmp_path / "data", clock=lambda: time.time() + 2 * SAFE_SECONDS)
    yield opened
    assert check(opened).problems == []
    opened.close()


def put(blobs: Blobs) -> str:
    writer = blobs.create()
    writer.write(DATA)
    writer.commit()
    return writer.key


def test_old_bytes_without_a_row_go_and_all_others_stay(service: Service) -> None:
    alice = Person(service, "alice")
    kept, gone = (alice.put(alice.folder(), BIG, "a.png") for _ in range(2))
    large = service.blobs.large
    for file in (kept, gone):
        assert service.library.thumbnail(file, "medium")[1] == "image/jpeg"
    stray, cut_off = put(large), large.create()
    cut_off.write(DATA)
    cut_off.close()
    large.keep_derived("=gone", "small", b"tiny")
    found = Swept(blobs=1, bytes=len(DATA), unfinished=1, thumbnails=1)
    assert sweep(service, dry=True) == found
    assert large.size(stray) == len(DATA)
    assert sweep(service) == found
    assert set(large.keys()) == set(large.derived_keys()) == {kept.blob, gone.blob}
    assert large.incoming() == []
    assert sweep(service) == Swept()


def test_what_came_within_the_hour_stays(service: Service, tmp_path: Path) -> None:
    young = open_service(tmp_path / "data")
    large = young.blobs.large
    put(large)
    cut_off = large.create()
    cut_off.write(DATA)
    cut_off.close()
    assert sweep(young, foreign=True) == Swept()
    assert check(young).strays == 2
    young.close()
    with pytest.raises(CannotServe, match=r"nothing was removed .* none of a file that"):
        sweep(service)  # it may be another service's place
    assert len(set(large.keys())) == 1
    assert sweep(service, foreign=True).blobs == 1
    assert set(large.keys()) == set()


def test_an_upload_that_can_go_on_keeps_its_bytes(service: Service) -> None:
    alice = Person(service, "alice")
    folder = alice.folder()
    with service.catalog.write() as rows:
        writer = service.blobs.create()
        writer.write(DATA)
        writer.flush()
        writer.close()
        rows.add_upload(
            token_hash="x", folder_n=folder.n, resumable=True, name="a", caption="",
            declared_type="", metadata="", size=10_000, reserved=0, arrived=len(DATA),
            digest=None, blob=writer.key, file_id=None, expires=0,
        )  # fmt: skip
    assert sweep(service) == Swept()
    assert service.blobs.incoming() == [writer.key]


@pytest.mark.folder
def test_the_command_tells_what_went_while_the_service_runs(own_service: Live) -> None:
    alice = new_user(own_service, "alice")
    row = alice.upload(BIG, "a.png", alice.folder())
    blobs = own_service.data / "blobs"
    stray = blobs / "x" / ("x" * 43)
    stray.write_bytes(DATA)
    long_ago = time.time() - 2 * SAFE_SECONDS
    for path in blobs.rglob("*"):
        os.utime(path, (long_ago, long_ago))
    told = f"1 files without a row, {len(DATA)} bytes\n0 unfinished\n0 thumbnails of what is gone\n"
    done = own_service.run("sweep", "--dry-run")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"would remove:\n{told}", "")
    assert stray.exists()
    done = own_service.run("sweep")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"removed:\n{told}", "")
    assert not stray.exists()
    assert alice.raw(row).body == BIG
    assert own_service.run("check").stdout.endswith("\n0 problems\n")
