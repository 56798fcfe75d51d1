"""Datagrams that a server accepts, and that a client makes from the same inputs."""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from spassh.protocol.request import TCP, UDP, Request

from .common import NOW, Vector, success


def _request(**fields: Any) -> Request:
    return Request(NOW, TCP, 22)._replace(**fields)


def _address(text: str) -> bytes:
    return ip_address(text).packed


def vectors() -> Iterator[Vector]:
    yield success(
        "access_ipv4_source",
        "The daily case: tcp/22 for the packet's own source; section 10 works it out.",
        _request(),
        spare="c5",
    )
    yield success(
        "access_ipv6_source",
        "The same datagram would do for IPv6: the source is not in it.",
        _request(),
        source="2001:db8::7",
    )
    yield success(
        "access_explicit_ipv4",
        "The address to allow is in the payload.",
        _request(address=_address("198.51.100.9"), lifetime=15),
    )
    yield success(
        "access_explicit_ipv6",
        "The address to allow is in the payload, and it is IPv6.",
        _request(address=_address("2001:db8::9"), lifetime=15),
    )
    yield success(
        "access_udp",
        "A UDP port.",
        _request(protocol=UDP, port=51820),
    )
    yield success(
        "access_source_port",
        "One flow only: the client names the port that it will connect from.",
        _request(source_port=50022),
    )
    yield success(
        "access_all_fields_max",
        "Every field has the largest value that it may have.",
        Request(
            time=(1 << 63) - 1,
            protocol=UDP,
            port=0xFFFF,
            lifetime=86_400,
            address=b"\xff" * 16,
            source_port=0xFFFF,
        ),
        now=str((1 << 63) - 1),
    )
    yield success(
        "access_all_fields_min",
        "Every field has the smallest value that it may have.",
        Request(time=0, protocol=TCP, port=1),
        now="0",
    )
    yield success(
        "lifetime_at_limit",
        "The longest lifetime that may be asked for, one day.",
        _request(lifetime=86_400),
    )
    yield success(
        "ephemeral_bit_255_set",
        "The spare bit is 1: e is hashed with it, X25519 ignores it.",
        _request(),
        spare="80",
    )
    yield success(
        "ephemeral_bit_255_clear",
        "The spare bit is 0; the other bits of the spare byte have no meaning.",
        _request(),
        spare="7f",
    )
    yield success(
        "command_min",
        "A command of one word of one byte.",
        Request(NOW, command=("w",)),
    )
    yield success(
        "command_arguments",
        "A command with arguments: an empty one, a space, and two that are not ASCII.",
        Request(NOW, command=("/usr/bin/true", "", "a b", "é", "\U0001f511")),
    )
    yield success(
        "command_max",
        "One argument fills the payload to its last byte.",
        Request(NOW, command=("x" * 1044,)),
    )
    yield success(
        "command_arguments_64",
        "The most arguments that a command may have.",
        Request(NOW, command=("w",) * 64),
    )
