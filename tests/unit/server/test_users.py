from ipaddress import ip_network

import pytest
from unit.server.parties import CLIENT, CONFIG, NOW, SSH, key, key_table, user

from spassh.protocol.errors import Unauthentic
from spassh.protocol.keys import PSK, PUBLIC, SECRET, encode_key
from spassh_server import config
from spassh_server.firewall import Width
from spassh_server.limits import MAX_KEYS_PER_USER, MAX_USERS_IN_MAIN_FILE
from spassh_server.ports import Port
from spassh_server.toml import ConfigError
from spassh_server.users import (
    User,
    UserKey,
    Users,
    parse_main_users,
    parse_user,
)

PATH = "/etc/spassh/users.d/ada.toml"
WIDE = config.parse(
    """
grant_ports = ["tcp/22", "tcp/443", "udp/53"]
max_lifetime = 600
[[forward]]
port = "tcp/2222"
to = "10.0.0.5"
[[forward]]
port = "tcp/2222"
to = "2001:db8::5"
[[forward]]
port = "tcp/2223"
to = "10.0.0.6"
[[command]]
name = "uptime"
argv = ["/usr/bin/uptime"]
[[command]]
name = "restart"
argv = ["/usr/bin/systemctl", "restart", "{unit}"]
unit = "nginx|php-fpm"
""",
    CONFIG.path,
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
        widths=frozenset({Width.FLOW, Width.ADDRESS}),
        not_before=0,
        expires=0,
        commands=(),
        forwards=(),
    )
    assert expected == ada


def test_everything_about_a_user_is_read() -> None:
    text = """
ports = ["tcp/22"]
lifetime = 20
max_lifetime = 60
sources = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.1"]
any_address = true
forwards = ["tcp/2222"]
commands = ["restart", "uptime"]
widths = ["once", "flow"]
not_before = 2026-01-01
expires = 2026-01-01T00:00:01Z
"""
    ada = read(text + key_table(1) + key_table(2))
    assert ada.ports == {SSH, Port(6, 2222)}
    assert ada.forwards == WIDE.forward[:2]
    assert ada.commands == (WIDE.command[1], WIDE.command[0])
    assert ada.widths == {Width.FLOW, Width.ONCE}
    assert ada.not_before == NOW
    assert ada.expires == NOW + 1000
    assert ada.lifetime == 20
    assert ada.max_lifetime == 60
    assert ada.sources == tuple(
        map(ip_network, ("192.0.2.0/24", "2001:db8::/32", "198.51.100.1/32"))
    )
    assert ada.any_address
    assert ada.keys == (key(1), key(2))


def test_the_cap_follows_a_lifetime_of_the_users_own() -> None:
    assert read(f"lifetime = 99\n{key_table(1)}").max_lifetime == 99


@pytest.mark.parametrize("name", [width.label for width in Width])
def test_one_width_alone_is_the_only_one(name: str) -> None:
    assert read(f"widths = ['{name}']\n{key_table(1)}").widths == {Width[name.upper()]}


def test_nobody_has_forwards_or_commands_without_saying_so() -> None:
    ada = read(f"ports = ['tcp/22']\n{key_table(1)}")
    assert ada.ports == {SSH}
    assert (ada.commands, ada.forwards) == ((), ())


def test_forwards_alone_lead_to_no_port_of_this_host() -> None:
    ada = read(f"ports = []\nforwards = ['tcp/2223', 'tcp/2222']\n{key_table(1)}")
    assert ada.ports == {Port(6, 2222), Port(6, 2223)}
    assert ada.forwards == WIDE.forward


def test_a_command_that_is_named_twice_is_there_once() -> None:
    ada = read(f"commands = ['uptime', 'restart', 'uptime']\n{key_table(1)}")
    assert ada.commands == WIDE.command


FINGERPRINT = "2B9B6B1C82B73D7D50CE0578634C3E9B725D4BC3"


def test_a_user_who_signs_has_the_keys_that_are_pinned() -> None:
    grouped = " ".join(FINGERPRINT[at : at + 4] for at in range(0, 40, 4)).lower()
    text = f"format = 'gnupg'\ngnupg = ['{grouped}', '{'0' * 40}']\n"
    assert read(text + key_table(7)).gnupg == {FINGERPRINT, "0" * 40}
    assert read("format = 'native'\n" + key_table(7)).gnupg == frozenset()


def test_a_key_has_an_end_of_its_own() -> None:
    text = f"expires = 2027-01-01\n{key_table(1)}expires = 2026-01-01\n{key_table(2)}"
    ada = read(text)
    assert ada.keys == (key(1)._replace(expires=NOW), key(2))
    assert ada.expires == NOW + 365 * 86_400_000


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
        (
            "ports = ['tcp/2222']",
            "ports: tcp/2222 is not in grant_ports of /etc/spassh/spasshd.toml",
            'add "tcp/2222" there',
        ),
        (
            "forwards = ['tcp/22']",
            "forwards: tcp/22 is not in any [[forward]] of /etc/spassh/spasshd.toml",
            'add "tcp/22" there and restart spasshd, or take it out here',
        ),
        ("forwards = ['tcp/2222', 'udp/2222']", "forwards: udp/2222 is not", "add"),
        ("forwards = ['10.0.0.5']", "forwards: not a port: '10.0.0.5'", "write"),
        ("forwards = 'tcp/2222'", "forwards: expected a list of strings", "write"),
        (
            "commands = ['reboot']",
            "commands: no [[command]] of /etc/spassh/spasshd.toml is called 'reboot'",
            "add one there and restart spasshd, or take the name out here",
        ),
        ("commands = ['uptime', 'Uptime']", "commands: no [[command]] of", "add one"),
        ("commands = ['/usr/bin/uptime']", "commands: no [[command]]", "add one"),
        ("commands = 'uptime'", "commands: expected a list of strings", "write"),
        ("commands = true", "commands: expected a list of strings", "write"),
        ("widths = []", "widths: expected a list of flow, once, address", "write"),
        ("widths = ['FLOW']", "widths: expected a list of flow, once", "write widths"),
        ("widths = ['flow', 'any']", "widths: expected a list of flow", "write widths"),
        ("widths = 'address'", "widths: expected a list of strings", "write widths"),
        ("widths = [1]", "widths: expected a list of strings", "write widths"),
        ("expires = 1", "expires: expected a date", "write expires = 2030-01-31"),
        ("expires = '2030-01-31'", "expires: expected a date", "write expires = 2030"),
        ("expires = 2030-01-31T12:00:00", "expires: expected a date, or a time", "Z"),
        ("not_before = 12:00:00", "not_before: expected a date", "write not_before"),
        (
            "not_before = 2030-01-31\nexpires = 2030-01-31",
            "expires: is not after not_before",
            "write a later one",
        ),
        (
            "not_before = 2030-01-31T00:00:00Z\nexpires = 2030-01-31T00:00:00+00:01",
            "expires: is not after not_before",
            "write a later one",
        ),
    ],
)
def test_a_mistake_is_reported_with_file_line_key_and_remedy(
    line: str, what: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"# Ada\n{line}\n{key_table(1)}")
    at = 1 + len(line.splitlines())
    assert str(caught.value).startswith(f"{PATH}:{at}: {what}")
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


def test_a_keys_end_that_is_none_is_reported_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r":7: expires: expected a date"):
        read(f"{key_table(1)}{key_table(2)}expires = 2030-01-31T12:00:00\n")


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


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("format = 'gnupg'", "expected a list of fingerprints"),
        ("format = 'gnupg'\ngnupg = []", "expected a list of fingerprints"),
        (f"format = 'gnupg'\ngnupg = ['{FINGERPRINT[8:]}']", "expected a list of"),
        (f"format = 'gnupg'\ngnupg = ['{FINGERPRINT}0']", "expected a list of"),
        (f"format = 'gnupg'\ngnupg = '{FINGERPRINT}'", "expected a list of strings"),
        (f"format = 'gnupg'\ngnupg = {['0' * 40] * 17}", "more than 16"),
        (f"gnupg = ['{FINGERPRINT}']", "nobody looks at it"),
        ("format = 'pgp'", "expected one of native, gnupg"),
    ],
)
def test_a_mistake_about_signing_lets_nobody_in_unsigned(line: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        read(f"{line}\n{key_table(7)}")


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


def test_a_name_that_the_main_file_has_is_taken() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_user("ada", key_table(1), PATH, WIDE, {"bob", "ada"})
    assert str(caught.value) == f"{PATH}: ada is in {WIDE.path} as well"
    assert caught.value.hint == "take one of them out"
    assert parse_user("adam", key_table(1), PATH, WIDE, {"bob", "ada"}).name == "adam"


def main_key(name: str, number: int) -> str:
    return key_table(number).replace("[[key]]", f"[[users.{name}.key]]")


class TestMainFile:
    """The tables [users.NAME] of spasshd.toml."""

    def read(self, text: str) -> tuple[dict[str, User], list[ConfigError], list[str]]:
        users, problems, broken = parse_main_users(text, WIDE)
        return {one.name: one for one in users}, problems, broken

    def test_without_users_has_none(self) -> None:
        assert self.read("") == ({}, [], [])
        assert self.read("knock_port = 7\nusers = {}") == ({}, [], [])

    def test_has_users_as_the_other_files_have_them(self) -> None:
        text = (
            f"knock_port = 7\n[users.ada]\nports = ['tcp/443']\n{main_key('ada', 1)}"
            f"[users.bob]\nwidths = ['once']\n{main_key('bob', 2)}"
            f"expires = 2026-01-01\n{main_key('bob', 3)}"
        )
        users, problems, broken = self.read(text)
        assert (problems, broken) == ([], [])
        assert users == {
            "ada": read(f"ports = ['tcp/443']\n{key_table(1)}"),
            "bob": read(
                f"widths = ['once']\n{key_table(2)}"
                f"expires = 2026-01-01\n{key_table(3)}",
                "bob",
            ),
        }

    def test_may_have_them_in_any_spelling_of_toml(self) -> None:
        public, psk = (
            line.partition(" = ")[2] for line in key_table(1).splitlines()[1:]
        )
        text = f"users.ada = {{ key = [{{ public = {public}, psk = {psk} }}] }}"
        assert self.read(text)[0] == {"ada": read(key_table(1))}
        quoted = main_key("'a.b'", 1).replace("[[users.", "[['users' . ")
        assert list(self.read(quoted)[0]) == ["a.b"]

    def test_with_a_broken_user_has_the_others(self) -> None:
        text = (
            f"{main_key('ada', 1)}"
            f"[users.bob]\nport = ['tcp/443']\n{main_key('bob', 2)}"
            f"[users.cy]\n"
            f"[users.'-x']\n{main_key('eve', 3)}"
        )
        users, problems, broken = self.read(text)
        assert list(users) == ["ada", "eve"]
        assert broken == ["bob", "cy"]
        assert [str(one) for one in problems[:2]] == [
            f"{WIDE.path}:5: port: unknown key",
            f"{WIDE.path}:9: key: the user has no key",
        ]
        assert str(problems[2]).startswith(f"{WIDE.path}:1: users: not a user name")
        assert problems[2].hint == "rename the table"
        assert len(problems) == 3

    @pytest.mark.parametrize(
        ("text", "line", "what"),
        [
            ("[users.ada]\n[[users.ada.key]]\npublic = 1", 3, "public: expected a"),
            (
                f"{main_key('ada', 1)}{main_key('bob', 2)}\n[[users.bob.key]]\nx = 1",
                9,
                "x: unknown key",
            ),
            (f"{main_key('ada', 1)}{main_key('ada', 1)}", 5, "public: is listed twice"),
            (f"{main_key('ada', 1)}expires = 1", 4, "expires: expected a date"),
            (f"\n[users.'a.b']\nlifetime = 0\n{main_key('x', 1)}", 3, "lifetime: "),
            (
                f'\n[ users . "ada" ]\nlifetime = 0\n{main_key("x", 1)}',
                3,
                "lifetime: ",
            ),
            (
                f"lifetime = 7\n[users.ada]\nlifetime = 0\n{main_key('ada', 1)}",
                3,
                "lifetime: expected a whole number from 1 to 600",
            ),
            (
                "[users.ada]\nnot_before = 2030-01-02\nexpires = 2030-01-01",
                3,
                "expires: is not after not_before",
            ),
        ],
    )
    def test_has_mistakes_at_their_lines(self, text: str, line: int, what: str) -> None:
        _, problems, _ = self.read(text)
        assert any(
            str(one).startswith(f"{WIDE.path}:{line}: {what}") for one in problems
        ), problems

    @pytest.mark.parametrize(
        "text", ["users = 1", "[[users]]", "users = ['ada']", "[users]\nada = 1"]
    )
    def test_with_anything_else_than_tables_is_broken(self, text: str) -> None:
        with pytest.raises(ConfigError, match=r":1: users: expected tables") as caught:
            parse_main_users(text, WIDE)
        assert caught.value.hint == "begin each with [users.NAME]"

    def test_that_is_not_toml_is_broken_as_a_whole(self) -> None:
        with pytest.raises(ConfigError, match="not valid TOML"):
            parse_main_users(f"{main_key('ada', 1)}[users.ada", WIDE)

    def test_has_so_many_users(self) -> None:
        most = "".join(f"[users.u{n}]\n" for n in range(MAX_USERS_IN_MAIN_FILE))
        assert len(parse_main_users(most, WIDE)[2]) == MAX_USERS_IN_MAIN_FILE
        with pytest.raises(ConfigError, match=f"more than {MAX_USERS_IN_MAIN_FILE}"):
            parse_main_users(f"{most}[users.more]", WIDE)


class TestUsers:
    def test_are_found_by_their_keys(self) -> None:
        ada, bob = user(), user("bob", keys=(UserKey(b"B" * 32, b"b" * 32),))
        users = Users([ada, bob])
        assert len(users) == 2
        assert users.psk(b"B" * 32) == b"b" * 32
        assert users.owner(b"B" * 32) == (bob.keys[0], bob)
        assert users.owner(CLIENT) == (ada.keys[0], ada)
        assert users.duplicates == []

    def test_are_found_by_every_key_they_have(self) -> None:
        keys = tuple(UserKey(bytes([n]) * 32, bytes([n + 100]) * 32) for n in range(5))
        users = Users([user(keys=keys)])
        for one in keys:
            assert one.psk == users.psk(one.public)
            assert users.owner(one.public)[0] is one
            assert users.owner(one.public)[1].name == "ada"
        assert users.duplicates == []

    @pytest.mark.parametrize("public", [b"", bytes(32), CLIENT[:31], CLIENT + b"\0"])
    def test_do_not_know_a_stranger(self, public: bytes) -> None:
        with pytest.raises(Unauthentic, match="unknown client key"):
            Users([user()]).psk(public)

    def test_share_no_key(self) -> None:
        other = user("bob", keys=(UserKey(CLIENT, b"x" * 32),))
        users = Users([user(), other])
        assert users.duplicates == [("bob", "ada")]
        assert users.owner(CLIENT)[1].name == "ada"
        assert users.psk(CLIENT) == user().keys[0].psk
