"""Runs the bot until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from app.desk import Desk
from app.stored import Watched
from bootstrap.assembly import Bot, Ground, assemble, stand
from bootstrap.parts import plans
from daemon.announcer import Announcer, announcer
from daemon.banner import banner
from daemon.page import Page
from engine.lag import measure
from engine.tasks import Tasks
from persistence.checkup import check_disk
from persistence.files import refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from dashboard.logs import Recent
    from settings import Settings

log = structlog.get_logger(__name__)

STOP_S, LEAVE_S = 1.2, 0.3
TURN_S = 0.001
SUMMARY_S = 10.0


async def run(settings: Settings, recent: Recent) -> int:
    """Run the bot until SIGTERM or SIGINT; return the exit code. ``recent`` holds the log's newest lines."""
    # while a thread reckons, the loop gets its turn after a millisecond instead of five
    sys.setswitchinterval(TURN_S)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with contextlib.AsyncExitStack() as stack:
        return await _run(settings, recent, stack, stopping)


async def _run(settings: Settings, recent: Recent, stack: contextlib.AsyncExitStack, stopping: asyncio.Event) -> int:
    plans(settings)
    try:
        ground = await stand(settings, stack, stopping)
        if ground is None:
            return 0
        bot, who = assemble(ground), ground.who
    except OSError as error:
        path = Path(str(error.filename or settings.data_dir))
        raise refused(str(path), path, error, "look at the disk of data_dir") from error
    desk = Desk(ground, bot, recent)
    stack.callback(desk.close)
    telling = announcer(settings, desk)
    if telling is not None:
        desk.told_report = telling.report
    page = Page(settings, desk, Watched(desk.known, bot.snapshot), who)
    stack.push_async_callback(page.close)
    address = await page.start()
    log.info("starting", source=who.source, account=who.account, symbols=len(ground.symbols),
             database=ground.main.kind, page=address)  # fmt: skip
    for finding in check_disk(settings.data_dir):
        log.info("disk", worth=finding.state.value, detail=finding.detail)
    bot.watchdog.start()
    stack.callback(bot.watchdog.stop)
    async with Tasks() as tasks:
        tasks.start("lag", lambda: measure(bot.runtime.progress.lag, bot.watchdog.beat))
        if ground.venue.sandbox is not None:
            tasks.start("practice exchange", ground.venue.sandbox.watch)
        if telling is not None:
            telling.start(tasks, bot.reporter)
        page.run(tasks, bot.reporter)
        if bot.key is not None:
            tasks.start("API key", bot.key.run, vital=False)
        tasks.start("recovery", bot.runtime.recover_with_patience)
        code = await _trade(bot, telling, tasks, stopping, lambda: _greet(ground, page, address))
        log.info("stopping: no new entries; positions keep their stops on the exchange")
        if telling is not None:
            await telling.close("Stopping, as told" if not code else "Leaving, to be started afresh")
        await bot.runtime.stop(STOP_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await bot.parts.fence.leave()
    figures = bot.snapshot()
    log.info("stopped", **{name: figures[name] for name in ("bars", "opened", "closed", "open")})
    return code


def _greet(ground: Ground, page: Page, address: str) -> None:
    """Tell a person at a terminal what runs, and where to look; a file or a platform has no use for it."""
    if sys.stderr.isatty():
        names = plans(ground.settings)
        sys.stderr.write(banner(ground.settings, ground.who, ground.symbols, names, page.link(address)))


async def _trade(
    bot: Bot, telling: Announcer | None, tasks: Tasks, stopping: asyncio.Event, greet: Callable[[], None]
) -> int:
    stop: asyncio.Future[Any] = asyncio.ensure_future(stopping.wait())
    try:
        while not bot.runtime.progress.recovered:
            done, _ = await asyncio.wait([stop, tasks.failed], timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return 0 if stop in done else 70
        bot.runtime.start(tasks)
        await bot.operations.resume()
        greet()
        tasks.start("jobs", bot.schedule.run, vital=False)
        if (watch := bot.universe) is not None:
            tasks.start("universe", lambda: watch.run(bot.runtime.following), vital=False)
        if telling is not None:
            telling.watch(tasks)
        tasks.start("summary", lambda: bot.reporter.summarise(bot.runtime, bot.trader, bot.writer, SUMMARY_S))
        done, _ = await asyncio.wait([stop, tasks.failed], return_when=asyncio.FIRST_COMPLETED)
        if tasks.failed in done:
            log.critical(
                "a task could not be kept running: leaving, so that a fresh start can recover",
                task=tasks.failed.result(),
            )
            return 70
        return 0
    finally:
        stop.cancel()
