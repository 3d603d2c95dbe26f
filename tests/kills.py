"""`python -m tests.kills [N]`: kill -9 the service N times while clients put and get files.

Each client runs the real command, again until it succeeds, for round after round: puts some small
files and a large one, gets them into an empty folder, and compares. After each restart
`minus-server check` has to find no problem; at the end every file whose put was acknowledged has
to be there, once, byte for byte.
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
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import PATIENCE, Fault, Line, noise
from tests.live import Service, clean_environment
from tests.rawhttp import ALL, PASSWORD, Client
from tests.shell_helpers import MINUS, configure

CLIENTS = 3  # at once
SMALL_FILES, LARGE = 6, 9 << 20  # of a round: how many, and the bytes of the one beside
LATE = 0.002  # seconds that each 64 KiB take: so most kills fall into a transfer
LONGEST = 1.5  # seconds that a service lives at the most
_STORED = re.compile(r'--> PUT "(.+)" OK')


@dataclass
class Figures:
    """What happened, and what must not have: `lost`, `wrong`, `twins`, `problems`, `told`."""

    kills: int = 0
    commands: int = 0
    interrupted: int = 0  # commands that a kill made fail
    acknowledged: int = 0  # files
    got: int = 0  # files
    lost: int = 0  # acknowledged, and not there
    wrong: int = 0  # other bytes under a final name, on either side
    twins: int = 0  # files that are there twice
    problems: list[str] = field(default_factory=list)  # of `minus-server check`
    untold: list[str] = field(default_factory=list)  # failures without a word, or a traceback

    @property
    def good(self) -> bool:
        failures = self.lost, self.wrong, self.twins, self.problems, self.untold
        return not any(failures) and self.acknowledged > 0 and self.got > 0


class _Client(threading.Thread):
    """Somebody who puts and gets until told to stop, and tries again when it fails."""

    def __init__(self, home: Path, name: str, figures: Figures, stop: threading.Event) -> None:
        super().__init__()
        self._home, self._figures, self._stopping = home, figures, stop
        self.folder = name
        self.acknowledged: dict[str, str] = {}  # names, and the SHA-256 of their bytes
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            number = 0
            while not self._stopping.is_set():
                self._round(number)
                number += 1
        except BaseException as error:  # noqa: BLE001  it is raised by who joins
            self.error = error

    def _round(self, number: int) -> None:
        files = {
            f"{number}-{n}.bin": noise(f"{self.folder} {number} {n}", LARGE if n == 0 else 500 * n)
            for n in range(SMALL_FILES + 1)
        }
        given = self._home / f"{self.folder}-given"
        target = self._home / f"{self.folder}-{number}"
        for place in (given, target):
            place.mkdir(exist_ok=True)
        for name, data in files.items():
            (given / name).write_bytes(data)
        paths = [str(given / name) for name in files]
        put = ("--on-conflict", "skip", "--put", self.folder, *paths)
        self._until_done(target, put, files)
        self._until_done(target, ("--get", self.folder, f"{number}-*.bin"), files)
        self._figures.got += len(self._compared(target, files))
        for place in (given, target):
            for path in place.iterdir():
                path.unlink()

    def _until_done(self, cwd: Path, args: tuple[str, ...], files: dict[str, bytes]) -> None:
        end = time.monotonic() + PATIENCE
        while self._command(cwd, args, files):
            if time.monotonic() > end:
                raise TimeoutError(f"no end of {args[:3]}")
            self._stopping.wait(0.05)

    def _command(self, cwd: Path, args: tuple[str, ...], files: dict[str, bytes]) -> int:
        """Run the command once, and take note of what it says and leaves. -> its exit status"""
        names = {f"XDG_{name}_HOME": str(self._home / name) for name in ("STATE", "DATA", "CONFIG")}
        account = {"MINUS_USERNAME": "killed", "MINUS_PASSWORD": PASSWORD}
        # one of them gives up at once, so that kills are seen to meet transfers
        account["MINUS_RETRIES"] = "0" if self.folder == "F0" else "3"
        done = subprocess.run(
            [sys.executable, str(MINUS), *args],
            cwd=cwd,
            env=clean_environment(HOME=str(self._home), **names, **account),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        figures = self._figures
        figures.commands += 1
        for name in _STORED.findall(done.stdout):
            self.acknowledged[name] = hashlib.sha256(files[name]).hexdigest()
        self._compared(cwd, files)
        if done.returncode:
            figures.interrupted += 1
            if done.returncode not in (5, 11) or not done.stderr or "Traceback" in done.stderr:
                figures.untold.append(f"exit status {done.returncode}: {done.stderr[-500:]}")
        return done.returncode

    def _compared(self, folder: Path, files: dict[str, bytes]) -> list[str]:
        """The files under their final names, each compared."""
        names = [path.name for path in folder.iterdir() if not path.name.startswith(".minus-")]
        self._figures.wrong += sum((folder / n).read_bytes() != files[n] for n in names)
        return names


def run(home: Path, kills: int, seed: int, clients: int = CLIENTS) -> Figures:
    """Kill a service so many times. -> how it went"""
    with Line() as line:
        line.inject(Fault("delay"), LATE)
        return _run(home, kills, random.Random(seed), clients, line)  # noqa: S311


def _run(home: Path, kills: int, chance: random.Random, several: int, line: Line) -> Figures:
    figures, stop = Figures(), threading.Event()
    service = Service(home / "data", ("--base-url", line.url))
    service.start()
    line.target = service.port
    service.add_user("killed", PASSWORD)
    configure(home, service, url=line.url)
    clients = [_Client(home, f"F{number}", figures, stop) for number in range(several)]
    try:
        for client in clients:
            client.start()
        for _ in range(kills):
            stop.wait(chance.uniform(0, LONGEST))
            service.kill()
            figures.kills += 1
            service.start(service.port)
            done = service.run("check")
            if done.returncode or not done.stdout.endswith("\n0 problems\n"):
                figures.problems.append(done.stdout + done.stderr)
            if not figures.kills % 10:
                print(f"{figures.kills} kills, {figures.commands} commands", flush=True)
        stop.set()
        for client in clients:
            client.join()
            if client.error:
                raise client.error
        user = Client(service, "killed", "").limited(ALL)
        for client in clients:
            _count(user, client, figures)
        if "Traceback" in service.log():
            figures.problems.append(service.log()[-2000:])
    finally:
        stop.set()
        service.kill()
    return figures


def _count(user: Client, client: _Client, figures: Figures) -> None:
    """Compare what the service has of a client's with what it has acknowledged."""
    listed = user.get(f"users/{user.slug}/folders?name={client.folder}&per_page=1000")["results"]
    files = [f"folders/{folder['id']}/files?per_page=1000&cursor=" for folder in listed]
    rows = []
    while files:
        page = user.get(files.pop())
        rows += page["results"]
        if page["next"]:
            files.append(page["next"].partition("/api/v2/")[2])
    have = Counter(row["name"] for row in rows)
    figures.acknowledged += len(client.acknowledged)
    figures.lost += len(set(client.acknowledged) - set(have))
    figures.twins += sum(have.values()) - len(have)
    for row in rows:
        found = hashlib.sha256(user.raw(row).body).hexdigest()
        figures.wrong += found != client.acknowledged.get(row["name"], row["sha256"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description="Kill the service.")
    parser.add_argument("kills", nargs="?", type=int, default=50)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        figures = run(Path(home), options.kills, options.seed)
    for text in (*figures.problems, *figures.untold):
        print(text, file=sys.stderr)
    print(
        f"{figures.kills} kills in {time.monotonic() - began:.0f} s: {figures.commands} commands,"
        f" {figures.interrupted} of them interrupted;\n"
        f"{figures.acknowledged} files acknowledged, {figures.got} got back;"
        f" lost: {figures.lost}, wrong: {figures.wrong}, twins: {figures.twins},"
        f" problems found by check: {len(figures.problems)},"
        f" failures without a word: {len(figures.untold)}"
    )
    return 0 if figures.good else 1


if __name__ == "__main__":
    sys.exit(main())
