"""The kill switch under everything that could deny it: a whole bot with open positions, ``manage.py``, and a fault.

Each run ends with what happened to each position, with the exit code that says so, and, where nothing could be closed
while the fault lasted, with everything closed once it has ended.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture.stage import Stage, timed

SILENT = 220
FLOODERS = 4
FROZEN_MAX_S = 1.0
OUTCOMES = {"closed", "withdrawn", "closing"}
SECOND_MS, MINUTE_MS, DAY_MS = 1_000, 60_000, 86_400_000


@dataclass(frozen=True)
class Fault:
    """What is wrong while the owner acts; ``denies`` says whether nothing can be closed meanwhile."""

    name: str
    during: Callable[[Stage], contextlib.AbstractContextManager[None]]
    denies: bool = False
    host: bool = False
    """Whether it needs the host's clock or disk in hand."""


def run(folder: Path, *, quick: bool, told: Any = None) -> dict[str, Any]:
    """Act under every fault, by every command, with the bot running and dead; the quick set takes each fault once."""
    began = time.monotonic()
    stage = Stage(folder, postgres=True, host=True)
    ran: list[dict[str, Any]] = []
    try:
        stage.start()
        stage.wait_ready()
        for number, (fault, command) in enumerate(plan(stage, quick=quick)):
            ran.append(_tried(stage, fault, command))
            if told is not None:
                told(number + 1)
        verdict = stage.verdict()
        ended = stage.end()
    finally:
        stage.close()
    flat = [one["flat_s"] for one in ran if "flat_s" in one and not one["denied"]]
    bad = [one for one in ran if one["wrong"]]
    frozen = max((one.get("frozen_s", 0.0) for one in ran), default=0.0)
    clean = not bad and not any(verdict.values()) and ended == 0 and not stage.failures()
    return {
        "cases": len(ran), **verdict, "flat_s_max": max(flat, default=None), "frozen_s_max": round(frozen, 3),
        "left_out": [] if stage.trouble else ["what needs a C compiler: full disk, EIO, host clock"],
        "task_failures": stage.failures()[:5], "bad": bad[:5], "runs": ran, "clean": clean and frozen <= FROZEN_MAX_S,
        "seconds": timed(began),
    }  # fmt: skip


def plan(stage: Stage, *, quick: bool) -> Iterator[tuple[Fault, str]]:
    """Yield each fault with what the owner does: ``panic`` or ``forceexit``, or ``panic`` where the bot is dead."""
    for faults, commands in ((FAULTS, ("panic", "forceexit")), (DEAD, ("dead",))):
        for fault in faults:
            for command in commands:
                if (stage.trouble or not fault.host) and (not quick or (fault.name, command) in QUICK):
                    yield fault, command


def _tried(stage: Stage, fault: Fault, command: str) -> dict[str, Any]:
    figures: dict[str, Any] = {"fault": fault.name, "command": command, "denied": fault.denies, "wrong": ""}
    try:
        if not stage.alive():
            stage.start()
        stage.let_in()
        stage.wait_ready()
        stage.wait_open()
        stage.frozen_s()
        (_dead if command == "dead" else _running)(stage, fault, command, figures)
    except (AssertionError, StopIteration, OSError, subprocess.SubprocessError) as error:
        figures["wrong"] = f"{error or type(error).__name__} {traceback.format_exc()[-600:]}"
    figures["frozen_s"] = round(stage.frozen_s(), 3)
    return figures


def _running(stage: Stage, fault: Fault, command: str, figures: dict[str, Any]) -> None:
    """Have the running bot close everything while the fault lasts, and see it closed."""
    arguments = ("panic", "--seconds", "3" if fault.denies else "60") if command == "panic" else ("forceexit", "all")
    stage.ask("/switch", state="paused", reason="torture")
    with ThreadPoolExecutor(1) as pool, fault.during(stage):
        before = {one["symbol"] for one in stage.ask("/status").get("positions", []) if not one["pending"]}
        began = time.monotonic()
        asked = pool.submit(stage.manage, *arguments)
        while not asked.done() and stage.open_there():
            time.sleep(0.02)
        figures["flat_s"] = timed(began)
        code, body, said = asked.result()
        figures["answered_s"] = timed(began)
        _check(code, body, said, before, stage, denied=fault.denies)
    began = time.monotonic()
    stage.wait_flat(90)
    figures["flat_after_s"] = timed(began)
    assert stage.alive(), f"the bot ended: {stage.end_of_log()}"


def _check(code: int, body: dict[str, Any], said: str, before: set[str], stage: Stage, *, denied: bool) -> None:
    outcomes = {one["symbol"]: one for one in body.get("outcomes", [])}
    left = set(stage.bot_symbols(stage.open_there()))
    assert all(one["outcome"] in OUTCOMES for one in outcomes.values()), body
    assert before - left <= before, body
    assert left & before <= set(outcomes), f"nothing was told of {left & before - set(outcomes)}: {body} {said}"
    if denied:
        closing = [one for one in outcomes.values() if one["outcome"] == "closing"]
        assert code == 1, f"exit code {code}, though nothing was closed: {body} {said}"
        assert closing, f"nothing is said to be closing: {body} {said}"
        assert all(one["reason"] for one in closing), f"no reason is given: {body}"
    else:
        assert code == 0, f"exit code {code}: {body} {said}"


def _dead(stage: Stage, fault: Fault, _: str, figures: dict[str, Any]) -> None:
    """Close everything by a command alone, the bot being dead."""
    stage.bot.kill9()
    with fault.during(stage):
        began = time.monotonic()
        code, body, said = stage.manage("panic", "--seconds", "20", alone=True, troubled=fault.host, within=120)
        figures["answered_s"] = figures["flat_s"] = timed(began)
        assert "Traceback" not in said, said[-2000:]
        if fault.denies:
            assert code in {1, 2}, f"exit code {code}, though nothing was closed: {body} {said}"
            assert "error" in body or said.strip(), "nothing was said"
        else:
            assert (code, body.get("open")) == (0, 0), f"exit code {code}: {body} {said}"
            assert not stage.open_there(), f"still open: {stage.open_there()}"
    if fault.denies:
        code, body, said = stage.manage("panic", "--seconds", "60", alone=True, within=120)
        assert (code, body.get("open")) == (0, 0), f"exit code {code}: {body} {said}"
    stage.start()
    stage.let_in()
    stage.wait_ready()


def _port(stage: Stage) -> int:
    return int(json.loads((stage.bot.data / "dashboard.json").read_text())["port"])


@contextlib.contextmanager
def nothing(_: Stage) -> Iterator[None]:
    """Let nothing be wrong."""
    yield


@contextlib.contextmanager
def flood(stage: Stage) -> Iterator[None]:
    """Ask for the page as fast as can be."""
    port, over = _port(stage), threading.Event()

    def ask() -> None:
        while not over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            with contextlib.suppress(OSError, http.client.HTTPException):
                for path in ("/", "/api/v1/status", "/api/v1/session") * 20:
                    connection.request("GET", path)
                    connection.getresponse().read()
                    if over.wait(0.002):
                        break
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(FLOODERS)]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in threads:
            one.join()


@contextlib.contextmanager
def lockout(stage: Stage) -> Iterator[None]:
    """Try wrong secrets."""
    for _ in range(8):
        connection = http.client.HTTPConnection("127.0.0.1", _port(stage), timeout=10)
        body = json.dumps({"secret": "x" * 30})
        connection.request("POST", "/api/v1/session", body, {"Content-Type": "application/json"})
        assert connection.getresponse().status >= http.HTTPStatus.BAD_REQUEST
        connection.close()
    yield


@contextlib.contextmanager
def silence(stage: Stage) -> Iterator[None]:
    """Hold connections that ask nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(SILENT):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_connection(("127.0.0.1", _port(stage)), 10))
        yield


@contextlib.contextmanager
def frozen_database(stage: Stage) -> Iterator[None]:
    """Let the database hang."""
    assert stage.postgres is not None
    stage.postgres.freeze()
    try:
        yield
    finally:
        stage.postgres.thaw()


@contextlib.contextmanager
def dead_database(stage: Stage) -> Iterator[None]:
    """Let the database be away."""
    assert stage.postgres is not None
    stage.postgres.kill9()
    try:
        yield
    finally:
        stage.postgres.start()


@contextlib.contextmanager
def broken_journal(stage: Stage) -> Iterator[None]:
    """Turn every byte of the journal over."""
    for path in stage.bot.data.glob("**/[0-9]*.jsonl"):
        path.write_bytes(bytes(byte ^ 0x55 for byte in path.read_bytes()))
    yield


@contextlib.contextmanager
def lost_journal(stage: Stage) -> Iterator[None]:
    """Take the whole folder of the journal away."""
    for path in {path.parent for path in stage.bot.data.glob("**/[0-9]*.jsonl")}:
        shutil.rmtree(path)
    yield


def refused_disk(number: int) -> Callable[[Stage], contextlib.AbstractContextManager[None]]:
    """Have the disk refuse every write with an errno."""
    return lambda stage: _troubled(stage, disk=number)


def wrong_clock(ahead_ms: int) -> Callable[[Stage], contextlib.AbstractContextManager[None]]:
    """Put the host's clock ahead."""
    return lambda stage: _troubled(stage, ahead_ms=ahead_ms)


def exchange(fault: str) -> Callable[[Stage], contextlib.AbstractContextManager[None]]:
    """Have the exchange refuse everything, or the key."""

    @contextlib.contextmanager
    def during(stage: Stage) -> Iterator[None]:
        stage.liar.tell(fault=fault, cut=True)
        try:
            yield
        finally:
            stage.liar.tell(fault="")

    return during


def both(*faults: Callable[[Stage], contextlib.AbstractContextManager[None]]) -> Callable[[Stage], Any]:
    """Have several things wrong at once."""

    @contextlib.contextmanager
    def during(stage: Stage) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for fault in faults:
                stack.enter_context(fault(stage))
            yield

    return during


@contextlib.contextmanager
def _troubled(stage: Stage, *, ahead_ms: int = 0, disk: int = 0) -> Iterator[None]:
    assert stage.trouble is not None
    stage.trouble.tell(ahead_ms=ahead_ms, disk=disk)
    try:
        yield
    finally:
        stage.trouble.tell()


CLOCKS = {
    "3 seconds ahead": 3 * SECOND_MS, "3 days behind": -3 * DAY_MS, "10 minutes ahead": 10 * MINUTE_MS,
    "3 seconds behind": -3 * SECOND_MS, "10 minutes behind": -10 * MINUTE_MS, "3 days ahead": 3 * DAY_MS,
}  # fmt: skip
FAULTS = (
    Fault("nothing", nothing),
    Fault("flood", flood),
    Fault("lockout", lockout),
    Fault("silent connections", silence),
    Fault("full disk", refused_disk(errno.ENOSPC), host=True),
    Fault("EIO", refused_disk(errno.EIO), host=True),
    Fault("full disk, frozen database", both(refused_disk(errno.ENOSPC), frozen_database), host=True),
    Fault("frozen database", frozen_database),
    Fault("dead database", dead_database),
    Fault("refused key", exchange("refused"), denies=True),
    Fault("503 everywhere", exchange("503"), denies=True),
    *(Fault(f"clock {name}", wrong_clock(ahead), host=True) for name, ahead in CLOCKS.items()),
)
QUICK = {
    ("flood", "panic"), ("silent connections", "forceexit"), ("full disk", "panic"), ("EIO", "forceexit"),
    ("frozen database", "panic"), ("refused key", "forceexit"), ("503 everywhere", "panic"),
    ("clock 3 days behind", "panic"), ("clock 3 seconds ahead", "forceexit"), ("lost journal", "dead"),
    ("503 everywhere", "dead"),
}  # fmt: skip
"""What of it the quick set takes; the full one takes everything."""

DEAD = (
    Fault("broken journal", broken_journal),
    Fault("lost journal", lost_journal),
    Fault("nothing", nothing),
    Fault("refused key", exchange("refused"), denies=True),
    Fault("503 everywhere", exchange("503"), denies=True),
    Fault("frozen database", frozen_database),
    # nobody may act on a folder that cannot be held: it is said, and the bot that runs acts nevertheless
    Fault("full disk", refused_disk(errno.ENOSPC), denies=True, host=True),
    Fault("EIO", refused_disk(errno.EIO), denies=True, host=True),
    *(Fault(f"clock {name}", wrong_clock(ahead), host=True) for name, ahead in CLOCKS.items()),
)
