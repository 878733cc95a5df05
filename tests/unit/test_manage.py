"""A strategy manages its positions: stops move, parts go, phantoms follow, and a kill in between loses nothing."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest

from domain.candle import Bar, Bars, ClosedBar, Series
from domain.exits import ExitPlan
from domain.holding import Adjust
from domain.instrument import Instrument
from domain.notice import Notice
from domain.order import Cause, OrderKind, OrderState, Side
from domain.phantom import PhantomTrade
from domain.records import Fill, Managed, OrderEnded, PhantomManaged, StopMoved
from domain.signal import Leave
from engine.commands import AdjustRefused, MoveStop, PlaceOrder, Remember, SwitchedOff
from engine.decisions import Decisions
from engine.positions import Book
from engine.trader import Plan, Trader, TraderTerms
from ml.phantom_tracker import PhantomTradeTracker
from telegram_bot.news import News
from tests.unit.test_decisions import LIMITS, STEP, A, B, Theirs, signal
from tests.unit.test_leave import FREE, WHO, enter, placed

RULES = Instrument(A, "AUSDT", D("0.1"), D("0.01"), D("0.01"), D(100_000), D(5), D(50))


def filled(trader, order, name, price="100"):
    """Have an order fill whole."""
    request = order.request
    return trader.on_fill(
        Fill(
            time=order.intent.time + 1, exec_id=name, order_id=request.order_id, venue_order_id=name,
            symbol=request.symbol, side=request.side, qty=request.qty, price=D(price), fee=D(0),
            closed_qty=request.qty if request.reduce_only else D(0),
            cause={"e": Cause.ENTRY, "t": Cause.PARTIAL}.get(order.request.order_id[-2], Cause.UNKNOWN),
        )
    )  # fmt: skip


class Managing(Theirs):
    """Does with a position what it is told for a bar, and remembers what it was shown of it."""

    def __init__(self, on, does, shorter=False):
        super().__init__(on)
        self.does, self.shown = does, []

    def manage(self, position, i, columns):
        bar = int(columns["open_time"][i]) // STEP
        self.shown.append((bar, position))
        found = self.does.get(bar)
        return found(position) if callable(found) else found


class World:
    """A trader whose strategy enters on the first bar, with the bars that it has been shown."""

    def __init__(self, does, exits=ExitPlan(), on=None, rows=(), **terms):
        self.strategy, self.rows = Managing(on or {0: enter}, does), list(rows)
        held = TraderTerms(
            WHO, LIMITS, {"theirs": Plan(self.strategy, exits)}, paper=False, unfilled_timeout_ms=9 * STEP, **terms
        )
        self.trader = Trader(held, {A: RULES}, lambda _: Bars.of(self.rows))
        self.trader.situation.equity = D(10_000)

    def bar(self, close=100.0, high=None, low=None):
        at = len(self.rows) * STEP
        self.rows.append(Bar(at, close, high or close + 0.5, low or close - 0.5, close, 1.0, 1.0))
        return self.trader.on_bar(ClosedBar(Series(A, "3m"), self.rows[-1]))

    @property
    def held(self):
        return self.trader.book.of_symbol(A)

    def moved(self, commands):
        """Have the exchange accept moved stops; return where to."""
        moves = [one for one in commands if isinstance(one, MoveStop)]
        for one in moves:
            self.trader.on_stop_moved(
                StopMoved(time=one.time, digest=one.digest, symbol=one.symbol, stop=one.stop, cause=one.cause)
            )
        return [one.stop for one in moves]


def opened(does, exits=ExitPlan(), **terms) -> World:
    world = World(does, exits, **terms)
    world.trader.warm_up(A, 0)
    (entry,) = placed(world.bar())
    filled(world.trader, entry, "e")
    return world


def reborn(world: World, records, does, rows=None) -> World:
    """The next life, which has read the records of one that was killed."""
    again = World(does, on={0: enter}, rows=rows or world.rows)
    again.trader.situation.market_time = len(again.rows) * STEP
    for record in records:
        again.trader.restore(record)
    again.trader.warm_up(A, 0)
    for held in again.trader.book.positions():
        held.show(Bars.of(again.rows))
    return again


def written(commands) -> list:
    return [one.record for one in commands if isinstance(one, Remember) and isinstance(one.record, Managed)]


def test_it_is_asked_once_for_each_bar_on_which_a_position_is_open_and_sees_it_as_it_stands():
    world = opened({2: Adjust(stop=99.0)})
    world.bar(101.0)
    world.moved(world.bar(102.0, low=100.0))
    world.bar(103.0)
    bars, seen = zip(*world.strategy.shown, strict=True)
    assert bars == (1, 2, 3)
    assert [(one.bars, one.stop, one.close, one.best, one.worst) for one in seen] == [
        (1, 98.0, 101.0, 101.5, 100.5), (2, 98.0, 102.0, 102.5, 100.0), (3, 99.0, 103.0, 103.5, 100.0),
    ]  # fmt: skip
    assert [one.r for one in seen] == [0.5, 1.0, 1.5]
    assert (seen[0].symbol, seen[0].side, seen[0].entry, seen[0].risk, seen[0].remaining) == (A, Side.LONG, 100, 2, 1)
    with pytest.raises(AttributeError):
        seen[0].stop = 0.0


def test_a_stop_moves_to_the_tick_and_is_only_ever_tightened():
    world = opened({1: Adjust(stop=98.57), 2: Adjust(stop=98.3), 3: Adjust(stop=98.55), 4: Adjust(stop=99.0)})
    assert [world.moved(world.bar()) for _ in range(4)] == [[D("98.5")], [], [], [D("99.0")]]
    assert (world.held.bracket.stop, world.held.bracket.stop_cause) == (D("99.0"), Cause.TRAILING_STOP)


def test_what_risks_more_than_was_sized_for_is_refused_by_name_counted_and_told_once():
    world = opened({bar: Adjust(stop=97.0, keep=0.5 if bar == 3 else None) for bar in range(1, 4)})
    told = [one for _ in range(2) for one in world.bar() if isinstance(one, AdjustRefused)]
    assert [(one.strategy, one.symbol) for one in told] == [("theirs", A)]
    assert "a stop at 97 lies beyond the first one at 98" in told[0].reason
    # what else was asked for in the same breath is done
    (part,) = placed(world.bar())
    assert part.intent.cause is Cause.PARTIAL
    assert world.trader.counts["adjust_refused"] == 3
    assert world.held.bracket.stop == D(98)


def test_a_part_goes_at_the_market_and_saying_so_again_takes_no_more():
    world = opened({bar: Adjust(keep=0.5) for bar in range(1, 5)} | {5: Adjust(keep=0.25)})
    whole = world.held.qty
    (part,) = placed(world.bar())
    assert (part.request.kind, part.request.reduce_only, part.request.qty) == (OrderKind.MARKET, True, whole / 2)
    assert placed(world.bar()) == []
    filled(world.trader, part, "t0", "101")
    assert [placed(world.bar()) for _ in range(2)] == [[], []]
    assert [(one.remaining, one.parts) for _, one in world.strategy.shown[1:]] == [(1.0, 0), (0.5, 1), (0.5, 1)]
    (rest,) = placed(world.bar())
    assert rest.request.qty == whole / 4
    assert world.held.partial_filled == 0
    filled(world.trader, rest, "t1", "101")
    (out,) = world.trader.exit(world.held, Cause.EXIT_SIGNAL, world.trader.situation.market_time)
    filled(world.trader, out, "x", "101")
    trade = world.held.to_trade(WHO)
    assert [leg.cause for leg in trade.legs] == ["entry", "partial_exit", "partial_exit", "exit_signal"]
    assert (trade.r_multiple, trade.exit_reason, trade.quantity) == (D("0.5"), "exit_signal", whole)


def test_a_part_and_the_partial_target_of_the_plan_go_their_own_ways():
    world = opened({1: Adjust(keep=0.75)}, ExitPlan(partial_r=1.0, partial_fraction=0.5))
    target = world.held.orders[world.held.partial_order]
    (part,) = placed(world.bar())
    filled(world.trader, part, "t", "101")
    assert (world.held.partial_taken, world.held.partial_order) == (False, target.order_id)
    assert world.held.bracket.stop == D(98)


def test_a_part_that_the_operator_closes_is_waited_for_and_counts():
    world = opened({1: Adjust(keep=0.5)})
    whole = world.held.qty
    (reduced,) = world.trader.reduce(world.held, whole / 4, 2 * STEP)
    assert placed(world.bar()) == []
    filled(world.trader, reduced, "r", "101")
    (part,) = placed(world.bar())
    assert part.request.qty == whole / 4


def test_what_is_too_little_for_an_order_stays_and_what_fails_is_tried_three_times():
    world = opened({1: Adjust(keep=0.9999)})
    assert placed(world.bar()) == []
    world = opened({bar: Adjust(keep=0.5) for bar in range(1, 6)})
    tried = []
    for _ in range(5):
        for order in placed(world.bar()):
            tried.append(order.request.order_id)
            world.trader.on_order_ended(
                OrderEnded(time=1, order_id=order.request.order_id, symbol=A, state=OrderState.REJECTED, reason="no")
            )
    assert len(set(tried)) == len(tried) == 3


def test_it_may_leave_and_a_side_that_is_not_meant_is_not_left():
    world = opened({1: Leave(Side.SHORT), 2: Leave()})
    assert placed(world.bar()) == []
    (out,) = placed(world.bar())
    assert (out.intent.cause, out.request.reduce_only) == (Cause.EXIT_SIGNAL, True)
    world.bar()
    assert [bar for bar, _ in world.strategy.shown] == [1, 2]


def test_what_step_says_of_leaving_the_table_of_gains_and_the_timeout_come_first():
    world = World({1: Adjust(stop=99.0, keep=0.5)}, ExitPlan(timeout_ms=STEP))
    world.trader.warm_up(A, 0)
    (entry,) = placed(world.bar())
    filled(world.trader, entry, "e")
    world.held.bracket = type(world.held.bracket)(
        **{name: getattr(world.held.bracket, name) for name in world.held.bracket.__struct_fields__}
        | {"opened_at": STEP}
    )
    commands = world.bar()
    assert [one.intent.cause for one in placed(commands)] == [Cause.TIMEOUT]
    assert not [one for one in commands if isinstance(one, MoveStop)]


WRONG = {
    "a word": ("out", "manage gave str"),
    "a signal": (signal(A, 0), "manage gave Signal"),
    "no number": (Adjust(stop=float("nan")), "whose stop is nan"),
    "a stop below nothing": (Adjust(stop=-1.0), "whose stop is -1.0"),
    "more than all": (Adjust(keep=1.5), "whose keep is 1.5"),
    "nothing kept": (Adjust(keep=0.0), "Leave takes all off"),
    "no side": (Leave("long"), "a Leave whose side is 'long'"),
    "raises": (lambda _: 1 / 0, "ZeroDivisionError"),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_that_fails_while_it_manages_is_switched_off_and_its_position_is_managed_on(name):
    gave, reason = WRONG[name]
    world = opened({1: gave, 2: Adjust(stop=99.0)}, ExitPlan(timeout_ms=3 * STEP))
    (off,) = [one for one in world.bar() if isinstance(one, SwitchedOff)]
    assert reason in off.reason
    assert world.bar() == []
    assert world.held.bracket.stop == D(98)
    world.bar()
    assert [one.intent.cause for one in placed(world.bar())] == [Cause.TIMEOUT]


def test_another_strategy_and_one_that_does_not_manage_are_not_asked():
    other, mine = Managing({}, {}), Theirs({0: enter})
    plans = {"theirs": Plan(mine, ExitPlan()), "other": Plan(other, ExitPlan())}
    rows: list[Bar] = []
    trader = Trader(
        TraderTerms(WHO, LIMITS, plans, paper=False, unfilled_timeout_ms=9 * STEP), {A: RULES}, lambda _: Bars.of(rows)
    )
    trader.situation.equity = D(10_000)
    trader.warm_up(A, 0)
    for at in range(3):
        rows.append(Bar(at * STEP, 100, 100.5, 99.5, 100, 1, 1))
        for order in placed(trader.on_bar(ClosedBar(Series(A, "3m"), rows[-1]))):
            filled(trader, order, "e")
    assert trader.book.of_symbol(A).qty
    assert other.shown == []
    assert trader.decisions.manager("theirs", Series(A, "3m"), 0) is None


def test_records_alone_give_the_same_book():
    world = opened({1: Adjust(stop=99.0, keep=0.5), 2: Adjust(keep=0.25)})
    journal = [one for one in world.trader.book.live()]
    for _ in range(2):
        commands = world.bar()
        journal += written(commands)
        journal += [one.intent for one in placed(commands)]
    replayed = Book()
    for record in journal:
        replayed.apply(record)
    one, other = replayed.of_symbol(A), world.held
    assert one.managed == other.managed
    assert (one.managed.stop, one.managed.keep) == (D("99.0"), D("0.25"))
    assert (one.orders, one.part_order, one.part_attempts) == (other.orders, other.part_order, 1)
    again = Book()
    for record in replayed.live():
        again.apply(record)
    assert again.of_symbol(A) == one


def test_killed_before_anything_was_written_down_the_next_life_decides_the_same_for_every_bar():
    """Also for bars that closed while nobody lived: what was said in between is seen by what comes after it."""
    does = {
        1: Adjust(stop=98.5),
        2: lambda held: Adjust(keep=0.5) if held.stop == 98.5 and held.bars == 2 else None,
        3: lambda held: Adjust(stop=99.0) if held.best == 101.5 else None,
    }
    world = opened(does)
    records = list(world.trader.book.live())
    for close in (101.0, 100.5, 100.0, 100.0):
        world.bar(close)
    again = reborn(world, records, does)
    commands = again.trader.resume()
    assert [(one.stop, one.keep) for one in written(commands)] == [
        (D("98.5"), D(1)), (D("98.5"), D("0.5")), (D("99.0"), D("0.5")),
    ]  # fmt: skip
    assert [one.stop for one in commands if isinstance(one, MoveStop)] == [D("99.0")]
    (part,) = placed(commands)
    assert part.request.qty == again.held.opened / 2
    # killed once more, now behind the journal: nothing is decided or ordered twice, and the stop still moves
    third = reborn(world, [*records, *written(commands), part.intent], does)
    commands = third.trader.resume()
    assert (written(commands), placed(commands)) == ([], [])
    assert [one.stop for one in commands if isinstance(one, MoveStop)] == [D("99.0")]
    assert third.held.part_order == part.request.order_id


def test_what_was_decided_and_not_ordered_yet_is_ordered_at_the_next_start():
    world = opened({1: Adjust(stop=99.0, keep=0.5)})
    records = list(world.trader.book.live())
    decided = written(world.bar())
    again = reborn(world, [*records, *decided], {})
    commands = again.trader.resume()
    assert [one.stop for one in commands if isinstance(one, MoveStop)] == [D("99.0")]
    assert [one.request.qty for one in placed(commands)] == [again.held.opened / 2]


def test_a_leave_that_nobody_wrote_down_is_done_at_the_next_start_and_bars_after_it_are_not_asked_about():
    does = {2: Leave(), 3: Adjust(stop=99.0)}
    world = opened(does)
    records = list(world.trader.book.live())
    for _ in range(3):
        world.bar()
    again = reborn(world, records, does)
    (out,) = placed(again.trader.resume())
    assert out.intent.cause is Cause.EXIT_SIGNAL
    assert [bar for bar, _ in again.strategy.shown] == [1, 2]
    assert placed(reborn(world, [*records, out.intent], does).trader.resume()) == []


def test_bars_that_the_last_life_has_acted_on_are_not_asked_about_again():
    world = opened({2: Adjust(stop=99.0)})
    journal = list(world.trader.book.live())
    for _ in range(4):
        commands = world.bar()
        journal += written(commands)
        world.moved(commands)
    again = reborn(world, journal, {2: Adjust(stop=99.0)})
    again.trader.resume()
    assert [bar for bar, _ in again.strategy.shown] == [3, 4]


def followed(does, **known) -> tuple[PhantomTradeTracker, PhantomTrade, Managing, list[Bar]]:
    rows: list[Bar] = [Bar(0, 100, 100.5, 99.5, 100, 1, 1)]
    strategy = Managing({}, does)
    decisions = Decisions({"theirs": Plan(strategy, ExitPlan())}, lambda _: Bars.of(rows), {}, 0)
    decisions.warm_up(A, 0)
    tracker = PhantomTradeTracker(
        WHO, {"theirs": ExitPlan(**known)}, lambda _: RULES, FREE, decisions.leaves, decisions.manager
    )
    phantom = tracker.record_signal(A, signal(A, 0), None, False, None, "theirs", "score")

    def show(close, high=None, low=None):
        rows.append(Bar(len(rows) * STEP, close, high or close + 0.5, low or close - 0.5, close, 1, 1))
        closed = ClosedBar(Series(A, "3m"), rows[-1])
        decisions.step("theirs", closed)
        return tracker.update_phantom_prices(closed)

    return tracker, phantom, strategy, show


def test_a_phantom_is_managed_as_a_position_would_be():
    _, phantom, strategy, show = followed({1: Adjust(stop=99.0), 2: Adjust(keep=0.5), 4: Leave()})
    show(101.0)
    assert (phantom.bracket.stop, phantom.rest) == (D("99.0"), D(1))
    show(102.0)
    assert (phantom.rest, phantom.made) == (D("0.5"), D(1))
    show(103.0)
    (ended,) = show(104.0)
    assert (ended.exit_reason, ended.realized_rr) == ("exit_signal", D("1.5"))
    assert [(bar, one.bars, one.stop, one.remaining, one.parts) for bar, one in strategy.shown] == [
        (1, 1, 98.0, 1.0, 0), (2, 2, 99.0, 1.0, 0), (3, 3, 99.0, 0.5, 1), (4, 4, 99.0, 0.5, 1),
    ]  # fmt: skip


def test_a_phantom_s_stop_that_the_price_has_passed_or_that_may_not_be_is_what_it_is_for_a_position():
    _, phantom, _, show = followed({1: Adjust(stop=97.0), 2: Adjust(stop=101.0)})
    show(100.5)
    assert phantom.bracket.stop == D(98)
    (ended,) = show(100.9)
    assert (ended.exit_reason, ended.exit_price) == ("trailing_stop_loss", D("100.9"))


def test_a_phantom_goes_on_from_where_its_strategy_left_it_in_another_life():
    tracker, _, _, show = followed({1: Adjust(stop=99.0, keep=0.5)})
    first = msgspec.structs.replace(tracker.active()[0])
    show(101.0)
    (left,) = tracker.managed()
    record = PhantomManaged(time=left.next_open, phantom=msgspec.structs.replace(left))
    assert tracker.managed() == []
    show(101.5)
    assert tracker.managed() == []
    again = PhantomTradeTracker(WHO, {"theirs": ExitPlan()}, lambda _: RULES, FREE)
    # in whichever order they are told
    again.restore([first, record.phantom, first])
    (there,) = again.active()
    assert (there.bracket.stop, there.rest, there.next_open) == (D("99.0"), D("0.5"), 2 * STEP)


def test_what_the_plan_does_to_a_phantom_is_derived_anew_and_written_down_by_nobody():
    _, phantom, _, show = followed({}, trail_start_r=0.1, trail_distance_r=0.5)
    show(101.0)
    assert phantom.bracket.stop > 98
    plain = PhantomTradeTracker(
        WHO, {"theirs": ExitPlan(trail_start_r=0.1, trail_distance_r=0.5)}, lambda _: RULES, FREE
    )
    plain.record_signal(A, signal(A, 0), None, False, None, "theirs", "score")
    plain.update_phantom_prices(ClosedBar(Series(A, "3m"), Bar(STEP, 101, 101.5, 100.5, 101, 1, 1)))
    assert plain.managed() == []


def test_a_symbol_of_which_no_bar_was_seen_is_not_asked_about():
    decisions = Decisions({"theirs": Plan(Managing({}, {0: Leave()}), ExitPlan())}, lambda _: Bars.empty(), {}, 0)
    manage = decisions.manager("theirs", Series(B, "3m"), 0)
    assert manage is not None
    assert manage(None) is None


def test_exit_orders_of_every_kind_are_orders_of_ours():
    world = opened({1: Adjust(keep=0.5)})
    (part,) = placed(world.bar())
    assert isinstance(part, PlaceOrder)
    assert world.trader.book.order(part.request.order_id).leg == "t"


def test_what_is_refused_is_told_in_the_chat():
    told = []
    refused = AdjustRefused("theirs", A, "a stop at 97 lies beyond the first one at 98")
    News(lambda kind, text, about: told.append((kind, text, about)), lambda: "paper").told("strategy", refused)
    ((kind, text, about),) = told
    assert (kind, about) == (Notice.STRATEGY, refused)
    assert "a stop at 97 lies beyond" in text
