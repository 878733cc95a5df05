"""The first config.yaml and .env: what was answered is in them, and everything else stays as it was."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.initial_settings import SHIPPED, Answers, assigned, beaten, checked, draft, edited, variables_of, write
from domain.errors import ConfigError

TEXT = SHIPPED.read_text()
NAMES = [
    "source",
    "trading.mode",
    "trading.symbols",
    "strategies.scalp.enabled",
    "strategies.breakout.markets",
    "ml.floor",
]
VALUES = st.one_of(
    st.booleans(), st.integers(), st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="#$"), max_size=20),
    st.lists(st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="#$"), max_size=9), max_size=4),
)  # fmt: skip


def put(tree, name, value):
    *path, last = name.split(".")
    for key in path:
        tree = tree[key]
    tree[last] = value


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_only_what_was_answered_changes_and_every_comment_stays(values):
    changed = edited(TEXT, values)
    expected = yaml.safe_load(TEXT)
    for name, value in values.items():
        put(expected, name, value)
    assert yaml.safe_load(changed) == expected
    assert len(changed.splitlines()) == len(TEXT.splitlines())
    assert [re.findall("# .*", line) for line in changed.splitlines()] == [
        re.findall("# .*", line) for line in TEXT.splitlines()
    ]


def test_what_is_not_there_yet_is_added_where_it_belongs():
    assert edited("a: 1\ntrading:\n  top: 3   # few\n", {"trading.mode": "live", "risk.percent": 1}) == (
        "a: 1\ntrading:\n  mode: live\n  top: 3   # few\n\nrisk: {percent: 1}\n"
    )
    assert yaml.safe_load(edited("", {"source": "bybit"})) == {"source": "bybit"}


def test_a_file_in_another_style_is_left_to_people():
    with pytest.raises(ConfigError, match="edit the file by hand"):
        edited("trading: {mode: paper, top: 3}\n", {"trading.mode": "live"})


@given(
    st.dictionaries(
        st.sampled_from(["A", "B_C", "TOKEN"]),
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="#$")),
    )
)
def test_a_variable_says_afterwards_what_was_answered(values):
    text = assigned("# mine\nTOKEN=old\nexport A = 'x'\nOTHER=1\n", values)
    assert variables_of(text) == {"TOKEN": "old", "A": "x", "OTHER": "1", **values}
    assert text.startswith("# mine\n")
    assert assigned(text, values) == text


def test_what_a_file_cannot_hold_is_refused_without_telling_it():
    with pytest.raises(ConfigError, match="set it in the environment") as raised:
        assigned("", {"TOKEN": "pa${HOME}ss"})
    assert "pa" not in str(raised.value).replace("cannot", "")
    assert variables_of(assigned("", {"TOKEN": "pa$HOME#s\\'"})) == {"TOKEN": "pa$HOME#s\\'"}


def test_what_stands_in_the_environment_already_is_answered_too_or_told(tmp_path):
    (tmp_path / ".env").write_text("DATA_SOURCE=bybit\nREVENANT__TRADING__MODE=live\n")
    answers = Answers({"source": "binance", "trading.mode": "paper", "trading.symbols": ["BTC"]})
    made = draft(answers, tmp_path)
    assert variables_of(made.environment) == {"DATA_SOURCE": "binance", "REVENANT__TRADING__MODE": "paper"}
    assert beaten(answers, {"DATA_SOURCE": "okx", "REVENANT__TRADING__SYMBOLS": "[X]", "PORT": "1"}) == {
        "DATA_SOURCE": "source", "REVENANT__TRADING__SYMBOLS": "trading.symbols",
    }  # fmt: skip


def test_nothing_is_written_before_a_bot_could_start_on_it(tmp_path):
    made = draft(Answers({"trading.leverage": 0}), tmp_path)
    with pytest.raises(ConfigError, match=r"trading\.leverage"):
        checked(made, tmp_path, trading=True)
    assert list(tmp_path.iterdir()) == []


def test_secrets_are_their_owners_alone(tmp_path):
    made = draft(Answers({}, {"TELEGRAM_BOT_TOKEN": "12:abc"}), tmp_path)
    settings = checked(made, tmp_path, trading=True)
    assert settings.telegram.token.get_secret_value() == "12:abc"
    config, environment = write(made, tmp_path)
    assert config.read_text() == TEXT
    assert environment.stat().st_mode & 0o777 == 0o600
