"""Yesterday by command: the same trades as the bot's own, and honest about what is missing."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest

from domain.candle import resample
from sandbox.tape import GeneratedTape
from tests.practice import START

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400_000


def candle_files(folder: Path, days: int = 20, symbols: int = 3) -> list[str]:
    tape = GeneratedTape(11, symbols, START)
    begin, paths = tape.span()[0], []
    for symbol in tape.instruments:
        path = folder / f"{symbol.split('/')[0]}_USDT_USDT-3m.csv"
        with path.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["timestamp", "open", "high", "low", "close", "volume", "turnover"])
            writer.writerows(resample(tape.bars(symbol, begin, begin + days * DAY), 180_000, 60_000).rows())
        paths.append(str(path))
    return paths


@pytest.mark.parametrize("entry", ["market", "limit"])
def test_the_bot_and_a_backtest_on_its_bars_do_the_same(make_bot, tmp_path, entry):
    """Signal by signal, gate by gate, trade by trade, to the last digit of the money."""
    bot = make_bot(
        DATA_SOURCE="test", REVENANT__SANDBOX__REPLAY=json.dumps(candle_files(tmp_path)),
        REVENANT__SANDBOX__STEP="true", REVENANT__ML__EXECUTED_MIN="100000", REVENANT__TRADING__ENTRY_ORDER=entry,
    )  # fmt: skip
    bot.start()
    bot.wait_ready()
    bot.wait_for("forty trades", lambda s: s["closed"] >= 40, 150)
    assert bot.stop() == 0
    answer = bot.manage("backtest", "parity", "--json")
    found = json.loads(answer.stdout)
    assert (found["only_live"], found["only_backtest"], found["differing"]) == ([], [], [])
    assert (answer.returncode, found["exact"]) == (0, True)
    assert found["trades"] >= 40
    assert found["signals"] > found["trades"]
    assert found["pnl"][0] == found["pnl"][1] != "0"
