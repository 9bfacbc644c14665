# SPDX-License-Identifier: Apache-2.0
"""Records with what engines know of the containers: names, images, states; and a table of them."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest

from nvidia_runtime.cli import choice, container_table
from nvidia_runtime.containers.records import Entry, Records
from nvidia_runtime.engines import containers
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import lifecycle

IDS = ("aa11" * 16, "aa22" * 16, "bb33" * 16)
TASKS = "/run/containerd/io.containerd.runtime.v2.task"


class Machine:
    """A machine of files: records, runc's states, the folders of engines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = folder / "containers"
        self.records.mkdir()
        self.root = folder / "runc"
        self.count = 0

    def record(self, name: str = IDS[0], bundle: str = "", **fields: Any) -> str:
        """Write a record, younger than all before it."""
        file = self.records / f"{name}.json"
        whole: dict[str, Any] = {"container": name, "bundle": bundle or f"{self.folder}/bundle"}
        whole |= {"root": f"{self.root}", "requested": ["0"], **fields, "injected": []}
        file.write_text(json.dumps(whole, separators=(",", ":")))
        self.count += 1
        os.utime(file, (self.count, self.count))
        return name

    def state(self, name: str, pid: int, start: int) -> None:
        """Write the state that runc keeps."""
        folder = self.root / name
        folder.mkdir(parents=True)
        state = {"id": name, "init_process_pid": pid, "init_process_start": start}
        (folder / "state.json").write_text(json.dumps(state))

    def read(self) -> Records:
        return Records(self.records)

    def entry(self) -> Entry:
        (entry,) = self.read().entries()
        return entry


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/d.sock")
    monkeypatch.setattr(containers, "DATA_ROOTS", (f"{tmp_path}/docker",))
    monkeypatch.setenv("XDG_DATA_HOME", f"{tmp_path}/none")
    return Machine(tmp_path)


@contextmanager
def docker(machine: Machine, *listed: Any, status: int = 200) -> Iterator[list[str]]:
    """Answer as dockerd does; the list has what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps(listed).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "here"

        def log_message(self, *_: Any) -> None:
            return

    (machine.folder / "d.sock").unlink(missing_ok=True)
    with ThreadingUnixStreamServer(f"{machine.folder}/d.sock", Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield asked
        server.shutdown()
        thread.join()


def start_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


@pytest.fixture
def process() -> Iterator[int]:
    """Return the id of a process that runs, whose name would mislead a careless reader."""
    script = (
        "import ctypes; ctypes.CDLL(None).prctl(15, b'a) Z 1 ('); print(1, flush=True); input()"
    )
    words = ["python3", "-c", script]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, **pipes) as child:
        assert child.stdout
        child.stdout.readline()
        yield child.pid
        child.kill()


def test_process_tells_that_a_container_runs(machine: Machine, process: int) -> None:
    machine.state(machine.record(), process, start_of(process))

    assert machine.entry().state == lifecycle.RUNNING


def test_later_process_with_its_number_is_another(machine: Machine, process: int) -> None:
    machine.state(machine.record(), process, start_of(process) - 1)

    assert machine.entry().state == lifecycle.STOPPED


def test_process_that_is_dead_but_not_waited_for(machine: Machine) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    machine.state(machine.record(), child, start_of(child))

    state = machine.entry().state

    os.waitpid(child, 0)
    assert state == lifecycle.STOPPED


def test_state_of_crun(machine: Machine, process: int) -> None:
    folder = machine.root / machine.record()
    folder.mkdir(parents=True)
    state = {"pid": process, "process-start-time": start_of(process)}
    (folder / "status").write_text(json.dumps(state))

    assert machine.entry().state == lifecycle.RUNNING


@pytest.mark.parametrize("text", ["{", "[]", '{"init_process_pid": "x"}', "{}"])
def test_state_that_cannot_be_read(text: str, machine: Machine) -> None:
    machine.state(machine.record(), 1, 1)
    (machine.root / IDS[0] / "state.json").write_text(text)

    assert machine.entry().state == lifecycle.UNKNOWN


def test_runc_that_knows_nothing_of_it(machine: Machine) -> None:
    (machine.folder / "bundle").mkdir()
    machine.record()

    assert machine.entry().state == lifecycle.GONE


def test_record_of_an_older_version_does_not_name_the_folder(machine: Machine) -> None:
    name = machine.record(bundle=f"{machine.folder}{TASKS}/default/x")
    file = machine.records / f"{name}.json"
    record = json.loads(file.read_text())
    del record["root"]
    file.write_text(json.dumps(record))
    assert machine.entry().state == lifecycle.GONE

    Path(record["bundle"]).mkdir(parents=True)

    assert machine.entry().state == lifecycle.UNKNOWN


def of_docker(name: str, called: str, state: str = "running") -> dict[str, Any]:
    return {"Id": name, "Names": ["/other/alias", f"/{called}"], "Image": "img", "State": state}


def of_moby(machine: Machine, *names: str) -> None:
    for name in names:
        machine.record(name, f"{TASKS}/moby/{name}")


@pytest.mark.parametrize(
    ("state", "expected"),
    [("running", "running"), ("paused", "running"), ("exited", "stopped"), ("created", "stopped")],
)
def test_docker_is_asked_once(state: str, expected: str, machine: Machine) -> None:
    of_moby(machine, *IDS[:2])

    with docker(machine, of_docker(IDS[0], "web", state)) as asked:
        gone, there = machine.read().entries()

    assert asked == ["/containers/json?all=1"]
    assert (there.names, there.engine, there.image) == (("web",), "docker", "img")
    assert (there.state, gone.state, gone.names) == (expected, lifecycle.GONE, ())


@pytest.mark.parametrize(("listed", "status"), [([], 500), ([1, {}], 200)], ids=["error", "odd"])
def test_answer_of_docker_that_says_nothing(listed: Any, status: int, machine: Machine) -> None:
    of_moby(machine, IDS[0])

    with docker(machine, *listed, status=status):
        entry = machine.entry()

    assert entry.names == ()


def test_nobody_is_asked_without_a_container_of_docker(machine: Machine) -> None:
    machine.record()

    with docker(machine) as asked:
        machine.entry()

    assert asked == []


def test_files_of_docker_where_no_daemon_answers(machine: Machine) -> None:
    of_moby(machine, *IDS[:2])
    file = machine.folder / "docker/containers" / IDS[0] / "config.v2.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"Name": "/web", "Config": {"Image": "img"}}))

    gone, there = machine.read().entries()

    assert (there.names, there.image, there.state) == (("web",), "img", lifecycle.STOPPED)
    assert gone.state == lifecycle.GONE


def test_docker_that_cannot_be_asked_at_all(machine: Machine) -> None:
    of_moby(machine, IDS[0])

    assert machine.entry().state == lifecycle.UNKNOWN


def storage(machine: Machine, *entries: Any) -> str:
    folder = machine.folder / "storage/overlay-containers"
    folder.mkdir(parents=True)
    (folder / "containers.json").write_text(json.dumps(entries))
    return f"{folder}/{IDS[0]}/userdata"


PODMAN = {"io.container.manager": "libpod", "name": "was"}


def test_storage_of_podman(machine: Machine) -> None:
    about = json.dumps({"image-name": "img:1"})
    bundle = storage(machine, {"id": IDS[0], "names": ["job"], "metadata": about}, 1, {})
    machine.record(IDS[0], bundle, labels=PODMAN)
    machine.record(IDS[1], bundle, labels=PODMAN)

    gone, there = machine.read().entries()

    assert (there.names, there.image, there.engine) == (("job", "was"), "img:1", "podman")
    assert (there.state, gone.state, gone.names) == (lifecycle.STOPPED, lifecycle.GONE, ("was",))


def test_podman_without_its_storage(machine: Machine) -> None:
    machine.record(bundle=f"{machine.folder}/x-containers/1/userdata", labels=PODMAN)

    assert (machine.entry().names, machine.entry().state) == (("was",), lifecycle.GONE)


@pytest.mark.parametrize(
    ("labels", "bundle", "names", "engine"),
    [
        (
            {
                "io.kubernetes.cri.container-name": "app",
                "io.kubernetes.cri.sandbox-name": "pod",
                "io.kubernetes.cri.sandbox-namespace": "ns",
                "io.kubernetes.cri.image-name": "img",
            },
            f"{TASKS}/k8s.io/x",
            ("pod/app", "ns/pod/app", "app", "pod"),
            "containerd",
        ),
        (
            {
                "io.kubernetes.cri-o.Name": "k8s_app_pod_ns_1-2_0",
                "io.kubernetes.cri-o.ImageName": "img",
            },
            "/run/containers/storage/overlay-containers/x/userdata",
            ("pod/app", "ns/pod/app", "app", "k8s_app_pod_ns_1-2_0", "pod"),
            "cri-o",
        ),
        ({"nerdctl/name": "web"}, f"{TASKS}/default/x", ("web",), "containerd"),
        ({}, f"{TASKS}/default/x", (), "containerd"),
        ({}, "/b", (), ""),
    ],
    ids=["containerd's CRI", "cri-o", "nerdctl", "ctr", "runc"],
)
def test_names_by_annotations(
    labels: dict[str, str], bundle: str, names: tuple[str, ...], engine: str, machine: Machine
) -> None:
    machine.record(bundle=bundle, labels=labels)

    entry = machine.entry()

    assert (entry.names, entry.engine) == (names, engine)
    assert entry.image == ("img" if len(names) > 1 else "")


def test_devices_that_an_engine_injected_are_nodes(machine: Machine) -> None:
    nodes = [{"path": "/dev/nvidia0"}, {"path": "/dev/nvidiactl"}, {"path": "/dev/nvidia12"}]
    name = machine.record(requested=[])
    file = machine.records / f"{name}.json"
    part = {"device": "", "edits": {"devices": nodes}}
    file.write_text(json.dumps({**json.loads(file.read_text()), "injected": [part, {}]}))

    assert machine.entry().devices == ("/dev/nvidia0", "/dev/nvidia12")


def choose(machine: Machine, word: str, *listed: Any) -> str:
    """Return the id that a word means, or what is said in its place."""
    with docker(machine, *listed):
        try:
            return choice.choose(word, machine.read())
        except NvidiaRuntimeError as error:
            return f"{error}; {error.hint}"


ALL = "a container that requested nothing has none; 'nvidia-ctk explain' lists all records"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (IDS[2], IDS[2]),
        ("web", IDS[0]),
        ("bb", IDS[2]),
        ("aa", "'aa' is the beginning of 2 ids: aa22aa22aa22, aa11aa11aa11; add more of the id"),
        ("we", f"there is no record of a container 'we'; did you mean web? {ALL}"),
        ("cc", f"docker's container 'cc' ({'c' * 12}) has no record; {ALL}"),
        ("idle", f"docker's container 'idle' ({'c' * 12}) has no record; {ALL}"),
    ],
    ids=["id", "name", "beginning", "of two", "unknown", "no record", "no record, by name"],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="the hint is another one for a user")
def test_container_that_is_meant(word: str, expected: str, machine: Machine) -> None:
    of_moby(machine, *IDS)
    listed = (of_docker(IDS[0], "web"), of_docker(IDS[1], "db"), of_docker("c" * 64, "idle"))

    assert choose(machine, word, *listed) == expected


def test_name_counts_before_the_beginning_of_an_id(machine: Machine) -> None:
    of_moby(machine, *IDS)

    assert choose(machine, "aa22", of_docker(IDS[2], "aa22")) == IDS[2]


def test_name_of_several(machine: Machine, process: int) -> None:
    labels = {"nerdctl/name": "job"}
    for name in IDS:
        machine.record(name, f"{TASKS}/default/{name}", labels=labels)
    assert choose(machine, "job") == IDS[2]  # all are gone: the youngest

    machine.state(IDS[0], process, start_of(process))
    assert choose(machine, "job") == IDS[0]

    machine.state(IDS[1], process, start_of(process))
    assert choose(machine, "job") == (
        "2 containers are called 'job': aa22aa22aa22, aa11aa11aa11; name one by its id"
    )


def test_ids_are_shown_until_they_differ(machine: Machine) -> None:
    for number in range(6):
        machine.record(f"{'a' * 20}{number}")

    assert choose(machine, "aaa").startswith(
        f"'aaa' is the beginning of 6 ids: {'a' * 20}5, {'a' * 20}4, {'a' * 20}3, {'a' * 20}2"
        " and 2 more; "
    )


TODAY = datetime.date(2026, 11, 30)


def entry(**fields: Any) -> Entry:
    whole: dict[str, Any] = {
        "container": IDS[0],
        "names": (),
        "time": "2026-11-30T18:13:20+00:00",
        "engine": "docker",
        "image": "ubuntu",
        "devices": ("0",),
        "state": "running",
        "bundle": "/b",
        "failed": "",
    }
    return Entry(**whole | fields)


def test_table() -> None:
    rows = [
        entry(names=("web",)),
        entry(time="2026-01-02T03:04:05+00:00", engine="containerd", state="gone"),
        entry(container="c1", time="2025-12-31T00:00:00+00:00", engine="", image="", devices=()),
    ]

    assert container_table.lines(rows, TODAY) == [
        "container     created      engine      state    devices  image",
        "web           18:13:20     docker      running  0        ubuntu",
        "aa11aa11aa11  01-02 03:04  containerd  gone     0        ubuntu",
        "c1            2025-12-31   -           running  -        -",
    ]


@pytest.mark.parametrize(
    ("name", "devices", "end"),
    [
        ("w" * 12, ("nvidia.com/gpu=0", "/dev/nvidia1"), "0,nvidia1  …training/training:24.10-py3"),
        ("w" * 12, ("GPU-" + "a" * 36,), "GPU-aaaaaaaaaaaa…  …/training:24.10-py3"),
        ("w" * 30, ("GPU-" + "a" * 36,), "GPU-aaaa…  …24.10-py3"),
    ],
    ids=["image", "both", "as far as it goes"],
)
def test_table_cuts_images_and_devices(name: str, devices: tuple[str, ...], end: str) -> None:
    image = "registry.example.com/team/training/training:24.10-py3"

    row = container_table.lines([entry(names=(name,), image=image, devices=devices)], TODAY)[1]

    assert row == f"{name}  18:13:20  docker  running  {end}"


def test_name_is_never_cut() -> None:
    """It is there to be repeated."""
    row = container_table.lines([entry(names=("w" * 70,))], TODAY)[1]

    assert row.startswith("w" * 70 + "  ")
