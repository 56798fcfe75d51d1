"""The programs are killed at every step of a grant, and the hole closes on time.

A step is the entry of a system call by which a program does something that others can
see: the kernel's tables, a disk, or another program. What happens between two of them
nobody can see, so to die there is to die at the next one.

One of the programs is traced while a genuine packet comes, which tells its steps. Then
it is killed at each of them, on several servers side by side: most of the time is
waiting for the end of a grant. What would take more than a minute is in several parts.
"""

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest
from lab.inside import Silence, another_host, door, port_answers, udp
from lab.knocker import Knocker
from lab.network import CLIENT4, Host, Network, wait_for
from lab.programs import Spasshd
from lab.site import Site
from lab.syscalls import Step, children, end, is_there, traced

from spassh_server.firewall import Grant, Width
from spassh_server.ports import Port

from .conftest import BIN_DIRS

pytestmark = [pytest.mark.login, pytest.mark.netns]

AT_ONCE = 6
LIFETIME = 1
"""Seconds."""
SLACK = 2
"""Seconds; iptables counts whole ones."""

ELSEWHERE = socket.inet_aton("198.51.100.9")

UNSEEN = {
    # Whoever dies closes everything: to die before it is to die behind it.
    "close",
    *("brk", "mmap", "mremap", "munmap", "mprotect", "madvise", "futex"),
    *("access", "faccessat2", "fstat", "newfstatat", "statx", "lseek", "ioctl"),
    *("rt_sigprocmask", "rt_sigaction", "clock_nanosleep", "getpid", "fcntl"),
    *("pipe2", "poll", "epoll_create1", "epoll_ctl", "epoll_wait"),
}
"""Calls that change nothing outside of the program that makes them."""


class Case(NamedTuple):
    """Which programs die, and in what kind of a grant."""

    victim: str
    """`listener`, `granter`, or `both` at once."""
    settings: tuple[str, ...]
    """Of spasshd.toml: what stands there for its back end."""
    parts: int = 1
    """In how many tests the steps are taken."""
    user: str = ""
    """More of the user's file."""
    grant: Grant = Grant(socket.inet_aton(CLIENT4), Port(6, 22))
    to: str = ""
    """The address of an inner host that the port leads to."""


class Result(NamedTuple):
    """What became of a grant in which a program was killed."""

    reached: bool
    """Whether it died at the step, and not after all of them."""
    granted: bool
    """Whether the kernel had the grant then."""
    steps: list[Step]


class Victims(Site):
    """A server on which programs die, again and again."""

    def __init__(
        self, host: Host, address: str, client: Host, spasshd: Spasshd, case: Case
    ) -> None:
        super().__init__(host, address, spasshd)
        self._case = case
        self._client = client
        self._socket = udp(client)
        self._alice = Knocker(spasshd, "alice", "any_address = true", case.user)
        self._recorded = b""
        """The datagram that was under way at the last death."""
        self._was_granted = False

    def close(self) -> None:
        self._socket.close()

    def kill(self, step: Step | None) -> Result:
        """Kill the victim at a step of a grant, or behind the last one.

        Whether the kernel had the grant then can only be seen while it lasts. A machine
        that is too busy for that gets more time.
        """
        lifetime = LIFETIME
        while True:
            result = self._kill(step, lifetime)
            if result is not None:
                return result
            lifetime *= 2

    def _kill(self, step: Step | None, lifetime: int) -> Result | None:
        """Do so in a grant of that many seconds; return None if they were too few."""
        victim, port = self._case.victim, self._case.grant.port.number
        daemon = self.spasshd.start()
        self.expect_no_second_grant()
        fresh = self._alice.seal(lifetime=lifetime, address=ELSEWHERE, port=port)
        assert self.outcome(self._socket, fresh) == "granted"
        listener = daemon.process.pid
        (granter,) = children(listener)
        pid = listener if victim == "listener" else granter

        before = daemon.log.count("granted")
        self._recorded = self._alice.seal(lifetime=lifetime, port=port)
        path = os.path.join(self.spasshd.directory, "strace")
        how = signal.SIGSTOP if victim == "both" else signal.SIGKILL
        with traced(pid, path, step, how) as trace:
            sent = time.monotonic()
            self.send(self._socket, self._recorded)
            wait_for(
                lambda: (
                    trace.was_hit()
                    or (daemon.log.count("granted") > before and trace.is_over())
                ),
                f"the {victim} to die at {step}, or to be done",
            )
            reached = trace.was_hit()
            steps = trace.steps()
            if victim == "both":
                # The granter does nothing any more, so it cannot see the other one go.
                os.kill(pid, signal.SIGSTOP)
                end(listener)
            end(pid)
        self._was_granted = self._case.grant in {one.grant for one in self.grants()}
        seen = self._was_granted or time.monotonic() < sent + lifetime

        # The other one leaves by itself.
        assert daemon.process.wait(60) != 0
        wait_for(lambda: not is_there(granter), "the granter to leave")
        wait_for(
            lambda: (
                not self.grants() and not port_answers(self._client, self.address, port)
            ),
            f"the hole to close after the {victim} died at {step}",
            lifetime + SLACK,
            0.1,
        )
        return Result(reached, self._was_granted, steps) if seen else None

    def expect_no_second_grant(self) -> None:
        """Send what was under way at the last death once more."""
        if self._recorded:
            # What was killed before it was written down, nobody has accepted yet.
            fine = {"replayed"} if self._was_granted else {"replayed", "granted"}
            assert self.outcome(self._socket, self._recorded) in fine


_Kind = TypeVar("_Kind", bound=Victims)


def lead(spasshd: Spasshd, port: int, to: str) -> None:
    """Have a port lead to an inner host. It is on the same wire, hence `masquerade`."""
    with open(spasshd.config, "a", encoding="utf-8") as file:
        file.write(f'\n[[forward]]\nport = "tcp/{port}"\nto = "{to}"\n')
        file.write("to_port = 22\nmasquerade = true\n")
    spasshd.host.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])


@contextmanager
def servers(directory: str, case: Case, kind: type[_Kind]) -> Iterator[list[_Kind]]:
    """Make servers on one wire. A stranger tries to reach them, and never does."""
    port = case.grant.port.number
    with ExitStack() as stack:
        network = Network(BIN_DIRS["pypi"])
        stack.callback(network.close)
        hosts = [another_host(network, at) for at in range(AT_ONCE)]
        if case.to:
            inner, address = another_host(network, AT_ONCE)
            assert address == case.to
            stack.enter_context(door(inner))

        def install(host: Host, address: str) -> _Kind:
            path = os.path.join(directory, address)
            spasshd = Spasshd(host, path, "--protect", "tcp/22")
            spasshd.edit('backend = "auto"', "\n".join(case.settings))
            if case.to:
                lead(spasshd, port, case.to)
            made = kind(host, address, network.client, spasshd, case)
            stack.callback(made.close)
            stack.enter_context(door(host, port))
            assert port_answers(network.stranger, address, port)
            spasshd.start().stop()
            return made

        with ThreadPoolExecutor(AT_ONCE) as pool:
            made = list(pool.map(install, *zip(*hosts, strict=True)))
        addresses = [one.address for one in made]
        with Silence(network.stranger, addresses, port) as silence:
            yield made
        assert silence.tries
        assert silence.answered == []


def kill_at_steps(made: list[Victims], part: int, parts: int) -> list[Result]:
    """Kill the victims at every step of a grant that is in this part of them."""
    seen = [step for step in made[0].kill(None).steps if step.name not in UNSEEN]
    chosen = seen[part::parts]
    assert chosen

    def work(server: Victims, own: list[Step]) -> list[Result]:
        results = [server.kill(step) for step in own]
        server.spasshd.start()
        server.expect_no_second_grant()
        assert server.spasshd.running.stop() == 0
        return results

    shares = [chosen[at :: len(made)] for at in range(len(made))]
    with ThreadPoolExecutor(len(made)) as pool:
        return [one for share in pool.map(work, made, shares) for one in share]


NFTABLES = ('backend = "nftables"',)
IPSET = ('backend = "iptables"',)
TIMED_RULES = (*IPSET, "ipset = false")
ADDRESS = socket.inet_aton(CLIENT4)

CASES = {
    "listener": Case("listener", NFTABLES),
    "nftables": Case("granter", NFTABLES),
    "ipset": Case("granter", IPSET),
    "timed-rules": Case("granter", TIMED_RULES, parts=2),
    "once": Case(
        "granter",
        NFTABLES,
        user='widths = ["once"]',
        grant=Grant(ADDRESS, Port(6, 22), Width.ONCE),
    ),
    "forward": Case(
        "granter",
        NFTABLES,
        user='forwards = ["tcp/2222"]',
        grant=Grant(ADDRESS, Port(6, 2222)),
        to=f"192.0.2.{100 + AT_ONCE}",
    ),
    # Nobody is left who could take back what the kernel does not end by itself.
    "both": Case("both", TIMED_RULES, parts=2),
}


@pytest.mark.parametrize(
    ("name", "part"),
    [(name, part) for name in CASES for part in range(CASES[name].parts)],
)
def test_a_program_that_dies_within_a_grant_leaves_no_hole(
    tmp_path: Path, name: str, part: int
) -> None:
    case = CASES[name]
    with servers(str(tmp_path), case, Victims) as made:
        results = kill_at_steps(made, part, case.parts)
    # A granter that looks at its rules once more makes more calls than at another time.
    # Then it died behind the last of them.
    assert sum(not one.reached for one in results) <= 1 + len(results) // 4
    assert {one.granted for one in results} == {False, True}
