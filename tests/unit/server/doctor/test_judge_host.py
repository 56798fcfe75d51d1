"""What is made of the host: what it hears, who listens, and where it stands."""

from ipaddress import ip_address

import pytest
from unit.server.doctor.test_judge_service import GUARD, PATH, RESTART, SERVICE, told

from spassh_server import config
from spassh_server.doctor.hearing import Hearing
from spassh_server.doctor.judge_host import (
    judge_clock,
    judge_hearing,
    judge_interfaces,
    judge_listeners,
    judge_place,
)
from spassh_server.doctor.machine import Machine
from spassh_server.doctor.sockets import Listener
from spassh_server.ports import Port, parse_port

ANY, LOOPBACK = bytes(4), ip_address("127.0.0.1").packed


def test_interfaces_that_hear_nothing_are_told() -> None:
    settings = config.parse('interfaces = ["eth0", "eth1"]', PATH)
    assert told(judge_interfaces(settings, ["eth1"], ["eth0"]), "interfaces") == [
        (
            "warning",
            "there is no eth1: knocks that come by it are heard when it is there",
            f"ip link; see 'interfaces' in {PATH}",
        ),
        ("warning", "eth0 is down", "ip link set eth0 up"),
    ]
    assert told(judge_interfaces(settings, [], []), "interfaces") == [
        ("ok", "knocks are heard by: eth0, eth1", "")
    ]


@pytest.mark.parametrize(
    ("hearing", "result", "seen", "remedy"),
    [
        (Hearing(heard=True), "ok", "it hears a datagram over the loopback", ""),
        (
            Hearing(heard=True, daemon_heard=True),
            "ok",
            "it hears a datagram, and so does the daemon",
            "",
        ),
        (
            Hearing(heard=True, daemon_heard=False),
            "problem",
            "a datagram to udp/62201 is heard, and not by the daemon that runs",
            RESTART,
        ),
        (
            Hearing(),
            "problem",
            "it opens, and does not hear a datagram to udp/62201",
            "tcpdump -n -i any udp port 62201",
        ),
        (
            Hearing("any: no", "run this as root"),
            "problem",
            "the capture cannot be opened: any: no",
            "run this as root",
        ),
        (
            Hearing("any: no"),
            "problem",
            "the capture cannot be opened: any: no",
            "spasshd check",
        ),
        (
            Hearing(unsent="Network is unreachable"),
            "unknown",
            (
                "it opens; no datagram can be sent over the loopback: Network is unr"
                "eachable"
            ),
            "ip link set lo up",
        ),
    ],
)
def test_what_the_capture_hears_is_told(
    hearing: Hearing, result: str, seen: str, remedy: str
) -> None:
    found = told([judge_hearing(GUARD, hearing, SERVICE)], "capture")
    assert found == [(result, seen, remedy)]


def test_a_daemon_that_listens_elsewhere_hears_nothing_over_the_loopback() -> None:
    settings = config.parse('interfaces = ["eth0"]', PATH)
    hearing = Hearing(heard=True, daemon_heard=False)
    found = told([judge_hearing(settings, hearing, SERVICE)], "capture")
    assert found == [("ok", "it hears a datagram over the loopback", "")]


def on(port: str, program: str = "sshd", address: bytes = ANY) -> Listener:
    return Listener(parse_port(port), address, program)


BOTH = "ListenAddress 0.0.0.0 and ListenAddress :: in sshd_config"


@pytest.mark.parametrize(
    ("listeners", "expected"),
    [
        (
            [on("tcp/22"), on("tcp/22", address=bytes(16)), on("tcp/80", "nginx")],
            [("ok", "sshd listens on tcp/22", "")],
        ),
        (
            [on("tcp/22", ""), on("tcp/22", "systemd")],
            [("ok", "systemd listens on tcp/22", "")],
        ),
        ([on("tcp/22", "")], [("ok", "a program listens on tcp/22", "")]),
        (
            [],
            [
                (
                    "problem",
                    "nobody listens on tcp/22",
                    "systemctl start ssh (on some systems: sshd)",
                )
            ],
        ),
        (
            [on("udp/22", "x")],
            [
                (
                    "problem",
                    "nobody listens on tcp/22",
                    "systemctl start ssh (on some systems: sshd)",
                )
            ],
        ),
        (
            [on("tcp/22", address=LOOPBACK)],
            [("problem", "sshd listens on tcp/22 of the loopback alone", BOTH)],
        ),
        (
            [on("tcp/22", address=LOOPBACK), on("tcp/22")],
            [("ok", "sshd listens on tcp/22", "")],
        ),
        (
            [on("tcp/2222")],
            [
                (
                    "problem",
                    "nobody listens on tcp/22",
                    "sshd listens on 2222: write Port 22 in sshd_config",
                ),
                (
                    "warning",
                    "sshd listens on tcp/2222 as well, which is not protected",
                    "spasshd protect tcp/2222",
                ),
            ],
        ),
        (
            [on("tcp/22"), on("tcp/6010", address=LOOPBACK)],
            [("ok", "sshd listens on tcp/22", "")],
        ),
        (
            [on("tcp/22"), on("tcp/2222", "dropbear"), on("tcp/2222", "dropbear")],
            [
                ("ok", "sshd listens on tcp/22", ""),
                (
                    "warning",
                    "dropbear listens on tcp/2222 as well, which is not protected",
                    "spasshd protect tcp/2222",
                ),
            ],
        ),
    ],
)
def test_who_listens_is_told(
    listeners: list[Listener], expected: list[tuple[str, str, str]]
) -> None:
    assert (
        told(judge_listeners(GUARD.protect, listeners, SERVICE), "listeners")
        == expected
    )


def test_udp_ports_have_listeners_as_well() -> None:
    settings = config.parse('protect = ["udp/51820"]', PATH)
    found = told(judge_listeners(settings.protect, [], SERVICE), "listeners")
    remedy = "see what is to serve udp/51820: ss -lunp"
    assert found == [("problem", "nobody listens on udp/51820", remedy)]


def test_many_ports_are_told_in_one_line() -> None:
    ports = [f"tcp/{number}" for number in range(1, 9)]
    settings = config.parse(f"protect = {ports}", PATH)
    found = judge_listeners(
        settings.protect, [on(port, "x") for port in ports], SERVICE
    )
    ((result, seen, _),) = told(found, "listeners")
    assert result == "ok"
    assert seen.endswith("x listens on tcp/5 and 3 more")
    assert len(judge_listeners(settings.protect, [], SERVICE)) == 5


def test_where_nothing_is_protected_sshd_may_listen_anywhere() -> None:
    settings = config.parse("", PATH)
    assert judge_listeners(settings.protect, [on("tcp/22")], SERVICE) == []


@pytest.mark.parametrize(
    ("synchronised", "result", "remedy"),
    [
        (True, "ok", ""),
        (
            False,
            "warning",
            "timedatectl set-ntp true; if it cannot: apt install systemd-timesyncd",
        ),
        (None, "unknown", "compare: date -u"),
    ],
)
def test_whether_the_clock_is_kept_right_is_told(
    synchronised: bool | None, result: str, remedy: str
) -> None:
    finding = judge_clock(synchronised=synchronised)
    assert (finding.check, str(finding.result)) == ("clock", result)
    assert finding.remedy == remedy


def packed(*addresses: str) -> list[bytes]:
    return [ip_address(one).packed for one in addresses]


NAT = "it has no public address, so for clients elsewhere a NAT is in between: "
SEND_ON = "have the router send udp/62201, tcp/22 on to this host"


@pytest.mark.parametrize(
    ("addresses", "result", "seen", "remedy"),
    [
        (
            ["198.51.100.1", "10.0.0.1", "127.0.0.1"],
            "ok",
            "it has public addresses: 198.51.100.1",
            "",
        ),
        (["2001:db8::1", "::1"], "ok", "it has public addresses: 2001:db8::1", ""),
        (
            ["127.0.0.1", "::1", "fe80::1", "10.1.2.3", "fd00::1"],
            "unknown",
            f"{NAT}10.1.2.3, fd00::1",
            SEND_ON,
        ),
        (["172.31.255.255"], "unknown", f"{NAT}172.31.255.255", SEND_ON),
        (["192.168.1.1"], "unknown", f"{NAT}192.168.1.1", SEND_ON),
        (["100.64.0.1"], "unknown", f"{NAT}100.64.0.1", SEND_ON),
        (["172.32.0.1"], "ok", "it has public addresses: 172.32.0.1", ""),
        ([], "unknown", f"{NAT}no address at all", SEND_ON),
    ],
)
def test_what_stands_between_is_told_by_the_addresses(
    addresses: list[str], result: str, seen: str, remedy: str
) -> None:
    found = judge_place(GUARD, packed(*addresses), Machine())
    assert told(found, "network") == [(result, seen, remedy)]


@pytest.mark.parametrize(
    ("machine", "seen"),
    [
        (
            Machine("Amazon EC2", "t3.micro"),
            "this is a machine of Amazon EC2: the security group stands before it",
        ),
        (
            Machine("Google", "Google Compute Engine"),
            "this is a machine of Google Cloud: the VPC firewall stands before it",
        ),
        (
            Machine(
                "Microsoft Corporation",
                "Virtual Machine",
                "7783-7084-3265-9085-8269-3286-77",
            ),
            "this is a machine of Azure: the network security group stands before it",
        ),
        (
            Machine("OpenStack Foundation", "OpenStack Nova"),
            "this is a machine of OpenStack: the security group stands before it",
        ),
        (
            Machine("QEMU", "Standard PC", "OracleCloud.com"),
            "this is a machine of Oracle Cloud: the security list stands before it",
        ),
        (
            Machine("DigitalOcean", "Droplet"),
            "this is a machine of DigitalOcean: the cloud firewall stands before it",
        ),
    ],
)
def test_a_cloud_is_told_by_what_its_maker_calls_the_machine(
    machine: Machine, seen: str
) -> None:
    found = judge_place(GUARD, packed("198.51.100.1"), machine)
    remedy = "let udp/62201, tcp/22 in there, from wherever clients come"
    assert told(found, "network") == [("unknown", seen, remedy)]


def test_a_machine_of_nobody_in_particular_is_no_cloud() -> None:
    for machine in (
        Machine("QEMU", "Standard PC (Q35 + ICH9, 2009)"),
        Machine("Microsoft Corporation", "Virtual Machine", "0000-0000"),
        Machine("LENOVO", "20XW", "No Asset Information"),
    ):
        found = judge_place(GUARD, packed("198.51.100.1"), machine)
        assert told(found, "network")[0][0] == "ok"


def test_a_port_of_the_configuration_is_what_is_asked_for() -> None:
    settings = config.parse('knock_port = 5000\nprotect = ["tcp/2222"]', PATH)
    (finding,) = judge_place(settings, packed("10.0.0.1"), Machine())
    assert finding.remedy == "have the router send udp/5000, tcp/2222 on to this host"
    assert settings.firewall.dropped == (Port(6, 2222),)
