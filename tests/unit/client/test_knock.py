import errno
import itertools
import os
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

from spassh import knock as knock_module
from spassh.errors import ProfileError
from spassh.knock import Knocker
from spassh.protocol.limits import ACCESS_DATAGRAM
from spassh.protocol.request import TCP, Request
from spassh.resolve import Address
from spassh.source import Source


def knocker(gate: Gate, *, narrow: bool = True) -> Knocker:
    """Return one whose clock and randomness count up."""
    times, numbers = itertools.count(NOW_MS), itertools.count(1)
    return Knocker(
        PROFILE._replace(port=gate.knock_port),
        KEYS,
        gate.port,
        lambda: next(times),
        lambda size: next(numbers).to_bytes(size, "big"),
        narrow=narrow,
    )


def close(source: Source) -> Source:
    source.close()
    return source


def test_the_server_opens_the_knock_and_reads_what_is_wanted(gate: Gate) -> None:
    source = close(knocker(gate).knock(gate.address, narrow=True))
    assert gate.collect() == 1
    assert len(gate.knocks[0]) == ACCESS_DATAGRAM
    opened = open_knock(gate.knocks[0])
    assert opened.client == CLIENT
    expected = Request(time=NOW_MS, protocol=TCP, port=gate.port)
    assert opened.request == expected._replace(source_port=source.port)


def test_a_narrow_knock_comes_from_the_port_that_it_names(gate: Gate) -> None:
    """By that the server sees whether a NAT rewrites ports."""
    knock = knocker(gate)
    sources = [knock.knock(gate.address, narrow=True) for _ in range(3)]
    assert gate.collect() == 3
    for source, datagram, port in zip(sources, gate.knocks, gate.ports, strict=True):
        assert source.tcp is not None
        with source.tcp as tcp:
            assert tcp.getsockname()[1] == source.port == port
        assert open_knock(datagram).request.source_port == port
    assert len({source.port for source in sources}) == 3


def test_the_port_that_was_to_spare_may_be_taken_by_now(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knock_module, "spare_port", lambda: gate.port)
    source = close(knocker(gate).knock(gate.address, narrow=True))
    assert source.port != gate.port
    assert gate.collect() == 1
    assert open_knock(gate.knocks[0]).request.source_port == source.port


def test_without_a_port_to_spare_a_narrow_knock_is_a_wide_one(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> None:
        raise OSError(errno.EADDRINUSE, "no source port to spare")

    monkeypatch.setattr(knock_module, "open_narrow", none_left)
    source = knocker(gate).knock(gate.address, narrow=True)
    assert (source.tcp, source.port) == (None, 0)
    assert gate.collect() == 1
    assert open_knock(gate.knocks[0]).request.source_port == 0


def test_a_wide_knock_names_no_port(gate: Gate) -> None:
    for ready in (True, False):
        source = knocker(gate, narrow=ready).knock(gate.address, narrow=False)
        assert source.tcp is None
    assert gate.collect() == 2
    for datagram in gate.knocks:
        assert open_knock(datagram).request.source_port == 0


@pytest.mark.parametrize("narrow", [True, False])
def test_the_first_datagram_is_sealed_ahead(gate: Gate, narrow: bool) -> None:
    """The name server takes its time, and the sealing some of that."""
    made = knocker(gate, narrow=narrow)
    now = made._now_ms()
    close(made.knock(gate.address, narrow=narrow))
    assert gate.collect() == 1
    assert open_knock(gate.knocks[0]).request.time < now


def test_every_knock_is_a_fresh_one(gate: Gate) -> None:
    knock = knocker(gate).knock
    for _ in range(3):
        close(knock(gate.address, narrow=True))
    assert gate.collect() == 3
    opened = [open_knock(datagram) for datagram in gate.knocks]
    assert len({each.identity for each in opened}) == 3
    times = [each.request.time for each in opened]
    assert times == [NOW_MS, NOW_MS + 1, NOW_MS + 2]


def test_a_knock_tells_where_it_came_from(gate: Gate) -> None:
    source = close(knocker(gate).knock(gate.address, narrow=True))
    assert gate.collect() == 1
    assert gate.sources == [source.address[0]] == [LOOPBACKS[gate.udp.family]]


def test_a_server_that_answers_with_icmp_does_not_matter(gate: Gate) -> None:
    knock = knocker(gate).knock
    gate.udp.close()
    for _ in range(3):
        source = close(knock(gate.address, narrow=True))
        assert source.address[0] == LOOPBACKS[gate.tcp.family]


@pytest.mark.parametrize("narrow", [True, False])
def test_no_way_to_the_address_is_an_error_of_the_system(narrow: bool) -> None:
    before = os.listdir("/proc/self/fd")
    # A link-local address without a zone leads nowhere; and if there is no IPv6, so
    # does every other.
    nowhere = Address(socket.AF_INET6, ("fe80::1", 22, 0, 0))
    with Gate() as gate, pytest.raises(OSError, match=r"nreachable|denied|nvalid"):
        knocker(gate).knock(nowhere, narrow=narrow)
    assert os.listdir("/proc/self/fd") == before


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
