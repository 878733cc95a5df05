"""Tasks are started again when they fall, and whoever keeps falling is named."""

from __future__ import annotations

import asyncio

import pytest

from engine import readiness
from engine.tasks import FAILING_AFTER, WINDOW_S, Tasks
from tests.torture.virtual import run_virtually
from tests.unit.test_readiness import world


def falling(times, every_s, vital):
    """Return what is said of a task at the beginning of each of its runs, and when its last fall is long past."""

    async def live(_):
        said = []
        async with Tasks() as tasks:

            async def work():
                said.append(tasks.failing())
                await asyncio.sleep(every_s)
                if len(said) > times:
                    await asyncio.Event().wait()
                raise ValueError("a signal that nobody can weigh")

            tasks.start("events", work, vital=vital)
            await asyncio.sleep(times * (every_s + 10.5) + WINDOW_S)
            return [*said, tasks.failing()]

    return run_virtually(live)


@pytest.mark.parametrize("every_s", [0.1, 180.0])
def test_a_task_that_falls_again_is_named_until_it_has_stood_for_a_while(every_s):
    """Found by a signal every three minutes that killed the task which handles them: the bot said that it was ready."""
    never, once, twice, after = falling(FAILING_AFTER, every_s, vital=True)
    assert (never, once, after) == ([], [], [])
    (word,) = twice
    assert word == "the task events keeps failing (ValueError('a signal that nobody can weigh'))"
    held, progress = world()
    progress.failing = lambda: twice
    assert readiness.reasons(held, progress) == twice


def test_what_is_not_vital_keeps_nobody_from_trading():
    assert falling(3, 0.1, vital=False) == [[]] * 5
