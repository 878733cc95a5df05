"""What nobody tells the chat, it sees by itself: once when it begins, once when it is over."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal as D

import msgspec
import pytest

from domain.exits import ExitPlan
from domain.judgement import Judgement
from domain.notice import Notice
from domain.order import Cause, OrderKind, OrderRequest, OrderSide, OrderState, Side
from domain.records import (
    Adjusted,
    DayStarted,
    Fill,
    Intent,
    Opening,
    OrderEnded,
    Switch,
    SwitchState,
    Touch,
    Touched,
    Unread,
)
from domain.schedule import Judged
from domain.signal import Signal
from engine.commands import MoveStop, PlaceOrder, Refused
from engine.exit_retries import ExitFailing
from engine.leverage import Releveraged
from engine.published import Entered, PartlyTaken
from engine.refusals import StopRefused
from engine.reports import Reporter
from engine.stops import Placed, StopOutcome
from telegram_bot import texts, watch
from telegram_bot.memory import Memory
from telegram_bot.news import News
from telegram_bot.startup import greeting
from tests.desk import MODEL, FakeDesk, trade


class Looking:
    """A watch over a made-up bot, with a clock to turn."""

    def __init__(self, monkeypatch, content: bytes | None = None) -> None:
        self.desk, self.told, self.saved, self.clock = FakeDesk(), [], [], 100.0
        self.utc = datetime(2026, 11, 24, 9, tzinfo=UTC)
        monkeypatch.setattr(watch.time, "monotonic", lambda: self.clock)

        async def save(kept: bytes) -> None:
            self.saved.append(json.loads(kept))

        self.memory = Memory(content, save)
        self.watch = watch.Watch(
            self.desk, lambda kind, text: self.told.append((kind, text)), self.memory, 8, lambda: self.utc
        )

    async def after(self, seconds: float, **seen) -> list[tuple[Notice, str]]:
        self.clock += seconds
        self.desk.overrides = seen
        self.told.clear()
        await self.watch.look()
        return list(self.told)


@pytest.fixture
def looking(monkeypatch) -> Looking:
    return Looking(monkeypatch, b'{"week": "2026-11-23"}')


async def test_a_silent_feed_is_told_once_it_lasts_and_when_it_is_over(looking):
    silent = {"stale": ["BTC/USDT:USDT 15m"]}
    assert await looking.after(0) == []
    assert await looking.after(2, **silent) == []
    assert await looking.after(2) == []
    await looking.after(2, **silent)
    [(kind, text)] = await looking.after(12, **silent)
    assert kind is Notice.FEED
    assert "BTC/USDT:USDT 15m" in text
    assert await looking.after(60, **silent) == []
    [(kind, text)] = await looking.after(2)
    assert "complete again, after 1m" in text
    await looking.after(1, connected=False)
    assert "not connected" in (await looking.after(11, connected=False))[0][1]


async def test_tiers_that_fall_and_heal(looking):
    down = {"state": "down", "waiting": 7, "oldest_s": 3.0, "reason": "refused <tcp>", "parked": 0, "written": 0}
    await looking.after(1, tiers={"database": down})
    [(kind, text)] = await looking.after(2, tiers={"database": down})
    assert (kind, "database" in text, "7 wait" in text, "&lt;tcp&gt;" in text) == (Notice.TIER, True, True, True)
    [(kind, text)] = await looking.after(60)
    assert "is back after 1m" in text


async def test_not_able_to_trade_is_told_unless_it_is_somebodys_will(looking):
    stopped = {"ready": False, "reasons": ["trading is stopped"]}
    await looking.after(1, **stopped)
    assert await looking.after(60, **stopped) == []
    away = {"ready": False, "reasons": ["exchange: no answer"]}
    await looking.after(1, **away)
    assert (await looking.after(16, **away))[0][0] is Notice.TRADING
    assert "Able to trade again" in (await looking.after(1))[0][1]


async def test_the_days_loss_new_models_and_bars_that_never_come(looking):
    await looking.after(1)
    assert (await looking.after(1, daily_loss_reached=True))[0][0] is Notice.DAILY_LOSS
    assert await looking.after(1, daily_loss_reached=True) == []
    assert (await looking.after(1))[0][0] is Notice.DAILY_LOSS
    assert (await looking.after(1, frames={"absent": 3}))[0] == (Notice.GAPS, looking.told[0][1])
    looking.desk.models = {**looking.desk.models, "scalp": MODEL}
    [(kind, text)] = await looking.after(1, frames={"absent": 3})
    assert (kind, "promoted" in text, "&lt;by far&gt;" in text) == (Notice.RETRAIN, True, True)
    assert await looking.after(1, frames={"absent": 3}) == []


async def test_a_week_is_told_on_monday_and_only_once(looking):
    looking.utc = datetime(2026, 11, 29, 23, tzinfo=UTC)
    assert await looking.after(1) == []
    looking.utc = datetime(2026, 11, 30, 7, 59, tzinfo=UTC)
    assert await looking.after(1) == []
    looking.utc = datetime(2026, 11, 30, 8, tzinfo=UTC)
    [(kind, text)] = await looking.after(1)
    assert (kind, "The week of" in text) == (Notice.WEEKLY, True)
    assert looking.saved[-1]["week"] == "2026-11-30"
    assert await looking.after(1) == []


async def test_the_first_start_ever_tells_no_week_and_what_cannot_be_read_begins_anew(monkeypatch):
    first = Looking(monkeypatch, b"{broken")
    assert await first.after(1) == []
    assert first.saved == [{"week": "2026-11-23", "strangers": [], "moved": {}}]


# -- what the engine tells


def heard(kind: str, what: object) -> list[tuple[Notice, str]]:
    told: list[tuple[Notice, str]] = []
    News(lambda notice, text, _: told.append((notice, text)), lambda: "LIVE").told(kind, what)
    return told


def test_poor_history_is_told_once_for_each_series_and_again_when_it_comes_back():
    told: list[tuple[Notice, str]] = []
    news = News(lambda notice, text, _: told.append((notice, text)), lambda: "LIVE")
    first, second = "binance BTC/USDT:USDT 15m: 90.00 % complete", "binance ETH/USDT:USDT 1h: nothing since <now>"
    news.told("judged", Judged("quality", (first,)))
    news.told("judged", Judged("quality", (first.replace("90", "91"), second)))
    news.told("judged", Judged("quality", ()))
    news.told("judged", Judged("quality", (first,)))
    assert [kind for kind, _ in told] == [Notice.HISTORY] * 3
    texts = [text for _, text in told]
    assert ["BTC" in text for text in texts] == [True, False, True]
    assert "nothing since &lt;now&gt;" in texts[1]
    news.told("judged", Judged("quality", tuple(f"binance S{n}/USDT 1h: poor" for n in range(9))))
    assert "and 4 more" in told[-1][1]


ORDER = "P1-ABCDEFGHIJKLMNOPQRSTUVWX-e0"


def placed() -> PlaceOrder:
    opening = Opening("scalp", "3m", 0, Side.LONG, D(100), D(98), D(104), ExitPlan(), D(5), score=61.0)
    request = OrderRequest(ORDER, "A/USDT:USDT", OrderSide.BUY, OrderKind.MARKET, D(3))
    return PlaceOrder(Intent(1, ORDER, "A/USDT:USDT", OrderSide.BUY, OrderKind.MARKET, D(3), opening=opening), request)


def fill(cause: Cause, order: str = ORDER) -> Fill:
    return Fill(1, "x", order, "v", "A/USDT:USDT", OrderSide.BUY, D(3), D("100.5"), D("0.3"), D(0), cause)


def test_every_event_that_matters_becomes_a_notice_with_its_figures():
    [(kind, text)] = heard("entry", placed())
    assert (kind, "score 61" in text, "stop 98 (-2.0%)" in text) == (Notice.SIGNAL, True, True)
    [(kind, text)] = heard("trade", trade(1))
    assert kind is Notice.EXIT
    for part in ("+12.50", "+1.25R", "take_profit", "fees 1.10", "funding +0.20", "64,000.50 → 64,800.00", "LIVE"):
        assert part in text
    assert heard("position", PartlyTaken("d", "A", D(1), D(101), D(0)))[0][0] is Notice.PARTIAL
    assert heard("fill", fill(Cause.ENTRY)) == heard("fill", fill(Cause.FUNDING)) == []
    assert heard("exit failing", ExitFailing("A", "d", 5, "EC_NoImmediateQtyToFill"))[0][0] is Notice.EXIT_FAILING
    move = MoveStop("d" * 24, "A", D(95), Cause.TRAILING_STOP, 1, Side.LONG)
    kept = heard("stop refused", StopRefused(move, StopOutcome(Placed.KEPT, D(95), "no <reason>")))
    assert kept[0][0] is Notice.STOP_REFUSED
    assert "the one before stands" in kept[0][1]
    naked = heard("stop refused", StopRefused(move, StopOutcome(Placed.NAKED, D(95), "no")))
    assert "no stop stands" in naked[0][1]
    changed = Releveraged("A", "d" * 24, D(5), D(50), D(95))
    assert heard("leverage", changed)[0][0] is Notice.LEVERAGE
    assert "liquidated" not in heard("leverage", changed)[0][1]
    assert "before its stop" in heard("leverage", msgspec.structs.replace(changed, liquidation=D(99)))[0][1]
    assert heard("unread", Unread(1, "A", "execution: no number", "{}"))[0][0] is Notice.NOT_UNDERSTOOD
    touched = Touched(1, "d", "A", Touch.STOP_TIGHTENED, "99", D(3), D(99))
    [(kind, text)] = heard("hand", touched)
    assert (kind, "stop tightened</b> to 99" in text, "3 left" in text) == (Notice.HAND, True, True)
    ended = OrderEnded(1, ORDER, "A", OrderState.CANCELLED, "EC_ReachMarketPriceLimit")
    assert "cancelled an order" in heard("order ended", ended)[0][1]
    assert heard("order ended", msgspec.structs.replace(ended, reason="cancelled")) == []
    assert (
        heard("order ended", OrderEnded(1, ORDER, "A", OrderState.REJECTED, "no <margin>"))[0][0]
        is Notice.ORDER_REFUSED
    )
    assert heard("order ended", OrderEnded(1, ORDER, "A", OrderState.FILLED)) == []
    assert heard("decided", Switch(1, SwitchState.STOPPED, "panic: telegram 1"))[0][0] is Notice.SWITCH
    assert "risk 0.5%" in heard("decided", Adjusted(1, D("0.5"), ("A/USDT",)))[0][1]
    assert heard("decided", DayStarted(1, 1, D(1))) == []
    signal = Signal("scalp", "A/USDT:USDT", "3m", 0, 1, Side.SHORT, 1.0, 2.0, 0.5)
    assert "score 12" in heard("refused", Refused(signal, "score", "too <low>", Judgement(score=12.0)))[0][1]
    assert heard("batch", []) == []


def test_an_entry_is_told_with_the_stop_and_target_of_its_signal():
    told: list[tuple[Notice, str]] = []
    news = News(lambda notice, text, _: told.append((notice, text)), lambda: "PAPER")
    news.told("entry", placed())
    news.told("position", Entered(ORDER[3:27], "A/USDT:USDT", D(3), D("100.5"), D("0.3")))
    assert "stop 98" in told[-1][1]
    news.told("position", Entered("UNKNOWN", "A/USDT:USDT", D(3), D("100.5"), D("0.3")))
    assert "Entered" in told[-1][1]


def test_the_start_tells_what_recovery_found():
    seen = {**FakeDesk().status(), "rebuilt": 2, "ghosts": ["x"]}
    text = greeting(seen)
    for part in ("in 1.2 s", "100 stored", "3 fetched", "1 signals", "rebuilt", "not there"):
        assert part in text


def test_a_listener_that_fails_does_not_reach_trading():
    reporter, heard_too = Reporter(), []

    def broken(kind: str, what: object) -> None:
        raise ValueError(kind)

    reporter.listeners += [broken, lambda kind, _: heard_too.append(kind)]
    reporter.told("fill", fill(Cause.ENTRY))
    assert heard_too == ["fill"]


# -- how it looks


@pytest.mark.parametrize("length", [10, 3_400, 3_600, 20_000])
def test_pages_hold_everything_and_close_what_they_open(length):
    lines = [f"line {i} {'x' * 20}" for i in range(length // 28)]
    held = texts.pages(f"<b>head</b>\n<pre>{chr(10).join(lines)}</pre>\ntail")
    assert all(len(page) <= texts.PAGE + 20 for page in held)
    assert all(page.count("<pre>") == page.count("</pre>") for page in held)
    plain = "\n".join(page.replace("<pre>", "").replace("</pre>", "") for page in held)
    assert [line for line in plain.split("\n") if line.startswith("line")] == lines


def test_tables_give_way_in_their_first_column_and_money_and_time_read_well():
    table = texts.table(("pair", "x"), [("A" * 60, "12345"), ("B", "<1>")])
    assert all(
        len(line) <= texts.WIDTH
        for line in table.replace("&lt;", "<")
        .replace("&gt;", ">")
        .removeprefix("<pre>")
        .removesuffix("</pre>")
        .split("\n")
    )
    assert texts.money("1234.5") == "+1,234.50"
    assert [texts.lasted(s) for s in (5, 65, 3_700, 90_000)] == ["5s", "1m", "1h 1m", "1d 1h"]
    assert [texts.price(p) for p in ("64000.5", "0.00001234", "1.5")] == ["64,000.50", "1.234e-05", "1.5"]


async def test_the_end_of_the_key_is_told_at_fourteen_seven_three_and_one_days(looking):
    told = []
    for left in (40.0, 14.5, 13.9, 13.0, 7.0, 6.0, 2.9, 1.0, 0.5, -0.1, -1.0):
        told += [(left, text) for kind, text in await looking.after(2, key_days=left) if kind is Notice.KEY]
    assert [left for left, _ in told] == [13.9, 7.0, 2.9, 1.0, -0.1]
    assert "ends in 14 days" in told[0][1]
    assert "has ended" in told[-1][1]
    # a new key was put in
    assert await looking.after(2, key_days=360.0) == []
    assert (await looking.after(2, key_days=10.0))[0][0] is Notice.KEY
    assert await looking.after(2, key_days=None) == []


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"records_read": 0}, "has started for the first time"),
        ({"records_read": 3}, "is back"),
        ({"records_read": 0, "rebuilt": 2}, "is back"),
        ({"records_read": 0, "adopted": 1}, "is back"),
    ],
)
def test_a_bot_is_back_only_when_it_was_there_before(known, said):
    assert f"Revenant {said} on synthetic" in greeting({**FakeDesk().status(), **known})
