"""`python -m tests.soak [MINUTES]`: mixed load on one service through a bad line, for a long time.

Several people put, get, list, delete, share and look at pages at once, most by the real command,
while the line between them and the service breaks, stalls and flips bits. Whatever was
acknowledged is compared byte for byte. Memory and descriptors of the service are sampled; the
run fails where they grow, or where anything was lost.
"""

import argparse
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from statistics import median

from tests.faults import Fault, Line, noise
from tests.rawhttp import ALL, Client, call
from tests.shell_helpers import Done
from tests.sites import Site, open_site

PEOPLE = 3
KINDS = ("cut", "reset", "truncate", "corrupt", "drop", "stall")
HASTY = ("-c", "import minus; minus.READ_SECONDS = 3; minus.run()")  # a stall costs 3 seconds
MOST_GROWTH = 1.15  # of memory and descriptors, from the first third to the last
_STORED = re.compile(r'--> PUT "(.+)" OK')


@dataclass
class Sample:
    seconds: float
    kib: int  # resident
    descriptors: int


@dataclass
class Figures:
    """What happened, and what must not have."""

    done: Counter[str] = field(default_factory=Counter)  # actions
    failed: Counter[str] = field(default_factory=Counter)  # actions that said so
    acknowledged: int = 0
    lost: int = 0
    wrong: int = 0
    faults: int = 0
    untold: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def growth(self, what: Callable[[Sample], int]) -> float:
        """The median of the last third, against that of the first one."""
        third = max(1, len(self.samples) // 3)
        values = [what(sample) for sample in self.samples]
        return median(values[-third:]) / median(values[:third])

    @property
    def good(self) -> bool:
        grown = max(self.growth(lambda s: s.kib), self.growth(lambda s: s.descriptors))
        failures = self.lost, self.wrong, self.untold
        return not any(failures) and self.acknowledged > 0 and grown < MOST_GROWTH


class _Person(threading.Thread):
    """Somebody with a folder, who does one thing after the other until told to stop."""

    def __init__(self, site: Site, number: int, figures: Figures, stop: threading.Event) -> None:
        super().__init__()
        here = site.home / f"here{number}"
        here.mkdir()
        self.site = Site(site.service, site.line, site.home, site.user, f"S{number}", here)
        self._figures, self._stopping = figures, stop
        self._chance = random.Random(number)  # noqa: S311
        self._given = site.home / f"given{number}"
        self._given.mkdir()
        self._count = 0
        self.have: dict[str, bytes] = {}  # acknowledged, and not deleted since
        self._perhaps: set[str] = set()  # what a command that failed may have deleted
        self.error: BaseException | None = None

    def run(self) -> None:
        weights = {self._put: 4, self._get: 4, self._list: 2, self._delete: 2, self._share: 1}
        acts = [*weights, self._pages]
        try:
            while not self._stopping.is_set():
                act = self._chance.choices(acts, [*weights.values(), 3])[0]
                self._figures.done[act.__name__[1:]] += 1
                if not act():
                    self._figures.failed[act.__name__[1:]] += 1
        except BaseException as error:  # noqa: BLE001  it is raised by who joins
            self.error = error

    def _run(self, *args: str, stdin: bytes = b"") -> Done:
        done = self.site.run(*args, stdin=stdin, program=HASTY)
        if done.status and not done.err.strip():
            self._figures.untold.append(f"{args[0]}: {done.status} {done.err[-300:]}")
        return done

    def _put(self) -> bool:
        self._count += 1
        sizes = [9 << 20] if self._chance.random() < 0.15 else [500, 9_000, 90_000, 900_000]
        files = {
            f"{self._count}-{n}.bin": noise(f"{self.site.folder} {self._count} {n}", size)
            for n, size in enumerate(sizes)
        }
        for name, data in files.items():
            (self._given / name).write_bytes(data)
        paths = [str(self._given / name) for name in files]
        done = self._run("--on-conflict", "skip", "--put", self.site.folder, *paths)
        stored = set(_STORED.findall(done.out))
        self.have |= {name: data for name, data in files.items() if name in stored}
        self._figures.acknowledged += len(stored)
        for path in self._given.iterdir():
            path.unlink()
        return done.status == 0

    def _get(self) -> bool:
        names = self._chance.sample(sorted(self.have), min(4, len(self.have)))
        if not names:
            return True
        done = self._run("--get", self.site.folder, *names)
        for path in self.site.local.iterdir():
            if not path.name.startswith(".minus-"):
                self._figures.wrong += path.read_bytes() != self.have[path.name]
            path.unlink()
        if done.status == 4:
            self._look_for(names)
        return done.status == 0

    def _look_for(self, names: Iterable[str]) -> None:
        """Ask without the line: a bit that flips in a list hides a file that is there."""
        there = {row["name"] for row in self.site.rows()}
        self._figures.lost += len(set(names) - there - self._perhaps)

    def _list(self) -> bool:
        done = self._run(stdin=f"cd {self.site.folder}\nls\nstat *\n".encode())
        listed = set(re.findall(r"(?m)^(\d+-\d\.bin) ", done.out))
        if done.status == 0 and self.have:
            self._look_for(set(self.have) - listed)
        return done.status == 0

    def _delete(self) -> bool:
        while len(self.have) > 40 and not self._stopping.is_set():
            name = self._chance.choice(sorted(self.have))
            done = self._run(stdin=f"cd {self.site.folder}\ndel {name}\n".encode())
            if done.status == 0 or name in self._perhaps:
                del self.have[name]
                self._perhaps.discard(name)
            else:
                self._perhaps.add(name)
                return False
        return True

    def _share(self) -> bool:
        data = noise(f"share {self.site.folder} {self._count}", 100_000)
        place = self._given / "shared.bin"
        place.write_bytes(data)
        done = self._run("--share", str(place))
        place.unlink()
        if done.status:
            return False
        return self._run("--unshare", done.out.strip()).status == 0

    def _pages(self) -> bool:
        """Look at pages as a browser does."""
        for page in ("/", "/signin", f"/u{self.site.user.slug}", "/static/style.css"):
            try:
                answer = call(self.site.line.port, "GET", page, {"Accept": "text/html"})
            except (OSError, HTTPException, ValueError):  # the line's doing
                return False
            if answer.status >= 500:
                self._figures.untold.append(f"{page}: {answer.status}")
        return True


def _sample(site: Site, began: float) -> Sample:
    status = Path(f"/proc/{site.service.pid}/status").read_text()
    found = re.findall(r"VmRSS:\s+(\d+) kB", status)
    descriptors = len(list(Path(f"/proc/{site.service.pid}/fd").iterdir()))
    return Sample(time.monotonic() - began, int(found[0]), descriptors)


def _break(line: Line, chance: random.Random) -> None:
    """Have one fault happen somewhere in what is carried next."""
    line.mend()  # whoever stalls gets on
    side = chance.choice(("up", "down"))
    line.inject(Fault(chance.choice(KINDS), side, int(chance.lognormvariate(11, 2.5))))


def run(home: Path, seconds: float, seed: int, every: float = 5) -> Figures:
    """Load a service for so long, with a fault about every second. -> how it went"""
    chance, figures, stop = random.Random(seed), Figures(), threading.Event()  # noqa: S311
    with open_site(home) as site:
        people = [_Person(site, number, figures, stop) for number in range(PEOPLE)]
        for person in people:
            person.start()
        began = time.monotonic()
        sampled = 0.0
        while (now := time.monotonic() - began) < seconds and all(p.is_alive() for p in people):
            if now - sampled >= every or not figures.samples:
                figures.samples.append(_sample(site, began))
                sampled = now
            _break(site.line, chance)
            stop.wait(chance.uniform(0.2, 2))
        stop.set()
        site.line.mend()
        for person in people:
            person.join()
            if person.error:
                raise person.error
        figures.faults = site.line.happened
        site.user = Client(site.service, site.user.name, "").limited(ALL)
        for person in people:
            _count(site, person, figures)
        figures.samples.append(_sample(site, began))
    return figures


def _count(site: Site, person: _Person, figures: Figures) -> None:
    site.folder = person.site.folder
    there = {row["name"]: row for row in site.rows()}
    figures.lost += len(set(person.have) - set(there) - person._perhaps)
    for name in set(person.have) & set(there):
        figures.wrong += site.user.raw(there[name]).body != person.have[name]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Load and faults.")
    parser.add_argument("minutes", nargs="?", type=float, default=30)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as home:
        figures = run(Path(home), options.minutes * 60, options.seed)
    for text in figures.untold:
        print(text, file=sys.stderr)
    print("| minute | memory, MiB | descriptors |\n| --- | --- | --- |")
    step = max(1, len(figures.samples) // 10)
    for sample in figures.samples[::step]:
        print(f"| {sample.seconds / 60:.1f} | {sample.kib / 1024:.0f} | {sample.descriptors} |")
    acts = ", ".join(
        f"{name} {count} ({figures.failed[name]} failed, and said so)"
        for name, count in figures.done.items()
    )
    print(
        f"{figures.faults} faults; {acts};\n{figures.acknowledged} files acknowledged;"
        f" lost: {figures.lost}, wrong: {figures.wrong},"
        f" failures without a word: {len(figures.untold)};"
        f" growth: memory {figures.growth(lambda s: s.kib):.2f},"
        f" descriptors {figures.growth(lambda s: s.descriptors):.2f}"
    )
    return 0 if figures.good else 1


if __name__ == "__main__":
    sys.exit(main())
