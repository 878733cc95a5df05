"""What has to hold before real money is traded, step by step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from app.permissions import permissions
from bootstrap.parts import plans
from broker.bybit.api_key import NOTICE_DAYS
from broker.bybit.preflight import arm, key_checks
from domain.errors import ConfigError
from domain.finding import Finding, State
from strategies.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from broker.bybit import BybitBroker
    from settings import Settings

PRUDENT_PERCENT = Decimal("0.5")
"""More than this share of the equity at stake in one trade is nothing to begin with."""

SHOWN = (
    "Those that ship: trend_pullback and mean_reversion have lost on real candles (BTC 15m, 2024: 565 trades, -0.29 R "
    "each, -50.0 %, holding +119.9 %); breakout earned +0.15 R a trade until 2024-03, and nothing since "
    "(docs/strategies.md, with the commands)"
)
"""What a backtest of the shipped settings gave; the document has the commands that make these figures again."""


def of_settings(settings: Settings) -> list[Finding]:
    """Return the steps that the configuration itself shows; what only weakens the operator's sight is a warning."""
    told, keys = settings.telegram, settings.bybit
    return [
        _step("live source", settings.source.tradable, f"source {settings.source} takes real orders",
              f"source {settings.source} takes no real orders: set DATA_SOURCE to bybit"),
        _step("live key", bool(keys.api_key.get_secret_value() and keys.api_secret.get_secret_value()),
              "an API key and its secret are set", "no API key: set BYBIT_API_KEY and BYBIT_API_SECRET"),
        _step("live confirmed", bool(settings.live_confirm), "LIVE_CONFIRM is set",
              "nothing says that real money is meant: set LIVE_CONFIRM to the account's uid"),
        _step("live mode", settings.mode == "live", "trading.mode is live", "trading.mode is paper",
              State.WARN),
        _step("live risk", settings.risk.percent <= PRUDENT_PERCENT, f"{settings.risk.percent} % of the equity",
              f"risk.percent is {settings.risk.percent}: begin with 0.1, at most {PRUDENT_PERCENT}", State.WARN),
        of_strategies(settings), *of_proof(settings),
        _step("live watched", bool(settings.heartbeat.url.get_secret_value()), "a heartbeat is sent",
              "nobody outside notices when the bot dies: set HEARTBEAT_URL", State.WARN),
        _step("live in hand", bool(told.token.get_secret_value() and told.chat_ids), "obeys in Telegram",
              "cannot be stopped from afar: set TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID", State.WARN),
        _step("live backups", settings.backup.daily, "backed up daily", "no daily backups: set backup.daily: true",
              State.WARN),
    ]  # fmt: skip


def of_strategies(settings: Settings) -> Finding:
    """Return what the strategies in use have shown, as far as anybody has measured it."""
    used = plans(settings)
    told = [f"in use: {', '.join(used)}", SHOWN]
    rest = [name for name in used if name not in TABLE]
    told += [f"of {', '.join(rest)} nothing is known here; manage.py backtest run measures it"] if rest else []
    return Finding("live strategies", State.WARN, ". ".join(told))


def of_proof(settings: Settings) -> list[Finding]:
    """Return of each strategy in use whether backtests prove it as it runs now."""
    return [
        Finding(f"proof of {one.strategy}", State.OK if one.proven else State.WARN, one.reason)
        for one in permissions(settings, plans(settings))
    ]


async def of_account(settings: Settings, exchange: BybitBroker, symbols: Sequence[str]) -> list[Finding]:
    """Return the steps that the exchange shows, last whether the bot would start; sets the leverage as a start does.

    Raises:
        Unavailable: when the exchange does not answer.
        Rejected: when it refuses the key.
    """
    facts = await exchange.account_facts()
    steps = [
        _step(f"live {check.name}", check.good, check.fact, check.cure)
        for check in key_checks(facts, settings.live_confirm)
    ]
    steps.append(key_end(facts))
    try:
        uid = await arm(exchange, settings.live_confirm, symbols, settings.trading.leverage)
    except ConfigError as error:
        return [*steps, Finding("live", State.FAIL, str(error))]
    return [
        *steps, Finding("live leverage", State.OK, f"{settings.trading.leverage}, one-way, on {len(symbols)} symbols"),
        Finding("live", State.OK, f"armed for account {uid}"),
    ]  # fmt: skip


def key_end(facts: Mapping[str, Any]) -> Finding:
    """Return how long the API key lasts."""
    ends = facts["expires"]
    if ends is None:
        return Finding("live key lasts", State.OK, "the API key does not end")
    left = (ends - datetime.now(UTC)) / timedelta(days=1)
    state = State.FAIL if left <= 0 else State.WARN if left <= NOTICE_DAYS else State.OK
    cure = "" if state is State.OK else ": make a new one; one that is bound to addresses does not end"
    return Finding("live key lasts", state, f"the API key ends on {ends:%Y-%m-%d}, in {left:.0f} days{cure}")


def _step(name: str, good: bool, fact: str, cure: str, worse: State = State.FAIL) -> Finding:  # noqa: FBT001  a verdict
    return Finding(name, State.OK, fact) if good else Finding(name, worse, cure)
