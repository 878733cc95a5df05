"""The settings of the universe: which filters choose the symbols, in freqtrade's words."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from pydantic import Field, model_validator

from domain.pairlists import METHODS
from sections import Section


class Pairlist(Section):
    """One filter of the symbols, under freqtrade's names; what is left out is as freqtrade has it (docs/universe.md).

    Attributes:
        method: which filter; each has some of these keys.
        number_assets: VolumePairList, OffsetFilter: how many symbols are kept.
        sort_key: VolumePairList: what is sorted by; turnover in the quote currency is all there is.
        min_value: VolumePairList: the turnover must be above it.
        max_value: VolumePairList: the turnover must be below it; PriceFilter: highest value of a step of the quantity.
        refresh_period: VolumePairList, RangeStabilityFilter, VolatilityFilter: seconds after which facts are asked for
            anew.
        lookback_days: daily candles that VolumePairList adds up instead of 24 hours, or that RangeStabilityFilter and
            VolatilityFilter look at.
        min_days_listed: AgeFilter: least age in days.
        max_days_listed: AgeFilter: highest age in days.
        stoploss: PrecisionFilter: distance of the stop that ticks must be fine enough for, in freqtrade's way (-0.05).
        low_price_ratio: PriceFilter: highest share of the price that a tick may be.
        min_price: PriceFilter: lowest price.
        max_price: PriceFilter: highest price.
        max_spread_ratio: SpreadFilter: how far the bid may be below the ask, as a fraction of it.
        min_rate_of_change: RangeStabilityFilter: least distance of the highest from the lowest price, as a fraction.
        max_rate_of_change: RangeStabilityFilter: greatest such distance.
        min_volatility: VolatilityFilter: least deviation of daily returns, scaled to the days.
        max_volatility: VolatilityFilter: greatest such deviation.
        sort_direction: RangeStabilityFilter, VolatilityFilter: sort by what they look at.
        minutes: PerformanceFilter: closed trades of so many minutes count; 0 for all.
        min_profit: PerformanceFilter: least profit as a fraction of what was staked.
        seed: ShuffleFilter: the same seed mixes in the same way.
        offset: OffsetFilter: how many symbols are left out at the beginning.
    """

    method: str
    number_assets: int | None = Field(None, ge=0, le=1_000)
    sort_key: Literal["quoteVolume"] | None = None
    min_value: float | None = Field(None, ge=0)
    max_value: float | None = Field(None, ge=0)
    refresh_period: int | None = Field(None, ge=60, le=604_800)
    lookback_days: int | None = Field(None, ge=0, le=365)
    min_days_listed: int | None = Field(None, ge=1, le=3_650)
    max_days_listed: int | None = Field(None, ge=1, le=3_650)
    stoploss: float | None = Field(None, gt=-1, lt=1)
    low_price_ratio: float | None = Field(None, ge=0)
    min_price: float | None = Field(None, ge=0)
    max_price: float | None = Field(None, ge=0)
    max_spread_ratio: float | None = Field(None, ge=0, le=1)
    min_rate_of_change: float | None = Field(None, ge=0)
    max_rate_of_change: float | None = Field(None, ge=0)
    min_volatility: float | None = Field(None, ge=0)
    max_volatility: float | None = Field(None, ge=0)
    sort_direction: Literal["asc", "desc"] | None = None
    minutes: int | None = Field(None, ge=0, le=5_256_000)
    min_profit: float | None = None
    seed: int | None = None
    offset: int | None = Field(None, ge=0, le=1_000)

    @property
    def given(self) -> dict[str, Any]:
        """What is written of it beside the method."""
        return self.model_dump(exclude={"method"}, exclude_none=True)

    @model_validator(mode="after")
    def _of_its_method(self) -> Pairlist:
        kind = METHODS.get(self.method)
        if kind is None:
            raise ValueError(f"method {self.method!r}: there are {', '.join(METHODS)}")
        keys = [one.name for one in dataclasses.fields(kind)]
        if wrong := sorted(self.given.keys() - set(keys)):
            allowed = f"allowed are {', '.join(keys)}" if keys else "it has none"
            raise ValueError(f"{self.method} has no {', '.join(wrong)}; {allowed}")
        if self.method == "VolumePairList" and not self.number_assets:
            raise ValueError("VolumePairList needs number_assets, such as 20")
        if self.method in {"RangeStabilityFilter", "VolatilityFilter"} and self.lookback_days == 0:
            raise ValueError(f"{self.method}: lookback_days 0; give 1 or more")
        if self.stoploss == 0:
            raise ValueError("PrecisionFilter: stoploss 0; give a distance such as -0.05")
        self._in_order()
        return self

    def _in_order(self) -> None:
        for low, high in (
            ("min_value", "max_value"), ("min_days_listed", "max_days_listed"), ("min_price", "max_price"),
            ("min_rate_of_change", "max_rate_of_change"), ("min_volatility", "max_volatility"),
        ):  # fmt: skip
            least, most = getattr(self, low), getattr(self, high)
            # freqtrade's 0 is no bound
            if least is not None and most and most < least:
                raise ValueError(f"{self.method}: {high} {most:g} is below {low} {least:g}")
