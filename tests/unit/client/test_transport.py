"""The ways of packets to an fwknopd that are not UDP to its port."""

import os
import re
import socket
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from struct import unpack_from

import pytest
from unit.client.parties import NOW_MS, PROFILE, Gate, Home
from unit.client.test_fwknop_profile import OURS
from unit.server.child import needs_root

from spassh import transport
from spassh.errors import ProfileError
from spassh.fwknop_way import RAW, Way
from spassh.sockets import Socket
from spassh.source import Source
from spassh.transport import request, send
from spassh.verbs import knock as knock_verb

PACKET = b"9+/" + b"A" * 160


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as gate:
        yield gate


def sent(gate: Gate, port: int, **way: object) -> Source:
    profile = PROFILE._replace(port=port)
    return send(PACKET, gate.address, profile, Way(**way))  # type: ignore[arg-type]


def spare_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_udp_comes_from_the_port_that_is_named(gate: Gate) -> None:
    mine = spare_port()
    source = sent(gate, gate.knock_port, source_port=mine)
    assert gate.collect() == 1
    assert (gate.knocks, gate.ports) == ([PACKET], [mine])
    # The connection may come from any port.
    assert (source.address[0], source.port) == ("127.0.0.1", 0)
    gate.udp.close()
    for _ in range(2):
        sent(gate, gate.port, source_port=spare_port())


def test_a_port_by_chance_is_one_of_those_that_fwknop_takes(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {transport._random_port() for _ in range(100)}
    assert len(seen) > 50
    for byte, port in ((b"\0", 10_000), (b"\xff", 10_000 + 0xFFFFFFFF % 55_536)):
        monkeypatch.setattr(os, "urandom", lambda size, byte=byte: byte * size)
        assert transport._random_port() == port
    assert all(10_000 <= port < 65_536 for port in seen)
    monkeypatch.setattr(transport, "_random_port", lambda: gate.knock_port)
    sent(gate, 9, rand_port=True)
    assert gate.collect() == 1


@pytest.mark.parametrize("source_port", [0, 1])
def test_tcp_has_the_packet_in_a_connection(gate: Gate, source_port: int) -> None:
    gate.open()
    mine = spare_port() * source_port
    source = sent(gate, gate.port, transport="tcp", source_port=mine)
    with gate.accept() as sock:
        assert sock.recv(2000) == PACKET
        assert sock.recv(2000) == b""
        assert sock.getpeername()[1] == mine or not source_port
    assert (source.address[0], source.port) == ("127.0.0.1", 0)


def test_a_port_that_takes_no_connection_is_told_apart_from_that_of_ssh(
    gate: Gate,
) -> None:
    what = rf"^\[Errno \d+\] tcp/{gate.port} takes no packet: connection refused$"
    for name in ("tcp", "http"):
        with pytest.raises(OSError, match=what) as caught:
            sent(gate, gate.port, transport=name)
        # It would be taken for what the port of ssh has said.
        assert not isinstance(caught.value, ConnectionError)


def test_http_has_it_in_the_path(gate: Gate) -> None:
    gate.open()
    sent(gate, gate.port, transport="http", http_user_agent="Fwknop and me")
    path = b"9-_" + b"A" * 160
    with gate.accept() as sock:
        lines = sock.recv(2000).split(b"\r\n")
    assert lines == [
        b"GET /%b HTTP/1.0" % path,
        b"User-Agent: Fwknop and me",
        b"Accept: */*",
        b"Host: 127.0.0.1",
        b"Connection: close",
        b"",
        b"",
    ]
    assert b"\r\nHost: a.test\r\n" in request(PACKET, "a.test", Way())
    # fwknopd looks for it.
    assert b"\r\nUser-Agent: Fwknop" in request(PACKET, "a.test", Way())


@pytest.mark.parametrize("name", RAW)
def test_a_whole_packet_takes_root(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    class Forbidden(Socket):
        __slots__ = ()

        def __init__(self, family: int, kind: int, protocol: int = 0) -> None:
            if kind == socket.SOCK_RAW:
                raise PermissionError(1, "Operation not permitted")
            super().__init__(family, kind, protocol)

    monkeypatch.setattr(transport, "Socket", Forbidden)
    monkeypatch.setitem(sys.modules, "spassh.raw_packet", None)
    with pytest.raises(ProfileError, match=f"'transport': {name} takes root") as caught:
        sent(gate, 9, transport=name)
    assert caught.value.hint == "run ssh as root, or take another transport"


@needs_root
def test_without_scapy_it_is_told_where_to_get_it(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spassh.raw_packet", None)
    with pytest.raises(ProfileError, match="icmp takes scapy, which is") as caught:
        sent(gate, 9, transport="icmp")
    assert "python3-scapy" in caught.value.hint
    assert "spassh[raw]" in caught.value.hint


# What scapy makes


@pytest.mark.parametrize(("name", "protocol"), [*zip(RAW, (17, 6, 1), strict=True)])
@pytest.mark.parametrize("source_port", [0, 53])
def test_a_whole_packet_has_everything_in_it(
    name: str, protocol: int, source_port: int
) -> None:
    pytest.importorskip("scapy.layers.inet")
    from spassh.raw_packet import build

    ends = ("192.0.2.9", "198.51.100.1")
    data = build(name, PACKET, ends, (source_port, 62_201))
    assert data.endswith(PACKET)
    assert (data[0], data[9]) == (0x45, protocol)
    assert unpack_from("!H", data, 2)[0] == len(data)
    assert data[12:20] == b"".join(ip_address(one).packed for one in ends)
    inner = data[20:]
    sizes = {17: 8, 6: 20, 1: 8}
    assert len(inner) == sizes[protocol] + len(PACKET)
    if protocol == 1:
        assert (inner[0], inner[1]) == (8, 0)
    else:
        ports = unpack_from("!HH", inner)
        assert ports[1] == 62_201
        assert ports[0] == source_port or ports[0] >= 1024 * (not source_port)
        assert protocol == 17 or inner[13] == 2
    assert checksum(data[:20]) == 0
    pseudo = data[12:20] + bytes([0, protocol]) + len(inner).to_bytes(2)
    assert checksum((pseudo if protocol != 1 else b"") + inner) == 0


def checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(unpack_from(f"!{len(data) // 2}H", data))
    return 0xFFFF - (total % 0xFFFF or 0xFFFF * bool(total))


@needs_root
@pytest.mark.parametrize("name", RAW)
def test_a_whole_packet_arrives_with_the_source_that_it_was_told(
    gate: Gate, name: str
) -> None:
    pytest.importorskip("scapy.layers.inet")
    numbers = dict(zip(RAW, (17, 6, 1), strict=True))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, numbers[name]) as sock:
        sock.bind(("127.0.0.1", 0))
        spoofed = bytes([127, 0, 0, 9])
        source = sent(gate, gate.knock_port, transport=name, spoof_source=spoofed)
        sock.settimeout(20)
        data, origin = b"", ""
        # Others may ping meanwhile, and who is pinged answers.
        while not data.endswith(PACKET) or data[20] == 0:
            data, (origin, _) = sock.recvfrom(2000)
    assert origin == "127.0.0.9"
    # The connection comes from the real one.
    assert source.address[0] == "127.0.0.1"


# The verbs


def test_the_verb_knock_takes_the_way_of_the_profile(
    home: Home, gate: Gate, capfd: pytest.CaptureFixture[str]
) -> None:
    gate.open()
    host = str(gate.address)
    way = {"transport": '"http"', "port": str(gate.port), "hosts": f'["{host}"]'}
    home.profile(**(OURS | way))
    knock_verb.run(host, "tcp/22", "", "", lambda: NOW_MS)
    with gate.accept() as sock:
        assert re.match(rb"GET /[89_-][A-Za-z0-9_-]+ HTTP/1.0\r\n", sock.recv(2000))
    assert f"knocked at {host} from 127.0.0.1 for tcp/22" in capfd.readouterr().err
