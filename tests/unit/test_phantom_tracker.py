"""The phantom tracker follows every signal, taken or refused, and judges both sides."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal as D

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import ids
from domain.candle import Bar, ClosedBar, Series
from domain.errors import BadData
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.ids import Identity
from domain.instrument import Instrument
from domain.order import Side
from domain.signal import Signal
from domain.trade import Trade
from ml.phantom_tracker import COMPLETED_MAX, PhantomTradeTracker

WHO = Identity("synthetic", "synthetic", "1")
STEP, DAY_MS = 180_000, 86_400_000
A, B = "A/USDT:USDT", "B/USDT:USDT"
FREE = Costs(D(0), D(0), D(0), D(0))


def rules(symbol: str) -> Instrument:
    return Instrument(symbol, symbol[:1] + "USDT", D("0.1"), D("0.01"), D("0.01"), D(100_000), D(5), D(50))


def tracker(plan: ExitPlan = ExitPlan()) -> PhantomTradeTracker:
    known = {symbol: rules(symbol) for symbol in (A, B)}
    return PhantomTradeTracker(WHO, {"scalp": plan, "trend_pullback": plan}, known.get, FREE)


def signal(number: int = 0, symbol: str = A, side: Side = Side.LONG, strategy: str = "scalp") -> Signal:
    start = number * STEP
    return Signal(strategy, symbol, "3m", start, start + STEP, side, 100, 100 - 2 * side.sign, 100 + 4 * side.sign)


def record(held, one: Signal, gate: str = "", score: float | None = None):
    return held.record_signal(one.symbol, one, score, not gate, {"rsi": 0.5}, one.strategy, gate)


def show(held, number: int, *, high: float = 100.5, low: float = 99.5, symbol: str = A):
    return held.update_phantom_prices(ClosedBar(Series(symbol, "3m"), Bar(number * STEP, 100, high, low, 100, 1, 1)))


def real(one: Signal, r: str) -> Trade:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    name = ids.trade_id(ids.signal_digest(WHO, one.strategy, one.symbol, one.timeframe, one.bar_start))
    return Trade(one.symbol, "long", D(100), D(101), D(1), at, at, D(1), D(1), "take_profit", D(1), "scalp",
                 trade_id=name, r_multiple=D(r))  # fmt: skip


def test_every_signal_is_followed_to_its_outcome_whoever_refused_it():
    held = tracker()
    record(held, signal(0), "score", 40.0)
    record(held, signal(0, B), "", 80.0)
    record(held, signal(0, strategy="trend_pullback"), "position_open")
    assert show(held, 0, high=110) == []
    assert {one.outcome for one in show(held, 1, high=105)} == {"win"}
    (lost,) = show(held, 1, low=90, symbol=B)
    assert lost.outcome == "loss"
    stats = held.get_phantom_stats()
    assert (stats["total"], stats["active"], stats["executed"], stats["rejected"]) == (3, 0, 1, 2)
    assert stats["rejection_stats"]["would_have_won"] == 2
    assert stats["rejection_stats"]["missed_r"] == 4.0
    assert stats["gates"]["score"] == {
        "rejected": 1, "would_have_won": 1, "would_have_lost": 0, "timed_out": 0, "opportunity_cost_r": 2.0,
    }  # fmt: skip
    assert stats["ml_accuracy"] == {
        "correct_rejections": 0, "wrong_rejections": 1, "correct_approvals": 0, "wrong_approvals": 1, "accuracy_pct": 0.0,
    }  # fmt: skip
    assert held.get_phantom_stats(B)["total"] == 1
    assert stats["win_rates"] == {"scalp": 50.0, "trend_pullback": 100.0}


@given(st.lists(st.tuples(st.sampled_from((A, B)), st.sampled_from(("scalp", "trend_pullback")), st.sampled_from(("", "score")),
                          st.booleans()), max_size=25))  # fmt: skip
def test_every_figure_of_a_symbol_or_strategy_is_what_it_would_be_without_the_others(told):
    """What others made is in no figure: those asked for are those of a tracker that never saw anything else."""

    def of(wanted) -> dict:
        held = tracker()
        for number, (symbol, strategy, gate, gains) in enumerate(told):
            if wanted(symbol, strategy):
                record(held, signal(2 * number, symbol, strategy=strategy), gate, 50.0)
                show(held, 2 * number + 1, symbol=symbol, **({"high": 105} if gains else {"low": 90}))
        return held.get_phantom_stats

    every = of(lambda *_: True)
    assert every(B) == of(lambda symbol, _: symbol == B)()
    assert every(strategy="scalp") == of(lambda _, strategy: strategy == "scalp")()
    assert every(B, "scalp") == of(lambda *one: one == (B, "scalp"))()


def test_figures_are_there_while_phantoms_are_open_and_asking_changes_nothing():
    held = tracker()
    record(held, signal(0), "paused")
    before = held.get_phantom_stats()
    assert (before["total"], before["active"], before["completed"]) == (1, 1, 0)
    assert held.get_phantom_stats(B)["total"] == 0
    assert held.get_phantom_stats() == before


def test_blocked_signals_are_counted_by_utc_day_and_strategy():
    held = tracker()
    for number in (0, 1, DAY_MS // STEP):
        record(held, signal(number), "score")
    record(held, signal(2), "")
    assert held.blocked == {(0, ""): 2, (0, "scalp"): 2, (1, ""): 1, (1, "scalp"): 1}


def test_a_signal_told_twice_is_one_phantom_and_contradictions_are_refused():
    held = tracker()
    assert record(held, signal(0), "score") is not None
    assert record(held, signal(0), "score") is None
    assert held.get_phantom_stats()["total"] == 1
    with pytest.raises(BadData, match="contradict"):
        held.record_signal(A, signal(1), None, True, None, "scalp", "score")
    with pytest.raises(BadData, match="contradict"):
        held.record_signal(A, signal(1), None, False, None, "scalp")
    with pytest.raises(BadData, match="told as"):
        held.record_signal(B, signal(1), None, True, None, "scalp")


def test_learning_takes_what_a_trade_really_made_and_leaves_out_what_has_no_vector():
    held = tracker()
    taken, refused = signal(0), signal(1)
    record(held, taken)
    record(held, refused, "score", 30.0)
    held.record_signal(A, signal(2), None, False, None, "scalp", "warming_up")
    held.take_trade(real(taken, "1.25"))
    for number in (1, 2, 3):
        show(held, number, high=105 if number == 3 else 100.5)
    rows = held.get_learning_data()
    assert [(row.r, row.real, row.was_executed, row.score) for row in rows] == [
        (1.25, True, True, None), (2.0, False, False, 30.0),
    ]  # fmt: skip
    assert all(row.exit_time > row.signal_time for row in rows)
    # what another table described is not learned from
    held._ended[0].schema = "another"
    assert len(held.get_learning_data()) == 1


def test_a_trade_that_a_hand_has_shaped_teaches_nothing():
    held = tracker()
    record(held, signal(0))
    held.take_trade(msgspec.structs.replace(real(signal(0), "9"), touched="added,stop_removed"))
    show(held, 1, high=105)
    assert [(row.r, row.real) for row in held.get_learning_data()] == [(2.0, False)]


def test_timeouts_count_in_no_win_rate():
    held = tracker(ExitPlan(timeout_ms=STEP))
    record(held, signal(0), "score")
    (one,) = show(held, 1)
    assert one.outcome == "timeout"
    stats = held.get_phantom_stats()
    assert (stats["outcomes"], stats["win_rates"]) == ({"timeout": 1}, {})
    assert stats["rejection_stats"]["timed_out"] == 1


def test_the_newest_thousand_are_kept():
    held = tracker()
    for number in range(COMPLETED_MAX + 5):
        record(held, signal(number), "score")
        show(held, number + 1, high=105)
    assert len(held.completed) == COMPLETED_MAX
    assert held.completed[0].signal_time == 6 * STEP
    assert len(held._seen) == COMPLETED_MAX


def test_what_was_written_down_makes_the_same_tracker_again():
    held, again = tracker(), tracker()
    told = []
    for number in range(6):
        one = record(held, signal(number), "score" if number % 2 else "")
        told.append(msgspec.structs.replace(one))
        told += [
            msgspec.structs.replace(closed)
            for closed in show(held, number + 1, high=105 if number in {1, 4} else 100.5)
        ]
    again.restore(told)
    assert again.get_phantom_stats() == held.get_phantom_stats()
    assert again.get_learning_data() == held.get_learning_data()
    assert again.get_phantom_stats()["win_rates"] == held.get_phantom_stats()["win_rates"]
    # those still open wait for the bars since they began: shown again, they end as they would have
    assert show(again, 7, low=90) == []
    for number in range(again.waiting_since(Series(A, "3m")) // STEP, 7):
        show(again, number)
    assert show(again, 7, low=90) == show(held, 7, low=90) != []
    assert again.get_learning_data() == held.get_learning_data()


def test_a_symbol_whose_rules_are_unknown_is_not_followed():
    assert record(tracker(), signal(0, "C/USDT:USDT"), "not_trading") is None


def test_a_symbol_that_nobody_knows_is_said_to_be_unknown():
    held = tracker()
    record(held, signal(0), "score")
    assert held.get_phantom_stats(B)["total"] == 0
    with pytest.raises(BadData, match="'NONE' is not known; phantoms there are of A/USDT:USDT"):
        held.get_phantom_stats("NONE")
    for written in ("A", "a/usdt", "AUSDT", A):
        assert held.get_phantom_stats(written)["total"] == 1
