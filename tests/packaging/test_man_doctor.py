"""Both doctors: what the man pages list is what the code can find, and back."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from spassh.protocol.finding import Result
from spassh.verbs import ssh
from spassh.verbs.doctor import port, visit
from spassh_server import control
from spassh_server.firewall import run

ROOT = Path(__file__).parents[2]
CLIENT = (ROOT / "man" / "spassh.1").read_text(encoding="ascii")
SERVER = (ROOT / "man" / "spasshd.8").read_text(encoding="ascii")

SECTIONS = {
    "client": CLIENT.split("\n.It Xo\n.Nm Cm doctor\n")[1].split("\n.It Xo\n")[0],
    "server": SERVER.split("\n.Ss doctor\n")[1].split("\n.Ss ")[0],
}
SOURCES = {
    "client": [*(ROOT / "spassh" / "verbs" / "doctor").glob("*.py")],
    "server": [
        *(ROOT / "server" / "spassh_server" / "doctor").glob("*.py"),
        ROOT / "server" / "spassh_server" / "verbs" / "doctor.py",
    ],
}

each = pytest.mark.parametrize("side", SECTIONS)


def nodes(side: str) -> Iterator[ast.AST]:
    for path in SOURCES[side]:
        yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def findings(side: str) -> list[ast.Call]:
    return [
        node
        for node in nodes(side)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Finding"
    ]


def keys(node: ast.expr | None) -> set[str]:
    if not isinstance(node, ast.Dict):
        return set()
    return {ast.literal_eval(key) for key in node.keys if key is not None}


@each
def test_every_check_is_described_and_back(side: str) -> None:
    checks = {ast.literal_eval(call.args[0]) for call in findings(side)}
    listed = re.findall(r"^\.It Li ([a-z_]+)$", SECTIONS[side], re.MULTILINE)
    assert set(listed) == checks


@each
def test_every_key_of_what_is_measured_is_described(side: str) -> None:
    measured: set[str] = set()
    for call in findings(side):
        measured |= keys(call.args[4]) if len(call.args) > 4 else set()
    for node in nodes(side):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == "data":
                measured |= keys(node.value)
    text = SECTIONS[side].split("Fl -json\nPrint one line of JSON")[1]
    words = {
        word
        for line in re.findall(r"^\.(?:It )?Li (.*)$", text, re.MULTILINE)
        for word in re.findall(r"[a-z_]+", line)
    }
    assert measured
    assert measured <= words


@each
def test_the_results_are_described_from_the_best_to_the_worst(side: str) -> None:
    assert f"\n.Li {' , '.join(Result)}" in SECTIONS[side]


def test_the_times_are_those_of_the_program() -> None:
    text = " ".join(SECTIONS["client"].split())
    assert f"and for {visit.PATIENCE} seconds at most" in text
    assert f"a login for {ssh.LOGIN_TIMEOUT:.0f} seconds" in text
    # With what is left to say when the time is over.
    rest = ssh._FAREWELL
    assert "and all of it takes two minutes at most" in text
    assert visit.LIMIT + rest < 120
    before = 2 * (visit.PATIENCE + port.GREETING) + port.UNASKED
    assert before < visit.LIMIT
    text = " ".join(SECTIONS["server"].split())
    assert f"Each program that it starts has {run.TIMEOUT_SECONDS:.0f} seconds" in text
    assert f"and the daemon {control._ANSWER_SECONDS} for an answer" in text
