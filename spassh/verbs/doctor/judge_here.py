"""Findings about this computer: ssh, the profile, its files, name and ways. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from ...fwknop_way import ICMP, UDP, UDP_RAW
from ...private import shell_word
from ...profile import Profile
from ...protocol.finding import Finding, Result, Value
from ...resolve import Address
from ..ssh import Settings
from .files import Place

MOST: Final = 5
"""Of how many things of a kind the names are told."""

_OK, _WARNING, _PROBLEM = Result.OK, Result.WARNING, Result.PROBLEM

PROXY_LINES: Final = (
    "'ProxyCommand spassh proxy --fdpass -- %h %p' and 'ProxyUseFdpass yes'"
)


class Reached(NamedTuple):
    """How ssh reaches the host."""

    settings: Settings
    passes_socket: bool
    """ProxyUseFdpass."""
    line: str = ""
    """Where the ProxyCommand or ProxyJump comes from, or empty."""
    missing: str = ""
    """The program of the ProxyCommand, if it is not there."""


def judge_ssh(host: str, reached: Reached, *, has_profile: bool) -> Finding:
    """Say how ssh reaches the host, and whether that is through spassh."""
    settings, line = reached.settings, reached.line
    data: Mapping[str, Value] = {
        "hostname": settings.host,
        "login": settings.login,
        "port": settings.port,
        "line": line,
        "through_spassh": settings.goes_through_spassh,
    }
    if settings.goes_through_spassh:
        result, seen, remedy = _judge_ours(reached)
    else:
        result, seen, remedy = _judge_other(host, reached, has_profile=has_profile)
    seen = f"{settings.login}@{settings.host} port {settings.port} {seen}"
    if line:
        seen += f", by {line}"
    return Finding("ssh_config", result, seen, remedy, data)


def _judge_ours(reached: Reached) -> tuple[Result, str, str]:
    at = reached.line or "ssh_config(5)"
    names_option = "--fdpass" in reached.settings.proxy
    if reached.missing:
        seen = f"goes through spassh, which is not there: {reached.missing}"
        return _PROBLEM, seen, f"write the path of spassh in {at}"
    if reached.passes_socket and not names_option:
        seen = "goes through spassh, without the --fdpass that ssh waits for"
        return _PROBLEM, seen, f"write --fdpass after 'proxy' in {at}"
    if names_option and not reached.passes_socket:
        seen = "goes through spassh, and ssh takes no socket from it"
        return _WARNING, seen, f"add 'ProxyUseFdpass yes' after {at}"
    return _OK, "goes through spassh", ""


def _judge_other(
    host: str, reached: Reached, *, has_profile: bool
) -> tuple[Result, str, str]:
    # Not all of the command: there may be a password in it.
    first = reached.settings.proxy.split()[:1]
    if first:
        way = f"has a way of its own, '{first[0]}'"
        remedy = "spassh has to be in it, or to stand before it: see spassh(1)"
        return (_WARNING, way, remedy) if has_profile else (_OK, way, "")
    if not has_profile:
        return _OK, "is reached by ssh itself", ""
    remedy = f"write in ~/.ssh/config, for {host}: {PROXY_LINES}"
    if reached.line:
        remedy = f"take 'none' out of {reached.line}, or have {host} come before it"
    return _PROBLEM, "is reached by ssh itself, which does not knock", remedy


def _where(profile: Profile) -> str:
    """Say where knocks go, and how if that is not the usual way."""
    way = profile.fwknop.way if profile.fwknop else None
    if way is None:
        return f"udp/{profile.port}"
    if way.transport == ICMP:
        return ICMP
    port = "any" if way.rand_port else str(profile.port)
    if way.transport == UDP:
        return f"udp/{port}"
    protocol = "udp" if way.transport == UDP_RAW else "tcp"
    return f"{protocol}/{port} by {way.transport}"


def judge_profile(profile: Profile) -> Finding:
    """Say which profile it is."""
    seen = f"{profile.path}: as user {profile.user}, knocks go to {_where(profile)}"
    data: Mapping[str, Value] = {
        "path": profile.path,
        "user": profile.user,
        "port": profile.port,
    }
    return Finding("profile", _OK, seen, "", data)


def judge_no_profile(host: str, wanted: str, hidden: str) -> Finding:
    """Say that there is none.

    Args:
        host: as the user wrote it.
        wanted: what ssh makes of it.
        hidden: the profile that would be found by the Host or the login, or empty.
    """
    if hidden:
        seen = f"{hidden} is for it by its Host or its login, which spassh is not told"
        remedy = "write '%n' '%r' after %p in the ProxyCommand"
    else:
        seen = f"no profile names {wanted}, so spassh does not knock"
        remedy = f"spassh enroll {host}"
    return Finding("profile", _PROBLEM, seen, remedy)


def judge_files(
    paths: Sequence[str], places: Iterable[Place], uid: int
) -> list[Finding]:
    """Judge where the files with secrets are; what they are was seen before.

    Args:
        paths: the files.
        places: the directories on the way to them.
        uid: who we are.
    """
    found = []
    for place in places:
        word = shell_word(place.path)
        if place.uid not in {0, uid}:
            seen = f"{place.path} belongs to uid {place.uid}, who can take files away"
            found.append(Finding("files", _WARNING, seen, f"chown {uid} {word}"))
        elif place.is_open:
            seen = f"others can put files into {place.path}, or take them away"
            found.append(Finding("files", _WARNING, seen, f"chmod go-w {word}"))
    if not found:
        seen = f"nobody else can read or replace {' or '.join(paths)}"
        found.append(Finding("files", _OK, seen))
    return found[:MOST]


def judge_name(host: str, addresses: Sequence[Address], seconds: float) -> Finding:
    """Say what the name resolves to."""
    names = list(map(str, addresses))
    more = f" and {len(names) - MOST} more" * (len(names) > MOST)
    milliseconds = round(1000 * seconds, 1)
    seen = f"{host} is at {', '.join(names[:MOST])}{more} ({milliseconds} ms)"
    data: Mapping[str, Value] = {"addresses": names[:20], "milliseconds": milliseconds}
    return Finding("name", _OK, seen, "", data)


class Way(NamedTuple):
    """The way to one address."""

    address: Address
    source: str
    """Where packets come from; empty if there is no way."""
    reason: str = ""


def judge_ways(ways: Sequence[Way]) -> list[Finding]:
    """Say from which address each one is reached."""
    found = []
    is_any = any(way.source for way in ways)
    for way in ways[:MOST]:
        data: Mapping[str, Value] = {"address": str(way.address), "source": way.source}
        if way.source:
            seen = f"to {way.address} from {way.source}"
            found.append(Finding("route", _OK, seen, "", data))
            continue
        seen = f"no way to {way.address}: {way.reason}"
        worth = _WARNING if is_any else _PROBLEM
        remedy = f"ip route get {way.address}"
        found.append(Finding("route", worth, seen, remedy, data))
    return found
