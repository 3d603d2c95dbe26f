"""`verify`: local files against the service, and against saved sums without it."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.live import Service
from tests.rawhttp import PASSWORD, Client, Row, new_user
from tests.shell_helpers import call, configure, put_remote, settle


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return settle(monkeypatch, tmp_path)


@pytest.fixture
def user(service: Service, local: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    found = new_user(service)
    configure(local.parent, service, username=found.name)
    monkeypatch.setenv("MINUS_PASSWORD", PASSWORD)
    return found


@pytest.fixture
def folder(user: Client) -> Row:
    """A folder with three files, two of them of one name."""
    made = user.folder("Stuff")
    for name, data in (("a.txt", b"one"), ("a.txt", b"two"), ("b c", b"three")):
        put_remote(user, made, name, data)
    return made


ALL = """\
--> VERIFY "a.txt" OK (3 bytes)
--> VERIFY "a (2).txt" OK (3 bytes)
--> VERIFY "b c" OK (5 bytes)
"""


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("how", [("verify", "Stuff"), ("--verify", "Stuff"), ()])
def test_what_get_brought_is_what_the_service_has(local: Path, how: tuple[str, ...]) -> None:
    assert call("--get", "Stuff").status == 0
    done = call(*how, stdin=b"" if how else b"cd Stuff\nverify\n")
    assert (done.status, done.out.partition('--> CWD "Stuff" OK\n')[2] or done.out) == (0, ALL)
    (local / "a.txt").write_bytes(b"oNe")
    done = call(*how, stdin=b"" if how else b"cd Stuff\nverify\n")
    why = '--> VERIFY "a.txt" FAILED (other bytes are here than the service has)\n'
    assert (done.status, done.err) == (11, why)


@pytest.mark.usefixtures("folder")
def test_only_what_matches_is_compared(local: Path) -> None:
    (local / "b c").write_bytes(b"three")
    assert call("verify", "Stuff", "b*")[:2] == (0, '--> VERIFY "b c" OK (5 bytes)\n')


@pytest.mark.usefixtures("folder")
def test_other_bytes_alone_are_10(local: Path) -> None:
    (local / "b c").write_bytes(b"threE")
    assert call("verify", "Stuff", "b*").status == 10


@pytest.mark.usefixtures("folder", "local")
def test_a_file_that_is_not_here_is_4() -> None:
    done = call("verify", "Stuff", "b*")
    assert (done.status, done.err) == (4, '--> VERIFY "b c" FAILED (is not here)\n')


@pytest.mark.usefixtures("folder")
def test_a_file_of_the_folder_is_no_list_of_sums(local: Path) -> None:
    (local / "b c").write_bytes(b"three")
    (local / "Stuff").write_bytes(b"of that name, and no sums")
    done = call(stdin=b'cd Stuff\nverify "b c"\n')
    assert (done.status, done.err) == (0, "")
    assert call("verify", "Stuff", "b*").status == 0
    assert call("verify", "Stuff").status == 11  # the others are not here


def test_nothing_to_verify_is_no_success(user: Client) -> None:
    user.folder("Empty")
    assert call("verify", "Empty")[::2] == (4, "minus: there is nothing to verify\n")
    assert call("verify", "Empty", "x*")[::2] == (4, "minus: no file matches x*\n")
    assert call("verify", "Absent").status == 3


def sums(*rows: tuple[str, bytes]) -> str:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in rows)


def test_saved_sums_need_no_service(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINUS_URL", "https://nobody.invalid/")
    (local / "a b.txt").write_bytes(b"one")
    (local / "c").write_bytes(b"two")
    (local / "SHA256SUMS").write_text(sums(("a b.txt", b"one"), ("c", b"two")))
    shown = '--> VERIFY "a b.txt" OK (3 bytes)\n--> VERIFY "c" OK (3 bytes)\n'
    assert call("verify", "SHA256SUMS") == (0, shown, "")
    (local / "c").write_bytes(b"twO")
    done = call("verify", "SHA256SUMS")
    why = '--> VERIFY "c" FAILED (other bytes are here than the sum is of)\n'
    assert (done.status, done.err) == (11, why)


def test_sums_are_read_as_sha256sum_writes_them(local: Path) -> None:
    names = ["plain", "two words", "back\\slash", "new\nline", "ü", "*star", " space"]
    for name in names:
        (local / name).write_text(name)
    written = subprocess.run(
        ["/usr/bin/sha256sum", "--", *names], capture_output=True, check=True, cwd=local
    )
    (local / "SUMS").write_bytes(written.stdout)
    done = call("verify", "SUMS")
    assert (done.status, done.out.count("OK"), done.err) == (0, len(names), "")


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize(
    ("text", "status", "why"),
    [
        ("", 4, "minus: SHA256SUMS has nothing to verify\n"),
        ("nonsense\n", 1, "minus: SHA256SUMS: line 1 is no SHA-256 of a file\n"),
        (
            sums(("absent", b"")),
            4,
            '--> VERIFY "absent" FAILED (No such file or directory: absent)\n',
        ),
        (sums(("\x1b[2J", b"")), 4, None),
    ],
)
def test_sums_that_say_nothing_good_are_no_success(
    local: Path, text: str, status: int, why: str | None
) -> None:
    (local / "SHA256SUMS").write_text(text)
    done = call("verify", "SHA256SUMS")
    assert done.status == status
    assert done.err == why if why is not None else "\x1b" not in done.err
