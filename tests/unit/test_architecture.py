"""The architecture as a table, and the habits that keep it."""

from __future__ import annotations

import ast
import graphlib
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MAY_IMPORT = {
    "domain": set(),
    "sections": {"domain"},
    "chat_section": {"domain", "sections"},
    "notice_sections": {"domain", "chat_section"},
    "page_section": {"sections"},
    "history_section": {"domain", "sections"},
    "universe_section": {"domain", "sections"},
    "settings": {
        "domain",
        "sections",
        "chat_section",
        "notice_sections",
        "page_section",
        "history_section",
        "universe_section",
    },
    "market": {"domain"},
    "strategies": {"domain"},
    "ml": {"domain"},
    "broker": {"domain"},
    "engine": {"domain"},
    "persistence": {"domain"},
    "formats": {"domain"},
    "history": {"domain", "formats"},
    "sandbox": {"domain", "formats"},
    "dashboard": {"domain", "engine"},
    "backtest": {"domain", "engine", "broker"},
    "telegram_bot": {"domain", "engine"},
    "notices": {"domain", "engine"},
    "processes": {"domain", "history", "ml", "persistence"},
    "bootstrap": {
        "broker",
        "dashboard",
        "domain",
        "engine",
        "formats",
        "history",
        "market",
        "ml",
        "persistence",
        "processes",
        "sandbox",
        "sections",
        "settings",
        "strategies",
    },
    "app": {
        "backtest",
        "bootstrap",
        "broker",
        "dashboard",
        "domain",
        "engine",
        "history",
        "ml",
        "persistence",
        "processes",
        "sandbox",
        "sections",
        "settings",
        "strategies",
        "telegram_bot",
    },
    "workers": {"app", "bootstrap", "domain", "history", "persistence", "settings"},
    "daemon": {
        "app",
        "bootstrap",
        "dashboard",
        "domain",
        "engine",
        "notices",
        "persistence",
        "processes",
        "settings",
        "telegram_bot",
    },
    "live_bot": {"bootstrap", "daemon", "domain", "settings"},
    "worker": {"settings", "workers"},
    "commands": {
        "app",
        "backtest",
        "bootstrap",
        "daemon",
        "domain",
        "formats",
        "history",
        "notices",
        "persistence",
        "settings",
        "workers",
    },
    "manage": {"app", "bootstrap", "commands", "daemon", "domain", "persistence", "sandbox", "settings"},
}
"""Which of our packages each may import; a package without a row here fails the test."""

HOME = {
    "sqlalchemy": {"persistence"},
    "psycopg2": {"persistence"},
    "sqlite3": {"persistence", "sandbox"},
    "redis": {"persistence"},
    "ccxt": {"broker", "history"},
    "aiohttp": {"sandbox", "dashboard", "history", "market", "broker", "notices"},
    "fastapi": {"dashboard"},
    "starlette": {"dashboard"},
    "uvicorn": {"dashboard"},
    "prometheus_client": {"dashboard"},
    "talib": {"domain"},
    "sklearn": {"ml"},
    "skl2onnx": {"ml"},
    "onnxruntime": {"ml"},
    "pydantic": {
        "settings",
        "sections",
        "chat_section",
        "notice_sections",
        "page_section",
        "history_section",
        "universe_section",
        "dashboard",
    },
    "celery": {"workers"},
    "exchange_calendars": {"history"},
    "typer": {"manage", "commands"},
    "telegram": {"telegram_bot"},
    "pyotp": {"telegram_bot"},
    "matplotlib": {"dashboard"},
}
"""Drivers and frameworks have one home each."""

PURE = ("domain", "strategies", "backtest", "ml/evaluation.py", "ml/features.py", "engine/trader.py", "engine/positions.py", "engine/position.py", "engine/attribution.py", "engine/executions.py", "engine/risk.py", "engine/protections.py", "ml/phantom_tracker.py", "ml/judge.py", "ml/rule.py", "ml/model.py", "ml/legacy.py", "ml/scores.py", "ml/job.py",
        "history/quality.py", "domain/kline_frames.py", "broker/bybit/public_messages.py", "market/frames.py")  # fmt: skip
"""Parts that decide: no waiting, no clock, no I/O, no chance."""

IMPURE = {
    "asyncio",
    "time",
    "os",
    "socket",
    "threading",
    "random",
    "subprocess",
    "pathlib",
    "tenacity",
    "requests",
    "urllib",
}

LINES_MAX, FUNCTION_MAX = 520, 60


def sources() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    skipped = ("tests/", "benchmarks/", "persistence/migrations/")
    return [ROOT / name for name in listed.split() if not name.startswith(skipped) and (ROOT / name).exists()]


FILES = sources()


@cache
def trees() -> dict[Path, ast.Module]:
    """Parse all files, once, and not where they are only collected."""
    return {path: ast.parse(path.read_text()) for path in FILES}


def package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def test_the_feed_knows_no_exchange():
    """What an exchange says is decoded in its own folder; ``docs/adding-a-venue.md`` has what another one takes."""
    named = [path.name for path in FILES if package(path) == "market" and "bybit" in path.read_text().lower()]
    assert named == []


VENUE_WORDS = re.compile(
    r"ret(Code|Msg)|order(Link)?Id|positionIdx|avgPrice|cumExec(Qty|Fee|Value)|leavesQty|exec(Id|Qty|Fee|Time|Type)|"
    r"reduceOnly|closeOnTrigger|timeInForce|(take|stop)(Profit|Loss)|trigger(Price|Direction)|tpslMode|closedSize|"
    r"(created|updated)Time|rejectReason|orderStatus|createType|stopOrderType|marginMode|settleCoin|walletBalance|"
    r"EC_[A-Z]\w+|CreateBy\w+|CancelBy\w+|(REGULAR|ISOLATED|PORTFOLIO)_MARGIN|"
    r"(?<![\d.])(100(0[1-9]|[12]\d)|1100\d\d|1101\d\d|1701\d\d|1702\d\d|3400\d|34004[0-9]|3400\d{3})(?![\d.])"
)
"""Field names, values and return codes of one exchange."""


def test_one_folder_knows_the_venue():
    """All else has words of its own; the practice exchange plays the venue, and knows it from its own side."""
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        if package(path) != "sandbox" and not str(path.relative_to(ROOT)).startswith("broker/bybit/")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if VENUE_WORDS.search(line)
    ]
    assert wrong == []


def test_timeframes_have_names():
    """A strategy names the bars it reads, a table lists what there is; all else means FAST or MAIN_TIMEFRAME."""
    wrong = []
    for path, tree in trees().items():
        if package(path) in {"strategies", "sandbox"} or path == ROOT / "domain/candle.py":
            continue
        tables = (node for node in ast.walk(tree) if isinstance(node, ast.Tuple | ast.List | ast.Dict))
        listed = {
            part
            for table in tables
            for part in ast.iter_child_nodes(table)
            if len(list(ast.iter_child_nodes(table))) > 3
        }
        wrong += [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and node.value in {"3m", "15m"} and node not in listed
        ]
    assert wrong == []


def test_every_package_has_a_row_and_every_row_a_package():
    assert {package(path) for path in FILES} == set(MAY_IMPORT)


def test_imports_point_one_way():
    graphlib.TopologicalSorter({name: needs for name, needs in MAY_IMPORT.items()}).prepare()
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, tree in trees().items()
        for name in {module.split(".")[0] for module in imported(tree)} & set(MAY_IMPORT)
        if name != package(path) and name not in MAY_IMPORT[package(path)]
    ]
    assert wrong == []


def test_no_two_modules_import_each_other():
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    graph = {name: imported(trees()[path]) & set(modules) - {name} for name, path in modules.items()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(modules)


def test_drivers_have_one_home():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, tree in trees().items()
        for name in {module.split(".")[0] for module in imported(tree)} & set(HOME)
        if package(path) not in HOME[name]
    ]
    assert wrong == []


def test_the_daemon_never_loads_what_others_need():
    program = "import daemon.live, sys; print([name for name in ('sklearn', 'scipy', 'skl2onnx', 'onnx', 'matplotlib', 'telegram') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_what_decides_is_pure():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, tree in trees().items()
        for name in {module.split(".")[0] for module in imported(tree)} & IMPURE
        if str(path.relative_to(ROOT)).startswith(PURE)
    ]
    assert wrong == []


def test_only_settings_read_the_environment():
    # the doctor asks on which host it runs; the daemon ends itself with os._exit
    allowed = {"settings.py", "persistence/checkup.py"}
    users = {str(path.relative_to(ROOT)) for path in FILES if re.search(r"os\.environ|getenv", path.read_text())}
    assert users <= allowed


def test_tasks_have_owners():
    """Outside the supervisor, tasks are born in task groups, or are awaited where they are made."""
    allowed = {"engine/tasks.py", "sandbox/server.py", "sandbox/stream.py"}
    users = {
        str(path.relative_to(ROOT))
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "create_task"
        and not (isinstance(node.func.value, ast.Name) and node.func.value.id == "group")
    }
    assert users <= allowed


def test_no_state_at_module_level():
    wrong = []
    for path, tree in trees().items():
        assert not any(isinstance(node, ast.Global) for node in ast.walk(tree)), path
        for node in tree.body:
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AnnAssign)
                else []
            )
            for target in targets:
                if isinstance(target, ast.Name) and not re.fullmatch(r"[A-Z_][A-Za-z0-9_]*|_?[a-z_]+", target.id):
                    wrong.append(f"{path.name}: {target.id}")
                if (
                    isinstance(target, ast.Name)
                    and target.id.islower()
                    and isinstance(getattr(node, "value", None), ast.Dict | ast.List | ast.Set)
                ):
                    wrong.append(f"{path.name}: {target.id}")
    assert wrong == []


def test_catch_all_handlers_are_where_every_failure_ends():
    allowed = {
        "engine/tasks.py",
        "engine/threads.py",
        "engine/foreign_code.py",
        "persistence/candles.py",
        "persistence/outbox.py",
        "engine/writer.py",
        "engine/reports.py",
        "telegram_bot/bot.py",
    }
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in {"Exception", "BaseException"})
        and str(path.relative_to(ROOT)) not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("word", ["pickle.loads", "shell=True", "TODO", "FIXME", "eval(", "yaml.load("])
def test_some_words_appear_nowhere(word):
    assert [str(path) for path in FILES if word in path.read_text()] == []


def test_files_and_functions_stay_readable():
    long_files = [f"{path.relative_to(ROOT)}: {n}" for path in FILES if (n := path.read_text().count("\n")) > LINES_MAX]
    long_functions = [
        f"{path.relative_to(ROOT)} {node.name}: {n}"
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (n := node.end_lineno - node.lineno + 1) > FUNCTION_MAX
    ]
    assert long_files == []
    assert long_functions == []


def test_every_module_begins_with_a_sentence():
    wrong = [
        str(path)
        for path, tree in trees().items()
        if not (ast.get_docstring(tree) or "").split("\n")[0].endswith((".", "?", ":"))
    ]
    assert wrong == []


def test_the_lock_has_hashes_and_names_no_host():
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        pins = re.findall(r"^[a-z0-9_.-]+==", text, re.MULTILINE)
        assert len(pins) > 30
        assert "http" not in text.replace("aiohttp", "").replace("httpx", "").replace("httpcore", "")
        assert "--index-url" not in text
        assert text.count("--hash=sha256:") > len(pins)


def test_nothing_is_left_behind_in_the_working_tree():
    assert "data/" in (ROOT / ".gitignore").read_text()
    assert os.path.exists(ROOT / "Procfile")
