"""Interfaces come late, flap, go away and come back; the daemon hears them all.

client                    server
late1 198.51.100.2 ------ 198.51.100.1 late0    comes and goes
eth0  192.0.2.2 ========= 192.0.2.1    eth0     is not listened to
"""

from collections.abc import Iterator

import pytest
from lab.knocker import noise
from lab.network import SERVER4, Host, wait_for
from lab.packets import send
from lab.programs import Client, Spasshd

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

LATE, LATER, LATE6 = "198.51.100.1", "198.51.100.77", "2001:db8:77::1"
CLIENT, CLIENT_LATE6 = "198.51.100.2", "2001:db8:77::2"


class Wire:
    """The wire that comes and goes."""

    def __init__(self, lab: Lab) -> None:
        self.server, self.client = lab.server, lab.client_host

    def plug(self) -> None:
        peer = ["peer", "name", "late0", "netns", self.server.name]
        self.client.run(["ip", "link", "add", "late1", "type", "veth", *peer])
        for host, name, v4, v6 in (
            (self.server, "late0", LATE, LATE6),
            (self.client, "late1", CLIENT, CLIENT_LATE6),
        ):
            host.run(["ip", "address", "add", f"{v4}/24", "dev", name])
            host.run(["ip", "address", "add", f"{v6}/64", "dev", name, "nodad"])
            host.run(["ip", "link", "set", name, "up"])

    def unplug(self) -> None:
        self.client.run(["ip", "link", "delete", "late1"], check=False)


@pytest.fixture
def wire(lab: Lab) -> Iterator[Wire]:
    wire = Wire(lab)
    yield wire
    wire.unplug()


@pytest.fixture
def server(lab: Lab) -> Iterator[Spasshd]:
    """Start the daemon before its interface is there."""
    spasshd = lab.spasshd("--protect", "tcp/22")
    spasshd.edit('interfaces = ["any"]', 'interfaces = ["late0", "later0"]')
    spasshd.start()
    yield spasshd
    spasshd.running.stop()
    spasshd.verb("stop", "--open", check=False)


@pytest.fixture
def client(lab: Lab, server: Spasshd) -> Client:
    client = lab.client()
    names = (LATE, LATER, LATE6, SERVER4)
    hosts = [word for name in names for word in ("--host", name)]
    client.accept(server.invite("alice"), *hosts)
    return client


def gets_in(client: Client, server: Spasshd, address: str) -> bool:
    """Tell whether a login works, which no earlier grant has opened the port for."""
    server.flush()
    done = client.ssh("-o", "ConnectTimeout=5", address, "echo", "in", check=False)
    return done.stdout == "in\n"


def test_the_daemon_is_ready_before_its_interface_and_hears_it_at_once(
    server: Spasshd, client: Client, wire: Wire
) -> None:
    assert "interfaces=late0,later0" in server.running.log
    wire.plug()
    assert gets_in(client, server, LATE)
    assert gets_in(client, server, LATE6)


def test_an_interface_that_was_deleted_is_heard_when_it_comes_back(
    server: Spasshd, client: Client, wire: Wire
) -> None:
    for _ in range(3):
        wire.plug()
        assert gets_in(client, server, LATE)
        wire.unplug()
    assert server.running.process.poll() is None


def test_a_link_that_flaps_is_heard_when_it_is_up(
    server: Spasshd, client: Client, wire: Wire
) -> None:
    wire.plug()
    assert gets_in(client, server, LATE)
    for _ in range(3):
        for state in ("down", "up"):
            wire.server.run(["ip", "link", "set", "late0", state])
    assert gets_in(client, server, LATE)


def test_an_interface_may_change_its_address(
    server: Spasshd, client: Client, wire: Wire
) -> None:
    wire.plug()
    wire.server.run(["ip", "address", "flush", "dev", "late0"])
    wire.server.run(["ip", "address", "add", f"{LATER}/24", "dev", "late0"])
    assert gets_in(client, server, LATER)


def rename(host: Host, old: str, new: str) -> None:
    for name, *change in ((old, "down"), (old, "name", new), (new, "up")):
        host.run(["ip", "link", "set", name, *change])


def not_ours(server: Spasshd) -> int:
    """Return how many packets the daemon has seen that were none for it."""
    counters: dict[str, int] = server.status()["counters"]
    return counters.get("not-ours", 0)


def test_an_interface_is_heard_while_it_has_the_name(
    lab: Lab, server: Spasshd, client: Client, wire: Wire
) -> None:
    wire.plug()
    rename(wire.server, "late0", "other0")
    send(lab.client_host, LATE, noise(server))
    rename(wire.server, "other0", "later0")
    # Frames are read in their order: this one comes after the other.
    assert gets_in(client, server, LATE)
    assert not_ours(server) == 0
    send(lab.client_host, LATE, noise(server))
    wait_for(lambda: not_ours(server) == 1, "a packet that is not ours")


def test_other_interfaces_are_not_listened_to(
    lab: Lab, server: Spasshd, client: Client, wire: Wire
) -> None:
    wire.plug()
    send(lab.client_host, SERVER4, noise(server))
    assert gets_in(client, server, LATE)
    assert not_ours(server) == 0
    send(lab.client_host, LATE, noise(server))
    wait_for(lambda: not_ours(server) == 1, "a packet that is not ours")


def test_check_says_what_is_waited_for(lab: Lab) -> None:
    spasshd = lab.spasshd()
    spasshd.edit('interfaces = ["any"]', 'interfaces = ["eth0", "late0"]')
    checked = spasshd.verb("check")
    assert "note: no interface 'late0' now: 'spasshd run' waits for it" in (
        checked.stdout
    )
    assert "'eth0'" not in checked.stdout


def test_the_name_any_needs_no_network_at_the_start(lab: Lab, wire: Wire) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22")
    lab.server.run(["ip", "link", "set", "eth0", "down"])
    try:
        spasshd.start()
        lab.server.run(["ip", "link", "set", "eth0", "up"])
        client = lab.client(spasshd)
        assert gets_in(client, spasshd, "v4.server.test")
    finally:
        lab.server.run(["ip", "link", "set", "eth0", "up"])
        spasshd.running.stop()
        spasshd.verb("stop", "--open")
