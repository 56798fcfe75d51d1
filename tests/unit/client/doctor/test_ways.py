"""The ways out of this computer, and what is said about a datagram."""

import errno
import os
import socket
from struct import pack

import pytest
from unit.client.parties import Gate

from spassh import source
from spassh.protocol.limits import ACCESS_DATAGRAM
from spassh.resolve import Address
from spassh.sockets import Socket
from spassh.verbs.doctor.ways import Complaint, Noise, _complaint, find_source

NOWHERE = Address(socket.AF_INET6, ("fe80::1", 22, 0, 0))
"""A link-local address without a zone leads nowhere."""


def test_a_way_has_a_source_or_a_reason(gate: Gate) -> None:
    assert find_source(gate.address) == (gate.address.sockaddr[0], "")
    found, reason = find_source(NOWHERE)
    assert found == ""
    assert reason[:1].islower()


def test_noise_is_of_the_size_of_a_knock_and_always_another(gate: Gate) -> None:
    noises = [Noise(gate.address, gate.knock_port) for _ in range(2)]
    assert gate.collect() == 2
    assert [len(one) for one in gate.knocks] == [ACCESS_DATAGRAM] * 2
    assert gate.knocks[0] != gate.knocks[1]
    for noise in noises:
        assert noise.complaints() == []
        assert noise.source == gate.address.sockaddr[0]
        noise.close()


def test_where_there_is_no_way_there_is_no_complaint() -> None:
    noise = Noise(NOWHERE, 62201)
    assert noise.source == ""
    assert noise.reason
    assert noise.complaints() == []
    noise.close()


def test_a_port_that_nobody_listens_to_is_a_refusal_by_the_host(gate: Gate) -> None:
    port = gate.knock_port
    gate.udp.close()
    noise = Noise(gate.address, port)
    (complaint,) = noise.complaints()
    host = str(gate.address)
    assert complaint == Complaint(host, errno.ECONNREFUSED, "connection refused", host)
    assert complaint.is_refusal
    noise.close()


def test_what_this_computer_forbids_is_a_complaint_of_its_own(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forbidden(Socket):
        def send(self, *_: object) -> int:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(source, "Socket", Forbidden)
    noise = Noise(gate.address, gate.knock_port)
    (complaint,) = noise.complaints()
    noise.close()
    assert complaint == Complaint(
        str(gate.address), errno.EPERM, "operation not permitted"
    )
    assert not complaint.is_refusal


def told(number: int, origin: int, sender: bytes) -> bytes:
    return pack("=IBBBxII", number, origin, 3, 13, 0, 0) + sender


ROUTER4 = pack("=H", socket.AF_INET) + bytes(2) + b"\xc0\0\2\xfe" + bytes(8)
ROUTER6 = (
    pack("=H", socket.AF_INET6)
    + bytes(6)
    + socket.inet_pton(socket.AF_INET6, "2001:db8::fe")
    + bytes(4)
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            told(errno.EHOSTUNREACH, 2, ROUTER4),
            Complaint(
                "192.0.2.1", errno.EHOSTUNREACH, "no route to host", "192.0.2.254"
            ),
        ),
        (
            told(errno.EACCES, 3, ROUTER6),
            Complaint("192.0.2.1", errno.EACCES, "permission denied", "2001:db8::fe"),
        ),
        # This computer itself.
        (
            told(errno.EMSGSIZE, 1, ROUTER4),
            Complaint("192.0.2.1", errno.EMSGSIZE, "message too long"),
        ),
        (
            told(errno.EHOSTUNREACH, 2, bytes(16)),
            Complaint("192.0.2.1", errno.EHOSTUNREACH, "no route to host"),
        ),
        (b"", Complaint("192.0.2.1", 0, "an answer that makes no sense")),
        (
            told(errno.EHOSTUNREACH, 2, ROUTER4[:5]),
            Complaint("192.0.2.1", 0, "an answer that makes no sense"),
        ),
    ],
)
def test_an_error_is_read_with_who_has_sent_it(
    data: bytes, expected: Complaint
) -> None:
    assert _complaint("192.0.2.1", data) == expected


def test_a_refusal_that_a_router_sends_is_none_by_the_host() -> None:
    refusal = Complaint("192.0.2.1", errno.ECONNREFUSED, "", "192.0.2.254")
    assert not refusal.is_refusal
    assert refusal._replace(sender="192.0.2.1").is_refusal
