"""Taking something out of a policy never lets more through."""

from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from spassh.protocol.request import Request
from spassh_server.policy import Approval, decide
from spassh_server.ports import Port
from spassh_server.users import Network, User

PORTS = [Port(6, 22), Port(6, 80), Port(17, 22), Port(17, 53)]
ADDRESSES = [bytes([10, 0, 0, n]) for n in range(4)] + [
    bytes.fromhex("20010db8") + bytes(11) + bytes([n]) for n in range(4)
]
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

requests = st.builds(
    Request,
    st.just(0),
    st.sampled_from([6, 17]),
    st.sampled_from([22, 53, 80, 443]),
    st.integers(0, 100),
    st.sampled_from([b"", *ADDRESSES]),
    st.sampled_from([0, 0, 0, 40_000]),
)
lifetimes = st.tuples(st.integers(1, 60), st.integers(1, 60))
policies = st.builds(
    lambda ports, lifetime, sources, any_address: User(
        "ada",
        (),
        frozenset(ports),
        min(lifetime),
        max(lifetime),
        tuple(sources),
        any_address,
    ),
    st.sets(st.sampled_from(PORTS)),
    lifetimes,
    st.lists(st.sampled_from(NETWORKS), unique=True),
    st.booleans(),
)


@st.composite
def shrunk(draw: st.DrawFn) -> tuple[User, User]:
    """Draw a policy, and one that has less of it."""
    whole = draw(policies)
    sources = list(whole.sources) or NETWORKS
    # No sources at all means anywhere, which is more, not less.
    fewer = draw(st.lists(st.sampled_from(sources), min_size=1, unique=True))
    lifetime = draw(st.integers(1, whole.lifetime))
    less = whole._replace(
        ports=frozenset(port for port in whole.ports if draw(st.booleans())),
        sources=whole.sources if draw(st.booleans()) else tuple(fewer),
        any_address=whole.any_address and draw(st.booleans()),
        lifetime=lifetime,
        max_lifetime=draw(st.integers(lifetime, whole.max_lifetime)),
    )
    return whole, less


@settings(deadline=None, max_examples=300)
@given(shrunk(), requests, st.sampled_from(ADDRESSES))
def test_shrinking_a_policy_never_grows_the_grants(
    policy: tuple[User, User], request: Request, source: bytes
) -> None:
    whole, less = policy
    after = decide(request, source, less)
    if isinstance(after, Approval):
        before = decide(request, source, whole)
        assert isinstance(before, Approval)
        assert before.grant == after.grant
        assert before.seconds >= after.seconds


@settings(deadline=None, max_examples=300)
@given(policies, requests, st.sampled_from(ADDRESSES))
def test_what_is_granted_is_within_every_rule_of_the_policy(
    user: User, request: Request, source: bytes
) -> None:
    decision = decide(request, source, user)
    if isinstance(decision, Approval):
        assert decision.grant.port in user.ports
        assert decision.grant.port == Port(request.protocol, request.port)
        assert decision.grant.address == (request.address or source)
        assert user.any_address or decision.grant.address == source
        assert 0 < decision.seconds <= user.max_lifetime
        assert not request.source_port
