"""Starts the helper anew when it has ended, because nobody else can.

The listener may start no program, and the granter must not become the helper's account.
So the program that the daemon starts beside them stays as it is, and the helper is a
child of it. It never looks at a message.
"""

import os
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

from .. import events
from .message import LOST, QUESTION_SIZE, Answer, Verdict, encode_answer

BETWEEN_SECONDS: Final = 1
"""Shortest time between two starts."""


def keep(
    sock: socket.socket, run: Callable[[], int], clean: Callable[[], None]
) -> None:
    """Have a child `run` the helper until the listener leaves.

    Args:
        sock: our end of the socket, which the child has as well.
        run: serves the listener in the child, and returns 0 if that has left.
        clean: takes away what a child that was killed has left.
    """
    while True:
        begun = time.monotonic()
        status = _in_child(run)
        if not status:
            return
        how = f"status {status}" if status > 0 else f"signal {-status}"
        events.error(
            f"gnupg: the helper has ended ({how}), and begins anew when it is asked",
            "see above why",
        )
        clean()
        if not (_lose(sock) and _is_asked(sock)):
            return
        # Whoever asks for more than can be done must not keep a processor busy.
        time.sleep(max(0.0, begun + BETWEEN_SECONDS - time.monotonic()))


def _in_child(run: Callable[[], int]) -> int:
    """Return the exit status of a child, or a signal's number below 0."""
    try:
        pid = os.fork()
    except OSError as error:
        # There may be room for one more process when somebody asks. Were we to end,
        # nobody could begin the helper before the daemon's next start.
        events.error(f"gnupg: no process for the helper: {error.strerror}")
        return 1
    if not pid:
        status = 1
        try:
            status = run()
        except Exception:  # noqa: BLE001 - it ends here, and has to say why
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _lose(sock: socket.socket) -> bool:
    """Say that nothing will be answered that was asked; return False if nobody hears.

    What is not read yet goes as well: it may be what the helper has ended of, and who
    is told waits no more.
    """
    try:
        while sock.recv(QUESTION_SIZE + 1, socket.MSG_DONTWAIT):
            continue
    except BlockingIOError:
        pass
    except OSError:
        return False
    else:
        return False
    try:
        sock.send(encode_answer(Answer(LOST, Verdict.FAILED)))
    except OSError:
        return False
    return True


def _is_asked(sock: socket.socket) -> bool:
    """Wait until there is a question; return False if the listener leaves."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.poll()
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except OSError:
        return False
