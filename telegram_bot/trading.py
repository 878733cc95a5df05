"""Answers about positions, trades and money."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from domain.candle import MAIN_TIMEFRAME
from domain.errors import BadData
from domain.reports import Group, Period
from domain.statistics import describe
from domain.symbols import Symbols
from domain.trade import ZERO
from telegram_bot import texts
from telegram_bot.answer import Answer, Ask, Button, rows_of
from telegram_bot.texts import bold, coin, lasted, moment, money, percent, price

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from domain.reports import Result

ARROWS = {"long": "▲", "short": "▼"}
SHOWN_BUTTONS = 12
DAYS_MAX = 3_650
ROWS_MAX = 500


async def status(ask: Ask) -> Answer:
    """Tell of every open position: in blocks, as a table, or of one."""
    ask.only(1)
    seen, now = ask.desk.status(), ask.desk.market_time
    held = seen["positions"]
    wanted = ask.arguments[0] if ask.arguments else ""
    if wanted and wanted != "table":
        symbols = set(Symbols(one["symbol"] for one in held).matches(wanted))
        held = [one for one in held if one["symbol"] in symbols or _begins(one, wanted)]
        if not held:
            raise BadData(f"no open position is called {wanted[:40]!r}; /status shows all")
    head = _head(ask, seen)
    if not held:
        return Answer(f"{head}\nNo open positions.", refresh=True)
    if wanted == "table":
        rows = [(f"{ARROWS[one['side']]}{coin(one['symbol'])}", money(one["pnl"]), _r(one), one["id"][:6])
                for one in held]  # fmt: skip
        return Answer(f"{head}\n{texts.table(('pair', 'pnl', 'r', 'id'), rows)}", refresh=True)
    return Answer("\n\n".join([head, *(_block(one, now) for one in held)]), refresh=True)


def _head(ask: Ask, seen: dict[str, Any]) -> str:
    lines = [
        f"{bold(ask.desk.mode)} · {seen['switch']} · {seen['open']} open of {seen['max_open_trades']}",
        f"equity {money(seen['equity'], sign=False)} · today {money(seen['day_pnl'])} · open {money(seen['open_pnl'])}",
    ]
    if not seen["ready"]:
        lines += [f"⚠️ {texts.escape(reason)}" for reason in seen["reasons"]]
    lines += [f"💤 {texts.escape(note)}" for note in seen.get("notes", [])]
    return "\n".join(lines)


def _begins(one: dict[str, Any], name: str) -> bool:
    return bool(one["id"].startswith(name.upper()) or one["trade_id"].startswith(name.lower()))


def _block(one: dict[str, Any], now: datetime) -> str:
    head = f"{ARROWS[one['side']]} {bold(one['symbol'])} {one['side']} · {texts.escape(one['strategy'])}"
    if one["pending"]:
        lines = [f"entry  waiting at {price(one['entry'])}", f"size   {one['requested']}", f"id     {one['id'][:8]}"]
        return f"{head}\n{texts.fixed(lines)}"
    left = f"held {texts.since(one['opened_at'], now)}"
    score = f" score {one['score']:.0f}" if one["score"] is not None else ""
    lines = [
        f"pnl    {money(one['pnl'])}  {_r(one)}  {float(one['percent']):+.2f}%",
        f"entry  {price(one['entry']):<11} now {price(one['price'])}",
        f"stop   {price(one['stop']):<11} {percent(float(one['stop']) - float(one['price']), one['price'])} away",
        f"target {_ahead(one)}",
        f"size   {one['qty']} x{one['leverage']}" + (" (partly taken)" if one["partial_taken"] else ""),
        f"{left}{score} id {one['id'][:8]}",
    ]
    return f"{head}\n{texts.fixed(lines)}"


def _ahead(one: dict[str, Any]) -> str:
    if not float(one["target"]):
        return "none"
    return f"{price(one['target']):<11} {percent(float(one['target']) - float(one['price']), one['price'])} away"


def _r(one: dict[str, Any]) -> str:
    return f"{float(one['r']):+.2f}R"


async def profit(ask: Ask) -> Answer:
    """Tell what closed trades made, after all costs."""
    ask.only(1)
    days = ask.number(0, None, DAYS_MAX, "days")
    sums = await ask.desk.sums(days)
    found, made, fall, seen = sums.statistics(), sums.total(), sums.curve().slump, ask.desk.status()
    title = f"Profit, {f'last {days} days' if days else 'all time'}"
    if not found.total_trades:
        return Answer(f"{bold(ask.desk.mode)} · {bold(title)}\nNo trade has ended yet.", refresh=True)
    rows: list[tuple[str, object]] = [
        ("net profit", money(found.total_pnl)), ("open now", money(seen["open_pnl"])),
        ("trades", f"{found.total_trades} ({found.wins} won, {found.losses} lost)"),
        ("win rate", f"{found.win_rate:.1f}%"), ("expectancy", f"{made.mean_r:+.3f}R a trade"),
        ("profit factor", "∞" if found.profit_factor is None else f"{found.profit_factor:.2f}"),
        ("average win", money(found.avg_win)), ("average loss", money(found.avg_loss)),
        ("fees", money(found.total_fees, sign=False)), ("funding", money(found.total_funding)),
        ("worst fall", money(-fall.depth)), ("a day", money(found.daily_avg)), ("held", lasted(made.held_s)),
    ]  # fmt: skip
    if found.best_trade and found.worst_trade:
        best, worst = found.best_trade, found.worst_trade
        rows += [("best", f"{coin(best.symbol)} {money(best.pnl_usd)}"),
                 ("worst", f"{coin(worst.symbol)} {money(worst.pnl_usd)}")]  # fmt: skip
    if sums.first and sums.last:
        rows += [("first", moment(sums.first)), ("last", moment(sums.last))]
    return Answer(f"{bold(ask.desk.mode)} · {bold(title)}\n{texts.pairs(rows)}", refresh=True)


async def daily(ask: Ask) -> Answer:
    """Tell what the last days made."""
    return await _periods(ask, Period.DAY, 7)


async def weekly(ask: Ask) -> Answer:
    """Tell what the last weeks made."""
    return await _periods(ask, Period.WEEK, 8)


async def monthly(ask: Ask) -> Answer:
    """Tell what the last months made."""
    return await _periods(ask, Period.MONTH, 6)


async def _periods(ask: Ask, period: Period, usual: int) -> Answer:
    ask.only(1)
    count = ask.number(0, usual, ROWS_MAX, f"how many {period}s") or usual
    found = await ask.desk.results(period, count)
    names = {Period.DAY: slice(5, None), Period.WEEK: slice(0, None), Period.MONTH: slice(0, 7)}
    rows = [(one.name[names[period]], money(one.pnl), one.trades, f"{one.win_rate:.0f}%" if one.trades else "-")
            for one in found]  # fmt: skip
    total = sum((one.pnl for one in found), ZERO)
    head = f"{bold(ask.desk.mode)} · {bold(f'Last {count} {period}s')} (UTC)"
    return Answer(f"{head}\n{texts.table((period, 'profit', 'n', 'won'), rows)}\nTogether {money(total)}", refresh=True)


async def stats(ask: Ask) -> Answer:
    """Tell the figures of closed trades, and how they ended."""
    ask.only(1)
    days = ask.number(0, None, DAYS_MAX, "days")
    text = texts.from_markdown(describe(await ask.desk.statistics(days), days))
    ends = await ask.desk.groups(Group.EXIT, days)
    if ends:
        text += f"\n\n{bold('By exit')}\n{_groups('exit', ends)}"
        text += f"\n{bold('How long held')}\n{texts.pairs((one.name, lasted(one.held_s)) for one in ends)}"
    return Answer(f"{bold(ask.desk.mode)}\n{text}", refresh=True)


async def performance(ask: Ask) -> Answer:
    """Tell what each symbol made."""
    return await _grouped(ask, Group.SYMBOL, "Performance by symbol")


async def entries(ask: Ask) -> Answer:
    """Tell what each strategy's entries made."""
    return await _grouped(ask, Group.STRATEGY, "By entry (strategy)")


async def exits(ask: Ask) -> Answer:
    """Tell what each kind of exit made."""
    return await _grouped(ask, Group.EXIT, "By exit")


async def _grouped(ask: Ask, group: Group, title: str) -> Answer:
    ask.only(1)
    found = await ask.desk.groups(group, ask.number(0, None, DAYS_MAX, "days"))
    head = f"{bold(ask.desk.mode)} · {bold(title)}"
    return Answer(f"{head}\n{_groups(group, found) if found else 'No trade has ended yet.'}", refresh=True)


def _groups(name: str, found: Sequence[Result]) -> str:
    rows = [(coin(one.name), money(one.pnl), one.trades, f"{one.win_rate:.0f}%", f"{one.mean_r:+.2f}") for one in found]
    return texts.table((name, "profit", "n", "won", "R"), rows)


async def trades(ask: Ask) -> Answer:
    """Tell the newest closed trades, the newest first."""
    ask.only(1)
    count = ask.number(0, 10, ROWS_MAX, "how many trades") or 10
    held = (await ask.desk.newest(count))[::-1]
    if not held:
        return Answer(f"{bold(ask.desk.mode)} · No trade has ended yet.", refresh=True)
    rows = [(f"{ARROWS[one.side]}{coin(one.symbol)}", money(one.pnl_usd), f"{one.r_multiple:+.1f}", one.trade_id[:6])
            for one in held]  # fmt: skip
    buttons = [Button(f"{coin(one.symbol)} {money(one.pnl_usd)}", f"/order {one.trade_id}") for one in held[:6]]
    head = f"{bold(ask.desk.mode)} · {bold(f'Last {len(held)} trades')}"
    return Answer(f"{head}\n{texts.table(('pair', 'profit', 'R', 'id'), rows)}", rows_of(buttons), refresh=True)


async def order(ask: Ask) -> Answer:
    """Tell of a position or trade: every execution, with price and fee."""
    ask.only(1)
    if not ask.arguments:
        held = [(one["symbol"], one["id"]) for one in ask.desk.status()["positions"]]
        held += [(one.symbol, one.trade_id) for one in (await ask.desk.newest(8))[::-1]]
        if not held:
            return Answer("Nothing has been ordered yet.")
        buttons = [Button(f"{coin(symbol)} {name[:8]}", f"/order {name}") for symbol, name in held[:SHOWN_BUTTONS]]
        return Answer("Which one?", rows_of(buttons))
    found = await ask.desk.order(ask.arguments[0])
    if "trade" in found:
        one = found["trade"]
        head = f"{ARROWS[one.side]} {bold(one.symbol)} {one.side} · {texts.escape(one.strategy_name)}"
        rows: list[tuple[str, object]] = [
            ("result", f"{money(one.pnl_usd)}  {one.r_multiple:+.2f}R"), ("why", one.exit_reason),
            *([("by hand", one.touched.replace("_", " ").replace(",", ", "))] if one.touched else []),
            ("entry", f"{price(one.entry_price)} {moment(one.entry_time)}"),
            ("exit", f"{price(one.exit_price)} {moment(one.exit_time)}"), ("size", one.quantity),
            ("gross", money(one.gross_pnl)), ("fees", money(-one.fees)), ("funding", money(-one.funding)),
            ("best", f"{one.max_favourable_r:+.2f}R"), ("worst", f"{one.max_adverse_r:+.2f}R"),
            ("score", "-" if one.score is None else f"{one.score:.0f}"),
        ]  # fmt: skip
        text = f"{head}\n{texts.pairs(rows)}"
    else:
        text = _block(found["position"], ask.desk.market_time)
    fills = [(str(cause)[:11], f"{at:%H:%M:%S}", price(paid), qty) for at, cause, qty, paid, _ in found["fills"]]
    told = texts.table(("fill", "at", "price", "size"), fills, left=2) if fills else "No execution yet."
    return Answer(f"{text}\n{told}\n<code>{texts.escape(found['id'])}</code>", refresh="position" in found)


async def balance(ask: Ask) -> Answer:
    """Tell the account's money."""
    ask.only(0)
    held = await ask.desk.balance()
    rows: list[tuple[str, object]] = [
        (name.replace("_", " "), money(held[name], sign=name.endswith("pnl")))
        for name in ("equity", "wallet", "available", "open_pnl", "day_pnl")
    ]
    text = f"{bold(ask.desk.mode)} · {bold('Balance')} (USDT)\n{texts.pairs(rows)}"
    opened = [one for one in held["positions"] if not one["pending"]]
    if opened:
        worth = [Decimal(one["qty"]) * Decimal(one["price"]) for one in opened]
        lines = [(f"{ARROWS[one['side']]}{coin(one['symbol'])}", money(value, sign=False), money(one["pnl"]))
                 for one, value in zip(opened, worth, strict=True)]  # fmt: skip
        text += f"\n{texts.table(('pair', 'value', 'pnl'), lines)}"
    return Answer(text, refresh=True)


async def count(ask: Ask) -> Answer:
    """Tell how many positions are open, and how many may be."""
    ask.only(0)
    seen = ask.desk.status()
    rows: list[tuple[str, object]] = [
        ("open", seen["open"]), ("waiting", seen["pending"]), ("at most", seen["max_open_trades"]),
        ("signals", seen["signals"]), ("taken", seen["taken"]), ("closed", seen["closed"]),
    ]  # fmt: skip
    refused = [(gate, n) for gate, n in sorted(seen["refused"].items(), key=lambda one: -one[1])]
    text = f"{bold(ask.desk.mode)} · {bold('Count')} (since the start)\n{texts.pairs(rows)}"
    return Answer(f"{text}\n{texts.table(('refused by', 'n'), refused)}" if refused else text, refresh=True)


async def chart(ask: Ask) -> Answer:
    """Draw a series with entries, exits, stops, targets and phantoms."""
    ask.only(2)
    frames = ask.desk.timeframes()
    usual = frames[-1] if frames else MAIN_TIMEFRAME
    if not ask.arguments:
        first = [one["symbol"] for one in ask.desk.status()["positions"]]
        names = list(dict.fromkeys([*first, *ask.desk.symbols()]))[:SHOWN_BUTTONS]
        return Answer("Which chart?", rows_of([Button(coin(name), f"/chart {name}") for name in names], 3))
    symbol = ask.desk.symbol(ask.arguments[0])
    timeframe = ask.arguments[1] if len(ask.arguments) > 1 else usual
    picture = await ask.desk.chart(symbol, timeframe)
    others = [Button(name, f"/chart {symbol} {name}") for name in frames if name != timeframe]
    words = f"{bold(ask.desk.mode)} · {bold(symbol)} {texts.escape(timeframe)} to {moment(ask.desk.market_time)} UTC"
    return Answer(words, [[*others, Button("🔄", f"/chart {symbol} {timeframe}")]], picture)


async def equity(ask: Ask) -> Answer:
    """Draw the running profit."""
    ask.only(1)
    days = ask.number(0, None, DAYS_MAX, "days")
    picture = await ask.desk.equity(days)
    buttons = [Button(f"{span} days", f"/equity {span}") for span in (7, 30)]
    return Answer(f"{bold(ask.desk.mode)} · {bold('Net profit')}", [[*buttons, Button("all", "/equity")]], picture)
