"""docs/THREATS.md says everything about each attack, and its tests exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "THREATS.md").read_text(encoding="utf-8")
ATTACKS: dict[str, str] = dict(
    re.findall(r"^### (.*?)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
)
PARTS = ["Costs", "We do", "We do not", "Shown by"]


@cache
def names_in(path: str) -> set[str]:
    """Return the names of the tests in a file, with their classes before them."""
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}::{one.name}"
                for one in node.body
                if isinstance(one, ast.FunctionDef)
            }
    return {name for name in found if name.split("::")[-1].startswith("test_")}


def named(text: str) -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", text)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_has_all_its_parts_and_its_tests_exist(attack: str) -> None:
    text = ATTACKS[attack]
    parts = re.split(r"^\* \*\*(.*?)\*\*:", text, flags=re.MULTILINE)
    assert parts[1::2] == PARTS
    shown = parts[-1]
    tests = named(shown)
    assert len(tests) == shown.count("`") // 2 > 0
    assert len(tests) == len(set(tests))
    for path, name in tests:
        assert name in names_in(path), f"{path}::{name}"


def test_every_attack_is_looked_at_and_no_test_is_named_elsewhere() -> None:
    assert len(ATTACKS) == TEXT.count("\n### ") > 20
    assert len(named(TEXT)) == TEXT.count("`tests/") - len(
        re.findall(r"`tests/\w+`", TEXT)
    )
