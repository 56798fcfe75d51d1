"""The figures of a run as a table and as a picture. Pure: what it gets is the JSON."""

import math
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from picture.svg import SANS, document, element

BEGIN, END = "<!-- speed -->\n", "<!-- end of speed -->\n"
"""Between these lines the README has the table."""

HEADLINES = (
    "packet to SYN answered, nftables",
    "logins in a flood of junk",
    "logins in a flood of forgeries",
    "logins in a flood of replays",
    "a million packets of junk, processor's time",
    "refused in a second by one core",
    "processor's time of a genuine packet, 10000 users",
    "grants in a second, nftables",
    "grants in a second, iptables with ipset",
    "wake-ups a minute, at rest",
    "memory (PSS) at rest",
    "ssh host true, spassh, pypi, socket passed",
    "ssh host true, spassh, debian, socket passed",
    "ssh host true, fwknop",
    "through ssh, socket passed / plain ssh, down",
    "through ssh, socket passed / plain ssh, up",
    "through ssh, relay / plain ssh, down",
    "through ssh, relay / plain ssh, up",
    "relay / nc: a GB from the server",
    "relay / nc: a GB to the server",
)
"""What the README shows, each by the beginning of its name."""

_PLOTTED = "fwknopd"
_WIDTH, _ROW, _LEFT, _RIGHT = 900, 30, 400, 120
_INK, _GREY, _GREEN, _RED = "#1f2328", "#6e7781", "#1a7f37", "#cf222e"


def table(run: dict[str, Any]) -> str:
    """Return the headlines as a table of Markdown, with where they were made."""
    lines = [
        "| measure | spassh | beside it | ratio | to reach |",
        "|---|--:|--:|--:|---|",
    ]
    lines += [_row(one) for one in _headlines(run)]
    words = f"Made by `{run['command']}` on {run['environment']}, {run['date']}."
    return "\n".join([*lines, "", *_wrapped(f"{words} {_EXPLAINED}"), ""])


_EXPLAINED = (
    "Medians, and in brackets the 95th percentile. A ratio is of two medians of the"
    " same run: less is better, but for what is per second or a number of logins."
)


def in_readme(text: str, run: dict[str, Any]) -> str:
    """Return the README `text` with the table of `run` in its place.

    Raises:
        ValueError: there is no place for it.
    """
    found = re.compile(f"({re.escape(BEGIN)}).*({re.escape(END)})", re.DOTALL)
    if not found.search(text):
        raise ValueError("no place for the table")
    return found.sub(lambda match: f"{match[1]}{table(run)}{match[2]}", text)


def picture(run: dict[str, Any]) -> str:
    """Return an SVG: how many times better than fwknop, on a scale of powers of ten."""
    rows = [
        (one["name"], better)
        for one in _headlines(run)
        if one["beside"] == _PLOTTED and (better := _better(one)) is not None
    ]
    most = max([better for _, better in rows], default=1.0)
    scale = (_WIDTH - _LEFT - _RIGHT) / max(1.0, math.log10(most))
    title = "spassh beside fwknop 2.6: how many times better, in one run"
    parts = [_text(20, 30, title, 16, weight=600)]
    for at, (name, better) in enumerate(rows):
        y = 56 + at * _ROW
        wide = scale * abs(math.log10(better))
        colour = _GREEN if better >= 1 else _RED
        parts.append(_text(_LEFT - 12, y + 14, name, 13, anchor="end"))
        parts.append(
            element(
                "rect",
                x=_LEFT,
                y=y,
                width=f"{max(wide, 2):.0f}",
                height=18,
                rx=3,
                fill=colour,
            )
        )
        words = f"{better:.3g} times" if better >= 1 else f"1 / {1 / better:.3g}"
        parts.append(_text(_LEFT + max(wide, 2) + 8, y + 14, words, 13, weight=600))
    y = 56 + len(rows) * _ROW + 12
    where = f"{run['environment']}, {run['date']}"
    note = "On a logarithmic scale; where a bar is red, fwknop is better."
    parts.append(_text(20, y, note, 11, fill=_GREY))
    parts.append(_text(20, y + 16, where, 11, fill=_GREY))
    return document(title, _WIDTH, y + 32, *parts)


def _headlines(run: dict[str, Any]) -> list[dict[str, Any]]:
    figures: Sequence[dict[str, Any]] = run["figures"]
    return [
        one for head in HEADLINES for one in figures if one["name"].startswith(head)
    ]


def _row(one: dict[str, Any]) -> str:
    unit = f" {one['unit']}" if one["unit"] and one["unit"] != "/s" else ""
    ours = f"{_number(one['median'])}{unit}"
    if one["p95"] is not None:
        ours += f" ({_number(one['p95'])})"
    other = ""
    if one["baseline"] is not None:
        other = f"{one['beside']}: {_number(one['baseline'])}{unit}"
    ratio = "" if one["ratio"] is None else f"{one['ratio']:.2f}"
    return f"| {one['name']} | {ours} | {other} | {ratio} | {one['target']} |"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def _better(one: dict[str, Any]) -> float | None:
    """Return how many times better it is; None where one of the two is nothing."""
    ours, theirs = one["median"], one["baseline"]
    if not ours or not theirs:
        return None
    return float(ours / theirs if one["more"] else theirs / ours)


def _text(
    x: float,
    y: float,
    words: str,
    size: int,
    *,
    fill: str = _INK,
    anchor: str = "start",
    weight: int = 400,
) -> str:
    return element(
        "text",
        escape(words),
        x=f"{x:.0f}",
        y=f"{y:.0f}",
        fill=fill,
        font_family=SANS,
        font_size=size,
        font_weight=weight,
        text_anchor=anchor,
    )


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > 94:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
