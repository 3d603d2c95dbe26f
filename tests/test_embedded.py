"""The embedded service: `minus` with nothing configured."""

import fcntl
import json
import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import minus
from minus_server.daemon import stop
from tests.live import Service
from tests.rawhttp import HOST, call
from tests.shell_helpers import MINUS, PATIENCE, Done, Terminal, here, run, settle, spawn

OWNER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture(autouse=True)
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command is called in."""
    return settle(monkeypatch, tmp_path)


@pytest.fixture(autouse=True)
def data(tmp_path: Path) -> Iterator[Path]:
    """Where the files of the embedded service are; it is stopped at the end."""
    folder = tmp_path / "data/minus"
    yield folder
    if folder.exists():
        stop(folder)


def known(data: Path) -> dict[str, Any]:
    """What the running service says of itself."""
    found = json.loads((data / "service.json").read_text())
    assert isinstance(found, dict)
    return found


def kill(data: Path) -> None:
    """End the service as a power cut would, and wait until it is gone."""
    os.kill(known(data)["pid"], signal.SIGKILL)
    with (data / "service.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)


def server(*args: str | Path) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "minus_server", *args],
        cwd=MINUS.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nothing_configured_is_enough(local: Path, data: Path) -> None:
    (local / "a.txt").write_bytes(b"one\r\n\x00\xff")
    (local / "granian.py").write_text("raise SystemExit('imported what lies about')")
    assert run("--list-folders") == (0, "", "")
    assert mode(data) == 0o700
    assert [path.name for path in data.iterdir() if mode(path) & 0o077] == []
    first = known(data)
    assert first["username"] == OWNER
    assert run("--put", "Stuff", "a.txt") == (0, '--> PUT "a.txt" OK (7 bytes)\n', "")
    assert run("--list-folders", "--username", OWNER.upper()).out == "Stuff (1 files)\n"
    (local / "a.txt").unlink()
    assert run("--get", "Stuff") == (0, '--> GET "a.txt" OK (7 bytes)\n', "")
    assert here(local)["a.txt"] == b"one\r\n\x00\xff"
    assert known(data) == first
    users = server("users", "--data", data).out.splitlines()[1:]
    assert [line.split()[0] for line in users] == [OWNER]
    log = (data / "service.log").read_text()
    assert log.splitlines()[0] == f"Minus service at {first['url']} (data in {data})"
    assert "Traceback" not in log


def test_the_places_of_another_service_are_not_those_of_ones_own(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINUS_DATABASE_URL", "postgresql+psycopg://127.0.0.1:1/x")
    monkeypatch.setenv("MINUS_BLOBS", "s3://nowhere?endpoint=http://127.0.0.1:1")
    assert run("--list-folders") == (0, "", "")
    assert (data / "catalog.sqlite3").exists()


def test_another_name_is_6(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    why = f"minus: the service on this machine has one account, {OWNER}, not eve\n"
    assert run("--username", "eve", "--list-folders") == (6, "", why)
    monkeypatch.setenv("MINUS_USERNAME", "eve")
    assert run("--list-folders") == (6, "", why)
    assert known(data)["username"] == OWNER


def test_the_shell_names_the_owner(data: Path) -> None:
    with Terminal() as terminal:
        terminal.until(f"(Minus:{OWNER}) [/] : ")
        terminal.type("bye\n")
        assert terminal.end()[0] == 0
    assert known(data)["username"] == OWNER


def test_a_folder_that_is_open_to_others_is_closed(data: Path) -> None:
    data.mkdir(parents=True)
    data.chmod(0o755)
    assert run("--list-folders") == (0, "", "")
    assert mode(data) == 0o700


@pytest.mark.parametrize("way", ["flag", "variable"])
def test_the_folder_is_where_it_is_told(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    folder = tmp_path / "elsewhere"
    if way == "variable":
        monkeypatch.setenv("MINUS_DATA", str(folder))
    args = ("--data", "../elsewhere") if way == "flag" else ()
    assert run("--list-folders", *args) == (0, "", "")
    assert stop(folder) is True
    assert not data.exists()


def test_several_at_once_on_a_fresh_folder_all_work_and_lose_nothing(
    local: Path, data: Path
) -> None:
    names = ["a", "b", "c"]
    with ExitStack() as stack:
        for name in names:
            (local / name).write_text(name)
        running = [stack.enter_context(spawn("--put", name, name)) for name in names]
        done = [Done(p.wait(PATIENCE), *p.communicate()) for p in running]
    assert done == [(0, f'--> PUT "{name}" OK (1 bytes)\n', "") for name in names]
    listed = run("--list-folders").out
    assert sorted(listed.splitlines()) == [f"{name} (1 files)" for name in names]
    log = (data / "service.log").read_text()
    assert log.count("Minus service at ") == 1
    assert "Traceback" not in log


def test_nobody_gets_in_with_nothing_but_the_port(data: Path) -> None:
    assert run("--list-folders").status == 0
    port = int(known(data)["url"].rstrip("/").rpartition(":")[2])
    for host in ("evil.example", f"evil.example:{port}", HOST, f"{HOST}:1", ""):
        for path in ("/", "/api/v2/activeuser", "/oauth/token", "/openapi.json"):
            status = call(port, "GET", path, {"Host": host}).status
            assert status == (421 if host else 400), (host, path)
    for path in ("activeuser", f"users/{OWNER}", f"users/{OWNER}/folders", "activeuser/mine"):
        assert call(port, "GET", f"/api/v2/{path}").status == 401
        assert call(port, "GET", f"/api/v2/{path}", {"Host": f"localhost:{port}"}).status == 401
    grant = f"grant_type=password&client_id=x&client_secret=x&username={OWNER}&password="
    assert call(port, "GET", f"/oauth/token?{grant}").status == 401


def test_a_service_that_was_killed_is_followed_by_another(
    local: Path, data: Path, tmp_path: Path
) -> None:
    (local / "a").write_text("one")
    assert run("--put", "Stuff", "a").status == 0
    before = known(data)
    kill(data)
    assert run("--list-folders") == (0, "Stuff (1 files)\n", "")
    after = known(data)
    assert after["pid"] != before["pid"]
    assert after["url"] == before["url"]
    kill(data)
    for path in (tmp_path / "state/minus/tokens").iterdir():
        path.unlink()
    assert run("--list-folders") == (0, "Stuff (1 files)\n", "")


def test_stop_ends_it_and_the_next_one_takes_its_port(data: Path) -> None:
    assert run("--list-folders").status == 0
    before = known(data)
    assert server("stop", "--data", data) == (0, f"The service of {data} has ended.\n", "")
    assert not (data / "service.json").exists()
    assert server("stop") == (0, f"No service runs on {data}.\n", "")
    assert run("--list-folders").status == 0
    assert known(data)["url"] == before["url"]
    assert known(data)["pid"] != before["pid"]


@pytest.mark.parametrize(
    ("version", "replaced"), [("1.9.9", True), ("2.0.0", False), ("10.0", False)]
)
def test_an_older_service_makes_room_for_a_newer_client(
    data: Path, version: str, replaced: bool
) -> None:
    assert run("--list-folders").status == 0
    before = known(data)
    (data / "service.json").write_text(json.dumps(before | {"version": version}))
    assert run("--list-folders") == (0, "", "")
    assert (known(data)["pid"] != before["pid"]) is replaced
    assert known(data)["url"] == before["url"]


def test_it_ends_when_nothing_is_asked_of_it(data: Path) -> None:
    done = server("serve", "--embedded", "--port", "0", "--idle-exit", "0.1", "--data", data)
    assert (done.status, done.err) == (0, "")
    first = done.out.splitlines()[0]
    assert first.startswith("Minus service at http://127.0.0.1:")
    assert first.endswith(f"/ (data in {data})")
    assert stop(data) is False


def test_a_service_with_accounts_is_not_the_embedded_one(own_service: Service) -> None:
    done = run("--data", own_service.data, "--list-folders")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert f"--url {own_service.url}" in done.err


def test_why_it_does_not_start_is_said(data: Path, tmp_path: Path) -> None:
    data.parent.mkdir()
    data.write_text("no folder")
    done = run("--list-folders")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    data.unlink()
    data.mkdir()
    (data / "catalog.sqlite3").mkdir()
    done = run("--data", tmp_path / "data/minus", "--list-folders")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("minus: the embedded service did not start: ")


def test_a_connection_outlives_the_service_that_it_began_with(data: Path) -> None:
    api = minus.connect()
    folder = api.activeuser().new_folder("Stuff")
    assert stop(data)
    folder.new("a.txt", "text")
    assert stop(data)
    assert [(file.name, file.data()) for file in folder.files()] == [("a.txt", b"text")]
    api.close()
