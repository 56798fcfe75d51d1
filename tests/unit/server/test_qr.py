"""QR codes: what a terminal shows is read by a program that knows nothing of ours."""

import subprocess
from pathlib import Path
from shutil import which

import pytest

from spassh_server import qr

CELLS = {" ": (0, 0), "\u2580": (1, 0), "\u2584": (0, 1), "\u2588": (1, 1)}
"""The dark modules, upper and lower, that a character shows."""


def modules(shown: str) -> list[list[int]]:
    """Return what somebody sees who looks at the terminal: 1 is dark."""
    rows = []
    for line in shown.splitlines():
        begin, cells = line[:8], line[8:].removesuffix("\x1b[0m")
        assert begin == "\x1b[30;47m"
        pairs = [CELLS[cell] for cell in cells]
        rows += [[upper for upper, _ in pairs], [lower for _, lower in pairs]]
    return rows


def scanned(shown: str, directory: Path) -> str:
    """Hold a camera at the terminal."""
    if which("zbarimg") is None:
        pytest.skip("no zbarimg: scripts/test installs it")
    rows = [
        b"".join((b"\0" if one else b"\xff") * 4 for one in row)
        for row in modules(shown)
        for _ in range(4)
    ]
    picture = directory / "code.pgm"
    size = f"P5 {len(rows[0])} {len(rows)} 255\n"
    picture.write_bytes(size.encode() + b"".join(rows))
    argv = ["zbarimg", "--quiet", "--raw", "--nodbus", str(picture)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return done.stdout.removesuffix("\n")


@pytest.mark.parametrize("size", [1, 30, 180, 230, 560])
def test_what_is_shown_is_what_a_reader_reads(size: int, tmp_path: Path) -> None:
    pytest.importorskip("segno", reason="segno is not installed: scripts/test does it")
    text = ("spassh-invite-1-" + "Az09-_" * 100)[:size]
    shown = qr.render(qr.encode(text))
    assert scanned(shown, tmp_path) == text


def test_two_rows_are_one_line_and_light_is_all_around() -> None:
    shown = qr.render([[1, 0, 1], [1, 1, 0], [0, 0, 1]])
    begin, end = "\x1b[30;47m", "\x1b[0m\n"
    empty = begin + " " * 11 + end
    assert shown == (
        empty * 2
        + f"{begin}    \u2588\u2584\u2580    {end}"
        + f"{begin}      \u2580    {end}"
        + empty * 2
    )
    assert qr.columns([[1, 0, 1]]) == 11


@pytest.mark.parametrize("size", [1, 2])
def test_as_many_light_rows_as_the_standard_demands_are_below(size: int) -> None:
    rows = modules(qr.render([[1] * size] * size))
    assert len(rows) % 2 == 0
    assert rows[4:][:size] == [[0] * 4 + [1] * size + [0] * 4] * size
    assert not any(map(any, rows[:4] + rows[4 + size :]))
    assert len(rows) >= size + 8


def test_the_code_of_an_invite_fits_a_terminal() -> None:
    """One with a passphrase, of a user and a host with names of 20 letters."""
    pytest.importorskip("segno", reason="segno is not installed: scripts/test does it")
    assert qr.columns(qr.encode("x" * 262)) <= 80
