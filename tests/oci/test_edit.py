# SPDX-License-Identifier: Apache-2.0
"""Edits of a config.json: what is added goes in once, all else stays."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from builders import Document, environment, spec

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import edit

PATH = "/b/config.json"
NULL = {"path": "/dev/x", "type": "c", "major": 1, "minor": 3}
RULE = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}
DENY = {"allow": False, "access": "rwm"}
OUR_NAMES = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")


def edited(document: Document, **edits: Any) -> Document:
    """Apply one edit to a copy; the arguments stay as they are."""
    document = copy.deepcopy(document)
    edit.apply(document, [copy.deepcopy(edits)], PATH)
    return document


def in_linux(document: Document) -> tuple[Any, Any]:
    """Return the devices, and the rules of the device cgroup."""
    return document["linux"]["devices"], document["linux"]["resources"]["devices"]


def mount(target: str, source: str = "/s") -> dict[str, str]:
    return {"destination": target, "source": source}


def targets(document: Document) -> list[str]:
    return [entry["destination"] for entry in document["mounts"]]


@pytest.mark.parametrize("edits", [[], [{}], [{"env": [], "mounts": [], "hooks": {}}]])
def test_no_edit(edits: list[Document]) -> None:
    document = spec(extra={"kept": [1, None]})

    edit.apply(document, edits, PATH)

    assert document == spec(extra={"kept": [1, None]})


@pytest.mark.parametrize(
    ("present", "added", "expected"),
    [
        (["A=1"], ["B=2"], ["A=1", "B=2"]),
        (["A=1", "C=3"], ["A=2"], ["A=2", "C=3"]),
        (["A=1", "B=2", "A=3"], ["A=4"], ["A=4", "B=2"]),
        (["A=1", "B=2"], ["C=3", "B=4", "A=5"], ["A=5", "B=4", "C=3"]),
        (["A=1"], ["B=2", "B=3"], ["A=1", "B=3"]),
        (["A", "=x", ""], ["A=1"], ["A", "=x", "", "A=1"]),
        (["AB=1", "a=2"], ["A=3"], ["AB=1", "a=2", "A=3"]),
        (["A=1"], ["A="], ["A="]),
        (["A=1"], ["A=b=c"], ["A=b=c"]),
        ([], ["B=2", "A=1"], ["B=2", "A=1"]),
    ],
)
def test_env(present: list[str], added: list[str], expected: list[str]) -> None:
    document = spec()
    document["process"]["env"] = present

    assert environment(edited(document, env=added)) == expected


@pytest.mark.parametrize("process", [{}, {"process": None}, {"process": {"env": None}}])
def test_env_is_made_where_there_is_none(process: Document) -> None:
    assert edited(process, env=["A=1"]) == {"process": {"env": ["A=1"]}}


def test_devices_are_made_where_there_are_none() -> None:
    assert in_linux(edited({}, devices=[NULL])) == ([NULL], [RULE])


def test_device_takes_the_place_of_one_with_its_path() -> None:
    old = {"path": "/dev/x", "type": "b", "major": 9, "minor": 9}
    other = {"path": "/dev/y", "type": "c", "major": 1, "minor": 5}

    document = edited({"linux": {"devices": [old, other, old]}}, devices=[NULL])

    assert in_linux(document) == ([other, NULL], [RULE])


@pytest.mark.parametrize(
    ("permissions", "access"), [({}, "rwm"), ({"permissions": "r"}, "r")], ids=["default", "given"]
)
def test_permissions_are_those_of_the_rule(permissions: Document, access: str) -> None:
    document = edited({}, devices=[{**NULL, **permissions}])

    assert in_linux(document) == ([NULL], [{**RULE, "access": access}])


def test_node_without_permissions_has_no_rule() -> None:
    """It is seen, and nobody may open it."""
    assert in_linux(edited({}, devices=[{**NULL, "permissions": "none"}])) == ([NULL], [])


@pytest.mark.parametrize("kind", ["p", "u"])
def test_no_rule_is_needed_for(kind: str) -> None:
    node = {**NULL, "type": kind}

    assert in_linux(edited({}, devices=[node])) == ([node], [])


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        pytest.param([DENY], [DENY, RULE], id="the usual denial of all"),
        pytest.param([DENY, RULE], [DENY, RULE], id="there already"),
        pytest.param([RULE, DENY], [RULE, DENY, RULE], id="there, but denied later"),
        pytest.param([RULE, "?"], [RULE, "?", RULE], id="there, but before what we cannot read"),
        pytest.param([{**RULE, "access": "r"}], [{**RULE, "access": "r"}, RULE], id="with less"),
    ],
)
def test_rule_holds_and_is_there_once(present: list[Any], expected: list[Any]) -> None:
    document = {"linux": {"resources": {"devices": present}}}

    assert in_linux(edited(document, devices=[NULL]))[1] == expected


def test_two_nodes_of_one_device_have_one_rule() -> None:
    twin = {**NULL, "path": "/dev/y"}

    assert in_linux(edited({}, devices=[NULL, twin])) == ([NULL, twin], [RULE])


@pytest.mark.parametrize(
    ("user", "owner"),
    [
        ({"uid": 1000, "gid": 100}, {"uid": 1000, "gid": 100}),
        ({"uid": 1000}, {"uid": 1000}),
        ({"uid": 0, "gid": 0}, {}),
        ({"uid": None}, {}),
        (None, {}),
    ],
)
def test_nodes_belong_to_the_user_of_the_process(user: object, owner: Document) -> None:
    document = edited({"process": {"user": user}}, devices=[NULL])

    assert in_linux(document)[0] == [{**owner, **NULL}]


def test_owner_that_the_edit_names_goes_first() -> None:
    node = {**NULL, "uid": 5, "gid": 0}

    document = edited({"process": {"user": {"uid": 1000, "gid": 100}}}, devices=[node])

    assert in_linux(document)[0] == [node]


@pytest.mark.parametrize(
    ("present", "added", "expected"),
    [
        pytest.param(["/proc"], ["/a"], ["/proc", "/a"], id="at the end of its depth"),
        pytest.param(["/a/b/c", "/a"], ["/a/b"], ["/a", "/a/b", "/a/b/c"], id="by depth"),
        pytest.param(["/b", "/a"], ["/"], ["/", "/b", "/a"], id="the root first"),
        pytest.param(["/a", "/b", "/a"], ["/a"], ["/b", "/a", "/a"], id="for the first of its own"),
        pytest.param(["/a/"], ["/a"], ["/a"], id="slash at the end"),
        pytest.param(["/a//b/../c"], ["/a/c"], ["/a/c"], id="unclean"),
        pytest.param(["/../a"], ["/a"], ["/a"], id="above the root"),
        pytest.param(["/x"], ["/a", "/a"], ["/x", "/a"], id="twice in one edit"),
    ],
)
def test_mounts(present: list[str], added: list[str], expected: list[str]) -> None:
    document = {"mounts": [mount(target, "/old") for target in present]}

    document = edited(document, mounts=[mount(target) for target in added])

    assert targets(document) == expected


def test_mount_of_the_edit_is_the_one_that_is_left() -> None:
    document = {"mounts": [mount("/a", "/old")]}

    assert edited(document, mounts=[mount("/a", "/new")]) == {"mounts": [mount("/a", "/new")]}


@pytest.mark.parametrize("odd", [{}, {"destination": 5}, {"destination": "relative"}])
def test_odd_mount_is_kept_for_the_runtime_to_judge(odd: Document) -> None:
    assert edited({"mounts": [odd]}, mounts=[mount("/a")]) == {"mounts": [odd, mount("/a")]}


def test_hooks_follow_those_of_their_stage() -> None:
    document = {"hooks": {"prestart": [{"path": "/a"}], "poststop": None, "later": 1}}
    added = {"prestart": [{"path": "/b"}], "poststop": [{"path": "/c"}], "poststart": [{}]}

    assert edited(document, hooks=added) == {
        "hooks": {
            "prestart": [{"path": "/a"}, {"path": "/b"}],
            "poststop": [{"path": "/c"}],
            "later": 1,
            "poststart": [{}],
        }
    }


@pytest.mark.parametrize(
    ("present", "added", "expected"),
    [
        (None, [44], [44]),
        ([44, 5], [5, 6], [44, 5, 6]),
        ([], [6, 6, 5], [6, 5]),
        ([1], [0], [1]),
        ([7, 7], [7], [7, 7]),
    ],
)
def test_additional_gids(present: object, added: list[int], expected: list[int]) -> None:
    document = edited({"process": {"user": {"additionalGids": present}}}, additionalGids=added)

    assert document == {"process": {"user": {"additionalGids": expected}}}


def test_intel_rdt_is_replaced() -> None:
    document = {"linux": {"intelRdt": {"closID": "old", "l3CacheSchema": "x"}}}

    assert edited(document, intelRdt={"closID": "gpu"}) == {
        "linux": {"intelRdt": {"closID": "gpu"}}
    }


def test_empty_intel_rdt_takes_the_place_of_an_earlier_one() -> None:
    document = {"linux": {"intelRdt": {"closID": "old"}}}

    edit.apply(
        document, [{"intelRdt": {"closID": "gpu"}}, {"env": ["A=1"]}, {"intelRdt": {}}], PATH
    )

    assert document["linux"] == {"intelRdt": {}}


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param([{"mounts": [mount("/a", "/1")]}, {"mounts": [mount("/a", "/2")]}], id="two"),
        pytest.param([{"mounts": [mount("/a", "/1"), mount("/a", "/2")]}], id="one"),
    ],
)
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_each_mount_takes_the_place_of_one(count: int, edits: list[Document]) -> None:
    document = {"mounts": [mount("/a", f"/old{number}") for number in range(count)]}

    edit.apply(document, edits, PATH)

    expected = {0: ["/2"], 1: ["/2"], 2: ["/1", "/2"], 3: ["/old2", "/1", "/2"]}
    assert [entry["source"] for entry in document["mounts"]] == expected[count]


def test_of_two_edits_the_last_one_counts() -> None:
    document = spec()
    rw = {**NULL, "permissions": "rw"}
    edits: list[Document] = [
        {"env": ["A=1", "B=1"], "devices": [rw, {**NULL, "path": "/dev/y"}]},
        {"env": ["A=2"], "devices": [NULL], "additionalGids": [5], "hooks": {"poststop": [{}]}},
        {"additionalGids": [6, 5], "hooks": {"poststop": [{"path": "/a"}]}},
    ]
    edit.apply(document, edits, PATH)

    assert environment(document) == ["PATH=/usr/bin:/bin", "A=2", "B=1"]
    assert in_linux(document) == (
        [{**NULL, "path": "/dev/y"}, NULL],
        [{**RULE, "access": "rw"}, RULE],
    )
    assert document["process"]["user"] == {"additionalGids": [5, 6]}
    assert document["hooks"] == {"poststop": [{}, {"path": "/a"}]}


def test_net_devices_are_added_by_the_name_on_the_host() -> None:
    document = {"linux": {"netDevices": {"eth0": {"name": "a"}, "eth1": {"name": "b"}}}}

    assert edited(document, netDevices={"eth1": {"name": "c"}, "eth2": {"name": "d"}}) == {
        "linux": {
            "netDevices": {"eth0": {"name": "a"}, "eth1": {"name": "c"}, "eth2": {"name": "d"}}
        }
    }


@pytest.mark.parametrize(
    ("document", "edits", "says"),
    [
        ({"process": []}, {"env": ["A=1"]}, "process: must be an object, not a list"),
        ({"process": {"env": "A"}}, {"env": ["A=1"]}, "process.env: must be a list, not a string"),
        ({"linux": 1}, {"devices": [NULL]}, "linux: must be an object, not a number"),
        (
            {"linux": {"devices": {}}},
            {"devices": [NULL]},
            "linux.devices: must be a list, not an object",
        ),
        (
            {"linux": {"resources": True}},
            {"devices": [NULL]},
            "linux.resources: must be an object, not a boolean",
        ),
        (
            {"linux": {"resources": {"devices": "a"}}},
            {"devices": [NULL]},
            "linux.resources.devices: must be a list, not a string",
        ),
        (
            {"process": {"user": "root"}},
            {"devices": [NULL]},
            "process.user: must be an object, not a string",
        ),
        (
            {"process": {"user": {"gid": "0"}}},
            {"devices": [NULL]},
            "process.user.gid: must be a whole number, not a string",
        ),
        ({"mounts": {}}, {"mounts": [mount("/a")]}, "mounts: must be a list, not an object"),
        (
            {"mounts": [{}, None]},
            {"mounts": [mount("/a")]},
            "mounts[1]: must be an object, not null",
        ),
        ({"hooks": []}, {"hooks": {"poststop": [{}]}}, "hooks: must be an object, not a list"),
        (
            {"hooks": {"poststop": {}}},
            {"hooks": {"poststop": [{}]}},
            "hooks.poststop: must be a list, not an object",
        ),
        (
            {"process": {"user": {"additionalGids": 5}}},
            {"additionalGids": [5]},
            "process.user.additionalGids: must be a list, not a number",
        ),
        (
            {"linux": {"netDevices": []}},
            {"netDevices": {"a": {}}},
            "linux.netDevices: must be an object, not a list",
        ),
    ],
)
def test_wrong_type_where_we_edit(document: Document, edits: Document, says: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        edited(document, **edits)

    assert str(error.value) == f"{PATH}: {says}"
    assert error.value.hint == (
        "see the OCI runtime-spec, config.md; the engine or 'runc spec' writes this file"
    )


def test_wrong_type_elsewhere_is_kept_for_the_runtime_to_judge() -> None:
    document = {"mounts": 5, "hooks": "x", "linux": [], "process": {"user": "root", "env": []}}

    expected = {**document, "process": {"user": "root", "env": ["A=1"]}}
    assert edited(document, env=["A=1"]) == expected


def hook(program: str) -> dict[str, str]:
    return {"path": f"/usr/bin/{program}"}


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        pytest.param(
            {"prestart": [hook(OUR_NAMES[0]), hook("x"), hook(OUR_NAMES[1])]},
            {"prestart": [hook("x")]},
            id="one that is not ours stays",
        ),
        pytest.param(
            {"prestart": [hook(OUR_NAMES[0])], "poststop": [hook("x")]},
            {"poststop": [hook("x")]},
            id="a stage that gets empty goes",
        ),
        pytest.param({"prestart": [{"path": f"/x/{OUR_NAMES[0]}/"}]}, {}, id="slash at the end"),
        pytest.param(
            {"prestart": [hook(OUR_NAMES[0])], "createRuntime": [hook(OUR_NAMES[1]), hook("x")]},
            {"createRuntime": [hook("x")]},
            id="where podman 5 puts it",
        ),
    ],
)
def test_remove_hooks(present: Document, expected: Document) -> None:
    document = {"hooks": present}

    assert edit.remove_hooks(document, OUR_NAMES, PATH)
    assert document == {"hooks": expected}


@pytest.mark.parametrize(
    "hooks",
    [
        None,
        {},
        {"prestart": None},
        {"prestart": []},
        {"prestart": [hook("x"), {"path": 5}, "nvidia-container-toolkit", None]},
        {"createContainer": [hook(OUR_NAMES[0])]},
    ],
)
def test_no_hook_to_remove(hooks: object) -> None:
    document = {"hooks": copy.deepcopy(hooks)}

    assert not edit.remove_hooks(document, OUR_NAMES, PATH)
    assert not edit.has_hook(document, OUR_NAMES, PATH)
    assert document == {"hooks": hooks}


@pytest.mark.parametrize("name", OUR_NAMES)
@pytest.mark.parametrize("stage", ["prestart", "createRuntime"])
def test_has_hook(stage: str, name: str) -> None:
    assert edit.has_hook({"hooks": {stage: [hook("x"), hook(name)]}}, OUR_NAMES, PATH)


@pytest.mark.parametrize(
    ("hooks", "says"),
    [
        ([1], "hooks: must be an object, not a list"),
        ({"prestart": "x"}, "hooks.prestart: must be a list, not a string"),
    ],
)
def test_hooks_of_a_wrong_type(hooks: object, says: str) -> None:
    for function in (edit.has_hook, edit.remove_hooks):
        with pytest.raises(NvidiaRuntimeError) as error:
            function({"hooks": hooks}, OUR_NAMES, PATH)

        assert str(error.value) == f"{PATH}: {says}"


def test_mounts_in_a_user_namespace_are_as_the_spec_has_them() -> None:
    """Not idmapped: runc before 1.2, rootless engines and some file systems refuse that."""
    bind = {**mount("/a"), "options": ["rbind", "ro"]}
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    linux = {"namespaces": [{"type": "user"}], "uidMappings": mapping, "gidMappings": mapping}

    assert edited(spec(linux=linux), mounts=[bind])["mounts"] == [bind]


def test_bundle_that_is_created_again_has_its_hooks_once() -> None:
    """runc leaves a bundle as it is; but what a spec asks for twice is done twice."""
    hooks = {"createContainer": [{"path": "/a"}, {"path": "/a"}, {"path": "/b", "args": ["b"]}]}
    user = spec(hooks={"createContainer": [{"path": "/b", "args": ["b"], "timeout": 5}]})

    once = edited(user, hooks=hooks)

    assert once["hooks"]["createContainer"] == [
        *user["hooks"]["createContainer"],
        *hooks["createContainer"],
    ]
    assert edited(once, hooks=hooks) == once
