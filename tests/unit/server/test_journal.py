from struct import unpack_from

from hypothesis import given
from hypothesis import strategies as st

from spassh_server import journal

Fields = list[tuple[str, str]]


def read(data: bytes) -> Fields:
    """Read an entry as systemd-journald does."""
    fields = []
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + size], rest[8 + size :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        fields.append((name.decode("ascii"), value.decode()))
        data = rest
    return fields


HEAD = [
    ("MESSAGE", "granted user=ada"),
    ("PRIORITY", "6"),
    ("SYSLOG_IDENTIFIER", "spasshd"),
    ("SPASSH_EVENT", "granted"),
]


def entry(**fields: object) -> bytes:
    return journal.entry("granted", 6, "granted user=ada", fields)


def test_an_entry_is_the_documented_bytes() -> None:
    assert entry(user="ada", seconds=15) == (
        b"MESSAGE=granted user=ada\n"
        b"PRIORITY=6\n"
        b"SYSLOG_IDENTIFIER=spasshd\n"
        b"SPASSH_EVENT=granted\n"
        b"SPASSH_USER=ada\n"
        b"SPASSH_SECONDS=15\n"
    )


def test_a_value_with_a_line_break_has_its_size_before_it() -> None:
    data = entry(text="a\nPRIORITY=0")
    assert data.endswith(b"SPASSH_TEXT\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n")
    assert read(data) == [*HEAD, ("SPASSH_TEXT", "a\nPRIORITY=0")]


def test_a_message_of_two_lines_is_one_field() -> None:
    fields = read(journal.entry("error", 3, "error: a\nhint: b", {}))
    assert fields[0] == ("MESSAGE", "error: a\nhint: b")


@given(st.dictionaries(st.sampled_from(["user", "text", "knock_port"]), st.text()))
def test_no_value_can_make_a_field(values: dict[str, str]) -> None:
    expected = [
        (f"SPASSH_{name.upper()}", value.encode(errors="backslashreplace").decode())
        for name, value in values.items()
    ]
    assert read(entry(**values)) == HEAD + expected


def test_what_is_no_unicode_is_spelled_out() -> None:
    assert read(entry(text="\udcff"))[-1] == ("SPASSH_TEXT", r"\udcff")
