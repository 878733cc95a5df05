"""Hours of a real market with silences of up to 51 minutes, second by second on a clock of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker.bybit import public_messages
from domain.candle import Bar, Bars, Series
from market import feed as feeding
from market.feed import Feed
from market.frames import Frames
from market.limits import FeedLimits

DATA = Path(__file__).parents[3] / "shared" / "data" / "rest_bybit_v5_kline_raw"
STEP, HOURS = 180_000, 6
BSV, AVAX = Series("BSV/USDT:USDT", "3m"), Series("AVAX/USDT:USDT", "3m")
IDS = {BSV.symbol: "BSVUSDT", AVAX.symbol: "AVAXUSDT"}


def real(name: str) -> list[Bar]:
    path = min(DATA.glob(f"{name}__3__*.json.gz"))
    rows = json.loads(gzip.decompress(path.read_bytes()))["rows"][::-1]
    return [Bar(int(row[0]), *map(float, row[1:])) for row in rows]


class Market:
    """Real bars as Bybit would tell them: frames with trades only, REST with flat bars for all other times.

    The quiet symbol has a trade at one moment of each bar in which it was traded; its closed bar comes with the next
    trade. The other one is traded all the time.
    """

    def __init__(self, start: int) -> None:
        self.bars = {BSV: {bar.open_time: bar for bar in real("BSVUSDT")},
                     AVAX: {bar.open_time: bar for bar in real("AVAXUSDT")}}  # fmt: skip
        self.start, self.now, self.asked = start, start, 0
        chance = random.Random(7)
        self.moments = {time: time + 1000 * chance.randrange(1, 179) for time in self.bars[BSV]}
        self.told: dict[Series, int] = {}
        self.dead: set[Series] = set()

    def frames(self) -> list[bytes]:
        """Return what is pushed in this second."""
        time, pushed = self.now // STEP * STEP, []
        if (self.now - time) % 10_000 == 0:
            pushed.append(self._frame(AVAX, time))
        if self.bars[BSV][time].volume and self.now == self.moments[time]:
            pushed.append(self._frame(BSV, time))
        return [frame for frame in pushed if frame]

    def _frame(self, series: Series, time: int) -> bytes:
        if series in self.dead:
            return b""
        before, rows = self.told.get(series), []
        if before is not None and before < time:
            rows.append(self._item(self.bars[series][before], confirm=True))
        rows.append(self._item(self.bars[series][time], confirm=False))
        self.told[series] = time
        return json.dumps({"topic": f"kline.3.{IDS[series.symbol]}", "data": rows}).encode()

    def _item(self, bar: Bar, *, confirm: bool) -> dict[str, object]:
        names = ("open", "high", "low", "close", "volume", "turnover")
        values = {name: str(value) for name, value in zip(names, bar[1:], strict=True)}
        return {"start": bar.open_time, **values, "confirm": confirm, "timestamp": self.now}

    def _known(self, series: Series, time: int) -> Bar:
        bar, over = self.bars[series][time], min(1.0, (self.now - time) / STEP)
        if series == AVAX:
            return bar._replace(volume=bar.volume * over, turnover=bar.turnover * over)
        if self.now >= self.moments[time]:
            return bar
        close = self.bars[series][time - STEP].close
        return Bar(time, close, close, close, close, 0.0, 0.0)

    async def newest(self, series: Series, count: int) -> Bars:
        self.asked += 1
        last = self.now // STEP * STEP
        return Bars.of([self._known(series, time) for time in range(last - (count - 1) * STEP, last + STEP, STEP)])

    async def closed(self, series: Series, start: int, end: int) -> Bars:
        self.asked += 1
        return Bars.of([self._known(series, time) for time in range(start, end, STEP)])


async def lived(market: Market, monkeypatch, seconds: int):
    """Let the feed live through the seconds; return it, each bar with its lateness, and the seconds it was stale."""
    limits = FeedLimits()
    frames = Frames({BSV: 500, AVAX: 500})
    for series in (BSV, AVAX):
        before = range(market.start - 20 * STEP, market.start, STEP)
        frames.seed(series, Bars.of([market.bars[series][time] for time in before]))
    clock = SimpleNamespace(s=1_000.0)
    monkeypatch.setattr(feeding, "_now", lambda: clock.s)
    feed = Feed(["ws://nowhere"], IDS, frames, market, limits, public_messages)
    feed._gaps._confirm_s = 0.0
    feed._jitter.seed(1)
    (shard,) = feed._shards
    cuts = []
    shard.connection._socket = SimpleNamespace(get_extra_info=cuts.append)
    for request in shard.subscription.opened():
        number = json.loads(request)["req_id"]
        answer = {"success": True, "ret_msg": "", "conn_id": "x", "op": "subscribe", "req_id": number}
        feed._take(shard, json.dumps(answer).encode())
    workers = [asyncio.create_task(feed._gaps.run()) for _ in range(2)]
    late: dict[Series, list[float]] = {BSV: [], AVAX: []}
    stale: dict[Series, int] = {BSV: 0, AVAX: 0}
    for _ in range(seconds):
        for frame in market.frames():
            feed._take(shard, frame)
        feed._review(clock.s)
        for _ in range(3):
            await asyncio.sleep(0)
        for batch in feed._batches.due(clock.s):
            for closed in batch:
                assert closed.bar == market.bars[closed.series][closed.bar.open_time]
                late[closed.series].append((market.now - closed.close_time) / 1000)
        for series in feed.stale():
            stale[series] += 1
        market.now += 1_000
        clock.s += 1.0
    for worker in workers:
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
    return feed, late, stale, cuts


def longest_silence() -> int:
    """Return the end of the longest silence of the quiet market."""
    bars, run, best, end = real("BSVUSDT"), 0, 0, 0
    for bar in bars:
        run = 0 if bar.volume else run + 1
        if run > best:
            best, end = run, bar.open_time
    return end


@pytest.mark.skipif(not DATA.is_dir(), reason="no recorded candles here")
async def test_a_real_quiet_market_has_its_bars_in_time_is_never_silent_and_costs_few_questions(monkeypatch):
    start = longest_silence() - HOURS // 2 * 20 * STEP
    market = Market(start)
    feed, late, stale, cuts = await lived(market, monkeypatch, HOURS * 3_600)
    quiet = sum(not market.bars[BSV][time].volume for time in range(start, start + HOURS * 20 * STEP, STEP))
    assert quiet > 20
    # every bar but the one that is forming at the end, each once and with the values that REST has of it
    assert (len(late[BSV]), len(late[AVAX])) == (HOURS * 20 - 1, HOURS * 20 - 1)
    assert max(late[BSV]) <= 10
    # the other one waits for nobody beyond the grace
    assert max(late[AVAX]) <= 2
    assert stale == {BSV: 0, AVAX: 0}
    counters = feed.counters
    assert (counters.stale, counters.resubscribed, cuts) == (0, 0, [])
    # at most one question for each bar and each half of the time after which a stream counts as silent
    assert market.asked <= HOURS * 20 + HOURS * 3_600 / 37


@pytest.mark.skipif(not DATA.is_dir(), reason="no recorded candles here")
async def test_a_real_market_whose_topic_dies_is_silent_soon_and_has_its_bars_all_the_same(monkeypatch):
    market = Market(longest_silence() + 40 * STEP)
    market.dead = {AVAX}
    feed, late, stale, cuts = await lived(market, monkeypatch, 3_600)
    # from the 75th second on, for good
    assert stale[AVAX] >= 3_600 - 80
    assert stale[BSV] == 0
    assert len(late[AVAX]) >= 18
    # REST is asked often enough for the bars to be of use
    assert max(late[AVAX]) <= 60
    # begun anew again and again, each time after twice as many answers: the whole connection as long as the other stream
    # has nothing to tell either
    assert 3 <= feed.counters.resubscribed + len(cuts) <= 7
