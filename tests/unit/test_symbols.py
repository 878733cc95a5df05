"""Ranks, the core thirty, and coins that go on under another name."""

from __future__ import annotations

import pytest

from domain.errors import BadData
from domain.symbols import base_of
from history.symbols import CORE, RENAMES, Market, choose, hint, ranked, renamed_life, unlisted

MARKETS = [
    Market("BTC/USDT:USDT", 1, None, True), Market("BTC/USDT", 1, None, True), Market("1000PEPE/USDT:USDT", 1, None, True),
    Market("ETH/USDT:USDT", 1, None, True), Market("DEAD/USDT:USDT", 1, 2, False), Market("BTC/USDC:USDC", 1, None, True),
    Market("ODD/USDT:USDT", 1, None, True), Market("PEPE/USDT:USDT", 1, None, True),
]  # fmt: skip
RANKS = {"BTC": 1, "ETH": 2, "PEPE": 30, "DEAD": 3}


def test_the_top_ones_are_active_ranked_and_of_one_market():
    held = ranked(MARKETS, RANKS)
    assert [one.symbol for one in choose(held, top=10)] == ["BTC/USDT:USDT", "ETH/USDT:USDT", "1000PEPE/USDT:USDT"]
    assert [one.symbol for one in choose(held, top=1, kind="spot")] == ["BTC/USDT"]
    assert held[-1].rank is None
    assert [one.symbol for one in choose(held)] == [
        "BTC/USDT:USDT", "ETH/USDT:USDT", "1000PEPE/USDT:USDT", "PEPE/USDT:USDT", "ODD/USDT:USDT"
    ]  # fmt: skip


def test_the_core_is_thirty_coins_by_their_names_of_today():
    assert len(set(CORE)) == 30
    assert not {one.old for one in RENAMES} & set(CORE)
    assert {one.new for one in RENAMES} <= set(CORE)
    assert [one.symbol for one in choose(MARKETS, core=True)] == ["BTC/USDT:USDT", "ETH/USDT:USDT"]


def test_where_nothing_is_known_it_says_what_to_do():
    with pytest.raises(BadData, match="--refresh"):
        choose([], top=5)


def test_contracts_on_many_coins_are_the_coins():
    assert [base_of(name) for name in ("1000PEPE/USDT:USDT", "1MBABYDOGE/USDT", "1INCH/USDT", "BTC/USDT")] == [
        "PEPE",
        "BABYDOGE",
        "1INCH",
        "BTC",
    ]


def test_a_renamed_coin_has_a_life_under_each_name():
    since, until = renamed_life("POL/USDT")[0], renamed_life("MATIC/USDT")[1]
    assert until < since
    assert renamed_life("BTC/USDT") == (None, None)
    assert "goes on as POL from 2024-09-13" in hint("MATIC/USDT")
    assert "before it was MKR (1 MKR = 24000 SKY)" in hint("SKY/USDT:USDT")
    assert hint("BTC/USDT") == ""


def test_the_core_comes_with_the_former_names_of_its_coins_and_tells_which_it_lacks():
    """Found by ``--core``: POL alone, so that everything before September 2024 was missing."""
    former = Market("MATIC/USDT:USDT", 1, 2, active=False)
    others = [Market("MATIC/USDT", 1, 2, active=False), Market("MATIC/USDC:USDC", 1, 2, active=False)]
    markets = [*MARKETS, Market("POL/USDT:USDT", 3, None, True), former, *others]
    found = choose(markets, core=True)
    assert [one.symbol for one in found] == ["BTC/USDT:USDT", "ETH/USDT:USDT", "POL/USDT:USDT", "MATIC/USDT:USDT"]
    absent = unlisted(found)
    assert {"SOL", "FTM (before S)"} <= set(absent)
    assert not {"BTC", "POL", "MATIC (before POL)"} & set(absent)
