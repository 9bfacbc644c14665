# SPDX-License-Identifier: Apache-2.0
"""From edits to a spec: nothing twice, in order, with the wanted version and hooks."""

from __future__ import annotations

from typing import Any

import pytest

from nvidia_runtime.cdi import spec as cdi_spec
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import assemble, entries, hooks
from nvidia_runtime.generate.options import Options

PROGRAM = "/usr/bin/nvidia-cdi-hook"


def node(path: str) -> dict[str, Any]:
    return {"path": path, "major": 195, "permissions": "rwm"}


def device(name: str, *paths: str) -> dict[str, Any]:
    return assemble.device(name, {"deviceNodes": [node(path) for path in paths]})


def spec_of(*devices: dict[str, Any], common: dict[str, Any] | None = None, **changes: Any) -> Any:
    return assemble.spec(Options().but(**changes), list(devices), common or {})


def nodes(spec: dict[str, Any], name: str) -> list[str]:
    (gpu,) = [entry for entry in spec["devices"] if entry["name"] == name]
    return [entry["path"] for entry in gpu["containerEdits"]["deviceNodes"]]


def test_nodes_and_mounts_are_in_order_of_depth() -> None:
    common = {"mounts": [entries.mount(path, path) for path in ("/usr/lib/b", "/etc/z", "/etc/a")]}

    spec = spec_of(device("0", "/dev/dri/card0", "/dev/nvidia1", "/dev/nvidia0"), common=common)

    assert nodes(spec, "0") == ["/dev/nvidia0", "/dev/nvidia1", "/dev/dri/card0"]
    mounts = [mount["containerPath"] for mount in spec["containerEdits"]["mounts"]]
    assert mounts == ["/etc/a", "/etc/z", "/usr/lib/b"]


def test_devices_are_in_order_of_names() -> None:
    spec = spec_of(device("1", "/dev/b"), device("0", "/dev/a"), device("10", "/dev/c"))

    assert [entry["name"] for entry in spec["devices"]] == ["0", "1", "10", "all"]


def test_all_is_everything_once() -> None:
    spec = spec_of(device("0", "/dev/a"), device("GPU-1", "/dev/a"), device("1", "/dev/b"))

    assert nodes(spec, "all") == ["/dev/a", "/dev/b"]


@pytest.mark.parametrize(
    ("names", "merged", "expected"),
    [
        pytest.param(["0"], False, ["0"], id="not wanted"),
        pytest.param(["all"], True, ["all"], id="there is one"),
        pytest.param([], True, [], id="of nothing"),
    ],
)
def test_no_all(names: list[str], merged: bool, expected: list[str]) -> None:
    spec = spec_of(*[device(name, "/dev/a") for name in names], merged_device=merged)

    assert [entry["name"] for entry in spec["devices"]] == expected


def test_what_every_container_gets_is_not_in_a_device() -> None:
    common = {"deviceNodes": [node("/dev/nvidiactl")]}

    spec = spec_of(device("0", "/dev/nvidia0", "/dev/nvidiactl"), common=common)

    assert nodes(spec, "0") == ["/dev/nvidia0"]


def test_a_device_is_never_emptied() -> None:
    spec = spec_of(device("0", "/dev/a"), common={"deviceNodes": [node("/dev/a")]})

    assert nodes(spec, "0") == ["/dev/a"]


def test_common_environment_ends_with_void() -> None:
    spec = spec_of(device("0", "/dev/a"), common={"env": ["A=1"]})

    assert spec["containerEdits"] == {"env": ["A=1", "NVIDIA_VISIBLE_DEVICES=void"]}


HOOKS = {
    "hooks": [
        hooks.enable_cuda_compat(PROGRAM, "580.1"),
        hooks.update_ldcache(PROGRAM, ["/usr/lib"]),
        hooks.chmod(PROGRAM, ["/dev/dri"]),
    ]
}


@pytest.mark.parametrize(
    ("disabled", "enabled", "expected"),
    [
        pytest.param([], [], ["enable-cuda-compat", "update-ldcache"], id="chmod is off"),
        pytest.param(["update-ldcache"], [], ["enable-cuda-compat"], id="one disabled"),
        pytest.param(["all"], [], [], id="all disabled"),
        pytest.param(["all"], ["chmod"], ["chmod"], id="enabled has the last word"),
        pytest.param(
            [], ["chmod"], ["enable-cuda-compat", "update-ldcache", "chmod"], id="chmod enabled"
        ),
    ],
)
def test_hooks_that_are_wanted(
    disabled: list[str], enabled: list[str], expected: list[str]
) -> None:
    spec = spec_of(
        device("0", "/dev/a"),
        common=HOOKS,
        disabled_hooks=frozenset(disabled),
        enabled_hooks=frozenset(enabled),
    )

    listing = spec["containerEdits"].get("hooks", [])
    assert [hooks.verb(hook) for hook in listing] == expected


def test_hooks_that_a_mode_never_has() -> None:
    never = frozenset(("update-ldcache",))

    spec = assemble.spec(Options(), [device("0", "/dev/a")], HOOKS, never)

    assert [hooks.verb(hook) for hook in spec["containerEdits"]["hooks"]] == ["enable-cuda-compat"]


@pytest.mark.parametrize("program", ["/usr/bin/nvidia-cdi-hook", "/usr/bin/nvidia-ctk"])
def test_hooks_in_one_call(program: str) -> None:
    common = {
        "hooks": [
            hooks.enable_cuda_compat(program, "580.1"),
            hooks.update_ldcache(program, ["/a"]),
        ]
    }

    spec = spec_of(device("0", "/dev/a"), common=common, combine_hooks=True)

    (hook,) = spec["containerEdits"]["hooks"]
    assert hook["path"] == program
    assert hook["args"][-6:] == [
        "enable-cuda-compat",
        "--host-driver-version=580.1",
        "--then",
        "update-ldcache",
        "--folder",
        "/a",
    ]
    assert hook["args"][0] == program.rpartition("/")[2]
    assert hook["env"]


@pytest.mark.parametrize(
    ("edits", "changes", "expected"),
    [
        pytest.param({"deviceNodes": [node("/dev/a")]}, {}, "0.5.0", id="name begins with a digit"),
        pytest.param({"additionalGids": [44]}, {}, "0.7.0", id="groups"),
        pytest.param(
            {"env": ["A=1"]}, {"device_class": "gpu.coherent"}, "0.6.0", id="class with a dot"
        ),
        pytest.param({"env": ["A=1"]}, {"spec_version": "1.0.0"}, "1.0.0", id="a newer one"),
    ],
)
def test_version(edits: dict[str, Any], changes: dict[str, Any], expected: str) -> None:
    spec = spec_of(assemble.device("0", edits), **changes)

    assert spec["cdiVersion"] == expected
    cdi_spec.check(spec)


@pytest.mark.parametrize(
    ("changes", "name", "says"),
    [
        pytest.param(
            {"device_class": "a/b"},
            "0",
            "kind 'nvidia.com/a/b': class 'a/b' has an invalid character '/'",
            id="class",
        ),
        pytest.param({}, "", "empty device name", id="name"),
        pytest.param(
            {"spec_version": "0.3.0"}, "0", "CDI 0.3.0 cannot express this spec", id="too old"
        ),
        pytest.param({"spec_version": "7"}, "0", "unknown CDI version '7'", id="no such version"),
    ],
)
def test_what_no_reader_would_take(changes: dict[str, Any], name: str, says: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        spec_of(device(name, "/dev/a"), **changes)

    assert str(error.value) == says


def test_two_devices_of_one_name() -> None:
    with pytest.raises(NvidiaRuntimeError, match="two devices have the name '0'"):
        spec_of(device("0", "/dev/a"), device("0", "/dev/b"))


def test_device_without_edits() -> None:
    with pytest.raises(NvidiaRuntimeError, match="device '0' has no edits"):
        spec_of(assemble.device("0", {}))
