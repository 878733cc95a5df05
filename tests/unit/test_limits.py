"""How much may be asked of the practice exchange, by Bybit's numbers."""

from __future__ import annotations

import pytest

from sandbox.exchange import Terms
from sandbox.limits import Banned, Limits, Window

CREATE = "/v5/order/create"


def test_a_window_rolls():
    """Ten at the end of one second and ten at the start of the next are too many, as a budget by the clock allows."""
    window = Window(10, 1_000)
    assert [window.take(1, 900).granted for _ in range(11)] == [1] * 10 + [0]
    assert window.take(1, 1_100).granted == 0
    assert window.take(1, 1_899).granted == 0
    assert window.take(1, 1_900).granted == 1


def test_what_is_left_and_when_it_is_free_again_is_told():
    limits = Limits(Terms(speed=1))
    assert limits.spend(CREATE, 5_000).headers() == {
        "X-Bapi-Limit": "10", "X-Bapi-Limit-Status": "9", "X-Bapi-Limit-Reset-Timestamp": "5000",
    }  # fmt: skip
    for _ in range(9):
        limits.spend(CREATE, 5_300)
    refused = limits.spend(CREATE, 5_500)
    assert (refused.granted, refused.left, refused.reset) == (0, 0, 6_000)


def test_paths_have_limits_of_their_own_and_public_ones_none():
    limits = Limits(Terms(speed=1))
    for _ in range(20):
        limits.spend(CREATE, 0)
    assert limits.spend("/v5/order/cancel", 0).granted == 1
    assert limits.spend("/v5/account/wallet-balance", 0).limit == 50
    assert limits.spend("/v5/asset/coin/query-info", 0).limit == 5
    assert limits.spend("/v5/market/kline", 0) is None


def test_six_hundred_requests_in_five_seconds_are_the_end_for_ten_minutes():
    limits = Limits(Terms(speed=1))
    for number in range(600):
        limits.admit(number)
    for moment in (600, 5_000, 600_599):
        with pytest.raises(Banned):
            limits.admit(moment)
    limits.admit(600_600)


def test_five_hundred_connections_in_five_minutes():
    limits = Limits(Terms(speed=1))
    for number in range(500):
        limits.connect(number)
    with pytest.raises(Banned):
        limits.connect(299_999)
    limits.connect(300_000)


@pytest.mark.parametrize(("speed", "limit"), [(0.001, 10), (60, 10), (120, 20), (900, 150), (3_600, 600)])
def test_beyond_sixty_the_limits_grow_with_the_speed_of_the_market(speed, limit):
    assert Limits(Terms(speed=speed)).spend(CREATE, 0).limit == limit


@pytest.mark.parametrize("terms", [Terms(step=True), Terms(limits=False)])
def test_a_stepping_market_and_one_without_limits_take_everything(terms):
    limits = Limits(terms)
    for _ in range(5_000):
        limits.admit(0)
        limits.connect(0)
        assert limits.spend(CREATE, 0).granted == 1
