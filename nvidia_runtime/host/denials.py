# SPDX-License-Identifier: Apache-2.0
"""What SELinux, AppArmor and seccomp have denied, as the audit system writes it.

The same text is in auditd's file, or without auditd in the kernel's log: see auditd.conf(5) and
audit_log_untrustedstring() in the kernel for its words.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass

PATH = "/var/log/audit/audit.log"
# Of a longer file the end.
MOST = 1 << 20
SELINUX, APPARMOR, SECCOMP = "SELinux", "AppArmor", "seccomp"
# By names in auditd's file, by numbers in the kernel's log.
EVENT = re.compile(
    r"type=(?P<type>AVC|SECCOMP|1400|1326) (?:msg=)?audit\((?P<time>\d+)\.\d+:(?P<serial>\d+)\): "
    r"(?P<text>.*)"
)
AVC = re.compile(r"avc:\s+denied\s+\{ (?P<permissions>[\w ]+) \} for\s")
FIELD = re.compile(r'(?<!\S)(?P<name>[\w-]+)=(?:"(?P<quoted>[^"]*)"|(?P<bare>\S+))')
# Of these fields the audit system writes a value with odd letters in hexadecimal.
UNTRUSTED = ("comm", "exe", "name", "path", "profile")
HEXADECIMAL = re.compile(r"(?:[0-9A-F]{2})+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Something that was denied.

    ``by`` is who denied it, ``operation`` the permissions or what AppArmor calls it; ``fields`` are
    the words of the event.
    """

    by: str
    time: float
    operation: str
    fields: dict[str, str]

    @property
    def path(self) -> str:
        """The file's path, or the name alone where that is all that the event has."""
        return self.fields.get("path") or self.fields.get("name", "")

    @property
    def program(self) -> str:
        """The program that was kept from it, by its name."""
        return self.fields.get("comm", "")

    @property
    def source(self) -> str:
        """The SELinux type of the process."""
        return _type(self.fields.get("scontext", ""))

    @property
    def target(self) -> str:
        """The SELinux type of the file."""
        return _type(self.fields.get("tcontext", ""))


def _type(context: str) -> str:
    return (context.split(":") + ["", "", ""])[2]


def read_file(path: str = PATH) -> list[str] | None:
    """Return the last lines of auditd's file; None where it cannot be read, or is no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        data = os.pread(descriptor, MOST, max(0, status.st_size - MOST))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return data.decode("utf-8", "replace").split("\n")


def parse(lines: Iterable[str]) -> list[Denial]:
    """Return the denials in lines of either log, each once; what was only noted is none."""
    denials: dict[tuple[str, str, str], Denial] = {}
    for line in lines:
        event = EVENT.search(line)
        denial = _denial(event["text"], float(event["time"])) if event else None
        if event and denial:
            denials.setdefault((event["time"], event["serial"], event["text"]), denial)
    return list(denials.values())


def _denial(text: str, time: float) -> Denial | None:
    fields = {match["name"]: _value(match) for match in FIELD.finditer(text)}
    if match := AVC.match(text):
        if fields.get("permissive") == "1":
            return None
        by, operation = SELINUX, match["permissions"].strip()
    elif fields.get("apparmor") == "DENIED":
        by, operation = APPARMOR, fields.get("operation", "")
    elif "syscall" in fields and "sig" in fields and fields["sig"] != "0":
        by, operation = SECCOMP, fields["syscall"]
    else:
        return None
    return Denial(by=by, time=time, operation=operation, fields=fields)


def _value(match: re.Match[str]) -> str:
    if match["bare"] is None:
        return match["quoted"]
    bare = match["bare"]
    if match["name"] in UNTRUSTED and HEXADECIMAL.fullmatch(bare):
        return bytes.fromhex(bare).decode("utf-8", "replace")
    return bare
