"""Logs: secrets are masked, and nothing else is."""

from __future__ import annotations

import json
import re

import pytest
import structlog

from dashboard import logs
from domain.candle import Series
from tests.commands import own_logging


def test_secrets_are_masked_and_a_letter_that_is_one_spoils_no_line(capsys):
    with own_logging():
        recent = logs.configure("json", "info", "paper", ["s", "hunter22", ""])
        structlog.get_logger().info("stored", candles_stored=0, address="postgres://me:hunter22@host/db")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["candles_stored"]) == ("stored", 0)
    assert line["address"] == "postgres://me:***@host/db"
    assert "hunter22" not in json.dumps(recent.lines(10))


def test_a_terminal_shows_times_as_times_and_counts_what_comes_again_and_again(capsys):
    with own_logging():
        recent = logs.configure("text", "info", "paper", [])
        told = structlog.get_logger()
        for number in range(5):
            series = Series(f"C{number}/USDT:USDT", "3m")
            told.info("hole filled", series=series, start=1_795_953_780_000)
        told.info("filled", qty=1)
        told.info("filled", qty=2)
        told.warning("stream is silent", symbol="A")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().err)
    assert (shown.count("hole filled"), shown.count("] filled")) == (2, 2)
    assert "C0/USDT:USDT 3m" in shown
    assert "2026-11-29T" in shown
    assert "stream is silent" in shown
    # the page's log has all of it
    assert sum("hole filled" in line for line in recent.lines(20)) == 5


def test_what_was_left_out_is_counted_in_the_next_line_like_it():
    now = [0.0]
    folds = logs.Folds(lambda: now[0])
    lines = [{"level": "warning", "event": "silent", "n": n} for n in range(6)]
    assert [folds.folded(line) for line in lines] == [False, False, True, True, True, True]
    now[0] += logs.FOLDED_S + 1
    later = {"level": "warning", "event": "silent"}
    assert not folds.folded(later)
    assert later["more_like_it"] == 4
    assert not folds.folded({"level": "error", "event": "silent"})


def test_json_is_left_as_it_is(capsys):
    with own_logging():
        logs.configure("json", "info", "paper", [])
        for _ in range(5):
            structlog.get_logger().warning("silent", start=1_795_953_780_000)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["start"] for line in lines] == [1_795_953_780_000] * 5


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("secret", ["symbol", "signal", "level1", 'a"b\\c"d', "ключ-ключ", "123456", "event!"])
def test_a_secret_is_masked_in_every_kind_of_value_and_in_no_name(capsys, style, secret):
    """Found by a password that is a word: "symbol" spoiled the names of values in every line."""

    class Shown:
        def __repr__(self):
            return f"Shown({secret})"

    with own_logging():
        recent = logs.configure(style, "info", "paper", [secret, "tiny5"])
        structlog.get_logger().info(
            f"said {secret}", symbol=f"x{secret}y", signal={"level1": [secret, {"k": f"{secret}!"}]}, number=123456,
            shown=Shown(), error=ValueError(secret), tiny="tiny5 stays",
        )  # fmt: skip
    line = capsys.readouterr().err
    values = json.loads(line) if style == "json" else {}
    if style == "json":
        assert values.keys() >= {"event", "symbol", "signal", "number", "shown", "error"}
        assert values["signal"].keys() == {"level1"}
        assert values["tiny"] == "tiny5 stays"
        assert (values["event"], values["symbol"]) == ("said ***", "x***y")
        assert secret not in json.dumps(list(values.values()), ensure_ascii=False).replace("level1", "")
    elif secret not in {"symbol", "signal", "level1"}:
        assert secret not in line
    assert "symbol=x***y" in recent.lines(1)[0]


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_traceback_tells_no_secret(capsys, style):
    with own_logging():
        logs.configure(style, "info", "paper", ["hunter22"])
        try:
            int("cannot log in with hunter22")
        except ValueError:
            structlog.get_logger().exception("failed")
    line = capsys.readouterr().err
    assert "cannot log in with" in line
    assert "hunter22" not in line
