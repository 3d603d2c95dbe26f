"""Many processes on one port: `--workers`."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import rawhttp
from tests.faults import noise
from tests.live import Service, clean_environment
from tests.rawhttp import Client, call, connect, drain, head, new_user, receive

WORKERS = 3
PATIENCE = 60  # seconds for what has to happen


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of several processes that nothing befalls."""
    running = Service(tmp_path_factory.mktemp("lasting") / "data", ("--workers", str(WORKERS)))
    running.start()
    yield running
    assert running.stop() == 0
    assert running.log() == ""


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Service]:
    """A service of several processes, for one test, which may kill any of them."""
    running = Service(tmp_path / "data", ("--workers", str(WORKERS)))
    running.start()
    yield running
    if running.running:
        running.stop()


def children(service: Service) -> list[int]:
    """The processes that serve; pictures' are children of theirs."""
    threads = Path(f"/proc/{service.pid}/task").iterdir()
    listed = " ".join((thread / "children").read_text() for thread in threads)
    return sorted(map(int, listed.split()))


def until(service: Service, pattern: str, times: int = 1) -> list[str]:
    """Wait until the log has it so often. -> what was found"""
    patience = time.monotonic() + PATIENCE
    while len(found := re.findall(pattern, service.log())) < times:
        assert time.monotonic() < patience, service.log()
        threading.Event().wait(0.01)
    return found


def wait_free(data: Path) -> None:
    """Wait until nobody serves the folder."""
    patience = time.monotonic() + PATIENCE
    with (data / "service.lock").open("rb") as lock:
        while time.monotonic() < patience:
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            threading.Event().wait(0.01)
    raise AssertionError("somebody serves the folder still")


def answering(service: Service, *, tries: int = 40) -> set[str]:
    """Which processes answer: the ports' owners, by the inode of the connection's other side."""
    found = set()
    for _ in range(tries):
        with connect(service.port) as connection:
            connection.sendall(head("GET", "/healthz", {"Host": "here"}))
            assert receive(connection).body == b"ok"
            found.add(_owner(service, connection.getsockname()[1]))
    return found


def _owner(service: Service, port: int) -> str:
    """The child that has the service's side of a connection from this port of ours."""
    ends = f":{service.port:04X} ", f":{port:04X} "
    lines = Path("/proc/net/tcp").read_text().splitlines()
    inode = next(
        line.split()[9]
        for line in lines
        if f"{line.split()[1]} ".endswith(ends[0]) and f"{line.split()[2]} ".endswith(ends[1])
    )
    for child in children(service):
        for handle in Path(f"/proc/{child}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if str(handle.readlink()) == f"socket:[{inode}]":
                    return str(child)
    raise AssertionError(f"nobody has the connection from port {port}")


def test_all_workers_answer_on_one_port_and_the_file_names_their_parent(lasting: Service) -> None:
    serving = children(lasting)
    assert len(serving) == WORKERS
    assert answering(lasting) == set(map(str, serving))
    known = json.loads((lasting.data / "service.json").read_text())
    assert (known["pid"], known["url"]) == (lasting.pid, lasting.url)
    assert (lasting.data / "service.lock").read_text() == str(lasting.pid)


def test_one_worker_is_the_process_itself(own_service: Service) -> None:
    assert children(own_service) == []


def test_a_stop_ends_the_parent_and_every_worker(shared: Service) -> None:
    serving = children(shared)
    stopped = shared.run("stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert shared.stop() == 0
    assert [pid for pid in serving if Path(f"/proc/{pid}").exists()] == []
    assert not (shared.data / "service.json").exists()
    assert shared.log() == ""


def test_ctrl_c_in_a_terminal_lets_what_is_under_way_finish(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", ("--workers", "2"))
    service.start()
    alice = new_user(service, "alice")
    data = noise(1, 3 << 20)
    with connect(service.port) as connection:
        folder = alice.folder()
        path = f"/api/v2/folders/{folder['id']}/files/big.bin"
        headers = {"Host": "h", "Content-Length": str(len(data)), **alice.bearer()}
        connection.sendall(head("PUT", path, headers) + data[: 1 << 20])
        for pid in (service.pid, *children(service)):  # as a terminal does
            os.kill(pid, signal.SIGINT)
        while (service.data / "service.json").exists():
            threading.Event().wait(0.01)
        connection.sendall(data[1 << 20 :])
        answer = receive(connection)
    assert answer.status in (200, 201)
    assert answer.json()["filesize"] == len(data)
    assert service._reap() == 0
    assert service.log() == ""


def test_a_worker_that_dies_is_started_again(shared: Service) -> None:
    first, *others = children(shared)
    os.kill(first, signal.SIGKILL)
    until(shared, r"Worker \d ended and is started again: signal 9")
    patience = time.monotonic() + PATIENCE
    while len(now := children(shared)) < WORKERS or len(answering(shared)) < WORKERS:
        assert time.monotonic() < patience
    assert set(now) > set(others)
    assert first not in now
    assert shared.stop() == 0


def test_workers_that_die_at_once_again_and_again_end_the_service(tmp_path: Path) -> None:
    code = (
        "import minus_server.workers as w; w.PAUSE = 0.01; w.COMMAND = 'nonsense';"
        " from minus_server.cli import run; run()"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "serve",
            "--data",
            tmp_path / "data",
            "--port=0",
            "--workers=2",
        ],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"minus-server: worker [12] ended 6 times at once: status 2", done.stderr.splitlines()[-1]
    )
    wait_free(tmp_path / "data")


def test_workers_end_with_a_parent_that_is_killed(shared: Service) -> None:
    os.kill(shared.pid, signal.SIGSTOP)  # it can tell them nothing any more
    shared.kill()
    wait_free(shared.data)  # whose lock each of them holds
    shared.start()
    assert len(children(shared)) == WORKERS


def test_nobody_else_serves_the_folder_while_a_worker_lives(shared: Service) -> None:
    serving = children(shared)
    for pid in serving:
        os.kill(pid, signal.SIGSTOP)
    shared.kill()
    refused = shared.run("serve", "--port", "0")
    assert refused.returncode == 2
    assert "is served already" in refused.stderr
    for pid in serving:
        os.kill(pid, signal.SIGCONT)
    wait_free(shared.data)


def test_a_port_that_is_taken_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = Service(tmp_path / "data")
        done = service.run("serve", "--port", str(port), "--workers", "2")
    words = f"minus-server: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert (done.returncode, done.stderr) == (2, words)
    assert not (tmp_path / "data/catalog.sqlite3").exists()


@pytest.mark.parametrize("more", [("--embedded",), ("--idle-exit", "5")])
def test_what_ends_by_itself_has_one_process(tmp_path: Path, more: tuple[str, ...]) -> None:
    done = Service(tmp_path / "data").run("serve", "--workers", "2", *more)
    assert done.returncode == 2
    assert done.stderr == "minus-server: --workers and --idle-exit do not go together\n"


@pytest.mark.alone
def test_workers_are_told_no_secret_where_others_can_read_it(tmp_path: Path) -> None:
    service = Service(
        tmp_path / "data",
        ("--workers", "2", "--database-url", f"sqlite:///{tmp_path}/secret-catalog.sqlite3"),
    )
    service.start()
    told = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(service)]
    assert {line.split(b"\0", 1)[1] for line in told} == {b"-m\0minus_server\0worker\0"}
    assert service.stop() == 0


def test_many_writers_in_several_processes_lose_nothing_on_sqlite(lasting: Service) -> None:
    users = [new_user(lasting, "writer") for _ in range(4)]

    def fill(user: Client) -> dict[str, str]:
        folder, kept = user.folder(), {}
        for number in range(25):
            data = noise(f"{user.name} {number}", 80_000 if number % 5 == 0 else 2_000)
            row = user.upload(data, f"{number}.bin", folder)
            kept[row["id"]] = hashlib.sha256(data).hexdigest()
        assert user.get(f"folders/{folder['id']}")["file_count"] == 25
        return kept

    with ThreadPoolExecutor(len(users)) as pool:
        kept = [pool.submit(fill, user) for user in users for _ in range(2)]
        sums = {key: value for future in kept for key, value in future.result().items()}
    assert len(sums) == 200
    for file_id, sha256 in sums.items():
        found = call(lasting.port, "GET", f"/i{file_id}")
        assert hashlib.sha256(found.body).hexdigest() == sha256
    assert lasting.run("check").stdout.endswith("\n0 problems\n")


@pytest.mark.parametrize("first", [0, 20_000])
def test_an_upload_that_one_worker_began_goes_on_at_another(lasting: Service, first: int) -> None:
    alice = new_user(lasting, "alice")
    folder = alice.folder()
    data = noise(7, 300_000)
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(data)), **alice.bearer()}
    headers["Content-Type"] = "application/offset+octet-stream"
    made = alice.call("POST", f"folders/{folder['id']}/uploads", headers, data[:first])
    place = "/" + made.headers["Location"].partition("//")[2].partition("/")[2]
    seen, at = set(), first
    while at < len(data):
        with connect(lasting.port) as connection:
            piece = data[at : at + 20_000]
            headers = {"Host": "h", "Tus-Resumable": "1.0.0", "Upload-Offset": str(at)}
            headers |= {"Content-Type": "application/offset+octet-stream"}
            headers |= {"Content-Length": str(len(piece)), **alice.bearer()}
            connection.sendall(head("PATCH", place, headers) + piece)
            answer = receive(connection)
            assert answer.status == 204, answer
            seen.add(_owner(lasting, connection.getsockname()[1]))
        at = int(answer.headers["Upload-Offset"])
    assert len(seen) > 1
    (row,) = alice.results(f"folders/{folder['id']}/files")
    assert alice.raw(row).body == data


def test_a_worker_that_is_killed_cuts_no_others_connections(shared: Service) -> None:
    streams = [connect(shared.port) for _ in range(12)]
    try:
        owners = {}
        for stream in streams:
            stream.sendall(head("GET", "/healthz", {"Host": "h"}))
            assert receive(stream).body == b"ok"
            owners[stream] = _owner(shared, stream.getsockname()[1])
        victim = owners[streams[0]]
        os.kill(int(victim), signal.SIGKILL)
        for stream, owner in owners.items():
            if owner == victim:
                assert drain(stream) == b""
            else:
                stream.sendall(head("GET", "/healthz", {"Host": "h"}))
                assert receive(stream).body == b"ok"
    finally:
        for stream in streams:
            stream.close()


def test_a_secret_of_a_signed_in_browser_is_good_at_every_worker(lasting: Service) -> None:
    alice = new_user(lasting, "alice")
    query, headers, body = rawhttp.encode(
        "form", {"username": alice.name, "password1": rawhttp.PASSWORD}
    )
    signed = alice.call("POST", f"/api/SignIn{query}", headers, body)
    cookie = {"Cookie": signed.headers["Set-Cookie"].partition(";")[0]}
    answers = [call(lasting.port, "GET", "/mine", cookie).status for _ in range(12)]
    assert set(answers) == {200}
