"""Every system call of a grant fails, in each way of a table, and no hole is left.

One of the programs is traced while a genuine packet comes, which tells its calls. Then
each of them is made to fail. The program may go on or leave; from outside, no hole is
open for longer than its lifetime, no packet is accepted twice, and the next genuine
one is let in: at once, or by the daemon that a service manager would start then.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from lab.failures import ERRORS, HARMLESS
from lab.inside import port_answers
from lab.network import wait_for
from lab.syscalls import Step, children, is_there, traced

from .test_faults import (
    ELSEWHERE,
    IPSET,
    LIFETIME,
    NFTABLES,
    SLACK,
    TIMED_RULES,
    Case,
    Victims,
    servers,
)

pytestmark = [pytest.mark.login, pytest.mark.netns, pytest.mark.timeout(600)]


class Result(NamedTuple):
    """What became of a grant in which a call failed."""

    failed: bool
    """Whether there was such a call."""
    left: bool
    """Whether the program left."""
    steps: list[Step]


class Failing(Victims):
    """A server on which calls fail, again and again."""

    def fail(self, step: Step | None, error: str) -> Result:
        """Let a step of a grant fail, or none."""
        lifetime = LIFETIME
        while True:
            result = self._fail(step, error, lifetime)
            if result is not None:
                return result
            lifetime *= 2

    def expect_no_second_grant(self) -> None:
        """Send what was under way when a call failed once more."""
        if self._recorded:
            fine = {"duplicate", "replayed", "stale"}
            if not self._was_granted:
                # It may never have been read, or the daemon left before it accepted it.
                fine |= {"granted"}
            assert self.outcome(self._socket, self._recorded) in fine

    def _fail(self, step: Step | None, error: str, lifetime: int) -> Result | None:
        """Do so in a grant of that many seconds; return None if they were too few."""
        port = self._case.grant.port.number
        daemon = self.spasshd.daemon
        if daemon is None or daemon.process.poll() is not None:
            daemon = self.spasshd.start()
        self.expect_no_second_grant()
        fresh = self._alice.seal(lifetime=lifetime, address=ELSEWHERE, port=port)
        assert self.outcome(self._socket, fresh) == "granted"
        listener = daemon.process.pid
        (granter,) = children(listener)
        pid = listener if self._case.victim == "listener" else granter

        before = daemon.log.count("granted")
        self._recorded = self._alice.seal(lifetime=lifetime, port=port)
        path = os.path.join(self.spasshd.directory, "strace")
        with traced(pid, path, step, error) as trace:
            sent = time.monotonic()
            self.send(self._socket, self._recorded)
            wait_for(
                lambda: (
                    (trace.has_failed() or daemon.log.count("granted") > before)
                    and trace.is_over()
                ),
                f"the {self._case.victim} to fail at {step}, or to be done",
            )
            failed, steps = trace.has_failed(), trace.steps()
        self._was_granted = self._case.grant in {one.grant for one in self.grants()}
        seen = self._was_granted or time.monotonic() < sent + lifetime

        left = not is_there(pid)
        if left:
            # The other one leaves by itself.
            assert daemon.process.wait(60) != 0
            wait_for(lambda: not is_there(granter), "the granter to leave")
        wait_for(
            lambda: (
                not self.grants() and not port_answers(self._client, self.address, port)
            ),
            f"the hole to close after {step} failed with {error}",
            lifetime + SLACK,
            0.1,
        )
        return Result(failed, left, steps) if seen else None


CASES = {
    "listener": Case("listener", NFTABLES),
    "nftables": Case("granter", NFTABLES),
    "ipset": Case("granter", IPSET),
    "timed-rules": Case("granter", TIMED_RULES, parts=3),
}


@pytest.mark.parametrize(
    ("name", "part"),
    [(name, part) for name in CASES for part in range(CASES[name].parts)],
)
def test_a_call_that_fails_within_a_grant_leaves_no_hole_and_locks_nobody_out(
    tmp_path: Path, name: str, part: int
) -> None:
    case = CASES[name]
    with servers(str(tmp_path), case, Failing) as made:
        # A granter that looks at its rules once more makes many more calls. It does so
        # when it has time, which is not in the same grant each time.
        traces = [made[0].fail(None, "").steps for _ in range(3)]
        steps = min(traces, key=len)
        assert {step.name for step in steps} <= ERRORS.keys() | HARMLESS
        faults = [
            (one, error)
            for one in steps
            if one.name not in HARMLESS
            for error in ERRORS[one.name]
        ]
        chosen = faults[part :: case.parts]
        assert chosen

        def work(server: Failing, own: list[tuple[Step, str]]) -> list[Result]:
            results = [server.fail(*one) for one in own]
            # The last one let the next genuine packet in as well.
            server.fail(None, "")
            assert server.spasshd.running.stop() == 0
            assert "bug" not in server.spasshd.running.log
            return results

        shares = [chosen[at :: len(made)] for at in range(len(made))]
        with ThreadPoolExecutor(len(made)) as pool:
            results = [one for share in pool.map(work, made, shares) for one in share]
    assert any(one.failed for one in results)
    assert not all(one.left for one in results)
