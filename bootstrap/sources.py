"""Builds what fetches candles from each source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.errors import ConfigError
from domain.source import Source
from history.sources import dialects
from history.sources.exchange import ExchangeSource
from history.sources.web import BinanceArchive, CoinGecko, CryptoCompare, Polygon
from persistence.address_budget import AddressBudget, AddressRates
from persistence.budget import SharedBudget
from persistence.files import AtomicFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from history.port import CandleSource
    from history.sources.dialects import Host
    from settings import Settings

HISTORY_RESERVE = 0.5
"""What downloads leave of a host's burst to a bot that trades there."""


class Budgets:
    """The shared budgets of all hosts, as one user may use them: ``reserve`` of each burst is left to others.

    All machines that share an outgoing address share them through Redis, where there is one.
    """

    def __init__(self, settings: Settings, reserve: float = HISTORY_RESERVE) -> None:
        self._reserve, self._settings = reserve, settings
        self._held: dict[str, SharedBudget | AddressBudget] = {}
        self._rates: AddressRates | None = None

    def __call__(self, host: Host) -> SharedBudget | AddressBudget:
        """Return the budget of a host."""
        if host.name not in self._held:
            path = self._settings.data_dir / "budgets" / f"{host.name}.rate"
            here = SharedBudget(path, host.limit, host.window_s, self._reserve)
            rates = self._shared()
            self._held[host.name] = AddressBudget(here, rates) if rates is not None else here
        return self._held[host.name]

    def close(self) -> None:
        """Close the files of all budgets, and the connection to Redis."""
        for held in self._held.values():
            held.close()
        self._held.clear()
        if self._rates is not None:
            self._rates.close()
            self._rates = None

    def _shared(self) -> AddressRates | None:
        if self._rates is None and self._settings.redis_address:
            from persistence.keyvalue import Redis  # noqa: PLC0415  who has none need not load its driver

            self._rates = AddressRates(Redis(self._settings.redis_address), self._settings.outgoing_address)
        return self._rates


def sources(settings: Settings, wanted: Sequence[Source], budgets: Budgets) -> list[CandleSource]:
    """Return what fetches from each of the sources, in their order.

    Raises:
        ConfigError: for a source that has nothing to fetch.
    """
    held = settings.history
    found: list[CandleSource] = []
    adjusted = held.stock_prices == "adjusted"
    for source in wanted:
        address = held.addresses.get(source, "")
        if source is Source.BINANCE:
            # a test's own exchange need not serve the archives as well
            if held.archives:
                found.append(BinanceArchive(budgets, address))
            found.append(ExchangeSource(dialects.Binance(), budgets, address=address))
        elif source is Source.OKX:
            found.append(ExchangeSource(dialects.Okx(), budgets, address=address))
        elif source is Source.BYBIT:
            found.append(ExchangeSource(dialects.Bybit(), budgets, address=address))
        elif source is Source.ALPACA:
            keys = {"apiKey": held.alpaca_key.get_secret_value(), "secret": held.alpaca_secret.get_secret_value()}
            found.append(ExchangeSource(dialects.Alpaca(adjusted=adjusted), budgets, keys, address))
        elif source is Source.COINGECKO:
            coins = AtomicFile(settings.data_dir / "coins.json")
            found.append(CoinGecko(budgets, address, held.coingecko_key.get_secret_value(), coins))
        elif source is Source.CRYPTOCOMPARE:
            found.append(CryptoCompare(budgets, address, held.cryptocompare_key.get_secret_value()))
        elif source is Source.POLYGON:
            found.append(Polygon(budgets, address, held.polygon_key.get_secret_value(), adjusted=adjusted))
        else:
            raise ConfigError(f"source {source}: has no history to fetch; import files into it with data import")
    return found
