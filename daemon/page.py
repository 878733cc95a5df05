"""Builds what is served over HTTP: the page, the API, metrics, health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from app.stored import StoredData, Watched
from daemon.control_socket import listen
from dashboard.access import Access
from dashboard.app import build
from dashboard.forwarded import ANY
from dashboard.heartbeat import Heartbeat
from dashboard.metrics import Exposed
from dashboard.others import Other, Others
from dashboard.server import Server
from dashboard.services import Services
from dashboard.stream import Hub
from domain.errors import Unavailable
from engine.threads import Tier
from persistence.deeds import Deeds
from processes.works import WorkProcesses

if TYPE_CHECKING:
    from dashboard.port import Desk
    from domain.ids import Identity
    from engine.reports import Reporter
    from engine.tasks import Tasks
    from settings import Settings

log = structlog.get_logger(__name__)

WRITE_S = 3.0
NAMES = ("localhost", "127.0.0.1", "::1")


class Page:
    """All that is served, and its tasks."""

    def __init__(self, settings: Settings, desk: Desk, watched: Watched, who: Identity | None = None) -> None:
        held = settings.dashboard
        self._settings, self._desk = settings, desk
        self._stored, self._tier = StoredData(settings, watched), Tier("page", WRITE_S)
        self._deeds = Deeds(settings.data_dir / "page-audit.jsonl")
        self._hub = Hub(desk.pulse)
        self._works = WorkProcesses(settings.data_dir / "export", lambda work: self._hub.publish("work", work))
        note, about = settings.note if desk.running else None, who._asdict() if who else None
        owner = (lambda: listen(settings.control)) if desk.running else None
        self._server = Server((held.host, held.port), note, held.proxies, about, owner)
        password, viewer = held.password.get_secret_value(), held.viewer_password.get_secret_value()
        self._access = access = Access(
            password, self._server.token, viewer=viewer, open=held.local and not (password or viewer),
            session_s=held.session_h * 3600,
        )  # fmt: skip
        bots = [Other(one.name, one.url, one.token.get_secret_value()) for one in held.bots]
        services = Services(desk, self._stored, self._works, access, self._hub, self._audit, Others(bots))
        self._exposed = Exposed(desk, self._stored, self._hub)
        hosts = (*NAMES, held.host) if held.local else ()
        self._app = build(services, self._exposed, hosts, held.requests_per_s, held.cors_origins)

    async def start(self) -> str:
        """Listen; return the address. Raises ConfigError."""
        port = await self._server.start(self._app, self._hub.close)
        host = self._settings.dashboard.host
        if ANY in self._settings.dashboard.proxies:
            log.warning(
                "dashboard.proxies: * takes whoever connects for a proxy, and the last address that it names for the "
                "visitor's; name your proxies instead, so that nobody else can say where a request comes from"
            )
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def link(self, address: str) -> str:
        """Return a link to the page that signs a browser in once, within five minutes."""
        return f"{address}/#overview?key={self._access.link()}"

    async def close(self) -> None:
        """Let everybody go and stop listening."""
        await self._server.stop()
        if self._desk.running:
            self._settings.control.unlink(missing_ok=True)
        self._stored.close()
        self._tier.close()

    def run(self, tasks: Tasks, reporter: Reporter | None = None) -> None:
        """Begin to tell pages what happens; none of it can end the bot."""
        if reporter is not None:
            reporter.listeners += [self._hub.told, self._exposed.told]
        for name, work in (("page", self._hub.run), ("works", self._works.run), ("metrics", self._exposed.keep_fresh)):
            tasks.start(name, work, vital=False)
        held = self._settings.heartbeat
        if held.url.get_secret_value() and self._desk.running:
            beat = Heartbeat(held.url.get_secret_value(), held.every_s, self._desk.reasons)
            tasks.start("heartbeat", beat.run, vital=False)

    async def _audit(self, deed: dict[str, Any]) -> None:
        log.info("asked over HTTP", **deed)
        try:
            await self._tier.call(self._deeds.add, deed)
        except Unavailable as error:
            # a deed has a reason of its own
            log.error("a deed is not in the audit log", reason=str(error), deed=deed)
            raise
