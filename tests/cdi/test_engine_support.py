# SPDX-License-Identifier: Apache-2.0
"""Which CDI version the engines on this machine understand."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvidia_runtime.cdi import engine_support
from nvidia_runtime.cdi.versions import VERSIONS
from nvidia_runtime.engines.supported import ENGINES

# What the programs print.
SAY = {
    "podman": "podman version {}",
    "dockerd": "Docker version {}, build 3c863ff",
    "containerd": "containerd github.com/containerd/containerd/v2 v{} 2b5a0f9b",
    "crio": "crio version {}\nGitCommit:  x",
}


def install(folder: Path, **versions: str) -> str:
    """Make programs that print their version; return the PATH that has only these."""
    for name, version in versions.items():
        file = folder / name
        file.write_text(f"#!/bin/sh\necho '{SAY[name].format(version)}'\n")
        file.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("engine", "version", "expected"),
    [
        ("podman", (4, 3, 1), "0.5.0"),
        ("podman", (4, 9, 3), "0.6.0"),
        ("podman", (5, 2, 0), "0.8.0"),
        ("podman", (5, 8, 2), "1.0.0"),
        ("podman", (5, 4, 2), "0.8.0"),
        ("podman", (3, 4, 4), ""),
        ("docker", (25, 0, 3), "0.6.0"),
        ("docker", (26, 1, 0), "0.7.0"),
        ("docker", (24, 0, 0), ""),
        ("docker", (28, 5, 1), "1.0.0"),
        ("containerd", (1, 7, 2), "0.5.0"),
        ("containerd", (1, 7, 16), "0.7.0"),
        ("containerd", (1, 6, 20), ""),
        ("containerd", (1, 7, 24), "0.8.0"),
        ("containerd", (2, 0, 5), "0.8.0"),
        ("containerd", (2, 1, 6), "1.0.0"),
        ("crio", (1, 30, 0), "0.7.0"),
    ],
)
def test_newest_for(engine: str, version: tuple[int, ...], expected: str) -> None:
    assert engine_support.newest_for(ENGINES[engine], version) == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_table_is_in_order(engine: str) -> None:
    rows = ENGINES[engine].cdi_versions

    assert list(rows) == sorted(rows)
    assert [VERSIONS.index(cdi) for _since, cdi in rows] == sorted(
        VERSIONS.index(cdi) for _since, cdi in rows
    )


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        pytest.param({}, ("", ""), id="no engine"),
        pytest.param({"podman": "4.9.3"}, ("0.6.0", "podman 4.9.3"), id="podman"),
        pytest.param(
            {"podman": "5.4.0", "containerd": "1.7.2"},
            ("0.5.0", "containerd 1.7.2"),
            id="the oldest of two",
        ),
        pytest.param({"dockerd": "28.0.1"}, ("0.8.0", "docker 28.0.1"), id="docker"),
        pytest.param({"crio": "1.33"}, ("0.8.0", "crio 1.33.0"), id="two numbers"),
        pytest.param({"podman": "unknown"}, ("", ""), id="no version"),
        pytest.param({"containerd": "1.6.20"}, ("", ""), id="too old for CDI"),
    ],
)
def test_newest_version(
    versions: dict[str, str],
    expected: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", install(tmp_path, **versions))

    assert engine_support.newest_version() == expected
