"""``doctor --live`` says what is missing for real money before anything is asked over the network, and without one."""

from __future__ import annotations

import json

import pytest

from tests.commands import Commands

KEYS = {"BYBIT_API_KEY": "key-of-a-test", "BYBIT_API_SECRET": "secret-of-a-test"}


def examined(folder, *arguments: str, **environment: str) -> dict[str, tuple[str, str]]:
    commands = Commands(folder / "data", "", "http://127.0.0.1:1")
    commands.environment |= {"REVENANT__BYBIT__REST": "http://127.0.0.1:1", **environment}
    _, out, _ = commands.run("doctor", *arguments, "--json")
    return {row["name"]: (row["state"], row["detail"]) for row in json.loads(out)}


@pytest.mark.parametrize("source", ["synthetic", "bybit", "bybit_testnet", "alpaca"])
@pytest.mark.parametrize("keys", [{}, KEYS, {**KEYS, "LIVE_CONFIRM": "1"}], ids=["nothing", "keys", "confirmed"])
def test_what_is_missing_is_told_without_a_network(tmp_path, source, keys):
    """Found offline: "exchange: fail", and not a word of the key and the confirmation that were missing."""
    found = examined(tmp_path, "--live", DATA_SOURCE=source, REVENANT__TRADING__SYMBOLS="BTC/USD", **keys)
    assert found["live source"][0] == ("ok" if source.startswith("bybit") else "fail")
    assert found["live key"][0] == ("ok" if keys else "fail")
    assert found["live confirmed"][0] == ("ok" if "LIVE_CONFIRM" in keys else "fail")
    assert {"live mode", "live risk", "live watched", "live in hand", "live backups"} <= found.keys()
    if source == "bybit":
        assert found["exchange"] == ("fail", "cannot reach 127.0.0.1:1: connection refused")
    names = list(found)
    assert names.index("live source") < names.index("exchange")


def test_settings_that_no_bot_could_start_on_are_a_finding_and_end_nothing(tmp_path):
    found = examined(tmp_path, DATA_SOURCE="bybit", REVENANT__TRADING__MODE="live")
    assert found["settings"] == ("fail", "trading.mode: live needs BYBIT_API_KEY and BYBIT_API_SECRET")
    assert found["live key"][0] == "fail"
    assert "live key" not in examined(tmp_path, DATA_SOURCE="bybit")
