# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk explain --image: what an image asks for and would get here, and what is in its way."""

from __future__ import annotations

import os
from typing import Any

from nvidia_runtime.admission import requirements
from nvidia_runtime.cli import screen
from nvidia_runtime.compile import snapshot as compiler
from nvidia_runtime.errors import NvidiaRuntimeError, short
from nvidia_runtime.host import facts
from nvidia_runtime.images import find, survey
from nvidia_runtime.images import start as images
from nvidia_runtime.images.image import Image
from nvidia_runtime.images.layout import ARCHITECTURES
from nvidia_runtime.log import shown
from nvidia_runtime.prepare import takeover
from nvidia_runtime.rootfs import cuda_compat
from nvidia_runtime.sources.find import REQUIREMENTS
from nvidia_runtime.store import files, record, snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.images.start import Answer
    from nvidia_runtime.images.survey import Libc

Facts = dict[str, Any]
# Of a driver's files in an image, without --all.
MOST_FILES = 5
# As in records.
MOST_SAID, LONGEST_SAID = record.MOST_SAID, record.LONGEST_SAID
NO_FILES: dict[str, Any] = {"libc": None, "baked": [], "compat": None}
UNFIT = {
    requirements.UNMET: "not met",
    requirements.MALFORMED: "not understood",
    requirements.UNKNOWN: "not known",
}
MUSL = (
    "its programs cannot load the driver's libraries, which need glibc; nvidia-smi, CUDA and all"
    " else of the driver's will not start"
)
STATIC = "it has no loader: only static programs run, which load no library of the driver's"


def show(word: str, *, everything: bool, form: str, quiet: bool) -> int:
    """Print what is known of an image, as text or JSON."""
    with screen.Progress("reading the image", quiet=quiet):
        about = facts_of(find.find(word))
    if form == "json":
        screen.print_json(about)
        return 0
    for line in lines(about, everything):
        print(shown(line))
    return 0


def facts_of(image: Image) -> Facts:
    """Return all that is known of an image, and of what a create would do with it here."""
    config = files.config_path()
    compiled = snapshot.load(config) or compiler.settings(config)
    answer = images.answer(image, compiled)
    environment = images.variables(image)
    verdict, sentence = images.required(environment)
    failure = answer.failure
    about: Facts = {
        "image": image.name,
        "source": image.source,
        "architecture": image.architecture,
        "says": _said(environment),
        "requested": list(answer.admitted.devices),
        "by": answer.admitted.source if answer.admitted.devices else "",
        "mode": answer.admitted.mode,
        "imex": list(answer.admitted.imex),
        "features": list(answer.admitted.gates),
        "refused": answer.admitted.refusals,
        "warnings": [
            # What it requires is said for all containers of it, not only for this one.
            *(said for said in answer.admitted.warnings if not (sentence and sentence in said)),
            *_warnings(image, environment),
            *(
                f"the annotation {name} asks for {value}: podman before 5 copies it"
                for name, value in images.asking_annotations(image, compiled.settings).items()
            ),
        ],
        "failure": {"error": str(failure), "hint": failure.hint} if failure else None,
        "requirements": {
            "verdict": verdict,
            "sentence": sentence,
            "rule": str(compiled.settings[REQUIREMENTS]),
        },
        **_given(answer),
        "files": image.reason or ("" if image.tree else "there are none"),
    }
    try:
        about |= _in_files(image, environment, answer)
    except NvidiaRuntimeError as error:
        about |= {"files": str(error), **NO_FILES}
    return about


def _said(environment: dict[str, str]) -> dict[str, str]:
    """Return variables as they are shown: an image may have any number, of any length."""
    few = list(environment.items())[:MOST_SAID]
    return {short(name): short(value, LONGEST_SAID) for name, value in few}


def _given(answer: Answer) -> Facts:
    """Return what a create would inject."""

    def every(name: str) -> list[Any]:
        return [one for edits in answer.edits for one in edits.get(name, ())]

    return {
        "devices": [node["path"] for node in every("devices")],
        "mounts": [mount["destination"] for mount in every("mounts")],
        "env": every("env"),
    }


def _in_files(image: Image, environment: dict[str, str], answer: Answer) -> Facts:
    if image.tree is None:
        return dict(NO_FILES)
    path = [part for part in environment.get("LD_LIBRARY_PATH", "").split(":") if part[:1] == "/"]
    mounted = [str(path) for path in _given(answer)["mounts"]]
    libc = survey.libc(image.tree)
    return {
        "libc": {"name": libc.name, "loader": libc.loader, "means": _means(libc)},
        "baked": [
            {"path": one.path, "what": one.what, "hidden": one.is_hidden}
            for one in survey.baked(image.tree, path, mounted)
        ],
        "compat": _compat(image, answer),
    }


def _means(libc: Libc) -> str:
    """Return what a C library means for the driver's libraries."""
    if libc.name == survey.MUSL:
        others = f"; a loader of {libc.others[0]} is there, too (gcompat?)" if libc.others else ""
        return MUSL + others
    return STATIC if libc.name == survey.NONE else ""


def _compat(image: Image, answer: Answer) -> Facts | None:
    """Return what would become of CUDA's compatibility libraries, None without any."""
    steps = [
        step
        for edits in answer.edits
        for hooks in edits.get("hooks", {}).values()
        for hook in hooks
        for step in takeover.understood(hook)
        if step.verb == "enable-cuda-compat"
    ]
    texts = steps[0].texts if steps else {}
    folder = texts.get("cuda-compat-container-root") or cuda_compat.FOLDER
    driver = texts.get("host-driver-version") or facts.read().get("driver", "")
    decided = image.tree and survey.compat(
        image.tree, folder, driver, texts.get("host-cuda-version", "")
    )
    if not decided:
        return None
    reason = decided.reason if driver else f"{decided.reason}; no driver is loaded here"
    if not steps:
        reason += "; nothing that it would get here looks at them"
    return {"folder": folder, "used": bool(decided.folder and steps), "reason": reason}


def _warnings(image: Image, environment: dict[str, str]) -> list[str]:
    """Return what cannot work, whoever asks for devices."""
    warnings = []
    machine = os.uname().machine
    if image.architecture not in ("", machine, ARCHITECTURES.get(machine, "")):
        warnings.append(
            f"the image is for {image.architecture}, this machine is {machine}: the driver's"
            " libraries fit no program of it"
        )
    for path in environment.get("LD_LIBRARY_PATH", "").split(":"):
        if survey.is_stubs(path):
            warnings.append(
                f"LD_LIBRARY_PATH has {path}, whose libraries are for linking alone and hide the"
                " driver's"
            )
    return warnings


def lines(about: Facts, everything: bool) -> list[str]:
    """Return what is known as text."""
    kind = ", ".join(filter(None, (about["source"], about["architecture"])))
    result = [f"image      {about['image']} ({kind})"]
    result += [f"says       {name}={value}" for name, value in about["says"].items()]
    if not about["says"]:
        result.append("says       nothing of GPUs")
    result += _asks(about)
    result += [f"refused    {sentence}" for sentence in about["refused"]]
    if about["failure"]:
        result.append(f"fails      {about['failure']['error']}")
        result += [f"hint       {about['failure']['hint']}"] if about["failure"]["hint"] else []
    result += _requires(about["requirements"])
    if about["requested"] and not about["failure"]:
        result += _gets(about, everything)
    result += _files(about, everything)
    return result + [f"warning    {sentence}" for sentence in about["warnings"]]


def _requires(said: Facts) -> list[str]:
    if not said["verdict"]:
        return []
    rule = f" ({REQUIREMENTS} is {said['rule']!r})" if said["verdict"] in UNFIT else ""
    return [f"requires   {UNFIT.get(said['verdict'], said['verdict'])}: {said['sentence']}{rule}"]


def _asks(about: Facts) -> list[str]:
    if about["requested"]:
        return [f"asks for   {', '.join(about['requested'])} by {about['by']}"]
    return ["asks for   nothing by itself: it gets what its user asks for"]


def _gets(about: Facts, everything: bool) -> list[str]:
    counts = [
        f"{len(about[name])} {what if len(about[name]) != 1 else what[:-1]}"
        for name, what in (("devices", "device nodes"), ("mounts", "mounts"), ("env", "variables"))
    ]
    result = [f"gets       {', '.join(counts)} in mode {about['mode']}"]
    if about["mode"] == "legacy":
        result = ["gets       what nvidia-container-cli gives it, in mode legacy"]
    if everything:
        result += [f"  device   {path}" for path in about["devices"]]
        result += [f"  mount    {path}" for path in about["mounts"]]
        result += [f"  env      {entry}" for entry in about["env"]]
    if about["imex"]:
        result.append(f"  imex     channels {', '.join(about['imex'])}")
    if about["features"]:
        result.append(f"  features {', '.join(about['features'])}")
    return result


def _files(about: Facts, everything: bool) -> list[str]:
    """Return what is in the image's files."""
    if about["files"]:
        return [f"files      not looked at: {about['files']}"]
    libc, compat = about["libc"], about["compat"]
    means = f": {libc['means']}" if libc["means"] else ""
    loader = f" ({libc['loader']})" if libc["loader"] else ""
    result = [f"libc       {libc['name']}{loader}{means}"]
    if compat:
        used = "used" if compat["used"] else "not used"
        result.append(
            f"compat     CUDA's libraries in {compat['folder']} {used}: {compat['reason']}"
        )
    return result + _baked(about["baked"], everything)


def _baked(baked: list[Facts], everything: bool) -> list[str]:
    if not baked:
        return []
    few = baked if everything else baked[:MOST_FILES]
    result = [
        f"baked in   {one['path']}: {one['what']}"
        f"{', hidden by the file of this driver' if one['hidden'] else ''}"
        for one in few
    ]
    if len(baked) > len(few):
        result.append(f"baked in   and {len(baked) - len(few)} more (--all lists them)")
    is_harmless = all(one["hidden"] for one in baked)
    advice = "all are hidden here" if is_harmless else "remove them from the image"
    result.append(f"           a build or a commit with a GPU has left them: {advice}")
    return result
