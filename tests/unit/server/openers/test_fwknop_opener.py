"""Packets of fwknop become requests of the user whose key they were made with."""

import pytest
from unit.server.fwknop_parties import (
    ACCESS,
    BY_GNUPG,
    KEYS,
    SIGNER,
    UNAUTHENTICATED,
    fwknop_user,
    gnupg_packet,
    gnupg_user,
    packet,
    signed_text,
)
from unit.server.parties import NOW, SERVER, sealed, user

from spassh.protocol.errors import Malformed, NotOurs, Unauthentic
from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.fwknop.openpgp import Hmac
from spassh.protocol.fwknop.packet import seal
from spassh.protocol.fwknop.text import spell
from spassh.protocol.limits import MAX_ARGUMENTS
from spassh.protocol.request import Request
from spassh_server.envelope import Enclosed, Envelope, Opened, Target
from spassh_server.fwknop_keys import FwknopKey
from spassh_server.openers.fwknop import FwknopOpener, open_text
from spassh_server.openers.native import NativeOpener
from spassh_server.users import User, Users

COMMAND = ACCESS._replace(type=0, ports=(), command="/bin/echo 'a b' c")


def opener(*users: User) -> FwknopOpener:
    return FwknopOpener(lambda: Users([*users] or [fwknop_user()]))


def open_packet(payload: bytes, *users: User) -> Opened:
    """Open a packet whose request is known then."""
    opened = opener(*users).open(payload)
    assert isinstance(opened, Opened)
    return opened


def test_an_access_request_is_one_like_any_other() -> None:
    opened = open_packet(packet())
    assert opened.request == Request(NOW, 6, 22)
    assert opened.user == fwknop_user()
    assert opened.key == FwknopKey(KEYS)
    assert (opened.others, opened.target) == ((), None)
    assert len(opened.identity) == 32


def test_the_key_tells_who_asks_and_not_the_name_in_the_packet() -> None:
    others = FwknopKey(Keys(b"k", b"h")), FwknopKey(Keys(b"l"), 5)
    bob = fwknop_user("bob", fwknop=others)
    mine = packet(ACCESS._replace(user="ada"), Keys(b"l"))
    opened = open_packet(mine, user(), fwknop_user(), bob)
    assert (opened.user.name, opened.key) == ("bob", others[1])


def test_several_ports_are_several_requests() -> None:
    message = ACCESS._replace(
        type=3, address=b"\x7f\0\0\1", timeout=30, ports=((6, 22), (17, 53), (6, 443))
    )
    opened = open_packet(packet(message))
    first = Request(NOW, 6, 22, 30, b"\x7f\0\0\1")
    assert first == opened.request
    assert opened.others == (
        first._replace(protocol=17, port=53),
        first._replace(port=443),
    )


def test_a_port_that_is_there_twice_is_one_request() -> None:
    opened = open_packet(packet(ACCESS._replace(ports=((6, 22),) * 16)))
    assert (opened.request, opened.others) == (Request(NOW, 6, 22), ())


@pytest.mark.parametrize(
    ("kind", "is_here"), [(2, False), (4, False), (5, True), (6, True)]
)
def test_a_target_is_told(kind: int, is_here: bool) -> None:
    message = ACCESS._replace(type=kind, target=("10.0.0.5", 22))
    opened = open_packet(packet(message))
    assert opened.target == Target("10.0.0.5", 22, is_here)
    assert opened.request == Request(NOW, 6, 22)


def test_a_command_line_is_cut_into_words_and_no_shell_sees_it() -> None:
    opened = open_packet(packet(COMMAND))
    assert opened.request == Request(NOW, command=("/bin/echo", "a b", "c"))
    dangerous = COMMAND._replace(command="/bin/true;id $(id) `id` | id > /x # no")
    words = open_packet(packet(dangerous)).request.command
    assert words == ("/bin/true;id", "$(id)", "`id`", "|", "id", ">", "/x", "#", "no")


@pytest.mark.parametrize(
    "line", ["'", 'a "b', "\\", " ", "''", "x " * (MAX_ARGUMENTS + 1)]
)
def test_what_has_no_words_or_too_many_is_malformed(line: str) -> None:
    with pytest.raises(Malformed):
        opener().open(packet(COMMAND._replace(command=line)))


def test_a_stranger_is_not_ours() -> None:
    with pytest.raises(NotOurs):
        opener().open(packet(ACCESS, Keys(b"other", b"other")))
    with pytest.raises(NotOurs):
        opener(user()).open(packet())


def test_another_encryption_key_is_not_authentic() -> None:
    with pytest.raises(Unauthentic):
        opener().open(packet(ACCESS, KEYS._replace(encryption=b"other")))


def test_what_is_made_by_gnupg_is_enclosed_and_its_hmac_says_whose_it_is() -> None:
    payload = gnupg_packet()
    bob = gnupg_user("bob", fwknop_gnupg=(UNAUTHENTICATED,))
    enclosed = opener(bob, gnupg_user()).open(payload)
    assert isinstance(enclosed, Enclosed)
    assert enclosed.message.startswith(b"\x85\x01\x0c\x03")
    assert (enclosed.user, enclosed.key) == (gnupg_user(), BY_GNUPG)
    # Without an HMAC that is known, nobody knows.
    unknown = opener(bob, gnupg_user()).open(gnupg_packet(Hmac()))
    assert isinstance(unknown, Enclosed)
    assert (unknown.user, unknown.key) == (None, UNAUTHENTICATED)


def test_what_is_made_by_gnupg_is_tried_only_where_somebody_has_such_keys() -> None:
    other = BY_GNUPG._replace(hmac=Hmac(b"other"))
    for who in (fwknop_user(), user(), gnupg_user(fwknop_gnupg=(other,))):
        with pytest.raises(NotOurs):
            opener(who).open(gnupg_packet())
    with pytest.raises(NotOurs):
        opener(gnupg_user()).open(packet())


def test_what_is_signed_is_a_request_like_any_other() -> None:
    message = ACCESS._replace(type=4, ports=((6, 22), (6, 80)), target=("h", 1))
    signed = signed_text(message)
    opened = open_text(signed, SIGNER, BY_GNUPG, gnupg_user())
    assert opened.request == Request(NOW, 6, 22)
    assert opened.others == (Request(NOW, 6, 80),)
    assert opened.target == Target("h", 1, False)
    assert (opened.key, opened.signer) == (BY_GNUPG, SIGNER)
    assert opened.signed is None


def test_the_same_request_has_one_identity_in_both_kinds_of_packets() -> None:
    """Whoever records the one cannot send it again as the other."""
    fresh = ACCESS._replace(rand="9" * 16)
    symmetric = open_packet(seal(fresh, KEYS, bytes(8)))
    by_gnupg = open_text(spell(fresh), SIGNER, BY_GNUPG, gnupg_user())
    assert symmetric.identity == by_gnupg.identity


def test_a_signed_text_that_is_none_is_refused() -> None:
    for wrong, error in ((b"", Unauthentic), (signed_text() + b"\n", Unauthentic)):
        with pytest.raises(error):
            open_text(wrong, SIGNER, BY_GNUPG, gnupg_user())
    wrong = signed_text(COMMAND._replace(command="'"))
    with pytest.raises(Malformed):
        open_text(wrong, SIGNER, BY_GNUPG, gnupg_user())


def test_both_formats_take_turns() -> None:
    native = NativeOpener(SERVER, Users([user("nat")]))
    envelope = Envelope([native, opener()])
    for payload, name in ((sealed(), "nat"), (packet(), "ada")):
        owner = envelope.open(payload).user
        assert owner is not None
        assert owner.name == name
    with pytest.raises(NotOurs):
        envelope.open(packet()[:-1])
