# SPDX-License-Identifier: Apache-2.0
"""The wheel: what is in it, and that it works where it is installed."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from nvidia_runtime import TOOLKIT, __version__

TREE = Path(__file__).resolve().parents[1]
RUNTIMES = (
    "nvidia-container-runtime",
    "nvidia-container-runtime.cdi",
    "nvidia-container-runtime.legacy",
)
HOOKS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
CDI_HOOK = "nvidia-cdi-hook"
CONTAINER_CLI = "nvidia-container-cli"
LAUNCHERS = (*RUNTIMES, *HOOKS, CDI_HOOK, CONTAINER_CLI)
DATA = f"nvidia_container_runtime-{__version__}.data/scripts"
SHARE = f"nvidia_container_runtime-{__version__}.data/data/share"
MAN = f"{SHARE}/man"
INFO = f"nvidia_container_runtime-{__version__}.dist-info"

pytest.importorskip("hatchling", reason="needs hatchling to build the wheel")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as a packager does: without a network, with what is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    words = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(TREE)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    (file,) = folder.iterdir()
    return file


SCHEMAS = [
    str(path.relative_to(TREE / "schemas")) for path in (TREE / "schemas").rglob("*.schema.json")
]


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def test_name(wheel: Path) -> None:
    assert wheel.name == f"nvidia_container_runtime-{__version__}-py3-none-any.whl"


def test_files(wheel: Path) -> None:
    modules = [str(path.relative_to(TREE)) for path in (TREE / "nvidia_runtime").rglob("*.py")]
    attacks = TREE / "nvidia_runtime/selftest/attacks"
    data = [str(path.relative_to(TREE)) for path in attacks.rglob("*") if path.is_file()]
    completions = TREE / "nvidia_runtime/cli/completions"
    data += [str(path.relative_to(TREE)) for path in completions.iterdir()]

    assert names(wheel) == sorted(
        [
            *modules,
            *data,
            *[f"nvidia_runtime/_schemas/{name}" for name in SCHEMAS],
            *[
                f"nvidia_runtime/_systemd/{unit.name}"
                for unit in (TREE / "packaging/systemd").iterdir()
                if unit.suffix != ".md"
            ],
            "nvidia_runtime/simulate/mock_cuda.c",
            "nvidia_runtime/simulate/mock_device_query.c",
            "nvidia_runtime/simulate/mock_dxcore.c",
            "nvidia_runtime/simulate/mock_machine.h",
            "nvidia_runtime/simulate/mock_nvml.c",
            "nvidia_runtime/simulate/mock_smi.c",
            *[f"{DATA}/{name}" for name in (*LAUNCHERS, "nvidia-ctk")],
            *[
                f"{MAN}/man{page.suffix[1:]}/{page.name}"
                for page in (TREE / "packaging/man").iterdir()
            ],
            f"{SHARE}/bash-completion/completions/nvidia-ctk",
            f"{SHARE}/fish/vendor_completions.d/nvidia-ctk.fish",
            f"{SHARE}/zsh/site-functions/_nvidia-ctk",
            f"{INFO}/METADATA",
            f"{INFO}/RECORD",
            f"{INFO}/WHEEL",
            f"{INFO}/licenses/LICENSE",
        ]
    )


def test_schemas_are_those_of_the_tree(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in SCHEMAS:
            shipped = archive.read(f"nvidia_runtime/_schemas/{name}")
            assert shipped == (TREE / "schemas" / name).read_bytes()


@pytest.mark.parametrize("name", LAUNCHERS)
def test_launchers(name: str, wheel: Path) -> None:
    """pip keeps the mode of the archive: with 0644 nothing could be started."""
    with zipfile.ZipFile(wheel) as archive:
        info = archive.getinfo(f"{DATA}/{name}")

        assert stat.S_IMODE(info.external_attr >> 16) == 0o755
        assert archive.read(info) == (TREE / "packaging/bin" / LAUNCHERS[0]).read_bytes()


def test_program_of_python(wheel: Path) -> None:
    """Installers put their interpreter in the place of this first line."""
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"{DATA}/nvidia-ctk").decode()

    own = (TREE / "packaging/nvidia-ctk").read_text()
    assert text == own.replace("#!/usr/bin/env python3\n", "#!python\n")


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel alone into a fresh virtual environment."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python3"), "--quiet"]
    words = [*pip, "--disable-pip-version-check", "install", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(words, check=True)
    return folder / "bin"


def call(launcher: Path, folder: Path, *words: str) -> str:
    """Call an installed launcher whose low-level runtime prints its words."""
    runtime = folder / "runc"
    runtime.write_text('#!/bin/sh\necho "runc $*"\n')
    runtime.chmod(0o755)
    config = folder / "config.toml"
    config.write_text(f'[nvidia-container-runtime]\nruntimes = ["{runtime}"]\n')
    environment = {
        "PATH": "/usr/bin:/bin",
        "NVIDIA_CTK_CONFIG_FILE_PATH": str(config),
    }
    run = subprocess.run(
        [str(launcher), *words], check=True, capture_output=True, text=True, env=environment
    )
    assert run.stderr == ""
    return run.stdout


@pytest.mark.parametrize("name", RUNTIMES)
def test_installed_launcher(name: str, bin_folder: Path, tmp_path: Path) -> None:
    assert call(bin_folder / name, tmp_path, "state", "c1") == "runc state c1\n"
    assert call(bin_folder / name, tmp_path, "--version") == (
        f"NVIDIA Container Runtime version {TOOLKIT}\n"
        f"implementation: nvidia-container-runtime {__version__}\nspec: 1.3.0\n\n"
        "runc --version\n"
    )


@pytest.mark.parametrize("name", HOOKS)
def test_installed_hook(name: str, bin_folder: Path, tmp_path: Path) -> None:
    expected = f"NVIDIA Container Runtime Hook version {TOOLKIT}\n"

    assert call(bin_folder / name, tmp_path, "-version") == expected


def test_installed_cdi_hook(bin_folder: Path, tmp_path: Path) -> None:
    assert call(bin_folder / CDI_HOOK, tmp_path, "--version") == (
        f"NVIDIA CDI Hook version {TOOLKIT}\n"
    )


def test_installed_package_has_its_schemas(bin_folder: Path) -> None:
    code = "from nvidia_runtime import schemas; print(schemas.schema('cdi')['title'])"

    run = subprocess.run(
        [str(bin_folder / "python3"), "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=bin_folder,
    )

    assert run.stdout == "CDI specification file\n"


def test_installed_package_has_its_units(bin_folder: Path, tmp_path: Path) -> None:
    """They name what has come with them; plumbum is that of this environment."""
    plumbum = importlib.util.find_spec("plumbum")
    assert plumbum
    assert plumbum.origin
    (tmp_path / "plumbum").symlink_to(Path(plumbum.origin).parent)
    words = ["-m", "nvidia_runtime", "system", "install-units", "--dry-run", "--prefix=/nowhere"]
    environment = {"PATH": f"{bin_folder}:/usr/bin:/bin", "PYTHONPATH": str(tmp_path)}

    run = subprocess.run(
        [str(bin_folder / "python3"), *words],
        check=True,
        capture_output=True,
        text=True,
        cwd=bin_folder,
        env=environment,
    )

    assert run.stderr.count("\n") == 5
    assert f"\nExecStart={bin_folder}/nvidia-ctk cdi watch\n" in run.stdout


@pytest.mark.parametrize("way", ["--prefix", "--target"])
def test_program_finds_the_package_beside_it(way: str, wheel: Path, tmp_path: Path) -> None:
    """Without PYTHONPATH, by a link, and before the package that this interpreter has."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    words = [
        *pip,
        "--no-index",
        "--no-deps",
        "--ignore-installed",
        way,
        f"{tmp_path}/p",
        f"{wheel}",
    ]
    subprocess.run(words, check=True)
    (package,) = (tmp_path / "p").glob("**/nvidia_runtime/__init__.py")
    # Of another length: Python would take a file of the same size and second for the compiled one.
    package.write_text(package.read_text().replace(__version__, "10.98.7"))
    (program,) = (tmp_path / "p").glob("**/bin/nvidia-ctk")
    link = tmp_path / "nvidia-ctk"
    link.symlink_to(program)

    for path in (program, link):
        run = subprocess.run(
            [path, "--version"], check=True, capture_output=True, text=True, env={"PATH": "/bin"}
        )
        assert run.stdout.endswith("\nimplementation: nvidia-container-runtime 10.98.7\n")
    assert call(program.parent / RUNTIMES[0], tmp_path, "state", "c1") == "runc state c1\n"


def test_archives_are_the_same_wherever_they_are_built(tmp_path: Path) -> None:
    """Of a copy that is younger, in another folder, under another umask and in another zone."""
    if not (TREE / ".git").exists():
        pytest.skip("needs a git clone, which knows the tree's files")
    built = {}
    for name, mask, zone in (("a", 0o022, "UTC"), ("b/c", 0o077, "Asia/Tokyo")):
        tree = tmp_path / name / "tree"
        files = subprocess.run(
            ["git", "-C", TREE, "ls-files", "-zco", "--exclude-standard"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split("\0")
        for file in filter(None, files):
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(TREE / file, tree / file, follow_symlinks=False)
            if not (tree / file).is_symlink():
                (tree / file).chmod((TREE / file).stat().st_mode & ~mask)
        words = ["-m", "build", "--no-isolation", "--outdir", f"{tree}/dist", f"{tree}"]
        env = {**os.environ, "TZ": zone}
        subprocess.run(
            [sys.executable, *words], check=True, capture_output=True, env=env, umask=mask
        )
        built[name] = {file.name: file.read_bytes() for file in (tree / "dist").iterdir()}

    assert sorted(path.partition("-")[2] for path in built["a"]) == [
        f"{__version__}-py3-none-any.whl",
        f"{__version__}.tar.gz",
    ]
    assert built["a"] == built["b/c"]


def test_source_archive(tmp_path: Path) -> None:
    """Today's pip, uv and build refuse links that lead out of an archive."""
    words = ["-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(TREE)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        members = {member.name: member for member in tar}

    top = archive.name.removesuffix(".tar.gz")
    for name in (
        ".ci/run",
        "DIFFERENCES.md",
        "Makefile",
        "packaging/bin/nvidia-container-runtime",
        "packaging/man/nvidia-ctk.1",
        "packaging/pictures/create.svg",
        "tests/shim.py",
    ):
        assert f"{top}/{name}" in members
    for name, member in members.items():
        target = os.path.normpath(os.path.join(os.path.dirname(name), member.linkname))
        assert not member.issym() or target.startswith(f"{top}/"), name


def pins() -> dict[str, str]:
    """Read what pip installs for the tests: names, normalized, with what each line says."""
    lines = (TREE / "tests/pins.txt").read_text().splitlines()
    lines = [line.partition("#")[0].partition(";")[0].strip() for line in lines]
    return {normal(line): line for line in lines if line}


def normal(requirement: str) -> str:
    """Name the project that a requirement is about, as PyPI does."""
    name = re.match(r"[\w.-]+", requirement)
    assert name
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def requirements() -> list[str]:
    """List what pyproject wants of others, for the product, its tests and its build."""
    with (TREE / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    return [*wanted, *project["project"]["optional-dependencies"]["test"]]


def test_all_that_pip_installs_is_pinned() -> None:
    """So that what is published tomorrow changes no result; 'make pins' takes it in."""
    floating = [line for line in pins().values() if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]

    assert floating == []
    assert {normal(requirement) for requirement in requirements()} - set(pins()) == set()
