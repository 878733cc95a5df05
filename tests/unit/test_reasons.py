"""Why the bot cannot trade, as readyz, status, page and chat show it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from broker.bybit.access import Access
from broker.bybit.errors import KeyRefused
from domain.order import StreamStatus
from engine import readiness
from engine.parts import Progress
from engine.situation import Situation

BAN = "the exchange has shut this address out until 10:00:00 UTC (HTTP 403)"
DOWN = "private stream down since 10:00:00 UTC (silent for 25 s)"


def reasons(obstacles, error=""):
    progress = Progress(recovered=True, durable=True)
    progress.broker_error = error
    parts = SimpleNamespace(
        feed=SimpleNamespace(connected=lambda: True, stale=list), fence=SimpleNamespace(superseded=False),
        broker=SimpleNamespace(obstacles=lambda: obstacles, private_stream=StreamStatus()),
        trader=SimpleNamespace(situation=Situation()), refused=dict, wanted={},
    )  # fmt: skip
    return readiness.reasons(parts, progress)


@pytest.mark.parametrize(
    ("obstacles", "error", "expected"),
    [
        ([], "", []), ([DOWN], "", [DOWN]), ([BAN, DOWN], "", [BAN, DOWN]), ([], "v5/x: timed out", ["exchange: v5/x: timed out"]),
        # what the last request failed by is not said twice
        ([BAN, DOWN], BAN, [f"exchange: {BAN}", DOWN]),
    ],
)  # fmt: skip
def test_what_keeps_the_account_from_being_traded_is_a_reason_and_said_once(obstacles, error, expected):
    assert reasons(obstacles, error) == expected


def test_a_refused_key_is_a_reason_until_a_request_is_answered():
    access = Access()
    refusal = KeyRefused("v5/account/wallet-balance: Your api key has expired (retCode 33004): make a new one", 33004)
    access.refused("v5/account/wallet-balance", refusal)
    assert reasons(access.obstacles()) == [str(refusal)]
    access.accepted("v5/position/list")
    assert reasons(access.obstacles()) == []
