# SPDX-License-Identifier: Apache-2.0
"""The manifests: each version of Kubernetes takes them, each right in them has its reason."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import shim
import yaml

from nvidia_runtime import __version__

from . import kustomize
from .kustomize import Document
from .manifests import FOLDER, NAME, choose, container, documents, kubectl, of_kind, render

FILES = sorted(FOLDER.rglob("*.yaml"))
ENGINES = ("containerd", "crio", "k3s")
COMPONENTS = ("driver-container", "nri", "uninstall")
VARIANTS = [(engine, components) for engine in ENGINES for components in ((), COMPONENTS)]
OLDEST = 30  # 1.30: what came before has no field for AppArmor's profile
# Fetched into the user's cache, for this Python; no package of ours needs it.
CHECKER = "kubernetes-validate==1.37.0"
CHECK = """
import json, sys
import kubernetes_validate
from kubernetes_validate import utils
versions = [text for text in utils.all_versions() if int(text.split(".")[1]) >= int(sys.argv[1])]
said = set()
for document in json.load(sys.stdin):
    for version in versions:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except Exception as error:
            said.add(f"{version} {document['kind']}: {str(error)[:300]}")
print(json.dumps([sorted(set(versions)), sorted(said)]))
"""
# Whose items, or fields, are rights: of the host's, of the cluster's, or against the pod's neighbours.
RIGHTS = {"hostPID", "priorityClassName", "automountServiceAccountToken", "maxUnavailable"}
RIGHTS |= {"terminationGracePeriodSeconds", "nodeSelectorTerms"}
LISTS = {"tolerations", "volumeMounts", "volumes", "add"}


@pytest.fixture
def rendered(tmp_path: Path, request: pytest.FixtureRequest) -> list[Document]:
    """Render what somebody has chosen in kustomization.yaml."""
    return render(choose(tmp_path, *request.param))


def variants(*chosen: tuple[str, tuple[str, ...]]) -> pytest.MarkDecorator:
    rows = chosen or VARIANTS
    ids = ["+".join((engine, *components)) for engine, components in rows]
    return pytest.mark.parametrize("rendered", rows, indirect=True, ids=ids)


@pytest.fixture(scope="session")
def checker() -> Path:
    """Fetch what knows the schemas of Kubernetes, once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / f"{NAME}-tests"
    version = ".".join(map(str, sys.version_info[:2]))
    folder = cache / f"{CHECKER.replace('==', '-')}-{version}"
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        pip += ["--retries=0", "--target", f"{scratch}/packages", CHECKER]
        run = subprocess.run(pip, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            pytest.skip(f"{CHECKER} cannot be fetched: {run.stderr.strip()[-200:]}")
        if not folder.exists():
            os.rename(f"{scratch}/packages", folder)
    return folder


def complaints(checker: Path, wanted: list[Document]) -> list[str]:
    """Ask for what each version of Kubernetes says of documents."""
    run = subprocess.run(
        [sys.executable, "-c", CHECK, str(OLDEST)],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.fspath(checker)},
    )
    assert run.returncode == 0, run.stderr
    versions, said = json.loads(run.stdout)
    assert len(versions) >= 8
    return list(said)


def test_there_are_manifests() -> None:
    assert {path.parent.name for path in FILES} == {"kubernetes", *ENGINES, *COMPONENTS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_each_file_is_yaml(path: Path) -> None:
    assert all({"apiVersion", "kind"} <= document.keys() for document in documents(path))


@variants()
def test_each_version_takes_them(rendered: list[Document], checker: Path) -> None:
    assert complaints(checker, rendered) == []


def test_a_wrong_field_is_noticed(checker: Path) -> None:
    workload = documents(FOLDER / "containerd/daemonset.yaml")[0]
    workload["spec"]["template"]["spec"]["hostPid"] = True

    assert any("hostPid" in sentence for sentence in complaints(checker, [workload]))


@variants()
def test_kubectl_reads_them(rendered: list[Document]) -> None:
    text = yaml.safe_dump_all(rendered)

    listed = kubectl("annotate", "--local", "-f", "-", "a=b", "-o", "name", given=text).split()

    assert len(listed) == len(rendered)


@pytest.mark.parametrize(("engine", "components"), VARIANTS)
def test_own_reading_is_kubectls(engine: str, components: tuple[str, ...], tmp_path: Path) -> None:
    """On nodes without it, the tests read the manifests themselves."""
    folder = choose(tmp_path, engine, components, "1.2")

    own, theirs = kustomize.build(folder), render(folder)

    assert sorted(own, key=kustomize.identity) == sorted(theirs, key=kustomize.identity)


def rights(node: yaml.Node | None, key: str = "") -> Iterator[tuple[str, int]]:
    """Find each right, with its line from 0."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            if key in LISTS:
                yield f"{key}: {getattr(item, 'value', '')}", item.start_mark.line
            yield from rights(item)
    if not isinstance(node, yaml.MappingNode):
        return
    for name, value in node.value:
        if name.value in RIGHTS or (key == "securityContext" and name.value != "capabilities"):
            yield name.value, name.start_mark.line
        yield from rights(value, name.value)


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.name == "daemonset.yaml"],
    ids=lambda path: path.parent.name,
)
def test_each_right_has_its_reason(path: Path) -> None:
    lines = path.read_text().splitlines()
    bare = [
        f"{number + 1}: {name[:60]}"
        for name, number in rights(yaml.compose(path.read_text()))
        if not lines[number - 1].lstrip().startswith("#")
    ]

    assert bare == []


def test_a_right_without_a_reason_is_noticed() -> None:
    text = "spec:\n  hostPID: true\n  volumes:\n    - name: a\n  securityContext: {runAsUser: 0}\n"

    assert [line for _, line in rights(yaml.compose(text))] == [1, 3, 4]


@variants()
def test_images_are_of_one_name_and_this_version(rendered: list[Document]) -> None:
    workloads = of_kind(rendered, "DaemonSet").values()

    assert {container(workload)["image"] for workload in workloads} == {f"{NAME}:{__version__}"}


def test_no_image_is_whatever_is_newest() -> None:
    images = [line for path in FILES for line in path.read_text().splitlines() if "image:" in line]

    assert images
    assert not [line for line in images if ":latest" in line or re.search(r"image: [^:]+$", line)]


@variants()
def test_each_mount_has_its_volume(rendered: list[Document]) -> None:
    for workload in of_kind(rendered, "DaemonSet").values():
        mounts = container(workload)["volumeMounts"]
        volumes = {
            volume["name"]: volume["hostPath"]["path"]
            for volume in workload["spec"]["template"]["spec"]["volumes"]
        }

        assert {mount["name"] for mount in mounts} == volumes.keys()
        # All but the root are where the host has them: the engine is told of paths of the host's.
        assert all(mount["mountPath"] in (volumes[mount["name"]], "/host") for mount in mounts)


@variants()
def test_nothing_is_privileged_or_has_a_token(rendered: list[Document]) -> None:
    for workload in of_kind(rendered, "DaemonSet").values():
        context = container(workload)["securityContext"]
        capabilities = set(context["capabilities"].get("add", []))

        assert workload["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
        assert context["capabilities"]["drop"] == ["ALL"]
        assert capabilities <= {"SYS_CHROOT", "SYS_PTRACE"}
        assert not context.get("privileged")
        assert context["allowPrivilegeEscalation"] is False
    kinds = {document["kind"] for document in rendered}
    assert kinds == {"Namespace", "RuntimeClass", "DaemonSet"}  # and no role


@variants(("containerd", ()), ("crio", ()))
def test_each_runtime_has_its_class(rendered: list[Document]) -> None:
    handlers = {
        name: document["handler"] for name, document in of_kind(rendered, "RuntimeClass").items()
    }

    assert handlers == {name: name for name in ("nvidia", "nvidia-cdi", "nvidia-legacy")}


@variants(("k3s", ()))
def test_k3s_has_one_class_and_no_engine_files(rendered: list[Document]) -> None:
    workload = of_kind(rendered, "DaemonSet")[NAME]

    assert list(of_kind(rendered, "RuntimeClass")) == ["nvidia"]
    mounts = {mount["mountPath"] for mount in container(workload)["volumeMounts"]}
    assert mounts == {"/usr/local/nvidia", "/run/nvidia/toolkit", "/host"}


@variants()
def test_the_installer_knows_what_it_is_told(rendered: list[Document]) -> None:
    install = pytest.importorskip("nvidia_runtime.cli.tables.install")
    variables = {name for switch in install.INSTALL.switches for name in switch.variables}
    flags = {name for switch in install.INSTALL.switches for name in switch.names}
    only = container(of_kind(rendered, "DaemonSet")[NAME])

    assert {entry["name"] for entry in only["env"]} <= variables
    words = re.findall(r"--[\w-]+", json.dumps([only.get("command"), only["readinessProbe"]]))
    assert set(words) <= flags


@variants(("containerd", ()))
def test_taking_back_has_the_time_that_it_needs(rendered: list[Document]) -> None:
    plugin, record, rereading = (
        pytest.importorskip(f"nvidia_runtime.installer.{name}")
        for name in ("plugin", "record", "rereading")
    )
    spec = of_kind(rendered, "DaemonSet")[NAME]["spec"]["template"]["spec"]
    seconds = plugin.PATIENCE + rereading.TRIES * rereading.PAUSE + 2 * rereading.SECONDS

    assert spec["terminationGracePeriodSeconds"] >= seconds
    assert record.FOLDER in (FOLDER / "uninstall/daemonset.yaml").read_text()


def test_the_page_names_each_folder_and_is_linked() -> None:
    page = (FOLDER / "README.md").read_text()

    assert all(f"[{folder}]({folder})" in page for folder in (*ENGINES, *COMPONENTS))
    for name, link in (("README.md", "packaging/"), ("packaging/README.md", "")):
        assert f"({link}kubernetes/README.md)" in (shim.TREE / name).read_text()


def test_uninstall_is_a_patch_of_what_runs() -> None:
    """As README has it: kubectl patch, on whatever engine."""
    (workload,) = documents(FOLDER / "containerd/daemonset.yaml")
    patch = FOLDER / "uninstall/daemonset.yaml"

    text = kubectl(
        *("patch", "--local", "-f", "-", "--patch-file", patch, "-o", "json"),
        given=json.dumps(workload),
    )

    only = container(json.loads(text))
    assert "nvidia-toolkit --remove" in only["command"][-1]
    assert "startupProbe" not in only
    assert "sh" in only["readinessProbe"]["exec"]["command"][0]
    assert only["volumeMounts"] == container(workload)["volumeMounts"]
