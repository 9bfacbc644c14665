# SPDX-License-Identifier: Apache-2.0
"""The verb enable-cuda-compat: let the loader find an image's newer libcuda where it fits."""

import posix

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.rootfs import cuda_compat, loader_config, resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.prepare.container import Container
    from nvidia_runtime.prepare.verbs import Step
    from nvidia_runtime.prepare.work import Planning
    from nvidia_runtime.rootfs.ldcache import Row
    from nvidia_runtime.rootfs.loader import Loader


def plan(planning: "Planning", step: "Step") -> None:
    """Plan the comparison: the image is looked at when the work is done."""
    driver, cuda, folder = _flags(step)
    if not driver and not cuda:
        return
    places = f"{folder}/", f"{loader_config.FOLDER}/", loader_config.CACHE
    if not planning.leave_covered(step, places):
        planning.work.compat = (driver, cuda, folder)


def rows(loader: "Loader", compat: tuple[str, str, str], gone: list[bytes]) -> "list[Row]":
    """Compare on the host; return the rows of the image's libraries, which come first.

    What an earlier start decided, with an older driver, is taken back: paths are added to ``gone``.
    """
    decided = cuda_compat.decide(loader.root, *compat)
    used = "used" if decided.folder else "not used"
    loader.done.append(f"CUDA compatibility libraries {used}: {decided.reason}")
    if decided.folder:
        loader_config.write(loader.root, loader_config.COMPAT, [decided.folder])
        return loader.scan_folder(decided.folder)
    for folder in loader_config.remove(loader.root, loader_config.COMPAT):
        start = resolver.encode(folder) + b"/"
        gone += [path for path in loader.paths() if path.startswith(start)]
    return []


def run(container: "Container", step: "Step") -> None:
    """Compare, and name the folder to the loader, whose cache is written by a later verb."""
    driver, cuda, folder = _flags(step)
    if not driver and not cuda:
        return
    root = container.root(step)
    decided = cuda_compat.decide(root, driver, cuda, folder)
    container.done.append(f"compatibility: {decided.reason}")
    if not decided.folder:
        return
    umask = posix.umask(0o077)
    posix.umask(umask)
    mode = resolver.FOLDER_MODE & ~umask  # of folders, as the caller wants them
    try:
        loader_config.write(root, loader_config.COMPAT, [decided.folder], mode)
    except OSError as error:  # of which the name is a part of the path, or a temporary file's
        where = f"{loader_config.FOLDER}/{loader_config.COMPAT}"
        what = f"cannot be written: {os_reason(error)}"
        raise NvidiaRuntimeError(what, where=where) from None


def _flags(step: "Step") -> tuple[str, str, str]:
    """Return the versions of the host's driver and CUDA, and the folder in the image."""
    folder = step.texts.get("cuda-compat-container-root") or cuda_compat.FOLDER
    driver = step.texts.get("host-driver-version", "")
    return driver, step.texts.get("host-cuda-version", ""), folder
