"""Which hosts a profile is for: as ssh_config(5) has it, and compared with that."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spassh.patterns import Rank, Wanted, check_entry, matches, rank
from spassh.protocol.errors import TextFormError

NAMED, PATTERN = Rank(True, False), Rank(False, False)


@pytest.mark.parametrize(
    ("entries", "host", "expected"),
    [
        (["server.example"], "server.example", NAMED),
        (["server.example"], "SERVER.example.", NAMED),
        (["server.example"], "server.example.org", None),
        (["*.example"], "server.example", PATTERN),
        (["*.EXAMPLE"], "Server.Example.", PATTERN),
        (["*.example"], "example", None),
        (["web?.example"], "web1.example", PATTERN),
        (["web?.example"], "web12.example", None),
        (["*", "server.example"], "server.example", NAMED),
        (["*", "!server.example"], "server.example", None),
        (["!server.example", "*"], "server.example", None),
        (["!*.public.example", "*.example"], "a.public.example", None),
        (["!*.public.example", "*.example"], "a.example", PATTERN),
        (["192.0.2.*"], "192.0.2.7", PATTERN),
        (["2001:db8::1"], "2001:DB8:0::1", NAMED),
    ],
)
def test_a_host_is_named_or_fits_a_pattern_or_neither(
    entries: list[str], host: str, expected: Rank | None
) -> None:
    assert rank(entries, Wanted(host)) == expected


def test_what_the_user_wrote_counts_as_well() -> None:
    """ssh gives both: %h is HostName, and %n the word on the command line."""
    assert rank(["web"], Wanted("192.0.2.7", "web")) == NAMED
    assert rank(["!web", "*"], Wanted("192.0.2.7", "web")) is None
    assert rank(["web"], Wanted("192.0.2.7")) is None


def test_a_login_may_be_asked_for() -> None:
    entries = ["git@server.example", "ops-*@*.example"]
    assert rank(entries, Wanted("server.example", "", "git")) == Rank(True, True)
    assert rank(entries, Wanted("server.example", "", "ops-7")) == Rank(False, True)
    assert rank(entries, Wanted("server.example", "", "ada")) is None
    assert rank(entries, Wanted("server.example")) is None
    assert rank(["!git@*", "*"], Wanted("server.example", "", "git")) is None
    assert rank(["!git@*", "*"], Wanted("server.example", "", "ada")) == PATTERN


def test_the_host_itself_comes_before_the_login() -> None:
    ordered = [PATTERN, Rank(False, True), NAMED, Rank(True, True)]
    assert sorted(ordered) == ordered


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "!",
        "a b",
        "ho/st",
        "-h",
        "a@",
        "@host",
        "a b@host",
        "a\n@host",
        "h[1]",
        "!!h",
    ],
)
def test_what_can_be_no_entry_is_none(entry: str) -> None:
    with pytest.raises(TextFormError):
        check_entry(entry)


@pytest.mark.parametrize("entry", ["*", "?", "!a*", "git@*", "a@b@host", "fe80::1%e0"])
def test_what_can_be_one_is(entry: str) -> None:
    assert check_entry(entry) == entry


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_a_pattern_stands_for_what_its_first_star_leaves_to_the_rest(
    pattern: str, text: str
) -> None:
    def plainly(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(plainly(pattern[1:], text[at:]) for at in range(len(text) + 1))
        return (
            bool(text)
            and pattern[0] in {"?", text[0]}
            and plainly(pattern[1:], text[1:])
        )

    assert matches(pattern, text) == plainly(pattern, text)


def test_many_stars_take_no_time_to_speak_of() -> None:
    """Backtracking would take longer than the universe has."""
    assert not matches("*a" * 100 + "b", "a" * 5000)


@pytest.mark.parametrize(
    ("pattern", "host"),
    [
        ("web?.example", "web1.example"),
        ("web?.example", "web.example"),
        ("*.example", "a.b.example"),
        ("*.example", "example"),
        ("a*b?c", "axxbyc"),
        ("a*b?c", "abc"),
    ],
)
def test_ssh_finds_the_same_in_its_own_configuration(
    pattern: str, host: str, tmp_path: Path
) -> None:
    ssh = shutil.which("ssh")
    assert ssh, "apt install openssh-client"
    config = tmp_path / "config"
    config.write_text(f"Host {pattern}\n  Port 4711\n")
    done = subprocess.run(
        [ssh, "-F", str(config), "-G", host], check=True, capture_output=True, text=True
    )
    assert ("port 4711" in done.stdout.splitlines()) == matches(pattern, host)
