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


MOST_NAMES = 8
LONGEST_NAME = 200


def some(names: "list[str]") -> str:
    """List names, but not endlessly: who asks for something may name anything, any number."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(short(name) for name in names[:MOST_NAMES]) + more


def short(text: str, longest: int = LONGEST_NAME) -> str:
    """Return a text, or its beginning with a mark that it is cut."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def os_reason(error: Exception) -> str:
    """Say why a system call failed, in the C library's words, lower case.

    A path with a NUL is a ValueError, which each version of CPython words otherwise.
    """
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return "embedded null byte" if "embedded null" in str(error) else str(error)


REMEDIES = {
    "ENOSPC": "make room on the file system",
    "EDQUOT": "make room, or raise the quota",
    "EIO": "look at the kernel's log (dmesg): the disk may be failing",
    "EMFILE": "raise the limit of open files (ulimit -n, or LimitNOFILE= of the service)",
    "ENFILE": "raise the machine's limit of open files (sysctl fs.file-max)",
    "EROFS": "make the file system writable",
    "ENOMEM": "free memory, or raise the limit of the control group",
    "ESTALE": "mount the file system anew",
}


DAMAGED = "install the package anew; dmesg says whether the disk is failing"


def remedy(error: Exception) -> str:
    """Return what to do where it is the machine that fails a system call, "" if it is not."""
    if not isinstance(error, OSError):
        return ""
    from errno import errorcode  # 50 us, for a message

    return REMEDIES.get(errorcode.get(error.errno or 0, ""), "")


def internal(error: Exception, flag: str) -> NvidiaRuntimeError:
    """Return what an engine is told of a bug: one line; ``flag`` shows the traceback.

    What the machine refuses is no bug.
    """
    report_hint = f"run it with {flag} and report it"
    hint = remedy(error) or report_hint
    if isinstance(error, OSError) and (error.filename or hint != report_hint):
        return NvidiaRuntimeError(os_reason(error), where=str(error.filename or ""), hint=hint)
    if isinstance(error, ImportError):
        return NvidiaRuntimeError(f"a part of the program cannot be read: {error}", hint=DAMAGED)
    what = f"internal error: {type(error).__name__}: {error}"
    return NvidiaRuntimeError(what, hint=report_hint)
