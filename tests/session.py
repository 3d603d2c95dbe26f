"""Everything that people, programs and operators do with a service, once each."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

from minus_server.places import Places
from minus_server.service import open_service
from tests.live import Service, clean_environment
from tests.rawhttp import (
    FORM,
    MULTIPART,
    PASSWORD,
    Answer,
    Client,
    Row,
    multipart,
    new_user,
    part,
    png,
)
from tests.test_forms import Browser
from tests.test_wire_batch import digest_of, item
from tests.test_wire_tus import BYTES, TUS, begun, create, into_gallery

ODD = "No1dNo1dNo1d"


def everything(service: Service) -> None:
    """Do it all. Fails where an answer is a refusal that was not meant."""
    alice, bob = new_user(service, "alice"), new_user(service, "bob")
    _folders(alice, bob)
    _files(alice)
    _uploads(alice)
    _people(alice, bob)
    _tokens(alice)
    _pages(service, alice)
    _anonymous(service, bob)
    _operator(service, bob)


def _good(answer: Answer) -> Answer:
    assert answer.status < 400, answer.body
    return answer


def _all_ways(client: Client, path: str) -> None:
    """Walk a list by page and by cursor, with filters and without."""
    asks = (
        "per_page=1",
        "per_page=1&page=2",
        "name=two",
        "match=t*",
        "match=two",
        "name=two&page=1",
    )
    for ask in asks:
        client.get(f"{path}?{ask}")
        if "page=" in ask.replace("per_page=", ""):
            continue
        page = client.get(f"{path}?{ask}&cursor=")
        while page["next"]:
            page = client.get(page["next"].partition("/api/v2/")[2])


def _folders(alice: Client, bob: Client) -> None:
    rows = [alice.folder(name) for name in ("one", "two", "three")]
    path = f"users/{alice.slug}/folders"
    for who in (alice, bob):
        _all_ways(who, path)
        who.get(f"folders/{rows[0]['id']}")
    alice.ok("PUT", f"folders/{rows[0]['id']}", {"name": "first", "is_public": "false"})
    alice.ok("POST", path, {"name": "once", "is_public": "true"})
    headers = alice.bearer() | {"Idempotency-Key": "a-folder", "Content-Type": FORM}
    body = urlencode({"name": "again", "is_public": "false"}).encode()
    for _ in range(2):
        _good(alice.call("POST", path, headers, body))
    bob.get("activeuser/history")
    alice.delete(f"folders/{rows[2]['id']}")
    for kind in ("history", "mine"):
        alice.get(f"activeuser/{kind}")


def _files(alice: Client) -> None:
    folder = alice.folder("Files")
    path = f"folders/{folder['id']}/files"
    names = ("one", "two", "three", "four")
    rows = [
        alice.upload(b"some" * (1 if n else 50_000), name, folder) for n, name in enumerate(names)
    ]
    _all_ways(alice, path)
    order = [rows[2]["id"], rows[0]["id"]]
    alice.ok("PUT", f"folders/{folder['id']}", {"item_ordering": json.dumps(order)})
    _all_ways(alice, path)
    alice.get(f"files/{rows[0]['id']}")
    alice.ok("PUT", f"files/{rows[0]['id']}", {"name": "renamed", "caption": "c", "title": "t"})
    for row in rows:
        _good(alice.raw(row))
    for ask in ("?match=t*", "?name=two", ""):
        _good(alice.call("GET", f"folders/{folder['id']}/tar{ask}", alice.bearer()))
    chosen = alice.bearer() | {"Content-Type": "application/json"}
    wanted = json.dumps({"ids": [row["id"] for row in rows]}).encode()
    _good(alice.call("POST", f"folders/{folder['id']}/tar", chosen, wanted))
    alice.delete(f"files/{rows[1]['id']}")
    alice.delete(f"folders/{folder['id']}")


def _uploads(alice: Client) -> None:
    folder = alice.folder("Uploads")
    path = f"folders/{folder['id']}"
    for name in ("put.bin", "put.bin"):
        headers = alice.bearer() | {"Idempotency-Key": "a-file"}
        _good(alice.call("PUT", f"{path}/files/{name}", headers, b"x"))
    headers = alice.bearer() | {"Content-Type": MULTIPART, "Idempotency-Key": "a-batch"}
    parts = (item(f"{n}.txt", b"text", Digest=digest_of(b"text")) for n in range(3))
    body = multipart(*parts)
    for _ in range(2):
        _good(alice.call("POST", f"{path}/batch", headers, body))
    large = b"l" * (2 << 20)
    _good(alice.call("PUT", f"{path}/files/large.bin", alice.bearer(), large))
    for size in (len(large), None):
        upload = begun(alice, folder, size)
        _good(upload.ask("HEAD"))
        _good(upload.patch(0, large[:100_000]))
        length = {} if size else {"Upload-Length": str(len(large))}
        _good(upload.patch(100_000, large[100_000:], length))
        upload.ask("HEAD")
    dropped = begun(alice, folder, 1000)
    dropped.patch(0, b"some")
    _good(dropped.ask("DELETE"))
    create(alice, folder, 4, body=b"some", more={"Content-Type": "application/offset+octet-stream"})
    begun(alice, folder, 1 << 20).patch(0, b"left")
    alice.delete(path)


def _people(alice: Client, bob: Client) -> None:
    folder = alice.folder("Starred")
    alice.upload(png(30, 20), "p.png", folder)
    bob.ok("POST", f"users/{bob.slug}/following", {"slug": alice.slug})
    bob.ok("POST", "activeuser/favorited", {"id": folder["id"]})
    for path in ("feed", "favorited", "history", "mine", "messages"):
        bob.get(f"activeuser/{path}")
    for who in (alice, bob):
        for path in ("", "/followers", "/following"):
            who.get(f"users/{who.slug}{path}")
    bob.ok("POST", f"activeuser/messages/{alice.slug}", {"body": "hello"})
    alice.get("activeuser/messages")
    alice.get(f"activeuser/messages/{bob.slug}")
    alice.ok("PUT", "activeuser", {"description": "me"})
    bob.delete(f"activeuser/favorited/{folder['id']}")
    bob.delete(f"users/{bob.slug}/following/{alice.slug}")
    bob.ok("POST", f"users/{bob.slug}/following", {"slug": alice.slug})
    bob.ok("POST", "activeuser/favorited", {"id": folder["id"]})


def _tokens(alice: Client) -> None:
    assert alice.ask_token(alice.grant(password="wrong one")).status == 400
    first = alice.ask_token(alice.grant()).json()
    secrets = {"client_id": alice.service.api_key, "client_secret": alice.service.api_secret}
    asked = {"grant_type": "refresh_token", **secrets, "refresh_token": first["refresh_token"]}
    second = alice.ask_token(asked).json()
    for token in (first, first, second, first):
        alice.ask_token(asked | {"refresh_token": token["refresh_token"]})
    assert alice.bare("GET", "activeuser", Authorization="Bearer none").status == 401


def _pages(service: Service, alice: Client) -> None:
    """What somebody who is signed in does in the browser."""
    browser = Browser(service)
    browser.post("signin", {"username": alice.name, "password1": PASSWORD})
    folder = alice.folder("Shown")
    rows = [alice.upload(png(40 + n, 30), f"{n}.png", folder) for n in range(3)]
    gallery = f"m{folder['id']}"
    for page in ("", "mine", "feed", "history", "settings", gallery, f"u{alice.slug}"):
        browser.page(page)
    for name in (
        f"l{rows[1]['id']}",
        f"{gallery}.zip",
        f"{gallery}/SHA256SUMS",
        f"j{rows[0]['id']}",
    ):
        _good(browser.get(name))
    for path, fields in {
        f"{gallery}/edit": {"name": "Renamed", "is_public": "1"},
        f"{gallery}/move": {"item": rows[2]["id"], "to": "1"},
        f"{gallery}/order": {"items": json.dumps([row["id"] for row in rows])},
        f"l{rows[0]['id']}/edit": {"caption": "words"},
        f"l{rows[1]['id']}/delete": {},
        "settings/profile": {"display_name": "A"},
        "settings/clients": {"name": "mine"},
        "settings/password": {"old": PASSWORD, "password1": PASSWORD, "password2": PASSWORD},
    }.items():
        _good(browser.post(path, fields))
    key = re.findall(r"settings/clients/(\w+)/revoke", browser.page("settings"))[0]
    for path in (f"settings/clients/{key}/revoke", f"{gallery}/delete", "signout"):
        _good(browser.post(path, {}))
    assert browser.get(f"m{ODD}").status == 404


def _anonymous(service: Service, bob: Client) -> None:
    """What nobody in particular does, by the pages and by API v1."""
    guest = Browser(service)
    dropped = guest.drop(part("file", b"a", "a.txt"), part("file", b"b" * 100_000, "b.bin"))
    _good(dropped)
    made = guest.post("api/CreateGallery", {}).json()
    editor, reader = made["editor_id"], made["reader_id"]
    query = urlencode({"editor_id": editor, "filename": "c.txt"})
    headers = {"Content-Type": MULTIPART}
    for size in (10, 1 << 20):
        body = multipart(part("file", b"c" * size, "c.txt"))
        _good(guest.send("POST", f"api/UploadItem?{query}", headers, body))
    for number in (reader, editor):
        _good(guest.get(f"api/GetItems/m{number}"))
    guest.post("api/SaveGallery", {"id": editor, "name": "Saved", "items": "[]"})
    guest.get(f"m{reader}")
    sent = into_gallery(service, editor, 4)
    headers = TUS | BYTES | {"Upload-Offset": "0"}
    path = sent.headers["Location"].removeprefix(service.url)
    _good(guest.send("PATCH", path, headers, b"some"))
    for _ in range(2):
        assert guest.send("GET", f"m{ODD}", {"X-Forwarded-For": "192.0.2.7"}).status == 404
    register = {"username": "newcomer", "password1": PASSWORD, "password2": PASSWORD}
    _good(guest.post("register", register))
    seen = Browser(service)
    seen.post("signin", {"username": bob.name, "password1": PASSWORD})
    for path in (f"m{reader}", "history", "feed"):
        seen.page(path)
    for path in ("MyGalleries", "ActivityFeed", "HistoryGalleries"):
        assert seen.get(f"api/{path}.json").status in (200, 404), path
    _good(guest.post("api/DeleteGallery", {"id": editor}))
    _good(guest.send("PUT", "thrown.txt", {}, b"thrown"))


def _operate(service: Service, *args: str, stdin: str = "", **environment: str) -> str:
    """Run one of the operator's commands to its end. -> what it printed"""
    ran = subprocess.run(
        [sys.executable, *service.program, *args],
        input=stdin,
        capture_output=True,
        text=True,
        env=clean_environment() | service.environment | environment,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def _operator(service: Service, bob: Client) -> None:
    """What the operator does while it runs."""

    def done(*args: str, stdin: str = "") -> str:
        return _operate(service, *args, "--data", str(service.data), stdin=stdin)

    row = bob.upload(b"gone", "gone.txt")
    key = re.findall(r"api_key: (\S+)", done("addclient", "other"))[0]
    for args in _commands(bob, row, key):
        done(*args)
    done("passwd", "newcomer", stdin=f"{PASSWORD}\n")
    done("deluser", bob.name, "--yes")
    done("sweep")
    assert done("check").endswith("\n0 problems\n")


def _commands(bob: Client, row: Row, key: str) -> Iterator[tuple[str, ...]]:
    yield ("users",)
    yield ("clients",)
    yield "delclient", key, "--yes"
    yield "remove", row["id"], "--yes"
    yield "remove", str(bob.folder("Gone")["id"]), "--yes"


def own_machine(places: Places) -> None:
    """What a service does beside, that only the operator's own machine has."""
    service = open_service(places)
    for _ in range(2):
        service.accounts.owner_client("owner")
    secret = service.sessions.link(service.accounts.user("owner"))
    assert service.sessions.trade(secret)
    service.close()


def moved(service: Service, targets: Sequence[Places]) -> None:
    """Move everything to one place, and by an export to another; both are empty."""
    first, second = targets
    source = service.environment["MINUS_DATABASE_URL"] or str(service.data)
    places = "--from", source, "--from-blobs", str(service.data)
    to = first.database or str(first.data)
    _operate(service, "copy", *places, "--to", to, "--to-blobs", str(first.data))
    folder = str(service.data.parent / "export")
    _operate(service, "export", folder, "--data", str(service.data))
    other = {"MINUS_DATABASE_URL": second.database or ""}
    _operate(service, "import", folder, "--data", str(second.data), **other)
