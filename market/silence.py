"""Whether a stream without frames is a quiet market or a dead topic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from domain.candle import Bars

ASK_SHARE = (0.5, 0.7)
"""When REST is asked, as a share of the time after which a stream counts as silent; drawn anew each time, so that
hundreds of quiet markets are not asked about at once."""

AGAIN_SHARE = 0.15
"""The same after an answer from which nothing could be concluded."""


class Evidence(Enum):
    """What a REST answer shows about a stream that has told nothing meanwhile."""

    QUIET = "nothing newer was traded"
    TRADED = "there were trades that the stream did not tell"
    NONE = "nothing can be concluded"


@dataclass(slots=True)
class Silence:
    """What is known of the life of one stream; times are seconds of a monotonic clock, 0 for never.

    An exchange may send a kline frame only when something is traded, so that a market may be silent for an hour with
    nothing wrong. A REST answer decides: its newest bars either hold nothing that the stream has not told, or they do.

    Attributes:
        heard: the last frame, or before the first one the moment in which the exchange agreed to send them.
        proven: the last REST answer that showed nothing newer.
        asked: the last question.
        strikes: answers in a row that showed trades which the stream had not told.
        shown: start, close and volume of the newest bar of the last answer, as long as no frame has come since.
    """

    heard: float = 0.0
    proven: float = 0.0
    asked: float = 0.0
    strikes: int = 0
    shown: tuple[int, float, float] | None = None

    def hear(self, now: float) -> None:
        """Take note of a frame."""
        self.heard, self.strikes, self.shown = now, 0, None

    def lasts(self, now: float) -> float:
        """Return for how many seconds nothing has shown that the stream misses nothing."""
        known = max(self.heard, self.proven)
        return now - known if known else math.inf

    def due(self, now: float, after_s: float) -> bool:
        """Return whether REST has to be asked, ``after_s`` seconds after the last sign of life or question."""
        return now - max(self.heard, self.proven, self.asked) > after_s

    def judge(self, newest: Bars, told: tuple[int, float] | None, now: float) -> Evidence:
        """Take the newest bars that REST has, the unfinished one included, and say what they show.

        ``told`` are start and close of the newest bar that the stream has told, None before its first frame.
        """
        evidence = self._weigh(newest, told)
        if len(newest):
            self.shown = (int(newest.open_time[-1]), float(newest.close[-1]), float(newest.volume[-1]))
        if evidence is Evidence.QUIET:
            self.proven, self.strikes = now, 0
        return evidence

    def _weigh(self, newest: Bars, told: tuple[int, float] | None) -> Evidence:
        before = self.shown
        known = told or (before[:2] if before is not None else None)
        if known is None or not len(newest) or newest.open_time[-1] < known[0]:
            return Evidence.NONE
        later = newest.open_time > known[0]
        # a bar without a trade repeats the close before it, so that the newest close stands for all in between
        if newest.close[-1] != known[1] or newest.volume[later].any():
            return Evidence.TRADED
        if before is not None and newest.open_time[-1] == before[0] and newest.volume[-1] > before[2]:
            return Evidence.TRADED
        return Evidence.QUIET
