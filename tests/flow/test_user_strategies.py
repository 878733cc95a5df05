"""Strategies of a folder trade like ours; one that fails takes nothing with it, and its positions are managed on."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.commands import Commands, candle_files

CHURN = (Path(__file__).parents[1] / "torture" / "churn.py").read_text()


def churn(name: str, *, fails: bool = False) -> str:
    """A strategy that trades all the time, under another name; one that fails does so on its third signal."""
    text = CHURN.replace('"churn"', f'"{name}"')
    if fails:
        text = text.replace("        side = Side.LONG if", "        self.given = getattr(self, 'given', 0) + (i > 200)\n"
                            "        self.given > 2 and self.nothing\n        side = Side.LONG if")  # fmt: skip
    return text


def test_they_trade_are_followed_and_switched_off_when_they_fail(make_bot):
    bot = make_bot(
        REVENANT__STRATEGIES=json.dumps({
            "steady": {"parameters": {"reach": 0.01}, "exits": {"timeout_bars": 6}},
            "faulty": {"parameters": {"reach": 0.02}, "exits": {"timeout_bars": 6}}, "broken": {},
        }),
        REVENANT__STRATEGIES__SCALP__PARAMETERS="{}", REVENANT__STRATEGIES__SCALP__ENABLED="false",
        REVENANT__STRATEGIES__FOLDER="mine", REVENANT__ML__RULE_FLOOR="0", REVENANT__SANDBOX__SYMBOLS="4",
    )  # fmt: skip
    folder = bot.folder / "mine"
    folder.mkdir()
    (folder / "steady.py").write_text(churn("steady"))
    (folder / "faulty.py").write_text(churn("faulty", fails=True))
    (folder / "broken.py").write_text("import os\nimport nothing_of_the_kind\n")
    bot.start()
    bot.wait_ready()

    def noted(status: dict) -> bool:
        return any("strategy faulty is switched off" in note for note in status["notes"])

    status = bot.wait_for("the faulty one to be switched off", noted)
    (broken,) = [note for note in status["notes"] if "strategy broken" in note]
    assert "broken.py, line 2: ModuleNotFoundError: No module named 'nothing_of_the_kind'" in broken
    (faulty,) = [note for note in status["notes"] if "strategy faulty" in note]
    assert "faulty.py, line " in faulty
    assert "AttributeError" in faulty
    before = status["closed"]
    bot.wait_for("trades after that", lambda s: s["closed"] > before + 1)
    off = [line for line in bot.lines() if line["event"].startswith("strategy switched off")]
    assert sorted(line["strategy"] for line in off) == ["broken", "faulty"]
    assert bot.process is not None
    bot.process.send_signal(signal.SIGTERM)
    assert bot.process.wait(timeout=240) == 0
    held = json.loads(bot.manage("trades", "list", "--json", "-n", "1000").stdout)
    assert "steady" in {row["strategy_name"] for row in held}
    stats = json.loads(bot.manage("phantom-stats", "-s", "steady", "--json").stdout)
    assert stats


def test_they_are_backtested_swept_and_checked_by_command(tmp_path):
    commands = Commands(tmp_path / "data", f"sqlite:///{tmp_path / 'main.sqlite'}", "http://127.0.0.1:9")
    folder = tmp_path / "mine"
    commands.environment |= {
        "REVENANT__STRATEGIES__FOLDER": str(folder), "REVENANT__STRATEGIES__MY_BREAK__PARAMETERS": "{length: 30}",
    }  # fmt: skip
    made = commands.json("strategies", "new", "my_break")
    assert [Path(path).name for path in made["made"]] == ["my_break.py", "test_my_break.py"]
    assert commands.json("strategies", "check", "my_break")["sound"] is True
    assert commands.json("strategies", "check", str(folder / "my_break.py"))["sound"] is True
    shown = commands.json("strategies", "show", "my_break")
    assert (shown["parameters"]["length"], shown["used"]) == (30, True)

    files = candle_files(tmp_path, days=20, symbols=1)
    assert commands.run("migrate")[0] == 0
    assert commands.run("data", "import", *files, "-s", "test")[0] == 0
    asked = ("-s", "test", "-p", "BTC/USDT:USDT", "--strategy", "my_break", "--since", "2025-11-25")
    first = commands.json("backtest", "run", *asked)
    assert {trade["strategy_name"] for trade in first["trades"]} == {"my_break"}
    assert commands.json("backtest", "run", *asked)["result_hash"] == first["result_hash"]
    # the gate is the live one: what it refuses is told as such, and what it lets through costs less
    commands.environment["REVENANT__SANDBOX__MAX_COST_R"] = "0.15"
    cheap = commands.json("backtest", "run", *asked)
    del commands.environment["REVENANT__SANDBOX__MAX_COST_R"]
    refused = [one for one in cheap["decisions"] if one["gate"] == "costs"]
    assert refused
    assert len(cheap["trades"]) < len(first["trades"])
    swept = commands.json("backtest", "sweep", *asked, "--set", "my_break.length=20,30", "--jobs", "1")
    assert {row["my_break.length"]: row["trades"] for row in swept["trials"]}["30"] == len(first["trades"])
    assert swept["tried"] == 2

    path = folder / "my_break.py"
    path.write_text(path.read_text().replace("start, risk = ", "start, risk = state.nothing, "))
    code, _, err = commands.run("backtest", "run", *asked)
    assert code == 1
    assert "strategy my_break: " in err
    assert "my_break.py, line " in err
    path.write_text("def (\n")
    code, _, err = commands.run("backtest", "run", *asked)
    assert code == 2
    assert "my_break.py, line 1: SyntaxError" in err
    rows = commands.json("strategies", "list", code=1)
    assert "SyntaxError" in next(row["said"] for row in rows if row["name"] == "my_break")
    assert commands.run("strategies", "check", "my_break")[0] == 2
