"""Whether real money may be traded: everything that stands against it, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from decimal import Decimal

    from broker.bybit import BybitBroker


class Check(NamedTuple):
    """Something that real money needs: ``fact`` says that it holds, ``cure`` what to do when it does not."""

    name: str
    good: bool
    fact: str
    cure: str


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
    against = [check.cure for check in key_checks(facts, confirm) if not check.good]
    if not against:
        held = {position.symbol for position in await broker.positions()}
        for symbol in symbols:
            if symbol not in held:
                await broker.set_leverage(symbol, leverage)
        against = against_modes(await broker.position_modes(symbols), leverage, held)
    if against:
        raise ConfigError("live trading is not armed:\n  - " + "\n  - ".join(against))
    return str(facts["uid"])


def key_checks(facts: Mapping[str, Any], confirm: str) -> list[Check]:
    """Return what has to hold for an account and its API key, each with whether it does."""
    rights = [str(right).lower() for held in facts["permissions"].values() for right in held]
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
            "key trades", bool(facts["permissions"].get("ContractTrade")), "the API key may trade contracts",
            "the API key lacks the contract trading right",
        ),
        Check(
            "margin mode", facts["margin_mode"] in MARGIN_MODES, f"margin mode is {facts['margin_mode']}",
            f"margin mode is {facts['margin_mode']}: set cross (REGULAR) or ISOLATED margin",
        ),
    ]  # fmt: skip


def against_modes(modes: Mapping[str, tuple[int, Decimal]], wanted: Decimal, held: Collection[str] = ()) -> list[str]:
    """Return what stands against the position modes and leverages that were read back; ``held`` keep their leverage."""
    against = []
    for symbol, (index, leverage) in modes.items():
        if index:
            against.append(f"{symbol} is in hedge mode: switch the account to one-way mode")
        elif leverage != wanted and symbol not in held:
            against.append(f"{symbol} reads back leverage {leverage}, wanted {wanted}")
    return against
