"""The honest question is answered honestly: chance is not taken for skill, and skill is found."""

from __future__ import annotations

import numpy as np
import pytest

from ml.evaluation import Seen, calibration_error, evaluate

HOUR = 3_600_000


def signals(count: int, skill: float, seed: int = 1, drift: float = 0.0) -> Seen:
    """Make signals whose gains follow their score as far as ``skill`` says."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.2, 0.8, count)
    true = np.clip(0.5 + skill * (p - 0.5) + drift, 0.02, 0.98)
    r = np.where(rng.random(count) < true, 1.0, -1.05)
    return Seen(p, np.full(count, 0.5), r, np.arange(count) * HOUR, p > 0.6)


def test_a_score_that_knows_is_found_and_pays():
    found = evaluate(signals(3_000, 1.0))
    assert (found.skill, found.edge) == (True, True)
    assert found.auc.low > 0.6
    assert found.log_loss.low > 0
    assert found.brier.low > 0
    assert found.mean_r_passed.low > 0 > found.mean_r_all.value - 0.1
    assert found.gain_r.low > 0
    assert found.calibration_error < 0.04
    assert [group.count for group in found.groups] == [300] * 10
    assert found.groups[0].won.value < 0.35
    assert found.groups[-1].won.value > 0.65
    assert all(group.won.low <= group.won.value <= group.won.high for group in found.groups)
    assert found.notes == []


def test_chance_is_not_taken_for_skill():
    believed = sum(evaluate(signals(1_500, 0.0, seed)).skill for seed in range(20))
    assert believed <= 1


def test_what_ranks_but_does_not_pay_is_told_so():
    found = evaluate(signals(3_000, 1.0, drift=-0.3))
    assert found.auc.low > 0.5
    assert not found.edge


@pytest.mark.parametrize("level", [0.3, 0.5, 0.9])
def test_a_constant_score_is_no_skill(level):
    held = signals(2_000, 0.0)
    same = Seen(np.full(2_000, level), held.base, held.r, held.time, np.ones(2_000, dtype=bool))
    found = evaluate(same)
    assert (found.skill, found.edge) == (False, False)
    assert found.auc == (0.5, 0.5, 0.5)
    assert "no edge shown" in found.verdict
    assert "the score is the same for every signal" in found.notes


def test_few_signals_and_a_shut_gate_are_told():
    held = signals(200, 1.0)
    shut = Seen(held.p, held.base, held.r, held.time, np.zeros(200, dtype=bool))
    found = evaluate(shut)
    assert any("only 200 unseen signals" in note for note in found.notes)
    assert "the gate lets nothing through" in found.notes
    assert not np.isfinite(found.mean_r_passed.value)
    few = Seen(held.p, held.base, held.r, held.time, held.p > np.sort(held.p)[-6])
    assert any("only 5 through" in note for note in evaluate(few).notes)
    assert not evaluate(few).edge
    assert not found.edge


def test_signals_of_one_week_are_drawn_together():
    """Repeating each signal four times in its week must not make the intervals narrower."""
    once = signals(2_000, 0.3)
    four = Seen(*(np.repeat(column, 4) for column in (once.p, once.base, once.r, once.time, once.passed)))
    one, other = evaluate(once).auc, evaluate(four).auc
    assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.25)


def test_the_calibration_error_is_the_mean_distance():
    p = np.repeat([0.1, 0.9], 500)
    won = np.r_[np.arange(500) % 5 == 0, np.arange(500) % 5 != 0]
    assert calibration_error(won, p) == pytest.approx(0.1)
    assert calibration_error(p > 0.5, np.where(p > 0.5, 1.0, 0.0)) == 0
