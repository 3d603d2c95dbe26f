"""One command, measured once; what processes used, from /proc."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LAUNCH = Path(__file__).with_name("launch.py")
_SETTLE = 0.3  # seconds between the flush of what lies behind and the next command
_TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The benchmark cannot go on: a package is missing, a command failed, bytes are wrong."""


@dataclass(frozen=True)
class Run:
    """What one command took: seconds, and bytes of peak memory."""

    seconds: float
    client_cpu: float
    server_cpu: float
    client_peak: int


def measure(
    command: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    output: Path,
    stdin: str = "",
    server: int = 0,
) -> Run:
    """Run a command; its standard output goes to `output`, its errors beside it.

    Everything written before is flushed first, so that nobody waits for another's pages.
    `server` is the process id of its server, 0 without one. Raises BenchError when it fails.
    """
    result, errors = output.with_suffix(".json"), output.with_suffix(".err")
    given = output.with_suffix(".in")
    given.write_text(stdin)
    os.sync()
    time.sleep(_SETTLE)
    before = cpu_seconds(server)
    with given.open() as source, output.open("w") as out, errors.open("w") as err:
        launcher = [sys.executable, "-I", str(_LAUNCH), str(result), *command]
        status = subprocess.call(launcher, cwd=cwd, env=env, stdin=source, stdout=out, stderr=err)
    after = cpu_seconds(server)
    took = json.loads(result.read_text()) if status == 0 else {"status": status}
    if took["status"]:
        shown = " ".join(command)[:200]
        raise BenchError(f"exit status {took['status']}: {shown}\n{errors.read_text()[-2000:]}")
    return Run(took["seconds"], took["cpu"], after - before, took["peak"])


def tree(pid: int) -> list[int]:
    """A process and all below it that are alive; none for 0."""
    found = [pid] if pid else []
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:  # it ended meanwhile
                continue
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, of all below it and of those that have ended there."""
    ticks = 0
    for each in tree(pid):
        try:
            stat = Path(f"/proc/{each}/stat").read_text()
        except OSError:
            continue
        # utime, stime, cutime, cstime; a name may have spaces, it ends with the last parenthesis
        ticks += sum(map(int, stat.rpartition(")")[2].split()[11:15]))
    return ticks / _TICKS


def forget_peak(pid: int) -> None:
    """Let the peaks of `peak_memory` begin anew."""
    for each in tree(pid):
        Path(f"/proc/{each}/clear_refs").write_text("5")


def peak_memory(pid: int) -> int:
    """Bytes, of a process and all below it, since `forget_peak`."""
    total = 0
    for each in tree(pid):
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                total += int(line.split()[1]) * 1024
    return total
