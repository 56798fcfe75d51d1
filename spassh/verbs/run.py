"""`spassh run`: ask a server to run a command, with one datagram and no answer."""

from collections.abc import Callable
from typing import Final

from ..errors import UnreachableError, UsageError, lower_reason
from ..private import config_home
from ..protocol.errors import Malformed
from ..protocol.limits import MAX_ARGUMENTS
from ..protocol.request import Request
from ..resolve import Address, Resolving
from ..ui import write
from .lookup import profile_for
from .sealing import AnySealer, sealer_for

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
    profile = profile_for(home, host)
    sealer = sealer_for(profile, home)
    host = profile.name or host
    addresses = Resolving(host, profile.port).wait()
    # Not before: the name server may have taken a good part of the time for which a
    # datagram is fresh.
    datagram = _sealed(Request(utc_ms(), command=tuple(command)), sealer)
    address = _send_once(datagram, host, addresses, sealer)
    write(f"asked {host}, at {address}, to run {command[0]}")
    write("no answer comes back: the server's log tells what became of it")


def _sealed(request: Request, sealer: AnySealer) -> bytes:
    try:
        return sealer.seal(request)
    except Malformed as error:
        raise UsageError(
            f"cannot send the command: {error}",
            f"a command has at most {MAX_ARGUMENTS} words, and about 1000 bytes in all;"
            " for an fwknopd, 100",
        ) from error


def _send_once(
    datagram: bytes, host: str, addresses: list[Address], sealer: AnySealer
) -> Address:
    """Send to the first address that there is a way to, and return it.

    To one only, and never again: a command that ran twice may do harm, and one that did
    not run can be asked for again.
    """
    problem = ""
    for address in addresses:
        try:
            sealer.check(address)
            sealer.deliver(datagram, address)
        except OSError as error:
            # The system took nothing, so the next address is still the first.
            problem = problem or lower_reason(error)
        else:
            return address
    raise UnreachableError(
        f"cannot reach {host}: {problem}",
        "see that the network is up, and that no firewall of this computer forbids it",
    )
