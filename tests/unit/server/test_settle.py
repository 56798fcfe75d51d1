"""Signed requests when gpg has seen them: what was signed has to be this request."""

from typing import Any

import pytest
from unit.server.parties import (
    EVERY_WIDTH,
    HERE,
    NOW,
    SERVER,
    SSH,
    access,
    datagram,
    key,
    user,
)

from spassh.protocol.limits import WINDOW_MS
from spassh.protocol.request import Request
from spassh.protocol.signed import Signed, encode_text
from spassh_server.envelope import Opened
from spassh_server.firewall import Grant
from spassh_server.openpgp.message import REASONS, Answer, Verdict
from spassh_server.pipeline import Pending
from spassh_server.policy import Approval, Order, Refusal
from spassh_server.settle import settle
from spassh_server.users import User, Users

SIGNER = "2B9B6B1C82B73D7D50CE0578634C3E9B725D4BC3"
OTHER = "D934D11FA1F67F6BD1C299DB9C3BBD3B842F52D7"
E = bytes(range(160, 192))
ADA = user(gnupg=frozenset({SIGNER}))
OPENED = Opened(Request(NOW), ADA, ADA.keys[0], bytes(32), signed=Signed(b"m", E))
PENDING = Pending(OPENED, datagram(), b"m", E, NOW)
TEXT = encode_text(access(), SERVER.public, E)
GOOD = Answer(1, Verdict.GOOD, NOW // 1000, SIGNER, TEXT)


def settled(
    answer: Answer = GOOD, who: User | None = ADA, **changes: Any
) -> Approval | Order | Refusal:
    users = Users([who] if who else [])
    given: dict[str, Any] = {"now": NOW, "widths": EVERY_WIDTH}
    given |= {"server": SERVER.public, **changes}
    return settle(PENDING, answer, users=users, **given)


def reason(answer: Answer = GOOD, who: User | None = ADA, **changes: Any) -> str:
    decision = settled(answer, who, **changes)
    assert isinstance(decision, Refusal)
    assert (decision.user, decision.address) == ("ada", HERE)
    return decision.reason


def signed(request: Request, **changes: Any) -> Answer:
    text = encode_text(request, SERVER.public, E)
    return GOOD._replace(text=text, **changes)


def test_a_good_signature_is_worth_what_the_request_is() -> None:
    assert settled() == Approval("ada", Grant(HERE, SSH), 15)


def test_policy_judges_what_was_signed() -> None:
    assert reason(signed(access(port=80))) == "tcp/80 is not in the user's ports"


@pytest.mark.parametrize("verdict", [one for one in Verdict if one])
def test_what_gpg_refuses_is_refused(verdict: Verdict) -> None:
    assert reason(Answer(1, verdict)) == REASONS[verdict]


def test_another_key_than_the_users_opens_nothing() -> None:
    expected = "the request is signed by none of the user's OpenPGP keys"
    assert reason(GOOD._replace(fingerprint=OTHER)) == expected


def test_one_of_several_keys_is_enough() -> None:
    who = ADA._replace(gnupg=frozenset({SIGNER, OTHER}))
    for one in (SIGNER, OTHER):
        assert isinstance(settled(GOOD._replace(fingerprint=one), who), Approval)


@pytest.mark.parametrize("late", [-WINDOW_MS, WINDOW_MS])
def test_the_time_of_the_signature_is_within_the_window(late: int) -> None:
    assert isinstance(settled(GOOD._replace(time=(NOW + late) // 1000)), Approval)
    beyond = GOOD._replace(time=(NOW + late) // 1000 + (1 if late > 0 else -1))
    assert reason(beyond) == "the OpenPGP signature was made at another time"


def test_what_waits_for_gpg_does_not_grow_stale() -> None:
    assert isinstance(settled(now=NOW + 2 * WINDOW_MS), Approval)


@pytest.mark.parametrize(
    "text",
    [
        encode_text(access(), bytes(32), E),
        encode_text(access(), SERVER.public, bytes(32)),
    ],
    ids=["server", "datagram"],
)
def test_a_text_for_another_server_or_datagram_opens_nothing(text: bytes) -> None:
    assert reason(GOOD._replace(text=text)) == (
        "what is signed is no request: signed for another server or datagram"
    )


def test_a_text_that_is_no_request_opens_nothing() -> None:
    expected = "what is signed is no request: payload size"
    assert reason(GOOD._replace(text=TEXT + b"\0")) == expected


def test_the_time_inside_is_that_outside() -> None:
    expected = "what is signed has another time"
    assert reason(signed(access(time=NOW + 1))) == expected


@pytest.mark.parametrize(
    "who",
    [
        None,
        ADA._replace(keys=(key(1),)),
        ADA._replace(keys=(ADA.keys[0]._replace(psk=bytes(32)),)),
        ADA._replace(name="eve"),
    ],
    ids=["no user", "no key", "psk", "name"],
)
def test_who_was_removed_while_it_waited_gets_nothing(who: User | None) -> None:
    assert reason(who=who) == "the user's key is gone meanwhile"


def test_what_was_taken_from_the_user_meanwhile_is_gone() -> None:
    assert "not in the user's ports" in reason(who=ADA._replace(ports=frozenset()))
    gone = ADA._replace(gnupg=frozenset({OTHER}))
    assert "none of the user's OpenPGP keys" in reason(who=gone)
