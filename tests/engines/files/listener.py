# SPDX-License-Identifier: Apache-2.0
"""A daemon that does nothing but to be found: a process of any name that listens on a socket.

As a program: listener.py FD SOCKET [ARGUMENT...], the descriptor being of a socket that listens
already, or -1.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A Python that is called dockerd would look for its library beside the host's dockerd.
HOME = {"PYTHONHOME": sys.base_prefix}


def main() -> None:
    """Listen until it is ended; note each SIGHUP beside the socket."""
    fd, path = int(sys.argv[1]), sys.argv[2]
    server = socket.socket(socket.AF_UNIX) if fd < 0 else socket.socket(fileno=fd)
    signal.signal(signal.SIGHUP, lambda *_: Path(f"{path}.reloaded").touch())
    if fd < 0:
        Path(path).unlink(missing_ok=True)
        server.bind(path)
        server.listen()
    Path(f"{path}.ready").write_text(str(os.getpid()))
    while True:
        signal.pause()


@contextmanager
def running(
    name: str, path: Path, *arguments: str, fd: int = -1, enter: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Keep a listener running, in another namespace if words lead into one."""
    import waiting  # which the program, run by its path, does not find

    ready = Path(f"{path}.ready")
    ready.unlink(missing_ok=True)
    words = [__file__, str(fd), str(path), *arguments]
    process = subprocess.Popen(
        [*enter, sys.executable, *words] if enter else [name, *words],
        executable=None if enter else sys.executable,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **HOME},
        pass_fds=() if fd < 0 else (fd,),
    )
    try:
        waiting.eventually(
            lambda: ready.exists() and ready.read_text(), f"{name} listens on {path}", process
        )
        yield process
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    main()
