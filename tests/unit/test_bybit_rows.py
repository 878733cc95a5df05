"""Bybit's rows in our own terms: causes, fees, legs, closed profits, rules and tiers."""

from __future__ import annotations

import gzip
import json
import random
from decimal import Decimal as D
from pathlib import Path

import msgspec
import pytest

from broker.bybit import BybitBroker
from broker.bybit.access import Access
from broker.bybit.instruments import instrument, risk_tiers
from broker.bybit.messages import Rows, balance, page_of
from domain.errors import Objection, Rejected, RevenantError, Unavailable
from domain.ids import order_id
from domain.instrument import Instrument
from domain.order import Cause, OrderKind, OrderRequest, OrderSide
from domain.records import Fill

BTC = "BTC/USDT:USDT"
DATA = Path(__file__).parents[3] / "shared" / "data"
recorded = pytest.mark.skipif(not DATA.exists(), reason="recorded exchange bodies are not beside the checkout")
ROW = {
    "symbol": "BTCUSDT", "orderId": "v", "orderLinkId": "", "side": "Sell", "execFee": "0.1", "execId": "x", "execPrice": "100",
    "execQty": "2", "execType": "Trade", "execTime": "1672282722429", "stopOrderType": "", "closedSize": "2", "isMaker": False,
    "createType": "CreateByUser", "feeCurrency": "USDT", "feeRate": "0.00055",
}  # fmt: skip


class Client:
    """Answers with bodies by path, and keeps what was asked and changed."""

    def __init__(self, **bodies):
        self.bodies, self.asked, self.posted, self.refusal = bodies, [], [], None

    async def get(self, path, params):
        self.asked.append((path, dict(params)))
        answer = self.bodies.get(path.rpartition("/")[2].replace("-", "_"), {"list": []})
        answer = answer(params) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def post(self, path, params):
        self.posted.append((path, dict(params)))
        if self.refusal is not None:
            raise self.refusal
        return {}

    async def pages(self, path, params):
        cursor = ""
        while True:
            result = await self.get(path, {**params, "cursor": cursor} if cursor else params)
            yield page_of(path, result)
            cursor = result.get("nextPageCursor", "")
            if not cursor:
                return


def cause(**change):
    (fill,) = Rows()._fills([{**ROW, **change}])
    return fill.cause


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Trade", Cause.MANUAL), ("AdlTrade", Cause.ADL), ("Funding", Cause.FUNDING), ("BustTrade", Cause.LIQUIDATION),
        ("Delivery", Cause.SETTLEMENT), ("Settle", Cause.SETTLEMENT), ("BlockTrade", Cause.TRANSFER),
        ("MovePosition", Cause.TRANSFER), ("FutureSpread", Cause.MANUAL), ("CorporateAction", Cause.CORPORATE_ACTION),
    ],
)  # fmt: skip
def test_every_documented_kind_of_execution_is_a_fact(kind, expected):
    assert cause(execType=kind) is expected


@pytest.mark.parametrize("kind", ["UNKNOWN", "SessionSettlePnL", "Airdrop", ""])
def test_an_execution_of_another_kind_is_kept_and_told_once(kind):
    rows = Rows()
    for _ in range(3):
        assert rows._fills([{**ROW, "execType": kind}]) == []
    (kept,) = rows.unread()
    assert (kept.symbol, kept.time, rows.malformed) == (BTC, 1672282722429, 0)
    assert kind in kept.what
    assert msgspec.json.decode(msgspec.json.encode(kept))["row"].startswith("{'symbol': 'BTCUSDT'")
    assert rows.unread() == []


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("CreateByUser", Cause.MANUAL), ("CreateByClosing", Cause.MANUAL), ("CreateByFutureSpread", Cause.MANUAL),
        ("CreateByStopOrder", Cause.MANUAL), ("CreateByMmRateClose", Cause.MANUAL), ("CreateByTVSignal", Cause.MANUAL),
        ("CloseByFGridBot", Cause.MANUAL), ("CreateByTWAP", Cause.MANUAL), ("CreateByAdminClosing", Cause.SETTLEMENT),
        ("CreateBySettle", Cause.SETTLEMENT), ("CreateByLiq", Cause.LIQUIDATION),
        ("CreateByTakeOver_PassThrough", Cause.LIQUIDATION), ("CreateByAdl_PassThrough", Cause.ADL),
        ("CreateByBlock_PassThrough", Cause.TRANSFER), ("CreateByBlockTradeMovePosition_PassThrough", Cause.TRANSFER),
        ("CreateByStopLoss", Cause.STOP_LOSS), ("CreateByPartialStopLoss", Cause.STOP_LOSS),
        ("CreateByTakeProfit", Cause.TAKE_PROFIT), ("CreateByPartialTakeProfit", Cause.TAKE_PROFIT),
        ("CreateByTrailingStop", Cause.TRAILING_STOP), ("CreateByTrailingProfit", Cause.TRAILING_STOP),
        ("", Cause.UNKNOWN), (None, Cause.UNKNOWN), ("NeverHeardOf", Cause.UNKNOWN),
    ],
)  # fmt: skip
def test_the_cause_of_a_trade_without_an_id_of_ours_is_who_made_its_order(created, expected):
    assert cause(createType=created) is expected


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ("StopLoss", Cause.STOP_LOSS), ("PartialStopLoss", Cause.STOP_LOSS), ("TakeProfit", Cause.TAKE_PROFIT),
        ("PartialTakeProfit", Cause.TAKE_PROFIT), ("TrailingStop", Cause.TRAILING_STOP), ("MmRateClose", Cause.MANUAL),
        ("UNKNOWN", Cause.MANUAL), ("Stop", Cause.MANUAL),
    ],
)  # fmt: skip
def test_a_triggered_order_says_what_triggered_it(stop, expected):
    assert cause(stopOrderType=stop) is expected


@pytest.mark.parametrize(("leg", "expected"), [("e", Cause.ENTRY), ("p", Cause.PARTIAL), ("x", Cause.UNKNOWN)])
def test_orders_of_ours_have_the_cause_of_their_leg_unless_the_exchange_took_over(leg, expected):
    ours = order_id("ABCDEFGHIJKLMNOPQRSTUVWX", leg, 0, paper=False)
    assert cause(orderLinkId=ours) is expected
    assert cause(orderLinkId=ours, execType="AdlTrade") is Cause.ADL


@pytest.mark.parametrize(
    "other",
    [
        {"category": "spot"},
        {"category": "inverse"},
        {"category": "option"},
        {"symbol": "BTCPERP"},
        {"symbol": "BTCUSDT-26DEC25"},
    ],
)
def test_executions_of_other_products_of_the_account_are_none_of_ours(other):
    rows = Rows()
    assert rows._fills([{**ROW, **other}]) == []
    assert rows.unread() == []
    assert len(rows._fills([{**ROW, "category": "linear"}])) == 1


@pytest.mark.parametrize(
    ("change", "fee", "coin"),
    [
        ({}, "0.1", ""), ({"feeCurrency": ""}, "0.1", ""), ({"execFee": "-0.02"}, "-0.02", ""),
        # in the contract's own coin: by the price of this very execution
        ({"feeCurrency": "BTC", "execFee": "0.0011"}, "0.11", "BTC"),
        # in any other: by the rate, which gives the same whenever the row is read
        ({"feeCurrency": "MNT", "execFee": "0.12"}, "0.11", "MNT"),
        ({"feeCurrency": "MNT", "execFee": "-0.02", "feeRate": "-0.0001"}, "-0.02", "MNT"),
        ({"feeCurrency": "MNT", "execFee": "0"}, "0", ""),
    ],
)  # fmt: skip
def test_fees_count_at_their_value_in_usdt(change, fee, coin):
    (fill,) = Rows()._fills([{**ROW, **change}])
    assert (fill.fee, fill.fee_coin) == (D(fee), coin)


def test_a_fill_that_was_written_before_the_coin_was_known_is_still_read():
    (fill,) = Rows()._fills([ROW])
    tree = json.loads(msgspec.json.encode(fill))
    del tree["fee_coin"]
    assert msgspec.json.decode(json.dumps(tree), type=Fill) == fill


def leg(index, side, size, **change):
    return {
        "symbol": "BTCUSDT", "positionIdx": index, "side": side, "size": size, "avgPrice": "100", "stopLoss": "", "takeProfit": "",
        "leverage": "10", "markPrice": "100", "unrealisedPnl": "0", "liqPrice": "", **change,
    }  # fmt: skip


async def test_legs_of_a_hedge_mode_position_are_never_one():
    broker = BybitBroker(
        Client(
            list={"list": [leg(1, "Buy", "5"), leg(2, "Sell", "2", liqPrice="140"), leg(0, "", "0", symbol="ETHUSDT")]}
        )
    )
    assert [(held.symbol, held.index, held.qty, held.liquidation) for held in await broker.positions()] == [
        (BTC, 1, D(5), D(0)), (BTC, 2, D(-2), D(140)),
    ]  # fmt: skip
    assert (await broker.position_modes([BTC]))[BTC] == (2, D(10))


@pytest.mark.parametrize(
    ("created", "expected"),
    [("1676538056258", 1676538056258), ("", 0), (None, 0), ("never", 0), ("9" * 40, 0), (1676538056258, 1676538056258)],
)
async def test_when_the_first_position_came_to_be_is_read_and_an_odd_time_hides_no_position(created, expected):
    row = {"symbol": "BTCUSDT", "side": "Buy", "size": "1", "avgPrice": "100", "positionIdx": 0, "createdTime": created}
    (held,) = await BybitBroker(Client(list={"list": [row]})).positions()
    assert (held.qty, held.created) == (D(1), expected)


@pytest.mark.parametrize(
    ("rows", "flat"),
    [
        ([leg(1, "", "0"), leg(2, "", "0")], True), ([leg(1, "", ""), leg(2, "", "0")], False), ([leg(0, "", "")], False),
        ([leg(1, "", "0"), leg(2, "Sell", "1")], False), ([leg(0, "", "0.000")], True),
    ],
)  # fmt: skip
async def test_flat_is_what_every_leg_says_in_numbers(rows, flat):
    assert await BybitBroker(Client(list={"list": rows})).flat(BTC) is flat


@pytest.mark.parametrize(
    "row",
    [
        leg(0, "Long", "1"),
        leg(0, "Buy", ""),
        leg(7, "Buy", "1"),
        leg(0, "Buy", "-1"),
        leg(0, "Buy", []),
        {"symbol": "BTCUSDT", "side": "Buy"},
    ],
)
async def test_a_position_that_cannot_be_read_is_not_none(row):
    with pytest.raises(Unavailable):
        await BybitBroker(Client(list={"list": [row]})).positions()


async def test_a_leg_is_protected_and_closed_by_its_index():
    client = Client()
    broker = BybitBroker(client)
    await broker.set_stop(BTC, D(90), D(110), index=1)
    await broker.set_stop(BTC, D(90), None)
    await broker.place(OrderRequest("L1-x", BTC, OrderSide.BUY, OrderKind.MARKET, D(2), reduce_only=True, index=2))
    await broker.place(OrderRequest("L1-y", BTC, OrderSide.BUY, OrderKind.MARKET, D(2)))
    assert [params["positionIdx"] for _, params in client.posted] == [1, 0, 2, 0]


async def test_closed_profits_of_one_order_add_up_and_a_row_on_two_pages_counts_once():
    part = {
        "symbol": "BTCUSDT",
        "orderId": "A",
        "side": "Sell",
        "avgExitPrice": "90",
        "closeFee": "0.1",
        "closedSize": "1",
        "updatedTime": "5",
    }
    first = {**part, "closedSize": "3", "avgExitPrice": "98", "updatedTime": "9"}
    other = {**part, "orderId": "B", "updatedTime": "1"}
    pages = {"": {"list": [first, part, part], "nextPageCursor": "2"}, "2": {"list": [part, other]}}
    broker = BybitBroker(Client(closed_pnl=lambda params: pages[params.get("cursor", "")]))
    parts = await broker.closed_since(0, 10, BTC)
    assert [(one.venue_order_id, one.qty, one.exit_price, one.time) for one in parts] == [
        ("B", D(1), D(90), 1), ("A", D(5), D("94.8"), 9),
    ]  # fmt: skip
    assert parts[1].fee == D("0.3")


async def test_windows_of_seven_days_touch_and_never_overlap():
    client, week = Client(), 7 * 86_400_000
    await BybitBroker(client).fills_since(0, 2 * week, BTC)
    windows = [(params["startTime"], params["endTime"]) for _, params in client.asked]
    assert windows == [(0, week - 1), (week, 2 * week - 1), (2 * week, 3 * week - 1)]
    assert all("execType" not in params for _, params in client.asked)


RULES = {
    "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": "BTC", "quoteCoin": "USDT",
    "settleCoin": "USDT", "leverageFilter": {"maxLeverage": "100"}, "priceFilter": {"tickSize": "0.1"},
    "lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001", "maxMktOrderQty": "100", "minNotionalValue": "5"},
}  # fmt: skip


def test_what_is_behind_a_contract_and_when_it_ends_belong_to_its_rules():
    plain = instrument(RULES, D(7))
    assert plain == Instrument(
        BTC, "BTCUSDT", D("0.1"), D("0.001"), D("0.001"), D(100), D(5), D(100), turnover_24h=D(7)
    )
    stock = instrument(
        {**RULES, "symbolType": "stock", "deliveryTime": "1790000000000", "isPreListing": True, "status": "PreLaunch"},
        D(0),
    )
    assert (stock.category, stock.delivery_time, stock.pre_listing, stock.trading) == (
        "stock",
        1790000000000,
        True,
        False,
    )
    for status in ("PreLaunch", "Delivering", "Closed", "Settling"):
        assert not instrument({**RULES, "status": status}, D(0)).trading
    assert instrument({**RULES, "contractType": "LinearFutures"}, D(0)) is None
    assert instrument({**RULES, "settleCoin": "USDC"}, D(0)) is None


@recorded
async def test_the_recorded_rules_tell_stocks_commodities_and_coins_apart():
    body = json.loads(
        gzip.decompress((DATA / "rest_bybit_v5" / "instruments-info_linear_2026-08-09.json.gz").read_bytes())
    )["result"]
    rules = await BybitBroker(Client(instruments_info=body)).instruments()
    counts = {
        kind: sum(one.category == kind for one in rules.values()) for kind in ("stock", "commodity", "innovation")
    }
    assert counts == {"stock": 174, "commodity": 4, "innovation": 117}
    assert all(one.maintenance_rate(D(1)) == 1 / (2 * one.max_leverage) for one in rules.values())


TIERS = [
    {"id": 2, "symbol": "BTCUSDT", "riskLimitValue": "4000000", "maintenanceMargin": "0.01", "initialMargin": "0.02", "maxLeverage": "50.00", "mmDeduction": "10000"},
    {"id": 1, "symbol": "BTCUSDT", "riskLimitValue": "2000000", "maintenanceMargin": "0.005", "initialMargin": "0.01", "maxLeverage": "100.00", "mmDeduction": ""},
]  # fmt: skip


def test_margin_tiers_are_fractions_whether_they_come_as_such_or_in_percent():
    percent = [
        {
            **row,
            "maintenanceMargin": str(D(row["maintenanceMargin"]) * 100),
            "initialMargin": str(D(row["initialMargin"]) * 100),
        }
        for row in TIERS
    ]
    for rows in (TIERS, percent):
        small, large = risk_tiers(rows)["BTCUSDT"]
        assert (small.limit, small.maintenance, small.max_leverage, small.deduction) == (
            D(2_000_000),
            D("0.005"),
            D(100),
            D(0),
        )
        assert (large.limit, large.maintenance, large.max_leverage, large.deduction) == (
            D(4_000_000),
            D("0.01"),
            D(50),
            D(10_000),
        )


async def test_tiers_are_learned_for_what_is_traded_and_kept_and_their_lack_costs_nothing():
    answers = {
        "BTCUSDT": {"list": TIERS},
        "ETHUSDT": {"list": [{"symbol": "ETHUSDT", "riskLimitValue": "many"}]},
        "XUSDT": Unavailable("away"),
    }
    client = Client(instruments_info={"list": [RULES, {**RULES, "symbol": "ETHUSDT", "baseCoin": "ETH"}, {**RULES, "symbol": "XUSDT", "baseCoin": "X"}]},
                    risk_limit=lambda params: answers[params["symbol"]])  # fmt: skip
    broker = BybitBroker(client)
    await broker.instruments()
    fresh = await broker.learn_tiers([BTC, "ETH/USDT:USDT", "X/USDT:USDT"])
    assert list(fresh) == [BTC]
    assert fresh[BTC].maintenance_rate(D(1_000_000)) == D("0.005")
    assert fresh[BTC].leverage_limit(D(3_000_000)) == 50
    assert (await broker.instruments())[BTC].tiers == fresh[BTC].tiers
    # asked for again every few hours, and only those that are known
    answers["BTCUSDT"] = {"list": TIERS[1:]}
    assert len((await broker.instruments())[BTC].tiers) == 2
    broker._learned -= 7 * 3600
    assert len((await broker.instruments())[BTC].tiers) == 1
    # and as soon as a refusal says that a limit is another one by now
    answers["BTCUSDT"] = {"list": TIERS}
    client.refusal = Rejected("Cannot set leverage due to risk limit level.", 110013, Objection.RISK_LIMIT)
    with pytest.raises(Rejected):
        await broker.set_leverage(BTC, D(100))
    assert len((await broker.instruments())[BTC].tiers) == 2


async def test_an_order_that_a_moving_list_shows_twice_has_ended():
    rows = [
        {"orderLinkId": "L1-x", "orderStatus": status, "cumExecQty": "0", "symbol": "BTCUSDT"}
        for status in ("New", "Cancelled")
    ]
    found = await BybitBroker(Client(realtime={"list": [*rows, {**rows[0], "orderLinkId": "L1-other"}]})).order(
        BTC, "L1-x"
    )
    assert found.state == "cancelled"


def wallet(account=None, **coin):
    usdt = {"coin": "USDT", "equity": "1010", "walletBalance": "1000", "usdValue": "1010", **coin}
    return {"totalAvailableBalance": "400", **(account or {}), "coin": [{"coin": "BTC", "equity": "1"}, usdt]}


@pytest.mark.parametrize(
    ("row", "mode", "available"),
    [
        (wallet(), "REGULAR_MARGIN", "400"),
        (wallet(), "", "400"),
        # told in dollars, of which a coin may be worth more or less than one
        (wallet(usdValue="1020.1"), "REGULAR_MARGIN", "396.0396"),
        (wallet(usdValue=""), "REGULAR_MARGIN", "400"),
        (wallet({"totalAvailableBalance": "-3"}), "REGULAR_MARGIN", "0"),
        # what concerns the whole account is not told where margin is isolated, whatever stands there
        (wallet({"totalAvailableBalance": ""}, totalPositionIM="300", totalOrderIM="50"), "ISOLATED_MARGIN", "650"),
        (
            wallet({"totalAvailableBalance": "0"}, totalPositionIM="300", locked="20", bonus="5"),
            "ISOLATED_MARGIN",
            "675",
        ),
        (wallet({"totalAvailableBalance": ""}, totalPositionIM="300"), "", "700"),
        (wallet({"totalAvailableBalance": ""}, totalPositionIM="1300"), "ISOLATED_MARGIN", "0"),
    ],
)
def test_what_is_available_is_read_as_margin_is_shared(row, mode, available):
    found = balance(row, mode)
    assert (found.equity, found.wallet) == (D(1010), D(1000))
    assert found.available == pytest.approx(D(available), abs=D("0.0001"))


async def test_a_margin_mode_changed_by_hand_is_noticed_and_bars_entries_where_it_is_unknown():
    answers = {"wallet_balance": {"list": [wallet(totalPositionIM="0")]}, "info": {"marginMode": "REGULAR_MARGIN"}}
    client = Client(**answers)
    client.access = Access()
    broker = BybitBroker(client)
    assert (await broker.balance()).available == 400
    client.bodies["info"] = {"marginMode": "PORTFOLIO_MARGIN"}
    # as long as the wallet looks the same, nobody is asked
    await broker.balance()
    assert [path for path, _ in client.asked if path == "v5/account/info"] == ["v5/account/info"]
    assert broker.barred() == ""
    client.bodies["wallet_balance"] = {"list": [wallet(totalPositionIM="")]}
    await broker.balance()
    assert "PORTFOLIO_MARGIN" in broker.barred()
    assert broker.barred() in broker.obstacles()


SAMPLES = {
    "tickers": [{"symbol": "BTCUSDT", "turnover24h": "1000", "lastPrice": "1"}], "instruments_info": [RULES], "risk_limit": TIERS,
    "wallet_balance": [{"totalAvailableBalance": "9", "coin": [{"coin": "USDT", "equity": "10", "walletBalance": "10"}]}],
    "list": [{**ROW, **leg(0, "Buy", "1")}], "closed_pnl": [{"symbol": "BTCUSDT", "orderId": "A", "side": "Sell", "avgExitPrice": "90",
                                                            "closeFee": "0.1", "closedSize": "1", "updatedTime": "5"}],
    "realtime": [{"symbol": "BTCUSDT", "orderLinkId": order_id("ABCDEFGHIJKLMNOPQRSTUVWX", "e", 0, paper=False), "orderStatus": "New", "side": "Buy",
                  "qty": "2", "cumExecQty": "1", "price": "5", "reduceOnly": False, "createdTime": "7"}],
}  # fmt: skip
STRANGE = [
    "",
    None,
    -1,
    0,
    1e308,
    "1e999",
    "NaN",
    "sNaN",
    "Infinity",
    [],
    {},
    [[]],
    "x",
    True,
    10**5000,
    "9" * 40,
    {"a": 1},
]


def mutated(body, draw):
    """One to three fields anywhere in the body are missing or something else."""
    for _ in range(draw.randint(1, 3)):
        place = body
        while isinstance(place, dict | list) and place:
            key = draw.choice(sorted(place)) if isinstance(place, dict) else draw.randrange(len(place))
            if not isinstance(place[key], dict | list) or draw.random() < 0.15:
                if draw.random() < 0.3:
                    del place[key]
                else:
                    place[key] = draw.choice(STRANGE)
                break
            place = place[key]
    return body


def calls(broker):
    return [
        broker.instruments, broker.balance, broker.positions, broker.open_orders, broker.account_facts, lambda: broker.flat(BTC),
        lambda: broker.order(BTC, "x"), lambda: broker.fills_since(0, 1), lambda: broker.closed_since(0, 1, BTC),
        lambda: broker.position_modes([BTC]), lambda: broker.learn_tiers([BTC]),
    ]  # fmt: skip


async def test_no_body_whatever_ever_raises_anything_but_our_own_errors():
    draw = random.Random(5)
    for _ in range(6_000):
        client = Client(
            **{name: mutated({"list": json.loads(json.dumps(rows))}, draw) for name, rows in SAMPLES.items()}
        )
        try:
            found = await draw.choice(calls(BybitBroker(client)))()
        except RevenantError:
            continue
        for one in found if isinstance(found, list) else []:
            for name in ("qty", "price", "fee", "filled", "entry_price", "stop", "exit_price"):
                assert D(getattr(one, name, 0)).is_finite()


@pytest.mark.parametrize("permissions", ["all", ["ContractTrade"], {"ContractTrade": "Order"}, {"ContractTrade": 7}])
async def test_rights_that_cannot_be_read_are_none(permissions):
    broker = BybitBroker(
        Client(query_api={"userID": 1, "permissions": permissions}, info={"marginMode": "REGULAR_MARGIN"})
    )
    with pytest.raises(Unavailable):
        await broker.account_facts()
