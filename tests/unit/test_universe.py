"""What is traded: coins that go on, by turnover or by name; everything else only when a setting says so."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from decimal import Decimal as D
from pathlib import Path

import pytest

from domain.errors import ConfigError
from domain.instrument import Instrument
from engine import admission
from engine.universe import banned, choose

DATA = Path(__file__).parents[3] / "shared" / "data" / "rest_bybit_v5"
AUGUST = 1_786_200_000_000


def contract(base: str, turnover: int, **facts) -> Instrument:
    return Instrument(
        f"{base}/USDT:USDT", f"{base}USDT", D("0.1"), D("0.1"), D("0.1"), D(1000), D(5), D(50), turnover_24h=D(turnover), **facts
    )  # fmt: skip


CONTRACTS = {
    held.symbol: held
    for held in (
        contract("XAU", 1_000, category="commodity"), contract("TSLA", 900, category="stock"), contract("BTC", 800),
        contract("EURUSD", 750, category="forex"), contract("NEW", 700, pre_listing=True),
        contract("GONE", 600, delivery_time=AUGUST), contract("TAG", 500, category="innovation"), contract("ETH", 400),
        contract("ODD", 350, category="weather"), contract("1000PEPE", 300), contract("HALTED", 200, trading=False),
    )
}  # fmt: skip
BTC, ETH, TAG, PEPE = (f"{base}/USDT:USDT" for base in ("BTC", "ETH", "TAG", "1000PEPE"))


def test_by_turnover_only_coins_that_go_on_are_chosen():
    assert choose(CONTRACTS, (), (), 20) == [BTC, TAG, ETH, PEPE]
    assert choose(CONTRACTS, (), (), 2) == [BTC, TAG]
    assert choose(CONTRACTS, (), (BTC,), 2) == [TAG, ETH]
    assert choose(CONTRACTS, (), (), 3, ()) == [BTC, ETH, PEPE]


@pytest.mark.parametrize(
    ("kind", "symbol"),
    [("commodity", "XAU"), ("stock", "TSLA"), ("forex", "EURUSD"), ("pre_listing", "NEW"), ("delisting", "GONE"),
     ("other", "ODD")],
)  # fmt: skip
def test_a_setting_lets_each_kind_in_alone(kind, symbol):
    chosen = choose(CONTRACTS, (), (), 20, (kind,))
    assert set(chosen) == {BTC, ETH, PEPE, f"{symbol}/USDT:USDT"}


@pytest.mark.parametrize(
    ("symbol", "gate", "words"),
    [
        ("XAU", "not_a_coin", "commodity"), ("TSLA", "not_a_coin", "stock"), ("ODD", "not_a_coin", "weather"),
        ("NEW", "pre_listing", "pre_listing"), ("GONE", "delisting", "2026-08-08 14:40 UTC"),
    ],
)  # fmt: skip
def test_entries_there_are_refused_by_a_gate_that_says_what_it_is(symbol, gate, words):
    refused = admission.refusal(CONTRACTS[f"{symbol}/USDT:USDT"], ("innovation",))
    assert refused is not None
    assert refused[0] == gate
    assert words in refused[1]
    # listed by hand it is followed all the same, so that its signals are seen
    assert choose(CONTRACTS, (symbol, "BTC"), (), 20) == [f"{symbol}/USDT:USDT", BTC]


def test_what_is_allowed_is_not_refused():
    for symbol in (BTC, ETH, TAG, PEPE):
        assert admission.refusal(CONTRACTS[symbol], ("innovation",)) is None
    assert admission.refusal(CONTRACTS[TAG], ()) == (
        "not_a_coin",
        "it is of the kind innovation, which trading.allow does not name",
    )
    assert admission.refusal(None, ()) is None


@pytest.mark.skipif(not DATA.is_dir(), reason="no recorded instruments here")
def test_of_the_real_contracts_every_third_is_no_coin_and_none_of_those_is_chosen():
    (path,) = DATA.glob("instruments-info_linear_*.json.gz")
    body = json.loads(gzip.decompress(path.read_bytes()))
    real = {
        held.symbol: held
        for row in body.get("result", body)["list"]
        if row["contractType"] == "LinearPerpetual" and row["settleCoin"] == "USDT"
        for held in [contract(row["baseCoin"], row["symbolId"], category=row["symbolType"], pre_listing=row["isPreListing"],
                              delivery_time=int(row["deliveryTime"]))]
    }  # fmt: skip
    chosen = set(choose(real, (), (), 1_000))
    assert len(real) >= 690
    assert {real[symbol].category for symbol in chosen} == {"", "innovation"}
    assert {real[symbol].category for symbol in set(real) - chosen} == {"stock", "commodity"}
    assert len(real) - len(chosen) == 178
    assert len(choose(real, (), (), 1_000, ())) == len(chosen) - 117
    assert banned(real, ("TSLA", "XAUUSDT", "PEPE")) == ["1000PEPE/USDT:USDT", "TSLA/USDT:USDT", "XAU/USDT:USDT"]


def test_every_gate_is_explained_to_whoever_asks_why_there_are_no_trades():
    text = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
    for gate in ("not_a_coin", "pre_listing", "delisting", "stale_feed", "blacklist"):
        assert f"`{gate}`" in text


def test_a_list_may_be_written_in_any_way_and_names_each_symbol_once():
    listed = ("btc", "ETHUSDT", "PEPE", "BTC/USDT", "*PEPE", "HALTED")
    assert choose(CONTRACTS, listed, (), 20) == [BTC, ETH, PEPE]
    assert choose(CONTRACTS, ("btc", "eth"), (ETH,), 20) == [BTC]
    with pytest.raises(ConfigError, match=r"trading\.symbols"):
        choose(CONTRACTS, ("HALTED",), (), 20)


@pytest.mark.parametrize("entry", ["ETHH", "NOSUCH*", "", "BTC/EUR", "NOSUCH/USDT:USDT"])
def test_an_entry_of_the_list_that_the_exchange_never_had_is_an_error_that_names_it(entry):
    with pytest.raises(ConfigError, match=r"trading\.symbols: .* matches no symbol of the exchange; ") as raised:
        choose(CONTRACTS, ("BTC", entry), (), 20)
    assert repr(entry) in str(raised.value)
    assert ("did you mean ETH/USDT:USDT?" in str(raised.value)) == (entry == "ETHH")


def test_a_listed_contract_that_is_gone_does_not_keep_the_bot_from_guarding_the_others(capfd):
    gone = {"LUNA/USDT:USDT": replace(CONTRACTS[ETH], symbol="LUNA/USDT:USDT", venue_id="LUNAUSDT", trading=False)}
    assert choose(CONTRACTS, ("BTC", "LUNA"), (), 20, known=gone) == [BTC]
    assert "the exchange does not trade it any more" in capfd.readouterr().out


def test_the_blacklist_takes_what_people_write():
    for entry in ("BTC", "btc", "BTCUSDT", "BTC/USDT", "BTC/USDT:USDT"):
        assert banned(CONTRACTS, (entry,)) == [BTC]
    assert banned(CONTRACTS, ("*PEPE", "ETH")) == [PEPE, ETH]
    # all that may be meant are kept out
    both = CONTRACTS | {"BTC/USDC:USDC": replace(CONTRACTS[BTC], symbol="BTC/USDC:USDC", venue_id="BTCPERP")}
    assert banned(both, ("BTC",)) == ["BTC/USDC:USDC", BTC]
    assert banned(both, ("BTCPERP",)) == ["BTC/USDC:USDC"]


@pytest.mark.parametrize("entry", ["BTCC", "DOGE*", "", "BTC/EUR"])
def test_an_entry_of_the_blacklist_that_matches_nothing_is_an_error_that_names_it(entry):
    with pytest.raises(ConfigError, match=r"trading\.blacklist: .* matches no symbol of the exchange; ") as raised:
        banned(CONTRACTS, ("ETH", entry))
    assert repr(entry) in str(raised.value)
    if entry == "BTCC":
        assert "did you mean BTC/USDT:USDT?" in str(raised.value)
