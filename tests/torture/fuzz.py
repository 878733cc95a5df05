"""Mutated frames, REST bodies, journals, refuges, copies and configurations: clear errors, and nothing else."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import settings as settings_module
from broker.bybit import BybitBroker, public_messages
from broker.bybit.klines import BybitKlines
from domain.candle import Bars, Series, check_bar
from domain.errors import RevenantError
from domain.kline_frames import Klines
from market.frames import Frames
from persistence.journal import Journal
from persistence.ledger import RedisRefuge
from persistence.mirror import _decoded
from tests.torture import writer

ROOT = Path(__file__).parents[2]
BTC, STEP = "BTC/USDT:USDT", 180_000
ODD: list[Any] = [
    None, "", "NaN", "Infinity", "-1", "1e400", "0x10", -1, 0, 2**63, 2**70, -1.5, 1e308, [], {}, [[]], {"a": {}}, True, False,
    "é\u0000", "9" * 400, "Buy", "1.0.0",
]  # fmt: skip


def mutated(body: Any, draw: random.Random, depth: int = 0) -> Any:
    """Return a body with a value or two exchanged, removed, doubled or turned into something odd."""
    if depth > 6 or draw.random() < 0.08:
        return draw.choice(ODD)
    if isinstance(body, dict):
        changed = {
            key: mutated(value, draw, depth + 1) if draw.random() < 0.25 else value for key, value in body.items()
        }
        for key in list(changed):
            if draw.random() < 0.04:
                del changed[key]
        if draw.random() < 0.1:
            changed[f"new{draw.random()}"] = draw.choice(ODD)
        return changed
    if isinstance(body, list):
        rows = [mutated(item, draw, depth + 1) if draw.random() < 0.4 else item for item in body]
        return rows * draw.choice([1, 1, 1, 2]) if draw.random() < 0.9 else rows[: len(rows) // 2]
    return draw.choice([draw.choice(ODD), body])


def garbled(data: bytes, draw: random.Random) -> bytes:
    """Return bytes with some flipped, cut out, doubled or put in."""
    held = bytearray(data)
    for _ in range(draw.randint(1, 5)):
        spot = draw.randrange(len(held) + 1)
        kind = draw.random()
        if kind < 0.4 and spot < len(held):
            held[spot] ^= 1 << draw.randrange(8)
        elif kind < 0.6:
            del held[spot : spot + draw.randrange(1, 40)]
        elif kind < 0.8:
            held[spot:spot] = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 9)))
        else:
            held[spot:spot] = held[spot : spot + draw.randrange(1, 60)]
    return bytes(held)


def frames(draw: random.Random) -> None:
    start = draw.randrange(0, 50) * STEP
    item = {
        "start": start, "end": start + STEP - 1, "interval": "3", "open": "10", "close": "10.5", "high": "11", "low": "9",
        "volume": "5", "turnover": "50", "confirm": draw.random() < 0.7, "timestamp": start + 1_000,
    }  # fmt: skip
    frame = {"topic": "kline.3.BTCUSDT", "data": [item], "ts": start, "type": "snapshot"}
    data = (
        json.dumps(mutated(frame, draw)).encode() if draw.random() < 0.6 else garbled(json.dumps(frame).encode(), draw)
    )
    said = public_messages.decode(data)
    if not isinstance(said, Klines):
        return
    window = Frames({Series(BTC, "3m"): 50})
    for one in said.items:
        if one.confirm:
            bar = one.bar()
            check_bar(bar, STEP)
            for closed in window.offer(Series(BTC, "3m"), bar):
                assert 0 < closed.bar.low <= closed.bar.high < float("inf")


class Bodies:
    """A client whose answers are mutated."""

    def __init__(self, draw: random.Random, samples: dict[str, list[Any]]) -> None:
        self.draw, self.samples, self.calm = draw, samples, True

    async def get(self, path: str, params: Any) -> dict[str, Any]:
        body: Any = {"list": copy.deepcopy(self.samples.get(path, []))}
        if not self.calm:
            body = mutated(body, self.draw)
        if not isinstance(body, dict):
            raise RevenantError("no result")
        return body

    async def pages(self, path: str, params: Any) -> Any:
        from broker.bybit.messages import page_of

        yield page_of(path, await self.get(path, params))


RULES = {
    "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": "BTC", "quoteCoin": "USDT",
    "settleCoin": "USDT", "leverageFilter": {"maxLeverage": "100"}, "priceFilter": {"tickSize": "0.1"},
    "lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001", "maxMktOrderQty": "100", "minNotionalValue": "5"},
}  # fmt: skip
SAMPLES: dict[str, list[Any]] = {
    "v5/market/instruments-info": [RULES],
    "v5/market/tickers": [{"symbol": "BTCUSDT", "turnover24h": "1000", "lastPrice": "1"}],
    "v5/market/kline": [[str(i * STEP), "10", "11", "9", "10.5", "5", "50"] for i in range(5, 0, -1)],
    "v5/account/wallet-balance": [{"totalAvailableBalance": "9", "coin": [{"coin": "USDT", "equity": "10", "walletBalance": "10"}]}],
    "v5/position/list": [{
        "symbol": "BTCUSDT", "side": "Buy", "size": "1", "avgPrice": "10", "stopLoss": "9", "takeProfit": "12", "leverage": "5",
        "markPrice": "10", "unrealisedPnl": "0", "positionIdx": 0,
    }],
    "v5/order/realtime": [{"orderStatus": "New", "cumExecQty": "0", "rejectReason": "EC_NoError"}],
    "v5/execution/list": [{
        "symbol": "BTCUSDT", "orderId": "v", "orderLinkId": "", "side": "Sell", "execFee": "0.1", "execId": "x", "execPrice": "1",
        "execQty": "1", "execType": "Trade", "execTime": "1672282722429", "stopOrderType": "StopLoss", "closedSize": "1",
        "isMaker": False,
    }],
    "v5/position/closed-pnl": [{
        "symbol": "BTCUSDT", "orderId": "v", "side": "Sell", "closedSize": "1", "avgExitPrice": "10", "closeFee": "0.1",
        "updatedTime": "1672282722429",
    }],
    "v5/user/query-api": [], "v5/account/info": [],
}  # fmt: skip


async def _ask(draw: random.Random) -> None:
    client = Bodies(draw, SAMPLES)
    broker = BybitBroker(client)  # type: ignore[arg-type]
    await broker.instruments()
    client.calm = False
    calls: list[Callable[[], Any]] = [
        broker.instruments, broker.balance, broker.positions, lambda: broker.flat(BTC), lambda: broker.order(BTC, "x"),
        lambda: broker.fills_since(0, 1), lambda: broker.closed_since(0, 1, BTC), broker.account_facts,
        lambda: broker.position_modes([BTC]),
        lambda: BybitKlines(client, {BTC: "BTCUSDT"}).latest(Series(BTC, "3m"), 3),
        lambda: BybitKlines(client, {BTC: "BTCUSDT"}).closed(Series(BTC, "3m"), 0, 5 * STEP),
    ]  # fmt: skip
    answer = await draw.choice(calls)()
    if isinstance(answer, Bars):
        assert all(0 < low <= high < float("inf") for low, high in zip(answer.low, answer.high, strict=True))
    elif isinstance(answer, list):
        for one in answer:
            for name in ("qty", "price", "fee", "entry_price", "stop", "exit_price"):
                value = getattr(one, name, None)
                assert value is None or (isinstance(value, Decimal) and value.is_finite()), f"{name} {value}"


def rest(draw: random.Random) -> None:
    asyncio.run(_ask(draw))


def journal(draw: random.Random, folder: Path, truth: list[Any], data: bytes) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "000001.jsonl").write_bytes(garbled(data, draw))
    held = Journal(folder, writer.WHO, reserve_bytes=1)
    try:
        assert all(record in truth for record in held.replay())
    finally:
        held.close()


def configuration(draw: random.Random, folder: Path, text: bytes) -> None:
    path = folder / "config.yaml"
    path.write_bytes(garbled(text, draw))
    settings_module.load(path, {})


class _Hash:
    """A Redis client that holds one garbled hash."""

    def __init__(self, body: dict[bytes, bytes]) -> None:
        self.client, self.body = self, body

    def hgetall(self, _: str) -> dict[bytes, bytes]:
        return self.body

    def translated(self) -> Any:
        import contextlib

        return contextlib.nullcontext()


def copies(draw: random.Random, body: bytes) -> None:
    _decoded([garbled(body, draw)])
    RedisRefuge(_Hash({garbled(b"key", draw): garbled(b"3 1 " + body, draw)}), writer.WHO).held()  # type: ignore[arg-type]


def run(share: float, seed: int) -> dict[str, Any]:
    """Try so large a share of the full counts; return the figures."""
    import msgspec

    began, draw = time.monotonic(), random.Random(seed)
    base = Path(tempfile.mkdtemp(prefix="revenant-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    database, held, tracker = writer.tracker(base / "source", f"sqlite:///{base / 'source.sqlite'}")
    for number in range(4):
        tracker.add_trade(writer.trade(number))
    truth = list(held.replay())
    data = (base / "source" / "journal" / "000001.jsonl").read_bytes()
    held.close()
    database.close()
    config, body = (ROOT / "config.yaml").read_bytes(), msgspec.json.encode(writer.trade(1))
    targets: dict[str, tuple[int, Callable[[], None]]] = {
        "frames": (100_000, lambda: frames(draw)),
        "REST bodies": (50_000, lambda: rest(draw)),
        "configurations": (20_000, lambda: configuration(draw, base, config)),
        "journals": (20_000, lambda: journal(draw, base / "case", truth, data)),
        "Redis values": (20_000, lambda: copies(draw, body)),
    }
    counts, refused, uncaught = {}, {}, []
    try:
        for name, (full, attempt) in targets.items():
            counts[name], refused[name] = max(1, int(full * share)), 0
            for _ in range(counts[name]):
                try:
                    attempt()
                except RevenantError:
                    refused[name] += 1
                except Exception as error:
                    uncaught.append(f"{name}: {error!r} {traceback.format_exc()[-300:]}")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return {
        "seed": seed, "tried": counts, "refused": refused, "uncaught": len(uncaught), "examples": uncaught[:5],
        "clean": not uncaught, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
