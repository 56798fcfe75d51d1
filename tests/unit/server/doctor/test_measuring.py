"""What the doctor measures, each on something that is known."""

import os
import socket
from pathlib import Path

import pytest
from unit.server.parties import SSH

from spassh import timekeeping
from spassh_server.doctor import machine, service, tracking
from spassh_server.doctor.disk import look_at_disk
from spassh_server.doctor.machine import Machine, read_machine
from spassh_server.doctor.service import Service, ask_systemd, parse_properties
from spassh_server.doctor.sockets import (
    Session,
    down_interfaces,
    own_addresses,
    read_sockets,
)
from spassh_server.doctor.tracking import MOST_SESSIONS, Tracking, look_at_conntrack
from spassh_server.firewall import FirewallError
from spassh_server.firewall.kill import Connection, End, Flow
from spassh_server.ports import Port


def test_a_directory_is_what_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    disk = look_at_disk(str(tmp_path))
    assert (disk.uid, disk.gid, disk.mode) == (os.geteuid(), os.getegid(), 0o700)
    assert disk.is_directory
    assert not (disk.read_only)
    assert not (disk.problem)
    assert not (disk.is_missing)
    assert disk.free > 0


def test_a_link_to_a_directory_is_none(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert not look_at_disk(str(link)).is_directory


def test_a_directory_that_cannot_be_seen_says_why(tmp_path: Path) -> None:
    assert look_at_disk(str(tmp_path / "gone")).is_missing
    (tmp_path / "file").write_text("")
    disk = look_at_disk(str(tmp_path / "file" / "below"))
    assert disk.problem == "Not a directory"


def test_listeners_and_sessions_are_told_with_their_ends() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as other,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        udp.bind(("127.0.0.1", 0))
        number = listening.getsockname()[1]
        with (
            socket.create_connection(("127.0.0.1", number)) as client,
            listening.accept()[0],
        ):
            listeners, sessions = read_sockets([Port(6, number)])
            ends = [Session(Port(6, number), b"\x7f\0\0\1", client.getsockname()[1])]
            assert sessions == ends
        found = {(one.port, one.address): one.program for one in listeners}
        ours = [
            (Port(6, number), b"\x7f\0\0\1"),
            (Port(6, other.getsockname()[1]), bytes(15) + b"\1"),
            (Port(17, udp.getsockname()[1]), b"\x7f\0\0\1"),
        ]
        names = {found[one] for one in ours}
    with open("/proc/self/comm", encoding="ascii") as file:
        assert names == {file.read().strip()}


def test_the_loopback_is_among_our_addresses() -> None:
    assert b"\x7f\0\0\1" in own_addresses()
    assert down_interfaces(["lo", "no-such-one"]) == []


def test_names_of_the_machine_are_read_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_DIRECTORY", str(tmp_path))
    assert read_machine() == Machine()
    (tmp_path / "sys_vendor").write_bytes(b"Amazon EC2\n")
    (tmp_path / "product_name").write_bytes(b"x" * 1000)
    (tmp_path / "chassis_asset_tag").write_bytes(b"\xff\n")
    assert read_machine() == Machine("Amazon EC2", "x" * 256, "\ufffd", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "LoadState=loaded\nUnitFileState=enabled\nActiveState=active\n",
            Service("loaded", "enabled", "active"),
        ),
        (
            "UnitFileState=\nActiveState=inactive\nLoadState=not-found\n",
            Service("not-found", "", "inactive"),
        ),
        ("", Service()),
        ("what=ever\nnonsense\n", Service()),
    ],
)
def test_what_systemd_says_is_read(text: str, expected: Service) -> None:
    assert parse_properties(text) == expected


def test_systemd_is_asked_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(*words: str) -> bytes:
        asked.extend(words)
        if len(asked) > len(words):
            raise FirewallError("systemctl: exit status 1: no")
        return b"LoadState=loaded\nUnitFileState=enabled\n"

    monkeypatch.setattr(service, "run", answer)
    monkeypatch.setattr(service, "is_service_manager", lambda: False)
    assert ask_systemd() == Service()
    assert asked == []
    monkeypatch.setattr(service, "is_service_manager", lambda: True)
    assert ask_systemd() == Service("loaded", "enabled", "")
    assert asked[-2:] == ["--", "spasshd.service"]
    assert ask_systemd().problem == "systemctl: exit status 1: no"


@pytest.mark.parametrize(
    ("seen", "may"),
    [
        (Service(), False),
        (Service("loaded", "enabled", "inactive"), False),
        (Service("loaded", "enabled", "failed"), False),
        (Service("not-found", "", "inactive"), False),
        (Service("loaded", "enabled", "activating"), True),
        (Service("loaded", "enabled", "active"), True),
        (Service(problem="systemctl: exit status 1: no"), True),
    ],
)
def test_what_was_stopped_does_not_start_again(*, seen: Service, may: bool) -> None:
    assert seen.may_start_again is may


def test_whether_the_clock_is_kept_right_is_known_and_nothing_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "synchronized"
    monkeypatch.setattr(timekeeping, "_SYNCHRONISED", str(told))
    assert timekeeping.is_synchronised() in {True, False}
    told.write_text("")
    assert timekeeping.is_synchronised() is True


SESSIONS = [Session(SSH, b"\xc0\0\2\7", 4000), Session(SSH, b"\xc0\0\2\x08", 4000)]
HERE = End(b"\xc0\0\2\1", 22)


def flow(session: Session, *, is_alive: bool = True) -> Flow:
    client = End(session.client, session.client_port)
    return Flow(Connection(6, client, HERE), HERE, is_alive, b"")


@pytest.fixture
def conntrack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel with conntrack, which knows the first of `SESSIONS`."""
    monkeypatch.setattr(tracking, "_COUNT", str(tmp_path / "count"))
    monkeypatch.setattr(tracking, "_MOST", str(tmp_path / "most"))
    (tmp_path / "count").write_text("7\n")
    (tmp_path / "most").write_text("100\n")
    monkeypatch.setattr(tracking, "tells_flows", lambda: True)
    flows = [flow(SESSIONS[0]), flow(SESSIONS[1], is_alive=False)]
    monkeypatch.setattr(tracking, "find_flows", lambda *_: flows)
    return tmp_path


def test_sessions_that_conntrack_does_not_know_are_told(conntrack: Path) -> None:
    expected = Tracking(7, 100, 2, (SESSIONS[1],))
    assert look_at_conntrack(SESSIONS) == expected
    assert look_at_conntrack([]) == Tracking(7, 100)
    many = [SESSIONS[0]] * (MOST_SESSIONS + 1)
    assert look_at_conntrack(many) == Tracking(7, 100, MOST_SESSIONS)


def test_a_kernel_that_does_not_tell_is_no_reason_to_worry(
    conntrack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> list[Flow]:
        raise OSError

    monkeypatch.setattr(tracking, "find_flows", refuse)
    assert look_at_conntrack(SESSIONS) == Tracking(7, 100)
    monkeypatch.setattr(tracking, "tells_flows", lambda: False)
    assert look_at_conntrack(SESSIONS) == Tracking(7, 100)
    (conntrack / "count").unlink()
    (conntrack / "most").write_text("many")
    assert look_at_conntrack(SESSIONS) == Tracking(None, None)
