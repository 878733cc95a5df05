"""The sections of the settings: every key, what it means, what it may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FieldSerializationInfo,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from domain.errors import BadData
from domain.trading_hours import TradingHours

ACCOUNT = re.compile(r"([a-z0-9][a-z0-9_]{0,23})?")
"""What an account may be called: it becomes part of file names and of keys."""


def listed(value: Any) -> Any:
    """Return a list that was written as text, or as a single number."""
    if isinstance(value, str):
        return tuple(part for part in re.split(r"[\s,;]+", value) if part)
    return (value,) if isinstance(value, int) else value


class Section(BaseModel):
    """Base of every section: frozen, and no key that is not listed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _lists_with_commas(cls, value: Any, info: ValidationInfo) -> Any:
        """Take a list of plain values that was written as text, as in the environment: ``BTC, ETH``."""
        kind = cls.model_fields[str(info.field_name)].annotation
        item = next(iter(get_args(kind)), None)
        plain = not (isinstance(item, type) and issubclass(item, BaseModel))
        return listed(value) if get_origin(kind) is tuple and plain else value


class Trading(Section):
    """What is traded, and how.

    Attributes:
        mode: ``paper`` fills in the process from the live feed, ``live`` sends orders (needs LIVE_CONFIRM).
        account: what this account is called where several bots share a database and a Redis: paper trades and a
            practice exchange's are kept under it, and keys in Redis begin with it. Empty: the only bot there.
        symbols: symbols to trade, written in any way (what matches nothing is an error); empty: the ``top`` ones.
        top: how many symbols to take by turnover of 24 hours.
        blacklist: symbols never traded, such as BTC, BTC/USDT:USDT or 1000*; what matches nothing is an error.
        allow: kinds of contracts that are chosen and entered beside plain coins: ``innovation`` (young), ``stock``,
            ``commodity``, ``forex``, ``other``, ``pre_listing`` (not fully listed), ``delisting`` (delivery announced).
        before_delivery: what is done about a position in a contract to be delisted: ``tell`` only, or ``close`` it.
        before_delivery_h: how many hours before.
        leverage: highest leverage of a position; less where its stop would come too near to liquidation.
        history_bars: bars kept in memory per series.
        entry_order: ``market``, or ``limit`` at the signal's price.
        unfilled_timeout_s: market seconds after which an entry order that has not filled is cancelled.
        unknown_positions: what is done about positions on the account that are not the bot's: ``ignore`` (alert
            only), ``protect`` (give them a stop), ``flatten`` (close them) or ``adopt`` (manage them as its own).
        protect_percent: distance of a stop that the bot has to choose by itself, in percent of the price.
    """

    mode: Literal["paper", "live"] = "paper"
    account: str = ""
    symbols: tuple[str, ...] = ()
    top: int = Field(20, ge=1, le=1_000)
    blacklist: tuple[str, ...] = ()
    allow: tuple[Literal["innovation", "stock", "commodity", "forex", "other", "pre_listing", "delisting"], ...] = (
        "innovation",
    )
    before_delivery: Literal["tell", "close"] = "close"
    before_delivery_h: float = Field(12.0, gt=0, le=720)
    leverage: Decimal = Field(Decimal(5), ge=1, le=100)
    history_bars: int = Field(1000, ge=100, le=5000)
    entry_order: Literal["market", "limit"] = "market"
    unfilled_timeout_s: int = Field(1800, ge=10)
    unknown_positions: Literal["ignore", "protect", "flatten", "adopt"] = "ignore"
    protect_percent: Decimal = Field(Decimal(5), gt=0, lt=50)

    _listed = field_validator("symbols", "blacklist", mode="before")(listed)

    @field_validator("account")
    @classmethod
    def _account_name(cls, name: str) -> str:
        if not ACCOUNT.fullmatch(name):
            raise ValueError("a name of at most 24 lower-case letters, digits and underscores, such as btc_trend")
        return name


class Protection(Section):
    """One protection, in freqtrade's terms; times in market minutes.

    Attributes:
        method: StoplossGuard, MaxDrawdown, LowProfitPairs or CooldownPeriod.
        lookback_period: how far back closed trades count.
        trade_limit: trades (for StoplossGuard: stop losses) needed to trigger.
        stop_duration: how long entries stay blocked.
        only_per_pair: block the symbol only, instead of everything.
        required_profit: LowProfitPairs: least sum of profits in percent of entry value.
        max_allowed_drawdown: MaxDrawdown: largest drop from the best running sum, as a fraction of the equity.
    """

    method: Literal["StoplossGuard", "MaxDrawdown", "LowProfitPairs", "CooldownPeriod"]
    lookback_period: int = Field(60, ge=1)
    trade_limit: int = Field(4, ge=1)
    stop_duration: int = Field(60, ge=1)
    only_per_pair: bool = False
    required_profit: float = 0.0
    max_allowed_drawdown: float = Field(0.1, gt=0, le=1)


class Risk(Section):
    """How much may be lost.

    Attributes:
        percent: money lost at the stop, fees included, in percent of the equity.
        max_open_trades: positions at a time.
        max_exposure: value of all positions as a multiple of the equity.
        max_position: value of one position as a multiple of the equity.
        daily_loss_percent: loss of a UTC day, open positions included, after which no entry is made.
        max_order_value: value of an entry, in quote units, beyond which it is refused; 0 for no such limit.
        max_orders_per_minute: orders that open something in a minute of market time, then none; 0 for no such limit.
        max_equity_step: no entries while the equity told is so many times the last one, that part of it, or nothing.
        max_cost_r: a signal whose fees, spread, slippage and expected funding are more than this share of what it risks
            is refused (gate ``costs``); 0 for no such limit. The practice exchange has ``sandbox.max_cost_r`` instead.
        max_equity: no entries while more is told, be it the first that is told after a start; 0 for no such limit.
        protections: further reasons to make no entry.
    """

    percent: Decimal = Field(Decimal(1), gt=0, le=10)
    max_open_trades: int = Field(8, ge=1, le=200)
    max_exposure: Decimal = Field(Decimal(4), gt=0, le=100)
    max_position: Decimal = Field(Decimal(1), gt=0, le=100)
    daily_loss_percent: Decimal = Field(Decimal(6), gt=0, le=100)
    max_order_value: Decimal = Field(Decimal(0), ge=0)
    max_orders_per_minute: int = Field(0, ge=0)
    max_equity_step: Decimal = Field(Decimal(10), gt=1)
    max_equity: Decimal = Field(Decimal(0), ge=0)
    max_cost_r: Decimal = Field(Decimal("0.15"), ge=0)
    protections: tuple[Protection, ...] = ()


class Exits(Section):
    """How positions are managed; distances in R, the distance from entry to first stop.

    Attributes:
        partial_r: partial target, 0 for none.
        partial_fraction: share taken off there.
        break_even: move the stop to the entry afterwards.
        trail_start_r: favourable move after which the stop trails, 0 for never.
        trail_distance_r: distance of the trailing stop.
        timeout_bars: bars of the strategy's timeframe after which the position is closed, 0 for never.
        minimal_roi: gains that are enough, as fractions of the entry price, each by the minutes from which on it is.
        trailing: gains, as fractions of the entry price, from which on the stop trails, each with its distance behind
            the best price as a fraction of that.
        least_gain: gain, as a fraction of the entry price, above which a strategy's Leave is followed.
    """

    partial_r: float = Field(0.0, ge=0, le=20)
    partial_fraction: float = Field(0.5, gt=0, lt=1)
    break_even: bool = True
    trail_start_r: float = Field(0.0, ge=0, le=20)
    trail_distance_r: float = Field(1.0, gt=0, le=20)
    timeout_bars: int = Field(0, ge=0)
    minimal_roi: dict[Annotated[int, Field(ge=0)], Annotated[Decimal, Field(gt=-1, le=100)]] = {}
    trailing: dict[Annotated[Decimal, Field(ge=0, lt=1)], Annotated[Decimal, Field(gt=0, lt=1)]] = {}
    least_gain: Decimal | None = Field(None, gt=-1, lt=1)

    @classmethod
    def brought(cls, told: object) -> Exits:
        """Return the exits that a strategy's class brings. Raises BadData: which of them is wrong, and why."""
        try:
            return cls.model_validate(dict(told) if isinstance(told, Mapping) else told)
        except ValidationError as error:
            first = error.errors()[0]
            raise BadData(f"its {'.'.join(map(str, ('exits', *first['loc'])))}: {first['msg']}") from error


class StrategySchedule(Section):
    """When a strategy may enter, in UTC; its positions are managed at any time.

    Attributes:
        days: days of the week (mon, tue, ... or mon-fri); empty for every day.
        hours: hours of the day, such as 07:00-16:00, past midnight 22:00-02:00; empty for the whole day.
    """

    days: tuple[str, ...] = ()
    hours: tuple[str, ...] = ()

    @field_validator("days", "hours")
    @classmethod
    def _can_be_read(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        try:
            TradingHours.written(**{"days": (), "hours": (), str(info.field_name): value})
        except BadData as error:
            raise ValueError(str(error)) from error
        return value

    @property
    def read(self) -> TradingHours:
        """What it means."""
        return TradingHours.written(self.days, self.hours)


class StrategyChoice(Section):
    """One strategy: whether it runs, where, at which risk, its own parameters, its exits.

    Attributes:
        markets: ``practice`` for the practice exchange only, ``real`` for everything else, ``all`` for both; a backtest
            that names the strategy runs it on any.
        symbols: those of the traded symbols that it takes, written in any way, patterns too; empty for all.
        blacklist: symbols that it does not take, written in the same ways.
        risk_percent: its risk per trade in percent of the equity instead of ``risk.percent``.
        leverage: the highest leverage of its positions, below ``trading.leverage``.
        schedule: when it may enter.
    """

    enabled: bool = True
    markets: Literal["all", "practice", "real"] = "all"
    symbols: tuple[str, ...] = ()
    blacklist: tuple[str, ...] = ()
    risk_percent: Decimal | None = Field(None, gt=0, le=10)
    leverage: Decimal | None = Field(None, ge=1)
    schedule: StrategySchedule = StrategySchedule()
    parameters: dict[str, Any] = {}
    exits: Exits = Exits()

    _listed = field_validator("symbols", "blacklist", mode="before")(listed)

    @field_serializer("exits")
    def _as_they_are_set(self, exits: Exits, info: FieldSerializationInfo) -> dict[str, Any]:
        # what is not set is as the strategy's class brings it, in another process too
        return exits.model_dump(mode=info.mode, exclude_unset=True)


class Bybit(Section):
    """Where Bybit serves the account, and our key there.

    Attributes:
        region: the site that the account is registered at (``global`` is www.bybit.com); it chooses the addresses.
        rest: the REST address instead of the region's.
        streams: addresses of the streams instead of the region's, tried in turn.
        testnet_rest: the test net's REST address instead of the documented one.
        testnet_streams: addresses of the test net's streams instead of the documented ones.
        demo_rest: demo trading's REST address instead of the documented one.
        demo_streams: addresses of demo trading's private stream instead of the documented one.
        api_key: the API key; it needs the rights Orders and Positions for contracts, and none to withdraw.
        api_secret: the key's secret.
    """

    region: Literal["global", "eu", "nl", "tr", "kz", "ge", "ae", "id", "jp"] = "global"
    rest: str = ""
    streams: tuple[str, ...] = ()
    testnet_rest: str = ""
    testnet_streams: tuple[str, ...] = ()
    demo_rest: str = ""
    demo_streams: tuple[str, ...] = ()
    api_key: SecretStr = SecretStr("")
    api_secret: SecretStr = SecretStr("")


class Sandbox(Section):
    """The practice exchange.

    Attributes:
        speed: market seconds per second.
        seed: made-up markets with the same seed are the same.
        symbols: how many made-up markets there are.
        wallet: USDT to begin with.
        replay: candle files to play instead (PATH or SYMBOL=PATH), for the sources mock and test.
        step: send the next bars only after the bot has handled the last.
        idle_exit_s: leave when nobody has asked anything for so long.
        slices: fill orders by an order book, in several executions, as a real exchange does; else whole.
        quiet: share of the made-up markets, those that trade least, with minutes in which nothing trades.
        marked: contracts to mark as no coins, such as BSVUSDT=stock (or commodity, innovation, pre_listing).
        max_cost_r: as ``risk.max_cost_r``; 0 for no such limit, since its markets are made so that something happens.
        now: market time is the machine's time, at speed 1, as other bots in dry-run want it.
    """

    speed: float = Field(120.0, gt=0, le=10_000)
    seed: int = 1
    symbols: int = Field(20, ge=1, le=1000)
    wallet: Decimal = Field(Decimal(10_000), gt=0)
    replay: tuple[str, ...] = ()
    step: bool = False
    idle_exit_s: float = Field(900, ge=10)
    slices: bool = True
    quiet: float = Field(0.0, ge=0, le=1)
    marked: tuple[str, ...] = ()
    now: bool = False
    max_cost_r: Decimal = Field(Decimal(0), ge=0)


class Paper(Section):
    """Costs of simulated fills, as fractions of the price, and the paper money to begin with.

    Attributes:
        slices: fill paper orders by an order book made from the last bar, in several executions; else whole.
    """

    wallet: Decimal = Field(Decimal(10_000), gt=0)
    taker_fee: Decimal = Field(Decimal("0.00055"), ge=0, lt=Decimal("0.1"))
    maker_fee: Decimal = Field(Decimal("0.0002"), ge=0, lt=Decimal("0.1"))
    half_spread: Decimal = Field(Decimal("0.0001"), ge=0, lt=Decimal("0.1"))
    slippage: Decimal = Field(Decimal("0.0002"), ge=0, lt=Decimal("0.1"))
    slices: bool = False


class Feed(Section):
    """Limits of the live feed, in seconds of the host's clock.

    Attributes:
        stale_s: a stream blocks entries when neither a frame nor an answer over REST has shown for so long that it
            misses nothing; a market in which nothing is traded misses nothing.
        grace_s: how long bars that close together are waited for.
        topics_per_connection: streams that share a socket.
    """

    stale_s: float = Field(75, ge=2)
    grace_s: float = Field(1.5, gt=0, le=30)
    topics_per_connection: int = Field(200, ge=1, le=1000)


class Storage(Section):
    """How candles are kept.

    Attributes:
        summary_s: time between two summaries, at which also everything unsaved is saved.
        candle_days: how many days of a bot's 3m and 15m bars are kept, pinned ranges excepted; 0 for all.
        pending_max: bars waiting to be saved.
    """

    summary_s: float = Field(900, ge=1)
    candle_days: int = Field(0, ge=0)
    pending_max: int = Field(50_000, ge=100)


class Health(Section):
    """Whether the bot is well.

    Attributes:
        watchdog_s: the process ends itself, to be started afresh, when its event loop has stood still for so long.
        strategy_s: a strategy that takes longer for a bar, or to warm up on a symbol, is switched off.
    """

    watchdog_s: float = Field(60.0, ge=1)
    strategy_s: float = Field(5.0, gt=0, le=60)


class Heartbeat(Section):
    """Tells somebody outside that the bot is able to trade, so that its silence is noticed.

    Attributes:
        url: address that is asked while the bot is able to trade, such as a check of healthchecks.io; empty for none.
        every_s: how often.
    """

    url: SecretStr = SecretStr("")
    every_s: float = Field(60.0, ge=5, le=3600)

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not re.fullmatch(r"https?://[^\s/]+\S*", value.get_secret_value()):
            raise ValueError("give an address such as https://hc-ping.com/...")
        return value


class Backup(Section):
    """Copies of everything in one file each (``manage.py backup``).

    Attributes:
        daily: whether the bot makes one a day by itself, at half past four (UTC).
        folder: where they lie; empty for ``backups`` in the data folder. On another disk they outlive this one.
        keep: how many are kept; older ones are deleted after a new one has been proven.
    """

    daily: bool = True
    folder: str = ""
    keep: int = Field(7, ge=1, le=1000)


class Ml(Section):
    """How signals are scored and models trained (docs/learning.md).

    Attributes:
        enabled: whether scores refuse signals, and models are trained; without it signals are scored only.
        margin_r: least expected gain in R after fees that a model must see in a signal.
        floor: least score, 100 times the probability of a gain.
        rule_floor: least points by the rule that judges while there is no model.
        untrained: what becomes of signals of a strategy without a model in live trading: ``phantom`` follows them only,
            ``rule`` trades what passes the rule. Paper and practice always trade by the rule.
        executed_min: executed trades that training begins at; a phantom counts as much of one as phantom_share says.
        phantom_weight: weight of a phantom beside an executed trade in training.
        past_weight: weight of a signal of the past there, as ml bootstrap finds them; 0 leaves them out.
        retrain_every: lessons more than last time after which a strategy is trained again.
        lessons_max: newest lessons that are learned from.
        train_s: longest that a training run may take.
    """

    enabled: bool = True
    margin_r: float = Field(0.0, ge=-1, le=5)
    floor: float = Field(30.0, ge=0, le=100)
    rule_floor: float = Field(50.0, ge=0, le=100)
    untrained: Literal["phantom", "rule"] = "phantom"
    executed_min: int = Field(30, ge=10, le=100_000)
    phantom_share: float = Field(0.3, gt=0, le=1)
    phantom_weight: float = Field(0.8, gt=0, le=1)
    past_weight: float = Field(0.4, ge=0, le=1)
    retrain_every: int = Field(50, ge=5, le=100_000)
    lessons_max: int = Field(20_000, ge=100, le=1_000_000)
    train_s: float = Field(900.0, ge=10)
