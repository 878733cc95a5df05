"""Whether real money may be traded: everything that stands against it, in words.

Source: Bybit v5 documentation, "Get API Key Information" and "Set Leverage".
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from broker.bybit.errors import KeyRefused
from broker.bybit.messages import MARGIN_MODES
from domain.errors import ConfigError, OutcomeUnknown, Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from broker.bybit.broker import BybitBroker

log = structlog.get_logger(__name__)


class Check(NamedTuple):
    """Something that real money needs: ``fact`` says that it holds, ``cure`` what to do when it does not."""

    name: str
    good: bool
    fact: str
    cure: str


CONTRACT_RIGHTS = {"Order": "Orders", "Position": "Positions"}
"""What a key needs of ``ContractTrade``, and what it is called where keys are made."""


async def arm(broker: BybitBroker, confirm: str, symbols: Sequence[str], leverage: Decimal) -> str:
    """Check that live trading is meant and safe, set the leverage where it differs, and return the account's uid.

    Args:
        broker: the account.
        confirm: LIVE_CONFIRM, which must equal the account's uid.
        symbols: what will be traded.
        leverage: what must read back for each of them, or the symbol's highest where that is less; but not for those
            with an open position: raising theirs would bring liquidation nearer than the stop it was opened with.

    Raises:
        ConfigError: naming everything that stands against it.
        Unavailable: when the exchange does not answer; what has been set until then need not be set again.
    """
    facts = await broker.account_facts()
    against = [check.cure for check in key_checks(facts, confirm) if not check.good]
    if not against:
        open_symbols = {position.symbol for position in await broker.positions()}
        modes = await broker.position_modes(symbols)
        wanted = _wanted(broker, symbols, leverage)
        against = against_modes(modes, wanted, {*open_symbols, *wanted})
        if not against:
            against = await _set_leverages(broker, modes, wanted, open_symbols)
    if against:
        raise ConfigError("live trading is not armed:\n  - " + "\n  - ".join(against))
    return str(facts["uid"])


def _wanted(broker: BybitBroker, symbols: Sequence[str], leverage: Decimal) -> dict[str, Decimal]:
    wanted = {}
    for symbol in symbols:
        limit = broker.leverage_limit(symbol)
        wanted[symbol] = leverage if limit is None else min(leverage, limit)
        if wanted[symbol] < leverage:
            log.warning(
                "leverage above what the symbol allows: its highest is used", symbol=symbol,
                leverage=str(wanted[symbol]), configured=str(leverage),
            )  # fmt: skip
    return wanted


async def _set_leverages(
    broker: BybitBroker, modes: Mapping[str, tuple[int, Decimal]], wanted: Mapping[str, Decimal], held: Collection[str]
) -> list[str]:
    """Set what differs, and return what reads back otherwise; a symbol that refuses is named and left as it is."""
    differing = [one for one, (_, leverage) in modes.items() if leverage != wanted[one] and one not in held]
    refused = set()
    for symbol in differing:
        try:
            await broker.set_leverage(symbol, wanted[symbol])
        except KeyRefused:
            raise
        except Rejected as error:
            # its entries ask for their leverage again, and are refused one by one
            refused.add(symbol)
            log.warning("leverage refused", symbol=symbol, leverage=str(wanted[symbol]), reason=str(error))
        except OutcomeUnknown as error:
            raise Unavailable(str(error)) from error
    return against_modes(await broker.position_modes(differing), wanted, refused)


def key_checks(facts: Mapping[str, Any], confirm: str) -> list[Check]:
    """Return what has to hold for an account and its API key, each with whether it does."""
    rights = [str(right).lower() for product in facts["permissions"].values() for right in product]
    contract = facts["permissions"].get("ContractTrade") or ()
    missing = [shown for right, shown in CONTRACT_RIGHTS.items() if right not in contract]
    return [
        Check(
            "confirmation", bool(facts["uid"]) and confirm == facts["uid"], "LIVE_CONFIRM is the account's uid",
            "LIVE_CONFIRM is not the account's uid: set it to the uid to say that real money is meant",
        ),
        Check(
            "no withdrawals", not any("withdraw" in right for right in rights), "the API key may not withdraw",
            "the API key may withdraw: make one that may trade only",
        ),
        Check(
            "key writes", not facts["read_only"], "the API key is not read-only",
            "the API key is read-only: it cannot trade",
        ),
        Check(
            "key trades", not missing, "the API key may trade contracts",
            f"the API key lacks {' and '.join(missing)}: tick Contract - {' and '.join(missing)} for it",
        ),
        Check(
            "margin mode", facts["margin_mode"] in MARGIN_MODES, f"margin mode is {facts['margin_mode']}",
            f"margin mode is {facts['margin_mode']}: set cross (REGULAR) or ISOLATED margin",
        ),
    ]  # fmt: skip


def against_modes(
    modes: Mapping[str, tuple[int, Decimal]], wanted: Decimal | Mapping[str, Decimal], held: Collection[str] = ()
) -> list[str]:
    """Return what stands against the position modes and leverages that were read back; ``held`` keep their leverage."""
    against = []
    for symbol, (index, leverage) in modes.items():
        needed = wanted if isinstance(wanted, Decimal) else wanted[symbol]
        if index:
            against.append(f"{symbol} is in hedge mode: switch the account to one-way mode")
        elif leverage != needed and symbol not in held:
            against.append(f"{symbol} reads back leverage {leverage}, wanted {needed}")
    return against
