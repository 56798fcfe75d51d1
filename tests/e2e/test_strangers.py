"""What strangers get: nothing. Whatever they send, and whatever they recorded."""

import os
from collections.abc import Iterator

import pytest
from lab.inside import port_answers
from lab.knocks import keys_of
from lab.network import CLIENT4, SERVER4, SERVER6, STRANGER4, wait_for
from lab.packets import datagrams, send
from lab.programs import Client, Spasshd, recording

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.keys import SECRET, decode_key
from spassh.protocol.packet import ClientKeys, Gate, seal
from spassh.protocol.request import TCP, Request
from spassh_server.clock import now_ms

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[Spasshd]:
    spasshd = lab.spasshd("--protect", "tcp/22")
    spasshd.start()
    yield spasshd
    assert spasshd.running.stop() == 0


@pytest.fixture(scope="module")
def client(lab: Lab, server: Spasshd) -> Client:
    client = lab.client(server)
    # One grant for each login: of flows, a slow machine needs several.
    client.set_profile('width = "address"')
    return client


@pytest.fixture(scope="module")
def recorded(lab: Lab, server: Spasshd, client: Client) -> bytes:
    """Record the datagram of a login, as anybody on the way can."""
    pcap = lab.path("login.pcap")
    with recording(lab.server, pcap, "udp"):
        client.ssh("v4.server.test", "true")
    return datagrams(pcap)[0].payload


def server_public(server: Spasshd) -> bytes:
    with open(os.path.join(server.directory, "server.key"), encoding="ascii") as file:
        return PrivateKey(decode_key(SECRET, file.read().strip())).public


def junk(server: Spasshd, recorded: bytes) -> dict[str, bytes]:
    """Make every kind of datagram that is not one of ours."""
    public = server_public(server)
    gate = Gate(public)
    access = Request(now_ms(), TCP, 22)
    stranger = ClientKeys(os.urandom(32), public, os.urandom(32))
    other_server = stranger._replace(server=PrivateKey(os.urandom(32)).public)
    garbage = os.urandom(32)
    body = gate.tag(garbage) + garbage + os.urandom(140)
    return {
        "empty": b"",
        "one byte": b"x",
        "truncated": recorded[:-1],
        "longer": recorded + b"\0",
        "65 kB": os.urandom(65_000),
        "random": os.urandom(192),
        "random, larger class": os.urandom(1200),
        "bit flipped": bytes([recorded[0] ^ 1]) + recorded[1:],
        "last bit flipped": recorded[:-1] + bytes([recorded[-1] ^ 0x80]),
        "right mac, garbage inside": body + gate.mac(body),
        "right mac, unknown key": seal(access, stranger, os.urandom(33)),
        "for another server": seal(access, other_server, os.urandom(33)),
    }


def test_no_datagram_of_a_stranger_is_answered_logged_or_harmful(
    lab: Lab, server: Spasshd, recorded: bytes
) -> None:
    log_before = server.running.log
    pcap = lab.path("answers.pcap")
    kinds = junk(server, recorded)
    outbound = f"ip src host {SERVER4} or (ip6 and src host {SERVER6} and not icmp6)"
    counters = server.status()["counters"]
    with recording(lab.stranger, pcap, "-Q", "in", outbound, "or icmp6[0] == 1"):
        for payload in kinds.values():
            for address in (SERVER4, SERVER6):
                send(lab.stranger, address, payload)
        wait_for(
            lambda: (
                server.status()["counters"].get("unauthentic", 0)
                >= counters.get("unauthentic", 0) + 4
            ),
            "the junk that passes the gate to be counted",
        )

    assert os.path.getsize(pcap) == 24, "the server answered a stranger"
    assert server.running.log == log_before
    assert server.running.process.poll() is None
    after = server.status()["counters"]
    assert after.get("bug", 0) == 0
    assert after["not-ours"] > counters.get("not-ours", 0)
    assert after.get("granted") == counters.get("granted")
    assert not port_answers(lab.stranger, SERVER4, 22, 0.3)


def test_a_replay_from_another_source_is_refused_and_logged_once(
    lab: Lab, server: Spasshd, recorded: bytes
) -> None:
    send(lab.stranger, SERVER4, recorded)

    server.running.wait_log(f"replayed user=alice address={STRANGER4}")
    # The answer comes after whatever else the daemon had to say.
    assert [one["address"] for one in server.status()["grants"]] in ([], [CLIENT4])
    assert server.running.log.count("replayed") == 1
    assert not port_answers(lab.stranger, SERVER4, 22, 0.3)


def test_a_replay_from_the_same_source_opens_nothing_and_extends_nothing(
    lab: Lab, server: Spasshd, recorded: bytes
) -> None:
    server.flush()
    before = server.status()["counters"].get("duplicate", 0)
    replays = server.running.log.count("replayed")

    send(lab.client_host, SERVER4, recorded)

    wait_for(
        lambda: server.status()["counters"].get("duplicate", 0) > before,
        "the duplicate to be counted",
    )
    assert server.status()["grants"] == []
    assert server.running.log.count("replayed") == replays
    assert not port_answers(lab.client_host, SERVER4, 22, 0.3)


def test_a_replay_is_refused_after_a_restart_too(
    lab: Lab, server: Spasshd, recorded: bytes
) -> None:
    server.running.stop()
    server.start()
    server.flush()

    send(lab.stranger, SERVER4, recorded)

    server.running.wait_log(f"replayed user=alice address={STRANGER4}")
    assert server.status()["grants"] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": -90_000}, "stale user=alice address=192.0.2.2 reason="),
        ({"time": 90_000}, "its clock is 90 s ahead"),
        ({"port": 80}, 'reason="tcp/80 is not in the user\'s ports"'),
        ({"address": bytes([198, 51, 100, 1])}, "is not the packet's source"),
    ],
)
def test_an_authentic_packet_that_is_refused_makes_one_line_with_the_reason(
    lab: Lab, server: Spasshd, client: Client, change: dict[str, object], words: str
) -> None:
    server.flush()
    shift = change.pop("time", 0) if "time" in change else 0
    assert isinstance(shift, int)
    request = Request(now_ms() + shift, TCP, 22)._replace(**change)  # type: ignore[arg-type]

    send(lab.client_host, SERVER4, seal(request, keys_of(client), os.urandom(33)))

    server.running.wait_log(words)
    assert server.running.log.count(words) == 1
    assert server.status()["grants"] == []
