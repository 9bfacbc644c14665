# SPDX-License-Identifier: Apache-2.0
"""The one exception for what a user can act on.  Ring: pass-through."""


class NvidiaRuntimeError(Exception):
    """What is wrong, where (a file and the path in it), and what to do next.

    ``exit_code`` is what the program ends with: 1, or 127 when no low-level runtime is found.
    """

    def __init__(self, what: str, where: str = "", hint: str = "", exit_code: int = 1) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        """Return the sentence without the hint, after the place, as compilers do."""
        return f"{self.where}: {self.what}" if self.where else self.what


def os_reason(error: Exception) -> str:
    """Say why a system call failed, in the C library's words, lower case.

    A path with a NUL is a ValueError, which each version of CPython words otherwise.
    """
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return "embedded null byte" if "null" in str(error) else str(error)


def internal(error: Exception, flag: str) -> NvidiaRuntimeError:
    """Return what an engine is told of a bug: one line; ``flag`` shows the traceback."""
    what = f"internal error: {type(error).__name__}: {error}"
    return NvidiaRuntimeError(what, hint=f"run it with {flag} and report it")
