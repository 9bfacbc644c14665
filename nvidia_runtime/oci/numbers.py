# SPDX-License-Identifier: Apache-2.0
"""Device nodes of a config.json that have another driver's numbers, and the rules that allow them.

Majors are handed out anew at each boot; an engine may have written those of yesterday.
"""

from nvidia_runtime.document import list_at, object_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document


def change(spec: "Document", numbers: "dict[str, tuple[int, int]]", path: str) -> None:
    """Change the numbers of the nodes of some paths, and the rules for these very numbers.

    A rule for several devices stays, and one that a node of another path needs stays beside ours.
    """
    linux = object_at(spec, "linux", path)
    kept: set[str] = set()
    moved: "dict[str, list[Document]]" = {}
    for node in list_at(linux, "devices", f"{path}: linux"):
        if type(node) is not dict:
            continue
        key, own = _key(node), node.get("path")
        if type(own) is not str or own not in numbers:
            kept.add(key)
            continue
        node["major"], node["minor"] = numbers[own]
        pairs = moved.setdefault(key, [])
        pair = {"major": node["major"], "minor": node["minor"]}
        if pair not in pairs:
            pairs.append(pair)
    resources = object_at(linux, "resources", f"{path}: linux")
    rules = list_at(resources, "devices", f"{path}: linux.resources")
    changed: list[object] = []
    for rule in rules:
        if type(rule) is not dict or not rule.get("allow"):
            changed.append(rule)
            continue
        key = _key(rule)
        if key not in moved or key in kept:
            changed.append(rule)
        changed += [{**rule, **pair} for pair in moved.get(key, ())]
    rules[:] = changed


def _key(entry: "Document") -> str:
    """Return what a node and a rule for nothing else have alike, whatever is in it."""
    kind = entry.get("type")
    return repr(["c" if kind == "u" else kind, entry.get("major"), entry.get("minor")])
