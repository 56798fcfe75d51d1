"""Whatever is in a file of packets, it is read or a `CaptureError` says why not."""

import os
import tempfile
from struct import pack

import pytest

pytest.importorskip("scapy.libs.winpcapy")

from hypothesis import given, settings
from hypothesis import strategies as st
from unit.server.frames import (
    LINKS,
    PACKETS,
    PORT,
    pcap_header,
    pcap_record,
    pcapng_block,
    pcapng_header,
    pcapng_record,
    udp,
)

from spassh_server.capture_file import CaptureFile
from spassh_server.explain import utc
from spassh_server.libpcap import CaptureError

U32 = st.integers(0, (1 << 32) - 1)
U64 = st.integers(0, (1 << 64) - 1) | st.sampled_from(
    [0, 1 << 31, 1 << 55, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
)
LINK_NUMBERS = st.sampled_from([link.number for link in LINKS.values()])
WHOLE = [
    link.wrap(packet(udp(bytes(192))))
    for link in LINKS.values()
    for packet, _ in PACKETS.values()
]
FRAMES = st.sampled_from(WHOLE) | st.binary(max_size=80)

OPTIONS = st.one_of(
    # The unit of times, and what is added to them.
    st.tuples(st.just(9), st.integers(0, 255).map(lambda one: bytes([one]))),
    st.tuples(st.just(14), U64.map(lambda one: pack("<Q", one))),
    st.tuples(st.integers(0, 20), st.binary(max_size=20)),
)
BLOCKS = st.one_of(
    st.builds(pcapng_record, FRAMES, U64),
    # More interfaces, other kinds of packets, and kinds that nobody knows.
    st.builds(pcapng_block, st.integers(0, 7) | U32, st.binary(max_size=60)),
    st.lists(OPTIONS, max_size=2).map(lambda some: pcapng_header(*some)),
    st.binary(max_size=20),
)
FILES_OF_BLOCKS = st.builds(
    lambda options, link, blocks: pcapng_header(*options, link=link) + b"".join(blocks),
    st.lists(OPTIONS, max_size=3),
    LINK_NUMBERS,
    st.lists(BLOCKS, max_size=4),
)
RECORDS = st.one_of(
    st.builds(pcap_record, FRAMES, st.integers(0, ((1 << 32) - 1) * 1000)),
    # seconds, microseconds, size here and on the wire
    st.builds(
        lambda fields, frame: pack("<4I", *fields) + frame,
        st.tuples(U32, U32, st.integers(0, 100) | U32, U32),
        FRAMES,
    ),
)
FILES_OF_RECORDS = st.builds(
    lambda magic, link, records: pcap_header(link, magic=magic) + b"".join(records),
    st.sampled_from([0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34]),
    LINK_NUMBERS,
    st.lists(RECORDS, max_size=4),
)


@settings(deadline=None, max_examples=500)
@given(FILES_OF_BLOCKS | FILES_OF_RECORDS | st.binary(max_size=80), st.integers(0, 9))
def test_any_file_is_read_or_damaged(content: bytes, cut: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "packets")
        with open(path, "wb") as file:
            file.write(content[: len(content) - cut])
        try:
            capture = CaptureFile(path, PORT)
        except CaptureError:
            return
        try:
            while not capture.ended:
                for record in capture.records():
                    # What is done with a time: spelled, and written to a store.
                    assert utc(record.time).endswith(" UTC")
                    record.time.to_bytes(8, "big")
        except CaptureError:
            assert capture.ended
        finally:
            capture.close()
