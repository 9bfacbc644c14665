# SPDX-License-Identifier: Apache-2.0
"""T01 to T35 by system calls: nothing that others decide is opened, followed or changed by name.

Creates run under strace on trees that are as hostile as can be: on the host's side and by our hook,
from CDI specs and from what a machine has.  Each rule is first broken by a careless line.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
import shim
import simulated
from container_cli import containers
from sources import test_machine as machines

from nvidia_runtime.selftest import attack, stage, suite, tree, ways

from . import calls

BIN = os.fspath(shim.BIN.resolve())
LIBRARIES = attack.LIBRARIES
PYTHONS = (sys.executable, os.path.realpath(sys.executable), "/usr/bin/python3")
PROGRAMS = (BIN, os.path.dirname(sys.executable), *PYTHONS)
# All that is read of an image, or written in it.
FILES = (
    *("/etc/ld.so.cache", "/etc/ld.so.conf.d/a.conf", "/etc/ld.so.conf.d/00-nvcr-nvidia.conf"),
    *("/etc/alpine-release", "/etc/debian_version", "/etc/ld-musl-x86_64.path"),
    *(f"{LIBRARIES}/libother.so.1", f"{LIBRARIES}/libcuda.so", "/opt/volume/libhidden.so.1"),
    "/usr/local/cuda/compat/libcuda.so.999.9",
    "/etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf",
)
KINDS = {
    "fifo": "fifo 666 {path}",
    "device": "char 666 {path} 1:3",
    "link out": "link - {path} {{up}}{{canary}}/passwd",
    "link to a folder": "link - {path} ../../opt",
    "folder": "folder 755 {path}",
    "empty file": "file 644 {path} text:",
    "library": "file 644 {path} library:libother.so.1",
    "text": "file 644 {path} text:include\\x20/etc/ld.so.conf.d/*.conf\\x0a/opt/volume\\x0a",
}
CONF = r"file 644 /etc/ld.so.conf text:include\x20/etc/ld.so.conf.d/*.conf\x0a/opt/volume\x0a"
MANY = 300


def image(kind: str) -> str:
    """Return an image whose files are all of a kind, in folders with very many others."""
    lines = [KINDS[kind].format(path=path) for path in FILES]
    if kind == "folder":
        lines += ["fifo 666 /etc/ld.so.conf"]
    lines += [] if kind == "folder" else [CONF]
    many = [f"many 644 {folder}/libmany.so. {MANY}" for folder in (LIBRARIES, "/opt/volume")]
    return "\n".join([*lines, *many, "link - /usr/lib64 ../../../../../../etc", ""])


class Scene(stage.Stage):
    """An attack with a user's volumes and another user's folders beside the image."""

    def __init__(self, kind: str, folder: Path) -> None:
        one = attack.Attack(
            name="T00",
            title="",
            why="",
            tree=image(kind),
            calls=attack.USUAL,
            mounts=(f"{LIBRARIES}/libcuda.so.999.1",),
        )
        super().__init__(one, folder)
        self.volumes, self.user = folder / "volumes", folder / "user"
        self._fill_volumes(kind)
        self.user.mkdir(mode=0o700)
        for path in (self.root / "etc", self.root / LIBRARIES[1:], self.user, self.volumes):
            os.chown(path, stage.NOBODY, stage.NOBODY)
        document = json.loads((self.bundle / "config.json").read_bytes())
        document["mounts"] += [
            {"destination": path, "source": f"{self.volumes}/{name}", "options": ["rbind"]}
            for path, name in (
                ("/opt/volume", "folder"),
                (f"{LIBRARIES}/libone.so.1", "one"),
                ("/usr/lib/libtwo.so.1", "two"),
            )
        ]
        (self.bundle / "config.json").write_text(json.dumps(document))

    def _fill_volumes(self, kind: str) -> None:
        form = KINDS[kind].replace("../../opt", ".")
        lines = [
            form.format(path=path) for path in ("/folder/libv.so.1", "/folder/libw.so", "/one")
        ]
        lines += ["link - /two folder/libv.so.1", f"many 644 /folder/libm.so. {MANY}"]
        names = {"canary": os.fspath(self.canary.folder)}
        tree.build("\n".join(lines), self.volumes, names)

    def rules(self, *, is_users: bool = False) -> calls.Rules:
        """Return the rules for this scene: what others decide, and what is ours, or the user's."""
        volumes = [f"{self.volumes}/{name}" for name in ("folder", "one", "two")]
        specs = [f"{self.folder}/cdi/{name}.json" for name in ("fifo", "theirs")]
        root = os.fspath(self.root)
        return calls.Rules(
            others=[root, f"{self.volumes}", *specs, *([] if is_users else [f"{self.user}"])],
            sources=[root, *volumes, *specs, f"{self.user}"],
            own=[f"{self.folder}/cdi", "/run/nvidia-container-runtime"],
            programs=PROGRAMS,
        )

    def trace(
        self, runtime: str, hooks: str, before: str = "", enter: tuple[str, ...] = ways.PRIVATE
    ) -> calls.Rules:
        """Create the container under strace; ``before`` is done in its /run first.

        ``enter`` leads to where it is created.
        """
        settings = self.write_settings(runtime, f"{BIN}/{ways.HOOK}", hooks)
        os.mkfifo(self.folder / "cdi/fifo.json")
        (self.folder / "cdi/theirs.json").symlink_to("/dev/null")
        words = [*enter, ways.CREATE.replace("shift 3\n", f"shift 3\n{before}\n"), "sh"]
        state = f"{self.folder}/state"
        words += [runtime, f"calls-{self.folder.parent.name}", state]
        program = [f"{BIN}/{ways.RUNTIME}", "--root", state, "create", "--bundle"]
        program += [f"{self.bundle}", words[-2]]
        words = [word.replace("PROGRAM", shlex.join(program)) for word in words]
        trace = Trace(self.folder / "trace")
        words += [*calls.STRACE, "-o", trace.pipe, *program]
        env = {"NVIDIA_CTK_CONFIG_FILE_PATH": f"{settings}", "XDG_RUNTIME_DIR": f"{self.user}"}
        done = subprocess.run(
            words,
            env={**stage.ENVIRONMENT, **env},
            capture_output=True,
            text=True,
            timeout=3 * shim.PATIENCE,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr
        return self.rules(is_users=enter == ways.ROOTLESS).read(trace.end())


class Trace:
    """What strace writes, read until it and all that it follows have ended."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.pipe = f"{file}.pipe"
        os.mkfifo(self.pipe)
        os.chmod(self.pipe, 0o666)  # for a user's strace
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def _copy(self) -> None:
        with open(self.pipe, "rb") as source, self.file.open("wb") as target:
            shutil.copyfileobj(source, target)

    def end(self) -> Path:
        """Return the file when it is whole."""
        self._thread.join(shim.PATIENCE)
        assert not self._thread.is_alive(), "strace does not end"
        return self.file


pytestmark = [
    shim.needs_root,
    pytest.mark.skipif(not shutil.which("strace"), reason="needs strace"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_a_create(kind: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    rules = Scene(kind, tmp_path / "s").trace(ways.NOBODY, "auto")

    assert rules.breaches == []
    assert rules.looks > 5
    is_read = any(path.endswith("/rootfs/etc/ld.so.conf") for path in rules.reads)
    assert is_read == (kind != "folder")  # which is a FIFO there, and no link can be made


@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_a_rootless_create(kind: str) -> None:
    """Everything is the user's, who is root in a namespace."""
    probe = [*ways.ROOTLESS, "exec test -r $0", f"{BIN}/{ways.RUNTIME}"]
    if subprocess.run(probe, cwd="/", capture_output=True, check=False).returncode:
        pytest.skip("needs user namespaces, and a tree that every user may read")
    with tempfile.TemporaryDirectory(prefix="nvcr-calls-") as folder:  # a user's can be entered
        Path(folder).chmod(0o755)
        scene = Scene(kind, Path(folder) / "s")
        for place in (scene.folder, *scene.folder.rglob("*")):
            os.lchown(place, stage.NOBODY, stage.NOBODY)

        rules = scene.trace(ways.NOBODY, "auto", enter=ways.ROOTLESS)

    assert rules.breaches == []
    assert rules.looks > 5


@pytest.mark.parametrize("runtime", ["runc", "crun"])
@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_our_hook(kind: str, runtime: str, tmp_path: Path) -> None:
    program = shutil.which(runtime, path="/usr/sbin:/usr/bin:/sbin:/bin") or ""
    if reason := suite.refusal(BIN, program):
        pytest.skip(reason)
    tmp_path.chmod(0o755)

    rules = Scene(kind, tmp_path / "s").trace(program, "always")

    assert rules.breaches == []
    assert rules.looks > 5


# Each file of ours is there, and is a FIFO now; or the folder is another user's.
FIFOS = """
PROGRAM > /dev/null 2>&1
find /run/nvidia-container-runtime -type f | while read -r file; do
  rm "$file"; mkfifo "$file"
done
"""
STATES = {"fifos": FIFOS, "theirs": f"mkdir /run/{shim.NAME}; chown 65534 /run/{shim.NAME}"}


@pytest.mark.parametrize("state", STATES)
def test_calls_with_a_hostile_state(state: str, tmp_path: Path) -> None:
    """Nobody's folder is ours, neither in /run nor where another user's variable leads root."""
    tmp_path.chmod(0o755)

    rules = Scene("library", tmp_path / "s").trace(ways.NOBODY, "auto", before=STATES[state])

    assert rules.breaches == []
    assert rules.looks > 5


@pytest.mark.parametrize("kind", KINDS)
def test_calls_on_a_machine(kind: str, tmp_path: Path) -> None:
    """In the default mode, from what the machine has."""
    tmp_path.chmod(0o755)
    scene = Scene(kind, tmp_path / "s")
    trace = Trace(tmp_path / "trace")
    launcher = tmp_path / "launcher"
    words = shlex.join([*calls.STRACE, "-o", trace.pipe, f"{BIN}/{ways.RUNTIME}"])
    launcher.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    launcher.chmod(0o755)
    document = json.loads((scene.bundle / "config.json").read_bytes())
    asked = machines.job("NVIDIA_VISIBLE_DEVICES=all")
    asked["spec"]["root"] = {"path": f"{scene.root}"}
    asked["spec"]["mounts"] += document["mounts"][-3:]

    machines.create("t4x1", tmp_path, asked, hooks="auto", launcher=launcher)

    rules = scene.rules().read(trace.end())
    assert rules.breaches == []
    assert rules.looks > 5


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[] if kind in ("fifo", "link out") else [pytest.mark.long])
        for kind in KINDS
    ],
)
def test_calls_of_configure(kind: str, tmp_path: Path) -> None:
    """In a container that exists: what is mounted and made there, too."""
    simulated.need_root()
    tmp_path.chmod(0o755)
    scene = Scene(kind, tmp_path / "s")
    trace = Trace(tmp_path / "trace")
    asked = {"pid": 0, "rootfs": f"{scene.root}", "devices": ["all"], "with_cgroups": False}
    call = [*containers.program("container_cli.entry"), json.dumps(asked)]
    words = ["unshare", "--mount", "--propagation", "private"]

    simulated.run("t4x1", [*words, *calls.STRACE, "-o", trace.pipe, *call], cwd=tmp_path)

    rules = scene.rules().read(trace.end())
    assert rules.breaches == []
    assert rules.looks > 5


# What a careless program does, in a folder of another user's, and what is said of it.
FOLDER = "d = os.open(root, os.O_PATH); "
FILE = "f = os.open({name!r}, os.O_PATH | os.O_NOFOLLOW, dir_fd=d); "
LOOK = "os.fstat(f); "
CARELESS = {
    "opens by a path": (
        "os.open(f'{root}/fifo', os.O_RDONLY | os.O_NONBLOCK)",
        "is opened by its name",
    ),
    "opens by a name": (
        FOLDER + "os.open('text', os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=d)",
        "is opened by its name",
    ),
    "opens without a look": (
        FOLDER + FILE.format(name="fifo") + "os.open(f'/proc/self/fd/{f}', os.O_NONBLOCK)",
        "is opened as what it may be",
    ),
    "opens in spite of a look": (
        FOLDER + FILE.format(name="fifo") + LOOK + "os.open(f'/proc/self/fd/{f}', os.O_NONBLOCK)",
        "is opened as S_IFIFO",
    ),
    "waits": (
        FOLDER + FILE.format(name="text") + LOOK + "os.open(f'/proc/self/fd/{f}', os.O_RDONLY)",
        "may be waited for",
    ),
    "opens to write": (
        FOLDER
        + FILE.format(name="text")
        + LOOK
        + "os.open(f'/proc/self/fd/{f}', os.O_RDWR | os.O_NONBLOCK)",
        "is opened to write",
    ),
    "follows a link": (FOLDER + "os.open('link', os.O_PATH, dir_fd=d)", "is followed"),
    "looks through a link": (FOLDER + "os.stat('link', dir_fd=d)", "is followed"),
    "joins names": (
        FOLDER + "os.open('folder/x', os.O_PATH | os.O_NOFOLLOW, dir_fd=d)",
        "has folders that may be links",
    ),
    "lists by a path": ("os.listdir(root + '/folder')", "is opened by its name"),
    "writes what may be there": (
        FOLDER + "os.open('text', os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=d)",
        "is opened to write, new or not",
    ),
    "gives a link away": (
        FOLDER
        + "os.symlink('t', 'new', dir_fd=d); "
        + "os.chown('new', 1, 1, dir_fd=d, follow_symlinks=False)",
        "is changed by its name",
    ),
    "changes a mode": (
        "os.mkdir(root + '/new'); os.chmod(root + '/new', 0o755)",
        "is changed by its name",
    ),
    "changes a mode unseen": (
        FOLDER + FILE.format(name="text") + "os.chmod(f'/proc/self/fd/{f}', 0o600)",
        "is changed without a look",
    ),
    "changes a time": (FOLDER + "os.utime('text', dir_fd=d)", "is changed by its name"),
    "executes": ("os.execv(root + '/true', ['true'])", "is executed"),
    "waits for its own": ("os.open(own + '/x', os.O_RDONLY)", "may be waited for"),
    "leaves it to a child": (
        FOLDER + "os.fork() or os.chown('text', 1, 1, dir_fd=d)",
        "is changed by its name",
    ),
}
CAREFUL = (
    FOLDER
    + FILE.format(name="text")
    + LOOK
    + "os.open(f'/proc/self/fd/{f}', os.O_RDONLY | os.O_NONBLOCK); "
    + "os.open('.', os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK, dir_fd=d); "
    + "os.open('n', os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=d); "
    + "os.chmod(f'/proc/self/fd/{f}', 0o600); os.symlink('t', 'new', dir_fd=d); "
    + "os.stat('new', dir_fd=d, follow_symlinks=False); os.listdir('/'); "
    + "os.open(own + '/x', os.O_RDONLY | os.O_NONBLOCK)"
)


def judged(code: str, folder: Path) -> calls.Rules:
    """Run a line of Python under strace; ``root`` is another user's folder, ``own`` is ours."""
    root, own = folder / "theirs", folder / "own"
    (root / "folder").mkdir(parents=True)
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("folder")
    for file in (root / "text", root / "folder/x"):
        file.write_text("x")
    shutil.copy("/bin/true", root)
    own.mkdir()
    (own / "x").write_text("x")
    trace = Trace(folder / "trace")
    words = [sys.executable, "-IS", "-c", f"import os; root, own = {f'{root}', f'{own}'}; {code}"]
    subprocess.run([*calls.STRACE, "-o", trace.pipe, *words], capture_output=True, check=True)
    rules = calls.Rules(others=[f"{root}"], sources=[f"{root}"], own=[f"{own}"], programs=PROGRAMS)
    return rules.read(trace.end())


@pytest.mark.parametrize("name", CARELESS)
def test_careless_program_is_caught(name: str, tmp_path: Path) -> None:
    code, said = CARELESS[name]

    (breach,) = judged(code, tmp_path).breaches

    assert f" {said}: " in breach


def test_careful_program_is_not(tmp_path: Path) -> None:
    rules = judged(CAREFUL, tmp_path)

    assert rules.breaches == []
    assert rules.reads == [f"{tmp_path}/theirs/text"]
