"""One silent symbol closes that symbol, not the bot; most of them are the feed's own trouble."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from domain.candle import Series
from domain.records import SwitchState
from engine import readiness
from engine.parts import Progress
from engine.situation import Situation

SYMBOLS = [f"COIN{i}/USDT:USDT" for i in range(20)]


def world(
    silent=(),
    refused=None,
    *,
    connected=True,
    switch="running",
    superseded=False,
    obstacles=(),
    doubtful=None,
    off=None,
):
    stale = [Series(symbol, "3m") for symbol in silent]
    held = SimpleNamespace(
        wanted={Series(symbol, timeframe): 100 for symbol in SYMBOLS for timeframe in ("3m", "15m")},
        feed=SimpleNamespace(stale=lambda: stale, connected=lambda: connected),
        refused=lambda: refused or {},
        fence=SimpleNamespace(superseded=superseded, successor="host:7"),
        broker=SimpleNamespace(obstacles=lambda: list(obstacles)),
        trader=SimpleNamespace(
            situation=Situation(switch=SwitchState(switch), doubtful=doubtful or {}),
            decisions=SimpleNamespace(off=off or {}),
        ),
    )
    return held, Progress(recovered=True, broker_error="")


def test_nothing_wrong_is_ready_and_worth_no_word():
    held = world()
    assert (readiness.reasons(*held), readiness.notes(*held)) == ([], [])


@pytest.mark.parametrize("count", [1, 10])
def test_some_silent_symbols_are_named_and_the_bot_stays_ready(count):
    held = world(silent=SYMBOLS[:count])
    assert readiness.reasons(*held) == []
    (note,) = readiness.notes(*held)
    assert note.startswith("no entries in COIN0/USDT:USDT")
    assert ("and 5 more" in note) == (count == 10)
    assert note.endswith("the feed is silent there")


@pytest.mark.parametrize("count", [11, 20])
def test_most_symbols_silent_is_not_ready(count):
    held = world(silent=SYMBOLS[:count])
    (reason,) = readiness.reasons(*held)
    assert reason == f"{count} streams are silent, of {count} of 20 symbols, among them COIN0/USDT:USDT 3m"
    assert readiness.notes(*held) == []


def test_two_silent_streams_of_a_symbol_count_once():
    held, progress = world(silent=[*SYMBOLS[:10], *SYMBOLS[:10]])
    assert readiness.reasons(held, progress) == []


def test_a_refusal_is_told_in_the_exchanges_words():
    refused = {Series(SYMBOLS[0], "3m"): "args size >10"}
    held = world(silent=SYMBOLS[:1], refused=refused)
    assert readiness.reasons(*held) == []
    assert readiness.notes(*held)[1] == "the exchange refuses to stream COIN0/USDT:USDT 3m: args size >10"
    held = world(silent=SYMBOLS, refused=refused)
    assert readiness.reasons(*held)[0].endswith("(args size >10)")


def test_a_feed_of_which_everything_was_refused_is_not_ready():
    """What is refused is dropped from the feed, so that nothing there is silent any more."""
    held = world(refused={Series(symbol, timeframe): "gone" for symbol in SYMBOLS for timeframe in ("3m", "15m")})
    assert readiness.reasons(*held) == [
        "40 streams are silent, of 20 of 20 symbols, among them COIN0/USDT:USDT 3m (gone)"
    ]


def test_everything_that_keeps_the_bot_from_trading_is_told_at_once():
    held, progress = world(silent=SYMBOLS, connected=False, switch="paused", superseded=True)
    progress.recovered, progress.durable, progress.broker_error = False, False, "no answer"
    told = " / ".join(readiness.reasons(held, progress))
    for words in ("recovery", "not connected", "exchange: no answer", "journal", "host:7", "trading is paused"):
        assert words in told
    # before the recovery has finished nothing has been streamed yet: that is no silence
    assert "silent" not in told


def test_what_the_account_cannot_do_is_a_reason_and_a_doubt_about_one_symbol_a_note():
    held = world(obstacles=["the API key has expired"], doubtful={SYMBOLS[0]: "an execution could not be read"})
    assert readiness.reasons(*held) == ["the API key has expired"]
    assert readiness.notes(*held) == [f"no entries in {SYMBOLS[0]}: an execution could not be read"]


def test_a_strategy_that_is_switched_off_is_a_note_and_the_bot_stays_ready():
    held = world(off={"mine": "ZeroDivisionError: division by zero"})
    assert readiness.reasons(*held) == []
    assert readiness.notes(*held) == ["strategy mine is switched off: ZeroDivisionError: division by zero"]
