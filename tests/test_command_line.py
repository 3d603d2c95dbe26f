"""The command line: `main` as a function, and the real command where a process is the point."""

import ast
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import certifi
import charset_normalizer
import idna
import pytest
import requests
import urllib3

from tests.live import Service
from tests.rawhttp import PASSWORD, Client, Row, new_user
from tests.shell_helpers import (
    MINUS,
    PATIENCE,
    Done,
    call,
    configure,
    endless,
    here,
    remote,
    run,
    settle,
    spawn,
)

NOWHERE = "http://127.0.0.1:1/"  # a port that nobody listens on


@pytest.fixture(autouse=True)
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command is called in."""
    return settle(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def account(service: Service) -> Client:
    return new_user(service, "Line")


@pytest.fixture(scope="module")
def other(service: Service) -> Client:
    """Somebody else, with one folder."""
    made = new_user(service, "other")
    made.folder("Theirs")
    return made


@pytest.fixture(scope="module")
def state(account: Client, service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one sign-in leaves behind, so that not every test pays for its own."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        settle(patch, home)
        configure(home, service, username=account.name)
        patch.setenv("MINUS_PASSWORD", PASSWORD)
        assert call("--list-folders") == (0, "", "")
    return home / "state"


@pytest.fixture
def user(account: Client, service: Service, state: Path, tmp_path: Path) -> Iterator[Client]:
    """A user who has nothing yet, whom the configuration names, and who has signed in before."""
    configure(tmp_path, service, username=account.name)
    shutil.copytree(state, tmp_path / "state")
    yield account
    for row in account.results(f"users/{account.slug}/folders"):
        account.delete(f"folders/{row['id']}")


@pytest.fixture
def newcomer(user: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The same user, known by the password alone."""
    shutil.rmtree(tmp_path / "state")
    monkeypatch.setenv("MINUS_PASSWORD", PASSWORD)
    return user


@pytest.fixture
def stuff(user: Client) -> Row:
    """The private folder Stuff."""
    return user.folder("Stuff", "false")


def ok(verb: str, *names: str, size: int = 3) -> str:
    return "".join(f'--> {verb} "{name}" OK ({size} bytes)\n' for name in names)


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text)


# --- put, get, list ---


def test_put_makes_the_folder_get_brings_it_back_and_list_shows_it(
    user: Client, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a.txt": b"one\r\n\x00\xff", "b c.jpg": b"", "-": b"dash", "date|": b"pipe"}
    for name, data in files.items():
        (local / name).write_bytes(data)
    lines = [f'"{name}" OK ({len(data)} bytes)\n' for name, data in files.items()]
    put = call("--put", "My Stuff", *(local / name for name in files))
    assert put == (0, "".join(f"--> PUT {line}" for line in lines), "")
    assert call("--put", "Stuff2", "a.txt", "--public").status == 0
    assert call("--list-folders") == (0, "My Stuff (4 files)\nStuff2 (1 files) PUBLIC\n", "")
    elsewhere = local / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    got = call("--get", "My Stuff")
    assert got == (0, "".join(f"--> GET {line}" for line in lines), "")
    assert here(elsewhere) == files
    rows = user.results(f"users/{user.slug}/folders")
    assert [row["is_public"] for row in rows] == [False, True]


def test_put_takes_the_folder_that_is_there_and_public_publishes_it(
    user: Client, stuff: Row, local: Path
) -> None:
    write(local, a="one")
    assert call("--put", "Stuff", "a") == (0, ok("PUT", "a"), "")
    assert user.get(f"folders/{stuff['id']}")["is_public"] is False
    assert call("--public", "--put", f"@{stuff['id']}", "a") == (0, ok("PUT", "a"), "")
    assert user.get(f"folders/{stuff['id']}")["is_public"] is True
    assert user.values(f"folders/{stuff['id']}/files", "name") == ["a", "a"]
    assert len(user.results(f"users/{user.slug}/folders")) == 1


@pytest.mark.parametrize(
    ("globs", "status", "out", "err"),
    [
        (["*.jpg", "c*"], 0, ok("GET", "a.jpg", "b.jpg", "c.txt"), ""),
        (["a.jpg"], 0, ok("GET", "a.jpg"), ""),
        (["*.png"], 4, "", "minus: no file matches *.png\n"),
        (["a*", "*.png"], 11, ok("GET", "a.jpg"), "minus: no file matches *.png\n"),
    ],
)
def test_get_takes_globs(
    user: Client, stuff: Row, globs: list[str], status: int, out: str, err: str
) -> None:
    for name in ("a.jpg", "b.jpg", "c.txt"):
        user.upload(b"abc", name, stuff)
    assert call("--get", "Stuff", *globs) == (status, out, err)


@pytest.mark.usefixtures("user")
def test_get_of_no_such_folder_is_3(local: Path) -> None:
    assert call("--get", "Stuff") == (3, "", "minus: no such folder: Stuff\n")
    assert here(local) == {}


def test_remote_files_of_one_name_both_arrive_and_are_then_done(
    user: Client, stuff: Row, local: Path
) -> None:
    for text in (b"one", b"two"):
        user.upload(text, "a.txt", stuff)
    assert call("--get", "Stuff") == (0, ok("GET", "a.txt", "a.txt"), "")
    assert here(local) == {"a.txt": b"one", "a (2).txt": b"two"}
    again = call("--get", "Stuff", "--debug")
    assert (again.status, again.out) == (0, ok("GET", "a.txt", "a.txt"))
    assert here(local) == {"a.txt": b"one", "a (2).txt": b"two"}


def test_the_same_bytes_are_not_sent_again(
    user: Client, stuff: Row, local: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    user.upload(b"one", "a", stuff)
    assert call("--get", "Stuff", "--debug") == (0, ok("GET", "a"), "")
    fetched = f"> POST {user.base}api/v2/folders/{stuff['id']}/tar\n"
    assert capfd.readouterr().err.count(fetched) == 1
    assert call("--get", "Stuff", "--debug") == (0, ok("GET", "a"), "")
    assert call("--put", "Stuff", "a", "--on-conflict", "skip", "--debug") == (
        0,
        ok("PUT", "a"),
        "",
    )
    trace = capfd.readouterr().err
    assert f"> GET {user.base}api/v2/folders/{stuff['id']}/files\n" in trace
    assert f"> GET {user.base}i" not in trace
    assert "> POST" not in trace
    assert remote(user, stuff) == {"a": b"one"}
    assert here(local) == {"a": b"one"}


@pytest.mark.parametrize(
    ("choice", "status", "found"),
    [
        (None, 8, {"a": b"old", "b": b"new"}),
        ("ask", 8, {"a": b"old", "b": b"new"}),
        ("skip", 8, {"a": b"old", "b": b"new"}),
        ("overwrite", 0, {"a": b"new", "b": b"new"}),
        ("rename", 0, {"a": b"old", "a (2)": b"new", "b": b"new"}),
    ],
)
def test_get_keeps_a_local_file_with_other_bytes_unless_told_otherwise(
    user: Client, stuff: Row, local: Path, choice: str | None, status: int, found: dict[str, bytes]
) -> None:
    user.upload(b"new", "a", stuff)
    user.upload(b"new", "b", stuff)
    write(local, a="old")
    done = call("--get", "Stuff", *(("--on-conflict", choice) if choice else ()))
    refusal = '--> GET "a" FAILED (a exists here with other bytes)\n'
    assert done == ((8, ok("GET", "b"), refusal) if status else (0, ok("GET", "a", "b"), ""))
    assert here(local) == found


@pytest.mark.parametrize(
    ("choice", "status", "found"),
    [
        (None, 0, [("a", b"old"), ("a", b"new"), ("b", b"new")]),
        ("ask", 8, [("a", b"old"), ("b", b"new")]),
        ("skip", 8, [("a", b"old"), ("b", b"new")]),
        ("overwrite", 0, [("a", b"new"), ("b", b"new")]),
        ("rename", 0, [("a", b"old"), ("a (2)", b"new"), ("b", b"new")]),
    ],
)
def test_put_makes_a_twin_unless_told_otherwise(
    user: Client,
    stuff: Row,
    local: Path,
    choice: str | None,
    status: int,
    found: list[tuple[str, bytes]],
) -> None:
    user.upload(b"old", "a", stuff)
    write(local, a="new", b="new")
    done = call("--put", "Stuff", "a", "b", *(("--on-conflict", choice) if choice else ()))
    first = "a (2)" if choice == "rename" else "a"
    refusal = '--> PUT "a" FAILED (a exists in the folder with other bytes)\n'
    assert done == ((8, ok("PUT", "b"), refusal) if status else (0, ok("PUT", first, "b"), ""))
    rows = user.results(f"folders/{stuff['id']}/files")
    assert [(row["name"], user.raw(row).body) for row in rows] == found


# --- failures, each with its status ---


def test_local_files_that_cannot_be_put_are_named_and_the_others_go_on(
    user: Client, stuff: Row, local: Path
) -> None:
    (local / "sub").mkdir()
    (local / "loop").symlink_to("loop")
    write(local, a="one", z="two")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind("socket")
        odd = os.fsdecode(b"\xff")
        (local / odd).touch()
        done = call("--put", "Stuff", "a", "sub", "missing", "loop", "socket", odd, "z")
        assert call("--put", "Stuff", "socket").status == 1
    assert done == (
        11,
        ok("PUT", "a", "z"),
        '--> PUT "sub" FAILED (is a directory)\n'
        '--> PUT "missing" FAILED (No such file or directory: missing)\n'
        '--> PUT "loop" FAILED (Too many levels of symbolic links: loop)\n'
        '--> PUT "socket" FAILED (No such device or address: socket)\n'
        "--> PUT \"\\udcff\" FAILED (the name '\\udcff' is no Unicode text)\n",
    )
    assert remote(user, stuff) == {"a": b"one", "z": b"two"}


@pytest.mark.parametrize(
    ("name", "status"), [("sub", 11), ("missing", 4), ("loop", 1), ("/etc/..", 11)]
)
@pytest.mark.usefixtures("stuff")
def test_one_file_that_cannot_be_put_gives_its_own_status(
    local: Path, name: str, status: int
) -> None:
    (local / "sub").mkdir()
    (local / "loop").symlink_to("loop")
    done = call("--put", "Stuff", name)
    assert (done.status, done.out, done.err.count("\n")) == (status, "", 1)


def test_what_the_quota_has_no_room_for_is_7(
    service: Service, user: Client, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = new_user(service, "small", quota=5)
    monkeypatch.setenv("MINUS_USERNAME", small.name)
    monkeypatch.setenv("MINUS_PASSWORD", PASSWORD)
    write(local, a="123", b="456")
    done = call("--put", "Stuff", "b")
    assert done == (0, ok("PUT", "b"), "")
    done = call("--put", "Stuff", "a")
    assert (done.status, done.out) == (7, "")
    assert done.err.startswith('--> PUT "a" FAILED (')
    assert done.err.endswith(" (413))\n")
    assert call("--put", "Stuff", "/dev/null", "a").status == 11
    assert user.values(f"users/{user.slug}/folders", "name") == []


@pytest.mark.parametrize("variable", ["MINUS_PASSWORD", "MINUS_API_SECRET", "MINUS_USERNAME"])
@pytest.mark.usefixtures("newcomer")
def test_a_wrong_password_secret_or_name_is_6_also_where_tokens_are_kept(
    tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "wrong")
    first = call("--list-folders")
    assert (first.status, first.out, first.err.count("\n")) == (6, "", 1)
    assert [path for path in (tmp_path / "state").rglob("*") if path.is_file()] == []
    if variable == "MINUS_PASSWORD":
        monkeypatch.setenv(variable, PASSWORD)
        assert call("--list-folders").status == 0
        monkeypatch.setenv(variable, "wrong")
        assert call("--list-folders") == first


@pytest.mark.usefixtures("newcomer")
def test_a_service_that_is_not_there_is_5() -> None:
    done = call("--list-folders", "--url", NOWHERE)
    assert (done.status, done.out, done.err.count("\n")) == (5, "", 1)
    assert done.err.startswith("minus: cannot reach 127.0.0.1:1: ")
    assert done.err.endswith("Connection refused\n")
    assert "HTTPConnection" not in done.err


def test_a_service_that_goes_in_mid_upload_is_5(
    own_service: Service, tmp_path: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = new_user(own_service)
    configure(tmp_path, own_service, username=user.name)
    monkeypatch.setenv("MINUS_PASSWORD", PASSWORD)
    with endless(local / "pipe") as begun:

        def kill() -> None:
            assert begun.wait(PATIENCE)
            own_service.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        done = call("--put", "Stuff", "pipe")
        killer.join()
    assert (done.status, done.out) == (5, "")
    assert done.err.startswith('--> PUT "pipe" FAILED (cannot reach 127.0.0.1:')
    assert done.err.count("\n") == 1
    own_service.start(own_service.port)
    (folder,) = Client(own_service, user.name, user.token).results(f"users/{user.slug}/folders")
    assert folder["file_count"] == 0
    assert own_service.run("check").stdout.endswith("\n0 problems\n")


def test_a_service_that_goes_in_mid_download_is_5(
    own_service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = new_user(own_service)
    user.upload(bytes(32 << 20), "big", user.folder("Stuff"))
    configure(tmp_path, own_service, username=user.name)
    monkeypatch.setenv("MINUS_PASSWORD", PASSWORD)
    kill = f"head -c 1 >&2; kill -9 {own_service.pid}; cat >&2"
    done = call(stdin=f"cd Stuff\nget big |({kill}) 2>/dev/null\n".encode())
    assert done.out == '--> CWD "Stuff" OK\n'
    assert done.err.startswith('--> GET "big" FAILED (the file broke off: ')
    assert done.status == 11  # `cd` was done
    own_service.kill()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no config file at all", "{} is no config file: "),
        ("[api]\nurl: x\n[api]\n", "{} is no config file: "),
        ("\x00\xff", "{} is no config file: "),
        ("[api]\nurl: ftp://example.org/\n" + "api_key: k\napi_secret: s\nusername: u", "'ftp://"),
        ("[api]\nurl: http://127.0.0.1:1/\nusername: u", "http://127.0.0.1:1/ needs "),
        ("[api]\nurl: http://127.0.0.1:1/\nusername: u\napi_key: k", "http://127.0.0.1:1/ needs "),
        ("[api]\nurl: http://127.0.0.1:1/\nusername: u\napi_secret: s", "http://127.0.0.1:1/ need"),
        ("[api]\nurl: http://127.0.0.1:1/\napi_key: k\napi_secret: s", "no username: "),
        ("[api]\nurl: http://127.0.0.1:1/\napi_key: k\napi_secret: s\nusername: u", "no password:"),
        ("[api]\npassword: p\n", "others can read the password in {}: chmod 600 {}\n"),
    ],
)
@pytest.mark.parametrize("way", ["home", "flag", "variable"])
def test_a_configuration_that_is_none_is_2_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str, way: str
) -> None:
    path = tmp_path / (".minus.conf" if way == "home" else "other.conf")
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o644)
    if way == "variable":
        monkeypatch.setenv("MINUS_CONFIG", str(path))
    done = call("--list-folders", *(("--config", path) if way == "flag" else ()))
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("minus: " + why.format(path, path))


def test_a_missing_or_unreadable_configuration_is_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "missing"
    expected = 2, "", f"minus: there is no config file {missing}\n"
    assert call("--list-folders", "--config", missing) == expected
    done = call("--list-folders", "--config", tmp_path)
    assert done == (
        2,
        "",
        f"minus: {tmp_path} is no config file: [Errno 21] Is a directory: '{tmp_path}'\n",
    )
    monkeypatch.setenv("MINUS_CONFIG", str(missing))
    assert call("--list-folders") == expected


@pytest.mark.parametrize(
    "args",
    [
        ["--frobnicate"],
        ["stray"],
        ["--put"],
        ["--get"],
        ["--put", "a", "b", "--get", "a"],
        ["--list-folders", "--shell"],
        ["--on-conflict", "maybe", "--list-folders"],
        ["--usern", "x", "--list-folders"],
        ["--list"],
    ],
)
def test_wrong_usage_is_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call(*args)
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert said.err.startswith("usage: minus ")


def test_an_address_and_a_data_folder_exclude_each_other(local: Path) -> None:
    done = call("--url", NOWHERE, "--data", local, "--list-folders")
    why = "minus: a service's address and a data folder exclude each other\n"
    assert done == (2, "", why)
    assert here(local) == {}


# --- where settings come from ---


@pytest.mark.parametrize("name", ["url", "username", "api_key", "api_secret", "password"])
def test_the_environment_beats_the_file_and_a_flag_beats_both(
    newcomer: Client, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bad = NOWHERE if name == "url" else "wrong"
    good = {
        "url": service.url,
        "username": newcomer.name,
        "password": PASSWORD,
        "api_key": service.api_key,
        "api_secret": service.api_secret,
    }
    refused = 5 if name == "url" else 6

    def status(*flags: str) -> int:
        shutil.rmtree(tmp_path / "state", ignore_errors=True)
        return call("--list-folders", *flags).status

    monkeypatch.delenv("MINUS_PASSWORD")
    configure(tmp_path, service, **{**good, name: bad})
    assert status() == refused
    monkeypatch.setenv(f"MINUS_{name.upper()}", good[name])
    assert status() == 0
    configure(tmp_path, service, **good)
    monkeypatch.setenv(f"MINUS_{name.upper()}", bad)
    assert status() == refused
    if not name.startswith("api"):
        assert status(f"--{name}", good[name]) == 0


@pytest.mark.parametrize("flag", ["-u", "--user", "--username"])
@pytest.mark.usefixtures("newcomer", "stuff")
def test_a_user_is_named_in_three_spellings(other: Client, flag: str) -> None:
    assert call(flag, other.name, "--list-folders") == (0, "Theirs (0 files) PUBLIC\n", "")


def test_another_config_file_is_named_by_flag_or_variable(
    user: Client, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = configure(tmp_path, service, username=user.name).rename(tmp_path / "good.conf")
    monkeypatch.setenv("MINUS_CONFIG", "~/good.conf")
    assert call("--list-folders").status == 0
    write(tmp_path, bad="[api]\nurl: nonsense://\n")
    monkeypatch.setenv("MINUS_CONFIG", str(tmp_path / "bad"))
    assert call("--list-folders").status == 2
    assert call("--list-folders", "--config", good).status == 0
    monkeypatch.delenv("MINUS_CONFIG")
    folder = tmp_path / "config/minus"
    folder.mkdir(parents=True)
    good.rename(folder / "minus.conf")
    assert call("--list-folders").status == 0


# --- tokens ---


def tokens(home: Path) -> list[Path]:
    return sorted((home / "state/minus/tokens").iterdir())


def sign_ins(capfd: pytest.CaptureFixture[str], *args: str) -> int:
    """Run a command that succeeds. -> how often it asked for a token"""
    assert call("--list-folders", "--debug", *args)[::2] == (0, "")
    return capfd.readouterr().err.count("/oauth/token\n")


def test_a_second_command_asks_for_no_token(
    newcomer: Client,
    other: Client,
    service: Service,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert sign_ins(capfd) == 1
    (kept,) = tokens(tmp_path)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert sign_ins(capfd) == 0
    assert tokens(tmp_path) == [kept]
    assert sign_ins(capfd, "--user", newcomer.slug) == 0  # the same user, in other letters
    assert sign_ins(capfd, "--user", other.name) == 1
    configure(tmp_path, service, url=f"http://localhost:{service.port}", username=newcomer.name)
    assert sign_ins(capfd) == 1
    another = service.run("addclient", "another").stdout
    key, secret = (line.split(": ")[1] for line in another.splitlines()[2:])
    configure(tmp_path, service, username=newcomer.name, api_key=key, api_secret=secret)
    assert sign_ins(capfd) == 1
    assert len(tokens(tmp_path)) == 4


@pytest.mark.usefixtures("newcomer")
def test_no_password_is_ever_written_to_disk(tmp_path: Path) -> None:
    assert call("--list-folders").status == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2  # the configuration, the tokens
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({}, 0),
        ({"expires": 1.0}, 1),
        ({"access_token": "stale"}, 1),
        ({"access_token": "stale", "expires": None}, 1),
        ({"access_token": "stale", "refresh_token": "stale"}, 2),
        ({"refresh_token": None}, 1),
    ],
)
@pytest.mark.usefixtures("newcomer")
def test_a_token_that_is_good_no_more_is_renewed(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    change: dict[str, object],
    asked: int,
) -> None:
    assert sign_ins(capfd) == 1
    (kept,) = tokens(tmp_path)
    kept.write_text(json.dumps(json.loads(kept.read_text()) | change))
    assert sign_ins(capfd) == asked
    assert sign_ins(capfd) == 0


@pytest.mark.usefixtures("newcomer")
def test_kept_tokens_need_no_password_until_they_are_worth_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("--list-folders").status == 0
    monkeypatch.delenv("MINUS_PASSWORD")
    assert call("--list-folders") == (0, "", "")
    (kept,) = tokens(tmp_path)
    kept.write_text("not JSON")
    why = "minus: no password: set MINUS_PASSWORD, use --password-file or use a terminal\n"
    assert call("--list-folders") == (2, "", why)


# --- where the password comes from ---


@pytest.fixture
def nobody(newcomer: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A user who has never signed in, and whose password is nowhere yet."""
    monkeypatch.delenv("MINUS_PASSWORD")
    return newcomer


def secret_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.touch(mode)
    path.write_text(text)
    return path


@pytest.mark.parametrize("ending", ["", "\n", "\r\nmore\n"])
@pytest.mark.parametrize("way", ["flag", "environment", "config"])
@pytest.mark.parametrize("kind", ["file", "command"])
def test_a_file_or_a_command_gives_the_password(
    nobody: Client,
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    way: str,
    ending: str,
) -> None:
    path = secret_file(tmp_path, f"{PASSWORD}{ending}")
    value = str(path) if kind == "file" else f"cat {path}"
    if way == "environment":
        monkeypatch.setenv(f"MINUS_PASSWORD_{kind.upper()}", value)
    if way == "config":
        configure(tmp_path, service, username=nobody.name, **{f"password_{kind}": value})
    flags = [f"--password-{kind}", value] if way == "flag" else []
    assert call(*flags, "--list-folders") == (0, "", "")
    (kept,) = tokens(tmp_path)
    assert PASSWORD not in kept.read_text()


@pytest.mark.usefixtures("nobody")
def test_a_flag_for_the_password_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINUS_PASSWORD", "wrong")
    path = secret_file(tmp_path, PASSWORD)
    assert call("--password-file", path, "--list-folders").status == 0


@pytest.mark.usefixtures("nobody")
def test_a_password_command_runs_only_to_sign_in(tmp_path: Path) -> None:
    path, ran = secret_file(tmp_path, PASSWORD), tmp_path / "ran"
    command = f"echo >> {ran}; cat {path}"
    for _ in range(2):
        assert call("--password-command", command, "--list-folders") == (0, "", "")
    assert ran.read_text() == "\n"


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--password-file", "{home}/none"], "no password file: No such file or directory: "),
        (["--password-file", "{home}/open"], "others can read {home}/open: chmod 600 {home}/open"),
        (["--password-file", "{home}/empty"], "no password in the first line of {home}/empty"),
        (["--password-file", "{home}/bytes"], "no password in the first line of {home}/bytes"),
        (["--password-command", "exit 3"], "the password command ended with status 3"),
        (["--password-command", "true"], "no password in the first line of what the password"),
        (
            ["--password-command", "true", "--password-file", "{home}/empty"],
            "password_file and password_command exclude each other",
        ),
    ],
)
@pytest.mark.usefixtures("nobody")
def test_a_password_that_cannot_be_had_is_2(tmp_path: Path, flags: list[str], why: str) -> None:
    for name, data, mode in (
        ("open", b"x", 0o640),
        ("empty", b"\nx", 0o600),
        ("bytes", b"\xff", 0o600),
    ):
        (tmp_path / name).touch(mode)
        (tmp_path / name).write_bytes(data)
    done = call(*(flag.format(home=tmp_path) for flag in flags), "--list-folders")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"minus: {why.format(home=tmp_path)}")


# --- what is shown ---


def test_debug_shows_the_exchange_and_no_secret(
    newcomer: Client, stuff: Row, service: Service, local: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(local, a="one")
    assert call("--debug", "--put", "Stuff", "a") == (0, ok("PUT", "a"), "")
    trace = capfd.readouterr().err
    assert f"> POST {service.url}oauth/token\n" in trace
    assert f"> POST {service.url}api/v2/folders/{stuff['id']}/batch\n" in trace
    assert "> Authorization: ***\n" in trace
    assert "< 200 OK (" in trace
    for hidden in (PASSWORD, service.api_secret, "Bearer", newcomer.token):
        assert hidden not in trace
    assert all(line.startswith(("> ", "< ")) for line in trace.splitlines())


@pytest.mark.parametrize("flags", [[], ["--quiet", "--force-https"]])
def test_nothing_but_results_is_shown_where_output_is_redirected(
    user: Client, stuff: Row, local: Path, flags: list[str]
) -> None:
    (local / "big").write_bytes(bytes(8 << 20))
    assert run(*flags, "--put", "Stuff", "big") == (0, ok("PUT", "big", size=8 << 20), "")
    assert user.get(f"folders/{stuff['id']}")["file_count"] == 1


def test_version_and_help_need_no_service(capsys: pytest.CaptureFixture[str]) -> None:
    for flag, expected in {"--version": "minus 2.0.0\n", "-V": "minus 2.0.0\n"}.items():
        with pytest.raises(SystemExit) as ended:
            call(flag)
        assert (ended.value.code, *capsys.readouterr()) == (0, expected, "")
    with pytest.raises(SystemExit):
        call("--help")
    shown = capsys.readouterr().out
    for flag in ("-u", "--user", "--username", "--password", "--config", "--put", "--get"):
        assert f"{flag} " in shown
    for flag in ("--list-folders", "--public", "--debug", "--force-https", "--shell", "--url"):
        assert flag in shown


def test_shell_is_a_python_prompt_that_is_signed_in(user: Client, service: Service) -> None:
    done = run("--shell", stdin="print(user.slug, minus.url, minus.activeuser().slug)\n")
    assert (done.status, done.out) == (0, f">>> {user.slug} {service.url} {user.slug}\n>>> ")
    assert done.err.startswith("minus 2.0.0: <MinusConnection ")


# --- the process: signals, closed streams, being alone ---


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_transfer_without_a_word(
    user: Client, stuff: Row, local: Path, number: signal.Signals, status: int
) -> None:
    with endless(local / "pipe") as begun, spawn("--put", "Stuff", "pipe") as process:
        assert begun.wait(PATIENCE)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (status, "", "")
    assert remote(user, stuff) == {}


def test_ctrl_c_ends_piped_commands(user: Client, stuff: Row, local: Path) -> None:
    with endless(local / "pipe") as begun, spawn() as process:
        assert process.stdin
        process.stdin.write("cd Stuff\nput pipe\nput - never.txt\n")
        process.stdin.flush()
        assert begun.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (130, '--> CWD "Stuff" OK\n', "")
    assert remote(user, stuff) == {}


@pytest.mark.parametrize(
    ("args", "stdin"),
    [
        (["--list-folders"], ""),
        (["--get", "Stuff"], ""),
        (["--put", "Stuff", "a"], ""),
        ([], "ls\n"),
        ([], "cd Stuff\n"),
    ],
)
def test_a_reader_that_leaves_is_141(
    user: Client, stuff: Row, local: Path, args: list[str], stdin: str
) -> None:
    write(local, a="one")
    user.upload(b"one", "b", stuff)
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, MINUS, *args],
        input=stdin,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("closed", "args", "status"),
    [
        ("<&-", "--list-folders", 0),
        ("<&-", "--put Stuff missing", 4),
        (">&-", "--list-folders", 0),
        (">&-", "--put Stuff missing", 4),
        ("2>&-", "--put Stuff missing", 4),
    ],
)
@pytest.mark.usefixtures("stuff")
def test_a_stream_that_is_closed_from_the_start_is_no_fault(
    closed: str, args: str, status: int
) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" "$1" {args} {closed}', sys.executable, MINUS],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)


@pytest.mark.usefixtures("stuff")
def test_a_full_disk_below_standard_output_is_7() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, MINUS, "--list-folders"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    assert (done.returncode, done.stderr) == (7, "minus: No space left on device\n")


def test_names_are_shown_where_output_knows_no_unicode(
    user: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.folder("Größe 日本")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert run("--list-folders") == (0, "Gr\\xf6\\xdfe \\u65e5\\u672c (0 files) PUBLIC\n", "")


def test_the_module_imports_the_standard_library_and_requests_alone() -> None:
    names: set[str] = set()
    for node in ast.walk(ast.parse(MINUS.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    assert names - sys.stdlib_module_names == {"requests", "minus_server", "tqdm"}
    for module in ("requests", "minus_server", "tqdm"):  # none of them by `import minus` itself
        assert not re.search(rf"(?m)^(import|from) {module}", MINUS.read_text())


@pytest.fixture
def alone(tmp_path: Path) -> list[str]:
    """A command that runs a copy of `minus.py` with `requests`, what that needs, and no more."""
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for module in (requests, urllib3, idna, certifi, charset_normalizer):
        assert module.__file__
        (libraries / module.__name__).symlink_to(Path(module.__file__).parent)
    script = shutil.copy(MINUS, tmp_path / "copy.py")
    start = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv.pop(0);"
    start += "runpy.run_path(sys.argv[0], run_name='__main__')"
    return [sys.executable, "-I", "-S", "-c", start, str(libraries), str(script)]


def alone_done(command: list[str], *args: str) -> Done:
    done = subprocess.run(
        [*command, *args], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_module_copied_alone_works_with_requests_only(
    user: Client, stuff: Row, local: Path, alone: list[str]
) -> None:
    write(local, a="one")
    assert alone_done(alone, "--put", "Stuff", "a") == (0, ok("PUT", "a"), "")
    assert remote(user, stuff) == {"a": b"one"}


def test_without_requests_a_service_elsewhere_is_2(tmp_path: Path, alone: list[str]) -> None:
    (tmp_path / "libraries/requests").unlink()
    done = alone_done(alone, "--url", "https://minus.test", "--share", str(tmp_path / "copy.py"))
    why = "https://minus.test/ needs the package requests, which is not installed"
    assert done == (2, "", f"minus: {why}\n")


def test_two_dashes_end_the_options(user: Client, stuff: Row, local: Path) -> None:
    write(local, **{"-q": "one", "--": "two", "a": "six"})
    done = call("--put", "Stuff", "a", "--", "-q", "--")
    assert done == (0, ok("PUT", "a", "-q", "--"), "")
    assert set(remote(user, stuff)) == {"a", "-q", "--"}


def test_without_the_service_installed_the_message_says_what_to_do(
    tmp_path: Path, alone: list[str]
) -> None:
    done = alone_done(alone, "--list-folders")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert "[server]" in done.err
    assert "--url" in done.err
    assert not (tmp_path / "data").exists()
