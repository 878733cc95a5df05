"""Lists of symbols, in settings and on command lines, take what people write and name what matches nothing."""

from __future__ import annotations

import msgspec
import pytest

from app.names import to_fetch, to_keep, to_read
from bootstrap.history import History
from bootstrap.parts import known_rules
from bootstrap.pins import pins_of
from bootstrap.polled import PolledMarket
from commands.backtest import request_of
from commands.importing import _in_full
from domain.assumed_rules import assumed
from domain.candle import Bars, Series
from domain.coverage import Span
from domain.errors import BadData, ConfigError, Rejected
from domain.source import Source
from history.port import PERPETUAL, market_of
from history.sources.exchange import ExchangeSource
from history.symbols import Market
from settings import Settings

BTC, ETH, PEPE, SPOT = "BTC/USDT:USDT", "ETH/USDT:USDT", "1000PEPE/USDT:USDT", "BTC/USDT"
BARS = Bars.of((180_000 * i, 10.0, 11.0, 9.0, 10.0, 1.0, 1.0) for i in range(3))


@pytest.fixture
def history(tmp_path):
    with History(Settings(data_dir=tmp_path)) as held:
        yield held


def keep(history: History, source: Source, *symbols: str) -> None:
    for symbol in symbols:
        history.candles.save(source, Series(symbol, "3m"), BARS)


def tell(history: History, source: Source, *symbols: str) -> None:
    history.markets.replace(source, [Market(symbol, 1, None, True) for symbol in symbols])


def trade(history: History, *symbols: str) -> None:
    rules = {symbol: assumed(symbol, 1.0) for symbol in symbols}
    path = history.settings.data_dir / f"rules-{history.settings.source}.json"
    path.write_bytes(msgspec.json.encode(rules))
    assert known_rules(history.settings, history.settings.source).keys() == rules.keys()


@pytest.mark.parametrize("entry", ["BTC", "btc", "BTCUSDT", "BTC/USDT", BTC, "BTC*"])
def test_what_is_stored_is_read_however_it_is_written(history, entry):
    keep(history, Source.TEST, BTC, ETH)
    assert to_read(history, Source.TEST, [entry, "ETH"], "--symbols") == [BTC, ETH]
    request = request_of(history.settings, Source.TEST, [f"{entry},ETH"], None, Span(0, 1))
    assert request.symbols == (BTC, ETH)


@pytest.mark.parametrize("entry", ["BTCC", "DOGE", "SOL*"])
def test_what_is_not_stored_is_an_error_that_names_it(history, entry):
    keep(history, Source.TEST, BTC, ETH)
    with pytest.raises(ConfigError, match=r"^--symbols: ") as raised:
        request_of(history.settings, Source.TEST, [entry], None, Span(0, 1))
    assert repr(entry) in str(raised.value)
    assert (f"did you mean {BTC}?" in str(raised.value)) == (entry == "BTCC")
    # written in full the command that fetches it can be named
    assert to_read(history, Source.TEST, ["DOGE/USDT:USDT"], "--symbols") == ["DOGE/USDT:USDT"]


def test_what_is_fetched_is_what_the_source_has_of_the_kind_that_is_meant(history):
    tell(history, Source.BINANCE, BTC, SPOT, "BTC/USDC:USDC", PEPE, "PEPE/USDT")
    for entry in ("BTC", "btcusdt"):
        assert to_fetch(history, Source.BINANCE, [entry], "", PERPETUAL) == [BTC]
        assert to_fetch(history, Source.BINANCE, [entry], "", "spot") == [SPOT]
    found = to_fetch(history, Source.BINANCE, ["PEPE", "BTC*"], "", PERPETUAL)
    assert (found[0], sorted(found[1:])) == (PEPE, ["BTC/USDC:USDC", BTC])
    # written in full it is the spot market that is meant, and the source is asked for what it may not have
    written = [SPOT, "DOGE/USDT:USDT"]
    assert to_fetch(history, Source.BINANCE, written, "", PERPETUAL) == written
    with pytest.raises(ConfigError, match=r"--symbols: 'DOGE' matches no symbol that is known; write .* in full"):
        to_fetch(history, Source.BINANCE, ["BTC", "DOGE"], "--symbols", PERPETUAL)


def test_a_word_at_a_source_of_stocks_is_a_stock(history):
    assert to_fetch(history, Source.ALPACA, ["AAPL", "BTC/USD"], "") == ["AAPL", "BTC/USD"]
    keep(history, Source.ALPACA, "BTC/USD")
    assert to_fetch(history, Source.ALPACA, ["AAPL", "BTC"], "") == ["AAPL", "BTC/USD"]


def test_the_regular_jobs_go_by_what_the_bot_means(history):
    trading = history.settings.trading.model_copy(update={"symbols": ("BTC", "eth/usdt", "1000*")})
    history.settings = history.settings.model_copy(update={"trading": trading})
    trade(history, BTC, ETH, PEPE)
    assert to_keep(history) == [BTC, ETH, PEPE]


def pinned(history: History, symbol: str, source: str | None = None) -> Settings:
    held = {**history.settings.model_dump(), "history": {"pinned": [{"symbol": symbol, "source": source}]}}
    return Settings.model_validate(held)


@pytest.mark.parametrize("entry", ["BTC", "btcusdt", "BTC/USDT", BTC, "*TC*"])
def test_what_is_pinned_stays_however_it_is_written(history, entry):
    keep(history, Source.TEST, BTC, ETH)
    (pin,) = pins_of(pinned(history, entry), history.candles.entries())
    assert pin.holds(Source.TEST, Series(BTC, "3m"))
    assert not pin.holds(Source.TEST, Series(ETH, "3m"))


def test_a_pin_that_matches_nothing_is_an_error_and_not_a_range_that_is_deleted(history):
    keep(history, Source.TEST, BTC)
    for settings in (pinned(history, "BTCC"), pinned(history, "BTC", "binance")):
        with pytest.raises(ConfigError, match=r"history\.pinned: 'BTCC?' matches no symbol that is stored"):
            pins_of(settings, history.candles.entries())
    assert len(pins_of(pinned(history, ""), history.candles.entries())) == 1


@pytest.mark.parametrize(
    ("written", "source", "meant"),
    [
        ("BTC", Source.BINANCE, BTC), ("btcusdt", Source.BINANCE, BTC), ("BTC-USDT", Source.BINANCE, "BTC/USDT"),
        ("BTC/USDT", Source.BINANCE, "BTC/USDT"), (BTC, Source.ALPACA, BTC), ("AAPL", Source.POLYGON, "AAPL"),
        ("AAPL", Source.TEST, "AAPL"), ("BTCUSDT", Source.TEST, BTC), ("", Source.BINANCE, ""),
    ],
)  # fmt: skip
def test_what_is_imported_is_kept_under_the_name_that_others_look_for(written, source, meant):
    assert _in_full(written, source) == meant


def test_what_cannot_be_a_symbol_is_not_imported_under_it():
    with pytest.raises(BadData, match="'BTC EUR' is no contract"):
        _in_full("BTC EUR", Source.BINANCE)


class Listing(ExchangeSource):
    """An exchange that has these markets, without its network."""

    lists_markets = True

    def __init__(self, source: Source, *symbols: str) -> None:
        self.source, self._has = source, symbols

    async def markets(self, kind: str) -> list[Market]:
        return [Market(symbol, 1, None, True) for symbol in self._has if market_of(symbol) == kind]

    async def rules(self, symbol: str):
        if symbol not in self._has:
            raise Rejected(f"{symbol}: no such market")
        return assumed(symbol, 1.0)


async def test_a_bot_on_a_polled_market_follows_what_is_meant():
    source = Listing(Source.BINANCE, BTC, SPOT, ETH, PEPE)
    followed = await PolledMarket(source, ("btc", "ETHUSDT", "1000*", SPOT, "NOSUCH")).instruments()
    assert list(followed) == [BTC, ETH, PEPE, SPOT]
    stocks = Listing(Source.ALPACA, "AAPL", "BTC/USD")
    assert list(await PolledMarket(stocks, ("AAPL", "BTC/USD")).instruments()) == ["AAPL", "BTC/USD"]
