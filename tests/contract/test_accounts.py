"""The accounts on a database: who trades for them, and what their trades came to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa

from domain.ids import Identity
from persistence import schema
from persistence.accounts import account_states
from persistence.database import Database
from persistence.lease import DEAD_S, Lease
from persistence.trades import TradeTrackerPostgres
from tests.commands import Commands
from tests.contract.test_trade_tracker import trade

ALICE, BOB = (Identity("synthetic", "paper", name) for name in ("alice", "bob"))


def test_each_account_is_listed_with_its_process_and_its_trades(database_url):
    database = Database(database_url)
    assert account_states(database) == []
    Lease(database, BOB, "host:2").take()
    before = Lease(database, ALICE, "host:1")
    before.release(before.take().epoch)
    tracker = TradeTrackerPostgres(database, None, BOB, lambda: datetime.now(UTC))
    for number, profit in enumerate(("1.5", "-0.4", "0.1")):
        tracker.add_trade(trade(number, profit))
    assert tracker.settle() == 0
    alice, bob = account_states(database)
    assert (alice.who, alice.process, alice.trades, alice.profit) == (ALICE, "", 0, None)
    assert (bob.who, bob.process, bob.trades, bob.won, bob.profit) == (BOB, "host:2", 3, 2, Decimal("1.2"))
    now = datetime.now(UTC)
    assert (alice.alive(now), bob.alive(now), bob.alive(now + timedelta(seconds=DEAD_S + 60))) == (False, True, False)
    tracker.close()
    database.close()


def test_a_process_that_left_no_sign_of_life_is_told(database_url, tmp_path):
    database = Database(database_url)
    Lease(database, ALICE, "host:1").take()
    with database.transaction() as connection:
        connection.execute(sa.update(schema.leases).values(renewed_at=datetime.now(UTC) - timedelta(minutes=5)))
    database.close()
    code, shown, _ = Commands(tmp_path / "data", database_url, "").run("fleet")
    assert (code, "alice" in shown, "no sign of life" in shown) == (3, True, True), shown
