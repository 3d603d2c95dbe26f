"""API v1 in the client: galleries of nobody's and of one's own, --share, --unshare, --web."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minus import (
    MinusAPIError,
    MinusAuthError,
    MinusConnection,
    MinusFile,
    MinusGallery,
    MinusNotFound,
)
from minus_server.daemon import stop
from tests.helpers import FAR, PASSWORD, Far, Script, answer, sign_in
from tests.live import Service
from tests.rawhttp import PASSWORD as RAW_PASSWORD
from tests.rawhttp import Client, new_user, png
from tests.shell_helpers import Done, call, configure, here, run, settle

pytest_plugins = ["tests.accounts"]

NOWHERE = "http://127.0.0.1:1/"
ONLY_HERE = (
    "Only this machine can open this link, while its service runs, which any `minus` starts."
    " To serve others, run `minus-server serve`: see the README.\n"
)


@pytest.fixture(scope="module")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service where anybody may make accounts and galleries."""
    running = Service(
        tmp_path_factory.mktemp("open") / "data",
        ("--registration", "open", "--anonymous-galleries", "100000"),
    )
    running.start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log()


@pytest.fixture
def anyone(open_service: Service) -> Iterator[MinusConnection]:
    """Somebody without an account, and without a key."""
    api = MinusConnection(url=open_service.url)
    yield api
    api.close()


@pytest.fixture
def gallery(anyone: MinusConnection) -> MinusGallery:
    """A new gallery of nobody's."""
    return anyone.new_gallery("Cats")


def reader(gallery: MinusGallery) -> MinusGallery:
    """The same gallery, as whoever has its link alone sees it."""
    return MinusGallery(gallery._api, gallery.id)


def names(items: list[MinusFile]) -> list[str]:
    return [item.name for item in items]


# --- without an account ---


def test_a_gallery_is_made_without_an_account_and_read_by_its_link(
    anyone: MinusConnection, gallery: MinusGallery
) -> None:
    assert gallery.editor_id not in ("", gallery.id)
    assert (gallery.name, repr(gallery)) == ("Cats", f"<MinusGallery {gallery.id} 'Cats'>")
    assert gallery.link == f"{anyone.url}m{gallery.id}"
    assert gallery.edit_link == f"{anyone.url}m{gallery.editor_id}"
    seen = reader(gallery)
    assert (seen.items(), seen.name) == ([], "Cats")


def test_items_are_made_of_bytes_and_files_and_come_back(
    anyone: MinusConnection, gallery: MinusGallery, tmp_path: Path
) -> None:
    (tmp_path / "b.txt").write_bytes(b"one\r\n\x00\xff")
    told: list[tuple[int, int | None]] = []
    picture = gallery.new(
        "a.PNG", png(3, 2), mimetype="image/png", progress=lambda *at: told.append(at)
    )
    other = gallery.upload(tmp_path / "b.txt")
    renamed = gallery.upload(tmp_path / "b.txt", "c")
    size = len(png(3, 2))
    assert (picture.width, picture.height, picture.filesize) == (3, 2, size)
    assert told == [(size, size)]
    assert picture.link == f"{anyone.url}l{picture.id}"
    assert [item.data() for item in (picture, other, renamed)] == [
        png(3, 2),
        b"one\r\n\x00\xff",
        b"one\r\n\x00\xff",
    ]
    items = reader(gallery).items()
    assert names(items) == ["a.PNG", "b.txt", "c"]
    assert [item.id for item in items] == [picture.id, other.id, renamed.id]
    assert [item.data() for item in items[:2]] == [png(3, 2), b"one\r\n\x00\xff"]
    assert items[0].url_rawfile == picture.url_rawfile


@pytest.mark.parametrize(
    "name", ["two words & more=;.txt", 'a "b".txt', "naïve ☃.txt", "a%20b.txt", "%41", "...", "-"]
)
def test_an_item_keeps_its_name(gallery: MinusGallery, name: str) -> None:
    made = gallery.new(name, b"x")
    (item,) = gallery.items()
    assert (made.name, item.name, item.id, item.data()) == (name, name, made.id, b"x")
    assert made.data() == b"x"


def test_saving_sets_title_and_order_and_deletes_what_is_left_out(gallery: MinusGallery) -> None:
    a, b, c = (gallery.new(name, name) for name in "abc")
    assert gallery.save("Dogs") is gallery
    assert (gallery.name, names(gallery.items())) == ("Dogs", ["a", "b", "c"])
    gallery.save(items=[c, a.id])
    assert (names(gallery.items()), gallery.name) == (["c", "a"], "Dogs")
    with pytest.raises(MinusNotFound):
        b.data()


def test_whoever_has_the_link_alone_neither_saves_nor_publishes_nor_deletes(
    gallery: MinusGallery,
) -> None:
    for attempt in (
        lambda: reader(gallery).save("Mine"),
        lambda: reader(gallery).publish(),
        lambda: reader(gallery).delete(),
    ):
        with pytest.raises(MinusAPIError) as caught:
            attempt()
        assert caught.value.status in (403, 404)
    assert names(gallery.items()) == []
    assert gallery.name == "Cats"


def test_the_editor_id_deletes_the_gallery_with_its_items(gallery: MinusGallery) -> None:
    item = gallery.new("a", b"x")
    MinusGallery(gallery._api, "", {"editor_id": gallery.editor_id, "reader_id": ""}).delete()
    with pytest.raises(MinusNotFound):
        gallery.items()
    with pytest.raises(MinusNotFound):
        item.data()


def test_an_editor_id_in_an_error_stays_unseen(gallery: MinusGallery) -> None:
    gallery.delete()
    with pytest.raises(MinusAPIError) as caught:
        gallery.new("a", b"x")
    shown = f"{caught.value} {caught.value!r} {vars(caught.value)}"
    assert gallery.editor_id not in shown
    assert caught.value.path == "/api/UploadItem"


# --- of one's own ---


@pytest.mark.parametrize("way", ["token", "cookie"])
def test_a_gallery_of_ones_own_is_a_folder_that_nobody_else_changes(
    api: MinusConnection, service: Service, alice: str, way: str
) -> None:
    mine = api
    if way == "cookie":
        mine = MinusConnection(url=service.url)
        mine.sign_in(alice, PASSWORD)
    made = mine.new_gallery("Own")
    made.new("a.txt", b"text")
    folder = api.folder(made.id)
    assert (folder.name, folder.is_public, folder.file_count) == ("Own", False, 1)
    assert made.publish() is made
    assert api.folder(made.id).is_public is True
    stranger = MinusConnection(url=service.url)
    assert names(MinusGallery(stranger, made.id).items()) == ["a.txt"]
    with pytest.raises(MinusAuthError):
        MinusGallery(stranger, made.id).delete()
    assert made.id in [row.id for row in mine.gallery_pane("mine")]
    made.delete()
    with pytest.raises(MinusNotFound):
        api.folder(made.id)
    stranger.close()


def test_what_v1_makes_v2_changes_and_the_other_way_round(api: MinusConnection) -> None:
    folder = api.activeuser().new_folder("Both")
    gallery = MinusGallery(api, folder.id)
    a = gallery.new("a", b"1")
    b = folder.new("b", b"2")
    assert names(list(gallery.files())) == names(list(folder.files())) == ["a", "b"]
    gallery.save("Renamed", [b, a])
    assert (api.folder(folder.id).name, names(list(folder.files()))) == ("Renamed", ["b", "a"])
    assert a.rename("c").name == "c"
    assert names(gallery.items()) == ["b", "c"]


# --- accounts and sessions ---


def test_an_account_is_made_and_signs_in_and_out(anyone: MinusConnection) -> None:
    anyone.register("NewComer", PASSWORD, "new@minus.test")
    with pytest.raises(MinusAuthError):
        anyone.my_galleries()[:]
    anyone.sign_in("newcomer", PASSWORD)
    made = anyone.new_gallery("Mine")
    assert [g.name for g in anyone.gallery_pane("mine")] == ["Mine"]
    anyone.sign_out()
    with pytest.raises(MinusAuthError):
        anyone.my_galleries()[:]
    with pytest.raises(MinusAuthError):
        made.delete()


@pytest.mark.parametrize(
    ("name", "password", "email", "why"),
    [
        ("taken", PASSWORD, "", "This username is already taken."),
        ("", PASSWORD, "", "A username is required."),
        ("other", "", "", "A password is required."),
        ("other", PASSWORD, "nobody", "This email is invalid."),
    ],
)
def test_a_refused_registration_says_why(
    open_service: Service,
    anyone: MinusConnection,
    name: str,
    password: str,
    email: str,
    why: str,
) -> None:
    if name == "taken" and open_service.run("users").stdout.find("taken") < 0:
        anyone.register("taken", PASSWORD)
    with pytest.raises(MinusAPIError) as caught:
        anyone.register(name, password, email)
    assert (str(caught.value), caught.value.status) == (why, 200)
    assert (caught.value.method, caught.value.path) == ("POST", "/api/login/register")


def test_a_wrong_password_signs_nobody_in(service: Service, alice: str) -> None:
    api = MinusConnection(url=service.url)
    with pytest.raises(MinusAPIError, match="password is wrong"):
        api.sign_in(alice, "wrong")
    with pytest.raises(MinusAuthError):
        api.my_galleries()[:]
    api.close()


def test_the_cookie_goes_to_api_v1_of_the_service_alone(far: Far) -> None:
    cookie = {"Set-Cookie": "sessionid=SECRET-1; Path=/; HttpOnly"}
    done = {"success": True}
    far.wire.post(f"{FAR}/api/SignIn", json=done, headers=cookie)
    far.wire.get(f"{FAR}/api/MyGalleries.json/1", json={"total_pages": 1, "galleries": []})
    far.wire.get(f"{FAR}/api/GetItems/mX", status=302, headers={"Location": "https://evil.test/x"})
    for link in (f"{FAR}/api/v2/x", "https://evil.test/x", "http://minus.test:81/api/x"):
        far.wire.get(link, json={})
    far.sign_in("user", "word")
    assert list(far.my_galleries()) == []
    for link in ("../GetItems/mX", "x", "https://evil.test/x", "http://minus.test:81/api/x"):
        if link.startswith("http:"):
            far.force_https, far._allow_http = False, True
        far.request(link)
    sent = [
        (call.request.url, call.request.headers.get("Cookie"), auth)
        for call, (_, _, auth) in zip(far.wire.calls, far.sent(), strict=True)
    ]
    assert sent == [
        (f"{FAR}/api/SignIn", None, None),
        (f"{FAR}/api/MyGalleries.json/1", "sessionid=SECRET-1", None),
        (f"{FAR}/api/GetItems/mX", "sessionid=SECRET-1", None),
        ("https://evil.test/x", None, None),
        (f"{FAR}/api/v2/x", None, "Bearer ACCESS-1"),
        ("https://evil.test/x", None, None),
        ("http://minus.test:81/api/x", None, None),
    ]
    assert "SECRET-1" not in repr(far)


# --- the timelines ---


def test_the_panes_are_lists_that_fetch_what_is_looked_at(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.add_user("timeliner", PASSWORD)
    api = sign_in(service, "timeliner")
    made = [api.new_gallery(f"Gallery {number}") for number in range(41)]
    fetched: list[str] = []
    request = api.request

    def counting(url: str, *args: Any) -> Any:
        fetched.append(url)
        return request(url, *args)

    monkeypatch.setattr(api, "request", counting)
    mine = api.gallery_pane("mine")
    assert fetched == []
    first = mine[0]
    assert [url.rpartition("/")[2] for url in fetched] == ["1"]
    assert {g.id for g in mine} == {g.id for g in made}
    assert (len(mine), len(fetched)) == (41, 3)
    assert (first.editor_id, first.is_public, first.item_count) == (first.id, False, 0)
    assert first.name.startswith("Gallery ")
    assert first.creator == "timeliner"
    with pytest.raises(MinusNotFound):
        api.gallery_pane("nothing")[0]
    api.close()


def test_what_was_visited_stands_in_the_history(api: MinusConnection, bob: MinusConnection) -> None:
    shown = api.new_gallery("Shown").publish()
    MinusGallery(bob, shown.id).items()
    seen = [g for g in bob.gallery_pane("history") if g.id == shown.id]
    assert [(g.name, g.editor_id, vars(g)["_is_public"]) for g in seen] == [("Shown", "", "True")]
    assert isinstance(seen[0].last_visit, str)
    shown.delete()
    (gone,) = [g for g in bob.gallery_pane("history") if g.id == shown.id]
    assert gone.editor_id == ""
    assert len(bob.gallery_pane("feed")) == 0


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ([{"total_pages": 2, "galleries": []}], "the list is broken: 0 of None items came"),
        ([{"total_pages": 1}], "the list has no results"),
        ([{"total_pages": 1, "galleries": [1]}], "the list has no results"),
    ],
)
def test_a_timeline_that_is_none_is_an_error(far: Far, pages: list[Any], why: str) -> None:
    for number, page in enumerate(pages, 1):
        far.wire.get(f"{FAR}/api/MyGalleries.json/{number}", json=page)
    with pytest.raises(MinusAPIError, match=f"^{why}$"):
        len(far.my_galleries())


def test_items_of_an_old_service_need_no_names(far: Far) -> None:
    urls = ["http://i.min.us/jlZEMU.PNG", "http://i.min.us/iABC"]
    row = {"READ_ONLY_URL_FOR_GALLERY": "vph5BW", "GALLERY_TITLE": "T", "ITEMS_GALLERY": urls}
    far.wire.get(f"{FAR}/api/GetItems/mvph5BW", json=row)
    items = MinusGallery(far, "vph5BW").items()
    assert [(i.id, i.name, i.url_rawfile) for i in items] == [
        ("lZEMU", "", urls[0]),
        ("ABC", "", urls[1]),
    ]


# --- minus --share, --unshare ---


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command is called in, with three files."""
    local = settle(monkeypatch, tmp_path)
    for name in ("a.txt", "b.txt", "c.txt"):
        (local / name).write_text(name)
    return local


@pytest.fixture(scope="module")
def account(service: Service) -> Client:
    return new_user(service, "Sharer")


@pytest.fixture
def user(account: Client, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A user whom the configuration names."""
    assert local
    configure(tmp_path, account.service, username=account.name)
    monkeypatch.setenv("MINUS_PASSWORD", RAW_PASSWORD)
    return account


def shared(done: Done, url: str) -> MinusGallery:
    """The gallery whose link was printed, and nothing else."""
    assert (done.status, done.out.count("\n")) == (0, 1)
    link = done.out.rstrip("\n")
    assert link.startswith(f"{url}m")
    return MinusGallery(MinusConnection(url=url), link.removeprefix(f"{url}m"))


def kept(home: Path) -> Path:
    return home / "state/minus/galleries.json"


def test_share_makes_a_gallery_without_an_account_and_unshare_deletes_it(
    open_service: Service, local: Path, tmp_path: Path
) -> None:
    done = run("--share", "a.txt", "b.txt", "c.txt", "--url", open_service.url)
    gallery = shared(done, open_service.url)
    ((link, row),) = json.loads(kept(tmp_path).read_text()).items()
    edit_link = f"{open_service.url}m{row['editor_id']}"
    where = f"To edit it in a browser: {edit_link}\n"
    assert done.err == f"Shared without an account. {where}"
    items = gallery.items()
    assert gallery.name == "a.txt and 2 more"
    assert [(i.name, i.data()) for i in items] == sorted(here(local).items())
    assert (link, row["url"], row["reader_id"]) == (gallery.link, open_service.url, gallery.id)
    assert stat.S_IMODE(kept(tmp_path).stat().st_mode) == 0o600
    other = shared(call("--share", "a.txt", "--url", open_service.url), open_service.url)
    assert (other.items()[0].name, other.name) == ("a.txt", "a.txt")
    # its service is known: none has to be named
    assert call("--unshare", gallery.link) == (0, f'--> UNSHARE "{gallery.link}" OK\n', "")
    with pytest.raises(MinusNotFound):
        gallery.items()
    word = f"m{other.id}"
    assert call("--unshare", word) == (0, f'--> UNSHARE "{word}" OK\n', "")
    assert json.loads(kept(tmp_path).read_text()) == {}


@pytest.mark.parametrize("way", ["flag", "variable", "config"])
def test_share_needs_no_account_where_only_a_service_is_named(
    open_service: Service,
    local: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    assert local
    flags = ("--url", open_service.url) if way == "flag" else ()
    if way == "variable":
        monkeypatch.setenv("MINUS_URL", open_service.url)
    if way == "config":
        configure(tmp_path, open_service)
    assert shared(call("--share", "a.txt", *flags), open_service.url).name == ""


@pytest.mark.parametrize(("flags", "public"), [((), False), (("--public",), True)])
def test_share_makes_ones_own_gallery_which_is_listed_only_if_told(
    user: Client, tmp_path: Path, flags: tuple[str, ...], public: bool
) -> None:
    gallery = shared(call("--share", "a.txt", *flags), user.base)
    row = user.get(f"folders/{gallery.id}")
    assert (row["name"], row["is_public"], row["file_count"]) == ("a.txt", public, 1)
    assert row["creator"].endswith(f"/{user.slug}")
    assert not kept(tmp_path).exists()
    assert call("--unshare", gallery.link + "/", "nothing") == (
        11,
        f'--> UNSHARE "{gallery.link}/" OK\n',
        '--> UNSHARE "nothing" FAILED (no such gallery: nothing)\n',
    )
    assert user.values(f"users/{user.slug}/folders", "id").count(gallery.id) == 0


def test_unshare_deletes_nothing_of_others(user: Client, service: Service) -> None:
    other = new_user(service, "unshared")
    theirs = other.folder("Theirs")
    word = f"{user.base}m{theirs['id']}"
    done = call("--unshare", word)
    why = "Only the gallery's owner may do this: sign in first. (403)"
    assert done == (6, "", f'--> UNSHARE "{word}" FAILED ({why})\n')
    assert other.get(f"folders/{theirs['id']}")["name"] == "Theirs"


def test_a_broken_list_of_editor_ids_is_put_aside_and_not_lost(
    open_service: Service, local: Path, tmp_path: Path
) -> None:
    assert local
    kept(tmp_path).parent.mkdir(parents=True)
    kept(tmp_path).touch(0o600)
    kept(tmp_path).write_text('{"broken": ')
    gallery = shared(call("--share", "a.txt", "--url", open_service.url), open_service.url)
    assert list(json.loads(kept(tmp_path).read_text())) == [gallery.link]
    assert kept(tmp_path).with_suffix(".old").read_text() == '{"broken": '


def test_an_editor_id_outlives_an_address_that_knows_nothing(local: Path, tmp_path: Path) -> None:
    assert local
    with Script(answer(404, b"<html>moved</html>")) as moved:
        row = {"url": moved.url, "editor_id": "E" * 12, "reader_id": "R" * 12}
        kept(tmp_path).parent.mkdir(parents=True)
        kept(tmp_path).touch(0o600)
        kept(tmp_path).write_text(json.dumps({f"{moved.url}m{'R' * 12}": row, "odd": "row"}))
        before = kept(tmp_path).read_text()
        assert call("--unshare", f"m{'R' * 12}").status == 4
    assert kept(tmp_path).read_text() == before


def test_share_reads_standard_input(open_service: Service, local: Path) -> None:
    assert local
    done = call("--share", "-", "a.txt", "--url", open_service.url, stdin=b"one\r\n\x00\xff")
    items = shared(done, open_service.url).items()
    assert [(i.name, i.data()) for i in items] == [
        ("stdin", b"one\r\n\x00\xff"),
        ("a.txt", b"a.txt"),
    ]


def test_what_cannot_be_shared_is_named_and_the_others_go_on(user: Client, local: Path) -> None:
    (local / "sub").mkdir()
    done = call("--share", "missing", "a.txt", "sub")
    assert (done.status, done.err) == (
        11,
        '--> SHARE "missing" FAILED (No such file or directory: missing)\n'
        '--> SHARE "sub" FAILED (Is a directory: sub)\n',
    )
    gallery = shared(Done(0, done.out, ""), user.base)
    assert names(gallery.items()) == ["a.txt"]
    assert user.get(f"folders/{gallery.id}")["name"] == "a.txt"


def test_where_nothing_can_be_shared_no_gallery_stays(user: Client, tmp_path: Path) -> None:
    before = user.values(f"users/{user.slug}/folders", "id")
    done = call("--share", "missing")
    assert (done.status, done.out, done.err.count("\n")) == (4, "", 1)
    assert user.values(f"users/{user.slug}/folders", "id") == before
    assert call("--share", "missing", "--url", NOWHERE).status == 5
    assert not kept(tmp_path).exists()


@pytest.mark.parametrize("args", [["--share"], ["--unshare"], ["--web", "a.txt"]])
def test_wrong_usage_is_2(local: Path, args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert local
    with pytest.raises(SystemExit) as ended:
        call(*args)
    assert (ended.value.code, capsys.readouterr().out) == (2, "")


# --- on the embedded service ---


@pytest.fixture
def embedded(local: Path, tmp_path: Path) -> Iterator[Path]:
    """The folder of the embedded service, which is stopped at the end."""
    assert local
    yield tmp_path / "data/minus"
    stop(tmp_path / "data/minus")


def test_share_on_this_machine_says_that_others_cannot_open_the_link(embedded: Path) -> None:
    done = run("--share", "a.txt")
    assert (done.status, done.err) == (0, ONLY_HERE)
    url = json.loads((embedded / "service.json").read_text())["url"]
    gallery_id = done.out.rstrip("\n").removeprefix(f"{url}m")
    assert run("--list-folders").out == "a.txt (1 files)\n"
    assert run("--get", f"@{gallery_id}").out == '--> GET "a.txt" OK (5 bytes)\n'
    assert run("--unshare", gallery_id).out == f'--> UNSHARE "{gallery_id}" OK\n'
    assert run("--list-folders").out == ""


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a browser of the test's writes down what it was to open."""
    seen, script = tmp_path / "opened", tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" >> "{seen}"\n')
    script.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(script))
    return seen


def test_web_opens_the_pages_signed_in_once(embedded: Path, browser: Path) -> None:
    done = run("--web")
    url = json.loads((embedded / "service.json").read_text())["url"]
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"{url}signin/")
    assert browser.read_text() == done.out
    assert run("--web").out != done.out


def test_web_opens_another_service_at_its_root(
    open_service: Service, local: Path, browser: Path
) -> None:
    assert local
    assert run("--web", "--url", open_service.url) == (0, f"{open_service.url}\n", "")
    assert browser.read_text() == f"{open_service.url}\n"


def test_web_without_a_browser_prints_the_address(
    open_service: Service, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert local
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(local))
    assert run("--web", "--url", open_service.url) == (0, f"{open_service.url}\n", "")
