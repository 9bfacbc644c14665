# SPDX-License-Identifier: Apache-2.0
"""``make run``: a real container through our runtime, what went in and why, on one screen.

It does what an engine does: writes a bundle, calls ``nvidia-container-runtime create`` and
``start``, waits, calls ``delete``.  Nothing stays.  Needs root, runc and busybox.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass

import demo_container
import screen
from demo_container import Container, fail

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import catalogue, faults, namespace, nvml

HAS_GPU = os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/dxg")
MACHINE = "a100x8"
LOOK = r"""
echo "$ ls -l /dev"; ls -l /dev | grep -v ^total
echo "$ awk '{ print \$5, \$6 }' /proc/self/mountinfo"; awk '{ print $5, $6 }' /proc/self/mountinfo
echo "$ env"; env
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine whose GPUs the container gets.

    ``programs`` are files on the host that need a C library in the container: nvidia-smi, if it is
    there.  ``settings`` go into config.toml.
    """

    says: tuple[str, ...]
    gpus: str
    programs: tuple[str, ...] = ()
    settings: str = ""


def real_host() -> Host:
    """Describe this machine."""
    program = shutil.which("nvidia-smi")
    tool = demo_container.find("nvidia-ctk", demo_container.SCRIPTS)
    return Host(
        says=("The GPUs of this machine, as its driver describes them.",),
        gpus="all",
        programs=(program,) if program else (),
        settings=f"[nvidia-ctk]\npath = {json.dumps(tool)}\n",
    )


def simulated_host() -> Host:
    """Go to a simulated machine: with its NVML, if that can be compiled, else without."""
    if sys.prefix != sys.base_prefix:  # what is compiled stays in .venv, not in the user's home
        os.environ["XDG_CACHE_HOME"] = os.path.join(sys.prefix, "cache")
    machine = catalogue.find(MACHINE)
    try:
        nvml.library(machine.faults)
    except NvidiaRuntimeError:
        machine = faults.apply(machine, without_code=True)
    try:
        namespace.enter(machine, real=[tempfile.gettempdir()])
    except NvidiaRuntimeError as error:
        fail(f"{error}: {error.hint}")
    return Host(
        says=(
            "SIMULATED, since this machine has no GPU: what follows runs as by",
            f"'nvidia-ctk simulate {MACHINE}', {machine.description}.",
        ),
        gpus="0,1",
    )


def show(page: screen.Screen, host: Host, new: Container) -> None:
    """Run the container, and print each step."""
    page.title("The machine")
    for line in host.says:
        page.line(f"  {line}")
    for path, name in page.short:
        print(f"  {name} is {path}, until the end")
    page.title(f"\nA container asks for NVIDIA_VISIBLE_DEVICES={host.gpus}")
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
    host = real_host() if HAS_GPU else simulated_host()
    script = LOOK + ("echo '$ nvidia-smi -L'; nvidia-smi -L" if host.programs else "")
    with demo_container.prepared(
        script, gpus=host.gpus, settings=host.settings, programs=host.programs
    ) as new:
        short = ((os.fspath(new.folder), "$BUNDLE"), (new.folder.name, "$ID"))
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
