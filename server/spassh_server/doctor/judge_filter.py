"""Findings about the packet filter, ours and that of others. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from spassh.protocol.finding import Finding, Result

from ..addresses import text
from ..firewall import Settings
from ..firewall.detours import Detour
from ..firewall.nftables_render import PRIORITY
from .commands import Commands
from .judge_service import MOST_NAMED
from .tracking import Tracking

_OK, _UNKNOWN = Result.OK, Result.UNKNOWN
_WARNING, _PROBLEM = Result.WARNING, Result.PROBLEM

_FULL: Final = 0.9
"""Of the entries of conntrack, from which share on there is little room."""


class Filter(NamedTuple):
    """What was asked of the packet filter."""

    name: str = ""
    """The back end, or empty if none works."""
    why: str = ""
    """Why it is this one, or why there is none."""
    hint: str = ""
    in_place: bool | None = None
    """Whether our rules are there, whole and first; None if that is not known."""
    unknown: str = ""
    """Why it is not known."""
    warnings: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Chains of others which do not lead granted packets on."""


def judge_filter(seen: Filter, commands: Commands, *, running: bool) -> list[Finding]:
    """Say which packet filter has our rules, and whether they are in place."""
    if not seen.name:
        remedy = seen.hint or commands.spasshd("check")
        return [Finding("firewall", _PROBLEM, seen.why, remedy)]
    data = {"backend": seen.name, "in_place": seen.in_place}
    found = [Finding("firewall", _OK, seen.why, "", data)]
    mend = commands.restart if running else commands.start
    if seen.in_place is None:
        remedy = seen.hint or mend
        found.append(Finding("order", _UNKNOWN, seen.unknown, remedy, data))
    elif seen.in_place:
        text = "our rules are in place and whole, and judge before those of others"
        found.append(Finding("order", _OK, text, "", data))
    else:
        text = "our rules are not in place, or not whole, or others come before them"
        found.append(Finding("order", _PROBLEM, text, mend, data))
    return found


def judge_foreign(seen: Filter, commands: Commands, *, running: bool) -> list[Finding]:
    """Say which rules of others may drop what is granted.

    Args:
        seen: what was asked.
        commands: those of the remedies.
        running: whether the daemon runs.
    """
    # Without our rules, none of others leads on yet: the start sees to that.
    missing = seen.missing if seen.in_place else ()
    found = [
        Finding(
            "foreign",
            _PROBLEM,
            f"{chain} does not begin with our rule: what is granted may be dropped",
            commands.restart if running else commands.start,
        )
        for chain in missing[:MOST_NAMED]
    ]
    found += [
        Finding("foreign", _WARNING, warning, _remedy(warning, commands))
        for warning in seen.warnings[:MOST_NAMED]
    ]
    if not found and seen.name:
        text = "no rule of others is known to drop what is granted"
        found.append(Finding("foreign", _OK, text))
    return found


def _remedy(warning: str, commands: Commands) -> str:
    """Return what mends what a back end warns of."""
    head, _, command = warning.rpartition(": ")
    if command.startswith(("sysctl ", "apt ")):
        return command
    if 'backend = "nftables"' in warning:
        where = commands.config
        return f'write backend = "nftables" in {where}, then: {commands.restart}'
    if warning.endswith("it comes before ours"):
        chain = head.removeprefix("chain ").removesuffix(" may drop granted packets")
        return (
            "let the protected ports through there, or give it a priority above"
            f" {PRIORITY}: nft -a list chain {chain}"
        )
    return "see what it has: nft list ruleset"


def judge_detours(settings: Settings, detours: Sequence[Detour]) -> list[Finding]:
    """Judge rules that send packets elsewhere, or hide them from conntrack."""
    found = []
    for detour in detours[:MOST_NAMED]:
        ports = ", ".join(map(str, detour.ports))
        if detour.translates:
            seen = (
                f"{detour.place} sends {ports} elsewhere before our rules see it:"
                " what is there is reached without a grant"
            )
            remedy = f"if that is not meant: {detour.removal}"
            found.append(Finding("bypass", _WARNING, seen, remedy))
            continue
        worth = _PROBLEM if detour.is_named else _WARNING
        seen = (
            f"{detour.place} has packets to {ports} not tracked, so that sessions end"
            " when their grant does"
        )
        found.append(Finding("bypass", worth, seen, detour.removal))
    if not found and settings.dropped:
        text = "no rule sends packets of protected ports elsewhere, or hides them"
        found.append(Finding("bypass", _OK, text))
    return found


def judge_tracking(
    settings: Settings, tracking: Tracking, commands: Commands
) -> list[Finding]:
    """Say whether sessions go on when their grant has ended."""
    entries, most = tracking.entries, tracking.most
    data = {"entries": entries, "most": most, "sessions": tracking.sessions}
    if not settings.dropped:
        return []
    if entries is None:
        seen = "this kernel shows no conntrack, and without it no session lasts"
        remedy = f"modprobe nf_conntrack, then: {commands.restart}"
        return [Finding("established", _UNKNOWN, seen, remedy, data)]
    found = []
    if most and entries >= _FULL * most:
        seen = f"conntrack has {entries} of {most} entries: new connections are dropped"
        remedy = f"sysctl -w net.netfilter.nf_conntrack_max={2 * most}"
        found.append(Finding("established", _PROBLEM, seen, remedy, data))
    if tracking.unknown:
        whose = sorted({text(session.client) for session in tracking.unknown})
        seen = (
            f"{len(tracking.unknown)} of {tracking.sessions} sessions are not tracked,"
            f" and will hang: from {', '.join(whose[:MOST_NAMED])}"
        )
        found.append(Finding("established", _PROBLEM, seen, commands.restart, data))
    if not found:
        known = f", the {tracking.sessions} sessions among them" * bool(
            tracking.sessions
        )
        seen = f"connections are tracked{known}: sessions outlast their grant"
        found.append(Finding("established", _OK, seen, "", data))
    return found
