"""An address that is turned away without a word is let in again by one request at a time."""

from __future__ import annotations

import itertools

import pytest

from broker.bybit.access import CLOSED_S, Access
from broker.bybit.errors import Banned
from domain.errors import Unavailable
from tests.unit.test_bybit_limits import CREATE, Clock, Counting, exchange, order


def asked(access, clock, seconds, step=0.25, *, refused=True):
    """Return when requests go out, if somebody wants to ask all the time."""
    out, end = [], clock.now + seconds
    while clock.now < end:
        try:
            access.check(leaving=False)
            access.enter(leaving=False)
        except Banned:
            clock.now += step
            continue
        out.append(clock.now)
        if refused:
            access.forbidden("practice fault")
        clock.now += step
    return out


def test_it_asks_seldom_and_more_seldom_the_longer_it_is_turned_away():
    clock = Clock()
    access = Access(now=clock)
    access.forbidden("")
    first = asked(access, clock, 120)
    assert 18 <= len(first) <= 20
    assert min(later - earlier for earlier, later in itertools.pairwise(first)) >= CLOSED_S[0][1]
    later = asked(access, clock, 480)
    assert 14 <= len(later) <= 17
    assert len(asked(access, clock, 3_600)) <= 60


def test_exits_ask_no_more_often_and_of_those_who_wait_only_one_goes():
    clock = Clock()
    access = Access(now=clock)
    access.forbidden("nothing to see here")
    with pytest.raises(Banned):
        access.check(leaving=True)
    clock.now += CLOSED_S[0][1]
    for _ in range(3):
        # all of them have passed the first look
        access.check(leaving=True)
    access.enter(leaving=True)
    for _ in range(2):
        with pytest.raises(Banned):
            access.enter(leaving=True)


def test_an_answer_opens_the_door_for_everybody():
    clock = Clock()
    access = Access(now=clock)
    access.forbidden("")
    assert "does not say why" in access.obstacles()[0] == access.barred()
    access.answered()
    assert access.obstacles() == []
    assert len(asked(access, clock, 10, refused=False)) == 40


def test_a_ban_in_the_exchanges_words_or_in_html_is_waited_out_without_a_request():
    for body in ("403, access too frequent", "<html>403 Forbidden</html>", "You have breached the IP rate limit."):
        clock = Clock()
        access = Access(now=clock)
        access.forbidden(body)
        assert asked(access, clock, 599) == []


def test_a_ban_that_is_told_while_the_door_is_closed_is_waited_out_as_well():
    clock = Clock()
    access = Access(now=clock)
    access.forbidden("")
    access.forbidden("403, access too frequent")
    assert asked(access, clock, 599) == []


async def test_a_client_that_is_turned_away_stays_away_and_comes_back():
    server, clock = Counting(), Clock()
    async with exchange(server, access=Access(now=clock)) as (_, broker):
        server.answers = [(403, "no")] * 2
        for _ in range(5):
            with pytest.raises(Unavailable, match="does not say why"):
                await broker.balance()
        assert len(server.bodies) == 1
        clock.now += CLOSED_S[0][1]
        with pytest.raises(Unavailable):
            await broker.place(order(1))
        with pytest.raises(Unavailable):
            await broker.place(order(1))
        assert [path for path, _ in server.bodies].count(CREATE) == 1
        clock.now += CLOSED_S[0][1]
        await broker.place(order(1))
        await broker.place(order(2))
        assert broker.obstacles() == []
