"""Fixtures: live services and accounts on them; what a skipped test means."""

import os
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.live import Service
from tests.stores import BACKEND

pytest_plugins = ["tests.browser", "tests.postgres"]


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that need nothing of it but to be there; it never failed."""
    running = Service(tmp_path_factory.mktemp("service") / "data")
    running.start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log()


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    """A service for one test, which may kill it."""
    running = Service(tmp_path / "data")
    running.start()
    yield running
    if running.running:
        running.stop()


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell began this in its background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    about = "what only SQLite and a folder have: flushes counted, files looked at, one process"
    config.addinivalue_line("markers", f"alone: {about}")
    config.addinivalue_line("markers", "folder: what only bytes in a folder show")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files first, so that the processes end together."""
    if BACKEND != "sqlite":
        names = {"alone", "folder"} if BACKEND == "postgres+s3" else {"alone"}
        apart = [item for item in items if any(map(item.get_closest_marker, names))]
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if item not in apart]
    items.sort(key=lambda item: item.path.name not in ("test_pages.py", "test_wire_v1.py"))


def _reason(report: pytest.TestReport) -> str:
    words = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return words.removeprefix("Skipped: ")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test has failed: a run that leaves tests out shows nothing."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"Skipped, which CI=true forbids: {_reason(report)}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once why tests were skipped, and how many."""
    skipped = Counter(_reason(report) for report in terminalreporter.getreports("skipped"))
    for reason, count in skipped.items():
        terminalreporter.write_line(f"{count} skipped. {reason}")
