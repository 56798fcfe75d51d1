from ipaddress import ip_address
from types import SimpleNamespace

import pytest
from unit.server import frames
from unit.server.frames import (
    LINKS,
    PACKETS,
    PORT,
    SOURCE_PORT,
    ethernet,
    ipv4,
    ipv6,
    udp,
)

from spassh.protocol.errors import NotOurs
from spassh_server.datagram import (
    DLT_ETHERNET,
    DLT_LINUX_SLL,
    DLT_LINUX_SLL2,
    DLT_LOOP,
    DLT_NULL,
    LINK_TYPES,
    Datagram,
    parse,
)

RAW = 12
PAYLOAD = bytes(range(192))
SOURCE = ip_address(frames.SOURCE4).packed

each_link = pytest.mark.parametrize("link", LINKS)
each_packet = pytest.mark.parametrize("packet", PACKETS)


@each_link
@each_packet
def test_the_payload_and_its_source_are_taken_out(link: str, packet: str) -> None:
    wrap, source = PACKETS[packet]
    frame = LINKS[link].wrap(wrap(udp(PAYLOAD)))
    expected = Datagram(ip_address(source).packed, SOURCE_PORT, PAYLOAD)
    assert expected == parse(frame, LINKS[link].number, PORT)


@pytest.mark.parametrize("source_port", [0, 1, PORT, 0xFF00, 65535])
@each_packet
def test_the_source_port_is_the_one_of_the_udp_header(
    source_port: int, packet: str
) -> None:
    segment = udp(PAYLOAD, source_port=source_port)
    assert parse(PACKETS[packet][0](segment), RAW, PORT).source_port == source_port


@each_link
@each_packet
def test_a_frame_cut_anywhere_is_not_ours(link: str, packet: str) -> None:
    frame = LINKS[link].wrap(PACKETS[packet][0](udp(PAYLOAD)))
    for end in range(len(frame)):
        with pytest.raises(NotOurs):
            parse(frame[:end], LINKS[link].number, PORT)


@each_link
@each_packet
def test_what_the_link_adds_behind_the_packet_is_not_payload(
    link: str, packet: str
) -> None:
    frame = LINKS[link].wrap(PACKETS[packet][0](udp(b"short"))) + bytes(60)
    assert parse(frame, LINKS[link].number, PORT).payload == b"short"


@each_packet
def test_an_empty_payload_is_a_payload(packet: str) -> None:
    assert parse(PACKETS[packet][0](udp(b"")), RAW, PORT).payload == b""


@pytest.mark.parametrize("size", range(4, 44, 4))
def test_options_of_ipv4_are_skipped(size: int) -> None:
    packet = ipv4(udp(PAYLOAD), options=bytes([1]) * size)
    expected = Datagram(SOURCE, SOURCE_PORT, PAYLOAD)
    assert expected == parse(ethernet(packet), DLT_ETHERNET, PORT)


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(udp(PAYLOAD), words=4),
        ipv4(udp(PAYLOAD), words=0),
        ipv4(udp(PAYLOAD), words=6),
        ipv4(udp(PAYLOAD), words=15, total=59),
        ipv4(udp(PAYLOAD), total=19),
        ipv4(udp(PAYLOAD), total=0),
        ipv4(udp(b""), total=27),
        ipv4(udp(PAYLOAD), total=229),
        ipv4(udp(PAYLOAD), total=65535),
        ipv6(udp(PAYLOAD), length=0),
        ipv6(udp(b""), length=7),
        ipv6(udp(PAYLOAD), length=201),
        ipv6(udp(PAYLOAD), length=65535),
    ],
    ids=[
        "header under 20 bytes",
        "no header",
        "header reaches into UDP",
        "total under header",
        "total under 20 bytes",
        "total of zero",
        "no room for a UDP header in IPv4",
        "total one over the frame",
        "largest total",
        "jumbogram",
        "no room for a UDP header in IPv6",
        "length one over the frame",
        "largest length",
    ],
)
def test_a_wrong_length_of_the_ip_header_is_not_ours(packet: bytes) -> None:
    with pytest.raises(NotOurs):
        parse(packet, RAW, PORT)


@pytest.mark.parametrize("total", [0, 1, 19, 23])
def test_an_ipv4_packet_shorter_than_its_header_is_not_ours(total: int) -> None:
    with pytest.raises(NotOurs, match="IPv4 header length"):
        parse(ipv4(udp(PAYLOAD), options=bytes(4), total=total), RAW, PORT)


@pytest.mark.parametrize("words", range(5))
def test_an_ipv4_header_that_overlaps_what_it_carries_is_not_ours(words: int) -> None:
    # The last bytes of a header of 20 read as UDP: ports, length and checksum.
    overlapping = b"".join((b"\x12\x34", PORT.to_bytes(2, "big"), b"\0\x08\0\0"))
    whole = ipv4(b"", words=words, total=4 * words + 8)
    frame = whole[: 4 * words] + overlapping + whole[4 * words + 8 :]
    with pytest.raises(NotOurs):
        parse(frame, RAW, PORT)
    with pytest.raises(NotOurs, match="IPv4 header length"):
        parse(ipv4(udp(PAYLOAD), words=words), RAW, PORT)


@pytest.mark.parametrize("room", range(8))
@each_packet
def test_a_packet_without_room_for_a_udp_header_is_not_ours(
    room: int, packet: str
) -> None:
    with pytest.raises(NotOurs, match="truncated frame"):
        parse(PACKETS[packet][0](udp(b"")[:room]), RAW, PORT)


@pytest.mark.parametrize("length", [0, 7, 8, 199, 201, 65535])
@each_packet
def test_a_udp_length_other_than_what_ip_carries_is_not_ours(
    length: int, packet: str
) -> None:
    with pytest.raises(NotOurs, match="UDP length"):
        parse(PACKETS[packet][0](udp(PAYLOAD, length=length)), RAW, PORT)


@each_packet
def test_bytes_between_the_end_of_udp_and_the_end_of_ip_are_not_ours(
    packet: str,
) -> None:
    with pytest.raises(NotOurs, match="UDP length"):
        parse(PACKETS[packet][0](udp(PAYLOAD) + b"\0"), RAW, PORT)


@pytest.mark.parametrize(
    "fragment", [0x2000, 0x0001, 0x2001, 0x1FFF, 0x3FFF, 0x6000, 0x4001]
)
def test_a_fragment_is_not_ours(fragment: int) -> None:
    with pytest.raises(NotOurs, match="fragment"):
        parse(ipv4(udp(PAYLOAD), fragment=fragment), RAW, PORT)


def test_the_flag_that_forbids_fragments_makes_none() -> None:
    packet = ipv4(udp(PAYLOAD), fragment=0x4000)
    assert parse(packet, RAW, PORT).payload == PAYLOAD


@pytest.mark.parametrize("version", [v for v in range(16) if v != 4])
def test_another_version_in_an_ipv4_header_is_not_ours(version: int) -> None:
    with pytest.raises(NotOurs):
        parse(ipv4(udp(PAYLOAD), version=version), RAW, PORT)


@pytest.mark.parametrize("version", [v for v in range(16) if v != 6])
def test_another_version_in_an_ipv6_header_is_not_ours(version: int) -> None:
    with pytest.raises(NotOurs):
        parse(ipv6(udp(PAYLOAD), version=version), RAW, PORT)


@pytest.mark.parametrize("protocol", [0, 1, 6, 41, 47, 50, 136, 255])
@each_packet
def test_another_protocol_than_udp_is_not_ours(protocol: int, packet: str) -> None:
    made = {
        "ipv4": ipv4(udp(PAYLOAD), protocol=protocol),
        "ipv6": ipv6(udp(PAYLOAD), next_header=protocol),
    }
    with pytest.raises(NotOurs, match="not UDP"):
        parse(made[packet], RAW, PORT)


@pytest.mark.parametrize("extension", [0, 43, 44, 51, 60, 135])
def test_an_ipv6_extension_header_is_not_ours(extension: int) -> None:
    header = bytes([17, 0, 1, 4, 0, 0, 0, 0])
    with pytest.raises(NotOurs, match="not UDP"):
        parse(ipv6(header + udp(PAYLOAD), next_header=extension), RAW, PORT)


@pytest.mark.parametrize("port", [0, 22, PORT - 1, PORT + 1, PORT ^ 0xFF00, 65535])
@each_packet
def test_another_port_is_not_ours(port: int, packet: str) -> None:
    with pytest.raises(NotOurs, match="another port"):
        parse(PACKETS[packet][0](udp(PAYLOAD, port=port)), RAW, PORT)


def test_the_port_that_was_asked_for_is_ours() -> None:
    assert parse(ipv4(udp(PAYLOAD, port=53)), RAW, 53).payload == PAYLOAD


def test_the_source_port_is_not_taken_for_the_destination() -> None:
    with pytest.raises(NotOurs, match="another port"):
        parse(ipv4(udp(PAYLOAD, port=22)), RAW, SOURCE_PORT)


@pytest.mark.parametrize(
    "frame",
    [
        (ethernet(ipv4(udp(PAYLOAD)), ethertype=frames.ARP), DLT_ETHERNET),
        (ethernet(ipv4(udp(PAYLOAD)), frames.VLAN, ethertype=0x88CC), DLT_ETHERNET),
        (ethernet(ipv4(udp(PAYLOAD)), *[frames.VLAN] * 3), DLT_ETHERNET),
        (ethernet(ipv4(udp(PAYLOAD)), ethertype=0x8847), DLT_ETHERNET),
        (frames.sll(ipv4(udp(PAYLOAD)), ethertype=frames.ARP), DLT_LINUX_SLL),
        (frames.sll(ipv4(udp(PAYLOAD)), ethertype=4), DLT_LINUX_SLL),
        (frames.sll2(ipv4(udp(PAYLOAD)), ethertype=frames.ARP), DLT_LINUX_SLL2),
    ],
    ids=["arp", "lldp in a vlan", "three vlans", "mpls", "arp cooked", "llc", "arp 2"],
)
def test_what_is_not_ip_is_not_ours(frame: tuple[bytes, int]) -> None:
    with pytest.raises(NotOurs, match="not IP"):
        parse(*frame, PORT)


@pytest.mark.parametrize("link", [-1, 2, 6, 9, 50, 105, 127, 147, 192, 1 << 31])
def test_an_unknown_link_type_is_not_ours(link: int) -> None:
    with pytest.raises(NotOurs, match="unknown link type"):
        parse(ethernet(ipv4(udp(PAYLOAD))), link, PORT)


def test_the_link_types_are_those_that_are_parsed() -> None:
    assert {link.number for link in LINKS.values()} == LINK_TYPES
    for link in set(range(300)) - LINK_TYPES:
        with pytest.raises(NotOurs, match="unknown link type"):
            parse(ipv4(udp(PAYLOAD)), link, PORT)


@pytest.mark.parametrize("link", sorted({link.number for link in LINKS.values()}))
def test_an_empty_frame_is_not_ours(link: int) -> None:
    with pytest.raises(NotOurs):
        parse(b"", link, PORT)


def test_a_packet_inside_a_packet_is_not_looked_for() -> None:
    inner = ipv4(udp(PAYLOAD))
    with pytest.raises(NotOurs, match="not UDP"):
        parse(ipv4(inner, protocol=4), RAW, PORT)
    assert parse(ipv4(udp(inner)), RAW, PORT).payload == inner


@pytest.fixture
def scapy() -> SimpleNamespace:
    inet = pytest.importorskip("scapy.layers.inet")
    inet6 = pytest.importorskip("scapy.layers.inet6")
    l2 = pytest.importorskip("scapy.layers.l2")
    return SimpleNamespace(**vars(l2) | vars(inet) | vars(inet6))


class TestWhatScapyCrafts:
    """The builders above and the parser could share a mistake; scapy would not."""

    def test_is_read_from_ethernet(self, scapy: SimpleNamespace) -> None:
        for ip, source in (
            (scapy.IP(src=frames.SOURCE4, dst="192.0.2.1"), frames.SOURCE4),
            (scapy.IPv6(src=frames.SOURCE6, dst="2001:db8::1"), frames.SOURCE6),
        ):
            segment = scapy.UDP(sport=7, dport=PORT) / PAYLOAD
            expected = Datagram(ip_address(source).packed, 7, PAYLOAD)
            for link in (
                scapy.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02"),
                scapy.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
                / scapy.Dot1Q(vlan=7),
                scapy.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
                / scapy.Dot1AD(vlan=8)
                / scapy.Dot1Q(vlan=7),
            ):
                frame = bytes(link / ip / segment)
                assert expected == parse(frame, DLT_ETHERNET, PORT)

    def test_is_read_from_the_other_links(self, scapy: SimpleNamespace) -> None:
        ip = scapy.IP(src=frames.SOURCE4, dst="192.0.2.1")
        packet = ip / scapy.UDP(sport=7, dport=PORT) / PAYLOAD
        expected = Datagram(SOURCE, 7, PAYLOAD)
        assert expected == parse(bytes(packet), RAW, PORT)
        for link, header in (
            (DLT_LINUX_SLL, scapy.CookedLinux()),
            (DLT_LINUX_SLL2, scapy.CookedLinuxV2()),
            (DLT_NULL, scapy.Loopback()),
            (DLT_LOOP, scapy.Loopback()),
        ):
            assert expected == parse(bytes(header / packet), link, PORT)

    def test_is_read_with_ip_options(self, scapy: SimpleNamespace) -> None:
        options = [scapy.IPOption_RR(length=15, routers=["0.0.0.0"] * 3)]
        ip = scapy.IP(src=frames.SOURCE4, dst="192.0.2.1", options=options)
        packet = bytes(ip / scapy.UDP(sport=7, dport=PORT) / PAYLOAD)
        assert packet[0] > 0x45
        assert Datagram(SOURCE, 7, PAYLOAD) == parse(packet, RAW, PORT)

    def test_is_not_ours_in_fragments(self, scapy: SimpleNamespace) -> None:
        ip = scapy.IP(src=frames.SOURCE4, dst="192.0.2.1")
        whole = ip / scapy.UDP(sport=7, dport=PORT) / bytes(1200)
        parts = [bytes(part) for part in scapy.fragment(whole, fragsize=400)]
        assert len(parts) > 2
        for part in parts:
            with pytest.raises(NotOurs, match="fragment"):
                parse(part, RAW, PORT)

    def test_is_not_ours_behind_an_extension_header(
        self, scapy: SimpleNamespace
    ) -> None:
        ip = scapy.IPv6(src=frames.SOURCE6, dst="2001:db8::1")
        segment = scapy.UDP(sport=7, dport=PORT) / PAYLOAD
        for extension in (
            scapy.IPv6ExtHdrHopByHop(),
            scapy.IPv6ExtHdrDestOpt(),
            scapy.IPv6ExtHdrRouting(),
            scapy.IPv6ExtHdrFragment(),
        ):
            with pytest.raises(NotOurs, match="not UDP"):
                parse(bytes(ip / extension / segment), RAW, PORT)
