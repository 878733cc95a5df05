"""A journal in which an earlier program left what nobody can reckon with: the bot starts, the kill switch works."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest

from domain.ids import Identity
from domain.records import Fill
from persistence.journal import Header, Journal, read_records
from tests.flow.test_control import answer

POISON = [
    {"price": D("1e16")}, {"fee": D("1e999999")}, {"time": 1_795_948_817_280_000}, {"time": 1_795_948_817_280_000_000},
    {"qty": D("1e30")},
]  # fmt: skip


def poison(bot) -> list[Fill]:
    """Write down executions as an earlier program would have taken them: of the position that is open, never told again."""
    segment = next(bot.data.glob("**/[0-9]*.jsonl"))
    header = msgspec.json.decode(segment.read_bytes().split(b"\n")[0][9:], type=Header)
    true = [record for record in read_records(segment.parent) if isinstance(record, Fill)][-1]
    lies = [msgspec.structs.replace(true, exec_id=f"lie-{number}", **one) for number, one in enumerate(POISON)]
    journal = Journal(segment.parent, Identity(header.source, header.mode, header.account))
    for lie in lies:
        journal.write(msgspec.json.encode(lie))
    journal.close()
    return lies


@pytest.mark.parametrize("first", ["start", "panic", "reconcile"])
def test_a_poisoned_journal_keeps_neither_bot_nor_kill_switch_from_working(make_bot, first):
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    bot.wait_for("an open position", lambda s: s["open"] >= 1)
    bot.kill9()
    lies = poison(bot)
    if first == "start":
        bot.start()
        status = bot.wait_ready()
        assert status["ledger"]["quarantined"] >= len(lies)
        bot.kill9()
    elif first == "reconcile":
        code, body = answer(bot, "trades", "reconcile")
        assert code == 0, body
    code, body = answer(bot, "panic", "--seconds", "240")
    assert (code, body["open"]) == (0, 0), body
    code, verdict = answer(bot, "trades", "verify")
    assert (code, verdict["clean"]) == (0, True), verdict
    kept = b"".join(path.read_bytes() for path in bot.data.glob("**/quarantine/*"))
    assert all(lie.exec_id.encode() in kept for lie in lies)
