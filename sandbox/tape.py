"""Where the practice exchange's prices come from: a seeded generator, or candle files played again."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

import numpy as np

from domain.assumed_rules import first_limit, fitting
from domain.candle import Bars, join
from domain.durations import MINUTE_MS
from domain.errors import ConfigError
from domain.instrument import Instrument, unified_symbol
from domain.margin import tiers
from sandbox.silence import quieten, silences

BLOCK = 360
"""Minutes that share one market regime."""

_LEVERAGE = ((500_000, 100), (100_000, 75), (12_000, 50), (0, 25))
"""Highest leverage by minute turnover; BTC, ETH and BSV have what they have at Bybit."""

# name, first price, tick, quantity step, typical minute turnover in USDT
_CAST = (
    ("BTC", 65_000, "0.1", "0.001", 900_000), ("ETH", 3_400, "0.01", "0.01", 500_000),
    ("SOL", 150, "0.01", "0.1", 250_000), ("XRP", 0.52, "0.0001", "0.1", 150_000),
    ("DOGE", 0.12, "0.00001", "1", 120_000), ("1000PEPE", 0.0115, "0.0000001", "100", 110_000),
    ("ADA", 0.45, "0.0001", "1", 70_000), ("AVAX", 28, "0.001", "0.1", 60_000),
    ("LINK", 14, "0.001", "0.1", 55_000), ("SUI", 1.9, "0.0001", "10", 50_000),
    ("WIF", 2.1, "0.0001", "1", 45_000), ("LTC", 72, "0.01", "0.1", 40_000),
    ("BCH", 380, "0.05", "0.01", 35_000), ("NEAR", 5.1, "0.001", "0.1", 30_000),
    ("ARB", 0.61, "0.0001", "0.1", 28_000), ("OP", 1.6, "0.0001", "0.1", 26_000),
    ("APT", 8.2, "0.001", "0.01", 24_000), ("TON", 5.4, "0.0001", "0.1", 22_000),
    ("1000BONK", 0.021, "0.000001", "100", 20_000), ("FIL", 4.3, "0.001", "0.1", 18_000),
    ("ATOM", 6.1, "0.001", "0.1", 17_000), ("INJ", 22, "0.001", "0.1", 16_000),
    ("AAVE", 95, "0.01", "0.01", 15_000), ("UNI", 7.4, "0.001", "0.1", 14_000),
    ("TIA", 6.6, "0.001", "0.1", 13_000), ("SEI", 0.33, "0.0001", "1", 12_000),
    ("SHIB1000", 0.0172, "0.000001", "10", 11_000), ("ORDI", 38, "0.001", "0.01", 10_000),
    ("JUP", 0.81, "0.0001", "1", 9_000), ("BSV", 47, "0.01", "0.1", 8_000),
)  # fmt: skip


class Tape(Protocol):
    """Prices of many symbols on one grid of closed base bars."""

    base_ms: int
    instruments: dict[str, Instrument]

    def bars(self, symbol: str, start: int, end: int) -> Bars:
        """Return the base bars with open times in [start, end)."""
        ...

    def span(self) -> tuple[int, int | None]:
        """Return the first open time and the end of the tape, None when it never ends."""
        ...


@dataclass(slots=True)
class _Track:
    """One generated symbol: its blocks so far, and the log price at which each begins."""

    index: int
    drift_home: float
    tick: float
    minute_turnover: float
    volatility: float
    starts: list[float]
    quiet: bool = False
    blocks: list[Bars] = field(default_factory=list)


class GeneratedTape:
    """A seeded market of trends, ranges and changing volatility, the same for the same seed and start.

    ``start`` is the open time of the very first minute (UTC ms); ``quiet`` is the share of the symbols, those that
    trade least, in which there are silences: minutes without a trade. The other prices are the same with and without.
    """

    base_ms = MINUTE_MS

    def __init__(self, seed: int, count: int, start: int, quiet: float = 0.0) -> None:
        if not 1 <= count <= 1_000:
            raise ConfigError(f"sandbox.symbols: {count} is not between 1 and 1000")
        self._seed = seed
        self._start = start - start % (BLOCK * MINUTE_MS)
        self.instruments: dict[str, Instrument] = {}
        self._tracks: dict[str, _Track] = {}
        for index in range(count):
            self._add(index)
        least_first = sorted(self.instruments.values(), key=lambda rules: rules.turnover_24h)
        for rules in least_first[: round(quiet * count)]:
            self._tracks[rules.symbol].quiet = True

    def span(self) -> tuple[int, int | None]:
        """Return the first open time; the tape never ends."""
        return self._start, None

    def bars(self, symbol: str, start: int, end: int) -> Bars:
        """Return the minutes with open times in [start, end)."""
        track = self._tracks[symbol]
        first = max(0, (start - self._start) // MINUTE_MS)
        last = (end - 1 - self._start) // MINUTE_MS
        if last < first:
            return Bars.empty()
        while len(track.blocks) <= last // BLOCK:
            self._extend(track)
        chosen = track.blocks[first // BLOCK : last // BLOCK + 1]
        offset = first // BLOCK * BLOCK
        held = join(chosen) if len(chosen) > 1 else chosen[0]
        return held[first - offset : last - offset + 1]

    def _add(self, index: int) -> None:
        name, price, tick, step, turnover = _CAST[index % len(_CAST)]
        copy = index // len(_CAST)
        base = f"{name}{copy + 1}" if copy else name
        symbol = unified_symbol(base, "USDT", "USDT")
        leverage = Decimal(next(most for least, most in _LEVERAGE if turnover >= least))
        daily = Decimal(turnover // (copy + 1) * 1440)
        self.instruments[symbol] = Instrument(
            symbol, f"{base}USDT", Decimal(tick), Decimal(step), Decimal(step), Decimal(step) * 10_000_000,
            Decimal(5), leverage, turnover_24h=daily, tiers=tiers(leverage, first_limit(daily)),
        )  # fmt: skip
        log_price = float(np.log(price))
        spread = 0.0006 + 0.00008 * (index % 7)
        self._tracks[symbol] = _Track(index, log_price, float(tick), turnover / (copy + 1), spread, [log_price])

    def _extend(self, track: _Track) -> None:
        number = len(track.blocks)
        rng = np.random.default_rng((self._seed, track.index, number))
        begins = track.starts[number]
        sigma = track.volatility * float(np.exp(rng.normal(0, 0.35)))
        noise = rng.standard_t(5, BLOCK) * sigma * 0.77
        pull = 0.02 * (track.drift_home - begins)
        trending = rng.random() < 0.5
        path = self._trend(rng, noise, sigma, pull) if trending else self._range(noise, sigma, pull)
        track.starts.append(begins + float(path[-1]))
        bars = self._shape(track, rng, begins, path, sigma, number)
        if track.quiet:
            # of their own chance, so that what does trade is the same as without silences
            silent = silences(np.random.default_rng((self._seed, track.index, number, 1)), BLOCK)
            bars = quieten(bars, silent, float(bars.open[0]))
        track.blocks.append(bars)

    @staticmethod
    def _trend(rng: np.random.Generator, noise: np.ndarray, sigma: float, pull: float) -> np.ndarray:
        # legs of an hour: a push, then a partial retrace, so that pullbacks exist
        direction = 1.0 if rng.random() < 0.5 else -1.0
        legs = np.repeat([1.0, -0.45, 0.8, -0.3, 1.1, -0.4], BLOCK // 6)
        path: np.ndarray = np.cumsum(noise + direction * legs * sigma * 0.28 + pull / BLOCK)
        return path

    @staticmethod
    def _range(noise: np.ndarray, sigma: float, pull: float) -> np.ndarray:
        # a slow wave of about two hours plus noise that is drawn back to it
        wave = 9 * sigma * np.sin(np.arange(1, BLOCK + 1) * 2 * np.pi / 120)
        path, level = np.empty(BLOCK), 0.0
        for i, shock in enumerate(noise.tolist()):
            level = 0.93 * level + shock
            path[i] = level
        return path + wave + pull * np.arange(1, BLOCK + 1) / BLOCK

    def _shape(
        self, track: _Track, rng: np.random.Generator, begins: float, path: np.ndarray, sigma: float, number: int
    ) -> Bars:
        tick = track.tick
        close = np.exp(begins + path)
        opened = np.r_[np.exp(begins), close[:-1]]
        reach = np.abs(rng.normal(0, 0.6 * sigma, (2, BLOCK)))
        high = np.maximum(opened, close) * (1 + reach[0])
        low = np.minimum(opened, close) * (1 - reach[1])
        rounded = [np.maximum(np.round(column / tick), 1) * tick for column in (opened, close)]
        opened, close = (np.round(column, 10) for column in rounded)
        high = np.round(np.ceil(np.maximum(high, np.maximum(opened, close)) / tick - 1e-9) * tick, 10)
        low = np.round(np.maximum(np.floor(np.minimum(low, np.minimum(opened, close)) / tick + 1e-9), 1) * tick, 10)
        bursts = 1 + 3 * np.abs(np.diff(np.r_[0.0, path])) / sigma
        turnover = track.minute_turnover * bursts * np.exp(rng.normal(0, 0.5, BLOCK))
        times = self._start + (number * BLOCK + np.arange(BLOCK)) * MINUTE_MS
        volume = np.round(turnover / close, 4)
        return Bars(
            times, opened, np.maximum(high, opened), np.minimum(low, opened), close, volume, np.round(turnover, 4)
        )


class ReplayTape:
    """Candle files played again at the times they were recorded.

    All files must have one spacing; the tape spans the time that all of them share.
    """

    def __init__(self, files: dict[str, Bars], base_ms: int) -> None:
        if not files:
            raise ConfigError("sandbox.replay: no candle file given")
        self.base_ms = base_ms
        self._bars = files
        starts = max(int(bars.open_time[0]) for bars in files.values())
        ends = min(int(bars.open_time[-1]) for bars in files.values()) + base_ms
        if starts >= ends:
            raise ConfigError("sandbox.replay: the candle files share no common time")
        self._span = (starts, ends)
        self.instruments = {symbol: fitting(symbol, bars) for symbol, bars in files.items()}

    def span(self) -> tuple[int, int | None]:
        """Return the first open time and the end of the time all files share."""
        return self._span

    def bars(self, symbol: str, start: int, end: int) -> Bars:
        """Return the bars with open times in [start, end)."""
        held = self._bars[symbol]
        first, last = np.searchsorted(held.open_time, (start, end))
        return held[int(first) : int(last)]
