"""What only the nftables back end has to do."""

import ctypes
import errno
import os
import re
import subprocess

import pytest
from firewall.backends import DNS, MARK, SETTINGS, SSH, make, only, python, to
from firewall.hosts import set_up_forward
from firewall.inner import INNER, Inner
from firewall.network import (
    CLIENT,
    PATIENCE,
    STRANGER,
    VERSIONS,
    Network,
    everything,
    sh,
)
from firewall.packets import is_answered, wrappings
from firewall.test_forwards import GATEWAY, SHELL, route_to_inner

from spassh_server.firewall import FirewallError, Width, foreign
from spassh_server.firewall.libnftables import LibNftables
from spassh_server.firewall.netlink import Netlink
from spassh_server.firewall.nftables_sets import set_of
from spassh_server.ports import Port

CLIENTS = tuple(CLIENT.values())
STRANGERS = tuple(STRANGER.values())
EVERYBODY = CLIENTS + STRANGERS


def test_after_flush_ruleset_the_next_repair_protects_again(network: Network) -> None:
    firewall = make("nftables")
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    sh("nft", "flush", "ruleset")
    assert firewall.grants() == []
    assert network.is_open(*EVERYBODY)
    assert firewall.repair() is True
    assert network.is_silent(*EVERYBODY)
    firewall.grant(to(CLIENT[4]), 60)
    assert network.is_open(CLIENT[4])


@pytest.mark.parametrize(
    "damage",
    [
        "flush chain inet spassh-t input",
        "insert rule inet spassh-t input accept",
        "add rule inet spassh-t input tcp dport 22 accept",
        "add chain inet spassh-t other { type filter hook input priority -11; }",
        "add chain inet spassh-t other",
        "flush chain inet spassh-t input; delete chain inet spassh-t input",
        "flush chain inet spassh-t lead4",
        "flush chain inet spassh-t prerouting",
        "insert rule inet spassh-t forward accept",
    ],
)
def test_damage_to_our_own_table_is_mended(damage: str, network: Network) -> None:
    firewall = make("nftables", GATEWAY)
    firewall.prepare()
    intact = everything()
    assert firewall.repair() is False
    sh("nft", damage)
    assert firewall.repair() is True
    assert everything() == intact
    assert firewall.repair() is False


def test_a_dormant_table_is_woken(network: Network) -> None:
    firewall = make("nftables")
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    sh("nft", "add table inet spassh-t { flags dormant; }")
    assert network.is_open(STRANGER[4])
    firewall.prepare()
    assert network.is_silent(STRANGER[4])
    assert network.is_open(CLIENT[4])


CHAIN = "chain inet spassh-t input { type filter hook input priority -10; }"
SET = "set inet spassh-t granted{0} {{ type ipv{0}_addr . inet_proto . inet_service; }}"
ANOTHER_SET = "set inet spassh-t granted4 { type ipv4_addr; flags timeout; }"


@pytest.mark.parametrize(
    "objects",
    [
        [ANOTHER_SET],
        [CHAIN],
        [CHAIN, ANOTHER_SET],
        [CHAIN, SET.format(4), SET.format(6)],
        [CHAIN, "map inet spassh-t granted6 { type ipv4_addr : verdict; }"],
        ["chain inet spassh-t input { type filter hook input priority 0; }"],
        ["chain inet spassh-t input"],
        [CHAIN, "chain inet spassh-t more { type filter hook output priority 0; }"],
    ],
)
def test_a_table_of_our_name_that_we_did_not_make_is_replaced(
    objects: list[str], network: Network
) -> None:
    lines = ["table inet spassh-t", *objects]
    sh("nft", "-f", "-", text="".join(f"add {line}\n" for line in lines))
    firewall = make("nftables")
    assert firewall.unavailable() is None
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(to(source), 60)
    assert len(firewall.grants()) == 2
    assert network.is_open(*CLIENTS)
    assert network.is_silent(*STRANGERS)
    assert firewall.repair() is False


OLDER = """
add table inet spassh-t
add set inet spassh-t granted4 {{ type ipv4_addr . inet_proto . inet_service; \
    flags timeout; timeout 15s; }}
add set inet spassh-t granted6 {{ type ipv6_addr . inet_proto . inet_service; \
    flags timeout; timeout 15s; }}
add {chain}
add rule inet spassh-t input ip saddr . meta l4proto . th dport @granted4 accept
add rule inet spassh-t input ip6 saddr . meta l4proto . th dport @granted6 accept
add rule inet spassh-t input tcp dport 22 drop
add element inet spassh-t granted4 {{ {client} . 6 . 22 timeout 600s }}
"""


def test_a_table_of_an_older_version_is_replaced_without_a_gap(
    network: Network,
) -> None:
    """Its sets are fewer. What it granted stays granted."""
    script = """
from firewall.backends import make
print("ready", flush=True)
for _ in range(8):
    make("nftables").prepare()
    input()
"""
    older = OLDER.format(chain=CHAIN, client=CLIENT[4])
    anew = f"delete table inet spassh-t\n{older}"
    sh("nft", "-f", "-", text=older)
    with python(script) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        while process.poll() is None:
            assert network.answer(STRANGER[4], patience=0.002) != "open"
            assert network.is_open(CLIENT[4])
            if "flow4" in sh("nft", "list", "table", "inet", "spassh-t"):
                sh("nft", "-f", "-", text=anew)
                process.stdin.write("\n")
                process.stdin.flush()
        assert process.returncode == 0
    make("nftables").prepare()
    ((grant, seconds, _),) = make("nftables").grants()
    assert grant == to(CLIENT[4])
    assert 590 < seconds <= 600


def test_a_kernel_without_grants_for_one_connection_has_all_others(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = LibNftables.check

    def refuse(nft: LibNftables, script: str) -> None:
        if "limit rate" in script:
            raise FirewallError("nftables: Could not process rule")
        check(nft, script)

    monkeypatch.setattr(LibNftables, "check", refuse)
    firewall = make("nftables")
    assert firewall.unavailable() is None
    assert firewall.widths == {Width.FLOW, Width.ADDRESS}
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(to(source, width=Width.FLOW, source_port=40001), 60)
        with pytest.raises(FirewallError, match="once"):
            firewall.grant(to(source, width=Width.ONCE), 60)
        assert network.answer(source, source_port=40001) == "open"
        assert network.is_silent(source)
    assert firewall.repair() is False
    assert "once" not in everything()


def test_chains_before_ours_are_warned_of(network: Network) -> None:
    sh("nft", "-f", "-", text=EARLY)
    firewall = make("nftables")
    firewall.prepare()
    assert firewall.warnings() == [
        "chain ip early one may drop granted packets: it comes before ours"
    ]
    gateway = make("nftables", GATEWAY)
    (_, two, *_) = gateway.warnings()
    assert "chain inet early two" in two


EARLY = """
table ip early {
    chain one { type filter hook input priority -150; tcp dport 1 drop; }
    chain harmless { type filter hook input priority -150; tcp dport 1 accept; }
}
table inet early {
    chain two { type filter hook forward priority -150; policy drop; }
}
"""


def test_elements_that_an_administrator_adds_end_too(network: Network) -> None:
    firewall = make("nftables")
    firewall.prepare()
    element = f"{{ {CLIENT[4]} . tcp . 22 }}"
    sh("nft", f"add element inet spassh-t granted4 {element}")
    ((grant, seconds, user),) = firewall.grants()
    assert (grant, user) == (to(CLIENT[4]), "")
    assert 1 <= seconds <= 15


OWNED = """
table inet owned {
    flags owner
    chain input {
        type filter hook input priority 0; policy accept
        tcp dport 23 drop
    }
}
"""


def test_a_table_with_an_owner_refuses_and_we_protect_nothing_then(
    network: Network,
) -> None:
    """Without us, nobody could get in any more who was let in by that firewall."""
    owner = LibNftables()
    owner.run(OWNED)
    sh("iptables-legacy", "-P", "INPUT", "ACCEPT")
    firewall = make("nftables")
    with pytest.raises(FirewallError, match="chain inet owned input") as caught:
        firewall.prepare()
    assert "NftablesTableOwner" in caught.value.hint
    assert "spassh-t:" in sh("iptables-legacy", "-S"), "the others are mended"
    assert network.is_open(*EVERYBODY)
    (warning,) = firewall.warnings()
    assert warning.startswith("granted packets may be dropped: chain inet owned input")
    owner.close()  # which deletes its table
    assert firewall.warnings() == []
    firewall.prepare()
    assert network.is_silent(*EVERYBODY)


def test_a_chain_that_refuses_does_not_keep_us_from_starting_again(
    network: Network,
) -> None:
    """Our drop is there already, and without us nobody opens it any more."""
    make("nftables").prepare()
    owner = LibNftables()
    owner.run(OWNED)
    web = SETTINGS._replace(protect=(SSH, Port(6, 80)), grant_ports=(SSH, Port(6, 80)))
    firewall = make("nftables", web)
    firewall.prepare()
    assert firewall.in_place()
    assert network.is_silent(*EVERYBODY, port=80)
    with pytest.raises(FirewallError, match="chain inet owned input"):
        firewall.repair()
    for source in CLIENTS:
        firewall.grant(to(source), 60)
    assert network.is_open(*CLIENTS)
    assert network.is_silent(*STRANGERS)
    (warning,) = firewall.warnings()
    assert "chain inet owned input" in warning
    owner.close()
    assert firewall.repair() is False


def test_where_nothing_of_ours_drops_a_chain_that_refuses_is_an_error(
    network: Network,
) -> None:
    make("nftables", SETTINGS._replace(own_drop=False)).prepare()
    owner = LibNftables()
    owner.run(OWNED)
    with pytest.raises(FirewallError, match="chain inet owned input"):
        make("nftables").prepare()
    assert network.is_open(*EVERYBODY)
    owner.close()


def test_a_chain_that_refuses_does_not_keep_us_from_mending_our_own(
    network: Network,
) -> None:
    firewall = make("nftables")
    firewall.prepare()
    sh("nft", "flush", "ruleset")
    owner = LibNftables()
    owner.run(OWNED)
    with pytest.raises(FirewallError, match="chain inet owned input"):
        firewall.repair()
    assert network.is_silent(*EVERYBODY)
    owner.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_forwarded_connection_lets_no_other_begin_in_its_place(
    version: int, network: Network
) -> None:
    """Conntrack takes a bare SYN for a part of it, and the inner socket may be gone.

    A socket answers to such a SYN twice a second, so there is one for each question.
    """
    gateway = make("nftables", GATEWAY)
    gateway.prepare()
    grant = to(CLIENT[version], SHELL)
    gateway.grant(grant, 60)
    with Inner(network) as inner:
        sessions = [
            inner.session(CLIENT[version], SHELL.number, port)
            for port in (40001, 40002)
        ]
        gateway.revoke(grant)
        led = f"{{ {CLIENT[version]} . 40002 . tcp }}"
        sh("nft", f"delete element inet spassh-t led{version} {led}")
        for port, answered in ((40001, True), (40002, False)):
            syn = wrappings(version, CLIENT[version], port, SHELL.number)["plain"]
            patience = PATIENCE if answered else 0.2
            assert is_answered(network, version, syn, port, patience) == answered
        assert all(session is not None and session.lives() for session in sessions)


def test_the_mark_may_change(network: Network) -> None:
    sh("iptables", "-P", "INPUT", "DROP")
    sh("ip6tables-legacy", "-P", "INPUT", "DROP")
    make("nftables").prepare()
    other = make("nftables", SETTINGS._replace(mark=0x8000_0000))
    assert other.repair() is True
    other.prepare()
    text = everything()
    assert f"{MARK:#x}" not in text
    assert "0x80000000" in text
    other.remove()
    assert "spassh" not in everything()


def test_iptables_can_read_what_we_put_into_its_chain(network: Network) -> None:
    for program in ("iptables", "ip6tables"):
        for variant in ("-nft", "-legacy"):
            sh(program + variant, "-A", "INPUT", "-p", "tcp", "-j", "DROP")
    make("nftables").prepare()
    for program in ("iptables", "ip6tables"):
        for variant in ("-nft", "-legacy"):
            listing = sh(program + variant, "-S", "INPUT")
            _, ours, theirs = listing.replace('"', "").splitlines()
            assert ours == (
                "-A INPUT -m mark --mark 0x20000000/0x20000000"
                " -m comment --comment spassh-t:0x20000000 -j ACCEPT"
            )
            assert theirs == "-A INPUT -p tcp -j DROP"


def test_a_mark_that_a_forwarded_packet_comes_with_opens_nothing(
    network: Network,
) -> None:
    set_up_forward("nftables that drops")
    sh("nft", "-f", "-", text=MARKING)
    make("nftables", GATEWAY).prepare()
    with Inner(network) as inner:
        for version in VERSIONS:
            route_to_inner(network, version)
            to_inner = INNER[version]
            session = inner.session(CLIENT[version], 22, to=to_inner, patience=0.1)
            assert session is None
        assert "packets 0 " not in sh(
            "nft", "list", "counter", "inet", "marking", "seen"
        )


MARKING = f"""
table inet marking {{
    counter seen {{ }}
    chain prerouting {{
        type filter hook prerouting priority mangle
        meta mark set {MARK:#x}
    }}
    chain forward {{
        type filter hook forward priority -20
        meta mark {MARK:#x} counter name seen
    }}
}}
"""


def test_chains_that_cannot_drop_are_left_alone(network: Network) -> None:
    sh("nft", "-f", "-", text=HARMLESS)
    before = sh("nft", "list", "ruleset")
    firewall = make("nftables")
    firewall.prepare()
    assert sh("nft", "list", "ruleset").startswith(before)


HARMLESS = """
table inet harmless {
    chain input {
        type filter hook input priority 0; policy accept
        ct state established accept
        log prefix "seen"
    }
    chain forward {
        type filter hook forward priority 0; policy drop
    }
    chain output {
        type filter hook output priority 0; policy drop
        accept
    }
}
"""


def test_without_iptables_its_chain_is_one_of_nftables(
    network: Network, tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sh("iptables", "-P", "INPUT", "DROP")
    only(["nft"], tmp_path, monkeypatch)
    firewall = make("nftables")
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    assert network.is_open(CLIENT[4])
    assert firewall.repair() is False
    firewall.remove()
    assert "spassh" not in everything()


def test_a_legacy_table_without_its_program_is_an_error(
    network: Network, tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sh("ip6tables-legacy", "-P", "INPUT", "DROP")
    only(["nft"], tmp_path, monkeypatch)
    sh("nft", "-f", "-", text=DROPPING)
    firewall = make("nftables")
    with pytest.raises(FirewallError, match="ip6tables-legacy not found"):
        firewall.prepare()
    assert "spassh-t:" in sh("nft", "list", "ruleset"), "the others are mended"


def test_what_cannot_be_removed_does_not_keep_the_rest(
    network: Network, tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sh("iptables-legacy", "-P", "INPUT", "ACCEPT")
    sh("nft", "-f", "-", text=DROPPING)
    before = sh("nft", "list", "ruleset")
    firewall = make("nftables")
    firewall.prepare()
    only(["nft"], tmp_path, monkeypatch)
    with pytest.raises(FirewallError, match="iptables-legacy not found"):
        firewall.remove()
    assert sh("nft", "list", "ruleset") == before


DROPPING = """
table inet host {
    chain input {
        type filter hook input priority 0; policy drop
    }
}
"""


def test_a_kernel_without_the_legacy_variant_is_no_obstacle(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = ((4, "/proc/net/no_such_names"),)
    monkeypatch.setattr(foreign, "LEGACY_TABLES", nowhere)
    make("nftables").prepare()
    assert network.is_silent(STRANGER[4])


def test_legacy_tables_are_not_made_by_looking_for_them(network: Network) -> None:
    firewall = make("nftables")
    assert firewall.unavailable() is None
    firewall.prepare()
    firewall.repair()
    firewall.remove()
    for path in ("/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"):
        with open(path, encoding="ascii") as names:
            assert not names.read()


def test_thousands_of_grants_take_no_memory_and_no_descriptors(
    network: Network,
) -> None:
    firewall = make("nftables")
    firewall.prepare()

    def give(count: int) -> None:
        for number in range(count):
            address = f"198.51.100.{number % 10}"
            firewall.grant(to(address), 60 + number)
            if number % 3 == 0:
                firewall.revoke(to(address))

    give(100)
    memory, descriptors = allocated(), os.listdir("/proc/self/fd")
    give(2000)
    assert os.listdir("/proc/self/fd") == descriptors
    assert allocated() - memory < 20_000, "that is ten bytes for each of them"


def test_errors_take_no_memory_and_no_descriptors(network: Network) -> None:
    firewall = make("nftables")

    def fail(count: int) -> None:
        for _ in range(count):
            with pytest.raises(FirewallError, match="nftables: "):
                firewall.grant(to(CLIENT[4]), 60)

    fail(30)
    memory, descriptors = allocated(), os.listdir("/proc/self/fd")
    fail(100)
    assert len(os.listdir("/proc/self/fd")) <= len(descriptors)
    assert allocated() - memory < 20_000, "that is 200 bytes for each of them"


def test_a_grant_is_one_transaction_and_no_program(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is a tenth of a millisecond, and the client is waiting for it."""
    firewall = make("nftables")
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)  # what is opened once, is open now
    asked: list[str] = []
    for owner, name in (
        (LibNftables, "_command"),
        (Netlink, "ask"),
        (Netlink, "transact"),
        (subprocess, "Popen"),
    ):
        _note_calls(owner, name, asked, monkeypatch)
    firewall.grant(to(CLIENT[4], DNS), 60)
    assert asked == ["transact"]
    firewall.grant(to(CLIENT[4], DNS), 90)
    assert asked[1:] == ["transact", "ask", "_command"]
    firewall.grant(to(CLIENT[4], width=Width.ONCE), 60)
    assert asked[4:] == ["ask", "_command"]


@pytest.mark.parametrize("number", [4, 6])
@pytest.mark.parametrize("width", [Width.FLOW, Width.ADDRESS])
def test_a_grant_is_listed_as_one_that_libnftables_has_added(
    network: Network, monkeypatch: pytest.MonkeyPatch, number: int, width: Width
) -> None:
    firewall = make("nftables")
    grant = to(CLIENT[number], SSH, width, 50_000 if width is Width.FLOW else 0)
    seen = []
    for fast in (True, False):
        firewall.remove()
        firewall.prepare()
        if not fast:
            monkeypatch.setattr(Netlink, "transact", refuse)
        firewall.grant(grant, 60, "ada")
        (one,) = firewall.grants()
        assert 0 < one.seconds_left <= 60
        listed = sh("nft", "list", "set", "inet", "spassh-t", set_of(one.grant))
        seen.append((one.grant, one.user, re.sub(r"expires \w+", "", listed)))
    assert seen[0] == seen[1]
    assert seen[0][:2] == (grant, "ada")


def refuse(*_: object) -> None:
    raise OSError(errno.EINVAL, "netlink: the kernel refused")


def _note_calls(
    owner: object, name: str, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = getattr(owner, name)

    def noted(*arguments: object, **options: object) -> object:
        calls.append(name)
        return whole(*arguments, **options)

    monkeypatch.setattr(owner, name, noted)


def allocated() -> int:
    """Return the bytes that libraries in C have in use in this process: mallinfo(3)."""
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks"

    class Mallinfo(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in [*names.split(), "keepcost"]]

    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = Mallinfo
    found = libc.mallinfo2()
    return int(found.uordblks + found.hblkhd)
