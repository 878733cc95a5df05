"""Candle files for the replay: what is read, and what is refused."""

import gzip
import json
from pathlib import Path

import pytest

from domain.candle import resample
from domain.errors import ConfigError
from sandbox.replay import read_candles, replay, symbol_of
from sandbox.tape import GeneratedTape
from tests.practice import START

DATA = Path(__file__).parents[3] / "shared" / "data"
BARS = resample(GeneratedTape(1, 1, START).bars("BTC/USDT:USDT", START, START + 7_200_000), 180_000, 60_000)


def rows() -> list[list[str]]:
    return [[str(value) for value in row] for row in BARS.rows()]


def written(folder, kind: str) -> Path:
    if kind == "feather":
        path = folder / "BTC_USDT_USDT-3m-futures.feather"
        frame = BARS.to_frame().reset_index(names="date").drop(columns="turnover")
        frame.to_feather(path)
        return path
    text = json.dumps({"retCode": 0, "result": {"list": [["9999999999999", *rows()[0][1:]], *rows()[::-1]]}})
    if kind == "csv":
        text = "\n".join(["timestamp,open,high,low,close,volume,turnover", *(",".join(row) for row in rows())])
    path = folder / f"BTCUSDT__3__x.{kind}.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


@pytest.mark.parametrize("kind", ["feather", "csv", "json"])
def test_each_kind_gives_the_same_bars(tmp_path, kind):
    """The newest row of a REST body may be unfinished, and is left out."""
    tape = replay([str(written(tmp_path, kind))])
    assert list(tape.instruments) == ["BTC/USDT:USDT"]
    assert tape.base_ms == 180_000
    held = tape.bars("BTC/USDT:USDT", *tape.span())
    assert held.close.tolist() == BARS.close.tolist()
    assert held.open_time.tolist() == BARS.open_time.tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AVAXUSDT__3__1760710785974__1765894785974.json.gz", "AVAX/USDT:USDT"),
        ("BTC_USDT_USDT-15m-futures.feather", "BTC/USDT:USDT"),
        ("bybit_BTCUSDT_1m_v2_complete.csv.gz", "BTC/USDT:USDT"),
        ("1000PEPE_USDT-3m.csv", "1000PEPE/USDT:USDT"),
    ],
)
def test_symbols_are_read_from_usual_file_names(name, expected):
    assert symbol_of(name) == expected


def test_what_cannot_be_played_is_refused_by_its_name(tmp_path):
    odd = tmp_path / "BTC_USDT-1h.txt"
    odd.write_text("x")
    broken = tmp_path / "ETH_USDT-3m.csv"
    broken.write_text("timestamp,open,high,low,close,volume\n180000,10,8,9,10,1\n360000,10,12,9,10,1\n")
    other = tmp_path / "SOL_USDT-15m.csv"
    other.write_text("timestamp,open,high,low,close,volume\n900000,10,12,9,10,1\n1800000,10,12,9,10,1\n")
    good = written(tmp_path, "csv")
    for files, said in (
        ([str(odd)], "unknown kind"),
        ([str(tmp_path / "XRP_USDT-3m.csv")], "XRP_USDT"),
        ([str(broken)], "do not enclose"),
        ([str(good), str(other)], "differ in spacing"),
        (["strange.csv"], "write BTC/USDT:USDT=PATH"),
    ):
        with pytest.raises(ConfigError, match=said):
            replay(files)


@pytest.mark.skipif(not DATA.exists(), reason="recorded candles are not beside the checkout")
def test_recorded_candles_can_be_played():
    files = sorted((DATA / "rest_bybit_v5_kline_raw").glob("*__3__1760710785974*"))
    tape = replay([str(path) for path in files])
    assert len(tape.instruments) == 5
    assert tape.base_ms == 180_000
    first, end = tape.span()
    assert (end - first) // 180_000 > 20_000
    assert len(read_candles(DATA / "candles_1m" / "bybit_BTCUSDT_1m_v3_one_day_later.csv.gz")) == 43_200
