# SPDX-License-Identifier: Apache-2.0
"""``configure`` as its callers know it: ids as they write them, errors in their words."""

from nvidia_runtime.container_cli import problems, selection
from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.container_cli.configuration import Configuration
    from nvidia_runtime.host.machine import Machine


def configure(configuration: "Configuration", done: list[str]) -> list[str]:
    """Let a container have its devices; return what could not be done and need not matter.

    ``done`` gets what was done.  Raises `NvidiaRuntimeError`, in the words of libnvidia-container.
    """
    said: list[str] = []
    if configuration.can_load_modules:
        from nvidia_runtime.container_cli import modules  # as by default

        said += modules.prepare(configuration.driver_root or "/")
    with problems.during(problems.INITIALIZATION):
        configuration.devices = _canonical(configuration)
    if configuration.mig_config or configuration.mig_monitor:
        _check_managing(configuration)
    from nvidia_runtime.container_cli import configure as steps  # ctypes

    try:
        with problems.during(problems.MOUNT):
            return said + steps.configure(configuration, done)
    except NvidiaRuntimeError:
        _judge(configuration)
        raise


def _canonical(configuration: "Configuration") -> tuple[str, ...]:
    """Return the devices' ids as all of our programs have them; the GPUs are seldom needed."""
    ids = configuration.devices
    if selection.is_all(ids):
        return (selection.ALL,)
    if all(map(selection.is_canonical, ids)):
        return ids
    from nvidia_runtime.host import gpus

    present = gpus.find(_machine(configuration))
    return tuple(selection.canonical(present, one) for one in ids)


def _check_managing(configuration: "Configuration") -> None:
    """Raise an error where not all MIG devices that are to be managed are the container's."""
    from nvidia_runtime.host import gpus, mig
    from nvidia_runtime.host import machine as machines

    ids, machine = configuration.devices, _machine(configuration)
    with problems.during(problems.DETECTION):
        present = gpus.find(machine) if machines.kind(machine) == "nvml" else []
        chosen = selection.select(present, ids) if present else []
    asked = (configuration.mig_config, configuration.mig_monitor)
    for name, wanted in zip(mig.MANAGING, asked, strict=True):
        with_all = selection.is_all(ids)
        selection.check_managing(f"mig-{name}", wanted, chosen, with_all=with_all)


def _judge(configuration: "Configuration") -> None:
    """Raise what is wrong with the machine, or with the ids, where that is why nothing was done."""
    from nvidia_runtime.host import gpus
    from nvidia_runtime.host import machine as machines

    machine = _machine(configuration)
    kind = machines.kind(machine)
    if kind == "unknown":
        raise problems.no_driver(machine.driver.root)
    if kind == "nvml":
        with problems.during(problems.DETECTION):
            selection.select(gpus.find(machine), configuration.devices)


def _machine(configuration: "Configuration") -> "Machine":
    from nvidia_runtime.host.driver import Driver
    from nvidia_runtime.host.machine import Machine

    return Machine(Driver(configuration.driver_root or "/"))
