# SPDX-License-Identifier: Apache-2.0
"""The prestart hook: what a container gets, by real processes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import builders
import pytest
import shim
import simulated
from hook_host import CLI, DEVICES, HOOK, Hook, container
from shim import Ended, Site

from nvidia_runtime import TOOLKIT
from nvidia_runtime.hooks import prestart

PRIVILEGED = {"bounding": ["CAP_KILL", "CAP_SYS_ADMIN"]}
DIRECT = (
    "invoking the NVIDIA Container Runtime Hook directly (e.g. specifying the docker --gpus flag) "
    "is not supported. Please use the NVIDIA Container Runtime (e.g. specify the --runtime=nvidia "
    "flag) instead"
)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Site() as site:
        yield Hook(site)


def test_whole_call(hook: Hook) -> None:
    assert hook.gives(container()) == [
        *(str(hook.cli), "--load-kmods", "configure", "--cuda-compat-mode=ldconfig"),
        *("--ldconfig=@/l", "--device=all", "--compute", "--utility", "--pid=7"),
        f"{hook.site.bundle}/rootfs",
    ]


def test_order_of_all_words(hook: Hook) -> None:
    hook.write_settings(
        "features.disable-imex-channel-creation = true",
        "root = '/d'\nno-pivot = true\ndebug = '/log'\nldcache = '/c'\nuser = 'root:video'\n"
        "no-cgroups = true",
    )
    env = ("NVIDIA_MIG_CONFIG_DEVICES=0", "NVIDIA_MIG_MONITOR_DEVICES=1", "NVIDIA_IMEX_CHANNELS=3")
    document = container(*env, "NVIDIA_REQUIRE_X=cuda>=1", capabilities=PRIVILEGED)

    assert hook.gives(document)[1:] == [
        *("--root=/d", "--load-kmods", "--no-create-imex-channels", "--no-pivot", "--debug=/log"),
        *("--ldcache=/c", "--user=root:video", "configure", "--cuda-compat-mode=ldconfig"),
        *("--ldconfig=@/l", "--no-cgroups", "--device=all", "--mig-config=0", "--mig-monitor=1"),
        *("--imex-channel=3", "--compute", "--utility", "--require=cuda>=1", "--pid=7"),
        f"{hook.site.bundle}/rootfs",
    ]


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ("0", ["--device=0"]),
        ("0,1,0", ["--device=0,1"]),
        ("1, GPU-x,,0:1", ["--device=1,GPU-x,0:1"]),
        ("0,all", ["--device=all"]),
        ("none", []),
        ("nvidia.com/gpu=0", ["--device=nvidia.com/gpu=0"]),
    ],
)
def test_devices(devices: str, expected: list[str], hook: Hook) -> None:
    words = hook.gives(builders.asking(devices))

    assert [word for word in words if word.startswith("--device")] == expected


def test_volume_mounts_go_first(hook: Hook) -> None:
    hook.write_settings("accept-nvidia-visible-devices-as-volume-mounts = true")
    root = "/var/run/nvidia-container-devices"
    mounts = [{"source": "/dev/null", "destination": f"{root}/{name}"} for name in ("1", "imex/5")]
    words = hook.gives({**container("NVIDIA_IMEX_CHANNELS=6"), "mounts": mounts})

    assert words[5:7] == ["--device=1", "--imex-channel=5"]


def test_swarm_resources(hook: Hook) -> None:
    hook.write_settings("swarm-resource = 'A,B'")

    assert "--device=1,2" in hook.gives(container("A=1", "B=2"))


def test_imex_channel_is_the_programs_to_judge(hook: Hook) -> None:
    assert "--imex-channel=channel1" in hook.gives(container("NVIDIA_IMEX_CHANNELS=channel1"))


def test_unprivileged_container_is_told(hook: Hook) -> None:
    hook.write_settings("accept-nvidia-visible-devices-envvar-when-unprivileged = false")
    hook.site.write_bundle(container())

    got = hook.run()

    assert (got.code, got.out) == (0, b"")
    assert got.err == (
        f"{HOOK}: ignoring {DEVICES} of an unprivileged container: "
        "accept-nvidia-visible-devices-envvar-when-unprivileged is false\n"
    )
    assert "--device=all" in hook.gives(container(capabilities=PRIVILEGED))


def test_images_that_are_not_trusted(hook: Hook) -> None:
    hook.write_settings(runtime="image-requests = 'deny'")
    hook.site.write_bundle(container())

    got = hook.run()

    assert (got.code, got.out) == (0, b"")
    assert got.err.startswith(f"{HOOK}: ignoring {DEVICES} (all), which may be the image's")


@pytest.mark.parametrize("name", ["NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES"])
def test_mig_devices_need_privileges(name: str, hook: Hook) -> None:
    assert hook.refuses(container(f"{name}=all")) == (
        f"cannot set {name} in a container that is not privileged | "
        f"add CAP_SYS_ADMIN, or take {name} out"
    )
    assert hook.gives(container(f"{name}="))


@pytest.mark.parametrize(
    ("version", "is_list"),
    [
        ("1.0.0-rc1", True),
        ("v1.0.0-rc1", True),
        ("1.0.0-rc2-dev", True),
        ("1.0.0-rc4+build", True),
        ("1.0.0-rc10", True),
        ("1.0.0-rc5-dev", False),
        ("1.0.0-rc5", False),
        ("1.0.0-alpha", False),
        ("0.9.0", False),
        ("1.0.0", False),
        ("1.1.0-rc1", False),
        ("garbage", False),
    ],
)
def test_form_of_capabilities(version: str, is_list: bool) -> None:
    assert prestart.has_listed_capabilities(version) is is_list


@pytest.mark.parametrize(
    ("version", "capabilities", "says"),
    [
        ("1.0.0-rc4", PRIVILEGED, "must be a list in version 1.0.0-rc4, not an object"),
        ("1.0.0", ["CAP_SYS_ADMIN"], "must be an object in version 1.0.0, not a list"),
        ("1.0.0", "CAP_SYS_ADMIN", "must be an object, not a string"),
    ],
)
def test_capabilities_of_another_form(
    version: str, capabilities: object, says: str, hook: Hook
) -> None:
    message = hook.refuses(container(version=version, capabilities=capabilities))

    where = f"{hook.site.bundle}/config.json: process.capabilities"
    assert message.partition(" | ")[0] == f"{where}: {says}"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ((), "--compute --utility"),
        (("NVIDIA_DRIVER_CAPABILITIES=",), "--compute --utility"),
        (("NVIDIA_DRIVER_CAPABILITIES=video, display",), "--display --video"),
        (
            ("NVIDIA_DRIVER_CAPABILITIES=all,x",),
            "--compat32 --compute --display --graphics --ngx --utility --video",
        ),
        (
            ("CUDA_VERSION=9.0",),
            "--compat32 --compute --display --graphics --ngx --utility --video --require=cuda>=9.0",
        ),
        (
            ("CUDA_VERSION=9", "NVIDIA_DISABLE_REQUIRE=true"),
            "--compat32 --compute --display --graphics --ngx --utility --video",
        ),
        (
            ("NVIDIA_REQUIRE_CUDA=cuda>=11 brand=x", "NVIDIA_REQUIRE_JETPACK=y", "CUDA_VERSION=x"),
            "--compute --utility --require=cuda>=11 brand=x",
        ),
        (("NVIDIA_REQUIRE_CUDA=a", "NVIDIA_DISABLE_REQUIRE=1"), "--compute --utility"),
    ],
)
def test_capabilities_and_requirements(env: tuple[str, ...], expected: str, hook: Hook) -> None:
    words = " ".join(hook.gives(container(*env)))

    assert words.partition("--device=all ")[2].partition(" --pid")[0] == expected


def test_requirements_are_switched_off(hook: Hook) -> None:
    hook.write_settings("disable-require = true")

    assert not any("require" in word for word in hook.gives(container("NVIDIA_REQUIRE_CUDA=x")))


@pytest.mark.parametrize(
    ("top", "env", "says"),
    [
        (
            "",
            "NVIDIA_DRIVER_CAPABILITIES=compute,none",
            "unsupported driver capabilities in NVIDIA_DRIVER_CAPABILITIES: none; "
            "supported-driver-capabilities has compat32, compute, display, graphics, ngx, utility, "
            "video | take them out of NVIDIA_DRIVER_CAPABILITIES, or add them to "
            "supported-driver-capabilities",
        ),
        (
            "supported-driver-capabilities = 'video,x'",
            "X=",
            "{config}: supported-driver-capabilities: has unknown driver capabilities: x | "
            "there are compat32, compute, display, graphics, ngx, utility, video",
        ),
        (
            "",
            "CUDA_VERSION=9.",
            "cannot understand the image's CUDA_VERSION: '9.' is not a version | "
            "correct it or set NVIDIA_DISABLE_REQUIRE=true",
        ),
    ],
)
def test_what_an_image_gets_wrong(top: str, env: str, says: str, hook: Hook) -> None:
    hook.write_settings(top)

    assert hook.refuses(container(env)) == says.format(config=hook.site.config)


@pytest.mark.parametrize(
    ("mode", "devices", "resolved"),
    [
        ("cdi", "all", "cdi"),
        ("jit-cdi", "all", "jit-cdi"),
        ("csv", "all", "csv"),
        ("bogus", "all", "bogus"),
        ("", "all", ""),
        ("auto", "nvidia.com/gpu=0,nvidia.com/gpu=1", "cdi"),
    ],
)
def test_other_mode(mode: str, devices: str, resolved: str, hook: Hook) -> None:
    hook.write_settings(mode=mode)

    assert hook.refuses(builders.asking(devices)) == (
        f"{DIRECT} | the mode for these devices is {resolved!r}, and the hook is legacy mode's; "
        f"nvidia-container-runtime.mode and {HOOK}.skip-mode-detection in {hook.site.config} decide"
    )

    hook.write_settings(f"{HOOK}.skip-mode-detection = true", mode=mode)
    assert hook.gives(builders.asking(devices))


@pytest.mark.parametrize("devices", ["all", "0,nvidia.com/gpu=1", "none"])
def test_auto_is_legacy(devices: str, hook: Hook) -> None:
    hook.write_settings(mode="auto")

    assert hook.gives(builders.asking(devices))


@pytest.mark.parametrize(("machine", "is_refused"), [("orin", True), ("t4x1", False)])
def test_auto_on_a_soc_is_csv(machine: str, is_refused: bool, hook: Hook) -> None:
    """Where NVML's names decide, it is asked."""
    site = hook.site
    hook.write_settings(mode="auto")
    site.write_bundle(builders.asking("all"))
    state = json.dumps({"id": "c1", "pid": 7, "bundle": str(site.bundle)})
    folders = [str(site.folder), str(site.run_folder)]
    words = [str(shim.BIN / "nvidia-container-runtime-hook"), "prestart"]
    got = simulated.run(machine, words, env=site.environment, input=state, real=folders)

    assert (got.returncode, "'csv'" in got.stderr) == (int(is_refused), is_refused)


BROKEN = {
    "syntax": ("a = ", "is not TOML: Invalid value (at line 1, column 5, the end)"),
    "type": ("disable-require = 1", "disable-require must be true or false, not a number"),
    "ldconfig": (
        f"{CLI}.ldconfig = '/x'",
        f"{CLI}.ldconfig '/x' is not a path on the host: it must begin with '@'",
    ),
    "timeout": (
        f"{HOOK}.timeout = 1.5",
        f"{HOOK}.timeout must be a whole number of seconds from 0 to 86400, not 1.5",
    ),
}


@pytest.mark.parametrize(("text", "says"), BROKEN.values(), ids=BROKEN)
def test_broken_settings_fail_who_asks(text: str, says: str, hook: Hook) -> None:
    hook.site.write_config(text)

    message = hook.refuses(container())
    assert message.partition(" | ")[0] == f"{hook.site.config}: {says}"

    for document in (builders.spec(), builders.asking("void"), {"ociVersion": "1.1.0"}):
        hook.site.write_bundle(document)
        assert hook.run() == Ended(0, b"", "")


@pytest.mark.parametrize(
    "fields",
    [
        {"process": None},
        {"root": None},
        {"ociVersion": None},
        {"process": {"env": ["FOO", f"{DEVICES}=void"], "capabilities": "x"}},
    ],
    ids=str,
)
def test_container_that_asks_for_nothing_never_fails(fields: dict[str, object], hook: Hook) -> None:
    hook.write_settings("supported-driver-capabilities = 'x'", mode="bogus")
    hook.site.write_bundle({**builders.spec(), **fields})

    assert hook.run(state={"pid": None}) == Ended(0, b"", "")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"root": None}, "has no root"),
        ({"root": []}, "has no root"),
        ({"root": "rootfs"}, "root: must be an object, not a string"),
        ({"root": {"path": ""}}, "root.path: must be a path, not a string"),
        ({"root": {"readonly": True}}, "root.path: must be a path, not null"),
        ({"ociVersion": ""}, "has no ociVersion"),
        ({"ociVersion": 1}, "ociVersion: must be a string, not a number"),
    ],
)
def test_what_a_config_json_must_have(fields: dict[str, object], says: str, hook: Hook) -> None:
    message = hook.refuses({**container(), **fields})

    assert message.partition(" | ")[0] == f"{hook.site.bundle}/config.json: {says}"


def test_state_without_a_process(hook: Hook) -> None:
    assert hook.refuses(container(), state={"pid": 0}).startswith(
        "container state on stdin: has no"
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("rootfs", "{bundle}/rootfs"),
        ("../x/./y", "{folder}/x/y"),
        ("/abs//./root/../x", "/abs/x"),
        ("/a b/ü", "/a b/ü"),
        ("/..", "/"),
    ],
)
def test_root_is_relative_to_the_bundle(path: str, expected: str, hook: Hook) -> None:
    words = hook.gives({**container(), "root": {"path": path}})

    assert words[-1] == expected.format(bundle=hook.site.bundle, folder=hook.site.folder)


@pytest.mark.parametrize("cwd", ["bundle", ""])
def test_relative_bundle(cwd: str, hook: Hook) -> None:
    hook.site.write_bundle(container())
    state = {"bundle": "" if cwd else "bundle"}

    got = hook.run(cwd=hook.site.folder / cwd, state=state)

    assert os.fsdecode(got.words[-1]) == f"{hook.site.bundle}/rootfs"


def test_missing_bundle(hook: Hook) -> None:
    got = hook.run(state={"bundle": "/absent"})

    assert got.code == 1
    assert "/absent/config.json: cannot read the container's configuration" in got.err


# The command line.


def test_alias(hook: Hook) -> None:
    hook.site.write_bundle(container())

    assert hook.run(launcher="nvidia-container-toolkit").runtime == CLI


@pytest.mark.parametrize("name", [HOOK, "nvidia-container-toolkit"])
def test_shortcut_is_the_runtimes(name: str, hook: Hook) -> None:
    """A file says that the launcher may become runc, which the hook must never do."""
    hook.site.write_config()
    hook.site.run("state", "c1")
    assert hook.site.shortcut()

    assert hook.run("poststop", launcher=name) == Ended(0, b"", "")


@pytest.mark.parametrize("command", ["poststart", "poststop"])
def test_no_operation(command: str, hook: Hook) -> None:
    hook.site.write_config("broken")

    assert hook.run(command) == Ended(0, b"", "")


def test_version(hook: Hook) -> None:
    text = f"NVIDIA Container Runtime Hook version {TOOLKIT}\n"

    assert hook.run("-version", "prestart") == Ended(0, text.encode(), "")


@pytest.mark.parametrize(
    ("words", "code", "first"),
    [
        (("-h",), 0, f"Usage of {HOOK}:"),
        (("",), 2, f"Usage of {HOOK}:"),
        (("bogus",), 2, f"Usage of {HOOK}:"),
        (("-bogus", "prestart"), 2, "flag provided but not defined: -bogus"),
    ],
)
def test_usage(words: tuple[str, ...], code: int, first: str, hook: Hook) -> None:
    got = hook.run(*words)

    assert (got.code, got.out, got.err.splitlines()[0]) == (code, b"", first)
    assert "  prestart  " in got.err


def test_debug(hook: Hook) -> None:
    hook.write_settings(cli="debug = '/log'")
    hook.site.write_bundle(container())

    assert b"--debug=/dev/stderr" in hook.run("-debug", "prestart").words


def test_config_flag_goes_first(hook: Hook) -> None:
    other = hook.site.folder / "other.toml"
    other.write_bytes(hook.site.config.read_bytes().replace(b"@/l", b"@/other"))
    hook.site.write_config("broken")
    hook.site.write_bundle(container())

    assert b"--ldconfig=@/other" in hook.run("-config", str(other), "prestart").words


@pytest.mark.parametrize("words", [("-config", "/absent.toml", "prestart"), ("prestart",)])
def test_missing_file_that_somebody_names(words: tuple[str, ...], hook: Hook) -> None:
    hook.site.write_bundle(container())
    by = "-config" if len(words) > 1 else "NVIDIA_CTK_CONFIG_FILE_PATH"

    for _ in range(2):  # the second time with a snapshot
        got = hook.run(*words, env={"NVIDIA_CTK_CONFIG_FILE_PATH": "/absent.toml"})
        assert (got.code, got.out) == (1, b"")
        assert got.err == (
            f"{HOOK}: /absent.toml: there is no such configuration file\n"
            f"hint: correct {by}, or leave it out: without a file the defaults hold\n"
        )


def test_missing_default_file_means_the_defaults(hook: Hook) -> None:
    hook.site.write_bundle(container())
    folder = hook.cli.parent
    environment = {
        "NVIDIA_CTK_CONFIG_FILE_PATH": "",
        "XDG_CONFIG_HOME": "/absent",
        "PATH": f"{folder}:{hook.site.environment['PATH']}",
    }

    for _ in range(2):
        assert hook.run(env=environment).runtime == CLI


@pytest.mark.parametrize("module", ["start", "hooks/container_cli", "oci/state"])
def test_compiled_file_that_is_cut_short_is_told_once(module: str, hook: Hook) -> None:
    launcher = shim.copy_tree(hook.site.folder / "tree")
    program = os.fspath(launcher.with_name(HOOK))
    hook.site.write_bundle(container())
    assert hook.run(launcher=program).err == ""
    file = shim.cut_short(launcher, module)

    said = [hook.run(launcher=program) for _ in range(2)]

    assert [got.code for got in said] == [0, 0]
    assert all("--device=all" in map(os.fsdecode, got.words) for got in said)
    assert said[0].err.startswith(f"{HOOK}: /")
    tail = f"/{file.name}: cannot be read, and its source was compiled instead\n"
    assert said[0].err.endswith(tail)
    assert said[0].err.count("\n") == 1
    assert said[1].err == ""
