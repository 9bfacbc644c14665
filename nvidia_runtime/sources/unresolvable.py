# SPDX-License-Identifier: Apache-2.0
"""The error for devices that no CDI spec describes.  Ring: elsewhere; a create has failed.

Engines show it in one line of theirs: the cause comes first, and nothing that does not help.
"""

from __future__ import annotations

import difflib
import os
import re

from nvidia_runtime.cdi import registry
from nvidia_runtime.cdi.versions import VERSIONS
from nvidia_runtime.errors import MOST_NAMES, NvidiaRuntimeError, some
from nvidia_runtime.rootfs import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.cdi.registry import Registry

MOST_ERRORS = 2
LARGEST_LOOK = 1 << 20
UUID = re.compile(r"(GPU|MIG)-[0-9a-fA-F-]{8,}")
BEGINNING = re.compile(r"(GPU|MIG)-[0-9a-fA-F-]{1,35}")
INDEX = re.compile(r"[0-9]+(:[0-9]+)?")
VERSION = re.compile(r"'v?([0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9})' is not a known CDI version")
DENIED = "permission denied"
LIST = "run 'nvidia-ctk cdi list' to see what this host has"


class Reason:
    """Why some devices are missing: a sentence, and what to do about it."""

    __slots__ = ("hint", "text")

    def __init__(self, text: str, hint: str) -> None:
        self.text = text
        self.hint = hint


def explain(missing: list[str], spec_dirs: list[str]) -> NvidiaRuntimeError:
    """Say why devices cannot be resolved, all of them, and what to do about the first."""
    specs = registry.read(spec_dirs)
    what = f"unresolvable CDI devices {some(missing)}"
    missing = missing[:MOST_NAMES]  # a container may ask for anything, as often as it likes
    if specs.devices.keys() >= set(missing):
        return NvidiaRuntimeError(f"{what}; the CDI specs are changing", hint="try again")
    broken: dict[NvidiaRuntimeError, Reason] = {}
    conflicts: dict[NvidiaRuntimeError, Reason] = {}
    others: list[Reason] = []
    for kind in dict.fromkeys(name.partition("=")[0] for name in missing):
        names = [name for name in missing if name.partition("=")[0] == kind]
        same = [name for name in specs.devices if name.partition("=")[0] == kind]
        culprit = _culprit(kind, names if same else [], specs.errors)
        if culprit:
            broken.setdefault(culprit, _say_broken(culprit, kind))
        in_conflict = _conflicts(names, specs.errors)
        conflicts.update(in_conflict)
        if same and len(in_conflict) < len(names):
            others.append(_other_devices(kind, names, same, specs))
        elif not culprit and not in_conflict:
            others.append(_no_spec(kind, specs, spec_dirs))
    first, reasons = list(broken.values()), [*conflicts.values(), *others]
    parts = [reason.text for reason in first] + [what] + [reason.text for reason in reasons]
    parts += _rest([error for error in specs.errors if error not in {**broken, **conflicts}])
    parts.append(_where(spec_dirs))
    return NvidiaRuntimeError("; ".join(dict.fromkeys(parts)), hint=[*first, *reasons][0].hint)


def _rest(errors: list[NvidiaRuntimeError]) -> list[str]:
    """Name what else is wrong with specs; it may be the cause."""
    more = len(errors) - MOST_ERRORS
    return [str(error) for error in errors[:MOST_ERRORS]] + (
        [f"and {more} more errors"] if more > 0 else []
    )


def _culprit(
    kind: str, names: list[str], errors: list[NvidiaRuntimeError]
) -> NvidiaRuntimeError | None:
    """Find the file that would have described devices if it could be read.

    ``names`` are those that it has to mention, since another file describes the kind as well.
    """
    words = [kind, *(name.partition("=")[2] for name in names)]
    for error in errors:
        if DENIED in error.what and not names:
            return error
        if _mentions(error.where.partition(": ")[0], words):
            return error
    return None


def _say_broken(error: NvidiaRuntimeError, kind: str) -> Reason:
    """Say what is wrong with a spec file or dir that probably described the devices."""
    path = error.where.partition(": ")[0]
    if DENIED in error.what:
        bits = "a+rx" if os.path.isdir(path) else "a+r"
        hint = f"let user {os.geteuid()} read it: chmod {bits} {path}"
        return Reason(f"{error} for user {os.geteuid()}", hint)
    version = VERSION.match(error.what)
    if version and _numbers(version[1]) > _numbers(VERSIONS[-1]):
        hint = f"update this program, or write the file for CDI {VERSIONS[-1]} or older"
        return Reason(f"{path}: needs CDI {version[1]}, we know {VERSIONS[-1]} and older", hint)
    hint = f"run 'nvidia-ctk cdi validate {path}' for all that is wrong with it"
    return Reason(f"{error} (it seems to describe {kind})", hint)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _mentions(path: str, words: list[str]) -> bool:
    """Whether all words are in a file that could not be understood."""
    try:
        with os.fdopen(files.open_hosts(path), "rb") as file:
            data = file.read(LARGEST_LOOK)
    except (OSError, ValueError, NvidiaRuntimeError):
        return False
    return all(word.encode("utf-8", "replace") in data for word in words)


def _conflicts(
    names: list[str], errors: list[NvidiaRuntimeError]
) -> dict[NvidiaRuntimeError, Reason]:
    """Find the devices that two files describe."""
    reasons: dict[NvidiaRuntimeError, Reason] = {}
    for error in errors:
        for name in names:
            if error.what.startswith(f"device {name} is described by two files"):
                text = f"{name} is described by both {error.where}, so by none"
                reasons[error] = Reason(text, f"take it out of one of {error.where}")
    return reasons


def _no_spec(kind: str, specs: Registry, spec_dirs: list[str]) -> Reason:
    """Say that no spec describes a kind, and how one is made."""
    folder = spec_dirs[0] if spec_dirs else "/etc/cdi"
    hint = f"put a CDI spec of kind {kind} into {folder}"
    if kind == "nvidia.com/gpu":
        hint = f"write one: nvidia-ctk cdi generate --output={new_file(folder)}"
    kinds = sorted({name.partition("=")[0] for name in specs.devices})
    if near := difflib.get_close_matches(kind, kinds, 1, 0.9):
        return Reason(f"no CDI spec of kind {kind}; did you mean {near[0]}?", LIST)
    if kinds:
        return Reason(f"no CDI spec of kind {kind}, only of {some(kinds)}", hint)
    if not any(os.path.exists(folder) for folder in spec_dirs):
        return Reason("no spec dir exists", hint)
    return Reason("no usable CDI spec" if specs.errors else "there are no CDI specs", hint)


def new_file(folder: str) -> str:
    """Return the path of a spec of GPUs that is to be written, and writes over none."""
    names = ("nvidia.yaml", "nvidia.com-gpu.yaml")  # the first may be another kind's
    free = next((name for name in names if not os.path.lexists(f"{folder}/{name}")), names[1])
    return f"{folder}/{free}"


def _other_devices(kind: str, names: list[str], same: list[str], specs: Registry) -> Reason:
    """Say what devices of the kind there are, and which may have been meant."""
    ids = [name.partition("=")[2] for name in same]
    files = dict.fromkeys(specs.devices[name][0].path for name in same)
    text = f"{kind} has {some(ids)}, from {some(list(files))}"
    hint = LIST
    asked = [name.partition("=")[2] for name in names]
    near = [close for name in asked for close in _close(name, ids)]
    if near:
        text = f"did you mean {some(list(dict.fromkeys(near)))}? {text}"
    for form, what, strategy, other in (
        (UUID, "UUIDs", "uuid", INDEX),
        (INDEX, "indices", "index", UUID),
    ):
        if not near and _is_form_apart(asked, ids, form):
            text += f", no {what}"
            instead = [name for name in ids if other.fullmatch(name)] or ids
            way = f"nvidia-ctk cdi generate --device-name-strategy={strategy}"
            hint = f"ask for {some(instead)}, or generate a spec with them: {way}"
    return Reason(text, hint)


def _close(name: str, ids: list[str]) -> list[str]:
    """Return what a name may stand for: it is misspelled, or the beginning of a UUID."""
    if BEGINNING.fullmatch(name):
        whole = [one for one in ids if one.startswith(name)]
        return whole if len(whole) == 1 else []
    return difflib.get_close_matches(name, ids, 1, 0.8)


def _is_form_apart(asked: list[str], ids: list[str], form: re.Pattern[str]) -> bool:
    """Whether a device is asked for by a form of name that none of the others has."""
    return any(map(form.fullmatch, asked)) and not any(map(form.fullmatch, ids))


def _where(spec_dirs: list[str]) -> str:
    dirs = [f if os.path.exists(f) else f"{f} (absent)" for f in spec_dirs]
    return f"looked in {', '.join(dirs)}" if dirs else "config.toml names no spec dir"
