"""Rules of others that send packets elsewhere before our drop, or hide them from it.

An accept in a chain of others is no way around our drop, whatever its priority: each
base chain of nftables judges for itself. Two things are: a translation, after which a
packet has another port or goes to another host; and packets that conntrack does not
track, for then no session is an established one and the drop ends it.

Only what a rule says itself is seen, and not under which conditions others lead to it.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from ..ports import Port
from . import FirewallError, Settings
from .libnftables import parse_listing
from .run import find, run
from .xtables import LEGACY, NFT, Xtables

_TRANSLATE: Final = frozenset({"dnat", "redirect", "tproxy"})
_XT_TRANSLATE: Final = frozenset({"DNAT", "REDIRECT", "TPROXY"})
_XT_TABLES: Final = ("raw", "nat")
_FAMILIES: Final = {"ip": 4, "ip6": 6}
_AFTERWARDS: Final = frozenset({"output", "postrouting"})
"""Hooks where no packet passes that has yet to meet our drop."""


class Detour(NamedTuple):
    """One such rule."""

    place: str
    """The chain, and whose it is."""
    ports: tuple[Port, ...]
    """Which of the ports in question it is about."""
    translates: bool
    """Whether packets go elsewhere; else they are not tracked."""
    is_named: bool
    """Whether the rule names the ports; else it is for all that come by."""
    removal: str
    """The command that would take the rule out."""


def find_detours(settings: Settings) -> list[Detour]:
    """Return the rules about the ports that `settings` protects. Changes nothing.

    Raises:
        FirewallError: the rules cannot be read.
    """
    ports, found = settings.dropped, list[Detour]()
    made_by_iptables: set[tuple[int, str]] = set()
    if find("nft") is not None:
        listing = run("nft", "-j", "list", "ruleset")
        try:
            found += native_detours(listing, settings.name, ports)
            made_by_iptables = xt_tables(listing)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            # Some versions of nft read freed memory for some tables of others.
            raise FirewallError("nftables: an answer makes no sense") from error
    for version in (4, 6):
        for variant in (NFT, LEGACY):
            xtables = Xtables(version, variant)
            if xtables.missing() is not None:
                continue
            for table in _XT_TABLES:
                is_there = (
                    xtables.has(table)
                    if variant == LEGACY
                    else (version, table) in made_by_iptables
                )
                if is_there:
                    lines = xtables.all_rules(table)
                    found += iptables_detours(
                        lines, xtables.program, table, settings.name, ports
                    )
    return found


def xt_tables(listing: bytes) -> set[tuple[int, str]]:
    """Return the IP version and name of the tables in which nft cannot read all."""
    return {
        (_FAMILIES[rule["family"]], rule["table"])
        for rule in parse_listing(listing, "rule")
        if rule["family"] in _FAMILIES and _has_xt(rule)
    }


def native_detours(listing: bytes, name: str, ports: Iterable[Port]) -> list[Detour]:
    """Read the answer to `nft -j list ruleset`; the table `name` is ours."""
    sets = {
        (one["family"], one["table"], f"@{one['name']}"): one.get("elem", [])
        for kind in ("set", "map")
        for one in parse_listing(listing, kind)
    }
    afterwards = {
        (chain["family"], chain["table"], chain["name"])
        for chain in parse_listing(listing, "chain")
        if chain.get("hook") in _AFTERWARDS
    }
    found: list[Detour] = []
    for rule in parse_listing(listing, "rule"):
        table = (rule["family"], rule["table"])
        chain = (*table, rule["chain"])
        if table == ("inet", name) or chain in afterwards or _has_xt(rule):
            continue
        keys = {key for statement in rule["expr"] for key in statement}
        if not keys & {"notrack", *_TRANSLATE}:
            continue
        own = {key[2]: value for key, value in sets.items() if key[:2] == table}
        verdicts = {port: _verdict(rule["expr"], port, own) for port in ports}
        where = " ".join(chain)
        removal = f"nft delete rule {where} handle {rule['handle']}"
        found += _detours(f"chain {where}", verdicts, "notrack" not in keys, removal)
    return found


def iptables_detours(
    lines: Iterable[str], program: str, table: str, name: str, ports: Iterable[Port]
) -> list[Detour]:
    """Read what `program -t table -S` prints; chains with `name` in capitals are ours.

    Args:
        lines: all of it.
        program: such as "iptables-nft".
        table: raw or nat.
        name: `Settings.name`.
        ports: which are in question.
    """
    ours = name.upper()
    found: list[Detour] = []
    for line in lines:
        words = line.split()
        if words[:1] != ["-A"] or words[1].upper() in {"OUTPUT", "POSTROUTING"}:
            continue
        if words[1] == ours or words[1].startswith(f"{ours}-"):
            continue
        target = _after(words, "-j")
        hides = target == "NOTRACK" or (target == "CT" and "--notrack" in words)
        if not hides and target not in _XT_TRANSLATE:
            continue
        verdicts = {port: _text_verdict(words, port) for port in ports}
        removal = f"{program} -t {table} -D {' '.join(words[1:])}"
        place = f"{words[1]} in table {table} of {program}"
        found += _detours(place, verdicts, not hides, removal)
    return found


def _detours(
    place: str, verdicts: dict[Port, bool | None], translates: bool, removal: str
) -> Iterator[Detour]:
    """Yield what a rule is that says this about each port.

    A rule that translates and names no port is led to by one that does: it is seen
    there, as far as it can be.
    """
    named = tuple(port for port, verdict in verdicts.items() if verdict)
    silent = tuple(port for port, verdict in verdicts.items() if verdict is None)
    if named:
        yield Detour(place, named, translates, True, removal)
    if silent and not translates:
        yield Detour(place, silent, translates, False, removal)


def _verdict(
    expr: list[dict[str, Any]], port: Port, sets: dict[str, list[Any]]
) -> bool | None:
    """Tell whether a rule is for `port`: it names it, or leaves it out, or None."""
    found: bool | None = None
    for statement in expr:
        match = statement.get("match")
        said = _match(match, port, sets) if match else _mapped(statement, port, sets)
        if said is False:
            return False
        found = found or said
    return found


def _match(
    match: dict[str, Any], port: Port, sets: dict[str, list[Any]]
) -> bool | None:
    left, right, negated = match["left"], match["right"], match["op"] == "!="
    if not isinstance(left, dict):
        return None
    key = left.get("meta", {}).get("key")
    if key in {"iif", "iifname"}:
        # What comes over the loopback is no session of a client.
        return False if right == "lo" and not negated else None
    if key == "l4proto":
        is_it = _contains(right, port.protocol_name, sets)
        return False if is_it is negated else None
    payload = left.get("payload", {})
    protocols = {port.protocol_name, "th"}
    if payload.get("field") != "dport" or payload["protocol"] not in protocols:
        return False if payload.get("protocol") in {"tcp", "udp"} - protocols else None
    is_it = _contains(right, port.number, sets)
    return is_it if not negated else (False if is_it else None)


def _mapped(
    statement: dict[str, Any], port: Port, sets: dict[str, list[Any]]
) -> bool | None:
    """Judge a translation by a map whose key is the port."""
    for value in statement.values():
        address = value.get("addr") if isinstance(value, dict) else None
        lookup = address.get("map") if isinstance(address, dict) else None
        if not isinstance(lookup, dict) or not isinstance(lookup.get("key"), dict):
            continue
        payload = lookup["key"].get("payload", {})
        if payload.get("field") == "dport":
            data = lookup.get("data")
            elements = (
                data.get("set") if isinstance(data, dict) else sets.get(str(data))
            )
            keys = [one[0] for one in elements or [] if isinstance(one, list)]
            return _contains({"set": keys}, port.number, sets)
    return None


def _contains(right: Any, wanted: int | str, sets: dict[str, list[Any]]) -> bool:
    """Tell whether `wanted` is among what a match asks for."""
    if isinstance(right, str) and right.startswith("@"):
        right = {"set": sets.get(right, [])}
    if isinstance(right, dict) and "set" in right:
        return any(_contains(one, wanted, sets) for one in right["set"])
    if isinstance(right, dict) and "elem" in right:
        return _contains(right["elem"].get("val"), wanted, sets)
    if isinstance(right, dict) and "range" in right:
        first, last = right["range"]
        numbers = isinstance(first, int) and isinstance(last, int)
        return numbers and isinstance(wanted, int) and first <= wanted <= last
    return bool(right == wanted)


def _text_verdict(words: list[str], port: Port) -> bool | None:
    """Do the same for a rule of iptables."""
    protocol = _after(words, "-p")
    is_other = protocol not in {"", "all", port.protocol_name}
    if is_other is not _is_negated(words, "-p"):
        return False
    if _after(words, "-i") == "lo" and not _is_negated(words, "-i"):
        return False
    for option in ("--dport", "--dports"):
        listed = _after(words, option)
        if listed:
            wanted = any(_in_range(one, port.number) for one in listed.split(","))
            if _is_negated(words, option):
                return False if wanted else None
            return wanted
    return None


def _in_range(text: str, number: int) -> bool:
    first, colon, last = text.partition(":")
    if not first.isdecimal() or (colon and not last.isdecimal()):
        return False
    return int(first) <= number <= int(last if colon else first)


def _after(words: list[str], option: str) -> str:
    at = words.index(option) + 1 if option in words else len(words)
    return words[at] if at < len(words) else ""


def _is_negated(words: list[str], option: str) -> bool:
    at = words.index(option) if option in words else 0
    return at > 0 and words[at - 1] == "!"


def _has_xt(rule: dict[str, Any]) -> bool:
    return any("xt" in statement for statement in rule["expr"])
