"""Lead granted packets through the filter chains that are not ours.

An accept in our chain is only ours: a later base chain of the input hook may still drop
the packet. So ours marks what it grants, and each of those chains gets one rule at its
very top that accepts the mark:

* INPUT of iptables and ip6tables, of either variant, if the kernel has its table. To
  ask iptables-legacy would make one.
* base chains of nftables that may drop and whose priority is above ours. Those before
  ours judge a packet before we mark it: a drop there wins.

Nothing else in them is touched. Programs do all of it, even where libnftables could:
what strange rules do to a program, they do not do to us.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from . import FirewallError, Settings
from .attempts import attempt_all
from .iptables_gate import IptablesGate
from .libnftables import LibNftables
from .native_gate import NativeGate
from .nftables_render import PRIORITY
from .xtables import INPUT, LEGACY, NFT, Xtables

LEGACY_TABLES: Final = (
    (4, "/proc/net/ip_tables_names"),
    (6, "/proc/net/ip6_tables_names"),
)
"""Where the kernel tells which tables of the legacy variant this namespace has."""

# Chains named INPUT of these belong to iptables, which chokes on rules of other makers.
_IPTABLES = {"mangle", "nat", "raw", "security"}


_MakeGate = Callable[[], IptablesGate | NativeGate]


class Foreign:
    """The chains of others, and our rule in each of them."""

    def __init__(self, settings: Settings, nft: LibNftables) -> None:
        self._settings = settings
        self._nft = nft

    def ensure(self) -> bool:
        """See that each chain begins with our rule; return whether one did not.

        Raises:
            FirewallError: a chain refused. All others have the rule.
        """
        return any(attempt_all(partial(_ensure, make) for make in self._gates()))

    def remove(self) -> None:
        """Take our rules away, and nothing else."""
        attempt_all(partial(_remove, make) for make in self._gates())

    def _gates(self) -> Iterator[_MakeGate]:
        for version in _legacy_versions():
            yield partial(self._legacy_gate, version)
        for chain in self._nft.read("list chains", "chain"):
            if is_behind_us(chain, self._settings.name):
                yield partial(self._gate, chain)

    def _legacy_gate(self, version: int) -> IptablesGate:
        legacy = Xtables(version, LEGACY)
        return IptablesGate(legacy, legacy.rules(INPUT) or [], self._settings)

    def _gate(self, chain: dict[str, Any]) -> IptablesGate | NativeGate:
        # iptables refuses a whole chain if one rule of nft in it is beyond it: so what
        # iptables made is left to iptables, of the version that made it.
        xtables = Xtables(6 if chain["family"] == "ip6" else 4, NFT)
        if is_filter_input(chain) and xtables.missing() is None:
            rules = xtables.rules(INPUT)
            # Others may use these names for rules that only nft understands.
            if rules is not None:
                return IptablesGate(xtables, rules, self._settings)
        return NativeGate(chain, self._settings)


def is_behind_us(chain: dict[str, Any], name: str) -> bool:
    """Tell whether packets meet this filter chain after ours, which is in table `name`.

    The one of ours is not behind itself, and those of iptables that are no `filter` are
    left alone.
    """
    return (
        chain.get("type") == "filter"
        and chain.get("hook") == "input"
        and chain["family"] in {"inet", "ip", "ip6"}
        and chain["prio"] > PRIORITY
        and not (chain["name"] == INPUT and chain["table"] in _IPTABLES)
        and (chain["family"], chain["table"]) != ("inet", name)
    )


def is_filter_input(chain: dict[str, Any]) -> bool:
    """Tell whether `chain` has the name of the one that iptables-nft makes."""
    names = (chain["table"], chain["name"])
    return chain["family"] != "inet" and names == ("filter", INPUT)


def _ensure(make: _MakeGate) -> bool:
    return make().ensure()


def _remove(make: _MakeGate) -> None:
    make().remove()


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
