# SPDX-License-Identifier: Apache-2.0
"""How names, addresses, serial numbers and secrets look in texts."""

from __future__ import annotations

import re

# Words that are so common that as a name they tell nothing, and to replace them would spoil texts.
COMMON = frozenset(
    (
        *("root", "nobody", "daemon", "user", "users", "admin", "test", "node", "host", "gpu"),
        *("localhost", "localdomain", "debian", "ubuntu", "fedora", "linux", "docker", "podman"),
        *("containerd", "nvidia", "runner", "builder", "dev", "worker", "master", "server"),
        *("main", "home", "none", "systemd", "mail", "news", "list", "backup"),
    )
)
SHORTEST = 3
# The first id of people; below are services.
FIRST_USER = 1000
# Environment variables whose values say what a container asks for, and nothing of its owner.
OPEN_VARIABLES = re.compile(
    r"(?:NVIDIA_(?!API)[A-Z0-9_]*|CUDA_VERSION|CUDA_VISIBLE_DEVICES|NV_[A-Z0-9_]*VERSION|PATH"
    r"|LD_LIBRARY_PATH|XDG_RUNTIME_DIR|CONTAINERS_CONF|DOCKER_HOST|LANG|TERM)"
)
DISCREET = r"""[\w.-]*(?:passw(?:or)?d|passwd|passphrase|secret|token|credential|api[-_]?key
    |private[-_]?key|access[-_]?key|identity[-_]?token|registry[-_]?token)[\w.-]*|auth|_auth
    |proxy[-_]?authorization|authorization|http_proxy|https_proxy|ftp_proxy|cookie"""
SERIAL = r"""serial(?:[\s_-]?(?:number|no))?|board[\s_-]?(?:part|id)|product[\s_-]?serial
    |machine[-_]?id|boot[-_]?id|asset[\s_-]?tag|chassis[\s_-]?serial"""
FLAGS = re.IGNORECASE | re.VERBOSE

PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
# KEY = "value", KEY: value, "KEY": "value", KEY=value, --KEY value.
SECRET_PAIR = re.compile(
    rf"""(?P<head>(?<![\w.-])["']?(?:--)?(?:{DISCREET})["']?(?:\s*[:=]\s*)|(?<!\S)--(?:{DISCREET})\s+)
    (?P<value><[a-z-]+\ \d+>|"(?:[^"\\]|\\.)*"
    |'[^']*'|(?:(?:basic|bearer|digest|token)\s+)?[^\s,;"'}}\]]+)""",
    FLAGS,
)
SERIAL_PAIR = re.compile(
    rf"""(?P<head>(?<![\w.-])["']?(?:{SERIAL})["']?\s*[:=]\s*)
    (?P<value><[a-z-]+\ \d+>|"[^"]*"|'[^']*'|[^\s,;"'}}\]]+)""",
    FLAGS,
)
BEARER = re.compile(
    r"(?P<head>\b(?:bearer|basic)\s+)(?P<value>[A-Za-z0-9+/=_.~-]{8,})", re.IGNORECASE
)
# Tokens that are known by their beginning: of forges, clouds, registries, model hubs; a JWT.
TOKEN = re.compile(
    r"""\b(?:gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|nvapi-[\w-]{16,}|hf_\w{16,}
    |sk-[\w-]{16,}|xox[a-z]-[\w-]{10,}|A(?:KIA|SIA)[A-Z0-9]{12,}|AIza[\w-]{20,}|dckr_pat_[\w-]{10,}
    |npm_\w{20,}|pypi-[\w-]{20,}|ey[JK][\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?|ya29\.[\w-]{10,})""",
    re.VERBOSE,
)
# Long and random: base64 of keys and passwords.  Digests and container ids are hexadecimal.
RANDOM = re.compile(
    r"(?<![\w/+.=-])(?![0-9a-fA-F]+(?![\w/+=]))[A-Za-z0-9+_-]{40,}={0,2}(?![\w/+.-])"
)
CREDENTIALS = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]*://)(?P<value>[^\s/@\"']+)@", re.IGNORECASE)
EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")
URL_HOST = re.compile(
    r"(?P<head>\b[a-z][a-z0-9+.-]*://(?:<[^>]*>@)?)(?P<value>[A-Za-z0-9][A-Za-z0-9.-]*)",
    re.IGNORECASE,
)
UUID = re.compile(
    r"(?P<head>\b(?:GPU-|MIG-|MIG-GPU-)?)"
    r"(?P<value>[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})\b"
)
MACHINE_ID = re.compile(r"(?<![0-9a-zA-Z])[0-9a-f]{32}(?![0-9a-zA-Z])")
MAC = re.compile(r"(?<![0-9A-Fa-f:.])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:.])")
GUID = re.compile(
    r"(?<![0-9A-Fa-f:])(?:0x[0-9a-fA-F]{16}|(?:[0-9a-fA-F]{4}:){3}[0-9a-fA-F]{4})(?![0-9A-Fa-f:.])"
)
OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
IPV4 = re.compile(rf"(?<![\w.-])(?:{OCTET}\.){{3}}{OCTET}(?![\w.]*\w)")
IPV6 = re.compile(
    r"(?<![\w:.])(?:(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}"
    r"|(?:[0-9a-fA-F]{1,4}:){1,7}:(?:[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){0,6})?"
    r"|::(?:[0-9a-fA-F]{1,4}:){0,6}[0-9a-fA-F]{1,4})(?:%\w+)?(?![\w:])"
)
# What a file's name does not end with.
TOP = (
    "com|org|net|edu|gov|mil|int|io|dev|ai|cloud|eu|uk|de|fr|nl|ch|es|it|se|pl|jp|cn|kr|tw|br|au|ca"
)
INNER = "local|lan|internal|intranet|corp|home|private|arpa|example|test|invalid"
DOMAIN = re.compile(
    rf"(?<![\w.-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?:{TOP}|{INNER})(?![\w-]|\.\w)",
    re.IGNORECASE,
)
HOME = re.compile(
    r"(?P<head>(?:/home|/Users|/users|/export/home)/)(?P<value><[a-z-]+ \d+>|[^/\s\"':,;]+)"
)
VARIABLE = re.compile(
    r"(?P<head>(?<![\w$.-])(?P<name>[A-Z_][A-Z0-9_]{2,})=)"
    r"(?P<value><[a-z-]+ \d+>|\"[^\"]*\"|'[^']*'|[^\s,;\"'\]})]*)"
)
# What is public: where images of NVIDIA and of distributions come from.
PUBLIC = (
    "docker.io/nvidia/",
    "docker.io/library/",
    "nvcr.io/nvidia/",
    "registry.k8s.io/",
    "nvidia/cuda",
)
PUBLIC_HOSTS = (
    *("nvidia.com", "nvidia.github.io", "github.com", "docker.io", "docker.com", "nvcr.io"),
    *("k8s.io", "kubernetes.io", "containerd.io", "cncf.io", "opencontainers.org", "debian.org"),
)
LOCAL = re.compile(r"(?:127(?:\.\d+){3}|0\.0\.0\.0|255\.255\.255\.\d+|::1?)")
MASK = re.compile(r"<[a-z-]+(?: \d+)?>")
# Stands for a mask while other rules look, so that none takes it for what it looks for.
HOLDER = re.compile("\ue000(\\d+)\ue001")
