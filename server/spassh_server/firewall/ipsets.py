"""Grants as elements of two sets of ipset, which forget them in time."""

from ipaddress import ip_address

from ..ports import Port
from . import ActiveGrant, FirewallError, Grant
from .checks import check_seconds
from .run import ProgramError, find, run

# ipset names them where it can, which needs /etc/protocols.
_PROTOCOLS = {"tcp": 6, "udp": 17, "6": 6, "17": 17}


class IpSets:
    """The sets NAME-4 and NAME-6."""

    expires_by_itself = True

    def __init__(self, name: str, versions: tuple[int, ...]) -> None:
        self._name = name
        self._versions = versions

    def prepare(self) -> None:
        """Create the sets that are not there."""
        text = render_sets(self._name, self._versions)
        run("ipset", "-exist", "restore", stdin=text.encode())

    def accepting(self, version: int) -> list[str]:
        """Return the rules that accept what the set for IP `version` holds."""
        return [f"-m set --match-set {self._name}-{version} src,dst -j ACCEPT"]

    def kept(self, version: int) -> list[str]:  # noqa: ARG002 - see TimedRules
        """Return the rules that are grants: none, for elements of sets are."""
        return []

    def grant(self, grant: Grant, seconds: int) -> None:
        """Let `grant` through for `seconds`, or longer if it already is."""
        element = render_element(self._name, grant)
        check_seconds(seconds)
        try:
            run("ipset", "add", *element, "timeout", str(seconds))
        except ProgramError:
            left = dict(self._read(element[0])).get(grant, 0)
            # The kernel rounds down what is left, but less than a second up to one.
            if left > 1 and left >= seconds:
                return
            longer = str(max(seconds, left + 1))
            run("ipset", "-exist", "add", *element, "timeout", longer)

    def revoke(self, grant: Grant) -> None:
        """Take a grant back."""
        run("ipset", "-exist", "del", *render_element(self._name, grant))

    def grants(self) -> list[ActiveGrant]:
        """List the live grants."""
        return [grant for one in self._present() for grant in self._read(one)]

    def sweep(self) -> float | None:
        """Do nothing: the kernel deletes what has expired."""

    def remove(self) -> None:
        """Destroy the sets. No rule may use them any more."""
        for one in self._present():
            run("ipset", "destroy", one)

    def _present(self) -> list[str]:
        """Return which of our sets exist."""
        present = run("ipset", "list", "-name").decode().split()
        return [
            name for v in self._versions if (name := f"{self._name}-{v}") in present
        ]

    def _read(self, one: str) -> list[ActiveGrant]:
        return parse_save(run("ipset", "save", one).decode())


def is_usable() -> bool:
    """Tell whether ipset is installed and this kernel has sets."""
    if find("ipset") is None:
        return False
    try:
        run("ipset", "list", "-name")
    except FirewallError:
        return False
    return True


def render_sets(name: str, versions: tuple[int, ...]) -> str:
    """Create our sets. An element that is added without a timeout gets one second."""
    families = {4: "inet", 6: "inet6"}
    return "".join(
        f"create {name}-{version} hash:ip,port family {families[version]} timeout 1\n"
        for version in versions
    )


def render_element(name: str, grant: Grant) -> tuple[str, str]:
    """Return the set that `grant` belongs to, and the element that it is."""
    address = ip_address(grant.address)
    element = f"{address},{grant.port.protocol}:{grant.port.number}"
    return f"{name}-{address.version}", element


def parse_save(text: str) -> list[ActiveGrant]:
    """Return the grants in what `ipset save` wrote."""
    found = []
    for line in text.splitlines():
        match line.split():
            case ["add", _, element, "timeout", seconds]:
                address, _, port = element.rpartition(",")
                protocol, _, number = port.partition(":")
                grant = Grant(
                    ip_address(address).packed,
                    Port(_PROTOCOLS[protocol], int(number)),
                )
                found.append(ActiveGrant(grant, int(seconds)))
    return found
