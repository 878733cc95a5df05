"""Every training run that ever was, and which model it left in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from domain.training_run import DEMOTED, PROMOTED, TrainingRun, understood
from persistence import schema

if TYPE_CHECKING:
    from persistence.database import Database


class Registry:
    """The table ``ml_runs``. Raises Unavailable when the database is away."""

    def __init__(self, database: Database, source: str) -> None:
        self._database, self._source = database, source

    def add(self, run: TrainingRun) -> None:
        """Keep a run; the same again changes nothing."""
        row = {**run._asdict(), "report": msgspec.json.encode(run.report).decode()}
        there = sa.select(sa.func.count()).where(schema.ml_runs.c.run_id == run.run_id)
        with self._database.transaction() as connection:
            if not connection.scalar(there):
                connection.execute(sa.insert(schema.ml_runs).values(row))

    def runs(self, strategy: str, most: int = 20) -> list[TrainingRun]:
        """Return the newest runs of a strategy, newest first."""
        columns = schema.ml_runs.c
        query = (
            sa.select(*(columns[name] for name in TrainingRun._fields))
            .where(columns.source == self._source, columns.strategy == strategy)
            .order_by(columns.trained_at.desc(), columns.run_id).limit(most)
        )  # fmt: skip
        with self._database.reading() as connection:
            return [_run(row) for row in connection.execute(query)]

    def standing(self, strategy: str) -> TrainingRun | None:
        """Return the run that put the model in use to use, or let the last one go; None when there was none."""
        columns = schema.ml_runs.c
        query = (
            sa.select(*(columns[name] for name in TrainingRun._fields))
            .where(columns.source == self._source, columns.strategy == strategy)
            .where(columns.verdict.in_((PROMOTED, DEMOTED)))
            .order_by(columns.trained_at.desc()).limit(1)
        )  # fmt: skip
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else _run(row)


def _run(row: Any) -> TrainingRun:
    values = dict(zip(TrainingRun._fields, row, strict=True))
    decoded = {"verdict": understood(values["verdict"]), "report": msgspec.json.decode(values["report"])}
    return TrainingRun(**{**values, **decoded})
