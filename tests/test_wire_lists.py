"""`GET /api/v2/` and the parameters of lists, told by raw HTTP; the rows behind them."""

import fnmatch
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert, literal, select, text

from minus_server import names
from minus_server.catalog import Catalog, Folder, Part, Rows
from minus_server.databases import fits
from minus_server.schema import files
from tests.live import Service
from tests.rawhttp import (
    EXTENDED,
    FILE,
    LISTED_FOLDER,
    MESSAGE,
    PAGE,
    USER,
    Client,
    Row,
    call,
    error_of,
    new_user,
)

STRETCH = ["results", "next", "per_page", "total"]


@pytest.fixture(scope="module")
def alice(service: Service) -> Client:
    return new_user(service, "lists")


@pytest.fixture(scope="module")
def bob(service: Service) -> Client:
    return new_user(service, "lists")


@pytest.fixture
def user(service: Service) -> Client:
    """A user of the test's own."""
    return new_user(service, "lists")


NAMES = ["a.txt", "b & c.txt", "é☃.png", "[x].txt", "B.TXT", "100%.txt", "a.txt"]


@pytest.fixture(scope="module")
def folder(alice: Client) -> Row:
    """A folder of files with names that want care."""
    made = alice.folder()
    for name in NAMES:
        file = alice.upload(name.encode(), "t.txt", made)
        alice.ok("PUT", f"files/{file['id']}", {"name": quote(name)})
    return made


def of(folder: Row, query: str = "") -> str:
    return f"folders/{folder['id']}/files{query}"


def following(client: Client, page: Row) -> Row:
    return dict(client.get(page["next"][len(client.base) - 1 :]))


def walk(client: Client, path: str) -> Iterator[Row]:
    page = client.get(path)
    while True:
        yield page
        if page["next"] is None:
            return
        page = following(client, page)


def walked(client: Client, path: str, key: str = "name") -> list[str]:
    return [row[key] for page in walk(client, path) for row in page["results"]]


# --- GET /api/v2/ ---


@pytest.mark.parametrize("path", ["/api/v2/", "/api/v2", "//api/v2//"])
def test_the_service_tells_what_it_knows_without_a_token(alice: Client, path: str) -> None:
    answer = alice.bare("GET", path)
    assert answer.status == 200
    assert answer.json() == {
        "name": "minus",
        "version": "2.0.0",
        "extensions": {
            "lists": {"per_page": 1000},
            "raw": {},
            "batch": {"files": 1000, "file_bytes": 65536, "bytes": 2097152},
            "tar": {"files": 1000},
            "tus": {"version": "1.0.0"},
            "idempotency": {"seconds": 86400},
            "sums": {},
        },
    }
    assert answer.headers["Cache-Control"] == "no-store"
    assert alice.bare("POST", path).status == 405
    assert call(alice.port, "HEAD", path).status == 200


# --- per_page and fields, on every list ---


@pytest.fixture(scope="module")
def lists(alice: Client, bob: Client) -> dict[str, tuple[str, ...]]:
    """Every list, none of them empty, with the keys of its rows."""
    folder, other = alice.folder(), bob.folder()
    alice.upload(folder=folder)
    for one, two in ((alice, bob), (bob, alice)):
        one.ok("POST", f"users/{one.slug}/following", {"slug": two.slug})
        one.ok("POST", f"activeuser/messages/{two.slug}", {"body": "Hello"})
    alice.ok("POST", "activeuser/favorited", {"id": other["id"]})
    alice.get(f"folders/{other['id']}")
    feeds = ("feed", "mine", "favorited", "history")
    return {
        f"users/{alice.slug}/folders": tuple(LISTED_FOLDER),
        f"folders/{folder['id']}/files": (*FILE, "sha256"),
        f"users/{alice.slug}/followers": (*USER, "followers", "following"),
        f"users/{alice.slug}/following": (*USER, "followers", "following"),
        "activeuser/messages": tuple(MESSAGE),
        f"activeuser/messages/{bob.slug}": tuple(MESSAGE),
        **{f"activeuser/{kind}": tuple(EXTENDED) for kind in feeds},
    }


def test_every_list_gives_the_fields_that_are_asked_for_and_knows_each_key(
    alice: Client, lists: dict[str, tuple[str, ...]]
) -> None:
    for path, keys in lists.items():
        whole = alice.results(path)[0]
        assert set(whole) <= set(keys)
        for key in keys:
            row = alice.results(f"{path}?fields={key}")[0]
            expected = [k for k in whole if k in (key, "id")]
            assert list(row) == expected, (path, key)
            assert key.endswith("_ago") or row == {k: whole[k] for k in expected}
        everything = alice.results(f"{path}?fields={','.join(reversed(keys))}")[0]
        assert list(everything) == list(whole)
        for wrong in ("nothing", "", "id,,", "id,ID", "__class__"):
            refused = alice.send("GET", f"{path}?fields={wrong}")
            assert error_of(refused) == (400, "invalid_request")


def test_every_list_has_as_many_rows_as_are_asked_for(
    alice: Client, lists: dict[str, tuple[str, ...]]
) -> None:
    for path in lists:
        total = alice.get(path)["total"]
        page = alice.get(f"{path}?per_page=1")
        assert list(page) == PAGE
        assert (page["per_page"], page["pages"], len(page["results"])) == (1, total, 1)
        assert alice.get(f"{path}?per_page=1000")["per_page"] == 1000
        for wrong in ("0", "1001", "-1", "x", "", "1.5", "%D9%A1", "9" * 30):
            refused = alice.send("GET", f"{path}?per_page={wrong}")
            assert error_of(refused) == (400, "invalid_request")


def test_links_keep_the_other_parameters_encoded(alice: Client, folder: Row) -> None:
    name = quote("b & c.txt")
    page = alice.get(of(folder, f"?name={name}&fields=name,title&per_page=1&page=2"))
    assert (page["total"], page["next"]) == (1, None)
    assert page["previous"] == (
        f"{alice.base}api/v2/{of(folder)}?page=1&per_page=1&fields=name,title&name=b%20%26%20c.txt"
    )
    page = alice.get(of(folder, f"?match={quote('[!a]*')}&cursor=&per_page=2"))
    asked = parse_qs(urlsplit(page["next"]).query)
    assert asked.pop("cursor")
    assert asked == {"match": ["[!a]*"], "per_page": ["2"]}
    assert " " not in page["next"]
    assert "[" not in page["next"]


def test_pages_of_any_size_hold_the_same_rows(alice: Client, folder: Row) -> None:
    for size in (1, 2, 3, 7, 100):
        assert walked(alice, of(folder, f"?per_page={size}")) == NAMES
        assert walked(alice, of(folder, f"?per_page={size}&cursor=")) == NAMES
    back = following(alice, alice.get(of(folder, "?per_page=3&fields=name")))
    first = alice.get(back["previous"][len(alice.base) - 1 :])
    assert [row["name"] for row in first["results"]] == NAMES[:3]


# --- name and match ---


@pytest.mark.parametrize("mode", ["", "&cursor=&per_page=1", "&per_page=2"])
def test_name_and_match_filter(alice: Client, folder: Row, mode: str) -> None:
    for name in set(NAMES):
        expected = [each for each in NAMES if each == name]
        assert walked(alice, of(folder, f"?name={quote(name)}{mode}")) == expected
    for match in ("*.txt", "a.txt", "?.txt", "[ab]*", "[!a]*", "[[]x].txt", "*%*", "*", "é*", ""):
        expected = [each for each in NAMES if fnmatch.fnmatchcase(each, match)]
        assert walked(alice, of(folder, f"?match={quote(match)}{mode}")) == expected, match
    assert walked(alice, of(folder, f"?name=a.txt&match=*.png{mode}")) == []


def test_a_total_counts_what_fits_and_is_null_by_cursor_with_a_filter(
    alice: Client, folder: Row
) -> None:
    assert alice.get(of(folder, "?match=*.txt"))["total"] == 5
    assert alice.get(of(folder, "?cursor="))["total"] == 7
    page = alice.get(of(folder, "?cursor=&match=*.txt"))
    assert list(page) == STRETCH
    assert (page["total"], page["next"], page["per_page"]) == (None, None, 50)


def test_folders_are_filtered_and_walked_too(user: Client, alice: Client) -> None:
    for name in ("Stuff", "Other", "Stuff", "Stuffed"):
        user.folder(name)
    user.folder("Stuff", is_public="false")
    path = f"users/{user.slug}/folders"
    assert walked(user, f"{path}?name=Stuff") == ["Stuff"] * 3
    assert walked(alice, f"{path}?name=Stuff&cursor=&per_page=1") == ["Stuff"] * 2
    assert walked(user, f"{path}?match=Stuff?*&fields=id,name") == ["Stuffed"]
    assert walked(user, f"{path}?cursor=&per_page=2") == walked(user, path)
    assert user.get(f"{path}?cursor=&per_page=2")["total"] == 5
    assert user.get(f"{path}?cursor=&per_page=2&match=*")["total"] is None
    assert user.get(f"{path}?match=*f&per_page=1")["total"] == 3


# --- the cursor ---


def test_a_cursor_neither_repeats_nor_hides_a_row_when_others_come_and_go(user: Client) -> None:
    folder = user.folder()
    rows = [user.upload(name=f"{at}", folder=folder) for at in range(7)]
    page = user.get(of(folder, "?cursor=&per_page=2&fields=name"))
    assert [row["name"] for row in page["results"]] == ["0", "1"]
    user.delete(f"files/{rows[0]['id']}")
    user.delete(f"files/{rows[1]['id']}")  # the row that the cursor names
    user.delete(f"files/{rows[3]['id']}")
    user.upload(name="7", folder=folder)
    assert walked(user, page["next"][len(user.base) - 1 :]) == ["2", "4", "5", "6", "7"]


def test_a_cursor_goes_on_in_the_order_of_the_owner(user: Client) -> None:
    folder = user.folder()
    ids = [user.upload(name=f"{at}", folder=folder)["id"] for at in range(6)]
    order = [ids[4], ids[2], ids[0]]  # the others follow as they came
    user.ok("PUT", f"folders/{folder['id']}", {"item_ordering": json.dumps(order)})
    expected = ["4", "2", "0", "1", "3", "5"]
    for size in range(1, 8):
        assert walked(user, of(folder, f"?cursor=&per_page={size}")) == expected
    page = user.get(of(folder, "?cursor=&per_page=4"))  # its end is among those without a place
    user.ok("PUT", f"folders/{folder['id']}", {"item_ordering": json.dumps(list(reversed(order)))})
    assert walked(user, page["next"][len(user.base) - 1 :]) == ["3", "5"]


@pytest.mark.parametrize(
    "cursor",
    ["x", "1", "1-", "-1", "1-2-3", "1-g", "%00", "é", "1" * 16 + "-1", " ", "0x1-1", "A-1"],
)
def test_a_cursor_of_nothing_is_refused(alice: Client, folder: Row, cursor: str) -> None:
    refused = alice.send("GET", of(folder, f"?cursor={quote(cursor, safe='%')}"))
    assert error_of(refused) == (400, "invalid_request")


def test_a_cursor_is_of_one_kind_of_list_and_stands_without_a_page(
    alice: Client, folder: Row
) -> None:
    path = f"users/{alice.slug}/folders"
    assert error_of(alice.send("GET", f"{path}?cursor=1-1")) == (400, "invalid_request")
    for mixed in (of(folder, "?cursor=&page=1"), f"{path}?page=2&cursor=1"):
        assert error_of(alice.send("GET", mixed)) == (400, "invalid_request")
    page = alice.get(of(folder, "?cursor=fffffffffffffff-fffffffffffffff"))
    assert (page["results"], page["next"]) == ([], None)


def test_a_list_is_as_guarded_as_without_parameters(alice: Client, bob: Client) -> None:
    private, public = alice.folder("Mine", is_public="false"), alice.folder("Ours")
    for query in ("?cursor=", "?match=*", "?fields=id", "?per_page=3"):
        assert error_of(bob.send("GET", of(private, query))) == (404, "not_found")
        narrow = alice.limited("read_public").send("GET", of(private, query))
        assert error_of(narrow) == (404, "not_found")
        assert error_of(bob.bare("GET", of(public, query))) == (401, "invalid_token")
        assert bob.get(of(public, query))["results"] == []
        seen = walked(bob, f"users/{alice.slug}/folders{query}&fields=id,name")
        assert "Ours" in seen
        assert "Mine" not in seen


def test_a_pattern_that_is_no_text_or_too_long_is_refused(alice: Client, folder: Row) -> None:
    for wrong in ("match=" + "a" * 1001, "match=%00", "name=%00"):
        refused = alice.send("GET", of(folder, f"?{wrong}"))
        assert error_of(refused) == (400, "invalid_request")


# --- the rows behind them ---


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """A folder of 2,000 files; half of them have a place that was given to them."""
    opened = Catalog.in_folder(tmp_path_factory.mktemp("lists"))
    with opened.write() as rows:
        user = rows.add_user(
            username="a", slug="a", display_name="", email="", password_hash=None, quota=1
        )
        rows.add_folder(id="f", owner_n=user, name="f", is_public=True)
    row = {"folder_n": 1, "title": "", "caption": "", "mimetype": "", "sha256": ""}
    with opened.engine.begin() as connection:
        connection.execute(
            insert(files),
            [
                row
                | {"id": f"{at}", "blob": f"{at}", "name": f"{at}.txt"}
                | {"position": 2**53 if at % 2 else at}
                for at in range(2000)
            ],
        )
        connection.execute(text("CREATE INDEX by_name ON files (folder_n, name)"))
    yield opened
    opened.close()


def plans(catalog: Catalog, ask: Callable[[Rows, Folder], object]) -> list[str]:
    """How SQLite means to find what is asked of the folder."""
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, sql: str, values: Any, *_: object) -> None:
        asked.append((sql, values))

    event.listen(catalog.engine, "before_cursor_execute", note)
    with catalog.read() as rows:
        folder = rows.folder("f")
        assert folder is not None
        asked.clear()
        ask(rows, folder)
    event.remove(catalog.engine, "before_cursor_execute", note)
    database = Path(str(catalog.engine.url.database))
    with sqlite3.connect(database) as db:
        found = [
            row[3]
            for sql, values in asked
            if sql.lstrip().startswith("SELECT")
            for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", values)
        ]
    db.close()
    return found


def part_plans(catalog: Catalog, part: Part) -> list[str]:
    """How it means to find a part of the folder's files."""
    return plans(catalog, lambda rows, folder: rows.files_part(folder, ("id", "name"), part))


def test_a_page_by_cursor_is_found_by_the_index_in_order(catalog: Catalog) -> None:
    places: list[tuple[int, ...]] = [(), (4, 5), (2**53, 1990)]
    glob = names.glob("*7*")
    for part in [
        *(Part(3, after=place) for place in places),
        *(Part(3, after=place, match=glob) for place in places),
        Part(3, 100),
    ]:
        found = part_plans(catalog, part)
        assert found
        for step in found:
            assert step.startswith("SEARCH files USING INDEX ix_files_folder_n_position_n"), step
    ends = part_plans(catalog, Part(3, after=(2**53, 1990)))
    assert ends[0].endswith("(folder_n=? AND position=? AND n>?)")


def test_the_neighbours_of_a_file_are_found_without_a_walk(catalog: Catalog) -> None:
    def ask(rows: Rows, folder: Folder) -> None:
        rows.neighbours(rows.files_of(folder.n, 1500, 1)[0], 100)

    ranges = [step.partition(" AND ")[2] for step in plans(catalog, ask)]
    before, after = "position=? AND n<?)", "position=? AND n>?)"
    assert list(filter(None, ranges)) == [before, "position<?)", before, after]
    with catalog.read() as rows:
        folder = rows.folder("f")
        assert folder is not None
        ids = rows.file_ids(folder.n, 3000)
        for at in (0, 1, 7, 999, 1000, 1001, 1998, 1999):
            file = rows.file(ids[at])
            assert file is not None
            last = ids[at - 1] if at else None
            following = ids[at + 1] if at < 1999 else None
            assert rows.neighbours(file, 2000) == (at, last, following)
            assert rows.neighbours(file, at) == (at, last, following)
            assert rows.neighbours(file, at - 1)[0] is None


def test_files_of_one_name_are_found_by_it(catalog: Catalog) -> None:
    for part in (
        Part(3, name="7.txt"),
        Part(3, after=(), name="7.txt"),
        Part(3, after=(4, 5), match=names.glob("7.txt")),
    ):
        searches = [step for step in part_plans(catalog, part) if "TEMP B-TREE" not in step]
        assert all(step.endswith("(folder_n=? AND name=?)") for step in searches), searches


def everything(rows: Rows, **wanted: Any) -> list[str]:
    folder = rows.folder("f")
    assert folder is not None
    found: list[str] = []
    place: tuple[int, ...] = ()
    while page := rows.files_part(
        folder, ("name", "position", "n"), Part(7, after=place, **wanted)
    ):
        found += [row[0] for row in page]
        place = tuple(page[-1][1:])
    return found


def test_a_walk_by_cursor_sees_each_file_once_in_order(catalog: Catalog) -> None:
    placed = [f"{at}.txt" for at in range(0, 2000, 2)] + [f"{at}.txt" for at in range(1, 2000, 2)]
    with catalog.read() as rows:
        assert everything(rows) == placed
        assert everything(rows, match=names.glob("*7.txt")) == [
            name for name in placed if name.endswith("7.txt")
        ]
        assert everything(rows, name="7.txt") == ["7.txt"]


_LETTERS = st.sampled_from("ab[]!^-*?]-zé☃\\&~|./")


@settings(max_examples=500, deadline=None)
@given(st.text(_LETTERS, max_size=9), st.text(_LETTERS, min_size=1, max_size=5))
@example("[", "[")
@example("[]a]", "]")
@example("[!]a]", "b")
@example("[^a]", "^")
@example("[^]", "^")
@example("[z-a]", "z")
@example("[!z-a]", "q")
@example("[]-a]", "^")
@example("[--a]", "]")
@example("[a-]", "-")
@example("[!--☃]x", "éx")
def test_a_glob_fits_what_fnmatch_says(catalog: Catalog, pattern: str, name: str) -> None:
    # Behind an empty range, fnmatch takes a `!` in the middle of a set for one at its front.
    assume(not re.search(r"\[(?:.-.)+!", pattern))
    try:
        expected = fnmatch.fnmatchcase(name, pattern)
    except re.error:  # of an empty range, before Python 3.11
        assume(False)
    condition = fits(literal(name), names.glob(pattern), "sqlite")
    with catalog.engine.connect() as connection:
        assert bool(connection.execute(select(condition)).scalar_one()) == expected
