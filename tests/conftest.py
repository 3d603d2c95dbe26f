"""Fixtures: live services and accounts on them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import Service


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
