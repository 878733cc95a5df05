"""Commands about strategies: which there are, what one is, a new one, and whether one is sound."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.shared import FAILED, OK, AsJson, Config, load, show
from domain import informative
from domain.errors import ConfigError
from domain.lean import lazily

if TYPE_CHECKING:
    from app import scaffold
    from bootstrap import user_strategies
else:
    # --help of a group waits for none of these
    scaffold = lazily("app.scaffold")
    user_strategies = lazily("bootstrap.user_strategies")

app = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A strategy's name.")]


@app.callback()
def strategies() -> None:
    """Strategies: ours, and those that you bring."""


@app.command("list")
def list_known(config: Config = None, as_json: AsJson = False) -> None:
    """Show every strategy there is, where it comes from, and why one does not load."""
    settings = load(config, trading=False)
    found = user_strategies.known(settings.strategies_folder)
    rows = [
        {
            "name": one.name,
            "from": one.origin,
            "used": user_strategies.used(settings, one.name),
            "said": one.fault or "loads",
        }
        for one in found
    ]
    show(rows, as_json)
    raise typer.Exit(FAILED if any(one.fault for one in found) else OK)


@app.command("show")
def show_one(name: Name, config: Config = None, as_json: AsJson = False) -> None:
    """Show what a strategy is: bars that it needs, parameters as they are set, exits."""
    settings = load(config, trading=False)
    kind = user_strategies.kind_of(settings.strategies_folder, name)
    choice = user_strategies.choice_of(settings, name)
    strategy = user_strategies.built(name, kind, choice)
    body = {
        "name": name, "from": user_strategies.origin(settings.strategies_folder, name),
        "used": user_strategies.used(settings, name),
        "what": (kind.__doc__ or "").strip().partition("\n")[0], "timeframes": list(strategy.timeframes),
        "warmup_bars": dict(strategy.warmup_bars), "looks_at": list(informative.written(strategy)),
        "manages": getattr(strategy, "manage", None) is not None,
        "parameters": user_strategies.parameters(kind, choice),
        "exits": user_strategies.exits_of(strategy, choice).model_dump(mode="json"),
        "score_without_model": user_strategies.scored_by(name),
    }  # fmt: skip
    show(body, as_json)


@app.command("new")
def new(name: Name, config: Config = None, as_json: AsJson = False) -> None:
    """Write a strategy to begin with into the folder, and a test of it; nothing that is there is written over."""
    settings = load(config, trading=False)
    made = scaffold.make(settings.strategies_folder, name)
    show({
        "made": [str(path) for path in made], "check": f"manage.py strategies check {name}",
        "test": f"python -m pytest {made[-1]}", "use": f"{name}: {{}} in config.yaml, below strategies",
    }, as_json)  # fmt: skip


@app.command("check")
def check(
    what: Annotated[str, typer.Argument(help="A strategy's name, or a file that holds one.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Examine a strategy on made-up markets: look-ahead, warm-up, chance, speed, both sides, numbers that are none."""
    from app import strategy_check  # noqa: PLC0415  the practice market takes a while to load

    settings = load(config, trading=False)
    path = Path(what)
    name = path.stem if path.suffix == ".py" else what
    kind = (
        user_strategies.load_file(_there(path))
        if path.suffix == ".py"
        else user_strategies.kind_of(settings.strategies_folder, name)
    )
    found = strategy_check.check(kind.name, kind, user_strategies.choice_of(settings, kind.name))
    show({**asdict(found), "sound": not found.faults}, as_json)
    raise typer.Exit(FAILED if found.faults else OK)


def _there(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give the name of a strategy, or a file that holds one")
    return path.resolve()
