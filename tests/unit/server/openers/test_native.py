import pytest
from unit.server.parties import (
    CLIENT_PSK,
    SERVER,
    STRANGER_SECRET,
    access,
    key,
    sealed,
    user,
)

from spassh.protocol.errors import Malformed, NotOurs, Unauthentic
from spassh.protocol.opening import ServerKeys, open_datagram
from spassh_server.openers.native import NativeOpener
from spassh_server.users import Users


def opener(*names: str) -> NativeOpener:
    return NativeOpener(SERVER, Users([user(name) for name in names or ("ada",)]))


def test_a_datagram_of_a_user_is_opened() -> None:
    datagram = sealed()
    opened = opener().open(datagram)
    assert access() == opened.request
    assert opened.user.name == "ada"
    assert opened.key == user().keys[0]
    assert opened.identity == (
        open_datagram(datagram, SERVER, lambda _: CLIENT_PSK).identity
    )


def test_two_datagrams_with_the_same_request_have_two_identities() -> None:
    assert opener().open(sealed()).identity != opener().open(sealed()).identity


@pytest.mark.parametrize("size", [0, 1, 191, 193, 1199, 1201])
def test_another_size_is_not_ours(size: int) -> None:
    with pytest.raises(NotOurs):
        opener().open(sealed().ljust(size, b"\0")[:size])


def test_a_datagram_for_another_server_is_not_ours() -> None:
    other = ServerKeys(bytes(range(1, 33)))
    with pytest.raises(NotOurs):
        opener().open(sealed(server=other.public))


def test_a_stranger_is_not_authentic() -> None:
    with pytest.raises(Unauthentic):
        opener().open(sealed(secret=STRANGER_SECRET))


def test_a_user_with_another_psk_is_not_authentic() -> None:
    with pytest.raises(Unauthentic):
        opener().open(sealed(psk=bytes(32)))


@pytest.mark.parametrize("at", [*range(0, 192, 7), 191])
def test_a_changed_byte_is_never_accepted(at: int) -> None:
    changed = bytearray(sealed())
    changed[at] ^= 1
    with pytest.raises((NotOurs, Unauthentic, Malformed)):
        opener().open(bytes(changed))


def test_the_users_may_be_replaced_at_any_time() -> None:
    native = opener()
    datagram = sealed()
    native.users = Users([user(keys=(key(5),))])
    with pytest.raises(Unauthentic):
        native.open(datagram)
    native.users = Users([user("bob")])
    assert native.open(datagram).user.name == "bob"


def test_the_key_that_a_datagram_was_made_with_is_told() -> None:
    """Each of a user's keys ends on its own."""
    mine = user().keys[0]._replace(expires=7)
    keys = (key(1), mine, key(2))
    opened = NativeOpener(SERVER, Users([user(keys=keys)])).open(sealed())
    assert opened.key == mine
    assert opened.key.expires == 7
    assert opened.user.keys == keys
