# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for NVIDIA's packages: their names, dependencies, files and scripts, not their programs.

As packaging/debian of https://github.com/NVIDIA/nvidia-container-toolkit has them: all depend on one
another by version, config.toml is written by a postinst, the file for the environment of the units
is a conffile, and a link in /usr/bin is made by a postinst and removed by a purge.
"""

from __future__ import annotations

from pathlib import Path

import nvidia_runtime

from . import images

VERSION = f"{nvidia_runtime.TOOLKIT}-1"
BASE, TOOLKIT = "nvidia-container-toolkit-base", "nvidia-container-toolkit"
EXTENSIONS = "nvidia-container-toolkit-operator-extensions"
LIBRARY, TOOLS = "libnvidia-container1", "libnvidia-container-tools"
REPLACED, KEPT = (TOOLKIT, BASE, EXTENSIONS), (TOOLS, LIBRARY)

THEIRS = "#!/bin/sh\necho a program of NVIDIA\n"
CTK = """#!/bin/sh
for word do case $word in --config-file=*) file=${word#*=} ;; esac; done
mkdir -p "${file%/*}"
[ -e "$file" ] || echo '# by NVIDIA' >"$file"
"""
ENVIRONMENT = "/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env"
UNITS = ("nvidia-cdi-refresh.service", "nvidia-cdi-refresh.path")
SCRIPTS = {
    BASE: {
        "postinst": "nvidia-ctk --quiet config"
        " --config-file=/etc/nvidia-container-runtime/config.toml --in-place",
    },
    TOOLKIT: {
        "postinst": "[ -e /usr/bin/nvidia-container-toolkit ] || ln -s"
        " /usr/bin/nvidia-container-runtime-hook /usr/bin/nvidia-container-toolkit",
        "postrm": '[ "$1" != purge ] || [ ! -L /usr/bin/nvidia-container-toolkit ] ||'
        " rm /usr/bin/nvidia-container-toolkit",
    },
}
FILES: dict[str, dict[str, str]] = {
    BASE: {
        "/usr/bin/nvidia-container-runtime": THEIRS,
        "/usr/bin/nvidia-ctk": CTK,
        "/usr/bin/nvidia-cdi-hook": THEIRS,
        ENVIRONMENT: "# settings\n",
        "/lib/udev/rules.d/99-nvidia-cdi-refresh.rules": "# theirs\n",
        **{f"/lib/systemd/system/{name}": "# theirs\n" for name in UNITS},
    },
    TOOLKIT: {"/usr/bin/nvidia-container-runtime-hook": THEIRS},
    EXTENSIONS: {f"/usr/bin/nvidia-container-runtime.{mode}": THEIRS for mode in ("cdi", "legacy")},
    TOOLS: {"/usr/bin/nvidia-container-cli": THEIRS},
    LIBRARY: {"/usr/lib/x86_64-linux-gnu/libnvidia-container.so.1.20.1": "a library\n"},
}
NEEDS = {
    TOOLKIT: f"{BASE} (= {VERSION}), {TOOLS} (= {VERSION})",
    EXTENSIONS: f"{BASE} (= {VERSION})",
    TOOLS: f"{LIBRARY} (= {VERSION})",
}


def build(folder: Path) -> list[Path]:
    """Build all of them into a folder."""
    return [_package(folder, name) for name in FILES]


def _package(folder: Path, name: str) -> Path:
    root = folder / name
    for path, text in FILES[name].items():
        file = root / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if "/bin/" in path else 0o644)
    control = root / "DEBIAN"
    control.mkdir()
    fields = [
        f"Package: {name}",
        f"Version: {VERSION}",
        "Architecture: amd64",
        "Maintainer: Nobody <nobody@example.org>",
        *([f"Depends: {NEEDS[name]}"] if name in NEEDS else []),
        "Description: a stand-in",
    ]
    (control / "control").write_text("".join(f"{line}\n" for line in fields))
    if ENVIRONMENT in FILES[name]:
        (control / "conffiles").write_text(f"{ENVIRONMENT}\n")
    for script, line in SCRIPTS.get(name, {}).items():
        (control / script).write_text(f"#!/bin/sh\nset -e\n{line}\n")
        (control / script).chmod(0o755)
    file = folder / f"{name}_{VERSION}_amd64.deb"
    images.run("dpkg-deb", "--root-owner-group", "--build", root, file)
    return file
