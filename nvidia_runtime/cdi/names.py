# SPDX-License-Identifier: Apache-2.0
"""Qualified device names, ``vendor/class=device`` (CDI SPEC.md, "Kind" and "Device name").

Ring: create, where a request has a name that may be qualified.
"""

LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
DIGITS = frozenset("0123456789")
ALPHANUMERIC = LETTERS | DIGITS
INNER = ALPHANUMERIC | frozenset("_-.")
INNER_DEVICE = INNER | {":"}


def is_qualified(name: str) -> bool:
    """Whether a name has a vendor, a class and a device, each spelled as CDI wants."""
    return not complaint(name)


def complaint(name: str) -> str:
    """Say what keeps a name from being qualified, "" if nothing does."""
    kind, equals, device = name.partition("=")
    vendor, slash, cls = kind.partition("/")
    if not equals:
        return "no device name: it must be VENDOR/CLASS=DEVICE"
    if not slash:
        return "no vendor: it must be VENDOR/CLASS=DEVICE"
    return (
        name_complaint("vendor", vendor) or name_complaint("class", cls) or device_complaint(device)
    )


def kind_complaint(kind: str) -> str:
    """Say what is wrong with a kind, ``vendor/class``, "" if nothing is."""
    vendor, slash, cls = kind.partition("/")
    if not slash:
        return "must be VENDOR/CLASS"
    return name_complaint("vendor", vendor) or name_complaint("class", cls)


def name_complaint(what: str, name: str) -> str:
    """Say what is wrong with a vendor or a class; one letter is enough."""
    if not name:
        return f"empty {what}"
    if name[0] not in LETTERS:
        return f"{what} {name!r} must begin with a letter"
    return _rest_complaint(what, name, INNER)


def device_complaint(name: str) -> str:
    """Say what is wrong with a device's name, "" if nothing is."""
    if not name:
        return "empty device name"
    if name[0] not in ALPHANUMERIC:
        return f"device name {name!r} must begin with a letter or a digit"
    return _rest_complaint("device name", name, INNER_DEVICE)


def _rest_complaint(what: str, name: str, inner: frozenset[str]) -> str:
    for character in name:
        if character not in inner:
            return f"{what} {name!r} has an invalid character {character!r}"
    if name[-1] not in ALPHANUMERIC:
        return f"{what} {name!r} must end with a letter or a digit"
    return ""
