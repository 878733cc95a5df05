"""Names are deterministic, short enough for the exchange, and different for different signals."""

import re

from hypothesis import given
from hypothesis import strategies as st

from domain import ids
from domain.ids import Identity

WHO = Identity("bybit", "live", "42")


def test_a_known_signal_has_a_known_name():
    """A change of this value would orphan every open position: it must never happen by accident."""
    digest = ids.signal_digest(WHO, "scalp", "BTC/USDT:USDT", "3m", 1_700_000_000_000)
    assert digest == "SHFMB5L22HMF42IXGYAQG4N2"
    assert ids.trade_id(digest) == "fb526328-c943-5373-90c0-57a200b772ce"


@given(st.text("LP1-ABCDEFGHIJKLMNOPQRSTUVWXYZ234567epx0", max_size=36))
def test_parsing_undoes_naming_and_nothing_else(text):
    name = ids.parse_order_id(text)
    if name:
        assert ids.order_id(name.digest, name.leg, name.attempt, paper=text[0] == "P") == text


@given(st.integers(0, 999), st.sampled_from("eprx"), st.booleans())
def test_order_ids_fit_the_exchange(attempt, leg, paper):
    text = ids.order_id(ids.signal_digest(WHO, "s", "A", "3m", 1), leg, attempt, paper=paper)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,36}", text)
    assert ids.parse_order_id(text).attempt == attempt


def test_account_mode_strategy_symbol_timeframe_and_bar_all_matter():
    base = ("scalp", "BTC/USDT:USDT", "3m", 1)
    names = {
        ids.signal_digest(WHO, *base),
        ids.signal_digest(WHO._replace(account="43"), *base),
        ids.signal_digest(WHO._replace(mode="paper"), *base),
        ids.signal_digest(WHO, "trend", *base[1:]),
        ids.signal_digest(WHO, "scalp", "ETH/USDT:USDT", "3m", 1),
        ids.signal_digest(WHO, "scalp", "BTC/USDT:USDT", "15m", 1),
        ids.signal_digest(WHO, "scalp", "BTC/USDT:USDT", "3m", 2),
    }
    assert len(names) == 7
