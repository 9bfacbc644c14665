# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk report on a machine that is full of canaries: none of them gets out."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import shim
import simulated
from cli import ctk
from cli.test_json import check

from nvidia_runtime.report import contents

CANARIES = {
    "host": "hostcanary",
    "user": "usercanary",
    "person": "Persona Canaria",
    "mail": "mailcanary@corp.example.com",
    "address": "10.99.98.97",
    "address of version 6": "2001:db8:ca:9a::7",
    "mac": "02:ca:9a:00:00:07",
    "domain": "domaincanary.example.com",
    "token": "ghp_canary0123456789canary0123456789abcd",
    "password": "passwordcanary",
    "credentials": "credentialcanary",
    "key": "MIICANARYCANARY",
    "variable": "variablecanary",
    "serial": "165052200canary",
    "machine id": "ca9a0123456789abcdef0123456789ab",
    "container": "containercanary",
    "image": "registry.example.com/imagecanary",
    "namespace": "namespacecanary",
}
SEED = """
hostname {host}
echo 'PS1={variable}' >>/etc/environment
echo '{user}:x:4321:4321:{person},,,:/home/{user}:/bin/sh' >>/etc/passwd
mkdir -p /etc/nvidia-container-runtime /etc/docker /etc/cdi /run/nvidia-container-runtime/containers
chmod 700 /run/nvidia-container-runtime /run/nvidia-container-runtime/containers
mkdir -p /etc/nvidia-container-toolkit
echo 'SECRET={variable}' >/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env
cat >/etc/nvidia-container-runtime/config.toml <<end
# for {person} <{mail}>; token {token}
[nvidia-container-runtime]
debug = "/var/log/nvidia-canary.log"
end
cat >/var/log/nvidia-canary.log <<end
level=info msg="pull from https://u:{credentials}@{domain}/v2" addr={address} mac={mac}
connect to {address of version 6}, serial: {serial}, /home/{user}/x, on {host}
MY_VARIABLE={variable} password={password} machine-id={machine id}
-----BEGIN PRIVATE KEY-----
{key}
-----END PRIVATE KEY-----
end
cat >/etc/docker/daemon.json <<end
{{"registry-mirrors": ["https://{domain}"], "proxies": {{"http-proxy": "http://u:{password}@{address}"}},
 "labels": ["owner={mail}"], "insecure-registries": ["{address}"]}}
end
cat >/etc/cdi/canary.yaml <<end
cdiVersion: "0.5.0"
kind: nvidia.com/gpu
annotations: {{password: "{password}"}}
devices:
- name: "0"
  containerEdits:
    env: ["CANARY={variable}", "NVIDIA_VISIBLE_DEVICES=void"]
end
cat >/run/nvidia-container-runtime/containers/c1.json <<end
{{"container": "c1", "bundle": "/nowhere", "root": "", "mode": "cdi",
  "labels": {{"io.kubernetes.cri.container-name": "{container}",
    "io.kubernetes.cri.sandbox-namespace": "{namespace}",
    "io.kubernetes.cri.image-name": "{image}"}},
  "warnings": ["{container} of {namespace} asks for too much"], "requested": [], "injected": []}}
end
cd /run/nvidia-container-runtime
cp -R containers failed
sed -i 's/too much/what fails/' failed/c1.json
cd /
exec "$@"
"""


def report(script: str) -> subprocess.CompletedProcess[bytes]:
    """Make a report on a machine after some lines of shell."""
    argv = ["unshare", "--uts", "sh", "-euc", script, "sh", sys.executable, "-c", ctk.PROGRAM]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(shim.TREE)}
    words = simulated.words("t4x1", [*argv, "report", "--output=-"])
    got = subprocess.run(words, env=env, capture_output=True, timeout=120, check=False)
    assert got.returncode == 0, got.stderr
    return got


def read(opened: tarfile.TarFile, entry: tarfile.TarInfo) -> str:
    file = opened.extractfile(entry)
    assert file is not None
    assert entry.mode == 0o600
    return file.read().decode()


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Return the texts of a report that is made among canaries, by their names."""
    got = report(SEED.format(**CANARIES))
    with tarfile.open(fileobj=io.BytesIO(got.stdout)) as opened:
        return {entry.name.removeprefix("nvidia-report/"): read(opened, entry) for entry in opened}


@pytest.mark.parametrize("kind", CANARIES)
def test_no_canary_gets_out(kind: str, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        assert CANARIES[kind].lower() not in f"{name}\n{text}".lower(), name


def test_uuids_of_gpus_are_masked(texts: dict[str, str]) -> None:
    assert "GPU-<uuid 1>" in texts["machine/gpu-0.txt"]
    for text in texts.values():
        assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-", text)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("doctor.json", '"verdict": "this machine gives containers their GPUs: '),
        ("info.json", '"system": '),
        ("settings/config.toml", "[nvidia-container-runtime]\n"),
        ("specs/etc-cdi/canary.yaml", "kind: nvidia.com/gpu"),
        ("engines/docker/1-daemon.json", "registry-mirrors"),
        ("records/c1.json", "asks for too much"),
        ("failed/c1.json", "asks for what fails"),
        ("logs/nvidia-container-runtime.debug.log", 'level=info msg="pull from'),
        ("machine/proc-driver-nvidia-version", "NVRM version"),
        ("machine/device-nodes.txt", "crw-rw-rw- 0:0 195:255 /dev/nvidiactl"),
        ("machine/etc-os-release", 'VERSION_ID: "'),
        ("README.txt", "Please look through it before you send it"),
    ],
)
def test_what_helps_is_there(name: str, said: str, texts: dict[str, str]) -> None:
    if name.startswith("engines/") and name not in texts:
        pytest.skip("docker is not installed, so its file is not looked for")
    assert said in texts[name]


def test_index_names_all(texts: dict[str, str]) -> None:
    index = texts["README.txt"]

    for name in texts.keys() - {"README.txt"}:
        assert f"  {name} " in index
    assert re.search(r"^  address +[1-9]", index, re.MULTILINE)


def test_file_is_its_owners_and_is_not_replaced(tmp_path: Path) -> None:
    got = ctk.run("report", "--json", cwd=tmp_path)

    said = check("output/report", got.out)
    path = Path(said["file"])
    assert path.parent == tmp_path
    assert path.stat().st_mode & 0o777 == 0o600
    again = ctk.run("report", "--output", path)
    assert (again.code, again.out) == (1, "")
    assert f"{path}: cannot be written: file exists\n" in again.err
    assert ctk.run("report", "--output", tmp_path / "other.tar.gz").code == 0


def test_hostile_files_do_not_hang_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    text = f'[nvidia-container-runtime]\ndebug = "{tmp_path}/log"\n'
    config = ctk.write(tmp_path / "config.toml", text)

    got = ctk.run("report", "--json", "--config", config, cwd=tmp_path)

    left_out = json.loads(got.out)["left_out"]
    assert left_out["logs/nvidia-container-runtime.debug.log"].endswith("is not a regular file")


def test_large_log_gives_its_end(tmp_path: Path) -> None:
    log = ctk.write(tmp_path / "log", "".join(f"line {number}\n" for number in range(60000)))
    part = contents.of_file("log", str(log), is_log=True)

    assert part.is_cut
    assert part.data.endswith(b"line 59999\n")
    assert contents.LARGEST - 20 < len(part.data) <= contents.LARGEST
