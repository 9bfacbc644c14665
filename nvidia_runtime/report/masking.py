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

from nvidia_runtime.report import patterns

Match = re.Match[str]
Hold = Callable[[str, str], str]


class Masker:
    """Masks texts and documents; ``names`` are words of this machine by their kinds."""

    def __init__(self, names: Mapping[str, Iterable[str]] | None = None) -> None:
        self._masks: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}
        self._words: dict[str, str] = {}
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
            len(word) >= patterns.SHORTEST
            and word.lower() not in patterns.COMMON
            and not word.isdigit()
        ):
            self._words.setdefault(word, kind)

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

        for pattern, rule in self._rules(hold):
            text = pattern.sub(rule, text)
        return patterns.HOLDER.sub(lambda match: held[int(match[1])], text)

    def _rules(self, hold: Hold) -> list[tuple[re.Pattern[str], Callable[[Match], str]]]:
        """Return what is looked for, in this order, and what takes its place."""
        rules = [
            (patterns.PRIVATE_KEY, _whole(hold, "private-key")),
            (patterns.SECRET_PAIR, _pair(hold, "secret")),
            (patterns.SERIAL_PAIR, _pair(hold, "serial")),
            (patterns.VARIABLE, _variable(hold)),
            (
                patterns.CREDENTIALS,
                lambda match: f"{match['head']}{hold('secret', match['value'])}@",
            ),
            (patterns.BEARER, _pair(hold, "secret")),
            (patterns.TOKEN, _whole(hold, "secret")),
            (patterns.EMAIL, _whole(hold, "mail")),
            (patterns.DOMAIN, _host(hold)),
            (patterns.URL_HOST, _url(hold)),
            (patterns.UUID, _pair(hold, "uuid")),
            (patterns.MACHINE_ID, _whole(hold, "id")),
            (patterns.RANDOM, _random(hold)),
            (patterns.MAC, _whole(hold, "mac")),
            (patterns.GUID, _whole(hold, "guid")),
            (patterns.IPV4, _address(hold)),
            (patterns.IPV6, _address(hold)),
            (patterns.HOME, _pair(hold, "user")),
        ]
        if self._words:
            longest = sorted(self._words, key=len, reverse=True)
            words = rf"(?<![\w.-])(?:{'|'.join(map(re.escape, longest))})(?![\w-])"
            rules.append((re.compile(words), lambda match: hold(self._words[match[0]], match[0])))
        return rules

    def document(self, value: Any, key: str = "") -> Any:
        """Return a JSON document in which texts are masked, some by the key that they have."""
        if isinstance(value, dict):
            return {self.text(name): self.document(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self.document(item, key) for item in value]
        if isinstance(value, str):
            return self._of_key(key, value)
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and _is_like(patterns.SERIAL, key)
        ):
            return self.mask("serial", str(value))
        return value

    def json(self, data: bytes) -> str:
        """Return a JSON text with all masks, laid out anew; another text is masked as such."""
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            return self.text(data.decode(errors="replace"))
        return json.dumps(self.document(document), indent=2) + "\n"

    def _of_key(self, key: str, value: str) -> str:
        if _is_like(patterns.DISCREET, key):
            return self.mask("secret", value)
        if _is_like(patterns.SERIAL, key):
            return self.mask("serial", value)
        if key in ("env", "environment", "Env") and "=" in value:
            name, _, rest = value.partition("=")
            is_open = patterns.OPEN_VARIABLES.fullmatch(name)
            return f"{name}={self.text(rest) if is_open else self.mask('value', rest)}"
        return self.text(value)


def _pair(hold: Hold, kind: str) -> Callable[[Match], str]:
    def masked(match: Match) -> str:
        value = match["value"]
        quote = value[0] if value[:1] in ("'", '"') else ""
        if value in ("true", "false", "null", "{", "[") or patterns.HOLDER.fullmatch(value):
            return match[0]
        bare = value.strip("'\"")
        return match["head"] + quote + (hold(kind, bare) if bare else "") + quote

    return masked


def _whole(hold: Hold, kind: str) -> Callable[[Match], str]:
    return lambda match: hold(kind, match[0])


def _variable(hold: Hold) -> Callable[[Match], str]:
    masked = _pair(hold, "value")
    return lambda match: (
        match[0] if patterns.OPEN_VARIABLES.fullmatch(match["name"]) else masked(match)
    )


def _random(hold: Hold) -> Callable[[Match], str]:
    def masked(match: Match) -> str:
        """Mask what has letters of both cases and digits; names of files and options have not."""
        kinds = (str.islower, str.isupper, str.isdigit)
        is_mixed = all(any(map(is_kind, match[0])) for is_kind in kinds)
        return hold("secret", match[0]) if is_mixed else match[0]

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


def _is_like(pattern: str, key: str) -> bool:
    return re.fullmatch(pattern, key, patterns.FLAGS) is not None
