"""No query without its index: what the service asks its database, explained by the database."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, LargeBinary, Table, create_engine, insert, text
from sqlalchemy.types import Boolean, Text

from minus_server.catalog import Catalog
from minus_server.places import Places
from minus_server.schema import metadata
from tests.live import Service
from tests.postgres import database_with_tables
from tests.rawhttp import call
from tests.recorder import STATEMENTS, Statement, methods, noted, recording
from tests.session import everything, moved, own_machine

ROWS = 2_000  # of each table that PostgreSQL plans for

FIRST = 3 * 10**9  # their numbers, and moments after all that a query of now takes for past

# What looks at every row of a table, by words that only it has, and why it may.
WALKS = {
    "alembic_version": "one row",
    "pg_catalog.": "the database's own tables",
    "sqlite_master": "the database's own tables",
    "FROM identity": "a row",
    "FROM totals AS every": "two rows",
    "row_number() OVER (PARTITION BY gone.user_n": "once an hour; of each user some folders stay",
    "FROM uploads WHERE uploads.file_id IS NULL": "once a start, and check",
    "FROM users ORDER BY users.n": "minus-server users shows them all",
    "users.n = coalesce(clients.owner_n, clients.maker_n)": "minus-server clients, likewise",
    "FROM sqlite_sequence": "a row a table",
    "SELECT files.blob FROM files": "check and sweep compare them all",
    "!= (SELECT": "check counts anew",
    "AS coalesce_1 FROM files LEFT OUTER JOIN folders": "likewise",
    "AS coalesce_1 FROM uploads LEFT OUTER JOIN folders": "likewise",
}
# What SQLite sorts by itself, as the rows have another order where they are found.
SORTED = {
    "files.name": "of a name, or of names that fit: found by it",
    "folders.name = ?": "likewise",
    "folders.name GLOB ?": "likewise",
    "uploads.file_id IS NULL AND uploads.n": "sweep, some at a time",
    "uploads.expires <= ?": "once an hour, those that can go on and did not",
    "FROM follows": "found by whom they follow",
    "JOIN follows": "likewise",
    "messages.target_n": "what a user wrote, and what was written to them",
    "AS anon_1 ORDER BY": "a timeline, put together from what is somebody's and what they saw",
}
# What a process does not ask that has its catalog to itself, and one that shares it.
UNCALLED_ALONE = {"hold_upload", "keep_holding", "let_upload_go", "is_empty"}
UNCALLED_SHARED = {"unfinished_blobs"}
Asked = tuple[Catalog, list[Statement]]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def asked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    """The catalog of a service that has done everything, and what it was asked."""
    folders = [tmp_path_factory.mktemp(request.param) / "data" for _ in range(3)]
    places = [Places(folder) for folder in folders]
    if request.param == "postgres":
        places = [Places(folder, database_with_tables()) for folder in folders]
    yield from _asked(places)


def _asked(places: Sequence[Places]) -> Iterator[Asked]:
    first, *targets = places
    notes = str(first.data.parent / "notes")
    environment = {"MINUS_DATABASE_URL": first.database or "", STATEMENTS: notes}
    options = "--registration", "open", "--trusted-proxy", "127.0.0.1"
    program = "-m", "tests.recorder"
    service = Service(first.data, options, program=program, environment=environment)
    service.start()
    try:
        everything(service)
        call(service.port, "GET", "/readyz")
    finally:
        service.stop()
    assert "Traceback" not in service.log()
    moved(service, targets)
    with recording(notes):
        own_machine(first)
    catalog = first.catalog()
    yield catalog, noted(notes)
    catalog.close()


def test_the_session_calls_every_statement_of_the_catalog(asked: Asked) -> None:
    catalog, statements = asked
    called = {statement.method for statement in statements}
    uncalled = UNCALLED_SHARED if catalog.is_shared else UNCALLED_ALONE
    assert methods() - called == uncalled


def _words(statement: Statement) -> str:
    return " ".join(statement.text.split())


def _to_explain(statements: Sequence[Statement]) -> list[Statement]:
    """Those that look for rows, but for what may walk."""
    kinds = re.compile("(?:SELECT|UPDATE|DELETE|WITH|INSERT .* SELECT) ")
    found = [one for one in statements if kinds.match(_words(one))]
    return [one for one in found if not any(words in _words(one) for words in WALKS)]


def test_no_statement_walks_through_a_table(asked: Asked) -> None:
    catalog, statements = asked
    engine = create_engine(catalog.engine.url)
    wrong: list[str] = []
    with engine.begin() as connection:
        walks = _walks_of_sqlite
        if catalog.is_shared:
            _fill(connection)
            walks = _walks_of_postgres
        for statement in _to_explain(statements):
            wrong += (f"{walk}: {_words(statement)}" for walk in walks(connection, statement))
    engine.dispose()
    assert wrong == []


def test_every_statement_that_may_walk_is_one_that_is_asked(asked: Asked) -> None:
    catalog, statements = asked
    alone = "sqlite_master", "FROM sqlite_sequence", "FROM uploads WHERE uploads.file_id IS NULL"
    other = alone if catalog.is_shared else ("pg_catalog.",)
    unknown = [
        words for words in WALKS if not any(words in _words(statement) for statement in statements)
    ]
    assert set(unknown) <= set(other)


def _walks_of_sqlite(connection: Connection, statement: Statement) -> Iterator[str]:
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.text}", statement.parameters)
    for row in plan:
        if re.match(r"SCAN (?!CONSTANT|anon_|\()", row[3]):
            yield row[3]
        if "TEMP B-TREE" in row[3] and not any(words in _words(statement) for words in SORTED):
            yield row[3]


def _walks_of_postgres(connection: Connection, statement: Statement) -> Iterator[str]:
    """With sequential scans forbidden, one is left only where there is no index."""
    asked = f"EXPLAIN (FORMAT JSON) {statement.text}"
    plan = connection.exec_driver_sql(asked, statement.parameters).scalar_one()
    yield from _walks(plan[0]["Plan"], "")


def _walks(node: dict[str, Any], above: str) -> Iterator[str]:
    kind = node["Node Type"]
    few = above == "Limit" and "Filter" not in node  # as many as are shown
    if kind == "Seq Scan" or ("Index" in kind and "Index Cond" not in node and not few):
        yield f"{kind} on {node.get('Relation Name') or node.get('Index Name')}"
    for below in node.get("Plans", []):
        yield from _walks(below, kind)


def _fill(connection: Connection) -> None:
    """Many rows in every table, so that a plan is that of a service in use."""
    for table in metadata.sorted_tables:
        if table.name != "totals":
            connection.execute(insert(table), [_row(table, n) for n in range(FIRST, FIRST + ROWS)])
    connection.execute(text("ANALYZE"))
    connection.execute(text("SET LOCAL enable_seqscan = off"))


def _row(table: Table, n: int) -> dict[str, object]:
    values: dict[str, object] = {}
    for column in table.columns:
        kinds: dict[type, object] = {
            Text: f"{column.name}{n}",
            Boolean: n % 2 == 0,
            LargeBinary: b"",
        }
        values[column.name] = next(
            (value for kind, value in kinds.items() if isinstance(column.type, kind)), n
        )
    return values


def test_every_reference_is_followed_back_by_an_index() -> None:
    """Else the end of a row walks through the table of those that refer to it."""
    for table in metadata.sorted_tables:
        led = {next(iter(index.columns)).name for index in table.indexes}
        led |= {next(iter(table.primary_key.columns)).name}
        led |= {
            next(iter(constraint.columns)).name
            for constraint in table.constraints
            if constraint is not table.primary_key and hasattr(constraint, "columns")
            if type(constraint).__name__ == "UniqueConstraint"
        }
        assert {key.parent.name for key in table.foreign_keys} <= led, table.name
