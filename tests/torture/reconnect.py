"""All sockets cut and refused for a while: how long until every stream is whole again, without a hole."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psycopg2

from market.connection import EARNED_S
from tests.torture.world import World

AWAY_S = 3.0
LIMIT_S = 10.0
CALM_BARS = 1_000
FEW, REGAIN_S = 5, 45.0


def holes(world: World) -> int:
    """Return how many bars are missing between the first and the last of all stored series."""
    query = (
        "SELECT coalesce(sum((max - min) / step + 1 - n), 0) FROM (SELECT max(open_time), min(open_time), count(*) AS n,"
        " CASE s.timeframe WHEN '3m' THEN 180000 ELSE 900000 END AS step FROM ohlcv_synthetic o"
        " JOIN series s ON s.id = o.series_id GROUP BY s.id) AS held"
    )
    assert world.postgres is not None
    with psycopg2.connect(world.postgres.dsn("postgres")) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])


def run(folder: Path, rounds: int) -> dict[str, Any]:
    """Cut everything so many times; return how long healing took, from the moment that sockets are let in again."""
    world = World(folder, REVENANT__SANDBOX__SPEED="300", REVENANT__SANDBOX__SYMBOLS="50", REVENANT__TRADING__TOP="50",
                  REVENANT__TRADING__HISTORY_BARS="500", REVENANT__ML__RULE_FLOOR="0")  # fmt: skip
    began = time.monotonic()
    took: list[float] = []
    try:
        world.start_for_real()
        world.bot.wait_ready()
        for _ in range(rounds):
            batches = world.bot.status()["bars"]
            world.bot.tell_exchange(refuse=True, drop=True)
            time.sleep(AWAY_S)
            world.bot.tell_exchange(refuse=False)
            start = time.monotonic()
            # back when ready, and when every symbol has closed bars again
            world.bot.wait_for("the feed to be whole", lambda s, b=batches: s["ready"] and s["bars"] > b + 100, 60)
            took.append(time.monotonic() - start)
            # one outage after the other, not one that flickers: that one is answered with growing pauses, and rightly
            # (bars alone do not tell: those of the outage come all at once)
            calm, until = world.bot.status()["bars"] + CALM_BARS, time.monotonic() + EARNED_S + 1
            world.bot.wait_for("a while of calm", lambda s, n=calm, t=until: s["bars"] > n and time.monotonic() > t, 60)
            if rounds > FEW:
                # attempts to connect are regained slowly
                time.sleep(REGAIN_S)
        status = world.bot.status()
        judged = world.finish_running()
        missing = holes(world)
    finally:
        world.close()
    return {
        "rounds": rounds, "whole_again_s": [round(one, 2) for one in took], "holes": missing, "bar_to_order_ms": status["bar_to_order_ms"],
        "loop_lag_p99_ms": status["loop_lag_p99_ms"], **vars(judged),
        "clean": judged.clean and not missing and max(took) <= LIMIT_S, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
