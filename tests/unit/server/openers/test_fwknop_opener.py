"""Packets of fwknop become requests of the user whose key they were made with."""

import pytest
from unit.server.fwknop_parties import ACCESS, KEYS, fwknop_user, packet
from unit.server.parties import NOW, SERVER, sealed, user

from spassh.protocol.errors import Malformed, NotOurs, Unauthentic
from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.limits import MAX_ARGUMENTS
from spassh.protocol.request import Request
from spassh_server.envelope import Envelope, Target
from spassh_server.fwknop_keys import FwknopKey
from spassh_server.openers.fwknop import FwknopOpener
from spassh_server.openers.native import NativeOpener
from spassh_server.users import User, Users

COMMAND = ACCESS._replace(type=0, ports=(), command="/bin/echo 'a b' c")


def opener(*users: User) -> FwknopOpener:
    return FwknopOpener(lambda: Users([*users] or [fwknop_user()]))


def test_an_access_request_is_one_like_any_other() -> None:
    opened = opener().open(packet())
    assert opened.request == Request(NOW, 6, 22)
    assert opened.user == fwknop_user()
    assert opened.key == FwknopKey(KEYS)
    assert (opened.others, opened.target) == ((), None)
    assert len(opened.identity) == 32


def test_the_key_tells_who_asks_and_not_the_name_in_the_packet() -> None:
    others = FwknopKey(Keys(b"k", b"h")), FwknopKey(Keys(b"l"), 5)
    bob = fwknop_user("bob", fwknop=others)
    opened = opener(user(), fwknop_user(), bob).open(
        packet(ACCESS._replace(user="ada"), Keys(b"l"))
    )
    assert (opened.user.name, opened.key) == ("bob", others[1])


def test_several_ports_are_several_requests() -> None:
    message = ACCESS._replace(
        type=3, address=b"\x7f\0\0\1", timeout=30, ports=((6, 22), (17, 53), (6, 443))
    )
    opened = opener().open(packet(message))
    first = Request(NOW, 6, 22, 30, b"\x7f\0\0\1")
    assert first == opened.request
    assert opened.others == (
        first._replace(protocol=17, port=53),
        first._replace(port=443),
    )


def test_a_port_that_is_there_twice_is_one_request() -> None:
    opened = opener().open(packet(ACCESS._replace(ports=((6, 22),) * 16)))
    assert (opened.request, opened.others) == (Request(NOW, 6, 22), ())


@pytest.mark.parametrize(
    ("kind", "is_here"), [(2, False), (4, False), (5, True), (6, True)]
)
def test_a_target_is_told(kind: int, is_here: bool) -> None:
    message = ACCESS._replace(type=kind, target=("10.0.0.5", 22))
    opened = opener().open(packet(message))
    assert opened.target == Target("10.0.0.5", 22, is_here)
    assert opened.request == Request(NOW, 6, 22)


def test_a_command_line_is_cut_into_words_and_no_shell_sees_it() -> None:
    opened = opener().open(packet(COMMAND))
    assert opened.request == Request(NOW, command=("/bin/echo", "a b", "c"))
    dangerous = COMMAND._replace(command="/bin/true;id $(id) `id` | id > /x # no")
    words = opener().open(packet(dangerous)).request.command
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


def test_both_formats_take_turns() -> None:
    native = NativeOpener(SERVER, Users([user("nat")]))
    envelope = Envelope([native, opener()])
    assert envelope.open(sealed()).user.name == "nat"
    assert envelope.open(packet()).user.name == "ada"
    with pytest.raises(NotOurs):
        envelope.open(packet()[:-1])
