# SPDX-License-Identifier: Apache-2.0
r"""The words of a config.json that may ask for something: without one, no create needs Python.

The launcher looks for them in the text, so each is a part that JSON spells in one way only: a
letter may also be ``\u`` and a number, which is one of the words; a slash may have a backslash
before it.  What `create.inject` acts on must have one of them: requests by `request.read`, hooks of
ours and of NVIDIA's, device nodes of the driver's.  Ring: elsewhere.
"""

from nvidia_runtime.admission import request
from nvidia_runtime.store.snapshot import IMAGE_REQUESTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.store.snapshot import Snapshot

ALWAYS = ("nvidia", "NVIDIA", "CUDA_VERSION", "\\u")
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
    return list(dict.fromkeys((*ALWAYS, *parts))) if all(parts) else []


def _longest_part(name: str) -> str:
    """Return a part of a name that JSON cannot escape, but for a letter by its number."""
    for mark in ESCAPED:
        name = name.replace(mark, "\n")
    return max(name.split("\n"), key=len)
