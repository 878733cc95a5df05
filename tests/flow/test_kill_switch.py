"""The owner's commands while others do all they can at the port that everybody shares."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import urllib.error
import urllib.request

from tests.flow.test_control import answer

SILENT = 220


def guess(port: int) -> int:
    body = json.dumps({"secret": "x" * 30}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/session", body, {"Content-Type": "application/json"}
    )
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=30) as told:
        return told.status
    return 0


def test_neither_a_crowd_nor_wrong_secrets_nor_a_proxy_deny_the_owner_anything(make_bot):
    """Found as three faults: "too many wrong tries", a KeyError under load, and the token in a proxy's log."""
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    bot.wait_for("an open position", lambda s: s["open"] >= 1)
    port = json.loads((bot.data / "dashboard.json").read_text())["port"]
    assert (bot.data / "bot.sock").stat().st_mode & 0o777 == 0o600
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        proxy.setblocking(False)
        bot.environment["http_proxy"] = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        assert [guess(port) for _ in range(6)] == [0] * 6
        for _ in range(SILENT):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
        assert answer(bot, "pause")[0] == 0
        assert answer(bot, "status")[1]["switch"] == "paused"
        code, body = answer(bot, "panic", "--seconds", "60")
        assert (code, body["switch"], body["open"], body["pending"]) == (0, "stopped", 0, 0), body
        assert bot.get("/healthz") == (200, {"alive": True})
        try:
            proxy.accept()
        except BlockingIOError:
            pass
        else:
            raise AssertionError("the proxy was asked")
    code, verdict = answer(bot, "trades", "verify")
    assert (code, verdict["clean"]) == (0, True), verdict
    assert bot.stop() == 0
    assert not (bot.data / "bot.sock").exists()


def test_a_bot_whose_socket_was_removed_is_named_and_the_way_out_works(make_bot):
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    (bot.data / "bot.sock").unlink()
    for arguments in (("status",), ("stop",), ("panic",)):
        done = bot.manage(*arguments)
        said = " ".join(done.stderr.split())
        assert done.returncode == 2, said
        assert f"process {bot.process.pid} runs the bot of" in said
        assert f"end it (kill {bot.process.pid}) and start it again" in said
    bot.kill9()
    bot.start()
    bot.wait_ready()
    assert answer(bot, "stop")[0] == 0
    assert bot.stop() == 0


def test_a_full_disk_under_the_audit_stops_nobody_from_stopping(make_bot):
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    (bot.data / "page-audit.jsonl").unlink(missing_ok=True)
    (bot.data / "page-audit.jsonl").symlink_to("/dev/full")
    code, body = answer(bot, "stop")
    assert (code, body.get("switch")) == (0, "stopped"), body
    assert "done, but not in the audit log" in body["unaudited"]
    code, body = answer(bot, "start")
    assert code == 1
    assert "nothing was done: the audit log does not take it" in body["error"]
    assert answer(bot, "status")[1]["switch"] == "stopped"
    code, body = answer(bot, "panic", "--seconds", "60")
    assert (code, body["open"], "unaudited" in body) == (0, 0, True), body
    assert bot.stop() == 0


def test_panic_closes_everything_though_the_journal_is_gone(make_bot):
    """Found as a refusal: "no bot has ever lived here", while its positions were open."""
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    bot.wait_for("an open position", lambda s: s["open"] >= 1)
    bot.kill9()
    shutil.rmtree(bot.data / "journal")
    code, body = answer(bot, "panic", "--seconds", "240")
    assert (code, body["switch"], body["open"], body["pending"]) == (0, "stopped", 0, 0), body
    code, verdict = answer(bot, "trades", "verify")
    assert (code, verdict["clean"]) == (0, True), verdict
