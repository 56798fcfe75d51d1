import pytest
from unit.server.parties import HERE, HERE6, THERE

from spassh_server.addresses import place
from spassh_server.limits import ADDRESSES_PER_USER
from spassh_server.privsep import ledger
from spassh_server.privsep.ledger import Ledger


def address(number: int) -> bytes:
    return bytes([10, 0, *number.to_bytes(2, "big")])


def test_nobody_was_let_in_at_first() -> None:
    assert Ledger().places("ada") == set()
    assert Ledger().is_complete("ada")


def test_the_addresses_of_a_user_are_remembered_each_once() -> None:
    book = Ledger()
    for one in (HERE, THERE, HERE, HERE6):
        book.note("ada", one)
    book.note("bob", THERE)
    assert book.places("ada") == {HERE, THERE, place(HERE6)}
    assert book.places("bob") == {THERE}
    assert book.places("eve") == set()


def test_a_network_of_ipv6_is_one_place() -> None:
    """Or who has one would push the first of its addresses out at will."""
    book = Ledger()
    for number in range(2 * ADDRESSES_PER_USER):
        book.note("ada", HERE6[:8] + number.to_bytes(8, "big"))
    assert book.places("ada") == {HERE6[:8] + bytes(8)}
    assert book.is_complete("ada")


def test_the_newest_addresses_are_kept() -> None:
    """Who has a whole network must not fill our memory."""
    book = Ledger()
    for number in range(ADDRESSES_PER_USER):
        book.note("ada", address(number))
    book.note("ada", address(0))
    book.note("ada", HERE)
    kept = {address(number) for number in range(ADDRESSES_PER_USER)}
    assert book.is_complete("ada") is False
    assert book.places("ada") == kept - {address(1)} | {HERE}


def test_one_user_does_not_push_the_addresses_of_another_out() -> None:
    book = Ledger()
    book.note("bob", HERE)
    for number in range(2 * ADDRESSES_PER_USER):
        book.note("ada", address(number))
    assert book.places("bob") == {HERE}


def test_as_many_users_are_kept_as_there_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger, "_MAX_USERS", 3)
    book = Ledger()
    for name in ("ada", "bob", "cy", "ada", "dan"):
        book.note(name, HERE)
    kept = [name for name in ("ada", "bob", "cy", "dan") if book.places(name)]
    assert kept == ["ada", "cy", "dan"]
