"""Fixtures for the tests of the library: accounts and connections; helpers.py has the rest."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from responses import RequestsMock

from minus import MinusConnection, MinusFolder
from tests.helpers import PASSWORD, Far, sign_in
from tests.live import Service


@pytest.fixture(scope="session")
def alice(service: Service) -> str:
    """An account, and its name with capitals."""
    service.add_user("LibAlice", PASSWORD)
    return "LibAlice"


@pytest.fixture(scope="session")
def api(service: Service, alice: str) -> Iterator[MinusConnection]:
    """Signed in as `alice`."""
    connection = sign_in(service, alice)
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def bob(service: Service) -> Iterator[MinusConnection]:
    """Signed in as somebody else, with little room."""
    service.add_user("libbob", PASSWORD, quota=1000)
    connection = sign_in(service, "libbob")
    yield connection
    connection.close()


@pytest.fixture
def folder(api: MinusConnection) -> MinusFolder:
    """A new, private folder."""
    return api.activeuser().new_folder("Stuff")


@pytest.fixture
def far() -> Iterator[Far]:
    """Signed in where anything is answered; every answer that a test tells must be fetched."""
    with RequestsMock() as wire:
        connection = Far(wire)
        yield connection
        connection.close()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment that names no service and no proxy. -> its home folder"""
    for name in ("URL", "CONFIG", "USERNAME", "PASSWORD", "API_KEY", "API_SECRET", "DATA"):
        monkeypatch.delenv(f"MINUS_{name}", raising=False)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the code wanted to sleep, and did not."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds
