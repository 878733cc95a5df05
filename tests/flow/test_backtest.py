"""Yesterday by command: the same trades as the bot's own, and honest about what is missing."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from domain.ids import parse_order_id
from ml.features import SCHEMA
from persistence.past_lessons import PastLessons
from tests.commands import Commands, candle_files
from tests.venues import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMED = ("run", "-s", "test", "-p", "BTC/USDT:USDT,ETH/USDT:USDT,SOL/USDT:USDT")
RUN = (*NAMED, "--since", "2025-11-25", "--until", "2025-12-03")


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> Iterator[Commands]:
    """Fifty days of three made-up markets in a store."""
    folder = tmp_path_factory.mktemp("backtest")
    held = Commands(folder, f"sqlite:///{folder / 'revenant.sqlite'}", "http://127.0.0.1:9")
    assert held.run("migrate")[0] == 0
    assert held.run("data", "import", *candle_files(folder, days=50), "-s", "test")[0] == 0
    return held


def told(commands: Commands, *arguments: str, code: int = 0):
    return commands.json("backtest", *arguments, code=code)


def test_a_backtest_is_done_kept_shown_and_done_again(commands, tmp_path):
    csv_file = tmp_path / "trades.csv"
    first = told(commands, *RUN, "--trades", str(csv_file))
    assert len(first["trades"]) > 50
    assert first["figures"]["total"]["trades"] == len(first["trades"])
    assert {row["strategy"] for row in first["decisions"]} == {"trend_pullback", "mean_reversion", "scalp"}
    with csv_file.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["trade_id"], row["pnl_usd"]) for row in rows] == [
        (t["trade_id"], t["pnl_usd"]) for t in first["trades"]
    ]
    # made again it is the same to the last digit, and kept beside the first
    again = told(commands, *RUN)
    assert again["result_hash"] == first["result_hash"]
    assert again["trades"] == first["trades"]
    dearer = told(commands, *RUN, "--fee", "0.002", "--strategy", "trend,mr")
    assert dearer["result_hash"] != first["result_hash"]
    assert fee_rate(dearer) > 2 * fee_rate(first)

    # what was found for each strategy is kept once, however often the same is done
    evaluated = told(commands, "evaluations")
    assert sorted(one["strategy"] for one in evaluated) == sorted(
        [*(one["strategy"] for one in first["evaluations"]), "trend_pullback", "mean_reversion"]
    )
    assert {one["strategy"]: one["signals"] for one in first["evaluations"]} == {
        name: group["trades"] for name, group in first["figures"]["by_strategy"].items()
    }
    # whoever reckons with another fee has not evaluated what runs
    assert [one["current"] for one in first["evaluations"]] == [True] * 3
    assert [one["current"] for one in evaluated].count(True) == 3
    assert {one["reason"] for one in evaluated} == {"its bars are no real market's"}

    held = told(commands, "list")
    assert held[0]["id"] == dearer["id"]
    assert held[0]["figures"] == dearer["figures"]
    # one that an earlier version kept has no summary of its own
    Path(dearer["report"]).with_name("summary.json").unlink()
    assert told(commands, "list") == held
    assert told(commands, "show", first["id"])["trades"] == first["trades"]
    both = told(commands, "compare", first["id"], dearer["id"])
    assert both["differing"]["settings.paper.taker_fee"] == ["0.00055", "0.002"]
    assert both["differing"]["strategies"] == [[], ["trend", "mr"]]
    assert "data_hash" in both["differing"]
    page = Path(dearer["report"]).read_text()
    # each price has below it what its trades made, and a table has them all
    assert page.count("<svg") == 3 + 3 + len({trade["symbol"] for trade in dearer["trades"]})
    listed = page.partition("<details>")[2].partition("</details>")[0]
    assert listed.count("<tr>") == 1 + len(dearer["trades"])
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    for gate in dearer["figures"]["refused"]:
        assert gate in page


def fee_rate(body) -> float:
    """Return the fees as a fraction of what was bought and sold."""
    value = sum(float(t["quantity"]) * (float(t["entry_price"]) + float(t["exit_price"])) for t in body["trades"])
    return float(body["figures"]["fees"]) / value


def test_finer_bars_tell_what_came_first(commands):
    """On 15 minutes alone a bar that touches stop and target is a stop; the three-minute bars inside know better."""
    coarse = told(commands, *RUN, "--strategy", "trend,mr")
    fine = told(commands, *RUN, "--strategy", "trend,mr", "--fine", "3m")
    assert fine["bars"] == 5 * coarse["bars"]
    assert [row["time"] for row in fine["decisions"]] == [row["time"] for row in coarse["decisions"]]
    assert fine["trades"] != coarse["trades"]


@pytest.mark.parametrize(("arguments", "code", "says"), [
    ((*NAMED, "--since", "2024-05-01", "--until", "2024-05-20"), 1, "data import FILE -s test -p BTC/USDT:USDT -t 3m"),
    ((*NAMED, "--until", "2030-01-01"), 1, "bars are missing in 1 ranges, the first from "),
    (("run", "-s", "binance", "-p", "BTC/USDT:USDT"), 1, "data download -s binance -p BTC/USDT:USDT -t 4h"),
    (("run", "-s", "test"), 2, "name symbols with --symbols"),
    ((*NAMED, "--strategy", "clairvoyance"), 2, "there are trend_pullback, mean_reversion, scalp"),
    ((*NAMED, "--ml", "maybe"), 2, "write off, on or walk-forward"),
    ((*NAMED, "--fee", "dear"), 2, "paper.taker_fee: 'dear'"),
    ((*NAMED, "--fine", "7m"), 1, "7m"),
    (("show", "nothing"), 1, "none of that name"),
    (("parity",), 1, "tells of no trading"),
])  # fmt: skip
def test_a_wrong_question_is_answered_with_what_is_wrong(commands, arguments, code, says):
    found, out, err = commands.run("backtest", *arguments)
    assert found == code, (out, err)
    assert says in " ".join((out + err).split())


def test_strategies_that_look_ahead_are_found_out(commands):
    rows = told(commands, "check", "-s", "test", "-p", "BTC/USDT:USDT")
    assert {row["strategy"] for row in rows} == {"trend_pullback", "mean_reversion", "scalp"}
    assert all(not row["ahead"] and not row["unstable"] and row["rows"] == 200 for row in rows)
    assert sum(row["signals"] for row in rows) > 20


def test_many_settings_are_tried_and_luck_is_told(commands):
    asked = ("-s", "test", "-p", "BTC/USDT:USDT", "--since", "2025-11-25", "--until", "2025-12-03", "--strategy", "mr")
    found = told(commands, "sweep", *asked, "--set", "mr.touch_atr=0.3,0.6", "--set", "risk.percent=0.5:1:0.5",
                 "--walk-forward", "2", "--objective", "profit_percent")  # fmt: skip
    assert found["tried"] == len(found["trials"]) == 4
    gains = [row["profit %"] for row in found["trials"]]
    assert gains == sorted(gains, reverse=True)
    assert 0 < found["deflated_sharpe"] < 1
    assert len(found["walk_forward"]) == 2
    # a trial is an ordinary backtest
    best = found["trials"][0]
    code, out, err = commands.run("backtest", "sweep", *asked, "--set", "mr.tuch_atr=0.3,0.6")
    assert (code, "unknown field `tuch_atr`" in out + err) == (1, True)
    commands.environment |= {
        "REVENANT__RISK__PERCENT": best["risk.percent"],
        "REVENANT__STRATEGIES__MEAN_REVERSION__PARAMETERS": json.dumps({"touch_atr": float(best["mr.touch_atr"])}),
    }
    try:
        alone = told(commands, "run", *asked)
    finally:
        for name in ("REVENANT__RISK__PERCENT", "REVENANT__STRATEGIES__MEAN_REVERSION__PARAMETERS"):
            del commands.environment[name]
    assert round(alone["figures"]["profit_percent"], 2) == best["profit %"]


@pytest.mark.parametrize(("base", "factor"), [("SPLITFOUR", 1 / 4), ("REDENOM", 1_000)])
def test_bars_whose_units_change_are_told_of_wherever_they_are_traded_on(commands, tmp_path, base, factor):
    """A split that nobody adjusted for: by the summary, the page, a sweep, evaluation and export as by data quality."""
    bars, pair = walk(2_000, 1_704_067_200_000, 3_600_000), f"{base}/USDT"
    path, units = tmp_path / f"{base}_USDT-1h.csv", np.where(np.arange(2_000) >= 1_200, factor, 1.0)
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["timestamp", "open", "high", "low", "close", "volume"])
        writer.writerows(
            (row.open_time, *(price * unit for price in row[1:5]), row.volume)
            for row, unit in zip(bars.rows(), units.tolist(), strict=True)
        )  # fmt: skip
    assert commands.run("data", "import", str(path), "-s", "binance")[0] == 0
    environment = {"REVENANT__STRATEGIES__MEAN_REVERSION__PARAMETERS": json.dumps({"timeframe": "1h"})}
    commands.environment |= environment
    asked, said = ("-s", "binance", "-p", pair, "--strategy", "mr"), f"split in {pair} at 2024-02-20 00:00 UTC"
    try:
        run = told(commands, "run", *asked)
        _, out, _ = commands.run("backtest", "show", "last")
        swept = told(commands, "sweep", *asked, "--set", "risk.percent=0.5,1", "--jobs", "1")
        _, table, _ = commands.run("backtest", "sweep", *asked, "--set", "risk.percent=0.5,1", "--jobs", "1")
    finally:
        for name in environment:
            del commands.environment[name]
    assert any(note.startswith(said) for note in run["notes"])
    for text in (out, table, Path(run["report"]).read_text()):
        assert said in " ".join(text.split())
    assert sum(note.startswith(said) for note in swept["notes"]) == 1
    target = ("--out", str(tmp_path / "freqtrade"))
    (file,) = commands.json("data", "export", "-s", "binance", "-p", pair, *target)["files"]
    assert [warning.startswith(said) for warning in file["warnings"]] == [True]
    manifest = json.loads((tmp_path / "freqtrade" / "binance" / "revenant-manifest.json").read_text())
    assert manifest["files"][0]["warnings"] == file["warnings"]
    assert f"warning: {said}" in " ".join(
        commands.run("data", "export", "-s", "binance", "-p", pair, *target)[1].split()
    )


def test_with_weeks_enough_skill_that_is_there_is_seen(tmp_path):
    held = Commands(tmp_path, f"sqlite:///{tmp_path / 'revenant.sqlite'}", "http://127.0.0.1:9")
    assert held.run("migrate")[0] == 0
    assert held.run("data", "import", *candle_files(tmp_path, days=90), "-s", "test")[0] == 0
    (only,) = held.json("ml", "evaluate", "-s", "test", "-p", "BTC,ETH,SOL", "--strategy", "mr")["strategies"]
    # made-up ranges do turn at their edges
    good = only["evaluation"]
    assert good["weeks"] >= 8
    assert good["skill"] is True
    assert good["auc"][1] > 0.5


def test_the_score_is_judged_on_the_past_and_a_first_model_is_taught_by_it(commands):
    asked = ("-s", "test", "-p", "BTC/USDT:USDT,ETH/USDT:USDT,SOL/USDT:USDT", "--strategy", "trend,mr")
    found = commands.json("ml", "evaluate", *asked)
    judged = {one["strategy"]: one for one in found["strategies"]}
    assert set(judged) == {"trend_pullback", "mean_reversion"}
    good = judged["mean_reversion"]["evaluation"]
    # whatever the figures: they are of five weeks
    assert (good["skill"], good["edge"], good["auc"][1]) == (False, False, None)
    assert good["verdict"].startswith("too short to say")
    assert good["auc"][0] > 0.5
    assert sum(group["count"] for group in good["groups"]) == good["signals"] < judged["mean_reversion"]["signals"]
    assert any("fewer than 1000" in note for note in good["notes"])
    page = Path(found["report"]).read_text()
    assert page.count("<svg") >= 4
    assert good["verdict"] in page

    taught = {row["strategy"]: row for row in commands.json("ml", "bootstrap", *asked)}
    assert taught["mean_reversion"]["verdict"] == "promoted"
    kept = Path(commands.environment["REVENANT__DATA_DIR"]) / "past" / "synthetic-mean_reversion.npz"
    assert len(PastLessons(kept, SCHEMA).load()) == taught["mean_reversion"]["signals"]
    info = commands.json("ml", "info")
    assert info["mean_reversion"]["model"]["lessons"] == taught["mean_reversion"]["signals"]
    # it has learned nothing of the bot's own: those lessons begin at none, and are waited for as on the first day
    assert (info["mean_reversion"]["completed"], info["mean_reversion"]["next_retrain_at"]) == (0, 30)
    assert commands.json("phantom-stats")["total"] == 0
    assert commands.json("audit", "verify")["rows"] == 0
    # the model in use judges, and what it had learned from says nothing about it; walking forward nothing is known before
    run = ("run", *asked, "--since", "2025-11-25")
    free, used, forward = (told(commands, *run, "--ml", way) for way in ("off", "on", "walk-forward"))
    assert "score" not in free["figures"]["refused"]
    assert used["figures"]["refused"]["score"] > 0
    assert any("had learned from signals until" in note for note in used["notes"])
    scored = [row for row in forward["decisions"] if row["gate"] == "score" and "walking forward" in row["detail"]]
    assert scored
    assert len({one["result_hash"] for one in (free, used, forward)}) == 3
    code, _, err = real(commands, "ml", "bootstrap", *asked)
    assert (code, "are made up; bybit is a real market" in err) == (1, True)


def real(commands: Commands, *arguments: str) -> tuple[int, str, str]:
    commands.environment["DATA_SOURCE"] = "bybit"
    try:
        return commands.run(*arguments)
    finally:
        del commands.environment["DATA_SOURCE"]


def traded_alike(bot, count: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Have a bot make so many trades, and a backtest on its bars the same ones; return the comparison and the bot's trades."""
    bot.start()
    bot.wait_ready()
    bot.wait_for(f"{count} trades", lambda s: s["closed"] >= count, 150)
    assert bot.stop() == 0
    answer = bot.manage("backtest", "parity", "--json")
    assert answer.stdout, answer.stderr
    found = json.loads(answer.stdout)
    assert (found["only_live"], found["only_backtest"], found["differing"]) == ([], [], [])
    assert (answer.returncode, found["exact"]) == (0, True)
    held = json.loads(bot.manage("trades", "list", "--json", "-n", "1000").stdout)
    assert len(held) >= count
    return found, held


def test_the_bot_and_a_backtest_leave_on_the_same_bars(make_bot, tmp_path):
    """A strategy of the user's that says leave, with gains that are enough; told by their cause in the figures too."""
    bot = make_bot(
        DATA_SOURCE="test", REVENANT__SANDBOX__REPLAY=json.dumps(candle_files(tmp_path)),
        REVENANT__SANDBOX__STEP="true", REVENANT__ML__EXECUTED_MIN="100000", REVENANT__STRATEGIES__FOLDER="mine",
        REVENANT__STRATEGIES=json.dumps({
            "early": {"parameters": {"timeframe": "3m", "length": 12, "stop_atr": 4.0, "reward_r": 4.0},
                      "exits": {"minimal_roi": {"0": 0.008, "12": 0.004}}},
        }), REVENANT__ML__RULE_FLOOR="0",
    )  # fmt: skip
    (bot.folder / "mine").mkdir()
    example = Path("strategies/examples/donchian.py").read_text()
    (bot.folder / "mine" / "early.py").write_text(example.replace('"donchian"', '"early"'))
    _, held = traded_alike(bot, 20)
    assert {"exit_signal", "roi"} <= {row["exit_reason"] for row in held}
    by = bot.manage("stats", "--by", "exit", "--json").stdout
    assert '"exit_signal"' in by
    assert '"roi"' in by


def test_the_bot_and_a_backtest_manage_positions_the_same(make_bot, tmp_path):
    """The example that moves stops, takes parts off and leaves."""
    bot = make_bot(
        DATA_SOURCE="test", REVENANT__SANDBOX__REPLAY=json.dumps(candle_files(tmp_path)),
        REVENANT__SANDBOX__STEP="true", REVENANT__ML__EXECUTED_MIN="100000", REVENANT__STRATEGIES__FOLDER="mine",
        REVENANT__STRATEGIES=json.dumps({
            "hanging": {"parameters": {"timeframe": "3m", "length": 12, "stop_atr": 4.0, "reward_r": 4.0,
                                       "half_at_r": 0.4, "patience_bars": 9}},
        }), REVENANT__ML__RULE_FLOOR="0",
    )  # fmt: skip
    (bot.folder / "mine").mkdir()
    example = Path("strategies/examples/chandelier.py").read_text()
    (bot.folder / "mine" / "hanging.py").write_text(example.replace('"chandelier"', '"hanging"'))
    _, held = traded_alike(bot, 20)
    assert {"exit_signal", "trailing_stop_loss"} <= {row["exit_reason"] for row in held}
    names = [parse_order_id(row["link_id"]) for row in bot.exchange_rows("orders")]
    assert sum(name is not None and name.leg == "t" for name in names) > 3


def test_the_bot_and_a_backtest_look_at_another_symbol_the_same_and_do_not_trade_it(make_bot, tmp_path):
    """A strategy with symbols, risk and leverage of its own besides."""
    bot = make_bot(
        DATA_SOURCE="test", REVENANT__SANDBOX__REPLAY=json.dumps(candle_files(tmp_path)),
        REVENANT__SANDBOX__STEP="true", REVENANT__ML__EXECUTED_MIN="100000", REVENANT__STRATEGIES__FOLDER="mine",
        REVENANT__TRADING__SYMBOLS="ETH,SOL", REVENANT__STRATEGIES=json.dumps({
            "led": {"parameters": {"timeframe": "3m", "length": 12, "stop_atr": 4.0, "trend": 9},
                    "symbols": ["ETH"], "risk_percent": 0.5, "leverage": 2},
            "scalp": {"enabled": False}, "trend_pullback": {"enabled": False}, "mean_reversion": {"enabled": False},
        }), REVENANT__ML__RULE_FLOOR="0",
    )  # fmt: skip
    (bot.folder / "mine").mkdir()
    example = Path("strategies/examples/leader.py").read_text()
    (bot.folder / "mine" / "led.py").write_text(example.replace('"leader"', '"led"'))
    _, held = traded_alike(bot, 10)
    assert {(row["symbol"], float(row["leverage"]) <= 2) for row in held} == {("ETH/USDT:USDT", True)}


@pytest.mark.parametrize("entry", ["market", "limit"])
def test_the_bot_and_a_backtest_on_its_bars_do_the_same(make_bot, tmp_path, entry):
    """Signal by signal, gate by gate, trade by trade, to the last digit of the money."""
    bot = make_bot(
        DATA_SOURCE="test", REVENANT__SANDBOX__REPLAY=json.dumps(candle_files(tmp_path)),
        REVENANT__SANDBOX__STEP="true", REVENANT__ML__EXECUTED_MIN="100000", REVENANT__TRADING__ENTRY_ORDER=entry,
        REVENANT__RISK__PROTECTIONS=json.dumps([
            {"method": "StoplossGuard", "lookback_period": 60, "trade_limit": 4, "stop_duration": 15},
            {"method": "CooldownPeriod", "stop_duration": 3},
        ]),
    )  # fmt: skip
    found, _ = traded_alike(bot, 40)
    assert found["trades"] >= 40
    assert found["signals"] > found["trades"]
    assert found["pnl"][0] == found["pnl"][1] != "0"
