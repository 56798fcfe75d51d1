"""`spassh knock`: what is sent, and what is said."""

import _socket
import socket
from ipaddress import ip_address

import pytest
from unit.client.parties import LOOPBACKS, NOW_MS, Gate, Home, open_knock

from spassh import outside
from spassh.errors import ProfileError, ResolveError, UnreachableError, UsageError
from spassh.protocol.keys import PUBLIC, encode_key
from spassh.protocol.request import TCP, UDP, Request
from spassh.verbs.knock import run


def knock(
    host: str, access: str = "tcp/22", lifetime: str = "", allow: str = ""
) -> None:
    run(host, access, lifetime, allow, lambda: NOW_MS)


def make_profile(home: Home, gate: Gate) -> str:
    host = str(gate.address)
    home.profile(hosts=f'["{host}", "server.example"]', port=str(gate.knock_port))
    return host


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ((), Request(NOW_MS, TCP, 22)),
        (("udp/60001",), Request(NOW_MS, UDP, 60001)),
        (("tcp/443", "30s"), Request(NOW_MS, TCP, 443, 30)),
        (("tcp/443", "5m"), Request(NOW_MS, TCP, 443, 300)),
        (("tcp/443", "1h"), Request(NOW_MS, TCP, 443, 3600)),
        (("tcp/443", "7"), Request(NOW_MS, TCP, 443, 7)),
        (
            ("tcp/22", "", "198.51.100.7"),
            Request(NOW_MS, TCP, 22, 0, bytes([198, 51, 100, 7])),
        ),
        (
            ("tcp/22", "", "2001:db8::7"),
            Request(NOW_MS, TCP, 22, 0, b"\x20\x01\x0d\xb8" + bytes(11) + b"\7"),
        ),
    ],
)
def test_the_server_reads_what_is_asked_for(
    home: Home, gate: Gate, words: tuple[str, ...], request_: Request
) -> None:
    knock(make_profile(home, gate), *words)
    assert gate.collect() == 1
    assert open_knock(gate.knocks[0]).request == request_


def test_each_address_is_knocked_at_with_a_datagram_of_its_own(
    home: Home, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One of them may be of the family that is used in the end."""
    with Gate() as gate:
        make_profile(home, gate)
        nowhere = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 22, 0, 0))
        here = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{last}", 22))
            for last in (1, 1, 2)
        ]
        monkeypatch.setattr(_socket, "getaddrinfo", lambda *_, **__: [nowhere, *here])
        knock("server.example", "tcp/443")
        assert gate.collect() == 1
    said = capfd.readouterr().err.splitlines()
    source = LOOPBACKS[socket.AF_INET]
    assert f"spassh: knocked at 127.0.0.1 from {source} for tcp/443" in said
    assert len([line for line in said if "knocked at" in line]) == 2
    assert said[-1].startswith("spassh: no answer comes back")


def test_a_profile_may_have_another_name_to_knock_at(home: Home, gate: Gate) -> None:
    home.profile(hosts='["web"]', name=f'"{gate.address}"', port=str(gate.knock_port))
    knock("web")
    assert gate.collect() == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("443",), "--access: not a port: 443"),
        (("tcp/0",), "--access: not a port: tcp/0"),
        (("tcp/65536",), "--access: not a port: tcp/65536"),
        (("icmp/1",), "--access: not a port: icmp/1"),
        (("tcp/ssh",), "--access: not a port: tcp/ssh"),
        (("tcp/22", "0"), "--for: not a time: 0"),
        (("tcp/22", "86401"), "--for: not a time: 86401"),
        (("tcp/22", "1d"), "--for: not a time: 1d"),
        (("tcp/22", "-1"), "--for: not a time: -1"),
        (("tcp/22", "", "server.example"), "--allow: not an address: server.example"),
    ],
)
def test_what_is_no_knock_is_told_and_not_sent(
    home: Home, gate: Gate, words: tuple[str, ...], message: str
) -> None:
    host = make_profile(home, gate)
    with pytest.raises(UsageError) as caught:
        knock(host, *words)
    assert str(caught.value) == message
    assert caught.value.hint.startswith("such as ")
    assert gate.collect() == 0


@pytest.mark.parametrize("answer", ["198.51.100.7", "2001:db8::7"])
def test_the_address_of_the_outside_is_asked_for(
    home: Home, gate: Gate, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    body = b"HTTP/1.0 200 OK\r\n\r\n" + answer.encode()
    monkeypatch.setattr(outside, "fetch", lambda *_: body)
    host = make_profile(home, gate)
    url = "http://127.0.0.1/ip"
    run(host, "tcp/22", "", "", lambda: NOW_MS, resolve_url=url)
    assert gate.collect() == 1
    assert open_knock(gate.knocks[0]).request.address == ip_address(answer).packed
    with pytest.raises(UsageError, match="--allow and --resolve-url are both there"):
        run(host, "tcp/22", "", answer, lambda: NOW_MS, resolve_url=url)
    with pytest.raises(UsageError, match="--resolve-url: not a URL of http or https"):
        run(host, "tcp/22", "", "", lambda: NOW_MS, resolve_url="ftp://a.test/")
    monkeypatch.setattr(outside, "fetch", lambda *_: b"HTTP/1.0 200 OK\r\n\r\nme")
    with pytest.raises(ResolveError, match="cannot learn the address from 127"):
        run(host, "tcp/22", "", "", lambda: NOW_MS, resolve_url=url)
    assert gate.collect() == 1


def test_no_way_to_any_address_is_told(
    home: Home, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_profile(home, gate)
    nowhere = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 22, 0, 0))
    monkeypatch.setattr(_socket, "getaddrinfo", lambda *_, **__: [nowhere])
    with pytest.raises(UnreachableError, match=r"^cannot reach server.example: "):
        knock("server.example")


def test_a_host_without_a_profile_is_told(home: Home) -> None:
    with pytest.raises(ProfileError, match=r"no profile names 'other\.example'"):
        knock("other.example")


def test_a_key_that_no_server_has_is_told(home: Home, gate: Gate) -> None:
    home.profile(hosts='["127.0.0.1"]', server=f'"{encode_key(PUBLIC, bytes(32))}"')
    with pytest.raises(ProfileError, match="'server': low-order point"):
        knock("127.0.0.1")
    assert gate.collect() == 0
