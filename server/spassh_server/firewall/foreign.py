"""Lead granted packets through the filter chains that are not ours.

An accept in our chain is only ours: a later base chain of the same hook may still drop
the packet. So ours marks what it grants, and each of those chains gets one rule at its
very top that accepts the mark:

* INPUT of iptables and ip6tables, of either variant, if the kernel has its table. To
  ask iptables-legacy would make one.
* base chains of nftables that may drop and whose priority is above ours. Those before
  ours judge a packet before we mark it: a drop there wins, and `warnings` names them.

If ports of this host lead to others, the same goes for FORWARD and the forward hook.

Nothing else in them is touched. Programs do all of it, even where libnftables could:
what strange rules do to a program, they do not do to us.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from . import FirewallError, Settings
from .attempts import attempt_all
from .iptables_gate import CHAINS, IptablesGate, UnlistedGate
from .native_gate import NativeGate
from .nft import Nft
from .nftables_render import PRIORITY
from .xtables import LEGACY, NFT, Xtables

LEGACY_TABLES: Final = (
    (4, "/proc/net/ip_tables_names"),
    (6, "/proc/net/ip6_tables_names"),
)
"""Where the kernel tells which tables of the legacy variant this namespace has."""

# Chains of these names in these tables belong to iptables, which chokes on rules of
# other makers.
_IPTABLES = {"mangle", "nat", "raw", "security"}


_MakeGate = Callable[[], IptablesGate | NativeGate]


class Foreign:
    """The chains of others, and our rule in each of them."""

    def __init__(self, settings: Settings, nft: Nft) -> None:
        self._settings = settings
        self._nft = nft
        self._hooks = ("input", "forward") if settings.forwards else ("input",)

    def ensure(self) -> bool:
        """See that each chain begins with our rule; return whether one did not.

        Raises:
            FirewallError: a chain refused. All others have the rule.
        """
        gates = self._gates(self._hooks)
        return any(attempt_all(partial(_ensure, make) for make in gates))

    def tidy(self) -> None:
        """Take our rules out of chains that have no need of them any more."""
        unused = tuple(hook for hook in CHAINS if hook not in self._hooks)
        attempt_all(partial(_remove, make) for make in self._gates(unused))

    def remove(self) -> None:
        """Take our rules away, and nothing else."""
        gates = self._gates(tuple(CHAINS))
        attempt_all(partial(_remove, make) for make in gates)

    def warnings(self) -> list[str]:
        """Say which chains may drop what we grant, and why. Changes nothing."""
        early = [
            f"chain {gate.place} may drop granted packets: it comes before ours"
            for gate in map(self._native_gate, self._chains(is_before_us, self._hooks))
            if gate.may_drop()
        ]
        checks = [partial(_complaint, make) for make in self._gates(self._hooks)]
        return early + [text for text in attempt_all(checks) if text]

    def missing(self) -> list[str]:
        """Name the chains that do not begin with our rule, and ought to.

        Changes nothing. `ensure` puts it there.
        """
        gates = (make() for make in self._gates(self._hooks))
        return [gate.place for gate in gates if not gate.stands()]

    def _gates(self, hooks: tuple[str, ...]) -> Iterator[_MakeGate]:
        if not hooks:
            return
        for version in _legacy_versions():
            for hook in hooks:
                yield partial(self._legacy_gate, version, CHAINS[hook])
        for chain in self._chains(is_behind_us, hooks):
            yield partial(self._gate, chain)

    def _chains(
        self, where: Callable[[dict[str, Any]], bool], hooks: tuple[str, ...]
    ) -> list[dict[str, Any]]:
        """Return the filter chains of others that are on one of `hooks` there."""
        name = self._settings.name
        return [
            chain
            for chain in self._nft.read("list chains", "chain")
            if chain.get("hook") in hooks and is_filter(chain, name) and where(chain)
        ]

    def _legacy_gate(self, version: int, chain: str) -> IptablesGate:
        legacy = Xtables(version, LEGACY)
        rules = legacy.rules(chain) or []
        return IptablesGate(legacy, chain, rules, self._settings)

    def _gate(self, chain: dict[str, Any]) -> IptablesGate | NativeGate:
        # iptables refuses a whole chain if one rule of nft in it is beyond it: so what
        # iptables made is left to iptables, of the version that made it.
        xtables = Xtables(6 if chain["family"] == "ip6" else 4, NFT)
        if is_of_iptables(chain) and xtables.missing() is None:
            rules = xtables.rules(chain["name"])
            # Others may use these names for rules that only nft understands.
            if rules is None:
                return UnlistedGate(xtables, chain, self._settings)
            return IptablesGate(xtables, chain["name"], rules, self._settings)
        return self._native_gate(chain)

    def _native_gate(self, chain: dict[str, Any]) -> NativeGate:
        return NativeGate(chain, self._settings)


def is_filter(chain: dict[str, Any], name: str) -> bool:
    """Tell whether this is a filter chain for IP that is not in our table `name`."""
    return (
        chain.get("type") == "filter"
        and chain["family"] in {"inet", "ip", "ip6"}
        and (chain["family"], chain["table"]) != ("inet", name)
    )


def is_before_us(chain: dict[str, Any]) -> bool:
    """Tell whether packets meet this base chain before ours. If not sure, they do."""
    return bool(chain["prio"] <= PRIORITY)


def is_behind_us(chain: dict[str, Any]) -> bool:
    """Tell whether packets meet this base chain after ours.

    Those of iptables that are no `filter` are left alone.
    """
    of_iptables = chain["name"] in CHAINS.values() and chain["table"] in _IPTABLES
    return bool(chain["prio"] > PRIORITY) and not of_iptables


def is_of_iptables(chain: dict[str, Any]) -> bool:
    """Tell whether `chain` has the name of one that iptables-nft makes."""
    names = (chain["table"], chain["name"])
    return chain["family"] != "inet" and names == ("filter", CHAINS.get(chain["hook"]))


def _ensure(make: _MakeGate) -> bool:
    return make().ensure()


def _remove(make: _MakeGate) -> None:
    make().remove()


def _complaint(make: _MakeGate) -> str:
    """Return why a chain would refuse our rule, or nothing."""
    try:
        make().check()
    except FirewallError as error:
        return f"granted packets may be dropped: {error}"
    return ""


def _legacy_versions() -> list[int]:
    """Return the IP versions whose filter table of the legacy variant exists."""
    versions = []
    for version, path in LEGACY_TABLES:
        try:
            with open(path, encoding="ascii") as names:
                if "filter" in names.read().split():
                    versions.append(version)
        except FileNotFoundError:
            continue  # this kernel has no legacy variant at all
        except OSError as error:
            raise FirewallError(f"{path}: {error.strerror}") from error
    return versions
