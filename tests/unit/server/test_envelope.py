import pytest
from unit.server.parties import opened

from spassh.protocol.errors import Malformed, NotOurs, PacketError, Unauthentic
from spassh_server.envelope import Envelope, Opened

OPENED = opened()


class Format:
    """A format that decides what it was told to, and remembers being asked."""

    def __init__(self, result: Opened | Exception) -> None:
        self.result = result
        self.seen: list[bytes] = []

    def open(self, payload: bytes) -> Opened:
        self.seen.append(payload)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def test_the_first_format_that_claims_a_payload_decides() -> None:
    formats = [Format(NotOurs("size")), Format(OPENED), Format(OPENED)]
    assert Envelope(formats).open(b"payload") is OPENED
    assert [one.seen for one in formats] == [[b"payload"], [b"payload"], []]


@pytest.mark.parametrize(
    "error", [Unauthentic("x"), Malformed("x"), PacketError("x"), ZeroDivisionError()]
)
def test_a_format_that_claims_a_payload_and_fails_decides_too(
    error: Exception,
) -> None:
    other = Format(OPENED)
    with pytest.raises(type(error)) as caught:
        Envelope([Format(error), other]).open(b"payload")
    assert caught.value is error
    assert other.seen == []


@pytest.mark.parametrize("count", [1, 3])
def test_what_no_format_claims_is_not_ours(count: int) -> None:
    formats = [Format(NotOurs("size")) for _ in range(count)]
    with pytest.raises(NotOurs):
        Envelope(formats).open(b"payload")
    assert all(one.seen == [b"payload"] for one in formats)
