"""What becomes of a packet of fwknop that gpg has looked at."""

from typing import Any

import pytest
from unit.server.fwknop_parties import (
    ACCESS,
    BY_GNUPG,
    OTHER_SIGNER,
    SIGNER,
    UNAUTHENTICATED,
    fwknop_user,
    gnupg_user,
    signed_text,
)
from unit.server.parties import EVERY_WIDTH, HERE, NOW, SSH, THERE, datagram

from spassh.protocol.errors import Replayed, Stale
from spassh.protocol.fwknop.openpgp import Hmac
from spassh.protocol.limits import WINDOW_MS
from spassh_server.envelope import Enclosed
from spassh_server.firewall import Grant, Width
from spassh_server.fwknop_keys import FwknopGnupgKey
from spassh_server.openpgp.message import REASONS, Answer, Verdict
from spassh_server.pipeline import UNKNOWN, PendingFwknop, Rejected
from spassh_server.policy import Approval, Approvals, Order, Refusal
from spassh_server.ports import Port
from spassh_server.replay import ReplayMemory
from spassh_server.settle_fwknop import settle_fwknop
from spassh_server.users import User, Users

GRANTED = Approval("ada", Grant(HERE, SSH, Width.ADDRESS), 15)
NONE_OF_THEM = "the request is signed by none of the user's OpenPGP keys"


def enclosed(key: FwknopGnupgKey = BY_GNUPG, who: User | None = None) -> Enclosed:
    owner = gnupg_user() if who is None else who
    return Enclosed(b"m", bytes(32), key, owner if key.hmac.key else None)


def pending(one: Enclosed | None = None, **changes: Any) -> PendingFwknop:
    return PendingFwknop(one or enclosed(), datagram(), NOW)._replace(**changes)


def good(signed: bytes = b"", **changes: Any) -> Answer:
    answer = Answer(1, Verdict.GOOD, NOW // 1000, SIGNER, signed or signed_text())
    return answer._replace(**changes)


class World:
    """The users, and what was granted before."""

    def __init__(self, *users: User) -> None:
        self.users = Users([*users] or [gnupg_user()])
        self.replay = ReplayMemory(99, 0)

    def settle(
        self, answer: Answer, one: PendingFwknop | None = None, now: int = NOW
    ) -> Approval | Approvals | Order | Refusal | Rejected:
        return settle_fwknop(
            one or pending(),
            answer,
            users=self.users,
            replay=self.replay,
            now=now,
            widths=EVERY_WIDTH,
        )

    def reason(self, answer: Answer, one: PendingFwknop | None = None) -> str:
        before = len(self.replay)
        decision = self.settle(answer, one)
        assert isinstance(decision, Refusal)
        # What is not the user's own must not use anything up.
        assert len(self.replay) == before
        return decision.reason


def test_a_good_signature_is_worth_what_the_request_is() -> None:
    assert World().settle(good()) == GRANTED
    many = ACCESS._replace(ports=((6, 22), (6, 80)))
    allowed = gnupg_user(ports=frozenset({SSH, Port(6, 80)}))
    assert isinstance(World(allowed).settle(good(signed_text(many))), Approvals)


def test_policy_judges_what_was_signed() -> None:
    decision = World().settle(good(signed_text(ACCESS._replace(ports=((6, 80),)))))
    assert decision == Refusal("ada", HERE, "tcp/80 is not in the user's ports")


def test_a_user_whose_requests_all_have_to_be_signed_is_asked_for_both() -> None:
    both = gnupg_user(gnupg=frozenset({SIGNER}))
    assert World(both).settle(good()) == GRANTED
    other = gnupg_user(gnupg=frozenset({OTHER_SIGNER}))
    assert World(other).settle(good()) == Refusal("ada", HERE, NONE_OF_THEM)


@pytest.mark.parametrize("verdict", [one for one in Verdict if one])
def test_what_gpg_refuses_is_refused(verdict: Verdict) -> None:
    assert World().reason(Answer(1, verdict)) == REASONS[verdict]


def test_another_key_than_the_users_opens_nothing() -> None:
    """gpg knows the keys of all users."""
    world = World()
    signed = signed_text()
    assert world.reason(good(signed, fingerprint=OTHER_SIGNER)) == NONE_OF_THEM
    # Nor has it used up what the user has signed.
    assert world.settle(good(signed)) == GRANTED


@pytest.mark.parametrize("late", [-WINDOW_MS, WINDOW_MS])
def test_the_time_of_the_signature_is_within_the_window(late: int) -> None:
    world = World()
    assert world.settle(good(time=(NOW + late) // 1000)) == GRANTED
    beyond = good(time=(NOW + late) // 1000 + (1 if late > 0 else -1))
    assert world.reason(beyond) == "the OpenPGP signature was made at another time"


@pytest.mark.parametrize("late", [-WINDOW_MS, WINDOW_MS])
def test_the_time_inside_is_within_the_window(late: int) -> None:
    world, second = World(), 1 if late > 0 else -1
    then = (NOW + late) // 1000
    assert world.settle(good(signed_text(ACCESS._replace(time=then)))) == GRANTED
    decision = world.settle(good(signed_text(ACCESS._replace(time=then + second))))
    assert isinstance(decision, Rejected)
    assert isinstance(decision.error, Stale)


def test_what_waits_for_gpg_does_not_grow_stale() -> None:
    assert World().settle(good(), now=NOW + 2 * WINDOW_MS) == GRANTED


def test_what_was_signed_is_granted_once_in_whatever_message() -> None:
    """Without an HMAC, there are many OpenPGP messages of one signed text."""
    world, signed = World(), signed_text()
    assert world.settle(good(signed)) == GRANTED
    for source, same in ((HERE, True), (THERE, False)):
        other = Enclosed(b"other", bytes(range(32)), BY_GNUPG, gnupg_user())
        again = pending(other, datagram=datagram(source))
        decision = world.settle(good(signed), again)
        assert isinstance(decision, Rejected)
        assert (decision.user, decision.source) == ("ada", source)
        assert isinstance(decision.error, Replayed)
        assert decision.error.same_source is same


@pytest.mark.parametrize("signed", [b"text", signed_text() + b"\n", signed_text()[:-1]])
def test_a_text_that_is_no_request_opens_nothing(signed: bytes) -> None:
    expected = "what is signed is no request: digest"
    assert World().reason(good(signed)) == expected


def test_fields_of_1_9_are_for_legacy_keys_alone() -> None:
    head = f"{'1' * 16}:YWxpY2U=:{NOW // 1000}:1.9.12:1:MC4wLjAuMCx0Y3AvMjI="
    from spassh.protocol.fwknop.digests import DIGESTS

    signed = head.encode() + b":" + DIGESTS["sha1"].hash(head.encode())
    assert World().reason(good(signed)) == "what is signed is no request: base64"
    old = BY_GNUPG._replace(legacy=True)
    user = gnupg_user(fwknop_gnupg=(old,))
    assert World(user).settle(good(signed), pending(enclosed(old, user))) == GRANTED


@pytest.mark.parametrize(
    "who",
    [
        fwknop_user(),
        gnupg_user("eve"),
        gnupg_user(fwknop_gnupg=(BY_GNUPG._replace(hmac=Hmac(b"new")),)),
    ],
    ids=["no key", "name", "hmac"],
)
def test_who_was_removed_while_it_waited_gets_nothing(who: User) -> None:
    assert World(who).reason(good()) == "the user's key is gone meanwhile"


def test_a_signer_that_was_taken_from_the_user_meanwhile_opens_nothing() -> None:
    now = BY_GNUPG._replace(signers=frozenset({OTHER_SIGNER}))
    assert World(gnupg_user(fwknop_gnupg=(now,))).reason(good()) == NONE_OF_THEM


def test_a_key_that_has_expired_opens_nothing() -> None:
    old = BY_GNUPG._replace(expires=NOW)
    decision = World(gnupg_user(fwknop_gnupg=(old,))).settle(good())
    assert decision == Refusal("ada", HERE, "the user's key has expired")


class TestWithoutAnHmac:
    """The signature alone says whose it is."""

    BOB = UNAUTHENTICATED._replace(signers=frozenset({OTHER_SIGNER}))
    PENDING = pending(enclosed(UNAUTHENTICATED))

    def world(self) -> World:
        ada = gnupg_user(fwknop_gnupg=(UNAUTHENTICATED,))
        return World(ada, gnupg_user("bob", fwknop_gnupg=(self.BOB,)))

    def test_who_has_signed_is_who_asks(self) -> None:
        world = self.world()
        assert self.PENDING.user == UNKNOWN
        assert world.settle(good(), self.PENDING) == GRANTED
        bobs = world.settle(good(fingerprint=OTHER_SIGNER), self.PENDING)
        assert bobs == GRANTED._replace(user="bob")

    def test_who_has_an_hmac_needs_it(self) -> None:
        expected = "it has no HMAC, and is signed by nobody who needs none"
        world = World(gnupg_user(), gnupg_user("bob", fwknop_gnupg=(self.BOB,)))
        assert world.reason(good(), self.PENDING) == expected
        assert world.reason(good(fingerprint="AB" * 20), self.PENDING) == expected


def test_what_waits_may_be_anybodys_where_nothing_says_whose_it_is() -> None:
    """Whoever takes a user's grants back means those as well that are yet to come."""
    known = pending()
    assert known.may_get("ada", b"")
    assert known.may_get("", HERE)
    assert known.may_get("", b"")
    assert not known.may_get("bob", b"")
    assert not known.may_get("", THERE)
    anywhere = pending(enclosed(who=gnupg_user(any_address=True)))
    assert anywhere.may_get("", THERE)
    unknown = pending(enclosed(UNAUTHENTICATED))
    assert unknown.may_get("bob", b"")
    assert unknown.may_get("", THERE)
    assert (known.user, known.message, known.address) == ("ada", b"m", HERE)
