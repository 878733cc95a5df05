"""Sees what nobody tells: silent feeds, tiers that fall and heal, a day's loss, new models, holes, weeks that end."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from domain.errors import RevenantError
from domain.notice import Notice
from domain.reports import Group, Period
from domain.training_run import spoken
from telegram_bot import texts
from telegram_bot.texts import bold, coin, escape, lasted, money

if TYPE_CHECKING:
    from collections.abc import Callable

    from telegram_bot.memory import Memory
    from telegram_bot.port import Desk

LOOK_S = 2.0
FEED_PATIENCE_S = 10.0
TRADING_PATIENCE_S = 15.0
SHOWN = 3
KEY_DAYS = (14, 7, 3, 1, 0)
"""When the end of the API key is told of."""


class Trouble:
    """Something that is wrong now and then: told once it has lasted, and once it is over."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s, self._since, self.told = patience_s, 0.0, False

    def look(self, wrong: bool, now: float) -> str:  # noqa: FBT001  a fact
        """Return "begun" or "over" when that is to be told now, else nothing."""
        if wrong:
            self._since = self._since or now
            if not self.told and now - self._since >= self._patience_s:
                self.told = True
                return "begun"
            return ""
        was, self.told = self.told, False
        self.lasted = now - self._since if self._since else 0.0
        self._since = 0.0
        return "over" if was else ""

    lasted: float = 0.0


class Watch:
    """Looks at the figures every few seconds and tells what has changed for the worse, or back.

    ``put`` takes notices; ``memory`` remembers over restarts which week was told last.
    """

    def __init__(
        self, desk: Desk, put: Callable[[Notice, str], None], memory: Memory, weekly_hour: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        self._desk, self._put, self._memory, self._hour, self._now = desk, put, memory, weekly_hour, now
        self._feed, self._trading = Trouble(FEED_PATIENCE_S), Trouble(TRADING_PATIENCE_S)
        self._tiers: dict[str, Trouble] = {}
        self._lost = False
        self._trained: dict[str, str] | None = None
        self._absent: int | None = None
        self._key_told = KEY_DAYS[0] + 1.0

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once."""
        seen, now = self._desk.status(), time.monotonic()
        self._look_at_feed(seen, now)
        self._look_at_tiers(seen, now)
        self._look_at_trading(seen, now)
        self._look_at_loss(seen)
        self._look_at_models()
        self._look_at_holes(seen)
        self._look_at_key(seen.get("key_days"))
        await self._look_at_week()

    def _mark(self) -> str:
        return bold(self._desk.mode)

    def _look_at_feed(self, seen: dict[str, Any], now: float) -> None:
        silent = seen["stale"]
        told = self._feed.look(bool(silent) or not seen["connected"], now)
        if told == "begun":
            names = ", ".join(silent[:SHOWN]) + (" ..." if len(silent) > SHOWN else "")
            what = f"{len(silent)} streams are silent ({names})" if silent else "it is not connected"
            self._put(
                Notice.FEED, f"📡 {self._mark()} The market feed: {escape(what)}. No new entries there meanwhile."
            )
        elif told:
            self._put(
                Notice.FEED, f"📡 {self._mark()} The market feed is complete again, after {lasted(self._feed.lasted)}."
            )

    def _look_at_tiers(self, seen: dict[str, Any], now: float) -> None:
        tiers = {**seen["tiers"], "journal": seen["ledger"]}
        for name, state in tiers.items():
            trouble = self._tiers.setdefault(name, Trouble(LOOK_S / 2))
            told = trouble.look(state["state"] == "down", now)
            if told == "begun":
                waits = f", {state['waiting']} wait" if "waiting" in state else ""
                self._put(Notice.TIER, f"🗄 {self._mark()} {bold(name)} is down{waits}: {escape(state['reason'][:200])}")
            elif told:
                self._put(Notice.TIER, f"🗄 {self._mark()} {bold(name)} is back after {lasted(trouble.lasted)}; what "
                          "waited is carried there.")  # fmt: skip

    def _look_at_trading(self, seen: dict[str, Any], now: float) -> None:
        # the switch is somebody's will and told as such, the feed is told above
        elsewhere = ("trading is", "feed is")
        reasons = [one for one in seen["reasons"] if not one.startswith(elsewhere) and "streams are" not in one]
        told = self._trading.look(bool(reasons), now)
        if told == "begun":
            self._put(Notice.TRADING, f"⛔ {self._mark()} Not able to trade: {escape('; '.join(reasons)[:500])}")
        elif told:
            self._put(Notice.TRADING, f"✅ {self._mark()} Able to trade again, after {lasted(self._trading.lasted)}.")

    def _look_at_loss(self, seen: dict[str, Any]) -> None:
        lost = seen["daily_loss_reached"]
        if lost and not self._lost:
            made = money(seen["day_pnl"])
            self._put(Notice.DAILY_LOSS, f"🛑 {self._mark()} The day's loss limit is reached ({made}): no new entries "
                      "before midnight UTC.")  # fmt: skip
        elif self._lost and not lost:
            self._put(Notice.DAILY_LOSS, f"🟢 {self._mark()} The day's loss limit holds entries back no longer.")
        self._lost = lost

    def _look_at_models(self) -> None:
        stats = self._desk.ml_stats()
        last = {name: told["last_result"] for name, told in stats.items()}
        in_use = {name: told["is_ml_ready"] for name, told in stats.items()}
        now = {name: one["trained_at"] if one else "" for name, one in last.items()}
        for name, one in last.items():
            if one and self._trained is not None and now[name] != self._trained.get(name, ""):
                ended = bold(spoken(one["verdict"], model_in_use=in_use[name]))
                self._put(Notice.RETRAIN, f"🎓 {self._mark()} {bold(name)} trained on {one['lessons']} lessons: "
                          f"{ended}, {escape(one['reason'])}")  # fmt: skip
        self._trained = now

    def _look_at_holes(self, seen: dict[str, Any]) -> None:
        absent = seen.get("frames", {}).get("absent", 0)
        if self._absent is not None and absent > self._absent:
            self._put(Notice.GAPS, f"🕳 {self._mark()} {absent - self._absent} bars are missing for good: the exchange "
                      "has none (/coverage).")  # fmt: skip
        self._absent = absent

    def _look_at_key(self, left: float | None) -> None:
        if left is None or left > KEY_DAYS[0]:
            self._key_told = KEY_DAYS[0] + 1.0
            return
        mark = min(days for days in KEY_DAYS if left <= days)
        if mark < self._key_told:
            self._key_told = mark
            when = "has ended" if left <= 0 else f"ends in {left:.0f} days" if left > 1 else "ends within a day"
            self._put(Notice.KEY, f"🔑 {self._mark()} The exchange's API key {when}: make a new one, put it into "
                      "BYBIT_API_KEY and BYBIT_API_SECRET, and restart.")  # fmt: skip

    async def _look_at_week(self) -> None:
        now = self._now()
        monday = (now - timedelta(days=now.weekday())).replace(hour=self._hour, minute=0, second=0, microsecond=0)
        week = monday.date().isoformat()
        if now < monday or self._memory.week == week:
            return
        if self._memory.week:
            try:
                self._put(Notice.WEEKLY, await self._summary())
            except RevenantError:
                # looked at again in a moment
                return
        await self._memory.note_week(week)

    async def _summary(self) -> str:
        week = (await self._desk.results(Period.WEEK, 2))[-1]
        best = (await self._desk.groups(Group.SYMBOL, 7))[:SHOWN]
        fall = await self._desk.slump(7)
        rows: list[tuple[str, object]] = [
            ("profit", money(week.pnl)), ("trades", f"{week.trades}, {week.win_rate:.0f}% won"),
            ("mean", f"{week.mean_r:+.2f}R"), ("fees", money(week.fees, sign=False)),
            ("worst fall", money(-fall.depth)),
        ]  # fmt: skip
        rows += [(coin(one.name), money(one.pnl)) for one in best]
        return f"🗓 {self._mark()} {bold(f'The week of {week.name}')}\n{texts.pairs(rows)}"
