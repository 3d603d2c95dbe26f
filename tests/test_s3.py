"""Bytes in an object store: parts, going on, links to it, and a store that goes away."""

import hashlib
import io
import random
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.client
import pytest

from minus import EXIT_INTEGRITY, MinusConnection, MinusIntegrityError, main
from minus_server.blobs import HEAD, BlobMissing
from minus_server.errors import CannotServe, StoreAway
from minus_server.places import Places
from minus_server.s3 import PART, S3Blobs
from minus_server.threads import AT_ONCE
from tests.faults import Fault, Line
from tests.helpers import PASSWORD, sign_in
from tests.live import Service
from tests.rawhttp import Client, Row, connect, error_of, head, new_user, png, receive
from tests.seaweed import BUCKET, SECRET, Seaweed, lend_credentials, new_place, shared
from tests.test_wire_tus import Upload, begun, repr_digest

MIB = 1 << 20
LARGE = 40 * MIB  # more than connections hold
DATA = random.Random(1).randbytes(PART + 6 * MIB)  # noqa: S311


@pytest.fixture
def place() -> str:
    return new_place()


@pytest.fixture
def blobs(place: str) -> S3Blobs:
    return S3Blobs(place)


def content(blobs: S3Blobs, key: str) -> bytes:
    with blobs.open(key) as stream:
        return stream.read()


def under_prefix(place: str) -> list[str]:
    """Every object that the store has there, whatever we know of it, but for whose it is."""
    prefix = place.partition("?")[0].removeprefix(f"s3://{BUCKET}/")
    found = shared().client().list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/")
    names = [row["Key"].removeprefix(f"{prefix}/") for row in found.get("Contents", ())]
    return [name for name in names if name != "owner"]


# --- parts ---

SIZES = [0, 1, 5 * MIB, PART - 1, PART, PART + 1, 2 * PART]


@pytest.mark.parametrize("size", SIZES)
def test_a_blob_comes_back_whatever_its_parts_are(blobs: S3Blobs, place: str, size: int) -> None:
    writer, data = blobs.create(), (DATA + DATA)[:size]
    for start in range(0, size, 3 * MIB):
        writer.write(data[start : start + 3 * MIB])
        assert under_prefix(place) == []
    writer.commit()
    assert content(blobs, writer.key) == data
    assert (blobs.size(writer.key), writer.head()) == (size, data[:HEAD])
    assert (under_prefix(place), blobs.incoming()) == ([f"blobs/{writer.key}"], [])


@pytest.mark.parametrize("size", [1, PART, PART + 1])
def test_what_is_given_up_leaves_no_part_behind(blobs: S3Blobs, place: str, size: int) -> None:
    writer = blobs.create()
    writer.write(DATA[:size])
    assert blobs.incoming() == ([writer.key] if size >= PART else [])
    writer.abort()
    writer.abort()
    assert (blobs.incoming(), under_prefix(place)) == ([], [])


def test_a_part_that_arrives_as_other_bytes_is_refused_by_the_store(
    blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minus_server.s3._md5", lambda _: hashlib.md5(b"other").digest())  # noqa: S324
    for size in (1, PART):
        writer = blobs.create()
        with pytest.raises(StoreAway, match="BadDigest"):
            writer.write(DATA[:size])
            writer.commit()
        writer.abort()
    assert (blobs.incoming(), list(blobs.keys())) == ([], [])


def test_what_a_thousand_and_one_blobs_are_called_is_listed_page_by_page(blobs: S3Blobs) -> None:
    keys = {f"key{number}" for number in range(1001)}

    def put(key: str) -> None:
        blobs.put(f"blobs/{key}", b"x")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, keys))
    assert set(blobs.keys()) == keys


# --- going on ---


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 3])
def test_an_upload_goes_on_in_another_process(place: str, size: int) -> None:
    first = S3Blobs(place).create()
    first.write(DATA[:size])
    first.flush()
    first.write(DATA[:MIB])  # which nobody was told of
    first.close()
    blobs = S3Blobs(place)
    assert blobs.incoming() == [first.key]
    second = blobs.resume(first.key, size)
    assert (second.size, second.head()) == (size, DATA[: min(size, HEAD)])
    second.write(DATA[size:])
    assert second.head() == DATA[:HEAD]
    assert second.sha256().hexdigest() == hashlib.sha256(DATA).hexdigest()
    second.commit()
    assert content(blobs, first.key) == DATA
    assert under_prefix(place) == [f"blobs/{first.key}"]


def test_an_upload_goes_on_at_the_last_two_sizes_that_were_flushed(place: str) -> None:
    blobs = S3Blobs(place)
    writer = blobs.create()
    for _ in range(3):
        writer.write(b"x" * 100)
        writer.flush()
        writer.flush()
    writer.close()
    for size in (100, 150, 400):
        with pytest.raises(BlobMissing, match=writer.key):
            blobs.resume(writer.key, size)
    for size in (300, 200):
        again = blobs.resume(writer.key, size)
        assert again.size == size
        again.close()
    last = blobs.resume(writer.key, 200)
    last.write(b"y")
    last.commit()
    assert content(blobs, writer.key) == b"x" * 200 + b"y"
    assert under_prefix(place) == [f"blobs/{writer.key}"]


@pytest.mark.parametrize("size", [3, PART + 3])
def test_a_blob_that_was_whole_before_anything_was_told_of_it_is_found(
    place: str, size: int
) -> None:
    writer = S3Blobs(place).create()
    writer.write(DATA[:size])
    writer.flush()
    late = S3Blobs(place).resume(writer.key, size)
    writer.commit()
    blobs = S3Blobs(place)
    again = blobs.resume(writer.key, size)
    assert (again.size, again.head()) == (size, DATA[: min(size, HEAD)])
    assert again.sha256().hexdigest() == hashlib.sha256(DATA[:size]).hexdigest()
    for each in (late, again):
        each.commit()
        each.close()
    assert content(blobs, writer.key) == DATA[:size]
    with pytest.raises(BlobMissing):
        blobs.resume(writer.key, size - 1)


def test_parts_of_a_process_that_comes_late_get_into_no_blob(place: str) -> None:
    blobs = S3Blobs(place)
    late = blobs.create()
    late.write(DATA[:PART])
    late.flush()
    writer = blobs.resume(late.key, PART)
    writer.write(bytes(PART))
    late.write(DATA[:PART])  # as the same part
    writer.write(b"end")
    writer.commit()
    late.close()
    assert content(blobs, late.key) == DATA[:PART] + bytes(PART) + b"end"


def test_a_size_that_another_writer_flushed_too_has_another_mark(blobs: S3Blobs) -> None:
    late = blobs.create()
    writer = blobs.resume(late.key, 0)
    for each, data in ((writer, b"right"), (late, b"wrong")):
        each.write(data)
        each.flush()
        each.close()
    again = blobs.resume(late.key, 5)
    assert (again.mark, again.mark == writer.mark) == (late.mark, False)
    assert again.sha256().hexdigest() == hashlib.sha256(b"wrong").hexdigest()


def test_a_beginning_that_is_not_what_was_kept_is_refused(blobs: S3Blobs) -> None:
    writer = blobs.create()
    writer.write(b"x" * 100)
    writer.flush()
    writer.close()
    name = f"incoming/{writer.key}/100"
    kept = blobs.ask("get_object", name)["Body"].read()
    blobs.put(name, b"y" + kept[1:])
    with pytest.raises(StoreAway, match="other bytes"):
        blobs.resume(writer.key, 100)


@pytest.mark.parametrize("size", [100, PART + 100])
def test_who_goes_on_with_what_was_given_up_is_told_so(blobs: S3Blobs, size: int) -> None:
    writer = blobs.create()
    writer.write(DATA[:PART])
    writer.flush()
    blobs.forget(writer.key)
    blobs.forget(writer.key)
    writer.write(DATA[:size])
    writer.flush()
    with pytest.raises(BlobMissing, match=writer.key):
        writer.commit()
    writer.abort()
    assert (blobs.incoming(), list(blobs.keys())) == ([], [])


def test_what_was_cut_off_is_cleared_but_for_what_goes_on(blobs: S3Blobs) -> None:
    writers = [blobs.create() for _ in range(3)]
    for writer in writers:
        writer.write(DATA[:PART])
    writers[0].flush()
    writers[1].flush()
    keys = [writer.key for writer in writers]
    assert blobs.incoming() == sorted(keys)
    blobs.clear_incoming({keys[0]})
    assert blobs.incoming() == [keys[0]]
    for writer in writers:
        writer.abort()
    assert blobs.incoming() == []


# --- reading ---


def test_a_stream_asks_once_and_again_only_where_it_is_moved(
    blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = blobs.create()
    writer.write(DATA)
    writer.commit()
    asked: list[str] = []
    ask = botocore.client.BaseClient._make_api_call

    def noted(client: Any, verb: str, told: dict[str, Any]) -> Any:
        asked.append(f"{verb} {told.get('Range', '')}".strip())
        return ask(client, verb, told)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", noted)
    with blobs.open(writer.key, 5) as stream:
        assert stream.seek(5) == 5  # where it is
        assert b"".join(iter(lambda: stream.read(MIB), b"")) == DATA[5:]
        assert asked == ["GetObject bytes=5-"]
        stream.seek(-3, io.SEEK_END)
        stream.seek(2 * MIB)
        assert (stream.read(10), stream.tell()) == (DATA[2 * MIB : 2 * MIB + 10], 2 * MIB + 10)
        assert asked[1:] == [f"GetObject bytes={2 * MIB}-"]
        assert stream.seek(0, io.SEEK_END) == len(DATA)
        assert stream.read() == b""


def test_streams_that_are_left_early_use_nothing_up(blobs: S3Blobs) -> None:
    writer = blobs.create()
    writer.write(DATA)
    writer.commit()
    for _ in range(150):  # more than there are connections
        with blobs.open(writer.key) as stream:
            assert stream.read(3) == DATA[:3]


# --- which store ---


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("s3://KEY:hidden@bucket/x", "must hold no credentials"),
        ("s3://bucket/x?endpoint=http://KEY:hidden@host/", "must hold no credentials"),
        ("s3:///x", "names no bucket"),
        ("s3://bucket/x?endpoint=host:9000", "are addresses with http: or https:"),
        ("s3://bucket/x?secret=hidden", "knows no secret="),
        ("s3://bucket/x?addressing=hidden", "addressing= is path or virtual"),
        ("s3://bucket/x?endpoint=http://127.0.0.1:1", "http://127.0.0.1:1 does not answer"),
        ("gs://bucket/x", "gs is no store that minus knows"),
    ],
)
def test_a_place_that_is_none_is_refused_in_one_line(tmp_path: Path, told: str, why: str) -> None:
    lend_credentials()
    with pytest.raises(CannotServe, match=why) as refused:
        Places(tmp_path, blobs=told).open_blobs()
    assert "hidden" not in str(refused.value)


def test_a_bucket_that_is_missing_and_wrong_credentials_are_told_apart(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CannotServe, match="there is no bucket missing in the object store"):
        S3Blobs(place.replace(f"//{BUCKET}/", "//missing/"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(CannotServe, match="refuses these credentials: SignatureDoesNotMatch") as no:
        S3Blobs(place)
    assert SECRET not in str(no.value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(CannotServe, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        S3Blobs(place)


def test_the_commands_say_in_one_line_why_a_store_cannot_be_used(tmp_path: Path) -> None:
    for options, why in (
        (("--blobs", "s3://bucket/x?endpoint=http://127.0.0.1:1"), "does not answer"),
        (("--presigned", "on"), "needs bytes in an object store"),
    ):
        done = Service(tmp_path / "data").run("serve", "--port", "0", *options)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.startswith("minus-server: ")
        assert why in done.stderr


def test_the_bucket_may_stand_before_the_host(place: str) -> None:
    link = S3Blobs(f"{place}&addressing=path&public=https://files.test").link("k", "a/b", "inline")
    assert link.startswith(f"https://files.test/{BUCKET}/")
    virtual = S3Blobs(f"{place}&public=https://files.test")
    assert virtual.links_to == "https://files.test"


# --- a service ---


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services on one data folder, which is empty at first, one after the other."""
    running = Service(tmp_path / "data")

    def begin(place: str, *options: str) -> Service:
        running.environment = {"MINUS_BLOBS": place}
        running.options = options
        running.start()
        return running

    yield begin
    if running.running:
        assert running.stop() == 0
    assert "Traceback" not in running.log()
    assert SECRET not in running.log()


def test_files_are_served_from_the_store_in_every_way(
    start: Callable[..., Service], place: str
) -> None:
    alice = new_user(start(place))
    folder = alice.folder()
    picture = png(1200, 900) + bytes(100_000)
    large = alice.upload(DATA, "large.bin", folder)
    drawn = alice.upload(picture, "drawn.png", folder)
    text = alice.upload(b"a line\n" * 20_000, "long.txt", folder)
    assert alice.raw(large).body == DATA
    part = alice.raw(large, Range=f"bytes={PART - 2}-{PART + 1}")
    assert (part.status, part.body) == (206, DATA[PART - 2 : PART + 2])
    assert (drawn["width"], drawn["height"]) == (1200, 900)
    for _ in range(2):
        thumbnail = alice.call("GET", f"/k{drawn['id']}.jpg")
        assert thumbnail.body.startswith(b"\xff\xd8\xff")
    assert alice.call("GET", f"/l{text['id']}").body.count(b"a line") > 9_000
    packed = zipfile.ZipFile(io.BytesIO(alice.call("GET", f"/m{folder['id']}.zip").body))
    assert packed.testzip() is None
    assert [packed.read(name) for name in packed.namelist()][:2] == [DATA, picture]
    tar = alice.call("GET", f"folders/{folder['id']}/tar", alice.bearer())
    assert DATA in tar.body
    blobs = S3Blobs(place)
    assert len(list(blobs.keys())) == 3
    for row in (large, drawn, text):
        alice.delete(f"files/{row['id']}")
    assert (list(blobs.keys()), under_prefix(place)) == ([], [])


def test_an_upload_goes_on_after_a_restart_and_other_bytes_are_never_kept(
    start: Callable[..., Service], place: str
) -> None:
    service = start(place)
    alice = new_user(service)
    folder = alice.folder()
    told = repr_digest(DATA), repr_digest(DATA[1:])
    right, wrong = (begun(alice, folder, len(DATA), digest) for digest in told)
    for upload in (right, wrong):
        assert upload.patch(0, DATA[: PART + 7]).status == 204
    service.kill()
    service.start(service.port)
    refused = wrong.patch(PART + 7, DATA[PART + 7 :])
    assert error_of(refused) == (400, "digest_mismatch")
    assert len(S3Blobs(place).incoming()) == 1
    answer = right.patch(PART + 7, DATA[PART + 7 :])
    assert answer.status == 204
    assert alice.raw({"id": answer.headers["Minus-File"]}).body == DATA
    (key,) = S3Blobs(place).keys()
    assert under_prefix(place) == [f"blobs/{key}"]


# --- links to the store ---


@pytest.fixture
def redirecting(start: Callable[..., Service], place: str) -> Service:
    return start(place, "--presigned", "on")


def test_a_redirected_file_is_verified_and_the_store_sees_no_token(
    redirecting: Service, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    redirecting.add_user("alice", PASSWORD)
    api: MinusConnection = sign_in(redirecting, "alice")
    folder = api.activeuser().new_folder("Stuff")
    file = folder.new("large.bin", DATA)
    api.debug = True
    with file.file() as stream:
        assert stream.read() == DATA
        assert stream.etag.strip('"') == file.sha256[:32]
    api.debug = False
    shown = capsys.readouterr().err
    assert f"> GET {shared().endpoint}/{BUCKET}/" in shown
    assert "Amz-Signature" not in shown
    asked = shown.partition(f"> GET {shared().endpoint}/")[2].partition("\n< ")[0]
    assert "Authorization" not in asked
    file.save(tmp_path / "saved.bin")
    assert (tmp_path / "saved.bin").read_bytes() == DATA

    blobs = S3Blobs(place)
    (key,) = blobs.keys()
    blobs.put(f"blobs/{key}", b"X" + DATA[1:])
    with pytest.raises(MinusIntegrityError), file.file() as stream:
        stream.read()
    config = tmp_path / "config"
    config.write_text(
        f"[api]\nurl: {redirecting.url}\napi_key: {redirecting.api_key}\n"
        f"api_secret: {redirecting.api_secret}\nusername: alice\n"
    )
    given = tmp_path / "password"
    given.write_text(f"{PASSWORD}\n")
    given.chmod(0o600)
    options = ["--config", str(config), "--password-file", str(given)]
    assert main([*options, "--get", "Stuff", "large.bin"]) == EXIT_INTEGRITY
    assert not Path("large.bin").exists()
    api.close()


def test_s46_a_link_forces_type_and_disposition_and_leads_away_only_where_that_is_harmless(
    redirecting: Service,
) -> None:
    alice = new_user(redirecting)
    folder = alice.folder()
    film = alice.upload(bytes(70_000), "fi lm\u00e9.mp4", folder)
    answer = alice.raw(film)
    assert (answer.status, answer.body) == (302, b"")
    assert answer.headers["Cache-Control"] == "no-store"
    digest = repr_digest(bytes(70_000))["Repr-Digest"]
    assert answer.headers["Repr-Digest"] == digest
    link = answer.headers["Location"]
    assert "X-Amz-Expires=60&" in link
    port, target = int(link.split(":")[2].partition("/")[0]), "/" + link.split("/", 3)[3]
    came = Client(redirecting, "", "")
    came.port = port
    got = came.call("GET", target, {"Range": "bytes=3-"})
    assert (got.status, len(got.body)) == (206, 69_997)
    assert got.headers["Content-Type"] == "video/mp4"
    assert got.headers["Content-Disposition"] == (
        "inline; filename=\"fi lm_.mp4\"; filename*=UTF-8''fi%20lm%C3%A9.mp4"
    )
    etag = answer.headers["ETag"]
    for headers in (
        {"Range": "bytes=3-", "If_Range": etag},
        {"If_None_Match": '"other"'},
        {"If_Modified_Since": "Sat, 01 Jan 2000 00:00:00 GMT"},
        {"Sec_Fetch_Dest": "empty"},
    ):
        assert alice.raw(film, **headers).status in (200, 206)
    assert alice.raw(film, "HEAD").status == 200
    stays = (b"x" * 100, "small.bin"), (b"x" * 70_000, "t.txt"), (b"<p>" * 30_000, "t.html")
    for data, name in stays:
        row: Row = alice.upload(data, name, folder)
        assert (alice.raw(row).status, alice.raw(row).body) == (200, data)
    page = alice.call("GET", f"/m{folder['id']}")
    assert f"media-src 'self' blob: {shared().endpoint};" in page.headers["Content-Security-Policy"]


# --- a store that goes away ---


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Seaweed]:
    """A store for one test, which may kill it."""
    lend_credentials()
    store = Seaweed(tmp_path / "weed")
    store.start()
    yield store
    store.remove()


def test_a_store_that_goes_away_costs_an_answer_and_nothing_else(
    start: Callable[..., Service], own_store: Seaweed
) -> None:
    service = start(own_store.place("x"))
    alice = new_user(service)
    folder = alice.folder()
    row = alice.upload(DATA, "kept.bin", folder)
    large = alice.upload(bytes(LARGE), "large.bin", folder)
    upload: Upload = begun(alice, folder, len(DATA))
    assert upload.patch(0, DATA[:PART]).status == 204
    with connect(service.port) as sock:
        sock.sendall(head("GET", f"/i{large['id']}", {"Host": f"127.0.0.1:{service.port}"}))
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
        with connect(service.port) as sending:
            _begin_put(sending, alice, folder)
            own_store.kill()
            sending.sendall(DATA[MIB:])
            refused = receive(sending)
        rest = 0
        while block := sock.recv(1 << 16):
            rest += len(block)
        assert rest < LARGE
    assert error_of(refused) == (503, "temporarily_unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    for answer in (alice.raw(row), upload.patch(PART, DATA[PART:])):
        assert error_of(answer) == (503, "temporarily_unavailable")
    assert alice.raw(row, "HEAD").status == 200
    assert alice.call("GET", "/readyz").status == 503
    alice.delete(f"files/{large['id']}")  # its row is gone, so it is; its bytes are swept

    own_store.start()
    assert alice.call("GET", "/readyz").status == 200
    assert upload.patch(PART, DATA[PART:]).status == 204
    assert alice.raw(row).body == DATA
    alice.upload(DATA, "again.bin", folder)
    sizes = sorted(map(int, alice.values(f"folders/{folder['id']}/files", "filesize")))
    assert sizes == [len(DATA)] * 3
    assert len(list(S3Blobs(own_store.place("x")).keys())) == 4


def test_a_store_that_stalls_takes_the_threads_of_nobody_else(
    start: Callable[..., Service], place: str
) -> None:
    endpoint = urlsplit(shared().endpoint)
    with Line(endpoint.port or 0) as line:
        service = start(place.replace(endpoint.geturl(), line.url.rstrip("/")))
        alice = new_user(service)
        folder = alice.folder()
        row = alice.upload(DATA, "kept.bin", folder)
        line.inject(Fault("delay"), late=600)

        def asked() -> None:
            with suppress(HTTPException, OSError):
                alice.raw(row)

        with ThreadPoolExecutor(2 * AT_ONCE) as threads:
            waiting = [threads.submit(asked) for _ in range(2 * AT_ONCE)]
            while line.calls < AT_ONCE:
                threading.Event().wait(0.01)
            for path in (f"folders/{folder['id']}/files", f"/m{folder['id']}"):
                assert alice.call("GET", path, alice.bearer()).status == 200
            assert alice.call("GET", "/readyz").body == b"store"
            assert not any(each.done() for each in waiting)
            line.mend()
            line.hang_up()  # whatever that makes of those that waited
        assert alice.raw(row).body == DATA


def _begin_put(sock: Any, alice: Client, folder: Row) -> None:
    """Send the first MiB of a file."""
    headers = alice.bearer() | {
        "Host": f"127.0.0.1:{alice.port}",
        "Content-Length": str(len(DATA)),
    }
    sock.sendall(head("PUT", f"/api/v2/folders/{folder['id']}/files/new.bin", headers))
    sock.sendall(DATA[:MIB])
