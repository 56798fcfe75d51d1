"""The program that ssh starts is ours, and loads nothing on its own account."""

import ast
import os
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "bin" / "spassh"


def test_the_program_imports_the_client_and_nothing_else() -> None:
    imported = []
    for node in ast.walk(ast.parse(PROGRAM.read_text())):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported.append(node.module or "")
    assert imported == ["sys", "spassh.cli"]


def test_pip_installs_it_with_its_own_interpreter_in_the_first_line() -> None:
    installed = Path(sys.executable).with_name("spassh")
    ours, theirs = (path.read_text().splitlines() for path in (PROGRAM, installed))
    # What installers replace, and in which no option would survive.
    assert ours[0] == "#!python"
    assert theirs[0].startswith(f"#!{Path(sys.executable).parent}")
    assert theirs[1:] == ours[1:]
    assert os.access(installed, os.X_OK)
