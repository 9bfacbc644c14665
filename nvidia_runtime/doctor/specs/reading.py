# SPDX-License-Identifier: Apache-2.0
"""CDI specs that are not read, not by everybody, not as they were meant; or not to be trusted."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
from glob import glob

from nvidia_runtime.cdi import registry as cdi_registry
from nvidia_runtime.doctor.finding import NOTE, WARNING, Code, Finding
from nvidia_runtime.doctor.specs import faults
from nvidia_runtime.doctor.specs import files as spec_files
from nvidia_runtime.errors import NvidiaRuntimeError, some
from nvidia_runtime.host import platform
from nvidia_runtime.sources import renew, unresolvable
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.specs.files import Specs

READABLE = stat.S_IROTH
ROOTLESS_SOCKETS = "/run/user/*/docker.sock"
BOTH = "is described by two files of one spec dir"
# The beginning of a document of YAML in the middle of a file.
ANOTHER = re.compile(rb"^---(?=\s|$)", re.MULTILINE)
# What is put behind the name of a file so that nobody reads it any more.
OUT_OF_USE = ".disabled"

INVALID = Code(
    "NCT-0301",
    WARNING,
    "a CDI spec is not valid",
    """
    Engines and our runtime leave out a file that they cannot understand, with all its devices.
    What they say then is that a device is missing, not why: 'unresolvable CDI devices
    nvidia.com/gpu=all' (podman, docker, containerd), 'CDI device injection failed'.

    A file without content was cut by a full disk or a power failure.
    """,
    """
    'nvidia-ctk cdi validate FILE' lists all errors with their places.  A file that a generator
    wrote is generated anew: 'nvidia-ctk cdi generate --output=FILE'.
    """,
)
UNREADABLE = Code(
    "NCT-0302",
    WARNING,
    "a CDI spec, or its folder, cannot be read",
    """
    The file or folder belongs to another user, is damaged, or is not a regular file (a pipe, a
    device).  Whoever cannot read it knows none of its devices: 'unresolvable CDI devices'.
    """,
    "Let everybody read it ('chmod a+r FILE', 'chmod a+rx FOLDER'), or take it away.",
)
NONE = Code(
    "NCT-0303",
    NOTE,
    "there is no CDI spec",
    """
    'podman run --device nvidia.com/gpu=all', 'docker run --device nvidia.com/gpu=all' and the CDI
    devices of Kubernetes need a file that describes the GPUs.  docker 28 and 29 say 'failed to
    discover GPU vendor from CDI: no known GPU vendor found' without one, podman 'unresolvable CDI
    devices'.  Containers that ask by NVIDIA_VISIBLE_DEVICES or '--runtime=nvidia' need none.
    """,
    """
    'nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml' writes one; 'nvidia-ctk system
    install-units' has systemd keep one up to date.
    """,
)
IGNORED = Code(
    "NCT-0304",
    NOTE,
    "a file in a spec dir is ignored because of its name",
    "The name of a CDI spec ends in .json or .yaml, in small letters; other files are not read.",
    "Rename it.",
)
TWICE = Code(
    "NCT-0305",
    WARNING,
    "two CDI specs describe the same device",
    """
    Of two files in one folder that describe a device neither counts: the device is 'unresolvable'
    although both have it.  Mostly one of them is left of another installation, or of another
    format (nvidia.json beside nvidia.yaml).
    """,
    "Take one of them away, the older one as a rule: rename it so that it ends otherwise.",
)
SHADOWED = Code(
    "NCT-0306",
    NOTE,
    "a CDI spec is hidden by one in another spec dir",
    """
    Of two folders the later one counts, /var/run/cdi before /etc/cdi.  A file of that kind in
    /etc/cdi has no effect as long as the other one is there.
    """,
    "Take away the one that is not meant.",
)
PRIVATE = Code(
    "NCT-0307",
    NOTE,
    "users without root cannot read a CDI spec",
    """
    Rootless podman and rootless docker run as the user, and read the specs as that user: for them
    the devices are 'unresolvable'.  Specs that were written with a strict umask have mode 0600.
    """,
    "'chmod a+r FILE'; a folder needs 'chmod a+rx'.",
)
WRITABLE = Code(
    "NCT-0308",
    WARNING,
    "others than root can change a CDI spec",
    """
    A CDI spec says what is mounted into containers and which programs root runs for them.  Who can
    change it, or its folder, is root on this machine.
    """,
    "'chown root:root FILE' and 'chmod go-w FILE', and the same for the folder.",
)
DOCUMENTS = Code(
    "NCT-0309",
    WARNING,
    "only the first document of a CDI spec is read",
    """
    The file has several documents of YAML, divided by '---'.  All readers of CDI specs take the
    first one; the devices of the others are 'unresolvable'.
    """,
    "Put each document into a file of its own.",
)
CODES = (INVALID, UNREADABLE, NONE, IGNORED, TWICE, SHADOWED, PRIVATE, WRITABLE, DOCUMENTS)


def check(specs: Specs) -> Iterator[Finding]:
    """Look at what can be read and at what cannot."""
    yield from _errors(specs)
    yield from _none(specs)
    yield from _ignored(specs)
    yield from _shadowed(specs)
    yield from _private(specs)
    yield from _writable(specs)
    yield from _documents(specs)


def _errors(specs: Specs) -> Iterator[Finding]:
    twice: dict[str, list[str]] = {}
    for error in specs.registry.errors:
        if BOTH in error.what:
            twice.setdefault(error.where, []).append(error.what.split()[1])
            continue
        path = error.where.partition(": ")[0]
        severity, engine = _weight_of_broken(specs, path)
        is_unread = error.what.startswith("cannot") or "regular file" in error.what
        yield Finding(
            code=UNREADABLE if is_unread else INVALID,
            what=error.what,
            where=error.where,
            command=_mending(path, is_unread=is_unread),
            severity=severity,
            engine=engine,
        )
    for where, names in twice.items():
        paths = where.split(" and ")
        severity, engine = specs.weight(names[0].partition("=")[0])
        yield Finding(
            code=TWICE,
            what=f"{where} both describe {some(names)}, so neither counts",
            where=paths[-1],
            command=_out_of_use(_older(paths)),
            severity=severity,
            engine=engine,
        )


def _weight_of_broken(specs: Specs, path: str) -> tuple[str, str]:
    """Say how much a file matters that is not understood: much where it alone has our GPUs."""
    kinds = {file.spec["kind"] for file in specs.used}
    try:
        text = cdi_registry.contents(path)
    except NvidiaRuntimeError:
        text = renew.GPU.encode()  # it may be
    if renew.GPU in kinds or (text.strip() and renew.GPU.encode() not in text):
        return WARNING, ""
    return specs.weight(renew.GPU)


def _mending(path: str, *, is_unread: bool) -> str:
    word = shlex.quote(path)
    if not is_unread:
        return f"nvidia-ctk cdi validate {word}"
    if not os.path.isfile(path) and not os.path.isdir(path):
        return f"ls -l {word}"
    return f"chmod {'a+rx' if os.path.isdir(path) else 'a+r'} {word}"


def _out_of_use(path: str) -> str:
    return f"mv {shlex.quote(path)} {shlex.quote(path + OUT_OF_USE)}"


def _older(paths: list[str]) -> str:
    return min(paths, key=lambda path: os.stat(path).st_mtime_ns if os.path.exists(path) else 0)


def _none(specs: Specs) -> Iterator[Finding]:
    has_driver = files.loaded_driver() or platform.is_soc("") or platform.is_wsl("")
    if has_driver and not any(
        spec_files.is_nvidias(file.spec["kind"]) for file in specs.registry.files
    ):
        folder = specs.folders[0] if specs.folders else "/etc/cdi"
        what = f"no file in {' and '.join(specs.folders) or 'any folder'} describes a GPU"
        if not specs.registry.errors:
            command = f"nvidia-ctk cdi generate --output={unresolvable.new_file(folder)}"
            yield Finding(code=NONE, what=what, where=folder, command=command)


def _ignored(specs: Specs) -> Iterator[Finding]:
    for path in faults.ignored(specs.folders):
        stem = path.rpartition(".")[0]
        ending = ".json" if "json" in path.rpartition(".")[2].lower() else ".yaml"
        command = f"mv {shlex.quote(path)} {shlex.quote(stem + ending)}"
        what = f"{os.path.basename(path)} does not end in .json or .yaml"
        yield Finding(code=IGNORED, what=what, where=path, command=command)


def _shadowed(specs: Specs) -> Iterator[Finding]:
    used = {file.path for file in specs.used}
    for file in specs.registry.files:
        names = [f"{file.spec['kind']}={device['name']}" for device in file.spec["devices"]]
        winners = {
            specs.registry.devices[name][0].path for name in names if name in specs.registry.devices
        }
        if file.path not in used and winners:
            what = f"{some(sorted(winners))} has all its devices, and comes first"
            yield Finding(code=SHADOWED, what=what, where=file.path, command=_out_of_use(file.path))


def _private(specs: Specs) -> Iterator[Finding]:
    is_rootless = bool(shutil.which(spec_files.BY_SPECS) or glob(ROOTLESS_SOCKETS))
    for file in specs.used:
        for path, bits in ((os.path.dirname(file.path), "a+rx"), (file.path, "a+r")):
            try:
                mode = os.stat(path).st_mode
            except OSError:
                continue
            if not mode & READABLE:
                yield Finding(
                    code=PRIVATE,
                    what=f"{path} has mode {stat.S_IMODE(mode):04o}",
                    where=path,
                    command=f"chmod {bits} {shlex.quote(path)}",
                    severity=WARNING if is_rootless else NOTE,
                )


def _writable(specs: Specs) -> Iterator[Finding]:
    places = [place for file in specs.registry.files for place in cdi_registry.places(file.path)]
    for place in dict.fromkeys([*places, *specs.folders]):
        doubts = cdi_registry.doubts(place)
        if doubts:
            word = shlex.quote(place)
            command = f"chown root:root {word}; chmod go-w {word}"
            yield Finding(
                code=WRITABLE, what=f"it {' and '.join(doubts)}", where=place, command=command
            )


def _documents(specs: Specs) -> Iterator[Finding]:
    for file in specs.registry.files:
        if not file.path.endswith(".yaml"):
            continue
        try:
            text = cdi_registry.contents(file.path)
        except NvidiaRuntimeError:
            continue
        beginnings = [match.start() for match in ANOTHER.finditer(text)]
        before = [line for line in text[: (beginnings or [0])[0]].splitlines() if line.strip()]
        is_first = all(line.lstrip()[:1] in (b"#", b"%", b"\xef") for line in before)
        count = len(beginnings) + (not is_first)
        rest = text[beginnings[1 if is_first else 0] + 3 :].strip() if count > 1 else b""
        if rest:
            line = text[: beginnings[1 if is_first else 0]].count(b"\n") + 1
            yield Finding(
                code=DOCUMENTS,
                what=f"it has {count} documents, and what comes behind line {line} is not read",
                where=f"{file.path}: line {line}",
            )
