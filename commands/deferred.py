"""Groups of commands that are imported once one of theirs is wanted: --help and plain looks wait for none of them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

if TYPE_CHECKING:
    from collections.abc import MutableMapping


def deferred(home: str, about: str) -> typer.Typer:
    """Return a group whose commands are those of ``app`` in the module ``home``."""
    group = type("Deferred", (_Deferred,), {"home": home})
    return typer.Typer(cls=group, no_args_is_help=True, help=about)


class _Deferred(TyperGroup):
    """Looks for its commands in another module when asked for them."""

    home = ""

    @property
    def commands(self) -> MutableMapping[str, Any]:
        """The commands of that module."""
        return get_group(importlib.import_module(self.home).app).commands

    @commands.setter
    def commands(self, _: Any) -> None:
        """Take none from elsewhere."""
