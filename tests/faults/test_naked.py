"""A position is never left without a stop: one that an exchange forgot is set, and the seconds are counted."""

from __future__ import annotations

import json
import urllib.request

from tests.bot import Bot

PROMISED_S = 5


def tell(bot: Bot, **switches: object) -> None:
    """Set fault switches of the bot's practice exchange."""
    note = json.loads((bot.practice_folder() / "endpoint.json").read_text())
    address = f"http://{note['host']}:{note['port']}/control/faults"
    request = urllib.request.Request(address, data=json.dumps(switches).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200


def test_stops_that_the_exchange_forgot_are_set_within_seconds(tmp_path):
    bot = Bot(tmp_path)
    try:
        bot.start()
        bot.wait_ready()
        tell(bot, lose_stops=True)
        before = bot.status()["naked_seconds"]["positions"]
        status = bot.wait_for("naked positions", lambda s: s["naked_seconds"]["positions"] >= before + 5)
        lines = [line for line in bot.lines() if line["event"] == "position without a stop: setting it"]
        print(status["naked_seconds"], len(lines))
        assert len(lines) >= 3
        assert status["naked_seconds"]["p99"] <= PROMISED_S
        assert bot.stop() == 0
    finally:
        bot.close()
