"""Whether the bot is able to trade: what keeps it from all entries, and what from some."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.parts import Parts, Progress

SHOWN = 5
RECOVERING = "recovery has not finished"
MOST = 0.5
"""When more than this share of the symbols is silent, it is the feed that fails and not a market that rests."""


def reasons(parts: Parts, progress: Progress) -> list[str]:
    """Return why the bot is not able to trade, an empty list when it is."""
    found = []
    if not progress.recovered:
        found.append(RECOVERING)
    if not parts.feed.connected():
        found.append("feed is not connected")
    quiet = silent(parts)
    if progress.recovered and _fails(parts, quiet):
        streams = [*parts.feed.stale(), *parts.refused()]
        followed = len({series.symbol for series in parts.wanted})
        found.append(
            f"{len(set(streams))} streams are silent, of {len(quiet)} of {followed} symbols, among them "
            f"{streams[0].symbol} {streams[0].timeframe}{_refusal(parts)}"
        )
    if progress.broker_error:
        found.append(f"exchange: {progress.broker_error}")
    found += progress.failing()
    if parts.trader.situation.equity_doubt:
        found.append(parts.trader.situation.equity_doubt)
    if not progress.durable:
        found.append("the journal cannot be written, or its disk is full: no new entries")
    # what keeps the account out is told once, though each request fails for it
    found += [one for one in parts.broker.obstacles() if one not in progress.broker_error]
    if parts.fence.superseded:
        found.append(f"another instance has taken over ({parts.fence.successor}): this one sends no orders")
    if parts.trader.situation.second_sender:
        found.append(parts.trader.situation.second_sender)
    if parts.trader.situation.switch != "running":
        found.append(f"trading is {parts.trader.situation.switch.value}")
    return found


def notes(parts: Parts, progress: Progress) -> list[str]:
    """Return what keeps entries from some symbols and strategies; the others are traded, the bot is ready."""
    found = []
    quiet = silent(parts)
    if progress.recovered and quiet and not _fails(parts, quiet):
        found.append(f"no entries in {_listed(quiet)}: the feed is silent there")
    refused = parts.refused()
    if refused:
        names = [f"{series.symbol} {series.timeframe}" for series in refused]
        found.append(f"the exchange refuses to stream {_listed(names)}: {next(iter(refused.values()))}")
    if parts.trader.situation.former:
        found.append(f"the pairlists could not be asked again, what they said stays: {parts.trader.situation.former}")
    off = parts.trader.decisions.off
    found += [f"strategy {name} is switched off: {reason}" for name, reason in off.items()]
    doubtful = parts.trader.situation.doubtful
    found += [f"no entries in {symbol}: {reason}" for symbol, reason in list(doubtful.items())[:SHOWN]]
    return found


def silent(parts: Parts) -> list[str]:
    """Return the symbols of which a stream is silent or refused: no entry can be made there."""
    return sorted({series.symbol for series in (*parts.feed.stale(), *parts.refused())})


def _fails(parts: Parts, quiet: list[str]) -> bool:
    return len(quiet) > MOST * len({series.symbol for series in parts.wanted})


def _refusal(parts: Parts) -> str:
    refused = parts.refused()
    return f" ({next(iter(refused.values()))})" if refused else ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
