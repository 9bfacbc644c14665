# SPDX-License-Identifier: Apache-2.0
"""TOML as people write it: any document in any of the ways in which it can be put down."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from hypothesis import assume
from hypothesis import strategies as st

from nvidia_runtime.engines import toml_inline

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

Document = dict[str, Any]
NAMES = st.sampled_from(["plugins", "a", "io.containerd.grpc.v1.cri", "runtimes", "b c", "ü", "'"])
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=6),
    st.sampled_from(["# no comment", '"', "]", "}", "a\nb", "x = 1", "[a]", "\\"]),
    st.dates(),
    st.lists(st.one_of(st.text(max_size=3), st.integers(0, 9)), max_size=3),
)
COMMENTS = st.sampled_from(["", "", "# a comment", "#[a]", '# "', "# x = 1"])
BLANKS = st.sampled_from(["", "", "", "\n", "# alone\n", "\n# alone\n\n"])
INDENTS = st.sampled_from(["", "", "  ", "\t"])


def documents(leaves: int = 12) -> st.SearchStrategy[Document]:
    """Make documents of tables in tables."""
    tables: st.SearchStrategy[Any] = st.recursive(
        st.dictionaries(NAMES, SCALARS, max_size=3),
        lambda inner: st.dictionaries(NAMES, st.one_of(SCALARS, inner), max_size=3),
        max_leaves=leaves,
    )
    return tables


@st.composite
def texts(draw: DrawFn, document: Document | None = None) -> tuple[Document, str]:
    """Return a document and its text."""
    whole: Document = draw(documents()) if document is None else document
    lines: list[str] = []
    _write(draw, whole, (), (), lines)
    text = "".join(lines)
    if draw(st.booleans()):
        text = text.removesuffix("\n")
    if draw(st.integers(0, 4)) == 0:
        text = text.replace("\n", "\r\n")
    try:
        assume(_same(tomllib.loads(text), whole))
    except tomllib.TOMLDecodeError:
        assume(False)
    return whole, text


def _same(one: Any, other: Any) -> bool:
    return repr(_sorted(one)) == repr(_sorted(other))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((key, _sorted(item)) for key, item in value.items() if item != {})
    return value


def _write(
    draw: DrawFn,
    table: Document,
    header: tuple[str, ...],
    prefix: tuple[str, ...],
    lines: list[str],
) -> None:
    """Write a table: pairs first, then tables with headers of their own."""
    later = []
    for key, value in draw(st.permutations(list(table.items()))):
        path = (*prefix, key)
        style = draw(st.sampled_from(["header", "header", "dotted", "inline"]))
        if isinstance(value, dict) and value and style == "header":
            later.append((path, value))
        elif isinstance(value, dict) and value and style == "dotted":
            inner: list[str] = []
            _write(draw, value, header, path, inner)
            # Headers below a dotted key would end the table that is being written.
            if any(line.lstrip().startswith("[") for line in inner):
                lines.append(_pair(draw, path, value))
            else:
                lines.extend(inner)
        else:
            lines.append(_pair(draw, path, value))
    for path, value in later:
        name = (*header, *path)
        lines.append(draw(BLANKS) + draw(INDENTS) + f"[{toml_inline.key(name)}]")
        lines.append(f" {draw(COMMENTS)}\n")
        _write(draw, value, name, (), lines)


def _pair(draw: DrawFn, path: tuple[str, ...], value: Any) -> str:
    text = toml_inline.value(value)
    if isinstance(value, list) and value and draw(st.booleans()):
        elements = (f"  {toml_inline.value(item)}, {draw(COMMENTS)}\n" for item in value)
        text = "[\n" + "".join(elements) + "]"
    equals = draw(st.sampled_from([" = ", "=", "  =\t"]))
    key = toml_inline.key(path)
    return f"{draw(BLANKS)}{draw(INDENTS)}{key}{equals}{text} {draw(COMMENTS)}\n"
