"""The pairlists are asked on a schedule: what they remove takes no entries, what they let in is followed from then on."""

from __future__ import annotations

import dataclasses
from decimal import Decimal as D
from types import SimpleNamespace

import pytest

import settings as settings_module
from bootstrap import universe as building
from domain.candle import Bar, Bars, ClosedBar, Series
from domain.durations import DAY_MS
from domain.errors import ConfigError, Rejected, Unavailable
from domain.exits import ExitPlan
from domain.order import Cause
from domain.pairlists import (
    PriceFilter,
    RangeStabilityFilter,
    SpreadFilter,
    StaticPairList,
    VolatilityFilter,
    VolumePairList,
)
from domain.records import Fill
from engine import selection as module
from engine.commands import Refused
from engine.following import Following
from engine.selection import NOT_NAMED, Removal, Selection, SelectionWatch, Universe, outside
from engine.trader import Plan, Trader, TraderTerms
from engine.universe import candidates
from market.frames import Frames
from tests.unit.test_decisions import LIMITS, STEP, Theirs
from tests.unit.test_leave import WHO, enter, filled, placed
from tests.unit.test_pairlists import NOW, A, B, C, daily, rules


class Klines:
    def __init__(self, **bars: Bars) -> None:
        self.bars = {f"{base}/USDT:USDT": one for base, one in bars.items()}
        self.asked: list[tuple[str, int]] = []
        self.error: Exception | None = None

    async def latest(self, series: Series, count: int) -> Bars:
        self.asked.append((series.symbol, count))
        if self.error is not None:
            raise self.error
        return self.bars.get(series.symbol, Bars.empty())[-count:]


def market(**turnovers: int):
    return {
        symbol: rules(symbol, turnover_24h=D(turnover), listed_at=0)
        for symbol, turnover in ((f"{base}/USDT:USDT", turnover) for base, turnover in turnovers.items())
    }


def selection(klines=None, *pairlists) -> Selection:
    return Selection(pairlists or (VolumePairList(2),), lambda known: candidates(known, (), ()), klines or Klines())


async def test_each_filter_is_asked_about_what_is_left_only():
    klines = Klines(A=daily(1, 2), B=daily(1, 1))
    chosen = await selection(klines, VolumePairList(2), RangeStabilityFilter(2)).choose(market(A=3, B=2, C=1), NOW)
    assert chosen.kept == (A,)
    assert chosen.removed == {
        C: Removal("VolumePairList", "place 3 by turnover, the first 2 are kept"),
        B: Removal("RangeStabilityFilter", "rate of change 0.0000 over 2 days, below 0.01"),
    }
    assert sorted(klines.asked) == [(A, 2), (B, 2)]


async def test_candles_are_kept_as_long_as_the_filter_says(monkeypatch):
    klines = Klines(A=daily(1, 2), B=daily(1, 2))
    chooses = selection(klines, StaticPairList(), RangeStabilityFilter(2, refresh_period=3_600))
    assert chooses.period_s == 3_600
    for _ in range(2):
        await chooses.choose(market(A=1, B=2), NOW)
    assert len(klines.asked) == 2
    chooses._daily = {key: (at - 3_601, bars) for key, (at, bars) in chooses._daily.items()}
    # what is a candidate no more is not kept
    await chooses.choose(market(A=1), NOW)
    assert (len(klines.asked), list(chooses._daily)) == (3, [(A, 2)])


def test_the_shortest_period_of_the_filters_counts():
    assert selection(None, StaticPairList(), SpreadFilter()).period_s == 1_800
    assert selection(None, VolumePairList(2, refresh_period=900), VolatilityFilter()).period_s == 900


async def test_a_symbol_without_candles_is_removed_and_an_exchange_that_is_silent_decides_nothing(monkeypatch):
    klines = Klines()
    chooses = selection(klines, StaticPairList(), RangeStabilityFilter())
    klines.error = Rejected("no such symbol")
    assert (await chooses.choose(market(A=1), NOW)).removed == {
        A: ("RangeStabilityFilter", "no daily candles are known")
    }
    klines.error = Unavailable("away")
    with pytest.raises(Unavailable, match="away"):
        await chooses.choose(market(A=1, B=1), NOW)


async def test_facts_that_do_not_come_are_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(module, "REFRESH_S", 0.0)
    with pytest.raises(Unavailable, match="were not there within"):
        await selection(Klines(), StaticPairList(), RangeStabilityFilter()).choose(market(A=1), NOW)


class World:
    """A trader that is stepped bar by bar, what it follows, and a watch over the symbols; A and B are followed."""

    def __init__(self, pairlists, **turnovers) -> None:
        self.rows: dict[str, list[Bar]] = {A: [], B: [], C: []}
        self.known = market(**turnovers)
        plans = {"theirs": Plan(Theirs({0: enter, 3: enter}), ExitPlan())}
        terms = TraderTerms(WHO, LIMITS, plans, paper=False, unfilled_timeout_ms=99 * STEP)
        self.trader = Trader(terms, dict(self.known), lambda series: Bars.of(self.rows[series.symbol]))
        self.trader.situation.equity, self.trader.situation.market_time = D(10_000), 0
        wanted = {Series(symbol, "3m"): 50 for symbol in (A, B)}
        self.streams: list[Series] = []
        self.loaded: list[Series] = []
        self.barren: set[str] = set()
        self.parts = SimpleNamespace(
            wanted=wanted, looked_at=frozenset(), finest="3m", windows=Frames(dict(wanted)), trader=self.trader,
            candles=SimpleNamespace(run=self._load), broker=SimpleNamespace(on_bars=lambda *_: None),
            feed=SimpleNamespace(follow=self.streams.extend),
        )  # fmt: skip
        self.following, self.learned, self.error = Following(self.parts), [], None
        self.watch = SelectionWatch(
            selection(Klines(), *pairlists), Universe(0, (A, B), {}), self.trader, self._instruments, self._learn
        )
        for symbol in (A, B):
            self.trader.warm_up(symbol, 0)

    async def _load(self, wanted) -> None:
        self.loaded += wanted
        for series in wanted:
            if series.symbol not in self.barren:
                self.parts.windows.seed(series, Bars.of([(0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)]))

    async def _instruments(self):
        if self.error is not None:
            raise self.error
        return self.known

    async def _learn(self, symbols) -> None:
        self.learned += symbols

    def bar(self, symbol: str, low: float = 99.5):
        rows = self.rows[symbol]
        rows.append(Bar(len(rows) * STEP, 100, 100.5, low, 100, 1, 1))
        return self.trader.on_bar(ClosedBar(Series(symbol, "3m"), rows[-1]))

    async def refresh(self) -> None:
        await self.watch.refresh(self.following)


def stopped_out(trader: Trader, entry) -> None:
    request = entry.request
    trader.on_fill(Fill(
        time=2 * STEP, exec_id="s", order_id="", venue_order_id="s", symbol=request.symbol, side=request.side.opposite,
        qty=request.qty, price=D(95), fee=D(0), closed_qty=request.qty, cause=Cause.STOP_LOSS,
    ))  # fmt: skip


async def test_a_symbol_that_is_removed_keeps_its_position_to_its_end_and_takes_no_entries():
    world = World((VolumePairList(1),), A=2, B=1)
    (entry,) = placed(world.bar(A))
    filled(world.trader, entry, "e")
    held = world.trader.book.of_symbol(A)
    world.known = market(A=1, B=2)
    await world.refresh()
    assert world.trader.situation.outside == {A: "VolumePairList: place 2 by turnover, the first 1 are kept"}
    # it is followed and managed as before
    assert (world.following.chosen, Series(A, "3m") in world.parts.wanted) == ([A, B], True)
    world.bar(A)
    assert world.trader.book.of_symbol(A) is held
    stopped_out(world.trader, entry)
    assert world.trader.flat() == [held]
    world.trader.finish(held)
    # the signal of the bar after next is not traded, and is followed as a phantom like any that is refused
    world.bar(A)
    (refused,) = [one for one in world.bar(A) if isinstance(one, Refused)]
    assert (refused.gate, refused.detail) == ("universe", "VolumePairList: place 2 by turnover, the first 1 are kept")
    world.rows[B] += world.rows[A][:3]
    assert len(placed(world.bar(B))) == 1
    # let in again, it is traded again
    world.known = market(A=2, B=1)
    await world.refresh()
    assert A not in world.trader.situation.outside


async def test_what_is_let_in_is_followed_and_decided_on():
    world = World((VolumePairList(2),), A=3, B=2, C=1)
    world.trader.decisions.leaving.add(C)
    world.known = market(A=3, B=1, C=2)
    await world.refresh()
    assert (world.learned, world.loaded, world.streams) == ([C], [Series(C, "3m")], [Series(C, "3m")])
    assert world.following.chosen == [A, B, C]
    assert world.trader.situation.outside == {B: "VolumePairList: place 3 by turnover, the first 2 are kept"}
    assert len(placed(world.bar(C))) == 1
    await world.refresh()
    assert (world.learned, len(world.streams)) == ([C], 1)
    report = world.watch.report()
    assert (report["pairlists"], report["kept"], report["former"]) == (["VolumePairList"], [A, C], "")
    assert [one["symbol"] for one in report["removed"]] == [B]


async def test_what_has_no_candles_is_not_taken_on_and_tried_again():
    world = World((VolumePairList(3),), A=3, B=2, C=1)
    world.barren = {C}
    await world.refresh()
    assert (world.watch.universe.kept, world.streams, world.following.chosen) == ((A, B), [], [A, B])
    assert world.watch.universe.removed[C] == module.LACKING
    assert Series(C, "3m") not in world.parts.wanted
    world.barren = set()
    await world.refresh()
    assert (world.watch.universe.kept, world.streams) == ((A, B, C), [Series(C, "3m")])


async def test_there_is_a_bound_to_what_is_followed(monkeypatch):
    monkeypatch.setattr(module, "FOLLOWED_MAX", 2)
    world = World((VolumePairList(3),), A=3, B=2, C=1)
    await world.refresh()
    assert (world.watch.universe.kept, world.streams) == ((A, B), [])
    assert world.watch.universe.removed[C] == module.FULL


@pytest.mark.parametrize("error", [Unavailable("no answer"), Rejected("busy")])
async def test_a_refresh_that_fails_leaves_all_as_it_was_and_is_told_once(error, caplog):
    world = World((VolumePairList(1),), A=2, B=1)
    await world.refresh()
    before = dict(world.trader.situation.outside)
    world.known, world.error = market(A=1, B=2), error
    for _ in range(2):
        await world.refresh()
    assert (world.trader.situation.outside, world.watch.universe.kept) == (before, (A,))
    assert world.watch.report()["former"] == str(error)
    world.error = None
    await world.refresh()
    assert (world.watch.universe.kept, world.watch.report()["former"]) == ((B,), "")


async def test_what_the_exchange_did_not_have_at_the_start_is_for_the_next_start():
    world = World((VolumePairList(3),), A=3, B=2)
    world.known = market(A=3, B=2, C=9)
    await world.refresh()
    assert (world.watch.universe.kept, world.streams) == ((A, B), [])


def test_what_is_followed_and_no_candidate_any_more_takes_no_entries():
    assert outside(Universe(0, (A,), {C: Removal("SpreadFilter", "wide")}), [A, B, C]) == {
        B: NOT_NAMED, C: "SpreadFilter: wide",
    }  # fmt: skip


def test_candidates_are_what_is_listed_or_all_by_turnover():
    known = market(A=1, B=3, C=2)
    assert candidates(known, (), (B,)) == [C, A]
    assert candidates(known, ("C", "*", "NOPE"), ()) == [C, A, B]
    known[C] = dataclasses.replace(known[C], trading=False)
    known[B] = dataclasses.replace(known[B], category="stock")
    assert candidates(known, (), ()) == [A]
    # who lists it by hand has it followed, and its entries are refused
    assert candidates(known, ("B", "C"), ()) == [B]


def load(tmp_path, text: str):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return settings_module.load(path, {})


async def test_the_first_selection_takes_the_time_of_the_market_and_follows_something_in_any_case(tmp_path):
    settings = load(tmp_path, "pairlists: [{method: StaticPairList}, {method: PriceFilter, max_price: 1}]")
    assert building.pairlists_of(settings) == [StaticPairList(), PriceFilter(max_price=1.0)]
    chooses = selection(Klines(A=daily(1)), *building.pairlists_of(settings))
    chosen = await building.first(chooses, market(A=2, B=1))
    assert (chosen.time, chosen.kept) == (NOW // DAY_MS * DAY_MS, ())
    assert building.followed(chooses, chosen, market(A=2, B=1), 1) == [A]
    assert outside(chosen, [A]) == {A: "PriceFilter: price 100 is above 1"}
    with pytest.raises(ConfigError, match="none of them can be traded"):
        await building.first(chooses, {})


def test_a_list_of_freqtrade_is_taken_as_it_is(tmp_path):
    text = """
pairlists:
  - {method: VolumePairList, number_assets: 20, sort_key: quoteVolume, min_value: 0, refresh_period: 1800}
  - {method: AgeFilter, min_days_listed: 10}
  - {method: PrecisionFilter}
  - {method: PriceFilter, low_price_ratio: 0.01, min_price: 0.00000010}
  - {method: SpreadFilter, max_spread_ratio: 0.005}
  - {method: RangeStabilityFilter, lookback_days: 10, min_rate_of_change: 0.01, refresh_period: 86400}
  - {method: VolatilityFilter, lookback_days: 10, min_volatility: 0.05, max_volatility: 0.50, refresh_period: 86400}
  - {method: PerformanceFilter, minutes: 1440, min_profit: 0.01}
  - {method: ShuffleFilter, seed: 42}
"""
    held = load(tmp_path, text)
    assert [type(one).__name__ for one in building.pairlists_of(held)] == [one.method for one in held.pairlists]
    # what a process is given on its way to another is the same
    assert settings_module.with_values(held, {"trading.top": "3"}).pairlists == held.pairlists


@pytest.mark.parametrize(("text", "said"), [
    ("[{method: VolumPairList}]", "method 'VolumPairList': there are StaticPairList, VolumePairList, AgeFilter"),
    ("[{method: VolumePairList}]", "VolumePairList needs number_assets, such as 20"),
    ("[{method: VolumePairList, number_assets: 5, min_days_listed: 3}]",
     "VolumePairList has no min_days_listed; allowed are number_assets, sort_key, min_value, max_value, refresh_period"),
    ("[{method: StaticPairList, seed: 3}]", "StaticPairList has no seed; it has none"),
    ("[{method: VolumePairList, number_asset: 5}]", "did you mean number_assets?"),
    ("[{method: VolumePairList, number_assets: 5, sort_key: askVolume}]", "pairlists.0.sort_key"),
    ("[{method: VolumePairList, number_assets: x}]", "pairlists.0.number_assets"),
    ("[{method: AgeFilter}]", "the first is AgeFilter: begin with StaticPairList or VolumePairList"),
    ("[{method: StaticPairList}, {method: AgeFilter, min_days_listed: 9, max_days_listed: 3}]",
     "max_days_listed 3 is below min_days_listed 9"),
    ("[{method: StaticPairList}, {method: VolatilityFilter, lookback_days: 0}]", "lookback_days 0; give 1 or more"),
    ("[{method: StaticPairList}, {method: VolatilityFilter, refresh_period: 5}]", "pairlists.1.refresh_period"),
    ("[{method: StaticPairList}, {method: PrecisionFilter, stoploss: 0}]", "give a distance such as -0.05"),
    ("[x]", "its keys are method, number_assets"), ("{method: x}", "should be a list"), ("[{}]", "pairlists.0.method"),
])  # fmt: skip
def test_what_is_wrong_is_named_with_what_may_stand_there(tmp_path, text, said):
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, f"pairlists: {text}")
    assert said in str(raised.value)
