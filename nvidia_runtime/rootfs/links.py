# SPDX-License-Identifier: Apache-2.0
"""Symbolic links in a container, as CDI specs and the driver want them."""

import errno
import posix

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.rootfs import files, resolver

SEPARATOR = "::"


def parse(specification: str) -> tuple[str, str]:
    """Split ``TARGET::LINK``; raises `NvidiaRuntimeError` for anything else."""
    parts = specification.split(SEPARATOR)
    if len(parts) != 2:
        what = f"invalid symlink specification {specification!r}"
        raise NvidiaRuntimeError(what, where="--link", hint=f"write TARGET{SEPARATOR}LINK")
    return parts[0], _clean(parts[1])


def _clean(path: str) -> str:
    """Clean a path by its words alone, as the toolkit's hook does: /d/ is a link /d."""
    if path[:1] == "/" and path[-1:] != "/" and "//" not in path and "/." not in path:
        return path  # as most are
    names: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    return "/" + "/".join(names)


def make_all(root: resolver.Place, wanted: list[tuple[str, str]], warnings: list[str]) -> int:
    """Make links, each a path and a target; say how many were not there.

    What has the name is replaced, but for a folder.  The target is text: it is never followed here.
    Links beside each other are made in one folder, which is looked up once.  On a read-only volume
    there are none, which is a warning: most programs do without.
    """
    count = 0
    opened: dict[str, resolver.Place] = {}
    try:
        for path, target in wanted:
            folder, _, name = path.rpartition("/")
            try:
                if folder not in opened:
                    opened[folder] = resolver.walk_to(root, path, make=True)[0]
                elif name in ("", ".", "..") or "\0" in name:
                    raise ValueError(f"{path!r} names no file")
                count += files.link(opened[folder], name, target)
            except (OSError, ValueError) as error:
                failure = _failure(path, target, error)
                if not (isinstance(error, OSError) and error.errno == errno.EROFS):
                    raise failure from None
                warnings.append(str(failure))
    finally:
        for place in opened.values():
            posix.close(place.descriptor)
    return count


def _failure(path: str, target: str, error: OSError | ValueError) -> NvidiaRuntimeError:
    what = f"cannot be linked to {target!r}: {os_reason(error)}"
    return NvidiaRuntimeError(what, where=path)
