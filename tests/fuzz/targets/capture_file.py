"""A capture file yields frames with possible times, or there is a `CaptureError`."""

import os
from collections.abc import Iterator

from unit.server.frames import (
    LINKS,
    PORT,
    ipv4,
    pcap_header,
    pcap_record,
    pcapng_header,
    pcapng_record,
    udp,
)

from spassh_server.capture_file import CaptureFile
from spassh_server.explain import utc
from spassh_server.libpcap import CaptureError

_PACKET = ipv4(udp(bytes(192)))
_TIME = 1_767_225_600_000


def seeds() -> Iterator[tuple[str, bytes]]:
    for name in ("ethernet", "loop", "cooked", "cooked, version 2"):
        link = LINKS[name]
        frame = link.wrap(_PACKET)
        record = pcap_record(frame, _TIME)
        yield f"pcap {name}", pcap_header(link.number) + record
        block = pcapng_record(frame, _TIME * 1000)
        yield f"pcapng {name}", pcapng_header(link=link.number) + block
    swapped = pcap_record(LINKS["ethernet"].wrap(_PACKET), _TIME, order=">")
    yield "pcap big endian", pcap_header(order=">") + swapped
    unit = pcapng_header((9, b"\x83"), (14, bytes(7) + b"\x01"))
    yield "pcapng unit and offset", unit + pcapng_record(_PACKET, _TIME)


def check(data: bytes) -> None:
    fd = os.memfd_create("packets")
    try:
        os.write(fd, data)
        _read(f"/proc/self/fd/{fd}", len(data))
    finally:
        os.close(fd)


def _read(path: str, size: int) -> None:
    try:
        capture = CaptureFile(path, PORT)
    except CaptureError:
        return
    try:
        while not capture.ended:
            for record in capture.records():
                assert len(record.frame) <= size
                assert utc(record.time).endswith(" UTC")
    except CaptureError:
        assert capture.ended
    finally:
        capture.close()
