import itertools
import socket

import pytest
from unit.client.parties import (
    CLIENT,
    KEYS,
    LOOPBACKS,
    NOW_MS,
    PROFILE,
    Gate,
    open_knock,
)

from spassh.errors import ProfileError
from spassh.knock import Knocker
from spassh.protocol.limits import ACCESS_DATAGRAM
from spassh.protocol.request import TCP, Request
from spassh.resolve import Address


def knocker(gate: Gate) -> Knocker:
    """Return one whose clock and randomness count up."""
    times, numbers = itertools.count(NOW_MS), itertools.count(1)
    return Knocker(
        PROFILE._replace(port=gate.knock_port),
        KEYS,
        gate.port,
        lambda: next(times),
        lambda size: next(numbers).to_bytes(size, "big"),
    )


def test_the_server_opens_the_knock_and_reads_what_is_wanted(gate: Gate) -> None:
    knocker(gate).knock(gate.address)
    assert gate.collect() == 1
    assert len(gate.knocks[0]) == ACCESS_DATAGRAM
    opened = open_knock(gate.knocks[0])
    assert opened.client == CLIENT
    assert opened.request == Request(time=NOW_MS, protocol=TCP, port=gate.port)


def test_every_knock_is_a_fresh_one(gate: Gate) -> None:
    knock = knocker(gate).knock
    for _ in range(3):
        knock(gate.address)
    assert gate.collect() == 3
    opened = [open_knock(datagram) for datagram in gate.knocks]
    assert len({each.identity for each in opened}) == 3
    times = [each.request.time for each in opened]
    assert times == [NOW_MS, NOW_MS + 1, NOW_MS + 2]


def test_a_knock_tells_where_it_came_from(gate: Gate) -> None:
    source = knocker(gate).knock(gate.address)
    assert gate.collect() == 1
    assert gate.sources == [source[0]] == [LOOPBACKS[gate.udp.family]]


def test_a_server_that_answers_with_icmp_does_not_matter(gate: Gate) -> None:
    knock = knocker(gate).knock
    gate.udp.close()
    for _ in range(3):
        assert knock(gate.address)[0] == LOOPBACKS[gate.tcp.family]


def test_no_way_to_the_address_is_an_error_of_the_system() -> None:
    with Gate() as gate, pytest.raises(OSError, match=r"nreachable|denied|nvalid"):
        # A link-local address without a zone leads nowhere; and if there is no IPv6,
        # so does every other.
        knocker(gate).knock(Address(socket.AF_INET6, ("fe80::1", 22, 0, 0)))


def test_a_key_that_no_server_has_is_told_before_anything_is_sent() -> None:
    with pytest.raises(ProfileError) as caught:
        Knocker(
            PROFILE,
            KEYS._replace(server=bytes(32)),
            22,
            lambda: NOW_MS,
            lambda size: b"\1" * size,
        )
    assert str(caught.value) == f"{PROFILE.path}: 'server': low-order point"
    assert "new invite" in caught.value.hint
