"""What the proof counts as unowned or without a stop, and what it does not: nobody can know or do better there."""

from decimal import Decimal as D
from types import SimpleNamespace

import pytest

from domain.order import Side
from tests.torture.watch import Watch

A = "A/USDT:USDT"


class Scene:
    """A position of ours and the true one; changed step by step, each step a second."""

    def __init__(self, there="10", stop="98", price="100"):
        bracket = SimpleNamespace(stop=D(98))
        self.held = SimpleNamespace(
            opening=SimpleNamespace(side=Side.LONG), qty=D(10), touches=[], bracket=bracket, exit_attempts=0
        )
        self.book = SimpleNamespace(of_symbol=lambda _: self.held, net_of_strays=lambda *_: D(0))
        self.found = SimpleNamespace(ghosts=[], foreign=[])
        runtime = SimpleNamespace(reconciler=SimpleNamespace(found=self.found))
        self.life = SimpleNamespace(trader=SimpleNamespace(book=self.book), runtime=runtime)
        self.there, self.stop, self.price, self.illusions = D(there), D(stop), D(price), {}
        self.now, self.watch, self.running = 0.0, Watch(), {}

    @property
    def venue(self):
        account = SimpleNamespace(
            position=lambda _: SimpleNamespace(qty=self.there, stop=self.stop), last_price=lambda _: self.price
        )
        return SimpleNamespace(rules=[A], account=account, illusions=self.illusions, seconds=lambda: self.now)

    def look(self, times=1, **changes):
        for name, value in changes.items():
            setattr(self, name, value)
        for _ in range(times):
            self.now += 1
            self.watch.look(self.life, self.venue, self.running, 1.0)
        return self.watch


def test_a_quantity_that_nobody_knows_counts_until_it_is_known():
    scene = Scene()
    scene.look()
    scene.look(3, there=D(12))
    scene.found.foreign.append(A)
    assert scene.look().unowned == [3.0]


def test_while_the_list_shows_what_is_not_there_nobody_can_know_and_the_time_begins_after_that():
    scene = Scene(there="12")
    scene.illusions[A] = (D(-2), 5.5)
    scene.look(5)
    assert scene.running == {}
    scene.look(3)
    assert scene.look(there=D(10)).unowned == [3.0]


def test_without_a_stop_counts_until_one_stands():
    scene = Scene(stop="0")
    scene.look(2)
    watch = scene.look(stop=D(98))
    assert (watch.naked, watch.passed) == ([2.0], [])


@pytest.mark.parametrize(("attempts", "price"), [(0, "97"), (1, "99")])
def test_without_an_exit_or_where_a_stop_could_stand_it_counts_all_the_same(attempts, price):
    scene = Scene(stop="0", price=price)
    scene.held.exit_attempts = attempts
    scene.look(2)
    watch = scene.look(there=D(0))
    assert (watch.naked, watch.passed) == ([2.0], [])


def test_where_the_price_has_passed_it_the_way_out_counts_apart_and_what_was_naked_goes_on():
    scene = Scene(stop="0")
    scene.look(2)
    scene.held.exit_attempts = 1
    scene.look(4, price=D(97))
    scene.look(2, price=D(99))
    watch = scene.look(there=D(0))
    assert (watch.naked, watch.passed) == ([4.0], [4.0])
