"""gpg is asked once about a message, whoever sends it again."""

import pytest
from unit.server.parties import HERE, THERE

from spassh.protocol.errors import Replayed
from spassh_server.limits import MAX_SEEN_MESSAGES
from spassh_server.pipeline import UNKNOWN
from spassh_server.seen import SeenMessages


def identity(number: int) -> bytes:
    return number.to_bytes(16, "big") + bytes(16)


def test_a_message_is_new_once() -> None:
    seen = SeenMessages()
    seen.check("ada", identity(1), HERE)
    seen.add("ada", identity(1), HERE)
    seen.check("ada", identity(2), HERE)
    for source, same in ((HERE, True), (THERE, False)):
        with pytest.raises(Replayed, match="seen before") as caught:
            seen.check("ada", identity(1), source)
        assert caught.value.same_source is same


def test_what_others_send_of_a_message_does_not_use_it_up() -> None:
    seen = SeenMessages()
    for other in ("eve", UNKNOWN):
        seen.add(other, identity(1), THERE)
    seen.check("ada", identity(1), HERE)


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first() -> None:
    seen = SeenMessages()
    for number in range(MAX_SEEN_MESSAGES + 1):
        seen.add("ada", identity(number), HERE)
    seen.check("ada", identity(0), HERE)
    for number in (1, MAX_SEEN_MESSAGES):
        with pytest.raises(Replayed):
            seen.check("ada", identity(number), HERE)
    assert len(seen) == MAX_SEEN_MESSAGES


def test_strangers_do_not_have_the_messages_of_a_user_forgotten() -> None:
    seen = SeenMessages()
    seen.add("ada", identity(0), HERE)
    for number in range(MAX_SEEN_MESSAGES + 1):
        seen.add(UNKNOWN, identity(number), THERE)
    with pytest.raises(Replayed):
        seen.check("ada", identity(0), HERE)
    seen.check(UNKNOWN, identity(0), HERE)
    assert len(seen) == MAX_SEEN_MESSAGES
