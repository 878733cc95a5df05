"""A thousand points tell of any number of trades, none of their extremes is lost, and only new trades are looked at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from domain import reports
from domain.equity_curve import EquityCurve
from domain.trade import Trade, as_row
from domain.trade_page import Wanted, chosen, page_of

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
ONE = Decimal(1)
pnls = st.lists(st.integers(-9, 9), max_size=120)


def trades(made: list[int]) -> list[Trade]:
    return [
        Trade("A", "long", ONE, ONE, ONE, BEGIN, BEGIN + timedelta(minutes=number // 2), Decimal(pnl), ONE, "stop_loss",
              trade_id=f"{number:08d}") for number, pnl in enumerate(made)
    ]  # fmt: skip


@given(pnls, st.integers(6, 40), st.lists(st.integers(0, 120), max_size=4))
def test_points_are_few_true_and_keep_every_extreme(made, most, looks):
    """However often it is looked at meanwhile: the same as the plain curve, thinned."""
    held, curve = trades(made), EquityCurve(most)
    for until in sorted(looks):
        curve.follow(held[:until])
    found = curve.follow(held)
    plain = reports.curve(held)
    assert len(found.points) <= most
    assert found.slump == reports.slump(held)
    assert [one.number for one in found.points] == sorted({one.number for one in found.points})
    assert all(plain[one.number] == (one.time, one.net) for one in found.points)
    if len(made) <= most:
        assert len(found.points) == len(made)
    if plain:
        nets = [net for _, net in plain]
        assert found.points[-1].net == nets[-1]
        assert {min(nets), max(nets)} <= {one.net for one in found.points}


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=60), st.data())
def test_a_trade_that_is_told_late_or_anew_is_taken_as_if_it_had_always_been_there(made, data):
    held, curve = trades(made), EquityCurve(12)
    curve.follow(held)
    place = data.draw(st.integers(0, len(held) - 1))
    changed = data.draw(st.sampled_from((
        [*held[:place], msgspec.structs.replace(held[place], pnl_usd=Decimal(50)), *held[place + 1 :]],
        [*held[:place], *held[place + 1 :]], held[:place], [*held[:place], *trades([7]), *held[place:]],
    )))  # fmt: skip
    assert curve.follow(changed) == EquityCurve(12).follow(changed)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=200))
def test_the_deepest_fall_is_what_pandas_finds(made):
    sums = pd.Series([0, *made]).cumsum()
    assert float(EquityCurve(10).follow(trades(made)).slump.depth) == float((sums.cummax() - sums).max())


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.sampled_from("AB"), st.integers(0, 9)), max_size=30),
    st.sampled_from(("exit_time", "pnl_usd", "symbol", "score")), st.booleans(), st.integers(0, 40), st.integers(1, 12),
    st.sampled_from(("", "A")),
)  # fmt: skip
def test_a_page_of_trades_is_a_part_of_all_of_them_in_order(made, sort, descending, offset, limit, symbol):
    held = [
        msgspec.structs.replace(one, symbol=name, exit_time=BEGIN + timedelta(minutes=minute), score=pnl or None)
        for one, (pnl, name, minute) in zip(trades([pnl for pnl, *_ in made]), made, strict=True)
    ]
    wanted = Wanted(symbol=symbol, sort=sort, descending=descending)
    every = chosen(held, wanted)
    page = page_of(held, wanted, offset, limit)
    assert page["trades"] == [as_row(one) for one in every[offset : offset + limit]]
    assert (page["total"], page["net"]) == (len(every), sum(one.pnl_usd for one in every))
