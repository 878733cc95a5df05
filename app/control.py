"""What the operator can do while no bot runs: turn the switch, reconcile, close everything."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.assembly import assemble, stand, take_folder
from bootstrap.parts import database, known_owner, ledger_of, lived, sandbox_process
from domain.errors import ConfigError, Rejected, RevenantError, Unavailable
from domain.records import Switch, SwitchState
from engine.readiness import RECOVERING as RECOVERING  # noqa: PLC0414  what manage.py looks for
from engine.tasks import Tasks
from persistence.latches import Latches
from persistence.lease import Lease

if TYPE_CHECKING:
    from bootstrap.assembly import Bot, Ground
    from settings import Settings

SETTLE_S = 5.0
CONNECT_S = 60.0
ALIVE_S = 15.0
LOOK_S = 0.1


def turn_switch(settings: Settings, state: SwitchState, reason: str) -> None:
    """Write the switch into the journal, for the next start to find.

    Raises:
        ConfigError: when a bot is running on the folder.
    """
    with contextlib.ExitStack() as stack:
        take_folder(settings.data_dir, stack)
        main = database(settings)
        stack.callback(main.close)
        journal, ledger = ledger_of(settings, known_owner(settings), main, None)
        stack.callback(journal.close)
        last = max((record.time for record in ledger.replay()), default=0)
        record = Switch(time=last, state=state, reason=reason)
        ledger.append(record)
        with contextlib.suppress(RevenantError):
            Latches(main, known_owner(settings)).keep(record)


async def reconcile(settings: Settings, since: int | None = None) -> dict[str, Any]:
    """Recover once, as a start does, without trading; return what was found.

    With ``since`` (UTC ms) what happened since then is asked for anew, and recorded where no record tells of it.
    """
    async with contextlib.AsyncExitStack() as stack:
        ground = await _ground(settings, stack, CONNECT_S)
        _refuse_if_alive(ground)
        bot = await _recovered(ground)
        settled = []
        if since is not None:
            settled = (await bot.operations.reconcile_now(since))["settled"]
            await bot.runtime.settle(SETTLE_S)
        return {**_figures(bot), "settled": settled}


async def panic(settings: Settings, seconds: float, *, foreign: bool) -> dict[str, Any]:
    """Stop trading and close every position of the bot, ``foreign`` ones too when asked; return what is left open.

    It waits ``seconds`` for the exchange to answer at all, and as long for everything to be closed.
    """
    async with contextlib.AsyncExitStack() as stack:
        # asks no database whether somebody is alive: the way out must not depend on one
        bot = await _recovered(await _ground(settings, stack, seconds))
        async with Tasks() as tasks:
            bot.runtime.start(tasks, trading=False)
            await bot.operations.panic("operator, no bot running", foreign=foreign)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while bot.trader.book.positions() or not bot.runtime.reconciler.flattening.ended:
                        await asyncio.sleep(LOOK_S)
            await bot.runtime.stop(SETTLE_S)
        return {**_figures(bot), "switch": bot.trader.situation.switch.value}


async def _ground(settings: Settings, stack: contextlib.AsyncExitStack, seconds: float) -> Ground:
    if settings.source.practice and not sandbox_process(settings).lived:
        raise Rejected(f"{settings.data_dir.resolve()}: the practice exchange that the bot traded on is gone")
    given_up = asyncio.Event()
    stack.callback(asyncio.get_running_loop().call_later(seconds, given_up.set).cancel)
    ground = await stand(settings, stack, given_up)
    if ground is None:
        raise Unavailable(
            f"the exchange has not answered within {seconds:.0f} s: nothing was done, and positions keep the "
            "stops they have there; try again, or act on the exchange's own page"
        )
    if not lived(settings, ground.who):
        raise Rejected(
            f"the key is one of account {ground.who.account}, whose bot has never lived in "
            f"{settings.data_dir.resolve()}: nothing was done"
        )
    return ground


def _refuse_if_alive(ground: Ground) -> None:
    owner = Lease(ground.main, ground.who, "").alive(ALIVE_S)
    if owner and not _gone(owner):
        raise ConfigError(f"a bot of this account is alive elsewhere ({owner}): ask that one, or stop it first")


async def _recovered(ground: Ground) -> Bot:
    bot = assemble(ground)
    await bot.runtime.recover()
    await bot.runtime.settle(SETTLE_S)
    return bot


def _gone(owner: str) -> bool:
    host, _, pid = owner.rpartition(":")
    return host == socket.gethostname() and not Path(f"/proc/{pid}").exists()


def _figures(bot: Bot) -> dict[str, Any]:
    figures = bot.snapshot()
    names = ("open", "pending", "positions", "closed", "foreign_positions", "adopted", "rebuilt", "ghosts", "tiers")
    # one that is closed and still to be recorded, which the next start does, is open no more
    still = sum(not held.pending and not held.flat for held in bot.trader.book.positions())
    return {**{name: figures[name] for name in names}, "open": still}
