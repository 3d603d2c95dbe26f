"""Lists: what they fetch, when, and what they refuse to call a list."""

from collections.abc import Iterator
from typing import Any

import pytest

from minus import MinusAPIError, MinusUser, PagedList
from tests.helpers import API, FAR, PASSWORD, Far, sign_in
from tests.live import Service

pytest_plugins = ["tests.accounts"]

NAMES = [str(number) for number in range(7)]


def page(far: Far, number: int, names: list[str], onward: object, total: object = 7) -> None:
    """Answer one page of the list `things`."""
    answer = {"results": [{"name": name} for name in names], "next": onward, "total": total}
    far.wire.get(f"{API}/things?page={number}" if number > 1 else f"{API}/things", json=answer)


@pytest.fixture
def things(far: Far) -> PagedList[str]:
    """Seven things on three pages, linked in each way that was seen; none is fetched yet."""
    far.wire.assert_all_requests_are_fired = False
    page(far, 1, NAMES[:3], "/api/v2/things?page=2")
    page(far, 2, NAMES[3:6], f"{API}/things?page=3")
    page(far, 3, NAMES[6:], None)
    return PagedList(far, "things", lambda row: str(row["name"]))


def test_making_a_list_and_showing_it_sends_nothing(things: PagedList[str], far: Far) -> None:
    assert repr(things) == "<PagedList, 0 of None fetched>"
    assert things[0] == "0"
    assert repr(things) == "<PagedList, 3 of 7 fetched>"
    assert len(far.wire.calls) == 1


def test_the_length_is_the_total_and_costs_one_page(things: PagedList[str], far: Far) -> None:
    assert (len(things), len(things), len(far.wire.calls)) == (7, 7, 1)


def test_a_loop_fetches_as_far_as_it_goes_and_a_second_one_nothing(
    things: PagedList[str], far: Far
) -> None:
    fetched = [(name, len(far.wire.calls)) for name in things]
    assert fetched == list(zip(NAMES, [1, 1, 1, 2, 2, 2, 3], strict=True))
    assert list(things) == NAMES
    assert "3" in things
    assert list(reversed(things)) == NAMES[::-1]
    assert len(far.wire.calls) == 3


@pytest.mark.parametrize(
    ("at", "pages"), [(0, 1), (2, 1), (3, 2), (6, 3), (-1, 3), (-2, 2), (-4, 2), (-7, 1)]
)
def test_an_index_fetches_as_far_as_it_points(
    things: PagedList[str], far: Far, at: int, pages: int
) -> None:
    assert things[at] == NAMES[at]
    assert len(far.wire.calls) == pages


@pytest.mark.parametrize("at", [7, -8, 1_000])
def test_an_index_outside_is_an_error(things: PagedList[str], at: int) -> None:
    with pytest.raises(IndexError):
        things[at]


@pytest.mark.parametrize(
    ("at", "pages"),
    [
        (slice(None), 3),
        (slice(0), 1),
        (slice(2), 1),
        (slice(1, 4), 2),
        (slice(4, None), 3),
        (slice(-1, None), 3),
        (slice(-6, -4), 1),
        (slice(-5), 1),
        (slice(-3), 2),
        (slice(None, None, 3), 3),
        (slice(None, None, -1), 3),
        (slice(3, None, -2), 2),
        (slice(5, 2), 1),
        (slice(5, 100), 3),
    ],
)
def test_a_slice_is_that_of_the_whole_list_and_fetches_what_it_needs(
    things: PagedList[str], far: Far, at: slice, pages: int
) -> None:
    assert things[at] == NAMES[at]
    assert len(far.wire.calls) == pages


def test_extend_fetches_one_page_and_tells_its_size(things: PagedList[str]) -> None:
    assert [things.extend() for _ in range(4)] == [3, 3, 1, 0]
    assert list(things) == NAMES


def test_an_empty_list_is_empty(far: Far) -> None:
    page(far, 1, [], None, 0)
    things = far.list("things")
    assert (len(things), list(things), things[:5], things.extend()) == (0, [], [], 0)
    assert len(far.wire.calls) == 1


def test_a_list_without_a_total_is_counted(far: Far) -> None:
    page(far, 1, NAMES[:3], "?page=2", None)
    page(far, 2, NAMES[3:], "", None)
    assert len(far.list("things")) == 7


def test_a_link_to_another_host_gets_no_token(far: Far) -> None:
    page(far, 1, NAMES[:3], "//evil.test/things")
    far.wire.get("https://evil.test/things", json={"results": [{"name": "x"}] * 4, "total": 7})
    assert len(list(far.list("things"))) == 7
    assert [call.request.headers.get("Authorization") for call in far.wire.calls] == [
        "Bearer ACCESS-1",
        None,
    ]


@pytest.mark.parametrize(
    "onward", ["things", "/api/v2/things", f"{API}/things", f"{FAR}:443/api/v2/things"]
)
def test_a_list_that_leads_in_a_circle_is_an_error(far: Far, onward: str) -> None:
    page(far, 1, ["a"], "things?page=2", None)
    page(far, 2, ["b"], onward, None)
    far.wire.get(
        f"{FAR}:443/api/v2/things", json={"results": [{}], "next": f"{FAR}:443/api/v2/things"}
    )
    far.wire.assert_all_requests_are_fired = False
    things = far.list("things")
    for _ in range(2):
        with pytest.raises(MinusAPIError, match=r"^the list leads in a circle$") as caught:
            list(things)
        assert (caught.value.method, caught.value.path) == ("GET", "/api/v2/things")


@pytest.mark.parametrize(
    ("names", "onward", "why"),
    [
        (NAMES[:6], None, "6 of 7"),
        ([], None, "0 of 7"),
        ([*NAMES, "8"], None, "8 of 7"),
        ([*NAMES, "8"], "?page=2", "8 of 7"),
        ([], "?page=2", "0 of 7"),
    ],
)
def test_a_list_that_is_shorter_or_longer_than_it_says_is_an_error_each_time(
    far: Far, names: list[str], onward: str | None, why: str
) -> None:
    page(far, 1, names, onward)
    things = far.list("things")
    for _ in range(2):
        with pytest.raises(MinusAPIError, match=f"^the list is broken: {why} items came$"):
            list(things)


@pytest.mark.parametrize(
    "answer", [{}, {"results": None}, {"results": {"a": 1}}, {"results": [1], "total": 1}]
)
def test_an_answer_without_results_is_an_error(far: Far, answer: dict[str, Any]) -> None:
    far.wire.get(f"{API}/things", json=answer)
    with pytest.raises(MinusAPIError, match=r"^the list has no results$"):
        len(far.list("things"))


# --- the live service, 50 on a page ---


@pytest.fixture(scope="module")
def owner(service: Service) -> Iterator[MinusUser]:
    """A user with 101 folders."""
    service.add_user("paginator", PASSWORD)
    connection = sign_in(service, "paginator")
    owner = connection.activeuser()
    for number in range(101):
        owner.new_folder(f"Folder {number}")
    connection._known = {}  # as of a service that knows nothing but API v2
    yield owner
    connection.close()


def test_all_pages_come_in_order(owner: MinusUser) -> None:
    folders = owner.folders()
    names = [folder.name for folder in folders]
    assert (len(folders), names[-3:]) == (101, ["Folder 98", "Folder 99", "Folder 100"])
    assert len({folder.id for folder in folders}) == 101
    assert [folder.name for folder in owner.folders()[-60:-55]] == names[-60:-55]
    assert [folder.name for folder in owner.folders()[::-1]] == names[::-1]
    assert owner.folders()[100].id == owner.folders()[-1].id


def test_a_folder_made_meanwhile_comes_last_and_counts(owner: MinusUser) -> None:
    folders = owner.folders()
    first, length = folders[0], len(folders)
    made = owner.new_folder("Meanwhile")
    came = list(folders)
    assert (length, len(folders), len(came)) == (101, 102, 102)
    assert (came[0].id, came[-1].id) == (first.id, made.id)
    made.delete()
    assert len(owner.folders()) == 101
