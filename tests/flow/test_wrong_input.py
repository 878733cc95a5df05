"""Whatever is wrong with what a command is given or finds, it ends with one clear line, or with JSON, and a code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer.core
import typer.main

from tests.commands import Commands

AWAY = "postgresql://u:hunter2@127.0.0.1:1/x"
NOWHERE = "/proc/nowhere"
WRONG = {
    "audit archive": ["/nowhere/deep/x.gz", "{made} --days 1"],
    "audit verify": [""],
    "backtest check": ["", "-p NOSUCH", "-p BTC --strategy nosuch", "-p BTC -s nosuch"],
    "backtest compare": ["nosuch last"],
    "backtest evaluations": ["-c /nowhere.yaml"],
    "backtest list": ["-c /nowhere.yaml"],
    "backtest parity": [""],
    "backtest run": [
        "",
        "-p NOSUCH",
        "-p BTC --ml x",
        "-p BTC --fee x",
        "-p BTC --since yesterday",
        "--timerange 2024",
    ],
    "backtest show": ["nosuch", "last"],
    "backtest sweep": ["--set nonsense", "--set risk.percent=1 --objective x", "-p NOSUCH --set risk.percent=1", ""],
    "backup create": ["--to /proc/x", "--to {made}"],
    "backup restore": ["/nowhere", "{made}"],
    "backup verify": ["/nowhere", "{made}"],
    "dashboard": ["", "-s nosuch", "--port 99999"],
    "data download": [
        "",
        "-p NOSUCH",
        "-p BTC -s nosuch",
        "-p BTC -t 7m",
        "--days 0",
        "--since 2024 --days 3",
        "--top -1",
        "-p BTC --celery",
    ],
    "data export": ["", "--out /proc/x", "--trading-mode x", "--verify --out /nowhere", "-p NOSUCH"],
    "data fill-gaps": ["", "-p NOSUCH", "-t 7m", "--since 2999"],
    "data import": ["/nowhere/x.csv", "{made}", "{made} -t 7m", ""],
    "data jobs": ["-c {made}"],
    "data prune": ["-s nosuch"],
    "data quality": ["", "-p NOSUCH", "--merged -s okx", "--plot /nowhere/x.svg"],
    "data quarantine": ["-s nosuch"],
    "data rules": ["-p NOSUCH", "-s nosuch"],
    "data run": ["nosuch", ""],
    "data status": ["-s nosuch"],
    "data symbols": ["--core -s coingecko", "--market x"],
    "data update": ["", "-p NOSUCH"],
    "data workers": ["-c {made}", "-c /nowhere.yaml"],
    "db-stats": ["-c /nowhere.yaml"],
    "doctor": ["-c /nowhere.yaml"],
    "fleet": ["-c /nowhere.yaml"],
    "forceexit": ["BTC", "NOSUCH", "", "BTC --part x", "BTC --part 0%"],
    "init": [
        "--source nosuch",
        "--source bybit --mode x",
        "--yes --strategies nosuch",
        "--yes --redis-url x://hunter2",
    ],
    "migrate": ["-c {made}"],
    "ml bootstrap": ["", "-p NOSUCH"],
    "ml evaluate": ["", "-p NOSUCH", "--days x"],
    "ml info": ["--nosuch"],
    "ml runs": ["-s nosuch"],
    "ml train": ["nosuch", ""],
    "notices test": ["", "nosuch"],
    "panic": ["", "--seconds 0"],
    "pause": [""],
    "phantom-stats": ["-p NOSUCH", "-s nosuch"],
    "show-config": ["-c /nowhere.yaml"],
    "sources clean": ["-s okx", "-s nosuch", ""],
    "sources compare": ["-s okx --target test", "-s okx"],
    "sources create": ["--nosuch"],
    "sources list": ["-c /nowhere.yaml"],
    "sources migrate": ["-s okx --target test", "-s synthetic --target bybit"],
    "start": [""],
    "stats": ["--by nonsense", "--days -3"],
    "status": [""],
    "stop": [""],
    "symbols": ["-c /nowhere.yaml", "-c {made}"],
    "strategies check": ["nosuch", "{made}", ""],
    "strategies list": ["-c /nowhere.yaml"],
    "strategies new": ["scalp", "../x", ""],
    "strategies show": ["nosuch", ""],
    "trades export": ["/nowhere/deep/x.csv", "/proc/x.csv", "{folder}/x.doc", "{folder}", ""],
    "trades list": ["-n 0"],
    "trades rebuild": ["--since nonsense", "--since 2024", ""],
    "trades reconcile": [""],
    "trades verify": ["--nosuch"],
}
"""Of every command, what is wrong by itself or on an empty store; ``{made}`` is a file that holds nothing of use."""

REPORTS = {"doctor", "status", "data import", "audit verify", "data export", "data download"}
"""Commands whose report says itself what failed."""
UNASKED = {
    "backtest evaluations",
    "backtest list",
    "show-config",
    "phantom-stats",
    "dashboard",
    "data symbols",
    "strategies list",
    "symbols",
}
"""Commands that need no database for what they are asked here."""


def paths(group, before=""):
    for name, one in group.commands.items():
        whole = f"{before} {name}".strip()
        yield from paths(one, whole) if isinstance(one, typer.core.TyperGroup) else [(whole, one)]


def every_command() -> dict[str, object]:
    import manage

    found = dict(paths(typer.main.get_command(manage.app)))
    # a server with options of its own, a show for people, and a script for a shell
    for name in ("sandbox serve", "demo", "completion"):
        found.pop(name)
    return found


def test_every_command_prints_json_and_is_tried_here():
    commands = every_command()
    assert [name for name, one in commands.items() if not any("--json" in given.opts for given in one.params)] == []
    assert commands.keys() == WRONG.keys()


def given(text: str, folder: Path) -> list[str]:
    made = folder / "made.csv"
    made.write_text("x")
    return [part.format(made=made, folder=folder) for part in text.split()]


def check(commands: Commands, name: str, arguments: list[str], *, fails: bool) -> str:
    """Run a command in both ways; return what it says on stderr."""
    code, out, said = commands.run(*name.split(), *arguments)
    assert code in ({1, 2, 3} if fails else {0, 1, 2, 3}), (name, arguments, code, out, said)
    told = [line for line in (said + ("" if name in REPORTS else out)).splitlines() if line.strip()]
    if code in {1, 2} and name not in REPORTS:
        assert len(told) == 1, (name, arguments, out, said)
    assert "hunter2" not in out + said
    again, out, _ = commands.run(*name.split(), *arguments, "--json")
    assert again == code
    body = json.loads(out)
    if code in {1, 2} and name not in REPORTS:
        assert body.keys() == {"error"}, (name, arguments, body)
        assert body["error"].strip()
    return said


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_clear_line(name, tmp_path):
    commands = Commands(tmp_path / "data", "", "http://127.0.0.1:9")
    for text in WRONG[name]:
        check(commands, name, given(text, tmp_path), fails="audit" not in name and "--days 1" not in text)


NEEDED = {
    "audit archive": "{folder}/x.gz", "backtest check": "-p BTC", "backtest run": "-p BTC", "backtest show": "x",
    "backtest sweep": "-p BTC --set risk.percent=1", "backtest compare": "a b", "backup restore": "{made}",
    "backup verify": "{made}", "data download": "-p BTC/USDT:USDT", "data import": "{made}", "data run": "quality",
    "forceexit": "BTC", "ml bootstrap": "-p BTC", "ml evaluate": "-p BTC", "ml train": "scalp", "sources clean": "-s okx",
    "sources compare": "-s okx --target test", "sources migrate": "-s okx --target test", "trades rebuild": "--since 2024",
    "trades export": "{folder}/x.csv", "data rules": "-p BTC",
}  # fmt: skip
"""What a command has to be given at all."""


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("state", ["database away", "folder unwritable"])
def test_a_database_that_is_away_and_a_folder_that_cannot_be_written_are_told_once(name, state, tmp_path):
    away = state == "database away"
    folder = tmp_path / "data" if away else Path(NOWHERE)
    commands = Commands(folder, AWAY if away else "", "http://127.0.0.1:9")
    said = check(commands, name, given(NEEDED.get(name, ""), tmp_path), fails=name not in UNASKED)
    if "127.0.0.1:1" in said and name not in REPORTS:
        assert said.count("cannot reach 127.0.0.1:1 (DATABASE_URL): Connection refused") == 1, said
