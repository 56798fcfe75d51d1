"""Every system call of a capture, a packet filter or a program fails once.

Nothing but the error that the documents name comes out of it, and what says nothing has
done its work. When the failure is over, it can be done. What fails within a grant is in
tests/e2e/test_failing_calls.py; what the programs do that iptables and ipset are, is in
test_failing_programs.py.
"""

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from firewall.backends import KNOCK_PORT, left, make, to
from firewall.network import CLIENT, PATIENCE, STRANGER, Network
from lab.failures import ERRORS
from lab.injection import Call, Life, Work, live, needs_injection

from spassh.protocol.limits import DATAGRAM_SIZES
from spassh.protocol.packet import Gate
from spassh_server.capture import Capture
from spassh_server.firewall import Firewall, FirewallError
from spassh_server.firewall.ipset_element import Elements
from spassh_server.firewall.ipset_render import render_options
from spassh_server.firewall.libnftables import LibNftables
from spassh_server.firewall.run import run
from spassh_server.firewall.watch import Watch
from spassh_server.libpcap import CaptureError

HERE = to(CLIENT[4])
GATE = Gate(bytes(range(32)))
SECONDS = 300

State = Any
"""What a case has made before anything fails."""


class Case(NamedTuple):
    """What is done while a call fails, and what is looked at from another process."""

    step: Callable[[State], object]
    error: type[Exception] = FirewallError
    """What may come out of it."""
    finish: Callable[[Any, State], None] = lambda _result, _state: None
    """What is done with what has come of it, once nothing fails any more."""
    before: Callable[[], State] = lambda: None
    is_done: Callable[[Network], bool] = lambda _: True
    """Whether the step has done its work."""
    keeps: Callable[[Network], bool] = lambda _: True
    """What holds even if the step has failed."""
    may_end: bool = False
    """Whether a library may end the process, and somebody starts it again."""
    is_repeated: bool = True
    """Whether the same process does it again; else the next one does."""
    every: bool = True
    """Whether each call fails in every way of the table; else in one of them."""

    def work(self, state: State, told: Callable[[], object]) -> Work:
        """Return what is done; `told` is called if it says that it has failed."""

        def work() -> Iterator[None]:
            has_failed, result = False, None
            try:
                result = self.step(state)
            except self.error:
                has_failed = True
            yield
            if has_failed:
                told()
                if not self.is_repeated:
                    return
                result = self.step(state)
            self.finish(result, state)

        return work


def granted() -> Firewall:
    firewall = make("nftables")
    firewall.prepare()
    firewall.grant(HERE, SECONDS, "ada")
    return firewall


def flushed() -> Firewall:
    """Have somebody load rules of their own."""
    firewall = granted()
    LibNftables().run("flush ruleset")
    return firewall


def nothing() -> Firewall:
    make("nftables").remove()
    return make("nftables")


def extend(firewall: Firewall) -> None:
    firewall.grant(HERE, 2 * SECONDS, "ada")


def is_extended(_: Network) -> bool:
    return left(make("nftables"))[HERE] > SECONDS


def stands(network: Network) -> bool:
    return make("nftables").in_place() and network.is_silent(STRANGER[4])


def shut(network: Network) -> bool:
    return network.is_silent(STRANGER[4])


def shut_and_granted(network: Network) -> bool:
    return shut(network) and set(left(make("nftables"))) == {HERE}


def capture(_: State) -> Capture:
    made = Capture("any", KNOCK_PORT, tag_key=GATE.tag_key)
    try:
        assert list(made.frames()) == []
        made.dropped()
    except BaseException:
        made.close()
        raise
    return made


def whole_capture(state: State) -> None:
    capture(state).close()


def hears(made: Capture, _: State) -> None:
    """See that it hears a genuine datagram, and no stray one that came before it."""
    body = bytes(DATAGRAM_SIZES[0] - 4)
    genuine = GATE.tag(body) + body
    heard: list[bytes] = []
    with closing(made), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for payload in (b"stray", genuine):
            sock.sendto(payload, ("127.0.0.1", KNOCK_PORT))
        while not heard:
            assert select.select([made], [], [], PATIENCE)[0]
            heard += made.frames()
    assert [frame[-len(genuine) :] for frame in heard] == [genuine]


def a_program(_: State) -> None:
    """Run one as iptables and ipset are run, with something on its standard input."""
    assert run("nft", "-f", "-", stdin=b"list tables\n") == b""


def sets() -> None:
    make("iptables-legacy with ipset").remove()
    make("iptables-legacy with ipset").prepare()


def add_to_a_set(_: State) -> None:
    """A grant of ipset, as it is given where nothing fails."""
    elements = Elements()
    name, element = "spassh-t-a4", f"{CLIENT[4]},6:22"
    if not elements.add(name, element, SECONDS, "ada"):
        run("ipset", "-exist", "add", name, element, *render_options(SECONDS, "ada"))


def is_in_the_set(_: Network) -> bool:
    return HERE in left(make("iptables-legacy with ipset"))


def hear(_: State) -> None:
    watch = Watch()
    try:
        watch.drain()
    finally:
        watch.close()


CASES = {
    "capture": Case(whole_capture, CaptureError),
    "capture that hears": Case(capture, CaptureError, finish=hears),
    "a program": Case(a_program),
    "an element of ipset": Case(add_to_a_set, before=sets, is_done=is_in_the_set),
    "news of nftables": Case(hear, OSError),
    # A daemon that cannot start leaves, and another one starts. These have hundreds of
    # calls that are much alike, so they take the ways of the table in turn.
    "set-up": Case(
        lambda one: one.prepare(),
        before=nothing,
        is_done=stands,
        may_end=True,
        is_repeated=False,
        every=False,
    ),
    "start": Case(
        lambda one: one.prepare(),
        before=granted,
        is_done=shut_and_granted,
        keeps=shut,
        may_end=True,
        is_repeated=False,
        every=False,
    ),
    "repair": Case(
        lambda one: one.repair(),
        before=flushed,
        is_done=stands,
        may_end=True,
        is_repeated=False,
        every=False,
    ),
    "extension": Case(
        extend, before=granted, is_done=is_extended, keeps=shut, may_end=True
    ),
    "revocation": Case(
        lambda one: one.revoke(HERE),
        before=granted,
        is_done=lambda _: not make("nftables").grants(),
        keeps=shut,
        may_end=True,
    ),
    "removal": Case(
        lambda one: one.remove(),
        before=granted,
        is_done=lambda _: not make("nftables").in_place(),
        may_end=True,
    ),
}
_TOLD = b"told"


def judge(case: Case, network: Network, fault: tuple[Call, str], path: Path) -> Life:
    state = case.before()
    path.write_bytes(b"")
    life = live(case.work(state, lambda: path.write_bytes(_TOLD)), *fault)
    has_failed = path.read_bytes() == _TOLD
    if life.status and case.may_end and not life.marked:
        has_failed = True
    else:
        assert life.status == 0, fault
    assert case.keeps(network), fault
    if has_failed and (life.status or not case.is_repeated):
        # Whoever is started then puts everything right.
        case.step(make("nftables"))
    assert case.is_done(network), fault
    return life


def faults(case: Case) -> list[tuple[Call, str]]:
    calls = live(case.work(case.before(), lambda: None)).calls
    assert {call.name for call in calls if not call.process} <= ERRORS.keys()
    return [
        (call, how)
        for number, call in enumerate(calls)
        # What fails in a program is in test_failing_programs.py.
        if not call.process
        for ways in [ERRORS[call.name]]
        for how in (ways if case.every else ways[number % len(ways) :][:1])
    ]


@needs_injection
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CASES)
def test_a_call_that_fails_is_told_and_does_no_harm_later(
    network: Network, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    # What Python loads when it is first used is there then.
    state = case.before()
    case.finish(case.step(state), state)
    table = faults(case)
    assert table
    lives = [judge(case, network, fault, tmp_path / "told") for fault in table]
    # One that is waited for may come a call earlier or later.
    assert sum(one.failed for one in lives) >= len(lives) * 9 // 10
