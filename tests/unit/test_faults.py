"""The practice exchange's switches: what they take, whom they mean, and that nothing sent to them breaks it."""

import json
from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.account import VenueOrder
from domain.errors import BadData
from domain.ids import order_id
from domain.order import OrderKind, OrderSide
from sandbox.faults import EndOrders, FaultDirector, Faults

DIGEST = "ABCDEFGHIJKLMNOPQRSTUVWX"


def order(**more) -> VenueOrder:
    values = {"link_id": order_id(DIGEST, "x", 0, paper=False), "kind": OrderKind.MARKET, "reduce_only": True, **more}
    return VenueOrder(id="", symbol="BTC/USDT:USDT", side=OrderSide.SELL, qty=D(1), **values)


def director(**switches) -> FaultDirector:
    faults = Faults()
    faults.apply(json.dumps(switches).encode())
    return FaultDirector(faults, lambda _: "BTCUSDT", lambda ms: 60 * ms)


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ({}, True),
        ({"symbol": "BTCUSDT", "leg": "x", "kind": "Market", "reduce_only": True}, True),
        ({"symbol": "ETHUSDT"}, False),
        ({"leg": "e"}, False),
        ({"kind": "Limit"}, False),
        ({"stop_type": "StopLoss"}, False),
        ({"reduce_only": False}, False),
    ],
)
def test_who_is_meant(wanted, meant):
    assert EndOrders(**wanted).matches(order(), "BTCUSDT") is meant
    assert (director(end_orders=wanted).fate(order()) is not None) is meant


def test_an_order_without_an_id_of_the_bots_has_no_leg():
    assert not EndOrders(leg="x").matches(order(link_id="by-hand-x0"), "BTCUSDT")
    assert EndOrders(stop_type="StopLoss").matches(order(link_id="", stop_type="StopLoss"), "BTCUSDT")


def test_orders_are_counted_and_times_are_market_time():
    made = director(end_orders={"share": 0.1, "after_ms": 500, "times": 2, "status": "Rejected"})
    fates = [made.fate(order()) for _ in range(3)]
    assert fates[0] == fates[1] == (D("0.1"), "Rejected", "EC_NoImmediateQtyToFill", 30_000)
    assert fates[2] is None


def test_slices_stay_until_they_are_taken_back():
    faults = Faults()
    made = FaultDirector(faults, str, lambda ms: ms)
    faults.apply(b'{"slices": {"parts": 3, "apart_ms": 40}}')
    faults.apply(b'{"delay_ms": 1}')
    assert made.slicing(order()) == (3, 40)
    faults.apply(b'{"slices": null}')
    assert made.slicing(order()) is None
    faults.apply(b'{"slices": {"parts": 3}, "end_orders": {}, "delay_lists": {"order": 5}}')
    faults.apply(b'{"reset": true}')
    assert (faults.slices, faults.ends, faults.delays) == (None, [], {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"slices": {"parts": 0}}, {"slices": {"parts": 2, "apart_ms": -1}}, {"slices": {"part": 2}}, {"slices": 3},
        {"end_orders": {"share": 1.5}}, {"end_orders": {"times": 0}}, {"end_orders": {"status": "Sold"}},
        {"end_orders": {"shares": 1}}, {"delay_lists": {"/v5/nothing": 1}}, {"delay_lists": {"order": -1}},
        {"delay_lists": {"order": 10**9}}, {"delay_lists": ["order"]},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_changes_nothing(wrong):
    faults = Faults()
    with pytest.raises(BadData):
        faults.apply(json.dumps({"delay_ms": 7, **wrong}).encode())
    assert faults == Faults()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["parts", "apart_ms", "share", "times", "kind", "order"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["slices", "end_orders", "delay_lists", "reset", "x"]), values, max_size=4))
def test_anything_else_is_refused_or_understood(body):
    try:
        made = director(**body)
    except BadData:
        return
    fate, slicing = made.fate(order()), made.slicing(order())
    assert fate is None or 0 <= fate.share <= 1
    assert slicing is None or slicing.parts >= 1
