# SPDX-License-Identifier: Apache-2.0
"""Edits of an OCI runtime-spec document, in place.  Only this module, and `numbers`, change one.

Everything that is not edited stays as it is, unknown fields too; a field of a wrong type is an
error with its path only where it has to be edited.
"""

from nvidia_runtime.document import list_at, object_at, wrong_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.document import Document

# What a node's permissions say where it shall be seen, but not used.
NO_ACCESS = "none"
# podman 5 makes the second of the first, which is deprecated; runtimes call both at one time.
AT_PRESTART = ("prestart", "createRuntime")
STAGES = (*AT_PRESTART, "createContainer", "startContainer", "poststart", "poststop")


def apply(spec: "Document", edits: "list[Document]", path: str) -> None:
    """Apply edits in order.  ``path`` is the document's, for messages.

    An edit is a dict of ``env`` (list of NAME=VALUE), ``devices`` (OCI devices, each with
    ``permissions``), ``mounts``, ``hooks`` (by stage), ``additionalGids``, ``intelRdt``,
    ``netDevices`` and ``seccomp``; the items are in the runtime-spec's own form.
    For what is there already there are ``stages``, lists of hooks in the place of others,
    ``numbers``, majors and minors of nodes by path, and ``topmost``, mounts behind all others,
    whose order stays.
    """
    merged = _merge(edits)
    for name, value in merged.items():
        _APPLY[name](spec, value, path)
    if "mounts" in merged:
        mounts: "list[Document]" = spec["mounts"]
        mounts.sort(key=depth)


def _merge(edits: "list[Document]") -> "Document":
    """Return edits as one, so that a container's lists are gone through once.

    There may be thousands of devices.  An empty intelRdt, too, replaces an earlier one, as in CDI.
    """
    merged: "Document" = {}
    for edit in edits:
        for name, value in edit.items():
            if not value and name != "intelRdt":
                continue
            if name == "hooks":
                stages = merged.setdefault(name, {})
                for stage, hooks in value.items():
                    stages.setdefault(stage, []).extend(hooks)
            elif name in ("netDevices", "stages", "numbers"):
                merged.setdefault(name, {}).update(value)
            elif type(value) is list:
                merged.setdefault(name, []).extend(value)
            else:
                merged[name] = value
    return merged


def remove_hooks(spec: "Document", names: tuple[str, ...], path: str) -> bool:
    """Remove the hooks at prestart whose program has one of these names; say if there were any."""
    if not spec.get("hooks"):
        return False
    is_removed = False
    for stage in AT_PRESTART:
        present = _hooks(spec, stage, path)
        kept = [hook for hook in present if program_of(hook) not in names]
        if len(kept) == len(present):
            continue
        is_removed = True
        spec["hooks"][stage] = kept
        if not kept:
            del spec["hooks"][stage]
    return is_removed


def has_hook(spec: "Document", names: tuple[str, ...], path: str) -> bool:
    """Whether a hook at prestart runs a program of one of these names."""
    return any(
        program_of(hook) in names for stage in AT_PRESTART for hook in _hooks(spec, stage, path)
    )


def _hooks(spec: "Document", stage: str, path: str) -> list[object]:
    hooks = object_at(spec, "hooks", path)
    if stage != AT_PRESTART[0] and type(hooks.get(stage)) is not list:
        return []  # an odd one is the runtime's to judge
    return list_at(hooks, stage, f"{path}: hooks") if hooks.get(stage) else []


def program_of(hook: object) -> str:
    """Return the name of the program that a hook runs, "" for what is not a hook."""
    path = hook.get("path") if type(hook) is dict else None
    return path.rstrip("/").rpartition("/")[2] if type(path) is str else ""


def _apply_env(spec: "Document", env: list[str], path: str) -> None:
    """Set variables, each once: libc reads the first of a name, others the last."""
    process = _object(spec, "process", path)
    entries = _list(process, "env", f"{path}: process")
    added = {entry.partition("=")[0]: entry for entry in env}
    left = dict(added)
    kept = []
    for entry in entries:
        name, equals, _ = entry.partition("=") if type(entry) is str else ("", "", "")
        if not equals or name not in added:
            kept.append(entry)
        elif name in left:
            kept.append(left.pop(name))
    process["env"] = kept + list(left.values())


def _apply_devices(spec: "Document", nodes: "list[Document]", path: str) -> None:
    """Add nodes, in place of those with the same path, and allow them in the device cgroup."""
    linux = _object(spec, "linux", path)
    devices = _list(linux, "devices", f"{path}: linux")
    resources = _object(linux, "resources", f"{path}: linux")
    rules = _list(resources, "devices", f"{path}: linux.resources")
    owner = _owner(spec, path)
    allowed = set(map(_key, _allowed_last(rules)))
    added: dict[str, "Document"] = {}
    for node in nodes:
        device = {**owner, **node}
        access = device.pop("permissions", "rwm")
        added.pop(device["path"], None)  # the last one counts, and has the last place
        added[device["path"]] = device
        rule = _rule(device, access)
        if rule and _key(rule) not in allowed:
            rules.append(rule)
            allowed.add(_key(rule))
    devices[:] = [
        device for device in devices if type(device) is not dict or device.get("path") not in added
    ]
    devices += added.values()


def _rule(device: "Document", access: str) -> "Document | None":
    """Return the rule that lets a device be used; none is needed for what is not a device."""
    if device["type"] not in ("b", "c") or access == NO_ACCESS:
        return None
    numbers = {"major": device["major"], "minor": device["minor"]}
    return {"allow": True, "type": device["type"], **numbers, "access": access}


def _key(entry: object) -> str:
    """Return what equal rules, or hooks, have alike: a list of thousands is not gone through."""
    return repr(sorted(entry.items())) if type(entry) is dict else ""


def _allowed_last(rules: list[object]) -> list[object]:
    """Return the rules after the last one that denies: only these certainly hold."""
    for index in range(len(rules) - 1, -1, -1):
        rule = rules[index]
        if type(rule) is not dict or not rule.get("allow"):
            return rules[index + 1 :]
    return rules[:]


def _owner(spec: "Document", path: str) -> "Document":
    """Return the ids of the container's user, who owns its nodes; nothing for root."""
    process = spec.get("process")
    user = process.get("user") if type(process) is dict else None
    if user is None:
        return {}
    if type(user) is not dict:
        raise wrong_type(f"{path}: process.user", "an object", user)
    owner: "Document" = {}
    for name in ("uid", "gid"):
        value = user.get(name)
        if value is None:
            continue
        if type(value) is not int:
            raise wrong_type(f"{path}: process.user.{name}", "a whole number", value)
        if value > 0:
            owner[name] = value
    return owner


def _apply_mounts(spec: "Document", mounts: "list[Document]", path: str) -> None:
    """Add mounts; each takes the place of the first with the same destination."""
    present = _list(spec, "mounts", path)
    places: dict[object, list[int]] = {}
    for index, mount in enumerate(present):
        if type(mount) is not dict:
            raise wrong_type(f"{path}: mounts[{index}]", "an object", mount)
        places.setdefault(_clean(mount.get("destination")), []).append(index)
    replaced: dict[object, int] = {}
    for mount in mounts:
        target = _clean(mount["destination"])
        own, count = places.setdefault(target, []), replaced.get(target, 0)
        if count < len(own):
            present[own[count]] = None
            replaced[target] = count + 1
        own.append(len(present))
        present.append(mount)
    present[:] = [mount for mount in present if mount is not None]


def _apply_hooks(spec: "Document", hooks: "dict[str, list[Document]]", path: str) -> None:
    """Add hooks, but for those that an earlier create of the same bundle has added."""
    present = _object(spec, "hooks", path)
    for stage, added in hooks.items():
        calls = _list(present, stage, f"{path}: hooks")
        counts: dict[str, int] = {}
        for key in map(_key, calls):
            counts[key] = counts.get(key, 0) + 1
        for hook in added:
            key = _key(hook)
            if not counts.get(key):
                calls.append(hook)
            else:
                counts[key] -= 1


def _apply_stages(spec: "Document", stages: "dict[str, list[Document]]", path: str) -> None:
    """Put other hooks in the place of all those of some stages; a stage without any goes."""
    present = _object(spec, "hooks", path)
    for stage, hooks in stages.items():
        present[stage] = hooks
        if not hooks:
            del present[stage]


def _apply_numbers(spec: "Document", numbers: "dict[str, tuple[int, int]]", path: str) -> None:
    from nvidia_runtime.oci import numbers as device_numbers  # after an update of a driver

    device_numbers.change(spec, numbers, path)


def _apply_gids(spec: "Document", gids: list[int], path: str) -> None:
    user = _object(_object(spec, "process", path), "user", f"{path}: process")
    present = _list(user, "additionalGids", f"{path}: process.user")
    had = set(map(repr, present))  # whatever the engine wrote
    present += [gid for gid in dict.fromkeys(gids) if gid and repr(gid) not in had]


def _apply_intel_rdt(spec: "Document", rdt: "Document", path: str) -> None:
    _object(spec, "linux", path)["intelRdt"] = rdt


def _apply_seccomp(spec: "Document", profile: "Document", path: str) -> None:
    _object(spec, "linux", path)["seccomp"] = profile


def _apply_net_devices(spec: "Document", devices: "Document", path: str) -> None:
    _object(_object(spec, "linux", path), "netDevices", f"{path}: linux").update(devices)


_APPLY: "dict[str, Callable[..., None]]" = {
    "stages": _apply_stages,
    "numbers": _apply_numbers,
    "env": _apply_env,
    "devices": _apply_devices,
    "mounts": _apply_mounts,
    "topmost": _apply_mounts,
    "hooks": _apply_hooks,
    "additionalGids": _apply_gids,
    "intelRdt": _apply_intel_rdt,
    "netDevices": _apply_net_devices,
    "seccomp": _apply_seccomp,
}


def depth(mount: "Document") -> int:
    """Return the key of the mounts' order, so that none covers an earlier one: by components."""
    target = _clean(mount.get("destination"))
    return target.count("/") if type(target) is str and target != "/" else 0


def _clean(path: object) -> object:
    """Clean a destination as the engines do before they compare."""
    if type(path) is not str:
        return (repr(path),)  # which no path is; the low-level runtime judges it
    if "//" not in path and "/." not in path and path[-1:] != "/" and path[:1] == "/":
        return path
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", ".") and not (part == ".." and path[:1] == "/"):
            parts.append(part)
    return ("/" if path[:1] == "/" else "") + "/".join(parts)


def _object(parent: "Document", key: str, path: str) -> "Document":
    """Return the object at ``key``, made where it is missing or null."""
    if parent.get(key) is None:
        parent[key] = {}
    return object_at(parent, key, path)


def _list(parent: "Document", key: str, path: str) -> list[object]:
    """Return the list at ``key``, made where it is missing or null."""
    if parent.get(key) is None:
        parent[key] = []
    return list_at(parent, key, path)
