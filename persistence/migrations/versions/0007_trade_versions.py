"""Trades that are amended by what is told after they were recorded, and what they were before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from persistence.schema import UtcTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the table; the older program writes first versions and does not mind them."""
    op.add_column("trades", sa.Column("version", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "trade_versions",
        sa.Column("trade_id", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("replaced_at", UtcTime, nullable=False),
    )


def downgrade() -> None:
    """Refuse: it would destroy records."""
    raise NotImplementedError("going back would drop records; restore a backup instead")
