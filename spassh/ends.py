"""The two ends of a relay: how much is on the way between them, and how they end."""

from __future__ import annotations

import _socket as socket
import errno
import os
from stat import S_ISSOCK

from .errors import SpasshError, lower_reason
from .protocol.named_tuple import NamedTuple
from .sockets import Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

CHUNK: Final = 64 * 1024
"""Most bytes that we hold in each direction: as much as a pipe holds."""


class Ending(NamedTuple):
    """How the relay of one connection ended."""

    lost: OSError | None
    """What broke the connection."""
    unwritten: OSError | None
    """Why the output took no more."""

    def check(self) -> None:
        """Say what went wrong, to whom it may concern.

        Raises:
            SpasshError: the connection broke, or the output takes no more.
        """
        if self.lost is not None:
            raise SpasshError(
                f"connection lost: {lower_reason(self.lost)}",
                "log in again; if it happens often, set ServerAliveInterval in"
                " ssh_config",
            )
        # Without a reader there is nobody to complain to either.
        if self.unwritten is not None and not isinstance(
            self.unwritten, ConnectionError
        ):
            raise SpasshError(
                f"cannot write the output: {lower_reason(self.unwritten)}",
                "see that there is room where standard output goes",
            )


def breaks_connection(error: OSError | None) -> OSError | None:
    """Return what a failure to send says about the connection.

    That it is over already is no news: how it ended is told to whoever reads from it.
    Any other error is told once, so it may be that reading never hears of it.
    """
    over = error is not None and error.errno in {errno.EPIPE, errno.ENOTCONN}
    return None if over else error


def end_output(fd: int) -> None:
    """Tell the reader that there is no more, whichever kind of descriptor it has."""
    if S_ISSOCK(os.fstat(fd).st_mode):
        # The same socket may be our standard input, which keeps it open.
        with Socket(fileno=os.dup(fd)) as sock:
            sock.shutdown(socket.SHUT_WR)
    os.close(fd)
