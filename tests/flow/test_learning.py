"""A running bot teaches itself from its signals, and neither a kill nor a flush nor a forger changes what it knows."""

from __future__ import annotations

import json
import stat

import pytest
import sqlalchemy as sa

from ml.phantom_tracker import COMPLETED_MAX
from persistence.database import Database
from persistence.keyvalue import Redis
from tests.bot import SPEED

# few markets that go fast: folds are cut by market time, so lessons of many markets at one time teach nothing sooner
EAGER = {
    "REVENANT__SANDBOX__SPEED": SPEED, "REVENANT__SANDBOX__SYMBOLS": "12", "REVENANT__TRADING__TOP": "12", "REVENANT__ML__EXECUTED_MIN": "20",
    "REVENANT__ML__PHANTOM_SHARE": "1", "REVENANT__ML__RETRAIN_EVERY": "10",
}  # fmt: skip
TRAINED = {"promoted", "rejected"}


def told(bot, *command: str, within: float = 60) -> dict:
    answer = bot.manage(*command, "--json", within=within)
    assert answer.stdout, answer.stderr
    return json.loads(answer.stdout)


def trained(bot) -> int:
    return sum(line["event"] == "model trained" and line["verdict"] in TRAINED for line in bot.lines())


@pytest.mark.parametrize("kind", ["PostgreSQL and Redis", "neither"])
def test_models_train_by_themselves_and_survive(make_bot, request, kind):
    redis = None
    settings = dict(EAGER)
    if kind != "neither":
        settings["DATABASE_URL"] = request.getfixturevalue("postgres_url")
        server = request.getfixturevalue("own_redis")
        settings["REDIS_URL"] = server.url
        redis = Redis(server.url)
    bot = make_bot(**settings)
    bot.start()
    bot.wait_ready()
    bot.wait_for("a training run", lambda _: trained(bot) >= 1, 150)
    info = bot.get("/api/v1/models")[1]["strategies"]
    assert set(info) == {"trend_pullback", "mean_reversion", "scalp"}
    assert any(one["last_result"] for one in info.values())
    bot.kill9()

    before = {run["run_id"]: run for run in told(bot, "ml", "runs")}
    run = next(run for run in before.values() if run["verdict"] in TRAINED)
    assert run["lessons"] == run["executed"] + run["phantoms"] >= 10
    assert len(run["report"]["importance"]) == 34
    assert {"log_loss", "base_log_loss", "brier", "auc", "trained_on", "tried_on"} <= set(run["report"]["folds"][0])
    verdict = told(bot, "audit", "verify")
    assert (verdict["clean"], verdict["chains"], verdict["faults"]) == (True, 1, [])
    offline = told(bot, "ml", "info")
    assert {name: one["last_result"] and one["last_result"]["trained_at"] for name, one in offline.items()}
    if redis is not None:
        redis.client.flushall()
    else:
        assert stat.S_IMODE((bot.data / "model.key").stat().st_mode) == 0o600

    runs = trained(bot)
    bot.start()
    status = bot.wait_ready()
    assert status["phantoms"]["total"] >= min(verdict["journaled"] // 2, COMPLETED_MAX)
    bot.wait_for("another run", lambda _: trained(bot) > runs, 150)
    assert {one["run_id"] for one in told(bot, "ml", "runs")} > before.keys()
    if redis is not None:
        bot.wait_for("Redis to be filled again", lambda _: redis.client.llen("phantom:completed") > 0)
        assert redis.client.hlen("phantom:active") >= 0
        assert redis.client.get("ml:scalp:last_train_count") or redis.client.get("ml:mr:last_train_count")
    assert bot.stop() == 0
    assert told(bot, "audit", "verify")["faults"] == []

    database = Database(settings.get("DATABASE_URL") or f"sqlite:///{bot.data / 'revenant.sqlite'}")
    with database.transaction() as connection:
        off = (
            "ALTER TABLE phantom_trades_live DISABLE TRIGGER USER"
            if redis
            else "DROP TRIGGER phantom_trades_live_fixed"
        )
        connection.execute(sa.text(off))
        connection.execute(sa.text("UPDATE phantom_trades_live SET gate = 'forged' WHERE n = 5"))
    database.close()
    answer = bot.manage("audit", "verify", "--json")
    assert answer.returncode == 1
    assert "row 5 " in json.loads(answer.stdout)["faults"][0]
    if redis is not None:
        redis.close()


def test_a_strategy_can_be_trained_by_command_with_and_without_the_bot(make_bot):
    # it does not train by itself here, as the command would wait for its turn; the training process yields to all
    # others, which on a busy machine takes a while: the command itself allows it ml.train_s
    bot = make_bot(**EAGER | {"REVENANT__ML__RETRAIN_EVERY": "100000"})
    bot.start()
    bot.wait_ready()
    bot.wait_for("lessons", lambda _: bot.get("/api/v1/models")[1]["strategies"]["scalp"]["completed"] >= 3)
    online = told(bot, "ml", "train", "scalp", within=150)["scalp"]
    assert online["last_result"]["verdict"]
    wrong = bot.manage("ml", "train", "nothing")
    assert wrong.returncode == 1
    assert "there are trend_pullback, mean_reversion, scalp" in wrong.stdout
    assert bot.stop() == 0
    offline = told(bot, "ml", "train", "scalp", within=150)["scalp"]
    assert offline["last_result"]["verdict"]
    assert len([run for run in told(bot, "ml", "runs", "-s", "scalp")]) >= 2
    shown = bot.manage("ml", "info")
    assert "lessons" in shown.stdout
    assert "last run" in shown.stdout
    assert bot.manage("ml", "train", "nothing").returncode == 1


def test_what_the_rule_does_not_pass_is_followed_only(make_bot):
    bot = make_bot(REVENANT__ML__RULE_FLOOR="100")
    bot.start()
    bot.wait_ready()
    status = bot.wait_for("signals refused by the rule", lambda s: s["refused"].get("score", 0) >= 2)
    assert bot.stop() == 0
    # without a whole window there is nothing to judge by
    assert status["refused"]["score"] > status["taken"]
