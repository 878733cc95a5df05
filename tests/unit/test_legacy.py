"""What an earlier program left open in Redis is taken over once, and nothing of it is thrown away."""

from __future__ import annotations

import json
from decimal import Decimal as D

from domain.candle import timeframe_ms
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.order import Side
from ml.legacy import Strategy, convert
from persistence.database import Database
from persistence.keyvalue import Redis
from persistence.phantom_mirror import ACTIVE, COMPLETED
from persistence.phantom_trail import PhantomTrail
from persistence.state import RedisState
from tests.unit.test_phantom_tracker import WHO

STRATEGIES = {"trend_pullback": Strategy("15m", ExitPlan()), "scalp": Strategy("3m", ExitPlan())}
COSTS = Costs(D(0), D(0), D(0), D(0))


def phantom(**more) -> dict:
    return {
        "symbol": "BTCUSDT", "side": "long", "entry_price": 65000.5, "stop_loss": 64000, "take_profit": 67000,
        "signal_time": "2025-11-13T10:15:07.123", "ml_score": 71.5, "was_executed": False, "features": {"x": 1},
        "strategy_name": "trend_pullback", "phantom_id": "ab12cd34", **more,
    }  # fmt: skip


def taken(tree) -> tuple:
    return convert(json.dumps(tree).encode(), WHO, STRATEGIES, {"BTCUSDT": "BTC/USDT:USDT"}.get, COSTS)


def test_lists_and_single_phantoms_are_taken_over():
    found, wrong = taken(
        {"BTCUSDT": [phantom(), phantom(strategy_name="scalp", side="SHORT", stop_loss=66000, take_profit=63000)]}
    )
    assert wrong == []
    first, second = found
    assert (first.symbol, first.timeframe, first.side, first.ml_score) == ("BTC/USDT:USDT", "15m", Side.LONG, 71.5)
    assert first.signal_time % timeframe_ms("15m") == 0
    assert (first.next_open, first.features, first.gate) == (first.signal_time, None, "earlier_program")
    assert (first.bracket.entry, first.bracket.first_stop, first.bracket.target) == (D("65000.5"), D(64000), D(67000))
    assert (second.strategy_name, second.side) == ("scalp", Side.SHORT)
    assert taken({"BTCUSDT": phantom(strategy_name="trend")})[0] == [first]
    assert taken({"BTCUSDT": phantom(was_executed=True)})[0][0].was_executed


def test_what_cannot_be_followed_is_told_one_by_one():
    tree = {"BTCUSDT": [phantom(), phantom(symbol="X"), phantom(strategy_name="mr"), phantom(stop_loss=70000), {"a": 1}, 7,
                        phantom(signal_time="soon"), phantom(entry_price="much")]}  # fmt: skip
    found, wrong = taken(tree)
    assert (len(found), len(wrong)) == (1, 7)
    for text in (b"{", b"[1]", b"7", b"\xff"):
        found, wrong = convert(text, WHO, STRATEGIES, {}.get, COSTS)
        assert (found, len(wrong)) == ([], 1)


def test_a_string_under_our_key_is_converted_once_and_put_away(tmp_path, own_redis):
    database, redis = Database(f"sqlite:///{tmp_path / 'main.sqlite'}"), Redis(own_redis.url)
    text = json.dumps({"BTCUSDT": [phantom()]}).encode()
    redis.client.set(ACTIVE, text)
    redis.client.set(COMPLETED, b"[]")

    def trail() -> PhantomTrail:
        return PhantomTrail(database, WHO, tmp_path, RedisState(redis), ["scalp"],
                            lambda text: convert(text, WHO, STRATEGIES, {"BTCUSDT": "BTC/USDT:USDT"}.get, COSTS))  # fmt: skip

    # the mirror alone never throws it away
    mirror = trail()
    assert mirror.mirror.load() == []
    mirror.mirror.rest()
    assert redis.client.get(f"{ACTIVE}:legacy") == text
    held = trail()
    (record,) = held.legacy()
    assert held.legacy() == [record]
    held.converted()
    held.add([record])
    held._settling.flush(0)
    held._mirroring.flush(0)
    assert (trail().legacy(), redis.client.get(f"{ACTIVE}:converted")) == ([], text)
    assert redis.client.hkeys(ACTIVE) == [record.phantom.phantom_id.encode()]
    assert redis.client.get(f"{COMPLETED}:legacy") == b"[]"
    redis.client.delete(ACTIVE)
    redis.client.set(ACTIVE, b"junk")
    assert trail().legacy() == []
    assert redis.client.get(f"{ACTIVE}:converted") == b"junk"
    redis.close()
    database.close()
