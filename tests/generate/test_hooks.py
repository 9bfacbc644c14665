# SPDX-License-Identifier: Apache-2.0
"""The form of hook entries."""

from __future__ import annotations

import pytest

from nvidia_runtime.generate import hooks


@pytest.mark.parametrize(
    ("program", "args"),
    [
        ("/usr/bin/nvidia-ctk", ["nvidia-ctk", "hook", "chmod", "--mode", "755"]),
        ("/usr/bin/nvidia-cdi-hook", ["nvidia-cdi-hook", "chmod", "--mode", "755"]),
        ("/opt/my-ctk", ["my-ctk", "chmod", "--mode", "755"]),
    ],
)
def test_hook(program: str, args: list[str]) -> None:
    assert hooks.hook(program, "chmod", "--mode", "755") == {
        "hookName": "createContainer",
        "path": program,
        "args": args,
        "env": ["NVIDIA_CTK_DEBUG=false"],
    }


def test_create_symlinks_names_each_link_once() -> None:
    links = [("/lib/a.so", "a.so.1"), ("/lib/b.so", "b.so.1"), ("/lib/a.so", "a.so.1")]
    (hook,) = hooks.create_symlinks("/x/nvidia-cdi-hook", links)

    assert hook["args"][2:] == ["--link", "a.so.1::/lib/a.so", "--link", "b.so.1::/lib/b.so"]


def test_no_links_no_hook() -> None:
    assert hooks.create_symlinks("/x/nvidia-cdi-hook", []) == []


def test_enable_cuda_compat() -> None:
    hook = hooks.enable_cuda_compat("/x/nvidia-cdi-hook", "550.54.15")

    assert hook["args"][1:] == ["enable-cuda-compat", "--host-driver-version=550.54.15"]


def test_update_ldcache() -> None:
    hook = hooks.update_ldcache("/x/nvidia-cdi-hook", ["/lib", "/opt"])

    assert hook["args"][1:] == ["update-ldcache", "--folder", "/lib", "--folder", "/opt"]
