from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.server.parties import HERE, NOW, SSH, THERE

from spassh_server import quota
from spassh_server.firewall import Grant, Width
from spassh_server.quota import GrantQuota, RequestQuota


def taken(requests: RequestQuota, times: int, now: int, user: str = "ada") -> int:
    return sum(requests.take(user, now) for _ in range(times))


class TestRequests:
    def test_may_come_in_a_burst(self) -> None:
        assert taken(RequestQuota(100, 5), 150, NOW) == 100

    @pytest.mark.parametrize(
        ("wait", "expected"),
        [(0, 0), (199, 0), (200, 1), (399, 1), (1000, 5), (20_000, 100), (10**9, 100)],
    )
    def test_come_back_with_time_up_to_a_burst(self, wait: int, expected: int) -> None:
        quota = RequestQuota(100, 5)
        taken(quota, 100, NOW)
        assert expected == taken(quota, 150, NOW + wait)

    def test_come_back_however_often_it_is_asked_meanwhile(self) -> None:
        quota = RequestQuota(1, 5)
        assert [quota.take("ada", NOW + at) for at in range(0, 401, 50)] == [
            at % 200 == 0 for at in range(0, 401, 50)
        ]

    def test_of_one_user_are_none_of_another(self) -> None:
        quota = RequestQuota(2, 1)
        assert taken(quota, 5, NOW) == 2
        assert taken(quota, 5, NOW, "bob") == 2

    def test_of_made_up_names_take_no_more_memory(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(quota, "_MOST_USERS", 10)
        requests = RequestQuota(1, 1)
        for number in range(100):
            assert requests.take(f"nobody{number}", NOW)
        assert len(requests._buckets) == 10

    def test_do_not_wait_for_a_clock_that_was_set_back(self) -> None:
        quota = RequestQuota(2, 1)
        assert taken(quota, 2, NOW) == 2
        assert taken(quota, 2, NOW - 10**9) == 0
        assert taken(quota, 2, NOW - 10**9 + 1000) == 1

    @given(st.integers(1, 9), st.integers(1, 9), st.lists(st.integers(0, 3000)))
    def test_are_never_more_than_burst_and_rate(
        self, burst: int, rate: int, waits: list[int]
    ) -> None:
        quota, now, count = RequestQuota(burst, rate), NOW, 0
        for wait in waits:
            now += wait
            count += quota.take("ada", now)
        assert count <= burst + rate * (now - NOW) / 1000


class TestGrants:
    ONE, OTHER = Grant(HERE, SSH), Grant(THERE, SSH)

    def test_are_counted_while_they_live(self) -> None:
        quota = GrantQuota(1)
        assert quota.allow("ada", self.ONE, 15, 100)
        assert not quota.allow("ada", self.OTHER, 15, 114.9)
        assert quota.allow("ada", self.OTHER, 15, 115)

    def test_may_always_be_extended_and_count_for_longer_then(self) -> None:
        quota = GrantQuota(1)
        assert quota.allow("ada", self.ONE, 15, 100)
        assert quota.allow("ada", self.ONE, 15, 110)
        assert not quota.allow("ada", self.OTHER, 15, 120)
        assert quota.allow("ada", self.OTHER, 15, 125)

    def test_that_are_over_leave_room_behind_one_that_lives(self) -> None:
        quota = GrantQuota(3)
        three = [Grant(HERE, SSH, Width.FLOW, number) for number in (1, 2, 3)]
        assert quota.allow("ada", three[0], 300, 100)
        assert quota.allow("ada", three[1], 15, 100)
        assert quota.allow("ada", three[2], 15, 105)
        assert not quota.allow("ada", self.ONE, 15, 114)
        assert quota.allow("ada", self.ONE, 15, 115)
        assert not quota.allow("ada", self.OTHER, 15, 119)
        assert quota.allow("ada", self.OTHER, 15, 120)

    def test_that_are_over_are_forgotten_from_time_to_time(self) -> None:
        quota = GrantQuota(100)
        for second in range(1000):
            one = Grant(HERE, SSH, Width.FLOW, 1 + second)
            assert quota.allow("ada", one, 15, second)
        assert len(quota._ends["ada"]) == 15

    def test_are_not_shortened_by_a_shorter_one(self) -> None:
        quota = GrantQuota(1)
        assert quota.allow("ada", self.ONE, 300, 100)
        assert quota.allow("ada", self.ONE, 1, 100)
        assert not quota.allow("ada", self.OTHER, 15, 399)

    def test_to_another_port_of_the_address_count(self) -> None:
        quota = GrantQuota(1)
        web = Grant(HERE, SSH._replace(number=80))
        assert quota.allow("ada", self.ONE, 15, 100)
        assert not quota.allow("ada", web, 15, 100)

    def test_of_one_user_are_none_of_another(self) -> None:
        quota = GrantQuota(1)
        assert quota.allow("ada", self.ONE, 15, 100)
        assert quota.allow("bob", self.OTHER, 15, 100)

    def test_that_were_refused_do_not_count(self) -> None:
        quota = GrantQuota(1)
        quota.allow("ada", self.ONE, 15, 100)
        assert not quota.allow("ada", self.OTHER, 999, 100)
        assert quota.allow("ada", self.OTHER, 15, 115)

    def test_of_one_source_port_and_of_another_count(self) -> None:
        quota = GrantQuota(2)
        flows = [Grant(HERE, SSH, Width.FLOW, number) for number in (1, 2, 3)]
        assert [quota.allow("ada", one, 15, 100) for one in flows] == [
            True,
            True,
            False,
        ]
        assert not quota.allow("ada", self.ONE, 15, 100)

    @pytest.mark.parametrize(
        ("user", "address", "kept"),
        [
            ("", "", ""),
            ("ada", "", "bob"),
            ("bob", "", "ada"),
            ("eve", "", "ada bob"),
            ("", "192.0.2.7", ""),
            ("", "198.51.100.9", "ada bob"),
            ("ada", "192.0.2.7", "bob"),
            ("ada", "198.51.100.9", "ada bob"),
        ],
    )
    def test_that_were_taken_back_do_not_count(
        self, user: str, address: str, kept: str
    ) -> None:
        quota = GrantQuota(1)
        for name in ("ada", "bob"):
            assert quota.allow(name, self.ONE, 300, 100)
        quota.forget(user, ip_address(address).packed if address else b"")
        full = [
            name
            for name in ("ada", "bob")
            if not quota.allow(name, self.OTHER, 15, 101)
        ]
        assert kept.split() == full

    def test_that_were_taken_back_leave_those_of_other_addresses(self) -> None:
        quota = GrantQuota(2)
        for grant in (self.ONE, self.OTHER):
            assert quota.allow("ada", grant, 300, 100)
        quota.forget("ada", HERE)
        third = Grant(HERE, SSH._replace(number=80))
        assert quota.allow("ada", third, 15, 101)
        assert not quota.allow("ada", self.ONE, 15, 101)

    def test_begin_when_they_are_given(self) -> None:
        quota = GrantQuota(1)
        quota.extend("ada", self.ONE, 15, 100)
        quota.extend("ada", self.ONE, 15, 110)
        assert not quota.allow("ada", self.OTHER, 15, 124)
