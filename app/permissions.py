"""What evaluations say for and against trading real money with the strategies in use, as they run now."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bootstrap.strategy_code import code_hash, terms_hash
from domain.errors import ConfigError
from persistence.evaluations import Evaluations

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from domain.proof import Evaluation
    from settings import Settings


class Permission(NamedTuple):
    """Whether a strategy is proven, and why, or why not."""

    strategy: str
    proven: bool
    reason: str


def permissions(settings: Settings, names: Iterable[str]) -> list[Permission]:
    """Return for each strategy what its evaluations prove.

    Those of other code, parameters, exits or costs do not count. Of the others the one with the most signals does.
    """
    evaluations, faults = Evaluations(settings.data_dir).load()
    return [*(_permission(settings, name, evaluations, faults) for name in names)]


def _permission(settings: Settings, name: str, evaluations: Sequence[Evaluation], faults: Sequence[str]) -> Permission:
    of_it = [each for each in evaluations if each.strategy == name]
    try:
        code = code_hash(settings, name)
        current = [each for each in of_it if each.fits(code, terms_hash(settings, name, each.source))]
    except ConfigError as error:
        return Permission(name, False, str(error))  # noqa: FBT003  a verdict
    if not current:
        why = (
            "its evaluations are of other code, parameters, exits or costs" if of_it else "no backtest has evaluated it"
        )
        unread = (
            f" ({len(faults)} files in evaluations cannot be read: manage.py backtest evaluations)" if faults else ""
        )
        way_out = f"manage.py backtest run --strategy {name} on two years or more"
        return Permission(name, False, f"{why}{unread}; {way_out}")  # noqa: FBT003
    best = max(current, key=lambda each: each.signals)
    figures = f"{best.signals} signals on {best.source}, mean {best.mean_r:+.3f} R"
    if best.low is not None and best.high is not None:
        figures += f" (95 %: {best.low:+.3f} to {best.high:+.3f})"
    return Permission(name, best.proven, figures if best.proven else f"{figures}: {best.reason}")
