"""The command that keeps trading rules with the data."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import typer

from commands.chosen import OneSource, Symbols, several
from commands.shared import DEGRADED, FAILED, OK, AsJson, Config, load, show
from commands.times import told
from domain.lean import lazily
from history.port import PERPETUAL

if TYPE_CHECKING:
    from app import names as naming
    from bootstrap import history as opening
    from bootstrap import rules as known
    from bootstrap.history import History
    from domain.source import Source
    from persistence import rules as archive
    from persistence.rules import Dated
else:
    # --help of a group waits for none of these
    archive = lazily("persistence.rules")
    naming = lazily("app.names")
    opening = lazily("bootstrap.history")
    known = lazily("bootstrap.rules")


def rules(config: Config = None, as_json: AsJson = False, source: OneSource = None, symbols: Symbols = None) -> None:
    """Fetch the trading rules of symbols, all stored ones without a name, and keep them with their date.

    Backtests trade by the rules that were in force.
    """
    settings = load(config)
    asked = source or settings.history.chain[0]
    with opening.History(settings) as history:
        written = several(symbols)
        wanted = (
            naming.to_fetch(history, asked, written, "--symbols", PERPETUAL) if written else _stored(history, asked)
        )
        found, refused = asyncio.run(history.fetch_rules(asked, wanted))
    changed = archive.RulesArchive(settings.data_dir, asked).add(found, int(time.time() * 1000))
    held = known.reported_rules(settings, asked)
    rows = [_row(symbol, held[symbol], symbol in changed) for symbol in found]
    rows += [{**dict.fromkeys(rows[0] if rows else ("symbol", "said"), ""), "symbol": symbol, "said": said}
             for symbol, said in refused.items()]  # fmt: skip
    show(rows, as_json)
    raise typer.Exit(OK if not refused else DEGRADED if found else FAILED)


def _stored(history: History, source: Source) -> list[str]:
    return sorted({entry.series.symbol for entry in history.candles.entries(source) if entry.rows})


def _row(symbol: str, dated: Dated, changed: bool) -> dict[str, Any]:
    since, held = dated[-1]
    return {
        "symbol": symbol, "since": told(since), "changes": len(dated) - 1, "tick": held.tick, "step": held.step,
        "min_qty": held.min_qty, "max_qty": held.max_qty, "min_notional": held.min_notional,
        "max_leverage": held.max_leverage, "said": "kept" if changed else "as before",
    }  # fmt: skip
