# SPDX-License-Identifier: Apache-2.0
"""What goes wrong, in the words of libnvidia-container: scripts and people look for them."""

from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

INPUT, INITIALIZATION, DETECTION = "input error", "initialization error", "detection error"
DEVICE, REQUIREMENT, MOUNT = "device error", "requirement error", "mount error"
NO_LIBRARY = (
    "load library failed: libnvidia-ml.so.1: cannot open shared object file: "
    "no such file or directory"
)


def of(step: str, what: str, hint: str = "") -> NvidiaRuntimeError:
    """Return an error of a step."""
    return NvidiaRuntimeError(f"{step}: {what}", hint=hint)


def no_driver(root: str) -> NvidiaRuntimeError:
    """Return the error of a machine without a driver."""
    hint = f"no driver is installed below {root}; --root names another folder"
    return of(INITIALIZATION, NO_LIBRARY, hint)


class during:  # noqa: N801 (used as a word; contextlib takes longer to import than all of this)
    """Say of what fails in which step it did; what the driver's library says goes first."""

    def __init__(self, step: str) -> None:
        self.step = step

    def __enter__(self) -> None:
        """Begin the step."""

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: "BaseException | None",
        trace: "TracebackType | None",
    ) -> None:
        """Name the step in the error."""
        if isinstance(error, NvidiaRuntimeError):
            raise _named(self.step, error) from None


def _named(step: str, error: NvidiaRuntimeError) -> NvidiaRuntimeError:
    if error.__cause__ is not None:
        from nvidia_runtime.host import nvml_problems  # it was asked

        if isinstance(error.__cause__, nvml_problems.Words):
            words = str(error.__cause__).lower()
            if error.__cause__.is_loading:
                return of(INITIALIZATION, f"load library failed: {words}", error.hint)
            return of(INITIALIZATION, f"nvml error: {words}", f"{error.what}; {error.hint}")
    if error.what.partition(":")[0].endswith(" error"):
        return error
    return NvidiaRuntimeError(f"{step}: {error}", hint=error.hint, exit_code=error.exit_code)
