# SPDX-License-Identifier: Apache-2.0
"""NVIDIA_REQUIRE_*: what an image requires, and whether the host has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import builders
import pytest
import shim
from hypothesis import given
from hypothesis import strategies as st
from shim import Site

from nvidia_runtime.admission import requirements
from nvidia_runtime.errors import NvidiaRuntimeError

CUDA = "NVIDIA_REQUIRE_CUDA"
BRANDS = ["tesla", "unknown", "nvidia", "nvidiartx", "geforce", "quadro", "quadrortx", "titan"]
# As in the images nvidia/cuda:12.4: the plain requirement, then what the compatibility libraries
# in the image add.
NVIDIA_CUDA = "cuda>=12.4 " + " ".join(
    f"brand={brand},driver>={branch},driver<{branch + 1}"
    for branch in (470, 525, 535)
    for brand in BRANDS
)
R550 = {"driver": "550.54.15", "cuda": "12.4"}
R545 = {"driver": "545.23.06", "cuda": "12.3"}
R535 = {"driver": "535.104.05", "cuda": "12.2"}
DISABLE = "set NVIDIA_DISABLE_REQUIRE=true"


def check(text: str, host: dict[str, str]) -> requirements.Verdict:
    return requirements.check({CUDA: text}, host)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param(
            {CUDA: "cuda>=11", "NVIDIA_REQUIRE_X": "brand=a", "NVIDIA_VISIBLE_DEVICES": "all"},
            {CUDA: "cuda>=11", "NVIDIA_REQUIRE_X": "brand=a"},
            id="all variables of the name",
        ),
        pytest.param(
            {"NVIDIA_REQUIRE_JETPACK": "csv-mounts=all", "NVIDIA_REQUIRE_JETPACK_2": "x"},
            {},
            id="JetPack's are something else",
        ),
        pytest.param(
            {"CUDA_VERSION": "10.2.89"}, {"CUDA_VERSION": "cuda>=10.2"}, id="a legacy image"
        ),
        pytest.param({"CUDA_VERSION": "9"}, {"CUDA_VERSION": "cuda>=9.0"}, id="one number"),
        pytest.param(
            {"CUDA_VERSION": "foo"}, {"CUDA_VERSION": "cuda>=foo"}, id="a malformed version"
        ),
        pytest.param(
            {"CUDA_VERSION": "10.2", CUDA: "cuda>=10"}, {CUDA: "cuda>=10"}, id="no legacy image"
        ),
        pytest.param({CUDA: "cuda>=11", "NVIDIA_DISABLE_REQUIRE": "T"}, {}, id="disabled"),
        pytest.param(
            {CUDA: "cuda>=11", "NVIDIA_DISABLE_REQUIRE": "yes"},
            {CUDA: "cuda>=11"},
            id="not disabled by what is no boolean",
        ),
    ],
)
def test_read(environment: dict[str, str], expected: dict[str, str]) -> None:
    assert requirements.read(environment) == expected


@pytest.mark.parametrize(
    ("text", "host", "kind"),
    [
        ("cuda>=12.4", R550, "met"),
        ("cuda>=12.4", R545, "unmet"),
        ("cuda>=12.4.0", R550, "met"),
        ("cuda>=v12.4", R550, "met"),
        ("cuda=12.4", R550, "met"),
        ("cuda!=12.4", R550, "unmet"),
        ("cuda<12.4", R550, "unmet"),
        ("cuda<=12.4", R550, "met"),
        ("cuda>12.4", R550, "unmet"),
        ("cuda>12.4-rc1", R550, "met"),
        ("cuda>12.3", R550, "met"),
        ("cuda<=12.2", R550, "unmet"),
        ("cuda>=9.2", R550, "met"),
        ("driver>=535.104.5,driver<=535.104.05", R535, "met"),
        ("driver>=550,cuda>=12.5", R550, "unmet"),
        ("cuda>=99 driver>=550", R550, "met"),
        ("cuda>=99  driver>=550 ", R550, "met"),
        ("cuda>=99 ", R550, "unmet"),
        ("cuda>=12.4", {"driver": "999.1"}, "unknown"),
        ("cuda>=12.4", {}, "unknown"),
        ("brand=tesla", R550, "unknown"),
        ("brand=tesla", {"brand": "tesla"}, "met"),
        ("brand!=tesla", {"brand": "tesla"}, "unmet"),
        ("arch>=8.0", {"arch": "7.5"}, "unmet"),
        ("brand=tesla,driver>=600", R550, "unmet"),
        ("brand=tesla,driver>=500", R550, "unknown"),
        ("cuda>=99 brand=tesla", R550, "unknown"),
        ("brand=tesla cuda>=12", R550, "met"),
        ("gravity>=9.8", R550, "met"),
        ("gravity>=9.8,cuda>=99", R550, "unmet"),
        ("gravity>=9.8 cuda>=99", R550, "unmet"),
        (">=9", R550, "met"),
        ("", R550, "met"),
        (" , ", R550, "met"),
        ("cuda", R550, "malformed"),
        ("cuda>=twelve", R550, "malformed"),
        ("cuda>=twelve", {}, "malformed"),
        ("cuda==12", R550, "malformed"),
        ("cuda>=", R550, "malformed"),
        ("cuda>=1.2.3.4", R550, "malformed"),
        ("cuda>=12-", R550, "malformed"),
        ("cuda>=" + "9" * 5000, R550, "malformed"),
        ("cuda>=١", R550, "malformed"),
        ("brand!tesla", R550, "malformed"),
        pytest.param(NVIDIA_CUDA, R550, "met", id="nvidia/cuda, a new driver"),
        pytest.param(NVIDIA_CUDA, R545, "unmet", id="nvidia/cuda, a branch without compatibility"),
        pytest.param(NVIDIA_CUDA, R535, "unknown", id="nvidia/cuda, compatible with some brands"),
        pytest.param(NVIDIA_CUDA, {**R535, "brand": "tesla"}, "met", id="nvidia/cuda, a brand"),
        pytest.param(NVIDIA_CUDA, {**R535, "brand": "grid"}, "unmet", id="nvidia/cuda, no brand"),
        pytest.param(NVIDIA_CUDA, {}, "unknown", id="nvidia/cuda, no driver"),
    ],
)
def test_check(text: str, host: dict[str, str], kind: str) -> None:
    assert check(text, host).kind == kind


@pytest.mark.parametrize(
    ("text", "host", "what", "hint"),
    [
        (
            "cuda>=12.4",
            R535,
            "the image needs CUDA >= 12.4, driver 535.104.05 gives 12.2",
            f"install driver >= 550 or {DISABLE}",
        ),
        (
            "cuda>=12.4",
            {"cuda": "12.2"},
            "the image needs CUDA >= 12.4, the driver gives 12.2",
            f"install driver >= 550 or {DISABLE}",
        ),
        (
            "cuda>=99",
            R535,
            "the image needs CUDA >= 99, driver 535.104.05 gives 12.2",
            f"install a newer driver or {DISABLE}",
        ),
        ("cuda<12", R535, "the image needs CUDA < 12, driver 535.104.05 gives 12.2", DISABLE),
        (
            "gravity>=9.8,driver>=550.54 cuda>=99",
            R535,
            "the image needs driver >= 550.54, the host has 535.104.05",
            f"install driver >= 550.54 or {DISABLE}",
        ),
        (
            "arch>=8.0",
            {"arch": "7.5"},
            "the image needs compute capability >= 8.0, the host has 7.5",
            DISABLE,
        ),
        (
            "brand=\x1b[2J",
            {"brand": "tesla"},
            "the image needs brand = '\\x1b[2J', the host has tesla",
            DISABLE,
        ),
        (
            "cuda>=twelve",
            R535,
            f"cannot understand the image's {CUDA}: 'twelve' in 'cuda>=twelve' is not a version",
            f"correct it or {DISABLE}",
        ),
        (
            "cuda",
            R535,
            f"cannot understand the image's {CUDA}: 'cuda' is not a comparison",
            f"correct it or {DISABLE}",
        ),
        ("brand=tesla", R535, f"the image's {CUDA} asks for what cannot be found out here", ""),
    ],
)
def test_sentence(text: str, host: dict[str, str], what: str, hint: str) -> None:
    verdict = check(text, host)

    assert (verdict.what, verdict.hint) == (what, hint)


@pytest.mark.parametrize(
    ("others", "kind"),
    [
        (("cuda>=12",), "met"),
        (("cuda>=12", "brand=tesla"), "unknown"),
        (("brand=tesla", "cuda"), "malformed"),
        (("brand=tesla", "cuda", "cuda>=99"), "unmet"),
    ],
)
def test_worst_of_several_variables_counts(others: tuple[str, ...], kind: str) -> None:
    for order in (others, others[::-1]):
        variables = {f"NVIDIA_REQUIRE_{number}": text for number, text in enumerate(order)}

        assert requirements.check(variables, R550).kind == kind


@given(
    st.text(st.sampled_from("cuda driver=<>!,.0129- \x00"), max_size=40),
    st.dictionaries(st.sampled_from(["cuda", "driver", "brand"]), st.text(max_size=5)),
)
def test_any_text_gets_a_verdict(text: str, host: dict[str, str]) -> None:
    assert check(text, host).kind in {"met", "unmet", "unknown", "malformed"}
    assert requirements.strict({CUDA: text}, host) is not None


@pytest.mark.parametrize(
    ("environment", "host", "sentence"),
    [
        ({}, {}, ""),
        ({CUDA: ""}, {}, ""),
        ({CUDA: "  "}, {}, ""),
        ({CUDA: ">=9"}, {}, ""),
        ({"NVIDIA_REQUIRE_X": "foo=bar"}, {}, ""),
        ({CUDA: "brand!=tesla"}, {}, ""),
        ({CUDA: "brand<tesla"}, {}, ""),
        ({CUDA: "cuda>=99 brand!=x"}, {}, ""),
        ({CUDA: "cuda>=99", "NVIDIA_DISABLE_REQUIRE": "1"}, {}, ""),
        ({CUDA: "cuda>=12"}, {"cuda": "12.8"}, ""),
        ({CUDA: "cuda>=99"}, {"cuda": "12.8"}, "unsatisfied condition: cuda>=99 (cuda=12.8)"),
        ({CUDA: "brand=tesla"}, {}, "unsatisfied condition: brand=tesla (brand=)"),
        ({CUDA: "cuda>=11 brand=tesla"}, {}, "cuda>=11||brand=tesla not met"),
        (
            {CUDA: "cuda>=11,arch>=5 brand=tesla"},
            {},
            "cuda>=11&&arch>=5||brand=tesla not met",
        ),
        ({CUDA: "cuda>=9.0"}, {}, "the CUDA of this machine is not known (needs >=9.0)"),
        (
            {CUDA: "arch>=5.0"},
            {},
            "the compute capability of this machine is not known (needs >=5.0)",
        ),
        ({CUDA: "driver>=1"}, {}, "the driver of this machine is not known (needs >=1)"),
        ({CUDA: "cuda<1"}, {"cuda": "x"}, "the CUDA of this machine is not known (needs <1)"),
        ({CUDA: "brand!=x,cuda<1"}, {}, "the CUDA of this machine is not known (needs <1)"),
        ({CUDA: "cuda>=x"}, {}, "invalid version string: invalid semantic version"),
        ({CUDA: "brand!=x cuda>=x"}, {}, "invalid version string: invalid semantic version"),
        ({CUDA: "cuda"}, {}, "invalid constraint: cuda"),
        ({CUDA: "brand!x"}, {}, "invalid operator "),
        (
            {"CUDA_VERSION": "9.0"},
            {},
            "the CUDA of this machine is not known (needs >=9.0)",
        ),
        (
            {"CUDA_VERSION": "abc"},
            {},
            "failed to get image requirements: failed to get version: invalid CUDA version abc: "
            "invalid version string: invalid semantic version",
        ),
    ],
)
def test_strict(environment: dict[str, str], host: dict[str, str], sentence: str) -> None:
    """The toolkit's own results in csv mode, but for a sentence: what is not determined is empty."""
    assert requirements.strict(environment, host) == sentence


def test_judge() -> None:
    environment = {CUDA: "cuda>=12.4"}

    assert requirements.judge(environment, R550, "enforce") == []
    assert requirements.judge(environment, {}, "warn") == []
    assert requirements.judge(environment, {}, "enforce") == [
        f"the image's {CUDA} asks for what cannot be found out here"
    ]
    with pytest.raises(NvidiaRuntimeError) as caught:
        requirements.judge(environment, R535, "enforce")
    assert str(caught.value) == "the image needs CUDA >= 12.4, driver 535.104.05 gives 12.2"


# Whole runs.

SENTENCE = (
    "the image needs CUDA >= 12.4, driver 535.104.05 gives 12.2; "
    "install driver >= 550 or set NVIDIA_DISABLE_REQUIRE=true"
)
ASKING = ("NVIDIA_VISIBLE_DEVICES=0", f"{CUDA}=cuda>=12.4")


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a machine with driver 535."""
    with Site() as machine:
        machine.write_specs(nvidia=builders.cdi_spec())
        machine.inside(shim.mount, "none", "/sys/module", 0, "tmpfs")
        machine.inside(Path("/sys/module/nvidia").mkdir)
        machine.inside(Path("/sys/module/nvidia/version").write_text, "535.104.05\n")
        yield machine


def create(site: Site, *env: str) -> tuple[shim.Ended, list[str]]:
    """Create a container; give how it ended, and the warnings and errors in the log."""
    log = site.folder / "log"
    shim.unlink(log)
    site.write_bundle(builders.spec(*env))
    words = ("--log", log, "--log-format", "json", "create", "--bundle", site.bundle, "c1")
    got = site.run(*words)
    return got, [entry["msg"] for entry in shim.logged(log) if entry["level"] != "info"]


@shim.needs_root
@pytest.mark.parametrize(
    ("settings", "env"),
    [
        pytest.param({}, ("NVIDIA_VISIBLE_DEVICES=0", f"{CUDA}=cuda>=12.2"), id="met"),
        pytest.param({}, (*ASKING, "NVIDIA_DISABLE_REQUIRE=true"), id="disabled"),
        pytest.param({}, ("NVIDIA_VISIBLE_DEVICES=void", ASKING[1]), id="no devices"),
        pytest.param({"requirements": "ignore"}, ASKING, id="ignored"),
        pytest.param({"requirements": "enforce"}, ("A=1", ASKING[1]), id="enforced, no devices"),
        pytest.param({"mode": "legacy"}, ASKING, id="left to the hook"),
    ],
)
def test_nothing_is_said(settings: dict[str, Any], env: tuple[str, ...], site: Site) -> None:
    site.write_config(**settings)

    got, said = create(site, *env)

    assert (got.code, said) == (0, [])


@shim.needs_root
def test_unmet_requirement_is_a_warning(site: Site) -> None:
    got, said = create(site, *ASKING)

    assert (got.code, said) == (0, [SENTENCE])
    assert builders.environment(site.read_bundle())[-1] == "GPU=0"
    record = json.loads((site.state / "containers/c1.json").read_text())
    assert SENTENCE in record["warnings"]


@shim.needs_root
def test_unmet_requirement_of_a_legacy_image(site: Site) -> None:
    _, said = create(site, "CUDA_VERSION=12.4.1", "NVIDIA_VISIBLE_DEVICES=0")

    assert said == [SENTENCE]


@shim.needs_root
def test_enforced_requirement_is_an_error_before_anything_is_changed(site: Site) -> None:
    site.write_config(requirements="enforce")
    before = builders.encode(builders.spec(*ASKING))

    got, _ = create(site, *ASKING)

    assert got.code == 1
    assert got.err == (
        "nvidia-container-runtime: the image needs CUDA >= 12.4, driver 535.104.05 gives 12.2\n"
        "hint: install driver >= 550 or set NVIDIA_DISABLE_REQUIRE=true\n"
    )
    assert (site.bundle / "config.json").read_bytes() == before
    assert got.runtime == ""


@shim.needs_root
def test_disable_require_of_the_configuration(site: Site) -> None:
    text = f'disable-require = true\n[{shim.NAME}]\nmode = "cdi"\nruntimes = ["{site.runtime}"]\n'
    text += f'requirements = "enforce"\n[{shim.NAME}.modes.cdi]\nspec-dirs = ["{site.specs}"]\n'
    site.write_config(text)

    got, said = create(site, *ASKING)

    assert (got.code, said) == (0, [])
