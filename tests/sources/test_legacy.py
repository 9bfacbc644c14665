# SPDX-License-Identifier: Apache-2.0
"""Legacy mode: the prestart hook."""

from __future__ import annotations

import os

import pytest
from builders import Document, spec

from nvidia_runtime.admission.policy import Admitted
from nvidia_runtime.admission.request import Request
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci.bundle import Bundle
from nvidia_runtime.sources import legacy

HOOK = "nvidia-container-runtime-hook"


def injected(document: Document, program: str = f"/opt/{HOOK}") -> list[Document]:
    """Return the edits for a container that asks for nothing."""
    settings = {**config.defaults(), f"{HOOK}.path": program}
    container = Bundle("/b/config.json", document, os.stat("/"))
    sources = legacy.sources(container, Request(), Admitted((), ""), settings)
    return [source.edits for source in sources]


def test_hook_that_is_missing_is_warned_of() -> None:
    """The low-level runtime would only say that there is no such file."""
    admitted = Admitted((), "")
    container = Bundle("/b/config.json", spec(), os.stat("/"))
    settings = {**config.defaults(), f"{HOOK}.path": "/nowhere/hook"}

    legacy.sources(container, Request(), admitted, settings)

    assert admitted.warnings == [legacy.MISSING.format("/nowhere/hook")]


def test_hook_is_added_to_every_container() -> None:
    hook = {"path": f"/opt/{HOOK}", "args": [HOOK, "prestart"]}

    assert injected(spec()) == [{"hooks": {"prestart": [hook]}}]


def test_name_of_the_program_is_its_first_argument() -> None:
    hook = {"path": "/opt/our-hook", "args": ["our-hook", "prestart"]}

    assert injected(spec(), "/opt/our-hook") == [{"hooks": {"prestart": [hook]}}]


@pytest.mark.parametrize("name", [HOOK, "nvidia-container-toolkit"])
def test_hook_that_is_there_is_enough(name: str) -> None:
    assert injected(spec(hooks={"prestart": [{"path": f"/usr/bin/{name}"}]})) == []


@pytest.mark.parametrize("hooks", [{"poststop": [{"path": f"/usr/bin/{HOOK}"}]}, {}, None])
def test_hook_of_another_stage_is_not_enough(hooks: object) -> None:
    assert len(injected(spec(hooks=hooks))) == 1


def test_hooks_of_a_wrong_type() -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        injected(spec(hooks=[]))

    assert str(error.value) == "/b/config.json: hooks: must be an object, not a list"
