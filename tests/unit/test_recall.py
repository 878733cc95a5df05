"""A replay of the journal: what is taken at once leaves the book as if it had been taken piece by piece."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.records import Close, Fill
from engine.recall import replay
from tests.torture.restart import records
from tests.unit.test_trader import World

BEGIN = 1_800_000_000_000


def told(numbers, late, unclosed):
    """Return the journal of so many trades; of some an execution comes after the close, or the close is missing."""
    journal = []
    for number in numbers:
        intent, entry, leave, close = records(number, BEGIN)
        if number in late:
            journal += [intent, entry, close, leave]
        else:
            journal += [intent, entry, leave] + ([] if number in unclosed else [close])
    return journal


def shape(trader):
    book = trader.book
    return (
        {held.digest: (held.fills, held.opened, held.closed) for held in book.positions()}, book.last_fill_time,
        book.leftovers, book.unmatched, {fill.exec_id for fill in book.live() if isinstance(fill, Fill)},
    )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 40), unique=True, max_size=12), st.sets(st.integers(0, 40), max_size=4),
    st.sets(st.integers(0, 40), max_size=2),
)  # fmt: skip
def test_the_book_is_the_same_however_its_records_are_taken(numbers, late, unclosed):
    journal = told(numbers, late, unclosed)
    at_once, piece_by_piece = World().fresh(), World().fresh()
    past = replay(at_once, journal)
    for record in journal:
        piece_by_piece.restore(record)
    assert shape(at_once) == shape(piece_by_piece)
    assert past.records == len(journal)
    assert past.trades == [record.trade for record in journal if isinstance(record, Close)]
    fills = [record for record in journal if isinstance(record, Fill)]
    assert all(at_once.book.knows(fill.exec_id) for fill in fills)
    assert [at_once.book.claimed(f.exec_id) for f in fills] == [piece_by_piece.book.claimed(f.exec_id) for f in fills]


def test_a_recorded_trade_is_not_shared_out_at_all(monkeypatch):
    trader = World().fresh()
    monkeypatch.setattr(type(trader.book), "_attribute", None)
    replay(trader, told(range(5), late=(), unclosed=()))
    assert trader.book.positions() == []
