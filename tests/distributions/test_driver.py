# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's real driver as Debian packages it: what is found of it, and what containers find."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import builders
import pytest
from engines import cgroups
from engines import machine as engine_machine
from engines.bundles import Bundles

from nvidia_runtime.rootfs import elf

from . import drivers, images, sight
from .boxes import Box, box
from .conftest import low_level

pytestmark = pytest.mark.long
WHOLE, COMPUTE, TESLA_470, TESLA_535 = (
    *("driver", "driver-compute", "driver-tesla-470", "driver-tesla-535"),
)
ALL = (WHOLE, COMPUTE, TESLA_470, TESLA_535, "driver-two")
LIB = f"/{drivers.LIB}"
# JSON: the Python of Debian has no PyYAML, and the runtime takes none but that.
CDI = "/etc/cdi/nvidia.json"
# Libraries whose version is a driver's.
DRIVERS = r"\.so\.\d{3}\."
Spec = dict[str, Any]
Get = Callable[[str], drivers.Machine]


@pytest.fixture(scope="module")
def get(machine: engine_machine.Machine) -> Iterator[Get]:
    """Return what keeps machines with a driver, each once."""
    kept: dict[str, drivers.Machine] = {}
    with ExitStack() as stack:

        def find(name: str) -> drivers.Machine:
            if name not in kept:
                held = drivers.hold(name, machine.scratch / name, machine.shim)
                kept[name] = stack.enter_context(held)
            return kept[name]

        yield find


@pytest.fixture
def host(get: Get, request: pytest.FixtureRequest) -> drivers.Machine:
    """Return the machine that the test names."""
    return get(request.param)


def mounts(spec: Spec) -> dict[str, str]:
    """Return what a spec mounts into every container: path in it to path on the host."""
    return {mount["containerPath"]: mount["hostPath"] for mount in spec["containerEdits"]["mounts"]}


def libraries(host: drivers.Machine) -> set[str]:
    """List what the packages have installed of the loaded driver's 64-bit libraries."""
    files = (host.lower / drivers.LIB).rglob(f"*.so.{host.version}")
    return {f"/{path.relative_to(host.lower)}" for path in files if not path.is_symlink()}


@pytest.mark.parametrize("host", ALL, indirect=True)
def test_spec_has_all_libraries(host: drivers.Machine) -> None:
    """The packages themselves say what there is."""
    sources = {path.removeprefix(host.root) for path in mounts(host.spec()).values()}

    wanted = libraries(host)
    assert len(wanted) > 3
    assert wanted - sources == set()
    names = {os.path.basename(path) for path in sources}
    assert {f"libcuda.so.{host.version}", f"libnvidia-ml.so.{host.version}"} <= names
    versioned = {name for name in names if re.search(DRIVERS, name)}
    assert {name for name in versioned if not name.endswith(f".so.{host.version}")} == set()


@pytest.mark.parametrize("host", ALL, indirect=True)
def test_all_that_is_mounted_is_the_roots_own(host: drivers.Machine) -> None:
    """Debian's alternatives are absolute links, which mean other files on the host, or none."""
    for path in mounts(host.spec()).values():
        place = host.site.succeed("readlink", "--canonicalize-existing", path).strip()

        assert place.startswith(f"{host.root}/"), path


@pytest.mark.parametrize("host", ALL, indirect=True)
def test_driver_below_a_root_is_the_driver_of_the_host(host: drivers.Machine) -> None:
    """It is the same spec that a program with this root as its own generates."""
    if not drivers.can_be_entered(host.lower):
        pytest.skip("this Python is not Debian's, in a virtual environment")
    below, own = host.spec(), host.spec(inside=True)

    text = json.dumps(below["containerEdits"]["mounts"]).replace(host.root, "")
    resolved = {mount["containerPath"]: mount for mount in json.loads(text)}
    for mount in own["containerEdits"]["mounts"]:
        there = host.run("readlink", "--canonicalize-existing", mount["hostPath"]).stdout.strip()
        other = resolved.pop(mount["containerPath"])
        assert (
            there
            == host.run("readlink", "--canonicalize-existing", other["hostPath"]).stdout.strip()
        )
    assert resolved == {}
    assert below["containerEdits"]["hooks"] == own["containerEdits"]["hooks"]
    assert below["containerEdits"]["env"] == own["containerEdits"]["env"]


@pytest.mark.parametrize("host", [WHOLE], indirect=True)
def test_files_that_only_alternatives_lead_to(host: drivers.Machine) -> None:
    paths = mounts(host.spec())

    names = {os.path.basename(path) for path in paths}
    assert names >= {
        *("nvidia-smi", "nvidia-debugdump", "nvoptix.bin", "nvidia_drv.so"),
        *("nvidia-drm-outputclass.conf", f"libglxserver_nvidia.so.{host.version}"),
        *("nvidia_icd.json", "10_nvidia.json", "nvidia.icd", "gsp_ga10x.bin"),
    }
    assert paths["/usr/bin/nvidia-smi"].endswith("/usr/lib/nvidia/current/nvidia-smi")


@pytest.mark.parametrize("host", [WHOLE], indirect=True)
def test_library_that_only_a_flag_brings(host: drivers.Machine) -> None:
    flag = "--feature-flag=enable-explicit-driver-libraries"

    added = mounts(host.spec(flag)).keys() - mounts(host.spec()).keys()

    assert "libnvidia-api.so.1" in map(os.path.basename, added)


@pytest.mark.parametrize("host", [WHOLE], indirect=True)
def test_missing_hook_is_told_once(host: drivers.Machine) -> None:
    where = host.path("missing-hook/nvidia.json")
    where.parent.mkdir()
    spec = host.spec("--nvidia-cdi-hook-path=/nowhere/nvidia-cdi-hook")
    assert json.dumps(spec).count("/nowhere/nvidia-cdi-hook") > 3
    where.write_text(json.dumps(spec))

    got = host.ctk("cdi", "validate", f"--spec-dir={host.root}/missing-hook")

    said = got.stdout + got.stderr
    assert said.count("/nowhere/nvidia-cdi-hook") == 1, said


@pytest.mark.parametrize("host", ["driver-two"], indirect=True)
def test_program_of_the_other_driver_is_told(host: drivers.Machine) -> None:
    """update-alternatives(1) chooses for X and for programs, not for the kernel."""
    choose = ("update-alternatives", "--set", "nvidia", "/usr/lib/nvidia/tesla-470")
    assert host.run(*choose).returncode == 0
    try:
        got = host.ctk("cdi", "generate", f"--driver-root={host.root}")
    finally:
        assert host.run("update-alternatives", "--auto", "nvidia").returncode == 0

    assert got.returncode == 0, got.stderr
    assert re.search(
        rf"/usr/bin/nvidia-smi is .*/tesla-470/nvidia-smi, of another driver than {host.version}",
        got.stderr,
    )
    assert f"libcuda.so.{host.version}" in got.stdout
    assert "libcuda.so.470" not in got.stdout


# What a container finds, by its own loader.


@pytest.fixture(scope="module")
def runc(group: str) -> Callable[[drivers.Machine], Bundles]:
    """Return what runs containers on a machine, with its driver."""
    kept: dict[str, Bundles] = {}

    def find(host: drivers.Machine) -> Bundles:
        if host.root not in kept:
            live = low_level(host.site, group, "runc", cgroups.usual())
            with (live.runtime.path.parent / "config.toml").open("a") as file:
                file.write(f"[nvidia-container-cli]\nroot = {json.dumps(host.root)}\n")
            kept[host.root] = live
        return kept[host.root]

    return find


@pytest.fixture
def container(
    host: drivers.Machine, runc: Callable[[drivers.Machine], Bundles]
) -> Iterator[tuple[drivers.Machine, Box]]:
    """Start a container of bookworm with all that the machine has."""
    live = runc(host)
    with box(host.site, live, live.runtime, images.get("bookworm")) as started:
        yield host, started


Started = tuple[drivers.Machine, Box]


@pytest.mark.parametrize("host", ALL, indirect=True)
def test_container_loads_the_driver(container: Started) -> None:
    host, started = container

    assert started.hooks() == []
    listed = sight.cache(started.tell)
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        (leads,) = sight.targets(started.tell, [listed[name][0]]).values()
        assert os.path.basename(leads) == f"{name[:-1]}{host.version}"
        assert leads in sight.loaded(started.tell, name).split()
    said = started.run("nvidia-smi")
    assert "couldn't communicate with the NVIDIA driver" in said.stdout + said.stderr


@pytest.mark.parametrize("host", ALL, indirect=True)
def test_loader_knows_all_libraries_of_the_driver(container: Started) -> None:
    host, started = container
    listed = sight.cache(started.tell)
    wanted = {}
    for path in libraries(host):
        with (host.lower / path.lstrip("/")).open("rb") as file:
            identity = elf.identify(file.fileno())
        if identity and "/xorg/" not in path and "/vdpau/" not in path:
            wanted[identity.soname.decode() or os.path.basename(path)] = path

    names = [name for name in wanted if name in listed]

    assert {name for name in wanted if name.startswith("lib")} - {*names} == set()
    leads = sight.targets(started.tell, [listed[name][0] for name in names])
    assert {os.path.basename(leads[listed[name][0]]) for name in names} == {
        os.path.basename(wanted[name]) for name in names
    }


@pytest.mark.parametrize("host", [WHOLE, TESLA_470], indirect=True)
def test_libgbm_finds_its_backend(container: Started) -> None:
    """It looks in the folder gbm beside itself, which is that of the distribution's libraries."""
    host, started = container
    path = f"{LIB}/gbm/nvidia-drm_gbm.so"

    leads = sight.targets(started.tell, [path])[path]

    assert os.path.basename(leads) == f"libnvidia-allocator.so.{host.version}"
    assert sight.loads(started.tell, [path])[path] == "loads"


# In an upgrade.

CREATE = """
import json, os, shutil, subprocess, sys
launcher, folder, number, document = sys.argv[1:]
bundle = f"{folder}/{number}"
os.makedirs(f"{bundle}/rootfs")
with open(f"{bundle}/config.json", "w") as file:
    file.write(document)
got = subprocess.run([launcher, "create", "--bundle", bundle, f"c{number}"], capture_output=True)
with open(f"{bundle}/config.json") as file:
    print(json.dumps([got.returncode, got.stderr.decode(), json.load(file)]))
"""
SETTINGS = """
[nvidia-container-runtime]
mode = "{mode}"
runtimes = ["/bin/true"]
"""
KERNEL = ("/sys/module/nvidia/version", "/proc/driver/nvidia/version")


@pytest.fixture
def upgraded(
    machine: engine_machine.Machine, request: pytest.FixtureRequest
) -> Iterator[tuple[str, drivers.Machine]]:
    """Return a mode, and a machine of its own whose packages may be replaced."""
    if not drivers.can_be_entered(drivers.get(COMPUTE)):
        pytest.skip("this Python is not Debian's, in a virtual environment")
    mode: str = request.param
    with drivers.hold(COMPUTE, machine.scratch / f"upgrade-{mode}", machine.shim) as host:
        host.path("etc/nvidia-container-runtime").mkdir()
        host.path("etc/nvidia-container-runtime/config.toml").write_text(SETTINGS.format(mode=mode))
        host.path("packages").mkdir()
        for package in drivers.newer():
            shutil.copy(package, host.path("packages"))
        yield mode, host


def create(host: drivers.Machine, mode: str, number: int) -> tuple[int, str, set[str]]:
    """Create a container; return the code, what was said, and its libraries of the driver."""
    asked = "nvidia.com/gpu=all" if mode == "cdi" else "all"
    document = json.dumps(builders.asking(asked))
    launcher = os.fspath(host.site.shim)
    folder = f"{number:03}"
    words = ("python3", "-c", CREATE, launcher, "/run/bundles", folder, document)
    got = host.run(*words, XDG_CONFIG_HOME="/etc")
    assert got.returncode == 0, got.stderr
    code, said, spec = json.loads(got.stdout)
    sources = {mount["source"] for mount in spec.get("mounts", ())}
    return code, said, {path for path in sources if re.search(DRIVERS, path)}


def written(host: drivers.Machine) -> set[str]:
    """Return the libraries of the driver that our spec mounts."""
    sources = mounts(json.loads(host.path(CDI).read_text())).values()
    return {path for path in sources if re.search(DRIVERS, path)}


@pytest.mark.parametrize("upgraded", ["jit-cdi", "cdi"], indirect=True)
def test_upgrade_in_place_gives_all_libraries_or_an_error(
    upgraded: tuple[str, drivers.Machine],
) -> None:
    """dpkg replaces one package after the other, while containers start and the spec is renewed."""
    mode, host = upgraded
    refresh = ("cdi", "refresh", f"--output={CDI}")
    assert host.ctk(*refresh, inside=True).returncode == 0
    code, said, whole = create(host, mode, 0)
    assert code == 0, said
    assert whole >= libraries(host)
    assert written(host) == whole
    packages = [f"/packages/{path.name}" for path in drivers.newer()]
    assert "libcuda1" in packages[0]

    ends: list[tuple[int, str, set[str]]] = []
    for package in packages if mode == "cdi" else reversed(packages):  # libcuda first, or last
        with drivers.start(host, "dpkg", "--force-all", "--unpack", package) as process:
            while process.poll() is None:
                ends.append(create(host, mode, len(ends) + 1))
            assert process.stdout
            assert process.returncode == 0, process.stdout.read()
        ends.append(create(host, mode, len(ends) + 1))
        host.ctk(*refresh, inside=True)
        assert written(host) == whole
    assert host.run("dpkg", "--force-all", "--configure", "--pending").returncode == 0

    for code, said, present in ends:
        assert (code, present) in ((0, whole), (1, set())), said
        assert code == 0 or said.count("\n") == 2  # a sentence and what to do
    code, said, _ = create(host, mode, len(ends) + 1)
    assert code == 1
    assert f"but {host.version} is loaded" in said
    assert "reboot" in said

    (newer,) = {
        path.name.removeprefix("libcuda.so.")
        for path in host.path(drivers.LIB).glob("**/libcuda.so.*.*")
    }
    for path in KERNEL:
        file = host.site.path(path)
        file.write_text(file.read_text().replace(host.version, newer))
    assert create(host, mode, len(ends) + 2)[0] == 0
    code, said, present = create(host, mode, len(ends) + 3)
    assert code == 0, said
    names = {os.path.basename(path) for path in present}
    assert names >= {f"libcuda.so.{newer}", f"libnvidia-ml.so.{newer}"}
    assert all(name.endswith(f".so.{newer}") for name in names)
