# SPDX-License-Identifier: Apache-2.0
"""What a container, an image or a caller could once do and must not, each as a whole call."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING

import builders
import pytest
import shim
from shim import NAME, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MINOR = f"python{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        machine.write_specs(nvidia=builders.cdi_spec(builders.device("0", env=["GPU=0"])))
        machine.write_bundle(builders.asking("0"))
        yield machine


def install(folder: Path, version: str) -> None:
    """Put a copy of the package where an installer would."""
    folder.mkdir(parents=True, exist_ok=True)
    package = folder / "nvidia_runtime"
    shutil.copytree(
        shim.TREE / "nvidia_runtime", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    (package / "__init__.py").write_text(f'__version__ = TOOLKIT = "{version}"\n')


def version_of(site: Site, launcher: Path) -> bytes:
    got = site.run("--version", launcher=launcher)
    assert got.code == 0, got.err
    return got.out.splitlines()[0].split()[-1]


@pytest.fixture
def launcher(site: Site) -> Path:
    """Copy the launcher alone, as it lies in a virtual environment's bin."""
    folder = site.folder / "shared" / "venv" / "bin"
    folder.mkdir(parents=True)
    shutil.copy(shim.TREE / "packaging" / "bin" / NAME, folder)
    return folder / NAME


def test_package_beside_a_virtual_environment_is_nobody(site: Site, launcher: Path) -> None:
    """Where the environment's parent is /tmp, anybody could put one there."""
    install(launcher.parents[1] / "lib" / MINOR / "site-packages", "1.ours")
    install(launcher.parents[2], "6.6.6")

    assert version_of(site, launcher) == b"1.ours"

    shutil.rmtree(launcher.parents[1] / "lib")
    got = site.run("--version", launcher=launcher)
    assert b"6.6.6" not in got.out


@pytest.mark.parametrize("other", ["python3.10", "python3.99"])
def test_package_of_another_python_is_an_old_one(other: str, site: Site, launcher: Path) -> None:
    install(launcher.parents[1] / "lib" / other / "site-packages", "0.old")
    install(launcher.parents[1] / "lib" / MINOR / "site-packages", "1.new")

    assert version_of(site, launcher) == b"1.new"


def test_debug_file_is_written_for_every_call(site: Site) -> None:
    """The launcher's shortcut would log nothing."""
    log = site.folder / "debug.log"
    site.write_config(debug=str(log))
    for _ in range(2):
        assert site.create().code == 0
        before = log.read_text()
        assert site.run("state", "c1").runtime == "runc"

        assert log.read_text() != before
        assert site.shortcut() is None


@pytest.mark.parametrize("line", [1, 2, 3])
def test_damaged_snapshot_is_no_error(line: int, site: Site) -> None:
    site.settle()
    assert site.create().code == 0
    (snapshot,) = site.snapshots()
    lines = snapshot.read_bytes().split(b"\n")
    lines[line] = lines[line].replace(b"[", b"]").replace(b"{", b"}").replace(b"\t", b" ")
    snapshot.write_bytes(b"\n".join(lines))
    snapshot.chmod(0o600)
    site.write_bundle(builders.asking("0"))

    got = site.create()

    assert (got.code, got.err, got.runtime) == (0, "", "runc")
    assert "GPU=0" in builders.environment(site.read_bundle())


def test_closed_stderr_is_not_the_log(site: Site) -> None:
    """A file that is opened then becomes descriptor 2, and would get what is meant for people."""
    site.write_bundle(builders.asking("7"))
    log = site.folder / "log"
    words = [str(site.launcher), "--log", str(log), "--log-format", "json"]
    words += ["create", "--bundle", str(site.bundle), "c1"]
    closing = ["sh", "-c", 'exec "$@" 2>&-', "sh", *words]

    got = shim.end(site.execute(closing, env=site.environment))

    assert got.code == 1
    assert [entry["level"] for entry in shim.logged(log)][-1] == "error"


@pytest.mark.parametrize("year", [1960, 2150])
def test_source_of_an_odd_year_is_imported(year: int, site: Site) -> None:
    site.launcher = shim.copy_tree(site.folder / "tree")
    seconds = (year - 1970) * 365 * 86400
    for module in ("runtime", "create"):
        os.utime(site.folder / "tree" / "nvidia_runtime" / f"{module}.py", (seconds, seconds))

    for _ in range(2):
        site.write_bundle(builders.asking("0"))
        got = site.create()
        assert (got.code, got.err, got.runtime) == (0, "", "runc")


@pytest.mark.parametrize("flag", ["--pidfd-socket", "--console-socket", "--pid-file"])
def test_value_of_a_flag_is_not_the_container(flag: str, site: Site) -> None:
    assert site.create(flag, "/nowhere", "c7").code == 0

    assert [path.name for path in (site.state / "containers").iterdir()] == ["c7.json"]


def test_config_of_crun_is_the_file_that_is_read(site: Site) -> None:
    (site.bundle / "config.json").rename(site.bundle / "other.json")

    assert site.create("--config", "other.json", "c1").code == 0
    document = json.loads((site.bundle / "other.json").read_bytes())
    assert "GPU=0" in builders.environment(document)


@pytest.mark.parametrize(
    ("devices", "shown"),
    [
        ("9\x1b]0;title\x07", r"9\x1b]0;title\x07"),
        ("9\nhint: run it", r"9\nhint: run it"),
        ("9\r", r"nvidia.com/gpu=9"),
        ("\ud800", r"\ud800"),
    ],
    ids=["escape", "line", "blank", "surrogate"],
)
def test_names_of_a_container_do_not_reach_the_terminal(
    devices: str, shown: str, site: Site
) -> None:
    site.write_bundle(json.dumps(builders.asking(devices)).encode())

    got = site.create()

    assert got.code == 1
    assert shown in got.err
    assert len(got.err.splitlines()) == 2
    assert all(letter.isprintable() or letter == "\n" for letter in got.err)


@pytest.mark.parametrize("count", [2000, 200_000])
def test_request_without_end_is_refused_soon(count: int, site: Site) -> None:
    """Each name once cost a search among all others, and a word in the message."""
    site.write_bundle(builders.asking(",".join(f"a{n}/b=c" for n in range(count))))

    got = site.create()

    assert got.code == 1
    assert len(got.err) < 4000


def test_numbers_of_a_node_that_is_gone_are_another_drivers(site: Site) -> None:
    node = {"path": "/dev/nvidia-absent", "type": "c", "major": 5, "minor": 1}
    site.write_specs(nvidia=builders.cdi_spec(builders.device("0", deviceNodes=[node])))
    before = site.write_bundle(builders.asking("0"))

    got = site.create()

    assert got.code == 1
    assert "/dev/nvidia-absent: does not exist on this host, but " in got.err
    assert (site.bundle / "config.json").read_bytes() == before


@pytest.mark.parametrize("program", ["nvidia-cdi-hook", "nvidia-ctk"])
def test_hook_of_the_toolkit_has_an_environment(program: str, site: Site) -> None:
    """Without one, runc before 1.3 hands it the container's: CVE-2025-23266."""
    hook = {"hookName": "createContainer", "path": f"/usr/bin/{program}", "args": [program]}
    site.write_specs(nvidia=builders.cdi_spec(builders.device("0", hooks=[hook])))

    assert site.create().code == 0
    (injected,) = site.read_bundle()["hooks"]["createContainer"]
    assert [entry.partition("=")[0] for entry in injected["env"]] == ["PATH"]


@pytest.mark.parametrize(
    ("mode", "warned"),
    [(0o777, True), (0o1777, False), (0o755, False)],
    ids=["all", "sticky", "ours"],
)
def test_spec_dir_that_others_may_change_is_told(mode: int, warned: bool, site: Site) -> None:
    """They say what containers get."""
    site.specs.chmod(mode)
    site.settle()

    for _ in ("compiled", "from the snapshot"):
        site.write_bundle(builders.asking("0"))
        assert site.create().code == 0

        record = json.loads((site.state / "containers/c1.json").read_text())
        says = f"the CDI spec {site.specs} can be written by others (mode 0777): chmod go-w"
        assert record["warnings"] == ([says] if warned else [])


@shim.needs_root
def test_spec_of_somebody_else_is_told(site: Site) -> None:
    os.chown(site.specs / "nvidia.json", shim.NOBODY, shim.NOBODY)

    assert site.create().code == 0

    record = json.loads((site.state / "containers/c1.json").read_text())
    assert record["warnings"] == [
        f"the CDI spec {site.specs}/nvidia.json belongs to user {shim.NOBODY}, who can change what "
        "containers get"
    ]


def test_groups_that_a_user_namespace_lacks_are_left_out(site: Site) -> None:
    """The kernel would refuse all groups, and the container would not start."""
    device = builders.device("0", env=["GPU=0"], additionalGids=[44, 109, 5])
    site.write_specs(nvidia=builders.cdi_spec(device, cdiVersion="0.7.0"))
    mappings = [{"containerID": 0, "hostID": 1000, "size": 50}]
    linux = {"namespaces": [{"type": "user"}], "gidMappings": mappings}
    site.write_bundle(builders.asking("0", linux=linux))

    assert site.create().code == 0

    assert site.read_bundle()["process"]["user"] == {"additionalGids": [44, 5]}
    record = json.loads((site.state / "containers/c1.json").read_text())
    assert record["warnings"] == [
        "leaving out the groups 109: the container's user namespace does not have them"
    ]
