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

from nvidia_runtime import start
from nvidia_runtime.prepare import decide, verbs
from nvidia_runtime.store import files

# What is loaded ahead of its import besides, where a container asks for it.
SOMETIMES = (
    *("log", "admission.requirements", "host.facts", "host.platform", "sources.machine"),
    *("sources.specs", "sources.legacy", "store.machine_file"),
    *("admission.engine", "sources.native"),
    *(f"prepare.{verb.replace('-', '_')}" for verb in verbs.VERBS),
)


def write() -> None:
    """Write the file where that is possible; whatever goes wrong costs only time."""
    try:
        files.replace(start.HOT.path, make(Path(start.FOLDER)), 0o644)
    except Exception:  # noqa: BLE001 (what a future CPython raises, too)
        return


def names() -> list[str]:
    """List the modules of the hot path, in the order of their imports."""
    ahead = ("__init__", *start.ALWAYS, *start.CREATE, *decide.MODULES)
    return list(dict.fromkeys((*ahead, *start.HOOK, *start.CDI_HOOK, *SOMETIMES)))


def make(folder: Path) -> bytes:
    """Return the content of the file for the package in a folder."""
    index: dict[str, tuple[int, int, int, int]] = {}
    codes: list[bytes] = []
    for name in names():
        file = folder.joinpath(*name.split(".")).with_suffix(".py")
        before = file.stat()
        code = marshal.dumps(_compile(file))
        status = file.stat()
        if before.st_mtime_ns != status.st_mtime_ns or before.st_size != status.st_size:
            raise ValueError(f"{file} changes meanwhile")
        index[name] = (0, len(code), status.st_mtime_ns, status.st_size)
        codes.append(code)
    # The places depend on the length of the index, which has none of them yet: all are as long.
    library = _library("_json")
    places = len(_head(index, library))
    for name, (_, size, *stamp) in index.items():
        index[name] = (places, size, stamp[0], stamp[1])
        places += size
    return _head(index, library) + b"".join(codes)


def _library(name: str) -> dict[str, tuple[str, str]]:
    """Return where this interpreter has a module that is a library; some have it built in."""
    if name in sys.builtin_module_names:  # it comes before all folders
        return {}
    spec = PathFinder.find_spec(name)
    return {name: (sys.version, spec.origin)} if spec and spec.origin else {}


def _head(
    index: dict[str, tuple[int, int, int, int]], library: dict[str, tuple[str, str]]
) -> bytes:
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
