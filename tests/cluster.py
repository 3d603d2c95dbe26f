"""`python -m tests.cluster [FILES]`: kill -9 either of two processes while files travel.

Two processes with one PostgreSQL and one bucket of SeaweedFS, nginx in front as docs/deploy has
it. People run the real command: some put FILES files (200) in all, others get as many, while now
one process and now the other is killed and started again. At the end every acknowledged file has
to be there, once, byte for byte, the account charged to the byte, and `minus-server check` find
nothing.
"""

import argparse
import hashlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers import free_port
from minus_server.catalog import Catalog
from tests.faults import PATIENCE, noise
from tests.live import Service, clean_environment
from tests.postgres import database
from tests.proxy import Place, proxied
from tests.rawhttp import ALL, PASSWORD, Client, Row
from tests.seaweed import new_place
from tests.shell_helpers import MINUS, configure

PEOPLE = 2  # who put, and as many who get
AT_ONCE = 4  # files of one command
LONGEST = 1.5  # seconds between two kills
SIZES = (700, 40_000, 200_000, 3 << 20, 9 << 20)  # in the catalog; in one piece; in several
_STORED = re.compile(r'--> PUT "(.+)" OK')


@dataclass
class Figures:
    """What happened, and what must not have: `lost`, `wrong`, `twins`, `charged`, `untold`."""

    kills: list[int] = field(default_factory=lambda: [0, 0])  # of either process
    commands: int = 0
    again: int = 0  # commands that failed, and were run again
    passed_on: int = 0  # requests that nginx took to the other process
    acknowledged: int = 0
    got: int = 0
    lost: int = 0  # acknowledged, and not there
    wrong: int = 0  # other bytes, on either side
    twins: int = 0
    charged: int = 0  # bytes that the account pays beyond those of its files
    problems: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)  # failures without a word, or a traceback

    @property
    def good(self) -> bool:
        wrong = self.lost, self.wrong, self.twins, self.charged, self.problems, self.untold
        return not any(wrong)


@dataclass(frozen=True)
class Cluster:
    """Two processes, and the proxy before them."""

    place: Place
    services: list[Service]

    def restart(self, number: int) -> None:
        """Kill one as a power cut would, and start it again where it was."""
        service = self.services[number]
        service.kill()
        service.start(service.port)


@contextmanager
def cluster(home: Path) -> Iterator[Cluster]:
    """Two processes with one database and one bucket, behind nginx."""
    ports = [free_port(), free_port()]
    with database() as url, proxied(home / "nginx", ports) as place:
        catalog = Catalog(url)
        catalog.migrate()
        catalog.close()
        shared = {"MINUS_DATABASE_URL": url, "MINUS_BLOBS": new_place()}
        told = "--base-url", place.url, "--trusted-proxy", "127.0.0.1"
        services = [Service(home / f"data{n}", told, environment=shared) for n in range(len(ports))]
        try:
            for service, port in zip(services, ports, strict=True):
                service.start(port)
            yield Cluster(place, services)
        finally:
            for service in services:
                if service.running:
                    service.kill()


class _Person(threading.Thread):
    """Somebody who runs commands until each has done its work."""

    def __init__(self, home: Path, number: int, figures: Figures) -> None:
        super().__init__()
        self.home = home
        self.here = home / f"{type(self).__name__}{number}"
        self.here.mkdir()
        self.number, self.figures = number, figures
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001  it is raised by who joins
            self.error = error

    def work(self) -> None:
        """What this one does."""

    def until_done(self, *args: str) -> str:
        """Run the command, again where it fails. -> all that it printed"""
        printed, end = "", time.monotonic() + 4 * PATIENCE
        while True:
            done = self.command(*args)
            printed += done.stdout
            if done.returncode == 0:
                return printed
            self.figures.again += 1
            if done.returncode not in (5, 11) or not done.stderr or "Traceback" in done.stderr:
                self.figures.untold.append(f"exit status {done.returncode}: {done.stderr[-500:]}")
            if time.monotonic() > end:
                raise TimeoutError(f"no end of {args[:3]}")

    def command(self, *args: str) -> "subprocess.CompletedProcess[str]":
        self.figures.commands += 1
        names = {f"XDG_{name}_HOME": str(self.home / name) for name in ("STATE", "DATA", "CONFIG")}
        account = {"MINUS_USERNAME": "shared", "MINUS_PASSWORD": PASSWORD}
        return subprocess.run(
            [sys.executable, str(MINUS), *args],
            cwd=self.here,
            env=clean_environment(HOME=str(self.home), **names, **account),
            capture_output=True,
            text=True,
            check=False,
            timeout=4 * PATIENCE,
        )


class Putter(_Person):
    """Puts files, some at a time."""

    def __init__(self, home: Path, number: int, figures: Figures, files: int) -> None:
        super().__init__(home, number, figures)
        self.folder = f"Put{number}"
        self.given = {f"{n}.bin": data(f"{self.folder} {n}", n) for n in range(files)}
        self.acknowledged: Counter[str] = Counter()

    def work(self) -> None:
        names = list(self.given)
        for first in range(0, len(names), AT_ONCE):
            some = names[first : first + AT_ONCE]
            for name in some:
                (self.here / name).write_bytes(self.given[name])
            printed = self.until_done("--on-conflict", "skip", "--put", self.folder, *some)
            self.acknowledged.update(_STORED.findall(printed))


class Getter(_Person):
    """Gets the files that are there from the beginning, some at a time."""

    def __init__(self, home: Path, number: int, figures: Figures, there: dict[str, bytes]) -> None:
        super().__init__(home, number, figures)
        self.there = there

    def work(self) -> None:
        names = list(self.there)
        for first in range(0, len(names), AT_ONCE):
            some = names[first : first + AT_ONCE]
            self.until_done("--get", "Given", *some)
            for name in some:
                self.figures.wrong += (self.here / name).read_bytes() != self.there[name]
                self.figures.got += 1


def data(words: str, number: int) -> bytes:
    return noise(words, SIZES[number % len(SIZES)])


def run(home: Path, files: int, seed: int) -> Figures:
    """Put and get so many files while processes are killed. -> how it went"""
    with cluster(home) as both:
        first = both.services[0]
        first.add_user("shared", PASSWORD)
        configure(home, first, url=both.place.url, cacert=str(both.place.trusted))
        return _run(home, both, files, random.Random(seed))  # noqa: S311


def _run(home: Path, both: Cluster, files: int, chance: random.Random) -> Figures:
    figures, each = Figures(), files // PEOPLE
    given = Putter(home, PEOPLE, figures, files)
    given.folder = "Given"
    given.run()
    putters = [Putter(home, number, figures, each) for number in range(PEOPLE)]
    parts = [dict(list(given.given.items())[n * each : (n + 1) * each]) for n in range(PEOPLE)]
    getters = [Getter(home, number, figures, part) for number, part in enumerate(parts)]
    people = [*putters, *getters]
    for person in people:
        person.start()
    while any(person.is_alive() for person in people) or not all(figures.kills):
        number = sum(figures.kills) % len(both.services)
        both.restart(number)
        figures.kills[number] += 1
        people[0].join(chance.uniform(0, LONGEST))
    for person in [given, *people]:
        if person.error:
            raise person.error
    _compare(both, [given, *putters], figures)
    return figures


def _compare(both: Cluster, putters: list[Putter], figures: Figures) -> None:
    """Hold what is there to what was acknowledged."""
    user = Client(both.services[0], "shared", "").limited(ALL)
    size = 0
    for putter in putters:
        rows = _rows(user, putter.folder)
        names = Counter(row["name"] for row in rows)
        size += sum(row["filesize"] for row in rows)
        figures.acknowledged += len(putter.acknowledged)
        figures.lost += len(set(putter.given) - set(names))
        figures.twins += sum(names.values()) - len(names)
        for row in rows:
            wanted = hashlib.sha256(putter.given[row["name"]]).digest()
            figures.wrong += hashlib.sha256(user.raw(row).body).digest() != wanted
    figures.charged = user.get("activeuser")["storage_used"] - size
    done = both.services[0].run("check")
    if done.returncode or not done.stdout.endswith("\n0 problems\n"):
        figures.problems.append(done.stdout + done.stderr)
    for service in both.services:
        if "Traceback" in service.log():
            figures.problems.append(service.log()[-2000:])
    log = (both.place.folder / "access.log").read_text()
    figures.passed_on = len(re.findall(r'(?m)^\S+ \S+ "[^"]*" .*:\d+, \S+:\d+ ', log))


def _rows(user: Client, folder: str) -> list[Row]:
    """All files of all folders of this name."""
    found: list[Row] = []
    folders = user.get(f"users/{user.slug}/folders?name={folder}&per_page=100")["results"]
    for row in folders:
        page = user.get(f"folders/{row['id']}/files?per_page=1000&cursor=")
        assert page["next"] is None
        found += page["results"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("files", nargs="?", type=int, default=200)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        figures = run(Path(home), options.files, options.seed)
    for text in (*figures.problems, *figures.untold):
        print(text, file=sys.stderr)
    print(
        f"{figures.kills[0]} and {figures.kills[1]} kills in {time.monotonic() - began:.0f} s:"
        f" {figures.commands} commands, {figures.again} of them run again;"
        f" {figures.passed_on} requests passed on by nginx;\n"
        f"{figures.acknowledged} files acknowledged, {figures.got} got;"
        f" lost: {figures.lost}, wrong: {figures.wrong}, twins: {figures.twins},"
        f" bytes charged too many: {figures.charged},"
        f" problems found by check: {len(figures.problems)},"
        f" failures without a word: {len(figures.untold)}"
    )
    return 0 if figures.good else 1


if __name__ == "__main__":
    sys.exit(main())
