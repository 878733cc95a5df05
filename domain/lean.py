"""Imports of a large package only the parts that are used, and of a module nothing until it is."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Lean(ModuleType):
    """A package whose own ``__init__`` has not run: a name is looked up in its submodule of that name when first used.

    ``shared`` names the modules in which all other names are looked up.
    """

    shared: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            found = getattr(importlib.import_module(f"{self.__name__}.{name}"), name)
        except ModuleNotFoundError as error:
            if error.name != f"{self.__name__}.{name}":
                raise
            homes = [home for module in self.shared if hasattr(home := importlib.import_module(module), name)]
            if not homes:
                raise AttributeError(f"{self.__name__} has no {name}") from None
            found = getattr(homes[0], name)
        setattr(self, name, found)
        return found


def lean(*packages: str, shared: tuple[str, ...]) -> None:
    """Let packages be imported without what their ``__init__`` imports: one exchange of ccxt, say, instead of them all.

    A package that has been imported whole already stays as it is.

    Args:
        packages: their names, an outer one before an inner one.
        shared: modules that have the names which they offer besides their submodules.
    """
    for name in packages:
        if name in sys.modules:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or spec.submodule_search_locations is None:
            return
        made = _Lean(name)
        made.__spec__, made.__path__, made.__file__ = spec, list(spec.submodule_search_locations), spec.origin
        made.shared = shared
        sys.modules[name] = made
        outer, _, inner = name.rpartition(".")
        if outer:
            setattr(sys.modules[outer], inner, made)


def lazily(name: str) -> Any:
    """Return a module that runs once one of its names is used: what a command does not need costs it nothing."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module {name}", name=name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    outer, _, inner = name.rpartition(".")
    if outer:
        setattr(importlib.import_module(outer), inner, module)
    return module
