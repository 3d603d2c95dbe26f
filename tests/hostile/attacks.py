"""The attacks, by name: on any client that gets a file, and on clients of Minus."""

import hashlib
import itertools
import zlib
from collections.abc import Callable, Iterator
from functools import cache

from tests.hostile.kit import CHANGED, DATA, Attack, Row, SpoilApi, Talk

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202etxt.\n--> OK"
HALF = len(DATA) // 2
LENGTH = f"Content-Length: {len(DATA)}"

# What names try: to climb, to begin at the root, to be a device, an option, a command, too long.
NAMES = (
    "../climbed",
    "../../climbed",
    "..\\climbed",
    "/minus-kit-climbed",
    "C:\\climbed",
    "..",
    ".",
    "",
    "nul\x00climbed",
    "a/../../climbed",
    "%2e%2e%2fclimbed",
    "-rf",
    "-",
    "|touch owned",
    "date|",
    "~",
    "~root",
    "$(touch owned)",
    "CON",
    "com1.txt",
    "file:stream",
    "ends. ",
    "x" * 10_000 + ".txt",
    "\ud800",
    ESCAPES,
)
TWINS = ("a.txt", "A.TXT", "a.txt", "\u00e9.txt", "e\u0301.txt", "a (2).txt")


# --- files ---


def _short(talk: Talk) -> None:
    talk.head(200, LENGTH)
    talk.send(DATA[:HALF])


def _long(talk: Talk) -> None:
    talk.head(200, LENGTH)
    talk.send(DATA + b"and more" * 10_000)


def _cut(talk: Talk) -> None:
    talk.head(200)
    talk.send(DATA[:HALF])


def _wrong(talk: Talk) -> None:
    talk.answer(200, CHANGED)


def _endless(talk: Talk) -> None:
    talk.head(200)
    talk.forever(itertools.repeat(bytes(1 << 16)))


def _negative(talk: Talk) -> None:
    talk.head(200, "Content-Length: -5")
    talk.send(DATA[:HALF])


def _twice(talk: Talk) -> None:
    talk.head(200, f"Content-Length: {HALF}", LENGTH)
    talk.send(DATA)


def _changed(talk: Talk) -> None:
    """Break off half way; to a `Range` give the rest of another version."""
    asked = talk.request.headers.get("range", "")
    start = int(asked.removeprefix("bytes=").partition("-")[0] or 0) if asked else 0
    if not start:
        talk.head(200, LENGTH, 'ETag: "1"', "Accept-Ranges: bytes")
        talk.send(DATA[:HALF])
        return
    total = len(CHANGED)
    place = f"Content-Range: bytes {start}-{total - 1}/{total}"
    talk.answer(206, CHANGED[start:], place, 'ETag: "2"')


def _range_ignored(talk: Talk) -> None:
    if "range" in talk.request.headers:
        talk.answer(200, DATA)
    else:
        _short(talk)


@cache
def _bomb() -> bytes:
    """A gibibyte of spaces as gzip, a megabyte."""
    pack = zlib.compressobj(9, wbits=31)
    return b"".join(pack.compress(b" " * (1 << 20)) for _ in range(1 << 10)) + pack.flush()


def _gzip(talk: Talk) -> None:
    talk.answer(200, _bomb(), "Content-Encoding: gzip")


def _headers(talk: Talk) -> None:
    talk.send(b"HTTP/1.1 200 OK\r\n")
    talk.forever(b"X-%d: %s\r\n" % (at, b"x" * 8000) for at in itertools.count())


def _line(talk: Talk) -> None:
    talk.send(b"HTTP/1.1 200 OK\r\nX: ")
    talk.forever(itertools.repeat(b"x" * (1 << 16)))


def _continue(talk: Talk) -> None:
    talk.forever(itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 100))


def _drip_head(talk: Talk) -> None:
    talk.drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 60_000)


def _drip_body(talk: Talk) -> None:
    talk.head(200, LENGTH)
    talk.drip(DATA)


def _huge_chunk(talk: Talk) -> None:
    talk.head(200, "Transfer-Encoding: chunked")
    talk.send(b"7fffffffffffffff\r\n")
    talk.forever(itertools.repeat(bytes(1 << 16)))


def _negative_chunk(talk: Talk) -> None:
    talk.head(200, "Transfer-Encoding: chunked")
    talk.send(b"-1\r\n")
    talk.forever(itertools.repeat(bytes(1 << 16)))


def _elsewhere(talk: Talk) -> None:
    talk.redirect(f"{talk.kit.elsewhere}data.bin")


def _asked_elsewhere(talk: Talk) -> None:
    talk.redirect(f"{talk.kit.elsewhere}asks/data.bin")


def _cookie(talk: Talk) -> None:
    talk.redirect(f"{talk.kit.elsewhere}data.bin", 302, "Set-Cookie: planted=1; Path=/")


def _loop(talk: Talk) -> None:
    talk.redirect(f"{talk.base}data.bin")


def _renamed(talk: Talk) -> None:
    if talk.request.parts[-1] == ".bashrc":
        talk.answer(200, DATA)
    else:
        talk.redirect(f"{talk.base}.bashrc")


def _climbing_name(talk: Talk) -> None:
    talk.answer(200, DATA, 'Content-Disposition: attachment; filename="../climbed"')


def _hidden_name(talk: Talk) -> None:
    talk.answer(200, DATA, 'Content-Disposition: attachment; filename=".bashrc"')


def _error(talk: Talk) -> None:
    talk.head(404, "Content-Length: 0", reason=ESCAPES.replace("\n", "").encode().decode("latin-1"))


# --- the API of Minus ---


def _of_lists(spoil: Callable[[Talk, Row], None]) -> SpoilApi:
    """An attack on the lists of files alone, given an honest one."""

    def act(talk: Talk, path: str, honest: Row | None) -> bool:
        if not path.startswith("folders/F/files") or honest is None or "results" not in honest:
            return False
        spoil(talk, honest)
        return True

    return act


def _all_texts(talk: Talk, path: str, honest: Row | None) -> bool:
    def spoil(row: Row) -> Row:
        kept = ("id", "filesize", "sha256", "url_rawfile", "slug", "file_count", "results", "total")
        return {k: v if k in kept or v is None else f"{v}{ESCAPES}" for k, v in row.items()}

    if path not in ("activeuser", "users/user/folders", "folders/F", "folders/F/files"):
        return False
    found = dict(honest or {})
    if "results" in found:
        more = (
            {"name": "Stuff"} if "folders" in path[1:] else {"caption": ESCAPES, "title": ESCAPES}
        )
        found = {**found, "results": [spoil(row) | more for row in found["results"]]}
    else:
        found = spoil(found)
    talk.json(found)
    return True


def _refusal(talk: Talk, path: str, _: Row | None) -> bool:
    if path in ("", "activeuser", "oauth"):
        return False
    talk.json({"error": ESCAPES, "error_description": f"No. {ESCAPES}"}, 400)
    return True


@_of_lists
def _circle(talk: Talk, honest: Row) -> None:
    talk.json({**honest, "total": 1000, "next": f"{talk.base}api/v2/folders/F/files"})


def _page_after(talk: Talk) -> str:
    number = int(talk.request.query.get("page", ["1"])[0]) + 1
    return f"{talk.base}api/v2/folders/F/files?page={number}"


@_of_lists
def _endless_list(talk: Talk, honest: Row) -> None:
    number = int(talk.request.query.get("page", ["1"])[0])
    talk.json({**honest, "total": number + 1, "next": _page_after(talk)})


@_of_lists
def _empty_pages(talk: Talk, _: Row) -> None:
    talk.json({"results": [], "total": 5, "next": _page_after(talk)})


@_of_lists
def _lying_total(talk: Talk, honest: Row) -> None:
    talk.json({**honest, "total": 2**70})


@_of_lists
def _shrinking(talk: Talk, honest: Row) -> None:
    first = "page" not in talk.request.query
    onward = _page_after(talk) if first else None
    talk.json({**honest, "total": 3 if first else 1, "next": onward})


@_of_lists
def _unasked(talk: Talk, honest: Row) -> None:
    rows = honest["results"]
    more = [{**rows[0], "id": "EXTRA", "name": ".bashrc"}]
    talk.json({**honest, "results": [*rows, *more], "total": len(rows) + 1})


@_of_lists
def _foreign_links(talk: Talk, honest: Row) -> None:
    host = talk.kit.url.removeprefix("http://").rstrip("/")
    away = talk.kit.elsewhere.rstrip("/")
    links = (f"{away}/data.bin", f"{away}\\@{host}/data.bin", f"http://{host}@{away[7:]}/data.bin")
    row = honest["results"][0]
    rows = [
        {**row, "id": f"L{at}", "name": f"{at}.bin", "url_rawfile": link}
        for at, link in enumerate(links)
    ]
    talk.json({"results": rows, "total": len(rows), "next": None})


@_of_lists
def _foreign_list(talk: Talk, honest: Row) -> None:
    talk.json({**honest, "total": 2, "next": f"{talk.kit.elsewhere}page"})


@_of_lists
def _numbers(talk: Talk, _: Row) -> None:
    row = '{"id": "I0", "name": "data.bin", "filesize": %s, "width": NaN, "height": -Infinity}'
    body = '{"results": [%s], "total": 1, "next": null}' % (row % ("9" * 4000))
    talk.answer(200, body.encode())


@_of_lists
def _kinds(talk: Talk, _: Row) -> None:
    row = {
        "id": {},
        "name": ["x"],
        "filesize": {},
        "sha256": 5,
        "url_rawfile": [],
        "uploaded": 1e300,
    }
    talk.json({"results": [row], "total": 1, "next": 7})


@_of_lists
def _huge_json(talk: Talk, _: Row) -> None:
    talk.head(200, "Content-Type: application/json")
    talk.send(b'{"results": [{"name": "')
    talk.forever(itertools.repeat(b"x" * (1 << 16)))


@_of_lists
def _deep_json(talk: Talk, _: Row) -> None:
    talk.answer(200, b'{"results": ' + b"[" * 1_000_000)


@_of_lists
def _packed_json(talk: Talk, _: Row) -> None:
    talk.answer(200, _bomb(), "Content-Encoding: gzip", "Content-Type: application/json")


@_of_lists
def _drip_json(talk: Talk, _: Row) -> None:
    talk.head(200, "Content-Type: application/json")
    talk.drip(b'{"results": [' + b" " * 60_000)


def _upload_elsewhere(talk: Talk, path: str, _: Row | None) -> bool:
    if talk.request.method in ("GET", "HEAD") or path == "oauth":
        return False
    talk.redirect(f"{talk.kit.elsewhere}taken", 307)
    return True


def _sign_in_elsewhere(talk: Talk, path: str, _: Row | None) -> bool:
    if path == "oauth":
        talk.redirect(f"{talk.kit.elsewhere}taken", 307)
    return path == "oauth"


def _lying_upload(talk: Talk, _: str, honest: Row | None) -> bool:
    if talk.request.method == "GET" or honest is None or "sha256" not in honest:
        return False
    talk.json({**honest, "sha256": hashlib.sha256(b"other").hexdigest()})
    return True


def _all_attacks() -> Iterator[Attack]:
    yield Attack("honest", "Nothing: the file, as it is.")
    yield Attack("short", "Half of the bytes that Content-Length says, then the end.", _short)
    yield Attack("long", "More bytes than Content-Length says.", _long)
    yield Attack("cut", "Half of the file without Content-Length, then the end.", _cut)
    yield Attack("wrong-bytes", "Other bytes of the same length.", _wrong)
    yield Attack("endless", "Zeros without end.", _endless)
    yield Attack("negative-length", "A Content-Length below zero, half of the file.", _negative)
    yield Attack("two-lengths", "Two headers Content-Length, half and whole.", _twice)
    yield Attack(
        "changed",
        "Breaks off half way; the rest comes (206) from another version of the file.",
        _changed,
        needs="resume",
        sha256=hashlib.sha256(CHANGED).hexdigest(),
    )
    yield Attack(
        "range-ignored",
        "Breaks off half way; to a Range the whole file comes (200).",
        _range_ignored,
        needs="resume",
    )
    yield Attack("gzip-bomb", "A gibibyte packed into a megabyte, though not asked for.", _gzip)
    yield Attack("endless-headers", "Headers without end.", _headers)
    yield Attack("endless-line", "One header line without end.", _line)
    yield Attack("endless-continue", "`100 Continue` without end.", _continue)
    yield Attack("huge-chunk", "A chunk of 2^63 bytes, of which zeros come.", _huge_chunk)
    yield Attack("negative-chunk", "A chunk of -1 bytes, and zeros without end.", _negative_chunk)
    yield Attack("drip-head", "A header, two bytes a second.", _drip_head)
    yield Attack("drip-body", "The file, two bytes a second.", _drip_body)
    yield Attack("redirect-elsewhere", "A redirect to another port.", _elsewhere, needs="redirect")
    yield Attack(
        "redirect-asks",
        "A redirect to another port, which asks for a password.",
        _asked_elsewhere,
        needs="redirect",
    )
    yield Attack("cookie", "A redirect to another port, with a cookie.", _cookie, needs="redirect")
    yield Attack("redirect-loop", "A redirect to itself.", _loop, needs="redirect")
    yield Attack("redirect-name", "A redirect to .bashrc.", _renamed, needs="redirect")
    yield Attack(
        "disposition-climbs", "Content-Disposition says ../climbed.", _climbing_name, needs="name"
    )
    yield Attack(
        "disposition-hides", "Content-Disposition says .bashrc.", _hidden_name, needs="name"
    )
    yield Attack("error-escapes", "A refusal that drives the terminal.", _error)
    climbing = ("../../climbed", "%2e%2e%2fclimbed", "..%5cclimbed", "..%2f..%2fclimbed")
    yield Attack(
        "names",
        "A list of names that climb, begin at the root, are devices, options, commands.",
        names=NAMES,
        links=("data.bin", *climbing),
        needs="list",
    )
    yield Attack(
        "escapes",
        "A list whose texts drive the terminal.",
        api=_all_texts,
        links=("data.bin", "a%1b%5d0;owned%07b"),
        needs="list",
    )
    yield Attack("twins", "Names that are one on some disks.", names=TWINS, needs="minus")
    yield Attack("refusal", "Refusals that drive the terminal.", api=_refusal, needs="minus")
    yield Attack("list-circle", "A list that leads to its beginning.", api=_circle, needs="minus")
    yield Attack(
        "list-endless", "A list that grows while it is read.", api=_endless_list, needs="minus"
    )
    yield Attack("list-empty", "Pages without rows, without end.", api=_empty_pages, needs="minus")
    yield Attack("list-total", "A list of 2^70 rows, it says.", api=_lying_total, needs="minus")
    yield Attack(
        "list-shrinks", "A list that shrinks while it is read.", api=_shrinking, needs="minus"
    )
    yield Attack("unasked", "Files that nobody asked for.", api=_unasked, needs="minus")
    yield Attack("foreign-links", "Files that are elsewhere.", api=_foreign_links, needs="minus")
    yield Attack("foreign-list", "A list that goes on elsewhere.", api=_foreign_list, needs="minus")
    yield Attack("json-numbers", "Numbers of 4,000 digits, and none.", api=_numbers, needs="minus")
    yield Attack("json-kinds", "Fields of other kinds.", api=_kinds, needs="minus")
    yield Attack("json-huge", "JSON without end.", api=_huge_json, needs="minus")
    yield Attack("json-deep", "JSON, a million lists deep.", api=_deep_json, needs="minus")
    yield Attack("json-packed", "A gibibyte of JSON, packed.", api=_packed_json, needs="minus")
    yield Attack("json-drip", "JSON, two bytes a second.", api=_drip_json, needs="minus")
    yield Attack(
        "upload-elsewhere", "A redirect (307) of uploads.", api=_upload_elsewhere, needs="put"
    )
    yield Attack(
        "sign-in-elsewhere", "A redirect (307) of a sign-in.", api=_sign_in_elsewhere, needs="minus"
    )
    yield Attack("upload-lies", "Says that it got other bytes.", api=_lying_upload, needs="minus")


ATTACKS = tuple(_all_attacks())
