"""The phantoms' audit that nobody can change, state for those without Redis, and the registry of models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from persistence.schema import Money, UtcTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

REFUSED = "is append-only: archive it with manage.py audit archive"
ARCHIVED = "SELECT 1 FROM audit_archives a WHERE a.chain = OLD.chain AND OLD.n <= a.until_n"

POSTGRES = (
    f"""CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'phantom_trades_live' THEN
            IF EXISTS ({ARCHIVED}) THEN RETURN OLD; END IF;
        END IF;
        RAISE EXCEPTION '% {REFUSED}', TG_TABLE_NAME USING ERRCODE = '42501';
    END $$""",
    *(
        f"CREATE TRIGGER {table}_{name} BEFORE {when} ON {table} FOR EACH {each} EXECUTE FUNCTION refuse_change()"
        for table in ("phantom_trades_live", "audit_archives")
        for name, when, each in (("fixed", "UPDATE OR DELETE", "ROW"), ("kept", "TRUNCATE", "STATEMENT"))
    ),
)
SQLITE = (
    *(
        f"CREATE TRIGGER {table}_fixed BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, '{table} {REFUSED}'); END"
        for table in ("phantom_trades_live", "audit_archives")
    ),
    f"""CREATE TRIGGER phantom_trades_live_kept BEFORE DELETE ON phantom_trades_live WHEN NOT EXISTS ({ARCHIVED})
    BEGIN SELECT RAISE(ABORT, 'phantom_trades_live {REFUSED}'); END""",
    f"""CREATE TRIGGER audit_archives_kept BEFORE DELETE ON audit_archives
    BEGIN SELECT RAISE(ABORT, 'audit_archives {REFUSED}'); END""",
)


def upgrade() -> None:
    """Create the tables and what keeps the audit from being changed; the older program does not mind them."""
    _audit()
    op.create_table(
        "state",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("space", "key", "field")),
        sa.Column("place", sa.BigInteger, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", UtcTime),
    )
    op.create_table(
        "ml_runs",
        sa.Column("run_id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("source", "strategy", "verdict", "reason", "schema")),
        sa.Column("trained_at", UtcTime, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("lessons", "executed", "phantoms")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("data_from", "data_until")),
        sa.Column("report", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
    )
    op.create_index("ml_runs_by_strategy", "ml_runs", ["source", "strategy", "trained_at"])
    for statement in POSTGRES if op.get_bind().dialect.name == "postgresql" else SQLITE:
        op.execute(statement)


def downgrade() -> None:
    """Refuse: it would destroy records."""
    raise NotImplementedError("going back would drop records; restore a backup instead")


def _audit() -> None:
    op.create_table(
        "phantom_trades_live",
        sa.Column("chain", sa.Text, primary_key=True),
        sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in (
                "source", "mode", "account", "phantom_id", "kind", "symbol", "side", "strategy_name", "timeframe",
                "gate", "outcome", "exit_reason", "schema", "body", "previous", "hash",
            )
        ),
        sa.Column("was_executed", sa.Boolean, nullable=False),
        sa.Column("ml_score", sa.Double),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("signal_time", "exit_time")),
        *(
            sa.Column(name, Money, nullable=False)
            for name in ("entry_price", "stop_loss", "take_profit", "exit_price", "realized_rr", "pnl_percent")
        ),
        sa.Column("features", sa.Text),
        sa.UniqueConstraint("source", "mode", "account", "phantom_id", "kind", name="phantom_told_once"),
    )  # fmt: skip
    op.create_index("phantoms_by_strategy", "phantom_trades_live", ["source", "strategy_name", "kind", "signal_time"])
    op.create_table(
        "audit_archives",
        sa.Column("chain", sa.Text, primary_key=True),
        sa.Column("until_n", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("until_time", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("hash", "file", "digest")),
        sa.Column("archived_at", UtcTime, nullable=False),
    )
