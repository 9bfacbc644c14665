# SPDX-License-Identifier: Apache-2.0
"""config.toml: the name, type and default of every setting, and the reading of a file.

``schemas/config.schema.json`` describes the settings; a test keeps both the same.  A create reads
the settings from the snapshot.
"""

from __future__ import annotations

import copy
import os
from typing import Any

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.rootfs import files
from nvidia_runtime.store import snapshot as snapshots

Settings = dict[str, Any]

CAPABILITIES = "compat32,compute,display,graphics,ngx,utility,video"

_RUNTIME = "nvidia-container-runtime"
_CLI = "nvidia-container-cli"

LDCONFIG = f"{_CLI}.ldconfig"
LEVEL = f"{_RUNTIME}.log-level"

# The default of each setting, which also has the setting's type.
DEFAULTS: Settings = {
    "disable-require": False,
    "swarm-resource": "",
    "accept-nvidia-visible-devices-envvar-when-unprivileged": True,
    "accept-nvidia-visible-devices-as-volume-mounts": False,
    "supported-driver-capabilities": CAPABILITIES,
    f"{_CLI}.root": "",
    f"{_CLI}.path": "",
    f"{_CLI}.environment": [],
    f"{_CLI}.debug": "",
    f"{_CLI}.ldcache": "",
    f"{_CLI}.load-kmods": True,
    f"{_CLI}.no-pivot": False,
    f"{_CLI}.no-cgroups": False,
    f"{_CLI}.user": "",
    LDCONFIG: "@/sbin/ldconfig",
    "nvidia-ctk.path": "nvidia-ctk",
    "nvidia-ctk.cdi-spec-version": "",
    f"{_RUNTIME}.debug": "/dev/null",
    LEVEL: "info",
    f"{_RUNTIME}.runtimes": ["runc", "crun"],
    f"{_RUNTIME}.mode": "auto",
    f"{_RUNTIME}.requirements": "warn",
    f"{_RUNTIME}.image-requests": "allow",
    f"{_RUNTIME}.image-devices": [],
    f"{_RUNTIME}.in-container-hooks": "auto",
    f"{_RUNTIME}.device-node-modification": "hook",
    f"{_RUNTIME}.modes.csv.mount-spec-path": (
        "/etc/nvidia-container-runtime/host-files-for-container.d"
    ),
    f"{_RUNTIME}.modes.csv.compat-container-root": "",
    f"{_RUNTIME}.modes.cdi.spec-dirs": ["/etc/cdi", "/var/run/cdi"],
    f"{_RUNTIME}.modes.cdi.default-kind": "nvidia.com/gpu",
    f"{_RUNTIME}.modes.cdi.annotation-prefixes": ["cdi.k8s.io/"],
    f"{_RUNTIME}.modes.jit-cdi.nvcdi-feature-flags": [],
    f"{_RUNTIME}.modes.jit-cdi.nvcdi-disable-hooks": [],
    f"{_RUNTIME}.modes.jit-cdi.driver-capabilities": "all",
    f"{_RUNTIME}.modes.legacy.cuda-compat-mode": "ldconfig",
    f"{_RUNTIME}-hook.path": "nvidia-container-runtime-hook",
    f"{_RUNTIME}-hook.skip-mode-detection": False,
    f"{_RUNTIME}-hook.timeout": 0,
    "features.allow-cuda-compat-libs-from-container": False,
    "features.allow-ldconfig-from-container": False,
    "features.allow-unknown-oci-spec-fields": False,
    "features.disable-cuda-compat-lib-hook": False,
    "features.disable-imex-channel-creation": False,
    "features.ignore-imex-channel-requests": False,
    "features.no-additional-gids-for-device-nodes": False,
}
# The values of our own settings.  Others are errors: a setting may be there for safety.
CHOICES = {
    f"{_RUNTIME}.requirements": ("warn", "enforce", "ignore"),
    f"{_RUNTIME}.image-requests": ("allow", "deny", "listed"),
    f"{_RUNTIME}.in-container-hooks": ("auto", "always", "never", "toolkit"),
    f"{_RUNTIME}.device-node-modification": ("hook", "seccomp"),
    f"{_RUNTIME}.modes.jit-cdi.driver-capabilities": ("all", "requested"),
}
# A day, for settings in seconds.
MOST_SECONDS = 86400
TABLES = frozenset(
    key.rsplit(".", count)[0] for key in DEFAULTS for count in range(1, key.count(".") + 1)
)
OS_RELEASE = "/etc/os-release"
LEVELS = ("panic", "fatal", "error", "warn", "warning", "info", "debug", "trace")
HINT = "correct the file; without one, the defaults hold"


def defaults() -> Settings:
    """Return the defaults, which are the same on every host."""
    return copy.deepcopy(DEFAULTS)


def load(path: str) -> tuple[Settings, list[str]]:
    """Return the settings of a config.toml, or the defaults if there is no file, and warnings.

    Raises `NvidiaRuntimeError` that names all settings of a wrong type.
    """
    try:
        text = read(path)
    except FileNotFoundError:
        return _host_rules(_host_defaults()), []
    return check(decode(text, path), path)


def compiled(path: str) -> Settings:
    """Return the settings of a config.toml: as the runtime has compiled them, if it has."""
    snapshot = snapshots.load(path)
    return snapshot.settings if snapshot else load(path)[0]


def read(path: str) -> str:
    """Read the text of a config.toml.  Raises `FileNotFoundError` if there is no file."""
    try:
        with os.fdopen(files.open_hosts(path), "rb") as file:
            return text_of(file.read(), path)
    except FileNotFoundError:
        raise
    except OSError as error:
        what = f"cannot read the configuration: {os_reason(error)}"
        raise NvidiaRuntimeError(what, where=path) from None
    except ValueError as error:
        raise NvidiaRuntimeError(os_reason(error), where=path) from None


def text_of(data: bytes, path: str) -> str:
    """Return the text of a config.toml that has been read."""
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        what = f"is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {error.start}"
        raise NvidiaRuntimeError(what, where=path, hint=HINT) from None


def decode(text: str, path: str) -> dict[str, Any]:
    """Decode the text of a config.toml."""
    import tomllib  # 10 ms, for those who read no snapshot

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
        what = str(error).replace(
            "(at end of document)", f"(at line {line}, column {column}, the end)"
        )
        raise NvidiaRuntimeError(f"is not TOML: {what}", where=path, hint=HINT) from None
    except RecursionError:
        raise NvidiaRuntimeError("is nested too deeply", where=path, hint=HINT) from None


def check(document: dict[str, Any], path: str) -> tuple[Settings, list[str]]:
    """Return the settings of a decoded config.toml, with a warning for each unknown key."""
    settings, wrong, odd = judge(document, path)
    if wrong:
        what = "; ".join(complaint for _, complaint in wrong)
        raise NvidiaRuntimeError(what, where=path, hint=HINT)
    return settings, [f"{path}: {sentence}" for _, sentence in odd]


def judge(
    document: dict[str, Any], path: str
) -> tuple[Settings, list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the settings of a decoded config.toml, what is wrong with them, and what is odd.

    Each sentence has the key that it is about.
    """
    settings = _host_defaults()
    wrong: list[tuple[str, str]] = []
    odd: list[tuple[str, str]] = []
    try:
        values = _flatten(document)
    except RecursionError:
        raise NvidiaRuntimeError("is nested too deeply", where=path, hint=HINT) from None
    for key, value in values:
        if key in DEFAULTS:
            if complaint := _complaint(key, value):
                wrong.append((key, f"{key} {complaint}"))
            settings[key] = value
        elif key in TABLES:
            wrong.append((key, f"{key} must be a table, not {_kind(value)}"))
        else:
            import difflib  # only for what is wrong

            near = difflib.get_close_matches(key, DEFAULTS, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            odd.append((key, f"unknown setting {key} is ignored{meant}"))
    if wrong:
        return settings, wrong, odd
    level = settings[LEVEL]
    if level.lower() not in LEVELS:
        odd.append((LEVEL, f"{LEVEL} {level!r} is not a level; using 'info'"))
    return _host_rules(settings), wrong, odd


def _host_defaults() -> Settings:
    """Return the defaults of this host; on SUSE, device nodes of GPUs belong to group video."""
    settings = defaults()
    try:
        with open(OS_RELEASE, encoding="utf-8", errors="replace") as file:
            is_suse = any(line.startswith("ID_LIKE=") and "suse" in line for line in file)
    except OSError:
        is_suse = False
    if is_suse:
        settings[f"{_CLI}.user"] = "root:video"
    return settings


def _host_rules(settings: Settings) -> Settings:
    """Use ldconfig.real by default where ldconfig is a wrapper script, as on Debian and Ubuntu."""
    if settings[LDCONFIG] == "@/sbin/ldconfig" and os.path.exists("/sbin/ldconfig.real"):
        settings[LDCONFIG] = "@/sbin/ldconfig.real"
    return settings


def _flatten(table: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return the values with their full names; a table in place of a value stays whole."""
    values: list[tuple[str, Any]] = []
    for name, value in table.items():
        key = prefix + (f'"{name}"' if "." in name else name)
        if isinstance(value, dict) and key not in DEFAULTS and value:
            values += _flatten(value, f"{key}.")
        elif not (isinstance(value, dict) and key in TABLES):
            values.append((key, value))
    return values


def _complaint(key: str, value: Any) -> str:
    """Return what is wrong with the value of a setting, "" if nothing."""
    default = DEFAULTS[key]
    if type(default) is int and (type(value) is not int or not 0 <= value <= MOST_SECONDS):
        shown = value if type(value) in (int, float) else _kind(value)
        return f"must be a whole number of seconds from 0 to {MOST_SECONDS}, not {shown}"
    if type(value) is not type(default):
        return f"must be {_kind(default)}, not {_kind(value)}"
    if isinstance(value, list):
        for item in value:
            if not isinstance(item, str):
                return f"must be a list of strings, not with {_kind(item)} in it"
    if any("\0" in text for text in ([value] if isinstance(value, str) else _list(value))):
        return "has a NUL in it"
    if key in CHOICES and value not in CHOICES[key]:
        return f"must be one of {', '.join(CHOICES[key])}, not {value!r}"
    return ""


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else []


def check_ldconfig(settings: Settings, path: str) -> None:
    """Refuse an ldconfig of the container (CVE-2024-0136, CVE-2024-0137) unless allowed."""
    value = settings[LDCONFIG]
    if value[:1] == "@" or settings["features.allow-ldconfig-from-container"]:
        return
    what = f"{LDCONFIG} {value!r} is not a path on the host: it must begin with '@'"
    raise NvidiaRuntimeError(what, where=path, hint=f'write {LDCONFIG} = "@/sbin/ldconfig"')


def _kind(value: Any) -> str:
    names = {dict: "a table", list: "a list of strings", str: "a string", bool: "true or false"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else "a date")
