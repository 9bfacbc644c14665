# SPDX-License-Identifier: Apache-2.0
"""What is taken back, also after others have edited the files, and without a journal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nvidia_runtime.engines import apply, journal, undo
from nvidia_runtime.engines.engine import Intent
from nvidia_runtime.engines.supported import ENGINES
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from pathlib import Path

CRI = 'plugins."io.containerd.grpc.v1.cri"'
RUNC = f"""version = 2
[{CRI}.containerd]
default_runtime_name = "runc"
[{CRI}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{CRI}.containerd.runtimes.runc.options]
SystemdCgroup = true
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", "/nowhere")  # no engine that judges


def forget(tmp_path: Path) -> None:
    (tmp_path / "state" / journal.NAME).unlink()


def configure(engine: str, intent: Intent) -> list[str]:
    plan = ENGINES[engine].configure(intent)
    return apply.configure(ENGINES[engine], intent, plan, messages.append)


def unconfigure(engine: str, intent: Intent, name: str = "") -> list[str]:
    plan = undo.plan(ENGINES[engine], intent, name)
    apply.unconfigure(ENGINES[engine], intent, plan, messages.append, name)
    return list(plan.warnings)


messages: list[str] = []


class Docker:
    """A daemon.json."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "docker" / "daemon.json"

    def intent(self, name: str = "nvidia", path: str = "nvidia-container-runtime") -> Intent:
        return Intent(
            name=name, program=path, config=str(self.file), is_default=name == "nvidia", cdi=True
        )

    def write(self, text: str) -> None:
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(text)


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path)


def test_what_others_changed_since_stays(docker: Docker) -> None:
    docker.write('{\n    "debug": true,\n    "default-runtime": "crun"\n}\n')
    configure("docker", docker.intent())
    text = docker.file.read_text()
    text = text.replace('"debug": true', '"debug": false').replace(
        '"cdi": true', '"cdi": true, "buildkit": true'
    )
    docker.write(text.replace('"args": []', '"args": ["--debug"]'))

    unconfigure("docker", docker.intent())

    assert docker.file.read_text() == (
        '{\n    "debug": false,\n    "default-runtime": "crun",\n    "features": {\n'
        '        "buildkit": true\n    }\n}\n'
    )


def test_default_that_others_chose_since_stays(docker: Docker) -> None:
    docker.write('{"default-runtime": "runc"}')
    configure("docker", docker.intent())
    docker.write(docker.file.read_text().replace('e": "nvidia"', 'e": "kata"'))

    warnings = unconfigure("docker", docker.intent())

    assert json.loads(docker.file.read_text()) == {"default-runtime": "kata"}
    assert warnings == [f"{docker.file}: default-runtime was changed since and stays"]


def test_several_runs_and_edits_between_them(docker: Docker) -> None:
    docker.write('{"debug": true}')
    configure("docker", docker.intent())
    docker.write(docker.file.read_text().replace("{", '{"mtu": 1400, ', 1))
    configure(
        "docker", docker.intent(name="nvidia-cdi", path="/usr/bin/nvidia-container-runtime.cdi")
    )
    configure("docker", docker.intent(path="/opt/nvidia-container-runtime"))

    unconfigure("docker", docker.intent())

    assert docker.file.read_text() == '{"mtu": 1400, "debug": true}'


def test_one_of_several_runtimes(docker: Docker) -> None:
    configure("docker", docker.intent())
    configure("docker", docker.intent(name="nvidia-cdi"))

    unconfigure("docker", docker.intent(name="nvidia-cdi"), "nvidia-cdi")

    document = json.loads(docker.file.read_text())
    assert (list(document["runtimes"]), document["default-runtime"]) == (["nvidia"], "nvidia")


def test_file_that_we_made_stays_with_what_others_added(docker: Docker) -> None:
    configure("docker", docker.intent())
    docker.write(docker.file.read_text().replace("{", '{"mtu": 1400,', 1))

    unconfigure("docker", docker.intent())

    assert json.loads(docker.file.read_text()) == {"mtu": 1400}


def test_file_that_was_removed_since_stays_away(docker: Docker) -> None:
    docker.write('{"mtu": 1400}')
    configure("docker", docker.intent())
    docker.file.unlink()

    unconfigure("docker", docker.intent())

    assert not docker.file.exists()


def test_restored_entry_is_not_removed_by_a_second_run(docker: Docker) -> None:
    before = '{"runtimes": {"nvidia": {"path": "/mine"}}, "default-runtime": "nvidia"}'
    docker.write(before)
    configure("docker", docker.intent())

    for _ in range(2):
        unconfigure("docker", docker.intent())
        assert docker.file.read_text() == before
    docker.write(before.replace("{", '{"mtu": 1,', 1))
    unconfigure("docker", docker.intent())
    assert "/mine" in docker.file.read_text()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            '{"runtimes": {"nvidia": {}}, "default-runtime": "nvidia"}',
            '{"default-runtime": "runc"}',
        ),
        ('{"runtimes": {"nvidia": {}, "x": {}}}', '{"runtimes": {"x": {}}}'),
        ('{"runtimes": {"nvidia": {}}}', None),
        ('{"runtimes": {"x": {}}}', '{"runtimes": {"x": {}}}'),
        ("{}", "{}"),
        (None, None),
    ],
    ids=["default is runc again", "others stay", "nothing left", "not there", "empty", "no file"],
)
def test_without_a_journal_as_the_toolkit_removes(
    before: str | None, after: str | None, docker: Docker
) -> None:
    if before is not None:
        docker.write(before)

    unconfigure("docker", docker.intent())

    assert (docker.file.read_text() if docker.file.exists() else None) == after


class Containerd:
    """A config.toml and a drop-in."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "containerd" / "config.toml"
        self.drop_in = folder / "containerd" / "conf.d" / "99-nvidia.toml"
        self.file.parent.mkdir()
        self.file.write_text(RUNC)

    def intent(self, *, in_place: bool = False, name: str = "nvidia") -> Intent:
        return Intent(
            name=name,
            program="/usr/bin/nvidia-container-runtime",
            config=str(self.file),
            drop_in="" if in_place else str(self.drop_in),
            is_default=name == "nvidia",
        )


@pytest.fixture
def containerd(tmp_path: Path) -> Containerd:
    return Containerd(tmp_path)


def test_second_runtime_joins_the_first(containerd: Containerd) -> None:
    configure("containerd", containerd.intent())
    configure("containerd", containerd.intent(name="nvidia-cdi"))
    text = containerd.drop_in.read_text()
    assert configure("containerd", containerd.intent(name="nvidia-cdi")) == []

    assert f"[{CRI}.containerd.runtimes.nvidia]" in text
    assert f"[{CRI}.containerd.runtimes.nvidia-cdi]" in text
    assert 'default_runtime_name = "nvidia"' in text
    unconfigure("containerd", containerd.intent())
    assert containerd.file.read_text() == RUNC
    assert not containerd.drop_in.parent.exists()


def test_imports_of_others_stay(containerd: Containerd) -> None:
    configure("containerd", containerd.intent())
    text = containerd.file.read_text().replace('imports = ["', 'imports = ["/etc/mine.toml", "')
    containerd.file.write_text(text + "[debug]\nlevel = 'info' # mine\n")

    unconfigure("containerd", containerd.intent())

    expected = RUNC.replace("version = 2\n", 'version = 2\nimports = ["/etc/mine.toml"]\n')
    assert containerd.file.read_text() == expected + "[debug]\nlevel = 'info' # mine\n"
    assert not containerd.drop_in.parent.exists()


def test_in_place_lines_of_ours_go(containerd: Containerd) -> None:
    configure("containerd", containerd.intent(in_place=True))
    containerd.file.write_text("# mine\n" + containerd.file.read_text() + "# the end\n")

    unconfigure("containerd", containerd.intent(in_place=True))

    assert containerd.file.read_text() == f"# mine\n{RUNC}# the end\n"


def test_drop_in_keeps_what_others_put_there(containerd: Containerd) -> None:
    """The table of the CRI plugin stays whole with another setting: a part would replace it all."""
    configure("containerd", containerd.intent())
    text = containerd.drop_in.read_text()
    registry = f'[{CRI}.registry]\nconfig_path = "/etc/certs.d" # mine\n'
    containerd.drop_in.write_text(text + registry)
    configure("containerd", containerd.intent())
    assert containerd.drop_in.read_text() == text + registry

    unconfigure("containerd", containerd.intent())

    left = containerd.drop_in.read_text()
    assert registry in left
    assert "SystemdCgroup = true" in left
    assert "nvidia" not in left


def test_drop_in_of_the_toolkit_goes_without_a_journal(
    containerd: Containerd, tmp_path: Path
) -> None:
    configure("containerd", containerd.intent())
    forget(tmp_path)

    unconfigure("containerd", containerd.intent())

    assert not containerd.drop_in.exists()


def test_file_of_imports_alone_goes_without_a_journal(
    containerd: Containerd, tmp_path: Path
) -> None:
    containerd.file.unlink()
    configure("containerd", containerd.intent())
    forget(tmp_path)

    unconfigure("containerd", containerd.intent())

    assert not containerd.drop_in.exists()
    assert not containerd.file.exists()


def test_broken_file_is_left_alone(containerd: Containerd) -> None:
    configure("containerd", containerd.intent())
    containerd.file.write_text("version = \n")

    with pytest.raises(NvidiaRuntimeError, match=r"config.toml:1:11: invalid value"):
        unconfigure("containerd", containerd.intent())

    assert containerd.drop_in.exists()


def test_no_place_for_the_journal(
    docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a read-only /var/lib an engine can be configured all the same."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "file" / "x"))
    messages.clear()

    configure("docker", docker.intent())

    assert "nvidia" in docker.file.read_text()
    assert messages[0].startswith("no backup, and no way back but the toolkit's: ")


def test_run_that_was_killed_before_it_wrote(docker: Docker) -> None:
    """The journal is written first; what never came into the file is not taken back."""
    docker.write('{"mtu": 1400}')
    entry = journal.Entry(
        engine="docker",
        before='{"mtu": 1400}',
        after='{"mtu": 1400, "runtimes": {"nvidia": {}}}',
        runtimes=("nvidia",),
    )
    journal.write({str(docker.file): entry})

    unconfigure("docker", docker.intent())

    assert docker.file.read_text() == '{"mtu": 1400}'


def test_runc_that_came_with_ours_goes_without_a_journal(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("version = 2\n")
    intent = Intent(
        name="nvidia",
        program="/usr/bin/nvidia-container-runtime",
        config=str(file),
        drop_in=str(tmp_path / "conf.d" / "99-nvidia.toml"),
    )
    configure("containerd", intent)
    assert "runtimes.runc]" in (tmp_path / "conf.d" / "99-nvidia.toml").read_text()
    forget(tmp_path)

    unconfigure("containerd", intent)

    assert not (tmp_path / "conf.d" / "99-nvidia.toml").exists()


@pytest.mark.parametrize(
    ("version", "cri"),
    [("", "plugins.cri"), ("version = 2\n", CRI)],
    ids=["version 1", "version 2"],
)
@pytest.mark.parametrize("others", [[], ["kata"], ["kata", "runc"]], ids=str)
def test_runc_takes_our_place_beside_others(
    others: list[str], version: str, cri: str, tmp_path: Path
) -> None:
    """containerd 1 starts without CRI where the default is missing in a table of runtimes."""
    file = tmp_path / "config.toml"
    text = f"{version}[{cri}.containerd]\ndefault_runtime_name = 'nvidia'\n"
    for name in ("nvidia", *others):
        text += f"[{cri}.containerd.runtimes.{name}.options]\nSystemdCgroup = true\n"
    file.write_text(text)
    intent = Intent(name="nvidia", program="/x", config=str(file))

    unconfigure("containerd", intent)

    left = file.read_text() if file.exists() else ""
    assert "nvidia" not in left
    assert left.count("SystemdCgroup = true") == len({*others, "runc"}) * bool(others)
    assert ("runtimes.runc" in left) == bool(others)


def test_drop_in_that_stays_is_still_imported(tmp_path: Path) -> None:
    file, drop_in = tmp_path / "config.toml", tmp_path / "conf.d" / "99-nvidia.toml"
    file.write_text(RUNC)
    intent = Intent(
        name="nvidia",
        program="/usr/bin/nvidia-container-runtime",
        config=str(file),
        drop_in=str(drop_in),
    )
    configure("containerd", intent)
    drop_in.write_text(
        f'{drop_in.read_text()}[{CRI}.containerd.runtimes.kata]\nruntime_type = "k"\n'
    )

    warnings = unconfigure("containerd", intent)

    assert "runtimes.kata]" in drop_in.read_text()
    assert "runtimes.nvidia]" not in drop_in.read_text()
    assert f"{tmp_path}/conf.d/*.toml" in file.read_text()
    assert [warning for warning in warnings if "stays, as does its import" in warning]
