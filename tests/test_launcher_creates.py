# SPDX-License-Identifier: Apache-2.0
"""Creates that ask for nothing: the launcher knows them from config.json's text, without Python."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import builders
import pytest
import shim
from shim import Site

from nvidia_runtime import start
from nvidia_runtime.admission import request, words
from nvidia_runtime.compile import config
from nvidia_runtime.oci import argv
from nvidia_runtime.store.snapshot import Snapshot

Shell = tuple[str, str]


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        machine.write_bundle(builders.spec())
        machine.settle()
        yield machine


@pytest.fixture(params=shim.shells())
def shell(request: pytest.FixtureRequest) -> Shell:
    choice: Shell = request.param
    return choice


def configure(site: Site, text: str) -> None:
    """Write settings besides the runtime."""
    site.write_config(f'{text}\n{shim.NAME}.runtimes = ["{site.runtime}"]\n')
    site.settle()


def learn(site: Site) -> Path:
    """Let Python write the shortcut; then make it name another program than config.toml does."""
    assert site.create().runtime == "runc"
    file = site.shortcut()
    assert file is not None
    other = site.write_runtime("shortcut")
    file.write_text(file.read_text().replace(str(site.runtime), str(other)))
    shutil.copystat(site.config, file)
    return file


def asking(**fields: Any) -> dict[str, Any]:
    return {**builders.spec(), **fields}


def environment(*entries: str) -> dict[str, Any]:
    spec = builders.spec()
    spec["process"]["env"] += entries
    return spec


def text_of(spec: dict[str, Any]) -> bytes:
    return json.dumps(spec).encode()


HOOK = {"path": "/usr/bin/nvidia-container-runtime-hook", "args": ["x", "prestart"]}
CDI_HOOK = {"path": "/opt/x/nvidia-ctk", "args": ["nvidia-ctk", "hook", "noop"]}
# What a create must be asked of Python for.
ASKING = {
    "devices": text_of(environment("NVIDIA_VISIBLE_DEVICES=all")),
    "void": text_of(environment("NVIDIA_VISIBLE_DEVICES=void")),
    "an old CUDA image": text_of(environment("CUDA_VERSION=9.0")),
    "channels": text_of(environment("NVIDIA_IMEX_CHANNELS=0")),
    "a letter by its number": text_of(environment("X_VISIBLE_DEVICES=all")).replace(
        b"X_VIS", b"\\u004eVIDIA_VIS"
    ),
    "all by numbers": b'{"process": {"env": ["%s"]}}'
    % b"".join(b"\\u%04x" % byte for byte in b"NVIDIA_VISIBLE_DEVICES=all"),
    "an annotation": text_of(asking(annotations={"cdi.k8s.io/x": "nvidia.com/gpu=0"})),
    "another vendor's device": text_of(asking(annotations={"cdi.k8s.io/x": "vendor.com/x=0"})),
    "a dot by its number": b'{"annotations": {"cdi\\u002Ek8s\\u002eio/x": "vendor.com/x=0"}}',
    "a digit by its number": b'{"annotations": {"cdi.k\\u0038s.io/x": "vendor.com/x=0"}}',
    "a slash with a backslash": b'{"annotations": {"cdi.k8s.io\\/x": "vendor.com/x=0"}}',
    "a prestart hook": text_of(asking(hooks={"prestart": [HOOK]})),
    "a hook of native CDI": text_of(asking(hooks={"createContainer": [CDI_HOOK]})),
}


def test_create_that_asks_for_nothing_starts_no_python(site: Site, shell: Shell) -> None:
    learn(site)

    got = site.create(shell=shell)

    assert (got.runtime, got.err, got.code) == ("shortcut", "", 0)
    assert got.words[1:] == [b"create", b"--bundle", os.fsencode(site.bundle), b"c1"]


def test_command_of_a_shell_as_go_writes_it_asks_for_nothing(site: Site, shell: Shell) -> None:
    """It has the numbers of signs that are in no word."""
    learn(site)
    spec = builders.spec()
    spec["process"]["args"] = ["sh", "-c", "read x <a && echo \N{LINE SEPARATOR}\x1b >b & wait"]
    text = text_of(spec)
    for sign in b"&<>":
        text = text.replace(b"%c" % sign, b"\\u%04x" % sign)
    site.write_bundle(text)

    assert site.create(shell=shell).runtime == "shortcut"


@pytest.mark.parametrize("asked", ASKING)
def test_create_that_asks_is_python_s(asked: str, site: Site, shell: Shell) -> None:
    learn(site)
    site.write_bundle(ASKING[asked])

    assert site.create(shell=shell).runtime != "shortcut"


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ('swarm-resource = "DOCKER_RESOURCE_GPU,OTHER"', environment("OTHER=GPU-1")),
        (
            f'{shim.NAME}.modes.cdi.annotation-prefixes = ["x.io/a/longest/"]',
            asking(annotations={"x.io/a/longest/0": "vendor.com/x=0"}),
        ),
        (
            f'{shim.NAME}.modes.cdi.annotation-prefixes = ["\N{LATIN SMALL LETTER E WITH ACUTE}"]',
            asking(annotations={"\N{LATIN SMALL LETTER E WITH ACUTE}0": "vendor.com/x=0"}),
        ),
        (
            f'{shim.NAME}.modes.cdi.annotation-prefixes = [""]',
            asking(annotations={"anything": "vendor.com/x=0"}),
        ),
        (
            "accept-nvidia-visible-devices-as-volume-mounts = true",
            asking(
                mounts=[
                    {
                        "source": "/dev/null",
                        "destination": "/var/run//nvidia-container-devices/all",
                    }
                ]
            ),
        ),
    ],
)
def test_settings_that_make_a_request(text: str, asked: dict[str, Any], site: Site) -> None:
    configure(site, text)
    file = learn(site)
    site.write_bundle(asked)

    assert site.create().runtime != "shortcut"
    assert file.exists()


@pytest.mark.parametrize(
    "text",
    [
        f'{shim.NAME}.image-requests = "deny"',
        f'{shim.NAME}.debug = "{{folder}}/debug.log"',
        "unknown-setting = 1",
    ],
)
def test_settings_by_which_python_looks_at_all(text: str, site: Site) -> None:
    configure(site, text.format(folder=site.folder))
    for _ in range(2):
        assert site.create().runtime == "runc"

    file = site.shortcut()

    assert file is None or file.read_text().splitlines()[1:] == ["1:"]


# The words of a create, and whether the launcher understands them.
LINES = [
    ("create --bundle {b} c1", True),
    ("create --bundle={b} c1", True),
    ("create -b {b} c1", True),
    ("create c1 --bundle {b}", True),
    ("create --bundle {b} --pid-file {b}/pid --console-socket /x --no-pivot c1", True),
    ("create --pid-file={b}/pid --console-socket=/x --no-new-keyring --bundle {b} c1", True),
    ("--root /x --log {b}/log --log-format json --systemd-cgroup create --bundle {b} c1", True),
    ("--root=/x --log={b}/log --log-format=json create --bundle {b} c1", True),
    ("--root create create --bundle {b} create", True),
    ("--debug create --bundle {b} c1", False),
    ("--debug=false create --bundle {b} c1", False),
    ("--unknown create --bundle {b} c1", False),
    ("--criu x create --bundle {b} c1", False),
    ("create --config other.json --bundle {b} c1", False),
    ("create --preserve-fds 1 --bundle {b} c1", False),
    ("create --bundle {b}/nowhere c1", False),
    ("create c1 --bundle", False),
    ("-- create --bundle {b} c1", False),
    ("create --bundle {b} -- c1", False),
    ("create --bundle {b} --version c1", False),
]


@pytest.mark.parametrize(("line", "is_understood"), LINES)
def test_words(line: str, is_understood: bool, site: Site, shell: Shell) -> None:
    """Where they are, Python reads the same bundle from them."""
    learn(site)
    given = [word.format(b=site.bundle) for word in line.split()]

    got = site.run(*given, shell=shell)

    assert (got.runtime == "shortcut") == is_understood, got.err
    if is_understood:
        assert got.words[1:] == [word.encode() for word in given]
        assert argv.parse(given).bundle == str(site.bundle)
        assert (argv.parse(given).config, argv.parse(given).debug) == ("config.json", False)


def test_bundle_is_the_working_directory(site: Site, shell: Shell) -> None:
    learn(site)
    assert site.run("create", "c1", shell=shell, cwd=site.bundle).runtime == "shortcut"
    site.write_bundle(builders.asking())

    assert site.run("create", "c1", shell=shell, cwd=site.bundle).runtime != "shortcut"


def make_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("change", [Path.unlink, make_fifo])
def test_config_json_that_is_no_file_is_python_s(
    change: Callable[[Path], None], site: Site, shell: Shell
) -> None:
    learn(site)
    change(site.bundle / "config.json")

    got = site.create(shell=shell)

    assert (got.runtime, got.code) == ("", 1)


@pytest.mark.parametrize(
    "second",
    ["", "1:", "1:grep", "1:/nowhere/grep", "1:/bin/true", "2:/usr/bin/grep", "/usr/bin/grep"],
)
def test_doubt_about_grep(second: str, site: Site, shell: Shell) -> None:
    file = learn(site)
    first, _, *rest = file.read_text().splitlines()
    file.write_text("\n".join([first, second, *rest, ""]))
    shutil.copystat(site.config, file)
    site.write_bundle(builders.asking())

    got = site.create(shell=shell)

    assert got.runtime != "shortcut"


def test_nothing_is_taken_from_an_older_version_s_shortcut(site: Site, shell: Shell) -> None:
    """It has one line; the first create that asks makes it anew."""
    file = learn(site)
    file.write_text(file.read_text().splitlines()[0] + "\n")
    shutil.copystat(site.config, file)

    assert site.create(shell=shell).runtime == "runc"
    assert file.read_text().splitlines()[1][:3] == "1:/"
    assert "nvidia" in file.read_text().splitlines()


def test_state_alone_knows_no_words(site: Site) -> None:
    """It may be the first call; a create adds them."""
    assert site.run("state", "c1").runtime == "runc"
    file = site.shortcut()
    assert file is not None
    assert file.read_text().splitlines()[1:] == ["0:"]

    site.create()

    assert len(file.read_text().splitlines()) > 5


def test_words_are_learnt_where_a_create_asks_for_nothing(site: Site, shell: Shell) -> None:
    """Where all ask, as under a runtime that users name, looking for words would only cost."""
    site.write_specs(nvidia=builders.cdi_spec())
    lines = []
    for spec in (builders.asking(), builders.asking(), builders.spec(), builders.asking()):
        site.write_bundle(spec)
        assert site.create(shell=shell).runtime == "runc"
        file = site.shortcut()
        assert file is not None
        lines.append(file.read_text().splitlines()[1][:3])

    assert lines == ["0:", "0:", "1:/", "1:/"]


# Random texts of config.json.
NAMES = ["NVIDIA_VISIBLE_DEVICES", "NVIDIA_IMEX_CHANNELS", "NVIDIA_GDS", "CUDA_VERSION", "SWARM"]
OTHERS = ["PATH", "HOME", "GPU", "VISIBLE_DEVICES", "NVIDI", "CUDA"]
VALUES = ["all", "0", "enabled", "9.0", "", "vendor.com/x=0", "\u00e9\u20ac", 'a"b\\c/d']
KEYS = ["cdi.k8s.io/x", "cdi.k8s.io/", "io.kubernetes/x", "cdi.k8s", "run.oci/hooks"]
PROGRAMS = [*start.HOOKS, *start.TOOLKIT_HOOKS, "other-hook"]


def random_spec(chance: random.Random) -> dict[str, Any]:
    spec: dict[str, Any] = {"ociVersion": "1.0.2", "process": {"env": []}}
    for _ in range(chance.randrange(4)):
        name = chance.choice(NAMES if chance.random() < 0.3 else OTHERS)
        spec["process"]["env"].append(f"{name}={chance.choice(VALUES)}")
    if chance.random() < 0.3:
        spec["annotations"] = {chance.choice(KEYS): chance.choice(VALUES)}
    if chance.random() < 0.3:
        path = f"/usr/bin/{chance.choice(PROGRAMS)}"
        stage = chance.choice(["prestart", "createContainer", "poststop"])
        spec["hooks"] = {stage: [{"path": path, "args": [path]}]}
    if chance.random() < 0.2:
        folder = chance.choice(["/var/run/nvidia-container-devices", "/var/run/other"])
        spec["mounts"] = [{"source": "/dev/null", "destination": f"{folder}/all"}]
    return spec


def spell(chance: random.Random, value: Any, escapes: float) -> str:
    """Write JSON in any of the ways that it allows."""
    blank = chance.choice(["", "", " ", "\n\t"])
    if isinstance(value, dict):
        rows = [
            f"{spell(chance, k, escapes)}{blank}:{blank}{spell(chance, v, escapes)}"
            for k, v in value.items()
        ]
        return "{" + f",{blank}".join(rows) + "}"
    if isinstance(value, list):
        return "[" + f"{blank},".join(spell(chance, part, escapes) for part in value) + "]"
    return '"' + "".join(letter(chance, sign, escapes) for sign in value) + '"'


def letter(chance: random.Random, sign: str, escapes: float) -> str:
    if chance.random() < escapes:
        number = f"{ord(sign):04x}"
        return "\\u" + (number if chance.random() < 0.5 else number.upper())
    if sign == "/":
        return chance.choice(["/", "\\/"])
    return {'"': '\\"', "\\": "\\\\"}.get(sign, sign)


def does_ask(spec: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Whether Python would do anything."""
    asked = request.read(spec, settings, "config.json")
    empty = request.Request()
    said = [name for name in request.Request.__slots__ if name not in ("environment", "privileged")]
    if any(getattr(asked, name) != getattr(empty, name) for name in said):
        return True
    programs = (*start.HOOKS, *start.TOOLKIT_HOOKS)
    stages = spec.get("hooks", {}).values()
    return any(hook["path"].rpartition("/")[2] in programs for hooks in stages for hook in hooks)


@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.long)])
def test_no_request_is_missed(count: int, tmp_path: Path) -> None:
    """However it is spelled, by the very grep and words that the launcher has."""
    settings = {
        **config.defaults(),
        "swarm-resource": "SWARM",
        "accept-nvidia-visible-devices-as-volume-mounts": True,
    }
    chance = random.Random(14)
    list_of_words = words.of_requests(snapshot(settings))
    (tmp_path / "words").write_text("".join(f"{word}\n" for word in list_of_words))
    folder = tmp_path / "texts"
    folder.mkdir()
    asking_files: set[str] = set()
    for number in range(count):
        spec = random_spec(chance)
        text = spell(chance, spec, chance.choice([0.0, 0.0, 0.0, 0.01, 1.0]))
        assert json.loads(text) == spec
        (folder / str(number)).write_text(text)
        if does_ask(spec, settings):
            asking_files.add(str(number))

    matching = subprocess.run(
        ["sh", "-c", "ls | LC_ALL=C xargs grep -lFf ../words --"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()

    assert asking_files - set(matching) == set()
    assert count / 10 < len(asking_files) < count * 0.9
    assert len(matching) < count * 0.9


def snapshot(settings: dict[str, Any]) -> Snapshot:
    result = Snapshot.__new__(Snapshot)
    result.settings, result.warnings = settings, []
    return result
