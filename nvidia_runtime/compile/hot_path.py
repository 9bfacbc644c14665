# SPDX-License-Identifier: Apache-2.0
"""Make the one file that holds the code of all modules of the hot path; `start.Hot` reads it.

The code is that of the sources without docstrings, annotations and the places of instructions,
which nothing there looks at: two fifths less to read.  It also says where the interpreter has the
library that reads JSON, whose search takes longer than to load it.  The file lies among the
package's compiled files, as trusted as they are; who may not write there does without.
"""

from __future__ import annotations

import ast
import marshal
import sys
from importlib.machinery import PathFinder
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import CodeType
from typing import Any

from nvidia_runtime import start
from nvidia_runtime.prepare import decide, verbs
from nvidia_runtime.store import files

# What `start.preload` is asked for: modules that are loaded together, some more than once here.
GROUPS = (
    ("__init__",),
    (*start.ALWAYS, *start.CREATE),
    start.ALWAYS,
    decide.MODULES,
    start.HOOK,
    start.CDI_HOOK,
    ("log",),
    ("host.platform", "sources.specs", "store.machine_file", "sources.machine"),
    ("sources.specs", "store.machine_file", "sources.machine"),
    ("admission.engine", "sources.specs", "sources.native"),
    ("admission.requirements", "host.facts"),
    ("admission.requirements",),
    ("sources.specs",),
    ("sources.legacy",),
    *((f"prepare.{verb.replace('-', '_')}",) for verb in verbs.VERBS),
)


def write() -> None:
    """Write the file where that is possible; whatever goes wrong costs only time."""
    try:
        files.replace(start.HOT.path, make(Path(start.FOLDER)), 0o644)
    except Exception:  # noqa: BLE001 (what a future CPython raises, too)
        return


def make(folder: Path) -> bytes:
    """Return the content of the file for the package in a folder."""
    files_of = {name: _source(folder, name) for group in GROUPS for name in group}
    stamps = {name: _stamp(file) for name, file in files_of.items()}
    codes = {name: _compile(file) for name, file in files_of.items()}
    for name, file in files_of.items():
        if _stamp(file) != stamps[name]:
            raise ValueError(f"{file} changes meanwhile")
    parts = [marshal.dumps(tuple(codes[name] for name in group)) for group in GROUPS]
    library = _library("_json")
    place = 0
    for _ in range(2):  # the length of the index does not depend on the places in it
        index: dict[str, tuple[Any, ...]] = {}
        for group, part in zip(GROUPS, parts, strict=True):
            index[" ".join(group)] = (place, len(part), *[stamps[name] for name in group])
            place += len(part)
        head = _head(index, library)
        place = len(head)
    return head + b"".join(parts)


def _source(folder: Path, name: str) -> Path:
    return folder.joinpath(*name.split(".")).with_suffix(".py")


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size


def _library(name: str) -> dict[str, tuple[str, str]]:
    """Return where this interpreter has a module that is a library; some have it built in."""
    if name in sys.builtin_module_names:  # it comes before all folders
        return {}
    spec = PathFinder.find_spec(name)
    return {name: (sys.version, spec.origin)} if spec and spec.origin else {}


def _head(index: dict[str, tuple[Any, ...]], library: dict[str, tuple[str, str]]) -> bytes:
    # Of version 0: every number has its own length.
    text = marshal.dumps({**library, **index}, 0)
    return MAGIC_NUMBER + start.Hot.FORMAT + len(text).to_bytes(4, "little") + text


def _compile(file: Path) -> CodeType:
    """Compile a source without its docstrings, annotations and the places of instructions."""
    tree = _Bare().visit(ast.parse(file.read_bytes()))
    code: CodeType = compile(tree, str(file), "exec", dont_inherit=True, optimize=2)
    return _without_places(code)


def _without_places(code: CodeType) -> CodeType:
    consts = [_without_places(one) if isinstance(one, CodeType) else one for one in code.co_consts]
    return code.replace(co_linetable=b"", co_consts=tuple(consts))


class _Bare(ast.NodeTransformer):
    """Takes annotations out."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Take out those of parameters and of the value."""
        node.returns = None
        for parameter in ast.walk(node.args):
            if isinstance(parameter, ast.arg):
                parameter.annotation = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """Keep the assignment, if there is one."""
        self.generic_visit(node)
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value, lineno=node.lineno), node)
