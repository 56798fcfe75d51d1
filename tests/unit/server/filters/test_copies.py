"""Of copies of a packet the kernel lets only so many through, and of others all."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from unit.server.bpf_machine import kernel_with_maps, need_maps
from unit.server.frames import LINKS, PACKETS, ethernet, ipv4, ipv6, udp

from spassh.protocol.packet import Gate
from spassh_server import datagram
from spassh_server.filters import copies, kernel_bpf
from spassh_server.filters.tag_filter import passes_at, tag_filter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has bpf(2)")

GATE = Gate(bytes(range(32)))
KEEP = 2048
SIZE = 192

Judge = Callable[[bytes], int]


@pytest.fixture
def judged() -> Iterator[Callable[..., Judge]]:
    """Return what makes a judge that lets so many copies through."""
    need_maps()
    with ExitStack() as stack:

        def judge_of(
            link: int = datagram.DLT_ETHERNET,
            *,
            copies_that_pass: int = 3,
            entries: int = 64,
            fwknop: bool = False,
        ) -> Judge:
            program = tag_filter(link, GATE.tag_key, keep=KEEP, fwknop=fwknop)
            counts = kernel_bpf.counts(copies.KEY_BYTES, copies.COUNT_BYTES, entries)
            at = passes_at(program)
            limited = copies.at_most(program, at, counts, copies_that_pass)
            judge = stack.enter_context(kernel_with_maps(limited))
            # The program keeps the map alive.
            os.close(counts)
            return judge.run

        yield judge_of


def good(size: int = SIZE) -> bytes:
    body = os.urandom(size - 4)
    return GATE.tag(body) + body


@pytest.mark.parametrize("most", [1, 3, 8])
def test_so_many_copies_pass_and_no_more(
    judged: Callable[..., Judge], most: int
) -> None:
    judge = judged(copies_that_pass=most)
    frame = ethernet(ipv4(udp(good())))
    kept = [judge(frame) for _ in range(100)]
    assert kept == [len(frame)] * most + [0] * (100 - most)


def test_what_only_begins_like_it_is_a_copy_and_so_it_is_from_anywhere(
    judged: Callable[..., Judge],
) -> None:
    """The tag is of the first bytes alone, so whatever begins so has the right one."""
    judge = judged()
    begins = good()[:12]
    passed = 0
    for number in range(100):
        segment = udp(begins + os.urandom(SIZE - 12), source_port=1024 + number)
        packet = (ipv4, ipv6)[number % 2](segment)
        passed += judge(ethernet(packet)) > 0
    assert passed == 3


def test_each_of_the_bytes_that_the_tag_is_of_makes_another_packet(
    judged: Callable[..., Judge],
) -> None:
    judge = judged(copies_that_pass=1)
    payload = good()
    assert judge(ethernet(ipv4(udp(payload))))
    for at in range(4, 12):
        body = bytearray(payload[4:])
        body[at - 4] ^= 1
        other = GATE.tag(bytes(body)) + bytes(body)
        assert judge(ethernet(ipv4(udp(other)))), at
        assert not judge(ethernet(ipv4(udp(other)))), at


def test_others_pass_while_one_is_sent_again_and_again(
    judged: Callable[..., Judge],
) -> None:
    judge = judged(entries=4096)
    recorded = [ethernet(ipv4(udp(good()))) for _ in range(50)]
    for _ in range(20):
        for frame in recorded:
            judge(frame)
        assert judge(ethernet(ipv4(udp(good()))))
        assert judge(ethernet(ipv6(udp(good(1200)))))
    assert not any(map(judge, recorded))


def test_a_wrong_tag_takes_no_room(judged: Callable[..., Judge]) -> None:
    judge = judged(entries=64)
    frame = ethernet(ipv4(udp(good())))
    assert [judge(frame) > 0 for _ in range(4)] == [True] * 3 + [False]
    for _ in range(5000):
        payload = good()
        wrong = bytes([payload[0] ^ 1]) + payload[1:]
        assert not judge(ethernet(ipv4(udp(wrong))))
    assert not judge(frame)


def test_with_more_than_there_is_room_for_every_first_copy_passes(
    judged: Callable[..., Judge],
) -> None:
    judge = judged(entries=64)
    assert all(judge(ethernet(ipv4(udp(good())))) for _ in range(5000))


@pytest.mark.parametrize("packet", PACKETS)
@pytest.mark.parametrize(
    "link", [name for name in LINKS if "vlan" not in name and "null, b" not in name]
)
def test_it_counts_on_each_link_type(
    judged: Callable[..., Judge], link: str, packet: str
) -> None:
    judge = judged(LINKS[link].number)
    frame = LINKS[link].wrap(PACKETS[packet][0](udp(good())))
    assert [judge(frame) > 0 for _ in range(5)] == [True] * 3 + [False] * 2


def test_packets_of_fwknop_have_no_tag_and_are_not_counted(
    judged: Callable[..., Judge],
) -> None:
    """Anybody can make as many of them as there are bytes to begin with."""
    judge = judged(fwknop=True)
    for payload in (b"9" + b"A" * 160, b"IOA4" + b"A" * 400):
        assert all(judge(ethernet(ipv4(udp(payload)))) for _ in range(20))
