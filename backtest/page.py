"""A backtest as one page of HTML that needs nothing else: no script, no network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.charts import AXIS, LEFT, RIGHT, STYLE, WIDTH, Frame, day, table
from backtest.figures import Figures, Group, monthly

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from domain.candle import Bars, Floats
    from domain.trade import Trade

CHARTS_MAX = 12
"""Symbols whose trades are drawn: those with the most trades."""
WAYS_MAX = 60
"""Trades on a price that can still be told apart."""
ROWS_MAX, SHOWN_R = 1_000, (-3.0, 5.0)


def page(
    title: str, figures: Figures, equity: Sequence[tuple[int, Decimal]], trades: Sequence[Trade],
    bars: Mapping[str, Bars], facts: Mapping[str, Any], notes: Iterable[str],
) -> str:  # fmt: skip
    """Return the page; ``bars`` are each symbol's over the time, ``facts`` what is told of the run in a table."""
    start, end = equity[0][0], equity[-1][0]
    busiest = sorted(bars, key=lambda symbol: -sum(t.symbol == symbol for t in trades))[:CHARTS_MAX]
    charts = "".join(
        f"<h2>{escape(symbol)}</h2>{_prices(bars[symbol], [t for t in trades if t.symbol == symbol], start, end)}"
        for symbol in busiest
    )
    left_out = f'<p class="dim">{len(bars) - len(busiest)} more symbols are not drawn.</p>' * (len(bars) > len(busiest))
    groups = (("Strategy", figures.by_strategy), ("Symbol", figures.by_symbol), ("Exit", figures.by_reason))
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style>
<h1>{escape(title)}</h1><div class="dim">{day(start)} to {day(end)} UTC</div>
<div class="cards">{"".join(_cards(figures))}</div>
<h2>Equity</h2>{_equity(equity)}
<h2>Drawdown</h2>{_drawdown(equity)}
<h2>Months</h2>{_months(equity)}
<div class="side">{"".join(f"<div><h2>{name}</h2>{_groups(held)}</div>" for name, held in groups)}</div>
<h2>Distribution of results, in R after costs</h2>{_distribution(trades)}
{charts}{left_out}
<h2>Trades</h2>{_table(trades) if trades else '<p class="dim">no trades</p>'}
<h2>About this run</h2>{table(("", ""), [(name, str(value)) for name, value in facts.items()])}
{"".join(f'<p class="dim">{escape(note)}</p>' for note in notes)}</html>
"""


def _cards(held: Figures) -> list[str]:
    fall, gained = held.drawdown, held.profit >= 0
    shown = [
        ("profit", f"{held.profit:+,.2f}", gained), ("of the wallet", f"{held.profit_percent:+.2f} %", gained),
        ("buy and hold", f"{held.buy_and_hold:+.2f} %", held.buy_and_hold >= 0),
        ("deepest drawdown", f"-{fall.percent:.2f} %", False), ("Sharpe", _number(held.sharpe), None),
        ("Sortino", _number(held.sortino), None), ("Calmar", _number(held.calmar), None),
        ("profit factor", _number(held.profit_factor), None), ("trades", str(held.total.trades), None),
        ("won", f"{held.total.win_rate:.1f} %", None), ("a trade", f"{held.expectancy_r:+.3f} R", None),
        ("exposure", f"{held.exposure:.1f} %", None), ("fees", f"{held.fees:,.2f}", None),
        ("funding", f"{held.funding:,.2f}", None), ("signals", str(held.signals), None),
    ]  # fmt: skip
    classes = {True: "up", False: "down", None: ""}
    return [
        f'<div class="card"><b class="{classes[good]}">{value}</b><span>{name}</span></div>'
        for name, value, good in shown
    ]


def _equity(equity: Sequence[tuple[int, Decimal]]) -> str:
    times, values = _columns(equity)
    low, high = float(values.min()), float(values.max())
    frame = Frame(int(times[0]), int(times[-1]), low, high, 240)
    return frame.svg(f'<path d="{frame.line(times, values)}" fill="none" stroke="#1f6feb" stroke-width="1.4"/>')


def _drawdown(equity: Sequence[tuple[int, Decimal]]) -> str:
    times, values = _columns(equity)
    peaks = np.maximum.accumulate(values)
    falls = 100 * (values - peaks) / peaks
    frame = Frame(int(times[0]), int(times[-1]), min(float(falls.min()), -1e-9), 0.0, 110, " %")
    path = frame.line(times, falls)
    return frame.svg(f'<path d="{path} L{frame.x(int(times[-1])):.1f},{frame.y(0):.1f} L{LEFT},{frame.y(0):.1f} Z" '
                     'fill="#f5c6c2" stroke="#b3261e" stroke-width="1"/>')  # fmt: skip


def _prices(bars: Bars, trades: Sequence[Trade], start: int, end: int) -> str:
    """Draw a price, ways from entries to exits where they can be told apart, and below it what each trade made."""
    if not len(bars):
        return '<p class="dim">no bars</p>'
    frame = Frame(start, end, float(bars.low.min()), float(bars.high.max()), 220)
    price = f'<path d="{frame.line(bars.open_time, bars.close)}" fill="none" stroke="#8793a3" stroke-width="1"/>'
    ways = "".join(_way(frame, one) for one in trades) if len(trades) <= WAYS_MAX else ""
    return frame.svg(price + ways) + (_made(trades, start, end) if trades else "")


def _way(frame: Frame, trade: Trade) -> str:
    (x1, y1), (x2, y2) = (
        (frame.x(_ms(at)), frame.y(float(price)))
        for at, price in ((trade.entry_time, trade.entry_price), (trade.exit_time, trade.exit_price))
    )
    color, sign = _color(trade), -1 if trade.side == "long" else 1
    return (
        f'<g stroke="{color}" fill="{color}"><title>{escape(_words(trade))}</title>'
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
        f'<path d="M{x1 - 4:.1f},{y1 - 4 * sign:.1f} h8 l-4,{7 * sign} z"/>'
        f'<circle cx="{x2:.1f}" cy="{y2:.1f}" r="2.2"/></g>'
    )


def _made(trades: Sequence[Trade], start: int, end: int) -> str:
    """Draw a stem for each trade at its exit: what it made in R, cut where one is far out."""
    results = np.clip([float(one.r_multiple) for one in trades], *SHOWN_R)
    frame = Frame(start, end, min(0.0, float(results.min())), max(0.0, float(results.max())), 90, " R")
    stems = [_stem(frame, one, float(r)) for one, r in zip(trades, results, strict=True)]
    return frame.svg("".join(stems))


def _stem(frame: Frame, trade: Trade, r: float) -> str:
    x, color = frame.x(_ms(trade.exit_time)), _color(trade)
    place = f'x1="{x:.1f}" x2="{x:.1f}" y1="{frame.y(0):.1f}" y2="{frame.y(r):.1f}"'
    return f'<line {place} stroke="{color}"><title>{escape(_words(trade))}</title></line>'


def _table(trades: Sequence[Trade]) -> str:
    newest = sorted(trades, key=lambda one: one.exit_time, reverse=True)[:ROWS_MAX]
    rows = [
        (one.symbol, one.strategy_name, str(one.side), day(_ms(one.entry_time)), day(_ms(one.exit_time)),
         f"{one.entry_price:f}", f"{one.exit_price:f}", f"{one.pnl_usd:+,.2f}", f"{one.r_multiple:+.2f}",
         str(one.exit_reason)) for one in newest
    ]  # fmt: skip
    left_out = f", the newest {ROWS_MAX:,} of {len(trades):,}; trades.csv has all" * (len(trades) > ROWS_MAX)
    head = ("", "strategy", "side", "entry", "exit", "in at", "out at", "profit", "R", "why")
    return f"<details><summary>{len(newest):,} trades{left_out}</summary>{table(head, rows)}</details>"


def _words(trade: Trade) -> str:
    return f"{trade.strategy_name} {trade.side}, {trade.exit_reason}: {trade.pnl_usd:+.2f} ({trade.r_multiple:+.2f} R)"


def _color(trade: Trade) -> str:
    return "#1b7f4b" if trade.pnl_usd > 0 else "#b3261e"


def _ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _distribution(trades: Sequence[Trade]) -> str:
    if not trades:
        return '<p class="dim">no trades</p>'
    results = np.clip([float(t.r_multiple) for t in trades], *SHOWN_R)
    counts, edges = np.histogram(results, bins=32, range=SHOWN_R)
    height, top = 160, int(counts.max())
    wide = (WIDTH - LEFT - RIGHT) / len(counts)
    out = []
    for place, count in enumerate(counts.tolist()):
        tall = (height - AXIS - 12) * count / top
        color = "#1b7f4b" if edges[place] >= 0 else "#b3261e"
        x = LEFT + place * wide
        shape = f'x="{x + 1:.1f}" y="{height - AXIS - tall:.1f}" width="{wide - 2:.1f}" height="{tall:.1f}"'
        said = f"{edges[place]:+.2f} to {edges[place + 1]:+.2f} R: {count}"
        out.append(f'<rect {shape} fill="{color}"><title>{said}</title></rect>')
    for value in range(-3, 6):
        x = LEFT + (value + 3) / 8 * (WIDTH - LEFT - RIGHT)
        out.append(f'<text x="{x:.0f}" y="{height - 5}" text-anchor="middle">{value:+d}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="results in R">{"".join(out)}</svg>'


def _months(equity: Sequence[tuple[int, Decimal]]) -> str:
    found = monthly(equity)
    years = sorted({month[:4] for month in found})
    names = [f"{number:02d}" for number in range(1, 13)]
    rows = []
    for year in years:
        cells = [_change(found.get(f"{year}-{name}")) for name in names]
        whole = np.prod([1 + found[month] / 100 for month in found if month.startswith(year)]) * 100 - 100
        rows.append((year, *cells, _change(float(whole))))
    return table(("", *names, "year"), rows, raw=True)


def _groups(held: Mapping[str, Group]) -> str:
    rows = [
        (name, str(one.trades), f"{one.win_rate:.1f} %", f"{one.pnl:+,.2f}", f"{one.mean_r:+.3f}")
        for name, one in held.items()
    ]
    return table(("", "trades", "won", "profit", "mean R"), rows)


def _change(value: float | None) -> str:
    if value is None:
        return ""
    return f'<span class="{"up" if value >= 0 else "down"}">{value:+.2f}</span>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _columns(equity: Sequence[tuple[int, Decimal]]) -> tuple[np.ndarray, Floats]:
    return np.array([time for time, _ in equity], np.int64), np.array([float(value) for _, value in equity])
