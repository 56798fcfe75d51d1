from ipaddress import ip_address
from typing import Any

import pytest
from unit.server.parties import (
    EVERY_WIDTH,
    HERE,
    HERE6,
    NOW,
    SSH,
    THERE,
    access,
    datagram,
    opened,
    user,
)

from spassh.protocol.request import Request
from spassh_server.commands import Command, check_argv, parse_pattern
from spassh_server.envelope import Target
from spassh_server.firewall import Forward, Grant, Width
from spassh_server.policy import (
    Approval,
    Approvals,
    Order,
    Refusal,
    choose_width,
    decide,
    decide_all,
    rules,
)
from spassh_server.ports import Port
from spassh_server.users import User

EVERYTHING = user(
    ports=frozenset({SSH, Port(6, 443), Port(17, 53)}),
    lifetime=15,
    max_lifetime=600,
    any_address=True,
    widths=EVERY_WIDTH,
)
ADDRESS = frozenset({Width.ADDRESS})
FLOW = frozenset({Width.FLOW})
ONCE = frozenset({Width.ONCE})
NONE: frozenset[Width] = frozenset()


def judge(
    request: Request | None = None,
    who: User | None = None,
    source: bytes = HERE,
    *,
    source_port: int = 40_000,
    now: int = NOW,
    widths: frozenset[Width] = EVERY_WIDTH,
) -> Approval | Order | Refusal:
    return decide(opened(request, who), datagram(source, source_port), now, widths)


def reason(
    request: Request,
    who: User,
    source: bytes = HERE,
    *,
    source_port: int = 40_000,
    now: int = NOW,
    widths: frozenset[Width] = EVERY_WIDTH,
) -> str:
    decision = judge(
        request, who, source, source_port=source_port, now=now, widths=widths
    )
    assert isinstance(decision, Refusal)
    assert who.name == decision.user
    return decision.reason


def test_the_default_opens_ssh_for_the_source_of_the_packet() -> None:
    assert judge() == Approval("ada", Grant(HERE, SSH, Width.ADDRESS, 0), 15)


def test_an_ipv6_source_is_granted_like_any_other() -> None:
    assert judge(source=HERE6) == Approval("ada", Grant(HERE6, SSH), 15)


@pytest.mark.parametrize("number", [1, 21, 23, 80, 2222, 22 << 8, 65535])
def test_only_the_listed_port_is_granted(number: int) -> None:
    words = f"tcp/{number} is not in the user's ports"
    assert words == reason(access(port=number), user())


def test_a_port_is_listed_for_one_protocol() -> None:
    assert reason(access(protocol=17), user()) == "udp/22 is not in the user's ports"


def test_a_user_without_ports_is_granted_nothing() -> None:
    assert reason(access(), user(ports=frozenset())) == (
        "tcp/22 is not in the user's ports"
    )


@pytest.mark.parametrize("port", sorted(EVERYTHING.ports))
def test_each_listed_port_is_granted(port: Port) -> None:
    request = access(protocol=port.protocol, port=port.number)
    who = EVERYTHING._replace(widths=ADDRESS)
    assert judge(request, who) == Approval("ada", Grant(HERE, port), 15)


@pytest.mark.parametrize(
    ("wanted", "seconds"),
    [(0, 15), (1, 1), (15, 15), (16, 16), (599, 599), (600, 600), (86_400, 600)],
)
def test_a_lifetime_is_what_was_asked_for_up_to_the_cap(
    wanted: int, seconds: int
) -> None:
    decision = judge(access(lifetime=wanted), EVERYTHING)
    assert isinstance(decision, Approval)
    assert seconds == decision.seconds


def test_the_cap_holds_for_the_servers_own_lifetime_too() -> None:
    decision = judge(access(), user(lifetime=60, max_lifetime=30))
    assert isinstance(decision, Approval)
    assert decision.seconds == 30


def test_another_address_than_the_source_is_refused() -> None:
    words = "the address to allow is not the packet's source"
    assert words == reason(access(address=THERE), user())


def test_an_address_that_equals_the_source_is_granted() -> None:
    assert judge(access(address=HERE)) == Approval("ada", Grant(HERE, SSH), 15)


def test_another_address_is_granted_to_a_user_who_may() -> None:
    who = user(any_address=True)
    assert judge(access(address=THERE), who) == Approval("ada", Grant(THERE, SSH), 15)


def test_an_address_of_the_other_family_is_another_address() -> None:
    assert reason(access(address=HERE6), user())
    who = user(any_address=True)
    assert judge(access(address=HERE6), who) == Approval("ada", Grant(HERE6, SSH), 15)


def test_a_refusal_names_the_address_that_was_asked_for() -> None:
    decision = judge(access(address=THERE))
    assert isinstance(decision, Refusal)
    assert decision.address == THERE


@pytest.mark.parametrize(
    ("sources", "allowed"),
    [
        ((), True),
        (("192.0.2.7/32",), True),
        (("192.0.2.0/24",), True),
        (("198.51.100.0/24", "192.0.2.0/24"), True),
        (("0.0.0.0/0",), True),
        (("192.0.2.8/32",), False),
        (("198.51.100.0/24",), False),
        (("::/0",), False),
        (("2001:db8::/32",), False),
        (("::ffff:192.0.2.0/120",), False),
    ],
)
def test_a_packet_has_to_come_from_the_users_sources(
    sources: tuple[str, ...], allowed: bool
) -> None:
    who = user(sources=sources)
    assert allowed is isinstance(judge(access(), who), Approval)
    if not allowed:
        words = "the packet's source is not in the user's sources"
        assert words == reason(access(), who)


def test_sources_judge_the_packet_and_not_the_address_to_allow() -> None:
    who = EVERYTHING._replace(sources=user(sources=("192.0.2.0/24",)).sources)
    assert isinstance(judge(access(address=THERE), who), Approval)
    assert isinstance(judge(access(address=HERE), who, source=THERE), Refusal)


NO_HOSTS = [
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "0.0.0.0",
    "ff02::1",
    "::",
    "::ffff:192.0.2.7",
]


@pytest.mark.parametrize("address", NO_HOSTS)
def test_an_address_that_is_no_host_is_refused(address: str) -> None:
    wanted = ip_address(address).packed
    words = "not an address of one host"
    assert words == reason(access(), user(), source=wanted)
    assert words == reason(access(address=wanted), EVERYTHING)


class TestTime:
    """Who is let in from when to when: the first instant counts, the last does not."""

    @pytest.mark.parametrize(
        ("now", "allowed"),
        [(0, False), (NOW - 1, False), (NOW, True), (NOW + 1, True)],
    )
    def test_a_user_is_let_in_from_not_before_on(self, now: int, allowed: bool) -> None:
        who = user(not_before=NOW)
        assert allowed is isinstance(judge(access(), who, now=now), Approval)
        if not allowed:
            words = "the user is not allowed in yet"
            assert words == reason(access(), who, now=now)

    @pytest.mark.parametrize(
        ("now", "allowed"),
        [(0, True), (NOW - 1, True), (NOW, False), (NOW + 1, False), (1 << 62, False)],
    )
    def test_a_user_expires_at_that_instant(self, now: int, allowed: bool) -> None:
        who = user(expires=NOW)
        assert allowed is isinstance(judge(access(), who, now=now), Approval)
        if not allowed:
            assert reason(access(), who, now=now) == "the user has expired"

    @pytest.mark.parametrize(
        ("now", "allowed"), [(0, True), (NOW - 1, True), (NOW, False), (NOW + 1, False)]
    )
    def test_a_key_expires_at_that_instant(self, now: int, allowed: bool) -> None:
        key = user().keys[0]._replace(expires=NOW)
        who = user(keys=(key,))
        assert allowed is isinstance(judge(access(), who, now=now), Approval)
        if not allowed:
            assert reason(access(), who, now=now) == "the user's key has expired"

    @pytest.mark.parametrize(
        ("left", "seconds"), [(1, 1), (1000, 1), (1001, 2), (14_001, 15), (60_000, 15)]
    )
    def test_a_grant_does_not_outlive_who_asked_for_it(
        self, left: int, seconds: int
    ) -> None:
        key = user().keys[0]._replace(expires=NOW + left)
        for who in (user(expires=NOW + left), user(keys=(key,))):
            decision = judge(access(), who, now=NOW)
            assert isinstance(decision, Approval)
            assert decision.seconds == seconds

    def test_the_key_that_was_used_counts_and_no_other(self) -> None:
        good = user().keys[0]
        ended = good._replace(public=b"o" * 32, expires=NOW - 1)
        who = user(keys=(ended, good))
        request = opened(None, who)
        assert request.key is ended
        for key, kind in ((ended, Refusal), (good, Approval)):
            used = request._replace(key=key)
            assert isinstance(decide(used, datagram(), NOW, EVERY_WIDTH), kind)

    def test_no_end_is_no_end(self) -> None:
        for now in (0, NOW, (1 << 63) - 1):
            assert isinstance(judge(now=now), Approval)

    def test_the_clock_of_the_request_does_not_count(self) -> None:
        """It is the client's own."""
        who = user(expires=NOW)
        assert isinstance(judge(access(time=NOW - 60_000), who, now=NOW), Refusal)
        who = user(not_before=NOW + 1)
        assert isinstance(judge(access(time=NOW + 60_000), who, now=NOW), Refusal)

    @pytest.mark.parametrize("change", [{"expires": NOW}, {"not_before": NOW + 1}])
    def test_commands_end_and_begin_as_well(self, change: dict[str, Any]) -> None:
        who = user(commands=(UPTIME,), **change)
        assert isinstance(judge(run("/usr/bin/uptime"), who), Refusal)


FLOWS = user(widths=FLOW)
FLOW_OR_ADDRESS = user(widths=FLOW | ADDRESS)
ONCE_OR_ADDRESS = user(widths=ONCE | ADDRESS)
ALL = user(widths=EVERY_WIDTH)
NO_FLOW = EVERY_WIDTH - FLOW
NO_ONCE = EVERY_WIDTH - ONCE
FLOWING = access(source_port=40_000)
NAMELESS = access()


class TestWidth:
    """The narrowest that the user may have, the filter can do and the client can use.

    The packet comes from port 40000 here.
    """

    @pytest.mark.parametrize(
        ("who", "request_", "able", "expected"),
        [
            (FLOWS, FLOWING, EVERY_WIDTH, Width.FLOW),
            (FLOW_OR_ADDRESS, FLOWING, EVERY_WIDTH, Width.FLOW),
            (ALL, FLOWING, EVERY_WIDTH, Width.FLOW),
            (FLOW_OR_ADDRESS, NAMELESS, EVERY_WIDTH, Width.ADDRESS),
            (ALL, NAMELESS, EVERY_WIDTH, Width.ONCE),
            (ONCE_OR_ADDRESS, NAMELESS, EVERY_WIDTH, Width.ONCE),
            (ONCE_OR_ADDRESS, FLOWING, EVERY_WIDTH, Width.ONCE),
            (user(widths=ADDRESS), FLOWING, EVERY_WIDTH, Width.ADDRESS),
            (ALL, FLOWING, NO_FLOW, Width.ONCE),
            (ALL, FLOWING, NO_ONCE, Width.FLOW),
            (ALL, NAMELESS, NO_ONCE, Width.ADDRESS),
            (ALL, NAMELESS, ADDRESS, Width.ADDRESS),
            (ONCE_OR_ADDRESS, NAMELESS, NO_ONCE, Width.ADDRESS),
            (FLOW_OR_ADDRESS, FLOWING, ADDRESS, Width.ADDRESS),
        ],
    )
    def test_is_the_narrowest_that_works(
        self, who: User, request_: Request, able: frozenset[Width], expected: Width
    ) -> None:
        decision = judge(request_, who, widths=able)
        named = 40_000 if expected is Width.FLOW else 0
        assert decision == Approval("ada", Grant(HERE, SSH, expected, named), 15)
        asked = opened(request_, who)
        assert choose_width(asked, datagram(), able) is expected

    @pytest.mark.parametrize(
        ("who", "request_", "able"),
        [
            (FLOWS, FLOWING, NO_FLOW),
            (user(widths=ONCE), NAMELESS, NO_ONCE),
            (user(widths=ONCE | FLOW), FLOWING, ADDRESS),
            (ALL, FLOWING, NONE),
            (user(widths=NONE), FLOWING, EVERY_WIDTH),
        ],
    )
    def test_that_the_filter_cannot_do_is_never_made_a_wider_one(
        self, who: User, request_: Request, able: frozenset[Width]
    ) -> None:
        words = "the packet filter has none of the user's widths"
        assert words == reason(request_, who, widths=able)

    def test_of_a_flow_needs_a_source_port(self) -> None:
        words = "the user's widths take a source port, and the request names none"
        assert words == reason(NAMELESS, FLOWS)
        # Once is the user's and not the filter's: that leaves the flow alone.
        who = user(widths=FLOW | ONCE)
        assert words == reason(NAMELESS, who, widths=NO_ONCE)

    @pytest.mark.parametrize("seen", [0, 1, 39_999, 40_001, 65_535])
    def test_of_a_flow_behind_a_nat_that_rewrites_ports(self, seen: int) -> None:
        words = f"a NAT rewrites ports: 40000 became {seen}"
        assert words == reason(FLOWING, FLOWS, source_port=seen)
        for who, width in ((FLOW_OR_ADDRESS, Width.ADDRESS), (ALL, Width.ONCE)):
            decision = judge(FLOWING, who, source_port=seen)
            assert decision == Approval("ada", Grant(HERE, SSH, width, 0), 15)

    def test_of_a_flow_takes_the_port_that_the_client_names(self) -> None:
        """And never the one that the packet happens to come from."""
        decision = judge(NAMELESS, FLOW_OR_ADDRESS, source_port=40_000)
        assert isinstance(decision, Approval)
        assert decision.grant.width is Width.ADDRESS
        assert decision.grant.source_port == 0

    @pytest.mark.parametrize("seen", [40_000, 1, 0])
    def test_of_a_flow_from_another_address_is_the_clients_word(
        self, seen: int
    ) -> None:
        """The packet has not come through that address's NAT: it says nothing."""
        who = user(any_address=True, widths=FLOW)
        request = access(address=THERE, source_port=40_000)
        expected = Approval("ada", Grant(THERE, SSH, Width.FLOW, 40_000), 15)
        assert judge(request, who, source_port=seen) == expected

    def test_of_a_flow_for_the_own_address_is_checked_if_it_is_named(self) -> None:
        who = user(any_address=True, widths=FLOW)
        request = access(address=HERE, source_port=40_000)
        assert isinstance(judge(request, who), Approval)
        words = "a NAT rewrites ports: 40000 became 40001"
        assert words == reason(request, who, source_port=40_001)

    def test_does_not_help_who_may_not_name_that_address(self) -> None:
        words = "the address to allow is not the packet's source"
        assert words == reason(access(address=THERE, source_port=40_000), FLOWS)


INNER = Port(6, 2222)
LED = user(
    ports=frozenset({SSH, INNER}),
    any_address=True,
    forwards=(Forward(INNER, ip_address("10.0.0.5").packed, 22),),
)


class TestForwards:
    def test_a_port_that_leads_on_is_granted_like_any_other(self) -> None:
        decision = judge(access(port=2222), LED)
        assert decision == Approval("ada", Grant(HERE, INNER), 15)

    def test_a_port_that_leads_on_is_refused_to_others(self) -> None:
        words = "tcp/2222 is not in the user's ports"
        assert words == reason(access(port=2222), user())

    def test_a_port_that_leads_on_for_ipv4_is_closed_for_ipv6(self) -> None:
        """It would be a port of the gateway itself."""
        words = "tcp/2222 leads to no host of the address's family"
        assert words == reason(access(port=2222), LED, source=HERE6)
        assert words == reason(access(port=2222, address=HERE6), LED)
        assert isinstance(judge(access(), LED, source=HERE6), Approval)

    def test_a_port_may_lead_on_for_both(self) -> None:
        other = LED.forwards[0]._replace(address=HERE6)
        who = LED._replace(forwards=(*LED.forwards, other))
        for source in (HERE, HERE6):
            assert isinstance(judge(access(port=2222), who, source=source), Approval)


UPTIME = Command("uptime", ("/usr/bin/uptime",), (), "nobody", 30)


def with_pattern(
    name: str, pattern: str, *argv: str, run_as: str = "nobody"
) -> Command:
    (placeholder,) = check_argv(argv)
    return Command(name, argv, ((placeholder, parse_pattern(pattern)),), run_as, 30)


RESTART = with_pattern(
    "restart", "nginx|php-fpm", "/usr/bin/systemctl", "restart", "{unit}"
)
OPERATOR = user(ports=frozenset(), commands=(UPTIME, RESTART))


def run(*argv: str) -> Request:
    return Request(NOW, command=argv)


class TestCommands:
    @pytest.mark.parametrize("argv", [("reboot",), ("/usr/bin/uptime",)])
    def test_are_off_unless_the_user_has_some(self, argv: tuple[str, ...]) -> None:
        assert reason(run(*argv), EVERYTHING) == "commands are not allowed"

    def test_that_are_the_users_are_ordered(self) -> None:
        expected = Order("ada", HERE, UPTIME, ("/usr/bin/uptime",))
        assert judge(run("/usr/bin/uptime"), OPERATOR) == expected

    def test_need_no_port_and_no_width(self) -> None:
        who = OPERATOR._replace(widths=NONE)
        decision = judge(run("/usr/bin/uptime"), who, widths=NONE)
        assert isinstance(decision, Order)

    @pytest.mark.parametrize("unit", ["nginx", "php-fpm"])
    def test_with_placeholders_are_ordered_as_they_were_asked_for(
        self, unit: str
    ) -> None:
        argv = ("/usr/bin/systemctl", "restart", unit)
        assert judge(run(*argv), OPERATOR) == Order("ada", HERE, RESTART, argv)

    @pytest.mark.parametrize(
        "argv",
        [
            ("uptime",),
            ("/usr/bin/uptime ",),
            ("/usr/bin/uptime\n",),
            ("/usr/bin//uptime",),
            ("/usr/bin/../bin/uptime",),
            ("/usr/bin/uptime", ""),
            ("/usr/bin/uptime", "-p"),
            ("/usr/bin/uptime;reboot",),
            ("/USR/BIN/UPTIME",),
            ("/usr/bin/systemctl",),
            ("/usr/bin/systemctl", "restart"),
            ("/usr/bin/systemctl", "restart", ""),
            ("/usr/bin/systemctl", "restart", "{unit}"),
            ("/usr/bin/systemctl", "restart", "nginx", "ssh"),
            ("/usr/bin/systemctl", "restart", "nginx ssh"),
            ("/usr/bin/systemctl", "restart", "nginx\n"),
            ("/usr/bin/systemctl", "restart", "nginx|php-fpm"),
            ("/usr/bin/systemctl", "restart", "nginxx"),
            ("/usr/bin/systemctl", "restart", "ssh"),
            ("/usr/bin/systemctl", "stop", "nginx"),
            ("/usr/bin/systemctl", "nginx", "restart"),
            ("restart",),
        ],
    )
    def test_that_are_nearly_the_users_are_refused(self, argv: tuple[str, ...]) -> None:
        words = "the command is none of the user's commands"
        assert reason(run(*argv), OPERATOR) == words

    def test_do_not_open_a_port(self) -> None:
        assert reason(access(), OPERATOR) == "tcp/22 is not in the user's ports"

    def test_come_from_the_users_sources(self) -> None:
        who = OPERATOR._replace(sources=user(sources=("198.51.100.0/24",)).sources)
        words = "the packet's source is not in the user's sources"
        assert reason(run("/usr/bin/uptime"), who) == words
        assert isinstance(judge(run("/usr/bin/uptime"), who, source=THERE), Order)

    @pytest.mark.parametrize("source", NO_HOSTS)
    def test_from_an_address_that_is_no_host_are_refused(self, source: str) -> None:
        """The granter leaves at such a message: a forged source would stop us."""
        address = ip_address(source).packed
        words = "not an address of one host"
        assert reason(run("/usr/bin/uptime"), OPERATOR, source=address) == words

    def test_are_tried_in_the_users_order(self) -> None:
        wide = with_pattern("wide", "[a-z]{1,9}", "/usr/bin/touch", "{what}")
        narrow = with_pattern("narrow", "a", "/usr/bin/touch", "{what}", run_as="web")
        for commands in ((wide, narrow), (narrow, wide)):
            decision = judge(run("/usr/bin/touch", "a"), user(commands=commands))
            assert isinstance(decision, Order)
            assert decision.command is commands[0]


def test_the_first_broken_rule_is_the_reason() -> None:
    """`spasshd explain` shows them all, in this order."""
    who = user(
        not_before=NOW + 1,
        expires=NOW,
        keys=(user().keys[0]._replace(expires=NOW),),
        sources=("198.51.100.0/24",),
        ports=frozenset(),
        forwards=LED.forwards,
    )
    request = access(address=HERE6, port=2222)
    broken = [
        wrong
        for kept, _, wrong in rules(opened(request, who), datagram(), NOW)
        if not kept
    ]
    assert broken == [
        "the user is not allowed in yet",
        "the user has expired",
        "the user's key has expired",
        "the packet's source is not in the user's sources",
        "the address to allow is not the packet's source",
        "tcp/2222 is not in the user's ports",
        "tcp/2222 leads to no host of the address's family",
    ]
    assert reason(request, who) == broken[0]


def test_every_rule_is_kept_by_what_is_granted() -> None:
    assert all(kept for kept, _, _ in rules(opened(), datagram(), NOW))


class TestSeveralPortsOfOnePacket:
    WEB = Port(6, 443)

    def judge(self, *ports: int, who: User = EVERYTHING) -> object:
        first, *others = (access(port=port) for port in ports)
        one = opened(first, who)._replace(others=tuple(others))
        return decide_all(one, datagram(), NOW, EVERY_WIDTH)

    def test_one_alone_is_as_ever(self) -> None:
        assert self.judge(22) == judge(access(), EVERYTHING)

    def test_are_all_granted(self) -> None:
        expected = tuple(judge(access(port=port), EVERYTHING) for port in (22, 443))
        assert self.judge(22, 443) == Approvals(expected)  # type: ignore[arg-type]

    @pytest.mark.parametrize("ports", [(22, 444), (444, 22), (22, 443, 444)])
    def test_are_all_refused_if_one_is(self, ports: tuple[int, ...]) -> None:
        decision = self.judge(*ports)
        assert isinstance(decision, Refusal)
        assert decision.reason == "tcp/444 is not in the user's ports"


class TestWhereAPortIsToLead:
    """fwknop's packets can say so; a native one never does."""

    FORWARD = Forward(Port(6, 2222), bytes([10, 0, 0, 5]), 22)
    GUIDED = user(ports=frozenset({SSH, Port(6, 2222)}), forwards=(FORWARD,))

    def judge(self, port: int, target: Target) -> object:
        one = opened(access(port=port), self.GUIDED)._replace(target=target)
        return decide(one, datagram(), NOW, EVERY_WIDTH)

    def test_there_it_leads(self) -> None:
        decision = self.judge(2222, Target("10.0.0.5", 22, is_here=False))
        assert decision == Approval("ada", Grant(HERE, Port(6, 2222)), 15)

    @pytest.mark.parametrize(
        ("port", "host", "number"),
        [
            (2222, "10.0.0.6", 22),
            (2222, "10.0.0.5", 23),
            (2222, "inner.example", 22),
            (22, "10.0.0.5", 22),
            (22, "192.0.2.1", 22),
        ],
    )
    def test_elsewhere_it_does_not(self, port: int, host: str, number: int) -> None:
        decision = self.judge(port, Target(host, number, is_here=False))
        assert isinstance(decision, Refusal)
        assert decision.reason == f"tcp/{port} does not lead to {host} port {number}"

    def test_a_port_of_this_host_leads_to_itself(self) -> None:
        decision = self.judge(22, Target("server.example", 22, is_here=True))
        assert isinstance(decision, Approval)
        assert decision.grant.port == SSH

    @pytest.mark.parametrize(("port", "number"), [(22, 23), (2222, 2222), (2222, 22)])
    def test_a_port_of_this_host_leads_to_no_other(
        self, port: int, number: int
    ) -> None:
        decision = self.judge(port, Target("10.0.0.5", number, is_here=True))
        assert isinstance(decision, Refusal)
        expected = f"tcp/{port} does not lead to port {number} of this host"
        assert decision.reason == expected
