# SPDX-License-Identifier: Apache-2.0
"""Ask libdxcore, through which WSL reaches the GPUs of Windows, where their drivers' files are.

It is asked in a child.  Structures: learn.microsoft.com, d3dkmthk.h and
d3dukmdt.h; on Linux a WCHAR has four bytes.
"""

from __future__ import annotations

import ctypes

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import child

QUERY_DRIVER_VERSION = 13
QUERY_REGISTRY = 48
DRIVER_STORE_PATH = 2
COMPUTE_ONLY = 1
MAX_PATH = 260
# WDDM 2.8 is the first that gives Linux a GPU.
OLDEST_DRIVER = 2800
MOST_ADAPTERS = 256


class AdapterInfo(ctypes.Structure):
    """D3DKMT_ADAPTERINFO."""

    _fields_ = (
        ("handle", ctypes.c_uint32),
        ("luid", ctypes.c_uint32 * 2),
        ("sources", ctypes.c_uint32),
        ("prefers_precise_regions", ctypes.c_uint32),
    )


class Adapters2(ctypes.Structure):
    """D3DKMT_ENUMADAPTERS2."""

    _fields_ = (("count", ctypes.c_uint32), ("adapters", ctypes.POINTER(AdapterInfo)))


class Adapters3(ctypes.Structure):
    """D3DKMT_ENUMADAPTERS3, which also lists GPUs without a display."""

    _fields_ = (
        ("filter", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("adapters", ctypes.POINTER(AdapterInfo)),
    )


class Query(ctypes.Structure):
    """D3DKMT_QUERYADAPTERINFO."""

    _fields_ = (
        ("handle", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_uint32),
    )


class RegistryQuery(ctypes.Structure):
    """D3DDDI_QUERYREGISTRY_INFO, whose last field has the length that the text needs."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("value_name", ctypes.c_uint32 * MAX_PATH),
        ("value_type", ctypes.c_uint32),
        ("physical_adapter", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("status", ctypes.c_uint32),
        ("output", ctypes.c_uint64),
    )


def driver_stores(library: str, patience: float) -> list[str]:
    """Return the folders of the drivers of all adapters, as this system sees them.

    Raises `NvidiaRuntimeError` if the library does not answer within ``patience`` seconds.
    """
    data, ending = child.ask(lambda: _answer(library), patience)
    kind, _, text = data.decode("utf-8", "replace").partition("\n")
    if kind == "stores":
        return [line for line in text.split("\n") if line]
    hint = "in Windows, run 'wsl --update' and look after the GPU's driver; then 'wsl --shutdown'"
    raise NvidiaRuntimeError(text or ending, where=library, hint=hint)


def _answer(library: str) -> bytes:
    """Return the answer of the child: the word ``stores``, or ``error``, and lines."""
    try:
        answer = "\n".join(["stores", *_ask(ctypes.CDLL(library))])
    except (OSError, AttributeError, ValueError) as error:
        answer = f"error\n{error}"
    return answer.encode("utf-8", "replace")


def _ask(library: ctypes.CDLL) -> list[str]:
    handles = _adapters(library)
    usable = [handle for handle in handles if _driver_version(library, handle) >= OLDEST_DRIVER]
    stores = [_driver_store(library, handle) for handle in usable]
    return [store for store in dict.fromkeys(stores) if store]


def _adapters(library: ctypes.CDLL) -> list[int]:
    """List the handles of all adapters: first how many there are, then which."""
    calls: list[tuple[str, Adapters2 | Adapters3]] = [("D3DKMTEnumAdapters2", Adapters2())]
    if hasattr(library, "D3DKMTEnumAdapters3"):
        calls.insert(0, ("D3DKMTEnumAdapters3", Adapters3(filter=COMPUTE_ONLY)))
    for name, params in calls:
        call = getattr(library, name)
        if call(ctypes.byref(params)):
            continue
        adapters = (AdapterInfo * min(params.count, MOST_ADAPTERS))()
        params.count = len(adapters)
        params.adapters = ctypes.cast(adapters, ctypes.POINTER(AdapterInfo))
        if not call(ctypes.byref(params)):
            return [adapter.handle for adapter in adapters[: params.count]]
    raise ValueError("cannot list the adapters")


def _driver_version(library: ctypes.CDLL, handle: int) -> int:
    version = ctypes.c_uint32()
    failed = _query(library, handle, QUERY_DRIVER_VERSION, version, ctypes.sizeof(version))
    return 0 if failed else version.value


def _driver_store(library: ctypes.CDLL, handle: int) -> str:
    """Ask for the length of the path, then for the path; "" if it is unknown."""
    asked = RegistryQuery(type=DRIVER_STORE_PATH)
    if _query(library, handle, QUERY_REGISTRY, asked, ctypes.sizeof(asked)):
        return ""
    size = min(asked.size, MAX_PATH * 4)
    buffer = ctypes.create_string_buffer(ctypes.sizeof(RegistryQuery) + size)
    again = RegistryQuery.from_buffer(buffer)
    again.type, again.size = DRIVER_STORE_PATH, size
    if _query(library, handle, QUERY_REGISTRY, buffer, len(buffer)) or again.status:
        return ""
    start = RegistryQuery.output.offset
    text = buffer.raw[start : start + size].decode("utf-32-le", "replace")
    return text.partition("\0")[0]


def _query(library: ctypes.CDLL, handle: int, kind: int, data: object, size: int) -> int:
    address = ctypes.cast(ctypes.pointer(data), ctypes.c_void_p)  # type: ignore[type-var]
    query = Query(handle, kind, address, size)
    return int(library.D3DKMTQueryAdapterInfo(ctypes.byref(query)))
