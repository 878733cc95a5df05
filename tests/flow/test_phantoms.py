"""Every signal of a running bot becomes a phantom, taken or refused, and a kill forgets none."""

from __future__ import annotations

import json

from domain.records import PhantomClosed, PhantomOpened
from persistence.journal import read_records


def figures(bot, *arguments: str) -> dict:
    return json.loads(bot.manage("phantom-stats", "--json", *arguments).stdout)


def phantoms(bot) -> tuple[list, list]:
    (journal,) = (bot.data / "journal").iterdir()
    records = list(read_records(journal))
    return [[one.phantom for one in records if isinstance(one, kind)] for kind in (PhantomOpened, PhantomClosed)]


def test_every_signal_is_followed_and_a_kill_forgets_none(make_bot):
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    bot.wait_for("signals taken and refused", lambda s: s["taken"] >= 4 and sum(s["refused"].values()) >= 3)
    bot.wait_for("outcomes", lambda s: s["phantoms"]["completed"] >= 4 and s["phantoms"]["waiting"] == 0)
    status = bot.status()
    seen = figures(bot)
    assert seen["total"] >= status["taken"] + sum(status["refused"].values())
    assert (seen["executed"] > 0, seen["rejected"] > 0) == (True, True)
    assert set(seen["gates"]) <= set(bot.status()["refused"])
    bot.kill9()

    opened, closed = phantoms(bot)
    assert len({one.phantom_id for one in opened}) == len(opened)
    assert all(one.features is None or len(one.features) == 34 for one in opened)
    assert sum(one.features is not None for one in opened) > len(opened) / 2
    offline = figures(bot)
    assert (offline["total"], offline["completed"]) == (len(opened), len(closed))

    bot.start()
    status = bot.wait_ready()
    assert status["phantoms"]["total"] >= len(opened)
    assert status["phantoms"]["completed"] >= len(closed)
    bot.wait_for("more outcomes", lambda s: s["phantoms"]["completed"] >= len(closed) + 2)
    assert bot.stop() == 0
    again, ended = phantoms(bot)
    assert {one.phantom_id for one in opened} <= {one.phantom_id for one in again}
    assert len({one.phantom_id for one in ended}) == len(ended)
