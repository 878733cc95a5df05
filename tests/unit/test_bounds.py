"""A fact is understood before it is written down, and what an earlier program wrote down keeps nobody from starting."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal as D
from types import SimpleNamespace

import msgspec
import pytest

from broker.bybit import BybitBroker
from broker.bybit.messages import Rows
from domain import bounds
from domain.errors import Unavailable
from domain.order import Cause, OrderSide, Side
from domain.records import Adopted, Fill, Unread
from engine.intake import AHEAD_MAX_MS, Intake
from engine.recall import replay
from persistence.journal import Journal, read_pieces, read_records
from persistence.ledger import LayeredLedger
from tests.torture.virtual import run_virtually
from tests.unit.test_bybit_rows import ROW
from tests.unit.test_journal import WHO, written
from tests.unit.test_journal import fill as journaled
from tests.unit.test_reconciliation import Case
from tests.unit.test_trader import A, World

IMPOSSIBLE = [
    {"price": D("1e16")}, {"price": D("1e400")}, {"price": D(-1)}, {"price": D("NaN")}, {"fee": D("1e999999")},
    {"fee": D("-1e16")}, {"fee": D(10**6)}, {"qty": D("1e30")}, {"qty": D(0)}, {"qty": D("Infinity")}, {"qty": D("1e-99999")},
    {"closed_qty": D("1e30")}, {"closed_qty": D("sNaN")}, {"time": 1_795_948_817_280_000}, {"time": 1_795_948_817_280_000_000},
    {"time": -1}, {"price": D("1e9"), "qty": D("1e9")},
]  # fmt: skip
CASES = pytest.mark.parametrize("wrong", IMPOSSIBLE, ids=str)


@CASES
def test_no_execution_beyond_the_bounds_is_believed_alone_or_inside_of_another_record(wrong):
    lie = msgspec.structs.replace(journaled(1), **wrong)
    assert bounds.doubt(journaled(1)) == ""
    assert bounds.doubt(lie)
    world = World({0: Side.LONG})
    command, _ = world.entered()
    assert bounds.doubt(Adopted(1, "A" * 24, A, command.intent.opening, (journaled(1), lie), "why"))


@pytest.mark.parametrize("change", [
    {"execPrice": "1e16"}, {"execFee": "1e17"}, {"execFee": "250"}, {"execQty": "1e14"}, {"execTime": "1672282722429000"},
    {"execTime": "1672282722"}, {"execTime": "9999999999999"}, {"execPrice": "100." + "0" * 100}, {"closedSize": "1e14"},
])  # fmt: skip
def test_a_row_beyond_the_bounds_is_kept_as_unread_with_its_symbol(change):
    rows = Rows()
    assert rows.told("execution", [{**ROW, **change}, ROW]) == rows._fills([ROW])
    (kept,) = rows.unread()
    assert (kept.symbol, rows.malformed) == ("BTC/USDT:USDT", 1)


@pytest.mark.parametrize("change", [{"size": "1e14"}, {"avgPrice": "1e12"}, {"size": "1e9", "avgPrice": "1e9"}])
def test_a_position_beyond_the_bounds_is_no_statement_about_positions(change):
    row = {"symbol": "BTCUSDT", "size": "1", "side": "Buy", "avgPrice": "100", **change}
    with pytest.raises(ValueError, match="a position of"):
        Rows()._position(row)


class Told:
    """An intake over a trader with one open position; what it journals and tells is at hand."""

    def __init__(self, bars_before=0):
        self.case = Case(world=World({bars_before: Side.LONG}))
        for _ in range(bars_before):
            self.case.world.bar()
        self.entry, _ = self.case.world.entered()
        self.shell, self.trader, self.unread = self.case.shell, self.case.trader, []
        self.shell.nudge = lambda: None
        broker = SimpleNamespace(unread=lambda: [self.unread.pop() for _ in list(self.unread)])
        funding = SimpleNamespace(belongs_here=lambda _: False)
        self.news = []
        self.intake = Intake(
            self.trader, broker, self.shell, self.case.reconciler, None, lambda kind, what: self.news.append((kind, what)),
            None, funding,
        )  # fmt: skip

    def closing(self, **change):
        one = Fill(
            time=self.shell.market_time(), exec_id="close", order_id="", venue_order_id="v", symbol=A, side=OrderSide.SELL,
            qty=self.entry.request.qty, price=D(98), fee=D(0), closed_qty=self.entry.request.qty, cause=Cause.STOP_LOSS,
        )  # fmt: skip
        return msgspec.structs.replace(one, **change)

    def take(self, *fills):
        run_virtually(lambda _: self.intake.take_fills(fills))
        return [type(record) for record in self.shell.records]


@CASES
def test_an_impossible_execution_is_told_and_kept_once_and_its_symbol_compared_and_the_true_one_counts(wrong):
    told = Told()
    lie = told.closing(**wrong)
    assert told.take(lie, lie) == [Unread]
    assert told.take(lie) == [Unread]
    assert [kind for kind, _ in told.news] == ["unread"]
    assert list(told.trader.situation.doubtful) == [A]
    assert told.trader.book.of_symbol(A).qty == told.entry.request.qty
    assert told.take(told.closing()) == [Unread, Fill]
    assert told.trader.book.of_symbol(A).flat


@pytest.mark.parametrize("wrong", [
    lambda: {"time": int(time.time() * 1000) + AHEAD_MAX_MS + 3_600_000}, lambda: {"price": D("0.09")},
    lambda: {"price": D(100_001)},
], ids=["ahead", "cheap", "dear"])  # fmt: skip
def test_what_fits_neither_the_clock_nor_the_position_is_not_believed(wrong):
    told = Told()
    assert told.take(told.closing(**wrong())) == [Unread]


def test_what_cannot_be_reckoned_with_is_tried_out_before_it_is_journaled(monkeypatch):
    told = Told()
    held = told.trader.book.of_symbol(A)
    before = dict(held.fills)
    monkeypatch.setattr(type(held), "to_trade", lambda *_: D(1) / D(0))
    assert told.take(told.closing()) == [Unread]
    assert (held.fills, told.trader.book.knows("close")) == (before, False)


def test_the_time_of_what_was_not_understood_is_never_the_newest_in_the_journal():
    told = Told()
    told.unread = [Unread(9_999_999_999_999, A, "execution: what", "{}"), Unread(0, A, "execution: more", "{}")]
    asyncio.run(told.intake.take_unread())
    assert {record.time for record in told.shell.records} == {told.shell.market_time()}


@CASES
@pytest.mark.parametrize("place", [1, 3], ids=["amid", "last"])
def test_a_record_of_an_earlier_program_that_nobody_can_reckon_with_is_set_aside(tmp_path, wrong, place):
    poison = msgspec.structs.replace(journaled(place), **wrong)
    try:
        body = msgspec.json.encode(poison)
        msgspec.json.decode(body, type=Fill)
    except (msgspec.MsgspecError, ValueError):
        pytest.skip("no journal can hold it")
    good = written(tmp_path, place)
    journal = Journal(tmp_path, WHO)
    journal.write(body)
    if place == 1:
        journal.write(msgspec.json.encode(journaled(7)))
        good.append(journaled(7))
    journal.close()
    journal = Journal(tmp_path, WHO)
    ledger = LayeredLedger(journal)
    assert (
        list(ledger.replay())
        == list(read_records(tmp_path))
        == [one for piece in read_pieces(tmp_path) for one in piece]
        == good
    )
    assert (ledger.missing, ledger.doubtful_since) == (1, good[place - 1].time)
    (kept,) = (tmp_path / "quarantine").iterdir()
    assert body in kept.read_bytes()
    number = journal.write(msgspec.json.encode(journaled(9)))
    journal.close()
    assert number == len(good) + 2


def test_a_record_that_raises_in_the_book_is_set_aside_and_the_exchange_asked_since_then(tmp_path, monkeypatch):
    world = World({0: Side.LONG})
    world.entered()
    trader = world.fresh()
    taken = type(trader.book)._attribute
    monkeypatch.setattr(
        type(trader.book),
        "_attribute",
        lambda book, symbol: taken(book, symbol) if trader.counts["let"] else D(1) / D(0),
    )
    past = replay(trader, world.records)
    (fill,) = past.unusable
    assert isinstance(fill, Fill)
    assert not trader.book.knows(fill.exec_id)
    journal = Journal(tmp_path, WHO)
    ledger = LayeredLedger(journal)
    ledger.set_aside(fill)
    assert (ledger.missing, ledger.doubtful_since) == (1, fill.time)
    assert [path.read_bytes() for path in (tmp_path / "quarantine").iterdir()] == [msgspec.json.encode(fill)]
    journal.close()
    # told again by the exchange, it counts
    trader.counts["let"] = 1
    trader.on_fill(fill)
    assert trader.book.of_symbol(A).qty == fill.qty


def test_an_unreadable_list_of_positions_concludes_nothing():
    async def pages(*_):
        yield [{"symbol": "BTCUSDT", "size": "1e14", "side": "Buy", "avgPrice": "1"}]

    broker = BybitBroker(SimpleNamespace(pages=pages))
    with pytest.raises(Unavailable):
        asyncio.run(broker.positions())
