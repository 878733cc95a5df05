"""Notices to webhooks and by e-mail: gathered, in order, kept while nobody takes them, never in trading's way."""

from __future__ import annotations

import asyncio
import email
import ssl
import subprocess
from datetime import UTC, datetime
from decimal import Decimal as D
from email.policy import default
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from domain.errors import Rejected, Unavailable
from domain.notice import USUAL, VALUES, Notice
from domain.trade import Trade
from engine.commands import SwitchedOff
from engine.published import Entered
from engine.threads import Tier
from notices.announcement import Announcement, values_of
from notices.mail import Mail, Server
from notices.outlet import RETRY, Outlet, Wait
from notices.webhook import SUPPRESS_NOTIFICATIONS, TEXT_MAX, Webhook
from tests.desk import trade
from tests.servers import free_port
from tests.torture.virtual import run_virtually

WHEN = datetime(2026, 11, 30, 9, 15, tzinfo=UTC)
SECRET = "/hook/s3cr3t-t0ken"


def notice(number: int = 1, *, text: str = "", silent: bool = False, **values: str) -> Announcement:
    text = text or f"🟢 <b>PAPER</b> Entered number {number} &amp; more"
    return Announcement(Notice.ENTRY, text, silent, WHEN, "PAPER", values)


class Recipient:
    """Takes notices, or does not; notes when each message came, and what was in it."""

    def __init__(self, *answers: Exception | int) -> None:
        self.answers, self.taken, self.times = list(answers), [], []

    async def send(self, waiting):
        self.times.append(asyncio.get_running_loop().time())
        answer = self.answers.pop(0) if self.answers else len(waiting)
        if isinstance(answer, Exception):
            raise answer
        self.taken.append([one.text for one in waiting[:answer]])
        return answer


def outlet(recipient: Recipient, queue_max: int = 10, group_s: float = 1.0) -> Outlet:
    return Outlet("ops", recipient, dict(USUAL), queue_max, group_s)


async def served(one: Outlet, seconds: float) -> None:
    running = asyncio.ensure_future(one.run())
    await asyncio.sleep(seconds)
    running.cancel()


def test_what_comes_together_is_sent_together_and_in_order():
    recipient = Recipient(2)

    async def work(_):
        one = outlet(recipient)
        for number in range(3):
            one.put(notice(number, text=str(number)))
        await served(one, 10)
        assert one.report() == {"waiting": 0, "sent": 3, "dropped": 0, "failing": ""}

    run_virtually(work)
    assert recipient.taken == [["0", "1"], ["2"]]


def test_nobody_who_takes_them_makes_them_wait_ever_longer_and_the_oldest_go_when_too_many_wait():
    recipient = Recipient(*[Unavailable("away")] * 8)

    async def work(_):
        one = outlet(recipient, queue_max=3)
        for number in range(5):
            one.put(notice(number, text=str(number)))
        running = asyncio.ensure_future(one.run())
        while len(recipient.times) < 3:
            await asyncio.sleep(0.1)
        assert one.report() == {"waiting": 3, "sent": 0, "dropped": 2, "failing": "away"}
        await asyncio.sleep(8 * RETRY.longest_s)
        assert one.report() == {"waiting": 0, "sent": 3, "dropped": 2, "failing": ""}
        running.cancel()

    run_virtually(work)
    waits = [after - before for before, after in zip(recipient.times, recipient.times[1:], strict=False)]
    assert all(wait <= RETRY.bound_s(number + 1) + 0.01 for number, wait in enumerate(waits[:8]))
    assert recipient.taken == [["2", "3", "4"]]


def test_a_recipient_that_asks_to_be_left_alone_is_and_one_that_refuses_gets_the_next():
    recipient = Recipient(Wait("slow down", 120), Rejected("no such channel"))

    async def work(_):
        one = outlet(recipient)
        one.put(notice(text="bad"))
        one.put(notice(text="good"))
        await served(one, 200)
        assert one.report() == {"waiting": 0, "sent": 1, "dropped": 1, "failing": ""}

    run_virtually(work)
    assert recipient.times[1] - recipient.times[0] == pytest.approx(120, abs=1)
    assert recipient.taken == [["good"]]


def test_an_end_hurries_and_gives_up():
    async def work(loop):
        recipient = Recipient()
        one = outlet(recipient, group_s=3600)
        running = asyncio.ensure_future(one.run())
        one.put(notice())
        await one.flush(5)
        assert recipient.taken
        away = outlet(Recipient(*[Unavailable("away")] * 99))
        away.put(notice())
        began, other = loop.time(), asyncio.ensure_future(away.run())
        await away.flush(5)
        assert loop.time() - began == pytest.approx(5, abs=0.5)
        running.cancel()
        other.cancel()

    run_virtually(work)


def closed() -> Trade:
    return trade(3, "1000PEPE/USDT:USDT", "-8.25", "stop_loss")


def test_templates_know_what_an_event_is_about():
    of_trade = values_of(closed())
    assert (of_trade["symbol"], of_trade["pnl_usd"], of_trade["exit_reason"]) == (
        "1000PEPE/USDT:USDT", "-8.25", "stop_loss",
    )  # fmt: skip
    entered = Entered("A" * 24, "BTC/USDT:USDT", D("0.5"), D("60000.1"), D("16.5"))
    assert values_of(entered)["price"] == "60000.1"
    assert values_of(SwitchedOff("mine", "it raised")) == {"strategy": "mine", "reason": "it raised"}
    assert values_of(None) == {}
    assert set(of_trade) | set(values_of(entered)) | set(notice().named()) <= set(VALUES)


class Service:
    """A web service on this machine: keeps what was posted, answers as it is told."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, Any, dict[str, str]]] = []
        self.answer: dict[str, Any] = {"status": 204}

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/{path:.*}", self._take)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}{SECRET}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.json() if request.content_type == "application/json" else dict(await request.post())
        self.posts.append((request.path, body, dict(request.headers)))
        return web.Response(**self.answer)


@pytest.mark.asyncio
async def test_a_json_address_gets_every_value_by_name_or_its_own_template():
    async with Service() as service:
        assert await Webhook(service.url, "json").send([notice(symbol="BTC/USDT:USDT"), notice(2)]) == 1
        template = {"text": "{kind} {symbol}: {text}", "blocks": [{"at": "{time}", "n": 5}], "none": "{pnl_usd}{x y}"}
        hook = Webhook(service.url, "json", template, {"Authorization": "Bearer abc"})
        await hook.send([notice(symbol="BTC/USDT:USDT")])
    (path, whole, _), (_, own, headers) = service.posts
    assert path == SECRET
    assert whole == {
        "symbol": "BTC/USDT:USDT", "text": "🟢 PAPER Entered number 1 & more", "kind": "entry", "mode": "PAPER",
        "time": "2026-11-30T09:15:00+00:00", "silent": "false",
    }  # fmt: skip
    assert own == {
        "text": "entry BTC/USDT:USDT: 🟢 PAPER Entered number 1 & more", "none": "{x y}",
        "blocks": [{"at": "2026-11-30T09:15:00+00:00", "n": 5}],
    }  # fmt: skip
    assert headers["Authorization"] == "Bearer abc"


@pytest.mark.asyncio
async def test_a_form_is_posted_as_one():
    async with Service() as service:
        await Webhook(service.url, "form", {"value1": "{text}", "value2": "{mode}"}).send([notice()])
    ((_, body, headers),) = service.posts
    assert body == {"value1": "🟢 PAPER Entered number 1 & more", "value2": "PAPER"}
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.asyncio
async def test_discord_and_slack_get_one_message_in_their_own_markup():
    """By their documentation: Discord takes 2,000 characters and flags, Slack reads three escapes."""
    waiting = [notice(1, silent=True), notice(2, silent=True), notice(3, text="x" * TEXT_MAX)]
    async with Service() as service:
        assert await Webhook(service.url, "discord").send(waiting) == 2
        assert await Webhook(service.url, "slack").send(waiting) == 2
        assert await Webhook(service.url, "discord").send(waiting[2:]) == 1
        assert await Webhook(service.url, "discord").send([notice(1, text="@everyone <b>x</b>")]) == 1
    discord, slack, long, page = [body for _, body, _ in service.posts]
    assert discord == {
        "content": "🟢 **PAPER** Entered number 1 & more\n\n🟢 **PAPER** Entered number 2 & more",
        "allowed_mentions": {"parse": []}, "flags": SUPPRESS_NOTIFICATIONS,
    }  # fmt: skip
    assert slack == {"text": "🟢 *PAPER* Entered number 1 &amp; more\n\n🟢 *PAPER* Entered number 2 &amp; more"}
    assert len(long["content"]) == TEXT_MAX
    assert "flags" not in long
    assert page == {"content": "@everyone **x**", "allowed_mentions": {"parse": []}}


@pytest.mark.parametrize(
    ("answer", "kind", "seconds"),
    [
        ({"status": 429, "headers": {"Retry-After": "2.5"}}, Wait, 2.5),
        ({"status": 429, "headers": {"Retry-After": "99999999"}}, Wait, 600),
        ({"status": 429, "headers": {"Retry-After": "tomorrow"}}, Wait, 10),
        ({"status": 503, "text": "later"}, Unavailable, None),
        ({"status": 404, "text": "Unknown Webhook"}, Rejected, None),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:1/elsewhere"}}, Rejected, None),
        ({"status": 400, "text": "a" * 1_000_000}, Rejected, None),
    ],
)
@pytest.mark.asyncio
async def test_an_answer_says_whether_to_try_again(answer, kind, seconds):
    async with Service() as service:
        service.answer = answer
        with pytest.raises(kind) as raised:
            await Webhook(service.url, "json").send([notice()])
    assert seconds is None or raised.value.seconds == seconds
    assert "s3cr3t" not in str(raised.value)
    assert len(str(raised.value)) < 300
    assert len(service.posts) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/s3cr3t", "http://nowhere.invalid/s3cr3t", "http://[s3cr3t"])
@pytest.mark.asyncio
async def test_an_address_that_does_not_answer_is_never_repeated(url):
    with pytest.raises(Unavailable) as raised:
        await Webhook(url, "json").send([notice()])
    assert "s3cr3t" not in str(raised.value)


class Inbox:
    """A mail server's handler: keeps messages; ``refuses`` are recipients that it does not know."""

    def __init__(self, *refuses: str) -> None:
        self.messages, self.refuses = [], refuses

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802  the library's name
        if address in self.refuses:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802  the library's name
        self.messages.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content, policy=default)))
        return "250 taken"


@pytest.fixture
def certificate(tmp_path, monkeypatch):
    """Return a context of a server whose certificate this process trusts."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def signing_in(server, session, envelope, mechanism, auth_data):
    right = isinstance(auth_data, LoginPassword) and auth_data == LoginPassword(b"me", b"right")
    return AuthResult(success=right, handled=False)


def handed_in(controller: Controller, server: Server, recipients=("you@example.org",), told=None) -> int:
    """Send by a mail server that is running, on a thread as the bot does."""
    tier = Tier("mail", 20)
    controller.start()
    try:
        at = Server("localhost", controller.port, server.security, server.user, server.password)
        return asyncio.run(Mail(at, "bot@example.org", recipients, tier).send(told or [notice(1), notice(2)]))
    finally:
        controller.stop()
        tier.close()


def test_a_mail_server_gets_one_message_behind_tls_with_user_and_password(certificate):
    inbox = Inbox()
    controller = Controller(
        inbox, "localhost", free_port(), tls_context=certificate, require_starttls=True, authenticator=signing_in,
        auth_required=True,
    )  # fmt: skip
    assert handed_in(controller, Server("", 0, "starttls", "me", "right")) == 2
    ((recipients, message),) = inbox.messages
    assert recipients == ["you@example.org"]
    assert message["Subject"] == "Revenant: 🟢 PAPER Entered number 1 & more (and 1 more)"
    assert message.get_content().splitlines()[:2] == ["2026-11-30 09:15:00 UTC", "🟢 PAPER Entered number 1 & more"]


def test_tls_from_the_first_byte(certificate):
    inbox = Inbox()
    assert handed_in(Controller(inbox, "localhost", free_port(), ssl_context=certificate), Server("", 0, "tls")) == 2
    assert len(inbox.messages) == 1


def test_what_a_mail_server_refuses_is_told_without_the_password(certificate):
    options = {"tls_context": certificate, "authenticator": signing_in, "auth_required": True}
    with pytest.raises(Unavailable, match="refuses user or password") as raised:
        handed_in(Controller(Inbox(), "localhost", free_port(), **options), Server("", 0, "starttls", "me", "wr0ng"))
    assert "wr0ng" not in str(raised.value)
    inbox = Inbox("nobody@example.org")
    with pytest.raises(Rejected, match=r"nobody@example\.org"):
        handed_in(Controller(inbox, "localhost", free_port()), Server("", 0, "none"), ("nobody@example.org",))
    # a server that offers no TLS gets neither password nor notice
    with pytest.raises(Unavailable, match="STARTTLS"):
        handed_in(Controller(inbox, "localhost", free_port()), Server("", 0, "starttls", "me", "right"))
    assert inbox.messages == []


def test_a_text_makes_no_headers_of_its_own():
    odd = notice(text="a\rBcc: other@example.org\nb")
    message = Mail(Server("h", 1, "none"), "bot@example.org", ["you@example.org"], Tier("x", 1)).message([odd])
    assert message["Subject"] == "Revenant: a Bcc: other@example.org"
    assert message["Bcc"] is None
