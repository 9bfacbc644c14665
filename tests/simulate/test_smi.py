# SPDX-License-Identifier: Apache-2.0
"""The simulated nvidia-smi writes what the real one writes, where scripts read it.

The files of ``smi`` are what it says on some machines; each name is that of a case.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import simulated

from nvidia_runtime.simulate import build, catalogue, compiler, faults, nvml, programs

SAID = Path(__file__).with_name("smi")
MISSING = "/nowhere/mock-nvml.conf"
LOST = "GPU is lost.  Reboot the system to recover this GPU"
TIME = re.compile(r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}")
CSV = "--format=csv"
# What device plugins, exporters and job scripts ask for.
USUAL = (
    "index,uuid,pci.bus_id,name,driver_version,memory.total,memory.used,memory.free,utilization.gpu,"
    "temperature.gpu,fan.speed,power.draw,power.limit,clocks.sm,clocks.max.mem,pstate,compute_cap,"
    "compute_mode,persistence_mode,ecc.mode.current,ecc.errors.uncorrected.volatile.total,"
    "mig.mode.current,pcie.link.gen.current,pcie.link.width.max,serial,vbios_version"
)
DISPLAYS = "ecc,MEMORY"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with nvidia-smi and a library without settings."""
    simulated.need_nvml()
    folder = tmp_path_factory.mktemp("smi")
    machine = catalogue.find("t4x1")
    (folder / "libnvidia-ml.so.1").write_bytes(nvml.library(machine.faults))
    (folder / "nvidia-smi").write_bytes(programs.smi(machine).data)
    (folder / "nvidia-smi").chmod(0o755)
    return folder


def smi(folder: Path, machine: str, *words: str, **options: Any) -> tuple[int, str]:
    """Run nvidia-smi as on a machine with faults; return its exit code and what it says."""
    settings = folder / "mock-nvml.conf"
    settings.write_text(nvml.settings(faults.apply(catalogue.find(machine), **options)))
    return run(folder, *words)


def run(folder: Path, *words: str, **env: str) -> tuple[int, str]:
    done = subprocess.run(
        [folder / "nvidia-smi", *words],
        env={"LD_LIBRARY_PATH": os.fspath(folder), **env},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("case", "machine", "words"),
    [
        pytest.param("table", "a100x8", (), id="table"),
        pytest.param("table-mig", "a100x8mig", (), id="table with MIG devices"),
        pytest.param("table-mig-empty", "a100x8mig", ("-i", "3,4"), id="MIG mode without devices"),
        pytest.param("table-coherent", "gb200x4", (), id="table of large numbers"),
        pytest.param("table-soc", "orin", (), id="table of a SoC's driver"),
        pytest.param("list", "a100x8mig", ("-L",), id="list"),
        pytest.param("all", "h100x8", ("-q", "-i", "1"), id="all of a GPU"),
        pytest.param("all-mig", "a100x8mig", ("-q", "--id=2"), id="all of a GPU with MIG devices"),
        pytest.param("display", "t4x1", ("-q", "-d", DISPLAYS), id="parts"),
        pytest.param("query", "t4x1", (f"--query-gpu={USUAL}", CSV), id="query"),
        pytest.param("query-mig", "a100x8mig", (f"--query-gpu={USUAL}", CSV), id="query, MIG"),
        pytest.param("query-soc", "orin", (f"--query-gpu={USUAL}", CSV), id="query, SoC"),
        pytest.param("fields", "t4x1", ("--help-query-gpu",), id="fields"),
        pytest.param("version", "h100x8", ("--version",), id="version"),
    ],
)
def test_says(folder: Path, case: str, machine: str, words: tuple[str, ...]) -> None:
    code, said = smi(folder, machine, *words)

    assert TIME.sub("[time]", said) == (SAID / f"{case}.txt").read_text()
    assert code == 0


def test_every_line_of_the_table_is_as_wide(folder: Path) -> None:
    for machine, width in (("rtxpro_miggfx", 91), ("a100x8mig56", 91), ("orin", 89)):
        _, said = smi(folder, machine)
        widths = {len(line) for line in said.splitlines()[1:] if line}
        assert widths == {width}, machine


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("csv", "name, memory.total [MiB], fan.speed [%]\nTesla T4, 15360 MiB, [N/A]\n"),
        ("csv,noheader", "Tesla T4, 15360 MiB, [N/A]\n"),
        ("csv,noheader,nounits", "Tesla T4, 15360, [N/A]\n"),
        ("csv,nounits", "name, memory.total [MiB], fan.speed [%]\nTesla T4, 15360, [N/A]\n"),
    ],
)
def test_forms_of_a_query(folder: Path, form: str, said: str) -> None:
    query = "--query-gpu=gpu_name,memory.total,fan.speed"

    assert smi(folder, "t4x1", query, f"--format={form}") == (0, said)


def test_no_process_uses_a_gpu(folder: Path) -> None:
    query = "--query-compute-apps=pid,name,used_memory"

    assert smi(folder, "t4x1", query, CSV) == (0, "pid, process_name, used_gpu_memory [MiB]\n")
    assert smi(folder, "t4x1", query, f"{CSV},noheader") == (0, "")


def test_gpus_are_chosen_by_all_their_names(folder: Path) -> None:
    gpu = catalogue.find("a100x8").gpus[5]
    for name in ("5", gpu.uuid, gpu.serial, f"0000{gpu.bus_id}", gpu.bus_id.upper()):
        code, said = smi(folder, "a100x8", "-L", "-i", name)
        assert (code, said) == (0, f"GPU 5: {gpu.name} (UUID: {gpu.uuid})\n"), name


def test_lost_gpu_is_chosen_by_its_address(folder: Path) -> None:
    address = catalogue.find("a100x8").gpus[1].bus_id.upper()
    for name in ("1", address, f"0000{address}"):
        code, said = smi(folder, "a100x8", "-L", "-i", name, lose=[1])
        said_of_it = f"Unable to determine the device handle for GPU1: {address}: {LOST}\n"
        assert (code, said) == (6, f"{said_of_it}No devices were found\n"), name


def test_all_of_many_uuids_count(folder: Path) -> None:
    gpus = catalogue.find("a100x8").gpus
    names = ",".join([gpu.uuid for gpu in gpus] * 3)

    code, said = smi(folder, "a100x8", "--query-gpu=uuid", f"{CSV},noheader", "-i", names)
    assert (code, said.split()) == (0, [gpu.uuid for gpu in gpus])
    last = ",".join([gpu.uuid for gpu in gpus[:1]] * 20 + [gpus[7].uuid])
    _, said = smi(folder, "a100x8", "--query-gpu=index", f"{CSV},noheader", "-i", last)
    assert said.split() == ["0", "7"]


@pytest.mark.parametrize(
    ("machine", "words", "options", "code", "said"),
    [
        pytest.param(
            "t4x1", (), {"mismatch": True}, 18,
            "Failed to initialize NVML: Driver/library version mismatch\n"
            "NVML library version: 580.95\n",
            id="another module",
        ),
        pytest.param(
            "nogpu", ("-L",), {}, 9,
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure"
            " that the latest NVIDIA driver is installed and running.\n\n",
            id="no module",
        ),
        pytest.param("t4x1", (), {"remove": [0]}, 6, "No devices were found\n", id="no GPU"),
        pytest.param("t4x1", ("-i", "7"), {}, 6, "No devices were found\n", id="another GPU"),
        pytest.param(
            "t4x1", (), {"lose": [0]}, 6,
            f"Unable to determine the device handle for GPU0: 0000:00:1E.0: {LOST}\n"
            "No devices were found\n",
            id="only GPU is lost",
        ),
        pytest.param(
            "gb200x4", ("--query-gpu=index", f"{CSV},noheader"), {"lose": [2]}, 15,
            f"0\n1\nUnable to determine the device handle for GPU2: 0018:01:00.0: {LOST}\n3\n",
            id="one GPU is lost",
        ),
        pytest.param(
            "orin", (), {"fail": ["nvmlDeviceGetHandleByIndex:999@0"]}, 255,
            "Unable to determine the device handle for GPU0000:00:00.0: Unknown Error\n",
            id="unknown error, older driver",
        ),
        pytest.param(
            "t4x1", (), {"fail": ["nvmlInit:4"]}, 4,
            "Failed to initialize NVML: Insufficient Permissions\n",
            id="not permitted",
        ),
        pytest.param(
            "t4x1", (), {"fail": ["nvmlInit:999"]}, 255,
            "Failed to initialize NVML: Unknown Error\n",
            id="unknown error",
        ),
        pytest.param(
            "t4x1", ("--query-gpu=name,cuda_version", CSV), {}, 2,
            'Field "cuda_version" is not a valid field to query.\n\n',
            id="no such field",
        ),
        pytest.param(
            "t4x1", ("--query-gpu=name,pstate", f"{CSV},noheader"),
            {"fail": ["nvmlDeviceGetPerformanceState:999@0"]}, 0,
            "Tesla T4, [Unknown Error]\n",
            id="field that fails",
        ),
        pytest.param(
            "a100x8", ("--query-gpu=index,gpu_recovery_action", f"{CSV},noheader"),
            {"xid": ["48@1", "119@2"], "remove": range(3, 8)}, 0,
            "0, None\n1, Reset\n2, Reboot\n",
            id="Xids",
        ),
        pytest.param(
            "t4x1", ("-L",), {"xid": ["79@0"]}, 6,
            f"Unable to determine the device handle for GPU0: 0000:00:1E.0: {LOST}\n"
            "No devices were found\n",
            id="Xid of a GPU that has fallen off the bus",
        ),
        pytest.param(
            "t4x1", ("--query-gpu=name",), {}, 2,
            "\"--format=\" switch is missing. Please run 'nvidia-smi -h' for help.\n",
            id="no form",
        ),
        pytest.param(
            "t4x1", ("-L", "-q"), {}, 2,
            "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n",
            id="two things at once",
        ),
        pytest.param(
            "t4x1", (CSV,), {}, 2,
            "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n",
            id="form of nothing",
        ),
        pytest.param(
            "t4x1", ("-d", "MEMORY"), {}, 2,
            "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n",
            id="parts of nothing",
        ),
        pytest.param(
            "t4x1", ("--query-gpu=name", "--format=noheader"), {}, 2,
            "\"--format=\" switch is missing. Please run 'nvidia-smi -h' for help.\n",
            id="form without csv",
        ),
        pytest.param(
            "t4x1", ("--query-gpu=name", "--format=csv,no-header"), {}, 2,
            "ERROR: Option no-header is not recognized. Please run 'nvidia-smi -h' for help.\n",
            id="no such form",
        ),
        pytest.param(
            "t4x1", ("--query-gpu=", CSV), {}, 2,
            'Field "" is not a valid field to query.\n\n',
            id="no field",
        ),
        pytest.param(
            "t4x1", ("--query-compute-apps=,", CSV), {}, 2,
            'Field "" is not a valid field to query.\n\n',
            id="no field of processes",
        ),
        pytest.param(
            "t4x1", ("topo", "-m"), {}, 3,
            "nvidia-smi: the simulated one cannot do 'topo'; see nvidia-smi -h\n",
            id="what it cannot do",
        ),
    ],
)  # fmt: skip
def test_fails(
    folder: Path,
    machine: str,
    words: tuple[str, ...],
    options: dict[str, Any],
    code: int,
    said: str,
) -> None:
    assert smi(folder, machine, *words, **options) == (code, said)


def test_lost_gpu_is_not_in_the_table(folder: Path) -> None:
    code, said = smi(folder, "a100x8", lose=[1])

    first, _, *rest = said.splitlines()
    assert first == f"Unable to determine the device handle for GPU1: 0000:0F:00.0: {LOST}"
    rows = [line[1:5].strip() for line in rest if "A100" in line]
    assert (rows, code) == (["0", "2", "3", "4", "5", "6", "7"], 15)


def test_value_that_fails_is_marked_in_the_table(folder: Path) -> None:
    _, said = smi(folder, "t4x1", fail=["nvmlDeviceGetTemperature:999@0"])

    assert "| N/A  ERR!  P0" in said


def test_crash_and_hang_of_nvml_are_its_own(folder: Path) -> None:
    assert smi(folder, "t4x1", crash=["nvmlDeviceGetName@0"])[0] == -signal.SIGSEGV
    (folder / "mock-nvml.conf").write_text(
        nvml.settings(faults.apply(catalogue.find("t4x1"), hang=["nvmlDeviceGetName@0"]))
    )
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            [folder / "nvidia-smi"],
            env={"LD_LIBRARY_PATH": os.fspath(folder)},
            stdout=subprocess.DEVNULL,
            timeout=0.5,
            check=False,
        )


def test_function_that_nvml_lacks_is_an_error(folder: Path, tmp_path: Path) -> None:
    machine = faults.apply(catalogue.find("t4x1"), without=["nvmlDeviceGetTemperature"])
    (tmp_path / "libnvidia-ml.so.1").write_bytes(nvml.carrying(machine))
    (tmp_path / "mock-nvml.conf").write_text(nvml.settings(machine))
    query = ("--query-gpu=temperature.gpu", f"{CSV},noheader")

    said = run(folder, *query, LD_LIBRARY_PATH=os.fspath(tmp_path))

    assert said == (0, "[Function Not Found]\n")


def test_library_that_is_missing(folder: Path, tmp_path: Path) -> None:
    if (
        "libnvidia-ml.so.1"
        in subprocess.run(
            ["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False
        ).stdout
    ):
        pytest.skip("this machine has NVIDIA's driver")
    code, said = run(folder, LD_LIBRARY_PATH=os.fspath(tmp_path))

    assert code == 12
    assert said.startswith("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.")


def test_without_a_compiler_it_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_made", None)
    for machine in catalogue.machines():
        files = build.driver_root(faults.apply(machine, without_code=True))

        said = {path: file for path, file in files.items() if path.endswith("/nvidia-smi")}
        assert set(said.values()) == {programs.silent()}, machine.name
        assert programs.DEVICE_QUERY not in files
