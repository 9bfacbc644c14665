# SPDX-License-Identifier: Apache-2.0
"""`nvidia-container-cli configure`: give a container that exists its devices.

What it gets is looked up by us; a child of ours does the rest, since it moves to the container's
mount namespace.  Nothing of the container's or of ours is executed there.
"""

import os

from nvidia_runtime import document
from nvidia_runtime.container_cli import given, inside
from nvidia_runtime.container_cli.existing import Existing
from nvidia_runtime.errors import NvidiaRuntimeError, internal
from nvidia_runtime.linux import namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from nvidia_runtime.container_cli.configuration import Configuration
    from nvidia_runtime.container_cli.given import Given

LARGEST = 1 << 20
SIGKILL = 9  # `signal` would load enum


def configure(configuration: "Configuration", done: list[str] | None = None) -> list[str]:
    """Let the container have its devices; return what could not be done and need not matter.

    What was done is added to ``done``.  Raises `NvidiaRuntimeError`: the container must not be
    started then.
    """
    what = given.read(configuration)
    parent, (reader, writer) = os.getpid(), os.pipe()
    child = os.fork()
    if not child:
        _become(configuration, what, writer, parent)
    os.close(writer)
    with open(reader, "rb") as pipe:
        said = pipe.read(LARGEST)
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except ChildProcessError:  # who called us ignores SIGCHLD
        status = 0
    if not said:
        where = f"the container at {configuration.rootfs}"
        raise NvidiaRuntimeError(f"has not been configured: ended by {status}", where)
    answer = document.loads(said, "configure")
    if "error" in answer:
        raise NvidiaRuntimeError(*answer["error"])
    if done is not None:
        done += answer["done"]
    warnings: list[str] = answer["warnings"]
    return warnings


def _become(configuration: "Configuration", what: "Given", writer: int, parent: int) -> "NoReturn":
    """Do the work in a child; end with an answer."""
    try:
        namespaces.end_with(parent, SIGKILL)
        try:
            container = Existing(configuration.pid, configuration.rootfs)
            done, warnings = inside.give(
                container,
                what,
                configuration.rootfs,
                with_nodes=configuration.with_device_binds,
                with_rules=configuration.with_cgroups,
            )
            answer = {"done": done, "warnings": warnings}
        except Exception as error:  # noqa: BLE001 (a bug is told, too)
            answer = {"error": _told(error, configuration.rootfs)}
        os.write(writer, document.dumps(answer))
        os._exit(0)
    finally:
        os._exit(1)


def _told(error: Exception, rootfs: str) -> list[str]:
    if not isinstance(error, NvidiaRuntimeError):
        error = internal(error, "--debug")
    where = error.where
    if where.startswith("/proc/self/fd/"):  # the root by its descriptor
        where = rootfs
    return [error.what, where, error.hint]
