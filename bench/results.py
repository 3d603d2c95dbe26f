"""What was measured, as medians and ratios, a table, JSON."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from bench.measure import Run

MOST_CLIENT = 60 << 20  # bytes of memory that minus may take, whatever it does
MOST_GROWTH = 1.1  # the service's peak in the last round of a row, against the first
_HEAD = (
    *("row", "who", "median", "min to max", "minus / it", "target", ""),
    *("CPU s, client", "server", "client MiB"),
)


@dataclass
class Line:
    """The runs of one contestant; `target` as in rows.Contestant."""

    name: str
    target: float | None = None
    count: int = 1
    runs: list[Run] = field(default_factory=list)

    @property
    def times(self) -> list[float]:
        """Seconds of each run, of one file where files are counted."""
        return [run.seconds / self.count for run in self.runs]

    @property
    def median(self) -> float:
        return median(self.times)

    @property
    def client_cpu(self) -> float:
        return median(run.client_cpu for run in self.runs)

    @property
    def server_cpu(self) -> float:
        return median(run.server_cpu for run in self.runs)

    @property
    def client_peak(self) -> int:
        return max(run.client_peak for run in self.runs)


@dataclass
class Result:
    """A row: lines, minus first; the service's peak memory in each measured round, bytes."""

    name: str
    title: str
    lines: list[Line]
    service: list[int] = field(default_factory=list)

    def ratio(self, line: Line) -> float:
        """Minus's median against another's."""
        return self.lines[0].median / line.median

    def met(self, line: Line) -> bool | None:
        """Whether minus keeps to its target against another; None without one."""
        return None if line.target is None else self.ratio(line) <= line.target

    @property
    def growth(self) -> float:
        """The service's peak in the last round against that in the first."""
        return self.service[-1] / self.service[0]


@dataclass
class Report:
    """All of one run of the benchmark."""

    date: str
    machine: str
    revision: str
    rounds: int
    results: list[Result]

    @property
    def client_peak(self) -> int:
        """Bytes, of minus alone, over all rows."""
        return max(run.client_peak for each in self.results for run in each.lines[0].runs)


def machine() -> str:
    """The processors, their number, the memory, the system."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release()}"


def shown_time(line: Line) -> str:
    """A median with its unit."""
    return f"{_time(line.median, line.count)} {_unit(line.count)}"


def _unit(count: int) -> str:
    return "s" if count == 1 else "ms a file"


def _time(seconds: float, count: int) -> str:
    return f"{seconds * 1000:.3f}" if count > 1 else f"{seconds:.{2 if seconds >= 1 else 3}f}"


def _cells(result: Result) -> Iterator[Sequence[str]]:
    for line in result.lines:
        ours = line is result.lines[0]
        low, high = (_time(edge(line.times), line.count) for edge in (min, max))
        yield (
            result.name if ours else "",
            line.name,
            shown_time(line),
            f"{low} to {high}",
            "" if ours else f"{result.ratio(line):.2f}",
            "" if line.target is None else f"{line.target:g}",
            {True: "met", False: "MISSED", None: ""}[result.met(line)],
            f"{line.client_cpu:.2f}",
            f"{line.server_cpu:.2f}",
            _mib(line.client_peak),
        )


def table(report: Report) -> str:
    """A Markdown table with straight columns, then memory and the misses."""
    rows = [_HEAD, *(cells for result in report.results for cells in _cells(result))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    lines = ["| " + " | ".join(map(str.ljust, cells, widths)) + " |" for cells in rows]
    return "\n".join([_about(report), "", *lines, "", *_memory(report), "", *_verdict(report), ""])


def _about(report: Report) -> str:
    rounds = f"{report.rounds} rounds after a warm-up" if report.rounds > 1 else "1 round"
    return f"{report.date}, {report.revision}, {report.machine}, {rounds}."


def _memory(report: Report) -> Iterator[str]:
    client, most = _mib(report.client_peak), _mib(MOST_CLIENT)
    word = "met" if report.client_peak <= MOST_CLIENT else "MISSED"
    yield f"The client's peak memory, over all rows: {client} MiB (at most {most}: {word})."
    yield "The service's peak memory, in the first and the last round:"
    yield ""
    for each in report.results:
        word = "flat" if each.growth <= MOST_GROWTH else "GROWS"
        yield f"- {each.name}: {_mib(each.service[0])}, {_mib(each.service[-1])} MiB: {word}"


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f}"


def _verdict(report: Report) -> Iterator[str]:
    judged = [(each, line) for each in report.results for line in each.lines if line.target]
    missed = [(each, line) for each, line in judged if not each.met(line)]
    yield f"{len(judged) - len(missed)} of {len(judged)} targets of time met."
    for each, line in missed:
        yield f"- missed: {each.name}, {line.name}: {each.ratio(line):.2f}, at most {line.target:g}"


def to_json(report: Report) -> str:
    """Everything, with the figures that were made of the runs."""
    whole = asdict(report)
    whole["client_peak"] = report.client_peak
    for shown, result in zip(whole["results"], report.results, strict=True):
        for cells, line in zip(shown["lines"], result.lines, strict=True):
            cells |= {"median": line.median, "ratio": result.ratio(line), "met": result.met(line)}
    return json.dumps(whole, indent=1) + "\n"
