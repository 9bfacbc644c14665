# SPDX-License-Identifier: Apache-2.0
"""All hints that the program can print, as its code has them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import shim

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = shim.TREE / "nvidia_runtime"
TABLES = ("REMEDIES", "HINTS")
# Which of their arguments is a hint.
CARRIERS = {"NvidiaRuntimeError": 2, "Reason": 1, "Verdict": 2}
GAP = "…"


def collect() -> dict[str, list[str]]:
    """Return the hints, with a mark for each part that differs, and the modules that have them."""
    modules: dict[str, list[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for text in sorted(_Module(file.read_text()).hints()):
            if text.strip(GAP):
                modules.setdefault(text, []).append(str(file.relative_to(PACKAGE)))
    return modules


class _Module:
    """A module, whose constants may be hints."""

    def __init__(self, source: str) -> None:
        self.tree = ast.parse(source)
        self.constants = {
            target.id: node.value
            for node in self.tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def hints(self) -> set[str]:
        texts: set[str] = set()
        for node in ast.walk(self.tree):
            for expression in self._expressions(node):
                texts |= self._texts(expression)
        return texts

    def _expressions(self, node: ast.AST) -> Iterator[ast.expr]:
        """Return what a node gives for a hint: an argument, a variable, a result, a default."""
        if isinstance(node, ast.keyword) and node.arg == "hint":
            yield node.value
        elif isinstance(node, (ast.Assign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if any(name.lower().endswith("hint") or name in TABLES for name in names):
                yield node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            at = CARRIERS.get(node.func.id, len(node.args))
            yield from node.args[at : at + 1]
        elif isinstance(node, ast.FunctionDef):
            if node.name.endswith("hint"):
                returns = [inner for inner in ast.walk(node) if isinstance(inner, ast.Return)]
                yield from [result.value for result in returns if result.value]
            pairs = zip(reversed(node.args.args), reversed(node.args.defaults), strict=False)
            yield from [default for argument, default in pairs if argument.arg == "hint"]

    def _texts(self, node: ast.expr) -> set[str]:
        """Return what an expression may be, as far as its own text says."""
        if isinstance(node, ast.Constant):
            return {node.value} if isinstance(node.value, str) else set()
        if isinstance(node, ast.Name) and node.id in self.constants:
            return self._texts(self.constants[node.id])
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else GAP for part in node.values]
            return {"".join(map(str, parts))}
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            lefts, rights = self._texts(node.left) or {GAP}, self._texts(node.right) or {GAP}
            return {left + right for left in lefts for right in rights}
        inner: list[ast.expr] = []
        if isinstance(node, ast.IfExp):
            inner = [node.body, node.orelse]
        elif isinstance(node, (ast.BoolOp, ast.Dict)):
            inner = node.values
        return set().union(*map(self._texts, inner))
