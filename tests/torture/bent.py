"""Bends JSON: names every place of an answer, and puts there what no exchange should say."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

EACH = "*"
Place = tuple[str | int, ...]
"""Names and places that lead to a value; EACH stands for every element of a list."""

KINDS = ("absent", "null", "wrong type", "empty", "huge", "negative", "NaN", "1e999", "far future", "long")
TEN_YEARS_MS = 10 * 365 * 86_400_000
LONG = "x" * 200_000
RAW = "\x00raw\x00"


def places(node: Any, before: Place = ()) -> Iterator[Place]:
    """Yield every place below a node: names of objects, and of lists each element alike, or each column of a row."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield (*before, name)
            yield from places(value, (*before, name))
    elif isinstance(node, list) and node:
        if all(isinstance(one, (dict, list)) for one in node):
            yield (*before, EACH)
            for one in node:
                yield from places(one, (*before, EACH))
        else:
            for number in range(len(node)):
                yield (*before, number)


def bend(node: Any, place: Place, kind: str) -> int:
    """Put what ``kind`` says at every place that is meant, in the node itself; return how many there were."""
    step, *rest = place
    keys = list(_keys(node, step))
    if rest:
        return sum(bend(node[key], tuple(rest), kind) for key in keys)
    for key in reversed(keys):
        if kind == "absent":
            del node[key]
        else:
            node[key] = instead(node[key], kind)
    return len(keys)


def instead(value: Any, kind: str) -> Any:
    """Return what is told instead of a value: of the same shape where that can be said in it, as text or number."""
    text = isinstance(value, str)
    if kind == "null":
        return None
    if kind == "wrong type":
        return {"a": [1]} if not isinstance(value, (dict, list)) else "no list"
    if kind == "empty":
        return {dict: {}, list: []}.get(type(value), "")  # type: ignore[call-overload]
    if kind == "huge":
        return "9" * 40 if text else 10**40
    if kind == "negative":
        return f"-{value.lstrip('-')}" if text and value else -1
    if kind == "far future":
        told = int(time.time() * 1000) + TEN_YEARS_MS
        return str(told) if text else told
    if kind == "long":
        return LONG
    return kind if text else f"{RAW}{kind}"


def encoded(node: Any) -> bytes:
    """Return a node as JSON, or what passes for it: NaN and 1e999 as bare words."""
    text = json.dumps(node)
    for word in ("NaN", "1e999"):
        text = text.replace(json.dumps(f"{RAW}{word}"), word)
    return text.encode()


def _keys(node: Any, step: str | int) -> Iterator[Any]:
    if isinstance(node, dict) and step in node:
        yield step
    elif isinstance(node, list) and step == EACH:
        yield from range(len(node))
    elif isinstance(node, list) and isinstance(step, int) and step < len(node):
        yield step
