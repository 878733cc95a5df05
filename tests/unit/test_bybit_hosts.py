"""Where Bybit listens, by source and region."""

from __future__ import annotations

import typing

import pytest

from bootstrap.parts import bybit_hosts
from broker.bybit.hosts import REGIONS, hosts
from domain.errors import ConfigError
from sections import Bybit
from settings import load

MAIN = ("wss://stream.bybit.com", "wss://stream.bytick.com")


def settings(tmp_path, text="", source="bybit", region="global"):
    path = tmp_path / "config.yaml"
    path.write_text(f"source: {source}\nbybit: {{region: {region}{text}}}\n")
    return load(path, {})


@pytest.mark.parametrize(
    ("region", "rest", "streams"),
    [
        ("global", "https://api.bybit.com", MAIN),
        ("eu", "https://api.bybit.eu", ("wss://stream.bybit.eu",)),
        ("nl", "https://api.bybit.nl", MAIN),
        ("tr", "https://api.bybit.tr", ("wss://stream.bybit.tr",)),
        ("kz", "https://api.bybit.kz", ("wss://stream.bybit.kz",)),
        ("ge", "https://api.bybitgeorgia.ge", ("wss://stream.bybitgeorgia.ge",)),
        ("ae", "https://api.bybit.ae", MAIN),
        ("id", "https://api.bybit.id", ("wss://stream.bybit.id",)),
        ("jp", "https://api.manepa.jp", ("wss://stream.manepa.jp",)),
    ],
)
def test_every_region_has_its_documented_addresses(tmp_path, region, rest, streams):
    assert bybit_hosts(settings(tmp_path, region=region)) == (rest, streams, streams)


def test_the_settings_know_the_same_regions():
    assert set(typing.get_args(Bybit.model_fields["region"].annotation)) == set(REGIONS)


def test_a_region_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"bybit\.region: 'us'"):
        settings(tmp_path, region="us")


def test_the_test_net_and_demo_trading_have_addresses_of_their_own(tmp_path):
    test = ("wss://stream-testnet.bybit.com",)
    assert bybit_hosts(settings(tmp_path, source="bybit_testnet")) == ("https://api-testnet.bybit.com", test, test)
    assert hosts("jp", testnet=True).rest == "https://api-testnet.manepa.jp"
    demo = bybit_hosts(settings(tmp_path, source="bybit_demo"))
    assert demo == ("https://api-demo.bybit.com", MAIN, ("wss://stream-demo.bybit.com",))


def test_addresses_that_are_given_win_but_orders_of_demo_trading_never_go_to_the_main_site(tmp_path):
    given = ", rest: 'https://proxy', streams: ['wss://a', 'wss://b']"
    assert bybit_hosts(settings(tmp_path, given)) == ("https://proxy", ("wss://a", "wss://b"), ("wss://a", "wss://b"))
    demo = bybit_hosts(settings(tmp_path, given, source="bybit_demo"))
    assert demo == ("https://api-demo.bybit.com", ("wss://a", "wss://b"), ("wss://stream-demo.bybit.com",))
    own = ", demo_rest: 'https://d', demo_streams: ['wss://d']"
    assert bybit_hosts(settings(tmp_path, own, source="bybit_demo")) == ("https://d", MAIN, ("wss://d",))
    test = ", testnet_rest: 'https://t', testnet_streams: ['wss://t']"
    assert bybit_hosts(settings(tmp_path, test, source="bybit_testnet")) == ("https://t", ("wss://t",), ("wss://t",))


@pytest.mark.parametrize("source", ["bybit", "bybit_testnet", "bybit_demo"])
def test_every_environment_can_trade_live_with_a_key(tmp_path, source):
    path = tmp_path / "config.yaml"
    path.write_text(f"source: {source}\ntrading: {{mode: live}}\n")
    assert load(path, {"BYBIT_API_KEY": "k", "BYBIT_API_SECRET": "s"}).mode == "live"
