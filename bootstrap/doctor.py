"""Examines everything that the bot will rest on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog

from bootstrap.parts import database, open_venue, plans, symbols_of
from broker.arming import arm
from broker.bybit import BybitBroker
from domain.errors import ConfigError, Rejected, Unavailable
from domain.finding import Finding, State
from persistence.checkup import check_database, check_folder, check_redis

if TYPE_CHECKING:
    from settings import Settings


log = structlog.get_logger(__name__)

CLOCK_WARN_S = 0.5


async def checkup(settings: Settings, *, live_too: bool) -> list[Finding]:
    """Return what a doctor finds: folders, database, Redis, exchange, clock, and with ``live_too`` the arming."""
    findings = check_folder(settings.data_dir)
    try:
        findings += await asyncio.to_thread(lambda: check_database(database(settings)))
    except ConfigError as error:
        findings.append(Finding("database", State.FAIL, str(error)))
    findings.append(await asyncio.to_thread(check_redis, settings.redis_url.get_secret_value()))
    try:
        findings.append(Finding("strategies", State.OK, ", ".join(plans(settings))))
    except ConfigError as error:
        findings.append(Finding("strategies", State.FAIL, str(error)))
    if settings.source.practice:
        return [*findings, Finding("exchange", State.OK, "practice exchange, started with the bot")]
    return findings + await _check_exchange(settings, live_too=live_too)


async def _check_exchange(settings: Settings, *, live_too: bool) -> list[Finding]:
    async with contextlib.AsyncExitStack() as stack:
        venue = await open_venue(settings, stack)
        exchange = BybitBroker(venue.client)
        try:
            before = time.time()
            answer = await venue.client.get("v5/market/time", {})
            offset = int(answer["timeNano"]) / 1e9 - (before + time.time()) / 2
            state = State.OK if abs(offset) < CLOCK_WARN_S else State.WARN
            findings = [Finding("clock", state, f"{offset * 1000:+.0f} ms against the exchange")]
            symbols = symbols_of(settings, await exchange.instruments())
            findings.append(Finding("exchange", State.OK, f"{len(symbols)} symbols can be traded"))
            if live_too or settings.mode == "live":
                leverage = settings.trading.leverage
                uid = await arm(exchange, settings.live_confirm, symbols, leverage)
                findings.append(Finding("live", State.OK, f"armed for account {uid}"))
        except ConfigError as error:
            return [*findings, Finding("live", State.FAIL, str(error))]
        except (Unavailable, Rejected) as error:
            return [Finding("exchange", State.FAIL, str(error))]
        return findings
