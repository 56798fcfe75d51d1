from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spassh_server.ports import Port
from spassh_server.toml import ConfigError, Table, read_toml

PATH = "/etc/spassh/some.toml"


def table(text: str) -> Table:
    return read_toml(text, PATH)


def test_an_error_says_where_what_and_how_to_mend_it() -> None:
    error = ConfigError(PATH, 7, "ports", "is odd", "make it even")
    assert str(error) == f"{PATH}:7: ports: is odd"
    assert error.hint == "make it even"
    assert str(ConfigError(PATH, 0, "ports", "is odd", "")) == f"{PATH}: ports: is odd"
    assert str(ConfigError(PATH, 0, "", "is odd", "")) == f"{PATH}: is odd"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb =\nc = 3\n", 2),
        ("a = 1\na = 2\n", 2),
        ("a = 1\n\n\nports = tcp/22\n", 4),
        ("a = 1\nb", 2),
        ("a = 1\nb = [1,\n2", 3),
        ("\0", 1),
        ("a = 2026-13-45", 1),
        (f"a = {'9' * 5000}", 1),
        ("a = " + "[" * 9000, 1),
    ],
    ids=[
        "no value",
        "key again",
        "no quotes",
        "cut off",
        "open list",
        "control character",
        "no such day",
        "number too long",
        "list too deep",
    ],
)
def test_what_is_not_toml_is_reported_with_its_line(text: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        table(text)
    assert str(caught.value).startswith(f"{PATH}:{line}: not valid TOML: ")
    again = text.startswith("a = 1\na")
    assert ("is there twice" if again else "quotes") in caught.value.hint


def test_a_table_that_is_there_twice_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        table("[a]\n[a]\n")
    assert "is there twice" in caught.value.hint


@settings(deadline=None)
@given(st.text(max_size=60) | st.text("a=\"'[]{}.#\n 1-:_", max_size=60))
def test_any_text_is_a_table_or_an_error_that_is_ours(text: str) -> None:
    try:
        table(text)
    except ConfigError:
        return


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("port = 1", 1),
        ("# port = 0\n\nport = 1", 3),
        ("other_port = 1\nport = 1", 2),
        ("port_other = 1\n  port   = 1", 2),
        ("'port' = 1", 1),
        ('\n"port" = 1', 2),
        ("port.number = 1", 1),
        ("\n[port]\na = 1", 2),
        ("\n[port.number]\na = 1", 2),
        ("\n[[ port ]]\na = 1", 2),
        ("[x]\nport = 1\n[port]\n", 3),
        ("a = '\u2028\x0c'\nport = 1".replace("\x0c", ""), 2),
    ],
)
def test_an_unknown_key_is_reported_with_its_line(text: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        table(text).only({"a", "x", "other_port", "port_other"})
    assert str(caught.value) == f"{PATH}:{line}: port: unknown key"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("lifetim", "lifetime"),
        ("life_time", "lifetime"),
        ("max_lifetimes", "max_lifetime"),
        ("source", "sources"),
        ("Lifetime", "lifetime"),
    ],
)
def test_an_unknown_key_suggests_the_near_one(wrong: str, right: str) -> None:
    with pytest.raises(ConfigError) as caught:
        table(f"{wrong} = 1").only(["lifetime", "max_lifetime", "sources"])
    assert caught.value.hint == f"did you mean '{right}'?"


def test_an_unknown_key_that_resembles_nothing_has_to_go() -> None:
    with pytest.raises(ConfigError) as caught:
        table("colour = 1").only(["lifetime"])
    assert caught.value.hint == "take it out"


def test_an_unknown_key_in_a_table_may_be_one_of_the_file() -> None:
    (inner,) = table('[[command]]\nname = "x"\nfwknop = true\n').tables("command", 9)
    with pytest.raises(ConfigError) as caught:
        inner.only(["name"])
    hint = "take it out, or to above the first table if it is a key of the file"
    assert (str(caught.value), caught.value.hint) == (
        f"{PATH}:3: fwknop: unknown key",
        hint,
    )


def test_known_keys_pass() -> None:
    table("a = 1\nb = 2").only(["a", "b", "c"])


@pytest.mark.parametrize(
    "value", ["0", "11", "-1", "5.0", "true", "'5'", "[5]", "{}", "1979-05-27"]
)
def test_a_number_has_to_be_one_and_within_its_bounds(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        table(f"\nn = {value}").integer("n", 3, 1, 10)
    assert str(caught.value) == f"{PATH}:2: n: expected a whole number from 1 to 10"
    assert caught.value.hint == "for example: n = 3"


@pytest.mark.parametrize("value", [1, 5, 10])
def test_a_number_within_its_bounds_is_read(value: int) -> None:
    assert value == table(f"n = {value}").integer("n", 3, 1, 10)


def test_what_is_not_there_has_its_default() -> None:
    empty = table("")
    assert empty.integer("n", 3, 1, 10) == 3
    assert empty.boolean("b", default=True)
    assert empty.string("s", "x") == "x"
    assert empty.choice("c", "x", ("x", "y")) == "x"
    assert empty.strings("l", ("x",)) == ("x",)
    assert empty.ports("p", (Port(6, 22),)) == (Port(6, 22),)
    assert empty.tables("t", 3) == []
    assert empty.networks("n") == ()
    assert empty.moment("m") == 0
    assert empty.named_tables("t", 3) == {}
    assert not empty.has("n")


@pytest.mark.parametrize("value", ["1", "0", "'true'", "[]", "1.0"])
def test_a_switch_has_to_be_true_or_false(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        table(f"\nb = {value}").boolean("b", default=False)
    assert str(caught.value) == f"{PATH}:2: b: expected true or false"
    assert caught.value.hint == "write b = true"


def test_a_switch_is_read() -> None:
    assert table("b = true").boolean("b", default=False)
    assert not table("b = false").boolean("b", default=True)


@pytest.mark.parametrize("value", ["1", "true", "''", '"a\\nb"', '"a\\u0000"', "['x']"])
def test_a_string_has_to_be_one_line(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        table(f"\ns = {value}").string("s")
    assert str(caught.value) == f"{PATH}:2: s: expected a string"
    assert caught.value.hint == 'write s = "..."'


def test_a_string_without_default_has_to_be_there() -> None:
    with pytest.raises(ConfigError) as caught:
        table("other = 1").string("s")
    assert str(caught.value) == f"{PATH}: s: is missing"
    assert caught.value.hint == 'add a line s = "..."'


def test_a_choice_has_to_be_one_of_those_there_are() -> None:
    assert table("c = 'y'").choice("c", "x", ("x", "y")) == "y"
    with pytest.raises(ConfigError) as caught:
        table("c = 'z'").choice("c", "x", ("x", "y"))
    assert str(caught.value) == f"{PATH}:1: c: expected one of x, y"
    assert caught.value.hint == 'write c = "x"'


@pytest.mark.parametrize("value", ["'x'", "1", "[1]", "['x', 1]", "[['x']]", "{}"])
def test_a_list_has_to_be_of_strings(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        table(f"\nl = {value}").strings("l", ())
    assert str(caught.value) == f"{PATH}:2: l: expected a list of strings"
    assert caught.value.hint == 'write l = ["...", "..."]'


def test_a_list_of_strings_is_read() -> None:
    assert table("l = ['x', 'y', 'x']").strings("l", ()) == ("x", "y", "x")


def test_ports_are_read_each_once() -> None:
    ports = table("p = ['tcp/22', 'udp/53', 'tcp/22']").ports("p", ())
    assert ports == (Port(6, 22), Port(17, 53))


def test_a_port_has_to_be_one() -> None:
    with pytest.raises(ConfigError) as caught:
        table("\np = ['tcp/22', '80']").ports("p", ())
    assert str(caught.value).startswith(f"{PATH}:2: p: not a port: '80'")
    assert caught.value.hint == 'write p = ["tcp/22"]'


def test_networks_are_read() -> None:
    text = "n = ['192.0.2.0/24', '198.51.100.1', '2001:db8::/32', '::1', '0.0.0.0/0']"
    assert list(map(str, table(text).networks("n"))) == [
        "192.0.2.0/24",
        "198.51.100.1/32",
        "2001:db8::/32",
        "::1/128",
        "0.0.0.0/0",
    ]


@pytest.mark.parametrize(
    ("network", "what"),
    [
        ("192.0.2.7/24", "192.0.2.7/24 has host bits set"),
        ("2001:db8::1/64", "2001:db8::1/64 has host bits set"),
        ("192.0.2.0/33", "'192.0.2.0/33' does not appear to be"),
        ("192.0.2/24", "'192.0.2/24' does not appear to be"),
        ("office", "'office' does not appear to be"),
        ("", "'' does not appear to be"),
        ("fe80::1%eth0", "'fe80::1%eth0' has a zone"),
        ("fe80::%eth0/64", "'fe80::%eth0/64' has a zone"),
        ("::1%; flush ruleset", "'::1%; flush ruleset' has a zone"),
    ],
)
def test_a_network_has_to_be_one(network: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        table(f"\nn = ['10.0.0.0/8', '{network}']").networks("n")
    assert str(caught.value).startswith(f"{PATH}:2: n: {what}")
    assert caught.value.hint == 'write a network such as "192.0.2.0/24"'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2000-01-01", datetime(2000, 1, 1, tzinfo=UTC)),
        ("2000-01-01T00:00:00Z", datetime(2000, 1, 1, tzinfo=UTC)),
        ("2030-01-31", datetime(2030, 1, 31, tzinfo=UTC)),
        ("2030-01-31T12:00:00Z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31 12:00:00z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31T12:00:00+02:00", datetime(2030, 1, 31, 10, tzinfo=UTC)),
        ("2030-01-31T23:00:00-05:30", datetime(2030, 2, 1, 4, 30, tzinfo=UTC)),
        ("2030-01-31T12:00:00-00:00", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2028-02-29", datetime(2028, 2, 29, tzinfo=UTC)),
        ("2030-01-31T12:00:00.25Z", datetime(2030, 1, 31, 12, 0, 0, 250_000, UTC)),
        ("9999-12-31", datetime(9999, 12, 31, tzinfo=UTC)),
    ],
)
def test_a_moment_is_read_as_milliseconds(value: str, expected: datetime) -> None:
    assert table(f"m = {value}").moment("m") == expected.timestamp() * 1000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # Python has no time for these two: they are outside of its years.
        ("9999-12-31T23:59:59.999-23:59", 253_402_300_799_999 + 86_340_000),
        ("2000-01-01T00:00:00+23:59", 946_684_800_000 - 86_340_000),
    ],
)
def test_the_first_and_the_last_moment_are_read(value: str, expected: int) -> None:
    assert table(f"m = {value}").moment("m") == expected


@settings(deadline=None)
@given(
    st.datetimes(datetime(2000, 1, 1), datetime(9999, 12, 31)),  # noqa: DTZ001 - TOML's local time, to which an offset is added
    st.integers(-1439, 1439),
)
def test_every_moment_is_exact_to_the_millisecond(when: datetime, offset: int) -> None:
    whole = when.replace(microsecond=when.microsecond // 1000 * 1000)
    sign, (hours, minutes) = "-+"[offset >= 0], divmod(abs(offset), 60)
    text = f"{whole.isoformat(timespec='milliseconds')}{sign}{hours:02}:{minutes:02}"
    since = whole - datetime(1970, 1, 1) - timedelta(minutes=offset)  # noqa: DTZ001 - as above
    assert table(f"m = {text}").moment("m") == since // timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "value",
    [
        "2030-01-31T12:00:00",
        "2030-01-31 12:00:00.5",
        "12:00:00",
        "1999-12-31",
        "1999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        "1893456000",
        "0",
        "1893456000.0",
        "true",
        "'2030-01-31'",
        "''",
        "[2030-01-31]",
        "{}",
    ],
)
def test_a_moment_has_to_be_one_that_everybody_reads_alike(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        table(f"\nm = {value}").moment("m")
    what = "expected a date, or a time with its offset from UTC"
    assert str(caught.value) == f"{PATH}:2: m: {what}"
    assert caught.value.hint == "write m = 2030-01-31 or m = 2030-01-31T12:00:00Z"


@pytest.mark.parametrize(
    "value",
    ["2030-02-30", "2029-02-29", "2030-01-31T24:00:00Z", "2030-01-31T12:00:60Z"],
)
def test_a_day_that_there_is_not_is_not_toml(value: str) -> None:
    with pytest.raises(ConfigError, match=r":2: not valid TOML"):
        table(f"\nm = {value}")


@pytest.mark.parametrize("value", ["t = 1", "t = [1]", "[t]\na = 1"])
def test_tables_have_to_be_a_list_of_them(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        table(f"\n{value}").tables("t", 3)
    assert str(caught.value) == f"{PATH}:2: t: expected tables"
    assert caught.value.hint == "begin each with [[t]]"


def test_there_may_be_only_so_many_tables() -> None:
    assert len(table("[[t]]\n" * 3).tables("t", 3)) == 3
    with pytest.raises(ConfigError) as caught:
        table("[[t]]\n" * 4).tables("t", 3)
    assert str(caught.value) == f"{PATH}:1: t: more than 3"


@pytest.mark.parametrize("value", ["t = 1", "t = [1]", "[[t]]", "[t]\na = 1"])
def test_named_tables_have_to_be_some(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        table(f"\n{value}").named_tables("t", 3)
    assert str(caught.value) == f"{PATH}:2: t: expected tables"
    assert caught.value.hint == "begin each with [t.NAME]"


def test_there_may_be_only_so_many_named_tables() -> None:
    text = "[t.a]\n[t.b]\n[t.c]\n"
    assert list(table(text).named_tables("t", 3)) == ["a", "b", "c"]
    with pytest.raises(ConfigError) as caught:
        table(f"{text}[t.d]").named_tables("t", 3)
    assert str(caught.value) == f"{PATH}:1: t: more than 3"
    assert caught.value.hint == "take some out"


NESTED = """\
n = 0
[t.a]
n = 0
[[t.a.l]]
n = 0
[[t.a.l]]
# n = 0
  "n" = 0
[t.b]
[[t.b.l]]
n.m = 0
[ "t" . 'c.d' ]
n = 0
[[t."c.d".l]]
[[t."c.d".l]]
x = 0
[e]
n = 0
"""


@pytest.mark.parametrize(
    ("name", "at", "line"),
    [
        ("a", None, 3),
        ("a", 0, 5),
        ("a", 1, 8),
        ("b", None, 9),
        ("b", 0, 11),
        ("c.d", None, 13),
        ("c.d", 0, 14),
        ("c.d", 1, 15),
    ],
)
def test_a_mistake_in_a_nested_table_is_reported_with_its_own_line(
    name: str, at: int | None, line: int
) -> None:
    named = table(NESTED).named_tables("t", 9)[name]
    inner = named if at is None else named.tables("l", 9)[at]
    assert str(inner.error("n", "x", "")) == f"{PATH}:{line}: n: x"


def test_a_nested_table_without_a_header_has_no_line_rather_than_a_wrong_one() -> None:
    text = "n = 1\nt = { a = { n = 0 } }\n"
    assert str(table(text).named_tables("t", 9)["a"].error("n", "x", "")) == (
        f"{PATH}: n: x"
    )


def test_the_keys_of_a_table_are_listed() -> None:
    assert table("b = 1\na = 2\n[c]").keys() == ["b", "a", "c"]


THREE = """\
[[t]]
a = 1
  [[ t ]]  # the second
b = 1

a = 'x'
[[other]]
a = 1
[['t']]
a = 1
[[t]]
b = 2
"""


def test_a_mistake_in_a_table_is_reported_with_its_own_line() -> None:
    tables = table(THREE).tables("t", 9)
    with pytest.raises(ConfigError, match=r":6: a: expected a whole number"):
        tables[1].integer("a", 1, 1, 1)


def test_what_is_missing_in_a_table_is_reported_with_the_tables_line() -> None:
    tables = table(THREE).tables("t", 9)
    with pytest.raises(ConfigError, match=r":11: a: is missing"):
        tables[3].string("a")


def test_an_unknown_key_of_a_table_is_reported_with_its_own_line() -> None:
    tables = table(THREE).tables("t", 9)
    with pytest.raises(ConfigError, match=r":4: b: unknown key"):
        tables[1].only({"a"})
