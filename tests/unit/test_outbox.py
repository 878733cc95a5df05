"""The outbox carries every trade, with patience, and is never the reason that one is lost."""

import pytest

from domain.errors import Rejected, Unavailable
from persistence.breaker import FAILURES_MAX, PAUSE, Breaker
from persistence.outbox import BATCH, Outbox
from tests.bot import until
from tests.torture.writer import trade


class Sink:
    def __init__(self):
        self.there, self.batches, self.fails, self.poison, self.rests = [], [], 0, set(), 0

    def write(self, trades):
        self.batches.append(len(trades))
        if self.fails:
            self.fails -= 1
            raise Unavailable("away")
        if self.poison & {one.trade_id for one in trades}:
            raise Rejected("no")
        self.there += [one.trade_id for one in trades]

    def rest(self):
        self.rests += 1


def put(box, one):
    box.put({one.trade_id: one})


def test_what_waits_is_carried_in_batches_and_in_order():
    sink = Sink()
    box = Outbox("t", sink)
    for number in range(BATCH + 3):
        put(box, trade(number))
    assert box.flush(1)
    assert sink.batches == [BATCH, 3]
    assert sink.there == [f"t{number}" for number in range(BATCH + 3)]
    assert box.waiting == 0


def test_a_refused_trade_is_parked_with_its_reason_and_the_others_arrive():
    sink = Sink()
    sink.poison = {"t1"}
    box = Outbox("t", sink)
    for number in range(3):
        put(box, trade(number))
    box.flush(1)
    assert sink.there == ["t0", "t2"]
    assert box.parked == {"t1": "no"}
    assert "t1" in box
    sink.batches.clear()
    put(box, trade(7))
    box.flush(1)
    assert sink.batches == [1]


def test_a_tier_that_always_gets_something_is_looked_at_every_minute_all_the_same():
    sink, now = Sink(), [0.0]
    box = Outbox("t", sink, clock=lambda: now[0])
    for number in range(31):
        now[0] = 10.0 * number
        put(box, trade(number))
        box.flush(1)
        assert box.waiting == 0
    assert sink.rests == 6
    assert sink.batches == [1] * 31


def test_with_a_thread_it_tries_again_until_the_tier_is_back():
    sink = Sink()
    sink.fails = 5
    box = Outbox("t", sink)
    put(box, trade(0))
    box.start()
    assert box.flush(20)
    assert sink.there == ["t0"]
    assert box.error == ""
    box.close()


def test_a_mirror_lets_the_oldest_go_when_too_many_wait():
    box = Outbox("t", Sink(), size=2)
    for number in range(4):
        put(box, trade(number))
    assert [f"t{number}" in box for number in range(4)] == [False, False, True, True]
    assert box.dropped == 2


def test_the_oldest_wait_is_told():
    now = [100.0]
    box = Outbox("t", Sink(), clock=lambda: now[0])
    assert box.oldest_s == 0
    put(box, trade(0))
    now[0] = 130.0
    put(box, trade(1))
    assert box.oldest_s == 30


def test_the_breaker_opens_after_three_failures_and_probes_after_growing_pauses():
    now = [0.0]
    breaker = Breaker(clock=lambda: now[0], draw=lambda: 1.0)
    pauses = []
    for _ in range(12):
        breaker.failed()
        pauses.append(breaker.wait_s())
    assert pauses[:4] == pytest.approx([PAUSE.first_s * factor for factor in (1, 2, 4, 8)])
    assert pauses[-1] == PAUSE.longest_s
    assert breaker.open
    now[0] += PAUSE.longest_s
    assert not breaker.open
    breaker.succeeded()
    assert not breaker.open
    assert FAILURES_MAX == 3


def test_one_in_a_hurry_does_not_wait_for_its_turn():
    sink = Sink()
    box = Outbox("t", sink, every_s=1_000.0)
    box.start()
    until(lambda: sink.rests, "the first look")
    put(box, trade(1))
    box.hurry()
    until(lambda: sink.there == ["t1"], "the trade")
    box.close()
    assert sink.there == ["t1"]
