"""How files travel: what a transfer costs in requests, bytes and flushes, and what it makes of
a service that knows less, or that fails in the middle."""

import contextlib
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import minus
from minus import (
    MinusAPIError,
    MinusAuthError,
    MinusConnection,
    MinusFolder,
    MinusIntegrityError,
    MinusTemporaryError,
)
from tests.flushes import count_flushes
from tests.helpers import PASSWORD, Script, answer, sign_in
from tests.live import Service
from tests.rawhttp import Client, Row, new_user
from tests.shell_helpers import call, configure, here, put_remote, remote, settle

pytest_plugins = ["tests.accounts"]
MANY, SIZE = 2_000, 8_192


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """Each request from here on: method, path, and the bytes of its body."""
    seen: list[tuple[str, str, int]] = []
    attempt = MinusConnection._attempt

    def counted(api: MinusConnection, method: str, link: str, headers: Any, data: Any) -> Any:
        size = getattr(data, "len", None) or (len(data) if isinstance(data, bytes) else 0)
        seen.append((method, re.sub(r"\?.*|^.*/api/v2", "", link), size))
        return attempt(api, method, link, headers, data)

    monkeypatch.setattr(MinusConnection, "_attempt", counted)
    return seen


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command is called in."""
    return settle(monkeypatch, tmp_path)


@pytest.fixture
def user(local: Path, tmp_path: Path, service: Service) -> Client:  # noqa: ARG001  it stands there
    """A new user, whom the configuration names, signed in."""
    made = new_user(service)
    configure(tmp_path, service, username=made.slug, password=PASSWORD)
    assert call("--list-folders").status == 0
    return made


@pytest.fixture
def stuff(user: Client) -> Row:
    """The private folder Stuff."""
    return user.folder("Stuff", "false")


@pytest.fixture
def many(tmp_path: Path) -> dict[str, bytes]:
    """A folder of many small files, the current one. -> their bytes by name"""
    files = {f"f{n:04}": os.urandom(SIZE) for n in range(MANY)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return files


@pytest.fixture
def alone(
    own_service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """The only account of a service of its own, configured and signed in."""
    user = new_user(own_service)
    home = tmp_path.parent / f"{tmp_path.name}-home"
    home.mkdir()
    settle(monkeypatch, home)
    configure(home, own_service, username=user.slug, password=PASSWORD)
    assert call("--list-folders").status == 0
    monkeypatch.chdir(tmp_path)
    yield user


def test_two_thousand_files_take_twenty_requests_each_way_and_few_flushes(
    own_service: Service,
    alone: Client,
    many: dict[str, bytes],
    asked: list[tuple[str, str, int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trace = tmp_path.parent / f"{tmp_path.name}-trace"
    names = sorted(many)
    done = call("--put", "Stuff", *names, "--quiet")
    assert (done.status, done.out.count(" OK (8192 bytes)\n"), done.err) == (0, MANY, "")
    # the user, what the service knows, the folder, making it, and the batches
    assert len(asked) <= 20
    assert sum(size for _, _, size in asked) <= 1.05 * MANY * SIZE
    asked.clear()
    flushes = count_flushes(own_service, lambda: call("--put", "Again", *names), trace)
    assert flushes <= 2 * len(asked)
    rows = alone.results(f"folders/{alone.results(f'users/{alone.slug}/folders')[0]['id']}/files")
    assert [row["name"] for row in rows] == names[: len(rows)]

    asked.clear()
    got = tmp_path.parent / f"{tmp_path.name}-got"
    got.mkdir()
    monkeypatch.chdir(got)
    done = call("--get", "Stuff")
    assert (done.status, done.out.count(" OK (8192 bytes)\n"), done.err) == (0, MANY, "")
    assert here(got) == many
    assert len(asked) <= 20
    asked.clear()
    assert call("--get", "Stuff").status == 0  # all of it is there already
    assert len(asked) <= 6
    assert not [path for _, path, _ in asked if path.endswith("/tar")]


def test_a_list_of_ten_thousand_takes_a_dozen_requests(
    own_service: Service, alone: Client, asked: list[tuple[str, str, int]]
) -> None:
    folder = alone.folder("Long")
    api = sign_in(own_service, alone.slug)
    with contextlib.closing(api):
        there = api.folder(folder["id"])
        for start in range(0, 10_000, 1_000):
            there.new_batch([(f"n{start + n:05}", b"") for n in range(1_000)])
        asked.clear()
        files = there.files()
        assert (len(files), files[9_999].name) == (10_000, "n09999")
        assert len(asked) <= 12
        found = there.find("n07777")
        assert found and found.name == "n07777"
        assert [file.name for file in there.glob("n0777?")] == [f"n0777{n}" for n in range(10)]
        assert len(asked) <= 16
        shown = minus.MinusCLI(
            api.activeuser(), io.TextIOWrapper(io.BytesIO()), out := io.StringIO()
        )
        shown.folder = there
        asked.clear()
        shown.onecmd("ls")
        assert (len(out.getvalue().splitlines()), len(asked)) == (10_002, 10)


def test_a_plain_service_gets_a_request_a_file(
    user: Client, stuff: Row, local: Path, asked: list[tuple[str, str, int]], monkeypatch: Any
) -> None:
    monkeypatch.setattr(MinusConnection, "extensions", lambda _: {})
    for n in range(9):
        (local / f"{n}").write_bytes(b"%d" % n)
    assert call("--put", "Stuff", *map(str, range(9)), "--jobs", "3").status == 0
    assert sum(method == "POST" and path.endswith("/files") for method, path, _ in asked) == 9
    assert remote(user, stuff) == here(local)
    for path in local.iterdir():
        path.unlink()
    asked.clear()
    assert call("--get", "Stuff", "--jobs", "3").status == 0
    assert here(local) == {f"{n}": b"%d" % n for n in range(9)}
    assert sum("/i" in path for _, path, _ in asked) == 9


def test_files_come_into_the_folder_in_the_order_of_the_command(
    user: Client, stuff: Row, local: Path
) -> None:
    names = [f"{n:02}" for n in range(40, 0, -1)]
    for n, name in enumerate(names):
        (local / name).write_bytes(bytes(300_000 if n % 3 == 0 else n))
    done = call("--put", "Stuff", *names)
    assert re.findall(r'PUT "(\d+)" OK', done.out) == names
    assert [row["name"] for row in user.results(f"folders/{stuff['id']}/files")] == names


def test_one_bad_file_of_a_batch_fails_alone(user: Client, stuff: Row, local: Path) -> None:
    for name in ("a", "b\x01c", "d"):
        (local / name).write_bytes(name.encode())
    done = call("--put", "Stuff", "a", "b\x01c", "d")
    assert done.status == 11
    assert done.out == '--> PUT "a" OK (1 bytes)\n--> PUT "d" OK (1 bytes)\n'
    assert done.err.startswith('--> PUT "b\\x01c" FAILED (')
    assert remote(user, stuff) == {"a": b"a", "d": b"d"}


@pytest.mark.parametrize("name", ["foo\\", "a\\\\b", "a %22.txt", 'q"', "plain"])
def test_names_that_a_form_spoils_go_alone(
    user: Client, stuff: Row, local: Path, name: str
) -> None:
    (local / name).write_bytes(b"x")
    (local / "other").write_bytes(b"y")
    assert call("--put", "Stuff", name, "other").status == 0
    assert remote(user, stuff) == {name: b"x", "other": b"y"}


def test_a_file_that_gives_its_bytes_in_pieces_is_put_whole(
    user: Client, stuff: Row, local: Path
) -> None:
    whole = Path("/proc/self/environ")  # said to be empty
    done = call("--put", "Stuff", whole)
    assert (done.status, remote(user, stuff)) == (0, {"environ": whole.read_bytes()})
    assert here(local) == {}


def test_a_stream_that_breaks_off_once_costs_nothing(
    user: Client, stuff: Row, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        put_remote(user, stuff, f"{n}", b"%d" % n)
    attempt = MinusConnection._attempt

    def broken(api: MinusConnection, method: str, link: str, *rest: Any) -> Any:
        if link.endswith("/tar"):
            raise MinusTemporaryError("cannot reach it: reset", None, method, link, "broken")
        return attempt(api, method, link, *rest)

    monkeypatch.setattr(MinusConnection, "_attempt", broken)
    assert call("--get", "Stuff").status == 0
    assert here(local) == {f"{n}": b"%d" % n for n in range(5)}


def test_a_new_name_is_no_other_file_of_the_command(user: Client, stuff: Row, local: Path) -> None:
    put_remote(user, stuff, "x.txt", b"old")
    for name in ("x (2).txt", "x.txt"):
        (local / name).write_bytes(name.encode())
    call("--put", "Stuff", "x (2).txt", "x.txt", "--on-conflict", "rename")
    assert sorted(remote(user, stuff)) == ["x (2).txt", "x (3).txt", "x.txt"]


@pytest.mark.parametrize("args", [["--get", ""], ["--put", "", "a"], ["--jobs", "-1"], ["-jx"]])
def test_an_empty_folder_or_no_number_is_a_usage_error(args: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        minus.main(args)
    assert ended.value.code == 2


def test_twins_of_one_command_are_settled_as_if_they_came_one_by_one(
    user: Client, stuff: Row, local: Path
) -> None:
    for place, text in (("x", b"one"), ("y", b"one"), ("z", b"other")):
        (local / place).mkdir()
        (local / place / "a").write_bytes(text)
    done = call("--put", "Stuff", "x/a", "y/a", "z/a", "--on-conflict", "rename")
    assert done.out == (
        '--> PUT "a" OK (3 bytes)\n--> PUT "a" OK (3 bytes)\n--> PUT "a (2)" OK (5 bytes)\n'
    )
    assert remote(user, stuff) == {"a": b"one", "a (2)": b"other"}


def test_a_name_that_rename_gave_is_not_given_twice(user: Client, stuff: Row, local: Path) -> None:
    for name, data in {"a": b"1", "a (2)": b"2", "a (3)": b"3"}.items():
        put_remote(user, stuff, name, data)
    (local / "a").write_bytes(b"mine")
    assert call("--get", "Stuff", "--on-conflict", "rename").status == 0
    assert sorted(here(local).values()) == [b"1", b"2", b"3", b"mine"]


def test_a_file_that_comes_while_it_is_fetched_is_kept(
    user: Client, stuff: Row, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_remote(user, stuff, "a", b"theirs")
    read_batch = MinusFolder.read_batch

    def slowly(*args: Any) -> Iterator[bytes]:
        (local / "a").write_bytes(b"mine")
        yield from read_batch(*args)

    monkeypatch.setattr(MinusFolder, "read_batch", slowly)
    done = call("--get", "Stuff")
    assert (done.status, here(local)) == (8, {"a": b"mine"})


def stream(files: list[tuple[str, bytes]]) -> bytes:
    """What a service answers for these ids and bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file_id, data in files:
            info = tarfile.TarInfo(file_id)
            info.size, info.pax_headers = len(data), {"MINUS.id": file_id}
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


GOOD = [("A", b"one"), ("B", b"two")]


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (answer(200, stream([("A", b"one"), ("B", b"2wo")])), MinusIntegrityError),
        (answer(200, stream([("B", b"two"), ("A", b"one")])), MinusIntegrityError),
        (answer(200, stream([("A", b"one")])), MinusIntegrityError),
        (answer(200, stream([("A", b"one"), ("B", b"two longer")])), MinusIntegrityError),
        (answer(200, b"no tar at all" * 100), MinusIntegrityError),
        (answer(200, stream(GOOD)[:700]), MinusIntegrityError),
        (answer(200, stream(GOOD)[:700], 10_240), MinusTemporaryError),
        (answer(404, b'{"error": "not_found"}'), MinusAPIError),
    ],
)
def test_a_stream_that_brings_other_bytes_is_refused(
    told: bytes, kind: type[MinusAPIError]
) -> None:
    rows = [
        {"id": i, "name": i, "filesize": 3, "sha256": hashlib.sha256(d).hexdigest()}
        for i, d in GOOD
    ]
    with Script(told) as script, contextlib.closing(MinusConnection(url=script.url)) as api:
        folder = MinusFolder(api, "", {"id": "F"})
        with pytest.raises(kind):
            list(folder.read_batch([minus.MinusFile(api, "", row) for row in rows]))


def test_a_good_stream_is_read() -> None:
    rows = [{"id": i, "name": i, "filesize": 3} for i, _ in GOOD]
    with (
        Script(answer(200, stream(GOOD))) as script,
        contextlib.closing(MinusConnection(url=script.url)) as api,
    ):
        files = [minus.MinusFile(api, "", row) for row in rows]
        streamed = MinusFolder(api, "", {"id": "F"}).read_batch(files)
        assert list(streamed) == [b"one", b"two"]


@pytest.mark.parametrize("size", [3, 70_000, 5_000_000])
def test_an_upload_of_any_size_is_compared_by_its_digest(
    folder: MinusFolder, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(size)
    made = folder.new("a.bin", data, caption="Über alles", mimetype="application/x-own")
    assert (made.sha256, made.filesize) == (hashlib.sha256(data).hexdigest(), size)
    assert (made.caption, made.mimetype, made.data()) == ("Über alles", "application/x-own", data)
    create = MinusConnection.create

    def lying(*args: Any, **more: Any) -> Any:
        return create(*args, **more) | {"sha256": "0" * 64}

    monkeypatch.setattr(MinusConnection, "create", lying)
    with pytest.raises(MinusIntegrityError, match="other bytes than were sent"):
        folder.new("a.bin", data)


@pytest.mark.parametrize(
    "name", ["a b.txt", "50%", "a%20b", "%41", "ü☃", "?#&=+;", "..a", "a\\b", "q\"'"]
)
def test_names_come_back_as_they_went_bare_in_forms_and_in_batches(
    folder: MinusFolder, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = folder.new(name, b"x")
    batch = folder.new_batch([(name, b"x")])[0]
    monkeypatch.setattr(MinusConnection, "extensions", lambda _: {})
    assert {bare.name, batch.name, folder.new(name, b"x").name} == {name}


def test_a_batch_that_breaks_off_makes_no_twins(
    user: Client, stuff: Row, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (local / "a").write_bytes(b"one")
    attempt = MinusConnection._attempt
    sent: list[str] = []

    def broken(api: MinusConnection, method: str, link: str, *rest: Any) -> Any:
        reply = attempt(api, method, link, *rest)
        if link.partition("?")[0].endswith("/batch"):
            reply.close()
            sent.append(link)
            raise MinusTemporaryError("cannot reach it: reset", None, method, link, "broken")
        return reply

    monkeypatch.setattr(MinusConnection, "_attempt", broken)
    done = call("--put", "Stuff", "a")
    assert (done.status, len(sent)) == (5, 1 + minus.RETRIES)
    assert user.values(f"folders/{stuff['id']}/files", "name") == ["a"]  # it had arrived, once


def test_many_threads_share_one_connection(folder: MinusFolder) -> None:
    made = [folder.new(f"{n}", b"%d" % n * 1000) for n in range(8)]
    wrong: list[object] = []

    def fetch() -> None:
        wrong.extend(f.name for f in made for _ in range(5) if f.data() != f.name.encode() * 1000)

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_token_that_ended_is_renewed_once_for_all_threads(service: Service) -> None:
    user = new_user(service)
    api = sign_in(service, user.slug)
    with contextlib.closing(api):
        folder = api.activeuser().new_folder("Stuff")
        made = [folder.new(f"{n}", b"x") for n in range(6)]
        api.access_token = "spent"
        failed: list[MinusAuthError] = []

        def change(file: minus.MinusFile) -> None:
            try:
                file.change(caption="new")
            except MinusAuthError as error:
                failed.append(error)

        threads = [threading.Thread(target=change, args=(file,)) for file in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert {file.caption for file in folder.files()} == {"new"}


@pytest.mark.usefixtures("stuff")
def test_nothing_but_what_is_needed_is_loaded() -> None:
    """`requests` alone takes longer to load than the folders take to list."""
    code = (
        "import sys, minus; status = minus.main(['--list-folders']);"
        " heavy = {'requests', 'urllib3', 'subprocess', 'configparser', 'webbrowser', 'code'};"
        " print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("Stuff (0 files)\n", "['configparser']\n")


def test_an_idle_connection_that_was_reset_costs_no_request(
    api: MinusConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = api.activeuser()
    [idle] = api._loopback._idle.values()
    for connection in idle:
        connection.sock.close()
        stale = Mock(recv=Mock(side_effect=ConnectionResetError))
        monkeypatch.setattr(connection, "sock", stale)
    assert user.new_folder("made").name == "made"  # a POST, which nothing repeats


@pytest.mark.parametrize(
    ("answers", "fails"),
    [
        ((b"", answer(404)), False),  # the first may have done it
        ((answer(504), answer(404)), False),
        ((answer(404),), True),
        ((answer(503), answer(404)), True),  # the first did nothing
    ],
)
@pytest.mark.usefixtures("slept")
def test_what_is_gone_at_the_second_try_was_deleted_by_the_first(
    answers: tuple[bytes, ...], fails: bool
) -> None:
    with Script(*answers) as script, contextlib.closing(MinusConnection(url=script.url)) as api:
        gone = MinusFolder(api, "", {"id": "F"})
        with pytest.raises(minus.MinusNotFound) if fails else contextlib.nullcontext():
            gone.delete()
    assert len(script.requests) == len(answers)


def test_the_session_is_found_among_other_cookies() -> None:
    told = answer(200, b'{"success": true}', Set_Cookie="csrf=1; Path=/")
    told = told.replace(
        b"Set-Cookie: csrf", b"Set-Cookie: sessionid=S1; HttpOnly\r\nSet-Cookie: csrf"
    )
    swapped = answer(200, b'{"success": true}', Set_Cookie="sessionid=S1; HttpOnly")
    swapped = swapped.replace(b"Set-Cookie:", b"Set-Cookie: csrf=1; Path=/\r\nSet-Cookie:")
    for one in (told, swapped):
        with Script(one) as script, contextlib.closing(MinusConnection(url=script.url)) as api:
            api.sign_in("alice", PASSWORD)
            assert api._cookie == "sessionid=S1"
