"""Which symbols are traded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from domain.instrument import Instrument

log = structlog.get_logger(__name__)


def choose(
    instruments: Mapping[str, Instrument], listed: Sequence[str], blacklist: Sequence[str], top: int
) -> list[str]:
    """Return the symbols listed, or without a list the ``top`` ones by turnover, less the blacklist.

    Names may be unified (``BTC/USDT:USDT``) or the exchange's own (``BTCUSDT``).

    Raises:
        ConfigError: when none is left.
    """
    by_venue_id = {held.venue_id: held.symbol for held in instruments.values()}
    banned = {by_venue_id.get(name, name) for name in blacklist}
    if listed:
        chosen = [symbol for name in listed if (symbol := _tradable(by_venue_id.get(name, name), instruments))]
    else:
        ranked = sorted(instruments.values(), key=lambda held: (-held.turnover_24h, held.symbol))
        chosen = [held.symbol for held in ranked if held.trading and held.symbol not in banned][:top]
    left = [symbol for symbol in dict.fromkeys(chosen) if symbol not in banned]
    if not left:
        raise ConfigError("trading.symbols: none of them can be traded; list symbols such as BTC/USDT:USDT, or set top")
    return left


def _tradable(symbol: str, instruments: Mapping[str, Instrument]) -> str:
    if symbol not in instruments:
        log.error("symbol left out: the exchange has none of that name", symbol=symbol, way_out="trading.symbols")
        return ""
    if not instruments[symbol].trading:
        log.error("symbol left out: the exchange does not trade it any more", symbol=symbol, way_out="trading.symbols")
        return ""
    return symbol
