"""Commands that compare the book with the exchange, and make good what was forgotten."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bootstrap.place import refuse_if_held
from commands import running
from commands.shared import DEGRADED, FAILED, OK, AsJson, Config, load, show
from commands.times import DATES, moment
from domain.lean import lazily

if TYPE_CHECKING:
    from app import control
else:
    control = lazily("app.control")

RECONCILE_S, REBUILD_S = 60.0, 600.0


def reconcile(config: Config = None, as_json: AsJson = False) -> None:
    """Compare the bot's book with the exchange at once, and settle what differs; with or without a running bot."""
    _compare(config, "reconcile", None, RECONCILE_S, as_json)


def rebuild(
    since: Annotated[str, typer.Option("--since", "--start", help=f"From when on, UTC: {DATES}.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Ask the exchange for everything since a date, record the trades that nobody remembers, and free locked symbols.

    A position that the exchange has otherwise than the bot believes is made anew of its executions; what none explains
    is taken as the exchange reports it, or booked at the last price where it is gone.
    """
    _compare(config, "rebuild", moment(since), REBUILD_S, as_json)


def _compare(config: Config, what: str, since: int | None, seconds: float, as_json: bool) -> None:
    settings = load(config)
    place = running.acting(settings, what)
    asked: dict[str, Any] = {} if since is None else {"since": str(since)}
    body = running.order(settings, "/reconcile", seconds, reason="operator", **asked)
    if body is None:
        refuse_if_held(settings, what)
        body = asyncio.run(control.reconcile(settings, since))
    show({**place.as_row(), **body}, as_json)
    raise typer.Exit(FAILED if "error" in body else DEGRADED if body["ghosts"] else OK)
