"""Requests that are sent twice with one Idempotency-Key: one result, and no twin."""

import hashlib
import itertools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest

from tests.live import Service
from tests.rawhttp import (
    FORM,
    HOST,
    MULTIPART,
    Answer,
    Client,
    Row,
    call,
    connect,
    error_of,
    head,
    multipart,
    new_user,
    part,
    receive,
)
from tests.test_durability import incoming, sound
from tests.test_wire_tus import BYTES, TUS, metadata

LARGE = b"x" * 3_000_000
keys = (f"key-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def alice(service: Service) -> Client:
    return new_user(service)


@pytest.fixture
def folder(alice: Client) -> Row:
    return alice.folder()


def files_of(client: Client, folder: Row) -> list[Row]:
    return client.results(f"folders/{folder['id']}/files")


def a_form(*files: tuple[str, bytes]) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": MULTIPART}, multipart(*(part("file", d, n) for n, d in files))


Send = Callable[[Client, Row, str, bytes, str], Answer]


def post(client: Client, folder: Row, name: str, data: bytes, key: str) -> Answer:
    headers, body = a_form((name, data))
    headers |= {**client.bearer(), "Idempotency-Key": key}
    return client.call("POST", f"folders/{folder['id']}/files", headers, body)


def put(client: Client, folder: Row, name: str, data: bytes, key: str) -> Answer:
    headers = {**client.bearer(), "Idempotency-Key": key}
    return client.call("PUT", f"folders/{folder['id']}/files/{name}", headers, data)


def batch(client: Client, folder: Row, name: str, data: bytes, key: str) -> Answer:
    headers, body = a_form((name, data[:1000]), ("second", b"2"))
    headers |= {**client.bearer(), "Idempotency-Key": key}
    return client.call("POST", f"folders/{folder['id']}/batch", headers, body)


def item(client: Client, folder: Row, name: str, data: bytes, key: str) -> Answer:
    headers = {**client.bearer(), "Idempotency-Key": key}
    query = urlencode({"editor_id": folder["id"], "filename": name})
    return client.call("POST", f"/api/UploadItem?{query}", headers, data)


UPLOADS = [post, put, batch, item]


@pytest.mark.parametrize("send", UPLOADS, ids=lambda send: send.__name__)
@pytest.mark.parametrize("data", [b"text", LARGE], ids=["small", "large"])
def test_a_repeat_gives_the_first_result_and_no_twin(
    alice: Client, folder: Row, send: Send, data: bytes
) -> None:
    key = next(keys)
    first = send(alice, folder, "a", data, key)
    assert (first.status, first.headers["Idempotency-Replayed"]) == (200, None)
    kept = files_of(alice, folder)
    used = alice.get("activeuser")["storage_used"]
    again = send(alice, folder, "a", data, key)
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert without_ago(again.json()) == without_ago(first.json())
    assert [row["id"] for row in files_of(alice, folder)] == [row["id"] for row in kept]
    assert alice.get("activeuser")["storage_used"] == used
    for name, other in (("b", data), ("a", b"!" + data[1:])):
        assert error_of(send(alice, folder, name, other, key)) == (422, "idempotency_key_reused")
    assert error_of(send(alice, alice.folder(), "a", data, key)) == (422, "idempotency_key_reused")
    alice.ok("PUT", f"files/{kept[0]['id']}", {"caption": "later"})
    if send in (post, put):
        assert send(alice, folder, "a", data, key).json()["caption"] == "later"
    assert send(alice, folder, "a", data, next(keys)).headers["Idempotency-Replayed"] is None
    assert len(files_of(alice, folder)) == 2 * len(kept)
    alice.delete(f"files/{kept[0]['id']}")
    assert error_of(send(alice, folder, "a", data, key)) == (404, "not_found")


def without_ago(row: Row) -> Row:
    return {k: [without_ago(r) for r in v] if k == "results" else v
            for k, v in row.items() if k != "uploaded_ago"}  # fmt: skip


@pytest.mark.parametrize("send", UPLOADS, ids=lambda send: send.__name__)
def test_repeats_at_the_same_time_make_one(alice: Client, folder: Row, send: Send) -> None:
    key, answers = next(keys), list[Answer]()
    threads = [
        threading.Thread(target=lambda: answers.append(send(alice, folder, "a", LARGE, key)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {200}
    told = [answer.headers["Idempotency-Replayed"] for answer in answers]
    assert sorted(map(str, told)) == ["None"] + ["true"] * 7
    assert len(files_of(alice, folder)) == (2 if send is batch else 1)
    assert len({str(without_ago(answer.json())) for answer in answers}) == 1


def test_a_repeat_needs_no_room(service: Service) -> None:
    dave = new_user(service, quota=len(LARGE))
    folder, key = dave.folder(), next(keys)
    first = put(dave, folder, "a", LARGE, key)
    again = put(dave, folder, "a", LARGE, key)
    assert again.json()["id"] == first.json()["id"]
    assert error_of(put(dave, folder, "a", LARGE, next(keys))) == (413, "quota_exceeded")
    sound(service)


def test_keys_of_two_users_are_two(service: Service, alice: Client) -> None:
    bob, key = new_user(service), next(keys)
    rows = [put(who, who.folder(), "a", b"x", key).json() for who in (alice, bob)]
    assert rows[0]["id"] != rows[1]["id"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "né"])
def test_what_is_no_key_is_refused(alice: Client, folder: Row, key: str) -> None:
    sent = key.encode().decode("latin-1")
    for send in UPLOADS:
        assert error_of(send(alice, folder, "a", b"x", sent)) == (400, "invalid_request")
    good = f"!~{next(keys):x>253}"
    assert put(alice, folder, "a", b"x", good).status == 200


def test_an_upload_that_failed_may_be_sent_again_with_its_key(alice: Client, folder: Row) -> None:
    key = next(keys)
    headers = {**alice.bearer(), "Idempotency-Key": key, "Repr-Digest": f"sha-256=:{'A' * 43}=:"}
    target = f"folders/{folder['id']}/files/a"
    assert error_of(alice.call("PUT", target, headers, b"x"))[1] == "digest_mismatch"
    assert put(alice, folder, "a", b"x", key).headers["Idempotency-Replayed"] is None


def test_a_folder_is_made_once(alice: Client) -> None:
    key, path = next(keys), f"users/{alice.slug}/folders"
    headers = {**alice.bearer(), "Idempotency-Key": key, "Content-Type": FORM}
    first = alice.call("POST", path, headers, b"name=Once")
    again = alice.call("POST", path, headers, b"name=Once")
    assert (first.json()["id"], again.headers["Idempotency-Replayed"]) == (
        again.json()["id"], "true",
    )  # fmt: skip
    assert list(first.json()) == list(again.json())
    assert error_of(alice.call("POST", path, headers, b"name=Other"))[0] == 422
    alice.delete(f"folders/{first.json()['id']}")
    assert error_of(alice.call("POST", path, headers, b"name=Once"))[0] == 404


def test_a_gallery_is_made_once(service: Service) -> None:
    headers = {"Idempotency-Key": next(keys)}
    rows = [call(service.port, "POST", "/api/CreateGallery", headers, b"") for _ in range(3)]
    assert len({str(answer.json()) for answer in rows}) == 1
    assert [answer.headers["Idempotency-Replayed"] for answer in rows] == [None, "true", "true"]
    assert call(service.port, "POST", "/api/CreateGallery", {}, b"").json() != rows[0].json()


def dropped_bare(service: Service, name: str, data: bytes, key: str) -> Answer:
    return call(service.port, "PUT", f"/{name}", {"Idempotency-Key": key}, data)


def dropped_form(service: Service, name: str, data: bytes, key: str) -> Answer:
    headers, body = a_form((name, data), ("second", LARGE))
    return call(service.port, "POST", "/", {**headers, "Idempotency-Key": key}, body)


@pytest.mark.parametrize("send", [dropped_bare, dropped_form])
@pytest.mark.parametrize("data", [b"text", LARGE], ids=["small", "large"])
def test_what_is_dropped_twice_is_one_gallery(
    service: Service, send: Callable[[Service, str, bytes, str], Answer], data: bytes
) -> None:
    key, others = next(keys), incoming(service)
    first, again = (send(service, "a.txt", data, key) for _ in range(2))
    assert (first.status, again.status) == (201, 201)
    assert again.headers["Idempotency-Replayed"] == "true"
    for name in ("X-Edit-Link", "Set-Cookie"):
        assert again.headers[name] == first.headers[name]
    assert first.body == again.body
    assert send(service, "a.txt", data + b"!", key).status == 422
    editor = first.headers["X-Edit-Link"].rpartition("/")[2]
    call(service.port, "POST", f"/api/DeleteGallery?id={editor}", {}, b"")
    assert send(service, "a.txt", data, key).status == 404
    answers: list[bytes] = []
    key = next(keys)
    threads = [
        threading.Thread(target=lambda: answers.append(send(service, "a.txt", data, key).body))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1
    assert set(incoming(service)) == set(others)
    sound(service)


def test_an_upload_is_begun_once(service: Service, alice: Client, folder: Row) -> None:
    headers = {**TUS, "Upload-Length": "6", "Idempotency-Key": next(keys)}
    row = call(service.port, "POST", "/api/CreateGallery", {}, b"").json()
    places: list[tuple[str, Mapping[str, str]]] = [
        (f"/api/v2/folders/{folder['id']}/uploads", alice.bearer()),
        (f"/m{row['reader_id']}/uploads", {}),
    ]
    for path, who in places:
        named = {**headers, **who, **metadata(filename="a")}
        first, again = (call(service.port, "POST", path, named) for _ in range(2))
        assert (first.status, again.status) == (201, 201)
        assert first.headers["Location"] == again.headers["Location"]
        assert again.headers["Idempotency-Replayed"] == "true"
        other = call(service.port, "POST", path, {**named, "Upload-Length": "7"})
        assert error_of(other) == (422, "idempotency_key_reused")
        target = "/" + first.headers["Location"].removeprefix(service.url)
        piece = {**TUS, **BYTES, **who, "Upload-Offset": "0"}
        file_id = call(service.port, "PATCH", target, piece, b"123456").headers["Minus-File"]
        done = call(service.port, "POST", path, named)
        assert (done.headers["Minus-File"], done.headers["Upload-Offset"]) == (file_id, "6")
        if who:
            alice.delete(f"files/{file_id}")
            assert call(service.port, "POST", path, named).status == 404
        else:
            assert call(service.port, "DELETE", target, TUS).status == 204
            assert call(service.port, "POST", path, named).status == 404


def test_an_upload_whose_creation_was_cut_off_is_found_again_by_its_key(
    service: Service, alice: Client, folder: Row
) -> None:
    path = f"/api/v2/folders/{folder['id']}/uploads"
    named = {**TUS, **BYTES, **alice.bearer(), "Idempotency-Key": next(keys)}
    named |= {"Upload-Length": "3000000", "Host": f"{HOST}:{alice.port}"}
    with connect(alice.port) as sock:
        hello = {"Content-Length": "3000000", "Expect": "100-continue"}
        sock.sendall(head("POST", path, {**named, **hello}))
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(LARGE[:2_000_000])
        again = call(alice.port, "POST", path, named)
        assert (again.status, again.headers["Idempotency-Replayed"]) == (201, "true")
        target = "/" + again.headers["Location"].removeprefix(service.url)
        who = {**TUS, **alice.bearer()}
        offset = call(alice.port, "HEAD", target, who).headers["Upload-Offset"]
        rest = LARGE[int(offset) :]
        done = call(alice.port, "PATCH", target, {**who, **BYTES, "Upload-Offset": offset}, rest)
    assert alice.raw({"id": done.headers["Minus-File"]}).body == LARGE


def test_a_creation_that_was_refused_leaves_its_key_free(
    service: Service, alice: Client, folder: Row
) -> None:
    path = f"/api/v2/folders/{folder['id']}/uploads"
    wrong_whole = {"Repr-Digest": f"sha-256=:{'A' * 43}=:"}
    wrong_piece = {"Upload-Checksum": f"sha256 {'A' * 43}="}
    refusals: list[tuple[int, int, Mapping[str, str], bytes]] = [
        (400, 6, wrong_whole, b"123456"),
        (400, 0, wrong_whole, b""),
        (460, 6, wrong_piece, b"123"),
    ]
    for status, size, wrong, body in refusals:
        named = {**TUS, **BYTES, **alice.bearer(), "Idempotency-Key": next(keys)}
        named["Upload-Length"] = str(size)
        assert call(service.port, "POST", path, {**named, **wrong}, body).status == status
        again = call(service.port, "POST", path, named, body)
        assert (again.status, again.headers["Idempotency-Replayed"]) == (201, None)
        assert again.headers["Upload-Offset"] == str(len(body))
        upload = "/" + again.headers["Location"].removeprefix(service.url)
        assert call(service.port, "DELETE", upload, {**TUS, **alice.bearer()}).status == 204
    sound(service)


def test_a_creation_with_too_many_bytes_leaves_its_key_free(
    service: Service, alice: Client, folder: Row
) -> None:
    path = f"/api/v2/folders/{folder['id']}/uploads"
    named = {**TUS, **BYTES, **alice.bearer(), "Idempotency-Key": next(keys)}
    named |= {"Upload-Length": "3"}
    chunked = {**named, "Host": f"{HOST}:{alice.port}", "Transfer-Encoding": "chunked"}
    with connect(alice.port) as sock:
        sock.sendall(head("POST", path, chunked) + b"4\r\n1234\r\n0\r\n\r\n")
        assert error_of(receive(sock)) == (413, "too_large")
    again = call(service.port, "POST", path, named, b"123")
    assert (again.status, again.headers["Idempotency-Replayed"]) == (201, None)
    assert len(files_of(alice, folder)) == 1


def test_creations_of_no_bytes_at_the_same_time_make_one_file(
    service: Service, alice: Client, folder: Row
) -> None:
    path = f"/api/v2/folders/{folder['id']}/uploads"
    for _ in range(3):
        named = {**TUS, **alice.bearer(), "Upload-Length": "0", "Idempotency-Key": next(keys)}
        with ThreadPoolExecutor(16) as threads:
            tries = [threads.submit(call, service.port, "POST", path, named) for _ in range(16)]
        answers = [found.result() for found in tries]
        assert [answer.status for answer in answers] == [201] * 16
        assert len({answer.headers["Minus-File"] for answer in answers}) == 1
    assert len(files_of(alice, folder)) == 3
    sound(service)


@pytest.mark.alone
def test_the_catalog_tells_no_address_of_an_upload(own_service: Service) -> None:
    alice = new_user(own_service)
    headers = {**alice.bearer(), **TUS, "Upload-Length": "6", "Idempotency-Key": "k" * 40}
    answer = alice.call("POST", f"folders/{alice.folder()['id']}/uploads", headers)
    secret = answer.headers["Location"].rpartition("/")[2].encode()
    own_service.stop()
    rows = b"".join(path.read_bytes() for path in own_service.data.glob("catalog.sqlite3*"))
    assert secret not in rows
    assert b"k" * 40 not in rows
    assert hashlib.sha256(secret).hexdigest().encode() in rows
