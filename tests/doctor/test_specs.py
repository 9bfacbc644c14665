# SPDX-License-Identifier: Apache-2.0
"""What doctor says of CDI specs: each fault is made, then found."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import simulated
from cdi.test_engine_support import install
from cli import ctk

from nvidia_runtime.doctor import specs, subject
from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Skipped
from nvidia_runtime.doctor.specs import contents, fitness, reading
from nvidia_runtime.doctor.specs import devices as spec_devices
from nvidia_runtime.doctor.specs import files as spec_files

from . import patient

FILE = "/etc/cdi/nvidia.yaml"
GENERATE = f"nvidia-ctk cdi generate --output={FILE} 2>/dev/null"
# Commands that show more, and change nothing.
SHOWING = ("nvidia-ctk cdi list", "nvidia-ctk cdi validate", "ls ")
HOOK = "/usr/bin/env"
MACHINE = "t4x1"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"


def spec(**edits: Any) -> str:
    """Return a spec of one device with these edits."""
    device = {"name": "0", "containerEdits": {"env": ["A=b"]}}
    document = {"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [device]}
    return json.dumps({**document, "containerEdits": edits})


def write(text: str, file: str = FILE) -> str:
    """Return the shell line that writes a spec."""
    folder = file.rpartition("/")[0]
    return f"mkdir -p {folder}; cat >{file} <<'END'\n{text}\nEND"


def examine(
    folder: Path, fault: str, machine: str = MACHINE, podman: str = "5.2.0", **options: Any
) -> patient.Answer:
    """Examine a machine that has our program, and a podman of some version."""
    program = folder / "nvidia-ctk"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{ctk.PROGRAM}' \"$@\"\n")
    program.chmod(0o755)
    engines = {"podman": podman} | ({} if (folder / "dockerd").exists() else {"dockerd": "28.5.1"})
    path = f"{install(folder, **engines)}:/usr/sbin:/usr/bin:/sbin:/bin"
    variables = {"PATH": path, "NVIDIA_CTK_CDI_HOOK_PATH": HOOK}
    return patient.examine(machine, fault, env=variables, real=[str(folder)], **options)


GPU = spec(deviceNodes=[{"path": "/dev/nvidia0"}])
HOOKS = [{"hookName": "createContainer", "path": "/usr/bin/env", "args": ["env"]}]
CLAIM = GPU.replace("nvidia.com/gpu", "k8s.gpu.nvidia.com/claim").replace("nvidia0", "nvidia7")
CLAIM_FILE = "/var/run/cdi/k8s.gpu.nvidia.com-claim_6d2c.json"
OLD = f"{GENERATE}; sed -i s/580.95.05/570.10.01/ {FILE}"

FAULTS: dict[str, tuple[str, Code, str]] = {
    "empty file": (write(""), reading.INVALID, ERROR),
    "no YAML, of whatever": (write("kind: ["), reading.INVALID, WARNING),
    "future": (write(GPU.replace("0.5.0", "9.9.9")), reading.INVALID, ERROR),
    "pipe": (f"mkdir -p {FILE}; mkfifo {FILE[:-5]}.json", reading.UNREADABLE, ERROR),
    "none": (":", reading.NONE, NOTE),
    "yml": (f"{GENERATE}; mv {FILE} {FILE[:-5]}.yml", reading.IGNORED, NOTE),
    "two files of a folder": (
        f"{GENERATE}; {GENERATE.replace('.yaml', '.json')}",
        reading.TWICE,
        ERROR,
    ),
    "in both folders": (
        f"{GENERATE}; {GENERATE.replace('/etc', '/var/run')}",
        reading.SHADOWED,
        NOTE,
    ),
    "mode 0600": (f"{GENERATE}; chmod 600 {FILE}", reading.PRIVATE, WARNING),
    "mode 0666": (f"{GENERATE}; chmod 666 {FILE}", reading.WRITABLE, WARNING),
    "folder of a user": (f"{GENERATE}; chown 1000 /etc/cdi", reading.WRITABLE, WARNING),
    "two documents": (write(f"---\n{GPU}\n---\n{GPU}"), reading.DOCUMENTS, WARNING),
    "after an update": (OLD, fitness.OTHER_DRIVER, ERROR),
    "library gone": (f"{GENERATE}; rm {LIBRARIES}/libnvidia-opencl.so.*", fitness.GONE, ERROR),
    "GPU gone": (write(GPU.replace("nvidia0", "nvidia7")), fitness.NO_NODE, ERROR),
    "another major": (
        f"{GENERATE}; sed -i 's/major: 511/major: 510/' {FILE}",
        fitness.OTHER_NUMBERS,
        ERROR,
    ),
    "hook gone": (
        write(spec(hooks=[{**HOOKS[0], "path": "/gone", "env": ["A=b"]}])),
        fitness.NO_PROGRAM,
        ERROR,
    ),
    "claim": (write(CLAIM, CLAIM_FILE), fitness.LEFT_OVER, WARNING),
    "NVIDIAScape": (write(spec(hooks=HOOKS)), contents.BARE_HOOK, WARNING),
    "hook of a user": (
        "mkdir /opt/h; cp /bin/true /opt/h/hook; chown 1000 /opt/h/hook\n"
        + write(spec(hooks=[{**HOOKS[0], "path": "/opt/h/hook", "env": ["A=b"]}])),
        contents.WRITABLE_HOOK,
        WARNING,
    ),
    "relative hook": (
        write(spec(hooks=[{**HOOKS[0], "path": "env", "env": ["A=b"]}])),
        contents.RELATIVE,
        WARNING,
    ),
    "MPS": (
        write(spec(mounts=[{"hostPath": "/tmp/nvidia-mps", "containerPath": "/tmp/nvidia-mps"}])),
        contents.SHARED,
        WARNING,
    ),
    "root": (
        write(spec(mounts=[{"hostPath": "/", "containerPath": "/host"}])),
        contents.SYSTEM_MOUNT,
        WARNING,
    ),
    "no libcuda": (
        f"{GENERATE}; sed -i s/libcuda.so.580/libnvidia-opencl.so.580/ {FILE}",
        contents.NO_LIBCUDA,
        ERROR,
    ),
    "no encoder": (
        f"{GENERATE}; sed -i 's/nvidia-encode/nvidia-opencl/' {FILE}",
        contents.INCOMPLETE,
        NOTE,
    ),
    "GPU added": (write(spec(env=["A=b"])), spec_devices.MISSING, WARNING),
    "UUIDs only": (
        f"{GENERATE.replace('cdi generate', 'cdi generate --device-name-strategy=uuid')}",
        spec_devices.NAMES,
        NOTE,
    ),
}


@pytest.mark.parametrize(("fault", "code", "severity"), FAULTS.values(), ids=FAULTS)
def test_fault(tmp_path: Path, fault: str, code: Code, severity: str) -> None:
    answer = examine(tmp_path, fault)

    assert code.id in answer.codes("NCT-03")
    finding = answer.finding(code.id)
    assert finding["severity"] == severity
    assert finding["where"]
    assert finding["engine"] == ("podman" if severity == ERROR else "")
    if finding["next"] and not finding["next"].startswith(SHOWING):
        followed = examine(tmp_path, f"{fault}\n{finding['next']}")
        assert code.id not in followed.codes()


def test_version_that_an_engine_does_not_know(tmp_path: Path) -> None:
    answer = examine(tmp_path, write(GPU.replace("0.5.0", "0.8.0")), podman="4.3.1")

    finding = answer.finding(fitness.TOO_NEW.id)
    assert finding["what"] == "podman 4.3.1 reads CDI up to 0.5.0, and this is CDI 0.8.0"
    assert (finding["severity"], finding["engine"]) == (ERROR, "podman")
    followed = examine(
        tmp_path, f"{write(GPU.replace('0.5.0', '0.8.0'))}\n{finding['next']}", podman="4.3.1"
    )
    assert fitness.TOO_NEW.id not in followed.codes()


def test_what_others_wrote_is_not_written_over(tmp_path: Path) -> None:
    finding = examine(tmp_path, write(CLAIM, CLAIM_FILE)).finding(fitness.LEFT_OVER.id)

    assert "restart the DRA driver" in finding["what"]
    assert finding["next"] == ""
    assert finding["fix"] is None


def test_only_what_we_wrote_is_mended(tmp_path: Path) -> None:
    code = fitness.GONE.id
    gone = f"rm {LIBRARIES}/libnvidia-opencl.so.*"
    ours = examine(tmp_path, f"{GENERATE}; {gone}").finding(code)
    others = examine(tmp_path, f"{GENERATE}; echo >>{FILE}; {gone}").finding(code)

    assert ours["fix"]["words"] == ["cdi", "generate", f"--output={FILE}"]
    assert ours["fix"]["files"][0] == FILE
    assert others["fix"] is None


@pytest.mark.parametrize(
    ("line", "engine"), [("echo >>{}", ""), (":", "podman")], ids=["of others", "renewed by us"]
)
def test_who_suffers_in_mode_cdi(tmp_path: Path, line: str, engine: str) -> None:
    """Our runtime writes anew what is ours, podman does not."""
    mode = "mkdir -p {0}; printf '[nvidia-container-runtime]\\nmode = \"cdi\"' >{0}/config.toml"
    gone = f"rm {LIBRARIES}/libnvidia-opencl.so.*"
    fault = (
        f"{mode.format('/etc/nvidia-container-runtime')}; {GENERATE}; {line.format(FILE)}; {gone}"
    )
    finding = examine(tmp_path, fault).finding(fitness.GONE.id)

    assert (finding["severity"], finding["engine"]) == (ERROR, engine)


def test_options_of_a_spec_are_kept(tmp_path: Path) -> None:
    switches = "--class=tuned --device-name-strategy=uuid --no-all-device"
    fault = f"{GENERATE.replace('2>', f'{switches} 2>')}; rm {LIBRARIES}/libnvidia-opencl.so.*"
    fix = examine(tmp_path, fault).finding(fitness.GONE.id)["fix"]

    assert fix["words"][3:] == ["--device-name-strategy=uuid", "--class=tuned", "--no-all-device"]


def test_spec_of_some_gpus_is_meant_so(tmp_path: Path) -> None:
    some = GENERATE.replace("2>", "--device-id=0 2>")

    assert examine(tmp_path, some, "rtxpro_miggfx").codes("NCT-033") == []


def test_mig_devices_that_are_made_later(tmp_path: Path) -> None:
    """The spec is of the time before."""
    answer = examine(
        tmp_path,
        f"{GENERATE}; sed -i 's/nvidia-cap336$/nvidia-cap1/' {FILE}; echo >>{FILE}",
        "a100x8mig",
    )

    finding = answer.finding(spec_devices.MISSING.id)
    assert finding["what"].startswith("GPU instance ")


def test_folder_that_an_engine_alone_reads(tmp_path: Path) -> None:
    settings = (
        'mkdir -p /etc/docker; echo \'{"cdi-spec-dirs": ["/opt/cdi"]}\' >/etc/docker/daemon.json'
    )
    install(tmp_path, dockerd="25.0.3")
    own = write(GPU.replace("nvidia0", "nvidia7"), "/opt/cdi/nvidia.json")
    finding = examine(tmp_path, f"{settings}\n{own}").finding(fitness.NO_NODE.id)

    assert finding["where"].startswith("/opt/cdi/nvidia.json: ")
    assert (finding["engine"], finding["severity"]) == ("docker", WARNING)


def test_gpus_of_docker_29_go_by_specs(tmp_path: Path) -> None:
    install(tmp_path, dockerd="29.0.1")
    answer = examine(tmp_path, OLD)

    listed = [one for one in answer.document["findings"] if one["severity"] == ERROR]
    of_specs = [one["engine"] for one in listed if one["code"] == fitness.OTHER_DRIVER.id]
    assert of_specs == ["podman", "docker"]


def test_engine_with_cdi_off(tmp_path: Path) -> None:
    install(tmp_path, dockerd="25.0.3")
    finding = examine(tmp_path, write(GPU.replace("0.5.0", "0.8.0"))).finding(fitness.TOO_NEW.id)

    assert (finding["engine"], finding["severity"]) == ("docker", NOTE)


def test_more_specs_than_there_is_time_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[nvidia-container-runtime.modes.cdi]\nspec-dirs = ["{tmp_path}"]\n')
    (tmp_path / "nvidia.json").write_text(GPU)
    monkeypatch.setattr(spec_files, "SECONDS", -1)

    *_, last = specs.check(subject.of(str(config)))
    assert isinstance(last, Skipped)
    assert last.why == "0 of 1 were read in -1 s: 'nvidia-ctk cdi validate'"


def test_spec_in_use_is_told(tmp_path: Path) -> None:
    answer = examine(tmp_path, GENERATE)

    assert answer.document["fine"]["specs"] == [f"3 devices, of {FILE}"]


def test_every_code_has_its_fault() -> None:
    tried = {code.id for _, code, _ in FAULTS.values()} | {fitness.TOO_NEW.id}

    assert tried == {code.id for code in specs.CODES}


@pytest.mark.parametrize("machine", simulated.names())
def test_silent(tmp_path: Path, machine: str) -> None:
    answer = examine(tmp_path, f"{GENERATE} || :", machine)

    loud = [one for one in answer.document["findings"] if one["severity"] != NOTE]
    assert [one for one in loud if one["code"].startswith("NCT-03")] == []


@pytest.mark.parametrize(
    "fault",
    [
        "rm -rf /etc/cdi; ln -s cdi /etc/cdi",
        "mkdir -p /etc/cdi/x.json; ln -s /dev/zero /etc/cdi/y.json; ln -s nowhere /etc/cdi/z.yaml",
        "mkdir -p /etc/cdi; seq 200 | sed s/^/kind:/ | tr '\\n' ' ' >/etc/cdi/long.yaml",
        f"{write(spec(mounts=[{'hostPath': 'a', 'containerPath': 'b'}]))}",
        write(GPU.replace("/dev/nvidia0", "/dev/" + "x" * 5000)),
        f"{GENERATE}; mount -t tmpfs tmpfs /proc/driver/nvidia",
        f"{GENERATE}; mount -t tmpfs -o mode=700 tmpfs /var/run/cdi || :",
    ],
)
@pytest.mark.parametrize("user", ["", 'exec setpriv --reuid=65534 --clear-groups "$@"'])
def test_oddities_crash_nothing(tmp_path: Path, fault: str, user: str) -> None:
    codes = examine(tmp_path, f"{fault}\n{user}").codes("NCT-00")

    assert codes == []


@pytest.mark.parametrize("machine", ["a100x8", "a100x8mig", "h100x8", "orin", "t4x1"])
def test_silent_about_the_toolkits_own_specs(tmp_path: Path, machine: str) -> None:
    recorded = simulated.EXPECTED / f"cdi/{machine}.yaml"
    hook = f"mkdir -p /etc/cdi; sed 's|/usr/bin/nvidia-cdi-hook|{HOOK}|' {recorded} >{FILE}"
    answer = examine(tmp_path, hook, machine)

    loud = [one for one in answer.document["findings"] if one["code"].startswith("NCT-03")]
    assert [(one["code"], one["what"]) for one in loud] == []
