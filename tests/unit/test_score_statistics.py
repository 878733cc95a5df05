"""What is said of scores is what independent implementations say, ties included, and chance is not taken for skill."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from app.evaluation_page import told
from dashboard.figures import deciles, judged_costs
from dashboard.intervals import mean_interval, worth
from domain.score_bins import score_bins
from ml.evaluation import Seen, evaluate
from ml.scores import auc, brier, calibration_error, log_losses, reliability
from ml.weeks import WEEKS_MIN, Weeks
from tests.page_desk import phantom

DAY = 86_400_000
LEVELS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
few_valued = st.lists(st.tuples(st.booleans(), st.sampled_from(LEVELS)), min_size=2, max_size=120)
many_valued = st.lists(
    st.tuples(st.booleans(), st.integers(1, 99).map(lambda one: one / 100)), min_size=2, max_size=200
)


def columns(pairs) -> tuple[np.ndarray, np.ndarray]:
    return np.array([won for won, _ in pairs]), np.array([p for _, p in pairs])


@given(many_valued, st.integers(1, 12))
def test_equal_scores_are_never_parted_and_bins_rise(pairs, count):
    _, p = columns(pairs)
    bins = score_bins(p, count)
    assert sorted(np.concatenate(bins).tolist()) == list(range(len(p)))
    assert 1 <= len(bins) <= count
    assert all(p[low].max() < p[high].min() for low, high in itertools.pairwise(bins))
    if len(np.unique(p)) <= count:
        assert len(bins) == len(np.unique(p))


@given(st.integers(1, 400), st.integers(1, 12), st.randoms())
def test_bins_without_ties_are_as_equal_as_can_be(size, count, chance):
    p = list(range(size))
    chance.shuffle(p)
    sizes = [len(rows) for rows in score_bins(p, count)]
    assert len(sizes) == min(size, count)
    assert max(sizes) - min(sizes) <= 1


@given(many_valued, st.randoms())
def test_what_is_said_does_not_depend_on_the_order_of_rows(pairs, chance):
    """Neither time nor outcome parts a tie: whatever order signals come in, the figures are the same."""
    won, p = columns(pairs)
    shuffled = list(range(len(p)))
    chance.shuffle(shuffled)
    assert calibration_error(won[shuffled], p[shuffled]) == pytest.approx(calibration_error(won, p))
    for one, other in zip(reliability(won[shuffled], p[shuffled]), reliability(won, p), strict=True):
        assert one == pytest.approx(other)


@given(many_valued)
def test_steps_fitted_to_the_outcomes_are_perfectly_calibrated(pairs):
    """Isotonic regression makes each step the share of gains on it, so there is nothing to be wrong by."""
    won, p = columns(pairs)
    steps = IsotonicRegression(out_of_bounds="clip").fit(p, won).predict(p)
    assert calibration_error(won, np.round(steps, 12)) == pytest.approx(0, abs=1e-9)


@given(few_valued)
def test_reliability_of_few_values_is_that_of_scikit_learn_and_pandas(pairs):
    won, p = columns(pairs)
    groups = reliability(won, p, 10)
    came_true, predicted = calibration_curve(won, p, n_bins=10)
    assert [one["came_true"] for one in groups] == pytest.approx(came_true)
    assert [one["predicted"] for one in groups] == pytest.approx(predicted)
    by_value = pd.DataFrame({"p": p, "won": won}).groupby("p").won.agg(["mean", "size"])
    far = (by_value["mean"] - by_value.index).abs()
    assert calibration_error(won, p) == pytest.approx(float((far * by_value["size"]).sum() / len(p)))


@given(many_valued)
def test_auc_log_loss_and_brier_are_those_of_scikit_learn(pairs):
    won, p = columns(pairs)
    assert float(np.mean(log_losses(won, p))) == pytest.approx(log_loss(won, p, labels=[False, True]))
    assert brier(won, p) == pytest.approx(brier_score_loss(won, p))
    if won.any() and not won.all():
        assert auc(won, p) == pytest.approx(roc_auc_score(won, p))


def test_a_score_that_is_always_the_same_is_one_tenth_on_the_page_and_one_group_everywhere():
    outcomes = ["1" if number % 3 else "-1" for number in range(60)]
    (only,) = deciles(phantom(number, "score", r, 50.0) for number, r in enumerate(outcomes))
    assert (only["from"], only["to"], only["signals"], only["win_rate"]) == (50.0, 50.0, 60, 66.7)
    won = np.arange(200) < 100
    assert calibration_error(won, np.full(200, 0.5)) == 0
    assert reliability(won, np.full(200, 0.5)) == [{"predicted": 0.5, "came_true": 0.5, "n": 200}]


@given(st.lists(st.tuples(st.sampled_from(LEVELS), st.sampled_from(("1.5", "-1", "0.2"))), min_size=1, max_size=80))
def test_tenths_on_the_page_are_what_pandas_makes_of_each_score(rows):
    made = deciles(phantom(number, "score", r, 100 * p) for number, (p, r) in enumerate(rows))
    expected = pd.DataFrame({"p": [100 * p for p, _ in rows], "r": [float(r) for _, r in rows]}).groupby("p").r
    assert [one["from"] for one in made] == pytest.approx(list(expected.mean().index))
    assert [one["mean_r"] for one in made] == pytest.approx(list(expected.mean()), abs=6e-4)
    assert [one["signals"] for one in made] == list(expected.size())


@given(many_valued, st.integers(0, 2**31))
@settings(max_examples=25)
def test_figures_of_drawn_weeks_are_those_of_the_signals_drawn(pairs, seed):
    """The first is that of all; each other one that of its weeks, signal by signal, as scikit-learn and numpy have it."""
    won, p = columns(pairs)
    weeks = Weeks(np.arange(len(p)) * 3 * DAY, seed)
    chosen = p > np.median(p)
    means, aucs = weeks.means(p, chosen), weeks.aucs(won, p)
    for draw in (0, 1, 2, 500):
        rows = np.repeat(np.arange(len(p)), weeks.drawn(draw))
        kept = rows[chosen[rows]]
        assert means[draw] == pytest.approx(p[kept].mean() if len(kept) else np.nan, nan_ok=True)
        both = won[rows].any() and not won[rows].all()
        assert aucs[draw] == pytest.approx(roc_auc_score(won[rows], p[rows]) if both else 0.5)


def noise(rng, days: float, count: int, *, market: float = 0.0, mood: float = 0.0, lump: float = 0.0) -> Seen:
    """Make signals whose score knows nothing: outcomes share a week's market, scores a week's mood.

    ``lump`` is the share of them that falls into the first week.
    """
    span = np.where(rng.random(count) < lump, min(days, 7), days) * DAY
    time = np.sort((rng.random(count) * span).astype(np.int64))
    week = time // (7 * DAY)
    luck, moods = rng.normal(0, market, week.max() + 1)[week], rng.normal(0, 1, week.max() + 1)[week]
    p = np.clip(0.45 + 0.05 * ((1 - mood) ** 0.5 * rng.normal(0, 1, count) + mood**0.5 * moods), 0.05, 0.95)
    won = rng.random(count) < np.clip(0.45 + luck, 0.05, 0.95)
    return Seen(p, np.full(count, 0.45), np.where(won, 1.22, -1.0), time, p >= np.median(p))


@settings(max_examples=30)
@given(st.floats(0.1, 55.0), st.integers(40, 400), st.integers(0, 2**31), st.booleans())
def test_with_fewer_than_eight_weeks_of_signals_nothing_can_be_said(days, count, seed, knows):
    """Whatever the figures: noise, or a score that knew every outcome."""
    held = noise(np.random.default_rng(seed), days, count)
    if knows:
        p = np.where(held.r > 0, 0.9, 0.1)
        held = Seen(p, held.base, held.r, held.time, p > 0.5)
    found = evaluate(held)
    assert (found.skill, found.edge) == (False, False)
    assert found.verdict.startswith("too short to say")
    assert found.weeks < WEEKS_MIN
    assert not np.isfinite([found.auc.low, found.mean_r_passed.low, found.gain_r.high]).any()
    assert "nan" not in told(found.auc)


@pytest.mark.parametrize("world", [
    {}, {"market": 0.12, "mood": 0.5}, {"market": 0.12, "mood": 1.0}, {"market": 0.12, "mood": 0.8, "lump": 0.8},
], ids=["alone", "together", "by-the-week", "in-one-week"])  # fmt: skip
@pytest.mark.parametrize("days", [3, 84])
def test_noise_is_called_skill_or_an_edge_no_oftener_than_is_said(days, world):
    """An interval leaves the truth below it once in forty times, so skill may be seen in 2.5 % of draws of noise.

    Of 60 draws more than 6 would come of that once in a thousand times.
    """
    found = [evaluate(noise(np.random.default_rng([seed, days]), days, 150, **world), seed) for seed in range(60)]
    assert sum(one.edge for one in found) <= 6
    assert sum(one.skill for one in found) <= 6
    assert sum(one.auc.low > 0.5 for one in found) <= 6


def test_a_gate_that_opens_in_few_weeks_shows_no_edge():
    """What is let through is a figure of the weeks that it is from, however many weeks the signals have."""
    rng = np.random.default_rng(3)
    p = rng.uniform(0.2, 0.8, 3_000)
    r, time = np.where(rng.random(3_000) < p, 1.0, -1.05), np.arange(3_000) * 3_600_000
    found = evaluate(Seen(p, np.full(3_000, 0.5), r, time, (p > 0.6) & (time < 21 * DAY)))
    assert (found.skill, found.edge) == (True, False)
    assert not np.isfinite(found.mean_r_passed.low)
    assert any("from 3 weeks only" in note for note in found.notes)


def signal_days(count: int, each: int = 1) -> list[int]:
    return [DAY * day + 60_000 * place for day in range(count) for place in range(each)]


def test_an_interval_of_days_is_as_wide_as_students_t_makes_it():
    made = np.random.default_rng(4).normal(0.3, 1.0, 60)
    found = mean_interval(signal_days(60), made.tolist())
    low, high = stats.t.interval(0.95, 59, made.mean(), stats.sem(made))
    assert (found.value, found.days) == (pytest.approx(made.mean()), 60)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.05), pytest.approx(high, abs=0.05))


def test_signals_of_one_day_are_no_more_than_their_day():
    made = np.random.default_rng(5).normal(0.0, 1.0, 20)
    one, many = (mean_interval(signal_days(20, each), np.repeat(made, each).tolist()) for each in (1, 30))
    assert one.low is not None
    assert many.low == pytest.approx(one.low)
    assert many.high == pytest.approx(one.high)


@pytest.mark.parametrize("days", [0, 1, 7])
def test_of_too_few_days_there_is_no_interval(days):
    times = signal_days(days, 100)
    found = mean_interval(times, [1.0] * len(times))
    assert (found.low, found.high, found.days) == (None, None, days)


def test_what_a_score_is_worth_is_told_from_chance_or_is_not():
    rng = np.random.default_rng(6)
    times, r = signal_days(40, 5), rng.normal(0.0, 1.0, 200)
    by = worth(times, (r + rng.normal(0.0, 1.0, 200)).tolist(), r.tolist())
    assert by is not None
    assert by.low > 0
    turned = worth(times, (-r).tolist(), r.tolist())
    assert turned is not None
    assert turned.high < 0
    none = worth(times, rng.normal(0.0, 1.0, 200).tolist(), r.tolist())
    assert none is not None
    assert none.low < 0 < none.high
    assert worth(times, [50.0] * 200, r.tolist()) is None


def test_a_gate_is_said_to_save_or_to_cost_only_where_chance_would_not_have_done():
    def of(gate, results):
        return [replace_time(phantom(n, gate, r), n) for n, r in enumerate(results)]

    rng = np.random.default_rng(7)
    held = [*of("spread", ["-1"] * 20), *of("score", ["2"] * 20), *of("cooldown", map(str, rng.normal(0, 1, 20).round(2))),
            *of("news", ["-1"] * 3)]  # fmt: skip
    rows = {row["name"]: row for row in judged_costs(held, lambda one: one.gate)}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "spread": "saved", "score": "cost", "cooldown": "not told from chance", "news": "too few days",
    }  # fmt: skip
    assert rows["spread"]["low_r"] == pytest.approx(float(rows["spread"]["net_r"]))


def replace_time(one, day):
    one.signal_time = DAY * (20_000 + day)
    return one
