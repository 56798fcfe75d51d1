"""The real fwknop of Debian knocks at spasshd, and spassh at the real fwknopd."""

import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from itertools import cycle, product
from time import time

import pytest
from lab.fwknop import (
    MISSING,
    WHY,
    Fwknop,
    Fwknopd,
    keys_options,
    stanza,
)
from lab.inner import INNER4, Inner
from lab.inside import udp
from lab.knocks import connects
from lab.network import CLIENT4, SERVER4, STRANGER4, wait_for
from lab.programs import Client, Spasshd
from lab.site import Site

from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.fwknop.message import Message
from spassh.protocol.fwknop.packet import PREFIX, rand, seal
from spassh_server.firewall import Width
from spassh_server.ports import Port

from .conftest import Lab

pytestmark = [
    pytest.mark.login,
    pytest.mark.netns,
    pytest.mark.skipif(MISSING, reason=WHY),
]

FORMS = ("base64", "passphrase")
WAYS = [(hmac, form) for form in FORMS for hmac in ("", *DIGESTS)]
"""Each is a user or a stanza with keys of its own."""


def keys(hmac: str, form: str) -> Keys:
    mark = f"{hmac or 'none'}-{form}"
    if form == "passphrase":
        secret, other = f"enc-{mark}".encode(), f"hmac-{mark}".encode()
    else:
        secret = bytes([0, len(mark)]) + mark.encode() + b"\0\xff"
        other = b"\0\n" + mark.encode() * 3
    return Keys(secret, other if hmac else b"", hmac or "sha256")


def address(number: int) -> bytes:
    """Return the address that the packet of this number lets in."""
    return IPv4Address(int(IPv4Address("198.18.0.1")) + number).packed


COMBINATIONS = list(enumerate(product(WAYS, DIGESTS)))


# spassh knocks at fwknopd


@pytest.fixture(scope="module")
def fwknopd(lab: Lab) -> Iterator[Fwknopd]:
    access = "".join(
        f"SOURCE ANY\nOPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 300\n"
        f"{stanza(keys(hmac, form), base64=form == 'base64')}\n"
        for hmac, form in WAYS
    )
    rule = ["INPUT", "-p", "tcp", "--dport", "22", "-j", "DROP"]
    lab.server.run(["iptables", "-A", *rule])
    made = Fwknopd(lab.server, lab.path("fwknopd"), access)
    yield made
    made.daemon.stop()
    lab.server.run(["iptables", "-D", *rule])


def profile(client: Client, its: Keys, *lines: str, port: int = Fwknopd.PORT) -> None:
    """Write the one profile of `client`, for an fwknopd with these keys."""
    directory = os.path.join(client.directory, "spassh", "profiles")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    text = [
        'hosts = ["v4.server.test"]',
        'user = "alice"',
        'format = "fwknop"',
        f"port = {port}",
        f'key_base64 = "{b64encode(its.encryption).decode()}"',
    ]
    if its.hmac:
        text.append(f'hmac_key_base64 = "{b64encode(its.hmac).decode()}"')
        text.append(f'hmac_digest_type = "{its.hmac_digest}"')
    path = os.path.join(directory, "fwknopd.toml")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join([*text, *lines, ""]))


def test_a_login_opens_an_fwknopd(lab: Lab, fwknopd: Fwknopd) -> None:
    assert not connects(lab.client_host, SERVER4, 22, 0)
    client = lab.client()
    profile(client, keys("sha256", "base64"), 'digest_type = "sha512"')
    assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
    assert f"{CLIENT4}" in fwknopd.daemon.log


def test_fwknopd_takes_each_kind_of_keys_and_each_digest_that_we_make(
    lab: Lab, fwknopd: Fwknopd
) -> None:
    """It takes a tenth of a second for each; all combinations libfko has taken."""
    with udp(lab.client_host) as sock:
        for number, ((hmac, form), digest) in enumerate(
            zip(WAYS, cycle(DIGESTS), strict=False)
        ):
            fresh = os.urandom(16)
            message = Message(
                rand(fresh[8:]), "alice", int(time()), 1, address(number), ((6, 22),)
            )
            packet = seal(message, keys(hmac, form), fresh[:8], digest)
            sock.sendto(packet, (SERVER4, Fwknopd.PORT))

            def is_open(number: int = number) -> bool:
                where = IPv4Address(address(number))
                return f"Added access rule to FWKNOP_INPUT for {where} " in (
                    fwknopd.daemon.log
                )

            wait_for(is_open, f"fwknopd to take {hmac} {form} {digest}")


# fwknop knocks at spasshd


@pytest.fixture(scope="module")
def inner(lab: Lab) -> Inner:
    return Inner(lab.network, lab.path("inner"), lab.sshd.user_key)


@pytest.fixture(scope="module")
def site(lab: Lab, inner: Inner) -> Iterator[Site]:
    spasshd = lab.spasshd("--protect", "tcp/22")
    with open(spasshd.config, "a", encoding="utf-8") as file:
        file.write(
            f'fwknop = true\n[[forward]]\nport = "tcp/2222"\nto = "{INNER4}"\n'
            'to_port = 22\n[[command]]\nname = "echo"\n'
            'argv = ["/bin/echo", "{word}", "a b"]\nword = "[a-z]{1,8}"\n'
        )
    spasshd.edit("lifetime = 15 ", "lifetime = 200 ")
    for hmac, form in WAYS:
        user(spasshd, hmac, form)
    spasshd.start()
    # What was made before the start is refused, and fwknop knows but the second.
    started = int(time())
    wait_for(lambda: int(time()) > started, "the next second")
    yield Site(lab.server, SERVER4, spasshd)
    assert spasshd.running.stop() == 0
    spasshd.verb("stop", "--open")


def user(spasshd: Spasshd, hmac: str, form: str, *, forwards: bool = True) -> None:
    its = keys(hmac, form)
    lines = [
        'ports = ["tcp/22"]',
        *(['forwards = ["tcp/2222"]', 'commands = ["echo"]'] if forwards else []),
        "any_address = true",
        "[[key]]",
        'format = "fwknop"',
    ]
    for name, key in (("key", its.encryption), ("hmac_key", its.hmac)):
        if key and form == "base64":
            lines.append(f'{name}_base64 = "{b64encode(key).decode()}"')
        elif key:
            lines.append(f'{name} = "{key.decode()}"')
    if hmac:
        lines.append(f'hmac_digest_type = "{hmac}"')
    else:
        lines.append("allow_unauthenticated = true")
    name = f"{hmac or 'none'}-{form}.toml"
    path = os.path.join(spasshd.directory, "users.d", name)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write("\n".join([*lines, ""]))


@pytest.fixture
def fwknop(lab: Lab) -> Fwknop:
    return Fwknop(lab.client_host, lab.path("fwknop"))


def options(hmac: str, form: str, digest: str = "sha256") -> list[str]:
    its = keys_options(keys(hmac, form), base64=form == "base64")
    return ["-D", SERVER4, "--digest-type", digest.upper(), *its]


def granted(site: Site) -> set[tuple[bytes, Port, Width]]:
    return {
        (one.grant.address, one.grant.port, one.grant.width) for one in site.grants()
    }


def test_lax_users_are_warned_of_and_the_others_are_not(site: Site) -> None:
    log, _, _ = site.spasshd.running.log.partition("spasshd: ready")
    assert log.count("spasshd: warning") == len(FORMS)
    for form in FORMS:
        what = f"a key of none-{form} takes packets of fwknop without an HMAC"
        assert f'spasshd: warning text="{what}"' in log


def test_every_combination_of_the_real_client_is_let_in(
    site: Site, fwknop: Fwknop
) -> None:
    site.spasshd.flush()
    for number, ((hmac, form), digest) in COMBINATIONS:
        where = str(IPv4Address(address(number)))
        fwknop("-A", "tcp/22", "-a", where, *options(hmac, form, digest))
    expected = {
        (address(number), Port(6, 22), Width.ADDRESS) for number, _ in COMBINATIONS
    }
    wait_for(lambda: granted(site) == expected, "all combinations to be let in")


def test_a_login_after_a_knock_of_the_real_client(
    lab: Lab, site: Site, fwknop: Fwknop
) -> None:
    site.spasshd.flush()
    assert not connects(lab.client_host, SERVER4, 22, 0)
    client = lab.client()
    fwknop("-A", "tcp/22", "-s", *options("sha256", "base64"))
    wait_for(lambda: granted(site), "the knock to be granted")
    assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"


TYPES = {
    "1": (["-A", "tcp/22"], "tcp/22"),
    "3": (["-A", "tcp/22", "-f", "100"], "tcp/22"),
    "2": (["-A", "tcp/2222", "-N", f"{INNER4}:22"], "tcp/2222"),
    "4": (["-A", "tcp/2222", "-N", f"{INNER4}:22", "-f", "100"], "tcp/2222"),
    "5": (["-A", "tcp/22", "--nat-local", "--nat-port", "22"], "tcp/22"),
    "6": (["-A", "tcp/22", "--nat-local", "--nat-port", "22", "-f", "100"], "tcp/22"),
}


@pytest.mark.parametrize("kind", TYPES)
def test_each_type_of_request_is_granted(site: Site, fwknop: Fwknop, kind: str) -> None:
    site.spasshd.flush()
    words, port = TYPES[kind]
    fwknop(*words, "-a", CLIENT4, *options("sha512", "passphrase"))
    (active,) = wait_for(site.grants, f"a request of type {kind} to be granted")
    assert str(active.grant.port) == port
    assert active.seconds_left > 100 or kind in "346"
    assert active.seconds_left > 90


def test_nat_leads_to_the_inner_host(
    lab: Lab, site: Site, inner: Inner, fwknop: Fwknop
) -> None:
    site.spasshd.flush()
    words = ["-A", "tcp/2222", "-N", f"{INNER4}:22", "-s"]
    fwknop(*words, *options("sha256", "base64"))
    wait_for(site.grants, "the forward to be granted")
    client = lab.client()
    home = client.ssh("-p", "2222", "v4.server.test", "echo $HOME").stdout.strip()
    assert home == inner.home


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["-A", "tcp/2222", "-N", "10.9.0.6:22"],
            "tcp/2222 does not lead to 10.9.0.6 port 22",
        ),
        (
            ["-A", "tcp/22", "--nat-local", "--nat-port", "50022"],
            "tcp/50022 is not in the user's ports",
        ),
        (["-A", "tcp/22,tcp/23"], "tcp/23 is not in the user's ports"),
        (["-C", "/bin/echo hello"], "the command is none of the user's commands"),
    ],
)
def test_what_the_user_may_not_have_is_refused(
    site: Site, fwknop: Fwknop, words: list[str], reason: str
) -> None:
    site.spasshd.flush()
    fwknop(*words, "-a", CLIENT4, *options("md5", "base64"))
    site.spasshd.running.wait_log(f'reason="{reason}"')
    assert site.grants() == []


def test_a_command_is_run_without_a_shell(site: Site, fwknop: Fwknop) -> None:
    words = ["-C", "/bin/echo 'hello' \"a b\"", "-a", CLIENT4]
    fwknop(*words, *options("sha3_256", "base64"))
    site.spasshd.running.wait_log('output name=echo text="hello a b"')


Spelling = Callable[[bytes], bytes]
OTHERS: dict[str, Spelling] = {
    "=": lambda packet: packet + b"=",
    "==": lambda packet: packet + b"==",
    "=AAAA": lambda packet: packet + b"=AAAA",
    "prefix": lambda packet: PREFIX + packet,
    "newline": lambda packet: packet + b"\n",
}


@pytest.mark.parametrize("hmac", ["", "sha256", "sha384"])
def test_a_recorded_packet_opens_nothing_again_in_any_spelling(
    lab: Lab, site: Site, fwknop: Fwknop, hmac: str
) -> None:
    site.spasshd.flush()
    packet = fwknop("-A", "tcp/22", "-s", *options(hmac, "base64"))
    wait_for(site.grants, "the knock to be granted")
    site.spasshd.flush()
    with udp(lab.stranger) as sock:
        assert site.outcome(sock, packet) == "replayed"
        others = [spell(packet) for spell in OTHERS.values()]
        # Of two and four spare bits in the last character, each way to change some.
        tail = packet[-1]
        others += [
            packet[:-1] + bytes([letter]) for letter in b"ABab019+/" if letter != tail
        ]
        for other in others:
            site.send(sock, other)
        # This one is behind all of them, and the last to be judged.
        assert "replayed" in site.outcome(sock, packet)
    assert site.grants() == []


def test_a_stanza_that_is_imported_lets_its_client_in(
    lab: Lab, site: Site, fwknop: Fwknop
) -> None:
    """access.conf is what fwknopd itself runs with in this file."""
    site.spasshd.flush()
    its = Keys(b"moving over", b"with an hmac key", "sha384")
    directory = lab.path("etc-fwknop")
    os.mkdir(directory)
    text = "SOURCE ANY\nOPEN_PORTS tcp/22\nREQUIRE_USERNAME mover\n"
    for name, content in (
        ("fwknopd.conf", "PCAP_FILTER udp port 62201;\n"),
        ("access.conf", text + stanza(its, base64=False)),
    ):
        with open(os.path.join(directory, name), "x", encoding="ascii") as file:
            file.write(content)
    assert "mover.toml" in site.spasshd.verb("import-fwknop", directory).stdout
    words = ["-A", "tcp/22", "-a", CLIENT4, "-D", SERVER4]
    fwknop(*words, *keys_options(its, base64=False))
    (active,) = wait_for(site.grants, "who has moved over to be let in")
    assert active.user in {"", "mover"}


def test_the_legacy_mode_is_let_in_where_it_is_written(
    site: Site, fwknop: Fwknop
) -> None:
    """Its packets are those of 1.9: a key of 16 bytes, and no HMAC."""
    site.spasshd.flush()
    its = Keys(b"old passphrase", legacy=True)
    knock = ["-A", "tcp/22", "-s", "-D", SERVER4, *keys_options(its, base64=False)]
    path = os.path.join(site.spasshd.directory, "users.d", "old.toml")
    text = '[[key]]\nformat = "fwknop"\nkey = "old passphrase"\n'
    lax = ["allow_unauthenticated = true\n", "legacy = true\n"]
    for lines, outcome in ((lax[:1], "not-ours"), (lax, "granted")):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(text + "".join(lines))
        site.spasshd.verb("reload")
        before = site.counters().get(outcome, 0)
        fwknop(*knock)

        def is_counted(outcome: str = outcome, before: int = before) -> bool:
            return site.counters().get(outcome, 0) > before

        wait_for(is_counted, f"a packet to be {outcome}")
    what = "without an HMAC and the key derivation of fwknop 2"
    line = f'warning text="a key of old takes packets of fwknop {what}"'
    assert line in site.spasshd.running.log


def test_explain_says_whose_packet_it_is(site: Site, fwknop: Fwknop) -> None:
    packet = fwknop("-A", "tcp/22", "-s", *options("sha1", "base64"))
    done = site.spasshd.verb("explain", packet.hex(), "--source", CLIENT4, check=False)
    assert "ok  gate       it has the form of a packet of fwknop\n" in done.stdout
    assert "ok  handshake  made by sha1-base64, with key 1 of 1\n" in done.stdout


# The same on Debian's own libraries


def test_the_libraries_of_debian_do_the_same(make_lab: Callable[[str], Lab]) -> None:
    lab = make_lab("debian")
    spasshd = lab.spasshd("--protect", "tcp/22")
    with open(spasshd.config, "a", encoding="utf-8") as file:
        file.write("fwknop = true\n")
    user(spasshd, "sha3_512", "base64", forwards=False)
    spasshd.start()
    started = int(time())
    wait_for(lambda: int(time()) > started, "the next second")
    client = lab.client()
    profile(client, keys("sha3_512", "base64"), port=62201)
    assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
    its = options("sha3_512", "base64", "md5")
    fwknop = Fwknop(lab.stranger, lab.path("fwknop"))
    fwknop("-A", "tcp/22", "-a", STRANGER4, *its)
    line = f"granted user=sha3_512-base64 address={STRANGER4} port=tcp/22"
    spasshd.running.wait_log(line)
    assert spasshd.running.stop() == 0
