"""What raises the risk waits for a second word: once, in time, by the same person, and with a code where one is set."""

from __future__ import annotations

import pyotp
import pytest

from telegram_bot.confirmation import LOCKED_AFTER, LOCKED_S, STEP_S, Confirmations, Pending

ME, OTHER, CHAT = 1, 2, 9
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
CLOCK = 1_000_000.0


def code_at(clock: float) -> str:
    return pyotp.TOTP(SECRET).at(int(clock))


def wrong_at(clock: float) -> str:
    """Return a code that is none of those taken around a time."""
    near = {code_at(clock + away * STEP_S) for away in (-1, 0, 1)}
    return next(text for text in ("000000", "111111", "222222", "333333") if text not in near)


def test_a_button_confirms_once_and_only_what_it_belongs_to():
    held = Confirmations(60)
    first = held.ask(ME, CHAT, "/start", "change", 0)
    second = held.ask(ME, CHAT, "/risk 2", "other", 1)
    assert "replaced" in held.press(ME, CHAT, first.nonce, 2)
    assert "answered already" in held.press(OTHER, CHAT, second.nonce, 2)
    assert held.press(ME, CHAT, second.nonce, 61) is second
    assert "answered already" in held.press(ME, CHAT, second.nonce, 2)


def test_a_confirmation_comes_in_time_or_does_nothing():
    held = Confirmations(60)
    asked = held.ask(ME, CHAT, "/start", "change", 0)
    assert held.press(ME, CHAT, asked.nonce, 60.1).startswith("Too late")
    assert "answered already" in held.press(ME, CHAT, asked.nonce, 1)


def test_a_change_that_is_cancelled_is_forgotten():
    held = Confirmations(60)
    asked = held.ask(ME, CHAT, "/start", "change", 0)
    assert not held.cancel(ME, CHAT, "another")
    assert held.cancel(ME, CHAT, asked.nonce)
    assert not held.cancel(ME, CHAT, asked.nonce)
    assert isinstance(held.press(ME, CHAT, asked.nonce, 1), str)


def test_only_a_code_confirms_where_one_is_set_up():
    held = Confirmations(60, SECRET)
    asked = held.ask(ME, CHAT, "/start", "change", 0)
    assert held.waits(ME, CHAT, 60)
    assert not held.waits(ME, CHAT, 60.1)
    assert not held.waits(OTHER, CHAT, 0)
    assert "authenticator" in held.press(ME, CHAT, asked.nonce, 1)
    assert held.code(ME, CHAT, code_at(CLOCK), 1, CLOCK) is asked
    assert held.code(ME, CHAT, code_at(CLOCK), 1, CLOCK) == "Nothing waits for a code."


def test_without_a_secret_no_code_is_asked_for():
    held = Confirmations(60)
    held.ask(ME, CHAT, "/start", "change", 0)
    assert (held.by_code, held.waits(ME, CHAT, 0)) == (False, False)
    assert held.code(ME, CHAT, "123456", 0, CLOCK) == "Nothing waits for a code."


@pytest.mark.parametrize(("away", "taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_be_one_step_off(away, taken):
    held = Confirmations(60, SECRET)
    held.ask(ME, CHAT, "/start", "change", 0)
    assert isinstance(held.code(ME, CHAT, code_at(CLOCK + away * STEP_S), 0, CLOCK), Pending) is taken


def test_a_code_counts_once():
    held = Confirmations(60, SECRET)
    held.ask(ME, CHAT, "/start", "change", 0)
    assert isinstance(held.code(ME, CHAT, code_at(CLOCK), 0, CLOCK), Pending)
    held.ask(ME, CHAT, "/start", "change", 0)
    assert held.code(ME, CHAT, code_at(CLOCK), 0, CLOCK) == "That code was used already."
    assert isinstance(held.code(ME, CHAT, code_at(CLOCK + STEP_S), 0, CLOCK + STEP_S), Pending)


def test_three_wrong_codes_end_the_change_and_six_lock_all_codes_out():
    held = Confirmations(10_000, SECRET)
    for attempt in range(LOCKED_AFTER):
        if attempt % 3 == 0:
            held.ask(ME, CHAT, "/start", "change", 0)
        said = held.code(ME, CHAT, wrong_at(CLOCK), 0, CLOCK)
        assert said.startswith("That code is wrong.")
        assert ("third time" in said) == (attempt % 3 == 2)
    asked = held.ask(ME, CHAT, "/start", "change", 0)
    assert "quarter of an hour" in held.code(ME, CHAT, code_at(CLOCK), LOCKED_S - 1, CLOCK)
    assert held.code(ME, CHAT, code_at(CLOCK), LOCKED_S, CLOCK) is asked
