# SPDX-License-Identifier: Apache-2.0
"""``configure``, from the first question to the last mount; the prestart hook calls it, too."""

from nvidia_runtime.container_cli import problems, selection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.container_cli.configuration import Configuration


def configure(configuration: "Configuration") -> list[str]:
    """Give a container its devices; return what could not be done and need not matter.

    Raises `NvidiaRuntimeError`, in the words of libnvidia-container.
    """
    said: list[str] = []
    with problems.during(problems.INITIALIZATION):
        if configuration.can_load_modules:
            from nvidia_runtime.container_cli import modules

            said += modules.prepare(configuration.driver_root or "/")
        configuration.devices = _canonical(configuration)
    if configuration.requirements:
        from nvidia_runtime.container_cli import requirement  # images that are based on CUDA's

        ids, root = configuration.devices, configuration.driver_root
        with problems.during(problems.REQUIREMENT):
            requirement.enforce(configuration.requirements, ids, root)
    from nvidia_runtime.container_cli import configure as steps

    with problems.during(problems.MOUNT):
        return said + steps.configure(configuration)


def _canonical(configuration: "Configuration") -> tuple[str, ...]:
    """Return the devices' ids as all of our programs have them; the GPUs are seldom needed."""
    ids = configuration.devices
    if selection.is_all(ids):
        return (selection.ALL,)
    if all(map(selection.is_canonical, ids)):
        return ids
    from nvidia_runtime.host import gpus
    from nvidia_runtime.host.driver import Driver
    from nvidia_runtime.host.machine import Machine

    present = gpus.find(Machine(Driver(configuration.driver_root or "/")))
    return tuple(selection.canonical(present, one) for one in ids)
