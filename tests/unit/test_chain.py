"""A chain asks in order, believes what is covered, and never asks twice for what nobody has."""

from __future__ import annotations

import numpy as np
import pytest

from domain.candle import Bars, Series
from domain.coverage import Span, missing, without
from domain.errors import Rejected, Unavailable
from domain.source import Source
from history import fetch
from history.backfill import backfill
from history.chain import Chain
from history.port import PERPETUAL, SPOT, Terms, by_page
from tests.venues import walk

STEP, START = 3_600_000, 1_704_067_200_000
BTC = Series("BTC/USDT:USDT", "1h")
BARS = walk(1_000, START, STEP)
NOW = START + 1_000 * STEP + 120_000
WINDOW = Span(START, START + 1_000 * STEP)


class MemoryStore:
    """Keeps what a store keeps, in dictionaries."""

    def __init__(self) -> None:
        self.held: dict[tuple[Source, Series], dict[int, tuple]] = {}
        self.gone: dict[tuple[Source, Series], list[Span]] = {}
        self.refused, self.lives = [], {}

    def save(self, source, series, bars):
        rows = self.held.setdefault((source, series), {})
        before = len(rows)
        rows |= {row.open_time: row for row in bars.rows()}
        return len(bars), len(rows) - before, 0

    def times(self, source, series, span):
        rows = self.held.get((source, series), {})
        return np.array(sorted(t for t in rows if span.start <= t < span.end), np.int64)

    def absent(self, source, series):
        return self.gone.get((source, series), [])

    def confirm_absent(self, source, series, spans):
        self.gone.setdefault((source, series), []).extend(spans)

    def quarantine(self, source, series, refused):
        self.refused += refused

    def note_life(self, source, series, listed, delisted):
        self.lives[source, series] = (listed, delisted)


class FakeSource:
    """Has the bars it is given; ``answer`` may be replaced to misbehave."""

    def __init__(
        self,
        source: Source,
        bars: Bars,
        *,
        page: int = 100,
        listed: int | None = START,
        markets=(SPOT, PERPETUAL),
        **terms,
    ) -> None:
        self.source, self.bars_held, self.listed = source, bars, listed
        self.terms = Terms(page, frozenset({"1h"}), frozenset(markets), **terms)
        self.asked: list[Span] = []
        self.answer = self.truth

    def truth(self, span: Span) -> Bars:
        which = (self.bars_held.open_time >= span.start) & (self.bars_held.open_time < span.end)
        return Bars(*(column[which] for column in self.bars_held.columns()))

    async def life(self, symbol):
        if symbol.startswith("XYZ"):
            raise Rejected(f"{self.source}: has no market {symbol}")
        return self.listed, None

    def parts(self, series, span):
        return by_page(self.terms, series, span)

    async def bars(self, series, span):
        self.asked.append(span)
        return self.answer(span)

    async def close(self):
        pass


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE_MAX_S", 0.001)


def chain(store, *sources):
    logged = []
    held = Chain(sources, store, lambda *row: logged.append(row), lambda: NOW)
    held.logged = logged
    return held


def lacking(bars: Bars, *holes: tuple[int, int]) -> Bars:
    keep = np.ones(len(bars), bool)
    for start, end in holes:
        keep[start:end] = False
    return Bars(*(column[keep] for column in bars.columns()))


async def test_everything_missing_is_fetched_and_only_that(store):
    store.save(Source.BINANCE, BTC, BARS[200:300])
    source = FakeSource(Source.BINANCE, BARS)
    filled = await chain(store, source).fill(BTC, WINDOW)
    assert (filled.wanted, filled.added, filled.complete) == (900, 900, True)
    assert all(span.end <= START + 200 * STEP or span.start >= START + 300 * STEP for span in source.asked)
    again = FakeSource(Source.BINANCE, BARS)
    assert (await chain(store, again).fill(BTC, WINDOW)).wanted == 0
    assert again.asked == []


async def test_what_the_exchange_itself_lacks_is_confirmed_and_never_asked_for_again(store):
    source = FakeSource(Source.BINANCE, lacking(BARS, (150, 155), (400, 401)))
    filled = await chain(store, source).fill(BTC, WINDOW)
    assert (filled.absent, filled.lacking, filled.status) == (6, [], "COMPLETED")
    assert store.absent(Source.BINANCE, BTC) == [
        Span(START + 150 * STEP, START + 155 * STEP),
        Span(START + 400 * STEP, START + 401 * STEP),
    ]
    source.asked.clear()
    await chain(store, source).fill(BTC, WINDOW)
    assert source.asked == []


async def test_a_bar_lost_once_in_paging_is_found_on_the_second_asking(store):
    source = FakeSource(Source.BINANCE, BARS)
    # the real fault: the last bar of every full page is left out
    source.answer = lambda span: source.truth(
        Span(span.start, span.end - STEP if span.end - span.start == 100 * STEP else span.end)
    )
    filled = await chain(store, source).fill(BTC, WINDOW)
    assert (filled.absent, filled.complete) == (0, True)
    assert len(store.held[Source.BINANCE, BTC]) == 1_000


async def test_an_end_that_is_not_told_yet_stays_missing_and_is_asked_for_again(store):
    source = FakeSource(Source.BINANCE, BARS[:900])
    filled = await chain(store, source).fill(BTC, WINDOW)
    assert filled.lacking == [Span(START + 900 * STEP, WINDOW.end)]
    assert filled.status == "PARTIAL"
    source.bars_held = BARS
    assert (await chain(store, source).fill(BTC, WINDOW)).complete


async def test_a_second_source_stands_in_and_its_bars_stay_its_own(store):
    first, second = FakeSource(Source.BINANCE, lacking(BARS, (150, 155))), FakeSource(Source.OKX, BARS)
    filled = await chain(store, first, second).fill(BTC, WINDOW)
    assert filled.used == {"binance": 995, "okx": 5}
    assert sorted(store.held[Source.OKX, BTC]) == BARS.open_time[150:155].tolist()
    assert len(store.held[Source.BINANCE, BTC]) == 995


async def test_some_rows_are_no_success(store):
    """The seed's fault: whatever came first counted as everything."""
    first, second = FakeSource(Source.BINANCE, BARS[:10]), FakeSource(Source.OKX, BARS)
    filled = await chain(store, first, second).fill(BTC, WINDOW)
    assert filled.used == {"binance": 10, "okx": 990}
    assert filled.complete


async def test_a_source_that_fails_is_left_alone_and_the_next_is_asked(store):
    first, second = FakeSource(Source.BINANCE, BARS), FakeSource(Source.OKX, BARS)

    def fails(span):
        raise Unavailable("binance: no answer")

    first.answer = fails
    held = chain(store, first, second)
    filled = await held.fill(BTC, WINDOW)
    assert filled.used == {"okx": 1000}
    assert filled.errors == ["binance: no answer"]
    await held.fill(BTC._replace(symbol="ETH/USDT:USDT"), WINDOW)
    first.asked.clear()
    await held.fill(BTC._replace(symbol="SOL/USDT:USDT"), WINDOW)
    assert first.asked == []
    assert [row[4] for row in held.logged if row[1] is Source.BINANCE] == ["FAILED", "FAILED"]


async def test_what_came_before_a_failure_is_kept(store):
    source = FakeSource(Source.BINANCE, BARS)
    source.answer = lambda span: source.truth(span) if span.start < START + 500 * STEP else _raise()
    filled = await chain(store, source).fill(BTC, WINDOW)
    assert filled.added == 500
    assert filled.lacking == [Span(START + 500 * STEP, WINDOW.end)]
    assert filled.status == "PARTIAL"


def _raise():
    raise Unavailable("cut")


@pytest.mark.parametrize("how", ["shifted", "other market's", "broken"])
async def test_answers_that_cannot_be_believed_are_not_stored(store, how):
    source = FakeSource(Source.BINANCE, BARS)
    if how == "shifted":
        source.answer = lambda span: source.truth(Span(START, START + 100 * STEP))
    elif how == "other market's":
        source.answer = lambda span: walk(100, span.start + 1, STEP)
    else:
        source.answer = lambda span: Bars(
            *((c if i != 2 else c * 0.1) for i, c in enumerate(source.truth(span).columns()))
        )
    filled = await chain(store, source).fill(BTC, WINDOW)
    assert not filled.complete
    assert len(store.held.get((Source.BINANCE, BTC), {})) in {0, 100}
    assert store.refused
    assert "none of 100 rows can be believed" in filled.errors[0]


@pytest.mark.parametrize("how", ["reversed", "doubled", "unfinished"])
async def test_answers_out_of_order_doubled_or_with_an_open_bar_are_put_right(store, how):
    source = FakeSource(Source.BINANCE, BARS)

    def turned(span):
        told = source.truth(span)
        order = (
            np.arange(len(told))[::-1]
            if how == "reversed"
            else np.repeat(np.arange(len(told)), 2 if how == "doubled" else 1)
        )
        rows = [told.row(int(i)) for i in order]
        if how == "unfinished" and span.end == WINDOW.end:
            rows.append((NOW - 60_000 - (NOW - 60_000) % STEP, 1, 1, 1, 1, 1, 1))
        return Bars.of(rows)

    source.answer = turned
    filled = await chain(store, source).fill(BTC, WINDOW)
    assert filled.complete
    assert sorted(store.held[Source.BINANCE, BTC]) == BARS.open_time.tolist()


async def test_the_chain_never_crosses_from_futures_to_spot(store):
    first, second = FakeSource(Source.BINANCE, BARS[:10]), FakeSource(Source.CRYPTOCOMPARE, BARS, markets=(SPOT,))
    filled = await chain(store, first, second).fill(BTC, WINDOW)
    assert second.asked == []
    assert len(filled.lacking) == 1


async def test_a_market_is_asked_for_from_its_listing_on(store):
    source = FakeSource(Source.BINANCE, BARS[400:], listed=START + 400 * STEP)
    filled = await chain(store, source).fill(BTC, WINDOW)
    assert (filled.wanted, filled.complete) == (600, True)
    assert min(source.asked).start == START + 400 * STEP


async def test_a_listing_that_nobody_told_shows_by_the_first_bar(store):
    source = FakeSource(Source.CRYPTOCOMPARE, BARS[450:], listed=None, markets=(PERPETUAL,))
    filled = await chain(store, source).fill(BTC, WINDOW)
    assert filled.complete
    assert store.lives[Source.CRYPTOCOMPARE, BTC] == (START + 450 * STEP, None)


async def test_bars_that_have_not_been_over_for_a_minute_are_not_asked_for(store):
    source = FakeSource(Source.BINANCE, walk(1_100, START, STEP))
    filled = await chain(store, source).fill(BTC, Span(START, 2**53))
    assert filled.window.end == START + 1_000 * STEP
    assert filled.complete


async def test_an_unknown_symbol_fails_alone_and_is_told(store):
    source = FakeSource(Source.BINANCE, BARS)
    done = await backfill(chain(store, source), {BTC: WINDOW, Series("XYZ/USDT:USDT", "1h"): WINDOW})
    assert done.statistics == {
        "total_symbols": 2, "successful": 1, "failed": 1, "total_records": 1000, "sources_used": {"binance": 1000}
    }  # fmt: skip
    assert done.refused == {Series("XYZ/USDT:USDT", "1h"): "binance: has no market XYZ/USDT:USDT"}


async def test_progress_reaches_what_was_wanted(store):
    seen = []
    await chain(store, FakeSource(Source.BINANCE, BARS)).fill(BTC, WINDOW, lambda *told: seen.append(told))
    assert seen[-1] == (BTC, "binance", 1000, 1000)
    assert [told[2] for told in seen] == sorted(told[2] for told in seen)


async def test_a_long_absence_costs_few_requests(store):
    source = FakeSource(Source.BINANCE, lacking(BARS, (150, 850)))
    filled = await chain(store, source).fill(BTC, WINDOW)
    assert (filled.absent, filled.complete) == (700, True)
    assert len(source.asked) <= 10 + 2
    assert without([WINDOW], store.absent(Source.BINANCE, BTC)) == without(
        [WINDOW], missing(source.bars_held.open_time, WINDOW, STEP)
    )


async def test_a_market_that_begins_after_its_listing_is_asked_for_that_once(store):
    source = FakeSource(Source.BINANCE, BARS[8:], listed=START)
    filled = await chain(store, source).fill(BTC, WINDOW)
    assert (filled.complete, filled.absent) == (True, 8)
    source.asked.clear()
    assert (await chain(store, source).fill(BTC, WINDOW)).complete
    assert source.asked == []


async def test_a_hole_at_the_beginning_of_a_window_does_not_move_a_listing_that_bars_lie_before(store):
    store.save(Source.CRYPTOCOMPARE, BTC, BARS[:100])
    source = FakeSource(Source.CRYPTOCOMPARE, lacking(BARS, (0, 110)), listed=None, markets=(PERPETUAL,))
    filled = await chain(store, source).fill(BTC, Span(START + 105 * STEP, WINDOW.end))
    assert filled.complete
    assert store.lives == {}


async def test_the_silence_of_an_archive_proves_nothing(store):
    archive = FakeSource(Source.BINANCE, lacking(BARS, (150, 155), (990, 1_000)), listed=None, authority=False)
    exchange = FakeSource(Source.BINANCE, lacking(BARS, (152, 153)))
    filled = await chain(store, archive, exchange).fill(BTC, WINDOW)
    assert (filled.complete, filled.absent, filled.used) == (True, 1, {"binance": 999})
    assert store.absent(Source.BINANCE, BTC) == [Span(START + 152 * STEP, START + 153 * STEP)]
    assert len(archive.asked) == 10


async def test_many_small_holes_are_asked_for_again_page_by_page(store):
    source = FakeSource(Source.BINANCE, lacking(BARS, *((n, n + 1) for n in range(5, 995, 3))))
    filled = await chain(store, source).fill(BTC, WINDOW)
    assert (filled.absent, filled.complete) == (330, True)
    assert len(source.asked) <= 10 + 11


async def test_a_source_is_asked_for_what_it_reaches_back_to_only(store):
    source = FakeSource(Source.COINGECKO, BARS, listed=None, reach_ms=300 * STEP)
    filled = await chain(store, source).fill(BTC, WINDOW)
    assert min(source.asked).start >= NOW - 300 * STEP
    assert filled.added in {299, 300}
    assert filled.lacking == [Span(START, min(source.asked).start)]
