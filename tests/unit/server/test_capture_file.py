"""Files of captured packets: every link type, and whatever else people have."""

import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest

pytest.importorskip("scapy.libs.winpcapy")

from unit.server import frames
from unit.server.frames import (
    LINKS,
    PACKETS,
    PORT,
    ethernet,
    ipv4,
    ipv6,
    pcap_header,
    pcap_record,
    pcapng_header,
    pcapng_record,
    udp,
)
from unit.server.parties import NOW

from spassh_server import capture_file
from spassh_server.capture_file import CaptureFile, Record
from spassh_server.datagram import DLT_LOOP, DLT_NULL, parse
from spassh_server.libpcap import CaptureError
from spassh_server.limits import FRAMES_PER_TURN

PAYLOAD = bytes(range(192))
HINT = "record one with 'tcpdump -i any -w FILE udp'"

# A file has the number of the file format, which is not that of every system.
IN_FILE = {12: 101, 14: 101}


def read(capture: CaptureFile) -> list[Record]:
    records: list[Record] = []
    while not capture.ended:
        records += capture.records()
    return records


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def written(*parts: bytes) -> str:
        path = tmp_path / "packets.pcap"
        path.write_bytes(b"".join(parts))
        return str(path)

    return written


FRAME = ethernet(ipv4(udp(PAYLOAD)))


# Two link types are for one family each.
LINKS_AND_PACKETS = [
    (link, packet)
    for link in LINKS
    for packet in PACKETS
    if (LINKS[link].number, packet) not in {(228, "ipv6"), (229, "ipv4")}
]


@pytest.mark.parametrize(("link", "packet"), LINKS_AND_PACKETS)
def test_every_link_type_is_read(
    link: str, packet: str, write: Callable[..., str]
) -> None:
    number, wrap, _ = LINKS[link]
    frame = wrap(PACKETS[packet][0](udp(PAYLOAD)))
    # Of the numbers that systems have for IPv6, these are those of two BSDs.
    if number == DLT_NULL and packet == "ipv6":
        frame = frame[:4].replace(b"\2", b"\x1c") + frame[4:]
    elif number == DLT_LOOP and packet == "ipv6":
        frame = b"\0\0\0\x18" + frame[4:]
    order = ">" if link == "null, big endian" else "<"
    begin = pcap_header(IN_FILE.get(number, number), order=order)
    capture = CaptureFile(write(begin, pcap_record(frame, NOW, order=order)), PORT)
    (found,) = read(capture)
    assert found.frame == frame
    assert parse(found.frame, capture.link, PORT).payload == PAYLOAD
    capture.close()


def test_frames_have_the_time_of_their_capture(write: Callable[..., str]) -> None:
    times = [NOW, NOW + 1, NOW + 999]
    capture = CaptureFile(
        write(pcap_header(), *(pcap_record(FRAME, one) for one in times)), PORT
    )
    assert [one.time for one in read(capture)] == times
    capture.close()


@pytest.mark.parametrize(("fwknop", "sizes"), [(True, [140, 1500]), (False, [])])
def test_packets_of_fwknop_are_read_where_they_are_wanted(
    fwknop: bool, sizes: list[int], write: Callable[..., str]
) -> None:
    payloads = [
        first * size for size in (139, 140, 1500, 1501) for first in (b"8", b"A")
    ]
    frames = [pcap_record(ethernet(ipv4(udp(one))), NOW) for one in payloads]
    frames.append(pcap_record(ethernet(ipv6(udp(b"8" * 140))), NOW))
    capture = CaptureFile(write(pcap_header(), *frames), PORT, fwknop=fwknop)
    found = [parse(one.frame, capture.link, PORT).payload for one in read(capture)]
    assert found == [b"8" * size for size in sizes]
    capture.close()


def test_files_of_other_byte_orders_and_nanoseconds_are_read(
    write: Callable[..., str],
) -> None:
    nanoseconds = pack("<IIII", NOW // 1000, 7_999_999, len(FRAME), len(FRAME)) + FRAME
    for content, milliseconds in (
        ((pcap_header(order=">"), pcap_record(FRAME, NOW, order=">")), 0),
        ((pcap_header(magic=0xA1B23C4D), nanoseconds), 7),
    ):
        capture = CaptureFile(write(*content), PORT)
        assert read(capture) == [Record(NOW + milliseconds, FRAME)]
        capture.close()


def test_a_file_of_the_next_generation_is_read(write: Callable[..., str]) -> None:
    path = write(pcapng_header(), pcapng_record(FRAME, NOW * 1000 + 5000))
    capture = CaptureFile(path, PORT)
    assert read(capture) == [Record(NOW + 5, FRAME)]
    capture.close()


WHOLE_SECONDS = (9, b"\0")
"""The option if_tsresol."""
LATEST = 253_402_300_799


@pytest.mark.parametrize("seconds", [0, LATEST])
def test_any_time_that_can_be_spelled_is_read(
    seconds: int, write: Callable[..., str]
) -> None:
    path = write(pcapng_header(WHOLE_SECONDS), pcapng_record(FRAME, seconds))
    capture = CaptureFile(path, PORT)
    assert read(capture) == [Record(seconds * 1000, FRAME)]
    capture.close()


@pytest.mark.parametrize("seconds", [LATEST + 1, 1 << 55, 1 << 62, 1 << 63])
def test_a_time_that_no_frame_can_have_is_damage(
    seconds: int, write: Callable[..., str]
) -> None:
    good = pcapng_record(FRAME, 1)
    path = write(pcapng_header(WHOLE_SECONDS), good, pcapng_record(FRAME, seconds))
    capture = CaptureFile(path, PORT)
    records = capture.records()
    assert next(records) == Record(1000, FRAME)
    with pytest.raises(CaptureError, match=r"packets\.pcap: impossible time$") as error:
        next(records)
    assert error.value.hint == "it is damaged, or not written to its end yet"
    assert capture.ended
    capture.close()


def test_only_datagrams_for_the_port_are_read(write: Callable[..., str]) -> None:
    others = [
        ethernet(ipv4(udp(PAYLOAD, port=PORT + 1))),
        ethernet(ipv6(udp(PAYLOAD, port=PORT + 1))),
        ethernet(ipv4(udp(PAYLOAD + b"\0"))),
        ethernet(ipv4(udp(PAYLOAD), protocol=6)),
        ethernet(ipv4(udp(PAYLOAD)), ethertype=frames.ARP),
        b"",
    ]
    content = [
        part
        for other in others
        for part in (pcap_record(other, NOW), pcap_record(FRAME, NOW))
    ]
    capture = CaptureFile(write(pcap_header(), *content), PORT)
    assert [one.frame for one in read(capture)] == [FRAME] * len(others)
    capture.close()


def test_it_is_read_in_bounded_turns_and_says_when_it_has_ended(
    write: Callable[..., str],
) -> None:
    count = FRAMES_PER_TURN + 3
    capture = CaptureFile(write(pcap_header(), pcap_record(FRAME, NOW) * count), PORT)
    assert list(capture.frames()) == [FRAME] * FRAMES_PER_TURN
    assert not capture.ended
    assert list(capture.frames()) == [FRAME] * 3
    assert capture.ended
    assert list(capture.frames()) == []
    assert capture.dropped() == 0
    capture.close()
    capture.close()


def test_its_descriptor_is_the_one_of_the_file(write: Callable[..., str]) -> None:
    path = write(pcap_header())
    capture = CaptureFile(path, PORT)
    assert os.path.samestat(os.fstat(capture.fileno()), os.stat(path))
    capture.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(capture.fileno())


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "truncated dump file"),
        (pcap_header()[:10], "truncated dump file"),
        (b"spassh-invite-1-" * 9, "unknown file format"),
        (pcap_header(105), "link type 105 is not understood"),
        (pcap_header(228)[:20] + b"\xff\xff\0\0", "link type 65535 is not understood"),
    ],
    ids=["empty", "cut", "junk", "wireless", "unknown link type"],
)
def test_what_is_no_capture_file_is_an_error(
    content: bytes, what: str, write: Callable[..., str]
) -> None:
    path = write(content)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(CaptureError, match=f"^{re.escape(path)}: .*{what}") as error:
        CaptureFile(path, PORT)
    assert error.value.hint == HINT
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    "rest",
    [
        pcap_record(FRAME, NOW)[:-1],
        pcap_record(FRAME, NOW)[:7],
        pack("<IIII", 1, 1, 1 << 30, 1 << 30),
    ],
    ids=["within a frame", "within a header", "a frame of a gigabyte"],
)
def test_a_file_that_is_damaged_is_read_up_to_there(
    rest: bytes, write: Callable[..., str]
) -> None:
    capture = CaptureFile(write(pcap_header(), pcap_record(FRAME, NOW), rest), PORT)
    records = capture.records()
    assert next(records).frame == FRAME
    with pytest.raises(CaptureError, match=r"packets\.pcap: ") as error:
        next(records)
    assert error.value.hint == "it is damaged, or not written to its end yet"
    assert capture.ended
    capture.close()


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/nonexistent", "no such file or directory"),
        ("/", "neither a file nor a pipe"),
        ("/dev/zero", "neither a file nor a pipe"),
    ],
)
def test_what_cannot_be_read_is_an_error(path: str, what: str) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(CaptureError, match=f"^{path}: {what}$"):
        CaptureFile(path, PORT)
    assert os.listdir("/proc/self/fd") == before


def test_a_named_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def feed() -> None:
        with path.open("wb") as file:
            for part in (
                pcap_header()[:11],
                pcap_header()[11:] + pcap_record(FRAME, NOW),
                pcap_record(FRAME, NOW),
            ):
                file.write(part)
                file.flush()

    writer = threading.Thread(target=feed)
    writer.start()
    capture = CaptureFile(str(path), PORT)
    writer.join()
    assert len(read(capture)) == 2
    assert stat.S_ISREG(os.fstat(capture.fileno()).st_mode)
    assert os.fstat(capture.fileno()).st_nlink == 0
    capture.close()


def test_a_pipe_without_end_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture_file, "MAX_PIPED_BYTES", 100_000)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    # Both ends here: nobody closes it.
    end = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def feed() -> None:
        os.set_blocking(end, True)
        os.write(end, bytes(100_001))

    writer = threading.Thread(target=feed)
    writer.start()
    with pytest.raises(CaptureError, match="more than 100000 bytes through a pipe"):
        CaptureFile(str(path), PORT)
    writer.join()
    os.close(end)


@pytest.mark.parametrize("piped", [False, True])
def test_the_standard_input_is_a_file_or_a_pipe(
    piped: bool, write: Callable[..., str]
) -> None:
    path = write(pcap_header(), pcap_record(FRAME, NOW))
    if piped:
        source, end = os.pipe()
        os.write(end, Path(path).read_bytes())
        os.close(end)
    else:
        source = os.open(path, os.O_RDONLY)
    kept = os.dup(0)
    os.dup2(source, 0)
    try:
        capture = CaptureFile("-", PORT)
        assert capture.name == "standard input"
        assert [one.frame for one in read(capture)] == [FRAME]
        capture.close()
        os.fstat(0)
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(source)
