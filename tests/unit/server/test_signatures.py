"""What waits for the helper: bounded, in turn, and never blocking."""

import socket
from collections.abc import Iterator

import pytest
from unit.server.parties import HERE, NOW, datagram, user

from spassh.protocol.fwknop.openpgp import Hmac
from spassh.protocol.request import Request
from spassh.protocol.signed import Signed
from spassh_server.envelope import Enclosed, Opened
from spassh_server.fwknop_keys import FwknopGnupgKey
from spassh_server.limits import (
    MAX_OUTSTANDING_MESSAGES,
    MAX_WAITING_MESSAGES,
    SIGNED_BURST,
    SIGNED_PER_SECOND,
)
from spassh_server.openpgp.message import (
    LOST,
    QUESTION_SIZE,
    Answer,
    Question,
    Verdict,
    decode_question,
    encode_answer,
)
from spassh_server.pipeline import Pending, PendingFwknop
from spassh_server.signatures import AnyPending, Signatures, Taken


def pending(name: str = "ada", message: bytes = b"m", arrived: int = NOW) -> Pending:
    who = user(name, gnupg=frozenset({"AB" * 20}))
    opened = Opened(
        Request(NOW), who, who.keys[0], bytes(32), signed=Signed(message, b"")
    )
    return Pending(opened, datagram(), message, b"", arrived)


class Rig:
    """The asking side, and the helper's end of the socket."""

    def __init__(self) -> None:
        ours, self.helper = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.helper.setblocking(False)
        self._ours = ours
        self.signatures = Signatures(ours)

    def asked(self) -> list[Question]:
        found = []
        while True:
            try:
                found.append(decode_question(self.helper.recv(QUESTION_SIZE)))
            except BlockingIOError:
                return found

    def answer(self, number: int) -> list[tuple[AnyPending, Answer]]:
        self.helper.send(encode_answer(Answer(number, Verdict.UNSIGNED)))
        return self.signatures.read()

    def close(self) -> None:
        self._ours.close()
        self.helper.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


def test_an_answer_belongs_to_its_question(rig: Rig) -> None:
    first, second = pending(message=b"1"), pending("bob", b"2")
    assert rig.signatures.ask(first) is Taken.ASKED
    assert rig.signatures.ask(second) is Taken.ASKED
    numbers = {one.message: one.number for one in rig.asked()}
    for one, message in ((second, b"2"), (first, b"1")):
        number = numbers[message]
        assert rig.answer(number) == [(one, Answer(number, Verdict.UNSIGNED))]
    assert rig.signatures.idle


def test_an_answer_to_nothing_is_ignored(rig: Rig) -> None:
    assert rig.answer(77) == []
    rig.signatures.ask(pending())
    (question,) = rig.asked()
    assert len(rig.answer(question.number)) == 1
    assert rig.answer(question.number) == []


def test_few_are_on_their_way_and_the_rest_takes_turns(rig: Rig) -> None:
    users = [f"user{number}" for number in range(MAX_OUTSTANDING_MESSAGES + 1)]
    for name in (*users, users[0]):
        rig.signatures.ask(pending(name, name.encode()))
    asked = rig.asked()
    assert [one.message.decode() for one in asked] == users[:-1]
    rig.answer(asked[0].number)
    # Who has waited longest comes before who has had a turn.
    (last,) = rig.asked()
    assert last.message.decode() == users[-1]
    rig.answer(last.number)
    assert [one.message.decode() for one in rig.asked()] == users[:1]


def test_one_user_keeps_one_of_the_workers_and_not_both(rig: Rig) -> None:
    """A message that gpg takes seconds for is one that its user may have wanted so."""
    for _ in range(SIGNED_BURST):
        rig.signatures.ask(pending("ada", b"ada"))
    (first,) = rig.asked()
    rig.signatures.ask(pending("bob", b"bob"))
    assert [one.message for one in rig.asked()] == [b"bob"]
    rig.answer(first.number)
    assert [one.message for one in rig.asked()] == [b"ada"]


def test_what_strangers_send_leaves_room_for_others(rig: Rig) -> None:
    """Each of their messages can keep one of the helper's workers for seconds."""
    one = pending()
    enclosed = Enclosed(b"?", bytes(32), FwknopGnupgKey(Hmac(), frozenset()), None)
    for _ in range(SIGNED_BURST):
        rig.signatures.ask(PendingFwknop(enclosed, one.datagram, NOW))
    (first,) = rig.asked()
    rig.signatures.ask(one)
    assert [each.message for each in rig.asked()] == [b"m"]
    rig.answer(first.number)
    assert [each.message for each in rig.asked()] == [b"?"]


def test_a_user_has_a_few_in_a_second(rig: Rig) -> None:
    def ask(arrived: int) -> Taken:
        taken = rig.signatures.ask(pending(arrived=arrived))
        for question in rig.asked():
            rig.answer(question.number)
        return taken

    burst = [ask(NOW) for _ in range(SIGNED_BURST + 1)]
    assert burst == [Taken.ASKED] * SIGNED_BURST + [Taken.TOO_MANY]
    later = [ask(NOW + 1000) for _ in range(SIGNED_PER_SECOND + 1)]
    assert later == [Taken.ASKED] * SIGNED_PER_SECOND + [Taken.TOO_MANY]
    assert rig.signatures.ask(pending("bob")) is Taken.ASKED


def test_what_waits_is_bounded(rig: Rig) -> None:
    names = [f"user{number}" for number in range(MAX_WAITING_MESSAGES + 4)]
    taken = [rig.signatures.ask(pending(name)) for name in names]
    assert set(taken) == {Taken.ASKED}
    assert rig.signatures.ask(pending("one more")) is Taken.BUSY


@pytest.mark.parametrize("nonsense", [False, True])
def test_a_helper_that_has_gone_refuses_everything(rig: Rig, *, nonsense: bool) -> None:
    everything = [pending("ada") for _ in range(SIGNED_BURST)] + [pending("bob")]
    for one in everything:
        rig.signatures.ask(one)
    if nonsense:
        rig.asked()
        rig.helper.send(b"nonsense")
    else:
        rig.helper.close()
    lost = rig.signatures.read()
    assert [answer for _, answer in lost] == [Answer(0, Verdict.FAILED)] * 11
    assert {one.user for one, _ in lost} == {"ada", "bob"}
    assert rig.signatures.idle
    assert rig.signatures.fileno() == -1
    assert rig.signatures.ask(pending()) is Taken.NO_HELPER


def test_a_helper_that_has_begun_anew_has_lost_what_it_was_asked(rig: Rig) -> None:
    everything = [pending(f"user{number}") for number in range(SIGNED_BURST)]
    for one in everything:
        rig.signatures.ask(one)
    before = [question.number for question in rig.asked()]
    rig.helper.send(encode_answer(Answer(LOST, Verdict.FAILED)))
    lost = rig.signatures.read()
    assert lost == [(one, Answer(LOST, Verdict.FAILED)) for one in everything[:4]]
    # It is asked for the others, and what it still says of the lost ones is nothing.
    after = [question.number for question in rig.asked()]
    assert len(after) == MAX_OUTSTANDING_MESSAGES
    assert not set(before) & set(after)
    assert rig.answer(before[0]) == []
    assert rig.answer(after[0]) == [(everything[4], Answer(after[0], Verdict.UNSIGNED))]
    assert rig.signatures.fileno() != -1


def test_no_question_has_the_number_of_what_is_lost(rig: Rig) -> None:
    rig.signatures._number = 0xFFFFFFFE
    for name in ("ada", "bob"):
        rig.signatures.ask(pending(name))
    assert [question.number for question in rig.asked()] == [0xFFFFFFFF, 1]


def test_a_helper_that_goes_while_it_is_asked_is_noticed_by_reading(rig: Rig) -> None:
    rig.helper.close()
    assert rig.signatures.ask(pending()) is Taken.ASKED
    assert len(rig.signatures.read()) == 1


def test_without_a_helper_nothing_is_asked() -> None:
    signatures = Signatures(None)
    assert signatures.fileno() == -1
    assert signatures.ask(pending()) is Taken.NO_HELPER
    assert signatures.read() == []
    assert pending().address == HERE


def test_what_is_dropped_has_no_answer_and_keeps_its_place(rig: Rig) -> None:
    users = [f"user{number}" for number in range(MAX_OUTSTANDING_MESSAGES + 2)]
    for name in users:
        rig.signatures.ask(pending(name))
    asked = [question.number for question in rig.asked()]
    assert len(asked) == MAX_OUTSTANDING_MESSAGES
    rig.signatures.drop(lambda one: one.user in {users[0], users[2], users[-1]})
    assert rig.asked() == []
    names = [[one.user for one, _ in rig.answer(number)] for number in asked]
    assert names == [[], [users[1]], [], [users[3]]]
    (last,) = rig.asked()
    assert [one.user for one, _ in rig.answer(last.number)] == [users[-2]]
    assert rig.signatures.idle


def test_who_has_one_dropped_does_not_get_the_other_worker(rig: Rig) -> None:
    """gpg goes on with it, and nobody has asked how long."""
    rig.signatures.ask(pending("ada"))
    (first,) = rig.asked()
    rig.signatures.drop(lambda one: one.user == "ada")
    rig.signatures.ask(pending("ada"))
    assert rig.asked() == []
    rig.answer(first.number)
    assert len(rig.asked()) == 1
