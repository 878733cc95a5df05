"""The operator's commands; every report has --json. Exit codes: 0 ok, 1 failed, 2 usage, 3 degraded."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from bootstrap.place import refuse_if_held
from commands import completion as completing
from commands import demo, fleet, init, outcome, reconciling, running, summary, universe
from commands.deferred import deferred
from commands.shared import DEGRADED, FAILED, OK, SYMBOLS, AsJson, Config, Version, load, show
from commands.times import Days
from domain import reports
from domain.errors import ConfigError, Unavailable, of_system
from domain.lean import lazily
from domain.portion import Portion
from domain.reports import Group, Period, Result
from domain.sheet import cell
from domain.source import Source
from domain.trade import Trade, as_row, as_tree

if TYPE_CHECKING:
    import settings as settings_module
    from app import control
    from app import doctor as examination
    from bootstrap import inspection, log_setup, records
    from domain import records as kinds
    from persistence import files, journal
else:
    # a plain look needs few of them, and --help none
    settings_module, examination = lazily("settings"), lazily("app.doctor")
    control = lazily("app.control")
    inspection, log_setup, records = (lazily(f"bootstrap.{name}") for name in ("inspection", "log_setup", "records"))
    kinds, files, journal = (lazily(name) for name in ("domain.records", "persistence.files", "persistence.journal"))

POLL_S = 0.2
PERIODS = 12

app = typer.Typer(no_args_is_help=True, add_completion=False)
trades_app = typer.Typer(no_args_is_help=True, help="Trades.")
trades_app.command("reconcile")(reconciling.reconcile)
trades_app.command("rebuild")(reconciling.rebuild)
sandbox_app = typer.Typer(no_args_is_help=True, help="The practice exchange.")
audit_app = typer.Typer(no_args_is_help=True, help="The phantoms' audit.")
app.add_typer(trades_app, name="trades")
app.add_typer(deferred("commands.ml", "Models: what they have learned, and when they learn again."), name="ml")
app.add_typer(audit_app, name="audit")
app.add_typer(deferred("commands.data", "Stored candles: import, download, judge, mend, export."), name="data")
app.add_typer(deferred("commands.sources", "The sources' tables: each source has its own."), name="sources")
app.add_typer(deferred("commands.backup", "Copies of everything that a bot rests on, in one file each."), name="backup")
app.add_typer(deferred("commands.backtest", "The bot on yesterday's bars."), name="backtest")
app.add_typer(deferred("commands.strategies", "Strategies: ours, and those that you bring."), name="strategies")
app.add_typer(deferred("commands.notices", "Notices to webhooks and by e-mail."), name="notices")
app.add_typer(sandbox_app, name="sandbox")

app.command("demo")(demo.demo)
app.command("init")(init.init)
app.command("fleet")(fleet.fleet)
app.command("symbols")(universe.symbols)

Reason = Annotated[str, typer.Option(help="Kept with the change.")]


@app.callback()
def _options(_: Version = False) -> None:
    """Revenant's operator commands."""


@app.command()
def doctor(
    config: Config = None,
    as_json: AsJson = False,
    live: Annotated[bool, typer.Option("--live", help="Every step towards real money.")] = False,
    data: Annotated[bool, typer.Option("--data", help="Also write, read, change and delete a few bars.")] = False,
) -> None:
    """Check configuration, folders, database, Redis, exchange, clock and keys."""
    settings = load(config, trading=False)
    results = examination.check_settings(config) + asyncio.run(examination.checkup(settings, live_too=live))
    if data:
        results += examination.check_data(settings)
    if as_json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        for result in results:
            print(f"[{result.state:4}] {result.name:19} {result.detail}")
    states = {result.state for result in results}
    raise typer.Exit(FAILED if "fail" in states else DEGRADED if "warn" in states else OK)


@app.command()
def migrate(config: Config = None, as_json: AsJson = False) -> None:
    """Bring the database schema to the newest version."""
    settings = load(config, trading=False)
    held = records.database(settings)
    before = held.version()
    show({"database": str(held), "before": before or "empty", "now": held.migrate()}, as_json)


@app.command()
def status(config: Config = None, as_json: AsJson = False) -> None:
    """Show what the running bot is doing."""
    settings = load(config, trading=False)
    body = running.ask(settings)
    if body is None:
        show(
            {"running": False, "hint": f"no bot answers for {settings.data_dir}; start it with python live_bot.py"},
            as_json,
        )
        raise typer.Exit(FAILED)
    if as_json or "error" in body:
        show({"running": True, **body}, as_json)
    else:
        print("\n".join(summary.status_lines(body)))
    raise typer.Exit(FAILED if "error" in body else OK if body["ready"] else DEGRADED)


@app.command()
def dashboard(
    config: Config = None,
    as_json: AsJson = False,
    source: Annotated[Source | None, typer.Option("-s", "--source", help="Serve what is stored of a source.")] = None,
    port: Annotated[int | None, typer.Option(help="Listen on this port.", min=0, max=65_535)] = None,
) -> None:
    """Print a link that signs a browser in at the running bot; with --source, serve what is stored, read only."""
    settings = load(config, trading=False)
    if source is not None:
        from daemon.stored_desk import serve  # noqa: PLC0415  the page's libraries take a second to load

        log_setup.configure_logging(settings)
        asyncio.run(serve(settings_module.for_reading(settings, source, port)))
        return
    body = running.order(settings, "/link")
    at = running.address(settings)
    if body is None or "error" in body or at is None:
        hint = f"no bot answers for {settings.data_dir}; start one, or give --source to look at what is stored"
        show({"error": (body or {}).get("error", hint)}, as_json)
        raise typer.Exit(FAILED)
    link = f"{at}/#overview?key={body['key']}"
    show({"link": link, "note": "it signs in once, within five minutes"}, as_json)


@app.command()
def stop(config: Config = None, as_json: AsJson = False, reason: Reason = "operator") -> None:
    """Stop trading: no new entries; stops and targets stay in force. It lasts until "start", over restarts too.

    Like every command that acts on money it says on whose, and refuses where no bot has ever lived.
    """
    _switch(load(config), kinds.SwitchState.STOPPED, reason, as_json)


@app.command()
def pause(config: Config = None, as_json: AsJson = False, reason: Reason = "operator") -> None:
    """Make no new entries until "start"; open positions are managed on."""
    _switch(load(config), kinds.SwitchState.PAUSED, reason, as_json)


@app.command()
def start(config: Config = None, as_json: AsJson = False, reason: Reason = "operator") -> None:
    """Let new entries in again (this does not start the daemon; python live_bot.py does)."""
    _switch(load(config), kinds.SwitchState.RUNNING, reason, as_json)


@app.command()
def completion(shell: Annotated[completing.Shell, typer.Argument(help="The shell that is to complete.")]) -> None:
    """Write what a shell reads to complete commands: source <(manage.py completion bash)."""
    print(completing.script(app, shell), end="")


@app.command()
def forceexit(
    what: Annotated[str, typer.Argument(help="Symbol (BTC/USDT:USDT or BTC), trade id, or all.")],
    config: Config = None,
    as_json: AsJson = False,
    reason: Reason = "operator",
    part: Annotated[str, typer.Option(help="Only a part of what is open, such as 50%.")] = "",
) -> None:
    """Close a position of the running bot at the market, or all of them; exits with 1 when one is still open."""
    if part:
        Portion.parse(part)
    settings = load(config)
    place = running.acting(settings, "forceexit")
    body = running.order(settings, "/forceexit", what=what, reason=reason, part=part or None)
    hint = f"no bot answers for {place.folder}; without one, manage.py panic closes everything"
    show({**place.as_row(), **(body or {"error": hint})}, as_json)
    left = [one for one in (body or {}).get("outcomes", []) if one["outcome"] in {"closing", "unchanged"}]
    raise typer.Exit(OK if body and "error" not in body and not left else FAILED)


@app.command()
def panic(
    config: Config = None,
    as_json: AsJson = False,
    reason: Reason = "operator",
    foreign: Annotated[bool, typer.Option("--foreign", help="Also close positions that are not the bot's.")] = False,
    seconds: Annotated[float, typer.Option(min=1, help="How long to wait for everything to be closed.")] = 30.0,
) -> None:
    """Stop trading and close every position at the market; works whether the bot runs or not.

    It says whose positions these are, and refuses where no bot has ever lived.
    """
    settings = load(config)
    place = running.acting(settings, "panic")
    body = running.order(settings, "/panic", reason=reason, foreign=foreign)
    if body is None:
        refuse_if_held(settings, "panic")
        body = asyncio.run(control.panic(settings, seconds, foreign=foreign))
    else:
        body |= _wait_flat(settings, seconds, foreign=foreign)
    show({**place.as_row(), **body}, as_json)
    flat = body.get("open") == 0 and not body.get("pending") and not (foreign and body.get("foreign_positions"))
    raise typer.Exit(OK if flat and "error" not in body else FAILED)


@app.command()
def stats(
    config: Config = None,
    as_json: AsJson = False,
    days: Days = None,
    by: Annotated[str, typer.Option(help="day, week, month, symbol, strategy, exit or hour: a row for each.")] = "",
) -> None:
    """Show the figures of closed trades."""
    settings = load(config, trading=False)
    held, degraded = _tracker(settings)
    if by:
        found = _results(list(held.every()), by, days)
        if as_json:
            show([{**asdict(one), "win_rate": round(one.win_rate, 1)} for one in found], as_json)
        else:
            print("\n".join(summary.result_lines(found)))
        raise typer.Exit(DEGRADED if degraded else OK)
    figures = asdict(held.get_statistics(days))
    figures["mode"] = settings.mode.upper()
    for name in ("best_trade", "worst_trade"):
        if figures[name]:
            told = as_row(figures[name])
            figures[name] = {key: told[key] for key in ("symbol", "side", "pnl_usd", "exit_time", "trade_id")}
    if as_json:
        print(json.dumps(figures, default=str, indent=2))
    else:
        # the stars are a chat's way of writing bold
        print(f"{settings.mode.upper()}\n{held.format_stats_message(days).replace('*', '')}")
    raise typer.Exit(DEGRADED if degraded else OK)


@app.command("phantom-stats")
def phantom_stats(
    config: Config = None,
    as_json: AsJson = False,
    symbol: Annotated[str | None, typer.Option(*SYMBOLS, help="One symbol only, such as BTC.")] = None,
    strategy: Annotated[str | None, typer.Option("-s", "--strategy", help="One strategy only.")] = None,
) -> None:
    """Show what became of every signal, taken or refused, and what each gate has cost or saved."""
    settings = load(config, trading=False)
    figures = running.ask(settings, "/phantoms", symbol=symbol, strategy=strategy)
    figures = figures or inspection.phantoms(settings, symbol, strategy)
    show({"mode": settings.mode.upper(), **figures}, as_json)
    raise typer.Exit(FAILED if "error" in figures else OK)


@audit_app.command("verify")
def audit_verify(config: Config = None, as_json: AsJson = False) -> None:
    """Go through every row of the audit; name each that was changed, is missing, or stands in the wrong place."""
    verdict = inspection.audit(load(config, trading=False))
    show({"clean": verdict.clean, **asdict(verdict)}, as_json)
    raise typer.Exit(OK if verdict.clean else FAILED)


@audit_app.command("archive")
def audit_archive(
    file: Annotated[Path, typer.Argument(help="New file to write, such as audit-2026.jsonl.gz.")],
    config: Config = None,
    as_json: AsJson = False,
    days: Annotated[int, typer.Option(min=7, help="Rows older than so many days go.")] = 365,
) -> None:
    """Move old rows of the audit into a file; what stays can still be verified, but is not learned from any more."""
    show({"file": str(file), "rows_moved": inspection.archive_audit(load(config, trading=False), days, file)}, as_json)


@app.command("db-stats")
def db_stats(config: Config = None, as_json: AsJson = False) -> None:
    """Show every tier: its state, what it holds, what waits for it, and for how long."""
    settings = load(config, trading=False)
    held, degraded = _tracker(settings)
    known = inspection.Known(len(held), held.unsettled, degraded)
    told = running.ask(settings)
    figures = inspection.db_stats(settings, known, told if told and "error" not in told else None)
    if told and "error" in told:
        figures["bot"] = told["error"]
    if not as_json:
        stored = figures.pop("candles")
        figures |= {
            f"candles_{row['source']}_{row['timeframe']}": f"{row['bars']} bars, {row['series']} series"
            for row in stored
        }
    show(figures, as_json)
    raise typer.Exit(DEGRADED if "away" in {figures["database"], figures["redis"]} else OK)


@trades_app.command("list")
def list_trades(
    config: Config = None,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1)] = 50,
) -> None:
    """List the newest closed trades, newest last."""
    settings = load(config, trading=False)
    held, degraded = _tracker(settings)
    newest = list(held.every())[-limit:]
    if as_json:
        show([as_tree(trade) for trade in newest], as_json)
    else:
        print("\n".join(summary.trade_lines(newest)))
    raise typer.Exit(DEGRADED if degraded else OK)


@trades_app.command("verify")
def verify(config: Config = None, as_json: AsJson = False) -> None:
    """Compare journal, database, Redis, snapshot and the exchange's own record; 0 only when nothing is amiss."""
    settings = load(config)
    held = (lambda: _positions(settings)) if running.ask(settings) is not None else None
    verdict = asyncio.run(inspection.verify(settings, running=held))
    show(inspection.as_json(verdict), as_json)
    raise typer.Exit(OK if verdict.clean else FAILED)


def _positions(settings: settings_module.Settings) -> list[str]:
    body = running.ask(settings) or {}
    return [str(row.get("id")) for row in body.get("positions", []) if isinstance(row, dict)]


@trades_app.command("export")
def export_trades(
    path: Annotated[Path, typer.Argument(help="File to write, .csv or .json.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write all closed trades to a file, whole or not at all."""
    settings = load(config, trading=False)
    held, degraded = _tracker(settings)
    rows = [as_row(trade) for trade in held.every()]
    content = _exported(rows, path.suffix)
    try:
        files.AtomicFile(path).write(content)
    except OSError as error:
        raise of_system(f"trades export: {path}", error, "give the path of a file that can be written") from error
    show({"file": str(path), "trades": len(rows)}, as_json)
    raise typer.Exit(DEGRADED if degraded else OK)


@app.command("show-config")
def show_config(config: Config = None, as_json: AsJson = False) -> None:
    """Show the settings in force, secrets masked."""
    body = settings_module.shown(load(config, trading=False))
    print(json.dumps(body, indent=2) if as_json else _as_yaml(body))


@sandbox_app.command(
    "serve",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    help="Run the practice exchange alone: Bybit v5 REST and WebSocket on loopback; --help lists its options.",
)
def sandbox_serve(arguments: Annotated[list[str] | None, typer.Argument(metavar="[OPTIONS]")] = None) -> None:
    """Run the practice exchange alone."""
    from sandbox.__main__ import main as serve  # noqa: PLC0415  its server takes a while to load

    raise typer.Exit(serve(arguments or []))


def _tracker(settings: settings_module.Settings) -> tuple[Any, bool]:
    who = records.known_owner(settings)
    held = records.tracker(settings, records.database(settings), None, who)
    degraded = False
    try:
        held.load()
    except Unavailable as error:
        degraded = True
        Console(stderr=True, soft_wrap=True).print(f"showing the journal only: {error}", highlight=False)
    held.restore(kinds.finished(journal.read_records(records.journal_folder(settings, who))))
    return held, degraded


def _results(trades: list[Trade], by: str, days: int | None) -> list[Result]:
    now = trades[-1].exit_time if trades else datetime.now(UTC)
    if by in set(Period):
        found = reports.by_period(trades, Period(by), PERIODS, now)
    elif by in set(Group):
        since = now - timedelta(days=days) if days else None
        found = reports.by_group([one for one in trades if since is None or one.exit_time >= since], Group(by))
    else:
        raise ConfigError(f"--by {by}: give one of {', '.join((*Period, *Group))}")
    return found


def _switch(settings: settings_module.Settings, state: kinds.SwitchState, reason: str, as_json: bool) -> None:
    place = running.acting(settings, state.value)
    body = running.order(settings, "/switch", state=state.value, reason=reason)
    if body is None:
        refuse_if_held(settings, state.value)
        control.turn_switch(settings, state, reason)
        body = {"switch": state.value, "running": False, "note": "kept for the next start"}
    show({**place.as_row(), **body}, as_json)
    raise typer.Exit(OK if "switch" in body else FAILED)


def _wait_flat(settings: settings_module.Settings, seconds: float, *, foreign: bool) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    body: dict[str, Any] = {}
    while time.monotonic() < deadline:
        with contextlib.suppress(Unavailable):
            told = running.ask(settings)
            body = told if told and "error" not in told else body
        # a bot that is starting does not know yet what is open
        left = not body or body["open"] or body["pending"] or (foreign and body["foreign_positions"])
        if not left and control.RECOVERING not in body.get("reasons", ()):
            break
        time.sleep(POLL_S)
    if control.RECOVERING in body.get("reasons", ()):
        body["open"] = None
    return {name: body.get(name) for name in ("switch", "open", "pending", "positions", "foreign_positions")}


def _exported(rows: list[dict[str, Any]], suffix: str) -> bytes:
    if suffix == ".json":
        return json.dumps(rows, default=str, indent=2).encode()
    if suffix != ".csv":
        raise ConfigError(f"export: {suffix or 'no suffix'} is not known; name the file .csv or .json")
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]) if rows else ["trade_id"])
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue().encode()


def _short(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return f"{value.normalize():f}"[:12] if isinstance(value, Decimal) else str(value)


def _as_yaml(body: dict[str, Any]) -> str:
    import yaml  # noqa: PLC0415  only here

    return str(yaml.safe_dump(body, sort_keys=False))


def main() -> None:
    """Run a command; errors are one line each, or JSON."""
    # what it writes is the owner's alone, as what the bot writes
    os.umask(0o077)
    raise SystemExit(outcome.run(app, sys.argv[1:]))


if __name__ == "__main__":
    main()
