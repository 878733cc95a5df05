"""What people call symbols: one reading for every list and every question."""

from __future__ import annotations

import difflib
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from domain.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GLOB = re.compile(r"[*?\[]")
QUOTES = ("USDT", "USDC", "USD")
"""The quote that is meant when several fit and one is asked for, most likely first."""
CLOSE, SHOWN = 0.6, 3
FULL = re.compile(r"[A-Z0-9.]+/[A-Z0-9]+(:[A-Z0-9-]+)?")
PERPETUAL = re.compile(r"([A-Z0-9]+?)(?:[/_-]?(USDT|USDC)(?:[:_]([A-Z]+))?)?")


def base_of(symbol: str) -> str:
    """Return the coin that a symbol is of; contracts on a thousand or a million of them count as the coin's."""
    base = symbol.partition("/")[0]
    for prefix in ("1000000", "10000", "1000", "1M"):
        if base.startswith(prefix) and len(base) > len(prefix):
            return base.removeprefix(prefix)
    return base


class Symbols:
    """Finds the symbols that a text means.

    ``BTC``, ``btc``, ``BTCUSDT``, ``BTC/USDT``, ``btc-usdt`` and ``BTC/USDT:USDT`` are the same; ``PEPE`` is
    ``1000PEPE`` where there is no other; ``1000*`` is all that match, by any of their names. The more exact reading
    counts: ``BTC/USDT`` is the spot market where there is one.
    """

    def __init__(self, symbols: Iterable[str], venue_ids: Mapping[str, str] | None = None) -> None:
        names = list(dict.fromkeys(symbols))
        ids = venue_ids or {}
        self._readings: tuple[dict[str, list[str]], ...] = ({}, {}, {}, {})
        self._spellings: dict[str, tuple[str, ...]] = {}
        for name in names:
            pair, base = name.partition(":")[0], name.partition("/")[0]
            venue_id = ids.get(name, "")
            for reading, text in (
                (0, name), (0, venue_id), (1, _squeezed(pair)), (1, _squeezed(name)), (2, _squeezed(base)),
                (3, _squeezed(_coin(base))),
            ):  # fmt: skip
                if text:
                    held = self._readings[reading].setdefault(text.upper(), [])
                    if name not in held:
                        held.append(name)
            spelt = (name, pair, _squeezed(pair), base, venue_id)
            self._spellings[name] = tuple(one.upper() for one in spelt if one)

    def matches(self, text: str) -> list[str]:
        """Return every symbol that is meant; none when it means nothing here."""
        wanted = text.strip().upper().removesuffix(".P")
        if GLOB.search(wanted):
            return [name for name, spelt in self._spellings.items() if any(fnmatchcase(one, wanted) for one in spelt)]
        exact, *loose = self._readings
        if found := exact.get(wanted):
            return list(found)
        squeezed = _squeezed(wanted)
        return list(next((reading[squeezed] for reading in loose if squeezed in reading), []))

    def one(self, text: str) -> str | None:
        """Return the symbol that is meant most likely, None when it means nothing here, or several at once."""
        found = self.matches(text)
        return min(found, key=_likely) if found and not GLOB.search(text) else None

    def listed(self, text: str) -> list[str]:
        """Return what an entry of a list of symbols stands for: all that a pattern matches, else the likeliest one."""
        if GLOB.search(text):
            return self.matches(text)
        found = self.one(text)
        return [found] if found else []

    def close(self, text: str) -> list[str]:
        """Return the symbols that come close to what nothing is called."""
        known = {spelt: name for name, names in self._spellings.items() for spelt in reversed(names)}
        found = difflib.get_close_matches(text.strip().upper(), list(known), SHOWN, CLOSE)
        return list(dict.fromkeys(known[one] for one in found))

    def hint(self, text: str) -> str:
        """Return a question that names what comes close, empty when nothing does."""
        close = self.close(text)
        return f"did you mean {', '.join(close)}?" if close else ""


def in_full(text: str) -> bool:
    """Say whether a symbol is written as we write it, so that nobody has to be asked what it means."""
    return FULL.fullmatch(text) is not None


def perpetual(text: str) -> str:
    """Return the perpetual contract that ``BTC``, ``BTCUSDT``, ``BTC/USDT`` or ``BTC/USDT:USDT`` is, where any may be.

    Raises:
        BadData: when it cannot be one.
    """
    found = PERPETUAL.fullmatch(text.strip().upper())
    if found is None or found[3] not in {None, found[2]}:
        raise BadData(f"{text[:40]!r} is no contract; write BTC, BTCUSDT or BTC/USDT:USDT")
    quote = found[2] or QUOTES[0]
    return f"{found[1]}/{quote}:{quote}"


def filtered(text: str, symbols: Iterable[str]) -> set[str]:
    """Return every one of ``symbols`` that a filter lets through; one written in full may let none through.

    Raises:
        BadData: when it means none of them; the text names those that come close.
    """
    known = Symbols(symbols)
    found = set(known.matches(text))
    if not found and not in_full(text.strip().upper()):
        raise BadData(f"{text[:40]!r} matches no symbol that is known here; {known.hint(text)}".rstrip("; "))
    return found


def nearest(text: str, symbols: Iterable[str]) -> str:
    """Return the one symbol that somebody means.

    Raises:
        BadData: when it is none of ``symbols``; the text names those that come close.
    """
    known = Symbols(symbols)
    found = known.one(text)
    if found is None:
        raise BadData(f"{text[:40]!r} is not followed; {known.hint(text) or '/whitelist shows what is followed'}")
    return found


def _likely(symbol: str) -> tuple[int, bool, str]:
    quote = symbol.partition("/")[2].partition(":")[0]
    return QUOTES.index(quote) if quote in QUOTES else len(QUOTES), ":" not in symbol, symbol


def _coin(base: str) -> str:
    coin = base_of(base)
    # SHIB1000 is written the other way round
    return base.removesuffix("1000") if coin == base and base != "1000" else coin


def _squeezed(text: str) -> str:
    return "".join(letter for letter in text.upper() if letter.isalnum())
