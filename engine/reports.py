"""Tells people what happens: one line per event, and a summary now and then."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import structlog

from domain import ids
from domain.durations import DAY_MS
from domain.order import Cause
from domain.trade import ZERO, Trade
from engine.commands import AdjustRefused, PlaceOrder, Refused, SwitchedOff
from engine.delivery import Nearing
from engine.published import Entered, PartlyTaken

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from engine.position import Position
    from engine.runtime import Runtime
    from engine.trader import Trader
    from engine.writer import CandleWriter

log = structlog.get_logger(__name__)


class Reporter:
    """Takes what the runtime tells, logs it in words, and passes it on to ``listeners``."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.listeners: list[Callable[[str, object], None]] = []
        self._since = 0

    def told(self, kind: str, what: object) -> None:
        """Take one event."""
        self.counts[kind] += 1
        for listener in self.listeners:
            try:
                listener(kind, what)
            except Exception:
                # whatever a listener makes of an event, trading goes on
                log.exception("an event could not be passed on", kind=kind)
        if kind == "batch" and isinstance(what, list):
            self.counts["bars"] += len(what)
        elif isinstance(what, PlaceOrder) and what.intent.opening is not None:
            opening = what.intent.opening
            log.info(
                "signal taken", symbol=what.intent.symbol, strategy=opening.strategy, side=opening.side.value,
                qty=str(what.intent.qty), entry=str(opening.entry), stop=str(opening.stop), target=str(opening.target),
                trade=what.intent.order_id[3:27],
            )  # fmt: skip
        elif isinstance(what, Refused):
            log.info(
                "signal refused", symbol=what.signal.symbol, strategy=what.signal.strategy,
                side=what.signal.side.value, gate=what.gate, reason=what.detail,
            )  # fmt: skip
        elif isinstance(what, Trade):
            told = "trade amended" if what.version else "trade closed"
            log.info(
                told, symbol=what.symbol, strategy=what.strategy_name, side=what.side,
                pnl=f"{what.pnl_usd:+.2f}", r=f"{what.r_multiple:+.2f}", reason=what.exit_reason, trade=what.trade_id,
            )  # fmt: skip
        elif isinstance(what, Nearing):
            log.warning(
                "the contract of a position is delisted soon", symbol=what.symbol, time=what.time,
                trade=ids.trade_id(what.digest), closing=what.closing, way_out="trading.before_delivery",
            )  # fmt: skip
        else:
            self._rest(kind, what)

    def _rest(self, kind: str, what: object) -> None:
        if isinstance(what, SwitchedOff):
            log.error(
                "strategy switched off: its positions keep their stops and are managed on", strategy=what.strategy,
                symbol=what.symbol, reason=what.reason, way_out="mend it and start again; manage.py strategies check",
            )  # fmt: skip
        elif isinstance(what, AdjustRefused):
            log.warning(
                "a strategy may not do that to its position: refused, and counted from now on", strategy=what.strategy,
                symbol=what.symbol, reason=what.reason, way_out="mend its manage; manage.py strategies check",
            )  # fmt: skip
        elif kind == "fill":
            self._fill(what)
        elif isinstance(what, Entered | PartlyTaken):
            cause = Cause.ENTRY if isinstance(what, Entered) else Cause.PARTIAL
            log.info("filled", symbol=what.symbol, qty=str(what.qty), price=str(round(what.price, 8).normalize()),
                     fee=f"{what.fee:.4f}", cause=cause.value)  # fmt: skip

    async def summarise(self, runtime: Runtime, trader: Trader, writer: CandleWriter, every_s: float) -> None:
        """Log a summary line regularly until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            figures = snapshot(runtime, trader, writer)
            log.info("running", **{name: figures[name] for name in SUMMARY}, new_bars=self.counts["bars"] - self._since)
            self._since = self.counts["bars"]

    def _fill(self, fill: Any) -> None:
        # many executions make an entry or an exit: those are summed up once they are complete
        tell = log.info if fill.cause is Cause.FUNDING else log.debug
        tell(
            "filled", symbol=fill.symbol, side=fill.side.value, qty=str(fill.qty), price=str(fill.price),
            fee=f"{fill.fee:.4f}", cause=fill.cause.value,
        )  # fmt: skip


SUMMARY = ("bars", "signals", "taken", "open", "closed", "equity", "day_pnl", "candles_waiting")


def equity_now(trader: Trader) -> Decimal:
    """Return the equity that the exchange told last, with what prices, fees and exits have made of it since."""
    seen = trader.situation
    day, counted = seen.counted_pnl
    return seen.equity + trader.day_pnl() - counted if day == seen.market_time // DAY_MS else seen.equity


def pulse(runtime: Runtime, trader: Trader, writer: CandleWriter) -> dict[str, Any]:
    """Return the bot's figures of the moment, as far as they can be had every second."""
    positions = trader.book.positions()
    return {
        "ready": not runtime.reasons(),
        "reasons": runtime.reasons(),
        "notes": runtime.notes(),
        "market_time": trader.situation.market_time,
        "bars": trader.counts["bars"],
        "signals": trader.counts["signals"],
        "taken": trader.counts["taken"],
        "opened": trader.counts["opened"],
        "closed": trader.counts["closed"],
        "open": sum(not held.pending for held in positions),
        "pending": sum(held.pending for held in positions),
        "equity": f"{equity_now(trader):.2f}",
        "open_pnl": f"{trader.open_pnl():+.2f}",
        "day_pnl": f"{trader.day_pnl():+.2f}",
        "switch": trader.situation.switch.value,
        "touched": {name[6:]: n for name, n in sorted(trader.counts.items()) if name.startswith("touch:")},
        "stops_refused": trader.counts["stops_refused"],
        "refused": {name[5:]: n for name, n in sorted(trader.counts.items()) if name.startswith("gate:")},
        "unmatched_fills": trader.book.unmatched,
        "late_funding": trader.book.late_funding,
        **runtime.report(),
        "candles_saved": writer.counters.saved,
        "candles_waiting": writer.pending,
        "candle_failures": writer.counters.failures,
        "recovery_s": round(runtime.progress.recovery_s, 3),
        "records_read": runtime.progress.records,
        "candles_loaded": runtime.progress.stored,
        "candles_fetched": runtime.progress.fetched,
        "missed_signals": runtime.progress.missed_signals,
        "daily_loss_reached": trader.daily_loss_reached(),
        "loop_lag_p99_ms": runtime.progress.lag.quantile_ms(0.99),
        "loop_lag_max_ms": round(runtime.progress.lag.max_ms, 1),
        "add_trade_ms": runtime.progress.recording.report(),
        "positions": [
            position_row(held, trader.situation.prices.get(held.symbol, held.entry_price)) for held in positions
        ],
    }  # fmt: skip


def snapshot(runtime: Runtime, trader: Trader, writer: CandleWriter) -> dict[str, Any]:
    """Return the bot's figures of the moment, with what became of signals."""
    phantoms = {name: value for name, value in runtime.phantoms.report().items() if not isinstance(value, dict)}
    return {**pulse(runtime, trader, writer), "phantoms": phantoms}


def position_row(held: Position, price: Decimal) -> dict[str, Any]:
    """Return what people want to know of a position; ``price`` is the last price of its symbol."""
    entry, risk = held.entry_price, held.bracket.risk
    pnl = ZERO if held.pending else held.realised() + held.unrealised(price)
    size = held.opened or held.requested
    return {
        "id": held.digest, "trade_id": ids.trade_id(held.digest), "symbol": held.symbol,
        "side": held.opening.side.value, "strategy": held.opening.strategy, "timeframe": held.opening.timeframe,
        "qty": str(held.qty), "requested": str(held.requested), "entry": str(entry), "price": str(price),
        "stop": str(held.bracket.stop), "first_stop": str(held.bracket.first_stop),
        "target": str(held.bracket.target), "leverage": str(held.leverage), "score": held.opening.score,
        "pending": held.pending, "opened_at": held.bracket.opened_at, "pnl": str(round(pnl, 4)),
        "r": f"{pnl / (risk * size):.2f}" if risk and size else "0.00",
        "percent": f"{pnl / (entry * size) * 100:.2f}" if entry and size else "0.00",
        "partial_taken": held.partial_taken,
    }  # fmt: skip
