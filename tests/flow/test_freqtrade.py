"""freqtrade itself reads what was exported for it, and trades on it; its program is named by FREQTRADE."""

from __future__ import annotations

import os
import re
import subprocess

import numpy as np
import pytest

from domain.candle import Series
from domain.coverage import Span
from domain.errors import Rejected
from history import export
from tests.foreign.freqtrade_backtest import PROGRAM, backtest, needed, perpetual
from tests.venues import walk

START, HOUR = 1_704_067_200_000, 3_600_000
BTC = Series("BTC/USDT:USDT", "1h")
BARS = walk(2_000, START, HOUR)
WINDOW = Span(START, START + 2_000 * HOUR)
FUNDING = (np.arange(START, WINDOW.end, 8 * HOUR, dtype=np.int64), np.full(250, 0.0001))

STRATEGY = """
from freqtrade.strategy import IStrategy


class EveryDay(IStrategy):
    timeframe, stoploss, minimal_roi, can_short, startup_candle_count = "1h", -0.05, {"0": 0.01}, False, 1

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["date"].dt.hour == 3, "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["date"].dt.hour == 20, "exit_long"] = 1
        return dataframe
"""


def material(**changes) -> export.Material:
    held = {"series": BTC, "window": WINDOW, "bars": BARS, "absent": (), "mark": BARS, "funding": FUNDING}
    return export.Material(**(held | changes))


def test_an_export_is_whole_and_the_same_bytes_every_time(tmp_path):
    first = export.export([material()], tmp_path / "a", "feather", "futures")
    again = export.export([material()], tmp_path / "b", "feather", "futures")
    assert [one.sha256 for one in first] == [one.sha256 for one in again]
    assert sorted(one.file for one in first) == [
        "futures/BTC_USDT_USDT-1h-funding_rate.feather", "futures/BTC_USDT_USDT-1h-futures.feather",
        "futures/BTC_USDT_USDT-1h-mark.feather",
    ]  # fmt: skip
    assert (tmp_path / "a" / export.MANIFEST).read_bytes() == (tmp_path / "b" / export.MANIFEST).read_bytes()
    assert export.verify(tmp_path / "a") == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bars": BARS[:1_990]}, "10 bars are missing in 1 ranges"), ({"mark": BARS[10:]}, "mark prices are missing"),
        ({"mark": None}, "neither mark prices nor funding"), ({"funding": (FUNDING[0][:9], FUNDING[1][:9])}, "funding is missing"),
        ({"series": Series("BTC/USDT", "1h")}, "no perpetual market"),
    ],
)  # fmt: skip
def test_what_is_incomplete_is_refused_and_nothing_is_written(tmp_path, changes, says):
    with pytest.raises(Rejected, match=says):
        export.export([material(), material(**changes)], tmp_path, "feather", "futures")
    assert list(tmp_path.iterdir()) == []


def test_gaps_are_exported_when_that_is_asked_for_and_told_in_the_manifest(tmp_path):
    (futures, *_) = export.export([material(bars=BARS[:1_990])], tmp_path, "feather", "futures", allow_gaps=True)
    assert futures.missing == 10
    (futures, *_) = export.export(
        [material(bars=BARS[:1_990], absent=[Span(START + 1_990 * HOUR, WINDOW.end)])], tmp_path, "feather", "futures"
    )
    assert (futures.missing, futures.absent) == (0, 10)


def test_an_export_that_was_changed_or_lost_is_told_and_cleaning_takes_only_its_own(tmp_path):
    export.export([material()], tmp_path, "parquet", "futures")
    (tmp_path / "futures" / "mine.feather").write_text("not the export's")
    (tmp_path / "futures" / "BTC_USDT_USDT-1h-mark.parquet").write_text("changed")
    (tmp_path / "futures" / "BTC_USDT_USDT-1h-futures.parquet").unlink()
    assert len(export.verify(tmp_path)) == 2
    assert export.clean(tmp_path) == 2
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.feather"]


def test_a_second_export_adds_to_the_manifest(tmp_path):
    export.export([material()], tmp_path, "feather", "futures")
    export.export([material(series=Series("ETH/USDT:USDT", "1h"))], tmp_path, "feather", "futures")
    assert len(export.read_manifest(tmp_path)) == 6
    assert export.verify(tmp_path) == []


@needed
@pytest.mark.parametrize("funded", [True, False])
def test_freqtrade_lists_our_files_and_trades_on_them(tmp_path, funded):
    data = tmp_path / "data" / "bybit"
    export.export(
        [material() if funded else material(funding=(FUNDING[0], FUNDING[1] * 0))], data, "feather", "futures"
    )
    listed = subprocess.run(
        [PROGRAM, "list-data", "--userdir", tmp_path, "--exchange", "bybit", "--trading-mode", "futures", "--show-timerange"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"},
    ).stdout  # fmt: skip
    assert re.search(r"BTC/USDT:USDT .* 1h .* futures .* 2024-01-01 00:00:00 .* 2024-03-24 07:00:00 .* 2000", listed)
    (tmp_path / "strategies").mkdir(exist_ok=True)
    (tmp_path / "strategies" / "every_day.py").write_text(STRATEGY)
    result = backtest(
        tmp_path, data, "EveryDay", [perpetual("BTC")], ["BTC/USDT:USDT"], "20240102-20240320",
        trading_mode="futures", margin_mode="isolated",
    )  # fmt: skip
    assert result["total_trades"] > 50
    fees = sum(trade["funding_fees"] for trade in result["trades"])
    assert (fees != 0) is funded
