"""How far a bot and a backtest can be compared."""

from __future__ import annotations

import pytest

from app import parity
from bootstrap.parts import database
from domain.candle import Bar, Bars, Series
from domain.records import Switch, SwitchState
from domain.source import Source
from persistence.candles import PostgresCandleStorage
from settings import Settings

STEP, SYMBOLS = 180_000, ("A/USDT:USDT", "B/USDT:USDT")


@pytest.mark.parametrize(
    ("told", "end"),
    [
        (9 * STEP, 9 * STEP),
        (10 * STEP, 10 * STEP),
        (10 * STEP + 1, 10 * STEP),
        # more than one bar that nobody has: that is a hole, and is not passed over
        (11 * STEP + 1, 11 * STEP),
    ],
)
def test_the_comparison_ends_with_the_last_bar_that_the_bot_lived_to_see_the_end_of(tmp_path, told, end):
    settings = Settings(data_dir=tmp_path)
    main = database(settings)
    bars = Bars.of([Bar(n * STEP, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0) for n in range(10)])
    PostgresCandleStorage(main, Source(settings.source)).merge({Series(one, "3m"): bars for one in SYMBOLS})
    main.close()
    records = [Switch(time=time, state=SwitchState.RUNNING, reason="") for time in (STEP, told)]
    assert parity._end(settings, records, STEP) == end
