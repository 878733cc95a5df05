"""The UTC day: every execution counts on the day on which it happened, however late it is told."""

from decimal import Decimal as D

import msgspec
import pytest

from domain.candle import Bar, ClosedBar, Series
from domain.order import Cause, OrderSide, Side
from domain.records import Close, DayStarted, Fill
from engine import day
from engine.commands import RecordTrade, Remember
from engine.recall import replay
from tests.unit.test_trader import STEP, A, World

DAY_MS = 86_400_000
BARS = DAY_MS // STEP


class Night(World):
    """A world with a position that opened at 100 two bars before midnight; 95 is the price of the last bar."""

    def __init__(self):
        super().__init__({BARS - 4: Side.LONG})
        while len(self.rows) < BARS - 4:
            self.bar()
        entry, _ = self.entered()
        self.qty = entry.request.qty
        while len(self.rows) < BARS - 1:
            self.bar(98.5, high=100.0, low=98.2)

    def midnight(self, price=95.0):
        self.bar(price, high=100.0)

    def sold(self, share, price, after_ms, *, fee="0", cause=Cause.STOP_LOSS):
        """Tell of an execution that happened so long after midnight, and record what is flat."""
        self.number += 1
        fill = Fill(
            time=DAY_MS + after_ms, exec_id=f"s{self.number}", order_id="", venue_order_id="v", symbol=A,
            side=OrderSide.SELL, qty=self.qty * D(share), price=D(price), fee=D(fee), closed_qty=D(1), cause=cause,
        )  # fmt: skip
        self.records.append(fill)
        self.trader.on_fill(fill)
        for held in self.trader.flat():
            for command in self.trader.finish(held):
                self.records += [command.record] if isinstance(command, Remember) else []
                if isinstance(command, RecordTrade):
                    self.trades = [command.trade]
                    self.records.append(Close(time=fill.time, trade=command.trade))

    def made(self):
        """Return the day's profit per unit."""
        return self.trader.day_pnl() / self.qty


def test_what_ended_before_midnight_and_is_told_after_it_belongs_to_the_old_day():
    world = Night()
    world.midnight()
    world.sold("1", "98", -1_000)
    assert world.made() == 0
    assert not world.trader.daily_loss_reached()


def test_until_it_is_told_what_is_open_at_midnight_counts_from_there():
    world = Night()
    world.midnight()
    assert world.made() == 0
    world.bar(94.0, high=100.0)
    assert world.made() == -1
    # it had ended before: nothing of it is the new day's
    world.sold("1", "98", -1_000)
    assert world.made() == 0


def test_what_ends_after_midnight_counts_from_its_price_at_midnight():
    world = Night()
    world.midnight()
    world.sold("1", "98", 5_000, fee="0")
    assert world.made() == 3


@pytest.mark.parametrize("funding", ["0", "1.5"])
def test_a_part_that_left_before_midnight_and_is_told_after_it_counts_for_the_old_day(funding):
    world = Night()
    world.midnight()
    world.sold("0.5", "97", -2_000)
    world.sold("1", "95", -1_500, fee=funding, cause=Cause.FUNDING)
    assert world.made() == 0
    world.sold("0.5", "96", 9_000)
    assert world.made() == D("0.5")


def test_after_a_restart_the_day_has_made_the_same():
    world = Night()
    world.midnight()
    world.sold("0.5", "97", -2_000)
    world.sold("0.5", "96", 9_000, fee="1")
    again = world.fresh()
    replay(again, world.records)
    # as the tiers give them back: without their executions
    again.remember([msgspec.structs.replace(trade, legs=()) for trade in world.trades])
    assert again.day_pnl() == world.trader.day_pnl() == D("0.5") * world.qty - 1


def test_a_day_that_began_while_the_bot_was_down_is_measured_from_its_beginning():
    world = Night()
    # the bar of midnight, and the next two, were recovered and never decided on
    for close in (95.0, 93.0, 92.0):
        start = len(world.rows) * STEP
        world.rows.append(Bar(start, close, close, close, close, 1.0, 1.0))
    world.sold("0.5", "94", 60_000)
    world.trader.on_bar(ClosedBar(Series(A, "3m"), world.rows[-1]))
    assert world.trader._day.day == 1
    # half left at 94, half is open at 92, and both were at 95 when the day began
    assert world.made() == D("-0.5") + D("-1.5")
    world.sold("0.5", "91", 600_000)
    assert world.made() == D("-0.5") + D("-2.0")


def test_a_trade_that_ended_in_the_day_before_the_day_was_noticed_counts_from_its_beginning():
    world = Night()
    for close in (95.0, 93.0):
        world.rows.append(Bar(len(world.rows) * STEP, close, close, close, close, 1.0, 1.0))
    world.sold("1", "94", 60_000)
    world.trader.on_bar(ClosedBar(Series(A, "3m"), world.rows[-1]))
    assert world.made() == -1


def test_a_record_of_a_version_that_kept_no_prices_is_measured_from_as_it_says():
    world = Night()
    world.midnight()
    world.trader.restore(DayStarted(time=DAY_MS, day=1, equity=D(10_000), open_pnl=-5 * world.qty))
    world.bar(94.0, high=100.0)
    assert world.made() == -1


def test_nothing_is_kept_of_a_trade_that_ended_before_the_day():
    world = Night()
    world.midnight()
    world.sold("1", "98", -1_000)
    began = world.trader._day
    assert began.made == {}
    assert day.with_closed(began, world.trades[0]) is None
