"""What was acknowledged is on disk: kills, cut uploads, full disks."""

import itertools
import os
import re
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPException
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests import rawhttp
from tests.faults import disk_of_its_own
from tests.live import Service
from tests.rawhttp import HOST, MULTIPART, Client, Row, multipart, new_user, part

BIG = 2_000_000  # bytes; the service hands 1 MiB to the disk at once


def sound(service: Service) -> re.Match[str]:
    """Hold the folder to `check`. -> the numbers of files, of bytes and, where any, of strays"""
    done = service.run("check")
    found = re.fullmatch(
        r"(\d+) files, (\d+) bytes read\n(?:\d+ uploads under way\n)?"
        r"(?:(\d+) without a row, .+\n)?0 problems\n",
        done.stdout,
    )
    assert found, done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    return found


def incoming(service: Service) -> list[str]:
    return list(service.places.open_blobs().incoming())


def upload_until_killed(alice: Client, folder: Row, acknowledged: SimpleQueue[Row]) -> None:
    """Upload file after file; each is told of once the service has answered."""
    for number in itertools.count():
        try:
            row = alice.upload(content(folder["name"], number), f"{number}.bin", folder)
        except (OSError, HTTPException):
            return
        acknowledged.put(row)


def content(name: str, number: int) -> bytes:
    """Small and large files in turn, no two alike."""
    return f"{name} {number} ".encode() * (50_000 if number % 3 == 0 else 10)


def half_an_upload(alice: Client, folder: Row, sent: int = BIG // 2) -> socket.socket:
    """Begin an upload of BIG bytes; the service has asked for it and has got `sent` of them."""
    body = multipart(part("file", b"x" * BIG, "half.bin"))
    headers = alice.bearer() | {
        "Host": f"{HOST}:{alice.port}",
        "Content-Type": MULTIPART,
        "Content-Length": str(len(body)),
        "Expect": "100-continue",
    }
    sock = rawhttp.connect(alice.port)
    sock.sendall(rawhttp.head("POST", f"/api/v2/folders/{folder['id']}/files", headers))
    assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
    sock.sendall(body[:sent])
    return sock


def test_a_kill_in_the_middle_of_uploads_loses_nothing_that_was_acknowledged(
    own_service: Service,
) -> None:
    alice = new_user(own_service)
    kept: dict[str, bytes] = {}
    for turn in range(5):
        acknowledged: SimpleQueue[Row] = SimpleQueue()
        folders = [alice.folder(f"{turn}.{number}") for number in range(3)]
        threads = [
            threading.Thread(target=upload_until_killed, args=(alice, folder, acknowledged))
            for folder in folders
        ]
        with half_an_upload(alice, folders[0]):
            for thread in threads:
                thread.start()
            rows = [acknowledged.get(timeout=60) for _ in range(3 + 4 * turn)]
            own_service.kill()
            for thread in threads:
                thread.join(60)
        while not acknowledged.empty():
            rows.append(acknowledged.get())
        names = {folder["url"]: folder["name"] for folder in folders}
        for row in rows:
            number = int(row["name"].partition(".")[0])
            kept[row["id"]] = content(names[row["folder"]], number)

        own_service.start()
        alice = Client(own_service, alice.name, alice.token)
        assert incoming(own_service) == []
        assert int(sound(own_service)[1]) >= len(kept)
        assert {file_id: alice.raw({"id": file_id}).body for file_id in kept} == kept
    assert len(kept) >= 3 + 7 + 11 + 15 + 19
    assert "Traceback" not in own_service.log()


def test_an_upload_that_its_client_cuts_at_half_leaves_nothing(service: Service) -> None:
    alice = new_user(service)
    folder = alice.folder()
    with half_an_upload(alice, folder) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert rawhttp.receive(sock).status == 400
    assert incoming(service) == []
    assert alice.results(f"folders/{folder['id']}/files") == []
    assert alice.get("activeuser")["storage_used"] == 0


def test_an_upload_whose_client_goes_away_leaves_nothing(own_service: Service) -> None:
    alice = new_user(own_service)
    folder = alice.folder()
    for sent in (0, 1000, BIG // 2, BIG):
        half_an_upload(alice, folder, sent).close()
    assert own_service.stop() == 0
    assert incoming(own_service) == []
    assert sound(own_service).groups() == ("0", "0", None)
    assert "Traceback" not in own_service.log()


# --- a full disk ---

Room = Callable[[int | None], None]


@pytest.fixture(params=["mount", "limit"])
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Service, Room]]:
    """A service on a disk of its own, and what leaves it so many bytes of room, None for enough.

    Where nobody may mount a disk, the system's limit on a file's length stands in for both.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    running = Service(disk / "data")
    filler = disk / "filler"

    def fill(room: int | None) -> None:
        filler.unlink(missing_ok=True)
        if room is not None:
            with filler.open("ab", buffering=0) as out:  # the service may take some meanwhile
                while (left := (stat := os.statvfs(disk)).f_bavail * stat.f_frsize - room) > 0:
                    with suppress(OSError):
                        out.write(bytes(left))

    def limit(room: int | None) -> None:
        _, hard = resource.prlimit(running.pid, resource.RLIMIT_FSIZE)
        soft = hard if room is None else room
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (soft, hard))

    with ExitStack() as stack:
        mounted = request.param == "mount" and stack.enter_context(disk_of_its_own(disk, "16m"))
        try:
            running.start()
            yield running, fill if mounted else limit
            assert running.stop() == 0
        finally:
            if running.running:
                running.kill()


@pytest.mark.folder
def test_a_full_disk_is_told_and_loses_nothing(small_disk: tuple[Service, Room]) -> None:
    service, leave = small_disk
    alice = new_user(service)
    folder = alice.folder()
    files = f"folders/{folder['id']}/files"
    kept = {alice.upload(b"kept", folder=folder)["id"]: b"kept"}
    headers = alice.bearer() | {"Content-Type": MULTIPART}
    for room, data in ((BIG // 2, b"x" * BIG), (0, b"x" * BIG), (0, b"tiny")):
        leave(room)
        answer = alice.call("POST", files, headers, multipart(part("file", data, "a")))
        if data == b"tiny" and answer.status == 200:  # it went where the log had room of its own
            kept[answer.json()["id"]] = data
        else:
            assert (answer.status, answer.json()["error"]) == (507, "insufficient_storage")
            assert answer.json()["error_description"] == "The service's disk is full."
        assert incoming(service) == []
        assert {file_id: alice.raw({"id": file_id}).body for file_id in kept} == kept
        assert alice.values(files, "id") == list(kept)
        assert alice.get("activeuser")["storage_used"] == 4 * len(kept)
    leave(None)
    assert sound(service).groups() == (str(len(kept)), str(4 * len(kept)), None)
    row = alice.upload(b"x" * BIG, folder=folder)
    assert alice.raw(row).body == b"x" * BIG
    assert sound(service).groups() == (str(len(kept) + 1), str(BIG + 4 * len(kept)), None)
    assert "Traceback" not in service.log()
