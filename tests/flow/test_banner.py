"""A terminal is told what runs, where to look and how to stop; the link that it shows signs in."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.bot import WAIT_S, Bot

ROOT = Path(__file__).parents[2]


def read_until(terminal: int, wanted: str) -> str:
    seen = b""
    while wanted.encode() not in seen:
        seen += os.read(terminal, 65_536)
    return seen.decode(errors="replace")


def test_a_terminal_is_told_what_runs_and_its_link_signs_in(tmp_path):
    bot = Bot(tmp_path, REVENANT__LOG_FORMAT="text")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "live_bot.py")], cwd=tmp_path, env=bot.environment, stdout=theirs, stderr=theirs,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    bot.process = process
    try:
        told = read_until(ours, "manage.py panic")
        lines = [line for line in told.replace("\r", "").splitlines() if line.startswith("  ")]
        shown = {line.split()[0]: line.strip().partition(" ")[2].strip() for line in lines}
        assert "made-up money on synthetic" in shown["runs"]
        assert shown["symbols"].startswith("12: BTC")
        assert {"trend_pullback", "mean_reversion", "scalp"} == set(shown["strategies"].split(", "))
        assert shown["folder"] == str((tmp_path / "data").resolve())
        address, _, key = shown["page"].partition("/#overview?key=")
        request = urllib.request.Request(
            f"{address}/api/v1/session", json.dumps({"secret": key}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            assert json.load(answer)["signed_in"] is True
    finally:
        os.close(theirs)
        bot.close()
        os.close(ours)


def test_a_file_is_told_nothing_of_it(make_bot):
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    assert not re.search(r"key=|is able to trade", bot.log())
