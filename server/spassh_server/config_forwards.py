"""The tables [[forward]] of spasshd.toml: ports of this host that lead to others."""

from collections.abc import Iterable
from ipaddress import ip_address

from .addresses import grantable
from .firewall import Forward
from .limits import MAX_FORWARDS
from .ports import Port, parse_port
from .toml import Table

_KEYS = {"port", "to", "to_port", "masquerade"}


def read_forwards(table: Table) -> tuple[Forward, ...]:
    """Read every [[forward]] of the configuration `table`.

    Raises:
        ConfigError: one is broken, or two are for the same port and family.
    """
    forwards: list[Forward] = []
    for entry in table.tables("forward", MAX_FORWARDS):
        entry.only(_KEYS)
        port = _port(entry)
        address = _address(entry)
        if any((f.port, len(f.address)) == (port, len(address)) for f in forwards):
            raise entry.error("port", f"{port} leads elsewhere already", "take one out")
        number = entry.integer("to_port", port.number, 1, 65535)
        masquerade = entry.boolean("masquerade", default=False)
        forwards.append(Forward(port, address, number, masquerade))
    return tuple(forwards)


def leads_nowhere(forwards: Iterable[Forward], port: Port, address: bytes) -> bool:
    """Tell whether `port` leads to other hosts, but to none of the client's family.

    A grant would open that port of this host instead, which nobody has asked for.
    """
    sizes = {len(one.address) for one in forwards if one.port == port}
    return bool(sizes) and len(address) not in sizes


def leads_to(forwards: Iterable[Forward], port: Port, host: str, number: int) -> bool:
    """Tell whether `port` leads to just that port of `host`, which is an address.

    A name is none: nobody here looks names up, least of all a client's.
    """
    try:
        address = ip_address(host).packed
    except ValueError:
        return False
    return any(
        (one.port, one.address, one.number) == (port, address, number)
        for one in forwards
    )


def _port(entry: Table) -> Port:
    try:
        return parse_port(entry.string("port"))
    except ValueError as error:
        raise entry.error("port", str(error), 'write port = "tcp/2222"') from error


def _address(entry: Table) -> bytes:
    text = entry.string("to")
    try:
        # A zone (%eth0) has no place in the bytes of an address.
        address = b"" if "%" in text else ip_address(text).packed
    except ValueError:
        address = b""
    if not grantable(address):
        raise entry.error(
            "to", f"not the address of a host: {text[:64]!r}", 'write to = "10.0.0.5"'
        )
    return address
