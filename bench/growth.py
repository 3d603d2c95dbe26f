"""`python -m bench.growth WORK`: how the time of a request grows with what is there.

Fills a service on SQLite and one on PostgreSQL with folders of many files and accounts of many
folders, below WORK, where a second run finds them; then asks each several times, over HTTP on one
connection. Prints a table of medians in milliseconds.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from math import isnan, nan
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import create_engine, text

from bench.scaled import BACKENDS, PASSWORD, Busy, Running, Wire, backend, rules, served
from minus_server import names
from minus_server.catalog import Rows
from minus_server.places import Places
from minus_server.schema import UNPLACED
from minus_server.service import Service

FILES = 100, 10_000, 1_000_000
FOLDERS = 100, 100_000
_AT_ONCE = 10_000
_PAGE = 50
_ITEMS = 1_000  # of a gallery's page
_SIZE = 1_000  # bytes that each file is said to have

Ask = tuple[str, str, bytes | None]
Turn = Callable[[int], Ask]  # the request of each turn


def _get(path: str) -> Turn:
    return lambda _: ("GET", path, None)


def _of_list(path: str, size: int, end: str) -> dict[str, Turn]:
    """What is asked of a list of so many, of which `end` is a place near its end."""
    paged = f"{path}?per_page={_PAGE}"
    return {
        "page, first": _get(f"{paged}&page=1"),
        "page, last": _get(f"{paged}&page={size // _PAGE}"),
        "cursor, front": _get(f"{paged}&cursor="),
        "cursor, end": _get(f"{paged}&cursor={end}"),
    }


def _folder(rows: Rows, owner: int, name: str, files: int = 0) -> tuple[str, int]:
    folder_id = names.new_id()
    n = rows.add_folder(
        id=folder_id,
        owner_n=owner,
        editor_id=None,
        name=name,
        is_public=False,
        created=1,
        updated=1,
        last_visit=1,
        file_count=files,
        bytes=files * _SIZE,
    )
    return folder_id, n


def _files(folder_n: int, numbers: range) -> list[dict[str, object]]:
    """Rows of files that have no bytes."""
    return [
        {
            "id": names.new_id(),
            "folder_n": folder_n,
            "position": UNPLACED,
            "name": f"{number:07}.bin",
            "title": "",
            "caption": "",
            "width": 0,
            "height": 0,
            "size": _SIZE,
            "mimetype": "application/octet-stream",
            "sha256": f"{number:064x}",
            "blob": names.new_secret(),
            "uploaded": 1,
        }
        for number in numbers
    ]


def _blocks(most: int) -> Iterator[range]:
    for first in range(0, most, _AT_ONCE):
        yield range(first, min(most, first + _AT_ONCE))


def _fill(service: Service) -> dict[str, Any]:
    """Make all that is asked for later. -> where it is"""
    accounts, catalog = service.accounts, service.catalog
    known: dict[str, Any] = {"client": accounts.add_client("growth"), "files": {}}
    accounts.add_user("files", PASSWORD, 1 << 50)
    owner = accounts.user("files").n
    for size in FILES:
        with catalog.write() as rows:
            folder_id, n = _folder(rows, owner, f"{size}", size)
            rows.add_to_user(owner, "used", size * _SIZE)
        for numbers in _blocks(size):
            with catalog.write() as rows:
                rows.add_files(_files(n, numbers), [None] * len(numbers))
        with catalog.read() as rows:
            middle, near_end = (rows.files_of(n, at, 1)[0] for at in (size // 2, size - _PAGE - 1))
        place = names.cursor_of((near_end.position, near_end.n))
        known["files"][str(size)] = {"id": folder_id, "item": middle.id, "end": place}
        print(f"a folder of {size:,} files", file=sys.stderr, flush=True)
    known["folders"] = {str(size): _account(service, size) for size in FOLDERS}
    return known


def _account(service: Service, size: int) -> str:
    """An account of so many folders. -> the place near its end"""
    name, number = f"folders{size}", count()
    service.accounts.add_user(name, PASSWORD)
    owner = service.accounts.user(name).n
    ns: list[int] = []
    for numbers in _blocks(size):
        with service.catalog.write() as rows:
            ns += (_folder(rows, owner, f"F{next(number)}")[1] for _ in numbers)
    print(f"an account of {size:,} folders", file=sys.stderr, flush=True)
    return names.cursor_of((ns[-_PAGE - 1],))


def _of_folder(size: int, known: dict[str, str]) -> dict[str, Turn]:
    """What is asked of a folder."""
    files = f"/api/v2/folders/{known['id']}/files"
    return {
        **_of_list(files, size, known["end"]),
        "find a name": _get(f"{files}?name={size // 2:07}.bin&cursor="),
        "a glob, 50 fit first": _get(f"{files}?match=*7.bin&cursor="),
        "a glob, one fits": _get(f"{files}?match=*{size // 2:06}.bin&cursor="),
        "gallery, first page": _get(f"/m{known['id']}"),
        "gallery, last page": _get(f"/m{known['id']}?page={-(-size // _ITEMS)}"),
        "item in the middle": _get(f"/l{known['item']}"),
        "upload of 1 KB": lambda turn: ("PUT", f"{files}/new{turn}.bin", b"x" * _SIZE),
    }


def _of_account(name: str, size: int, end: str) -> dict[str, Turn]:
    """What is asked of an account."""
    folders = f"/api/v2/users/{name}/folders"
    asked = _of_list(folders, size, end)
    asked["find a name"] = _get(f"{folders}?name=F{size // 2}&cursor=")
    return {f"folders: {words}": ask for words, ask in asked.items()}


def _median(wire: Wire, ask: Turn, rounds: int, numbers: Iterator[int]) -> float:
    """Of so many rounds after one to warm up; NaN where the service says that it is too much."""
    try:
        wire.ask(*ask(next(numbers)))
        return median(wire.ask(*ask(next(numbers))).seconds for _ in range(rounds))
    except Busy:
        return nan


def _measure(
    service: Running, known: dict[str, Any], rounds: int, only: str
) -> Iterator[tuple[str, int, float]]:
    """Each request's words, how much is there, seconds."""
    numbers, client = count(time.time_ns()), tuple(known["client"])
    asked = [
        *(("files", size, _of_folder(size, known["files"][str(size)])) for size in FILES),
        *(
            (name, size, _of_account(name, size, known["folders"][str(size)]))
            for size in FOLDERS
            for name in [f"folders{size}"]
        ),
    ]
    for name, size, turns in asked:
        wire = Wire(service.port, service.token(name, client))
        for words, ask in turns.items():
            if only in words:
                yield words, size, _median(wire, ask, rounds, numbers)
        wire.close()


def _filled(places: Places, work: Path) -> dict[str, Any]:
    path = work / "growth.json"
    if not path.exists():
        with rules(places) as service:
            path.write_text(json.dumps(_fill(service)))
    known: dict[str, Any] = json.loads(path.read_text())
    return known


def table(found: dict[str, dict[tuple[str, int], float]]) -> str:
    """The medians as Markdown, one row a request, for each backend a column a size."""
    sizes = sorted({size for times in found.values() for _, size in times})
    heads = [f"{kind} {size:,}" for kind in found for size in sizes]
    lines = [f"| ms | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for words in dict.fromkeys(words for times in found.values() for words, _ in times):
        cells = [times.get((words, size)) for times in found.values() for size in sizes]
        lines.append(f"| {words} | {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines)


def _cell(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return "503" if isnan(seconds) else f"{seconds * 1000:.1f}"


def _sizes(places: Places) -> str:
    """How many bytes the rows of files take, with their indexes."""
    files = sum(FILES)
    if places.database is None:
        whole = (places.data / "catalog.sqlite3").stat().st_size
        return f"sqlite: {whole / files:.0f} bytes a file, folders and all"
    engine = create_engine(places.database)
    with engine.connect() as connection:
        query = "SELECT pg_relation_size('files'), pg_indexes_size('files')"
        rows, indexes = connection.execute(text(query)).one()
    engine.dispose()
    return f"postgres: a file's row {rows / files:.0f} bytes, its indexes {indexes / files:.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", metavar="WORDS", help="rows with these words")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and what was started ends
    found: dict[str, dict[tuple[str, int], float]] = {}
    for kind in options.backend or BACKENDS:
        with backend(kind, options.work) as places:
            known = _filled(places, options.work / kind)
            with served(places, "--foreign") as service:  # the files have no bytes
                measured = _measure(service, known, options.rounds, options.only)
                found[kind] = {(words, size): took for words, size, took in measured}
            print(_sizes(places), file=sys.stderr)
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
