"""Every metric moves with the figure that it tells of; none is written down, and none can be added without that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dashboard import metrics
from domain.judgement import Judgement
from domain.order import OrderState, Side
from domain.records import OrderEnded
from domain.schedule import Judged
from domain.signal import Signal
from engine.commands import Refused
from tests.page_desk import Served

OTHER = {"ok": "down", "running": "paused", "paused": "running"}


def moved(value: Any) -> Any:
    """Return a figure of the same kind that is another."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 7
    if isinstance(value, dict):
        return {key: moved(one) for key, one in value.items()} or {"X": 7}
    if isinstance(value, list):
        return [moved(one) for one in value] or ["X"]
    if isinstance(value, tuple):
        return tuple(moved(one) for one in value)
    if value == "":
        return "X"
    if isinstance(value, str) and value in OTHER:
        return OTHER[value]
    try:
        return str(float(value) + 7)
    except (TypeError, ValueError):
        return value


def told(served: Served) -> dict[str, list[tuple[Any, float]]]:
    families = text_string_to_metric_families(generate_latest(served.exposed.registry).decode())
    return {one.name: [(sample.name, sorted(sample.labels.items()), sample.value) for sample in one.samples
                       if not sample.name.endswith("_created")] for one in families}  # fmt: skip


@pytest.fixture
async def both() -> tuple[dict, dict]:
    """What is told of one bot before and after everything about it has become another."""
    served = Served()
    desk, hub, exposed = served.desk, served.hub, served.exposed
    summing = asyncio.create_task(exposed.keep_fresh())
    await asyncio.sleep(0)
    summing.cancel()
    before = told(served)
    for name in ("pulse", "phantom_stats", "ml_stats"):
        value = moved(getattr(desk, name)())
        setattr(desk, name, lambda *_, value=value: value)
    exposed._summary = moved(exposed._summary)
    exposed._at -= 100
    await hub.listen()
    exposed.told("", OrderEnded(1, "a", "A/USDT:USDT", OrderState.FILLED))
    exposed.told("judged", Judged("quality", ("bybit A 1h: poor",)))
    signal = Signal("scalp", "A/USDT:USDT", "3m", 0, 180_000, Side.LONG, 100, 99, 102)
    exposed.told("", Refused(signal, "score", "", Judgement("score", 41.0, None, "model", "")))
    return before, told(served)


async def test_every_metric_moves(both):
    before, after = both
    ours = {name for name in after if not name.startswith("revenant_process")}
    assert {f"revenant_{measure.name}" for measure in metrics.MEASURES} < ours
    still = sorted(name for name in ours if before.get(name) == after[name])
    assert still == []
