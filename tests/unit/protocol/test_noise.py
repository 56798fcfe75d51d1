from collections.abc import Callable

import pytest
from vectors.generate.common import (
    CLIENT,
    OTHER_SERVER,
    PSK,
    SERVER,
    STRANGER,
    Sealed,
    message,
)

from spassh.protocol.crypto import PrivateKey, decrypt
from spassh.protocol.errors import Unauthentic
from spassh.protocol.noise import Read, read_first_message
from spassh.protocol.packet import PROLOGUE


def read(
    sealed: Sealed,
    *,
    prologue: bytes = PROLOGUE,
    static: PrivateKey = SERVER,
    find_psk: Callable[[bytes], bytes] = lambda _: PSK,
) -> Read:
    return read_first_message(
        prologue=prologue,
        static=static,
        shared=static.exchange,
        find_psk=find_psk,
        ephemeral=sealed.ephemeral,
        sealed_static=sealed.static,
        sealed_payload=sealed.payload,
        decrypt=decrypt,
    )


def test_the_reader_learns_who_sent_what() -> None:
    result = read(message("who", b"what"))
    assert result.client == CLIENT.public
    assert result.payload == b"what"


def test_the_prologue_binds_the_message_to_a_protocol_version() -> None:
    with pytest.raises(Unauthentic):
        read(message("prologue", b""), prologue=b"spassh 2")
    assert read(message("x", b"", prologue=b"y"), prologue=b"y").payload == b""


def test_the_message_is_bound_to_one_responder() -> None:
    with pytest.raises(Unauthentic):
        read(message("responder", b""), static=OTHER_SERVER)


def test_the_client_key_is_not_in_the_message() -> None:
    sealed = message("hidden", b"")
    assert CLIENT.public not in b"".join(sealed)


def test_a_client_needs_the_secret_behind_its_public_key() -> None:
    class Borrowed(PrivateKey):
        def __init__(self) -> None:
            super().__init__(bytes(32))
            self.public = CLIENT.public

    with pytest.raises(Unauthentic):
        read(message("borrowed", b"", static=Borrowed()))


def test_a_client_needs_the_pre_shared_key_too() -> None:
    with pytest.raises(Unauthentic):
        read(message("psk", b"", psk=bytes(32)))


def test_the_pre_shared_key_is_looked_up_once_with_the_key_of_the_client() -> None:
    asked: list[bytes] = []

    def find_psk(client: bytes) -> bytes:
        asked.append(client)
        return PSK

    read(message("asked", b"", static=STRANGER), find_psk=find_psk)
    assert asked == [STRANGER.public]


def test_an_unknown_client_ends_the_handshake_with_its_reason() -> None:
    def find_psk(_: bytes) -> bytes:
        raise Unauthentic("unknown client key")

    with pytest.raises(Unauthentic, match=r"^unknown client key$"):
        read(message("unknown", b""), find_psk=find_psk)


def test_the_hash_of_both_sides_is_the_same_and_of_two_messages_is_not() -> None:
    hashes = {read(message(name, b"")).hash for name in ("one", "two", "three")}
    assert len(hashes) == 3
    assert {len(each) for each in hashes} == {32}


def test_two_messages_of_one_client_share_no_field() -> None:
    one, two = message("one", b"the same"), message("two", b"the same")
    assert one.ephemeral != two.ephemeral
    assert one.static != two.static
    assert one.payload != two.payload


def test_who_computes_the_servers_secret_learns_who_knocked_and_not_what_for() -> None:
    """As a quantum computer could from the public key, without the pre-shared key."""
    learnt = []

    def find_psk(client: bytes) -> bytes:
        learnt.append(client)
        return bytes(32)

    with pytest.raises(Unauthentic):
        read(message("recorded", b"what for"), find_psk=find_psk)
    assert learnt == [CLIENT.public]


def test_who_steals_all_keys_of_the_server_later_reads_what_was_recorded() -> None:
    """There is no forward secrecy: one message that nobody answers can have none."""
    recorded = message("recorded", b"what for")
    assert read(recorded).payload == b"what for"
