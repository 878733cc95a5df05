"""Which symbols the settings choose now, asked of the exchange; no bot need run for it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from bootstrap.parts import exchange_of, known_rules, open_venue, symbols_of
from bootstrap.polled import PolledMarket
from bootstrap.universe import first, selection_of
from domain.errors import ConfigError, Unavailable
from engine.selection import report

if TYPE_CHECKING:
    from settings import Settings

CONNECT_S = 60.0


def chosen_now(settings: Settings) -> dict[str, Any]:
    """Return what the pairlists keep now and why not the rest, without any: the symbols of the configuration.

    Our own trades are known to a running bot only: PerformanceFilter keeps everything here.

    Raises:
        ConfigError: when no symbol can be traded.
        Unavailable: when the exchange does not answer.
    """
    return asyncio.run(_chosen(settings))


async def _chosen(settings: Settings) -> dict[str, Any]:
    if settings.source.polled and not settings.trading.symbols:
        raise ConfigError(f"trading.symbols: source {settings.source} has to be told which symbols to follow")
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(CONNECT_S):
                venue = await open_venue(settings, stack, beside=True)
                exchange = (
                    exchange_of(venue.client) if venue.client is not None
                    else PolledMarket(venue.source, settings.trading.symbols)
                )  # fmt: skip
                instruments = await exchange.instruments()
        except TimeoutError:
            raise Unavailable(f"{settings.source} has not answered within {CONNECT_S:g} s; try again") from None
        known = known_rules(settings, settings.source)
        selection = selection_of(settings, venue, instruments, known)
        if selection is None:
            return {"pairlists": [], "kept": symbols_of(settings, instruments, known), "removed": []}
        return report(selection, await first(selection, instruments))
