"""Many small files in one request, one file as a bare body, digests; what a batch costs."""

import base64
import contextlib
import hashlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from queue import SimpleQueue
from urllib.parse import quote

import anyio
import pytest
from starlette.requests import Request
from starlette.types import Message

from minus_server import batches
from minus_server.errors import TimedOut
from tests.flushes import count_flushes
from tests.live import Service
from tests.rawhttp import (
    BOUNDARY,
    FILE,
    FORM,
    HOST,
    MULTIPART,
    Answer,
    Client,
    Row,
    checked,
    connect,
    drain,
    error_of,
    head,
    multipart,
    new_user,
    part,
    png,
    receive,
)
from tests.test_durability import incoming, sound

BATCH_FILES = 1000
BATCH_FILE_BYTES = 65_536
BATCH_BYTES = 2 << 20
MAX_BODY = 16 << 20
FILE_FIELDS = (*(key for key in FILE if key != "id"), "sha256", "id")


@pytest.fixture(scope="module")
def alice(service: Service) -> Client:
    return new_user(service)


@pytest.fixture
def folder(alice: Client) -> Row:
    return alice.folder()


def digest_of(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def item(name: str, data: bytes, mimetype: str = "text/plain", **headers: str) -> bytes:
    """A file of a batch, with more headers."""
    lines = [
        f"--{BOUNDARY}",
        f'Content-Disposition: form-data; name="file"; filename="{name}"',
        f"Content-Type: {mimetype}",
        *(f"{key.replace('_', '-')}: {value}" for key, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + data + b"\r\n"


def post(client: Client, folder: Row, *parts: bytes, query: str = "") -> Answer:
    headers = client.bearer() | {"Content-Type": MULTIPART}
    path = f"folders/{folder['id']}/batch{query}"
    return checked(client.call("POST", path, headers, multipart(*parts)))


def added(client: Client, folder: Row, *parts: bytes, query: str = "") -> list[Row]:
    answer = post(client, folder, *parts, query=query)
    assert answer.status == 200, answer.body
    assert list(answer.json()) == ["results"]
    return list(answer.json()["results"])


def names_in(client: Client, folder: Row) -> list[str]:
    return client.values(f"folders/{folder['id']}/files", "name")


# --- a batch ---


def test_a_batch_adds_its_files_in_order_and_tells_of_each(alice: Client, folder: Row) -> None:
    used = alice.get("activeuser")["storage_used"]
    contents = {"z.txt": b"one", "a.bin": bytes(range(256)) * 256, "empty": b"", "ж €.txt": b"4"}
    rows = added(alice, folder, *(item(name, data) for name, data in contents.items()))
    assert [row["name"] for row in rows] == list(contents)
    assert [row["filesize"] for row in rows] == [3, BATCH_FILE_BYTES, 0, 1]
    listed = alice.results(f"folders/{folder['id']}/files")
    for row, shown, data in zip(rows, listed, contents.values(), strict=True):
        assert {**row, "uploaded_ago": 0} == {**shown, "uploaded_ago": 0}
        assert tuple(row) == FILE_FIELDS
        assert alice.raw(row).body == data
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
    assert alice.get(f"folders/{folder['id']}")["file_count"] == 4
    assert alice.get("activeuser")["storage_used"] == used + 4 + BATCH_FILE_BYTES
    first = alice.raw(rows[1], Range="bytes=255-257")
    assert (first.status, first.body) == (206, b"\xff\0\1")
    assert alice.raw(rows[1], "HEAD").headers["Content-Length"] == str(BATCH_FILE_BYTES)
    assert alice.raw(rows[2]).body == b""


def test_a_batch_takes_types_captions_and_digests(alice: Client, folder: Row) -> None:
    rows = added(
        alice,
        folder,
        item("a", b"a", "text/html", Content_Description="né: a caption"),
        item("b.txt", b"b", "application/octet-stream", Repr_Digest=digest_of(b"b")),
        item("c.txt", b"c", Repr_Digest=f"sha-512=:AAAA:, {digest_of(b'c')}"),
        item("d.txt", b"d", Repr_Digest="sha-512=:AAAA:"),
        item("e.txt", png(3, 2)),
    )
    assert [row["mimetype"] for row in rows] == [
        "text/html", "text/plain", "text/plain", "text/plain", "image/png",
    ]  # fmt: skip
    assert [row["caption"] for row in rows] == ["né: a caption", "", "", "", ""]
    assert (rows[4]["width"], rows[4]["height"]) == (3, 2)
    for letter in "jk":
        thumbnail = alice.call("GET", f"/{letter}{rows[4]['id']}")
        assert thumbnail.headers.get_content_type() in ("image/png", "image/jpeg")


def test_a_batch_may_show_some_fields(alice: Client, folder: Row) -> None:
    for query, keys in (("sha256", ["sha256", "id"]), ("name,id", ["name", "id"])):
        rows = added(alice, folder, item("a", b"a"), query=f"?fields={query}")
        assert [list(row) for row in rows] == [keys]
    for bad in ("nonsense", "", "name,,id"):
        assert error_of(post(alice, folder, item("a", b"a"), query=f"?fields={bad}")) == (
            400,
            "invalid_request",
        )
    assert names_in(alice, folder) == ["a", "a"]


def test_a_batch_takes_its_token_in_the_query_and_passes_over_other_fields(
    alice: Client, folder: Row
) -> None:
    body = multipart(part("caption", b"x"), item("a", b"a"), part("other", b"y", "b.txt"))
    path = f"folders/{folder['id']}/batch"
    answer = alice.call(
        "POST", f"{path}?bearer_token={alice.token}", {"Content-Type": MULTIPART}, body
    )
    assert [row["name"] for row in answer.json()["results"]] == ["a"]
    body = multipart(part("bearer_token", alice.token.encode()), item("a", b"a"))
    assert alice.call("POST", path, {"Content-Type": MULTIPART}, body).status == 401


def test_a_batch_of_the_most_files_is_kept(alice: Client, folder: Row) -> None:
    rows = added(alice, folder, *(item(f"{n}", b"%d" % n) for n in range(BATCH_FILES)))
    assert [row["name"] for row in rows] == [f"{n}" for n in range(BATCH_FILES)]
    assert alice.raw(rows[999]).body == b"999"
    alice.delete(f"folders/{folder['id']}")
    assert {alice.raw(row).status for row in rows[::100]} == {404}


GOOD = item("good.txt", b"good")


@pytest.mark.parametrize(
    ("parts", "status", "error", "file"),
    [
        ([GOOD, item("b", b"b", Repr_Digest=digest_of(b"c"))], 400, "digest_mismatch", "b"),
        ([GOOD, item("b", b"b", Repr_Digest="sha-256=:x:")], 400, "invalid_request", "b"),
        ([GOOD, item("a\x01b", b"b")], 400, "invalid_request", "a\x01b"),
        ([GOOD, item("", b"b")], 400, "invalid_request", ""),
        ([GOOD, item("..", b"b")], 400, "invalid_request", ".."),
        ([GOOD, part("file", b"b")], 400, "invalid_request", ""),
        ([GOOD, item("c", b"b", Content_Description="x" * 10_001)], 400, "invalid_request", "c"),
        ([GOOD, item("big", bytes(BATCH_FILE_BYTES + 1))], 413, "too_large", "big"),
        ([item(f"{n}", b"") for n in range(BATCH_FILES + 1)], 413, "too_large", "1000"),
        (
            [item(f"{n}", bytes(BATCH_FILE_BYTES)) for n in range(BATCH_BYTES // BATCH_FILE_BYTES)]
            + [item("last", b"x")],
            413,
            "too_large",
            "last",
        ),
        ([GOOD, *[part("x", b"")] * (BATCH_FILES + 100)], 400, "invalid_request", None),
        ([part("caption", b"x")], 400, "invalid_request", None),
        ([], 400, "invalid_request", None),
    ],
    ids=lambda value: str(value)[:12] if isinstance(value, str) else "",
)
def test_a_batch_with_one_bad_file_is_refused_whole(
    alice: Client, folder: Row, parts: list[bytes], status: int, error: str, file: str | None
) -> None:
    used = alice.get("activeuser")["storage_used"]
    answer = post(alice, folder, *parts)
    assert error_of(answer) == (status, error)
    assert answer.json().get("file") == file
    assert names_in(alice, folder) == []
    assert alice.get("activeuser")["storage_used"] == used


def test_a_body_that_is_too_large_is_refused_whether_it_tells_or_not(
    alice: Client, folder: Row
) -> None:
    assert error_of(post(alice, folder, item("a", bytes(MAX_BODY)))) == (413, "too_large")
    head = (
        f"POST /api/v2/folders/{folder['id']}/batch HTTP/1.1\r\nHost: 127.0.0.1:{alice.port}\r\n"
        f"Authorization: Bearer {alice.token}\r\nContent-Type: {MULTIPART}\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    with connect(alice.port) as sock:
        sock.sendall(head.encode())
        block = bytes(1 << 20)
        for _ in range(17):
            sock.sendall(b"%x\r\n%b\r\n" % (len(block), block))
        sock.sendall(b"0\r\n\r\n")
        assert b" 413 " in drain(sock).split(b"\r\n")[0]
    assert names_in(alice, folder) == []


def test_a_batch_beyond_the_quota_leaves_nothing(service: Service) -> None:
    bob = new_user(service, quota=10)
    folder = bob.folder()
    added(bob, folder, item("a", b"1234"), item("b", b"12"))
    answer = post(bob, folder, item("c", b"1"), item("d", b"1234"))
    assert error_of(answer) == (413, "quota_exceeded")
    assert bob.get("activeuser")["storage_used"] == 6
    added(bob, folder, item("c", b"1"), item("d", b"123"))
    assert names_in(bob, folder) == ["a", "b", "c", "d"]


def test_a_batch_needs_a_token_that_may_add_to_the_folder(alice: Client, service: Service) -> None:
    folder, secret = alice.folder(), alice.folder(is_public="false")
    bob = new_user(service)
    tries: list[tuple[Client, Row, int, str]] = [
        (Client(service, "x", "wrong"), folder, 401, "invalid_token"),
        (alice.limited("read_all"), folder, 403, "insufficient_scope"),
        (bob, folder, 403, "insufficient_scope"),
        (bob, secret, 404, "not_found"),
        (alice, {"id": "x" * 12}, 404, "not_found"),
    ]
    for client, where, status, error in tries:
        assert error_of(post(client, where, GOOD)) == (status, error)
        assert error_of(put(client, where, "a", b"a")) == (status, error)
    path = f"/api/v2/folders/{folder['id']}/batch"
    assert alice.bare("POST", path).status == 401
    assert alice.bare("PUT", f"/api/v2/folders/{folder['id']}/files/a").status == 401
    headers = alice.bearer() | {"Content-Type": FORM}
    assert alice.call("POST", path, headers, b"a=b").status == 400
    assert names_in(alice, folder) == []


def test_a_folder_that_is_deleted_while_a_batch_comes_takes_nothing(alice: Client) -> None:
    folder = alice.folder()
    used = alice.get("activeuser")["storage_used"]
    body = multipart(*(item(f"{n}", bytes(1000)) for n in range(100)))
    with half_a_batch(alice, folder, body) as sock:
        alice.delete(f"folders/{folder['id']}")
        sock.sendall(body[len(body) // 2 :])
        assert sock.recv(100).startswith(b"HTTP/1.1 404 ")
    assert alice.get("activeuser")["storage_used"] == used


def test_a_batch_that_is_cut_short_leaves_nothing(alice: Client, folder: Row) -> None:
    body = multipart(*(item(f"{n}", bytes(1000)) for n in range(100)))
    with half_a_batch(alice, folder, body) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(100).startswith(b"HTTP/1.1 400 ")
    assert names_in(alice, folder) == []


def half_a_batch(client: Client, folder: Row, body: bytes) -> socket.socket:
    """A batch of which the service has asked for the body and got half."""
    head = (
        f"POST /api/v2/folders/{folder['id']}/batch HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n"
        f"Authorization: Bearer {client.token}\r\nContent-Type: {MULTIPART}\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    sock = connect(client.port)
    sock.sendall(head.encode())
    assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
    sock.sendall(body[: len(body) // 2])
    return sock


# --- a file as a bare body ---


def put(
    client: Client, folder: Row, name: str, data: bytes, query: str = "", **headers: str
) -> Answer:
    said = client.bearer() | {key.replace("_", "-"): value for key, value in headers.items()}
    path = f"folders/{folder['id']}/files/{name}{query}"
    return checked(client.call("PUT", path, said, data))


@pytest.mark.parametrize("size", [0, 4, BATCH_FILE_BYTES, BATCH_FILE_BYTES + 1, 3_000_000])
def test_a_bare_body_becomes_a_file(alice: Client, folder: Row, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    answer = put(
        alice, folder, "t.txt", data, "?caption=My%20file",
        Content_Type="text/html", Repr_Digest=digest_of(data),
    )  # fmt: skip
    assert answer.status == 200
    row = answer.json()
    assert tuple(row) == FILE_FIELDS
    said = (row["name"], row["caption"], row["mimetype"], row["filesize"])
    assert said == ("t.txt", "My file", "text/html", size)
    assert alice.raw(row).body == data
    assert alice.results(f"folders/{folder['id']}/files")[0]["sha256"] == row["sha256"]


@pytest.mark.parametrize(
    "name",
    ["a b.txt", "ж€.txt", "100%.txt", "a%20b.txt", "%41", "a+b", "a?b#c", 'q"q', "a\\b", "k."],
)
def test_a_bare_file_has_the_name_of_its_address(alice: Client, folder: Row, name: str) -> None:
    assert put(alice, folder, quote(name, safe=""), b"x").json()["name"] == name
    assert names_in(alice, folder) == [name]


@pytest.mark.parametrize("name", ["", "%20", "..", "%2E%2E", "a%01", "x" * 256, "%FF%00"])
def test_a_bare_file_without_a_fit_name_is_refused(alice: Client, folder: Row, name: str) -> None:
    assert put(alice, folder, name, b"x").status in (400, 404, 405)
    assert names_in(alice, folder) == []


@pytest.mark.parametrize("kind", [{}, {"Content_Type": FORM}])
def test_a_bare_file_may_have_no_type(alice: Client, folder: Row, kind: dict[str, str]) -> None:
    assert put(alice, folder, "a.css", b"x", **kind).json()["mimetype"] == "text/css"


@pytest.mark.parametrize("size", [4, 3_000_000])
@pytest.mark.parametrize("way", ["put", "form"])
def test_other_bytes_than_the_digest_tells_of_are_refused(
    alice: Client, folder: Row, size: int, way: str
) -> None:
    data = b"x" * size

    def send(digest: str) -> Answer:
        if way == "put":
            return put(alice, folder, "a.txt", data, Repr_Digest=digest)
        return alice.post_file(multipart(item("a.txt", data, Repr_Digest=digest)), folder=folder)

    assert error_of(send(digest_of(b"y"))) == (400, "digest_mismatch")
    assert error_of(send("sha-256=nonsense")) == (400, "invalid_request")
    assert names_in(alice, folder) == []
    assert send(digest_of(data)).status == 200
    assert incoming(alice.service) == []


def test_a_bare_file_beyond_the_quota_is_refused_before_it_comes(service: Service) -> None:
    bob = new_user(service, quota=100)
    folder = bob.folder()
    for size in (101, 1_000_000):
        assert error_of(put(bob, folder, "a", bytes(size))) == (413, "quota_exceeded")
    assert bob.get("activeuser")["storage_used"] == 0
    assert put(bob, folder, "a", bytes(100)).status == 200


# --- durability ---


def test_a_kill_in_the_middle_of_batches_leaves_each_whole_or_absent(own_service: Service) -> None:
    alice = new_user(own_service)
    told: SimpleQueue[str] = SimpleQueue()

    def add_until_killed(folder: Row) -> None:
        number = 0
        while True:
            body = [item(f"{number} {n}", b"%d %d " % (number, n) * 500) for n in range(50)]
            try:
                rows = added(alice, folder, *body, query="?fields=name")
            except (OSError, HTTPException):
                return
            told.put(f"{folder['id']} {rows[0]['name']}")
            number += 1

    for _ in range(3):
        folders = [alice.folder() for _ in range(2)]
        threads = [threading.Thread(target=add_until_killed, args=(each,)) for each in folders]
        for thread in threads:
            thread.start()
        kept = {told.get(timeout=60) for _ in range(5)}
        own_service.kill()
        for thread in threads:
            thread.join(60)
        while not told.empty():
            kept.add(told.get())
        own_service.start()
        alice = Client(own_service, alice.name, alice.token)
        sound(own_service)
        for folder in folders:
            files = f"folders/{folder['id']}/files"
            count = alice.get(files)["total"]
            rows = alice.walk(files, alice.get(files)["per_page"], count)
            assert count % 50 == 0
            names = [f"{number} {n}" for number in range(count // 50) for n in range(50)]
            assert [row["name"] for row in rows] == names
            sent = {key.split()[1] for key in kept if key.startswith(folder["id"])}
            assert sent <= {name.split()[0] for name in names}
    assert "Traceback" not in own_service.log()


@pytest.mark.alone
def test_a_batch_costs_a_few_flushes_and_not_one_a_file(
    own_service: Service, tmp_path: Path
) -> None:
    def flushes(act: Callable[[], object]) -> int:
        return count_flushes(own_service, act, tmp_path / "trace")

    alice = new_user(own_service)
    folder = alice.folder()
    batch = [item(f"{n}", b"%d" % n * 1000) for n in range(500)]
    assert 1 <= flushes(lambda: added(alice, folder, *batch)) <= 5
    assert 1 <= flushes(lambda: alice.upload(b"small", folder=folder)) <= 4
    assert 3 <= flushes(lambda: alice.upload(bytes(100_000), folder=folder)) <= 8
    found = json.loads(alice.call("GET", f"folders/{folder['id']}", alice.bearer()).body)
    assert found["file_count"] == 502


def test_a_page_of_very_long_texts_ends_early_and_goes_on(alice: Client) -> None:
    folder = alice.folder()
    for start in range(0, 800, 200):
        items = (item(f"{start + n}", b"", Content_Description="x" * 6_000) for n in range(200))
        added(alice, folder, *items)
    page = alice.get(f"folders/{folder['id']}/files?cursor=&per_page=800")
    assert (len(page["results"]), page["total"]) == (500, 800)
    more = alice.get(page["next"].partition("/api/v2/")[2])
    found = [row["name"] for row in (*page["results"], *more["results"])]
    assert (found, more["next"]) == ([f"{n}" for n in range(800)], None)
    short = alice.get(f"folders/{folder['id']}/files?cursor=&per_page=800&fields=name")
    assert (len(short["results"]), short["next"]) == (800, None)


# --- who may keep others waiting ---


def open_batch(client: Client, folder: Row, size: int) -> socket.socket:
    """Send the head of a batch whose body does not come."""
    headers = {
        "Host": f"{HOST}:{client.port}",
        **client.bearer(),
        "Content-Type": MULTIPART,
        "Content-Length": str(size),
        "Expect": "100-continue",
    }
    sock = connect(client.port)
    sock.sendall(head("POST", f"/api/v2/folders/{folder['id']}/batch", headers))
    return sock


def test_one_user_has_few_bodies_at_once_and_others_do_not_wait(own_service: Service) -> None:
    alice, bob = new_user(own_service), new_user(own_service)
    folder, body = alice.folder(), multipart(item("a", b"x"))
    with contextlib.ExitStack() as opened:
        socks = [opened.enter_context(open_batch(alice, folder, len(body))) for _ in range(20)]
        while len(select.select(socks, [], [], 30)[0]) < 4:
            time.sleep(0.01)
        answer = bob.call(
            "POST",
            f"folders/{bob.folder()['id']}/batch",
            {**bob.bearer(), "Content-Type": MULTIPART},
            body,
        )
        assert answer.status == 200
        ready = select.select(socks, [], [], 0)[0]
        assert len(ready) == 4
        for sock in ready:
            assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
            sock.sendall(body)
            assert receive(sock).status == 200
    sound(own_service)


def test_a_batch_that_stalls_has_no_second_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "GRACE_SECONDS", 0.2)
    blocks = [b"x", b"x"]

    async def dripping() -> Message:
        await anyio.sleep(0.15)
        if not blocks:
            await anyio.sleep_forever()
        return {"type": "http.request", "body": blocks.pop(), "more_body": True}

    scope = {"type": "http", "method": "POST", "headers": []}
    with pytest.raises(TimedOut, match="Less than 16384 bytes a second came"):
        anyio.run(batches._body, Request(scope, dripping))
    assert len(blocks) == 1
