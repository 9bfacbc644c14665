# SPDX-License-Identifier: Apache-2.0
r"""The words of a config.json that may ask for something: without one, no create needs Python.

The launcher looks for them in the text, so each is a part that JSON spells in one way only: what
is in it may also be ``\u`` and a number, so those numbers are words, too.  Others are not: Go, in
which engines are written, spells ``&``, ``<`` and ``>`` so, as many a command of a shell has them.
A slash may have a backslash before it.  What `create.inject` acts on must have one of the words:
requests by `request.read`, hooks of ours and of NVIDIA's, device nodes of the driver's.  Ring:
elsewhere.
"""

from nvidia_runtime.admission import request
from nvidia_runtime.store.snapshot import IMAGE_REQUESTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.store.snapshot import Snapshot

ALWAYS = ("nvidia", "NVIDIA", "CUDA_VERSION")
# By how the numbers of letters begin, and of what is between them in ASCII.
LETTERS = ("\\u004", "\\u005", "\\u006", "\\u007")
ANY_NUMBER = "\\u"
# What JSON escapes, or may.
ESCAPED = '"\\/' + "".join(map(chr, range(32)))


def of_requests(snapshot: "Snapshot") -> list[str]:
    """Return the words under the present settings, none where Python has to look at every create.

    So it has to where it would log something, or where what an image asks for is looked at.
    """
    settings = snapshot.settings
    if snapshot.warnings or settings[IMAGE_REQUESTS] != "allow":
        return []
    names = request.swarm_variables(settings) + list(settings[request.ANNOTATION_PREFIXES])
    parts = [_longest_part(name) for name in names]
    words = dict.fromkeys((*ALWAYS, *parts))
    return [*words, *_numbers("".join(words))] if all(parts) else []


def _numbers(signs: str) -> list[str]:
    """Return how signs may be spelled by their numbers: one of them is in what hides a word."""
    if not signs.isascii():
        return [ANY_NUMBER]
    others = sorted(ord(sign) for sign in {*signs} if sign < "@")
    spelled = [f"\\u00{number:{form}}" for number in others for form in ("02x", "02X")]
    return [*LETTERS, *dict.fromkeys(spelled)]


def _longest_part(name: str) -> str:
    """Return a part of a name that JSON cannot escape, but for a letter by its number."""
    for mark in ESCAPED:
        name = name.replace(mark, "\n")
    return max(name.split("\n"), key=len)
