"""The program for the kernel's filter, in a machine of the tests and in the kernel."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest
from unit.server.bpf_machine import kernel, kernel_with_maps, need_maps, run
from unit.server.frames import LINKS, PACKETS, ipv4, ipv6, udp

from spassh.protocol.fwknop import openpgp
from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.limits import LEAST, MOST
from spassh.protocol.fwknop.opening import has_form
from spassh.protocol.fwknop.packet import BODIES
from spassh.protocol.packet import Gate
from spassh_server import datagram
from spassh_server.filters.bpf import Instruction
from spassh_server.filters.ebpf import translate
from spassh_server.filters.tag_filter import NETWORK, tag_filter

GATE = Gate(bytes(range(32)))
KEEP = 2048
ACCESS, COMMAND = 192, 1200

Judge = Callable[[bytes], int]


def good(size: int = ACCESS, gate: Gate = GATE) -> bytes:
    """Make noise with the right tag."""
    body = os.urandom(size - 4)
    return gate.tag(body) + body


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.fixture(params=["machine", "kernel", "kernel with maps"])
def judged(request: pytest.FixtureRequest) -> Iterator[Callable[..., Judge]]:
    """Return what makes a judge of a program; there is one of each kind."""
    if request.param != "machine" and sys.platform != "linux":
        pytest.skip("only Linux has SO_ATTACH_FILTER")
    if request.param == "kernel with maps":
        need_maps()
    with ExitStack() as stack:

        def judge_of(program: Sequence[Instruction]) -> Judge:
            if request.param == "kernel":
                return stack.enter_context(kernel(program)).run
            if request.param == "kernel with maps":
                return stack.enter_context(kernel_with_maps(translate(program))).run
            return lambda frame: run(program, frame)

        yield judge_of


def test_a_thousand_right_tags_pass_and_a_thousand_with_one_wrong_bit_do_not(
    judged: Callable[..., Judge],
) -> None:
    """Of the tag and of the eight bytes that it is made of, each bit in turn."""
    judge = judged(tag_filter(datagram.DLT_ETHERNET, GATE.tag_key, keep=KEEP))
    wrap = LINKS["ethernet"].wrap
    passed = wrong = 0
    for number in range(1000):
        payload = good()
        packet = (ipv4, ipv6)[number % 2]
        passed += judge(wrap(packet(udp(payload)))) > 0
        wrong += judge(wrap(packet(udp(flipped(payload, number % 96))))) > 0
    assert (passed, wrong) == (1000, 0)


def test_the_known_answer_of_the_protocol_passes(judged: Callable[..., Judge]) -> None:
    """PROTOCOL.md section 3.1 has it."""
    key = bytes(range(8))
    judge = judged(tag_filter(datagram.DLT_RAW[0], key, keep=KEEP))
    payload = bytes.fromhex("d0b8848f") + key + bytes(ACCESS - 12)
    assert judge(ipv4(udp(payload)))
    assert not judge(ipv4(udp(bytes.fromhex("d0b88490") + payload[4:])))


@pytest.mark.parametrize("key", [bytes(8), b"\xff" * 8, b"\x80\0\0\0\0\0\0\x80"])
def test_every_key_and_message_gives_the_same_as_the_protocols_own(
    judged: Callable[..., Judge], key: bytes
) -> None:
    gate = Gate(bytes(32))
    gate.tag_key = key
    judge = judged(tag_filter(datagram.DLT_RAW[0], key, keep=KEEP))
    for word in (bytes(8), b"\xff" * 8, b"\x80" + bytes(7), bytes(7) + b"\x80"):
        payload = gate.tag(word) + word + bytes(ACCESS - 12)
        assert judge(ipv4(udp(payload)))
        assert not judge(ipv4(udp(flipped(payload, 31))))


@pytest.mark.parametrize("packet", PACKETS)
@pytest.mark.parametrize(
    "link", [name for name in LINKS if "vlan" not in name and "null, b" not in name]
)
def test_each_link_type_and_size_is_understood(
    judged: Callable[..., Judge], link: str, packet: str
) -> None:
    judge = judged(tag_filter(LINKS[link].number, GATE.tag_key, keep=KEEP))
    for size in (ACCESS, COMMAND):
        right = LINKS[link].wrap(PACKETS[packet][0](udp(good(size))))
        wrong = LINKS[link].wrap(PACKETS[packet][0](udp(os.urandom(size))))
        assert (judge(right), judge(wrong)) == (len(right), 0) or judge(right) == KEEP


def test_options_of_ipv4_move_the_datagram(judged: Callable[..., Judge]) -> None:
    judge = judged(tag_filter(datagram.DLT_RAW[0], GATE.tag_key, keep=KEEP))
    for words in range(11):
        payload, options = good(), bytes(4 * words)
        assert judge(ipv4(udp(payload), options=options))
        assert not judge(ipv4(udp(flipped(payload, 0)), options=options))


def test_what_is_cut_short_or_has_another_size_is_let_go(
    judged: Callable[..., Judge],
) -> None:
    judge = judged(tag_filter(datagram.DLT_RAW[0], GATE.tag_key, keep=KEEP))
    whole = ipv4(udp(good()))
    assert judge(whole[: 28 + 12])
    for size in range(28 + 12):
        assert not judge(whole[:size]), size
    for size in (12, ACCESS - 1, ACCESS + 1, COMMAND - 1, COMMAND + 1):
        assert not judge(ipv4(udp(good(size)))), size


@pytest.mark.parametrize("version", [0, 5, 7, 15])
def test_what_is_neither_ipv4_nor_ipv6_is_let_go(
    judged: Callable[..., Judge], version: int
) -> None:
    judge = judged(tag_filter(datagram.DLT_RAW[0], GATE.tag_key, keep=KEEP))
    for packet in (ipv4, ipv6):
        assert not judge(packet(udp(good()), version=version))


def test_there_is_room_for_it_beside_the_other_filter() -> None:
    """Linux takes 4,096 instructions, and the link types that it has are all known."""
    for fwknop in (False, True):
        program = tag_filter(1, GATE.tag_key, keep=KEEP, fwknop=fwknop)
        assert len(program) < 1000
    assert set(NETWORK) == datagram.LINK_TYPES


class TestPacketsOfFwknop:
    """They have no tag. What can be seen of their form is looked at."""

    @pytest.fixture
    def judge(self, judged: Callable[..., Judge]) -> Judge:
        link = datagram.DLT_RAW[0]
        whole = judged(tag_filter(link, GATE.tag_key, keep=KEEP, fwknop=True))
        return lambda payload: whole(ipv4(udp(payload)))

    def sizes(self) -> set[int]:
        tags = {0, *(digest.characters for digest in DIGESTS.values())}
        sums = {body + tag for body in BODIES for tag in tags}
        return {size for size in sums if LEAST <= size <= MOST}

    def test_every_size_that_one_can_have_passes(self, judge: Judge) -> None:
        letters = b"9zAZaz+/09" + b"Q" * MOST
        for size in self.sizes():
            assert has_form(letters[:size])
            assert judge(letters[:size])

    def test_other_sizes_do_not(self, judge: Judge) -> None:
        possible = {size % 64 for size in self.sizes()}
        assert len(possible) == 8
        for size in range(LEAST, LEAST + 64):
            assert (judge(b"9" * size) > 0) == (size % 64 in possible), size

    def test_each_of_the_first_characters_has_to_be_of_the_alphabet(
        self, judge: Judge
    ) -> None:
        packet = b"9" + b"A" * 160
        assert judge(packet)
        for at in range(14):
            for byte in range(256):
                changed = packet[:at] + bytes([byte]) + packet[at + 1 :]
                assert (judge(changed) > 0) == has_form(changed), (at, byte)

    def test_noise_of_every_size_is_let_go(self, judge: Judge) -> None:
        for size in self.sizes():
            assert not judge(os.urandom(size))

    @pytest.mark.parametrize("size", [ACCESS, COMMAND])
    def test_native_datagrams_pass_by_their_tag_alone(
        self, judge: Judge, size: int
    ) -> None:
        assert judge(good(size))
        assert not judge(flipped(good(size), 0))

    def test_none_has_the_size_of_a_native_datagram(self, judge: Judge) -> None:
        """So a native one with a wrong tag never passes as one of these.

        Of those by GnuPG, one may; noise looks like that once in 2^38.
        """
        assert not {ACCESS, COMMAND} & self.sizes()
        for size in (ACCESS, COMMAND):
            assert not judge(b"9" * size)

    def test_those_by_gnupg_pass_whatever_their_size(self, judge: Judge) -> None:
        for size in (openpgp.LEAST, 1016, 1069, 1143, COMMAND, MOST):
            assert openpgp.has_form((b"EMA6" * MOST)[:size])
            assert judge((b"EMA6" * MOST)[:size])
        assert not judge((b"EMA6" * MOST)[: openpgp.LEAST - 1])

    def test_each_of_their_first_characters_has_to_be_right(self, judge: Judge) -> None:
        packet = b"IOA4" + b"A" * 400
        assert judge(packet)
        for at in range(14):
            for byte in range(256):
                changed = packet[:at] + bytes([byte]) + packet[at + 1 :]
                symmetric = has_form(changed) and len(changed) in self.sizes()
                wanted = symmetric or openpgp.has_form(changed)
                assert (judge(changed) > 0) == wanted, (at, byte)

    def test_a_server_that_does_not_want_them_lets_them_go(
        self, judged: Callable[..., Judge]
    ) -> None:
        judge = judged(tag_filter(datagram.DLT_RAW[0], GATE.tag_key, keep=KEEP))
        for payload in (b"9" * 161, b"9" * 204, b"EMA6" * 250):
            assert not judge(ipv4(udp(payload)))
