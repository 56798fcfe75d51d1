"""Either program is killed at every step of a grant, and the hole closes on time.

A step is the entry of a system call: what happens between two of them nobody else can
see. One of the programs is traced while a genuine packet comes, which tells its steps.
Then it is killed at each of them, on several servers side by side: most of the time is
waiting for the end of a grant.
"""

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from lab.inside import Silence, another_server, answers, door, udp
from lab.knocker import Knocker
from lab.network import CLIENT4, Host, Network, wait_for
from lab.programs import Spasshd
from lab.site import Site
from lab.syscalls import Step, children, end, is_there, traced

from spassh_server.firewall import Grant
from spassh_server.ports import Port

from .conftest import BIN_DIRS

pytestmark = [pytest.mark.login, pytest.mark.netns]

AT_ONCE = 6
LIFETIME = 1
SLACK = 2
"""Seconds; iptables counts whole ones, and this machine may be busy."""

GRANT = Grant(socket.inet_aton(CLIENT4), Port(6, 22))
ELSEWHERE = socket.inet_aton("198.51.100.9")


class Result(NamedTuple):
    """What became of a grant in which a program was killed."""

    reached: bool
    """Whether it died at the step, and not after all of them."""
    granted: bool
    """Whether the kernel had the grant by then."""
    steps: list[Step]


class Victims(Site):
    """A server on which one of the two programs dies, again and again."""

    def __init__(
        self, host: Host, address: str, client: Host, spasshd: Spasshd
    ) -> None:
        super().__init__(host, address, spasshd)
        self._client = client
        self._socket = udp(client)
        self._alice = Knocker(spasshd, "alice", "any_address = true")
        self._recorded = b""
        """The datagram that was under way at the last death."""
        self._was_granted = False

    def close(self) -> None:
        self._socket.close()

    def kill(self, name: str, step: Step | None) -> Result:
        """Kill a program at a step of a grant, or behind the last one."""
        daemon = self.spasshd.start()
        self.expect_no_second_grant()
        fresh = self._alice.seal(lifetime=LIFETIME, address=ELSEWHERE)
        assert self.outcome(self._socket, fresh) == "granted"
        listener = daemon.process.pid
        (granter,) = children(listener)
        pid = {"listener": listener, "granter": granter}[name]

        before = daemon.log.count("granted")
        self._recorded = self._alice.seal(lifetime=LIFETIME)
        path = os.path.join(self.spasshd.directory, "strace")
        with traced(pid, path, step) as trace:
            self.send(self._socket, self._recorded)
            wait_for(
                lambda: (
                    not is_there(pid)
                    or (daemon.log.count("granted") > before and trace.is_over())
                ),
                f"the {name} to die at {step}, or to be done",
            )
            reached = not is_there(pid)
            steps = trace.steps()
        end(pid)

        # The other one leaves by itself.
        assert daemon.process.wait(20) != 0
        wait_for(lambda: not is_there(granter), "the granter to leave")
        self._was_granted = GRANT in {active.grant for active in self.grants()}
        wait_for(
            lambda: not self.grants() and not answers(self._client, self.address),
            f"the hole to close after the {name} died at {step}",
            LIFETIME + SLACK,
        )
        return Result(reached, self._was_granted, steps)

    def expect_no_second_grant(self) -> None:
        """Send what was under way at the last death once more."""
        if self._recorded:
            # What was killed before it was written down, nobody has accepted yet.
            fine = {"replayed"} if self._was_granted else {"replayed", "granted"}
            assert self.outcome(self._socket, self._recorded) in fine


@contextmanager
def servers(directory: str, *lines: str) -> Iterator[list[Victims]]:
    """Make servers on one wire. A stranger tries to reach them, and never does."""
    with ExitStack() as stack:
        network = Network(BIN_DIRS["pypi"])
        stack.callback(network.close)
        hosts = [another_server(network, at) for at in range(AT_ONCE)]

        def install(host: Host, address: str) -> Victims:
            path = os.path.join(directory, address)
            spasshd = Spasshd(host, path, "--protect", "tcp/22")
            spasshd.edit('backend = "auto"', "\n".join(lines))
            made = Victims(host, address, network.client, spasshd)
            stack.callback(made.close)
            stack.enter_context(door(host))
            assert answers(network.stranger, address)
            spasshd.start().stop()
            return made

        with ThreadPoolExecutor(AT_ONCE) as pool:
            made = list(pool.map(install, *zip(*hosts, strict=True)))
        with Silence(network.stranger, [one.address for one in made]) as silence:
            yield made
        assert silence.tries
        assert silence.answered == []


def kill_at_steps(made: list[Victims], name: str, most: int) -> list[Result]:
    """Kill a program at every step of a grant, or at about `most` of them, evenly."""
    steps = made[0].kill(name, None).steps
    chosen = steps[:: -(-len(steps) // most)]

    def work(server: Victims, own: list[Step]) -> list[Result]:
        results = [server.kill(name, step) for step in own]
        server.spasshd.start()
        server.expect_no_second_grant()
        assert server.spasshd.running.stop() == 0
        return results

    shares = [chosen[at :: len(made)] for at in range(len(made))]
    with ThreadPoolExecutor(len(made)) as pool:
        return [one for share in pool.map(work, made, shares) for one in share]


EVERY = 1000
SAMPLE = 12


@pytest.mark.parametrize(
    ("name", "most", "lines"),
    [
        pytest.param("listener", EVERY, ['backend = "nftables"'], id="listener"),
        pytest.param("granter", EVERY, ['backend = "nftables"'], id="nftables"),
        pytest.param("granter", SAMPLE, ['backend = "iptables"'], id="ipset"),
        pytest.param(
            "granter",
            SAMPLE,
            ['backend = "iptables"', "ipset = false"],
            id="timed-rules",
        ),
    ],
)
def test_a_program_that_dies_within_a_grant_leaves_no_hole(
    tmp_path: Path, name: str, most: int, lines: list[str]
) -> None:
    with servers(str(tmp_path), *lines) as made:
        results = kill_at_steps(made, name, most)
    assert len(results) >= 8
    # The last calls may be others each time: then it died behind them.
    assert sum(not one.reached for one in results) <= 1 + len(results) // 10
    assert {one.granted for one in results} == {False, True}
