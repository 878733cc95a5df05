"""The trading rules of a backtest: as they were reported where that is known, else as they follow the price."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bootstrap.parts import known_rules
from domain.assumed_rules import DIGITS, following, reported_or
from domain.candle import timeframe_ms
from persistence.rules import RulesArchive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.candle import Bars, Series
    from domain.coverage import Span
    from domain.rule_history import RuleHistory
    from domain.source import Source
    from persistence.rules import Dated
    from settings import Settings


def reported_rules(settings: Settings, source: Source) -> dict[str, Dated]:
    """Return the dated rules that a source has reported here; those that a bot was told of last have no date.

    Raises:
        ConfigError: when what is kept cannot be read.
    """
    told = {symbol: [(0, rules)] for symbol, rules in known_rules(settings, source).items() if not rules.assumed}
    return told if source.made_up else told | RulesArchive(settings.data_dir, source).load()


def funding_told(settings: Settings, source: Source) -> dict[str, list[tuple[int, int]]]:
    """Return since when (UTC ms) each perpetual's funding interval (ms) is what the source said, by symbol.

    Rules without a date say nothing of the past, but where a market is made up and never changes them.

    Raises:
        ConfigError: when what is kept cannot be read.
    """
    dated = {
        symbol: [(since, rules.funding_interval_ms) for since, rules in held if since or source.made_up]
        for symbol, held in reported_rules(settings, source).items()
    }  # fmt: skip
    return {symbol: told for symbol, told in dated.items() if told}


def rules_of(
    settings: Settings, source: Source, bars: Mapping[Series, Bars], span: Span
) -> tuple[dict[str, RuleHistory], list[str]]:
    """Return the rules of each series' symbol over a span, and what should be known of them.

    Raises:
        ConfigError: when what is kept of rules cannot be read.
    """
    reported, found, notes = reported_rules(settings, source), {}, dict[str, list[str]]()
    for series, held in bars.items():
        symbol, dated = series.symbol, reported.get(series.symbol, [])
        found[symbol] = reported_or(following(symbol, held, timeframe_ms(series.timeframe)), dated)
        notes.setdefault(_note(found[symbol], dated, span), []).append(symbol)
    return found, [f"trading rules of {', '.join(names)} {said}" for said, names in notes.items() if said]


def _note(used: RuleHistory, dated: Dated, span: Span) -> str:
    """Return where rules come from, "" when they are those that were in force."""
    assumed = f"follow the price ({DIGITS} significant digits)"
    if not dated:
        return f"{assumed}: none are stored; data rules fetches them"
    reported = [rules for _, rules in dated]
    there = [used.at(span.start), *(used.at(at) for at in used.starts if span.start < at < span.end)]
    fitting = sum(one in reported for one in there)
    if not fitting:
        return f"{assumed}: those that are stored do not fit it"
    said = []
    if dated[0][0] > span.start:
        said.append(f"are those of {np.datetime64(dated[0][0], 'ms').astype('datetime64[D]')}, for earlier times too")
    if fitting < len(there):
        said.append(f"{'and ' if said else ''}{assumed} where those that are stored do not fit it")
    return " ".join(said) or "are those that were in force"
