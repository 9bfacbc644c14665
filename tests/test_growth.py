# SPDX-License-Identifier: Apache-2.0
"""How a create grows: by the steps of the interpreter, which are the same on every machine.

What the C library goes through is not seen; of that, see store/test_index.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import builders
import pytest
from shim import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COUNTS = (32, 64, 128)
# In place of the low-level runtime, the number of steps until then.
PROBE = """
import posix, sys
steps = 0
def count(frame, event, _):
    global steps
    frame.f_trace_opcodes = True
    steps += event == "opcode"
    return count
def say(*_):
    sys.settrace(None)
    posix.write(1, str(steps).encode())
    posix._exit(0)
posix.execv = say
posix.urandom = lambda size: bytes([255] * size)  # by chance a create looks at old records
sys.settrace(count)
"""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        yield machine


def devices(count: int) -> list[builders.Document]:
    """Make devices with a node each, and one with those of all."""
    nodes = [{"path": f"/dev/device{number}", "hostPath": "/dev/null"} for number in range(count)]
    single = [builders.device(str(at), deviceNodes=[node]) for at, node in enumerate(nodes)]
    return [*single, builders.device("all", deviceNodes=nodes)]


def mounts(count: int) -> builders.Document:
    paths = [f"/usr/lib/library{number}.so" for number in range(count)]
    entries = [{"hostPath": path, "containerPath": path} for path in paths]
    return builders.cdi_spec(builders.device(mounts=entries))


def other_specs(count: int) -> dict[str, object]:
    spec = builders.cdi_spec()
    kinds = (f"vendor{number:03}" for number in range(count))
    return {kind: {**spec, "kind": f"{kind}.com/device"} for kind in kinds}


def steps(site: Site, asked: str, specs: dict[str, object]) -> int:
    """Return the steps of a create that finds everything compiled."""
    site.write_specs(**specs)
    site.settle()
    for _ in range(2):  # compiles, then learns the shortcut
        site.write_bundle(builders.asking(asked))
        assert site.create().code == 0
    site.write_bundle(builders.asking(asked))
    got = site.probe(PROBE, "create", "--bundle", site.bundle, "c1")
    assert got.code == 0, got.err
    return int(got.out)


@pytest.mark.parametrize(
    ("asked", "specs"),
    [
        pytest.param(
            lambda count: ",".join(map(str, range(count))),
            lambda count: {"nvidia": builders.cdi_spec(*devices(count))},
            id="devices by their names",
        ),
        pytest.param(
            lambda _: "all",
            lambda count: {"nvidia": builders.cdi_spec(*devices(count))},
            id="all devices",
        ),
        pytest.param(lambda _: "0", lambda count: {"nvidia": mounts(count)}, id="mounts"),
        pytest.param(
            lambda _: "0",
            lambda count: {"nvidia": builders.cdi_spec(), **other_specs(count)},
            id="other specs",
        ),
    ],
)
def test_no_worse_than_linear(
    asked: Callable[[int], str], specs: Callable[[int], dict[str, object]], site: Site
) -> None:
    few, some, many = (steps(site, asked(count), specs(count)) for count in COUNTS)

    assert some - few > 0
    assert many - some <= 2.1 * (some - few)


def test_other_devices_cost_nothing(site: Site) -> None:
    few, many = (
        steps(site, "0", {"nvidia": builders.cdi_spec(*devices(count))}) for count in (4, 128)
    )

    assert abs(many - few) < 50
