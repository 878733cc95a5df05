"""What Bybit's return codes mean for the request that they answer.

Source: Bybit v5 documentation, "Error Codes" (common, unified trading account, and the spot codes that a unified
account may return), and "Rate Limit Rules" for HTTP 403.
"""

from __future__ import annotations

from enum import StrEnum

from broker.bybit.objections import objection
from domain.errors import Rejected, Unavailable


class Meaning(StrEnum):
    """What a code says about the request.

    DONE: what was asked for holds already. REFUSED: not done, and asking again does not help. UNKNOWN: it may have been
    done, so it has to be looked up. WAIT: not done, the same request may be sent again later. KEY: not done, and
    nothing like it will be until the operator changes the key, its permissions or the account.
    """

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    WAIT = "wait"
    KEY = "key"


class NotAccepted(Unavailable):
    """The exchange turned a request away before looking at it; the same one may be sent again."""


class TooFast(NotAccepted):
    """More requests to this path than this second allows."""


class ClockOff(NotAccepted):
    """The time in the request differs too much from the exchange's."""


class Banned(NotAccepted):
    """The exchange answers no request from this address for a while; nothing was sent."""


class Done(Rejected):
    """The exchange changed nothing, because what was asked for holds already."""


class KeyRefused(Rejected):
    """The key, its permissions or the account do not allow the request; ``code`` is an HTTP status or a return code."""


class AddressBlocked(KeyRefused):
    """The exchange does not serve the country of this address."""


CREATE, CANCEL = "v5/order/create", "v5/order/cancel"
SET_LEVERAGE, TRADING_STOP = "v5/position/set-leverage", "v5/position/trading-stop"

DONE_AT: dict[str, frozenset[int]] = {
    CANCEL: frozenset({110001, 110008, 110010, 170139, 170142, 170143, 170190, 170213}),
    SET_LEVERAGE: frozenset({110043}),
    TRADING_STOP: frozenset({34040}),
}
"""Codes that are as good as success for one path: the order is gone, the leverage or the stop is what it should be."""

TOO_FAST = 10006
CLOCK = frozenset({-1, 10002})
ID_USED = frozenset({110072, 170141})
"""There is an order of this id."""

DUPLICATE = frozenset({10014, 20006, *ID_USED})
"""The request or its id has been used: an earlier attempt has arrived."""

CURES = {
    -2015: "the API key has expired: make a new one",
    401: "the API key is not accepted here: check BYBIT_API_KEY, and the host (DATA_SOURCE, bybit.region)",
    10003: "the API key is not valid here: check BYBIT_API_KEY, and the host (DATA_SOURCE, bybit.region)",
    10004: "the signature is wrong: check BYBIT_API_SECRET",
    10005: "the API key lacks a permission: tick Contract - Orders and Positions",
    10007: "the exchange does not accept the login: check key and secret",
    10008: "the account is banned: see its messages, and the account's mode",
    10009: "the exchange does not serve this region: run the bot in another one",
    10010: "the API key is bound to other addresses: add this host's address to it",
    10024: "the account has to meet compliance rules: see its messages",
    10027: "trading is banned for this account: see its messages",
    10028: "the account has to be a unified trading account: upgrade it",
    33004: "the API key has expired: make a new one",
    100028: "unified accounts may not use this: check the account's type",
    110018: "the user id is not accepted: check the account",
    110067: "the exchange does not support the account's type for this",
    110069: "institutional loans do not allow this account to trade",
    110080: "the account's institutional loan is being liquidated",
    110088: "the account has to be a unified trading account: upgrade it",
    110124: "trading is restricted during a cooling-off period",
    170348: "the account belongs to Bybit Turkey: set bybit.region to tr",
    3100197: "the account is being upgraded: wait until that is done",
    3200320: "the account's institutional loan is being liquidated",
    500010: "the subaccount does not belong to this account",
    500011: "the account has to be a unified trading account",
}
"""What to do about each code that only the operator can do something about."""

WAIT = frozenset({
    429, 10429, *CLOCK, TOO_FAST, 10018, 20003, 30035,
    110063, 110114,  # settlement, a spread order in progress
    170005, 170191, 170222,
})  # fmt: skip

UNKNOWN = frozenset({
    10000, 10016, 10019, *DUPLICATE, 40004, 110079, 3400214,
    # internal errors and timeouts of creating, cancelling and changing
    170001, 170007, 170032, 170035, 170146, 170147, 170212, 170234, 170310,
})  # fmt: skip

REFUSED = frozenset({
    # the request itself, its symbol or path
    10001, 10017, 10029, 10404, 34040, 181017, *range(181000, 181015), 181018, 181019, 3100181, 3100326,
    # institutional loans, price limits, delisting
    30133, 30134, 30135, 30136, 30208, 30209, 30228, 30256,
    # derivatives: orders, balance, margin, limits, position mode, TP/SL, pre-market, terms to be accepted
    110001, *range(110003, 110018), *range(110019, 110063), 110064, 110065, 110066, 110068, *range(110070, 110072),
    *range(110073, 110079), 110082, 110083, *range(110085, 110088), 110089, 110090, *range(110092, 110114),
    *range(110115, 110122), 110123, 110125, 110131, 110132, 110135, 110136, 110137, 3200403, 3400139,
    # what a unified account may say in the spot codes
    170010, 170011, 170019, 170031, 170033, 170034, 170036, 170037, 170105, 170115, 170116, 170117, 170121, 170124,
    *range(170130, 170135), 170136, 170137, 170139, 170140, *range(170142, 170146), *range(170148, 170152), 170157,
    170159, 170190, *range(170192, 170205), 170206, 170207, 170209, 170210, 170213, *range(170215, 170222), 170223,
    170224, *range(170226, 170231), 170241,
    170311, 170312, 170313, 170341, 170344, 170346, 170355, 170358, 170359, 170360,
    170371, 170372, 170381, 170382, 170709, 170810,
})  # fmt: skip

CREDENTIALS = frozenset({-2015, 401, 10003, 10004, 10007, 10009, 10010, 33004})
"""Concern every request; what the other codes of ``CURES`` forbid one path, other paths may still do."""


def meaning(code: int, path: str) -> Meaning | None:
    """Return what a code means as the answer to a request to a path; None for a code that is not documented."""
    if code in DONE_AT.get(path, ()):
        return Meaning.DONE
    for codes, means in ((CURES, Meaning.KEY), (WAIT, Meaning.WAIT), (UNKNOWN, Meaning.UNKNOWN)):
        if code in codes:
            return means
    return Meaning.REFUSED if code in REFUSED else None


def failure(code: int, said: str, path: str) -> Rejected | Unavailable:
    """Return the error that a code stands for; a plain Unavailable says that nobody knows whether it was done.

    A code that is not documented leaves open whether an order was created; of everything else it is a refusal.
    """
    means, text = meaning(code, path), f"{path}: {said}"
    if means is Meaning.DONE:
        return Done(f"{text} (retCode {code})", code)
    if means is Meaning.KEY:
        return KeyRefused(f"{text} (retCode {code}): {CURES[code]}", code)
    if means is Meaning.WAIT:
        kind = TooFast if code == TOO_FAST else ClockOff if code in CLOCK else NotAccepted
        return kind(f"{text} (retCode {code})")
    if means is Meaning.UNKNOWN or (means is None and path == CREATE):
        return Unavailable(f"{text} (retCode {code})", code)
    return Rejected(f"{text} (retCode {code})", code, objection(code, said))
