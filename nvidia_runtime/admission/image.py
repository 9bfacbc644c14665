# SPDX-License-Identifier: Apache-2.0
"""What an image itself says, as opposed to its user, by the engine's files.

Docker and containers/storage (podman, CRI-O) keep an image's configuration in a file, beside the
container's root file system; no daemon is asked.  containerd has it in a database: unknown.
The image's author writes these files, so what another reader might understand otherwise than we
do counts as unreadable.  Ring: elsewhere; only where images are not trusted.
"""

import json
import posix

from nvidia_runtime.admission import engine
from nvidia_runtime.admission.request import VISIBLE_DEVICES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.document import Document

# A thousand containers are one megabyte in containers.json; the other files have some kilobytes.
LARGEST = 16 << 20
# root.path lies at most this far below an engine's folder: ROOT/btrfs/subvolumes/ID.
DEEPEST = 5
# containers/storage lists containers of `podman run --rm` apart since 2022.
LISTS = ("containers.json", "volatile-containers.json")
HEX = frozenset("0123456789abcdef")


class Image:
    """What an image says: its NAME=VALUE entries, and the annotations, which podman copies.

    ``completed`` are entries without a value, NAME or NAME*: podman takes it from its own
    environment.
    """

    __slots__ = ("annotations", "completed", "environment", "is_readable")

    def __init__(
        self,
        environment: frozenset[str],
        annotations: "Document | None" = None,
        is_readable: bool = True,
        completed: frozenset[str] = frozenset(),
    ) -> None:
        self.environment = environment
        self.annotations = annotations or {}
        self.is_readable = is_readable
        self.completed = completed

    def says(self, name: str, value: str) -> bool:
        """Whether a variable of the container is the image's, as it is or by the engine's help."""
        return f"{name}={value}" in self.environment or any(
            name.startswith(word[:-1]) if word[-1:] == "*" else name == word
            for word in self.completed
        )


UNREADABLE = Image(frozenset(), is_readable=False)


class _UnreadableError(Exception):
    """An engine's file that says something, but not in one way only."""


def read(spec: "Document", container: str) -> Image | None:
    """Find the image of a container by its root file system.

    ``None`` if no engine's files name the container; an image that is not ``is_readable`` if they
    do, but do not say what is the image's.
    """
    try:
        image = _find(spec, container)
    except _UnreadableError:
        return UNREADABLE
    if image is None and engine.is_of_podman(spec):
        return UNREADABLE
    return image


def _find(spec: "Document", container: str) -> Image | None:
    root = spec.get("root")
    path = root.get("path") if type(root) is dict else None
    if type(path) is not str or path[:1] != "/" or "/" in container or container in ("", ".", ".."):
        return None
    parts = path.rstrip("/").split("/")
    for depth in range(len(parts) - 1, max(1, len(parts) - 1 - DEEPEST), -1):
        folder = "/".join(parts[:depth])
        try:
            image = _of_docker(folder, container)
        except _UnreadableError:
            return None  # docker copies no annotations, so these are the user's in any case
        image = image or _of_storage(folder, parts[depth], container)
        if image:
            return image
    return None


def _of_docker(folder: str, container: str) -> Image | None:
    """Read DATA-ROOT/containers/ID and the image's configuration in DATA-ROOT/image/DRIVER."""
    config = _load(f"{folder}/containers/{container}/config.v2.json")
    driver, digest = _text(config, "Driver"), _digest(_text(config, "Image"))
    if config is None:
        return None
    if not driver or "/" in driver or not digest:
        raise _UnreadableError
    image = _load(f"{folder}/image/{driver}/imagedb/content/sha256/{digest}")
    environment = _environment(image)
    host = _load(f"{folder}/containers/{container}/hostconfig.json")
    if _asks_for_gpus(host):
        # The daemon sets the variable for `docker run --gpus`, which only a user can write.
        prefix = f"{VISIBLE_DEVICES}="
        environment = frozenset(entry for entry in environment if not entry.startswith(prefix))
    return Image(environment)


def _asks_for_gpus(host: "Any") -> bool:
    requests = host.get("DeviceRequests") if type(host) is dict else None
    for request in requests if type(requests) is list else ():
        if _text(request, "Driver") == "nvidia":
            return True
        options = request.get("Capabilities") if type(request) is dict else None
        for option in options if type(options) is list else ():
            if type(option) is list and "gpu" in option:
                return True
    return False


def _of_storage(folder: str, driver: str, container: str) -> Image | None:
    """Read GRAPHROOT/DRIVER-containers and GRAPHROOT/DRIVER-images/IMAGE."""
    image_id: str | None = None
    for name in LISTS:
        listed = _load(f"{folder}/{driver}-containers/{name}")
        for entry in listed if type(listed) is list else ():
            if _text(entry, "id") == container:
                image_id = _text(entry, "image")
    if image_id is None:
        return None
    if not image_id:
        return Image(frozenset())  # podman run --rootfs
    if not _digest(f"sha256:{image_id}"):
        raise _UnreadableError
    image = f"{folder}/{driver}-images/{image_id}"
    manifest = _load(f"{image}/manifest")
    digest = _text(_get(manifest, "config"), "digest")
    if not _digest(digest):
        raise _UnreadableError
    return _of_configuration(_load(f"{image}/{config_file(digest)}"), _get(manifest, "annotations"))


def config_file(digest: str) -> str:
    """Return the name of an image's configuration in containers/storage.

    It is "=" and the base64 of any name that is not a simple one.
    """
    from binascii import b2a_base64  # only here

    return f"={b2a_base64(digest.encode(), newline=False).decode()}"


def of_configuration(configuration: "Any", annotations: "Any") -> Image:
    """Return what an image says that has no container yet, by its documents."""
    try:
        return _of_configuration(configuration, annotations)
    except _UnreadableError:
        return UNREADABLE


def _of_configuration(configuration: "Any", annotations: "Any") -> Image:
    entries = _environment(configuration)
    return Image(
        frozenset(map(_trim, entries)),
        annotations if type(annotations) is dict else None,
        completed=frozenset(entry.strip() for entry in entries if "=" not in entry),
    )


def _trim(entry: str) -> str:
    """Return an entry without the blanks around its name: podman has none in the container's."""
    name, equals, value = entry.partition("=")
    return name.strip() + equals + value


def _environment(image: "Any") -> frozenset[str]:
    """Return the environment in an image's configuration."""
    config = _get(image, "config")
    if config is None and _get(image, "rootfs") is not None:
        return frozenset()
    if type(config) is not dict:
        raise _UnreadableError
    entries = _get(config, "Env")
    if entries is None:
        return frozenset()
    if type(entries) is not list:
        raise _UnreadableError
    return frozenset(entry for entry in entries if type(entry) is str)


def _get(document: "Any", key: str) -> "Any":
    """Return a field; engines are written in Go, which takes a key in any case."""
    if type(document) is not dict:
        return None
    for other in document:
        if other != key and other.casefold() == key.casefold():
            raise _UnreadableError
    return document.get(key)


def _text(document: "Any", key: str) -> str:
    value = _get(document, key)
    return value if type(value) is str else ""


def _digest(text: str) -> str:
    """Return the hexadecimal part of a digest, "" if it cannot be the name of a file."""
    algorithm, _, digits = text.partition(":")
    return digits if algorithm == "sha256" and len(digits) == 64 and HEX.issuperset(digits) else ""


def _load(path: str) -> "Any":
    """Read a JSON file of an engine's; None if it is missing."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError:
        raise _UnreadableError from None
    try:
        status = posix.fstat(descriptor)
        if status.st_mode & 0o170000 != 0o100000 or status.st_size > LARGEST:
            raise _UnreadableError
        data = posix.read(descriptor, status.st_size)
        document = json.loads(data.decode(), object_pairs_hook=_unique)
        if b"\\ud" in data.lower():  # half of a character, which Go replaces: an error here
            json.dumps(document, ensure_ascii=False).encode()
        return document
    except (OSError, ValueError, RecursionError):
        raise _UnreadableError from None
    finally:
        posix.close(descriptor)


def _unique(pairs: "list[tuple[str, Any]]") -> "Document":
    """Refuse repeated keys: of these Go merges the values."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise _UnreadableError
    return value
