"""Users, folders, files and messages: what each method does on the live service."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

import minus
from minus import (
    MinusAPIError,
    MinusConnection,
    MinusFile,
    MinusFolder,
    MinusIntegrityError,
    MinusMessage,
    MinusNotFound,
    MinusQuotaError,
    MinusTemporaryError,
    MinusUser,
)
from tests.helpers import API, FAR, PASSWORD, Far, sign_in
from tests.live import Service

pytest_plugins = ["tests.accounts"]

BYTES = bytes(range(256)) + b"\r\n--boundary--\r\n"
NOON = datetime(2012, 1, 8, 12, 0, 0, tzinfo=timezone.utc)


@pytest.fixture
def user(api: MinusConnection) -> MinusUser:
    return api.activeuser()


@pytest.fixture
def shown(user: MinusUser) -> Iterator[MinusFolder]:
    """A public folder with one file, gone after the test."""
    folder = user.new_folder("Shown", public=True)
    folder.new("a.txt", b"a")
    yield folder
    folder.delete()


def names(things: Any) -> list[str]:
    return [thing.name for thing in things]


# --- users ---


def test_one_sees_ones_own_profile_and_quota(api: MinusConnection, user: MinusUser) -> None:
    assert (user.username, user.slug, repr(user)) == (
        "LibAlice",
        "libalice",
        "<MinusUser libalice>",
    )
    assert user.storage_quota == 1 << 40
    assert user.url == f"{api.url}api/v2/users/libalice"
    assert vars(user)["_folders"] == f"{user.url}/folders"


def test_nobody_sees_anothers_private_fields(bob: MinusConnection, user: MinusUser) -> None:
    seen = bob.user("LIBALICE")
    assert (seen.username, seen.url) == (user.username, user.url)
    assert (seen.email, seen.storage_used, seen.storage_quota) == ("", 0, 0)
    assert seen._storage_quota is None


def test_a_profile_changes_in_what_is_given(api: MinusConnection, user: MinusUser) -> None:
    assert user.change(display_name="Älice", email="a@minus.test") is user
    user.change(description="two\nlines")
    for seen in (user, api.activeuser()):
        assert (seen.display_name, seen.description, seen.email) == (
            "Älice",
            "two\nlines",
            "a@minus.test",
        )
    user.change(display_name="", description="", email="")
    assert (user.display_name, user.email) == ("", "")


def test_a_refused_change_changes_nothing(user: MinusUser, folder: MinusFolder) -> None:
    with pytest.raises(MinusAPIError) as caught:
        user.change(email="nobody")
    assert (caught.value.status, str(caught.value), user.email) == (
        400,
        "This email is invalid. (400)",
        "",
    )
    with pytest.raises(MinusAPIError):
        folder.rename(" ")
    assert folder.name == "Stuff"


@pytest.mark.parametrize("as_object", [True, False])
def test_following_shows_on_both_sides(
    user: MinusUser, bob: MinusConnection, as_object: bool
) -> None:
    other = bob.activeuser()
    whom = other if as_object else "LibBob"
    followed = user.follow(whom)
    assert (followed.slug, followed.karma) == ("libbob", 1)
    assert [u.slug for u in user.following()] == ["libbob"]
    assert [u.slug for u in other.followers()] == ["libalice"]
    assert [u.slug for u in other.following()] == []
    user.unfollow(whom)
    assert len(user.following()) == len(other.followers()) == 0
    with pytest.raises(MinusNotFound):
        user.unfollow(whom)


def test_messages_make_a_thread(user: MinusUser, bob: MinusConnection) -> None:
    other = bob.activeuser()
    first = user.send_message(other, "one\n<b>☃")
    other.send_message("LibAlice", "two")
    assert isinstance(first, MinusMessage)
    assert (first.body, first.read) == ("one\n<b>☃", False)
    assert (first.sender, first.target) == (user.url, other.url)
    assert first.created is not None and first.created.tzinfo is timezone.utc
    assert sorted(m.body for m in user.messages()) == ["one\n<b>☃", "two"]
    assert [m.read for m in user.messages("libbob") if m.body == "two"] == [False]
    assert [m.read for m in user.messages(other) if m.body == "two"] == [True]
    assert [m.read for m in other.messages(user) if m.body == "two"] == [True]


# --- folders ---


@pytest.mark.parametrize("public", [True, False])
def test_a_new_folder_is_private_unless_said(
    api: MinusConnection, bob: MinusConnection, user: MinusUser, public: bool
) -> None:
    folder = user.new_folder("Über %41 'Stuff'", public)
    same = api.folder(folder.id)
    assert (folder.name, folder.is_public, folder.file_count) == ("Über %41 'Stuff'", public, 0)
    assert (same.name, same.is_public, same.created) == (folder.name, public, folder.created)
    assert repr(folder) == f"<MinusFolder {folder.id} \"Über %41 'Stuff'\">"
    assert (folder.creator, folder.link) == (user.url, f"{api.url}m{folder.id}")
    assert (folder.id in [f.id for f in bob.user("libalice").folders()]) is public
    folder.delete()
    with pytest.raises(MinusNotFound):
        api.folder(folder.id)


def test_find_and_glob_look_at_names(api: MinusConnection, user: MinusUser) -> None:
    made = [user.new_folder(name) for name in ("Find me", "Find me", "find ME", "[x]")]
    first = user.find("Find me")
    assert first is not None and first.id == made[0].id
    assert user.find("Find") is None
    assert names(user.glob("Find*")) == ["Find me", "Find me"]
    assert names(user.glob("[[]x]")) == ["[x]"]
    again = api.find("find ME")
    assert again is not None and again.id == made[2].id


def test_a_folder_is_renamed_and_published(
    api: MinusConnection, bob: MinusConnection, folder: MinusFolder
) -> None:
    with pytest.raises(MinusNotFound):
        bob.folder(folder.id)
    assert folder.rename("Néw 'name' %20").publish() is folder
    assert (folder.name, folder.is_public) == ("Néw 'name' %20", True)
    assert bob.folder(folder.id).name == "Néw 'name' %20"
    assert api.folder(folder.id).publish(public=False).is_public is False
    with pytest.raises(MinusNotFound):
        bob.folder(folder.id)


def test_files_come_in_the_order_that_was_set(api: MinusConnection, folder: MinusFolder) -> None:
    a, b, c = (folder.new(name, name) for name in "abc")
    assert names(folder.files()) == ["a", "b", "c"]
    assert folder.reorder([c, a.id]) is folder
    assert folder.item_ordering == [c.id, a.id, b.id]
    assert names(api.folder(folder.id).files()) == ["c", "a", "b"]


def test_files_are_found_by_name(folder: MinusFolder) -> None:
    made = [folder.new(name, b"") for name in ("a.txt", "a.txt", "A.TXT", "b.jpg")]
    first = folder.find("a.txt")
    assert first is not None and first.id == made[0].id
    assert folder.find("a") is None
    assert names(folder.glob("*.txt")) == ["a.txt", "a.txt"]
    assert folder.glob("*.gif") == []


def test_stars_feeds_and_history_show_the_folder(bob: MinusConnection, shown: MinusFolder) -> None:
    other = bob.activeuser()
    seen = bob.folder(shown.id)
    seen.star()
    other.follow("libalice")
    for feed in (other.favorites(), other.history(), other.feed()):
        found = [f for f in feed if f.id == shown.id]
        assert [(f.file_count, f.is_public, vars(f)["_star_count"]) for f in found] == [
            (1, True, 1)
        ]
        assert found[0].updated == shown.created
    seen.unstar()
    other.unfollow("libalice")
    assert len(other.favorites()) == len(other.feed()) == 0
    assert shown.id not in [f.id for f in other.mine()]


def test_ones_own_folders_have_the_fields_of_feeds(user: MinusUser, shown: MinusFolder) -> None:
    mine = [f for f in user.mine() if f.id == shown.id]
    assert [(f.name, f.file_count, f.updated) for f in mine] == [("Shown", 1, shown.created)]
    assert len(user.mine()) == len(user.folders())


# --- files go in ---


class Told(io.RawIOBase):
    """A stream of unknown length, in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__()
        self._pieces = list(pieces)

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None and size > 0, "nobody may ask for all of it"
        return self._pieces.pop(0) if self._pieces else b""


def from_path(tmp_path: Path) -> Path:
    (tmp_path / "source").write_bytes(BYTES)
    return tmp_path / "source"


SOURCES: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda _: BYTES,
    "path": from_path,
    "file": lambda tmp_path: from_path(tmp_path).open("rb"),
    "memory": lambda _: io.BytesIO(BYTES),
    "unknown length": lambda _: Told(BYTES[:7], BYTES[7:]),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_file_is_made_of_bytes_a_path_or_a_stream(
    api: MinusConnection, folder: MinusFolder, tmp_path: Path, kind: str
) -> None:
    source = SOURCES[kind](tmp_path)
    made = folder.new("a.bin", source, "a caption", "application/x-test")
    assert (made.name, made.caption, made.mimetype) == ("a.bin", "a caption", "application/x-test")
    assert (made.filesize, vars(made)["sha256"]) == (len(BYTES), hashlib.sha256(BYTES).hexdigest())
    assert api.file(made.id).data() == BYTES
    if isinstance(source, io.BufferedReader):
        assert source.tell() == len(BYTES)
        source.close()


def test_text_is_kept_as_utf_8(folder: MinusFolder) -> None:
    assert folder.new("a.txt", "grüße\r\n").data() == b"gr\xc3\xbc\xc3\x9fe\r\n"


def test_a_stream_is_taken_from_where_it_stands(folder: MinusFolder) -> None:
    source = io.BytesIO(b"before|after")
    source.seek(7)
    assert folder.new("a.txt", source).data() == b"after"


def test_a_pipe_is_read_to_its_end(folder: MinusFolder) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"piped")
    os.close(writing)
    told: list[tuple[int, int | None]] = []
    with os.fdopen(reading, "rb") as source:
        made = folder.new("a.txt", source, progress=lambda *at: told.append(at))
    assert (made.data(), told) == (b"piped", [(0, None), (5, 5)])


def test_a_file_of_the_service_is_copied_through(folder: MinusFolder) -> None:
    with folder.new("a.bin", BYTES).file() as stream:
        assert folder.new("b.bin", stream).data() == BYTES  # type: ignore[arg-type]


def test_upload_takes_a_local_files_name(folder: MinusFolder, tmp_path: Path) -> None:
    local = from_path(tmp_path)
    assert folder.upload(str(local)).name == "source"
    other = folder.upload(local, "other.txt", caption="c")
    assert (other.name, other.caption, other.data()) == ("other.txt", "c", BYTES)
    with pytest.raises(FileNotFoundError):
        folder.upload(tmp_path / "absent")


def test_progress_counts_the_bytes_of_the_file_both_ways(
    folder: MinusFolder, tmp_path: Path
) -> None:
    size = (4 << 20) + 5
    told: list[tuple[int, int | None]] = []
    made = folder.new("a.bin", bytes(size), progress=lambda *at: told.append(at))
    assert told == [(n << 18, size) for n in range(1, 17)] + [(size, size)]
    told.clear()
    made.save(tmp_path / "a.bin", lambda *at: told.append(at))
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_an_empty_file_is_a_file(folder: MinusFolder, tmp_path: Path) -> None:
    made = folder.new("empty", b"")
    assert (made.filesize, made.data()) == (0, b"")
    assert made.save(tmp_path / "empty").read_bytes() == b""


def test_a_file_that_shrinks_while_it_is_sent_is_not_kept(folder: MinusFolder) -> None:
    class Shrinking(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            return super().readinto(buffer[:3]) if self.tell() == 0 else 0

    with pytest.raises(OSError, match=r"^the file became shorter "):
        folder.new("a.txt", Shrinking(bytes(minus.RESUMABLE + 1)))
    assert len(folder.files()) == 0


NAMES = [
    "plain.txt",
    "two words & more=; + #?.txt",
    "\"double\" and 'single'.txt",
    'back\\slash \\"',
    "naïve ☃ 日本.txt",
    "100%.txt",
    "a%20b.txt",
    "%41",
    "%2541",
    "%E9",
    "x%2Fy",
    "é%20b",
    "%22",
    "...",
    "-rf",
    "|cat",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_arrives_as_it_is(api: MinusConnection, folder: MinusFolder, name: str) -> None:
    made = folder.new(name, b"x")
    assert (made.name, vars(made)["_name"]) == (name, name)
    assert made.rename("other").rename(name).name == name
    assert names(folder.files()) == [name]
    assert api.file(made.id).data() == b"x"


def test_a_name_that_is_no_unicode_is_a_value_error(folder: MinusFolder) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    made = folder.new("a.txt", b"")
    attempts: list[Callable[[], object]] = [
        lambda: folder.new(name, b""),
        lambda: made.rename(name),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match=r"^the name 'caf\\udce9.txt' is no Unicode text$"):
            attempt()
    assert names(folder.files()) == ["a.txt"]


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\x00b", ".", "..", "x" * 256])
def test_a_name_that_the_service_refuses_makes_no_file(folder: MinusFolder, name: str) -> None:
    with pytest.raises(MinusAPIError) as caught:
        folder.new(name, b"x")
    assert caught.value.status == 400
    assert len(folder.files()) == 0


@pytest.mark.parametrize(
    ("source", "framing"),
    [
        (b"known", ("LENGTH", None)),
        (Told(b"kno", b"wn"), ("LENGTH", None)),
        (Told(b"longer", b" than that"), (None, "chunked")),
    ],
)
def test_a_name_cannot_break_the_form_which_tells_its_length_if_it_can(
    far: Far,
    source: Any,
    framing: tuple[str | None, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(minus, "RESUMABLE", 8)
    far.wire.post(f"{API}/folders/F/files", json={"id": "X"})
    MinusFolder(far, "", {"id": "F"}).new('a"\r\nX: y.txt', source)
    request = far.wire.calls[0].request
    body, headers = b"".join(map(bytes, request.body or ())), request.headers  # type: ignore[arg-type]
    assert b'name="file"; filename="a%22%0D%0AX: y.txt"\r\n' in body
    told = headers.get("Content-Length")
    assert (
        "LENGTH" if told == str(len(body)) else told,
        headers.get("Transfer-Encoding"),
    ) == framing


@pytest.mark.parametrize("row", [{}, {"id": "X", "filesize": 1}, {"id": "X"}])
def test_an_answer_that_tells_of_other_bytes_than_were_sent_is_an_error(
    far: Far, row: dict[str, Any]
) -> None:
    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        assert b"text" in b"".join(map(bytes, request.body))
        return 200, {}, json.dumps(row)

    far.wire.add_callback("POST", f"{API}/folders/F/files", answer)
    with pytest.raises(MinusIntegrityError, match="of 4 that were sent"):
        MinusFolder(far, "", {"id": "F"}).new("a.txt", "text")


def test_a_mimetype_cannot_smuggle_a_header(folder: MinusFolder) -> None:
    assert folder.new("a.txt", b"", mimetype="a/b\r\nX: y").mimetype == "text/plain"


def test_an_account_without_room_is_a_quota_error(bob: MinusConnection) -> None:
    folder = bob.activeuser().new_folder("Full")
    full = folder.new("full", bytes(1000))
    with pytest.raises(MinusQuotaError) as caught:
        folder.new("more", b"x")
    assert (caught.value.status, caught.value.error) == (413, "quota_exceeded")
    assert (names(folder.files()), bob.activeuser().storage_used) == (["full"], 1000)
    full.delete()
    assert bob.activeuser().storage_used == 0
    folder.delete()


# --- files change ---


def test_the_texts_of_a_file_change_one_by_one(api: MinusConnection, folder: MinusFolder) -> None:
    made = folder.new("a.txt", b"x", "a\r\ncaption ☃")
    assert (made.caption, made.title) == ("a\r\ncaption ☃", "")
    assert made.change(title="Title") is made
    made.change(caption="")
    for seen in (made, api.file(made.id)):
        assert (seen.name, seen.title, seen.caption) == ("a.txt", "Title", "")
    assert repr(made) == f"<MinusFile {made.id} 'a.txt'>"
    assert made.link == f"{api.url}l{made.id}"


def test_a_deleted_file_is_gone(api: MinusConnection, folder: MinusFolder) -> None:
    made = folder.new("a.txt", b"x")
    made.delete()
    for attempt in (made.delete, made.data, lambda: api.file(made.id)):
        with pytest.raises(MinusNotFound):
            attempt()
    assert (len(folder.files()), api.folder(folder.id).file_count) == (0, 0)


# --- files come out ---


def test_a_stream_reads_in_pieces_and_closes_itself(folder: MinusFolder) -> None:
    with folder.new("a.bin", BYTES).file() as stream:
        assert (stream.length, stream.readable()) == (len(BYTES), True)
        assert (stream.read(0), stream.read(3)) == (b"", b"\x00\x01\x02")
        buffer = bytearray(2)
        assert (stream.readinto(buffer), bytes(buffer)) == (2, b"\x03\x04")
        assert (stream.read(), stream.read(), stream.read(1)) == (BYTES[5:], b"", b"")
    assert stream.closed


def test_a_stream_goes_into_copyfileobj_and_into_a_buffer(folder: MinusFolder) -> None:
    made = folder.new("a.txt", b"one\ntwo\n")
    with made.file() as stream:
        out = io.BytesIO()
        shutil.copyfileobj(stream, out)
    with io.BufferedReader(made.file()) as buffered:
        assert (out.getvalue(), list(buffered)) == (b"one\ntwo\n", [b"one\n", b"two\n"])


def test_a_closed_stream_is_read_no_more(folder: MinusFolder) -> None:
    with folder.new("a.bin", BYTES).file() as stream:
        stream.read(1)
    with pytest.raises(ValueError, match="closed"):
        stream.read(1)


def test_save_replaces_a_file_or_refuses_to(folder: MinusFolder, tmp_path: Path) -> None:
    made, target = folder.new("a.bin", BYTES), tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        made.save(target, replace=False)
    assert target.read_bytes() == b"old"
    assert made.save(str(target)) == target
    assert (target.read_bytes(), list(tmp_path.iterdir())) == (BYTES, [target])


def test_bytes_of_another_digest_are_not_saved(folder: MinusFolder, tmp_path: Path) -> None:
    made, target = folder.new("a.bin", BYTES), tmp_path / "a.bin"
    target.write_bytes(b"old")
    vars(made)["sha256"] = "0" * 64
    with pytest.raises(MinusIntegrityError, match=r"^the SHA-256 differs$") as caught:
        made.save(target)
    assert caught.value.path == f"/i{made.id}.bin"
    assert (target.read_bytes(), list(tmp_path.iterdir())) == (b"old", [target])


@pytest.mark.parametrize(
    ("body", "declared", "kind", "why"),
    [
        (b"four", None, MinusIntegrityError, "^4 bytes came instead of 5$"),
        (b"longer", None, MinusIntegrityError, "^6 bytes came instead of 5$"),
        (b"four", "4", MinusIntegrityError, "^4 bytes came instead of 5$"),
        (b"longer", "6", MinusIntegrityError, "^6 bytes came instead of 5$"),
        (b"four", "5", MinusTemporaryError, "^the file broke off: "),
    ],
)
def test_bytes_of_another_length_are_not_saved(
    far: Far, tmp_path: Path, body: bytes, declared: str | None, kind: type[MinusAPIError], why: str
) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")
    row = {"id": "F", "filesize": 5, "url_rawfile": f"{FAR}/iF.txt"}
    headers = {"Content-Length": declared} if declared else {}
    far.wire.get(f"{FAR}/iF.txt", body=body, headers=headers, auto_calculate_content_length=False)
    with pytest.raises(kind, match=why) as caught:
        MinusFile(far, f"{API}/files/F", row).save(target)
    assert (type(caught.value), caught.value.path) == (kind, "/iF.txt")
    assert (target.read_bytes(), list(tmp_path.iterdir())) == (b"old", [target])


def test_raw_bytes_are_asked_for_as_they_are_and_elsewhere_without_the_token(far: Far) -> None:
    row = {"id": "F", "filesize": 4, "url_rawfile": "https://i.minus.test/iF"}
    far.wire.get("https://i.minus.test/iF", body=b"data")
    assert MinusFile(far, f"{API}/files/F", row).data() == b"data"
    headers = far.wire.calls[0].request.headers
    assert (headers["Accept-Encoding"], "Authorization" in headers) == ("identity", False)


def test_a_service_that_goes_away_leaves_nothing_half_saved(
    own_service: Service, tmp_path: Path
) -> None:
    own_service.add_user("erin", PASSWORD)
    api = sign_in(own_service, "erin")
    made = api.activeuser().new_folder("Stuff").new("a.bin", bytes(32 << 20))
    (tmp_path / "target").mkdir()
    with pytest.raises(MinusTemporaryError) as caught:
        made.save(tmp_path / "target" / "a.bin", lambda *_: own_service.kill())
    assert str(caught.value).startswith("the file broke off: ")
    assert not (tmp_path / "target" / "a.bin").exists()
    api.close()


# --- the wire's values and ours ---

FOLDER_ROW: dict[str, Any] = {
    "files": f"{API}/folders/ID/files",
    "view_count": 3,
    "date_last_updated": "2012-01-08 12:00:00",
    "last_updated": "2012-01-08 12:00:00",
    "name": "Stuff",
    "creator": f"{API}/users/user",
    "url": f"{API}/folders/ID",
    "created": "2012-01-08 12:00:00",
    "item_ordering": ["A", "B"],
    "last_updated_ago": 5,
    "created_ago": 10,
    "thumbnail_url": "",
    "file_count": 2,
    "is_public": True,
    "id": "ID",
}


def test_each_field_is_there_as_it_came_and_converted(far: Far) -> None:
    folder = MinusFolder(far, FOLDER_ROW["url"], FOLDER_ROW | {"unknown": {"to": "us"}})
    seen = vars(folder)
    assert {name: seen[f"_{name}"] for name in FOLDER_ROW} == FOLDER_ROW
    converted = FOLDER_ROW | dict.fromkeys(("date_last_updated", "last_updated", "created"), NOON)
    del converted["files"]  # here the method has the name
    assert {name: seen[name] for name in converted} == converted
    assert folder.updated == NOON


@pytest.mark.parametrize(
    ("value", "public"),
    [
        *((value, True) for value in (True, 1, "true", "True", "1")),
        *((value, False) for value in (False, 0, "false", "0", None, "")),
    ],
)
def test_a_flag_comes_in_many_spellings(far: Far, value: object, public: bool) -> None:
    folder = MinusFolder(far, "", FOLDER_ROW | {"is_public": value})
    assert folder.is_public is public
    assert vars(folder)["_is_public"] is value


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2012-01-08 12:00:00", NOON),
        ("2012-01-08T12:00:00Z", NOON),
        ("2012-01-08T14:00:00+02:00", NOON),
        ("2012-01-08T12:00:00.000000", NOON),
        ("yesterday", None),
        ("", None),
        (None, None),
        (5, None),
        ("0001-01-01T00:00:00+02:00", None),
        ("9999-12-31T23:00:00-02:00", None),
    ],
)
def test_a_date_is_aware_or_none(far: Far, text: object, moment: datetime | None) -> None:
    file = MinusFile(far, "", {"uploaded": text})
    assert (file.uploaded, vars(file)["_uploaded"]) == (moment, text)


@pytest.mark.parametrize(
    ("value", "size"), [(5, 5), ("5", 5), (5.0, 5), (None, 0), ("?", 0), ([], 0), (float("inf"), 0)]
)
def test_a_number_is_an_int(far: Far, value: object, size: int) -> None:
    assert MinusFile(far, "", {"filesize": value}).filesize == size


@pytest.mark.parametrize(
    "url", [f"{API}/files/ID", f"{API}/files/ID/", "/api/v2/files/ID", "files/ID"]
)
@pytest.mark.parametrize("row", [{}, {"id": None}, {"id": ""}])
def test_an_absent_id_is_the_end_of_the_url(far: Far, row: dict[str, Any], url: str) -> None:
    for file in (MinusFile(far, url, row), MinusFile(far, "", row | {"url": url})):
        assert (file.id, file.url) == ("ID", url)


@pytest.mark.parametrize("kind", [MinusUser, MinusFolder, MinusFile, MinusMessage])
def test_an_object_of_nulls_is_readable(far: Far, kind: Callable[..., Any]) -> None:
    empty = kind(far, "", {})
    nulls = kind(far, "", {name[1:]: None for name in vars(empty) if name.startswith("_")})
    assert {k: v for k, v in vars(nulls).items() if v} == {"_api": far}
    assert repr(nulls)


def test_an_object_is_fetched_from_its_url(far: Far) -> None:
    far.wire.get(FOLDER_ROW["url"], json=FOLDER_ROW)
    assert MinusFolder(far, FOLDER_ROW["url"]).name == "Stuff"
    assert len(far.wire.calls) == 1


def test_an_answer_that_leaves_fields_out_changes_only_the_others(far: Far) -> None:
    folder = MinusFolder(far, FOLDER_ROW["url"], FOLDER_ROW)
    far.wire.put(FOLDER_ROW["url"], json={"name": "New"})
    folder.rename("New")
    assert (folder.name, folder.item_ordering, folder.file_count) == ("New", ["A", "B"], 2)


def test_ids_of_the_service_are_quoted(far: Far) -> None:
    folder = MinusFolder(far, "", {"id": "../users/x?"})
    far.wire.delete(f"{API}/folders/..%2Fusers%2Fx%3F", status=204)
    folder.delete()
    assert folder.link == f"{FAR}/m..%2Fusers%2Fx%3F"
