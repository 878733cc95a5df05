"""Which symbols are traded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from domain.errors import ConfigError
from domain.symbols import Symbols
from engine import admission

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from domain.instrument import Instrument

log = structlog.get_logger(__name__)

USUAL = ("innovation",)


def choose(
    instruments: Mapping[str, Instrument], listed: Sequence[str], blacklist: Collection[str], top: int,
    allow: Collection[str] = USUAL, known: Mapping[str, Instrument] | None = None,
) -> list[str]:  # fmt: skip
    """Return the symbols listed, or without a list the ``top`` ones by turnover, less those of the blacklist.

    What ``listed`` has may be written in any way (``BTC``, ``BTCUSDT``, ``1000*``); ``blacklist`` are symbols, as
    ``banned`` returns them. An entry that is gone (``known`` are all that the exchange had when this bot was started
    before), or that the exchange does not trade, is left out: a contract that was delisted must not keep the bot from
    guarding the others. Contracts that may not be entered
    (``admission``) are never chosen by turnover; one that is listed by hand is followed, and its entries are refused.

    Raises:
        ConfigError: when none is left, or naming an entry that matches nothing the exchange ever had.
    """
    if listed:
        chosen = _listed(instruments, listed, allow, known or {})
    else:
        ranked = sorted(instruments.values(), key=lambda held: (-held.turnover_24h, held.symbol))
        fit = (held for held in ranked if held.trading and admission.refusal(held, allow) is None)
        chosen = [held.symbol for held in fit if held.symbol not in blacklist][:top]
    left = [symbol for symbol in dict.fromkeys(chosen) if symbol not in blacklist]
    if not left:
        raise ConfigError("trading.symbols: none of them can be traded; list symbols such as BTC/USDT:USDT, or set top")
    return left


def candidates(
    instruments: Mapping[str, Instrument], listed: Sequence[str], blacklist: Collection[str],
    allow: Collection[str] = USUAL,
) -> list[str]:  # fmt: skip
    """Return the symbols that pairlists choose from: those listed, in that order, or without a list all by turnover.

    Only what is traded, and without a list only what may be entered; what an entry of the list means by now counts.
    """
    if listed:
        names = _names(instruments)
        chosen = [symbol for entry in listed for symbol in names.listed(entry)]
    else:
        ranked = sorted(instruments.values(), key=lambda held: (-held.turnover_24h, held.symbol))
        chosen = [held.symbol for held in ranked if admission.refusal(held, allow) is None]
    return [one for one in dict.fromkeys(chosen) if instruments[one].trading and one not in blacklist]


def banned(
    known: Mapping[str, Instrument], blacklist: Iterable[str], where: str = "trading.blacklist"
) -> list[str]:  # fmt: skip
    """Return the symbols that a blacklist names: all that each entry may mean, so that none is traded by mistake.

    ``known`` are all symbols that the exchange has, or had when this bot was started before; ``where`` is the setting.

    Raises:
        ConfigError: naming an entry that matches nothing: what was to be kept out would be traded.
    """
    names, found = _names(known), list[str]()
    for entry in blacklist:
        matches = names.matches(entry)
        if not matches:
            hint = names.hint(entry) or "write BTC, BTCUSDT, BTC/USDT:USDT or a pattern such as 1000*"
            raise ConfigError(f"{where}: {entry!r} matches no symbol of the exchange; {hint}")
        found += matches
    return sorted(set(found))


def _names(instruments: Mapping[str, Instrument]) -> Symbols:
    return Symbols(instruments, {held.symbol: held.venue_id for held in instruments.values()})


def _listed(
    instruments: Mapping[str, Instrument], listed: Iterable[str], allow: Collection[str],
    known: Mapping[str, Instrument],
) -> list[str]:  # fmt: skip
    names, gone, chosen = _names(instruments), _names(known), list[str]()
    for entry in listed:
        found = names.listed(entry) or gone.listed(entry)
        if not found:
            hint = names.hint(entry) or "correct it, or take it out if it was delisted"
            raise ConfigError(f"trading.symbols: {entry!r} matches no symbol of the exchange; {hint}")
        for symbol in found:
            rules = instruments.get(symbol)
            if rules is None or not rules.trading:
                log.error("symbol left out: the exchange does not trade it any more", symbol=symbol,
                          way_out="trading.symbols")  # fmt: skip
                continue
            if refused := admission.refusal(rules, allow):
                log.warning("entries will be refused in a symbol", symbol=symbol, gate=refused[0], reason=refused[1],
                            way_out="trading.symbols or trading.allow")  # fmt: skip
            chosen.append(symbol)
    return chosen
