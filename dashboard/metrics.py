"""Metrics for Prometheus. What is counted elsewhere is read when it is asked for; nothing is kept twice."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from fastapi import APIRouter, Depends, Request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.responses import Response

from dashboard.services import REFUSALS, may_read
from domain.errors import RevenantError
from domain.records import OrderEnded
from domain.schedule import Judged
from engine.commands import PlaceOrder, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from dashboard.port import Desk, Stored
    from dashboard.stream import Hub

log = structlog.get_logger(__name__)

router = APIRouter(tags=["metrics"], dependencies=[Depends(may_read)], responses=REFUSALS)

FRESH_S = 60.0
SCORES = tuple(float(edge) for edge in range(10, 100, 10))
Rows = list[tuple[tuple[str, ...], float]]


class Measure(NamedTuple):
    """A metric that is read when asked for: its labels, and how to read its values from what is known."""

    name: str
    about: str
    labels: tuple[str, ...]
    read: Callable[[Known], Iterable[tuple[tuple[str, ...], float]]]
    counts: bool = False


class Known(NamedTuple):
    """What metrics are read from: figures of the moment, and what was stored a minute ago at most."""

    pulse: Mapping[str, Any]
    stored: Mapping[str, Any]
    phantoms: Mapping[str, Any]
    models: Mapping[str, Any]
    pages: int


def _one(value: object) -> Rows:
    return [] if value is None else [((), float(value))]  # type: ignore[arg-type]


def _each(values: Mapping[str, Any]) -> Rows:
    return [((name,), float(value)) for name, value in values.items() if isinstance(value, int | float)]


def _quantiles(values: Mapping[str, float], scale: float = 1.0) -> Rows:
    words = {"p50": "0.5", "p99": "0.99", "max": "1"}
    return [((words[name],), float(value) * scale) for name, value in values.items() if name in words]


def _tiers(known: Known, read: Callable[[Mapping[str, Any]], float]) -> Rows:
    return [((name,), read(state)) for name, state in known.pulse["tiers"].items()]


def _by(rows: Iterable[Mapping[str, Any]], labels: tuple[str, ...], value: str) -> Rows:
    return [(tuple(str(row[label]) for label in labels), float(row[value])) for row in rows]


def _workers(cluster: Mapping[str, Any] | None) -> Rows:
    if not cluster:
        return []
    lost = sum(one["lost"] for one in cluster["workers"])
    return [(("alive",), float(len(cluster["workers"]) - lost)), (("lost",), float(lost))]


def _beat(cluster: Mapping[str, Any] | None, name: str) -> Rows:
    return _one(cluster["beat"][name]) if cluster and cluster["beat"] else []


MEASURES = (
    Measure("ready", "1 while an entry could be made now.", (), lambda k: _one(k.pulse["ready"])),
    Measure("trading", "1 for the state of the switch.", ("state",),
            lambda k: [((name,), float(k.pulse["switch"] == name)) for name in ("running", "paused", "stopped")]),
    Measure("equity", "Equity in quote units.", (), lambda k: _one(k.pulse["equity"])),
    Measure("open_pnl", "Profit of open positions in quote units.", (), lambda k: _one(k.pulse["open_pnl"])),
    Measure("day_pnl", "Profit of the UTC day in quote units, open positions included.", (),
            lambda k: _one(k.pulse["day_pnl"])),
    Measure("open_positions", "Open positions.", (), lambda k: _one(k.pulse["open"])),
    Measure("market_time_seconds", "Newest time that the market has told, since 1970.", (),
            lambda k: _one(k.pulse["market_time"] / 1000)),
    Measure("key_days", "Days until the exchange's API key ends; absent while it does not end or nobody knows.", (),
            lambda k: [] if k.pulse.get("key_days") is None else _one(k.pulse["key_days"])),
    Measure("feed_age_seconds", "Time since a stream was heard last.", ("symbol", "timeframe"),
            lambda k: [((symbol, timeframe), age) for symbol, timeframe, age in k.pulse["feed_ages"]]),
    Measure("feed_connected", "1 while every socket is open and every topic acknowledged.", (),
            lambda k: _one(k.pulse["connected"])),
    Measure("feed_stale", "Streams that have been silent for too long.", (), lambda k: _one(len(k.pulse["stale"]))),
    Measure("private_stream_connected", "1 while the stream of executions, orders and positions is open.", (),
            lambda k: _one(k.pulse["private_stream"]["connected"])),
    Measure("private_stream_reconnects", "Times that the private stream was opened anew.", (),
            lambda k: _one(max(0, k.pulse["private_stream"]["connects"] - 1)), counts=True),
    Measure("private_stream_failures", "Times that the private stream was lost or could not be opened.", (),
            lambda k: _one(k.pulse["private_stream"]["failures"]), counts=True),
    Measure("feed_events", "What the feed went through: frames, connects, failures, holes and more.", ("event",),
            lambda k: _each(k.pulse.get("feed", {})), counts=True),
    Measure("bars", "What became of the bars that came in.", ("event",), lambda k: _each(k.pulse.get("frames", {})),
            counts=True),
    Measure("candles_saved", "Candles saved.", (), lambda k: _one(k.pulse["candles_saved"]), counts=True),
    Measure("candle_saves_failed", "Batches of candles that could not be saved at once.", (),
            lambda k: _one(k.pulse["candle_failures"]), counts=True),
    Measure("candles_waiting", "Candles that wait to be saved.", (), lambda k: _one(k.pulse["candles_waiting"])),
    Measure("tier_up", "1 while a tier takes what is written to it.", ("tier",),
            lambda k: _tiers(k, lambda one: float(one["state"] == "ok"))),
    Measure("tier_waiting", "Records that wait for a tier.", ("tier",),
            lambda k: _tiers(k, lambda one: float(one["waiting"]))),
    Measure("tier_oldest_seconds", "How long the oldest record has been waiting for a tier.", ("tier",),
            lambda k: _tiers(k, lambda one: float(one["oldest_s"]))),
    Measure("journal_up", "1 while the journal is written to its own disk.", (),
            lambda k: _one(k.pulse["ledger"]["state"] == "ok")),
    Measure("durable", "1 while at least one durable place takes records.", (), lambda k: _one(k.pulse["durable"])),
    Measure("unsettled_trades", "Trades that are not in the database yet.", (), lambda k: _one(k.pulse["unsettled"])),
    Measure("write_seconds", "How long calls on a tier's thread took, waiting included.", ("tier", "quantile"),
            lambda k: [((name, *labels), value) for name, took in k.pulse["threads"].items()
                       for labels, value in _quantiles(took, 0.001)]),
    Measure("add_trade_seconds", "From a finished trade to its record being kept.", ("quantile",),
            lambda k: _quantiles(k.pulse["add_trade_ms"], 0.001)),
    Measure("loop_lag_seconds", "How late the event loop is: p99 of the last minute, the most since the recovery.",
            ("quantile",),
            lambda k: _quantiles({"p99": k.pulse["loop_lag_p99_ms"], "max": k.pulse["loop_lag_max_ms"]}, 0.001)),
    Measure("bar_to_order_seconds", "From a closed bar to the order on the wire.", ("quantile",),
            lambda k: _quantiles(k.pulse["bar_to_order_ms"], 0.001)),
    Measure("orders_placed", "Orders that were taken.", (), lambda k: _one(k.pulse["orders_placed"]), counts=True),
    Measure("orders_unknown", "Orders whose outcome had to be looked up.", (),
            lambda k: _one(k.pulse["unknown_orders"]), counts=True),
    Measure("naked_seconds", "How long positions were without a stop on the exchange.", ("quantile",),
            lambda k: _quantiles(k.pulse["naked_seconds"])),
    Measure("naked_positions", "Positions without a stop on the exchange now.", (),
            lambda k: _one(len(k.pulse["naked"]))),
    Measure("foreign_positions", "Positions on the account that are not the bot's.", (),
            lambda k: _one(len(k.pulse["foreign_positions"]))),
    Measure("signals", "Signals found.", (), lambda k: _one(k.pulse["signals"]), counts=True),
    Measure("touches", "What other hands have done to the bot's positions.", ("touch",),
            lambda k: _each(k.pulse["touched"]), counts=True),
    Measure("second_sender", "1 while another instance that the database does not know of sends orders too.", (),
            lambda k: _one(bool(k.pulse["second_sender"]["reason"]))),
    Measure("stops_refused", "Positions of which the exchange refused to move the stop.", (),
            lambda k: _one(k.pulse["stops_refused"]), counts=True),
    Measure("signals_refused", "Signals refused.", ("gate",), lambda k: _each(k.pulse["refused"]), counts=True),
    Measure("trades_closed", "Trades closed since the start.", (), lambda k: _one(k.pulse["closed"]), counts=True),
    Measure("exchange_requests", "Requests to the exchange: sent, repeated, and failed by kind.", ("result",),
            lambda k: _each(k.pulse["requests"]), counts=True),
    Measure("phantoms", "Phantoms that are kept, by what became of them.", ("outcome",),
            lambda k: [(("open",), float(k.phantoms["active"])), *_each(k.phantoms["outcomes"])]),
    Measure("gate_cost_r", "What a gate's refusals would have made, in R: above zero it cost.", ("gate",),
            lambda k: [((name,), told["opportunity_cost_r"]) for name, told in k.phantoms["gates"].items()]),
    Measure("model_in_use", "1 while a strategy's signals are judged by a model.", ("strategy",),
            lambda k: [((name,), float(told["is_ml_ready"])) for name, told in k.models.items()]),
    Measure("lessons", "Signals that a strategy's model can learn from.", ("strategy",),
            lambda k: [((name,), float(told["completed"])) for name, told in k.models.items()]),
    Measure("training_runs", "Training runs that are kept, by how they ended.", ("strategy", "verdict"),
            lambda k: _by(k.stored.get("verdicts", ()), ("strategy", "verdict"), "runs")),
    Measure("stored_bars", "Bars in the database.", ("source", "timeframe"),
            lambda k: _by(k.stored.get("coverage", ()), ("source", "timeframe"), "bars")),
    Measure("missing_bars", "Bars that lack between the first and last stored one of their series.",
            ("source", "timeframe"), lambda k: _by(k.stored.get("coverage", ()), ("source", "timeframe"), "missing")),
    Measure("coverage_ratio", "Share of bars that are there between the first and last of their series.",
            ("source", "timeframe"), lambda k: _by(k.stored.get("coverage", ()), ("source", "timeframe"), "ratio")),
    Measure("database_bytes", "Size of the database.", (), lambda k: _one(k.stored.get("bytes"))),
    Measure("job_failures", "Times in a row that a regular job failed.", ("job",),
            lambda k: _by(k.stored.get("jobs", ()), ("job",), "failures")),
    Measure("job_lost", "1 for a job that was not done in its time when it ran last.", ("job",),
            lambda k: _by(k.stored.get("jobs", ()), ("job",), "lost")),
    Measure("workers", "Celery workers that were seen in a day, by whether they still are.", ("state",),
            lambda k: _workers(k.stored.get("cluster"))),
    Measure("beat_age_seconds", "Time since Celery's beat was seen; absent when none was in a day.", (),
            lambda k: _beat(k.stored.get("cluster"), "seen_s")),
    Measure("beat_drift_seconds", "How far the clock of Celery's beat is ahead.", (),
            lambda k: _beat(k.stored.get("cluster"), "drift_s")),
    Measure("queued_tasks", "Tasks that wait in Redis for Celery workers.", (),
            lambda k: _one((k.stored.get("cluster") or {}).get("tasks"))),
    Measure("job_parts", "Parts of jobs that wait for a worker, and that one is doing.", ("state",),
            lambda k: [((name,), float(k.stored["cluster"][name])) for name in ("waiting", "running")]
            if k.stored.get("cluster") else []),
    Measure("oldest_part_seconds", "How long the oldest waiting part of a job has waited.", (),
            lambda k: _one((k.stored.get("cluster") or {}).get("oldest_s"))),
    Measure("source_syncs", "Times in 30 days that a source was asked for history, by how it ended.",
            ("source", "status"), lambda k: _by(k.stored.get("syncs", ()), ("source", "status"), "times")),
    Measure("stored_age_seconds", "Age of what is told of the database.", (), lambda k: _one(k.stored.get("age_s"))),
    Measure("telegram_waiting", "Notices that wait for Telegram.", (),
            lambda k: _one(k.pulse["telegram"].get("notices_waiting", 0))),
    Measure("pages", "Pages that listen.", (), lambda k: _one(k.pages)),
)  # fmt: skip


class Exposed(Collector):
    """Everything that is measured.

    ``summary`` condenses what is stored, for ``fresh``, which asks for it every minute.
    """

    def __init__(self, desk: Desk, stored: Stored, hub: Hub) -> None:
        self._desk, self._stored, self._hub = desk, stored, hub
        self._summary: dict[str, Any] = {}
        self._at = 0.0
        self.registry = CollectorRegistry()
        self.scores = Histogram(
            "revenant_signal_score", "Scores of signals, 100 times the probability of a gain.", ("strategy",),
            buckets=SCORES, registry=self.registry,
        )  # fmt: skip
        self.ended = Counter(
            "revenant_orders_ended",
            "Orders that fill no further, by how they ended.",
            ("state",),
            registry=self.registry,
        )
        self.alerts = Gauge(
            "revenant_history_alerts", "Stored series that the last judgement found incomplete or not kept up to date.",
            registry=self.registry,
        )  # fmt: skip
        ProcessCollector(namespace="revenant", registry=self.registry)
        self.registry.register(self)

    def told(self, _: str, what: object) -> None:
        """Take an event of the engine."""
        if isinstance(what, Judged):
            self.alerts.set(len(what.alerts))
        elif isinstance(what, OrderEnded):
            self.ended.labels(what.state.value).inc()
        elif isinstance(what, PlaceOrder | Refused) and what.signal is not None and what.judged.score is not None:
            self.scores.labels(what.signal.strategy).observe(what.judged.score)

    async def keep_fresh(self) -> None:
        """Ask every minute what is stored, until cancelled."""
        while True:
            try:
                self._summary, self._at = await self._stored.summary(), time.monotonic()
            except RevenantError as error:
                log.debug("what is stored cannot be told now", reason=str(error))
            await asyncio.sleep(FRESH_S)

    def describe(self) -> Iterator[Metric]:
        """Return the metrics without their values."""
        for measure in MEASURES:
            yield _family(measure)

    def collect(self) -> Iterator[Metric]:
        """Return the metrics with their values now."""
        stored = {**self._summary, "age_s": time.monotonic() - self._at} if self._summary else {}
        known = Known(
            self._desk.pulse(), stored, self._desk.phantom_stats(), self._desk.ml_stats(), self._hub.pages
        )  # fmt: skip
        for measure in MEASURES:
            family = _family(measure)
            for labels, value in measure.read(known):
                family.add_metric(labels, value)
            yield family


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Return every metric in Prometheus' text format."""
    exposed: Exposed = request.app.state.exposed
    return Response(generate_latest(exposed.registry), media_type="text/plain; version=0.0.4; charset=utf-8")


def _family(measure: Measure) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if measure.counts else GaugeMetricFamily
    return kind(f"revenant_{measure.name}", measure.about, labels=measure.labels)
