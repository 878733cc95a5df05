"""Whether real money may be traded: everything that stands against it, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from decimal import Decimal

    from broker.bybit import BybitBroker

MARGIN_MODES = {"REGULAR_MARGIN", "ISOLATED_MARGIN"}


async def arm(broker: BybitBroker, confirm: str, symbols: Sequence[str], leverage: Decimal) -> str:
    """Check that live trading is meant and safe, set the leverage, and return the account's uid.

    Args:
        broker: the account.
        confirm: LIVE_CONFIRM, which must equal the account's uid.
        symbols: what will be traded.
        leverage: what must read back for each of them, but those with an open position: raising theirs would bring
            liquidation nearer than the stop it was opened with.

    Raises:
        ConfigError: naming everything that stands against it.
    """
    facts = await broker.account_facts()
    against = against_key(facts, confirm)
    if not against:
        held = {position.symbol for position in await broker.positions()}
        for symbol in symbols:
            if symbol not in held:
                await broker.set_leverage(symbol, leverage)
        against = against_modes(await broker.position_modes(symbols), leverage, held)
    if against:
        raise ConfigError("live trading is not armed:\n  - " + "\n  - ".join(against))
    return str(facts["uid"])


def against_key(facts: Mapping[str, Any], confirm: str) -> list[str]:
    """Return what stands against an account and its API key."""
    rights = [str(right).lower() for held in facts["permissions"].values() for right in held]
    checks = {
        "LIVE_CONFIRM is not the account's uid: set it to the uid to say that real money is meant": (
            not facts["uid"] or confirm != facts["uid"]
        ),
        "the API key may withdraw: make one that may trade only": any("withdraw" in right for right in rights),
        "the API key is read-only: it cannot trade": facts["read_only"],
        "the API key lacks the contract trading right": not facts["permissions"].get("ContractTrade"),
        f"margin mode is {facts['margin_mode']}: set cross (REGULAR) or ISOLATED margin": (
            facts["margin_mode"] not in MARGIN_MODES
        ),
    }
    return [text for text, wrong in checks.items() if wrong]


def against_modes(modes: Mapping[str, tuple[int, Decimal]], wanted: Decimal, held: Collection[str] = ()) -> list[str]:
    """Return what stands against the position modes and leverages that were read back; ``held`` keep their leverage."""
    against = []
    for symbol, (index, leverage) in modes.items():
        if index:
            against.append(f"{symbol} is in hedge mode: switch the account to one-way mode")
        elif leverage != wanted and symbol not in held:
            against.append(f"{symbol} reads back leverage {leverage}, wanted {wanted}")
    return against
