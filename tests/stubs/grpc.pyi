# SPDX-License-Identifier: Apache-2.0
# What the tests use of grpcio, which has no types of its own.
from types import TracebackType
from typing import Protocol, Self

class RpcError(Exception): ...

class Call(Protocol):
    def __call__(self, request: bytes, *, timeout: float, wait_for_ready: bool) -> bytes: ...

class Channel:
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def unary_unary(self, method: str) -> Call: ...

def insecure_channel(target: str) -> Channel: ...
