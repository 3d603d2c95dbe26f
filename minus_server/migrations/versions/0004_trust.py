"""Uploads under way and the room they hold, requests that may come twice, failed sign-ins."""

import sqlalchemy as sa
from alembic import op

revision = "0004_trust"
down_revision = "0003_small"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _count(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def upgrade() -> None:
    op.add_column("users", _count("reserved"))
    op.execute("INSERT INTO totals (name, value) VALUES ('reserved', 0)")
    op.create_table(
        "uploads",
        sa.Column("n", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("folder_n", _NUMBER, nullable=False),
        sa.Column("resumable", sa.Boolean(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("caption", sa.Text(), nullable=False),
        sa.Column("declared_type", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        _count("reserved"),
        _count("arrived"),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=True),
        _count("expires"),
        sa.ForeignKeyConstraint(
            ["folder_n"], ["folders.n"], name="fk_uploads_folder_n", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("n", name="pk_uploads"),
        sa.UniqueConstraint("token_hash", name="uq_uploads_token_hash"),
        sa.UniqueConstraint("blob", name="uq_uploads_blob"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_uploads_folder_n", "uploads", ["folder_n"])
    op.create_index("ix_uploads_expires", "uploads", ["expires"])
    op.create_table(
        "repeats",
        sa.Column("n", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        _count("expires"),
        sa.PrimaryKeyConstraint("n", name="pk_repeats"),
        sa.UniqueConstraint("key_hash", name="uq_repeats_key_hash"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_repeats_expires", "repeats", ["expires"])
    op.create_table(
        "failures",
        sa.Column("n", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        _count("count"),
        _count("last"),
        sa.PrimaryKeyConstraint("n", name="pk_failures"),
        sa.UniqueConstraint("key", name="uq_failures_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_failures_last", "failures", ["last"])
