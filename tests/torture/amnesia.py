"""The whole bot with part of its memory gone: it is ready again, ``panic`` works, and every trade is known."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from persistence.journal import segments_of
from tests.bot import until
from tests.torture.memory import truncate
from tests.torture.stage import Stage, timed

CLOSED = 3
"""So many trades are closed in each of the two lives before memory goes."""

REASON = {"reason": "torture"}
Damage = Callable[[Path, Path], None]
"""What is done to a data folder; the other one is an older copy of it."""


def journals(data: Path) -> list[Path]:
    """Return the folders that hold a journal."""
    return sorted({path.parent for path in data.glob("journal/*/[0-9]*.jsonl")})


def cut(tenth: int) -> Damage:
    """Cut the journal off at so many tenths."""
    return lambda data, _: [truncate(folder, tenth) for folder in journals(data)] and None


def no_journal(data: Path, _: Path) -> None:
    """Take the journal's folder away."""
    for folder in journals(data):
        shutil.rmtree(folder)


def no_database(data: Path, _: Path) -> None:
    """Take the database away."""
    for path in data.glob("revenant.sqlite*"):
        path.unlink()


def older_journal(data: Path, older: Path) -> None:
    """Put an older copy in the journal's place."""
    for folder in journals(data):
        for path in segments_of(folder):
            path.unlink()
        for path in segments_of(older / folder.relative_to(data)):
            shutil.copy2(path, folder / path.name)


def older_database(data: Path, older: Path) -> None:
    """Put an older copy in the database's place."""
    no_database(data, older)
    for path in older.glob("revenant.sqlite*"):
        shutil.copy2(path, data / path.name)


def both(*damages: Damage) -> Damage:
    """Do more than one thing."""
    return lambda data, older: [one(data, older) for one in damages] and None


DAMAGES: dict[str, Damage] = {
    "cut at 3 of 10": cut(3), "cut at 7 of 10": cut(7), "journal gone": no_journal, "database gone": no_database,
    "both gone": both(no_journal, no_database), "journal older": older_journal, "database older": older_database,
    "both older": both(older_journal, older_database),
}  # fmt: skip
UNDER_THE_BOT = "journal gone under the running bot"


def run(folder: Path, told: Any = None) -> dict[str, Any]:
    """Lose memory in each way, one after the other on one account; return the figures and what was wrong."""
    began, stage, ran = time.monotonic(), Stage(folder), []
    try:
        stage.start()
        for number, name in enumerate([*DAMAGES, UNDER_THE_BOT]):
            ran.append(_tried(stage, name))
            if told is not None:
                told(number + 1)
        failures, ended = stage.failures(), stage.end()
    finally:
        stage.close()
    bad = [one for one in ran if one["wrong"]]
    return {
        "cases": len(ran), "bad": bad, "runs": ran, "task_failures": failures[:5],
        "clean": not bad and not failures and ended == 0, "seconds": timed(began),
    }  # fmt: skip


def _tried(stage: Stage, name: str) -> dict[str, Any]:
    figures: dict[str, Any] = {"damage": name, "wrong": ""}
    try:
        if not stage.alive():
            stage.start()
        _lose(stage, name)
        began = time.monotonic()
        stage.wait_ready()
        figures["ready_s"] = timed(began)
        # what the start has found, and what was open over it
        stage.ask("/reconcile", **REASON)
        answer = stage.ask("/panic", **REASON)
        assert "error" not in answer, f"panic: {answer}"
        stage.wait_flat()
        figures |= (verdict := stage.verdict())
        assert not any(verdict.values()), f"verify: {verdict}"
        code, body, said = stage.manage("panic")
        assert (code, body.get("open")) == (0, 0), f"panic: {code} {body} {said}"
    except (AssertionError, OSError) as error:
        figures["wrong"] = f"{str(error)[:1500]} {traceback.format_exc()[-300:]}"
    return figures


def _lose(stage: Stage, name: str) -> None:
    """Trade through two lives, keep a copy of what the first one knew, and have memory go after the second."""
    older = stage.folder / "older"
    shutil.rmtree(older, ignore_errors=True)
    _trade(stage)
    stage.bot.kill9()
    shutil.copytree(stage.bot.data, older, ignore=shutil.ignore_patterns("bot.sock"))
    stage.start()
    _trade(stage)
    if name == UNDER_THE_BOT:
        no_journal(stage.bot.data, older)
        _trade(stage, anew=False)
    stage.bot.kill9()
    if name in DAMAGES:
        DAMAGES[name](stage.bot.data, older)
    stage.start()
    stage.let_in()


def _trade(stage: Stage, *, anew: bool = True) -> None:
    """Close some trades, with something open at the end."""
    if anew:
        # the case before has stopped it
        stage.let_in()
        stage.wait_ready()
    before = stage.ask("/status").get("closed", 0)
    until(lambda: stage.ask("/status").get("closed", 0) >= before + CLOSED, "trades to be closed")
    stage.wait_open()
