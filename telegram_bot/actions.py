"""Commands that change something: what lowers the risk is done at once, what raises it has to be confirmed."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from domain.errors import BadData
from domain.portion import Portion
from domain.records import SwitchState
from domain.symbols import Symbols
from domain.training_run import spoken
from engine.operations import ID_LEAST
from telegram_bot import texts
from telegram_bot.answer import Answer, Ask, Button, Change, rows_of
from telegram_bot.texts import bold, coin, escape, money

if TYPE_CHECKING:
    from engine.operations import ExitOutcome

OUTCOMES = {
    "closed": "closed", "withdrawn": "entry withdrawn",
    "reduced": "closed in part, {left} left", "unchanged": "nothing closed, {left} left",
    "closing": "not closed yet: {left} still open after {attempts} exits, trying on",
}  # fmt: skip
SUGGESTED = ("0.25", "0.5", "1", "2")
SHOWN_LOCKS = 10


async def start(ask: Ask) -> Answer | Change:
    """Let new entries in again."""
    ask.only(0)
    state = ask.desk.status()["switch"]
    if state == SwitchState.RUNNING:
        return Answer(f"{bold(ask.desk.mode)} · Trading is running already. /help lists what I can do.")

    async def do() -> Answer:
        await ask.desk.switch(SwitchState.RUNNING, ask.reason)
        return Answer(f"▶️ {bold(ask.desk.mode)} · Trading runs: new entries are let in.")

    return Change(f"Let new entries in again (trading is {state} now).", do)


async def stop(ask: Ask) -> Answer:
    """Stop trading; stops and targets stay in force."""
    ask.only(0)
    await ask.desk.switch(SwitchState.STOPPED, ask.reason)
    return Answer(f"⏹ {bold(ask.desk.mode)} · Stopped: no new entries; open positions keep their stops and targets. "
                  "/start lets entries in again.")  # fmt: skip


async def pause(ask: Ask) -> Answer:
    """Make no new entries; open positions are managed on."""
    ask.only(0)
    await ask.desk.switch(SwitchState.PAUSED, ask.reason)
    return Answer(f"⏸ {bold(ask.desk.mode)} · Paused: no new entries; open positions are managed on. "
                  "/start lets entries in again.")  # fmt: skip


async def force_exit(ask: Ask) -> Answer:
    """Close a position at the market, a part of it, or all."""
    ask.only(2)
    held = ask.desk.status()["positions"]
    if not ask.arguments:
        if not held:
            return Answer(f"{bold(ask.desk.mode)} · No open positions.")
        buttons = [Button(f"{coin(one['symbol'])} {money(one['pnl'])}", f"/forceexit {one['id']}") for one in held]
        return Answer("Close which one at the market?", [*rows_of(buttons), [Button("all of them", "/forceexit all")]])
    what = ask.arguments[0]
    name = "all" if what.lower() == "all" else what
    part = Portion.parse(ask.arguments[1]) if ask.arguments[1:] else None
    if part is None:
        closing = await ask.desk.force_exit(name, ask.reason)
    else:
        closing = await ask.desk.reduce(name, part, ask.reason)
    if not closing and what.lower() != "all":
        raise BadData(f"no open position is called {what[:40]!r}; /status shows all")
    return Answer(f"🚪 {bold(ask.desk.mode)} · {_outcomes(closing)}")


async def cancel(ask: Ask) -> Answer:
    """Withdraw an entry that has not filled; what is open already stays as it is."""
    ask.only(1)
    held = [one for one in ask.desk.status()["positions"] if one["pending"]]
    if not ask.arguments:
        buttons = [Button(coin(one["symbol"]), f"/coo {one['id']}") for one in held]
        return Answer("Withdraw which entry?" if held else "No entry is waiting to fill.", rows_of(buttons))
    what = ask.arguments[0]
    meant = [one["id"] for one in held if _names(one, what)]
    if len(meant) != 1:
        raise BadData(f"{len(meant)} entries that wait to fill are called {what[:40]!r}; /status shows all")
    return Answer(f"🚪 {bold(ask.desk.mode)} · {_outcomes(await ask.desk.force_exit(meant[0], ask.reason))}")


def _names(position: dict[str, Any], text: str) -> bool:
    """Return whether somebody means a position by its symbol, or by the beginning of its id."""
    known = Symbols([position["symbol"]]).matches(text)
    begins = position["id"].startswith(text.upper()) or position["trade_id"].startswith(text.lower())
    return bool(known) or (len(text) >= ID_LEAST and begins)


async def panic(ask: Ask) -> Answer:
    """Stop trading and close everything at the market."""
    ask.only(0)
    closing = await ask.desk.panic(ask.reason)
    return Answer(f"🚨 {bold(ask.desk.mode)} · Stopped. {_outcomes(closing)}\n/start lets entries in again.")


def _outcomes(outcomes: list[ExitOutcome]) -> str:
    """Return what became of positions that were to be closed, a line each."""
    if not outcomes:
        return "Nothing was open."
    lines = []
    for one in outcomes:
        text = OUTCOMES[one.outcome].format(left=one.left, attempts=one.attempts)
        lines.append(f"{coin(one.symbol)}: {text}" + (f" ({escape(one.reason[:120])})" if one.reason else ""))
    return "\n".join(lines)


async def risk(ask: Ask) -> Answer | Change:
    """Tell how much a trade may lose, or set it; ``default`` is what is configured."""
    ask.only(1)
    held = ask.desk.risk()
    if not ask.arguments:
        rows: list[tuple[str, object]] = [
            ("a trade", f"{held['percent']}% = {money(held['money'], sign=False)}"),
            ("configured", f"{held['configured']}%"), ("equity", money(held["equity"], sign=False)),
            ("a day", f"{held['daily_loss_percent']}% at most"), ("positions", f"{held['max_open_trades']} at most"),
        ]  # fmt: skip
        buttons = [Button(f"{one}%", f"/risk {one}") for one in SUGGESTED]
        text = f"{bold(ask.desk.mode)} · {bold('Risk')}\n{texts.pairs(rows)}"
        return Answer(text, [buttons, [Button("as configured", "/risk default")]])
    wanted = None if ask.arguments[0].lower() == "default" else _percent(ask.arguments[0])
    after = held["configured"] if wanted is None else wanted

    async def do() -> Answer:
        await ask.desk.set_risk(wanted, ask.reason)
        return Answer(f"⚖️ {bold(ask.desk.mode)} · A trade risks {after}% of the equity from the next signal on.")

    if after > held["percent"]:
        return Change(f"Raise the risk of a trade from {held['percent']}% to {after}% of the equity.", do)
    return await do()


def _percent(text: str) -> Decimal:
    try:
        found = Decimal(text.rstrip("%").replace(",", ".") if text.isascii() else "NaN")
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or not 0 < found <= 10 or len(text) > 8:  # noqa: PLR2004  what settings allow
        raise BadData(f"{text[:40]!r}: give a risk in percent above 0 and up to 10, such as 0.5")
    return found


async def locks(ask: Ask) -> Answer:
    """Tell which protections forbid entries now."""
    ask.only(0)
    held = await ask.desk.locks()
    head = f"{bold(ask.desk.mode)} · {bold('Locks')}"
    if not held:
        return Answer(f"{head}\nNo protection forbids entries now.", refresh=True)
    rows = [("all" if one.symbol == "*" else coin(one.symbol), one.method, f"{_clock(one.until)}") for one in held]
    names = list(dict.fromkeys("all" if one.symbol == "*" else one.symbol for one in held))[:SHOWN_LOCKS]
    buttons = rows_of([Button(f"unlock {coin(name)}", f"/unlock {name}") for name in names])
    return Answer(f"{head}\n{texts.table(('pair', 'protection', 'until'), rows, left=2)}", buttons, refresh=True)


def _clock(time: int) -> str:
    return f"{datetime.fromtimestamp(time / 1000, UTC):%H:%M}"


async def unlock(ask: Ask) -> Answer | Change:
    """Lift the protections of a symbol, or of all."""
    ask.only(1)
    if not ask.arguments:
        return await locks(Ask(ask.desk))
    whole = ask.arguments[0].lower() == "all"
    where = "all" if whole else ask.desk.symbol(ask.arguments[0])

    async def do() -> Answer:
        await ask.desk.unlock(where, ask.reason)
        return Answer(f"🔓 {bold(ask.desk.mode)} · Trades closed until now hold back no entry in "
                      f"{'any symbol' if whole else escape(where)}.")  # fmt: skip

    return Change(f"Lift the protections of {'all symbols' if whole else where}: past losses are forgotten.", do)


async def blacklist(ask: Ask) -> Answer:
    """Tell which symbols take no new entries, or add some."""
    if not ask.arguments:
        held = ask.desk.banned()
        buttons = rows_of([Button(f"allow {coin(name)}", f"/blacklist_delete {name}") for name in held[:SHOWN_LOCKS]])
        told = "\n".join(escape(name) for name in held) if held else "No symbol is on it."
        return Answer(f"{bold('Blacklist')}: no new entries in\n{told}", buttons)
    added = await ask.desk.ban(ask.arguments, ask.reason)
    return Answer(f"🚫 {bold(ask.desk.mode)} · No new entries in {escape(', '.join(added))}; open positions are "
                  "managed on. /blacklist_delete lets entries in again.")  # fmt: skip


async def blacklist_delete(ask: Ask) -> Answer | Change:
    """Let entries into symbols again."""
    if not ask.arguments:
        return await blacklist(Ask(ask.desk))
    symbols = ask.desk.meant(ask.arguments)

    async def do() -> Answer:
        allowed = await ask.desk.unban(symbols, ask.reason)
        return Answer(f"✅ {bold(ask.desk.mode)} · Entries are let in again: {escape(', '.join(allowed))}.")

    return Change(f"Let entries into {', '.join(symbols)} again.", do)


async def retrain(ask: Ask) -> Answer:
    """Train a strategy's model now; it is put to use only when it is better."""
    ask.only(1)
    names = ask.desk.strategies()
    if not ask.arguments:
        return Answer("Train which one now?", rows_of([Button(name, f"/ml_retrain {name}") for name in names]))
    told = await ask.desk.train(ask.arguments[0].lower())
    last = told["last_result"]
    ended = spoken(last["verdict"], model_in_use=told["is_ml_ready"]) if last else ""
    said = f"{ended}: {last['reason']}" if last else "nothing came of it"
    return Answer(f"🎓 {bold(ask.arguments[0].lower())} · {escape(said)}")


async def reload_config(ask: Ask) -> Answer | Change:
    """Read the configuration anew and take on what a running bot can."""
    ask.only(0)
    fresh, now, later = await ask.desk.changes()
    waits = f"\nFrom the next start: {'; '.join(later)}" if later else ""
    if not now:
        changed = ask.desk.risk()
        if changed["percent"] == changed["configured"]:
            return Answer(f"Nothing has changed that a running bot can take on.{escape(waits)}")
        now = [f"risk.percent: {changed['percent']} → {changed['configured']}"]

    async def do() -> Answer:
        await ask.desk.reload(fresh, ask.reason)
        return Answer(f"🔁 {bold(ask.desk.mode)} · In force now: {escape('; '.join(now))}{escape(waits)}")

    return Change(f"Take on: {'; '.join(now)}{waits}", do)
