"""What can be learnt on the server itself, over ssh and without a question."""

from collections.abc import Callable
from typing import Final, NamedTuple

from ...errors import NoSpasshdError, SpasshError
from ...profile import Profile
from ...protocol.finding import Finding
from ..proof import Prover, Seen
from ..remote import Spasshd
from ..ssh import Ssh

_SECOND: Final = 1000


class Offset(NamedTuple):
    """How far the server's clock is ahead of ours, in milliseconds: between these."""

    least: int
    most: int


class There(NamedTuple):
    """What was learnt. Where something is None, `why` says why."""

    offset: Offset | None = None
    findings: list[Finding] | None = None
    """What `spasshd doctor` has found there."""
    seen: Seen | None = None
    """What spasshd saw of a test knock."""
    why: str = ""
    is_missing: bool = False
    """Whether there is no spasshd."""


def compare_clocks(ssh: Ssh, utc_ms: Callable[[], int]) -> Offset | None:
    """Ask for the time there; None if it does not say."""
    before = utc_ms()
    done = ssh.run("date", "-u", "+%s")
    return parse_time(done.output, before, utc_ms())


def parse_time(output: str, before: int, after: int) -> Offset | None:
    """Read the seconds since 1970 that were printed between `before` and `after` (ms).

    They stand on a line of their own, whatever a shell's start-up files say.
    """
    for line in reversed(output.splitlines()):
        digits = line.strip()
        if digits.isascii() and digits.isdecimal() and len(digits) <= 12:
            second = int(digits) * _SECOND
            return Offset(second - after, second + _SECOND - 1 - before)
    return None


def look_there(
    ssh: Ssh,
    spasshd: Spasshd,
    prover: Prover,
    profile: Profile | None,
    utc_ms: Callable[[], int],
) -> There:
    """Learn what there is to be learnt; with a profile, knock as a login does."""
    there = There()
    try:
        there = there._replace(offset=compare_clocks(ssh, utc_ms))
        there = there._replace(findings=spasshd.findings())
        if profile:
            there = there._replace(seen=prover.look(profile))
    except SpasshError as error:
        is_missing = isinstance(error, NoSpasshdError)
        there = there._replace(why=str(error), is_missing=is_missing)
    return there
