# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi validate: all errors of CDI specs, and warnings about this host."""

from __future__ import annotations

import os

from nvidia_runtime.cdi import registry
from nvidia_runtime.cdi import spec as cdi_spec
from nvidia_runtime.cli import files, findings
from nvidia_runtime.cli.cdi import warnings
from nvidia_runtime.cli.cdi.dirs import WithSpecDirs
from nvidia_runtime.cli.findings import Finding
from nvidia_runtime.cli.tables import cdi as tables
from nvidia_runtime.errors import NvidiaRuntimeError


class Validate(WithSpecDirs):
    """nvidia-ctk cdi validate."""

    table = tables.VALIDATE
    format: str

    def main(self, *file: str) -> int:
        """Print the findings on stdout and their number on stderr; return 1 if one is an error."""
        paths = list(file)
        if paths:
            results = [finding for path in paths for finding in _of_file(path)[0]]
        else:
            results, paths = _of_host(self.spec_dirs())
        names = [files.name(path) for path in paths]
        errors = findings.show(results, names, as_json=self.format == "json")
        self.tell(
            f"checked {findings.counted(len(paths), 'file')}: {findings.counted(errors, 'error')}, "
            f"{findings.counted(len(results) - errors, 'warning')}"
        )
        return 1 if errors else 0


def _of_file(path: str) -> tuple[list[Finding], cdi_spec.Spec | None]:
    """Return the findings of a file, and its spec if that is valid."""
    name = files.name(path)
    try:
        data = files.read(path)
    except NvidiaRuntimeError as error:
        return [findings.of_error(error, name)], None
    if results := findings.of_cdi_spec(data, name):
        return results, None
    spec = cdi_spec.parse(data, name)
    return list(warnings.of_hooks(spec, name)), spec


def _of_host(dirs: list[str]) -> tuple[list[Finding], list[str]]:
    """Return the findings of all spec dirs, with those about the host, and the files."""
    host = registry.read(dirs)
    paths = [path for path, *_ in host.stamps if path not in dirs or os.path.isfile(path)]
    specs: dict[str, cdi_spec.Spec] = {}
    results = [finding for folder in dirs for finding in warnings.of_owner(folder)]
    for path in dict.fromkeys(paths):
        if not os.path.isfile(path):  # reading a FIFO would wait
            error = NvidiaRuntimeError("is not a regular file", path)
            results.append(findings.of_error(error, path))
            continue
        of_file, spec = _of_file(path)
        results += of_file
        results += warnings.of_owner(path)
        if spec:
            specs[path] = spec
            results += warnings.of_host(spec, path)
            results += warnings.of_engines(spec, path)
    results += warnings.of_registry(host, specs, paths)
    results += warnings.of_dirs(dirs)
    return results, list(dict.fromkeys(paths))
