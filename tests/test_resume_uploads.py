"""Uploads that were cut off go on, are made once, and are never kept with other bytes."""

import contextlib
import io
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import minus
from minus import MinusConnection, MinusFolder, MinusIntegrityError, MinusTemporaryError
from tests.helpers import PASSWORD, sign_in
from tests.live import Service

pytest_plugins = ["tests.accounts"]
pytestmark = pytest.mark.usefixtures("slept", "bare")
SIZE = 12 << 20
CUT = 4 << 20  # less than that is on its way through buffers


class Cut(Exception):
    """The process ends here."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One MiB is a large file."""
    monkeypatch.setattr(minus, "RESUMABLE", 1 << 20)


@pytest.fixture
def folder(api: MinusConnection) -> Iterator[MinusFolder]:
    """A new folder; what is left unfinished goes with it."""
    made = api.activeuser().new_folder("Stuff")
    yield made
    made.delete()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "film"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each PATCH."""
    found: list[int] = []
    patch = minus._Upload._patch

    def counted(self: Any, offset: int, body: Any, headers: Any) -> Any:
        found.append(body.len if isinstance(body, minus._Body) else len(body))
        return patch(self, offset, body, headers)

    monkeypatch.setattr(minus._Upload, "_patch", counted)
    return found


def cut_at(size: int) -> Callable[[int, int | None], None]:
    def progress(done: int, _total: int | None) -> None:
        if done > size:
            raise Cut

    return progress


def begun(folder: MinusFolder, source: Path) -> None:
    """An upload that ends in the middle, as a killed process leaves it."""
    with pytest.raises(Cut):
        folder.upload(source, progress=cut_at(2 * CUT))


def losing_an_answer(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str, why: str = "broken", nth: int = 1
) -> list[str]:
    """Lose the nth answer to a request that the service has done. -> what was asked so"""
    attempt, asked = MinusConnection._attempt, []

    def losing(self: Any, how: str, link: str, headers: Any, data: Any) -> Any:
        response = attempt(self, how, link, headers, data)
        if how == method and path in link:
            asked.append(link)
            if len(asked) == nth:
                assert response.status_code < 300
                response.close()
                raise MinusTemporaryError("lost", None, how, link, why)
        return response

    monkeypatch.setattr(MinusConnection, "_attempt", losing)
    return asked


def only_file(folder: MinusFolder, source: Path) -> None:
    (file,) = folder.files()
    assert file.data() == source.read_bytes()


# --- the next run ---


def test_the_next_run_goes_on(folder: MinusFolder, source: Path, sent: list[int]) -> None:
    begun(folder, source)
    del sent[:]
    told: list[int] = []
    made = folder.upload(source, progress=lambda done, _: told.append(done))
    assert (made.filesize, told[-1]) == (SIZE, SIZE)
    assert 0 < sum(sent) < SIZE - CUT
    only_file(folder, source)
    assert list(Path(minus.state_folder(), "uploads").iterdir()) == []


def test_a_note_of_an_upload_is_its_owners_alone(folder: MinusFolder, source: Path) -> None:
    begun(folder, source)
    (note,) = Path(minus.state_folder(), "uploads").iterdir()
    assert (note.stat().st_mode & 0o777, note.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_file_that_was_changed_is_sent_anew(
    folder: MinusFolder, source: Path, sent: list[int]
) -> None:
    begun(folder, source)
    source.write_bytes(os.urandom(SIZE))
    del sent[:]
    folder.upload(source)
    assert sum(sent) == SIZE
    only_file(folder, source)


def test_a_file_that_was_changed_behind_its_date_is_sent_anew(
    folder: MinusFolder, source: Path
) -> None:
    begun(folder, source)
    facts = source.stat()
    source.write_bytes(os.urandom(SIZE))
    os.utime(source, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    folder.upload(source)
    only_file(folder, source)


def test_an_upload_that_the_service_has_forgotten_is_sent_anew(
    folder: MinusFolder, source: Path, sent: list[int]
) -> None:
    begun(folder, source)
    (note,) = Path(minus.state_folder(), "uploads").iterdir()
    note.write_text("../../uploads/nothing")
    del sent[:]
    folder.upload(source)
    assert sum(sent) == SIZE
    only_file(folder, source)


def test_it_starts_over_where_that_is_wanted(
    folder: MinusFolder, source: Path, sent: list[int]
) -> None:
    begun(folder, source)
    del sent[:]
    folder.upload(source, resume=False)
    assert sum(sent) == SIZE
    only_file(folder, source)


def test_two_that_put_the_same_file_at_once_make_two(folder: MinusFolder, source: Path) -> None:
    other: list[Any] = []

    def progress(done: int, _total: int | None) -> None:
        if done > CUT and not other:
            other.append(None)
            other.append(folder.upload(source))

    folder.upload(source, progress=progress)
    assert [file.data() == source.read_bytes() for file in folder.files()] == [True, True]


# --- faults on the way ---


def test_an_upload_outlives_the_service(
    own_service: Service, source: Path, sent: list[int]
) -> None:
    own_service.add_user("zoe", PASSWORD)
    with contextlib.closing(sign_in(own_service, "zoe")) as api:
        folder = api.activeuser().new_folder("Stuff")
        killed: list[int] = []

        def progress(done: int, _total: int | None) -> None:
            if done > 2 * CUT and not killed:
                killed.append(done)
                own_service.kill()
                own_service.start(own_service.port)

        folder.upload(source, progress=progress)
        only_file(folder, source)
    assert len(sent) > 2
    assert own_service.run("check").stdout.endswith("\n0 problems\n")


def test_a_lost_answer_to_the_last_piece_makes_no_twin(
    folder: MinusFolder, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = losing_an_answer(monkeypatch, "PATCH", "/uploads/")
    folder.upload(source)
    assert len(asked) == 2  # all but the end, of which the answer was lost; the end
    only_file(folder, source)


@pytest.mark.parametrize("last", [0, 1 << 30])
def test_a_lost_answer_to_an_upload_in_one_piece_makes_no_twin(
    folder: MinusFolder, source: Path, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minus, "LAST", last)
    asked = losing_an_answer(monkeypatch, "PATCH", "/uploads/")
    folder.upload(source)
    assert len(asked) == 2
    only_file(folder, source)


def test_a_lost_answer_to_a_beginning_leaves_one_upload(
    folder: MinusFolder, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = losing_an_answer(monkeypatch, "POST", "/uploads")
    folder.upload(source)
    assert len(asked) == 2
    only_file(folder, source)


@pytest.mark.parametrize("why", ["broken", "timeout"])
def test_a_lost_answer_to_a_small_file_makes_no_twin(
    folder: MinusFolder, tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small := tmp_path / "small").write_bytes(b"small")
    asked = losing_an_answer(monkeypatch, "PUT", "/files/small", why)
    folder.upload(small)
    assert len(asked) == 2
    only_file(folder, small)


def test_a_lost_answer_to_a_batch_makes_no_twins(
    folder: MinusFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = losing_an_answer(monkeypatch, "POST", "/batch")
    made = folder.new_batch([("a", b"one"), ("b", b"two")])
    assert len(asked) == 2
    assert [file.id for file in folder.files()] == [file.id for file in made]


def test_a_lost_answer_to_a_new_folder_makes_no_twin(
    api: MinusConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = losing_an_answer(monkeypatch, "POST", "/folders")
    made = api.activeuser().new_folder("Once only")
    assert len(asked) == 2
    assert [folder.id for folder in api.activeuser().glob("Once only")] == [made.id]


def test_a_service_without_keys_is_asked_once(
    api: MinusConnection, folder: MinusFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_known", {"raw": {}})
    asked = losing_an_answer(monkeypatch, "PUT", "/files/")
    with pytest.raises(MinusTemporaryError, match=r"^lost$"):
        folder.new("a", b"text")
    assert len(asked) == 1


# --- proof ---


@pytest.mark.parametrize("data", [b"small", bytes(SIZE)])
def test_the_service_keeps_nothing_that_does_not_match(
    folder: MinusFolder, tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = f"sha-256=:{'A' * 43}=:"
    monkeypatch.setattr(minus, "_repr_digest", lambda _: wrong)
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(MinusIntegrityError) as caught:
        folder.upload(tmp_path / "a")
    assert caught.value.status == 400
    assert len(folder.files()) == 0


def test_a_gallery_takes_large_files_too(service: Service, source: Path) -> None:
    with contextlib.closing(MinusConnection(url=service.url)) as api:
        gallery = api.new_gallery("Film")
        gallery.upload(source)
        (item,) = gallery.items()
        assert item.data() == source.read_bytes()


def test_a_long_stream_is_proven_too(folder: MinusFolder, source: Path) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as end, os.fdopen(reading, "rb") as stream:

        def write() -> None:
            with end:
                end.write(source.read_bytes())

        thread = threading.Thread(target=write)
        thread.start()
        folder.new("film", stream)
        thread.join()
    only_file(folder, source)


@pytest.mark.parametrize("nth", [1, 2])
def test_a_lost_answer_to_a_long_stream_makes_no_twin(
    folder: MinusFolder, source: Path, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = losing_an_answer(monkeypatch, "PATCH", "/uploads/", nth=nth)
    with subprocess.Popen(["/bin/cat", source], stdout=subprocess.PIPE) as cat:
        assert cat.stdout
        folder.new("film", cat.stdout)
    assert len(asked) == 1 + nth
    only_file(folder, source)


def test_what_will_not_go_on_gives_its_room_back(own_service: Service, source: Path) -> None:
    own_service.add_user("yves", PASSWORD, quota=SIZE * 3 // 2)
    with contextlib.closing(sign_in(own_service, "yves")) as api:
        folder = api.activeuser().new_folder("Stuff")
        begun(folder, source)
        folder.upload(source, resume=False).delete()
        begun(folder, source)
        source.write_bytes(os.urandom(SIZE))
        folder.upload(source).delete()
        with pytest.raises(Cut):
            folder.new("film", source.read_bytes(), progress=cut_at(CUT))
        folder.upload(source)
    done = own_service.run("check").stdout
    assert done.endswith("\n0 problems\n")
    assert "under way" not in done


def test_notes_are_made_in_folders_of_ones_own(folder: MinusFolder, source: Path) -> None:
    before = os.umask(0o002)
    try:
        begun(folder, source)
    finally:
        os.umask(before)
    state = minus.state_folder()
    assert [path.stat().st_mode & 0o777 for path in (state, state / "uploads")] == [0o700] * 2


def test_a_stream_that_fails_leaves_nothing(folder: MinusFolder) -> None:
    class Failing(io.RawIOBase):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > CUT:
                raise OSError("the tape is torn")
            self.at = self.tell() + (size or 0)
            return bytes(size or 0)

        def tell(self) -> int:
            return getattr(self, "at", 0)

    with pytest.raises(OSError, match=r"^the tape is torn$"):
        folder.new("a", Failing())  # type: ignore[arg-type]
    assert len(folder.files()) == 0


def test_the_trace_shows_no_address_that_lets_others_go_on(
    service: Service, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(MinusConnection(url=service.url, debug=True)) as api:
        gallery = api.new_gallery("Film")
        gallery.upload(source)
    shown = capsys.readouterr().err
    assert gallery.editor_id not in shown
    assert f"> POST {service.url}m***/uploads\n" in shown
    assert shown.count(f"> PATCH {service.url}uploads/***\n") == 2
    assert f"< location: {service.url}uploads/***\n" in shown
