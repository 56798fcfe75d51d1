"""What holds for every request, every datagram and every text."""

from struct import Struct
from unicodedata import normalize

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from vectors.strategies import (
    addresses,
    client_keys,
    keys32,
    payloads,
    randomness,
    repeatable,
    requests,
)

from spassh.protocol import keys as text_keys
from spassh.protocol.crypto import PrivateKey, encrypt
from spassh.protocol.errors import (
    Malformed,
    NotOurs,
    PacketError,
    TextFormError,
    Unauthentic,
)
from spassh.protocol.invite import PREFIX, Invite, decode_invite, encode_invite
from spassh.protocol.limits import DATAGRAM_SIZES, MAC_SIZE, TAG_SIZE
from spassh.protocol.noise import write_first_message
from spassh.protocol.opening import Opened, ServerKeys, open_datagram
from spassh.protocol.packet import PROLOGUE, ClientKeys, Gate, seal
from spassh.protocol.request import Request, decode, encode
from spassh.protocol.sealed_invite import PREFIX as SEALED_PREFIX
from spassh.protocol.sealed_invite import (
    WrongPassphraseError,
    decode_sealed,
    is_sealed,
    open_sealed,
    seal_invite,
)

SERVER = ServerKeys(bytes(range(32)))
CLIENT = ClientKeys(bytes(range(32, 64)), SERVER.public, bytes(range(64, 96)))
ACCESS = seal(Request(1, 6, 22), CLIENT, bytes(33))
COMMAND = seal(Request(1, command=("w",)), CLIENT, bytes(33))
EITHER = st.sampled_from((ACCESS, COMMAND))


def opened(datagram: bytes) -> Opened:
    return open_datagram(datagram, SERVER, lambda _: CLIENT.psk)


def gated(body: bytes) -> bytes:
    """Give `body`, which begins behind the tag, the tag and the mac it needs."""
    tagged = SERVER.gate.tag(body[:32]) + body
    return tagged + SERVER.gate.mac(tagged)


def changed(data: bytes, at: int, byte: int) -> bytes:
    return data[:at] + bytes([byte]) + data[at + 1 :]


# Datagrams


@repeatable
@given(requests, client_keys, keys32, randomness)
def test_what_is_sealed_is_what_opens(
    request: Request, client: ClientKeys, secret: bytes, random: bytes
) -> None:
    server = ServerKeys(secret)
    datagram = seal(request, client._replace(server=server.public), random)
    assert len(datagram) == DATAGRAM_SIZES[bool(request.command)]
    result = open_datagram(datagram, server, lambda _: client.psk)
    assert request == result.request
    assert PrivateKey(client.secret).public == result.client


@pytest.mark.parametrize("datagram", [ACCESS, COMMAND], ids=["access", "command"])
def test_every_flipped_bit_is_noticed_at_the_gate(datagram: bytes) -> None:
    for bit in range(8 * len(datagram)):
        at = bit // 8
        with pytest.raises(NotOurs):
            opened(changed(datagram, at, datagram[at] ^ 1 << bit % 8))


@pytest.mark.parametrize("datagram", [ACCESS, COMMAND], ids=["access", "command"])
def test_every_flipped_bit_is_noticed_behind_a_gate_that_is_made_anew(
    datagram: bytes,
) -> None:
    body = datagram[TAG_SIZE:-MAC_SIZE]
    assert gated(body) == datagram
    for bit in range(8 * len(body)):
        at = bit // 8
        with pytest.raises(Unauthentic):
            opened(gated(changed(body, at, body[at] ^ 1 << bit % 8)))


@repeatable
@given(st.data(), EITHER)
def test_every_changed_byte_is_noticed(data: st.DataObject, datagram: bytes) -> None:
    at = data.draw(st.integers(0, len(datagram) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != datagram[at]))
    with pytest.raises(NotOurs):
        opened(changed(datagram, at, byte))


@pytest.mark.parametrize("datagram", [ACCESS, COMMAND], ids=["access", "command"])
def test_every_truncation_is_noticed(datagram: bytes) -> None:
    for size in range(len(datagram)):
        for cut in (datagram[:size], datagram[len(datagram) - size :]):
            with pytest.raises(NotOurs):
                opened(cut)


@repeatable
@given(EITHER, st.binary(min_size=1, max_size=1100))
@example(ACCESS, bytes(1200 - 192))
def test_every_extension_is_noticed(datagram: bytes, more: bytes) -> None:
    for extended in (datagram + more, more + datagram):
        with pytest.raises(NotOurs):
            opened(extended)


@repeatable
@given(
    st.binary(max_size=1300)
    | st.binary(min_size=192, max_size=192)
    | st.binary(min_size=1200, max_size=1200)
)
def test_no_stranger_raises_anything_but_not_ours(datagram: bytes) -> None:
    with pytest.raises(NotOurs):
        opened(datagram)


@repeatable
@given(
    st.binary(min_size=172, max_size=172)
    | st.binary(min_size=1180, max_size=1180)
    | keys32.map(lambda e: e + bytes(140))
)
@example(bytes(172))
@example(b"\xff" * 172)
def test_garbage_with_a_right_gate_is_unauthentic(body: bytes) -> None:
    with pytest.raises(Unauthentic):
        opened(gated(body))


@settings(repeatable, max_examples=500)
@given(payloads, st.binary(max_size=2000))
def test_an_authentic_client_raises_nothing_but_packet_errors(
    payload: bytes, garbage: bytes
) -> None:
    for inside in (payload, garbage):
        message = write_first_message(
            prologue=PROLOGUE,
            static=PrivateKey(CLIENT.secret),
            ephemeral=SERVER.private,
            ephemeral_spelling=SERVER.public,
            responder=SERVER.public,
            psk=CLIENT.psk,
            payload=inside,
            encrypt=encrypt,
        )
        body = message.ephemeral + message.static + message.payload
        try:
            result = opened(gated(body))
        except PacketError as error:
            event = NotOurs if len(inside) not in {76, 1084} else Malformed
            assert type(error) is event  # noqa: PT017 - both ways are right
        else:
            assert encode(result.request) == inside


# Payloads


@settings(repeatable, max_examples=500)
@given(requests)
def test_a_request_survives_its_spelling(request: Request) -> None:
    assert request == decode(encode(request))


@settings(repeatable, max_examples=1000)
@given(payloads)
def test_a_payload_that_is_read_is_the_one_spelling(payload: bytes) -> None:
    try:
        request = decode(payload)
    except Malformed:
        return
    assert payload == encode(request)


@repeatable
@given(st.binary(max_size=1200))
def test_a_payload_of_any_other_size_is_malformed(payload: bytes) -> None:
    if len(payload) not in {76, 1084}:
        with pytest.raises(Malformed):
            decode(payload)


_numbers = st.integers() | st.integers(-1, 1 << 17) | st.sampled_from((0, 6, 17))


@settings(repeatable, max_examples=500)
@given(
    st.builds(
        Request,
        time=st.integers() | st.integers(0, 1 << 64),
        protocol=_numbers,
        port=_numbers,
        lifetime=_numbers,
        address=addresses | st.binary(max_size=20),
        source_port=_numbers,
        command=st.lists(
            st.text() | st.just("\ud800") | st.just("a\0"), max_size=3
        ).map(tuple),
    )
)
@example(Request(1, command=("x" * 65_536,)))
@example(Request(1, command=("x" * 65_535,)))
@example(Request(1, command=("x",) * 1000))
def test_what_cannot_be_read_back_is_never_spelled(request: Request) -> None:
    try:
        payload = encode(request)
    except Malformed:
        return
    assert request == decode(payload)


def test_the_largest_command_is_spelled_and_the_next_is_not() -> None:
    assert decode(encode(Request(1, command=("x" * 1044,)))).command == ("x" * 1044,)
    with pytest.raises(Malformed, match="too long"):
        encode(Request(1, command=("x" * 1045,)))


# Text forms

KINDS = (text_keys.PUBLIC, text_keys.SECRET, text_keys.PSK)
kinds = st.sampled_from(KINDS)

_name = "ABCXYZabcxyz0189_"
users = st.builds(
    lambda first, rest: first + rest,
    st.sampled_from(_name),
    st.text(_name + ".-", max_size=31),
)
hosts = st.builds(
    lambda first, rest: first + rest,
    st.sampled_from(_name + ":%"),
    st.text(_name + ".-:%", max_size=252),
)


@st.composite
def invites(draw: st.DrawFn) -> Invite:
    secret = draw(st.just(b"") | keys32)
    return Invite(
        draw(users),
        draw(hosts),
        draw(st.integers(1, 0xFFFF)),
        draw(keys32),
        draw(keys32),
        PrivateKey(secret).public if secret else draw(keys32),
        secret,
    )


_letters = st.sampled_from(
    "ABCXYZabcxyz0189-_+/= \n\t=é\ud800\0\N{FULLWIDTH LATIN SMALL LETTER A}"
)
texts = (
    st.text()
    | st.text(_letters)
    | st.builds(
        lambda prefix, rest: prefix + rest,
        st.sampled_from((*KINDS, PREFIX, SEALED_PREFIX)),
        st.text(_letters, max_size=300) | st.binary().map(text_keys.armour),
    )
)


@st.composite
def damage(draw: st.DrawFn, text: str) -> str:
    """Change, insert, leave out or exchange a character or two."""
    at = draw(st.integers(0, len(text) - 1))
    letter = draw(_letters | st.sampled_from(sorted(set(text))))
    damaged = draw(
        st.sampled_from(
            (
                text[:at] + letter + text[at + 1 :],
                text[:at] + letter + text[at:],
                text[:at] + text[at + 1 :],
                text[:at] + text[at : at + 2][::-1] + text[at + 2 :],
                text + letter,
            )
        )
    )
    return damaged if damaged != text else text[:-1]


@repeatable
@given(kinds, keys32)
def test_a_key_survives_its_text(kind: str, key: bytes) -> None:
    text = text_keys.encode_key(kind, key)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) == len(kind) + 48
    assert key == text_keys.decode_key(kind, text)


@settings(repeatable, max_examples=400)
@given(kinds, keys32, st.data())
def test_a_damaged_key_is_refused(kind: str, key: bytes, data: st.DataObject) -> None:
    damaged = data.draw(damage(text_keys.encode_key(kind, key)))
    with pytest.raises(TextFormError):
        text_keys.decode_key(kind, damaged)


@repeatable
@given(kinds, kinds, keys32)
def test_a_key_of_another_kind_is_refused(one: str, other: str, key: bytes) -> None:
    text = text_keys.encode_key(one, key)
    pasted = other + text[len(one) :]
    if one != other:
        for wrong in (text, pasted):
            with pytest.raises(TextFormError):
                text_keys.decode_key(other, wrong)


@repeatable
@given(invites())
def test_an_invite_survives_its_text(invite: Invite) -> None:
    text = encode_invite(invite)
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text
    assert invite == decode_invite(text)


@settings(repeatable, max_examples=400)
@given(invites(), st.data())
def test_a_damaged_invite_is_refused(invite: Invite, data: st.DataObject) -> None:
    damaged = data.draw(damage(encode_invite(invite)))
    with pytest.raises(TextFormError):
        decode_invite(damaged)


@settings(repeatable, max_examples=400)
@given(texts)
@example("")
@example("A" * 1_000_000)
@example(PREFIX + "A" * 1_000_000)
@example(PREFIX + "é" * 100_000)
@example(text_keys.SECRET + "_" * 1_000_001)
def test_any_text_raises_nothing_but_text_form_error(text: str) -> None:
    is_sealed(text)
    for decoding in (decode_invite, decode_sealed):
        with pytest.raises(TextFormError):
            decoding(text)
    for kind in KINDS:
        with pytest.raises(TextFormError):
            text_keys.decode_key(kind, text)


passphrases = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


# Each takes scrypt half a second, three times.
@settings(repeatable, max_examples=5)
@given(invites(), passphrases, passphrases, st.binary(min_size=16, max_size=16))
def test_a_sealed_invite_survives_its_text_and_takes_its_passphrase(
    invite: Invite, passphrase: str, other: str, salt: bytes
) -> None:
    text = seal_invite(invite, passphrase, salt)
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text
    assert is_sealed(text)
    sealed = decode_sealed(text)
    assert invite == open_sealed(sealed, passphrase)
    if normalize("NFC", other) != normalize("NFC", passphrase):
        with pytest.raises(WrongPassphraseError):
            open_sealed(sealed, other)


SEALED = seal_invite(
    Invite("u", "h", 1, bytes(32), bytes(32), bytes(32)), "x", bytes(16)
)


@settings(repeatable, max_examples=400)
@given(damage(SEALED))
def test_a_damaged_sealed_invite_is_refused(damaged: str) -> None:
    with pytest.raises(TextFormError, match=r"invite"):
        decode_sealed(damaged)


# flags, port, three keys; then two names
_BODY = Struct("!BH32s32s32s")


@settings(repeatable, max_examples=1000)
@given(
    st.builds(
        lambda flags, port, keys, rest: _BODY.pack(flags, port, *keys) + rest,
        st.sampled_from((0, 1, 2, 0x80, 0xFF)),
        st.integers(0, 0xFFFF) | st.just(0),
        st.tuples(keys32, keys32, keys32),
        st.binary(max_size=600)
        | st.sampled_from((b"\1a\1b", b"\1a\1bc", b"\1a\2b", b"\0\1b", b"\1a", b""))
        | st.builds(
            lambda user, host: bytes([len(user)]) + user + bytes([len(host)]) + host,
            st.binary(max_size=40) | users.map(str.encode),
            st.binary(max_size=255) | hosts.map(str.encode),
        ),
    )
    | st.binary(max_size=300)
)
def test_an_invite_that_is_read_is_the_one_spelling(body: bytes) -> None:
    text = PREFIX + text_keys.armour(body + text_keys.checksum(PREFIX, body))
    try:
        invite = decode_invite(text)
    except TextFormError:
        return
    assert text == encode_invite(invite)


@repeatable
@given(st.binary(max_size=300))
def test_base64url_survives(data: bytes) -> None:
    text = text_keys.armour(data)
    assert "=" not in text
    assert data == text_keys.unarmour(text)


@settings(repeatable, max_examples=400)
@given(st.text(_letters, max_size=40) | st.text(max_size=40))
def test_base64url_has_one_spelling(text: str) -> None:
    try:
        data = text_keys.unarmour(text)
    except TextFormError:
        return
    assert text == text_keys.armour(data)


def test_gates_of_two_servers_have_nothing_in_common() -> None:
    one, other = Gate(SERVER.public), Gate(PrivateKey(bytes(32)).public)
    assert one.tag_key != other.tag_key
    assert one.tag(bytes(32)) != other.tag(bytes(32))
    assert one.mac(b"") != other.mac(b"")
