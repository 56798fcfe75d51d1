"""A profile is read, and spelled and read again; or it raises a `ProfileError`.

What the reader of plain TOML takes, it takes as tomllib does.
"""

import tomllib
from collections.abc import Iterator

from spassh import plain_toml
from spassh.errors import ProfileError
from spassh.patterns import Wanted, rank
from spassh.profile import parse_profile
from spassh.protocol.keys import PSK, PUBLIC, SECRET, encode_key
from spassh.verbs.import_ import render

_PATH = "/home/ada/.config/spassh/profiles/server.toml"
_NATIVE = f"""\
# Written by 'spassh import'.
hosts = ["server.example", "*.site", "!git@www.site", "2001:db8::1"]
user = "ada"
server = "{encode_key(PUBLIC, bytes(range(32)))}"
port = 62201
psk = "{encode_key(PSK, bytes(range(32)))}"
secret = "{encode_key(SECRET, bytes(range(32)))}"
width = "address"
timeout = 10
schedule = [0, 100, 1000]
"""
_FWKNOP = """\
hosts = ["server.example"]
user = "ada"
format = "fwknop"
key = "a key"
hmac_key_base64 = "AAECAw=="
allow_ip = "192.0.2.7"
nat_access = "10.0.0.5,22"
"""
_GNUPG = f"""\
format = "gnupg"
gnupg_key = "{"2B" * 20}"
gnupg_server = "{"3C" * 20}"
"""


def seeds() -> Iterator[tuple[str, bytes]]:
    yield "native", _NATIVE.encode()
    yield "gnupg", (_NATIVE + _GNUPG).encode()
    yield "fwknop", _FWKNOP.encode()
    yield "not plain", b"hosts = [\n  \"a\", # b\n]\nuser = 'ada'\n"


def check(data: bytes) -> None:
    text = data.decode("utf-8", "ignore")
    plain = plain_toml.read(text)
    if plain is not None:
        assert plain == tomllib.loads(text)
    try:
        profile = parse_profile(_PATH, text)
    except ProfileError:
        return
    rank(profile.hosts, Wanted("server.example", "server", "ada"))
    if profile.fwknop is None:
        assert parse_profile(_PATH, render(profile)) == profile
