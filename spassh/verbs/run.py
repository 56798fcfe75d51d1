"""`spassh run`: ask a server to run a command, with one datagram and no answer."""

import os
import socket
from collections.abc import Callable
from typing import Final

from ..errors import ProfileError, UnreachableError, UsageError, lower_reason
from ..patterns import Wanted
from ..private import config_home
from ..profile import Profile, find, load_keys, profiles_directory
from ..protocol.errors import Malformed, Unauthentic
from ..protocol.limits import MAX_ARGUMENTS, RANDOMNESS_SIZE
from ..protocol.packet import ClientKeys, seal
from ..protocol.request import Request
from ..resolve import Address, Resolving
from ..ui import write

_USAGE: Final = "usage: spassh run HOST -- PROGRAM [ARGUMENT ...]"


def run(host: str, command: list[str], utc_ms: Callable[[], int]) -> None:
    """Send the command to the server that a profile names, exactly once.

    Raises:
        SpasshError: nothing was sent.
    """
    if not command:
        raise UsageError("run takes a host, '--' and a command", _USAGE)
    if not command[0].startswith("/"):
        raise UsageError(
            f"not an absolute path: {command[0]}",
            "the server compares the whole command, such as /usr/bin/uptime",
        )
    home = config_home()
    profile = find(home, Wanted(host))
    if profile is None:
        raise ProfileError(
            profiles_directory(home),
            f"no profile names '{host}'",
            f"'spassh import --host {host}' takes the server's invite in; a Host"
            " of ssh_config(5) is no name here, but its HostName is",
        )
    loaded = load_keys(profile, home)
    keys = ClientKeys(loaded.secret, loaded.server, loaded.psk)
    host = profile.name or host
    addresses = Resolving(host, profile.port).wait()
    # Not before: the name server may have taken a good part of the time for which a
    # datagram is fresh.
    datagram = _sealed(Request(utc_ms(), command=tuple(command)), keys, profile)
    address = _send_once(datagram, host, addresses)
    write(f"asked {host}, at {address}, to run {command[0]}")
    write("no answer comes back: the server's log tells what became of it")


def _sealed(request: Request, keys: ClientKeys, profile: Profile) -> bytes:
    try:
        return seal(request, keys, os.urandom(RANDOMNESS_SIZE))
    except Malformed as error:
        raise UsageError(
            f"cannot send the command: {error}",
            f"a command has at most {MAX_ARGUMENTS} words, and about 1000 bytes in all",
        ) from error
    except Unauthentic as error:
        raise ProfileError(
            profile.path,
            f"'server': {error}",
            "ask the server's administrator for a new invite",
        ) from error


def _send_once(datagram: bytes, host: str, addresses: list[Address]) -> Address:
    """Send to the first address that there is a way to, and return it.

    To one only, and never again: a command that ran twice may do harm, and one that did
    not run can be asked for again.
    """
    problem = ""
    for address in addresses:
        try:
            with socket.socket(address.family, socket.SOCK_DGRAM) as sock:
                sock.connect(address.sockaddr)
                sock.send(datagram)
        except OSError as error:
            # The system took nothing, so the next address is still the first.
            problem = problem or lower_reason(error)
        else:
            return address
    raise UnreachableError(
        f"cannot reach {host}: {problem}",
        "see that the network is up, and that no firewall of this computer forbids it",
    )
