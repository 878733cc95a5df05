"""A desk that answers from a made-up bot and notes what it is told to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from domain import reports
from domain.equity_curve import EquityCurve
from domain.errors import BadData, ConfigError
from domain.notice import USUAL
from domain.records import SwitchState
from domain.statistics import summarise
from domain.symbols import nearest
from domain.trade import Trade
from domain.trade_page import known, page_of
from domain.trade_sums import TradeSums
from engine.operations import ExitOutcome
from engine.protections import Lock

NOW = datetime(2026, 11, 18, 12, 30, tzinfo=UTC)
SYMBOLS = ["BTC/USDT:USDT", "ETH/USDT:USDT", "1000PEPE/USDT:USDT"]


def trade(i: int, symbol: str = "BTC/USDT:USDT", pnl: str = "12.5", reason: str = "take_profit") -> Trade:
    made, at = Decimal(pnl), NOW - timedelta(hours=5 * i)
    return Trade(
        symbol, "long" if i % 2 else "short", Decimal("64000.5"), Decimal(64800), Decimal("0.01"), at - timedelta(hours=1),
        at, made, Decimal("1.2"), reason, Decimal(5), "trend_pullback" if i % 3 else "scalp", f"{i:08x}-0000-5000-8000-000000000000",
        fees=Decimal("1.1"), funding=Decimal("-0.2"), r_multiple=made / 10, gross_pnl=made + 1, score=61.0,
    )  # fmt: skip


POSITION = {
    "id": "ABCDEFGHIJKLMNOPQRSTUVWX", "trade_id": "0f0e0d0c-0000-5000-8000-000000000000", "symbol": "BTC/USDT:USDT",
    "side": "long", "strategy": "trend_pullback", "timeframe": "15m", "qty": "0.012", "requested": "0.012",
    "entry": "64000.5", "price": "64800.1", "stop": "63000", "first_stop": "63000", "target": "66000", "leverage": "5",
    "score": 63.0, "pending": False, "opened_at": int((NOW - timedelta(hours=3)).timestamp() * 1000), "pnl": "9.59",
    "r": "0.80", "percent": "1.25", "partial_taken": False,
}  # fmt: skip

MODEL = {
    "is_ml_ready": True, "can_train": True, "completed": 420, "executed": 157, "phantom": 263,
    "trades_until_next_retrain": 12, "next_retrain_at": 432, "training": False,
    "last_result": {
        "verdict": "promoted", "reason": "better than the base rate <by far>", "lessons": 420, "seconds": 3.2,
        "trained_at": "2026-11-18T10:00:00+00:00",
        "folds": [{"log_loss": 0.54, "base_log_loss": 0.69, "brier": 0.16, "base_brier": 0.24, "auc": 0.78, "tried_on": 84}],
        "skill": 0.2, "calibration": {"kind": "isotonic", "groups": [{"predicted": 0.3, "came_true": 0.25, "n": 40}]}, "importance": {"atr_pct": 0.021, "rsi_14": -0.003},
    },
    "model": {"run_id": "r1", "gain_r": 1.1, "loss_r": -1.05, "calibrator": "isotonic"},
}  # fmt: skip


class FakeDesk:
    """Implements the port; ``done`` holds what it was told to do."""

    def __init__(self, count: int = 30) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.state = SwitchState.RUNNING
        self.positions = [dict(POSITION)]
        self.held = [
            trade(i, SYMBOLS[i % 3], "12.5" if i % 3 else "-8", "take_profit" if i % 3 else "stop_loss")
            for i in range(count, 0, -1)
        ]
        self.percent, self.configured = Decimal("0.5"), Decimal("0.5")
        self.ban_list: list[str] = []
        self.lock_list = [
            Lock("*", "MaxDrawdown", 1_790_000_000_000),
            Lock("ETH/USDT:USDT", "CooldownPeriod", 1_790_000_000_000),
        ]
        self.pairlists: dict[str, Any] = {}
        self.fresh: Any = ("settings", ["risk.percent: 0.5 → 1"], ["feed.stale_s: 75 → 60"])
        self.loudness = dict(USUAL)
        self.mode = "SYNTHETIC"
        self.market_time = NOW
        self.started = NOW - timedelta(days=2)
        self.overrides: dict[str, Any] = {}
        self.models = {"trend_pullback": MODEL, "scalp": {**MODEL, "model": None, "last_result": None}}

    def status(self) -> dict[str, Any]:
        tier = {"state": "ok", "waiting": 0, "parked": 0, "oldest_s": 0.0, "written": 5, "reason": ""}
        return {
            "source": "synthetic", "mode": "SYNTHETIC", "account": "1", "max_open_trades": 8, "ready": True, "reasons": [],
            "market_time": int(NOW.timestamp() * 1000), "bars": 1000, "signals": 40, "taken": 12, "opened": 12, "closed": 11,
            "open": sum(not one["pending"] for one in self.positions), "pending": sum(one["pending"] for one in self.positions),
            "equity": "10123.45", "open_pnl": "+9.59", "day_pnl": "-3.20", "switch": self.state.value,
            "touched": {"added": 1}, "stops_refused": 0, "refused": {"score": 20, "position_open": 8}, "positions": self.positions, "connected": True, "stale": [],
            "tiers": {"database": tier, "redis": dict(tier)}, "lease": {"state": "held"}, "reconciled": 4, "foreign_positions": [],
            "ghosts": [], "adopted": 0, "rebuilt": 0, "unknown_orders": 0, "naked_seconds": {"positions": 1, "p99": 0.0, "max": 0.0},
            "ledger": {"state": "ok", "reason": "", "records": 100, "missing": 0, "memory_only": 0}, "daily_loss_reached": False,
            "bar_to_order_ms": {"p50": 4.0, "p99": 12.0}, "candles_waiting": 0, "recovery_s": 1.2, "records_read": 40, "loop_lag_p99_ms": 1.1,
            "loop_lag_max_ms": 5.5, "candles_loaded": 100, "candles_fetched": 3, "missed_signals": 1, "frames": {"absent": 0},
            "private_stream": {"connected": True, "seconds": 60.0, "connects": 2, "failures": 1, "reason": ""},
            "feed": {"frames": 900, "connects": 3, "failures": 2, "stale": 0}, **self.overrides,
        }  # fmt: skip

    async def statistics(self, days):
        return summarise(await self.trades(days))

    async def trades(self, days=None):
        return [one for one in self.held if days is None or one.exit_time >= NOW - timedelta(days=days)]

    async def newest(self, count):
        return self.held[-count:]

    async def sums(self, days):
        return TradeSums(sorted(await self.trades(days), key=lambda one: (one.exit_time, one.trade_id)))

    async def page(self, wanted, days, offset, limit):
        held = await self.trades(days)
        known(wanted, (one.symbol for one in held), self.symbols())
        return page_of(held, wanted, offset, limit)

    async def results(self, period, count):
        return reports.by_period(self.held, period, count, NOW)

    async def groups(self, group, days=None):
        return reports.by_group(await self.trades(days), group)

    async def curve(self, days=None):
        held = sorted(await self.trades(days), key=lambda one: (one.exit_time, one.trade_id))
        return EquityCurve().follow(held)

    async def slump(self, days):
        return reports.slump(await self.trades(days))

    async def order(self, name):
        if POSITION["id"].startswith(name.upper()):
            fills = [(NOW, "entry", Decimal("0.012"), Decimal("64000.5"), Decimal("0.4"))]
            return {"id": POSITION["id"], "position": self.positions[0], "fills": fills}
        found = [one for one in self.held if one.trade_id.startswith(name.lower())]
        if len(found) != 1:
            raise BadData(f"nothing begins with {name!r}; /status and /trades show the ids")
        return {
            "id": found[0].trade_id,
            "trade": found[0],
            "fills": [(NOW, "entry", Decimal(1), Decimal("64000.5"), Decimal(1))],
        }

    async def balance(self):
        return {"equity": Decimal("10123.45"), "wallet": Decimal(10100), "available": Decimal(9000), "open_pnl": Decimal("9.59"),
                "day_pnl": Decimal("-3.2"), "positions": self.positions}  # fmt: skip

    async def locks(self):
        return self.lock_list

    async def unlock(self, symbol, reason):
        self.done.append(("unlock", symbol))

    def symbols(self):
        return SYMBOLS

    def universe(self):
        return self.pairlists

    def symbol(self, text):
        return nearest(text, SYMBOLS)

    def meant(self, names):
        return [self.symbol(one) for one in names]

    def timeframes(self):
        return ["3m", "15m"]

    def strategies(self):
        return list(self.models)

    def banned(self):
        return self.ban_list

    async def ban(self, names, reason):
        symbols = [self.symbol(one) for one in names]
        self.done.append(("ban", *symbols))
        return symbols

    async def unban(self, names, reason):
        self.done.append(("unban", *names))
        return list(names)

    def risk(self):
        return {"percent": self.percent, "configured": self.configured, "equity": Decimal(10000),
                "money": self.percent * 100, "max_open_trades": 8, "daily_loss_percent": Decimal(6)}  # fmt: skip

    async def set_risk(self, percent, reason):
        self.done.append(("risk", percent))
        self.percent = self.configured if percent is None else percent

    async def db_stats(self):
        seen = self.status()
        return {
            "symbols": 3, "total_candles": 12345, "db_size_mb": 2.5, "database_type": "SQLite", "waiting": 0, "source": "synthetic",
            "trades": len(self.held), "unsettled": 0, "audit_rows": 77, "database": "ok", "journal_segments": 1, "journal_mb": 0.3,
            "redis": "none", "disk": "file system ext4 <ok>", "candles": [{"source": "synthetic", "timeframe": "15m", "series": 3, "bars": 12345}],
            **{f"bot_{name}": state for name, state in seen["tiers"].items()}, "bot_journal": seen["ledger"], "bot_candles_waiting": 0,
        }  # fmt: skip

    def phantom_stats(self, symbol=None, strategy=None):
        return {
            "total": 60, "active": 5, "completed": 55, "executed": 12, "rejected": 48, "outcomes": {"win": 20, "loss": 30, "timeout": 5},
            "rejection_stats": {"total_rejected": 43, "would_have_won": 15, "would_have_lost": 25, "timed_out": 3,
                                "missed_r": 12.4, "avoided_r": 22.9},
            "ml_accuracy": {"correct_rejections": 20, "wrong_rejections": 8, "correct_approvals": 5, "wrong_approvals": 4, "accuracy_pct": 67.6},
            "gates": {"score": {"rejected": 28, "would_have_won": 8, "would_have_lost": 19, "timed_out": 1, "opportunity_cost_r": -11.2},
                      "position_open": {"rejected": 15, "would_have_won": 7, "would_have_lost": 6, "timed_out": 2, "opportunity_cost_r": 3.4}},
            "win_rates": {"trend_pullback": 41.2}, "waiting": 0, "let_go": 0,
        }  # fmt: skip

    def ml_stats(self):
        return self.models

    def judging(self):
        return {"enabled": True, "margin_r": 0.0, "floor": 30.0, "rule_floor": 50.0}

    async def train(self, strategy):
        if strategy not in self.models:
            raise BadData(f"no strategy {strategy!r} is enabled; there are {', '.join(self.models)}")
        self.done.append(("train", strategy))
        return self.models[strategy]

    async def coverage(self, symbol):
        if symbol is None:
            return [{"timeframe": "15m", "series": 3, "bars": 12345, "from": 0, "to": 1_790_000_000_000, "missing": 2,
                     "completeness": 99.98, "worst": SYMBOLS[2], "worst_completeness": 99.9}]  # fmt: skip
        return [{"symbol": self.symbol(symbol), "timeframe": "15m", "from": 0, "to": 1_790_000_000_000, "bars": 4000, "missing": 2,
                 "completeness": 99.95, "gaps": [{"from": 1_780_000_000_000, "bars": 2}]}]  # fmt: skip

    def config(self):
        return {
            "source": "synthetic",
            "bybit": {"api_key": "**********"},
            "risk": {"percent": "0.5", "protections": [{"method": "A", "x": 1}]},
        }

    def logs(self, count):
        return [f"12:00:0{i % 10} info  line <{i}> {'x' * 600}" for i in range(count)]

    def version(self):
        return {"revenant": "0.1.0", "python": "3.11"}

    async def switch(self, state, reason):
        self.done.append(("switch", state.value))
        self.state = state

    async def force_exit(self, what, reason):
        closing = [
            ExitOutcome(one["symbol"], "closed")
            for one in self.positions
            if what in {"all", one["id"], one["symbol"]} or one["id"].startswith(what)
        ]
        self.done.append(("force_exit", what))
        return closing

    async def reduce(self, what, portion, reason):
        self.done.append(("reduce", what, portion))
        return [
            ExitOutcome(one["symbol"], "reduced", str(Decimal(one["qty"]) - portion.of(Decimal(one["qty"]))))
            for one in self.positions
            if what in {"all", one["id"], one["symbol"]} or one["id"].startswith(what)
        ]

    async def panic(self, reason):
        self.done.append(("panic",))
        return [ExitOutcome(one["symbol"], "closed") for one in self.positions]

    async def changes(self):
        if isinstance(self.fresh, ConfigError):
            raise self.fresh
        return self.fresh

    async def reload(self, fresh, reason):
        self.done.append(("reload", fresh))

    async def chart(self, symbol, timeframe):
        if timeframe not in self.timeframes():
            raise BadData(f"no bars of {timeframe!r} are at hand; there are 3m, 15m")
        return b"\x89PNG chart"

    async def equity(self, days=None):
        return b"\x89PNG curve"
