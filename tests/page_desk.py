"""Those who answer the page, made up; and the page on them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
from fastapi import FastAPI

from dashboard.access import Access
from dashboard.app import build
from dashboard.metrics import Exposed
from dashboard.others import Others
from dashboard.services import Services
from dashboard.stream import Hub
from domain.candle import Bar, Bars
from domain.errors import BadData, Rejected, Unavailable
from domain.exits import Bracket, ExitPlan
from domain.order import Side
from domain.phantom import PhantomTrade
from domain.picture import Mark
from domain.trade import as_row
from engine.operations import ExitOutcome
from tests.desk import NOW, SYMBOLS, FakeDesk, trade

TOOK = {"p50": 1, "p99": 4, "max": 9.5}
TIER = {"state": "ok", "waiting": 2, "parked": 0, "oldest_s": 0.4, "written": 12, "reason": ""}
NOW_MS = int(NOW.timestamp() * 1000)
TOKEN = "the-token-of-this-machine"
PASSWORD = "a long enough password"


def phantom(i: int, gate: str = "score", r: str = "1.2", score: float | None = 40.0) -> PhantomTrade:
    at, made = NOW_MS - i * 900_000, Decimal(r)
    entry, stop, target = Decimal(100), Decimal(98), Decimal(104)
    bracket = Bracket(Side.LONG, entry, stop, stop, target, ExitPlan(), at)
    return PhantomTrade(
        f"PHANTOM{i:017d}", SYMBOLS[i % 3], "scalp" if i % 2 else "trend_pullback", "15m", at, gate, score, None, bracket,
        at, outcome="win" if made > 0 else "loss", exit_price=Decimal(101), exit_time=at + 900_000,
        exit_reason="take_profit", realized_rr=made, pnl_percent=made, scored_by="rule",
    )  # fmt: skip


class PageDesk(FakeDesk):
    """The desk of the chat, with what only the page asks for."""

    running = True
    why: list[str] = []
    told: list[str] = []
    held_phantoms = [phantom(i, "" if i % 4 == 0 else "score", "1.2" if i % 3 else "-1", 30.0 + i) for i in range(40)]

    def reasons(self) -> list[str]:
        return list(self.why)

    def notes(self) -> list[str]:
        return list(self.told)

    def pulse(self) -> dict[str, Any]:
        return {
            "mode": self.mode, "ready": not self.why, "reasons": self.reasons(), "notes": self.notes(), "switch": self.state.value,
            "positions": self.positions, "equity": "10250.50", "open_pnl": "+9.59", "day_pnl": "-12.00",
            "open": len(self.positions), "pending": 0, "opened": 31, "closed": 30, "signals": 90, "taken": 31, "bars": 500,
            "touched": {"added": 1}, "stops_refused": 0, "refused": {"score": 40, "cooldown": 19}, "connected": True, "stale": [], "durable": True, "prices": self.prices(),
            "market_time": NOW_MS, "feed": {"frames": 900, "connects": 1}, "frames": {"released": 500},
            "feed_ages": [(SYMBOLS[0], "15m", 1.5)], "key_days": 90.0, "requests": {"sent": 50, "repeated": 1}, "tiers": {"database": TIER},
            "threads": {"journal": TOOK}, "telegram": {"notices_waiting": 3}, "naked": [], "unsettled": 1,
            "ledger": {"state": "ok", "records": 77, "memory_only": 0, "missing": 0, "reason": ""}, "foreign_positions": {}, "second_sender": {"reason": "", "met": 0, "watching": True},
            "candles_saved": 480, "candles_waiting": 20, "candle_failures": 0, "loop_lag_p99_ms": 3, "loop_lag_max_ms": 12.5,
            "bar_to_order_ms": {"p50": 2, "p99": 7}, "add_trade_ms": TOOK, "orders_placed": 62, "unknown_orders": 0,
            "naked_seconds": {"positions": 31, "p99": 0.2, "max": 0.3}, "recovery_s": 1.1,
            "private_stream": {"connected": True, "seconds": 60.0, "connects": 3, "failures": 2, "reason": ""},
        }  # fmt: skip

    def status(self) -> dict[str, Any]:
        return {"source": "synthetic", "account": "1", **self.pulse()}

    def phantoms(self) -> list[PhantomTrade]:
        return self.held_phantoms

    async def bars(self, symbol: str, timeframe: str, count: int) -> Bars:
        self.symbol(symbol)
        if timeframe not in self.timeframes():
            raise BadData(f"no bars of {timeframe!r}")
        first = NOW_MS - count * 900_000
        return Bars.of([Bar(first + i * 900_000, 100.0, 101.0, 99.0, 100.5, 7.0, 700.0) for i in range(count)])

    async def marks(self, symbol: str, since: int) -> list[Mark]:
        return [Mark("trade", True, (since, 100.0), (since + 900_000, 101.0), good=True, label="+1.0R")]

    def prices(self) -> dict[str, tuple[float, int]]:
        return {SYMBOLS[0]: (100.7, NOW_MS)}

    async def panic(self, reason: str, *, foreign: bool = False) -> list[ExitOutcome]:
        self.done.append(("panic", reason, foreign))
        return [ExitOutcome(one["symbol"], "closed") for one in self.positions]

    async def reconcile(self, since: int | None = None) -> dict[str, Any]:
        self.done.append(("reconcile", *([since] if since is not None else [])))
        return {"ghosts": [], "reconciled": 3}


class MadeUpStored:
    """A database with one series, and a backtest that was done."""

    _past: dict[str, Any] = {
        "id": "20261118-120000.000-0123abcd", "done_at": NOW.isoformat(), "since": "2024-01-01T00:00+00:00",
        "until": "2025-01-01T00:00+00:00", "request": {"source": "bybit", "symbols": [SYMBOLS[0]], "strategies": ["scalp"]},
        "figures": {"profit": "12.5", "profit_percent": 0.125}, "bars": 99, "notes": [], "settings": {"risk": {"percent": 1}},
        "trades": [trade(1)], "equity": [[NOW_MS - 900_000, "10000"], [NOW_MS, "10012.5"]],
    }  # fmt: skip

    async def tiers(self) -> dict[str, Any]:
        return {"database": "ok", "trades": 30}

    async def series(self) -> list[dict[str, Any]]:
        return [{"source": "bybit", "symbol": SYMBOLS[0], "timeframe": "15m", "bars": 99, "start": 0, "end": 90_000_000,
                 "missing": 1, "completeness": 99.0}]  # fmt: skip

    async def gaps(self, source: str, symbol: str, timeframe: str) -> dict[str, Any]:
        if (source, symbol, timeframe) != ("bybit", SYMBOLS[0], "15m"):
            raise BadData(f"nothing is stored of {symbol[:40]} {timeframe} from {source}")
        return {"source": source, "symbol": symbol, "timeframe": timeframe, "bars": 99, "missing": 1, "absent": 0,
                "completeness": 99.0, "gaps": [{"start": 900_000, "bars": 1}]}  # fmt: skip

    async def compared(self, symbol: str, timeframe: str) -> list[dict[str, Any]]:
        if (symbol, timeframe) != (SYMBOLS[0], "15m"):
            raise BadData(f"nothing is stored of {symbol[:40]} {timeframe}")
        return [{"source": "bybit", "bars": 99, "start": 0, "end": 90_000_000, "common": 0, "equal": 0, "median": None,
                 "largest": None, "largest_at": None}]  # fmt: skip

    async def bars(self, source: str, symbol: str, timeframe: str, count: int) -> tuple[str, Bars]:
        raise BadData(f"nothing is stored of {symbol[:40]} {timeframe}")

    async def timeframes(self, symbol: str) -> list[str]:
        return ["15m", "4h"] if symbol == SYMBOLS[0] else []

    async def older(self, symbol: str, timeframe: str, before: int, count: int) -> Bars:
        first = NOW_MS - NOW_MS % 900_000 - 2_000 * 900_000
        times = [first + i * 900_000 for i in range(1_000)]
        held = [one for one in times if one < before][-count:] if timeframe == "15m" else []
        return Bars.of([Bar(one, 100.0, 101.0, 99.0, 100.5, 7.0, 700.0) for one in held])

    async def columns(self, symbol: str, timeframe: str, before: int, count: int) -> list[dict[str, Any]]:
        held = await self.older(symbol, timeframe, before, count)
        times = held.open_time.tolist()
        return [{"strategy": "scalp", "times": times, "columns": {"band": [100.0] * len(times)}}]

    async def strategy(self, name: str) -> dict[str, str]:
        if name not in {"scalp", "trend_pullback"}:
            raise BadData(f"no strategy {name[:80]!r} is in use")
        return {"strategy": name, "timeframe": "15m", "code": f"class {name}: ..."}

    async def backtests(self) -> list[dict[str, Any]]:
        return [{name: self._past[name] for name in self._past if name not in {"trades", "equity", "settings"}}]

    async def backtest(self, name: str) -> dict[str, Any]:
        if name not in {self._past["id"], "last"}:
            raise BadData(f"backtest {name}: none of that name; there are {self._past['id']}")
        return {**self._past, "symbols": self._past["request"]["symbols"], "trades": 1}

    async def backtest_trades(self, name: str, symbol: str, offset: int, limit: int) -> dict[str, Any]:
        await self.backtest(name)
        found = [as_row(one) for one in self._past["trades"] if symbol in {"", one.symbol}]
        return {"total": len(found), "trades": found[offset : offset + limit]}

    async def backtests_compared(self, names: list[str]) -> dict[str, list[Any]]:
        for name in names:
            await self.backtest(name)
        return {}

    async def backtest_file(self, name: str, kind: str) -> bytes:
        await self.backtest(name)
        return kind.encode()

    async def backtest_chart(self, name: str, symbol: str, timeframe: str, before: int, count: int) -> dict[str, Any]:
        await self.backtest(name)
        return {
            "symbol": symbol,
            "timeframe": "15m",
            "timeframes": ["15m"],
            "step_ms": 900_000,
            "bars": [],
            "marks": [],
        }

    async def backtest_asked(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if unknown := [name for name in asked["symbols"] if name not in SYMBOLS]:
            raise Rejected(f"symbols: {unknown[0]!r} means none of {', '.join(SYMBOLS)}")
        return dict(asked)

    async def workers(self) -> dict[str, Any]:
        return {"beat": {"name": "host:7", "seen_s": 4.0, "drift_s": -0.5}, "tasks": 3, "waiting": 2, "running": 1,
                "workers": [{"name": "a@host", "processes": 2, "seen_s": 9.0, "lost": False},
                            {"name": "c@host", "processes": 2, "seen_s": 8.0, "lost": False},
                            {"name": "b@other", "processes": 4, "seen_s": 90.0, "lost": True}],
                "oldest_s": 40.0, "reason": ""}  # fmt: skip

    async def jobs(self) -> list[dict[str, Any]]:
        return [{"job": "update", "does": "fetches", "last_run": "", "status": "", "failures": 0,
                 "next_run": "2026-11-18 13:00", "said": ""}]  # fmt: skip

    async def runs(self) -> list[dict[str, Any]]:
        return [{"run_id": "r1", "strategy": "scalp", "verdict": "promoted", "report": {}, "lessons": 420}]

    async def summary(self) -> dict[str, Any]:
        return {
            "coverage": [{"source": "bybit", "timeframe": "15m", "bars": 99, "missing": 1, "ratio": 0.99}],
            "jobs": [{"job": "update", "failures": 2, "lost": False}], "bytes": 5e6, "cluster": await self.workers(),
            "verdicts": [{"strategy": "scalp", "verdict": "promoted", "runs": 1}],
            "syncs": [{"source": "binance", "status": "FAILED", "times": 4}],
        }  # fmt: skip

    async def deeds(self, count: int) -> list[dict[str, Any]]:
        return [{"time": NOW.isoformat(), "told": "page", "what": "switch"}][:count]


class MadeUpWorks:
    """Begins nothing, and says that it has."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []

    def begin(self, kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        row = {"number": len(self.begun) + 1, "kind": kind, "state": "running", "said": "has begun", "ended_at": None,
               "started_at": datetime(2026, 11, 18, tzinfo=UTC), "command": kind, **arguments}  # fmt: skip
        self.begun.append(row)
        return row

    def all(self) -> list[dict[str, Any]]:
        return self.begun[::-1]

    async def end(self, number: int) -> dict[str, Any]:
        if not 0 < number <= len(self.begun):
            raise BadData(f"there is no work {number}")
        return {**self.begun[number - 1], "state": "ended"}


class Served:
    """The page on made-up answers; ``deeds`` is what came into the audit, ``full`` why it takes no more."""

    def __init__(
        self, *, password: str = "", viewer: str = "", per_s: float = 1_000.0, clock: Any = None, stored: Any = None,
        origins: tuple[str, ...] = (), others: Others | None = None,
    ) -> None:  # fmt: skip
        self.desk, self.works, self.deeds = PageDesk(), MadeUpWorks(), list[dict[str, Any]]()
        self.full = ""
        times = {} if clock is None else {"now": clock}
        self.access = Access(password, TOKEN, viewer=viewer, open=not (password or viewer), session_s=3600, **times)
        self.hub = Hub(self.desk.pulse)
        stored = stored or MadeUpStored()
        self.exposed = Exposed(self.desk, stored, self.hub)
        self.services = services = Services(
            self.desk, stored, self.works, self.access, self.hub, self._audit, others or Others(())
        )
        hosts = () if password else ("localhost", "127.0.0.1")
        self.app: FastAPI = build(services, self.exposed, hosts, per_s, origins)

    def client(self, **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=("10.0.0.9", 5000))
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)

    def program(self) -> httpx.AsyncClient:
        return self.client(Authorization=f"Bearer {TOKEN}")

    async def _audit(self, deed: dict[str, Any]) -> None:
        if self.full:
            raise Unavailable(self.full)
        self.deeds.append({**deed, "done_before": list(self.desk.done)})
