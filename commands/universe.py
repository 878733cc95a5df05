"""The command that tells which symbols are traded, and why not the others."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from commands import running
from commands.shared import FAILED, AsJson, Config, load, show
from domain.lean import lazily

if TYPE_CHECKING:
    from app import universe as choosing
else:
    # a bot that runs is asked, and --help waits for nothing
    choosing = lazily("app.universe")


def symbols(config: Config = None, as_json: AsJson = False) -> None:
    """Show which symbols the pairlists keep and why not the rest: of the running bot, else asked of the exchange."""
    settings = load(config, trading=False)
    told = running.ask(settings, "/symbols")
    if told is not None and "error" in told:
        show(told, as_json)
        raise typer.Exit(FAILED)
    if told is None:
        body: dict[str, Any] = {"running": False, **choosing.chosen_now(settings)}
    else:
        body = {"running": True, **(told.get("universe") or {"pairlists": [], "kept": told["symbols"], "removed": []})}
    if not as_json and "time" in body:
        body["time"] = f"{datetime.fromtimestamp(body['time'] / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    show(body, as_json)
