# SPDX-License-Identifier: Apache-2.0
"""What dockerd says that it knows, by the Engine API: https://docs.docker.com/reference/api/engine/.

``docker info`` asks GET /info, ``docker ps`` GET /containers/json.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from nvidia_runtime.engines.engine import Knowledge

SECONDS = 5.0
LARGEST = 16 << 20


def get(path: str, question: str) -> Any:
    """Ask the daemon behind a socket; None where it does not answer, or not us."""
    try:
        return asked(path, question, SECONDS)
    except (OSError, ValueError):
        return None


def asked(path: str, question: str, seconds: float) -> Any:
    """Ask the daemon behind a socket; None where it refuses.

    Raises `OSError` where there is no answer, `ValueError` where it is an odd one.
    """
    import http.client  # with e-mail and TLS: 20 ms, which machines without docker spare

    connection = http.client.HTTPConnection("localhost", timeout=seconds)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(seconds)
        client.connect(path)
        connection.sock = client
        try:
            connection.request("GET", question)
            response = connection.getresponse()
            return json.loads(response.read(LARGEST)) if response.status == 200 else None
        except http.client.HTTPException as error:
            raise ValueError(f"no answer of HTTP: {error}") from error


def ask(path: str) -> Knowledge | None:
    """Return what the daemon behind a socket knows; None where it does not say so."""
    document = get(path, "/info")
    return knowledge(document) if isinstance(document, dict) else None


def knowledge(document: dict[str, Any]) -> Knowledge:
    """Return what an answer says of runtimes and CDI."""
    runtimes = document.get("Runtimes")
    folders = document.get("CDISpecDirs", ())  # since docker 25; null or empty where CDI is off
    return Knowledge(
        programs={
            str(name): str(entry.get("path", ""))
            for name, entry in (runtimes.items() if isinstance(runtimes, dict) else ())
            if isinstance(entry, dict)
        },
        default=str(document.get("DefaultRuntime") or ""),
        cdi=None if folders == () else bool(folders),
    )
