"""Runs the practice exchange alone; the bot starts it this way too, so it loads nothing that it does not need."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

from domain.errors import ConfigError, Unavailable
from sandbox.exchange import UID, Terms
from sandbox.server import Options, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

USAGE, PASSES = 2, 75


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit code."""
    asked = _parser().parse_args(arguments)
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if asked.now and (asked.replay or asked.step):
        print("sandbox.now: made-up markets only, and not step by step", file=sys.stderr)
        return USAGE
    terms = Terms(
        speed=1.0 if asked.now else asked.speed, step=asked.step, wallet=asked.wallet, now=asked.now,
        marked=tuple(asked.mark), slices=asked.slices, limits=not asked.no_limits, uid=str(asked.uid),
    )  # fmt: skip
    options = Options(
        asked.state, port=asked.port, seed=asked.seed, symbols=asked.symbols, replay=tuple(asked.replay),
        idle_exit_s=asked.idle_exit, terms=terms, quiet=asked.quiet,
    )  # fmt: skip
    print(f"practice exchange: key {terms.key}, secret {terms.secret}, address in {asked.state / 'endpoint.json'}")
    try:
        asyncio.run(serve(options))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return USAGE
    except Unavailable as error:
        print(error, file=sys.stderr)
        return PASSES
    return 0


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="manage.py sandbox serve",
        description="The practice exchange alone: Bybit v5 REST and WebSocket on loopback.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    made.add_argument("--state", type=Path, default=Path("data/practice-alone"), help="folder of its state")
    made.add_argument("--port", type=_between(int, 0, 65_535), default=0, help="port on loopback, 0 for any")
    made.add_argument("--speed", type=_between(float, 0.001), default=60.0, help="market seconds per second")
    made.add_argument("--seed", type=int, default=1, help="seed of made-up prices")
    made.add_argument("--symbols", type=_between(int, 1, 1_000), default=20, help="how many made-up markets")
    made.add_argument("--wallet", type=_decimal, default=Decimal(10_000), help="USDT to begin with")
    made.add_argument("--replay", action="append", default=[], help="candle file to play, PATH or SYMBOL=PATH")
    made.add_argument("--uid", type=_between(int, 1), default=UID, help="number of the account")
    made.add_argument("--quiet", type=_between(float, 0, 1), default=0.0, help="share of made-up markets with silences")
    made.add_argument("--mark", action="append", default=[], help="CONTRACT=stock, commodity, innovation, pre_listing")
    made.add_argument("--now", action="store_true", help="market time is this machine's time, at speed 1")
    made.add_argument("--step", action="store_true", help="move on only when told")
    made.add_argument(
        "--slices", action=argparse.BooleanOptionalAction, default=True,
        help="fill orders by an order book, in several executions; else whole",
    )  # fmt: skip
    made.add_argument("--no-limits", action="store_true", help="answer however fast it is asked")
    made.add_argument("--idle-exit", type=_between(float, 1), default=900.0, help="leave after so many silent seconds")
    return made


def _between(kind: Callable[[str], float], least: float, most: float = 1e12) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least:g} and {most:g}")
        return value

    return number


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text} is no number") from None


if __name__ == "__main__":
    raise SystemExit(main())
