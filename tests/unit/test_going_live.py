"""Before real money is traded, it is said what the strategies in use have shown."""

from pathlib import Path

import msgspec

import settings
from app import going_live, proof
from domain.finding import State
from persistence.evaluations import Evaluations
from tests.unit.test_proof import result

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


def test_each_strategy_in_use_is_proven_by_an_evaluation_of_what_runs_now_or_not(tmp_path):
    chosen = (
        f"data_dir: {tmp_path}\nstrategies: {{breakout: {{enabled: true}}, scalp: {{enabled: true}}}}\nsource: bybit\n"
    )
    held = load(tmp_path, chosen)
    enough = {"signals": 400, "mean_r": 0.2, "low": 0.05, "high": 0.35, "proven": True, "reason": "above zero"}
    few = {"signals": 30, "mean_r": 0.9, "low": None, "high": None, "proven": False, "reason": "300 are needed"}

    def kept(name, **changes):
        (found,) = proof.evaluations_of(held, result([], names=(name,)))
        Evaluations(tmp_path).keep(msgspec.structs.replace(found, **changes))

    def told():
        return {one.name: (one.state, one.detail) for one in going_live.of_settings(held)}

    state, detail = told()["proof of breakout"]
    assert (state, "no backtest has evaluated it; manage.py backtest run --strategy breakout" in detail) == (
        State.WARN, True,
    )  # fmt: skip
    kept("breakout", **enough)
    kept("breakout", **few, made_at=2**50)
    kept("breakout", **{**few, "signals": 900}, code_hash="of another day")
    kept("scalp", **few)
    assert told()["proof of breakout"] == (State.OK, "400 signals on bybit, mean +0.200 R (95 %: +0.050 to +0.350)")
    assert told()["proof of scalp"] == (State.WARN, "30 signals on bybit, mean +0.900 R: 300 are needed")
    held = load(tmp_path, chosen + "paper: {taker_fee: 0.001}\n")
    assert "of other code, parameters, exits or costs" in told()["proof of breakout"][1]


def test_the_documents_say_the_same_figures():
    for name in ("README.md", "docs/strategies.md", "docs/operating.md"):
        text = (ROOT / name).read_text()
        assert [one for one in ("565", "-0.29", "-50.0 %", "+119.9 %") if one not in text] == [], name
