"""What an evaluation of a strategy on past bars has shown, and whether that is enough to risk money on."""

from __future__ import annotations

import msgspec

from domain.dates import AGO
from domain.source import Source

SIGNALS_MIN = 300
"""Fewer signals followed to their end prove nothing."""
YEARS_MIN = 2
SPAN_MIN_MS = YEARS_MIN * AGO["y"]
"""A shorter time proves nothing: it may have been one kind of market only."""


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one backtest has found for one strategy.

    Attributes:
        strategy: its name.
        code_hash: of the strategy's source and what it imports of ours or of its own folder.
        terms_hash: of its parameters, its exits, and the costs that it was reckoned with.
        bars_hash: of every bar that the backtest read.
        source: whose bars.
        symbols: on which of them it was tried.
        beside: the other strategies of the backtest, with which it shared symbols and money.
        since, until: the time (UTC ms).
        signals: how many were followed to their end: closed trades.
        mean_r: their mean result in R after costs.
        low, high: its 95 % block-bootstrap interval, None where there are too few weeks for one.
        proven: whether that is enough for real money.
        reason: why, or why not.
        made_at: when the backtest was done (UTC ms).
    """

    strategy: str
    code_hash: str
    terms_hash: str
    bars_hash: str
    source: Source
    symbols: tuple[str, ...]
    beside: tuple[str, ...]
    since: int
    until: int
    signals: int
    mean_r: float
    low: float | None
    high: float | None
    proven: bool
    reason: str
    made_at: int

    def fits(self, code_hash: str, terms_hash: str) -> bool:
        """Return whether it was made with this very code, parameters, exits and costs."""
        return (self.code_hash, self.terms_hash) == (code_hash, terms_hash)


def doubt(low: float | None, signals: int, span_ms: int, *, real: bool, liquidated: bool) -> str:
    """Return why a result is not enough for real money, "" when it is.

    ``low`` is the lower end of the interval of the mean R; ``real`` says whether the bars are a real market's.
    """
    if not real:
        return "its bars are no real market's"
    if liquidated:
        return "it used up all its money"
    if signals < SIGNALS_MIN:
        return f"{signals} signals, and {SIGNALS_MIN} are needed"
    if span_ms < SPAN_MIN_MS:
        return f"{span_ms / AGO['y']:.1f} years, and {YEARS_MIN} are needed"
    if low is None:
        return "its signals are from too few weeks to tell its mean R from chance"
    return "" if low > 0 else f"the interval of its mean R begins at {low:+.3f}, not above zero"
