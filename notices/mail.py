"""Sends notices by e-mail."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import TYPE_CHECKING, Literal

from domain.errors import Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.threads import Tier
    from notices.announcement import Announcement

TOLD_MAX = 100
"""Notices in one message."""

ANSWER_S = 20.0
SUBJECT_MAX = 120


@dataclass(frozen=True, slots=True)
class Server:
    """How mail is handed in: ``security`` is ``tls`` from the first byte, ``starttls``, or ``none``."""

    host: str
    port: int
    security: Literal["tls", "starttls", "none"]
    user: str = ""
    password: str = ""


class Mail:
    """Sends what waits as one message, on a thread of its own; trading waits for nothing."""

    def __init__(self, server: Server, sender: str, recipients: Sequence[str], tier: Tier) -> None:
        self._server, self._from, self._to, self._tier = server, sender, recipients, tier

    async def send(self, waiting: Sequence[Announcement]) -> int:
        """Hand one message in; see Sender."""
        told = waiting[:TOLD_MAX]
        await self._tier.call(self._hand_in, self.message(told))
        return len(told)

    def message(self, told: Sequence[Announcement]) -> EmailMessage:
        """Return notices as one message."""
        message = EmailMessage()
        # a header is one line, whatever a reason is made of
        first = " ".join(told[0].plain().split("\n")[0].split())[:SUBJECT_MAX]
        more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
        message["Subject"] = f"Revenant: {first}{more}"
        message["From"], message["To"] = self._from, ", ".join(self._to)
        message["Date"], message["Message-ID"] = format_datetime(told[-1].time), make_msgid(domain="revenant.invalid")
        message.set_content("\n\n".join(f"{one.time:%Y-%m-%d %H:%M:%S} UTC\n{one.plain()}" for one in told))
        return message

    def _hand_in(self, message: EmailMessage) -> None:
        held = self._server
        context = ssl.create_default_context()
        try:
            with _connected(held, context) as server:
                if held.security == "starttls":
                    server.starttls(context=context)
                if held.user:
                    server.login(held.user, held.password)
                server.send_message(message)
        except smtplib.SMTPAuthenticationError:
            # what the server says may repeat what was sent
            raise Unavailable("the mail server refuses user or password") from None
        except smtplib.SMTPRecipientsRefused as error:
            raise Rejected(f"the mail server refuses {', '.join(error.recipients)}") from None
        except (smtplib.SMTPException, OSError) as error:
            raise Unavailable(f"{held.host}:{held.port}: {str(error)[:200]}") from None


def _connected(server: Server, context: ssl.SSLContext) -> smtplib.SMTP:
    if server.security == "tls":
        return smtplib.SMTP_SSL(server.host, server.port, timeout=ANSWER_S / 2, context=context)
    return smtplib.SMTP(server.host, server.port, timeout=ANSWER_S / 2)
