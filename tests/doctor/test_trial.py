# SPDX-License-Identifier: Apache-2.0
"""The trial by our runtime alone: real containers on simulated machines, and what fails in them."""

from __future__ import annotations

import compileall
import inspect
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import shim
import simulated
import waiting
from cli import ctk
from engines import cgroups
from engines.installed import require

from nvidia_runtime.doctor import subject, trial
from nvidia_runtime.doctor.finding import ERROR, WARNING, Finding
from nvidia_runtime.doctor.trial import codes as trial_codes
from nvidia_runtime.doctor.trial import cuda as trial_cuda
from nvidia_runtime.doctor.trial import reading
from nvidia_runtime.doctor.trial import root as trial_root
from nvidia_runtime.doctor.trial import run as trial_run
from nvidia_runtime.simulate import catalogue

from .patient import Answer

RANGE = "NCT-08"
OURS = {one.name for one in catalogue.machines() if one.architecture == platform.machine()}
MACHINES = [one for one in simulated.names(loaded=True) if one.values[0] in OURS]
# A spec of ours, which our runtime and others read, after a change of it by Python.
SPEC = """
"$PYTHON" -c "$CTK" --quiet cdi generate --format=json --output=/etc/cdi/nvidia.json
"$PYTHON" - <<'END'
import json
path = "/etc/cdi/nvidia.json"
spec = json.load(open(path))
edits = spec["containerEdits"]
def is_cuda(mount):
    return "libcuda.so" in mount["containerPath"]
{change}
json.dump(spec, open(path, "w"))
END
"""
SETTINGS = """
mkdir -p /etc/nvidia-container-runtime
cat >/etc/nvidia-container-runtime/config.toml <<'END'
{text}
END
"""
CDI = SETTINGS.format(text='[nvidia-container-runtime]\nmode = "cdi"')
# A low-level runtime that changes what ours has written, and goes on as runc.
BENEATH = """
cat >/opt/beneath <<'END'
#!/bin/sh
case " $* " in *" create "*) "$PYTHON" - "$@" <<'MORE' || exit 1
import json, sys
path = sys.argv[sys.argv.index("--bundle") + 1] + "/config.json"
document = json.load(open(path))
{change}
json.dump(document, open(path, "w"))
MORE
esac
exec runc "$@"
END
chmod 755 /opt/beneath
"""
LOW_LEVEL = SETTINGS.format(text='[nvidia-container-runtime]\nruntimes = ["/opt/beneath"]')
RULES = 'document["linux"]["resources"]["devices"] = [{"allow": False, "access": "rwm"}]'
POWER = """
for node in document["linux"]["devices"]:
    if node["path"] == "/dev/nvidia0":
        node |= {"uid": 65534, "fileMode": 0o600}
for names in document["process"]["capabilities"].values():
    names[:] = [name for name in names if name != "CAP_DAC_OVERRIDE"]
"""


def spec(change: str) -> str:
    """Return the lines that write a spec with a change, and a config.toml that takes it."""
    return SPEC.format(change=change) + CDI


def beneath(change: str) -> str:
    """Return the lines that put a program between our runtime and runc."""
    return BENEATH.format(change=change) + LOW_LEVEL


def words(machine: str, fault: str, *arguments: str, **options: Any) -> list[str]:
    """Return the command that tries runc on a machine with a fault."""
    script = f'{fault}\nexec "$@"'
    doctor = [sys.executable, "-c", ctk.PROGRAM, "doctor", "--try", "runc", *arguments]
    return simulated.words(machine, ["sh", "-euc", script, "sh", *doctor], **options)


def variables(folder: Path) -> dict[str, str]:
    """Return the environment: our runtime is the tree's, and temporary files have their folder."""
    return {
        "PATH": f"{shim.TREE}/packaging/bin:{os.environ['PATH']}:/usr/sbin:/sbin",
        "PYTHONPATH": str(shim.TREE),
        "PYTHON": sys.executable,
        "CTK": ctk.PROGRAM,
        "TMPDIR": str(folder),
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder for temporary files, where runc can start containers."""
    simulated.need_root()
    require("runc")
    if why := cgroups.missing(cgroups.usual()):
        pytest.skip(why)
    return tmp_path


def attempt(place: Path, machine: str, fault: str = "", **options: Any) -> Answer:
    """Try runc on a machine, and see that nothing is left."""
    command = words(machine, fault, "--json", **options)
    got = subprocess.run(
        command, env=variables(place), capture_output=True, text=True, check=False, timeout=120
    )
    assert "Traceback" not in got.stderr, got.stderr
    assert got.stdout, got.stderr
    check_nothing_left(place)
    return Answer(got.returncode, json.loads(got.stdout))


def check_nothing_left(place: Path) -> None:
    assert os.listdir(place) == []
    groups = [path for root in cgroups.mounts() for path in Path(root).glob(f"{trial_run.NAME}-*")]
    # Other tests may try at the same time: the name has the id of the process that made it.
    assert [path for path in groups if not waiting.is_alive(int(path.name.split("-")[2]))] == []


def said(answer: Answer) -> list[str]:
    """Return the codes of the trial's own range."""
    return answer.codes(RANGE)


FAULTS = [
    pytest.param(
        spec('edits["mounts"] = [one for one in edits["mounts"] if not is_cuda(one)]'),
        {},
        [trial_codes.LIBRARY_MISSING],
        "there is no libcuda.so.1 in the container",
        id="libcuda is not in the spec",
    ),
    pytest.param(
        spec(
            'for one in edits["mounts"]:\n'
            '    if is_cuda(one): one["containerPath"] = "/opt/nv/libcuda.so.1"\n'
            'edits["hooks"] = []\n'
        ),
        {},
        [trial_codes.LIBRARY_MISSING],
        "it is not found, though /opt/nv/libcuda.so.1 is in the container",
        id="libcuda's folder is not in the loader's cache",
    ),
    pytest.param(
        spec(
            'for one in edits["mounts"]:\n'
            '    if is_cuda(one): one["hostPath"] = "/usr/bin/nvidia-debugdump"\n'
        ),
        {},
        [trial_codes.LIBRARY_BROKEN],
        "libcuda.so.1: file too short",
        id="libcuda is no library",
    ),
    pytest.param(
        spec(
            'edits["deviceNodes"] = '
            '[one for one in edits["deviceNodes"] if one["path"] != "/dev/nvidia-uvm"]'
        ),
        {},
        [trial_codes.NODE_MISSING],
        "/dev/nvidia-uvm is on the host, and not in the container",
        id="nvidia-uvm is not in the spec",
    ),
    pytest.param(
        beneath(RULES),
        {},
        [trial_codes.NODE_DENIED],
        "/dev/nvidia-uvm: opening it gives: operation not permitted; the same holds for 4 other nodes",
        id="the device control group denies",
    ),
    pytest.param(
        beneath(POWER),
        {},
        [trial_codes.NODE_FORBIDDEN],
        "/dev/nvidia0: opening it gives: permission denied",
        id="the node is another user's",
    ),
    pytest.param(
        SETTINGS.format(text="accept-nvidia-visible-devices-envvar-when-unprivileged = false"),
        {},
        [trial_codes.NO_NODES],
        "there is none in /dev of the container",
        id="the variable is not accepted",
    ),
    pytest.param(
        beneath("sys.exit('nothing works')"),
        {},
        [trial_codes.PLAIN],
        "nothing works",
        id="no container starts",
    ),
    pytest.param(
        spec('edits["deviceNodes"].append({"path": "/dev/nvidia-gone"})'),
        {},
        [trial_codes.REFUSED],
        "/dev/nvidia-gone",
        id="the spec names a node that is gone",
    ),
    pytest.param(
        "", {"fail": ["cuInit:100"]}, [trial_cuda.NO_DEVICE], "cuInit answers 100", id="cuInit 100"
    ),
    pytest.param(
        "", {"fail": ["cuInit:803"]}, [trial_cuda.MISMATCH], "cuInit answers 803", id="cuInit 803"
    ),
    pytest.param(
        "", {"fail": ["cuInit:802"]}, [trial_cuda.NOT_READY], "cuInit answers 802", id="cuInit 802"
    ),
    pytest.param(
        "", {"fail": ["cuInit:999"]}, [trial_cuda.UNKNOWN], "cuInit answers 999", id="cuInit 999"
    ),
    pytest.param(
        "", {"fail": ["cuInit:34"]}, [trial_cuda.STUB], "cuInit answers 34", id="cuInit 34"
    ),
    pytest.param(
        "", {"fail": ["cuInit:77"]}, [trial_cuda.OTHER], "cuInit answers 77", id="cuInit 77"
    ),
    pytest.param(
        "",
        {"crash": ["cuInit"]},
        [trial_codes.CRASHES],
        "it ended at cuInit",
        id="libcuda crashes",
    ),
]


@pytest.mark.parametrize(("fault", "options", "codes", "what"), FAULTS)
def test_fault_is_found(
    place: Path, fault: str, options: dict[str, Any], codes: list[Any], what: str
) -> None:
    answer = attempt(place, "t4x1", fault, **options)

    assert sorted(set(said(answer))) == [code.id for code in codes]
    first = next(one for one in answer.document["findings"] if one["code"] == codes[0].id)
    assert what in first["what"]
    assert (first["severity"], first["engine"], answer.code) == (ERROR, "runc", 1)
    assert answer.document["engines"]["runc"]


@pytest.mark.parametrize("machine", MACHINES)
def test_silent(place: Path, machine: str) -> None:
    answer = attempt(place, machine)

    print(answer.document)
    assert said(answer) == []


# A shell in the background lets its commands ignore SIGINT.
HEEDING = ("env", "--default-signal=INT,TERM")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_ctrl_c(place: Path, number: signal.Signals) -> None:
    command = words("t4x1", "", hang=["cuInit"])
    with subprocess.Popen(
        [*HEEDING, *command],
        env=variables(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        waiting.eventually(
            lambda: [file for file in place.glob("*/*/out") if "cuInit" in file.read_text()],
            "the container starts CUDA",
            process,
        )
        process.send_signal(number)
        process.communicate(timeout=waiting.PATIENCE)

    assert process.returncode not in (0, 1)
    check_nothing_left(place)


BUILD = """
import sys
sys.path.insert(0, sys.argv[1])
from nvidia_runtime.doctor.trial import root as trial_root
trial_root.build(sys.argv[2], trial_root.rows())
"""
LARGE = shutil.ignore_patterns("__pycache__", "test", "tests", "idlelib", "*-packages", "config-*")
OBSTINATE = """#!/bin/sh
case " $* " in
*" create "*) [ -z "$SLEEPY" ] || exec sleep 600; echo "${SAID:-nothing works}" >&2; exit 1 ;;
*) echo it is busy >&2; exit 1 ;;
esac
"""


@pytest.fixture
def obstinate(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a runtime that creates no container, and removes none."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "nvidia-container-runtime"
    program.write_text(OBSTINATE)
    program.chmod(0o755)
    return folder


def by(obstinate: Path, place: Path, monkeypatch: pytest.MonkeyPatch, **env: str) -> list[Finding]:
    """Try an obstinate runtime, in this process."""
    for name, value in {
        "PATH": f"{obstinate}:{os.environ['PATH']}",
        "TMPDIR": place,
        **env,
    }.items():
        monkeypatch.setenv(name, str(value))
    here = subject.of("/nowhere/config.toml")
    return [one for one in trial.check(here, "runc") if isinstance(one, Finding)]


def test_what_cannot_be_removed_is_named(
    obstinate: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = by(obstinate, place, monkeypatch)

    assert (first.code, first.what) == (trial_codes.PLAIN, "nothing works")
    assert {one.code for one in others} == {trial_codes.LEFT}
    assert others[0].command.split()[-3:-1] == ["delete", "--force"]
    assert os.listdir(place) == []


def test_trial_that_is_wrong_itself_accuses_nobody(
    obstinate: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'ctypes'"

    first, *_ = by(obstinate, place, monkeypatch, SAID=said)

    assert (first.code, first.weight) == (trial_codes.CRASHES, WARNING)
    assert first.what.endswith("ModuleNotFoundError: No module named 'ctypes'")


def test_what_hangs_is_named(obstinate: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_run, "FOR_CONTAINER", 0.5)

    first, *_ = by(obstinate, place, monkeypatch, SLEEPY="yes")

    assert first.code == trial_codes.HANGS
    assert first.where.endswith(": create")
    assert os.listdir(place) == []


def test_cuda_that_hangs_is_named() -> None:
    seen = reading.sight("['step', 'its device nodes']\n['step', 'cuInit']\n")
    ended = trial_run.Ended(is_late=True)

    *_, last = reading.findings(seen, ended, "a way", "")

    assert (last.code, last.what, last.where) == (
        trial_codes.HANGS,
        "cuInit does not end",
        "a way: cuInit",
    )


def test_node_that_works_on_the_host_only() -> None:
    """No device control group does that: a security module does."""
    nodes = [reading.Node("/dev/null", 1, 3, 6)]
    seen = reading.Sight(nodes=nodes, is_whole=True)

    (finding,) = reading.findings(seen, trial_run.Ended(), "a way", "")

    assert finding.code == trial_codes.NODE_DEAD
    assert finding.what == (
        "/dev/null: it can be opened on the host, and opening it in the container gives:"
        " no such device or address"
    )


@pytest.mark.parametrize(
    "line", ["[", "['node', '/dev/nvidia0']", "['cuda', 'x', 'y']", "{}", "[1]", "[" * 9999, "\0"]
)
def test_odd_line_is_left_out(line: str) -> None:
    seen = reading.sight(f"{line}\n['end']\n")

    assert (seen.nodes, seen.cuda, seen.is_whole) == ([], None, True)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        pytest.param(
            "for folder in $TMPDIR /tmp /var/tmp /var/lib\n"
            "do mount -t tmpfs -o noexec none $folder; done",
            "no folder for temporary files lets programs be run;"
            " TMPDIR names one that is not mounted noexec",
            id="noexec",
        ),
        pytest.param(
            "mount -t tmpfs -o size=1m none $TMPDIR",
            "no space left on device; the trial needs 30 MB there; TMPDIR names another folder",
            id="no room",
        ),
    ],
)
def test_place_that_cannot_be(place: Path, fault: str, why: str) -> None:
    """Another TMPDIR, as the hint has it, is one in which a trial can be."""
    answer = attempt(place, "t4x1", fault)
    (skipped,) = [one for one in answer.document["skipped"] if one["area"] == "trial"]
    assert skipped["why"].endswith(why)

    answer = attempt(place, "t4x1", f"{fault}\nmkdir /opt/place\nexport TMPDIR=/opt/place")
    assert answer.document["fine"]["trial"]


def test_interpreter_without_sources(tmp_path: Path) -> None:
    """As in a bundle of ours, whose standard library is compiled only."""
    simulated.need_root()
    folder = tmp_path / "python"
    library = Path(os.__file__).parent
    shutil.copytree(library, folder / "lib" / library.name, ignore=LARGE)
    compileall.compile_dir(folder, quiet=2, legacy=True, workers=1)
    for file in folder.rglob("*.py"):
        file.unlink()
    program = folder / "bin/python3"
    program.parent.mkdir()
    shutil.copy(os.path.realpath(sys.executable), program)
    root = tmp_path / "root"
    words = [os.fspath(program), "-S", "-c", BUILD, os.fspath(shim.TREE), os.fspath(root)]

    subprocess.run(
        words, check=True, env={"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}
    )
    done = subprocess.run(
        ["chroot", os.fspath(root), *trial_root.WORDS],
        env=trial_root.ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.endswith("['end']\n")
    assert not [*(root / "nvidia-doctor/modules").rglob("*.py")]


def test_unknown_engine() -> None:
    got = ctk.run("doctor", "--try", "rkt")

    assert got.code == 1
    assert got.err.startswith("nvidia-ctk: there is no engine 'rkt' that could be tried\nhint: ")


def test_each_code_is_tested() -> None:
    here = Path(__file__)
    text = here.read_text() + here.with_name("test_trial_engines.py").read_text()
    names = {
        f"{module.__name__.rpartition('.')[2]}.{name}": code
        for module in (trial_codes, trial_cuda)
        for name, code in inspect.getmembers(module)
        if code in trial.CODES
    }

    assert set(names.values()) == set(trial.CODES)
    assert [name for name in names if name not in text] == []
