"""What the renderers are given in these tests: samples, and anything that may come."""

from hypothesis import strategies as st

from spassh_server.firewall import Grant, Settings
from spassh_server.ports import Port

SSH, DNS = Port(6, 22), Port(17, 53)
SETTINGS = Settings("spassh", (SSH, Port(6, 443), DNS), 62201, 0x2000_0000)
BARE = SETTINGS._replace(protect=())

GRANT4 = Grant(b"\xc0\x00\x02\x02", SSH)
GRANT6 = Grant(b"\x20\x01\x0d\xb8" + bytes(11) + b"\x02", DNS)

ports = st.builds(Port, st.sampled_from([6, 17]), st.integers(1, 65535))
names = st.from_regex(r"[a-z][a-z0-9-]{0,19}", fullmatch=True)
settings = st.builds(
    Settings,
    names,
    st.lists(ports, max_size=40).map(tuple),
    st.integers(1, 65535),
    st.integers(0, 31).map(lambda bit: 1 << bit),
)
grants = st.builds(
    Grant,
    st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)),
    ports,
)
seconds = st.integers(1, 2**31)
