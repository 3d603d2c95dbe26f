"""The rules for folders and files, in process: what is kept, refused, hidden, counted, drawn."""

import hashlib
import io
import os
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import delete, update

from minus_server import picture_worker, pictures
from minus_server.accounts import Caller
from minus_server.blobs import MAX_SMALL, FolderWriter
from minus_server.catalog import File, Folder, Listing, Part, Rows
from minus_server.check import check
from minus_server.errors import Forbidden, NotFound, NotSignedIn, QuotaExceeded
from minus_server.library import Library, Small
from minus_server.schema import small
from minus_server.service import Service, open_service
from tests.rawhttp import png
from tests.stores import places, stored

NOW = 1_000_000
LARGE = b"x" * (MAX_SMALL + 1)
SCOPES = "read_public read_all upload_new modify_all modify_user"


class Person:
    """Someone with a token, in front of the rules."""

    def __init__(
        self, service: Service, name: str, scope: str = SCOPES, quota: int = 10**6
    ) -> None:
        self.service, self.library, self.name = service, service.library, name
        grant = service.accounts.sign_in_owner(*service.accounts.owner_client(name), scope)
        self.token, self.n = grant.access_token, service.accounts.user(name).n
        with service.catalog.write() as rows:
            rows.change_user(self.n, {"quota": quota})

    @property
    def caller(self) -> Caller:
        """As the next request would see this person."""
        return self.service.accounts.caller(self.token)

    def folder(self, name: str = "Stuff", *, is_public: bool = True) -> Folder:
        return self.library.add_folder(self.caller, name, is_public=is_public)

    def put(self, folder: Folder, data: bytes = b"text", name: str = "a.txt") -> File:
        incoming = self.library.begin_file(self.caller, folder.id, len(data))
        incoming.write([data[:3], data[3:]])
        return self.library.add_file(
            self.caller, folder.id, incoming, name=name, caption="", declared_type=""
        )

    def counters(self) -> tuple[int, int, int]:
        """Bytes used, public folders, visits."""
        user = self.caller.user
        return user.used, user.shared, user.visits


@contextmanager
def checked_service(data: Path) -> Iterator[Service]:
    """A service whose rows, bytes and counters agree when the test is over."""
    opened = open_service(places(data), clock=lambda: float(NOW))
    yield opened
    report = check(opened)
    opened.close()
    assert report.problems == []


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with checked_service(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def alice(service: Service) -> Person:
    return Person(service, "alice")


@pytest.fixture
def bob(service: Service) -> Person:
    return Person(service, "bob")


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let another request act once, right after the next one has looked at its folder."""
    look = Library.folder

    def looked(library: Library, caller: Caller, folder_id: str) -> Folder:
        monkeypatch.setattr(Library, "folder", look)
        found = look(library, caller, folder_id)
        act()
        return found

    monkeypatch.setattr(Library, "folder", looked)


# --- uploads ---


def test_a_file_is_kept_with_all_that_is_known_of_it(alice: Person) -> None:
    folder = alice.folder()
    file = alice.put(folder, b"text")
    said = (file.name, file.size, file.mimetype, file.uploaded, file.folder_id, file.width)
    assert said == ("a.txt", 4, "text/plain", NOW, folder.id, 0)
    assert file.sha256 == hashlib.sha256(b"text").hexdigest()
    with alice.service.blobs.open(file.blob) as stream:
        assert stream.read() == b"text"
    assert alice.library.folder(alice.caller, folder.id).file_count == 1
    assert alice.counters() == (4, 1, 0)


@pytest.mark.folder
def test_the_bytes_are_kept_before_the_row(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def note(owner: type, step: str) -> None:
        do = getattr(owner, step)

        def noted(*args: Any, **named: Any) -> Any:
            done.append(step)
            return do(*args, **named)

        monkeypatch.setattr(owner, step, noted)

    note(FolderWriter, "commit")
    note(Rows, "take_room")
    note(Rows, "add_files")
    alice.put(alice.folder(), LARGE)
    assert done == ["commit", "take_room", "add_files"]
    done.clear()
    alice.put(alice.folder(), LARGE[1:])
    assert done == ["take_room", "add_files"]


@pytest.mark.parametrize("data", [b"text", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("step", ["take_room", "add_files", "count_files"])
def test_a_transaction_that_fails_leaves_neither_bytes_nor_row(
    alice: Person, monkeypatch: pytest.MonkeyPatch, step: str, data: bytes
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    folder = alice.folder()
    monkeypatch.setattr(Rows, step, fail)
    with pytest.raises(ZeroDivisionError):
        alice.put(folder, data)
    monkeypatch.undo()
    assert stored(alice.service) == []
    assert alice.library.files(folder, 0, 10) == []
    assert alice.counters() == (0, 1, 0)


def test_a_folder_that_is_deleted_during_an_upload_takes_nothing(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, blobs = alice.folder(), alice.service.blobs
    incoming = alice.library.begin_file(alice.caller, folder.id)
    incoming.write([b"text"])
    delete = partial(alice.library.delete_folder, alice.caller, folder.id)
    keep = partial(
        alice.library.add_file, alice.caller, folder.id, incoming,
        name="a.txt", caption="", declared_type="",
    )  # fmt: skip
    meanwhile(monkeypatch, delete)
    with pytest.raises(NotFound, match=r"The folder was deleted meanwhile\."):
        keep()
    with pytest.raises(NotFound, match=r"There is no such folder\."):
        keep()
    assert (stored(alice.service), blobs.incoming(), alice.counters()) == ([], [], (0, 0, 0))


def test_an_upload_is_refused_early_when_it_announces_too_much(service: Service) -> None:
    alice = Person(service, "alice", quota=10)
    folder = alice.folder()
    form = 64 * 1024  # what the form around the file may add
    alice.library.begin_file(alice.caller, folder.id, form + 10).abort()
    with pytest.raises(QuotaExceeded, match=r"There is no room left for this file\."):
        alice.library.begin_file(alice.caller, folder.id, form + 11)
    assert service.blobs.incoming() == []


def test_an_upload_is_refused_at_the_first_byte_too_many(service: Service) -> None:
    alice = Person(service, "alice", quota=10)
    folder = alice.folder()
    alice.put(folder, b"1234")
    incoming = alice.library.begin_file(alice.caller, folder.id)
    incoming.write([b"123", b"456"])
    with pytest.raises(QuotaExceeded):
        incoming.write([b"7"])
    incoming.abort()
    assert alice.put(folder, b"123456").size == 6
    assert alice.put(folder, b"").size == 0
    assert alice.counters()[0] == 10


def test_an_upload_is_refused_at_last_when_another_took_the_room(service: Service) -> None:
    alice = Person(service, "alice", quota=10)
    folder = alice.folder()
    incoming = alice.library.begin_file(alice.caller, folder.id)
    incoming.write([b"123456"])
    first = alice.put(folder, b"12345")
    with pytest.raises(QuotaExceeded):
        alice.library.add_file(
            alice.caller, folder.id, incoming, name="b", caption="", declared_type=""
        )
    assert stored(service) == [first.blob]
    assert alice.counters()[0] == 5


def test_an_upload_whose_token_is_not_known_yet_ends_at_1_mib(
    service: Service, alice: Person
) -> None:
    with pytest.raises(NotSignedIn, match=r"This needs an access token"):
        service.library.begin_unsigned_file("nofoldernofo")
    incoming = service.library.begin_unsigned_file(alice.folder().id)
    incoming.write([b"x" * (1 << 20)])
    with pytest.raises(NotSignedIn, match=r"The access token must stand before a file"):
        incoming.write([b"x"])
    incoming.abort()


def test_deleting_gives_back_the_room_and_removes_the_bytes(alice: Person) -> None:
    folder, other = alice.folder(), alice.folder(is_public=False)
    files = [alice.put(folder, b"1234"), alice.put(folder, b"12"), alice.put(other, b"1")]
    alice.library.delete_file(alice.caller, files[0].id)
    assert alice.counters() == (3, 1, 0)
    alice.library.delete_folder(alice.caller, folder.id)
    assert alice.counters() == (1, 0, 0)
    assert stored(alice.service) == [files[2].blob]
    with pytest.raises(NotFound):
        alice.library.linked_file(files[1].id)


def test_small_files_are_kept_together_or_not_at_all(service: Service) -> None:
    alice = Person(service, "alice", quota=10)
    folder = alice.folder()
    sent = [Small(f"{n}.txt", f"caption {n}", "", b"%d" % n, f"{n}") for n in range(3)]
    told = alice.library.keep_small(folder, sent, ("id", "name", "folder_id"))
    kept = alice.library.files(alice.library.folder(alice.caller, folder.id), 0, 9)
    assert told == [(file.id, file.name, folder.id) for file in kept]
    assert [(file.name, file.caption, file.size) for file in kept] == [
        (small.name, small.caption, 1) for small in sent
    ]
    with pytest.raises(QuotaExceeded, match=r"no room left for these files\."):
        alice.library.keep_small(folder, sent * 3, ("id",))
    assert (alice.counters(), len(stored(service))) == ((3, 1, 0), 3)
    for file in kept:
        with service.catalog.write() as rows:
            digest = hashlib.sha256(service.blobs.open(file.blob).read()).hexdigest()
            rows.change_file(file.n, {"sha256": digest})
    alice.library.delete_folder(alice.caller, folder.id)
    with pytest.raises(NotFound, match=r"The folder was deleted meanwhile\."):
        alice.library.keep_small(folder, sent, ("id",))
    assert (alice.counters(), stored(service)) == ((0, 0, 0), [])


def test_check_reads_small_files_and_names_what_is_wrong(tmp_path: Path) -> None:
    service = open_service(places(tmp_path))
    alice = Person(service, "alice")
    folder = alice.folder()
    files = [alice.put(folder, data) for data in (b"one", b"two", b"three", b"four", LARGE)]
    with service.catalog.write() as rows:
        for at, data in ((0, b"0ne"), (1, b"tw")):
            change = update(small).where(small.c.n == files[at].n).values(data=data)
            rows._db.execute(change)
        rows._db.execute(delete(small).where(small.c.n == files[2].n))
    report = check(service)
    where = f"in folder {folder.id}"
    assert report.problems == [
        f"file {files[0].id} {where}: its bytes do not match its SHA-256",
        f"file {files[1].id} {where}: it has 2 bytes and should have 3",
        f"file {files[2].id} {where}: its bytes are missing",
    ]
    assert (report.files, report.strays) == (5, 0)
    service.close()


# --- who sees and changes what ---


def test_a_private_folder_is_as_good_as_absent_for_a_stranger(alice: Person, bob: Person) -> None:
    folder = alice.folder("Secret", is_public=False)
    file, library, caller = alice.put(folder), bob.library, bob.caller
    tries: list[partial[Any]]
    for folder_id in (folder.id, "x" * 12):
        tries = [
            partial(library.folder, caller, folder_id),
            partial(library.visit, caller, folder_id),
            partial(library.change_folder, caller, folder_id, {"name": "Mine"}),
            partial(library.delete_folder, caller, folder_id),
            partial(library.star, caller, folder_id),
            partial(library.unstar, caller, folder_id),
            partial(library.begin_file, caller, folder_id),
        ]
        for refused in tries:
            with pytest.raises(NotFound, match=r"^There is no such folder\.$"):
                refused()
    for file_id in (file.id, "x" * 12):
        tries = [
            partial(library.file, caller, file_id),
            partial(library.change_file, caller, file_id, {"name": "mine"}),
            partial(library.delete_file, caller, file_id),
        ]
        for refused in tries:
            with pytest.raises(NotFound, match=r"^There is no such file\.$"):
                refused()
    assert library.folders(caller, alice.caller.user, Part(10)) == Listing([], 0)
    assert library.linked_file(file.id) == file
    assert alice.counters() == (4, 0, 0)


def test_a_public_folder_is_seen_and_not_changed_by_a_stranger(alice: Person, bob: Person) -> None:
    folder = alice.folder()
    file, library, caller = alice.put(folder), bob.library, bob.caller
    assert library.file(caller, file.id)[0] == file
    for refused in (
        partial(library.change_folder, caller, folder.id, {"name": "Mine"}),
        partial(library.delete_folder, caller, folder.id),
        partial(library.begin_file, caller, folder.id),
        partial(library.change_file, caller, file.id, {"name": "mine"}),
        partial(library.delete_file, caller, file.id),
    ):
        with pytest.raises(Forbidden, match=r"^This folder is another user's\.$"):
            refused()


def test_a_token_for_public_files_does_not_see_its_owners_private_ones(
    service: Service, alice: Person
) -> None:
    secret, shown = alice.folder("Secret", is_public=False), alice.folder("Shown")
    for folder in (secret, shown):
        alice.library.star(alice.caller, folder.id)
    shown, owner = alice.library.folder(alice.caller, shown.id), alice.caller.user
    public = Person(service, "alice", "read_public")  # the owner's earlier token ends
    with pytest.raises(NotFound):
        public.library.folder(public.caller, secret.id)
    assert public.library.feed(public.caller, "favorited", 0, 10) == (1, [shown])
    assert public.library.folders(public.caller, owner, Part(10)) == Listing([shown], 1)
    assert public.library.feed(public.caller, "mine", 0, 10) == (1, [shown])
    with pytest.raises(Forbidden, match="upload_new"):
        public.folder()


def test_a_visit_is_counted_and_remembered_and_ones_own_is_not(alice: Person, bob: Person) -> None:
    folder = alice.folder()
    alice.library.visit(alice.caller, folder.id)
    assert alice.library.feed(alice.caller, "history", 0, 10) == (0, [])
    seen = [bob.library.visit(bob.caller, folder.id)[0].view_count for _ in range(3)]
    assert seen == [1, 2, 3]
    assert alice.counters() == (0, 1, 3)
    total, (visited,) = bob.library.feed(bob.caller, "history", 0, 10)
    assert (total, visited.id) == (1, folder.id)
    alice.library.change_folder(alice.caller, folder.id, {"is_public": False})
    assert bob.library.feed(bob.caller, "history", 0, 10) == (0, [])


def test_public_folders_are_counted_as_shared(alice: Person) -> None:
    folder = alice.folder(is_public=False)
    counts = []
    for is_public in (False, True, True, False, True):
        alice.library.change_folder(alice.caller, folder.id, {"is_public": is_public})
        counts.append(alice.counters()[1])
    assert counts == [0, 1, 1, 0, 1]


def test_a_folder_is_not_published_twice_at_once(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = alice.folder(is_public=False)

    def publish() -> Folder:
        return alice.library.change_folder(alice.caller, folder.id, {"is_public": True})

    meanwhile(monkeypatch, publish)
    assert publish().is_public
    assert alice.counters() == (0, 1, 0)


@pytest.mark.parametrize(
    ("name", "late"),
    [
        ("bob", Library.visit),
        ("bob", Library.star),
        ("bob", Library.unstar),
        ("alice", Library.delete_folder),
        ("alice", partial(Library.change_folder, changes={"is_public": False})),
    ],
)
def test_a_folder_that_was_deleted_a_moment_ago_is_absent_and_nothing_is_counted(
    alice: Person,
    bob: Person,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    late: Callable[[Library, Caller, str], object],
) -> None:
    folder, caller = alice.folder(), (alice if name == "alice" else bob).caller
    meanwhile(monkeypatch, partial(alice.library.delete_folder, alice.caller, folder.id))
    with pytest.raises(NotFound):
        late(alice.library, caller, folder.id)
    assert alice.counters() == (0, 0, 0)


# --- order ---


def test_an_order_places_the_named_files_first_and_loses_none(alice: Person) -> None:
    folder = alice.folder()
    a, b, c = (alice.put(folder, name=name).id for name in ("a", "b", "c"))
    order = partial(alice.library.change_folder, alice.caller, folder.id)
    assert alice.library.visit(alice.caller, folder.id)[1] == [a, b, c]
    wishes: list[list[str]] = [[c, a], ["x" * 12, b], []]
    seen = [alice.library.order(order({"item_ordering": ids})) for ids in wishes]
    assert seen == [[c, a, b], [b, a, c], [a, b, c]]


def test_the_order_of_more_than_1000_files_is_not_shown(alice: Person) -> None:
    folder = alice.folder()
    row = dict.fromkeys(("name", "title", "caption", "mimetype", "sha256"), "")
    with alice.service.catalog.write() as rows:
        own: list[dict[str, object]] = [
            {"id": f"{n}", "folder_n": folder.n, "position": n, "blob": f"{n}"} for n in range(1000)
        ]
        rows.add_files([{**row, **each} for each in own], [None] * 1000)
        rows.add_to_folder(folder.n, "file_count", 1000)
    ids = alice.library.visit(alice.caller, folder.id)[1]
    assert ids == [str(number) for number in range(1000)]
    alice.put(folder)
    assert alice.library.visit(alice.caller, folder.id)[1] == []
    with alice.service.catalog.write() as rows:
        for counter in ("folders", "shared"):
            rows.add_to_user(alice.n, counter, -1)
        rows.delete_folder(folder.n)
        rows.change_user(alice.n, {"used": 0})


# --- pictures ---

RED, BLUE = (254, 0, 0), (0, 0, 254)


def picture(form: str, orientation: int = 1, **options: Any) -> bytes:
    """400 by 200 pixels, left red and right blue, a secret in whatever metadata there may be."""
    image = Image.new("RGB", (400, 200), RED)
    image.paste(BLUE, (200, 0, 400, 200))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "SECRET"
    out = io.BytesIO()
    image.save(out, form, exif=exif.tobytes(), **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        copy: Image.Image = image.convert("RGB")
        return copy


def is_icon(drawn: tuple[bytes, str], side: int = 160) -> bool:
    return drawn[1] == "image/png" and opened(drawn[0]).size == (side, side)


def near(image: Image.Image, place: tuple[int, int], colour: tuple[int, int, int]) -> bool:
    found = image.getpixel(place)
    assert isinstance(found, tuple)
    return all(abs(a - b) < 40 for a, b in zip(found, colour, strict=True))


@pytest.fixture(scope="module")
def artist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """Whose pictures share one service and its child."""
    with checked_service(tmp_path_factory.mktemp("artist") / "data") as studio:
        yield Person(studio, "artist", quota=1 << 30)


@pytest.mark.parametrize(
    ("form", "orientation", "size", "red", "blue"),
    [
        ("JPEG", 1, (160, 80), (10, 40), (150, 40)),
        ("JPEG", 3, (160, 80), (150, 40), (10, 40)),
        ("JPEG", 6, (80, 160), (40, 10), (40, 150)),
        ("JPEG", 8, (80, 160), (40, 150), (40, 10)),
        ("PNG", 6, (80, 160), (40, 10), (40, 150)),
        ("WEBP", 6, (80, 160), (40, 10), (40, 150)),
        ("AVIF", 6, (80, 160), (40, 10), (40, 150)),
        ("TIFF", 6, (80, 160), (40, 10), (40, 150)),
    ],
)
def test_a_thumbnail_stands_upright_and_tells_nothing(
    artist: Person,
    form: str,
    orientation: int,
    size: tuple[int, int],
    red: tuple[int, int],
    blue: tuple[int, int],
) -> None:
    options = {"comment": "SECRET"} if form == "JPEG" else {}
    data = picture(form, orientation, **options)
    assert b"SECRET" in data
    file = artist.put(artist.folder(), data, "a")
    assert (file.width, file.height) == ((400, 200) if size == (160, 80) else (200, 400))
    small, small_type = artist.library.thumbnail(file, "small")
    medium, medium_type = artist.library.thumbnail(file, "medium")
    assert (small_type, medium_type) == (
        f"image/{'jpeg' if form == 'JPEG' else 'png'}",
        "image/jpeg",
    )
    assert (opened(small).size, opened(medium).size) == (size, (file.width, file.height))
    assert near(opened(small), red, RED)
    assert near(opened(small), blue, BLUE)
    for data in (small, medium):
        assert b"SECRET" not in data
        with Image.open(io.BytesIO(data)) as image:
            assert dict(image.getexif()) == {}
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_a_thumbnail_is_made_once(artist: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    file = artist.put(artist.folder(), png(300, 30), "a.png")
    made = [artist.library.thumbnail(file, kind) for kind in ("small", "medium")]
    monkeypatch.setattr(pictures.Pictures, "_ask", None)
    assert [artist.library.thumbnail(file, kind) for kind in ("small", "medium")] == made
    assert opened(made[0][0]).size == (160, 16)


def test_what_is_transparent_stays_so_or_becomes_white(artist: Person) -> None:
    out = io.BytesIO()
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(out, "PNG")
    file = artist.put(artist.folder(), out.getvalue(), "a.png")
    with Image.open(io.BytesIO(artist.library.thumbnail(file, "small")[0])) as image:
        assert image.convert("RGBA").getpixel((5, 5)) == (255, 0, 0, 0)
    medium = opened(artist.library.thumbnail(file, "medium")[0])
    assert near(medium, (5, 5), (255, 255, 255))


def bomb(width: int, height: int, rows: int) -> bytes:
    """A PNG of one bit a pixel that says it is this large and has this many rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check_sum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check_sum

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    bits = zlib.compress(b"\0" * (rows * (1 + width // 8)), 1)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bits) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (bomb(10_000, 10_008, 10_008), (10_000, 10_008)),
        (bomb(60_000, 60_000, 1), (0, 0)),
        (bomb(2**31 - 1, 2**31 - 1, 0), (0, 0)),
        (picture("JPEG")[:-500], (400, 200)),
        (picture("PNG")[:100], (400, 200)),
        (b"\x89PNG\r\n\x1a\n", (0, 0)),
        (b"\x89PNG\r\n\x1a\n" + b"\xff" * 1000, (0, 0)),
        (b"\xff\xd8\xff" + b"\xff" * 1000, (0, 0)),
        (b"GIF89a" + b"\0" * 100, (0, 0)),
        (b"RIFF\x10\0\0\0WEBPVP8 ", (0, 0)),
        (b"II*\0" + b"\xff" * 100, (0, 0)),
        (b"BM<script>alert(1)</script>", (0, 0)),
        (b"\0\0\0\x1cftypavif" + b"\0" * 100, (0, 0)),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_hostile_or_broken_picture_costs_its_thumbnail_and_nothing_else(
    artist: Person, data: bytes, size: tuple[int, int]
) -> None:
    folder = artist.folder()
    file = artist.put(folder, data, "a.png")
    assert (file.width, file.height, file.size) == (*size, len(data))
    assert is_icon(artist.library.thumbnail(file, "small"))
    assert is_icon(artist.library.thumbnail(file, "medium"), 640)
    with artist.service.blobs.open(file.blob) as stream:
        assert stream.read() == data
    good = artist.put(folder, png(3, 2), "b.png")
    assert opened(artist.library.thumbnail(good, "small")[0]).size == (3, 2)


def test_a_text_has_an_icon_with_its_ending(artist: Person) -> None:
    folder = artist.folder()
    names = ("a.txt", "b.TXT", "a.py", "a", "a.x-y", "a.toolong", "ж.ж", ".")
    files = [artist.put(folder, name=name) for name in names]
    icons = [artist.library.thumbnail(file, "small") for file in files]
    assert all(map(is_icon, icons))
    txt, same, py, *plain = icons
    assert txt == same
    assert len({txt, py, plain[0]}) == 3
    assert set(plain) == {artist.library.icon("")}


@pytest.mark.parametrize("padding", [0, MAX_SMALL])
def test_a_picture_is_drawn_wherever_its_bytes_are(artist: Person, padding: int) -> None:
    data = picture("JPEG") + bytes(padding)
    file = artist.put(artist.folder(), data, "a.jpg")
    assert file.blob.startswith("=") == (padding == 0)
    assert (file.width, file.height) == (400, 200)
    assert opened(artist.library.thumbnail(file, "small")[0]).size == (160, 80)


def test_a_small_picture_that_is_deleted_while_it_is_drawn_leaves_no_thumbnail(
    artist: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = artist.put(artist.folder(), png(3, 2), "a.png")
    draw = pictures.Pictures.thumbnail

    def late(*args: Any) -> bytes | None:
        artist.library.delete_file(artist.caller, file.id)
        return draw(*args)

    monkeypatch.setattr(pictures.Pictures, "thumbnail", late)
    artist.library.thumbnail(file, "small")
    assert artist.service.blobs.derived(file.blob, "small") is None


# --- the picture child ---


def test_a_picture_child_that_died_is_replaced(artist: Person) -> None:
    folder, ours = artist.folder(), artist.service.pictures
    artist.put(folder, png(3, 2), "a.png")
    child = ours._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    file = artist.put(folder, png(3, 2), "b.png")
    assert (file.width, file.height) == (3, 2)
    assert ours._child is not child


def break_pipe(ours: pictures.Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child dies between the look at it and the job."""
    assert ours._child is not None
    os.kill(ours._child.pid, signal.SIGKILL)
    ours._child.wait()
    monkeypatch.setattr(ours._child, "poll", lambda: None)


def hang(ours: pictures.Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child never answers."""
    assert ours._child is not None
    monkeypatch.setattr(pictures, "_SECONDS", 0.005)
    os.kill(ours._child.pid, signal.SIGSTOP)


@pytest.mark.parametrize(("fail", "first"), [(break_pipe, (3, 2)), (hang, (0, 0))])
def test_a_picture_child_that_dies_is_replaced_and_one_that_hangs_costs_a_size(
    artist: Person,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[pictures.Pictures, pytest.MonkeyPatch], None],
    first: tuple[int, int],
) -> None:
    folder, ours = artist.folder(), artist.service.pictures
    artist.put(folder, png(3, 2), "a.png")
    fail(ours, monkeypatch)
    files = [artist.put(folder, png(3, 2), "b.png")]
    monkeypatch.undo()
    files.append(artist.put(folder, png(3, 2), "c.png"))
    assert [(file.width, file.height) for file in files] == [first, (3, 2)]


def test_half_an_answer_of_the_picture_child_is_none(
    artist: Person, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text("input(); print('{\"width\": 3', end='')")
    artist.service.pictures.close()
    monkeypatch.setattr(picture_worker, "__file__", str(worker))
    file = artist.put(artist.folder(), png(3, 2), "a.png")
    assert (file.width, file.height) == (0, 0)
