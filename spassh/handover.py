"""Give the established socket to ssh: the socket itself, or every byte of it."""

from __future__ import annotations

import _socket as socket
import os
import sys
from stat import S_ISSOCK

from .errors import SpasshError, lower_reason
from .sockets import Socket

_STDIN = 0
_STDOUT = 1


def can_pass(stdout: int = _STDOUT) -> bool:
    """Tell whether standard output is a socket over which ssh may wait for another.

    With `ProxyUseFdpass yes` it is. Programs that read ssh_config and know no such
    thing give us pipes, and are served by the relay all the same, as is Windows.
    libssh gives us a socket like that of ssh, but it talks over it from the beginning.
    """
    if not hasattr(socket, "SCM_RIGHTS") or not S_ISSOCK(os.fstat(stdout).st_mode):
        return False
    with Socket(fileno=os.dup(stdout)) as sock:
        return sock.family == socket.AF_UNIX and not _has_data(sock)


def _has_data(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


def pass_socket(sock: socket.socket, stdout: int = _STDOUT) -> None:
    """Send the socket itself to ssh, which is done with us then.

    Raises:
        SpasshError: ssh is gone.
    """
    with Socket(fileno=os.dup(stdout)) as to_ssh:
        try:
            to_ssh.send_socket(sock)
        except OSError as error:
            raise SpasshError(f"ssh did not wait: {lower_reason(error)}") from error


def relay(sock: socket.socket, stdin: int = _STDIN, stdout: int = _STDOUT) -> None:
    """Copy both ways, as this system can, until it is over.

    Raises:
        SpasshError: the connection broke, or `stdout` takes no more.
    """
    # A millisecond, which a socket that is passed on does not cost.
    if sys.platform == "win32":
        from .threads import copy, die_of_interrupts

        die_of_interrupts()
    else:
        from .relay import copy
    copy(sock, stdin, stdout).check()
