"""Bybit v5 spellings of market data."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from domain.durations import HOUR_MS
from domain.order_checks import PRICE_LIMIT
from sandbox import margin_shapes
from sandbox.exchange import FUNDING_RATE
from sandbox.shapes import text

if TYPE_CHECKING:
    from domain.candle import Bar
    from domain.instrument import Instrument
    from domain.order_book import Level
    from sandbox.exchange import Exchange


def price_band(exchange: Exchange, symbol: str) -> tuple[Decimal, Decimal]:
    """Return the lowest price of a sell order and the highest of a buy order."""
    rules = exchange.tape.instruments[symbol]
    last = exchange.account.last_price(symbol) or rules.tick
    return rules.price_up(last * (1 - PRICE_LIMIT)), rules.price_down(last * (1 + PRICE_LIMIT))


def open_interest(exchange: Exchange, symbol: str) -> Decimal:
    """Return a made-up open interest of both sides: what is traded in a day."""
    rules = exchange.tape.instruments[symbol]
    return rules.floor_qty(rules.turnover_24h / (exchange.account.last_price(symbol) or rules.tick))


def book_sides(book: tuple[list[Level], list[Level]]) -> dict[str, list[list[str]]]:
    """Return bids and asks as /v5/market/orderbook and the orderbook topic show them."""
    bids, asks = ([[text(price), text(size)] for price, size in side] for side in book)
    return {"b": bids, "a": asks}


def ticker(exchange: Exchange, symbol: str) -> dict[str, Any]:
    """Return a ticker as /v5/market/tickers and the tickers topic show it."""
    rules = exchange.tape.instruments[symbol]
    last = exchange.account.last_price(symbol) or rules.tick
    day = exchange.last_day(symbol)
    first = Decimal(repr(float(day.open[0]))) if len(day) else last
    hour = day.open[-(HOUR_MS // exchange.tape.base_ms) :]
    interval = rules.funding_interval_ms
    book, interest = exchange.order_book(symbol, 1), open_interest(exchange, symbol)
    bid, ask = (side[0] if side else (Decimal(0), Decimal(0)) for side in book)
    return {
        "symbol": rules.venue_id, "lastPrice": text(last), "indexPrice": text(last),
        "prevPrice24h": text(first), "prevPrice1h": text(hour[0] if len(hour) else last),
        "price24hPcnt": f"{(last - first) / first:.6f}", "openInterest": text(interest),
        "openInterestValue": f"{interest * last:.4f}", "singleOpenInterest": text(interest / 2),
        "singleOpenInterestValue": f"{interest * last / 2:.4f}",
        "highPrice24h": text(day.high.max() if len(day) else last),
        "lowPrice24h": text(day.low.min() if len(day) else last),
        "turnover24h": f"{day.turnover.sum():.4f}", "volume24h": f"{day.volume.sum():.4f}",
        "fundingRate": text(FUNDING_RATE), "fundingIntervalHour": str(interval // HOUR_MS), "fundingCap": "0.005",
        "nextFundingTime": str((exchange.processed_until // interval + 1) * interval),
        "tickDirection": "ZeroPlusTick", "bid1Price": text(bid[0]), "bid1Size": text(bid[1]),
        "ask1Price": text(ask[0]), "ask1Size": text(ask[1]), "basis": "", "basisRate": "",
        "deliveryFeeRate": "", "predictedDeliveryPrice": "", "preOpenPrice": "", "preQty": "",
    } | margin_shapes.ticker(exchange, rules)  # fmt: skip


def recent_trade(bar: Bar, base_ms: int, venue_id: str) -> dict[str, Any]:
    """Return a base bar's one trade as /v5/market/recent-trade shows it."""
    time = bar.open_time + base_ms - 1
    return {
        "execId": f"{venue_id}-{time + 1}", "symbol": venue_id, "price": text(bar.close), "size": text(bar.volume),
        "side": "Buy" if bar.close >= bar.open else "Sell", "time": str(time), "isBlockTrade": False,
        "isRPITrade": False, "seq": str(time + 1),
    }  # fmt: skip


def public_trade(bar: Bar, base_ms: int, venue_id: str) -> dict[str, Any]:
    """Return a base bar's one trade as the publicTrade topic shows it."""
    trade = recent_trade(bar, base_ms, venue_id)
    return {
        "T": int(trade["time"]), "s": venue_id, "S": trade["side"], "v": trade["size"], "p": trade["price"],
        "L": "ZeroPlusTick", "i": trade["execId"], "BT": False, "RPI": False, "seq": int(trade["seq"]),
    }  # fmt: skip


def instrument(held: Instrument, launched: int) -> dict[str, Any]:
    """Return trading rules as /v5/market/instruments-info shows them."""
    base, rest = held.symbol.split("/")
    quote, settle = rest.split(":")
    return {
        "symbol": held.venue_id, "contractType": "LinearPerpetual", "status": "Trading" if held.trading else "Closed",
        "baseCoin": base, "quoteCoin": quote, "settleCoin": settle, "launchTime": str(launched),
        "deliveryTime": str(held.delivery_time), "deliveryFeeRate": "",
        "priceScale": str(max(0, -int(held.tick.normalize().as_tuple().exponent))),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": text(held.max_leverage), "leverageStep": "0.01"},
        "priceFilter": {"minPrice": text(held.tick), "maxPrice": text(held.tick * 20_000_000),
                        "tickSize": text(held.tick)},
        "lotSizeFilter": {
            "maxOrderQty": text(held.max_qty), "minOrderQty": text(held.min_qty), "qtyStep": text(held.step),
            "postOnlyMaxOrderQty": text(held.max_qty), "maxMktOrderQty": text(held.max_qty),
            "minNotionalValue": text(held.min_notional),
        },
        "unifiedMarginTrade": True, "fundingInterval": held.funding_interval_ms // 60_000, "copyTrading": "none",
        "upperFundingRate": "0.005", "lowerFundingRate": "-0.005", "isPreListing": held.pre_listing,
        "preListingInfo": _pre_listing(launched) if held.pre_listing else None,
        "riskParameters": {"priceLimitRatioX": text(PRICE_LIMIT), "priceLimitRatioY": "0.3"}, "displayName": "",
        "symbolType": held.category, "forbidUplWithdrawal": False,
    }  # fmt: skip


def _pre_listing(launched: int) -> dict[str, Any]:
    phase = {"phase": "ContinuousTrading", "startTime": str(launched), "endTime": ""}
    fees = {"auctionFeeRate": "0", "takerFeeRate": "0.00055", "makerFeeRate": "0.0002"}
    return {"curAuctionPhase": phase["phase"], "phases": [phase], "auctionFeeInfo": fees}


def kline_row(bar: Bar) -> list[str]:
    """Return a bar as /v5/market/kline lists it."""
    return [str(bar.open_time), *(text(value) for value in bar[1:])]


def kline_item(bar: Bar, interval: str, step_ms: int, now: int, *, confirm: bool) -> dict[str, Any]:
    """Return a bar as the kline topic shows it."""
    return {
        "start": bar.open_time, "end": bar.open_time + step_ms - 1, "interval": interval, "open": text(bar.open),
        "close": text(bar.close), "high": text(bar.high), "low": text(bar.low), "volume": text(bar.volume),
        "turnover": text(bar.turnover), "confirm": confirm, "timestamp": now,
    }  # fmt: skip
