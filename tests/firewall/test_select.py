"""Which back end is taken, and what is said when none works."""

import os
import time

import pytest
from firewall.backends import SETTINGS, only, python, to
from firewall.network import CLIENT, STRANGER, Network

from spassh_server.firewall import FirewallError, libnftables
from spassh_server.firewall.select import BACKENDS, choose

LINUX = ("nftables", "iptables")
BSD = ("ipfw", "pf")


def test_those_of_linux_come_first() -> None:
    assert (*LINUX, *BSD) == BACKENDS


@pytest.mark.parametrize("name", LINUX)
def test_a_named_back_end_is_taken(name: str, network: Network) -> None:
    firewall, why = choose(name, SETTINGS, time.time)
    assert firewall.name == name
    assert why == f"{name}, because the configuration names it"


def test_auto_takes_nftables_where_it_works(network: Network) -> None:
    firewall, why = choose("auto", SETTINGS, time.time)
    assert firewall.name == "nftables"
    assert why == "nftables, because it works here"


def test_without_its_library_nftables_works_by_its_program(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libnftables, "LIBRARY", "libnothing.so.1")
    firewall, why = choose("auto", SETTINGS, time.time)
    assert why == "nftables, because it works here"
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    assert network.is_open(CLIENT[4])
    assert network.is_silent(STRANGER[4])


def test_auto_takes_iptables_where_nft_is_missing(
    network: Network, tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    four = ["iptables", "iptables-restore", "ip6tables", "ip6tables-restore"]
    only(four, tmp_path, monkeypatch)
    firewall, why = choose("auto", SETTINGS, time.time)
    assert firewall.name == "iptables"
    assert why.endswith("nftables does not: nft not found")


@pytest.mark.parametrize("name", ["auto", *LINUX])
def test_without_any_program_the_packages_are_named(
    name: str,
    network: Network,
    tmp_path: os.PathLike[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only([], tmp_path, monkeypatch)
    with pytest.raises(FirewallError, match="not found") as caught:
        choose(name, SETTINGS, time.time)
    assert caught.value.hint == "apt install nftables, or iptables and ipset"


@pytest.mark.parametrize("name", BSD)
def test_what_is_for_another_system_is_not_looked_for_by_apt(
    name: str, network: Network
) -> None:
    with pytest.raises(FirewallError, match=f"{name} does not work here") as caught:
        choose(name, SETTINGS, time.time)
    assert not caught.value.hint


@pytest.mark.parametrize("name", ["auto", *LINUX])
def test_without_privileges_it_is_an_error_and_no_traceback(
    name: str, network: Network
) -> None:
    with python(UNPRIVILEGED.format(name)) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "work" in output
    assert output.count("\n") == 1


def test_a_name_that_nft_reads_as_something_else_is_an_error(network: Network) -> None:
    with pytest.raises(FirewallError, match="nftables does not work here"):
        choose("nftables", SETTINGS._replace(name="ip"), time.time)


UNPRIVILEGED = """
from spassh_server.privsep.sandbox import keep_capabilities
from spassh_server.firewall import FirewallError
from spassh_server.firewall.select import choose
from firewall.backends import SETTINGS
keep_capabilities(frozenset())
try:
    choose({!r}, SETTINGS, float)
except FirewallError as error:
    print(error)
"""
