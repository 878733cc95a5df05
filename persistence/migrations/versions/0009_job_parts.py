"""Jobs in parts, for workers on several machines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from persistence.schema import UtcTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; a job that an older program has begun has no parts, and ends by its time."""
    op.create_table(
        "job_parts",
        sa.Column("job", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("run", "body", "status", "worker", "said")),
        sa.Column("due_at", UtcTime, nullable=False),
        sa.Column("until", UtcTime),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("attempts", "series", "failed")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("records", "done", "wanted")),
    )


def downgrade() -> None:
    """Refuse: it would destroy records."""
    raise NotImplementedError("going back would drop records; restore a backup instead")
