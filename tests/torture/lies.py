"""Every field of every answer and frame that the bot is given, replaced by what no exchange should say.

The fields are those of real answers: the bot lives a while, and what was told it is walked through. Then each is bent
in every way while the bot trades, or starts where it is told only at a start. It must go on running, be ready again once
the lie has ended, close everything when told to, know of every trade, and come up again. ``python -m tests.torture.lies
FILE`` tells the lies that a file names, one a line, as the figures name those that were wrong.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from tests.torture.bent import KINDS, Place
from tests.torture.power import silent
from tests.torture.stage import Stage, timed

FROZEN_MAX_S = 1.0
TOLD_S = 2.0
"""How long a lie is waited for to be told; some answers come only now and then."""

START_S, AGAIN_S = 60.0, 12.0
QUICK, QUICK_STARTS = 18, 2
BATCH = 25
STARTING = (
    "GET /v5/market/instruments-info", "GET /v5/market/risk-limit", "GET /v5/market/time", "GET /v5/user/query-api",
    "GET /v5/account/info", "POST /v5/position/set-leverage", "POST /v5/position/switch-mode", "private auth",
    "private subscribe", "public subscribe", "GET /v5/market/tickers",
)  # fmt: skip
"""What is asked for at a start, and seldom or never afterwards."""

REASON = {"reason": "torture"}


@dataclass(frozen=True, slots=True)
class Lie:
    """One bent field."""

    key: str
    place: Place
    kind: str

    def __str__(self) -> str:
        return f"{self.key} {'.'.join(map(str, self.place))}: {self.kind}"

    @property
    def at_start(self) -> bool:
        """Whether it is told only at a start."""
        return self.key in STARTING

    @property
    def acting(self) -> bool:
        """Whether it is told only where something is done."""
        return self.key.startswith(("private", "POST"))


def run(folder: Path, seed: int, *, quick: bool, only: Sequence[Lie] = (), told: Any = None) -> dict[str, Any]:
    """Tell a random sample of all lies, or every one of them; return the figures."""
    began, draw = time.monotonic(), random.Random(seed)
    stage = _fresh(folder / "0")
    fields = 0
    results: list[dict[str, Any]] = []
    verdicts: Counter[str] = Counter()
    try:
        seen = {key: [tuple(place) for place in found] for key, found in stage.liar.tell(seen=True)["seen"].items()}
        fields = sum(map(len, seen.values()))
        chosen = list(only) or _chosen(seen, draw, quick=quick)
        for number, lie in enumerate(chosen):
            results.append(_one(stage, lie))
            last = number == len(chosen) - 1
            if results[-1]["wrong"] or last or number % BATCH == BATCH - 1:
                results[-1]["wrong"] += _judged(stage, verdicts)
            if results[-1]["wrong"] and not last:
                # what one lie has left behind is not the next one's
                stage.close()
                stage = _fresh(folder / str(number + 1))
            if told is not None:
                told(number + 1)
    finally:
        stage.close()
    bad = [one for one in results if one["wrong"]]
    return {
        "fields": fields, "cases": len(results), "told": sum(one["told"] > 0 for one in results), **verdicts,
        "frozen_s_max": max((one["frozen_s"] for one in results), default=0.0), "bad": bad[:20],
        "wrong": len(bad), "clean": not bad, "seconds": timed(began),
    }  # fmt: skip


def _fresh(folder: Path) -> Stage:
    """Return a bot that trades, and has been told everything that it is ever told."""
    stage = Stage(folder)
    try:
        stage.start()
        stage.wait_ready()
        stage.wait_open(2)
        stage.ask("/reconcile", **REASON)
        stage.ask("/balance")
        stage.ask("/panic", **REASON)
        stage.wait_flat()
        stage.let_in()
    except BaseException:
        stage.close()
        raise
    return stage


def _chosen(seen: dict[str, list[Place]], draw: random.Random, *, quick: bool) -> list[Lie]:
    every = [Lie(key, place, kind) for key, places in seen.items() for place in places for kind in KINDS]
    if not quick:
        return sorted(every, key=lambda lie: lie.at_start)
    running = [lie for lie in every if not lie.at_start]
    starting = [lie for lie in every if lie.at_start]
    # each key as often as any other, however many fields it has
    keys = sorted({lie.key for lie in running})
    spread = [draw.choice([lie for lie in running if lie.key == keys[i % len(keys)]]) for i in range(QUICK)]
    return [*spread, *draw.sample(starting, QUICK_STARTS)]


def _one(stage: Stage, lie: Lie) -> dict[str, Any]:
    """Tell one lie for a while, then the truth again; return what came of it."""
    figures: dict[str, Any] = {"lie": str(lie), "told": 0, "wrong": "", "frozen_s": 0.0}
    before = len(stage.failures())
    stage.frozen_s()
    try:
        stage.liar.tell(lies=[{"key": lie.key, "place": lie.place, "kind": lie.kind}])
        (_at_start if lie.at_start else _meanwhile)(stage, lie)
        figures["told"] = stage.liar.tell(lies=[])["told"]
        _well(stage)
    except (AssertionError, OSError) as error:
        figures["wrong"] = f"{str(error)[:1500]} {traceback.format_exc()[-300:]}"
    finally:
        stage.liar.tell(lies=[])
    figures["frozen_s"] = round(stage.frozen_s(), 3)
    failed = stage.failures()[before:]
    if failed:
        figures["wrong"] += f" tasks died: {failed[:3]}"
    if figures["frozen_s"] > FROZEN_MAX_S:
        figures["wrong"] += f" the loop stood still for {figures['frozen_s']} s"
    return figures


def _meanwhile(stage: Stage, lie: Lie) -> None:
    """Have the running bot ask for everything that it asks for, and act."""
    deadline = time.monotonic() + TOLD_S * (3 if lie.acting else 1)
    while time.monotonic() < deadline and stage.alive() and not stage.liar.tell()["told"]:
        stage.ask("/reconcile", **REASON)
        stage.ask("/balance")
        time.sleep(0.05)
    if lie.acting:
        stage.ask("/forceexit", what="all", **REASON)
    assert stage.alive(), f"the bot ended: {stage.end_of_log()}"


def _at_start(stage: Stage, _: Lie) -> None:
    """Start the bot under the lie: it comes up, waits, or says that it cannot start; it does not break."""
    assert stage.bot.process is not None
    stage.bot.kill9()
    stage.start()
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and stage.alive() and not stage.liar.tell()["told"]:
        time.sleep(0.1)
    deadline = time.monotonic() + TOLD_S
    while time.monotonic() < deadline and stage.alive() and not stage.ask("/status").get("ready"):
        time.sleep(0.1)
    code = stage.bot.process.poll()
    assert code in {None, 2, 75}, f"the start ended with {code}: {stage.end_of_log()}"


def _well(stage: Stage) -> None:
    """See that the bot is as it was: ready, and able to close everything."""
    if not stage.alive():
        stage.start()
    stage.let_in()
    stage.wait_ready(AGAIN_S)
    closed = stage.ask("/panic", **REASON)
    assert "error" not in closed, f"panic: {closed}"
    stage.wait_flat(AGAIN_S)
    stage.let_in()


def _judged(stage: Stage, verdicts: Counter[str]) -> str:
    """Compare everything after some lies, and see that the bot comes up again."""
    try:
        stage.ask("/panic", **REASON)
        verdict = stage.verdict()
        verdicts.update({name: int(verdict[name]) for name in ("lost", "doubled", "missing", "differing")})
        assert not any(verdict.values()), f"verify: {verdict}"
        code, body, said = stage.manage("panic")
        assert (code, body.get("open")) == (0, 0), f"panic: {code} {body} {said}"
        stage.bot.kill9()
        stage.start()
        stage.let_in()
        stage.wait_ready()
    except AssertionError as error:
        return f" after some lies: {error}"
    return ""


def parsed(text: str) -> Iterator[Lie]:
    """Return lies as figures name them, one a line."""
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, kind = line.rpartition(": ")
        key, _, place = name.rpartition(" ")
        yield Lie(key, tuple(int(one) if one.isdecimal() else one for one in place.split(".")), kind)


if __name__ == "__main__":
    structlog.configure(processors=[silent])
    with tempfile.TemporaryDirectory(prefix="revenant-lies-") as base:
        print(json.dumps(run(Path(base), 0, quick=True, only=list(parsed(Path(sys.argv[1]).read_text()))), indent=2))
