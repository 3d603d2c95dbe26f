"""Where the time of minus and of its service goes, in one row."""

import signal
import subprocess
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from bench.measure import BenchError, measure
from bench.peers import program
from bench.rows import Row, Stage

_SHOWN = 25  # lines
_SAMPLES = 200  # a second


def profile(stage: Stage, row: Row) -> None:
    """Run minus's command three times: to warm up, under cProfile, beside py-spy; print both.

    The service's part is left out without py-spy. The bytes are compared as ever.
    """
    contestant = row.contestants[0]
    script, *rest = stage.minus.command
    python = Path(script).with_name("python")
    if rest or not python.exists():
        raise BenchError(f"--profile needs the command of a virtual environment, not {script}")
    traced = [str(python), "-m", "cProfile", "-s", "tottime"]
    for kind, before in (("warm-up", []), ("cProfile", traced), ("py-spy", [])):
        job = contestant.job(f"profile-{row.name}-{kind}")
        output = stage.work / f"profile-{row.name}-{kind}.out"
        samples = output.with_suffix(".raw")
        spy = record(stage.minus.pid, samples) if kind == "py-spy" else None
        run = measure(
            [*before, *job.command], job.cwd, contestant.env, output, job.stdin, contestant.server
        )
        if spy:
            spy.send_signal(signal.SIGINT)  # it writes what it has
            spy.wait()
            print(f"\n{row.name}, the service: seconds in each function itself, all threads\n")
            print("\n".join(_busiest(samples)))
        job.check(output)
        if kind == "cProfile":
            _, _, shown = output.read_text().rpartition("   Ordered by: internal time\n")
            took = f"{run.seconds:.2f} s under cProfile"
            print(f"\n{row.name}, {contestant.name}: {took}\n")
            print("\n".join(shown.strip("\n").splitlines()[: _SHOWN + 2]))


def record(pid: int, samples: Path, *more: str) -> "subprocess.Popen[bytes] | None":
    """Note where a process is, until SIGINT, with more switches. -> None without py-spy"""
    with suppress(BenchError):
        command = [program("py-spy"), "record", "--pid", str(pid), "--format", "raw", *more]
        return subprocess.Popen(
            [*command, "--rate", str(_SAMPLES), "--output", str(samples), "--nonblocking"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    return None


def _busiest(samples: Path) -> list[str]:
    """Functions by their own samples: lines of `FRAME;FRAME COUNT`."""
    own: Counter[str] = Counter()
    for line in samples.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        own[stack.rpartition(";")[2] or "(outside of Python)"] += int(count)
    return [f"{count / _SAMPLES:8.2f}  {name}" for name, count in own.most_common(_SHOWN)]


def shares(samples: Path, packages: Collection[str]) -> dict[str, float]:
    """How much of the time belongs to which package, the largest first.

    What the standard library does counts for whichever of the packages called it.
    """
    own: Counter[str] = Counter()
    for line in samples.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        files = [frame.rpartition("(")[2] for frame in reversed(stack.split(";"))]
        roots = (file.partition("/")[0] for file in files)
        own[next((root for root in roots if root in packages), "the rest")] += int(count)
    return {name: count / own.total() for name, count in own.most_common()}
