"""The whole bot tells a web service of what it does, also what happened while that service was away."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.bot import until


class Service:
    """A web service of somebody's: keeps what is posted; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.posts, self.status = [], 204
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.posts.append((service.status, body))
                self.send_response(service.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/s3cr3t-hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def taken(self, kind: str) -> list[dict[str, str]]:
        """Return what was taken of a kind, oldest first."""
        return [body for status, body in list(self.posts) if status < 300 and body["kind"] == kind]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service():
    held = Service()
    yield held
    held.close()


def test_a_webhook_is_told_of_every_trade_though_it_is_away_for_a_while(make_bot, service):
    hooks = [{"name": "ops", "url": service.url, "group_s": 0.05, "notices": {"refused": "off", "partial": "off"}}]
    bot = make_bot(REVENANT__WEBHOOKS=json.dumps(hooks))
    service.status = 503
    bot.start()
    bot.wait_ready()
    until(lambda: service.posts, "the first attempt")
    failing = bot.wait_for("the failure to be told", lambda s: s["recipients"]["ops"]["failing"])["recipients"]["ops"]
    assert ("503" in failing["failing"], failing["sent"], failing["waiting"] > 0) == (True, 0, True)
    service.status = 204
    bot.wait_for("a closed trade", lambda s: s["closed"] >= 1)
    assert bot.manage("panic", "--seconds", "240").returncode == 0
    trades = {row["trade_id"]: row for row in json.loads(bot.manage("trades", "list", "--json", "-n", "1000").stdout)}
    until(lambda: len(service.taken("exit")) >= len(trades), "every exit")
    told = {one["trade_id"]: one for one in service.taken("exit")}
    # each once, with the figures of the record
    assert len(service.taken("exit")) == len(told) == len(trades)
    assert {key: (one["symbol"], one["pnl_usd"]) for key, one in told.items()} == {
        key: (row["symbol"], row["pnl_usd"]) for key, row in trades.items()
    }
    assert service.taken("startup")[0]["mode"] == "SYNTHETIC"
    code, tried = bot.manage("notices", "test", "--json"), service.taken("startup")
    assert (code.returncode, json.loads(code.stdout)) == (0, [{"recipient": "ops", "taken": True, "reason": ""}])
    assert tried[-1]["text"] == "🔔 Test notice from Revenant"
    assert bot.stop() == 0
    assert "Stopping, as told" in service.taken("shutdown")[0]["text"]
    assert "s3cr3t" not in bot.log()


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("WEBHOOKS", [{"name": "a", "url": "ftp://s3cr3t"}], "webhooks.0.url: ***: give an address that begins with https"),
        ("WEBHOOKS", [{"name": "a", "url": "http://s3cr3t", "style": "irc"}], "'irc'"),
        ("WEBHOOKS", [{"name": "a", "url": "http://s3cr3t", "template": {"x": "{nosuch}"}}], "{nosuch} is no value of"),
        ("WEBHOOKS", [{"name": "a", "url": "http://s3cr3t", "style": "slack", "template": {"x": "y"}}], "a body of its own"),
        ("WEBHOOKS", [{"name": "a", "url": "http://s3cr3t", "style": "form", "template": {"x": 1}}], "form are texts"),
        ("WEBHOOKS", [{"name": "a", "url": "http://s3cr3t"}] * 2, "two are called a"),
        ("WEBHOOKS", [{"name": "A b", "url": "http://s3cr3t"}], "webhooks.0.name"),
        ("WEBHOOKS", [{"name": "a", "url": "http://s3cr3t", "notices": {"nosuch": "on"}}], "nosuch"),
        ("EMAIL", {"host": "h", "sender": "me", "recipients": ["a@b"]}, "'me' is not an address"),
        ("EMAIL", {"host": "h", "sender": "a@b"}, "list who is told"),
        ("EMAIL", {"host": "h", "sender": "a@b", "recipients": ["a@b"], "security": "none"}, "use tls or starttls"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_recipient_is_said_before_anything_starts(make_bot, setting, value, said):
    answer = make_bot(**{f"REVENANT__{setting}": json.dumps(value)}).manage("notices", "test")
    assert answer.returncode == 2
    assert said in answer.stderr
    assert "s3cr3t" not in answer.stderr
    assert "Traceback" not in answer.stderr
