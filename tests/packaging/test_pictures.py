"""The pictures of the README: harmless, and of what the programs do now."""

import ast
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from picture import terminal, way
from picture.login import Login
from picture.screen import Span, read_screen

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
SVG = "{http://www.w3.org/2000/svg}"

LOGIN = Login(192, 0.5, 2.5, 2.6, 30.0, "tcp/22 for 192.0.2.2 from port 50000", 15)


def texts(svg: str) -> list[str]:
    root = ET.fromstring(svg)  # noqa: S314 - our own file
    return ["".join(one.itertext()) for one in root.iter(f"{SVG}text")]


def without_numbers(lines: list[str]) -> list[str]:
    return [re.sub(r"\d+", "0", line) for line in lines]


@pytest.mark.parametrize("name", ["demo.svg", "way.svg"])
def test_a_picture_is_shown_and_loads_nothing(name: str) -> None:
    assert f"(docs/pictures/{name})" in (ROOT / "README.md").read_text()
    text = (PICTURES / name).read_text(encoding="utf-8")
    root = ET.fromstring(text)  # noqa: S314 - our own file
    assert root[0].tag == f"{SVG}title"
    allowed = {"svg", "title", "g", "rect", "circle", "line", "path", "text", "tspan"}
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= allowed
    assert not re.search(r"href|url\(|on\w+=", text)


def test_the_terminal_shows_every_line_of_the_demo() -> None:
    shown = "\n".join(texts((PICTURES / "demo.svg").read_text(encoding="utf-8")))
    source = (ROOT / "scripts" / "demo.py").read_text(encoding="utf-8")
    said = [
        part.value
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in {"step", "tell"}
        for argument in call.args
        for part in (
            argument.values if isinstance(argument, ast.JoinedStr) else [argument]
        )
        if isinstance(part, ast.Constant) and re.search("[a-z]{3}", str(part.value))
    ]
    assert len(said) > 15
    assert [one for one in said if str(one) not in shown] == [], "run scripts/pictures"
    assert "FAILED" not in shown


def test_the_way_of_a_packet_is_what_would_be_drawn_now() -> None:
    kept = texts((PICTURES / "way.svg").read_text(encoding="utf-8"))
    drawn = texts(way.render("A title", LOGIN))
    assert without_numbers(kept) == without_numbers(drawn), "run scripts/pictures"
    assert "at most 0.5 ms" in drawn


def test_a_screen_is_read_with_its_looks() -> None:
    lines = read_screen("\033[2m 1 s\033[0m  \033[32mok\033[0m <b>\r\nplain\n")
    time, sign = Span(" 1 s", ("dim",)), Span("ok", ("green",))
    assert lines == [
        [time, Span("  ", ()), sign, Span(" <b>", ())],
        [Span("plain", ())],
    ]
    assert texts(terminal.render("A title", lines)) == [" 1 s  ok <b>", "plain"]


def test_a_screen_that_is_more_than_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="more than colours"):
        read_screen("one\033[2Atwo")
