"""Galleries without an account, sessions of the pages, limits by the hour."""

import sqlalchemy as sa
from alembic import op

revision = "0002_galleries"
down_revision = "0001_first"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _count(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def upgrade() -> None:
    _add_columns()
    op.create_table(
        "gone",
        sa.Column("n", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("user_n", _NUMBER, nullable=False),
        sa.Column("folder_id", sa.Text(), nullable=False),
        sa.Column("folder_name", sa.Text(), nullable=False),
        _count("last"),
        sa.ForeignKeyConstraint(["user_n"], ["users.n"], name="fk_gone_user_n", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("n", name="pk_gone"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_gone_user_n_last", "gone", ["user_n", "last"])
    op.create_table(
        "sessions",
        sa.Column("n", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("user_n", _NUMBER, nullable=False),
        sa.Column("once", sa.Boolean(), nullable=False),
        _count("expires"),
        sa.ForeignKeyConstraint(
            ["user_n"], ["users.n"], name="fk_sessions_user_n", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("n", name="pk_sessions"),
        sa.UniqueConstraint("token_hash", name="uq_sessions_token_hash"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sessions_user_n", "sessions", ["user_n"])
    op.create_index("ix_sessions_expires", "sessions", ["expires"])
    op.create_table(
        "limits",
        sa.Column("n", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        _count("since"),
        _count("count"),
        sa.PrimaryKeyConstraint("n", name="pk_limits"),
        sa.UniqueConstraint("key", name="uq_limits_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_limits_since", "limits", ["since"])
    totals = op.create_table(
        "totals",
        sa.Column("n", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        _count("value"),
        sa.PrimaryKeyConstraint("n", name="pk_totals"),
        sa.UniqueConstraint("name", name="uq_totals_name"),
        sqlite_autoincrement=True,
    )
    op.bulk_insert(totals, [{"name": "anonymous", "value": 0}])


def _add_columns() -> None:
    """Not in a batch: that would drop tables which others refer to."""
    op.add_column("folders", sa.Column("editor_id", sa.Text(), nullable=True))
    op.add_column("folders", _count("last_visit"))
    op.execute("UPDATE folders SET last_visit = updated")
    op.create_index("ix_folders_editor_id", "folders", ["editor_id"], unique=True)
    op.create_index("ix_folders_owner_n_last_visit", "folders", ["owner_n", "last_visit"])
    op.add_column("clients", sa.Column("maker_n", _NUMBER, nullable=True))
    op.create_index("ix_clients_maker_n", "clients", ["maker_n"])
