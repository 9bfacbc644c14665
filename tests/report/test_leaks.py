# SPDX-License-Identifier: Apache-2.0
"""Secrets as real files and logs have them, and texts that are made to take long."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import shim

from nvidia_runtime.report import contents
from nvidia_runtime.report.masking import Masker

# A text, and what may not be left of it.
LEAKS: dict[str, tuple[str, list[str]]] = {
    "auths r corp": (
        '{"auths":{"r.corp.example.com":{"username":"bobuser","password":"pw1secret","auth":"Ym9iOnB3"}}}',
        ["pw1secret", "Ym9iOnB3", "bobuser"],
    ),
    "HttpHeaders X Meta": (
        '"HttpHeaders": {"X-Meta": "zzmeta"}, "credHelpers": {"123456789012.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login"}',
        ["123456789012.dkr"],
    ),
    "plugins io containerd": (
        '[plugins."io.containerd.grpc.v1.cri".registry.configs."reg.local:5000".auth]\n  username = "alicex"\n  password = "pw2secret"\n  identitytoken = "idtok"\n  auth = "YWxpY2U="',
        ["pw2secret", "idtok", "YWxpY2U=", "alicex"],
    ),
    "password pw first": (
        'password = """\npw3first\npw3second\n"""\nx=1',
        ["pw3first", "pw3second"],
    ),
    "password pw first 2": (
        "password = '''\npw4first\npw4second\n'''\nx=1",
        ["pw4first", "pw4second"],
    ),
    "password pw first 2 2": (
        "password: |\n  pw5first\n  pw5second\nother: 1",
        ["pw5first", "pw5second"],
    ),
    "password pw first 2 2 2": (
        "password: >-\n  pw6first\n  pw6second\nother: 1",
        ["pw6first", "pw6second"],
    ),
    "token pw first": (
        "  token: |-\n    pw7first\n\n    pw7second\n  other: 1",
        ["pw7first", "pw7second"],
    ),
    "password pw": ('password:\n  "pw8"', ["pw8"]),
    "passwords pw a": ("passwords:\n  - pw9a\n  - pw9b\n", ["pw9a", "pw9b"]),
    "tokens tk tk": ('"tokens": ["tk1","tk2"]', ["tk1", "tk2"]),
    "config password pw": (
        'config = "{\\"password\\": \\"pw10secret\\", \\"auth\\":\\"YTpi\\"}"',
        ["pw10secret", "YTpi"],
    ),
    "msg password pw": ('msg="{\\\\\\"password\\\\\\": \\\\\\"pw11secret\\\\\\"}"', ["pw11secret"]),
    "HTTP PROXY http": ("HTTP_PROXY=http://bob:pw12@proxy:3128", ["pw12", "bob", "proxy:"]),
    "http proxy http": (
        'http-proxy = "http://bob:pw/13@proxy.corp.example.com:3128"',
        ["pw/13", "13@"],
    ),
    "HTTPS PROXY http": (
        "HTTPS_PROXY=http://bob:p@w14@proxy.corp.example.com:3128",
        ["w14", "p@w"],
    ),
    "proxy http bob": ('proxy: "http://bob:pw15@10.0.0.1"', ["pw15", "10.0.0.1"]),
    "proxy bob pw": ("proxy bob:pw16@proxy.corp.example.com:3128", ["pw16"]),
    "socks h bob": ("socks5h://bob:pw17@prox:1080", ["pw17", "prox:"]),
    "Environment HTTP PROXY": (
        'Environment="HTTP_PROXY=http://bob:pw18@prox:80" "NO_PROXY=intra"',
        ["pw18", "prox:", "intra"],
    ),
    "proxies default httpProxy": (
        '"proxies":{"default":{"httpProxy":"http://bob:pw19@prox:80","noProxy":"*.corpintra"}}',
        ["pw19", "prox:", "corpintra"],
    ),
    "export AWS SECRET": (
        "export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        ["wJalr"],
    ),
    "aws secret access": (
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        ["wJalr"],
    ),
    "found wJalrXUtnFEMI K": ("found wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY in log", ["wJalr"]),
    "AccountKey Eby vdM": (
        "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;EndpointSuffix=core.windows.net",
        ["Eby8"],
    ),
    "https acc blob": (
        "https://acc.blob.core.windows.net/c?sv=2020&sig=abc%2Bdefghijk%3D&se=1",
        ["abc%2Bdef"],
    ),
    "https bucket s": (
        "https://bucket.s3.amazonaws.com/x?X-Amz-Signature=0123abcdef0123abcdef&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE",
        ["0123abcdef"],
    ),
    "private key id": (
        '"private_key_id": "0123456789abcdef0123456789abcdef01234567", "client_id":"1234567890"',
        ["0123456789abcdef0123"],
    ),
    "private key BEGIN": (
        '"private_key": "-----BEGIN PRIVATE KEY-----\\nMIIkeyx\\n-----END PRIVATE KEY-----\\n"',
        ["MIIkeyx"],
    ),
    "sk proj abcd": ("sk-proj-abcd_efgh-ijklmnopqrstuvwx", ["abcd_efgh"]),
    "sk ant api": ("sk-ant-api03-abcdefghijkl", ["abcdefghijkl"]),
    "hf AbCdEfGhIjKlMnOpQrSt": ("hf_AbCdEfGhIjKlMnOpQrSt", ["AbCdEf"]),
    "WANDB API KEY": (
        "WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567",
        ["0123456789abcdef"],
    ),
    "api key local": ("api_key=local-0123456789", ["local-01"]),
    "BEGIN CERTIFICATE MIIDcertbo": (
        "-----BEGIN CERTIFICATE-----\nMIIDcertbody12\n-----END CERTIFICATE-----",
        ["MIIDcertbody"],
    ),
    "client certificate data": (
        "client-certificate-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUM=\nclient-key-data: LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQ==",
        ["LS0tLS1CRUdJTiBD", "LS0tLS1CRUdJTiBS"],
    ),
    "BEGIN OPENSSH PRIVATE": (
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC\n-----END OPENSSH PRIVATE KEY-----",
        ["b3Blbn"],
    ),
    "ssh ed AAAAC": ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx user@hostx", ["AAAAC3Nz", "hostx"]),
    "BEGIN EC PRIVATE": (
        "> -----BEGIN EC PRIVATE KEY-----\n> MHcsec\n> -----END EC PRIVATE KEY-----",
        ["MHcsec"],
    ),
    "BEGIN PGP PRIVATE": (
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\npgpsec\n-----END PGP PRIVATE KEY BLOCK-----",
        ["pgpsec"],
    ),
    "Cookie session cookie": (
        "Cookie: session=cookie1abc; other=cookie2abc",
        ["cookie1abc", "cookie2abc"],
    ),
    "Set Cookie sid": ("Set-Cookie: sid=cookie3abc; Path=/", ["cookie3abc"]),
    "curl u bob": ("curl -u bob:pw20 https://x.corp.example.com", ["pw20"]),
    "curl user bob": ("curl --user bob:pw21 http://x", ["pw21"]),
    "docker login u": ("docker login -u bob -p pw22 reg", ["pw22"]),
    "password pw 2": ("--password pw24", ["pw24"]),
    "password pw 2 2": ("--password=pw25", ["pw25"]),
    "db password pw": ('--db-password "pw26 two"', ["pw26", "two"]),
    "fe eth fe": ("fe80::1%eth0.100 fe80::1%br-abc", ["eth0.100", "br-abc", "fe80::1"]),
    "fe eth http": ("[fe80::1%25eth0]:80 http://[2001:db8::7]:80/x", ["2001:db8::7", "fe80::1"]),
    "ffff and and": ("::ffff:10.1.2.3 and 10.1.2.3:443 and 10.1.2.0/24", ["10.1.2"]),
    "x": ("10.1.2.3.", ["10.1.2.3"]),
    "ip ec internal": ("ip-10-1-2-3.ec2.internal ip-10-1-2-4", ["ip-10-1-2-3"]),
    "http hostnotld x": (
        "http://hostnotld/x https://hostnotld2:5000/v2/ tcp://hostnotld3:2376",
        ["hostnotld"],
    ),
    "dial tcp lookup": ("dial tcp: lookup reghost1 on 10.0.0.53:53: no such host", ["reghost1"]),
    "registry mirrors reghost": ("registry-mirrors=reghost2:5000/x", ["reghost2"]),
    "home alicex x": (
        "/home/alicex/x /var/home/alicex2 /Users/alicex3 C:\\Users\\alicex4\\AppData C:\\\\Users\\\\alicex5\\\\x /mnt/c/Users/alicex6/x",
        ["alicex", "alicex2", "alicex3", "alicex4", "alicex5", "alicex6"],
    ),
    "file home alicex": ("file:///home/alicex7", ["alicex7"]),
    "user slice user": ("/user.slice/user-1042.slice/user@1042.service", ["1042"]),
    "run user docker": ("/run/user/1042/docker.sock", ["1042"]),
    "a b c": ("a.b+c@x.example.de, a@sub.corp.xyz user@hostonly", ["a.b+c", "a@sub"]),
    "ac mac ac": (
        "0242ac110002 mac 02-42-ac-11-00-02 0242.ac11.0002",
        ["02-42-ac-11-00-02", "0242.ac11.0002"],
    ),
    "fe e eb": (
        "fe80:0000:0000:0000:e8eb:d303:0062:1f3e guid 0xe8ebd3030062 1f3e e8ebd3030062af3e",
        ["e8eb:d303"],
    ),
    "node guid xe": (
        "node_guid: 0xe8ebd3030062af3e 0002:c903:00ef:5e70",
        ["e8ebd3030062af3e", "0002:c903"],
    ),
    "Serial Number ABC": (
        "\tSerial Number: ABC123X\n\tUUID: 4c4c4544-0039-5910-8036-b3c04f4d3332\n\tAsset Tag: TAGX1\n\tSKU Number: SK",
        ["ABC123X", "4c4c4544", "TAGX1"],
    ),
    "Serial Number VMware": ("Serial Number: VMware-56 4d 1a 2b", ["4d 1a"]),
    "ID SERIAL SHORT": ("ID_SERIAL_SHORT=S4EVNX0 ID_SERIAL=Samsung_S4EVNX", ["S4EVNX"]),
    "UUID deadbeef beef": ('UUID="deadbeef-0000-4000-8000-00000000beef" LABEL=x', ["deadbeef"]),
    "serial number S": (
        '"serial_number": "S3R1", "SerialNumber":"S3R2", "gpuSerial": "S3R3", "board_serial":"S3R4"',
        ["S3R1", "S3R2", "S3R3", "S3R4"],
    ),
    "DEADBEEF BEEF deadbeef": (
        "DEADBEEF-0000-4000-8000-00000000BEEF deadbeef00004000800000000000beef DEADBEEF00004000800000000000BEEF",
        ["DEADBEEF", "deadbeef0"],
    ),
    "level error msg": (
        'level=error msg="failed" env="DB_PASSWORD=pw27" env2=[A=1 B_SECRET=pw28]',
        ["pw27", "pw28"],
    ),
    "env DB URL": ("env: [DB_URL=postgres://u:pw29@db/x mypw=pw30]", ["pw29"]),
    "env lowercase var": ('"env": ["lowercase_var=lowval"]', ["lowval"]),
    "name DB HOST": ("- name: DB_HOST\n  value: valx1\n", ["valx1"]),
    "name DB PASSWORD": ('{"name":"DB_PASSWORD","value":"valx2"}', ["valx2"]),
    "DB MULTI a": ('DB_MULTI="a\nb valx3"', ["valx3"]),
    "FOO $ valx": ("FOO=$'valx4 valx5'", ["valx4", "valx5"]),
    "FOO valx valx": ("FOO=valx6,valx7;valx8", ["valx6", "valx7", "valx8"]),
    "FOO a valx": ('FOO=a"valx9"', ["valx9"]),
    "FOO a valx 2": ('FOO="a\\"valx10"', ["valx10"]),
    "FOO valx": ("FOO=(valx11)", ["valx11"]),
    "FOO valx valx 2": ("FOO=valx12}valx13]valx14", ["valx13", "valx14"]),
    "export FOO valx": (
        'export FOO=valx15 BAR=\\"valx16 valx17\\"',
        ["valx15", "valx16", "valx17"],
    ),
    "password pw more": ('password="pw31\\"more31"', ["more31"]),
    "password pw more 2": ("password='pw32''more32'", ["more32"]),
    "password pw more 2 2": ("password=pw33,more33", ["more33"]),
    "password pw more 2 2 2": ("password=pw34;more34", ["more34"]),
    "password of two words": ("password: pw35 more35", ["pw35", "more35"]),
    "PASSWORD pw more": ("PASSWORD=pw36}more36", ["more36"]),
    "pwd pw pass": (
        "pwd=pw37 pass=pw38 passwd=pw39 passwort=pw40 psk=pw41 pin=1",
        ["pw37", "pw38", "pw39", "pw40", "pw41"],
    ),
    "dbPassword pw clientSecret": (
        "dbPassword: pw42 clientSecret: pw43 accessToken=pw44 apiKey: pw45 APIKEY=pw46 secretKey: pw47 sshKey: pw48 signing_key: pw49 encryption-key: pw50",
        ["pw42", "pw43", "pw44", "pw45", "pw46", "pw47", "pw48", "pw49", "pw50"],
    ),
    "auth user u": ('"auth": {"user": "u1x", "pass":"pw51"}', ["pw51"]),
    "secret pw secret": (
        'secret -> pw52; secret is pw53; password pw54; with password "pw55"',
        ["pw55"],
    ),
    "Authorization AWS HMAC": (
        "Authorization: AWS4-HMAC-SHA256 Credential=abcdef/x, Signature=fe5f80",
        ["abcdef/x", "fe5f80"],
    ),
    "Authorization Negotiate YIIZ": ("Authorization: Negotiate YIIZZZ", ["YIIZZZ"]),
    "X Auth Token": (
        "X-Auth-Token: pw56 X-API-Key: pw57 x-vault-token=hvs.pw58",
        ["pw56", "pw57", "pw58"],
    ),
    "hvs CAESIJabcdefghijklmnopqr": (
        "hvs.CAESIJabcdefghijklmnopqrstuvw s.abcdefghijklmnopqrstuvwx",
        ["CAESIJ"],
    ),
    "glpat ab glrt": (
        "glpat-ab glrt-abcdefghijklmnopqrst gldt-abcdefghijklmnopqrst",
        ["glrt-abc", "gldt-abc"],
    ),
    "ghs abcdef gho": ("ghs_0123456789abcdef0123 gho_0123456789abcdef0123", ["ghs_", "gho_"]),
    "sha crypt $": ("sha512crypt $6$saltsalt$hashhashhash/abc root:$6$ab$cd:1", ["hashhash"]),
    "machine id ABCDEF": ("machine-id 0123456789ABCDEF0123456789ABCDEF", ["0123456789ABCDEF"]),
    "root UUID deadbeef": (
        "root=UUID=deadbeef-0000-4000-8000-00000000beef rd.luks.key=/x rd.luks.uuid=luks-deadbeef-0000-4000-8000-00000000beef ip=10.0.0.9::10.0.0.1:255.0.0.0:hostq:eth0",
        ["deadbeef", "10.0.0.9", "10.0.0.1"],
    ),
    "cryptkey pw hostname": (
        "cryptkey=pw59 hostname=hostw systemd.hostname=hostv nfsroot=10.0.0.8:/x iscsi_password=pw60",
        ["pw59", "hostw", "hostv", "10.0.0.8", "pw60"],
    ),
    "iqn org debian": (
        "iqn.1993-08.org.debian:01:abcd nqn.2014-08.org.nvmexpress:uuid:deadbeef-0000-4000-8000-00000000beef",
        ["deadbeef"],
    ),
    "time level info": (
        'time="2024" level=info msg="https://user%40corp:pw61%21@h.local/"',
        ["pw61", "user%40"],
    ),
    "ssh git hostu": ("ssh://git@hostu:22/x", ["hostu"]),
    "docker io privateorg": (
        "docker.io/privateorg/privateimg:1 registry.corp.example.com:5000/team/img@sha256:abc",
        ["corp"],
    ),
    "password pw password": ("password\t=\tpw62\npassword=\n pw63x\n", ["pw62"]),
    "password pw password 2": ('"password"=>"pw64", :password => "pw65"', ["pw64", "pw65"]),
    "password pw password 2 2": ("<password>pw66</password>", ["pw66"]),
    "password Dpw": ("password%3Dpw67", ["pw67"]),
    "PASSWORD pw": ('PASSWORD:="pw69"', ["pw69"]),
    "password pw 2 2 2": ('password?="pw70"', ["pw70"]),
    "password pw 2 2 2 2": ('"password" : [\n "pw71"\n]', ["pw71"]),
    "password pw pw": ('password = ["pw72", "pw73"]', ["pw72", "pw73"]),
    "TOKEN Bearer pw": ('TOKEN: "Bearer pw74 x"', ["pw74"]),
    "token": ('"token":12345678', ["12345678"]),
    "registryauth eyJ c": ('"registryauth": "eyJ1c2VybmFtZSI6ImEifQ=="', ["eyJ1c2V"]),
    "X Registry Auth": ("X-Registry-Auth: eyJ1c2VybmFtZSI6ImEifQ==", ["eyJ1c2V"]),
    "SWMTKN abc def": ("SWMTKN-1-abc-def swarm", ["SWMTKN-1-abc"]),
    "join token abcdef": (
        "join --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash sha256:1234",
        ["0123456789abcdef"],
    ),
    "kubeadm abcdef abcdef": ("kubeadm abcdef.0123456789abcdef", ["0123456789abcdef"]),
    "nvapi abc defghijklmnopqrst": ("nvapi-abc-defghijklmnopqrst", ["defghij"]),
}


@pytest.mark.parametrize("name", LEAKS)
def test_nothing_is_left(name: str) -> None:
    text, secrets = LEAKS[name]

    for masked in (Masker().text(text), Masker().text(f"before\n{text}\nafter")):
        for secret in secrets:
            assert secret not in masked


@pytest.mark.parametrize("name", LEAKS)
def test_text_in_a_text(name: str) -> None:
    """Of what is in a string of JSON at least the same is masked, if it is of one line."""
    text, secrets = LEAKS[name]
    if "\n" in text or name in NOT_INSIDE:
        pytest.skip("it is not the same any more in a string")
    masked = Masker().text(json.dumps({"message": text}))

    for secret in secrets:
        assert secret not in masked


# Only the beginning of a line tells that what follows is all of a value.
NOT_INSIDE = ("Serial Number VMware", "password of two words")
# What a container has written into our log before a secret, as where it opens what nobody closes.
BEFORE = (
    "can't read token 'x",
    "Cookie:'",
    'token="',
    "A_B='",
    "login -p password '",
    'password: """',
    "token: |",
    "auth = [",
    "secrets: {",
    'x="{\\"token\\": \\"',
    "-----BEGIN X-----",
)
PAIRS = (
    "password=%s",
    "password: %s",
    '"password": "%s"',
    "password = '%s'",
    '\\"password\\": \\"%s\\"',
    "--password %s",
    "PASSWORD=%s",
)


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("pair", PAIRS)
def test_secret_behind_what_is_not_closed(pair: str, before: str) -> None:
    secret = "hUnTeR2"

    assert secret not in Masker().text(f"{before}\n{pair % secret}\n{before}")


STAYS = [
    "the token is invalid, no secret was given",
    'password = ""',
    '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]',
    '  BinaryName = "/usr/bin/nvidia-container-runtime"',
    'mode = "auto"',
    "libcuda.so.550.54.15 -> /usr/lib/x86_64-linux-gnu/libcuda.so.1",
    "NVRM: Xid (PCI:0000:65:00): 79, pid=1234, name=python3, GPU has fallen off the bus.",
    "nvidia.com/gpu=all runtime.nvidia.com/gpu=0",
    "0::/system.slice/docker.service",
    "registry.k8s.io/pause@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "unix:///run/containerd/containerd.sock",
]


@pytest.mark.parametrize("text", STAYS)
def test_what_helps_stays(text: str) -> None:
    assert Masker().text(text) == text


DOCUMENTS = {
    "below a key": {"auth": {"user": "hidden", "list": ["hidden"], "n": 4711}},
    "a number": {"token": 4711},
    "a name and a value": {"name": "DB_PLACE", "value": "hidden"},
    "a variable that differs": {"kind": "variable", "name": "DB_PLACE", "asked": "hidden"},
    "a text of JSON": {"message": json.dumps({"password": "hidden"})},
    "a text of JSON in one": {"message": json.dumps({"m": json.dumps({"password": "hidden"})})},
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document(name: str) -> None:
    masked = json.dumps(Masker().document(DOCUMENTS[name]))

    assert "hidden" not in masked
    assert "4711" not in masked


def test_deep_document_is_masked_as_text() -> None:
    depth = 900
    data = b'{"a":' * depth + b'{"password": "hidden"}' + b"}" * depth

    assert "hidden" not in Masker().json(data)


# Repeated up to the size of a file: none may take more than one pass, or a few.
LONG = {
    **{text: text for text in ("a", "a.", "a-", "a+", "1.", "token", "token-", "eyJaaaaaaaa-")},
    **{
        text: text for text in ("://", "a://", "a@", "token=", 'token="', "token='", "\\", "]", "[")
    },
    **{
        text: text
        for text in ("-----BEGIN A-----", "sk-", "fe80::1%", "serial: ", "AB_=", "=", " ")
    },
    **{
        text: text
        for text in ("login ", "- a=b\n", "env: [", "token:\n ", "K_A=x ", "$1$a", "/home/")
    },
}
LIMIT = 30
WATCHED = """
import sys
from nvidia_runtime.report.masking import Masker
unit, size = sys.argv[1], 128 << 10
for start in ("", "token="):
    Masker().text((start + unit * (size // len(unit)))[:size] + "!")
"""


@pytest.mark.parametrize("name", LONG)
def test_no_text_takes_long(name: str) -> None:
    """What looked at each part of it from each place took hours."""
    argv = [sys.executable, "-c", WATCHED, LONG[name]]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(shim.TREE)}
    process = subprocess.run(
        argv,
        env=env,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT)),
    )
    assert process.returncode == 0


def test_thousands_of_users() -> None:
    masker = Masker({"user": [f"user{number}x" for number in range(50_000)]})

    assert masker.text("it was user4711x " * 1000) == "it was <user 1> " * 1000


def test_link_of_another_user_is_not_followed(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    (tmp_path / "shadow").write_text("root:$6$a$b")
    (tmp_path / "log").symlink_to(tmp_path / "shadow")
    assert contents.of_file("log", str(tmp_path / "log"), is_log=True).data
    os.lchown(tmp_path / "log", 4711, 4711)

    part = contents.of_file("log", str(tmp_path / "log"), is_log=True)

    assert (part.data, part.problem) == (b"", "is a link that another user has made")


def test_end_of_a_log_begins_with_a_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"password={'x' * contents.LARGEST}\nlast line\n")

    part = contents.of_file("log", str(tmp_path / "log"), is_log=True)

    assert part.data == b"last line\n"
