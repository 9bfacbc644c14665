# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi generate: its flags and variables, its files, its messages."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import simulated
from cdi.test_engine_support import install
from host import trees

from nvidia_runtime.cdi import spec as cdi_spec

from . import ctk

PROGRAM = "import sys; sys.path.insert(0, {!r}); from nvidia_runtime.cli import main; main()"
# For a machine without DRM nodes, and so without groups.
MACHINE = "a100x8"


def run(*words: str, machine: str = MACHINE, **options: Any) -> ctk.Ended:
    """Generate on a simulated machine."""
    env = {"PATH": os.environ["PATH"], **ctk.HOOK} | options.pop("env", {})
    argv = [sys.executable, "-c", PROGRAM.format(os.fspath(simulated.TREE)), "cdi", "generate"]
    got = simulated.run(machine, [*argv, *words], env=env, **options)
    assert "Traceback" not in got.stderr
    return ctk.Ended(got.returncode, got.stdout, got.stderr)


def spec(ended: ctk.Ended) -> dict[str, Any]:
    """Return the spec on stdout, which must be valid."""
    assert ended.code == 0, ended.err
    return cdi_spec.parse(ended.out.encode(), "stdout")


def names(document: dict[str, Any]) -> list[str]:
    return [device["name"] for device in document["devices"]]


def verbs(document: dict[str, Any]) -> list[str]:
    return [hook["args"][1] for hook in document["containerEdits"].get("hooks", [])]


INDICES = [*"01234567", "all"]


def test_defaults() -> None:
    ended = run()

    document = spec(ended)
    assert document["kind"] == "nvidia.com/gpu"
    assert names(document)[:8] == INDICES[:8]
    assert len(names(document)) == 17
    assert ended.err == "Generated CDI spec with version 0.5.0\n"


@pytest.mark.parametrize(
    ("words", "env", "expected"),
    [
        pytest.param(["--device-name-strategy=index"], {}, INDICES, id="flag"),
        pytest.param(
            [], {"NVIDIA_CTK_CDI_GENERATE_DEVICE_NAME_STRATEGIES": "index"}, INDICES, id="variable"
        ),
        pytest.param(
            ["--device-name-strategy=index"],
            {"NVIDIA_CTK_CDI_GENERATE_DEVICE_NAME_STRATEGIES": "uuid"},
            INDICES,
            id="the flag beats the variable",
        ),
        pytest.param(
            ["--device-name-strategy=index,type-index", "--device-id=1"],
            {},
            ["1", "all", "gpu1"],
            id="a list with commas",
        ),
        pytest.param(
            ["--device=1", "--devices=3", "--device-name-strategy=index"],
            {},
            ["1", "3", "all"],
            id="repeated",
        ),
        pytest.param(
            ["--no-all-device", "--device-name-strategy=index"], {}, INDICES[:8], id="no all"
        ),
        pytest.param(
            ["--device-name-strategy=index"],
            {"NVIDIA_CTK_CDI_GENERATE_NO_ALL_DEVICE": "true"},
            INDICES[:8],
            id="no all by variable",
        ),
        pytest.param(
            ["--no-all-device=false", "--device-name-strategy=index"],
            {"NVIDIA_CTK_CDI_GENERATE_NO_ALL_DEVICE": "true"},
            INDICES,
            id="all in spite of the variable",
        ),
    ],
)
def test_names(words: list[str], env: dict[str, str], expected: list[str]) -> None:
    assert names(spec(run(*words, env=env))) == expected


def test_none() -> None:
    ended = run("--device-id=none")

    assert names(spec(ended)) == ["none"]
    assert "warning: with the device none there is no device all\n" in ended.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--disable-hook=all"], [], id="none"),
        pytest.param(
            ["--disable-hooks=all", "--enable-hook=enable-cuda-compat"],
            ["enable-cuda-compat"],
            id="one",
        ),
    ],
)
def test_hooks(words: list[str], expected: list[str]) -> None:
    assert verbs(spec(run(*words))) == expected


def test_hooks_in_one_call() -> None:
    (hook,) = spec(run("--hooks=combined"))["containerEdits"]["hooks"]

    assert hook["args"].count("--then") == 5
    assert hook["args"][1] == "create-symlinks"
    assert hook["args"][-1] == "update-application-profile"


@pytest.mark.parametrize(
    ("given", "path", "first"),
    [
        pytest.param("/opt/nvidia-cdi-hook", "/opt/nvidia-cdi-hook", "nvidia-cdi-hook", id="path"),
        pytest.param("/opt/nvidia-ctk", "/opt/nvidia-ctk", "nvidia-ctk", id="path of nvidia-ctk"),
        pytest.param("nvidia-ctk", "/usr/bin/nvidia-ctk", "nvidia-ctk", id="name"),
        pytest.param("", "/usr/bin/nvidia-cdi-hook", "nvidia-cdi-hook", id="default"),
    ],
)
def test_program_of_hooks(given: str, path: str, first: str) -> None:
    got = run(env={"PATH": "/nowhere", "NVIDIA_CTK_CDI_HOOK_PATH": given})
    document = spec(got)

    missing = f"warning: {path} is not on this machine; --nvidia-cdi-hook-path names another\n"
    assert (missing in got.err) == ("/" not in given)
    hook = document["containerEdits"]["hooks"][-1]
    assert hook["path"] == path
    assert hook["args"][0] == first
    assert hook["args"][1:] == [
        *["hook"] * (first == "nvidia-ctk"),
        "update-application-profile",
    ]


def test_program_of_hooks_beside_nvidia_ctk_comes_first(tmp_path: Path) -> None:
    ctk_program, hook = tmp_path / "nvidia-ctk", tmp_path / "nvidia-cdi-hook"
    ctk_program.write_text(PROGRAM.format(os.fspath(simulated.TREE)))
    hook.touch(0o755)

    got = simulated.run(
        MACHINE, [sys.executable, str(ctk_program), "cdi", "generate"], env={"PATH": "/nowhere"}
    )

    document = spec(ctk.Ended(got.returncode, got.stdout, got.stderr))
    assert {entry["path"] for entry in document["containerEdits"]["hooks"]} == {str(hook)}
    assert "is not on this machine" not in got.stderr


def test_ldconfig() -> None:
    document = spec(run("--ldconfig-path=/sbin/ldconfig.real"))

    (hook,) = [h for h in document["containerEdits"]["hooks"] if h["args"][1] == "update-ldcache"]
    assert hook["args"][2:4] == ["--ldconfig-path", "/sbin/ldconfig.real"]


@pytest.mark.parametrize(
    ("name", "more", "files"),
    [
        pytest.param("spec.yaml", [], {"spec.yaml": "yaml"}, id="YAML by name"),
        pytest.param("spec.json", [], {"spec.json": "json"}, id="JSON by name"),
        pytest.param("spec", [], {"spec.yaml": "yaml"}, id="no extension"),
        pytest.param("spec", ["--format=JSON"], {"spec.json": "json"}, id="format"),
        pytest.param("a/b/spec.yml", [], {"a/b/spec.yml.yaml": "yaml"}, id="new folders"),
        pytest.param("spec.yaml", ["--format=json"], {"spec.yaml": "yaml"}, id="name beats format"),
    ],
)
def test_output(name: str, more: list[str], files: dict[str, str], tmp_path: Path) -> None:
    ended = run(f"--output={tmp_path}/{name}", *more)

    assert (ended.code, ended.out) == (0, "")
    outputs = {str(f.relative_to(tmp_path)): f for f in tmp_path.rglob("*") if f.is_file()}
    assert outputs.keys() == files.keys()
    for path, form in files.items():
        text = outputs[path].read_text()
        assert text.startswith("{" if form == "json" else "---\n")
        assert outputs[path].stat().st_mode & 0o777 == 0o644
        cdi_spec.parse(text.encode(), path)
    warned = "warning: the format is yaml, by the name of the file, not json" in ended.err
    assert warned is (name == "spec.yaml" and bool(more))


def test_json_on_stdout() -> None:
    ended = run("--format=json")

    assert json.loads(ended.out) == spec(run())


def test_coherent_and_others(tmp_path: Path) -> None:
    ended = run(
        "--feature-flag=enable-coherent-annotations",
        f"--output={tmp_path}/nvidia.yaml",
        machine="gb200x4",
    )

    assert ended.code == 0
    kinds = {f.name: cdi_spec.parse(f.read_bytes(), f.name)["kind"] for f in tmp_path.iterdir()}
    assert kinds == {
        "nvidia.yaml": "nvidia.com/gpu",
        "nvidia.coherent.yaml": "nvidia.com/gpu.coherent",
    }


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        (["--format=toml"], "unknown format 'toml'", "formats are yaml and json"),
        (["--mode=x"], "unknown mode 'x'", "modes are auto, nvml"),
        (["--device-name-strategy=x"], "unknown device name strategy 'x'", "index, type-index"),
        (["--class=a/b"], "kind 'nvidia.com/a/b': class 'a/b' has an invalid character", ""),
        (["--enable-hook=all"], "--enable-hook needs names of hooks, not 'all'", ""),
        (["--device-id=9"], "this machine has no device '9'", "nvidia-smi -L"),
        (["--spec-version=0.3.0"], "CDI 0.3.0 cannot express this spec", "ask for 0.5.0"),
        (["--spec-version=2"], "unknown CDI version '2'", "versions are 0.1.0"),
        (["--patience=0"], "--patience must be from 0.01 to 86400 seconds", ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_makes_no_sense(words: list[str], says: str, hint: str) -> None:
    ended = run(*words)

    assert (ended.code, ended.out) == (1, "")
    assert f"nvidia-ctk: {says}" in ended.err
    assert hint in ended.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--disable-hook=ldcache"], "there is no hook 'ldcache'; the hooks are chmod, "),
        (["--feature-flag=fast"], "the feature flag 'fast' has no effect; the flags are "),
    ],
)
def test_what_is_odd(words: list[str], says: str) -> None:
    ended = run(*words)

    assert ended.code == 0
    assert f"warning: {says}" in ended.err


def test_a_sick_gpu_is_left_out_and_named(tmp_path: Path) -> None:
    ended = run("--device-name-strategy=index", lose=[3])

    assert names(spec(ended)) == [name for name in INDICES if name != "3"]
    assert "warning: left out: GPU 3 (0000:4e:00.0) is lost: " in ended.err


@pytest.mark.parametrize("is_named", [True, False], ids=["named", "the runtime's own"])
def test_driver_root_of_config_toml(is_named: bool, tmp_path: Path) -> None:
    config = tmp_path / "nvidia-container-runtime/config.toml"
    config.parent.mkdir()
    config.write_text(f'[nvidia-container-cli]\nroot = "{tmp_path}/driver"\n')
    (tmp_path / "driver").mkdir()
    flags = ["--config", str(config)] if is_named else []
    variables = {} if is_named else {"XDG_CONFIG_HOME": str(tmp_path)}

    ended = ctk.run(*flags, "cdi", "generate", "--mode=nvml", **variables)
    other = ctk.run(*flags, "cdi", "generate", "--driver-root=/x", "--mode=nvml", **variables)

    assert f"{tmp_path}/driver: has no libnvidia-ml.so.1" in ended.err
    assert "/x: has no libnvidia-ml.so.1" in other.err
    config.write_text("root = \n")
    broken = ctk.run(*flags, "cdi", "generate", "--mode=nvml", **variables)
    assert broken.code == 1
    assert f"{config}: is not TOML" in broken.err
    assert ("the driver root is /" in broken.err) is not is_named


@pytest.mark.parametrize(
    ("engines", "version", "says"),
    [
        pytest.param(
            {"podman": "4.9.3"},
            "0.6.0",
            "CDI 0.6.0 is the newest version that podman 4.9.3 is known to read",
            id="podman 4.9",
        ),
        pytest.param(
            {"podman": "5.4.0"},
            "0.8.0",
            "CDI 0.8.0 is the newest version that podman 5.4.0 is known to read",
            id="podman 5.4",
        ),
        pytest.param(
            {"podman": "4.1.1"},
            "0.5.0",
            "podman 4.1.1 is not known to read any spec",
            id="too old",
        ),
        pytest.param({}, "0.7.0", "no container engine with CDI found", id="none"),
    ],
)
def test_version_of_the_engines(
    engines: dict[str, str], version: str, says: str, tmp_path: Path
) -> None:
    """A spec that all of them accept: before 0.7.0 it has no additional groups."""
    path = install(tmp_path, **engines)

    ended = run("--spec-version=engines", machine="t4x1", env={"PATH": path})

    document = spec(ended)
    assert document["cdiVersion"] == version
    has_gids = any("additionalGids" in device["containerEdits"] for device in document["devices"])
    assert has_gids is (version >= "0.7.0")
    assert says in ended.err


def test_no_driver(tmp_path: Path) -> None:
    root = trees.make(tmp_path, {"usr/lib/": ""})

    ended = ctk.run("cdi", "generate", f"--driver-root={root}", "--mode=nvml")

    assert (ended.code, ended.out) == (1, "")
    assert f"nvidia-ctk: {root}: has no libnvidia-ml.so.1: no driver is installed" in ended.err


# A GPU whose nodes belong to a group, on a machine with an engine that knows no groups.
POD = {"podman": "4.9.3"}
LACKS = "warning: CDI {} lacks additionalGids: users other than root need the nodes' groups\n"
NEWEST = "0.6.0, the newest that podman 4.9.3 reads,"


def settings(folder: Path, *lines: str) -> dict[str, str]:
    """Write a config.toml whose spec dir is the folder's; return what names it."""
    file = folder / "nvidia-container-runtime/config.toml"
    file.parent.mkdir()
    dirs = f"[nvidia-container-runtime.modes.cdi]\nspec-dirs = [{json.dumps(f'{folder}/cdi')}]\n"
    file.write_text("".join(f"{line}\n" for line in lines) + dirs)
    (folder / "cdi").mkdir()
    return {"XDG_CONFIG_HOME": os.fspath(folder)}


@pytest.mark.parametrize(
    ("where", "version", "says"),
    [
        pytest.param("cdi/nvidia.json", "0.5.0", LACKS.format(NEWEST), id="where engines look"),
        pytest.param("nvidia.json", "0.7.0", "", id="elsewhere"),
    ],
)
def test_spec_for_engines_has_what_they_read(
    where: str, version: str, says: str, tmp_path: Path
) -> None:
    """The oldest version that holds the content, without what an engine here does not know."""
    env = {"PATH": install(tmp_path, **POD), **settings(tmp_path)}

    ended = run(f"--output={tmp_path / where}", machine="t4x1", env=env)

    assert ended.code == 0, ended.err
    assert json.loads((tmp_path / where).read_text())["cdiVersion"] == version
    assert [line for line in ended.err.splitlines(keepends=True) if "Gids" in line] == (
        [says] if says else []
    )


@pytest.mark.parametrize(
    ("words", "variables", "lines", "version"),
    [
        pytest.param([], {"SPEC_VERSION": "0.5.0"}, [], "0.5.0", id="variable"),
        pytest.param([], {}, ['cdi-spec-version = "v0.6.0"'], "0.6.0", id="setting"),
        pytest.param(
            [], {"SPEC_VERSION": "0.8.0"}, ['cdi-spec-version = "0.5.0"'], "0.8.0", id="both"
        ),
        pytest.param(["--spec-version=1.0.0"], {"SPEC_VERSION": "0.5.0"}, [], "1.0.0", id="flag"),
        pytest.param([], {}, ['cdi-spec-version = "engines"'], "0.6.0", id="engines"),
        pytest.param([], {}, ['cdi-spec-version = "content"'], "0.7.0", id="content"),
    ],
)
def test_version_is_pinned(
    words: list[str], variables: dict[str, str], lines: list[str], version: str, tmp_path: Path
) -> None:
    env = {"PATH": install(tmp_path, **POD), **settings(tmp_path, "[nvidia-ctk]", *lines)}
    env |= {f"NVIDIA_CTK_CDI_GENERATE_{name}": value for name, value in variables.items()}

    ended = run(*words, machine="t4x1", env=env)

    assert spec(ended)["cdiVersion"] == version
    assert ("lacks additionalGids" in ended.err) is (version < "0.7.0")
