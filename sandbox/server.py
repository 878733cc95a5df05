"""Runs the practice exchange as a process of its own, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from domain.durations import DAY_MS
from domain.errors import BadData, ConfigError, Rejected, of_system
from sandbox.access import Access, kept_token, new_token
from sandbox.clock import wire_ms
from sandbox.codes import code_of, words_of
from sandbox.exchange import Exchange, Terms
from sandbox.faults import FaultDirector, Faults
from sandbox.limits import Banned, Limits, too_fast
from sandbox.parameters import Parameters, decoded
from sandbox.replay import replay
from sandbox.rest import Rest, check_signature
from sandbox.routes import LINEAR, Reply
from sandbox.store import SandboxStore
from sandbox.stream import Streams
from sandbox.tape import GeneratedTape
from sandbox.trade_socket import TradeSocket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.tape import Tape

log = logging.getLogger(__name__)

CATCH_UP_STEPS = 50
GLANCE_S = 0.1
"""How often orders that are being filled are looked at."""
NO_ROUTE = 10017


@dataclass(frozen=True, slots=True)
class Options:
    """How to run the practice exchange; ``idle_exit_s`` ends it when nobody has asked anything for so long."""

    state_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    symbols: int = 12
    replay: Sequence[str] = ()
    quiet: float = 0.0
    idle_exit_s: float = 900.0
    terms: Terms = field(default_factory=Terms)


class Server:
    """Ties exchange, REST, streams and faults to a loopback port."""

    def __init__(self, exchange: Exchange, idle_exit_s: float, token: str = "") -> None:
        self._exchange = exchange
        self._access = Access(token or new_token())
        self._faults = Faults()
        self._limits = Limits(exchange.terms)
        self._streams = Streams(exchange, self._faults)
        exchange.account.director = FaultDirector(self._faults, exchange.venue_id, exchange.market_ms)
        self._rest = Rest(exchange, self._streams.events, self._limits)
        self._streams.watch_dcp(self._rest.dcp)
        self._trade = TradeSocket(exchange, self._rest, self._limits, self._faults)
        self._idle_exit_s = idle_exit_s
        self._heard = asyncio.get_running_loop().time()
        self._acknowledged = asyncio.Event()
        self.stopping = asyncio.Event()
        self.restart = False

    @property
    def token(self) -> str:
        """What the control endpoint asks for."""
        return self._access.token

    def application(self) -> web.Application:
        """Return the web application."""
        app = web.Application(client_max_size=1 << 20, middlewares=[self._access.guard])
        app.router.add_get("/v5/public/{category:linear|spot|inverse|option}", self._public_socket)
        app.router.add_get("/v5/private", self._private_socket)
        app.router.add_get("/v5/trade", self._trade_socket)
        app.router.add_get("/control/status", self._status)
        app.router.add_post("/control/faults", self._change)
        app.router.add_post("/control/ack", self._acknowledge)
        app.router.add_post("/control/stop", self._stop)
        app.router.add_route("*", "/v5/{rest:.*}", self._request)
        return app

    async def run(self) -> None:
        """Move the market on until told to stop, or until nobody has spoken for long."""
        market = asyncio.create_task(self._move(), name="market")
        stop = asyncio.create_task(self.stopping.wait(), name="stop")
        done, _ = await asyncio.wait({market, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        market.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await market
        await asyncio.gather(self._streams.close(), self._trade.close())
        for task in done - {stop}:
            task.result()

    async def _move(self) -> None:
        exchange, steps = self._exchange, 0
        while True:
            if exchange.ended:
                log.info("the replay has ended; the market stands still")
                await asyncio.sleep(1)
                self._streams.events(exchange.go_on())
                self._leave_when_idle()
                continue
            due = exchange.processed_until + exchange.tape.base_ms
            if exchange.terms.step:
                await self._wait_for_acknowledgement()
            elif exchange.clock.now() < due:
                await asyncio.sleep(min(GLANCE_S, exchange.clock.wait_s(due)))
                self._streams.events(exchange.go_on())
                self._leave_when_idle()
                continue
            behind = not exchange.terms.step and exchange.clock.now() - due > 2 * exchange.tape.base_ms
            self._streams.events([*exchange.advance(), *self._rest.trailing.follow()])
            self._streams.tick()
            steps += 1
            if not behind or steps % CATCH_UP_STEPS == 0:
                await asyncio.sleep(0)

    async def _wait_for_acknowledgement(self) -> None:
        # bars close every three minutes at the earliest: between those the market may go on by itself
        if self._exchange.processed_until % max(180_000, self._exchange.tape.base_ms):
            await asyncio.sleep(0)
            return
        await self._acknowledged.wait()
        self._acknowledged.clear()

    def _leave_when_idle(self) -> None:
        if asyncio.get_running_loop().time() - self._heard > self._idle_exit_s:
            log.info("nobody has spoken for %.0f s: leaving", self._idle_exit_s)
            self.stopping.set()

    async def _public_socket(self, request: web.Request) -> web.StreamResponse:
        listed = request.match_info["category"] == LINEAR
        return self._turned_away() or await self._streams.serve(request, private=False, listed=listed)

    async def _private_socket(self, request: web.Request) -> web.StreamResponse:
        return self._turned_away() or await self._streams.serve(request, private=True)

    async def _trade_socket(self, request: web.Request) -> web.StreamResponse:
        return self._turned_away() or await self._trade.serve(request)

    def _turned_away(self) -> web.Response | None:
        try:
            self._limits.connect(wire_ms())
        except Banned as error:
            return web.Response(status=403, text=str(error))
        return None

    async def _request(self, request: web.Request) -> web.StreamResponse:
        self._heard = asyncio.get_running_loop().time()
        try:
            self._limits.admit(wire_ms(), self._faults.ban_s)
        except Banned as error:
            return web.Response(status=403, text=str(error))
        canned = self._faults.canned(request.path)
        if canned and canned.status != 200:
            return web.Response(status=canned.status, text="practice fault")
        body = await request.read()
        headers = dict[str, str]()
        try:
            reply = self._answer(request, body, headers, canned.code if canned else 0)
        except Rejected as error:
            reply = Reply({}, code=code_of(error), message=words_of(error))
        if not reply.code and self._faults.loses(request.path):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        now = wire_ms() + self._faults.clock_shift_ms
        return _reply(reply, headers, 404 if reply.code == NO_ROUTE else 200, now)

    def _answer(self, request: web.Request, body: bytes, headers: dict[str, str], canned: int) -> Reply:
        """Answer one request, and put into ``headers`` what it leaves of its limit."""
        method, path = request.method, request.path
        route = self._rest.public.get((method, path)) or self._rest.private.get((method, path))
        if route is None:
            raise Rejected(f"Route not found. {method} {path[:100]}", NO_ROUTE)
        posted = method == "POST"
        if (method, path) in self._rest.private:
            payload = body.decode(errors="replace") if posted else request.rel_url.raw_query_string
            check_signature(self._exchange, request.headers, payload, wire_ms() + self._faults.clock_shift_ms)
            spent = self._limits.spend(path, wire_ms())
            if spent is not None:
                headers |= spent.headers()
                if not spent.granted:
                    raise too_fast()
        if canned:
            raise Rejected(f"practice fault {canned}", canned)
        params = Parameters(decoded(body) if posted else dict(request.query), body=posted)
        if self._faults.lose_stops and path == "/v5/order/create":
            params = params.without("stopLoss", "takeProfit")
        return route.answer(params)

    async def _status(self, _: web.Request) -> web.Response:
        held = self._exchange
        return web.json_response({
            "pid": os.getpid(), "market_time": held.now(), "processed_until": held.processed_until,
            "step": held.terms.step, "base_ms": held.tape.base_ms, "ended": held.ended,
            "symbols": len(held.tape.instruments),
        })  # fmt: skip

    async def _change(self, request: web.Request) -> web.Response:
        try:
            change = self._faults.apply(await request.read())
        except BadData as error:
            return web.json_response({"error": str(error)}, status=400)
        self._exchange.delays.by_list = self._faults.delays
        try:
            self._streams.events(change.happen(self._exchange))
            for venue_id in change.delist:
                self._streams.events(self._exchange.delist(venue_id))
                self._streams.forget(venue_id)
        except Rejected as error:
            return web.json_response({"error": words_of(error)}, status=400)
        if change.drop:
            await asyncio.gather(self._streams.close(), self._trade.close())
        return web.json_response({"ok": True})

    async def _acknowledge(self, _: web.Request) -> web.Response:
        self._heard = asyncio.get_running_loop().time()
        self._acknowledged.set()
        return web.json_response({"processed_until": self._exchange.processed_until})

    async def _stop(self, request: web.Request) -> web.Response:
        self.restart = request.query.get("restart") == "1"
        self.stopping.set()
        return web.json_response({"ok": True})


def _reply(reply: Reply, headers: dict[str, str], status: int, now: int) -> web.Response:
    body = {
        "retCode": reply.code, "retMsg": reply.message, "result": reply.result, "retExtInfo": reply.extra, "time": now,
    }  # fmt: skip
    return web.Response(body=msgspec.json.encode(body), content_type="application/json", headers=headers, status=status)


async def serve(options: Options) -> None:
    """Run until SIGTERM, SIGINT or idleness; address and token are written to ``endpoint.json`` in the state folder.

    Raises:
        ConfigError: when the folder is in use by another practice exchange, or the port is taken.
    """
    options.state_dir.mkdir(parents=True, exist_ok=True)
    with (options.state_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"practice exchange: {options.state_dir} is in use by another one") from None
        except OSError as error:
            raise of_system(f"practice exchange: {options.state_dir}", error, "look at its disk") from error
        store = SandboxStore(options.state_dir / "exchange.sqlite")
        try:
            port = await _serve_once(options, store)
        finally:
            store.close()
            (options.state_dir / "endpoint.json").unlink(missing_ok=True)
    if port:
        # starts itself again on its own state, at the same address; of two --port the later counts
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], "--port", str(port)])  # noqa: S606


async def _serve_once(options: Options, store: SandboxStore) -> int:
    exchange = Exchange(_tape(options, store), store, options.terms)
    server = Server(exchange, options.idle_exit_s, kept_token(store))
    runner = web.AppRunner(server.application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, options.host, options.port)
    try:
        await site.start()
    except OSError as error:
        raise ConfigError(f"practice exchange: cannot listen on {options.host}:{options.port}: {error}") from error
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stopping.set)
    port = int(runner.addresses[0][1])
    _announce(
        options.state_dir / "endpoint.json",
        {"pid": os.getpid(), "host": options.host, "port": port, "token": server.token},
    )
    log.info("practice exchange on %s:%s, %s symbols", options.host, port, len(exchange.tape.instruments))
    try:
        await server.run()
    finally:
        await runner.cleanup()
    return port if server.restart else 0


def _tape(options: Options, store: SandboxStore) -> Tape:
    made_of = json.dumps(
        [options.seed, options.symbols, sorted(options.replay), *([options.quiet] if options.quiet else [])]
    )  # fmt: skip
    kept = store.get("tape")
    if kept is not None and kept != made_of:
        raise ConfigError(
            f"practice exchange: {options.state_dir} holds another market (seed, symbols, files: {kept}); "
            f"use those settings again, or another folder"
        )
    store.put("tape", made_of)
    if options.replay:
        return replay(options.replay)
    start = int(store.get("tape_start") or wire_ms() - 13 * DAY_MS)
    store.put("tape_start", str(start))
    return GeneratedTape(options.seed, options.symbols, start, options.quiet)


def _announce(path: Path, body: dict[str, Any]) -> None:
    scratch = path.with_suffix(".new")
    # the token is its owner's
    scratch.unlink(missing_ok=True)
    scratch.touch(0o600)
    scratch.write_text(json.dumps(body))
    scratch.replace(path)
