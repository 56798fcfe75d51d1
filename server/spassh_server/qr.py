"""A QR code (ISO/IEC 18004) for a terminal: two modules in each character."""

from collections.abc import Sequence
from typing import Final

_QUIET: Final = 4
"""Light modules around the code, which the standard demands."""

# Black on white, whatever the colours of the terminal are: not every reader takes a
# code that is light on dark. All terminals know these two, unlike the bright ones.
_BEGIN: Final = "\x1b[30;47m"
_END: Final = "\x1b[0m"

_BLOCKS: Final = {(0, 0): " ", (1, 0): "\u2580", (0, 1): "\u2584", (1, 1): "\u2588"}
"""The character for an upper and a lower module, 1 being a dark one."""

Matrix = Sequence[Sequence[int]]


def encode(text: str) -> Matrix:
    """Return the modules of the code for `text`, 1 being a dark one.

    Raises:
        ImportError: there is no segno.
    """
    # Not at the top: it is there for those who want a code. The least of error
    # correction makes the smallest code, and no screen has scratches.
    from segno import make_qr

    matrix: Matrix = make_qr(text, error="l", boost_error=False).matrix
    return matrix


def columns(matrix: Matrix) -> int:
    """Return how many columns of a terminal the code takes."""
    return len(matrix[0]) + 2 * _QUIET


def render(matrix: Matrix) -> str:
    """Spell the code as lines for a terminal."""
    width = columns(matrix)
    beside = [0] * _QUIET
    rows = [[0] * width] * _QUIET
    rows += [[*beside, *row, *beside] for row in matrix]
    rows += [[0] * width] * (_QUIET + len(rows) % 2)
    return "".join(
        f"{_BEGIN}{''.join(map(_BLOCKS.__getitem__, zip(*pair, strict=True)))}{_END}\n"
        for pair in zip(rows[::2], rows[1::2], strict=True)
    )
