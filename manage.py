"""The operator's commands; every report has --json. Exit codes: 0 ok, 1 failed, 2 usage, 3 degraded."""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.error
import urllib.request
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

import bootstrap
import settings as settings_module
from domain.errors import ConfigError, RevenantError, Unavailable
from domain.records import Close
from persistence.journal import read_records
from sandbox.exchange import Terms
from sandbox.server import Options, serve

OK, FAILED, USAGE, DEGRADED = 0, 1, 2, 3

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Revenant's operator commands.")
trades_app = typer.Typer(no_args_is_help=True, help="Trades.")
sandbox_app = typer.Typer(no_args_is_help=True, help="The practice exchange.")
app.add_typer(trades_app, name="trades")
app.add_typer(sandbox_app, name="sandbox")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file.")]


def _print(body: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(body, default=str, indent=2))
    elif isinstance(body, list):
        _print_table(body)
    else:
        for name, value in body.items():
            print(f"{name:24} {value}")


def _print_table(rows: list[dict[str, Any]]) -> None:
    if not rows:
        print("nothing yet")
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=None if Console().is_terminal else 200).print(table)


@app.command()
def doctor(config: Config = None, as_json: AsJson = False, live: Annotated[bool, typer.Option()] = False) -> None:
    """Check configuration, folders, database, Redis, exchange, clock and keys."""
    results = asyncio.run(bootstrap.checkup(settings_module.load(config), live_too=live))
    if as_json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        for result in results:
            print(f"[{result.state:4}] {result.name:14} {result.detail}")
    states = {result.state for result in results}
    raise typer.Exit(FAILED if "fail" in states else DEGRADED if "warn" in states else OK)


@app.command()
def migrate(config: Config = None, as_json: AsJson = False) -> None:
    """Bring the database schema to the newest version."""
    settings = settings_module.load(config)
    held = bootstrap.database(settings)
    before = held.version()
    _print({"database": str(held), "before": before or "empty", "now": held.migrate()}, as_json)


@app.command()
def status(config: Config = None, as_json: AsJson = False) -> None:
    """Show what the running bot is doing."""
    settings = settings_module.load(config)
    body = _ask(settings.data_dir / "health.json")
    if body is None:
        _print(
            {"running": False, "hint": f"no bot answers for {settings.data_dir}; start it with python live_bot.py"},
            as_json,
        )
        raise typer.Exit(FAILED)
    _print({"running": True, **body}, as_json)
    raise typer.Exit(OK if body["ready"] else DEGRADED)


@app.command()
def switch(
    state: Annotated[str, typer.Argument(help="running, paused (no new entries) or stopped.")],
    config: Config = None,
    as_json: AsJson = False,
    reason: Annotated[str, typer.Option(help="Kept with the change.")] = "operator",
) -> None:
    """Turn the running bot's stop switch; it stays as it is over a restart."""
    settings = settings_module.load(config)
    body = _ask(settings.data_dir / "health.json", f"/switch/{quote(state)}?reason={quote(reason)}", "POST")
    _print(body or {"error": f"no bot answers for {settings.data_dir}"}, as_json)
    raise typer.Exit(OK if body and "switch" in body else FAILED)


@app.command()
def stats(
    config: Config = None, as_json: AsJson = False, days: Annotated[int | None, typer.Option(min=1)] = None
) -> None:
    """Show the figures of closed trades."""
    settings = settings_module.load(config)
    held, degraded = _tracker(settings)
    figures = asdict(held.get_statistics(days))
    figures["mode"] = settings.mode.upper()
    for name in ("best_trade", "worst_trade"):
        if figures[name]:
            figures[name] = {key: figures[name][key] for key in ("symbol", "side", "pnl_usd", "exit_time", "trade_id")}
    if as_json:
        print(json.dumps(figures, default=str, indent=2))
    else:
        print(f"{settings.mode.upper()}\n{held.format_stats_message(days)}")
    raise typer.Exit(DEGRADED if degraded else OK)


@app.command("db-stats")
def db_stats(config: Config = None, as_json: AsJson = False) -> None:
    """Show what the database and the spill hold."""
    settings = settings_module.load(config)
    storage = bootstrap.candle_storage(settings, bootstrap.database(settings))
    figures = storage.get_stats()
    held, degraded = _tracker(settings)
    figures |= {"source": settings.source.value, "trades": len(held.trades()), "unsettled": held.unsettled}
    _print(figures, as_json)
    raise typer.Exit(DEGRADED if degraded or storage.degraded else OK)


@trades_app.command("list")
def list_trades(
    config: Config = None,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1)] = 50,
) -> None:
    """List the newest closed trades, newest last."""
    settings = settings_module.load(config)
    held, degraded = _tracker(settings)
    rows = [asdict(trade) for trade in held.trades()[-limit:]]
    shown = (
        "exit_time",
        "symbol",
        "side",
        "strategy_name",
        "quantity",
        "entry_price",
        "exit_price",
        "pnl_usd",
        "r_multiple",
        "exit_reason",
        "trade_id",
    )
    if not as_json:
        rows = [{name: _short(row[name]) for name in shown} for row in rows]
    _print(rows, as_json)
    raise typer.Exit(DEGRADED if degraded else OK)


@app.command("show-config")
def show_config(config: Config = None, as_json: AsJson = False) -> None:
    """Show the settings in force, secrets masked."""
    body = settings_module.shown(settings_module.load(config))
    print(json.dumps(body, indent=2) if as_json else _as_yaml(body))


@sandbox_app.command("serve")
def sandbox_serve(
    state: Annotated[Path, typer.Option(help="Folder of its state.")] = Path("data/practice-alone"),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on loopback, 0 for any.")] = 0,
    speed: Annotated[float, typer.Option(min=0.001, help="Market seconds per second.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Seed of made-up prices.")] = 1,
    symbols: Annotated[int, typer.Option(min=1, max=1000, help="How many made-up markets.")] = 20,
    wallet: Annotated[str, typer.Option(help="USDT to begin with.")] = "10000",
    replay: Annotated[list[str] | None, typer.Option(help="Candle file to play, PATH or SYMBOL=PATH.")] = None,
    step: Annotated[bool, typer.Option("--step", help="Move on only when told.")] = False,
    idle_exit: Annotated[float, typer.Option(help="Leave after so many silent seconds.")] = 900.0,
) -> None:
    """Run the practice exchange alone: Bybit v5 REST and WebSocket on loopback."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    terms = Terms(speed=speed, step=step, wallet=Decimal(wallet))
    options = Options(
        state, port=port, seed=seed, symbols=symbols, replay=tuple(replay or ()), idle_exit_s=idle_exit, terms=terms
    )
    print(f"practice exchange: key {terms.key}, secret {terms.secret}, address in {state / 'endpoint.json'}")
    asyncio.run(serve(options))


def _tracker(settings: settings_module.Settings) -> tuple[Any, bool]:
    who = bootstrap.known_owner(settings)
    held = bootstrap.tracker(bootstrap.database(settings), None, who, None)
    degraded = False
    try:
        held.load()
    except Unavailable as error:
        degraded = True
        Console(stderr=True).print(f"database unreachable, showing the journal only: {error}")
    for record in read_records(bootstrap.journal_folder(settings, who)):
        if isinstance(record, Close):
            held.restore(record.trade)
    return held, degraded


def _ask(endpoint: Path, path: str = "/status", method: str = "GET") -> dict[str, Any] | None:
    try:
        note = json.loads(endpoint.read_text())
        address = f"http://{note['host']}:{note['port']}{path}"
        request = urllib.request.Request(address, method=method, headers={"Authorization": f"Bearer {note['token']}"})
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            body: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        answered: dict[str, Any] = json.load(error)
        return answered
    except (OSError, ValueError, KeyError):
        return None
    return body


def _short(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return f"{value.normalize():f}"[:12] if isinstance(value, Decimal) else str(value)


def _as_yaml(body: dict[str, Any]) -> str:
    import yaml  # noqa: PLC0415  only here

    return str(yaml.safe_dump(body, sort_keys=False))


def main() -> None:
    """Run a command; errors are one line each."""
    try:
        app()
    except ConfigError as error:
        Console(stderr=True).print(str(error), style="red", highlight=False)
        raise SystemExit(USAGE) from None
    except RevenantError as error:
        Console(stderr=True).print(str(error), style="red", highlight=False)
        raise SystemExit(FAILED) from None


if __name__ == "__main__":
    main()
