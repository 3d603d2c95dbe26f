"""What curl, wget, rclone, lftp and minus do with each attack, as a Markdown table."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.attacks import ATTACKS
from tests.hostile.kit import CHANGED, DATA, PASSWORD, TOKEN, Attack, Kit

CLIENTS = ("curl", "wget", "rclone", "lftp", "minus")
SECONDS = 150  # a client that runs longer hangs
MOST = 64 << 20  # bytes that a file may grow to
MINUS = Path(__file__).parents[2] / "minus.py"


@dataclass
class Outcome:
    """How a client fared: its exit status (None: it had to be ended), what it printed."""

    status: int | None
    printed: bytes
    verdicts: list[str]

    def __str__(self) -> str:
        if self.status is None:
            return ", ".join([*self.verdicts, "**hangs**"])
        return f"{', '.join(self.verdicts) or 'safe'} ({self.status})"


def commands(client: str, attack: Attack, url: str) -> list[list[str]]:  # noqa: PLR0911
    """What somebody would type, if need be again to go on; nothing where it is moot."""
    file, needs = f"{url}data.bin", attack.needs
    if client == "minus":
        get = [sys.executable, str(MINUS), "--url", url]
        if needs == "put" or attack.name == "upload-lies":
            return [[*get, "--put", "Stuff", "up.txt"]]
        asked = ["data*"] if attack.name == "unasked" else []
        return [[*get, "--get", "Stuff", *asked]] * (2 if needs == "resume" else 1)
    if needs == "minus" or (needs == "name" and client in ("rclone", "lftp")):
        return []
    if client == "curl":
        more = {"name": "-J", "redirect": "-L"}.get(needs)
        get = ["curl", "-f", "-O", *([more] if more else []), "-u", f"user:{PASSWORD}", file]
        return {
            "list": [],
            "put": [["curl", "-f", "-L", "-T", "up.txt", f"{url}api/v2/folders/F/files/up.txt"]],
            "resume": [get, [*get, "-C", "-"]],
        }.get(needs, [get])
    if client == "wget":
        get = ["wget", "--user=user", f"--password={PASSWORD}", file]
        return {
            "list": [["wget", "-r", "-np", "-nH", "--cut-dirs=1", url]],
            "put": [["wget", "--post-file=up.txt", f"{url}api/v2/folders/F/files"]],
            "name": [[*get, "--content-disposition"]],
            "resume": [get, [*get, "-c"]],
        }.get(needs, [get])
    if client == "rclone":
        # the service has no list of files but this page
        copy = ["rclone", "copy", "--http-url", url, ":http:", "."]
        return [] if needs == "put" else [copy] * (2 if needs == "resume" else 1)
    few = "set net:max-retries 2; set net:reconnect-interval-base 1; "
    place = url.replace("//", f"//user:{PASSWORD}@")
    script = {
        "list": f"{few}open {place}; cls; mirror . .",
        "put": f"{few}open {place}api/v2/folders/F/; put up.txt",
        "resume": f"{few}open {place}; get -c data.bin; get -c data.bin",
    }.get(needs, f"{few}open {place}; get data.bin")
    return [["lftp", "-c", script]]


def attempt(kit: Kit, client: str, attack: Attack, outer: Path, seconds: float) -> Outcome | None:
    """Let a client meet an attack in a folder of its own; None where it does not apply."""
    url = f"{kit.url}{attack.name}/"
    target, home = outer / "a/b/target", outer / "home"
    target.mkdir(parents=True)
    home.mkdir()
    (target / "up.txt").write_bytes(b"mine\n")
    todo = commands(client, attack, url)
    if not todo:
        return None
    before, status, printed = len(kit.requests), None, b""
    for command in todo:
        status, said = _run(command, target, home, seconds)
        printed += said
    return Outcome(
        status, printed, list(_verdicts(kit, attack, outer, target, status, printed, before))
    )


def _run(
    command: Sequence[str], target: Path, home: Path, seconds: float
) -> tuple[int | None, bytes]:
    account = {"MINUS_USERNAME": "user", "MINUS_PASSWORD": PASSWORD, "MINUS_API_KEY": "KEY"}
    places = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("STATE", "CONFIG", "CACHE")}
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "TERM": "xterm",
    }
    environment |= account | places | {"MINUS_API_SECRET": "SECRET"}

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MOST, MOST))

    with subprocess.Popen(
        command,
        cwd=target,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=limit,  # noqa: PLW1509
    ) as process:
        try:
            printed, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
            return None, printed
    return process.returncode, printed


def _verdicts(
    kit: Kit,
    attack: Attack,
    outer: Path,
    target: Path,
    status: int | None,
    printed: bytes,
    before: int,
) -> "list[str]":
    found = []
    ours = (outer / "a", outer / "a/b", target, outer / "home")
    outside = [
        path
        for path in outer.rglob("*")
        if path not in ours
        and not path.is_relative_to(target)
        and outer / "home" not in path.parents
    ]
    if outside or Path("/minus-kit-climbed").exists():
        found.append("**wrote outside**")
    files = [path for path in target.rglob("*") if path.is_file() and path.name != "up.txt"]
    if any(path.name in (".bashrc", "owned") for path in files):
        found.append("**the service chose .bashrc**")
    if any(path.stat().st_size >= MOST for path in files) or b"file too large" in printed.lower():
        found.append("**filled the disk**")
    kept = [path.read_bytes()[: MOST // 2] for path in files if not path.name.endswith(".html")]
    wrong = [data for data in kept if data not in (DATA, CHANGED)] if attack.needs != "list" else []
    if attack.name == "wrong-bytes":
        wrong = kept
    if wrong and "**filled the disk**" not in found:
        part = "half a file" if all(DATA.startswith(data) for data in wrong) else "wrong bytes"
        found.append(f"**kept {part} as whole**" if status == 0 else f"left {part} under the name")
    if status == 0 and not kept and attack.needs not in ("list", "put", "minus"):
        found.append("**got nothing, says done**")
    if re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]|\x1b[\]]|\x1b\[2J|\xc2[\x80-\x9f]", printed):
        found.append("**drove the terminal**")
    sent = [request for request in kit.requests[before:] if not request.here]
    secrets = [request for request in sent if "authorization" in request.headers]
    if secrets or any(PASSWORD in r.target or TOKEN in r.target for r in sent):
        found.append("**sent the password elsewhere**")
    if any(request.body for request in sent):
        found.append("**sent the file elsewhere**")
    if any("cookie" in request.headers for request in sent):
        found.append("sent the cookie elsewhere")
    return found


def versions() -> str:
    """The first line of what each client says of itself."""
    told = []
    for client in CLIENTS:
        program = [sys.executable, str(MINUS)] if client == "minus" else [client]
        if client == "minus" or shutil.which(client):
            flag = "version" if client == "rclone" else "--version"
            said = subprocess.run([*program, flag], capture_output=True, text=True, check=False)
            number = re.search(r"\d+(\.\d+)+", said.stdout)
            told.append(f"{client} {number[0] if number else '?'}")
    return ", ".join(told)


def table(names: Sequence[str] = (), seconds: float = SECONDS) -> str:
    """Try every client that is installed on every attack. -> the table"""
    clients = [c for c in CLIENTS if c == "minus" or shutil.which(c)]
    attacks = [attack for attack in ATTACKS if not names or attack.name in names]

    def row(attack: Attack, client: str) -> str:
        # a kit for each, so that what comes astray is known to be this client's
        with tempfile.TemporaryDirectory() as scratch, Kit(ATTACKS) as kit:
            outcome = attempt(kit, client, attack, Path(scratch), seconds)
        return str(outcome) if outcome else "-"

    slow_first = sorted(attacks, key=lambda attack: "drip" not in attack.name)
    with ThreadPoolExecutor(16) as pool:
        cells = {
            (attack.name, client): pool.submit(row, attack, client)
            for attack in slow_first
            for client in clients
        }
        lines = [
            f"| {attack.does} | {' | '.join(cells[attack.name, c].result() for c in clients)} |"
            for attack in attacks
        ]
    head = f"| attack | {' | '.join(clients)} |\n| --- |{' --- |' * len(clients)}"
    return f"{versions()}\n\n{head}\n" + "\n".join(lines)
