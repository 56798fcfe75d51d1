"""Grants and sessions that the administrator ends: revoke, --kill, flush."""

import signal
from collections.abc import Iterator

import pytest
from lab.inside import port_answers
from lab.knocks import knock
from lab.network import CLIENT6, SERVER4, SERVER6
from lab.programs import Client, Spasshd
from lab.sessions import session

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

CLOSED = 255
"""The exit status of ssh when its connection ends under it."""


@pytest.fixture(scope="module", params=["nftables", "iptables"])
def server(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Spasshd]:
    spasshd = lab.spasshd("--protect", "tcp/22", "--backend", request.param)
    # So that none ends while a test looks at it.
    spasshd.edit("lifetime = 15 ", "lifetime = 300 ")
    spasshd.start()
    yield spasshd
    assert spasshd.running.stop() == 0
    spasshd.verb("stop", "--open")


@pytest.fixture(scope="module")
def alice(lab: Lab, server: Spasshd) -> Client:
    return counted(lab.client(server, "alice"))


@pytest.fixture(scope="module")
def bob(lab: Lab, server: Spasshd) -> Client:
    return counted(lab.client(server, "bob"))


def counted(client: Client) -> Client:
    """Have one grant for each login: of flows, a slow machine needs several."""
    client.set_profile('width = "address"')
    return client


@pytest.fixture
def granted(server: Spasshd, alice: Client, bob: Client) -> Spasshd:
    """Have alice let in by IPv4, and bob by IPv6."""
    server.flush()
    knock(alice, SERVER4)
    knock(bob, SERVER6)
    server.wait_grants({"alice", "bob"})
    return server


def test_revoke_takes_back_what_one_user_has_and_the_next_knock_works(
    lab: Lab, granted: Spasshd, alice: Client
) -> None:
    assert granted.verb("revoke", "alice").stdout == "grants taken back: 1\n"

    assert not port_answers(lab.client_host, SERVER4, 22, 0.3)
    assert port_answers(lab.client_host, SERVER6, 22)
    assert alice.ssh("v4.server.test", "echo", "again").stdout == "again\n"


def test_revoke_takes_back_what_an_address_has(lab: Lab, granted: Spasshd) -> None:
    # Not in its usual spelling, as somebody may type it.
    spelled = CLIENT6.replace("::", ":0:0:0:0:0:").upper()
    assert granted.verb("revoke", spelled).stdout == "grants taken back: 1\n"

    assert [one["user"] for one in granted.status()["grants"]] == ["alice"]
    assert not port_answers(lab.client_host, SERVER6, 22, 0.3)


def test_flush_takes_everything_back(lab: Lab, granted: Spasshd) -> None:
    assert granted.verb("flush").stdout == "grants taken back: 2\n"

    assert granted.status()["grants"] == []
    for address in (SERVER4, SERVER6):
        assert not port_answers(lab.client_host, address, 22, 0.3)


def test_revoke_of_nobody_takes_nothing_back(granted: Spasshd) -> None:
    done = granted.verb("revoke", "nobody", check=False)
    assert (done.returncode, done.stdout) == (1, "grants taken back: 0\n")
    assert "error: no user is called nobody, and nothing was taken back" in done.stderr
    assert granted.verb("revoke", "192.0.2.200").stdout == "grants taken back: 0\n"
    for mistake in ("", "no/name", "0.0.0.0"):
        done = granted.verb("revoke", mistake, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "hint: give the name of a user, or an address" in done.stderr
    assert len(granted.status()["grants"]) == 2


def test_a_user_whose_file_is_gone_can_still_be_revoked(
    lab: Lab, granted: Spasshd
) -> None:
    client = counted(lab.client(granted, "gone"))
    granted.flush()
    with session(client, "v4.server.test") as theirs:
        granted.verb("user", "remove", "gone")
        killed = granted.verb("revoke", "--kill", "gone")
        assert killed.stdout == "grants taken back: 1\nconnections ended: 1\n"
        assert theirs.wait_ended() == CLOSED
    # Nothing is left to be found by that name.
    done = granted.verb("revoke", "--kill", "gone", check=False)
    assert done.returncode == 1


def test_revoke_leaves_sessions_alone_and_kill_ends_them(
    server: Spasshd, alice: Client, bob: Client
) -> None:
    server.flush()
    with (
        session(alice, "v4.server.test") as hers,
        session(bob, "v6.server.test") as his,
    ):
        server.verb("revoke", "alice")
        assert hers.lives()

        killed = server.verb("revoke", "--kill", "alice")

        assert killed.stdout == "grants taken back: 0\nconnections ended: 1\n"
        assert hers.wait_ended() == CLOSED
        assert his.lives()
        killed = server.verb("revoke", "--kill", CLIENT6)
        assert killed.stdout == "grants taken back: 1\nconnections ended: 1\n"
        assert his.wait_ended() == CLOSED


def test_a_restarted_daemon_knows_whose_the_grants_are(
    lab: Lab, granted: Spasshd, alice: Client
) -> None:
    with session(alice, "v4.server.test") as hers:
        granted.running.stop(signal.SIGKILL)
        granted.start()

        killed = granted.verb("revoke", "--kill", "alice")

        assert killed.stdout == "grants taken back: 1\nconnections ended: 1\n"
        assert hers.wait_ended() == CLOSED
    assert [one["user"] for one in granted.status()["grants"]] == ["bob"]
    assert not port_answers(lab.client_host, SERVER4, 22, 0.3)


def test_without_a_daemon_revoke_and_flush_say_so(lab: Lab) -> None:
    spasshd = lab.spasshd()
    for words in (("revoke", "alice"), ("flush",)):
        done = spasshd.verb(*words, check=False)
        assert (done.returncode, done.stdout) == (3, "")
        assert "spasshd is not running" in done.stderr
