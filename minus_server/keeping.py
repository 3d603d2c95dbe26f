"""The commands that keep and move what a service holds: check, sweep, copy, export, import."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minus_server.errors import CannotServe
from minus_server.places import Places
from minus_server.service import Service, open_service

if TYPE_CHECKING:
    from minus_server.check import Report
    from minus_server.moving import Source

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


@contextmanager
def _alone(places: Places) -> Iterator[None]:
    """A block in which nobody serves a folder. Raises CannotServe where somebody does."""
    from minus_server.daemon import Lock

    places.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = Lock(places.data)
    if places.has_folder and not lock.take():
        raise CannotServe(f"{places.data} is in use")
    try:
        yield
    finally:
        lock.release()


def copy(source: Places, target: Places, *, live: bool, verify: bool) -> int:
    """Move everything from one place to another. -> exit status"""
    from minus_server.moving import FromService

    service = opened(source)
    try:
        return _moved(FromService(source, service, live=live), target, verify=verify)
    finally:
        service.close()


def import_(folder: Path, target: Places, *, verify: bool) -> int:
    """Read an export back. -> exit status"""
    from minus_server.exported import FromExport

    source = FromExport(folder)
    source.read_through()  # before the target is touched
    return _moved(source, target, verify=verify)


def export(places: Places, folder: Path) -> int:
    """Write everything as files for a web server. -> exit status"""
    from minus_server.export import export as write

    begun, progress, service = time.monotonic(), Progress("exported"), opened(places)
    try:
        made = write(service, folder, progress)
    finally:
        progress.end()
        service.close()
    for file_id, problem in made.damaged.items():
        print(f"file {file_id}: {problem}; its row is there")
    seconds = time.monotonic() - begun
    print(
        f"{made.files} files, {made.bytes} bytes, {made.galleries} galleries,"
        f" {seconds:.1f} seconds; {made.written} written, {made.removed} removed,"
        f" {len(made.damaged)} damaged"
    )
    return 1 if made.damaged else 0


def _moved(source: "Source", target: Places, *, verify: bool) -> int:
    """Move, tell of it, check the target. -> exit status"""
    from minus_server.check import check as look
    from minus_server.moving import move

    begun, progress = time.monotonic(), Progress("moved")
    with _alone(target):
        try:
            moved = move(source, target, progress)
        finally:
            progress.end()
        for file_id, problem in moved.damaged.items():
            print(f"file {file_id}: {problem}; its row is there")
        if moved.anew:
            print(f"{moved.anew} unfinished uploads begin anew: their bytes stayed behind")
        seconds = time.monotonic() - begun
        print(
            f"{moved.files} files, {moved.bytes} bytes, {seconds:.1f} seconds;"
            f" {moved.sent} sent, {len(moved.damaged)} damaged",
            flush=True,
        )
        if not verify:
            return 1 if moved.damaged else 0
        service, progress = open_service(target), Progress("read")
        report = look(service, moved.damaged, progress)
        report.problems += [f"file {file_id}: it is damaged" for file_id in moved.damaged]
        status = _told(report, progress)
        service.close()
    return status


def check(places: Places) -> int:
    """Read and compare everything. -> exit status"""
    from minus_server.check import check as look

    progress = Progress("read")
    return _told(look(opened(places), progress=progress), progress)


def _told(report: "Report", progress: Progress) -> int:
    """Say what a check found. -> exit status"""
    progress.end()
    print(f"{report.files} files, {report.bytes} bytes read")
    if report.uploads:
        print(f"{report.uploads} uploads under way")
    if report.strays:
        print(f"{report.strays} without a row, of uploads under way or cut off")
    for problem in report.problems:
        print(problem)
    print(f"{len(report.problems)} problems")
    return 1 if report.problems else 0


def sweep(places: Places, *, dry: bool, foreign: bool) -> int:
    """Remove what no row names. -> exit status"""
    from minus_server.sweep import sweep as clear

    swept = clear(opened(places), dry=dry, foreign=foreign)
    print("would remove:" if dry else "removed:")
    print(f"{swept.blobs} files without a row, {swept.bytes} bytes")
    print(f"{swept.unfinished} unfinished\n{swept.thumbnails} thumbnails of what is gone")
    return 0
