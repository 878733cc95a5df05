"""Candle files of every kind say the same bars; broken ones say what is wrong."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.candle import Bars
from domain.errors import BadData
from formats import candles, container, kept_rows
from formats.names import market_of
from tests.venues import walk

START = 1_704_067_200_000
BARS = walk(50, START, 900_000)


def frame() -> pd.DataFrame:
    return BARS.to_frame().reset_index().rename(columns={"timestamp": "date"})


def write(path, kind):
    if kind == "feather":
        frame().to_feather(path)
    elif kind == "parquet":
        frame().to_parquet(path)
    elif kind == "csv":
        frame().to_csv(path, index=False)
    elif kind == "csv.gz":
        path.write_bytes(
            gzip.compress(
                frame().assign(date=lambda f: f.date.dt.strftime("%Y-%m-%d %H:%M:%S")).to_csv(index=False).encode()
            )
        )
    elif kind == "zip":
        rows = [
            f"{r[0] * 1000},{r[1]},{r[2]},{r[3]},{r[4]},{r[5]},{r[0] * 1000 + 899_999_999},{r[6]},7,0,0,0"
            for r in BARS.rows()
        ]
        with zipfile.ZipFile(path, "w") as held:
            held.writestr("BTCUSDT-15m-2024-01.csv", "\n".join(rows))
    else:
        newest_first = [[str(value) for value in row] for row in BARS.rows()][::-1]
        unfinished = [str(START + 50 * 900_000), *["1"] * 6]
        path.write_text(json.dumps({"retCode": 0, "result": {"list": [unfinished, *newest_first]}}))
    return path


@pytest.mark.parametrize("kind", ["feather", "parquet", "csv", "csv.gz", "zip", "json"])
def test_every_kind_of_file_says_the_same_bars(tmp_path, kind):
    read = candles.read(write(tmp_path / f"BTC_USDT-15m.{kind}", kind))
    for one, other in zip(read.columns(), BARS.columns(), strict=True):
        assert np.array_equal(one, other)
    assert candles.spacing(read) == "15m"


@pytest.mark.parametrize(
    ("name", "market"),
    [
        ("BTC_USDT-1h.feather", ("BTC/USDT", "1h")), ("BTC_USDT_USDT-15m-futures.feather", ("BTC/USDT:USDT", "15m")),
        ("BTCUSDT-1m-2026-03.zip", ("BTC/USDT:USDT", "1m")), ("AVAXUSDT__3__1760710785974.json.gz", ("AVAX/USDT:USDT", "")),
        ("binance_spot_BTCUSDT-1m-2026-03.zip", ("BTC/USDT", "1m")), ("bybit_BTCUSDT_1m_v1.csv.gz", ("BTC/USDT:USDT", "1m")),
        ("bybit_BTCUSDT_60m.csv.gz", ("BTC/USDT:USDT", "")), ("bybit_BTCUSDT_240m.csv.gz", ("BTC/USDT:USDT", "")),
        ("ETH_BTC-5m.feather", ("ETH/BTC", "5m")), ("anything.csv", ("", "")),
    ],
)  # fmt: skip
def test_a_files_name_tells_its_market(name, market):
    assert market_of(name) == market


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "date,open,high,low,close\n2024-01-01,1,1,1,1\n", "lacks volume"),
        ("b.csv", "open,high,low,close,volume\n1,1,1,1,1\n", "lacks a time"),
        ("c.csv", "", "No columns"),
        ("d.csv", "1704067200000,1,1\n", "no header, and 3 columns"),
        ("e.json", "{", "Expecting"),
        ("f.json", '{"retCode": 10001, "result": {}}', "no list of kline rows"),
        ("g.feather", "no feather", "g.feather"),
        ("h.zip", "no zip", "not a zip"),
        ("i.txt", "", "unknown kind of candle file; give feather"),
        ("j.csv", "<html><body>502 Bad Gateway</body></html>", "lacks open"),
        ("k.csv", "date,open,high,low,close,volume\n2024-01-01,1,1,1,1,1\n2024-01-02,1,1,1,1,1,9,9\n", "line 3"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_its_name_says_is_refused_by_name(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(BadData, match=says) as caught:
        candles.read(tmp_path / name)
    assert str(caught.value).startswith(name)


def test_a_missing_file_is_told_by_name(tmp_path):
    with pytest.raises(BadData, match=r"x\.csv: .*No such file"):
        candles.read(tmp_path / "x.csv")


def test_cells_that_are_no_numbers_stay_visible_as_rows_to_refuse(tmp_path):
    (tmp_path / "a.csv").write_text("date,open,high,low,close,volume\n2024-01-01,1,1,x,1,1\nnever,1,1,1,1,1\n")
    read = candles.read(tmp_path / "a.csv")
    assert np.isnan(read.low[0])
    assert read.open_time.tolist() == [1_704_067_200_000, -1]


@pytest.mark.parametrize("scale", [1, 1_000, 1_000_000, 1_000_000_000])
def test_times_in_seconds_to_nanoseconds_are_told_apart(tmp_path, scale):
    (tmp_path / "a.csv").write_text(f"timestamp,open,high,low,close,volume\n{1_704_067_200 * scale},1,1,1,1,1\n")
    assert candles.read(tmp_path / "a.csv").open_time.tolist() == [1_704_067_200_000]


def test_times_without_a_zone_in_a_binary_file_are_refused(tmp_path):
    frame().assign(date=lambda f: f.date.dt.tz_localize(None)).to_feather(tmp_path / "a.feather")
    with pytest.raises(BadData, match="no time zone"):
        candles.read(tmp_path / "a.feather")


def test_an_archive_must_have_its_checksum(tmp_path):
    path = write(tmp_path / "BTCUSDT-15m-2024-01.zip", "zip")
    beside = tmp_path / f"{path.name}.CHECKSUM"
    beside.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    assert len(candles.read(path)) == 50
    beside.write_text(f"{'0' * 64}  {path.name}\n")
    with pytest.raises(BadData, match="checksum file says 0000"):
        candles.read(path)


def test_too_few_rows_do_not_tell_a_timeframe():
    with pytest.raises(BadData, match="give --timeframe"):
        candles.spacing(Bars.empty())


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    rows = [",".join(kept_rows.HEADER)]
    rows += [f"BTC/USDT,1h,{START + n * 3_600_000},1,2,0.5,1.5,10,15" for n in range(50)]
    whole = gzip.compress("\n".join(rows).encode())
    return whole, tmp_path_factory.mktemp("kept") / "kept.csv.gz"


@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_packed_file_is_read_or_refused_whichever_byte_is_wrong(kept, at, byte, cut):
    whole, path = kept
    at %= len(whole)
    path.write_bytes(whole[:at] if cut else whole[:at] + bytes([byte]) + whole[at + 1 :])
    found = kept_rows.read(path)
    # what is packed has a checksum: it is read as it was, or not at all
    assert found is None or {series.symbol: len(bars) for series, bars in found.items()} == {"BTC/USDT": 50}
    with contextlib.suppress(BadData):
        assert len(candles.read(path)) == 50


def test_a_packed_file_of_any_size_is_looked_at_within_a_bound(kept, monkeypatch):
    whole, path = kept
    path.write_bytes(whole)
    assert {series.symbol: len(bars) for series, bars in kept_rows.read(path).items()} == {"BTC/USDT": 50}
    monkeypatch.setattr(container, "BYTES_MAX", 500)
    assert kept_rows.read(path) is None
