# SPDX-License-Identifier: Apache-2.0
"""The snapshot: what a create uses is never stale, never another user's, and never needed."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import builders
import pytest
import shim
from shim import NAME, Site, needs_root

from nvidia_runtime.store import lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MS_RDONLY = 1


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        machine.write_config(
            f'[{NAME}]\nmode = "cdi"\nruntimes = ["{machine.runtime}"]\n'
            f'[{NAME}.modes.cdi]\nspec-dirs = ["{machine.specs}", "{machine.folder}/later"]\n'
        )
        machine.write_specs(nvidia=spec("first"))
        yield machine


def spec(version: str, *names: str) -> builders.Document:
    """Make a spec of two devices that say which version of it they are of."""
    devices = [builders.device(name, env=[f"GPU{name}={version}"]) for name in names or ("0", "1")]
    return builders.cdi_spec(*devices)


def ask(site: Site, devices: str = "0", **options: object) -> list[str]:
    """Create a container that asks for devices; return what its environment got."""
    site.write_bundle(builders.asking(devices))
    if "user" in options:  # his bundle, whoever runs the tests
        os.chown(site.bundle / "config.json", shim.NOBODY, shim.NOBODY)
    got = site.create(**options)
    assert (got.code, got.err, got.runtime) == (0, "", "runc")
    return builders.environment(site.read_bundle())[2:]


def warm(site: Site) -> Path:
    """Let a create compile the snapshot; return its path."""
    site.settle()
    ask(site)
    (snapshot,) = site.snapshots()
    return snapshot


def poison(site: Site) -> None:
    """Make it an error to compile.  Only for a tree of the site's own."""
    package = site.launcher.parents[2] / "nvidia_runtime"
    (package / "compile/snapshot.py").write_text("raise RuntimeError('compiled')\n")


def hidden(folder: Path) -> list[str]:
    """List what is left of files that were to be renamed."""
    return sorted(str(path) for path in folder.rglob("*") if path.name[0] == ".")


def test_snapshot_is_compiled_when_missing(site: Site) -> None:
    site.settle()

    assert ask(site) == ["GPU0=first"]

    (snapshot,) = site.snapshots()
    assert snapshot.stat().st_mode & 0o777 == 0o600
    assert site.state.stat().st_mode & 0o777 == 0o755
    assert hidden(site.state) == []


@pytest.mark.parametrize("umask", [0, 0o077])
def test_snapshot_is_used_whatever_the_umask(umask: int, site: Site) -> None:
    site.launcher = shim.copy_tree(site.folder / "tree")
    site.settle()
    ask(site, umask=umask)
    assert site.state.stat().st_mode & 0o777 == 0o755

    poison(site)

    assert ask(site) == ["GPU0=first"]


def test_snapshot_is_used_when_warm(site: Site) -> None:
    site.launcher = shim.copy_tree(site.folder / "tree")
    snapshot = warm(site)
    before = snapshot.stat()[:7]  # without the times, of which one is that of reading
    written = snapshot.stat().st_mtime_ns

    poison(site)

    for devices in ("0", "1", "0,1"):
        expected = [f"GPU{name}=first" for name in devices.split(",")]
        assert ask(site, devices) == expected
    assert site.run("--root", "/create", "-v").runtime == "runc"
    assert (snapshot.stat()[:7], snapshot.stat().st_mtime_ns) == (before, written)
    snapshot.unlink()
    assert "compiled" in site.create().err  # or else nothing above says anything


def test_snapshot_of_ours_is_believed(site: Site) -> None:
    """What tells below that a snapshot was not used must be able to tell that it was."""
    warm(site)

    lie(site)

    assert ask(site) == ["GPU0=a lie"]


def lie(site: Site) -> None:
    """Change what the snapshot says, in place: whoever gets this device used it."""
    (snapshot,) = site.snapshots()
    text = snapshot.read_text()
    assert "GPU0=first" in text
    told = [line.rpartition("\t")[0] for line in text.replace("=first", "=a lie").splitlines()]
    # As long as it was: the header says the length.
    snapshot.write_text("".join(f"{lines.seal(line)}\n" for line in told))


def edit_in_place(site: Site) -> None:
    """Change a spec's contents, but neither its size nor its mtime."""
    file = site.specs / "nvidia.json"
    before = file.stat()
    file.write_text(file.read_text().replace("first", "other"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_an_older_one(site: Site) -> None:
    site.write_specs(new=spec("other"))
    new = site.specs / "new.json"
    os.utime(new, (10**9, 10**9))
    new.rename(site.specs / "nvidia.json")


def write_to_a_later_dir(site: Site) -> None:
    later = site.folder / "later"
    later.mkdir()
    (later / "x.json").write_text(json.dumps(spec("other")))


def change_the_spec_dirs(site: Site) -> None:
    other = site.folder / "other"
    other.mkdir()
    (other / "x.json").write_text(json.dumps(spec("other")))
    site.config.write_text(site.config.read_text().replace(f'"{site.specs}"', f'"{other}"'))


def swap_the_dirs(site: Site) -> None:
    other = site.folder / "other"
    shutil.copytree(site.specs, other)
    (other / "nvidia.json").write_text(json.dumps(spec("other")))
    site.specs.rename(site.folder / "old")
    other.rename(site.specs)


def edit_behind_a_link(site: Site) -> None:
    file = site.specs / "nvidia.json"
    real = site.folder / "real.json"
    file.rename(real)
    file.symlink_to(real)
    site.settle()
    ask(site)
    real.write_text(json.dumps(spec("other")))


CHANGES = [
    edit_in_place,
    replace_by_an_older_one,
    write_to_a_later_dir,
    change_the_spec_dirs,
    swap_the_dirs,
    edit_behind_a_link,
]


@pytest.mark.parametrize("change", CHANGES)
def test_change_is_seen(change: Callable[[Site], None], site: Site) -> None:
    warm(site)

    change(site)

    assert ask(site) == ["GPU0=other"]
    site.settle()
    assert [ask(site) for _ in range(2)] == [["GPU0=other"]] * 2


def test_change_right_after_a_change_is_seen(site: Site) -> None:
    """File times tick every few milliseconds: two edits may look like one."""
    wrong = []
    for count in range(40):
        site.write_specs(nvidia=spec(f"edit{count}"))
        if (variables := ask(site)) != [f"GPU0=edit{count}"]:
            wrong.append((count, variables))

    assert wrong == []


def test_added_spec_is_seen(site: Site) -> None:
    warm(site)

    site.write_specs(added=spec("added", "2"))

    assert ask(site, "0,2") == ["GPU0=first", "GPU2=added"]


def test_spec_of_another_name_is_seen(site: Site) -> None:
    warm(site)

    (site.specs / "nvidia.json").rename(site.specs / "renamed.json")

    assert ask(site) == ["GPU0=first"]
    record = json.loads((site.state / "containers" / "c1.json").read_text())
    assert record["injected"][-1]["from"]["file"] == f"{site.specs}/renamed.json"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda file: file.unlink(), id="removed"),
        pytest.param(lambda file: file.rename(f"{file}.off"), id="renamed to no spec"),
        pytest.param(lambda file: file.write_text(json.dumps(spec("x", "7"))), id="edited"),
        pytest.param(lambda file: shutil.rmtree(file.parent), id="removed with its dir"),
    ],
)
def test_device_that_went_is_not_injected(change: Callable[[Path], object], site: Site) -> None:
    warm(site)

    change(site.specs / "nvidia.json")

    data = site.write_bundle(builders.asking())
    got = site.create()
    assert (got.code, got.out) == (1, b"")
    assert got.err.startswith(f"{NAME}: unresolvable CDI devices nvidia.com/gpu=0; ")
    assert (site.bundle / "config.json").read_bytes() == data


def test_broken_spec_harms_no_other(site: Site) -> None:
    warm(site)

    site.write_specs(broken='{"cdiVersion":', empty="", odd="[]")

    assert ask(site) == ["GPU0=first"]


def test_config_change_is_seen(site: Site) -> None:
    warm(site)
    before = site.config.stat()

    site.config.write_text(site.config.read_text().replace('mode = "cdi"', 'mode = "xxx"'))
    os.utime(site.config, ns=(before.st_atime_ns, before.st_mtime_ns))

    got = site.create()
    assert (got.code, got.err.splitlines()[0]) == (
        1,
        f"{NAME}: {site.config}: {NAME}.mode: invalid mode 'xxx'",
    )


def test_each_config_has_its_snapshot(site: Site) -> None:
    warm(site)
    other = site.folder / "other"
    other.mkdir()
    (other / "x.json").write_text(json.dumps(spec("other")))
    config = site.folder / "other.toml"
    config.write_text(site.config.read_text().replace(f'"{site.specs}"', f'"{other}"'))
    env = {"NVIDIA_CTK_CONFIG_FILE_PATH": str(config)}
    site.settle()

    for _ in range(2):
        assert ask(site, env=env) == ["GPU0=other"]
        assert ask(site) == ["GPU0=first"]
    assert len(site.snapshots()) == 2


def to_another_user(path: Path) -> None:
    os.chown(path, shim.NOBODY, shim.NOBODY)


def to_a_link(path: Path) -> None:
    path.rename(path.parent / "real")
    path.symlink_to("real")


DISTRUSTED: dict[str, Callable[[Path], object]] = {
    "writable by its group": lambda path: path.chmod(0o660),
    "writable by everybody": lambda path: path.chmod(0o602),
    "a link": to_a_link,
}


@pytest.mark.parametrize(
    "change",
    [pytest.param(change, id=name) for name, change in DISTRUSTED.items()]
    + [pytest.param(to_another_user, id="another user's", marks=needs_root)],
)
def test_snapshot_is_not_trusted_if_it_is(change: Callable[[Path], object], site: Site) -> None:
    snapshot = warm(site)
    lie(site)

    change(snapshot)

    assert ask(site) == ["GPU0=first"]
    assert not snapshot.is_symlink()
    assert snapshot.stat().st_mode & 0o777 == 0o600
    assert snapshot.stat().st_uid == os.geteuid()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.chmod(0o775), id="writable by its group"),
        pytest.param(lambda path: path.chmod(0o757), id="writable by everybody"),
        pytest.param(to_a_link, id="a link"),
        pytest.param(to_another_user, id="another user's", marks=needs_root),
    ],
)
def test_nothing_in_the_folder_is_trusted_if_it_is(
    change: Callable[[Path], object], site: Site
) -> None:
    warm(site)
    lie(site)

    change(site.state)

    assert ask(site) == ["GPU0=first"]


def check_repair(site: Site, snapshot: Path, data: bytes) -> str:
    """Return what is wrong when a create meets these bytes as its snapshot, "" if nothing."""
    snapshot.write_bytes(data)
    site.write_bundle(builders.asking("0,1"))
    got = site.create()
    variables = builders.environment(site.read_bundle())[2:]
    if (got.code, got.err, variables) == (0, "", ["GPU0=first", "GPU1=first"]):
        return ""
    return f"{got.code} {got.err} {variables}"


def test_truncated_snapshot_is_compiled_anew(site: Site) -> None:
    snapshot = warm(site)
    good = snapshot.read_bytes()
    lines = [at + 1 for at, byte in enumerate(good) if byte == ord("\n")]
    ends = {*range(0, len(good), len(good) // 30), *lines[:-1], *(at - 1 for at in lines)}

    wrong = {end: check_repair(site, snapshot, good[:end]) for end in sorted(ends)}

    assert {end: what for end, what in wrong.items() if what} == {}


def test_damaged_snapshot_is_compiled_anew(site: Site) -> None:
    """No byte of a snapshot is a NUL, so that one in it is always damage."""
    snapshot = warm(site)
    good = snapshot.read_bytes()
    assert 0 not in good
    devices = good.index(b"\n")

    wrong = {}
    for at in [*range(0, devices, devices // 15), *range(devices, len(good), 17)]:
        damaged = good[:at] + b"\0" + good[at + 1 :]
        if what := check_repair(site, snapshot, damaged):
            wrong[good[at - 20 : at] + b"<HERE>" + good[at + 1 : at + 20]] = what

    assert wrong == {}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\n", id="an empty line"),
        pytest.param(b"\n\n\n\n", id="empty lines"),
        pytest.param(b"{}\n", id="an empty object"),
        pytest.param(b"[]\n[]\n", id="lists"),
        pytest.param(b"null\n", id="null"),
        pytest.param(bytes(4096), id="NULs"),
        pytest.param(b"\xff" * 4096 + b"\n", id="ones"),
        pytest.param(b"[" * 100_000 + b"\n", id="nested lists"),
    ],
)
def test_snapshot_of_something_else_is_compiled_anew(data: bytes, site: Site) -> None:
    snapshot = warm(site)
    good = snapshot.read_bytes()

    assert check_repair(site, snapshot, data) == ""
    assert snapshot.read_bytes() == good


def test_snapshot_that_is_a_folder_is_no_obstacle(site: Site) -> None:
    snapshot = warm(site)
    snapshot.unlink()
    snapshot.mkdir()

    assert ask(site) == ["GPU0=first"]


def test_state_folder_is_made_again(site: Site) -> None:
    warm(site)
    shutil.rmtree(site.state)

    assert ask(site) == ["GPU0=first"]
    assert site.snapshots() != []


def test_state_folder_that_is_a_file_is_no_obstacle(site: Site) -> None:
    site.state.touch()

    assert [ask(site), ask(site)] == [["GPU0=first"]] * 2


@pytest.mark.parametrize("folder", ["", "none", "user"])
def test_user_without_a_state_folder_gets_his_devices(folder: str, site: Site) -> None:
    options = site.unprivileged()
    site.own_tmp("777")
    site.bundle.chmod(0o777)
    (site.folder / "user").mkdir(exist_ok=True)
    (site.folder / "user").chmod(0o500)
    options["env"] = {"XDG_RUNTIME_DIR": folder and f"{site.folder}/{folder}"}
    site.settle()

    assert [ask(site, **options), ask(site, **options)] == [["GPU0=first"]] * 2
    assert os.listdir(site.folder / "user") == []


def test_user_has_a_snapshot_of_his_own(site: Site) -> None:
    site.launcher = shim.copy_tree(site.folder / "tree")
    options = site.unprivileged()
    site.bundle.chmod(0o777)
    site.settle()
    ask(site, **options)

    poison(site)

    assert ask(site, **options) == ["GPU0=first"]


@needs_root
@pytest.mark.parametrize(
    ("flags", "options"), [(MS_RDONLY, ""), (0, "size=4k,nr_inodes=2"), (0, "nr_inodes=1")]
)
def test_state_folder_without_room_is_no_obstacle(flags: int, options: str, site: Site) -> None:
    site.state.mkdir(mode=0o755)
    site.inside(shim.mount, "tmpfs", str(site.state), flags, "tmpfs", f"{options},mode=755")
    site.settle()

    assert [ask(site), ask(site)] == [["GPU0=first"]] * 2
    assert [name for name in site.inside(os.listdir, site.state) if name[0] == "."] == []


def test_old_snapshots_are_dropped(site: Site) -> None:
    for count in range(20):
        config = site.folder / f"config{count}.toml"
        shutil.copy(site.config, config)
    site.settle()
    for count in range(20):
        ask(site, env={"NVIDIA_CTK_CONFIG_FILE_PATH": f"{site.folder}/config{count}.toml"})

    assert len(site.snapshots()) == 16


@pytest.mark.parametrize("count", [100, pytest.param(3000, marks=pytest.mark.long)])
def test_parallel_creates_get_one_version_or_the_other(count: int, site: Site) -> None:
    """Meanwhile the spec changes and the snapshot goes."""
    warm(site)
    done = threading.Event()

    def disturb() -> None:
        chance = random.Random(2)
        while not done.is_set():
            new = site.folder / "new.json"
            new.write_text(json.dumps(spec(chance.choice(["first", "other"]))))
            new.rename(site.specs / "nvidia.json")
            for snapshot in site.snapshots():
                with suppress(FileNotFoundError):
                    snapshot.unlink()
            time.sleep(chance.choice([0.002, 0.02, 0.15]))

    def create(number: int) -> tuple[int, str, list[str], list[str]]:
        bundle = site.folder / f"bundle{number}"
        bundle.mkdir()
        (bundle / "config.json").write_bytes(builders.encode(builders.asking("0,1")))
        got = site.run("create", "--bundle", bundle, f"c{number}")
        document = json.loads((bundle / "config.json").read_bytes())
        return got.code, got.err, builders.environment(document)[2:], os.listdir(bundle)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(create, range(count)))
    finally:
        done.set()
        disturber.join()

    valid = [
        (0, "", [f"GPU0={version}", f"GPU1={version}"], ["config.json"])
        for version in ("first", "other")
    ]
    assert [got for got in results if got not in valid] == []
    assert hidden(site.state) == []
    records = len(list((site.state / "containers").iterdir()))
    assert records == count if count == 100 else 1000 <= records < 1500


@pytest.mark.parametrize("tries", [60, pytest.param(2000, marks=pytest.mark.long)])
def test_killed_create_leaves_the_old_or_the_new_config_json(tries: int, site: Site) -> None:
    chance = random.Random(3)
    warm(site)
    old = builders.encode(builders.asking(x=["x" * 100] * 2000))
    site.write_bundle(old)
    began = time.monotonic()
    assert site.create().code == 0
    took = time.monotonic() - began
    new = (site.bundle / "config.json").read_bytes()

    for count in range(tries):
        site.write_bundle(old)
        if count % 3 == 0:
            for snapshot in site.snapshots():
                snapshot.unlink()
        process = site.start("create", "--bundle", site.bundle, f"c{count}")
        time.sleep(chance.uniform(0.2, 1.1) * took)
        process.kill()
        shim.end(process)
        assert (site.bundle / "config.json").read_bytes() in (old, new)

    assert ask(site) == ["GPU0=first"]
    for record in (site.state / "containers").glob("*.json"):
        assert json.loads(record.read_text())["container"] == record.stem


def test_bit_that_turned_over_changes_no_container(site: Site) -> None:
    """Whatever it makes of the snapshot: other settings, other stamps, other devices."""
    snapshot = warm(site)
    data = snapshot.read_bytes()
    chance = random.Random(16)
    wrong = []
    for _ in range(60):
        at, bit = chance.randrange(len(data)), 1 << chance.randrange(8)
        if complaint := check_repair(site, snapshot, flipped(data, at, bit)):
            wrong.append((at, bit, complaint))
        site.settle()

    assert wrong == []


def flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


def replace_by_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def test_fifo_in_the_state_folder_is_not_waited_for(site: Site) -> None:
    warm(site)
    assert site.run("state", "c1").runtime == "runc"
    files = [path for path in site.state.iterdir() if path.is_file()]
    assert len(files) >= 2
    for path in files:
        replace_by_a_fifo(path)

    assert site.run("state", "c1").runtime == "runc"
    assert ask(site) == ["GPU0=first"]


FUTURE = time.time_ns() + 30 * 24 * 3600 * shim.SECOND


@pytest.mark.parametrize("what", ["spec", "settings"])
def test_file_of_the_future_is_remembered(what: str, site: Site) -> None:
    """A clock that was wrong once, or an archive of a machine whose clock is."""
    site.launcher = shim.copy_tree(site.folder / "tree")
    path = site.config if what == "settings" else site.specs / "nvidia.json"
    os.utime(path, ns=(FUTURE, FUTURE))
    warm(site)
    assert site.run("state", "c1").runtime == "runc"
    assert site.shortcut()

    poison(site)

    assert ask(site) == ["GPU0=first"]


@needs_root
def test_left_over_files_of_killed_creates_are_no_obstacle(site: Site) -> None:
    """In a PID namespace the same few process ids come again and again."""
    site.state.mkdir(mode=0o755)
    (site.state / "containers").mkdir(mode=0o700)
    for pid in range(1, 10):
        (site.state / f".snapshot-{pid}").write_text("half")
        (site.state / "containers" / f".{pid}").write_text("half")
    site.settle()
    site.write_bundle(builders.asking())
    words = ["unshare", "--pid", "--fork", str(site.launcher), "create", "--bundle"]

    for _ in range(2):
        got = shim.end(site.execute([*words, str(site.bundle), "c1"], env=site.environment))
        assert (got.code, got.err) == (0, "")

    assert len(site.snapshots()) == 1
    assert (site.state / "containers" / "c1.json").exists()
