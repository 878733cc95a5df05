"""The practice exchange's own database: everything is committed before anybody gets an answer."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import msgspec

from domain.account import AccountState, ClosedPnl, Event, Execution, VenueOrder
from domain.errors import ConfigError, Unavailable, of_system
from sandbox.margin_account import ISOLATED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PASSING = ("SQLITE_IOERR", "SQLITE_FULL", "SQLITE_BUSY", "SQLITE_NOMEM")
"""What SQLite says of a disk that fails or is full, and of a lock that somebody holds."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, link_id TEXT NOT NULL, symbol TEXT NOT NULL, sequence INTEGER NOT NULL,
    open INTEGER NOT NULL, updated INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS orders_by_link ON orders (link_id);
CREATE INDEX IF NOT EXISTS orders_by_sequence ON orders (open, sequence);
CREATE TABLE IF NOT EXISTS executions (
    sequence INTEGER PRIMARY KEY, symbol TEXT NOT NULL, time INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS executions_by_time ON executions (time);
CREATE TABLE IF NOT EXISTS closed_pnl (
    sequence INTEGER PRIMARY KEY, symbol TEXT NOT NULL, time INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
"""


class _Older(msgspec.Struct):
    margin_mode: str = ""


class SandboxStore:
    """SQLite file with the account's state and the history of orders, executions and closed profits."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except OSError as error:
            raise of_system(f"practice exchange: {path}", error, "give a folder that can be written") from error
        except sqlite3.Error as error:
            passing = getattr(error, "sqlite_errorname", "").startswith(PASSING)
            kind = Unavailable if passing else ConfigError
            raise kind(f"practice exchange: cannot keep its state in {path}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, name: str) -> str | None:
        """Return a note kept under a name."""
        row = self._db.execute("SELECT body FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, name: str, body: str) -> None:
        """Keep a note under a name."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, body))

    def load_state(self) -> AccountState | None:
        """Return the account as last committed, None on first use."""
        body = self.get("account")
        if body is None:
            return None
        state = msgspec.json.decode(body, type=AccountState)
        # files of 0.1.0 name the mode instead
        state.isolated |= msgspec.json.decode(body, type=_Older).margin_mode == ISOLATED
        state.link_ids = dict(self._db.execute("SELECT link_id, id FROM orders WHERE link_id <> ''").fetchall())
        return state

    def commit(self, state: AccountState, events: Sequence[Event], processed_until: int) -> None:
        """Keep the state and what led to it in one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        for event in events:
            self._keep(event, state)
        lean = msgspec.structs.replace(state, link_ids={})
        self.put("account", msgspec.json.encode(lean).decode())
        self.put("processed_until", str(processed_until))
        self._db.execute("COMMIT")

    def _keep(self, event: Event, state: AccountState) -> None:
        body = msgspec.json.encode(event)
        if isinstance(event, VenueOrder):
            self._db.execute(
                "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)",
                (event.id, event.link_id, event.symbol, event.sequence, event.id in state.orders, event.updated, body),
            )
        elif isinstance(event, Execution):
            row = (event.sequence, event.symbol, event.time, body)
            self._db.execute("INSERT INTO executions VALUES (?, ?, ?, ?)", row)
        elif isinstance(event, ClosedPnl):
            self._db.execute(
                "INSERT INTO closed_pnl (symbol, time, body) VALUES (?, ?, ?)", (event.symbol, event.time, body)
            )

    def order(self, *, order_id: str = "", link_id: str = "") -> VenueOrder | None:
        """Return an order by either id."""
        query = "SELECT body FROM orders WHERE (id = ? AND ? <> '') OR (link_id = ? AND ? <> '')"
        row = self._db.execute(query, (order_id, order_id, link_id, link_id)).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=VenueOrder)

    def orders(self, symbol: str, *, is_open: bool, before: int, limit: int) -> list[VenueOrder]:
        """Return a page of open or finished orders, newest first."""
        rows = self._db.execute(
            "SELECT body FROM orders WHERE open = ? AND sequence < ? AND (symbol = ? OR ? = '')"
            " ORDER BY sequence DESC LIMIT ?",
            (is_open, before, symbol, symbol, limit),
        )
        return [msgspec.json.decode(row[0], type=VenueOrder) for row in rows]

    def executions(self, symbol: str, start: int, end: int, *, before: int, limit: int) -> list[Execution]:
        """Return a page of executions with times in [start, end], newest first."""
        rows = self._db.execute(
            "SELECT body FROM executions WHERE time BETWEEN ? AND ? AND sequence < ? AND (symbol = ? OR ? = '')"
            " ORDER BY sequence DESC LIMIT ?",
            (start, end, before, symbol, symbol, limit),
        )
        return [msgspec.json.decode(row[0], type=Execution) for row in rows]

    def closed_pnl(self, symbol: str, start: int, end: int, *, before: int, limit: int) -> list[tuple[int, ClosedPnl]]:
        """Return a page of closed profits with their sequence numbers, newest first."""
        rows = self._db.execute(
            "SELECT sequence, body FROM closed_pnl WHERE time BETWEEN ? AND ? AND sequence < ?"
            " AND (symbol = ? OR ? = '') ORDER BY sequence DESC LIMIT ?",
            (start, end, before, symbol, symbol, limit),
        )
        return [(row[0], msgspec.json.decode(row[1], type=ClosedPnl)) for row in rows]
