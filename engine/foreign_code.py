"""Runs code that people bring: whatever it raises, and however long it takes, ends here."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from domain.errors import BadData, RevenantError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

TICKS = 5
"""Parts that a deadline is counted in: a pause of the whole machine passes for one of them, however long it was."""

Value = TypeVar("Value")


class Overdue(BaseException):
    """Foreign code took longer than it may; no ``except Exception`` of its own keeps it alive."""


class Failure(msgspec.Struct, frozen=True):
    """How foreign code failed, in one line, and where: its file and line, 0 where nobody can say."""

    reason: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.reason}" if self.file and self.line else self.reason


def attempt(call: Callable[[], Value], deadline_s: float = 0.0) -> Value | Failure:
    """Return what a call returns, or how it failed; after ``deadline_s`` (0 for never) it is interrupted.

    Only the main thread can be interrupted, and only between two steps of Python: what never comes back from a
    library written in another language is left to the watchdog.
    """
    try:
        with _interrupted_after(deadline_s):
            return _called(call)
    except Overdue:
        return failure_of(f"it did not answer within {deadline_s:g} s")
    except (Exception, SystemExit) as error:  # noqa: BLE001  it is not our code that ends here
        return failure_of(_in_words(error))


@contextlib.contextmanager
def naming(strategy: str) -> Iterator[None]:
    """Make one line of what a strategy raises while nobody trades on it: its name, the reason, its file and line.

    Raises:
        BadData: instead of what it raised.
    """
    try:
        yield
    except Exception as error:
        raise BadData(f"strategy {strategy}: {failure_of(_in_words(error))}") from error


def failure_of(reason: str) -> Failure:
    """Return the exception being handled as a failure with a reason; its place is the innermost one not of ours."""
    error = sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1]
    if isinstance(error, SyntaxError) and error.filename:
        return Failure(reason, _shown(error.filename), error.lineno or 0)
    frames = traceback.extract_tb(error.__traceback__) if error is not None else traceback.StackSummary()
    own = Path(__file__).parents[1]
    brought = [one for one in frames if _brought(Path(one.filename), own)]
    last = (brought or [*frames])[-1] if frames else None
    return Failure(reason, _shown(last.filename), last.lineno or 0) if last is not None else Failure(reason)


def _brought(path: Path, own: Path) -> bool:
    """Whether a file is neither the program's own nor a library's."""
    parts = path.relative_to(own).parts if path.is_relative_to(own) else ("user",)
    inside = parts[0] not in {"user", "strategies"} or parts[:2] == ("strategies", "freqtrade")
    return path.is_absolute() and not inside and "site-packages" not in path.parts and not _standard(path)


def _standard(path: Path) -> bool:
    return path.is_relative_to(Path(contextlib.__file__).parent)


def _shown(file: str) -> str:
    path = Path(file)
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _in_words(error: BaseException) -> str:
    if isinstance(error, RevenantError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg}"
    told = str(error).strip().splitlines()
    return f"{type(error).__name__}: {told[0][:300]}" if told else type(error).__name__


def _called(call: Callable[[], Value]) -> Value:
    return call()


@contextlib.contextmanager
def _interrupted_after(deadline_s: float) -> Iterator[None]:
    if deadline_s <= 0 or threading.current_thread() is not threading.main_thread():
        yield
        return
    ticks = 0

    def tick(_number: int, frame: FrameType | None) -> None:
        nonlocal ticks
        ticks += 1
        # an alarm that comes as the call returns must hit nobody else
        if ticks >= TICKS and _inside(frame):
            raise Overdue

    before = signal.signal(signal.SIGALRM, tick)
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, deadline_s / TICKS, deadline_s / TICKS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, remaining, interval)
        signal.signal(signal.SIGALRM, before)


def _inside(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code is _called.__code__:
            return True
        frame = frame.f_back
    return False
