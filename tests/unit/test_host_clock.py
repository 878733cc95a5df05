"""A host's clock that is off: measured by answers and refusals, told, and made up for."""

from __future__ import annotations

import json
import time

import pytest
from aiohttp import web

from broker.bybit.clock import AHEAD_MAX_MS, BEHIND_MAX_MS, HostClock
from tests.unit.test_bybit_limits import Counting, exchange

THERE = 1_700_000_000_000


def answers(clock, *aheads, took=100):
    """Let answers come that show the host's clock so far ahead."""
    for ahead in aheads:
        clock.answered(THERE, THERE + ahead - took // 2, THERE + ahead + took - took // 2)
    return clock.ahead_ms


def test_what_two_answers_agree_on_is_made_up_for_and_one_alone_is_not():
    assert answers(HostClock(), -6_000) == 0
    assert answers(HostClock(), -6_000, 0, -6_000) == 0
    assert answers(HostClock(), -6_000, 90_000) == 0
    assert answers(HostClock(), -6_000, -6_100) == -6_100


def test_a_clock_that_is_set_right_is_noticed_as_well():
    clock = HostClock()
    answers(clock, -6_000, -6_000)
    assert answers(clock, 0, 0) == 0
    assert clock.obstacle() == ""


@pytest.mark.parametrize("ahead", [-700, -400, 0, 400, 700])
def test_what_the_way_there_and_back_explains_is_no_news(ahead):
    assert answers(HostClock(), ahead, ahead, ahead, took=800) == 0


@pytest.mark.parametrize("told", [None, "1700000000000", 0, -1, True, 1.7e12])
def test_an_answer_without_a_time_says_nothing(told):
    clock = HostClock()
    for _ in range(3):
        clock.answered(told, THERE + 9_000, THERE + 9_001)
    assert clock.ahead_ms == 0


def test_an_answer_that_took_long_or_came_before_it_was_asked_for_says_nothing():
    clock = HostClock()
    for _ in range(3):
        clock.answered(THERE, THERE + 9_000, THERE + 90_000)
        clock.answered(THERE, THERE + 9_000, THERE + 8_000)
    assert clock.ahead_ms == 0


def test_a_refusal_is_believed_at_once_and_told_once(capsys):
    moves = []
    clock = HostClock(moves.append)
    for _ in range(3):
        clock.refused(THERE, THERE + 8_000, THERE + 8_000)
    assert moves == [8_000] * 3
    assert capsys.readouterr().out.count("requests are signed with the exchange's time") == 1


@pytest.mark.parametrize(
    ("ahead", "named"),
    [(AHEAD_MAX_MS, False), (AHEAD_MAX_MS + 1, True), (-BEHIND_MAX_MS, False), (-BEHIND_MAX_MS - 1, True), (0, False)],
)
def test_what_would_be_refused_if_it_were_not_made_up_for_is_named(ahead, named):
    clock = HostClock()
    clock.refused(THERE, THERE + ahead, THERE + ahead)
    assert ("clock of this host" in clock.obstacle()) is named


class Elsewhen(Counting):
    """Answers with a time of its own beside each result."""

    shift = 0

    async def serve(self, request):
        answer = await super().serve(request)
        body = json.loads(answer.text)
        return web.json_response({**body, "time": int(time.time() * 1000) + self.shift})


async def test_answers_correct_the_time_that_orders_are_signed_with_before_any_is_refused():
    server = Elsewhen()
    async with exchange(server) as (client, broker):
        await client.get("v5/account/info", {})
        assert broker.obstacles() == []
        server.shift = 6_000
        for _ in range(2):
            await client.get("v5/account/info", {})
        off = client.clock_ms() - time.time() * 1000
        assert 5_000 < off < 7_000
        assert "clock of this host is -6.0 s off" in broker.obstacles()[0]
        assert broker.barred() == "", "a clock that is made up for keeps no entry back"
        server.shift = 0
        for _ in range(2):
            await client.get("v5/account/info", {})
        assert broker.obstacles() == []
