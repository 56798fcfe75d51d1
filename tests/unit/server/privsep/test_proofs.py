"""What shows that somebody gets in through a drop on trial, and what does not."""

import pytest
from unit.server.parties import HERE, THERE

from spassh_server.firewall.sessions import Session
from spassh_server.limits import MAX_PROVED
from spassh_server.ports import Port
from spassh_server.privsep.message import Connection
from spassh_server.privsep.proofs import Proofs

SSH, DNS = Port(6, 22), Port(17, 22)
LOCAL = b"\xc0\x00\x02\x01"
LOGIN = Connection(HERE, 40_000, 22)


def proofs(*before: Connection) -> Proofs:
    """Return a beginning at which these connections are there already."""
    made = Proofs(
        lambda _: frozenset(
            Session((LOCAL, one.port), (one.address, one.client_port)) for one in before
        )
    )
    made.begin([SSH])
    return made


def test_a_knock_and_then_a_connection_are_a_proof() -> None:
    some = proofs()
    assert not some.holds(LOGIN)
    some.note(HERE, SSH)
    assert some.holds(LOGIN)


def test_a_connection_of_before_is_none_whatever_comes_later() -> None:
    """It was begun before the drop: sshd may take its time to accept it."""
    some = proofs(LOGIN)
    some.note(HERE, SSH)
    assert not some.holds(LOGIN)
    assert some.holds(LOGIN._replace(client_port=40_001))


@pytest.mark.parametrize(
    "login",
    [
        LOGIN._replace(address=THERE),
        # Somebody else behind the same NAT was let in to another port.
        LOGIN._replace(port=443),
    ],
)
def test_a_knock_for_something_else_is_none(login: Connection) -> None:
    some = proofs()
    some.note(HERE, SSH)
    assert not some.holds(login)


def test_a_knock_for_a_datagram_is_none() -> None:
    some = proofs()
    some.note(HERE, DNS)
    assert not some.holds(LOGIN)


def test_what_was_a_proof_is_none_when_the_drop_has_begun_anew() -> None:
    some = proofs()
    some.note(HERE, SSH)
    some.begin([SSH])
    assert not some.holds(LOGIN)


def test_nothing_is_one_before_the_beginning_and_after_the_end() -> None:
    some = Proofs(lambda _: frozenset())
    some.note(HERE, SSH)
    assert not some.holds(LOGIN)
    some.begin([SSH])
    some.note(HERE, SSH)
    some.end()
    assert not some.holds(LOGIN)
    some.note(HERE, SSH)
    assert not some.holds(LOGIN)


def test_if_the_connections_of_before_are_not_known_nothing_is_one() -> None:
    def refuse(_: object) -> frozenset[Session]:
        raise FileNotFoundError

    some = Proofs(refuse)
    with pytest.raises(FileNotFoundError):
        some.begin([SSH])
    some.note(HERE, SSH)
    assert not some.holds(LOGIN)


def test_of_too_many_knocks_the_last_ones_count() -> None:
    """Else others could keep a confirmation from coming true."""
    some = proofs()
    some.note(HERE, SSH)
    some.note(THERE, SSH)
    for number in range(MAX_PROVED - 1):
        some.note(number.to_bytes(16, "big"), SSH)
    assert not some.holds(LOGIN)
    assert some.holds(LOGIN._replace(address=THERE))
    some.note(HERE, SSH)
    assert some.holds(LOGIN)
