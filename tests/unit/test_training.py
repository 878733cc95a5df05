"""Training finds an edge that is there, none where none is, and nothing in what knows the outcome."""

from __future__ import annotations

from functools import cache

import msgspec
import numpy as np
import pytest

from domain.lesson import Lessons
from domain.training_run import DEMOTED, NOT_TRAINED, PROMOTED, REJECTED
from ml import ensemble, training
from ml.features import NAMES
from ml.job import Terms
from ml.model import Calibrator
from ml.scorer import Scorer
from ml.scores import advantage, auc, brier, log_losses

STEP = 180_000
TERMS = Terms("scalp", "synthetic", 20 * STEP)
NOW = 1_800_000_000_000


def market(count: int, edge: float = 0.0, seed: int = 1, executed: float = 0.3, start: int = 0) -> Lessons:
    """Make lessons whose first two features tell so much about the outcome."""
    draw = np.random.default_rng(seed)
    vectors = draw.normal(size=(count, len(NAMES)))
    time = (start + np.arange(count)) * 5 * STEP
    odds = edge * (vectors[:, 0] + vectors[:, 1]) - 0.4
    won = draw.random(count) < 1 / (1 + np.exp(-odds))
    r = np.where(won, 1.8, -1.1)
    return Lessons(vectors, r, draw.random(count) < executed, time, time + draw.integers(1, 20, count) * STEP)


@cache
def taught() -> training.Result:
    return training.train(market(600, edge=1.0), TERMS, NOW)


def test_a_known_edge_is_found_and_named():
    result = taught()
    assert result.verdict == PROMOTED
    assert list(result.report["importance"])[:2] in (list(NAMES[:2]), list(NAMES[1::-1]))
    assert result.report["skill"] > training.SIGNIFICANT
    for fold in result.report["folds"]:
        assert fold["log_loss"] < fold["base_log_loss"]
    model = result.model
    assert (model.strategy, model.source, model.lessons) == ("scalp", "synthetic", 600)
    assert (round(model.gain_r, 6), round(model.loss_r, 6)) == (1.8, -1.1)
    fresh = market(2_000, edge=1.0, seed=9)
    p = Scorer(model).probabilities(fresh.vectors)
    assert auc(fresh.won, p) > 0.75
    # calibrated: of those called likely, as many come true as was said
    likely = p > 0.6
    assert likely.sum() > 100
    assert abs(fresh.won[likely].mean() - p[likely].mean()) < 0.1


def test_shuffled_labels_give_no_skill():
    verdicts = []
    for seed in range(12):
        lessons, draw = market(300, edge=1.5, seed=seed), np.random.default_rng(seed)
        shuffled = Lessons(
            lessons.vectors, draw.permutation(lessons.r), lessons.executed, lessons.signal_time, lessons.exit_time
        )
        verdicts.append(training.train(shuffled, TERMS, NOW).verdict)
    assert verdicts.count(PROMOTED) <= 1
    assert set(verdicts) <= {PROMOTED, REJECTED}


def test_a_feature_that_knows_the_outcome_is_caught():
    lessons = market(200)
    lessons.vectors[:, 7] = lessons.won + np.random.default_rng(1).normal(scale=0.2, size=200)
    result = training.train(lessons, TERMS, NOW)
    assert (result.verdict, result.model) == (NOT_TRAINED, None)
    assert NAMES[7] in result.reason
    assert "leakage" in result.reason
    lessons.vectors[:, 7] *= -1
    assert training.leaking(lessons) == [NAMES[7]]
    assert training.leaking(market(60)) == []


@pytest.mark.parametrize(
    ("lessons", "says"),
    [
        (market(0), "too few lessons: 0 executed and 0 phantoms"),
        (market(20), "too few lessons"),
        (market(29, executed=1), "too few lessons: 29 executed"),
        (market(99, executed=0), "too few lessons: 0 executed and 99 phantoms"),
        (Lessons(*(market(100).vectors, np.ones(100), *[getattr(market(100), n) for n in ("executed", "signal_time", "exit_time")])),
         "one-sided lessons: 100 gains and 0 losses"),
        (Lessons(*(market(100).vectors, -np.ones(100), *[getattr(market(100), n) for n in ("executed", "signal_time", "exit_time")])),
         "one-sided lessons: 0 gains and 100 losses"),
    ],
)  # fmt: skip
def test_too_little_to_learn_from_is_refused_with_the_reason(lessons, says):
    result = training.train(lessons, TERMS, NOW)
    assert (result.verdict, result.model) == (NOT_TRAINED, None)
    assert says in result.reason


def test_thirty_executed_or_as_much_in_phantoms_are_enough_to_begin():
    assert training.train(market(30, executed=1, seed=3), TERMS, NOW).report["executed"] == 30
    for lessons in (market(40, executed=1, seed=3), market(110, executed=0, seed=3)):
        assert training.train(lessons, TERMS, NOW).verdict in {PROMOTED, REJECTED}


def test_a_vector_that_is_no_number_is_refused():
    lessons = market(100)
    lessons.vectors[3, 3] = np.nan
    assert "not a number" in training.train(lessons, TERMS, NOW).reason


def test_no_lesson_is_tried_on_before_it_was_over():
    lessons = market(200)
    found = training.folds(lessons, 4, TERMS.embargo_ms)
    assert len(found) == 4
    for earlier, part in found:
        assert len(part) == 40
        assert (lessons.exit_time[earlier] + TERMS.embargo_ms <= lessons.signal_time[part].min()).all()
        # purged: some that came before were not over yet
        assert len(earlier) < part[0]


def test_executed_trades_weigh_more_than_phantoms_and_both_outcomes_the_same():
    lessons = market(400, executed=0.5)
    # phantoms say the opposite of what trades say
    lessons.vectors[:, 0] = np.where(lessons.won == lessons.executed, 1.0, -1.0)
    fitted = ensemble.fit(lessons, lessons.weights(0.1, 0.4), 1)
    probe = np.zeros((1, len(NAMES)))
    probe[0, 0] = 1
    assert fitted.heads["linear"].predict_proba(probe)[0, 1] > 0.5
    # class balance: with rare gains an ignorant model still says one half
    rare = market(500)
    rare.r[:] = np.where(np.arange(500) % 10 == 0, 1, -1)
    assert abs(ensemble.fit(rare, rare.weights(0.8, 0.4), 1).means(rare.vectors * 0).mean() - 0.5) < 0.15


def test_the_graphs_say_what_scikit_learn_says():
    lessons = market(300, edge=0.7)
    fitted = ensemble.fit(lessons, lessons.weights(0.8, 0.4), 1)
    model = taught().model
    heads = tuple(
        msgspec.structs.replace(head, onnx=graph)
        for head, graph in zip(model.heads, fitted.graphs().values(), strict=True)
    )
    calibrator = Calibrator("isotonic", (0.0, 1.0), (0.0, 1.0))
    probe = lessons.vectors[0]
    held = msgspec.structs.replace(
        model, heads=heads, mean=tuple(fitted.mean), scale=tuple(fitted.scale), calibrator=calibrator,
        probe=tuple(probe), probe_p=float(np.clip(fitted.means(probe[None])[0], 0.01, 0.99)),
    )  # fmt: skip
    fresh = market(1_000, seed=5).vectors
    assert np.abs(Scorer(held).means(fresh) - fitted.means(fresh)).max() < 5e-6


def test_a_worse_model_does_not_replace_a_better_one():
    lessons = market(600, edge=1.0)
    result = training.train(lessons, TERMS, NOW, Scorer(taught().model))
    assert result.verdict == REJECTED
    assert "no better than the model in use" in result.reason
    assert result.report["current"]["run_id"] == taught().model.run_id


def test_a_model_that_learned_another_market_is_replaced_or_let_go():
    opposite = market(400, edge=-1.0, start=700)
    result = training.train(opposite, TERMS, NOW, Scorer(taught().model))
    assert result.verdict == PROMOTED
    noise = market(200, edge=0.0, start=700, seed=4)
    result = training.train(noise, TERMS, NOW, Scorer(taught().model))
    assert (result.verdict, result.model) == (DEMOTED, None)
    assert "worse than its base rate over" in result.reason
    same = market(200, edge=1.0, start=700, seed=4)
    result = training.train(same, TERMS, NOW, Scorer(taught().model))
    assert result.verdict in {REJECTED, PROMOTED}
    assert "drift" in result.report


def test_progress_is_told_to_its_end():
    told = []
    training.train(market(120, edge=1.0), TERMS, NOW, None, lambda *step: told.append(step))
    done, of, _ = zip(*told, strict=True)
    assert list(done) == sorted(done)
    assert (done[0], done[-1]) == (0, of[0])


def test_the_measures_are_what_their_names_say():
    won, p = np.array([True, False, True, False]), np.array([0.9, 0.2, 0.6, 0.6])
    assert brier(won, p) == pytest.approx((0.01 + 0.04 + 0.16 + 0.36) / 4)
    assert log_losses(won, p) == pytest.approx(-np.log([0.9, 0.8, 0.6, 0.4]))
    assert auc(won, p) == 0.875
    assert auc(np.array([True, True]), p[:2]) == 0.5
    assert advantage(np.array([1.0, 1.0]), np.array([2.0, 4.0])) == pytest.approx(2.0)
    assert advantage(np.array([1.0]), np.array([2.0])) == 0.0


def test_a_calibrator_goes_through_its_points_and_is_never_certain():
    steps = Calibrator("isotonic", (0.2, 0.4, 0.4, 0.8), (0.1, 0.3, 0.5, 1.0))
    assert [round(steps(x), 4) for x in (0.0, 0.2, 0.3, 0.6, 0.8, 1.0)] == [0.1, 0.1, 0.2, 0.75, 0.99, 0.99]
    curve = Calibrator("sigmoid", (1.0,), (0.0,))
    assert curve(0.3) == pytest.approx(0.3)
    means, won = np.linspace(0.3, 0.7, 1_000), np.arange(1_000) % 2 == 0
    for count in (1_000, 100):
        fitted = ensemble.calibrate(means[:count], won[:count])
        assert abs(fitted(0.5) - 0.5) < 0.05
    assert ensemble.calibrate(means[:10], np.ones(10, dtype=bool))(0.3) == pytest.approx(11 / 12)


def of_the_past(lessons: Lessons) -> Lessons:
    return Lessons(lessons.vectors, lessons.r, np.zeros(len(lessons), dtype=bool), lessons.signal_time - 3_000 * 5 * STEP,
                   lessons.exit_time - 3_000 * 5 * STEP, np.ones(len(lessons), dtype=bool))  # fmt: skip


def test_the_past_helps_to_learn_but_nothing_is_tried_on_it():
    own, past = market(90, edge=1.0, seed=3), of_the_past(market(1_500, edge=1.0, seed=4))
    both = own.after(past)
    assert (len(both), both.counts, both.own.sum()) == (1_590, own.counts, 90)
    for earlier, part in training.folds(both, 4, TERMS.embargo_ms):
        assert both.own[part].all()
        assert (~both.own[earlier]).sum() == 1_500
    weights = both.weights(0.8, 0.4)
    assert set(weights[:1_500]) == {0.4}
    assert set(weights[1_500:]) == {0.8, 1.0}
    fresh = market(2_000, edge=1.0, seed=9)
    alone, helped = (
        auc(fresh.won, training.walk_forward(lessons, TERMS, 1)[-1].fitted.means(fresh.vectors))
        for lessons in (own, both)
    )
    assert helped > alone + 0.02
    result = training.train(market(300, edge=1.0, seed=3).after(past), TERMS, NOW)
    assert (result.report["lessons"], result.report["past_lessons"], result.verdict) == (300, 1_500, PROMOTED)
    assert result.model.lessons == 300
    assert result.model.base_rate == market(300, edge=1.0, seed=3).won.mean()


def test_a_past_of_other_times_does_not_make_a_model_look_good():
    # where gains were rare once, the base rate of then would be easy to beat
    past = of_the_past(market(500, edge=0.0, seed=4))
    past.r[:] = np.where(np.arange(500) % 10 == 0, 1.8, -1.1)
    verdicts = [training.train(market(200, seed=seed).after(past), TERMS, NOW) for seed in range(6)]
    assert [one.verdict for one in verdicts].count(PROMOTED) == 0
    for one in verdicts:
        assert abs(one.report["folds"][-1]["base_log_loss"] - 0.67) < 0.06


def test_what_had_not_ended_before_the_first_own_signal_is_left_out():
    own, past = market(50, start=100), market(200)
    both = own.after(past)
    assert (both.exit_time[~both.own] < own.signal_time[0]).all()
    assert 80 <= (~both.own).sum() <= 100
    assert len(own[:0].after(past)) == 0
    assert both[both.own].past.sum() == 0


def test_few_own_lessons_wait_however_much_past_there_is():
    result = training.train(market(20).after(of_the_past(market(2_000))), TERMS, NOW)
    assert result.verdict == NOT_TRAINED
    assert "too few lessons" in result.reason


def test_calibration_knows_nothing_that_had_not_ended():
    lessons = market(300, edge=1.0)
    trials = training.walk_forward(lessons, TERMS, 1)
    begins = lessons.signal_time[trials[-1].rows[0]]
    late = np.flatnonzero(lessons.exit_time + TERMS.embargo_ms > begins)
    late = late[late < trials[-1].rows[0]]
    assert len(late)
    changed = lessons[np.arange(300)]
    changed.r[late] *= -1
    one, other = (training.judge(held, trials, TERMS.embargo_ms)[-1].p for held in (lessons, changed))
    assert np.array_equal(one, other)
    # nothing known yet at all is a calibration too
    assert set(training.judge(lessons, trials, 10**15)[-1].p) == {0.5}
