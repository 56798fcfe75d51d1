"""`spasshd doctor`: what it prints, and what it exits with."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spassh.protocol.finding import Finding, Result

pytest.importorskip("scapy.libs.winpcapy")

from spassh_server import cli
from spassh_server.toml import ConfigError
from spassh_server.verbs import doctor

Captured = pytest.CaptureFixture[str]
Doctor = Callable[..., tuple[int, str, str]]

FINE = Finding("order", Result.OK, "all is \x1b[2Jwell", "", {"in_place": True})
NOTE = Finding("clock", Result.WARNING, "nobody keeps it right", "set it")
FAULT = Finding("store", Result.PROBLEM, "it is full", "make room")


@pytest.fixture
def verb(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Run the verb as root, with findings that are made up."""
    path = tmp_path / "spasshd.toml"
    path.write_text("")
    path.chmod(0o600)

    def run(
        *findings: Finding | ConfigError, json_too: bool = False
    ) -> tuple[int, str, str]:
        def visit(_: object) -> Iterator[Finding]:
            for one in findings:
                if isinstance(one, ConfigError):
                    raise one
                yield one

        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(doctor, "visit", visit)
        words = ["doctor", "--config", str(path)] + ["--json"] * json_too
        code = cli.main(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.mark.parametrize(
    ("findings", "code"),
    [((), 0), ((FINE,), 0), ((FINE, NOTE), 0), ((FAULT, FINE), 1)],
)
def test_only_a_problem_makes_the_status_one(
    verb: Doctor, findings: tuple[Finding, ...], code: int
) -> None:
    assert verb(*findings)[0] == verb(*findings, json_too=True)[0] == code


def test_people_get_a_line_and_its_remedy(verb: Doctor) -> None:
    assert verb(FINE, FAULT) == (
        1,
        (
            "ok       order: all is \\x1b[2Jwell\n"
            "problem  store: it is full\n"
            "         hint: make room\n"
        ),
        "",
    )


def test_programs_get_one_object(verb: Doctor) -> None:
    code, out, err = verb(FINE, NOTE, json_too=True)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert json.loads(out) == {
        "result": "warning",
        "findings": [
            {
                "check": "order",
                "result": "ok",
                "seen": FINE.seen,
                "remedy": "",
                "data": {"in_place": True},
            },
            {
                "check": "clock",
                "result": "warning",
                "seen": NOTE.seen,
                "remedy": "set it",
                "data": {},
            },
        ],
    }


def test_a_mistake_in_a_file_is_a_finding_after_those_before_it(verb: Doctor) -> None:
    error = ConfigError("/x", 3, "user", "no account 'y'", "make it")
    code, out, _ = verb(FINE, error)
    assert code == 1
    assert out.splitlines()[1:] == [
        "problem  configuration: /x:3: user: no account 'y'",
        "         hint: make it",
    ]


def test_who_is_not_root_gets_no_findings(
    verb: Doctor, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "spasshd: error: spasshd doctor needs root\nspasshd: hint: run this as root\n"
    )
