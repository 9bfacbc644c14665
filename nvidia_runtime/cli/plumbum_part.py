# SPDX-License-Identifier: Apache-2.0
"""The part of plumbum that commands are made of: plumbum.cli.

``import plumbum`` loads machines, ssh and an HTTP client, twice what plumbum.cli itself costs.
Here its packages are made by hand, with what plumbum.cli takes from them and hardly ever uses.
Their own code runs as soon as anything else is asked for.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "plumbum"
APPLICATION = "plumbum.cli.application"


class _Part(ModuleType):
    """A module that is loaded when something is asked of it that it lacks."""

    def __getattr__(self, name: str) -> object:
        if name[:2] == "__":
            raise AttributeError(name)
        return getattr(_whole(self.__name__), name)


class _Local:
    """plumbum.local: this machine, its environment and programs."""

    def __getattr__(self, name: str) -> object:
        return getattr(_whole(NAME).local, name)

    def __getitem__(self, name: str) -> object:
        return _whole(NAME).local[name]


class _Colours:
    """plumbum.colors: a command may have them in its name; ours have none."""

    def filter(self, text: str) -> str:
        """Return a text without colours."""
        return text

    def __getattr__(self, name: str) -> object:
        return getattr(_whole(f"{NAME}.colorlib").ansicolors, name)


class _Style:
    """plumbum's style of a text, which no name of a command is."""


# What is asked of each before its own code runs, in the order in which they are made.
PARTS: dict[str, dict[str, object]] = {
    NAME: {"local": _Local(), "colors": _Colours()},
    f"{NAME}.cli": {},
    f"{NAME}.colorlib": {},
    f"{NAME}.colorlib.styles": {"Style": _Style},
}


def load() -> None:
    """Make plumbum.cli importable; whatever is not as expected is left to ``import``."""
    if NAME in sys.modules:
        return
    try:
        for name, attributes in PARTS.items():
            part = _part(name)
            part.__dict__.update(attributes)
            above, _, own = name.rpartition(".")
            if above:
                sys.modules[above].__dict__[own] = part
        __import__(APPLICATION)
    except (ImportError, AttributeError, KeyError):
        for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
            del sys.modules[name]


def _part(name: str) -> _Part:
    """Make a module by hand, so that others find it, or what is in it."""
    above = sys.modules.get(name.rpartition(".")[0])
    path: Sequence[str] | None = above.__path__ if above else None
    spec = PathFinder.find_spec(name, path)
    if not spec:
        raise ImportError(name)  # it is not installed, or in a form of its own
    part = _Part(name)
    part.__spec__ = spec
    part.__package__ = spec.parent
    if spec.submodule_search_locations:
        part.__path__ = spec.submodule_search_locations
    sys.modules[name] = part
    return part


def _whole(name: str) -> ModuleType:
    """Run a module's own code in it."""
    module = sys.modules[name]
    if isinstance(module, _Part):
        module.__class__ = ModuleType  # type: ignore[assignment]
        for own in PARTS[name]:
            module.__dict__.pop(own, None)
        assert module.__spec__
        assert module.__spec__.loader
        module.__spec__.loader.exec_module(module)
    return module
