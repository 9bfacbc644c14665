# SPDX-License-Identifier: Apache-2.0
"""The check at the end of a session that nothing stays on the host."""

from __future__ import annotations

import os
from pathlib import Path

import traces

TABLE = """\
25 1 0:22 / /sys rw,relatime - sysfs sysfs rw
29 25 0:26 / /sys/fs/cgroup rw master:1 - tmpfs tmpfs rw,mode=755
30 25 0:27 /a /sys/fs/cgroup rw - tmpfs none ro
"""


def test_mounts_of_a_table() -> None:
    """Whatever number a mount has, and whom it propagates to."""
    assert traces.mounts(TABLE) == {
        "mount at /sys": "0:22 / rw,relatime sysfs sysfs rw",
        "mount at /sys/fs/cgroup": "0:26 / rw tmpfs tmpfs rw,mode=755",
        "mount at /sys/fs/cgroup, again": "0:27 /a rw tmpfs none ro",
    }


def test_changes_of_a_folder(tmp_path: Path) -> None:
    for name in ("mode", "text", "gone", "same"):
        (tmp_path / name).write_text("before")
        (tmp_path / name).chmod(0o644)
    (tmp_path / "link").symlink_to("here")
    before = dict(traces.entries(tmp_path))

    (tmp_path / "mode").chmod(0o600)
    (tmp_path / "text").write_text("now")
    (tmp_path / "gone").unlink()
    (tmp_path / "new").mkdir(mode=0o700)
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("there")

    said = traces.differences(before, dict(traces.entries(tmp_path)))
    who = f"{os.getuid()}:{os.getgid()}"
    assert [line.removeprefix(f"{tmp_path}/").split(" bytes")[0] for line in said] == [
        "gone: is gone",
        f"link: was lrwxrwxrwx {who} -> here, is lrwxrwxrwx {who} -> there",
        f"mode: was -rw-r--r-- {who} 6",
        f"new: is new, drwx------ {who}",
        f"text: was -rw-r--r-- {who} 6",
    ]


def test_node_is_described() -> None:
    assert traces.describe(Path("/dev/null")) == "crw-rw-rw- 0:0 1:3"


def test_what_others_change_is_left_out() -> None:
    assert traces.IS_OTHERS.fullmatch("/run/docker/netns")
    assert traces.IS_OTHERS.fullmatch("/tmp/pytest-of-root")
    assert traces.IS_OTHERS.fullmatch("/sys/fs/cgroup/unified/system.slice/a.service")
    for path in ("/dev/null", "/run/docker", "/tmp/nvcr-1", "/sys/fs/cgroup/pids/nvcr-1", "/etc/x"):
        assert not traces.IS_OTHERS.fullmatch(path)


def test_host_is_listed() -> None:
    """Each kind of thing that a test could leave."""
    paths = traces.listing().keys()

    assert {"/dev/null", "/etc/passwd", "/run", "/var/lib", "/usr", "mount at /"} <= paths
