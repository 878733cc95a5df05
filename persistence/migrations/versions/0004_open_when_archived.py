"""The phantoms that were open when their rows were put away: their end is still to be written."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the list to every archive; of one made before, none is known to have been open."""
    op.add_column("audit_archives", sa.Column("still_open", sa.Text, nullable=False, server_default="[]"))


def downgrade() -> None:
    """Refuse: it would destroy records."""
    raise NotImplementedError("going back would drop records; restore a backup instead")
