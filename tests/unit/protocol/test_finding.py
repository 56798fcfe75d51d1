"""Findings: how they are printed, and what is taken from another program."""

import json
from typing import Any

import pytest

from spassh.protocol.errors import TextFormError
from spassh.protocol.finding import (
    MAX_FINDINGS,
    MAX_TEXT,
    Finding,
    Result,
    decode_findings,
    encode_findings,
    render,
    worst,
)

CLOCK = Finding(
    "clock",
    Result.PROBLEM,
    "it is 70 s behind",
    "timedatectl set-ntp true",
    {"seconds": -70.5, "whole": 70, "sure": True, "from": ["a", "b"], "by": None},
)
NAME = Finding("name", Result.OK, "it is there")


def test_a_finding_is_a_line_and_its_remedy_another() -> None:
    assert render(NAME) == ["ok       name: it is there"]
    assert render(CLOCK, "server") == [
        "problem  server clock: it is 70 s behind",
        "         hint: on the server: timedatectl set-ntp true",
    ]


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ("", "ok"),
        ("ok", "ok"),
        ("ok unknown", "unknown"),
        ("warning unknown ok", "warning"),
        ("unknown problem warning", "problem"),
    ],
)
def test_the_worst_of_all_counts(results: str, expected: str) -> None:
    findings = [Finding("x", Result(one), "") for one in results.split()]
    assert worst(findings) == expected


def test_findings_come_back_from_json_as_they_were() -> None:
    text = json.dumps(encode_findings([CLOCK, NAME]))
    assert decode_findings(json.loads(text)) == [CLOCK, NAME]


def test_as_much_as_is_allowed_is_taken() -> None:
    most = [NAME._replace(seen="x" * MAX_TEXT)] * MAX_FINDINGS
    assert decode_findings(encode_findings(most)) == most


def test_a_text_that_is_too_long_is_cut() -> None:
    (encoded,) = encode_findings([NAME._replace(seen="x" * (MAX_TEXT + 1))])
    assert encoded["seen"] == "x" * MAX_TEXT


(ENCODED,) = encode_findings([CLOCK])


WRONG: list[dict[str, Any]] = [
    {"check": ""},
    {"check": "\x1b[2J"},
    {"check": 7},
    {"result": "good"},
    {"result": None},
    {"seen": "x" * (MAX_TEXT + 1)},
    {"remedy": ["rm"]},
    {"data": None},
    {"data": []},
    {"data": {str(number): 1 for number in range(21)}},
    {"data": {"x": {}}},
    {"data": {"x": [1]}},
    {"data": {"x": float("nan")}},
    {"data": {"x": float("inf")}},
    {"data": {"x": ["y"] * (MAX_FINDINGS + 1)}},
]


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        "x",
        [7],
        [ENCODED] * (MAX_FINDINGS + 1),
        *([ENCODED | wrong] for wrong in WRONG),
        *([{key: ENCODED[key] for key in ENCODED if key != gone}] for gone in ENCODED),
    ],
)
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(TextFormError):
        decode_findings(value)
