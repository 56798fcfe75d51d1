"""Go on when a step fails: half a firewall that was mended is better than none."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from . import FirewallError

_T = TypeVar("_T")


def attempt_all(steps: Iterable[Callable[[], _T]]) -> list[_T]:
    """Take every one of `steps` and return their results.

    Raises:
        FirewallError: a step failed, of several the first. All others were taken.
    """
    results: list[_T] = []
    failure: FirewallError | None = None
    for step in steps:
        try:
            results.append(step())
        except FirewallError as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return results
