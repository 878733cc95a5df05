"""Before real money is traded, it is said what the strategies in use have shown."""

from pathlib import Path

import settings
from app import going_live
from domain.finding import State

ROOT = Path(__file__).parents[2]


def load(tmp_path, text=""):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return settings.load(path, {})


def test_the_losses_of_those_that_ship_are_said(tmp_path):
    found = going_live.of_strategies(load(tmp_path))
    assert found.state is State.WARN
    for words in (
        "trend_pullback",
        "scalp",
        "565 trades",
        "-0.29 R",
        "-50.0 %",
        "holding +119.9 %",
        "docs/strategies.md",
    ):
        assert words in found.detail
    assert found in going_live.of_settings(load(tmp_path))


def test_of_one_that_somebody_brought_nothing_is_claimed(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from strategies.examples.donchian import Donchian\nclass Mine(Donchian):\n    name = 'mine'\n"
    )
    found = going_live.of_strategies(load(tmp_path, f"strategies: {{folder: {tmp_path}, mine: {{}}}}"))
    assert found.detail.startswith("in use: mine. ")
    assert found.detail.endswith("of mine nothing is known here; manage.py backtest run measures it")


def test_the_documents_say_the_same_figures():
    for name in ("README.md", "docs/strategies.md", "docs/operating.md"):
        text = (ROOT / name).read_text()
        assert [one for one in ("565", "-0.29", "-50.0 %", "+119.9 %") if one not in text] == [], name
