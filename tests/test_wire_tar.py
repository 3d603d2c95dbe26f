"""`GET` and `POST folders/ID/tar`, told by raw HTTP, Python's tarfile and the system's tar."""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from datetime import datetime
from http.client import HTTPConnection, IncompleteRead, RemoteDisconnected
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import insert, select, update

from minus_server.schema import files, folders
from tests.live import Service
from tests.rawhttp import HOST, Answer, Client, Row, error_of, multipart, new_user, part

ODD = ["../x", "a/b", "twin.txt", "Twin.txt", "twin.txt", "nul", 'q"*?.txt', "é☃𝄞.txt"]
LONG = ["n" * 250 + ".txt", "☃" * 200 + ".txt", "m" * 101, "k" * 100, "é" * 60]


@pytest.fixture(scope="module")
def alice(service: Service) -> Client:
    return new_user(service, "tar")


@pytest.fixture(scope="module")
def bob(service: Service) -> Client:
    return new_user(service, "tar")


@pytest.fixture
def own(own_service: Service) -> Client:
    """A user of a service of the test's own."""
    return new_user(own_service, "tar")


def ask(client: Client, folder: Row, query: str = "", method: str = "GET") -> Answer:
    return client.call(method, f"folders/{folder['id']}/tar{query}", client.bearer())


def post(client: Client, folder: Row, ids: object) -> Answer:
    headers = client.bearer() | {"Content-Type": "application/json"}
    body = json.dumps({"ids": ids}).encode()
    return client.call("POST", f"folders/{folder['id']}/tar", headers, body)


def members(answer: Answer) -> list[tuple[tarfile.TarInfo, bytes]]:
    """What Python's tarfile makes of an answer, after what every answer has was checked."""
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers.get_content_type() == "application/x-tar"
    assert answer.body.endswith(bytes(1024))
    assert len(answer.body) % 512 == 0
    found = []
    with tarfile.open(fileobj=io.BytesIO(answer.body), mode="r:") as archive:
        for member in archive:
            stream = archive.extractfile(member)
            assert stream is not None
            found.append((member, stream.read()))
        assert archive.offset == len(answer.body) - 1024
    return found


def names(answer: Answer) -> list[str]:
    return [member.name for member, _ in members(answer)]


def put(client: Client, folder: Row, name: str, data: bytes) -> Row:
    """Upload under exactly this name; the catalog is told where an upload would tidy it."""
    row = client.upload(data, "plain", folder)
    if name != "plain":
        with client.service.rows() as db:
            db.execute(update(files).where(files.c.id == row["id"]).values(name=name))
    return row | {"name": name}


@pytest.fixture(scope="module")
def odd(alice: Client) -> tuple[Row, list[Row], list[bytes]]:
    """A folder of everything that is hard to name or to frame."""
    folder = alice.folder("Odd/é")
    wanted = [*ODD, *LONG]
    data = [bytes([at]) * size for at, size in enumerate([0, 1, 511, 512, 513, 8192, 70_000, 300])]
    data += [b"x" * 3_000_000, b"", b"a\n", b"no newline", b"\0" * 1024]
    rows = [put(alice, folder, name, each) for name, each in zip(wanted, data, strict=True)]
    return folder, rows, data


# --- what is in it ---


def test_every_file_comes_in_order_with_its_bytes_its_id_and_its_digest(
    alice: Client, odd: tuple[Row, list[Row], list[bytes]]
) -> None:
    folder, rows, data = odd
    found = members(ask(alice, folder))
    assert [content for _, content in found] == data
    for (member, content), row in zip(found, rows, strict=True):
        assert member.pax_headers["MINUS.id"] == row["id"]
        assert member.pax_headers["MINUS.sha256"] == hashlib.sha256(content).hexdigest()
        assert (member.mode, member.uid, member.gid, member.isreg()) == (0o644, 0, 0, True)
        assert (member.uname, member.gname) == ("", "")
        uploaded = row["uploaded"].replace(" ", "T") + "+00:00"
        assert member.mtime == datetime.fromisoformat(uploaded).timestamp()
        assert member.pax_headers.get("MINUS.name", member.name) == row["name"]
        assert ("MINUS.name" in member.pax_headers) == (member.name != row["name"])


def test_names_are_one_component_each_and_none_stands_twice(
    alice: Client, odd: tuple[Row, list[Row], list[bytes]]
) -> None:
    found = names(ask(alice, odd[0]))
    assert found[:8] == [
        ".._x",
        "a_b",
        "twin.txt",
        "Twin (2).txt",
        "twin (3).txt",
        "_nul",
        "q___.txt",
        "é☃𝄞.txt",
    ]
    assert len({name.casefold() for name in found}) == len(found)
    assert all("/" not in name and len(name.encode()) <= 255 for name in found)
    assert found[-1] == "é" * 60  # 120 bytes: more than the old field has


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")
def test_the_systems_tar_lists_and_unpacks_it(
    alice: Client, odd: tuple[Row, list[Row], list[bytes]], tmp_path: Path
) -> None:
    answer = ask(alice, odd[0])

    def tar(*args: str) -> str:
        command = ["tar", *args, "-C", str(tmp_path), "--warning=no-unknown-keyword"]
        env = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "TZ": "UTC"}
        done = subprocess.run(command, input=answer.body, capture_output=True, check=True, env=env)
        assert done.stderr == b""
        return done.stdout.decode()

    listed = tar("tvf", "-", "--quoting-style=literal").splitlines()
    assert len(listed) == len(odd[1])
    assert all(line.startswith("-rw-r--r-- 0/0") for line in listed)
    tar("xf", "-")
    expected = dict(zip(names(answer), odd[2], strict=True))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == expected


def test_an_empty_folder_is_an_empty_tar(alice: Client) -> None:
    folder = alice.folder()
    for answer in (ask(alice, folder), post(alice, folder, [])):
        assert (answer.status, answer.body) == (200, bytes(1024))


def test_name_and_match_choose(alice: Client) -> None:
    folder = alice.folder()
    for name in ("b.txt", "a.txt", "c.png", "[x].txt", "é b.txt"):
        put(alice, folder, name, b"x")
    wanted = ["b.txt", "a.txt", "[x].txt", "é b.txt"]

    def chosen(query: str) -> list[str]:
        return [
            member.pax_headers.get("MINUS.name", member.name)
            for member, _ in members(ask(alice, folder, query))
        ]

    assert chosen("?match=*.txt") == wanted
    assert chosen("?match=" + quote("[!a-c]*")) == ["[x].txt", "é b.txt"]
    assert chosen("?name=a.txt") == ["a.txt"]
    assert chosen("?name=" + quote("é b.txt")) == ["é b.txt"]
    assert chosen("?name=a.txt&match=b*") == []


def test_ids_choose_and_order(alice: Client) -> None:
    folder = alice.folder()
    rows = [put(alice, folder, f"{at}", b"%d" % at) for at in range(5)]
    ids = [rows[at]["id"] for at in (3, 0, 4)]
    found = members(post(alice, folder, ids))
    assert [(m.pax_headers["MINUS.id"], data) for m, data in found] == [
        (ids[0], b"3"),
        (ids[1], b"0"),
        (ids[2], b"4"),
    ]
    assert names(post(alice, folder, [ids[0], ids[1], ids[0]])) == ["3", "0"]
    form = alice.bearer() | {"Content-Type": "application/x-www-form-urlencoded"}
    body = f"ids={quote(json.dumps(ids))}".encode()
    answer = alice.call("POST", f"folders/{folder['id']}/tar", form, body)
    assert names(answer) == ["3", "0", "4"]


def test_many_files_come_whole(alice: Client) -> None:
    folder = alice.folder()
    data = [b"%d" % at * (at % 7) * 300 for at in range(600)]
    form = [part("filename", b""), part("caption", b"")]
    for at, each in enumerate(data):
        body = multipart(*form, part("file", each, f"{at}.txt"))
        assert alice.post_file(body, folder=folder).status == 200
    assert [content for _, content in members(ask(alice, folder))] == data


# --- headers ---


def test_the_answer_is_a_harmless_attachment_of_known_length(
    alice: Client, odd: tuple[Row, list[Row], list[bytes]]
) -> None:
    whole = ask(alice, odd[0])
    assert "filename*=UTF-8''Odd_%C3%A9.tar" in whole.headers["Content-Disposition"]
    assert whole.headers["Content-Disposition"].startswith('attachment; filename="Odd__.tar"')
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    assert whole.headers["Content-Security-Policy"].startswith("sandbox")
    assert whole.headers["Cache-Control"] == "private, no-cache"
    head = ask(alice, odd[0], method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.body))


# --- who may, and what is refused ---


def test_a_public_folder_is_anybodys_with_a_token_and_a_private_one_its_owners(
    alice: Client, bob: Client
) -> None:
    public, private = alice.folder(), alice.folder(is_public="false")
    for folder in (public, private):
        alice.upload(b"text", "t.txt", folder)
    assert names(ask(bob, public)) == names(ask(alice, private)) == ["t.txt"]
    for refused in (ask(bob, private), post(bob, private, [])):
        assert error_of(refused) == (404, "not_found")
    assert error_of(ask(alice.limited("read_public"), private)) == (404, "not_found")
    assert names(ask(alice.limited("read_public"), public)) == ["t.txt"]
    for method, token in (("GET", {}), ("POST", {}), ("GET", {"Authorization": "Bearer x"})):
        answer = alice.call(method, f"folders/{public['id']}/tar", token)
        assert error_of(answer) == (401, "invalid_token")
    assert error_of(ask(alice, {"id": "A1b2C3d4E5f6"})) == (404, "not_found")


def test_an_id_that_is_not_in_the_folder_is_named(alice: Client, bob: Client) -> None:
    folder, other = alice.folder(), alice.folder()
    here, there = alice.upload(folder=folder), alice.upload(folder=other)
    foreign = bob.upload()
    for wrong in (there["id"], foreign["id"], "A1b2C3d4E5f6", "", "é", "x' OR 1", "\ud800"):
        answer = post(alice, folder, [here["id"], wrong])
        assert error_of(answer) == (404, "not_found")
        assert answer.json()["file"] == wrong


@pytest.mark.parametrize("ids", ["x", 1, {}, [1], [["a"]], [None], None, True])
def test_ids_that_are_no_list_of_texts_are_refused(alice: Client, ids: object) -> None:
    answer = post(alice, alice.folder(), ids)
    assert error_of(answer) == (400, "invalid_request")
    assert "file" not in answer.json()


def test_more_ids_than_the_limit_are_refused(alice: Client) -> None:
    folder = alice.folder()
    limit = alice.bare("GET", "/api/v2/").json()["extensions"]["tar"]["files"]
    assert post(alice, folder, ["A1b2C3d4E5f6"] * limit).status == 404
    assert error_of(post(alice, folder, ["A1b2C3d4E5f6"] * (limit + 1))) == (413, "too_large")


def test_a_pattern_that_is_too_long_is_refused(alice: Client) -> None:
    answer = ask(alice, alice.folder(), "?match=" + "*" * 1001)
    assert error_of(answer) == (400, "invalid_request")


def test_more_files_than_can_be_counted_at_once_are_refused(own: Client) -> None:
    folder = own.folder()
    texts = dict.fromkeys(("title", "caption", "mimetype", "sha256"), "")
    with own.service.rows() as db:
        n = db.execute(select(folders.c.n).where(folders.c.id == folder["id"])).scalar_one()
        row = {"folder_n": n, "position": 0, "name": "n", **texts}
        made = [row | {"id": f"{at:012}", "blob": f"{at}"} for at in range(100_001)]
        db.execute(insert(files), made)
    assert error_of(ask(own, folder)) == (413, "too_large")


# --- cut off ---


def blob_of(client: Client, row: Row) -> Path:
    with client.service.rows() as db:
        key = db.execute(select(files.c.blob).where(files.c.id == row["id"])).scalar_one()
    return client.service.data / "blobs" / str(key)[0] / str(key)


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("harm", ["missing", "short"])
def test_a_lost_blob_ends_the_stream_short_and_the_log_has_one_line(
    own: Client, kind: str, harm: str
) -> None:
    folder = own.folder()
    rows = [own.upload(b"x" * 200_000, f"{at}", folder) for at in range(3)]
    path = blob_of(own, rows[1])
    path.unlink() if harm == "missing" else path.write_bytes(b"x" * 100_000)
    target = f"folders/{folder['id']}/tar" if kind == "tar" else f"/m{folder['id']}.zip"
    # what stood in the line's buffers may be lost with it, the head of the answer too
    with pytest.raises((IncompleteRead, RemoteDisconnected)) as cut:
        own.call("GET", target, own.bearer())
    assert len(getattr(cut.value, "partial", b"")) < 600_000
    assert own.get("activeuser")["slug"] == own.slug
    assert own.service.stop() == 0
    log = own.service.log().splitlines()
    assert len(log) == 1, log
    assert "cut off" in log[0]


@pytest.mark.alone
def test_a_file_of_more_than_8_gib_has_its_size_in_the_extended_header(own: Client) -> None:
    folder, size = own.folder(), (9 << 30) + 5
    row = own.upload(b"begin" + bytes(70_000), "big", folder)
    with blob_of(own, row).open("r+b") as stream:
        stream.truncate(size)
    with own.service.rows() as db:
        db.execute(update(files).where(files.c.id == row["id"]).values(size=size))
    connection = HTTPConnection(HOST, own.port, timeout=60)
    connection.request("GET", f"/api/v2/folders/{folder['id']}/tar", headers=own.bearer())
    response = connection.getresponse()
    assert int(response.headers["Content-Length"]) == 3 * 512 + -(-size // 512) * 512 + 1024
    begin = response.read(1 << 20)
    connection.close()
    with tarfile.open(fileobj=io.BytesIO(begin), mode="r:") as archive:
        member = archive.next()
        assert member is not None
        assert (member.name, member.size) == ("big", size)
        assert member.pax_headers["size"] == str(size)
    assert begin[1536:1541] == b"begin"
