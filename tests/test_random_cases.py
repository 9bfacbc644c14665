# SPDX-License-Identifier: Apache-2.0
"""Random containers, settings and CDI specs, by fixed seeds: what must hold for each of them.

Nothing of config.json is lost, every device that is asked for is there or the error names it, no
node or mount is there twice, no mount covers an earlier one, and a second create of the result
changes nothing.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import builders
import pytest
import shim

from nvidia_runtime import create
from nvidia_runtime.compile import snapshot
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import argv
from nvidia_runtime.start import Launch

Document = dict[str, Any]
LAUNCH = Launch("", "", "", f"{shim.BIN}/nvidia-container-runtime")
GPU, CARD = "nvidia.com/gpu", "example.com/card"
NAMES = [*(f"{GPU}={name}" for name in ("0", "1", "2", "all")), f"{CARD}=a", f"{CARD}=b"]
NODES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random")
MISSING = {"path": "/dev/nvcr-none"}
FOLDERS = ("/a", "/a/b", "/a/b/c", "/b", "/etc/x", "/a//b/", "/c/../a")
STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststop")
VOLUMES = "/var/run/nvidia-container-devices"
OURS = "/usr/bin/nvidia-container-runtime-hook"
LINK = ("create-symlinks", "--link", "libx.so.1::/usr/lib/libx.so")


class Case:
    """A container, settings and specs, and what is expected of them."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.specs = {name: self._specs() for name in ("low", "high")}
        self.asked = self.chance.sample(NAMES, self.chance.randint(1, 4))
        self.settings: Document = {
            "mode": "cdi",
            "in-container-hooks": self.chance.choice(["auto", "always", "never", "toolkit"]),
            "runtimes": ["/bin/true"],
        }
        self.globals: Document = {}
        self.container = self._container()
        self._ask()

    # What is made up.

    def _some(self, items: Iterable[Any], most: int = 3) -> list[Any]:
        pool = [*items]
        return self.chance.sample(pool, self.chance.randint(0, min(most, len(pool))))

    def _specs(self) -> list[Document]:
        return [self._spec(kind) for kind in self._some([GPU, GPU, CARD], 2)]

    def _spec(self, kind: str) -> Document:
        names = [name.partition("=")[2] for name in NAMES if name.startswith(kind)]
        chosen = self._some(names, 4) or names[:1]
        devices = [builders.device(name, **self._edits(kind, name)) for name in chosen]
        shared = self._edits(kind, "shared") if self.chance.random() < 0.5 else {}
        return {"cdiVersion": "1.1.0", "kind": kind, "devices": devices, "containerEdits": shared}

    def _edits(self, kind: str, name: str) -> Document:
        paths = self._some(NODES)
        nodes = [
            {"path": self.chance.choice([path, f"/dev/x{name}"]), "hostPath": path}
            for path in paths
        ]
        nodes = [*{node["path"]: node for node in nodes}.values()]
        if self.chance.random() < 0.05:
            nodes.append(MISSING)
        mounts = [
            {"hostPath": f"/host/{name}", "containerPath": path, "options": ["ro", "rbind"]}
            for path in self._some(FOLDERS)
        ]
        edits: Document = {
            "env": [f"{mark(kind, name)}=1", *self._some([f"A={name}", "B=x=y", "C="])],
            "deviceNodes": nodes,
            "mounts": mounts,
            "hooks": [self._hook(name) for _ in range(self.chance.randint(0, 2))],
            "additionalGids": self._some([5, 44, 100]),
        }
        if self.chance.random() < 0.2:
            edits["intelRdt"] = {"closID": name}
        return {key: value for key, value in edits.items() if value or key == "env"}

    def _hook(self, name: str) -> Document:
        if self.chance.random() < 0.3:
            words = ["nvidia-cdi-hook", *LINK]
            return {
                "hookName": "createContainer",
                "path": "/usr/bin/nvidia-cdi-hook",
                "args": words,
            }
        return {"hookName": self.chance.choice(STAGES), "path": f"/bin/{name}", "args": [name]}

    def _container(self) -> Document:
        """Make a config.json with something of all that an edit touches, and of what none does."""
        nodes = [{"path": path, "type": "c", "major": 1, "minor": 9} for path in self._some(NODES)]
        rules = [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 5},
        ]
        stages = {
            stage: [{"path": path, "x-odd": [None]} for path in self._some(["/bin/a", OURS])]
            for stage in self._some(STAGES)
        }
        document = builders.spec(*self._some(["A=old", "PLAIN", "X=1", "A=twice"], 4))
        document["process"]["user"] = {"uid": 5, "gid": 5, "additionalGids": self._some([5, 7, 44])}
        document["process"]["x-odd"] = {"a": 1.5}
        document["mounts"] = [
            {"destination": path, "source": "user", "x-odd": 1}
            for path in sorted(self._some(["/a", "/a/b", "/proc", "/dev", "/b/c/d"], 4), key=depth)
        ]
        document["linux"] = {
            "devices": nodes,
            "resources": {"devices": self._some(rules), "memory": {"limit": 5}},
            "namespaces": [{"type": "mount"}, {"type": "pid"}],
            "maskedPaths": ["/proc/kcore"],
            "x-odd": True,
        }
        document["hooks"] = stages
        document["x-odd"] = [1, {"deep": None}]
        for name in self._some(["mounts", "hooks", "linux"], 1):
            del document[name]
        return document

    def _ask(self) -> None:
        """Let the container ask for the devices in one of the ways there are."""
        way = self.chance.choice(["environment", "swarm", "volumes", "annotations"])
        env = self.container["process"]["env"]
        short = [
            name.removeprefix(f"{GPU}=") if self.chance.random() < 0.5 else name
            for name in self.asked
        ]
        if "all" in short and way in ("environment", "swarm"):
            self.asked = [f"{GPU}=all"]  # which stands for the whole list, as in the toolkit
        if way == "environment":
            env.insert(
                self.chance.randint(0, len(env)), f"NVIDIA_VISIBLE_DEVICES={','.join(short)}"
            )
        elif way == "swarm":
            self.globals["swarm-resource"] = "DOCKER_RESOURCE_GPU"
            env.append(f"DOCKER_RESOURCE_GPU={','.join(short)}")
        elif way == "volumes":
            self.globals["accept-nvidia-visible-devices-as-volume-mounts"] = True
            asking = [name.replace("=", "/") for name in self.asked]
            self.container.setdefault("mounts", []).extend(
                {"source": "/dev/null", "destination": f"{VOLUMES}/cdi/{name}"} for name in asking
            )
        else:
            self.container["annotations"] = {"cdi.k8s.io/x": ",".join(self.asked), "a": "b"}

    # What is expected.

    def sources(self) -> list[Document]:
        """Return the edits for the devices, in their order; raise `KeyError` for one without."""
        edits: list[Document] = []
        seen: list[Document] = []
        for name in self.asked:
            spec, device = self._find(name)
            if not any(spec is other for other in seen):
                seen.append(spec)
                edits.append(spec["containerEdits"])
            edits.append(device["containerEdits"])
        return edits

    def _find(self, name: str) -> tuple[Document, Document]:
        """Find a device in the last dir that has it; two files of one dir are none."""
        kind, _, short = name.partition("=")
        for folder in ("high", "low"):
            holders = [
                (spec, device)
                for spec in self.specs[folder]
                for device in spec["devices"]
                if (spec["kind"], device["name"]) == (kind, short)
            ]
            if len(holders) == 1:
                return holders[0]
            if holders:
                break
        raise KeyError(name)

    def missing(self) -> list[str]:
        """List the devices that no spec describes, or two of one dir do."""
        names = []
        for name in self.asked:
            try:
                self._find(name)
            except KeyError:
                names.append(name)
        return names

    # What is done.

    def write(self) -> None:
        """Write everything to the disk."""
        (self.folder / "bundle/rootfs/usr/lib").mkdir(parents=True)
        (self.folder / "bundle/config.json").write_text(json.dumps(self.container))
        for folder, specs in self.specs.items():
            (self.folder / folder).mkdir()
            for number, spec in enumerate(specs):
                (self.folder / folder / f"{number}.json").write_text(json.dumps(spec))
        section = "nvidia-container-runtime"
        dirs = [f"{self.folder}/{name}" for name in ("low", "high")]
        lines = [f"{name} = {json.dumps(value)}" for name, value in self.globals.items()]
        lines += [f"[{section}]", *(f"{k} = {json.dumps(v)}" for k, v in self.settings.items())]
        lines += [f"[{section}.modes.cdi]", f"spec-dirs = {json.dumps(dirs)}", ""]
        (self.folder / "config.toml").write_text("\n".join(lines))

    def create(self) -> bytes:
        """Inject as a create does; return what config.json is then."""
        compiled = snapshot.settings(f"{self.folder}/config.toml")
        bundle = f"{self.folder}/bundle"
        invocation = argv.parse(["create", "--bundle", bundle, "c1"])
        create.inject(invocation, LAUNCH, "/bin/true", compiled, None)
        return Path(bundle, "config.json").read_bytes()


def mark(kind: str, name: str) -> str:
    """Return the variable by which the edits of a device are known."""
    return f"GOT_{kind.partition('/')[2]}_{name}"


def depth(path: str) -> int:
    return clean(path).count("/") if clean(path) != "/" else 0


def clean(path: str) -> str:
    return os.path.normpath(f"/{path}").replace("//", "/")


# What is wrong with a result.


def lost(before: Document, after: Document, edits: list[Document]) -> list[str]:
    """Name what the container had and has no longer, but for what edits take the place of."""
    names = {entry.partition("=")[0] for edit in edits for entry in edit.get("env", ())}
    nodes = {node["path"] for edit in edits for node in edit.get("deviceNodes", ())}
    targets = {clean(m["containerPath"]) for edit in edits for m in edit.get("mounts", ())}
    old, new = copy.deepcopy(before), copy.deepcopy(after)
    for document in (old, new):
        process, linux = document["process"], document.setdefault("linux", {})
        process["env"] = [
            e for e in process["env"] if "=" not in e or e.partition("=")[0] not in names
        ]
        linux["devices"] = [d for d in linux.get("devices", ()) if d["path"] not in nodes]
        mounts = [m for m in document.get("mounts", ()) if clean(m["destination"]) not in targets]
        document["mounts"] = sorted(mounts, key=lambda mount: depth(mount["destination"]))
        linux.pop("intelRdt", None)
        rules = linux.setdefault("resources", {}).setdefault("devices", [])
        linux["resources"]["devices"] = rules[: len(of(before, "linux", "resources", "devices"))]
        gids = process["user"]["additionalGids"]
        process["user"]["additionalGids"] = gids[: len(before["process"]["user"]["additionalGids"])]
        document["hooks"] = {
            stage: [hook for hook in hooks if "x-odd" in hook and not is_ours(stage, hook)]
            for stage, hooks in document.get("hooks", {}).items()
        }
        document["hooks"] = {stage: hooks for stage, hooks in document["hooks"].items() if hooks}
    return [key for key in old if new.get(key) != old[key]] + [key for key in new if key not in old]


def of(document: Document, *path: str) -> Any:
    """Return a field, or an empty list where there is none."""
    here: Any = document
    for name in path:
        here = here.get(name, {})
    return here or []


def is_ours(stage: str, hook: Document) -> bool:
    """Whether it is the hook of legacy mode, which is taken out; podman 5 moves it."""
    return stage in ("prestart", "createRuntime") and bool(hook["path"] == OURS)


def wrong(before: Document, after: Document, case: Case) -> list[str]:
    """Name what does not hold of a container that got its devices."""
    edits = case.sources()
    said = [f"lost: {name}" for name in lost(before, after, edits)]
    env = after["process"]["env"]
    said += [
        f"{name} is not there" for name in case.asked if f"{mark(*name.split('='))}=1" not in env
    ]
    nodes = [node["path"] for node in of(after, "linux", "devices")]
    wanted = {node["path"] for edit in edits for node in edit.get("deviceNodes", ())}
    said += [f"{path} is not there once" for path in wanted if nodes.count(path) != 1]
    rules = of(after, "linux", "resources", "devices")
    denied = max((at for at, rule in enumerate(rules) if not rule["allow"]), default=-1)
    allowed = [(rule.get("major"), rule.get("minor")) for rule in rules[denied + 1 :]]
    said += [
        f"{node['path']} may not be used"
        for node in of(after, "linux", "devices")
        if node["path"] in wanted and (node["major"], node["minor"]) not in allowed
    ]
    targets = [clean(mount["destination"]) for mount in of(after, "mounts")]
    wanted = {clean(mount["containerPath"]) for edit in edits for mount in edit.get("mounts", ())}
    said += [f"{path} is not mounted once" for path in wanted if targets.count(path) != 1]
    said += [
        f"{later} covers {path}"
        for at, later in enumerate(targets)
        for path in targets[:at]
        if wanted and path.startswith(f"{later}/")
    ]
    groups = {gid for edit in edits for gid in edit.get("additionalGids", ())}
    said += [f"no group {gid}" for gid in groups - {*after["process"]["user"]["additionalGids"]}]
    return said + wrong_hooks(after, edits, case.folder)


def wrong_hooks(after: Document, edits: list[Document], folder: Path) -> list[str]:
    """Name the hooks that are not there as often as asked for; links may be made on the host."""
    hooks = [hook for edit in edits for hook in edit.get("hooks", ())]
    wanted = Counter((hook["hookName"], hook["path"]) for hook in hooks)
    said = []
    for (stage, path), count in wanted.items():
        there = [hook for hook in of(after, "hooks", stage) if "x-odd" not in hook]
        if "nvidia-cdi-hook" in path:
            is_linked = (folder / "bundle/rootfs/usr/lib/libx.so").is_symlink()
            if not is_linked and not any("libx" in str(hook) for hook in there):
                said.append("the link is not made")
        elif sum(hook["path"] == path for hook in there) != count:
            said.append(f"{path} is not called {count} times at {stage}")
    return said


def check(case: Case) -> list[str]:
    """Create a container twice; say what is wrong."""
    case.write()
    before = (case.folder / "bundle/config.json").read_bytes()
    missing = case.missing()
    is_missing_node = not missing and any(
        MISSING in edit.get("deviceNodes", ()) for edit in case.sources()
    )
    try:
        after = case.create()
    except NvidiaRuntimeError as error:
        said = [] if missing or is_missing_node else [f"refused: {error}"]
        said += [f"not named: {name}" for name in missing if name not in str(error)]
        said += ["not named: the node"] * (is_missing_node and MISSING["path"] not in str(error))
        is_same = (case.folder / "bundle/config.json").read_bytes() == before
        return said + ["config.json has changed"] * (not is_same)
    if missing or is_missing_node:
        return [f"there is no error: {missing}"]
    said = wrong(json.loads(before), json.loads(after), case)
    again = case.create()
    return said + ["a second create changes it"] * (json.loads(again) != json.loads(after))


def run(seeds: range, folder: Path) -> list[str]:
    """Try cases; return what is wrong with each."""
    complaints = []
    for seed in seeds:
        case = Case(seed, folder / f"{seed}")
        case.folder.mkdir()
        complaints += [f"{seed}: {complaint}" for complaint in check(case)]
        shutil.rmtree(case.folder)
    return complaints


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(150), id="short"),
        pytest.param(range(150, 20_000), id="long", marks=pytest.mark.long),
    ],
)
def test_random_containers(seeds: range, tmp_path: Path) -> None:
    complaints = run(seeds, tmp_path)

    assert complaints == [], f"{len(complaints)} complaints"
