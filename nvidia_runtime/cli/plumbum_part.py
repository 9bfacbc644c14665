# SPDX-License-Identifier: Apache-2.0
"""The part of plumbum that commands are made of: plumbum.cli.

``import plumbum`` loads machines, ssh and an HTTP client, five times what plumbum.cli itself costs.
Here the package is made by hand, and what its own ``__init__`` defines comes when it is asked for.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from types import ModuleType

NAME = "plumbum"


class _Local:
    """plumbum.local, which plumbum.cli imports and hardly ever uses."""

    def __getattr__(self, name: str) -> object:
        return getattr(_whole().local, name)

    def __getitem__(self, name: str) -> object:
        return _whole().local[name]


class _Package(ModuleType):
    """plumbum without its ``__init__``."""

    def __getattr__(self, name: str) -> object:
        if name == "colors":
            from plumbum.colorlib import ansicolors

            return ansicolors
        if name[:2] == "__":
            raise AttributeError(name)
        return getattr(_whole(), name)


def load() -> None:
    """Make plumbum.cli importable; whatever is not as expected is left to ``import``."""
    if NAME in sys.modules:
        return
    spec = PathFinder.find_spec(NAME)
    if not spec or not spec.submodule_search_locations:
        return  # it is not installed, or in a form of its own: the import says so
    package = _Package(NAME)
    package.__spec__ = spec
    package.__path__ = spec.submodule_search_locations
    package.__dict__["local"] = _Local()
    sys.modules[NAME] = package
    try:
        __import__(f"{NAME}.cli")
    except (ImportError, AttributeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
            del sys.modules[name]


def _whole() -> ModuleType:
    """Run the package's own ``__init__``."""
    package = sys.modules[NAME]
    if isinstance(package, _Package):
        package.__class__ = ModuleType  # type: ignore[assignment]
        del package.__dict__["local"]
        assert package.__spec__
        assert package.__spec__.loader
        package.__spec__.loader.exec_module(package)
    return package
