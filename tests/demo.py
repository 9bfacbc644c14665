# SPDX-License-Identifier: Apache-2.0
"""``make run``: a real container through our runtime, what went in and why, on one screen.

It does what an engine does: writes a bundle, calls ``nvidia-container-runtime create`` and
``start``, waits, calls ``delete``.  Nothing stays.  Needs root, runc and busybox.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import demo_container
import screen
import simulated
import yaml
from demo_container import Container, fail

Json = dict[str, Any]
SPEC_DIRS = ("/etc/cdi", "/var/run/cdi")
LOOK = r"""
echo "$ ls -l /dev"; ls -l /dev | grep -v ^total
echo "$ awk '{ print \$5, \$6 }' /proc/self/mountinfo"; awk '{ print $5, $6 }' /proc/self/mountinfo
echo "$ env"; env
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine whose GPUs the container gets.

    ``short`` are names for long paths.  ``nvidia_smi`` is its path in the container, ``programs``
    are the files on the host that need a C library there.
    """

    says: tuple[str, ...]
    gpus: str
    spec_dir: str = ""
    short: tuple[tuple[str, str], ...] = ()
    nvidia_smi: str = ""
    programs: tuple[str, ...] = ()


@contextmanager
def machine() -> Iterator[Host]:
    """Take this machine's GPUs; where it has none, simulate two and say so."""
    has_gpu = os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/dxg")
    file, spec = find_spec()
    if has_gpu and file:
        yield real_host(file, spec)
        return
    lacks = "a GPU but no CDI spec of it" if has_gpu else "no GPU"
    with ExitStack() as stack:
        try:
            made = stack.enter_context(simulated.machine(gpus=2))
        except PermissionError:
            fail("the right to make device nodes is missing: CAP_MKNOD")
        yield Host(
            says=(
                f"SIMULATED, since this machine has {lacks}: two GPUs, made of device nodes",
                "by mknod, driver libraries without code, and a CDI spec; so no nvidia-smi -L.",
            ),
            gpus="0,1",
            spec_dir=os.fspath(made.spec_dir),
            short=((os.fspath(made.root), "$SIM"),),
        )


def find_spec() -> tuple[str, Json]:
    """Find the CDI spec of this machine's GPUs, and its file; "" if there is none."""
    files = [file for folder in SPEC_DIRS for file in sorted(Path(folder).glob("*"))]
    for file in files:
        with suppress(OSError, ValueError, yaml.YAMLError):  # a broken one is the runtime's to name
            spec = yaml.safe_load(file.read_text())  # JSON too
            if isinstance(spec, dict) and spec.get("kind") == simulated.KIND:
                return os.fspath(file), spec
    return "", {}


def real_host(file: str, spec: Json) -> Host:
    """Describe this machine; nvidia-smi is where its spec says."""
    mounts = spec.get("containerEdits", {}).get("mounts") or []
    paths = {mount["containerPath"]: mount["hostPath"] for mount in mounts}
    programs = [path for path in paths if path.endswith("/nvidia-smi")]
    libraries = [path for path in paths if "/libnvidia-ml.so" in path]
    return Host(
        says=(f"The GPUs of this machine, as {file} describes them.",),
        gpus="all",
        nvidia_smi=programs[0] if programs else "",
        programs=tuple(paths[path] for path in programs + libraries),
    )


def show(page: screen.Screen, host: Host, new: Container) -> None:
    """Run the container, and print each step."""
    page.title("The machine")
    for line in host.says:
        page.line(f"  {line}")
    for path, name in page.short:
        print(f"  {name} is {path}, until the end")
    page.title(
        f"\nA container asks for NVIDIA_VISIBLE_DEVICES={host.gpus}; the runtime is in cdi mode"
    )
    before = new.spec()
    page.line(f"  $ {command(new, 'create')}")
    new.call("create")
    page.title("\nconfig.json, before and after")
    screen.show_diff(page, before, new.spec())
    record = new.record()
    rows = screen.reasons(record, new.spec())
    page.title(
        f"\nWhy each is there ({', '.join(record['requested'])}: asked for by {record['by']})"
    )
    screen.show_reasons(page, rows)
    page.title("\nWhat the container sees")
    page.line(f"  $ {command(new, 'start')}")
    screen.show_sight(page, new.run(), rows)


def command(new: Container, name: str) -> str:
    """Spell a call of the runtime without the path of the virtual environment."""
    return " ".join([demo_container.NAME, *new.words(name)[1:]])


def run(*, full: bool) -> None:
    """Show one container, from request to removal."""
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    with machine() as host:
        script = LOOK + (f"echo '$ nvidia-smi -L'; {host.nvidia_smi} -L" if host.nvidia_smi else "")
        with demo_container.prepared(
            script, gpus=host.gpus, spec_dir=host.spec_dir, programs=host.programs
        ) as new:
            short = (*host.short, (os.fspath(new.folder), "$BUNDLE"), (new.folder.name, "$ID"))
            page = screen.Screen(colours=colours, full=full, short=short)
            show(page, host, new)
            delete = command(new, "delete")
        page.line(f"\n  $ {delete}")
        page.line("  Nothing is left of it.")
        sys.stdout.flush()


def main() -> None:
    """Run the demo; leave nothing however it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="shorten nothing")
    options = parser.parse_args()
    if os.geteuid() != 0:
        fail("root is missing: device nodes and containers need it")
    for number in demo_container.ENDINGS:
        signal.signal(number, lambda ending, _: sys.exit(128 + ending))
    try:
        run(full=options.full)
    except BrokenPipeError:  # the reader, head perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    main()
