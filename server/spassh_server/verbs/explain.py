"""spasshd explain: what would happen to a packet, without its happening."""

import json
import os
import stat
import string
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from typing import NamedTuple

from spassh.protocol.errors import NotOurs
from spassh.protocol.limits import WINDOW_MS

from .. import config, events
from ..capture_file import CaptureFile
from ..carried import parse_any
from ..clock import now_ms, wall_clock
from ..config import Config
from ..daemon import load_server_keys
from ..datagram import Datagram
from ..explain import Scene, Step, explain, utc
from ..firewall import FirewallError, Width
from ..firewall.select import choose
from ..libpcap import CaptureError
from ..store import MAX_BYTES, ReplayStore, boot_id
from ..userfiles import read_users

_HEX = frozenset(string.hexdigits)
_STATE_FILES = 16
"""Files of state_dir that are looked at: it has two or three."""


class Packet(NamedTuple):
    """A packet to explain."""

    time: int
    """When it was captured, in milliseconds since 1970-01-01 UTC."""
    datagram: Datagram | None
    problem: str = ""
    """Why it has no datagram for us."""


def run(options: Namespace) -> int:
    """Print what would happen, a line for each step; exit 0 if it would be granted."""
    settings = config.load(options.config)
    is_hex = _HEX.issuperset(options.packet) and not os.path.exists(options.packet)
    if is_hex and (len(options.packet) % 2 or not options.source):
        what = "it takes whole bytes, and --source ADDRESS says where they came from"
        events.error("a packet in hexadecimal", what)
        return 2
    packets = _given(options) if is_hex else _captured(options, settings)
    granted = False
    number = 0
    with tempfile.TemporaryDirectory() as directory:
        scene = None
        try:
            for number, packet in enumerate(packets, 1):
                now = packet.time if options.now is None else options.now
                scene = scene or _scene(settings, directory, now)
                steps = list(_steps(packet, now, scene))
                granted = granted or steps[-1].name == "grant"
                if options.json:
                    _print_json(number, packet, now, steps)
                else:
                    _print(number, packet, now, steps)
        except CaptureError as error:
            events.error(error, error.hint)
            return 1
    if not number:
        events.error(f"no datagram for udp/{settings.knock_port} in {options.packet}")
    return 0 if granted else 1


def _given(options: Namespace) -> Iterator[Packet]:
    payload = bytes.fromhex(options.packet)
    datagram = Datagram(options.source, options.source_port or 0, payload)
    yield Packet(now_ms(), datagram)


def _captured(options: Namespace, settings: Config) -> Iterator[Packet]:
    others = frozenset(settings.fwknop_transports)
    capture = CaptureFile(
        options.packet,
        settings.knock_port,
        fwknop=settings.fwknop,
        transports=others,
    )
    try:
        while not capture.ended:
            for time, frame in capture.records():
                try:
                    datagram = parse_any(
                        frame, capture.link, settings.knock_port, others
                    )
                except NotOurs as error:
                    yield Packet(time, None, str(error))
                    continue
                if options.source:
                    datagram = datagram._replace(source=options.source)
                if options.source_port is not None:
                    datagram = datagram._replace(source_port=options.source_port)
                yield Packet(time, datagram)
    finally:
        capture.close()


def _scene(settings: Config, directory: str, now: int) -> Scene:
    keys = load_server_keys(settings)
    users, problems = read_users(settings)
    for problem in problems:
        events.error(problem, problem.hint)
    replay = _copy_of_store(settings, directory, now)
    try:
        firewall, _ = choose(settings.backend, settings.firewall, wall_clock)
    except FirewallError as error:
        return Scene(keys, users, replay, frozenset(Width), "", str(error))
    return Scene(keys, users, replay, firewall.widths, firewall.name)


def _copy_of_store(settings: Config, directory: str, now: int) -> ReplayStore:
    """Open a copy of the replay store, as a daemon does that has run for a minute.

    One that is started now would accept nothing that was made before. The store of one
    that runs says itself since when it remembers.
    """
    try:
        names = sorted(os.listdir(settings.state_dir))[:_STATE_FILES]
    except FileNotFoundError:
        names = []
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for name in names:
        try:
            source = os.open(os.path.join(settings.state_dir, name), flags)
        except OSError:
            continue  # The listener owns the directory: it may hold anything.
        with os.fdopen(source, "rb") as file:
            if stat.S_ISREG(os.fstat(source).st_mode):
                with open(os.path.join(directory, name), "xb") as copy:
                    copy.write(file.read(MAX_BYTES + 1))
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    store = ReplayStore(fd, max(0, now - WINDOW_MS), boot_id())
    if store.lost:
        events.error(store.lost)
    return store


def _steps(packet: Packet, now: int, scene: Scene) -> Iterator[Step]:
    if packet.datagram is None:
        yield Step("datagram", False, packet.problem)
    else:
        yield from explain(packet.datagram, now, scene)


def _print(number: int, packet: Packet, now: int, steps: list[Step]) -> None:
    captured = f"packet {number}, of {utc(packet.time)}"
    print(captured if now == packet.time else f"{captured}, at {utc(now)}")
    for step in steps:
        mark = "ok" if step.passed else "no"
        print(f"{mark}  {step.name:<9}  {events.printable(step.text)}")


def _print_json(number: int, packet: Packet, now: int, steps: list[Step]) -> None:
    found = {
        "packet": number,
        "captured": packet.time,
        "now": now,
        "granted": steps[-1].name == "grant",
        "steps": [step._asdict() for step in steps],
    }
    print(json.dumps(found))
