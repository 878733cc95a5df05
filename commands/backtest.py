"""Commands that trade the past."""

from __future__ import annotations

import json
import math
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from backtest.trials import OBJECTIVES, choices, trials
from commands.chosen import Symbols, several
from commands.shared import DEGRADED, FAILED, OK, AsJson, Config, load, show, show_table
from commands.times import Days, Since, Timerange, Until, told, window
from domain.coverage import known_timeframe
from domain.lean import lazily
from domain.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import settings as settings_module
    from app import asked_backtest as asking
    from app import backtest as building
    from app import parity as comparing
    from app import proof, results
    from app import sweep as sweeping
    from domain.coverage import Span
    from settings import Settings
else:
    # --help of a group waits for none of these
    asking = lazily("app.asked_backtest")
    building = lazily("app.backtest")
    comparing = lazily("app.parity")
    proof = lazily("app.proof")
    results = lazily("app.results")
    sweeping = lazily("app.sweep")
    settings_module = lazily("settings")

WHOSE = "Whose bars; without it those of history.chain's first source, or of DATA_SOURCE where that is not in it."
app = typer.Typer(no_args_is_help=True)

Strategies = Annotated[
    list[str] | None, typer.Option("--strategy", help="Such as trend,mr,scalp; without it all that are enabled.")
]
AllowGaps = Annotated[bool, typer.Option("--allow-gaps", help="Go on where bars are missing, and tell which.")]
Fee = Annotated[str, typer.Option("--fee", help="Taker fee as a fraction, instead of paper.taker_fee.")]
Slippage = Annotated[str, typer.Option("--slippage", help="As a fraction, instead of paper.slippage.")]
Wallet = Annotated[str, typer.Option("--wallet", help="Money to begin with, instead of paper.wallet.")]


@app.callback()
def backtest() -> None:
    """The bot on yesterday's bars."""


@app.command()
def run(
    config: Config = None,
    as_json: AsJson = False,
    source: Annotated[Source | None, typer.Option("-s", "--source", help=WHOSE)] = None,
    symbols: Symbols = None,
    strategies: Strategies = None,
    since: Since = "",
    until: Until = "",
    timerange: Timerange = "",
    days: Days = None,
    fine: Annotated[str, typer.Option("--fine", help="Finer bars to match orders on, such as 1m.")] = "",
    allow_gaps: AllowGaps = False,
    ml: Annotated[
        str, typer.Option("--ml", help="off takes all signals, on judges them as on paper; or walk-forward.")
    ] = "off",
    fee: Fee = "",
    slippage: Slippage = "",
    wallet: Wallet = "",
    trades: Annotated[Path | None, typer.Option("--trades", help="Also write the trades into this csv file.")] = None,
    progress_lines: Annotated[
        bool, typer.Option("--progress-lines", help="Tell how far it is as lines, for programs that read them.")
    ] = False,
) -> None:
    """Trade stored bars with the bot's own strategies, sizes, gates, exits and fees."""
    settings = _with_costs(load(config, trading=False), fee, slippage, wallet)
    if ml not in {building.OFF, building.ON, building.WALK_FORWARD}:
        raise typer.BadParameter(f"{ml}: write off, on or walk-forward", param_hint="--ml")
    request = request_of(settings, source, symbols, strategies, window(since, until, timerange, days))
    request = replace(request, fine=fine and known_timeframe(fine), ml=ml, allow_gaps=allow_gaps)
    with work_shown(as_json, lines=progress_lines) as progress:
        result = building.run(settings, request, progress, _scores(settings, request, progress))
    folder = results.keep(settings, result)
    if trades is not None:
        results.write_trades(trades, result.outcome.trades)
    body = {"id": folder.name, "report": str(folder / "report.html"), **results.body_of(result)}
    body["evaluations"] = [proof.as_row(settings, one) for one in proof.register(settings, result)]
    _show(json.loads(json.dumps(body, default=str)), as_json)


def _scores(settings: Settings, request: building.Request, progress: building.Progress) -> building.Scores | None:
    if request.ml != building.WALK_FORWARD:
        return None
    from app import evaluation  # noqa: PLC0415  scikit-learn takes a second

    return evaluation.forward_scores(settings, request, progress)


@app.command()
def sweep(
    values: Annotated[
        list[str], typer.Option("--set", help="Values to try, such as mr.touch_atr=0.3,0.5 or risk.percent=0.5:2:0.5.")
    ],
    config: Config = None,
    as_json: AsJson = False,
    source: Annotated[Source | None, typer.Option("-s", "--source", help=WHOSE)] = None,
    symbols: Symbols = None,
    strategies: Strategies = None,
    since: Since = "",
    until: Until = "",
    timerange: Timerange = "",
    days: Days = None,
    draws: Annotated[int, typer.Option("--draws", min=0, help="Try so many combinations by chance, not all.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Which ones chance draws.")] = 1,
    objective: Annotated[str, typer.Option("--objective", help=f"One of {', '.join(OBJECTIVES)}.")] = "sharpe",
    parts: Annotated[
        int, typer.Option("--walk-forward", min=0, help="Also choose on the past, try on what follows.")
    ] = 0,
    jobs: Annotated[int, typer.Option("--jobs", min=0, help="Processes; all cores without it.")] = 0,
    celery: Annotated[bool, typer.Option("--celery", help="On Celery workers, of any number of machines.")] = False,
    most: Annotated[int, typer.Option("-n", min=1, help="Rows to show.")] = 20,
) -> None:
    """Try many settings on the same past, and tell how much of the best result chance alone would have given."""
    settings = load(config, trading=False)
    if objective not in OBJECTIVES:
        raise typer.BadParameter(f"{objective}: write one of {', '.join(OBJECTIVES)}", param_hint="--objective")
    request = request_of(settings, source, symbols, strategies, window(since, until, timerange, days))
    tried = trials(dict(choices(one) for one in values), draws, seed)
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True), transient=True,
                  disable=as_json) as bar:  # fmt: skip
        task = bar.add_task("backtests", total=len(tried))
        found = sweeping.sweep(
            settings, request, tried, objective, _workers(settings, jobs, celery=celery), parts=parts,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )  # fmt: skip
    rows = [sweeping.as_row(one) for one in found.trials]
    forward = [
        {"chosen until": told(one.span.end), **one.values, "chosen for": _score(one, objective),
         "then": _score(other, objective), "profit % then": sweeping.as_row(other).get("profit %")}
        for one, other in found.forward
    ]  # fmt: skip
    if as_json:
        show({"objective": objective, "tried": len(rows), "deflated_sharpe": found.deflated, "trials": rows,
              "walk_forward": forward, "notes": found.notes}, as_json)  # fmt: skip
        return
    show(rows[:most], as_json)
    if forward:
        show(forward, as_json)
    for note in found.notes:
        print(f"note: {note}")
    print(_warning(len(rows), found.deflated))


def _workers(settings: Settings, jobs: int, *, celery: bool) -> sweeping.Pool:
    if not celery:
        return sweeping.Processes(jobs)
    from workers.cluster import Cluster  # noqa: PLC0415  Celery takes half a second

    return Cluster(settings)


def _warning(tried: int, deflated: float | None) -> str:
    said = f"{tried} combinations were tried: the best of many is good by chance too."
    if deflated is None:
        return f"{said} There are too few days to say how probable its Sharpe ratio is."
    return (
        f"{said} That its Sharpe ratio is above zero at all is {deflated:.1%} probable (deflated for {tried} trials)."
    )


@app.command("list")
def list_kept(config: Config = None, as_json: AsJson = False) -> None:
    """Show the backtests that are kept, the newest first."""
    rows = results.kept(load(config, trading=False))
    show(rows if as_json else [_summary(row) for row in rows], as_json)


@app.command("show")
def show_kept(
    name: Annotated[str, typer.Argument(help="An id from backtest list, its last eight characters, or last.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show a kept backtest as it was told when it was done."""
    _show(results.read(load(config, trading=False), name), as_json)


@app.command("compare")
def compare_kept(
    names: Annotated[list[str], typer.Argument(help="Two or more ids from backtest list.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Set kept backtests side by side: their figures, and in what they were asked differently."""
    settings = load(config, trading=False)
    bodies = [results.read(settings, name) for name in names]
    rows = [_summary(body) for body in bodies]
    differing = results.differing(bodies)
    if as_json:
        show({"backtests": rows, "differing": differing}, as_json)
        return
    show([{"": name, **{row["id"]: row[name] for row in rows}} for name in rows[0] if name != "id"], as_json)
    for name, values in differing.items():
        print(f"{name}: {' | '.join(map(str, values))}")


def _summary(body: dict[str, Any]) -> dict[str, Any]:
    held = body["figures"]
    return {
        "id": body["id"], "source": body["request"]["source"], "since": body["since"][:16], "until": body["until"][:16],
        "symbols": len(body["request"]["symbols"]), "trades": held["total"]["trades"],
        "won": f"{held['total']['win_rate']:.1f} %", "profit": f"{held['profit_percent']:+.2f} %",
        "drawdown": f"{held['drawdown']['percent']:.2f} %", "Sharpe": _plain(held["sharpe"]),
        "profit factor": _plain(held["profit_factor"]), "a trade": f"{held['expectancy_r']:+.3f} R",
    }  # fmt: skip


@app.command()
def evaluations(config: Config = None, as_json: AsJson = False) -> None:
    """What backtests have found for each strategy, the newest first, and whether that proves it."""
    settings = load(config, trading=False)
    rows, faults = proof.rows(settings)
    show(rows if as_json else list(map(_evaluation, rows)), as_json)
    for fault in faults:
        typer.echo(fault, err=True)
    raise typer.Exit(DEGRADED if faults else OK)


def _evaluation(row: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of an evaluation as a row for people."""
    ends = "-" if row["low"] is None else f"{row['low']:+.3f} to {row['high']:+.3f}"
    return {
        "strategy": row["strategy"], "bars": row["source"], "symbols": len(row["symbols"]), "since": told(row["since"]),
        "until": told(row["until"]), "signals": row["signals"], "mean R": f"{row['mean_r']:+.3f}", "95 %": ends,
        "as it runs now": "yes" if row["current"] else "no", "proven": "yes" if row["proven"] else "no",
        "reason": row["reason"],
    }  # fmt: skip


def _show(body: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(body, indent=2))
    else:
        _tell(body)


@app.command()
def check(
    config: Config = None,
    as_json: AsJson = False,
    source: Annotated[Source | None, typer.Option("-s", "--source", help=WHOSE)] = None,
    symbols: Symbols = None,
    strategies: Strategies = None,
    since: Since = "",
    until: Until = "",
    timerange: Timerange = "",
    days: Days = None,
) -> None:
    """Look whether strategies look into the future, and whether more history gives them other signals."""
    settings = load(config, trading=False)
    request = request_of(settings, source, symbols, strategies, window(since, until, timerange, days))
    with work_shown(as_json) as progress:
        found = building.check(settings, request, progress)
    rows = [
        {"strategy": one.strategy, "symbol": one.symbol, "bars cut at": one.rows, "signals alike": one.signals,
         "looks ahead": ", ".join(f"{name} (first {told(at)})" for name, at in one.ahead.items()) or "no",
         "unstable": "; ".join(one.unstable[:3]) or "no"}
        for one in found
    ]  # fmt: skip
    show([asdict(one) for one in found] if as_json else rows, as_json)
    raise typer.Exit(OK if all(one.good for one in found) else FAILED)


def _with_costs(settings: Settings, fee: str, slippage: str, wallet: str) -> Settings:
    given = {"paper.taker_fee": fee, "paper.slippage": slippage, "paper.wallet": wallet}
    return settings_module.with_values(settings, {name: text for name, text in given.items() if text})


def request_of(
    settings: Settings, source: Source | None, symbols: list[str] | None, strategies: list[str] | None, span: Span,
    *, allow_gaps: bool = False,
) -> building.Request:  # fmt: skip
    """Return what is asked for; raises ConfigError when no symbol is named anywhere, or one that means nothing."""
    found = asking.requested(settings, source, several(symbols), several(strategies), span)
    return replace(found, allow_gaps=allow_gaps)


@app.command()
def parity(config: Config = None, as_json: AsJson = False) -> None:
    """Compare what the bot here did, signal by signal and trade by trade, with a backtest on the bars it stored."""
    with work_shown(as_json) as progress:
        found = comparing.compare(load(config), progress)
    body = {"exact": found.exact, **asdict(found)}
    if as_json:
        print(json.dumps(body, default=str, indent=2))
    else:
        print(f"{told(found.span.start)} to {told(found.span.end)}")
        print(f"{found.signals} signals and {found.trades} trades agree")
        print(f"profit {found.pnl[0]:+.8f} live, {found.pnl[1]:+.8f} in the backtest")
        for title, lines in (("only live", found.only_live), ("only in the backtest", found.only_backtest)):
            for line in lines:
                print(f"{title}: {line}")
        for what, name, one, other in found.differing:
            print(f"{what}: {name} {one} live, {other} in the backtest")
    raise typer.Exit(OK if found.exact else DEGRADED)


@contextmanager
def work_shown(quiet: bool, *, lines: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Show what is being done, and how far it is, unless ``quiet``; as ``lines`` for a program that reads them."""
    if lines:
        yield _each_percent()
        return
    with Progress(console=Console(stderr=True), transient=True, disable=quiet) as bar:
        tasks: dict[str, Any] = {}

        def told_of(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of)
            bar.update(tasks[what], completed=done, total=of)

        yield told_of


def _each_percent() -> Callable[[str, int, int], None]:
    last = ("", -1)

    def told_of(what: str, done: int, of: int) -> None:
        nonlocal last
        percent = 100 * done // of if of else 100
        if (what, percent) != last:
            last = (what, percent)
            print(f"{what}: {percent} of 100", file=sys.stderr, flush=True)

    return told_of


def _tell(body: dict[str, Any]) -> None:
    held = body["figures"]
    print(
        f"{body['id']}: {body['request']['source']} {body['since'][:16]} to {body['until'][:16]}, {body['bars']} bars"
    )
    for name, value in _lines(held):
        print(f"{name:24} {value}")
    for title, groups in (("strategy", "by_strategy"), ("symbol", "by_symbol"), ("exit", "by_reason")):
        show_table([_row(title, name, group) for name, group in held[groups].items()])
    if held["refused"]:
        print("refused: " + ", ".join(f"{gate} {count}" for gate, count in held["refused"].items()))
    for note in body["notes"]:
        print(f"note: {note}")
    if body.get("evaluations"):
        show_table(list(map(_evaluation, body["evaluations"])))
    print(f"result_hash {body['result_hash']} (settings {body['config_hash']}, bars {body['data_hash']})")
    if "report" in body:
        print(f"report {body['report']}")


def _lines(held: dict[str, Any]) -> list[tuple[str, str]]:
    fall, total = held["drawdown"], held["total"]
    fell = f"{told(fall['peak_at'])} to {told(fall['trough_at'])}"
    ratios = ", ".join(_plain(held[name]) for name in ("sharpe", "sortino", "calmar"))
    return [
        ("trades", f"{total['trades']} of {held['signals']} signals, {total['win_rate']:.1f} % won"),
        ("profit", f"{float(held['profit']):+.2f} USDT, {held['profit_percent']:+.2f} %"),
        ("fees, funding", f"{float(held['fees']):.2f}, {float(held['funding']):.2f}"),
        ("buy and hold", f"{held['buy_and_hold']:+.2f} %"),
        ("a year", "-" if held["cagr"] is None else f"{held['cagr']:+.2f} %"),
        ("drawdown", f"{float(fall['money']):.2f} USDT, {fall['percent']:.2f} %, {fell}"),
        ("Sharpe, Sortino, Calmar", ratios),
        ("profit factor", _plain(held["profit_factor"])),
        ("expectancy", f"{float(held['expectancy']):+.2f} USDT, {held['expectancy_r']:+.3f} R a trade"),
        ("exposure", f"{held['exposure']:.1f} % of the time"),
        *(("open at the end", _still_open(one)) for one in held.get("open_positions", [])),
    ]  # fmt: skip


def _still_open(held: dict[str, Any]) -> str:
    """Return a position that was still open at the end in a few words."""
    return (
        f"{held['symbol']} {held['side']} {held['quantity']} at {float(held['entry_price']):g} since "
        f"{told(held['entry_time'])}: {float(held['unrealised']):+.2f} USDT"
    )


def _row(title: str, name: str, group: dict[str, Any]) -> dict[str, Any]:
    return {
        title: name, "trades": group["trades"], "won": f"{group['win_rate']:.1f} %",
        "profit": f"{float(group['pnl']):+.2f}", "mean R": f"{group['mean_r']:+.3f}",
    }  # fmt: skip


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _score(trial: sweeping.Trial, objective: str) -> float | None:
    score = trial.score(objective)
    return round(score, 3) if math.isfinite(score) else None
