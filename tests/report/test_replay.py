# SPDX-License-Identifier: Apache-2.0
"""A report becomes a machine on which the same happens: the spec, and what doctor says."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
import shim
import simulated
import yaml
from cli import ctk

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.report import replay
from nvidia_runtime.simulate import build, description

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LOOK = """
exec 2>&1
ctk --quiet cdi generate --nvidia-cdi-hook-path=/usr/bin/nvidia-cdi-hook || echo failed
echo "== doctor"; ctk doctor --json
"""
SETTINGS = """
mkdir -p /etc/nvidia-container-runtime /etc/cdi
echo 'disable-require = true' >/etc/nvidia-container-runtime/config.toml
ctk --quiet cdi generate --output=/etc/cdi/nvidia.yaml || :
"""
# A machine, its faults, and what is done to it before the report.
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "lost": (
        "h100x8",
        {"lose": [2]},
        "rm /dev/nvidia-modeset /dev/nvidia5; chmod 600 /dev/nvidia1",
    ),
}
MORE: dict[str, tuple[str, dict[str, Any], str]] = {
    "MIG": ("a100x8mig", {}, SETTINGS),
    "mismatch": ("t4x1", {"mismatch": True}, "rm /usr/lib/x86_64-linux-gnu/libnvidia-cfg.so.*"),
    "graphics": ("rtxpro_miggfx", {}, ""),
    "coherent": ("gb200x4", {}, SETTINGS),
    "sick": ("a100x8", {"fail": ["nvmlDeviceGetUUID:999@1"], "crash": ["nvmlDeviceGetName@3"]}, ""),
    "init": ("t4x1", {"fail": ["nvmlInit:999"]}, ""),
    "removed": ("a100x8", {"remove": [0, 7]}, ""),
    "no driver": ("nogpu", {}, ""),
    "no CUDA": ("t4x1", {}, "rm /usr/lib/x86_64-linux-gnu/libcuda.so*"),
    "WSL": ("wsl2", {}, ""),
    "Jetson": ("orin", {}, ""),
    "container": ("a100x1of8", {}, ""),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with nvidia-ctk under a short name."""
    simulated.need_root()
    program = tmp_path / "ctk"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{ctk.PROGRAM}" "$@"\n')
    program.chmod(0o755)
    return tmp_path


def run(folder: Path, words: list[str]) -> str:
    """Run a command; return what it prints."""
    path = f"{folder}:{os.environ['PATH']}"
    env = {"PATH": path, "PYTHONPATH": str(shim.TREE), "HOME": os.environ.get("HOME", "/root")}
    got = subprocess.run(words, env=env, cwd=folder, capture_output=True, text=True, check=False)
    assert got.stderr == ""
    return got.stdout


def parsed(text: str) -> tuple[Any, Any]:
    """Return the spec, and what doctor says of the machine, with a word for each UUID.

    The spec's devices have the order of these.  Engines of this host are not the machine's, and
    which specs are ours stands in a file that no report has: it is run by what it says.
    """
    spec, _, said = UUID.sub("uuid", text).partition("== doctor\n")
    findings = [one for one in json.loads(said)["findings"] if not one["engine"]]
    fine = json.loads(said)["fine"]
    doctor = [{**one, "fix": None} for one in findings], fine["driver"], fine["devices"]
    try:
        document = yaml.safe_load(spec)
    except yaml.YAMLError:  # a sentence
        return spec, doctor
    if isinstance(document, dict):
        document["devices"].sort(key=str)
    return document, doctor


def replayed(folder: Path, case: tuple[str, dict[str, Any], str]) -> tuple[Any, Any]:
    """Return what a machine says of itself, and what its report's says."""
    name, faults, script = case
    ask = f"{script}\nctk --quiet report --output={folder}/report.tar.gz >/dev/null\n{LOOK}"
    first = run(folder, simulated.words(name, ["sh", "-c", ask], **faults))
    again = ["ctk", "simulate", f"--from={folder}/report.tar.gz", "--", "sh", "-c", LOOK]
    return parsed(first), parsed(run(folder, again))


@pytest.mark.parametrize("name", CASES)
def test_problem_happens_again(name: str, folder: Path) -> None:
    first, second = replayed(folder, CASES[name])

    assert second == first


@pytest.mark.long
@pytest.mark.parametrize("name", MORE)
def test_other_problem_happens_again(name: str, folder: Path) -> None:
    first, second = replayed(folder, MORE[name])

    assert second == first


INDEX = """
  settings/config.toml    /etc/nvidia-container-runtime/config.toml
  specs/etc-cdi/a.yaml    /etc/cdi/a.yaml, a part
  engines/docker/1-d      /home/<user 1>/d
"""
OLD = {"README.txt": INDEX, "info.json": "{}"}
UUID_OF_ONE = "GPU-01234567-0123-0123-0123-0123456789ab"
GPU = "Model: \t NVIDIA H100 80GB HBM3\nBus Location: \t 0000:1b:00.0\nDevice Minor: \t 0\n"


def gpus(**facts: Any) -> dict[str, str]:
    """Return a report in which NVML tells of a GPU beside a good one."""
    good = {"bus_id": "0000:02:00.0", "name": "NVIDIA H100", "minor": 1}
    return {"machine/gpus.json": json.dumps({"gpus": [facts, good]})}


def test_report_of_an_older_version_is_of_a_machine() -> None:
    """It lacks what was added later; what it does not say is as usual."""
    version = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.10.01  Release Build\n"
    texts = {"machine/gpu-0.txt": GPU, "machine/proc-driver-nvidia-version": version}
    files = {
        "settings/config.toml": "a = 1\n",
        "specs/etc-cdi/a.yaml": "{}",
        "engines/docker/1-d": "",
    }

    machine = replay.of_texts(OLD | texts | files, "report")

    assert (machine.driver, machine.module, machine.loaded) == ("570.10.01", "", True)
    assert [(gpu.minor, gpu.bus_id, gpu.memory_mib) for gpu in machine.gpus] == [
        (0, "0000:1b:00.0", 81559)
    ]
    assert [(file.path, file.text) for file in machine.files] == [
        ("/etc/nvidia-container-runtime/config.toml", "a = 1\n"),
        ("/etc/cdi/a.yaml", "{}"),
    ]
    assert machine.missing == ()


@pytest.mark.parametrize(
    ("facts", "kind", "word"),
    [
        ({"failure": "nvmlDeviceGetUUID:16"}, "fail", "nvmlDeviceGetUUID:16@0"),
        ({"is_silent": True, "problem": "NVML crashed (SIGSEGV)"}, "crash", "nvmlDeviceGetName@0"),
        ({"is_silent": True, "problem": "did not answer"}, "hang", "nvmlDeviceGetName@0"),
    ],
)
def test_fault_of_a_gpu(facts: dict[str, Any], kind: str, word: str) -> None:
    machine = replay.of_texts({**OLD, "machine/gpu-0.txt": GPU, **gpus(**facts)}, "report")

    assert getattr(machine.faults, kind) == (word,)
    assert [gpu.bus_id for gpu in machine.gpus] == ["0000:1b:00.0", "0000:02:00.0"]
    assert not any(gpu.lost for gpu in machine.gpus)


@pytest.mark.parametrize(
    "texts",
    [
        gpus(bus_id="../../etc", name="x"),
        gpus(bus_id="0000:01:00.0", uuid="GPU-x\n[system]", name="a\nb"),
        {"machine/device-nodes.txt": "crw-rw-rw- 0:0 1:1 /dev/nvidia0/../../etc/passwd\n"},
        {"machine/libraries.txt": "/usr/lib/../../root/libcuda.so.1.1\n"},
        {"machine/pci.json": '{"nodes": {"0": "0"}, "devices": [{"address": "../x"}]}'},
    ],
)
def test_hostile_report_is_refused(texts: dict[str, str]) -> None:
    """What would be a path out of the machine, or another line in a file of it."""
    with pytest.raises(NvidiaRuntimeError, match="must be"):
        replay.of_texts(OLD | texts, "report")


@pytest.mark.parametrize(
    "document",
    [None, 1, [], {"gpus": 1}, {"gpus": [1]}, {"gpus": [{"migs": [1], "is_mig": True}]}],
)
def test_report_with_other_documents_is_one_all_the_same(document: Any) -> None:
    names = ("machine/gpus.json", "machine/pci.json", "info.json")
    texts = OLD | dict.fromkeys(names, json.dumps(document))

    assert replay.of_texts(texts, "report").name == "report"


WHOLE = {
    **OLD,
    **gpus(bus_id="0000:01:00.0", name="NVIDIA H100", is_mig=True, migs=[{"gpu_instance": 1}]),
    "machine/gpu-0.txt": GPU,
    "machine/proc-driver-nvidia-version": "Module  570.10.01  Release Build\n",
    "machine/device-nodes.txt": "crw-rw-rw- 0:0 195:255 /dev/nvidiactl\n"
    "lrwxrwxrwx 0:0 0:0 /dev/char/195:255 -> ../nvidiactl\n",
    "machine/libraries.txt": "/usr/lib64/libcuda.so.1 -> libcuda.so.570.10.01\n"
    "/usr/lib64/libcuda.so.570.10.01\n",
    "machine/pci.json": '{"nodes": {"0": "0-7"}, "devices": [{"address": "0000:01:00.0", '
    '"above": ["0000:00:01.0"], "ids": "10de:20b0", "node": "-1", "drm": ["card1"]}]}',
}
PIECES = ("\0", "\n", "/", "..", "'", '"', "null", "[]", "-1", "1.5", "9" * 20, "\U0001f600")


def mutated(random: Random) -> dict[str, str]:
    """Return a report in which some texts are damaged."""
    texts = dict(WHOLE)
    for _ in range(random.randrange(1, 4)):
        name = random.choice(sorted(texts))
        text = texts[name]
        start = random.randrange(len(text))
        end = min(len(text), start + random.randrange(20))
        texts[name] = text[:start] + random.choice(PIECES) + text[end:]
    return texts


def test_damaged_report_is_a_machine_or_an_error() -> None:
    counts = {True: 0, False: 0}
    for seed in range(60):
        try:
            machine = replay.of_texts(mutated(Random(seed)), "report")
        except NvidiaRuntimeError:
            counts[False] += 1
            continue
        counts[True] += 1
        assert description.from_document(description.to_document(machine), "") == machine
        assert not [path for path in build.without_code(machine) if "/../" in f"{path}/"]
    assert all(counts.values())


def packed(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as opened:
        for entry, data in entries:
            entry.size = len(data)
            opened.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (packed((tarfile.TarInfo("a"), b"x")), "is not a report of nvidia-ctk"),
        (gzip.compress(b"x" * 2000), "is damaged: "),
        (b"\x1f\x8b0", "is damaged: "),
        (gzip.compress(bytes((64 << 20) + 1)), "is too large for a report"),
    ],
    ids=["another archive", "no archive", "cut short", "too large"],  # the data has the time in it
)
def test_archive_that_is_no_report(data: bytes, what: str, tmp_path: Path) -> None:
    file = tmp_path / "r.tar.gz"
    file.write_bytes(data)

    assert replay.is_report(str(file))
    with pytest.raises(NvidiaRuntimeError) as error:
        replay.read(str(file))
    assert str(error.value).startswith(f"{file}: {what}")


def test_folder_that_an_archive_was_unpacked_into(tmp_path: Path) -> None:
    failed = ctk.run("simulate", f"--from={tmp_path}", "--show")
    assert failed.code == 1
    assert f"\nhint: {replay.HINT}\n" in failed.err
    for name, text in {**OLD, "machine/gpu-0.txt": GPU}.items():
        ctk.write(tmp_path / name, text)
    (tmp_path / "link").symlink_to("/etc/shadow")
    os.mkfifo(tmp_path / "fifo")

    assert len(replay.read(str(tmp_path)).gpus) == 1
    shown = ctk.run("simulate", f"--from={tmp_path}", "--show")
    assert shown.err == ""
    assert description.read(str(ctk.write(tmp_path / "m.toml", shown.out))).name == "report"


def test_folder_that_is_no_report_is_not_searched(tmp_path: Path) -> None:
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 40)

    with pytest.raises(NvidiaRuntimeError, match="is not a report of nvidia-ctk"):
        replay.read(str(tmp_path))


def test_jetson_has_its_driver_s_version_and_architecture() -> None:
    folder = "/usr/lib/aarch64-linux-gnu/nvidia"
    libraries = ("libcuda.so.1.1", "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.540.4.0")
    own = {
        "machine/etc-nv_tegra_release": "# R36",
        "machine/libraries.txt": "".join(f"{folder}/{name}\n" for name in libraries),
    }
    machine = replay.of_texts(OLD | own, "r")

    assert (machine.kind, machine.architecture, machine.driver) == ("tegra", "aarch64", "540.4.0")


@pytest.mark.parametrize(
    ("nodes", "is_lost"), [("", True), ("0", True), ("7", False)], ids=["unknown", "here", "other"]
)
def test_gpu_that_nvml_does_not_know_is_lost_or_another_s(nodes: str, is_lost: bool) -> None:
    one = {"uuid": UUID_OF_ONE, "bus_id": "0000:2a:00.0", "minor": 7}
    own = {"machine/gpu-0.txt": GPU, "machine/gpus.json": json.dumps({"gpus": [one]})}
    if nodes:
        own["machine/device-nodes.txt"] = f"crw-rw-rw- 0:0 195:{nodes} /dev/nvidia{nodes}\n"
    _, other = replay.of_texts(OLD | own, "r").gpus

    assert (other.lost, other.is_elsewhere) == (is_lost, not is_lost)


@pytest.mark.parametrize(
    ("said", "number"), [("12.2", 12020), ("13.0", 13000), ("", 13000), (None, 13000), (12, 13000)]
)
def test_cuda_version_of_the_driver(said: Any, number: int) -> None:
    asked = {"machine/gpus.json": json.dumps({"cuda": said}), "machine/gpu-0.txt": GPU}

    assert replay.of_texts(OLD | asked, "r").cuda == number


def test_machine_that_comes_by_a_pipe() -> None:
    done = ctk.run("simulate", "--from=/dev/stdin", "--show", stdin='gpus = [{model = "h100"}]')

    assert done.err == ""
    assert 'model = "h100"' in done.out


def test_masks_become_the_same_for_the_same() -> None:
    text = replay.unmasked(
        "GPU-<uuid 1> <host 2>:<address 3> GPU-<uuid 1> <uuid 2> <mac 1> <mail 1>"
    )

    uuids = UUID.findall(text)
    assert uuids[0] == uuids[1] != uuids[2]
    assert UUID.sub("*", text) == (
        "GPU-* host-2:192.0.2.3 GPU-* * 02:00:00:00:00:01 user-1@example.com"
    )
