"""What is told of a bot that a command started for itself."""

from __future__ import annotations

from types import SimpleNamespace

from app.control import _figures
from domain.order import Cause
from tests.unit.test_reconciliation import SELL, fill, opened

NAMES = ("open", "pending", "positions", "closed", "foreign_positions", "adopted", "rebuilt", "ghosts", "tiers")


def test_a_position_that_is_closed_and_not_yet_recorded_is_not_told_as_open():
    """Panic after a lost journal: the last comparison found a position that had just been closed by its stop."""
    case = opened()
    bot = SimpleNamespace(snapshot=lambda: dict.fromkeys(NAMES, 1), trader=case.trader)
    assert _figures(bot)["open"] == 1
    (held,) = case.trader.book.positions()
    case.trader.on_fill(fill(90, SELL, held.qty, 98, time=10**9, closed=held.qty, cause=Cause.STOP_LOSS))
    assert case.trader.flat() == [held]
    assert _figures(bot)["open"] == 0
