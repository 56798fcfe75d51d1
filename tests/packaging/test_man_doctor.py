"""Both doctors: what the man pages list is what the code can find, and back."""

import ast
import re
from collections.abc import Iterator
from itertools import product
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


# What is seen

HANDED_ON = {
    *("str(error)", "one.reason", "seen.unknown", "seen.why", "service.problem"),
    *("disk.problem", "warning", "why"),
}
"""What is another's word: an error, what a back end warns of, or what ssh says."""

PARTS = {
    "_judge_ours": ("ssh_config", ""),
    "_judge_other": ("ssh_config", ""),
    "_faults": ("store", "\0: "),
}
"""Functions that say the end of what a check has seen, and what comes before it."""


def assigned(function: ast.FunctionDef, name: str) -> Iterator[ast.expr]:
    """Yield what a variable of a function can be, or what a list has."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            yield node.value
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == f"{name}.append":
            yield node.args[0]


def alternatives(value: ast.AST) -> list[ast.expr]:
    """Return the expressions one of which it is, or nothing if it is itself."""
    if isinstance(value, ast.IfExp):
        return [value.body, value.orelse]
    if isinstance(value, ast.BoolOp):
        return value.values
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Mult):
        return [ast.Constant(""), value.left]  # a text, times whether it is there
    return [value.value] if isinstance(value, ast.FormattedValue) else []


def texts(value: ast.AST, function: ast.FunctionDef, seen: str = "") -> set[str]:
    """Return the texts that an expression can be, with NUL for what is filled in.

    `seen` is the variable that it is for: of itself it is what it was.
    """
    if isinstance(value, ast.Constant):
        return {str(value.value)}
    if choice := alternatives(value):
        return set().union(*(texts(one, function, seen) for one in choice))
    if isinstance(value, ast.JoinedStr):
        parts = [texts(part, function, seen) for part in value.values]
        return {"".join(chosen) for chosen in product(*parts)}
    name = ast.unparse(value)
    if isinstance(value, ast.Call) and name.startswith("list_some("):
        name = ast.unparse(value.args[0])
    found = {"\0"} if name == seen else set()
    if name not in {seen, *HANDED_ON}:
        for one in assigned(function, name):
            found |= texts(one, function, name)
    return found or {"\0"}


def sayings(side: str) -> set[tuple[str, str]]:
    """Return what there is to see: the check, and such a text."""
    found: set[tuple[str, str]] = set()
    for function in nodes(side):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            value: ast.AST | None = None
            check, before = PARTS.get(function.name, ("", ""))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
                check, before = ast.literal_eval(node.args[0]), ""
                value = node.args[2]
            elif check and isinstance(node, ast.Tuple):
                value = node.elts[-2]
            elif isinstance(node, ast.AugAssign) and not check:
                check = check_of(function)
                before, value = "\0", node.value
            if value is not None and check:
                found |= {(check, before + text) for text in texts(value, function)}
    return {(check, text) for check, text in found if re.search("[a-z]{2}", text)}


def check_of(function: ast.FunctionDef) -> str:
    """Return the check that a function is for, or nothing."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
            return str(ast.literal_eval(node.args[0]))
    return ""


def listed_sayings(side: str) -> set[tuple[str, str]]:
    page = {"client": CLIENT, "server": SERVER}[side]
    section = re.split(r"\n\.S[hs] ", page.split("\n.Ss Findings of doctor\n")[1])[0]
    found = set()
    for block in section.split("\n.It Li ")[1:]:
        check, *items = re.split(r"\n(?:\.Bl -dash -compact\n)?\.It\n", block)
        for item in items:
            text = " ".join(item.removesuffix("\n.El").removesuffix("\n.El").split())
            found.add((check, text.replace("\\-", "-").replace("\\(aq", "'")))
    return found


@each
def test_everything_that_is_seen_is_in_the_list_of_messages_and_back(side: str) -> None:
    said = {
        (check, "[A-Z]+".join(map(re.escape, text.split("\0"))))
        for check, text in sayings(side)
    }
    listed = listed_sayings(side)
    assert len(listed) > 40

    def is_in(check: str, pattern: str, item: tuple[str, str]) -> bool:
        return check == item[0] and re.fullmatch(pattern, item[1]) is not None

    unlisted = [one for one in said if not any(is_in(*one, item) for item in listed)]
    unsaid = [item for item in listed if not any(is_in(*one, item) for one in said)]
    assert (sorted(unlisted), sorted(unsaid)) == ([], [])
