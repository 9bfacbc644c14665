# SPDX-License-Identifier: Apache-2.0
"""What is nobody's business, masked in any text: the same thing gets the same mask everywhere.

A mask says of what kind the thing was, and which of them, so that a reader can still tell that two
lines speak of the same host.  Where in doubt, it is masked.
"""

from __future__ import annotations

import json
import pwd
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nvidia_runtime.report import pairs, patterns

Match = re.Match[str]
Hold = Callable[[str, str], str]
# What a variable is worth, beside its name.
VALUES = ("value", "asked", "got")


class Masker:
    """Masks texts and documents; ``names`` are words of this machine by their kinds."""

    def __init__(self, names: Mapping[str, Iterable[str]] | None = None) -> None:
        self._masks: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}
        self._words: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None
        for kind, words in (names or {}).items():
            for word in words:
                self.learn(kind, word)

    @property
    def counts(self) -> dict[str, int]:
        """How many different things of each kind were masked."""
        return dict(sorted(self._counts.items()))

    def learn(self, kind: str, word: str) -> None:
        """Mask a word wherever it stands alone, unless it is so common that it tells nothing."""
        if (
            patterns.SHORTEST <= len(word) <= patterns.LONGEST
            and word.lower() not in patterns.COMMON
            and not word.isdigit()
        ):
            self._words.setdefault(word, kind)
            self._pattern = None

    def learn_image(self, name: str) -> None:
        """Mask the name of an image wherever it stands, unless it is a public one."""
        if not name.startswith(patterns.PUBLIC):
            self.learn("image", name)

    def mask(self, kind: str, value: str) -> str:
        """Return the mask of a thing: the same for the same."""
        if not value or patterns.MASK.fullmatch(value):
            return value
        key = (kind, value)
        if key not in self._masks:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._masks[key] = f"<{kind} {self._counts[kind]}>"
        return self._masks[key]

    def text(self, text: str) -> str:
        """Return a text with all masks."""
        text = text.replace("\ue000", "?").replace("\ue001", "?")
        held: list[str] = []

        def hold(kind: str, value: str) -> str:
            held.append(self.mask(kind, value))
            return f"\ue000{len(held) - 1}\ue001"

        text = patterns.PEM.sub(_pem(hold), text)
        text = pairs.Pairs(_kind, hold).text(text)
        text = pairs.in_lists(text, _kind, hold)
        for pattern, rule in self._rules(hold):
            text = pattern.sub(rule, text)
        return patterns.HOLDER.sub(lambda match: held[int(match[1])], text)

    def _rules(self, hold: Hold) -> list[tuple[re.Pattern[str], Callable[[Match], str]]]:
        """Return what is looked for, in this order, and what takes its place."""
        rules = [
            (patterns.SERIAL_LINE, _pair(hold, "serial")),
            (patterns.SERIAL_PAIR, _pair(hold, "serial")),
            (patterns.NAMED_VALUE, _named(hold)),
            (patterns.OPTION, _pair(hold, "secret")),
            (patterns.SSH_KEY, _pair(hold, "secret")),
            (patterns.CRYPTED, _whole(hold, "secret")),
            (
                patterns.CREDENTIALS,
                lambda match: f"{match['head']}{hold('secret', match['value'])}@",
            ),
            (patterns.BEARER, _pair(hold, "secret")),
            (patterns.TOKEN, _whole(hold, "secret")),
            (patterns.EMAIL, _whole(hold, "mail")),
            (patterns.DOMAIN, _host(hold)),
            (patterns.URL_HOST, _url(hold)),
            (patterns.HOST_PORT, _url(hold)),
            (patterns.LOOKUP, _url(hold)),
            (patterns.UUID, _pair(hold, "uuid")),
            (patterns.MACHINE_ID, _whole(hold, "id")),
            (patterns.RANDOM, _random(hold)),
            (patterns.MAC, _whole(hold, "mac")),
            (patterns.GUID, _whole(hold, "guid")),
            (patterns.IPV4, _address(hold)),
            (patterns.IPV6, _address(hold)),
            (patterns.HOME, _pair(hold, "user")),
            (patterns.USER_ID, _pair(hold, "user")),
        ]
        if self._words:
            self._pattern = self._pattern or _of_words(self._words)
            rules.append((self._pattern, lambda match: hold(self._words[match[0]], match[0])))
        return rules

    def document(self, value: Any, key: str = "") -> Any:
        """Return a JSON document in which texts are masked, some by the key that they have."""
        if isinstance(value, dict):
            # All below a key that is discreet is, too.
            inner = key if patterns.DISCREET.search(key) else ""
            name = value.get("name")
            is_pair = isinstance(name, str) and is_variables(name)
            return {
                self.text(item_key): (
                    self.mask("value", item)
                    if is_pair and item_key in VALUES and isinstance(item, str)
                    else self.document(item, inner or item_key)
                )
                for item_key, item in value.items()
            }
        if isinstance(value, list):
            return [self.document(item, key) for item in value]
        if isinstance(value, str):
            return self._of_key(key, value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            if patterns.SERIAL.fullmatch(key):
                return self.mask("serial", str(value))
            if patterns.DISCREET.search(key):
                return self.mask("secret", str(value))
        return value

    def json(self, data: bytes) -> str:
        """Return a JSON text with all masks, laid out anew; another text is masked as such."""
        try:
            return json.dumps(self.document(json.loads(data)), indent=2) + "\n"
        except (ValueError, RecursionError):
            return self.text(data.decode(errors="replace"))

    def _of_key(self, key: str, value: str) -> str:
        if kind := _kind(key, ":"):
            return self.mask(kind, value)
        if patterns.SERIAL.fullmatch(key):
            return self.mask("serial", value)
        if key in ("env", "environment", "Env") and "=" in value:
            name, _, rest = value.partition("=")
            is_open = patterns.OPEN_VARIABLES.fullmatch(name)
            return f"{name}={self.text(rest) if is_open else self.mask('value', rest)}"
        return self.text(value)


def _pair(hold: Hold, kind: str) -> Callable[[Match], str]:
    def masked(match: Match) -> str:
        value = match["value"]
        if value in ("true", "false", "null", "{", "[") or patterns.HOLDER.fullmatch(value):
            return match[0]
        bare = value.strip("'\"\\")
        before, _, after = value.partition(bare) if bare else (value, "", "")
        return match["head"] + before + (hold(kind, bare) if bare else "") + after

    return masked


def _whole(hold: Hold, kind: str) -> Callable[[Match], str]:
    return lambda match: hold(kind, match[0])


def _pem(hold: Hold) -> Callable[[Match], str]:
    return lambda match: hold(
        "private-key" if "PRIVATE" in match["what"] else "certificate", match[0]
    )


def _named(hold: Hold) -> Callable[[Match], str]:
    masked = _pair(hold, "value")
    return lambda match: masked(match) if is_variables(match["name"]) else match[0]


def is_variables(name: str) -> bool:
    """Whether a name is that of an environment variable whose value is to be masked."""
    is_discreet = patterns.DISCREET.search(name) is not None
    is_variable = patterns.ENVIRONMENT_NAME.fullmatch(name) is not None
    return is_discreet or (is_variable and not patterns.OPEN_VARIABLES.fullmatch(name))


def _kind(key: str, separator: str) -> str:
    """Return what the value of a key is, "" for nothing that is to be masked."""
    if patterns.DISCREET.search(key):
        return "secret"
    if separator == "=" and is_variables(key):
        return "value"
    if separator.strip() in (":", "="):
        if patterns.USER.fullmatch(key):
            return "user"
        if patterns.HOST.fullmatch(key):
            return "host"
    return ""


def _random(hold: Hold) -> Callable[[Match], str]:
    def masked(match: Match) -> str:
        """Mask what has letters of both cases and digits; names of files and options have not."""
        kinds = (str.islower, str.isupper, str.isdigit)
        is_mixed = all(any(map(is_kind, match[0])) for is_kind in kinds)
        parts = match[0].count("/") + 1
        is_base64 = len(match[0]) >= parts * patterns.SHORTEST_PART or match[0].endswith("=")
        return hold("secret", match[0]) if is_mixed and is_base64 else match[0]

    return masked


def _address(hold: Hold) -> Callable[[Match], str]:
    return lambda match: (
        match[0] if patterns.LOCAL.fullmatch(match[0]) else hold("address", match[0])
    )


def _host(hold: Hold) -> Callable[[Match], str]:
    return lambda match: match[0] if is_public(match[0]) else hold("host", match[0])


def _url(hold: Hold) -> Callable[[Match], str]:
    def masked(match: Match) -> str:
        host = match["value"]
        if patterns.LOCAL.fullmatch(host) or host == "localhost" or is_public(host):
            return match[0]
        return match["head"] + hold("host", host)

    return masked


def is_public(host: str) -> bool:
    """Whether a host's name is one that everybody knows."""
    return f".{host.lower()}".endswith(tuple(f".{name}" for name in patterns.PUBLIC_HOSTS))


def _of_words(words: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern of words, the longest first; a directory of users has many thousands."""
    groups: dict[str, list[str]] = {}
    for word in sorted(words, key=len, reverse=True):
        groups.setdefault(word[:2], []).append(re.escape(word[2:]))
    starts = [rf"{re.escape(start)}(?:{'|'.join(ends)})" for start, ends in groups.items()]
    return re.compile(rf"(?<![\w.-])(?:{'|'.join(starts)})(?![\w-])")


def of_this_machine() -> Masker:
    """Return a masker that knows this machine's names, and those of its users."""
    node = socket.gethostname()
    people = [entry for entry in pwd.getpwall() if entry.pw_uid >= patterns.FIRST_USER]
    names = {
        "host": [node, node.partition(".")[0]],
        "user": [entry.pw_name for entry in people],
        "person": [entry.pw_gecos.partition(",")[0] for entry in people],
    }
    return Masker(names)
