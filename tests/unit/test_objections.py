"""What refusals object to: by code, and by words where a code stands for many things."""

from __future__ import annotations

import pytest

from broker.bybit.errors import CREATE, REFUSED, TRADING_STOP, UNKNOWN, WAIT, failure
from broker.bybit.objections import CODES, objection
from domain.errors import Objection, Rejected


def test_every_code_objects_to_one_thing_and_is_a_refusal():
    assert sum(map(len, CODES.values())) == len(set().union(*CODES.values()))
    assert set().union(*CODES.values()) <= REFUSED
    assert not set().union(*CODES.values()) & (WAIT | UNKNOWN)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            "StopLoss:324000000 set for Buy position should lower than base_price:161600000??LastPrice",
            Objection.CROSSED,
        ),
        ("sl:257970000 set for Sell position should greater base_price:259477000??LastPrice", Objection.CROSSED),
        ("can not set tp/sl/ts for zero position", Objection.ABSENT),
        ("position idx not match position mode", Objection.MODE),
        ("Qty invalid", Objection.RULES),
        ("The number of contracts exceeds maximum limit allowed: too large, order_qty:9 > max_qty:8", Objection.RULES),
        ("params error: side invalid", Objection.RULES),
        ("", Objection.RULES),
    ],
)
def test_the_words_of_an_error_in_a_request_tell_which(said, kind):
    refused = failure(10001, said, TRADING_STOP)
    assert isinstance(refused, Rejected)
    assert refused.objection is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (110007, Objection.FUNDS), (110012, Objection.FUNDS), (110013, Objection.RISK_LIMIT),
        (110090, Objection.RISK_LIMIT), (110094, Objection.RULES), (110003, Objection.RULES),
        (110017, Objection.ABSENT), (110023, Objection.CLOSED), (110125, Objection.CLOSED), (110092, Objection.CROSSED),
        (110038, Objection.MODE), (110020, Objection.OTHER),
    ],
)  # fmt: skip
def test_codes_tell_by_themselves_whatever_the_words(code, kind):
    assert failure(code, "base_price", CREATE).objection is kind
    assert objection(code, "") is kind
