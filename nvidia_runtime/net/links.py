# SPDX-License-Identifier: Apache-2.0
"""Network interfaces and namespaces: the description and move of one, and the pin of the other.

The only module that imports pyroute2.  Errors of the kernel are OSError.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.net.records import OWN_NAMESPACE, identity

Device = dict[str, Any]

# linux/sched.h, sys/mount.h, linux/if.h, linux/if_addr.h, linux/rtnetlink.h
CLONE_NEWNET = 0x40000000
MS_BIND, MNT_DETACH = 4096, 2
IFF_UP = 1
IFA_F_PERMANENT = 0x80
# NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN: choices of a user, not states.
IFA_F_CHOSEN = 0x2 | 0x10 | 0x100 | 0x200 | 0x400
RT_SCOPE_UNIVERSE = 0


@contextmanager
def netlink() -> Iterator[Any]:
    """Talk to the kernel about our current network namespace."""
    try:
        # Here, so that the error can say what to install.
        from pyroute2 import IPRoute  # type: ignore[import-untyped]
        from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        what = f"{error}, for {sys.executable}, which moves network interfaces"
        hint = f"apt-get install python3-pyroute2, or {sys.executable} -m pip install pyroute2"
        raise NvidiaRuntimeError(what, hint=hint) from None
    try:
        with IPRoute() as talk:
            yield talk
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from None


def describe(host: str) -> Device:
    """Return what is to be restored of an interface, and what it can be recognised by."""
    try:
        index = socket.if_nametoindex(host)
        with netlink() as talk:
            link = talk.get_links(index)[0]
            addresses = [one for one in talk.get_addr(index=index) if _stays(one, index)]
    except OSError:
        what = f"the host has no network interface {host} any more"
        raise NvidiaRuntimeError(what, hint="see 'ip link'") from None
    return {
        "host": link.get_attr("IFLA_IFNAME"),  # it may have been asked for by an alternative name
        "at_host": index,
        **_nature(link),
        "up": bool(link["flags"] & IFF_UP),
        "addresses": [_address(one) for one in addresses],
    }


def _nature(link: Any) -> Device:
    """Return what a container cannot change, so that it cannot have another interface returned."""
    kind = link.get_attr("IFLA_LINKINFO")
    return {
        "kind": kind.get_attr("IFLA_INFO_KIND") if kind else None,
        "permanent": link.get_attr("IFLA_PERM_ADDRESS"),
    }


def _stays(address: Any, index: int) -> bool:
    """Whether an address is one that a runtime must preserve: permanent, of global scope."""
    wide = address["index"] == index and address["scope"] == RT_SCOPE_UNIVERSE
    return wide and bool(_flags(address) & IFA_F_PERMANENT)


def _flags(address: Any) -> int:
    flags = address.get_attr("IFA_FLAGS")  # all 32; the header has only 8
    return int(address["flags"] if flags is None else flags)


def _address(address: Any) -> dict[str, Any]:
    """Return the values by which pyroute2 can set an address again."""
    values = {
        "family": address["family"],
        "prefixlen": address["prefixlen"],
        "flags": _flags(address) & IFA_F_CHOSEN,
        "address": address.get_attr("IFA_ADDRESS"),
        "local": address.get_attr("IFA_LOCAL"),
        "broadcast": address.get_attr("IFA_BROADCAST"),
    }
    return {name: value for name, value in values.items() if value is not None}


def name_all(devices: list[Device], names: list[str], namespace: int) -> None:
    """Decide the ``name`` of each device in a namespace; a template takes the lowest free number.

    The names in use are read first: the kernel refuses such a name only after it has moved the
    interface, which then has its host's name there, if that was free.
    """
    with inside(namespace):
        taken = {name for _, name in socket.if_nameindex()}
    for device, name in zip(devices, names, strict=True):
        if "%d" not in name and name in taken:
            what = f"the container already has a network interface {name}"
            raise NvidiaRuntimeError(what, hint="set another netDevices name in the CDI spec")
        device["name"] = _free_name(name, taken) if "%d" in name else name
        device["names"] = [device["name"], *{device["host"]} - taken - {device["name"]}]
        taken.add(device["name"])


def _free_name(template: str, taken: set[str]) -> str:
    number = 0
    while template.replace("%d", str(number)) in taken:
        number += 1
    return template.replace("%d", str(number))


def move_in(device: Device, namespace: int) -> None:
    """Move one interface, set it up there, and set its addresses again, which a move clears."""
    doing = f"cannot move {device['host']} into the container"
    try:
        with netlink() as talk:
            index, name = device["at_host"], device["name"]
            talk.link("set", index=index, net_ns_fd=namespace, ifname=name)
        with inside(namespace):
            device["index"] = socket.if_nametoindex(name)
            _allow_ipv6(name, device)
            for address in device["addresses"]:
                doing = f"cannot set {address['address']} on {name} in the container"
                _set_address(device["index"], address)
            doing = f"cannot set {name} up in the container"
            _set_up(device["index"])
    except OSError as error:
        raise NvidiaRuntimeError(f"{doing}: {os_reason(error)}") from None


def move_out(device: Device, namespace: int) -> str:
    """Return one interface to our network namespace, in its old state; say what was done."""
    host = name = device["host"]
    taken = {other for _, other in socket.if_nameindex()}
    if name in taken:
        name = _free_name("dev%d", taken)  # as the kernel does
    with opened(OWN_NAMESPACE) as own, inside(namespace), netlink() as talk:
        index = _find(talk.get_links(), device)
        if not index:
            return f"found no {host} to return"
        talk.link("set", index=index, net_ns_fd=own, ifname=name)
    said = f"returned {host}" + (f" as {name}" if name != host else "")
    index = socket.if_nametoindex(name)
    _allow_ipv6(name, device)
    for address in device["addresses"]:
        try:
            _set_address(index, address)
        except OSError as error:
            said += f" without {address['address']} ({os_reason(error)})"
    if device["up"]:
        _set_up(index)
    return said


def _find(links: Any, device: Device) -> int:
    """Find an interface by its index, since the container may have renamed it, or by its names."""
    links = [link for link in links if _nature(link).items() <= device.items()]
    indexes = [link["index"] for link in links if link["index"] == device.get("index")]
    for name in device["names"]:
        indexes += [link["index"] for link in links if link.get_attr("IFLA_IFNAME") == name]
    return int(indexes[0]) if indexes else 0


def _allow_ipv6(name: str, device: Device) -> None:
    """Allow an interface its IPv6 addresses where new interfaces get none.

    Docker disables IPv6 in the containers of its IPv4 networks; but the runtime-spec does not allow
    a runtime to drop an address of an interface.
    """
    if any(address["family"] == socket.AF_INET6 for address in device["addresses"]):
        with suppress(OSError):  # setting the address has the better error
            switch = f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6"
            with open(switch, "w") as file:  # of our current network namespace
                file.write("0")


def _set_address(index: int, address: dict[str, Any]) -> None:
    with netlink() as talk:
        talk.addr("add", index=index, **address)


def _set_up(index: int) -> None:
    with netlink() as talk:
        talk.link("set", index=index, state="up")


# What Python 3.11 has no function for.


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Hold a descriptor of a namespace or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Be in a network namespace; a socket that is opened there stays there."""
    with opened(OWN_NAMESPACE) as own:
        _check(_libc().setns(namespace, CLONE_NEWNET))
        try:
            yield
        finally:
            _check(_libc().setns(own, CLONE_NEWNET))


def is_own(namespace: int) -> bool:
    """Whether a network namespace is our own."""
    status = os.fstat(namespace)
    return [status.st_dev, status.st_ino] == identity(OWN_NAMESPACE)


def pin(namespace: int, place: str) -> None:
    """Keep a network namespace alive by a mount, as ``ip netns`` does."""
    unpin(place)
    os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    source = f"/proc/self/fd/{namespace}"
    _check(_libc().mount(source.encode(), place.encode(), None, ctypes.c_ulong(MS_BIND), None))


def is_pinned(place: str) -> bool:
    """Whether a file is a namespace: all of them are in one file system, nsfs."""
    own = identity(place)
    return bool(own) and own[0] == identity(OWN_NAMESPACE)[0]


def unpin(place: str) -> None:
    """Remove a pin, if there is one, mounted or not."""
    while is_pinned(place):
        _check(_libc().umount2(place.encode(), MNT_DETACH))
    with suppress(FileNotFoundError):
        os.unlink(place)
