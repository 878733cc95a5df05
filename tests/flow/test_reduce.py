"""A part of a position is closed on the practice exchange; the bot is killed, comes back, and its books are equal."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from tests.bot import Bot, until


def test_a_part_closes_and_the_books_are_equal_after_a_kill(make_bot):
    bot: Bot = make_bot(REVENANT__SANDBOX__SYMBOLS="6", REVENANT__SANDBOX__SPEED="120")
    bot.start()
    bot.wait_ready()

    def reduced() -> dict[str, Any] | None:
        """Close half of a position that is open whole; what ends by itself meanwhile leads to the next."""
        for held in (bot.status() or {"positions": []})["positions"]:
            if held["pending"]:
                continue
            answer = bot.manage("forceexit", held["id"], "--part", "50%", "--json")
            told = json.loads(answer.stdout)
            if [one["outcome"] for one in told.get("outcomes", [])] == ["reduced"]:
                assert answer.returncode == 0
                assert float(told["outcomes"][0]["left"]) > 0
                return held
        return None

    held = until(reduced, "a position that was closed in part", 240)
    bot.kill9()
    bot.start()
    bot.wait_ready()
    # known again from the records: smaller, or closed meanwhile, and never by anybody else
    bot.manage("forceexit", "all")

    def ended() -> dict[str, Any] | None:
        found = bot.get(f"/api/v1/trades/{held['trade_id']}")
        return found[1] if found and "trade" in found[1] else None

    told = until(ended, "the trade to be recorded", 120)
    closing = [one for one in told["fills"] if one["cause"] != "entry" and one["cause"] != "funding"]
    assert "force_exit" in {one["cause"] for one in closing}
    assert len(closing) > 1
    assert sum(Decimal(str(one["qty"])) for one in closing) == Decimal(str(told["trade"]["quantity"]))
    assert told["trade"]["touched"] == ""
    assert bot.manage("trades", "reconcile").returncode == 0
