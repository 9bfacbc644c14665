# SPDX-License-Identifier: Apache-2.0
"""Bad documents and bad machines: one error, with what, where and what to do; nothing harmed."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import builders
import pytest
import shim
from shim import NAME, Site, needs_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MS_RDONLY, MS_REMOUNT = 1, 32
MIB = 1 << 20
DEEP = 100_000


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        machine.write_specs(nvidia=builders.cdi_spec())
        yield machine


def call(site: Site, command: str = "create", **options: object) -> shim.Ended:
    """Call the shim as containerd does, with a log that it reads when the call fails."""
    words = ["--log", str(site.folder / "log"), "--log-format", "json", command]
    words += ["--bundle", str(site.bundle)] if command == "create" else []
    return site.run(*words, "c1", **options)


def messages(site: Site, level: str) -> list[str]:
    """Return what the log says at a level, our folder shortened to ``~``."""
    entries = shim.logged(site.folder / "log")
    return [tilde(site, entry["msg"]) for entry in entries if entry["level"] == level]


def tilde(site: Site, text: str) -> str:
    return text.replace(str(site.folder), "~")


def check_refused(site: Site, got: shim.Ended, error: str, code: int = 1) -> None:
    """Check that a call ended with one error, the same for the person and for the engine."""
    first, *rest = tilde(site, got.err).splitlines()
    hint = f" ({rest[0]})" if rest else ""

    assert first == f"{NAME}: {error}"
    assert [line.partition(" ")[0] for line in rest] in ([], ["hint:"])
    assert messages(site, "error") == [first + hint]
    assert (got.code, got.out) == (code, b"")


def state_of(folder: Path) -> list[tuple[object, ...]]:
    """Describe all files of a folder: any change of one shows."""
    rows: list[tuple[object, ...]] = []
    for path in sorted(folder.iterdir()):
        stat = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        rows.append((path.name, stat.st_ino, stat.st_mode, stat.st_uid, stat.st_gid, data))
    return rows


def asking(**fields: Any) -> bytes:
    """Make a config.json that asks for a device, with fields that may be of any type."""
    return builders.encode(builders.asking(**fields))


# Every document is refused with this sentence, which follows the path of config.json.
DOCUMENTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", " is empty, not a JSON document"),
    "blank": (b" \r\n\t", " is empty, not a JSON document"),
    "truncated": (b'{"ociVersion":', " is not JSON: line 1, column 15: expecting value"),
    "trailing data": (b'{}\n{"a":1}', " is not JSON: line 2, column 1: extra data"),
    "trailing NUL": (b"{}\0", " is not JSON: line 1, column 3: extra data"),
    "not UTF-8": (b'{"a":"\xe9"}', " is not UTF-8: byte 0xe9 at offset 6"),
    "UTF-16": ("{}".encode("utf-16"), " is not UTF-8: byte 0xff at offset 0"),
    "NaN": (b'{"a":NaN}', " is not JSON: NaN is no JSON number"),
    "Infinity": (b'{"a":[-Infinity]}', " is not JSON: -Infinity is no JSON number"),
    "nested lists": (b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}", " is nested too deeply"),
    "nested objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, " is nested too deeply"),
    "open lists": (b"[" * DEEP, " is nested too deeply"),
    "a list": (b"[]", " must be a JSON object, not a list"),
    "a string": (b'"{}"', " must be a JSON object, not a string"),
    "null": (b"null", " must be a JSON object, not null"),
    "a number": (b"1", " must be a JSON object, not a number"),
    "50 MB": (
        b'{"a":"' + b"x" * (50 * MIB) + b'"}',
        f" is too large: {50 * MIB + 8} bytes, the limit is {32 * MIB}",
    ),
    "process a string": (b'{"process":"x"}', " process: must be an object, not a string"),
    "env a string": (b'{"process":{"env":"A=1"}}', " process.env: must be a list, not a string"),
    "env of numbers": (
        b'{"process":{"env":[1]}}',
        " process.env: must be a list of strings, not with a number in it",
    ),
    "annotation a number": (
        b'{"annotations":{"cdi.k8s.io/x":1}}',
        " annotations['cdi.k8s.io/x']: must be a string, not a number",
    ),
    "annotations a list": (b'{"annotations":[1]}', " annotations: must be an object, not a list"),
    "capabilities a string": (
        b'{"process":{"env":["NVIDIA_VISIBLE_DEVICES=0"],"capabilities":"x"}}',
        " process.capabilities: must be an object, not a string",
    ),
    "hooks a list": (asking(hooks=[1]), " hooks: must be an object, not a list"),
    "prestart an object": (
        asking(hooks={"prestart": {"path": "/x"}}),
        " hooks.prestart: must be a list, not an object",
    ),
}
# What is wrong here is said in words of the interpreter's, which change.
OTHER_DOCUMENTS = {
    "byte order mark": b"\xef\xbb\xbf{}",
    "control character": b'{"a":"\n"}',
    "single quotes": b"{'a':1}",
    "comment": b'{"a":1} // x',
    "trailing comma": b'{"a":1,}',
    "half an escape": b'{"a":"\\u12"}',
    "half a pair": b'{"a" 1}',
    "number of 5000 digits": b'{"a":' + b"9" * 5000 + b"}",
    "leading zero": b'{"a":01}',
    "binary": bytes(range(256)) * 16,
}


@pytest.mark.parametrize(
    ("document", "error"), [pytest.param(*DOCUMENTS[name], id=name) for name in DOCUMENTS]
)
def test_bad_config_json_is_refused(document: bytes, error: str, site: Site) -> None:
    site.write_bundle(document)
    before = state_of(site.bundle)

    check_refused(site, call(site), f"~/bundle/config.json:{error}")
    assert state_of(site.bundle) == before


@pytest.mark.parametrize(
    "document",
    [pytest.param(data, id=name) for name, data in OTHER_DOCUMENTS.items()]
    + [pytest.param(data, id=name) for name, (data, _) in DOCUMENTS.items()],
)
def test_bad_config_json_is_explained(document: bytes, site: Site) -> None:
    """Every error says where, and what to do next."""
    site.write_bundle(document)
    before = state_of(site.bundle)

    got = call(site)

    (where, hint) = tilde(site, got.err).splitlines()
    assert where.startswith(f"{NAME}: ~/bundle/config.json: ")
    assert hint.startswith("hint: ")
    assert messages(site, "error") == [f"{where} ({hint})"]
    assert state_of(site.bundle) == before


def test_documents_that_only_look_bad_are_taken(site: Site) -> None:
    """What no field of ours is about is the low-level runtime's to judge."""
    deep = b"[" * 400 + b"]" * 400
    odd = b'"root":null,"linux":[],"x":{"y":' + deep + b'},"z":1e999,"s":"\\ud800","n":-0'
    data = b'\n{"ociVersion":7,' + odd + b"}\n\n"
    site.write_bundle(data)

    got = call(site)

    assert (got.code, got.err, got.runtime) == (0, "", "runc")
    assert (site.bundle / "config.json").read_bytes() == data


CANNOT_READ = "~/bundle/config.json: cannot read the container's configuration: "
NO_FILE = "~/bundle/config.json: is not a regular file"
CANNOT_WRITE = "~/bundle/config.json: cannot write the container's configuration: "


def test_missing_bundle(site: Site) -> None:
    site.bundle.rmdir()

    check_refused(site, call(site), f"{CANNOT_READ}no such file or directory")


def test_missing_config_json(site: Site) -> None:
    check_refused(site, call(site), f"{CANNOT_READ}no such file or directory")


def test_bundle_is_a_file(site: Site) -> None:
    site.bundle.rmdir()
    site.bundle.touch()

    check_refused(site, call(site), f"{CANNOT_READ}not a directory")


def test_config_json_is_a_folder(site: Site) -> None:
    (site.bundle / "config.json").mkdir()

    check_refused(site, call(site), NO_FILE)


def test_config_json_is_a_dangling_link(site: Site) -> None:
    (site.bundle / "config.json").symlink_to("nowhere")

    check_refused(site, call(site), f"{CANNOT_READ}no such file or directory")
    assert os.listdir(site.bundle) == ["config.json"]


def test_config_json_is_a_link_to_itself(site: Site) -> None:
    (site.bundle / "config.json").symlink_to("config.json")

    check_refused(site, call(site), f"{CANNOT_READ}too many levels of symbolic links")


def test_config_json_is_a_fifo(site: Site) -> None:
    """Nobody may make a create wait for ever: engines hold locks meanwhile."""
    os.mkfifo(site.bundle / "config.json")

    check_refused(site, call(site), NO_FILE)


def test_config_json_is_a_socket(site: Site) -> None:
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(str(site.bundle / "config.json"))

        check_refused(site, call(site), f"{CANNOT_READ}no such device or address")


def test_config_json_is_endless(site: Site) -> None:
    (site.bundle / "config.json").symlink_to("/dev/zero")

    check_refused(site, call(site), NO_FILE)


def test_config_json_that_is_a_link_is_edited_without_harm_to_its_target(site: Site) -> None:
    data = site.write_bundle(builders.asking())
    (site.bundle / "config.json").rename(site.folder / "target")
    (site.bundle / "config.json").symlink_to("../target")

    assert call(site).code == 0
    assert (site.folder / "target").read_bytes() == data
    assert builders.environment(site.read_bundle())[-1] == "GPU=0"


def test_config_json_that_may_not_be_read(site: Site) -> None:
    site.write_bundle(builders.asking())
    (site.bundle / "config.json").chmod(0)
    options = site.unprivileged()
    before = state_of(site.bundle) if shim.is_root else []
    (site.folder / "log").touch()
    (site.folder / "log").chmod(0o666)

    check_refused(site, call(site, **options), f"{CANNOT_READ}permission denied")
    assert not before or state_of(site.bundle) == before


def test_bundle_that_may_not_be_written(site: Site) -> None:
    site.write_bundle(builders.asking())
    options = site.unprivileged()
    (site.folder / "log").touch()
    (site.folder / "log").chmod(0o666)
    site.bundle.chmod(0o555)
    before = state_of(site.bundle)

    error = f"{CANNOT_WRITE}permission denied; it is as it was"

    check_refused(site, call(site, **options), error)
    assert state_of(site.bundle) == before


def test_bundle_that_may_not_be_written_is_no_matter_without_devices(site: Site) -> None:
    site.write_bundle(builders.spec())
    options = site.unprivileged()
    site.bundle.chmod(0o555)

    assert site.create(**options).runtime == "runc"


def on_tmpfs(site: Site, options: str) -> None:
    """Put the bundle on a file system of its own."""
    site.inside(shim.mount, "tmpfs", str(site.bundle), 0, "tmpfs", options)
    site.inside(site.write_bundle, builders.asking())


@needs_root
def test_settings_that_cannot_be_opened_are_no_defaults(site: Site) -> None:
    """Without /proc no file is opened by its descriptor; that is not as if there were none."""
    site.write_bundle(builders.asking())
    site.inside(shim.mount, "tmpfs", "/proc", 0, "tmpfs")
    before = state_of(site.bundle)

    error = "~/config.toml: cannot be opened: /proc is not mounted"

    check_refused(site, call(site), error)
    assert state_of(site.bundle) == before
    assert site.snapshots() == []
    assert site.shortcut() is None


@needs_root
def test_bundle_on_a_read_only_file_system(site: Site) -> None:
    on_tmpfs(site, "")
    site.inside(shim.mount, "none", str(site.bundle), MS_REMOUNT | MS_RDONLY)
    before = site.inside(state_of, site.bundle)

    error = f"{CANNOT_WRITE}read-only file system; it is as it was"

    check_refused(site, call(site), error)
    assert site.inside(state_of, site.bundle) == before


@needs_root
@pytest.mark.parametrize("options", ["size=8k", "size=16k", "nr_inodes=2"])
def test_bundle_on_a_full_file_system(options: str, site: Site) -> None:
    on_tmpfs(site, options)
    if options == "size=16k":  # room for a file, and for a part of its contents
        site.inside(site.write_bundle, builders.asking(x="x" * 9000))
    if options == "size=8k":
        site.inside((site.bundle / "filler").write_bytes, bytes(4096))
    before = site.inside(state_of, site.bundle)

    error = f"{CANNOT_WRITE}no space left on device; it is as it was"

    check_refused(site, call(site), error)
    assert site.inside(state_of, site.bundle) == before


def test_mode_and_owner_are_kept(site: Site) -> None:
    path = site.bundle / "config.json"
    site.write_bundle(builders.asking())
    if shim.is_root:
        os.chown(path, 1234, 5678)
    path.chmod(0o640)
    before = path.stat()

    assert call(site, umask=0o077).code == 0

    after = path.stat()
    assert builders.environment(site.read_bundle())[-1] == "GPU=0"
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert os.listdir(site.bundle) == ["config.json"]


@needs_root
def test_left_over_file_of_a_killed_create_is_no_obstacle(site: Site) -> None:
    """In a PID namespace the same few process ids come again and again."""
    site.write_bundle(builders.asking())
    for pid in range(1, 10):
        (site.bundle / f"config.json.nvidia-{pid}").touch()
    words = ["unshare", "--pid", "--fork", str(site.launcher), "create", "--bundle"]

    got = shim.end(site.execute([*words, site.bundle, "c1"], env=site.environment))

    assert (got.code, got.err) == (0, "")
    assert builders.environment(site.read_bundle())[-1] == "GPU=0"


SECTION = f"[{NAME}]\n"
CONFIGS: dict[str, tuple[str | bytes, str]] = {
    "syntax": (
        "[x\n",
        " is not TOML: Expected ']' at the end of a table declaration (at line 1, column 3)",
    ),
    "repeated key": ("a=1\na=2\n", " is not TOML: Cannot overwrite a value (at line 2, column 4)"),
    "not UTF-8": (b"# caf\xe9\n", " is not UTF-8: byte 0xe9 at offset 5"),
    "several wrong types": (
        (
            SECTION + 'mode = 1\nruntimes = "runc"\ndebug = []\n[features]\n'
            'allow-unknown-oci-spec-fields = "x"\n'
        ),
        f" {NAME}.mode must be a string, not a number;"
        f" {NAME}.runtimes must be a list of strings, not a string;"
        f" {NAME}.debug must be a string, not a list of strings;"
        " features.allow-unknown-oci-spec-fields must be true or false, not a string",
    ),
    "no table": (f"{NAME} = 1\n", f" {NAME} must be a table, not a number"),
    "a number in a list": (
        SECTION + "runtimes = ['runc', 1]\n",
        f" {NAME}.runtimes must be a list of strings, not with a number in it",
    ),
    "no choice": (
        SECTION + "requirements = 'maybe'\n",
        f" {NAME}.requirements must be one of warn, enforce, ignore, not 'maybe'",
    ),
    "ldconfig of the container": (
        "[nvidia-container-cli]\nldconfig = '/sbin/ldconfig'\n",
        " nvidia-container-cli.ldconfig '/sbin/ldconfig' is not a path on the host:"
        " it must begin with '@'",
    ),
}
bad_configs = pytest.mark.parametrize(
    ("text", "error"), [pytest.param(*CONFIGS[name], id=name) for name in CONFIGS]
)


@pytest.fixture
def default_runtime(site: Site) -> None:
    """Install what a broken config.toml cannot name: runc, on PATH."""
    site.environment["PATH"] = f"{site.folder}/bin:{site.folder}/runtimes:/usr/bin:/bin"


@bad_configs
def test_bad_config_toml_stops_a_create(text: str | bytes, error: str, site: Site) -> None:
    site.write_config(text)
    site.write_bundle(builders.spec())
    before = state_of(site.bundle)

    check_refused(site, call(site), f"~/config.toml:{error}")
    assert state_of(site.bundle) == before


@bad_configs
@pytest.mark.usefixtures("default_runtime")
@pytest.mark.parametrize("command", ["state", "kill", "delete"])
def test_bad_config_toml_stops_nothing_else(
    command: str, text: str | bytes, error: str, site: Site
) -> None:
    site.write_config(text)

    for count in (1, 2):  # never by a shortcut: the warning comes each time
        got = call(site, command)

        assert (got.code, got.err, got.runtime) == (0, "", "runc")
        warning = f"~/config.toml:{error}; going on with the default settings"
        assert messages(site, "warning") == [warning] * count


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.usefixtures("default_runtime")
@pytest.mark.parametrize("make", [make_folder, make_fifo])
def test_config_toml_that_is_no_file(make: Callable[[Path], None], site: Site) -> None:
    site.write_bundle(builders.spec())
    make(site.config)

    got = call(site)

    assert (got.code, got.out) == (1, b"")
    assert got.err.startswith(f"{NAME}: {site.config}: ")
    assert call(site, "kill").runtime == "runc"


@pytest.mark.usefixtures("default_runtime")
def test_config_toml_that_may_not_be_read(site: Site) -> None:
    options = site.unprivileged()
    site.write_config(runtimes=[str(site.write_runtime("configured"))])
    site.config.chmod(0)
    site.write_bundle(builders.spec())
    (site.folder / "log").touch()
    (site.folder / "log").chmod(0o666)

    error = "~/config.toml: cannot read the configuration: permission denied"

    check_refused(site, call(site, **options), error)
    assert call(site, "kill", **options).runtime == "runc"
    assert messages(site, "warning") == [f"{error}; going on with the default settings"]
    # What was found without it must not last: the mtime does not say that it can be read again.
    site.config.chmod(0o644)
    assert call(site, "kill", **options).runtime == "configured"


def test_unknown_settings_are_warnings(site: Site) -> None:
    site.write_bundle(builders.spec())
    runtimes = f"runtimes = ['{site.runtime}']\n"
    site.write_config(f"{SECTION}{runtimes}mod = 'cdi'\n[x]\ny = 1\n")

    assert call(site).runtime == "runc"
    assert messages(site, "warning") == UNKNOWN


UNKNOWN = [
    f"~/config.toml: unknown setting {NAME}.mod is ignored; did you mean {NAME}.mode?",
    "~/config.toml: unknown setting x.y is ignored",
]


def test_unknown_settings_are_warnings_whoever_read_them_first(site: Site) -> None:
    """An engine asks for the state before it creates, and each container has its own log."""
    site.write_bundle(builders.spec())
    runtimes = f"runtimes = ['{site.runtime}']\n"
    site.write_config(f"{SECTION}{runtimes}mod = 'cdi'\n[x]\ny = 1\n")
    site.settle()
    site.run("state", "c1")

    assert call(site).runtime == "runc"
    assert messages(site, "warning") == UNKNOWN


NO_RUNTIME = "no low-level runtime found among "


@pytest.mark.parametrize("command", ["create", "state"])
@pytest.mark.parametrize(
    ("runtimes", "error"),
    [
        ([], f"{NO_RUNTIME}[]"),
        (["nope"], f"{NO_RUNTIME}'nope'"),
        (["nope", "/no/such", "", "x/y"], f"{NO_RUNTIME}'nope', '/no/such', '', 'x/y'"),
        (["/"], f"{NO_RUNTIME}'/'"),
        (["/dev/null"], f"{NO_RUNTIME}'/dev/null'"),
        (["/etc/passwd"], f"{NO_RUNTIME}'/etc/passwd'"),
        (["runc*"], f"{NO_RUNTIME}'runc*'"),
    ],
    ids=str,
)
def test_no_low_level_runtime(runtimes: list[str], error: str, command: str, site: Site) -> None:
    site.write_bundle(builders.asking())
    site.write_config(runtimes=runtimes)
    before = state_of(site.bundle)

    check_refused(site, call(site, command), error, code=127)
    assert state_of(site.bundle) == before


@pytest.mark.parametrize("command", ["create", "state"])
@pytest.mark.parametrize("kind", ["itself", "link", "copy", "hard link"])
def test_no_low_level_runtime_but_ourselves(kind: str, command: str, site: Site) -> None:
    """Another program may replace runc by a link to us: that must not become a loop."""
    site.launcher = shim.copy_tree(site.folder / "tree")
    path = site.folder / "bin" / "runc"
    if kind == "itself":
        path = site.launcher
    elif kind == "link":
        path.symlink_to(site.launcher)
    elif kind == "hard link":
        path.hardlink_to(site.launcher)
    else:
        path.write_bytes(site.launcher.read_bytes())
        path.chmod(0o755)
    site.write_bundle(builders.asking())
    site.write_config(runtimes=[str(path)])
    before = state_of(site.bundle)

    got = call(site, command)

    place = tilde(site, str(path))
    error = f"{NO_RUNTIME}'{place}'; skipped because it is this program itself: {place}"
    check_refused(site, got, error, code=127)
    assert state_of(site.bundle) == before


def test_ourselves_in_front_of_the_low_level_runtime_is_skipped(site: Site) -> None:
    (site.folder / "bin" / "runc").symlink_to(site.launcher)
    site.write_bundle(builders.spec())
    site.write_config(runtimes=["runc", str(site.runtime)])
    site.environment["PATH"] = f"{site.folder}/bin:{site.folder}/runtimes:/usr/bin:/bin"

    for command in ("create", "state", "state"):
        got = call(site, command)
        assert got.words[0] == str(site.runtime).encode()


@pytest.mark.parametrize("command", ["create", "state"])
@pytest.mark.parametrize("data", [b"\x7fELF", b"neither ELF nor script"])
def test_low_level_runtime_that_is_no_program(data: bytes, command: str, site: Site) -> None:
    site.runtime.write_bytes(data)
    site.write_bundle(builders.spec())
    site.date_config(1)  # a shell would take it for a script

    error = "~/runtimes/runc: cannot execute the low-level runtime: exec format error"

    check_refused(site, call(site, command), error)


def test_low_level_runtime_whose_interpreter_is_missing(site: Site) -> None:
    site.runtime.write_text("#!/no/such/shell\n")
    site.write_bundle(builders.spec())

    error = "~/runtimes/runc: cannot execute the low-level runtime: no such file or directory"

    check_refused(site, call(site), error)


@pytest.mark.parametrize("place", ["/proc/none/log", "/dev/full", "/"])
def test_log_that_cannot_be_written_stops_nothing(place: str, site: Site) -> None:
    site.write_bundle(builders.asking())

    got = site.run("--log", place, "create", "--bundle", site.bundle, "c1")

    assert (got.code, got.runtime) == (0, "runc")


def test_bundle_flag_without_a_value(site: Site) -> None:
    words = ["--log", str(site.folder / "log"), "--log-format", "json"]

    got = site.run(*words, "create", "c1", "--bundle")

    check_refused(site, got, "flag --bundle of create has no value")


@pytest.mark.parametrize("number", [-1, -(1 << 70), 1 << 70, 1.5, "0", None, [0]], ids=repr)
@pytest.mark.parametrize("field", ["minor", "major"])
def test_node_of_a_gpu_with_an_odd_number(field: str, number: object, site: Site) -> None:
    """The application profile counts these nodes; what they are is the low-level runtime's to say."""
    words = ["nvidia-cdi-hook", "update-application-profile"]
    hook = {"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": words}
    site.write_specs(nvidia=builders.cdi_spec(builders.device("0", hooks=[hook])))
    (site.bundle / "rootfs/etc").mkdir(parents=True, exist_ok=True)
    node = {"path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 0, field: number}
    rule = {"allow": True, "type": "c", "access": "rwm", field: number}
    linux = {"devices": [node], "resources": {"devices": [rule]}}
    site.write_bundle(builders.asking("0", linux=linux))

    got = call(site)

    assert (got.code, got.err, got.runtime) == (0, "", "runc")
    assert site.read_bundle()["linux"] == linux
