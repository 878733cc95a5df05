"""However a symbol is written, it is the same symbol, and what nothing is called is named with what comes close."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadData
from domain.symbols import Symbols, nearest

DATA = Path(__file__).parents[3] / "shared" / "data" / "rest_bybit_v5"
PERPETUALS = [
    "BTC/USDT:USDT", "ETH/USDT:USDT", "1000PEPE/USDT:USDT", "1000BONK/USDT:USDT", "SHIB1000/USDT:USDT", "1INCH/USDT:USDT",
    "BSV/USDT:USDT", "BNB/USDT:USDT", "10000SATS/USDT:USDT",
]  # fmt: skip
IDS = {name: name.partition(":")[0].replace("/", "") for name in PERPETUALS}
MIXED = ["BTC/EUR", "BTC/USDT", "BTC/USDC:USDC", "BTC/USDT:USDT", "ETH/EUR"]


def spellings(symbol: str) -> list[str]:
    pair, base = symbol.partition(":")[0], symbol.partition("/")[0]
    return [symbol, pair, pair.replace("/", ""), pair.replace("/", "-"), pair.replace("/", "_"), base, f"{pair}.P"]


@given(st.sampled_from(PERPETUALS), st.integers(0, 6), st.sampled_from([str, str.lower, str.title]), st.booleans())
def test_any_spelling_of_a_symbol_is_that_symbol(symbol, way, case, padded):
    text = case(spellings(symbol)[way])
    text = f"  {text} " if padded else text
    known = Symbols(PERPETUALS, IDS)
    assert known.matches(text) == [symbol]
    assert known.one(text) == symbol
    assert nearest(text, PERPETUALS) == symbol


@pytest.mark.skipif(not DATA.is_dir(), reason="no recorded instruments here")
def test_every_real_contract_is_found_by_its_id_its_name_and_its_pair():
    (path,) = DATA.glob("instruments-info_linear_*.json.gz")
    body = json.loads(gzip.decompress(path.read_bytes()))
    rows = body.get("result", body)["list"]
    ids = {
        f"{row['baseCoin']}/{row['quoteCoin']}:{row['settleCoin']}": row["symbol"]
        for row in rows if row["contractType"] == "LinearPerpetual" and row["settleCoin"] == "USDT"
    }  # fmt: skip
    known = Symbols(ids, ids)
    for symbol, venue_id in ids.items():
        assert known.one(symbol) == known.one(venue_id) == known.one(symbol.partition(":")[0]) == symbol
        assert symbol in known.matches(symbol.partition("/")[0])
    assert len(ids) > 600


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000*", ["1000PEPE/USDT:USDT", "1000BONK/USDT:USDT", "10000SATS/USDT:USDT"]), ("1000pepe*", ["1000PEPE/USDT:USDT"]),
        ("B?V", ["BSV/USDT:USDT"]), ("bnb/*", ["BNB/USDT:USDT"]), ("[be]t[ch]usdt", PERPETUALS[:2]), ("*", PERPETUALS),
        ("PEPE", ["1000PEPE/USDT:USDT"]), ("shib", ["SHIB1000/USDT:USDT"]), ("INCH", []), ("DOGE*", []), ("", []), ("/", []),
        ("[", []), ("B", []),
    ],
)  # fmt: skip
def test_patterns_and_coins_behind_contracts_of_a_thousand(text, expected):
    assert Symbols(PERPETUALS, IDS).matches(text) == expected


def test_the_exact_name_counts_before_the_likely_one():
    known = Symbols(MIXED)
    assert known.one("BTC/USDT") == "BTC/USDT"
    assert known.matches("btc") == ["BTC/EUR", "BTC/USDT", "BTC/USDC:USDC", "BTC/USDT:USDT"]
    assert known.one("btc") == "BTC/USDT:USDT"
    assert known.one("BTCUSDC") == "BTC/USDC:USDC"
    assert known.one("ETH") == "ETH/EUR"
    # a pattern is never one symbol
    assert known.one("ETH*") is None


def test_a_contract_of_a_thousand_gives_way_to_the_coin_itself():
    known = Symbols(["1000PEPE/USDT:USDT", "PEPE/USDT:USDT"])
    assert known.matches("pepe") == ["PEPE/USDT:USDT"]


def test_what_nothing_is_called_is_named_with_what_comes_close():
    with pytest.raises(BadData, match=r"'BTCC' is not followed; did you mean BTC/USDT:USDT\?"):
        nearest("BTCC", PERPETUALS)
    with pytest.raises(BadData, match="whitelist"):
        nearest("QQQQQQQQ", PERPETUALS)


@given(st.text(max_size=60))
def test_no_text_breaks_it(text):
    known = Symbols(PERPETUALS, IDS)
    assert set(known.matches(text)) <= set(PERPETUALS)
    assert known.one(text) in {None, *PERPETUALS}
    assert isinstance(known.hint(text), str)
