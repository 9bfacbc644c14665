# SPDX-License-Identifier: Apache-2.0
"""What the engines with TOML files have in common: drop-ins of our own, and options to copy."""

from __future__ import annotations

import os

from nvidia_runtime.engines import (
    difference,
    journal,
    program,
    runtimes,
    toml_file,
    toml_render,
    toml_scan,
    write,
)
from nvidia_runtime.engines.difference import ABSENT, Document, Edit, Steps
from nvidia_runtime.engines.engine import Format, Intent, Places
from nvidia_runtime.engines.write import Change
from nvidia_runtime.errors import NvidiaRuntimeError

CANDIDATES = ("runc", "crun")
# Of containers-common, for podman and cri-o.
HOOK_FOLDERS = ("/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d")


def edited(text: str, document: Document, path: str) -> str:
    """Return a text that says what another document does."""
    edits = difference.between(toml_file.parse(text, path), document)
    return toml_file.edit(text, edits, path) if edits else text


def _tidied(text: str, before: str, after: str) -> str:
    """Drop the headers that came with our edit, with nothing below them; quote values as before."""
    text = toml_file.without_empty(text, toml_file.headers(after) - toml_file.headers(before))
    old, ours = _values(before), _values(after)
    for item in reversed(toml_scan.statements(text)):
        raw = old.get(item.path, "")
        if item.is_header or item.is_listed or not raw or raw == ours.get(item.path):
            continue
        new = text[: item.value] + raw + text[item.end :]
        if toml_file.parse(new, "") == toml_file.parse(text, ""):
            text = new
    return text


def _values(text: str) -> dict[Steps, str]:
    """Return the values of a file as they are written there."""
    return {
        item.path: text[item.value : item.end]
        for item in toml_scan.statements(text)
        if not item.is_header and not item.is_listed
    }


TOML = Format(parse=toml_file.parse, edited=edited, tidied=_tidied)


def in_place(path: str, before: str | None, document: Document) -> Change:
    """Change a file to what a document says; one that is not there is made."""
    if before is None:
        return Change(path, None, toml_render.render(document))
    return Change(path, before, edited(before, document, path))


def drop_in(document: Document, places: Places, intent: Intent) -> Change:
    """Make a drop-in of ours, or bring it up to date; what others added to it since stays."""
    path = intent.drop_in
    before = write.read(path)
    if before is None:
        return Change(path, None, toml_render.render(document))
    now = toml_file.parse(before, path)
    entry = journal.entries().get(os.path.realpath(path))
    if entry and entry.after and not entry.is_undone:
        document = _with_others(document, now, entry.runtimes, places, intent)
        added, _ = difference.undone({}, toml_file.parse(entry.after, path), now, places.runtimes)
        document = difference.merged(added, document)
    # A file that says the same already is left as it is, with the comments that others put there.
    return Change(path, before, edited(before, document, path))


def _with_others(
    document: Document, now: Document, names: tuple[str, ...], places: Places, intent: Intent
) -> Document:
    """Keep the runtimes that we added under other names."""
    for name in names:
        path = (*places.runtimes, name)
        value = difference.at(now, path)
        if name != intent.name and value is not ABSENT:
            document = difference.carried_out([Edit(path, value)], document)
            if difference.at(now, places.default) == name and not intent.is_default:
                document = difference.carried_out([Edit(places.default, name)], document)
    return document


def options(document: Document, places: Places, name: str, where: str) -> Document | None:
    """Copy the runtime whose options ours gets: the default, runc, crun, or what ours had before.

    So ours has SystemdCgroup as the one that it replaces: without it pods crash in a loop.  None is
    returned where all of them are missing.
    """
    document = runtimes.in_force(document, places)
    default = runtimes.text(document, places.default, where)
    # Where ours is the default, it has the options of the one that was, which nothing tells now.
    first = name if default.startswith("nvidia") else default
    entries = runtimes.table(document, places.runtimes, where)
    for candidate in (first, *CANDIDATES, name):
        # An empty table of ours says nothing: the runc that is added beside it would, next time.
        if candidate in entries and (candidate != name or entries[name] != {}):
            return runtimes.table(document, (*places.runtimes, candidate), where)
    return None


def asked(*commands: list[str], root: str = "") -> tuple[str, str]:
    """Ask an engine for its configuration by the first command that answers; return both."""
    problems = []
    for command in commands:
        name = " ".join(command)
        answer = program.ask(command, root=root)
        if not answer.problem:
            return answer.out, name
        problems.append(f"{name}: {answer.problem}")
    what = f"the engine does not say its configuration: {'; '.join(problems)}"
    hint = "--config-source=file reads its files instead; --executable-path names the program"
    raise NvidiaRuntimeError(what, hint=hint)
