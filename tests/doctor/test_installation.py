# SPDX-License-Identifier: Apache-2.0
"""What doctor says of our own programs and files: each fault is made, then found."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import shim
import simulated
from engines.files import listener

from nvidia_runtime.doctor import installation, subject
from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Finding
from nvidia_runtime.doctor.installation import programs, state
from nvidia_runtime.doctor.installation import runtime as install_runtime
from nvidia_runtime.doctor.installation import settings as install_settings
from nvidia_runtime.doctor.installation import units as install_units
from nvidia_runtime.store import files

from . import patient

PROGRAM = (
    "#!{}\nimport sys\nsys.path.insert(0, {!r})\nfrom nvidia_runtime.cli import main\nmain()\n"
)
CONFIG = "/etc/nvidia-container-runtime/config.toml"
STATE = "/run/nvidia-container-runtime"
UNITS = "/etc/systemd/system"
LEFT = f"{STATE}/.snapshot-1.4711"
MACHINE = "t4x1"
# Commands that show more, and change nothing, and what needs a systemd that runs.
SHOWING = re.compile(
    "nvidia-ctk config (explain|validate)|findmnt|df |journalctl|systemctl|.*--version$"
)


def install(folder: Path) -> Path:
    """Install our programs into a folder, with a runc of today; return the folder."""
    for launcher in sorted(shim.BIN.iterdir()):
        shutil.copy(launcher, folder)
    write(folder / "nvidia-ctk", PROGRAM.format(sys.executable, str(shim.TREE)))
    write(folder / "runc", "#!/bin/sh\necho runc version 1.4.0\n")
    return folder


def write(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)


def setting(text: str) -> str:
    """Return the shell line that writes config.toml."""
    return f"mkdir -p {CONFIG.rpartition('/')[0]}; cat >{CONFIG} <<'END'\n{text}\nEND"


def unit(program: str) -> str:
    """Return the shell lines that install a unit."""
    text = f"[Service]\\nExecStart={program} cdi refresh\\n"
    return f"mkdir -p {UNITS}; printf '{text}' >{UNITS}/nvidia-cdi-refresh.service"


ENABLED = f"mkdir -p {UNITS}/multi-user.target.wants; ln -s ../nvidia-cdi-refresh.service {UNITS}/multi-user.target.wants/"
RUNTIME = "[nvidia-container-runtime]\n"
OLD_RUNC = "mkdir -p /opt/x; printf '#!/bin/sh\\necho runc version 1.1.5\\n' >/opt/x/runc; chmod 755 /opt/x/runc\n"
STATE_MADE = f"mkdir -p {STATE}"
AS_USER = 'exec setpriv --reuid=65534 --clear-groups "$@"'
OWN_TMP = """
mkdir /run/keep
mount --bind "$HERE" /run/keep
mount -t tmpfs -o mode=1777 none /tmp
mkdir -p "$HERE"
mount --bind /run/keep "$HERE"
"""
OWN = "/tmp/nvidia-container-runtime-65534"

FAULTS: dict[str, tuple[str, Code, str]] = {
    "no TOML": (setting("x ="), install_settings.INVALID, ERROR),
    "wrong type": (setting("disable-require = 1"), install_settings.INVALID, ERROR),
    "mode": (setting(f'{RUNTIME}mode = "jit"'), install_settings.INVALID, ERROR),
    "directory": (f"mkdir -p {CONFIG}", install_settings.INVALID, ERROR),
    "misspelled": (setting(f'{RUNTIME}moed = "cdi"'), install_settings.UNKNOWN, WARNING),
    "nobody may ask": (
        setting("accept-nvidia-visible-devices-envvar-when-unprivileged = false"),
        install_settings.CONTRADICTION,
        NOTE,
    ),
    "list for nothing": (
        setting(f'{RUNTIME}image-devices = ["0"]'),
        install_settings.CONTRADICTION,
        NOTE,
    ),
    "no capability": (
        setting('supported-driver-capabilities = ""'),
        install_settings.CONTRADICTION,
        WARNING,
    ),
    "csv on a PC": (setting(f'{RUNTIME}mode = "csv"'), install_settings.CONTRADICTION, WARNING),
    "cdi without specs": (setting(f'{RUNTIME}mode = "cdi"'), install_settings.NO_SPECS, ERROR),
    "program gone": (
        setting('[nvidia-container-cli]\npath = "/gone"'),
        install_settings.NOWHERE,
        WARNING,
    ),
    "mode 0666": (f"{setting('')}\nchmod 666 {CONFIG}", install_settings.WRITABLE, WARNING),
    "log is a pipe": (
        "mkfifo /run/a-pipe; " + setting(f'{RUNTIME}debug = "/run/a-pipe"'),
        install_settings.LOG,
        WARNING,
    ),
    "log below a file": (
        setting(f'{RUNTIME}debug = "/etc/passwd/log"'),
        install_settings.LOG,
        WARNING,
    ),
    "no runc": (setting(f'{RUNTIME}runtimes = ["gone"]'), install_runtime.NONE, ERROR),
    "old runc": (
        OLD_RUNC + setting(f'{RUNTIME}runtimes = ["/opt/x/runc"]'),
        install_runtime.FLAWED,
        WARNING,
    ),
    "legacy without its program": (
        setting(f'{RUNTIME}mode = "legacy"\n[nvidia-container-cli]\npath = "/gone"'),
        install_runtime.NO_CLI,
        ERROR,
    ),
    "legacy without its hook": (
        setting(f'{RUNTIME}mode = "legacy"\n[nvidia-container-runtime-hook]\npath = "/gone"'),
        install_runtime.NO_HOOK,
        ERROR,
    ),
    "hook missing": ("rm $HERE/nvidia-cdi-hook", programs.INCOMPLETE, WARNING),
    "not executable": (
        "chmod 644 $HERE/nvidia-container-runtime",
        programs.INCOMPLETE,
        ERROR,
    ),
    "interpreter gone": (
        "sed -i '1s|.*|#!/gone/bin/python3.11|' $HERE/nvidia-ctk",
        programs.NO_PYTHON,
        WARNING,
    ),
    "another toolkit": (
        "mkdir -p $HERE/x; cp /bin/true $HERE/x/nvidia-container-runtime; PATH=$HERE/x:$PATH",
        programs.OTHERS_FIRST,
        WARNING,
    ),
    "folder of a user": (f"{STATE_MADE}; chown 1000 {STATE}", state.NOT_OURS, WARNING),
    "folder for all": (f"{STATE_MADE}; chmod 777 {STATE}", state.NOT_OURS, WARNING),
    "a link": (f"mount -t tmpfs tmpfs /run; ln -s /etc {STATE}", state.NOT_OURS, WARNING),
    "full": (
        f"{STATE_MADE}; mount -t tmpfs -o size=1M,mode=755 tmpfs {STATE}",
        state.FULL,
        WARNING,
    ),
    "no inode": (
        f"{STATE_MADE}; mount -t tmpfs -o nr_inodes=1,mode=755 tmpfs {STATE}",
        state.FULL,
        WARNING,
    ),
    "tomorrow": (
        f"{setting('')}\ntouch -d '+20 minutes' {CONFIG}",
        state.FUTURE_FILE,
        WARNING,
    ),
    "many records": (
        f"mkdir -p {STATE}/containers; cd {STATE}/containers; seq 2500 | xargs touch; cd /",
        state.RECORDS,
        NOTE,
    ),
    "program of a unit": (
        "nvidia-ctk system install-units --nvidia-ctk-path=/gone/nvidia-ctk >&2",
        install_units.NO_PROGRAM,
        WARNING,
    ),
    "unit is off": (unit("/bin/true"), install_units.DISABLED, NOTE),
    "settings of a unit": (
        "nvidia-ctk system install-units >&2;"
        "echo export NVIDIA_CTK_DRIVER_ROOT=/ >/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env",
        install_units.SKIPPED,
        NOTE,
    ),
    "unit has written nothing": (
        f"nvidia-ctk system install-units >&2; {ENABLED}; mkdir -p /run/systemd/system;"
        "printf '#!/bin/sh\\necho ActiveState=inactive' >$HERE/systemctl; chmod 755 $HERE/systemctl",
        install_units.FAILED,
        WARNING,
    ),
    "unit failed": (
        f"{unit('/bin/true')}; {ENABLED}; mkdir -p /run/systemd/system;"
        "printf '#!/bin/sh\\necho ActiveState=failed; echo Result=start-limit-hit' >$HERE/systemctl;"
        "chmod 755 $HERE/systemctl",
        install_units.FAILED,
        WARNING,
    ),
}
# What has a test of its own, and a network file system, which none can make here.
APART = (
    state.REMOTE,
    state.NO_FOLDER,
    state.LEFT,
    programs.UNCOMPILED,
)
# A daemon with a PATH of its own, which ends with doctor.
DAEMON = """
"$1" -c '
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
words = ["dockerd", sys.argv[1], "-1", "/run/docker.sock"]
os.execve(sys.executable, words, {"PATH": sys.argv[2], "PYTHONHOME": sys.base_prefix})
' LISTENER FOLDERS >/dev/null 2>&1 &
until [ -e /run/docker.sock.ready ]; do sleep 0.05; done
"""
READ_ONLY = """
mkdir -p /run/copy; mount -t tmpfs tmpfs /run/copy; cp -r TREE/nvidia_runtime /run/copy
find /run/copy -name __pycache__ | xargs rm -r
mount -o remount,ro /run/copy; export PYTHONPATH=/run/copy; cd /
"""


def examine(folder: Path, fault: str, machine: str = MACHINE, **options: Any) -> patient.Answer:
    """Examine a machine that has our programs."""
    path = f"{install(folder)}:/usr/sbin:/usr/bin:/sbin:/bin"
    variables = {"PATH": path, "HERE": str(folder)}
    return patient.examine(machine, fault, env=variables, real=[str(folder)], **options)


@pytest.mark.parametrize(("fault", "code", "severity"), FAULTS.values(), ids=FAULTS)
def test_fault(tmp_path: Path, fault: str, code: Code, severity: str) -> None:
    answer = examine(tmp_path, fault)

    assert code.id in answer.codes("NCT-05")
    finding = answer.finding(code.id)
    assert finding["severity"] == severity
    assert finding["where"]
    if finding["next"] and not SHOWING.match(finding["next"]):
        followed = examine(tmp_path, f"{fault}\n{finding['next']}")
        assert code.id not in followed.codes()


@pytest.mark.parametrize("machine", simulated.names())
def test_silent(tmp_path: Path, machine: str) -> None:
    answer = examine(tmp_path, "", machine)

    assert answer.codes("NCT-05") == []
    assert "runc 1.4.0" in answer.document["fine"]["installation"]


def test_every_code_has_its_fault() -> None:
    tried = {code.id for code in (*APART, *(code for _, code, _ in FAULTS.values()))}

    assert tried == {code.id for code in installation.CODES}


def test_path_of_a_daemon_counts(tmp_path: Path) -> None:
    """What only a shell finds, no engine does."""
    daemon = DAEMON.replace("LISTENER", listener.__file__).replace("FOLDERS", "/opt/of-docker")
    runtimes = setting(RUNTIME + 'runtimes = ["ourrunc"]')
    only_here = f"mv $HERE/runc $HERE/ourrunc\n{runtimes}"
    answer = examine(tmp_path, only_here + daemon)

    finding = answer.finding(install_runtime.NONE.id)
    assert finding["engine"] == "docker"
    assert finding["what"] == (
        "no low-level runtime found among 'ourrunc' in the PATH of docker: /opt/of-docker"
    )


def test_docker_by_the_hook_calls_the_program_of_the_settings(tmp_path: Path) -> None:
    daemon = DAEMON.replace("LISTENER", listener.__file__).replace("FOLDERS", str(tmp_path))
    answer = examine(tmp_path, setting('[nvidia-container-cli]\npath = "/gone"') + daemon)

    finding = answer.finding(install_runtime.NO_CLI.id)
    assert (finding["engine"], finding["severity"]) == ("docker", NOTE)


def test_user_without_a_folder(tmp_path: Path) -> None:
    """Where anybody may move what is in /tmp."""
    answer = examine(tmp_path, f"{OWN_TMP}\nchmod 777 /tmp\n{AS_USER}")

    assert answer.finding(state.NO_FOLDER.id)["what"] == "XDG_RUNTIME_DIR is not set"


def test_user_whose_folder_another_has_made(tmp_path: Path) -> None:
    answer = examine(tmp_path, f"{OWN_TMP}\nmkdir {OWN}; chown 4711 {OWN}\n{AS_USER}")

    finding = answer.finding(state.NOT_OURS.id)
    assert finding["where"] == OWN
    assert finding["what"].startswith("it belongs to user 4711 and has mode 0755")


def test_user_without_a_session(tmp_path: Path) -> None:
    answer = examine(tmp_path, f"{OWN_TMP}\n{AS_USER}")

    assert not {state.NO_FOLDER.id, state.NOT_OURS.id} & set(answer.codes("NCT-05"))


def test_read_only_and_not_compiled(tmp_path: Path) -> None:
    answer = examine(tmp_path, READ_ONLY.replace("TREE", str(shim.TREE)))

    assert answer.finding(programs.UNCOMPILED.id)["severity"] == NOTE


def test_what_killed_processes_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[nvidia-container-runtime.modes.cdi]\nspec-dirs = ["{tmp_path}"]\n')
    left = tmp_path / ".nvidia.yaml.4711"
    for name in (left.name, ".nvidia.yaml.20260101", ".nvidia.yaml.swp"):
        (tmp_path / name).touch()
    assert left_files(config) == []
    monkeypatch.setattr(files, "LEFT_SECONDS", -1)  # no test waits for a minute

    assert left_files(config) == [str(left)]


def left_files(config: Path) -> list[str]:
    said = state.check(subject.of(str(config)))
    listed = [one for one in said if isinstance(one, Finding) and one.code == state.LEFT]
    return [one.what for one in listed]


@pytest.mark.parametrize(
    ("version", "flaws"),
    [
        ((1, 0, 3), 2),
        ((1, 1, 5), 2),
        ((1, 1, 12), 1),
        ((1, 2, 7), 1),
        ((1, 2, 8), 0),
        ((1, 3, 0), 1),
        ((1, 3, 3), 0),
        ((1, 4, 0), 0),
        ((1, 5, 1), 0),
    ],
)
def test_flaws_of_runc(version: tuple[int, ...], flaws: int) -> None:
    table = install_runtime.FLAWS["runc"]

    assert sum(install_runtime.is_flawed(version, mended) for _, mended in table) == flaws


def test_unit_that_has_written_its_spec(tmp_path: Path) -> None:
    output = "NVIDIA_CTK_CDI_OUTPUT_FILE_PATH=/run/ours.json"
    fault = (
        f"nvidia-ctk system install-units >&2; {ENABLED}; mkdir -p /run/systemd/system;"
        f"echo {output} >>/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env; touch /run/ours.json;"
        "printf '#!/bin/sh\\necho ActiveState=inactive' >$HERE/systemctl; chmod 755 $HERE/systemctl"
    )

    assert examine(tmp_path, fault).codes("NCT-05") == []


def test_flaws_of_what_a_distribution_packages_are_notes(tmp_path: Path) -> None:
    """It may have the corrections in a version that is older than they are."""
    packaged = (
        "mkdir -p /opt/x /var/lib/dpkg/info; mount -t tmpfs tmpfs /var/lib/dpkg/info;"
        "echo /opt/x/runc >/var/lib/dpkg/info/runc.list\n"
    )
    own = OLD_RUNC + setting(f'{RUNTIME}runtimes = ["/opt/x/runc"]')

    finding = examine(tmp_path, f"{packaged}\n{own}").finding(install_runtime.FLAWED.id)
    assert finding["severity"] == NOTE
    assert finding["what"].endswith("unless its package has the corrections")


@pytest.mark.parametrize(
    "fault",
    [
        f"mkdir -p /etc/nvidia-container-runtime; mkfifo {CONFIG}",
        f"mkdir -p /etc/nvidia-container-runtime; ln -s config.toml {CONFIG}",
        f"mkdir -p /etc/nvidia-container-runtime; head -c 100000 /dev/urandom >{CONFIG}",
        f"mkdir -p /etc/nvidia-container-runtime; touch {CONFIG}; chmod 0 {CONFIG}",
        "rm $HERE/nvidia-ctk; mkfifo $HERE/nvidia-ctk",
        f"{STATE_MADE}; mkfifo {STATE}/containers; chmod 000 {STATE}",
        "printf '#!/bin/sh\nsleep 60\n' >$HERE/runc",
        "printf '\\377\\376' >$HERE/runc",
        setting(f'{RUNTIME}runtimes = ["/dev/zero", "", "/proc/self/exe"]'),
        setting(f'{RUNTIME}debug = "/proc/self/fd/1/x"'),
        f"mkdir -p {UNITS}; mkfifo {UNITS}/nvidia-cdi-x.service",
        "export XDG_RUNTIME_DIR=nowhere",
    ],
)
@pytest.mark.parametrize("user", ["", AS_USER])
def test_oddities_crash_nothing(tmp_path: Path, fault: str, user: str) -> None:
    codes = examine(tmp_path, f"{fault}\n{user}").codes("NCT-00")

    assert codes == []
