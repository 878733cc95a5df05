"""Where Bybit listens: the main site, its regional sites, the test net and demo trading.

Source: Bybit v5 documentation, "Integration Guidance" (REST), "Connect" and "System Status" (streams), "Demo Trading
Service".
"""

from __future__ import annotations

from typing import NamedTuple


class Hosts(NamedTuple):
    """The addresses of one environment; those of the streams are tried in turn."""

    rest: str
    public: tuple[str, ...]
    private: tuple[str, ...]


GLOBAL_REST = "https://api.bybit.com"
GLOBAL_STREAMS = ("wss://stream.bybit.com", "wss://stream.bytick.com")
TESTNET_REST, TESTNET_STREAMS = "https://api-testnet.bybit.com", ("wss://stream-testnet.bybit.com",)
DEMO_REST, DEMO_PRIVATE = "https://api-demo.bybit.com", ("wss://stream-demo.bybit.com",)

REGIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "global": (GLOBAL_REST, GLOBAL_STREAMS),
    "eu": ("https://api.bybit.eu", ("wss://stream.bybit.eu",)),
    "nl": ("https://api.bybit.nl", GLOBAL_STREAMS),
    "tr": ("https://api.bybit.tr", ("wss://stream.bybit.tr",)),
    "kz": ("https://api.bybit.kz", ("wss://stream.bybit.kz",)),
    "ge": ("https://api.bybitgeorgia.ge", ("wss://stream.bybitgeorgia.ge",)),
    "ae": ("https://api.bybit.ae", GLOBAL_STREAMS),
    "id": ("https://api.bybit.id", ("wss://stream.bybit.id",)),
    "jp": ("https://api.manepa.jp", ("wss://stream.manepa.jp",)),
}
"""REST and streams by region; where no stream of its own is documented, a region uses those of the main site."""

TESTNET_OF = {"jp": "https://api-testnet.manepa.jp"}
"""Regions with a test net of their own."""


def hosts(region: str = "global", *, testnet: bool = False, demo: bool = False) -> Hosts:
    """Return where an account of a region is served.

    Demo trading is an environment of its own for REST and the private stream; its prices are the main site's.
    """
    if testnet:
        return Hosts(TESTNET_OF.get(region, TESTNET_REST), TESTNET_STREAMS, TESTNET_STREAMS)
    rest, streams = REGIONS[region]
    if demo:
        return Hosts(DEMO_REST, GLOBAL_STREAMS, DEMO_PRIVATE)
    return Hosts(rest, streams, streams)
