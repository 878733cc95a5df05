"""The bot's own objects, for notebooks and scripts, whether a bot runs or not.

from bootstrap.handles import Handles

with Handles() as bot:
    bot.storage.get_stats()
    bot.trade_tracker.get_statistics(days=30)["win_rate"]
    bot.phantom_tracker.get_phantom_stats()
    bot.ml_scorer("scalp").get_retrain_info()
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import settings as settings_module
from bootstrap import inspection, parts
from domain.errors import BadData

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from ml.phantom_tracker import PhantomTradeTracker
    from persistence.healing_candles import HealingCandleStorage
    from persistence.trades import TradeTrackerPostgres
    from settings import Settings


class Handles:
    """Storage, trades, phantoms and models as the configuration names them; each is opened when first asked for.

    What is stored is read. Only the candle storage writes, when it is told to; trades and phantoms are the running
    bot's to write.
    """

    def __init__(self, config: Path | None = None) -> None:
        """Open what ``config`` names, without it the bot's own configuration. Raises ConfigError."""
        self.settings = settings_module.load(config, trading=False)
        self._main = parts.database(self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close files and connections."""
        if "storage" in self.__dict__:
            self.storage.close()
        self._main.close()

    @cached_property
    def storage(self) -> HealingCandleStorage:
        """The candles of the configured source."""
        return parts.candle_storage(self.settings, self._main)

    @cached_property
    def trade_tracker(self) -> TradeTrackerPostgres:
        """The closed trades of the bot that ran here last. Raises Unavailable when the database is away."""
        tracker = parts.tracker(self.settings, self._main, None, parts.known_owner(self.settings))
        tracker.load()
        return tracker

    @property
    def phantom_tracker(self) -> PhantomTradeTracker:
        """The phantoms that the journal tells of, as of now."""
        return inspection.journaled_phantoms(self.settings)

    @property
    def ml_scorer(self) -> MLScorers:
        """How the strategies' models stand; ``ml_scorer("scalp")`` is that of one."""
        return MLScorers(self.settings)


class MLScorers:
    """What the strategies' models have learned; without settings those of the bot's own configuration."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings

    def __call__(self, strategy: str) -> MLScorer:
        """Return how one strategy is scored. Raises BadData when it is not enabled, ConfigError."""
        return MLScorer(self._known(), strategy)

    def get_retrain_info(self, strategy: str = "") -> dict[str, Any]:
        """Return how a strategy's model stands; without a name, that of the one which is trained next.

        That has its name as ``strategy``, and all of them as ``strategies``. Raises as ``MLScorer`` does.
        """
        if strategy:
            return self(strategy).get_retrain_info()
        told = _retrain_info(self._known())
        name = min(told, key=lambda one: told[one]["trades_until_next_retrain"])
        return {**told[name], "strategy": name, "strategies": told}

    def _known(self) -> Settings:
        return self._settings or settings_module.load(trading=False)


class MLScorer:
    """What a strategy's model has learned."""

    def __init__(self, settings: Settings, strategy: str) -> None:
        known = list(parts.plans(settings))
        if strategy not in known:
            raise BadData(f"no strategy {strategy!r} is enabled; there are {', '.join(known)}")
        self._settings, self._strategy = settings, strategy

    def get_retrain_info(self) -> dict[str, Any]:
        """Return whether the model can be trained, after how many more trades it is, and how it went last.

        Works inside a notebook too, whose event loop is running already. Raises Unavailable when the database is away.
        """
        found: dict[str, Any] = _retrain_info(self._settings)[self._strategy]
        return found


def _retrain_info(settings: Settings) -> dict[str, Any]:
    with ThreadPoolExecutor(1) as aside:
        return aside.submit(lambda: asyncio.run(inspection.learning(settings))).result()
