"""The message that adds an element, to the byte."""

import pytest

from spassh_server.firewall import FirewallError
from spassh_server.firewall.ipset_element import render
from spassh_server.firewall.netlink import attribute, nested


@pytest.mark.parametrize(
    ("element", "family", "address", "number", "port"),
    [
        (
            "192.0.2.2,6:22",
            b"\x02",
            attribute(0x4001, bytes([192, 0, 2, 2])),
            b"\x06",
            b"\x00\x16",
        ),
        (
            "2001:db8::2,17:53",
            b"\x0a",
            attribute(0x4002, bytes.fromhex("20010db8") + bytes(11) + b"\x02"),
            b"\x11",
            b"\x00\x35",
        ),
    ],
)
def test_an_element_is_spelled_as_the_kernel_reads_it(
    element: str, family: bytes, address: bytes, number: bytes, port: bytes
) -> None:
    data = (
        nested(1, address)
        + attribute(0x4004, port)
        + attribute(7, number)
        + attribute(0x4006, b"\0\0\0\x0f")
        + attribute(26, b"granted ada\0")
    )
    expected = family + b"\0\0\0"
    expected += attribute(1, b"\x06") + attribute(2, b"spassh-a\0") + nested(7, data)
    assert render("spassh-a", element, 15, "ada") == expected


def test_who_is_nobody_has_no_name() -> None:
    assert b"granted\0" in render("spassh-a4", "192.0.2.2,6:22", 15, "")


@pytest.mark.parametrize(("seconds", "user"), [(0, "ada"), (15, 'a"b')])
def test_nothing_is_added_for_ever_or_for_what_is_no_user(
    seconds: int, user: str
) -> None:
    with pytest.raises(FirewallError):
        render("spassh-a4", "192.0.2.2,6:22", seconds, user)
