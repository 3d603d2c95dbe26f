"""`python -m tests.resume`: what is left of an interrupted download, and who resumes over it.

Each client is given, under the file's name, what an earlier download may have left there, and
then its own command for resuming. The servers are real ones: nginx for curl and wget, and for
`rclone copy`; vsftpd for lftp; OpenSSH's sftp-server for sftp; our service for minus. Prints a
table in Markdown: whether the file is right then, and the exit status.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.peers import nginx, vsftpd
from tests.faults import BLOCK, PATIENCE, Fault, Line, noise
from tests.live import clean_environment
from tests.sites import Site, open_site

NAME = "file.bin"
SIZE = 12 << 20
SLOW = 16 << 20  # bytes a second, for who is to be killed in the middle
OLD, NEW, ZEROS = noise("old", 2 * SIZE), noise("new", SIZE), bytes(64 << 10)
HALF = SIZE // 2
LONG_AGO = 1_700_000_000
PACKAGES = {
    "curl": "curl",
    "wget": "wget",
    "lftp": "lftp",
    "sftp": "openssh-client",
    "rclone": "rclone",
    "nginx": "nginx",
    "vsftpd": "vsftpd",
}
SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")  # Debian: openssh-sftp-server


@dataclass(frozen=True)
class Case:
    """What is there before the download is resumed.

    left     the local file's bytes; None for what a download leaves that is killed at half
    tail     what the end of that is overwritten with then
    before   what the server had while that went on
    hidden   a header that the server does not know (HTTP alone)
    """

    about: str
    left: bytes | None = None
    before: bytes = NEW
    tail: bytes = b""
    hidden: str = ""


CASES = (
    Case("killed at half; nothing changed (not stale)"),
    Case("killed at half; then replaced by a file of the same size", before=OLD[:SIZE]),
    Case("killed at half; zeros at its end, as after a crash", tail=ZEROS),
    Case("killed at half; garbage in its last block", tail=OLD[:4096]),
    Case("part of an older version of the same size", OLD[:HALF]),
    Case("part of an older, longer version", OLD[: HALF + HALF // 2]),
    Case("part of an older, shorter version", OLD[: HALF // 8]),
    Case("part that is longer than the new file", OLD[: SIZE + HALF]),
    Case("complete, an older version of the same size", OLD[:SIZE]),
    Case("complete, an older, shorter version", OLD[:HALF] + ZEROS),
    Case("as long as the file, zeros from the middle on", NEW[:HALF] + bytes(SIZE - HALF)),
    Case("older version; the server knows no `Range`", OLD[:HALF], hidden="Range"),
    Case("older version; the server knows no `If-Range`", OLD[:HALF], hidden="If-Range"),
)


class Peer(Protocol):
    """A client with the server that it is tried on."""

    @property
    def name(self) -> str: ...

    @property
    def http(self) -> bool: ...

    def publish(self, data: bytes) -> None:
        """Have the server give these bytes from now on."""

    def start(self, folder: Path, *more: str, slowly: bool = False) -> "subprocess.Popen[bytes]":
        """Run the command that resumes, with more options."""

    def hide(self, header: str) -> None:
        """Have the server not know a header."""


def slow_down(line: Line | None, slowly: bool) -> None:
    if line:
        line.mend()
        if slowly:
            line.inject(Fault("delay"), BLOCK / SLOW)


@dataclass
class Ours:
    """minus, as it resumes under the file's own name and over its own partials."""

    site: Site
    name: str = "minus"
    http: bool = True
    file: str = ""  # its id

    def publish(self, data: bytes) -> None:
        user = self.site.user
        if self.file:
            user.delete(f"files/{self.file}")
        else:
            self.site.new_folder()
        (folder,) = user.get(f"users/{user.slug}/folders?name={self.site.folder}&per_page=10")[
            "results"
        ]
        self.file = user.upload(data, NAME, folder)["id"]

    def start(self, folder: Path, *more: str, slowly: bool = False) -> "subprocess.Popen[bytes]":
        slow_down(self.site.line, slowly)
        self.site.local = folder
        return self.site.spawn(*more, "-c", "--get", self.site.folder, NAME)

    def hide(self, header: str) -> None:
        self.site.line.hide(header)


@dataclass
class Other:
    """A command that gets a file from below a folder that a server of its own gives away."""

    name: str
    root: Path
    command: Sequence[str]
    slow: Sequence[str] = ()  # the same, limited to SLOW, where no line makes it so
    line: Line | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def http(self) -> bool:
        return self.line is not None

    def publish(self, data: bytes) -> None:
        part = self.root / "part"
        part.write_bytes(data)
        os.utime(part, (LONG_AGO, LONG_AGO))  # as a file that was there before any download
        part.replace(self.root / NAME)

    def start(self, folder: Path, *more: str, slowly: bool = False) -> "subprocess.Popen[bytes]":
        slow_down(self.line, slowly)
        return subprocess.Popen(
            [*(self.slow if slowly and self.slow else self.command), *more],
            cwd=folder,
            env=clean_environment(HOME=str(folder.parent), **self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def hide(self, header: str) -> None:
        if self.line:
            self.line.hide(header)


@dataclass(frozen=True)
class Outcome:
    """The state of the file after a command, and the command's exit status."""

    state: str  # "right", "untouched", "wrong", "absent"
    status: int

    @property
    def good(self) -> bool:
        """The right bytes, or a status that says that they are not."""
        return (self.state == "right") == (self.status == 0)

    def __str__(self) -> str:
        text = f"{self.state}, {self.status}"
        return text if self.good else f"**{text}**"


def resume(peer: Peer, case: Case, folder: Path) -> Outcome | None:
    """Try a case on a client. -> None where it cannot be"""
    if case.hidden and not peer.http:
        return None
    folder.mkdir()
    peer.publish(case.before)
    if case.left is None:
        _kill_at_half(peer, folder)
        _overwrite_end(folder, case.tail)
    else:
        (folder / NAME).write_bytes(case.left)
    if case.before != NEW:
        peer.publish(NEW)
    found = folder / NAME
    was = found.read_bytes() if found.exists() else None
    peer.hide(case.hidden)
    with peer.start(folder) as process:
        process.communicate(timeout=PATIENCE)
    peer.hide("")
    now = found.read_bytes() if found.exists() else None
    state = "right" if now == NEW else "absent" if now is None else "wrong"
    return Outcome("untouched" if state == "wrong" and now == was else state, process.returncode)


def _kill_at_half(peer: Peer, folder: Path) -> None:
    """Run the command until half is there, then kill it as a crash would."""
    end = time.monotonic() + PATIENCE
    with peer.start(folder, slowly=True) as process:
        while _largest(folder) < HALF and time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    if not HALF <= _largest(folder) < SIZE:
        raise RuntimeError(f"{peer.name} was not killed in the middle")


def _largest(folder: Path) -> int:
    return max((path.stat().st_size for path in folder.iterdir()), default=0)


def _overwrite_end(folder: Path, tail: bytes) -> None:
    for path in folder.iterdir():
        with path.open("r+b") as file:
            file.seek(-len(tail), os.SEEK_END)
            file.write(tail)


# --- the clients ---


@contextmanager
def ours(folder: Path) -> Iterator[Ours]:
    folder.mkdir()
    with open_site(folder) as site:
        site.folder = "Resumed"
        yield Ours(site)


@contextmanager
def web(folder: Path, names: Sequence[str]) -> Iterator[list[Peer]]:
    """curl, wget and rclone, on nginx."""
    root = folder / "root"
    root.mkdir(parents=True)
    with nginx(folder / "nginx", root, clean_environment()) as server, Line() as line:
        line.target = int(server.address.rpartition(":")[2])
        url = f"{line.url}{NAME}"
        env = {"RCLONE_CONFIG_WEB_TYPE": "http", "RCLONE_CONFIG_WEB_URL": line.url}
        commands: dict[str, Sequence[str]] = {
            "curl": ("curl", "-sS", "-C", "-", "-O", url),
            "wget": ("wget", "-q", "-c", url),
            "rclone": ("rclone", "copy", f"web:{NAME}", ".", "--retries", "1"),
        }
        yield [Other(name, root, commands[name], line=line, env=env) for name in names]


@contextmanager
def ftp(folder: Path) -> Iterator[Peer]:
    """lftp, on vsftpd."""
    root = folder / "root"
    root.mkdir(parents=True)
    with vsftpd(folder / "vsftpd", root, clean_environment()) as server:
        get = f"set xfer:use-temp-file no; get -c {server.address}/{NAME}"
        slow = f"set net:limit-rate {SLOW}; set net:limit-max {BLOCK}; {get}"
        yield Other("lftp", root, ("lftp", "-c", get), ("lftp", "-c", slow))


@contextmanager
def sftp(folder: Path) -> Iterator[Peer]:
    """Sftp, on OpenSSH's sftp-server, which it starts itself (-D): no shell, no keys."""
    root = folder / "root"
    root.mkdir(parents=True)
    batch = folder / "batch"
    batch.write_text(f"reget {root / NAME} {NAME}\n")
    rest = ("-q", "-b", str(batch), "-D", str(SFTP_SERVER))
    yield Other("sftp", root, ("sftp", *rest), ("sftp", "-l", str(SLOW * 8 // 1000), *rest))


def missing() -> list[str]:
    """The packages of Debian that the table needs and that are not here."""
    path = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
    found = [package for name, package in PACKAGES.items() if not shutil.which(name, path=path)]
    return found if SFTP_SERVER.exists() else [*found, "openssh-sftp-server"]


def table(peers: Sequence[Peer], home: Path) -> Iterator[str]:
    """The lines of the table, each when it is known."""
    yield f"| what is there | {' | '.join(peer.name for peer in peers)} |"
    yield f"| --- |{' --- |' * len(peers)}"
    for number, case in enumerate(CASES):
        cells = [resume(peer, case, home / f"{peer.name}-{number}") for peer in peers]
        yield f"| {case.about} | {' | '.join(str(cell or '') for cell in cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.resume", description="Resume it.")
    parser.parse_args()
    if packages := missing():
        print(f"First: apt install {' '.join(packages)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        place = Path(home)
        mine = stack.enter_context(ours(place / "ours"))
        curl, wget, rclone = stack.enter_context(web(place / "web", ("curl", "wget", "rclone")))
        others = [stack.enter_context(ftp(place / "ftp")), stack.enter_context(sftp(place / "ssh"))]
        for line in table([mine, curl, wget, *others, rclone], place):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
