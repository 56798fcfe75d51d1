"""What the renderers are given in these tests: samples, and anything that may come."""

from ipaddress import ip_network

from hypothesis import strategies as st

from spassh_server.firewall import Forward, Grant, Settings, Width
from spassh_server.ports import Port

SSH, DNS = Port(6, 22), Port(17, 53)
SETTINGS = Settings("spassh", (SSH, Port(6, 443), DNS), 62201, 0x2000_0000)
BARE = SETTINGS._replace(protect=())

GRANT4 = Grant(b"\xc0\x00\x02\x02", SSH)
GRANT6 = Grant(b"\x20\x01\x0d\xb8" + bytes(11) + b"\x02", DNS)

ports = st.builds(Port, st.sampled_from([6, 17]), st.integers(1, 65535))
port_lists = st.lists(ports, max_size=40).map(tuple)
addresses = st.one_of(
    st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)
)
networks = st.ip_addresses().flatmap(
    lambda one: st.integers(0, one.max_prefixlen).map(
        lambda bits: ip_network((one, bits), strict=False)
    )
)
forwards = st.builds(Forward, ports, addresses, st.integers(1, 65535), st.booleans())
names = st.from_regex(r"[a-z][a-z0-9-]{0,19}", fullmatch=True)
# Each field is named: of a named tuple, `builds` would make up those with a default.
settings = st.builds(
    Settings,
    name=names,
    protect=port_lists,
    knock_port=st.integers(1, 65535),
    mark=st.integers(0, 31).map(lambda bit: 1 << bit),
    ipset=st.booleans(),
    own_drop=st.booleans(),
    always_allow=st.lists(networks, max_size=5).map(tuple),
    grant_ports=port_lists.filter(bool),
    forwards=st.lists(
        forwards, max_size=5, unique_by=lambda one: (one.port, len(one.address))
    ).map(tuple),
    programs=st.just(("/sbin/ipfw", "/sbin/pfctl")),
    ipfw_rule=st.integers(1, 60000),
    trial=st.just(()),
)
grants = st.tuples(addresses, ports).map(lambda both: Grant(*both))
wide_grants = st.one_of(
    grants,
    grants.map(lambda grant: grant._replace(width=Width.ONCE)),
    st.tuples(grants, st.integers(1, 65535)).map(
        lambda both: both[0]._replace(width=Width.FLOW, source_port=both[1])
    ),
)
seconds = st.integers(1, 2**31)
