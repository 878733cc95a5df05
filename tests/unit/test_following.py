"""What is held is followed, whoever chose the symbol and whatever the loading of its bars comes to."""

from __future__ import annotations

from decimal import Decimal as D
from types import SimpleNamespace

import pytest

from domain.candle import Bars, Series
from domain.errors import Rejected
from domain.exits import ExitPlan
from domain.order import Side
from domain.records import Opening
from engine.following import Following
from engine.position import Position, bracket_of
from market.frames import Frames

BTC, SOL = "BTC/USDT:USDT", "SOL/USDT:USDT"


def parts(candles, *, known: bool = True, looked_at: frozenset[str] = frozenset()):
    wanted = {Series(BTC, "3m"): 50, Series(BTC, "15m"): 20}
    opening = Opening(
        strategy="s", timeframe="5m", bar_start=0, side=Side.LONG, entry=D(100), stop=D(98), target=D(105), plan=ExitPlan(),
        leverage=D(1),
    )  # fmt: skip
    held = Position("d", SOL, opening, "", D(1), 0, bracket_of(opening, 0))
    followed, matched, warmed = [], [], []
    return SimpleNamespace(
        wanted=wanted, windows=Frames(dict(wanted)), feed=SimpleNamespace(follow=followed.extend), candles=candles,
        looked_at=looked_at, finest="3m", broker=SimpleNamespace(on_bars=lambda symbol, bars: matched.append(symbol)),
        trader=SimpleNamespace(
            book=SimpleNamespace(positions=lambda: [held], of_symbol=lambda _: held),
            rules=lambda symbol: object() if known else None, situation=SimpleNamespace(prices={}), warmed=warmed,
            warm_up=lambda symbol, _, *, leaving: warmed.append((symbol, leaving)),
        ),
    ), followed, matched  # fmt: skip


class Candles:
    def __init__(self, windows=None, error=None):
        self.windows, self.error = windows, error

    async def run(self, wanted):
        if self.error is not None:
            raise self.error
        for series in wanted:
            self.windows.seed(series, Bars.of([(0, 1.0, 1.0, 1.0, 7.5, 1.0, 1.0)]))


def test_a_symbol_that_is_only_looked_at_is_not_chosen_for_trading():
    assert Following(parts(Candles())[0]).chosen == [BTC]
    assert Following(parts(Candles(), looked_at=frozenset({BTC}))[0]).chosen == []


async def test_what_is_held_is_followed_on_its_own_timeframe_too_and_once():
    candles = Candles()
    p, followed, matched = parts(candles)
    candles.windows = p.windows
    following = Following(p)
    await following.keep_up()
    assert set(followed) == {Series(SOL, "3m"), Series(SOL, "15m"), Series(SOL, "5m")} <= set(p.wanted)
    assert (following.chosen, matched, str(p.trader.situation.prices[SOL])) == ([BTC], [SOL], "7.5")
    # its strategy may still say leave there, and nothing else
    assert p.trader.warmed == [(SOL, True)]
    await following.keep_up()
    assert len(followed) == 3


async def test_bars_that_cannot_be_loaded_keep_nothing_from_being_followed():
    p, followed, _ = parts(Candles(error=Rejected("no")))
    with pytest.raises(Rejected):
        await Following(p).keep_up()
    assert len(followed) == 3


async def test_where_nobody_tells_the_rules_nothing_is_streamed():
    p, followed, _ = parts(Candles(), known=False)
    await Following(p).keep_up()
    assert followed == []
    assert set(p.wanted) == {Series(BTC, "3m"), Series(BTC, "15m")}
