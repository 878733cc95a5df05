"""freqtrade's own client from PyPI, with all its commands, on a running bot."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bot import Bot, until

freqtrade_client = pytest.importorskip("freqtrade_client", reason="freqtrade-client is not installed: make install")
PASSWORD, VIEWER = "a password of the owner", "a password of who looks"
BTC = "BTC/USDT:USDT"


@pytest.fixture(scope="module")
def bot(tmp_path_factory) -> Iterator[Bot]:
    """A bot that has closed a trade and has one open."""
    held = Bot(tmp_path_factory.mktemp("client"), REVENANT__DASHBOARD__PASSWORD=PASSWORD,
               REVENANT__DASHBOARD__VIEWER_PASSWORD=VIEWER)  # fmt: skip
    held.start()
    yield held
    held.close()


@pytest.fixture(scope="module")
def address(bot: Bot) -> str:
    """Where it is served, once it has traded."""
    own = client(bot, address_of(bot))

    def traded() -> bool:
        return own.count()["current"] > 0 and own.trades()["total_trades"] > 0

    until(traded, "a closed trade and an open one", 240)
    return address_of(bot)


def address_of(bot: Bot) -> str:
    def noted() -> str:
        try:
            held = json.loads((bot.data / "dashboard.json").read_text())
        except (OSError, ValueError):
            return ""
        return f"http://127.0.0.1:{held['port']}"

    return until(noted, "the bot to serve")


def client(bot: Bot, address: str, password: str = PASSWORD) -> Any:
    return freqtrade_client.FtRestClient(address, "revenant", password, timeout=60)


REFUSED = "refused"
ASKED: dict[str, tuple[tuple[Any, ...], set[str] | str]] = {
    "ping": ((), {"status"}), "version": ((), {"version"}), "show_config": ((), {"state", "strategy", "timeframe"}),
    "balance": ((), {"currencies", "total", "stake"}), "count": ((), {"current", "max", "total_stake"}),
    "status": ((), {"trade_id", "pair", "current_rate", "stop_loss_abs"}), "profit": ((), {"profit_all_coin", "winrate"}),
    "stats": ((), {"exit_reasons", "durations"}), "performance": ((), {"pair", "profit_abs", "count"}),
    "daily": ((2,), {"data", "stake_currency"}), "weekly": ((2,), {"data"}), "monthly": ((2,), {"data"}),
    "entries": ((), {"enter_tag", "count"}), "exits": ((), {"exit_reason"}), "mix_tags": ((), {"mix_tag"}),
    "trades": ((5, 0), {"trades", "total_trades"}), "trade": (("NUMBER",), {"trade_id", "orders", "close_rate"}),
    "list_custom_data": (("NUMBER",), {"trade_id", "custom_data"}), "list_open_trades_custom_data": ((), {"trade_id"}),
    "whitelist": ((), {"whitelist", "length"}), "locks": ((), {"locks", "lock_count"}),
    "blacklist": ((), {"blacklist", "errors"}), "logs": ((20,), {"logs", "log_count"}),
    "strategies": ((), {"strategies"}), "strategy": (("scalp",), {"strategy", "code", "timeframe"}),
    "pairlists_available": ((), {"pairlists"}), "plot_config": ((), {"main_plot", "subplots"}),
    "available_pairs": ((), {"pairs", "pair_interval"}), "pair_candles": ((BTC, "15m", 50), {"columns", "data", "length"}),
    "pair_history": ((BTC, "15m", "scalp"), {"columns", "data"}), "sysinfo": ((), {"cpu_pct", "ram_pct"}),
    "health": ((), {"last_process_ts", "bot_start_ts"}), "stopbuy": ((), {"status"}), "stop": ((), {"status"}),
    "start": ((), {"status"}), "reload_config": ((), {"status"}), "forceexit": (("all",), {"result"}),
    "forceenter": ((BTC, "long"), REFUSED), "forcebuy": ((BTC,), REFUSED), "delete_lock": ((1,), REFUSED),
    "lock_add": ((BTC, "2030-03-30 16:00:00Z"), REFUSED), "delete_trade": (("NUMBER",), REFUSED),
    "cancel_open_order": (("NUMBER",), REFUSED),
}  # fmt: skip
"""Every command with what it is given, and what its answer has to tell at least."""


def test_every_command_of_the_client_is_tried_here():
    commands = {
        name for name, _ in inspect.getmembers(freqtrade_client.FtRestClient, inspect.isfunction) if name[0] != "_"
    }
    assert commands == set(ASKED)


@pytest.mark.parametrize("command", ASKED)
def test_every_command_is_answered_as_freqtrade_would(bot, address, command):
    own, (given, wanted) = client(bot, address), ASKED[command]
    number = own.trades(1)["trades"][0]["trade_id"]
    answer = getattr(own, command)(*(number if one == "NUMBER" else one for one in given))
    if wanted == REFUSED:
        assert set(answer) == {"detail", "error"}
        return
    for one in answer if isinstance(answer, list) else [answer]:
        assert set(wanted) - set(one) == set(), one


def test_a_symbol_is_kept_out_and_let_in_again(bot, address):
    own = client(bot, address)
    told = own.blacklist("BTC/USDT:USDT", "NOPE/USDT")
    assert (told["blacklist"], list(told["errors"])) == ([BTC], ["NOPE/USDT"])
    told = own._delete("blacklist", params={"pairs_to_delete": BTC})
    assert told["blacklist"] == []


def test_what_is_asked_is_done_and_stays_in_the_audit(bot, address):
    own = client(bot, address)
    own.stop()
    assert own.show_config()["state"] == "stopped"
    assert own.ping() == {"status": "not_running"}
    own.start()
    assert own.ping() == {"status": "pong"}
    audit = [json.loads(line) for line in (bot.data / "page-audit.jsonl").read_text().splitlines()]
    assert ["stopped", "running"] == [one["state"] for one in audit if one["what"] == "switch"][-2:]


def test_who_may_only_look_looks(bot, address):
    viewer = client(bot, address, VIEWER)
    assert viewer.trades()["total_trades"] > 0
    for refused in (viewer.stop(), viewer.forceexit("all"), viewer.start()):
        assert "lets you look" in refused["error"]
    assert "401" not in str(viewer.show_config())
    assert "not the password" in client(bot, address, "guessed and wrong").count()["detail"]
