# SPDX-License-Identifier: Apache-2.0
"""The default mode on simulated machines: what the toolkit injected there, and staying fresh."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import shim
import simulated
import test_startup as startup

from nvidia_runtime.simulate import catalogue, elf

Document = dict[str, Any]

MACHINES = ("t4x1", "a100x8", "a100x8mig", "h100x8", "orin")
PLAIN = json.loads((Path(__file__).parents[1] / "simulated/bundle/config.plain.json").read_text())
CASES = sorted((simulated.EXPECTED / "oci").iterdir())
# Runs on the machine: creates containers one after the other, and says what became of each.
CREATES = """
import json, os, subprocess, sys
launcher, folder, jobs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
ends = []
for number, job in enumerate(jobs):
    bundle = f"{folder}/bundle{number}"
    os.makedirs(bundle)
    with open(f"{bundle}/config.json", "w") as file:
        json.dump(job["spec"], file)
    if job["shell"]:
        subprocess.run(["sh", "-c", job["shell"]], check=True)
    words = [launcher, "create", "--bundle", bundle, f"c{number}"]
    got = subprocess.run(words, capture_output=True, text=True)
    with open(f"{bundle}/config.json") as file:
        end = {"code": got.returncode, "out": got.stdout, "err": got.stderr}
        ends.append({**end, "spec": json.load(file)})
    for name in os.listdir("/run/nvidia-container-runtime"):
        if name.startswith("machine-"):
            ends[-1]["machine"] = os.stat(f"/run/nvidia-container-runtime/{name}").st_ino
print(json.dumps(ends))
"""
SETTLE = "sleep 0.07"  # until what was just written may be remembered


def spec(*env: str) -> Document:
    """Return a container's config.json with more variables."""
    document: Document = json.loads(json.dumps(PLAIN))
    document["process"]["env"] += env
    return document


def create(
    name: str,
    folder: Path,
    *jobs: Document,
    settings: str = "",
    hooks: str = "toolkit",
    launcher: Path = shim.BIN / shim.NAME,
    **options: Any,
) -> Any:
    """Create containers on a machine, each a spec and a shell command to run before it."""
    runtime = folder / "runc"
    runtime.write_bytes(shim.program(shim.SAY_WORDS))
    runtime.chmod(0o755)
    config = folder / "config.toml"
    config.write_text(
        '[nvidia-ctk]\npath = "/usr/bin/nvidia-ctk"\n[nvidia-container-runtime]\n'
        f'runtimes = ["{runtime}"]\nin-container-hooks = "{hooks}"\n{settings}'
    )
    os.utime(config, (1e9, 1e9))
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NVIDIA_CTK_CONFIG_FILE_PATH": str(config)}
    words: list[str | Path] = [sys.executable, "-c", CREATES, launcher, folder]
    words.append(json.dumps(jobs))
    env |= options.pop("env", {})
    got = simulated.run(name, words, env=env, cwd=shim.TREE, **options)
    assert got.returncode == 0, got.stderr
    return json.loads(got.stdout)


def job(*env: str, shell: str = "") -> Document:
    return {"spec": spec(*env), "shell": shell}


def request_of(case: Path) -> list[str]:
    """Return the variables of a recorded case; for an error its name says them."""
    if case.suffix == ".err":
        what = "99" if case.stem.endswith("__bad") else case.read_text().split()[-1].rstrip('"')
        return [f"NVIDIA_VISIBLE_DEVICES={what}"]
    env = json.loads(case.read_text())["process"]["env"]
    asked = [entry for entry in env[len(PLAIN["process"]["env"]) :] if "NVIDIA_CTK" not in entry]
    return [entry for entry in asked if entry != "NVIDIA_VISIBLE_DEVICES=void"] or asked[:1]


@functools.cache
def results(name: str) -> dict[str, Document]:
    """Create the containers of all recorded cases of a machine."""
    import tempfile

    cases = [case for case in CASES if case.name.startswith(f"{name}__")]
    with tempfile.TemporaryDirectory() as folder:
        ends = create(name, Path(folder), *(job(*request_of(case)) for case in cases))
    return {case.name: end for case, end in zip(cases, ends, strict=True)}


def variables(document: Document) -> list[str]:
    """Return the environment as libc would read it: of a repeated variable, the last."""
    last = {entry.partition("=")[0]: entry for entry in document["process"]["env"]}
    return sorted(last.values())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_container_gets_what_the_toolkit_gave_it(case: Path) -> None:
    simulated.need_root()
    got = results(case.name.partition("__")[0])[case.name]

    if case.suffix == ".err":
        assert got["code"] == 1
        assert got["spec"] == spec(*request_of(case))
        return
    expected = json.loads(case.read_text())
    assert (got["code"], got["err"]) == (0, "")
    assert variables(got["spec"]) == variables(expected)
    for document in (got["spec"], expected):
        document["process"].pop("env")
        document["mounts"].sort(key=lambda mount: mount["destination"])
        # The toolkit repeats the rule of a node that several MIG devices have.
        rules = document["linux"]["resources"].pop("devices")
        document["rules"] = [
            rules[0],
            *sorted({json.dumps(rule, sort_keys=True) for rule in rules[1:]}),
        ]
    assert got["spec"] == expected


# Staying fresh: what changes after the first container was created.
def numbers(end: Document) -> list[tuple[str, int, int]]:
    """Return the nodes that a container got."""
    devices = end["spec"].get("linux", {}).get("devices", [])
    return [(node["path"], node["major"], node["minor"]) for node in devices]


def paths(end: Document) -> list[str]:
    return [path for path, _, _ in numbers(end)]


# The first listing of a folder of an overlay changes its times, so the first container settles it.
FIRST = job("NVIDIA_VISIBLE_DEVICES=all", shell=SETTLE)


def test_machine_is_asked_once(tmp_path: Path) -> None:
    """NVML starts for the first containers, then no more."""
    trace = tmp_path / "trace"
    trace.touch()
    jobs = [{**FIRST, "shell": f"{SETTLE}; wc -l < {trace} >> {tmp_path}/calls"} for _ in range(4)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOCK_NVML_TRACE", str(trace))
        ends = create("a100x8mig", tmp_path, *jobs, env={"MOCK_NVML_TRACE": str(trace)})

    calls = [int(line) for line in (tmp_path / "calls").read_text().split()]
    assert calls[0] == 0 < calls[1]
    assert calls[2] == calls[3]
    assert [end["code"] for end in ends] == [0, 0, 0, 0]
    assert numbers(ends[0]) == numbers(ends[1]) == numbers(ends[2]) == numbers(ends[3])
    assert ends[2]["machine"] == ends[3]["machine"]


CHANGES = {
    "another-boot": "echo another > /proc/sys/kernel/random/boot_id",
    "another-driver": "echo 999.1 > /sys/module/nvidia/version",
    "module-loaded-again": "echo other > /sys/module/nvidia/srcversion",
    "gpu-gone": "rm -r /proc/driver/nvidia/gpus/0000:07:00.0",
    "gpu-bound-anew": "cd /proc/driver/nvidia; cp -r gpus/0000:07:00.0 .;"
    " rm -r gpus/0000:07:00.0; mv 0000:07:00.0 gpus",
    "mig-device-gone": "rm -r /proc/driver/nvidia/capabilities/gpu2/mig/gi7",
    "node-with-another-number": "rm /dev/nvidia-uvm; mknod -m 666 /dev/nvidia-uvm c 444 0",
    "node-of-another-mode": "chmod 600 /dev/nvidia0",
    "library-gone": "rm /usr/lib/x86_64-linux-gnu/libnvidia-ngx.so.580.95.05",
    "library-new": "cp /usr/lib/x86_64-linux-gnu/libnvidia-ngx.so.580.95.05"
    " /usr/lib/x86_64-linux-gnu/libnvidia-new.so.580.95.05",
    "socket-appears": "mkdir -p /run/nvidia-persistenced; touch /run/nvidia-persistenced/socket",
    "settings": "echo >> $NVIDIA_CTK_CONFIG_FILE_PATH",
}


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_change_is_noticed_at_the_next_container(change: str, tmp_path: Path) -> None:
    """And costs one look at the machine, no more."""
    fresh = {**FIRST, "shell": f"{CHANGES[change]}; {SETTLE}"}

    ends = create("a100x8mig", tmp_path, FIRST, FIRST, FIRST, fresh, FIRST)

    inodes = [end.get("machine") for end in ends]
    assert inodes[1] == inodes[2] is not None
    assert inodes[3] not in (inodes[2], None)
    assert inodes[4] == inodes[3]


# /tmp is the host's on a simulated machine: one of its own, with the folders of the host's but one.
OWN_TMP = """
mkdir /run/kept; mount --rbind /tmp /run/kept; mount -t tmpfs -o mode=1777 none /tmp
for folder in /run/kept/*/; do
  name=$(basename "$folder")
  [ "$name" = nvidia-mps ] || { mkdir "/tmp/$name"; mount --rbind "$folder" "/tmp/$name"; }
done
"""


def test_pipes_of_mps_are_looked_at_each_time(tmp_path: Path) -> None:
    """Who makes and removes that folder in /tmp, as anybody may, makes nobody look again at all."""
    mps = "/tmp/nvidia-mps"
    changes = ("true", f"mkdir {mps}", f"rmdir {mps}; ln -s /etc {mps}", f"rm {mps}; mkdir {mps}")
    last = f"chown 65534 {mps}"
    jobs = [{**FIRST, "shell": f"{change}\n{SETTLE}"} for change in (OWN_TMP, *changes, last)]

    ends = create("t4x1", tmp_path, *jobs)

    sources = [[mount["source"] for mount in end["spec"]["mounts"]] for end in ends]
    assert [mps in paths for paths in sources] == [False, False, True, False, True, False]
    assert len({end["machine"] for end in ends[1:]}) == 1


def test_node_has_its_number_of_now(tmp_path: Path) -> None:
    fresh = {**FIRST, "shell": CHANGES["node-with-another-number"]}

    ends = create("a100x8", tmp_path, FIRST, FIRST, fresh)

    assert ("/dev/nvidia-uvm", 444, 0) in numbers(ends[2])


# The modules of nvidia-uvm and nvidia-drm may be loaded after the first container.
LATE = {
    "nvidia-uvm": ("/dev/nvidia-uvm", "mknod -m 666 /dev/nvidia-uvm c 511 0"),
    "nvidia-drm": ("/dev/dri/card1", "mknod -m 660 /dev/dri/card1 c 226 1"),
}


@pytest.mark.parametrize("module", LATE, ids=str)
def test_node_that_comes_late_is_given(module: str, tmp_path: Path) -> None:
    node, make = LATE[module]
    jobs = [
        {**FIRST, "shell": f"rm {node}; {SETTLE}"},
        FIRST,
        {**FIRST, "shell": f"{make}; {SETTLE}"},
    ]

    ends = create("t4x1", tmp_path, *jobs)

    assert [node in paths(end) for end in ends] == [False, False, True]


def test_index_follows_a_gpu_that_has_another_node_now(tmp_path: Path) -> None:
    """Two GPUs, unbound and bound in the other order, change their minor numbers."""
    asked = job("NVIDIA_VISIBLE_DEVICES=0", shell=SETTLE)
    swap = (
        f"cd /proc/driver/nvidia/gpus; set -- *; mv $1 $2 {tmp_path}; cp -r {tmp_path}/0000:* .;"
        " sed -i 's/Minor:.*/Minor: 7/' $1/information;"
        f" sed -i 's/Minor:.*/Minor: 0/' $2/information; {SETTLE}"
    )

    before, warm, after = create("h100x8", tmp_path, asked, asked, {**asked, "shell": swap})

    assert ["/dev/nvidia0" in paths(end) for end in (before, warm, after)] == [True, True, False]
    assert "/dev/nvidia7" in paths(after)


ALL = "runtime.nvidia.com/gpu=all"
SEVERAL = {
    "all-and-an-index": (f"{ALL},runtime.nvidia.com/gpu=0", 8),
    "an-index-and-all": (f"runtime.nvidia.com/gpu=0,{ALL}", 8),
    "all-and-none": (f"{ALL},runtime.nvidia.com/gpu=none", 8),
    "none-and-an-index": ("runtime.nvidia.com/gpu=none,runtime.nvidia.com/gpu=0", 1),
}


def test_several_names_give_what_each_of_them_means(tmp_path: Path) -> None:
    jobs = [job(f"NVIDIA_VISIBLE_DEVICES={asked}") for asked, _ in SEVERAL.values()]

    ends = create("h100x8", tmp_path, *jobs, settings='mode = "cdi"\n')

    counts = [sum(path[11:].isdigit() for path in paths(end)) for end in ends]
    assert dict(zip(SEVERAL, counts, strict=True)) == {k: n for k, (_, n) in SEVERAL.items()}


def test_gpu_for_a_display_is_given_by_name(tmp_path: Path) -> None:
    """And not to who asks for all, as the toolkit has it; its node is /dev/nvidia3."""
    display = "cd /proc/driver/nvidia/gpus; set -- *; sed -i 's/Model:.*/Model: DGX Display/'"
    shell = {"shell": f"{display} $2/information; {SETTLE}"}
    jobs = [job(f"NVIDIA_VISIBLE_DEVICES={ids}") for ids in ("all", "1", "0,1")]

    ends = create("a100x8", tmp_path, {**jobs[0], **shell}, *jobs[1:])

    assert [end["code"] for end in ends] == [0, 0, 0]
    nodes = [[path for path in paths(end) if path[11:].isdigit()] for end in ends]
    assert ["/dev/nvidia3" in devices for devices in nodes] == [False, True, True]
    assert [len(devices) for devices in nodes] == [7, 1, 2]


# A container that was given the GPU with /dev/nvidia1 has all GPUs in /proc, and one in NVML.
INSIDE = f"""{sys.executable} - <<'END'
import os, re
path = os.environ["NVIDIA_SIMULATED_MACHINE"] + "/mock-nvml.conf"
parts = re.split(r"(?m)^(?=\\[)", open(path).read())
kept = [p for p in parts if p[:4] != "[gpu" or "\\nminor = 1\\n" in p]
open(path, "w").write("".join(kept))
for minor in (0, *range(2, 8)):
    os.unlink(f"/dev/nvidia{{minor}}")
END
{SETTLE}"""
CONF = "$NVIDIA_SIMULATED_MACHINE/mock-nvml.conf"


@pytest.mark.parametrize("name", ["a100x8", "h100x8"])
def test_container_with_some_of_the_gpus_has_no_others(name: str, tmp_path: Path) -> None:
    """An engine in it gives what NVML counts there, and no advice to make other people's nodes."""
    shell = {"shell": INSIDE}
    asked = ["all", "0", "nvidia.com/gpu=all", "nvidia.com/gpu=0", "3"]
    jobs = [job(f"NVIDIA_VISIBLE_DEVICES={ids}") for ids in asked]
    from .test_renew import GENERATE

    ends = create(name, tmp_path, {**jobs[0], **shell}, {**jobs[1], "shell": GENERATE}, *jobs[2:])

    nodes = [[path for path in paths(end) if path[11:].isdigit()] for end in ends]
    assert nodes == [["/dev/nvidia1"]] * 4 + [[]]
    assert [end["code"] for end in ends] == [0, 0, 0, 0, 1]
    assert "this machine has no device '3'" in ends[4]["err"]
    assert "hint: it has 0; " in ends[4]["err"]


def test_machine_of_the_catalogue_that_is_such_a_container(tmp_path: Path) -> None:
    """Docker in docker, kind, a CI runner: NVML's index, its UUID, all; not the host's index."""
    uuids = {gpu.minor: gpu.uuid for gpu in catalogue.find("a100x1of8").gpus}
    asked = [
        "all",
        "0",
        uuids[1],
        "nvidia.com/gpu=all",
        f"nvidia.com/gpu={uuids[1]}",
        "3",
        uuids[0],
    ]
    jobs = [job(f"NVIDIA_VISIBLE_DEVICES={ids}") for ids in asked]
    from .test_renew import GENERATE

    ends = create("a100x1of8", tmp_path, {**jobs[0], "shell": GENERATE}, *jobs[1:])

    nodes = [[path for path in paths(end) if path[11:].isdigit()] for end in ends]
    assert nodes == [["/dev/nvidia1"]] * 5 + [[]] * 2
    assert [end["code"] for end in ends] == [0] * 5 + [1] * 2
    assert all("hint: it has 0; " in end["err"] for end in ends[5:])


def test_gpu_that_such_a_container_is_given_later_is_found(tmp_path: Path) -> None:
    more = f"mknod -m 666 /dev/nvidia2 c 195 2; cp $NVIDIA_SIMULATED_MACHINE/all {CONF}; {SETTLE}"
    jobs = [
        {**FIRST, "shell": f"cp {CONF} $NVIDIA_SIMULATED_MACHINE/all; {INSIDE}"},
        FIRST,
        {**FIRST, "shell": more},
    ]

    ends = create("a100x8", tmp_path, *jobs)

    assert [end["code"] for end in ends] == [0, 0, 1]  # NVML now knows those without a node
    assert "GPU 1: /dev/nvidia3 is missing" in ends[2]["err"]


def test_libraries_in_a_folder_of_a_csv_list_are_in_the_loaders_cache(tmp_path: Path) -> None:
    """As images of Jetson have CUDA: their ld.so.conf.d names a folder that the host fills."""
    folder = "/usr/local/cuda-10.2/targets/aarch64-linux/lib"
    lists = "/etc/nvidia-container-runtime/host-files-for-container.d"
    library = tmp_path / "libcublas.so.10"
    library.write_bytes(elf.shared_object(library.name, "aarch64"))
    root = tmp_path / "rootfs"
    (root / "etc/ld.so.conf.d").mkdir(parents=True)
    (root / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
    (root / "etc/ld.so.conf.d/cuda.conf").write_text(f"{folder}\n")
    shell = f"mkdir -p {folder}; cp {library} {folder}; echo 'dir, /usr/local/cuda-10.2'"
    asked = job("NVIDIA_VISIBLE_DEVICES=all", shell=f"{shell} >> {lists}/drivers.csv")
    asked["spec"]["root"] = {"path": str(root)}

    (end,) = create("orin", tmp_path, asked, hooks="auto")

    assert (end["code"], end["err"]) == (0, "")
    assert f"{folder}/{library.name}".encode() in (root / "etc/ld.so.cache").read_bytes()


def test_all_of_no_gpus_is_said(tmp_path: Path) -> None:
    """Programs that count GPUs have to run without one, but nobody should wonder."""
    log = tmp_path / "log"

    (end,) = create("t4x1", tmp_path, FIRST, settings=f'debug = "{log}"\n', remove=[0])

    assert (end["code"], "/dev/nvidia0" in paths(end)) == (0, False)
    assert "asks for all GPUs and gets none" in log.read_text()


def test_mig_device_that_is_gone_is_not_given(tmp_path: Path) -> None:
    uuid = "MIG-12afe4b4-7c38-554e-80c9-91eb0923a722"
    asked = job(f"NVIDIA_VISIBLE_DEVICES={uuid}", shell=SETTLE)
    forget = "sed -i --follow-symlinks '0,/^size/{/^\\[mig\\]/,/^size/d}' $NVIDIA_SIMULATED_MACHINE/mock-nvml.conf"
    gone = f"{CHANGES['mig-device-gone']}; {forget}"

    ends = create("a100x8mig", tmp_path, asked, asked, {**asked, "shell": gone})

    assert [end["code"] for end in ends] == [0, 0, 1]
    assert f"has no device '{uuid}'" in ends[2]["err"]
    assert ends[2]["spec"] == asked["spec"]


# A sick GPU fails those who ask for it.
SICK: dict[str, tuple[dict[str, Any], str]] = {
    "lost": ({"lose": [3]}, "lost"),
    "hangs": ({"hang": ["nvmlDeviceGetUUID@3"]}, "did not answer"),
    "crashes": ({"crash": ["nvmlDeviceGetUUID@3"]}, "crash"),
}


@pytest.mark.parametrize(
    "fault", ["lost", "crashes", pytest.param("hangs", marks=pytest.mark.long)]
)
def test_sick_gpu_harms_only_those_who_ask_for_it(fault: str, tmp_path: Path) -> None:
    options, says = SICK[fault]
    jobs = [job(f"NVIDIA_VISIBLE_DEVICES={ids}") for ids in ("0:0", "3", "all")]

    well, sick, everything = create("a100x8mig", tmp_path, *jobs, timeout=120, **options)

    assert (well["code"], sick["code"], everything["code"]) == (0, 1, 1)
    assert says in sick["err"]
    assert says in everything["err"]


def test_mig_device_of_a_lost_gpu_is_not_just_unknown(tmp_path: Path) -> None:
    (end,) = create("a100x8mig", tmp_path, job("NVIDIA_VISIBLE_DEVICES=0:0"), lose=[0])

    assert (end["code"], "is lost: it has fallen" in end["err"]) == (1, True)


@pytest.mark.parametrize(("name", "code"), [("{gpu}/7/0", 0), ("{gpu}/99/0", 1)])
def test_machine_is_asked_once_for_a_name_that_its_file_lacks(
    name: str, code: int, tmp_path: Path
) -> None:
    gpu = "MIG-GPU-145f911f-2dc8-5e9a-bf60-a9c307c91566"
    trace = tmp_path / "trace"
    asked = job(f"NVIDIA_VISIBLE_DEVICES={name.format(gpu=gpu)}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOCK_NVML_TRACE", str(trace))
        (end,) = create("a100x8mig", tmp_path, asked, env={"MOCK_NVML_TRACE": str(trace)})

    assert end["code"] == code
    assert trace.read_text().count("nvmlInit") == 1


@pytest.mark.parametrize(("hooks", "most"), [("toolkit", 21), ("auto", 40)])
def test_warm_create_is_light(hooks: str, most: int, tmp_path: Path) -> None:
    """What the machine file knows is not looked up, and nothing is imported to do so."""
    python, folder = Path(sys.executable).resolve(), tmp_path / "bin"
    folder.mkdir()
    (folder / "python3").symlink_to(python)
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(shim.WRAPPER.format(python=python, code=startup.PROBE))
    wrapper.chmod(0o755)
    probe = {**FIRST, "shell": f"mv {wrapper} {folder}/python3"}
    env = {"PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin"}
    launcher = shim.TREE / "packaging/bin" / shim.NAME  # which takes its Python from PATH

    jobs = [FIRST, probe, FIRST, FIRST]
    ends = create("a100x8mig", tmp_path, *jobs, env=env, hooks=hooks, launcher=launcher)

    bare: list[str | Path] = [python, "-I", "-S", "-c", "import sys; print(*sys.modules)"]
    start = subprocess.run(bare, capture_output=True, text=True, check=True).stdout.split()
    loaded = set(ends[3]["out"].split()) - set(start)
    assert startup.foreign(loaded) - startup.LIGHT - {"_struct"} == set()
    assert startup.heavy(loaded) - {"host", "host.platform"} == set()
    assert len(startup.ours(loaded)) <= most


def test_soc_asks_nvml_for_its_mode_and_its_devices(tmp_path: Path) -> None:
    """Once for each at the first container; what is compiled then remembers the mode, too."""
    trace = tmp_path / "trace"

    ends = create("thor_dgpu", tmp_path, FIRST, env={"MOCK_NVML_TRACE": str(trace)})

    assert ends[0]["code"] == 0, ends[0]["err"]
    assert trace.read_text().count(" nvmlInit_v2 ") <= 2
