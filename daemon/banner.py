"""What a terminal shows once the bot is able to trade: what runs, where to look, how to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.symbols import base_of
from domain.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from domain.ids import Identity
    from settings import Settings

SHOWN = 8
STOPS = "positions keep their stops on the exchange"


def banner(settings: Settings, who: Identity, symbols: Sequence[str], strategies: Iterable[str], link: str) -> str:
    """Return it as text, for people; ``link`` signs a browser in."""
    more = f" and {len(symbols) - SHOWN} more" if len(symbols) > SHOWN else ""
    what = "made-up markets, made-up money" if settings.source.made_up else f"{settings.mode} trading"
    rows = {
        "runs": f"{what} on {who.source}, account {who.account}",
        "symbols": f"{len(symbols)}: {', '.join(base_of(one) for one in symbols[:SHOWN])}{more}",
        "strategies": ", ".join(strategies),
        "folder": str(settings.data_dir.resolve()),
        "page": f"{link}",
        "": "signs you in once, within five minutes; later: manage.py dashboard",
        "stop": f"Ctrl-C; {STOPS}",
        "try": "manage.py status, manage.py stats, manage.py panic, in another terminal",
    }
    lines = [f"  {name:11} {text}" for name, text in rows.items()]
    return "\n".join(["", f"Revenant {VERSION} is able to trade", *lines, "", ""])
