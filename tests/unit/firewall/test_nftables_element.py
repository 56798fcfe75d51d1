"""The question for one element and its answer, to the byte."""

from contextlib import suppress
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.firewall.texts import GRANT4, GRANT6

from spassh_server.firewall import FirewallError, Grant, Width
from spassh_server.firewall.netlink import attribute, nested
from spassh_server.firewall.nftables_element import (
    Element,
    parse_answer,
    render_element,
    render_query,
)

HEADER = b"\x01\x00\x00\x00"
FLOW4 = GRANT4._replace(width=Width.FLOW, source_port=50000)


@pytest.mark.parametrize(
    ("grant", "name", "key"),
    [
        (GRANT4, b"granted4\0", b"\xc0\x00\x02\x02\x06\0\0\0\x00\x16\0\0"),
        (
            GRANT6._replace(width=Width.ONCE),
            b"once6\0",
            GRANT6.address + b"\x11\0\0\0\x00\x35\0\0",
        ),
        (FLOW4, b"flow4\0", b"\xc0\x00\x02\x02\xc3\x50\0\0\x06\0\0\0\x00\x16\0\0"),
    ],
)
def test_an_element_is_asked_for_by_its_key(
    grant: Grant, name: bytes, key: bytes
) -> None:
    element = nested(1, nested(1, attribute(1, key)))
    expected = attribute(1, b"spassh\0") + attribute(2, name) + nested(3, element)
    assert HEADER + expected == render_query("spassh", grant)


def test_an_element_is_added_with_its_time_and_its_user() -> None:
    key = attribute(1, b"\xc0\x00\x02\x02\x06\0\0\0\x00\x16\0\0")
    time = attribute(4, b"\0\0\0\0\0\0\x3a\x98")
    head = HEADER + attribute(1, b"spassh\0") + attribute(2, b"granted4\0")
    plain = nested(3, nested(1, nested(1, key) + time))
    assert render_element("spassh", GRANT4, 15, "") == head + plain
    user = attribute(6, b"\x00\x04ada\0")
    named = nested(3, nested(1, nested(1, key) + time + user))
    assert render_element("spassh", GRANT4, 15, "ada") == head + named


@pytest.mark.parametrize(("seconds", "user"), [(0, "ada"), (-1, ""), (15, "a\0b")])
def test_nothing_is_added_for_ever_or_for_what_is_no_user(
    seconds: int, user: str
) -> None:
    with pytest.raises(FirewallError):
        render_element("spassh", GRANT4, seconds, user)


def answer(*attributes: bytes) -> bytes:
    element = nested(1, b"".join(attributes))
    return HEADER + attribute(1, b"spassh\0") + nested(3, element)


EXPIRATION = attribute(5, pack("!Q", 9999))


@pytest.mark.parametrize(
    ("data", "user"),
    [
        (b"", ""),
        (b"\x00\x06alice\x00", "alice"),
        (b"\x01\x02xx\x00\x06alice\x00", "alice"),
        (b"\x00\x08al ice!\x00", ""),
        (b"\x00\x02\xff\x00", ""),
        (b"\x00\x00", ""),
        (b"\x00", ""),
    ],
)
def test_time_and_user_are_read(data: bytes, user: str) -> None:
    body = answer(attribute(1, b""), EXPIRATION, attribute(6, data))
    assert Element(9999, user) == parse_answer(body)


def test_an_element_may_have_neither() -> None:
    assert Element(0, "") == parse_answer(answer())


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=80).map(answer)))
def test_what_makes_no_sense_is_an_error(body: bytes) -> None:
    with suppress(OSError, ValueError):
        parse_answer(body)


@pytest.mark.parametrize("body", [b"", HEADER, HEADER + nested(3, b"")])
def test_no_element_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="no element"):
        parse_answer(body)
