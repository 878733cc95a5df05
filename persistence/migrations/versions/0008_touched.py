"""What other hands than the bot's did to a trade's position."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of trades made before, nothing is known. The older program leaves it empty."""
    op.add_column("trades", sa.Column("touched", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    """Refuse: it would destroy records."""
    raise NotImplementedError("going back would drop records; restore a backup instead")
