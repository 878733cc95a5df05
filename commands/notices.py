"""Commands about notices: is what is configured taken where it is sent?"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.shared import FAILED, OK, AsJson, Config, load, show
from domain.errors import ConfigError, RevenantError
from domain.notice import Notice

if TYPE_CHECKING:
    from settings import Settings

app = typer.Typer(no_args_is_help=True)


@app.callback()
def notices() -> None:
    """Notices to webhooks and by e-mail."""


@app.command("test")
def send_test(
    name: Annotated[str, typer.Argument(help="A webhook's name, or email; all without.")] = "",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Send a test notice to every webhook and by e-mail, now, and say what came of it."""
    settings = load(config, trading=False)
    rows = asyncio.run(_tried(settings, name))
    show(rows, as_json)
    raise typer.Exit(OK if all(row["taken"] for row in rows) else FAILED)


async def _tried(settings: Settings, name: str) -> list[dict[str, Any]]:
    from daemon.announcer import outlets  # noqa: PLC0415  other commands need none of what it loads
    from notices.announcement import Announcement  # noqa: PLC0415  as above

    recipients, threads = outlets(settings)
    try:
        if not recipients:
            raise ConfigError("neither webhooks nor email.host are set: nobody would be told (docs/notices.md)")
        chosen = [one for one in recipients if name in {"", one.name}]
        if not chosen:
            raise ConfigError(f"no recipient is called {name!r}; there are {', '.join(one.name for one in recipients)}")
        test = Announcement(
            Notice.STARTUP, "🔔 <b>Test</b> notice from Revenant", False, datetime.now(UTC), settings.source.value, {}
        )
        rows = []
        for one in chosen:
            try:
                await one.send_now(test)
            except RevenantError as error:
                rows.append({"recipient": one.name, "taken": False, "reason": str(error)})
            else:
                rows.append({"recipient": one.name, "taken": True, "reason": ""})
        return rows
    finally:
        for thread in threads:
            thread.close()
