"""Strategies with symbols, a blacklist, risk and leverage of their own."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal as D

import pytest

from bootstrap import parts
from bootstrap.parts import check_scopes
from domain.candle import Bar, Bars, ClosedBar, Series
from domain.errors import ConfigError
from domain.exits import ExitPlan
from domain.instrument import Instrument
from domain.order import Cause
from domain.records import Adjusted
from domain.signal import Leave
from domain.source import Source
from engine.commands import Refused
from engine.trader import Plan, Trader, TraderTerms
from tests.unit.test_decisions import LIMITS, STEP, A, B, Theirs
from tests.unit.test_leave import WHO, enter, filled, placed
from tests.unit.test_settings import load

RULES = {
    name: Instrument(name, name[0] + "USDT", D("0.1"), D("0.001"), D("0.001"), D(100_000), D(5), D(50))
    for name in (A, B)
}


@pytest.mark.parametrize(("symbols", "blacklist", "taken"), [
    ((), (), {A, B}), (("A",), (), {A}), (("AUSDT", "b/usdt"), (), {A, B}), (("*",), ("B",), {A}), ((), ("A*",), {B}),
    (("C",), (), set()), (("A",), ("A",), set()),
])  # fmt: skip
def test_symbols_are_written_in_any_way_and_a_blacklist_takes_some_out(symbols, blacklist, taken):
    plan = Plan(None, ExitPlan(), symbols, blacklist)
    assert {symbol for symbol in (A, B) if plan.takes(symbol)} == taken


def trader_of(on, **own) -> tuple[Trader, dict[str, list[Bar]]]:
    rows: dict[str, list[Bar]] = {A: [], B: []}
    plans = {"theirs": Plan(Theirs(on), ExitPlan(), **own)}
    terms = TraderTerms(WHO, LIMITS, plans, paper=False, unfilled_timeout_ms=9 * STEP)
    trader = Trader(terms, dict(RULES), lambda series: Bars.of(rows[series.symbol]))
    trader.situation.equity = D(10_000)
    return trader, rows


def bar(trader, rows, symbol):
    rows[symbol].append(Bar(len(rows[symbol]) * STEP, 100, 100.5, 99.5, 100, 1, 1))
    return trader.on_bar(ClosedBar(Series(symbol, "3m"), rows[symbol][-1]))


def test_what_it_does_not_take_gives_no_signal_not_even_a_refused_one():
    trader, rows = trader_of({0: enter}, symbols=("A",))
    for symbol in (A, B):
        trader.warm_up(symbol, 0)
    commands = [*bar(trader, rows, B), *bar(trader, rows, A)]
    assert [one.request.symbol for one in placed(commands)] == [A]
    assert not [one for one in commands if isinstance(one, Refused)]
    assert trader.counts["signals"] == 1


def test_a_position_where_it_takes_nothing_any_more_is_still_left_and_not_entered_again():
    trader, rows = trader_of({0: enter})
    trader.warm_up(A, 0)
    (entry,) = placed(bar(trader, rows, A))
    filled(trader, entry, "e")
    again, fresh = trader_of({1: enter, 2: lambda *_: Leave()}, blacklist=("A",))
    fresh[A] += rows[A]
    for record in trader.book.live():
        again.restore(record)
    again.warm_up(A, 0)
    assert placed(bar(again, fresh, A)) == []
    (out,) = placed(bar(again, fresh, A))
    assert out.intent.cause is Cause.EXIT_SIGNAL
    assert again.counts["signals"] == 0


def sized(made: Adjusted | None = None, **own):
    trader, rows = trader_of({0: enter}, **own)
    if made is not None:
        trader.adjustments.restore(made)
    trader.warm_up(A, 0)
    (entry,) = placed(bar(trader, rows, A))
    return entry.request.qty, entry.intent.opening.leverage


def test_its_own_risk_and_leverage_size_its_positions():
    usual, leverage = sized()
    half, _ = sized(risk_percent=D("0.5"))
    assert abs(half * 2 - usual) <= D("0.002")
    assert sized(leverage=D(2))[1] == 2 < leverage
    # the limit of all holds
    assert sized(leverage=D(80))[1] == leverage


def test_a_lower_risk_that_the_operator_sets_holds_for_it_too_and_a_higher_one_does_not_raise_its_own():
    low = Adjusted(time=0, risk_percent=D("0.25"))
    assert sized(low, risk_percent=D("0.5")) == sized(low) == sized(risk_percent=D("0.25"))
    high = Adjusted(time=0, risk_percent=D(2))
    assert sized(high, risk_percent=D("0.5")) == sized(risk_percent=D("0.5"))


def test_an_entry_that_matches_nothing_is_named_with_its_setting():
    plans = {"theirs": Plan(None, ExitPlan(), symbols=("A", "NOPE"))}
    with pytest.raises(ConfigError, match=r"strategies.theirs.symbols: 'NOPE' matches no symbol of the exchange"):
        check_scopes(plans, RULES, [A])
    with pytest.raises(ConfigError, match=r"strategies.theirs.blacklist: 'NOPE\*' matches"):
        check_scopes({"theirs": replace(plans["theirs"], symbols=(), blacklist=("NOPE*",))}, RULES, [A])
    check_scopes({"theirs": Plan(None, ExitPlan(), symbols=("B",))}, RULES, [A])


def test_settings_say_it_in_lists_or_with_commas(tmp_path):
    text = "strategies: {scalp: {symbols: 'BTC, ETH', blacklist: [DOGE], risk_percent: 0.5, leverage: 2}}"
    held = parts.plans(load(tmp_path, text), source=Source.SYNTHETIC)["scalp"]
    assert (held.symbols, held.blacklist) == (("BTC", "ETH"), ("DOGE",))
    assert (held.risk_percent, held.leverage) == (D("0.5"), D(2))
    for wrong in ("risk_percent: 0", "risk_percent: 11", "leverage: 0.5", "symbol: BTC"):
        with pytest.raises(ConfigError):
            load(tmp_path, f"strategies: {{scalp: {{{wrong}}}}}")
