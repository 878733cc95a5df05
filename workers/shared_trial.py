"""One trial of a sweep, done for somebody on another machine: with the settings of who asked, on the same bars."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from app.backtest import Request
from app.sweep import Trial, attempt
from bootstrap.history import History
from settings import with_sections

if TYPE_CHECKING:
    from collections.abc import Mapping

    from settings import Settings


def work_off(
    settings: Settings, sections: Mapping[str, Any], request: dict[str, Any], values: dict[str, str], bars: str
) -> dict[str, Any]:
    """Try one combination for somebody who sees the bars that ``bars`` is the digest of; return the trial."""
    asked = msgspec.convert(request, Request)
    if seen(settings, asked) != bars:
        wrong = "this worker's store holds other bars than that of who asked; give both the same DATABASE_URL"
        return dict(msgspec.to_builtins(Trial(values, asked.span, error=wrong)))
    return dict(msgspec.to_builtins(attempt(with_sections(settings, sections), asked, values)))


def seen(settings: Settings, request: Request) -> str:
    """Return a digest of the times of all bars that are stored for a request."""
    held = hashlib.blake2s(digest_size=16)
    with History(settings) as history:
        for entry in history.candles.entries(request.source):
            if entry.series.symbol in request.symbols:
                held.update(repr(entry.series).encode())
                held.update(history.candles.times(request.source, entry.series, request.span).tobytes())
    return held.hexdigest()
