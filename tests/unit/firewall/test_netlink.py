"""Netlink messages and attributes, which are read no further than they go."""

import errno
from contextlib import suppress
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spassh_server.firewall import netlink
from spassh_server.firewall.netlink import (
    CREATE,
    NETFILTER,
    Netlink,
    attribute,
    message,
    nested,
    parse_attributes,
    parse_messages,
)

ROUTE, GET_LINK = 0, 18
kinds = st.integers(1, 0x3FFF)


@given(st.dictionaries(kinds, st.binary(max_size=40), max_size=8))
def test_attributes_are_read_as_they_were_written(wanted: dict[int, bytes]) -> None:
    data = b"".join(attribute(kind, payload) for kind, payload in wanted.items())
    assert parse_attributes(data) == wanted
    assert parse_attributes(nested(7, data)) == {7: data}


@given(st.lists(st.tuples(kinds, st.integers(0, 9), st.binary(max_size=40))))
def test_messages_are_read_as_they_were_written(
    wanted: list[tuple[int, int, bytes]],
) -> None:
    data = b""
    for kind, sequence, body in wanted:
        data += message(kind, 0, body, sequence)
        data += bytes(-len(data) % 4)
    assert [(kind, number, body) for number, kind, body in parse_messages(data)] == (
        wanted
    )


@given(st.binary(max_size=80))
def test_anything_is_read_or_is_an_error(data: bytes) -> None:
    for parse in (parse_attributes, lambda data: list(parse_messages(data))):
        with suppress(OSError):
            parse(data)


@pytest.mark.parametrize(
    "data", [b"\x05", pack("=HH", 3, 1), pack("=HH", 9, 1) + bytes(4)]
)
def test_an_attribute_that_does_not_fit_is_an_error(data: bytes) -> None:
    with pytest.raises(OSError, match="cut short"):
        parse_attributes(data)


def test_the_kernel_answers_and_refuses() -> None:
    with Netlink(ROUTE) as route:
        links = list(route.dump(GET_LINK, bytes(16)))
        assert links
        # The loopback interface, by its index.
        (answer,) = route.ask(GET_LINK, pack("=BxHiII", 0, 0, 1, 0, 0))
        assert b"lo\0" in answer
        with pytest.raises(OSError, match="refused") as refusal:
            route.ask(GET_LINK, pack("=BxHiII", 0, 0, 999_999, 0, 0))
        assert refusal.value.errno == errno.ENODEV


def test_what_is_left_of_an_answer_is_no_answer_to_the_next_question() -> None:
    with Netlink(ROUTE) as route:
        next(route.dump(GET_LINK, bytes(16)))
        (answer,) = route.ask(GET_LINK, pack("=BxHiII", 0, 0, 1, 0, 0))
        assert b"lo\0" in answer


def test_an_endless_answer_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "MAX_ANSWERS", 3)
    monkeypatch.setattr(
        Netlink, "_receive", lambda self: iter([(self._sequence, 16, b"again")])
    )
    with Netlink(ROUTE) as route, pytest.raises(OSError, match="no end"):
        list(route.dump(GET_LINK, bytes(16)))


def test_a_transaction_that_is_answered_by_something_else_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        Netlink, "_receive", lambda self: iter([(self._sequence, 16, b"what?")])
    )
    with Netlink(NETFILTER) as netfilter, pytest.raises(OSError, match="cut short"):
        netfilter.transact(10, 10 << 8 | 99, 0, b"")


def test_a_transaction_that_the_kernel_refuses_is_an_error() -> None:
    with Netlink(NETFILTER) as netfilter, pytest.raises(OSError, match="refused"):
        netfilter.transact(10, 10 << 8 | 99, CREATE, bytes(4))
