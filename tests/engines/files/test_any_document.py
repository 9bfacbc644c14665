# SPDX-License-Identifier: Apache-2.0
"""Whatever an engine's file says: it is configured and given back, or refused with a sentence."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nvidia_runtime.engines import apply, difference, effect, toml_render, undo
from nvidia_runtime.engines.engine import Engine, Intent
from nvidia_runtime.engines.supported import ENGINES
from nvidia_runtime.errors import NvidiaRuntimeError

NAMES = st.sampled_from(
    ["runc", "nvidia", "crun", "options", "runtimes", "path", "cdi", "BinaryName", "x"]
)
SCALARS = st.sampled_from([True, 1, 1.5, "", "nvidia", "runc", "x"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | st.lists(SCALARS, max_size=2),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
# Every place that we read or write.
PATHS = {
    "docker": [
        ("runtimes",),
        ("runtimes", "nvidia"),
        ("runtimes", "x"),
        ("default-runtime",),
        ("features",),
        ("features", "cdi"),
    ],
    "containerd": [
        ("version",),
        ("imports",),
        ("disabled_plugins",),
        ("plugins",),
        ("plugins", "io.containerd.grpc.v1.cri"),
        ("plugins", "io.containerd.grpc.v1.cri", "enable_cdi"),
        ("plugins", "io.containerd.grpc.v1.cri", "containerd"),
        ("plugins", "io.containerd.grpc.v1.cri", "containerd", "default_runtime_name"),
        ("plugins", "io.containerd.grpc.v1.cri", "containerd", "runtimes"),
        ("plugins", "io.containerd.grpc.v1.cri", "containerd", "runtimes", "runc"),
        ("plugins", "io.containerd.grpc.v1.cri", "containerd", "runtimes", "nvidia", "options"),
        ("plugins", "io.containerd.cri.v1.runtime", "containerd", "runtimes"),
        ("plugins", "cri", "containerd", "runtimes", "runc"),
    ],
    "crio": [
        ("crio",),
        ("crio", "runtime"),
        ("crio", "runtime", "default_runtime"),
        ("crio", "runtime", "runtimes"),
        ("crio", "runtime", "runtimes", "runc"),
        ("crio", "runtime", "runtimes", "nvidia"),
    ],
    "podman": [
        ("engine",),
        ("engine", "runtime"),
        ("engine", "runtimes"),
        ("engine", "runtimes", "nvidia"),
    ],
}
NAMES_OF_FILES = {
    "docker": ("daemon.json", ""),
    "containerd": ("config.toml", "conf.d/99-nvidia.toml"),
    "crio": ("crio.conf", "crio.conf.d/99-nvidia.toml"),
    "podman": ("containers.conf", "containers.conf.d/99-nvidia.conf"),
}


def documents(engine: str) -> st.SearchStrategy[dict[str, Any]]:
    def put(pairs: list[tuple[tuple[str, ...], Any]], version: Any) -> dict[str, Any]:
        edits = [difference.Edit(path, value) for path, value in pairs]
        start = {"version": version} if engine == "containerd" and version is not None else {}
        return difference.carried_out(edits, start)

    pairs = st.lists(st.tuples(st.sampled_from(PATHS[engine]), VALUES), max_size=4)
    return st.builds(put, pairs, st.sampled_from([1, 2, 2, 3, None]))


def texts(engine: str) -> st.SearchStrategy[str]:
    def write(document: dict[str, Any], indent: int | None) -> str:
        if engine == "docker":
            return json.dumps(document, indent=indent)
        return toml_render.render(document)

    return st.builds(write, documents(engine), st.sampled_from([None, 2])) | st.text(max_size=20)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("engine", sorted(PATHS))
def test_any_document(engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # In memory, where it exists: what is written here is made to last each time.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(tmp_path)
    state = tempfile.TemporaryDirectory(dir=memory)
    monkeypatch.setenv("STATE_DIRECTORY", state.name)
    monkeypatch.setenv("PATH", "/nowhere")  # no engine that judges: it is asked elsewhere

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(texts(engine), texts(engine), *[st.booleans()] * 4)
    def check(
        text: str, drop_in: str, has_drop_in: bool, is_drop_in: bool, is_default: bool, cdi: bool
    ) -> None:
        with tempfile.TemporaryDirectory(dir=memory) as name:
            folder = Path(name)
            one, other = NAMES_OF_FILES[engine]
            (folder / one).write_bytes(text.encode("utf-8", "replace"))
            if has_drop_in and is_drop_in and other:
                (folder / other).parent.mkdir()
                (folder / other).write_bytes(drop_in.encode("utf-8", "replace"))
            intent = Intent(
                name="nvidia",
                program="/usr/bin/nvidia-container-runtime",
                config=str(folder / one),
                drop_in=str(folder / other) if other and is_drop_in else "",
                is_default=is_default,
                cdi=cdi,
            )
            check_round(ENGINES[engine], intent, folder)

    with state:
        check()


def test_empty_table_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says nothing, and the runc that is added beside it must not say more the second time."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", "/nowhere")
    folder = tmp_path / "etc"
    folder.mkdir()
    table = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]'
    (folder / "config.toml").write_text(f"version = 2\n\n{table}\n")
    intent = Intent(
        name="nvidia",
        program="/usr/bin/nvidia-container-runtime",
        config=str(folder / "config.toml"),
        drop_in="",
    )

    check_round(ENGINES["containerd"], intent, folder)


def check_round(engine: Engine, intent: Intent, folder: Path) -> None:
    """Configure twice and undo: the files are then as before, or an error left them so."""
    before = files(folder)
    try:
        plan = engine.configure(intent)
        written = apply.configure(engine, intent, plan, lambda _: None)
    except NvidiaRuntimeError as error:
        assert str(error)
        assert files(folder) == before
        return
    summary = effect.summary(engine, intent.config)
    if engine.name != "containerd" or intent.drop_in == "" or intent.drop_in in written:
        assert "nvidia" in summary.runtimes
    assert summary.is_default or not intent.is_default
    again = apply.configure(engine, intent, engine.configure(intent), lambda _: None)
    assert again == []
    if written:
        apply.unconfigure(engine, intent, undo.plan(engine, intent), lambda _: None)
        assert files(folder) == before
        apply.unconfigure(engine, intent, undo.plan(engine, intent), lambda _: None)
        assert files(folder) == before
