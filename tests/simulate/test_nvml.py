# SPDX-License-Identifier: Apache-2.0
"""The simulated NVML answers as the machine is described, and fails as it is told to."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import simulated

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import cache, catalogue, faults, nvml
from nvidia_runtime.simulate.compiler import FOLDER
from nvidia_runtime.simulate.machine import Faults, SimulatedMachine

WALK = Path(__file__).with_name("nvml_walk.py")
LOST, UNKNOWN, MISMATCH, NOT_LOADED = 15, 999, 18, 9
LOADED = [machine for machine in catalogue.machines() if machine.loaded]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the library, and none of its settings."""
    simulated.need_nvml()
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "libnvidia-ml.so.1").write_bytes(nvml.library(Faults()))
    return folder


def ask(machine: SimulatedMachine, folder: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Walk over all handles of a machine."""
    library = folder / "libnvidia-ml.so.1"
    if machine.faults.without:
        library = folder / "less.so"
        library.write_bytes(nvml.library(machine.faults))
    settings = folder / f"{machine.name}.conf"
    settings.write_text(nvml.settings(machine))
    return subprocess.run(
        [sys.executable, "-I", "-S", os.fspath(WALK), os.fspath(library)],
        env={"MOCK_NVML_CONFIG": os.fspath(settings), **more.pop("env", {})},
        capture_output=True,
        text=True,
        check=False,
        **more,
    )


def gpus(machine: SimulatedMachine, folder: Path) -> list[dict[str, Any]]:
    done = ask(machine, folder)
    assert (done.returncode, done.stderr) == (0, "")
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("machine", LOADED, ids=lambda machine: machine.name)
def test_says_what_the_machine_has(machine: SimulatedMachine, folder: Path) -> None:
    answers = gpus(machine, folder)

    assert [(gpu["uuid"], gpu["name"], gpu["minor"]) for gpu in answers] == [
        (gpu.uuid, gpu.name, gpu.minor) for gpu in machine.own_gpus
    ]
    assert [gpu["bus_id"] for gpu in answers] == [
        f"0000{gpu.bus_id.upper()}" if gpu.bus_id else "error 3" for gpu in machine.own_gpus
    ]
    assert [(mig["uuid"], mig["gi"], mig["ci"]) for gpu in answers for mig in gpu["migs"]] == [
        (mig.uuid, mig.gpu_instance, mig.compute_instance)
        for gpu in machine.own_gpus
        for mig in gpu.mig_devices
    ]


def test_coherent_memory(folder: Path) -> None:
    ats, not_supported = 2, -3

    assert {gpu["addressing"] for gpu in gpus(catalogue.find("gb200x4"), folder)} == {ats}
    assert {gpu["addressing"] for gpu in gpus(catalogue.find("t4x1"), folder)} == {not_supported}


def test_memory_of_the_cpu_is_not_the_gpus(folder: Path) -> None:
    """As nvidia-smi says on a DGX Spark: Not Supported."""
    assert [gpu["memory"] for gpu in gpus(catalogue.find("gb10"), folder)] == [-3]
    assert [gpu["memory"] for gpu in gpus(catalogue.find("gh200"), folder)] == [97871]


def test_mig_devices_are_called_by_their_profiles(folder: Path) -> None:
    a100 = gpus(catalogue.find("a100x8mig"), folder)
    rtx = gpus(catalogue.find("rtxpro_miggfx"), folder)

    assert [mig["name"] for mig in a100[1]["migs"]] == [
        "NVIDIA A100-SXM4-40GB MIG 4g.20gb",
        "NVIDIA A100-SXM4-40GB MIG 2g.10gb",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
    ]
    assert [mig["name"].partition("MIG ")[2] for mig in a100[2]["migs"]] == [
        "1c.3g.20gb",
        "2c.3g.20gb",
    ]
    assert [mig["name"].partition("MIG ")[2] for mig in rtx[0]["migs"]] == [
        "1g.24gb+gfx",
        "1g.24gb",
        "2g.48gb+gfx",
    ]
    assert [mig["memory"] for mig in rtx[0]["migs"]] == [24192, 24192, 48512]


def test_fault_of_one_gpu_is_not_that_of_others(folder: Path) -> None:
    machine = faults.apply(catalogue.find("a100x8"), fail=["nvmlDeviceGetUUID:15@3"], lose=[5])

    answers = gpus(machine, folder)

    uuids = [gpu.get("uuid") for gpu in answers]
    assert uuids[3] == "error 15"
    assert answers[5] == {"error": LOST}
    healthy = [index for index in range(8) if index not in (3, 5)]
    assert [uuids[index] for index in healthy] == [machine.gpus[i].uuid for i in healthy]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        pytest.param({"mismatch": True}, MISMATCH, id="mismatch"),
        pytest.param({"fail": ["nvmlInit:999"]}, UNKNOWN & 0xFF, id="init, whatever its version"),
        pytest.param({"crash": ["nvmlInit"]}, -signal.SIGSEGV, id="crash"),
        pytest.param(
            {"crash": ["nvmlDeviceGetMinorNumber@7"]}, -signal.SIGSEGV, id="crash of one GPU"
        ),
    ],
)
def test_fault_ends_the_program(options: dict[str, Any], code: int, folder: Path) -> None:
    machine = faults.apply(catalogue.find("a100x8"), **options)

    assert ask(machine, folder).returncode == code


def test_without_gpus_the_driver_is_not_loaded(folder: Path) -> None:
    assert ask(catalogue.find("nogpu"), folder).returncode == NOT_LOADED


def test_hang_never_returns(folder: Path) -> None:
    machine = faults.apply(catalogue.find("a100x8"), hang=["nvmlDeviceGetName@1"])

    with pytest.raises(subprocess.TimeoutExpired):
        ask(machine, folder, timeout=0.5)


def test_missing_function_is_missing_for_the_loader(folder: Path) -> None:
    machine = faults.apply(catalogue.find("t4x1"), without=["nvmlDeviceGetMinorNumber"])

    done = ask(machine, folder)

    assert "undefined symbol: nvmlDeviceGetMinorNumber" in done.stderr
    assert ask(catalogue.find("t4x1"), folder).returncode == 0


def test_attaching_takes_its_time_once_for_each_gpu(folder: Path) -> None:
    machine = faults.apply(catalogue.find("a100x8"), init_us=20000, attach_us=10000)
    trace = folder / "trace"

    ask(machine, folder, env={"MOCK_NVML_TRACE": os.fspath(trace)})

    calls = [line.split() for line in trace.read_text().splitlines()]
    times = [int(call[1]) for call in calls]
    taken = times[-1] - times[0]
    assert 80000 <= taken < 1000000
    assert [call[2] for call in calls].count("nvmlDeviceGetHandleByIndex_v2") == 8
    assert (calls[0][2], calls[0][3]) == ("nvmlInit_v2", "0")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"fail": ["nvmlInit"]},
            "--fail takes FUNCTION:RESULT[@GPU], such as nvmlDeviceGetUUID:15@3, not 'nvmlInit'",
        ),
        (
            {"hang": ["nvmlInit:3"]},
            "--hang takes FUNCTION[@GPU], such as nvmlDeviceGetUUID@3, not 'nvmlInit:3'",
        ),
        ({"crash": ["nvmlDeviceGetName@8"]}, "--crash: there is no GPU 8"),
        ({"lose": [8]}, "--lose: there is no GPU 8"),
        ({"remove": [-1]}, "--remove: there is no GPU -1"),
        (
            {"without": ["nvmlDoesNotExist"]},
            "the simulated NVML has no function 'nvmlDoesNotExist'",
        ),
        ({"without": ["strcpy"]}, "the simulated NVML has no function 'strcpy'"),
    ],
)
def test_fault_that_cannot_be_is_an_error(options: dict[str, Any], says: str, folder: Path) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        nvml.library(faults.apply(catalogue.find("a100x8"), **options).faults)

    assert str(error.value) == says


class TestCompiling:
    @pytest.fixture(autouse=True)
    def fresh(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Begin without anything in the cache."""
        monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))

    def test_happens_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        simulated.need_nvml()
        first = nvml.library(Faults())
        monkeypatch.setenv("PATH", "/nowhere")

        assert nvml.library(Faults()) == first
        (kept,) = (tmp_path / "nvidia-container-runtime").iterdir()
        assert kept.stat().st_mode & 0o777 == 0o600

    def test_without_a_compiler_the_next_step_is_said(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.delenv("CC", raising=False)

        with pytest.raises(NvidiaRuntimeError) as error:
            nvml.library(Faults())

        assert str(error.value) == (
            "what answers on a simulated machine has to be compiled, once, and there is no compiler"
            " 'cc'"
        )
        assert "apt-get install gcc libc6-dev" in error.value.hint

    def test_compiler_that_fails(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        compiler = tmp_path / "cc"
        compiler.write_text("#!/bin/sh\necho no headers >&2; exit 1\n")
        compiler.chmod(0o755)
        monkeypatch.setenv("CC", os.fspath(compiler))

        with pytest.raises(NvidiaRuntimeError) as error:
            nvml.library(Faults())

        says = f"{compiler} cannot compile what answers on a simulated machine: no headers"
        assert str(error.value) == f"{FOLDER}/mock_nvml.c: {says}"

    @pytest.mark.parametrize("mode", [0o777, 0o720], ids=["anybody", "group"])
    def test_cache_that_others_may_write_to_is_refused(self, mode: int, tmp_path: Path) -> None:
        cache = tmp_path / "nvidia-container-runtime"
        cache.mkdir()
        cache.chmod(mode)

        with pytest.raises(NvidiaRuntimeError) as error:
            nvml.library(Faults())

        assert str(error.value) == f"{cache}: belongs to others, or they may write to it"

    def test_library_of_another_user_is_not_loaded(self, tmp_path: Path) -> None:
        simulated.need_root()
        first = nvml.library(Faults())
        (kept,) = (tmp_path / "nvidia-container-runtime").iterdir()
        kept.write_bytes(b"hostile")
        os.chown(kept, 65534, 65534)

        assert nvml.library(Faults()) == first

    def test_home_of_another_user_is_not_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """sudo may leave the user's HOME to root."""
        simulated.need_root()
        os.chown(tmp_path, 65534, 65534)
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", os.fspath(tmp_path))

        assert cache.folder() == f"{pwd.getpwuid(0).pw_dir}/.cache/nvidia-container-runtime"

    def test_files_that_are_not_used_go(self, tmp_path: Path) -> None:
        for number in range(40):
            with cache.new(f"file-{number:02}") as path:
                Path(path).touch()
                os.utime(path, (number, number))
            cache.read("file-00")

        left = {path.name for path in (tmp_path / "nvidia-container-runtime").iterdir()}
        assert left == {"file-00"} | {f"file-{number:02}" for number in range(9, 40)}
