# SPDX-License-Identifier: Apache-2.0
"""CPython's private modules: where one is gone or changed, a call is slower, and works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import builders
import pytest
import shim
from shim import Site

PRIVATE = {
    "_json": "json",
    "_signal": "signal",
    "_struct": "struct",
    "_socket": "socket",
    "_imp": "hashlib",
    "_frozen_importlib_external": "importlib.util",
    "marshal": "importlib.util",
}
# In front of the launcher's program.  CPython itself has its own by then, and so has what is public.
GONE = """
import sys, {public}
sys.modules["{private}"] = None
"""
EMPTY = """
import sys, {public}
sys.modules["{private}"] = type(sys)("{private}")
"""
CHANGED = """
import sys, {public}
class Changed(type(sys)):
    def __getattr__(self, name):
        if name[:2] == "__":
            raise AttributeError(name)
        def fail(*_, **__):
            raise SystemError("not as it was")
        return fail
sys.modules["{private}"] = Changed("{private}")
"""
ALONE = """
import sys
sys.modules["{private}"] = type(sys)("{private}")
"""
CASES = [
    pytest.param(private, text, id=f"{private} {name}")
    for name, text in (("is gone", GONE), ("is empty", EMPTY), ("has changed", CHANGED))
    for private in PRIVATE
    # Of these two it is asked what they have, once and for all.
    if (name, private) not in {("has changed", "_struct"), ("has changed", "_socket")}
] + [pytest.param("_json", ALONE, id="_json is empty, and json was not loaded")]


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        yield machine


def ask_for_all_that_is_prepared(site: Site) -> Path:
    """Ask for a device whose spec wants what is done on the host in place of hooks."""
    root = site.folder / "rootfs"
    (root / "etc").mkdir(parents=True)
    steps = [
        ["update-ldcache", "--folder", "/usr/lib64"],
        ["create-symlinks", "--link", "libx.so.1::/usr/lib64/libx.so"],
    ]
    hooks = [
        {
            "hookName": "createContainer",
            "path": "/usr/bin/nvidia-cdi-hook",
            "args": ["nvidia-cdi-hook", *words],
        }
        for words in steps
    ]
    site.write_specs(nvidia=builders.cdi_spec(containerEdits={"hooks": hooks}))
    site.write_bundle(builders.asking(root={"path": str(root)}))
    return root


@pytest.mark.parametrize(("private", "text"), CASES)
def test_calls_work(private: str, text: str, site: Site) -> None:
    ask_for_all_that_is_prepared(site)
    site.put_before(text.format(private=private, public=PRIVATE[private]))

    first = site.create()
    passed_on = site.run("--log", site.folder / "log", "state", "c1", "-v")
    second = site.create()  # with a snapshot

    for got in (first, passed_on, second):
        assert (got.err, got.code, got.runtime) == ("", 0, "runc")
    assert builders.environment(site.read_bundle())[-1] == "GPU=0"
    assert "hooks" not in site.read_bundle()


@pytest.mark.parametrize("text", [GONE, EMPTY, CHANGED, ALONE])
def test_error_is_told_as_ever(text: str, site: Site) -> None:
    """Not all that JSON is read for is right."""
    site.write_bundle(b'{"process":')
    site.put_before(text.format(private="_json", public="json"))
    log = site.folder / "log"

    got = site.run("--log", log, "--log-format", "json", "create", "--bundle", site.bundle, "c1")

    assert got.code == 1
    entry = shim.logged(log)[-1]
    assert entry["level"] == "error"
    assert "config.json: is not JSON: line 1, column 12: " in entry["msg"]
