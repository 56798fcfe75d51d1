"""Our jumps in a chain of iptables-nft that iptables itself cannot list.

If nft has put a rule there that iptables cannot print, iptables can still add to the
chain, but not find a rule in it. Nobody but us has a reason to jump to our chain.
"""

from .iptables_hooks import Hook
from .libnftables import parse_listing
from .nftables_sets import FAMILIES
from .run import run


def has_jump(version: int, hook: Hook) -> bool:
    """Tell whether the chain of others leads to ours, wherever in it."""
    return bool(_handles(version, hook))


def delete_jumps(version: int, hook: Hook) -> None:
    """Delete all that leads there."""
    place = " ".join(_place(version, hook))
    lines = [f"delete rule {place} handle {one}\n" for one in _handles(version, hook)]
    if lines:
        run("nft", "-f", "-", stdin="".join(lines).encode())


def _handles(version: int, hook: Hook) -> list[int]:
    listing = run("nft", "-j", "list", "chain", *_place(version, hook))
    jump = {"jump": {"target": hook.chain}}
    rules = parse_listing(listing, "rule")
    return [rule["handle"] for rule in rules if jump in rule["expr"]]


def _place(version: int, hook: Hook) -> tuple[str, str, str]:
    return FAMILIES[version], hook.table, hook.base
