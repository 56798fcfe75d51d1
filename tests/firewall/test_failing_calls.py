"""Every system call that opens a capture, a packet filter or a program fails once.

Nothing but the error that the documents name comes out of it. When the failure is over,
the same process can do it, and take everything away.
"""

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from firewall.backends import KNOCK_PORT, left, make, to
from firewall.network import CLIENT, Network
from lab.failures import ERRORS, HARMLESS
from lab.network import wait_for
from lab.syscalls import Step, is_there, traced

from spassh_server.capture import Capture
from spassh_server.firewall import FirewallError
from spassh_server.firewall.run import run
from spassh_server.libpcap import CaptureError

HERE = to(CLIENT[4])
_WRONG = 70
"""The status of a process in which something came out that is no such error."""
_GO = {signal.SIGUSR1}
"""What a process waits for: a call that nothing here makes fail."""
_WAITING = {"rt_sigtimedwait"}
"""That call. Whoever looks on from now on may interrupt it, and it begins again."""
_MARK = "getppid"
"""The call between what may fail and what must not any more."""


def filter_packets() -> Iterator[None]:
    """Prepare it. What fails within a grant is in tests/e2e/test_failing_calls.py."""
    firewall = make("nftables")
    with suppress(FirewallError):
        firewall.prepare()
    yield
    firewall.prepare()
    firewall.grant(HERE, 30, "ada")
    assert set(left(firewall)) == {HERE}
    firewall.remove()
    assert not firewall.in_place()


def capture() -> Iterator[None]:
    def once() -> None:
        made = Capture("any", KNOCK_PORT, tag_key=bytes(8))
        try:
            assert list(made.frames()) == []
            made.dropped()
        finally:
            made.close()

    with suppress(CaptureError):
        once()
    yield
    once()


def a_program() -> Iterator[None]:
    """Run one as iptables and ipset are run, with something on its standard input."""

    def once() -> None:
        assert run("nft", "-f", "-", stdin=b"list tables\n") == b""

    with suppress(FirewallError):
        once()
    yield
    once()


Work = Callable[[], Iterator[None]]


def life(work: Work, path: Path, step: Step | None, error: str) -> list[Step]:
    """Do `work` in a process of which a step fails; return its steps up to the mark."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _GO)
    pid = os.fork()
    if not pid:
        _child(work)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with traced(pid, str(path), step, error) as trace:
        os.kill(pid, signal.SIGUSR1)
        wait_for(
            lambda: _MARK in [one.name for one in trace.steps()] or not is_there(pid),
            "the first half to be done",
        )
        steps = trace.steps()
    # Nobody looks on any more, so nothing fails any more.
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGUSR1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if work is filter_packets and status not in {0, _WRONG}:
        # libnftables ends the process that it is in where it can have no socket, or an
        # answer is cut. A service manager starts another one, as the next step does.
        return []
    assert status == 0, f"after {step} failed with {error}"
    return steps[: [one.name for one in steps].index(_MARK)]


def _child(work: Work) -> NoReturn:
    status = _WRONG
    try:
        signal.sigwait(_GO)
        for _ in work():
            os.getppid()
            signal.sigwait(_GO)
        status = 0
    except BaseException:  # noqa: BLE001 - it is shown, and the parent judges
        traceback.print_exc()
    finally:
        os._exit(status)


CASES = {"capture": capture, "nftables": filter_packets, "a program": a_program}
EVERY = {"nftables": 3}
"""Of its calls, which are hundreds and much alike, each third is made to fail."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CASES)
def test_a_call_that_fails_is_told_and_does_no_harm_later(
    network: Network, tmp_path: Path, name: str
) -> None:
    work, path = CASES[name], tmp_path / "strace"
    # What Python loads when it is first used is there then.
    list(work())
    steps = life(work, path, None, "")
    assert {step.name for step in steps} <= ERRORS.keys() | HARMLESS | _WAITING
    faults = [(one, error) for one in steps for error in ERRORS.get(one.name, ())[:1]]
    assert faults
    for step, error in faults[:: EVERY.get(name, 1)]:
        life(work, path, step, error)
