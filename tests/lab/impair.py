"""Run as `impair.py LEFT RIGHT DELAY LOSS SEED`: a bad link between two interfaces.

Frames go on after DELAY milliseconds, but LOSS percent of those of TCP and UDP do not:
the neighbours find each other, as they do where the bad part is farther away. It stands
in for netem, which not every kernel has. When its standard input ends, it prints how
many frames it has lost, and ends.
"""

import heapq
import random
import select
import socket
import sys
import time

_ALL_PROTOCOLS = 3
_SOL_PACKET, _IGNORE_OUTGOING, _VNET_HEADER = 263, 23, 15
_VNET_SIZE, _ETHERNET_SIZE = 10, 14
_V4 = {(4, b"\x06"), (4, b"\x11")}
_V6 = {(6, b"\x06"), (6, b"\x11")}


def open_end(interface: str) -> socket.socket:
    """Return a socket for the frames that come in through `interface`.

    With the header of virtio, which says what is still to be done to a frame: its
    checksum, and to cut it into pieces.
    """
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
    end.setsockopt(_SOL_PACKET, _VNET_HEADER, 1)
    end.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    end.bind((interface, _ALL_PROTOCOLS))
    end.setblocking(False)
    return end


def can_be_lost(frame: bytes) -> bool:
    """Tell whether a frame, with both headers, is of TCP or UDP."""
    packet = frame[_VNET_SIZE + _ETHERNET_SIZE :]
    version = packet[0] >> 4 if packet else 0
    return (version, packet[9:10]) in _V4 or (version, packet[6:7]) in _V6


def tell(line: str) -> None:
    """Say something to whoever has started this."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Carry frames until standard input ends."""
    left, right = map(open_end, sys.argv[1:3])
    delay, loss = float(sys.argv[3]) / 1000, float(sys.argv[4]) / 100
    chance = random.Random(int(sys.argv[5]))
    others = {left: right, right: left}
    under_way: list[tuple[float, int, socket.socket, bytes]] = []
    number = lost = 0
    tell("ready")
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        ready = select.select([*others, sys.stdin], [], [], wait)[0]
        if sys.stdin in ready:
            tell(str(lost))
            return
        for end in (one for one in others if one in ready):
            frame = end.recv(1 << 17)
            if not can_be_lost(frame) or chance.random() >= loss:
                number += 1
                due = time.monotonic() + delay
                heapq.heappush(under_way, (due, number, others[end], frame))
            else:
                lost += 1
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, end, frame = heapq.heappop(under_way)
            end.send(frame)


if __name__ == "__main__":
    main()
