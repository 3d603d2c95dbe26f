"""Uploads by tus: begun, interrupted, gone on with, refused; raw HTTP and a client of others."""

import base64
import contextlib
import hashlib
import io
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from tests import rawhttp
from tests.live import Service, clean_environment
from tests.rawhttp import (
    HOST,
    Answer,
    Client,
    Row,
    call,
    connect,
    drain,
    error_of,
    head,
    new_user,
    png,
    receive,
)
from tests.test_durability import incoming, sound

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream"}
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,termination,checksum,expiration"
DAY = 24 * 3600
HUGE = "9" * 40


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def metadata(**texts: str) -> dict[str, str]:
    return {"Upload-Metadata": ",".join(f"{key} {b64(texts[key].encode())}" for key in texts)}


def repr_digest(data: bytes) -> dict[str, str]:
    return {"Repr-Digest": f"sha-256=:{b64(hashlib.sha256(data).digest())}:"}


def checksum(data: bytes, algorithm: str = "sha256") -> dict[str, str]:
    return {"Upload-Checksum": f"{algorithm} {b64(hashlib.new(algorithm, data).digest())}"}


class Upload:
    """An upload and its address; `bearer` is what each request carries."""

    def __init__(self, port: int, path: str, bearer: Mapping[str, str]) -> None:
        self.port, self.path, self.bearer = port, path, bearer

    def ask(
        self, method: str, body: bytes | None = None, more: Mapping[str, str] | None = None
    ) -> Answer:
        headers = {**self.bearer, **TUS, **(more or {})}
        return call(self.port, method, self.path, headers, body)

    def patch(self, offset: int, body: bytes, more: Mapping[str, str] | None = None) -> Answer:
        headers = {**self.bearer, **TUS, **BYTES, "Upload-Offset": str(offset), **(more or {})}
        return call(self.port, "PATCH", self.path, headers, body)

    def patch_unfinished(self, offset: int, announced: int, body: bytes) -> socket.socket:
        """Send a part of a PATCH and leave its connection open."""
        headers = {
            "Host": f"{HOST}:{self.port}",
            **self.bearer,
            **TUS,
            **BYTES,
            "Upload-Offset": str(offset),
            "Content-Length": str(announced),
            "Expect": "100-continue",
        }
        sock = connect(self.port)
        sock.sendall(head("PATCH", self.path, headers))
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(body)
        return sock

    @property
    def offset(self) -> int:
        answer = self.ask("HEAD")
        assert answer.status == 200
        return int(answer.headers["Upload-Offset"])

    def row(self) -> Row:
        answer = call(self.port, "GET", self.path, self.bearer)
        assert answer.status == 200, answer.body
        return dict(answer.json())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for these tests alone: they leave uploads under way. It never failed."""
    running = Service(tmp_path_factory.mktemp("tus") / "data")
    running.start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log()


@pytest.fixture(scope="module")
def alice(service: Service) -> Client:
    return new_user(service)


@pytest.fixture
def folder(alice: Client) -> Row:
    return alice.folder()


def create(
    client: Client,
    folder: Row,
    size: int | None,
    more: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    length = {"Upload-Defer-Length": "1"} if size is None else {"Upload-Length": str(size)}
    headers = {**client.bearer(), **TUS, **length, **(more or {})}
    return client.call("POST", f"folders/{folder['id']}/uploads", headers, body)


def begun(
    client: Client, folder: Row, size: int | None, more: Mapping[str, str] | None = None
) -> Upload:
    return of(client, create(client, folder, size, more))


def of(client: Client, answer: Answer) -> Upload:
    assert answer.status == 201, answer.body
    found = re.fullmatch(rf"{client.base}(uploads/[\w-]{{43}})", answer.headers["Location"])
    assert found
    return Upload(client.port, f"/{found[1]}", client.bearer())


def gallery(service: Service) -> tuple[str, str]:
    """A gallery without an owner. -> reader id, editor id"""
    row = call(service.port, "POST", "/api/CreateGallery", {}, b"").json()
    return row["reader_id"], row["editor_id"]


@contextlib.contextmanager
def started(data: Path, *options: str) -> Iterator[Service]:
    """A service with options of its own."""
    service = Service(data, options)
    service.start()
    try:
        yield service
    finally:
        assert service.stop() == 0


def into_gallery(
    service: Service, name: str, size: int, more: Mapping[str, str] | None = None
) -> Answer:
    headers = {**TUS, "Upload-Length": str(size), **(more or {})}
    return call(service.port, "POST", f"/m{name}/uploads", headers)


# --- the way it goes ---


def test_the_service_says_that_it_speaks_tus(service: Service) -> None:
    known = call(service.port, "GET", "/api/v2/").json()["extensions"]
    assert known["tus"] == {"version": "1.0.0"}
    assert (known["idempotency"], known["sums"]) == ({"seconds": 86400}, {})


@pytest.mark.parametrize("where", ["/api/v2/folders/x/uploads", "/mx/uploads", "/uploads/x"])
def test_options_tell_the_version_and_the_extensions(service: Service, where: str) -> None:
    answer = call(service.port, "OPTIONS", where)
    told = ["Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Checksum-Algorithm"]
    assert [answer.headers[name] for name in told] == ["1.0.0", "1.0.0", EXTENSIONS, "sha256,sha1"]
    assert (answer.status, answer.body) == (204, b"")


def test_a_file_arrives_in_pieces(alice: Client, folder: Row) -> None:
    data = b"first, second, third" * 10_000
    used = alice.get("activeuser")["storage_used"]
    meta = metadata(filename="ж %41.txt", filetype="text/html", caption="né")
    created = create(alice, folder, len(data), meta)
    assert created.headers["Tus-Resumable"] == "1.0.0"
    upload = of(alice, created)
    expires = parsedate_to_datetime(created.headers["Upload-Expires"]).timestamp()
    assert 7 * DAY - 60 < expires - time.time() <= 7 * DAY
    for start in range(0, len(data), 70_000):
        assert alice.results(f"folders/{folder['id']}/files") == []
        answer = upload.ask("HEAD")
        told = {name: answer.headers[name] for name in ("Upload-Offset", "Upload-Length")}
        assert told == {"Upload-Offset": str(start), "Upload-Length": str(len(data))}
        assert answer.headers["Upload-Metadata"] == meta["Upload-Metadata"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Tus-Resumable"] == "1.0.0"
        row = upload.row()
        assert (row["offset"], row["size"], row["file"]) == (start, len(data), None)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row["expires"])
        piece = data[start : start + 70_000]
        answer = upload.patch(start, piece)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["Upload-Offset"] == str(start + len(piece))
        assert "Upload-Expires" in answer.headers
    [file] = alice.results(f"folders/{folder['id']}/files")
    assert answer.headers["Minus-File"] == file["id"]
    kept = [file[key] for key in ("name", "mimetype", "caption", "filesize", "sha256")]
    assert kept == ["ж %41.txt", "text/html", "né", len(data), hashlib.sha256(data).hexdigest()]
    assert alice.raw(file).body == data
    assert alice.get("activeuser")["storage_used"] == used + len(data)
    assert upload.row()["file"]["id"] == file["id"]
    assert upload.offset == len(data)


def test_the_completing_request_may_ask_for_the_file(alice: Client, folder: Row) -> None:
    upload = begun(alice, folder, 4)
    prefer = {"Prefer": "return=representation"}
    assert upload.patch(0, b"12", prefer).status == 204
    answer = upload.patch(2, b"34", prefer)
    assert (answer.status, answer.json()["id"]) == (200, answer.headers["Minus-File"])
    assert answer.json()["name"] == "Untitled"
    again = upload.patch(4, b"", prefer)
    assert (again.status, again.json()["id"]) == (200, answer.json()["id"])
    plain = upload.patch(4, b"")
    assert (plain.status, plain.headers["Minus-File"]) == (204, answer.json()["id"])
    assert len(alice.results(f"folders/{folder['id']}/files")) == 1


def test_an_empty_file_is_complete_at_once(alice: Client, folder: Row) -> None:
    answer = create(alice, folder, 0, metadata(filename="empty"))
    [file] = alice.results(f"folders/{folder['id']}/files")
    assert (answer.headers["Minus-File"], file["name"]) == (file["id"], "empty")
    upload = of(alice, answer)
    assert (upload.offset, alice.raw(file).body) == (0, b"")
    assert upload.patch(0, b"").headers["Minus-File"] == file["id"]


def test_the_creation_may_bring_bytes(alice: Client, folder: Row) -> None:
    answer = create(alice, folder, 6, BYTES, b"123")
    assert answer.headers["Upload-Offset"] == "3"
    assert of(alice, answer).patch(3, b"456").status == 204
    whole = create(alice, folder, 3, BYTES | checksum(b"abc"), b"abc")
    rows = alice.results(f"folders/{folder['id']}/files")
    assert [alice.raw(row).body for row in rows] == [b"123456", b"abc"]
    assert whole.headers["Minus-File"] == rows[1]["id"]
    assert error_of(create(alice, folder, 2, BYTES, b"abc"))[0] == 400
    assert error_of(create(alice, folder, 3, BYTES | checksum(b"x"), b"abc"))[0] == 460
    assert error_of(create(alice, folder, 3, {}, b"abc")) == (415, "unsupported_type")
    assert alice.get("activeuser")["storage_used"] >= 9


def test_the_length_may_be_told_late(alice: Client, folder: Row) -> None:
    upload = begun(alice, folder, None)
    assert upload.ask("HEAD").headers["Upload-Defer-Length"] == "1"
    assert upload.row()["size"] is None
    assert upload.patch(0, b"123").status == 204
    assert error_of(upload.patch(3, b"45", {"Upload-Length": "2"})) == (400, "invalid_request")
    assert upload.patch(3, b"45", {"Upload-Length": "6"}).status == 204
    assert error_of(upload.patch(5, b"", {"Upload-Length": "7"})) == (400, "invalid_request")
    assert upload.ask("HEAD").headers["Upload-Length"] == "6"
    file_id = upload.patch(5, b"6", {"Upload-Length": "6"}).headers["Minus-File"]
    assert alice.raw({"id": file_id}).body == b"123456"


def test_other_clients_spell_the_metadata_otherwise(alice: Client, folder: Row) -> None:
    upload = begun(alice, folder, 1, metadata(name="a/b.txt", type="text/css"))
    file_id = upload.patch(0, b"x").headers["Minus-File"]
    row = alice.get(f"files/{file_id}")
    assert (row["name"], row["mimetype"]) == ("b.txt", "text/css")


def test_a_picture_is_known_by_bytes_of_two_pieces(alice: Client, folder: Row) -> None:
    data = png(30, 20)
    upload = begun(alice, folder, len(data))
    upload.patch(0, data[:3])
    row = alice.get(f"files/{upload.patch(3, data[3:]).headers['Minus-File']}")
    assert (row["mimetype"], row["width"], row["height"]) == ("image/png", 30, 20)


def test_a_method_may_be_told_in_a_header(alice: Client, folder: Row) -> None:
    upload = begun(alice, folder, 2)
    more = {"X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0", **BYTES}
    answer = call(alice.port, "POST", upload.path, {**alice.bearer(), **TUS, **more}, b"12")
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, "2")
    refused = upload.ask("POST", b"")
    assert error_of(refused) == (405, "method_not_allowed")
    assert refused.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, POST"
    assert refused.headers["Tus-Resumable"] == "1.0.0"


def test_an_upload_is_given_up(alice: Client, folder: Row) -> None:
    others = incoming(alice.service)
    upload = begun(alice, folder, 1_000_000)
    upload.patch(0, b"x" * 500_000)
    assert len(incoming(alice.service)) == len(others) + 1
    assert upload.ask("DELETE").status == 204
    assert set(incoming(alice.service)) == set(others)
    for answer in (upload.patch(500_000, b""), upload.ask("HEAD"), upload.ask("DELETE")):
        assert answer.status == 404


def test_a_finished_upload_that_is_given_up_leaves_the_file(alice: Client, folder: Row) -> None:
    upload = begun(alice, folder, 100_000)
    file_id = upload.patch(0, b"x" * 100_000).headers["Minus-File"]
    assert upload.ask("DELETE").status == 204
    assert alice.raw({"id": file_id}).body == b"x" * 100_000
    other = begun(alice, folder, 1)
    file_id = other.patch(0, b"x").headers["Minus-File"]
    alice.delete(f"files/{file_id}")
    assert [other.ask("HEAD").status, other.patch(1, b"").status] == [404, 404]


# --- digests ---


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
def test_a_piece_with_a_wrong_checksum_changes_nothing(
    alice: Client, folder: Row, algorithm: str
) -> None:
    data = b"0123456789" * 200_000
    upload = begun(alice, folder, len(data))
    half = len(data) // 2
    assert upload.patch(0, data[:half], checksum(data[:half], algorithm)).status == 204
    wrong = upload.patch(half, data[half:], checksum(b"other", algorithm))
    assert error_of(wrong) == (460, "checksum_mismatch")
    assert upload.offset == half
    answer = upload.patch(half, data[half:], checksum(data[half:], algorithm))
    file = alice.get(f"files/{answer.headers['Minus-File']}")
    assert file["sha256"] == hashlib.sha256(data).hexdigest()
    assert alice.raw(file).body == data


def test_a_cut_piece_with_a_checksum_is_not_kept(alice: Client, folder: Row) -> None:
    upload = begun(alice, folder, 6)
    headers = {**alice.bearer(), **TUS, **BYTES, "Upload-Offset": "0", **checksum(b"123456")}
    length = {"Host": f"{HOST}:{alice.port}", "Content-Length": "6"}
    with connect(alice.port) as sock:
        sock.sendall(head("PATCH", upload.path, {**headers, **length}) + b"123")
        sock.shutdown(socket.SHUT_WR)
        assert receive(sock).status == 400
    assert upload.offset == 0


@pytest.mark.parametrize("said", ["md5 AAAA", "sha256", "sha256 AAAA", "sha256 \xff", ""])
def test_a_checksum_that_cannot_be_read_is_refused(alice: Client, folder: Row, said: str) -> None:
    upload = begun(alice, folder, 3)
    assert error_of(upload.patch(0, b"123", {"Upload-Checksum": said}))[0] == 400
    assert upload.offset == 0


@pytest.mark.parametrize("late", [True, False])
def test_an_upload_whose_whole_digest_is_wrong_is_gone(
    alice: Client, folder: Row, *, late: bool
) -> None:
    wrong, others = repr_digest(b"other"), incoming(alice.service)
    upload = begun(alice, folder, 6, {} if late else wrong)
    assert upload.patch(0, b"123").status == 204
    answer = upload.patch(3, b"456", wrong if late else {})
    assert error_of(answer) == (400, "digest_mismatch")
    assert upload.ask("HEAD").status == 404
    assert set(incoming(alice.service)) == set(others)
    assert alice.results(f"folders/{folder['id']}/files") == []


def test_a_digest_is_remembered_until_the_end(alice: Client, folder: Row) -> None:
    upload = begun(alice, folder, 6)
    assert upload.patch(0, b"123", repr_digest(b"123456")).status == 204
    assert error_of(upload.patch(3, b"4", repr_digest(b"x"))) == (400, "invalid_request")
    assert "Minus-File" in upload.patch(3, b"456").headers


# --- what is refused ---


@pytest.mark.parametrize(
    ("length", "status"),
    [
        ({"Upload-Length": "-1"}, 400), ({"Upload-Length": ""}, 400),
        ({"Upload-Length": "1e3"}, 400), ({"Upload-Length": "0x10"}, 400),
        ({"Upload-Length": "\uff11"}, 400), ({"Upload-Length": "1.5"}, 400), ({}, 400),
        ({"Upload-Length": "5", "Upload-Defer-Length": "1"}, 400),
        ({"Upload-Defer-Length": "2"}, 400),
        ({"Upload-Length": HUGE}, 413), ({"Upload-Length": str(2**63)}, 413),
        ({"Upload-Length": str(2**60)}, 413), ({"Upload-Length": str(2**50)}, 413),
    ],
)  # fmt: skip
def test_s33_lengths_that_cannot_be_are_refused(
    alice: Client, folder: Row, length: dict[str, str], status: int
) -> None:
    named = {key: value.encode().decode("latin-1") for key, value in length.items()}
    headers = {**alice.bearer(), **TUS, **named}
    answer = alice.call("POST", f"folders/{folder['id']}/uploads", headers)
    assert answer.status == status, answer.body
    assert error_of(answer)[1] in ("invalid_request", "too_large", "quota_exceeded")


@pytest.mark.parametrize("length", [2**60 + 1, 2**63])
def test_s33_bodies_that_are_longer_than_any_file_are_refused(
    alice: Client, folder: Row, length: int
) -> None:
    upload = begun(alice, folder, None)
    requests: list[tuple[str, str, Mapping[str, str]]] = [
        ("PUT", f"/api/v2/folders/{folder['id']}/files/x", {}),
        ("PUT", "/x", {}),
        ("POST", "/", {"Content-Type": "application/octet-stream"}),
        ("POST", "/api/CreateGallery", {}),
        ("PATCH", upload.path, {**TUS, **BYTES, "Upload-Offset": "0"}),
        (
            "POST",
            f"/api/v2/folders/{folder['id']}/uploads",
            {**TUS, **BYTES, "Upload-Defer-Length": "1"},
        ),
    ]
    told = {**alice.bearer(), "Host": f"{HOST}:{alice.port}", "Content-Length": str(length)}
    for method, path, headers in requests:
        with connect(alice.port) as sock:
            sock.sendall(head(method, path, {**told, **headers}))
            sock.shutdown(socket.SHUT_WR)
            assert receive(sock).status == 413, path


@pytest.mark.parametrize(("offset", "status"), [("-1", 400), ("x", 400), ("", 400), (HUGE, 413)])
def test_s33_offsets_that_cannot_be_are_refused(
    alice: Client, folder: Row, offset: str, status: int
) -> None:
    upload = begun(alice, folder, 3)
    assert upload.patch(0, b"1", {"Upload-Offset": offset}).status == status
    assert upload.offset == 0


def test_bytes_that_do_not_go_on_where_it_ends_are_refused(alice: Client, folder: Row) -> None:
    upload = begun(alice, folder, 6)
    upload.patch(0, b"123")
    for offset in (0, 2, 4, 6):
        answer = upload.patch(offset, b"x")
        assert error_of(answer) == (409, "offset_mismatch")
        assert answer.headers["Upload-Offset"] == "3"
    assert error_of(upload.ask("PATCH", b"x", BYTES)) == (400, "invalid_request")
    assert error_of(upload.patch(3, b"1", {"Content-Type": "text/plain"})) == (
        415, "unsupported_type",
    )  # fmt: skip
    assert upload.offset == 3


def test_s33_more_bytes_than_the_length_are_refused(alice: Client, folder: Row) -> None:
    upload = begun(alice, folder, 4)
    assert error_of(upload.patch(0, b"12345")) == (413, "too_large")
    headers = {**alice.bearer(), **TUS, **BYTES, "Upload-Offset": "0"}
    chunked = {
        "Host": f"{HOST}:{alice.port}",
        "Transfer-Encoding": "chunked",
        "Connection": "close",
    }
    with connect(alice.port) as sock:
        sock.sendall(
            head("PATCH", upload.path, {**headers, **chunked}) + b"5\r\n12345\r\n0\r\n\r\n"
        )
        assert b" 413 " in drain(sock).split(b"\r\n")[0]
    assert upload.offset == 0
    with connect(alice.port) as sock:
        sock.sendall(head("PATCH", upload.path, {**headers, **chunked}) + b"4\r\n1234\r\n0\r\n\r\n")
        assert b" 204 " in drain(sock).split(b"\r\n")[0]
    assert "file" in upload.row()


@pytest.mark.folder
def test_an_upload_with_too_many_bytes_makes_no_file(alice: Client, folder: Row) -> None:
    data = b"x" * (1 << 20)
    upload = begun(alice, folder, len(data))
    headers = {**alice.bearer(), **TUS, **BYTES, "Upload-Offset": "0"}
    chunked = {"Host": f"{HOST}:{alice.port}", "Transfer-Encoding": "chunked"}
    others = set(incoming(alice.service))
    with connect(alice.port) as sock:
        sock.sendall(head("PATCH", upload.path, {**headers, **chunked}))
        sock.sendall(b"100000\r\n" + data + b"\r\n")
        while not (new := set(incoming(alice.service)) - others):
            time.sleep(0.01)
        while (alice.service.data / "incoming" / new.pop()).stat().st_size < len(data):
            new = set(incoming(alice.service)) - others
        sock.sendall(b"a\r\n" + b"y" * 10 + b"\r\n0\r\n\r\n")
        assert error_of(receive(sock)) == (413, "too_large")
    assert alice.results(f"folders/{folder['id']}/files") == []
    assert upload.offset == 0
    assert alice.results(f"folders/{folder['id']}/files") == []
    file_id = upload.patch(0, data).headers["Minus-File"]
    assert alice.raw({"id": file_id}).body == data
    sound(alice.service)


def test_bytes_behind_the_end_of_a_finished_upload_are_refused(alice: Client, folder: Row) -> None:
    upload = begun(alice, folder, 4)
    assert upload.patch(0, b"1234").status == 204
    assert upload.patch(4, b"5").status == 409
    headers = {**alice.bearer(), **TUS, **BYTES, "Upload-Offset": "4"}
    chunked = {"Host": f"{HOST}:{alice.port}", "Transfer-Encoding": "chunked"}
    for body, status in ((b"1\r\n5\r\n0\r\n\r\n", 409), (b"0\r\n\r\n", 204)):
        with connect(alice.port) as sock:
            sock.sendall(head("PATCH", upload.path, {**headers, **chunked}) + body)
            assert receive(sock).status == status


@pytest.mark.parametrize("version", ["", "0.2.2", "1.0.1"])
def test_another_version_is_refused_and_ours_is_told(
    alice: Client, folder: Row, version: str
) -> None:
    upload = begun(alice, folder, 1)
    answers = [
        create(alice, folder, 1, {"Tus-Resumable": version}),
        upload.ask("HEAD", None, {"Tus-Resumable": version}),
        upload.ask("DELETE", None, {"Tus-Resumable": version}),
        upload.patch(0, b"1", {"Tus-Resumable": version}),
    ]
    for answer in answers:
        assert (answer.status, answer.headers["Tus-Version"]) == (412, "1.0.0")
    assert call(alice.port, "PATCH", upload.path, alice.bearer(), b"").status == 412
    assert upload.offset == 0


@pytest.mark.parametrize(
    "said", ["filename x", "filename YQ== YQ==", "a YQ==,a YQ==", "filename /w=="]
)
def test_metadata_that_cannot_be_read_is_refused(alice: Client, folder: Row, said: str) -> None:
    answer = create(alice, folder, 1, {"Upload-Metadata": said})
    assert error_of(answer) == (400, "invalid_request")


def test_the_metadata_are_told_as_they_were_sent(alice: Client, folder: Row) -> None:
    sent = {"Upload-Metadata": f"is_mine,  filetype {b64(b'a/b')},relativePath {b64(b'd/x')}"}
    assert (
        begun(alice, folder, 1, sent).ask("HEAD").headers["Upload-Metadata"]
        == (sent["Upload-Metadata"])
    )
    long = metadata(filename="a", caption="é" * 10_000, more="x" * 100_000)
    told = begun(alice, folder, 1, long).ask("HEAD").headers["Upload-Metadata"]
    assert told == metadata(filename="a", caption="é" * 10_000)["Upload-Metadata"]


def test_a_type_that_is_too_long_is_refused(alice: Client, folder: Row) -> None:
    for key in ("filetype", "type"):
        for length, status in ((255, 201), (256, 400)):
            answer = create(alice, folder, 1, metadata(**{key: "x" * length}))
            assert answer.status == status


def test_names_that_no_file_may_have_are_refused(alice: Client, folder: Row) -> None:
    for name in ("..", "a\0b", "x" * 256, " "):
        answer = create(alice, folder, 1, metadata(filename=name))
        assert error_of(answer) == (400, "invalid_request")


# --- who may ---


def test_an_upload_is_its_owners_alone(service: Service, alice: Client, folder: Row) -> None:
    upload, bob = begun(alice, folder, 3), new_user(service)
    assert error_of(create(bob, folder, 3))[0] == 403
    stranger = Upload(alice.port, upload.path, {})
    for method in ("HEAD", "DELETE"):
        assert stranger.ask(method).status == 401
    assert error_of(stranger.patch(0, b"123")) == (401, "invalid_token")
    assert call(alice.port, "GET", upload.path).status == 401
    for other in (bob.bearer(), {"Authorization": "Bearer nonsense"}):
        theirs = Upload(alice.port, upload.path, other)
        assert theirs.patch(0, b"123").status in (401, 404)
    reader = alice.limited("read_all")
    assert error_of(create(reader, folder, 3)) == (403, "insufficient_scope")
    assert Upload(alice.port, upload.path, reader.bearer()).patch(0, b"123").status == 403
    assert upload.patch(0, b"123").status == 204


def test_an_upload_ends_with_its_folder(alice: Client, folder: Row) -> None:
    others = incoming(alice.service)
    upload = begun(alice, folder, 1_000_000)
    upload.patch(0, b"x" * 100_000)
    alice.delete(f"folders/{folder['id']}")
    assert upload.patch(100_000, b"x").status == 404
    assert set(incoming(alice.service)) == set(others)


def test_an_upload_ends_with_the_token(service: Service) -> None:
    carol = new_user(service)
    upload = begun(carol, carol.folder(), 3)
    upload.patch(0, b"1")
    service.run("passwd", carol.name, stdin="another one\n")
    assert error_of(upload.patch(1, b"23")) == (401, "invalid_token")


def session_of(client: Client) -> dict[str, str]:
    body = f"username={client.name}&password1={rawhttp.PASSWORD}".replace(" ", "+").encode()
    answer = call(client.port, "POST", "/api/SignIn", {"Content-Type": rawhttp.FORM}, body)
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    return {"Cookie": cookie}


def test_a_session_uploads_but_no_page_of_another_site(service: Service) -> None:
    carol = new_user(service)
    folder, session = carol.folder(), session_of(carol)
    foreign = {"Sec-Fetch-Site": "cross-site"}
    path = f"/m{folder['id']}/uploads"
    headers = {**TUS, "Upload-Length": "3", **session}
    assert call(carol.port, "POST", path, headers | foreign).status == 403
    upload = Upload(carol.port, of(carol, call(carol.port, "POST", path, headers)).path, session)
    assert error_of(upload.patch(0, b"123", foreign)) == (403, "cross_site")
    assert upload.ask("DELETE", None, foreign).status == 403
    assert upload.patch(0, b"123").headers["Minus-File"]
    assert call(carol.port, "POST", path, {**TUS, "Upload-Length": "3"}).status == 403


def test_a_gallery_without_an_owner_needs_the_secret_alone(service: Service) -> None:
    for name in gallery(service):
        answer = into_gallery(service, name, 6, metadata(filename="a.txt"))
        assert answer.status == 201
        expires = parsedate_to_datetime(answer.headers["Upload-Expires"]).timestamp()
        assert DAY - 60 < expires - time.time() <= DAY
        path = "/" + answer.headers["Location"].removeprefix(service.url)
        upload = Upload(service.port, path, {})
        upload.patch(0, b"123")
        file_id = upload.patch(3, b"456").headers["Minus-File"]
        assert call(service.port, "GET", f"/i{file_id}").body == b"123456"
    assert into_gallery(service, "x" * 12, 6).status == 404
    assert into_gallery(service, gallery(service)[0], 2**31).status == 413


def test_an_upload_that_an_editor_began_goes_on_without_old_clients(tmp_path: Path) -> None:
    with started(tmp_path / "data", "--old-clients", "off") as service:
        reader, editor = gallery(service)
        assert into_gallery(service, reader, 6).status == 403
        ends = []
        for _ in range(2):
            answer = into_gallery(service, editor, 6)
            assert answer.status == 201
            path = "/" + answer.headers["Location"].removeprefix(service.url)
            upload = Upload(service.port, path, {})
            assert upload.patch(0, b"123").status == 204
            assert upload.offset == 3
            ends.append(upload)
        assert "Minus-File" in ends[0].patch(3, b"456").headers
        assert ends[1].ask("DELETE").status == 204
        sound(service)


def test_no_page_of_another_site_uploads_with_an_editors_cookie(service: Service) -> None:
    reader, editor = gallery(service)
    cookie, foreign = {"Cookie": f"editor={editor}"}, {"Sec-Fetch-Site": "cross-site"}
    assert error_of(into_gallery(service, reader, 6, cookie | foreign)) == (403, "cross_site")
    assert into_gallery(service, reader, 6, cookie).status == 201
    assert into_gallery(service, reader, 6, foreign).status == 201


def test_wrong_addresses_of_uploads_make_nobody_wait(tmp_path: Path) -> None:
    far = {"X-Forwarded-For": "203.0.113.9", **TUS}
    with started(tmp_path / "data", "--trusted-proxy", HOST) as service:
        for path, status in ((f"/uploads/{'x' * 43}", 404), (f"/m{'x' * 12}", 429)):
            for _ in range(105):
                answer = call(service.port, "GET", path, far)
            assert answer.status == status


def test_an_upload_into_a_gallery_ends_with_it(service: Service) -> None:
    reader, editor = gallery(service)
    path = "/" + into_gallery(service, reader, 6).headers["Location"].removeprefix(service.url)
    deleted = call(service.port, "POST", f"/api/DeleteGallery?id={editor}", {}, b"")
    assert deleted.json() == {"success": True}
    assert Upload(service.port, path, {}).patch(0, b"123").status == 404


# --- the quota ---


def test_room_is_reserved_at_the_beginning_and_given_back(service: Service) -> None:
    dave = new_user(service, quota=1000)
    folder = dave.folder()
    first = begun(dave, folder, 600)
    assert error_of(create(dave, folder, 401)) == (413, "quota_exceeded")
    second = begun(dave, folder, 400)
    assert error_of(create(dave, folder, 1)) == (413, "quota_exceeded")
    form = rawhttp.multipart(rawhttp.part("file", b"x", "a"))
    assert error_of(dave.post_file(form, folder=folder)) == (413, "quota_exceeded")
    assert dave.get("activeuser")["storage_used"] == 0
    assert second.ask("DELETE").status == 204
    dave.upload(b"x" * 400, folder=folder)
    assert first.patch(0, b"y" * 600).status == 204
    assert dave.get("activeuser")["storage_used"] == 1000
    sound(service)


def test_a_length_that_is_not_told_takes_room_as_it_comes(service: Service) -> None:
    dave = new_user(service, quota=10)
    folder = dave.folder()
    upload = begun(dave, folder, None)
    assert upload.patch(0, b"12345").status == 204
    assert error_of(create(dave, folder, 6)) == (413, "quota_exceeded")
    assert error_of(upload.patch(5, b"123456")) == (413, "quota_exceeded")
    assert upload.patch(5, b"6789", {"Upload-Length": "9"}).status == 204
    dave.upload(b"x", folder=folder)
    assert dave.get("activeuser")["storage_used"] == 10
    sound(service)


# --- broken connections, crashes ---


def test_what_came_before_the_connection_broke_is_kept(alice: Client, folder: Row) -> None:
    data = bytes(range(256)) * 20_000
    upload = begun(alice, folder, len(data))
    with upload.patch_unfinished(0, len(data), data[:3_000_000]) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert receive(sock).status == 400
    assert upload.offset == 3_000_000
    file_id = upload.patch(3_000_000, data[3_000_000:]).headers["Minus-File"]
    assert alice.raw({"id": file_id}).body == data


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
def test_a_newer_request_takes_over_from_one_whose_connection_is_dead(
    alice: Client, folder: Row, method: str
) -> None:
    data, others = b"x" * 3_000_000, incoming(alice.service)
    upload = begun(alice, folder, len(data))
    with upload.patch_unfinished(0, len(data), data[:2_000_000]) as dead:
        while len(incoming(alice.service)) == len(others):
            pass
        if method == "DELETE":
            assert upload.ask("DELETE").status == 204
            assert set(incoming(alice.service)) == set(others)
            return
        offset = upload.offset
        if method == "PATCH":
            with upload.patch_unfinished(offset, len(data) - offset, b"") as second:
                answer = upload.patch(offset, data[offset:])
                assert "Minus-File" in answer.headers
                second.close()
        else:
            assert "Minus-File" in upload.patch(offset, data[offset:]).headers
        dead.close()
    [file] = alice.results(f"folders/{folder['id']}/files")
    assert alice.raw(file).body == data


def test_an_upload_goes_on_after_a_kill(own_service: Service) -> None:
    alice = new_user(own_service)
    folder = alice.folder()
    data = bytes(range(256)) * 10_000
    upload = begun(alice, folder, len(data), metadata(filename="kept") | repr_digest(data))
    upload.patch(0, data[:1_000_000])
    with upload.patch_unfinished(1_000_000, len(data) - 1_000_000, data[1_000_000:1_900_000]):
        own_service.kill()
    sound(own_service)
    own_service.start(own_service.port)
    assert sound(own_service).group(3) is None
    assert "1 uploads under way\n" in own_service.run("check").stdout
    offset = upload.offset
    assert 1_000_000 <= offset <= 1_900_000
    file_id = upload.patch(offset, data[offset:]).headers["Minus-File"]
    assert alice.raw({"id": file_id}).body == data
    assert "under way" not in own_service.run("check").stdout
    sound(own_service)
    assert "Traceback" not in own_service.log()


@pytest.mark.folder
def test_bytes_behind_the_saved_offset_are_cut_off(own_service: Service) -> None:
    alice = new_user(own_service)
    upload = begun(alice, alice.folder(), 6)
    upload.patch(0, b"123")
    own_service.kill()
    [part] = (own_service.data / "incoming").iterdir()
    with part.open("ab") as stream:
        stream.write(b"never acknowledged")
    own_service.start(own_service.port)
    file_id = upload.patch(3, b"456").headers["Minus-File"]
    assert alice.raw({"id": file_id}).body == b"123456"
    sound(own_service)


@pytest.mark.alone
def test_a_plain_upload_that_a_kill_cut_gives_its_room_back(own_service: Service) -> None:
    dave = new_user(own_service, quota=5_000_000)
    folder = dave.folder()
    headers = {**dave.bearer(), "Host": f"{HOST}:{dave.port}", "Content-Length": "4000000"}
    target = f"/api/v2/folders/{folder['id']}/files/big"
    with connect(dave.port) as sock:
        sock.sendall(head("PUT", target, {**headers, "Expect": "100-continue"}))
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"x" * 2_000_000)
        assert error_of(create(dave, folder, 2_000_000)) == (413, "quota_exceeded")
        own_service.kill()
    sound(own_service)
    own_service.start(own_service.port)
    assert incoming(own_service) == []
    assert create(dave, folder, 5_000_000).status == 201
    sound(own_service)


def test_many_requests_at_once_make_one_file(alice: Client, folder: Row) -> None:
    data = b"z" * 1_000_000
    upload = begun(alice, folder, len(data))
    answers: list[int] = []

    def send() -> None:
        answers.append(upload.patch(0, data).status)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    offset = upload.offset
    upload.patch(offset, data[offset:])
    assert set(answers) <= {204, 409}
    [file] = alice.results(f"folders/{folder['id']}/files")
    assert alice.raw(file).body == data


# --- a client of others ---


def test_tuspy_uploads_is_interrupted_and_goes_on(alice: Client, folder: Row) -> None:
    data = bytes(range(256)) * 8_000
    url = f"{alice.base}api/v2/folders/{folder['id']}/uploads"
    client = TusClient(url, headers=alice.bearer())
    name = {"filename": "ж.bin", "filetype": "application/x-thing"}
    first = client.uploader(
        file_stream=io.BytesIO(data), chunk_size=500_000, metadata=name, upload_checksum=True
    )
    first.upload(stop_at=1_000_000)
    again = client.uploader(
        file_stream=io.BytesIO(data), chunk_size=500_000, url=first.url, upload_checksum=True
    )
    assert again.offset == 1_000_000
    again.upload()
    [file] = alice.results(f"folders/{folder['id']}/files")
    assert (file["name"], file["mimetype"]) == ("ж.bin", "application/x-thing")
    assert alice.raw(file).body == data
    stranger = TusClient(url)
    with pytest.raises(TusCommunicationError):
        stranger.uploader(file_stream=io.BytesIO(data)).upload()


def test_the_curl_session_of_the_docs_works(alice: Client, folder: Row, tmp_path: Path) -> None:
    told = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()
    session = told.partition("## `tus`")[2].partition("```sh\n")[2].partition("```")[0]
    data = bytes(range(256)) * 1000
    (tmp_path / "film.mp4").write_bytes(data)
    known = {
        "api": f"{alice.base}api/v2",
        "auth": f"Authorization: Bearer {alice.token}",
        "ID": folder["id"],
    }
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", session],
        cwd=tmp_path,
        env=clean_environment(**known),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    file = json.loads(done.stdout)
    assert (file["name"], alice.raw(file).body == data) == ("film.mp4", True)
