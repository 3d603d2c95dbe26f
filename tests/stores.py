"""Where the tests keep rows and bytes: $MINUS_TEST_BACKEND is sqlite, postgres or postgres+s3."""

import os
from pathlib import Path

from sqlalchemy import select

from minus_server.places import Places
from minus_server.schema import files, small
from minus_server.service import Service

BACKEND = os.environ.get("MINUS_TEST_BACKEND", "sqlite")


def elsewhere() -> dict[str, str]:
    """The environment that gives a service a database and a bucket of its own, empty, with
    tables; nothing for SQLite and a folder."""
    if BACKEND == "sqlite":
        return {}
    from tests.postgres import database_with_tables

    found = {"MINUS_DATABASE_URL": database_with_tables()}
    if BACKEND == "postgres+s3":
        from tests.seaweed import new_place

        found |= {"MINUS_BLOBS": new_place()}
    return found


def places(data: Path) -> Places:
    """Fresh places for rules and stores that are tested without a service."""
    found = elsewhere()
    return Places(data, found.get("MINUS_DATABASE_URL"), found.get("MINUS_BLOBS"))


def stored(service: Service) -> list[str]:
    """The keys of all blobs: those of large ones, then those that stand with their rows."""
    query = select(files.c.blob).join(small, small.c.n == files.c.n)
    with service.catalog.read() as rows:
        return [*service.blobs.large.keys(), *rows.connection.execute(query).scalars()]
