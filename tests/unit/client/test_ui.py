import os

import pytest

from spassh import ui
from spassh.errors import ProfileError, SpasshError


def test_an_error_and_its_hint_are_two_lines(capfd: pytest.CaptureFixture[str]) -> None:
    ui.show(ProfileError("/a", "others can read it", "chmod 600 /a"))
    captured = capfd.readouterr()
    assert captured.err == (
        "spassh: error: /a: others can read it\nspassh: hint: chmod 600 /a\n"
    )
    assert captured.out == ""


def test_an_error_without_a_hint_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    ui.show(SpasshError("that went wrong"))
    assert capfd.readouterr().err == "spassh: error: that went wrong\n"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b31m", "\\x9b31m"),
        ("\U000e0041", "\\U000e0041"),
        ("sérveur", "sérveur"),
        (os.fsdecode(b"\xff"), "\\udcff"),
    ],
)
def test_hostile_text_cannot_steer_a_terminal(
    hostile: str, shown: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ui.show(SpasshError(f"a {hostile} b", f"c {hostile} d"))
    assert capfd.readouterr().err == (
        f"spassh: error: a {shown} b\nspassh: hint: c {shown} d\n"
    )


def test_a_closed_standard_error_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setattr(ui, "_STDERR", write)
    ui.write("nobody reads this")
    os.close(write)
    ui.write("nor this")


def test_the_story_has_times(capfd: pytest.CaptureFixture[str]) -> None:
    times = iter([7.0035, 8.25])
    tell = ui.storyteller(lambda: next(times), 7.0)
    tell("knocked")
    tell("connected\a")
    assert capfd.readouterr().err == (
        "spassh:    3.5 ms: knocked\nspassh: 1250.0 ms: connected\\x07\n"
    )


def test_silence_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    ui.silent("knocked")
    assert capfd.readouterr() == ("", "")
