from ipaddress import ip_address

import pytest
from unit.server.parties import HERE, HERE6, SSH, THERE, access, user

from spassh.protocol.request import Request
from spassh_server.firewall import Grant
from spassh_server.policy import Approval, Refusal, decide
from spassh_server.ports import Port
from spassh_server.users import User

EVERYTHING = user(
    ports=frozenset({SSH, Port(6, 443), Port(17, 53)}),
    lifetime=15,
    max_lifetime=600,
    any_address=True,
)


def reason(request: Request, who: User, source: bytes = HERE) -> str:
    decision = decide(request, source, who)
    assert isinstance(decision, Refusal)
    assert who.name == decision.user
    return decision.reason


def test_the_default_opens_ssh_for_the_source_of_the_packet() -> None:
    expected = Approval("ada", Grant(HERE, SSH), 15)
    assert expected == decide(access(), HERE, user())


def test_an_ipv6_source_is_granted_like_any_other() -> None:
    expected = Approval("ada", Grant(HERE6, SSH), 15)
    assert expected == decide(access(), HERE6, user())


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
    expected = Approval("ada", Grant(HERE, port), 15)
    assert expected == decide(request, HERE, EVERYTHING)


@pytest.mark.parametrize(
    ("wanted", "seconds"),
    [(0, 15), (1, 1), (15, 15), (16, 16), (599, 599), (600, 600), (86_400, 600)],
)
def test_a_lifetime_is_what_was_asked_for_up_to_the_cap(
    wanted: int, seconds: int
) -> None:
    decision = decide(access(lifetime=wanted), HERE, EVERYTHING)
    assert isinstance(decision, Approval)
    assert seconds == decision.seconds


def test_the_cap_holds_for_the_servers_own_lifetime_too() -> None:
    decision = decide(access(), HERE, user(lifetime=60, max_lifetime=30))
    assert isinstance(decision, Approval)
    assert decision.seconds == 30


def test_a_command_is_refused() -> None:
    command = Request(access().time, command=("reboot",))
    assert reason(command, EVERYTHING) == "commands are not allowed"


def test_a_single_flow_is_refused_rather_than_widened_to_an_address() -> None:
    words = "this server grants addresses, not single flows"
    assert words == reason(access(source_port=40_000), EVERYTHING)


def test_another_address_than_the_source_is_refused() -> None:
    words = "the address to allow is not the packet's source"
    assert words == reason(access(address=THERE), user())


def test_an_address_that_equals_the_source_is_granted() -> None:
    expected = Approval("ada", Grant(HERE, SSH), 15)
    assert expected == decide(access(address=HERE), HERE, user())


def test_another_address_is_granted_to_a_user_who_may() -> None:
    expected = Approval("ada", Grant(THERE, SSH), 15)
    assert expected == decide(access(address=THERE), HERE, EVERYTHING)


def test_an_address_of_the_other_family_is_another_address() -> None:
    assert reason(access(address=HERE6), user())
    expected = Approval("ada", Grant(HERE6, SSH), 15)
    assert expected == decide(access(address=HERE6), HERE, EVERYTHING)


def test_a_refusal_names_the_address_that_was_asked_for() -> None:
    decision = decide(access(address=THERE), HERE, user())
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
    assert allowed is isinstance(decide(access(), HERE, who), Approval)
    if not allowed:
        words = "the packet's source is not in the user's sources"
        assert words == reason(access(), who)


def test_sources_judge_the_packet_and_not_the_address_to_allow() -> None:
    who = EVERYTHING._replace(sources=user(sources=("192.0.2.0/24",)).sources)
    assert isinstance(decide(access(address=THERE), HERE, who), Approval)
    assert isinstance(decide(access(address=HERE), THERE, who), Refusal)


@pytest.mark.parametrize(
    "address",
    ["224.0.0.1", "239.255.255.255", "255.255.255.255", "0.0.0.0", "ff02::1", "::"],
)
def test_an_address_that_is_no_host_is_refused(address: str) -> None:
    wanted = ip_address(address).packed
    words = "not an address of one host"
    assert words == reason(access(), user(), source=wanted)
    assert words == reason(access(address=wanted), EVERYTHING)
