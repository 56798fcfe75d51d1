"""A profile for an fwknopd: what it may have, and what it must not have."""

import pytest
from unit.client.parties import FIELDS, INVITE, Home

from spassh.errors import ProfileError
from spassh.fwknop_profile import REQUIREMENTS, Fwknop
from spassh.fwknop_way import Way
from spassh.patterns import Wanted
from spassh.profile import Profile, find, load_keys
from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.keys import Keys
from spassh.url import Url
from spassh.verbs import show
from spassh.verbs.import_ import store

KEY_BASE64 = '"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="'
OURS = {
    **dict.fromkeys(("server", "psk", "secret"), ""),
    "format": '"fwknop"',
    "key_base64": KEY_BASE64,
    "hmac_key": '"an hmac key"',
}
"""What such a profile has otherwise than a native one."""


def found(home: Home, **fields: str) -> Profile:
    home.profile(**(OURS | fields))
    profile = find(home.path, Wanted("server.example"))
    assert profile is not None
    return profile


def refused(home: Home, **fields: str) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        found(home, **fields)
    return caught.value


def test_the_least_is_a_key(home: Home) -> None:
    profile = found(home, hmac_key="")
    keys = Keys(bytes(range(32)))
    assert profile.fwknop == Fwknop(keys, "sha256", b"", None, is_local=False)
    assert (profile.user, profile.port, profile.width) == ("alice", 62201, "address")
    assert (profile.server, profile.psk, profile.secret) == ("", "", "")


def test_everything_is_read(home: Home) -> None:
    profile = found(
        home,
        key_base64="",
        key='"a passphrase"',
        hmac_key="",
        hmac_key_base64='"QUJD"',
        hmac_digest_type='"sha3_512"',
        digest_type='"md5"',
        allow_ip='"192.0.2.7"',
        nat_access='"10.0.0.5,22"',
        nat_local="true",
        port="7",
        timeout="9",
        name='"other.example"',
        schedule="[0, 500]",
        width='"address"',
    )
    assert profile.fwknop == Fwknop(
        Keys(b"a passphrase", b"ABC", "sha3_512"),
        "md5",
        bytes([192, 0, 2, 7]),
        ("10.0.0.5", 22),
        is_local=True,
    )
    assert (profile.port, profile.timeout, profile.name) == (7, 9, "other.example")
    assert profile.schedule == (0, 500)


SIGNER, RECIPIENT = "AB" * 20, "01" * 20
SIGNED = {
    "key_base64": "",
    "gnupg_key": f'"{SIGNER.lower()}"',
    "gnupg_server": f'"{RECIPIENT}"',
}


def test_openpgp_keys_stand_in_the_place_of_a_key(home: Home) -> None:
    profile = found(home, **SIGNED)
    assert profile.fwknop == Fwknop(
        Keys(b"", b"an hmac key"),
        "sha256",
        b"",
        None,
        is_local=False,
        signer=SIGNER,
        recipient=RECIPIENT,
    )
    assert profile.is_signed
    assert not profile.has_own_key
    assert not found(home).is_signed


def test_openpgp_keys_are_shown(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    found(home, **SIGNED)
    show.run("server.example")
    said = capsys.readouterr().out
    assert f"signed by  {SIGNER}, for {RECIPIENT}\n" in said


@pytest.mark.parametrize("name", DIGESTS)
def test_each_digest_can_be_named(home: Home, name: str) -> None:
    fwknop = found(home, hmac_digest_type=f'"{name}"', digest_type=f'"{name}"').fwknop
    assert fwknop is not None
    assert (fwknop.keys.hmac_digest, fwknop.digest) == (name, name)


SPOOFED = {
    "transport": '"icmp"',
    "spoof_source": '"192.0.2.9"',
    "allow_ip": '"192.0.2.7"',
}


@pytest.mark.parametrize(
    ("fields", "way", "knocks_at"),
    [
        ({}, Way(), "udp/62201"),
        ({"rand_port": "true"}, Way(rand_port=True), "udp/any port"),
        ({"rand_port": "false"}, Way(), "udp/62201"),
        ({"source_port": "53"}, Way(source_port=53), "udp/62201"),
        ({"transport": '"tcp"', "port": "80"}, Way("tcp"), "tcp/80"),
        (
            {"transport": '"http"', "port": "80", "http_user_agent": '"Fwknop"'},
            Way("http", http_user_agent="Fwknop"),
            "http/80",
        ),
        (SPOOFED, Way("icmp", spoof_source=bytes([192, 0, 2, 9])), "icmp"),
        (
            {"resolve_url": '"https://a.test/ip"', "transport": '"udp-raw"'},
            Way("udp-raw", resolve_url=Url("https", "a.test", 443, "/ip")),
            "udp-raw/62201",
        ),
    ],
)
def test_the_way_of_packets_is_read_and_shown(
    home: Home,
    capsys: pytest.CaptureFixture[str],
    fields: dict[str, str],
    way: Way,
    knocks_at: str,
) -> None:
    profile = found(home, **fields)
    assert profile.fwknop is not None
    assert profile.fwknop.way == way
    show.run("server.example")
    assert f"\nknocks at  {knocks_at}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"key_base64": ""}, "'key' is missing, and so is 'key_base64'"),
        (SIGNED | {"key": '"k"'}, "there are keys for packets of both kinds"),
        (SIGNED | {"gnupg_key": ""}, "'gnupg_key' must be the 40 hexadecimal"),
        (SIGNED | {"gnupg_server": ""}, "'gnupg_server' must be the 40"),
        (SIGNED | {"gnupg_key": '"AB"'}, "'gnupg_key' must be the 40 hexadecimal"),
        (SIGNED | {"gnupg_server": "7"}, "'gnupg_server' must be the 40"),
        ({"key": '"k"'}, "'key' and 'key_base64' are both there"),
        ({"hmac_key_base64": '"QQ=="'}, "'hmac_key' and 'hmac_key_base64' are both"),
        ({"key_base64": '"AAEC="'}, "'key_base64' must be a key of 1 to 32 bytes"),
        ({"key_base64": "7"}, "'key_base64' must be"),
        ({"key_base64": "", "key": '""'}, "'key' must be a passphrase of 1 to 32"),
        ({"hmac_key": f'"{"h" * 137}"'}, "'hmac_key' must be"),
        ({"hmac_digest_type": '"SHA256"'}, "'hmac_digest_type' must be one of md5,"),
        ({"digest_type": "1"}, "'digest_type' must be one of md5,"),
        ({"allow_ip": '"2001:db8::1"'}, "'allow_ip' must be an IPv4 address"),
        ({"allow_ip": "1"}, "'allow_ip' must be an IPv4 address"),
        ({"nat_access": '"10.0.0.5:22"'}, "'nat_access' must be a host and a port"),
        ({"nat_local": "true"}, "'nat_local' needs 'nat_access'"),
        ({"nat_local": "1"}, "'nat_local' must be true or false"),
        ({"transport": '"tls"'}, "'transport' must be one of udp, tcp, http, udp-raw,"),
        ({"transport": "[]"}, "'transport' must be one of"),
        ({"rand_port": "1"}, "'rand_port' must be true or false"),
        ({"rand_port": "true", "transport": '"icmp"'}, "'rand_port' must be"),
        ({"source_port": "0"}, "'source_port' must be a whole number"),
        ({"source_port": "65536"}, "'source_port' must be a whole number"),
        ({"source_port": "true"}, "'source_port' must be a whole number"),
        ({"source_port": "7", "transport": '"icmp"'}, "'source_port' must be"),
        ({"spoof_source": '"192.0.2.9"', "allow_ip": '"192.0.2.7"'}, "beside a transp"),
        (SPOOFED | {"transport": '"tcp"'}, "beside a transport of udp-raw, tcp-raw, i"),
        (SPOOFED | {"spoof_source": '"0.0.0.0"'}, "'spoof_source' must be an IPv4"),
        (SPOOFED | {"spoof_source": '"::1"'}, "'spoof_source' must be an IPv4"),
        (SPOOFED | {"spoof_source": "7"}, "'spoof_source' must be an IPv4"),
        (
            SPOOFED | {"allow_ip": ""},
            "'spoof_source' needs 'allow_ip' or 'res",
        ),
        ({"http_user_agent": '""'}, "'http_user_agent' must be 1 to 120 printable"),
        ({"http_user_agent": r'"a\r\nb"'}, "'http_user_agent' must be"),
        ({"http_user_agent": f'"{"a" * 121}"'}, "'http_user_agent' must be"),
        ({"http_user_agent": "7"}, "'http_user_agent' must be"),
        ({"resolve_url": '"ftp://a.test/"'}, "'resolve_url' must be a URL of http or"),
        ({"resolve_url": "7"}, "'resolve_url' must be a URL of http or"),
        (
            {"resolve_url": '"http://a.test/"', "allow_ip": '"192.0.2.7"'},
            "'allow_ip' and 'resolve_url' are both there",
        ),
        ({"width": '"flow"'}, "'width' must be address"),
        ({"psk": FIELDS["psk"]}, "unknown key 'psk'"),
        ({"invite": "true"}, "unknown key 'invite'"),
        ({"port": "0"}, "'port' must be"),
        ({"user": '""'}, "'user' must be"),
        ({"format": '"knockd"'}, "'format' must be one of native, fwknop"),
    ],
)
def test_what_is_wrong_is_told_and_no_secret(
    home: Home, fields: dict[str, str], problem: str
) -> None:
    error = refused(home, **fields)
    assert problem in str(error)
    for secret in ("AAEC", "an hmac key", "hhhh"):
        assert secret not in str(error) + error.hint


def test_a_native_profile_has_none_of_these_keys(home: Home) -> None:
    both = {"gnupg_key", "gnupg_server", "transport"}
    for key in REQUIREMENTS.keys() - both:
        home.profile(**{key: '"x"'})
        with pytest.raises(ProfileError, match=f"unknown key '{key}'"):
            find(home.path, Wanted("server.example"))
    home.profile(transport='"tcp"')
    with pytest.raises(ProfileError, match="must be udp: the others are for an fwkno"):
        find(home.path, Wanted("server.example"))
    home.profile(format='"native"')
    native = find(home.path, Wanted("server.example"))
    assert native is not None
    assert native.fwknop is None


def test_its_keys_are_no_native_ones(home: Home) -> None:
    profile = found(home)
    assert not profile.has_own_key
    with pytest.raises(ProfileError, match="is for an fwknopd"):
        load_keys(profile, home.path)


def test_it_is_shown_without_its_secrets(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    found(home)
    show.run("server.example")
    out = capsys.readouterr().out
    assert "server     an fwknopd\n" in out
    assert "client     keys of fwknop, HMAC sha256\n" in out
    assert "an hmac key" not in out
    found(home, hmac_key="")
    show.run("server.example")
    assert "keys of fwknop, without an HMAC\n" in capsys.readouterr().out


def test_an_invite_takes_its_place_once_the_host_has_moved_over(home: Home) -> None:
    home.profile("server.example.toml", **(OURS | {"timeout": "99"}))
    new, is_written = store(INVITE, [], home.path, force=False)
    assert is_written
    assert new.fwknop is None
    assert (new.width, new.timeout) == ("auto", 99)
    assert new.hosts == ("server.example", "192.0.2.1")
    assert find(home.path, Wanted("192.0.2.1")) == new
