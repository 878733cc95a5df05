"""The section of the settings that says where history comes from and how much of it is kept."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator

from domain.coverage import known_timeframe
from domain.dates import moment
from domain.errors import BadData
from domain.source import Source
from sections import Section


class Pin(Section):
    """A range of bars that is never pruned; what is left out means all. Dates are UTC, ``until`` is outside."""

    source: Source | None = None
    symbol: str = ""
    timeframe: str = ""
    since: date | None = None
    until: date | None = None

    @field_validator("since", "until", mode="before")
    @classmethod
    def _as_people_write_it(cls, value: Any) -> Any:
        if isinstance(value, int | str) and not isinstance(value, bool):
            try:
                return datetime.fromtimestamp(moment(str(value), int(time.time() * 1000)) / 1000, UTC).date()
            except BadData as error:
                raise ValueError(str(error)) from error
        return value


class History(Section):
    """Where history comes from (docs/data.md).

    Attributes:
        chain: sources in the order in which they are asked; the first is the one whose table is filled.
        archives: whether Binance's public archives are asked first for whole months and days.
        timeframes: timeframes downloaded when none is named.
        months: how far back a download goes when nothing is said.
        addresses: where a source is, instead of its own address: {binance: "http://127.0.0.1:9000"}.
        completeness_min: percent below which a series is degraded, and a live window takes no entries (data_quality).
        jobs: whether the daemon does the regular jobs by itself; false where Celery does them.
        keep_days: days of bars that ``data prune`` keeps, by timeframe; those not named are kept for ever.
        keep_days_of: the same by source, which counts before ``keep_days``.
        pinned: ranges that are never pruned.
        stock_prices: adjusted for splits, as Alpaca and Polygon tell them on request, or raw, as they were traded.
        coingecko_key: key for CoinGecko; optional, as the next.
        cryptocompare_key: key for CryptoCompare.
        polygon_key: key for Polygon, which answers nobody without one.
        alpaca_key: key for Alpaca's stocks, with alpaca_secret; its crypto needs none.
        alpaca_secret: the key's secret.
    """

    chain: tuple[Source, ...] = Field(
        (Source.BINANCE, Source.COINGECKO, Source.CRYPTOCOMPARE, Source.OKX, Source.BYBIT), min_length=1
    )
    archives: bool = True
    timeframes: tuple[str, ...] = ("3m", "15m", "1h", "4h", "1d")
    months: int = Field(24, ge=1, le=240)
    addresses: dict[Source, str] = Field(default_factory=dict)
    completeness_min: float = Field(99.0, ge=0, le=100)
    jobs: bool = True
    keep_days: dict[str, int] = Field(default_factory=lambda: {"1m": 365, "3m": 365, "5m": 365})
    keep_days_of: dict[Source, dict[str, int]] = Field(default_factory=dict)
    pinned: tuple[Pin, ...] = ()
    stock_prices: Literal["adjusted", "raw"] = "adjusted"
    coingecko_key: SecretStr = SecretStr("")
    cryptocompare_key: SecretStr = SecretStr("")
    polygon_key: SecretStr = SecretStr("")
    alpaca_key: SecretStr = SecretStr("")
    alpaca_secret: SecretStr = SecretStr("")

    @field_validator("chain")
    @classmethod
    def _can_be_asked(cls, value: tuple[Source, ...]) -> tuple[Source, ...]:
        for source in value:
            if source.made_up:
                raise ValueError(f"{source} has no history to ask for; name real sources")
        return value

    @field_validator("keep_days")
    @classmethod
    def _a_day_at_least(cls, value: dict[str, int]) -> dict[str, int]:
        cls._kept(tuple(value))
        for timeframe, days in value.items():
            if days < 1:
                raise ValueError(f"{timeframe}: {days} days; keep one at least, or leave it out to keep all")
        return value

    @field_validator("keep_days_of")
    @classmethod
    def _of_each(cls, value: dict[Source, dict[str, int]]) -> dict[Source, dict[str, int]]:
        return {source: cls._a_day_at_least(days) for source, days in value.items()}

    @field_validator("timeframes")
    @classmethod
    def _kept(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for timeframe in value:
            try:
                known_timeframe(timeframe)
            except BadData as error:
                raise ValueError(str(error)) from error
        return value
