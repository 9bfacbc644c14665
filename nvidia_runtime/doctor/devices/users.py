# SPDX-License-Identifier: Apache-2.0
"""Who may use the nodes: users of rootless engines, and systemd, by its links in /dev/char."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import WARNING, Code, Finding, Fine, Fix
from nvidia_runtime.engines import program
from nvidia_runtime.errors import some
from nvidia_runtime.host import device_nodes, nodes, proc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.host.machine import Machine
    from nvidia_runtime.host.nodes import DeviceNode

SUBUID = "/etc/subuid"
MOST_USERS = 50
MOST_TEXT = 1 << 16
EVERYBODY, GROUP = 0o006, 0o060
PARAMETERS = "/proc/driver/nvidia/params"
DEV_CHAR = "/dev/char"
SYSTEMD = "/run/systemd/system"
LINK = ("system", "create-dev-char-symlinks")
# The first that tell devices without these links: opencontainers/runc#3842.
RUNC, SYSTEMD_VERSION = (1, 1, 7), 240
PATIENCE = 0.5

NO_ACCESS = Code(
    "NCT-0211",
    WARNING,
    "users of rootless containers may not open the GPUs",
    """
    The nodes are for a group (NVreg_DeviceFileMode and NVreg_DeviceFileGID, or a rule of udev), and
    a user who may run rootless containers is not in it.  In a rootless container nvidia-smi says
    "Failed to initialize NVML: Insufficient Permissions" or "Unknown Error"; root's engines are not
    concerned.
    """,
    """
    Put the user into the group and log in anew; podman keeps groups by --group-add keep-groups
    (with crun).  Or let everybody use the GPUs: options nvidia NVreg_DeviceFileMode=0666 in
    /etc/modprobe.d.
    """,
)
LINKS_MISSING = Code(
    "NCT-0212",
    WARNING,
    "systemd cannot find the GPUs' nodes: links in /dev/char are missing",
    """
    Where the cgroup driver is systemd's, an old runc or systemd translates device rules by
    /dev/char/MAJOR:MINOR.  Without the links containers lose their GPUs at the next 'systemctl
    daemon-reload': "Failed to initialize NVML: Unknown Error" in a container that worked.
    """,
    """
    nvidia-ctk system create-dev-char-symlinks --create-all makes them; they are gone after a boot,
    so have a rule of udev run it when the module nvidia is loaded.  runc 1.1.7 with systemd 240
    needs none.
    """,
)
LINKS_WRONG = Code(
    "NCT-0213",
    WARNING,
    "links in /dev/char lead to other devices",
    """
    They are from before the kernel modules were loaded anew with other numbers.  systemd reads them
    when it writes device rules, so containers get rules for other devices, at last at the next
    'systemctl daemon-reload'.
    """,
    """
    Remove them, and make them anew: nvidia-ctk system create-dev-char-symlinks.
    """,
)
CODES = (NO_ACCESS, LINKS_MISSING, LINKS_WRONG)


def check(machine: Machine) -> Iterator[Said]:
    """Look at the nodes that exist."""
    paths = [*device_nodes.CONTROL, *(f"/dev/nvidia{gpu.minor}" for gpu in proc.gpus(""))]
    present = [node for path in paths if (node := nodes.read(machine.dev_root, path))]
    yield from _access(present)
    yield from _links(machine, present)


def _access(present: list[DeviceNode]) -> Iterator[Said]:
    """Say which users of rootless engines may not open a node."""
    closed = [node for node in present if node.mode & EVERYBODY != EVERYBODY]
    if not closed:
        yield Fine("all users may open the nodes")
        return
    node = closed[0]
    without = [name for name, groups in _users().items() if not _may_open(node, groups)]
    if not without:
        return
    group = _group_name(node.gid)
    what = f"{node.host_path} has mode {node.mode:04o} and group {group}"
    what += f": {some(without)} may not open it"
    has_group = node.gid and node.mode & GROUP == GROUP
    command = f"usermod -aG {group} {without[0]}" if has_group else f"cat {PARAMETERS}"
    yield Finding(code=NO_ACCESS, what=what, where=node.host_path, command=command)


def _may_open(node: DeviceNode, groups: list[int]) -> bool:
    return node.mode & GROUP == GROUP and node.gid in groups


def _users() -> dict[str, list[int]]:
    """Return who may run rootless containers, and ourselves unless we are root: their groups."""
    names = [line.partition(":")[0] for line in _lines(SUBUID)]
    users: dict[str, list[int]] = {}
    for name in dict.fromkeys(names[:MOST_USERS]):
        try:
            user = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
        except KeyError:
            continue
        users[user.pw_name] = os.getgrouplist(user.pw_name, user.pw_gid)
    if os.geteuid():
        users.setdefault(_own_name(), [*os.getgroups(), os.getegid()])
    return users


def _lines(path: str) -> list[str]:
    """Read a file of settings; what is none is not opened."""
    if not os.path.isfile(path):
        return []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(MOST_TEXT).splitlines()
    except OSError:
        return []


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _links(machine: Machine, present: list[DeviceNode]) -> Iterator[Said]:
    """Say which nodes systemd cannot find, or takes for others."""
    if not os.path.isdir(SYSTEMD):
        return
    missing, wrong = [], []
    for node in present:
        link = _link((node.major, node.minor))
        if not os.path.lexists(link):
            missing.append(link)
        elif not _leads_to(link, node):
            wrong.append(link)
    if wrong:
        command = f"rm {' '.join(wrong)} && nvidia-ctk {' '.join(LINK)}"
        what = f"{some(wrong)} do not lead to the nodes with these numbers"
        yield Finding(code=LINKS_WRONG, what=what, where=wrong[0], command=command)
    if missing and (reason := _needs_links()):
        root = machine.dev_root
        words = LINK if root == "/" else (*LINK, f"--driver-root={root}")
        linked = [_link(numbers) for numbers in device_nodes.present(root).values()]
        yield Finding(
            code=LINKS_MISSING,
            what=f"there is no {some(missing)}, which {reason} needs",
            where=missing[0],
            command=f"nvidia-ctk {' '.join(words)}",
            fix=Fix(words=words, files=tuple(one for one in linked if not os.path.lexists(one))),
        )


def _link(numbers: tuple[int, int]) -> str:
    return f"{DEV_CHAR}/{numbers[0]}:{numbers[1]}"


def _leads_to(link: str, node: DeviceNode) -> bool:
    try:
        status = os.stat(link)
    except OSError:
        return False
    return (os.major(status.st_rdev), os.minor(status.st_rdev)) == (node.major, node.minor)


def _needs_links() -> str:
    """Return the program that is too old to do without the links, "" if none is known to be."""
    runc = shutil.which("runc")
    version = program.version(runc, runc, PATIENCE) if runc else ()
    if version and version < RUNC:
        return f"runc {'.'.join(map(str, version))}"
    answer = program.ask(["systemctl", "--version"], seconds=PATIENCE)
    match = re.match(r"systemd (\d+)", answer.out)
    if match and int(match[1]) < SYSTEMD_VERSION:
        return f"systemd {match[1]}"
    return ""
