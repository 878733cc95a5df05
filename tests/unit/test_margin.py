"""Margin arithmetic against the figures that Bybit documents, and against what its contracts allow."""

import gzip
import itertools
import json
from decimal import Decimal as D
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import margin
from domain.instrument import Instrument

REAL = Path(__file__).parents[3] / "shared/data/rest_bybit_v5/instruments-info_linear_2026-08-09.json.gz"


def rules(most=50, first=100_000) -> Instrument:
    return Instrument(
        "A/USDT:USDT", "AUSDT", D("0.1"), D("0.01"), D("0.01"), D(10_000_000), D(5), D(most),
        tiers=margin.tiers(D(most), D(first)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("qty", "entry", "leverage", "maintained", "extra", "expected"),
    [
        # help center, "Liquidation Price (USDT Contract)", maintenance valued at the entry price
        (1, 20_000, 50, 100, 0, 19_700),
        (-1, 20_000, 50, 100, 3_000, 23_300),
        (1, 20_000, 50, 100, -200, 19_900),
        (1, 10_000, 50, 50, 0, 9_850),
        (-1, 8_000, 40, 40, 0, 8_160),
    ],
)
def test_an_isolated_position_is_liquidated_where_bybits_examples_say(
    qty, entry, leverage, maintained, extra, expected
):
    stands = D(abs(qty) * entry) / leverage + extra
    assert margin.liquidation_price(D(qty), D(entry), stands, [(D(0), D(0))], D(maintained)) == expected


@pytest.mark.parametrize(
    ("qty", "entry", "free", "initial", "maintained", "expected"),
    [(2, 10_000, 2_000, 200, 100, 8_950), (1, 20_000, 2_000, 200, 100, 17_900)],
)
def test_a_position_on_shared_margin_is_liquidated_where_bybits_examples_say(
    qty, entry, free, initial, maintained, expected
):
    assert margin.liquidation_price(D(qty), D(entry), D(free + initial), [(D(0), D(0))], D(maintained)) == expected


def test_maintenance_is_valued_at_the_mark_price_as_the_unified_account_does():
    """Long 10x from 100: margin 10, at 90.909... the loss leaves exactly 1 % of what it is then worth."""
    held = rules(most=50)
    price = margin.liquidation_price(D(1), D(100), D(10), margin.rates(held))
    assert price == D(90) / D("0.99")
    assert D(10) + price - 100 == pytest.approx(margin.maintenance(held, price), abs=D("1e-20"))


def test_the_lowest_tiers_are_those_that_bybit_published():
    """BTCUSDT: 1 % and 0.5 % up to 2 million, then 1.75 % and 1 % (57.14x) up to 4 million."""
    first, second, third, *_ = margin.tiers(D(100), D(2_000_000))
    assert (first.limit, first.maintenance, first.max_leverage, first.deduction) == (2_000_000, D("0.005"), 100, 0)
    assert (second.limit, second.maintenance, second.max_leverage) == (4_000_000, D("0.01"), D("57.14"))
    assert second.deduction == 10_000
    assert third.max_leverage == 40


@pytest.mark.skipif(not REAL.exists(), reason="needs the recorded instruments of the exchange")
def test_every_real_contracts_lowest_tier_asks_half_of_its_initial_margin():
    rows = json.loads(gzip.open(REAL).read())["result"]["list"]
    most = {D(row["leverageFilter"]["maxLeverage"]) for row in rows if row["settleCoin"] == "USDT"}
    assert len(most) > 5
    for leverage in most:
        held = margin.tiers(leverage, D(50_000))
        assert held[0].maintenance == 1 / (2 * leverage)
        assert all(tier.maintenance < 1 / tier.max_leverage for tier in held)
        assert all(later.max_leverage < earlier.max_leverage for earlier, later in itertools.pairwise(held))


@given(most=st.sampled_from([5, 10, 20, 25, 50, 75, 100]), number=st.integers(0, 6))
def test_the_maintenance_margin_has_no_steps(most, number):
    held = rules(most)
    if number < len(held.tiers) - 1:
        limit = held.tiers[number].limit
        assert abs(margin.maintenance(held, limit) - margin.maintenance(held, limit + D("0.000001"))) < D("0.00001")


@given(
    most=st.sampled_from([5, 12, 25, 50, 100]), entry=st.integers(1, 60_000), value=st.integers(10, 2_000_000),
    share=st.floats(0.01, 1), long=st.booleans(), other=st.integers(0, 1_000),
)  # fmt: skip
def test_at_the_liquidation_price_equity_is_the_maintenance_margin(most, entry, value, share, long, other):
    held, mark = rules(most), D(entry)
    qty = D(value) / mark * (1 if long else -1)
    equity = D(value) * D(str(round(share, 4))) + other
    price = margin.liquidation_price(qty, mark, equity, margin.rates(held), D(other))
    if price > 0 and abs(qty) * price <= held.tiers[-1].limit:
        left = equity + qty * (price - mark)
        assert left == pytest.approx(D(other) + margin.maintenance(held, abs(qty) * price), abs=D("0.0001"))


def test_nothing_is_left_at_the_bankruptcy_price():
    assert margin.bankruptcy_price(D(1), D(10_000), D(200)) == 9_800
    assert margin.bankruptcy_price(D(-2), D(10_000), D(200)) == 10_100
    price = margin.bankruptcy_price(D(-2), D(100), D(10), D("0.001"))
    assert 10 - 2 * (price - 100) - 2 * price * D("0.001") == pytest.approx(D(0), abs=D("1e-20"))


def test_a_large_position_gives_up_tiers_one_by_one_and_the_last_one_whole():
    held, mark = rules(50, 100_000), D(100)
    # 3,500 units are worth 350,000: the fourth tier; the third suffices for 2.5 % of it
    assert margin.tier_of(held, D(350_000)) == 3
    needs = margin.maintenance(held, D(350_000))
    assert margin.ladder(held, D(3_500), mark, needs) == 500
    assert margin.ladder(held, D(-3_500), mark, needs, shared=True) == 500
    # with less behind it, a lower one
    assert margin.ladder(held, D(3_500), mark, D(350_000) * D("0.011")) == 2_500
    assert margin.ladder(held, D(3_500), mark, D(350_000) * D("0.009")) == 0
    assert margin.ladder(held, D(500), mark, D(1)) == 0
