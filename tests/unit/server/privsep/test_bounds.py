from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.server.parties import HERE, HERE6, SSH, THERE

from spassh_server import config
from spassh_server.firewall import Grant, Width
from spassh_server.ports import Port
from spassh_server.privsep.bounds import Bounds
from spassh_server.privsep.message import GrantMessage

SETTINGS = config.parse(
    """
grant_ports = ["tcp/22", "udp/53"]
max_lifetime = 60
max_grants = 2
[[forward]]
port = "tcp/2222"
to = "10.0.0.5"
""",
    "/etc/spassh/spasshd.toml",
)


def wanted(
    address: bytes = HERE,
    port: Port = SSH,
    seconds: int = 15,
    *,
    source_port: int = 0,
    user: str = "ada",
) -> GrantMessage:
    width = Width.FLOW if source_port else Width.ADDRESS
    return GrantMessage(1, Grant(address, port, width, source_port), seconds, user)


@pytest.fixture
def bounds() -> Bounds:
    return Bounds(SETTINGS)


@pytest.mark.parametrize(
    ("port", "allowed"),
    [
        (SSH, True),
        (Port(17, 53), True),
        (Port(6, 2222), True),
        (Port(17, 22), False),
        (Port(6, 53), False),
        (Port(17, 2222), False),
        (Port(6, 80), False),
        (Port(6, 65535), False),
    ],
)
def test_only_a_port_of_the_configuration_is_granted(
    bounds: Bounds, port: Port, allowed: bool
) -> None:
    assert bounds.allow(wanted(port=port), 0) is allowed


def test_a_forwarded_port_is_granted_to_the_family_that_it_leads_to(
    bounds: Bounds,
) -> None:
    """For the other one, it would be a port of this host."""
    inner = Port(6, 2222)
    assert not bounds.allow(wanted(HERE6, inner), 0)
    assert bounds.allow(wanted(HERE, inner), 0)
    assert bounds.allow(wanted(HERE6), 0)


@pytest.mark.parametrize(
    ("seconds", "allowed"), [(1, True), (60, True), (61, False), (0xFFFFFFFF, False)]
)
def test_a_lifetime_is_not_over_the_longest(
    bounds: Bounds, seconds: int, allowed: bool
) -> None:
    assert bounds.allow(wanted(seconds=seconds), 0) is allowed


class TestTheNumberOfGrants:
    def test_is_bounded_while_they_live(self, bounds: Bounds) -> None:
        assert bounds.allow(wanted(HERE), 0)
        assert bounds.allow(wanted(THERE), 10)
        assert not bounds.allow(wanted(HERE6), 14.9)
        assert bounds.allow(wanted(HERE6), 15)
        assert not bounds.allow(wanted(HERE), 24.9)
        assert bounds.allow(wanted(HERE), 25)

    def test_is_that_of_all_users(self, bounds: Bounds) -> None:
        assert bounds.allow(wanted(HERE, user="ada"), 0)
        assert bounds.allow(wanted(THERE, user="bob"), 0)
        assert not bounds.allow(wanted(HERE6, user="eve"), 0)

    def test_counts_every_flow(self, bounds: Bounds) -> None:
        assert bounds.allow(wanted(source_port=1), 0)
        assert bounds.allow(wanted(source_port=2), 0)
        assert not bounds.allow(wanted(source_port=3), 0)
        assert not bounds.allow(wanted(), 0)

    def test_does_not_keep_a_live_one_from_being_extended(self, bounds: Bounds) -> None:
        for address in (HERE, THERE):
            assert bounds.allow(wanted(address), 0)
        assert bounds.allow(wanted(HERE), 14)
        assert bounds.allow(wanted(HERE6), 15)
        assert not bounds.allow(wanted(THERE), 28)
        assert bounds.allow(wanted(THERE), 29)

    def test_is_not_lowered_by_a_shorter_grant(self, bounds: Bounds) -> None:
        for address in (HERE, THERE):
            assert bounds.allow(wanted(address, seconds=60), 0)
            assert bounds.allow(wanted(address, seconds=1), 0)
        assert not bounds.allow(wanted(HERE6), 59)

    def test_is_not_raised_by_what_was_refused(self, bounds: Bounds) -> None:
        for port, seconds in ((Port(6, 80), 15), (SSH, 61)):
            for address in (HERE, THERE, HERE6):
                assert not bounds.allow(wanted(address, port, seconds), 0)
        assert bounds.allow(wanted(HERE), 0)
        assert bounds.allow(wanted(THERE), 0)

    def test_has_those_that_an_earlier_run_left(self, bounds: Bounds) -> None:
        assert bounds.adopt(wanted(HERE).grant, 60, 100)
        assert bounds.adopt(wanted(THERE).grant, 30, 100)
        assert not bounds.allow(wanted(HERE6), 129)
        assert bounds.allow(wanted(HERE6), 130)
        assert not bounds.allow(wanted(THERE), 131)

    def test_has_none_that_lasts_longer_than_any_can(self, bounds: Bounds) -> None:
        """A clock that was set back makes hours of the seconds that are left."""
        for address in (HERE, THERE):
            assert not bounds.adopt(wanted(address).grant, 61, 100)
        assert bounds.next_end() is None
        assert bounds.allow(wanted(HERE), 100)
        assert bounds.allow(wanted(THERE), 100)

    def test_has_none_that_was_taken_back(self, bounds: Bounds) -> None:
        for address in (HERE, THERE):
            assert bounds.allow(wanted(address), 0)
        bounds.forget(wanted(HERE, source_port=7).grant)
        assert not bounds.allow(wanted(HERE6), 1)
        bounds.forget(wanted(HERE).grant)
        assert bounds.allow(wanted(HERE6), 1)
        bounds.forget(wanted(HERE).grant)
        assert not bounds.allow(wanted(HERE), 1)

    def test_has_those_that_are_over_until_they_are_swept(self) -> None:
        """Else the granter would not know any more that they may be open."""
        bounds = Bounds(SETTINGS, swept=True)
        for address in (HERE, THERE):
            assert bounds.allow(wanted(address), 0)
        assert bounds.ended(14.9) == frozenset()
        assert not bounds.allow(wanted(HERE6), 15)
        assert bounds.ended(15) == {wanted(HERE).grant, wanted(THERE).grant}
        # Granted again, it is no longer over.
        assert bounds.allow(wanted(HERE), 15)
        assert bounds.ended(15) == {wanted(THERE).grant}
        bounds.forget(wanted(THERE).grant)
        assert bounds.ended(15) == frozenset()
        assert bounds.allow(wanted(HERE6), 15)

    @given(
        st.lists(
            st.tuples(st.integers(1, 9), st.integers(1, 60), st.integers(0, 20)),
            max_size=40,
        )
    )
    def test_is_never_over_the_limit(self, wishes: list[tuple[int, int, int]]) -> None:
        bounds, now = Bounds(SETTINGS), 0
        ends: dict[bytes, int] = {}
        for number, seconds, wait in wishes:
            now += wait
            address = ip_address(f"10.0.0.{number}").packed
            live = {one for one, end in ends.items() if end > now}
            allowed = bounds.allow(wanted(address, seconds=seconds), now)
            assert allowed is (address in live or len(live) < SETTINGS.max_grants)
            if allowed:
                ends[address] = max(now + seconds, ends.get(address, 0))


def commands(bounds: Bounds, now: float, user: str = "ada") -> int:
    """Count how many of 100 commands may run at `now`."""
    return sum(bounds.allow_command(user, now) for _ in range(100))


class TestCommands:
    def test_may_come_in_a_burst_and_then_one_a_second(self, bounds: Bounds) -> None:
        assert commands(bounds, 100.0) == 20
        assert commands(bounds, 100.9) == 0
        assert commands(bounds, 101) == 1
        assert commands(bounds, 1000) == 20

    def test_of_one_user_do_not_use_up_those_of_another(self, bounds: Bounds) -> None:
        assert commands(bounds, 100.0, "ada") == 20
        assert commands(bounds, 100.0, "bob") == 20

    def test_of_users_made_up_by_the_listener_get_no_further(
        self, bounds: Bounds
    ) -> None:
        assert sum(commands(bounds, 100.0, f"u{n}") for n in range(50)) == 80

    def test_do_not_count_as_grants(self, bounds: Bounds) -> None:
        commands(bounds, 0)
        assert bounds.allow(wanted(), 0)
