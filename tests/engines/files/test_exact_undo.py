# SPDX-License-Identifier: Apache-2.0
"""After an edit elsewhere in a file, taking ours back leaves exactly what the user wrote.

Each edit is made to a file as it was, and to the configured one; without us both are the same.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nvidia_runtime.engines import apply, effect, undo
from nvidia_runtime.engines.engine import Intent
from nvidia_runtime.engines.supported import ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable

    Edit = Callable[[str, list[str]], str]

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(
    file.parent.name for file in GOLDEN.glob("*/argv") if (file.parent / "before").exists()
)
PAIR = re.compile(r"[ \t]*(?!version|imports)[\w\"'. -]+=[ \t]*[\w\"'][^\[{\n]*\n")


def end_of(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def ended(text: str) -> str:
    return text if text.endswith("\n") else text + end_of(text)


def after_line(line: str) -> Callable[[str, str], str]:
    """Return a way to put a text behind a line that a file has once."""

    def edit(text: str, new: str) -> str:
        start, separator, rest = text.partition(line)
        assert separator
        return f"{start}{line}{new}{rest}"

    return edit


def pick(lines: list[str], share: float) -> str:
    """Choose a line of those that are there once, and are ours neither way."""
    return lines[min(int(len(lines) * share), len(lines) - 1)]


TOML: dict[str, Edit] = {
    "a comment on top": lambda text, _: f"# mine{end_of(text)}{text}",
    "a comment at the end": lambda text, _: f"{ended(text)}# mine{end_of(text)}",
    "a section at the end": lambda text, _: (
        f"{ended(text)}{end_of(text)}[mine]{end_of(text)}x = 1{end_of(text)}"
    ),
    "a blank line at the end": lambda text, _: f"{ended(text)}{end_of(text)}",
    "a line at the first third": lambda text, lines: after_line(pick(lines, 0.3))(
        text, f"# mine{end_of(text)}"
    ),
    "a line at the last third": lambda text, lines: after_line(pick(lines, 0.7))(
        text, f"# mine{end_of(text)}"
    ),
    "a line at the end of what was there": lambda text, lines: after_line(pick(lines, 1))(
        text, f"# mine{end_of(text)}"
    ),
    "a value removed": lambda text, lines: text.replace(
        pick([line for line in lines if PAIR.fullmatch(line)] or [""], 0.9), "", 1
    ),
}
JSON: dict[str, Edit] = {
    "a member in front": lambda text, _: text.replace("{", '{"mine": 1, ', 1),
    "a line in front": lambda text, _: text.replace("{", f'{{{end_of(text)}"mine": 1,', 1),
    "a member at the end": lambda text, _: re.sub(r"(\s*)\}(\s*)\Z", r', "mine": 1\1}\2', text),
    "a line at the end": lambda text, _: re.sub(
        r"\s*\}(\s*)\Z", lambda match: f',{end_of(text)}"mine": 1{end_of(text)}}}{match[1]}', text
    ),
    "a blank line at the end": lambda text, _: f"{ended(text)}{end_of(text)}",
    "other indentation": lambda text, lines: text.replace(pick(lines, 0), f" {pick(lines, 0)}", 1),
}


def intent_of(name: str, folder: Path) -> tuple[str, Intent]:
    """Return the engine of a case and what its flags say."""
    words = shlex.split((GOLDEN / name / "argv").read_text().replace("{{root}}", str(folder)))
    flags = dict(word.lstrip("-").partition("=")[::2] for word in words)
    intent = Intent(
        name=flags.get("nvidia-runtime-name", "nvidia"),
        program="/usr/bin/nvidia-container-runtime",
        config=flags["config"],
        drop_in=flags.get("drop-in-config", ""),
        is_default=True,
        cdi=True,
    )
    return flags["runtime"], intent


def common(one: str, other: str) -> list[str]:
    """List the lines, but blank ones, that two texts share and each has once."""
    texts = [text.splitlines(keepends=True) for text in (one, other)]
    matcher = SequenceMatcher(None, texts[0], texts[1], autojunk=False)
    blocks = matcher.get_matching_blocks()
    lines = [line for block in blocks for line in texts[0][block.a : block.a + block.size]]
    return [line for line in lines if line.strip() and one.count(line) == other.count(line) == 1]


@pytest.mark.parametrize("is_in_place", [False, True], ids=["as it is meant", "in place"])
@pytest.mark.parametrize("name", NAMES)
def test_exact_undo(
    name: str, is_in_place: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # no engine that judges
    engine_name, intent = intent_of(name, tmp_path)
    if is_in_place:
        intent = replace(intent, drop_in="")
    engine, file = ENGINES[engine_name], Path(intent.config)
    source = GOLDEN / name / "before" / file.relative_to(tmp_path)
    original = source.read_bytes().decode() if source.exists() else ""
    wrong = {}
    for edit_name, edit in (JSON if engine_name == "docker" else TOML).items():
        monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / edit_name))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(original.encode())
        apply.configure(engine, intent, effect.planned(engine, intent), lambda _: None)
        configured = file.read_bytes().decode()
        lines = common(original, configured) or ["{"]
        if configured == original or not source.exists():
            continue  # nothing of ours is in it
        file.write_bytes(edit(configured, lines).encode())

        apply.unconfigure(engine, intent, undo.plan(engine, intent), lambda _: None)

        left, expected = file.read_bytes().decode(), edit(original, lines)
        if left != expected:
            wrong[edit_name] = (left, expected)
    assert wrong == {}
