"""The operator's hands: stop, start, force exit, panic, reconcile, verify, export, with and without a running bot."""

from __future__ import annotations

import asyncio
import csv
import json
from decimal import Decimal

import pytest

from broker.bybit import BybitBroker
from broker.bybit.rest import BybitClient, Endpoint
from domain.order import OrderKind, OrderRequest, OrderSide
from sandbox.exchange import Terms
from tests.bot import until


def answer(bot, *arguments: str) -> tuple[int, dict]:
    done = bot.manage(*arguments, "--json")
    print(arguments, done.returncode, done.stderr)  # shown when the test fails
    return done.returncode, json.loads(done.stdout or "{}")


async def on_exchange(bot, work):
    """Act on the bot's own practice exchange, as somebody else with the same account would."""
    note = bot.exchange_note()
    terms = Terms()
    client = BybitClient(
        Endpoint(
            f"http://{note['host']}:{note['port']}",
            f"ws://{note['host']}:{note['port']}",
            terms.key,
            terms.secret,
            loopback=True,
        )
    )
    try:
        broker = BybitBroker(client)
        rules = await broker.instruments()
        return await work(broker, rules)
    finally:
        await client.close()


def strange_position(bot) -> str:
    """Open a position that is not the bot's, without a stop; return its symbol."""

    async def open_it(broker, rules):
        taken = {held.symbol for held in await broker.positions()}
        symbol = max(set(rules) - taken)
        price = next(
            iter(
                (
                    await broker._client.get(
                        "v5/market/tickers", {"category": "linear", "symbol": rules[symbol].venue_id}
                    )
                )["list"]
            )
        )
        qty = rules[symbol].floor_qty(Decimal(200) / Decimal(price["lastPrice"]))
        await broker.place(OrderRequest("somebody-else-1", symbol, OrderSide.BUY, OrderKind.MARKET, qty))
        # it fills in slices, some of them later: until then book and exchange may differ rightly
        async with asyncio.timeout(60):
            while {held.symbol: held.qty for held in await broker.positions()}.get(symbol) != qty:
                await asyncio.sleep(0.05)
        return symbol

    return asyncio.run(on_exchange(bot, open_it))


def reported(bot) -> dict:
    async def ask(broker, _):
        return {held.symbol: held for held in await broker.positions()}

    return asyncio.run(on_exchange(bot, ask))


def place(bot, process: str) -> dict[str, str]:
    """Return what every command that acts on money says of where it acts."""
    who = {"mode": "synthetic", "source": "synthetic", "account": Terms().uid}
    return {**who, "folder": str(bot.data.resolve()), "process": process}


def test_stop_and_start_work_with_and_without_a_bot(make_bot):
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    bot.kill9()
    code, body = answer(bot, "stop", "--reason", "while none runs")
    there = place(bot, "none runs")
    assert (code, body) == (0, {**there, "switch": "stopped", "running": False, "note": "kept for the next start"})
    bot.start()
    status = bot.wait_for("recovery", lambda s: s["switch"] == "stopped" and s["bars"] > 0)
    assert not status["ready"]
    there = place(bot, str(bot.process.pid))
    assert answer(bot, "start") == (0, {**there, "switch": "running"})
    bot.wait_ready()
    assert answer(bot, "pause") == (0, {**there, "switch": "paused"})
    bot.kill9()
    bot.start()
    bot.wait_for("the switch to be remembered", lambda s: s["switch"] == "paused")
    assert bot.stop() == 0


MONEY = (("stop",), ("pause",), ("start",), ("panic",), ("panic", "--foreign"), ("forceexit", "all"), ("forceexit", "BTC"),
         ("trades", "reconcile"))  # fmt: skip


@pytest.mark.parametrize("command", MONEY, ids=" ".join)
def test_where_no_bot_has_ever_lived_nothing_is_done_and_nothing_made(make_bot, command):
    """Found by calling panic in the wrong folder: it made one, said "open 0, stopped", and the real bot traded on."""
    bot = make_bot()
    for arguments in (command, (*command, "--json")):
        done = bot.manage(*arguments)
        assert done.returncode == 1
        if "--json" in arguments:
            body = json.loads(done.stdout)
            assert body.keys() == {"error"}
            said = body["error"]
        else:
            assert done.stdout == ""
            said = " ".join(done.stderr.split())
        assert f"no bot has ever lived in {bot.data.resolve()} as SYNTHETIC on synthetic: nothing was done" in said
    assert not bot.data.exists()


def test_a_folder_that_only_reports_have_been_asked_of_is_no_bots(make_bot):
    bot = make_bot()
    bot.manage("stats")
    bot.manage("trades", "list")
    before = sorted(bot.data.rglob("*"))
    done = bot.manage("panic")
    assert (done.returncode, "no bot has ever lived" in done.stderr) == (1, True), done.stderr
    assert sorted(bot.data.rglob("*")) == before


def test_what_is_asked_of_another_mode_than_the_one_that_lived_there_is_refused(make_bot):
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    # a bot that runs is the one that is meant, whatever the settings of the command say
    paper = {"DATA_SOURCE": "bybit"}
    bot.environment |= paper
    assert answer(bot, "pause") == (0, {**place(bot, str(bot.process.pid)), "switch": "paused"})
    bot.kill9()
    before = sorted(bot.data.rglob("*"))
    done = bot.manage("panic")
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "as PAPER on bybit: nothing was done" in said
    assert f"There is synthetic-synthetic-{Terms().uid}." in said
    assert sorted(bot.data.rglob("*")) == before


def test_positions_are_closed_by_name_and_all_at_once(make_bot):
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    status = bot.wait_for("an open position", lambda s: s["open"] >= 1)
    symbol = next(held["symbol"] for held in status["positions"] if not held["pending"])
    code, body = answer(bot, "forceexit", "NOBODY")
    assert code == 1
    assert "no open position" in body["error"]
    code, body = answer(bot, "forceexit", symbol)
    if code == 0:
        assert body["closing"] == [symbol]
        assert [(one["symbol"], one["outcome"]) for one in body["outcomes"]] == [(symbol, "closed")]
    bot.wait_for(
        "that position to be gone", lambda s: symbol not in {held["symbol"] for held in s["positions"]} or s["closed"]
    )
    code, body = answer(bot, "panic", "--seconds", "240")
    assert (code, body["switch"], body["open"], body["pending"]) == (0, "stopped", 0, 0)
    assert reported(bot) == {}
    rows = json.loads(bot.manage("trades", "list", "--json", "-n", "1000").stdout)
    assert "force_exit" in {row["exit_reason"] for row in rows}
    code, verdict = answer(bot, "trades", "verify")
    assert (code, verdict["lost"], verdict["doubled"], verdict["missing"], verdict["differing"]) == (0, 0, 0, 0, 0), (
        verdict
    )
    assert verdict["checked"] >= 1
    assert bot.stop() == 0


def test_panic_closes_everything_though_the_bot_is_dead(make_bot):
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    bot.wait_for("an open position", lambda s: s["open"] >= 1)
    bot.kill9()
    code, body = answer(bot, "panic", "--seconds", "240")
    assert (code, body["switch"], body["open"]) == (0, "stopped", 0), body
    assert body.items() >= place(bot, "none runs").items()
    done = bot.manage("trades", "export", "out.csv")
    assert done.returncode == 0
    with (bot.folder / "out.csv").open() as held:
        rows = list(csv.DictReader(held))
    assert {"trade_id", "pnl_usd", "fees"} <= set(rows[0])
    code, verdict = answer(bot, "trades", "verify")
    assert (code, verdict["clean"], verdict["checked"]) == (0, True, len(rows)), verdict
    bot.start()
    bot.wait_for("the stop to be remembered", lambda s: s["switch"] == "stopped")
    assert bot.stop() == 0


def test_a_frozen_bot_is_named_instead_of_worked_around(make_bot):
    import signal

    bot = make_bot()
    bot.start()
    bot.wait_ready()
    bot.process.send_signal(signal.SIGSTOP)
    done = bot.manage("panic")
    assert done.returncode == 2
    assert f"kill -9 {bot.process.pid}" in done.stderr.replace("\n", " ")
    bot.kill9()


def test_reconcile_and_verify_without_a_bot(make_bot):
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    bot.wait_for("closed trades", lambda s: s["closed"] >= 2)
    bot.kill9()
    code, body = answer(bot, "trades", "reconcile")
    assert code == 0, body
    assert body["tiers"]["database"]["waiting"] == 0
    code, verdict = answer(bot, "trades", "verify")
    assert (code, verdict["clean"]) == (0, True), verdict
    assert verdict["exchange_checked"] >= 2
    database = bot.data / "revenant.sqlite"
    import sqlite3

    with sqlite3.connect(database) as held:
        held.execute("DELETE FROM trade_fills WHERE trade_id = (SELECT min(trade_id) FROM trades)")
        held.execute("DELETE FROM trades WHERE trade_id = (SELECT min(trade_id) FROM trades)")
        held.execute("UPDATE trades SET pnl_usd = '123' WHERE trade_id = (SELECT min(trade_id) FROM trades)")
    code, verdict = answer(bot, "trades", "verify")
    assert (code, verdict["lost"]) == (1, 1), verdict


@pytest.mark.parametrize(
    ("policy", "check"),
    [
        ("ignore", lambda held: held is not None and not held.stop),
        ("protect", lambda held: held is not None and held.stop > 0),
        ("flatten", lambda held: held is None),
    ],
)
def test_somebody_elses_position_is_treated_as_configured(make_bot, policy, check):
    bot = make_bot(REVENANT__TRADING__UNKNOWN_POSITIONS=policy)
    bot.start()
    bot.wait_ready()
    symbol = strange_position(bot)
    assert answer(bot, "trades", "reconcile")[0] == 0
    until(lambda: check(reported(bot).get(symbol)), f"the policy {policy}")
    if policy == "ignore":
        assert bot.status()["foreign_positions"] == [symbol]
        code, body = answer(bot, "panic", "--seconds", "240")
        assert (code, set(reported(bot))) == (0, {symbol}), body
        code, body = answer(bot, "panic", "--foreign", "--seconds", "240")
        assert (code, reported(bot)) == (0, {}), body
    assert bot.stop() == 0


def test_an_adopted_position_is_managed_and_recorded(make_bot):
    bot = make_bot(REVENANT__TRADING__UNKNOWN_POSITIONS="adopt")
    bot.start()
    bot.wait_ready()
    symbol = strange_position(bot)
    assert answer(bot, "trades", "reconcile")[0] == 0
    status = bot.wait_for("the adoption", lambda s: s["adopted"] == 1)
    held = next(one for one in status["positions"] if one["symbol"] == symbol)
    assert held["strategy"] == "adopted"
    assert reported(bot)[symbol].stop > 0
    bot.kill9()
    bot.start()
    bot.wait_ready()
    answer(bot, "forceexit", symbol)
    bot.wait_for("its end", lambda s: symbol not in {one["symbol"] for one in s["positions"]})
    rows = json.loads(bot.manage("trades", "list", "--json", "-n", "1000").stdout)
    assert [row["symbol"] for row in rows if row["strategy_name"] == "adopted"] == [symbol]
    assert bot.stop() == 0


def test_the_loss_of_the_whole_disk_is_made_good_from_the_exchange(make_bot):
    """The journal is gone, then the database too: open positions are taken over, closed ones recorded under their own
    ids, and a paused bot stays paused as long as the database remembers.
    """
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    bot.wait_for("closed and open positions", lambda s: s["closed"] >= 2 and s["open"] >= 1)
    assert answer(bot, "pause")[0] == 0
    bot.kill9()
    before = {row["trade_id"]: row for row in json.loads(bot.manage("trades", "list", "--json", "-n", "1000").stdout)}
    for path in (bot.data / "journal").rglob("*.jsonl"):
        path.unlink()
    bot.start()
    bot.wait_for("the pause to be remembered", lambda s: s["switch"] == "paused" and s["reconciled"])
    bot.kill9()
    for path in (*(bot.data / "journal").rglob("*.jsonl"), *bot.data.glob("revenant.sqlite*")):
        path.unlink()
    bot.start()
    status = bot.wait_ready()
    assert status["rebuilt"] >= len(before)
    bot.wait_for("everything to be settled", lambda s: s["tiers"]["database"]["waiting"] == 0)
    after = {row["trade_id"]: row for row in json.loads(bot.manage("trades", "list", "--json", "-n", "1000").stdout)}
    assert set(before) <= set(after)
    assert all(
        Decimal(after[key]["pnl_usd"]) == pytest.approx(Decimal(before[key]["pnl_usd"]), abs=Decimal("1e-8"))
        for key in before
    )
    # without its journal the bot trades on: an entry may fill between two questions
    until(
        lambda: reported(bot).keys() <= {held["symbol"] for held in bot.status()["positions"]},
        "nothing to be an orphan",
    )
    code, verdict = answer(bot, "trades", "verify")
    assert (code, verdict["clean"]) == (0, True), verdict
    assert bot.stop() == 0


def test_an_exit_that_the_exchange_accepts_and_cancels_is_answered_for_and_goes_on(make_bot):
    """In a thin market exits are accepted and end unfilled: the operator is told so, and each is sent again."""
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    status = bot.wait_for("an open position", lambda s: s["open"] >= 1)
    symbol = next(held["symbol"] for held in status["positions"] if not held["pending"])
    bot.tell_exchange(end_orders={"leg": "x", "times": 1_000})
    code, body = answer(bot, "panic", "--seconds", "1")
    if symbol in reported(bot):
        (outcome,) = [one for one in body["outcomes"] if one["symbol"] == symbol]
        assert (code, outcome["outcome"], outcome["reason"]) == (1, "closing", "EC_NoImmediateQtyToFill")
        # at once, then after half a second, a second, two: never a minute of silence
        assert outcome["attempts"] >= 3
    bot.tell_exchange(reset=True)
    bot.wait_for("everything to be closed", lambda s: not s["open"] and not s["pending"])
    assert reported(bot) == {}
    code, verdict = answer(bot, "trades", "verify")
    assert (code, verdict["lost"], verdict["doubled"], verdict["missing"], verdict["differing"]) == (0, 0, 0, 0, 0), (
        verdict
    )
