"""Whose catalogue this is: the identity of its vault, in a table of one row.

Described in ``docs/formats/catalog.md``. A released migration is never edited: later ones
change what it made.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table; the program writes the row when it first opens the catalogue."""
    op.create_table(
        "vault",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.CheckConstraint("number = 1", name="vault_single"),
    )
