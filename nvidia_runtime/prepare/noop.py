# SPDX-License-Identifier: Apache-2.0
"""The verb noop: do nothing."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.prepare.container import Container
    from nvidia_runtime.prepare.verbs import Step
    from nvidia_runtime.prepare.work import Planning


def plan(planning: "Planning", step: "Step") -> None:
    """Plan nothing."""
    planning.work.idle.append(step.verb)


def run(container: "Container", step: "Step") -> None:
    """Do nothing."""
    del container, step
