# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk explain: what was injected into a container, and why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
import shim
from builders import asking, cdi_spec, device
from shim import Ended, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "from nvidia_runtime.cli import main; main()"


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a machine with two GPUs on which container c1 has been created."""
    with Site() as machine:
        machine.write_specs(gpus=cdi_spec(device("0"), device("1")))
        machine.write_bundle(asking("0"))
        assert machine.create("c1").code == 0
        yield machine


def explain(site: Site, *words: str) -> Ended:
    """Run nvidia-ctk of the tree."""
    env = {**site.environment, "PYTHONPATH": str(shim.TREE)}
    return shim.end(site.execute([sys.executable, "-c", PROGRAM, "explain", *words], env=env))


def test_says_what_a_container_got_and_from_where(site: Site) -> None:
    got = explain(site, "c1")

    lines = got.out.decode().splitlines()
    assert (got.code, got.err) == (0, "")
    assert lines.pop(2).startswith("created    20")
    assert lines[:5] == [
        "container  c1",
        "state      gone",
        f"bundle     {site.bundle}",
        "mode       cdi",
        "requested  0 by environment",
    ]
    assert any(line.startswith(f"nvidia.com/gpu=0  from {site.specs}/gpus.json") for line in lines)


def node(name: str) -> dict[str, Any]:
    return {"path": f"/dev/{name}", "type": "c", "major": 195, "minor": 0}


def gpu(name: str, *nodes: str) -> dict[str, Any]:
    return device(name, deviceNodes=[{"path": f"/dev/{one}"} for one in nodes])


def bind(path: str) -> dict[str, Any]:
    return {"destination": path, "source": path}


ALL = ("nvidia0", "nvidia1", "nvidia2")
ALONE = (gpu("0", "nvidia0"), gpu("GPU-a", "nvidia0"), gpu("1", "nvidia1"), gpu("2", "nvidia2"))
FILE = "/usr/lib/libcuda.so.580.95.05"


@pytest.mark.parametrize(
    ("nodes", "devices", "guess"),
    [
        (["nvidia0", "nvidiactl"], [*ALONE, gpu("all", *ALL)], "0 or nvidia.com/gpu=GPU-a"),
        (["nvidia1", "nvidia2"], [*ALONE, gpu("all", *ALL)], "1, nvidia.com/gpu=2"),
        ([*ALL, "fuse"], [*ALONE, gpu("all", *ALL)], "all"),
        (["fuse"], ALONE, ""),
        (["fuse"], [gpu("0", "nvidia7")], "0"),
    ],
)
def test_what_an_engine_injected_is_guessed_back(
    nodes: list[str], devices: list[dict[str, Any]], guess: str, site: Site
) -> None:
    site.write_specs(gpus=cdi_spec(*devices))
    edits = {
        "devices": [node(name) for name in nodes],
        "mounts": [bind(FILE), bind("/home/me"), bind("/dev/nvidia7"), bind("/usr/bin/nvidia-smi")],
        "hooks": {"createContainer": [{"path": "/x", "args": ["nvidia-cdi-hook", 1, "noop"]}]},
    }
    part = {"device": "", "from": {"engine": "docker"}, "edits": edits}
    file = site.state / "containers" / "c1.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "injected": [part]}))

    got = explain(site, "c1")

    lines = got.out.decode().splitlines()
    start = lines.index("injected by docker itself (CDI)")
    rest = lines[start + 1 :]
    if guess:
        assert rest.pop(0) == f"  guess   nvidia.com/gpu={guess}, by {site.specs}/gpus.json"
    assert rest[0] == "  driver  580.95.05"
    shown = [line for line in rest if line.startswith("  device")]
    assert [line.split()[1] for line in shown] == [f"/dev/{one}" for one in nodes if one != "fuse"]
    assert f"  mount   {FILE} at {FILE}" in rest
    assert not any("/home/me" in line for line in rest)


def test_broken_settings_keep_nobody_from_a_record_of_an_engines(site: Site) -> None:
    hooks = {"createContainer": [{"path": "/usr/bin/nvidia-cdi-hook", "args": ["x", "noop"]}]}
    (site.bundle / "rootfs").mkdir()
    site.write_bundle({**asking("void"), "hooks": hooks})
    assert site.create("c2").code == 0
    site.config.write_text("=")

    got = explain(site, "c2")

    assert got.code == 0
    assert "config.toml" in got.err
    assert "injected by the engine itself (CDI)" in got.out.decode()


LINK = ["create-symlinks", "--link", "libcuda.so.1::/usr/lib/libcuda.so", "--link", "b::/mnt/a"]
HOOKS = (LINK, ["noop"], ["chmod", "--mode", "755", "--path", "/mnt/b"], ["theirs"])


def with_hooks(site: Site, setting: str = "auto") -> None:
    """Create c2, whose CDI spec has hooks, all of NVIDIA's but the last."""
    root = site.bundle / "rootfs/usr/lib"
    root.mkdir(parents=True)
    hooks = [
        {
            "hookName": "createContainer",
            "path": "/usr/bin/nvidia-cdi-hook" if words[0] != "theirs" else "/usr/bin/other",
            "args": ["nvidia-cdi-hook", *words],
        }
        for words in HOOKS
    ]
    site.write_specs(gpus=cdi_spec(device("0", hooks=hooks)))
    site.write_config(in_container_hooks=setting)
    site.write_bundle(asking("0", mounts=[{"destination": "/mnt", "source": "/mnt"}]))
    assert site.create("c2").code == 0


def said_of_hooks(site: Site, *words: str) -> list[str]:
    lines = explain(site, "c2", *words).out.decode().splitlines()
    return [line.removeprefix("  hook    ") for line in lines if line.startswith("  hook ")]


def test_hooks_that_were_done_on_the_host_are_not_in_the_container(site: Site) -> None:
    with_hooks(site)

    assert said_of_hooks(site, "--all") == [
        f"partly done on the host: {' '.join(LINK)}",
        "not needed: noop",
        "createContainer: chmod --path /mnt/b --mode 755",
        "createContainer: nvidia-cdi-hook theirs",
    ]
    assert said_of_hooks(site)[0] == (
        "partly done on the host: create-symlinks --link libcuda.so.1::/usr/lib/libcuda.so …"
    )


def test_hooks_in_the_record_itself(site: Site) -> None:
    with_hooks(site)

    record = json.loads(explain(site, "c2", "--json").out)

    assert record["hooks"] == {
        "left": {
            "createContainer": [
                "create-symlinks --link b::/mnt/a",
                "chmod --path /mnt/b --mode 755",
            ]
        },
        "idle": ["noop"],
        "done": [],
    }


def test_hooks_that_stay_are_shown_as_they_are(site: Site) -> None:
    with_hooks(site, "toolkit")

    assert said_of_hooks(site, "--all") == [
        f"createContainer: nvidia-cdi-hook {' '.join(words)}" for words in HOOKS
    ]
    assert "hooks" not in json.loads(explain(site, "c2", "--json").out)


def test_record_itself(site: Site) -> None:
    record = json.loads(explain(site, "c1", "--json").out)

    assert record["requested"] == ["0"]


def test_name_is_enough(site: Site) -> None:
    site.write_bundle(asking("1", annotations={"nerdctl/name": "web"}))
    site.create("c2")

    assert explain(site, "web").out.startswith(b"container  c2\nname       web\nstate      gone\n")
    assert json.loads(explain(site, "web", "--json").out)["names"] == ["web"]


def test_completion_of_names_and_ids(site: Site) -> None:
    site.write_bundle(asking("1", annotations={"nerdctl/name": "web"}))
    site.create("c2")
    env = {**site.environment, "PYTHONPATH": str(shim.TREE)}

    def complete(begin: str) -> bytes:
        words = [sys.executable, "-c", PROGRAM, "__complete", "explain", begin]
        return shim.end(site.execute(words, env=env)).out

    assert complete("").split() == [b"c1", b"web"]
    assert complete("c").split() == [b"c1", b"c2"]


def test_beginning_of_an_id_is_enough(site: Site) -> None:
    site.write_bundle(asking("1"))
    site.create("other")

    assert explain(site, "oth").out.startswith(b"container  other\n")
    assert [line.split()[0] for line in explain(site).out.splitlines()] == [
        *(b"container", b"other", b"c1"),
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["x"], "nvidia-ctk: there is no record of a container 'x'\n"),
        (["c"], "nvidia-ctk: 'c' is the beginning of 2 ids: "),
    ],
    ids=["unknown", "ambiguous"],
)
def test_errors(words: list[str], says: str, site: Site) -> None:
    site.write_bundle(asking("1"))
    site.create("c2")

    got = explain(site, *words)

    assert (got.code, got.out) == (1, b"")
    assert got.err.startswith(says)


@pytest.mark.parametrize("text", ["{", "[]"], ids=["no-json", "no-object"])
def test_damaged_record_is_named(text: str, site: Site) -> None:
    file = site.state / "containers" / "c1.json"
    file.write_text(text)

    got = explain(site, "c1")

    assert got.code == 1
    assert got.err.startswith("nvidia-ctk: ")
    assert "c1.json: is not a record: " in got.err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_user_without_a_state_folder_has_no_records() -> None:
    """Files in the working directory are not read."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        os.mkdir(f"{folder}/containers")
        with open(f"{folder}/containers/c1.json", "w") as file:
            file.write("{}")

        # Where anybody may move what is in /tmp, a user has no folder there.
        enter = ("unshare", "--mount", "--propagation", "private", "sh", "-euc")
        become = (
            'mount -t tmpfs -o mode=777 none /tmp; exec setpriv --reuid=65534 --clear-groups "$@"'
        )
        words = [*enter, become, "sh", sys.executable, "-c", PROGRAM, "explain"]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(shim.TREE)}
        options: dict[str, Any] = {"cwd": folder, "env": env, "text": True}
        listed = subprocess.run(words, capture_output=True, check=False, **options)
        asked = subprocess.run([*words, "c1"], capture_output=True, check=False, **options)

    assert (listed.returncode, listed.stdout) == (0, "")
    assert asked.returncode == 1
    assert "no folder for records" in listed.stderr
    assert "these are the records of user 65534" in asked.stderr


def failing(site: Site) -> str:
    """Create c2 in vain; return what the engine was told."""
    site.write_bundle(asking("7", annotations={"nerdctl/name": "web"}))
    got = site.create("c2")
    assert got.code == 1
    return got.err.splitlines()[0].partition(": ")[2]


def test_create_that_failed(site: Site) -> None:
    told = failing(site)

    lines = explain(site, "web").out.decode().splitlines()
    listed = explain(site).out.decode().splitlines()
    document = json.loads(explain(site, "web", "--json").out)

    assert lines[:4] == [
        "container  c2",
        "name       web",
        "state      failed",
        f"failed     {told}",
    ]
    assert lines[4].startswith("hint       ")
    assert "requested  7 by environment" in lines
    assert not any(line.startswith("mode") for line in lines)
    assert listed[1].split()[::4] == ["web", "7"]
    assert listed[2].startswith("  failed: ")
    assert len(listed[2]) <= 80
    assert listed[3].startswith("c1 ")
    assert (document["failed"], document["state"]) == (told, "failed")


def test_create_that_succeeds_after_all(site: Site) -> None:
    """The younger of its records counts."""
    failing(site)
    site.write_bundle(asking("1"))
    assert site.create("c2").code == 0

    assert "state      gone" in explain(site, "c2").out.decode()


def test_name_of_one_that_failed_is_free_again(site: Site) -> None:
    """Its successor is meant, if that is there."""
    failing(site)
    site.write_bundle(asking("1", annotations={"nerdctl/name": "web"}))
    assert site.create("c3").code == 0

    assert explain(site, "web").out.startswith(b"container  c3\n")


def test_what_took_how_long(site: Site) -> None:
    """What was compiled is said only where something was."""
    shutil.rmtree(site.state)
    site.settle()
    texts = []
    for _ in range(2):
        site.write_bundle(asking("0"))
        assert site.create("c2").code == 0
        texts.append(explain(site, "c2").out.decode())

    steps = [text.partition("\ntook ")[2].replace(",", "").split() for text in texts]
    assert [words[2:11:2] for words in steps] == [
        ["start", "read", "admit", "sources", "prepare"]
    ] * 2
    assert ["made anew: " in text for text in texts] == [True, False]


def diff(site: Site, name: str = "c2") -> list[str]:
    """Return the lines of a diff below its head."""
    return explain(site, name, "--diff").out.decode().splitlines()[2:]


NODE = {"path": "/dev/null", "type": "c", "major": 1, "minor": 3}
HOOK = {"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook"}


def test_diff_is_what_is_in_the_file(site: Site) -> None:
    mount = {"hostPath": "/usr", "containerPath": "/mnt/usr", "options": ["ro", "rbind"]}
    hooks = [
        {**HOOK, "args": ["nvidia-cdi-hook", "noop"]},
        {**HOOK, "path": "/usr/bin/other", "args": ["other", "x"]},
    ]
    edits = {"env": ["GPU=0"], "deviceNodes": [NODE], "mounts": [mount], "hooks": hooks}
    site.write_specs(gpus=cdi_spec(device("0", **edits)))
    site.write_bundle(asking("0"))
    (site.bundle / "rootfs").mkdir()
    assert site.create("c2").code == 0
    by = f"nvidia.com/gpu=0, {site.specs}/gpus.json"

    assert diff(site) == [
        "@@ process.env",
        f"+GPU=0  # {by}",
        "@@ linux.devices",
        f"+/dev/null c 1:3  # {by}",
        "@@ mounts",
        f"+/usr at /mnt/usr (ro,rbind)  # {by}",
        "@@ hooks.createContainer",
        f"+other x  # {by}",
        "@@ linux.resources.devices",
        f"+allow c 1:3 rwm  # {by}",
    ]
    written = site.read_bundle()
    written["process"]["env"].remove("GPU=0")
    site.write_bundle(written)
    assert diff(site)[1] == f"+GPU=0  # {by}, not in config.json now"


def test_diff_of_a_hook_that_was_taken_out(site: Site) -> None:
    hook = {"path": "/usr/bin/nvidia-container-runtime-hook", "args": ["x", "prestart"]}
    site.write_bundle(asking("0", hooks={"prestart": [hook]}))
    assert site.create("c2").code == 0

    assert diff(site)[:2] == [
        "@@ hooks.prestart",
        "-nvidia-container-runtime-hook  # not needed in this mode",
    ]


def test_diff_of_what_an_engine_injected_itself(site: Site) -> None:
    """It is no change of ours, but for its hooks that are done on the host; others' are not CDI's."""
    hook = {"path": "/usr/bin/nvidia-cdi-hook", "args": ["nvidia-cdi-hook", *LINK]}
    plain = {"path": "/usr/bin/other", "args": ["other"]}
    site.write_specs(gpus=cdi_spec(device("0", deviceNodes=[NODE])))
    rule = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}
    linux = {"devices": [NODE], "resources": {"devices": [rule]}}
    document = asking("void", hooks={"createContainer": [hook, plain]}, linux=linux)
    document["mounts"] = [{"destination": "/mnt", "source": "/mnt"}]
    (site.bundle / "rootfs/usr/lib").mkdir(parents=True)
    site.write_bundle(document)
    assert site.create("c2").code == 0
    by = "the engine itself (CDI)"

    assert set(diff(site)) == {
        "@@ linux.devices",
        f" /dev/null c 1:3  # {by}",
        "@@ linux.resources.devices",
        f" allow c 1:3 rw  # {by}",
        "@@ hooks.createContainer",
        f"-nvidia-cdi-hook {' '.join(LINK)}  # {by}: partly done on the host",
        "+nvidia-cdi-hook create-symlinks --link b::/mnt/a  # our hook",
    }


def test_diff_without_the_file(site: Site) -> None:
    (site.bundle / "config.json").unlink()

    assert explain(site, "c1", "--diff").out.decode().splitlines()[1:] == [
        f"+++ {site.bundle}/config.json (gone: by the record alone)",
        "@@ process.env",
        f"+GPU=0  # nvidia.com/gpu=0, {site.specs}/gpus.json",
    ]
