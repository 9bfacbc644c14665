# SPDX-License-Identifier: Apache-2.0
"""The launcher: every word reaches the low-level runtime, and its shortcut is taken in no doubt."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import builders
import pytest
import shim
from shim import NAME, SECOND, Site, needs_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Words = list[bytes]
Shell = tuple[str, str]

ODD = [
    *(b"", b" ", b"  two  blanks ", b"\t", b"\n", b"a\nb", b"newline at the end\n", b"\r\n"),
    *(b"*", b"?", b"/*", b"[a-z]*", b"{a,b}", b"~", b"~root", b"!", b"!!", b"(", b")", b"[", b"]"),
    *(b"'", b'"', b"'\"'", b"`touch x`", b"$(touch x)", b"$HOME", b"${x:?}", b"$$", b"$@", b"$1"),
    *(b"\\", b"\\\\", b"\\n", b"a\\", b"\\0", b"%s%n", b"#", b"#!/bin/sh", b"&", b";", b"|", b"<>"),
    *(b"\xff", b"\xff\xfe", b"\xc3", b"\xc3\xa9", b"\xed\xa0\x80", b"\x01", b"\x7f", b"\x1b[0m"),
    *(b"-", b"--", b"---", b"-n", b"-e", b"-c", b"-x", b"-s", b"+x", b"=", b"a=b", b"--a=b"),
    *(b"nvcr_ask=", b"PATH=/", b"IFS=/", b"done", b"esac", b"}", b"x" * 5000, b"\xff" * 5000),
    *(b"create", b"create\n", b" create", b"Create", b"creates", b"--bundle=create", b"create=x"),
    *(b"version", b"-version", b"--version", b"-v", b"-V", b"--versions", b"-vv", b"--no-version"),
    *(b"state", b"--root", b"--log-format", b"json", b"--systemd-cgroup", b"--debug=false"),
]


def cases() -> list[Words]:
    """List command lines: every odd word alone, within a call, and mixtures of them."""
    chance = random.Random(1)
    lines: list[Words] = [[]]
    lines += [[word] for word in ODD]
    lines += [[b"--root", b"/run/x", b"state", word, b"c1"] for word in ODD]
    lines += [chance.choices(ODD, k=chance.randint(2, 8)) for _ in range(120)]
    lines += [[b"x"] * 4000]
    return lines


CASES = cases()
# Found in the words of one of these, the launcher must ask Python.
DOUBTS = [
    ["create"],
    ["--root", "create", "state", "c1"],
    ["start", "create"],
    ["--", "create"],
    ["--version"],
    ["-version"],
    ["-v"],
    ["-V"],
    ["exec", "c1", "nvcc", "--version"],
]


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        machine.write_bundle(builders.spec())
        yield machine


@pytest.fixture(params=shim.shells())
def shell(request: pytest.FixtureRequest) -> Shell:
    choice: Shell = request.param
    return choice


def learn(site: Site) -> Path:
    """Let Python write the shortcut; then make it name another program than config.toml does."""
    assert site.run("state", "c1").runtime == "runc"
    file = site.shortcut()
    assert file is not None
    other = site.write_runtime("shortcut")
    rewrite(site, file, file.read_text().replace(str(site.runtime), str(other)))
    assert site.run("state", "c1").runtime == "shortcut"
    return file


def rewrite(site: Site, file: Path, text: str) -> None:
    """Write a shortcut that looks current: its mtime is that of config.toml."""
    file.write_text(text)
    shutil.copystat(site.config, file)


def wrong(site: Site, shell: Shell, runtimes: set[str]) -> list[tuple[Words, shim.Ended]]:
    """List the command lines that did not reach the low-level runtime as they were given."""

    def call(words: Words) -> shim.Ended:
        return site.run(*words, shell=shell, cwd=site.bundle)

    def is_right(words: Words, got: shim.Ended) -> bool:
        # runc's own flag --version is answered by both.
        got = shim.Ended(got.code, got.out.rpartition(b"\n\n/")[2] or got.out, got.err)
        return (got.code, got.err, got.words[1:]) == (0, "", words) and got.runtime in runtimes

    with ThreadPoolExecutor(3) as pool:
        ended = zip(CASES, pool.map(call, CASES), strict=True)
        return [(words, got) for words, got in ended if not is_right(words, got)]


def test_every_word_reaches_the_runtime_by_the_shortcut(site: Site, shell: Shell) -> None:
    learn(site)

    assert wrong(site, shell, {"shortcut", "runc"}) == []


def test_every_word_reaches_the_runtime_through_python(site: Site, shell: Shell) -> None:
    site.date_config(1)

    assert wrong(site, shell, {"runc"}) == []
    assert site.shortcut() is None


def test_no_word_is_executed(site: Site) -> None:
    for words in CASES:
        site.run(*words, cwd=site.bundle)

    assert [path.name for path in site.bundle.iterdir()] == ["config.json"]


@pytest.mark.parametrize("words", DOUBTS, ids=" ".join)
def test_python_is_asked(words: list[str], site: Site, shell: Shell) -> None:
    learn(site)

    assert site.run(*words, shell=shell, cwd=site.bundle).runtime != "shortcut"


def remove(path: Path) -> None:
    path.unlink()


def age(site: Site, file: Path, seconds: int) -> None:
    mtime = site.config.stat().st_mtime_ns + seconds * SECOND
    os.utime(file, ns=(mtime, mtime))


def edit(site: Site, file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    rewrite(site, file, text.replace(old, new))


def name_ourselves(site: Site, file: Path) -> None:
    """Make the shortcut name the launcher: the loop that must not be."""
    edit(site, file, f"{site.folder}/runtimes/shortcut", str(site.launcher))


def name_a_link_to_us(site: Site, file: Path) -> None:
    (site.folder / "link").symlink_to(site.launcher)
    edit(site, file, f"{site.folder}/runtimes/shortcut", f"{site.folder}/link")


def make_a_folder(_site: Site, file: Path) -> None:
    file.unlink()
    file.mkdir()


# What may have happened since Python wrote the shortcut; none of it leaves it trustworthy.
DAMAGES: dict[str, Callable[[Site, Path], object]] = {
    "the file is missing": lambda _site, file: remove(file),
    "the file is empty": lambda site, file: rewrite(site, file, ""),
    "no newline at the end": lambda site, file: edit(site, file, "\n", ""),
    "only a newline": lambda site, file: rewrite(site, file, "\n"),
    "only the key": lambda site, file: edit(site, file, f"{site.folder}/runtimes/shortcut", ""),
    "another config in the key": lambda site, file: edit(site, file, "config.toml", "CONFIG.toml"),
    "another PATH in the key": lambda site, file: edit(site, file, "/usr/sbin", "/usr/SBIN"),
    "a pattern in place of the key": lambda site, file: rewrite(
        site, file, f"*:{site.folder}/runtimes/shortcut\n"
    ),
    "a blank in front": lambda site, file: rewrite(site, file, f" {file.read_text()}"),
    "the file is older than config.toml": lambda site, file: age(site, file, -2),
    "the file is newer than config.toml": lambda site, file: age(site, file, 2),
    "config.toml was edited": lambda site, _file: site.date_config(time.time_ns()),
    "an older config.toml was restored": lambda site, _file: site.date_config(SECOND * 10**9),
    "config.toml is gone": lambda site, _file: remove(site.config),
    "the runtime vanished": lambda site, _file: remove(site.folder / "runtimes" / "shortcut"),
    "the runtime is no program": lambda site, _file: os.chmod(
        f"{site.folder}/runtimes/shortcut", 0o644
    ),
    "the runtime is this program": name_ourselves,
    "the runtime is a link to this program": name_a_link_to_us,
    "the file is a folder": make_a_folder,
}
FOREIGN: dict[str, Callable[[Site, Path], object]] = {
    "the file is another user's": lambda _site, file: os.chown(file, shim.NOBODY, 0),
    "the folder is another user's": lambda site, _file: os.chown(site.state, shim.NOBODY, 0),
}


@pytest.mark.parametrize(
    "damage",
    [pytest.param(function, id=name) for name, function in DAMAGES.items()]
    + [pytest.param(function, id=name, marks=needs_root) for name, function in FOREIGN.items()],
)
def test_shortcut_is_not_taken_if(
    damage: Callable[[Site, Path], object], site: Site, shell: Shell
) -> None:
    file = learn(site)

    damage(site, file)

    got = site.run("state", "c1", shell=shell)
    # Without config.toml the default runtimes are looked up, which this machine may have or not.
    assert got.runtime == "runc" if site.config.exists() else got.runtime != "shortcut"


@pytest.mark.parametrize("extra", ["NVIDIA_VISIBLE_DEVICES=x", "IFS=/", "ENV=/x", "nvcr_ask=yes"])
def test_shortcut_is_taken_whatever_the_environment(extra: str, site: Site, shell: Shell) -> None:
    learn(site)
    name, _, value = extra.partition("=")

    assert site.run("state", "c1", shell=shell, env={name: value}).runtime == "shortcut"


def test_shortcut_is_not_taken_for_another_path(site: Site, shell: Shell) -> None:
    learn(site)
    path = site.environment["PATH"]

    for other in (f"{path}:/x", path.replace("/usr/sbin", "/usr/SBIN"), path[1:]):
        assert site.run("state", "c1", shell=shell, env={"PATH": other}).runtime == "runc"


def test_shortcut_is_not_taken_for_another_config(site: Site, shell: Shell) -> None:
    learn(site)
    other = site.folder / "CONFIG.toml"
    shutil.copy2(site.config, other)

    env = {"NVIDIA_CTK_CONFIG_FILE_PATH": str(other)}

    assert site.run("state", "c1", shell=shell, env=env).runtime == "runc"


def test_config_may_come_from_xdg_config_home(site: Site, shell: Shell) -> None:
    folder = site.folder / "xdg" / NAME
    folder.mkdir(parents=True)
    site.config = site.config.rename(folder / "config.toml")
    site.environment["NVIDIA_CTK_CONFIG_FILE_PATH"] = ""
    site.environment["XDG_CONFIG_HOME"] = str(folder.parent)
    learn(site)

    assert site.run("state", "c1", shell=shell).runtime == "shortcut"


def test_config_that_appears_is_read(site: Site, shell: Shell) -> None:
    """Whatever was learnt without a config.toml says nothing about one that comes, of any age."""
    saved = site.folder / "saved.toml"
    site.config.rename(saved)
    defaults = site.write_runtime("default")
    site.environment["PATH"] = f"{site.folder}/runtimes:{site.environment['PATH']}"
    defaults.rename(site.folder / "bin" / "runc")
    for _ in range(2):
        assert site.run("state", "c1", shell=shell).code == 0

    saved.rename(site.config)
    site.write_config(runtimes=[str(site.write_runtime("configured"))])
    site.date_config(SECOND * 10**9)

    assert site.run("state", "c1", shell=shell).runtime == "configured"


def test_call_without_a_path_finds_everything(site: Site, shell: Shell) -> None:
    """podman calls `kill` and `delete` so; shells then search where they were built to."""
    site.launcher = shim.copy_tree(site.folder / "tree")
    (site.launcher.parent / "python3").symlink_to(site.python)
    del site.environment["PATH"]

    assert site.run("kill", "c1", shell=shell).runtime == "runc"

    file = site.shortcut()
    assert file is not None
    other = site.write_runtime("shortcut")
    edit(site, file, str(site.runtime), str(other))

    assert site.run("kill", "c1", shell=shell).runtime == "shortcut"


def test_relative_xdg_runtime_dir_is_ignored(site: Site) -> None:
    """The working directory is the bundle: nothing of ours belongs there, nor may come from there
    (XDG Base Directory Specification: "All paths set in these variables must be absolute").
    """
    options = site.unprivileged()
    site.own_tmp("1777")
    site.bundle.chmod(0o777)

    for _ in range(2):
        got = site.run(
            "state", "c1", **{**options, "env": {"XDG_RUNTIME_DIR": "."}}, cwd=site.bundle
        )
        assert got.runtime == "runc"

    assert os.listdir(site.bundle) == ["config.json"]


@pytest.mark.parametrize(
    "prevent",
    [
        pytest.param(lambda site: site.date_config(time.time_ns()), id="config.toml is too young"),
        pytest.param(lambda site: site.date_config(0), id="config.toml has an mtime of a store"),
        pytest.param(
            lambda site: (
                site.config.rename(site.folder / "real.toml"),
                site.config.symlink_to("real.toml"),
                site.date_config(time.time_ns() - 5 * SECOND),
            ),
            id="config.toml is a link",
        ),
        pytest.param(
            lambda site: site.write_config(debug=str(site.folder / "log")),
            id="each call is to be logged",
        ),
    ],
)
def test_shortcut_is_not_made_if(prevent: Callable[[Site], object], site: Site) -> None:
    file = learn(site)
    before = file.read_bytes()

    prevent(site)

    for _ in range(2):
        assert site.run("state", "c1").runtime == "runc"
    assert not file.exists() or file.read_bytes() == before


def test_shortcut_follows_the_configuration(site: Site) -> None:
    learn(site)
    site.write_config(runtimes=[str(site.write_runtime("crun"))])
    site.date_config(time.time_ns() - 5 * SECOND)
    site.settle()

    assert site.run("state", "c1").runtime == "crun"

    file = site.shortcut()
    assert file is not None
    assert file.read_text().splitlines()[0].endswith(f":{site.folder}/runtimes/crun")
    assert file.stat().st_mtime_ns == site.config.stat().st_mtime_ns
    assert file.stat().st_mode & 0o777 == 0o600


def test_only_a_few_shortcuts_are_kept(site: Site) -> None:
    for count in range(20):
        site.run("state", "c1", env={"PATH": site.environment["PATH"] + ":/x" * count})

    assert len(list(site.state.glob("low-level-runtime.*"))) == 8


@needs_root
def test_root_takes_the_folder_in_run_before_that_of_the_user(site: Site, shell: Shell) -> None:
    learn(site)
    user = site.folder / "user" / NAME
    shutil.copytree(site.state, user)
    for file in user.glob("low-level-runtime.*"):
        edit(site, file, "/shortcut", "/absent")
    env = {"XDG_RUNTIME_DIR": str(user.parent)}

    assert site.run("state", "c1", shell=shell, env=env).runtime == "shortcut"


@needs_root
def test_folder_in_run_of_another_user_counts_for_nobody(site: Site, shell: Shell) -> None:
    learn(site)
    os.chown(site.state, shim.NOBODY, shim.NOBODY)

    assert site.run("state", "c1", shell=shell).runtime == "runc"


def link_folder(user: Path, elsewhere: Path) -> None:
    """Let the user's folder be a link to one of root's."""
    shutil.move(user, elsewhere)
    user.symlink_to(elsewhere)


def link_files(user: Path, elsewhere: Path) -> None:
    """Let files in the user's folder be links to root's."""
    shutil.move(user, elsewhere)
    user.mkdir()
    for file in elsewhere.iterdir():
        (user / file.name).symlink_to(file)


@needs_root
@pytest.mark.parametrize("place", [link_folder, link_files, lambda *_: None])
def test_root_takes_no_shortcut_of_a_user_whose_environment_it_got(
    place: Callable[[Path, Path], None], site: Site, shell: Shell
) -> None:
    """A link, or a name that was moved, shows what is root's in a place that root did not choose."""
    learn(site)
    user = site.folder / "user" / NAME
    shutil.copytree(site.state, user)
    place(user, site.folder / "elsewhere")
    shutil.rmtree(site.state)
    env = {"XDG_RUNTIME_DIR": str(user.parent)}

    assert site.run("state", "c1", shell=shell, env=env).runtime == "runc"


@pytest.mark.parametrize("place", [link_folder, link_files])
def test_shortcut_is_not_taken_by_a_link(
    place: Callable[[Path, Path], None], site: Site, shell: Shell
) -> None:
    learn(site)
    place(site.state, site.folder / "elsewhere")

    assert site.run("state", "c1", shell=shell).runtime == "runc"


@pytest.mark.parametrize("name", ["[", "command", "echo", "kill", "read", "readlink", "unset"])
def test_function_from_the_environment_is_not_called(name: str, site: Site, shell: Shell) -> None:
    """Bash takes them over, as sh too: whoever sets a variable would run what he likes."""
    learn(site)
    trace = site.folder / "called"
    env = {f"BASH_FUNC_{name}%%": f'() {{ : >{trace}; builtin {name} "$@"; }}'}

    for words in (["state", "c1"], ["--version"]):
        site.run(*words, shell=shell, env=env)

    assert not trace.exists()


@needs_root
def test_root_trusts_nothing_of_a_user_whose_environment_it_got(site: Site, shell: Shell) -> None:
    learn(site)
    user = site.folder / "user" / NAME
    shutil.copytree(site.state, user)
    for path in (user, *user.iterdir()):
        os.chown(path, shim.NOBODY, shim.NOBODY)
    shutil.rmtree(site.state)
    env = {"XDG_RUNTIME_DIR": str(user.parent)}

    assert site.run("state", "c1", shell=shell, env=env).runtime == "runc"


@needs_root
def test_user_has_a_shortcut_of_his_own(site: Site, shell: Shell) -> None:
    options = site.unprivileged()

    assert site.run("state", "c1", shell=shell, **options).runtime == "runc"

    (file,) = (site.folder / "user" / NAME).glob("low-level-runtime.*")
    other = site.write_runtime("shortcut")
    edit(site, file, str(site.runtime), str(other))

    assert site.run("state", "c1", shell=shell, **options).runtime == "shortcut"


def by_absolute_path(site: Site) -> shim.Ended:
    return site.create()


def by_relative_path(site: Site) -> shim.Ended:
    folder = site.launcher.parent
    return site.create(launcher=f"./{NAME}", cwd=folder)


def by_path(site: Site) -> shim.Ended:
    path = f"{site.launcher.parent}:{site.environment['PATH']}"
    return site.create(launcher=NAME, env={"PATH": path})


def by_link(site: Site) -> shim.Ended:
    link = site.folder / "link to the launcher"
    link.symlink_to(site.launcher)
    return site.create(launcher=link)


def by_link_to_a_link(site: Site) -> shim.Ended:
    by_link(site)
    link = site.folder / NAME
    link.symlink_to("link to the launcher")
    return site.create(launcher=link)


def by_the_shell(site: Site) -> shim.Ended:
    return site.create(launcher=NAME, shell=("sh", "/bin/sh"), cwd=site.launcher.parent)


def by_link_as_readme_has_it(site: Site) -> shim.Ended:
    """Beside a link to nvidia-ctk, whose first line names the interpreter of the installation."""
    folder = site.folder / "local bin"
    folder.mkdir()
    installed = site.folder / "opt/bin"
    installed.mkdir(parents=True)
    (site.folder / "opt/nvidia_runtime").symlink_to(shim.TREE / "nvidia_runtime")
    shutil.copy(site.launcher, installed / NAME)
    (installed / "python3").symlink_to(site.python)
    (installed / "nvidia-ctk").write_text(f"#!{installed}/python3\n")
    for name in (NAME, "nvidia-ctk"):
        (folder / name).symlink_to(installed / name)
    no_readlink = site.folder / "no-readlink"
    no_readlink.mkdir()
    (no_readlink / "readlink").write_text("#!/bin/sh\nexit 1\n")
    (no_readlink / "readlink").chmod(0o755)
    path = f"{no_readlink}:{site.environment['PATH']}"
    return site.create(launcher=folder / NAME, env={"PATH": path})


CALLS = [by_absolute_path, by_relative_path, by_path, by_link, by_link_to_a_link, by_the_shell]
CALLS += [by_link_as_readme_has_it]


def check_that_it_injects(site: Site, call: Callable[[Site], shim.Ended]) -> None:
    site.write_bundle(builders.asking())
    site.write_specs(nvidia=builders.cdi_spec())

    got = call(site)

    assert (got.err, got.code, got.runtime) == ("", 0, "runc")
    assert builders.environment(site.read_bundle())[-1] == "GPU=0"


@pytest.mark.parametrize("call", CALLS)
def test_package_is_found_from_the_tree(call: Callable[[Site], shim.Ended], site: Site) -> None:
    check_that_it_injects(site, call)


@pytest.mark.parametrize("call", CALLS)
def test_package_is_found_in_a_folder_with_blanks(
    call: Callable[[Site], shim.Ended], site: Site
) -> None:
    site.launcher = shim.copy_tree(site.folder / " a folder*with [blanks] ")

    check_that_it_injects(site, call)


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a virtual environment; return the environment's bin."""
    pytest.importorskip("hatchling", reason="needs hatchling to build the wheel")
    pytest.importorskip("pip", reason="needs pip to install the wheel")
    folder = tmp_path_factory.mktemp("venv with blanks ")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    alone = ["--no-deps", "--no-index"]
    for words in (
        [*pip, "wheel", *alone, "--no-build-isolation", "-w", str(folder), str(shim.TREE)],
        [sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")],
    ):
        subprocess.run(words, check=True)
    (wheel,) = folder.glob("*.whl")
    python = folder / "venv" / "bin" / "python3"
    subprocess.run([*pip, "--python", str(python), "install", *alone, str(wheel)], check=True)
    return python.parent


@pytest.mark.parametrize("call", CALLS)
def test_package_is_found_in_a_virtual_environment(
    call: Callable[[Site], shim.Ended], site: Site, venv: Path
) -> None:
    site.launcher = venv / NAME
    site.python.unlink()  # there is one beside the launcher

    check_that_it_injects(site, call)


@needs_root
def test_folder_that_may_not_be_listed_is_named(site: Site, shell: Shell) -> None:
    """The launcher finds the package in it, but `import` does not."""
    site.launcher = shim.copy_tree(site.folder / "tree")
    site.launcher.parents[1].chmod(0o711)

    got = site.run("state", "c1", shell=shell, **site.unprivileged())

    place = f"{site.launcher.parent}/.."
    assert got.code == 1
    assert got.err == (
        f"{site.launcher}: No module named 'nvidia_runtime', but it is in {place}: "
        "let every user list that folder\n"
    )


def test_hook_beside_the_launcher_comes_first(site: Site) -> None:
    """Whatever PATH has: it may have none, or another package's."""
    site.write_config(mode="legacy")
    site.write_bundle(builders.spec("NVIDIA_VISIBLE_DEVICES=0"))

    assert site.create().code == 0

    (hook,) = site.read_bundle()["hooks"]["prestart"]
    assert hook["path"] == f"{site.launcher.parent}/nvidia-container-runtime-hook"


def test_wheel_has_the_launcher_of_the_tree(venv: Path) -> None:
    for name in (NAME, f"{NAME}.cdi", f"{NAME}.legacy"):
        assert (venv / name).read_bytes() == (shim.TREE / "packaging/bin" / NAME).read_bytes()
        assert os.access(venv / name, os.X_OK)


# An interpreter that is gone or too old, as after an upgrade of the distribution.

OLD = """#!/bin/sh
flags=$1 program=$3
shift 3
exec {python} "$flags" -c 'import sys
if sys.executable.endswith("/old"): sys.version_info = (3, 9, 2)
'"$program" "$@"
"""
NONE = (
    "no Python is found: install Python 3.11 or newer as python3, "
    "or install nvidia-container-runtime anew\n"
)


@pytest.fixture
def without_python(site: Site) -> Site:
    """Take away each interpreter that may be found."""
    site.launcher = shim.copy_tree(site.folder / "tree")
    learn(site)
    site.python.unlink()
    site.environment["PATH"] = f"{site.folder}/bin"
    return site


def test_interpreter_that_is_gone_is_replaced(site: Site, shell: Shell) -> None:
    site.launcher = shim.copy_tree(site.folder / "tree")
    (site.launcher.parent / "nvidia-ctk").write_text("#!/gone/bin/python3.11\n")
    (site.launcher.parent / "python3").symlink_to("/gone/bin/python3.11")

    check_that_it_injects(site, lambda site: site.create(shell=shell))


@pytest.mark.parametrize("name", [f"python3.{minor}" for minor in range(11, 16)])
def test_interpreter_may_have_its_version_in_its_name(name: str, site: Site, shell: Shell) -> None:
    site.launcher = shim.copy_tree(site.folder / "tree")
    site.python.rename(site.folder / "bin" / name)
    site.environment["PATH"] = f"{site.folder}/bin"

    check_that_it_injects(site, lambda site: site.create(shell=shell))


def test_interpreter_that_is_too_old_gives_way(site: Site) -> None:
    site.launcher = shim.copy_tree(site.folder / "tree")
    python = site.python.rename(site.folder / "bin" / "old")
    (python.parent / "python3.12").symlink_to(os.path.realpath(python))
    site.python.write_text(OLD.format(python=python))
    site.python.chmod(0o755)

    check_that_it_injects(site, lambda site: site.create(env={"PATH": f"{site.folder}/bin:/bin"}))


def test_interpreter_that_is_too_old_is_named(site: Site) -> None:
    site.launcher = shim.copy_tree(site.folder / "tree")
    python = site.python.rename(site.folder / "bin" / "old")
    site.python.write_text(OLD.format(python=python))
    site.python.chmod(0o755)

    got = site.create(env={"PATH": f"{site.folder}/bin"})

    assert got.code == 1
    assert got.err == f"{site.launcher}: {python} is Python 3.9: install Python 3.11 or newer\n"


def test_without_python_a_create_says_what_to_do(without_python: Site, shell: Shell) -> None:
    got = without_python.create(shell=shell)

    assert (got.code, got.err) == (1, f"{without_python.launcher}: {NONE}")


@pytest.mark.parametrize("command", ["state", "kill", "delete"])
def test_without_python_what_runs_can_be_stopped(
    command: str, without_python: Site, shell: Shell
) -> None:
    """The shortcut is another PATH's, and older than config.toml: it is what was used."""
    without_python.date_config(time.time_ns())

    got = without_python.run(command, "c1", shell=shell)

    assert got.runtime == "shortcut"
    assert got.words[1:] == [command.encode(), b"c1"]


DOUBTFUL: dict[str, Callable[[Site, Path], object]] = {
    "there is none": lambda _site, file: remove(file),
    "it is of another config.toml": lambda site, file: edit(site, file, "config.toml", "x.toml"),
    "it names no path": lambda site, file: edit(site, file, f":{site.folder}/runtimes/", ":"),
    "its runtime vanished": lambda site, _file: remove(site.folder / "runtimes" / "shortcut"),
    "it names this program": name_ourselves,
}


@pytest.mark.parametrize(
    "damage",
    [pytest.param(function, id=name) for name, function in DOUBTFUL.items()]
    + [pytest.param(function, id=name, marks=needs_root) for name, function in FOREIGN.items()],
)
def test_without_python_no_shortcut_is_taken_if(
    damage: Callable[[Site, Path], object], without_python: Site, shell: Shell
) -> None:
    (file,) = without_python.state.glob("low-level-runtime.*")
    damage(without_python, file)

    got = without_python.run("kill", "c1", shell=shell)

    assert (got.code, got.err) == (1, f"{without_python.launcher}: {NONE}")


def copy_of_the_launcher(site: Site) -> Path:
    copy = site.folder / "elsewhere"
    shutil.copy2(site.launcher, copy)
    return copy


def test_copy_of_the_launcher_finds_the_package_by_path(site: Site, venv: Path) -> None:
    copy = copy_of_the_launcher(site)
    path = f"{venv}:{site.environment['PATH']}"

    check_that_it_injects(site, lambda site: site.create(launcher=copy, env={"PATH": path}))


def test_copy_of_the_launcher_says_that_there_is_no_package(site: Site, shell: Shell) -> None:
    copy = copy_of_the_launcher(site)

    got = site.create(launcher=copy, shell=shell)

    python = os.path.realpath(site.python)
    assert got.code == 1
    assert got.err in {
        f"{copy}: the package nvidia_runtime is not found by {name}: install "
        "nvidia-container-runtime anew, and link to its launcher instead of copying it\n"
        for name in (site.python, python)
    }
