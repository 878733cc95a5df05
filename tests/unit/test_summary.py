"""What people ask first comes first, and nothing is wider than a hundred columns, whatever it is about."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import summary
from domain.reports import Result
from tests.desk import FakeDesk, trade
from tests.page_desk import PageDesk

WORDS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=60)
MONEY = st.decimals(-(10**12), 10**12, allow_nan=False, allow_infinity=False)


def seen(**changed):
    return {**FakeDesk().status(), **changed}


def fits(lines):
    assert [line for line in lines if len(line) > summary.WIDTH] == []
    return lines


def test_mode_money_and_positions_with_their_ids_come_first():
    lines = fits(summary.status_lines(seen()))
    (held,) = FakeDesk().positions
    assert lines[0].split() == ["SYNTHETIC", "synthetic", "running", "ready"]
    assert "equity 10123.45  today -3.20  open +9.59  positions 1 of 8" in lines[1]
    assert lines[2] == "nothing is wrong"
    assert lines[3].split()[:4] == ["id", "symbol", "side", "profit"]
    assert lines[4].split()[0] == held["id"][:8]


@pytest.mark.parametrize(("changed", "said"), [
    ({"ready": False, "reasons": ["exchange: no answer"]}, "! exchange: no answer"),
    ({"notes": ["ETH: its window is poor"]}, "! ETH: its window is poor"),
    ({"naked": ["BTC/USDT:USDT"]}, "! positions without a stop: BTC/USDT:USDT"),
    ({"unsettled": 3}, "! 3 trades are not in the database yet"),
    ({"ghosts": ["A"]}, "! positions that the exchange does not have: A"),
    ({"daily_loss_reached": True}, "! the daily loss limit is reached"),
    ({"ledger": {"state": "away", "reason": "No space left on device"}}, "! journal is away: No space left on device"),
    ({"tiers": {"redis": {"state": "away", "reason": ""}}}, "! redis is away: no reason is given"),
    ({"foreign_positions": {"DOGE": "1"}}, "! positions that are not the bot's: DOGE"),
])  # fmt: skip
def test_what_is_wrong_stands_before_the_positions(changed, said):
    lines = fits(summary.status_lines(seen(**changed)))
    assert lines[2].startswith(said)
    assert "nothing is wrong" not in lines
    assert lines[0].endswith("CANNOT TRADE") is ("reasons" in changed)


def test_a_status_of_the_page_is_one_too():
    assert fits(summary.status_lines(PageDesk().status()))


@given(WORDS, WORDS, MONEY, st.lists(st.text(max_size=300), max_size=3))
def test_a_status_fits_whatever_is_in_it(word, symbol, number, reasons):
    row = {"id": word, "symbol": symbol, "side": "short", "pnl": str(number), "r": "1", "entry": str(number), "price": number,
           "stop": word, "target": "None", "strategy": word * 3, "pending": False}  # fmt: skip
    assert fits(
        summary.status_lines(seen(positions=[row, {**row, "pending": True}], reasons=reasons, ghosts=[word, symbol]))
    )


@given(WORDS, MONEY, MONEY)
def test_trades_and_results_fit_whatever_is_in_them(word, price, profit):
    one = trade(1, f"{word}/USDT:USDT", str(profit), word)
    lines = fits(summary.trade_lines([one, trade(2)]))
    assert len(lines) == 3
    assert lines[2].split()[-1] == trade(2).trade_id[:8]
    result = Result(word, 10**6, 10**5, profit, abs(price), 1e6, timedelta(days=900).total_seconds())
    assert len(fits(summary.result_lines([result]))) == 2


def test_nothing_is_said_in_words():
    assert summary.trade_lines([]) == summary.result_lines([]) == ["nothing yet"]
    assert summary.trade_lines([trade(1, pnl="-8.126")])[1].count("-8.13") == 1
