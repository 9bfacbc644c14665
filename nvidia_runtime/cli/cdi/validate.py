# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi validate: everything that is wrong with CDI specs, and what may be.

Ring: elsewhere.
"""

from __future__ import annotations

import os

from plumbum import cli

from nvidia_runtime.cdi import registry
from nvidia_runtime.cdi import spec as cdi_spec
from nvidia_runtime.cli import files, findings
from nvidia_runtime.cli.cdi import warnings
from nvidia_runtime.cli.cdi.dirs import WithSpecDirs
from nvidia_runtime.cli.findings import Finding
from nvidia_runtime.errors import NvidiaRuntimeError


class Validate(WithSpecDirs):
    """List all errors of CDI specs: of those given (- is stdin), or of this host's."""

    format = cli.SwitchAttr(
        ["--format"], cli.Set("text", "json", case_sensitive=True), "text", help="text or json"
    )

    def main(self, *file: str) -> int:
        """Print the findings on stdout, and how many there are on stderr; errors mean exit 1."""
        paths = list(file)
        if paths:
            found = [finding for path in paths for finding in _of_file(path)[0]]
        else:
            found, paths = _of_host(self.spec_dirs())
        if self.format == "json":
            print(findings.as_json(found, [files.name(path) for path in paths]))
        else:
            for finding in found:
                print(finding)
        errors = sum(finding.severity == "error" for finding in found)
        self.tell(
            f"checked {findings.counted(len(paths), 'file')}: {findings.counted(errors, 'error')}, "
            f"{findings.counted(len(found) - errors, 'warning')}"
        )
        return 1 if errors else 0


def _of_file(path: str) -> tuple[list[Finding], cdi_spec.Spec | None]:
    """List the findings of a spec file; return its spec too if it is valid."""
    name = files.name(path)
    try:
        data = files.read(path)
    except NvidiaRuntimeError as error:
        return [findings.of_error(error, name)], None
    if found := findings.of_cdi_spec(data, name):
        return found, None
    spec = cdi_spec.parse(data, name)
    return list(warnings.of_hooks(spec, name)), spec


def _of_host(dirs: list[str]) -> tuple[list[Finding], list[str]]:
    """List the findings of all spec dirs, and of what their specs say of the host."""
    host = registry.read(dirs)
    paths = [path for path, *_ in host.stamps if path not in dirs or os.path.isfile(path)]
    specs: dict[str, cdi_spec.Spec] = {}
    found = [finding for folder in dirs for finding in warnings.of_owner(folder)]
    for path in dict.fromkeys(paths):
        if not os.path.isfile(path):  # a FIFO would be waited for
            error = NvidiaRuntimeError("is no regular file that can be read", path)
            found.append(findings.of_error(error, path))
            continue
        of_file, spec = _of_file(path)
        found += of_file
        found += warnings.of_owner(path)
        if spec:
            specs[path] = spec
            found += warnings.of_host(spec, path)
    found += warnings.of_registry(host, specs, paths)
    found += warnings.of_dirs(dirs)
    return found, list(dict.fromkeys(paths))
