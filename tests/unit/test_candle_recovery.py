"""Windows are brought up to date from what is stored, and from the exchange only what is not."""

from __future__ import annotations

import pytest

from domain.candle import Bars, Series
from domain.coverage import Span, reach
from engine.recovery import CandleRecovery
from engine.threads import Tier
from market.frames import Frames
from tests.venues import walk

STEP, START, COUNT = 900_000, 1_704_067_200_000, 200
STOCK = Series("AAPL", "15m")
DAY = 96
ALL = walk(10 * DAY, START, STEP)
END = START + 10 * DAY * STEP
NIGHTS = [Span(START + day * DAY * STEP, START + (day * DAY + 70) * STEP) for day in range(10)]


class Market:
    """Open for the last 26 bars of every day; ``lost`` bars are told by nobody."""

    def __init__(self, lost: tuple[int, ...] = ()) -> None:
        dark = {time for night in NIGHTS for time in range(*night, STEP)} | {START + n * STEP for n in lost}
        self.bars = Bars.of([bar for bar in ALL.rows() if bar.open_time not in dark])
        self.asked: list[Span] = []

    def resting(self, _series: Series, span: Span) -> list[Span]:
        return [
            Span(max(one.start, span.start), min(one.end, span.end))
            for one in NIGHTS if one.start < span.end and one.end > span.start
        ]  # fmt: skip

    async def closed(self, _series: Series, start: int, end: int) -> Bars:
        self.asked.append(Span(start, end))
        return Bars.of([bar for bar in self.bars.rows() if start <= bar.open_time < end])

    async def latest(self, series: Series, count: int) -> Bars:
        return await self.closed(series, reach(END, count, STEP, lambda span: self.resting(series, span)), END)


class Stored:
    def __init__(self, bars: Bars) -> None:
        self.bars = bars

    def load_frames(self, wanted: dict[Series, int]) -> dict[Series, Bars]:
        return {series: self.bars[-count:] for series, count in wanted.items() if len(self.bars)}


async def recovered(market: Market, held: Bars) -> Bars:
    frames, tier = Frames({STOCK: COUNT}), Tier("candles", 10)
    try:
        await CandleRecovery(Stored(held), tier, market, frames, lambda _bars: None).run({STOCK: COUNT})
    finally:
        tier.close()
    return frames.bars(STOCK)


@pytest.mark.parametrize("stored", [0, 26, 100, 259, 260])
async def test_a_window_reaches_back_over_nights_whatever_is_stored(stored):
    market = Market()
    window = await recovered(market, market.bars[:stored])
    assert window.open_time.tolist() == market.bars.open_time[-COUNT:].tolist()


async def test_what_is_stored_is_not_asked_for_again():
    market = Market()
    await recovered(market, market.bars)
    assert [(span.end - span.start) // STEP for span in market.asked] == [1]


async def test_a_hole_of_the_night_is_none_and_one_of_the_day_is():
    market = Market(lost=(8 * DAY + 80,))
    window = await recovered(market, market.bars[:-3])
    assert len(window) == 15 + 26
    assert window.open_time[0] == START + (8 * DAY + 81) * STEP
