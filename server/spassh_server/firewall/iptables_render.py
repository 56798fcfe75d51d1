"""What the iptables back end tells iptables-restore, and how it reads the answer. Pure.

Whatever has to be read again stands in the comments of our rules: how iptables prints
the rest is its own affair.
"""

from ipaddress import ip_address
from time import gmtime, strftime
from typing import NamedTuple

from ..ports import Port, parse_port
from . import Grant, Settings
from .xtables import INPUT, comment_of, same_rule


class TimedGrant(NamedTuple):
    """A grant that is a rule of its own, which carries its own end."""

    grant: Grant
    end: int
    """The first second, since 1970-01-01 UTC, in which it does not hold any more."""


def chain_name(settings: Settings) -> str:
    """Return the name of our chain."""
    return settings.name.upper()


def render_rules(settings: Settings, granted: list[str]) -> list[str]:
    """Return the rules of our chain, in the order in which a packet meets them.

    The input hook has no fragments to slip through: IPv4 is reassembled before it, and
    IPv6 because of `-m conntrack`. `-p` looks behind the extension headers of IPv6.

    Args:
        settings: what to protect.
        granted: rules that accept what is granted, unless each grant is a rule itself.
    """
    rules = list(granted)
    for port in sorted(set(settings.protect)):
        match = _match(port)
        # Not RELATED: that is what a helper (FTP, SIP) expects because of bytes that
        # a stranger sent, and it may name any port. ICMP errors are no tcp or udp.
        # And no bare SYN, which is never part of a connection: conntrack takes one on
        # the addresses and ports of a connection that lingers for a part of it, and the
        # server's socket, which has gone, would take it for a new connection.
        whole = "! --syn " * (port.protocol_name == "tcp")
        rules.append(f"{match} {whole}-m conntrack --ctstate ESTABLISHED -j ACCEPT")
        rules.append(f"{match} -j DROP")
    rules.append(f"{_match(Port(17, settings.knock_port))} -j DROP")
    # The comments are how we see later that the chain is whole.
    return [
        f'-m comment --comment "{settings.name} {number}/{len(rules)}" {rule}'
        for number, rule in enumerate(rules, 1)
    ]


def render_chain(chain: str, rules: list[str]) -> list[str]:
    """Return what creates `chain`, or empties it, and fills it with `rules`."""
    return [f":{chain} - [0:0]", *(f"-A {chain} {rule}" for rule in rules)]


def render_jump(chain: str, present: list[str]) -> list[str]:
    """Return what makes INPUT, which has the rules `present`, begin with our jump.

    Only at the very top it is certain that nobody else decides before us.
    """
    if is_jump_first(chain, present):
        return []
    return [*render_unjump(chain, present), f"-I {INPUT} 1 -j {chain}"]


def render_unjump(chain: str, present: list[str]) -> list[str]:
    """Return what takes our jumps out of INPUT, which has the rules `present`."""
    return [f"-D {INPUT} -j {chain}"] * len(_jumps(chain, present))


def is_jump_first(chain: str, present: list[str]) -> bool:
    """Tell whether INPUT with the rules `present` leads to us, once and at its top."""
    return _jumps(chain, present) == [0]


def is_whole(name: str, present: list[str], wanted: list[str]) -> bool:
    """Tell whether our chain with the rules `present` has the `wanted` and no others.

    Rules that are grants do not count.
    """
    comments = [comment_of(rule) for rule in present]
    fixed = [text for text in comments if parse_timed(text, name) is None]
    return fixed == [comment_of(rule) for rule in wanted]


def render_timed(name: str, timed: TimedGrant) -> str:
    """Return the rule that is a grant. Its comment says all that it stands for."""
    grant, end = timed
    address = ip_address(grant.address)
    # The second that --datestop names is the last in which the rule matches, in UTC.
    last = strftime("%Y-%m-%dT%H:%M:%S", gmtime(end - 1))
    return (
        f"-s {address} {_match(grant.port)} -m time --datestop {last}"
        f' -m comment --comment "{name} {grant.port} {address} {end}" -j ACCEPT'
    )


def parse_timed(comment: str, name: str) -> TimedGrant | None:
    """Return the grant that the rule with this `comment` is, or None if it is none."""
    match comment.split():
        case [owner, port, address, end] if owner == name:
            try:
                grant = Grant(ip_address(address).packed, parse_port(port))
                return TimedGrant(grant, int(end))
            except ValueError:
                return None
    return None


def _match(port: Port) -> str:
    protocol = port.protocol_name
    return f"-p {protocol} -m {protocol} --dport {port.number}"


def _jumps(chain: str, present: list[str]) -> list[int]:
    """Return the positions of our jump among the rules `present` in INPUT."""
    jump = f"-A {INPUT} -j {chain}"
    return [at for at, rule in enumerate(present) if same_rule(rule, jump)]
