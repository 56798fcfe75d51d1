"""What the kernel has of ours, when the program that made it does not work any more."""

import time
from pathlib import Path
from struct import pack

import pytest
from firewall.backends import SETTINGS, make, only, python
from firewall.network import CLIENT, Network

from spassh_server import cli
from spassh_server.firewall import FirewallError
from spassh_server.firewall.left_behind import left_behind, owners
from spassh_server.firewall.netlink import attribute
from spassh_server.firewall.select import choose, others, with_rules

MADE_BY = {
    "nftables": "nftables",
    "nftables by program": "nftables",
    "iptables-nft": "iptables",
    "iptables-nft with ipset": "iptables",
}
IPTABLES = ["iptables", "iptables-restore", "ip6tables", "ip6tables-restore"]


def chain(family: int, table: str, name: str) -> bytes:
    """Return the body of the message by which the kernel tells of a chain."""
    spelled = (attribute(1, f"{table}\0".encode()), attribute(3, f"{name}\0".encode()))
    return pack("!BBH", family, 0, 7) + b"".join(spelled)


@pytest.mark.parametrize(
    ("body", "made_by"),
    [
        (chain(1, "spassh-t", "input"), ["nftables"]),
        (chain(2, "filter", "SPASSH-T"), ["iptables"]),
        (chain(10, "filter", "SPASSH-T-forward"), ["iptables"]),
        (chain(2, "nat", "SPASSH-T-source"), ["iptables"]),
        # Other instances, other families, other people.
        (chain(1, "spassh", "input"), []),
        (chain(1, "spassh-t2", "input"), []),
        (chain(2, "spassh-t", "input"), []),
        (chain(2, "filter", "SPASSH"), []),
        (chain(2, "filter", "SPASSH-T-2"), []),
        (chain(2, "filter", "spassh-t"), []),
        (chain(1, "filter", "SPASSH-T"), []),
        (chain(2, "filter", "\udce4".encode(errors="surrogateescape").hex()), []),
        (chain(1, "", "")[:4], []),
    ],
)
def test_a_chain_is_known_by_its_whole_name(body: bytes, made_by: list[str]) -> None:
    assert owners(body, SETTINGS) == made_by


def test_a_message_that_is_cut_short_is_an_error() -> None:
    with pytest.raises(OSError, match="cut short"):
        owners(chain(1, "spassh-t", "input")[:-6], SETTINGS)


def test_nothing_is_left_where_nothing_was_made(network: Network) -> None:
    assert left_behind(SETTINGS) == frozenset()


@pytest.mark.parametrize("kind", MADE_BY)
def test_rules_are_known_without_the_program_that_made_them(
    kind: str, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    firewall = make(kind)
    firewall.prepare()
    only([], tmp_path, monkeypatch)
    assert left_behind(SETTINGS) == {MADE_BY[kind]}
    (found,) = with_rules("auto", SETTINGS, time.time)
    assert found.name == MADE_BY[kind]
    monkeypatch.undo()
    firewall.remove()
    assert left_behind(SETTINGS) == frozenset()


def test_what_is_configured_is_among_them_though_it_does_not_work(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """iptables-legacy has rules that only its own program can tell of."""
    only([], tmp_path, monkeypatch)
    (found,) = with_rules("iptables", SETTINGS, time.time)
    assert found.name == "iptables"
    with pytest.raises(FirewallError, match="not found"):
        found.remove()


def test_the_back_end_that_follows_knows_of_the_drop_that_stays(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can be let through it: so the granter has to say so."""
    make("nftables by program").prepare()
    only(IPTABLES, tmp_path, monkeypatch)
    used, _ = choose("auto", SETTINGS, time.time)
    assert used.name == "iptables"
    assert [one.name for one in others(used, SETTINGS, time.time)] == ["nftables"]


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "etc" / "spasshd.toml"
    path.parent.mkdir()
    text = f'firewall_name = "{SETTINGS.name}"\nrun_dir = "run"\n'
    path.write_text(text, encoding="ascii")
    path.chmod(0o600)
    return str(path)


def test_stop_open_does_not_say_that_all_is_open_when_it_is_not(
    network: Network,
    config: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A package that is removed then would leave ports shut that nothing can open."""
    make("nftables").prepare()
    (tmp_path / "none").mkdir()
    with monkeypatch.context() as patch:
        only([], tmp_path / "none", patch)
        patch.setattr("spassh_server.firewall.libnftables.LIBRARY", "libnothing.so")
        assert cli.main(["stop", "--open", "--config", config]) == cli.EXIT_ERROR
    said = capsys.readouterr().err
    assert "error: nftables: nft not found" in said
    assert "hint: does all that nftables needs work here?" in said
    assert network.is_silent(CLIENT[4])

    assert cli.main(["stop", "--open", "--config", config]) == cli.EXIT_OK
    assert network.is_open(CLIENT[4])


UNPRIVILEGED = """
import sys
from spassh_server import cli
from spassh_server.privsep.sandbox import keep_capabilities
keep_capabilities(frozenset())
sys.exit(cli.main(["stop", "--open", "--config", {!r}]))
"""


def test_stop_open_tells_a_filter_that_is_not_ours_to_change(
    network: Network, config: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """In such a container the package could not be removed, if this was an error."""
    with python(UNPRIVILEGED.format(config)) as process:
        process.communicate(timeout=30)
    assert process.returncode == cli.EXIT_NOT_PERMITTED
    said = capfd.readouterr().err
    assert "error: the packet filter takes CAP_NET_ADMIN\n" in said
    assert "hint: run this on the host, where this is in a container\n" in said


BROKEN = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"cryptography", "gnupg", "psutil", "scapy"}}:
            raise ImportError("broken", name=name)
sys.meta_path.insert(0, Broken())
from spassh_server import cli
sys.exit(cli.main(["stop", "--open", "--config", {!r}]))
"""


def test_the_way_back_needs_no_library(
    network: Network, config: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """An upgrade of the system that went wrong must not keep the ports shut."""
    make("nftables").prepare()
    assert network.is_silent(CLIENT[4])
    with python(BROKEN.format(config)) as process:
        process.communicate(timeout=30)
    assert process.returncode == cli.EXIT_OK, capfd.readouterr().err
    assert network.is_open(CLIENT[4])
