"""When the API key ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.going_live import key_end
from broker.bybit.api_key import KeyWatch, ends
from domain.errors import Unavailable
from domain.finding import State

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"expiredAt": "2026-12-01T00:00:00Z"}, datetime(2026, 12, 1, tzinfo=UTC)),
        ({"expiredAt": "2026-12-01T00:00:00"}, datetime(2026, 12, 1, tzinfo=UTC)),
        ({"expiredAt": "1970-01-01T00:00:00Z"}, None),  # bound to addresses: it does not end
        ({"expiredAt": ""}, None),
        ({}, None),
    ],
)
def test_the_exchanges_word_is_understood(told, expected):
    assert ends(told) == expected


async def test_what_is_not_known_is_asked_again():
    answers = [Unavailable("away"), {"expires": NOW + timedelta(days=10)}, Unavailable("away"), {"expires": None}]

    async def facts():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watch = KeyWatch(facts, lambda: NOW)
    assert (await watch.look(), watch.days()) == (False, None)
    assert (await watch.look(), watch.days()) == (True, 10.0)
    assert (await watch.look(), watch.days()) == (False, 10.0)
    assert (await watch.look(), watch.days()) == (True, None)


@pytest.mark.parametrize(("days", "state"), [(30, State.OK), (13, State.WARN), (-1, State.FAIL), (None, State.OK)])
def test_the_doctor_says_how_long_it_lasts(days, state):
    end = None if days is None else datetime.now(UTC) + timedelta(days=days)
    finding = key_end({"expires": end})
    assert finding.state is state
    assert ("make a new one" in finding.detail) == (state is not State.OK)
