# SPDX-License-Identifier: Apache-2.0
"""A user's state where no session has set XDG_RUNTIME_DIR, and who else could have made it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import builders
import pytest
import shim

USER, OTHER = shim.NOBODY, 4711
NAME = shim.NAME
OWN = f"/tmp/{NAME}-{USER}"
SESSION = f"/run/user/{USER}"
PODMANS, PODMAN_4S = f"/tmp/storage-run-{USER}", f"/tmp/podman-run-{USER}"
# The words are what to do as root, then the command.  /tmp, /run and /home are the test's.
MACHINE = """
for folder in /tmp /run /home /etc; do mount -t tmpfs -o mode=1777 none "$folder"; done
chmod 755 /run /home /etc
eval "$1"
shift
exec setpriv --reuid={user} --regid={user} --clear-groups "$@"
"""
SPACE = ("unshare", "--user", "--map-root-user")
ASK = f"""
import sys
sys.path.insert(0, {os.fspath(shim.TREE)!r})
from nvidia_runtime.store import files
before = files.state_folder()
print(before == files.state_folder() and files.state_folder(make=True))
"""


def words(script: str, *command: str, user: int = USER) -> list[str]:
    enter = ("unshare", "--mount", "--propagation", "private", "sh", "-euc")
    return [*enter, MACHINE.format(user=user), "sh", script, *command]


def run(script: str, *command: str, **env: str) -> str:
    """Return what a user's command prints on a machine of its own."""
    ended = subprocess.run(
        words(script, *command),
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stderr == ""
    assert ended.returncode == 0
    return ended.stdout.strip()


def make(path: str, owner: int = USER, mode: str = "700") -> str:
    return f"mkdir -p {path}; chown {owner} {path}; chmod {mode} {path};"


PLACES = {
    "nothing is there": ("", OWN),
    "a session": (make(SESSION), f"{SESSION}/{NAME}"),
    "a session of another": (make(SESSION, OTHER), OWN),
    "podman was there": (make(PODMANS), f"{PODMANS}/{NAME}"),
    "podman 4 was there": (make(PODMAN_4S), f"{PODMAN_4S}/{NAME}"),
    "podman 4 was there, and then 5": (make(PODMAN_4S) + make(PODMANS), f"{PODMANS}/{NAME}"),
    "another took podman's name": (make(PODMANS, OTHER), OWN),
    "it is there": (make(OWN), OWN),
    "another has made it": (make(OWN, OTHER), ""),
    "root has made it": (make(OWN, 0), ""),
    "others may write to it": (make(OWN, mode="770"), ""),
    "it is a link to a folder of ours": (f"{make('/tmp/own')} ln -s own {OWN}", ""),
    "it is a file": (f"touch {OWN}; chown {USER} {OWN}", ""),
    "anybody may move what is in /tmp": ("chmod 777 /tmp", ""),
}


@shim.needs_root
@pytest.mark.parametrize("space", [(), SPACE], ids=["user", "user namespace"])
@pytest.mark.parametrize(("script", "folder"), PLACES.values(), ids=PLACES)
def test_place(script: str, folder: str, space: tuple[str, ...]) -> None:
    assert run(script, *space, sys.executable, "-ISc", ASK) == folder


@shim.needs_root
def test_folder_that_its_owner_may_change() -> None:
    """In a user namespace this cannot be told: there all others look alike."""
    assert run(f"chown {OTHER} /tmp", sys.executable, "-ISc", ASK) == ""


@shim.needs_root
def test_user_as_whom_all_others_appear() -> None:
    """In a namespace that has a number for no other, what is anybody's has that of nobody."""
    space = ("unshare", "--user", "--map-current-user")

    assert run(make(OWN, OTHER), *space, sys.executable, "-ISc", ASK) == ""


@shim.needs_root
def test_nobody_else_may_look_into_it() -> None:
    show = f"{ASK}\nimport os; print(oct(os.stat(files.state_folder()).st_mode))"

    assert run("", sys.executable, "-ISc", show).split()[1] == "0o40700"


@shim.needs_root
def test_root_has_none_there() -> None:
    """Where /run cannot be written, root does without, rather than meet users in /tmp."""
    script = "mount -o remount,ro /run"

    ended = subprocess.run(
        words(script, sys.executable, "-ISc", ASK, user=0),
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout == "\n"


# A job of a batch system: no session, no variable but what the user has.
JOB = f"""
PATH=/home/bin:$PATH
mkdir -p /home/bin /home/cdi /home/bundle/rootfs
ln -s {os.path.realpath(sys.executable)} /home/bin/python3
printf '#!/bin/sh\\nexit 0\\n' >/home/bin/runc
chmod 755 /home/bin/runc
printf '[{NAME}]\\nmode = "cdi"\\n[{NAME}.modes.cdi]\\nspec-dirs = ["/home/cdi"]\\n' >/home/config.toml
printf '%s' '{json.dumps(builders.cdi_spec())}' >/home/cdi/nvidia.json
printf '%s' '{json.dumps(builders.asking())}' >/home/bundle/config.json
chown -R {USER} /home
"""
CREATE = f"""
{shim.BIN}/{NAME} create --bundle /home/bundle c1
cd {shim.TREE}
{sys.executable} -m nvidia_runtime explain c1 | grep -e ^container -e ^requested
[ ! -d {OWN} ] || stat -c %a {OWN}/containers
"""


@shim.needs_root
@pytest.mark.parametrize("space", [(), SPACE], ids=["user", "user namespace"])
def test_job_has_its_record(space: tuple[str, ...]) -> None:
    settings = {"NVIDIA_CTK_CONFIG_FILE_PATH": "/home/config.toml"}

    got = run(JOB, *space, "sh", "-euc", CREATE, **settings)

    assert got.splitlines() == ["container  c1", "requested  0 by environment", "700"]


@shim.needs_root
def test_job_whose_folder_another_has_made_is_told_so() -> None:
    """Its containers start all the same."""
    settings = {"NVIDIA_CTK_CONFIG_FILE_PATH": "/home/config.toml"}
    explain = f"cd {shim.TREE}; {sys.executable} -m nvidia_runtime explain 2>&1"
    command = f"{shim.BIN}/{NAME} create --bundle /home/bundle c1; {explain}"

    got = run(make(OWN, OTHER) + JOB, "sh", "-euc", command, **settings)

    assert got == (
        "warning: this user has no folder for records that nobody else could write: "
        "'nvidia-ctk doctor NCT-0534' says where it could be\nno container has a record"
    )
