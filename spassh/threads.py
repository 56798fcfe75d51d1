"""Every byte of a connection, both ways, where pipes cannot be waited for: on Windows.

select(2) takes nothing but sockets there, so each direction has a thread that blocks.
Such a relay learns that nobody reads its output when it writes next.
"""

from __future__ import annotations

import _socket as socket
import _thread
import errno
import os

from .ends import CHUNK, Ending, end_output


def die_of_interrupts() -> None:
    """Let Ctrl-C end the process: Python does not hear of it in a call that blocks."""
    # Half a millisecond, and on Windows alone.
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)


def copy(sock: socket.socket, stdin: int, stdout: int) -> Ending:
    """Copy both ways until both ends have ended, or until `stdout` takes no more.

    What came before an error has been written. After an error, the thread that reads
    `stdin` is left behind, and ends with the process.
    """
    sock.setblocking(True)
    # The thread's own: whoever closes `stdin` and opens something else under its number
    # must not find a thread there that was left behind.
    own = os.dup(stdin)
    sent = _thread.allocate_lock()
    sent.acquire()

    def send() -> None:
        try:
            _copy_up(own, sock)
        finally:
            os.close(own)
            sent.release()

    _thread.start_new_thread(send, ())
    ending = _copy_down(sock, stdout)
    if ending == Ending(None, None):
        sent.acquire()
    return ending


def _copy_up(stdin: int, sock: socket.socket) -> None:
    try:
        while data := _read(stdin):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        return  # Who reads from the connection is told as well.


def _read(stdin: int) -> bytes:
    try:
        return os.read(stdin, CHUNK)
    except OSError:
        return b""  # An input that has broken has ended.


def _copy_down(sock: socket.socket, stdout: int) -> Ending:
    lost = None
    while True:
        data = memoryview(b"")
        try:
            data = memoryview(sock.recv(CHUNK))
        except OSError as error:
            lost = error
        try:
            if not data:
                end_output(stdout)
                return Ending(lost, None)
            while data:
                data = data[os.write(stdout, data) :]
        except OSError as error:
            return Ending(lost, _nobody_reads(error) or error)


def _nobody_reads(error: OSError) -> BrokenPipeError | None:
    """Return the usual error for what Windows says of a pipe without a reader."""
    if error.errno != errno.EINVAL:
        return None
    return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
