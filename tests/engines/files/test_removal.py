# SPDX-License-Identifier: Apache-2.0
"""What a package's prerm keeps for its purge; the purge itself is tried in tests/distributions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cli import ctk

from nvidia_runtime.engines import removal

PROGRAM = "from nvidia_runtime.engines import removal; removal.main()"
MARK = "\N{BOM}"


def prepare(state: Path) -> str:
    """Do what the prerm does; return what it says."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"STATE_DIRECTORY": str(state), "PYTHONPATH": str(Path(removal.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr


def configure(state: Path, engine: str, config: Path, *words: str) -> None:
    words = (f"--runtime={engine}", f"--config={config}", *words)
    program = "--nvidia-runtime-path=/usr/bin/nvidia-container-runtime"
    done = ctk.run("runtime", "configure", program, *words, STATE_DIRECTORY=str(state))
    assert done.code == 0, done.err


def kept(state: Path) -> dict[str, str]:
    folder = state / "purge"
    return {file.name: file.read_bytes().decode() for file in sorted(folder.glob("*"))}


def test_nothing_was_configured(tmp_path: Path) -> None:
    assert prepare(tmp_path / "state") == ""
    assert not (tmp_path / "state").exists()


def test_file_that_was_there(tmp_path: Path) -> None:
    state, config = tmp_path / "state", tmp_path / "daemon.json"
    before = f'{MARK}{{\r\n\t"log-level":"warn" }}'
    config.write_bytes(before.encode())
    configure(state, "docker", config)
    said = prepare(state)

    now = config.read_bytes().decode()
    assert kept(state) == {"1.now": now, "1.path": str(config), "1.then": before}
    assert "nvidia" in now
    assert said == (
        f"engines still call the runtime that is removed: {config}\n"
        "hint: purge the package, or install it again\n"
    )
    assert (state / "purge").stat().st_mode & 0o777 == 0o700


def test_edit_of_somebody_else_stays(tmp_path: Path) -> None:
    state, config = tmp_path / "state", tmp_path / "containers.conf"
    config.write_text("[engine]\n")
    configure(state, "podman", config)
    config.write_text("# mine\n" + config.read_text())
    prepare(state)

    assert kept(state)["1.then"] == "# mine\n[engine]\n"


def test_file_that_we_made_goes_with_its_folders(tmp_path: Path) -> None:
    state, config = tmp_path / "state", tmp_path / "etc/containers/containers.conf"
    configure(state, "podman", config)
    prepare(state)

    files = kept(state)
    assert files["1.folders"] == f"{tmp_path}/etc/containers\n{tmp_path}/etc\n"
    assert "1.then" not in files


def test_what_was_taken_back_is_left_out(tmp_path: Path) -> None:
    state, config = tmp_path / "state", tmp_path / "daemon.json"
    config.write_text("{}\n")
    configure(state, "docker", config)
    prepare(state)
    words = ("--runtime=docker", f"--config={config}")
    done = ctk.run("runtime", "unconfigure", *words, STATE_DIRECTORY=str(state))
    assert done.code == 0, done.err
    prepare(state)

    assert kept(state) == {}


def test_several_engines(tmp_path: Path) -> None:
    state = tmp_path / "state"
    configure(state, "docker", tmp_path / "daemon.json")
    drop_in = tmp_path / "crio.conf.d/99-nvidia.conf"
    configure(state, "crio", tmp_path / "crio.conf", f"--drop-in-config={drop_in}")
    prepare(state)

    paths = {text for name, text in kept(state).items() if name.endswith(".path")}
    assert paths == {str(tmp_path / "daemon.json"), str(drop_in)}


def test_file_that_cannot_be_read_is_warned_of(tmp_path: Path) -> None:
    state, config = tmp_path / "state", tmp_path / "daemon.json"
    config.write_text("{}\n")
    configure(state, "docker", config)
    config.write_text("{")
    said = prepare(state)

    assert said.startswith(f"warning: {config}:1:2: ")
    assert kept(state) == {}
