"""What a doctor finds, and its form in JSON, in which a client gets the server's.

A finding says what was looked at, what was seen, and the command or line that mends it.
"""

# No login comes by here.
from collections.abc import Iterable, Mapping, Sequence  # noqa: TID253
from enum import StrEnum  # noqa: TID253
from math import isfinite
from types import MappingProxyType
from typing import Any, Final, NamedTuple  # noqa: TID253

from .errors import TextFormError

MAX_FINDINGS: Final = 100
"""Most findings that are taken from another program."""
MAX_TEXT: Final = 2000
"""Most characters of one text in them."""
_MAX_DATA: Final = 20

Value = bool | int | float | str | None | list[str]
"""What is in `Finding.data`."""

_NOTHING: Final[Mapping[str, Value]] = MappingProxyType({})
_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz_")


class Result(StrEnum):
    """How it stands, from the best to the worst."""

    OK = "ok"
    UNKNOWN = "unknown"
    """It cannot be told from here; the remedy says how to find out."""
    WARNING = "warning"
    """It works, or may: somebody should know."""
    PROBLEM = "problem"
    """Somebody who should get in does not, or one who should not might."""


_ORDER: Final = tuple(Result)


class Finding(NamedTuple):
    """One thing that was looked at."""

    check: str
    """What was looked at: a word that stays the same, of a-z and _."""
    result: Result
    seen: str
    remedy: str = ""
    """The command or the line that mends it; empty if there is nothing to mend."""
    data: Mapping[str, Value] = _NOTHING
    """What was measured, for programs."""


def worst(findings: Iterable[Finding]) -> Result:
    """Return the worst result among `findings`, and OK if there are none."""
    results = [finding.result for finding in findings]
    return max(results, key=_ORDER.index, default=Result.OK)


def render(finding: Finding, whose: str = "") -> list[str]:
    """Return the lines for people: what was seen, and perhaps what mends it.

    What was seen may come from anywhere: whoever prints it makes it printable. With
    `whose`, the remedy is told to be for them: what another computer says is not to be
    run on this one.
    """
    check = f"{whose} {finding.check}".lstrip()
    lines = [f"{finding.result:<8} {check}: {finding.seen}"]
    if finding.remedy:
        place = f"on the {whose}: " if whose else ""
        lines.append(f"{'':8} hint: {place}{finding.remedy}")
    return lines


def encode_findings(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return `findings` ready for JSON. A text that is too long is cut."""
    return [
        {
            "check": finding.check,
            "result": str(finding.result),
            "seen": finding.seen[:MAX_TEXT],
            "remedy": finding.remedy[:MAX_TEXT],
            "data": dict(finding.data),
        }
        for finding in findings
    ]


def decode_findings(value: object) -> list[Finding]:
    """Read what `encode_findings` returned and another program printed.

    Raises:
        TextFormError: it is something else, or too much.
    """
    if not isinstance(value, list) or len(value) > MAX_FINDINGS:
        raise TextFormError("no list of findings")
    return [_decode(one) for one in value]


def _decode(value: object) -> Finding:
    if not isinstance(value, dict):
        raise TextFormError("no finding")
    check, seen, remedy = (_text(value.get(key)) for key in ("check", "seen", "remedy"))
    if not check or not _LETTERS.issuperset(check):
        raise TextFormError("no name of a check")
    try:
        result = Result(_text(value.get("result")))
    except ValueError as error:
        raise TextFormError("no result of a check") from error
    data = value.get("data")
    if not isinstance(data, dict) or len(data) > _MAX_DATA:
        raise TextFormError("no data of a check")
    return Finding(
        check, result, seen, remedy, {_text(key): _value(data[key]) for key in data}
    )


def _value(value: object) -> Value:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and isfinite(value):
        return value
    if isinstance(value, list) and len(value) <= MAX_FINDINGS:
        return [_text(one) for one in value]
    return _text(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise TextFormError("no text of a finding")
    return value
