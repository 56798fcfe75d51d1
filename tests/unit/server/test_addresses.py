from ipaddress import ip_address
from random import Random

import pytest

from spassh_server.addresses import grantable, text


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "10.0.0.1", "127.0.0.1", "2001:db8::1", "fe80::1", "::1"]
)
def test_an_address_of_one_host_can_be_granted(address: str) -> None:
    assert grantable(ip_address(address).packed)
    assert address == text(ip_address(address).packed)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "224.0.0.1",
        "239.1.2.3",
        "255.255.255.255",
        "::",
        "ff02::1",
        "::ffff:192.0.2.1",
        "::ffff:0.0.0.0",
    ],
)
def test_an_address_of_none_or_many_cannot(address: str) -> None:
    assert not grantable(ip_address(address).packed)


def test_it_is_what_the_standard_library_says_of_every_kind_of_address() -> None:
    random = Random(1)
    for first in range(256):
        for fill in (0, 255, random.randrange(256)):
            for size in (4, 16):
                host = ip_address(bytes([first]) + bytes([fill]) * (size - 1))
                wanted = not (host.is_unspecified or host.is_multicast)
                wanted = wanted and host != ip_address("255.255.255.255")
                assert grantable(host.packed) == wanted, host
    for number in range(1000):
        tail = random.randbytes(4) if number else bytes(4)
        host = ip_address(bytes(10) + b"\xff\xff" + tail)
        assert host.version == 6
        assert host.ipv4_mapped is not None
        assert not grantable(host.packed)


@pytest.mark.parametrize("size", [0, 1, 3, 5, 6, 8, 15, 17, 32])
def test_an_address_has_4_or_16_bytes(size: int) -> None:
    assert not grantable(b"\1" * size)
