import os

import pytest
from unit.client.parties import FIELDS, KEYS, PROFILE, Home

from spassh.errors import ProfileError
from spassh.patterns import Wanted, canonical
from spassh.profile import (
    DEFAULT_TIMEOUT,
    Profile,
    find,
    load_keys,
    read_profile,
)
from spassh.protocol.keys import PSK, PUBLIC, SECRET, encode_key
from spassh.protocol.limits import DEFAULT_KNOCK_PORT


def found(home: Home, host: str) -> Profile:
    profile = find(home.path, Wanted(host))
    assert profile is not None
    return profile


@pytest.mark.parametrize(
    ("spelled", "asked"),
    [
        ("server.example", "server.example"),
        ("server.example", "SERVER.Example"),
        ("Server.Example", "server.example"),
        ("server.example", "server.example."),
        ("server.example.", "server.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:DB8:0:0:0:0:0:1"),
        ("2001:db8::1", "2001:0db8::0001"),
        ("fe80::1%eth0", "FE80::0:1%eth0"),
        ("::ffff:192.0.2.1", "::ffff:c000:201"),
    ],
)
def test_a_host_is_found_in_every_spelling(
    home: Home, spelled: str, asked: str
) -> None:
    home.profile(hosts=f'["{spelled}"]')
    assert found(home, asked).hosts == (spelled,)


@pytest.mark.parametrize(
    ("spelled", "asked"),
    [
        ("server.example", "server.example.org"),
        ("server.example", "other.server.example"),
        ("server.example", "server.example.."),
        ("192.0.2.1", "192.0.2.10"),
        ("192.0.2.1", "192.0.2.01"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("192.0.2.1", "192.0.2.1%eth0"),
        ("fe80::1%eth0", "fe80::1%ETH0"),
        ("fe80::1%eth0", "fe80::1"),
        ("fe80::1", "fe80::1%eth0"),
        # These four characters are what 97.98.99.100 looks like in memory.
        ("97.98.99.100", "abcd"),
    ],
)
def test_another_host_is_not_found(home: Home, spelled: str, asked: str) -> None:
    home.profile(hosts=f'["{spelled}"]')
    assert find(home.path, Wanted(asked)) is None


def test_a_host_that_is_no_ascii_has_no_profile(home: Home) -> None:
    home.profile()
    assert find(home.path, Wanted("sérveur.example")) is None
    assert find(home.path, Wanted(os.fsdecode(b"\xff"))) is None


def test_a_name_and_an_address_are_never_equal() -> None:
    assert canonical("192.0.2.1") != canonical("c0000201")


def test_without_a_directory_there_is_no_profile(home: Home) -> None:
    assert find(home.path, Wanted("server.example")) is None


def test_other_files_among_the_profiles_are_not_read(home: Home) -> None:
    home.write("server.toml~", "not toml")
    home.write(".server.toml.swp", "not toml")
    home.write(".server.toml", "not toml")
    home.write("README", "not toml")
    assert find(home.path, Wanted("server.example")) is None


def test_a_profile_has_defaults(home: Home) -> None:
    path = home.profile()
    assert found(home, "192.0.2.1") == PROFILE._replace(path=str(path))
    assert PROFILE.port == DEFAULT_KNOCK_PORT
    assert PROFILE.timeout == DEFAULT_TIMEOUT


def test_a_profile_says_where_to_knock_and_how_long_to_wait(home: Home) -> None:
    home.profile(port="4711", timeout="600")
    profile = found(home, "192.0.2.1")
    assert (profile.port, profile.timeout) == (4711, 600)


def test_a_profile_says_how_to_knock(home: Home) -> None:
    home.profile(
        name='"192.0.2.9"',
        width='"flow"',
        schedule="[0, 10, 600000]",
        transport='"udp"',
    )
    profile = found(home, "192.0.2.1")
    assert (profile.name, profile.width, profile.schedule, profile.transport) == (
        "192.0.2.9",
        "flow",
        (0, 10, 600_000),
        "udp",
    )


def test_a_profile_says_whose_openpgp_keys_sign_and_open(home: Home) -> None:
    home.profile(
        format='"gnupg"', gnupg_key=f'"{"ab" * 20}"', gnupg_server=f'"{"CD" * 20}"'
    )
    profile = found(home, "192.0.2.1")
    keys = (profile.format, profile.gnupg_key, profile.gnupg_server)
    assert keys == ("gnupg", "AB" * 20, "CD" * 20)


def test_the_profile_that_fits_best_is_taken(home: Home) -> None:
    for name, hosts in {
        "a": '["*"]',
        "b": '["*.example"]',
        "c": '["git@*.example"]',
        "d": '["web.example"]',
        "e": '["git@web.example"]',
        "f": '["*", "!web.example"]',
    }.items():
        home.profile(f"{name}.toml", hosts=hosts)
    for wanted, expected in {
        Wanted("web.example", "", "git"): "e",
        Wanted("web.example", "", "ada"): "d",
        Wanted("db.example", "", "git"): "c",
        Wanted("db.example"): "a",
        Wanted("192.0.2.7", "web.example"): "d",
    }.items():
        profile = find(home.path, wanted)
        assert profile is not None
        assert os.path.basename(profile.path) == f"{expected}.toml"


def test_a_profile_with_a_pattern_does_not_hide_the_right_one(home: Home) -> None:
    """Nor does it help over a profile that is broken, which names the host itself."""
    home.profile("a.toml", hosts='["*"]')
    path = home.profile("b.toml", port="0")
    with pytest.raises(ProfileError, match="'port' must be") as caught:
        find(home.path, Wanted("server.example"))
    assert str(caught.value).startswith(str(path))


def test_keys_of_a_profile_are_read(home: Home) -> None:
    home.profile()
    assert load_keys(found(home, "192.0.2.1"), home.path) == KEYS


def test_a_profile_without_a_secret_uses_the_clients_own_key(home: Home) -> None:
    home.profile(secret="")
    home.write_key()
    assert load_keys(found(home, "192.0.2.1"), home.path) == KEYS


def test_a_linked_profile_is_judged_by_the_file_it_leads_to(home: Home) -> None:
    target = home.profile("target")
    (home.profiles / "link.toml").symlink_to(target)
    assert found(home, "192.0.2.1").path == str(home.profiles / "link.toml")
    target.chmod(0o640)
    with pytest.raises(ProfileError, match="other users can read or change it"):
        find(home.path, Wanted("192.0.2.1"))


def test_a_link_to_nowhere_is_no_profile(home: Home) -> None:
    home.profiles.mkdir(parents=True)
    (home.profiles / "link.toml").symlink_to("gone")
    assert find(home.path, Wanted("192.0.2.1")) is None


BROKEN: dict[str, tuple[dict[str, str], str, str]] = {
    "unknown key": (
        {"prot": "22"},
        "unknown key 'prot'",
        "take it out; the keys are: hosts user server psk secret invite",
    ),
    "table": ({"[more]\nuser": '"x"'}, "unknown key 'more'", "take it out"),
    "no user": ({"user": ""}, "'user' is missing", "spassh import --force"),
    "no server": ({"server": ""}, "'server' is missing", "spassh import --force"),
    "no psk": ({"psk": ""}, "'psk' is missing", "spassh import --force"),
    "user type": ({"user": "1"}, "'user' must be a user's name", 'user = "alice"'),
    "user empty": ({"user": '""'}, "'user' must be a user's name", 'user = "alice"'),
    "user bad": ({"user": '"a/b"'}, "'user' must be a user's name", 'user = "alice"'),
    "server type": ({"server": "[]"}, "'server' must be a key", "spassh-public-…"),
    "psk type": ({"psk": "true"}, "'psk' must be a key", "spassh-psk-…"),
    "secret type": ({"secret": "0.5"}, "'secret' must be a key", "spassh-secret-…"),
    "secret empty": ({"secret": '""'}, "'secret' must be a key", "spassh-secret-…"),
    "invite type": ({"invite": "1"}, "'invite' must be true or false", "invite = true"),
    "next type": ({"next_secret": "1"}, "'next_secret' must be a key", "spassh-secret"),
    "next empty": ({"next_secret": '""'}, "'next_secret' must be", "spassh-secret-…"),
    "old type": ({"old_public": "[]"}, "'old_public' must be a key", "spassh-public-…"),
    "port type": ({"port": '"22"'}, "'port' must be a whole number", "port = 62201"),
    "port bool": ({"port": "true"}, "'port' must be a whole number", "port = 62201"),
    "port zero": ({"port": "0"}, "'port' must be a whole number", "port = 62201"),
    "port large": ({"port": "65536"}, "'port' must be a whole number", "port = 62201"),
    "timeout 0": ({"timeout": "0"}, "'timeout' must be", "timeout = 10"),
    "timeout 601": ({"timeout": "601"}, "'timeout' must be", "timeout = 10"),
    "timeout float": ({"timeout": "1.5"}, "'timeout' must be", "timeout = 10"),
    "name empty": ({"name": '""'}, "'name' must be a host name", "name = "),
    "name pattern": ({"name": '"*"'}, "'name' must be a host name", "name = "),
    "width": ({"width": '"once"'}, "'width' must be one of auto, flow, add", "width"),
    "width type": ({"width": "[]"}, "'width' must be one of", 'width = "auto"'),
    "transport": ({"transport": '"tcp"'}, "'transport' must be udp: the ", '"udp"'),
    "format": ({"format": '"pgp"'}, "'format' must be one of native, fw", "native"),
    "no keys": ({"format": '"gnupg"'}, "'gnupg_key' is missing", "import"),
    "a key alone": (
        {"gnupg_key": f'"{"AB" * 20}"'},
        "'gnupg_key' must be the 40 hexadecimal digits",
        'format = "gnupg"',
    ),
    "short key": (
        {"format": '"gnupg"', "gnupg_key": '"ABCD1234"'},
        "'gnupg_key' must be the 40 hexadecimal digits",
        "gnupg_key = ",
    ),
    "nobody to open it": (
        {"format": '"gnupg"', "gnupg_key": f'"{"AB" * 20}"', "gnupg_server": "1"},
        "'gnupg_server' must be the 40 hexadecimal digits",
        "gnupg_server = ",
    ),
    "an option": (
        {"format": '"gnupg"', "gnupg_key": f'"{"--yes":-<40}"'},
        "'gnupg_key' must be the 40 hexadecimal digits",
        "gnupg_key = ",
    ),
    "no knock": ({"schedule": "[]"}, "'schedule' must be 1 to 32 growing", "[0, 200"),
    "late knock": ({"schedule": "[1, 5]"}, "'schedule' must be", "[0, 200"),
    "equal knocks": ({"schedule": "[0, 5, 5]"}, "'schedule' must be", "[0, 200"),
    "knocks back": ({"schedule": "[0, 9, 5]"}, "'schedule' must be", "[0, 200"),
    "half knocks": ({"schedule": "[0, 0.5]"}, "'schedule' must be", "[0, 200"),
    "bool knock": ({"schedule": "[0, true]"}, "'schedule' must be", "[0, 200"),
    "far knock": ({"schedule": "[0, 600001]"}, "'schedule' must be", "[0, 200"),
    "no list": ({"schedule": '"0"'}, "'schedule' must be", "[0, 200"),
    "many": ({"schedule": str(list(range(33)))}, "'schedule' must be", "[0, 200"),
}


@pytest.mark.parametrize(
    ("fields", "message", "hint"), BROKEN.values(), ids=list(BROKEN)
)
def test_a_mistake_is_told_with_file_key_and_remedy(
    home: Home, fields: dict[str, str], message: str, hint: str
) -> None:
    path = home.profile(**fields)
    with pytest.raises(ProfileError) as caught:
        find(home.path, Wanted("192.0.2.1"))
    assert str(caught.value).startswith(f"{path}: {message}")
    assert hint in caught.value.hint


@pytest.mark.parametrize("fields", [fields for fields, _, _ in BROKEN.values()])
def test_a_mistake_does_not_concern_other_hosts(
    home: Home, fields: dict[str, str]
) -> None:
    home.profile(**fields)
    assert find(home.path, Wanted("other.example")) is None


UNREADABLE: dict[str, tuple[str | bytes, str]] = {
    "hosts missing": ('user = "alice"\n', "'hosts' is missing"),
    "hosts no list": ('hosts = "server.example"\n', "'hosts' must be a list"),
    "hosts empty": ("hosts = []\n", "'hosts' must be a list"),
    "hosts of numbers": ("hosts = [1]\n", "'hosts' must be a list"),
    "hosts of tables": ("hosts = [{}]\n", "'hosts' must be a list"),
    "hosts with space": ('hosts = ["a b"]\n', "'hosts' must be a list"),
    "hosts all exceptions": ('hosts = ["!a", "!b"]\n', "'hosts' must be a list"),
    "empty": ("", "'hosts' is missing"),
    "not TOML": ("hosts = ]\n", "not TOML: invalid value (at line 1, column 9)"),
    "deep": ("a = " + "[" * 16000, "not TOML: "),
    "endless": ("port = " + "1" * 16000, "not TOML: exceeds the limit"),
    "not UTF-8": (b"hosts = []\n# \xff\n", "not UTF-8 in line 2"),
    "too large": ("#" * 16385, "larger than 16384 bytes"),
}


@pytest.mark.parametrize(("text", "message"), UNREADABLE.values(), ids=list(UNREADABLE))
def test_a_profile_that_cannot_tell_its_hosts_concerns_those_without_another(
    home: Home, text: str | bytes, message: str
) -> None:
    path = home.write("broken.toml", text)
    home.profile("server.toml")
    assert found(home, "server.example").path == str(home.profiles / "server.toml")
    with pytest.raises(ProfileError) as caught:
        find(home.path, Wanted("other.example"))
    assert str(caught.value).startswith(f"{path}: {message}")
    assert caught.value.hint


def test_a_profile_that_others_can_read_concerns_its_own_hosts_only(
    home: Home,
) -> None:
    home.profile().chmod(0o644)
    assert find(home.path, Wanted("other.example")) is None
    with pytest.raises(ProfileError, match="other users can read or change it"):
        find(home.path, Wanted("server.example"))


def test_two_profiles_for_one_host_are_one_too_many(home: Home) -> None:
    first, second = home.profile("a.toml"), home.profile("b.toml")
    with pytest.raises(ProfileError) as caught:
        find(home.path, Wanted("SERVER.example"))
    assert str(caught.value) == f"{second}: names 'SERVER.example' as {first} does"
    assert caught.value.hint == f"take the host out of one of them, or: rm {second}"


def test_a_directory_that_is_none_is_told(home: Home) -> None:
    os.mkdir(home.path)
    home.profiles.write_text("")
    with pytest.raises(ProfileError) as caught:
        find(home.path, Wanted("server.example"))
    assert str(caught.value) == f"{home.profiles}: cannot be read: not a directory"
    assert caught.value.hint == f"see whose it is with: ls -ld {home.profiles}"


DAMAGED = {
    "server": encode_key(PUBLIC, bytes(32))[:-1] + "_",
    "psk": encode_key(PUBLIC, bytes(32)),
    "secret": encode_key(SECRET, bytes(32))[:-4],
}


@pytest.mark.parametrize(("key", "text"), DAMAGED.items())
def test_a_damaged_key_is_told_and_not_shown(home: Home, key: str, text: str) -> None:
    path = home.profile(**{key: f'"{text}"'})
    with pytest.raises(ProfileError) as caught:
        load_keys(found(home, "server.example"), home.path)
    assert str(caught.value).startswith(f"{path}: '{key}': ")
    assert text not in str(caught.value) + caught.value.hint
    assert "spassh import --force" in caught.value.hint


def test_a_missing_key_of_ones_own_is_told(home: Home) -> None:
    home.profile(secret="")
    with pytest.raises(ProfileError) as caught:
        load_keys(found(home, "server.example"), home.path)
    assert str(caught.value) == f"{home.key}: there is no key"
    assert "spassh keygen" in caught.value.hint


@pytest.mark.parametrize("text", ["", "\n", encode_key(PSK, bytes(32)), "a\nb\n"])
def test_a_damaged_key_of_ones_own_is_told(home: Home, text: str) -> None:
    home.profile(secret="")
    home.write_key(text or " ")
    with pytest.raises(ProfileError, match="key: not a key: ") as caught:
        load_keys(found(home, "server.example"), home.path)
    assert caught.value.hint == "put back the line that 'spassh keygen' wrote"


def test_a_key_of_ones_own_that_others_can_read_is_refused(home: Home) -> None:
    home.profile(secret="")
    home.write_key(mode=0o604)
    with pytest.raises(ProfileError) as caught:
        load_keys(found(home, "server.example"), home.path)
    assert str(caught.value) == f"{home.key}: other users can read or change it"
    assert caught.value.hint == f"chmod 600 {home.key}"


def test_reading_one_profile_checks_all_of_it(home: Home) -> None:
    path = home.profile()
    assert read_profile(str(path)) == PROFILE._replace(path=str(path))
    path.chmod(0o620)
    with pytest.raises(ProfileError, match="other users"):
        read_profile(str(path))
    with pytest.raises(FileNotFoundError):
        read_profile(str(path) + ".gone")


def test_the_fields_of_these_tests_are_a_whole_profile(home: Home) -> None:
    assert set(FIELDS) < {"hosts", "user", "server", "psk", "secret", "port", "timeout"}
