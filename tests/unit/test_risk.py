"""The risk gate: sizes that never exceed their risk, and every rule that says no."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.account import AccountState, SimulatedAccount, VenueOrder
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.instrument import Instrument, RiskTier
from domain.order import OrderKind, Side
from domain.records import SwitchState
from domain.signal import Signal
from domain.trade import Trade
from engine.costs import cost_r
from engine.protections import Protection, blocked
from engine.risk import Account, Approved, Denied, RiskLimits, weigh

RULES = Instrument("A/USDT:USDT", "AUSDT", D("0.1"), D("0.01"), D("0.01"), D(100_000), D(5), D(50))
LIMITS = RiskLimits(
    percent=D(1), max_open_trades=3, max_exposure=D(4), max_position=D(2), daily_loss_percent=D(5), leverage=D(5),
    fee=D("0.00055"), slippage=D("0.0003"),
)  # fmt: skip
ACCOUNT = Account(
    equity=D(10_000), day_equity=D(10_000), day_pnl=D(0), exposure=D(0), margin=D(0), open_trades=0, switch=SwitchState.RUNNING,
    durable=True, now=10**12, closed=(),
)  # fmt: skip


def signal(entry=100.0, stop=98.0, target=104.0) -> Signal:
    return Signal("s", RULES.symbol, "3m", 0, 180_000, Side.LONG if stop < entry else Side.SHORT, entry, stop, target)


@given(
    st.floats(0.5, 50_000),
    st.floats(0.002, 0.2),
    st.integers(50, 1_000_000),
    st.sampled_from(["0.001", "0.1", "1", "10"]),
    st.booleans(),
)
def test_the_loss_at_the_stop_never_exceeds_the_percentage(entry, distance, equity, step, long):
    sign = 1 if long else -1
    rules = replace(RULES, step=D(step), min_qty=D(step))
    one = signal(entry, entry * (1 - sign * distance), entry * (1 + sign * 2 * distance))
    verdict = weigh(one, rules, LIMITS, msgspec.structs.replace(ACCOUNT, equity=D(equity)))
    if isinstance(verdict, Approved):
        costs = (LIMITS.fee + LIMITS.slippage) * D(repr(one.entry)) + (LIMITS.fee + LIMITS.slippage) * D(repr(one.stop))
        assert verdict.qty * (abs(D(repr(one.entry)) - D(repr(one.stop))) + costs) <= D(equity) / 100 * (1 + D("1e-20"))
        assert verdict.qty * D(repr(one.entry)) <= D(equity) * 2
        assert verdict.qty % D(step) == 0
        assert verdict.qty * D(repr(one.entry)) >= 5
    else:
        assert verdict.gate in {"sizing", "exposure", "margin"}


MAXIMA = [D(text) for text in ("5", "10", "12.5", "20", "25", "50", "75", "100")]
"""Highest leverages that Bybit's perpetuals have."""


@given(st.floats(0.01, 0.95), st.integers(1, 100), st.booleans(), st.sampled_from(MAXIMA))
def test_a_stop_comes_well_before_liquidation(distance, leverage, long, highest):
    """An isolated position is liquidated at 1 / leverage less the maintenance rate, which differs by contract."""
    sign = 1 if long else -1
    one = signal(100.0, 100 * (1 - sign * distance), 100 * (1 + sign * 0.5))
    # a tick so fine that the stop lies where it was asked for
    rules = replace(RULES, max_leverage=highest, tick=D("0.0000001"))
    verdict = weigh(one, rules, replace(LIMITS, leverage=D(leverage)), ACCOUNT)
    maintenance = 1 / (2 * highest)
    if isinstance(verdict, Approved):
        liquidated = 1 / verdict.leverage - maintenance
        assert 1 <= verdict.leverage <= min(leverage, highest)
        assert D(repr(distance)) <= D("0.8001") * liquidated
        # no lower than it has to be
        higher = 1 / (verdict.leverage + 1) - maintenance
        assert verdict.leverage == min(leverage, highest) or D(repr(distance)) > D("0.7999") * higher
    else:
        assert verdict.gate == "liquidation"
        assert D(repr(distance)) > D("0.7999") * (1 - maintenance)


def test_a_larger_position_keeps_more_margin_and_has_less_leverage():
    tiers = (RiskTier(D(5_000), D("0.01"), D(50)), RiskTier(D(1_000_000), D("0.05"), D(10), D(200)))
    rules = replace(RULES, tiers=tiers)
    limits = replace(LIMITS, leverage=D(50), percent=D(2))
    small = weigh(signal(100.0, 99.0), rules, limits, msgspec.structs.replace(ACCOUNT, equity=D(2_000)))
    large = weigh(signal(100.0, 99.0), rules, limits, ACCOUNT)
    assert (small.leverage, large.leverage) == (44, 10)


def test_with_every_stop_hit_the_account_still_keeps_its_maintenance_margin():
    """With cross margin all positions are liquidated together: what the others may lose counts as lost."""
    held = msgspec.structs.replace(ACCOUNT, exposure=D(20_000), margin=D(4_000), maintenance=D(2_000))
    assert isinstance(weigh(signal(), RULES, LIMITS, msgspec.structs.replace(held, at_risk=D(7_000))), Approved)
    verdict = weigh(signal(), RULES, LIMITS, msgspec.structs.replace(held, at_risk=D(7_400)))
    assert (verdict.gate, "maintenance margin" in verdict.detail) == ("liquidation", True)


@given(
    st.lists(st.tuples(st.floats(0.004, 0.3), st.floats(-0.0003, 0.0003), st.booleans()), min_size=2, max_size=12),
    st.floats(0, 0.02),
)
def test_the_exchange_has_margin_for_whatever_is_approved(signals, lost):
    """However unlike their leverages are, and though prices have moved when an order arrives."""
    names = [f"{letter}/USDT:USDT" for letter in "ABCDEFGHIJKL"[: len(signals)]]
    account = SimulatedAccount(AccountState(D(10_000)), {name: replace(RULES, symbol=name) for name in names}, Costs())
    limits = replace(LIMITS, percent=D(10), max_open_trades=99, max_exposure=D(50), max_position=D(4), leverage=D(10))
    for name, (distance, drift, long) in zip(names, signals, strict=True):
        sign = 1 if long else -1
        one = signal(100.0, 100 * (1 - sign * distance), 100 * (1 + sign))
        # what is known of the equity is some seconds old
        known = account.equity() / (1 - D(repr(lost)))
        held = msgspec.structs.replace(ACCOUNT, equity=known, margin=account.margin())
        verdict = weigh(one, RULES, limits, held)
        if isinstance(verdict, Denied):
            assert verdict.gate in {"margin", "liquidation"}
            continue
        account.set_leverage(name, verdict.leverage, 0)
        account.mark(name, D(repr(100 * (1 + drift))))
        order = VenueOrder(id="", link_id="", symbol=name, side=one.side.entry, kind=OrderKind.MARKET, qty=verdict.qty)
        account.place(order, 1, at_once=True)
    assert account.state.positions


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"switch": SwitchState.PAUSED}, "switch"),
        ({"switch": SwitchState.STOPPED}, "switch"),
        ({"durable": False}, "not_durable"),
        ({"open_trades": 3}, "max_open_trades"),
        ({"day_pnl": D(-500)}, "daily_loss"),
        ({"exposure": D(40_000)}, "exposure"),
        ({"exposure": D(39_900)}, "exposure"),
        ({"exposure": D(20_000), "margin": D(9_990)}, "margin"),
        ({"exposure": D(20_000), "margin": D(11_000)}, "margin"),
        ({"equity": D(0)}, "sizing"),
        ({"equity": D(2)}, "sizing"),
    ],
)
def test_each_limit_says_no_by_its_name(change, gate):
    assert isinstance(weigh(signal(), RULES, LIMITS, ACCOUNT), Approved)
    verdict = weigh(signal(), RULES, LIMITS, msgspec.structs.replace(ACCOUNT, **change))
    assert isinstance(verdict, Denied)
    assert verdict.gate == gate


@pytest.mark.parametrize(
    ("tick", "stop", "distance"), [("0.1", 98.0, 2), ("1", 98.7, 2), ("1", 101.3, 2), ("5", 98.0, 5)]
)
def test_the_loss_is_reckoned_to_the_stop_that_will_be_sent(tick, stop, distance):
    verdict = weigh(
        signal(stop=stop, target=104.0 if stop < 100 else 96.0), replace(RULES, tick=D(tick)), LIMITS, ACCOUNT
    )
    costs = (LIMITS.fee + LIMITS.slippage) * (100 + 100 - distance * (1 if stop < 100 else -1))
    assert verdict.qty == RULES.floor_qty(100 / (distance + costs))


@given(st.integers(0, 12_000), st.integers(0, 9_000), st.sampled_from(["0.001", "0.1", "1"]))
def test_no_more_is_tied_up_than_is_available_and_than_can_be_reckoned(available, margin, step):
    rules = replace(RULES, step=D(step), min_qty=D(step))
    account = msgspec.structs.replace(ACCOUNT, available=D(available), margin=D(margin))
    assert account.free == min(D(available), D(10_000) - margin)
    verdict, full = weigh(signal(), rules, LIMITS, account), weigh(signal(), rules, LIMITS, ACCOUNT)
    if isinstance(verdict, Approved):
        assert verdict.qty * 100 / verdict.leverage <= account.free
        assert D("0.25") * full.qty - D(step) <= verdict.qty <= full.qty
    else:
        assert verdict.gate in {"margin", "sizing"}
        assert account.free < D("0.25") * full.qty * 100 / full.leverage + D(10_000) * D("0.03")


def test_a_symbol_that_is_no_longer_traded_is_refused():
    assert weigh(signal(), replace(RULES, trading=False), LIMITS, ACCOUNT).gate == "not_trading"


def test_what_cannot_be_sold_short_is_bought_only():
    spot = replace(RULES, shortable=False)
    assert weigh(signal(stop=102.0, target=96.0), spot, LIMITS, ACCOUNT).gate == "not_shortable"
    assert isinstance(weigh(signal(), spot, LIMITS, ACCOUNT), Approved)


def test_leverage_is_capped_by_the_instrument():
    assert weigh(signal(), replace(RULES, max_leverage=D(3)), LIMITS, ACCOUNT).leverage == 3


NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def trade(minutes_ago: int, pnl: int = -10, reason: str = "stop_loss", symbol: str = RULES.symbol) -> Trade:
    end = NOW - timedelta(minutes=minutes_ago)
    return Trade(symbol, "long", D(100), D(99), D(1), end - timedelta(minutes=5), end, D(pnl), D(pnl) / 10, reason)


def protection(method: str, **change) -> Protection:
    base = Protection(method, 60 * 60_000, 2, 30 * 60_000, False, D(0), D("0.001"))
    return replace(base, **change)


@pytest.mark.parametrize(
    ("held", "closed", "expected"),
    [
        (protection("CooldownPeriod"), [trade(10)], True),
        (protection("CooldownPeriod"), [trade(31)], False),
        (protection("CooldownPeriod"), [trade(10, symbol="B/USDT:USDT")], False),
        (protection("StoplossGuard"), [trade(20), trade(10)], True),
        (protection("StoplossGuard"), [trade(10)], False),
        (protection("StoplossGuard"), [trade(20), trade(10, reason="take_profit")], False),
        (protection("StoplossGuard"), [trade(90), trade(10)], False),
        (protection("StoplossGuard"), [trade(20, symbol="B"), trade(10, symbol="C")], True),
        (protection("StoplossGuard", only_per_pair=True), [trade(20, symbol="B"), trade(10, symbol="C")], False),
        (protection("LowProfitPairs"), [trade(20), trade(10)], True),
        (protection("LowProfitPairs"), [trade(20, 50), trade(10)], False),
        (protection("MaxDrawdown"), [trade(20, 100, "take_profit"), trade(10)], False),
        (protection("MaxDrawdown"), [trade(20, -10), trade(10, -10)], True),
        (protection("MaxDrawdown", max_drawdown=D("0.5")), [trade(20, -10), trade(10, -10)], False),
    ],
)
def test_protections_block_and_let_go(held, closed, expected):
    reason = blocked([held], closed, RULES.symbol, int(NOW.timestamp() * 1000), D(10_000))
    assert bool(reason) == expected
    if reason:
        assert held.method in reason


COSTLY = RiskLimits(
    percent=D(1), max_open_trades=3, max_exposure=D(4), max_position=D(2), daily_loss_percent=D(5), leverage=D(5),
    fee=D("0.00055"), slippage=D("0.0003"), max_cost_r=D("0.15"),
)  # fmt: skip
SPOT = Instrument("A/USDT", "AUSDT", D("0.1"), D("0.01"), D("0.01"), D(100_000), D(5), D(1))


@pytest.mark.parametrize(("stop", "exits", "rules", "expected"), [
    # 0.00085 of entry and stop, and 0.0001 of the entry for each eight hours of the timeout, or of a day
    (98.0, ExitPlan(timeout_ms=8 * 3_600_000), RULES, D("0.1783") / 2),
    (98.0, ExitPlan(), RULES, D("0.1983") / 2),
    (98.0, ExitPlan(timeout_ms=48 * 3_600_000), RULES, D("0.2283") / 2),
    # of shorts and spot nothing is expected
    (102.0, ExitPlan(), RULES, D("0.1717") / 2),
    (98.0, ExitPlan(), SPOT, D("0.1683") / 2),
    # a coarse tick puts the stop further away than the signal says
    (98.04, ExitPlan(), SPOT, D("0.1683") / 2),
])  # fmt: skip
def test_what_a_signal_costs_is_told_in_r(stop, exits, rules, expected):
    given = msgspec.structs.replace(signal(stop=stop, target=110.0 if stop < 100 else 90.0), symbol=rules.symbol)
    assert cost_r(given, rules, COSTLY, exits) == expected


@given(st.floats(1, 10_000), st.floats(0.002, 0.2))
def test_the_nearer_the_stop_the_more_of_the_risk_is_cost(entry, away):
    fine = replace(RULES, tick=D("0.000001"))
    near, far = (signal(entry, entry * (1 - one), entry * 2) for one in (away, away * 1.5))
    assert cost_r(near, fine, COSTLY, ExitPlan()) > cost_r(far, fine, COSTLY, ExitPlan()) > 0


def test_a_size_that_margin_limits_leaves_room_for_fees_and_slippage():
    account = msgspec.structs.replace(ACCOUNT, available=D(1_000))
    # 200 stay in reserve; at leverage 5 a unit of value takes 0.2, two fees and the slippage
    assert weigh(signal(), RULES, LIMITS, account).qty == RULES.floor_qty(800 / D("0.2014") / 100)


@pytest.mark.parametrize(("most", "qty"), [("0.3", 30), ("0.1", 10)])
def test_no_position_is_worth_more_than_its_share_of_the_equity(most, qty):
    assert weigh(signal(), RULES, replace(LIMITS, max_position=D(most)), ACCOUNT).qty == qty


@pytest.mark.parametrize(("exposure", "verdict"), [(39_000, 10), (39_001, "exposure")])
def test_a_quarter_of_the_wanted_size_is_just_worth_its_fees(exposure, verdict):
    limits = replace(LIMITS, max_position=D("0.4"))
    weighed = weigh(signal(), RULES, limits, msgspec.structs.replace(ACCOUNT, exposure=D(exposure)))
    assert (weighed.qty if isinstance(weighed, Approved) else weighed.gate) == verdict
