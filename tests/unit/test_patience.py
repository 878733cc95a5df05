"""A list that is not told at once is asked for again; what hangs, or is refused, is not."""

import asyncio

import pytest

from domain.errors import Rejected, Unavailable
from engine.patience import ATTEMPTS, QUICK_S, Patient
from tests.torture.virtual import run_virtually

ASKED = [
    ("positions", ()), ("flat", ("A",)), ("order", ("A", "x")), ("fills_since", (1, 2, "A")), ("closed_since", (1, 2, "A")), ("open_orders", ()),
]  # fmt: skip


class Lists:
    """Fails so often, each time after so many seconds, and then answers with what it was asked."""

    def __init__(self, *failures, seconds=0.1):
        self.failures, self.seconds, self.calls = list(failures), seconds, 0

    def __getattr__(self, name):
        async def answer(*asked):
            self.calls += 1
            await asyncio.sleep(self.seconds)
            if self.failures:
                raise self.failures.pop(0)
            return name, asked

        return answer


def asked(lists, name, arguments):
    return run_virtually(lambda _: getattr(Patient(lists), name)(*arguments))


@pytest.mark.parametrize(("name", "arguments"), ASKED)
@pytest.mark.parametrize("failures", range(ATTEMPTS))
def test_a_request_that_fails_is_sent_again(name, arguments, failures):
    lists = Lists(*[Unavailable("no answer")] * failures)
    assert asked(lists, name, arguments) == (name, arguments)


@pytest.mark.parametrize(("name", "arguments"), ASKED)
def test_but_not_without_an_end(name, arguments):
    lists = Lists(*[Unavailable("away")] * 99)
    with pytest.raises(Unavailable):
        asked(lists, name, arguments)
    assert lists.calls == ATTEMPTS


@pytest.mark.parametrize(
    ("failure", "seconds"), [(Rejected("no", 1), 0.1), (Unavailable("no answer in time"), QUICK_S + 1)]
)
def test_neither_a_refusal_nor_what_hangs_is_repeated(failure, seconds):
    lists = Lists(failure, seconds=seconds)
    with pytest.raises(type(failure)):
        asked(lists, "positions", ())
    assert lists.calls == 1
