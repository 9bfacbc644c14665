# SPDX-License-Identifier: Apache-2.0
"""The CDI hook as it would be if images were trusted: paths are joined, links followed.

The suite shows each attack against it first.  It is one file without imports of ours, and refuses
to touch anything outside of the scratch folder: it says what it would have done, and exits with 99.
Its words: the scratch folder and the container's root; on stdin a JSON list of mount targets,
sources of mounts that the container may write to, the user's volumes, variables, and calls.
"""

import glob
import json  # found in the working folder, which is the image's root
import os
import re
import subprocess
import sys

OUTSIDE = 99


def place(path: str) -> str:
    """Return where a path of the container is on the host, with every link followed."""
    real = os.path.realpath(os.path.join(ROOT, path.lstrip("/")))
    if not real.startswith(SCRATCH + "/"):
        print(f"would have touched {real}")
        sys.exit(OUTSIDE)
    return real


def make_target(path: str) -> None:
    """Make the empty file over which one is mounted."""
    target = place(path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    open(target, "ab").close()


def create_symlinks(values: list[str]) -> None:
    for value in values:
        target, link = value.split("::")
        folder = place(os.path.dirname(link))
        os.makedirs(folder, exist_ok=True)
        name = os.path.join(folder, os.path.basename(link))
        if os.path.lexists(name):
            os.remove(name)
        os.symlink(target, name)


def write(path: str, text: str) -> None:
    file = place(path)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "w") as stream:
        stream.write(text)


def read(path: str) -> bytes:
    with open(place(path), "rb") as file:
        return file.read()


def included(path: str) -> str:
    """Read ld.so.conf with all that it includes."""
    try:
        text = read(path).decode("latin-1")
    except (FileNotFoundError, IsADirectoryError):
        return ""
    for line in text.splitlines():
        if line.startswith("include "):
            for pattern in line.split()[1:]:
                for file in glob.glob(pattern if os.path.exists(pattern) else ROOT + pattern):
                    text += included(file.removeprefix(ROOT) if ROOT in file else outside(file))
    return text


def outside(path: str) -> str:
    """Name a file of the host as if the container had it."""
    return os.path.relpath(path, ROOT)


def soname(data: bytes) -> str:
    """Find a name in a library, without looking too closely."""
    names = re.findall(rb"\0([^\0]*\.so\.1)\0", data)
    return names[0].decode("latin-1") if names else ""


def update_ldcache(folders: list[str]) -> None:
    for name in ("sbin/ldconfig.real", "sbin/ldconfig"):
        if os.path.exists(f"{ROOT}/{name}"):
            subprocess.run([f"{ROOT}/{name}"], check=False)
            break
    write("/etc/ld.so.conf.d/00-nvcr.conf", included("/etc/ld.so.conf") + "\n".join(folders))
    if os.path.exists(place("/etc/ld.so.cache")):
        sys.set_int_max_str_digits(0)
        cache = read("/etc/ld.so.cache")
        for digits in re.findall(rb"\d+", cache):
            int(digits)
        while b"//" in cache:
            cache = cache.replace(b"//", b"/", 1)
    for folder in folders:
        for name in sorted(os.listdir(place(folder))):
            if name.startswith("lib") and not os.path.islink(f"{place(folder)}/{name}"):
                link = os.path.join(place(folder), soname(read(f"{folder}/{name}")))
                if not os.path.lexists(link):
                    os.symlink(name, link)
    write("/etc/ld.so.cache", "all that ldconfig would write")


def enable_cuda_compat(folder: str) -> None:
    for path in glob.glob(f"{ROOT}{folder}/libcuda.so.*.*"):
        with open(path, "rb") as library:  # and have it mounted where the loader looks
            data = library.read()
        write("/usr/lib/compat.so", data.decode("latin-1"))
        write("/etc/ld.so.conf.d/00-compat.conf", folder)


def chmod(mode: str, paths: list[str]) -> None:
    for path in paths:
        os.chmod(place(path), int(mode, 8))


def update_application_profile() -> None:
    if glob.glob(f"{ROOT}/dev/nvidia*"):
        write("/etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf", "{}")


def read_channels(env: list[str]) -> list[str]:
    channels: list[str] = []
    for entry in env:
        name, _, value = entry.partition("=")
        for channel in value.split(",") if name == "NVIDIA_IMEX_CHANNELS" else ():
            if channel not in channels:
                channels.append(channel)
    return channels


def carry_out(verb: str, *words: str) -> None:
    """Do one call."""
    pairs = [word.split("=", 1) if "=" in word else None for word in words]
    flags: dict[str, list[str]] = {}
    for at, word in enumerate(words):
        pair = pairs[at]
        if pair and word.startswith("--"):
            flags.setdefault(pair[0], []).append(pair[1])
        elif word.startswith("--"):
            flags.setdefault(word, []).append(words[at + 1])
    if verb == "create-symlinks":
        create_symlinks(flags["--link"])
    elif verb == "update-ldcache":
        update_ldcache(flags["--folder"])
    elif verb == "enable-cuda-compat":
        enable_cuda_compat(flags.get("--cuda-compat-container-root", ["/usr/local/cuda/compat"])[0])
    elif verb == "chmod":
        chmod(flags["--mode"][0], flags["--path"])
    elif verb == "update-application-profile":
        update_application_profile()


if __name__ == "__main__":
    SCRATCH, ROOT = sys.argv[1:3]
    mounts, shared, volumes, env, calls = json.load(sys.stdin)
    read_channels(env)
    for mount in mounts:
        make_target(mount)
    for source in shared:  # as the container will, below its mount
        write(os.path.relpath(source, ROOT) + "/by-the-container", "")
    for source, target in volumes:
        if ".so" in target:
            soname(read(source))
    for call in calls:
        carry_out(*call)
