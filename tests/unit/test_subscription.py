"""Whatever an exchange answers to a subscription, each topic ends acknowledged, dropped, or refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.bybit import public_messages as bybit
from domain.kline_frames import Ack
from market.subscription import Subscription

DATA = Path(__file__).parents[3] / "shared" / "data" / "ws_bybit" / "nautilus_fixtures"
A, B, C = "kline.3.AUSDT", "kline.3.BUSDT", "kline.15.1000PEPEUSDT"


def number(request: bytes) -> str:
    return str(msgspec.json.decode(request)["req_id"])


def topics(request: bytes) -> list[str]:
    return list(msgspec.json.decode(request)["args"])


def refusal(request: bytes, words: str, *, numbered: bool = True) -> Ack:
    return Ack("subscribe", False, words, number(request) if numbered else "")


def test_what_is_granted_is_acknowledged_and_forgotten_when_the_connection_ends():
    held = Subscription([A, B], bybit)
    (request,) = held.opened()
    assert topics(request) == [A, B]
    assert not held.answered
    held.take(Ack("subscribe", True, "", number(request)))
    assert (held.answered, held.acked) == (True, {A, B})
    held.closed()
    assert not held.answered


@pytest.mark.parametrize(
    "words",
    [f"error:handler not found,topic:{B}", f"Invalid topic: {B}", f"Invalid topic :[{B}]", f"topic {B} does not exist"],
)
@pytest.mark.parametrize("numbered", [True, False])
def test_a_refusal_that_names_a_topic_drops_that_one_and_asks_for_the_others_afresh(words, numbered):
    held = Subscription([A, B, C], bybit)
    (request,) = held.opened()
    answered = held.take(refusal(request, words, numbered=numbered))
    assert (answered.dropped, answered.reopen, answered.requests) == ([B], True, [])
    assert held.topics == [A, C]
    (request,) = held.opened()
    assert topics(request) == [A, C]


@pytest.mark.skipif(not DATA.is_dir(), reason="no recorded frames here")
def test_the_recorded_refusal_is_understood():
    body = json.loads((DATA / "ws_subscription_failure.json").read_text())
    bad = body["ret_msg"].rpartition(" ")[2]
    held = Subscription([A, bad], bybit)
    held.opened()
    message = bybit.decode(json.dumps(body).encode())
    assert isinstance(message, Ack)
    assert held.take(message).dropped == [bad]


def test_a_refusal_without_a_name_is_narrowed_down_to_the_topic_it_is_about():
    held = Subscription([A, B, C], bybit)
    waiting, asked = held.opened(), 0
    while waiting:
        request, asked = waiting.pop(), asked + 1
        bad = B in topics(request)
        answered = held.take(refusal(request, "args size >10") if bad else Ack("subscribe", True, "", number(request)))
        assert not answered.dropped
        waiting += answered.requests
    assert held.acked == {A, C}
    assert held.refused == {B: "args size >10"}
    assert held.answered
    assert asked <= 5
    # it may have been a passing trouble: it is asked for again, and then well
    held.take(Ack("subscribe", True, "", number(held.ask([B]))))
    assert (held.refused, held.acked) == ({}, {A, B, C})


def test_already_subscribed_is_no_refusal():
    held = Subscription([A, B, C], bybit)
    (request,) = held.opened()
    answered = held.take(refusal(request, f"error:already subscribed,topic:{A}"))
    again = {topic for request in answered.requests for topic in topics(request)}
    assert (answered.dropped, held.acked, again) == ([], {A}, {B, C})
    ending, asking = held.renew(A)
    assert (topics(ending), topics(asking)) == ([A], [A])
    assert msgspec.json.decode(ending)["op"] == "unsubscribe"
    held.take(Ack("unsubscribe", True, "", number(ending)))
    held.take(refusal(asking, f"error:already subscribed,topic:{A}"))
    assert held.topics == [A, B, C]


def test_answers_to_nothing_of_ours_change_nothing():
    held = Subscription([A], bybit)
    held.opened()
    for answer in (Ack("ping", True, "pong", ""), Ack("subscribe", True, "", "other"), Ack("auth", False, A, "x")):
        held.take(answer)
    assert not held.answered


@given(
    st.lists(st.tuples(st.booleans(), st.text(max_size=40) | st.sampled_from([f"topic:{A}", f"already subscribed {C}"]),
                       st.booleans()), max_size=40)
)  # fmt: skip
def test_any_answers_in_any_order_leave_every_topic_in_one_of_three_states(answers):
    held = Subscription([A, B, C], bybit)
    waiting = held.opened()
    dropped: set[str] = set()
    for good, words, numbered in answers:
        if not waiting:
            break
        request = waiting.pop(0)
        answered = held.take(Ack("subscribe", good, words, number(request) if numbered else ""))
        dropped |= set(answered.dropped)
        waiting = held.opened() if answered.reopen else [*waiting, *answered.requests]
    assert set(held.topics) | dropped == {A, B, C}
    assert not set(held.topics) & dropped
    assert held.acked <= set(held.topics) | dropped
    assert set(held.refused) <= set(held.topics)
    assert waiting or held.answered or not held.topics
