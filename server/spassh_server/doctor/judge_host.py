"""Findings about the host: what it hears, who listens, and where it stands. Pure."""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network
from typing import Final

from spassh.protocol.finding import Finding, Result

from ..addresses import text
from ..config import Config
from ..ports import Port
from .commands import Commands
from .hearing import Hearing
from .judge_service import MOST_LISTED, MOST_NAMED, list_some
from .machine import Machine
from .sockets import Listener

_OK, _UNKNOWN = Result.OK, Result.UNKNOWN
_WARNING, _PROBLEM = Result.WARNING, Result.PROBLEM

_TCP: Final = 6
_SSH_SERVERS: Final = frozenset({"sshd", "dropbear"})

_NOT_PUBLIC: Final = tuple(
    map(
        ip_network,
        (
            *("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10"),
            # RFC 1918, RFC 6598 (the provider's own NAT) and RFC 4193
            *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
            "fc00::/7",
        ),
    )
)

_CLOUDS: Final = (
    # What the machine's maker is called, in small letters; the cloud; its firewall.
    ("amazon ec2", "Amazon EC2", "the security group"),
    ("google", "Google Cloud", "the VPC firewall"),
    ("digitalocean", "DigitalOcean", "the cloud firewall"),
    ("hetzner", "Hetzner Cloud", "the cloud firewall"),
    ("openstack", "OpenStack", "the security group"),
    ("alibaba cloud", "Alibaba Cloud", "the security group"),
    ("oraclecloud", "Oracle Cloud", "the security list"),
    ("scaleway", "Scaleway", "the security group"),
    ("vultr", "Vultr", "the firewall group"),
    ("linode", "Linode", "the cloud firewall"),
    ("upcloud", "UpCloud", "the firewall"),
    ("exoscale", "Exoscale", "the security group"),
)
_AZURE: Final = "7783-7084-3265-9085-8269-3286-77"
"""The asset tag of every machine in it."""


def judge_interfaces(
    settings: Config, missing: Sequence[str], down: Sequence[str]
) -> list[Finding]:
    """Judge the interfaces that the configuration names."""
    found = []
    for name in missing:
        seen = f"there is no {name}: knocks that come by it are heard when it is there"
        remedy = f"ip link; see 'interfaces' in {settings.path}"
        found.append(Finding("interfaces", _WARNING, seen, remedy))
    for name in down:
        seen = f"{name} is down"
        remedy = f"ip link set {name} up"
        found.append(Finding("interfaces", _WARNING, seen, remedy))
    if not found:
        seen = f"knocks are heard by: {', '.join(settings.interfaces)}"
        found.append(Finding("interfaces", _OK, seen))
    return found


def judge_hearing(settings: Config, hearing: Hearing, commands: Commands) -> Finding:
    """Say whether the capture hears a datagram to the knock port."""
    port = settings.knock_port
    if hearing.problem:
        seen = f"the capture cannot be opened: {hearing.problem}"
        remedy = hearing.hint or commands.spasshd("check")
        return Finding("capture", _PROBLEM, seen, remedy)
    if hearing.unsent:
        seen = f"it opens; no datagram can be sent over the loopback: {hearing.unsent}"
        return Finding("capture", _UNKNOWN, seen, "ip link set lo up")
    if not hearing.heard:
        seen = f"it opens, and does not hear a datagram to udp/{port}"
        return Finding("capture", _PROBLEM, seen, f"tcpdump -n -i any udp port {port}")
    if hearing.daemon_heard is False and "any" in settings.interfaces:
        seen = f"a datagram to udp/{port} is heard, and not by the daemon that runs"
        return Finding("capture", _PROBLEM, seen, commands.restart)
    if hearing.daemon_heard:
        return Finding("capture", _OK, "it hears a datagram, and so does the daemon")
    seen = "it hears a datagram over the loopback"
    return Finding("capture", _OK, seen)


def judge_listeners(
    protect: Sequence[Port], listeners: Iterable[Listener], commands: Commands
) -> list[Finding]:
    """Say whether somebody serves what is protected, and sshd what is not."""
    listeners = list(listeners)
    found, served = [], []
    for port in protect:
        mine = [one for one in listeners if one.port == port]
        who = ", ".join(sorted({one.program for one in mine} - {""})) or "a program"
        if not mine:
            seen = f"nobody listens on {port}"
            remedy = _start(port, listeners)
            found.append(Finding("listeners", _PROBLEM, seen, remedy))
        elif all(_is_loopback(one.address) for one in mine):
            seen = f"{who} listens on {port} of the loopback alone"
            remedy = "ListenAddress 0.0.0.0 and ListenAddress :: in sshd_config"
            found.append(Finding("listeners", _PROBLEM, seen, remedy))
        else:
            served.append(f"{who} listens on {port}")
    del found[MOST_NAMED:]
    if served:
        found.append(Finding("listeners", _OK, list_some(served)))
    for one in sorted({_place(one) for one in listeners if _is_open_sshd(one)}):
        port, program = one
        if port in protect or not protect:
            continue
        seen = f"{program} listens on {port} as well, which is not protected"
        remedy = commands.spasshd(f"protect {port}")
        found.append(Finding("listeners", _WARNING, seen, remedy))
    return found


def _start(port: Port, listeners: Sequence[Listener]) -> str:
    if port.protocol != _TCP:
        return f"see what is to serve {port}: ss -lunp"
    elsewhere = sorted(
        {one.port.number for one in listeners if one.program in _SSH_SERVERS}
    )
    if elsewhere:
        numbers = ", ".join(map(str, elsewhere))
        return f"sshd listens on {numbers}: write Port {port.number} in sshd_config"
    return "systemctl start ssh (on some systems: sshd)"


def _is_open_sshd(one: Listener) -> bool:
    is_sshd = one.program in _SSH_SERVERS and one.port.protocol == _TCP
    return is_sshd and not _is_loopback(one.address)


def _place(one: Listener) -> tuple[Port, str]:
    return one.port, one.program


def _is_loopback(address: bytes) -> bool:
    return ip_address(address).is_loopback


def judge_clock(*, synchronised: bool | None) -> Finding:
    """Say whether somebody keeps the clock right."""
    if synchronised is None:
        seen = "the system does not say whether the clock is kept right"
        return Finding("clock", _UNKNOWN, seen, "compare: date -u")
    if synchronised:
        return Finding("clock", _OK, "it is kept right", "", {"synchronised": True})
    seen = "nobody keeps it right: a minute off, and every knock is refused"
    remedy = "timedatectl set-ntp true; if it cannot: apt install systemd-timesyncd"
    return Finding("clock", _WARNING, seen, remedy, {"synchronised": False})


def judge_place(
    settings: Config, addresses: Sequence[bytes], machine: Machine
) -> list[Finding]:
    """Say what stands between this host and its clients, as far as can be told."""
    ports = list_some(
        list(map(str, (Port(17, settings.knock_port), *settings.firewall.dropped)))
    )
    public = sorted({text(one) for one in addresses if _is_public(one)})
    private = sorted({text(one) for one in addresses if _is_inner(one)})
    data = {"public": public[:MOST_LISTED], "private": private[:MOST_LISTED]}
    found = []
    cloud = _cloud(machine)
    if cloud:
        name, guard = cloud
        seen = f"this is a machine of {name}: {guard} stands before it"
        remedy = f"let {ports} in there, from wherever clients come"
        found.append(Finding("network", _UNKNOWN, seen, remedy, {"cloud": name}))
    if not public:
        seen = (
            "it has no public address, so for clients elsewhere a NAT is in between:"
            f" {list_some(private) or 'no address at all'}"
        )
        remedy = f"have the router send {ports} on to this host"
        found.append(Finding("network", _UNKNOWN, seen, remedy, data))
    if not found:
        seen = f"it has public addresses: {list_some(public)}"
        found.append(Finding("network", _OK, seen, "", data))
    return found


def _cloud(machine: Machine) -> tuple[str, str] | None:
    if machine.asset == _AZURE:
        return "Azure", "the network security group"
    names = " ".join(machine).lower()
    for sign, name, guard in _CLOUDS:
        if sign in names:
            return name, guard
    return None


def _is_public(address: bytes) -> bool:
    one = ip_address(address)
    return not any(one in network for network in _NOT_PUBLIC)


def _is_inner(address: bytes) -> bool:
    one = ip_address(address)
    return not (_is_public(address) or one.is_loopback or one.is_link_local)
