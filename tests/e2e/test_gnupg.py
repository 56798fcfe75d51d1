"""Logins with requests that an OpenPGP key signs, and what is made of all others.

The server's gpg is a script that counts what it is asked, and then is gpg.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator

import pytest
from lab.inside import port_answers
from lab.knocker import noise
from lab.knocks import keys_of, sealed
from lab.network import CLIENT4, SERVER4, SERVER_NAME, Host, wait_for
from lab.openpgp import Home, Party, end_parties, party
from lab.packets import datagrams, send
from lab.programs import Client, recording

from spassh.protocol.packet import ClientKeys, ephemeral_spelling, seal_payload
from spassh.protocol.request import TCP, Request
from spassh.protocol.signed import encode_signed, encode_text
from spassh_server import config
from spassh_server.accounts import find_account
from spassh_server.clock import now_ms

from .conftest import Lab

pytestmark = [
    pytest.mark.login,
    pytest.mark.netns,
    pytest.mark.skipif(
        shutil.which("gpg") is None, reason="gpg is missing: apt install gpg gpg-agent"
    ),
]

_COUNTING = """\
#!/bin/sh
case "$*" in *--decrypt*) echo decrypt >>{count};; esac
exec /usr/bin/gpg "$@"
"""


class Site:
    """A server with a key of some kind, and alice, who signs with another."""

    def __init__(self, lab: Lab, who: Party) -> None:
        self.lab = lab
        self.who = who
        self.place = tempfile.mkdtemp(prefix="spg")
        os.chmod(self.place, 0o755)  # noqa: S103 - as /var/lib is
        self.spasshd = lab.spasshd("--protect", "tcp/22")
        place = f'gnupg_dir = "{self.place}/gnupg"'
        self.spasshd.edit('gnupg_dir = "gnupg"', place)
        # Where gpg can write: with Landlock, it can nowhere else.
        self._count = f"{self.place}/gnupg/count"
        self._make_home()
        self._write_program()
        key = f"{self.place}/alice.asc"
        with open(key, "wb") as file:
            file.write(who.client.gpg("--export", "--armor", who.signer))
        words = ("alice", "--address", SERVER_NAME, "--gnupg", key)
        added = self.spasshd.verb("user", "add", *words)
        invite, self.armoured = added.stdout.split("\n", 1)
        self.client = self._make_client(invite)
        self.spasshd.start()

    def _write_program(self) -> None:
        path = f"{self.place}/gpg"
        with open(path, "w", encoding="ascii") as file:
            file.write(_COUNTING.format(count=self._count))
        os.chmod(path, 0o755)  # noqa: S103 - the listener's account runs it
        with open(self._count, "w", encoding="ascii"):
            os.chmod(self._count, 0o666)  # noqa: S103 - and writes this
        with open(self.spasshd.config, encoding="utf-8") as file:
            text = file.read()
        with open(self.spasshd.config, "w", encoding="utf-8") as file:
            file.write(f'gpg_path = "{path}"\n{text}')

    def _make_home(self) -> None:
        """Put the server's key there, as who wants no other does beforehand."""
        home = f"{self.place}/gnupg"
        ignored = shutil.ignore_patterns("S.*", "*.lock", ".#*")
        shutil.copytree(self.who.server.path, home, ignore=ignored)
        account = find_account(config.load(self.spasshd.config))
        for directory, _, names in os.walk(home):
            for path in (directory, *(os.path.join(directory, one) for one in names)):
                os.chown(path, *account)

    def _make_client(self, invite: str) -> Client:
        client = self.lab.client()
        hosts = ("--host", "v4.server.test", "--host", "v6.server.test")
        client.accept(invite, *hosts)
        client.environment["GNUPGHOME"] = self.who.client.path
        client.set_profile(
            'format = "gnupg"',
            f'gnupg_key = "{self.who.signer}"',
            f'gnupg_server = "{self.who.recipient}"',
            'width = "address"',
        )
        return client

    def messages_seen(self) -> int:
        """Count the OpenPGP messages that gpg was asked to open."""
        with open(self._count, encoding="ascii") as file:
            return len(file.readlines())

    def counters(self) -> dict[str, int]:
        counters: dict[str, int] = self.spasshd.status()["counters"]
        return counters

    def expect(self, name: str, host: Host, datagram: bytes) -> None:
        """Send a datagram from `host`, and wait until the counter `name` has grown."""
        before = self.counters().get(name, 0)
        send(host, SERVER4, datagram)
        wait_for(lambda: self.counters().get(name, 0) > before, f"a packet {name}")

    def close(self) -> None:
        assert self.spasshd.running.stop() == 0
        self.spasshd.verb("stop", "--open")
        assert not os.path.exists(f"{self.place}/gnupg/S.gpg-agent")
        shutil.rmtree(self.place)


@pytest.fixture(scope="module", autouse=True)
def _parties() -> Iterator[None]:
    yield
    end_parties()


@pytest.fixture(scope="module")
def labs(make_lab: Callable[[str], Lab]) -> Callable[[str], Lab]:
    made: dict[str, Lab] = {}
    return lambda stack: made.setdefault(stack, made.get(stack) or make_lab(stack))


@pytest.mark.parametrize(
    ("stack", "kind"),
    [
        ("pypi", "rsa2048"),
        ("pypi", "rsa3072"),
        ("pypi", "elgamal"),
        ("debian", "ed25519"),
        ("debian", "elgamal"),
    ],
)
def test_ssh_logs_in_with_keys_of_each_kind(
    labs: Callable[[str], Lab], stack: str, kind: str
) -> None:
    site = Site(labs(stack), party(kind))
    try:
        assert site.client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
        assert f"granted user=alice address={CLIENT4}" in site.spasshd.running.log
        assert site.messages_seen() >= 1
        assert not port_answers(site.lab.stranger, SERVER4, 22, 0.3)
    finally:
        site.close()


@pytest.fixture(scope="module")
def site(labs: Callable[[str], Lab]) -> Iterator[Site]:
    made = Site(labs("pypi"), party("ed25519"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def recorded(site: Site) -> bytes:
    """Record the datagram of a login, as anybody on the way can."""
    pcap = site.lab.path("login.pcap")
    with recording(site.lab.server, pcap, "udp"):
        assert site.client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
    site.spasshd.flush()
    return datagrams(pcap)[0].payload


def signed(site: Site, make: Callable[[bytes], bytes], **keys: bytes) -> bytes:
    """Make alice's datagram now; `make` makes the OpenPGP message of the text."""
    ours = keys_of(site.client)._replace(**keys)
    random, now = os.urandom(33), now_ms()
    request = Request(now, TCP, 22)
    text = encode_text(request, ours.server, ephemeral_spelling(random))
    return seal_payload(encode_signed(now, make(text)), ours, random)


def test_a_request_by_hand_is_granted(site: Site) -> None:
    """What the others below break: this one is whole."""
    datagram = signed(site, site.who.seal)
    site.expect("granted", site.client.host, datagram)
    site.spasshd.flush()


def test_a_stranger_never_starts_gpg(site: Site, recorded: bytes) -> None:
    """Not by junk, not by replays, not with the server's key, nor with the psk."""
    before = site.messages_seen()
    public = keys_of(site.client).server
    stranger = ClientKeys(os.urandom(32), public, os.urandom(32))
    message = encode_signed(now_ms(), site.who.seal(b"text"))
    psk = stranger._replace(psk=keys_of(site.client).psk)
    kinds = {
        "not-ours": [
            noise(site.spasshd, 1200),
            recorded[:-1] + bytes([recorded[-1] ^ 1]),
        ],
        "unauthentic": [
            seal_payload(message, stranger, os.urandom(33)),
            seal_payload(message, psk, os.urandom(33)),
            signed(site, site.who.seal, psk=bytes(32)),
        ],
        "replayed": [recorded],
    }
    # The filter in the kernel lets these through to nobody.
    wrong_tag = bytes([recorded[0] ^ 1]) + recorded[1:]
    for packet in (recorded[:-1], recorded + b"\0", b"", os.urandom(1200), wrong_tag):
        send(site.lab.stranger, SERVER4, packet)
    for outcome, packets in kinds.items():
        for packet in packets:
            site.expect(outcome, site.lab.stranger, packet)
    # Nor does alice with a request that is not signed.
    plain = sealed(site.client)
    site.expect("refused", site.client.host, plain)
    assert site.messages_seen() == before
    assert not port_answers(site.client.host, SERVER4, 22, 0.3)


def test_a_packet_for_another_server_is_not_for_this_one(site: Site) -> None:
    before = site.messages_seen()
    datagram = signed(site, site.who.seal, server=bytes(range(9, 41)))
    frames = site.counters()["frames"]
    send(site.client.host, SERVER4, datagram)
    # What is sent after it is counted after it, and the tag keeps it out.
    site.expect("not-ours", site.client.host, noise(site.spasshd, 1200))
    assert site.counters()["frames"] == frames + 1
    assert site.messages_seen() == before


def bad_messages(site: Site) -> dict[str, Callable[[bytes], bytes]]:
    """Make each OpenPGP message that must open nothing, from a text that is right."""
    who, other = site.who, party("rsa2048")
    client = who.client
    who.server.give(other.client, who.recipient)
    other.server.give(client, other.recipient)
    squeeze = ("--compress-algo", "bzip2", "-z", "9")
    return {
        "unsigned": lambda text: client.gpg(
            "--encrypt", "-r", who.recipient, data=text
        ),
        "another key": lambda text: other.client.seal(
            text, other.signer, who.recipient
        ),
        "expired key": lambda text: expired(site, text),
        "not to us": lambda text: client.seal(text, who.signer, other.recipient),
        "bomb": lambda _: who.seal(bytes(1 << 20), *squeeze),
        "garbage": lambda text: os.urandom(len(text)),
        "another text": lambda text: who.seal(text[:-1] + b"\1"),
        "another datagram": lambda text: who.seal(text[:48] + bytes(32) + text[80:]),
    }


def expired(site: Site, text: bytes) -> bytes:
    """Sign with a key that the server knows, and that has expired yesterday."""
    then = ("--faked-system-time", f"{int(time.time()) - 2 * 86_400}!")
    home = Home()
    try:
        signer = home.make("ed25519", "expired", *then, expires="1d")
        site.who.server.give(home, site.who.recipient)
        home.give(Home(f"{site.place}/gnupg"), signer)
        inside = home.gpg("--sign", "-z", "0", "-u", signer, *then, data=text)
        words = ("--no-literal", "-z", "0", "-r", site.who.recipient)
        return home.gpg("--encrypt", *words, data=inside)
    finally:
        home.close()


def test_bad_messages_of_somebody_with_alices_keys_open_nothing(site: Site) -> None:
    """Her X25519 key and psk are stolen, and not her OpenPGP key."""
    answers = site.lab.path("answers.pcap")
    made = {name: signed(site, make) for name, make in bad_messages(site).items()}
    granted = site.counters()["granted"]
    with recording(site.lab.client_host, answers, "-Q", "in", "udp or icmp"):
        for datagram in made.values():
            site.expect("refused", site.client.host, datagram)
            assert not port_answers(site.client.host, SERVER4, 22, 0.3)
    assert os.path.getsize(answers) == 24, "the server answered"
    assert site.counters()["granted"] == granted
    assert site.counters().get("bug", 0) == 0
    assert site.spasshd.running.process.poll() is None


def test_gpg_is_asked_a_few_times_in_a_second(site: Site) -> None:
    made = [signed(site, lambda _: b"junk") for _ in range(40)]
    before = site.messages_seen()
    start = time.monotonic()
    refused = site.counters().get("refused", 0)
    for datagram in made:
        send(site.client.host, SERVER4, datagram)
    wait_for(
        lambda: site.counters()["refused"] == refused + len(made), "all to be refused"
    )
    seconds = time.monotonic() - start
    assert site.messages_seen() - before <= 10 + 3 * (seconds + 1)


def test_after_all_that_alice_still_logs_in(site: Site) -> None:
    assert site.client.ssh("v6.server.test", "echo", "in").stdout == "in\n"
