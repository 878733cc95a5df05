"""What a strategy has shown: how sure its mean is, whether that is enough, and of which code and terms it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from scipy import stats

import settings
from app import proof
from bootstrap.strategy_code import code_hash, terms_hash
from domain.coverage import Span
from domain.errors import ConfigError
from domain.proof import SPAN_MIN_MS, doubt
from domain.source import Source
from persistence.evaluations import Evaluations
from tests.desk import trade

START = datetime(2022, 1, 3, tzinfo=UTC)
TRADE = trade(1)


def load(folder, text="", **environment):
    path = folder / "config.yaml"
    path.write_text(f"data_dir: {folder / 'data'}\n{text}")
    return settings.load(path, environment)


def trades(results, name="breakout"):
    """Return trades by the weeks of their entries: a row of results in R for each week."""
    return [
        msgspec.structs.replace(TRADE, entry_time=START + timedelta(weeks=week, hours=3 * place), strategy_name=name,
                r_multiple=Decimal(repr(round(float(r), 9))))
        for week, row in enumerate(results) for place, r in enumerate(row)
    ]  # fmt: skip


def weekly(seed: int, weeks: int = 30, a_week: int = 5, mean: float = 0.1):
    """Return results that share their week's market: single ones are far from independent."""
    rng = np.random.default_rng(seed)
    return mean + rng.normal(0, 1, (weeks, 1)) + rng.normal(0, 0.5, (weeks, a_week))


def test_the_interval_holds_the_truth_as_often_as_it_says():
    covered = sum(
        found.low <= 0.1 <= found.high for found in (proof.mean_r(trades(weekly(seed))) for seed in range(150))
    )
    # 95 % of 150 is 142.5, with a standard deviation of 2.7
    assert 134 <= covered <= 150


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_that_of_the_means_of_weeks_by_student(seed):
    results = weekly(seed, weeks=60)
    found, means = proof.mean_r(trades(results)), results.mean(axis=1)
    low, high = stats.t.interval(0.95, len(means) - 1, means.mean(), stats.sem(means))
    assert found.value == pytest.approx(means.mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.15 * (high - low))


def test_single_trades_would_claim_far_more_than_weeks_do():
    results = weekly(1, weeks=60, a_week=10)
    found = proof.mean_r(trades(results))
    alone = stats.t.interval(0.95, results.size - 1, results.mean(), stats.sem(results.ravel()))
    assert found.high - found.low > 2 * (alone[1] - alone[0])


@pytest.mark.parametrize(("changes", "says"), [
    ({}, ""),
    ({"real": False}, "no real market's"),
    ({"liquidated": True}, "used up"),
    ({"signals": 299}, "299 signals, and 300 are needed"),
    ({"span_ms": SPAN_MIN_MS - 1}, "2 are needed"),
    ({"low": None}, "too few weeks"),
    ({"low": 0.0}, "not above zero"),
    ({"low": -0.01}, "-0.010, not above zero"),
])  # fmt: skip
def test_what_is_lacking_is_said(changes, says):
    given = {"low": 0.01, "signals": 300, "span_ms": SPAN_MIN_MS, "real": True, "liquidated": False, **changes}
    assert (says in doubt(**given)) if says else doubt(**given) == ""


def result(held, source=Source.BYBIT, names=("breakout",), ml="off", liquidated=0, years=3):
    since = int(START.timestamp() * 1000)
    return SimpleNamespace(
        request=SimpleNamespace(ml=ml, who=None, source=source, symbols=("BTC/USDT:USDT",)),
        span=Span(since, since + years * SPAN_MIN_MS // 2), strategies=names, data_hash="ba",
        outcome=SimpleNamespace(trades=held, liquidated_at=liquidated),
    )  # fmt: skip


def test_what_a_backtest_finds_is_kept_for_each_strategy(tmp_path):
    held = load(tmp_path)
    good, bad = weekly(3, weeks=100, a_week=4, mean=2.0), weekly(4, weeks=10, a_week=3)
    found = proof.register(held, result([*trades(good), *trades(bad, "scalp")], names=("breakout", "scalp")))
    assert [(one.strategy, one.signals, one.proven, one.beside) for one in found] == [
        ("breakout", 400, True, ("scalp",)), ("scalp", 30, False, ("breakout",)),
    ]  # fmt: skip
    assert found[0].low > 0
    assert found[1].reason == "30 signals, and 300 are needed"
    assert sorted(Evaluations(tmp_path / "data").load()[0], key=lambda one: one.strategy) == found
    assert [row["current"] for row in proof.rows(held)[0]] == [True, True]


def test_the_same_result_proves_nothing_on_bars_that_were_made_up(tmp_path):
    good = trades(weekly(3, weeks=100, a_week=4, mean=2.0))
    for source in (Source.SYNTHETIC, Source.TEST, Source.BYBIT_TESTNET):
        assert not proof.evaluations_of(load(tmp_path), result(good, source))[0].proven
    assert not proof.evaluations_of(load(tmp_path), result(good, liquidated=1))[0].proven
    assert not proof.evaluations_of(load(tmp_path), result(good, years=1))[0].proven


def test_what_a_model_has_chosen_is_not_kept_and_a_strategy_without_trades_is(tmp_path):
    held = load(tmp_path)
    assert proof.register(held, result([], ml="walk-forward")) == []
    assert Evaluations(tmp_path / "data").load() == ([], [])
    (empty,) = proof.register(held, result([]))
    assert (empty.signals, empty.low, empty.high, empty.proven) == (0, None, None, False)


def test_other_terms_are_another_thing(tmp_path):
    plain = terms_hash(load(tmp_path), "breakout", Source.BYBIT)
    assert terms_hash(load(tmp_path), "breakout", Source.BINANCE) == plain
    for text in (
        "paper: {taker_fee: 0}", "paper: {slippage: 0}", "risk: {max_cost_r: 0}", "trading: {entry_order: limit}",
        "strategies: {breakout: {exits: {partial_r: 1}}}", "strategies: {breakout: {parameters: {stop_atr: 4}}}",
    ):  # fmt: skip
        assert terms_hash(load(tmp_path, text), "breakout", Source.BYBIT) != plain, text
    # what does not change a trade's result in R
    assert terms_hash(load(tmp_path, "risk: {percent: 0.1}"), "breakout", Source.BYBIT) == plain


def test_code_is_what_a_strategy_imports_too(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("from strategies.examples.donchian import Donchian\nfrom ._shared import X\n"
                    "class Mine(Donchian):\n    name = 'mine'\n")  # fmt: skip
    shared, beside = tmp_path / "_shared.py", tmp_path / "other.py"
    shared.write_text("X = 1\n")
    held = load(tmp_path, f"strategies: {{folder: {tmp_path}, mine: {{}}}}")
    first = code_hash(held, "mine")
    beside.write_text("Y = 1\n")
    assert code_hash(held, "mine") == first
    shared.write_text("X = 2\n")
    second = code_hash(held, "mine")
    assert second != first
    mine.write_text(mine.read_text() + "    z = 1\n")
    assert code_hash(held, "mine") not in {first, second}
    assert len({code_hash(held, name) for name in ("trend_pullback", "mean_reversion", "scalp", "breakout")}) == 4


def test_one_that_is_gone_is_not_what_runs(tmp_path):
    held = load(tmp_path)
    (found,) = proof.evaluations_of(held, result([]))
    assert proof.as_row(held, found)["current"]
    with pytest.raises(ConfigError, match="no such strategy"):
        code_hash(held, "gone")
