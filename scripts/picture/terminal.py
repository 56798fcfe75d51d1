"""A terminal with lines in it."""

from html import escape

from .screen import Span
from .svg import MONOSPACE, document, element

_SIZE = 14
_WIDTH, _HEIGHT = 8.43, 20
"""Of a character, in the units of the picture."""
_EDGE = 16
_BAR = 30
_LOOKS: dict[str, dict[str, object]] = {
    "bold": {"font_weight": "bold", "fill": "#f0f6fc"},
    "dim": {"fill": "#8b949e"},
    "red": {"fill": "#ff7b72"},
    "green": {"fill": "#56d364"},
    "yellow": {"fill": "#e3b341"},
}


def render(title: str, lines: list[list[Span]]) -> str:
    """Return a picture of a terminal that is as large as `lines` take."""
    columns = max(sum(len(span.text) for span in line) for line in lines)
    width = 2 * _EDGE + columns * _WIDTH
    height = _BAR + _EDGE + len(lines) * _HEIGHT
    return document(
        title,
        round(width),
        height,
        element("rect", width="100%", height="100%", rx=8, fill="#0d1117"),
        *(
            element("circle", cx=_EDGE + 6 + 18 * at, cy=17, r=5, fill=color)
            for at, color in enumerate(("#ff5f57", "#febc2e", "#28c840"))
        ),
        element(
            "g",
            "\n",
            *(
                _line(line, _BAR + (number + 1) * _HEIGHT - 5)
                for number, line in enumerate(lines)
            ),
            font_family=MONOSPACE,
            font_size=_SIZE,
            fill="#c9d1d9",
        ),
    )


def _line(line: list[Span], y: int) -> str:
    spans = []
    for text, looks in line:
        attributes: dict[str, object] = {}
        for look in looks:
            attributes |= _LOOKS[look]
        spans.append(
            element("tspan", escape(text), **attributes) if looks else escape(text)
        )
    length = sum(len(span.text) for span in line)
    if not length:
        return ""
    # Whatever font there is, columns stand below each other.
    fit = {"textLength": round(length * _WIDTH, 1), "lengthAdjust": "spacingAndGlyphs"}
    space = {"xml:space": "preserve"}
    return element("text", *spans, x=_EDGE, y=y, **fit, **space) + "\n"
