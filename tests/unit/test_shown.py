"""What commands print for people: a line per name, and below it what does not go into a line."""

from __future__ import annotations

import json

from bootstrap import inspection
from commands.shared import show
from settings import Settings

BODY = {
    "ready": True,
    "reasons": [],
    "stale": ["BTC/USDT:USDT 3m", "ETH/USDT:USDT 3m"],
    "refused": {"late": 1, "score": 3},
    "tiers": {"database": {"state": "ok", "waiting": 0, "reason": ""}, "audit": {"state": "down", "reason": "gone"}},
    "positions": [
        {"id": "X4FAKBCUNUA5", "symbol": "BTC/USDT:USDT", "side": "short", "entry": "63319.900000000000", "qty": "100"}
    ],
    "details": [],
}


def test_people_are_shown_lines_and_tables_and_no_program_text(capsys):
    show(BODY, as_json=False)
    told = capsys.readouterr().out
    lines = [line.split() for line in told.splitlines()]
    assert ["ready", "True"] in lines
    assert ["reasons", "none"] in lines
    assert ["stale", "BTC/USDT:USDT", "3m,", "ETH/USDT:USDT", "3m"] in lines
    assert ["refused", "late", "1,", "score", "3"] in lines
    assert ["database", "state", "ok,", "waiting", "0"] in lines
    assert ["audit", "state", "down,", "reason", "gone"] in lines
    assert "63319.9 " in told
    assert " 100 " in told
    assert "X4FAKBCUNUA5" not in told
    assert not set("{}[]'") & set(told)


def test_programs_are_told_everything(capsys):
    show(BODY, as_json=True)
    assert json.loads(capsys.readouterr().out) == BODY


def test_db_stats_and_the_bot_tell_the_same_count_of_unsettled_trades(tmp_path):
    """Found by a trade that closed between the two readings: 1 here, 0 in the status."""
    settings = Settings(data_dir=tmp_path)
    bot = {"unsettled": 0, "tiers": {}, "ledger": {"state": "ok"}, "candles_waiting": 0}
    assert inspection.db_stats(settings, inspection.Known(2, 1), bot)["unsettled"] == 0
    assert inspection.db_stats(settings, inspection.Known(2, 1), None)["unsettled"] == 1
