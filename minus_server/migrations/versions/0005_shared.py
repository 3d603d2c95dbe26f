"""What processes that share a catalog tell each other; what is counted as it comes."""

import sqlalchemy as sa
from alembic import op

from minus_server.names import new_id

revision = "0005_shared"
down_revision = "0004_trust"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _count(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def upgrade() -> None:
    op.add_column("users", _count("folders"))
    op.execute(
        "UPDATE users SET folders = (SELECT count(*) FROM folders WHERE folders.owner_n = users.n)"
    )
    op.add_column("folders", _count("bytes"))
    op.execute(
        "UPDATE folders SET bytes ="
        " (SELECT coalesce(sum(size), 0) FROM files WHERE files.folder_n = folders.n)"
    )
    with op.batch_alter_table("uploads", table_kwargs={"sqlite_autoincrement": True}) as uploads:
        uploads.alter_column("folder_n", existing_type=_NUMBER, nullable=True)
        uploads.add_column(sa.Column("holder", sa.Text(), nullable=True))
        uploads.add_column(_count("held_until"))
        uploads.add_column(
            sa.Column("wanted", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
        uploads.create_index("ix_uploads_holder", ["holder"])
        uploads.create_index("ix_uploads_resumable_held_until", ["resumable", "held_until"])
    op.add_column("failures", _count("trying"))
    op.create_table(
        "misses",
        sa.Column("n", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        _count("level"),
        _count("since"),
        sa.PrimaryKeyConstraint("n", name="pk_misses"),
        sa.UniqueConstraint("key", name="uq_misses_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_misses_since", "misses", ["since"])
    named = op.create_table(
        "identity",
        sa.Column("n", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("n", name="pk_identity"),
        sqlite_autoincrement=True,
    )
    op.bulk_insert(named, [{"id": new_id()}])
