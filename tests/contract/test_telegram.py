"""The chat against a server that behaves as Telegram's does: commands, refusals, confirmations, notices, outages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import string
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyotp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import ConfigError, Unavailable
from domain.notice import Loudness, Notice
from domain.portion import Portion
from domain.records import SwitchState
from persistence.deeds import Deeds
from telegram_bot import menu, texts
from telegram_bot.bot import TelegramBot, Terms, name_of
from telegram_bot.memory import Memory
from tests.desk import POSITION, SYMBOLS, FakeDesk
from tests.practice import until
from tests.telegram_server import CHAT, OWNER, TOKEN, TelegramServer, bad_gateway, forbidden, telegram, too_many

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
STRANGER = 666
RECORDED = Path(__file__).parents[3] / "shared" / "data" / "telegram"


@pytest.fixture
def server() -> Iterator[TelegramServer]:
    with telegram() as held:
        yield held


class Talk:
    """A running chat: its server, its desk, its audit."""

    def __init__(self, server: TelegramServer, bot: TelegramBot, desk: FakeDesk, audit: list[dict[str, Any]]) -> None:
        self.server, self.bot, self.desk, self.audit = server, bot, desk, audit

    async def ask(self, text: str, wanted: Any = "", seconds: float = 20, **who: Any) -> dict[str, Any]:
        """Write a command and wait for the answer that contains a text."""
        self.server.forget()
        self.server.write(text, **who)
        return await self.answered(wanted, text, seconds)

    async def answered(self, wanted: Any = "", about: str = "", seconds: float = 20) -> dict[str, Any]:
        fits = wanted if callable(wanted) else lambda one: wanted in one["plain"]
        return await until(lambda: next((one for one in list(self.server.sent) if fits(one)), None),
                           f"an answer to {about}; there is {self.server.texts()}", seconds)  # fmt: skip

    async def press(self, one: dict[str, Any], label: str, wanted: Any = "") -> dict[str, Any]:
        data = next(key["callback_data"] for key in one["buttons"] if label in key["text"])
        self.server.forget()
        self.server.press(data, one["message_id"])
        return await self.answered(wanted, f"{label} of {one['plain'][:60]}")


@contextlib.asynccontextmanager
async def talking(server: TelegramServer, *, code: bool = False, desk: FakeDesk | None = None, users: tuple[int, ...] = (OWNER,),
                  chats: tuple[int, ...] = (CHAT,), queue_max: int = 500, confirm_s: float = 60.0, token: str = TOKEN, kept: list[bytes] | None = None) -> AsyncIterator[Talk]:  # fmt: skip
    held, audit = desk or FakeDesk(), []

    async def book(deed: dict[str, Any]) -> None:
        audit.append(deed)

    memory = kept if kept is not None else []

    async def save(content: bytes) -> None:
        memory.append(content)

    terms = Terms(token, server.address, chats, users, SECRET if code else "", confirm_s, queue_max, 0.05)
    bot = TelegramBot(terms, held, Memory(memory[-1] if memory else None, save), book)
    running = asyncio.create_task(bot.run())
    try:
        yield Talk(server, bot, held, audit)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def edited(message: dict[str, Any]) -> Any:
    return lambda one: one["edited"] == message["message_id"]


def fits_a_phone(one: dict[str, Any]) -> bool:
    blocks = one["text"].split("<pre>")[1:]
    return all(len(line) <= texts.WIDTH for block in blocks for line in block.split("</pre>")[0].split("\n")
               if not line.startswith("&"))  # fmt: skip


READING = {
    "help": "Control", "status": "BTC/USDT:USDT", "status table": "ABCDEF", f"status {POSITION['id'][:8]}": "66,000.00", "status btc": "stop",
    "profit": "profit factor", "profit 1": "last 1 days", "daily": "11-18", "daily 3": "Last 3 days", "weekly": "Last 8 weeks", "monthly 2": "2026-11",
    "stats": "Win Rate", "stats 2": "Last 2 days", "performance": "ETH", "trades": "Last 10 trades", "trades 3": "Last 3 trades",
    "order 00000001": "entry", f"order {POSITION['id'][:8]}": "now", "order": "Which one?", "balance": "10,123.45", "count": "at most",
    "entries": "scalp", "exits": "stop_loss", "buys": "scalp", "locks": "MaxDrawdown", "unlock": "MaxDrawdown", "whitelist": "1000PEPE", "blacklist": "No symbol",
    "db_stats": "12,345", "phantom_stats": "missed", "phantom_stats trend": "missed", "phantom_stats btc": "missed", "ml_stats": "promoted",
    "ml_stats scalp": "no model", "coverage": "99.98", "coverage btc": "missing 2", "health": "able to trade", "risk": "0.5%",
    "show_config": "source", "show_config bybit": "****", "show_config risk": "method", "logs 5": "line", "version": "0.1.0", "chart": "Which chart?",
    "ml_retrain": "Train which", "forceexit": "Close which",
    "coo": "No entry is waiting",
}  # fmt: skip


async def test_every_command_that_reads_answers_and_fits_a_phone(server):
    async with talking(server) as talk:
        for line, wanted in READING.items():
            answer = await talk.ask(f"/{line}", wanted)
            assert fits_a_phone(answer), (line, answer["plain"])
            talk.bot._flood._left.clear()
        asked = {line.split()[0] for line in READING} | {
            "chart",
            "equity",
            "stop",
            "pause",
            "start",
            "panic",
            "reload_config",
            "blacklist_delete",
        }
        assert {one.name for one in menu.COMMANDS} <= asked
        assert talk.desk.done == []
        assert {one["event"] for one in talk.audit} == {"command"}
        assert len(talk.audit) == len(READING)
        assert {one["command"] for one in server.commands} == {one.name for one in (*menu.COMMANDS, menu.HELP)}


async def test_symbols_that_take_no_entries_are_named_though_the_bot_can_trade(server):
    async with talking(server) as talk:
        talk.desk.overrides["notes"] = ["no entries in BSV/USDT:USDT: the feed is silent there"]
        for line, able in (("health", "able to trade"), ("status", "running")):
            answer = (await talk.ask(f"/{line}"))["plain"]
            assert able in answer
            assert "no entries in BSV/USDT:USDT: the feed is silent there" in answer


async def test_nothing_to_show_is_said_in_words(server):
    desk = FakeDesk(0)
    desk.positions, desk.lock_list = [], []
    async with talking(server, desk=desk) as talk:
        for line in ("status", "trades", "profit", "performance", "exits", "order", "forceexit", "locks", "stats"):
            answer = await talk.ask(f"/{line}")
            assert "⚠️" not in answer["plain"], answer
            talk.bot._flood._left.clear()


WRONG = {
    "profit -1": "whole number", "profit 1e3": "whole number", "daily 99999999999": "whole number", "status NOPE": "no open position",
    "order zzzzzz": "nothing begins", "order ffffffff": "nothing begins", "coverage NOPE": "not followed", "risk 11": "up to 10", "risk nan": "up to 10",
    "risk -1": "up to 10", "risk ٣": "up to 10", "risk 1e1000": "up to 10", "chart btc 7h": "no bars", "ml_retrain nope": "no strategy",
    "balance now": "more than", "trades 3 4": "more than", "frobnicate": "no command", "statsu": "/stats", "phantom_stats <b>": "not followed",
    "blacklist NOPE": "not followed", "unlock NOPE": "not followed", "forceexit NOPE": "no open position", "ml_stats nope": "There is no strategy",
    "show_config nope": "There is no section", "coo NOPE": "0 entries", "coo btc": "0 entries", "forceexit btc 0%": "such as 50%",
    "forceexit btc half": "such as 50%", "forceexit NOPE 50%": "no open position", "forceexit btc 5% now": "more than",
}  # fmt: skip


async def test_what_cannot_be_is_answered_with_the_reason(server):
    async with talking(server) as talk:
        for line, why in WRONG.items():
            assert why in (await talk.ask(f"/{line}"))["plain"], line
            talk.bot._flood._left.clear()
        assert [one for one in talk.desk.done if one[0] not in {"force_exit", "reduce"}] == []


async def test_what_lowers_the_risk_is_done_at_once_and_needs_no_code(server):
    async with talking(server, code=True) as talk:
        await talk.ask("/stop", "Stopped")
        await talk.ask("/pause", "Paused")
        await talk.ask("/forceexit all", "BTC: closed")
        await talk.ask(f"/forceexit {POSITION['id']}", "BTC: closed")
        await talk.ask("/panic", "Stopped. BTC: closed")
        await talk.ask("/blacklist eth 1000pepe", "No new entries in ETH")
        await talk.ask("/risk 0.25", "0.25%")
        done = [one[:2] for one in talk.desk.done]
        assert done[:5] == [
            ("switch", "stopped"),
            ("switch", "paused"),
            ("force_exit", "all"),
            ("force_exit", POSITION["id"]),
            ("panic",),
        ]
        assert talk.desk.done[5] == ("ban", SYMBOLS[1], SYMBOLS[2])
        assert str(talk.desk.done[6][1]) == "0.25"


async def test_a_part_is_closed_and_an_entry_that_waits_is_withdrawn_at_once(server):
    async with talking(server, code=True) as talk:
        await talk.ask(f"/forceexit {POSITION['id']} 50%", "BTC: closed in part, 0.006")
        await talk.ask("/forceexit all 100%", "BTC: closed")
        talk.desk.positions[0]["pending"] = True
        await talk.press(await talk.ask("/coo", "Withdraw which"), "BTC", "BTC")
        await talk.ask("/cancel_open_order btcusdt", "BTC")
        part = ("reduce", POSITION["id"], Portion(Decimal(50)))
        assert talk.desk.done == [part, ("force_exit", "all"), *[("force_exit", POSITION["id"])] * 2]


RAISING = {"start": ("switch", "running"), "risk 2": ("risk",), "unlock all": ("unlock", "all"), "unlock eth": ("unlock", SYMBOLS[1]),
           "blacklist_delete eth": ("unban", SYMBOLS[1]), "reload_config": ("reload", "settings")}  # fmt: skip


async def test_what_raises_the_risk_is_confirmed_once_within_its_time(server):
    desk = FakeDesk()
    async with talking(server, desk=desk) as talk:
        for line, done in RAISING.items():
            desk.state, desk.percent = SwitchState.STOPPED, Decimal("0.5")
            desk.done.clear()
            talk.audit.clear()
            talk.bot._flood._left.clear()
            question = await talk.ask(f"/{line}", "Confirm within")
            assert desk.done == []
            await talk.press(question, "No", "Nothing is done")
            question = await talk.ask(f"/{line}", "Confirm within")
            await talk.press(question, "Yes", edited(question))
            assert desk.done[0][: len(done)] == done
            await talk.press(question, "Yes", "answered already")
            assert len(desk.done) == 1
            outcomes = [one["outcome"] for one in talk.audit if one["event"] == "command"]
            assert outcomes == ["asked to confirm", "asked to confirm", "confirmed", "done"]


async def test_what_the_audit_does_not_take_is_done_only_if_it_lowers_the_risk_and_says_so(server):
    desk = FakeDesk()
    desk.state = SwitchState.STOPPED
    async with talking(server, desk=desk) as talk:
        question = await talk.ask("/start", "Confirm within")

        async def full(_: dict[str, Any]) -> None:
            raise Unavailable("telegram-audit.jsonl: No space left on device")

        talk.bot._audit = full
        told = await talk.press(question, "Yes", edited(question))
        assert "Nothing is done: the audit log does not take it" in told["plain"]
        assert desk.done == []
        await talk.ask("/stop", "Not in the audit log: telegram-audit.jsonl")
        assert [one[0] for one in desk.done] == ["switch"]
        # what only shows something goes on as ever
        assert "audit log" not in (await talk.ask("/status"))["plain"]


async def test_a_confirmation_expires_and_belongs_to_who_asked(server):
    desk = FakeDesk()
    desk.state = SwitchState.STOPPED
    async with talking(server, desk=desk, users=(OWNER, 77), chats=(CHAT, -100)) as talk:
        question = await talk.ask("/start", "Confirm within")
        yes = next(key["callback_data"] for key in question["buttons"] if "Yes" in key["text"])
        server.press(yes, user=77)
        await talk.answered("answered already")
        server.press(yes, user=STRANGER)
        server.press(yes, chat=-100)
        held = talk.bot._confirmations._held[OWNER, CHAT]
        held.until = time.monotonic() - 1
        await talk.press(question, "Yes", "Too late")
        assert desk.done == []


async def test_a_code_is_asked_for_counts_once_and_cannot_be_guessed(server):
    desk = FakeDesk()
    desk.state = SwitchState.STOPPED
    async with talking(server, desk=desk, code=True) as talk:
        question = await talk.ask("/start", "authenticator")
        assert not any("Yes" in key["text"] for key in question["buttons"])
        server.press("!" + next(key["callback_data"] for key in question["buttons"])[1:])
        await talk.answered("needs the code")
        now = pyotp.TOTP(SECRET).now()
        wrong = f"{(int(now) + 1) % 1_000_000:06d}"
        await talk.ask(wrong, "wrong")
        assert desk.done == []
        await talk.ask(f"{now[:3]} {now[3:]}", "Trading runs")
        assert desk.done == [("switch", "running")]
        desk.state = SwitchState.STOPPED
        await talk.ask("/start", "authenticator")
        await talk.ask(now, "used already")
        await talk.ask(now, "used already")
        await talk.ask(now, "third time")
        assert (await talk.ask(now))["plain"].startswith("I understand commands")
        assert desk.done == [("switch", "running")]
        assert now not in json.dumps(talk.audit)
        await talk.ask("/stop", "Stopped")


async def test_after_too_many_wrong_codes_none_is_taken_for_a_while(server):
    desk = FakeDesk()
    desk.state = SwitchState.STOPPED
    async with talking(server, desk=desk, code=True) as talk:
        right = {pyotp.TOTP(SECRET).at(int(time.time()) + step) for step in (-60, -30, 0, 30, 60)}
        wrong = next(code for n in range(100) if (code := f"{n:06d}") not in right)
        for _ in range(2):
            await talk.ask("/start", "authenticator")
            for place in range(3):
                await talk.ask(wrong, "third time" if place == 2 else "wrong")
                talk.bot._flood._left.clear()
        await talk.ask("/start", "authenticator")
        await talk.ask(pyotp.TOTP(SECRET).now(), "Too many wrong codes")
        assert desk.done == []


async def test_strangers_get_silence_and_are_reported_once(server):
    async with talking(server, chats=(CHAT, -100)) as talk:
        for _ in range(3):
            server.write("/status", user=STRANGER, chat=STRANGER)
            server.write("/panic", user=STRANGER, chat=-100)  # somebody else in a known group
            server.write("/stop", user=OWNER, chat=-999)  # a known person in an unknown chat
            server.press(">/panic", user=STRANGER)
        told = await talk.answered(f"id {STRANGER}")
        assert "got no answer" in told["plain"]
        await until(lambda: talk.bot.gate.turned_away == 12, "all of them counted")
        await asyncio.sleep(0)
        assert {one["chat_id"] for one in server.sent} <= {CHAT, -100}
        assert sum(f"id {STRANGER}" in one for one in server.texts()) == 1
        assert talk.desk.done == []
        assert [one["event"] for one in talk.audit] == ["stranger", "stranger"]
        assert talk.bot.gate.strangers == {STRANGER: 9, OWNER: 3}


async def test_edits_and_forwards_are_not_obeyed(server):
    async with talking(server) as talk:
        message = {"message_id": 9, "date": int(time.time()), "text": "/panic", "chat": {"id": CHAT, "type": "private"},
                   "from": {"id": OWNER, "is_bot": False, "first_name": "T"}}  # fmt: skip
        server.put(edited_message=message)
        server.put(message={**message, "forward_origin": {"type": "user", "date": 1, "sender_user": {"id": 5}}})
        server.put(message={**message, "forward_date": 5})
        server.put(message={**message, "via_bot": {"id": 5}})
        server.put(channel_post={**message})
        server.put(my_chat_member={"chat": {"id": CHAT}})
        await talk.answered("Forwarded commands are not obeyed")
        await talk.ask("/version", "0.1.0")
        assert talk.desk.done == []


async def test_commands_may_name_the_bot_and_others_are_left_alone(server):
    async with talking(server, chats=(CHAT, -100)) as talk:
        await talk.ask("/version@revenant_test_bot", "0.1.0", chat=-100)
        server.forget()
        server.write("/stop@another_bot", chat=-100)
        server.write("hello all", chat=-100)
        await talk.ask("/version", "0.1.0")
        assert talk.desk.done == []
        assert {one["chat_id"] for one in server.sent} == {CHAT}


async def test_commands_that_came_while_the_bot_was_away(server):
    desk = FakeDesk()
    desk.state = SwitchState.STOPPED
    server.write("/start", date=time.time() - 3_600)
    server.write("/panic", date=time.time() - 3_600)
    async with talking(server, desk=desk) as talk:
        await talk.answered("Send it again")
        await talk.answered("You sent this 1h 0m ago")
        assert desk.done == [("panic",)]


async def test_buttons_run_lines_turn_pages_and_refresh_in_place(server):
    async with talking(server) as talk:
        answer = await talk.ask("/logs 50", "line")
        page = await talk.press(answer, "▶", lambda one: one["edited"] == answer["message_id"])
        assert "line <" in page["plain"]
        assert page["plain"] != answer["plain"]
        status = await talk.ask("/status", "BTC")
        talk.desk.positions = []
        fresh = await talk.press(status, "🔄", "No open positions")
        assert fresh["edited"] == status["message_id"]
        talk.desk.positions = [dict(POSITION)]
        await talk.press(await talk.ask("/forceexit", "Close which"), "all of them", "BTC: closed")
        assert talk.desk.done == [("force_exit", "all")]
        # nothing has changed since: Telegram says so, and that is no fault
        again = await talk.ask("/status", "BTC")
        server.press("~0 /status", again["message_id"])
        await talk.ask("/version", "0.1.0")
        assert talk.bot.counts["failed"] == 0


async def test_pictures_come_with_buttons_for_other_timeframes(server):
    async with talking(server) as talk:
        chart = await talk.ask("/chart btc 15m", lambda one: one["photo"])
        assert chart["photo"] == b"\x89PNG chart"
        assert [key["text"] for key in chart["buttons"]] == ["3m", "🔄"]
        await talk.press(chart, "3m", lambda one: one["photo"])
        assert (await talk.ask("/equity 7", lambda one: one["photo"]))["photo"] == b"\x89PNG curve"


async def test_too_many_commands_are_held_back_but_never_panic(server):
    async with talking(server) as talk:
        for _ in range(40):
            server.write("/version")
        for _ in range(15):
            server.write("/panic")
        await until(lambda: len(talk.desk.done) == 15, "every panic")
        await talk.answered("too fast")
        assert talk.bot.counts["dropped"] > 20


async def test_a_command_that_goes_wrong_is_answered_and_the_next_one_works(server):
    async with talking(server) as talk:
        talk.desk.overrides = {"positions": [{"nonsense": 1}]}
        assert "went wrong" in (await talk.ask("/status"))["plain"]
        talk.desk.overrides = {}
        await talk.ask("/status", "BTC")
        assert talk.bot.counts["failed"] == 1

        async def away() -> None:
            raise Unavailable("the exchange does not answer")

        talk.desk.balance = away
        assert "does not answer" in (await talk.ask("/balance"))["plain"]


async def test_a_wrong_configuration_is_told_and_changes_nothing(server):
    desk = FakeDesk()
    desk.fresh = ConfigError("risk.percent: 50: must be at most 10")
    async with talking(server, desk=desk) as talk:
        assert "at most 10" in (await talk.ask("/reload_config"))["plain"]
        desk.fresh = ("settings", [], ["feed.stale_s: 75 → 60"])
        assert "From the next start" in (await talk.ask("/reload_config"))["plain"]
        assert desk.done == []


async def test_answers_are_html_that_telegram_takes_whatever_is_in_them(server):
    desk = FakeDesk()
    desk.positions[0]["strategy"] = "<script>&amp;"
    async with talking(server, desk=desk) as talk:
        assert "<script>&amp;" in (await talk.ask("/status", "BTC"))["plain"]
        # markup that Telegram refuses all the same is sent as plain text
        talk.bot.notices.put(Notice.TELEGRAM, "<blink>x</blink> & done")
        await talk.answered("& done")


# -- notices


async def test_notices_are_grouped_in_order_and_as_loud_as_configured(server):
    async with talking(server) as talk:
        talk.desk.loudness[Notice.EXIT] = Loudness.OFF
        for i in range(30):
            talk.bot.notices.put(Notice.SIGNAL, f"signal {i}")
        talk.bot.notices.put(Notice.EXIT, "never told")
        one = await talk.answered("signal 29")
        assert one["silent"]
        assert [line for line in "\n".join(server.texts()).split("\n") if line] == [f"signal {i}" for i in range(30)]
        talk.bot.notices.put(Notice.SIGNAL, "quiet")
        talk.bot.notices.put(Notice.ENTRY, "loud")
        assert not (await talk.answered("loud"))["silent"]


async def test_notices_wait_while_telegram_is_away_and_come_in_order(server):
    async with talking(server, queue_max=100) as talk:
        await talk.ask("/version", "0.1.0")
        server.down = True
        for i in range(150):
            talk.bot.notices.put(Notice.ENTRY, f"entry {i}.")
        await until(lambda: talk.bot.notices.failing, "the outage to be noticed")
        assert talk.bot.notices.waiting == 100
        server.forget()
        server.down = False
        await talk.answered("entry 149.", seconds=60)
        told = "\n".join(server.texts())
        assert "50 earlier notices were let go" in told
        assert [line for line in told.split("\n") if line.startswith("entry")] == [
            f"entry {i}." for i in range(50, 150)
        ]
        await talk.ask("/version", "0.1.0", seconds=60)


async def test_what_is_said_last_does_not_wait_to_be_gathered(server):
    async with talking(server) as talk:
        await talk.ask("/version", "0.1.0")
        talk.bot.notices._group_s = 600
        talk.bot.notices.put(Notice.SHUTDOWN, "goodbye")
        await talk.bot.notices.flush(10)
        assert any("goodbye" in text for text in server.texts())


async def test_a_chat_that_blocks_the_bot_holds_up_nobody_else(server):
    server.known_chats = {CHAT}
    async with talking(server, chats=(999, CHAT), users=(OWNER,)) as talk:
        talk.bot.notices.put(Notice.ENTRY, "for both")
        await talk.answered("for both")
        server.fail = [["sendMessage", forbidden, 1]]
        talk.bot.notices.put(Notice.ENTRY, "lost")
        talk.bot.notices.put(Notice.ENTRY, "and the next")
        await until(lambda: not talk.bot.notices.waiting, "the queues to empty")
        talk.bot.notices.put(Notice.ENTRY, "after that")
        assert await talk.answered("after that")


@pytest.mark.parametrize("fault", [lambda: too_many(1), bad_gateway], ids=["429", "502"])
async def test_faults_of_the_server_cost_time_but_no_message(server, fault):
    async with talking(server) as talk:
        await talk.ask("/version", "0.1.0")
        server.fail = [["sendMessage", fault, 2]]
        talk.bot.notices.put(Notice.EXIT, "closed")
        await talk.answered("closed", seconds=30)
        assert sum("closed" in text for text in server.texts()) == 1
        server.fail = [["getUpdates", fault, 2], ["sendMessage", fault, 1]]
        await talk.ask("/version", "0.1.0", seconds=30)


async def test_slow_answers_hold_up_nothing_but_themselves(server):
    async with talking(server) as talk:
        server.delay_s = 0.3
        for i in range(20):
            talk.bot.notices.put(Notice.ENTRY, f"entry {i}")
        # whoever tells of something is not kept until anybody has heard it
        assert not any("entry" in text for text in server.texts())
        await talk.answered("entry 19")


# -- the token


async def test_a_wrong_token_ends_the_chat_alone(server, capfd):
    async with talking(server, token="123456:another-token-that-is-not-ours-0000") as talk:
        await until(lambda: talk.bot.state == "refused", "the refusal")
        talk.bot.notices.put(Notice.ENTRY, "kept to itself")
    assert "another-token" not in "".join(capfd.readouterr())
    with pytest.raises(ConfigError, match="TELEGRAM_BOT_TOKEN"):
        TelegramBot(Terms("no token", server.address, (), (), "", 60, 10, 1), FakeDesk(), Memory(None, None), None)


async def test_a_token_that_is_withdrawn_later_ends_the_chat_alone(server):
    from tests.telegram_server import _error

    async with talking(server) as talk:
        await talk.ask("/version", "0.1.0")
        server.fail = [["*", lambda: _error(401, "Unauthorized"), -1]]
        server.write("wake up")
        await until(lambda: talk.bot.state == "refused", "the refusal")
        assert talk.desk.done == []


async def test_telegram_may_be_away_at_the_start(server):
    server.down = True
    async with talking(server) as talk:
        talk.bot.notices.put(Notice.STARTUP, "back")
        await until(lambda: server.calls["getMe"] >= 2, "attempts")
        server.down = False
        assert await talk.answered("back", seconds=60)
        await talk.ask("/version", "0.1.0")


async def test_two_programs_on_one_token_are_noticed_and_explained(server):
    async with talking(server) as talk:
        await talk.ask("/version", "0.1.0")
        async with talking(server):
            await talk.answered("Another program listens with my token", seconds=30)
        await talk.ask("/version", "0.1.0", seconds=60)
        assert talk.bot.state == "ok"


async def test_the_doctor_asks_whose_token_it_is(server):
    assert await name_of(TOKEN, server.address) == "revenant_test_bot"
    server.down = True
    with pytest.raises(Unavailable):
        await name_of(TOKEN, server.address)


def test_deeds_survive_torn_lines_and_large_files(tmp_path, monkeypatch):
    monkeypatch.setattr("persistence.deeds.FILE_BYTES", 300)
    deeds = Deeds(tmp_path / "audit.jsonl")
    for i in range(10):
        deeds.add({"event": "command", "n": i})
    with deeds.path.open("a") as out:
        out.write('{"torn')
    kept = [
        json.loads(line)["n"]
        for path in sorted(tmp_path.glob("audit-*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert kept + [one["n"] for one in deeds.newest(100)] == list(range(10))
    assert deeds.path.stat().st_mode & 0o777 == 0o600


# -- whatever comes in


@pytest.mark.skipif(not RECORDED.exists(), reason="no recorded updates here")
async def test_recorded_updates_have_no_effect_for_strangers(server):
    async with talking(server) as talk:
        for path in sorted(RECORDED.glob("*.json")):
            await talk.bot.take(json.loads(path.read_text()))
        await talk.ask("/version", "0.1.0")
        assert talk.desk.done == []
        assert talk.bot.counts["failed"] == 0
        assert talk.bot.gate.turned_away > 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4), max_leaves=12,
)  # fmt: skip


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_updates_of_any_shape_make_sense_or_are_passed_over(raw):
    from telegram_bot.update import Deed, deed

    for update in (raw, {"update_id": 1, "message": raw}, {"update_id": 1, "callback_query": raw}):
        understood = deed(update)
        assert understood is None or isinstance(understood, Deed)


async def test_fifty_thousand_fuzzed_updates_neither_break_anything_nor_do_anything(server):
    """Most are from strangers or garbage; those of the owner must never change anything without a whole command."""
    server.fail = [["sendMessage", bad_gateway, 0]]
    desk, rng = FakeDesk(), random.Random(7)
    async with talking(server, desk=desk, code=True) as talk:
        await talk.ask("/version", "0.1.0")
        talk.bot._hint = lambda *_: None
        handled = []

        async def do(order: Any) -> None:
            handled.append(order)

        talk.bot._do = do
        for _ in range(50_000):
            await talk.bot.take(fuzzed(rng))
            if talk.bot._orders.qsize() > 40:
                await asyncio.sleep(0)
        await talk.bot._orders.join()
        assert desk.done == []
        assert talk.bot.counts["failed"] == 0
        assert talk.bot.counts["garbage"] > 1_000
        assert talk.bot.gate.turned_away > 1_000
        # what got through was written by the owner, in the owner's chat
        assert {(order.user, order.chat) for order in handled} <= {(OWNER, CHAT)}


def fuzzed(rng: random.Random) -> Any:
    """Return an update that is like a real one but for a few faults, or none at all."""
    odd = [-1, 0, None, "4242", 2**70, {"id": 1}, rng.getrandbits(40)]
    user = rng.choice([STRANGER, OWNER, OWNER, *rng.sample(odd, 1)])
    chat = rng.choice([CHAT, CHAT, STRANGER, -100, *rng.sample(odd, 1)])
    lines = ["/start", "/risk 9", "/unlock all", "/reload_config", "!abc", "x0", "~9999 /start", "~ /", "123456", "", "\ud800\x00", ">",
             "".join(rng.choices(string.printable, k=rng.randrange(60))), "/" + "x" * rng.randrange(5_000)]  # fmt: skip
    words = rng.choice(lines)
    message = {"message_id": rng.choice([1, 2, 3, "1"]), "date": rng.choice([int(time.time()), 0, "now", 2**40]), "text": rng.choice([words, words, None, 5]),
               "chat": {"id": chat, "type": "private"}, "from": {"id": user, "is_bot": False, "first_name": "x"}}  # fmt: skip
    for name in rng.sample(sorted(message), k=rng.choice([0, 0, 0, 1])):
        message[name] = rng.choice([None, 5, {}, []])
    kind = rng.choice(["message", "message", "edited_message", "channel_post", "callback_query", "poll"])
    body = message
    if kind == "callback_query":
        body = {"id": rng.choice(["1", "2", 1]), "from": {"id": user, "first_name": "x"}, "message": rng.choice([message, message, None]),
                "data": rng.choice([words, words, None])}  # fmt: skip
    update = {"update_id": rng.choice([1, 2, 3, "x", None, 2**65]), kind: body}
    return rng.choice([update, update, update, update, update, body, [update], None])


GROUP, SUPERGROUP = -100, -1001557900000


@pytest.mark.parametrize("told", [True, False])
async def test_a_group_that_becomes_a_supergroup_is_followed_with_its_rights(server, told):
    """Found by telling of an exit afterwards: neither was it delivered, nor was anybody obeyed there any more."""
    async with talking(server, chats=(GROUP,)) as talk:
        await talk.ask("/version", "0.1.0", chat=GROUP)
        server.move(GROUP, SUPERGROUP, told=told)
        talk.bot.notices.put(Notice.EXIT, "stopped out")
        await until(lambda: any("stopped out" in one for one in server.texts(SUPERGROUP)), "the notice")
        said = await until(
            lambda: next((one for one in server.texts(SUPERGROUP) if "supergroup now" in one), None), "word"
        )
        assert str(SUPERGROUP) in said
        await talk.ask(
            "/version", lambda one: "0.1.0" in one["plain"] and one["chat_id"] == SUPERGROUP, chat=SUPERGROUP
        )
        await talk.ask("/panic", lambda one: one["chat_id"] == SUPERGROUP, chat=SUPERGROUP)
        assert any(name == "panic" for name, *_ in talk.desk.done)
        done = len(talk.desk.done)
        server.write("/stop", user=STRANGER, chat=SUPERGROUP)
        await until(lambda: talk.bot.gate.turned_away, "a stranger to be turned away")
        assert len(talk.desk.done) == done
        assert [one for one in talk.audit if one["event"] == "chat moved"] == [
            {"event": "chat moved", "chat": GROUP, "now": SUPERGROUP}
        ]
        await until(lambda: not talk.bot.notices.waiting, "all notices to be delivered")


async def test_a_moved_group_is_known_after_a_restart_while_it_is_configured(server):
    kept: list[bytes] = []
    async with talking(server, chats=(GROUP,), kept=kept):
        server.move(GROUP, SUPERGROUP)
        await until(lambda: kept, "the move to be remembered")
    before = server.calls["sendMessage"]
    async with talking(server, chats=(GROUP,), kept=kept) as talk:
        await talk.ask("/version", lambda one: one["chat_id"] == SUPERGROUP, chat=SUPERGROUP)
        talk.bot.notices.put(Notice.EXIT, "closed")
        await until(lambda: any("closed" in one for one in server.texts(SUPERGROUP)), "the notice")
        assert server.calls["sendMessage"] - before == 2, "nothing is tried at the old id"
    async with talking(server, chats=(CHAT,), kept=kept) as talk:
        server.write("/stop", chat=SUPERGROUP)
        await until(lambda: talk.bot.gate.turned_away, "a group that is configured no more to be turned away")
        assert talk.desk.done == []


async def test_a_group_configured_by_both_ids_is_told_once(server):
    async with talking(server, chats=(GROUP, SUPERGROUP)) as talk:
        server.move(GROUP, SUPERGROUP)
        await until(lambda: any("supergroup now" in one for one in server.texts(SUPERGROUP)), "word of it")
        server.forget()
        for n in range(3):
            talk.bot.notices.put(Notice.EXIT, f"closed {n}")
            await until(lambda n=n: any(f"closed {n}" in one for one in server.texts(SUPERGROUP)), "the notice")
        assert sum("closed" in one for one in server.texts(SUPERGROUP)) == 3


@pytest.mark.parametrize(("old", "new"), [(-555, SUPERGROUP), (CHAT, SUPERGROUP), (GROUP, 666), (CHAT, 666)])
async def test_nobody_else_is_followed_anywhere(server, old, new):
    """A group of strangers that becomes one, a private chat (those never do), and a group that became a person."""
    async with talking(server, chats=(CHAT, GROUP)) as talk:
        server.put(message={"message_id": 1, "date": 0, "chat": {"id": new}, "migrate_from_chat_id": old})
        server.put(message={"message_id": 1, "date": 0, "chat": {"id": old}, "migrate_to_chat_id": new})
        server.write("/stop", chat=new)
        await until(lambda: talk.bot.gate.turned_away, "it to be turned away")
        await talk.ask("/version", "0.1.0")
        assert talk.desk.done == []
        assert not [one for one in talk.audit if one["event"] == "chat moved"]


@pytest.mark.parametrize("way", ["btc", "BTCUSDT", "btc/usdt", "BTC/USDT:USDT", "BTC*", POSITION["id"][:6]])
async def test_a_position_is_found_by_any_name_of_its_symbol(server, way):
    async with talking(server) as talk:
        assert POSITION["id"][:8] in (await talk.ask(f"/status {way}", "BTC"))["plain"]
        assert "no open position is called 'ETH'" in (await talk.ask("/status ETH"))["plain"]
