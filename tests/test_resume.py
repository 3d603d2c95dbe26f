"""Transfers that were cut off and go on: by themselves, in the next run, and never wrong."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import minus
from minus import (
    MinusConnection,
    MinusFile,
    MinusIntegrityError,
    MinusTemporaryError,
)
from tests.helpers import Script, answer
from tests.live import Service
from tests.rawhttp import PASSWORD, Client, new_user
from tests.shell_helpers import call, configure, here, put_remote, settle

OLD, NEW = b"0123456789", b"abcdefghij"
TAG, OTHER = '"one"', '"two"'


pytest_plugins = ["tests.accounts"]
pytestmark = pytest.mark.usefixtures("slept")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten bytes are a large file."""
    monkeypatch.setattr(minus, "RESUMABLE", 4)


def whole(data: bytes = OLD, tag: str = TAG, cut: int | None = None) -> bytes:
    """The answer that has a file; `cut`: that breaks off after so many bytes."""
    return answer(200, data[:cut], len(data), ETag=tag)


def rest(start: int, data: bytes = OLD, tag: str = TAG, cut: int | None = None) -> bytes:
    """The answer that has the rest of a file."""
    place = f"bytes {start}-{len(data) - 1}/{len(data)}"
    return answer(206, data[start:cut], len(data) - start, ETag=tag, Content_Range=place)


@contextlib.contextmanager
def remote(script: Script, data: bytes = OLD, **more: Any) -> Iterator[MinusFile]:
    """The file that a script tells of, for a connection of its own."""
    row = {"id": "F", "filesize": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    with contextlib.closing(MinusConnection(url=script.url)) as api:
        yield MinusFile(api, "", row | {"url_rawfile": f"{script.url}iF"} | more)


def asked(script: Script) -> list[tuple[str, str]]:
    """Range and If-Range of each request."""
    found = []
    for request in script.requests:
        lines = request.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        found.append((fields.get("Range", ""), fields.get("If-Range", "")))
    return found


def cut_off(target: Path, data: bytes = OLD, at: int = 6, **more: Any) -> None:
    """Save a file of which only the beginning comes."""
    with (
        Script(whole(data, cut=at)) as script,
        remote(script, data, **more) as file,
        pytest.raises(MinusTemporaryError, match=r"^the file broke off: .*; cannot reach"),
    ):
        file.save(target)


def parts(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob(".minus-*.part")]


# --- a connection that breaks ---


def test_a_stream_goes_on_behind_what_came() -> None:
    with Script(whole(cut=3), rest(3, cut=7), rest(7)) as script, remote(script) as file:
        assert file.data() == OLD
    assert asked(script) == [("", ""), ("bytes=3-", TAG), ("bytes=7-", TAG)]


def test_a_stream_that_makes_no_progress_ends(slept: list[float]) -> None:
    with Script(whole(cut=3), *[rest(3, cut=3)] * 3) as script, remote(script) as file:
        with pytest.raises(MinusTemporaryError, match=r"^the file broke off: "):
            file.data()
        assert slept == [0.4, 0.8, 1.6]


def test_a_stream_without_a_strong_version_does_not_go_on() -> None:
    with Script(whole(tag='W/"one"', cut=3)) as script, remote(script) as file:
        with pytest.raises(MinusTemporaryError, match=r"^the file broke off: "):
            file.data()
        assert len(script.requests) == 1


@pytest.mark.parametrize(
    "second",
    [whole(NEW, OTHER), rest(3, NEW, OTHER), rest(4), rest(3, OLD + NEW), answer(206, OLD[3:])],
)
def test_a_stream_never_joins_two_versions(second: bytes) -> None:
    with Script(whole(cut=3), second) as script, remote(script) as file:
        with pytest.raises(MinusTemporaryError) as caught:
            file.data()
        assert caught.value.error == "changed"


def test_a_file_that_changes_while_it_is_saved_is_fetched_anew(tmp_path: Path) -> None:
    answers = whole(NEW, OTHER, cut=3), whole(OLD, TAG), whole(OLD, TAG)
    with Script(*answers) as script, remote(script) as file:
        file.save(tmp_path / "a")
    assert here(tmp_path) == {"a": OLD}


def test_bytes_that_are_only_looked_at_are_proven_too() -> None:
    with Script(whole(NEW)) as script, remote(script) as file, pytest.raises(MinusIntegrityError):
        file.data()


def test_a_row_without_a_digest_is_proven_by_the_answers() -> None:
    digest = minus._repr_digest(hashlib.sha256(OLD))
    for data in (OLD, NEW):
        told = answer(200, data, Repr_Digest=digest)
        with Script(told) as script, remote(script, sha256="") as file:
            if data == OLD:
                assert file.data() == OLD
            else:
                with pytest.raises(MinusIntegrityError):
                    file.data()


@pytest.mark.parametrize("told", [rest(5, b"01234WRONG"), answer(206, b"WRONG")])
def test_a_part_that_nobody_asked_for_is_refused(told: bytes, tmp_path: Path) -> None:
    with Script(told) as script, remote(script) as file, pytest.raises(MinusIntegrityError):
        file.data()
    with Script(told) as script, remote(script) as file, pytest.raises(MinusIntegrityError):
        file.save(tmp_path / "a")
    assert here(tmp_path) == {}


# --- the next run ---


def test_a_large_file_goes_on_in_the_next_run(tmp_path: Path) -> None:
    cut_off(tmp_path / "a")
    assert parts(tmp_path) == [OLD[:6]]
    assert not (tmp_path / "a").exists()
    with Script(rest(6)) as script, remote(script) as file:
        assert file.save(tmp_path / "a") == tmp_path / "a"
    assert asked(script) == [("bytes=6-", TAG)]
    assert here(tmp_path) == {"a": OLD}


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    cut_off(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"mine"
    with Script(rest(6)) as script, remote(script) as file, pytest.raises(FileExistsError):
        file.save(tmp_path / "a", replace=False)
    assert here(tmp_path) == {"a": b"mine"}


def test_a_part_of_another_version_is_thrown_away(tmp_path: Path) -> None:
    cut_off(tmp_path / "a", NEW)
    with Script(whole(OLD, OTHER)) as script, remote(script) as file:
        file.save(tmp_path / "a")
    assert asked(script) == [("bytes=6-", TAG)]
    assert here(tmp_path) == {"a": OLD}


def test_a_part_of_another_file_is_thrown_away(tmp_path: Path) -> None:
    cut_off(tmp_path / "a", NEW, id="OTHER")
    with Script(whole()) as script, remote(script) as file:
        file.save(tmp_path / "a")
    assert asked(script) == [("", "")]
    assert here(tmp_path) == {"a": OLD}


@pytest.mark.parametrize("wrong", [b"wrong", OLD + b"more", OLD[:9] + b"x"])
def test_a_part_that_was_damaged_is_found_out_and_the_file_fetched_anew(
    tmp_path: Path, wrong: bytes
) -> None:
    cut_off(tmp_path / "a")
    next(tmp_path.glob(".minus-*")).write_bytes(wrong)
    answers = rest(min(len(wrong), 9)), whole()
    with Script(*answers) as script, remote(script) as file:
        file.save(tmp_path / "a")
        sizes = [(f"bytes={min(len(wrong), 9)}-", TAG)]
    assert asked(script) in (sizes, [*sizes, ("", "")])
    assert here(tmp_path) == {"a": OLD}


def test_wrong_bytes_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    with Script(whole(NEW)) as script, remote(script) as file, pytest.raises(MinusIntegrityError):
        file.save(tmp_path / "a")
    assert here(tmp_path) == {"a": b"mine"}


def test_a_part_is_not_used_where_that_is_not_wanted(tmp_path: Path) -> None:
    cut_off(tmp_path / "a")
    with Script(whole()) as script, remote(script) as file:
        file.save(tmp_path / "a", resume=False)
    assert asked(script) == [("", "")]


def test_a_part_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    cut_off(tmp_path / "a")
    with next(tmp_path.glob(".minus-*")).open("r+b") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with Script(whole()) as script, remote(script) as file:
            file.save(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == OLD
    assert parts(tmp_path) == [OLD[:6]]


def test_a_part_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    cut_off(tmp_path / "a")
    part = next(tmp_path.glob(".minus-*"))
    (tmp_path / "victim").write_bytes(b"precious")
    part.unlink()
    part.symlink_to(tmp_path / "victim")
    with Script(whole()) as script, remote(script) as file:
        file.save(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == OLD
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_service_that_goes_on_with_another_version_is_not_believed(tmp_path: Path) -> None:
    cut_off(tmp_path / "a")
    with Script(rest(6, NEW, OTHER), whole()) as script, remote(script) as file:
        file.save(tmp_path / "a")
    assert asked(script) == [("bytes=6-", TAG), ("", "")]
    assert here(tmp_path) == {"a": OLD}


def test_what_no_digest_can_prove_does_not_go_on_later(tmp_path: Path) -> None:
    cut_off(tmp_path / "a", sha256="")
    assert here(tmp_path) == {}


def test_a_part_that_has_a_second_name_is_left_alone(tmp_path: Path) -> None:
    cut_off(tmp_path / "a")
    os.link(next(tmp_path.glob(".minus-*")), tmp_path / "mine")
    with Script(whole()) as script, remote(script) as file:
        file.save(tmp_path / "a")
    assert asked(script) == [("", "")]
    assert (tmp_path / "mine").read_bytes() == OLD[:6]


def test_a_part_with_a_name_that_means_nothing_is_cleared_away(tmp_path: Path) -> None:
    stem = f".minus-{hashlib.sha256(b'a').hexdigest()[:16]}."
    for label in ("ff", "nonsense", ""):
        (tmp_path / f"{stem}{label}.part").write_bytes(b"x")
    with Script(whole()) as script, remote(script) as file:
        file.save(tmp_path / "a")
    assert here(tmp_path) == {"a": OLD}


def test_what_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def appear(*_: object) -> None:
        Path("a").write_bytes(b"mine")

    with Script(whole()) as script, remote(script) as file, pytest.raises(FileExistsError):
        file.save("a", appear, replace=False)
    assert here(tmp_path)["a"] == b"mine"


# --- a beginning under the final name ---


def test_a_beginning_under_the_files_own_name_is_continued(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(OLD[:4])
    with Script(rest(4)) as script, remote(script) as file:
        file.save(tmp_path / "a", over=True)
    assert asked(script) == [("bytes=4-", "")]
    assert here(tmp_path) == {"a": OLD}


def test_what_is_no_beginning_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    with (
        Script(rest(4)) as script,
        remote(script) as file,
        pytest.raises(FileExistsError, match="is no beginning of this file"),
    ):
        file.save(tmp_path / "a", over=True)
    assert here(tmp_path) == {"a": b"mine"}


def test_a_service_that_gives_all_does_not_change_what_is_no_beginning(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    why = "is no beginning of this file"
    with (
        Script(whole()) as script,
        remote(script) as file,
        pytest.raises(FileExistsError, match=why),
    ):
        file.save(tmp_path / "a", over=True)
    assert here(tmp_path)["a"] == b"mine"


def test_a_part_of_ours_is_no_reason_to_replace_another_file(tmp_path: Path) -> None:
    cut_off(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"mine")
    why = "is no beginning of this file"
    with (
        Script(rest(6)) as script,
        remote(script) as file,
        pytest.raises(FileExistsError, match=why),
    ):
        file.save(tmp_path / "a", over=True)
    assert here(tmp_path)["a"] == b"mine"


def test_going_on_needs_a_plain_file_or_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with Script() as script, remote(script) as file, pytest.raises(FileExistsError):
        file.save(tmp_path / "a", over=True)
    with Script(whole()) as script, remote(script) as file:
        assert file.save(tmp_path / "b", over=True).read_bytes() == OLD


def test_a_beginning_that_no_digest_proves_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(OLD[:4])
    with (
        Script() as script,
        remote(script, sha256="") as file,
        pytest.raises(FileExistsError, match="tells no SHA-256"),
    ):
        file.save(tmp_path / "a", over=True)
    assert here(tmp_path) == {"a": OLD[:4]}


def test_a_continued_beginning_that_breaks_off_again_goes_on_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(OLD[:4])
    with (
        Script(rest(4, cut=7)) as script,
        remote(script) as file,
        pytest.raises(MinusTemporaryError),
    ):
        file.save(tmp_path / "a", over=True)
    assert here(tmp_path)["a"] == OLD[:4]
    with Script(rest(7)) as script, remote(script) as file:
        file.save(tmp_path / "a", over=True)
    assert asked(script) == [("bytes=7-", TAG)]
    assert here(tmp_path) == {"a": OLD}


# --- the commands ---


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return settle(monkeypatch, tmp_path)


@pytest.fixture
def user(service: Service, local: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    found = new_user(service)
    configure(local.parent, service, username=found.name)
    monkeypatch.setenv("MINUS_PASSWORD", PASSWORD)
    return found


@pytest.mark.parametrize("how", ["--get", "get -c a", "reget a", "mget -c a"])
def test_a_local_beginning_is_continued(user: Client, local: Path, how: str) -> None:
    put_remote(user, user.folder("Stuff"), "a", OLD)
    (local / "a").write_bytes(OLD[:4])
    if how == "--get":
        done = call("-c", "--get", "Stuff")
    else:
        done = call(stdin=f"cd Stuff\n{how}\n".encode())
    assert (done.status, done.err) == (0, "")
    assert '"a" OK (10 bytes)' in done.out
    assert here(local) == {"a": OLD}


def test_a_local_file_that_is_no_beginning_is_8_and_stays(user: Client, local: Path) -> None:
    put_remote(user, user.folder("Stuff"), "a", OLD)
    (local / "a").write_bytes(b"mine")
    done = call("-c", "--get", "Stuff")
    assert (done.status, done.out) == (8, "")
    assert "is no beginning of this file" in done.err
    assert here(local) == {"a": b"mine"}
    done = call("-c", "--on-conflict", "rename", "--get", "Stuff")
    assert (done.status, here(local)) == (0, {"a": b"mine", "a (2)": OLD})
    (local / "a (2)").unlink()
    done = call("-c", "--on-conflict", "overwrite", "--get", "Stuff")
    assert (done.status, here(local)) == (0, {"a": OLD})


def test_without_c_a_shorter_local_file_is_in_the_way(user: Client, local: Path) -> None:
    put_remote(user, user.folder("Stuff"), "a", OLD)
    (local / "a").write_bytes(OLD[:4])
    assert call("--get", "Stuff").status == 8
    assert here(local) == {"a": OLD[:4]}


@pytest.mark.parametrize("how", ["--put", "put -c a", "reput a", "mput -c *"])
def test_what_the_folder_has_is_not_put_again(user: Client, local: Path, how: str) -> None:
    folder = user.folder("Stuff")
    put_remote(user, folder, "a", OLD)
    (local / "a").write_bytes(OLD)
    if how == "--put":
        done = call("-c", "--put", "Stuff", "a")
    else:
        done = call(stdin=f"cd Stuff\n{how}\n".encode())
    assert (done.status, done.err) == (0, "")
    assert len(user.results(f"folders/{folder['id']}/files")) == 1


def test_other_bytes_of_the_name_are_put_beside_it(user: Client, local: Path) -> None:
    folder = user.folder("Stuff")
    put_remote(user, folder, "a", OLD)
    (local / "a").write_bytes(NEW)
    assert call("-c", "--put", "Stuff", "a").status == 0
    assert len(user.results(f"folders/{folder['id']}/files")) == 2


def test_get_goes_on_with_its_own_part_unless_told_not_to(user: Client, local: Path) -> None:
    data = os.urandom(1 << 20)
    row = put_remote(user, user.folder("Stuff"), "a", data)
    label = f'{row["id"]} "{row["sha256"][:32]}"'.encode().hex()
    part = local / f".minus-{hashlib.sha256(b'a').hexdigest()[:16]}.{label}.part"
    part.write_bytes(data[:500_000])
    done = call("--get", "Stuff", "--debug")
    assert done.status == 0
    assert here(local) == {"a": data}
    (local / "a").unlink()
    part.write_bytes(data[:500_000])
    asked = call("--get", "Stuff", "--no-continue")
    assert (asked.status, here(local)) == (0, {"a": data})
