# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk itself: its flags, and the tree of its commands, each in a module of its own.

A command is named here as text, so that only the one that runs is imported.
"""

from __future__ import annotations

import os
import sys

from plumbum import cli

from nvidia_runtime.cli import environment
from nvidia_runtime.cli.command import Group
from nvidia_runtime.errors import NvidiaRuntimeError, internal, os_reason

ROOM = "nvidia_runtime.cli"
DEBUG = "NVIDIA_CTK_DEBUG"
QUIET = "NVIDIA_CTK_QUIET"


class Ctk(Group):
    """Tools for containers with NVIDIA GPUs."""

    PROGNAME = "nvidia-ctk"

    debugging = cli.Flag(["-d", "--debug"], help=f"print more on stderr [${DEBUG}]")
    quiet = cli.Flag(["--quiet"], help=f"print only errors on stderr, even with --debug [${QUIET}]")
    config = cli.SwitchAttr(
        ["--config"], str, "", envname="NVIDIA_CTK_CONFIG", help="the config.toml of the commands"
    )

    def main(self) -> int:
        """Read flags that the command line lacks from the environment."""
        self.debugging = environment.flag(self, "debug", self.debugging, (DEBUG,))
        self.quiet = environment.flag(self, "quiet", self.quiet, (QUIET,))
        return super().main()


class Cdi(Group):
    """Generate, check and list Container Device Interface specifications."""


class Transform(Group):
    """Adapt a CDI spec to other paths."""


class Runtime(Group):
    """Configure container engines for the NVIDIA runtime."""


class Snapshots(Group):
    """Show, rebuild or drop the runtime's compiled form of config.toml and the CDI specs."""


class Spec(Group):
    """Check a container's config.json."""


class System(Group):
    """Create device nodes and links as the driver's programs do; install units for systemd."""


Ctk.subcommand("cdi", Cdi)
Cdi.subcommand("generate", f"{ROOM}.cdi.generate.Generate")
Cdi.subcommand("inject", f"{ROOM}.cdi.inject.Inject")
Cdi.subcommand("list", f"{ROOM}.cdi.list.List")
Cdi.subcommand("refresh", f"{ROOM}.cdi.refresh.Refresh")
Cdi.subcommand("transform", Transform)
Transform.subcommand("root", f"{ROOM}.cdi.transform.Root")
Cdi.subcommand("validate", f"{ROOM}.cdi.validate.Validate")
Cdi.subcommand("watch", f"{ROOM}.cdi.watch.Watch")
Ctk.subcommand("config", f"{ROOM}.config.command.Config")
Ctk.subcommand("explain", f"{ROOM}.explain.Explain")
Ctk.subcommand("hook", f"{ROOM}.hook.Hook")
Ctk.subcommand("runtime", Runtime)
Runtime.subcommand("configure", f"{ROOM}.runtime.configure.Configure")
Runtime.subcommand("unconfigure", f"{ROOM}.runtime.unconfigure.Unconfigure")
Runtime.subcommand("status", f"{ROOM}.runtime.status.Show")
Ctk.subcommand("selftest", f"{ROOM}.selftest.Selftest")
Ctk.subcommand("simulate", f"{ROOM}.simulate.Simulate")
Ctk.subcommand("snapshot", Snapshots)
Snapshots.subcommand("drop", f"{ROOM}.snapshot.Drop")
Snapshots.subcommand("rebuild", f"{ROOM}.snapshot.Rebuild")
Snapshots.subcommand("show", f"{ROOM}.snapshot.Show")
Ctk.subcommand("spec", Spec)
Spec.subcommand("validate", f"{ROOM}.spec_validate.Validate")
Ctk.subcommand("system", System)
System.subcommand("create-dev-char-symlinks", f"{ROOM}.system.dev_char.CreateDevCharSymlinks")
System.subcommand("create-device-nodes", f"{ROOM}.system.device_nodes.CreateDeviceNodes")
System.subcommand("install-units", f"{ROOM}.system.install_units.InstallUnits")


def main() -> None:
    """Run nvidia-ctk; any error is a sentence on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        _recover_interfaces()
        code = Ctk.run(exit=False)[1]
        sys.stdout.flush()
    except NvidiaRuntimeError as error:
        code = _report(error)
    except BrokenPipeError:  # `nvidia-ctk … | head`
        code = 1
    except OSError as error:  # of stdout: others have a path
        what = f"cannot write to stdout: {os_reason(error)}"
        code = _report(internal(error, "--debug") if error.filename else NvidiaRuntimeError(what))
    except KeyboardInterrupt:
        code = 130
    except Exception as error:  # a bug
        if "--debug" in sys.argv or "-d" in sys.argv:
            raise
        code = _report(internal(error, "--debug"))
    _end(code)


def _recover_interfaces() -> None:
    """Move network interfaces that a killed container has left back to the host."""
    from nvidia_runtime.store import files  # the state folder

    folder = f"{files.state_folder()}/netns"
    try:
        if not os.listdir(folder):
            return
    except OSError:
        return
    from nvidia_runtime.net import devices  # rarely needed

    for line in devices.recover():
        print(line, file=sys.stderr)


def _report(error: NvidiaRuntimeError) -> int:
    from nvidia_runtime import log  # only for what goes wrong

    log.report(error, "nvidia-ctk", log.Log())
    return error.exit_code


def _end(code: int) -> None:
    """Exit without the interpreter's own message about a stdout that cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)
