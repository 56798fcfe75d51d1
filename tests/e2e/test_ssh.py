"""The main job: ssh, and what runs over it, through a firewall that is closed."""

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest
from lab.inside import port_answers
from lab.network import CLIENT4, CLIENT6, SERVER4, SERVER6
from lab.programs import RELAY, Client, Spasshd

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

# What carries a session is nothing to the packet filter: each family has one way here,
# and test_programs.py has them all.
WAYS = {
    "ipv4-fdpass": ((), "v4.server.test", SERVER4, CLIENT4),
    "ipv6-relay": (RELAY, "v6.server.test", SERVER6, CLIENT6),
}

BACKENDS = {
    "nftables": ("nftables", True),
    "iptables-ipset": ("iptables", True),
    "iptables-plain": ("iptables", False),
}


def drop_by_default(lab: Lab, program: str) -> None:
    """Make the firewall that a careful administrator has already."""
    for family, icmp in (("", "icmp"), ("6", "icmpv6")):
        command = program.replace("ip", f"ip{family}", 1)
        for words in (
            ["-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED"],
            ["-A", "INPUT", "-i", "lo"],
            ["-A", "INPUT", "-p", icmp],
        ):
            lab.server.run([command, "-w", *words, "-j", "ACCEPT"])
        lab.server.run([command, "-w", "-P", "INPUT", "DROP"])


def open_again(lab: Lab, program: str) -> None:
    for family in ("", "6"):
        command = program.replace("ip", f"ip{family}", 1)
        lab.server.run([command, "-w", "-P", "INPUT", "ACCEPT"])
        lab.server.run([command, "-w", "-F", "INPUT"])


LEGACY = "legacy iptables drops, no protect"

SITUATIONS = {
    "open host, protect": (("--protect", "tcp/22"), ""),
    "iptables drops, no protect": ((), "iptables"),
    "iptables drops, protect": (("--protect", "tcp/22"), "iptables"),
    LEGACY: ((), "iptables-legacy"),
}


# Every back end in every situation, but for the drop of an iptables that is not the one
# of the iptables back end: spasshd.toml(5) says to use nftables there. And Debian's
# libraries, which change none of this, once with each kind of back end.
CASES = [
    ("pypi", situation, backend)
    for situation in SITUATIONS
    for backend in BACKENDS
    if situation != LEGACY or backend == "nftables"
] + [
    ("debian", "open host, protect", "nftables"),
    ("debian", "iptables drops, no protect", "iptables-ipset"),
]


@pytest.fixture(scope="module")
def labs(make_lab: Callable[[str], Lab]) -> dict[str, Lab]:
    return {stack: make_lab(stack) for stack in ("pypi", "debian")}


@pytest.fixture(scope="module", params=CASES, ids=" + ".join)
def case(
    request: pytest.FixtureRequest, labs: dict[str, Lab]
) -> Iterator[tuple[Lab, Spasshd]]:
    stack, situation, label = request.param
    lab = labs[stack]
    protect, foreign = SITUATIONS[situation]
    backend, ipset = BACKENDS[label]
    if foreign:
        drop_by_default(lab, foreign)
    spasshd = lab.spasshd("--backend", backend, *protect)
    if not ipset:
        spasshd.edit("backend =", "ipset = false\nbackend =")
    # So that none ends while a test looks at it.
    spasshd.edit("lifetime = 15 ", "lifetime = 300 ")
    spasshd.start()
    yield lab, spasshd
    assert spasshd.running.stop() == 0
    spasshd.verb("stop", "--open")
    if foreign:
        open_again(lab, foreign)


@pytest.fixture(scope="module")
def stack_lab(case: tuple[Lab, Spasshd]) -> Lab:
    return case[0]


@pytest.fixture(scope="module")
def server(case: tuple[Lab, Spasshd]) -> Spasshd:
    return case[1]


@pytest.fixture(scope="module")
def client(stack_lab: Lab, server: Spasshd) -> Client:
    return stack_lab.client(server)


@pytest.mark.parametrize("way", WAYS)
def test_ssh_works_and_only_for_the_client(
    stack_lab: Lab, server: Spasshd, client: Client, way: str
) -> None:
    server.flush()
    options, host, address, source = WAYS[way]
    assert not port_answers(stack_lab.client_host, address, 22, 0.3)

    said = client.ssh(*options, host, "echo", "hello")

    assert said.stdout == "hello\n"
    # On a slow machine the client has to try again, each time from another port, and
    # in the end for its whole address, as it has to behind some NATs.
    grants = server.status()["grants"]
    assert "flow" in {one["width"] for one in grants}
    for one in grants:
        assert (one["address"], one["port"]) == (source, "tcp/22")
        assert one["width"] in {"flow", "address"}
        assert 0 < one["seconds_left"] <= 300
    assert not port_answers(stack_lab.stranger, address, 22, 0.3)


def test_the_hole_closes_and_the_session_lives_on(
    stack_lab: Lab, server: Spasshd, client: Client
) -> None:
    server.flush()
    user_file = os.path.join(server.directory, "users.d", "alice.toml")
    with open(user_file, encoding="utf-8") as file:
        text = file.read()
    with open(user_file, "w", encoding="utf-8") as file:
        file.write(text.replace("# lifetime = 15 ", "lifetime = 2 "))
    server.verb("reload")
    argv = ["ssh", *client.ssh_options, "v4.server.test", "cat"]
    session = client.popen(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert session.stdin
    assert session.stdout
    try:
        session.stdin.write(b"before\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"before\n"

        server.wait_closed()

        assert not port_answers(stack_lab.client_host, SERVER4, 22, 0.3)
        session.stdin.write(b"after\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"after\n"
    finally:
        session.kill()
        session.communicate()
        with open(user_file, "w", encoding="utf-8") as file:
            file.write(text)
        server.verb("reload")
