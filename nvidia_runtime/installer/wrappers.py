# SPDX-License-Identifier: Apache-2.0
"""The programs at the top of an installed tree, which engines name.

A runtime or a hook is our launcher, told where its own tree is: engines name it through a link
that an upgrade turns to another tree, and a call must not find one half of it in each.  Before the
launcher a runtime looks for the driver; without it, the call is the low-level runtime's alone.
None of it starts a process.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from nvidia_runtime.errors import NvidiaRuntimeError

RUNTIMES = (
    "nvidia-container-runtime",
    "nvidia-container-runtime.cdi",
    "nvidia-container-runtime.legacy",
)
HOOKS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
CDI_HOOK = "nvidia-cdi-hook"
CTK = "nvidia-ctk"
CLI = "nvidia-container-cli"
CONFIG = ".config/nvidia-container-runtime/config.toml"
# What the launcher looks beside, as it says it.
PLACE = 'nvcr_look "$0";'
LINE = re.compile(r"#![^\n]*\n# SPDX-[^\n]*\n")

# busybox counts shells in a variable that it makes, or adds one to.
FIRST = """\
#!{tree}/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
case $SHLVL in 1) unset SHLVL ;; ?*) SHLVL=$((SHLVL - 1)) ;; esac
"""
# Without the driver: the first of the low-level runtimes, untouched.  A process that is there in
# the end has the environment that the engine gave it, but for PWD, which each shell sets.
NO_DRIVER = """\
# nvcr_: the names of the launcher below.  Modules of the driver: of GPUs, of Tegra; WSL's device.
if [ ! -d /sys/module/nvidia ] && [ ! -d /sys/module/nvgpu ] && [ ! -e /dev/dxg ]; then
  unset PWD
  nvcr_ifs=$IFS
  IFS=:
  set -f
  for nvcr_runtime in {runtimes}; do
    case $nvcr_runtime in
      /*) nvcr_path=${{nvcr_runtime%/*}}/ ;;
      *) nvcr_path=$PATH:{folders} ;;
    esac
    for nvcr_bin in $nvcr_path; do
      nvcr_file=$nvcr_bin/${{nvcr_runtime##*/}}
      case $nvcr_file in /*) ;; *) continue ;; esac
      [ -x "$nvcr_file" ] && [ ! -d "$nvcr_file" ] && [ ! "$nvcr_file" -ef "$0" ] || continue
      nvcr_said="nvidia driver modules are not yet loaded, invoking $nvcr_runtime directly"
      case ":$*:" in *:create:*) echo "$nvcr_said" >&2 ;; esac
      exec "$nvcr_file" "$@"
    done
  done
  set +f
  IFS=$nvcr_ifs
fi
"""
SETTINGS = """\
PATH={link}:${{PATH:-{folders}}}:{tree}/bin
NVIDIA_CTK_CONFIG_FILE_PATH={config}
export PATH NVIDIA_CTK_CONFIG_FILE_PATH
"""
FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PYTHON = """\
#!{tree}/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
import posix
import sys

python, package, config = "{tree}/bin/python3", "{site}", b"{config}"
if sys.executable != python:  # an upgrade came between this file and its interpreter
    posix.execv(python, [python, "-IS", *sys.argv])
if b"NVIDIA_CTK_CONFIG_FILE_PATH" not in posix.environ:
    posix.environ[b"NVIDIA_CTK_CONFIG_FILE_PATH"] = config
    posix.putenv(b"NVIDIA_CTK_CONFIG_FILE_PATH", config)
sys.path.append(package)

from nvidia_runtime.cli import main

main()
"""


def texts(
    tree: str, link: str, site: str, launcher: str, runtimes: Sequence[str]
) -> dict[str, str]:
    """Return the programs of a tree by their names; ``link`` is the path by which it is named.

    ``site`` is the folder of our package there, ``launcher`` the text of the launcher,
    ``runtimes`` are the low-level ones.
    """
    values = {
        "tree": tree,
        "link": link,
        "site": site,
        "config": f"{tree}/{CONFIG}",
        "folders": FOLDERS,
        "runtimes": " ".join(map(shlex.quote, runtimes)),
    }
    first = FIRST.format(**values)
    settings = SETTINGS.format(**values)
    programs = {CTK: PYTHON.format(**values), CDI_HOOK: first + _body(launcher, tree, CDI_HOOK)}
    for name in RUNTIMES:
        head = first + NO_DRIVER.format(**values) + settings
        programs[name] = head + _body(launcher, tree, name)
    for name in (*HOOKS, CLI):
        programs[name] = first + settings + _body(launcher, tree, name)
    return programs


def _body(launcher: str, tree: str, name: str) -> str:
    """Return the launcher without its first lines, told its place."""
    if launcher.count(PLACE) != 1 or not LINE.match(launcher):
        what = "the launcher of this bundle is another one"
        raise NvidiaRuntimeError(what, hint="install from the bundle of this program")
    body = launcher[LINE.match(launcher).end() :]  # type: ignore[union-attr]  # it does
    return body.replace(PLACE, f"nvcr_look {shlex.quote(f'{tree}/bin/{name}')};")
