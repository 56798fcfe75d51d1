from ipaddress import ip_network

import pytest
from unit.server.parties import CLIENT, CONFIG, SSH, key, key_table, user

from spassh.protocol.errors import Unauthentic
from spassh.protocol.keys import PSK, PUBLIC, SECRET, encode_key
from spassh_server import config
from spassh_server.limits import MAX_KEYS_PER_USER
from spassh_server.ports import Port
from spassh_server.toml import ConfigError
from spassh_server.users import User, UserKey, Users, parse_user

PATH = "/etc/spassh/users.d/ada.toml"
WIDE = config.parse(
    "grant_ports = ['tcp/22', 'tcp/443', 'udp/53']\nmax_lifetime = 600", CONFIG.path
)


def read(text: str, name: str = "ada") -> User:
    return parse_user(name, text, PATH, WIDE)


def test_a_user_with_nothing_but_a_key_has_the_defaults() -> None:
    ada = read(key_table(7))
    expected = User(
        name="ada",
        keys=(key(7),),
        ports=frozenset({SSH, Port(6, 443), Port(17, 53)}),
        lifetime=15,
        max_lifetime=15,
        sources=(),
        any_address=False,
    )
    assert expected == ada


def test_everything_about_a_user_is_read() -> None:
    text = """
ports = ["tcp/22"]
lifetime = 20
max_lifetime = 60
sources = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.1"]
any_address = true
"""
    ada = read(text + key_table(1) + key_table(2))
    assert ada.ports == {SSH}
    assert ada.lifetime == 20
    assert ada.max_lifetime == 60
    assert ada.sources == tuple(
        map(ip_network, ("192.0.2.0/24", "2001:db8::/32", "198.51.100.1/32"))
    )
    assert ada.any_address
    assert ada.keys == (key(1), key(2))


def test_the_cap_follows_a_lifetime_of_the_users_own() -> None:
    assert read(f"lifetime = 99\n{key_table(1)}").max_lifetime == 99


def test_no_ports_at_all_is_a_user_who_may_nothing() -> None:
    assert read(f"ports = []\n{key_table(1)}").ports == frozenset()


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("port = ['tcp/22']", "port: unknown key", "did you mean 'ports'?"),
        ("nonsense = 1", "nonsense: unknown key", "take it out"),
        ("ports = ['22']", "ports: not a port: '22'", 'write ports = ["tcp/22"]'),
        (
            "ports = ['tcp/22', 'tcp/80']",
            "ports: tcp/80 is not in grant_ports of /etc/spassh/spasshd.toml",
            'add "tcp/80" there and restart spasshd, or take it out here',
        ),
        ("lifetime = 0", "lifetime: expected a whole number from 1 to 600", "= 15"),
        ("lifetime = 601", "lifetime: expected a whole number from 1 to 600", "= 15"),
        ("max_lifetime = 14", "max_lifetime: expected a whole number from 15", "= 15"),
        ("max_lifetime = 601", "max_lifetime: expected a whole number from 15", "15"),
        ("sources = ['192.0.2.7/24']", "sources: 192.0.2.7/24 has host bits", "write"),
        ("sources = ['office']", "sources: 'office' does not appear", "192.0.2.0/24"),
        ("sources = '10.0.0.0/8'", "sources: expected a list of strings", "write"),
        ("sources = []", "sources: is an empty list", "take the line out"),
        ("any_address = 1", "any_address: expected true or false", "write any_address"),
    ],
)
def test_a_mistake_is_reported_with_file_line_key_and_remedy(
    line: str, what: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"# Ada\n{line}\n{key_table(1)}")
    assert str(caught.value).startswith(f"{PATH}:2: {what}")
    assert hint in caught.value.hint


GOOD_PUBLIC = encode_key(PUBLIC, key(1).public)
GOOD_PSK = encode_key(PSK, bytes(32))


@pytest.mark.parametrize(
    ("public_key", "psk", "line", "what", "hint"),
    [
        (GOOD_PUBLIC[:-1], GOOD_PSK, 4, "public: damaged key", "copy"),
        (GOOD_PUBLIC[:-4], GOOD_PSK, 4, "public: damaged key", "copy the key again"),
        ("x", GOOD_PSK, 4, f"public: expected a key that begins with '{PUBLIC}'", ""),
        (GOOD_PSK, GOOD_PSK, 4, "public: expected a key that begins with", "copy"),
        (encode_key(SECRET, bytes(32)), GOOD_PSK, 4, "public: expected a key", "copy"),
        (GOOD_PUBLIC, GOOD_PUBLIC, 5, "psk: expected a key that begins with", "copy"),
        (
            GOOD_PUBLIC,
            GOOD_PSK + "A",
            5,
            "psk: damaged key",
            "copy the key again, whole",
        ),
        (GOOD_PUBLIC, "", 5, "psk: expected a string", 'write psk = "..."'),
        ("", GOOD_PSK, 4, "public: expected a string", 'write public = "..."'),
        (
            encode_key(PUBLIC, key(9).public),
            GOOD_PSK,
            4,
            "public: is listed twice",
            "take one",
        ),
    ],
)
def test_a_wrong_key_is_reported_with_its_line(
    public_key: str, psk: str, line: int, what: str, hint: str
) -> None:
    text = f'{key_table(9)}[[key]]\npublic = "{public_key}"\npsk = "{psk}"\n'
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(f"{PATH}:{line + 1}: {what}")
    assert hint in caught.value.hint


@pytest.mark.parametrize("missing", ["public", "psk"])
def test_half_a_key_is_reported_with_the_line_of_its_table(missing: str) -> None:
    lines = key_table(1).splitlines()
    text = "\n" + "\n".join(line for line in lines if not line.startswith(missing))
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value) == f"{PATH}:2: {missing}: is missing"
    assert caught.value.hint == f'add a line {missing} = "..."'


def test_an_unknown_key_beside_a_key_is_reported() -> None:
    with pytest.raises(ConfigError, match=r":4: pks: unknown key") as caught:
        read(f"{key_table(1)}pks = 1")
    assert caught.value.hint == "did you mean 'psk'?"


LOW_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "0000000000000000000000000000000000000000000000000000000000000080",
]


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_public_key_of_low_order_is_refused(point: str) -> None:
    spelled = encode_key(PUBLIC, bytes.fromhex(point))
    with pytest.raises(ConfigError, match=r":2: public: not a usable key") as caught:
        read(f'[[key]]\npublic = "{spelled}"\npsk = "{GOOD_PSK}"\n')
    assert caught.value.hint == "make another with 'spassh keygen'"


def test_an_error_never_shows_a_secret() -> None:
    secret = encode_key(PSK, b"\x5a" * 32)
    for text in (
        f'[[key]]\npublic = "{secret}"\npsk = "{secret}"\n',
        f'[[key]]\npublic = "{GOOD_PUBLIC}"\npsk = "{secret}x"\n',
        f'[[key]]\npublic = "{GOOD_PUBLIC}"\npsk = "{secret}\n',
        f"[[key]]\npsk = {secret}\n",
    ):
        with pytest.raises(ConfigError) as caught:
            read(text)
        assert secret[-20:-4] not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("text", ["", "ports = ['tcp/22']\n", "key = []"])
def test_a_user_without_a_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"key: the user has no key") as caught:
        read(text)
    assert caught.value.hint == "add one with 'spasshd user add'"


def test_a_user_has_a_bounded_number_of_keys() -> None:
    most = "".join(key_table(n) for n in range(1, MAX_KEYS_PER_USER + 1))
    assert len(read(most).keys) == MAX_KEYS_PER_USER
    with pytest.raises(ConfigError, match=f"key: more than {MAX_KEYS_PER_USER}"):
        read(most + key_table(99))


@pytest.mark.parametrize("name", ["ada", "Ada", "a", "a.b", "_x", "a-b", "0", "a" * 32])
def test_a_file_with_the_name_of_a_user_is_read(name: str) -> None:
    assert name == read(key_table(1), name).name


@pytest.mark.parametrize(
    "name", ["", ".ada", "-ada", "a b", "a/b", "a" * 33, "ä", "a\n", "a\x1b[2J", "a=b"]
)
def test_a_file_with_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="not a user name") as caught:
        read(key_table(1), name)
    assert caught.value.hint == "rename the file"


class TestUsers:
    def test_are_found_by_their_keys(self) -> None:
        ada, bob = user(), user("bob", keys=(UserKey(b"B" * 32, b"b" * 32),))
        users = Users([ada, bob])
        assert len(users) == 2
        assert users.psk(b"B" * 32) == b"b" * 32
        assert users.owner(b"B" * 32) is bob
        assert users.owner(CLIENT) is ada
        assert users.duplicates == []

    def test_are_found_by_every_key_they_have(self) -> None:
        keys = tuple(UserKey(bytes([n]) * 32, bytes([n + 100]) * 32) for n in range(5))
        users = Users([user(keys=keys)])
        for one in keys:
            assert one.psk == users.psk(one.public)
            assert users.owner(one.public).name == "ada"
        assert users.duplicates == []

    @pytest.mark.parametrize("public", [b"", bytes(32), CLIENT[:31], CLIENT + b"\0"])
    def test_do_not_know_a_stranger(self, public: bytes) -> None:
        with pytest.raises(Unauthentic, match="unknown client key"):
            Users([user()]).psk(public)

    def test_share_no_key(self) -> None:
        other = user("bob", keys=(UserKey(CLIENT, b"x" * 32),))
        users = Users([user(), other])
        assert users.duplicates == [("bob", "ada")]
        assert users.owner(CLIENT).name == "ada"
        assert users.psk(CLIENT) == user().keys[0].psk
