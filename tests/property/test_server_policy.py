"""Taking something out of a policy never lets more through.

For widths, which are tried from the narrowest to the widest, that takes two sentences.
Without one of them, no request is granted that was refused with it, and none gets a
width that was not in the policy. And without the widest of them, no request gets a
wider one than before. Without a narrow one it may: who takes "flow" out of
["flow", "address"] has written that addresses are to be granted.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from random import Random
from typing import NamedTuple, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from spassh.protocol.request import Request
from spassh_server.addresses import grantable
from spassh_server.commands import Command, match, parse_pattern
from spassh_server.datagram import Datagram
from spassh_server.envelope import Opened
from spassh_server.firewall import Forward, Network, Width
from spassh_server.policy import Approval, Order, Refusal, decide
from spassh_server.ports import Port
from spassh_server.users import User, UserKey

T = TypeVar("T")

PORTS = [Port(6, 22), Port(6, 80), Port(17, 22), Port(17, 53)]
ADDRESSES = [bytes([10, 0, 0, n]) for n in range(4)] + [
    bytes.fromhex("20010db8") + bytes(11) + bytes([n]) for n in range(4)
]
NO_HOSTS = [bytes(4), b"\xff" * 4, b"\xe0\0\0\1", bytes(16), b"\xff\x02" + bytes(14)]
NETWORKS: list[Network] = [
    ip_network(text)
    for text in (
        "10.0.0.0/30",
        "10.0.0.1/32",
        "10.0.0.2/31",
        "2001:db8::/64",
        "2001:db8::1/128",
        "0.0.0.0/0",
        "::/0",
    )
]
# Three that overlap: one word is allowed by two of them, as different accounts.
COMMANDS = [
    Command("up", ("/bin/up",), (), "nobody", 30),
    Command("do", ("/bin/do", "{a}"), (("a", parse_pattern("x|y")),), "web", 30),
    Command(
        "any", ("/bin/do", "{b}"), (("b", parse_pattern("[a-z]{1,3}")),), "root", 9
    ),
]
FORWARDS = [
    Forward(Port(6, 80), bytes([10, 1, 0, 1]), 80),
    Forward(Port(17, 53), ADDRESSES[-1], 53),
]
ARGVS = [
    ("/bin/up",),
    ("/bin/do", "x"),
    ("/bin/do", "xyz"),
    ("/bin/do",),
    ("/bin/up", ""),
]

NOW = 50
"""Times are from 0 to 100 here."""


CASES = 20
"""In one example: a case is drawn from a seed, which is 20 times faster."""

seeds = st.integers(0, (1 << 64) - 1)


class Case(NamedTuple):
    """A policy, and what it is to judge."""

    user: User
    request: Request
    datagram: Datagram
    widths: frozenset[Width]


def cases(random: Random) -> Iterator[Case]:
    for _ in range(CASES):
        source = random.choice(ADDRESSES * 4 + NO_HOSTS)
        yield Case(
            draw_user(random),
            draw_request(random),
            Datagram(source, random.choice([0, 1000, 40_000]), b""),
            frozenset(most(random, Width)),
        )


def most(random: Random, all_of_them: Iterable[T]) -> list[T]:
    """Return some of `all_of_them`, and mostly most of them.

    A policy that allows little refuses nearly everything, and shows nothing.
    """
    return [one for one in all_of_them if random.random() < 0.8]


def draw_request(random: Random) -> Request:
    if random.random() < 0.3:
        return Request(0, command=random.choice(ARGVS))
    return Request(
        0,
        random.choice([6, 6, 17]),
        random.choice([22, 22, 53, 80, 443]),
        random.randint(0, 100),
        random.choice([b""] * 20 + ADDRESSES + NO_HOSTS),
        random.choice([0, 0, 1000, 40_000]),
    )


def draw_user(random: Random) -> User:
    lifetime = random.randint(1, 60)
    expires = [0] * 8 + [100, NOW + 1, NOW, NOW - 1]
    return User(
        "ada",
        (UserKey(bytes(32), bytes(32), random.choice(expires)),),
        frozenset(most(random, PORTS)),
        lifetime,
        random.randint(lifetime, 60),
        tuple(most(random, NETWORKS)) * random.randint(0, 1),
        random.random() < 0.5,
        frozenset(most(random, Width)),
        random.choice([0] * 8 + [1, NOW - 1, NOW, NOW + 1]),
        random.choice(expires),
        tuple(most(random, COMMANDS)),
        tuple(most(random, FORWARDS)),
    )


def shrink(random: Random, whole: User) -> User:
    """Return a policy that has less of `whole`."""
    # No sources at all means anywhere, which is more, not less.
    sources = list(whole.sources) or NETWORKS
    fewer = tuple(random.sample(sources, random.randint(1, len(sources))))
    lifetime = random.randint(1, whole.lifetime)
    key = whole.keys[0]
    return whole._replace(
        keys=(key._replace(expires=end_earlier(random, key.expires)),),
        ports=frozenset(most(random, whole.ports)),
        sources=random.choice([whole.sources, fewer]),
        any_address=whole.any_address and random.random() < 0.5,
        lifetime=lifetime,
        max_lifetime=random.randint(lifetime, whole.max_lifetime),
        widths=frozenset(most(random, whole.widths)),
        not_before=max(whole.not_before, random.choice([0] * 8 + [NOW, NOW + 1])),
        expires=end_earlier(random, whole.expires),
        commands=tuple(most(random, whole.commands)),
    )


def end_earlier(random: Random, end: int) -> int:
    """Return an end that is not after `end`; 0 is never."""
    ends = [one for one in (NOW - 1, NOW, NOW + 1, 100) if not end or one <= end]
    return random.choice([end] * 8 + ends)


def judge(
    request: Request, datagram: Datagram, user: User, widths: frozenset[Width]
) -> Approval | Order | Refusal:
    opened = Opened(request, user, user.keys[0], bytes(32))
    return decide(opened, datagram, NOW, widths)


@settings(deadline=None)
@given(seeds)
def test_shrinking_a_policy_never_grows_the_grants(seed: int) -> None:
    random = Random(seed)
    for whole, request, datagram, widths in cases(random):
        less = shrink(random, whole)
        before = judge(request, datagram, whole, widths)
        after = judge(request, datagram, less, widths)
        if isinstance(after, Approval):
            assert isinstance(before, Approval)
            assert before.grant[:2] == after.grant[:2]
            assert before.seconds >= after.seconds
            assert after.grant.width in less.widths & widths <= whole.widths
        if isinstance(after, Order):
            assert isinstance(before, Order)
            assert before[:2] == after[:2]
            assert after.command in whole.commands


@settings(deadline=None)
@given(seeds, st.sampled_from(Width))
def test_cutting_the_widest_widths_off_never_widens_a_grant(
    seed: int, widest: Width
) -> None:
    narrow = frozenset(width for width in Width if width <= widest)
    for user, request, datagram, widths in cases(Random(seed)):
        before = judge(request, datagram, user, widths)
        for less, able in (
            (user._replace(widths=user.widths & narrow), widths),
            (user, widths & narrow),
        ):
            after = judge(request, datagram, less, able)
            assert after == before or isinstance(after, Refusal)


@settings(deadline=None)
@given(seeds)
def test_a_packet_filter_that_can_do_less_lets_nothing_through_that_was_refused(
    seed: int,
) -> None:
    for user, request, datagram, widths in cases(Random(seed)):
        able = judge(request, datagram, user, frozenset(Width))
        if isinstance(able, Refusal):
            assert isinstance(judge(request, datagram, user, widths), Refusal)


@settings(deadline=None)
@given(seeds)
def test_what_is_granted_is_within_every_rule_of_the_policy(seed: int) -> None:
    for case in cases(Random(seed)):
        decision = judge(case.request, case.datagram, case.user, case.widths)
        if isinstance(decision, Refusal):
            assert decision.reason
        else:
            check(decision, case)


def check(decision: Approval | Order, case: Case) -> None:
    user, request, datagram, widths = case
    source = datagram.source
    address = request.address or source
    assert grantable(address)
    assert user.not_before <= NOW
    assert user.expires == 0 or user.expires > NOW
    assert user.keys[0].expires == 0 or user.keys[0].expires > NOW
    if isinstance(decision, Order):
        assert decision.address == source
        assert decision.argv == request.command
        assert decision.command in user.commands
        assert match([decision.command], request.command)
        return
    grant = decision.grant
    assert not request.command
    assert grant.address == address
    assert user.any_address or grant.address == source
    assert grant.port in user.ports
    assert grant.port == Port(request.protocol, request.port)
    assert 0 < decision.seconds <= user.max_lifetime
    families = {len(one.address) for one in user.forwards if one.port == grant.port}
    assert not families or len(address) in families
    assert grant.width in user.widths & widths
    if grant.width is Width.FLOW:
        assert grant.source_port == request.source_port != 0
        assert grant.source_port == datagram.source_port or address != source
    else:
        assert grant.source_port == 0
