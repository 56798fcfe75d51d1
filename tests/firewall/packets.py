"""TCP SYNs in wrappings that an honest kernel does not make. RFC 791, 8200, 9293."""

import select
import socket
from struct import pack, unpack_from

from firewall.network import SERVER, Network

_TCP, _FRAGMENT, _DESTINATION_OPTIONS, _HOP_BY_HOP = 6, 44, 60, 0
_SYN = 0x02


def wrappings(
    version: int, source: str, port: int, to_port: int
) -> dict[str, list[bytes]]:
    """Return packets that each make a SYN, by what is peculiar about them."""
    segment = _syn(version, source, port, to_port)
    # In IPv4 the flags may be in the second fragment. IPv6 wants all of the header in
    # the first, RFC 8200 section 4.5; what follows are options of TCP.
    split = 8 if version == 4 else 24
    first, second = segment[:split], segment[split:]
    if version == 4:
        return {
            "plain": [_ipv4(source, segment, 0)],
            "IP options": [_ipv4(source, segment, 0, options=b"\x01\x01\x01\x00")],
            "fragments": [_ipv4(source, first, 0x2000), _ipv4(source, second, 1)],
        }
    padding = b"\x01\x04" + bytes(4)
    return {
        "plain": [_ipv6(source, _TCP, segment)],
        "destination options": [
            _ipv6(source, _DESTINATION_OPTIONS, bytes([_TCP, 0]) + padding + segment)
        ],
        "hop-by-hop options": [
            _ipv6(source, _HOP_BY_HOP, bytes([_TCP, 0]) + padding + segment)
        ],
        "fragments": [
            _ipv6(source, _FRAGMENT, pack("!BxHI", _TCP, 1, 77) + first),
            _ipv6(source, _FRAGMENT, pack("!BxHI", _TCP, split, 77) + second),
        ],
        "one fragment": [
            _ipv6(source, _FRAGMENT, pack("!BxHI", _TCP, 0, 78) + segment)
        ],
    }


def is_answered(
    network: Network, version: int, packets: list[bytes], port: int, seconds: float
) -> bool:
    """Send `packets` as the client; tell whether TCP answers to its `port`."""
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with network.client():
        sender = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        receiver = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with sender, receiver:
        for packet in packets:
            sender.sendto(packet, (SERVER[version], 0))
        poll = select.poll()
        poll.register(receiver, select.POLLIN)
        while poll.poll(seconds * 1000):
            data = receiver.recv(4096)
            header = 0 if version == 6 else (data[0] & 0x0F) * 4
            if unpack_from("!2xH", data, header) == (port,):
                return True
    return False


def _syn(version: int, source: str, port: int, to_port: int) -> bytes:
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    addresses = b"".join(
        socket.inet_pton(family, one) for one in (source, SERVER[version])
    )
    no_operations = b"\x01" * 12
    segment = pack("!HHIIBBHHH", port, to_port, 1, 0, 8 << 4, _SYN, 4096, 0, 0)
    segment += no_operations
    pseudo = addresses + pack("!II", len(segment), _TCP)
    checksum = _checksum(pseudo + segment)
    return segment[:16] + pack("!H", checksum) + segment[18:]


def _ipv4(source: str, payload: bytes, fragment: int, options: bytes = b"") -> bytes:
    # The kernel fills in length and checksum of a header that is given to it.
    words = 5 + len(options) // 4
    return (
        pack("!BBHHHBBH", 0x40 | words, 0, 0, 99, fragment, 64, _TCP, 0)
        + socket.inet_pton(socket.AF_INET, source)
        + socket.inet_pton(socket.AF_INET, SERVER[4])
        + options
        + payload
    )


def _ipv6(source: str, next_header: int, payload: bytes) -> bytes:
    return (
        pack("!IHBB", 0x60000000, len(payload), next_header, 64)
        + socket.inet_pton(socket.AF_INET6, source)
        + socket.inet_pton(socket.AF_INET6, SERVER[6])
        + payload
    )


def _checksum(data: bytes) -> int:
    words: tuple[int, ...] = unpack_from(f"!{len(data) // 2}H", data)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
