"""The trader: from signals to commands, from executions to trades, the same after a restart."""

from dataclasses import replace
from decimal import Decimal as D

import msgspec
import pytest

from domain import ids
from domain.candle import Bar, Bars, ClosedBar, Series
from domain.coverage import Span
from domain.exits import ExitPlan
from domain.ids import Identity
from domain.instrument import Instrument
from domain.order import Cause, OrderKind, OrderSide, OrderState, Side
from domain.records import (
    Abandoned,
    Adopted,
    Close,
    Fill,
    Opening,
    OrderEnded,
    Record,
    StopMoved,
    SwitchState,
    finished,
)
from domain.signal import Signal
from engine.commands import CancelOrder, MoveStop, PlaceOrder, RecordTrade, Refused, Remember
from engine.recall import replay
from engine.risk import RiskLimits
from engine.trader import Plan, Trader, TraderTerms

WHO = Identity("synthetic", "synthetic", "1")
A = "A/USDT:USDT"
RULES = Instrument(A, "AUSDT", D("0.1"), D("0.01"), D("0.01"), D(100_000), D(5), D(50))
STEP = 180_000


class Scripted:
    """A strategy that signals on the bars it is told."""

    name = "scripted"
    timeframes = ("3m",)
    warmup_bars = {"3m": 1}

    def __init__(self, on: dict[int, Side], reward=5.0):
        self.on, self.reward = on, reward

    def start(self, symbol):
        return symbol

    def columns(self, bars):
        return {"open_time": bars["3m"].open_time, "close": bars["3m"].close}

    def step(self, i, columns, state):
        start, close = int(columns["open_time"][i]), float(columns["close"][i])
        side = self.on.get(start // STEP)
        if side is None:
            return None
        target = close + side.sign * self.reward if self.reward else 0.0
        return Signal("scripted", state, "3m", start, start + STEP, side, close, close - side.sign * 2, target)


class World:
    """A trader with bars at hand, and a record of everything written down."""

    def __init__(self, on=None, exits=ExitPlan(), limit_entries=False, completeness_min=0.0, reward=5.0):
        self.rows: list[Bar] = []
        self.records: list[Record] = []
        limits = RiskLimits(D(1), 3, D(10), D(10), D(5), D(5), D("0.0005"), D(0))
        self.terms = TraderTerms(
            WHO, limits, {"scripted": Plan(Scripted(on or {}, reward), exits)}, paper=False, unfilled_timeout_ms=2 * STEP,
            limit_entries=limit_entries, completeness_min=completeness_min,
        )  # fmt: skip
        self.trader = self.fresh()
        self.number = 0

    def fresh(self) -> Trader:
        trader = Trader(self.terms, {A: RULES}, lambda _: Bars.of(self.rows))
        trader.situation.equity = D(10_000)
        trader.warm_up(A, 0)
        return trader

    def bar(self, close=100.0, high=None, low=None):
        start = len(self.rows) * STEP
        row = Bar(start, close, high or close + 0.5, low or close - 0.5, close, 1.0, 1.0)
        self.rows.append(row)
        commands = self.trader.on_bar(ClosedBar(Series(A, "3m"), row))
        for command in commands:
            if isinstance(command, PlaceOrder):
                self.records.append(command.intent)
            elif isinstance(command, Remember):
                self.records.append(command.record)
        return [command for command in commands if not isinstance(command, Remember)]

    def fill(self, command=None, *, qty=None, price="100", side=None, cause=Cause.UNKNOWN, fee="0"):
        self.number += 1
        request = command.request if command else None
        side, qty, held = side or request.side, D(qty) if qty else request.qty, self.trader.book.of_symbol(A)
        closes = held is not None and not held.pending and side is held.opening.side.exit
        one = Fill(
            time=len(self.rows) * STEP + self.number, exec_id=f"x{self.number}", order_id=request.order_id if request else "",
            venue_order_id="v", symbol=A, side=side, qty=qty, price=D(price), fee=D(fee),
            closed_qty=min(qty, held.qty) if closes else D(0), cause=cause,
        )  # fmt: skip
        self.records.append(one)
        commands = self.trader.on_fill(one)
        return commands + [more for held in self.trader.flat() for more in self.trader.finish(held)]

    def entered(self, price="100"):
        (command,) = self.bar()
        return command, self.fill(command, price=price, cause=Cause.ENTRY)


def test_a_signal_becomes_one_protected_order_with_a_derived_id():
    world = World({0: Side.LONG})
    (command,) = world.bar()
    assert isinstance(command, PlaceOrder)
    digest = ids.signal_digest(WHO, "scripted", A, "3m", 0)
    assert command.request.order_id == f"L1-{digest}-e0"
    assert (command.request.stop, command.request.target) == (D("98.0"), D("105.0"))
    assert command.intent.opening.bar_start == 0


def test_a_signal_without_a_target_becomes_an_order_without_one_and_its_stop_trails():
    world = World({0: Side.LONG}, ExitPlan(trail_start_r=0.01, trail_distance_r=1.0), reward=0.0)
    command, _ = world.entered()
    assert (command.request.stop, command.request.target, command.intent.opening.target) == (D("98.0"), None, 0)
    for close in (101.0, 110.0, 130.0):
        (move,) = world.bar(close, high=close)
        assert isinstance(move, MoveStop)
        assert move.stop == D(str(close - 2))
    assert msgspec.json.decode(msgspec.json.encode(command.intent), type=type(command.intent)) == command.intent


def test_a_position_whose_contract_was_split_is_closed():
    world = World({0: Side.LONG})
    entry, _ = world.entered()
    qty = entry.request.qty
    closing = Fill(STEP + 1, "c", "", "v", A, OrderSide.SELL, qty, D(100), D(0), qty, Cause.CORPORATE_ACTION)
    assert world.trader.on_fill(closing) == []
    (exit_,) = world.fill(side=OrderSide.BUY, qty=str(10 * entry.request.qty), price="10", cause=Cause.CORPORATE_ACTION)
    assert (exit_.request.qty, exit_.request.reduce_only) == (10 * entry.request.qty, True)


def test_one_position_per_symbol_and_every_refusal_named():
    world = World({0: Side.LONG, 1: Side.LONG, 2: Side.SHORT})
    world.bar()
    (refused,) = world.bar()
    assert (type(refused), refused.gate) == (Refused, "position_open")
    assert world.trader.counts["gate:position_open"] == 1


def test_a_stopped_trade_is_recorded_net_of_fees_with_its_r():
    world = World({0: Side.LONG})
    entry, _ = world.entered()
    world.bar(99.0, low=97.0)
    (command,) = world.fill(
        side=OrderSide.SELL, qty=str(entry.request.qty), price="98", cause=Cause.STOP_LOSS, fee="1.5"
    )
    trade = command.trade
    assert isinstance(command, RecordTrade)
    assert trade.pnl_usd == -2 * entry.request.qty - D("1.5")
    assert trade.gross_pnl == -2 * entry.request.qty
    assert trade.r_multiple == pytest.approx(trade.pnl_usd / (2 * entry.request.qty), abs=D("1e-6"))
    assert (trade.exit_reason, trade.trade_id) == ("stop_loss", ids.trade_id(entry.request.order_id[3:27]))
    assert trade.max_adverse_r == D("-1.5")
    assert len(trade.legs) == 2
    assert world.trader.book.positions() == []


def test_after_the_partial_target_the_stop_goes_to_the_entry_and_says_so():
    world = World({0: Side.LONG}, ExitPlan(partial_r=1.5, partial_fraction=0.5))
    entry, (partial,) = world.entered()
    assert (partial.request.kind, partial.request.price, partial.request.reduce_only) == (
        OrderKind.LIMIT,
        D("103.0"),
        True,
    )
    assert partial.request.qty == RULES.floor_qty(entry.request.qty / 2)
    world.records.append(partial.intent)
    (move,) = world.fill(partial, price="103", cause=Cause.PARTIAL)
    assert (move.stop, move.cause) == (D("100.0"), Cause.BREAK_EVEN)
    world.trader.on_stop_moved(StopMoved(time=1, digest=move.digest, symbol=A, stop=move.stop, cause=move.cause))
    rest = entry.request.qty - partial.request.qty
    (command,) = world.fill(side=OrderSide.SELL, qty=str(rest), price="100", cause=Cause.STOP_LOSS)
    assert command.trade.exit_reason == "break_even"
    assert command.trade.pnl_usd == 3 * partial.request.qty


def test_the_stop_trails_the_best_price_and_never_loosens():
    world = World({0: Side.LONG}, ExitPlan(trail_start_r=1.0, trail_distance_r=1.0))
    world.entered()
    (move,) = world.bar(103, high=103.0)
    assert (move.stop, move.cause) == (D("101.0"), Cause.TRAILING_STOP)
    world.trader.on_stop_moved(StopMoved(time=1, digest=move.digest, symbol=A, stop=move.stop, cause=move.cause))
    assert world.bar(101.5, high=102.0) == []
    (move,) = world.bar(104, high=104.0)
    assert move.stop == D("102.0")


def test_a_stop_that_the_exchange_did_not_take_is_asked_for_again():
    world = World({0: Side.LONG}, ExitPlan(trail_start_r=1.0))
    world.entered()
    assert isinstance(world.bar(103, high=103.0)[0], MoveStop)
    assert isinstance(world.bar(103, high=103.0)[0], MoveStop)


def test_a_refused_stop_closes_the_position_once():
    world = World({0: Side.LONG}, ExitPlan(trail_start_r=1.0))
    world.entered()
    (move,) = world.bar(103, high=103.0)
    (exit_,) = world.trader.on_stop_refused(move.digest, move.cause, 1)
    assert (exit_.request.reduce_only, exit_.request.order_id[-2:]) == (True, "x0")
    assert world.trader.on_stop_refused(move.digest, move.cause, 1) == []
    (command,) = world.fill(exit_, price="100.9")
    assert command.trade.exit_reason == "trailing_stop_loss"


def test_a_position_past_its_time_is_closed_and_tried_again_when_that_fails():
    world = World({0: Side.LONG}, ExitPlan(timeout_ms=2 * STEP))
    world.entered()
    assert world.bar() == []
    assert world.bar() == []
    (exit_,) = world.bar()
    assert exit_.intent.cause is Cause.TIMEOUT
    assert world.bar() == []
    world.trader.on_order_ended(
        OrderEnded(time=1, order_id=exit_.request.order_id, symbol=A, state=OrderState.NOT_FOUND)
    )
    (again,) = world.bar()
    assert again.request.order_id[-2:] == "x1"
    assert world.fill(again)[0].trade.exit_reason == "timeout"


def test_an_entry_that_does_not_fill_in_time_is_cancelled():
    world = World({0: Side.LONG}, limit_entries=True)
    (command,) = world.bar()
    assert command.request.price == D("100.0")
    assert world.bar() == []
    (cancel,) = world.bar()
    assert isinstance(cancel, CancelOrder)
    world.trader.on_order_ended(OrderEnded(time=1, order_id=cancel.order_id, symbol=A, state=OrderState.CANCELLED))
    assert world.trader.book.positions() == []


def test_an_execution_told_twice_counts_once():
    world = World({0: Side.LONG})
    world.entered()
    again = msgspec.structs.replace(world.records[-1])
    assert world.trader.on_fill(again) == []
    assert world.trader.book.positions()[0].opened == again.qty


def test_funding_is_part_of_the_net_result():
    world = World({0: Side.LONG})
    entry, _ = world.entered()
    world.fill(side=OrderSide.BUY, qty="1", cause=Cause.FUNDING, fee="0.25")
    (command,) = world.fill(side=OrderSide.SELL, qty=str(entry.request.qty), price="105", cause=Cause.TAKE_PROFIT)
    assert command.trade.funding == D("0.25")
    assert command.trade.pnl_usd == 5 * entry.request.qty - D("0.25")


def test_executions_of_strangers_are_counted_and_change_nothing():
    world = World()
    assert world.fill(side=OrderSide.BUY, qty="1") == []
    assert world.trader.book.unmatched == 1
    assert world.trader.book.positions() == []


@pytest.mark.parametrize("cut", range(12))
def test_killed_after_any_record_the_trader_is_where_it_was(cut):
    """Replaying the first n records gives the book that the first n records gave; nothing else is remembered."""
    world = World({0: Side.LONG, 4: Side.SHORT}, ExitPlan(partial_r=1.5))
    entry, (partial,) = world.entered("100.1")
    world.records.append(partial.intent)
    (move,) = world.fill(partial, price="103", cause=Cause.PARTIAL, fee="0.3")
    world.records.append(StopMoved(time=1, digest=move.digest, symbol=A, stop=move.stop, cause=move.cause))
    world.trader.on_stop_moved(world.records[-1])
    rest = entry.request.qty - partial.request.qty
    (done,) = world.fill(side=OrderSide.SELL, qty=str(rest), price="100.1", cause=Cause.STOP_LOSS)
    world.records.append(Close(time=2, trade=done.trade))
    for _ in range(3):
        world.bar()
    (second,) = world.bar()
    world.fill(second, cause=Cause.ENTRY)

    records = world.records[:cut]
    one, other = world.fresh(), world.fresh()
    replay(one, records)
    trades = finished(records)
    # delivered twice, as after a crash between a fact and its acknowledgement
    replay(other, [record for record in records for _ in range(2 if isinstance(record, Fill) else 1)])
    assert one.book.positions() == other.book.positions()
    # and an archive carries over what makes it again
    third = world.fresh()
    replay(third, one.book.live())
    assert third.book.positions() == one.book.positions()
    open_now = [held for held in one.book.positions() if not held.flat]
    assert len(open_now) <= 1
    done_now = [command for held in one.flat() for command in one.finish(held)]
    trades += [command.trade for command in done_now if isinstance(command, RecordTrade)]
    assert len({trade.trade_id for trade in trades}) == len(trades)
    if any(isinstance(record, Fill) and record.cause is Cause.STOP_LOSS for record in records):
        assert trades == [done.trade]
        assert trades[0].exit_reason == "break_even"


def test_the_daily_loss_counts_open_losses_starts_anew_each_utc_day_and_ignores_deposits():
    world = World({0: Side.LONG})
    entry, _ = world.entered()
    world.bar(95.0, high=100.0, low=94.0)
    assert world.trader.day_pnl() == -5 * entry.request.qty
    world.trader.situation.equity += 50_000
    assert world.trader.day_pnl() == -5 * entry.request.qty
    while len(world.rows) * STEP % 86_400_000:
        world.bar(95.0, high=95.1, low=94.9)
    world.bar(95.0, high=95.1, low=94.9)
    assert world.trader.day_pnl() == 0
    world.bar(94.0, high=95.1, low=93.9)
    assert world.trader.day_pnl() == -1 * entry.request.qty


def test_a_trade_rebuilt_late_does_not_hide_the_losses_of_the_day():
    world = World({480: Side.LONG})
    while len(world.rows) * STEP < 86_400_000:
        world.bar()
    entry, _ = world.entered()
    world.fill(side=OrderSide.SELL, qty=str(entry.request.qty), price="98", cause=Cause.STOP_LOSS)
    assert world.trader.day_pnl() == -2 * entry.request.qty
    legs = tuple(
        Fill(time=1_000 + i, exec_id=f"old{i}", order_id="", venue_order_id="v", symbol="B/USDT:USDT", side=side, qty=D(1),
             price=D(price), fee=D(0), closed_qty=D(i), cause=cause)
        for i, (side, price, cause) in enumerate([
            (OrderSide.BUY, 10, Cause.ENTRY), (OrderSide.SELL, 9, Cause.STOP_LOSS),
        ])
    )  # fmt: skip
    opening = Opening("scripted", "3m", 0, Side.LONG, D(10), D(9), D(12), ExitPlan(), D(1))
    world.trader.adopt(Adopted(2_000, "digest", "B/USDT:USDT", opening, legs, "rebuilt"))
    (rebuilt,) = world.trader.flat()
    world.trader.finish(rebuilt)
    assert world.trader.day_pnl() == -2 * entry.request.qty


@pytest.mark.parametrize(("leverage", "foreign", "gate"), [(1, 0, "margin"), (5, 0, ""), (5, 7_950, "margin")])
def test_what_other_positions_tie_up_is_left_alone(leverage, foreign, gate):
    """A position of the account's whole value at leverage 1 leaves nothing; at 5 it does, unless others take that."""
    world = World({0: Side.LONG})
    opening = Opening("scripted", "3m", 0, Side.LONG, D(10), D(9), D(12), ExitPlan(), D(leverage))
    bought = Fill(1_000, "b", "", "v", "B/USDT:USDT", OrderSide.BUY, D(999), D(10), D(0), D(0), cause=Cause.ENTRY)
    world.trader.adopt(Adopted(2_000, "digest", "B/USDT:USDT", opening, (bought,), "policy adopt"))
    world.trader.situation.foreign_margin = D(foreign)
    (command,) = world.bar()
    assert (command.gate if isinstance(command, Refused) else "") == gate


def test_the_switch_survives_a_restart():
    world = World({1: Side.LONG})
    world.bar()
    (remember,) = world.trader.switch(SwitchState.PAUSED, "lunch")
    again = world.fresh()
    replay(again, [remember.record])
    assert again.situation.switch is SwitchState.PAUSED
    world.trader = again
    (refused,) = world.bar()
    assert refused.gate == "switch"


def test_a_signal_on_an_old_bar_is_not_traded():
    world = World({0: Side.LONG})
    world.trader.situation.market_time = 5 * STEP
    (refused,) = world.bar()
    assert refused.gate == "late"


def test_a_silent_feed_blocks_entries():
    world = World({0: Side.LONG})
    world.trader.situation.stale = frozenset({A})
    assert world.bar()[0].gate == "stale_feed"


def test_a_night_in_which_the_market_was_closed_is_no_hole():
    night = Span(100 * STEP, 110 * STEP)
    for closed, command in ((night, PlaceOrder), (Span(100 * STEP, 109 * STEP), Refused)):
        world = World({}, completeness_min=99.9)
        world.terms = replace(
            world.terms, resting=lambda _series, span, closed=closed: [closed] if span.end > closed.start else []
        )
        world.trader = world.fresh()
        for _ in range(300):
            world.bar()
        del world.rows[100:110]
        world.terms.plans["scripted"].strategy.on = {300: Side.LONG}
        world.rows.append(Bar(300 * STEP, 100.0, 100.5, 99.5, 100.0, 1.0, 1.0))
        (got,) = world.trader.on_bar(ClosedBar(Series(A, "3m"), world.rows[-1]))
        assert isinstance(got, command)


def test_a_window_with_too_many_holes_blocks_entries_until_they_are_filled():
    world = World({}, completeness_min=99.0)
    for _ in range(300):
        world.bar()
    whole = list(world.rows)
    world.terms.plans["scripted"].strategy.on = {300: Side.LONG}
    del world.rows[100:110]
    row = Bar(300 * STEP, 100.0, 100.5, 99.5, 100.0, 1.0, 1.0)
    world.rows.append(row)
    (refused,) = world.trader.on_bar(ClosedBar(Series(A, "3m"), row))
    assert (refused.gate, refused.detail) == ("data_quality", "only 96.68 % of the bars of its window are there")
    world.rows = [*whole, row]
    world.terms.plans["scripted"].strategy.on = {301: Side.LONG}
    assert isinstance(world.bar()[0], PlaceOrder)


def test_signals_missed_while_down_are_counted_and_lead_to_no_order():
    world = World({2: Side.LONG, 4: Side.LONG})
    for _ in range(6):
        world.bar()
    again = world.fresh()
    assert len(again.warm_up(A, 4 * STEP)) == 1
    assert again.book.positions() == []


def test_killed_before_its_partial_target_was_placed_the_bot_places_it():
    world = World({0: Side.LONG}, ExitPlan(partial_r=1.5))
    _, (partial,) = world.entered()
    again = world.fresh()
    replay(again, world.records)
    (placed,) = again.resume()
    assert placed.request == partial.request
    assert again.resume() == []


def test_killed_before_the_stop_followed_the_partial_target_it_follows():
    world = World({0: Side.LONG}, ExitPlan(partial_r=1.5))
    _, (partial,) = world.entered()
    world.records.append(partial.intent)
    (move,) = world.fill(partial, price="103", cause=Cause.PARTIAL)
    again = world.fresh()
    replay(again, world.records)
    (resumed,) = again.resume()
    assert (resumed.stop, resumed.cause) == (move.stop, Cause.BREAK_EVEN)


def test_a_partial_target_lost_on_its_way_is_placed_again_under_a_new_id_but_not_for_ever():
    world = World({0: Side.LONG}, ExitPlan(partial_r=1.5))
    _, (partial,) = world.entered()
    placed = [partial]
    while True:
        name = placed[-1].request.order_id
        ended = OrderEnded(time=1, order_id=name, symbol=A, state=OrderState.NOT_FOUND)
        commands = world.trader.on_order_ended(ended)
        if not commands:
            break
        placed += commands
    assert [one.request.order_id[-2:] for one in placed] == ["p0", "p1", "p2"]


def test_a_symbol_that_is_delisted_gets_no_more_entries():
    world = World({1: Side.LONG})
    world.bar()
    assert world.trader.update_instruments({}) == [A]
    assert world.bar()[0].gate == "not_trading"
    assert world.trader.update_instruments({A: RULES}) == []


def test_an_entry_told_to_leave_that_fills_all_the_same_is_closed_at_once():
    """Found by a panic that met an order on its way: the cancellation came too late, and the position stayed."""
    world = World({0: Side.LONG})
    (entry,) = world.bar()
    (held,) = world.trader.book.positions()
    remember, cancel = world.trader.leave(held, 1)
    assert isinstance(remember.record, Abandoned)
    assert isinstance(cancel, CancelOrder)
    (out,) = world.fill(entry, cause=Cause.ENTRY)
    assert (out.request.reduce_only, out.request.qty, out.intent.cause) == (True, entry.request.qty, Cause.FORCE_EXIT)


@pytest.mark.parametrize("shares", [["1"], ["0.1", "0.2", "0.3", "0.4"], ["0.0005", "0.9995"]])
def test_the_partial_target_takes_its_share_of_the_whole_position_however_the_entry_fills(shares):
    world = World({0: Side.LONG}, ExitPlan(partial_r=1.5, partial_fraction=0.5))
    (entry,) = world.bar()
    left, placed = entry.request.qty, []
    for number, share in enumerate(shares):
        last = number == len(shares) - 1
        qty = left if last else RULES.floor_qty(entry.request.qty * D(share))
        left -= qty
        commands = world.fill(entry, qty=str(qty), cause=Cause.ENTRY)
        assert commands == [] or last
        placed += commands
    assert [one.request.qty for one in placed] == [RULES.floor_qty(entry.request.qty / 2)]


def test_an_entry_that_ends_filled_in_part_gets_a_partial_target_for_what_filled():
    world = World({0: Side.LONG}, ExitPlan(partial_r=1.5))
    (entry,) = world.bar()
    assert world.fill(entry, qty="10", cause=Cause.ENTRY) == []
    ended = OrderEnded(1, entry.request.order_id, A, OrderState.CANCELLED, "EC_ReachMarketPriceLimit", D(12))
    # two more have filled that are not known yet
    assert world.trader.on_order_ended(ended) == []
    (partial,) = world.fill(entry, qty="2", cause=Cause.ENTRY)
    assert partial.request.qty == 6


def test_a_sliver_of_the_partial_target_moves_no_stop():
    world = World({0: Side.LONG}, ExitPlan(partial_r=1.5))
    _, (partial,) = world.entered()
    assert world.fill(partial, qty="0.01", price="103", cause=Cause.PARTIAL) == []
    assert world.bar() == []
    (held,) = world.trader.book.positions()
    assert (held.partial_order, held.partial_taken) == (partial.request.order_id, False)
    (move,) = world.fill(partial, qty=str(partial.request.qty - D("0.01")), price="103", cause=Cause.PARTIAL)
    assert (move.stop, move.cause) == (D("100.0"), Cause.BREAK_EVEN)


def test_the_rest_of_a_partial_target_that_was_cancelled_is_placed_again():
    world = World({0: Side.LONG}, ExitPlan(partial_r=1.5))
    _, (partial,) = world.entered()
    world.fill(partial, qty="1", price="103", cause=Cause.PARTIAL)
    ended = OrderEnded(1, partial.request.order_id, A, OrderState.CANCELLED, filled=D(1))
    (again,) = world.trader.on_order_ended(ended)
    assert (again.request.qty, again.request.order_id[-2:]) == (partial.request.qty - 1, "p1")
    # but for what is too little for an order: then the target counts as taken
    almost = again.request.qty - D("0.005")
    world.fill(again, qty=str(almost), price="103", cause=Cause.PARTIAL)
    (move,) = world.trader.on_order_ended(OrderEnded(1, again.request.order_id, A, OrderState.CANCELLED, filled=almost))
    assert move.cause is Cause.BREAK_EVEN


def test_the_rest_of_a_limit_entry_counts_and_is_cancelled_in_time():
    world = World({0: Side.LONG}, limit_entries=True)
    (entry,) = world.bar()
    world.fill(entry, qty="10", cause=Cause.ENTRY)
    (held,) = world.trader.book.positions()
    assert held.commitment(D(100)) == entry.request.qty * 100
    assert world.bar() == []
    (cancel,) = world.bar()
    assert (type(cancel), cancel.order_id) == (CancelOrder, entry.request.order_id)
    # asked for again until the exchange says that it has ended
    assert world.bar() == [CancelOrder(A, entry.request.order_id, cancel.time + STEP)]
    world.trader.on_order_ended(OrderEnded(1, entry.request.order_id, A, OrderState.CANCELLED, filled=D(10)))
    assert (world.bar(), held.commitment(D(100))) == ([], 1_000)


def test_a_position_is_not_over_while_its_entry_may_still_fill():
    world = World({0: Side.LONG, 2: Side.LONG}, limit_entries=True)
    (entry,) = world.bar()
    world.fill(entry, qty="10", cause=Cause.ENTRY)
    (cancel,) = world.fill(side=OrderSide.SELL, qty="10", price="98", cause=Cause.STOP_LOSS)
    assert (type(cancel), cancel.order_id) == (CancelOrder, entry.request.order_id)
    assert world.trader.flat() == []
    # what fills all the same on the way back is closed at once, and belongs to the same trade
    (exit_,) = [one for one in world.fill(entry, qty="3", cause=Cause.ENTRY) if isinstance(one, PlaceOrder)]
    assert (exit_.request.qty, exit_.request.reduce_only) == (3, True)
    world.trader.on_order_ended(OrderEnded(1, entry.request.order_id, A, OrderState.CANCELLED, filled=D(13)))
    (record,) = world.fill(exit_, price="99")
    assert (record.trade.quantity, len(record.trade.legs)) == (13, 4)


def test_an_exit_filled_in_part_goes_on_with_the_rest_under_a_new_id():
    world = World({0: Side.LONG})
    entry, _ = world.entered()
    (held,) = world.trader.book.positions()
    (exit_,) = world.trader.exit(held, Cause.TIMEOUT, 1)
    assert world.fill(exit_, qty="10", price="99") == []
    ended = OrderEnded(1, exit_.request.order_id, A, OrderState.CANCELLED, "EC_NoImmediateQtyToFill", D(10))
    assert world.trader.on_order_ended(ended) == []
    assert held.leaving
    (again,) = world.trader.exit(held, Cause.TIMEOUT, 2)
    assert (again.request.qty, again.request.order_id[-2:]) == (entry.request.qty - 10, "x1")


def test_a_panic_is_remembered_while_its_entry_is_on_its_way():
    world = World({0: Side.LONG}, limit_entries=True)
    (entry,) = world.bar()
    (remember, _) = world.trader.leave(world.trader.book.positions()[0], 1)
    again = world.fresh()
    replay(again, [*world.records, remember.record])
    (cancel,) = again.resume()
    assert isinstance(cancel, CancelOrder)
    world.trader = again
    (exit_, _) = sorted(world.fill(entry, qty="5", cause=Cause.ENTRY), key=lambda one: type(one).__name__, reverse=True)
    assert (exit_.request.qty, exit_.request.reduce_only) == (5, True)


def test_exits_never_run_out_of_names():
    world = World({0: Side.LONG})
    world.entered()
    (held,) = world.trader.book.positions()
    for number in range(1_002):
        (exit_,) = world.trader.exit(held, Cause.TIMEOUT, 1)
        assert ids.parse_order_id(exit_.request.order_id).attempt == number
        world.trader.on_order_ended(OrderEnded(1, exit_.request.order_id, A, OrderState.CANCELLED))


def test_an_exit_larger_than_the_largest_order_goes_out_in_slices():
    world = World({0: Side.LONG})
    entry, _ = world.entered()
    qty = entry.request.qty
    world.trader.update_instruments({A: replace(RULES, max_qty=D(20))})
    (held,) = world.trader.book.positions()
    commands, sent = world.trader.exit(held, Cause.FORCE_EXIT, 1), []
    while commands and isinstance(commands[0], PlaceOrder):
        (slice_,) = commands
        sent.append(slice_.request)
        # the one under way is all that is asked for
        assert world.trader.exit(held, Cause.FORCE_EXIT, 1) == []
        commands = world.fill(slice_, price="99")
    assert sum(one.qty for one in sent) == qty
    assert [one.qty for one in sent[:-1]] == [D(20)] * (len(sent) - 1)
    assert len({one.order_id for one in sent}) == len(sent) == qty // 20 + 1
    (done,) = commands
    assert (done.trade.quantity, done.trade.exit_reason) == (qty, "force_exit")


@pytest.mark.parametrize(
    ("qty", "change", "asked"),
    [
        # what the new step does not fit goes last, as the whole of what is there
        ("46.53", {"step": D("0.5"), "min_qty": D("0.5")}, [("46.5", False), ("0.03", True)]),
        ("0.3", {"step": D("0.5"), "min_qty": D("0.5")}, [("0.3", True)]),
        # less than the least order must not be left over
        ("20.3", {"step": D("0.1"), "min_qty": D("0.5"), "max_qty": D(20)}, [("19.8", False), ("0.5", False)]),
        ("20.53", {"step": D("0.5"), "min_qty": D("0.5"), "max_qty": D(20)}, [("20", False), ("0.5", False), ("0.03", True)]),
        ("41", {"step": D(1), "min_qty": D(1), "max_qty": D("20.5")}, [("20", False), ("20", False), ("1", False)]),
    ],
)  # fmt: skip
def test_no_change_of_the_rules_leaves_a_position_that_cannot_be_closed(qty, change, asked):
    world = World({0: Side.LONG})
    (entry,) = world.bar()
    world.fill(entry, qty=qty, cause=Cause.ENTRY)
    (held,) = world.trader.book.positions()
    world.trader.on_order_ended(OrderEnded(1, held.entry_order, A, OrderState.CANCELLED, "", D(qty)))
    world.trader.update_instruments({A: replace(RULES, **change)})
    commands, sent = world.trader.exit(held, Cause.FORCE_EXIT, 1), []
    while commands and isinstance(commands[0], PlaceOrder):
        sent.append((commands[0].request.qty, commands[0].request.whole))
        commands = world.fill(commands[0], price="99")
    assert sent == [(D(size), whole) for size, whole in asked]
    assert isinstance(commands[0], RecordTrade)


def test_what_is_available_is_what_the_exchange_says_less_what_was_asked_for_since():
    world = World({0: Side.LONG, 2: Side.LONG})
    seen = world.trader.situation
    # a stranger's orders tie up most of it
    seen.available = D(800)
    (small,) = world.bar()
    full = World({0: Side.LONG}).bar()[0].request.qty
    free = seen.available - D(10_000) * D("0.02")
    assert D("0.25") * full < small.request.qty < full
    assert small.request.qty * 100 / 5 <= free
    # on its way, and in no answer yet: nothing is left
    assert world.trader._account("B/USDT:USDT").free == seen.available - world.trader.capital.margin()
    assert world.trader.capital.margin(without={small.request.order_id}) == 0
    world.fill(small, cause=Cause.ENTRY)
    assert world.trader.capital.margin(without={small.request.order_id}) == world.trader.capital.margin() > 0
    # told again, it is counted there, and not once more
    seen.available, seen.counted = D(300), world.trader.capital.margin()
    assert world.trader._account("B/USDT:USDT").free == D(300)
    # what has been closed since is not counted as free before the exchange says so
    world.fill(side=OrderSide.SELL, qty=str(small.request.qty), price="99", cause=Cause.STOP_LOSS)
    assert world.trader._account(A).free == D(300)
    world.bar()
    (refused,) = world.bar()
    assert (refused.gate, world.trader.counts["gate:margin"]) == ("margin", 1)


def test_when_the_exchange_lets_nobody_in_or_a_report_was_not_understood_no_entry_is_made():
    for name, value, gate in (
        ("barred", "the API key has expired", "exchange_access"),
        ("doubtful", {A: "an execution could not be read"}, "not_understood"),
    ):
        world = World({0: Side.LONG})
        setattr(world.trader.situation, name, value)
        (refused,) = world.bar()
        assert refused.gate == gate


@pytest.mark.parametrize("state", [SwitchState.PAUSED, SwitchState.STOPPED])
def test_paused_or_stopped_no_entry_fills_any_more(state):
    world = World({0: Side.LONG}, limit_entries=True)
    (entry,) = world.bar()
    world.fill(entry, qty="10", cause=Cause.ENTRY)
    remember, cancel = world.trader.switch(state, "enough")
    assert (remember.record.state, cancel.order_id) == (state, entry.request.order_id)
    (remember,) = world.trader.switch(SwitchState.RUNNING, "again")


def test_an_entry_at_several_prices_is_booked_to_the_last_digit():
    """An average price is rounded: multiplied by a million pieces it told another profit than the executions."""
    world = World({0: Side.LONG})
    (entry,) = world.bar()
    third = RULES.floor_qty(entry.request.qty / 3)
    world.fill(entry, qty=str(third), price="100.1", cause=Cause.ENTRY)
    world.fill(entry, qty=str(third), price="100.2", cause=Cause.ENTRY)
    rest = entry.request.qty - 2 * third
    world.fill(entry, qty=str(rest), price="100.4", cause=Cause.ENTRY)
    (record,) = world.fill(side=OrderSide.SELL, qty=str(entry.request.qty), price="105", cause=Cause.TAKE_PROFIT)
    paid = third * D("100.1") + third * D("100.2") + rest * D("100.4")
    assert record.trade.pnl_usd == record.trade.gross_pnl == entry.request.qty * 105 - paid


@pytest.mark.parametrize(("most", "refused"), [("0", False), ("0.0505", False), ("0.0504", True)])
def test_a_signal_that_costs_too_much_of_its_risk_is_refused_and_followed(most, refused):
    world = World({0: Side.SHORT})
    # half a thousandth of entry and stop, 100 and 102, of a risk of 2
    world.terms = replace(world.terms, limits=replace(world.terms.limits, max_cost_r=D(most)))
    world.trader = world.fresh()
    (command,) = world.bar()
    assert isinstance(command, Refused) is refused
    if refused:
        assert (command.gate, command.detail) == ("costs", f"it would cost 0.05 R, and may cost {most} R")
        assert world.trader.counts["gate:costs"] == 1
