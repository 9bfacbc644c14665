# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk config: print config.toml, change it, or write a new one."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from nvidia_runtime import schemas
from nvidia_runtime.compile import config, toml_text

from . import ctk

# A file of an administrator: comments, a list over several lines, an unknown setting.
OWN = """\
# node 7, see the wiki

swarm-resource = "R" # by variable

# how the driver is found
[nvidia-container-cli]
#root = "/old/driver"
environment = [
  "A=b", # for tests
]
site = "basement"

# the runtime
[nvidia-container-runtime]
mode = "legacy" # until May

[nvidia-container-runtime.modes.cdi]
spec-dirs = ["/etc/cdi"]
"""


def put(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def set_in_place(file: Path, *options: str) -> ctk.Ended:
    return ctk.run("config", f"--config-file={file}", "-i", *(f"--set={word}" for word in options))


def test_default_is_what_the_toolkit_writes() -> None:
    got = ctk.run("config", "default")

    settings, _ = config.check({}, "")
    assert got.code == 0
    assert (
        tomllib.loads(got.out)["nvidia-container-cli"]["ldconfig"]
        == settings["nvidia-container-cli.ldconfig"]
    )
    assert got.out.startswith("#accept-nvidia-visible-devices-as-volume-mounts = false\n")
    assert len(got.lines()) == toml_text.DEFAULT.count("\n")


@pytest.mark.parametrize("alias", ["create-default", "generate-default"])
def test_default_has_the_toolkits_other_names(alias: str) -> None:
    assert ctk.run("config", alias) == ctk.run("config", "default")


def test_default_says_what_the_runtime_does_without_a_file() -> None:
    settings, warnings = config.check(tomllib.loads(toml_text.DEFAULT), "")

    assert warnings == []
    assert settings == config.check({}, "")[0]


def test_samples_in_the_default_are_those_of_the_schema() -> None:
    """The samples are valid settings."""
    text = "".join(line.lstrip("#") for line in toml_text.DEFAULT.splitlines(keepends=True))
    document = tomllib.loads(text)
    schema = schemas.schema("config")["properties"]
    cli = schema["nvidia-container-cli"]["properties"]

    assert document["swarm-resource"] in schema["swarm-resource"]["examples"]
    for name in ("debug", "ldcache", "path", "root", "user"):
        assert document["nvidia-container-cli"][name] in cli[name]["examples"]


def test_missing_file_is_the_default(tmp_path: Path) -> None:
    assert ctk.run("config", "-c", tmp_path / "none.toml") == ctk.run("config", "default")


def test_default_makes_no_folder(tmp_path: Path) -> None:
    got = ctk.run("config", "default", "-o", tmp_path / "d/c.toml")

    assert got == ctk.Ended(1, "", f"nvidia-ctk: {tmp_path}/d: there is no such folder\n")


def test_output_makes_folders(tmp_path: Path) -> None:
    got = ctk.run("config", "-c", tmp_path / "none", "-o", tmp_path / "d/e/c.toml")

    assert got == ctk.Ended(0, "", "")
    assert stat.S_IMODE((tmp_path / "d/e").stat().st_mode) == 0o755
    assert (tmp_path / "d/e/c.toml").read_text() == toml_text.default()


def test_comments_stay_and_samples_come(tmp_path: Path) -> None:
    file = put(tmp_path / "c.toml", OWN)

    got = set_in_place(
        file,
        "nvidia-container-runtime.mode=cdi",
        "nvidia-container-cli.user=root:video",
        "nvidia-container-runtime.modes.legacy.cuda-compat-mode=hook",
        "features.disable-imex-channel-creation",
    )

    assert got.code == 0
    assert (
        file.read_text()
        == """\
# node 7, see the wiki

swarm-resource = "R" # by variable
#accept-nvidia-visible-devices-as-volume-mounts = false
#accept-nvidia-visible-devices-envvar-when-unprivileged = true

# how the driver is found
[nvidia-container-cli]
#root = "/old/driver"
environment = [
  "A=b", # for tests
]
site = "basement"
user = "root:video"
#debug = "/var/log/nvidia-container-toolkit.log"
#ldcache = "/etc/ld.so.cache"
#no-cgroups = false
#path = "/usr/bin/nvidia-container-cli"

# the runtime
[nvidia-container-runtime]
mode = "cdi" # until May
#debug = "/var/log/nvidia-container-runtime.log"

[nvidia-container-runtime.modes.cdi]
spec-dirs = ["/etc/cdi"]

[nvidia-container-runtime.modes.legacy]
cuda-compat-mode = "hook"

[features]
disable-imex-channel-creation = true
"""
    )
    assert "unknown setting nvidia-container-cli.site" in got.err


def test_second_run_changes_nothing(tmp_path: Path) -> None:
    file = put(tmp_path / "c.toml", OWN)
    set_in_place(file, "disable-require")
    before = (file.read_bytes(), file.stat().st_ino)

    set_in_place(file, "disable-require")

    assert (file.read_bytes(), file.stat().st_ino) == before


def test_a_sample_that_is_set_stays_in_its_place(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    set_in_place(file, "nvidia-container-cli.root=/run/nvidia/driver")

    assert file.read_text() == toml_text.default().replace('#root = "', 'root = "')


def test_line_ends_of_another_system_stay(tmp_path: Path) -> None:
    file = put(tmp_path / "c.toml", "disable-require = true\r\n[nvidia-ctk]\r\npath = 'x'\r\n")

    set_in_place(file, "nvidia-ctk.path=y", "swarm-resource=R")

    data = file.read_bytes()
    assert data.count(b"\n") == data.count(b"\r\n")
    assert tomllib.loads(data.decode())["swarm-resource"] == "R"


def test_byte_order_mark_stays(tmp_path: Path) -> None:
    """As the toolkit reads it."""
    file = put(tmp_path / "c.toml", "\ufeffdisable-require = true\n")

    assert set_in_place(file, "swarm-resource=R").code == 0

    text = file.read_text()
    assert text.startswith("\ufeff")
    assert text.count("\ufeff") == 1
    settings = config.load(str(file))[0]
    assert (settings["disable-require"], settings["swarm-resource"]) == (True, "R")


@pytest.mark.parametrize("flag", ["-i", "--output={}"])
def test_none_of_several_at_once_is_lost(flag: str, tmp_path: Path) -> None:
    file = put(tmp_path / "c.toml", OWN)
    environment = {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PATH": os.environ["PATH"],
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    words = [sys.executable, "-c", ctk.PROGRAM, "config", f"--config={file}", flag.format(file)]
    wanted = {
        "swarm-resource": "S",
        "nvidia-container-cli.root": "/r",
        "nvidia-container-cli.path": "/p",
        "nvidia-container-cli.debug": "/d",
        "nvidia-ctk.path": "/c",
        "nvidia-container-runtime.mode": "cdi",
    }

    running = [
        subprocess.Popen([*words, f"--set={key}={value}"], env=environment)
        for key, value in wanted.items()
    ]
    assert [process.wait() for process in running] == [0] * len(wanted)

    settings = config.load(str(file))[0]
    assert {key: settings[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("text", "mode"),
    [("a = {b = {c = 1}}\n", 0o400), ("nvidia-container-cli = []\n", 0o600)],
    ids=["may not be written", "cannot be edited"],
)
def test_hints_name_no_flag_that_it_lacks(text: str, mode: int, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    file = put(folder / "c.toml", text)
    file.chmod(mode)
    option = "nvidia-container-cli.root=/x"

    got = set_in_place(file, option)

    flags = {word.strip("-=,.;:") for word in got.err.split() if word.startswith("--")}
    assert flags <= {"set", "config", "in-place", "output"}


def test_mode_owner_and_link_stay(tmp_path: Path) -> None:
    file = put(tmp_path / "real.toml", OWN)
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 12, 34)
    before = file.stat()
    (tmp_path / "c.toml").symlink_to("real.toml")

    assert set_in_place(tmp_path / "c.toml", "disable-require").code == 0

    after = file.stat()
    assert (tmp_path / "c.toml").is_symlink()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert "disable-require = true" in file.read_text()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        pytest.param("x:y", ["x", "y"], id="colon"),
        pytest.param("x,y", ["x", "y"], id="comma"),
        pytest.param("x", ["x"], id="one"),
        pytest.param("", [], id="none"),
    ],
)
def test_list(tmp_path: Path, option: str, value: list[str]) -> None:
    got = ctk.run(
        "config", "-c", tmp_path / "none", "--set", f"nvidia-container-runtime.runtimes={option}"
    )

    assert tomllib.loads(got.out)["nvidia-container-runtime"]["runtimes"] == value


def test_list_with_another_separator(tmp_path: Path) -> None:
    got = ctk.run(
        "config",
        "--set-list-separator=|",
        "--set=nvidia-container-cli.environment=A=b:c,d|E=f",
        "-c",
        tmp_path / "none",
    )

    assert tomllib.loads(got.out)["nvidia-container-cli"]["environment"] == ["A=b:c,d", "E=f"]


@pytest.mark.parametrize(
    ("option", "says"),
    [
        pytest.param(
            "nvidia-container-runtime.mod=cdi",
            "--set nvidia-container-runtime.mod=cdi: unknown setting "
            "'nvidia-container-runtime.mod'\nhint: did you mean nvidia-container-runtime.mode? "
            "'nvidia-ctk config explain' lists the settings",
            id="typo",
        ),
        pytest.param(
            "nvidia-container-cli=x",
            "--set nvidia-container-cli=x: nvidia-container-cli is a table\n"
            "hint: 'nvidia-ctk config explain nvidia-container-cli' lists its settings",
            id="table",
        ),
        pytest.param(
            "disable-require=yes",
            "--set disable-require=yes: disable-require must be true or false, not 'yes'",
            id="no boolean",
        ),
        pytest.param(
            "swarm-resource",
            "--set swarm-resource: swarm-resource has no value\n"
            "hint: write --set swarm-resource=VALUE",
            id="no value",
        ),
        pytest.param(
            "swarm-resource=R,disable-require=true",
            "--set swarm-resource=R,disable-require=true: disable-require after a comma would "
            "become a part of swarm-resource\nhint: give each setting a --set of its own",
            id="two in one",
        ),
        pytest.param(
            "nvidia-container-runtime.mode=cdj",
            "--set nvidia-container-runtime.mode=cdj: nvidia-container-runtime.mode must be one of "
            "auto, legacy, csv, cdi, jit-cdi, not 'cdj'",
            id="no mode",
        ),
        pytest.param(
            "nvidia-container-runtime.modes.cdi.default-kind=gpu",
            "--set nvidia-container-runtime.modes.cdi.default-kind=gpu: "
            "nvidia-container-runtime.modes.cdi.default-kind must be a kind of device, not 'gpu': "
            "no vendor: it must be VENDOR/CLASS=DEVICE\nhint: the default is nvidia.com/gpu",
            id="no kind",
        ),
        pytest.param(
            "nvidia-container-runtime.requirements=maybe",
            "FILE: nvidia-container-runtime.requirements must be one of warn, enforce, ignore, not "
            "'maybe'\nhint: correct the file; without one, the defaults hold",
            id="no choice",
        ),
        pytest.param(
            "nvidia-container-runtime-hook.timeout=-1",
            "FILE: nvidia-container-runtime-hook.timeout must be a whole number of seconds from 0 "
            "to 86400, not a string\nhint: correct the file; without one, the defaults hold",
            id="no number of seconds",
        ),
        pytest.param(
            "nvidia-container-cli.ldconfig=/sbin/ldconfig",
            "FILE: nvidia-container-cli.ldconfig '/sbin/ldconfig' is not a path on the host: it "
            "must begin with '@'\nhint: write nvidia-container-cli.ldconfig = \"@/sbin/ldconfig\"",
            id="ldconfig of the container",
        ),
    ],
)
def test_what_could_not_be_loaded_is_not_written(tmp_path: Path, option: str, says: str) -> None:
    file = put(tmp_path / "c.toml", "disable-require = true\n")

    got = set_in_place(file, option)

    assert got == ctk.Ended(1, "", f"nvidia-ctk: {says}\n".replace("FILE", str(file)))
    assert file.read_text() == "disable-require = true\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("a = \n", "Invalid value (at line 1, column 5)", id="no value"),
        pytest.param("a = 1\n\nb =", "Invalid value (at line 3, column 4, the end)", id="cut off"),
        pytest.param("[x\n", "Expected ']' at the end of a table declaration (at line 1, column 3)",
                     id="open header"),
    ],
)  # fmt: skip
def test_malformed_file_is_named_with_line_and_column(tmp_path: Path, text: str, says: str) -> None:
    file = put(tmp_path / "c.toml", text)

    got = set_in_place(file, "disable-require")

    assert (got.code, got.out) == (1, "")
    assert got.err.splitlines()[0] == f"nvidia-ctk: {file}: is not TOML: {says}"
    assert file.read_text() == text


def test_wrong_type_is_corrected_by_set(tmp_path: Path) -> None:
    file = put(tmp_path / "c.toml", 'disable-require = "yes"\n')

    assert ctk.run("config", "-c", file).code == 1
    assert set_in_place(file, "disable-require").code == 0
    assert tomllib.loads(file.read_text())["disable-require"] is True


def test_feature_nil_removes_it(tmp_path: Path) -> None:
    file = put(tmp_path / "c.toml", "[features]\nallow-ldconfig-from-container = true # x\n")

    set_in_place(file, "features.allow-ldconfig-from-container=nil")

    assert tomllib.loads(file.read_text())["features"] == {}


def test_in_place_excludes_output(tmp_path: Path) -> None:
    got = ctk.run("config", "-c", tmp_path / "c.toml", "-i", "-o", tmp_path / "d.toml")

    assert (got.code, got.err.splitlines()[0]) == (
        1,
        "nvidia-ctk: --in-place and --output cannot be used together",
    )
    assert list(tmp_path.iterdir()) == []


def test_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.toml").mkdir()

    got = set_in_place(tmp_path / "c.toml", "disable-require")

    says = f"{tmp_path}/c.toml: cannot read the configuration: is a directory"
    assert (got.code, got.err) == (1, f"nvidia-ctk: {says}\n")


def test_settings_on_one_line_get_no_samples(tmp_path: Path) -> None:
    """An inline table cannot contain comments; its values are changed nevertheless."""
    file = put(tmp_path / "c.toml", "nvidia-container-cli = { load-kmods = true }\n")

    assert set_in_place(file, "nvidia-container-cli.user=u").code == 0

    document = tomllib.loads(file.read_text())
    assert document["nvidia-container-cli"] == {"load-kmods": True, "user": "u"}
