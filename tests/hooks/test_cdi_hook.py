# SPDX-License-Identifier: Apache-2.0
"""nvidia-cdi-hook as a runtime calls it: a real process, with the container's state on stdin."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import shim
from rootfs import images
from shim import needs_root

if TYPE_CHECKING:
    from pathlib import Path

HOOK = shim.BIN / "nvidia-cdi-hook"
PROFILE = "etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf"
ONE_GPU = (
    '{"profiles":[{"name":"_container_","settings":["EGLVisibleDGPUDevices",0x9]}],'
    '"rules":[{"pattern":[],"profile":"_container_"}]}'
)


class Container:
    """A bundle that a runtime is making a container of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = HOOK
        self.root = images.make(folder / "bundle/rootfs", {})
        images.make(folder / "outside", {"canary": "of the host"})
        self.write_config({"root": {"path": "rootfs"}})

    def write_config(self, document: object) -> None:
        (self.folder / "bundle/config.json").write_text(json.dumps(document))

    def state(self, **fields: object) -> str:
        defaults = {"ociVersion": "1.0.2", "id": "c1", "status": "creating", "pid": 1}
        return json.dumps({**defaults, "bundle": f"{self.folder}/bundle", **fields})

    def run(
        self, *words: str, stdin: str | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Call the hook as runc does: in the container's root, with the environment of a spec."""
        before = images.tree(self.folder / "outside")
        ended = subprocess.run(
            [self.program, *words],
            input=self.state() if stdin is None else stdin,
            text=True,
            capture_output=True,
            check=False,
            cwd=self.root,
            env=env or {"NVIDIA_CTK_DEBUG": "false"},
        )
        assert "Traceback" not in ended.stderr
        assert images.tree(self.folder / "outside") == before
        return ended

    def does(self, *words: str, **options: str) -> str:
        """Call the hook, which succeeds; return what it says."""
        ended = self.run(*words, **options)
        assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
        return ended.stderr

    def refuses(self, *words: str, **options: str) -> str:
        """Call the hook, which fails; return its first sentence."""
        ended = self.run(*words, **options)
        assert (ended.returncode, ended.stdout) == (1, "")
        return ended.stderr.split("\n")[0].removeprefix("nvidia-cdi-hook: ")


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param([], "No CDI hook specified", id="no words"),
        pytest.param(["bogus", "--x", "y"], "Unsupported CDI hook: bogus", id="unknown verb"),
        pytest.param(["--x", "noop"], "No CDI hook specified: unknown flag --x", id="flag first"),
        pytest.param(["noop", "x"], "", id="a word too many"),
        pytest.param(["--quiet", "bogus"], "", id="quiet"),
        pytest.param(["bogus", "--then", "noop"], "Unsupported CDI hook: bogus", id="combined"),
    ],
)
def test_unknown_words_stop_no_container(words: list[str], says: str, container: Container) -> None:
    """A spec may be newer than the program that it names."""
    assert container.does(*words) == (f"nvidia-cdi-hook: {says}\n" if says else "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["create-symlinks", "--bogus"], "flag provided but not defined: --bogus"),
        (["create-symlinks", "--link"], "flag needs an argument: --link"),
        (["create-symlinks", "--link", "a"], "invalid symlink specification 'a'"),
        (["create-symlinks", "--link", "a::/"], "/: cannot be linked to 'a': '/' names no file"),
        (["create-symlinks", "--link", "a::/x", "--then"], "no verb after --then"),
        (["chmod", "--path", "/x"], "--mode: a mode must be given"),
        (["chmod", "--path", "/x", "--mode", "9"], "--mode: must be an octal number, not '9'"),
        (["update-ldcache", "--ldconfig-path="], "--ldconfig-path: must not be empty"),
        (["update-ldcache", "--ldconfig-path=/no"], "there is no /no on this host"),
    ],
)
def test_misuse_is_said(words: list[str], says: str, container: Container) -> None:
    assert says in container.refuses(*words)


def test_nothing_is_done_where_a_later_verb_is_wrong(container: Container) -> None:
    container.refuses("create-symlinks", "--link", "a::/x", "--then", "chmod", "--bogus")

    assert os.listdir(container.root) == []


def test_verbs_of_one_call(container: Container) -> None:
    """The state is read once; what one verb makes, the next one finds."""
    images.make(container.root, {"nv/libcuda.so.580.1": images.library("libcuda.so.1")})
    images.make(
        container.root, {"usr/local/cuda/compat/libcuda.so.590.1": images.library("libcuda.so.1")}
    )

    container.does(
        *("create-symlinks", "--link", "libcuda.so.1::/nv/libcuda.so"),
        *("--then", "enable-cuda-compat", "--host-driver-version=580.1"),
        *("--then", "update-ldcache", "--folder", "/nv"),
        *("--then", "chmod", "--mode", "750", "--path", "/nv"),
    )

    assert [row[1] for row in images.rows(container.root)] == [
        "/usr/local/cuda/compat/libcuda.so.1",
        "/nv/libcuda.so.1",
        "/nv/libcuda.so",
    ]
    assert stat.S_IMODE((container.root / "nv").stat().st_mode) == 0o750


def test_then_is_a_value_where_a_value_stands(container: Container) -> None:
    container.does("update-ldcache", "--folder", "--then", "--folder", "/nv")

    assert (container.root / "etc/ld.so.conf.d/00-nvcr.conf").read_text() == "/nv\n"


def test_ctk_has_the_verbs_too(container: Container) -> None:
    code = "from nvidia_runtime import cli; cli.main()"
    words = [sys.executable, "-c", code, "hook", "create-symlinks", "--link", "a::/x"]

    subprocess.run(words, input=container.state(), text=True, check=True)
    subprocess.run(
        [*words[:3], "--quiet", *words[3:-1], "a::/y"],
        input=container.state(),
        text=True,
        check=True,
    )

    assert os.readlink(container.root / "x") == os.readlink(container.root / "y") == "a"


@pytest.mark.parametrize(
    ("link", "place"),
    [
        pytest.param("a::/l", "l", id="in the root"),
        pytest.param("a::/x/y/l", "x/y/l", id="folders are made"),
        pytest.param("a::l", "l", id="relative"),
        pytest.param("a::/../../../outside/l", "outside/l", id="out of the root"),
        pytest.param("/etc/shadow::/in/l", "q/l", id="through a link"),
        pytest.param("../../../../outside/canary::/l", "l", id="target is a text"),
    ],
)
def test_links_stay_in_the_root(link: str, place: str, container: Container) -> None:
    images.make(container.root, {"q/": "", "in": "-> ../../../../q"})

    container.does("create-symlinks", "--link", link)
    container.does("create-symlinks", "--link", link)

    assert os.readlink(container.root / place) == link.partition("::")[0]


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param({"p": "-> ../../outside"}, id="CVE-2024-0134"),
        pytest.param({"p": "-> /proc/self/root/etc"}, id="the kernel's link to the host"),
        pytest.param({"p": "-> p"}, id="loop"),
        pytest.param({"p": "x"}, id="file"),
        pytest.param({"p/l/": ""}, id="folder in the link's place"),
    ],
)
def test_links_that_cannot_be_made(tree: dict[str, str], container: Container) -> None:
    images.make(container.root, tree)
    before = images.tree(container.root)

    assert container.refuses("create-symlinks", "--link", "a::/p/l").startswith("/p/l: cannot be")

    assert images.tree(container.root) == before


@pytest.mark.parametrize(
    ("path", "mode"),
    [("/d", 0o755), ("/s", 0o755), ("/d,/s", 0o755), ("/o", 0o700), ("/../../outside", 0o700)],
)
def test_chmod_stays_in_the_root(path: str, mode: int, container: Container) -> None:
    images.make(container.root, {"d/": "", "s": "-> /d", "o": "-> ../../outside"})
    (container.root / "d").chmod(0o700)

    container.does("chmod", "--mode", "4755", "--path", path)

    assert stat.S_IMODE((container.root / "d").stat().st_mode) == mode


def test_files_of_the_kernel_keep_their_mode(container: Container) -> None:
    """An entry of /proc is the host's in every container."""
    if not shim.is_root:
        pytest.skip("needs root to mount /proc")
    (container.root / "proc").mkdir()
    path = f"{container.root}/proc"
    code = f"mount -t proc proc {path} && stat -c %a {path}/cpuinfo && {HOOK} chmod --mode 777"
    script = f"{code} --path /l && stat -c %a {path}/cpuinfo"
    (container.root / "l").symlink_to("/proc/cpuinfo")

    ended = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-ec", script],
        input=container.state(),
        text=True,
        capture_output=True,
        check=True,
    )

    before, after = ended.stdout.split()
    assert before == after != "777"


@needs_root
def test_application_profile(container: Container) -> None:
    (container.root / "dev").mkdir()
    for name, minor in {"nvidia0": 0, "nvidia3": 3, "nvidiactl": 255, "nvidia70": 70}.items():
        os.mknod(container.root / "dev" / name, stat.S_IFCHR | 0o600, os.makedev(195, minor))

    said = container.does("update-application-profile")

    assert said == "nvidia-cdi-hook: no application profile has room for GPU 70\n"
    assert (container.root / PROFILE).read_text() == ONE_GPU
    assert stat.S_IMODE((container.root / PROFILE).stat().st_mode) == 0o444
    assert stat.S_IMODE((container.root / "etc/nvidia").stat().st_mode) == 0o555


@needs_root
def test_application_profile_that_cannot_be_written(container: Container) -> None:
    """The sentence has the container's path, not the part of it that was missing."""
    images.make(container.root, {"dev/": "", "etc/nvidia": "-> /tmp/nowhere"})
    os.mknod(container.root / "dev/nvidia0", stat.S_IFCHR | 0o600, os.makedev(195, 0))

    said = container.does("update-application-profile")

    assert said == f"nvidia-cdi-hook: /{PROFILE} cannot be written: no such file or directory\n"


def test_compatibility_folder_that_cannot_be_named(container: Container) -> None:
    compat = {"usr/local/cuda/compat/libcuda.so.590.1": images.library("libcuda.so.1")}
    images.make(container.root, {"etc/ld.so.conf.d": "-> /tmp/nowhere", **compat})

    said = container.refuses("enable-cuda-compat", "--host-driver-version=580.1")

    assert said == "/etc/ld.so.conf.d/00-compat.conf: cannot be written: no such file or directory"


@needs_root
def test_parameters_of_the_driver_are_covered(container: Container, tmp_path: Path) -> None:
    """On a host whose driver makes nodes; what covers the file is read-only and in memory."""
    images.make(container.root, {"proc/driver/nvidia/params": "the host's", "dev/": ""})
    images.make(tmp_path / "host", {"params": "A: 1\nModifyDeviceFiles: 1\nB: 2\n"})
    code = (
        "import sys; from nvidia_runtime.rootfs import resolver; "
        "from nvidia_runtime.prepare import disable_device_node_modification as verb; "
        f"text = verb.parameters('{tmp_path}/host/params'); "
        "root = resolver.open_root(sys.argv[1]); "
        "verb.cover(root, verb.PATH, text)"
    )
    params = f"{container.root}/proc/driver/nvidia/params"
    script = f'{sys.executable} -c "{code}" {container.root} && cat {params} && ! echo x > {params}'

    ended = subprocess.run(
        [
            "unshare",
            "-m",
            "--propagation",
            "private",
            "sh",
            "-c",
            f"{script}; ls {container.root}/dev",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=shim.TREE,
    )

    assert ended.stdout == "A: 1\nModifyDeviceFiles: 0\nB: 2\n"
    assert "ead-only" in ended.stderr


LIGHT = {"posix", "errno", "_signal", "_json", "_struct", "gc", "marshal", "time", "sys"}
MODULES = """
import posix, sys
sys.path.append(sys.argv.pop(1))
before = set(sys.modules)
posix._exit = lambda code: print(code, *sorted(set(sys.modules) - before))
from nvidia_runtime import start
start.begin(start).main()
"""


@pytest.mark.parametrize(
    ("words", "most"),
    [
        (["noop"], 18),
        (["create-symlinks", "--link", "a::/b"], 18),
        (["update-ldcache", "--folder", "/nv"], 28),
        (["enable-cuda-compat", "--host-driver-version=1.1"], 24),
        (["update-application-profile"], 20),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_hook_is_light(words: list[str], most: int, container: Container) -> None:
    """A container waits for it: neither `os` nor anything else that is slow."""
    launch = [f"{shim.TREE}", "", "", "", f"{HOOK}", *words]
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", MODULES, *launch],
        input=container.state(),
        text=True,
        capture_output=True,
        check=True,
    )

    code, *loaded = ended.stdout.split()
    ours = {name for name in loaded if name.startswith("nvidia_runtime")}
    assert (code, ended.stderr) == ("0", "")
    assert {name for name in loaded if name not in ours} <= LIGHT
    assert len(ours) <= most


@pytest.mark.parametrize("module", ["start", "prepare/container", "rootfs/links"])
def test_compiled_file_that_is_cut_short_is_told_once(module: str, container: Container) -> None:
    launcher = shim.copy_tree(container.folder / "tree")
    container.program = launcher.with_name(HOOK.name)
    words = ("create-symlinks", "--link", "a::/b")
    assert container.does(*words) == ""
    file = shim.cut_short(launcher, module)

    said = container.does(*words)

    assert said.startswith(f"{HOOK.name}: /")
    assert said.endswith(f"/{file.name}: cannot be read, and its source was compiled instead\n")
    assert said.count("\n") == 1
    assert container.does(*words) == ""


@pytest.mark.parametrize(
    ("stdin", "says"),
    [
        ("", "container state on stdin: is empty"),
        ("{", "container state on stdin: "),
        ("[]", "container state on stdin: must be a JSON object, not a list"),
    ],
)
def test_state_is_required(stdin: str, says: str, container: Container) -> None:
    assert says in container.refuses("create-symlinks", "--link", "a::/l", stdin=stdin)


def test_root_in_the_state_is_taken(container: Container) -> None:
    """crun says it, and config.json need not be there."""
    (container.folder / "bundle/config.json").unlink()
    images.make(container.folder / "other", {})

    container.does(
        "create-symlinks",
        "--link",
        "a::/l",
        stdin=container.state(root=f"{container.folder}/other"),
    )

    assert os.readlink(container.folder / "other/l") == "a"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "does not say where the container's root is"),
        ({"root": {"path": 7}}, "does not say where the container's root is"),
        ({"root": {"path": "none"}}, "the container's root cannot be opened"),
        ({"root": {"path": "/"}}, "is the host's own root"),
        ({"root": {"path": "rootfs/../../../../../../../../../../"}}, "is the host's own root"),
    ],
)
def test_root_that_is_none(document: object, says: str, container: Container) -> None:
    container.write_config(document)

    assert says in container.refuses("create-symlinks", "--link", "a::/l")


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({"PYTHONPATH": "/proc/self/cwd"}, id="PYTHONPATH"),
        pytest.param({"PYTHONHOME": "/proc/self/cwd"}, id="PYTHONHOME"),
        pytest.param({"PYTHONSTARTUP": "sitecustomize.py"}, id="PYTHONSTARTUP"),
        pytest.param({"PATH": "."}, id="PATH"),
        pytest.param({"PATH": "/proc/self/cwd/bin"}, id="PATH in the image"),
        pytest.param({"ENV": "/proc/self/cwd/env.sh", "BASH_ENV": "./env.sh"}, id="ENV"),
    ],
)
def test_nothing_of_the_image_is_executed(env: dict[str, str], container: Container) -> None:
    """Not even with the container's environment, in the container's root (CVE-2025-23266)."""
    evil = "import os; open(os.environ.get('X', 'pwned'), 'w')\n"
    tree = dict.fromkeys(("sitecustomize.py", "json.py", "posix.py", "os.py"), evil)
    shell = '#!/bin/sh\ntouch pwned\nexec /usr/bin/python3 "$@"\n'
    tree |= {
        f"{folder}{name}": shell for folder in ("", "bin/") for name in ("python3", "readlink")
    }
    images.make(container.root, {**tree, "env.sh": "touch pwned\n"})
    for path in container.root.rglob("*"):
        path.chmod(0o755)

    container.run("create-symlinks", "--link", "a::/l", **env)

    assert not (container.root / "pwned").exists()
    assert os.readlink(container.root / "l") == "a"


def test_mode_of_a_file_with_other_names_stays(container: Container) -> None:
    """One of them may lie outside of the container's root."""
    (container.folder / "outside/canary").chmod(0o600)
    (container.root / "f").hardlink_to(container.folder / "outside/canary")

    said = container.does("chmod", "--mode", "666", "--path", "/f")

    assert said == "nvidia-cdi-hook: the mode of /f stays: the file has other names\n"
    assert stat.S_IMODE((container.root / "f").stat().st_mode) == 0o600


def test_mode_of_a_looping_link_stops_no_container(container: Container) -> None:
    (container.root / "l").symlink_to("l")

    said = container.does("chmod", "--mode", "666", "--path", "/l", "--path", "/none")

    assert said == "nvidia-cdi-hook: the mode of /l stays: too many levels of symbolic links\n"


@pytest.mark.parametrize(
    ("link", "expected"),
    [("/d/", "d"), ("/d/sub/../l", "d/l"), ("d//l", "d/l"), ("/../../l", "l")],
)
def test_paths_of_links_are_cleaned(link: str, expected: str, container: Container) -> None:
    """As the toolkit's hook does, by their words alone: no folder is made on the way."""
    container.does("create-symlinks", "--link", f"a::{link}")

    paths = [path for path in container.root.rglob("*") if path.is_symlink()]
    assert [str(path.relative_to(container.root)) for path in paths] == [expected]
    assert not (container.root / "d/sub").exists()


def test_folders_named_without_a_main_file_are_looked_through(container: Container) -> None:
    """The ld.so.conf that is made then includes them."""
    images.make(
        container.root,
        {
            "etc/ld.so.conf.d/x.conf": "/opt/x\n",
            "opt/x/libx.so.1": images.library("libx.so.1"),
            "nv/libcuda.so.1": images.library("libcuda.so.1"),
        },
    )

    container.does("update-ldcache", "--folder", "/nv")

    paths = [row[1] for row in images.rows(container.root)]
    assert paths == ["/opt/x/libx.so.1", "/nv/libcuda.so.1"]


DEFAULT = "/usr/lib"


@needs_root
@pytest.mark.parametrize(
    ("volumes", "folder", "says"),
    [
        pytest.param(["etc/ld.so.cache"], "/opt/nv", "ld.so.cache cannot be", id="cache"),
        pytest.param(["etc/ld.so.conf.d"], "/opt/nv", "ld.so.conf.d cannot be", id="settings"),
        pytest.param(["etc"], DEFAULT, "ld.so.cache cannot be", id="etc, default folder"),
        pytest.param(["etc", "usr/lib"], DEFAULT, "ld.so.cache cannot be", id="libraries, too"),
    ],
)
def test_read_only_volumes_of_the_loader_stop_no_container(
    volumes: list[str], folder: str, says: str, container: Container
) -> None:
    ended = in_volumes(container, volumes, folder)

    assert ended.returncode == 0, ended.stderr
    assert says in ended.stderr


@needs_root
def test_loader_that_cannot_be_told_is_an_error(container: Container) -> None:
    ended = in_volumes(container, ["etc"], "/opt/nv")

    assert ended.returncode == 1
    assert "/etc/ld.so.cache: the loader's cache cannot be updated: read-only" in ended.stderr
    assert "hint: let it be written in the container, or /etc/ld.so.conf.d" in ended.stderr


def in_volumes(
    container: Container, volumes: list[str], folder: str
) -> subprocess.CompletedProcess[str]:
    """Call update-ldcache where parts of the container's root are read-only volumes."""
    tree = {"etc/ld.so.conf.d/": "", "etc/ld.so.cache": "", "usr/lib/": "", "opt/nv/": ""}
    images.make(container.root, tree)
    images.make(container.root, {f"{folder}/libcuda.so.1.1": images.library("libcuda.so.1")})
    script = 'for volume in $1; do mount --bind "$volume" "$volume" || exit 99;'
    script += ' mount -o remount,bind,ro "$volume" || exit 99; done; shift; exec "$@"'
    call = [f"{HOOK}", "update-ldcache", "--folder", folder]
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
        + [" ".join(f"{container.root}/{volume}" for volume in volumes), *call],
        input=container.state(),
        text=True,
        capture_output=True,
        check=False,
    )
