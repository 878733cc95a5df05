"""What the API says, for its documentation and its checks. Money is text, so that nothing of it is rounded."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator

from domain.records import SwitchState


class Said(BaseModel):
    """Base of every answer; a report may say more than is listed."""

    model_config = ConfigDict(extra="allow", from_attributes=True)


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str | list[dict[str, Any]]


class Alive(BaseModel):
    """The event loop turns."""

    alive: bool


class Ready(BaseModel):
    """Whether an entry could be made now, and why not."""

    ready: bool
    reasons: list[str]
    notes: list[str] = []


class SessionState(BaseModel):
    """Who looks: whether they may act (``signed_in``), and what actions have to repeat in ``X-CSRF-Token``."""

    signed_in: bool
    may_read: bool
    has_password: bool
    csrf: str
    mode: str
    running: bool


class Credentials(BaseModel):
    """A password, or the key of a link."""

    secret: str = Field(min_length=1, max_length=512)


class Position(Said):
    """An open position; times in UTC ms, money in quote units."""

    id: str
    trade_id: str
    symbol: str
    side: Literal["long", "short"]
    strategy: str
    qty: str
    entry: str
    price: str
    stop: str
    target: str
    pnl: str
    r: str
    percent: str
    opened_at: int
    pending: bool


class Status(Said):
    """All figures of the moment."""

    mode: str
    ready: bool
    reasons: list[str]
    notes: list[str] = []
    positions: list[Position]


class BotRow(BaseModel):
    """Another bot; only ``error`` is told besides name and address where it cannot be read. Money in quote units."""

    name: str
    url: str
    error: str
    mode: str = ""
    switch: str = ""
    ready: bool = False
    reasons: list[str] = []
    equity: str | None = None
    day_pnl: str | None = None
    open_pnl: str | None = None
    open: int = 0


class TradeRow(Said):
    """A closed trade; money in quote units, net of fees and funding."""

    trade_id: str
    symbol: str
    side: Literal["long", "short"]
    strategy_name: str
    timeframe: str
    quantity: Decimal
    entry_price: Decimal
    exit_price: Decimal
    entry_time: datetime
    exit_time: datetime
    exit_reason: str
    pnl_usd: Decimal
    pnl_percent: Decimal
    r_multiple: Decimal
    fees: Decimal
    funding: Decimal
    leverage: Decimal
    score: float | None
    max_favourable_r: Decimal
    max_adverse_r: Decimal
    touched: str


class TradePage(BaseModel):
    """A page of the trades that were asked for; ``total`` counts all of those, ``net`` sums them."""

    total: int
    net: Decimal
    trades: list[TradeRow]
    symbols: list[str]
    strategies: list[str]
    exits: list[str]


class ResultRow(Said):
    """What the trades of a period, symbol, strategy, kind of exit or hour made; ``held_s`` is their mean duration."""

    name: str
    trades: int
    wins: int
    win_rate: float
    pnl: Decimal
    fees: Decimal
    mean_r: float
    held_s: float


class EquityPoint(BaseModel):
    """The running net profit after a trade (UTC ms)."""

    time: int
    net: Decimal


class PhantomRow(BaseModel):
    """A signal that was followed; ``gate`` refused it, empty when a trade was made. R after fees, times in UTC ms."""

    phantom_id: str
    symbol: str
    strategy: str
    timeframe: str
    side: Literal["long", "short"]
    signal_time: int
    exit_time: int
    gate: str
    score: float | None
    scored_by: str
    entry: Decimal
    stop: Decimal
    target: Decimal
    outcome: str
    exit_reason: str
    r: Decimal


class BarRow(BaseModel):
    """A closed bar; its open time in UTC ms."""

    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Marked(BaseModel):
    """Something that was done on a chart; entry and exit are (UTC ms, price)."""

    kind: Literal["trade", "open", "phantom"]
    long: bool
    entry: tuple[int, float]
    exit: tuple[int, float] | None
    stop: float
    target: float
    good: bool
    label: str


class ChartData(BaseModel):
    """The newest bars of a series, with what was done on them."""

    symbol: str
    timeframe: str
    step_ms: int
    bars: list[BarRow]
    marks: list[Marked]
    price: float | None


class OlderBars(BaseModel):
    """Bars before a time, oldest first, with what was done within them."""

    bars: list[BarRow]
    marks: list[Marked]


class StrategyColumns(BaseModel):
    """What a strategy computed: of each column a value for each of ``times`` (open times, UTC ms), null for none."""

    strategy: str
    times: list[int]
    columns: dict[str, list[float | None]]


class StoredSeries(BaseModel):
    """A stored series; times in UTC ms. ``missing`` counts what lacks between its first and last bar."""

    source: str
    symbol: str
    timeframe: str
    bars: int
    start: int
    end: int
    missing: int
    completeness: float


class Gap(BaseModel):
    """Bars that are missing from a time on (UTC ms)."""

    start: int
    bars: int


class Gaps(BaseModel):
    """How complete a series is, exactly: what its source never had, or a closed market, does not count as missing."""

    source: str
    symbol: str
    timeframe: str
    bars: int
    missing: int
    absent: int
    completeness: float
    gaps: list[Gap]


class ComparedSource(BaseModel):
    """A source's telling of a series, beside the first one's: closes that agree, median and largest difference."""

    source: str
    bars: int
    start: int
    end: int
    common: int
    equal: int
    median: float | None
    largest: float | None
    largest_at: int | None


class JobRow(Said):
    """A regular job."""

    job: str
    does: str
    last_run: str
    status: str
    failures: int
    next_run: str
    said: str


class Beat(Said):
    """The beat that counts: how long ago it was seen, and how far its clock is ahead, in s."""

    name: str
    seen_s: float
    drift_s: float


class Worker(Said):
    """A worker: its processes, and how long ago it was seen, in s; a lost one was not for a minute."""

    name: str
    processes: int
    seen_s: float
    lost: bool


class Workers(Said):
    """Who works through Celery. ``tasks`` wait in Redis, ``waiting`` parts of jobs for a worker; ages are in s."""

    beat: Beat | None
    workers: list[Worker]
    tasks: int
    waiting: int
    running: int
    oldest_s: float
    reason: str


class Work(Said):
    """Long work on stored data; ``step`` and ``percent`` say how far it is, where it tells."""

    number: int
    kind: str
    state: Literal["running", "done", "degraded", "failed", "ended"]
    said: str
    step: str = ""
    percent: int = 0
    started_at: datetime
    ended_at: datetime | None


class BacktestRow(Said):
    """A kept backtest: what was asked (``request``), when it ran over, its figures; money in quote units."""

    id: str
    done_at: datetime
    since: datetime
    until: datetime
    request: dict[str, Any]
    figures: dict[str, Any]
    bars: int
    notes: list[str]


class Backtest(BacktestRow):
    """A kept backtest with its equity: (UTC ms, quote units), a thousand points or so. ``trades`` counts them."""

    settings: dict[str, Any]
    symbols: list[str]
    trades: int
    equity: list[tuple[int, Decimal]]


class BacktestTrades(BaseModel):
    """A page of a backtest's trades, the newest first; ``total`` counts all that were asked for."""

    total: int
    trades: list[TradeRow]


class BacktestChart(BaseModel):
    """Bars of a backtest's symbol with its trades; none where its bars are stored no more."""

    symbol: str
    timeframe: str
    timeframes: list[str]
    step_ms: int
    bars: list[BarRow]
    marks: list[Marked]


class NewBacktest(BaseModel):
    """What to trade the past with. Empty is as configured: all symbols and strategies, all that is stored."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field("", max_length=40)
    symbols: list[str] = Field(default_factory=list, max_length=500)
    strategies: list[str] = Field(default_factory=list, max_length=50)
    since: str = Field("", max_length=40)
    until: str = Field("", max_length=40)
    ml: Literal["off", "on", "walk-forward"] = "off"
    fee: str = Field("", max_length=20)
    slippage: str = Field("", max_length=20)
    wallet: str = Field("", max_length=20)
    allow_gaps: StrictBool = False


class NewWork(BaseModel):
    """What is to be done: ``job`` needs a name; the others take symbols, timeframes, days, and ``export`` a source."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["download", "fill-gaps", "export", "job"]
    name: str = Field("", max_length=40)
    symbols: list[str] = Field(default_factory=list, max_length=500)
    timeframes: list[str] = Field(default_factory=list, max_length=20)
    days: int = Field(30, ge=1, le=3650)
    source: str = Field("", max_length=40)

    @field_validator("days", mode="before")
    @classmethod
    def _a_number(cls, value: Any) -> Any:
        if isinstance(value, str | bool):
            raise ValueError("has to be a number")  # noqa: TRY004  pydantic tells of ValueErrors
        return value


class Order(BaseModel):
    """What an action is for, and that it is meant: ``confirm`` has to be true."""

    model_config = ConfigDict(extra="forbid")

    confirm: Literal[True]
    reason: str = Field("operator", max_length=200)


class SwitchOrder(Order):
    """running, paused (exits only) or stopped."""

    state: SwitchState


class ReconcileOrder(Order):
    """``since`` is a market time, its digits in UTC ms; empty for no more than a comparison."""

    since: str = Field("", pattern="^[0-9]{0,13}$", max_length=13)


class ExitOrder(Order):
    """A symbol, the id of a position or its beginning, or ``all``; ``part`` is as in 50%, empty for the whole."""

    what: str = Field(min_length=1, max_length=80)
    part: str = Field("", pattern=r"^([0-9]{1,3}(\.[0-9]{1,8})?%)?$", max_length=13)


class PanicOrder(Order):
    """With ``foreign``, positions that are not the bot's are closed too."""

    foreign: StrictBool = False


class TrainOrder(Order):
    """A strategy that is in use."""

    strategy: str = Field(min_length=1, max_length=80)


class ExitOutcome(BaseModel):
    """What became of a position that was to be closed.

    closed, withdrawn (an entry), reduced or unchanged (where a part was to be closed), or closing (not over yet).
    """

    symbol: str
    outcome: Literal["closed", "withdrawn", "reduced", "unchanged", "closing"]
    left: str
    attempts: int
    reason: str


class Closing(Said):
    """The symbols whose positions were to be closed, and what became of each some seconds later."""

    closing: list[str]
    outcomes: list[ExitOutcome]


class Switched(Said):
    """The switch as it stands."""

    switch: SwitchState


class LinkKey(Said):
    """A key that signs in once, within five minutes."""

    key: str
