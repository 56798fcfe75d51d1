"""Sessions that the kernel has, and the conntrack entries that are made of them."""

import sys
from pathlib import Path

import pytest

from spassh_server.firewall import sessions
from spassh_server.firewall.sessions import (
    Session,
    begun_sessions,
    keep_sessions,
    parse_sockets,
    render_entry,
)
from spassh_server.ports import Port

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n"
TAIL = " 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1\n"

# What the kernel prints on a little-endian machine.
TCP = (
    HEADER
    + "   0: 00000000:0016 00000000:0000 0A"
    + TAIL
    + "   1: 010200C0:0016 020200C0:C350 01"
    + TAIL
    + "   2: 010200C0:0016 030200C0:C351 06"
    + TAIL
)
TCP6 = (
    HEADER
    + "   0: B80D0120000000000000000001000000:0016"
    + " B80D0120000000000000000002000000:C350 01"
    + TAIL
    + "   1: 0000000000000000FFFF0000010200C0:0016"
    + " 0000000000000000FFFF0000020200C0:C352 01"
    + TAIL
)
SERVER4, CLIENT4 = b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02"
SERVER6 = b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01"
CLIENT6 = b"\x20\x01\x0d\xb8" + bytes(11) + b"\x02"
little_endian = pytest.mark.skipif(
    sys.byteorder != "little", reason="the samples are little-endian"
)


@little_endian
def test_established_connections_are_read_from_the_table_of_sockets() -> None:
    assert [Session((SERVER4, 22), (CLIENT4, 50000))] == parse_sockets(TCP)


@little_endian
def test_those_that_have_begun_are_in_both_tables_in_whatever_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = tmp_path / "tcp", tmp_path / "tcp6"
    monkeypatch.setattr(sessions, "SOCKET_TABLES", tuple(map(str, tables)))
    tables[0].write_text(TCP + "   3: 010200C0:0050 020200C0:C351 01" + TAIL)
    four = {
        Session((SERVER4, 22), (CLIENT4, 50000)),
        Session((SERVER4, 22), (b"\xc0\x00\x02\x03", 50001)),
    }
    assert begun_sessions([Port(6, 22)]) == four
    tables[1].write_text(TCP6)
    six = {
        Session((SERVER6, 22), (CLIENT6, 50000)),
        Session((SERVER4, 22), (CLIENT4, 50002)),
    }
    assert begun_sessions([Port(6, 22), Port(17, 80)]) == four | six
    tables[0].unlink()
    with pytest.raises(FileNotFoundError):
        begun_sessions([Port(6, 22)])


@little_endian
def test_an_ipv4_connection_of_an_ipv6_socket_is_one_of_ipv4() -> None:
    assert parse_sockets(TCP6) == [
        Session((SERVER6, 22), (CLIENT6, 50000)),
        Session((SERVER4, 22), (CLIENT4, 50002)),
    ]


def test_an_empty_table_has_no_connections() -> None:
    assert parse_sockets(HEADER) == []


@little_endian
def test_an_entry_says_who_began_and_that_the_other_answered() -> None:
    (session,) = parse_sockets(TCP)
    assert render_entry(session).hex() == (
        "ac000000 0001 0506 00000000 00000000"  # length, CT_NEW, flags
        "02 00 0000"  # AF_INET
        "3400 0180 1400 0180 0800 0100 c0000202 0800 0200 c0000201"
        "1c00 0280 0500 0100 06000000 0600 0200 c3500000 0600 0300 00160000"
        "3400 0280 1400 0180 0800 0100 c0000201 0800 0200 c0000202"
        "1c00 0280 0500 0100 06000000 0600 0200 00160000 0600 0300 c3500000"
        "0800 0300 0000000e"  # seen reply, assured, confirmed
        "2000 0480 1c00 0180 0500 0100 03000000"  # established
        "0600 0400 08080000 0600 0500 08080000"
        "0800 0700 00069780"
    ).replace(" ", "")


def test_only_sessions_of_protected_ports_are_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "tcp"
    table.write_text(TCP)
    entered: list[list[Session]] = []
    monkeypatch.setattr(sessions, "SOCKET_TABLES", (str(table),))
    monkeypatch.setattr(sessions, "_enter", entered.append)
    keep_sessions([Port(17, 22), Port(6, 23)])
    keep_sessions([Port(6, 22)])
    assert [len(some) for some in entered] == [0, 1]


def test_a_kernel_without_ipv6_or_ctnetlink_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "tcp"
    table.write_text(TCP)

    def refuse(_: list[Session]) -> None:
        raise OSError

    monkeypatch.setattr(sessions, "SOCKET_TABLES", (str(tmp_path / "no"), str(table)))
    monkeypatch.setattr(sessions, "_enter", refuse)
    keep_sessions([Port(6, 22)])
