# SPDX-License-Identifier: Apache-2.0
"""The host's own files as an attacker would like them: settings, specs, hooks, libraries."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import builders
import pytest
import shim
from shim import Site

from nvidia_runtime.cdi import registry
from nvidia_runtime.cdi import spec as cdi_spec
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import driver_files, hooks
from nvidia_runtime.net import devices
from nvidia_runtime.prepare import takeover
from nvidia_runtime.prepare.verbs import VERBS
from nvidia_runtime.selftest import attack, stage, suite, ways

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = os.fspath(shim.BIN.resolve())
RUNC = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin") or ""
LDCONFIG = "nvidia-container-cli.ldconfig"
ALLOWED = "features.allow-ldconfig-from-container"
CTK = "from nvidia_runtime import cli; cli.main()"
# What a hook of ours may be given: nothing that a loader, a shell or Python reads as a path.
FIXED = {"PATH", "LC_ALL", "NVIDIA_CTK_DEBUG"}


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        (site.bundle / "rootfs").mkdir()
        site.write_specs(nvidia=builders.cdi_spec())
        site.write_bundle(builders.asking("0"))
        yield site


@pytest.mark.parametrize(
    "path", ["/sbin/ldconfig", "sbin/ldconfig", "./ldconfig", "", " @/sbin/ldconfig", "\0@/sbin/l"]
)
def test_t06_ldconfig_of_the_image_is_refused(path: str, site: Site) -> None:
    """CVE-2024-0136, CVE-2024-0137: one without @ is the container's own."""
    with pytest.raises(NvidiaRuntimeError, match="must begin with '@'"):
        config.check_ldconfig({**config.defaults(), LDCONFIG: path}, "config.toml")

    text = (
        f"[nvidia-container-cli]\nldconfig = {json.dumps(path)}\n[{shim.NAME}]\nmode = 'legacy'\n"
    )
    site.write_config(text)
    assert site.create().code == 1


def test_t06_ldconfig_of_the_image_is_a_choice_for_legacy_mode_only(site: Site) -> None:
    """Where the settings allow it, NVIDIA's own program runs ldconfig; nothing of ours does."""
    allowed = {**config.defaults(), LDCONFIG: "/sbin/ldconfig", ALLOWED: True}
    config.check_ldconfig(allowed, "config.toml")

    words = "subprocess", "posix_spawn", "execv", "fork", "system", "popen"
    for room in ("rootfs", "prepare", "hooks/cdi_hook.py"):
        for file in sources(room):
            calls = [word for word in words if re.search(rf"\b{word}\(", file.read_text())]
            assert calls == [], file


def sources(room: str) -> list[Path]:
    place = shim.TREE / "nvidia_runtime" / room
    return sorted(place.glob("*.py")) if place.is_dir() else [place]


def test_t05_nothing_of_the_image_is_executed_or_written() -> None:
    """CVE-2019-5736: no program is run on a container's root, so no /proc/PID/exe is one's to
    write to; and what exists in it is never opened for writing."""
    for room in ("rootfs", "prepare"):
        for file in sources(room):
            text = file.read_text()
            assert "O_RDWR" not in text, file
            assert "O_TRUNC" not in text, file
            assert text.count("O_WRONLY") == text.count("O_EXCL"), file


@pytest.mark.parametrize("hook", ["auto", "always", "toolkit"])
@pytest.mark.parametrize("name", ["runc", "crun"])
def test_t05_programs_of_the_host_stay_as_they_are(hook: str, name: str, tmp_path: Path) -> None:
    """CVE-2024-0135: a container whose first process tries to write to every program it can see."""
    program = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") or ""
    if reason := suite.refusal(BIN, program):
        pytest.skip(reason)
    tmp_path.chmod(0o755)
    scene = stage.Stage(attack.read(attack.ATTACKS / "T05-programs-of-the-image"), tmp_path / "s")
    own = [Path(BIN, "nvidia-cdi-hook").resolve(), Path(program), Path(sys.executable).resolve()]
    before = [(file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes()) for file in own]

    ended = ways.by_create(BIN, program, hook, scene)

    assert ways.complaints(scene, ended, 0) == []
    assert [
        (file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes()) for file in own
    ] == before


@pytest.fixture(scope="module")
def poison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile a library that says that it was loaded, in a file of its environment's."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler for a library to preload")
    folder = tmp_path_factory.mktemp("poison")
    (folder / "poc.c").write_text(
        "#include <stdio.h>\n#include <stdlib.h>\n"
        "__attribute__((constructor)) static void hit(void) {\n"
        '  FILE *file = fopen(HIT, "w"); if (file) fclose(file); }\n'
    )
    words = [compiler, "-shared", "-fPIC", f'-DHIT="{folder}/hit"', "-o", "poc.so", "poc.c"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the C compiler makes no library: {done.stderr.splitlines()[:1]}")
    return folder


def poisoned(poison: Path, folder: Path) -> stage.Stage:
    """Make the image of CVE-2025-23266: three lines of a Dockerfile."""
    folder.chmod(0o755)
    tree = f"folder 755 {attack.LIBRARIES}\n"
    env = ("LD_PRELOAD=/proc/self/cwd/poc.so", "LD_AUDIT=/proc/self/cwd/poc.so")
    one = attack.Attack(name="T08", title="", why="", tree=tree, calls=attack.USUAL, env=env)
    scene = stage.Stage(one, folder / "s")
    shutil.copy(poison / "poc.so", scene.root)
    return scene


@pytest.mark.parametrize("hook", ["auto", "always", "toolkit"])
@pytest.mark.parametrize("name", ["runc", "crun"])
def test_t08_preloaded_library_of_the_image(
    hook: str, name: str, poison: Path, tmp_path: Path
) -> None:
    """CVE-2025-23266: the hooks have fixed variables, whatever the specs say."""
    program = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") or ""
    if reason := suite.refusal(BIN, program):
        pytest.skip(reason)
    scene = poisoned(poison, tmp_path)

    ended = ways.by_create(BIN, program, hook, scene)

    assert ended.code == 0, ended.said
    assert not (poison / "hit").exists()


def test_t08_preloaded_library_hits_a_hook_without_variables(poison: Path, tmp_path: Path) -> None:
    """As a hook of the toolkit's before 1.17.8, where runc is older than 1.3."""
    if reason := suite.refusal(BIN, RUNC):
        pytest.skip(reason)
    scene = poisoned(poison, tmp_path)
    document = json.loads((scene.bundle / "config.json").read_text())
    document["hooks"] = {"createContainer": [{"path": "/bin/true", "args": ["true"]}]}
    (scene.bundle / "config.json").write_text(json.dumps(document))
    words = [*ways.PRIVATE, ways.CREATE, "sh", RUNC, "t08", f"{tmp_path}/state", RUNC]
    words += ["--root", f"{tmp_path}/state", "create", "--bundle", f"{scene.bundle}", "t08"]

    subprocess.run(words, check=False, capture_output=True, timeout=20)

    hit = poison / "hit"
    version = subprocess.run([RUNC, "--version"], capture_output=True, text=True, check=True).stdout
    if not hit.exists() and not version.startswith(("runc version 1.0", "runc version 1.1")):
        pytest.skip("this runc gives hooks an environment of its own: 1.3 and later")
    assert hit.exists()
    hit.unlink()


@pytest.mark.parametrize("name", ["runc", "crun"])
@pytest.mark.parametrize("hook", ["always", "toolkit"])
def test_t08_environment_of_a_hook_is_exactly_ours(hook: str, name: str, tmp_path: Path) -> None:
    program = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") or ""
    if reason := suite.refusal(BIN, program):
        pytest.skip(reason)
    shutil.copytree(shim.TREE / "packaging", tmp_path / "packaging", symlinks=True)
    (tmp_path / "nvidia_runtime").symlink_to(shim.TREE / "nvidia_runtime")
    programs = tmp_path / "packaging" / "bin"
    teller = programs / "nvidia-cdi-hook"
    teller.unlink()
    said = shlex.quote(f"{tmp_path}/environment")
    teller.write_text(f"#!/bin/sh\ntr '\\0' '\\n' </proc/self/environ >>{said}\n")
    teller.chmod(0o755)
    tmp_path.chmod(0o755)
    one = attack.read(attack.ATTACKS / "T08-environment-of-the-image")
    scene = stage.Stage(one, tmp_path / "s")

    ended = ways.by_create(os.fspath(programs), program, hook, scene)

    assert ended.code == 0, ended.said
    variables = (tmp_path / "environment").read_text().splitlines()
    assert {entry.partition("=")[0] for entry in variables} <= FIXED | {"_", "PWD", "SHLVL"}
    assert "PATH=." not in variables


def test_t09_every_hook_of_ours_has_variables() -> None:
    for verb in VERBS:
        hook = hooks.hook("/usr/bin/nvidia-cdi-hook", verb)
        assert {entry.partition("=")[0] for entry in hook["env"]} <= FIXED
        assert hook["env"]
    for variables in (takeover.ENVIRONMENT, devices.HOOK_ENV):
        assert variables
        assert {entry.partition("=")[0] for entry in variables} <= FIXED


@pytest.mark.parametrize("hook", [{}, {"env": []}, {"env": None}], ids=["absent", "empty", "null"])
def test_t09_hook_of_an_old_spec_gets_variables(hook: dict[str, Any], site: Site) -> None:
    """A spec that was generated before 1.17.8 is dangerous for as long as it lies there."""
    program: dict[str, Any] = {"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook"}
    program["args"] = ["nvidia-cdi-hook", "unknown-verb"]  # not one that is done on the host
    given = {**program, **{name: value for name, value in hook.items() if value is not None}}
    site.write_specs(nvidia=builders.cdi_spec(builders.device("0", hooks=[given])))

    assert site.create().code == 0

    (hook,) = site.read_bundle()["hooks"]["createContainer"]
    assert hook["env"]
    assert {entry.partition("=")[0] for entry in hook["env"]} <= FIXED


@shim.needs_root
@pytest.mark.parametrize("kind", ["another user's", "writable by all", "folder writable by all"])
def test_t22_specs_of_others_are_named(kind: str, site: Site) -> None:
    """They are read, as by every CDI reader; `cdi validate` names them, and the record their file."""
    spec = site.specs / "nvidia.json"
    if kind == "another user's":
        os.chown(spec, shim.NOBODY, shim.NOBODY)
    else:
        (spec if kind == "writable by all" else site.specs).chmod(
            0o666 | 0o111 * ("folder" in kind)
        )

    said = subprocess.run(
        [sys.executable, "-c", CTK, "cdi", "validate", "--spec-dir", site.specs],
        cwd=shim.TREE,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "belongs to user" in said.stdout or "can be written by others" in said.stdout, said
    site.settle()
    assert site.create().code == 0
    for injected in json.loads((site.state / "containers/c1.json").read_text())["injected"]:
        assert injected["from"]["file"] == str(spec)
        assert len(injected["from"]["sha256"]) == 64


def bombs() -> dict[str, bytes]:
    """Return documents that are small, or shallow, only to look at."""
    anchors = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    return {
        "anchors": anchors.encode(),
        "merges": b"a: &a {x: 1}\n"
        + b"".join(b"b%d: &b%d {<<: [*a, *a]}\n" % (n, n) for n in range(5000)),
        "deep json": b"[" * 500_000,
        "deep yaml": b"- " * 200_000 + b"x",
        "deep flow": b"{a: " * 100_000,
        "repeated keys": b'{"cdiVersion": "0.5.0", "kind": "a/b", "kind": "nvidia.com/gpu", "devices": []}',
        "large": b" " * (100 << 20),
        "digits": b'{"cdiVersion": ' + b"9" * 1_000_000 + b"}",
        "nul": b"\0" * 1000,
    }


@pytest.mark.parametrize("name", bombs())
def test_t23_bombs_are_refused_soon(name: str) -> None:
    data = bombs()[name]
    began = time.process_time()

    with pytest.raises(NvidiaRuntimeError):
        cdi_spec.parse(data, "bomb.yaml")

    assert time.process_time() - began < 8


def test_t23_bombs_cost_others_nothing(tmp_path: Path) -> None:
    (tmp_path / "anchors.yaml").write_bytes(bombs()["anchors"])
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(10 << 30)
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "good.json").write_text(json.dumps(builders.cdi_spec()))

    specs = registry.read([os.fspath(tmp_path)])

    assert list(specs.devices) == ["nvidia.com/gpu=0"]
    assert len(specs.errors) == 3


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("nvidia-cdi-hook.path = '/evil'\n", "", "unknown setting nvidia-cdi-hook.path"),
        ("", f"[{shim.NAME}.hook]\npath = '/evil'\n", f"unknown setting {shim.NAME}.hook"),
        ("", "[nvidia-ctk]\npath = '/evil/nvidia-ctk'\n", ""),
        ("", f"[{shim.NAME}-hook]\npath = '/evil/hook'\n", ""),
    ],
    ids=["no such table", "no such key", "nvidia-ctk", "hook of legacy mode"],
)
def test_t24_settings_name_no_program_of_a_cdi_container(
    text: str, more: str, said: str, site: Site
) -> None:
    """The hook that is injected lies beside the runtime; a setting that does not exist is named."""
    site.write_config()
    site.write_config(text + site.config.read_text() + more)
    call: dict[str, Any] = {"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook"}
    call["args"] = ["nvidia-cdi-hook", "chmod", "--mode", "755", "--path", "/x"]
    site.write_specs(nvidia=builders.cdi_spec(builders.device("0", hooks=[call])))

    got = site.run("--log", site.folder / "log", "create", "--bundle", site.bundle, "c1")

    assert got.code == 0, got.err
    assert "/evil" not in json.dumps(site.read_bundle())
    assert said in (site.folder / "log").read_text()


def test_t31_sockets_that_containers_get() -> None:
    """Those of persistenced, the fabric manager and MPS, as with the toolkit; and a flag for none.

    A folder in /tmp that is not root's could be anybody's way to any folder of the host.
    """
    assert driver_files.SOCKETS == ("nvidia-persistenced/socket", "nvidia-fabricmanager/socket")
    assert driver_files.MPS == "/tmp/nvidia-mps"
    assert {"nosuid", "nodev", "noexec"} <= set(driver_files.SOCKET_OPTIONS)
    assert driver_files.NO_IPC_FLAG == "disable-ipc-discoverer"


@shim.needs_root
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("", ""),
        ("rm -r shared/a && ln -s ../secret shared/a && chown -h 65534 shared/a", "is a link"),
        ("chown 65534 shared/a", "belongs to user 65534"),
        ("rm -r shared/a && ln -s ../secret shared/a", "is a link"),
        ("mv shared/a/b shared/a/c && ln -s c shared/a/b", ""),
    ],
    ids=["root's folder", "link", "another user's", "root's link", "link in root's folder"],
)
def test_t31_mount_from_a_shared_folder_is_of_roots(change: str, said: str, site: Site) -> None:
    """What a spec lists in a folder like /tmp is looked at when a container is created."""
    for name in ("shared/a/b", "secret/b"):
        (site.folder / name).mkdir(parents=True)
    (site.folder / "shared").chmod(0o1777)
    source = f"{site.folder}/shared/a/b"
    mount = {"hostPath": source, "containerPath": "/pipes", "options": ["rbind"]}
    site.write_specs(nvidia=builders.cdi_spec(builders.device("0", mounts=[mount])))
    site.settle()
    assert site.create().code == 0
    subprocess.run(["sh", "-c", change], cwd=site.folder, check=True)
    site.write_bundle(builders.spec("NVIDIA_VISIBLE_DEVICES=0"))

    got = site.run("--log", site.folder / "log", "create", "--bundle", site.bundle, "c1")

    assert (got.code, got.err) == (0, "")
    sources = [mount["source"] for mount in site.read_bundle().get("mounts", ())]
    log = (site.folder / "log").read_text() if (site.folder / "log").exists() else ""
    assert (source in sources, f"left out the mount of {source}" in log) == (not said, bool(said))
    assert said in log
    assert source in (site.state / "containers/c1.json").read_text()


def test_t33_libraries_of_the_driver_are_not_looked_up(poison: Path) -> None:
    """By LD_LIBRARY_PATH anybody's would be loaded: there are only absolute paths, in a child."""
    shutil.copy(poison / "poc.so", poison / "libnvidia-ml.so.1")
    code = (
        "from nvidia_runtime.host import nvml\nfrom nvidia_runtime.errors import NvidiaRuntimeError\n"
        "try:\n nvml.ask('/nonexistent/libnvidia-ml.so.1', 2)\nexcept NvidiaRuntimeError as e: print(e)"
    )
    env = {**os.environ, "LD_LIBRARY_PATH": os.fspath(poison), "PYTHONPATH": os.fspath(shim.TREE)}

    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "/nonexistent" in done.stdout
    assert not (poison / "hit").exists()
    naive = "import ctypes; ctypes.CDLL('libnvidia-ml.so.1')"
    subprocess.run([sys.executable, "-c", naive], env=env, check=True)
    assert (poison / "hit").exists()
    (poison / "hit").unlink()


def test_t33_every_library_is_loaded_by_a_path_that_was_found() -> None:
    for file in sorted((shim.TREE / "nvidia_runtime").rglob("*.py")):
        text = file.read_text()
        assert 'CDLL("' not in text, file
        assert "find_library(" not in text, file


@shim.needs_root
def test_t34_hook_without_rights_says_so(tmp_path: Path) -> None:
    """In a user namespace to which the image's root does not belong: a sentence, no traceback."""
    tmp_path.chmod(0o755)
    scene = stage.Stage(attack.read(attack.ATTACKS / "T35-ordinary"), tmp_path / "s")
    words = ["unshare", "--user", "--map-root-user", f"{BIN}/nvidia-cdi-hook", *attack.USUAL[0]]
    if subprocess.run(
        [*words[:3], "true"], user=shim.NOBODY, capture_output=True, check=False
    ).returncode:
        pytest.skip("users may have no user namespaces here")

    done = subprocess.run(
        words,
        input=scene.state(),
        user=shim.NOBODY,
        group=shim.NOBODY,
        extra_groups=[],
        capture_output=True,
        cwd=scene.root,
        env=stage.ENVIRONMENT,
        check=False,
    )

    said = done.stderr.decode().splitlines()
    if "denied" in " ".join(said) and "python" in " ".join(said):
        pytest.skip("needs a tree that every user may read")
    assert done.returncode == 1
    assert len(said) <= 2
    assert "permission denied" in said[0]
    assert scene.canary.harm() == []


def test_t12_bulletins_are_read_again() -> None:
    """SECURITY.md says when NVIDIA's and runc's were read last, and what the list ends with."""
    policy = shim.TREE / "SECURITY.md"
    if not policy.exists():
        pytest.skip("needs the repository's SECURITY.md")

    text = policy.read_text()
    assert "Bulletins read" in text
    assert "CVE-2026-24260" in text
