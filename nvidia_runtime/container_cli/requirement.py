# SPDX-License-Identifier: Apache-2.0
"""``--require``: whether this machine has what an image requires, for each GPU that it gets.

/proc says most; NVML is asked only where architecture or brand decide.
"""

from nvidia_runtime.admission import requirements
from nvidia_runtime.container_cli import problems, selection
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nvidia_runtime.admission.requirements import Verdict
    from nvidia_runtime.host.gpu import Gpu

CUDA = "cuda>="
UPDATE = ", please update your driver to a newer version, or use an earlier cuda container"


def enforce(expressions: "Sequence[str]", ids: "Sequence[str]", driver_root: str) -> None:
    """Raise `NvidiaRuntimeError` for what is not met; what cannot be known is."""
    of_driver = facts.read()
    for expression in expressions:
        verdict = _judge(expression, of_driver)
        if verdict.kind == requirements.UNKNOWN:
            for host in _gpus(ids, driver_root):
                _refuse(expression, _judge(expression, host))
        _refuse(expression, verdict)


def _judge(expression: str, host: dict[str, str]) -> "Verdict":
    # NVIDIA's images write brands in lower case, NVML's are not.
    return requirements.check({"--require": expression.lower()}, host)


def _refuse(expression: str, verdict: "Verdict") -> None:
    if verdict.kind == requirements.MALFORMED:
        raise problems.of(problems.REQUIREMENT, "invalid expression", verdict.what)
    if verdict.kind == requirements.UNMET:
        first = expression.split(maxsplit=1)[0]
        what = f"unsatisfied condition: {first}{UPDATE if first.startswith(CUDA) else ''}"
        raise problems.of(problems.REQUIREMENT, what, f"{verdict.what}; {verdict.hint}")


def _gpus(ids: "Sequence[str]", driver_root: str) -> list[dict[str, str]]:
    """Return what NVML knows of each GPU; where it does not answer, nothing more is known."""
    from nvidia_runtime.host import gpus
    from nvidia_runtime.host.driver import Driver
    from nvidia_runtime.host.machine import Machine

    machine = Machine(Driver(driver_root or "/"))
    try:
        present = gpus.ask(machine)
    except NvidiaRuntimeError:
        return []
    versions = {"driver": machine.nvml().driver, "cuda": machine.nvml().cuda}
    chosen = {device.gpu.index: device.gpu for device in selection.select(present, ids)}
    return [
        {name: value for name, value in (versions | _properties(gpu)).items() if value}
        for gpu in chosen.values()
    ]


def _properties(gpu: "Gpu") -> dict[str, str]:
    return {"arch": gpu.architecture, "brand": gpu.brand.lower()}
