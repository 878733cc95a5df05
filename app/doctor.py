"""Examines everything that the bot will rest on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog

import settings as settings_module
from app import going_live
from bootstrap.parts import database, exchange_of, in_use, known_rules, open_venue, symbols_of
from bootstrap.polled import PolledMarket
from bootstrap.universe import first, selection_of
from domain.candle import Bars, Series
from domain.coverage import Span, missing
from domain.durations import HOUR_MS
from domain.errors import ConfigError, Rejected, Unavailable
from domain.finding import Finding, State
from domain.source import Source
from ml.rule import RULES
from persistence import sources as tables
from persistence.checkup import check_database, check_folder
from persistence.history import CandleHistory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.bybit import BybitBroker
    from settings import Settings


log = structlog.get_logger(__name__)

CLOCK_WARN_S = 0.5


def check_settings(config: Path | None) -> list[Finding]:
    """Return what keeps a bot from starting on the settings of a file, nothing when nothing does."""
    try:
        settings_module.load(config)
    except ConfigError as error:
        return [Finding("settings", State.FAIL, line) for line in str(error).splitlines()]
    return []


async def checkup(settings: Settings, *, live_too: bool) -> list[Finding]:
    """Return what a doctor finds: folders, database, Redis, exchange, clock, and with ``live_too`` the arming."""
    findings = check_folder(settings.data_dir)
    try:
        findings += await asyncio.to_thread(lambda: check_database(database(settings)))
    except ConfigError as error:
        findings.append(Finding("database", State.FAIL, str(error)))
    if settings.telegram.token.get_secret_value():
        findings.append(await _check_telegram(settings))
    from persistence.redis_checkup import check_redis  # noqa: PLC0415  most commands need no driver

    findings.append(await asyncio.to_thread(check_redis, settings.redis_address))
    findings += _check_strategies(settings)
    asked = live_too or settings.mode == "live"
    if asked:
        # what needs no network is told without one
        findings += going_live.of_settings(settings)
    if settings.source.practice:
        return [*findings, Finding("exchange", State.OK, "practice exchange, started with the bot")]
    return findings + await _check_exchange(settings, live_too=asked)


def _check_strategies(settings: Settings) -> list[Finding]:
    try:
        used, unloaded = in_use(settings)
    except ConfigError as error:
        return [Finding("strategies", State.FAIL, str(error))]
    findings = [Finding("strategies", State.OK, ", ".join(used))]
    findings += [Finding("strategies", State.FAIL, reason) for reason in unloaded.values()]
    bare = [name for name in used if name not in RULES]
    if bare and settings.ml.enabled:
        detail = f"{', '.join(bare)}: until there is a model, signals are scored by their costs alone"
        findings.append(Finding("strategies", State.OK, f"{detail} (docs/strategies.md)"))
    return findings


async def _check_telegram(settings: Settings) -> Finding:
    from telegram_bot.bot import name_of  # noqa: PLC0415  most commands ask no Telegram

    held = settings.telegram
    try:
        name = await name_of(held.token.get_secret_value(), held.base_url)
    except Rejected as error:
        return Finding("telegram", State.FAIL, str(error))
    except Unavailable as error:
        return Finding("telegram", State.WARN, f"{error}; the bot trades without it and tries again")
    if not held.chat_ids:
        return Finding("telegram", State.WARN, f"@{name} knows nobody: set TELEGRAM_CHAT_ID")
    code = "a code is asked for" if held.totp_secret.get_secret_value() else "no code is asked for (totp_secret)"
    return Finding("telegram", State.OK, f"@{name} obeys {len(held.users)} in {len(held.chat_ids)} chats; {code}")


def check_data(settings: Settings) -> list[Finding]:
    """Try the way of a candle through the store: write, read back, change, judge, delete; one finding per step."""
    findings: list[Finding] = []
    series, step, start = Series("DOCTOR/USDT", "1h"), HOUR_MS, 1_704_067_200_000
    rows = [(start + i * step, 100.0 + i, 101.0 + i, 99.0 + i, 100.5 + i, 10.0, 1005.0) for i in range(24)]
    bars, span = Bars.of(rows), Span(start, start + 24 * step)
    main = database(settings)
    try:
        store = CandleHistory(main)
        tables.delete(main, Source.TEST, series, span)
        saved = store.save(Source.TEST, series, bars)
        findings.append(_told("data write", saved.added == len(bars), f"{saved.added} of {len(bars)} bars stored"))
        back = store.load(Source.TEST, series, span)
        alike = all(bool((one == other).all()) for one, other in zip(back.columns(), bars.columns(), strict=True))
        findings.append(_told("data read", alike, f"{len(back)} bars read back, {'alike' if alike else 'NOT alike'}"))
        again = store.save(Source.TEST, series, Bars.of([(*rows[0][:5], 11.0, 1105.0), *rows[1:]]))
        findings.append(_told("data update", again[1:] == (0, 1), f"{again.added} added, {again.changed} changed"))
        gone = tables.delete(main, Source.TEST, series, Span(start + 5 * step, start + 7 * step))
        holes = missing(store.times(Source.TEST, series, span), span, step)
        findings.append(_told("data gaps", holes == [Span(start + 5 * step, start + 7 * step)], f"{gone} bars missed"))
        left = tables.delete(main, Source.TEST, series, span)
        findings.append(_told("data clean", len(store.times(Source.TEST, series, span)) == 0, f"{left} bars deleted"))
    except (Unavailable, Rejected, ConfigError) as error:
        findings.append(Finding("data", State.FAIL, str(error)))
    finally:
        main.close()
    return findings


def _told(name: str, good: bool, detail: str) -> Finding:  # noqa: FBT001  a verdict
    return Finding(name, State.OK if good else State.FAIL, detail)


async def _check_polled(market: PolledMarket) -> list[Finding]:
    try:
        found = await market.instruments()
    except (Unavailable, Rejected) as error:
        return [Finding("exchange", State.FAIL, str(error))]
    detail = f"{market.source.source}: {len(found)} symbols can be followed, for paper trading"
    return [Finding("exchange", State.OK, detail)]


async def _check_account(settings: Settings, exchange: BybitBroker, symbols: Sequence[str]) -> list[Finding]:
    if not settings.bybit.api_key.get_secret_value():
        return [Finding("live", State.FAIL, "the account was not asked: there is no API key to ask with")]
    return await going_live.of_account(settings, exchange, symbols)


async def _check_exchange(settings: Settings, *, live_too: bool) -> list[Finding]:
    async with contextlib.AsyncExitStack() as stack:
        try:
            venue = await open_venue(settings, stack)
        except (ConfigError, Unavailable, Rejected) as error:
            return [Finding("exchange", State.FAIL, str(error))]
        if venue.client is None:
            return await _check_polled(PolledMarket(venue.source, settings.trading.symbols))
        exchange = exchange_of(venue.client)
        findings: list[Finding] = []
        try:
            before = time.time()
            answer = await venue.client.get("v5/market/time", {})
            offset = int(answer["timeNano"]) / 1e9 - (before + time.time()) / 2
            state = State.OK if abs(offset) < CLOCK_WARN_S else State.WARN
            findings.append(Finding("clock", state, f"{offset * 1000:+.0f} ms against the exchange"))
            known = known_rules(settings, settings.source)
            instruments = await exchange.instruments()
            symbols = symbols_of(settings, instruments, known)
            if (selection := selection_of(settings, venue, instruments, known)) is not None:
                symbols = list((await first(selection, instruments)).kept)
            state = State.OK if symbols else State.WARN
            findings.append(Finding("exchange", state, f"{len(symbols)} symbols can be traded"))
            if live_too:
                findings += await _check_account(settings, exchange, symbols)
        except ConfigError as error:
            return [*findings, Finding("live", State.FAIL, str(error))]
        except (Unavailable, Rejected) as error:
            return [*findings, Finding("exchange", State.FAIL, str(error))]
        return findings
