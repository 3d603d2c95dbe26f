"""The commands that keep and move what a service holds: check, sweep, copy, export, import."""

import sys
import time
from typing import TYPE_CHECKING, Any

from minus_server.places import Places
from minus_server.service import Service, open_service

if TYPE_CHECKING:
    from minus_server.check import Report

_TICK = 0.2  # seconds between two looks of the progress line


class Progress:
    """One line on a terminal that tells of the files so far; silent elsewhere."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._shown = 0.0
        self._width = 0
        self.files = 0
        self.bytes = 0

    def __call__(self, file: Any) -> None:
        """Count a file, or whatever has a `size`."""
        self.files += 1
        self.bytes += file.size
        if sys.stderr.isatty() and time.monotonic() - self._shown > _TICK:
            self._shown = time.monotonic()
            self._show(f"{self._verb} {self.files} files, {self.bytes} bytes")

    def _show(self, line: str) -> None:
        sys.stderr.write(f"\r{line.ljust(self._width)}")
        sys.stderr.flush()
        self._width = len(line)

    def end(self) -> None:
        """Leave nothing of the line."""
        if self._width:
            sys.stderr.write(f"\r{' ' * self._width}\r")
            sys.stderr.flush()
            self._width = 0


def opened(places: Places) -> Service:
    """Open what is there already."""
    places.need()
    return open_service(places)


def check(places: Places) -> int:
    """Read and compare everything. -> exit status"""
    from minus_server.check import check as look

    progress = Progress("read")
    report = look(opened(places), progress=progress)
    progress.end()
    return _told(report)


def _told(report: "Report") -> int:
    """Say what a check found. -> exit status"""
    print(f"{report.files} files, {report.bytes} bytes read")
    if report.uploads:
        print(f"{report.uploads} uploads under way")
    if report.strays:
        print(f"{report.strays} without a row, of uploads under way or cut off")
    for problem in report.problems:
        print(problem)
    print(f"{len(report.problems)} problems")
    return 1 if report.problems else 0


def sweep(places: Places, *, dry: bool) -> int:
    """Remove what no row names. -> exit status"""
    from minus_server.sweep import sweep as clear

    swept = clear(opened(places), dry=dry)
    print("would remove:" if dry else "removed:")
    print(f"{swept.blobs} files without a row, {swept.bytes} bytes")
    print(f"{swept.unfinished} unfinished\n{swept.thumbnails} thumbnails of what is gone")
    return 0
