# SPDX-License-Identifier: Apache-2.0
"""The verbs of nvidia-cdi-hook, each carried out on a container's root.  Ring: hook."""

import posix

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.hooks import container
from nvidia_runtime.rootfs import links, resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.prepare.verbs import Step
    from nvidia_runtime.rootfs.resolver import Place


class Call:
    """One run: the container's root, opened when it is first needed, and what there is to say."""

    __slots__ = ("_root", "done", "warnings")

    def __init__(self, warnings: list[str], done: list[str]) -> None:
        self.warnings = warnings
        self.done = done
        self._root: "Place | None" = None

    def root(self, step: "Step") -> "Place":
        """Return the root of the container; stdin can be read once."""
        if self._root is None:
            path = container.root_path(step.texts.get("container-spec", ""))
            self._root = container.open_root(path)
        return self._root


def carry_out(steps: "list[Step]", warnings: list[str], done: list[str]) -> None:
    """Do the steps in their order; what is done, and what is left undone, is added to the lists."""
    call = Call(warnings, done)
    for step in steps:
        _VERBS[step.verb](step, call)


def _noop(step: "Step", call: Call) -> None:
    del step, call


def _create_symlinks(step: "Step", call: Call) -> None:
    specifications = step.all("link")
    if not specifications:
        return
    root = call.root(step)
    for specification in specifications:
        target, path = links.parse(specification)
        if links.make(root, path, target):
            call.done.append(f"linked {path} to {target}")


def _chmod(step: "Step", call: Call) -> None:
    from nvidia_runtime.rootfs import modes  # deprecated: few specs have it

    text = step.texts.get("mode", "")
    if not text:
        raise NvidiaRuntimeError("a mode must be given", where="--mode")
    if not text.isascii() or text.strip("01234567") or len(text) > 5:
        raise NvidiaRuntimeError(f"must be an octal number, not {text!r}", where="--mode")
    paths = step.all("path")
    if "" in paths:
        raise NvidiaRuntimeError("must not be empty", where="--path")
    for path in paths:
        if modes.change(call.root(step), path, int(text, 8) & 0o777):
            call.done.append(f"changed the mode of {path} to {text}")


def _update_ldcache(step: "Step", call: Call) -> None:
    from nvidia_runtime.rootfs import loader  # other verbs do without

    _check_ldconfig(step)
    root = call.root(step)
    folders = [folder for folder in step.all("folder") if folder]
    call.done += loader.update(root, folders, call.warnings)


def _check_ldconfig(step: "Step") -> None:
    """Refuse an ldconfig that is not there, as who names one would expect; it is never run."""
    path = step.texts.get("ldconfig-path")
    if path is None:
        return
    where = "--ldconfig-path"
    if not path:
        raise NvidiaRuntimeError("must not be empty", where=where)
    try:
        posix.stat(path)
    except (OSError, ValueError):
        raise NvidiaRuntimeError(f"there is no {path} on this host", where=where) from None


def _enable_cuda_compat(step: "Step", call: Call) -> None:
    driver = step.texts.get("host-driver-version", "")
    cuda = step.texts.get("host-cuda-version", "")
    if not driver and not cuda:
        return
    from nvidia_runtime.rootfs import cuda_compat, loader_config  # other verbs do without

    root = call.root(step)
    folder = step.texts.get("cuda-compat-container-root") or cuda_compat.FOLDER
    found = cuda_compat.decide(root, driver, cuda, folder)
    call.done.append(f"compatibility: {found.reason}")
    if found.folder:
        umask = posix.umask(0o077)
        posix.umask(umask)
        mode = resolver.FOLDER_MODE & ~umask  # of folders, as the caller wants them
        try:
            loader_config.write(root, loader_config.COMPAT, [found.folder], mode)
        except OSError as error:
            where = f"{loader_config.FOLDER}/{loader_config.COMPAT}"
            raise _unwritten(where, error) from None


def _update_application_profile(step: "Step", call: Call) -> None:
    from nvidia_runtime.rootfs import application_profile  # other verbs do without

    root = call.root(step)
    minors = application_profile.minors(root)
    for minor in minors:
        if minor >= application_profile.MOST_MINORS:
            call.warnings.append(f"no application profile has room for GPU {minor}")
    try:
        if application_profile.write(root, minors):
            call.done.append(f"wrote an application profile for GPUs {minors}")
    except OSError as error:
        where = f"{application_profile.FOLDER}/{application_profile.NAME}"
        raise _unwritten(where, error) from None


def _unwritten(path: str, error: OSError) -> NvidiaRuntimeError:
    """Name the container's own path; the system names a part of it, or a temporary file."""
    return NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", where=path)


def _disable_device_node_modification(step: "Step", call: Call) -> None:
    from nvidia_runtime.rootfs import driver_parameters  # other verbs do without

    text = driver_parameters.without_modification()
    if not text:
        return
    root = call.root(step)
    from nvidia_runtime.hooks import parameters_mount  # 4 ms: ctypes

    parameters_mount.cover(root, driver_parameters.PATH, text)
    call.done.append(f"covered {driver_parameters.PATH}")


_VERBS = {
    "chmod": _chmod,
    "create-symlinks": _create_symlinks,
    "disable-device-node-modification": _disable_device_node_modification,
    "enable-cuda-compat": _enable_cuda_compat,
    "noop": _noop,
    "update-application-profile": _update_application_profile,
    "update-ldcache": _update_ldcache,
}
