"""What the daemon that runs says of itself, if that can be believed."""

from typing import Any, Final

from . import control
from .config import Config

_KINDS: Final = {
    "ready": bool,
    "pid": int,
    "users": int,
    "widths": list,
    "counters": dict,
    "remembered": int,
    "store_problem": str,
    "gpg": bool,
    "capture_drops": int,
}
"""What the daemon answers."""


def daemon_state(settings: Config) -> dict[str, Any]:
    """Return what the daemon answers.

    Raises:
        NotRunningError: none runs.
        NoAnswerError: what answers is none of this version, or was taken over.
    """
    answer = control.ask(settings.run_dir, control.STATUS)
    if not _is_whole(answer):
        raise control.NoAnswerError("the answer makes no sense")
    return {key: answer[key] for key in _KINDS}


def _is_count(value: object) -> bool:
    # Larger ones are no numbers to those who read the metrics.
    return isinstance(value, int) and 0 <= value < 1 << 63


def _is_whole(answer: dict[str, Any]) -> bool:
    """Tell whether the listener, who may have been taken over, has answered as we do.

    What the strings say is of no account here.
    """
    return (
        all(type(answer.get(key)) is kind for key, kind in _KINDS.items())
        and all(_is_count(answer[key]) for key, kind in _KINDS.items() if kind is int)
        and all(map(_is_count, answer["counters"].values()))
        and all(type(one) is str for one in answer["widths"])
    )
