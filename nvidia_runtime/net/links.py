# SPDX-License-Identifier: Apache-2.0
"""Network interfaces and namespaces: what one is, the move of one, and the pin of a namespace.

The only module that imports pyroute2.  Errors of the kernel are OSError.  Ring: elsewhere.
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
# NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN: what somebody chose, not a state.
IFA_F_CHOSEN = 0x2 | 0x10 | 0x100 | 0x200 | 0x400
RT_SCOPE_UNIVERSE = 0


@contextmanager
def netlink() -> Iterator[Any]:
    """Talk to the kernel about the network namespace that we are in."""
    try:
        # Here, where its absence can be said in words that help.
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
    """Note what there is to restore of an interface, and by what to know it again."""
    try:
        index = socket.if_nametoindex(host)
        with netlink() as talk:
            link = talk.get_links(index)[0]
            addresses = [found for found in talk.get_addr(index=index) if _stays(found, index)]
    except OSError:
        what = f"the host has no network interface {host} any more"
        raise NvidiaRuntimeError(what, hint="see 'ip link'") from None
    return {
        "host": link.get_attr("IFLA_IFNAME"),  # by any name it may have been asked for
        "at_host": index,
        **_nature(link),
        "up": bool(link["flags"] & IFF_UP),
        "addresses": [_address(found) for found in addresses],
    }


def _nature(link: Any) -> Device:
    """Return what no container can change of an interface, so that it cannot return another one."""
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
    flags = address.get_attr("IFA_FLAGS")  # all 32; the header has but 8
    return int(address["flags"] if flags is None else flags)


def _address(found: Any) -> dict[str, Any]:
    """Return an address as pyroute2 takes it to make one; the kernel dates and labels it itself."""
    values = {
        "family": found["family"],
        "prefixlen": found["prefixlen"],
        "flags": _flags(found) & IFA_F_CHOSEN,
        "address": found.get_attr("IFA_ADDRESS"),
        "local": found.get_attr("IFA_LOCAL"),
        "broadcast": found.get_attr("IFA_BROADCAST"),
    }
    return {name: value for name, value in values.items() if value is not None}


def name_all(devices: list[Device], names: list[str], namespace: int) -> None:
    """Decide the ``name`` of each device in a namespace; a template takes the lowest free number.

    Asked beforehand: when the kernel finds a name taken, it has already moved the interface, and
    then it is there under its host's name, if that was free.
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
    """Move one interface and set it up there, its addresses restored: a move clears them."""
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
    """Return one interface to our network namespace, as it was there; say what was done."""
    host = name = device["host"]
    taken = {found for _, found in socket.if_nameindex()}
    if name in taken:
        name = _free_name("dev%d", taken)  # what the kernel does in this case
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
    found = [link["index"] for link in links if link["index"] == device.get("index")]
    for name in device["names"]:
        found += [link["index"] for link in links if link.get_attr("IFLA_IFNAME") == name]
    return int(found[0]) if found else 0


def _allow_ipv6(name: str, device: Device) -> None:
    """Let an interface keep its IPv6 addresses where new ones get none.

    Docker switches IPv6 off in the containers of its IPv4 networks; whoever gives a container an
    interface with such an address means it, and the runtime-spec lets no runtime drop one.
    """
    if any(address["family"] == socket.AF_INET6 for address in device["addresses"]):
        with suppress(OSError):  # the address that cannot be set has the better error
            switch = f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6"
            with open(switch, "w") as file:  # of the network namespace that we are in
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
    """Be in a network namespace; a socket made there stays there."""
    with opened(OWN_NAMESPACE) as own:
        _check(_libc().setns(namespace, CLONE_NEWNET))
        try:
            yield
        finally:
            _check(_libc().setns(own, CLONE_NEWNET))


def is_own(namespace: int) -> bool:
    """Whether a network namespace is the one that we are in."""
    found = os.fstat(namespace)
    return [found.st_dev, found.st_ino] == identity(OWN_NAMESPACE)


def pin(namespace: int, place: str) -> None:
    """Keep a network namespace alive by a mount, as ``ip netns`` does."""
    unpin(place)
    os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    source = f"/proc/self/fd/{namespace}"
    _check(_libc().mount(source.encode(), place.encode(), None, ctypes.c_ulong(MS_BIND), None))


def is_pinned(place: str) -> bool:
    """Whether a file is a namespace: all of them are of one file system, nsfs."""
    found = identity(place)
    return bool(found) and found[0] == identity(OWN_NAMESPACE)[0]


def unpin(place: str) -> None:
    """Remove a pin, mounted or not, missing or not."""
    while is_pinned(place):
        _check(_libc().umount2(place.encode(), MNT_DETACH))
    with suppress(FileNotFoundError):
        os.unlink(place)
