import string

import pytest

from spassh.protocol.errors import TextFormError
from spassh.protocol.names import check_host, check_user, is_fingerprint


@pytest.mark.parametrize("name", ["a", "Z", "_x", "0", "a.b-c_d", "x" * 32])
def test_a_user_name_comes_back(name: str) -> None:
    assert check_user(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 33,
        ".",
        "..",
        ".a",
        "-a",
        "a/b",
        "a b",
        "a\0",
        "a\n",
        "é",
        "a:b",
        "\u0660",
    ],
)
def test_what_could_not_name_a_file_is_no_user_name(name: str) -> None:
    with pytest.raises(TextFormError, match=r"^not a user name: "):
        check_user(name)


@pytest.mark.parametrize(
    "name",
    ["a", "host.example", "192.0.2.1", "2001:db8::1", "::1", "fe80::1%eth0", "x" * 253],
)
def test_a_host_comes_back(name: str) -> None:
    assert check_host(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "x" * 254, ".a", "-oProxyCommand=x", "a b", "a;b", "a/b", "[::1]", "é", "a\n"],
)
def test_what_a_program_could_take_for_something_else_is_no_host(name: str) -> None:
    with pytest.raises(TextFormError, match=r"^not a host name or address: "):
        check_host(name)


def test_a_message_quotes_no_more_than_the_beginning_of_a_name() -> None:
    for check in (check_user, check_host):
        with pytest.raises(TextFormError) as caught:
            check("/" * 100_000)
        assert len(str(caught.value)) < 200


def test_a_message_shows_no_control_character() -> None:
    for check in (check_user, check_host):
        with pytest.raises(TextFormError) as caught:
            check("\x1b[2J\r")
        assert str(caught.value).isprintable()


def test_each_ascii_character_is_allowed_or_refused_at_each_place() -> None:
    inside = {
        check_user: string.ascii_letters + string.digits + "._-",
        check_host: string.ascii_letters + string.digits + "._-:%",
    }
    for check, allowed in inside.items():
        for letter in map(chr, range(128)):
            for name, fine in (
                (letter + "a", letter in allowed and letter not in ".-"),
                ("a" + letter, letter in allowed),
            ):
                if fine:
                    assert check(name) == name
                else:
                    with pytest.raises(TextFormError):
                        check(name)


def test_a_fingerprint_is_whole() -> None:
    assert is_fingerprint("0123456789ABCDEFabcdef0123456789ABCDEF01")
    for text in ("", "AB" * 8, "AB" * 19 + "A", "AB" * 20 + "A", "0x" + "AB" * 19):
        assert not is_fingerprint(text)
