# SPDX-License-Identifier: Apache-2.0
"""On a simulated machine a command sees that one, and the host sees nothing of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import simulated

from nvidia_runtime.simulate import build, catalogue
from nvidia_runtime.simulate import tree as trees

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts and device nodes")


def shell(name: str, script: str, **options: object) -> list[str]:
    """Run a script on a machine; return its lines."""
    done = simulated.run(name, ["sh", "-c", script], **options)  # type: ignore[arg-type]
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def host() -> list[str]:
    """List what a machine could leave behind on the host."""
    with open("/proc/self/mounts") as file:
        mounts = [line for line in file if "/dev/root" in line or "upperdir=/dev/" in line]
    folders = ("/dev", "/etc/ld.so.conf.d", "/usr/lib/x86_64-linux-gnu", "/usr/bin", "/run")
    names = [f"{folder}/{name}" for folder in folders for name in os.listdir(folder)]
    return mounts + [name for name in names if "nvidia" in name or "cuda" in name]


MODULES = ("nvidia", "nvidia_drm", "nvidia_modeset", "nvidia_uvm")


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    before = host()
    yield
    assert set(host()) <= set(before)


# Whether what is generated now would wait for the end of an installation, and be made again.
PROBE = """
import sys
sys.path.insert(0, sys.argv[1])
from nvidia_runtime.host.driver import Driver
driver = Driver(sys.argv[2])
driver.listings()
print(driver.has_changed())
"""


@pytest.mark.parametrize("is_entered", [True, False], ids=["entered", "written"])
def test_driver_was_installed_before(tmp_path: Path, *, is_entered: bool) -> None:
    words = [sys.executable, "-c", PROBE, str(simulated.TREE)]
    if is_entered:
        done = simulated.run("t4x1", [*words, "/"])
    else:
        trees.create(build.driver_root(catalogue.find("t4x1")), f"{tmp_path}/root")
        words.append(f"{tmp_path}/root")
        done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("False\n", "")


def test_driver_is_in_the_root() -> None:
    script = """
        test -c /dev/nvidia0 && stat -c '%t:%T %a' /dev/nvidia0
        cat /sys/module/nvidia/version
        ls /proc/driver/nvidia/gpus /sys/bus/pci/devices
        readlink /usr/lib/x86_64-linux-gnu/libcuda.so.1
        ls /dev/dri/by-path
        cat $NVIDIA_SIMULATED_MACHINE/name
        grep -c ^minor $NVIDIA_SIMULATED_MACHINE/mock-nvml.conf
    """

    assert shell("t4x1", script) == [
        "c3:0 666",
        "580.95.05",
        "/proc/driver/nvidia/gpus:",
        "0000:00:1e.0",
        "",
        "/sys/bus/pci/devices:",
        "0000:00:05.0",
        "0000:00:1e.0",
        "libcuda.so.580.95.05",
        "pci-0000:00:1e.0-card",
        "pci-0000:00:1e.0-render",
        "t4x1",
        "1",
    ]


def test_loader_finds_the_libraries_each_time() -> None:
    if not shutil.which("ldconfig", path="/sbin:/usr/sbin"):
        pytest.skip("no ldconfig")
    for _ in range(2):  # the second time from what was kept
        (line,) = shell("a100x8", "/sbin/ldconfig -p | grep 'libcuda.so.1 '")
        assert line.endswith("/x86_64-linux-gnu/libcuda.so.1")


def test_host_devices_are_hidden() -> None:
    names = set(shell("a100x8", "ls /dev"))

    assert {"null", "zero", "pts", "shm", "nvidia7", "nvidiactl"} <= names
    assert "dri" not in names
    assert not {name for name in names if name.startswith(("sd", "vd", "nvme"))}


def test_folders_that_begin_empty() -> None:
    script = "ls -A /etc/cdi /run/cdi /run/nvidia-container-runtime | grep -v :"

    assert set(simulated.run("t4x1", ["sh", "-c", script]).stdout.split()) == set()


OTHER_RUN = """
mount -t tmpfs none /run && mkdir /run/cdi || exit
[ "$1" = /run ] || mount -t tmpfs none "$1" || exit
shift; touch /run/cdi/nvidia.yaml; exec "$@"
"""


@pytest.mark.parametrize("point", ["/run", "/run/cdi"])
def test_folder_that_begins_empty_on_another_file_system(point: str) -> None:
    """As /run is one on most hosts."""
    enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", OTHER_RUN, "sh", point]
    words = simulated.words("t4x1", ["ls", "-A", "/run/cdi"])
    done = subprocess.run([*enter, *words], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_writes_reach_the_host_in_real_folders_only(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    script = f"""
        echo 1 > relative; echo 2 > {tmp_path}/absolute
        echo 3 > /etc/nvcr-stays-inside; echo 4 > /run/nvcr-stays-inside; cat /etc/nvcr-*
    """

    assert shell("t4x1", script, cwd=here) == ["3"]
    assert (here / "relative").read_text() == "1\n"
    assert (tmp_path / "absolute").read_text() == "2\n"
    assert not os.path.lexists("/etc/nvcr-stays-inside")
    assert not os.path.lexists("/run/nvcr-stays-inside")


def test_system_folder_is_not_real_though_it_is_the_current_one() -> None:
    shell("t4x1", "echo > nvcr-stays-inside; mkdir -p /etc/cdi/nvcr", cwd="/usr/bin")

    assert not os.path.lexists("/usr/bin/nvcr-stays-inside")
    assert not os.path.lexists("/etc/cdi/nvcr")


def test_more_real_folders() -> None:
    place = Path("/var/lib/nvcr-simulated")
    place.mkdir()
    try:
        shell("t4x1", f"echo > {place}/real", real=[os.fspath(place)])
        assert (place / "real").exists()
        shell("t4x1", f"echo > {place}/private")
        assert not (place / "private").exists()
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize(
    ("folder", "says"),
    [("/usr", "holds a part of the machine"), ("/nowhere", "is not a folder")],
)
def test_real_folder_that_cannot_be(folder: str, says: str) -> None:
    done = simulated.run("t4x1", ["true"], real=[folder])

    assert done.returncode == 1
    assert done.stderr.startswith(f"simulate: --real {folder}: {says}")


def test_machine_can_be_changed_while_it_runs() -> None:
    script = """
        rm -r /proc/driver/nvidia/gpus/0000:07:00.0
        mkdir -p /proc/driver/nvidia/capabilities/gpu0/mig/gi1
        sed s/511/510/ /proc/devices > /tmp/nvcr-$$; cat /tmp/nvcr-$$ > /proc/devices; rm /tmp/nvcr-$$
        echo other > /proc/sys/kernel/random/boot_id
        rm /dev/nvidia2; mknod /dev/nvidia-uvm2 c 510 0
        ls /proc/driver/nvidia/gpus | wc -l; grep -c '^510 nvidia-uvm' /proc/devices
        cat /proc/sys/kernel/random/boot_id; ls /proc/driver/nvidia/capabilities/gpu0/mig
    """

    assert shell("a100x8", script) == ["7", "1", "other", "gi1"]


def test_nothing_changes_by_being_looked_at() -> None:
    """An overlay notes the first listing of a folder in its times: it has happened before."""
    look = "stat -c '%n %Y %Z' /usr/lib /usr/lib/x86_64-linux-gnu /usr/bin /etc /lib/firmware"

    lines = shell("a100x8", f"{look}; ls -R /usr/lib/x86_64-linux-gnu >/dev/null; {look}")

    assert lines[:5] == lines[5:]


def test_pci_devices_are_the_machines_beside_what_else_the_host_has() -> None:
    script = """
        readlink -f /sys/bus/pci/devices/0000:18:00.0; cat /sys/devices/system/node/online
        test -d /sys/devices/virtual && test -e /sys/devices/system/cpu/online && echo the rest
        for link in /sys/class/net/*; do test -e "$link/" || echo "$link leads nowhere"; done
    """

    assert shell("h100x8", script) == [
        "/sys/devices/pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:00.0/0000:18:00.0",
        "0,1",
        "the rest",
    ]


def test_only_the_kernel_files_with_the_root_in_a_folder(tmp_path: Path) -> None:
    root = tmp_path / "root"
    script = f"""
        ls /proc/driver/nvidia/gpus; ls /dev/nvidia0 2>/dev/null
        test -c {root}/dev/nvidia0 && readlink {root}/usr/lib/x86_64-linux-gnu/libcuda.so.1
    """

    assert shell("t4x1", script, root_only=root) == ["0000:00:1e.0", "libcuda.so.580.95.05"]


@pytest.mark.parametrize(
    "in_folder", [False, True], ids=["a whole machine", "the root in a folder"]
)
def test_user_namespace_may_mount_its_own_proc_and_sys(tmp_path: Path, *, in_folder: bool) -> None:
    """Rootless containers do; the kernel allows it where a whole one is in the mount namespace."""
    unshare = "unshare --user --map-root-user --pid --fork --net --mount"
    script = f"""
        {unshare} sh -c 'mount -t proc p {tmp_path} && ls {tmp_path}/1 >/dev/null && echo a /proc'
        {unshare} sh -c 'mount -t sysfs s {tmp_path} && ls {tmp_path}/class/net && echo a /sys'
        ls /sys/module
    """
    if subprocess.run(["unshare", "--user", "true"], check=False).returncode:
        pytest.skip("no user namespaces")

    said = shell("t4x1", script, root_only=tmp_path / "root" if in_folder else "")

    assert [line for line in said if line.startswith("a ")] == ["a /proc", "a /sys"]
    assert said[-5:] == ["firmware_class", *MODULES]


def test_folder_in_use_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()

    done = simulated.run("t4x1", ["true"], root_only=tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith(f"simulate: {tmp_path}: is not empty")


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", -signal.SIGTERM), ("kill -9 $$", -9)],
)
def test_exit_code_is_the_commands(script: str, code: int) -> None:
    assert simulated.run("t4x1", ["sh", "-c", script]).returncode == code


def test_signals_reach_the_command() -> None:
    script = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.02; done"
    words = simulated.words("t4x1", ["sh", "-c", script])
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        out = process.stdout.read()

    assert (process.returncode, out) == (3, "got it\n")


def test_broken_pipe_ends_the_command() -> None:
    """Python ignores SIGPIPE; a command that inherits that runs on for ever."""
    words = simulated.words("t4x1", ["sh", "-c", "while :; do echo x; done"])
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(timeout=10) == -signal.SIGPIPE


@pytest.mark.parametrize(
    ("command", "code"), [("/nowhere/at-all", 127), ("no-such-command", 127), ("/etc/passwd", 126)]
)
def test_command_that_cannot_be_run(command: str, code: int) -> None:
    done = simulated.run("t4x1", [command])

    assert done.returncode == code
    assert command in done.stderr


def test_machines_within_machines() -> None:
    """The root of the outer one is an overlay already, which one more may cover."""
    inner = simulated.words("t4x1", ["sh", "-c", "ls /proc/driver/nvidia/gpus; ls /dev/nvidia*"])

    done = simulated.run("a100x8", inner)

    assert done.stdout.split()[:2] == ["0000:00:1e.0", "/dev/nvidia-modeset"], done.stderr


def test_overlay_over_overlay_over_overlay_is_an_error() -> None:
    third = simulated.words("t4x1", ["true"])

    done = simulated.run("t4x1", simulated.words("t4x1", third))

    assert done.returncode == 1
    assert "an overlay over / cannot be mounted" in done.stderr
    assert "--write DIR makes the machine without one" in done.stderr


def test_many_at_once() -> None:
    jobs = [
        subprocess.Popen(
            simulated.words(name, ["cat", "/run/nvidia-simulated-machine/name"]),
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("t4x1", "a100x8", "h100x8", "orin") * 2
    ]

    assert [job.communicate()[0] for job in jobs] == [
        "t4x1\n",
        "a100x8\n",
        "h100x8\n",
        "orin\n",
    ] * 2


def test_killed_one_leaves_nothing() -> None:
    words = simulated.words("t4x1", ["sleep", "60"])
    with subprocess.Popen(words) as process:
        time.sleep(0.15)
        process.kill()


@pytest.mark.parametrize("capability", ["sys_admin", "mknod"])
def test_without_a_capability_one_sentence_says_what_is_needed(capability: str) -> None:
    """As in a container that is not privileged."""
    if not shutil.which("setpriv"):
        pytest.skip("no setpriv")
    limits = [f"--bounding-set=-{capability}", f"--inh-caps=-{capability}"]
    words = ["setpriv", *limits, *simulated.words("t4x1", ["true"])]

    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr == (
        "simulate: the simulated machine cannot be set up: operation not permitted"
        " (it needs CAP_SYS_ADMIN and CAP_MKNOD, which a container has when it is privileged)\n"
    )


def test_host_whose_folders_are_file_systems_of_their_own() -> None:
    """The driver's files are then on several overlays, and what is beside them is still there."""
    script = """
        mount -t tmpfs -o mode=755 t /run; echo kept >/run/file
        mount --bind /usr/share /usr/share
        mount -t tmpfs t /srv; mkdir "/srv/a b"; mount -t tmpfs t "/srv/a b"; echo deep >"/srv/a b/file"
        exec "$@"
    """
    look = """
        cat /run/file "/srv/a b/file"; stat -c %a /run; ls /usr/share/nvidia /run/nvidia-persistenced
        test -d /usr/share/doc && echo and others
    """
    inner = simulated.words("h100x8", ["sh", "-c", look])

    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *inner],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout.split() == [
        *("kept", "deep", "755"),
        *("/run/nvidia-persistenced:", "socket", "/usr/share/nvidia:", "nvoptix.bin"),
        *("and", "others"),
    ]
