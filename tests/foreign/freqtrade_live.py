"""freqtrade, unmodified, trades live on the practice exchange: it opens, protects, closes, and goes on after a restart.

Run by ``make freqtrade``. Its environment is made on demand outside the project, from a pinned requirement. Prints what it
called and what came of it; the exit code is 0 when all of that happened.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from domain.trade import ZERO
from sandbox.clock import wire_ms
from sandbox.exchange import Exchange, Terms
from sandbox.server import Server
from sandbox.store import SandboxStore
from sandbox.tape import GeneratedTape

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
PAIRS = ["BTC/USDT:USDT", "ETH/USDT:USDT"]
HISTORY_MS = 13 * 86_400_000
START_S, STEP_S, STOP_S = 180.0, 420.0, 60.0


class Calls:
    """Counts what is asked, by path and retCode."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        answer = await handler(request)
        body = getattr(answer, "body", None)
        code = json.loads(body)["retCode"] if isinstance(body, bytes) and body[:1] == b"{" else answer.status
        self.seen[f"{request.method} {request.path}", str(code)] += 1
        return answer


class Failed(Exception):
    """It did not do what it should."""


def environment(folder: Path) -> Path:
    """Return freqtrade's program, made now when it is missing."""
    program = folder / "bin" / "freqtrade"
    if not program.exists():
        print(f"making freqtrade's environment in {folder}: some minutes", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", HERE / "freqtrade.txt"], check=True)
    return program


def market(folder: Path) -> Exchange:
    """Return a practice exchange whose market time is now: freqtrade takes no candles of yesterday."""
    store = SandboxStore(folder / "exchange.sqlite")
    return Exchange(GeneratedTape(5, 4, wire_ms() - HISTORY_MS), store, Terms(speed=1.0, now=True))


def config(folder: Path, port: int, terms: Terms) -> Path:
    """Write freqtrade's configuration: its own, but for the addresses."""
    rest, stream = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}/v5"
    sockets = {
        "public": {one: f"{stream}/public/{one}" for one in ("spot", "linear", "inverse", "option")},
        "private": {
            "contract": f"{stream}/private", "usdc": f"{stream}/private", "trade": f"{stream}/trade",
            "spot": {"unified": f"{stream}/private", "nonUnified": f"{stream}/private"},
        },
    }  # fmt: skip
    urls = dict.fromkeys(("spot", "futures", "v2", "public", "private"), rest) | {"ws": sockets}
    body = {
        "max_open_trades": 2, "stake_currency": "USDT", "stake_amount": 500, "dry_run": False,
        "trading_mode": "futures", "margin_mode": "isolated", "timeframe": "1m", "db_url": f"sqlite:///{folder}/t.db",
        "entry_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
        "exit_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
        "order_types": {"entry": "market", "exit": "market", "stoploss": "market", "stoploss_on_exchange": True},
        "exchange": {
            "name": "bybit", "key": terms.key, "secret": terms.secret, "pair_whitelist": PAIRS,
            "ccxt_config": {"urls": {"api": urls}},
        },
        "pairlists": [{"method": "StaticPairList"}], "bot_name": "stranger", "initial_state": "running",
        "internals": {"process_throttle_secs": 2},
    }  # fmt: skip
    path = folder / "config.json"
    path.write_text(json.dumps(body))
    return path


async def until(what: str, check: Callable[[], Any], seconds: float, program: subprocess.Popen[bytes]) -> Any:
    """Wait for something; raises Failed when it does not come, or freqtrade ends."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := check()):
        if program.poll() is not None:
            raise Failed(f"freqtrade ended with {program.returncode} before: {what}")
        if asyncio.get_running_loop().time() > deadline:
            raise Failed(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.2)
    print(f"  {what}", flush=True)
    return found


@contextlib.asynccontextmanager
async def trading(program: Path, folder: Path, log: Any) -> Any:
    """Run freqtrade until the block is left, then end it in good order."""
    command = [program, "trade", "-c", folder / "config.json", "--strategy", "SpreadStrategy", "--userdir", folder]
    running = subprocess.Popen(
        [*command, "--strategy-path", HERE], stdout=log, stderr=log, cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )  # fmt: skip
    try:
        yield running
    finally:
        running.send_signal(signal.SIGINT)
        try:
            await asyncio.to_thread(running.wait, STOP_S)
        except subprocess.TimeoutExpired:
            running.kill()


async def watch(program: Path, folder: Path, exchange: Exchange, log: Any) -> None:
    """See it open, protect, close, restart, and close what it had open."""
    state = exchange.account.state

    def opened() -> list[str]:
        return [symbol for symbol, held in state.positions.items() if held.qty]

    def protected() -> bool:
        stops = {order.symbol for order in state.orders.values() if order.trigger is not None}
        return bool(opened()) and set(opened()) <= stops

    def closed(least: int) -> bool:
        return len(exchange.store.closed_pnl("", 0, 2**62, before=2**62, limit=1_000)) >= least

    async with trading(program, folder, log) as running:
        await until("opened a position", opened, START_S + STEP_S, running)
        await until("protected it with a stop order on the exchange", protected, STEP_S, running)
        await until("closed one", lambda: closed(1), STEP_S, running)
        await until("opened and protected another", protected, STEP_S, running)
    kept = opened()
    before = len(exchange.store.closed_pnl("", 0, 2**62, before=2**62, limit=1_000))
    print(f"  stopped with {', '.join(kept) or 'nothing'} open; started again", flush=True)
    async with trading(program, folder, log) as running:
        await until("closed what it had left open", lambda: closed(before + 1), START_S + STEP_S, running)
        await until("opened and protected the next", protected, STEP_S, running)
    if any(order.qty <= ZERO for order in state.orders.values()):
        raise Failed("an order of no size rests on the exchange")


async def run(program: Path, folder: Path) -> None:
    """Serve the market, and let freqtrade trade on it."""
    exchange, calls = market(folder), Calls()
    server = Server(exchange, 3_600)
    app = server.application()
    app.middlewares.append(calls.middleware)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    moving = asyncio.create_task(server.run())
    config(folder, runner.addresses[0][1], exchange.terms)
    try:
        with (folder / "freqtrade.log").open("ab") as log:
            await watch(program, folder, exchange, log)
    finally:
        server.stopping.set()
        await moving
        await runner.cleanup()
        print("calls (path, retCode or HTTP status, times):")
        for (path, code), times in sorted(calls.seen.items()):
            print(f"  {path:45} {code:>7} {times:6}")
        rows = exchange.store.orders("", is_open=False, before=2**62, limit=1_000)
        print("orders:", dict(Counter(f"{one.stop_type or one.kind.value} {one.status}" for one in rows)))
        exchange.store.close()


def main() -> int:
    """Return 0 when freqtrade did all of it."""
    asked = argparse.ArgumentParser(description=__doc__)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = (HERE / "freqtrade.txt").read_text().split("==")[1].strip()
    asked.add_argument("--environment", type=Path, default=cache / "revenant" / f"freqtrade-{version}")
    chosen = asked.parse_args()
    program = environment(chosen.environment)
    folder = Path(tempfile.mkdtemp(prefix="freqtrade-live-"))
    print(f"freqtrade {version} live on the practice exchange; its log is {folder / 'freqtrade.log'}", flush=True)
    try:
        asyncio.run(run(program, folder))
    except Failed as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
