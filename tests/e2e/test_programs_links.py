"""Programs over links that delay and lose: each moves little, and all at once."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache

import pytest
from lab.inside import another_host
from lab.programs import Client, Spasshd
from lab.transfers import TRANSFERS, Transfer, make_tree, move, why_not
from lab.tunnel import echo_service

from .conftest import Lab

# What one test waits for is what all programs do at links of one delay.
pytestmark = [pytest.mark.login, pytest.mark.netns, pytest.mark.timeout(600)]

DELAYS = (0, 20, 200)
LOSSES = (0, 5, 20)
LINKS = [(delay, loss) for delay in DELAYS for loss in LOSSES if delay or loss]
"""The good one is that of test_programs.py."""
SEED = 7
SECONDS = 400

SMALL = 20_000
"""Bytes: a dozen segments."""

HEAVY = {"ansible", "borg"}
"""Seconds of processor time each. They see each delay and each loss once."""
THEIRS = {(0, 20), (20, 5), (200, 0)}

MANY_KNOCKS = "timeout = 60"
"""At the worst of these links, one try in two thousand still fails after 20 s."""
SURELY = {0: 1, 5: 4, 20: 10}
"""So many datagrams are not all lost, at each loss, in a hundred thousand tries."""

FIRST_MOSH_PORT = 60001

CASES = [
    (delay, loss, name)
    for delay, loss in LINKS
    for name in TRANSFERS
    if name not in HEAVY or (delay, loss) in THEIRS
]

Outcomes = dict[tuple[int, str], Future[None]]


def mosh_port(loss: int) -> int:
    return FIRST_MOSH_PORT + LOSSES.index(loss)


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[Spasshd]:
    ports = ["tcp/22", *(f"udp/{mosh_port(loss)}" for loss in LOSSES)]
    made = lab.spasshd(*(word for port in ports for word in ("--protect", port)))
    # mosh knocks first, and then its login takes longer than a grant lasts.
    made.edit("lifetime = 15 ", "lifetime = 300 ")
    made.start()
    with echo_service(lab.server):
        yield made


@pytest.fixture(scope="module")
def clients(lab: Lab, server: Spasshd) -> dict[int, Client]:
    """Return a client for each loss, on a host of its own."""
    made = {}
    for number, loss in enumerate(LOSSES):
        host, _ = another_host(lab.network, number)
        lab.network.name_hosts(host)
        client = Client(host, lab.path("home"), lab.sshd.user_key)
        names = ("--host", "v4.server.test", "--host", "v6.server.test")
        client.accept(server.invite(f"user{loss}"), *names)
        client.set_profile(MANY_KNOCKS)
        client.write_config()
        made[loss] = client
    server.verb("reload")
    return made


@pytest.fixture(scope="module")
def outcomes(lab: Lab, clients: dict[int, Client]) -> Callable[[int], Outcomes]:
    """Return what tells, for a delay, what came of all programs at all its links."""
    tree = make_tree(lab.path("tree"), SMALL, 2)
    cases = [case for case in CASES if not why_not(case[2])]

    def transfer(loss: int, name: str) -> Transfer:
        client = clients[loss]
        return Transfer(
            client,
            f"{client.directory}/config",
            "server.test",
            tree,
            lab.path(name.replace(" ", "")),
            SECONDS,
            mosh_port(loss),
            SURELY[loss],
        )

    @cache
    def run_all(delay: int) -> Outcomes:
        with ExitStack() as stack:
            for loss, client in clients.items():
                if (delay, loss) in LINKS:
                    bad = lab.network.impaired(delay, loss, SEED, client.host)
                    stack.enter_context(bad)
            pool = stack.enter_context(ThreadPoolExecutor(len(cases)))
            return {
                (loss, name): pool.submit(move, name, transfer(loss, name))
                for its_delay, loss, name in cases
                if its_delay == delay
            }

    return run_all


@pytest.mark.parametrize(("delay", "loss", "name"), CASES)
def test_a_program_moves_data_over_a_bad_link(
    outcomes: Callable[[int], Outcomes], delay: int, loss: int, name: str
) -> None:
    if why_not(name):
        pytest.skip(why_not(name))
    outcomes(delay)[loss, name].result()
