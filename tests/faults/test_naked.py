"""A position is never left without a stop: one that an exchange forgot is set, and the seconds are counted."""

from __future__ import annotations

import pytest

from tests.bot import Bot

pytestmark = pytest.mark.alone

PROMISED_S = 5


def test_stops_that_the_exchange_forgot_are_set_within_seconds(tmp_path):
    bot = Bot(tmp_path)
    try:
        bot.start()
        bot.wait_ready()
        bot.tell_exchange(lose_stops=True)
        before = bot.status()["naked_seconds"]["positions"]
        status = bot.wait_for("naked positions", lambda s: s["naked_seconds"]["positions"] >= before + 5)
        lines = [line for line in bot.lines() if line["event"] == "position without a stop: setting it"]
        print(status["naked_seconds"], len(lines))
        assert len(lines) >= 3
        assert status["naked_seconds"]["p99"] <= PROMISED_S
        assert bot.stop() == 0
    finally:
        bot.close()
