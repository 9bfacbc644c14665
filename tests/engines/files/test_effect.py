# SPDX-License-Identifier: Apache-2.0
"""What decides in an engine is what we write and read, or a warning names the file that does."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nvidia_runtime.engines import apply, difference, effect, undo
from nvidia_runtime.engines.engine import Intent, Summary
from nvidia_runtime.engines.supported import ENGINES
from nvidia_runtime.engines.view import View

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "/usr/bin/nvidia-container-runtime"
V2 = 'plugins."io.containerd.grpc.v1.cri"'
V3 = 'plugins."io.containerd.cri.v1.runtime"'
CNI = "bin_dir = '/usr/lib/cni'\n"
NAMES = {"docker": "daemon.json", "crio": "crio.conf", "podman": "containers.conf"}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", "/nowhere")  # no engine that judges


def intent_of(folder: Path, engine: str, files: dict[str, str], drop_in: str = "") -> Intent:
    """Write an engine's files, the first of which is its own, and ask to make ours the default."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.replace("HERE", str(folder)))
    return Intent(
        name="nvidia",
        program="nvidia-container-runtime" if engine == "docker" else PROGRAM,
        config=str(folder / NAMES.get(engine, "config.toml")),
        drop_in=str(folder / drop_in) if drop_in else "",
        is_default=True,
    )


def configure(engine: str, intent: Intent) -> list[str]:
    """Configure an engine; return what is warned of."""
    plan = effect.planned(ENGINES[engine], intent)
    apply.configure(ENGINES[engine], intent, plan, lambda _: None)
    return [warning for warning in plan.warnings if " is read after " in warning]


OVERRULED: dict[str, tuple[str, dict[str, str], str, str, str]] = {
    "containerd, version 1": (
        "containerd",
        {
            "config.toml": "imports = ['HERE/other.toml']\n[plugins.cri.containerd]\nx = 1\n",
            "other.toml": f"[plugins.cri.cni]\n{CNI}",
        },
        "conf.d/99-nvidia.toml",  # which is not used for such a file
        "other.toml",
        "hides the runtime there",
    ),
    "containerd, version 2, in place": (
        "containerd",
        {
            "config.toml": f"version = 2\nimports = ['other.toml']\n[{V2}.containerd]\nx = 1\n",
            "other.toml": f"version = 2\n[{V2}.cni]\n{CNI}",
        },
        "",
        "other.toml",
        "hides the runtime there",
    ),
    "containerd, an import of an import": (
        "containerd",
        {
            "config.toml": "version = 2\nimports = ['HERE/one.toml']\n",
            "one.toml": "version = 2\nimports = ['two.toml']\n",
            "two.toml": f"version = 2\n[{V2}.cni]\n{CNI}",
        },
        "",
        "two.toml",
        "hides the runtime there",
    ),
    "containerd, a file behind the drop-in": (
        "containerd",
        {
            "config.toml": "version = 2\nimports = ['HERE/conf.d/*.toml']\n",
            "conf.d/zz.toml": f"version = 2\n[{V2}.cni]\n{CNI}",
        },
        "conf.d/99-nvidia.toml",
        "conf.d/zz.toml",
        "hides the runtime there",
    ),
    "containerd, version 3": (
        "containerd",
        {
            "config.toml": "version = 3\nimports = ['HERE/conf.d/*.toml']\n",
            "conf.d/zz.toml": f"version = 3\n[{V3}.containerd]\ndefault_runtime_name = 'runc'\n",
        },
        "conf.d/99-nvidia.toml",
        "conf.d/zz.toml",
        "has another default",
    ),
    "containerd, a table that is the default": (
        "containerd",
        {
            "config.toml": "version = 2\nimports = ['HERE/conf.d/*.toml']\n",
            "conf.d/zz.toml": (
                f"version = 2\n[{V2}.containerd.default_runtime]\nruntime_type = 'x'\n"
                f"[{V2}.containerd.runtimes.nvidia.options]\nBinaryName = '{PROGRAM}'\n"
            ),
        },
        "conf.d/99-nvidia.toml",
        "conf.d/zz.toml",
        "has another default",
    ),
    "crio, in place": (
        "crio",
        {
            "crio.conf": "[crio.runtime]\n",
            "crio.conf.d/10-crio.conf": '[crio.runtime]\ndefault_runtime = "crun"\n',
        },
        "",
        "crio.conf.d/10-crio.conf",
        "has another default",
    ),
    "crio, drop-in": (
        "crio",
        {
            "crio.conf": "",
            "crio.conf.d/99-z": f'[crio.runtime.runtimes.nvidia]\nruntime_path = "{PROGRAM}.cdi"\n',
        },
        "crio.conf.d/99-nvidia.toml",
        "crio.conf.d/99-z",
        "hides the runtime there",
    ),
    "podman, in place": (
        "podman",
        {
            "containers.conf": "",
            "containers.conf.d/1.conf": '[engine]\nruntime = "crun"\n',
        },
        "",
        "containers.conf.d/1.conf",
        "has another default",
    ),
    "podman, drop-in": (
        "podman",
        {
            "containers.conf": "",
            "containers.conf.d/z.conf": '[engine.runtimes]\nnvidia = ["/x"]\n',
        },
        "containers.conf.d/99-nvidia.conf",
        "containers.conf.d/z.conf",
        "hides the runtime there",
    ),
}


@pytest.mark.parametrize("case", OVERRULED)
def test_file_that_has_the_last_word_is_named(case: str, tmp_path: Path) -> None:
    """And the hint helps: an edit of that file is what the engine uses."""
    engine, files, drop_in, last, what = OVERRULED[case]
    intent = intent_of(tmp_path, engine, files, drop_in)

    (warning,) = configure(engine, intent)

    ours = intent.config if case.endswith("version 1") else intent.drop_in or intent.config
    file = tmp_path / last
    hint = f"--config={file} --drop-in-config= changes that one"
    assert warning == f"{file} is read after {ours} and {what}; {hint}"

    assert configure(engine, replace(intent, config=str(file), drop_in="")) == []

    shown = effect.summary(ENGINES[engine], intent.config)
    assert ("nvidia" in shown.runtimes, shown.default) == (True, "nvidia")


@pytest.mark.parametrize(
    ("engine", "files", "drop_in"),
    [
        ("docker", {"daemon.json": ""}, ""),
        (
            "containerd",
            {
                "config.toml": "version = 2\nimports = ['HERE/*.toml']\n",
                "other.toml": f"[plugins.cri.cni]\n{CNI}",
            },
            "",
        ),
        (
            "containerd",
            {
                "config.toml": "version = 3\nimports = ['HERE/*.toml']\n",
                "other.toml": f"version = 3\n[{V3}.cni]\n{CNI}",
            },
            "",
        ),
        (
            "containerd",
            {
                "config.toml": "version = 2\nimports = ['HERE/a.toml', 'HERE/conf.d/*.toml']\n",
                "a.toml": f"version = 2\n[{V2}.cni]\n{CNI}",
            },
            "conf.d/99-nvidia.toml",
        ),
        (
            "crio",
            {"crio.conf": "", "crio.conf.d/10": '[crio.runtime]\ndefault_runtime = "crun"\n'},
            "crio.conf.d/99-nvidia.toml",
        ),
    ],
    ids=["one file", "of another version", "tables are merged", "read before", "a drop-in"],
)
def test_files_that_change_nothing_of_ours(
    engine: str, files: dict[str, str], drop_in: str, tmp_path: Path
) -> None:
    intent = intent_of(tmp_path, engine, files, drop_in)

    assert configure(engine, intent) == []
    assert effect.summary(ENGINES[engine], intent.config).default == "nvidia"


@pytest.mark.parametrize(
    ("engine", "text"),
    [
        ("docker", '{"mtu": 1400}'),
        ("containerd", f"version = 2\n[{V2}.cni]\n{CNI}"),
        ("containerd", f"[plugins.cri.cni]\n{CNI}"),
        ("containerd", f"version = 3\n[{V3}.cni]\n{CNI}"),
        ("crio", "[crio.runtime]\n"),
        ("podman", "[engine]\n"),
    ],
)
def test_byte_order_mark_is_read_over_and_stays(engine: str, text: str, tmp_path: Path) -> None:
    """containerd has it so, and dockerd since 24; one that does not has objected before."""
    name = NAMES.get(engine, "config.toml")
    intent = intent_of(tmp_path, engine, {name: f"\ufeff{text}"})

    configure(engine, intent)

    now = (tmp_path / name).read_text()
    assert now.startswith("\ufeff")
    assert now.count("\ufeff") == 1
    assert effect.summary(ENGINES[engine], intent.config).default == "nvidia"
    apply.unconfigure(ENGINES[engine], intent, undo.plan(ENGINES[engine], intent), lambda _: None)
    assert (tmp_path / name).read_text() == f"\ufeff{text}"


def test_broken_file_of_others_is_a_warning(tmp_path: Path) -> None:
    """podman would say the same; that is no reason to leave ours out."""
    files = {"containers.conf": "", "containers.conf.d/1.conf": "[engine"}
    intent = intent_of(tmp_path, "podman", files, "containers.conf.d/99-nvidia.conf")

    plan = effect.planned(ENGINES["podman"], intent)

    assert plan.changes[0].after
    assert plan.warnings[0].startswith(f"{tmp_path}/containers.conf.d/1.conf:1:8: expected")


# containerd 1 has a table that is the default runtime, whatever default_runtime_name says.
TABLE = """{version}[{cri}.containerd.default_runtime]
runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.default_runtime.options]
SystemdCgroup = true
"""


@pytest.mark.parametrize(
    ("version", "cri", "drop_in"),
    [
        ("", "plugins.cri", ""),
        ("version = 2\n", V2, ""),
        ("version = 2\n", V2, "conf.d/99-nvidia.toml"),
    ],
    ids=["version 1", "version 2", "drop-in"],
)
def test_table_that_is_the_default(version: str, cri: str, drop_in: str, tmp_path: Path) -> None:
    engine = ENGINES["containerd"]
    text = TABLE.format(version=version, cri=cri)
    intent = intent_of(tmp_path, "containerd", {"config.toml": text}, drop_in)

    configure("containerd", replace(intent, is_default=False))
    assert effect.summary(engine, intent.config).default == "default"

    configure("containerd", intent)
    files = engine.layers(intent.config, View())
    document = engine.combined(files, ())
    at = engine.places_in(document, "")
    assert difference.at(document, at.default_table) is difference.ABSENT
    assert difference.at(document, (*at.runtimes, "nvidia", "options", "SystemdCgroup")) is True
    assert effect.summary(engine, intent.config) == Summary(runtimes=("nvidia",), default="nvidia")

    apply.unconfigure(engine, intent, undo.plan(engine, intent), lambda _: None)
    assert (tmp_path / "config.toml").read_text() == text


DEFAULTS: dict[str, tuple[str, str, str]] = {
    "containerd, version 1": (
        "containerd",
        "[plugins.cri.containerd]\ndefault_runtime_name = 'kata'\n"
        "[plugins.cri.containerd.runtimes.{name}.options]\nSystemdCgroup = {value}\n",
        "",
    ),
    "containerd, version 2": (
        "containerd",
        f"version = 2\n[{V2}.containerd]\ndefault_runtime_name = 'kata'\n"
        f"[{V2}.containerd.runtimes.{{name}}.options]\nSystemdCgroup = {{value}}\n",
        "conf.d/99-nvidia.toml",
    ),
    "containerd, version 3": (
        "containerd",
        f"version = 3\n[{V3}.containerd]\ndefault_runtime_name = 'kata'\n"
        f"[{V3}.containerd.runtimes.{{name}}.options]\nSystemdCgroup = {{value}}\n",
        "conf.d/99-nvidia.toml",
    ),
    "crio": (
        "crio",
        "[crio.runtime]\ndefault_runtime = 'kata'\n"
        "[crio.runtime.runtimes.{name}]\nruntime_root = '/run/{name}'\n",
        "crio.conf.d/99-nvidia.toml",
    ),
    "podman": ("podman", "[engine]\nruntime = 'kata'\n", "containers.conf.d/99-nvidia.conf"),
    "docker": (
        "docker",
        '{{"default-runtime": "kata", "runtimes": {{"kata": {{"path": "k"}}}}}}',
        "",
    ),
}


def with_two_runtimes(text: str) -> str:
    """Make a file whose default kata has other options than its runc."""
    head, brackets, table = text.rpartition("\n[")
    if "{name}" not in table:
        return text.format()
    tables = (
        (brackets + table).format(name=name, value=value)
        for name, value in (("kata", "true"), ("runc", "false"))
    )
    return head + "".join(tables)


@pytest.mark.parametrize("is_in_place", [True, False], ids=["in place", "drop-in"])
@pytest.mark.parametrize("case", DEFAULTS)
def test_a_second_run_changes_nothing(case: str, is_in_place: bool, tmp_path: Path) -> None:
    """Ours has the options of the default that it replaced: once it is the default, its own."""
    engine, text, drop_in = DEFAULTS[case]
    intent = intent_of(
        tmp_path,
        engine,
        {NAMES.get(engine, "config.toml"): with_two_runtimes(text)},
        "" if is_in_place else drop_in,
    )
    other = replace(intent, name="nvidia-cdi", is_default=False)

    for one in (other, intent):
        configure(engine, one)
    before = {path: path.read_text() for path in tmp_path.rglob("*.*") if path.is_file()}
    for one, _ in itertools.product((other, intent), range(2)):
        configure(engine, one)

    after = {path: path.read_text() for path in tmp_path.rglob("*.*") if path.is_file()}
    assert after.keys() == before.keys()
    assert {str(p): after[p] for p in after if after[p] != before[p]} == {}
