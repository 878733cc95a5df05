"""Paper, live and replay: the same bot on other feeds and brokers."""

from __future__ import annotations

import csv
import json
import time
from typing import TYPE_CHECKING

import pytest

from domain.candle import resample
from sandbox.tape import GeneratedTape
from tests.bot import control, exchange_alone, until
from tests.practice import START

if TYPE_CHECKING:
    from collections.abc import Iterator

UID = "1000001"


@pytest.fixture
def exchange(tmp_path) -> Iterator[dict[str, str]]:
    """A practice exchange run alone, and the settings that make the bot take it for Bybit."""
    with exchange_alone(tmp_path) as settings:
        yield settings


def trades(bot) -> list[dict]:
    return json.loads(bot.manage("trades", "list", "--json", "-n", "1000").stdout)


def test_paper_trades_on_the_feed_and_sends_no_order(make_bot, exchange, tmp_path):
    """No key is needed, the account on the exchange stays untouched, and a restart forgets nothing."""
    bot = make_bot(**exchange)
    bot.start()
    bot.wait_ready()
    bot.wait_for("a closed paper trade", lambda s: s["closed"] >= 1)
    bot.wait_for("an open paper position", lambda s: s["open"] >= 1)
    bot.kill9()
    before = {row["trade_id"] for row in trades(bot)}
    bot.start()
    status = bot.wait_ready()
    assert status["mode"] == "PAPER"
    bot.wait_for("more trades", lambda s: s["closed"] >= 2)
    assert bot.stop() == 0

    held = trades(bot)
    assert before <= {row["trade_id"] for row in held}
    assert len({row["trade_id"] for row in held}) == len(held) >= 2
    assert {row["mode"] for row in held} == {"paper"}
    assert json.loads((tmp_path / "exchange" / "endpoint.json").read_text())
    assert sum(row["fees"] > "0" for row in held) == len(held)


PATIENT = {
    "REVENANT__STRATEGIES__TREND_PULLBACK__ENABLED": "false", "REVENANT__STRATEGIES__MEAN_REVERSION__ENABLED": "false",
    "REVENANT__STRATEGIES__SCALP__EXITS__TIMEOUT_BARS": "30",
    "REVENANT__STRATEGIES__SCALP__PARAMETERS": json.dumps({
        "wick_min": 0.05, "body_min": 0.05, "volume_min": 0.3, "band_rank_min": 0.1, "distance_atr_max": 4,
        "stop_min": 0.2, "reward_r": 1.0,
    }),
}  # fmt: skip
"""Stops and targets far away: positions end because their time is up, which only a bot does that sees their bars."""


@pytest.mark.parametrize("paper", [True, False], ids=["paper", "practice"])
def test_a_position_is_followed_to_its_end_though_its_symbol_is_no_longer_chosen(make_bot, exchange, paper):
    """Found by restarting with other symbols, as a ranking by turnover does: nobody looked after the position any more."""
    bot = make_bot(**(exchange if paper else {}), **PATIENT, REVENANT__LOG_LEVEL="debug")
    bot.start()
    bot.wait_ready()
    status = bot.wait_for("an open position", lambda s: any(not one["pending"] for one in s["positions"]))
    bot.kill9()
    (held, *_) = [one for one in status["positions"] if not one["pending"]]
    other = "BTC/USDT:USDT" if held["symbol"] != "BTC/USDT:USDT" else "ETH/USDT:USDT"
    bot.environment["REVENANT__TRADING__SYMBOLS"] = json.dumps([other])
    bot.start()
    bot.wait_ready()
    bot.wait_for("its end", lambda s: held["trade_id"] not in {one["trade_id"] for one in s["positions"]})
    bot.wait_for("its record", lambda s: s["tiers"]["database"]["waiting"] == 0)

    def entered() -> set[str]:
        told = bot.lines()
        start = max(place for place, line in enumerate(told) if line["event"] == "recovered")
        return {line["symbol"] for line in told[start:] if line["event"] == "order accepted" and "-e" in line["order"]}

    until(entered, "an entry where one is wanted")
    assert entered() == {other}
    assert bot.stop() == 0
    (trade,) = [row for row in trades(bot) if row["trade_id"] == held["trade_id"]]
    assert trade["exit_reason"] == "timeout"
    assert held["symbol"] in {line["symbol"] for line in bot.lines() if line["event"].startswith("followed until")}


def test_a_position_outlives_the_strategy_and_the_timeframe_that_it_was_opened_on(make_bot):
    """Found by changing both between two starts: the bot asked for bars that nobody kept, and never came up again."""
    other = json.loads(PATIENT["REVENANT__STRATEGIES__SCALP__PARAMETERS"]) | {"timeframe": "5m"}
    bot = make_bot(**PATIENT | {"REVENANT__STRATEGIES__SCALP__PARAMETERS": json.dumps(other)})
    bot.start()
    bot.wait_ready()
    status = bot.wait_for("an open position", lambda s: any(not one["pending"] for one in s["positions"]))
    bot.kill9()
    (held, *_) = [one for one in status["positions"] if not one["pending"]]
    assert held["timeframe"] == "5m"
    bot.environment["REVENANT__STRATEGIES__SCALP__ENABLED"] = "false"
    bot.environment["REVENANT__STRATEGIES__MEAN_REVERSION__ENABLED"] = "true"
    bot.start()
    bot.wait_ready()
    bot.wait_for("its end", lambda s: held["trade_id"] not in {one["trade_id"] for one in s["positions"]})
    assert bot.stop() == 0
    (trade,) = [row for row in trades(bot) if row["trade_id"] == held["trade_id"]]
    assert trade["exit_reason"] == "timeout"


@pytest.mark.parametrize("down", [True, False], ids=["while the bot is down", "under the running bot"])
def test_a_position_in_a_contract_that_the_exchange_delists_is_recorded_as_it_was_settled(make_bot, down):
    """Found by asking for a symbol without rules: its executions were passed over, and no start came to its end."""
    bot = make_bot(**PATIENT)
    bot.start()
    bot.wait_ready()
    status = bot.wait_for("an open position", lambda s: any(not one["pending"] for one in s["positions"]))
    (held, *_) = [one for one in status["positions"] if not one["pending"]]
    if down:
        bot.kill9()
    bot.tell_exchange(delist=[held["symbol"].partition(":")[0].replace("/", "")])
    if down:
        bot.start()
        bot.wait_ready()
    bot.wait_for("its end", lambda s: held["trade_id"] not in {one["trade_id"] for one in s["positions"]})
    bot.wait_for("others to be traded", lambda s: s["closed"] >= 2)
    assert bot.status()["ghosts"] == []
    checked = bot.manage("trades", "verify")
    assert checked.returncode == 0, checked.stdout
    assert bot.stop() == 0
    (trade,) = [row for row in trades(bot) if row["trade_id"] == held["trade_id"]]
    assert trade["exit_reason"] == "settlement"
    bot.start()
    bot.wait_ready()
    assert bot.stop() == 0


def test_a_source_of_history_is_the_live_market_of_a_paper_bot_and_its_table_is_used(make_bot):
    """Started, killed and started again on polled bars; a symbol that the source does not have is an error."""
    from tests.venues import served, walk

    now = int(time.time() * 1000)
    with served() as venues:
        for name in ("BTC/USDT:USDT", "ETH/USDT:USDT"):
            for timeframe, step in (("3m", 180_000), ("15m", 900_000)):
                start = (now // step - 1_300) * step
                venues.put("binance", name, timeframe, walk(1_400, start, step, seed=len(name)), listed=start)
        bot = make_bot(
            DATA_SOURCE="binance", REVENANT__HISTORY__ADDRESSES=json.dumps({"binance": venues.address}),
            REVENANT__TRADING__SYMBOLS='["BTC/USDT:USDT", "ETH/USDT:USDT", "XYZ/USDT:USDT"]',
        )  # fmt: skip
        bot.start()
        assert bot.process.wait(timeout=180) == 2
        assert "trading.symbols: 'XYZ/USDT:USDT' matches no symbol of the exchange" in bot.log()
        bot.environment["REVENANT__TRADING__SYMBOLS"] = '["BTC", "ETHUSDT"]'
        bot.start()
        status = bot.wait_ready()
        assert (status["mode"], status["source"]) == ("PAPER", "binance")
        until(lambda: len(stored(bot)) == 4, "the candles to be stored")
        asked = len(venues.asked)
        bot.kill9()
        bot.start()
        bot.wait_ready()
        # what is stored is not fetched again: one look at the newest bar each, and the first poll
        assert len(venues.asked) - asked <= 4 * 3
        assert bot.stop() == 0
    assert {row["source"] for row in stored(bot)} == {"binance"}
    assert all(row["rows"] >= 1_000 for row in stored(bot))


def test_stocks_are_followed_over_nights_and_weekends(make_bot):
    """Their windows reach back over closed days, start after start, and nobody is silent while the market rests."""
    from domain.candle import Bars, Series
    from domain.coverage import Span, without
    from history.calendar import closed
    from tests.venues import served, walk

    now = int(time.time() * 1000)
    begin = (now // 86_400_000 - 60) * 86_400_000

    def sessions(timeframe: str, step: int) -> Bars:
        whole = Span(begin, (now + 2 * 3_600_000) // step * step)
        lit = without([whole], closed(Series("AAPL", timeframe), whole))
        times = {time for span in lit for time in range(*span, step)}
        return Bars.of([bar for bar in walk((whole.end - begin) // step, begin, step).rows() if bar.open_time in times])

    with served() as venues:
        for timeframe, step in (("3m", 180_000), ("15m", 900_000)):
            venues.put("alpaca", "AAPL", timeframe, sessions(timeframe, step), listed=begin)
        bot = make_bot(
            DATA_SOURCE="alpaca", REVENANT__HISTORY__ADDRESSES=json.dumps({"alpaca": venues.address}),
            REVENANT__HISTORY__ALPACA_KEY="k", REVENANT__HISTORY__ALPACA_SECRET="s",
            REVENANT__TRADING__SYMBOLS='["AAPL"]',
        )  # fmt: skip
        for _ in range(2):
            bot.start()
            bot.wait_ready()
            assert bot.stop() == 0
        warmed = [line for line in bot.lines() if line["event"] == "recovered"]
    first, second = warmed
    assert first["candles_stored"] == 0
    assert second["candles_stored"] >= first["candles_fetched"] >= 2_000
    # whatever closed in the meantime
    assert second["candles_fetched"] <= 4


def stored(bot) -> list[dict]:
    return json.loads(bot.manage("data", "status", "--json").stdout)["series"]


def test_live_starts_only_when_armed(make_bot, exchange):
    """Without the account's uid in LIVE_CONFIRM nothing starts; with it, it trades and says LIVE."""
    live = {
        **exchange, "REVENANT__TRADING__MODE": "live", "REVENANT__ML__UNTRAINED": "rule", "BYBIT_API_KEY": "practice-key", "BYBIT_API_SECRET": "practice-secret",
    }  # fmt: skip
    unarmed = make_bot("unarmed", **live, LIVE_CONFIRM="42")
    unarmed.start()
    assert unarmed.process.wait(timeout=180) == 2
    assert "LIVE_CONFIRM is not the account's uid" in unarmed.log()

    armed = make_bot("armed", **live, LIVE_CONFIRM=UID)
    doctor = armed.manage("doctor", "--live", "--json")
    steps = {step["name"]: step for step in json.loads(doctor.stdout)}
    assert steps["live"] == {"name": "live", "state": "ok", "detail": f"armed for account {UID}"}
    assert {name for name, step in steps.items() if name.startswith("live") and step["state"] == "warn"} == {
        "live strategies", "live watched", "live in hand",
    }  # fmt: skip
    assert steps["live no withdrawals"]["state"] == steps["live key lasts"]["state"] == "ok"
    armed.start()
    assert armed.wait_ready()["mode"] == "LIVE"
    armed.wait_for("a closed trade", lambda s: s["closed"] >= 1)
    assert armed.stop() == 0
    assert {row["account"] for row in trades(armed)} == {UID}
    assert "practice-secret" not in armed.log()


def test_a_start_that_the_exchange_interrupts_goes_on_where_it_was(make_bot, exchange, tmp_path):
    """The exchange fails in the middle of the recovery, several times over: nothing is lived twice."""
    live = {
        **exchange, "REVENANT__TRADING__MODE": "live", "REVENANT__ML__UNTRAINED": "rule", "BYBIT_API_KEY": "practice-key", "BYBIT_API_SECRET": "practice-secret",
        "LIVE_CONFIRM": UID,
    }  # fmt: skip
    bot = make_bot(**live)
    bot.start()
    bot.wait_ready()
    bot.wait_for("an open position and a closed trade", lambda s: s["closed"] >= 1 and s["open"] >= 1)
    bot.kill9()
    before = {row["trade_id"] for row in trades(bot)}
    note = json.loads((tmp_path / "exchange" / "endpoint.json").read_text())
    for path in ("/v5/account/wallet-balance", "/v5/position/list"):
        control(note, "faults", answer={"path": path, "status": 502, "times": 9})
    bot.start()
    bot.wait_ready()
    assert bot.log().count("start waits for the exchange") >= 3
    # new entries may be under way already; nothing of the time before may be left
    bot.wait_for("every order to be settled", lambda s: s["pending"] == 0)
    bot.wait_for("more trades", lambda s: s["closed"] >= 1)
    assert bot.stop() == 0
    held = [row["trade_id"] for row in trades(bot)]
    assert len(held) == len(set(held))
    assert before <= set(held)
    with bot.database() as db:
        rows = db.execute(
            "SELECT series_id, count(*), (max(open_time) - min(open_time)) FROM ohlcv_bybit GROUP BY 1"
        ).fetchall()
    assert {span // (count - 1) for _, count, span in rows} == {180_000, 900_000}


def candle_files(folder) -> list[str]:
    tape = GeneratedTape(11, 3, START)
    paths = []
    for symbol in tape.instruments:
        path = folder / f"{symbol.split('/')[0]}_USDT_USDT-3m.csv"
        bars = resample(tape.bars(symbol, START, START + 20 * 86_400_000), 180_000, 60_000)
        with path.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["timestamp", "open", "high", "low", "close", "volume", "turnover"])
            writer.writerows(bars.rows())
        paths.append(str(path))
    return paths


def test_two_runs_over_the_same_files_trade_the_same(make_bot, tmp_path):
    """In step mode the market waits for the bot, so that runs can be compared trade by trade."""
    files = json.dumps(candle_files(tmp_path))
    runs = []
    for name in ("one", "two"):
        bot = make_bot(name, DATA_SOURCE="test", REVENANT__SANDBOX__REPLAY=files, REVENANT__SANDBOX__STEP="true")
        bot.start()
        bot.wait_ready()
        bot.wait_for("thirty trades", lambda s: s["closed"] >= 30, 100)
        assert bot.stop() == 0
        runs.append(trades(bot))
        bot.close()
    common = min(map(len, runs))
    assert common >= 30
    same = [{key: row[key] for key in row if key != "legs"} for row in runs[0][:common]]
    assert same == [{key: row[key] for key in row if key != "legs"} for row in runs[1][:common]]


def test_the_switch_stops_entries_and_survives_a_kill(make_bot):
    """manage.py switch needs the token of the running bot; what it set holds after kill -9."""
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    assert bot.manage("pause", "--reason", "lunch").returncode == 0
    until(lambda: bot.status()["switch"] == "paused", "the switch")
    code, body = bot.get("/readyz")
    assert (code, body["reasons"]) == (503, ["trading is paused"])
    bot.kill9()
    bot.start()
    status = bot.wait_for("recovery", lambda s: s["bars"] > 100)
    assert status["switch"] == "paused"
    bot.wait_for("signals refused by the switch", lambda s: s["refused"].get("switch", 0) >= 1)
    taken = bot.status()["taken"]
    assert taken == 0
    assert bot.manage("start").returncode == 0
    bot.wait_for("trading again", lambda s: s["taken"] >= 1)
    assert bot.stop() == 0


def test_started_without_its_database_the_bot_trades_and_says_so(make_bot):
    """An unreachable database is no reason not to start; candles wait in the spill, trades in the journal."""
    bot = make_bot(DATABASE_URL="postgresql://nobody:hush-hush@127.0.0.1:9/none")
    bot.start()
    bot.wait_ready()
    bot.wait_for("a closed trade", lambda s: s["closed"] >= 1)
    assert bot.stop() == 0
    assert "database unreachable" in bot.log()
    assert "hush-hush" not in bot.log()
    report = bot.manage("db-stats", "--json")
    assert report.returncode == 3
    assert json.loads(report.stdout)["waiting"] > 0
    assert json.loads(report.stdout)["unsettled"] >= 1


def test_live_without_a_model_follows_its_signals_and_sends_no_order(make_bot, exchange):
    bot = make_bot(
        **exchange, REVENANT__TRADING__MODE="live", BYBIT_API_KEY="practice-key", BYBIT_API_SECRET="practice-secret",
        LIVE_CONFIRM=UID,
    )  # fmt: skip
    bot.start()
    bot.wait_ready()
    status = bot.wait_for("signals that are only followed", lambda s: s["refused"].get("untrained", 0) >= 2)
    assert (status["taken"], status["opened"]) == (0, 0)
    assert status["phantoms"]["total"] >= 2
    assert bot.stop() == 0
