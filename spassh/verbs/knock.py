"""`spassh knock`: just the packet, for what is not ssh."""

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from ..errors import UnreachableError, UsageError, lower_reason
from ..outside import Outside
from ..private import config_home
from ..profile import Profile
from ..protocol.errors import Malformed, TextFormError
from ..protocol.fwknop.message import MAX_TIMEOUT
from ..protocol.limits import MAX_LIFETIME
from ..protocol.request import TCP, UDP, Request
from ..resolve import Resolving
from ..ui import write
from ..url import parse_url
from .lookup import profile_for
from .sealing import sealer_for

_PROTOCOLS: Final = {"tcp": TCP, "udp": UDP}
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600}


def run(
    host: str,
    access: str,
    lifetime: str,
    allow: str,
    utc_ms: Callable[[], int],
    *,
    resolve_url: str = "",
) -> None:
    """Ask the server that a profile names to open a port, once at each address.

    Args:
        host: a name or address that a profile names.
        access: the port, such as "tcp/443".
        lifetime: for how long, such as "30s"; empty leaves it to the server.
        allow: the address to let in; empty is the one that the packet comes from.
        utc_ms: milliseconds since 1970-01-01 UTC.
        resolve_url: who is asked for the address to let in; empty is nobody.

    Raises:
        SpasshError: nothing was sent.
    """
    protocol, port = _port(access)
    seconds = _seconds(lifetime) if lifetime else 0
    if allow and resolve_url:
        raise UsageError(
            "--allow and --resolve-url are both there", "take one of them out"
        )
    address = _address(allow) if allow else b""
    home = config_home()
    profile = profile_for(home, host)
    if resolve_url:
        address = _outside(resolve_url, profile)
    sealer = sealer_for(profile, home)
    host = profile.name or host
    sent, problem = [], ""
    for target in Resolving(host, port).wait():
        # Each has a time of its own: the name server may have taken a good part of
        # that for which a datagram is fresh.
        request = Request(utc_ms(), protocol, port, seconds, address)
        try:
            sealer.check(target)
            source = sealer.deliver(sealer.seal(request), target)
        except Malformed as error:
            raise UsageError(
                f"fwknop has no word for that: {error}",
                f"it allows an IPv4 address, and for at most {MAX_TIMEOUT} s",
            ) from error
        except OSError as error:
            problem = problem or lower_reason(error)
        else:
            sent.append(f"{target} from {source.address[0]}")
    if not sent:
        raise UnreachableError(
            f"cannot reach {host}: {problem}",
            "see that the network is up, and that no firewall of this computer"
            " forbids it",
        )
    for one in sent:
        write(f"knocked at {one} for {access}")
    write("no answer comes back: if the port stays shut, the server's log says why")


def _port(text: str) -> tuple[int, int]:
    protocol, _, number = text.partition("/")
    digits = number.isascii() and number.isdigit() and len(number) <= 5
    if protocol not in _PROTOCOLS or not digits or not 0 < int(number) < 1 << 16:
        raise UsageError(f"--access: not a port: {text}", "such as tcp/443 or udp/53")
    return _PROTOCOLS[protocol], int(number)


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9})([smh]?)", text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= MAX_LIFETIME:
        raise UsageError(
            f"--for: not a time: {text}",
            f"such as 30s, 5m or 1h, and at most {MAX_LIFETIME} s",
        )
    return seconds


def _address(text: str) -> bytes:
    try:
        return ip_address(text).packed
    except ValueError as error:
        raise UsageError(
            f"--allow: not an address: {text}", "such as 192.0.2.7 or 2001:db8::7"
        ) from error


def _outside(text: str, profile: Profile) -> bytes:
    try:
        url = parse_url(text)
    except TextFormError as error:
        raise UsageError(
            f"--resolve-url: {error}", "such as https://www.example/address"
        ) from error
    return Outside(url, ipv4=profile.fwknop is not None).wait()
