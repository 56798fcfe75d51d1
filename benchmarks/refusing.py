"""How many frames one processor refuses in a second, from libpcap to the refusal.

They are frames that the kernel has let through, from a file so that nobody's speed
counts but ours: packets that begin like a recorded one and go on as noise, and recorded
packets, which were refused before.
"""

import os
import time
from struct import pack

from figures import Figures
from unit.server.frames import PORT, ethernet, ipv4, udp
from unit.server.parties import EVERY_WIDTH, NOW, SERVER, access, sealed, user

from spassh.protocol.errors import PacketError
from spassh.protocol.limits import WINDOW_MS
from spassh_server.capture_file import CaptureFile
from spassh_server.envelope import Envelope
from spassh_server.limits import MAX_REPEATS, REPLAY_CAPACITY
from spassh_server.openers.native import NativeOpener
from spassh_server.pipeline import Rejected, World, consider
from spassh_server.quota import RequestQuota
from spassh_server.repeats import Repeats
from spassh_server.replay import ReplayMemory
from spassh_server.seen import SeenMessages
from spassh_server.users import Users

_FRAMES = 50_000
_DIFFERENT = 500
_SEEN_BY_TAG = 12


def measure(path: str, runs: int) -> list[Figures]:
    """Measure both kinds in turn."""
    recorded = [
        sealed(access(time=NOW - 2 * WINDOW_MS - number))
        for number in range(_DIFFERENT)
    ]
    begun = [
        one[:_SEEN_BY_TAG] + os.urandom(len(one) - _SEEN_BY_TAG) for one in recorded
    ]
    figures = []
    for kind, packets in (("forgeries", begun), ("replays", recorded)):
        _write(path, packets)
        world = _world()
        for packet in packets:
            _is_refused(ethernet(ipv4(udp(packet))), 1, world)
        rates = [_rate(path, world) / 1000 for _ in range(runs)]
        name = f"refused in a second by one core, {kind}"
        figures.append(Figures(name, rates, [], ">= 150", "k/s", more=True))
    os.unlink(path)
    return figures


def _world() -> World:
    return World(
        PORT,
        Envelope([NativeOpener(SERVER, Users([user()]))]),
        ReplayMemory(REPLAY_CAPACITY, 0),
        Repeats(MAX_REPEATS),
        RequestQuota(100, 5),
        EVERY_WIDTH,
        SeenMessages(),
    )


def _write(path: str, packets: list[bytes]) -> None:
    frames = [ethernet(ipv4(udp(packet))) for packet in packets]
    with open(path, "wb") as file:
        # https://www.tcpdump.org/manpages/pcap-savefile.5.html
        file.write(pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number in range(_FRAMES):
            frame = frames[number % len(frames)]
            file.write(pack("=IIII", 1, 0, len(frame), len(frame)) + frame)


def _rate(path: str, world: World) -> float:
    file = CaptureFile(path, PORT)
    refused = 0
    began = time.process_time()
    while not file.ended:
        for frame in file.frames():
            refused += _is_refused(frame, file.link, world)
    spent = time.process_time() - began
    file.close()
    assert refused == _FRAMES
    return refused / spent


def _is_refused(frame: bytes, link: int, world: World) -> bool:
    try:
        return isinstance(consider(frame, link, NOW, world), Rejected)
    except PacketError:
        return True
