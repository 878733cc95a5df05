"""Every test checks something: by a bare assert, by what must be raised, or by a helper that does."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
ASSERTING = {"raises", "warns", "fail", "expect", "call_and_validate", "assert_array_equal", "assert_allclose"}
"""Calls of libraries that fail the test by themselves."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in TESTS.rglob("*.py")}


def functions(tree: ast.AST) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def calls(function: Function) -> set[str]:
    targets = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return {target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "") for target in targets}


def asserts(function: Function) -> bool:
    return any(isinstance(node, ast.Assert) for node in ast.walk(function)) or bool(calls(function) & ASSERTING)


def checking_helpers() -> set[str]:
    """Return the names of helpers that check, themselves or through other helpers."""
    helpers = defaultdict[str, list[Function]](list)
    for tree in trees().values():
        for function in functions(tree):
            if not function.name.startswith("test_"):
                helpers[function.name].append(function)
    checking = {name for name, held in helpers.items() if any(map(asserts, held))}
    while grown := {
        name for name, held in helpers.items() if name not in checking and any(calls(one) & checking for one in held)
    }:
        checking |= grown
    return checking


def test_every_test_checks_something():
    checking = checking_helpers()
    idle = [
        f"{path.relative_to(TESTS)}:{function.lineno} {function.name}"
        for path, tree in trees().items()
        for function in functions(tree)
        if function.name.startswith("test_") and not asserts(function) and not calls(function) & checking
    ]
    assert idle == []
