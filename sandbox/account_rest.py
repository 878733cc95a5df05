"""The account over REST: its key, wallet, fees and margin mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.errors import Rejected
from sandbox import shapes
from sandbox.codes import BAD_REQUEST
from sandbox.parameters import Parameters
from sandbox.routes import ALL, LINEAR, Reply, Result, Route, Routes

if TYPE_CHECKING:
    from sandbox.dcp import Dcp
    from sandbox.exchange import Exchange

MARGIN_MODES = ("ISOLATED_MARGIN", "REGULAR_MARGIN", "PORTFOLIO_MARGIN")
PORTFOLIO_MIN = 1_000
"""Least equity for portfolio margin (USD). Source: docs, account/set-margin-mode."""


class AccountRest:
    """The endpoints about one account and its key."""

    def __init__(self, exchange: Exchange, dcp: Dcp) -> None:
        self._exchange, self._dcp = exchange, dcp

    def routes(self) -> Routes:
        """Return the endpoints."""
        return {
            ("GET", "/v5/account/info"): Route(self._info),
            ("GET", "/v5/account/wallet-balance"): Route(self._wallet),
            ("GET", "/v5/account/fee-rate"): Route(self._fee_rate, ALL, LINEAR, self._other_fees),
            ("POST", "/v5/account/set-margin-mode"): Route(self._set_margin_mode),
            ("GET", "/v5/account/query-dcp-info"): Route(self._dcp_info),
            ("POST", "/v5/order/disconnected-cancel-all"): Route(self._set_dcp),
            ("GET", "/v5/user/query-api"): Route(self._query_api),
            ("POST", "/v5/user/agreement"): Route(self._agree),
            ("GET", "/v5/asset/coin/query-info"): Route(self._coins),
            ("GET", "/v5/asset/coin-greeks"): Route(lambda _: {"list": []}),
        }

    def _info(self, _: Parameters) -> Result:
        return {
            "marginMode": shapes.margin_mode(self._exchange.account.state), "updatedTime": "0",
            "unifiedMarginStatus": 5, "dcpStatus": "OFF", "timeWindow": 0, "smpGroup": 0, "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }  # fmt: skip

    def _wallet(self, params: Parameters) -> Result:
        if params.text("accountType") != "UNIFIED":
            raise Rejected("accountType only support UNIFIED.", BAD_REQUEST)
        wallet = shapes.wallet(self._exchange.account)
        coins = params.text("coin").split(",") if "coin" in params else ["USDT"]
        return {"list": [{**wallet, "coin": [row for row in wallet["coin"] if row["coin"] in coins]}]}

    def _fee_rate(self, params: Parameters) -> Result:
        costs, contracts = self._exchange.terms.costs, self._exchange.by_venue_id
        if "symbol" in params:
            self._exchange.instrument_symbol(params.text("symbol"))
        names = [params.text("symbol")] if "symbol" in params else sorted(contracts)
        maker, taker = shapes.text(costs.maker), shapes.text(costs.taker)
        return {"list": [{"symbol": name, "takerFeeRate": taker, "makerFeeRate": maker} for name in names]}

    def _other_fees(self, category: str) -> Result:
        return {"list": []} if category == "inverse" else {"category": category, "list": []}

    def _set_margin_mode(self, params: Parameters) -> Result | Reply:
        mode = params.choice("setMarginMode", MARGIN_MODES)
        if not mode:
            raise Rejected("params error: setMarginMode is required", BAD_REQUEST)
        if mode == "PORTFOLIO_MARGIN":
            # the arithmetic of portfolio margin is not played here; Bybit refuses small accounts in the same way
            text = f"Equity needs to be equal to or greater than {PORTFOLIO_MIN} USDC"
            reasons = [{"reasonCode": "3400000", "reasonMsg": text}]
            return Reply({"reasons": reasons}, code=3400045, message="Set margin mode failed")
        self._exchange.account.set_margin_mode(mode)
        self._exchange.keep([])
        return {"reasons": []}

    def _agree(self, params: Parameters) -> Reply:
        """Sign the terms for contracts on stocks and commodities. Source: docs, user/sign-agreement."""
        if params.integer("categoryV2", 0) not in {1, 2} and params.integer("category", 0) not in {2, 3}:
            raise Rejected("params error: category or categoryV2 is required", BAD_REQUEST)
        if not params.flag("agree"):
            raise Rejected("params error: agree must be true", BAD_REQUEST)
        self._exchange.account.state.agreed = True
        self._exchange.keep([])
        return Reply({}, message="success")

    def _set_dcp(self, params: Parameters) -> Result:
        product = params.choice("product", ("OPTIONS", "DERIVATIVES", "SPOT"), "OPTIONS")
        window = params.integer("timeWindow", 0)
        if not 3 <= window <= 300:
            raise Rejected("params error: timeWindow invalid", BAD_REQUEST)
        self._dcp.set(product, window)
        return {}

    def _dcp_info(self, _: Parameters) -> Result:
        infos = [
            {"product": product, "dcpStatus": "ON", "timeWindow": str(window)}
            for product, window in sorted(self._dcp.windows.items())
        ]
        return {"dcpInfos": infos}

    def _query_api(self, _: Parameters) -> Result:
        terms = self._exchange.terms
        return {
            "id": terms.uid, "note": "practice", "apiKey": terms.key, "readOnly": 0, "secret": "",
            "permissions": {
                "ContractTrade": ["Order", "Position"], "Spot": [], "Wallet": [], "Options": [], "Derivatives": [],
                "CopyTrading": [], "BlockTrade": [], "Exchange": [], "NFT": [], "Affiliate": [],
            },
            "ips": ["127.0.0.1"], "type": 1, "deadlineDay": 3650, "expiredAt": terms.key_ends,
            "createdAt": "2020-01-01T00:00:00Z", "unified": 0, "uta": 1, "userID": int(terms.uid), "inviterID": 0,
            "vipLevel": "No VIP", "mktMakerLevel": "0", "affiliateID": 0, "rsaPublicKey": "", "isMaster": True,
            "parentUid": "0", "kycLevel": "LEVEL_DEFAULT", "kycRegion": "",
        }  # fmt: skip

    def _coins(self, params: Parameters) -> Result:
        chain = {
            "chain": "ETH", "chainType": "Ethereum (ERC20)", "confirmation": "6", "withdrawFee": "1", "depositMin": "0",
            "withdrawMin": "2", "withdrawMax": "1000000", "minAccuracy": "6", "chainDeposit": "0", "chainWithdraw": "0",
            "withdrawPercentageFee": "0", "contractAddress": "", "safeConfirmNumber": "65",
        }  # fmt: skip
        row = {"name": "USDT", "coin": "USDT", "remainAmount": "0", "chains": [chain]}
        return {"rows": [row] if params.text("coin", "USDT") == "USDT" else []}
