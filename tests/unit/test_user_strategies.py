"""Strategies that people bring: found by name, loaded or named with line and reason, examined before use."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import settings as settings_module
from app import scaffold, strategy_check
from app.backtest import chosen_plans
from app.sweep import setting_of
from bootstrap import user_strategies
from bootstrap.parts import in_use, plans
from bootstrap.user_strategies import NotLoaded
from domain.errors import ConfigError
from domain.source import Source
from sections import StrategyChoice

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "strategies" / "examples" / "donchian.py").read_text()


@pytest.fixture
def folder(tmp_path):
    held = tmp_path / "user" / "strategies"
    held.mkdir(parents=True)
    return held


def load(folder, tmp_path, strategies="mine: {}"):
    config = tmp_path / "config.yaml"
    config.write_text(f"strategies:\n  folder: {folder}\n" + "".join(f"  {one}\n" for one in strategies.split("\n")))
    return settings_module.load(config, {})


def example(name: str, **changes: str) -> str:
    text = EXAMPLE.replace('"donchian"', f'"{name}"')
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def test_a_file_of_the_folder_is_a_strategy_like_ours(folder, tmp_path):
    (folder / "mine.py").write_text(example("mine"))
    settings = load(folder, tmp_path, "mine: {parameters: {length: 20}, exits: {timeout_bars: 4}}\nscalp: {}")
    used = plans(settings)
    assert list(used) == ["mine", "scalp"]
    assert used["mine"].exits.timeout_ms == 4 * 900_000
    assert used["mine"].strategy.name == "mine"
    assert list(chosen_plans(settings, ["mine"], settings.source)) == ["mine"]
    assert setting_of("mine.length", settings) == "strategies.mine.parameters.length"
    assert setting_of("theirs.length", settings) == "theirs.length"
    changed = settings_module.with_values(settings, {"strategies.mine.parameters.length": "30"})
    assert (changed.strategies_folder, changed.strategies["mine"].parameters["length"]) == (folder, 30)


def test_the_folder_can_be_named_in_the_environment_beside_strategies(tmp_path):
    found = settings_module.load(
        None,
        {
            "REVENANT_CONFIG": "none",
            "REVENANT__STRATEGIES__FOLDER": str(tmp_path),
            "REVENANT__STRATEGIES": "{scalp: {}}",
        },
    )
    assert found.strategies_folder == tmp_path
    assert "folder" not in found.strategies


BROKEN = {
    "no Python": ("def (:\n", "line 1: SyntaxError"),
    "imports what is not there": ("import os\nimport nothere\n", "line 2: ModuleNotFoundError"),
    "raises": ("\n\nraise ValueError('no luck')\n", "line 3: ValueError: no luck"),
    "leaves": ("import sys\nsys.exit(1)\n", "line 2: SystemExit"),
    "holds nothing": ("x = 1\n", "no class in it has name = 'mine'"),
    "another name": (EXAMPLE, "Donchian with name = 'donchian'"),
    "no step": ("class Mine:\n    name = 'mine'\n", "Mine lacks start, columns, step"),
    "no Parameters": (example("mine", **{"class Parameters(": "class Others("}), "lacks a class Parameters"),
    "no text": ("\x00", "mine.py"),
    "raises when made": (
        example("mine", **{"self._p = parameters\n": "self._p = parameters.nothing\n"}),
        "AttributeError",
    ),
    "no timeframe": (example("mine", **{"= (parameters.timeframe,)": "= ('soon',)"}), "'soon' is none"),
    "no warm-up": (example("mine", **{"{parameters.timeframe: max": "{'1d': max"}), "warmup_bars of 15m is None"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_that_does_not_load_is_named_with_line_and_reason_and_the_others_run(folder, tmp_path, name):
    text, reason = BROKEN[name]
    (folder / "mine.py").write_text(text)
    (folder / "good.py").write_text(example("good"))
    settings = load(folder, tmp_path, "mine: {}\ngood: {}\nscalp: {}")
    used, unloaded = in_use(settings)
    assert list(used) == ["good", "scalp"]
    assert list(unloaded) == ["mine"]
    assert reason in unloaded["mine"]
    with pytest.raises(ConfigError, match="mine"):
        chosen_plans(settings, ["mine"], settings.source)


def test_only_what_is_named_is_run(folder, tmp_path):
    (folder / "mine.py").write_text(example("mine"))
    (folder / "trap.py").write_text("raise SystemExit('nobody asked for this')\n")
    assert list(in_use(load(folder, tmp_path)).plans) == ["mine"]
    assert list(plans(load(folder, tmp_path, "mine: {}\ntrap: {enabled: false}"))) == ["mine"]


def test_an_unknown_name_or_parameter_is_the_operators_to_mend(folder, tmp_path):
    (folder / "mine.py").write_text(example("mine"))
    with pytest.raises(ConfigError, match=r"strategies.mind: no such strategy; there are .*mine"):
        plans(load(folder, tmp_path, "mind: {}"))
    with pytest.raises(ConfigError, match=r"strategies.mine.parameters: .*lenght"):
        plans(load(folder, tmp_path, "mine: {parameters: {lenght: 3}}"))


def test_nothing_left_to_run_is_refused_with_the_reasons(folder, tmp_path):
    (folder / "mine.py").write_text("import nothere\n")
    with pytest.raises(ConfigError, match=r"(?s)none is enabled.*nothere"):
        plans(load(folder, tmp_path))


@pytest.mark.parametrize("name", ["scalp", "trend", "mr", "folder", "My", "a-b", "9lives"])
def test_names_that_are_taken_or_none_are_refused(folder, name):
    (folder / f"{name}.py").write_text(example(name))
    with pytest.raises(NotLoaded, match=r"taken|no name"):
        user_strategies.load_file(folder / f"{name}.py")
    with pytest.raises(ConfigError, match=name):
        scaffold.make(folder, name)
    (fault,) = [one for one in user_strategies.known(folder) if one.fault]
    assert fault.origin.endswith(f"{name}.py")


def test_files_may_share_a_module_and_are_read_anew(folder):
    (folder / "_shared.py").write_text("LENGTH = 11\n")
    text = example(
        "mine", **{"from strategies import strategy\n": "from strategies import strategy\nfrom . import _shared\n"}
    )
    (folder / "mine.py").write_text(text.replace("length: int = 40", "length: int = _shared.LENGTH"))
    assert user_strategies.load_file(folder / "mine.py").Parameters().length == 11
    (folder / "mine.py").write_text(text.replace("length: int = 40", "length: int = 12"))
    assert user_strategies.load_file(folder / "mine.py").Parameters().length == 12
    assert user_strategies.names(folder)[-1] == "mine"


def test_a_package_announces_strategies(folder, tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "theirs-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[revenant.strategies]\npacked = theirs_pack:Donchian\nlost = theirs_pack:No\n"
    )
    (site / "theirs_pack.py").write_text(example("packed"))
    monkeypatch.syspath_prepend(str(site))
    assert importlib.metadata.version("theirs") == "1.2"
    settings = load(folder, tmp_path, "packed: {}\nlost: {}")
    used, unloaded = in_use(settings)
    assert list(used) == ["packed"]
    assert "package theirs 1.2" in unloaded["lost"]
    origins = {one.name: one.origin for one in user_strategies.known(folder)}
    assert origins["packed"] == "package theirs 1.2"
    sys.modules.pop("theirs_pack")


def test_a_new_one_passes_its_own_test_and_the_linters(folder):
    made = scaffold.make(folder, "my_break")
    assert [path.name for path in made] == ["my_break.py", "test_my_break.py"]
    assert "class MyBreak:" in made[0].read_text()
    with pytest.raises(ConfigError, match="there is one already"):
        scaffold.make(folder, "my_break")
    found = strategy_check.check_file(made[0])
    assert found.faults == []
    assert found.longs
    assert found.shorts
    config = str(ROOT / "pyproject.toml")
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--config",
        config,
        "--no-cache",
        "--ignore",
        "INP001",
        str(made[0]),
    ]
    linted = subprocess.run(command, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout
    compile(made[1].read_text(), str(made[1]), "exec")


UNSOUND = {
    "looks ahead": ({'"close": own.close, ': '"close": np.r_[own.close[1:], np.nan], '}, "column close changes"),
    "looks at the whole": (
        {'"close": own.close, ': '"close": own.close, "rank": own.close / max(own.close), '}, "column rank changes",
    ),
    "forgets too early": ({"max(parameters.length + 1, ta.memory(28))": "2"}, "warmup_bars large enough"),
    "chance": (
        {"        if side is None:\n": "        import random\n        if side is None or random.random() < 0.5:\n"},
        "chance or a clock",
    ),
    "divides by zero": ({'"close": own.close, ': '"close": own.close, "x": own.close / np.zeros(len(own)), '}, "infinite"),
    "too few rows": ({'"close": own.close, ': '"close": own.close, "x": own.close[:5], '}, "rows for"),
    "never has a value": ({'"close": own.close, ': '"close": own.close, "x": own.close * np.nan, '}, "no value after"),
    "raises": ({"if np.isnan(atr + ": "if 1 / 0 and np.isnan(atr + "}, "line 60: ZeroDivisionError"),
    "NaN": ({"close - side.sign * risk,": "close - side.sign * risk,".replace("risk", "np.nan")}, "in that order"),
    "changes the bars": ({"own, length = bars[self._p.timeframe], self._p.length\n":
                          "own, length = bars[self._p.timeframe], self._p.length\n        own.close[:] = 1\n"}, "read-only"),
    "hangs": ({"        close, atr = float(": "        while True: pass\n        close, atr = float("}, "did not answer"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSOUND)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_check_finds_what_is_wrong_with_one(folder, monkeypatch, name):
    changes, reason = UNSOUND[name]
    if name == "hangs":
        monkeypatch.setattr(user_strategies, "LOAD_S", 0.5)
    (folder / "mine.py").write_text(example("mine", **changes))
    found = strategy_check.check_file(folder / "mine.py")
    assert any(reason in fault for fault in found.faults), found.faults


def managing(body: str) -> str:
    """The example that manages, with another body of manage."""
    text = (ROOT / "strategies" / "examples" / "chandelier.py").read_text().replace('"chandelier"', '"mine"')
    head, _, rest = text.partition("        if position.bars >= ")
    assert rest
    return f"{head}        {body}\n"


MISMANAGED = {
    "raises": ("1 / 0", "ZeroDivisionError"),
    "gives a word": ('return "out"', "manage gave str"),
    "no number": ("return Adjust(stop=position.stop * float('nan'))", "whose stop is nan"),
    "takes all": ("return Adjust(keep=0)", "Leave takes all off"),
    "looks ahead": (
        "return Adjust(stop=columns['close'][-1]) if position.side.sign * (columns['close'][-1] - position.stop) > 0 else None",
        "something else without later bars",
    ),
    "chance": ("import random; return Adjust(keep=0.5) if random.random() < 0.5 else None", "the next time"),
    "remembers": (
        "self.count = getattr(self, 'count', 0) + 1; return Adjust(keep=1 / self.count)", "the next time",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISMANAGED)
def test_a_check_finds_what_is_wrong_with_how_one_manages(folder, name):
    body, reason = MISMANAGED[name]
    (folder / "mine.py").write_text(managing(body))
    found = strategy_check.check_file(folder / "mine.py")
    assert any(reason in fault for fault in found.faults), found.faults


def test_a_check_tells_how_often_one_adjusts_and_what_would_be_refused(folder):
    example = ROOT / "strategies" / "examples" / "chandelier.py"
    found = strategy_check.check_file(example)
    assert (found.faults, found.remarks) == ([], [])
    assert found.adjusts > 100
    (folder / "mine.py").write_text(
        managing("return Adjust(stop=position.entry - position.side.sign * 2 * position.risk)")
    )
    found = strategy_check.check_file(folder / "mine.py")
    assert found.faults == []
    assert all("adjustments are refused: a stop at" in one for one in found.remarks)
    (folder / "mine.py").write_text(
        managing("pass").replace("    def manage(self, position", "    manage = 5\n\n    def other(self, position")
    )
    with pytest.raises(ConfigError, match="manage is 5; it is a method, or not there"):
        strategy_check.check_file(folder / "mine.py")


def test_one_sided_silent_and_slow_ones_are_remarked_upon(folder):
    (folder / "mine.py").write_text(example("mine", **{"Side.SHORT if close < bottom": "None if close < bottom"}))
    assert strategy_check.check_file(folder / "mine.py").remarks[0].startswith("signals on one side only")
    silent = strategy_check.check_file(folder / "mine.py", StrategyChoice(parameters={"stop_atr": 2.0, "length": 900}))
    assert silent.faults == []


def test_what_scores_one_without_a_model_is_said():
    assert user_strategies.scored_by("scalp") == "points of its own"
    assert user_strategies.scored_by("mine") == "its costs alone"


def test_parameters_are_shown_as_they_are_set(folder):
    (folder / "mine.py").write_text(example("mine"))
    kind = user_strategies.load_file(folder / "mine.py")
    shown = user_strategies.parameters(kind, StrategyChoice(parameters={"length": 7}))
    assert shown == {"timeframe": "15m", "length": 7, "stop_atr": 2.0, "reward_r": 2.0}
    assert msgspec.json.encode(shown)


@pytest.mark.parametrize("source", ["test", "synthetic", "bybit"])
@pytest.mark.parametrize(
    "strategies", ["mine: {markets: practice}\nscalp: {markets: real}", "mine: {}\nscalp: {enabled: false}"]
)
def test_used_are_those_that_trade_on_the_source(folder, tmp_path, monkeypatch, source, strategies):
    (folder / "mine.py").write_text(example("mine"))
    settings = load(folder, tmp_path, strategies)
    for held in (settings, settings.model_copy(update={"strategies": {}})):
        there = held.model_copy(update={"source": Source(source)})
        told = {name for name in user_strategies.names(folder) if user_strategies.used(there, name)}
        assert told == set(in_use(there).plans)


@pytest.mark.parametrize(("exits", "told"), [
    ('{"minimal_roi": {0: "much"}}', "exits.minimal_roi.0"), ('{"timeout": 8}', "exits.timeout"),
    ('{"partial_r": float("nan")}', "exits.partial_r"),
])  # fmt: skip
def test_exits_of_a_class_that_are_none_are_told_by_their_name(folder, tmp_path, exits, told):
    (folder / "mine.py").write_text(example("mine", **{"    name: str =": f"    exits = {exits}\n    name: str ="}))
    unloaded = in_use(load(folder, tmp_path, "mine: {}\nscalp: {}")).unloaded
    assert told in unloaded["mine"]
