"""Methods of freqtrade strategies that know the position: what they are told, and what becomes of what they say."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal as D

import msgspec
import pytest

from domain.candle import ClosedBar, Series
from domain.errors import BadData
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.holding import Adjust, Holding
from domain.instrument import Instrument
from domain.order import Side
from domain.phantom import follow, open_phantom
from domain.signal import Leave, Signal
from engine.decisions import Decisions, Plan
from strategies.freqtrade import stops
from strategies.freqtrade.trades import OpenTrade
from tests.unit.test_freqtrade_strategies import HOUR, SYMBOL, folder, frames, made, method

__all__ = ["folder"]
FEE = 0.00055
ROW = 500
BTC = Instrument(SYMBOL, "BTCUSDT", D("0.01"), D("0.01"), D("0.01"), D(100_000), D(5), D(50))


def holding(columns, row: int = ROW, *, side: Side = Side.LONG, bars: int = 5, **changes) -> Holding:
    close = columns["close"].item(row)
    entry = changes.pop("entry", close)
    stop = entry * (1 - side.sign * 0.1)
    values = {"stop": stop, "best": max(close, entry), "worst": min(close, entry), "remaining": 1.0} | changes
    return Holding(SYMBOL, side, entry, stop, values["stop"], 0.0, close, values["best"], values["worst"],
                   values["remaining"], bars)  # fmt: skip


def stop_hook(body: str, head: str = "**kwargs") -> str:
    told = f"def custom_stoploss(self, pair, trade, current_time, current_rate, current_profit, {head}):"
    return method("use_custom_stoploss = True\n" + told + "\n    " + body)


def exit_hook(body: str) -> str:
    return method(
        f"def custom_exit(self, pair, trade, current_time, current_rate, current_profit, **kwargs):\n    {body}"
    )


def quiet(columns, row: int = ROW):
    """Take away what the strategy says on a row of its own accord."""
    for name in ("enter_long", "enter_short", "exit_long", "exit_short"):
        columns[name][row] = False
    return columns


def test_one_without_such_methods_manages_nothing(folder):
    assert made(folder).manage is None
    assert made(folder, more=method("use_custom_stoploss = False\ndef custom_stoploss(self): pass")).manage is None
    assert made(folder, more=method("use_exit_signal = False") + exit_hook("return True")).manage is None


@pytest.mark.parametrize("side", list(Side))
def test_a_trade_counts_its_gain_after_fees_and_tells_when_and_why_it_began(folder, side):
    strategy = made(folder, more=exit_hook("self.seen = trade, current_time, current_rate, current_profit"))
    columns = quiet(strategy.columns_of(SYMBOL, frames()))
    columns.rows["enter_tag"] = None
    columns.rows.loc[ROW - 5, "enter_tag"] = "why"
    close = columns["close"].item(ROW)
    assert strategy.manage(holding(columns, side=side, entry=close * 0.99), ROW, columns) is None
    trade, now, rate, profit = strategy._held.seen
    spent, got = close * 0.99 * (1 + side.sign * FEE), close * (1 - side.sign * FEE)
    assert (rate, profit) == (close, pytest.approx(side.sign * (got / spent - 1)))
    assert profit == trade.calc_profit_ratio(rate)
    assert trade.calc_profit(rate) == pytest.approx(side.sign * (got - spent))
    assert now == datetime.fromtimestamp((columns.opened.item(ROW) + HOUR) / 1000, UTC)
    assert (now - trade.open_date_utc).total_seconds() == 5 * 3600
    assert (trade.pair, trade.is_short, trade.enter_tag) == (SYMBOL, side is Side.SHORT, "why")
    assert (trade.base_currency, trade.stake_currency, trade.leverage) == ("BTC", "USDT", 1.0)


def test_what_a_trade_is_not_told_of_is_refused_by_name():
    trade = OpenTrade(
        Holding(SYMBOL, Side.LONG, 100.0, 90.0, 95.0, 0.0, 101.0, 103.0, 99.0, 0.5, 3), 0, timeframe="1h",
        strategy="Mine", tag=None, fee=0.0,
    )  # fmt: skip
    assert (trade.max_rate, trade.min_rate, trade.stop_loss, trade.amount, trade.stake_amount) == (103, 99, 95, 0.5, 50)
    with pytest.raises(BadData, match=r"trade.get_custom_data is not offered to freqtrade strategies"):
        trade.get_custom_data("key")


@pytest.mark.parametrize("said", ["True", "'some reason'"])
def test_a_custom_exit_leaves_and_is_asked_only_where_no_signal_leaves(folder, said):
    strategy = made(folder, more=method("exit_profit_only = True") + exit_hook(f"return {said}"))
    columns = quiet(strategy.columns_of(SYMBOL, frames()))
    assert strategy.manage(holding(columns), ROW, columns) == Leave(Side.LONG)
    columns["exit_long"][ROW] = True
    # a loss: the signal does not count, and the method is not asked
    assert strategy.manage(holding(columns), ROW, columns) is None
    won = holding(columns, entry=columns["close"].item(ROW) * 0.9)
    assert strategy.manage(won, ROW, columns) == Leave(Side.LONG)
    assert strategy.manage(holding(columns, side=Side.SHORT), ROW, columns) == Leave(Side.SHORT)


def test_signals_to_leave_come_from_one_place_alone(folder):
    strategy = made(folder, more=exit_hook("return None"))
    columns = strategy.columns_of(SYMBOL, frames())
    said = [strategy.step(row, columns, SYMBOL) for row in range(900)]
    assert not any(isinstance(one, Leave) or (one is not None and one.turns) for one in said)
    assert "least_gain" not in strategy.exits


def test_the_stop_follows_the_best_price_of_the_bar_and_is_never_loosened(folder):
    strategy = made(folder, more=stop_hook("return -0.02"))
    columns = strategy.columns_of(SYMBOL, frames())
    high, low = columns["high"].item(ROW), columns["low"].item(ROW)
    assert strategy.manage(holding(columns), ROW, columns) == Adjust(stop=high * 0.98)
    assert strategy.manage(holding(columns, side=Side.SHORT), ROW, columns) == Adjust(stop=low * 1.02)
    assert strategy.manage(holding(columns, stop=high * 0.985), ROW, columns) is None


@pytest.mark.parametrize("said", ["None", "0", "float('nan')", "float('inf')", "-1", "-0.5"])
def test_a_distance_that_is_none_or_looser_leaves_the_stop_where_it_is(folder, said):
    strategy = made(folder, more=stop_hook(f"return {said}"))
    columns = strategy.columns_of(SYMBOL, frames())
    assert strategy.manage(holding(columns), ROW, columns) is None
    assert strategy._hooks.first_stop(SYMBOL, Side.LONG, ROW, columns) == pytest.approx(columns["close"][ROW] * 0.9)


def test_the_first_stop_is_what_the_method_says_at_the_entry(folder):
    strategy = made(folder, more=stop_hook("return -0.03"))
    columns = strategy.columns_of(SYMBOL, frames())
    row = next(row for row in range(100, 900) if isinstance(strategy.step(row, columns, SYMBOL), Signal))
    signal = strategy.step(row, columns, SYMBOL)
    assert signal.stop == pytest.approx(signal.entry * (1 - signal.side.sign * 0.03))


def test_only_a_method_that_takes_after_fill_may_begin_farther_away(folder):
    strategy = made(folder, more=stop_hook("return -0.2 if after_fill else -0.15", "after_fill, **kwargs"))
    columns = strategy.columns_of(SYMBOL, frames())
    close = columns["close"].item(ROW)
    assert strategy._hooks.first_stop(SYMBOL, Side.LONG, ROW, columns) == pytest.approx(close * 0.8)
    plain = made(folder, more=stop_hook("return -0.2"))
    assert plain._hooks.first_stop(SYMBOL, Side.LONG, ROW, columns) == pytest.approx(close * 0.9)


@pytest.mark.parametrize("side", list(Side))
def test_helpers_give_the_distance_at_which_the_wanted_price_lies(side):
    short = side is Side.SHORT
    entry, rate = 100.0, 100.0 + side.sign * 10
    profit = side.sign * (rate / entry - 1)
    from_open = stops.stoploss_from_open(0.05, profit, is_short=short)
    assert rate * (1 - side.sign * from_open) == pytest.approx(entry * (1 + side.sign * 0.05))
    absolute = stops.stoploss_from_absolute(entry, rate, is_short=short)
    assert rate * (1 - side.sign * absolute) == pytest.approx(entry)
    # beyond the price there is no distance, which freqtrade takes for no wish
    assert stops.stoploss_from_absolute(rate + side.sign, rate, is_short=short) == 0


def test_a_refused_exit_is_not_made_and_the_next_reason_is_tried(folder):
    confirm = method("""
minimal_roi = {"0": 0.03}
def confirm_trade_exit(self, pair, trade, order_type, amount, rate, time_in_force, exit_reason, current_time, **kwargs):
    self.asked.append(exit_reason)
    return exit_reason not in self.refused""")
    strategy = made(folder, more=confirm)
    columns = quiet(strategy.columns_of(SYMBOL, frames()))
    columns["exit_long"][ROW] = True
    won = holding(columns, entry=columns["close"].item(ROW) * 0.9)
    for refused, expected in ((("exit_signal", "roi"), None), (("exit_signal",), Leave(Side.LONG))):
        strategy._held.asked, strategy._held.refused = [], refused
        assert strategy.manage(won, ROW, columns) == expected
        assert strategy._held.asked == ["exit_signal", "roi"]
    # no order rests for a gain that may be refused
    assert strategy.exits["minimal_roi"] == {}
    assert strategy._first_gain == 0.0


def test_gains_are_not_taken_while_the_entry_is_signalled(folder):
    strategy = made(folder, more=method('ignore_roi_if_entry_signal = True\nminimal_roi = {"0": 0.05, "240": 0.02}'))
    columns = quiet(strategy.columns_of(SYMBOL, frames()))
    close = columns["close"].item(ROW)
    for bars, entry, expected in ((3, 0.96, None), (4, 0.96, Leave(Side.LONG)), (3, 0.94, Leave(Side.LONG))):
        assert strategy.manage(holding(columns, entry=close * entry, bars=bars), ROW, columns) == expected
    columns["enter_long"][ROW] = True
    assert strategy.manage(holding(columns, entry=close * 0.9), ROW, columns) is None


def test_a_method_sees_no_bar_later_than_the_one_that_closes_and_no_bars_of_another_symbol(folder):
    body = "rows, _ = self.dp.get_analyzed_dataframe(pair, self.timeframe)\n    self.last = rows['date'].iloc[-1]"
    strategy = made(folder, more=exit_hook(body))
    columns = quiet(strategy.columns_of(SYMBOL, frames()))
    strategy.columns_of("ETH/USDT:USDT", frames())
    strategy.manage(holding(columns), ROW, columns)
    assert strategy._held.last.timestamp() * 1000 == columns.opened.item(ROW)
    asking = made(folder, more=exit_hook("self.dp.get_pair_dataframe(pair, self.timeframe)"))
    columns = quiet(asking.columns_of(SYMBOL, frames()))
    with pytest.raises(BadData, match="get_pair_dataframe"):
        asking.manage(holding(columns), ROW, columns)


def test_a_phantom_is_moved_and_left_by_the_same_methods(folder):
    body = "return 'late' if current_time.timestamp() - trade.open_date_utc.timestamp() >= 6 * 3600 else None"
    strategy = made(folder, more=stop_hook("return -0.04") + exit_hook(body))
    columns = strategy.columns_of(SYMBOL, frames())
    for name in ("exit_long", "exit_short"):
        columns[name][:] = False
    bars = frames()["1h"]
    row = next(row for row in range(100, 800) if isinstance(strategy.step(row, columns, SYMBOL), Signal))
    costs = Costs()
    phantom = open_phantom(
        strategy.step(row, columns, SYMBOL), ExitPlan(), BTC, costs, phantom_id="a", gate="", score=None, features=None
    )
    first = phantom.bracket.stop
    for later in range(row + 1, row + 7):
        assert not phantom.outcome
        follow(phantom, bars.row(later), BTC, costs, manage=lambda held, at=later: strategy.manage(held, at, columns))
    assert (phantom.exit_reason, phantom.exit_time) == ("exit_signal", bars.open_time.item(row) + 7 * HOUR)
    assert phantom.side.sign * (phantom.bracket.stop - first) >= 0


def parts_hook(body: str) -> str:
    return method(
        f"position_adjustment_enable = True\ndef adjust_trade_position(self, trade, current_profit, **kwargs):\n    {body}"
    )


@pytest.mark.parametrize(("said", "remaining", "expected"), [
    ("-trade.stake_amount / 2", 1.0, Adjust(keep=0.5)), ("(-trade.stake_amount / 2, 'why')", 0.5, Adjust(keep=0.25)),
    ("-trade.stake_amount", 0.5, Leave(Side.LONG)), ("None", 1.0, None), ("(None, '')", 1.0, None), ("0", 1.0, None),
    ("-trade.stake_amount / 2 if trade.nr_of_successful_exits == 0 else None", 0.5, None),
])  # fmt: skip
def test_a_stake_below_zero_takes_that_part_of_what_is_open_off(folder, said, remaining, expected):
    strategy = made(folder, more=parts_hook(f"return {said}"))
    columns = quiet(strategy.columns_of(SYMBOL, frames()))
    position = msgspec.structs.replace(holding(columns, remaining=remaining), parts=int(remaining < 1))
    assert strategy.manage(position, ROW, columns) == expected


@pytest.mark.parametrize("said", ["10", "(10.5, 'more')", "float('nan')"])
def test_an_addition_is_refused_by_name_when_it_is_asked_for(folder, said):
    strategy = made(folder, more=parts_hook(f"return {said}"))
    columns = quiet(strategy.columns_of(SYMBOL, frames()))
    with pytest.raises(BadData, match=r"adjust_trade_position, which returns .* is not offered"):
        strategy.manage(holding(columns), ROW, columns)


def test_without_its_switch_nobody_asks_for_parts(folder):
    more = parts_hook("return 10") + method("position_adjustment_enable = False")
    assert made(folder, more=more).manage is None


def test_a_phantom_counts_the_parts_that_were_taken_off(folder):
    strategy = made(
        folder, more=parts_hook("return -trade.stake_amount / 2 if trade.nr_of_successful_exits < 2 else None")
    )
    columns = strategy.columns_of(SYMBOL, frames())
    bars = frames()["1h"]
    row = next(row for row in range(100, 800) if isinstance(strategy.step(row, columns, SYMBOL), Signal))
    phantom = open_phantom(
        strategy.step(row, columns, SYMBOL),
        ExitPlan(),
        BTC,
        Costs(),
        phantom_id="a",
        gate="",
        score=None,
        features=None,
    )
    for later in range(row + 1, row + 5):
        follow(phantom, bars.row(later), BTC, Costs(), manage=lambda held, at=later: strategy.manage(held, at, columns))
    assert (phantom.parts, phantom.rest, phantom.outcome) == (2, D("0.25"), "")


def test_a_live_bot_asks_it_as_its_bar_closes_and_switches_it_off_when_it_adds(folder):
    strategy, bars = made(folder, more=stop_hook("return -0.02") + parts_hook("return self.more")), frames()["1h"]
    strategy._held.more = None
    series = Series(SYMBOL, "1h")
    decisions = Decisions({"Mine": Plan(strategy, ExitPlan())}, lambda _: bars[: ROW + 1], {}, 0.0)
    decisions.warm_up(SYMBOL, 0)
    decisions.step("Mine", ClosedBar(series, bars.row(ROW)))
    position = holding(strategy.columns_of(SYMBOL, {"1h": bars}))
    start = bars.open_time.item(ROW)
    assert decisions.manage("Mine", series, start, position) == Adjust(stop=bars.high.item(ROW) * 0.98)
    strategy._held.more = 10.0
    assert decisions.manage("Mine", series, start, position) is None
    assert "adjust_trade_position, which returns 10.0" in decisions.off["Mine"]
