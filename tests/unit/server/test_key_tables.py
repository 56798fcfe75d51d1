import pytest
from unit.server.parties import CONFIG, NOW, key, key_table

from spassh_server.key_tables import end_keys, with_key, without_key
from spassh_server.key_tables import key_table as spell
from spassh_server.users import User, UserKey, parse_user

LATER = NOW + 86_400_000
"""2026-01-02, to the second."""


def read(text: str) -> User:
    return parse_user("ada", text, "ada.toml", CONFIG)


def ended(*keys: UserKey) -> tuple[UserKey, ...]:
    return tuple(one if one.expires else one._replace(expires=LATER) for one in keys)


def test_a_key_gets_an_end_right_below_its_header() -> None:
    lines = key_table(1).splitlines()
    expected = [lines[0], "expires = 2026-01-02T00:00:00Z", *lines[1:], ""]
    assert end_keys(key_table(1), LATER) == "\n".join(expected)


def test_an_end_is_cut_to_the_second_before() -> None:
    assert end_keys(key_table(1), LATER + 999) == end_keys(key_table(1), LATER)


def test_every_key_without_an_end_gets_one_and_no_other() -> None:
    soon = NOW + 1000
    text = (
        f"# Ada\nlifetime = 7\n\n{key_table(1)}\n"
        f"{key_table(2)}expires = 2026-01-01T00:00:01Z  # this one goes first\n"
        f"{key_table(3)}"
    )
    before = read(text)
    after = read(end_keys(text, LATER))
    assert after == before._replace(keys=ended(*before.keys))
    assert [one.expires for one in after.keys] == [LATER, soon, LATER]


@pytest.mark.parametrize(
    "line",
    [
        "expires=2030-01-01",
        "  expires   =  2030-01-01",
        '"expires" = 2030-01-01',
        "'expires' = 2030-01-01",
    ],
)
def test_an_end_may_be_spelled_in_any_way(line: str) -> None:
    text = f"{key_table(1)}{line}\n{key_table(2)}"
    before = read(text)
    assert before.keys[0].expires > LATER
    assert read(end_keys(text, LATER)).keys == ended(*before.keys)


@pytest.mark.parametrize(
    "header",
    ["[[key]]", "  [[ key ]]", "[[key]]  # a laptop", '[["key"]]', "[['key']] # x"],
)
def test_a_header_may_be_spelled_in_any_way(header: str) -> None:
    text = key_table(1).replace("[[key]]", header) + key_table(2)
    assert read(end_keys(text, LATER)).keys == ended(key(1), key(2))


def test_the_end_of_the_user_is_not_that_of_a_key() -> None:
    text = f"expires = 2030-01-01\n{key_table(1)}# expires = 2030-01-01\n"
    before = read(text)
    after = read(end_keys(text, LATER))
    assert after.expires == before.expires
    assert after.keys == ended(key(1))


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_comment_never_becomes_a_line_of_its_own(end: str) -> None:
    """For some of these are ends of lines in Python, and in TOML none is."""
    text = f"# it was{end}any_address = true\n{key_table(1)}"
    after = end_keys(text, LATER)
    assert after.startswith(f"# it was{end}any_address = true\n[[key]]\n")
    if end in "\x85\u2028\u2029":
        assert read(text).any_address is read(after).any_address is False


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_what_is_there_stays_and_ends_with_a_line(end: str) -> None:
    text = f"# Ada\n\n{key_table(1)}# the end{end}"
    after = end_keys(text, LATER)
    lines = after.splitlines()
    assert lines.pop(3) == "expires = 2026-01-02T00:00:00Z"
    assert "\n".join(lines).rstrip("\n") == text.rstrip("\n")
    assert after.endswith("\n")
    assert read(after + key_table(2)).keys == (*ended(key(1)), key(2))


def test_a_file_with_the_line_ends_of_windows_is_read_back() -> None:
    text = f"lifetime = 7\n{key_table(1)}".replace("\n", "\r\n")
    assert read(end_keys(text, LATER) + key_table(2)).keys == (*ended(key(1)), key(2))


def test_a_second_time_changes_nothing() -> None:
    once = end_keys(key_table(1) + key_table(2), LATER)
    assert end_keys(once, LATER + 86_400_000) == once


def test_a_key_is_spelled_as_it_is_read() -> None:
    for invite in (False, True):
        for expires in (0, LATER):
            one = key(1)._replace(invite=invite, expires=expires)
            text = spell(one.public, one.psk, invite=invite, expires=expires)
            assert read(text).keys == (one,)


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "# the end", "\r\n"])
def test_a_key_more_changes_nothing_else(end: str) -> None:
    text = f"# Ada\nlifetime = 7\n\n{key_table(1)}{end}"
    before = read(text)
    after = with_key(text, spell(key(2).public, key(2).psk))
    assert after.startswith(text.removesuffix("\n"))
    assert read(after) == before._replace(keys=(key(1), key(2)))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_key_less_changes_nothing_else(number: int) -> None:
    text = "# Ada\nlifetime = 7\n" + "".join(
        f"\n# laptop {one}\n{key_table(one)}expires = 2030-01-0{one}\n"
        for one in (1, 2, 3)
    )
    before = read(text)
    after = without_key(text, number)
    keys = list(before.keys)
    del keys[number]
    assert read(after) == before._replace(keys=tuple(keys))
    # What is said of the others stays with them.
    for at in (1, 2, 3):
        if at != number + 1:
            assert f"# laptop {at}\n[[key]]\n" in after
    assert "\n\n\n" not in after


def test_what_was_added_can_be_taken_away_again() -> None:
    text = f"# Ada\nlifetime = 7\n\n{key_table(1)}"
    more = with_key(text, spell(key(2).public, key(2).psk, invite=True))
    assert without_key(more, 1) == text


@pytest.mark.parametrize("header", ["  [[ key ]]", "[[key]]  # a laptop", '[["key"]]'])
def test_a_key_is_found_however_its_header_is_spelled(header: str) -> None:
    text = key_table(1) + key_table(2).replace("[[key]]", header)
    assert read(without_key(text, 1)).keys == (key(1),)


def test_of_tables_that_are_not_there_none_is_taken() -> None:
    with pytest.raises(IndexError):
        without_key(key_table(1), 1)
