"""The schema's versions. Alembic is loaded only to change a database: most starts find theirs as it should be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa

SCRIPTS = Path(__file__).parent / "migrations"


def revisions() -> list[str]:
    """Return the versions that this code knows, oldest first; the names of their files begin with them."""
    return sorted(path.name.partition("_")[0] for path in (SCRIPTS / "versions").glob("[0-9]*.py"))


def upgrade(connection: sa.Connection, version: str = "head") -> None:
    """Bring a database to a version, the newest without one, in the connection's transaction."""
    from alembic import command  # noqa: PLC0415  see above
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, version)
