"""The book of positions alone: whatever order facts arrive in, it ends where the exchange is."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal as D

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from domain import ids
from domain.exits import ExitPlan
from domain.order import Cause, OrderKind, OrderSide, OrderState, Side
from domain.records import Adopted, Fill, Intent, Opening, OrderEnded
from engine.executions import divide, parts
from engine.positions import Book

A = "A/USDT:USDT"
QTY = st.integers(1, 12).map(lambda tenths: D(tenths) / 10)
PLAN = ExitPlan()


def fill(number, side, qty, closed="0", order_id="", cause=Cause.MANUAL, fee="0.3", time=0):
    return Fill(
        time=time or number, exec_id=f"x{number}", order_id=order_id, venue_order_id="v", symbol=A, side=side,
        qty=D(qty), price=D(100 + number), fee=D(fee), closed_qty=D(closed), cause=cause,
    )  # fmt: skip


def entry(digest, side, qty, time):
    opening = Opening(
        strategy="s", timeframe="3m", bar_start=0, side=side, entry=D(100), stop=D(90), target=D(120), plan=PLAN, leverage=D(1)
    )  # fmt: skip
    return Intent(
        time=time,
        order_id=f"L1-{digest}-e0",
        symbol=A,
        side=side.entry,
        kind=OrderKind.MARKET,
        qty=qty,
        opening=opening,
    )


def digest_of(number):
    return ids.parse_order_id(
        f"L1-{'A' * 22}{'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[number // 26]}{'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[number % 26]}-e0"
    ).digest


def test_an_execution_that_turns_a_position_round_ends_one_and_opens_another():
    closing, opening = parts(fill(1, OrderSide.SELL, "3", closed="2", fee="1"))
    assert (closing.exec_id, closing.qty, closing.closed_qty) == ("x1", D(2), D(2))
    assert (opening.exec_id, opening.qty, opening.closed_qty) == ("x1+", D(1), D(0))
    assert closing.fee + opening.fee == 1


def test_a_share_of_an_execution_and_its_rest_make_the_whole():
    first, rest = divide(fill(1, OrderSide.SELL, "3", closed="2", fee="1"), D("0.7"), "/")
    assert (first.qty + rest.qty, first.fee + rest.fee, first.closed_qty + rest.closed_qty) == (3, 1, 2)


def test_an_entry_that_only_closes_another_of_ours_opens_nothing():
    book, first, second = Book(), digest_of(1), digest_of(2)
    book.apply(entry(first, Side.LONG, D(2), 1))
    book.apply(OrderEnded(time=1, order_id=f"L1-{first}-e0", symbol=A, state=OrderState.NOT_FOUND))
    book.apply(entry(second, Side.SHORT, D(2), 5))
    book.apply(fill(6, OrderSide.SELL, "2", closed="2", order_id=f"L1-{second}-e0", cause=Cause.ENTRY))
    assert book.positions() == []
    book.apply(fill(2, OrderSide.BUY, "2", order_id=f"L1-{first}-e0", cause=Cause.ENTRY))
    (held,) = book.positions()
    assert (held.digest, held.flat, held.fills["x6"].cause) == (first, True, Cause.REVERSAL)
    assert book.unsettled() == []


def test_an_entry_whose_rest_was_taken_over_under_another_name_has_ended():
    """It filled in part, its position was closed, and the rest filled then: what is left of it waits for nothing."""
    book, digest, other = Book(), digest_of(1), digest_of(2)
    meant = entry(digest, Side.LONG, D(10), 1)
    book.apply(meant)
    book.apply(fill(2, OrderSide.BUY, "4", order_id=meant.order_id, cause=Cause.ENTRY))
    book.apply(fill(3, OrderSide.SELL, "4", closed="4", cause=Cause.TAKE_PROFIT))
    book.apply(OrderEnded(time=4, order_id=meant.order_id, symbol=A, state=OrderState.FILLED, filled=D(10)))
    held = book.find(digest)
    assert (held.flat, held.entry_ended) == (True, False)
    rest = fill(4, OrderSide.BUY, "6", order_id=meant.order_id, cause=Cause.ENTRY)
    book.apply(Adopted(time=5, digest=other, symbol=A, opening=meant.opening, fills=(rest,), why="our order opened it"))
    assert (held.flat, held.entry_ended) == (True, True)
    assert book.find(other).qty == 6
    assert book.unsettled() == []


def test_what_a_hand_opened_and_closed_unseen_takes_nothing_from_a_later_position():
    book, ours = Book(), digest_of(1)
    book.apply(fill(1, OrderSide.SELL, "3"))
    later = 10 * 60_000
    book.apply(entry(ours, Side.SHORT, D(2), later))
    book.apply(fill(2, OrderSide.SELL, "2", order_id=f"L1-{ours}-e0", cause=Cause.ENTRY, time=later + 1))
    book.apply(fill(3, OrderSide.BUY, "2", closed="2", cause=Cause.STOP_LOSS, time=later + 2))
    assert book.find(ours).flat


def test_what_closes_a_position_that_nobody_saw_being_opened_leaves_nothing_of_it():
    book, ours = Book(), digest_of(1)
    book.apply(entry(ours, Side.LONG, D(2), 10))
    book.apply(fill(11, OrderSide.BUY, "3", closed="3"))
    assert ([one.exec_id for one in book.strays(A)], book.net_of_strays(A, 0)) == (["x11"], 0)
    # told after all, the two of them come to nothing just the same
    book.apply(fill(5, OrderSide.SELL, "3"))
    assert ([one.exec_id for one in book.strays(A)], book.net_of_strays(A, 0)) == (["x5", "x11"], 0)


def test_a_split_leaves_a_position_its_owners():
    book, ours = Book(), digest_of(1)
    book.apply(entry(ours, Side.LONG, D(2), 1))
    book.apply(fill(2, OrderSide.BUY, "2", order_id=f"L1-{ours}-e0", cause=Cause.ENTRY))
    book.apply(fill(3, OrderSide.SELL, "2", closed="2", cause=Cause.CORPORATE_ACTION, time=9))
    book.apply(fill(4, OrderSide.BUY, "20", cause=Cause.CORPORATE_ACTION, time=9))
    (held,) = book.positions()
    assert (held.qty, book.strays(A)) == (20, [])


class AnyOrder(RuleBasedStateMachine):
    """An exchange that nets, a hand, and a book that hears of all this late, twice and out of order.

    Entries are sent as the trader sends them: only where the book has nothing and nothing of somebody else's is known.
    They may rest, go on filling, and be cancelled; exits are cut to what there is. Ends of orders are told as late and
    as often as executions, and the book's register is the exchange's list of working orders once all is told.
    """

    def __init__(self):
        super().__init__()
        self.book, self.mirror = Book(), Book()
        self.net, self.clock, self.entries = D(0), 0, 0
        self.untold, self.all, self.traded = [], [], {}
        self.working = {}

    def now(self):
        self.clock += 1
        return self.clock

    def both(self, record):
        self.book.apply(record)
        self.mirror.apply(record)

    def execute(self, side, qty, order_id="", cause=Cause.MANUAL):
        """Net an execution as the exchange does; the mirror hears of it at once, the book later."""
        opposite = self.net * side.sign < 0
        closed = min(abs(self.net), qty) if opposite else D(0)
        self.net += side.sign * qty
        made = fill(self.now(), side, qty, closed, order_id, cause)
        self.all.append(made)
        self.untold.append(made)
        self.mirror.apply(made)

    @property
    def free(self):
        return self.book.of_symbol(A) is None and not self.book.net_of_strays(A, 0) and self.entries < 600

    @precondition(lambda self: self.free)
    @rule(
        side=st.sampled_from(Side), slices=st.lists(QTY, max_size=3), rest=st.just(D(0)) | QTY, lost=st.booleans()
    )  # fmt: skip
    def enter(self, side, slices, rest, lost):
        qty = sum(slices, rest)
        if not qty:
            return
        self.entries += 1
        intent = entry(digest_of(self.entries), side, qty, self.now())
        self.both(intent)
        if lost and slices and self.net * side.sign >= 0:
            # one of its executions opens, and takes it back
            self.book.apply(OrderEnded(time=self.now(), order_id=intent.order_id, symbol=A, state=OrderState.NOT_FOUND))
        for one in slices:
            self.execute(side.entry, one, intent.order_id, Cause.ENTRY)
        if rest:
            self.working[intent.order_id] = side, qty - rest, rest

    @precondition(lambda self: self.working)
    @rule(share=st.sampled_from([D("0.3"), D(1)]))
    def go_on_filling(self, share):
        (order_id, (side, filled, rest)), *_ = self.working.items()
        qty = max(D("0.1"), (rest * share).quantize(D("0.1")))
        self.execute(side.entry, qty, order_id, Cause.ENTRY)
        self.working[order_id] = side, filled + qty, rest - qty
        if rest == qty:
            del self.working[order_id]

    @precondition(lambda self: self.working)
    @rule()
    def cancel(self):
        order_id, (_, filled, _) = self.working.popitem()
        self.end(order_id, OrderState.CANCELLED, filled)

    @precondition(lambda self: any(held.qty > 0 and not held.exit_order for held in self.book.positions()))
    @rule()
    def leave(self):
        """Send an exit for all that is believed to be open; the exchange cuts it to what there is."""
        held = next(one for one in self.book.positions() if one.qty > 0 and not one.exit_order)
        side = held.opening.side.exit
        order_id = f"L1-{held.digest}-x{held.exit_attempts}"
        self.both(Intent(
            time=self.now(), order_id=order_id, symbol=A, side=side, kind=OrderKind.MARKET, qty=held.qty,
            reduce_only=True, cause=Cause.FORCE_EXIT,
        ))  # fmt: skip
        qty = min(held.qty, max(D(0), -self.net * side.sign))
        if qty:
            self.execute(side, qty, order_id, Cause.UNKNOWN)
        self.end(order_id, OrderState.FILLED if qty else OrderState.REJECTED, qty)

    def end(self, order_id, state, filled):
        ended = OrderEnded(time=self.now(), order_id=order_id, symbol=A, state=state, filled=filled)
        self.mirror.apply(ended)
        self.untold.append(ended)

    @rule(side=st.sampled_from(OrderSide), qty=QTY)
    def hand(self, side, qty):
        self.execute(side, qty)

    @precondition(lambda self: self.net)
    @rule()
    def stop(self):
        side = OrderSide.SELL if self.net > 0 else OrderSide.BUY
        self.execute(side, abs(self.net), cause=Cause.STOP_LOSS)

    @precondition(lambda self: self.untold)
    @rule(data=st.data(), twice=st.booleans())
    def tell(self, data, twice):
        told = self.untold.pop(data.draw(st.integers(0, len(self.untold) - 1)))
        for _ in range(1 + twice):
            self.book.apply(told)

    @rule()
    def settle(self):
        """Tell what is left, latest first; then record what is over, as the engine does once all has been asked for."""
        while self.untold:
            self.book.apply(self.untold.pop())
        for book in (self.book, self.mirror):
            for held in book.positions():
                if held.flat and held.entry_ended:
                    book.close(held)
                    if book is self.book:
                        self.traded[held.digest] = held.fills

    @invariant()
    def all_is_somebodys(self):
        """Once all is told, every execution belongs to exactly one position, trade or stranger, whole."""
        if self.untold:
            return
        open_ones = self.book.positions()
        held = sum((one.opening.side.sign * one.qty for one in open_ones), D(0))
        strays = self.book.strays(A)
        assert held + sum((one.side.sign * one.qty for one in strays), D(0)) == self.net
        counted = Counter()
        for one in (
            *strays,
            *(f for p in open_ones for f in p.fills.values()),
            *(f for t in self.traded.values() for f in t.values()),
        ):
            counted[one.exec_id.rstrip("+/")] += one.qty
        assert counted == Counter({one.exec_id: one.qty for one in self.all})
        assert all(one.qty >= 0 for one in open_ones), "more closed than opened, though all is told"

    @invariant()
    def order_does_not_matter(self):
        """Once all is told, the book is the one that heard everything in its order."""
        if not self.untold:
            assert shape(self.book) == shape(self.mirror)

    @invariant()
    def working_orders_are_the_exchanges(self):
        if not self.untold:
            there = {order_id: rest for order_id, (_, _, rest) in self.working.items()}
            assert {one.order_id: one.rest for one in self.book.unsettled()} == there


def shape(book):
    return {held.digest: {f.exec_id: f.qty for f in held.fills.values()} for held in book.positions()}


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
