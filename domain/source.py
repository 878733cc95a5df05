"""Where candles come from; the source travels with every candle and decides which table it rests in."""

from __future__ import annotations

from enum import StrEnum


class Source(StrEnum):
    """Every source of candles there is. Names of tables are made from this list and from nothing else."""

    SYNTHETIC = "synthetic"
    MOCK = "mock"
    TEST = "test"
    BYBIT = "bybit"
    BYBIT_TESTNET = "bybit_testnet"
    BYBIT_DEMO = "bybit_demo"
    BINANCE = "binance"
    OKX = "okx"
    ALPACA = "alpaca"
    POLYGON = "polygon"
    COINGECKO = "coingecko"
    CRYPTOCOMPARE = "cryptocompare"

    @property
    def practice(self) -> bool:
        """Whether it is the practice exchange."""
        return self in {Source.SYNTHETIC, Source.MOCK, Source.TEST}

    @property
    def tradable(self) -> bool:
        """Whether it is Bybit in one of its environments, where orders can be sent with a key."""
        return self in {Source.BYBIT, Source.BYBIT_TESTNET, Source.BYBIT_DEMO}

    @property
    def made_up(self) -> bool:
        """Whether its prices never were a market's, or nobody can tell; such rows never reach a real table."""
        return self.practice or self is Source.BYBIT_TESTNET

    @property
    def polled(self) -> bool:
        """Whether it can be the live market of a paper bot by being asked for closed bars."""
        return self in {Source.BINANCE, Source.OKX, Source.ALPACA, Source.POLYGON}

    @property
    def stocks(self) -> bool:
        """Whether it has stocks, which go by a bare word (``AAPL``)."""
        return self in {Source.ALPACA, Source.POLYGON}


MERGE_ORDER = (
    Source.BYBIT, Source.BINANCE, Source.OKX, Source.ALPACA, Source.POLYGON, Source.CRYPTOCOMPARE, Source.COINGECKO
)  # fmt: skip
"""Real sources from the best to the poorest, as ``ohlcv_best`` merges them."""
