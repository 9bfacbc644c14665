# SPDX-License-Identifier: Apache-2.0
"""The error for devices that no CDI spec describes: its cause, its place, its repair."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from builders import cdi_spec, device
from shim import needs_root

import nvidia_runtime
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.sources import unresolvable

if TYPE_CHECKING:
    from collections.abc import Callable

GENERATE = "write one: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
LIST = "run 'nvidia-ctk cdi list' to see what this host has"
UUID = "GPU-8a56a4bc-51f8-4f2a-8e31-9c0d5a5b5c1e"
VENDOR = cdi_spec(device("a"), kind="example.com/x")


class Machine:
    """A machine with the spec dirs etc/cdi and run/cdi below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dirs = [root / "etc" / "cdi", root / "run" / "cdi"]

    def write(self, **files: object) -> None:
        """Write spec files into etc/cdi; what is no text is a document."""
        self.dirs[0].mkdir(parents=True, exist_ok=True)
        for name, contents in files.items():
            text = contents if isinstance(contents, str) else json.dumps(contents)
            (self.dirs[0] / f"{name}.json").write_text(text)

    def explain(self, *missing: str) -> NvidiaRuntimeError:
        """Explain why devices are missing."""
        return unresolvable.explain(list(missing), [str(folder) for folder in self.dirs])

    def say(self, *missing: str) -> tuple[str, str]:
        """Return sentence and hint, paths below the machine's root."""
        error = self.explain(*missing)
        return str(error).replace(str(self.root), ""), error.hint.replace(str(self.root), "")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def gpus(*names: str) -> object:
    return cdi_spec(*[device(name) for name in names])


def test_no_spec_dir(machine: Machine) -> None:
    assert machine.say("nvidia.com/gpu=0", "nvidia.com/gpu=1") == (
        "unresolvable CDI devices nvidia.com/gpu=0, nvidia.com/gpu=1; no spec dir exists; "
        "looked in /etc/cdi (absent), /run/cdi (absent)",
        GENERATE,
    )


def test_no_spec_dir_in_the_settings(machine: Machine) -> None:
    machine.dirs = []

    assert machine.say("nvidia.com/gpu=0")[0] == (
        "unresolvable CDI devices nvidia.com/gpu=0; no spec dir exists; "
        "config.toml names no spec dir"
    )


def test_empty_spec_dirs(machine: Machine) -> None:
    machine.write()

    assert machine.say("nvidia.com/gpu=0") == (
        "unresolvable CDI devices nvidia.com/gpu=0; there are no CDI specs; "
        "looked in /etc/cdi, /run/cdi (absent)",
        GENERATE,
    )


@pytest.mark.parametrize(
    ("missing", "reason", "hint"),
    [
        ("nvidia.com/gpu=0", "no CDI spec of kind nvidia.com/gpu, only of example.com/x", GENERATE),
        ("a.b/c=0", "no CDI spec of kind a.b/c, only of example.com/x", "put a CDI spec of kind a.b/c into /etc/cdi"),
        ("example.com/y=a", "no CDI spec of kind example.com/y; did you mean example.com/x?", LIST),
    ],
    ids=["GPU", "other vendor", "resembles another"],
)  # fmt: skip
def test_no_spec_of_the_kind(missing: str, reason: str, hint: str, machine: Machine) -> None:
    machine.write(x=VENDOR)

    assert machine.say(missing) == (
        f"unresolvable CDI devices {missing}; {reason}; looked in /etc/cdi, /run/cdi (absent)",
        hint,
    )


@pytest.mark.parametrize(
    ("names", "missing", "reason", "hint"),
    [
        (["0", "1", "all"], "7", "nvidia.com/gpu has 0, 1, all, from /etc/cdi/a.json", LIST),
        (["0:1", "gpu-one"], "gpu-ome", "did you mean gpu-one? nvidia.com/gpu has 0:1, gpu-one, from /etc/cdi/a.json", LIST),
        (
            ["0", "all"],
            UUID,
            "nvidia.com/gpu has 0, all, from /etc/cdi/a.json, no UUIDs",
            "ask for 0, or generate a spec with them: nvidia-ctk cdi generate --device-name-strategy=uuid",
        ),
        (
            [UUID, "all"],
            "0",
            f"nvidia.com/gpu has {UUID}, all, from /etc/cdi/a.json, no indices",
            f"ask for {UUID}, or generate a spec with them: nvidia-ctk cdi generate --device-name-strategy=index",
        ),
        (
            ["all"],
            "0",
            "nvidia.com/gpu has all, from /etc/cdi/a.json, no indices",
            "ask for all, or generate a spec with them: nvidia-ctk cdi generate --device-name-strategy=index",
        ),
        (
            ["0", UUID],
            "GPU-8a56",
            f"did you mean {UUID}? nvidia.com/gpu has 0, {UUID}, from /etc/cdi/a.json",
            LIST,
        ),
        (
            ["0", UUID],
            "GPU-8a57",
            f"nvidia.com/gpu has 0, {UUID}, from /etc/cdi/a.json",
            LIST,
        ),
        (
            [str(number) for number in range(16)],
            "99",
            "nvidia.com/gpu has 0, 1, 2, 3, 4, 5, 6, 7 and 8 more, from /etc/cdi/a.json",
            LIST,
        ),
    ],
    ids=[
        *("another", "resembles one", "UUID for index", "index for UUID", "index for all"),
        *("beginning of a UUID", "beginning of none", "many"),
    ],
)  # fmt: skip
def test_other_devices_of_the_kind(
    names: list[str], missing: str, reason: str, hint: str, machine: Machine
) -> None:
    machine.write(a=gpus(*names))

    assert machine.say(f"nvidia.com/gpu={missing}") == (
        f"unresolvable CDI devices nvidia.com/gpu={missing}; {reason}; "
        "looked in /etc/cdi, /run/cdi (absent)",
        hint,
    )


def test_hint_writes_over_no_spec_of_another_kind(machine: Machine) -> None:
    machine.dirs[0].mkdir(parents=True)
    (machine.dirs[0] / "nvidia.yaml").write_text(json.dumps(VENDOR))

    hint = machine.say("nvidia.com/gpu=0")[1]

    assert hint == GENERATE.replace("nvidia.yaml", "nvidia.com-gpu.yaml")


def test_conflict(machine: Machine) -> None:
    machine.write(a=gpus("0", "1"), b=gpus("0"))

    assert machine.say("nvidia.com/gpu=0") == (
        "unresolvable CDI devices nvidia.com/gpu=0; nvidia.com/gpu=0 is described by both "
        "/etc/cdi/a.json and /etc/cdi/b.json, so by none; looked in /etc/cdi, /run/cdi (absent)",
        "take it out of one of /etc/cdi/a.json and /etc/cdi/b.json",
    )


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        (
            '{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu",\n',
            "is not JSON: line 2, column 1: expecting property name enclosed in double quotes (it seems to describe nvidia.com/gpu)",
            "run 'nvidia-ctk cdi validate /etc/cdi/a.json' for all that is wrong with it",
        ),
        (
            json.dumps(cdi_spec(bogus=1)),
            "bogus: is not a field of a CDI spec (it seems to describe nvidia.com/gpu)",
            "run 'nvidia-ctk cdi validate /etc/cdi/a.json' for all that is wrong with it",
        ),
        (
            json.dumps(cdi_spec(cdiVersion="1.2.0")),
            "needs CDI 1.2.0, we know 1.1.0 and older",
            "update this program, or write the file for CDI 1.1.0 or older",
        ),
        (
            json.dumps(cdi_spec(cdiVersion="0.0.1")),
            "cdiVersion: '0.0.1' is not a known CDI version (it seems to describe nvidia.com/gpu)",
            "run 'nvidia-ctk cdi validate /etc/cdi/a.json' for all that is wrong with it",
        ),
    ],
    ids=["not parsed", "not valid", "too new", "no version"],
)  # fmt: skip
def test_broken_spec_comes_first(text: str, says: str, hint: str, machine: Machine) -> None:
    machine.write(a=text, x=VENDOR)

    assert machine.say("nvidia.com/gpu=0") == (
        f"/etc/cdi/a.json: {says}; unresolvable CDI devices nvidia.com/gpu=0; "
        "looked in /etc/cdi, /run/cdi (absent)",
        hint,
    )


def test_broken_spec_of_a_kind_that_another_describes(machine: Machine) -> None:
    machine.write(a=gpus("0"), b=json.dumps(cdi_spec(device("mig-7"), bogus=1)))

    assert machine.say("nvidia.com/gpu=mig-7")[0].startswith("/etc/cdi/b.json: bogus: ")
    assert machine.say("nvidia.com/gpu=mig-8")[0] == (
        "unresolvable CDI devices nvidia.com/gpu=mig-8; nvidia.com/gpu has 0, from /etc/cdi/a.json; "
        "/etc/cdi/b.json: bogus: is not a field of a CDI spec; looked in /etc/cdi, /run/cdi (absent)"
    )


def test_other_broken_specs_come_last_and_are_counted(machine: Machine) -> None:
    machine.write(a="1", b="2", c="3", d="4")

    assert machine.say("nvidia.com/gpu=0")[0] == (
        "unresolvable CDI devices nvidia.com/gpu=0; no usable CDI spec; "
        "/etc/cdi/a.json: must be an object; /etc/cdi/b.json: must be an object; "
        "and 2 more errors; looked in /etc/cdi, /run/cdi (absent)"
    )


def test_devices_of_several_kinds_are_explained_at_once(machine: Machine) -> None:
    machine.write(a=gpus("0"), x=VENDOR)

    assert machine.say("nvidia.com/gpu=5", "example.com/x=b", "a.b/c=d")[0] == (
        "unresolvable CDI devices nvidia.com/gpu=5, example.com/x=b, a.b/c=d; "
        "nvidia.com/gpu has 0, from /etc/cdi/a.json; "
        "example.com/x has a, from /etc/cdi/x.json; "
        "no CDI spec of kind a.b/c, only of example.com/x, nvidia.com/gpu; "
        "looked in /etc/cdi, /run/cdi (absent)"
    )


def test_specs_that_change_meanwhile(machine: Machine) -> None:
    machine.write(a=gpus("0"))

    assert machine.say("nvidia.com/gpu=0") == (
        "unresolvable CDI devices nvidia.com/gpu=0; the CDI specs are changing",
        "try again",
    )


# As another user, since modes keep root from nothing; it need not be able to read our tree.
PROBE = """
import os, sys
from nvidia_runtime.cdi import registry  # before the tree cannot be read any more
from nvidia_runtime.sources import unresolvable
os.setgroups([]); os.setgid(65534); os.setuid(65534)
error = unresolvable.explain(["nvidia.com/gpu=0"], sys.argv[1:])
print(error); print(error.hint)
"""


@needs_root
@pytest.mark.parametrize(
    ("close", "says", "hint"),
    [
        (
            lambda folder: (folder / "a.json").chmod(0o600),
            "/etc/cdi/a.json: cannot be read: permission denied for user 65534; ",
            "let user 65534 read it: chmod a+r /etc/cdi/a.json",
        ),
        (
            lambda folder: folder.chmod(0o700),
            "/etc/cdi: cannot read the spec dir: permission denied for user 65534; ",
            "let user 65534 read it: chmod a+rx /etc/cdi",
        ),
    ],
    ids=["file", "dir"],
)
def test_spec_that_this_user_may_not_read(
    close: Callable[[Path], object], says: str, hint: str, machine: Machine
) -> None:
    machine.write(a=gpus("0"))
    for path in [*machine.root.rglob("*"), machine.root, *list(machine.root.parents)[:-2]]:
        path.chmod(path.stat().st_mode | 0o755)  # whatever the umask
    close(machine.dirs[0])
    root = str(Path(nvidia_runtime.__file__).parents[1])

    got = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, machine.dirs)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip

    said = got.stdout.replace(str(machine.root), "").splitlines()
    assert said[0] == (
        f"{says}unresolvable CDI devices nvidia.com/gpu=0; looked in /etc/cdi, /run/cdi (absent)"
    )
    assert said[1] == hint
