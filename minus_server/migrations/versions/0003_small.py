"""The bytes of small files beside their rows; files and folders found by name."""

import sqlalchemy as sa
from alembic import op

revision = "0003_small"
down_revision = "0002_galleries"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "small",
        sa.Column("n", _NUMBER, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["n"], ["files.n"], name="fk_small_n", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("n", name="pk_small"),
    )
    op.create_index("ix_files_folder_n_name", "files", ["folder_n", "name"])
    op.create_index("ix_folders_owner_n_name", "folders", ["owner_n", "name"])
