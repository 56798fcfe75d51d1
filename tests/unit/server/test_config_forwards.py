from ipaddress import ip_address

import pytest

from spassh_server.config_forwards import leads_nowhere, read_forwards
from spassh_server.firewall import Forward
from spassh_server.limits import MAX_FORWARDS
from spassh_server.ports import Port
from spassh_server.toml import ConfigError, read_toml

PATH = "/etc/spassh/spasshd.toml"
INNER = ip_address("10.0.0.5").packed
INNER6 = ip_address("2001:db8::5").packed
PORT = Port(6, 2222)


def read(text: str) -> tuple[Forward, ...]:
    return read_forwards(read_toml(text, PATH))


def entry(port: str = "tcp/2222", to: str = "10.0.0.5", more: str = "") -> str:
    return f'[[forward]]\nport = "{port}"\nto = "{to}"\n{more}\n'


def test_there_are_none_unless_told() -> None:
    assert read("") == ()
    assert read("forward = []") == ()


def test_the_port_stays_the_same_unless_told() -> None:
    assert read(entry()) == (Forward(PORT, INNER, 2222, masquerade=False),)


def test_everything_about_a_forward_is_read() -> None:
    text = entry("udp/51820", "2001:db8::5", "to_port = 65535\nmasquerade = true")
    expected = Forward(Port(17, 51820), INNER6, 65535, masquerade=True)
    assert read(text) == (expected,)


def test_a_port_leads_to_one_host_of_each_family() -> None:
    both = read(entry() + entry(to="2001:db8::5"))
    assert [one.address for one in both] == [INNER, INNER6]
    for text in (
        entry() + entry(to="2001:db8::5") + entry(to="10.0.0.6"),
        entry(to="2001:db8::5") + entry() + entry(to="2001:db8::6"),
    ):
        with pytest.raises(ConfigError) as caught:
            read(text)
        assert str(caught.value) == (
            f"{PATH}:10: port: tcp/2222 leads elsewhere already"
        )
        assert caught.value.hint == "take one out"


def test_the_same_number_of_the_other_protocol_is_another_port() -> None:
    assert len(read(entry() + entry("udp/2222"))) == 2


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("port = '2222'", "6: port: not a port: '2222'", 'write port = "tcp/2222"'),
        ("port = 2222", "6: port: expected a string", "write port"),
        ("port = 'tcp/0'", "6: port: not a port", "write port"),
        ("to = '10.0.0.5'", "5: port: is missing", 'add a line port = "..."'),
        ("port = 'tcp/23'", "5: to: is missing", 'add a line to = "..."'),
    ],
)
def test_a_mistake_is_reported_with_its_line(text: str, what: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"{entry()}[[forward]]\n{text}\n")
    assert str(caught.value).startswith(f"{PATH}:{what}")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("to_port = 0", "to_port: expected a whole number from 1 to 65535", "= 23"),
        ("to_port = 65536", "to_port: expected a whole number", "= 23"),
        ("to_port = 'tcp/22'", "to_port: expected a whole number", "= 23"),
        ("masquerade = 1", "masquerade: expected true or false", "masquerade = true"),
        ("toport = 22", "toport: unknown key", "did you mean 'to_port'?"),
    ],
)
def test_a_mistake_in_what_is_optional_is_reported_with_its_line(
    line: str, what: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(entry() + entry("tcp/23", more=line))
    assert str(caught.value).startswith(f"{PATH}:8: {what}")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "to",
    [
        "inner.example.org",
        "10.0.0.0/24",
        "10.0.0.256",
        "10.0.5",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "::",
        "ff02::1",
        "::ffff:10.0.0.5",
        "fe80::1%eth0",
        "::1%; flush ruleset",
    ],
)
def test_a_forward_leads_to_the_address_of_one_host(to: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(entry(to=to))
    assert str(caught.value) == f"{PATH}:3: to: not the address of a host: {to!r}"
    assert caught.value.hint == 'write to = "10.0.0.5"'


def test_there_may_be_only_so_many() -> None:
    most = "".join(entry(f"tcp/{1000 + n}") for n in range(MAX_FORWARDS))
    assert len(read(most)) == MAX_FORWARDS
    with pytest.raises(ConfigError, match=f"forward: more than {MAX_FORWARDS}"):
        read(most + entry())


@pytest.mark.parametrize(
    ("forwards", "address", "nowhere"),
    [
        ((), INNER, False),
        ((Forward(PORT, INNER, 22),), INNER, False),
        ((Forward(PORT, INNER, 22),), INNER6, True),
        ((Forward(PORT, INNER6, 22),), INNER, True),
        ((Forward(PORT, INNER, 22), Forward(PORT, INNER6, 22)), INNER6, False),
        ((Forward(Port(17, 2222), INNER, 22),), INNER6, False),
        ((Forward(PORT, INNER, 22), Forward(Port(6, 1), INNER6, 22)), INNER6, True),
    ],
)
def test_a_port_that_leads_on_leads_somewhere_for_each_family_or_not(
    forwards: tuple[Forward, ...], address: bytes, nowhere: bool
) -> None:
    assert leads_nowhere(forwards, PORT, address) is nowhere
