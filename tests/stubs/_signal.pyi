# SPDX-License-Identifier: Apache-2.0
# The built-in half of `signal`, which typeshed describes only there.
from collections.abc import Iterable

SIGHUP: int
SIGINT: int
SIGQUIT: int
SIGKILL: int
SIGPIPE: int
SIGTERM: int
SIGUSR1: int
SIGUSR2: int
SIGCHLD: int
SIGXFSZ: int
SIG_DFL: int
SIG_BLOCK: int
SIG_SETMASK: int

class SigInfo:
    si_signo: int

def default_int_handler(number: int, frame: object) -> None: ...
def getsignal(number: int) -> object: ...
def pthread_sigmask(how: int, numbers: Iterable[int]) -> set[int]: ...
def signal(number: int, handler: object) -> object: ...
def sigtimedwait(numbers: Iterable[int], timeout: float) -> SigInfo | None: ...
