# SPDX-License-Identifier: Apache-2.0
"""The rights and mounts that the DaemonSet has are enough, with a real containerd.

The installer runs with its capabilities, without new privileges, where all is read-only but its
mounts.  What Kubernetes adds, seccomp and the profiles of AppArmor and SELinux, is not here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import shim
import yaml
from installer.node import PROGRAM, bundle

pytestmark = shim.needs_root
MANIFEST = shim.TREE / "packaging/kubernetes/containerd/daemonset.yaml"
# What the pod has in /usr/local/nvidia is here in a /run of the test's own, as all of this is.
NODE = "/run/node"
POD, TOOLKIT = f"{NODE}/pod", f"{NODE}/nvidia"
CONFIG = """\
version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""
# containerd is started again, as by its service.  The pod's root is another one than the host's,
# with the host's folders in it, and what is writable is what the host has.
SCRIPT = """
set -eu
waited() { for _ in $(seq 600); do ! "$@" 2>/dev/null || return 0; sleep 0.1; done; "$@"; }
mount -t tmpfs none /run
mkdir -p /run/containerd /run/nvidia/toolkit "$POD" "$TOOLKIT"
mount -t tmpfs none /etc/containerd
printf '%s' "$CONFIG" >/etc/containerd/config.toml
cp /etc/containerd/config.toml "$SCRATCH/before"
while :; do
  env --default-signal=HUP containerd --root "$SCRATCH/root" --state "$SCRATCH/state" || :
  echo >>"$SCRATCH/starts"
done >"$SCRATCH/log" 2>&1 &
waited test -S /run/containerd/containerd.sock

mount -t tmpfs none "$POD"
for path in /*; do
  if [ -h "$path" ]; then cp -a "$path" "$POD/"; continue; fi
  [ -d "$path" ] && [ "$path" != /run ] && [ "$path" != /host ] || continue
  mkdir "$POD$path" && mount --rbind "$path" "$POD$path"
done
for path in $WRITABLE; do
  mkdir -p "$POD$path" && mount --bind "$path" "$POD$path"
done
mkdir "$POD/host" && mount --rbind / "$POD/host"
while read -r _ path _; do
  case " $WRITABLE " in *" ${path#"$POD"} "*) continue ;; esac
  case $path in
    "$POD/host/"* | "$POD/proc"*) ;;
    "$POD"*) mount -o remount,bind,ro "$path" ;;
  esac
done </proc/self/mounts
for path in /etc /tmp /usr /host; do ! touch "$POD$path/x" 2>/dev/null; done

limited="setpriv --no-new-privs --inh-caps=-all --bounding-set=-all$CAPABILITIES $PYTHON -c"
chroot "$POD" $limited "$PROGRAM" install &
installer=$!
is_ready() {
  [ -e /run/nvidia/toolkit/toolkit.ready ] || ! kill -0 $installer
}
waited is_ready
chroot "$POD" $limited "$PROGRAM" install --probe
grep -qF "$TOOLKIT/toolkit/nvidia-container-runtime.cdi" /etc/containerd/conf.d/*.toml
grep -q 'enable_cdi = true' /etc/containerd/conf.d/*.toml
[ "$(wc -l <"$SCRATCH/starts")" = 1 ]
kill $installer
wait $installer
cmp "$SCRATCH/before" /etc/containerd/config.toml
[ ! -e /run/nvidia/toolkit/toolkit.ready ]
chroot "$POD" $limited "$PROGRAM" install --remove
[ -z "$(ls -A "$TOOLKIT")" ]
"""


@pytest.mark.skipif(
    not all(map(shutil.which, ("containerd", "setpriv", "unshare")))
    or not Path("/etc/containerd").is_dir(),
    reason="needs containerd, setpriv and unshare",
)
@pytest.mark.parametrize(
    ("left_out", "says"),
    [
        ("", ""),
        ("/etc/containerd", "cannot be made: read-only file system"),
        ("SYS_CHROOT", "its files are read"),
    ],
)
def test_rights_and_mounts_are_enough(tmp_path: Path, left_out: str, says: str) -> None:
    """And without one of them they are not."""
    workload = yaml.safe_load(MANIFEST.read_text())
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"]
    assert context["allowPrivilegeEscalation"] is False
    capabilities = [
        f",+{name.lower()}" for name in context["capabilities"]["add"] if name != left_out
    ]
    mounts = [
        mount["mountPath"].replace("/usr/local/nvidia", TOOLKIT)
        for mount in container["volumeMounts"]
        if not mount.get("readOnly") and mount["mountPath"] != left_out
    ]
    values = {entry["name"]: entry["value"] for entry in container["env"]}
    environment = values | {
        "TOOLKIT_INSTALL_DIR": TOOLKIT,
        "TOOLKIT_SOURCE_ROOT": os.fspath(bundle(tmp_path / "bundle")),
        "POD": POD,
        "TOOLKIT": TOOLKIT,
        "CONFIG": CONFIG,
        "SCRATCH": os.fspath(tmp_path),
        "CAPABILITIES": "".join(capabilities),
        "WRITABLE": " ".join(mounts),
        "PYTHON": sys.executable,
        "PROGRAM": PROGRAM,
        "PYTHONPATH": os.fspath(shim.TREE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": os.environ["PATH"],
    }
    words = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]

    run = subprocess.run(
        [*words, "--propagation=private", "sh", "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )

    assert "Traceback" not in run.stderr
    if left_out:
        assert says in run.stderr
    else:
        assert run.returncode == 0, run.stderr + (tmp_path / "log").read_text()[-2000:]
        assert "its files are read" not in run.stderr  # containerd itself was asked
