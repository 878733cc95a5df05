"""What takes too long is cut, what ends in time is not, and one thread sees to all of it."""

from __future__ import annotations

import threading

from persistence.deadlines import Deadlines
from tests.bot import until


def threads(name: str) -> int:
    return sum(one.name == name for one in threading.enumerate())


def test_what_takes_too_long_is_cut_and_nothing_else():
    cut: list[str] = []
    held = Deadlines(cut.append, "one for all")
    with held.within(60, "patient"), held.within(0.01, "late"):
        until(lambda: cut, "the cut")
        with held.within(60, "another"):
            assert threads("one for all") == 1
    assert cut == ["late"]
    for number in range(3):
        with held.within(0.005, str(number)):
            until(lambda number=number: str(number) in cut, "the next cut")
    with held.within(0.02, "in time"):
        pass
    # the thread is gone as soon as it has looked once more and found nothing
    with held.within(0.01, "last"):
        until(lambda: "last" in cut, "the last cut")
    assert cut == ["late", "0", "1", "2", "last"]


def test_the_thread_ends_when_there_is_nothing_to_watch_and_comes_back():
    cut: list[str] = []
    held = Deadlines(cut.append, "comes and goes")
    for name in ("one", "two"):
        with held.within(0.01, name):
            until(lambda name=name: name in cut, "the cut")
        until(lambda: threads("comes and goes") == 0, "the thread to end")
    assert cut == ["one", "two"]


def test_many_threads_share_it():
    cut: list[int] = []
    held = Deadlines(cut.append)

    def work(number: int) -> None:
        for _ in range(200):
            with held.within(30, number):
                pass
        with held.within(0.01, number):
            until(lambda: number in cut, "the cut")

    workers = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert sorted(cut) == list(range(8))
