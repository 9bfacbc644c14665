# SPDX-License-Identifier: Apache-2.0
"""What doctor says of the kernel, its logs, its security modules, file systems, and limits.

The lines of the audit system are from public reports, their times those of the test.
"""

from __future__ import annotations

import shlex
import shutil
import sys

import pytest
import simulated
from cli import ctk

from nvidia_runtime.doctor import system

from .patient import examine

AUDIT = "/var/log/audit/audit.log"
# A policy that is enforced; the rest of /sys/fs stays.
SELINUX = """
mkdir /dev/kept && mount --rbind /sys/fs/cgroup /dev/kept
mount -t tmpfs tmpfs /sys/fs
mkdir -p /sys/fs/cgroup /sys/fs/selinux/booleans /var/log/audit
mount --rbind /dev/kept /sys/fs/cgroup
echo 1 >/sys/fs/selinux/enforce
label() {
    python3 -c 'import os, sys; os.setxattr(sys.argv[2], "security.selinux", sys.argv[1].encode())' \
        "system_u:object_r:$1:s0" "$2"
}
"""
NARROW, WIDE, DRI = (
    f"echo {{}} {{}} >/sys/fs/selinux/booleans/container_use_{name}devices"
    for name in ("xserver_", "", "dri_")
)
# https://github.com/fedora-selinux/selinux-policy/issues/1695
MAP = (
    'type=AVC msg=audit({time}.146:350): avc:  denied  { map } for  pid=5016 comm="python" '
    'path="/dev/nvidia0" dev="devtmpfs" ino=1050 '
    "scontext=system_u:system_r:container_t:s0:c380,c597 "
    "tcontext=system_u:object_r:xserver_misc_device_t:s0 tclass=chr_file permissive=0"
)
OPEN = (
    "type=AVC msg=audit({time}.000:7): avc:  denied  { read write } for  pid=31 "
    'comm="nvidia-smi" name="nvidiactl" dev="devtmpfs" ino=1050 '
    "scontext=system_u:system_r:container_t:s0:c1,c2 "
    "tcontext=system_u:object_r:xserver_misc_device_t:s0 tclass=chr_file permissive=0"
)
# https://github.com/podman-container-tools/podman/issues/18497
RENDER = (
    "type=AVC msg=audit({time}.052:3337): avc:  denied  { map } for  pid=699282 "
    'comm="vainfo" path="/dev/dri/renderD128" dev="devtmpfs" ino=947 '
    "scontext=system_u:system_r:container_t:s0:c260,c628 "
    "tcontext=system_u:object_r:dri_device_t:s0 tclass=chr_file permissive=0"
)
# https://github.com/fedora-selinux/selinux-policy/pull/2417, with a container in place of kwin
MODESET = (
    "type=AVC msg=audit({time}.189:290): avc:  denied  { read write } for  pid=2287 "
    'comm="nvidia-smi" name="nvidia-modeset" dev="devtmpfs" ino=1313 '
    "scontext=system_u:system_r:container_t:s0 tcontext=system_u:object_r:device_t:s0 "
    "tclass=chr_file permissive=0"
)
LIBRARY = (
    'type=AVC msg=audit({time}.000:8): avc:  denied  { read } for  pid=31 comm="nvidia-smi" '
    'name="libcuda.so.580.95.05" dev="dm-0" ino=99 '
    "scontext=system_u:system_r:container_t:s0:c1,c2 "
    "tcontext=unconfined_u:object_r:user_home_t:s0 tclass=file permissive=0"
)
PROGRAM = (
    'type=AVC msg=audit({time}.000:9): avc:  denied  { execute } for  pid=31 comm="(idia-ctk)" '
    'name="nvidia-ctk" dev="dm-0" ino=99 scontext=system_u:system_r:init_t:s0 '
    "tcontext=unconfined_u:object_r:user_home_t:s0 tclass=file permissive=0"
)
# https://github.com/docker-snap/docker/issues/4, with our program in place of kmod
SNAP = (
    'audit: type=1400 audit({time}.895:15997): apparmor="DENIED" operation="exec" '
    'profile="snap.docker.dockerd" name="/usr/bin/nvidia-container-runtime" pid=24542 '
    'comm="runc" requested_mask="x" denied_mask="x" fsuid=0 ouid=0'
)
NODE = (
    'type=AVC msg=audit({time}.895:2): apparmor="DENIED" operation="open" '
    'profile="docker-mine" name="/dev/nvidiactl" pid=24542 comm="nvidia-smi" '
    'requested_mask="wr" denied_mask="wr" fsuid=0 ouid=0'
)
USER_NAMESPACE = (
    'audit: type=1400 audit({time}.895:3): apparmor="DENIED" operation="userns_create" '
    'class="namespace" info="Userns create restricted - failed to find unprivileged profile" '
    'error=-13 profile="unconfined" pid=3 comm="podman" requested="userns_create" '
    'denied="userns_create"'
)
# https://github.com/NVIDIA/nvidia-docker/issues/1456
KILLED = (
    "audit: type=1326 audit({time}.366:217): auid=4294967295 uid=0 gid=0 ses=4294967295 "
    'pid=16357 comm="6" exe="/sbin/ldconfig.real" sig=31 arch=40000003 syscall=45 compat=1 '
    "ip=0xf7ef7b47 code=0x0"
)
CACHE = "/etc/ld.so.cache"
CUDA = "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05"
FALLEN = (
    "NVRM: Xid (PCI:0000:07:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
)
FAULT = "NVRM: Xid (PCI:0000:07:00): 31, pid=1234, name=python, Ch 0000000b"


def audited(*lines: str, age: int = 0) -> str:
    """Return the shell lines that put denials into auditd's file."""
    text = "\n".join(lines).replace("{time}", "'$(($(date +%s) - " + str(age) + "))'")
    return f"mkdir -p /var/log/audit; rm -f {AUDIT}; printf '%s\\n' '{text}' >{AUDIT}\n"


def logged(*lines: str, age: int = 0, priority: int = 4) -> str:
    """Return the shell lines that put lines into the kernel's log, in place of the host's own."""
    script = "rm -f /dev/kmsg; read up _ </proc/uptime; up=${up%.*}\n"
    for number, line in enumerate(lines):
        text = shlex.quote(line).replace("{time}", "'$(($(date +%s) - " + str(age) + "))'")
        stamp = f"$((up - {age}))000000"
        script += f"echo {priority},{number},{stamp},-';'{text} >>/dev/kmsg\n"
    return script


def setting(name: str, value: int) -> str:
    """Return the shell lines that give a setting of the kernel a value, here alone."""
    folder = name.partition("/")[0]
    return (
        f"cp -r /proc/sys/{folder} /dev/{folder} 2>/dev/null || true\n"
        f"echo {value} >/dev/{name}; mount --bind /dev/{folder} /proc/sys/{folder}\n"
    )


# A user who runs podman.
USERS = (
    "mkdir -p /run/user; mount -t tmpfs tmpfs /run/user; mkdir -p /run/user/1000/podman\n"
    "touch /run/user/1000/podman/podman.sock\n"
)
NODEV = "mount --bind {0} {0}; mount -o remount,bind,nodev {0}"
DRIVER_ROOT = """
mkdir -p /run/nvidia/driver; mount -t tmpfs -o nodev tmpfs /run/nvidia/driver
mkdir /run/nvidia/driver/dev; mknod /run/nvidia/driver/dev/nvidiactl c 195 255
printf '[nvidia-container-cli]\nroot = "/run/nvidia/driver"\n' >/dev/config.toml
export NVIDIA_CTK_CONFIG_FILE_PATH=/dev/config.toml
"""
V2 = "mount -t cgroup2 cgroup2 /sys/fs/cgroup\n"
LEGACY = """
echo 'nvidia-container-runtime.mode = "legacy"' >/dev/config.toml
export NVIDIA_CTK_CONFIG_FILE_PATH=/dev/config.toml
"""
OURS = "/var/lib/nvidia-container-runtime"

FAULTS = [
    pytest.param(
        f"{SELINUX}{audited(OPEN)}{NARROW.format(0, 0)}",
        "NCT-0621",
        "nvidia-smi (container_t) was denied read write of nvidiactl (xserver_misc_device_t), once",
        "setsebool -P container_use_xserver_devices on",
        id="a GPU's node, by SELinux",
    ),
    pytest.param(
        f"{SELINUX}{audited(OPEN, OPEN.replace(':7)', ':8)'))}{WIDE.format(0, 0)}",
        "NCT-0621",
        "2 times, last on ",
        "setsebool -P container_use_devices on",
        id="a GPU's node, by an older SELinux policy",
    ),
    pytest.param(
        f"{SELINUX}{audited(MAP)}{WIDE.format(1, 1)}",
        "NCT-0621",
        "python (container_t) was denied map of /dev/nvidia0",
        "dnf upgrade container-selinux",
        id="mapping, by a policy whose boolean does not allow it",
    ),
    pytest.param(
        f"{SELINUX}{logged(OPEN.replace('type=AVC msg=', 'audit: type=1400 '))}",
        "NCT-0621",
        "nvidia-smi (container_t)",
        "dnf upgrade container-selinux",
        id="a GPU's node, without auditd and booleans",
    ),
    pytest.param(
        f"{SELINUX}{audited(RENDER)}{DRI.format(0, 0)}",
        "NCT-0621",
        "vainfo (container_t) was denied map of /dev/dri/renderD128 (dri_device_t)",
        "setsebool -P container_use_dri_devices on",
        id="a node for graphics, by SELinux",
    ),
    pytest.param(
        f"{SELINUX}{audited(OPEN.replace(':container_t', ':my_t'))}{NARROW.format(1, 1)}",
        "NCT-0621",
        "nvidia-smi (my_t)",
        "ausearch -m AVC -su my_t --raw | audit2allow -M nvidia-gpu-my"
        " && semodule -i nvidia-gpu-my.pp",
        id="a container of another SELinux type",
    ),
    pytest.param(
        f"{SELINUX}{NARROW.format(0, 0)}\nlabel xserver_misc_device_t /dev/nvidiactl",
        "NCT-0621",
        "the boolean container_use_xserver_devices is off, and podman labels containers",
        "setsebool -P container_use_xserver_devices on",
        id="a boolean that is off",
        marks=pytest.mark.skipif(not shutil.which("podman"), reason="podman is not installed"),
    ),
    pytest.param(
        f"{SELINUX}{audited(MODESET)}label device_t /dev/nvidia-modeset",
        "NCT-0622",
        "nvidia-smi (container_t) was denied read write of nvidia-modeset (device_t)",
        "restorecon -v /dev/nvidia* /dev/nvidia-caps/*",
        id="a node without a type",
    ),
    pytest.param(
        f"{SELINUX}{audited(LIBRARY)}",
        "NCT-0623",
        "was denied read of libcuda.so.580.95.05 (user_home_t)",
        "restorecon -Rv /usr/lib/x86_64-linux-gnu",
        id="a library with a type of homes",
    ),
    pytest.param(
        f"{SELINUX}{audited(PROGRAM)}mkdir -p /dev/bin; touch /dev/bin/nvidia-ctk\n"
        "chmod +x /dev/bin/nvidia-ctk; PATH=/dev/bin:$PATH",
        "NCT-0624",
        "(idia-ctk) (init_t) was denied execute of nvidia-ctk (user_home_t)",
        "semanage fcontext -a -t bin_t '/dev/bin(/.*)?' && restorecon -R /dev/bin",
        id="our program in a home, by SELinux",
    ),
    pytest.param(
        logged(SNAP),
        "NCT-0625",
        "the profile snap.docker.dockerd denies runc exec of /usr/bin/nvidia-container-runtime",
        "journalctl -k -g 'apparmor=.DENIED.*nvidia'",
        id="docker of the snap",
    ),
    pytest.param(
        audited(NODE),
        "NCT-0625",
        "the profile docker-mine denies nvidia-smi open of /dev/nvidiactl, once",
        "journalctl -k -g 'apparmor=.DENIED.*nvidia'",
        id="a GPU's node, by AppArmor",
    ),
    pytest.param(
        logged(KILLED),
        "NCT-0626",
        "/sbin/ldconfig.real was killed for its system call 45 (architecture 40000003), once",
        "nvidia-ctk config --set nvidia-container-runtime.mode=auto --in-place",
        id="ldconfig killed by seccomp",
    ),
    pytest.param(
        logged(FALLEN, FALLEN, age=60),
        "NCT-0631",
        "GPU 0000:07:00.0: Xid 79 (it has fallen off the bus) 2 times, last on ",
        "dmesg --ctime | grep -A1 'NVRM: Xid'",
        id="a GPU that fell off the bus",
    ),
    pytest.param(
        logged("NVRM: Xid (0000:65:00): 250, x"),
        "NCT-0631",
        "GPU 0000:65:00.0: Xid 250 on ",
        "dmesg --ctime | grep -A1 'NVRM: Xid'",
        id="an unknown error of a GPU",
    ),
    pytest.param(
        logged(FAULT),
        "NCT-0632",
        "Xid 31 (a page fault) on ",
        "dmesg --ctime | grep 'NVRM: Xid'",
        id="a program's page fault",
    ),
    pytest.param(
        'exec setarch "$(uname -m)" --uname-2.6 "$@"',
        "NCT-0601",
        "it is 2.6.",
        "uname -r",
        id="an old kernel",
    ),
    pytest.param(
        f"{USERS}{setting('user/max_user_namespaces', 0)}",
        "NCT-0605",
        "user.max_user_namespaces is 0",
        "sysctl -w user.max_user_namespaces=28633",
        id="no user namespaces",
    ),
    pytest.param(
        f"{USERS}{setting('kernel/unprivileged_userns_clone', 0)}",
        "NCT-0605",
        "kernel.unprivileged_userns_clone is 0",
        "sysctl -w kernel.unprivileged_userns_clone=1",
        id="no user namespaces, as of Debian",
    ),
    pytest.param(
        f"{USERS}{setting('kernel/apparmor_restrict_unprivileged_userns', 1)}"
        f"{logged(USER_NAMESPACE)}rm -rf /etc/apparmor.d",
        "NCT-0605",
        "AppArmor denied one to podman",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        id="no user namespace, by AppArmor",
    ),
    pytest.param(
        "mount -t proc -o subset=pid proc /proc",
        "NCT-0606",
        "/proc is mounted with subset=pid",
        "nsenter --target 1 --mount nvidia-ctk doctor",
        id="a part of /proc",
    ),
    pytest.param(
        'mount -t proc -o hidepid=2 proc /proc; exec setpriv --reuid 65534 --clear-groups "$@"',
        "NCT-0607",
        "/proc is mounted with hidepid=",
        "sudo nvidia-ctk doctor",
        id="processes that are hidden",
    ),
    pytest.param(
        f"mkdir -p {OURS}; mount -t tmpfs -o size=64k tmpfs {OURS}",
        "NCT-0608",
        f"64 KiB are left for {OURS}",
        f"df -h {OURS}",
        id="no room",
    ),
    pytest.param(
        f"mkdir -p {OURS}; mount -t tmpfs -o nr_inodes=1 tmpfs {OURS}",
        "NCT-0608",
        f"no inode is left for {OURS}",
        f"df -i {OURS}",
        id="no inode",
    ),
    pytest.param(
        f"mkdir -p {OURS}; mount -t tmpfs -o ro tmpfs {OURS}",
        "NCT-0609",
        f"{OURS} is mounted read-only",
        f"mount -o remount,rw {OURS}",
        id="read-only",
    ),
    pytest.param(
        NODEV.format("/dev/nvidiactl"),
        "NCT-0610",
        "/dev/nvidiactl is in /dev/nvidiactl, which is mounted with nodev",
        "mount -o remount,bind,dev /dev/nvidiactl",
        id="a node on nodev",
    ),
    pytest.param(
        DRIVER_ROOT,
        "NCT-0610",
        "/run/nvidia/driver/dev/nvidiactl is in /run/nvidia/driver, which is mounted with nodev",
        "mount -o remount,bind,dev /run/nvidia/driver",
        id="nodes of a driver root on nodev",
    ),
    pytest.param(
        "mkdir /dev/bin; mount -t tmpfs -o noexec tmpfs /dev/bin\n"
        "touch /dev/bin/nvidia-container-runtime; PATH=/dev/bin:$PATH",
        "NCT-0611",
        "/dev/bin/nvidia-container-runtime is in /dev/bin, which is mounted with noexec",
        "mount -o remount,bind,exec /dev/bin",
        id="a program on noexec",
    ),
    pytest.param(
        f"mount --bind {CUDA} {CUDA}; mount -o remount,bind,noexec {CUDA}",
        "NCT-0611",
        f"{CUDA} is in {CUDA}",
        f"mount -o remount,bind,exec {CUDA}",
        id="a library on noexec",
    ),
    pytest.param(
        f"rm {CACHE}; mkdir {CACHE}",
        "NCT-0612",
        "cannot be read: is a directory",
        "ldconfig",
        id="a cache that is no file",
    ),
    pytest.param(
        f"echo nonsense >{CACHE}", "NCT-0612", "it is damaged", "ldconfig", id="a damaged cache"
    ),
    pytest.param(
        "ulimit -n 100",
        "NCT-0613",
        "100 files may be open at once here",
        "ulimit -n 1024",
        id="few files",
    ),
    pytest.param(
        "mount -t tmpfs tmpfs /sys/fs/cgroup",
        "NCT-0602",
        "nothing is mounted at /sys/fs/cgroup",
        "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        id="no control groups",
    ),
    pytest.param(
        "mount -t tmpfs tmpfs /sys/fs/cgroup; mkdir /sys/fs/cgroup/memory",
        "NCT-0602",
        "cgroup v1 is mounted without its controller 'devices'",
        "mkdir -p /sys/fs/cgroup/devices"
        " && mount -t cgroup -o devices cgroup /sys/fs/cgroup/devices",
        id="no controller of devices",
    ),
    pytest.param(
        f'{V2}exec setpriv --bounding-set=-all --inh-caps=-all "$@"',
        "NCT-0603",
        "bpf: operation not permitted",
        "grep CGROUP_BPF /boot/config-$(uname -r)",
        id="no device programs",
    ),
    pytest.param(
        f'{V2}{LEGACY}exec unshare --user --map-root-user "$@"',
        "NCT-0603",
        "bpf: operation not permitted",
        "nvidia-ctk config --set nvidia-container-cli.no-cgroups -i",
        id="no device programs in a container of LXC",
    ),
]


@pytest.mark.parametrize(("fault", "code", "what", "command"), FAULTS)
def test_fault_is_found(fault: str, code: str, what: str, command: str) -> None:
    answer = examine("t4x1", fault, engines=("podman",) if "podman" in what else ())

    assert answer.codes("NCT-06") == [code]
    finding = answer.finding(code)
    assert what in finding["what"]
    assert finding["next"] == command
    assert finding["where"]


@pytest.mark.parametrize("machine", simulated.names())
def test_healthy_machine_is_silent(machine: str) -> None:
    """Whatever versions of systemd and runc the host of the tests has."""
    assert (
        examine(machine, "mkdir -p /run/systemd; mount -t tmpfs tmpfs /run/systemd").codes("NCT-06")
        == []
    )


def test_every_code_has_a_fault() -> None:
    tried = {str(case.values[1]) for case in FAULTS}

    assert {code.id for code in system.CODES} == tried


# Commands that can be run here, by the names of their faults.
FOLLOWED = (
    *("no user namespaces", "read-only", "a node on nodev", "nodes of a driver root on nodev"),
    *("a program on noexec", "a library on noexec", "a damaged cache", "no control groups"),
    "no device programs in a container of LXC",
)
FOLLOW = """
printf '#!/bin/sh\\nexec {python} -c "{program}" "$@"\\n' >/dev/nvidia-ctk; chmod +x /dev/nvidia-ctk
mkdir -p /dev/programs; mv /dev/nvidia-ctk /dev/programs/nvidia-ctk; PATH=/dev/programs:$PATH
nvidia-ctk doctor --json >/dev/before.json || true
{python} -c '
import json
(one,) = [one for one in json.load(open("/dev/before.json"))["findings"] if one["code"] == "{code}"]
print(one["next"])
' >/dev/next
sh -eu /dev/next >/dev/null
"""


@pytest.mark.parametrize("name", FOLLOWED)
def test_command_helps(name: str) -> None:
    (case,) = [case for case in FAULTS if case.id == name]
    fault, code = str(case.values[0]), str(case.values[1])
    program = ctk.PROGRAM.replace('"', "'")
    follow = FOLLOW.format(python=sys.executable, program=program, code=code)
    lines, enter, rest = fault.partition("\nexec ")
    if enter:  # the fault holds in a process of its own
        words = rest.replace('"$@"', "")
        follow = f"{words} sh -euc {shlex.quote(follow)}"

    answer = examine("t4x1", f"{lines}\n{follow}\n{enter}{rest}")

    assert answer.codes("NCT-06") == []


MENDED = [
    pytest.param(f"{SELINUX}{audited(OPEN)}{NARROW.format(1, 1)}", id="the boolean is on"),
    pytest.param(f"{SELINUX}{audited(OPEN)}{WIDE.format(1, 1)}", id="the wide boolean is on"),
    pytest.param(
        f"{SELINUX}{audited(MODESET)}label xserver_misc_device_t /dev/nvidia-modeset",
        id="the node has its type",
    ),
    pytest.param(
        f"{SELINUX}{audited(LIBRARY)}label lib_t /usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05",
        id="the library has its type",
    ),
    pytest.param(
        f"{SELINUX}{audited(OPEN)}echo 0 >/sys/fs/selinux/enforce", id="SELinux is permissive"
    ),
    pytest.param(
        SELINUX + audited(OPEN.replace("permissive=0", "permissive=1")), id="the domain is"
    ),
    pytest.param(SELINUX + audited(OPEN, age=8 * 24 * 3600), id="it was long ago"),
    pytest.param(
        SELINUX + audited(OPEN.replace("nvidiactl", "kvm").replace("xserver_misc", "kvm")),
        id="it is another device",
    ),
    pytest.param(audited(OPEN), id="there is no SELinux"),
    pytest.param(audited(NODE.replace("nvidia", "other")), id="AppArmor, of others"),
    pytest.param(logged(KILLED.replace("ldconfig", "other")), id="seccomp, of others"),
    pytest.param(logged(FALLEN, priority=12), id="a program wrote it into the kernel's log"),
    pytest.param(f'{V2}exec unshare --user --map-root-user "$@"', id="rules that nobody makes"),
    pytest.param(f"rm -f /dev/kmsg {AUDIT}; mkfifo /dev/kmsg", id="the log is a FIFO"),
    pytest.param(f"mkdir -p /var/log/audit; rm -f {AUDIT}; mkfifo {AUDIT}", id="the file is one"),
    pytest.param(
        f"mkdir -p /var/log/audit; head -c 9000000 /dev/urandom >{AUDIT}; "
        "rm /dev/kmsg; head -c 9000000 /dev/urandom >/dev/kmsg",
        id="the logs are garbage",
    ),
]


@pytest.mark.parametrize("fault", MENDED)
def test_what_is_mended_or_of_others_is_silent(fault: str) -> None:
    answer = examine("t4x1", fault)

    assert answer.codes("NCT-06") == []
    assert answer.codes("NCT-00") == []


def test_engine_that_labels_containers_suffers() -> None:
    """docker does where daemon.json says so; podman, if it is here, always."""
    daemon = "mkdir -p /etc/docker; echo '{\"selinux-enabled\": true}' >/etc/docker/daemon.json"

    answer = examine("t4x1", f"{SELINUX}{audited(OPEN)}{daemon}", engines=("dockerd", "podman"))

    findings = [one for one in answer.document["findings"] if one["code"] == "NCT-0621"]
    others = {"podman"} if shutil.which("podman") else set()
    assert {one["engine"] for one in findings} == {"docker", *others}
