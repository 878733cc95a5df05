"""What rests in the data folder, and how it is opened: enough for whoever only looks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from domain.ids import Identity
from domain.records import finished
from persistence.database import Database
from persistence.files import AtomicFile
from persistence.journal import read_pieces
from persistence.trades import TradeTrackerPostgres

if TYPE_CHECKING:
    from pathlib import Path

    from domain.ports import Ledger
    from engine.trader import Trader
    from persistence.keyvalue import Redis
    from settings import Settings


def database(settings: Settings) -> Database:
    """Return the database: DATABASE_URL, or an SQLite file in the data folder."""
    return Database(settings.database_url.get_secret_value() or f"sqlite:///{settings.data_dir / 'revenant.sqlite'}")


def journal_folder(settings: Settings, who: Identity) -> Path:
    """Return where the journal of an owner lies."""
    return settings.data_dir / "journal" / "-".join(who)


def known_owner(settings: Settings) -> Identity:
    """Return whose records a command without an exchange connection looks at: the one met last, or a guess."""
    account = paper_account(settings)
    if settings.trading.account and settings.mode != "live":
        return Identity(settings.source.value, settings.mode, account)
    try:
        account = msgspec.json.decode(owner_note(settings).read_bytes(), type=str)
    except (OSError, msgspec.MsgspecError):
        # the note is gone: a single journal says as much
        found = sorted((settings.data_dir / "journal").glob(f"{settings.source.value}-{settings.mode}-*"))
        account = found[0].name.split("-", 2)[2] if len(found) == 1 else account
    return Identity(settings.source.value, settings.mode, account)


def owner_note(settings: Settings) -> Path:
    """Return the file that tells whose bot of a source and mode ran here last."""
    return settings.data_dir / f"owner-{settings.source}-{settings.mode}.json"


def lived(settings: Settings, who: Identity) -> bool:
    """Return whether an owner's bot has lived in the data folder: its journal is there, or the note of whose it was.

    A journal that is gone keeps nobody from closing what it knew of: the exchange is asked.
    """
    return journal_folder(settings, who).is_dir() or (owner_note(settings).exists() and known_owner(settings) == who)


def tracker(
    settings: Settings,
    main: Database,
    ledger: Ledger | None,
    who: Identity,
    trader: Trader | None = None,
    redis: Redis | None = None,
) -> TradeTrackerPostgres:
    """Return the trade tracker; periods end at the market's time, where there is a market."""

    def now() -> datetime:
        market = trader.situation.market_time if trader is not None else 0
        return datetime.fromtimestamp(market / 1000, UTC) if market else datetime.now(UTC)

    snapshot = AtomicFile(settings.data_dir / "trade_history.json") if ledger is not None else None
    folder = journal_folder(settings, who)
    return TradeTrackerPostgres(
        main, ledger, who, now, redis=redis, snapshot=snapshot,
        journaled=lambda: (trade for piece in read_pieces(folder) for trade in finished(piece)),
    )  # fmt: skip


def paper_account(settings: Settings) -> str:
    """Return what an account without real money is kept under: its name, or on a practice exchange the uid there."""
    name = settings.trading.account
    if not settings.source.practice:
        return name or "paper"
    from sandbox.exchange import uid_of  # noqa: PLC0415  its market takes a while to load

    return uid_of(name)


def keyspace(settings: Settings) -> str:
    """Return what the keys of this account begin with in Redis: nothing where it is the only one."""
    return f"account:{settings.trading.account}" if settings.trading.account else ""


def realm(settings: Settings) -> str:
    """Return what models and their history are kept under: the source, and the account where it has a name."""
    return "/".join(filter(None, (settings.source.value, settings.trading.account)))
