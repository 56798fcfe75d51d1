"""A stanza of access.conf becomes a user, or is told."""

import re
from pathlib import Path

import pytest
from unit.server.fwknop_parties import (
    HMAC_KEY_BASE64,
    KEY_BASE64,
    KEYS,
    OTHER_SIGNER,
    SIGNER,
)
from unit.server.parties import CONFIG, SSH

from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.fwknop.openpgp import Hmac
from spassh_server import config
from spassh_server.firewall import Width
from spassh_server.fwknop_access import Files, read_access, read_lines
from spassh_server.fwknop_import import import_conf, import_stanzas
from spassh_server.fwknop_keys import FwknopGnupgKey
from spassh_server.fwknop_variables import (
    CARRIED,
    CARRIED_CONF,
    DECISIVE,
    LEFT,
    LEFT_CONF,
)
from spassh_server.ports import Port
from spassh_server.users import User, parse_user

CONF = CONFIG._replace(
    fwknop=True, max_lifetime=86_400, grant_ports=(SSH, Port(6, 443), Port(17, 53))
)
DEBIAN = Path(__file__).parents[3] / ".fwknop" / "etc" / "fwknop"
WITHOUT_PORTS = "without OPEN_PORTS any port was opened, and here those of grant_ports"
BASIC = f"SOURCE ANY\nKEY_BASE64 {KEY_BASE64}\nHMAC_KEY_BASE64 {HMAC_KEY_BASE64}\n"


def users(text: str) -> tuple[dict[str, User], list[str]]:
    """Return the users as the daemon reads them, and what is left, without secrets."""
    files = Files(lambda _: text, lambda _: [])
    made, left = import_stanzas(*read_access("a", files), CONF.grant_ports, 86_400)
    read = {one.name: parse_user(one.name, one.text, one.name, CONF) for one in made}
    return read, [str(one) for one in left]


def user(lines: str, text: str = BASIC) -> User:
    read, _ = users(text + "OPEN_PORTS tcp/22\n" + lines)
    (one,) = read.values()
    return one


def left(lines: str, text: str = BASIC) -> list[str]:
    return users(text + "OPEN_PORTS tcp/22\n" + lines)[1]


def test_a_stanza_is_a_user() -> None:
    made = user("")
    assert made.name == "fwknop-1"
    assert made.ports == {SSH}
    # Those of fwknopd.
    assert (made.lifetime, made.max_lifetime) == (30, 300)
    # A client that names its source port, as ours does later, is let in by that.
    assert made.widths == {Width.FLOW, Width.ADDRESS}
    assert (made.sources, made.any_address, made.expires) == ((), True, 0)
    assert [key.keys for key in made.fwknop] == [KEYS]
    assert left("") == []


def test_everything_that_has_a_counterpart_is_carried_over() -> None:
    made = user(
        "FW_ACCESS_TIMEOUT 60;\nMAX_FW_TIMEOUT 120\nREQUIRE_USERNAME bob\n"
        "HMAC_DIGEST_TYPE SHA3_512\nENCRYPTION_MODE CBC\nACCESS_EXPIRE 12/31/2030\n"
        "RESTRICT_PORTS tcp/443\nOPEN_PORTS tcp/22, tcp/443, UDP/53\n"
    )
    assert made.name == "bob"
    assert (made.lifetime, made.max_lifetime) == (60, 120)
    assert made.fwknop[0].keys == KEYS._replace(hmac_digest="sha3_512")
    assert made.expires == 1_924_905_600_000
    assert made.ports == {SSH, Port(17, 53)}


@pytest.mark.parametrize(
    ("lines", "most", "expected"),
    [
        ("", 120, (30, 120)),
        ("FW_ACCESS_TIMEOUT 200\n", 120, (200, 200)),
        ("MAX_FW_TIMEOUT 200\n", 120, (30, 200)),
        ("MAX_FW_TIMEOUT 0\n", 120, (30, 120)),
    ],
)
def test_what_fwknopd_does_by_default_is_cut_and_what_it_was_told_is_needed(
    lines: str, most: int, expected: tuple[int, int]
) -> None:
    files = Files(lambda _: BASIC + lines, lambda _: [])
    made, _ = import_stanzas(*read_access("a", files), CONF.grant_ports, most)
    read = parse_user("x", made[0].text, "x", CONF)
    assert (read.lifetime, read.max_lifetime) == expected
    assert made[0].lifetime == expected[1]


def test_passphrases_stay_what_they_are() -> None:
    text = 'SOURCE ANY\nKEY a "key" \\ with é\nHMAC_KEY other\nENCRYPTION_MODE legacy\n'
    keys = user("", text).fwknop[0].keys
    assert keys.encryption == 'a "key" \\ with é'.encode()
    assert (keys.hmac, keys.legacy) == (b"other", True)


def test_a_stanza_without_an_hmac_says_so() -> None:
    assert user("", "SOURCE ANY\nKEY k\n").fwknop[0].laxness == "an HMAC"


def test_networks_lose_the_bits_behind_their_prefix() -> None:
    text = BASIC.replace("ANY", "192.168.10.7/24, 10.1.1.123")
    assert [str(one) for one in user("", text).sources] == [
        "192.168.10.0/24",
        "10.1.1.123/32",
    ]


def test_without_open_ports_those_of_the_configuration_are_meant() -> None:
    read, told = users(BASIC)
    assert read["fwknop-1"].ports == frozenset(CONF.grant_ports)
    assert told == [
        f"a:1: SOURCE: {WITHOUT_PORTS}",
    ]
    read, _ = users(BASIC + "RESTRICT_PORTS tcp/22\n")
    assert read["fwknop-1"].ports == {Port(6, 443), Port(17, 53)}


def test_names_are_made_where_there_is_none_that_can_be_used() -> None:
    one = BASIC + "OPEN_PORTS tcp/22\n"
    read, _ = users(
        one
        + "REQUIRE_USERNAME bob\n"
        + one
        + "REQUIRE_USERNAME bob\n"
        + one
        + "REQUIRE_USERNAME ../x\n"
        + one
    )
    assert list(read) == ["bob", "fwknop-2", "fwknop-3", "fwknop-4"]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("FORCE_NAT 10.0.0.5 22", "FORCE_NAT: write a [[forward]]"),
        ("CMD_CYCLE_OPEN /bin/open", "CMD_CYCLE_OPEN: write on_open"),
        ("ENCRYPTION_MODE CTR", "ENCRYPTION_MODE: no other mode"),
        ("FW_ACCESS_TIMEOUT soon", "FW_ACCESS_TIMEOUT: is no number"),
        ("OPEN_PORTS icmp/1", "OPEN_PORTS: not a port"),
        ("RESTRICT_PORTS x", "RESTRICT_PORTS: not a port"),
        ("ACCESS_EXPIRE 2030-01-01", "ACCESS_EXPIRE: is no time"),
        ("ACCESS_EXPIRE_EPOCH soon", "ACCESS_EXPIRE_EPOCH: is no time"),
        ("KEY_BASE64 __CHANGEME__", "KEY_BASE64: has no key yet"),
    ],
)
def test_a_stanza_that_would_open_something_else_is_left_out(
    lines: str, why: str
) -> None:
    text = BASIC.replace("\n", "\n", 1) + "OPEN_PORTS tcp/22\n" + lines
    if "KEY_BASE64" in lines:
        text = "SOURCE ANY\n" + lines + "\nOPEN_PORTS tcp/22\n"
    read, told = users(text)
    assert read == {}
    (one,) = told
    assert why in one
    assert one.endswith(", so the stanza is left out")
    assert KEY_BASE64 not in one


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("SOURCE host.example\nKEY k\nOPEN_PORTS tcp/22\n", "a:1: SOURCE: 'host"),
        ("SOURCE ANY\nOPEN_PORTS tcp/22\n", "a:1: SOURCE: has no KEY"),
        (
            "SOURCE ANY\nOPEN_PORTS tcp/22\nGPG_DECRYPT_ID ABCD\nGPG_DECRYPT_PW x\n",
            "a:3: GPG_DECRYPT_ID: has no GPG_FINGERPRINT_ID, and no KEY",
        ),
    ],
)
def test_a_stanza_without_what_it_takes_is_left_out(text: str, why: str) -> None:
    read, told = users(text)
    assert read == {}
    assert told[0].startswith(why)
    # The one that decides is told once.
    assert len(told) == text.count("GPG_") or len(told) == 1


GPG = (
    f"SOURCE ANY\nHMAC_KEY h\nGPG_DECRYPT_ID ABCD1234\nGPG_ALLOW_NO_PW Y\n"
    f"GPG_REQUIRE_SIG Y\nGPG_FINGERPRINT_ID {SIGNER}, 0x{OTHER_SIGNER.lower()}\n"
)


def test_openpgp_keys_are_carried_over_by_their_fingerprints() -> None:
    made = user("HMAC_DIGEST_TYPE SHA384\n", GPG)
    signers = frozenset({SIGNER, OTHER_SIGNER})
    assert made.fwknop == ()
    assert made.fwknop_gnupg == (FwknopGnupgKey(Hmac(b"h", "sha384"), signers),)
    assert left("", GPG) == ["a:3: GPG_DECRYPT_ID: the one secret key in gnupg_dir"]


def test_a_stanza_for_both_kinds_of_packets_has_both_kinds_of_keys() -> None:
    made = user("KEY k\nENCRYPTION_MODE legacy\n", GPG)
    assert [one.keys for one in made.fwknop] == [Keys(b"k", b"h", legacy=True)]
    (by_gnupg,) = made.fwknop_gnupg
    assert (by_gnupg.hmac, by_gnupg.legacy) == (Hmac(b"h"), True)


def test_without_an_hmac_a_stanza_for_gnupg_says_so_as_well() -> None:
    text = GPG.replace("HMAC_KEY h\n", "")
    (by_gnupg,) = user("ENCRYPTION_MODE asymmetric\n", text).fwknop_gnupg
    assert by_gnupg.laxness == "an HMAC"


@pytest.mark.parametrize("name", ["GPG_REMOTE_ID", "GPG_FINGERPRINT_ID"])
def test_who_may_sign_is_named_by_whole_fingerprints(name: str) -> None:
    """There are other keys with the same eight digits."""
    start = "SOURCE ANY\nHMAC_KEY h\nOPEN_PORTS tcp/22\n"
    read, told = users(f"{start}{name} {SIGNER}\n")
    assert (len(read), told) == (1, [])
    for others in ("", "KEY k\n"):
        read, told = users(f"{start}{name} {SIGNER},{SIGNER[-8:]}\n{others}")
        assert read == {}
        what = "is no list of whole fingerprints, which 'gpg --fingerprint' shows"
        assert told == [f"a:4: {name}: {what}, so the stanza is left out"]


def test_what_was_taken_unsigned_is_told() -> None:
    what = "what is not signed is not taken"
    assert left("GPG_REQUIRE_SIG N\n", GPG)[1:] == [f"a:8: GPG_REQUIRE_SIG: {what}"]
    assert left("GPG_DECRYPT_ID A\n")[1:] == [f"a:5: GPG_DECRYPT_ID: {what}"]


def test_every_other_variable_is_told_with_its_line() -> None:
    for name, why in LEFT.items():
        assert left(f"{name} Y\n")[:1] == [f"a:5: {name}: {why}"]
    assert left("ENABLE_CMD_EXEC N\n") == []
    assert left("NO_SUCH_THING 1\n") == ["a:5: NO_SUCH_THING: is not known"]
    assert left("REQUIRE_USERNAME bob\n")[0].startswith("a:5: REQUIRE_USERNAME: names")


def test_a_line_before_the_first_stanza_is_told() -> None:
    _, told = users("KEY k\n" + BASIC + "OPEN_PORTS tcp/22\n")
    assert told == ["a:1: KEY: is in no stanza: SOURCE comes first"]


def test_an_end_in_seconds_is_carried_over() -> None:
    assert user("ACCESS_EXPIRE_EPOCH 1924905600\n").expires == 1_924_905_600_000


def conf(text: str) -> tuple[dict[str, str], list[str]]:
    files = Files(lambda _: text, lambda _: [])
    wanted, told = import_conf(read_lines("f", files))
    return wanted, [str(one) for one in told]


def test_the_port_and_the_interface_are_carried_over() -> None:
    assert conf("PCAP_INTF eth1;\nPCAP_FILTER udp port 40022;\n") == (
        {"interfaces": 'interfaces = ["eth1"]', "knock_port": "knock_port = 40022"},
        [],
    )
    assert conf("ACCESS_FILE x\n") == ({}, [])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("udp", {"fwknop_transports": 'fwknop_transports = ["udp/any"]'}),
        (
            "udp dst port 7 or udp port 53  or icmp",
            {
                "knock_port": "knock_port = 7",
                "fwknop_transports": 'fwknop_transports = ["udp/53", "icmp"]',
            },
        ),
        (
            "tcp dst port 80 or udp dst portrange 10000-65535 or udp port 9",
            {
                "knock_port": "knock_port = 9",
                "fwknop_transports": 'fwknop_transports = ["tcp/80", "udp/any"]',
            },
        ),
        ("tcp port 80", {"fwknop_transports": 'fwknop_transports = ["tcp/80"]'}),
    ],
)
def test_what_was_heard_besides_is_carried_over(
    text: str, wanted: dict[str, str]
) -> None:
    assert conf(f"PCAP_FILTER {text};\n") == (wanted, [])
    for line in wanted.values():
        config.parse(f"fwknop = true\n{line}\n", "/etc/spassh/spasshd.toml")


def test_requests_are_heard_where_they_were() -> None:
    text = "PCAP_FILTER tcp port 80 or udp port 62201;\nENABLE_SPA_OVER_HTTP Y;\n"
    lines = {
        "knock_port": "knock_port = 62201",
        "fwknop_transports": 'fwknop_transports = ["tcp/80", "http/80"]',
    }
    assert conf(text) == (lines, [])
    lines["fwknop_transports"] = 'fwknop_transports = ["tcp/80"]'
    assert conf(text.replace("Y;", "N;")) == (lines, [])


@pytest.mark.parametrize(
    "text",
    [
        *("port 80", "tcp", "udp port 0", "udp port 65536", "udp port 9 and host a"),
        *("not udp port 9", "udp src port 9", "udp port 9 or", "ether proto 0x888e"),
    ],
)
def test_any_other_filter_is_told(text: str) -> None:
    why = "is no list of ports and protocols: write fwknop_transports by hand"
    assert conf(f"PCAP_FILTER {text};\n") == ({}, [f"f:1: PCAP_FILTER: {why}"])


def test_every_other_variable_of_fwknopd_is_told_with_its_line() -> None:
    for name, why in LEFT_CONF.items():
        assert conf(f"{name} Y;\n") == ({}, [f"f:1: {name}: {why}"])
    assert conf("NEW 1;\n") == ({}, ["f:1: NEW: is not known"])


@pytest.mark.skipif(not DEBIAN.exists(), reason="fwknop is not unpacked")
def test_every_variable_that_debians_files_know_is_known() -> None:
    """They have all of fwknopd.conf as comments, and much of access.conf."""
    for name, known in (
        ("fwknopd.conf", {*CARRIED_CONF, *LEFT_CONF}),
        ("access.conf", {*CARRIED, *DECISIVE, *LEFT}),
    ):
        text = (DEBIAN / name).read_text(encoding="utf-8")
        found = set(re.findall(r"^#?([A-Z][A-Z_0-9]{3,})\s", text, re.MULTILINE))
        assert found - known == set()
        assert found
