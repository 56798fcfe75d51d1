"""Findings about the way in, and about the server. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ...protocol.finding import Finding, Result, Value
from ...protocol.limits import WINDOW_MS
from ...resolve import Address
from ..proof import Seen
from ..remote import Grant
from .judge_here import MOST, Way
from .port import GREETING, Opening, State
from .there import Offset
from .ways import Complaint

_OK, _UNKNOWN = Result.OK, Result.UNKNOWN
_WARNING, _PROBLEM = Result.WARNING, Result.PROBLEM


def judge_families(
    ways: Sequence[Way], openings: Sequence[Opening], path: str
) -> Finding:
    """Say which of IPv4 and IPv6 get in, and whether the one that is tried first does.

    Args:
        ways: to all addresses, the preferred one first.
        openings: what came of it at the first address of each family with a way.
        path: the file of the profile.
    """
    families = list(dict.fromkeys(_family(way.address) for way in ways))
    inside = {
        _family(one.address): str(one.address)
        for one in openings
        if one.state in {State.OPEN, State.OPENS}
    }
    dead = [family for family in families if family not in inside]
    data: Mapping[str, Value] = {"families": families, "works": list(inside)}
    both = " and ".join(families)
    if not inside:
        remedy = "see 'route', 'udp' and 'port'"
        return Finding("family", _UNKNOWN, f"{both}: nothing gets in", remedy, data)
    if dead and dead[0] == families[0]:
        other, address = next(iter(inside.items()))
        seen = f"{dead[0]} is tried first and does not get in; {other} does"
        remedy = f'write name = "{address}" in {path}'
        return Finding("family", _WARNING, seen, remedy, data)
    if dead:
        seen = f"{families[0]} is tried first and gets in; {dead[0]} does not"
        return Finding("family", _OK, seen, "", data)
    return Finding(
        "family",
        _OK,
        f"{both} gets in" if len(families) == 1 else f"{both} get in",
        "",
        data,
    )


def _family(address: Address) -> str:
    return "IPv6" if ":" in str(address) else "IPv4"


def judge_port(
    port: int,
    openings: Sequence[Opening],
    host: str,
    target: str,
    *,
    has_other_way: bool,
) -> list[Finding]:
    """Say whether a knock opens the port, and how fast.

    Args:
        port: the TCP port.
        openings: what came of it.
        host: how to call the server.
        target: how to lock it.
        has_other_way: whether ssh gets there by another way than this.
    """
    is_any = any(one.state in {State.OPEN, State.OPENS} for one in openings)
    matters = not (is_any or has_other_way)
    return [
        _judge_open(port, one, target)
        if one.state is State.OPEN and one.greeting
        else _judge_opening(port, one, host, matters=matters)
        for one in openings
    ]


def _measured(one: Opening) -> dict[str, Value]:
    milliseconds = round(1000 * one.seconds, 1)
    return {
        "address": str(one.address),
        "state": one.state.value,
        "milliseconds": milliseconds if one.state is State.OPENS else None,
        "greeting": one.greeting,
    }


def _judge_open(port: int, one: Opening, target: str) -> Finding:
    seen = (
        f"port {port} of {one.address} is open without a knock: nothing guards it,"
        f" or an earlier knock keeps it open ({one.greeting})"
    )
    remedy = f"if nothing guards it: spassh lock {target}"
    return Finding("port", _WARNING, seen, remedy, _measured(one))


def _judge_opening(port: int, one: Opening, host: str, *, matters: bool) -> Finding:
    data = _measured(one)
    worth = _PROBLEM if matters else _WARNING
    remedies = {
        State.REFUSED: f"see that sshd runs on {host}, and listens to this port",
        State.UNREACHABLE: f"ip route get {one.address}",
        State.SHUT: f"on {host}: spasshd doctor, and the log of spasshd",
    }
    if one.state in remedies:
        seen = f"{one.address}: {one.reason}"
        return Finding("port", worth, seen, remedies[one.state], data)
    if not one.greeting:
        what = "says nothing" if one.greeting is None else "does not speak SSH"
        seen = f"port {port} of {one.address} is open, and {what} within {GREETING:g} s"
        remedy = f"on {host}: spasshd doctor; is it too busy, or another program?"
        return Finding("port", _WARNING, seen, remedy, data)
    seen = (
        f"port {port} of {one.address} opens {data['milliseconds']} ms after a knock"
        f" ({one.greeting})"
    )
    return Finding("port", _OK, seen, "", data)


class Knocked(NamedTuple):
    """What is known of the knocks."""

    port: int
    """The UDP port."""
    openings: Sequence[Opening] = ()
    complaints: Sequence[Complaint] = ()
    seen: Seen | None = None
    """What the server saw; None if it could not be asked."""
    is_of_fwknop: bool = False
    """Whether the profile is for an fwknopd, which may capture at an open port."""


def judge_udp(knocked: Knocked, host: str) -> Finding:
    """Say whether knocks leave this network, and arrive."""
    port, data = f"udp/{knocked.port}", {"port": knocked.port}
    opened = [one for one in knocked.openings if one.state is State.OPENS]
    barriers = [one for one in knocked.complaints if not one.is_refusal]
    if knocked.seen is not None and (knocked.seen.grants or knocked.seen.grew):
        return Finding("udp", _OK, f"a knock arrives: {host} has seen it", "", data)
    if knocked.seen is None and opened:
        seen = f"a knock arrives: the port of {opened[0].address} opened"
        return Finding("udp", _OK, seen, "", data)
    if barriers:
        one = barriers[0]
        who = one.sender or "this computer"
        seen = f"{who} says of {port} to {one.address}: {one.reason}"
        remedy = (
            f"have {who} let {port} through"
            if one.sender
            else "see the firewall of this computer, and: ip route get " + one.address
        )
        return Finding("udp", _PROBLEM, seen, remedy, data)
    if knocked.seen is not None:
        seen = f"no knock arrives: {host} has seen none"
        remedy = f"have {port} let through on the way, and in the firewall of the cloud"
        return Finding("udp", _PROBLEM, seen, remedy, data)
    refusals = [one for one in knocked.complaints if one.is_refusal]
    if refusals:
        there = refusals[0].address
        remedy, result = f"on {host}: spasshd doctor", _WARNING
        seen = (
            f"{port} gets to {there}, which refuses it: spasshd does not run there,"
            " has another port, or protects nothing"
        )
        if knocked.is_of_fwknop:
            remedy = f"on {host}: see the log of fwknopd, and its PCAP_FILTER"
            result = _UNKNOWN
            seen = (
                f"{port} gets to {there}, which refuses it: an fwknopd that captures"
                " at this port hears it all the same"
            )
        return Finding("udp", result, seen, remedy, data)
    seen = f"whether {port} gets to {host} cannot be told from here"
    remedy = (
        f"on {host}: tcpdump -n -i any udp port {knocked.port}; meanwhile here:"
        f" spassh knock {host}"
    )
    return Finding("udp", _UNKNOWN, seen, remedy, data)


_REMEDIES: Final = {
    "stale": "set the clocks right: timedatectl set-ntp true",
    "unauthentic": "spassh enroll {target}",
    "refused": "on {host}: spasshd user list; the log of spasshd says why",
    "not-ours": "spassh enroll {target}",
    "busy": "on {host}: spasshd status",
    "failed": "on {host}: spasshd doctor",
    "replayed": "on {host}: see the log of spasshd",
    "malformed": "update spassh on both sides: they are of different ages",
}
"""What to do, by the counter that grew."""


def judge_access(seen: Seen, host: str, target: str) -> list[Finding]:
    """Say what the server makes of a knock, if one arrived.

    Args:
        seen: what it says.
        host: how to call it.
        target: how to enroll with it.
    """
    if seen.grants:
        # The latest of each: there may be some of other source ports.
        grants = {(one.address, one.port): one for one in sorted(seen.grants, key=_end)}
        told = ", ".join(map(_describe, list(grants.values())[:MOST]))
        data: Mapping[str, Value] = {"counters": _count(seen)}
        return [Finding("access", _OK, f"{host} lets {told}", "", data)]
    if not seen.grew:
        return []  # None arrived.
    counted = ", ".join(_count(seen))
    remedies = (text for name, text in _REMEDIES.items() if name in seen.grew)
    remedy = next(remedies, "on {host}: see the log of spasshd").format(
        host=host, target=target
    )
    said = f"{host} does not let the knock in: {counted}"
    if {"unauthentic", "not-ours"} & seen.grew.keys():
        said += " (one side does not know the other's key)"
    return [Finding("access", _PROBLEM, said, remedy, {"counters": _count(seen)})]


def _count(seen: Seen) -> list[str]:
    return [f"{name} {seen.grew[name]}" for name in sorted(seen.grew)][:20]


def _end(grant: Grant) -> int:
    return grant.seconds_left


def _describe(grant: Grant) -> str:
    return f"{grant.address} reach {grant.port} for {grant.seconds_left} s"


class Login(NamedTuple):
    """Whether ssh gets in without asking anybody, which is how the rest is learnt."""

    login: str
    seconds: float | None = None
    """How long it took; None if it did not work, or took nothing."""
    is_shared: bool = False
    """Whether a connection was there already, which ssh lets others use."""
    why: str = ""
    """Why it did not work; empty if it was not tried, because the port is shut."""


def judge_login(host: str, tried: Login) -> Finding:
    """Say whether ssh gets in."""
    login, seconds, is_shared, why = tried
    data: Mapping[str, Value] = {"login": login, "milliseconds": None}
    if is_shared:
        seen = f"a connection as {login} is there, which ssh lets others use"
        return Finding("login", _OK, seen, "", data)
    if seconds is not None:
        milliseconds = round(1000 * seconds, 1)
        seen = f"ssh gets in as {login} ({milliseconds} ms)"
        data = {"login": login, "milliseconds": milliseconds}
        return Finding("login", _OK, seen, "", data)
    remedy = f"see what it says: ssh -v {host}"
    if "Host key verification failed" in why:
        remedy = f"log in once where you can see and accept its key: ssh {host}"
    is_question = "Permission denied" in why or not why
    worth = _UNKNOWN if is_question else _WARNING
    return Finding("login", worth, why or "not tried: the port is shut", remedy, data)


def judge_clock(offset: Offset | None, host: str) -> Finding:
    """Compare the two clocks: a knock is accepted within the window only."""
    window = WINDOW_MS // 1000
    if offset is None:
        seen = f"how the clock of {host} stands to ours is not known"
        return Finding("clock", _UNKNOWN, seen, f"compare, here and on {host}: date -u")
    middle = (offset.least + offset.most) / 2000
    unsure = (offset.most - offset.least) / 2000
    data = {"offset_seconds": round(middle, 3), "uncertainty_seconds": round(unsure, 3)}
    way = "behind" if middle > 0 else "ahead of"
    seen = (
        f"ours is {abs(middle):.1f} s {way} that of {host}, give or take"
        f" {unsure:.1f} s: a knock may be {window} s off"
    )
    remedy = "on whichever is wrong: timedatectl set-ntp true"
    if offset.least > WINDOW_MS or offset.most < -WINDOW_MS:
        return Finding("clock", _PROBLEM, seen, remedy, data)
    if max(abs(offset.least), abs(offset.most)) > WINDOW_MS // 2:
        return Finding("clock", _WARNING, seen, remedy, data)
    return Finding("clock", _OK, seen, "", data)


def judge_server(
    findings: Sequence[Finding] | None, why: str, host: str, *, is_missing: bool = False
) -> Finding:
    """Say whether the server's half is known; its findings come after this.

    Args:
        findings: those of the server, if they are known.
        why: why they are not; empty if nobody could be asked.
        host: how to call the server.
        is_missing: whether there is no spasshd.
    """
    if findings is None:
        reason = why or "it was not asked"
        seen = f"what spasshd there has to say is not known: {reason}"
        remedy = f"on {host}, as root: spasshd doctor"
        if is_missing:
            remedy = f"if it is to be guarded, install spasshd on {host}"
        return Finding("server", _UNKNOWN, seen, remedy)
    return Finding("server", _OK, f"spasshd doctor has looked at {host}")
