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
SHORTEST, LONGEST = 3, 512
# The first id of people; below are services.
FIRST_USER = 1000
# Environment variables whose values say what a container asks for, and nothing of its owner.
OPEN_VARIABLES = re.compile(
    r"(?:NVIDIA_(?!API)[A-Z0-9_]*|CUDA_VERSION|CUDA_VISIBLE_DEVICES|NV_[A-Z0-9_]*VERSION|PATH"
    r"|LD_LIBRARY_PATH|XDG_RUNTIME_DIR|CONTAINERS_CONF|DOCKER_HOST|LANG|TERM)"
)
# What a key has in it whose value is secret.
DISCREET = re.compile(
    r"""passw|passphrase|pwd|secret|token|credential|signature|cookie|authorization|psk$
    |(?:api|private|access|ssh|sign(?:ing)?|encrypt(?:ion)?|crypt|master|session|shared|client
    |server|tls|storage|account|host)[._-]?key|key[._-]?data|certificate(?:[._-]?authority)?[._-]?data
    |(?:^|[._-])(?:pass|auth|sig|signed|http_proxy|https_proxy|ftp_proxy|all_proxy|no[._-]?proxy)$
    |registry[._-]?auth|noproxy$""",
    re.IGNORECASE | re.VERBOSE,
)
USER = re.compile(r"(?:.*[._-])?(?:user[._-]?name|login)", re.IGNORECASE)
HOST = re.compile(r"(?:.*[._-])?(?:host|node|server|domain)[._-]?name", re.IGNORECASE)
SERIAL = re.compile(
    r"""(?:[\w.-]{0,64}[_.-]|[a-z]{0,32}(?=S))?serial(?:[\s_-]?(?:number|no|short))?
    |board[\s_-]?(?:part|id)|product[\s_-]?serial|machine[\s_-]?id|boot[\s_-]?id|asset[\s_-]?tag
    |chassis[\s_-]?serial|(?:node|port|sys|system)[_-]?(?:image[_-]?)?guid""",
    re.IGNORECASE | re.VERBOSE,
)
ENVIRONMENT_NAME = re.compile(r"[A-Z_][A-Z0-9_]{2,}")
PEM = re.compile(
    r"-----BEGIN (?P<what>[A-Z0-9 ]*)-----.*?(?:-----END [A-Z0-9 ]*-----|\Z)",
    re.DOTALL,
)
# Words of several lines of a BIOS: "Serial Number: VMware-56 4d".
SERIAL_LINE = re.compile(
    rf"^(?P<head>[ \t]*(?:{SERIAL.pattern})[ \t]*:[ \t]*)(?P<value>[^\s\"'][^\n]*)",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
SERIAL_PAIR = re.compile(
    rf"""(?P<head>(?<![\w.-])\\{{0,7}}["']?(?:{SERIAL.pattern})\\{{0,7}}["']?\s*[:=]\s*)
    (?P<value><[a-z-]+\ \d+>|\\{{0,15}}"[^"\\]*|"[^"]*"|'[^']*'|[^\s,;"'}}\]]+)""",
    re.IGNORECASE | re.VERBOSE,
)
# name: KEY, and in the next line value: what it is.
NAMED_VALUE = re.compile(
    r"""(?P<head>\bname\\{0,7}["']?:[ \t]*\\{0,7}["']?(?P<name>\w+)\\{0,7}["']?,?\s{0,64}
    \\{0,7}["']?value\\{0,7}["']?:[ \t]*)
    (?P<value>\\{1,7}"[^"\n]*"|"[^"\n]*"|'[^'\n]*'|[^\n"',}]+)""",
    re.VERBOSE,
)
BEARER = re.compile(
    r"(?P<head>\b(?:bearer|basic)\s+)(?P<value>[A-Za-z0-9+/=_.~-]{8,})", re.IGNORECASE
)
# curl -u NAME:PASSWORD, docker login -p PASSWORD.
OPTION = re.compile(
    r"(?P<head>(?<!\S)(?:-u|-U|--user|--proxy-user)[ =]|\blogin\b[^\n]{0,200}?[ \t]-p[ \t]?)"
    r"(?P<value>[^\s:]{0,256}:\S+|(?<=-p)\S+|(?<=-p[ \t])\S+)"
)
# Tokens that are known by their beginning: of forges, clouds, registries, model hubs; a JWT.
TOKEN = re.compile(
    r"""\b(?:gh[pousr]_\w{16,}|github_pat_\w{16,}|gl[a-z]{1,6}-[\w-]{16,}|nvapi-[\w-]{16,}
    |hf_\w{16,}|sk-[\w-]{16,}|[rs]k_(?:live|test)_\w{10,}|xox[a-z]-[\w-]{10,}
    |A(?:KIA|SIA)[A-Z0-9]{12,}|AIza[\w-]{20,}|dckr_[a-z]{2,4}_[\w-]{10,}|dop_v1_\w{20,}
    |npm_\w{20,}|pypi-[\w-]{20,}|hv[sbr]\.[\w-]{16,}|SWMTKN-[\w-]{8,}|ya29\.[\w-]{10,}
    |ey[JK][\w+/-]{10,}={0,2}(?:\.[\w-]*){0,4}|[a-z0-9]{6}\.[a-z0-9]{16}(?![\w.-]))""",
    re.VERBOSE,
)
# Of crypt(3): $6$salt$hash.
CRYPTED = re.compile(r"\$(?:[0-9a-z]{1,3}|argon2[a-z]{0,2})\$[^\s:$\"']+\$[^\s:\"']+")
SSH_KEY = re.compile(
    r"(?P<head>\b(?:ssh-|ecdsa-|sk-ssh-|sk-ecdsa-)[\w@.-]{1,64}[ \t]+)"
    r"(?P<value>AAAA[A-Za-z0-9+/=]*(?:[ \t]+[\w.+-]+@[\w.-]+)?)"
)
# Long and random: base64 of keys and passwords.  Digests and container ids are hexadecimal.
RANDOM = re.compile(
    r"(?<![\w/+.=-])(?![0-9a-fA-F]+(?![\w/+=]))[A-Za-z0-9+_-][A-Za-z0-9+/_-]{39,}={0,2}(?![\w/+.-])"
)
# Names of folders in base64 would be that long, or longer.
SHORTEST_PART = 10
CREDENTIALS = re.compile(r"(?P<head>://)(?P<value>[^\s\"'<>]{1,256})@(?!sha\d)", re.IGNORECASE)
EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b"
    r"(?<!\.service)(?<!\.slice)(?<!\.scope)(?<!\.socket)(?<!\.timer)"
)
URL_HOST = re.compile(
    r"(?P<head>://(?:<[^<>]{1,64}>@|\ue000\d+\ue001@)?)(?P<value>[A-Za-z0-9][\w.-]*)"
)
# NAME:PORT/, and the name that is looked up.
HOST_PORT = re.compile(
    r"(?P<head>(?<![\w./:@-]))(?P<value>[A-Za-z][\w-]*)(?=:\d{3,5}/)", re.IGNORECASE
)
LOOKUP = re.compile(r"(?P<head>\blookup )(?P<value>[\w.-]+)")
UUID = re.compile(
    r"(?P<head>\b(?:GPU-|MIG-|MIG-GPU-)?)"
    r"(?P<value>[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})\b"
)
MACHINE_ID = re.compile(r"(?<![0-9a-zA-Z])(?:[0-9a-f]{32}|[0-9A-F]{32})(?![0-9a-zA-Z])")
MAC = re.compile(
    r"(?<![0-9A-Fa-f:.])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:.])"
    r"|(?<![\w.-])(?:[0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}(?![\w.-])"
    r"|(?<![\w.-])[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}(?![\w.-])"
)
GUID = re.compile(
    r"(?<![0-9A-Fa-f:])(?:0x[0-9a-fA-F]{16}|(?:[0-9a-fA-F]{4}:){3}[0-9a-fA-F]{4})(?![0-9A-Fa-f:.])"
)
OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
IPV4 = re.compile(rf"(?<![\w.-])(?:{OCTET}\.){{3}}{OCTET}(?![\w.]*\w)")
IPV6 = re.compile(
    r"(?<![\w:.])(?:(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}"
    r"|(?:[0-9a-fA-F]{1,4}:){1,7}:(?:[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){0,6})?"
    r"|::(?:[0-9a-fA-F]{1,4}:){0,6}[0-9a-fA-F]{1,4})(?:%[\w.-]+)?(?![\w:])"
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
    r"(?P<head>(?:/home|/users|/export/home)/|\\{1,8}(?:users|documents and settings)\\{1,8})"
    r"(?P<value><[a-z-]+ \d+>|[^/\\\s\"':,;]+)",
    re.IGNORECASE,
)
# Of systemd; the number of the first user tells nothing.
USER_ID = re.compile(
    r"(?P<head>\buser-|\buser@|/run/user/)(?P<value>(?!1000\b)[1-9]\d{3,})(?=\.s|/|\b)"
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
LOCAL = re.compile(r"(?:127(?:\.\d+){3}|0\.0\.0\.0|255\.255\.255\.\d+|0?::1?)")
MASK = re.compile(r"<[a-z-]+(?: \d+)?>")
# Stands for a mask while other rules look, so that none takes it for what it looks for.
HOLDER = re.compile("\ue000(\\d+)\ue001")
