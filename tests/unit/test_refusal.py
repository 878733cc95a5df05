"""Reasons of the simulated account: what each objects to, and what the practice exchange calls it."""

from __future__ import annotations

import pytest

from broker.bybit.objections import objection
from domain.errors import Rejected
from domain.refusal import OBJECTIONS, Reason, Refused
from sandbox.codes import CODES, code_of, words_of


@pytest.mark.parametrize("reason", Reason)
def test_paper_and_practice_exchange_conclude_the_same_from_a_refusal(reason):
    refused = Refused("text", reason)
    assert refused.objection is objection(code_of(refused), words_of(refused))


def test_every_reason_has_a_code_and_says_what_it_objects_to_or_nothing():
    assert set(CODES) == set(Reason)
    assert set(OBJECTIONS) <= set(Reason)


def test_a_refusal_of_the_exchange_itself_keeps_its_code_and_words():
    refused = Rejected("Too many visits!", 10006)
    assert (code_of(refused), words_of(refused)) == (10006, "Too many visits!")


def test_what_is_malformed_is_told_in_its_own_words():
    malformed = Refused("quantity 3 is no multiple of 2", Reason.MALFORMED)
    assert words_of(malformed).endswith(str(malformed))
    assert words_of(Refused("stop 3 is misplaced", Reason.WRONG_SIDE)).endswith("base_price: stop 3 is misplaced")
