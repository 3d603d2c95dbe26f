"""SHA256SUMS of a gallery, read by `sha256sum -c` itself."""

import io
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.live import Service
from tests.rawhttp import MULTIPART, Client, call, multipart, new_user, part

NAMES = ["z.txt", "a.txt", "a.txt", "A.TXT", "né ж.bin", "back\\slash", " space", "*star", "%41"]


@pytest.fixture(scope="module")
def alice(service: Service) -> Client:
    return new_user(service)


def test_sha256sum_itself_reads_the_sums_of_what_the_zip_has(alice: Client, tmp_path: Path) -> None:
    folder = alice.folder()
    for number, name in enumerate(NAMES):
        alice.upload(b"x" * number * 30_000, name, folder)
    answer = alice.call("GET", f"/m{folder['id']}/SHA256SUMS")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    with zipfile.ZipFile(io.BytesIO(alice.call("GET", f"/m{folder['id']}.zip").body)) as archive:
        archive.extractall(tmp_path)
        listed = [line.split("  ", 1)[1] for line in answer.body.decode().splitlines()]
        assert listed == archive.namelist()
    check = ["/usr/bin/sha256sum", "--check", "--strict"]
    done = subprocess.run(check, input=answer.body, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b": OK\n") == len(NAMES)
    printed = subprocess.run(
        ["/usr/bin/sha256sum", "--", *listed], cwd=tmp_path, capture_output=True, check=True
    )
    assert printed.stdout == answer.body
    (tmp_path / listed[1]).write_bytes(b"other")
    done = subprocess.run(check, input=answer.body, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 1


def test_the_sums_of_many_files_come_in_the_folders_order(alice: Client) -> None:
    folder = alice.folder()
    path = f"folders/{folder['id']}"
    headers = alice.bearer() | {"Content-Type": MULTIPART}
    body = multipart(*(part("file", b"%d" % n, f"{n}") for n in range(1_000)))
    for _ in range(2):
        assert alice.call("POST", f"{path}/batch", headers, body).status == 200
    rows = [
        row
        for page in (1, 2)
        for row in alice.get(f"{path}/files?per_page=1000&page={page}")["results"]
    ]
    lines = alice.call("GET", f"/m{folder['id']}/SHA256SUMS").body.decode().splitlines()
    assert [line[:64] for line in lines] == [row["sha256"] for row in rows]
    assert [line[66:] for line in lines[999:1002]] == ["999", "0 (2)", "1 (2)"]
    alice.ok("PUT", path, {"item_ordering": f'["{rows[7]["id"]}"]'})
    first = alice.call("GET", f"/m{folder['id']}/SHA256SUMS").body.decode().splitlines()[0]
    assert first == f"{rows[7]['sha256']}  7"


def test_who_may_see_a_gallery_may_see_its_sums(service: Service) -> None:
    row = call(service.port, "POST", "/api/CreateGallery", {}, b"").json()
    for name in row.values():
        for method in ("GET", "HEAD"):
            answer = call(service.port, method, f"/m{name}/SHA256SUMS")
            assert (answer.status, answer.body) == (200, b"")
    assert call(service.port, "GET", f"/m{'x' * 12}/SHA256SUMS").status == 404
