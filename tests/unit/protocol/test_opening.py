"""What a server does with a datagram, and above all what it does not do."""

import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from vectors.generate.common import (
    CLIENT,
    CLIENT_SECRET,
    NOW,
    OTHER_SERVER,
    PSK,
    SERVER,
    SERVER_SECRET,
    STRANGER,
    access,
    flip,
    message,
    randomness,
)
from vectors.vector_file import NAMES, load

from spassh.protocol import invite, keys, noise, opening
from spassh.protocol.crypto import PrivateKey, decrypt
from spassh.protocol.errors import NotOurs, PacketError, TextFormError, Unauthentic
from spassh.protocol.opening import ServerKeys, open_datagram
from spassh.protocol.packet import ClientKeys, Gate, seal
from spassh.protocol.request import Request

KEYS = ServerKeys(SERVER_SECRET)
REQUEST = Request(NOW, 6, 22)
GOOD = seal(REQUEST, ClientKeys(CLIENT_SECRET, SERVER.public, PSK), randomness("good"))


def find_psk(client: bytes) -> bytes:
    if client != CLIENT.public:
        raise Unauthentic("unknown client key")
    return PSK


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the steps of opening, wherever they are called from."""
    counted: Counter[str] = Counter()

    def counting(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            counted[name] += 1
            return step(*arguments, **named)

        return call

    for owner, name in (
        (Gate, "mac"),
        (Gate, "tag"),
        (opening, "compare_digest"),
        (opening, "read_first_message"),
        (opening, "decode"),
        (PrivateKey, "exchange"),
        (noise, "expand"),
        (opening, "decrypt"),
    ):
        monkeypatch.setattr(owner, name, counting(name, getattr(owner, name)))
    return counted


def rejected(datagram: bytes) -> PacketError:
    with pytest.raises(PacketError) as caught:
        open_datagram(datagram, KEYS, find_psk)
    return caught.value


def test_a_good_datagram_yields_request_and_sender() -> None:
    opened = open_datagram(GOOD, KEYS, find_psk)
    assert opened.request == REQUEST
    assert opened.client == CLIENT.public
    assert KEYS.public == SERVER.public


def test_opening_looks_at_no_clock() -> None:
    for time in (0, (1 << 63) - 1):
        datagram = message("clock", access(time=time)).datagram()
        assert open_datagram(datagram, KEYS, find_psk).request.time == time


def test_the_identity_is_the_handshake_hash() -> None:
    sealed = message("identity", access())
    read = noise.read_first_message(
        prologue=b"spassh 1",
        static=SERVER,
        shared=SERVER.exchange,
        find_psk=find_psk,
        ephemeral=sealed.ephemeral,
        sealed_static=sealed.static,
        sealed_payload=sealed.payload,
        decrypt=decrypt,
    )
    assert read.hash == open_datagram(sealed.datagram(), KEYS, find_psk).identity


def test_the_same_request_sealed_twice_has_two_identities() -> None:
    keys_ = ClientKeys(CLIENT_SECRET, SERVER.public, PSK)
    identities = {
        open_datagram(seal(REQUEST, keys_, randomness(name)), KEYS, find_psk).identity
        for name in ("one", "two", "three")
    }
    assert len(identities) == 3


def test_a_datagram_has_no_second_spelling() -> None:
    # The only bit that X25519 ignores, and the only bytes that a stranger can remake.
    sealed = message("spelling", access())
    assert isinstance(rejected(sealed.flip("ephemeral", 255).datagram()), Unauthentic)


def test_the_size_is_checked_before_any_hash(calls: Counter[str]) -> None:
    for size in (0, 1, 15, 16, 191, 193, 1199, 1201, 65507):
        error = rejected((GOOD * 342)[:size])
        assert isinstance(error, NotOurs)
        assert str(error) == "size"
    assert not calls


def test_the_mac_is_checked_before_the_tag(calls: Counter[str]) -> None:
    both_wrong = flip(GOOD, 0)
    assert str(rejected(both_wrong)) == "mac"
    assert calls == {"mac": 1, "compare_digest": 1}


def test_the_mac_is_checked_before_any_diffie_hellman(calls: Counter[str]) -> None:
    error = rejected(flip(GOOD, 192 * 8 - 1))
    assert isinstance(error, NotOurs)
    assert str(error) == "mac"
    assert calls["exchange"] == 0
    assert calls["read_first_message"] == 0


def test_the_tag_is_checked_even_if_the_mac_is_right(calls: Counter[str]) -> None:
    body = flip(GOOD[:-16], 0)
    error = rejected(body + Gate(SERVER.public).mac(body))
    assert isinstance(error, NotOurs)
    assert str(error) == "tag"
    assert calls["exchange"] == 0


def test_nothing_but_the_gate_runs_for_a_stranger(calls: Counter[str]) -> None:
    strangers = [bytes(192), bytes(1200), b"\xff" * 192]
    strangers += [flip(GOOD, bit) for bit in range(0, 192 * 8, 64)]
    for datagram in strangers:
        assert isinstance(rejected(datagram), NotOurs)
    assert calls == {"mac": len(strangers), "compare_digest": len(strangers)}


def test_mac_and_tag_are_compared_in_constant_time(calls: Counter[str]) -> None:
    open_datagram(GOOD, KEYS, find_psk)
    assert calls["compare_digest"] == 2


def test_an_unknown_client_costs_one_diffie_hellman(calls: Counter[str]) -> None:
    datagram = message("unknown", access(), static=STRANGER).datagram()
    calls.clear()
    assert str(rejected(datagram)) == "unknown client key"
    assert calls["exchange"] == 1
    assert calls["decode"] == 0


def test_who_asks_for_a_client_costs_the_same_steps_whether_it_is_one(
    calls: Counter[str],
) -> None:
    """So nobody can tell from how busy the server is whose key is a client's."""
    open_datagram(GOOD, KEYS, find_psk)  # It is remembered from its first packet on.
    taken = []
    for known in (True, False):
        borrowed = message("borrowed", access(), static=_Borrowed(known)).datagram()
        calls.clear()
        rejected(borrowed)
        taken.append(Counter(calls))
    assert taken[0] == taken[1]
    assert taken[0]["decrypt"] == 2


class _Borrowed(PrivateKey):
    """The public key of a client, or of nobody, without its secret."""

    def __init__(self, is_known: bool) -> None:
        super().__init__(bytes(32))
        self.public = (CLIENT if is_known else STRANGER).public

    def exchange(self, public: bytes) -> bytes:
        return bytes(32)


def test_what_is_made_for_an_unknown_client_s_keys_opens_nothing() -> None:
    """They are the same for everybody, and so known to everybody."""
    datagram = message(
        "nobody", access(), static=_Borrowed(is_known=False), psk=bytes(32)
    ).datagram()
    assert str(rejected(datagram)) == "unknown client key"


def test_a_tag_that_the_kernel_has_checked_is_not_checked_again(
    calls: Counter[str],
) -> None:
    """Nothing else is left out: whatever is wrong is refused as it is without."""
    assert open_datagram(GOOD, KEYS, find_psk, tagged=True).request == REQUEST
    assert calls["tag"] == 0
    open_datagram(GOOD, KEYS, find_psk, tagged=False)
    assert calls["tag"] == 1
    for at in range(len(GOOD)):
        changed = GOOD[:at] + bytes([GOOD[at] ^ 1]) + GOOD[at + 1 :]
        with pytest.raises(NotOurs, match=r"^mac$"):
            open_datagram(changed, KEYS, find_psk, tagged=True)


def test_nobody_is_looked_up_before_the_client_key_decrypts() -> None:
    looked_up: list[bytes] = []

    def remember(client: bytes) -> bytes:
        looked_up.append(client)
        return PSK

    broken = message("broken", access()).flip("static", 0).datagram()
    with pytest.raises(Unauthentic):
        open_datagram(broken, KEYS, remember)
    assert not looked_up


def test_a_payload_is_not_looked_at_before_it_authenticates(
    calls: Counter[str],
) -> None:
    rejected(message("psk", access(version=9), psk=bytes(32)).datagram())
    assert calls["decode"] == 0


def test_a_known_client_costs_two_diffie_hellmans_and_then_one(
    calls: Counter[str],
) -> None:
    keys = ServerKeys(SERVER_SECRET)
    for number in (2, 3, 4):
        open_datagram(GOOD, keys, find_psk)
        assert calls["exchange"] == number
    assert calls["decrypt"] == 6


def test_what_is_remembered_of_a_client_does_not_make_it_known(
    calls: Counter[str],
) -> None:
    keys = ServerKeys(SERVER_SECRET)
    open_datagram(GOOD, keys, find_psk)

    def nobody(client: bytes) -> bytes:
        raise Unauthentic("unknown client key")

    with pytest.raises(Unauthentic, match="unknown"):
        open_datagram(GOOD, keys, nobody)
    with pytest.raises(Unauthentic, match="authenticate"):
        open_datagram(GOOD, keys, lambda _: bytes(32))


def test_a_datagram_for_one_server_is_noise_to_another() -> None:
    other = ServerKeys(bytes(range(128, 160)))
    assert other.public == OTHER_SERVER.public
    with pytest.raises(NotOurs, match=r"^mac$"):
        open_datagram(GOOD, other, find_psk)
    # Not even with the gate of the other server around it.
    regated = message("regated", access()).datagram(other.gate)
    with pytest.raises(Unauthentic, match=r"^handshake does not authenticate$"):
        open_datagram(regated, other, find_psk)


def test_whoever_looks_up_decides_whom_the_server_knows() -> None:
    datagram = message("stranger", access(), static=STRANGER).datagram()
    assert isinstance(rejected(datagram), Unauthentic)
    assert open_datagram(datagram, KEYS, lambda _: PSK).client == STRANGER.public


def _all_errors() -> Iterator[BaseException]:
    """Make every kind of error, with secrets in reach of each."""
    for name in NAMES:
        vector = load(name)
        if "reason" in vector.headers:
            yield rejected(vector.packet)
    secret = keys.encode_key(keys.SECRET, CLIENT_SECRET)
    invited = invite.encode_invite(
        invite.Invite(
            "alice", "host", 1, SERVER.public, PSK, CLIENT.public, CLIENT_SECRET
        )
    )
    for text in (secret, invited):
        damaged = text[:30] + text[30:32][::-1] + text[32:]
        for broken in (
            damaged,
            text[:-1],
            text + "=",
            text + "é",
            text + "\n",
            text[1:],
        ):
            with pytest.raises(TextFormError) as caught:
                keys.decode_key(keys.SECRET, broken)
            yield caught.value
            with pytest.raises(TextFormError) as caught:
                invite.decode_invite(broken)
            yield caught.value
            with pytest.raises(TextFormError) as caught:
                keys.decode_key(keys.PSK, broken)
            yield caught.value


def test_error_messages_never_contain_secrets() -> None:
    secrets = [SERVER_SECRET, CLIENT_SECRET, PSK, CLIENT.public]
    spelled = [secret.hex() for secret in secrets]
    spelled += [repr(secret)[2:20] for secret in secrets]
    # Any 12 letters of the text forms, wherever base64 begins.
    for at in range(3):
        for secret in secrets:
            spelled.append(keys.armour(secret[at:24])[1:13])
    errors = list(_all_errors())
    assert len(errors) > 60
    for error in errors:
        shown = "".join(traceback.format_exception(error)) + repr(error)
        causes = [error.__cause__, error.__context__]
        shown += "".join(repr(cause) for cause in causes)
        assert not [each for each in spelled if each in shown]
