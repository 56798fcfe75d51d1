import time

import pytest

from spassh_server import syslog

WHEN = time.struct_time((2026, 11, 3, 9, 5, 7, 1, 307, 0))


def line(message: str, priority: int = 6) -> bytes:
    return syslog.line(priority, message, 71, WHEN)


def test_a_line_is_as_rfc_3164_wants_it() -> None:
    # 86 is facility 10 (authpriv), severity 6. The day has no zero before it.
    assert line("granted user=ada") == (
        b"<86>Nov  3 09:05:07 spasshd[71]: granted user=ada"
    )
    assert line("error: x", 3).startswith(b"<83>")


@pytest.mark.parametrize(("month", "name"), [(1, b"Jan"), (9, b"Sep"), (12, b"Dec")])
def test_the_month_has_its_english_name(month: int, name: bytes) -> None:
    when = time.struct_time((2026, month, 30, 23, 59, 59, 1, 1, 0))
    assert syslog.line(6, "x", 1, when) == b"<86>%s 30 23:59:59 spasshd[1]: x" % name


def test_a_long_line_is_cut_between_two_characters() -> None:
    room = syslog.LINE_BYTES - len(line(""))
    assert line("x" * room).endswith(b": " + b"x" * room)
    assert line("x" * (room + 1)) == line("x" * room)
    assert line("x" * (room - 1) + "ä") == line("x" * (room - 1))
    assert line("x" * (room - 2) + "ä").endswith("xä".encode())


def test_what_is_no_unicode_is_spelled_out() -> None:
    assert line("\udcff").endswith(b": \\udcff")
