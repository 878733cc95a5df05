"""Answers about the bot itself: tiers, phantoms, models, candles, settings, log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain.training_run import spoken
from telegram_bot import texts
from telegram_bot.answer import Answer, Ask, Button, rows_of
from telegram_bot.texts import bold, coin, lasted, moment

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_LINES, LOG_MOST, LINE_MAX = 20, 500, 500
FEATURES = 6
SHORT = {"trend_pullback": "trend", "mean_reversion": "mean rev."}


async def health(ask: Ask) -> Answer:
    """Tell whether the bot can trade, and how its parts are."""
    ask.only(0)
    seen = ask.desk.status()
    able = "✅ able to trade" if seen["ready"] else "⛔ not trading"
    lines = [f"{bold(ask.desk.mode)} · {able}", *(f"⚠️ {texts.escape(reason)}" for reason in seen["reasons"])]
    lines += [f"💤 {texts.escape(note)}" for note in seen.get("notes", [])]
    feed, naked = seen["feed"], seen["naked_seconds"]
    rows: list[tuple[str, object]] = [
        ("market", moment(seen["market_time"])), ("bars", seen["bars"]), ("loop p99", f"{seen['loop_lag_p99_ms']} ms"),
        ("loop max", f"{seen['loop_lag_max_ms']} ms"), ("bar to order", f"{seen['bar_to_order_ms']['p99']} ms"),
        ("feed lost", f"{feed['failures']} times"), ("naked p99", f"{naked['p99']} s"),
        ("reconciled", seen["reconciled"]), ("foreign", len(seen["foreign_positions"])),
        ("unknown", seen["unknown_orders"]), ("candles", f"{seen['candles_waiting']} waiting"),
        ("private", _stream(seen["private_stream"])),
        ("started in", f"{seen['recovery_s']} s"), ("right", str(seen["lease"].get("state", "held"))),
    ]  # fmt: skip
    tiers = [_tier(name, state) for name, state in seen["tiers"].items()]
    tiers.append(_tier("journal", {**seen["ledger"], "waiting": seen["ledger"]["memory_only"], "oldest_s": 0}))
    text = "\n".join([*lines, texts.pairs(rows), texts.table(("tier", "state", "waits", "old"), tiers, left=2)])
    return Answer(text, refresh=True)


def _stream(status: Mapping[str, Any]) -> str:
    return "connected" if status["connected"] else f"down {lasted(float(status['seconds']))}"


def _tier(name: str, state: Mapping[str, Any]) -> tuple[str, str, object, str]:
    return name, str(state["state"]), state["waiting"], lasted(float(state["oldest_s"]))


async def db_stats(ask: Ask) -> Answer:
    """Tell of every tier what it holds and what waits for it, and how many candles there are."""
    ask.only(0)
    found = await ask.desk.db_stats()
    journal = found["bot_journal"]
    rows: list[tuple[str, object]] = [
        (f"{found['database_type']}", f"{found['database']}, {found['db_size_mb']} MB"),
        ("candles", f"{found['total_candles']:,} of {found['symbols']} symbols"),
        ("waiting", f"{found['waiting']} spilled, {found['bot_candles_waiting']} queued"),
        ("trades", f"{found['trades']}, {found['unsettled']} unsettled"), ("audit", f"{found['audit_rows']} rows"),
        ("journal", f"{journal['state']}, {found['journal_mb']} MB in {found['journal_segments']}"),
        ("", f"{journal['records']} records, {journal['missing']} lost"), ("redis", found["redis"]),
    ]  # fmt: skip
    tiers = [_tier(name[4:], state) for name, state in found.items() if name.startswith("bot_") and _is_tier(state)]
    tiers.append(_tier("journal", {**journal, "waiting": journal["memory_only"], "oldest_s": 0}))
    candles = [(one["source"], one["timeframe"], f"{one['bars']:,}", one["series"]) for one in found["candles"]]
    parts = [f"{bold(ask.desk.mode)} · {bold('Storage')}", texts.pairs(rows)]
    parts += [texts.table(("tier", "state", "waits", "old"), tiers, left=2)]
    parts += [texts.table(("source", "tf", "bars", "series"), candles, left=2)] if candles else []
    down = {name[4:]: state["reason"] for name, state in found.items() if _is_tier(state) and state["reason"]}
    parts += [f"⚠️ {texts.escape(name)}: {texts.escape(reason[:200])}" for name, reason in down.items()]
    return Answer("\n".join([*parts, f"disk: {texts.escape(found['disk'])}"]), refresh=True)


def _is_tier(state: object) -> bool:
    return isinstance(state, dict) and "oldest_s" in state


async def phantom_stats(ask: Ask) -> Answer:
    """Tell what became of every signal, taken or refused, and what each gate cost or saved."""
    ask.only(1)
    symbol = strategy = None
    if ask.arguments:
        strategy = _strategy(ask, ask.arguments[0])
        symbol = None if strategy else ask.desk.symbol(ask.arguments[0])
    found = ask.desk.phantom_stats(symbol, strategy)
    refused, judged = found["rejection_stats"], found["ml_accuracy"]
    accuracy = "-" if judged["accuracy_pct"] is None else f"{judged['accuracy_pct']}%"
    impact = refused["avoided_r"] - refused["missed_r"]
    rows: list[tuple[str, object]] = [
        ("followed", found["total"]), ("open", found["active"]), ("taken", found["executed"]),
        ("refused", found["rejected"]), ("would win", f"{refused['would_have_won']} of {refused['total_rejected']}"),
        ("would lose", refused["would_have_lost"]), ("timed out", refused["timed_out"]),
        ("missed", f"{refused['missed_r']:+.2f}R"), ("avoided", f"{refused['avoided_r']:+.2f}R"),
        ("refusing made", f"{impact:+.2f}R"), ("accuracy", accuracy),
        ("right no/yes", f"{judged['correct_rejections']} / {judged['correct_approvals']}"),
        ("wrong no/yes", f"{judged['wrong_rejections']} / {judged['wrong_approvals']}"),
    ]  # fmt: skip
    gates = sorted(found["gates"].items(), key=lambda one: one[1]["opportunity_cost_r"])
    told = [(name, one["rejected"], one["would_have_won"], f"{one['opportunity_cost_r']:+.1f}") for name, one in gates]
    title = f"Phantoms of {symbol or strategy}" if symbol or strategy else "Phantoms"
    text = f"{bold(ask.desk.mode)} · {bold(title)}\n{texts.pairs(rows)}"
    if told:
        text += f"\n{bold('What refusing cost (+) or saved (-)')}\n{texts.table(('gate', 'n', 'won', 'R'), told)}"
    if found["win_rates"]:
        text += f"\n{texts.pairs((SHORT.get(name, name), f'{rate}% won') for name, rate in found['win_rates'].items())}"
    return Answer(
        text, rows_of([Button(name, f"/phantom_stats {name}") for name in ask.desk.strategies()]), refresh=True
    )


def _strategy(ask: Ask, text: str) -> str | None:
    names = ask.desk.strategies()
    short = {"trend": "trend_pullback", "mr": "mean_reversion"}
    wanted = short.get(text.lower(), text.lower())
    return wanted if wanted in names else None


async def ml_stats(ask: Ask) -> Answer:
    """Tell of each strategy's model what it learned from, how good it is, and when it learns again."""
    ask.only(1)
    found, limits = ask.desk.ml_stats(), ask.desk.judging()
    if ask.arguments:
        name = _strategy(ask, ask.arguments[0])
        if name is None:
            return Answer(f"There is no strategy {texts.escape(repr(ask.arguments[0][:40]))}; there are "
                          f"{texts.escape(', '.join(found))}.")  # fmt: skip
        found = {name: found[name]}
    parts = [f"{bold(ask.desk.mode)} · {bold('Models')}"]
    parts += [_model(name, told, limits) for name, told in found.items()]
    buttons = [Button(f"train {SHORT.get(name, name)}", f"/ml_retrain {name}") for name in found]
    return Answer("\n\n".join(parts), rows_of(buttons), refresh=True)


def _model(name: str, told: Mapping[str, Any], limits: Mapping[str, Any]) -> str:
    model, last = told["model"], told["last_result"]
    state = "training now" if told["training"] else "model in use" if model else "no model: judged by the rule"
    asked = f"gain over {limits['margin_r']:+.2f}R" if model else f"{limits['rule_floor']:.0f} points of the rule"
    rows: list[tuple[str, object]] = [
        ("lessons", f"{told['completed']}"), ("", f"{told['executed']} taken, {told['phantom']} phantoms"),
        ("next", f"after {told['trades_until_next_retrain']} more"),
        ("threshold", asked if limits["enabled"] else "off"),
    ]  # fmt: skip
    if model:
        rows += [
            ("gain, loss", f"{model['gain_r']:+.2f}R, {model['loss_r']:+.2f}R"),
            ("calibrated", model["calibrator"]),
        ]
    lines = [f"{bold(name)} · {texts.escape(state)}"]
    if last is not None:
        rows += [
            ("trained", str(last["trained_at"])[5:16].replace("T", " ")),
            ("verdict", spoken(last["verdict"], model_in_use=model is not None)),
        ]
        if last["folds"]:
            fold = last["folds"][-1]
            rows += [("log loss", f"{fold['log_loss']:.4f} ({fold['base_log_loss']:.4f})"),
                     ("Brier", f"{fold['brier']:.4f} ({fold['base_brier']:.4f})"),
                     ("AUC", f"{fold['auc']:.3f} on {fold['tried_on']}")]  # fmt: skip
    lines.append(texts.pairs(rows))
    if last is not None:
        lines.append(f"<i>{texts.escape(last['reason'])}</i>")
        if last.get("calibration"):
            lines.append(_calibration(last["calibration"]))
        if last["importance"]:
            leading = list(last["importance"].items())[:FEATURES]
            lines.append(texts.table(("what matters", ""), [(feature, f"{value:+.4f}") for feature, value in leading]))
    return "\n".join(lines)


def _calibration(told: Mapping[str, Any]) -> str:
    rows = [(f"{100 * one['predicted']:.0f}%", f"{100 * one['came_true']:.0f}%", one["n"]) for one in told["groups"]]
    return texts.table(("predicted", "came true", "n"), rows, left=0) if rows else ""


async def coverage(ask: Ask) -> Answer:
    """Tell how complete the stored candles are, of all symbols or of one."""
    ask.only(1)
    found = await ask.desk.coverage(ask.arguments[0] if ask.arguments else None)
    head = f"{bold(ask.desk.mode)} · {bold('Candles')}"
    if not found:
        return Answer(f"{head}\nNothing is stored yet.", refresh=True)
    if not ask.arguments:
        rows = [(one["timeframe"], one["series"], f"{one['bars']:,}", one["missing"], f"{one['completeness']:.2f}%")
                for one in found]  # fmt: skip
        worst = [(coin(one["worst"]), one["timeframe"], f"{one['worst_completeness']:.2f}%") for one in found]
        text = "\n".join([
            head, texts.table(("tf", "series", "bars", "miss", "there"), rows),
            bold("The least complete"), texts.table(("pair", "tf", "there"), worst, left=2),
            f"from {moment(min(one['from'] for one in found))} to {moment(max(one['to'] for one in found))} UTC",
        ])  # fmt: skip
        return Answer(text, refresh=True)
    parts = [f"{head} of {bold(found[0]['symbol'])}"]
    for one in found:
        gaps = [f"  {moment(gap['from'])}: {gap['bars']} bars" for gap in one["gaps"]]
        parts.append(texts.fixed([
            f"{one['timeframe']:<4} {one['bars']:,} bars, {one['completeness']:.3f}%",
            f"  {moment(one['from'])} to {moment(one['to'])}", f"  missing {one['missing']}", *gaps,
        ]))  # fmt: skip
    return Answer("\n".join(parts), refresh=True)


async def show_config(ask: Ask) -> Answer:
    """Show the settings in force, secrets masked; one section when named."""
    ask.only(1)
    held = ask.desk.config()
    sections = [name for name, value in held.items() if isinstance(value, dict)]
    buttons = rows_of([Button(name, f"/show_config {name}") for name in sections], 3)
    if not ask.arguments:
        plain = [(name, _value(value)) for name, value in held.items() if not isinstance(value, dict)]
        return Answer(f"{bold('Settings')}\n{texts.wrapped(f'{name}: {value}' for name, value in plain)}", buttons)
    name = ask.arguments[0].lower()
    if name not in sections:
        return Answer(f"There is no section {texts.escape(repr(name[:40]))}.", buttons)
    return Answer(f"{bold(name)}\n{texts.wrapped(_flat(held[name]))}")


def _flat(tree: Mapping[str, Any], depth: int = 0) -> list[str]:
    lines = []
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            lines += [f"{' ' * depth}{name}:", *_flat(value, depth + 1)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f"{' ' * depth}{name}:")
            for one in value:
                first, *rest = _flat(one)
                lines += [f"{' ' * depth} - {first}", *(f"{' ' * depth}   {line}" for line in rest)]
        else:
            lines.append(f"{' ' * depth}{name}: {_value(value)}")
    return lines


def _value(value: object) -> str:
    return "-" if value in ("", None, [], {}) else str(value)


async def logs(ask: Ask) -> Answer:
    """Show the newest lines of the log."""
    ask.only(1)
    count = ask.number(0, LOG_LINES, LOG_MOST, "how many lines") or LOG_LINES
    lines = [texts.escape(line[:LINE_MAX]) for line in ask.desk.logs(count)]
    return Answer("\n".join([bold("Log"), *lines]) if lines else "Nothing is in the log yet.", refresh=True)


async def version(ask: Ask) -> Answer:
    """Tell which program this is."""
    ask.only(0)
    return Answer(f"{bold('Revenant')} · {ask.desk.mode}\n{texts.pairs(ask.desk.version().items())}")


async def whitelist(ask: Ask) -> Answer:
    """Tell which symbols are followed."""
    ask.only(0)
    names = ask.desk.symbols()
    lines = [" ".join(f"{coin(name):<11}" for name in names[i : i + 3]) for i in range(0, len(names), 3)]
    return Answer(f"{bold(f'{len(names)} symbols are followed')}\n{texts.fixed(lines)}")
