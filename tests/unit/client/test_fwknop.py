"""Knocks at an fwknopd: what it reads in them."""

import _socket
import itertools
import os

import pytest
from unit.client.parties import NOW_MS, PROFILE, Gate, Home
from unit.client.test_fwknop_profile import OURS

from spassh.errors import UnreachableError, UsageError
from spassh.fwknop import FwknopKnocker, FwknopSealer
from spassh.fwknop_profile import Fwknop
from spassh.patterns import Wanted
from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.fwknop.message import Message
from spassh.protocol.fwknop.opening import open_packet
from spassh.protocol.fwknop.packet import rand
from spassh.protocol.request import Request
from spassh.proxy import Clocks, proxy
from spassh.resolve import Address
from spassh.ui import silent
from spassh.verbs import knock as knock_verb
from spassh.verbs import run as run_verb

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
