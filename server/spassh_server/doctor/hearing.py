"""Whether the capture hears a datagram that this host sends to itself."""

import os
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from spassh.protocol.errors import NotOurs
from spassh.protocol.limits import ACCESS_DATAGRAM, TAG_SIZE
from spassh.protocol.packet import Gate

from ..capture import Capture, open_captures
from ..datagram import parse
from ..libpcap import CaptureError

PATIENCE: Final = 2.0
"""Seconds to wait for a datagram over the loopback: it takes far less than one."""

_LOOPBACK: Final = "lo" if sys.platform == "linux" else "lo0"
_ADDRESS: Final = "127.0.0.1"
_ASK_INTERVAL: Final = 0.1


class Hearing(NamedTuple):
    """What became of the datagram."""

    problem: str = ""
    """Why no capture could be opened."""
    hint: str = ""
    unsent: str = ""
    """Why the datagram could not be sent."""
    heard: bool = False
    daemon_heard: bool | None = None
    """Whether the daemon counted a frame; None if none runs that could."""


def listen_to_itself(
    interfaces: Sequence[str],
    port: int,
    frames: Callable[[], int | None],
    gate: Gate | None,
) -> Hearing:
    """Open a capture like the daemon's, and send one datagram to the loopback.

    The datagram is noise of the size of a knock, behind the tag that the kernel looks
    at for the daemon: to that it is `not-ours`.

    Args:
        interfaces: those of the configuration.
        port: the UDP port for knocks.
        frames: returns how many frames the daemon has counted, or None.
        gate: the server's, or None if its key cannot be read. Then nothing can be said
            of the daemon.
    """
    try:
        # As the daemon; and the loopback, for which a datagram can be sent from here.
        captures = open_captures((*interfaces, _LOOPBACK), port)
    except CaptureError as error:
        return Hearing(str(error), error.hint)
    try:
        before = None if gate is None else frames()
        noise = os.urandom(ACCESS_DATAGRAM - TAG_SIZE)
        noise = (os.urandom(TAG_SIZE) if gate is None else gate.tag(noise)) + noise
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(noise, (_ADDRESS, port))
        except OSError as error:
            return Hearing(unsent=error.strerror or str(error))
        heard = _wait(captures, noise, port)
    finally:
        for capture in captures:
            capture.close()
    return Hearing(heard=heard, daemon_heard=_has_grown(frames, before))


def _wait(captures: Sequence[Capture], wanted: bytes, port: int) -> bool:
    poll = select.poll()
    for capture in captures:
        poll.register(capture, select.POLLIN)
    end = time.monotonic() + PATIENCE
    while True:
        left = end - time.monotonic()
        if left <= 0 or not poll.poll(1000 * left):
            return False
        if any(_has(capture, wanted, port) for capture in captures):
            return True


def _has(capture: Capture, wanted: bytes, port: int) -> bool:
    for frame in capture.frames():
        try:
            if parse(frame, capture.link, port).payload == wanted:
                return True
        except NotOurs:
            continue
    return False


def _has_grown(frames: Callable[[], int | None], before: int | None) -> bool | None:
    """Tell whether the daemon has counted more, once it had the time to."""
    end = time.monotonic() + PATIENCE
    while before is not None:
        now = frames()
        if now is None:
            return None
        if now != before:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(_ASK_INTERVAL)
    return None
