"""Strategies written for freqtrade: run as they are, or refused by name; the same live and in a backtest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import settings as settings_module
from app import strategy_check
from app.sweep import setting_of
from backtest.signals import said
from backtest.tape import Tape
from bootstrap import user_strategies
from bootstrap.parts import in_use
from bootstrap.user_strategies import NotLoaded
from domain.candle import ClosedBar, Series, resample
from domain.errors import BadData, ConfigError
from domain.exits import ExitPlan
from domain.order import Side
from domain.signal import Leave, Signal
from engine.commands import SwitchedOff
from engine.decisions import Decisions, Plan
from sections import StrategyChoice
from strategies.freqtrade import informative, refusals, shelf
from tests.venues import walk

ROOT = Path(__file__).parents[2]
HOUR = 3_600_000
START = 1_704_067_200_000
SYMBOL = "BTC/USDT:USDT"
TEXT = '''
"""Says something on most bars."""
import numpy as np
import pandas as pd
import talib.abstract as ta
from freqtrade.persistence import Trade
from freqtrade.strategy import IStrategy, IntParameter, informative, merge_informative_pair
from technical import qtpylib


class Mine(IStrategy):
    """The one that is tested."""

    timeframe, stoploss, minimal_roi, can_short = "1h", -0.1, {"60": 0.01, "0": 0.04}, True
    startup_candle_count = 40
    buy_length = IntParameter(5, 30, default=14, space="buy")

    def populate_indicators(self, dataframe, metadata):
        dataframe["mean"] = ta.SMA(dataframe, timeperiod=self.buy_length.value)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[qtpylib.crossed_above(dataframe["close"], dataframe["mean"]), ["enter_long", "enter_tag"]] = (1, "up")
        dataframe.loc[qtpylib.crossed_below(dataframe["close"], dataframe["mean"]), "enter_short"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["close"] < dataframe["mean"] * 0.995, "exit_long"] = 1
        dataframe.loc[dataframe["close"] > dataframe["mean"] * 1.005, "exit_short"] = 1
        return dataframe
'''


@pytest.fixture
def folder(tmp_path):
    held = tmp_path / "user"
    held.mkdir()
    return held


def file(folder, *, more: str = "", name: str = "any_name.py", **changes: str) -> Path:
    text = TEXT
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text + more)
    return path


def made(folder, *, parameters=None, more: str = "", **changes: str):
    file(folder, more=more, **changes)
    kind = user_strategies.kind_of(folder, "Mine")
    return user_strategies.built("Mine", kind, StrategyChoice(parameters=parameters or {}))


def method(text: str) -> str:
    return "\n" + "\n".join(f"    {line}" for line in text.split("\n")) + "\n"


def settings_of(folder, strategies: str):
    config = folder.parent / "config.yaml"
    config.write_text(f"strategies: {{folder: {folder}, {strategies}}}\n")
    return settings_module.load(config, {})


def test_a_class_is_found_by_its_name_in_a_file_of_any_name_and_runs_as_it_is(folder):
    file(folder)
    settings = settings_of(folder, "freqtrade: [Mine]")
    used, unloaded = in_use(settings)
    assert (list(used), unloaded) == (["Mine"], {})
    assert used["Mine"].strategy.timeframes == ("1h",)
    assert used["Mine"].strategy.warmup_bars == {"1h": 40}
    assert user_strategies.names(folder)[-1] == "Mine"
    (known,) = [one for one in user_strategies.known(folder) if one.name == "Mine"]
    assert (known.fault, Path(known.origin).name) == ("", "any_name.py")


@pytest.mark.parametrize(
    "told", ["freqtrade: Mine", "freqtrade: [Mine]", "freqtrade: [Mine], Mine: {exits: {timeout_bars: 3}}"]
)
def test_the_list_may_be_one_name_and_each_may_have_settings_of_its_own(folder, told):
    file(folder)
    plan = in_use(settings_of(folder, told)).plans["Mine"]
    assert plan.exits.timeout_ms == (3 * HOUR if "timeout" in told else 0)
    assert [round(float(gain), 4) for _, gain in plan.exits.roi] == [0.0411, 0.0111]


def test_a_list_that_is_none_or_a_class_that_is_not_there_is_said(folder):
    with pytest.raises(ConfigError, match=r"strategies.freqtrade is a list of class names"):
        settings_of(folder, "freqtrade: {Mine: 1}")
    with pytest.raises(ConfigError, match=r"strategies.Mine: no such strategy"):
        in_use(settings_of(folder, "freqtrade: [Mine]"))


def test_a_class_that_two_files_hold_is_taken_from_neither(folder):
    file(folder, name="one.py")
    file(folder, name="two.py")
    with pytest.raises(ConfigError, match=r"Mine is in .*one.py and in .*two.py; take all but one away"):
        in_use(settings_of(folder, "freqtrade: [Mine]"))
    (known,) = [one for one in user_strategies.known(folder) if one.name == "Mine"]
    assert known.kind is None
    (folder / "two.py").unlink()
    assert user_strategies.kind_of(folder, "Mine").name == "Mine"


def test_exits_that_a_class_brings_outlive_a_change_of_the_settings(folder):
    file(folder)
    settings = settings_of(folder, "freqtrade: [Mine]")
    changed = settings_module.with_values(settings, {"paper.taker_fee": "0.001"})
    again = settings_module.with_sections(settings, {"strategies": settings_module.shown(settings)["strategies"]})
    assert (
        in_use(changed).plans["Mine"].exits == in_use(again).plans["Mine"].exits == in_use(settings).plans["Mine"].exits
    )


MEMBERS = [name for name in refusals.METHODS if name not in refusals.IDLE]


@pytest.mark.parametrize("name", MEMBERS)
def test_what_is_not_offered_is_refused_at_load_by_name(folder, name):
    file(folder, more=method(f"def {name}(self, *args, **kwargs):\n    return None"))
    with pytest.raises(NotLoaded, match=rf"Mine uses what is not offered to freqtrade strategies: {name} \("):
        user_strategies.kind_of(folder, "Mine")
    assert "Mine" in in_use(settings_of(folder, "freqtrade: [Mine], scalp: {}")).unloaded


@pytest.mark.parametrize(("name", "off", "on"), [
    ("custom_roi", "use_custom_roi = False", "use_custom_roi = True"),
])  # fmt: skip
def test_what_a_switch_turns_off_does_not_matter(folder, name, off, on):
    body = method(f"def {name}(self, *args, **kwargs):\n    return None")
    file(folder, more=method(off) + body)
    assert user_strategies.kind_of(folder, "Mine").name == "Mine"
    file(folder, more=method(on) + body)
    with pytest.raises(NotLoaded, match=name):
        user_strategies.kind_of(folder, "Mine")


WRONG = {
    "INTERFACE_VERSION 2": method("INTERFACE_VERSION = 2"),
    "informative_pairs asks for mark candles": method('def informative_pairs(self):\n    return [("ETH/USDT", "1h", "mark")]'),
    "@informative asks for funding_rate candles": method('@informative("8h", candle_type="funding_rate")\ndef other(self, dataframe, metadata):\n    return dataframe'),
    "@informative asks for {BASE}/BTC": method('@informative("4h", "{BASE}/BTC")\ndef other(self, dataframe, metadata):\n    return dataframe'),
    "stoploss is -1": method("stoploss = -1"),
    "stoploss is 0.1": method("stoploss = 0.1"),
    "'soon' is none": method('timeframe = "soon"'),
    "startup_candle_count is -1": method("startup_candle_count = -1"),
    "trailing_stop_positive is -0.1": method("trailing_stop_positive = -0.1"),
    "needs a trailing_stop_positive_offset": method("trailing_only_offset_is_reached = True"),
    "wallets.get_total_stake_amount is not offered": method("def bot_start(self):\n    self.wallets.get_total_stake_amount()"),
    "dp.orderbook is not offered": method("def bot_start(self):\n    self.dp.orderbook('BTC/USDT', 1)"),
    "Trade.get_open_trades is not offered": method("def bot_start(self):\n    Trade.get_open_trades()"),
    "freqtrade.optimize is not offered": "\nimport freqtrade.optimize\n",
    "technical.indicators is not offered": "\nfrom technical.indicators import ichimoku\n",
    "qtpylib.hull_moving_average is not offered": method("def bot_start(self):\n    qtpylib.hull_moving_average"),
}  # fmt: skip


@pytest.mark.parametrize("says", WRONG)
def test_an_attribute_or_a_use_that_cannot_be_is_named(folder, says):
    with pytest.raises(NotLoaded) as raised:
        made(folder, more=WRONG[says])
    assert says in str(raised.value)


def test_only_the_file_itself_imports_what_is_offered(folder):
    file(folder)
    (folder / "base.py").write_text("from freqtrade.strategy import IStrategy\nLENGTH = 9\n")
    made(folder, more="\nfrom base import LENGTH\n")
    offered = {name for name in shelf.modules() if name.partition(".")[0] in {"freqtrade", "technical"}}
    assert offered & set(sys.modules) == set()
    assert "base" not in sys.modules


def test_a_class_may_derive_from_one_in_the_same_file_or_in_a_file_beside_it(folder):
    file(folder, name="common.py")
    (folder / "derived.py").write_text(
        "from common import Mine as Theirs\n\n\nclass Other(Theirs):\n    stoploss = -0.3\n"
    )
    file(
        folder, name="whole.py", more="\n\nclass Third(First):\n    stoploss = -0.2\n", **{"class Mine": "class First"}
    )
    assert user_strategies.names(folder)[-4:] == ["Mine", "Other", "First", "Third"]
    for name, stop in (("Other", -0.3), ("Third", -0.2)):
        built = user_strategies.built(name, user_strategies.kind_of(folder, name), StrategyChoice())
        assert (built.name, built.stoploss) == (name, stop)


@pytest.mark.parametrize("line", [
    "import freqtrade.strategy as fs\nfrom freqtrade.strategy import *\nassert fs.IStrategy is IStrategy",
    "import talib\nassert talib.abstract.RSI and talib.MA_Type.SMA == 0",
    "from talib.abstract import RSI, Function",
    "from freqtrade.strategy.interface import IStrategy as Again\nassert Again is IStrategy",
    "from freqtrade.data.dataprovider import DataProvider",
    "import freqtrade.vendor.qtpylib.indicators as old\nassert old.crossed_above is qtpylib.crossed_above",
])  # fmt: skip
def test_all_ways_of_importing_find_the_same(folder, line):
    assert made(folder, more=f"\n{line}\n").name == "Mine"


def test_names_come_from_the_environment_too_and_parameters_can_be_swept(folder):
    file(folder)
    settings = settings_module.load(None, {
        "REVENANT_CONFIG": "none", "REVENANT__STRATEGIES__FOLDER": str(folder), "REVENANT__STRATEGIES__FREQTRADE": "Mine,Other",
    })  # fmt: skip
    assert list(settings.strategies)[:2] == ["Mine", "Other"]
    assert setting_of("Mine.buy_length", settings) == "strategies.Mine.parameters.buy_length"


def test_open_parameters_are_those_of_the_settings_else_of_the_file_beside_else_of_the_class(folder):
    beside = folder / "any_name.json"
    assert made(folder, more=method('buy_params = {"buy_length": 8}'))._held.buy_length.value == 8
    beside.write_text(json.dumps({"strategy_name": "Mine", "params": {
        "buy": {"buy_length": 21}, "stoploss": {"stoploss": -0.07}, "roi": {"0": 0.5},
        "trailing": {"trailing_stop": True, "trailing_stop_positive": 0.02, "trailing_stop_positive_offset": 0.05},
    }}))  # fmt: skip
    found = made(folder, more=method('buy_params = {"buy_length": 8}'))
    assert (found._held.buy_length.value, found.stoploss) == (21, -0.07)
    assert [round(gain, 3) for gain in found.exits["trailing"]] == [0.0, 0.051]
    assert list(found.exits["trailing"].values()) == [0.07, 0.02]
    assert made(folder, parameters={"buy_length": 5})._held.buy_length.value == 5
    with pytest.raises(ConfigError, match=r"strategies.Mine.parameters.*buy_length"):
        made(folder, parameters={"buy_length": 31})
    beside.write_text('{"strategy_name": "Other", "params": {}}')
    with pytest.raises(NotLoaded, match=r"it is for 'Other'"):
        made(folder)


def frames(count: int = 900):
    return {"1h": walk(count, START, HOUR)}


def test_live_it_says_on_each_bar_what_a_backtest_found(folder):
    strategy, bars = made(folder), frames()["1h"]
    series = Series(SYMBOL, "1h")
    tape = Tape({series: bars}, {series: 41})
    known = dict(said(strategy, SYMBOL, tape, START + 100 * HOUR, START + 900 * HOUR, 60))
    kinds = {type(one) for one in known.values()}
    assert kinds == {Signal, Leave}
    shown = [100]
    decisions = Decisions({"Mine": Plan(strategy, ExitPlan())}, lambda _: bars[: shown[0]], {}, 0.0)
    decisions.warm_up(SYMBOL, 0)
    for row in range(100, 900):
        shown[0] = row + 1
        found = decisions.step("Mine", ClosedBar(series, bars.row(row)))
        expected = known.get(bars.open_time.item(row))
        assert not isinstance(found, SwitchedOff)
        assert (found.signal if found else None) == (expected if isinstance(expected, Signal) else None)
        left = [decisions.leaves.on_bar("Mine", series, bars.open_time.item(row), side) for side in Side]
        assert left == [leaves(expected, side) for side in Side]


def leaves(found, side) -> bool:
    if isinstance(found, Signal):
        return found.turns and found.side is not side
    return found is not None and found.means(side)


def test_a_signal_has_stop_target_and_tag_and_what_contradicts_itself_is_nothing(folder):
    strategy = made(folder)
    columns = strategy.columns_of(SYMBOL, frames())
    row = int(np.flatnonzero(columns["enter_long"] & ~columns["exit_long"])[0])
    found = strategy.step(row, columns, SYMBOL)
    assert (found.side, found.entry, found.notes) == (Side.LONG, columns["close"][row], {"enter_tag up": 1.0})
    assert found.stop == pytest.approx(found.entry * 0.9)
    # the fees of both sides come off a gain
    assert found.target * (1 - 0.00055) / (found.entry * (1 + 0.00055)) == pytest.approx(1.04)
    for name in ("enter_long", "exit_long"):
        columns[name][row] = True
    assert strategy.step(row, columns, SYMBOL) is None
    columns["exit_long"][row], columns["enter_short"][row] = False, True
    assert strategy.step(row, columns, SYMBOL) is None
    columns["enter_long"][row], columns["exit_long"][row] = False, True
    turned = strategy.step(row, columns, SYMBOL)
    assert (turned.side, turned.turns) == (Side.SHORT, True)
    columns["enter_short"][row], columns["exit_short"][row] = False, True
    assert strategy.step(row, columns, SYMBOL) == Leave(None)


def test_without_can_short_and_without_use_exit_signal_neither_is_heard(folder):
    strategy = made(folder, more=method("can_short = False\nuse_exit_signal = False"))
    columns = strategy.columns_of(SYMBOL, frames())
    gave = [strategy.step(row, columns, SYMBOL) for row in range(900)]
    assert {one.side for one in gave if isinstance(one, Signal)} == {Side.LONG}
    assert not any(isinstance(one, Leave) for one in gave)


def test_whoever_wants_to_confirm_sees_what_was_computed_up_to_the_bar_and_nothing_later(folder):
    confirm = """
def confirm_trade_entry(self, pair, order_type, amount, rate, time_in_force, current_time, entry_tag, side, **kwargs):
    rows, opened = self.dp.get_analyzed_dataframe(pair, self.timeframe)
    assert rows["close"].iloc[-1] == rate and opened.timestamp() + 3600 == current_time.timestamp()
    assert pair == "BTC/USDT:USDT" and entry_tag in ("up", None)
    return current_time.hour < 12"""
    strategy = made(folder, more=method(confirm))
    columns = strategy.columns_of(SYMBOL, frames())
    signals = [one for row in range(900) if isinstance(one := strategy.step(row, columns, SYMBOL), Signal)]
    assert signals
    assert all(one.time // HOUR % 24 < 12 for one in signals)


def test_bars_of_a_longer_timeframe_are_known_from_their_close_on(folder):
    both = method("""
@informative("4h")
def populate_longer(self, dataframe, metadata):
    dataframe["top"] = dataframe["high"]
    return dataframe

def informative_pairs(self):
    return [(pair, "2h") for pair in self.dp.current_whitelist()]

def populate_indicators(self, dataframe, metadata):
    assert metadata["pair"] == "BTC/USDT:USDT"
    other = self.dp.get_pair_dataframe(metadata["pair"], "2h")
    dataframe = merge_informative_pair(dataframe, other, self.timeframe, "2h")
    dataframe["mean"] = dataframe["close"].rolling(14).mean()
    return dataframe""")
    strategy = made(folder, more=both)
    own = walk(400, START, HOUR)
    longer = {name: resample(own, hours * HOUR, HOUR) for name, hours in (("2h", 2), ("4h", 4))}
    assert set(strategy.timeframes) == {"1h", "2h", "4h"}
    columns = strategy.columns_of(SYMBOL, {"1h": own, **longer})
    for row in range(10, 400):
        closed = own.open_time.item(row) + HOUR
        last = {name: int(np.flatnonzero(held.open_time + hours * HOUR <= closed)[-1])
                for (name, held), hours in zip(longer.items(), (2, 4), strict=True)}  # fmt: skip
        assert columns["close_2h"][row] == longer["2h"].close[last["2h"]]
        assert columns["top_4h"][row] == longer["4h"].high[last["4h"]]
    with pytest.raises(BadData, match="cannot be laid beside"):
        informative.merge_informative_pair(pd.DataFrame(), pd.DataFrame(), "1h", "15m")


def test_tables_and_columns_go_through_ta_lib_as_through_the_real_one(folder):
    body = method("""
def populate_indicators(self, dataframe, metadata):
    import talib
    dataframe["mean"] = ta.SMA(dataframe, timeperiod=14)
    dataframe["of_mean"] = ta.EMA(dataframe, timeperiod=5, price="mean")
    bands = ta.BBANDS(dataframe, timeperiod=5)
    dataframe["top"] = bands["upperband"]
    dataframe["same"] = talib.SMA(dataframe["close"], timeperiod=14)
    dataframe["array"] = ta.SMA(dataframe["close"], timeperiod=14)
    dataframe["hammer"] = ta.CDLHAMMER(dataframe)
    return dataframe""")
    columns = made(folder, more=body).columns_of(SYMBOL, frames())
    close = pd.Series(frames()["1h"].close)
    mean = close.rolling(14).mean()
    for name in ("mean", "same", "array"):
        np.testing.assert_allclose(columns[name], mean, rtol=1e-9)
    np.testing.assert_allclose(columns["top"], close.rolling(5).mean() + 2 * close.rolling(5).std(ddof=0), rtol=1e-6)
    assert np.isfinite(columns["of_mean"][18:]).all()


def test_one_that_looks_ahead_is_reported_and_one_that_does_not_is_sound(folder):
    sound = strategy_check.check_file(file(folder))
    assert sound.faults == []
    assert sound.longs
    assert sound.shorts
    ahead = file(folder, **{"ta.SMA(dataframe, timeperiod=self.buy_length.value)": 'dataframe["close"].shift(-1)'})
    found = strategy_check.check_file(ahead)
    assert any("column mean changes with bars that come later" in one for one in found.faults)


FAILING = {
    "raises": ("raise ValueError('no luck')", "ValueError: no luck"),
    "drops rows": ("return dataframe.dropna()", "populate_indicators gave"),
    "returns nothing": ("pass", "populate_indicators gave nothing for"),
    "asks for other bars": ("return self.dp.get_pair_dataframe('ETH/USDT:USDT', '1h')", "informative_pairs has to name its bars"),
    "asks for a timeframe": ("return self.dp.get_pair_dataframe(metadata['pair'], '1d')", "informative_pairs has to name its bars"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILING)
def test_one_that_fails_is_switched_off_with_its_line(folder, name):
    body, reason = FAILING[name]
    more = method(
        f"def populate_indicators(self, dataframe, metadata):\n    dataframe['x'] = dataframe['close'].shift(3)\n    {body}"
    )
    strategy, bars = made(folder, more=more), frames()["1h"]
    decisions = Decisions({"Mine": Plan(strategy, ExitPlan())}, lambda _: bars, {}, 0.0)
    assert decisions.warm_up(SYMBOL, 0) == []
    assert reason in decisions.off["Mine"]
    assert decisions.step("Mine", ClosedBar(Series(SYMBOL, "1h"), bars.row(899))) is None
    if "gave" not in reason:
        assert "any_name.py, line" in decisions.off["Mine"]


def test_two_in_one_process_do_not_share_parameters(folder):
    one, other = made(folder, parameters={"buy_length": 6}), made(folder, parameters={"buy_length": 20})
    assert (one._held.buy_length.value, other._held.buy_length.value) == (6, 20)


def test_pandas_is_not_loaded_while_no_such_strategy_is_named(folder, tmp_path):
    file(folder)
    seen = "import sys; from bootstrap import user_strategies as u; from pathlib import Path; u.names(Path({!r})); {}; print('pandas' in sys.modules)"
    for load, expected in (("0", "False"), (f"u.kind_of(Path({str(folder)!r}), 'Mine')", "True")):
        done = subprocess.run(
            [sys.executable, "-c", seen.format(str(folder), load)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [expected]


OTHER = method("""
@informative("4h", "ETH/{stake}:{stake}")
def populate_other(self, dataframe, metadata):
    assert metadata["pair"] == "ETH/USDT:USDT"
    dataframe["top"] = dataframe["high"]
    return dataframe

def informative_pairs(self):
    return [("SOL/USDT:USDT", "1h", "")]

def populate_indicators(self, dataframe, metadata):
    other = self.dp.get_pair_dataframe("SOL/USDT:USDT", "1h")
    dataframe = merge_informative_pair(dataframe, other, self.timeframe, "1h", append_timeframe=False, suffix="sol")
    dataframe["mean"] = dataframe["close"].rolling(14).mean()
    return dataframe""")


def test_bars_of_other_symbols_are_known_from_their_close_on(folder):
    strategy = made(folder, more=OTHER)
    assert set(strategy.informative) == {"ETH/USDT:USDT", "SOL/USDT:USDT"}
    assert strategy.timeframes == ("1h", "4h")
    bars = {}
    for seed, symbol in enumerate(("", *strategy.informative), 1):
        hours = walk(400, START, HOUR, seed)
        bars |= {f"{symbol} 1h".strip(): hours, f"{symbol} 4h".strip(): resample(hours, 4 * HOUR, HOUR)}
    columns = strategy.columns_of(SYMBOL, bars)
    longer = bars["ETH/USDT:USDT 4h"]
    for row in range(10, 400):
        closed = bars["1h"].open_time.item(row) + HOUR
        last = int(np.flatnonzero(longer.open_time + 4 * HOUR <= closed)[-1])
        assert columns["eth_usdt_top_4h"][row] == longer.high[last]
        assert columns["close_sol"][row] == bars["SOL/USDT:USDT 1h"].close[row]
    # what later bars say changes nothing
    cut = {name: held[: int(held.open_time.searchsorted(START + 300 * HOUR))] for name, held in bars.items()}
    again = strategy.columns_of(SYMBOL, cut)
    for name in ("eth_usdt_top_4h", "close_sol"):
        np.testing.assert_array_equal(again[name], columns[name][:300])


def test_a_strategy_that_looks_at_other_symbols_can_be_checked(folder):
    sound = strategy_check.check_file(file(folder, more=OTHER))
    assert sound.faults == []


def test_two_methods_whose_columns_have_one_name_are_refused(folder):
    twice = method("""
@informative("4h", "ETH/USDT:USDT", fmt="{column}_{timeframe}")
def populate_other(self, dataframe, metadata):
    return dataframe

@informative("4h")
def populate_longer(self, dataframe, metadata):
    return dataframe""")
    strategy, hours = made(folder, more=twice), walk(400, START, HOUR)
    longer = resample(hours, 4 * HOUR, HOUR)
    with pytest.raises(BadData, match=r"two informative methods give a column date_4h"):
        strategy.columns_of(SYMBOL, {"1h": hours, "4h": longer, "ETH/USDT:USDT 1h": hours, "ETH/USDT:USDT 4h": longer})
