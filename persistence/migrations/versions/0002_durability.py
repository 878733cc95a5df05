"""Contradicting trades, records that fled the journal, latches, and the lease of the one sender of orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from persistence.schema import UtcTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OWNER = ("source", "mode", "account")


def upgrade() -> None:
    """Create the tables; the older program does not mind them."""
    op.create_table(
        "trade_conflicts",
        sa.Column("trade_id", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("found_at", UtcTime, nullable=False),
    )
    op.create_table(
        "ledger_refuge",
        *(sa.Column(name, sa.Text, primary_key=True) for name in (*OWNER, "key")),
        sa.Column("after", sa.BigInteger, nullable=False),
        sa.Column("place", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "latches",
        *(sa.Column(name, sa.Text, primary_key=True) for name in (*OWNER, "kind")),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "leases",
        *(sa.Column(name, sa.Text, primary_key=True) for name in OWNER),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("renewed_at", UtcTime, nullable=False),
    )


def downgrade() -> None:
    """Refuse: it would destroy records."""
    raise NotImplementedError("going back would drop records; restore a backup instead")
