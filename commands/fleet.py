"""All bots on one database, in a table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from commands import summary
from commands.shared import DEGRADED, OK, AsJson, Config, load, show
from domain.lean import lazily

if TYPE_CHECKING:
    from bootstrap import records
    from persistence import accounts
else:
    records, accounts = lazily("bootstrap.records"), lazily("persistence.accounts")

SHOWN = {"source": "source", "mode": "mode", "account": "account", "state": "state", "trades": "trades", "won": "won",
         "profit": "profit", "process": "process"}  # fmt: skip


def fleet(config: Config = None, as_json: AsJson = False) -> None:
    """List every account that bots on this database trade for; exits with 3 when one of them has no bot.

    Give each bot a name in trading.account, so that several share a database.
    """
    import typer  # noqa: PLC0415  as light as the other modules of commands

    settings = load(config, trading=False)
    database = records.database(settings)
    try:
        rows = [_row(state) for state in accounts.account_states(database)]
    finally:
        database.close()
    if as_json:
        show(rows, as_json)
    else:
        print("\n".join(summary.table([{name: row[key] for key, name in SHOWN.items()} for row in rows])))
    raise typer.Exit(DEGRADED if any(row["state"] == "no sign of life" for row in rows) else OK)


def _row(state: accounts.AccountState) -> dict[str, Any]:
    return {
        **state.who._asdict(), "state": _word(state), "process": state.process,
        "seen": state.seen.isoformat(timespec="seconds"), "trades": str(state.trades), "won": str(state.won),
        "profit": "-" if state.profit is None else str(state.profit),
        "counted": state.counted.isoformat(timespec="seconds") if state.counted else "",
    }  # fmt: skip


def _word(state: accounts.AccountState) -> str:
    """Return how a bot is: one that ended in good order has handed its right back."""
    if state.alive(datetime.now(UTC)):
        return "runs"
    return "no sign of life" if state.process else "stopped"
