"""Every command that there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telegram_bot import actions, health, texts, trading
from telegram_bot.answer import Answer, Ask, Button, Command, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable

TRADES, MONEY, LEARNING, BOT, CONTROL = "Trades", "Results", "Signals and learning", "The bot", "Control"

COMMANDS = (
    Command("status", TRADES, "open positions", trading.status, "[id|table]"),
    Command("trades", TRADES, "the newest closed trades", trading.trades, "[n]"),
    Command("order", TRADES, "a trade with every execution", trading.order, "[id]"),
    Command("count", TRADES, "how many are open, and may be", trading.count),
    Command("chart", TRADES, "candles with entries, stops, targets, phantoms", trading.chart, "[symbol] [timeframe]"),
    Command("profit", MONEY, "what trades made, after costs", trading.profit, "[days]"),
    Command("balance", MONEY, "the account's money", trading.balance),
    Command("daily", MONEY, "by day", trading.daily, "[n]"),
    Command("weekly", MONEY, "by week", trading.weekly, "[n]"),
    Command("monthly", MONEY, "by month", trading.monthly, "[n]"),
    Command("stats", MONEY, "figures, and how trades ended", trading.stats, "[days]"),
    Command("performance", MONEY, "by symbol", trading.performance, "[days]"),
    Command("entries", MONEY, "by strategy", trading.entries, "[days]", aliases=("buys",)),
    Command("exits", MONEY, "by kind of exit", trading.exits, "[days]", aliases=("sells",)),
    Command("equity", MONEY, "the running profit as a picture", trading.equity, "[days]"),
    Command("phantom_stats", LEARNING, "what refusing cost or saved", health.phantom_stats, "[strategy|symbol]",
            aliases=("phantom",)),
    Command("ml_stats", LEARNING, "the models", health.ml_stats, "[strategy]", aliases=("ml",)),
    Command("ml_retrain", LEARNING, "train a model now", actions.retrain, "[strategy]"),
    Command("health", BOT, "able to trade? how are its parts?", health.health),
    Command("db_stats", BOT, "what rests where, what waits", health.db_stats),
    Command("coverage", BOT, "how complete the candles are", health.coverage, "[symbol]"),
    Command("whitelist", BOT, "symbols that are followed", health.whitelist),
    Command("show_config", BOT, "settings in force, secrets masked", health.show_config, "[section]",
            aliases=("show_conf",)),
    Command("logs", BOT, "the newest lines of the log", health.logs, "[n]"),
    Command("version", BOT, "which program this is", health.version),
    Command("stop", CONTROL, "no new entries", actions.stop, lowers=True),
    Command("pause", CONTROL, "no new entries for now", actions.pause, lowers=True, aliases=("stopentry", "stopbuy")),
    Command("start", CONTROL, "let entries in again", actions.start),
    Command("forceexit", CONTROL, "close at the market, all or a part", actions.force_exit, "[id|all] [50%]",
            lowers=True, aliases=("fx", "forcesell")),
    Command("coo", CONTROL, "withdraw an entry that has not filled", actions.cancel, "[id]", lowers=True,
            aliases=("cancel_open_order",)),
    Command("panic", CONTROL, "stop, and close everything", actions.panic, lowers=True,
            aliases=("panic_close", "panicclose", "close_all")),
    Command("risk", CONTROL, "how much a trade may lose", actions.risk, "[percent|default]", aliases=("set_risk",)),
    Command("locks", CONTROL, "which protections hold entries back", actions.locks),
    Command("unlock", CONTROL, "lift protections", actions.unlock, "[symbol|all]", aliases=("delete_locks",)),
    Command("blacklist", CONTROL, "symbols without new entries; add some", actions.blacklist, "[symbol ...]"),
    Command("blacklist_delete", CONTROL, "take symbols off it", actions.blacklist_delete, "[symbol ...]",
            aliases=("bl_delete",)),
    Command("reload_config", CONTROL, "read the configuration anew", actions.reload_config, aliases=("reload_conf",)),
)  # fmt: skip


async def show_help(_: Ask) -> Answer:
    """List all commands by groups."""
    groups: dict[str, list[str]] = {}
    for one in COMMANDS:
        usage = f" {texts.escape(one.usage)}" if one.usage else ""
        groups.setdefault(one.group, []).append(f"/{one.name}{usage} - {texts.escape(one.about)}")
    parts = [f"{texts.bold(name)}\n" + "\n".join(lines) for name, lines in groups.items()]
    first = ("status", "profit", "daily", "health", "phantom_stats", "ml_stats")
    buttons = rows_of([Button(name, f"/{name}") for name in first], 3)
    return Answer("\n\n".join(parts), buttons)


HELP = Command("help", BOT, "this list", show_help)


def by_name(commands: Iterable[Command] = (*COMMANDS, HELP)) -> dict[str, Command]:
    """Return the commands by every name they have."""
    return {name: one for one in commands for name in (one.name, *one.aliases)}
