# SPDX-License-Identifier: Apache-2.0
"""What a CDI spec lacks, and what it should not have in it."""

from __future__ import annotations

import os
import shlex

from nvidia_runtime.cdi import registry
from nvidia_runtime.doctor.finding import NOTE, WARNING, Code, Finding
from nvidia_runtime.doctor.specs import faults, regeneration
from nvidia_runtime.errors import some
from nvidia_runtime.generate import changes
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.host import shared_places
from nvidia_runtime.sources import renew
from nvidia_runtime.store.files import NO_CUDA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.cdi.registry import SpecFile
    from nvidia_runtime.doctor.specs.files import Specs

# What containers need of the driver beside libcuda, and what for.
CLASSES = {
    "libnvidia-ml": "nvidia-smi and NVML",
    "libnvidia-ptxjitcompiler": "CUDA programs that are compiled when they start",
    "libnvidia-nvvm": "CUDA programs that are compiled when they start",
    "libnvidia-opencl": "OpenCL",
    "libnvidia-encode": "video encoding",
    "libnvcuvid": "video decoding",
    "libGLX_nvidia": "OpenGL and Vulkan",
    "libEGL_nvidia": "EGL",
    "libnvidia-glcore": "OpenGL and Vulkan",
    "libnvidia-eglcore": "EGL",
    "libnvidia-tls": "OpenGL",
    "libnvidia-rtcore": "ray tracing",
    "libnvoptix": "OptiX",
}
# A mount over one of these hides what the container is made of, or shows what is the kernel's.
SYSTEM = ("/", "/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr", "/var")

BARE_HOOK = Code(
    "NCT-0321",
    WARNING,
    "hooks of a CDI spec get the container's environment",
    """
    A hook without variables of its own inherits those of the image under runc before 1.3: an image
    that sets LD_PRELOAD then runs its own code as root of this machine (CVE-2025-23266,
    NVIDIAScape).  Specs that a toolkit before 1.17.8 wrote stay so after the update of the toolkit.

    Our own runtime gives such hooks an environment; other engines do not.
    """,
    "Generate it anew: 'nvidia-ctk cdi generate --output=FILE'.",
)
RELATIVE = Code(
    "NCT-0322",
    WARNING,
    "a CDI spec names a hook program without its folder",
    "Which program that is depends on the working directory, which may be the container's.",
    "Write the whole path, or generate the spec anew.",
)
SHARED = Code(
    "NCT-0323",
    WARNING,
    "a CDI spec mounts what any user may put there",
    """
    The path leads through a folder in which everybody may make files, such as /tmp/nvidia-mps.
    After a restart any user can put a link there, and containers get what it leads to: any folder
    of this machine, to read and to write.  Our own runtime looks at such a path at each create, and
    leaves a stranger's link out; other engines mount it.
    """,
    """
    Generate the spec anew, which leaves it out unless '--feature-flag=enable-mps-pipes' is given;
    or give MPS a folder of root's (CUDA_MPS_PIPE_DIRECTORY).
    """,
)
SYSTEM_MOUNT = Code(
    "NCT-0324",
    WARNING,
    "a CDI spec mounts a whole folder of the system",
    """
    A spec of GPUs mounts files of the driver.  This one covers a folder that the container consists
    of, or shows it one of the whole machine: with it the container is not kept apart, or does not
    start.
    """,
    "Write the files that are needed into it instead, or generate it anew.",
)
NO_LIBCUDA = Code(
    "NCT-0325",
    WARNING,
    "a CDI spec lacks libcuda",
    """
    The spec mounts the driver's libraries, but not libcuda: it was written while the driver was
    being installed, or by a generator that did not find it.  nvidia-smi works in containers;
    CUDA programs say 'libcuda.so.1: cannot open shared object file', 'no CUDA-capable device is
    detected', or torch.cuda.is_available() is False.
    """,
    "Generate it anew: 'nvidia-ctk cdi generate --output=FILE'.",
)
INCOMPLETE = Code(
    "NCT-0326",
    NOTE,
    "a CDI spec lacks libraries that the driver has here",
    """
    Beside the libraries that the spec mounts there are others of the same driver, for graphics,
    video or compilers.  They were installed after the spec had been written, or its generator did
    not find them.
    """,
    "If containers need them: 'nvidia-ctk cdi generate --output=FILE'.",
)
WRITABLE_HOOK = Code(
    "NCT-0327",
    WARNING,
    "others than root can change a hook program of a CDI spec",
    """
    Root runs the program for each container with the devices of the spec.  Who can change it, or
    its folder, is root on this machine.
    """,
    "'chown root:root FILE' and 'chmod go-w FILE', and the same for the folder.",
)
CODES = (BARE_HOOK, RELATIVE, SHARED, SYSTEM_MOUNT, NO_LIBCUDA, INCOMPLETE, WRITABLE_HOOK)


def check(specs: Specs, file: SpecFile) -> Iterator[Finding]:
    """Look at what a spec has in it."""
    spec = file.spec
    command, fix = regeneration.of(file)
    severity, engine = specs.weight(spec["kind"], is_ours=fix is not None)
    if bare := faults.bare_hooks(spec):
        what = f"{len(bare)} of its hooks {'has' if len(bare) == 1 else 'have'} no variables"
        where = f"{file.path}: {bare[0][0]}.env"
        yield Finding(code=BARE_HOOK, what=what, where=where, command=command, fix=fix)
    for place, path in faults.relative_hooks(spec)[:1]:
        what, where = f"{path!r} is relative", f"{file.path}: {place}.path"
        yield Finding(code=RELATIVE, what=what, where=where, command=command)
    yield from _writable_hooks(file)
    if shared := shared_places.of_mounts(changes.mounts(spec)):
        what = f"{some(sorted(shared))} {'is' if len(shared) == 1 else 'are'} open to everybody"
        yield Finding(code=SHARED, what=what, where=file.path, command=command, fix=fix)
    yield from _system_mounts(file, command)
    if library := changes.missing_cuda(spec):
        yield Finding(
            code=NO_LIBCUDA,
            what=f"it lacks {library}: {NO_CUDA}",
            where=file.path,
            command=command if os.path.exists(library) else "",
            severity=severity,
            engine=engine,
            fix=fix if os.path.exists(library) else None,
        )
    if missing := _missing_classes(file):
        uses = "; ".join(dict.fromkeys(CLASSES[name.partition(".so")[0]] for name in missing))
        what = f"it lacks {some(missing)}, for {uses}"
        yield Finding(code=INCOMPLETE, what=what, where=file.path, command=command, fix=fix)


def _writable_hooks(file: SpecFile) -> Iterator[Finding]:
    hooks = {hook["path"]: place for place, hook in faults.items(file.spec, "hooks")}
    for path, place in hooks.items():
        program = os.path.realpath(path)
        for at in registry.places(program) if os.path.isfile(program) else ():
            for doubt in registry.doubts(at):
                word = shlex.quote(at)
                yield Finding(
                    code=WRITABLE_HOOK,
                    what=f"{at} {doubt}",
                    where=f"{file.path}: {place}.path",
                    command=f"chown root:root {word}; chmod go-w {word}",
                )


def _system_mounts(file: SpecFile, command: str) -> Iterator[Finding]:
    for place, mount in faults.items(file.spec, "mounts"):
        target = os.path.normpath(mount["containerPath"])
        source = os.path.normpath(mount["hostPath"])
        if target in SYSTEM or source in SYSTEM:
            what = f"it mounts {source} of this machine at {target}"
            where = f"{file.path}: {place}"
            yield Finding(code=SYSTEM_MOUNT, what=what, where=where, command=command)


def _missing_classes(file: SpecFile) -> list[str]:
    """Return the libraries beside those that a spec mounts which it lacks, of the same version."""
    version = changes.driver_version(file.spec)
    if not version or file.spec["kind"] != renew.GPU:
        return []
    ending = f".so.{version}"
    paths = [path for path in changes.mounts(file.spec) if path.endswith(ending)]
    mounted = {os.path.basename(path) for path in paths}
    present = {name for folder in map(os.path.dirname, paths) for name in driver_root.names(folder)}
    return [stem + ending for stem in CLASSES if stem + ending in present - mounted]
