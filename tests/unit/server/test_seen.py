"""gpg is asked once about a message, whoever sends it again."""

import pytest
from unit.server.parties import HERE, THERE

from spassh.protocol.errors import Replayed
from spassh_server.limits import MAX_SEEN_MESSAGES
from spassh_server.seen import SeenMessages


def identity(number: int) -> bytes:
    return number.to_bytes(16, "big") + bytes(16)


def test_a_message_is_new_once() -> None:
    seen = SeenMessages()
    seen.check(identity(1), HERE)
    seen.add(identity(1), HERE)
    seen.check(identity(2), HERE)
    for source, same in ((HERE, True), (THERE, False)):
        with pytest.raises(Replayed, match="seen before") as caught:
            seen.check(identity(1), source)
        assert caught.value.same_source is same


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first() -> None:
    seen = SeenMessages()
    for number in range(MAX_SEEN_MESSAGES + 1):
        seen.add(identity(number), HERE)
    seen.check(identity(0), HERE)
    for number in (1, MAX_SEEN_MESSAGES):
        with pytest.raises(Replayed):
            seen.check(identity(number), HERE)
    assert len(seen._sources) == MAX_SEEN_MESSAGES
