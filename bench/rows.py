"""The rows: what each contestant runs, and how its bytes are compared afterwards."""

import filecmp
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import peers
from bench.measure import BenchError
from bench.ours import Minus
from bench.peers import Peer, program

SMALL_BYTES = 8192
_BLOCK = 1 << 20
_FOLDERS = 10  # of the account whose folders are listed


@dataclass(frozen=True)
class Job:
    """One command to measure. `check` gets its output, raises BenchError when bytes are wrong."""

    command: Sequence[str]
    cwd: Path
    check: Callable[[Path], None]
    stdin: str = ""


@dataclass(frozen=True)
class Contestant:
    """Who runs; `job` makes the command of one run from a name that was not there before.

    `target`: minus's time is to be at most so many times this one's. None: for comparison only.
    `count`: seconds are divided by it, for rows whose unit is the time of one file.
    """

    name: str
    server: int
    env: Mapping[str, str]
    job: Callable[[str], Job]
    target: float | None = None
    count: int = 1


@dataclass(frozen=True)
class Row:
    """Contestants at the same work; the first is minus."""

    name: str
    title: str
    contestants: list[Contestant]
    times: int = 1  # that each round is run: short ones more often


@dataclass(frozen=True)
class Sizes:
    """How much: bytes of the large file, numbers of small files."""

    large: int = 1 << 30
    small: int = 2000
    listed: int = 10_000
    growth: int = 50_000


NAMES = ("L-get", "L-put", "S-get", "S-put", "P-get", "P-put", "LIST", "START", "G-get", "G-put")


@dataclass
class Stage:
    """The servers that run, and the folders of one benchmark.

    All peers serve `root`, so that they read the very same files: L, S, LIST and G below it are
    the sources, `put` takes what comes. What is fetched goes to `got`.
    """

    work: Path
    sizes: Sizes
    minus: Minus
    env: Mapping[str, str]
    user: Mapping[str, str]
    _stack: ExitStack = field(default_factory=ExitStack)
    _peers: dict[str, Peer] = field(default_factory=dict)

    @contextmanager
    def row(self, name: str) -> Iterator[Row]:
        """A row with its data and its servers, which end with it.

        So they start when the data is there: `rclone serve` remembers folders for minutes.
        """
        with ExitStack() as self._stack:
            yield _MAKERS[name](self)
        self._peers.clear()

    @property
    def root(self) -> Path:
        return self.work / "served"

    def peer(self, name: str) -> Peer:
        """A peer, started when it is first asked for."""
        if name not in self._peers:
            start = getattr(peers, name)
            places = {"bare": self.root / "L" / "large", "seaweedfs": self.work / "volumes"}
            place = places.get(name, self.root)
            folder = self.work / "peers" / f"{len(list(self.work.glob('peers/*')))}-{name}"
            self._peers[name] = self._stack.enter_context(start(folder, place, self.env))
        return self._peers[name]

    def source(self, name: str, count: int, size: int) -> Path:
        """A folder with `count` files of `size` random bytes. -> its path"""
        folder = self.root / name
        if not folder.exists():
            folder.mkdir(parents=True)
            for file in small_names(count) if name != "L" else ["large"]:
                with (folder / file).open("wb") as out:
                    for start in range(0, size, _BLOCK):
                        out.write(os.urandom(min(_BLOCK, size - start)))
        return folder

    def stored(self, source: Path) -> str:
        """Put a source into a folder of minus, once. -> its name"""
        known = self.minus.run(["--list-folders"], self.work, self.user)
        if f"{source.name} (" not in known:
            self.minus.run(["--put", source.name, *_names(source)], source, self.user)
        return source.name

    def contestant(
        self,
        name: str,
        peer: str,
        job: Callable[[str], Job],
        target: float | None = None,
        count: int = 1,
    ) -> Contestant:
        """One of the row; `peer` is "minus" or the name of a server in peers.py."""
        if peer == "minus":
            return Contestant(name, self.minus.pid, self.user, job, target, count)
        there = self.peer(peer)
        return Contestant(name, there.pid, {**self.env, **there.env}, job, target, count)

    def get(self, source: Path, command: Sequence[str]) -> Callable[[str], Job]:
        """Jobs whose command fetches `source` into the empty folder that it runs in."""

        def job(label: str) -> Job:
            target = self.work / "got" / label
            target.mkdir(parents=True)

            def check(_: Path) -> None:
                same(source, target)
                self._forget(source, target)

            return Job(command, target, check)

        return job

    def put(
        self, source: Path, command: Callable[[str], Sequence[str]], made: bool = False
    ) -> Callable[[str], Job]:
        """Jobs whose command, made from a new name below `put`, stores `source` there.

        `made`: that folder must be there before.
        """

        def job(label: str) -> Job:
            target = self.root / "put" / label
            (target if made else target.parent).mkdir(parents=True, exist_ok=True)

            def check(_: Path) -> None:
                same(source, target)
                self._forget(source, target)

            return Job(command(label), source, check)

        return job

    def put_minus(self, source: Path, command: Sequence[str] = ()) -> Callable[[str], Job]:
        """Jobs that store `source` in a new folder of minus; checked by getting it back."""

        def job(label: str) -> Job:
            def check(_: Path) -> None:
                target = self.work / "got" / f"{label}-back"
                target.mkdir(parents=True)
                self.minus.run(["--get", label], target, self.user)
                same(source, target)
                if self._forget(source, target):
                    self.minus.run([], target.parent, self.user, f"rmdir {label}\n")

            names = _names(source)
            return Job([*(command or self.minus.command), "--put", label, *names], source, check)

        return job

    def _forget(self, source: Path, target: Path) -> bool:
        """Large files are removed once compared: they would fill the disk, small ones do not.

        Those stay to the end, as folders are slow after thousands of files were deleted there.
        """
        if source.name == "L":
            shutil.rmtree(target)
        return source.name == "L"


def small_names(count: int) -> list[str]:
    """Names that sort, and that curl's ranges can say."""
    return [f"f{number:05}" for number in range(count)]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))  # none without the folder


def same(source: Path, target: Path) -> None:
    """Raise BenchError unless two folders have the same names with the same bytes."""
    wanted, found = _names(source), _names(target)
    if wanted != found:
        raise BenchError(f"{target} has {len(found)} files, other than the {len(wanted)} sent")
    for name in wanted:
        if not filecmp.cmp(source / name, target / name, shallow=False):
            raise BenchError(f"{target / name} has other bytes than were sent")


def _has(words: Sequence[str]) -> Callable[[Path], None]:
    """A check that every word stands in the output."""

    def check(output: Path) -> None:
        missing = set(words) - set(output.read_text().replace("/", " ").split())
        if missing:
            raise BenchError(f"{len(missing)} of {len(words)} names are not in {output}")

    return check


def _lftp(stage: Stage, commands: str) -> list[str]:
    address = stage.peer("vsftpd").address
    return [program("lftp"), "-c", f"set cmd:fail-exit yes; open {address}; {commands}"]


def _range(count: int) -> str:
    return f"f[00000-{count - 1:05}]"


def large_get(stage: Stage) -> Row:
    source = stage.source("L", 1, stage.sizes.large)
    minus = [*stage.minus.command, "--get", stage.stored(source)]
    curl = ["-sS", "-o", "large", f"{stage.peer('nginx').address}/L/large"]
    rclone = [program("rclone"), "copy", "dav:L", "."]
    receive = [sys.executable, "-S", "-m", "bench.bare", "receive"]
    return Row(
        "L-get",
        f"Get one file of {size_text(stage.sizes.large)}",
        [
            stage.contestant("minus --get", "minus", stage.get(source, minus)),
            stage.contestant(
                "curl, nginx", "nginx", stage.get(source, [program("curl"), *curl]), 0.7
            ),
            stage.contestant("rclone, its webdav", "webdav", stage.get(source, rclone), 0.8),
            stage.contestant(
                "bare socket to file",
                "bare",
                stage.get(source, [*receive, stage.peer("bare").address, "large"]),
                1.1,
            ),
        ],
    )


def large_put(stage: Stage) -> Row:
    source = stage.source("L", 1, stage.sizes.large)
    web = stage.peer("nginx").address
    curl, rclone = [program("curl"), "-sS", "-T", "large"], [program("rclone"), "copy", "large"]
    lftp = stage.put(source, lambda new: _lftp(stage, f"put -O put/{new} large"), made=True)
    return Row(
        "L-put",
        f"Put one file of {size_text(stage.sizes.large)}",
        [
            stage.contestant("minus --put", "minus", stage.put_minus(source)),
            stage.contestant(
                "curl -T, nginx",
                "nginx",
                stage.put(source, lambda new: [*curl, f"{web}/put/{new}/"]),
                1.4,
            ),
            stage.contestant("lftp put, vsftpd", "vsftpd", lftp, 0.75),
            stage.contestant(
                "rclone, its webdav",
                "webdav",
                stage.put(source, lambda new: [*rclone, f"dav:put/{new}"]),
                0.6,
            ),
        ],
    )


def small_get(stage: Stage) -> Row:
    count = stage.sizes.small
    source = stage.source("S", count, SMALL_BYTES)
    minus = [*stage.minus.command, "--get", stage.stored(source)]
    address = f"{stage.peer('nginx').address}/S/{_range(count)}"
    curl = [program("curl"), "-sS", "--parallel", "--remote-name-all", address]
    return Row(
        "S-get",
        f"Get {count:,} files of 8 KiB",
        [
            stage.contestant("minus --get", "minus", stage.get(source, minus)),
            stage.contestant(
                "rclone, nginx",
                "nginx",
                stage.get(source, [program("rclone"), "copy", "web:S", "."]),
                0.6,
            ),
            stage.contestant(
                "lftp mirror -P8, vsftpd",
                "vsftpd",
                stage.get(source, _lftp(stage, "mirror -P8 S .")),
                0.25,
            ),
            stage.contestant("curl --parallel, nginx", "nginx", stage.get(source, curl), 1.4),
        ],
    )


def small_put(stage: Stage) -> Row:
    count = stage.sizes.small
    source = stage.source("S", count, SMALL_BYTES)
    web = stage.peer("nginx").address
    curl = [program("curl"), "-sS", "-T", _range(count)]
    mirror = stage.put(source, lambda new: _lftp(stage, f"mirror -R -P8 . put/{new}"), made=True)
    return Row(
        "S-put",
        f"Put {count:,} files of 8 KiB",
        [
            stage.contestant("minus --put", "minus", stage.put_minus(source)),
            stage.contestant("lftp mirror -R -P8, vsftpd", "vsftpd", mirror, 0.25),
            stage.contestant(
                "curl -T, nginx",
                "nginx",
                stage.put(source, lambda new: [*curl, f"{web}/put/{new}/"]),
                0.45,
            ),
            stage.contestant(
                "rclone, SeaweedFS S3",
                "seaweedfs",
                lambda new: _bucket_job(stage, source, new),
                0.1,
            ),
        ],
    )


def plain_get(stage: Stage) -> Row:
    source = stage.source("S", stage.sizes.small, SMALL_BYTES)
    minus = [*stage.minus.plain, "--get", stage.stored(source)]
    mirror = stage.get(source, _lftp(stage, "mirror S ."))
    return Row(
        "P-get",
        f"Get {stage.sizes.small:,} files of 8 KiB by API v2 alone",
        [
            stage.contestant("minus --get", "minus", stage.get(source, minus)),
            stage.contestant("lftp mirror, vsftpd", "vsftpd", mirror, 1.0),
        ],
    )


def plain_put(stage: Stage) -> Row:
    source = stage.source("S", stage.sizes.small, SMALL_BYTES)
    mirror = stage.put(source, lambda new: _lftp(stage, f"mirror -R . put/{new}"), made=True)
    plain = [*stage.minus.plain, "--jobs", "4"]
    return Row(
        "P-put",
        f"Put {stage.sizes.small:,} files of 8 KiB by API v2 alone",
        [
            stage.contestant("minus --put -j4", "minus", stage.put_minus(source, plain)),
            stage.contestant("lftp mirror -R, vsftpd", "vsftpd", mirror, 1.0),
        ],
    )


def _bucket_job(stage: Stage, source: Path, label: str) -> Job:
    def check(_: Path) -> None:
        compare = [program("rclone"), "check", "--download", str(source), f"s3:bench/{label}"]
        env = {**stage.env, **stage.peer("seaweedfs").env}
        done = subprocess.run(compare, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"SeaweedFS has other bytes than were sent\n{done.stderr[-2000:]}")

    return Job([program("rclone"), "copy", ".", f"s3:bench/{label}"], source, check)


def listing(stage: Stage) -> Row:
    names = small_names(stage.sizes.listed)
    source = stage.source("LIST", len(names), 10)
    stage.stored(source)

    def job(*command: str, stdin: str = "") -> Callable[[str], Job]:
        return lambda _: Job(command, stage.work, _has(names), stdin)

    shell = job(*stage.minus.command, stdin="cd LIST\nls\n")
    rclone = program("rclone")
    return Row(
        "LIST",
        f"List a folder of {len(names):,} files",
        [
            stage.contestant("minus: cd, ls", "minus", shell),
            stage.contestant("rclone lsl, nginx", "nginx", job(rclone, "lsl", "web:LIST"), 0.4),
            stage.contestant("lftp ls, vsftpd", "vsftpd", job(*_lftp(stage, "ls LIST")), 3),
            stage.contestant("rclone lsl, its webdav", "webdav", job(rclone, "lsl", "dav:LIST")),
        ],
    )


def starting(stage: Stage) -> Row:
    names = [f"folder{number}" for number in range(_FOLDERS)]
    for name in names:
        (stage.root / "START" / name).mkdir(parents=True)
    user = stage.minus.account("start")
    stage.minus.run([], stage.work, user, "".join(f"mkdir {name}\n" for name in names))

    def job(*command: str) -> Callable[[str], Job]:
        return lambda _: Job(command, stage.work, _has(names))

    minus = job(*stage.minus.command, "--list-folders")
    rclone = job(program("rclone"), "lsf", "dav:START")
    return Row(
        "START",
        f"List {_FOLDERS} folders: little but the start",
        [
            Contestant("minus --list-folders", stage.minus.pid, user, minus),
            stage.contestant("rclone lsf, its webdav", "webdav", rclone, 2),
        ],
        times=4,
    )


def _growth(stage: Stage, name: str) -> Row:
    few, many = stage.sizes.small, stage.sizes.growth
    work = name[2:]
    contestants = []
    for source, count in (("G", many), ("S", few)):
        folder = stage.source(source, count, SMALL_BYTES)
        if work == "get":
            job = stage.get(folder, [*stage.minus.command, "--get", stage.stored(folder)])
        else:
            job = stage.put_minus(folder)
        target = 1.2 if source == "S" else None
        each = stage.contestant(f"minus --{work}, {count:,} files", "minus", job, target, count)
        contestants.append(each)
    title = f"{work.capitalize()} files of 8 KiB: time a file"
    return Row(name, title, contestants)


_MAKERS: dict[str, Callable[[Stage], Row]] = {
    "L-get": large_get,
    "L-put": large_put,
    "S-get": small_get,
    "S-put": small_put,
    "P-get": plain_get,
    "P-put": plain_put,
    "LIST": listing,
    "START": starting,
    "G-get": lambda stage: _growth(stage, "G-get"),
    "G-put": lambda stage: _growth(stage, "G-put"),
}


def size_text(size: int) -> str:
    """Bytes as "1 GiB", "64 MiB"; whole KiB at least."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size / 1024:g} KiB"
