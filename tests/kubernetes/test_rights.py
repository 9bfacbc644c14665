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
# What the pod has in /host and /usr/local/nvidia is here in a /run of the test's own.
NODE = "/run/node"
HOST, TOOLKIT = f"{NODE}/host", f"{NODE}/nvidia"
CONFIG = """\
version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""
# containerd is in a mount namespace of its own, in which it may write; it is started again, as by
# its service.
SCRIPT = """
set -eu
waited() { for _ in $(seq 600); do ! "$@" 2>/dev/null || return 0; sleep 0.1; done; "$@"; }
mount -t tmpfs none /run
mkdir -p /run/containerd /run/nvidia/toolkit "$HOST" "$TOOLKIT"
mount -t tmpfs none /etc/containerd
printf '%s' "$CONFIG" >/etc/containerd/config.toml
cp /etc/containerd/config.toml "$SCRATCH/before"
unshare --mount sh -c 'while :; do
  containerd --root "$SCRATCH/root" --state "$SCRATCH/state" || :
  echo >>"$SCRATCH/starts"
done' >"$SCRATCH/log" 2>&1 &
waited test -S /run/containerd/containerd.sock
for place in $WRITABLE; do mount --bind "$place" "$place"; done
mount --rbind / "$HOST"
mount -o remount,bind,ro "$HOST"
while read -r _ place _; do
  case " $WRITABLE " in *" $place "*) continue ;; esac
  case $place in "$HOST"* | /proc*) ;; *) mount -o remount,bind,ro "$place" || : ;; esac
done </proc/self/mounts 2>/dev/null
for place in /etc /run /tmp; do ! touch "$place/x" 2>/dev/null; done

limited="setpriv --no-new-privs --inh-caps=-all --bounding-set=-all$CAPABILITIES $PYTHON -c"
$limited "$PROGRAM" install &
installer=$!
is_ready() {
  [ -e /run/nvidia/toolkit/toolkit.ready ] || ! kill -0 $installer
}
waited is_ready
$limited "$PROGRAM" install --probe
grep -q "$TOOLKIT/toolkit/nvidia-container-runtime\\"" /etc/containerd/conf.d/*.toml
grep -q 'enable_cdi = true' /etc/containerd/conf.d/*.toml
[ "$(wc -l <"$SCRATCH/starts")" = 1 ]
kill $installer
wait $installer
cmp "$SCRATCH/before" /etc/containerd/config.toml
[ ! -e /run/nvidia/toolkit/toolkit.ready ]
$limited "$PROGRAM" install --remove
[ -z "$(ls -A "$TOOLKIT")" ]
"""


@pytest.mark.skipif(
    not all(map(shutil.which, ("containerd", "setpriv", "unshare")))
    or not Path("/etc/containerd").is_dir(),
    reason="needs containerd, setpriv and unshare",
)
@pytest.mark.parametrize("left_out", ["", "/etc/containerd"])
def test_rights_and_mounts_are_enough(tmp_path: Path, left_out: str) -> None:
    """And without one of the mounts they are not."""
    workload = yaml.safe_load(MANIFEST.read_text())
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"]
    assert context["allowPrivilegeEscalation"] is False
    capabilities = [f",+{name.lower()}" for name in context["capabilities"]["add"]]
    mounts = [
        mount["mountPath"].replace("/usr/local/nvidia", TOOLKIT)
        for mount in container["volumeMounts"]
        if not mount.get("readOnly") and mount["mountPath"] != left_out
    ]
    values = {entry["name"]: entry["value"] for entry in container["env"]}
    environment = {name: value.replace("/host", HOST) for name, value in values.items()} | {
        "TOOLKIT_INSTALL_DIR": TOOLKIT,
        "HOST_ROOT_MOUNT": HOST,
        "TOOLKIT_SOURCE_ROOT": os.fspath(bundle(tmp_path / "bundle")),
        "HOST": HOST,
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
        assert run.returncode != 0
        assert "Read-only file system" in run.stderr or "read-only" in run.stderr
    else:
        assert run.returncode == 0, run.stderr + (tmp_path / "log").read_text()[-2000:]
