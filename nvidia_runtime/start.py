# SPDX-License-Identifier: Apache-2.0
"""From the interpreter to the program, past most of the import machinery.  Ring: pass-through.

A create needs a dozen modules of ours, of which each costs CPython 0.1 ms to find, lock, open and
describe; reading the compiled file and executing it takes half.  So the modules of the hot path
are put into ``sys.modules`` here.  In any doubt (no compiled file, one that is not of this source
or this interpreter) the rest is left to ``import``, which every module still says and which then
finds them there.
"""

import _signal
import gc
import marshal
import posix
import sys
from _frozen_importlib_external import MAGIC_NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType

    from nvidia_runtime.store.files import Stamp

PACKAGE = "nvidia_runtime"
# In the order of their imports, so that none is imported the long way from another.
STORE = ("errors", "document", "store.files", "store.lines", "store.snapshot")
ALWAYS = (*STORE, "oci.argv", "oci.lowlevel", "runtime")
CREATE = (
    *("admission.request", "admission.policy", "oci.bundle", "oci.edit", "sources.specs"),
    *("prepare.decide", "create", "store.record"),
)
# The prestart hook's names: those that the launcher may have, and by which it is known in a spec.
HOOKS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
# What CDI specs call while a container is made.
CDI_HOOKS = ("nvidia-cdi-hook",)
HOOK = (
    *(*STORE, "admission.request", "admission.policy", "oci.lowlevel", "oci.bundle", "oci.state"),
    *("admission.capabilities", "hooks.command_line", "hooks.container_cli", "hooks.prestart"),
)
CDI_HOOK = (
    *("errors", "document", "rootfs.resolver", "rootfs.files", "oci.bundle", "oci.state"),
    *("prepare.verbs", "prepare.container", "hooks.cdi_hook"),
)
# What a create needs besides where CDI specs have hooks.
PREPARE = (
    *("prepare.verbs", "rootfs.resolver", "rootfs.files", "rootfs.library_names", "rootfs.ldcache"),
    *("rootfs.links", "rootfs.loader_config", "rootfs.merged_caches", "rootfs.loader_cache"),
    *("rootfs.loader", "store.libraries", "prepare.covered", "prepare.work", "prepare.takeover"),
    # For the verbs that are in all specs that are generated.
    *("rootfs.application_profile", "rootfs.cuda_compat", "prepare.update_ldcache"),
    "prepare.carry_out",
)


class Launch:
    """What the launcher handed over besides the words: see packaging/bin."""

    __slots__ = ("ignored", "key", "known", "launcher")

    def __init__(self, known: str, key: str, ignored: str, launcher: str) -> None:
        self.known = known
        self.key = key
        self.ignored = ignored
        self.launcher = launcher

    def program(self) -> str:
        """Return the name that we were called by; ``.cdi`` and ``.legacy`` force a mode."""
        return self.launcher.rpartition("/")[2]

    def knows(self, runtime: str, stamp: "Stamp | None") -> bool:
        """Whether the launcher's shortcut says this runtime, for config.toml as it is now."""
        try:
            if stamp and posix.stat(self.known).st_mtime_ns != stamp[3]:
                return False
            flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK
            descriptor = posix.open(self.known, flags)
            try:
                line = posix.read(descriptor, 1 << 16)
            finally:
                posix.close(descriptor)
        except (OSError, ValueError):
            return False
        return line == f"{self.key}:{runtime}\n".encode("utf-8", "surrogateescape")


def begin() -> "ModuleType":
    """Prepare the process, and load what the call probably needs; return the program's module."""
    gc.disable()  # a process of 10 ms; collecting while it decodes JSON costs 0.2 ms
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # end as runc would, without a traceback
    name = sys.argv[4].rpartition("/")[2]  # the launcher's
    hook = HOOK if name in HOOKS else CDI_HOOK if name in CDI_HOOKS else ()
    preload(*(hook or (ALWAYS + CREATE if "create" in sys.argv else ALWAYS)))
    program = f"{PACKAGE}.{hook[-1] if hook else 'runtime'}"
    __import__(program)
    return sys.modules[program]


def preload(*names: str) -> None:
    """Load modules of ours that are about to be imported; stop at the first doubt."""
    folder = __file__.rpartition("/")[0]
    for name in names:
        if not load(folder, name):
            return


def load(folder: str, name: str) -> bool:
    """Load one module of the package in ``folder``; say whether it worked."""
    if f"{PACKAGE}.{name}" in sys.modules:
        return True
    package, _, leaf = name.rpartition(".")
    parent = f"{PACKAGE}.{package}" if package else PACKAGE
    place = f"{folder}/{package}" if package else folder
    if parent not in sys.modules:
        _make_package(parent, place)
    code = _compiled(f"{place}/{leaf}.py", f"{place}/__pycache__/{leaf}.{TAG}.pyc")
    if code is None:
        return False
    module = type(sys)(f"{PACKAGE}.{name}")
    module.__file__ = f"{place}/{leaf}.py"
    module.__package__ = parent
    sys.modules[module.__name__] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 (what an import does)
    except BaseException:
        del sys.modules[module.__name__]
        raise
    setattr(sys.modules[parent], leaf, module)
    return True


def _make_package(name: str, folder: str) -> None:
    """Put a package of ours into ``sys.modules``: its ``__init__`` holds nothing but a sentence."""
    package = type(sys)(name)
    package.__path__ = [folder]
    sys.modules[name] = package
    parent, _, leaf = name.rpartition(".")
    setattr(sys.modules[parent], leaf, package)


TAG = sys.implementation.cache_tag


def _compiled(source: str, compiled: str) -> "CodeType | None":
    """Read a compiled file if it is of this very source (PEP 552, by time and size)."""
    try:
        found = posix.stat(source)
        descriptor = posix.open(compiled, posix.O_RDONLY)
        try:
            data = posix.read(descriptor, 1 << 20)
        finally:
            posix.close(descriptor)
    except (OSError, ValueError):
        return None
    time, size = int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF
    stamp = time.to_bytes(4, "little") + size.to_bytes(4, "little")
    if data[:16] != MAGIC_NUMBER + b"\0\0\0\0" + stamp:
        return None
    try:
        code: CodeType = marshal.loads(memoryview(data)[16:])  # noqa: S302 (as trusted as the source)
    except (EOFError, ValueError, TypeError):
        return None
    return code
