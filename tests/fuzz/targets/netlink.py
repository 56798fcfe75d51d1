"""What the kernel says by netlink is cut into whole messages, or it is an `OSError`.

It comes through the packet filter, in which the addresses of strangers stand.
"""

from collections.abc import Iterator

from spassh_server.firewall.netlink import (
    attribute,
    message,
    nested,
    parse_attributes,
    parse_messages,
)

RUNS = 10_000


def seeds() -> Iterator[tuple[str, bytes]]:
    address = attribute(1, bytes([192, 0, 2, 7]))
    body = nested(2, address + attribute(3, b"\0\x16"))
    yield "message", message(16, 0, body, 7)
    yield "two messages", message(16, 2, body, 7) + message(3, 0, b"", 7)


def check(data: bytes) -> None:
    try:
        bodies = [body for _, _, body in parse_messages(data)]
    except OSError:
        return
    assert sum(map(len, bodies)) <= len(data)
    for body in bodies:
        _attributes(body)


def _attributes(data: bytes) -> None:
    try:
        found = parse_attributes(data)
    except OSError:
        return
    assert sum(map(len, found.values())) <= len(data)
    for payload in found.values():
        assert payload in data
