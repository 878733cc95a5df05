"""Settings: who beats whom, and what is refused in which words."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

import settings
from bootstrap import parts
from domain.errors import ConfigError
from domain.source import Source

ROOT = Path(__file__).parents[2]


def load(tmp_path, text="", **environment):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return settings.load(path, environment)


def test_the_shipped_file_holds_only_known_keys():
    held = settings.load(ROOT / "config.yaml", {})
    assert held.mode == "synthetic"
    assert set(held.strategies) == {"trend_pullback", "mean_reversion", "scalp", "breakout"}


def test_the_environment_beats_the_file(tmp_path):
    held = load(tmp_path, "risk: {percent: 2, max_open_trades: 3}", RISK_PERCENT="0.5", REVENANT__SANDBOX__SPEED="7")
    assert (held.risk.percent, held.risk.max_open_trades, held.sandbox.speed) == (Decimal("0.5"), 3, 7.0)


def test_lists_can_come_from_the_environment(tmp_path):
    held = load(tmp_path, REVENANT__TRADING__SYMBOLS='["BTC/USDT:USDT", "ETHUSDT"]')
    assert held.trading.symbols == ("BTC/USDT:USDT", "ETHUSDT")


@pytest.mark.parametrize(
    "written", ["BTC,ETHUSDT 1000*", "BTC, ETHUSDT, 1000*", '["BTC", "ETHUSDT", "1000*"]', "BTC;ETHUSDT\n1000*"]
)
def test_lists_of_symbols_are_taken_as_people_write_them(tmp_path, written):
    held = load(tmp_path, REVENANT__TRADING__SYMBOLS=written, REVENANT__TRADING__BLACKLIST=written)
    assert held.trading.symbols == held.trading.blacklist == ("BTC", "ETHUSDT", "1000*")
    assert load(tmp_path, "trading: {blacklist: BTC}").trading.blacklist == ("BTC",)
    assert load(tmp_path, REVENANT__TRADING__SYMBOLS="").trading.symbols == ()


def test_keys_of_digits_only_stay_text(tmp_path):
    held = load(tmp_path, BYBIT_API_KEY="0123", BYBIT_API_SECRET="456", LIVE_CONFIRM="789")
    assert held.bybit.api_key.get_secret_value() == "0123"
    assert held.live_confirm == "789"


def test_settings_cannot_be_changed(tmp_path):
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path).risk.percent = Decimal(5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("risk: {percnt: 1}", "risk.percnt: no such setting; did you mean percent?"),
        ("nonsense: 1", "nonsense: no such setting; allowed are"),
        ("risk: {percent: 11}", "risk.percent: 11: Input should be less than or equal to 10"),
        ("risk: {percent: .nan}", "risk.percent"),
        ("trading: {top: many}", "trading.top: 'many'"),
        ("risk: {max_position: 9}", "risk.max_position: 9 is above risk.max_exposure 4"),
        ("risk: {protections: [{method: Foo}]}", "risk.protections.0.method: 'Foo'"),
        ("risk: {protections: [{method: MaxDrawdown, x: 1}]}", "risk.protections.0.x: no such setting"),
        ("source: coingecko", "history only"),
        ("source: okx", "trading.symbols: source okx has to be told"),
        ("source: binance\ntrading: {mode: live, symbols: [BTC/USDT]}", "paper trading only"),
        ("source: synthetic\ntrading: {mode: live}", "does not go with source synthetic"),
        ("source: bybit\ntrading: {mode: live}", "needs BYBIT_API_KEY"),
        ("source: test", "needs candle files"),
        ("sandbox: {now: true, step: true}", "sandbox.now: made-up markets only"),
        ("sandbox: {quiet: 1.5}", "sandbox.quiet: 1.5"),
        ("strategies: {scalp: {parameters: {timeframe: 3x}}}", "strategies.scalp.parameters.timeframe"),
        ("a: [", "is no valid YAML in line 1"),
        ("- a", "must be a table of sections"),
        ("a: &x 1\nb: *x", "anchors"),
        ("x" * 70_000, "larger than"),
    ],
)
def test_what_is_wrong_is_named_with_its_path_and_what_is_allowed(tmp_path, text, said):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert said in str(error.value)


def test_a_named_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        settings.load(tmp_path / "absent.yaml", {})


def test_secrets_never_show(tmp_path):
    held = load(
        tmp_path,
        BYBIT_API_SECRET="canary-1",
        DATABASE_URL="postgresql://a:canary-2@h/d",
        REDIS_URL="redis://:canary-3@h",
    )
    assert "canary" not in repr(held) + str(settings.shown(held)) + str(held)
    with pytest.raises(ConfigError) as error:
        load(tmp_path, "bybit: {api_secret: [canary-4]}\ndatabase_url: [canary-5]")
    assert "canary" not in str(error.value)


@given(st.text(max_size=300))
def test_no_text_gets_through_or_raises_anything_else(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("fuzz") / "config.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        held = settings.load(path, {})
    except ConfigError as error:
        assert str(error)
    else:
        assert held == settings.Settings()


def test_every_secret_is_hidden_from_the_log(tmp_path):
    """Also those of sections, and whatever is added later."""
    secrets = {
        f"REVENANT__{section}__{name}".upper(): f"secret-of-{section}-{name}"
        for section, held in settings.Settings.model_fields.items()
        if isinstance(held.annotation, type) and issubclass(held.annotation, BaseModel)
        for name, field in held.annotation.model_fields.items()
        # these two have to look like what they are
        if field.annotation is SecretStr and name not in {"url", "totp_secret"}
    }
    whole = {"MODEL_KEY": "m" * 32, "BACKUP_KEY": "b" * 32, "HEARTBEAT_URL": "https://beats.example/secret"}
    got = load(tmp_path, **secrets, **whole)
    assert {*secrets.values(), *whole.values()} <= set(parts.secrets(got))
    assert "REVENANT__HISTORY__POLYGON_KEY" in secrets
    assert "secret-of" not in str(settings.shown(got))


@pytest.mark.parametrize(("source", "of", "most"), [
    ("synthetic", None, "0"), ("bybit", None, "0.15"), ("synthetic", Source.BINANCE, "0.15"), ("bybit", Source.TEST, "0"),
])  # fmt: skip
def test_the_practice_exchange_has_a_limit_of_costs_of_its_own(tmp_path, source, of, most):
    """By whose bars are traded: a backtest on real ones has the limit of real ones, whatever the bot runs on."""
    assert parts.limits(load(tmp_path, f"source: {source}"), of).max_cost_r == Decimal(most)
