"""Settings as people write them: lists with commas, and words that say what may stand where something is wrong."""

from __future__ import annotations

import json
import typing

import pytest
from pydantic import BaseModel

import settings
from domain.errors import ConfigError
from settings import Settings


def lists(kind: type[BaseModel], path: tuple[str, ...] = ()):
    """Yield the path of every list of plain values that can be set."""
    for name, field in kind.model_fields.items():
        held = field.annotation
        item = next(iter(typing.get_args(held)), None)
        if isinstance(held, type) and issubclass(held, BaseModel):
            yield from lists(held, (*path, name))
        elif typing.get_origin(held) is tuple and not (isinstance(item, type) and issubclass(item, BaseModel)):
            yield (*path, name), item


SAMPLES = {str: "3m, 15m", int: "1, 2", float: "1.5, 2"}


@pytest.mark.parametrize(
    ("path", "item"), list(lists(Settings)), ids=lambda one: ".".join(one) if isinstance(one, tuple) else ""
)
def test_every_list_of_the_settings_takes_commas_from_the_environment(path, item):
    """Found by ``REVENANT__HISTORY__TIMEFRAMES=3m,15m``: a valid tuple was asked for."""
    text = "okx, bybit" if path[-1] == "chain" else SAMPLES.get(item, "3m, 15m")
    if path[-1] in {"rest", "streams", "testnet_streams", "demo_streams"}:
        text = "wss://a.example, wss://b.example"
    if path[-1] == "cors_origins":
        text = "http://localhost:3000, https://ui.example"
    if path[-1] == "allow":
        text = ", ".join(typing.get_args(item)[:2])
    named = {"REVENANT__" + "__".join(path).upper(): text, "DATA_SOURCE": "test"}
    held = settings.load(None, named, trading=False)
    for name in path:
        held = getattr(held, name)
    assert isinstance(held, tuple)
    assert len(held) == 2


def test_a_list_of_one_and_one_with_brackets_are_lists_too():
    for text in ("BTC", "[BTC]", '["BTC"]', "BTC,", " BTC ; "):
        assert settings.load(None, {"REVENANT__TRADING__SYMBOLS": text}).trading.symbols == ("BTC",)
    assert settings.load(None, {"REVENANT__HISTORY__TIMEFRAMES": "3m 15m"}).history.timeframes == ("3m", "15m")


@pytest.mark.parametrize(("text", "said"), [
    ("history: {pinned: [{qqqq: x}]}", "history.pinned.0.qqqq: no such setting; allowed are since, source, symbol"),
    ("history: {pinned: [{symbl: x}]}", "did you mean symbol?"),
    ("history: {pinned: [x]}", "its keys are source, symbol, timeframe, since, until"),
    ("history: {pinned: {symbol: x}}", "history.pinned: these settings: Input should be a list such as [a, b]"),
    ("risk: {protections: [{method: MaxDrawdown, qqqq: 1}]}", "allowed are lookback_period, max_allowed_drawdown, method"),
    ("strategies: {scalp: {qqqq: 1}}", "strategies.scalp.qqqq: no such setting; allowed are blacklist, enabled, exits"),
    ("strategies: {scalp: {exits: {qqqq: 1}}}", "allowed are break_even, least_gain, minimal_roi"),
    ("risk: 3", "its keys are percent, max_open_trades"),
])  # fmt: skip
def test_what_may_stand_somewhere_is_listed_however_deep_it_is(tmp_path, text, said):
    """Found by "allowed are" with nothing behind it, in lists and tables of names."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        settings.load(path, {})
    assert said in str(raised.value)


@pytest.mark.parametrize("name", ["Alice", "a b", "../x", "a:b", "_a", "a" * 25, "ä", "a\n", "a-b"])
def test_a_name_of_an_account_that_cannot_be_part_of_files_and_keys_is_refused(name):
    with pytest.raises(ConfigError, match=r"trading\.account.*lower-case letters, digits and underscores"):
        settings.load(None, {"REVENANT__TRADING__ACCOUNT": json.dumps(name)})


@pytest.mark.parametrize(("name", "said"), [
    ("REVENANT_RISK_PERCENT", "did you mean REVENANT__RISK__PERCENT?"),
    ("REVENANT_RISK__PERCENT", "did you mean REVENANT__RISK__PERCENT?"),
    ("REVENANT_TRADING_MAX", "settings are REVENANT__SECTION__KEY"), ("REVENANT_PORT", "REVENANT__SECTION__KEY"),
    ("REVENANT_DATA_DIR", "did you mean REVENANT__DATA_DIR?"),
])  # fmt: skip
def test_a_variable_that_looks_like_a_setting_is_told(name, said):
    """Found by ``REVENANT_RISK__PERCENT=9``, which changed nothing and said nothing."""
    (line,) = settings.unknown_variables(
        {name: "1", "HOME": "/", "REVENANT_CONFIG": "x", "REVENANT__RISK__PERCENT": "1"}
    )
    assert line.startswith(f"{name} is not a setting")
    assert said in line
    assert settings.load(None, {name: "1"}).risk.percent == settings.load(None, {}).risk.percent
