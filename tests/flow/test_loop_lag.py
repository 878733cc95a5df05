"""A bot that stood still says so: gauge, metric and alert rule move."""

from __future__ import annotations

import os
import re
import signal
import time
import urllib.request
from pathlib import Path

import yaml

from tests.bot import until

RULES = Path(__file__).parents[2] / "ops" / "alerts.yml"


def exposed(bot) -> dict[str, float]:
    note = bot.get("/api/v1/version") and yaml.safe_load((bot.data / "dashboard.json").read_text())
    with urllib.request.urlopen(f"http://{note['host']}:{note['port']}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_a_freeze_of_a_second_is_seen_by_whoever_watches(make_bot):
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    (rule,) = (one["expr"] for one in rules if one["alert"] == "RevenantLoopLate")
    metric, limit = re.fullmatch(r"(\S+) > ([\d.]+)", rule).groups()
    quiet = bot.status()["loop_lag_max_ms"]
    # the freeze itself, nothing is waited for
    os.kill(bot.process.pid, signal.SIGSTOP)
    time.sleep(max(1.0, 1.5 * quiet / 1000))
    os.kill(bot.process.pid, signal.SIGCONT)
    seen = bot.wait_for("the freeze to be told", lambda status: status["loop_lag_max_ms"] > max(900, quiet))
    assert seen["loop_lag_p99_ms"] > 250
    until(lambda: exposed(bot)[metric] > float(limit), "the alert's expression to hold")
    assert exposed(bot)['revenant_loop_lag_seconds{quantile="1"}'] > 0.9
