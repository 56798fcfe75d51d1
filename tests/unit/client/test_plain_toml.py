import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors.strategies import repeatable

from spassh.plain_toml import read

PLAIN = """\
# Written by 'spassh import'. spassh.toml(5) explains the keys.
hosts = ["server.example", "192.0.2.1"]

  user="alice"
name = ""
 # indented
port =   62201
schedule = [0,200 , 1000]
Müller = 1
"""


def test_what_is_plain_is_read() -> None:
    assert read(PLAIN.replace("Müller", "a-b_9")) == {
        "hosts": ["server.example", "192.0.2.1"],
        "user": "alice",
        "name": "",
        "port": 62201,
        "schedule": [0, 200, 1000],
        "a-b_9": 1,
    }
    assert read("") == read("\n\n# nothing") == {}


@pytest.mark.parametrize(
    "text",
    [
        "Müller = 1",
        'a = "b" # c',
        "a = 'b'",
        'a = """b"""',
        'a = "b\\n"',
        'a = "b',
        'a = b"',
        'a = "',
        'a = "b" "c"',
        "a = 1_000",
        "a = +1",
        "a = -1",
        "a = 01",
        "a = 1.5",
        "a = 0x1f",
        "a = \u0661",
        "a = " + "1" * 19,
        "a = " + "1" * 5000,
        "a = true",
        "a = 1979-05-27",
        "a = []",
        "a = [ ]",
        "a = [1, 2,]",
        "a = [[1], [2]]",
        "a = [1",
        "a = [",
        "a = 1]",
        'a = ["b, c", "d"]',
        "a = {b = 1}",
        "a.b = 1",
        '"a" = 1',
        "a = 1\na = 1",
        "[a]",
        "a",
        "a =",
        "= 1",
        "a = 1\r\n",
        "a\t= 1",
        "# \x00",
        "# \x7f",
        '\ufeffa = "b"',
        'a = "\u2028"',
    ],
)
def test_everything_else_is_left_to_tomllib(text: str) -> None:
    assert read(text) is None


_inside = st.sampled_from(["x", ", ", '"', "\\", "#", "]", "\u00e9"])
_strings = st.lists(_inside, max_size=3).map(lambda parts: f'"{"".join(parts)}"')
_scalars = _strings | st.sampled_from(["0", "7", "62201", "01", "+1", "true", "'x'"])
_lists = st.lists(_scalars, min_size=1, max_size=3).map(", ".join).map("[{}]".format)
_lines = st.tuples(
    st.sampled_from(["a", "a", "b", "A-1", "a.b", "\u00e9"]),
    st.sampled_from([" = ", "=", "  =  ", "\t= "]),
    st.sampled_from(["1", '"x"', "[1, 2]"]),
    st.sampled_from(["", "", " ", "\t", "\r", "\f", "\u2028", " # c"]),
).map("".join)
_others = st.sampled_from(["", " ", "# c", " # \u00e9", "# \x00", "# \x7f", "[a]"])


def check(text: str) -> None:
    table = read(text)
    if table is not None:
        expected = tomllib.loads(text)
        assert table == expected
        assert [*map(type, table.values())] == [*map(type, expected.values())]
        assert list(table) == list(expected)


@settings(repeatable, max_examples=500)
@given(_scalars | _lists)
def test_a_value_that_is_read_is_what_tomllib_reads(value: str) -> None:
    check(f"a = {value}")


@settings(repeatable, max_examples=500)
@given(st.lists(_lines | _others, max_size=3))
def test_lines_that_are_read_are_what_tomllib_reads(lines: list[str]) -> None:
    check("\n".join(lines))


@settings(repeatable, max_examples=500)
@given(st.text(max_size=30))
def test_text_that_is_read_is_what_tomllib_reads(text: str) -> None:
    check(text)
    check(f"a = {text}")
    check(f'a = "{text}"')
