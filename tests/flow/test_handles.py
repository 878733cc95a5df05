"""What a notebook gets: docs/python-api.md is run as it stands, on a bot's own data."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from domain.errors import BadData
from ml import PhantomTradeTracker
from persistence import PostgresCandleStorage, TradeTrackerPostgres
from tests.commands import ROOT

DOCUMENT = ROOT / "docs" / "python-api.md"


def test_the_document_runs_as_it_stands_on_what_a_bot_has_left(make_bot):
    bot = make_bot()
    bot.start()
    bot.wait_for("a trade", lambda status: status["closed"] >= 1, 240)
    assert bot.stop() == 0
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    told = """
    stored = bot.storage.get_stats()
    assert stored["total_candles"] > 0, stored
    assert stats["total_trades"] >= 1 and stats["win_rate"] == stats.win_rate, stats
    assert bot.phantom_tracker.get_phantom_stats()["total"] > 0
    assert bot.ml_scorer("scalp").get_retrain_info()["trades_until_next_retrain"] > 0
    assert len(bot.storage.load_candles("BTC/USDT:USDT")) > 0
"""
    done = subprocess.run(
        [sys.executable, "-c", code + told], cwd=ROOT, env={**os.environ, **bot.environment}, text=True,
        capture_output=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Win rate" in done.stdout or "Trades" in done.stdout, done.stdout


def test_the_classes_come_by_their_names_and_others_do_not():
    assert {one.__name__ for one in (PostgresCandleStorage, TradeTrackerPostgres, PhantomTradeTracker)} == {
        "PostgresCandleStorage", "TradeTrackerPostgres", "PhantomTradeTracker",
    }  # fmt: skip
    with pytest.raises(ImportError, match="Nobody"):
        from persistence import Nobody
    with pytest.raises(ImportError, match="Nobody"):
        from ml import Nobody  # noqa: F401


def test_the_scorer_comes_by_its_name_and_tells_when_it_learns_next(tmp_path, monkeypatch):
    monkeypatch.setenv("REVENANT__DATA_DIR", str(tmp_path))
    from ml import ml_scorer

    info = ml_scorer.get_retrain_info()
    assert {"can_train", "trades_until_next_retrain", "next_retrain_at"} <= info.keys()
    assert info["strategies"].keys() >= {"scalp", info["strategy"]}
    assert ml_scorer("scalp").get_retrain_info() == ml_scorer.get_retrain_info("scalp") == info["strategies"]["scalp"]
    with pytest.raises(BadData, match="'nobody' is enabled"):
        ml_scorer.get_retrain_info("nobody")


def test_a_strategy_or_figure_that_is_none_is_named_with_those_there_are(tmp_path, monkeypatch):
    from bootstrap.handles import Handles

    monkeypatch.setenv("REVENANT__DATA_DIR", str(tmp_path))
    with Handles() as bot:
        with pytest.raises(BadData, match=r"'nobody' is enabled; there are .*scalp"):
            bot.ml_scorer("nobody")
        with pytest.raises(KeyError, match="rate: there are total_trades"):
            bot.trade_tracker.get_statistics(days=30)["rate"]
