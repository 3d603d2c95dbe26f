"""The operator's commands that remove, on a service that runs: what goes, goes everywhere."""

import os
import pty
import re
import subprocess
import sys
from typing import Any

import pytest
from sqlalchemy import func, select

from minus_server import names
from minus_server.errors import BadRequest
from minus_server.schema import metadata
from tests import rawhttp
from tests.live import Service, clean_environment
from tests.rawhttp import HOST, PASSWORD, Answer, Client, Row, multipart, new_user, part, png

BIG = png(300, 300) + b"\0" * 100_000  # not in the catalog, and with a thumbnail
SMALL = png(20, 20)


def get(client: Client, path: str, **headers: str) -> Answer:
    return client.call("GET", path, headers)


def statuses(client: Client, *paths: str) -> set[int]:
    """What a stranger is answered."""
    return {get(client, path).status for path in paths}


def addresses(folder: Row, *files: Row) -> list[str]:
    """Every address of a folder and its files that takes no token."""
    of_folder = [f"/m{folder['id']}", f"/m{folder['id']}.zip", f"/api/GetItems/m{folder['id']}"]
    return of_folder + [f"/{letter}{file['id']}" for file in files for letter in "lijk"]


def cookie(client: Client) -> dict[str, str]:
    """Sign a browser in. -> its Cookie header"""
    query, headers, body = rawhttp.encode("form", {"username": client.name, "password1": PASSWORD})
    answer = client.call("POST", f"/api/SignIn{query}", headers, body)
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


def bytes_left(service: Service) -> list[str]:
    """The keys of somebody's bytes that are there."""
    blobs = service.places.open_blobs()
    return [*blobs.keys(), *blobs.incoming(), *blobs.derived_keys()]


def rows_left(service: Service, *tables: str) -> dict[str, int]:
    with service.rows() as rows:
        counts = (
            (name, select(func.count()).select_from(metadata.tables[name])) for name in tables
        )
        return {name: rows.execute(count).scalar_one() for name, count in counts}


def healthy(service: Service) -> bool:
    return service.run("check").stdout.endswith("\n0 problems\n")


def done(service: Service, *args: str) -> None:
    finished = service.run(*args)
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.fixture
def alice(own_service: Service) -> Client:
    return new_user(own_service, "alice")


@pytest.fixture
def bob(own_service: Service) -> Client:
    return new_user(own_service, "bob")


def test_a_deleted_user_is_gone_everywhere_at_once(
    own_service: Service, alice: Client, bob: Client
) -> None:
    folder, theirs = alice.folder("Hers"), bob.folder("His")
    files = [alice.upload(data, "a.png", folder) for data in (BIG, SMALL)]
    open_to_all = addresses(folder, *files)
    alice.ok("POST", f"users/{alice.slug}/following", {"slug": bob.slug})
    bob.ok("POST", f"users/{bob.slug}/following", {"slug": alice.slug})
    alice.ok("POST", "activeuser/favorited", {"id": theirs["id"]})
    bob.ok("POST", "activeuser/favorited", {"id": folder["id"]})
    alice.ok("POST", f"activeuser/messages/{bob.slug}", {"body": "hello"})
    bob.get(f"folders/{folder['id']}")
    browser = cookie(alice)
    made = alice.call("POST", "/settings/clients", browser | {"Content-Type": rawhttp.FORM}, b"")
    key, secret = re.findall(rb"api_(?:key|secret): ([\w-]+)", made.body)
    refresh = alice.ask_token(alice.grant()).json()["refresh_token"]
    assert statuses(alice, *open_to_all, f"/u{alice.slug}") == {200}
    assert len(bytes_left(own_service)) > 1

    done(own_service, "deluser", alice.name.upper(), "--yes")

    assert statuses(bob, *open_to_all, f"/u{alice.slug}") == {404}
    assert alice.send("GET", "activeuser").status == 401
    assert get(alice, "/api/pane/mine.json", **browser).status == 401
    renewal = alice.grant() | {"grant_type": "refresh_token", "refresh_token": refresh}
    refused = [alice.ask_token(grant).json()["error"] for grant in (alice.grant(), renewal)]
    assert refused == ["invalid_grant", "invalid_grant"]
    other = bob.grant(client_id=key.decode(), client_secret=secret.decode())
    assert bob.ask_token(other).json()["error"] == "invalid_client"
    for path in (f"folders/{folder['id']}", f"files/{files[0]['id']}", f"users/{alice.slug}"):
        assert bob.send("GET", path).status == 404
    me = bob.get("activeuser")
    assert (me["karma"], me["followers_slug_list"], me["following_slug_list"]) == (0, [], [])
    for kind in ("favorited", "history", "feed", "messages"):
        assert bob.results(f"activeuser/{kind}") == []
    assert b"Hers" not in get(bob, "/api/MyGalleries.json", **cookie(bob)).body
    (mine,) = bob.results("activeuser/mine")
    assert (mine["name"], mine["star_count"]) == ("His", 0)
    assert bytes_left(own_service) == []
    assert rows_left(own_service, "files", "small", "folders", "users", "stars", "follows") == {
        "files": 0,
        "small": 0,
        "folders": 1,
        "users": 1,
        "stars": 0,
        "follows": 0,
    }
    assert healthy(own_service)
    assert alice.name not in own_service.run("users").stdout


def test_an_upload_under_way_ends_with_its_user(own_service: Service, alice: Client) -> None:
    folder = alice.folder()
    body = multipart(part("file", b"x" * 300_000, "x.bin"))
    headers = alice.bearer() | {
        "Host": f"{HOST}:{alice.port}",
        "Content-Type": rawhttp.MULTIPART,
        "Content-Length": str(len(body)),
        "Expect": "100-continue",
    }
    with rawhttp.connect(alice.port) as sock:
        target = f"/api/v2/folders/{folder['id']}/files"
        sock.sendall(rawhttp.head("POST", target, headers))
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(body[:200_000])
        done(own_service, "deluser", alice.name, "--yes")
        sock.sendall(body[200_000:])
        assert rawhttp.receive(sock).status in (401, 404)
    assert bytes_left(own_service) == []
    assert healthy(own_service)


def test_a_deleted_client_and_its_tokens_end_at_once(own_service: Service, alice: Client) -> None:
    listed = own_service.run("clients").stdout.splitlines()
    assert listed[0].split() == ["API", "key", "Created", "User", "Name"]
    assert [line.split()[0] for line in listed[1:]] == [own_service.api_key]
    refresh = alice.ask_token(alice.grant()).json()["refresh_token"]
    done(own_service, "delclient", own_service.api_key, "--yes")
    assert alice.send("GET", "activeuser").status == 401
    renewal = alice.grant() | {"grant_type": "refresh_token", "refresh_token": refresh}
    assert alice.ask_token(renewal).json()["error"] == "invalid_client"
    assert own_service.run("clients").stdout.splitlines() == listed[:1]
    again = own_service.run("delclient", own_service.api_key, "--yes")
    why = "minus-server: There is no API client with this key.\n"
    assert (again.returncode, again.stderr) == (1, why)


def test_names_of_clients_cannot_drive_the_terminal(own_service: Service) -> None:
    done(own_service, "addclient", "a\nb\u202ec")
    last = own_service.run("clients").stdout.splitlines()[-1]
    assert last.endswith(r"  a\nb\u202ec")


def anonymous(service: Service) -> tuple[str, str, str]:
    """A gallery without an account, with one item. -> reader id, editor id, item's id"""
    made = rawhttp.call(service.port, "POST", "/api/CreateGallery").json()
    target = f"/api/UploadItem?editor_id={made['editor_id']}&filename=a.png"
    item = rawhttp.call(service.port, "POST", target, {"Content-Type": "image/png"}, BIG).json()
    return made["reader_id"], made["editor_id"], item["id"]


@pytest.mark.parametrize(
    "link",
    [
        "{reader}",
        "{editor}",
        "m{reader}",
        "{url}m{reader}",
        "{url}m{editor}",
        "https://elsewhere.example/base/m{reader}.zip?x=1#y",
        "/m{reader}/SHA256SUMS",
        " m{reader}/ ",
    ],
)
def test_a_gallery_is_removed_by_any_link_to_it(own_service: Service, link: str) -> None:
    reader, editor, item = anonymous(own_service)
    paths = addresses({"id": reader}, {"id": item})
    anybody = Client(own_service, "", "")
    assert statuses(anybody, *paths) == {200}
    named = link.format(reader=reader, editor=editor, url=own_service.url)
    done(own_service, "remove", named, "--yes")
    assert statuses(anybody, *paths, f"/m{editor}") == {404}
    assert bytes_left(own_service) == []
    assert healthy(own_service)


@pytest.mark.parametrize("link", ["{id}", "/l{id}", "{url}i{id}.png", "j{id}", "{url}k{id}.jpg"])
def test_an_item_is_removed_by_any_link_to_it(
    own_service: Service, alice: Client, link: str
) -> None:
    folder = alice.folder()
    gone, kept = (alice.upload(BIG, f"{name}.png", folder) for name in "ab")
    assert statuses(alice, *addresses(folder, gone, kept)) == {200}
    done(own_service, "remove", link.format(id=gone["id"], url=own_service.url), "--yes")
    assert statuses(alice, *addresses(folder, kept)) == {200}
    assert statuses(alice, *addresses(folder, gone)[3:]) == {404}
    assert alice.values(f"folders/{folder['id']}/files", "id") == [kept["id"]]
    assert alice.get("activeuser")["storage_used"] == len(BIG)
    assert healthy(own_service)


def test_what_is_no_link_removes_nothing(own_service: Service, alice: Client) -> None:
    folder = alice.folder()
    for link, why in (
        ("x", "This is no link to a gallery or an item, and no id of one."),
        ("/ualice1", "This is a user's page: `deluser` removes a user."),
        ("m" + "0" * 12, "There is no such folder."),
        ("0" * 12, "There is no such file."),
    ):
        finished = own_service.run("remove", link, "--yes")
        assert (finished.returncode, finished.stderr) == (1, f"minus-server: {why}\n")
    finished = own_service.run("deluser", "nobody", "--yes")
    assert (finished.returncode, finished.stderr) == (1, "minus-server: There is no such user.\n")
    assert statuses(alice, f"/m{folder['id']}") == {200}


@pytest.mark.parametrize("text", ["", "m", "lm000000000000", "m0000000000001"])
def test_the_parser_of_links_refuses_what_is_none(text: str) -> None:
    with pytest.raises(BadRequest):
        names.named_by(text)


def asked(service: Service, typed: bytes, *args: str) -> tuple[int, str]:
    """Run a command on a terminal where this is typed. -> exit status, what it shows"""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "minus_server", *args, "--data", str(service.data)]
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=clean_environment() | service.environment,
    ) as process:
        os.close(theirs)
        os.write(ours, typed)
        shown = b""
        try:
            while block := os.read(ours, 1000):
                shown += block
        except OSError:  # the terminal's other end is closed
            pass
        os.close(ours)
    return process.returncode, shown.decode()


def test_on_a_terminal_one_is_asked_and_no_is_no(own_service: Service, alice: Client) -> None:
    folder = alice.folder("Stuff\u202e")
    page, link = f"/m{folder['id']}", f"m{folder['id']}"
    for typed in (b"\n", b"n\n", b"yesss\n"):
        status, shown = asked(own_service, typed, "remove", link)
        assert status == 1
        assert f"Remove the gallery Stuff\\u202e of {alice.name} (0 files)? [y/N]" in shown
        assert "Nothing was removed." in shown
    status, shown = asked(own_service, b"\x04", "remove", link)
    assert (status, "minus-server: nothing was typed" in shown) == (1, True)
    assert "Traceback" not in shown
    assert statuses(alice, page) == {200}
    assert asked(own_service, b"y\n", "remove", link)[0] == 0
    assert statuses(alice, page) == {404}
    commands: Any = (("deluser", alice.name), ("delclient", own_service.api_key))
    for command in commands:
        assert asked(own_service, b"n\n", *command)[0] == 1
    assert alice.send("GET", "activeuser").status == 200


def test_where_nobody_can_be_asked_nothing_is_removed(own_service: Service, alice: Client) -> None:
    folder = alice.folder()
    for command in (
        ("deluser", alice.name),
        ("delclient", own_service.api_key),
        ("remove", folder["id"]),
    ):
        finished = own_service.run(*command, stdin="y\n")
        why = "minus-server: This removes for ever: add --yes, as nobody can be asked here.\n"
        assert (finished.returncode, finished.stderr) == (1, why)
    assert alice.get(f"folders/{folder['id']}")["id"] == folder["id"]
