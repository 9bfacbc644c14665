# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk runtime, where the engine that runs decides what is done: by processes of that name."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import shim
import waiting
from engines.files import listener
from shim import Site

from . import ctk

ADVICE = "k3s finds nvidia-container-runtime itself when it starts; there is nothing to configure"


@pytest.fixture
def k3s(tmp_path: Path) -> Path:
    """Make the file that k3s runs on, in a folder that k3s was given."""
    file = tmp_path / "k3s/agent/etc/containerd/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("version = 2\n")
    return file


def test_k3s_needs_nothing(tmp_path: Path, k3s: Path) -> None:
    socket = tmp_path / "c.sock"
    with listener.running("containerd", socket, "-c", str(k3s)):
        got = ctk.run(
            "runtime",
            "configure",
            "--runtime=containerd",
            CONTAINERD_ADDRESS=str(socket),
            STATE_DIRECTORY=str(tmp_path / "journal"),
        )

    assert (got.code, got.out) == (0, "")
    assert got.err.startswith(f"{ADVICE}\nhint: restart k3s after the runtime was installed")
    assert [path.name for path in k3s.parent.iterdir()] == ["config.toml"]
    assert not (tmp_path / "journal").exists()


def test_status_says_so_too(tmp_path: Path, k3s: Path) -> None:
    socket = tmp_path / "c.sock"
    with listener.running("containerd", socket, "-c", str(k3s)) as daemon:
        got = ctk.run("runtime", "status", "--runtime=containerd", CONTAINERD_ADDRESS=str(socket))

    lines = got.lines()
    assert lines[1].split()[:4] == ["containerd", "(k3s)", "pid", str(daemon.pid)]
    assert lines[1].endswith(f"  {k3s}")
    assert f"containerd (k3s): {ADVICE}" in lines


def test_file_of_the_daemon_is_the_one_that_is_meant(tmp_path: Path) -> None:
    """A dry run, since the daemon's own program would judge the file, and this one cannot."""
    socket, file = tmp_path / "d.sock", tmp_path / "own.json"
    file.write_text('{"debug": true}')
    with listener.running("dockerd", socket, f"--config-file={file}"):
        got = ctk.run(
            "runtime", "configure", "--runtime=docker", "--dry-run", DOCKER_HOST=f"unix://{socket}"
        )

    assert json.loads(got.out) == {
        "debug": True,
        "runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}},
    }
    assert (got.code, got.err) == (0, f"{file}:\n")


@pytest.mark.parametrize(
    ("words", "is_told"), [(["--set-as-default"], True), ([], False)], ids=["default", "beside it"]
)
@shim.needs_root
def test_default_runtime_by_a_flag_of_crio_counts_more(words: list[str], is_told: bool) -> None:
    """cri-o, unlike docker, starts with both, so that the file would be changed in vain."""
    with Site() as site:
        socket, config = site.run_folder / "crio/crio.sock", site.folder / "crio.conf"
        socket.parent.mkdir()
        config.write_text("[crio.runtime]\n")
        call = ["crio", listener.__file__, "-1", "/run/crio/crio.sock", "--default-runtime=crun"]
        env = {**os.environ, **listener.HOME}
        daemon = site.execute([*call, f"--config={config}"], executable=sys.executable, env=env)
        try:
            waiting.eventually(Path(f"{socket}.ready").exists, "cri-o listens", daemon)
            code = f"import sys; sys.path.insert(0, {str(shim.TREE)!r}); {ctk.PROGRAM}"
            call = [sys.executable, "-c", code, "runtime", "configure", "--runtime=crio"]
            got = shim.end(site.execute([*call, "--dry-run", "--drop-in-config=", *words]))
        finally:
            daemon.kill()
            daemon.communicate()

    said = (
        "crio is started with --default-runtime=crun, which counts more than its files; "
        "take the flag out of its service first: 'systemctl edit --full crio'"
    )
    assert got.code == 0, got.err
    assert (said in got.err) == is_told, got.err
    assert (b"default_runtime" in got.out) == is_told
