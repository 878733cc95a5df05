"""A bot for one test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bot import Bot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def make_bot(tmp_path) -> Iterator[Callable[..., Bot]]:
    """Makes bots on folders of their own, and ends them."""
    made: list[Bot] = []

    def make(name: str = "bot", **settings: str) -> Bot:
        made.append(Bot(tmp_path / name, **settings))
        return made[-1]

    yield make
    for bot in made:
        bot.close()
