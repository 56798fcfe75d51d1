from struct import pack

import pytest

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.errors import TextFormError
from spassh.protocol.invite import PREFIX, Invite, decode_invite, encode_invite
from spassh.protocol.keys import armour, checksum

SERVER, PSK, SECRET = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
CLIENT = PrivateKey(SECRET).public
INVITE = Invite("alice", "host.example", 62201, SERVER, PSK, CLIENT)

BROKEN = "^invite breaks a rule of its format$"


def spell(
    *,
    flags: int = 0,
    port: int = 62201,
    key: bytes = CLIENT,
    rest: bytes = b"\5alice\1h",
    prefix: str = PREFIX,
) -> str:
    body = pack("!BH32s32s32s", flags, port, SERVER, PSK, key) + rest
    return prefix + armour(body + checksum(prefix, body))


def test_an_invite_without_a_secret_is_spelled_as_the_specification_says() -> None:
    assert encode_invite(INVITE._replace(address="h")) == spell()
    assert decode_invite(spell()) == INVITE._replace(address="h")


def test_an_invite_with_a_secret_leads_to_the_public_key() -> None:
    invite = INVITE._replace(address="h", secret=SECRET)
    assert encode_invite(invite) == spell(flags=1, key=SECRET)
    assert decode_invite(spell(flags=1, key=SECRET)) == invite


def test_an_invite_without_a_secret_contains_none() -> None:
    assert decode_invite(encode_invite(INVITE)).secret == b""


@pytest.mark.parametrize("flags", [0x02, 0x03, 0x80, 0xFF])
def test_a_reserved_flag_is_refused(flags: int) -> None:
    with pytest.raises(TextFormError, match=BROKEN):
        decode_invite(spell(flags=flags))


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_that_is_none_is_not_spelled(port: int) -> None:
    with pytest.raises(TextFormError, match=rf"^not a UDP port: {port}$"):
        encode_invite(INVITE._replace(port=port))


@pytest.mark.parametrize("port", [1, 65535])
def test_the_smallest_and_the_largest_port_are_spelled(port: int) -> None:
    invite = INVITE._replace(port=port)
    assert decode_invite(encode_invite(invite)) == invite


def test_port_zero_is_not_read() -> None:
    with pytest.raises(TextFormError, match=BROKEN):
        decode_invite(spell(port=0))


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"\5alice",
        b"\5alice\2h",
        b"\6alice",
        b"\5alice\1h\0",
        b"\5alice\1h\1x",
        b"\xff",
    ],
)
def test_names_that_do_not_fill_the_invite_are_refused(rest: bytes) -> None:
    with pytest.raises(TextFormError, match=BROKEN):
        decode_invite(spell(rest=rest))


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (b"\0\1h", "user"),
        (b"\4../x\1h", "user"),
        (b"\2\xc3\xa9\1h", "user"),
        (b"\1u\0", "host"),
        (b"\1u\x02-o", "host"),
        (b"\1u\x01\xff", "host"),
    ],
)
def test_a_name_that_is_none_is_refused(rest: bytes, message: str) -> None:
    with pytest.raises(TextFormError, match=rf"^not a {message} name"):
        decode_invite(spell(rest=rest))


def test_a_name_that_is_none_is_not_spelled() -> None:
    with pytest.raises(TextFormError, match=r"^not a user name"):
        encode_invite(INVITE._replace(user="é"))
    with pytest.raises(TextFormError, match=r"^not a host name"):
        encode_invite(INVITE._replace(address="a b"))


def test_an_invite_is_damaged_however_it_was_cut() -> None:
    text = spell(flags=1, key=SECRET)
    cut = [text[:end] for end in range(1, len(text))]
    cut += [text[begin:] for begin in range(1, len(PREFIX) - 1)]
    cut += [text[:at] + text[at + 1 :] for at in range(len(PREFIX), len(text))]
    wrapped = f"{text[:70]}\n{text[70:]}"
    changed = text[:-1] + ("A" if text[-1] != "A" else "B")
    for damaged in (*cut, wrapped, changed, text + "é", text * 2):
        with pytest.raises(TextFormError) as caught:
            decode_invite(damaged)
        assert str(caught.value) == "damaged invite: copy it again, whole"


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 98, 99, 102])
def test_an_invite_that_is_too_short_is_damaged(size: int) -> None:
    body = bytes(max(0, size - 4))
    data = body + checksum(PREFIX, body) if size >= 4 else bytes(size)
    with pytest.raises(TextFormError, match=r"^damaged invite"):
        decode_invite(PREFIX + armour(data))


def test_an_invite_of_another_version_says_what_to_do() -> None:
    with pytest.raises(TextFormError, match=r"^invite of another version: update"):
        decode_invite(spell(prefix="spassh-invite-2-"))


def test_the_version_is_under_the_checksum() -> None:
    text = spell(prefix="spassh-invite-2-").replace("invite-2-", "invite-1-")
    with pytest.raises(TextFormError, match=r"^damaged invite"):
        decode_invite(text)


def test_what_is_no_invite_says_so() -> None:
    with pytest.raises(TextFormError, match=r"^not an invite: it does not begin with"):
        decode_invite("hello")
