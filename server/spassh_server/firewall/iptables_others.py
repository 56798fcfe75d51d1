"""Firewalls beside the one that our rules are in, which may drop what we accept.

They all judge a packet: that of nftables, and that of the other variant of iptables.
"""

from typing import Any, Final

from . import Settings
from .libnftables import parse_listing
from .native_gate import NativeGate
from .run import find, run
from .xtables import FILTER, LEGACY, Xtables

_BASES: Final = {"input": "INPUT", "forward": "FORWARD"}
_TABLES: Final = frozenset({"filter", "mangle", "nat", "raw", "security"})
"""Those of iptables-nft, as nftables shows them."""

# Targets of iptables by which a packet does not meet its end.
_HARMLESS: Final = frozenset({"ACCEPT", "RETURN", "LOG", "NFLOG", "MARK", "CONNMARK"})

_ADVICE: Final = 'may drop what is granted: backend = "nftables" leads around it'


def other_firewalls(settings: Settings, ours: Xtables) -> list[str]:
    """Say which of them may drop packets that we accept.

    Args:
        settings: whether packets are forwarded.
        ours: the iptables that has our rules.
    """
    hooks = ("input", "forward") if settings.forwards else ("input",)
    is_legacy = ours.is_legacy()
    found = [
        f"chain {gate.place} {_ADVICE}"
        for gate in _native(settings, hooks, with_iptables=is_legacy)
    ]
    if not is_legacy:
        found += _legacy(hooks)
    return found


def _native(
    settings: Settings, hooks: tuple[str, ...], *, with_iptables: bool
) -> list[NativeGate]:
    if find("nft") is None:
        return []
    chains = parse_listing(run("nft", "-j", "list", "chains"), "chain")
    gates = [
        NativeGate(chain, settings)
        for chain in chains
        if _judges(chain, hooks) and (with_iptables or not _is_of_iptables(chain))
    ]
    return [gate for gate in gates if gate.may_drop()]


def _judges(chain: dict[str, Any], hooks: tuple[str, ...]) -> bool:
    return (
        chain.get("type") == "filter"
        and chain.get("hook") in hooks
        and chain["family"] in {"inet", "ip", "ip6"}
    )


def _is_of_iptables(chain: dict[str, Any]) -> bool:
    names = chain["table"] in _TABLES and chain["name"] == _BASES[chain["hook"]]
    return chain["family"] != "inet" and names


def _legacy(hooks: tuple[str, ...]) -> list[str]:
    found = []
    for version in (4, 6):
        xtables = Xtables(version, LEGACY)
        if xtables.has(FILTER) and xtables.missing() is None:
            found += [
                f"{_BASES[hook]} of {xtables.program} {_ADVICE}"
                for hook in hooks
                if may_drop(xtables.listing(_BASES[hook]) or [])
            ]
    return found


def may_drop(listing: list[str]) -> bool:
    """Tell whether a packet can meet its end in a chain with this listing by -S."""
    for line in listing:
        command, _, rest = line.partition(" ")
        target = rest.split(" -j ")[-1].split()[0] if " -j " in rest else "ACCEPT"
        if command == "-P":
            target = rest.split()[-1]
        if " -g " in rest or target not in _HARMLESS:
            return True
    return False
