"""Where knocks and connections come from."""

import errno
import socket

import pytest
from unit.client.parties import LOOPBACKS

from spassh import sockets, source
from spassh.resolve import Address
from spassh.source import Source, open_narrow, open_wide, spare_port

each_family = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])


def there(family: socket.AddressFamily) -> Address:
    rest = (0, 0) if family == socket.AF_INET6 else ()
    return Address(family, (LOOPBACKS[family], 22, *rest))


@each_family
def test_udp_and_tcp_have_the_same_port(family: socket.AddressFamily) -> None:
    udp, source = open_narrow(there(family), 62201)
    assert source.tcp is not None
    with udp, source.tcp as tcp:
        assert udp.getsockname() == tcp.getsockname()
        assert udp.getpeername()[:2] == (LOOPBACKS[family], 62201)
        assert source.port == tcp.getsockname()[1] > 0
        assert source.take(family) is tcp


def test_a_port_that_is_to_spare_is_taken() -> None:
    port = spare_port()
    udp, source = open_narrow(there(socket.AF_INET), 62201, port)
    udp.close()
    source.close()
    assert source.port == port


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_another_port_is_taken_if_one_of_the_two_is_in_use(kind: int) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind((LOOPBACKS[socket.AF_INET], 0))
        number = other.getsockname()[1]
        udp, source = open_narrow(there(socket.AF_INET), 62201, number)
        udp.close()
        source.close()
        assert source.port not in {0, number}


def test_no_port_to_spare_is_an_error_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    class Taken(sockets.Socket):
        def bind(self, address: object) -> None:
            made.append(self)
            raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(source, "Socket", Taken)
    with pytest.raises(OSError, match="no source port to spare"):
        open_narrow(there(socket.AF_INET), 62201)
    assert len(made) == source._TRIES
    assert all(sock.fileno() == -1 for sock in made)


@each_family
def test_a_wide_source_is_an_address_with_any_port(
    family: socket.AddressFamily,
) -> None:
    udp, source = open_wide(there(family), 62201)
    udp.close()
    assert (source.port, source.tcp) == (0, None)
    with source.take(family) as tcp:
        assert tcp.getsockname()[0] == LOOPBACKS[family]


def test_a_source_that_is_gone_is_an_error() -> None:
    with pytest.raises(OSError, match="assign requested"):
        Source(("192.0.2.77", 0)).take(socket.AF_INET)
