# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi files: what to bind, link and cache, in every form."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import simulated
from builders import cdi_spec, device

from . import ctk
from .test_cdi_generate import PROGRAM

MACHINE = "t4x1"
USER = 65534
FOLDER = "/usr/lib/x86_64-linux-gnu"
CTK = [sys.executable, "-c", PROGRAM.format(os.fspath(simulated.TREE)), "cdi", "files"]


def hook(*words: str, program: str = "/usr/bin/nvidia-cdi-hook") -> dict[str, object]:
    """Return a hook as specs have it."""
    args = [os.path.basename(program), *words]
    return {"hookName": "createContainer", "path": program, "args": args}


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    """Return a spec dir with a GPU whose files are the host's, under other names."""
    edits = {
        "env": ["A=1"],
        "deviceNodes": [{"path": "/dev/gpu", "hostPath": "/dev/zero"}],
        "mounts": [
            {"hostPath": "/usr/bin/env", "containerPath": "/usr/bin/smi", "options": ["ro"]},
            {"hostPath": "/etc/hostname", "containerPath": "/etc/icd"},
        ],
        "hooks": [
            hook("create-symlinks", "--link", "smi::/usr/bin/s"),
            hook("update-ldcache", "--folder", "/usr/lib64"),
            hook("enable-cuda-compat", "--host-driver-version=1"),
            hook("-x", program="/bin/true"),
        ],
        "additionalGids": [44, 5],
    }
    # What comes later counts.
    second = {"env": ["A=2"], "mounts": [{"hostPath": "/bin/sh", "containerPath": "/etc/icd"}]}
    spec = cdi_spec(device("0", **edits), device("1", **second), cdiVersion="0.7.0")
    ctk.write(tmp_path / "cdi" / "gpus.json", spec)
    return tmp_path / "cdi"


def files(specs: Path, *words: str, gpu: str = "0") -> ctk.Ended:
    return ctk.run("cdi", "files", f"nvidia.com/gpu={gpu}", "--spec-dir", specs, *words)


def test_a_line_says_what_to_do(specs: Path) -> None:
    got = files(specs)

    assert (got.code, got.err) == (0, "")
    assert got.lines() == [
        "node\t/dev/zero\t/dev/gpu",
        "bind\t/usr/bin/env\t/usr/bin/smi\tro",
        "bind\t/etc/hostname\t/etc/icd",
        "link\t/usr/bin/s\tsmi",
        "cache\t/usr/lib64",
        "env\tA=1",
        "group\t5",
        "group\t44",
        "hook\tenable-cuda-compat --host-driver-version 1",
        "hook\t/bin/true -x",
    ]


def test_paths_alone(specs: Path) -> None:
    got = files(specs, "--format=plain", "--only=programs,files")

    assert got.lines() == ["/usr/bin/env", "/etc/hostname"]


def test_document(specs: Path) -> None:
    got = json.loads(files(specs, "--json", "--only=nodes,programs").out)

    node = {"kind": "nodes", "source": "/dev/zero", "target": "/dev/gpu"}
    program = {"kind": "programs", "source": "/usr/bin/env", "target": "/usr/bin/smi"}
    assert got == {
        "nodes": [{**node, "type": "c", "major": 1, "minor": 5}],
        "binds": [{**program, "options": ["ro"]}],
        "links": [],
        "libraryFolders": [],
        "env": [],
        "groups": [],
        "hooks": [],
    }


def test_options_of_apptainer(specs: Path) -> None:
    """A link is a bind, too."""
    binds = "/dev/zero:/dev/gpu,/usr/bin/env:/usr/bin/smi:ro,/usr/bin/env:/usr/bin/s:ro"

    got = files(specs, "--format=apptainer")

    assert got.out == f"--bind {binds},/etc/hostname:/etc/icd --env A=1\n"


def test_the_last_of_two_at_one_place_counts(specs: Path) -> None:
    got = files(specs, "--only=files,env", gpu="0,nvidia.com/gpu=1")

    assert got.lines() == ["bind\t/bin/sh\t/etc/icd", "env\tA=2"]


@pytest.mark.parametrize(
    ("mount", "form", "says"),
    [
        ("/a\nb", "text", "nvidia-ctk: '/a\\nb' cannot be said on a line\n"),
        ("/a b", "apptainer", "nvidia-ctk: '/a b' cannot be said in options of Apptainer\n"),
        ("/a:b", "apptainer", "nvidia-ctk: '/a:b' cannot be said in options of Apptainer\n"),
        ("/a,b", "apptainer", "nvidia-ctk: '/a,b' cannot be said in options of Apptainer\n"),
        ("/$(x)", "apptainer", "nvidia-ctk: '/$(x)' cannot be said in options of Apptainer\n"),
    ],
)
def test_what_a_form_cannot_say(mount: str, form: str, says: str, tmp_path: Path) -> None:
    """It must not become another path, nor a word of a command line."""
    spec = cdi_spec(device("0", mounts=[{"hostPath": mount, "containerPath": mount}]))
    ctk.write(tmp_path / "gpus.json", spec)

    got = files(tmp_path, f"--format={form}")

    assert got == ctk.Ended(1, "", f"{says}hint: --format=json can say it\n")
    assert json.loads(files(tmp_path, "--json").out)["binds"][0]["source"] == mount


def on_machine(*words: str) -> ctk.Ended:
    got = simulated.run(MACHINE, [*CTK, *words], env={"PATH": os.environ["PATH"]})
    return ctk.Ended(got.returncode, got.stdout, got.stderr)


def test_this_machine() -> None:
    got = on_machine("0", "--capabilities=compute,utility", "--json")

    assert got.err == ""
    listed = json.loads(got.out)
    assert listed["nodes"][0]["source"] == "/dev/nvidia0"
    names = [os.path.basename(bind["target"]) for bind in listed["binds"]]
    assert {"nvidia-smi", "libcuda.so.580.95.05"} <= set(names)
    assert not any("EGL" in name for name in names)
    assert listed["libraryFolders"][0] == FOLDER
    assert "NVIDIA_VISIBLE_DEVICES=void" in listed["env"]


def test_libraries_of_apptainer_lie_in_one_folder_by_every_name() -> None:
    got = on_machine("--only=libraries", "--capabilities=compute", "--format=apptainer")

    binds = [bind.split(":") for bind in got.out.split()[1].split(",")]
    of_cuda = [target for source, target, _ in binds if source == f"{FOLDER}/libcuda.so.580.95.05"]
    folder = "/.singularity.d/libs"
    assert of_cuda == [
        f"{folder}/libcuda.so.580.95.05",
        f"{folder}/libcuda.so",
        f"{folder}/libcuda.so.1",
    ]
    # Not for the loader.
    assert f"{FOLDER}/gbm/nvidia-drm_gbm.so" in [target for _, target, _ in binds]


def test_links_that_ldconfig_would_make() -> None:
    """The driver's own are not all: nothing runs ldconfig here."""
    got = on_machine("--only=links")

    link = f"link\t{FOLDER}/libnvidia-egl-gbm.so.1\tlibnvidia-egl-gbm.so.1.1.2"
    assert link in got.lines()


# As somebody may write it who has a shell and no container engine.  The words are a new folder, and
# the command that prints the files.
MAKE_ROOT = r"""
cd "$1"
shift
"$@" >files
while IFS=$(printf '\t') read -r what first second _; do case $what in
  node | bind)
    mkdir -p ".${second%/*}"
    if [ -d "$first" ]; then mkdir ".$second"; else : >".$second"; fi
    mount --bind "$first" ".$second"
    ;;
  link) mkdir -p ".${first%/*}" && ln -s "$second" ".$first" ;;
  cache) LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$PWD$first ;;
esac; done <files
export LD_LIBRARY_PATH
for name in libcuda.so libnvidia-ml.so.1 libEGL_nvidia.so.0 libnvidia-egl-gbm.so.1; do
  python3 -Sc 'import ctypes; ctypes.CDLL("'$name'"); print(open("/proc/self/maps").read())'
done | grep -o "$PWD/.*" | sort -u
[ -c dev/nvidia0 ] && [ -c dev/nvidiactl ] && id -u
"""


@pytest.fixture
def users_folder() -> Iterator[Path]:
    """A folder of the user's; pytest's are root's alone."""
    with tempfile.TemporaryDirectory(prefix="nvcr-user-") as folder:
        os.chown(folder, USER, USER)
        yield Path(folder)


def test_a_user_without_rights_makes_a_root_by_it(users_folder: Path) -> None:
    """In a user namespace, with nothing but mount and ln."""
    root = users_folder / "root"
    root.mkdir()
    os.chown(root, USER, USER)
    user = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    space = ("unshare", "--user", "--map-root-user", "--mount")
    shell = (*space, "sh", "-euc", MAKE_ROOT, "sh", root)
    env = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": "", "XDG_RUNTIME_DIR": str(users_folder)}

    got = simulated.run(MACHINE, [*user, *shell, *CTK], env=env)

    names = [
        *("libEGL_nvidia.so.580.95.05", "libcuda.so.580.95.05"),
        *("libnvidia-egl-gbm.so.1.1.2", "libnvidia-ml.so.580.95.05"),
    ]
    assert (got.returncode, got.stderr) == (0, "")
    assert got.stdout.splitlines() == [*(f"{root}{FOLDER}/{name}" for name in names), "0"]
