# SPDX-License-Identifier: Apache-2.0
"""Legacy mode: the prestart hook, which lets ``nvidia-container-cli`` do the injection."""

from nvidia_runtime import document, start
from nvidia_runtime.admission.request import DRIVER_CAPABILITIES
from nvidia_runtime.oci import edit, lowlevel
from nvidia_runtime.store import files
from nvidia_runtime.store.lines import Source
from nvidia_runtime.store.snapshot import COMPAT_MODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.admission.policy import Admitted
    from nvidia_runtime.admission.request import Request
    from nvidia_runtime.oci.bundle import Bundle
    from nvidia_runtime.store.snapshot import Settings

DISPLAYING = ("graphics", "display", "all")
NO_COMPAT_HOOK = "features.disable-cuda-compat-lib-hook"
HOOK = "nvidia-container-runtime-hook"
MISSING = (
    "{} is not on this machine, and the container will fail by it; install it beside the runtime"
)


def sources(
    bundle: "Bundle", asked: "Request", admitted: "Admitted", settings: "Settings"
) -> list[Source]:
    """Return what legacy mode injects: gated devices, graphics files, the hook if it is missing."""
    injected = extras(asked, admitted, settings) if admitted.devices else []
    if not edit.has_hook(bundle.spec, start.HOOKS, bundle.path):
        path = hook_path(settings)
        if missing := complaint(path):
            admitted.warnings.append(missing)
        injected.append(_hook(path))
    if asked.overrides:
        from nvidia_runtime.admission import image_policy  # only where images are not trusted

        injected.append(image_policy.override(asked.overrides))
    return injected


def hook_path(settings: "Settings") -> str:
    """Return the path of the prestart hook's program."""
    return lowlevel.executable(str(settings[f"{HOOK}.path"]), HOOK, files.environment(b"PATH"))


def complaint(path: str) -> str:
    """Return what is wrong with the prestart hook's program, "" if nothing."""
    return "" if lowlevel.is_executable(path) else MISSING.format(path)


def extras(asked: "Request", admitted: "Admitted", settings: "Settings") -> list[Source]:
    """Return the edits for what the prestart hook knows nothing of; most containers need none."""
    compat = settings[COMPAT_MODE] == "hook" and not settings[NO_COMPAT_HOOK]
    graphics = not set(DISPLAYING).isdisjoint(
        asked.environment.get(DRIVER_CAPABILITIES, "").split(",")
    )
    if not (admitted.gates or compat or graphics):
        return []
    from nvidia_runtime.sources import legacy_extras

    return legacy_extras.sources(admitted, settings, compat, graphics)


def _hook(path: str) -> Source:
    name = path.rpartition("/")[2]
    config = files.config_path()
    # The hook heeds no HOME, which may be the container's.
    own = [] if config == files.config_path(by_home=False) else ["-config", config]
    hook = {"path": path, "args": [name, *own, "prestart"]}
    text = document.dumps({"hooks": {"prestart": [hook]}}).decode()
    return Source("", '{"mode":"legacy"}', text)
