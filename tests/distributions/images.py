# SPDX-License-Identifier: Apache-2.0
"""Root file systems of distributions, made once and kept in the user's cache folder.

They are never changed: containers get an overlay over them.  debootstrap fetches Debian's; the
others are put together from this machine's own packages.
"""

from __future__ import annotations

import fcntl
import functools
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

MIRROR = "http://deb.debian.org/debian"
# Counts up where what is kept has to be made anew.
EDITION = 1
PATIENCE = 400.0  # seconds for one distribution, on a slow network
APPLETS = ("cat", "env", "find", "ls", "readlink", "sh", "sleep", "stat", "true")
NEEDLESS = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt")
# A program that says of each of its words whether the loader has a library of that name.
DLOPEN = r"""
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **words) {
  for (int i = 1; i < count; i++)
    printf("dlopen %s %s\n", words[i], dlopen(words[i], RTLD_LAZY) ? "loads" : dlerror());
  return 0;
}
"""
# Where CUDA's compatibility library says which drivers it works with.
SECTION, OWNER = ".note.cuda.fwd_compatibility", "NVIDIA Corporation"
STUB = "int nvcr_stub(void) { return 1; }\n"
CONTROL = """\
Package: libnvcrstub1
Version: 1.2
Architecture: amd64
Maintainer: Nobody <nobody@example.org>
Description: a library that does nothing
"""
Recipe = Callable[[Path], None]
# glibc's folders as Fedora has them: as long as Debian's, which they replace in the binaries.
FEDORA = {
    b"/usr/lib/x86_64-linux-gnu": b"/usr/lib64",
    b"/lib/x86_64-linux-gnu": b"/lib64",
}


def cache() -> Path:
    """Return the folder in which they are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "nvidia-container-runtime-tests")


@functools.cache
def get(name: str, recipe: Recipe | None = None) -> Path:
    """Return a root file system, made if it is not there yet; skip where that cannot be.

    ``recipe`` is for one that is not among these.
    """
    folder = cache() / f"{name}-{EDITION}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of this run may be making it
        if not folder.exists():
            draft = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=folder.parent))
            try:
                draft.chmod(0o755)
                (recipe or RECIPES[name])(draft)
                draft.rename(folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    return folder


def need(program: str, package: str) -> str:
    """Find a program, or skip and name its package."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    return path or pytest.skip(f"{program} is not installed: apt-get install {package}")


def run(*words: str | Path, text: str | None = None) -> None:
    """Run a program that makes a part of an image; skip with what it said where it fails."""
    done = subprocess.run(
        words, input=text, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        pytest.skip(f"{words[0]} cannot make the image: it says {said[-1]}")


def debian(suite: str, *options: str) -> Recipe:
    """Return the recipe of a minimal Debian, as debootstrap makes it."""

    def make(folder: Path) -> None:
        if platform.machine() != "x86_64":
            pytest.skip("the images are of x86_64")
        program = need("debootstrap", "debootstrap")
        run(program, "--variant=minbase", *options, suite, folder, MIRROR)
        for path in NEEDLESS:
            shutil.rmtree(folder / path, ignore_errors=True)

    return make


def busybox(folder: Path) -> None:
    """Make a root with busybox and no loader at all, not even a /etc."""
    program = need("busybox", "busybox-static")
    for name in ("bin", "dev", "proc", "sys", "tmp"):
        (folder / name).mkdir()
    shutil.copy2(program, folder / "bin/busybox")
    for applet in APPLETS:
        (folder / "bin" / applet).symlink_to("busybox")


def musl(folder: Path) -> None:
    """Make a root with musl's loader as Alpine has it: without a path file."""
    compiler = need("musl-gcc", "musl-tools")
    busybox(folder)
    for name in ("etc", "lib", "usr/lib", "usr/local/lib"):
        (folder / name).mkdir(parents=True)
    loader = folder / f"lib/ld-musl-{platform.machine()}.so.1"
    shutil.copy2(f"/usr/lib/{platform.machine()}-linux-musl/libc.so", loader)
    run(compiler, "-x", "c", "-", "-o", folder / "bin/dlopen", text=DLOPEN)
    (folder / "etc/alpine-release").write_text("3.20.0\n")


def lib64(folder: Path) -> None:
    """Make a root as Fedora's: bookworm's programs, with a loader that looks into /usr/lib64."""
    run("cp", "-a", f"{get('bookworm')}/.", folder)
    libraries = folder / "usr/lib/x86_64-linux-gnu"
    run("find", folder / "usr/lib64", "-type", "l", "-delete")
    for path in [*libraries.glob("*.so"), *libraries.glob("*.so.*")]:
        path.rename(folder / "usr/lib64" / path.name)
    relink(folder / "usr/lib64/ld-linux-x86-64.so.2")
    relink(folder / "usr/sbin/ldconfig")
    shutil.rmtree(folder / "etc/ld.so.conf.d")
    (folder / "etc/ld.so.conf.d").mkdir()
    (folder / "etc/ld.so.cache").unlink()
    (folder / "etc/debian_version").unlink()
    run("chroot", folder, "/sbin/ldconfig")


def relink(program: Path) -> None:
    """Replace the folders that a program of glibc has compiled in; slashes fill up the length."""
    data = program.read_bytes()
    for old, new in FEDORA.items():
        data = data.replace(old + b"/\0", new.ljust(len(old), b"/") + b"/\0")
        data = data.replace(old + b"\0", new.ljust(len(old), b"/") + b"\0")
    program.write_bytes(data)


def stub(folder: Path, *options: str) -> Path:
    """Compile a library that needs no other one, of the soname libnvcrstub.so.1."""
    path = folder / "libnvcrstub.so.1.2"
    soname = "-Wl,-soname,libnvcrstub.so.1"
    compiler = need("gcc", "gcc")
    run(compiler, "-shared", "-nostdlib", soname, *options, "-x", "c", "-", "-o", path, text=STUB)
    return path


def libcuda(folder: Path, version: str, note: str) -> Path:
    """Compile a libcuda of a version, as CUDA's images have one: with a note, "" for none."""
    text = STUB
    if note:
        section = f".section {SECTION}" + r",\"a\",@note"
        escaped = note.replace('"', r"\\\"")
        text += (
            f'__asm__("{section}\\n.balign 4\\n.long {len(OWNER) + 1}, {len(note)}, 1\\n'
            rf'.asciz \"{OWNER}\"\n.balign 4\n.ascii \"{escaped}\"\n.balign 4\n.text");' + "\n"
        )
    path = folder / f"libcuda.so.{version}"
    soname = "-Wl,-soname,libcuda.so.1"
    compiler = need("gcc", "gcc")
    run(compiler, "-shared", "-nostdlib", soname, "-x", "c", "-", "-o", path, text=text)
    return path


def package(folder: Path) -> Path:
    """Build a Debian package with a library and its trigger, as any library package has them."""
    root = folder / "package"
    library = root / "usr/lib/x86_64-linux-gnu"
    library.mkdir(parents=True)
    stub(library)
    (library / "libnvcrstub.so.1").symlink_to("libnvcrstub.so.1.2")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(CONTROL)
    (root / "DEBIAN/triggers").write_text("activate-noawait ldconfig\n")
    run(need("dpkg-deb", "dpkg"), "--build", root, folder / "package.deb")
    return folder / "package.deb"


RECIPES: dict[str, Recipe] = {
    "bookworm": debian("bookworm"),
    "musl": musl,
    "busybox": busybox,
    "bullseye": debian("bullseye"),
    "trixie": debian("trixie"),
    "sid": debian("sid"),
    "split": debian("bookworm", "--no-merged-usr"),
    "i386": debian("bookworm", "--arch=i386"),
    "lib64": lib64,
}
