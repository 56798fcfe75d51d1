"""iptables has one exit status for "there is none" and for "I could not look"."""

from pathlib import Path

import pytest

from spassh_server.firewall import FirewallError, run
from spassh_server.firewall.xtables import Xtables

MISSING = (
    "iptables: No chain/target/match by that name.",
    "iptables: Bad rule (does a matching rule exist in that chain?).",
    "iptables v1.8.9 (nf_tables): table `filter' is incompatible, use 'nft' tool.",
)
UNABLE = (
    "iptables: Failed to initialize nft: Too many open files",
    "iptables: Memory allocation problem.",
    "iptables v1.8.9 (nf_tables): Can't open socket to ipset.",
    "nf_tables kernel ABI is broken, contact your vendor.",
    "iptables: No buffer space available.",
    "",
)


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return what holds what iptables says each time, a line for each run."""
    said = tmp_path / "said"
    script = f"""#!/bin/sh
set -- $(wc -l < {tmp_path}/runs)
echo >> {tmp_path}/runs
line=$(sed -n "$(($1 + 1))p" {said})
[ "$line" != fine ] || {{ echo "-N X"; echo "-A X -j DROP"; exit 0; }}
[ -z "$line" ] || echo "$line" >&2
exit 1
"""
    (tmp_path / "runs").touch()
    (tmp_path / "iptables").write_text(script)
    (tmp_path / "iptables").chmod(0o755)
    # The script has tools of its own.
    monkeypatch.setattr(run, "DIRECTORIES", (str(tmp_path), "/usr/bin", "/bin"))
    return said


@pytest.mark.parametrize("words", MISSING)
def test_what_is_said_twice_to_be_missing_is_missing(says: Path, words: str) -> None:
    says.write_text(f"{words}\n{words}\n")
    assert Xtables(4).rules("X") is None


@pytest.mark.parametrize("words", UNABLE)
def test_what_could_not_be_looked_at_is_no_missing_chain(
    says: Path, words: str
) -> None:
    """Else to revoke, or to remove, would end as if all were done."""
    says.write_text(f"{words}\n")
    with pytest.raises(FirewallError, match="exit status 1"):
        Xtables(4).flush("X")


def test_what_is_said_once_to_be_missing_is_asked_again(says: Path) -> None:
    """The -nft variant says so where the kernel had no memory for an answer."""
    says.write_text(f"{MISSING[0]}\nfine\n")
    assert Xtables(4).rules("X") == ["-A X -j DROP"]
