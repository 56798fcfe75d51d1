"""Knocks at an fwknopd: what it reads in them."""

import _socket
import itertools
import os
from collections.abc import Iterator

import pytest
from lab.openpgp import Party, end_parties, party
from unit.client.parties import NOW_MS, PROFILE, Gate, Home
from unit.client.test_fwknop_profile import OURS

from spassh import outside
from spassh.errors import ProfileError, ResolveError, UnreachableError, UsageError
from spassh.fwknop import FwknopKnocker, FwknopSealer
from spassh.fwknop_profile import Fwknop
from spassh.fwknop_way import Way
from spassh.patterns import Wanted
from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.fwknop.message import Message
from spassh.protocol.fwknop.opening import open_packet
from spassh.protocol.fwknop.openpgp import Hmac, Keyring
from spassh.protocol.fwknop.packet import rand
from spassh.protocol.fwknop.text import check, read
from spassh.protocol.request import Request
from spassh.proxy import Clocks, _plan, proxy
from spassh.resolve import Address
from spassh.schedule import SIGNED_KNOCKS
from spassh.ui import silent
from spassh.url import Url, parse_url
from spassh.verbs import knock as knock_verb
from spassh.verbs import run as run_verb
from spassh_server.openpgp.gpg import Gpg
from spassh_server.openpgp.message import Verdict

KEYS = Keys(b"key", b"hmac key", "sha512")
FWKNOP = Fwknop(KEYS, "sha256", b"", None, is_local=False)
SECONDS = NOW_MS // 1000
ACCESS = Request(NOW_MS, 6, 22)


@pytest.fixture
def gate() -> "object":
    """fwknopd has IPv4 alone."""
    with Gate() as gate:
        yield gate


def sealed(request: Request, fwknop: Fwknop = FWKNOP) -> Message:
    sealer = FwknopSealer(PROFILE, fwknop, lambda size: bytes(range(size)))
    return open_packet(sealer.seal(request), [KEYS]).message


def expected(**changes: object) -> Message:
    digits = rand(bytes(range(8, 16)))
    plain = Message(digits, "alice", SECONDS, 1, b"", ((6, 22),))
    return plain._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "fwknop", "changes"),
    [
        (ACCESS, FWKNOP, {}),
        (ACCESS._replace(lifetime=30), FWKNOP, {"type": 3, "timeout": 30}),
        (ACCESS._replace(protocol=17), FWKNOP, {"ports": ((17, 22),)}),
        (ACCESS._replace(address=b"\1\2\3\4"), FWKNOP, {"address": b"\1\2\3\4"}),
        (ACCESS, FWKNOP._replace(address=b"\1\2\3\4"), {"address": b"\1\2\3\4"}),
        (
            ACCESS,
            FWKNOP._replace(target=("10.0.0.5", 22)),
            {"type": 2, "target": ("10.0.0.5", 22)},
        ),
        (
            ACCESS._replace(lifetime=30),
            FWKNOP._replace(target=("10.0.0.5", 22)),
            {"type": 4, "target": ("10.0.0.5", 22), "timeout": 30},
        ),
        (
            ACCESS,
            FWKNOP._replace(target=("gate", 22), is_local=True),
            {"type": 5, "target": ("gate", 22)},
        ),
        (
            ACCESS._replace(lifetime=30),
            FWKNOP._replace(target=("gate", 22), is_local=True),
            {"type": 6, "target": ("gate", 22), "timeout": 30},
        ),
        (
            Request(NOW_MS, command=("/bin/echo", "a b", "$x")),
            FWKNOP,
            {"type": 0, "ports": (), "command": "/bin/echo 'a b' '$x'"},
        ),
    ],
)
def test_each_request_has_its_type(
    request_: Request, fwknop: Fwknop, changes: dict[str, object]
) -> None:
    assert sealed(request_, fwknop) == expected(**changes)


def test_no_two_knocks_are_the_same(gate: Gate) -> None:
    times = itertools.count(NOW_MS, 1000)
    profile = PROFILE._replace(port=gate.knock_port)
    knocker = FwknopKnocker(profile, FWKNOP, 22, lambda: next(times), os.urandom)
    sources = [knocker.knock(gate.address, narrow=narrow) for narrow in (True, False)]
    assert [source.port for source in sources] == [0, 0]
    assert gate.collect() == 2
    opened = [open_packet(one, [KEYS]) for one in gate.knocks]
    assert [one.message.time for one in opened] == [SECONDS, SECONDS + 1]
    assert opened[0].identity != opened[1].identity


def test_a_port_that_is_closed_is_no_error(gate: Gate) -> None:
    profile = PROFILE._replace(port=gate.knock_port)
    knocker = FwknopKnocker(profile, FWKNOP, 22, lambda: NOW_MS, os.urandom)
    gate.udp.close()
    for _ in range(3):
        knocker.knock(gate.address, narrow=False)


def test_fwknopd_has_no_ipv6(gate: Gate) -> None:
    profile = PROFILE._replace(port=gate.knock_port)
    knocker = FwknopKnocker(profile, FWKNOP, 22, lambda: NOW_MS, os.urandom)
    there = Address(_socket.AF_INET6, ("::1", 22, 0, 0))
    with pytest.raises(OSError, match="family not supported"):
        knocker.knock(there, narrow=False)


def write(home: Home, gate: Gate, **fields: str) -> str:
    host = str(gate.address)
    lines = {"hosts": f'["{host}"]', "port": str(gate.knock_port)}
    home.profile(**(OURS | lines | fields))
    return host


def message(gate: Gate) -> Message:
    keys = Keys(bytes(range(32)), b"an hmac key")
    return open_packet(gate.knocks[-1], [keys]).message


def test_a_login_knocks_as_fwknop_does(home: Home, gate: Gate) -> None:
    host = write(home, gate)
    gate.open()
    gate.tcp.settimeout(20)
    told: list[str] = []
    clocks = Clocks(itertools.count(1.0, 0.001).__next__, lambda: NOW_MS)
    pid = os.fork()
    if not pid:
        # It ends with a relay between its standard input and the connection.
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        proxy(Wanted(host), gate.port, clocks, silent, fdpass=False)
        os._exit(0)
    gate.accept().close()
    assert os.waitpid(pid, 0)[1] == 0
    assert gate.collect() >= 1
    assert message(gate).ports == ((6, gate.port),)
    assert not told


def test_the_verb_knock_says_what_fwknop_can_say(home: Home, gate: Gate) -> None:
    host = write(home, gate)
    knock_verb.run(host, "udp/53", "30s", "192.0.2.7", lambda: NOW_MS)
    assert gate.collect() == 1
    asked = message(gate)
    assert (asked.type, asked.ports, asked.timeout) == (3, ((17, 53),), 30)
    assert asked.address == bytes([192, 0, 2, 7])
    for lifetime, allow in (("65537", ""), ("", "2001:db8::7")):
        with pytest.raises(UsageError, match="fwknop has no word for that"):
            knock_verb.run(host, "tcp/22", lifetime, allow, lambda: NOW_MS)
    assert gate.collect() == 1


def test_the_verb_knock_needs_an_ipv4_address(home: Home) -> None:
    home.profile(**(OURS | {"hosts": '["::1"]'}))
    with pytest.raises(UnreachableError, match="family not supported"):
        knock_verb.run("::1", "tcp/22", "", "", lambda: NOW_MS)


def test_the_verb_run_sends_a_command_line(home: Home, gate: Gate) -> None:
    host = write(home, gate)
    run_verb.run(host, ["/bin/echo", "a b"], lambda: NOW_MS)
    assert gate.collect() == 1
    assert message(gate).command == "/bin/echo 'a b'"
    with pytest.raises(UsageError, match="cannot send the command: field too long"):
        run_verb.run(host, ["/bin/echo", "x" * 190], lambda: NOW_MS)


# By GnuPG


@pytest.fixture(scope="module", autouse=True)
def _parties() -> Iterator[None]:
    yield
    end_parties()


def signing(
    who: Party, monkeypatch: pytest.MonkeyPatch, recipient: str = "", hmac: bytes = b"h"
) -> Fwknop:
    """Be the client of these two; return what its profile has."""
    monkeypatch.setenv("GNUPGHOME", who.client.path)
    keys = Keys(b"", hmac, "sha512")
    recipient = recipient or who.recipient
    return FWKNOP._replace(keys=keys, signer=who.signer, recipient=recipient)


def opened(who: Party, packet: bytes, hmac: bytes = b"h") -> Message:
    """Open a packet as the server does."""
    enclosed = Keyring([Hmac(hmac, "sha512")]).open(packet)
    gpg = Gpg("/usr/bin/gpg", who.server.path)
    answer = gpg.open(1, enclosed.message, who.recipient)
    assert (answer.verdict, answer.fingerprint) == (Verdict.GOOD, who.signer)
    check(answer.text)
    return read(answer.text)


@pytest.mark.parametrize("kind", ["rsa2048", "rsa3072", "elgamal"])
@pytest.mark.parametrize("hmac", [b"h", b""])
def test_a_knock_is_signed_and_encrypted_by_gnupg(
    kind: str, hmac: bytes, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    who = party(kind)
    fwknop = signing(who, monkeypatch, hmac=hmac)
    profile = PROFILE._replace(port=gate.knock_port, fwknop=fwknop)
    knocker = FwknopKnocker(profile, fwknop, 22, lambda: NOW_MS, os.urandom)
    for _ in range(2):
        knocker.knock(gate.address, narrow=False)
    assert gate.collect() == 2
    first, second = (opened(who, one, hmac) for one in gate.knocks)
    assert first == expected(rand=first.rand)
    assert second == expected(rand=second.rand)
    assert first.rand != second.rand
    # gpg takes its time on both sides.
    assert _plan(profile).knocks == SIGNED_KNOCKS


def test_who_types_a_passphrase_slowly_is_not_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    who = party("rsa2048")
    fwknop = signing(who, monkeypatch)
    times = iter([NOW_MS, NOW_MS + 50_000, NOW_MS + 50_000])
    knocker = FwknopKnocker(PROFILE, fwknop, 22, lambda: next(times), os.urandom)
    assert opened(who, knocker._ready).time == SECONDS + 50


def test_a_server_key_that_fwknop_cannot_use_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    curve, who = party("ed25519"), party("rsa2048")
    curve.server.give(who.client, curve.recipient)
    fwknop = signing(who, monkeypatch, curve.recipient)
    with pytest.raises(ProfileError, match="of these keys: recipient") as caught:
        FwknopSealer(PROFILE, fwknop, os.urandom).seal(ACCESS)
    assert "RSA of 2048 to 4096 bits" in caught.value.hint


def test_a_packet_that_is_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fwknop = signing(party("rsa4096"), monkeypatch)
    with pytest.raises(ProfileError, match="too long") as caught:
        FwknopSealer(PROFILE, fwknop, os.urandom).seal(ACCESS)
    assert caught.value.hint.startswith("sign with a smaller key")


def test_a_key_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fwknop = signing(party("rsa2048"), monkeypatch)._replace(signer="AB" * 20)
    with pytest.raises(ProfileError, match="gpg does not sign"):
        FwknopSealer(PROFILE, fwknop, os.urandom).seal(ACCESS)


def answering(address: bytes | None) -> type:
    """Return what stands for a web server that says so, or that says nothing."""

    class Answer:
        def __init__(self, url: Url, *, ipv4: bool) -> None:
            assert (url.host, ipv4) == ("a.test", True)

        def wait(self) -> bytes:
            if address is None:
                raise ResolveError("nobody says so")
            return address

    return Answer


ASKING = FWKNOP._replace(way=Way(resolve_url=parse_url("http://a.test/")))


def test_the_address_of_the_outside_is_in_the_packet(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "Outside", answering(b"\7\7\7\7"))
    assert sealed(ACCESS, ASKING) == expected(address=b"\7\7\7\7")
    # What is asked for by hand comes first.
    mine = ACCESS._replace(address=b"\1\2\3\4")
    assert sealed(mine, ASKING) == expected(address=b"\1\2\3\4")
    profile = PROFILE._replace(port=gate.knock_port)
    knocker = FwknopKnocker(profile, ASKING, 22, lambda: NOW_MS, os.urandom)
    knocker.knock(gate.address, narrow=False)
    assert gate.collect() == 1
    message = open_packet(gate.knocks[0], [KEYS]).message
    assert message.address == b"\7\7\7\7"


def test_nothing_is_sent_if_nobody_says_the_address_of_the_outside(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "Outside", answering(None))
    profile = PROFILE._replace(port=gate.knock_port)
    knocker = FwknopKnocker(profile, ASKING, 22, lambda: NOW_MS, os.urandom)
    with pytest.raises(ResolveError, match="nobody says so"):
        knocker.knock(gate.address, narrow=False)
    assert gate.collect() == 0
