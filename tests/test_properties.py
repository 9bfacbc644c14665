# SPDX-License-Identifier: Apache-2.0
"""What must hold for any input, by examples that Hypothesis makes up."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import builders
import pytest
import shim
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nvidia_runtime import create, document, schemas
from nvidia_runtime.cdi import names, registry
from nvidia_runtime.cdi import spec as cdi_spec_file
from nvidia_runtime.compile import config, snapshot
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import argv, edit
from nvidia_runtime.prepare import update_application_profile
from nvidia_runtime.start import Launch
from nvidia_runtime.store import files
from nvidia_runtime.store.snapshot import Snapshot

Document = dict[str, Any]
LAUNCH = Launch("", "", "", "/usr/bin/nvidia-container-runtime")

few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
many = settings(few, max_examples=200)

# Any JSON

texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
finite = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=4)
indents = st.none() | st.integers(0, 3)


def as_bytes(value: object, indent: int | None, ascii_only: bool) -> bytes:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    return text.encode("utf-8", "surrogatepass")


written = st.builds(as_bytes, values, indents, st.booleans())


def by_json(data: bytes) -> object:
    """Decode as the standard library does; return the error if it cannot."""
    try:
        return json.loads(data.decode(), parse_constant=dict[str, float]().__getitem__)
    except (ValueError, KeyError) as error:
        return error


@many
@given(
    written
    | st.binary(max_size=40)
    | st.text('{}[]",:0.eE+-1 \\ntrufalsN', max_size=30).map(str.encode)
)
def test_loads_agrees_with_json(data: bytes) -> None:
    expected = by_json(data)
    if isinstance(expected, Exception):
        with pytest.raises(NvidiaRuntimeError):
            document.loads(data, "x")
    else:
        assert repr(document.loads(data, "x")) == repr(expected)


@many
@given(values)
def test_what_is_written_is_read_again(value: object) -> None:
    value = json.loads(json.dumps(value))  # joins what looks like a pair of surrogates

    assert repr(json.loads(document.dumps(value))) == repr(value)


# Edits

PATHS = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/b", "/b/", "//a", "/a/./b", "/c/../a"])
NAMES = st.sampled_from(["A", "B", "C", "AB"])
entries = st.builds("{}={}".format, NAMES, st.sampled_from(["", "1", "x=y"]))
nodes = st.builds(
    lambda path, kind, minor: {"path": path, "type": kind, "major": 1, "minor": minor},
    PATHS,
    st.sampled_from("bcp"),
    st.integers(0, 3),
)
mounts = st.builds(lambda path, source: {"destination": path, "source": source}, PATHS, NAMES)
hooks = st.lists(st.builds(lambda name: {"path": f"/{name}"}, NAMES), max_size=2)
denials = st.just({"allow": False, "access": "rwm"})
rules = st.lists(
    denials | st.builds(lambda node: {**node, "allow": True, "access": "rwm"}, nodes), max_size=3
)
edits = st.fixed_dictionaries(
    {},
    optional={
        "env": st.lists(entries, max_size=3),
        "devices": st.lists(nodes, max_size=3),
        "mounts": st.lists(mounts, max_size=3),
        "additionalGids": st.lists(st.integers(0, 3), max_size=3),
        "intelRdt": st.just({"closID": "x"}),
        "netDevices": st.dictionaries(NAMES, st.just({"name": "e"}), max_size=2),
    },
)
strange = st.dictionaries(texts.map("x-{}".format), values, max_size=2)


def target_of(mount: Document) -> str:
    return str(edit._clean(mount["destination"]))


def specs(extra: st.SearchStrategy[Document]) -> st.SearchStrategy[Document]:
    """Make config.json documents with all that an edit touches, and ``extra`` beside it."""

    def part(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
        return st.builds(
            lambda odd, base: {**odd, **base}, extra, st.fixed_dictionaries({}, optional=fields)
        )

    user = part(uid=st.integers(0, 2), additionalGids=st.lists(st.integers(0, 3), max_size=2))
    resources = part(devices=rules)
    return part(
        process=part(env=st.lists(entries | NAMES, max_size=4), user=user),
        linux=part(devices=st.lists(nodes, max_size=3), resources=resources),
        mounts=st.lists(mounts, max_size=3, unique_by=target_of),
        hooks=part(prestart=hooks),
    )


def applied(spec: Document, *several: Document) -> Document:
    spec = copy.deepcopy(spec)
    edit.apply(spec, copy.deepcopy(list(several)), "x")
    return spec


def strangeness(value: object) -> object:
    """Keep of a document what we do not know, with where it stands."""
    if not isinstance(value, dict):
        return None
    kept = {key: item if key[:2] == "x-" else strangeness(item) for key, item in value.items()}
    return {key: item for key, item in kept.items() if item is not None and item != {}}


@few
@given(specs(strange), edits)
def test_unknown_fields_survive(spec: Document, added: Document) -> None:
    assert strangeness(applied(spec, added)) == strangeness(spec)


@few
@given(specs(st.just({})), edits)
def test_twice_is_once(spec: Document, added: Document) -> None:
    once = applied(spec, added)

    assert applied(once, added) == once
    assert applied(spec, added, added) == once


@few
@given(specs(st.just({})), st.lists(entries, min_size=1, max_size=4))
def test_variables(spec: Document, added: list[str]) -> None:
    before = spec.get("process", {}).get("env", [])
    after = applied(spec, {"env": added})["process"]["env"]

    wanted = {entry.partition("=")[0]: entry for entry in added}

    def is_ours(entry: str) -> bool:
        name, equals, _ = entry.partition("=")
        return bool(equals) and name in wanted

    assert sorted(filter(is_ours, after)) == sorted(wanted.values())
    assert [entry for entry in after if not is_ours(entry)] == [
        entry for entry in before if not is_ours(entry)
    ]
    names = [entry.partition("=")[0] for entry in after if is_ours(entry)]
    replaced = dict.fromkeys(entry.partition("=")[0] for entry in before if is_ours(entry))
    assert names == list(replaced | wanted)


@few
@given(specs(st.just({})), st.lists(nodes, min_size=1, max_size=4))
def test_nodes_are_there_and_allowed(spec: Document, added: list[Document]) -> None:
    linux = applied(spec, {"devices": added})["linux"]

    paths = [node["path"] for node in linux["devices"]]
    allowed = linux["resources"]["devices"]
    last_denial = max((at for at, rule in enumerate(allowed) if not rule["allow"]), default=-1)
    for node in {node["path"]: node for node in added}.values():
        assert paths.count(node["path"]) == 1
        keys = ("type", "major", "minor")
        same = [
            rule
            for rule in allowed[last_denial + 1 :]
            if all(rule[key] == node[key] for key in keys)
        ]
        assert same or node["type"] == "p"


@few
@given(specs(st.just({})), st.lists(mounts, min_size=1, max_size=4))
def test_mounts_are_there_and_cover_none(spec: Document, added: list[Document]) -> None:
    after = applied(spec, {"mounts": added})["mounts"]

    depths = [edit.depth(mount) for mount in after]
    assert depths == sorted(depths)
    cleaned = [target_of(mount) for mount in after]
    for target, mount in {target_of(mount): mount for mount in added}.items():
        assert cleaned.count(target) == 1
        assert mount in after


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a bundle's folder, and in the place of the host's a state folder for what is created."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "SYSTEM_FOLDER", os.fspath(tmp_path_factory.mktemp("state")))
        patch.delenv("XDG_RUNTIME_DIR", raising=False)
        yield tmp_path_factory.mktemp("bundle")


@functools.cache
def in_mode(folder: Path, mode: str) -> Snapshot:
    """Compile a config.toml that sets the mode."""
    file = folder / f"{mode}.toml"
    file.write_text(f'[nvidia-container-runtime]\nmode = "{mode}"')
    os.utime(file, (2**32, 2**32))  # of the future: no snapshot is kept
    return snapshot.settings(str(file))


@few
@given(
    objects | specs(strange),
    indents,
    st.booleans(),
    st.sampled_from(["cdi", "csv", "jit-cdi", "auto"]),
)
def test_no_request_changes_no_byte(
    bundle: Path, spec: Document, indent: int | None, ascii_only: bool, mode: str
) -> None:
    data = as_bytes(spec, indent, ascii_only)
    (bundle / "config.json").write_bytes(data)
    invocation = argv.parse(["create", "--bundle", str(bundle), "c1"])
    try:
        create.inject(invocation, LAUNCH, "runc", in_mode(bundle, mode), None)
    except NvidiaRuntimeError:
        pass  # malformed

    assert (bundle / "config.json").read_bytes() == data


# What an engine injected by itself

VERBS = [
    ["noop"],
    ["create-symlinks", "--link", "a::/b"],
    ["update-ldcache", "--folder", "/usr/lib"],
    ["enable-cuda-compat", "--host-driver-version=580.1"],
    ["update-application-profile"],
    ["chmod", "--mode", "755", "--path", "/dev/dri"],
    ["new-verb"],
]
OURS = "/usr/bin/nvidia-cdi-hook"
native_hooks = st.lists(
    st.builds(
        lambda words, env: {"path": OURS, "args": ["nvidia-cdi-hook", *words], **env},
        st.sampled_from(VERBS),
        st.sampled_from([{}, {"env": []}, {"env": ["A=b"]}]),
    )
    | st.builds(lambda name: {"path": f"/{name}"}, NAMES),
    max_size=4,
)
FAKE = Launch("", "", "", str(shim.BIN / shim.NAME))


def others(hooks: Document) -> Document:
    """Return the hooks that are not NVIDIA's, by stage, in their order."""
    kept = {
        stage: [hook for hook in entries if hook["path"].rpartition("/")[2] != "nvidia-cdi-hook"]
        for stage, entries in hooks.items()
    }
    return {stage: entries for stage, entries in kept.items() if entries}


@few
@given(
    specs(strange),
    st.dictionaries(st.sampled_from(edit.STAGES), native_hooks, min_size=1),
    st.sampled_from(["cdi", "csv", "jit-cdi", "auto"]),
)
def test_takeover_changes_hooks_alone(
    bundle: Path, spec: Document, hooks: Document, mode: str
) -> None:
    """All else of config.json means the same, but for mounts of our own behind all others."""
    spec = {**spec, "root": {"path": "rootfs"}, "hooks": hooks}
    (bundle / "rootfs").mkdir(exist_ok=True)
    (bundle / "config.json").write_bytes(as_bytes(spec, None, ascii_only=True))
    invocation = argv.parse(["create", "--bundle", str(bundle), "c1"])

    create.inject(invocation, FAKE, "runc", in_mode(bundle, mode), None)

    after = json.loads((bundle / "config.json").read_bytes())
    before = json.loads(json.dumps(spec))
    assert others(after.pop("hooks", {})) == others(before.pop("hooks"))
    mounted = before.get("mounts", [])
    added = after.get("mounts", [])[len(mounted) :]
    assert {mount["destination"] for mount in added} <= {update_application_profile.PATH}
    if added:
        after["mounts"] = after["mounts"][: len(mounted)]
        before.setdefault("mounts", [])
    assert after == before


@few
@given(st.dictionaries(st.sampled_from(edit.STAGES), native_hooks))
def test_no_hook_of_nvidias_is_left_without_an_environment(bundle: Path, hooks: Document) -> None:
    spec = builders.spec(hooks=hooks)
    (bundle / "rootfs").mkdir(exist_ok=True)
    (bundle / "config.json").write_bytes(as_bytes(spec, None, ascii_only=True))
    invocation = argv.parse(["create", "--bundle", str(bundle), "c1"])

    create.inject(invocation, FAKE, "runc", in_mode(bundle, "auto"), None)

    after = json.loads((bundle / "config.json").read_bytes())["hooks"]
    left = [hook for entries in after.values() for hook in entries if "nvidia" in hook["path"]]
    assert all(hook["env"] for hook in left)
    words = [hook["args"][1] for hook in left]
    assert not {"noop", "create-symlinks"} & {
        word
        for stage, entries in after.items()
        if stage not in ("poststart", "poststop")
        for word in [hook["args"][1] for hook in entries if "nvidia" in hook["path"]]
    }, words


# Command lines

words = st.lists(
    st.sampled_from(
        ["create", "--bundle", "-b", "--", "-", "--log", "--root=x", "--log-format", "json"]
    )
    | texts
    | texts.map("-{}".format),
    max_size=8,
)
plain = st.from_regex(r"[a-z0-9/.][a-z0-9/.=-]{0,5}", fullmatch=True)


def flags(
    *valued: str, alone: tuple[str, ...]
) -> st.SearchStrategy[list[tuple[str, str, list[str]]]]:
    """Make flags as runc takes them: each its name, its value, and the words that say so."""
    dashes = st.sampled_from(["-", "--"])
    separate = st.builds(lambda d, n, v: (n, v, [d + n, v]), dashes, st.sampled_from(valued), plain)
    joined = st.builds(
        lambda d, n, v: (n, v, [f"{d}{n}={v}"]), dashes, st.sampled_from(valued), plain
    )
    switches = st.builds(lambda d, n: (n, "", [d + n]), dashes, st.sampled_from(alone))
    return st.lists(separate | joined | switches, max_size=4)


global_flags = flags(
    "root", "log", "log-format", "rootless", "criu", alone=("systemd-cgroup", "debug")
)
create_flags = flags(
    "bundle",
    "b",
    "pid-file",
    "console-socket",
    "preserve-fds",
    alone=("no-pivot", "no-new-keyring"),
)


@many
@given(words)
def test_any_words_are_parsed(given_words: list[str]) -> None:
    assert argv.parse(given_words).words == given_words


@many
@given(
    global_flags, st.sampled_from(["create", "start", "kill"]), create_flags, plain, st.booleans()
)
def test_command_lines_of_runc(
    before: list[tuple[str, str, list[str]]],
    command: str,
    after: list[tuple[str, str, list[str]]],
    container: str,
    dashes: bool,
) -> None:
    line = [word for flag in before for word in flag[2]] + [command]
    line += [word for flag in after for word in flag[2]] + ["--"] * dashes + [container]

    invocation = argv.parse(line)

    said = {name: value for name, value, _ in before}
    bundles = [value for name, value, _ in after if name in ("bundle", "b")]
    is_create = command == "create"
    assert invocation.command == command
    assert invocation.complaint == ""
    assert invocation.log == said.get("log", "")
    assert invocation.log_json == (said.get("log-format") == "json")
    assert invocation.debug == ("debug" in said)
    assert invocation.bundle == (bundles[-1] if bundles and is_create else "")
    assert invocation.container == (container if is_create else "")


# CDI

QUALIFIED = re.compile(
    r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?/[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?"
    r"=[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?"
)


@many
@given(
    st.text("aZ09_-.:/= \n\u00e9", max_size=10) | st.from_regex(QUALIFIED, fullmatch=True) | texts
)
def test_qualified_names(name: str) -> None:
    assert names.is_qualified(name) == bool(QUALIFIED.fullmatch(name))


FULL: Document = {
    "cdiVersion": "1.1.0",
    "kind": "nvidia.com/gpu",
    "annotations": {"a": "b"},
    "devices": [
        {
            "name": "0",
            "annotations": {"c": "d"},
            "containerEdits": {
                "env": ["A=1"],
                "deviceNodes": [
                    {
                        "path": "/dev/x",
                        "hostPath": "/dev/y",
                        "type": "c",
                        "major": 1,
                        "minor": 2,
                        "fileMode": 438,
                        "permissions": "rw",
                        "uid": 0,
                        "gid": 0,
                    }
                ],
            },
        },
        {
            "name": "a",
            "containerEdits": {
                "hooks": [
                    {
                        "hookName": "poststop",
                        "path": "/h",
                        "args": ["h"],
                        "env": ["B=1"],
                        "timeout": 1,
                    }
                ],
                "mounts": [
                    {"hostPath": "/a", "containerPath": "/b", "options": ["ro"], "type": "bind"}
                ],
            },
        },
        {"name": "b", "containerEdits": {"intelRdt": {"closID": "x", "enableCMT": True}}},
    ],
    "containerEdits": {
        "additionalGids": [5],
        "intelRdt": {
            "closID": "x",
            "l3CacheSchema": "y",
            "memBwSchema": "z",
            "schemata": ["s"],
            "enableMonitoring": True,
        },
        "netDevices": [{"hostInterfaceName": "e", "name": "f"}],
    },
}
CONFIG: Document = {}
for _key, _default in config.DEFAULTS.items():
    _table = CONFIG
    for _name in _key.split(".")[:-1]:
        _table = _table.setdefault(_name, {})
    _table[_key.split(".")[-1]] = _default


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """List the paths of a document's values."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path] * bool(path) + [
        place for key, item in items for place in places(item, (*path, key))
    ]


def mutant(original: Document, changes: list[tuple[tuple[str | int, ...], object]]) -> Document:
    """Change a document at some places; ``...`` removes, a change to what is gone does nothing."""
    changed = copy.deepcopy(original)
    for path, value in changes:
        here: Any = changed
        try:
            for step in path[:-1]:
                here = here[step]
            if value is ...:
                del here[path[-1]]
            else:
                here[path[-1]] = copy.deepcopy(value)  # else a later change makes a circle
        except (KeyError, IndexError, TypeError):
            continue
    return changed


def mutants(original: Document, odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    at = st.sampled_from(places(original))
    inside = st.builds(
        lambda path, key: (*path[:-1], key), at, st.sampled_from(["x", "env", "path"])
    )
    change = st.tuples(at | inside, odd | st.just(...))
    return st.builds(mutant, st.just(original), st.lists(change, min_size=1, max_size=3))


near: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(
            "",
            "a",
            "A=1",
            "=",
            "c",
            "rwm",
            "..",
            "/",
            "a/b",
            "a/b\n",
            "0\n",
            "0.5.0",
            "v1.0.0",
            "poststart",
        ),
        *(0, 1, -1, 1.0, 1.5, 2**32, 2**32 - 1, 2**63, -(2**63) - 1, True, None),
        *([], {}, [""], [None], ["A=1"], [1], [-1], [{}], {"a": 1}, {"a": None}),
    ]
)
SAID_BY_HAND_ONLY = re.compile(r"is there twice$|what the spec has in it needs ")


def check_agreement(spec: object) -> None:
    """Hold the hand-written checks against the schema, for a document from JSON."""
    before = schemas.violations("cdi", spec)
    try:
        accepted = cdi_spec_file.parse(json.dumps(spec).encode(), "x")
    except NvidiaRuntimeError as error:
        assert before or SAID_BY_HAND_ONLY.search(str(error)), str(error)
    else:
        assert schemas.violations("cdi", accepted) == []


def test_full_spec_is_accepted() -> None:
    check_agreement(FULL)
    assert cdi_spec_file.parse(json.dumps(FULL).encode(), "x") == FULL


@many
@given(mutants(FULL, near | values))
def test_cdi_checks_agree_with_the_schema(spec: Document) -> None:
    check_agreement(spec)


@pytest.mark.parametrize("path", places(FULL), ids=lambda path: ".".join(map(str, path)))
def test_cdi_checks_agree_at_every_place(path: tuple[str | int, ...]) -> None:
    value: object
    for value in (
        ...,
        "",
        "a\n",
        "..",
        0,
        -1,
        1.0,
        1.5,
        2**32,
        2**63,
        True,
        None,
        [],
        {},
        [None],
        [1],
    ):
        check_agreement(mutant(FULL, [(path, value)]))


@few
@given(
    st.binary(max_size=60)
    | written
    | st.text("{}[]&*!|>?-:,'\"#% \nab01<~", max_size=30).map(str.encode)
)
def test_any_bytes_are_a_spec_or_refused(data: bytes) -> None:
    try:
        assert cdi_spec_file.parse(data, "x")["devices"]
    except NvidiaRuntimeError as error:
        assert str(error).startswith("x: ")


tagged = st.sampled_from(
    ["int", "float", "bool", "null", "str", "timestamp", "binary", "seq", "map", "set"]
)


@few
@given(
    tagged,
    st.sampled_from(["", "x", "''", "5", "1.5", "y", "~", "2001-12-14", "[a]", "{a: b}", "+", "-"]),
)
def test_any_tag_is_read_or_refused(tag: str, value: str) -> None:
    for text in (f"a: !!{tag} {value}", f"? !!{tag} {value}\n: b", f"- !!{tag} {value}"):
        with pytest.raises(NvidiaRuntimeError):
            cdi_spec_file.parse(text.encode(), "x")


# Configuration

toml = st.sampled_from(
    [True, 0, 1.5, "", "auto", "warn", "all", "toolkit", [], ["a"], [1], [[]], {}, {"a": 1}]
)


# Which file supplies which device: for each spec dir, files with some of three devices

layouts = st.lists(
    st.dictionaries(
        st.sampled_from(["a.json", "b.json", "c.json"]),
        st.sets(st.sampled_from(["0", "1", "all"]), min_size=1),
        max_size=3,
    ),
    max_size=4,
)


@few
@given(layouts)
def test_last_spec_dir_with_a_device_supplies_it(layout: list[dict[str, set[str]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        expected: dict[str, str] = {}
        for number, files in enumerate(layout):
            os.mkdir(f"{folder}/{number}")
            for name, devices in files.items():
                spec = builders.cdi_spec(*[builders.device(device) for device in sorted(devices)])
                Path(folder, str(number), name).write_text(json.dumps(spec))
            for device in set().union(*files.values()):
                holders = [name for name, devices in files.items() if device in devices]
                file = f"{folder}/{number}/{holders[0]}" if len(holders) == 1 else ""
                expected[f"nvidia.com/gpu={device}"] = file  # "": two of one dir, so none

        index = registry.read([f"{folder}/{number}" for number in range(len(layout))])

    supplied = {name: file.path for name, (file, _) in index.devices.items()}
    assert supplied == {name: file for name, file in expected.items() if file}


@many
@given(mutants(CONFIG, toml))
def test_config_checks_agree_with_the_schema(settings_file: Document) -> None:
    violations = schemas.violations("config", settings_file)
    try:
        config.check(settings_file, "x")
    except NvidiaRuntimeError as error:
        assert violations, str(error)
    else:
        assert violations == []
