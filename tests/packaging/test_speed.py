"""What the README says of speed is what a run of scripts/bench has found."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import report
from figures import Figures

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SVG = "{http://www.w3.org/2000/svg}"


def recorded() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((ROOT / "docs" / "speed.json").read_text())
    return read


def made(*figures: Figures) -> dict[str, Any]:
    return {
        "command": "sudo scripts/bench",
        "environment": "Linux",
        "date": "2026-01-02",
        "figures": [one.as_dict() for one in figures],
    }


FASTER = Figures("packet to SYN answered, nftables", [0.5], [10.0], "<= 0.5")
LARGER = Figures("memory (PSS) at rest", [30.0], [3.0], "<= 45", "MB")
MORE = Figures("grants in a second, nftables", [2000.0], [50.0], "", "/s", more=True)
NONE = Figures("wake-ups a minute, at rest", [0.0], [600.0], "0", "")


def test_the_readme_has_the_table_of_the_recorded_run() -> None:
    assert report.in_readme(README, recorded()) == README


def test_the_picture_is_of_the_recorded_run_and_loads_nothing() -> None:
    text = (ROOT / "docs" / "pictures" / "speed.svg").read_text(encoding="utf-8")
    assert text == report.picture(recorded())
    assert "(docs/pictures/speed.svg)" in README
    allowed = {"svg", "title", "rect", "text"}
    root = ET.fromstring(text)  # noqa: S314 - our own file
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= allowed
    assert not re.search(r"href|url\(|on\w+=", text)


def test_every_headline_is_in_the_recorded_run() -> None:
    names = [one["name"] for one in recorded()["figures"]]
    for head in report.HEADLINES:
        assert any(name.startswith(head) for name in names), head


def test_the_table_has_both_sides_and_the_ratio() -> None:
    lines = report.table(made(FASTER)).splitlines()
    assert lines[2] == (
        "| packet to SYN answered, nftables | 0.50 ms | fwknopd: 10 ms | 0.05 |"
        " <= 0.5 |"
    )
    assert "Made by `sudo scripts/bench` on Linux, 2026-01-02." in " ".join(lines)


def test_a_bar_says_how_many_times_better_and_where_fwknop_is() -> None:
    svg = report.picture(made(FASTER, LARGER, MORE, NONE))
    root = ET.fromstring(svg)  # noqa: S314 - our own file
    words = [one.text for one in root.iter(f"{SVG}text")]
    assert "20 times" in words
    assert "1 / 10" in words
    assert "40 times" in words
    # How many times nothing is less than something, no bar can say.
    assert NONE.name not in words
    assert len(list(root.iter(f"{SVG}rect"))) == 3


def test_without_its_place_there_is_no_table() -> None:
    with pytest.raises(ValueError, match="no place"):
        report.in_readme("# A file", made(FASTER))
