"""One position: what its executions make of it, and what the book keeps of entries that were given up."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from domain.candle import Bars
from domain.exits import ExitPlan
from domain.ids import Identity
from domain.order import Cause, OrderKind, OrderSide, OrderState, Side
from domain.records import Fill, Intent, Opening, OrderEnded
from domain.source import Source
from engine.positions import Book

A = "A/USDT:USDT"
DIGEST = "A" * 24
ENTRY, EXIT, PARTIAL = (f"L1-{DIGEST}-{leg}0" for leg in "exp")
WHO = Identity(Source.TEST, "live", "account")


def intent(order_id=ENTRY, side=OrderSide.BUY, qty=10, cause=Cause.ENTRY, **opening):
    """Return the intent of an order; an entry at 100 with a stop of 90 and a target of 120, at leverage 5."""
    terms = {"side": Side.LONG, "entry": D(100), "stop": D(90), "target": D(120), "leverage": D(5)} | opening
    opened = Opening(strategy="s", timeframe="3m", bar_start=0, plan=ExitPlan(), **terms)
    return Intent(
        time=1, order_id=order_id, symbol=A, side=side, kind=OrderKind.MARKET, qty=D(qty), cause=cause,
        reduce_only=order_id != ENTRY, opening=opened if order_id == ENTRY else None,
    )  # fmt: skip


def fill(number, side, qty, price, *, closed=0, order_id=ENTRY, cause=Cause.ENTRY, fee=0, time=None):
    return Fill(
        time=number * 1_000 if time is None else time, exec_id=f"x{number}", order_id=order_id, venue_order_id="v",
        symbol=A, side=side, qty=D(qty), price=D(price), fee=D(fee), closed_qty=D(closed), cause=cause,
    )  # fmt: skip


def book_of(*records):
    book = Book()
    for record in records:
        book.apply(record)
    return book


def bought(*records):
    """Return the position of ten bought at 100, and what followed."""
    book = book_of(intent(), fill(1, OrderSide.BUY, 10, 100), *records)
    (position,) = book.positions()
    return position


def sold(number, qty, price, order_id=EXIT, cause=Cause.FORCE_EXIT, **more):
    return fill(number, OrderSide.SELL, qty, price, closed=qty, order_id=order_id, cause=cause, **more)


def test_what_was_closed_is_no_longer_held():
    position = bought(intent(EXIT, OrderSide.SELL, 10, Cause.FORCE_EXIT), sold(2, 4, 110))
    assert (position.opened, position.closed, position.qty, position.flat) == (10, 4, 6, False)


@pytest.mark.parametrize(("filled", "rest"), [(0, 10), (4, 6), (10, 0)])
def test_what_an_entry_may_still_fill_counts_as_committed(filled, rest):
    records = [fill(1, OrderSide.BUY, filled, 100)] if filled else []
    (position,) = book_of(intent(), *records).positions()
    assert (position.pending, position.entry_rest, position.commitment(D(100))) == (filled == 0, rest, 1_000)


def test_an_exit_on_its_way_is_none_that_has_come_to_nothing():
    exits = intent(EXIT, OrderSide.SELL, 10, Cause.FORCE_EXIT)
    assert not bought().leaving
    assert not bought(exits).leaving
    ended = OrderEnded(time=5_000, order_id=EXIT, symbol=A, state=OrderState.CANCELLED, filled=D(4))
    assert not bought(exits, ended).leaving  # what it filled is not known yet
    assert bought(exits, ended, sold(2, 4, 110)).leaving
    whole = OrderEnded(time=5_000, order_id=EXIT, symbol=A, state=OrderState.FILLED, filled=D(10))
    assert not bought(exits, whole, sold(2, 10, 110)).leaving


def test_profit_is_what_came_in_less_what_went_out_fees_and_funding():
    exits = intent(EXIT, OrderSide.SELL, 10, Cause.FORCE_EXIT)
    funding = fill(2, OrderSide.BUY, 10, 105, order_id="", cause=Cause.FUNDING, fee=3)
    position = bought(exits, funding, sold(3, 10, 110, fee=2))
    assert position.realised() == 100 - 3 - 2
    trade = position.to_trade(WHO)
    assert (trade.gross_pnl, trade.fees, trade.funding, trade.pnl_usd) == (100, 2, 3, 95)
    # of what was put in: a fifth of the value of 1,000
    assert trade.pnl_percent == D("47.5")
    assert trade.r_multiple == D("0.95")


def test_a_trade_knows_how_far_it_went_both_ways():
    position = bought(intent(EXIT, OrderSide.SELL, 10, Cause.FORCE_EXIT))
    position.show(Bars.of([(180_000, 100.0, 118.0, 94.0, 110.0, 1.0, 1.0)]))
    position.hold({**position.fills, "x2": sold(2, 10, 110)})
    trade = position.to_trade(WHO)
    assert (trade.max_favourable_r, trade.max_adverse_r) == (D("1.8"), D("-0.6"))


def test_inside_of_one_bar_a_partial_target_comes_before_what_closes_the_rest():
    position = bought(
        intent(PARTIAL, OrderSide.SELL, 5, Cause.PARTIAL), intent(EXIT, OrderSide.SELL, 5, Cause.TIMEOUT),
        sold(2, 5, 110, EXIT, Cause.TIMEOUT, time=9_000), sold(3, 5, 105, PARTIAL, Cause.PARTIAL, time=9_000),
    )  # fmt: skip
    assert (position.flat, position.to_trade(WHO).exit_reason) == (True, Cause.TIMEOUT.value)


def test_the_book_knows_the_time_of_its_newest_execution():
    book = book_of(intent(), fill(1, OrderSide.BUY, 4, 100, time=7_000), fill(2, OrderSide.BUY, 6, 100, time=5_000))
    assert book.last_fill_time == 7_000


def test_an_entry_given_up_that_was_accepted_after_all_is_a_position_again():
    book = book_of(intent(), OrderEnded(time=2, order_id=ENTRY, symbol=A, state=OrderState.NOT_FOUND))
    book.drop(DIGEST)
    assert (book.positions(), book.given_up(DIGEST).entry) == ([], D(100))
    book.apply(fill(1, OrderSide.BUY, 10, 100))
    (position,) = book.positions()
    assert (position.digest, position.qty, book.given_up(DIGEST)) == (DIGEST, 10, None)


def test_what_only_closes_revives_no_entry():
    book = book_of(intent(), OrderEnded(time=2, order_id=ENTRY, symbol=A, state=OrderState.NOT_FOUND))
    book.drop(DIGEST)
    book.apply(fill(1, OrderSide.BUY, 10, 100, closed=10))
    assert book.positions() == []
