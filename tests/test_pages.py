"""The pages in real Chromium: with script and without, by mouse, keyboard and touch."""

import base64
import io
import json
import re
import socket
import threading
import wave
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import (
    APIResponse,
    Browser,
    FilePayload,
    Locator,
    Page,
    Response,
    Route,
    expect,
)
from starlette import routing

from minus_server import app
from tests.browser import NARROW, WIDE, Tabs
from tests.live import Service
from tests.rawhttp import FORM, HOST, PASSWORD, TIMEOUT, call, counter

JSON = {"Accept": "application/json"}
ID = "[0-9A-Za-z]{12}"
NAMES = ["red.png", "green.png", "blue.png"]
KINDS = ["picture", "film", "sound", "text", "other"]
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"]
POEM = "Two roads diverged\n\tin a <yellow> wood & so on\n"
LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2

# --- files ---


def picture(colour: str, size: tuple[int, int] = (300, 200)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def sound() -> bytes:
    """A tenth of a second of silence."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(bytes(1600))
    return stream.getvalue()


RECORD = """async () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [64, 48];
  const pen = canvas.getContext("2d");
  const recorder = new MediaRecorder(canvas.captureStream(), { mimeType: "video/webm;codecs=vp8" });
  const parts = [];
  const ended = new Promise((resolve) => { recorder.onstop = resolve; });
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.start();
  for (let hue = 0; hue < 360; hue += 20) {
    pen.fillStyle = `hsl(${hue} 80% 50%)`;
    pen.fillRect(0, 0, 64, 48);
    await new Promise(requestAnimationFrame);
  }
  recorder.stop();
  await ended;
  return btoa(String.fromCharCode(...new Uint8Array(await new Blob(parts).arrayBuffer())));
}"""


@pytest.fixture(scope="module")
def film(chromium: Browser) -> bytes:
    """Eighteen pictures as WebM, made by the one program at hand that can."""
    with closing(chromium.new_context()) as context:
        return base64.b64decode(context.new_page().evaluate(RECORD))


def payload(name: str, data: bytes, mimetype: str = "image/png") -> FilePayload:
    return {"name": name, "mimeType": mimetype, "buffer": data}


PICTURES = [payload(name, picture(name.removesuffix(".png"))) for name in NAMES]

# --- the service, and galleries made without a browser ---


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service where anyone may register; it never failed."""
    options = ("--registration", "open", "--anonymous-galleries", "1000000")
    running = Service(tmp_path_factory.mktemp("web") / "data", options)
    running.start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log()


@dataclass(frozen=True)
class Person:
    """Whoever speaks to the service: with a session's cookie, or as nobody."""

    service: Service
    name: str = ""
    cookie: str = ""

    def post(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """Send a form as a script does. -> the JSON of the answer"""
        own = {"Cookie": f"sessionid={self.cookie}"} if self.cookie else {}
        headers = own | JSON | {"Content-Type": FORM}
        body = urlencode(params or {}).encode()
        answer = call(self.service.port, "POST", path, headers, body)
        assert answer.status == 200, answer.body
        return answer.json()

    def gallery(self, files: Mapping[str, bytes], name: str = "Holiday") -> "Gallery":
        """Make a gallery over API v1, on one connection."""
        row = self.post("/api/CreateGallery")
        own = {"Cookie": f"sessionid={self.cookie}"} if self.cookie else {}
        items = []
        with closing(HTTPConnection(HOST, self.service.port, timeout=TIMEOUT)) as connection:
            for filename, data in files.items():
                query = urlencode({"editor_id": row["editor_id"], "filename": filename})
                connection.request("POST", f"/api/UploadItem?{query}", data, own)
                answer = connection.getresponse()
                body = answer.read()
                assert answer.status == 200, body
                items.append(json.loads(body)["id"])
        self.post("/api/SaveGallery", {"id": row["editor_id"], "name": name})
        return Gallery(self.service, row["editor_id"], row["reader_id"], items)


@dataclass(frozen=True)
class Gallery:
    service: Service
    editor: str
    reader: str
    items: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.service.url}m{self.reader}"

    @property
    def edit_url(self) -> str:
        return f"{self.service.url}m{self.editor}"

    def item_url(self, place: int) -> str:
        return f"{self.service.url}l{self.items[place]}"

    def read(self) -> Any:
        return call(self.service.port, "GET", f"/api/GetItems/m{self.reader}").json()

    def names(self) -> list[str]:
        return list(self.read()["ITEMS_NAME"])


def session_of(answer_headers: str) -> str:
    return SimpleCookie(answer_headers)["sessionid"].value


def newcomer(service: Service, stem: str = "reader") -> Person:
    """Somebody with an account, signed in over API v1."""
    name = f"{stem}{next(counter)}"
    service.add_user(name, PASSWORD)
    body = urlencode({"username": name, "password1": PASSWORD}).encode()
    answer = call(service.port, "POST", "/api/SignIn", {"Content-Type": FORM}, body)
    return Person(service, name, session_of(answer.headers["Set-Cookie"]))


def gallery_of(page: Page, service: Service, link: str) -> Gallery:
    """The gallery that a page's link leads to."""
    found = re.fullmatch(rf"{re.escape(service.url)}m({ID})", link)
    assert found, link
    assert page.url == found[0]
    return Gallery(service, found[1], found[1])


# --- what people do ---


def drop(page: Page, paths: list[Path]) -> None:
    """Drag files from outside onto the page and let go: events that the browser trusts."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def rows(page: Page) -> Locator:
    return page.locator("#uploads-list > li")


def tiles(page: Page) -> Locator:
    return page.locator("#items > li")


def tile(page: Page, name: str) -> Locator:
    return page.locator(f'#items > li[data-name="{name}"]')


def title(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Title")


def tile_names(page: Page) -> list[str]:
    return [str(name) for name in tiles(page).evaluate_all("all => all.map(t => t.dataset.name)")]


def expect_states(page: Page, *states: str) -> None:
    expect(rows(page)).to_have_count(len(states))
    for number, state in enumerate(states):
        expect(rows(page).nth(number)).to_have_attribute("data-state", state)


@contextmanager
def posted(page: Page, ending: str) -> Iterator[None]:
    """Wait until the service has taken what a click or a key sends."""

    def is_it(answer: Response) -> bool:
        return answer.request.method == "POST" and urlsplit(answer.url).path.endswith(ending)

    with page.expect_response(is_it) as info:
        yield
    assert info.value.status in (200, 303)


def choose(page: Page, files: list[FilePayload]) -> None:
    page.set_input_files("#file", files)


def make_on_page(page: Page, service: Service) -> Gallery:
    """Upload the three pictures on `/` and open their gallery."""
    choose(page, PICTURES)
    link = page.get_by_label("Link to share")
    expect(link).to_be_visible()
    address = link.input_value()
    page.get_by_role("link", name="Open the gallery").click()
    page.wait_for_url(address)
    return gallery_of(page, service, address)


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()


def register(page: Page, name: str, second: str = PASSWORD, email: str = "") -> None:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(second)
    page.get_by_role("main").get_by_role("button", name="Register").click()


# --- files onto the first page ---


def test_three_dropped_files_become_a_gallery_in_their_order(
    tabs: Tabs, web: Service, tmp_path: Path
) -> None:
    page = tabs.open(web.url, permissions=["clipboard-read", "clipboard-write"])
    for number, name in enumerate(NAMES):  # the first is the largest, and arrives last
        (tmp_path / name).write_bytes(PICTURES[number]["buffer"] + bytes(4_000_000 >> 8 * number))
    drop(page, [tmp_path / name for name in NAMES])
    expect_states(page, "done", "done", "done")
    expect(page.locator(".upload-name")).to_have_text(NAMES)
    expect(rows(page).locator("progress")).to_have_count(3)
    expect(page.locator("#uploads-words")).to_have_text("3 files uploaded")
    expect(page.get_by_role("heading", name="Your gallery is ready")).to_be_visible()
    link = page.get_by_label("Link to share").input_value()
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#say")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == link
    page.get_by_role("link", name="Open the gallery").click()
    page.wait_for_url(link)
    assert tile_names(page) == NAMES
    expect(page.get_by_label("Title")).to_have_value(f"{NAMES[0]} and 2 more")
    assert gallery_of(page, web, link).names() == NAMES


def test_the_order_is_as_chosen_whatever_arrives_first(tabs: Tabs, web: Service) -> None:
    page = tabs.open(web.url)
    held: dict[str, Route] = {}
    answers: list[APIResponse] = []

    def hold_green(route: Route) -> None:
        held["green"] = route

    def store_blue_and_tell_later(route: Route) -> None:
        held["blue"] = route
        answers.append(route.fetch())
        held["green"].continue_()

    page.route("**/api/UploadItem*filename=green.png", hold_green)
    page.route("**/api/UploadItem*filename=blue.png", store_blue_and_tell_later)
    choose(page, PICTURES)
    expect_states(page, "done", "done", "sending")
    held["blue"].fulfill(response=answers[0])
    page.get_by_role("link", name="Open the gallery").click()
    expect(tiles(page)).to_have_count(3)
    assert tile_names(page) == NAMES


def test_a_dropped_folder_gives_the_files_in_it(tabs: Tabs, web: Service, tmp_path: Path) -> None:
    page = tabs.open(web.url)
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    for name in ("folder/a.txt", "folder/inner/b.txt", "c.txt"):
        (tmp_path / name).write_text(name)
    drop(page, [tmp_path / "folder", tmp_path / "c.txt"])
    expect_states(page, "done", "done", "done")
    assert sorted(page.locator(".upload-name").all_inner_texts()) == ["a.txt", "b.txt", "c.txt"]


def test_chosen_files_become_a_gallery_and_more_join_it(tabs: Tabs, web: Service) -> None:
    page = tabs.open(web.url)
    choose(page, PICTURES[:2])
    link = page.get_by_label("Link to share")
    expect(link).to_be_visible()
    address = link.input_value()
    choose(page, PICTURES[2:])
    expect_states(page, "done", "done", "done")
    expect(page.locator("#uploads-words")).to_have_text("3 files uploaded")
    assert link.input_value() == address
    page.get_by_role("link", name="Open the gallery").click()
    page.wait_for_url(address)
    assert tile_names(page) == NAMES


def test_a_pasted_screenshot_becomes_a_gallery(tabs: Tabs, web: Service) -> None:
    page = tabs.open(web.url, permissions=["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async () => {
          const canvas = new OffscreenCanvas(90, 60);
          canvas.getContext("2d").fillRect(0, 0, 40, 40);
          const blob = await canvas.convertToBlob({ type: "image/png" });
          await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
        }"""
    )
    press(page, "Control+V")
    expect(page.get_by_label("Link to share")).to_be_visible()
    expect(rows(page)).to_have_count(1)
    page.get_by_role("link", name="Open the gallery").click()
    expect(tiles(page)).to_have_count(1)
    (name,) = tile_names(page)
    assert re.fullmatch(r"Screenshot \d{4}-\d\d-\d\d at \d\d\.\d\d\.\d\d\.png", name)


def test_a_cancelled_upload_leaves_the_others(tabs: Tabs, web: Service) -> None:
    page = tabs.open(web.url)
    page.route("**/api/UploadItem*filename=green.png", lambda _: None)  # is never done
    choose(page, PICTURES)
    expect_states(page, "done", "sending", "done")
    expect(page.locator("#uploads-words")).to_have_text("Uploading, 2 of 3 done")
    page.get_by_role("button", name="Cancel green.png").click()
    expect_states(page, "done", "cancelled", "done")
    expect(page.get_by_role("button", name="Retry green.png")).to_be_focused()
    link = page.get_by_label("Link to share").input_value()
    page.get_by_role("link", name="Open the gallery").click()
    page.wait_for_url(link)
    assert tile_names(page) == ["red.png", "blue.png"]


def test_a_cancelled_upload_can_be_tried_again(tabs: Tabs, web: Service) -> None:
    page = tabs.open(web.url)
    page.route("**/api/UploadItem*filename=red.png", lambda _: None)
    choose(page, PICTURES)
    expect_states(page, "sending", "done", "done")
    page.get_by_role("button", name="Cancel red.png").click()
    page.unroute_all(behavior="ignoreErrors")
    page.get_by_role("button", name="Retry red.png").click()
    expect_states(page, "done", "done", "done")
    page.get_by_role("link", name="Open the gallery").click()
    expect(tiles(page)).to_have_count(3)
    assert tile_names(page) == NAMES


def test_cancelling_everything_leaves_no_gallery(tabs: Tabs, web: Service) -> None:
    page = tabs.open(web.url)
    page.route("**/api/UploadItem*", lambda _: None)
    with page.expect_response("**/api/CreateGallery") as made:
        choose(page, PICTURES)
    expect_states(page, "sending", "sending", "waiting")
    with posted(page, "/delete"):
        page.get_by_role("button", name="Cancel all").click()
    expect_states(page, "cancelled", "cancelled", "cancelled")
    expect(page.get_by_label("Link to share")).to_be_hidden()
    reader = made.value.json()["reader_id"]
    assert call(web.port, "GET", f"/api/GetItems/m{reader}").status == 404


def test_a_file_that_is_too_large_says_so_and_the_others_arrive(tabs: Tabs, tmp_path: Path) -> None:
    strict = Service(tmp_path / "data", ("--anonymous-file", "4k"))
    strict.start()
    try:
        page = tabs.open(strict.url)
        tabs.expect("status of 413")
        expect(page.get_by_text("Up to 4 KiB a file.")).to_be_visible()
        big = payload("big.bin", bytes(100_000), "application/octet-stream")
        choose(page, [PICTURES[0], big, PICTURES[2]])
        expect_states(page, "done", "failed", "done")
        expect(page.locator("#uploads-words")).to_have_text("2 files uploaded, 1 failed")
        expect(rows(page).nth(1).locator(".upload-note")).to_contain_text("4")
        with page.expect_response("**/api/UploadItem*big.bin"):
            page.get_by_role("button", name="Retry big.bin").click()
        expect_states(page, "done", "failed", "done")
        page.get_by_role("link", name="Open the gallery").click()
        expect(tiles(page)).to_have_count(2)
        assert tile_names(page) == ["red.png", "blue.png"]
    finally:
        assert strict.stop() == 0


# --- large files, in pieces ---

LARGE = bytes(range(256)) * 70_000  # 18 MB: three pieces


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A large file and a picture, as files: they need not pass through the test."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "large.pdf").write_bytes(LARGE)
    (folder / "red.png").write_bytes(PICTURES[0]["buffer"])
    return [folder / "large.pdf", folder / "red.png"]


class Cable:
    """A proxy before a service whose connections can be cut, and then take nobody until mended.

    after   bytes from the browser after which it is cut by itself, once
    """

    def __init__(self, service: Service, after: int) -> None:
        self._to = service.port
        self._left = after
        self._cut = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((HOST, 0))
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}/"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                if self._cut.is_set():
                    near.close()
                    continue
                far = socket.create_connection((HOST, self._to))
                with self._lock:
                    self._open |= {near, far}
                for ends in ((near, far), (far, near)):
                    self._threads.append(threading.Thread(target=self._carry, args=ends))
                    self._threads[-1].start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while block := source.recv(65536):
                if target.getpeername()[1] == self._to:
                    self._count(len(block))
                target.sendall(block)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()  # with bytes unread it resets: who sends would wait for room otherwise

    def _count(self, size: int) -> None:
        with self._lock:
            before, self._left = self._left, self._left - size
        if before > 0 >= self._left:
            self.cut()

    def cut(self) -> None:
        self._cut.set()
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._cut.clear()

    def close(self) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (*self._open, self._listener):
            end.close()


def only_upload(tabs: Tabs) -> set[str]:
    """The addresses that were asked for below /uploads/."""
    return {path for path in tabs.paths() if path.startswith("/uploads/")}


def test_a_large_file_survives_a_broken_connection(
    tabs: Tabs, web: Service, stack: list[Path]
) -> None:
    cable = Cable(web, after=12_000_000)
    try:
        page = tabs.open(cable.url)
        tabs.expect("net::ERR_")
        page.set_input_files("#file", stack[0])
        note = rows(page).first.locator(".upload-note")
        expect(note).to_contain_text("trying again in")
        expect(page.locator("#uploads-words")).to_have_text("Uploading, 0 of 1 done")
        cable.mend()
        expect_states(page, "done")
        link = page.get_by_label("Link to share").input_value()
        assert len(only_upload(tabs)) == 1
        items = call(web.port, "GET", f"/api/GetItems/{link.rpartition('/')[2]}").json()
        assert items["ITEMS_NAME"] == ["large.pdf"]
        raw = call(web.port, "GET", urlsplit(items["ITEMS_GALLERY"][0]).path)
        assert (raw.headers["Content-Type"], raw.body == LARGE) == ("application/pdf", True)
    finally:
        cable.close()


def test_a_large_file_that_is_cancelled_is_given_up(
    tabs: Tabs, web: Service, stack: list[Path]
) -> None:
    page = tabs.open(web.url)
    asked: list[str] = []

    def hold_the_second_piece(route: Route) -> None:
        asked.append(route.request.method)
        if asked.count("PATCH") < 2 or route.request.method != "PATCH":
            route.continue_()

    page.route("**/uploads/*", hold_the_second_piece)
    page.set_input_files("#file", stack)
    expect_states(page, "sending", "done")
    expect(rows(page).first.locator("progress")).to_have_js_property(
        "value", 100 * 2**23 / len(LARGE)
    )
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as gone:
        page.get_by_role("button", name="Cancel large.pdf").click()
    assert gone.value.status == 204
    expect_states(page, "cancelled", "done")
    (path,) = only_upload(tabs)
    assert call(web.port, "GET", path).status == 404
    page.unroute_all(behavior="ignoreErrors")
    page.get_by_role("button", name="Retry large.pdf").click()
    expect_states(page, "done", "done")
    page.get_by_role("link", name="Open the gallery").click()
    expect(tiles(page)).to_have_count(2)
    assert tile_names(page) == ["large.pdf", "red.png"]


def test_a_large_file_is_added_to_ones_own_gallery(
    tabs: Tabs, web: Service, stack: list[Path]
) -> None:
    person = newcomer(web)
    gallery = person.gallery({"a.txt": b"a"})
    page = tabs.open(gallery.edit_url, person.cookie)
    with page.expect_navigation():
        page.set_input_files("#file", stack[0])
    assert tile_names(page) == ["a.txt", "large.pdf"]
    assert len(only_upload(tabs)) == 1


def test_a_large_file_for_which_there_is_no_room_says_so(
    tabs: Tabs, tmp_path: Path, stack: list[Path]
) -> None:
    strict = Service(tmp_path / "data", ("--anonymous-file", "10m"))
    strict.start()
    try:
        page = tabs.open(strict.url)
        tabs.expect("status of 413")
        page.set_input_files("#file", stack)
        expect_states(page, "failed", "done")
        expect(rows(page).first.locator(".upload-note")).to_contain_text(str(10 << 20))
        assert only_upload(tabs) == set()
    finally:
        assert strict.stop() == 0


# --- the owner, in place ---


@dataclass(frozen=True)
class Desk:
    """A gallery of three pictures before whoever made it."""

    page: Page
    gallery: Gallery

    def expect_order(self, *names: str) -> None:
        """The order is as told here, after a reload, and over the API."""
        assert tile_names(self.page) == list(names)
        self.page.reload()
        assert tile_names(self.page) == list(names)
        assert self.gallery.names() == list(names)


@pytest.fixture(params=["registered", "anonymous"])
def desk(request: pytest.FixtureRequest, tabs: Tabs, web: Service) -> Desk:
    """The same for who has an account and for who has none."""
    cookie = newcomer(web).cookie if request.param == "registered" else ""
    page = tabs.open(web.url, cookie)
    return Desk(page, make_on_page(page, web))


def test_title_and_captions_are_saved_in_place(desk: Desk) -> None:
    page = desk.page
    with posted(page, "/edit"):
        title(page).fill("Lofoten & back")
        press(page, "Enter")
    with posted(page, "/edit"):
        page.get_by_label("Caption of green.png").fill('The "green" one')
        press(page, "Tab")
    expect(page.locator("#say")).to_have_text("Saved.")
    expect(page).to_have_title("Lofoten & back · minus")
    page.reload()
    expect(title(page)).to_have_value("Lofoten & back")
    expect(page.get_by_label("Caption of green.png")).to_have_value('The "green" one')
    assert desk.gallery.read()["GALLERY_TITLE"] == "Lofoten & back"


def test_a_tile_is_dragged_to_another_place(desk: Desk) -> None:
    page = desk.page
    page.set_viewport_size({"width": 1280, "height": 1600})  # all of them in view
    source = tile(page, "red.png").bounding_box()
    target = tile(page, "blue.png").bounding_box()
    assert source
    assert target
    page.mouse.move(source["x"] + source["width"] / 2, source["y"] + source["height"] / 2)
    page.mouse.down()
    x, y = target["x"] + target["width"] * 0.8, target["y"] + target["height"] / 2
    page.mouse.move(x, y, steps=5)
    expect(tile(page, "blue.png")).to_have_class(re.compile("drop-after"))
    with posted(page, "/move"):
        page.mouse.up()
    expect(page.locator("#viewer")).to_be_hidden()
    desk.expect_order("green.png", "blue.png", "red.png")


def test_buttons_move_a_tile(desk: Desk) -> None:
    page = desk.page
    with posted(page, "/move"):
        page.get_by_role("button", name="Move red.png later").click()
    with posted(page, "/move"):
        page.get_by_role("button", name="Move blue.png earlier").click()
    desk.expect_order("green.png", "blue.png", "red.png")
    first = page.get_by_role("button", name="Move green.png earlier")
    expect(first).to_have_attribute("aria-disabled", "true")


def test_the_keyboard_moves_a_tile_and_keeps_the_focus_on_it(desk: Desk) -> None:
    page = desk.page
    link = tile(page, "blue.png").locator("a.open")
    link.focus()
    for key in ("Alt+ArrowLeft", "Alt+ArrowUp"):
        with posted(page, "/move"):
            press(page, key)
    expect(page.locator("#say")).to_have_text("blue.png is now 1 of 3.")
    press(page, "Alt+ArrowLeft")  # is the first already: nothing happens
    expect(link).to_be_focused()
    desk.expect_order("blue.png", "red.png", "green.png")


def test_more_files_are_added_in_their_order(desk: Desk) -> None:
    page = desk.page
    more = [payload(f"{n}.txt", b"text", "text/plain") for n in (3, 1, 2)]
    choose(page, more)
    expect(tiles(page)).to_have_count(6)  # the page comes anew when all are there
    expect(page.locator("#file-count")).to_have_text("6 files")
    desk.expect_order(*NAMES, "3.txt", "1.txt", "2.txt")


def test_one_item_is_deleted_when_that_is_confirmed(desk: Desk) -> None:
    page = desk.page
    delete = page.get_by_role("button", name="Delete green.png")
    dialog = page.get_by_role("dialog")
    delete.click()
    expect(dialog).to_contain_text("Delete green.png? There is no way back.")
    press(page, "Escape")
    expect(dialog).to_have_count(0)
    expect(tiles(page)).to_have_count(3)
    delete.click()
    with posted(page, "/delete"):
        dialog.get_by_role("button", name="Delete").click()
    expect(tiles(page)).to_have_count(2)
    expect(tile(page, "blue.png").locator("a.open")).to_be_focused()
    expect(page.locator("#file-count")).to_have_text("2 files")
    desk.expect_order("red.png", "blue.png")


def test_the_gallery_is_deleted(desk: Desk, tabs: Tabs) -> None:
    page, gone = desk.page, f"/m{desk.gallery.reader}"
    page.get_by_text("Delete this gallery").click()
    page.get_by_role("button", name="Delete gallery").click()
    expect(page.get_by_text("Deleted.")).to_be_visible()
    tabs.expect("status of 404")
    page.goto(desk.gallery.url)
    expect(page.get_by_role("heading", name="There is nothing here")).to_be_visible()
    assert call(desk.gallery.service.port, "GET", gone).status == 404


def test_an_item_is_edited_and_deleted_on_its_own_page(desk: Desk) -> None:
    page = desk.page
    tile(page, "green.png").hover()
    address = tile(page, "green.png").locator("a.open").get_attribute("href")
    page.goto(f"{desk.gallery.service.url.rstrip('/')}{address}")
    title(page).fill("Meadow")
    page.get_by_label("Caption").fill("In May")
    page.get_by_label("File name").fill("meadow.png")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Meadow")
    expect(page.locator(".lead")).to_have_text("In May")
    assert desk.gallery.names() == ["red.png", "meadow.png", "blue.png"]
    page.get_by_text("Delete this file").click()
    page.get_by_role("button", name="Delete file").click()
    page.wait_for_url(f"{desk.gallery.url}?note=deleted")
    desk.expect_order("red.png", "blue.png")


def test_a_gallery_is_listed_while_it_is_public(tabs: Tabs, web: Service) -> None:
    owner = newcomer(web)
    gallery = owner.gallery({"a.png": PICTURES[0]["buffer"]}, "Seen by all")
    page = tabs.open(gallery.url, owner.cookie)
    stranger = tabs.open(f"{web.url}u{owner.name}")
    card = stranger.get_by_role("heading", name="Seen by all")
    expect(card).to_have_count(0)
    with posted(page, "/edit"):
        page.get_by_role("button", name="Make public").click()
    expect(page.get_by_role("button", name="Make private")).to_be_visible()
    page.reload()
    stranger.reload()
    expect(card).to_be_visible()
    with posted(page, "/edit"):
        page.get_by_role("button", name="Make private").click()
    expect(page.get_by_role("button", name="Make public")).to_be_visible()
    stranger.reload()
    expect(card).to_have_count(0)
    stranger.goto(gallery.url)
    expect(tiles(stranger)).to_have_count(1)
    robots = stranger.locator('meta[name="robots"]')
    expect(robots).to_have_attribute("content", "noindex")


# --- strangers ---


def expect_no_controls(page: Page) -> None:
    """Nothing but looking: no form but that of signing out, no field to write in."""
    expect(page.get_by_role("main").locator("form, details")).to_have_count(0)
    writable = page.locator("input:not([readonly]):not([type=hidden]), textarea:not([readonly])")
    expect(writable).to_have_count(0)
    expect(page.locator('script[src*="edit.js"]')).to_have_count(0)


def test_another_browser_edits_only_with_the_editing_link(tabs: Tabs, web: Service) -> None:
    maker = tabs.open(web.url)
    gallery = make_on_page(maker, web)
    link = maker.get_by_label("Keep this link to edit later").input_value()
    other = tabs.open(gallery.url)
    expect_no_controls(other)
    other.goto(link)
    other.wait_for_url(gallery.url)  # the address that can be given away
    with posted(other, "/edit"):
        title(other).fill("From elsewhere")
        press(other, "Enter")
    assert gallery.read()["GALLERY_TITLE"] == "From elsewhere"
    third = tabs.open(other.url)
    expect_no_controls(third)


def test_a_stranger_sees_no_controls(tabs: Tabs, web: Service) -> None:
    owner, stranger = newcomer(web), newcomer(web)
    files = {"a.png": PICTURES[0]["buffer"], "b.txt": b"text", "c.bin": bytes(9)}
    for gallery in (owner.gallery(files), Person(web).gallery(files)):
        for cookie in (stranger.cookie, ""):
            page = tabs.open(gallery.url, cookie)
            expect(tiles(page)).to_have_count(3)
            expect_no_controls(page)
            for place in range(3):
                page.goto(gallery.item_url(place))
                expect_no_controls(page)


def forms_of(gallery: Gallery) -> dict[str, dict[str, str]]:
    """Everything that a gallery's pages post to, with fields that its owner could send."""
    reader, (first, second) = gallery.reader, gallery.items
    return {
        f"/m{reader}/edit": {"name": "Mine now", "is_public": "true"},
        f"/m{reader}/move": {"item": first, "to": "1"},
        f"/m{reader}/order": {"items": f"{second},{first}"},
        f"/m{reader}/add": {"file": "text"},
        f"/l{first}/edit": {"key": reader, "caption": "Mine now", "title": "x", "name": "x.txt"},
        f"/l{second}/edit": {"caption": "Mine now"},
        f"/l{first}/delete": {"key": reader},
        f"/l{second}/delete": {},
        "/api/SaveGallery": {"id": reader, "name": "Mine now", "items": second},
        f"/api/set_public/{reader}": {},
        f"/api/set_private/{reader}": {},
        "/api/DeleteGallery": {"id": reader},
        f"/m{reader}/delete": {},
    }


SEND = """async ([path, fields]) => {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (name === "file") form.append(name, new File([value], "added.txt"));
    else form.append(name, value);
  }
  const body = path.endsWith("/add") ? form : new URLSearchParams(form);
  const headers = { Accept: "application/json" };
  return (await fetch(path, { method: "POST", body, headers })).status;
}"""


def test_the_list_of_forms_is_complete(web: Service) -> None:
    known = forms_of(Gallery(web, "", "", ["", ""]))
    served = [
        route.path.replace("{id}", "")
        for route in app.ROUTES
        if isinstance(route, routing.Route) and "POST" in (route.methods or ())
    ]
    served = [path for path in served if re.match("/[ml]/", path) and path != "/m/uploads"]
    assert len(served) == 7
    assert set(served) - set(known) == set()


@pytest.mark.parametrize("owned", [True, False], ids=["of a user", "anonymous"])
@pytest.mark.parametrize("signed_in", [True, False], ids=["by another user", "by nobody"])
def test_what_a_stranger_sends_from_a_page_is_refused(
    owned: bool, signed_in: bool, tabs: Tabs, web: Service
) -> None:
    maker = newcomer(web) if owned else Person(web)
    gallery = maker.gallery({"a.txt": b"a", "b.txt": b"b"})
    before = gallery.read()
    page = tabs.open(gallery.url, newcomer(web).cookie if signed_in else "")
    tabs.expect("status of 403")
    forms = forms_of(gallery)
    assert {path: page.evaluate(SEND, [path, forms[path]]) for path in forms} == dict.fromkeys(
        forms, 403
    )
    assert gallery.read() == before
    page.goto(gallery.item_url(0))
    expect(page.get_by_text("Mine now")).to_have_count(0)


def test_what_needs_an_account_is_refused_without_one(tabs: Tabs, web: Service) -> None:
    owner = newcomer(web)
    page = tabs.open(f"{web.url}u{owner.name}")
    tabs.expect("status of 401")
    paths = ["profile", "password", "clients", f"clients/{web.api_key}/revoke"]
    addresses = [f"/settings/{path}" for path in paths]
    addresses += [f"/u{owner.name}/{verb}" for verb in ("follow", "unfollow")]
    fields = {"name": "x", "display_name": "x", "password1": PASSWORD, "password2": PASSWORD}
    assert {page.evaluate(SEND, [path, fields]) for path in addresses} == {401}


# --- the viewer ---

MIXED = {
    "red.png": PICTURES[0]["buffer"],
    "green.png": PICTURES[1]["buffer"],
    "poem.txt": POEM.encode(),
    "silence.wav": sound(),
    "data.bin": bytes(2000),
}


def open_viewer(page: Page, name: str) -> Locator:
    """Open the viewer by keyboard. -> its count"""
    tile(page, name).locator("a.open").focus()
    press(page, "Enter")
    expect(page.get_by_role("dialog", name="Viewer")).to_be_visible()
    return page.locator("#viewer-count")


def test_the_viewer_is_walked_by_keyboard(tabs: Tabs, web: Service) -> None:
    page = tabs.open(Person(web).gallery(MIXED).url)
    address, stage = page.url, page.locator("#viewer-stage")
    count = open_viewer(page, "green.png")
    expect(count).to_have_text("2 of 5")
    expect(stage.locator("img")).to_have_attribute("alt", "green.png")
    for key, words in [
        ("ArrowRight", "3 of 5"),
        ("ArrowRight", "4 of 5"),
        ("ArrowLeft", "3 of 5"),
        ("ArrowLeft", "2 of 5"),
        ("End", "5 of 5"),
        ("ArrowRight", "5 of 5"),
        ("Home", "1 of 5"),
        ("ArrowLeft", "1 of 5"),
        ("ArrowRight", "2 of 5"),
        ("ArrowRight", "3 of 5"),
    ]:
        press(page, key)
        expect(count).to_have_text(words)
    expect(page.locator("#viewer-words")).to_have_text("poem.txt")
    press(page, "Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(tile(page, "poem.txt").locator("a.open")).to_be_focused()
    page.wait_for_url(address)


def test_the_viewer_keeps_the_focus_inside(tabs: Tabs, web: Service) -> None:
    page = tabs.open(Person(web).gallery(MIXED).url)
    open_viewer(page, "red.png")
    reached = set()
    for _ in range(12):
        focus = "[document.activeElement.id, document.activeElement.closest('.viewer') !== null]"
        name, inside = page.evaluate(focus)
        assert inside or name == ""  # between the last and the first it is the window's turn
        reached.add(name)
        press(page, "Tab")
    steps = ("details", "download", "close", "previous", "next")
    assert reached - {""} == {f"viewer-{step}" for step in steps}


def test_the_viewer_shows_text_and_plays_sound_and_film(
    tabs: Tabs, web: Service, film: bytes
) -> None:
    gallery = Person(web).gallery({**MIXED, "film.webm": film})
    page = tabs.open(f"{gallery.url}#{gallery.items[2]}")  # a link to one item opens it
    stage = page.locator("#viewer-stage")
    expect(page.locator("#viewer-count")).to_have_text("3 of 6")
    expect(stage.locator("pre")).to_have_text(POEM, use_inner_text=False)
    press(page, "ArrowRight")
    expect(stage.locator("audio")).to_have_js_property("error", None)
    stage.locator("audio").evaluate("(sound) => sound.play()")
    press(page, "ArrowRight")
    expect(stage.get_by_role("link", name="Download")).to_have_attribute("download", "data.bin")
    press(page, "ArrowRight")
    stage.locator("video").evaluate("(film) => film.play()")
    expect(stage.locator("video")).to_have_js_property("videoWidth", 64)
    press(page, "Escape")
    expect(stage.locator("video")).to_have_count(0)  # silent once closed


def test_the_viewer_opens_by_click_and_closes_by_going_back(tabs: Tabs, web: Service) -> None:
    page = tabs.open(Person(web).gallery(MIXED).url)
    address = page.url
    tile(page, "red.png").locator("a.open").click()
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#viewer-count")).to_have_text("2 of 5")
    page.go_back()
    expect(page.locator("#viewer")).to_be_hidden()
    assert page.url == address
    tile(page, "red.png").locator("a.open").click()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#viewer")).to_be_hidden()


def swipe(page: Page, across: int, down: int = 0) -> None:
    """A finger on the middle of the screen."""
    session = page.context.new_cdp_session(page)
    x, y = NARROW["width"] // 2 - across // 2, NARROW["height"] // 2 - down // 2
    moves = [(x + across * part // 4, y + down * part // 4) for part in range(5)]
    steps = [("touchStart", moves[:1]), *(("touchMove", [at]) for at in moves[1:])]
    for kind, points in [*steps, ("touchEnd", [])]:
        touches = [{"x": at[0], "y": at[1]} for at in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})


def test_the_viewer_is_walked_by_swiping(tabs: Tabs, web: Service) -> None:
    gallery = Person(web).gallery(MIXED)
    page = tabs.open(gallery.url, viewport=NARROW, has_touch=True, is_mobile=True)
    tile(page, "red.png").locator("a.open").tap()
    count = page.locator("#viewer-count")
    expect(count).to_have_text("1 of 5")
    for across, down, words in [
        (-160, 10, "2 of 5"),
        (160, -10, "1 of 5"),
        (-30, 0, "1 of 5"),  # a slip
        (-160, 0, "2 of 5"),
    ]:
        swipe(page, across, down)
        expect(count).to_have_text(words)


# --- accounts ---


def test_an_account_is_made_left_and_entered_again(tabs: Tabs, web: Service) -> None:
    name = f"Person{next(counter)}"
    page = tabs.open(f"{web.url}register")
    register(page, name, email="person@example.org")
    page.wait_for_url(web.url)
    expect(page.locator(".whoami")).to_have_text(name)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(web.url)
    expect(page.locator(".whoami")).to_have_count(0)
    for path in ("mine", "feed", "history", "settings"):
        page.goto(f"{web.url}{path}")
        page.wait_for_url(f"{web.url}signin?next={path}")
    sign_in(page, name)
    page.wait_for_url(f"{web.url}settings")
    expect(page.locator(".whoami")).to_have_text(name)


def test_signing_out_ends_the_session_itself(tabs: Tabs, web: Service) -> None:
    person = newcomer(web)
    first, second = (tabs.open(f"{web.url}mine", person.cookie) for _ in range(2))
    first.get_by_role("button", name="Sign out").click()
    first.wait_for_url(web.url)
    second.reload()
    second.wait_for_url(f"{web.url}signin?next=mine")


def test_a_wrong_password_is_told_at_its_field(tabs: Tabs, web: Service) -> None:
    person = newcomer(web)
    page = tabs.open(f"{web.url}signin?next=mine")
    tabs.expect("status of 400")
    sign_in(page, person.name, "wrong horse")
    password = page.get_by_label("Password")
    expect(password).to_have_attribute("aria-invalid", "true")
    expect(password).to_have_accessible_description("The username or the password is wrong.")
    expect(page.get_by_label("User name")).to_have_value(person.name)
    expect(password).to_have_value("")
    sign_in(page, person.name)
    page.wait_for_url(f"{web.url}mine")


@pytest.mark.parametrize(
    "onward", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_signing_in_never_leads_to_another_host(onward: str, tabs: Tabs, web: Service) -> None:
    person = newcomer(web)
    page = tabs.open(f"{web.url}signin?{urlencode({'next': onward})}")
    sign_in(page, person.name)
    page.wait_for_url(web.url)


def test_what_is_wrong_with_a_registration_is_told_at_the_fields(tabs: Tabs, web: Service) -> None:
    taken = newcomer(web)
    page = tabs.open(f"{web.url}register")
    tabs.expect("status of 400")
    register(page, taken.name, "another horse", "person@example.org")
    username = page.get_by_label("User name")
    password = page.get_by_label("Password", exact=True)
    expect(username).to_have_accessible_description("This username is already taken.")
    expect(password).to_have_accessible_description("The password does not match.")
    expect(username).to_have_value(taken.name)
    expect(page.get_by_label("Email")).to_have_value("person@example.org")
    expect(password).to_have_value("")
    name = f"fresh{next(counter)}"
    register(page, name)
    page.wait_for_url(web.url)
    expect(page.locator(".whoami")).to_have_text(name)


def test_an_api_client_is_made_and_revoked_when_that_is_confirmed(tabs: Tabs, web: Service) -> None:
    page = tabs.open(f"{web.url}settings", newcomer(web).cookie)
    page.get_by_label("Name of a new client").fill("my script")
    page.get_by_role("button", name="Make client").click()
    key = page.get_by_label("Key", exact=True).input_value()
    secret = page.get_by_label("Secret", exact=True).input_value()
    config = page.get_by_label("Configuration").input_value()
    assert f"api_key: {key}\napi_secret: {secret}\n" in config
    page.goto(f"{web.url}settings")
    expect(page.get_by_text(secret)).to_have_count(0)
    page.get_by_role("button", name="Revoke my script").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Revoke my script").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("The API client is revoked.")).to_be_visible()
    expect(page.locator(".clients")).to_have_count(0)


def test_followed_people_fill_the_feed(tabs: Tabs, web: Service) -> None:
    author, reader = newcomer(web), newcomer(web)
    gallery = author.gallery({"a.txt": b"a"}, "News")
    author.post(f"/api/set_public/{gallery.reader}")
    page = tabs.open(f"{web.url}u{author.name}", reader.cookie)
    page.get_by_role("button", name="Follow").click()
    expect(page.get_by_text("1 follower")).to_be_visible()
    page.goto(f"{web.url}feed")
    page.get_by_role("link", name="News").click()
    page.wait_for_url(gallery.url)
    page.goto(f"{web.url}history")
    expect(page.get_by_role("link", name="News")).to_be_visible()
    page.goto(f"{web.url}u{author.name}")
    page.get_by_role("button", name="Unfollow").click()
    expect(page.get_by_text("0 followers")).to_be_visible()


# --- without script ---


@pytest.fixture(params=["registered", "anonymous"])
def plain(request: pytest.FixtureRequest, tabs: Tabs, web: Service) -> Desk:
    """A gallery that was made by the form alone, in a browser that runs no script."""
    cookie = newcomer(web).cookie if request.param == "registered" else ""
    page = tabs.open(web.url, cookie, java_script_enabled=False)
    choose(page, PICTURES)
    page.get_by_role("button", name="Upload").click()
    expect(tiles(page)).to_have_count(3)
    return Desk(page, gallery_of(page, web, page.url))


def test_without_script_files_make_a_gallery_that_can_be_walked(plain: Desk) -> None:
    page = plain.page
    plain.expect_order(*NAMES)
    expect(title(page)).to_have_value("red.png and 2 more")
    tile(page, "red.png").locator("a.open").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("red.png")
    expect(page.get_by_role("link", name="Previous")).to_have_count(0)
    for name in NAMES[1:]:
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.get_by_role("link", name="Next")).to_have_count(0)
    page.get_by_role("link", name="Previous").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("green.png")
    page.get_by_role("link", name="red.png and 2 more").click()
    page.wait_for_url(plain.gallery.url)


def test_without_script_everything_is_edited_by_forms(plain: Desk) -> None:
    page = plain.page
    title(page).fill("Plain")
    page.get_by_role("button", name="Save title").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page).to_have_title("Plain · minus")
    page.get_by_label("Caption of green.png").fill("grass")
    page.get_by_role("button", name="Save caption of green.png").click()
    expect(page.get_by_label("Caption of green.png")).to_have_value("grass")
    page.get_by_role("button", name="Move blue.png earlier").click()
    plain.expect_order("red.png", "blue.png", "green.png")
    page.get_by_role("button", name="Move red.png later").click()
    plain.expect_order("blue.png", "red.png", "green.png")
    choose(page, [payload("more.txt", b"text", "text/plain")])
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("Added.")).to_be_visible()
    plain.expect_order("blue.png", "red.png", "green.png", "more.txt")
    page.get_by_role("button", name="Delete red.png").click()
    expect(page.get_by_text("Deleted.")).to_be_visible()
    plain.expect_order("blue.png", "green.png", "more.txt")


def test_without_script_an_item_and_the_gallery_are_edited_and_deleted(plain: Desk) -> None:
    page, port = plain.page, plain.gallery.service.port
    tile(page, "red.png").locator("a.open").click()
    title(page).fill("Poppy")
    page.get_by_label("Caption").fill("in the field")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Poppy")
    page.get_by_text("Delete this file").click()
    page.get_by_role("button", name="Delete file").click()
    expect(tiles(page)).to_have_count(2)
    page.get_by_text("Delete this gallery").click()
    page.get_by_role("button", name="Delete gallery").click()
    expect(page.get_by_text("Deleted.")).to_be_visible()
    assert call(port, "GET", f"/m{plain.gallery.reader}").status == 404


def test_without_script_a_gallery_is_published(tabs: Tabs, web: Service) -> None:
    owner = newcomer(web)
    gallery = owner.gallery({"a.txt": b"a"}, "Out")
    page = tabs.open(gallery.url, owner.cookie, java_script_enabled=False)
    page.get_by_role("button", name="Make public").click()
    expect(page.get_by_role("button", name="Make private")).to_be_visible()
    page.goto(f"{web.url}u{owner.name}")
    expect(page.get_by_role("heading", name="Out")).to_be_visible()


def test_without_script_an_account_is_made_kept_and_entered(tabs: Tabs, web: Service) -> None:
    name = f"plain{next(counter)}"
    page = tabs.open(f"{web.url}register", java_script_enabled=False)
    tabs.expect("status of 400")
    register(page, name)
    expect(page.locator(".whoami")).to_have_text(name)
    page.get_by_role("link", name="Settings").click()
    page.get_by_label("Name (optional)").fill("Plain Jane")
    page.get_by_label("About you").fill("Two\nlines")
    page.get_by_role("button", name="Save profile").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.get_by_label("About you")).to_have_value("Two\nlines")
    expect(page.locator(".whoami")).to_have_text("Plain Jane")
    page.get_by_label("Old password").fill("wrong horse")
    page.get_by_label("New password", exact=True).fill("battery staple")
    page.get_by_label("New password again").fill("battery staple")
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("alert")).to_have_text("The old password is wrong.")
    page.get_by_label("Old password").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill("battery staple")
    page.get_by_label("New password again").fill("battery staple")
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_text("The password is changed")).to_be_visible()
    page.get_by_label("Name of a new client").fill("my script")
    page.get_by_role("button", name="Make client").click()
    expect(page.get_by_label("Secret", exact=True)).to_be_visible()
    page.get_by_role("button", name="Revoke my script").click()
    expect(page.get_by_text("The API client is revoked.")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{web.url}mine")
    sign_in(page, name, "battery staple")
    page.wait_for_url(f"{web.url}mine")


def test_without_script_follow_and_unfollow_are_buttons(tabs: Tabs, web: Service) -> None:
    author = newcomer(web)
    page = tabs.open(f"{web.url}u{author.name}", newcomer(web).cookie, java_script_enabled=False)
    page.get_by_role("button", name="Follow").click()
    page.get_by_role("button", name="Unfollow").click()
    expect(page.get_by_role("button", name="Follow", exact=True)).to_be_visible()


# --- for everybody: axe, narrow screens ---


@dataclass(frozen=True)
class Scene:
    """A place with every kind of page: a public gallery of every kind of item, and who sees it."""

    owner: Person
    reader: Person
    gallery: Gallery
    empty: Gallery

    def address(self, path: str) -> str:
        return f"{self.gallery.service.url}{path}"


@pytest.fixture(scope="module")
def scene(web: Service, film: bytes) -> Scene:
    owner, reader = newcomer(web, "owner"), newcomer(web)
    files = {
        "red.png": PICTURES[0]["buffer"],
        "film.webm": film,
        "silence.wav": sound(),
        "poem.txt": POEM.encode() * 40 + LONG.encode(),
        f"{LONG}.bin": bytes(2000),
        "portrait.png": picture("teal", (200, 500)),
        "tiny.png": picture("black", (9, 9)),
    }
    gallery, empty = owner.gallery(files, f"Summer {LONG}"), owner.gallery({}, "Empty")
    owner.post("/settings/profile", {"display_name": f"Owner {LONG}", "description": LONG})
    owner.post(f"/l{gallery.items[0]}/edit", {"title": "Poppy", "caption": f"In {LONG}"})
    owner.post(f"/l{gallery.items[3]}/edit", {"caption": "A poem"})
    for made in (gallery, empty):
        owner.post(f"/api/set_public/{made.reader}")
    reader.post(f"/u{owner.name}/follow")
    call(web.port, "GET", f"/m{gallery.reader}", {"Cookie": f"sessionid={reader.cookie}"})
    return Scene(owner, reader, gallery, empty)


def fault_lines(page: Page) -> list[str]:
    """What axe finds serious or critical on the page as it stands."""
    options = {"runOnly": {"type": "tag", "values": WCAG}, "resultTypes": ["violations"]}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{rule['id']}: {node['target']} {node['html'][:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def assert_sound(page: Page) -> None:
    """Hold a page to WCAG 2.2 AA as far as a program can, and to a narrow screen."""
    assert fault_lines(page) == []
    size = page.viewport_size
    page.set_viewport_size({"width": 320, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert size
    page.set_viewport_size(size)


SCREENS = [
    pytest.param({"viewport": WIDE, "color_scheme": "light"}, id="wide and light"),
    pytest.param(
        {"viewport": NARROW, "color_scheme": "dark", "has_touch": True}, id="narrow, dark"
    ),
]
# Who looks where: {m} is the gallery, {l0} its first item, {e} the empty gallery, {u} the
# owner's page.
ITEMS = "l{l0}", "l{l1}", "l{l2}", "l{l3}", "l{l4}", "l{l6}"
PLACES = {
    "stranger": (
        "",
        "signin?next=mine",
        "register",
        "m{m}",
        "m{e}",
        "u{u}",
        *ITEMS,
        "nothing-here",
    ),
    "reader": ("", "u{u}", "feed", "history", "mine"),
    "owner": ("m{m}", "m{e}", "l{l0}", "u{u}", "mine", "settings"),
}


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("who", PLACES)
def test_axe_finds_nothing_serious(
    who: str, screen: dict[str, Any], tabs: Tabs, scene: Scene
) -> None:
    cookies = {"stranger": "", "reader": scene.reader.cookie, "owner": scene.owner.cookie}
    gallery = scene.gallery
    items = {f"l{number}": item for number, item in enumerate(gallery.items)}
    if who == "stranger":
        tabs.expect("status of 404")
    names = {"m": gallery.reader, "e": scene.empty.reader, "u": scene.owner.name, **items}
    first, *others = [scene.address(place.format(**names)) for place in PLACES[who]]
    page = tabs.open(first, cookies[who], **screen)
    assert_sound(page)
    for place in others:
        page.goto(place)
        assert_sound(page)


@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing_serious_in_the_viewer(
    screen: dict[str, Any], tabs: Tabs, scene: Scene
) -> None:
    page = tabs.open(scene.gallery.url, **screen)
    open_viewer(page, "red.png")
    for number in range(1, 6):
        expect(page.locator("#viewer-count")).to_have_text(f"{number} of 7")
        assert_sound(page)
        press(page, "ArrowRight")


@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing_serious_while_files_are_sent(
    screen: dict[str, Any], tabs: Tabs, web: Service
) -> None:
    page = tabs.open(web.url, **screen)
    page.route("**/api/UploadItem*filename=green.png", lambda _: None)
    page.route("**/api/UploadItem*filename=blue.png", lambda route: route.abort())
    tabs.expect("ERR_FAILED")
    choose(page, PICTURES)
    expect_states(page, "done", "sending", "failed")
    assert_sound(page)
    page.get_by_role("button", name="Cancel green.png").click()
    expect(page.get_by_label("Link to share")).to_be_visible()
    assert_sound(page)
    page.get_by_role("link", name="Open the gallery").click()
    page.get_by_role("button", name="Delete red.png").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert_sound(page)


@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing_serious_in_forms_with_errors(
    screen: dict[str, Any], tabs: Tabs, web: Service
) -> None:
    page = tabs.open(f"{web.url}register", **screen)
    tabs.expect("status of 400")
    register(page, newcomer(web).name, "another horse")
    expect(page.locator(".field-error")).to_have_count(2)
    assert_sound(page)
    page.goto(f"{web.url}signin")
    sign_in(page, "nobody", "wrong horse")
    expect(page.locator(".field-error")).to_have_count(1)
    assert_sound(page)
    page = tabs.open(f"{web.url}settings", newcomer(web).cookie, **screen)
    page.get_by_label("Name of a new client").fill(LONG)
    page.get_by_role("button", name="Make client").click()
    expect(page.get_by_label("Secret", exact=True)).to_be_visible()
    assert_sound(page)


# --- what others have uploaded ---

IMAGE = '"><img src=x onerror=alert(1)>'
SCRIPT = "<script>window.pwned=1;alert(1)</script>"
BREAKOUTS = f"'\"></title></textarea></script>{SCRIPT}<img src=/x onerror=alert(1)>{{{{7*7}}}}"
LINK = "javascript:alert(document.cookie)"
HTML = f"<!doctype html><title>x</title>{SCRIPT}<img src=/x onerror='window.pwned=1'>".encode()
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)">{SCRIPT}</svg>'.encode()
HOSTILE = {
    f"{IMAGE}.png": PICTURES[0]["buffer"],
    "page.html": HTML,
    "drawing.svg": SVG,
    "page.png": HTML,
    "page.xhtml": HTML,
    f"{SCRIPT.replace('/', '_')}.txt": HTML,
    "code.js": b"window.pwned = 1; alert(1)",
    "onload='alert(1)'.wav": sound(),
    "{{7*7}}.bin": HTML,
}


@dataclass(frozen=True)
class Trap:
    owner: Person
    reader: Person
    gallery: Gallery


@pytest.fixture(scope="module")
def trap(web: Service) -> Trap:
    """A user who tries everywhere to run a script in others' browsers, and one who follows."""
    owner, reader = newcomer(web, "mallory"), newcomer(web)
    gallery = owner.gallery(HOSTILE, BREAKOUTS)
    owner.post(f"/api/set_public/{gallery.reader}")
    owner.post("/settings/profile", {"display_name": IMAGE, "description": f"{BREAKOUTS} {LINK}"})
    words = [BREAKOUTS, IMAGE, LINK]
    for number, item in enumerate(gallery.items):
        fields = {"caption": words[number % 3], "title": words[(number + 1) % 3]}
        owner.post(f"/l{item}/edit", fields if number else {"caption": BREAKOUTS})
    reader.post(f"/u{owner.name}/follow")
    call(web.port, "GET", f"/m{gallery.reader}", {"Cookie": f"sessionid={reader.cookie}"})
    return Trap(owner, reader, gallery)


def assert_harmless(page: Page, tabs: Tabs) -> None:
    """Nothing ran; a dialog or something that the policy refused fails the test at its end."""
    assert page.evaluate("window.pwned === undefined")
    assert page.locator("[onerror], [onload], [src='x'], [src='/x']").count() == 0
    assert page.locator("a[href^='javascript:' i]").count() == 0
    assert "/x" not in tabs.paths()


def test_hostile_words_run_nothing_on_the_pages_that_show_them(
    tabs: Tabs, web: Service, trap: Trap
) -> None:
    owner, reader = trap.owner, trap.reader
    user = f"u{owner.name}"
    items = [f"l{item}" for item in trap.gallery.items]
    places = {
        "": [f"m{trap.gallery.reader}", user],
        reader.cookie: [f"m{trap.gallery.reader}", user, "feed", "history", *items],
        owner.cookie: ["", f"m{trap.gallery.reader}", user, "mine", "settings", *items],
    }
    for cookie, paths in places.items():
        page = tabs.open(web.url, cookie)
        for path in paths:
            page.goto(f"{web.url}{path}")
            expect(page.get_by_role("heading", level=1)).to_have_count(1)
            assert_harmless(page, tabs)
    shown = tabs.open(f"{web.url}{user}")
    expect(shown.get_by_role("heading", level=1)).to_have_text(IMAGE)
    expect(shown.locator(".card-name")).to_have_text(BREAKOUTS)


def test_hostile_items_run_nothing_in_the_viewer(tabs: Tabs, trap: Trap) -> None:
    page = tabs.open(trap.gallery.url)
    count = len(trap.gallery.items)
    page.locator("a.open").first.focus()
    press(page, "Enter")
    for number in range(1, count + 1):
        expect(page.locator("#viewer-count")).to_have_text(f"{number} of {count}")
        if page.locator("#viewer-stage").get_attribute("data-kind") == "text":
            expect(page.locator("#viewer-stage pre")).to_contain_text("alert(1)")
        assert_harmless(page, tabs)
        press(page, "ArrowRight")


def test_hostile_words_run_nothing_while_their_owner_edits(tabs: Tabs, trap: Trap) -> None:
    page = tabs.open(trap.gallery.url, trap.owner.cookie)
    with posted(page, "/edit"):
        title(page).fill(f"{IMAGE} again")
        press(page, "Enter")
    with posted(page, "/move"):
        page.locator("a.open").first.focus()
        press(page, "Alt+ArrowRight")
    expect(page.locator("#say")).to_have_text(f"{IMAGE}.png is now 2 of {len(HOSTILE)}.")
    assert_harmless(page, tabs)
    page.get_by_role("button", name=f"Delete {IMAGE}.png").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"Delete {IMAGE}.png?")
    assert_harmless(page, tabs)
    press(page, "Escape")
    with posted(page, "/move"):
        page.locator("a.open").nth(1).focus()
        press(page, "Alt+ArrowLeft")


def test_hostile_names_run_nothing_while_they_are_sent(tabs: Tabs, web: Service) -> None:
    page = tabs.open(web.url)
    choose(page, [payload(f"{IMAGE}.png", PICTURES[0]["buffer"]), payload("page.html", HTML)])
    expect_states(page, "done", "done")
    assert_harmless(page, tabs)
    page.get_by_role("link", name="Open the gallery").click()
    expect(tiles(page)).to_have_count(2)
    assert tile_names(page)[0] == f"{IMAGE}.png"
    assert_harmless(page, tabs)


def test_hostile_words_run_nothing_where_they_are_said_again(tabs: Tabs, web: Service) -> None:
    page = tabs.open(f"{web.url}signin?{urlencode({'next': BREAKOUTS, 'note': BREAKOUTS})}")
    tabs.expect("status of 40[04]")
    sign_in(page, BREAKOUTS, "wrong horse")
    expect(page.get_by_label("User name")).to_have_value(BREAKOUTS)
    assert_harmless(page, tabs)
    page.goto(f"{web.url}register")
    register(page, BREAKOUTS, "another horse")
    expect(page.get_by_label("User name")).to_have_value(BREAKOUTS)
    assert_harmless(page, tabs)
    for path in (quote(IMAGE, safe=""), f"m{quote(SCRIPT, safe='')}", f"?page={quote(IMAGE)}"):
        page.goto(f"{web.url}{path}")
        assert_harmless(page, tabs)


def test_a_raw_link_runs_nothing_whatever_it_leads_to(tabs: Tabs, web: Service, trap: Trap) -> None:
    page = tabs.open(trap.gallery.url, trap.owner.cookie)
    # Chromium styles and scripts its own page around a picture or a sound; we let it do neither.
    tabs.allow("Applying inline style violates|refused style-src|the document.s frame is sandboxed")
    saved = []
    for address in tiles(page).evaluate_all("all => all.map(t => t.dataset.raw)"):
        target = f"{web.url.rstrip('/')}{address}"
        answer = call(web.port, "GET", address)
        assert answer.headers["Content-Security-Policy"].startswith("sandbox")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        if answer.headers["Content-Disposition"].startswith("attachment"):
            saved.append(answer.headers.get_content_type())
            with page.expect_download() as download:
                page.evaluate("(address) => { location.href = address; }", target)
            download.value.cancel()
        else:
            shown = page.context.new_page()
            shown.goto(target)
            assert shown.evaluate("window.pwned === undefined")
            shown.close()
    assert {"text/html", "image/svg+xml"} <= set(saved)
    assert_harmless(page, tabs)


FRAME = """([path, tag, attribute]) => {
  const element = document.createElement(tag);
  element[attribute] = path;
  document.body.append(element);
}"""


def test_the_pages_frame_nothing_that_was_uploaded(tabs: Tabs, trap: Trap) -> None:
    page = tabs.open(trap.gallery.url)
    tabs.expect("the policy refused|violates the following Content Security Policy")
    path = f"/i{trap.gallery.items[1]}"
    for tag, attribute in [("object", "data"), ("embed", "src"), ("iframe", "src")]:
        with page.expect_console_message(lambda said: "the policy refused" in said.text):
            page.evaluate(FRAME, [path, tag, attribute])
    assert_harmless(page, tabs)


# --- a gallery of a thousand ---


FIRST_PAINT = """new Promise((resolve) => {
  const name = "first-contentful-paint";
  const tell = (list) => list.getEntriesByName(name).forEach((entry) => resolve(entry.startTime));
  new PerformanceObserver(tell).observe({ type: "paint", buffered: true });
})"""  # in milliseconds


@pytest.fixture(scope="module")
def thousand(web: Service) -> Gallery:
    """A thousand different pictures."""
    files = {
        f"{number:04}.png": picture(f"hsl({number * 7 % 360}, 60%, {30 + number % 40}%)", (60, 40))
        for number in range(1000)
    }
    return Person(web).gallery(files, "A thousand")


def test_a_thousand_pictures_come_as_they_are_looked_at(tabs: Tabs, thousand: Gallery) -> None:
    page = tabs.open(thousand.url)
    assert page.evaluate(FIRST_PAINT) < 3000
    expect(tiles(page)).to_have_count(1000)
    expect(page.locator("#file-count")).to_have_text("1,000 files")
    images = page.locator("#items img")
    expect_loaded(images.first)
    expect(images.last).to_have_js_property("complete", False)
    assert 0 < thumbnails(tabs) < 150
    press(page, "End")
    expect_loaded(images.last)
    assert thumbnails(tabs) < 300


def expect_loaded(image: Locator) -> None:
    expect(image).to_have_js_property("complete", True)
    assert image.evaluate("(image) => image.naturalWidth") > 0


def thumbnails(tabs: Tabs) -> int:
    """How many were asked for."""
    return sum(path.startswith("/k") for path in tabs.paths())


# --- links for others ---


def test_the_link_is_copied_and_unfurls_with_a_picture(tabs: Tabs, web: Service) -> None:
    gallery = Person(web).gallery(MIXED, 'Fish & "chips"')
    page = tabs.open(gallery.url, permissions=["clipboard-read", "clipboard-write"])

    def said() -> dict[str, str]:
        found = page.locator("meta[property]").evaluate_all(
            "all => all.map(tag => [tag.getAttribute('property'), tag.content])"
        )
        return dict(found)

    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#say")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == gallery.url
    cover = f"{web.url}k{gallery.items[0]}.jpg"
    assert said() == {
        "og:title": 'Fish & "chips"',
        "og:type": "website",
        "og:url": gallery.url,
        "og:site_name": "minus",
        "og:description": "5 files",
        "og:image": cover,
    }
    picture_of = call(web.port, "GET", urlsplit(cover).path)
    assert (picture_of.status, picture_of.headers.get_content_type()) == (200, "image/jpeg")
    page.goto(gallery.item_url(0))
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#say")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == gallery.item_url(0)
    assert said()["og:image"] == cover
    assert said()["og:title"] == "red.png"


def test_the_link_is_copied_without_leave_to_use_the_clipboard(tabs: Tabs, web: Service) -> None:
    gallery = Person(web).gallery({"a.txt": b"a"})
    page = tabs.open(gallery.url)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#say")).to_have_text("Copied.")
    expect(page.get_by_role("button", name="Copy link")).to_be_focused()


def test_an_items_page_tells_its_facts_and_how_to_embed_it(tabs: Tabs, web: Service) -> None:
    gallery = Person(web).gallery({"red.png": PICTURES[0]["buffer"]})
    page = tabs.open(gallery.item_url(0))
    facts = dict(
        zip(
            page.locator("dt").all_inner_texts(),
            page.locator("dd").all_inner_texts(),
            strict=True,
        )
    )
    assert list(facts) == ["Name", "Type", "Size", "Dimensions", "Uploaded", "SHA-256"]
    assert facts["Name"] == "red.png"
    assert facts["Type"] == "image/png"
    assert facts["Size"] == f"{len(PICTURES[0]['buffer'])} bytes"
    assert facts["Dimensions"] == "300 \N{MULTIPLICATION SIGN} 200"
    assert facts["SHA-256"] == sha256(PICTURES[0]["buffer"]).hexdigest()
    raw = page.get_by_label("Raw link", exact=True).input_value()
    assert call(web.port, "GET", urlsplit(raw).path).body == PICTURES[0]["buffer"]
    assert page.get_by_label("Embed code", exact=True).input_value() == (
        f'<a href="{gallery.item_url(0)}"><img src="{raw}" alt="red.png" width="300"'
        ' height="200"></a>'
    )


def test_all_files_are_downloaded_as_a_zip_with_safe_names(tabs: Tabs, web: Service) -> None:
    files = {
        "a.txt": b"one",
        "A.TXT": b"two",
        f"{IMAGE}.png": b"three",
        "con.txt": b"four",
        "über.txt": b"five",
        "a:b.txt": b"six",
    }
    page = tabs.open(Person(web).gallery(files, "../All: of it").url)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all").click()
    assert re.fullmatch(r"[^/\\:]+\.zip", download.value.suggested_filename)
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        names = archive.namelist()
        assert [archive.read(name) for name in names] == list(files.values())
    assert names == [
        *("a.txt", "A (2).TXT", "___img src=x onerror=alert(1)_.png"),
        *("_con.txt", "über.txt", "a_b.txt"),
    ]
