# SPDX-License-Identifier: Apache-2.0
"""From the interpreter to the program, past most of the import machinery.  Ring: pass-through.

A create needs some dozen modules of ours, of which each costs CPython 0.1 ms to find, lock, open
and describe; executing it takes a third.  So the modules of the hot path are put into
``sys.modules`` here, from one file with the code of all, else from their own compiled files.  In
any doubt (no such file, one that is not of this source or this interpreter) the rest is left to
``import``, which every module still says and which then finds them there.  The launcher
loads this module past the folders on ``sys.path``: `begin` puts it into ``sys.modules``.

What is CPython's own affair may be otherwise in its next version, so whatever goes wrong with it
costs time, not the container.  All that is in one module, and it is long, since each further one
would be found the slow way.
"""

import gc
import posix
import sys
from time import monotonic_ns

try:
    import _imp
    import marshal
    from _frozen_importlib_external import MAGIC_NUMBER
except ImportError:
    MAGIC_NUMBER = b""  # type: ignore[misc]  # typeshed has it final

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any

    from nvidia_runtime.log import Log

PACKAGE = "nvidia_runtime"
FOLDER = __file__.rpartition("/")[0]
# In the order of their imports, so that none is imported the long way from another.
STORE = ("errors", "document", "store.files", "store.lines", "store.snapshot")
ALWAYS = (*STORE, "oci.argv", "oci.lowlevel", "runtime")
CREATE = (
    *("admission.request", "admission.policy", "oci.bundle", "oci.edit", "prepare.decide"),
    *("sources.find", "create", "store.record"),
)
# The prestart hook's names: those that the launcher may have, and by which it is known in a spec.
HOOKS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
# What CDI specs call while a container is made; by which names that may be a hook of NVIDIA's.
CDI_HOOKS = ("nvidia-cdi-hook",)
TOOLKIT_HOOKS = (*CDI_HOOKS, "nvidia-ctk", "nvidia-container-toolkit-cdi-hook")
HOOK = (
    *(*STORE, "admission.request", "admission.policy", "oci.lowlevel", "oci.bundle", "oci.state"),
    *("admission.capabilities", "hooks.command_line", "hooks.container_cli", "hooks.prestart"),
)
CDI_HOOK = (
    *("errors", "document", "rootfs.resolver", "rootfs.files", "oci.bundle", "oci.state"),
    *("prepare.verbs", "prepare.container", "hooks.cdi_hook"),
)
# What gives a container that exists its GPUs, where libnvidia-container does not.
CONTAINER_CLIS = ("nvidia-container-cli",)
CONTAINER_CLI = (
    *(*STORE, "oci.lowlevel", "container_cli.options", "container_cli.problems"),
    "container_cli.main",
)
# The programs that are no runtimes, by the names that the launcher may have.
OTHERS = ((HOOKS, HOOK), (CDI_HOOKS, CDI_HOOK), (CONTAINER_CLIS, CONTAINER_CLI))


# When a step of a create ended, in ns, for its record; the first is when this module was loaded.
LAPS: "list[tuple[str, int]]" = [("", monotonic_ns())]


def lap(step: str) -> None:
    """Note that a step of a create has ended; it may be said in parts."""
    LAPS.append((step, monotonic_ns()))


# How the launcher's shortcut goes on where it says which creates need Python: store/shortcut.
ASKING = "1:"


class Launch:
    """What the launcher handed over besides the words: see packaging/bin."""

    __slots__ = ("ignored", "key", "launcher", "shortcut")

    def __init__(self, shortcut: str, key: str, ignored: str, launcher: str) -> None:
        self.shortcut = shortcut
        self.key = key
        self.ignored = ignored
        self.launcher = launcher

    def program(self) -> str:
        """Return the name that we were called by; ``.cdi`` and ``.legacy`` force a mode."""
        return self.launcher.rpartition("/")[2]

    def knows(self, runtime: str, stamp: "list[int] | None", then: str = "") -> bool:
        """Whether the launcher's shortcut says this runtime, and ``then``, for config.toml now."""
        beginning = f"{self.key}:{runtime}\n{then}".encode("utf-8", "surrogateescape")
        try:
            if stamp and posix.stat(self.shortcut).st_mtime_ns != stamp[3]:
                return False
            flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK
            descriptor = posix.open(self.shortcut, flags)
            try:
                return posix.read(descriptor, len(beginning)) == beginning
            finally:
                posix.close(descriptor)
        except (OSError, ValueError):
            return False


def begin(this: "ModuleType") -> "ModuleType":
    """Prepare the process, and load what the call probably needs; return the program's module.

    ``this`` is the module that we are.
    """
    if PACKAGE not in sys.modules:
        sys.path.append(FOLDER.rpartition("/")[0])
    if sys.version_info < (3, 11):  # noqa: UP036 (the launcher takes what there is)
        from nvidia_runtime.linux import newer_python

        newer_python.become(launcher())
    gc.disable()  # a process of 10 ms; collecting while it decodes JSON costs 0.2 ms
    reset_signal("SIGINT", "default_int_handler")  # end as runc would, without a traceback
    _compile_what_is_cut()
    HOT.load_library("_json")
    if PACKAGE not in sys.modules:
        _take_place(this)
    name = launcher().rpartition("/")[2]
    other = next((modules for names, modules in OTHERS if name in names), ())
    preload(*(other or (ALWAYS + CREATE if "create" in sys.argv else ALWAYS)))
    program = f"{PACKAGE}.{other[-1] if other else 'runtime'}"
    __import__(program)
    return sys.modules[program]


def _take_place(this: "ModuleType") -> None:
    """Put the package, and this module into it, where `import` finds them."""
    code = HOT.codes(("__init__",)).get("__init__")
    if code is None:
        try:
            __import__(PACKAGE)
        except ModuleNotFoundError as error:  # only `import` wants a list of what is beside it
            place = FOLDER.rpartition("/")[0]
            sys.exit(
                f"{launcher()}: {error}, but it is in {place}: let every user list that folder"
            )
    else:
        package = sys.modules[PACKAGE] = type(sys)(PACKAGE)
        package.__path__, package.__file__ = [FOLDER], f"{FOLDER}/__init__.py"
        exec(code, package.__dict__)  # noqa: S102 (what an import does)
    this.__package__ = PACKAGE
    parent: Any = sys.modules[PACKAGE]
    sys.modules[__name__] = parent.start = this


def launcher() -> str:
    """Return the path by which our launcher was called, "" where another program uses us."""
    return sys.argv[4] if sys.argv[0] == "-c" and len(sys.argv) > 4 else ""


def private(name: str, public: str, *needed: str) -> "Any":
    """Import a private module of CPython if it has what is needed, else the public one over it."""
    try:
        module = __import__(name)
        for attribute in needed:
            getattr(module, attribute)
    except Exception:  # noqa: BLE001 (what a future CPython raises)
        return __import__(public)
    return module


def reset_signal(name: str, handler: str = "SIG_IGN") -> None:
    """Take back what CPython made of a signal at its start."""
    for module in ("_signal", "signal"):  # the latter loads enum
        try:
            signals = __import__(module)
            number = getattr(signals, name)
            if signals.getsignal(number) == getattr(signals, handler):
                signals.signal(number, signals.SIG_DFL)
        except Exception:  # noqa: BLE001, S112 (as above)
            continue
        return


# The compiled files that were cut short: a full disk, or a power cut soon after an installation.
CUT: "list[str]" = []


def _compile_what_is_cut() -> None:
    """Let ``import`` compile the source where a compiled file cannot be read, instead of raising.

    Such a file of ours is removed: an interpreter that may write there makes it anew.
    """
    if sys.pycache_prefix:  # the launcher's way past one that it met itself
        sys.pycache_prefix = None
        for leaf in ("__init__", "start"):
            if _compiled(f"{FOLDER}/{leaf}.py", _cache(FOLDER, leaf)) is None:
                _forget(FOLDER, leaf)
    try:
        loader: Any = __import__("_frozen_importlib_external").SourceFileLoader
        read = loader.get_code
    except Exception:  # noqa: BLE001 (CPython's own affair)
        return

    def get_code(self: "Any", name: str) -> "CodeType":
        try:
            code: CodeType = read(self, name)
        except Exception:  # noqa: BLE001 (what is wrong with the source is said below)
            path: str = self.get_filename(name)
            code = self.source_to_code(self.get_data(path), path)
            place, _, file = path.rpartition("/")
            _forget(place, file.removesuffix(".py"))
        return code

    loader.get_code = get_code


def _cache(place: str, leaf: str) -> str:
    return f"{place}/__pycache__/{leaf}.{TAG}.pyc"


def _forget(place: str, leaf: str) -> None:
    path = _cache(place, leaf)
    CUT.append(path)
    if f"{place}/".startswith(f"{FOLDER}/"):
        try:
            posix.unlink(path)
        except OSError:
            return


def warnings() -> "list[str]":
    """Return a sentence for each compiled file that was not taken, once."""
    paths = CUT[:]
    CUT.clear()
    return [f"{path}: cannot be read, and its source was compiled instead" for path in paths]


def tell(log: "Log | None") -> None:
    """Write to the log which compiled files were not taken."""
    if log:
        for sentence in warnings():
            log.write("warning", sentence)


def preload(*names: str) -> None:
    """Load modules of ours that are about to be imported; stop at the first doubt."""
    if all(f"{PACKAGE}.{name}" in sys.modules for name in names):
        return
    codes = HOT.codes(names)
    for name in names:
        if not load(name, codes.get(name)):
            return


def load(name: str, code: "CodeType | None" = None) -> bool:
    """Load one module of the package, of its code if that is known; say whether it worked."""
    if f"{PACKAGE}.{name}" in sys.modules:
        return True
    package, _, leaf = name.rpartition(".")
    parent = f"{PACKAGE}.{package}" if package else PACKAGE
    place = f"{FOLDER}/{package}" if package else FOLDER
    if parent not in sys.modules:
        _make_package(parent, place)
    source = f"{place}/{leaf}.py"
    code = code or _compiled(source, _cache(place, leaf))
    if code is None:
        return False
    module = type(sys)(f"{PACKAGE}.{name}")
    module.__file__ = source
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


class Hot:
    """A file with the code of the hot path's modules; `compile.hot_path` makes it anew.

    It says nothing of lines, which a traceback shows, so that ``--debug`` does without it.
    """

    NAME, FORMAT = "hot_path", b"hot path v3\0"

    def __init__(self) -> None:
        self.path = _cache(FOLDER, self.NAME)
        self._descriptor = -1
        self._index: dict[str, tuple[Any, ...]] | None = None
        self.is_behind = False

    def _open(self) -> "dict[str, tuple[Any, ...]]":
        """Read the index of the file, which stays open: another may take its place meanwhile."""
        try:
            self._descriptor = posix.open(self.path, posix.O_RDONLY | posix.O_NONBLOCK)
            magic, size = posix.read(self._descriptor, 16), posix.read(self._descriptor, 4)
            text = posix.read(self._descriptor, int.from_bytes(size, "little"))
            if magic == MAGIC_NUMBER + self.FORMAT:
                return dict(marshal.loads(text))  # noqa: S302 (as trusted as the source)
        except Exception:  # noqa: BLE001, S110 (what marshal raises)
            pass
        self.is_behind = True
        return {}

    def load_library(self, name: str) -> None:
        """Load a module of CPython's that is a library, without a search for it.

        Where it was when the file was made counts for that interpreter alone.
        """
        try:
            if self._index is None:
                self._index = self._open()
            build, path = self._index[name]
            if build == sys.version and name not in sys.modules:
                spec = type(sys.__spec__)(name, None, origin=path)
                module = _imp.create_dynamic(spec)
                module.__spec__ = spec
                _imp.exec_dynamic(module)
                sys.modules[name] = module
        except Exception:  # noqa: BLE001 (`import` searches)
            return

    def is_to_be_made(self) -> bool:
        """Whether it is behind, and we may write it."""
        return (
            self.is_behind
            and MAGIC_NUMBER != b""
            and posix.access(self.path.rpartition("/")[0], posix.W_OK)
        )

    def codes(self, names: tuple[str, ...]) -> "dict[str, CodeType]":
        """Return the code of modules that are loaded together, if it is of these very sources."""
        if self._index is None:
            self._index = self._open()
        key = " ".join(names)
        if key not in self._index:  # what has no place there, or is not always loaded together
            return {}
        try:
            at, size, *stamps = self._index[key]
            for name, stamp in zip(names, stamps, strict=True):
                status = posix.stat(f"{FOLDER}/{name.replace('.', '/')}.py")
                if stamp != (status.st_mtime_ns, status.st_size):
                    raise ValueError("another source")
            if not IS_DEBUGGING:
                loaded = marshal.loads(posix.pread(self._descriptor, size, at))  # noqa: S302
                codes: dict[str, CodeType] = dict(zip(names, loaded, strict=True))
                if {type(code) for code in codes.values()} == {type(begin.__code__)}:
                    return codes
                raise ValueError("no code")
        except Exception:  # noqa: BLE001 (as above)
            self.is_behind = True
        return {}


# By a flag or a variable of one of our programs; where it is said that we are not, it costs time.
DEBUGGING = ("-d", "-debug", "--debug")
IS_DEBUGGING = (
    any(word.partition("=")[0] in DEBUGGING for word in sys.argv)
    or b"NVIDIA_CTK_DEBUG" in posix.environ
    or b"NVIDIA_CDI_DEBUG" in posix.environ
)
HOT = Hot()


def _compiled(source: str, compiled: str) -> "CodeType | None":
    """Read a compiled file if it is of this very source (PEP 552, by time and size)."""
    try:
        status = posix.stat(source)
        descriptor = posix.open(compiled, posix.O_RDONLY)
        try:
            data = posix.read(descriptor, posix.fstat(descriptor).st_size)
        finally:
            posix.close(descriptor)
    except (OSError, ValueError):
        return None
    words = int(status.st_mtime), status.st_size
    stamp = b"".join([(word & 0xFFFFFFFF).to_bytes(4, "little") for word in words])
    try:
        if data[:16] != MAGIC_NUMBER + b"\0\0\0\0" + stamp:
            return None
        code: CodeType = marshal.loads(memoryview(data)[16:])  # noqa: S302 (as above)
    except Exception:  # noqa: BLE001 (as above)
        return None
    return code if type(code) is type(begin.__code__) else None
