"""The practice exchange's markets: silences, splits, marks of contracts, and the mark price."""

import gzip
import itertools
import json
from collections import Counter
from decimal import Decimal as D
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.candle import Bars, resample
from domain.errors import ConfigError
from sandbox.mark import mark_bars, marks
from sandbox.market import Market
from sandbox.replay import replay
from sandbox.shapes import text
from sandbox.silence import quieten
from sandbox.store import SandboxStore
from sandbox.tape import GeneratedTape, ReplayTape

RECORDED = (
    Path(__file__).parents[3] / "shared/data/rest_bybit_v5_kline_raw/BSVUSDT__3__1760710785974__1765894785974.json.gz"
)
BTC, DAY, DAYS = "BTC/USDT:USDT", 86_400_000, 30


def runs(silent: np.ndarray) -> Counter[int]:
    found, length = Counter[int](), 0
    for one in [*silent.tolist(), False]:
        if not one and length:
            found[length] += 1
        length = length + 1 if one else 0
    return found


@pytest.fixture
def store(tmp_path):
    held = SandboxStore(tmp_path / "x.sqlite")
    yield held
    held.close()


@given(st.floats(allow_nan=False, allow_infinity=False) | st.decimals(allow_nan=False, allow_infinity=False, places=8))
def test_a_number_is_written_in_plain_digits_and_nothing_of_it_is_lost(value):
    written = text(value)
    exact = value if isinstance(value, D) else D(repr(value))
    assert D(written) == (exact.normalize() or D(0))
    assert set(written) <= set("-.0123456789")
    assert written == "0" or "." not in written or not written.endswith(("0", "."))


def test_a_seed_gives_the_prices_that_it_always_gave():
    """Markets may learn to be silent, yet not without being asked."""
    tape = GeneratedTape(7, 40, 0)
    assert tape.bars(BTC, DAY - 60_000, DAY).close.tolist() == [63184.3]
    assert tape.bars("BSV/USDT:USDT", DAY - 60_000, DAY).close.tolist() == [47.67]


def test_the_lesser_markets_are_silent_now_and_then():
    tape = GeneratedTape(1, 20, 0, quiet=0.2)
    calm = GeneratedTape(1, 20, 0)
    quiet = [symbol for symbol in tape.instruments if not tape.bars(symbol, 0, DAY).volume.all()]
    assert len(quiet) == 4
    assert {tape.instruments[one].turnover_24h for one in quiet} == {
        *sorted(rules.turnover_24h for rules in tape.instruments.values())[:4]
    }  # fmt: skip
    for symbol in tape.instruments:
        bars, before = tape.bars(symbol, 0, DAYS * DAY), calm.bars(symbol, 0, DAYS * DAY)
        traded = bars.volume > 0
        assert (bars.close[traded] == before.close[traded]).all()
        assert (bars.open[1:] == bars.close[:-1]).all()
        if symbol in quiet:
            assert (bars.high[~traded] == bars.low[~traded]).all()
            silent = resample(bars, 180_000, 60_000).volume == 0
            assert 0.06 < silent.mean() < 0.14
            assert 8 <= max(runs(silent)) <= 20
        else:
            assert traded.all()


@pytest.mark.skipif(not RECORDED.exists(), reason="needs the recorded klines of BSVUSDT")
def test_silences_are_as_a_recorded_market_has_them():
    rows = json.loads(gzip.open(RECORDED).read())["rows"]
    rows.sort(key=lambda row: int(row[0]))
    silent = np.array([float(row[5]) == 0 for row in rows])
    # what is made up is held against these: flat bars at the price before, turnover 0, each bar opening at the last close
    assert all(row[1] == row[2] == row[3] == row[4] and float(row[6]) == 0 for row in rows if float(row[5]) == 0)
    assert all(later[1] == earlier[4] for earlier, later in itertools.pairwise(rows))
    tape = GeneratedTape(1, 1, 0, quiet=1)
    made = resample(tape.bars(BTC, 0, 60 * DAY), 180_000, 60_000).volume == 0
    assert made.mean() == pytest.approx(silent.mean(), abs=0.02)
    ones, real = runs(made), runs(silent)
    assert ones[1] / sum(ones.values()) == pytest.approx(real[1] / sum(real.values()), abs=0.12)


def test_a_silence_is_flat_and_what_follows_it_opens_at_its_price():
    rows = [(i * 60_000, 10.0 + i, 11.5 + i, 9.0 + i, 11.0 + i, 1.0, 10.0) for i in range(5)]
    bars = quieten(Bars.of(rows), np.array([True, False, True, True, False]), 8.0)
    assert bars.close.tolist() == [8, 12, 12, 12, 15]
    assert bars.open.tolist() == [8, 8, 12, 12, 12]
    assert bars.low.tolist() == [8, 8, 12, 12, 12]
    assert bars.high.tolist() == [8, 12.5, 12, 12, 15.5]
    assert bars.volume.tolist() == [0, 1, 0, 0, 1]


def test_a_market_can_be_kept_quiet_and_wakes_at_its_price(store):
    market = Market(GeneratedTape(1, 2, 0), store)
    market.split(BTC, DAY - 600_000, D(2))
    price = float(market.bars(BTC, DAY - 60_000, DAY).close[0])
    market.quiet([BTC], DAY, {BTC: price})
    market.quiet([], DAY + 600_000, {})
    for held in (market, Market(GeneratedTape(1, 2, 0), store)):
        bars = held.bars(BTC, DAY - 60_000, DAY + 720_000)
        assert (bars.volume > 0).tolist() == [True] + [False] * 10 + [True] * 2
        assert set(bars.close[:11].tolist()) == {price}
        assert bars.open[11] == price
        assert held.bars(BTC, DAY + 300_000, DAY + 360_000).close[0] == price
        assert held.bars(BTC, DAY + 600_000, DAY + 660_000).open[0] == price


def test_a_split_divides_what_comes_after_it(store):
    before = GeneratedTape(1, 2, 0).bars(BTC, DAY, DAY + 120_000)
    market = Market(GeneratedTape(1, 2, 0), store)
    market.split(BTC, DAY + 60_000, D(4))
    after = market.bars(BTC, DAY, DAY + 120_000)
    assert after.close[0] == before.close[0]
    assert after.close[1] == pytest.approx(before.close[1] / 4, abs=0.1)
    assert after.volume[1] == pytest.approx(before.volume[1] * 4)


def test_marks_of_contracts_outlive_a_restart_and_wrong_ones_are_refused(store):
    market = Market(GeneratedTape(1, 2, 0), store, ["ETHUSDT=stock"])
    market.mark(BTC, "pre_listing")
    market.announce(BTC, DAY)
    held = Market(GeneratedTape(1, 2, 0), store).instruments
    assert (held["ETH/USDT:USDT"].category, held[BTC].category, held[BTC].pre_listing) == ("stock", "", True)
    assert (market.due(DAY - 1), market.due(DAY)) == ([], [BTC])
    for wrong in ("NOPEUSDT=stock", "BTCUSDT=bond", "=stock"):
        with pytest.raises(ConfigError, match=rf"sandbox\.marked: '?{wrong.split('=')[0]}"):
            Market(GeneratedTape(1, 2, 0), store, [wrong])


@pytest.mark.parametrize("written", ["ETH", "eth/usdt", "ETHUSDT", "ETH/USDT:USDT", "ET*"])
def test_a_contract_is_marked_however_it_is_written(store, written):
    held = Market(GeneratedTape(1, 2, 0), store, [f"{written}=stock"]).instruments
    assert (held["ETH/USDT:USDT"].category, held[BTC].category) == ("stock", "")


@pytest.mark.parametrize("written", ["ABC", "abcusdt", "ABC/USDT", "ABC-USDT", "ABC/USDT:USDT"])
def test_a_replayed_contract_may_be_written_in_any_way(tmp_path, written):
    path = tmp_path / "some.csv"
    path.write_text("timestamp,open,high,low,close,volume,turnover\n0,1,1,1,1,1,1\n60000,1,1,1,1,1,1\n")
    assert list(replay([f"{written}={path}"]).instruments) == ["ABC/USDT:USDT"]
    with pytest.raises(ConfigError, match=r"sandbox\.replay: A B=.*'A B' is no contract"):
        replay([f"A B={path}"])


def test_the_mark_price_is_smoother_than_the_last_one_and_never_far_from_it():
    closes = GeneratedTape(1, 2, 0).bars(BTC, 0, 5 * DAY).close
    fair = marks(closes, 5, np.zeros(len(closes)))
    assert (fair != closes).any()
    assert np.abs(np.diff(fair)).sum() < 0.9 * np.abs(np.diff(closes)).sum()
    assert np.abs(fair / closes - 1).max() < 0.02
    spike = np.r_[np.full(20, 100.0), 150.0, np.full(20, 100.0)]
    assert marks(spike, 5, np.zeros(41)).max() < 120


def test_the_mark_price_does_not_depend_on_how_it_is_asked_for():
    bars = GeneratedTape(1, 2, 0).bars(BTC, 0, DAY)
    whole, part = (mark_bars(held, 5, 8 * 3_600_000, 0.0001) for held in (bars, bars[600:]))
    assert part.close[10:] == pytest.approx(whole.close[610:], abs=1e-6)
    assert (whole.volume == 0).all()


def test_over_coarse_bars_the_mark_price_is_the_last_one():
    rows = [(i * 900_000, 10.0, 12.0, 9.0, 11.0, 1.0, 10.0) for i in range(5)]
    bars = ReplayTape({BTC: Bars.of(rows)}, 900_000).bars(BTC, 0, DAY)
    held = mark_bars(bars, 1, 8 * 3_600_000, 0.0001)
    assert (held.low.tolist(), held.close.tolist()) == (bars.low.tolist(), bars.close.tolist())
