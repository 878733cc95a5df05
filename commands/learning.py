"""Commands that learn from stored candles."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.backtest import WHOSE, AllowGaps, Strategies, request_of, work_shown
from commands.chosen import Symbols
from commands.shared import FAILED, OK, AsJson, Config, load, show, show_table
from commands.times import Days, Since, Timerange, Until, window
from domain.source import Source

if TYPE_CHECKING:
    from app.evaluation import Asked

Whose = Annotated[Source | None, typer.Option("-s", "--source", help=WHOSE)]


def evaluate(
    config: Config = None,
    as_json: AsJson = False,
    source: Whose = None,
    symbols: Symbols = None,
    strategies: Strategies = None,
    since: Since = "",
    until: Until = "",
    timerange: Timerange = "",
    days: Days = None,
    allow_gaps: AllowGaps = False,
) -> None:
    """Ask of stored candles whether the score tells gains from losses on signals that it has never seen."""
    from app import evaluation, evaluation_page  # noqa: PLC0415  scikit-learn takes a second

    settings = load(config, trading=False)
    span = window(since, until, timerange, days)
    request = request_of(settings, source, symbols, strategies, span, allow_gaps=allow_gaps)
    with work_shown(as_json) as progress:
        found = evaluation.ask(settings, request, progress)
    now = datetime.now(UTC)
    # two may be done within a second
    path = settings.data_dir / "evaluations" / f"{now:%Y%m%d-%H%M%S}.{now.microsecond // 1000:03d}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {"source": request.source.value, "symbols": ", ".join(request.symbols), "at": f"{now:%Y-%m-%d %H:%M} UTC"}
    path.write_text(evaluation_page.page(f"What the score is worth on {request.source}", found, facts))
    if as_json:
        print(json.dumps({"report": str(path), "strategies": [_body(one) for one in found]}, indent=2))
    else:
        for one in found:
            _tell(one)
        print(f"report {path}")
    raise typer.Exit(OK if any(one.evaluation is not None for one in found) else FAILED)


def bootstrap(
    config: Config = None,
    as_json: AsJson = False,
    source: Whose = None,
    symbols: Symbols = None,
    strategies: Strategies = None,
    since: Since = "",
    until: Until = "",
    timerange: Timerange = "",
    days: Days = None,
    allow_gaps: AllowGaps = False,
) -> None:
    """Train first models on the signals of stored candles, so that a new bot has a score on its first day."""
    from app import first_model  # noqa: PLC0415  scikit-learn takes a second

    settings = load(config, trading=False)
    span = window(since, until, timerange, days)
    request = request_of(settings, source, symbols, strategies, span, allow_gaps=allow_gaps)
    with work_shown(as_json) as progress:
        taught = first_model.teach(settings, request, progress)
    rows = [
        {"strategy": one.strategy, "signals": one.signals, "verdict": one.run.verdict, "seconds": one.run.seconds,
         "reason": one.run.reason}
        for one in taught
    ]  # fmt: skip
    show(rows, as_json)


def _body(one: Asked) -> dict[str, Any]:
    held = one.evaluation
    return {
        "strategy": one.strategy, "signals": one.signals, "reason": one.reason,
        "evaluation": None if held is None else _finite(asdict(held)),
    }  # fmt: skip


def _finite(value: Any) -> Any:
    """Return what JSON can tell: None where a figure is none."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tell(one: Asked) -> None:
    from app.evaluation_page import lines, told  # noqa: PLC0415  see above

    held = one.evaluation
    if held is None:
        print(f"{one.strategy}: {one.signals} signals; {one.reason}")
        return
    print(f"{one.strategy}: {one.signals} signals, {held.signals} of them unseen: {held.verdict}")
    for note in held.notes:
        print(f"  {note}")
    for name, value in lines(held):
        print(f"  {name:40} {value}")
    show_table([
        {"tenth": place, "signals": group.count, "predicted": f"{group.predicted:.3f}",
         "came true": told(group.won), "mean R": told(group.mean_r)}
        for place, group in enumerate(held.groups, start=1)
    ])  # fmt: skip
