"""What pfctl is told, to the byte, and how its answers are read."""

import string
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.firewall.texts import DNS, GRANT4, GRANT6, SSH, grants, ports, settings

from spassh_server.firewall import Settings
from spassh_server.firewall.pf_render import (
    Entry,
    anchor_line,
    blockers,
    is_enabled,
    parse_ends,
    parse_labels,
    parse_table,
    render_ends,
    render_rules,
    render_ruleset,
    table_name,
)
from spassh_server.ports import Port

ALLOWED = set(string.ascii_letters + string.digits + ' -.:,()/<>_"#{}')
SETTINGS = Settings(
    "spassh",
    (SSH,),
    62201,
    1,
    always_allow=(ip_network("198.51.100.0/24"), ip_network("2001:db8:1::/48")),
    grant_ports=(SSH, DNS),
)
ENTRIES = [Entry(GRANT4, 1735689600, "alice"), Entry(GRANT6, 7, "")]

RULESET = """\
table <granted_tcp_22> persist { 192.0.2.2 }
table <granted_udp_53> persist { 2001:db8::2 }
table <always> { 198.51.100.0/24 2001:db8:1::/48 }
pass in quick proto tcp from <granted_tcp_22> to (self) port 22\
 flags S/SA keep state label "spassh 1/5 DIGEST"
pass in quick proto udp from <granted_udp_53> to (self) port 53\
 keep state label "spassh 2/5 DIGEST"
pass in quick proto tcp from <always> to (self) port 22\
 flags S/SA keep state label "spassh 3/5 DIGEST"
block drop in quick proto tcp from any to (self) port 22 label "spassh 4/5 DIGEST"
block drop in quick proto udp from any to (self) port 62201 label "spassh 5/5 DIGEST"
"""

ENDS = """\
# the ends of grants: no packet comes here
block in from 192.0.2.2 label "1735689600 tcp/22 alice"
block in from 2001:db8::2 label "7 udp/53"
"""

PRINTED_ENDS = """\
block drop in inet from 192.0.2.2 to any label "1735689600 tcp/22 alice"
block drop in inet6 from 2001:db8::2 to any label "7 udp/53" ridentifier 3
block drop in inet from 192.0.2.3 to any label "soon tcp/22"
block drop in inet from 192.0.2.3 to any label "7 tcp/0"
block drop in inet from <x> to any label "7 tcp/22"
block drop in inet from 192.0.2.3 to any label "7 tcp/22 two users"
block drop in inet from 192.0.2.3 to any
"""

MAIN = """\
scrub in all fragment reassemble
block drop all
block drop in quick from <bad> to any
anchor "spassh" all
block drop in quick from <worse> to any
"""


def test_an_anchor_is_loaded_with_all_that_it_has() -> None:
    text = render_ruleset(SETTINGS, ENTRIES)
    digest = parse_labels(text.splitlines()[-1])[0].split()[-1]
    assert text == RULESET.replace("DIGEST", digest)


def test_the_digest_tells_every_change_of_the_rules() -> None:
    nets = SETTINGS.always_allow
    changes = [
        SETTINGS,
        SETTINGS._replace(protect=(SSH, DNS)),
        SETTINGS._replace(grant_ports=(SSH, Port(17, 54))),
        SETTINGS._replace(knock_port=1),
        SETTINGS._replace(always_allow=nets[:1]),
        SETTINGS._replace(own_drop=False),
    ]
    labels = {parse_labels("\n".join(render_rules(one)))[0] for one in changes}
    assert len(labels) == len(changes)


def test_without_grants_a_table_is_emptied() -> None:
    assert "table <granted_tcp_22> persist { }\n" in render_ruleset(SETTINGS, [])


def test_without_a_drop_of_ours_nothing_is_blocked() -> None:
    assert "block" not in render_ruleset(SETTINGS._replace(own_drop=False), [])


def test_the_ends_of_grants_are_labels() -> None:
    assert render_ends(ENTRIES) == ENDS
    assert parse_ends(PRINTED_ENDS) == ENTRIES


def test_the_line_of_pf_conf() -> None:
    assert anchor_line("spassh") == 'anchor "spassh"'


def test_labels_are_read_where_there_are_none_too() -> None:
    text = 'block drop all\n\npass in quick all label "a b" ridentifier 7\n'
    assert parse_labels(text) == ["", "a b"]


def test_a_table_is_read() -> None:
    text = "   192.0.2.2\n   2001:db8::2\n   198.51.100.0/24\n"
    assert parse_table(text) == {GRANT4.address, GRANT6.address}


@pytest.mark.parametrize(
    ("main", "found"),
    [
        ("", None),
        (MAIN, ["block drop in quick from <bad> to any"]),
        (MAIN.replace('"spassh"', '"spassh/*"'), None),
        (MAIN.replace('"spassh"', '"spassh2"'), None),
        ('anchor "spassh" all\n', []),
        ('anchor "spassh" in on em0 all\n', []),
    ],
)
def test_what_comes_before_our_anchor_is_told(
    main: str, found: list[str] | None
) -> None:
    assert blockers("spassh", main) == found


def test_pf_is_enabled_or_not() -> None:
    line = "Status: {} for 0 days 00:00:01           Debug: Urgent\n\nState Table\n"
    assert is_enabled(line.format("Enabled"))
    assert not is_enabled(line.format("Disabled"))
    assert not is_enabled("No ALTQ support in kernel\n")


users = st.from_regex(r"[A-Za-z0-9._-]{0,32}", fullmatch=True)
entries = st.builds(Entry, grants, st.integers(1, 2**33), users)


@given(st.lists(entries, max_size=9))
def test_ends_that_were_written_are_read(some: list[Entry]) -> None:
    text = render_ends(some)
    assert set(text) <= ALLOWED | {"\n"}
    assert parse_ends(text) == some
    assert all(len(label) <= 63 for label in parse_labels(text))


@given(settings, st.lists(entries, max_size=9))
def test_no_byte_outside_the_alphabet_is_emitted(
    any_settings: Settings, some: list[Entry]
) -> None:
    text = render_ruleset(any_settings, some)
    assert set(text) <= ALLOWED | {"\n"}
    labels = parse_labels("\n".join(render_rules(any_settings)))
    assert len(set(labels)) == len(labels)
    assert all(len(label) <= 63 for label in labels)


@given(ports)
def test_the_name_of_a_table_is_short_enough(port: Port) -> None:
    assert len(table_name(port)) <= 31
