"""Models: what they have learned, and when they learn again."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from commands import learning, running
from commands.shared import FAILED, OK, AsJson, Config, load, show
from domain.lean import lazily

if TYPE_CHECKING:
    from bootstrap import inspection
else:
    # --help of a group waits for none of these
    inspection = lazily("bootstrap.inspection")

app = typer.Typer(no_args_is_help=True)


@app.command("info")
def ml_info(config: Config = None, as_json: AsJson = False) -> None:
    """Show of each strategy what it has to learn from, its model, and when it is trained next."""
    settings = load(config, trading=False)
    told = running.ask(settings, "/models")
    if told and "error" in told:
        show(told, as_json)
        raise typer.Exit(FAILED)
    body = told["strategies"] if told else asyncio.run(inspection.learning(settings))
    if as_json:
        show(body, as_json)
        return
    for name, state in body.items():
        print(f"\n{name}")
        for line in inspection.in_words(state):
            print(f"  {line}")


@app.command("train")
def ml_train(
    strategy: Annotated[str, typer.Argument(help="The strategy to train, such as scalp.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Train a strategy's model now; it replaces the one in use only when it is better."""
    settings = load(config)
    console = Console(stderr=True)
    if running.ask(settings) is not None:
        with console.status(f"the running bot trains {strategy}"):
            body = running.order(settings, "/train", settings.ml.train_s + running.ORDER_S, strategy=strategy)
        if body is None or not ("error" in body or strategy in body):
            body = {"error": "the bot did not answer; look at ml info"}
    else:
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task(f"training {strategy}", total=None)
            body = asyncio.run(inspection.learning(
                settings, strategy,
                lambda done, of, what: bar.update(task, completed=done, total=of, description=f"{strategy}: {what}"),
            ))  # fmt: skip
    if as_json or "error" in body:
        show(body, as_json)
    else:
        print("\n".join(inspection.in_words(body[strategy])))
    raise typer.Exit(FAILED if "error" in body else OK)


@app.command("runs")
def ml_runs(
    config: Config = None,
    as_json: AsJson = False,
    strategy: Annotated[str, typer.Option("-s", "--strategy", help="One strategy only.")] = "",
) -> None:
    """List the newest training runs: what they learned from, how they ended, and why."""
    rows = inspection.training_runs(load(config, trading=False), strategy)
    if not as_json:
        shown = ("trained_at", "strategy", "verdict", "lessons", "executed", "phantoms", "seconds", "reason")
        rows = [{name: _short(row[name]) for name in shown} for row in rows]
    show(rows, as_json)


app.command("evaluate")(learning.evaluate)
app.command("bootstrap")(learning.bootstrap)


def _short(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return f"{value.normalize():f}"[:12] if isinstance(value, Decimal) else str(value)
